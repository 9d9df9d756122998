"""Gaussian quantities and units against the reference values, numpy in float64, and what must hold between them."""

import json
import math
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from infojax.info import gaussian, units

REFERENCE = json.loads((Path(__file__).parent / "data" / "information_reference.json").read_text())["entries"]
FLOAT32 = {"rtol": 1e-5, "atol": 2e-6}
SEEDS = st.integers(0, 2**32 - 1)
COPULA = jax.jit(gaussian.copula_transform)


def expected(name):
    return next(entry["expected"] for entry in REFERENCE if entry["id"] == name)


def covariance(seed, size=6):
    a = np.random.default_rng(seed).standard_normal((size, size))
    return a @ a.T / size + 0.1 * np.eye(size)


def entropy(cov):
    return 0.5 * np.linalg.slogdet(2 * np.pi * np.e * np.asarray(cov, np.float64))[1] if len(cov) else 0.0


def block_information(cov, x, y, z=()):
    def joint(*blocks):
        index = [i for block in blocks for i in block]
        return entropy(cov[np.ix_(index, index)])

    return joint(x, z) + joint(y, z) - joint(z) - joint(x, y, z)


def assert_in_both_precisions(function, value, *arrays):
    """Against a float64 value, in float32 and in float64."""
    function = jax.jit(function)
    single = function(*(jnp.asarray(array, jnp.float32) for array in arrays))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, value, **FLOAT32)
    with jax.enable_x64(True):
        double = function(*(jnp.asarray(array, jnp.float64) for array in arrays))
        assert double.dtype == jnp.float64
        np.testing.assert_allclose(double, value, rtol=1e-9, atol=1e-12)


def test_reference_values():
    cov = covariance(4)
    assert_in_both_precisions(lambda c: gaussian.mutual_information(c, 2), expected("gauss.mi.rng4"), cov)
    several = expected("gauss.oinfo.rng4")
    assert_in_both_precisions(gaussian.total_correlation, several["tc"], cov)
    assert_in_both_precisions(gaussian.o_information, several["o_information"], cov)
    assert_in_both_precisions(lambda c: gaussian.total_correlation(c) - gaussian.o_information(c), several["dtc"], cov)


@pytest.mark.parametrize("size", [1, 4])
def test_entropies_and_divergences_equal_scipys(size):
    p, q = covariance(1, size), covariance(2, size)
    mean_p, mean_q = np.random.default_rng(3).standard_normal((2, size))
    assert_in_both_precisions(gaussian.entropy, scipy.stats.multivariate_normal(mean_p, p).entropy(), p)
    assert_in_both_precisions(
        gaussian.diagonal_entropy, sum(scipy.stats.norm(0, s).entropy() for s in np.diag(p)), np.diag(p)
    )
    shift = mean_p - mean_q
    inverse = np.linalg.inv(q)
    log_ratio = np.linalg.slogdet(q)[1] - np.linalg.slogdet(p)[1]
    kl = 0.5 * (np.trace(inverse @ p) - size + shift @ inverse @ shift + log_ratio)
    assert_in_both_precisions(gaussian.kl_divergence, kl, mean_p, p, mean_q, q)
    with jax.enable_x64(True):
        diagonal = gaussian.kl_divergence(mean_p, np.diag(np.diag(p)), mean_q, np.diag(np.diag(q)))
    scales = np.sqrt(np.diag(p)), np.sqrt(np.diag(q))
    assert_in_both_precisions(gaussian.diagonal_kl_divergence, diagonal, mean_p, scales[0], mean_q, scales[1])


@pytest.mark.parametrize("gap", [1e-4, 1e-2, 0.2, 0.3, 3.0])
def test_divergences_of_near_gaussians_do_not_cancel(gap):
    wide = np.float32(1 + gap)
    t = float(wide) - 1
    value = t**2 / 2 + t - math.log1p(t) if t > 1e-3 else t**2 - t**3 / 3
    np.testing.assert_allclose(gaussian.diagonal_kl_divergence(0.0, wide, 0.0, 1.0), value, rtol=1e-5)
    cov = jnp.eye(2) * (wide * wide)
    np.testing.assert_allclose(
        gaussian.kl_divergence(jnp.zeros(2), cov, jnp.zeros(2), jnp.eye(2)),
        2 * value,
        rtol=5e-3 if gap < 1e-3 else 1e-4,
    )


