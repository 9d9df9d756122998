"""Information from scores: exact scores of Gaussians by quadrature, plain numpy, masks and errors."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from infojax.info import score

REFERENCE = json.loads((Path(__file__).parent / "data" / "information_reference.json").read_text())["entries"]
FLOAT32 = {"rtol": 1e-5, "atol": 2e-6}
conditional = jax.jit(score.minde_conditional, static_argnames="reduction")
joint = jax.jit(score.minde_joint, static_argnames="reduction")


def single(*arrays):
    return tuple(jnp.asarray(array, jnp.float32) for array in arrays)


def schedule(num_times):
    """Times, β(t) from 0.1 to 20 and what is left of the data, α(t) = exp(−½ ∫ β)."""
    times = np.linspace(0, 1, num_times) ** 2
    return times, 0.1 + 19.9 * times, np.exp(-0.5 * (0.1 * times + 19.9 * times**2 / 2))


def spread(covariance):
    """Points of equal weight with exactly this covariance: the mean over them of any quadratic form is exact."""
    root = np.linalg.cholesky(covariance + 1e-15 * np.eye(len(covariance))) * np.sqrt(len(covariance))
    return np.concatenate([root.T, -root.T])


def exact_scores(rho, num_times):
    """Scores of a correlated pair (x_0, y_0), both sides noised, at points that represent all four variables."""
    times, beta, alphas = schedule(num_times)
    points = spread(np.array([[1, rho, 0, 0], [rho, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    x0, y0, noise_x, noise_y = points.T
    a = alphas[:, None]
    x, y = a * x0 + np.sqrt(1 - a**2) * noise_x, a * y0 + np.sqrt(1 - a**2) * noise_y
    r = rho * a**2
    scores = {
        "marginal": -x,
        "x_given_y": -(x - rho * a * y0) / (1 - a**2 * rho**2),
        "y_given_x": -(y - rho * a * x0) / (1 - a**2 * rho**2),
        "pair": np.stack([-(x - r * y) / (1 - r**2), -(y - r * x) / (1 - r**2)], axis=-1),
    }
    return times, beta, alphas[-1], {k: v if v.ndim == 3 else v[..., None] for k, v in scores.items()}


def gaussian_information(rho):
    return -0.5 * np.log1p(-(rho**2))


def test_reference_value_by_quadrature():
    expected = next(e["expected"] for e in REFERENCE if e["id"] == "score.minde.rho0.5")
    times, beta, _, s = exact_scores(0.5, 1000)
    with jax.enable_x64(True):
        value = conditional(s["x_given_y"], s["marginal"], times, beta)
        np.testing.assert_allclose(value, expected, rtol=1e-5)
    value = conditional(*single(s["x_given_y"], s["marginal"], times, beta))
    np.testing.assert_allclose(value, expected, rtol=3e-5)


@pytest.mark.parametrize("rho", [0.0, 0.5, -0.9])
def test_exact_scores_give_the_information(rho):
    times, beta, last, s = exact_scores(rho, 1000)
    truth = gaussian_information(rho)
    one, two = gaussian_information(rho * last), gaussian_information(rho * last**2)
    with jax.enable_x64(True):
        value = conditional(s["x_given_y"], s["marginal"], times, beta, one)
        np.testing.assert_allclose(value, truth, rtol=1e-4, atol=1e-12)
        value = joint(s["pair"], s["x_given_y"], s["y_given_x"], times, beta, 2 * one - two)
        np.testing.assert_allclose(value, truth, rtol=1e-4, atol=1e-12)
        # Cut short, the terms after the integral make up for what is missing.
        cut = 300
        short = {name: value[:cut] for name, value in s.items()}
        left = schedule(1000)[2][cut - 1]
        one, two = gaussian_information(rho * left), gaussian_information(rho * left**2)
        assert rho == 0 or one > 1e-3
        value = conditional(short["x_given_y"], short["marginal"], times[:cut], beta[:cut], one)
        np.testing.assert_allclose(value, truth, rtol=1e-4, atol=1e-12)
        value = joint(short["pair"], short["x_given_y"], short["y_given_x"], times[:cut], beta[:cut], 2 * one - two)
        np.testing.assert_allclose(value, truth, rtol=1e-4, atol=1e-12)


def test_both_forms_equal_numpy():
    rng = np.random.default_rng(0)
    pair, x, y = (rng.standard_normal((3, 4, 5, d)) for d in (3, 2, 1))
    other = rng.standard_normal((3, 4, 5, 2))
    times, beta = np.array([0.0, 0.1, 0.4, 1.0]), rng.random(4)
    terminal = rng.random(3)
    for beta_of_t in (beta, 0.7):
        square = np.sum((x - other) ** 2, -1) * np.broadcast_to(beta_of_t, 4)[:, None]
        expected = 0.5 * np.trapezoid(square, times, axis=1) + terminal[:, None]
        with jax.enable_x64(True):
            value = conditional(x, other, times, beta_of_t, terminal, reduction="none")
            np.testing.assert_allclose(value, expected, rtol=1e-9)
        value = conditional(*single(x, other, times, beta_of_t, terminal))
        np.testing.assert_allclose(value, expected.mean(-1), **FLOAT32)
        square = np.sum((pair - np.concatenate([x, y], -1)) ** 2, -1) * np.broadcast_to(beta_of_t, 4)[:, None]
        expected = 0.5 * np.trapezoid(square, times, axis=1) + 0.2
        value = joint(*single(pair, x, y, times, beta_of_t), 0.2, reduction="none")
        np.testing.assert_allclose(value, expected, **FLOAT32)


FORMS = {
    "conditional": lambda a, b, times, where=None: score.minde_conditional(a, b, times, 2.0, 0.1, where),
    "joint": lambda a, b, times, where=None: score.minde_joint(
        jnp.concatenate([a, b], -1), b, a, times, 2.0, 0.1, where
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_masks_axes_and_precision(form):
    function = jax.jit(FORMS[form])
    rng = np.random.default_rng(1)
    a, b, times = single(*rng.standard_normal((2, 2, 4, 7, 2)), np.array([0.0, 0.2, 0.5, 1.0]))
    value = function(a, b, times)
    assert value.shape == (2,)
    np.testing.assert_allclose(jax.vmap(function, in_axes=(0, 0, None))(a, b, times), value, **FLOAT32)
    keep = jnp.arange(7) < 5
    spoilt = jnp.where(keep[:, None], a, jnp.nan)
    np.testing.assert_allclose(function(spoilt, b, times, keep), function(a[:, :, :5], b[:, :, :5], times), **FLOAT32)
    slopes = jax.jit(jax.value_and_grad(lambda a, where: jnp.sum(function(a, b, times, where))))
    slope = slopes(spoilt, keep)[1]
    assert np.isfinite(slope).all() and slope[:, :, :5].any() and not slope[:, :, 5:].any()
    none, zero = slopes(spoilt, jnp.zeros(7, bool))
    assert float(none) == 0 and not zero.any()
    assert not function(a[:, :, :0], b[:, :, :0], times).any() and function(a[:0], b[:0], times).shape == (0,)
    for scale in (1e3, -1e3):
        np.testing.assert_allclose(function(scale * a, scale * b, times), 1e6 * (value - 0.1) + 0.1, rtol=1e-5)
    half = function(*(part.astype(jnp.bfloat16) for part in (a, b, times)))
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), value, rtol=2e-2)
    with jax.enable_x64(True):
        compiled = jax.jit(jax.value_and_grad(lambda a: jnp.sum(FORMS[form](a, np.float64(b), np.float64(times)))))
        point, direction = np.float64(a), rng.standard_normal(a.shape)
        ends = [compiled(point + step * direction)[0] for step in (1e-4, -1e-4)]
        np.testing.assert_allclose(np.sum(compiled(point)[1] * direction), (ends[0] - ends[1]) / 2e-4, rtol=1e-8)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda s, t: score.minde_conditional(s[0], s[0], t, 1.0), "score_conditional must have the shape"),
        (lambda s, t: score.minde_conditional(s, s[:2], t, 1.0), "score_marginal must have the shape"),
        (lambda s, t: score.minde_conditional(s, s[..., :1], t, 1.0), "same x"),
        (lambda s, t: score.minde_conditional(s, s, t[:1], 1.0), "times must be one axis"),
        (lambda s, t: score.minde_conditional(s, s, t[None], 1.0), "times must be one axis"),
        (lambda s, t: score.minde_conditional(s, s, t, t[:2]), "beta must be"),
        (lambda s, t: score.minde_conditional(s, s, t, 1.0, reduction="sum"), "reduction must be"),
        (lambda s, t: score.minde_joint(s, s, s, t, 1.0), r"2 \+ 2"),
        (lambda s, t: score.minde_joint(s, s[..., :1], s[:2, :, 1:], t, 1.0), "score_conditional_y must have"),
    ],
)
def test_bad_input_is_an_error_when_tracing(call, message):
    shapes = jax.ShapeDtypeStruct((3, 5, 2), jnp.float32), jax.ShapeDtypeStruct((3,), jnp.float32)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(call, *shapes)
