"""Variational bounds against plain numpy, the reference values, a Gaussian with its best critic, and each other."""

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

from infojax.info import bounds

REFERENCE = json.loads((Path(__file__).parent / "data" / "information_reference.json").read_text())["entries"]
FLOAT32 = {"rtol": 1e-5, "atol": 2e-6}
SCORES = np.random.default_rng(11).standard_normal((16, 16)) + 3 * np.eye(16)
BASELINE = np.random.default_rng(12).standard_normal(16)
SEEDS = st.integers(0, 2**32 - 1)


def entry(name):
    return next(entry["expected"] for entry in REFERENCE if entry["id"] == name)


def single(array):
    return jnp.asarray(array, jnp.float32)


def bound(name, *arguments):
    function = partial(getattr(bounds, name), **dict(arguments))
    return jax.jit(function, static_argnames=("reduction",) if name == "jensen_shannon" else ("reduction", "clip"))


BOUNDS = {
    "donsker_varadhan": bound("donsker_varadhan"),
    "tuba": bound("tuba", ("log_baseline", 0.3)),
    "nwj": bound("nwj"),
    "infonce": bound("infonce"),
    "jensen_shannon": bound("jensen_shannon"),
    "smile": bound("smile", ("tau", 1.0)),
    "interpolated": bound("interpolated", ("log_baseline", 0.3), ("alpha", 0.4)),
    "multi_sample": bound("interpolated", ("log_baseline", 0.3), ("alpha", 1.0)),
    "club": bound("club"),
    "leave_one_out": bound("leave_one_out"),
}
# The exponential of a score itself, not of a difference of scores, leaves the range of float32 above 88.
EXPONENTIAL = ("tuba", "nwj")
baseline_of_each = jax.jit(bounds.tuba)
any_share = jax.jit(bounds.interpolated)


def plain_interpolated(f, log_baseline, alpha):
    n = len(f)
    b = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            others = np.delete(f[i], j)
            b[i, j] = np.log(alpha * np.mean(np.exp(others)) + (1 - alpha) * np.exp(log_baseline[i]))
    off = ~np.eye(n, dtype=bool)
    return 1 + np.mean((np.diag(f)[:, None] - b)[off]) - np.mean(np.exp(f - np.diag(b)[:, None])[off])


def conditional():
    """log q(y_j | x_i) of the reference, a linear Gaussian."""
    x = np.random.default_rng(13).standard_normal((32, 2))
    mean = x @ np.array([[1, 0.5], [-0.3, 0.8]])
    y = mean + 0.5 * np.random.default_rng(14).standard_normal((32, 2))
    return scipy.stats.norm.logpdf(y[None], mean[:, None], 0.5).sum(-1)


@pytest.mark.parametrize("double", [True, False], ids=["float64", "float32"])
def test_reference_values(double):
    expected, tolerance = entry("var.bounds.rng11"), {"rtol": 1e-9} if double else FLOAT32
    check = partial(np.testing.assert_allclose, **tolerance)
    with jax.enable_x64(double):
        dtype = jnp.float64 if double else jnp.float32
        f = jnp.asarray(SCORES, dtype)
        check(BOUNDS["donsker_varadhan"](f), expected["dv"])
        check(BOUNDS["nwj"](f), expected["nwj"])
        check(baseline_of_each(f, jnp.asarray(BASELINE, dtype)), expected["tuba"])
        check(BOUNDS["infonce"](f), expected["infonce_rows"])
        check(BOUNDS["infonce"](f.T), expected["infonce_cols"])
        check((BOUNDS["infonce"](f) + BOUNDS["infonce"](f.T)) / 2, expected["infonce_symmetric"])
        check(BOUNDS["jensen_shannon"](f), expected["js_fgan"])
        check(BOUNDS["smile"](f), expected["smile_tau1"])
        check(bounds.smile(f, 5), expected["smile_tau5"])
        log_q, expected = jnp.asarray(conditional(), dtype), entry("var.club.rng13")
        check(BOUNDS["club"](log_q), expected["club"])
        check(BOUNDS["leave_one_out"](log_q), expected["l1out"])
        check(bounds.barber_agakov(jnp.diagonal(log_q), 0.0), -expected["ba_crossentropy"])
        mean, log_variance = jnp.asarray(np.random.default_rng(15).standard_normal((2, 6, 4)), dtype)
        check(bounds.vib_rate(mean, jnp.exp(log_variance / 2)), entry("var.vib.rng15"))


