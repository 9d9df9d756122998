"""Variational bounds and score-based information against numpy, closed forms and critics that are known to be best."""

import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from jax.test_util import check_grads

from infojax.info import bounds, score

REFERENCE = {
    e["id"]: e["expected"]
    for e in json.loads((Path(__file__).parent / "data" / "information_reference.json").read_text())["entries"]
}
F = np.random.default_rng(11).standard_normal((16, 16)) + 3 * np.eye(16)
LOG_BASELINE = np.random.default_rng(12).standard_normal(16)
lse = scipy.special.logsumexp
LOWER = {
    "donsker_varadhan": bounds.donsker_varadhan,
    "nwj": bounds.nwj,
    "tuba": lambda f, **options: bounds.tuba(f, 0.5, **options),
    "infonce": bounds.infonce,
    "jensen_shannon": bounds.jensen_shannon,
    "smile": lambda f, **options: bounds.smile(f, 5.0, **options),
    "interpolated": lambda f, **options: bounds.interpolated(f, 0.5, 0.3, **options),
    "club": bounds.club,
    "leave_one_out": bounds.leave_one_out,
}


def plain_interpolated(f, log_a, alpha):
    n = len(f)
    b = np.zeros_like(f)
    for i in range(n):
        for j in range(n):
            rest = lse([f[i, k] for k in range(n) if k != j]) - math.log(n - 1)
            b[i, j] = np.logaddexp(math.log(alpha) + rest, math.log1p(-alpha) + log_a[i])
    total = 0.0
    for i in range(n):
        others = [j for j in range(n) if j != i]
        total += 1 + np.mean([f[i, i] - b[i, j] for j in others]) - np.mean([np.exp(f[i, j] - b[i, i]) for j in others])
    return total / n


@pytest.mark.parametrize("double", [False, True])
def test_reference_values(double):
    expected = REFERENCE["var.bounds.rng11"]
    with jax.enable_x64(double):
        f, log_a = jnp.asarray(F), jnp.asarray(LOG_BASELINE)
        found = {
            "dv": bounds.donsker_varadhan(f),
            "nwj": bounds.nwj(f),
            "infonce_rows": bounds.infonce(f),
            "infonce_cols": bounds.infonce(f.T),
            "infonce_symmetric": (bounds.infonce(f) + bounds.infonce(f.T)) / 2,
            "js_fgan": bounds.jensen_shannon(f),
            "tuba": bounds.tuba(f, log_a),
            "smile_tau1": bounds.smile(f, 1.0),
            "smile_tau5": bounds.smile(f, 5.0),
        }
        assert found == pytest.approx(expected, rel=1e-9 if double else 1e-5)
        mixed = bounds.interpolated(f, log_a, 0.3)
        assert mixed == pytest.approx(plain_interpolated(F, LOG_BASELINE, 0.3), rel=1e-9 if double else 1e-5)


@pytest.mark.parametrize("double", [False, True])
def test_upper_bounds_and_the_rate(double):
    expected = REFERENCE["var.club.rng13"]
    x = np.random.default_rng(13).standard_normal((32, 2))
    mean = x @ np.array([[1, 0.5], [-0.3, 0.8]])
    y = mean + 0.5 * np.random.default_rng(14).standard_normal((32, 2))
    square = np.sum((y[None] - mean[:, None]) ** 2, -1)
    log_q = -square / 0.5 - math.log(2 * math.pi * 0.25)
    m, log_variance = np.random.default_rng(15).standard_normal((2, 6, 4))
    tolerance = 1e-9 if double else 1e-5
    with jax.enable_x64(double):
        assert bounds.club(jnp.asarray(log_q)) == pytest.approx(expected["club"], rel=tolerance)
        assert bounds.leave_one_out(jnp.asarray(log_q)) == pytest.approx(expected["l1out"], rel=tolerance)
        cross_entropy = -bounds.barber_agakov(jnp.asarray(np.diag(log_q)), 0.0)
        assert cross_entropy == pytest.approx(expected["ba_crossentropy"], rel=tolerance)
        rate = bounds.vib_rate(jnp.asarray(m), jnp.exp(jnp.asarray(log_variance) / 2))
        np.testing.assert_allclose(rate, REFERENCE["var.vib.rng15"], rtol=tolerance)


