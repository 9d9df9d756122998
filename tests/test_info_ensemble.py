"""Information of ensembles and of Bayesian updates against numpy and scipy, and what must hold between them."""

import json
import math
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from infojax.info import bayes, categorical, ensemble, gaussian

REFERENCE = json.loads((Path(__file__).parent / "data" / "information_reference.json").read_text())["entries"]
MONTE_CARLO = next(e["expected"] for e in REFERENCE if e["id"] == "ens.mixture_mi_mc.rng9_10")
FLOAT32 = {"rtol": 1e-5, "atol": 2e-6}
MEAN = np.random.default_rng(9).standard_normal((5, 7, 3))
SCALE = np.exp(0.3 * np.random.default_rng(10).standard_normal((5, 7, 3)))
SEEDS = st.integers(0, 2**32 - 1)


def single(*arrays):
    return tuple(jnp.asarray(array, jnp.float32) for array in arrays)


def plain_gain(mean, scale, form, over_dims):
    epistemic, aleatoric = mean.var(0), (scale**2).mean(0)
    if form == "log_ratio":
        gain = np.log(1 + epistemic / aleatoric)
    else:
        gain = 0.5 * (np.log(epistemic + aleatoric) - np.log(scale**2).mean(0))
    return gain if over_dims == "none" else getattr(gain, over_dims)(-1)


def plain_pairwise(mean, scale, divergence):
    members = range(len(mean))

    def distance(i, j):
        a, b = scale[i] ** 2, scale[j] ** 2
        square = (mean[i] - mean[j]) ** 2
        if divergence == "kl":
            return np.sum(0.5 * (np.log(b / a) + (a + square) / b - 1), -1)
        return np.sum(square / (4 * (a + b)) + 0.5 * np.log((a + b) / (2 * np.sqrt(a * b))), -1)

    inner = [np.log(np.mean([np.exp(-distance(i, j)) for j in members], 0)) for i in members]
    return -np.mean(inner, 0)


def test_the_variance_of_the_mixture_splits():
    epistemic, aleatoric = ensemble.variance_split(*single(MEAN, SCALE))
    np.testing.assert_allclose(epistemic, MEAN.var(0, ddof=0), **FLOAT32)
    np.testing.assert_allclose(aleatoric, (SCALE**2).mean(0), **FLOAT32)
    np.testing.assert_allclose(ensemble.disagreement(*single(MEAN)), MEAN.var(0).mean(-1), **FLOAT32)
    far, _ = ensemble.variance_split(*single(MEAN + 1e3, SCALE))
    np.testing.assert_allclose(far, MEAN.var(0), rtol=1e-3)


@pytest.mark.parametrize("form", ["upper_bound", "log_ratio"])
@pytest.mark.parametrize("over_dims", ["sum", "mean", "max", "none", None])
def test_both_forms_over_dimensions(form, over_dims):
    chosen = over_dims or {"upper_bound": "sum", "log_ratio": "mean"}[form]
    value = plain_gain(MEAN, SCALE, form, chosen)
    gain = ensemble.gaussian_information_gain(*single(MEAN, SCALE), form=form, over_dims=over_dims)
    np.testing.assert_allclose(gain, value, **FLOAT32)
    with jax.enable_x64(True):
        gain = ensemble.gaussian_information_gain(MEAN, SCALE, form=form, over_dims=over_dims)
        np.testing.assert_allclose(gain, value, rtol=1e-9)


def test_bounds_bracket_the_monte_carlo_value():
    truth = np.array(MONTE_CARLO)
    upper = np.asarray(ensemble.pairwise_information_gain(*single(MEAN, SCALE)))
    lower = np.asarray(ensemble.pairwise_information_gain(*single(MEAN, SCALE), divergence="bhattacharyya"))
    normal = np.asarray(ensemble.gaussian_information_gain(*single(MEAN, SCALE)))
    assert (lower < truth + 0.01).all() and (truth < upper + 0.01).all() and (truth < normal + 0.01).all()
    assert (lower > 0).all() and (upper <= math.log(5)).all()
    # Without the spread of the members' noise the ratio form falls below the truth: it is no bound.
    ratio = np.asarray(ensemble.gaussian_information_gain(*single(MEAN, SCALE), form="log_ratio", over_dims="sum")) / 2
    assert (ratio < truth - 0.01).any() and (ratio <= normal + 1e-6).all()