def test_extreme_scales():
    assert float(gaussian.diagonal_entropy(jnp.array([1.0, 0.0]))) == -np.inf
    assert float(gaussian.diagonal_kl_divergence(0.0, 0.0, 0.0, 1.0)) == np.inf
    assert float(jax.grad(gaussian.diagonal_entropy)(jnp.array([1.0, 0.0]))[1]) == 0
    slope = jax.jit(jax.grad(gaussian.diagonal_kl_divergence, argnums=(0, 1, 2, 3)))
    slopes = slope(*jnp.array([0.0, 0.0, 0.0, 1.0]))
    assert np.isfinite(slopes).all()
    np.testing.assert_allclose(gaussian.entropy(jnp.eye(3) * 1e-4), entropy(np.eye(3) * 1e-4), rtol=1e-6)
    assert gaussian.entropy(jnp.eye(3) * 1e-4) < 0


@pytest.mark.parametrize("dim_x, dim_y", [(1, 1), (1, 5), (2, 3), (3, 1)])
def test_blocks_against_log_determinants(dim_x, dim_y):
    cov = covariance(dim_x + 10 * dim_y)
    x, y, z = range(dim_x), range(dim_x, dim_x + dim_y), range(dim_x + dim_y, 6)
    value = block_information(cov, x, y, z)
    assert_in_both_precisions(lambda c: gaussian.conditional_mutual_information(c, dim_x, dim_y), value, cov)
    assert_in_both_precisions(
        lambda c: gaussian.mutual_information(c, dim_x), block_information(cov, x, range(dim_x, 6)), cov
    )


PAIR = [
    jax.jit(jax.value_and_grad(lambda c: gaussian.mutual_information(c, 1))),
    jax.jit(jax.value_and_grad(lambda c: gaussian.conditional_mutual_information(c, 1, 1))),
    jax.jit(jax.value_and_grad(gaussian.total_correlation)),
]


@pytest.mark.parametrize("rho", [0.0, 1e-4, 0.3, -0.75, 0.9996, 0.9997, 0.9998, 0.99999, -0.99999, 0.9999999])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e3])
def test_strong_correlations_keep_their_digits(rho, scale):
    """Nothing is lost of the correlation that float32 holds; other variances cost at most the rounding of the table."""
    held = float(np.float32(rho))
    truth = -0.5 * (math.log1p(-held) + math.log1p(held))
    cov = jnp.array([[1.0, rho], [rho, 1.0]], jnp.float32)
    for function in PAIR:
        value, slope = function(cov)
        np.testing.assert_allclose(value, truth, rtol=5e-7, atol=1e-9)
        assert np.isfinite(slope).all()
    np.testing.assert_allclose(gaussian.mutual_information(cov, 1), truth, rtol=5e-7, atol=1e-9)
    if abs(rho) < 0.999999:
        scaled = cov * jnp.array([[1.0, scale], [scale, scale * scale]])
        np.testing.assert_allclose(PAIR[0](scaled)[0], truth, rtol=1e-5, atol=2e-7 / (1 - held**2))