def test_the_best_critic_reaches_the_information_of_a_gaussian():
    rho, batch = 0.75, 256
    truth = -0.5 * math.log1p(-(rho**2))

    def one(key):
        x, noise = jax.random.normal(key, (2, batch))
        y = rho * x + math.sqrt(1 - rho**2) * noise
        residual = (y[None, :] - rho * x[:, None]) ** 2 / (1 - rho**2)
        log_ratio = 0.5 * (y[None, :] ** 2 - residual) + truth
        log_q = -0.5 * residual
        return {
            "donsker_varadhan": bounds.donsker_varadhan(log_ratio),
            "nwj": bounds.nwj(1 + log_ratio),
            "tuba": bounds.tuba(log_ratio, 0.0),
            "infonce": bounds.infonce(log_ratio),
            "smile": bounds.smile(log_ratio, 10.0),
            "leave_one_out": bounds.leave_one_out(log_q),
            "club": bounds.club(log_q),
            "jensen_shannon": bounds.jensen_shannon(log_ratio),
            "worse": bounds.jensen_shannon(0.8 * log_ratio + 0.1),
        }

    values = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(3), 200))
    mean = {name: float(value.mean()) for name, value in values.items()}
    error = {name: float(value.std()) / math.sqrt(200) for name, value in values.items()}
    for name in ("nwj", "tuba"):  # unbiased at this critic
        assert abs(mean[name] - truth) < 3 * error[name]
    for name in ("donsker_varadhan", "smile", "infonce"):  # of bias 1/B
        assert abs(mean[name] - truth) < 3 * error[name] + 0.02
    assert mean["infonce"] <= truth + 3 * error["infonce"]
    assert mean["leave_one_out"] >= truth - 3 * error["leave_one_out"]
    # For this conditional the gap is known: ρ²/(1 − ρ²) less 1/B of it for the positives among the pairs.
    assert mean["club"] == pytest.approx(rho**2 / (1 - rho**2) * (1 - 1 / batch), abs=4 * error["club"])
    assert mean["jensen_shannon"] > mean["worse"]


def test_smile_has_the_gradient_of_jensen_shannon():
    f = jnp.asarray(F, jnp.float32)
    expected = jax.grad(bounds.jensen_shannon)(f)
    for tau in (0.5, 5.0, math.inf):
        np.testing.assert_allclose(jax.grad(lambda g, tau=tau: bounds.smile(g, tau))(f), expected, rtol=1e-6)
    assert bounds.smile(f, math.inf) == pytest.approx(float(bounds.donsker_varadhan(f)), rel=1e-6)
    # A critic that is sure by far: the objective's value is 1e3 times what is left of it in the sum.
    assert bounds.smile(1e3 * f, 1.0) == pytest.approx(
        float(np.mean(1e3 * np.diag(F)) - (lse(np.clip(1e3 * F, -1, 1)[~np.eye(16, dtype=bool)]) - math.log(240))),
        rel=1e-5,
    )


def test_interpolation_ends_in_tuba_and_stays_below_its_ceiling():
    f, log_a = jnp.asarray(F, jnp.float32), jnp.asarray(LOG_BASELINE, jnp.float32)
    assert bounds.interpolated(f, log_a, 0.0) == pytest.approx(float(bounds.tuba(f, log_a)), rel=1e-5)
    sure = 1e3 * jnp.eye(16)
    assert bounds.interpolated(sure, 0.0, 1.0) <= math.log(15) + 1e-4
    assert bounds.infonce(sure) == pytest.approx(math.log(16), rel=1e-6)
    for alpha in (0.0, 0.01, 0.5, 1.0):
        assert jnp.isfinite(jax.grad(lambda g, a=alpha: bounds.interpolated(g, log_a, a))(f)).all()


