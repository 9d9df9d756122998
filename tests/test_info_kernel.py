"""Quantities of Gram matrices and spectra against numpy in float64, the reference values and what must hold."""

import itertools
import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from infojax.info import kernel

REFERENCE = json.loads((Path(__file__).parent / "data" / "information_reference.json").read_text())["entries"]
FLOAT32 = {"rtol": 1e-5, "atol": 2e-6}
X = np.random.default_rng(40).standard_normal((64, 3))
Y = X[:, :1] ** 2 + 0.1 * np.random.default_rng(41).standard_normal((64, 1))
OTHER = np.random.default_rng(42).standard_normal((50, 3)) + 0.5
WIDE = np.random.default_rng(43).standard_normal((20, 12))
SEEDS = st.integers(0, 2**32 - 1)
ORDERS = [0, 0.5, 0.999, 1, 1 + 1e-6, 2, 2.5, 3, 4, 7, 64, 65, np.inf]
PRODUCTS = [2, 3, 4, 7, 64]

gram = jax.jit(kernel.gram)
fixed_order = jax.jit(kernel.matrix_renyi_entropy, static_argnums=1)
traced_order = jax.jit(kernel.matrix_renyi_entropy)
alignment = jax.jit(kernel.cka)
divergence = jax.jit(kernel.cauchy_schwarz_divergence)
information = jax.jit(kernel.matrix_mutual_information, static_argnums=2)


def entry(name):
    return next(entry["expected"] for entry in REFERENCE if entry["id"] == name)


def single(*arrays):
    converted = tuple(jnp.asarray(array, jnp.float32) for array in arrays)
    return converted if len(converted) > 1 else converted[0]