def test_strong_correlations_in_blocks_stay_finite():
    rho = 0.99999
    cov = jnp.kron(jnp.array([[1.0, rho], [rho, 1.0]]), jnp.eye(3))
    held = float(np.float32(rho))
    np.testing.assert_allclose(gaussian.mutual_information(cov, 3), -1.5 * math.log1p(-(held**2)), atol=1e-2)
    assert np.isfinite(jax.grad(gaussian.mutual_information)(cov, 3)).all()
    assert float(gaussian.mutual_information(jnp.ones((2, 2)), 1)) == np.inf


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_identities_of_a_covariance(seed):
    cov = covariance(seed, 5)
    with jax.enable_x64(True):
        c = jnp.asarray(cov)
        entropies = [gaussian.entropy(c[i : i + 1, i : i + 1]) for i in range(5)]
        total = gaussian.total_correlation(c)
        np.testing.assert_allclose(total, sum(entropies) - gaussian.entropy(c), atol=1e-10)
        # I(X; Y, Z) = I(X; Z) + I(X; Y | Z), X the first two, Y the next two
        rest = jnp.array([0, 1, 4])
        chain = gaussian.mutual_information(c[rest][:, rest], 2) + gaussian.conditional_mutual_information(c, 2, 2)
        np.testing.assert_allclose(gaussian.mutual_information(c, 2), chain, atol=1e-10)
        # I(X; Y) does not see invertible linear maps of X, and is symmetric.
        maps = np.eye(5)
        maps[:2, :2] = np.random.default_rng(seed).standard_normal((2, 2)) + 3 * np.eye(2)
        mapped = gaussian.mutual_information(jnp.asarray(maps @ cov @ maps.T), 2)
        np.testing.assert_allclose(mapped, gaussian.mutual_information(c, 2), atol=1e-9)
        swapped = gaussian.mutual_information(jnp.roll(c, (3, 3), (0, 1)), 3)
        np.testing.assert_allclose(swapped, gaussian.mutual_information(c, 2), atol=1e-10)
        order = np.random.default_rng(seed).permutation(5)
        np.testing.assert_allclose(gaussian.o_information(c[order][:, order]), gaussian.o_information(c), atol=1e-9)
        without = [np.delete(np.delete(cov, i, 0), i, 1) for i in range(5)]
        han = 3 * entropy(cov) + sum(float(h) - entropy(w) for h, w in zip(entropies, without, strict=True))
        np.testing.assert_allclose(gaussian.o_information(c), han, atol=1e-9)
    assert gaussian.kl_divergence(jnp.zeros(5), np.float32(cov), jnp.zeros(5), np.float32(cov)) >= 0


def test_independent_blocks_and_the_sign_of_the_o_information():
    blocks = jnp.asarray(scipy.linalg.block_diag(covariance(1, 2), covariance(2, 3)), jnp.float32)
    assert float(gaussian.mutual_information(blocks, 2)) == 0
    assert float(gaussian.total_correlation(jnp.diag(jnp.array([1.0, 2.0, 3.0])))) == 0
    assert gaussian.o_information(0.5 * jnp.eye(3) + 0.5) > 0.01
    # A sum of two independent variables is synergistic.
    assert gaussian.o_information(jnp.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 2.1]])) < -0.01
    assert float(gaussian.o_information(jnp.array([[1.0, 0.5], [0.5, 1.0]]))) == 0


def test_the_bias_correction_is_that_of_misra():
    """Over many samples of a known Gaussian the corrected estimates are right and the plain ones are not."""
    n, size = 12, 4
    cov = covariance(7, size)
    draws = np.random.default_rng(0).standard_normal((20000, n, size)) @ np.linalg.cholesky(cov).T
    centred = draws - draws.mean(1, keepdims=True)
    samples = jnp.asarray(np.einsum("bni,bnj->bij", centred, centred) / (n - 1), jnp.float32)
    x, y = range(2), range(2, 4)
    for function, truth in (
        (gaussian.entropy, entropy(cov)),
        (lambda c, n=None: gaussian.mutual_information(c, 2, n), block_information(cov, x, y)),
        (
            lambda c, n=None: gaussian.conditional_mutual_information(c, 1, 2, n),
            block_information(cov, [0], [1, 2], [3]),
        ),
    ):
        corrected = np.asarray(function(samples, n))
        error = 4 * corrected.std() / math.sqrt(len(corrected))
        assert abs(corrected.mean() - truth) < error < abs(np.mean(function(samples)) - truth)
    few = gaussian.mutual_information(jnp.eye(2), 1, 10)
    assert few < 0
    assert float(gaussian.mutual_information(jnp.eye(2), 1, 10, clip=True)) == 0
    assert float(gaussian.conditional_mutual_information(jnp.eye(3), 1, 1, 10, clip=True)) == 0
    np.testing.assert_allclose(jax.jit(lambda n: gaussian.mutual_information(jnp.eye(2), 1, n))(10), few, atol=1e-6)