@pytest.mark.parametrize("name", LOWER)
def test_large_scores_masks_batches_and_gradients(name):
    bound = LOWER[name]
    f = jnp.asarray(F, jnp.float32)
    value = bound(f)
    unbounded = name in ("nwj", "tuba")  # their exponential overflows by nature
    for scale in (1e3, -1e3):
        shifted = scale * jnp.eye(16) if unbounded and scale > 0 else scale * f
        if unbounded:
            shifted = jnp.where(jnp.eye(16, dtype=bool), shifted, -jnp.abs(shifted))
        result, gradient = jax.value_and_grad(bound)(shifted)
        assert jnp.isfinite(result) and jnp.isfinite(gradient).all()
    # A sample less by mask, its row and column poisoned, is the smaller matrix.
    keep = jnp.arange(16) < 13
    pairs = keep[:, None] & keep[None, :]
    poisoned = jnp.where(pairs, f, jnp.nan)
    masked, gradient = jax.value_and_grad(lambda g: bound(g, where=pairs))(poisoned)
    assert masked == pytest.approx(float(bound(f[:13, :13])), rel=1e-5)
    np.testing.assert_allclose(gradient[:13, :13], jax.grad(bound)(f[:13, :13]), rtol=1e-4, atol=1e-6)
    assert not jnp.where(pairs, 0, gradient).any()
    # −inf is a pair that the critic rules out, which is no reason for NaN.
    ruled_out = f.at[2, 5].set(-jnp.inf)
    if name not in ("club",):  # a mean of log-densities is +inf there
        assert jnp.isfinite(bound(ruled_out)) and not jnp.isnan(jax.grad(bound)(ruled_out)).any()
    rows = bound(f, reduction="none")
    assert rows.shape == (16,) and float(rows.mean()) == pytest.approx(float(value), rel=1e-5)
    batch = jnp.stack([f, f.T])
    np.testing.assert_allclose(bound(batch), [bound(f), bound(f.T)], rtol=1e-5)
    np.testing.assert_allclose(jax.vmap(bound)(batch), bound(batch), rtol=1e-5)
    nothing = jnp.zeros((16, 16), bool)
    assert bound(f, where=nothing) == 0 and not jax.grad(lambda g: bound(g, where=nothing))(f).any()
    assert bound(jnp.zeros((0, 0))) == 0
    assert bound(jnp.zeros((2, 0, 0))).shape == (2,)
    half = bound(jnp.asarray(F, jnp.bfloat16))
    assert half.dtype == jnp.bfloat16 and float(half) == pytest.approx(float(value), rel=0.02, abs=0.02)
    if name != "smile":  # its gradient is of another value on purpose
        with jax.enable_x64(True):
            check_grads(bound, (jnp.asarray(F[:5, :5]),), order=1, modes=["rev"], rtol=1e-6, atol=1e-8)


def test_constants_that_must_not_matter():
    f = jnp.asarray(F, jnp.float32)
    assert bounds.donsker_varadhan(f + 100) == pytest.approx(float(bounds.donsker_varadhan(f)), rel=1e-4)
    rows = 50 * jnp.arange(16.0)[:, None]
    assert bounds.infonce(f + rows) == pytest.approx(float(bounds.infonce(f)), rel=1e-4)
    assert bounds.tuba(f + rows, rows[:, 0]) == pytest.approx(float(bounds.tuba(f, 0.0)), rel=1e-4)
    order = np.random.default_rng(0).permutation(16)
    for bound in LOWER.values():
        assert bound(f[order][:, order]) == pytest.approx(float(bound(f)), rel=1e-5)


def test_clip_is_of_the_mean():
    f = jnp.asarray(-3 * np.eye(8), jnp.float32)
    for name in ("donsker_varadhan", "nwj", "infonce", "smile", "club", "leave_one_out"):
        assert LOWER[name](f) < 0 and LOWER[name](f, clip=True) == 0


def test_bad_scores_say_what_was_expected():
    square, wide = jnp.zeros((4, 4)), jnp.zeros((4, 3))
    for bound in LOWER.values():
        with pytest.raises(ValueError, match="square"):
            bound(wide)
        with pytest.raises(ValueError, match="reduction"):
            bound(square, reduction="median")
    with pytest.raises(ValueError, match="tau"):
        bounds.smile(square, 0.0)
    with pytest.raises(ValueError, match="alpha"):
        bounds.interpolated(square, 0.0, 1.5)
    with pytest.raises(ValueError, match="log_baseline"):
        bounds.tuba(square, jnp.zeros(3))


def gaussian_diffusion(rho, times):
    """Samples and exact scores of the variance-preserving diffusion with beta from 0.1 to 20."""
    beta = 0.1 + 19.9 * times
    alpha = np.exp(-0.5 * (0.1 * times + 9.95 * times**2))[:, None, None]
    generator = np.random.default_rng(0)
    x, noise_y, noise_x = generator.standard_normal((3, len(times), 4000, 1))
    y = rho * x + math.sqrt(1 - rho**2) * noise_y
    return beta, alpha, x, y, alpha * x + np.sqrt(1 - alpha**2) * noise_x, generator


