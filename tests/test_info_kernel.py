"""Gram matrices and spectra against numpy in float64, closed forms, and what must hold of every kernel."""

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from infojax.info import kernel

REFERENCE = {
    e["id"]: e["expected"]
    for e in json.loads((Path(__file__).parent / "data" / "information_reference.json").read_text())["entries"]
}
FLOAT32: dict[str, Any] = {"rtol": 1e-5, "atol": 2e-6}
X = np.random.default_rng(40).standard_normal((64, 3))
Y = X[:, :1] ** 2 + 0.1 * np.random.default_rng(41).standard_normal((64, 1))
X2 = np.random.default_rng(42).standard_normal((50, 3)) + 0.5
SMALL = X[:12]
SEEDS = st.integers(0, 2**32 - 1)


def single(*arrays):
    return tuple(jnp.asarray(array, jnp.float32) for array in arrays)


def plain_gram(x, y=None, s=1.0):
    y = x if y is None else y
    return np.exp(-np.sum((x[:, None] - y[None]) ** 2, -1) / (2 * s * s))


def plain_entropy(p):
    p = p[p > 1e-15]
    return -np.sum(p * np.log(p))


def test_gram_far_from_the_origin_and_in_many_dimensions():
    for dim in (3, 20):
        x = np.random.default_rng(1).standard_normal((30, dim)).astype(np.float32)
        y = np.random.default_rng(2).standard_normal((20, dim)).astype(np.float32)
        for offset, tolerance in ((0, 2e-6), (1e4, 5e-3)):
            a, b = x + np.float32(offset), y + np.float32(offset)
            expected = plain_gram(a.astype(np.float64), b.astype(np.float64), 2.0)
            # At 1e4 a float32 has steps of 1e-3: the inputs are rounded, and what is computed is of them.
            np.testing.assert_allclose(kernel.gram(a, b, 2.0), expected, atol=tolerance)
            np.testing.assert_array_equal(jnp.diagonal(kernel.gram(a, bandwidth=2.0)), 1)


def test_a_batch_has_bandwidths_of_its_own_and_masks_leave_zeros():
    x = jnp.asarray(X[:24].reshape(2, 12, 3), jnp.float32)
    matrices = kernel.gram(x, bandwidth=jnp.array([1.0, 2.0]))
    np.testing.assert_allclose(matrices[1], plain_gram(X[12:24], s=2.0), **FLOAT32)
    where = jnp.arange(12) < 9
    poisoned = x.at[:, 9:].set(jnp.nan)
    masked = kernel.gram(poisoned, where=where)
    np.testing.assert_allclose(masked[:, :9, :9], kernel.gram(x[:, :9]), **FLOAT32)
    assert not masked[:, 9:].any() and not masked[:, :, 9:].any()
    across = kernel.gram(poisoned, x, where=where, y_where=where)
    np.testing.assert_allclose(across[:, :9, :9], kernel.gram(x[:, :9]), **FLOAT32)


def test_reference_values():
    expected = REFERENCE["kernel.matrix_renyi.a2"]

    def values(x, y):
        a, b = kernel.gram(x), kernel.gram(y)
        joint = kernel.matrix_renyi_entropy(a * b, 2)
        information = kernel.matrix_mutual_information(a, b, 2)
        return {
            "SA": kernel.matrix_renyi_entropy(a, 2),
            "SB": kernel.matrix_renyi_entropy(b, 2),
            "SAB": joint,
            "I": information,
        }

    assert jax.jit(values)(*single(X, Y)) == pytest.approx(expected, rel=1e-5)
    divergence, dse = REFERENCE["kernel.cs_div"], REFERENCE["kernel.dse.t1"] * math.log(2)
    assert kernel.cauchy_schwarz_divergence(*single(X, X2)) == pytest.approx(divergence, rel=2e-5)
    assert kernel.diffusion_spectral_entropy(*single(X), 10.0) == pytest.approx(dse, abs=2e-4)
    with jax.enable_x64(True):
        found = values(jnp.asarray(X), jnp.asarray(Y))
        assert found == pytest.approx(expected, rel=1e-8)
        assert kernel.cauchy_schwarz_divergence(X, X2) == pytest.approx(divergence, rel=1e-9)
        assert kernel.diffusion_spectral_entropy(X, 10.0) == pytest.approx(dse, rel=1e-6)