@pytest.mark.parametrize("rows", [1, 2, 3, 8])
def test_information_gain_is_the_loss_of_entropy(rows):
    rng = np.random.default_rng(rows)
    features, prior, noise = rng.standard_normal((rows, 3)), covariance(5, 3), 0.3
    posterior = np.linalg.inv(np.linalg.inv(prior) + features.T @ features / noise)
    value = 0.5 * (np.linalg.slogdet(prior)[1] - np.linalg.slogdet(posterior)[1])
    assert_in_both_precisions(lambda f, c: gaussian.information_gain(f, c, noise), value, features, prior)


def test_information_gain_has_diminishing_returns():
    """Submodularity: an observation tells less beside more others; and masked rows tell nothing."""
    features = jnp.asarray(np.random.default_rng(0).standard_normal((5, 3)), jnp.float32)
    prior = jnp.asarray(covariance(5, 3), jnp.float32)

    def gain(*rows, n=5):
        return float(gaussian.information_gain(features, prior, 0.5, jnp.isin(jnp.arange(5), jnp.array(rows, int))))

    assert gain(0, 4) - gain(0) > gain(0, 1, 4) - gain(0, 1) > gain(0, 1, 2, 4) - gain(0, 1, 2) > 0
    np.testing.assert_allclose(
        gain(0, 2), gaussian.information_gain(features[jnp.array([0, 2])], prior, 0.5), rtol=1e-5
    )
    assert gain() == 0
    assert float(gaussian.information_gain(features[:0], prior, 0.5)) == 0
    nothing = jax.grad(lambda f: gaussian.information_gain(f, prior, 0.5, jnp.zeros(5, bool)))(
        features.at[0].set(np.inf)
    )
    assert (np.asarray(nothing) == 0).all()


def test_information_gain_of_noise_per_batch():
    features = jnp.asarray(np.random.default_rng(0).standard_normal((2, 4, 3)), jnp.float32)
    noise = jnp.array([0.1, 2.0])
    value = gaussian.information_gain(features, jnp.eye(3), noise)
    each = [gaussian.information_gain(features[i], jnp.eye(3), noise[i]) for i in range(2)]
    np.testing.assert_allclose(value, each, rtol=1e-5)


def autoregression(n, seed=0, start=0):
    noise = np.random.default_rng(seed).standard_normal((n + 100, 2))
    state, states = np.zeros(2), []
    for step in noise:
        state = np.array([0.5 * state[0], 0.5 * state[0] + 0.4 * state[1]]) + step
        states.append(state)
    return np.array(states[100:], np.float32).T


def test_transfer_entropy_of_a_known_process():
    """x' = .5 x + e, y' = .5 x + .4 y + e: 0.134642 from the stationary covariance, and from a long series near it."""
    matrix = np.array([[0.5, 0.0], [0.5, 0.4]])
    now = scipy.linalg.solve_discrete_lyapunov(matrix, np.eye(2))
    after = matrix @ now
    x_before, next_y, y_before = np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([0.0, 1.0])
    cov = np.array(
        [
            [now[0, 0], after[1, 0], now[0, 1]],
            [after[1, 0], now[1, 1], after[1, 1]],
            [now[0, 1], after[1, 1], now[1, 1]],
        ]
    )
    assert x_before @ now @ y_before == cov[0, 2] and next_y @ after @ x_before == cov[0, 1]
    np.testing.assert_allclose(gaussian.conditional_mutual_information(np.float32(cov), 1, 1), 0.134642, atol=2e-6)
    x, y = autoregression(20000)
    np.testing.assert_allclose(gaussian.transfer_entropy(x, y), 0.134642, atol=0.012)
    assert 0 <= float(gaussian.transfer_entropy(y, x)) < 1e-3