def sample(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def plain_gram(x, y=None, bandwidth=1.0):
    return np.exp(-cdist(x, x if y is None else y, "sqeuclidean") / (2 * bandwidth**2))


def plain_spectrum_entropy(values, alpha):
    values = np.where(values > 1e-13 * values.max(), values, 0)
    p = (values / values.sum())[values > 0]
    if alpha == 1:
        return scipy.stats.entropy(p)
    return -np.log(p.max()) if np.isinf(alpha) else scipy.special.logsumexp(alpha * np.log(p)) / (1 - alpha)


def plain_renyi(matrix, alpha):
    return plain_spectrum_entropy(np.linalg.eigvalsh(matrix), alpha)


def plain_hsic(a, b):
    n = len(a)
    centre = np.eye(n) - 1 / n
    return np.trace(a @ centre @ b @ centre) / (n - 1) ** 2


def plain_diffusion(x, bandwidth, t):
    matrix = plain_gram(x, bandwidth=bandwidth)
    degree = matrix.sum(1)
    values = np.abs(np.linalg.eigvalsh(matrix / np.sqrt(np.outer(degree, degree))))
    p = np.where(values > 1e-13, values, 0) ** t
    return scipy.stats.entropy(p / p.sum())


def plain_normalized(x):
    centred = x - x.mean(0)
    return centred / np.linalg.norm(centred, axis=1, keepdims=True)


def test_reference_values():
    expected = entry("kernel.matrix_renyi.a2")
    bits = entry("kernel.dse.t1")

    @jax.jit
    def all_of(x, y, other):
        a, b = gram(x), gram(y)
        entropies = [fixed_order(matrix, 2) for matrix in (a, b, a * b)]
        divergence = kernel.cauchy_schwarz_divergence(x, other)
        return [*entropies, information(a, b, 2), divergence, kernel.diffusion_spectral_entropy(x, 10.0) / np.log(2)]

    names = ("SA", "SB", "SAB", "I")
    values = [*(expected[name] for name in names), entry("kernel.cs_div"), bits]
    with jax.enable_x64(True):
        double = all_of(X, Y, OTHER)
        np.testing.assert_allclose(double[:4], values[:4], rtol=1e-8)
        np.testing.assert_allclose(double[4], values[4], rtol=1e-9)
        np.testing.assert_allclose(double[5], values[5], rtol=1e-8)
    value = all_of(*single(X, Y, OTHER))
    np.testing.assert_allclose(value[:5], values[:5], **FLOAT32)
    np.testing.assert_allclose(value[5], bits, atol=2e-4)


@pytest.mark.parametrize("order", [0, 1, 1.5, 2, 3, np.inf])
def test_entropies_of_the_identity_and_of_equal_samples(order):
    top, bottom = entry("kernel.matrix_renyi.bounds")
    np.testing.assert_allclose(fixed_order(jnp.eye(64), order), top, rtol=1e-6)
    np.testing.assert_allclose(fixed_order(jnp.ones((64, 64)), order), bottom, atol=2e-6)
    # One sample repeated has one eigenvalue, all others being rounding: no −inf, no NaN.
    slope = jax.jit(jax.grad(lambda m: kernel.matrix_renyi_entropy(m, order)))(jnp.ones((64, 64)))
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("order", [0.5, 1, 1.5, 2, 3])
def test_gradients_where_all_eigenvalues_are_equal(order):
    """I/n has the largest entropy: the slope is 0, although no eigenvector is determined there."""
    slope = jax.jit(jax.grad(lambda m: kernel.matrix_renyi_entropy(m, order)))(jnp.eye(8))
    np.testing.assert_allclose(slope, 0, atol=1e-6)
    for function in (kernel.von_neumann_entropy, kernel.effective_rank):
        np.testing.assert_allclose(jax.grad(function)(jnp.eye(8)), 0, atol=3e-6)


@pytest.mark.parametrize("x, y", [(X, OTHER), (WIDE, WIDE[:7] + 1)], ids=["direct", "product"])
def test_gram_equals_numpy(x, y):
    for bandwidth in (0.3, 1.0, 20.0):
        value = gram(single(x), None, bandwidth)
        np.testing.assert_allclose(value, plain_gram(x, bandwidth=bandwidth), rtol=3e-5, atol=2e-6)
    with jax.enable_x64(True):
        np.testing.assert_allclose(gram(x, y, 0.7), plain_gram(x, y, 0.7), rtol=1e-9, atol=1e-15)
        np.testing.assert_array_equal(jnp.diagonal(gram(x)), 1)
    stacked = single(np.stack([x, 2 * x]))
    both = gram(stacked, single(y), jnp.array([1.0, 3.0]))
    np.testing.assert_allclose(both[1], plain_gram(2 * x, y, 3.0), rtol=3e-5, atol=2e-6)
    keep, keep_y = np.arange(len(x)) < 5, np.arange(len(y)) % 2 == 0
    spoilt = jnp.where(keep[:, None], single(x), jnp.nan)
    masked = gram(spoilt, jnp.where(keep_y[:, None], single(y), jnp.inf), 1.0, keep, keep_y)
    np.testing.assert_allclose(masked, plain_gram(x, y) * np.outer(keep, keep_y), rtol=3e-5, atol=2e-6)


@pytest.mark.parametrize("d", [2, 12])
def test_an_offset_loses_nothing_but_what_the_numbers_themselves_lost(d):
    moved = (sample(1, 40, d) + 1e4).astype(np.float32)
    exact = plain_gram(moved.astype(np.float64), bandwidth=0.7)
    np.testing.assert_allclose(gram(moved, None, 0.7), exact, rtol=1e-4, atol=2e-6)
    other = (sample(2, 30, d) + 1e4).astype(np.float32)
    value = jax.jit(kernel.mmd)(moved, other, 0.7)
    cross = plain_gram(moved.astype(np.float64), other.astype(np.float64), 0.7).mean()
    within = plain_gram(other.astype(np.float64), bandwidth=0.7).mean()
    np.testing.assert_allclose(value, exact.mean() + within - 2 * cross, rtol=1e-4)


def test_renyi_entropy_of_every_order_equals_numpy():
    # Two bandwidths: a flat spectrum, and one that falls through the precision.
    matrices = np.stack([plain_gram(X[:24], bandwidth=s) for s in (0.5, 1.0)])
    expected = np.array([[plain_renyi(matrix, order) for matrix in matrices] for order in ORDERS])
    fixed = jax.jit(lambda m: jnp.stack([kernel.matrix_renyi_entropy(m, order) for order in PRODUCTS]))
    products = [ORDERS.index(order) for order in PRODUCTS]
    for dtype, tolerance in ((np.float64, {"rtol": 1e-8}), (np.float32, {"rtol": 2e-5, "atol": 2e-6})):
        with jax.enable_x64(dtype == np.float64):
            traced = [traced_order(matrices.astype(dtype), dtype(order)) for order in ORDERS]
            np.testing.assert_allclose(traced, expected, **tolerance)
            # Whole numbers known when tracing take products of matrices instead of eigenvalues.
            np.testing.assert_allclose(fixed(matrices.astype(dtype)), expected[products], **tolerance)


def test_order_zero_counts_the_rank_and_orders_near_one_are_smooth():
    low = single(sample(3, 30, 4))
    for scale in (1e-8, 1.0, 1e8):
        np.testing.assert_allclose(fixed_order(scale * low @ low.T, 0), np.log(4), rtol=1e-6)
    matrix = gram(single(X[:24]))
    values = [float(traced_order(matrix, 1 + step)) for step in (-1e-2, -1e-4, -1e-6, 0.0, 1e-6, 1e-4, 1e-2)]
    assert all(after <= before + 2e-6 for before, after in itertools.pairwise(values))
    np.testing.assert_allclose(values[1:-1], values[3], rtol=1e-4)


@pytest.mark.parametrize("order", [1, 1.7, 2, 3])
def test_matrix_information_equals_numpy(order):
    a, b = plain_gram(X), plain_gram(Y)
    joint = plain_renyi(a * b, order)
    expected = plain_renyi(a, order) + plain_renyi(b, order) - joint
    with jax.enable_x64(True):
        np.testing.assert_allclose(information(a, b, order), expected, rtol=1e-8)
    np.testing.assert_allclose(information(*single(a, b), order), expected, atol=5e-5)
    assert joint >= max(plain_renyi(a, order), plain_renyi(b, order))


def test_spectra_of_features_equal_numpy():
    def all_of(z):
        return [
            kernel.von_neumann_entropy(z),
            kernel.effective_rank(z),
            kernel.matrix_nuclear_norm(z),
            kernel.matrix_nuclear_norm(z, normalize=True),
            kernel.matrix_nuclear_norm(z, "l12"),
            kernel.matrix_nuclear_norm(z, "l12", True),
        ]

    compiled = jax.jit(all_of)
    for z in (sample(4, 20, 6) + 0.3, sample(5, 6, 20) + 0.3):
        rows = z / np.linalg.norm(z, axis=1, keepdims=True)
        values = np.linalg.svd(z, compute_uv=False)
        columns = [np.sort(np.linalg.norm(part, axis=0))[-6:].sum() for part in (z, plain_normalized(z))]
        expected = [
            plain_renyi(rows.T @ rows / len(z), 1),
            np.exp(scipy.stats.entropy(values)),
            values.sum(),
            np.linalg.svd(plain_normalized(z), compute_uv=False).sum(),
            *columns,
        ]
        with jax.enable_x64(True):
            np.testing.assert_allclose(compiled(z), expected, rtol=1e-8)
        np.testing.assert_allclose(compiled(single(z)), expected, rtol=1e-5)
        assert z.shape[0] < z.shape[1] or (expected[4] >= expected[2] and expected[5] >= expected[3])
    # Neither an entropy nor a rank is moved by a scale whose squares leave the range.
    for scale in (1e-18, 1e18):
        np.testing.assert_allclose(compiled(single(z) * scale)[:2], expected[:2], rtol=1e-5)


def test_rank_one_features_and_rows_of_zeros():
    z = single(np.outer(sample(6, 12), sample(7, 5)))
    for function, value in ((kernel.von_neumann_entropy, 0.0), (kernel.effective_rank, 1.0)):
        computed, slope = jax.jit(jax.value_and_grad(function))(z)
        np.testing.assert_allclose(computed, value, atol=2e-6)
        assert np.isfinite(slope).all()
    with_zeros = jnp.concatenate([single(X[:10]), jnp.zeros((3, 3))])
    value, slope = jax.jit(jax.value_and_grad(kernel.von_neumann_entropy))(with_zeros)
    rows = X[:10] / np.linalg.norm(X[:10], axis=1, keepdims=True)
    np.testing.assert_allclose(value, plain_renyi(rows.T @ rows, 1), **FLOAT32)
    assert np.isfinite(slope).all() and not slope[10:].any()
    for form in ("exact", "l12"):
        nuclear = jax.jit(partial(kernel.matrix_nuclear_norm, form=form, normalize=True))
        # Equal samples have no direction once centred, wherever they are and however the mean was rounded.
        assert float(nuclear(jnp.full((7, 3), 1e4 + 0.1))) == 0
        off = jnp.concatenate([jnp.full((7, 3), 1e4 + 0.1), jnp.full((7, 3), 1e4 + 1.1)])
        np.testing.assert_allclose(nuclear(off), np.sqrt(14) if form == "exact" else np.sqrt(14 * 3), rtol=1e-4)


def test_hsic_equals_its_definitions():
    a, b = plain_gram(X[:7]), plain_gram(Y[:7], bandwidth=0.5)
    n = len(a)
    tuples = list(itertools.permutations(range(n), 4))
    unbiased = np.mean([a[i, j] * (b[i, j] + b[q, r] - 2 * b[i, q]) for i, j, q, r in tuples])
    k, m = a - np.eye(n), b - np.eye(n)
    song = np.trace(k @ m) + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 * (k @ m).sum() / (n - 2)
    np.testing.assert_allclose(song / (n * (n - 3)), unbiased, rtol=1e-9)
    biased = plain_hsic(a, b)
    hsic = jax.jit(kernel.hsic, static_argnames="unbiased")
    with jax.enable_x64(True):
        np.testing.assert_allclose(hsic(a, b, unbiased=True), unbiased, rtol=1e-9)
        np.testing.assert_allclose(hsic(a, b), biased, rtol=1e-9)
        # A constant on all pairs is no dependence, and takes no digits.
        np.testing.assert_allclose(hsic(a + 100, b, unbiased=True), unbiased, rtol=1e-9)
        np.testing.assert_allclose(hsic(a + 100, b), biased, rtol=1e-9)
    np.testing.assert_allclose(hsic(*single(a, b), unbiased=True), unbiased, **FLOAT32)
    np.testing.assert_allclose(hsic(*single(a, b)), biased, **FLOAT32)


def test_unbiased_hsic_is_zero_on_average_and_may_be_negative():
    x, y = single(sample(8, 300, 20, 1), sample(9, 300, 20, 1))
    grams = gram(x), gram(y)
    hsic = jax.jit(kernel.hsic, static_argnames=("unbiased", "clip"))
    biased, unbiased = hsic(*grams), hsic(*grams, unbiased=True)
    assert abs(float(unbiased.mean())) < 3 * float(unbiased.std()) / np.sqrt(300)
    assert float(biased.mean()) > 10 * abs(float(unbiased.mean())) and float(biased.min()) >= 0
    assert float(unbiased.min()) < 0
    clipped = hsic(*grams, unbiased=True, clip=True)
    np.testing.assert_array_equal(clipped, jnp.maximum(unbiased, 0))
    for least, form in ((1, False), (3, True)):
        assert not hsic(*grams, unbiased=form, where=jnp.arange(20) < least).any()


def test_alignment_equals_its_definition():
    a, b = plain_gram(X), plain_gram(Y)
    expected = plain_hsic(a, b) / np.sqrt(plain_hsic(a, a) * plain_hsic(b, b))
    with jax.enable_x64(True):
        np.testing.assert_allclose(alignment(a, b), expected, rtol=1e-8)
    np.testing.assert_allclose(alignment(*single(a, b)), expected, rtol=1e-5)
    np.testing.assert_allclose(alignment(*single(1e-15 * a, 1e15 * b + 3e14)), expected, rtol=1e-4)
    # Linear alignment by its other formula, ‖YᵀX‖²_F over the norms of both alone.
    x, y = X - X.mean(0), WIDE[np.arange(64) % 20] - WIDE[np.arange(64) % 20].mean(0)
    linear = np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    np.testing.assert_allclose(alignment(*single(X @ X.T, y @ y.T)), linear, rtol=1e-5)
    turned = x @ np.linalg.qr(sample(10, 3, 3))[0]
    np.testing.assert_allclose(alignment(*single(x @ x.T, turned @ turned.T)), 1, rtol=1e-5)
    value, slope = jax.jit(jax.value_and_grad(kernel.cka))(jnp.full((64, 64), 0.3), single(b))
    assert float(value) == 0 and np.isfinite(slope).all()


@pytest.mark.parametrize("x, y", [(X, OTHER), (WIDE, WIDE[:7] + 1)], ids=["direct", "product"])
def test_discrepancy_and_divergence_equal_numpy(x, y):
    mmd = jax.jit(kernel.mmd)
    for bandwidth in (1.0, 4.0):
        p, q, across = (plain_gram(*pair, bandwidth).mean() for pair in ((x, x), (y, y), (x, y)))
        for function, expected in ((mmd, p + q - 2 * across), (divergence, -np.log(across**2 / (p * q)))):
            with jax.enable_x64(True):
                np.testing.assert_allclose(function(x, y, bandwidth), expected, rtol=1e-9)
                np.testing.assert_allclose(function(x, x, bandwidth), 0, atol=1e-14)
            np.testing.assert_allclose(function(*single(x, y), bandwidth), expected, rtol=1e-5, atol=2e-6)
    # With a wide kernel all is nearly 1 and the difference small: it keeps its digits.
    exact = plain_gram(x, x, 1e3).mean() + plain_gram(y, y, 1e3).mean() - 2 * plain_gram(x, y, 1e3).mean()
    np.testing.assert_allclose(mmd(*single(x, y), 1e3), exact, rtol=2e-3)


def test_the_divergence_stays_finite_where_every_kernel_underflows():
    x, y = single(sample(11, 6, 2), sample(12, 5, 2) + 500)
    value, slope = jax.jit(jax.value_and_grad(kernel.cauchy_schwarz_divergence))(x, y)
    exponents = [-cdist(a, b, "sqeuclidean") / 2 for a, b in ((x, x), (y, y), (x, y))]
    logs = [scipy.special.logsumexp(np.float64(e)) - np.log(e.size) for e in exponents]
    np.testing.assert_allclose(value, logs[0] + logs[1] - 2 * logs[2], rtol=1e-5)
    # The gradient draws the two sets together.
    assert np.isfinite(slope).all() and float(jnp.sum(slope)) < -100
    assert float(kernel.mmd(x, y)) > 0


@pytest.mark.parametrize("t", [1, 2.5])
def test_diffusion_entropy_equals_numpy(t):
    labels = np.arange(64) % 3
    whole = plain_diffusion(X, 1.5, t)
    parts = sum(np.mean(labels == c) * plain_diffusion(X[labels == c], 1.5, t) for c in range(3))
    entropy = jax.jit(kernel.diffusion_spectral_entropy)
    shared = jax.jit(kernel.diffusion_spectral_mutual_information, static_argnums=2)
    with jax.enable_x64(True):
        np.testing.assert_allclose(entropy(X, 1.5, t), whole, rtol=1e-8)
        np.testing.assert_allclose(shared(X, labels, 3, 1.5, t), whole - parts, rtol=1e-8)
    np.testing.assert_allclose(entropy(single(X), 1.5, t), whole, atol=2e-4)
    np.testing.assert_allclose(shared(single(X), labels, 3, 1.5, t), whole - parts, atol=4e-4)
    # Labels out of range are masked, and a class without samples weighs nothing.
    kept = single(X)[:40]
    some = np.where(np.arange(64) < 40, labels, -1)
    np.testing.assert_allclose(shared(single(X), some, 5, 1.5, t), shared(kept, labels[:40], 3, 1.5, t), atol=1e-4)
    stacked = jnp.stack([single(X), 2 * single(X)])
    both = shared(stacked, labels, 3, jnp.array([1.5, 3.0]), t)
    np.testing.assert_allclose(both, jnp.full(2, both[0]), atol=1e-4)


LABELS = jnp.array([0, 1, 2, 1, 0, 0, 1, 2, 1, 1, 0])


def of_grams(function):
    return lambda x, y, where=None: function(
        kernel.gram(x, where=where), kernel.gram(y, bandwidth=0.5, where=where), where
    )


FUNCTIONS = {
    "renyi_1": lambda x, y, where=None: kernel.matrix_renyi_entropy(kernel.gram(x), 1, where),
    "renyi_2": lambda x, y, where=None: kernel.matrix_renyi_entropy(kernel.gram(x), 2, where),
    "renyi_5": lambda x, y, where=None: kernel.matrix_renyi_entropy(kernel.gram(x), 5, where),
    "information": of_grams(lambda a, b, where: kernel.matrix_mutual_information(a, b, 1.5, where)),
    "von_neumann": lambda x, y, where=None: kernel.von_neumann_entropy(x, where),
    "effective_rank": lambda x, y, where=None: kernel.effective_rank(x, where),
    "nuclear": lambda x, y, where=None: kernel.matrix_nuclear_norm(x, where=where),
    "nuclear_l12": lambda x, y, where=None: kernel.matrix_nuclear_norm(x, "l12", True, where),
    "hsic": of_grams(lambda a, b, where: kernel.hsic(a, b, where=where)),
    "hsic_unbiased": of_grams(lambda a, b, where: kernel.hsic(a, b, True, where)),
    "cka": of_grams(kernel.cka),
    "mmd": lambda x, y, where=None: kernel.mmd(x[..., :1], y, 1.0, where, where),
    "cauchy_schwarz": lambda x, y, where=None: kernel.cauchy_schwarz_divergence(x[..., :1], y, 1.0, where, where),
    "diffusion": lambda x, y, where=None: kernel.diffusion_spectral_entropy(x, 1.0, 2, where),
    "diffusion_information": lambda x, y, where=None: kernel.diffusion_spectral_mutual_information(
        x, LABELS[: x.shape[-2]], 3, 1.0, where=where
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_masks_axes_duplicates_and_gradients(name):
    function = FUNCTIONS[name]

    @jax.jit
    def compiled(x, y, where):
        """Values, and the slopes of their sum."""
        value, pull = jax.vjp(lambda x, y: function(x, y, where), x, y)
        return value, pull(jnp.ones_like(value))

    x, y = single(sample(13, 2, 11, 3), sample(14, 2, 11, 1))
    everything = jnp.ones(11, bool)
    value, _ = compiled(x, y, everything)
    assert value.shape == (2,)
    if name != "diffusion_information":
        order = jnp.asarray(np.random.default_rng(0).permutation(11))
        np.testing.assert_allclose(compiled(x[:, order], y[:, order], everything)[0], value, rtol=1e-5, atol=1e-5)

    mask = jnp.arange(11) < 8
    spoilt = jnp.where(mask[:, None], x, jnp.nan), jnp.where(mask[:, None], y, jnp.inf)
    # A Gram matrix that was made without the mask may hold NaN; what is masked of it does not count.
    kept = jax.jit(jax.vmap(lambda x, y: function(x, y)))(x[:, :8], y[:, :8])
    value, part = compiled(*spoilt, mask)
    np.testing.assert_allclose(value, kept, rtol=1e-5, atol=1e-5)
    if name.startswith("renyi"):
        part = compiled(x, y, mask)[1]
    assert all(np.isfinite(slope).all() and not slope[:, 8:].any() for slope in part)
    none, zeros = compiled(x, y, jnp.zeros(11, bool))
    assert not none.any() and not any(zero.any() for zero in zeros)

    # Samples three times over, and all the same.
    for repeated in (x[:, jnp.arange(11) % 4], jnp.broadcast_to(x[:, :1], x.shape)):
        number, part = compiled(repeated, y[:, jnp.arange(11) % 4], everything)
        assert np.isfinite(number).all() and all(np.isfinite(slope).all() for slope in part)

    rounded = x.astype(jnp.bfloat16), y.astype(jnp.bfloat16)
    assert jax.eval_shape(compiled, *rounded, everything)[0].dtype == jnp.bfloat16
    if name in ("mmd", "diffusion"):
        exact = compiled(*(part.astype(jnp.float32) for part in rounded), everything)[0]
        low = compiled(*rounded, everything)[0].astype(jnp.float32)
        np.testing.assert_allclose(low, exact, rtol=8e-3, atol=1e-3)
    assert jax.eval_shape(compiled, x[:0], y[:0], everything)[0].shape == (0,)
    nothing, _ = compiled(x[:, :0], y[:, :0], everything[:0])
    assert nothing.shape == (2,) and not nothing.any()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_equal_differences(name):
    with jax.enable_x64(True):
        compiled = jax.jit(jax.value_and_grad(FUNCTIONS[name], argnums=(0, 1)))
        points = sample(15, 6, 3), sample(16, 6, 1)
        directions = sample(17, 6, 3), sample(18, 6, 1)
        step = 1e-5
        ends = [compiled(*(p + s * v for p, v in zip(points, directions, strict=True)))[0] for s in (step, -step)]
        slope = sum(np.sum(g * v) for g, v in zip(compiled(*points)[1], directions, strict=True))
        np.testing.assert_allclose(slope, (ends[0] - ends[1]) / (2 * step), rtol=1e-6, atol=1e-8)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, spread=st.floats(0.05, 10.0), order=st.sampled_from([0.5, 1.0, 2.0, 3.0]))
def test_inequalities_of_matrix_entropies(seed, spread, order):
    x, y = single(spread * sample(seed, 9, 2), spread * sample(seed + 1, 9, 2))
    a, b = gram(x), gram(y)
    entropies = [float(traced_order(matrix, order)) for matrix in (a, b, a * b)]
    assert all(-2e-6 <= value <= np.log(9) + 2e-6 for value in entropies)
    assert entropies[2] >= max(entropies[:2]) - 1e-5
    if order == 1:  # von Neumann's entropy alone is subadditive for all matrices
        assert entropies[0] + entropies[1] - entropies[2] >= -1e-5
    more = float(traced_order(a, order + 0.5))
    assert more <= entropies[0] + 1e-5
    assert -1e-6 <= float(alignment(a, b)) <= 1 + 1e-5
    assert float(divergence(x, y)) >= -1e-5


def test_clipping_removes_only_what_is_below_zero():
    x, labels = single(np.repeat(np.eye(2), 2, axis=0)), jnp.array([0, 1, 0, 1])
    shared = jax.jit(kernel.diffusion_spectral_mutual_information, static_argnames=("num_classes", "clip"))
    # Independent of the labels: what is left is rounding, of either sign.
    assert abs(float(shared(x, labels, 2, 1.0))) < 1e-6
    assert float(shared(x, labels, 2, 1.0, clip=True)) >= 0
    apart = shared(100 * single(sample(17, 8, 2)), jnp.arange(8), 8, 1.0, clip=True)
    np.testing.assert_allclose(apart, np.log(8), rtol=1e-5)
    value = jax.jit(partial(kernel.matrix_mutual_information, alpha=0.5, clip=True))(jnp.eye(3), jnp.ones((3, 3)))
    assert 0 <= float(value) < 1e-5


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x: kernel.gram(x[0]), r"x must have the shape \(…, n, d\)"),
        (lambda x: kernel.gram(x, x[:, :1]), "same number of dimensions"),
        (lambda x: kernel.gram(x, bandwidth=0.0), "bandwidth must be above 0"),
        (lambda x: kernel.mmd(x, x, bandwidth=-1), "bandwidth must be above 0"),
        (lambda x: kernel.matrix_renyi_entropy(x, 2), "square matrices"),
        (lambda x: kernel.matrix_renyi_entropy(x @ x.T, -1), "alpha must be at least 0"),
        (lambda x: kernel.matrix_renyi_entropy(x @ x.T, float("nan")), "alpha must be at least 0"),
        (lambda x: kernel.hsic(x @ x.T, x.T @ x), "same samples"),
        (lambda x: kernel.von_neumann_entropy(x[0]), "features must have the shape"),
        (lambda x: kernel.matrix_nuclear_norm(x, "fast"), "form must be"),
        (lambda x: kernel.diffusion_spectral_entropy(x, 1.0, 0), "t must be above 0"),
        (lambda x: kernel.diffusion_spectral_mutual_information(x, jnp.zeros(10, int), 0, 1.0), "num_classes"),
        (lambda x: kernel.diffusion_spectral_mutual_information(x, jnp.zeros(10), 2, 1.0), "labels must be integers"),
        (lambda x: kernel.diffusion_spectral_mutual_information(x, jnp.zeros(9, int), 2, 1.0), "one per sample"),
    ],
)
def test_bad_input_is_an_error_when_tracing(call, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(call, jax.ShapeDtypeStruct((10, 2), jnp.float32))


def test_order_two_at_scales_whose_squares_leave_float32():
    for scale in (1e-30, 1e30):
        found = kernel.matrix_renyi_entropy(jnp.stack([scale * jnp.eye(8), jnp.ones((8, 8))]), 2)
        np.testing.assert_allclose(found, [np.log(8), 0], atol=2e-6)