@pytest.mark.parametrize("divergence", ["kl", "bhattacharyya"])
def test_pairwise_gain_equals_a_plain_loop(divergence):
    value = plain_pairwise(MEAN, SCALE, divergence)
    gain = ensemble.pairwise_information_gain(*single(MEAN, SCALE), divergence=divergence)
    np.testing.assert_allclose(gain, value, **FLOAT32)
    with jax.enable_x64(True):
        gain = ensemble.pairwise_information_gain(MEAN, SCALE, divergence=divergence)
        np.testing.assert_allclose(gain, value, rtol=1e-9)


def test_small_disagreement_is_not_rounded_away():
    mean = jnp.array([[-1e-5], [1e-5]])
    ones = jnp.ones((2, 1))
    np.testing.assert_allclose(ensemble.gaussian_information_gain(mean, ones), 0.5e-10, rtol=1e-4)
    np.testing.assert_allclose(ensemble.gaussian_information_gain(mean, ones, form="log_ratio"), 1e-10, rtol=1e-4)
    np.testing.assert_allclose(ensemble.pairwise_information_gain(mean, ones), 1e-10, rtol=1e-4)
    np.testing.assert_allclose(
        ensemble.pairwise_information_gain(mean, ones, divergence="bhattacharyya"), 0.25e-10, rtol=1e-4
    )


ENSEMBLE = {
    "upper_bound": ensemble.gaussian_information_gain,
    "log_ratio": lambda m, s, axis=0, where=None: ensemble.gaussian_information_gain(
        m, s, axis, "log_ratio", None, where
    ),
    "max": lambda m, s, axis=0, where=None: ensemble.gaussian_information_gain(
        m, s, axis, over_dims="max", where=where
    ),
    "disagreement": lambda m, s, axis=0, where=None: ensemble.disagreement(m, axis, where),
    "epistemic": lambda m, s, axis=0, where=None: ensemble.variance_split(m, s, axis, where)[0].mean(-1),
    "aleatoric": lambda m, s, axis=0, where=None: ensemble.variance_split(m, s, axis, where)[1].mean(-1),
    "kl": ensemble.pairwise_information_gain,
    "bhattacharyya": lambda m, s, axis=0, where=None: ensemble.pairwise_information_gain(
        m, s, axis, "bhattacharyya", where
    ),
}


@pytest.mark.parametrize("name", ENSEMBLE)
def test_axes_masks_and_transforms_of_ensembles(name):
    function = ENSEMBLE[name]
    compiled = jax.jit(function, static_argnames="axis")
    slopes = jax.jit(jax.value_and_grad(lambda m, s, where: jnp.sum(function(m, s, where=where)), argnums=(0, 1)))
    mean, scale = single(MEAN, SCALE)
    value = function(mean, scale)
    assert value.shape == (7,)
    swapped = jnp.moveaxis(mean, 0, 1), jnp.moveaxis(scale, 0, 1)
    np.testing.assert_allclose(compiled(*swapped, axis=-2), value, **FLOAT32)
    np.testing.assert_allclose(compiled(mean, scale), value, **FLOAT32)
    np.testing.assert_allclose(jax.jit(jax.vmap(function, in_axes=1))(mean, scale), value, **FLOAT32)
    np.testing.assert_allclose(compiled(mean[::-1], scale[::-1]), value, **FLOAT32)

    mask = jnp.array([True, False, True, True, False])[:, None, None]
    kept = jnp.array([0, 2, 3])
    spoilt = jnp.where(mask, mean, jnp.inf), jnp.where(mask, scale, 0)
    np.testing.assert_allclose(compiled(*spoilt, where=mask), compiled(mean[kept], scale[kept]), **FLOAT32)
    assert all(np.isfinite(slope).all() for slope in slopes(*spoilt, mask)[1])
    none, zeros = slopes(*spoilt, jnp.zeros((5, 1, 1), bool))
    assert float(none) == 0 and all((np.asarray(zero) == 0).all() for zero in zeros)

    # Identical members, and one member, know nothing of each other; gradients stay finite there.
    same = jnp.broadcast_to(mean[:1], mean.shape), jnp.broadcast_to(scale[:1], scale.shape)
    if name != "aleatoric":
        np.testing.assert_allclose(compiled(*same), 0, atol=1e-6)
        np.testing.assert_allclose(compiled(mean[:1], scale[:1]), 0, atol=1e-6)
    assert all(np.isfinite(slope).all() for slope in slopes(*same, jnp.ones((5, 1, 1), bool))[1])
    assert compiled(mean[:, :0], scale[:, :0]).shape == (0,)
    half = compiled(mean.astype(jnp.bfloat16), scale.astype(jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), value, rtol=0.05, atol=0.05)