@pytest.mark.parametrize("history, dims", [(1, 1), (3, 1), (2, 2)])
def test_transfer_entropy_equals_that_of_regressions(history, dims):
    rng = np.random.default_rng(history)
    x = rng.standard_normal((200, dims)) + 5
    y = np.cumsum(rng.standard_normal((200, dims)), 0) * 0.1 + np.roll(x, history, 0)
    past = [np.concatenate([s[i : i + 200 - history] for i in range(history)], 1) for s in (y, x)]
    ones, target = np.ones((200 - history, 1)), y[history:]

    def left(*columns):
        design = np.concatenate([ones, *columns], 1)
        residual = target - design @ np.linalg.lstsq(design, target, rcond=None)[0]
        return np.linalg.slogdet(residual.T @ residual)[1]

    value = 0.5 * (left(past[0]) - left(*past))
    compiled = jax.jit(gaussian.transfer_entropy, static_argnums=2)
    with jax.enable_x64(True):
        np.testing.assert_allclose(compiled(x, y, history), value, rtol=1e-8)
    np.testing.assert_allclose(compiled(np.float32(x), np.float32(y), history), value, rtol=1e-3)
    if dims == 1:
        flat = compiled(np.float32(x[:, 0]), np.float32(y), history)
        np.testing.assert_allclose(flat, value, rtol=1e-3)


def test_transfer_entropy_of_masked_and_constant_series():
    x, y = autoregression(60)
    whole = gaussian.transfer_entropy(x[:40], y[:40])
    broken = np.concatenate([x[:40], np.full(20, np.nan, np.float32)]), np.concatenate([y[:40], y[40:]])
    mask = jnp.arange(60) < 40
    np.testing.assert_allclose(gaussian.transfer_entropy(*broken, where=mask), whole, rtol=1e-5)
    both = jax.jit(jax.value_and_grad(gaussian.transfer_entropy))
    nothing = both(jnp.asarray(x), y, where=jnp.zeros(60, bool))
    assert float(nothing[0]) == 0 and (np.asarray(nothing[1]) == 0).all()
    for constant in (0.0, 0.1, 1e6):
        still = jnp.full(60, constant, jnp.float32)
        for pair in ((still, y), (x, still), (still, still)):
            value, slope = both(*pair)
            assert abs(float(value)) < 1e-6 and np.isfinite(slope).all()


def test_transfer_entropy_leaves_out_transitions_with_a_gap():
    x, y = autoregression(50)
    mask = np.ones(50, bool)
    mask[20] = False
    pairs = [i for i in range(49) if mask[i] and mask[i + 1]]
    columns = np.stack([y[:-1], x[:-1], y[1:]])[:, pairs].astype(np.float64)
    cov = np.cov(columns)
    value = block_information(cov, [2], [1], [0])
    np.testing.assert_allclose(gaussian.transfer_entropy(x, y, where=jnp.asarray(mask)), value, rtol=1e-4)


@pytest.mark.parametrize("seed", [0, 1])
def test_copula_transform_equals_scipys_ranks(seed):
    x = np.random.default_rng(seed).standard_normal((2, 50, 3)).astype(np.float32)
    quantiles = scipy.stats.norm.ppf(scipy.stats.rankdata(x, method="ordinal", axis=-2) / 51)
    np.testing.assert_allclose(gaussian.copula_transform(x), quantiles, **FLOAT32)
    warped = gaussian.copula_transform(np.exp(3 * x))
    np.testing.assert_array_equal(warped, gaussian.copula_transform(x))
    slope = jax.grad(lambda v: jnp.sum(gaussian.copula_transform(v) ** 2))(jnp.asarray(x))
    assert (np.asarray(slope) == 0).all()


def test_copula_transform_of_ties_masks_and_large_samples():
    np.testing.assert_allclose(
        COPULA(jnp.array([[2.0], [1.0], [2.0]]))[:, 0],
        scipy.stats.norm.ppf([0.5, 0.25, 0.75]),
        atol=1e-6,
    )
    x = np.random.default_rng(0).standard_normal((20, 2)).astype(np.float32)
    mask = np.arange(20) % 3 > 0
    part = COPULA(np.where(mask[:, None], x, np.inf), jnp.asarray(mask))
    np.testing.assert_allclose(part[mask], COPULA(x[mask]), atol=1e-6)
    assert (np.asarray(part)[~mask] == 0).all()
    assert (np.asarray(COPULA(x, jnp.zeros(20, bool))) == 0).all()
    assert COPULA(x[:0]).shape == (0, 2)
    many = np.asarray(COPULA(jnp.arange(2.0**16)[:, None]))[:, 0]
    np.testing.assert_allclose(many[-1], -scipy.stats.norm.ppf(1 / (2**16 + 1)), rtol=1e-5)
    np.testing.assert_array_equal(many, -many[::-1])