@pytest.mark.parametrize("alpha", [0.0, 1e-6, 0.3, 0.999999, 1.0])
def test_interpolation_equals_numpy_and_joins_its_ends(alpha):
    expected = plain_interpolated(SCORES, BASELINE, alpha)
    with jax.enable_x64(True):
        np.testing.assert_allclose(any_share(SCORES, BASELINE, alpha), expected, rtol=1e-9)
    value = any_share(single(SCORES), single(BASELINE), alpha)
    np.testing.assert_allclose(value, expected, **FLOAT32)
    if alpha == 0:
        np.testing.assert_allclose(value, baseline_of_each(single(SCORES), single(BASELINE)), **FLOAT32)
    slopes = jax.jit(jax.grad(bounds.interpolated, argnums=(0, 1, 2)))
    for scores in (single(SCORES), 1e3 * single(SCORES)):
        far = slopes(scores, single(BASELINE), alpha)[:2]
        assert all(np.isfinite(slope).all() for slope in far) or (alpha < 1e-5 and scores.max() > 100)
    assert np.isfinite(slopes(single(SCORES), single(BASELINE), 0.999999)[2])


def test_the_multi_sample_end_is_below_its_ceiling():
    np.testing.assert_allclose(BOUNDS["multi_sample"](1e3 * jnp.eye(9)), np.log(8), rtol=1e-6)
    assert BOUNDS["multi_sample"](single(SCORES)) <= np.log(15)
    np.testing.assert_allclose(BOUNDS["infonce"](1e3 * jnp.eye(9)), np.log(9), rtol=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, scale=st.floats(0.01, 100.0))
def test_identities_of_any_scores(seed, scale):
    f = single(scale * np.random.default_rng(seed).standard_normal((6, 6)))
    assert BOUNDS["infonce"](f) <= np.log(6) + 2e-6
    assert BOUNDS["multi_sample"](f) <= np.log(5) + 1e-5
    assert BOUNDS["jensen_shannon"](f) <= 0
    # log x ≤ x / e: Donsker–Varadhan is the tightest of its kind, whatever the critic.
    assert scale > 10 or BOUNDS["nwj"](f) <= BOUNDS["donsker_varadhan"](f) + 1e-4 * (1 + scale)
    order = np.random.default_rng(seed).permutation(6)
    for function in BOUNDS.values():
        np.testing.assert_allclose(function(f[order][:, order]), function(f), rtol=1e-4, atol=1e-4)