NORMAL = jax.jit(ensemble.gaussian_information_gain, static_argnames=("form", "over_dims"))
PAIRWISE = {
    name: jax.jit(partial(ensemble.pairwise_information_gain, divergence=name)) for name in ("kl", "bhattacharyya")
}


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, spread=st.floats(0.0, 5.0))
def test_inequalities_of_ensembles(seed, spread):
    rng = np.random.default_rng(seed)
    mean, scale = single(spread * rng.standard_normal((4, 2)), np.exp(rng.standard_normal((4, 2))))
    upper, lower = PAIRWISE["kl"](mean, scale), PAIRWISE["bhattacharyya"](mean, scale)
    assert -1e-6 <= lower <= upper + 1e-6 and upper <= math.log(4) + 1e-6
    bound, ratio = NORMAL(mean, scale), NORMAL(mean, scale, form="log_ratio", over_dims="sum")
    assert lower <= bound + 1e-5 and ratio / 2 <= bound + 1e-5
    shared = NORMAL(mean, scale[:1])
    half = NORMAL(mean, scale[:1], form="log_ratio", over_dims="sum") / 2
    np.testing.assert_allclose(shared, half, rtol=1e-5, atol=1e-6)


POSITIVE = st.floats(0.05, 200.0)
COMPILED = [jax.jit(function) for function in (bayes.surprise_beta, bayes.surprise_gamma, bayes.surprise_normal)]
COMPILED_DIRICHLET = jax.jit(bayes.surprise_dirichlet)
UPDATES = {
    "normal": (
        lambda a, b, c, d: bayes.surprise_normal(a, b, c, d),
        lambda a, b, c, d: (scipy.stats.norm(a, b), scipy.stats.norm(c, d)),
    ),
    "beta": (bayes.surprise_beta, lambda a, b, c, d: (scipy.stats.beta(a, b), scipy.stats.beta(c, d))),
    "gamma": (
        bayes.surprise_gamma,
        lambda a, b, c, d: (scipy.stats.gamma(a, scale=1 / b), scipy.stats.gamma(c, scale=1 / d)),
    ),
}


@pytest.mark.parametrize("family", UPDATES)
@pytest.mark.parametrize("parameters", [(2.0, 1.5, 1.3, 2.5), (6.0, 4.0, 1.5, 1.0), (1.2, 3.0, 4.0, 2.0)])
def test_surprise_equals_the_integral(family, parameters):
    function, distributions = UPDATES[family]
    p, q = distributions(*parameters)
    low, high = p.ppf(1e-15), p.isf(1e-15)
    value = scipy.integrate.quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), low, high, limit=200)[0]
    np.testing.assert_allclose(function(*parameters), value, rtol=1e-5, atol=1e-5)


SLOPE = jax.jit(jax.grad(bayes.surprise_dirichlet))


def plain_dirichlet(a, b):
    a, b = np.float64(a), np.float64(b)
    log_beta = scipy.special.gammaln(b).sum() - scipy.special.gammaln(b.sum())
    log_beta -= scipy.special.gammaln(a).sum() - scipy.special.gammaln(a.sum())
    return log_beta + np.sum((a - b) * (scipy.special.psi(a) - scipy.special.psi(a.sum())))