def test_copula_information_of_a_benchmark_task():
    """Half-cubed normals at a correlation of .75: the copula sees through the map."""
    rng = np.random.default_rng(0)
    v = rng.standard_normal((2000, 2)) @ np.linalg.cholesky([[1, 0.75], [0.75, 1]]).T
    z = gaussian.copula_transform(np.float32(v * np.sqrt(np.abs(v))))
    np.testing.assert_allclose(gaussian.mutual_information(jnp.cov(z.T), 1), 0.399, atol=0.002)


CASES = {
    "entropy": gaussian.entropy,
    "mutual_information": lambda c: gaussian.mutual_information(c, 2),
    "conditional": lambda c: gaussian.conditional_mutual_information(c, 1, 2),
    "total_correlation": gaussian.total_correlation,
    "o_information": gaussian.o_information,
    "kl_divergence": lambda c: gaussian.kl_divergence(c[..., 0], c, c[..., 1], jnp.eye(4, dtype=c.dtype)),
    "information_gain": lambda c: gaussian.information_gain(c[..., :3, :], c, 0.5),
    "transfer_entropy": lambda c: gaussian.transfer_entropy(c[..., :1], c[..., 1:2]),
    "diagonal_entropy": lambda c: gaussian.diagonal_entropy(jnp.abs(c[..., 0])),
}


@pytest.mark.parametrize("name", CASES)
def test_batches_equal_single_calls_under_jit_and_vmap_with_finite_gradients(name):
    function = CASES[name]
    size = 4
    covs = jnp.asarray(np.stack([covariance(seed, size) for seed in range(3)]), jnp.float32)
    if name == "transfer_entropy":
        covs = jnp.asarray(np.random.default_rng(0).standard_normal((3, 20, 4)), jnp.float32)
    batched, compiled = function(covs), jax.jit(function)
    assert batched.shape == (3,)
    np.testing.assert_allclose(compiled(covs), batched, **FLOAT32)
    np.testing.assert_allclose([compiled(cov[None])[0] for cov in covs], batched, **FLOAT32)
    np.testing.assert_allclose(jax.jit(jax.vmap(lambda c: function(c[None])[0]))(covs), batched, **FLOAT32)
    assert np.isfinite(jax.jit(jax.grad(lambda c: jnp.sum(function(c))))(covs)).all()
    assert compiled(covs[:0]).shape == (0,)
    half = compiled(covs.astype(jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), batched, rtol=0.1, atol=0.1)


def test_gradients_equal_differences_in_float64():
    with jax.enable_x64(True):
        cov = jnp.asarray(covariance(3, 4))
        for function in (
            lambda c: gaussian.mutual_information(c, 2),
            gaussian.o_information,
            lambda c: gaussian.kl_divergence(c[0], c, c[1], jnp.eye(4)),
            lambda c: gaussian.information_gain(c[:2], jnp.eye(4), 0.5),
        ):
            check_grads(jax.jit(function), (cov,), order=1, modes=["rev"], eps=1e-5, rtol=1e-5)