def test_minde_conditional_with_exact_scores():
    rho, times = 0.5, np.linspace(0, 1, 400) ** 2
    beta, alpha, _, y, x_t, _ = gaussian_diffusion(rho, times)
    conditional = -(x_t - alpha * rho * y) / (1 - alpha**2 * rho**2)
    arrays = [jnp.asarray(array, jnp.float32) for array in (conditional, -x_t, times, beta)]
    expected = REFERENCE["score.minde.rho0.5"]
    found = score.minde_conditional(*arrays)
    rows = score.minde_conditional(*arrays, reduction="none")
    assert rows.shape == (4000,)
    assert found == pytest.approx(expected, abs=3 * float(rows.std()) / math.sqrt(4000) + 1e-3)
    terminal = -0.5 * math.log1p(-(rho**2) * float(alpha[-1, 0, 0]) ** 2)
    assert score.minde_conditional(*arrays, terminal=terminal) == pytest.approx(float(found) + terminal)
    # With the expectation in closed form only the quadrature is left, and it is good to 1e-3.
    a2 = alpha[:, 0, 0] ** 2
    gap = np.sqrt(1 / (1 - a2 * rho**2) - 1)  # E|s(x|y) − s(x)|² is the difference of the Fisher informations
    exact = score.minde_conditional(gap[:, None, None], np.zeros((400, 1, 1)), times, beta)
    assert exact == pytest.approx(expected, rel=1e-3)


def test_minde_joint_with_exact_scores():
    rho, times = 0.5, np.linspace(0, 1, 400) ** 2
    beta, alpha, x, y, x_t, generator = gaussian_diffusion(rho, times)
    y_t = alpha * y + np.sqrt(1 - alpha**2) * generator.standard_normal(y.shape)
    r = alpha**2 * rho
    pair = np.concatenate([-(x_t - r * y_t), -(y_t - r * x_t)], -1) / (1 - r**2)
    given_y = -(x_t - alpha * rho * y) / (1 - alpha**2 * rho**2)
    given_x = -(y_t - alpha * rho * x) / (1 - alpha**2 * rho**2)
    arrays = [jnp.asarray(array, jnp.float32) for array in (pair, given_y, given_x, times, beta)]
    rows = score.minde_joint(*arrays, reduction="none")
    expected = -0.5 * math.log1p(-(rho**2))
    assert score.minde_joint(*arrays) == pytest.approx(expected, abs=3 * float(rows.std()) / math.sqrt(4000) + 2e-3)


def test_scores_masks_shapes_and_errors():
    one, zero, times = jnp.ones((2, 3, 5, 2)), jnp.zeros((3, 5, 2)), jnp.array([0.0, 0.2, 1.0])
    where = jnp.arange(5) < 3
    poisoned = jnp.where(where[:, None], one, jnp.nan)
    assert score.minde_conditional(one, zero, times, 1.0).shape == (2,)
    np.testing.assert_allclose(score.minde_conditional(poisoned, zero, times, 1.0, where=where), [1.0, 1.0], rtol=1e-6)
    gradient = jax.grad(lambda s: score.minde_conditional(s, zero, times, 1.0, where=where).sum())(one)
    assert jnp.isfinite(gradient).all() and not gradient[..., 3:, :].any()
    assert score.minde_conditional(one, zero, times, 1.0, where=jnp.zeros(5, bool)).tolist() == [0, 0]
    assert score.minde_conditional(jnp.asarray(one, jnp.bfloat16), jnp.asarray(zero, jnp.bfloat16), times, 1.0)[0] == 1
    with pytest.raises(ValueError, match="times"):
        score.minde_conditional(one, zero, times[:2], 1.0)
    with pytest.raises(ValueError, match="at least 2"):
        score.minde_conditional(one, zero, jnp.zeros(1), 1.0)
    with pytest.raises(ValueError, match="beta"):
        score.minde_conditional(one, zero, times, jnp.ones(2))
    with pytest.raises(ValueError, match="same x"):
        score.minde_conditional(one, zero[..., :1], times, 1.0)
    with pytest.raises(ValueError, match="dimensions"):
        score.minde_joint(one, zero, zero, times, 1.0)