@pytest.mark.parametrize(
    "posterior, prior",
    [
        ([2.0, 1.0, 0.5], [1.0, 1.0, 1.0]),
        ([0.01, 0.3, 5.0], [0.5, 0.02, 2.9]),
        ([3.1, 2.9, 40.0], [2.9, 3.1, 3.0]),
        ([1e4, 2e4, 3e4], [1.0, 1.0, 1.0]),
        ([1.0, 1.0, 1.0], [1e4, 2e4, 3e4]),
        ([1e4, 2e4, 3e4], [1.01e4, 2e4, 3e4]),
        ([1e4, 2e4, 3e4], [2e4, 4e4, 6e4]),
    ],
)
def test_dirichlets_also_of_many_counts(posterior, prior):
    """In float32, where differences of the log-gammas of such numbers would have no digits left."""
    posterior, prior = np.float32(posterior), np.float32(prior)
    value = plain_dirichlet(posterior, prior)
    dirichlet = jax.jit(bayes.surprise_dirichlet)
    np.testing.assert_allclose(dirichlet(posterior, prior), value, **FLOAT32)
    with jax.enable_x64(True):
        double = dirichlet(np.float64(posterior), np.float64(prior))
        np.testing.assert_allclose(double, value, rtol=1e-9, atol=1e-9)
    assert np.isfinite(SLOPE(jnp.asarray(posterior), prior)).all()


def test_equal_distributions_cancel_whether_constant_or_traced():
    """A compiler that folds constants may round them otherwise than what it computes when running."""
    ones = jnp.ones(1000)  # a float32 next to log Γ(1000) is 4.9e-4 away
    assert abs(float(jax.jit(lambda a: bayes.surprise_dirichlet(a, 1.0))(ones))) < 5e-4
    assert abs(float(jax.jit(lambda a: bayes.surprise_beta(a, a, 1.0, 1.0))(1.0))) < 5e-7
    assert abs(float(jax.jit(lambda a: bayes.surprise_gamma(a, a, 2.0, 2.0))(2.0))) < 5e-7


@pytest.mark.parametrize("x", [1e-6, 0.01, 0.5, 1.0, 2.0, 2.9999, 3.0, 3.0001, 9.9, 10.1, 50.0, 1e5])
def test_the_rest_of_stirlings_series_equals_scipys(x):
    """Through a Gamma posterior against Exp(1), whose divergence holds the log-gamma and the digamma of x."""
    value = (x - 1) * scipy.special.psi(x) - scipy.special.gammaln(x)
    with jax.enable_x64(True):
        np.testing.assert_allclose(bayes.surprise_gamma(x, 1.0, 1.0, 1.0), value, rtol=1e-9, atol=1e-13)
    held = float(np.float32(x))
    value = (held - 1) * scipy.special.psi(held) - scipy.special.gammaln(held)
    np.testing.assert_allclose(bayes.surprise_gamma(jnp.float32(x), 1.0, 1.0, 1.0), value, **FLOAT32)


@pytest.mark.parametrize("a, r, a0, r0", [(1e5, 1e3, 1.0, 1.0), (1e5, 1e3, 1.001e5, 1e3), (0.02, 3.0, 0.5, 1.0)])
def test_gammas_also_of_many_counts(a, r, a0, r0):
    a, r, a0, r0 = (float(np.float32(v)) for v in (a, r, a0, r0))
    value = (a - a0) * scipy.special.psi(a) - scipy.special.gammaln(a) + scipy.special.gammaln(a0)
    value += a0 * np.log(r / r0) + a * (r0 - r) / r
    np.testing.assert_allclose(bayes.surprise_gamma(a, r, a0, r0), value, rtol=2e-5, atol=2e-6)


@settings(max_examples=20, deadline=None)
@given(a=POSITIVE, b=POSITIVE, c=POSITIVE, d=POSITIVE)
def test_surprises_are_nonnegative_and_zero_of_nothing_new(a, b, c, d):
    a, b, c, d = single(a, b, c, d)
    for function in COMPILED:
        assert function(a, b, c, d) >= -2e-6
        assert abs(float(function(a, b, a, b))) <= 2e-6
    pair = COMPILED_DIRICHLET(jnp.stack([a, b]), jnp.stack([c, d]))
    np.testing.assert_allclose(COMPILED[0](a, b, c, d), pair, rtol=1e-6, atol=1e-6)