def test_divergences_broadcast_and_mask():
    means = jnp.asarray(np.random.default_rng(0).standard_normal((3, 4)), jnp.float32)
    q = jnp.asarray(covariance(0, 4), jnp.float32)
    full = jax.jit(gaussian.kl_divergence)
    value = full(means, jnp.eye(4), jnp.zeros(4), q)
    each = [full(mean, jnp.eye(4), jnp.zeros(4), q) for mean in means]
    np.testing.assert_allclose(value, each, **FLOAT32)
    mask = jnp.array([True, False, True, False])
    part = gaussian.diagonal_kl_divergence(means, 0.5, 0.0, 2.0, mask)
    np.testing.assert_allclose(part, gaussian.diagonal_kl_divergence(means[:, ::2], 0.5, 0.0, 2.0), **FLOAT32)
    scale = jnp.array([1.0, 0.0, 3.0, np.inf])
    np.testing.assert_allclose(gaussian.diagonal_entropy(scale, mask), gaussian.diagonal_entropy(scale[::2]), rtol=1e-6)
    for function in (
        lambda s: gaussian.diagonal_entropy(s, jnp.zeros(4, bool)),
        lambda s: gaussian.diagonal_kl_divergence(s, s, 0.0, s, jnp.zeros(4, bool)),
    ):
        value, slope = jax.jit(jax.value_and_grad(function))(scale)
        assert float(value) == 0 and (np.asarray(slope) == 0).all()
    # A scalar counts as one dimension.
    assert gaussian.diagonal_kl_divergence(1.0, 1.0, 0.0, 1.0).shape == ()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: gaussian.entropy(jnp.ones(3)), "cov must be square"),
        (lambda: gaussian.entropy(jnp.ones((3, 2))), "cov must be square"),
        (lambda: gaussian.entropy(jnp.eye(3), 3), "num_samples must be above"),
        (lambda: gaussian.mutual_information(jnp.eye(3), 3), "dim_x must be an integer from 1 to 2"),
        (lambda: gaussian.mutual_information(jnp.eye(3), 0), "dim_x must be"),
        (lambda: gaussian.mutual_information(jnp.eye(3), 1.0), "dim_x must be"),
        (lambda: gaussian.conditional_mutual_information(jnp.eye(3), 1, 3), "dim_y must be an integer from 1 to 2"),
        (lambda: gaussian.kl_divergence(jnp.ones(2), jnp.eye(3), jnp.ones(3), jnp.eye(3)), "the same d"),
        (lambda: gaussian.information_gain(jnp.ones((4, 2)), jnp.eye(3), 1.0), "features must have the shape"),
        (lambda: gaussian.transfer_entropy(jnp.ones(5), jnp.ones(6)), "the same number of steps"),
        (lambda: gaussian.transfer_entropy(jnp.ones(9), jnp.ones(9), 0), "history must be an integer"),
        (lambda: gaussian.transfer_entropy(jnp.ones((3, 90)), jnp.ones((3, 90))), "must have the shape"),
        (lambda: gaussian.copula_transform(jnp.ones(5)), "x must have the shape"),
    ],
)
def test_errors_name_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16, jnp.bfloat16])
def test_units(dtype):
    values = jnp.array([[0.0, 1.0, -2.0]], dtype)
    bits = units.nats_to_bits(values)
    assert bits.dtype == dtype and bits.shape == values.shape
    np.testing.assert_allclose(bits.astype(jnp.float32), np.array([[0, 1, -2]]) / np.log(2), rtol=1e-2)
    np.testing.assert_allclose(units.bits_to_nats(bits).astype(jnp.float32), values.astype(jnp.float32), rtol=1e-2)
    np.testing.assert_allclose(units.bits_to_nats(1), math.log(2), rtol=1e-7)
    np.testing.assert_allclose(jax.jit(jax.grad(units.nats_to_bits))(1.0), 1 / math.log(2), rtol=1e-6)


def test_large_batches_of_two_covariances_end():
    """Two batches of factorisations at once waited for each other for ever, within some hundred calls."""
    words = """
import jax, jax.numpy as jnp
from infojax.info import gaussian
a, b = jax.random.normal(jax.random.key(0), (2, 1000, 12, 24))
c, e = (x @ jnp.swapaxes(x, -1, -2) / 12 for x in (a, b))
m, divergence = jnp.zeros((1000, 12)), jax.jit(gaussian.kl_divergence)
for _ in range(500):
    divergence(m, c, m, e).block_until_ready()
"""
    ran = subprocess.run([sys.executable, "-c", words], check=False, timeout=300)
    assert ran.returncode == 0