@pytest.mark.parametrize("alpha", [0, 0.5, 1, 1 + 1e-6, 1.01, 2, 3, 5, 64, 100, 7.5, math.inf])
def test_every_order_against_eigenvalues(alpha):
    matrix = plain_gram(SMALL, s=0.7)
    p = np.linalg.eigvalsh(matrix / np.trace(matrix))
    p = p[p > 0]
    special = {0: math.log(len(p)), 1: plain_entropy(p), math.inf: -math.log(p.max())}
    expected = special[alpha] if alpha in special else math.log(np.sum(p**alpha)) / (1 - alpha)
    (gram,) = single(5 * matrix)  # any trace
    assert kernel.matrix_renyi_entropy(gram, alpha) == pytest.approx(expected, rel=2e-5, abs=1e-5)
    if alpha in (2, 3, 5):  # products against eigenvalues, which a traced order takes
        assert jax.jit(kernel.matrix_renyi_entropy)(gram, alpha) == pytest.approx(expected, rel=2e-5)
    with jax.enable_x64(True):
        found = kernel.matrix_renyi_entropy(jnp.asarray(matrix), alpha)
        # Where 1 − alpha is all but 0, it is the check that cancels.
        assert found == pytest.approx(expected, rel=1e-8 if abs(alpha - 1) > 1e-3 or alpha == 1 else 1e-6)


def test_bounds_degenerate_spectra_and_their_gradients():
    identity, ones = jnp.eye(64), jnp.ones((64, 64))
    for alpha in (0.5, 1, 2, 3, 2.5, math.inf):
        entropy = partial(kernel.matrix_renyi_entropy, alpha=alpha)
        assert entropy(identity) == pytest.approx(math.log(64), rel=1e-6)
        assert entropy(ones) == pytest.approx(0, abs=2e-6)
        # Rank one: eigenvalues that are rounding, some of them negative.
        for matrix in (identity, ones, jnp.zeros((3, 3))):
            assert jnp.isfinite(jax.grad(entropy)(matrix)).all()
    for scale in (1e-30, 1e30):  # squares leave float32
        found = kernel.matrix_renyi_entropy(jnp.stack([scale * identity, ones]), 2)
        np.testing.assert_allclose(found, [math.log(64), 0], atol=2e-6)
    assert kernel.matrix_renyi_entropy(ones, 0) == pytest.approx(0, abs=1e-6)
    assert kernel.matrix_renyi_entropy(jnp.zeros((0, 0)), 1) == 0
    assert kernel.matrix_renyi_entropy(jnp.zeros((3, 3)), 2) == 0


@settings(max_examples=8, deadline=None)
@given(SEEDS)
def test_joint_entropy_permutations_and_signs(seed):
    generator = np.random.default_rng(seed)
    x, y = generator.standard_normal((10, 2)), generator.standard_normal((10, 3))
    order = generator.permutation(10)
    a, b = single(plain_gram(x), plain_gram(y))
    for alpha in (1, 2):
        ea, eb = kernel.matrix_renyi_entropy(a, alpha), kernel.matrix_renyi_entropy(b, alpha)
        joint, information = kernel.matrix_renyi_entropy(a * b, alpha), kernel.matrix_mutual_information(a, b, alpha)
        assert -1e-5 <= ea <= math.log(10) + 1e-5
        assert joint >= max(ea, eb) - 1e-5
        assert information == pytest.approx(float(ea + eb - joint), abs=1e-5) and information >= -1e-5
        moved = kernel.matrix_mutual_information(a[order][:, order], b[order][:, order], alpha)
        assert moved == pytest.approx(float(information), abs=1e-5)