def test_surprises_of_normals_and_categoricals_are_their_divergences():
    rng = np.random.default_rng(0)
    mean, prior = single(*rng.standard_normal((2, 4, 3)))
    value = bayes.surprise_normal(mean, jnp.exp(prior), prior, 2.0)
    np.testing.assert_array_equal(value, gaussian.diagonal_kl_divergence(mean, jnp.exp(prior), prior, 2.0))
    assert value.shape == (4,)
    p, q = scipy.special.softmax(mean, -1), scipy.special.softmax(prior, -1)
    np.testing.assert_allclose(bayes.surprise_categorical(mean, prior), scipy.stats.entropy(p, q, axis=-1), **FLOAT32)
    mask = jnp.array([True, True, False])
    np.testing.assert_array_equal(
        bayes.surprise_categorical(mean, prior, mask), categorical.kl_divergence(mean, prior, mask)
    )


def test_dirichlet_masks_and_transforms():
    rng = np.random.default_rng(0)
    posterior, prior = single(*rng.gamma(2.0, size=(2, 5, 4)))
    dirichlet = jax.jit(bayes.surprise_dirichlet)
    value = bayes.surprise_dirichlet(posterior, prior)
    assert value.shape == (5,)
    np.testing.assert_allclose(dirichlet(posterior, prior), value, **FLOAT32)
    np.testing.assert_allclose(jax.vmap(dirichlet)(posterior, prior), value, **FLOAT32)
    np.testing.assert_allclose(dirichlet(posterior, 1.0), dirichlet(posterior, jnp.ones(4)), **FLOAT32)
    mask = jnp.array([True, False, True, True])
    kept = jnp.array([0, 2, 3])
    spoilt = jnp.where(mask[None], posterior, 0)
    part = dirichlet(spoilt, prior, mask)
    np.testing.assert_allclose(part, dirichlet(posterior[:, kept], prior[:, kept]), **FLOAT32)
    total = jax.jit(jax.value_and_grad(lambda a: jnp.sum(dirichlet(a, prior, jnp.zeros(4, bool)))))
    none, slope = total(spoilt)
    assert float(none) == 0 and (np.asarray(slope) == 0).all()
    assert dirichlet(posterior[:0], prior[:0]).shape == (0,)
    half = dirichlet(posterior.astype(jnp.bfloat16), prior.astype(jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), value, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("function", [bayes.surprise_beta, bayes.surprise_gamma, bayes.surprise_normal])
def test_gradients_of_surprises_equal_differences(function):
    with jax.enable_x64(True):
        for point in ((0.4, 2.0, 1.5, 0.7), (30.0, 12.0, 2.0, 5.0), (7.0, 7.0, 7.0, 7.0)):
            check_grads(jax.jit(function), tuple(map(jnp.asarray, point)), order=1, modes=["rev"], eps=1e-5, rtol=1e-5)


def likelihoods(outer, inner, noise=0.5, seed=0):
    """Of y = θ + noise, θ ~ N(0, 1): [n, m] is log p(y_n | θ_nm), y_n made with θ_n0; I = ½ log(1 + 1 / noise²)."""
    rng = np.random.default_rng(seed)
    theta = rng.standard_normal((outer, 1 + inner))
    y = theta[:, :1] + noise * rng.standard_normal((outer, 1))
    return np.float32(scipy.stats.norm.logpdf(y, theta, noise))


def test_expected_information_gain_of_a_linear_model():
    truth = 0.5 * math.log(1 + 4)
    scores = likelihoods(4000, 300)
    nested = float(bayes.expected_information_gain(scores))
    contrastive = float(bayes.expected_information_gain(scores, "contrastive"))
    assert contrastive < nested
    np.testing.assert_allclose(nested, truth, atol=0.05)
    np.testing.assert_allclose(contrastive, truth, atol=0.05)
    np.testing.assert_allclose(gaussian.information_gain(jnp.ones((1, 1)), jnp.eye(1), 0.25), truth, rtol=1e-6)
    # With few further parameters the two are too high and too low.
    few = likelihoods(4000, 3)
    assert bayes.expected_information_gain(few) > truth + 0.05
    assert bayes.expected_information_gain(few, "contrastive") < truth - 0.05


@pytest.mark.parametrize("estimator", ["nested", "contrastive"])
def test_expected_information_gain_equals_numpy(estimator):
    scores = likelihoods(6, 4).astype(np.float64)
    inner = scores[:, 0 if estimator == "contrastive" else 1 :]
    each = scores[:, 0] - np.log(np.mean(np.exp(inner), -1))
    values = bayes.expected_information_gain(*single(scores), estimator, reduction="none")
    np.testing.assert_allclose(values, each, **FLOAT32)
    np.testing.assert_allclose(bayes.expected_information_gain(*single(scores), estimator), each.mean(), **FLOAT32)
    # What all parameters share of the log-likelihood does not matter, however large.
    far = np.round(scores * 256) / 256
    moved = bayes.expected_information_gain(*single(far - 3e4), estimator)
    np.testing.assert_allclose(moved, bayes.expected_information_gain(*single(far), estimator), **FLOAT32)
    stacked = jnp.stack([*single(scores), *single(scores[::-1] * 0.5)])
    batched = bayes.expected_information_gain(stacked, estimator)
    np.testing.assert_allclose(
        jax.vmap(lambda s: bayes.expected_information_gain(s, estimator))(stacked), batched, rtol=1e-6
    )
    np.testing.assert_allclose(batched[0], each.mean(), **FLOAT32)
    half = bayes.expected_information_gain(stacked.astype(jnp.bfloat16), estimator)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), batched, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("estimator", ["nested", "contrastive"])