def gaussian_scores(batches, size, rho=0.8, seed=0):
    """log p(y_j | x_i) / p(y_j) and log p(y_j | x_i) of batches of a correlated pair."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((batches, size))
    y = rho * x + np.sqrt(1 - rho**2) * rng.standard_normal((batches, size))
    log_q = scipy.stats.norm.logpdf(y[:, None, :], rho * x[:, :, None], np.sqrt(1 - rho**2))
    return log_q - scipy.stats.norm.logpdf(y)[:, None, :], log_q


def test_the_best_critic_of_a_gaussian_reaches_the_information():
    information = -0.5 * np.log(1 - 0.8**2)
    critic, log_q = (single(scores) for scores in gaussian_scores(100, 128))

    def check(values, truth, slack=0.0):
        values = np.asarray(values, np.float64)
        error = values.std(ddof=1) / np.sqrt(len(values))
        assert error < 0.03 and abs(values.mean() - truth) < 3 * error + slack

    check(BOUNDS["donsker_varadhan"](critic), information)
    check(BOUNDS["nwj"](critic + 1), information)
    check(bounds.tuba(critic, 0.0), information)
    check(bounds.smile(critic, 5.0), information)
    check(bounds.interpolated(critic, 0.0, 0.5), information)
    multi = BOUNDS["infonce"](critic)
    # InfoNCE of B samples is low by at most about the χ² of the pair over 2B.
    check(multi, information, slack=(1 / (1 - 0.8**2) - 1) / 256)
    assert (multi <= np.log(128)).all()
    # The contrastive upper bound has a closed form here, above the information.
    upper = BOUNDS["club"](log_q)
    check(upper * 128 / 127, 0.8**2 / (1 - 0.8**2))
    one_out = np.asarray(BOUNDS["leave_one_out"](log_q))
    assert np.mean(upper) > information
    assert one_out.mean() > information - 3 * one_out.std() / 10 and one_out.mean() < information + 0.1
    decoder = bounds.barber_agakov(jnp.diagonal(log_q, axis1=1, axis2=2), 0.5 * np.log(2 * np.pi * np.e))
    check(decoder, information)
    # The best critic is a stationary point: moving away loses.
    for name in ("donsker_varadhan", "infonce", "jensen_shannon"):
        best = BOUNDS[name](critic).mean()
        assert all(best > BOUNDS[name](factor * critic).mean() for factor in (0.5, 1.5))


def test_smile_has_the_gradient_of_jensen_shannon():
    f = single(SCORES)
    mask = np.ones((16, 16), bool)
    mask[3, np.arange(16) != 3] = False  # a row without negatives
    mask[5, 5] = mask[:, 9] = mask[9] = False
    for where in (None, jnp.asarray(mask)):
        for reduction in ("mean", "none"):

            def slope(function, where=where, reduction=reduction, **arguments):
                return jax.grad(lambda f: jnp.sum(function(f, where=where, reduction=reduction, **arguments)))(f)

            for tau in (0.5, np.inf):
                np.testing.assert_allclose(
                    slope(bounds.smile, tau=tau), slope(bounds.jensen_shannon), rtol=1e-6, atol=1e-9
                )
            value = bounds.smile(f, np.inf, where, reduction)
            np.testing.assert_allclose(value, bounds.donsker_varadhan(f, where, reduction), **FLOAT32)
    below = bounds.smile(-f, 5.0)
    assert below < 0 and float(bounds.smile(-f, 5.0, clip=True)) == 0


@pytest.mark.parametrize("name", BOUNDS)
def test_masks_axes_and_reductions(name):
    function = BOUNDS[name]
    f = single(np.random.default_rng(1).standard_normal((2, 9, 9)) + np.eye(9))

    @jax.jit
    def all_of(f, where):
        """The bound, its values per row and the gradient of its sum."""
        value, pull = jax.vjp(lambda f: function(f, where=where), f)
        return value, function(f, where=where, reduction="none"), pull(jnp.ones_like(value))[0]

    whole = jnp.ones((9, 9), bool)
    value, local, _ = all_of(f, whole)
    assert value.shape == (2,) and local.shape == (2, 9)
    np.testing.assert_allclose(local.mean(-1), value, **FLOAT32)

    keep = jnp.arange(9) < 6
    both = keep[:, None] & keep[None, :]
    kept = jax.jit(jax.vmap(lambda f: function(f, reduction="none")))(f[:, :6, :6])
    value, local, slope = all_of(jnp.where(both, f, jnp.nan), both)
    np.testing.assert_allclose(value, kept.mean(-1), **FLOAT32)
    np.testing.assert_allclose(local[:, :6], kept, **FLOAT32)
    assert not local[:, 6:].any() and np.isfinite(slope).all() and not jnp.where(both, 0, slope).any()

    # The largest exponentials of rows and columns without their positive reach neither value nor gradient.
    lonely = whole.at[2, 2].set(False)
    huge = f.at[:, :, 2].set(1e3) if name == "leave_one_out" else f.at[:, 2].set(1e3)
    value, _, slope = all_of(huge, lonely)
    assert np.isfinite(value).all() and np.isfinite(slope).all()
    for where in (jnp.zeros((9, 9), bool), ~jnp.eye(9, dtype=bool)):
        value, local, slope = all_of(f, where)
        assert not value.any() and not local.any() and not slope.any()
    # Without negatives there is nothing to compare with.
    assert not all_of(f, jnp.eye(9, dtype=bool))[0].any()
    assert jax.eval_shape(function, f[:0]).shape == (0,)
    assert not function(f[:, :0, :0]).any() and not function(f[:, :1, :1]).any()

    rounded = f.astype(jnp.bfloat16)
    low = function(rounded)
    assert low.dtype == jnp.bfloat16
    assert jax.eval_shape(function, f.astype(jnp.float16)).dtype == jnp.float16
    exact = all_of(rounded.astype(jnp.float32), whole)[0]
    np.testing.assert_allclose(low.astype(jnp.float32), exact, rtol=8e-3, atol=1e-3)


@pytest.mark.parametrize("name", BOUNDS)
def test_huge_and_impossible_scores(name):
    function = BOUNDS[name]
    slopes = jax.jit(jax.value_and_grad(lambda f: jnp.sum(function(f))))
    signs = np.where(np.random.default_rng(2).random((8, 8)) < 0.5, -1e3, 1e3)
    for f in (signs, 1e3 * (2 * np.eye(8) - 1), 1e3 * np.ones((8, 8)), -1e3 * np.ones((8, 8))):
        value, slope = slopes(single(f))
        off = f[~np.eye(8, dtype=bool)]
        overflows = name in EXPONENTIAL and off.max() > 0
        assert np.isneginf(value) if overflows else np.isfinite(value) and np.isfinite(slope).all()
    # A pair that is impossible weighs nothing; of a positive, it is the worst there is.
    f = single(SCORES[:8, :8])
    never = f.at[1, 2].set(-jnp.inf).at[4, 0].set(-jnp.inf)
    value, slope = slopes(never)
    expected = np.inf if name == "club" else slopes(jnp.maximum(never, -200.0))[0]
    if name != "smile":
        np.testing.assert_allclose(value, expected, **FLOAT32)
    assert np.isfinite(slope).all()
    row = f.at[3].set(-jnp.inf)
    # With its column too, CLUB has a −inf in one row and +inf in the others, and no value.
    for impossible in (f.at[3, 3].set(-jnp.inf), row, row.at[:, 3].set(-jnp.inf))[: 2 if name == "club" else 3]:
        value, slope = slopes(impossible)
        assert np.isneginf(value) and np.isfinite(slope).all()


def test_what_all_scores_share_takes_no_digits():
    f = np.round(SCORES * 256) / 256
    for name in ("donsker_varadhan", "infonce", "multi_sample", "club", "leave_one_out"):
        moved = BOUNDS[name](single(f + 3e4))
        np.testing.assert_allclose(moved, BOUNDS[name](single(f)), **FLOAT32, err_msg=name)


@pytest.mark.parametrize("name", [name for name in BOUNDS if name != "smile"])
def test_gradients_equal_differences(name):
    with jax.enable_x64(True):
        compiled = jax.jit(jax.value_and_grad(BOUNDS[name]))
        f, direction = SCORES[:7, :7], np.random.default_rng(3).standard_normal((7, 7))
        step = 1e-5
        difference = (compiled(f + step * direction)[0] - compiled(f - step * direction)[0]) / (2 * step)
        np.testing.assert_allclose(np.sum(compiled(f)[1] * direction), difference, rtol=1e-7)


def test_clipping_is_of_the_mean_only():
    f = -single(SCORES)
    for name in ("donsker_varadhan", "tuba", "nwj", "infonce", "interpolated", "club", "leave_one_out"):
        assert BOUNDS[name](f) < 0 and float(BOUNDS[name](f, clip=True)) == 0, name
        with pytest.raises(ValueError, match="clip"):
            BOUNDS[name](f, reduction="none", clip=True)


def test_decoders_and_codes_over_leading_axes():
    log_q = single(-np.random.default_rng(4).random((2, 5)))
    entropy = jnp.array([0.5, 2.0])
    value = bounds.barber_agakov(log_q, entropy)
    np.testing.assert_allclose(value, np.mean(log_q, -1) + entropy, **FLOAT32)
    local = bounds.barber_agakov(log_q, entropy, reduction="none")
    np.testing.assert_allclose(local, np.asarray(log_q) + entropy[:, None], **FLOAT32)
    assert float(bounds.barber_agakov(log_q[0, :0], 1.0)) == 0
    assert bounds.barber_agakov(log_q.astype(jnp.bfloat16), entropy.astype(jnp.bfloat16)).dtype == jnp.bfloat16

    mean, scale = single(np.random.default_rng(5).standard_normal((2, 4, 3)))
    scale = jnp.exp(scale)
    keep = jnp.array([True, False, True])
    spoilt = jnp.where(keep[None], mean, jnp.inf), jnp.where(keep[None], scale, 0)
    kept = jnp.array([0, 2])
    np.testing.assert_allclose(
        bounds.vib_rate(*spoilt, where=keep), bounds.vib_rate(mean[:, kept], scale[:, kept]), **FLOAT32
    )
    none, slope = jax.value_and_grad(lambda m: jnp.sum(bounds.vib_rate(m, scale, jnp.zeros(3, bool))))(mean)
    assert float(none) == 0 and not slope.any()
    # Codes near the prior: the rate is of the order of the squares, and keeps its digits.
    near = 1e-3 * np.asarray(mean, np.float64)
    rate = np.sum((near**2 + (1 + near) ** 2 - 1) / 2 - np.log1p(near), -1)
    np.testing.assert_allclose(bounds.vib_rate(single(near), single(1 + near)), rate, rtol=2e-3)
    assert np.isposinf(bounds.vib_rate(jnp.zeros(2), jnp.array([1.0, 0.0])))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda f: bounds.donsker_varadhan(f[:2]), "scores must be square"),
        (lambda f: bounds.infonce(f[0]), "scores must be square"),
        (lambda f: bounds.club(f[:, :2]), "log_q must be square"),
        (lambda f: bounds.leave_one_out(f[0]), "log_q must be square"),
        (lambda f: bounds.tuba(f, jnp.zeros(3)), "log_baseline must be a scalar or one value per row"),
        (lambda f: bounds.interpolated(f, jnp.zeros((5, 1)), 0.5), "log_baseline must be"),
        (lambda f: bounds.interpolated(f, 0.0, 1.5), "alpha must be between 0"),
        (lambda f: bounds.smile(f, 0.0), "tau must be above 0"),
        (lambda f: bounds.nwj(f, reduction="sum"), "reduction must be"),
        (lambda f: bounds.jensen_shannon(f, reduction="sum"), "reduction must be"),
        (lambda f: bounds.smile(f, 1.0, reduction="none", clip=True), "clip"),
    ],
)
def test_bad_input_is_an_error_when_tracing(call, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(call, jax.ShapeDtypeStruct((5, 5), jnp.float32))