def test_spectra_of_features():
    z = np.random.default_rng(3).standard_normal((40, 6))
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    expected = plain_entropy(np.linalg.eigvalsh(unit.T @ unit / 40))
    singular = np.linalg.svd(z, compute_uv=False)
    rank = math.exp(plain_entropy(singular / singular.sum()))
    (features,) = single(z)
    assert kernel.von_neumann_entropy(features) == pytest.approx(expected, rel=1e-5)
    turned = z.T / np.linalg.norm(z.T, axis=1, keepdims=True)
    expected_turned = plain_entropy(np.linalg.eigvalsh(turned @ turned.T / 6))
    assert kernel.von_neumann_entropy(features.T) == pytest.approx(expected_turned, rel=1e-5)
    for scale in (1.0, 1e-20, 1e20):  # squares of these leave float32
        assert kernel.effective_rank(scale * features) == pytest.approx(rank, rel=1e-5)
        assert kernel.von_neumann_entropy(scale * features) == pytest.approx(expected, rel=1e-5)
    assert kernel.matrix_nuclear_norm(features) == pytest.approx(singular.sum(), rel=1e-5)
    columns = np.linalg.norm(z, axis=0).sum()
    assert kernel.matrix_nuclear_norm(features, "l12") == pytest.approx(columns, rel=1e-5)
    assert kernel.matrix_nuclear_norm(features, "l12") >= kernel.matrix_nuclear_norm(features)
    wide = np.sort(np.linalg.norm(z.T, axis=0))[-6:].sum()
    assert kernel.matrix_nuclear_norm(features.T, "l12") == pytest.approx(wide, rel=1e-5)
    centred = z - z.mean(0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    norm = np.linalg.svd(centred, compute_uv=False).sum()
    assert kernel.matrix_nuclear_norm(features, normalize=True) == pytest.approx(norm, rel=1e-5)
    low = jnp.ones((8, 1)) * jnp.arange(1.0, 5)[None]  # rank one, and a row of zeros
    for function in (kernel.von_neumann_entropy, kernel.effective_rank, kernel.matrix_nuclear_norm):
        for values in (low, low.at[0].set(0), jnp.zeros((3, 2))):
            assert jnp.isfinite(function(values)) and jnp.isfinite(jax.grad(function)(values)).all()
    assert kernel.von_neumann_entropy(low) == pytest.approx(0, abs=1e-6)
    assert kernel.effective_rank(low) == pytest.approx(1, abs=1e-5)
    assert kernel.effective_rank(jnp.zeros((3, 2))) == 0


def plain_unbiased_hsic(k, m):
    n = len(k)
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    rest = k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 * (k @ m).sum() / (n - 2)
    return (np.trace(k @ m) + rest) / (n * (n - 3))


def test_hsic_and_cka():
    a, b = plain_gram(SMALL), plain_gram(Y[:12])
    n = len(a)
    h = np.eye(n) - 1 / n
    biased = np.trace(a @ h @ b @ h) / (n - 1) ** 2
    with jax.enable_x64(True):
        assert kernel.hsic(a, b) == pytest.approx(biased, rel=1e-9)
        assert kernel.hsic(a, b, unbiased=True) == pytest.approx(plain_unbiased_hsic(a, b), rel=1e-8)
    k, m = single(a, b)
    assert kernel.hsic(k, m) == pytest.approx(biased, rel=1e-5)
    assert kernel.hsic(k, m, unbiased=True) == pytest.approx(plain_unbiased_hsic(a, b), rel=1e-4)
    # A wide kernel is 1 but for digits far behind: centring first keeps them.
    wide = plain_gram(SMALL, s=30.0).astype(np.float32)
    exact = np.trace(wide.astype(np.float64) @ h @ wide.astype(np.float64) @ h) / (n - 1) ** 2
    assert kernel.hsic(*single(wide, wide)) == pytest.approx(exact, rel=1e-3)
    squares = np.trace(a @ h @ a @ h) * np.trace(b @ h @ b @ h) / (n - 1) ** 4
    assert kernel.cka(k, m) == pytest.approx(biased / math.sqrt(squares), rel=1e-5)
    assert kernel.cka(k, 7 * k) == pytest.approx(1, abs=1e-6)
    constant = jnp.full((n, n), 0.1)
    assert kernel.cka(k, constant) == 0 and jnp.isfinite(jax.grad(kernel.cka)(constant, k)).all()


def test_unbiased_hsic_has_mean_zero_under_independence():
    def one(key):
        keys = jax.random.split(key)
        a, b = (kernel.gram(jax.random.normal(k, (12, 1))) for k in keys)
        return kernel.hsic(a, b, unbiased=True)

    values = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 400)))
    assert abs(values.mean()) < 3 * values.std() / 20
    assert (values < 0).any()