def test_expected_information_gain_masks_and_extremes(estimator):
    @partial(jax.jit, static_argnames="reduction")
    def gain(scores, where=None, reduction="mean"):
        return bayes.expected_information_gain(scores, estimator, where, reduction)

    scores = jnp.asarray(likelihoods(5, 4))
    mask = np.ones((5, 5), bool)
    mask[1, 0] = mask[3, 1:] = False
    mask[:, 4] = False
    spoilt = jnp.where(mask, scores, jnp.inf)
    kept = gain(scores[jnp.array([0, 2, 4]), :4])
    np.testing.assert_allclose(gain(spoilt, jnp.asarray(mask)), kept, rtol=1e-5)
    assert (np.asarray(gain(spoilt, jnp.asarray(mask), "none"))[[1, 3]] == 0).all()
    assert np.isfinite(jax.grad(gain)(spoilt, jnp.asarray(mask))).all()
    none, slope = jax.value_and_grad(gain)(spoilt, jnp.zeros((5, 5), bool))
    assert float(none) == 0 and (np.asarray(slope) == 0).all()
    assert float(gain(scores[:0])) == 0

    # Excluded by all others, by its own parameter, by everything.
    inf = np.inf
    corners = jnp.array([[0.0, -inf, -inf], [-inf, 0.0, 0.0], [-inf, -inf, -inf]])
    top = math.log(3) if estimator == "contrastive" else inf
    np.testing.assert_allclose(gain(corners, reduction="none"), [top, -inf, -inf], rtol=1e-6)
    assert np.isfinite(jax.grad(lambda s: jnp.sum(gain(s, reduction="none")))(corners)).all()
    below = jnp.array([[0.0, 1.0], [0.0, 1.0]])
    assert gain(below) < 0
    assert float(bayes.expected_information_gain(below, estimator, clip=True)) == 0


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: ensemble.gaussian_information_gain(jnp.ones((2, 3)), 1.0, form="half"), "form must be"),
        (lambda: ensemble.gaussian_information_gain(jnp.ones((2, 3)), 1.0, over_dims="min"), "over_dims must be"),
        (lambda: ensemble.gaussian_information_gain(jnp.ones(2), 1.0), "axis must name"),
        (lambda: ensemble.variance_split(jnp.ones((2, 3)), 1.0, axis=2), "axis must name"),
        (lambda: ensemble.disagreement(jnp.ones((0, 3))), "at least one member"),
        (lambda: ensemble.pairwise_information_gain(jnp.ones((2, 3)), 1.0, divergence="js"), "divergence must be"),
        (lambda: bayes.surprise_dirichlet(1.0, 1.0), "concentration must have the shape"),
        (lambda: bayes.expected_information_gain(jnp.ones(3)), "log_likelihoods must have the shape"),
        (lambda: bayes.expected_information_gain(jnp.ones((3, 1))), "log_likelihoods must have the shape"),
        (lambda: bayes.expected_information_gain(jnp.ones((3, 3)), "plain"), "estimator must be"),
        (lambda: bayes.expected_information_gain(jnp.ones((3, 3)), reduction="sum"), "reduction must be"),
    ],
)
def test_errors_name_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()