def test_divergences_between_samples():
    a, b, c = plain_gram(X), plain_gram(X2), plain_gram(X, X2)
    x, y = single(X, X2)
    assert kernel.mmd(x, y) == pytest.approx(a.mean() + b.mean() - 2 * c.mean(), rel=1e-5)
    assert kernel.mmd(x, x) == pytest.approx(0, abs=1e-6)
    assert kernel.cauchy_schwarz_divergence(x, x) == pytest.approx(0, abs=1e-6)
    wide = [plain_gram(p, q, 300.0) for p, q in ((X, X), (X2, X2), (X, X2))]
    exact = wide[0].mean() + wide[1].mean() - 2 * wide[2].mean()
    assert kernel.mmd(x, y, 300.0) == pytest.approx(exact, rel=1e-3)  # 1e-6 of what is subtracted
    # So far apart that every exp underflows: finite, and the gradient pulls together.
    for function in (kernel.mmd, kernel.cauchy_schwarz_divergence):
        gradient = jax.grad(function)(x + 200.0, y)
        assert jnp.isfinite(gradient).all()
    assert (jax.grad(kernel.cauchy_schwarz_divergence)(x + 200.0, y).sum(0) > 0).all()
    assert kernel.mmd(x[:0], y) == 0 and kernel.cauchy_schwarz_divergence(x[:0], y) == 0


def plain_dse(x, s, t):
    g = plain_gram(x, s=s)
    q = g.sum(1)
    values = np.abs(np.linalg.eigvalsh(g / np.sqrt(q[:, None] * q[None]))) ** t
    return plain_entropy(values / values.sum())


def test_diffusion_spectral_quantities():
    (x,) = single(X)
    labels = np.arange(64) % 3
    for t in (1, 2.5):
        whole = plain_dse(X, 1.0, t)
        assert kernel.diffusion_spectral_entropy(x, 1.0, t) == pytest.approx(whole, rel=1e-4)
        parts = sum((labels == c).mean() * plain_dse(X[labels == c], 1.0, t) for c in range(3))
        found = kernel.diffusion_spectral_mutual_information(x, jnp.asarray(labels), 3, 1.0, t)
        assert found == pytest.approx(whole - parts, abs=2e-4)
    # A label out of range masks its sample, and a class without samples adds nothing.
    odd = jnp.asarray(np.where(labels == 2, -1, labels))
    found = kernel.diffusion_spectral_mutual_information(x, odd, 5, 1.0)
    kept = labels < 2
    parts = sum((labels[kept] == c).mean() * plain_dse(X[labels == c], 1.0, 1) for c in range(2))
    assert found == pytest.approx(plain_dse(X[kept], 1.0, 1) - parts, abs=2e-4)


def test_masks_equal_the_shorter_call():
    where = jnp.arange(12) < 8
    x, y = single(SMALL, Y[:12])
    a, b = kernel.gram(x), kernel.gram(y)
    a8, b8 = a[:8, :8], b[:8, :8]
    pairs = [
        (kernel.matrix_renyi_entropy(a, 2, where), kernel.matrix_renyi_entropy(a8, 2)),
        (kernel.matrix_renyi_entropy(a, 1, where), kernel.matrix_renyi_entropy(a8, 1)),
        (kernel.matrix_mutual_information(a, b, 2, where), kernel.matrix_mutual_information(a8, b8, 2)),
        (kernel.von_neumann_entropy(x, where), kernel.von_neumann_entropy(x[:8])),
        (kernel.effective_rank(x, where), kernel.effective_rank(x[:8])),
        (kernel.matrix_nuclear_norm(x, "exact", True, where), kernel.matrix_nuclear_norm(x[:8], "exact", True)),
        (kernel.matrix_nuclear_norm(x.T, "l12", where=jnp.arange(3) < 2), kernel.matrix_nuclear_norm(x.T[:2], "l12")),
        (kernel.hsic(a, b, where=where), kernel.hsic(a8, b8)),
        (kernel.hsic(a, b, True, where), kernel.hsic(a8, b8, True)),
        (kernel.cka(a, b, where), kernel.cka(a8, b8)),
        (kernel.mmd(x, x + 1, where=where, y_where=where), kernel.mmd(x[:8], x[:8] + 1)),
        (
            kernel.cauchy_schwarz_divergence(x, x + 1, where=where, y_where=where),
            kernel.cauchy_schwarz_divergence(x[:8], x[:8] + 1),
        ),
        (kernel.diffusion_spectral_entropy(x, 1.0, 1, where), kernel.diffusion_spectral_entropy(x[:8], 1.0)),
    ]
    for masked, short in pairs:
        assert float(masked) == pytest.approx(float(short), rel=2e-5, abs=2e-6)


def test_nothing_left_is_zero_with_zero_gradient():
    none = jnp.zeros(12, bool)
    x, y = single(SMALL, Y[:12])
    a, b = kernel.gram(x), kernel.gram(y)
    functions = [
        (lambda m: kernel.matrix_renyi_entropy(m, 1.5, none), a),
        (lambda m: kernel.matrix_mutual_information(m, b, 2, none), a),
        (lambda m: kernel.hsic(m, b, where=none), a),
        (lambda m: kernel.cka(m, b, none), a),
        (lambda z: kernel.von_neumann_entropy(z, none), x),
        (lambda z: kernel.effective_rank(z, none), x),
        (lambda z: kernel.matrix_nuclear_norm(z, where=none), x),
        (lambda z: kernel.mmd(z, x, where=none), x),
        (lambda z: kernel.cauchy_schwarz_divergence(z, x, where=none), x),
        (lambda z: kernel.diffusion_spectral_entropy(z, 1.0, 1, none), x),
    ]
    for function, argument in functions:
        value, gradient = jax.value_and_grad(function)(argument)
        assert value == 0 and not gradient.any()


def test_gradients_against_differences():
    with jax.enable_x64(True):
        x, y = jnp.asarray(SMALL[:6]), jnp.asarray(X2[:5])
        b = kernel.gram(y[:, :1] @ jnp.ones((1, 2)))
        functions = [
            lambda z: kernel.matrix_renyi_entropy(kernel.gram(z), 2),
            lambda z: kernel.matrix_renyi_entropy(kernel.gram(z), 1),
            lambda z: kernel.matrix_mutual_information(kernel.gram(z)[:5, :5], b, 1.01),
            kernel.von_neumann_entropy,
            kernel.effective_rank,
            kernel.matrix_nuclear_norm,
            lambda z: kernel.hsic(kernel.gram(z)[:5, :5], b, unbiased=True),
            lambda z: kernel.cka(kernel.gram(z)[:5, :5], b),
            lambda z: kernel.mmd(z, y),
            lambda z: kernel.cauchy_schwarz_divergence(z, y),
            lambda z: kernel.diffusion_spectral_entropy(z, 1.0, 2),
        ]
        for function in functions:
            check_grads(function, (x,), order=1, modes=["rev"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_is_accumulated_in_single(dtype):
    x = jnp.asarray(X, dtype)
    values = [
        kernel.matrix_renyi_entropy(kernel.gram(x), 2),
        kernel.von_neumann_entropy(x),
        kernel.hsic(kernel.gram(x), kernel.gram(x)),
        kernel.mmd(x, jnp.asarray(X2, dtype)),
    ]
    exact = x.astype(jnp.float32)
    wanted = [
        kernel.matrix_renyi_entropy(kernel.gram(x).astype(jnp.float32), 2),
        kernel.von_neumann_entropy(exact),
        kernel.hsic(kernel.gram(x).astype(jnp.float32), kernel.gram(x).astype(jnp.float32)),
        kernel.mmd(exact, jnp.asarray(X2, dtype).astype(jnp.float32)),
    ]
    for value, expected in zip(values, wanted, strict=True):
        assert value.dtype == dtype
        assert float(value) == pytest.approx(float(expected), rel=2 * float(jnp.finfo(dtype).eps))


def test_bad_input_says_what_was_expected():
    x = jnp.ones((4, 2))
    k = jnp.eye(4)
    wrong = [
        (lambda: kernel.gram(jnp.ones(4)), "shape"),
        (lambda: kernel.gram(x, jnp.ones((4, 3))), "dimensions"),
        (lambda: kernel.gram(x, bandwidth=0.0), "bandwidth"),
        (lambda: kernel.matrix_renyi_entropy(x, 2), "square"),
        (lambda: kernel.matrix_renyi_entropy(k, -1), "alpha"),
        (lambda: kernel.matrix_renyi_entropy(k, math.nan), "alpha"),
        (lambda: kernel.hsic(k, jnp.eye(3)), "same samples"),
        (lambda: kernel.von_neumann_entropy(jnp.ones(3)), "shape"),
        (lambda: kernel.matrix_nuclear_norm(x, "l21"), "form"),  # type: ignore[arg-type]
        (lambda: kernel.diffusion_spectral_entropy(x, 1.0, 0), "t must"),
        (lambda: kernel.diffusion_spectral_mutual_information(x, jnp.ones(4), 2, 1.0), "integers"),
        (lambda: kernel.diffusion_spectral_mutual_information(x, jnp.ones(3, int), 2, 1.0), "one per sample"),
        (lambda: kernel.diffusion_spectral_mutual_information(x, jnp.ones(4, int), 0, 1.0), "num_classes"),
    ]
    for call, words in wrong:
        with pytest.raises(ValueError, match=words):
            call()
