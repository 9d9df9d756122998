"""Quantities of logits against scipy in float64, the reference values, the probability forms and each other."""

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
from jax.test_util import check_grads

from infojax.info import categorical, discrete

REFERENCE = json.loads((Path(__file__).parent / "data" / "information_reference.json").read_text())["entries"]
LOGITS = np.random.default_rng(0).standard_normal((8, 10)) * 2
MEMBERS = np.random.default_rng(2).standard_normal((5, 4, 6)) * 1.5


def entry(name):
    return next(entry["expected"] for entry in REFERENCE if entry["id"] == name)


def softmax(logits):
    return scipy.special.softmax(np.asarray(logits, np.float64), axis=-1)


def single(array):
    return jnp.asarray(array, jnp.float32)


def test_entropy_matches_scipy_and_the_uniform_closed_form():
    np.testing.assert_allclose(
        categorical.entropy(single(LOGITS)), scipy.stats.entropy(softmax(LOGITS), axis=-1), rtol=3e-6
    )
    np.testing.assert_allclose(categorical.entropy(jnp.zeros(9)), np.log(9), rtol=1e-6)
    np.testing.assert_allclose(categorical.entropy(single([1e6, 1e6 + 1, 1e6])), entry("logits.offset"), rtol=1e-5)


def test_reference_values():
    with jax.enable_x64(True):
        gradient = jax.grad(lambda z: categorical.entropy(z).sum())(LOGITS)
        np.testing.assert_allclose(gradient[0], entry("logits.entropy_grad.rng0"), rtol=1e-9)
        np.testing.assert_allclose(categorical.renyi_entropy(LOGITS, 2), entry("logits.renyi2.rng0"), rtol=1e-9)
        np.testing.assert_allclose(categorical.tsallis_entropy(LOGITS, 2), entry("logits.tsallis2.rng0"), rtol=1e-9)
        expected = entry("logits.bald.rng2")
        np.testing.assert_allclose(categorical.marginal_entropy(MEMBERS, 0), expected["total"], rtol=1e-9)
        np.testing.assert_allclose(categorical.entropy(MEMBERS).mean(0), expected["aleatoric"], rtol=1e-9)
        np.testing.assert_allclose(categorical.mutual_information(MEMBERS, 0), expected["bald"], rtol=1e-9)
        np.testing.assert_allclose(categorical.expected_pairwise_kl(MEMBERS, 0), entry("logits.epkl.rng2"), rtol=1e-9)
    value = categorical.mutual_information(single(MEMBERS), 0)
    np.testing.assert_allclose(value, expected["bald"], rtol=1e-5, atol=2e-6)
    value = categorical.expected_pairwise_kl(single(MEMBERS), 0)
    np.testing.assert_allclose(value, entry("logits.epkl.rng2"), rtol=1e-5)


@pytest.mark.parametrize("alpha", [0, 0.5, 0.9999, 1, 1.001, 2, 5, np.inf])
def test_orders_equal_the_probability_form(alpha):
    p = softmax(LOGITS)
    with jax.enable_x64(True):
        renyi, tsallis = discrete.renyi_entropy(p, alpha), discrete.tsallis_entropy(p, alpha)
    np.testing.assert_allclose(categorical.renyi_entropy(single(LOGITS), alpha), renyi, rtol=1e-5)
    np.testing.assert_allclose(categorical.tsallis_entropy(single(LOGITS), alpha), tsallis, rtol=1e-5, atol=2e-6)
    hot = categorical.renyi_entropy(single(LOGITS), alpha, temperature=0.5)
    np.testing.assert_allclose(hot, categorical.renyi_entropy(single(2 * LOGITS), alpha), rtol=1e-5)


def test_the_support_counts_classes_too_improbable_for_the_precision():
    logits = jnp.array([0.0, -300.0, -jnp.inf])
    np.testing.assert_allclose(categorical.renyi_entropy(logits, 0), np.log(2), rtol=1e-6)
    np.testing.assert_allclose(categorical.renyi_entropy(logits, 0.1), 0, atol=1e-6)
    np.testing.assert_allclose(categorical.tsallis_entropy(logits, 0), 1, rtol=1e-6)


def test_divergences_of_logits_equal_those_of_probabilities():
    p, q = LOGITS, LOGITS[::-1] * 0.5
    with jax.enable_x64(True):
        expected = {
            name: getattr(discrete, name)(softmax(p), softmax(q))
            for name in ("cross_entropy", "kl_divergence", "js_divergence")
        }
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(categorical, name)(single(p), single(q)), value, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(categorical.kl_divergence(single(p), single(p) + 7), 0, atol=2e-6)
    one = categorical.kl_divergence(single(p), single(q[0]))  # broadcasts
    np.testing.assert_allclose(one[3], categorical.kl_divergence(single(p[3]), single(q[0])), rtol=1e-5)


def test_supports_that_differ():
    p, q = jnp.array([0.0, 1.0, -jnp.inf]), jnp.array([0.0, -jnp.inf, 3.0])
    assert categorical.kl_divergence(p, q) == np.inf
    assert categorical.cross_entropy(p, q) == np.inf
    assert categorical.expected_pairwise_kl(jnp.stack([p, q]), 0) == np.inf
    assert categorical.reverse_mutual_information(jnp.stack([p, q]), 0) == np.inf
    # a class that no member has is no difference
    both = jnp.array([[0.0, 1.0, -jnp.inf], [1.0, 0.0, -jnp.inf]])
    np.testing.assert_allclose(
        categorical.expected_pairwise_kl(both, 0), categorical.expected_pairwise_kl(both[:, :2], 0), rtol=1e-6
    )


ONE_ROW = {
    "entropy": categorical.entropy,
    "cold": partial(categorical.entropy, temperature=0.3),
    "renyi": lambda z: categorical.renyi_entropy(z, 2),
    "renyi0": lambda z: categorical.renyi_entropy(z, 0),
    "half": lambda z: categorical.renyi_entropy(z, 0.5),
    "min": lambda z: categorical.renyi_entropy(z, np.inf),
    "tsallis": lambda z: categorical.tsallis_entropy(z, 2),
    "normalized": categorical.normalized_entropy,
    "cross": lambda z: categorical.cross_entropy(z, z[::-1]),
    "kl": lambda z: categorical.kl_divergence(z, z[::-1]),
    "js": lambda z: categorical.js_divergence(z, z[::-1]),
    "marginal": lambda z: categorical.marginal_entropy(jnp.stack([z, z[::-1]]), 0),
    "information": lambda z: categorical.mutual_information(jnp.stack([z, z[::-1]]), 0),
    "pairwise": lambda z: categorical.expected_pairwise_kl(jnp.stack([z, z[::-1]]), 0),
    "reverse": lambda z: categorical.reverse_mutual_information(jnp.stack([z, z[::-1]]), 0),
}


@pytest.mark.parametrize("name", ONE_ROW)
def test_gradients_are_finite_at_every_corner(name):
    compiled = jax.jit(jax.value_and_grad(ONE_ROW[name]))
    symmetric_support = [0.0, -np.inf, 2.0, -np.inf, 0.0]
    for row in (symmetric_support, [-np.inf] * 5, [0.0] * 5, [1e30, -1e30, 0, -1e30, 1e30], [0, -200, 0, 200, 0]):
        value, gradient = compiled(single(row))
        assert np.isfinite(value), row
        assert np.isfinite(gradient).all(), row
        assert not np.asarray(gradient)[np.isneginf(row)].any(), row
    value, gradient = compiled(single([0.0, -np.inf, 1.0, 2.0, 0.0]))  # the reversed row has another support
    assert not np.isnan(value)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", ["entropy", "cold", "renyi", "tsallis", "kl", "information", "pairwise", "reverse"])
def test_derivatives_agree_with_differences(name):
    with jax.enable_x64(True):
        check_grads(jax.jit(ONE_ROW[name]), (jnp.asarray(LOGITS[0]),), order=2, modes=("fwd", "rev"), rtol=1e-4)


def test_entropy_gradient_is_minus_p_log_p_plus_entropy():
    p = softmax(LOGITS)
    expected = -p * (np.log(p) + scipy.stats.entropy(p, axis=-1)[:, None])
    gradient = jax.grad(lambda z: categorical.entropy(z).sum())(single(LOGITS))
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-7)


def test_the_gradient_in_the_temperature():
    with jax.enable_x64(True):
        check_grads(lambda t: categorical.entropy(LOGITS, t), (0.7,), order=1, modes=("fwd", "rev"))
        each = np.linspace(0.5, 2, 8)[:, None]
        together = categorical.entropy(LOGITS, each)
        np.testing.assert_allclose(together[3], categorical.entropy(LOGITS[3], each[3, 0]), rtol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 1e10, 1e30])
def test_temperature_is_right_for_huge_logits_under_jit(scale):
    logits = np.random.default_rng(1).normal(size=(50, 6)).astype(np.float32) * np.float32(scale)
    expected = scipy.stats.entropy(softmax(logits.astype(np.float64) / 0.3), axis=-1)
    value = jax.jit(lambda z: categorical.entropy(z, 0.3))(logits)
    np.testing.assert_allclose(value, expected, atol=1e-5)
    np.testing.assert_allclose(categorical.entropy(logits, 0.3), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(1037, 1000), (2, 700, 900)])
def test_many_rows_in_chunks_equal_the_rows_alone(shape):
    """Chunks are cut where rows do not divide; value, gradient, tangent and vmap must not notice."""
    assert np.prod(shape) > 3 * categorical.CHUNK_ELEMENTS
    logits = single(np.random.default_rng(3).normal(size=shape) * 3)
    logits = logits.at[..., 5].set(-jnp.inf)
    expected = scipy.stats.entropy(softmax(logits), axis=-1)
    value, gradient = jax.jit(jax.value_and_grad(lambda z: categorical.entropy(z).sum()))(logits)
    np.testing.assert_allclose(categorical.entropy(logits), expected, rtol=1e-5)
    np.testing.assert_allclose(value, expected.sum(), rtol=1e-5)
    last = jax.grad(categorical.entropy)(logits.reshape((-1, shape[-1]))[-1])
    np.testing.assert_allclose(gradient.reshape((-1, shape[-1]))[-1], last, atol=1e-7)
    by_vmap = jax.vmap(categorical.entropy)(logits)
    np.testing.assert_allclose(by_vmap, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "function",
    [
        categorical.entropy,
        categorical.normalized_entropy,
        partial(categorical.renyi_entropy, alpha=2),
        partial(categorical.tsallis_entropy, q=0.5),
        lambda z, where: categorical.kl_divergence(z, 0.5 * z, where),
        lambda z, where: categorical.cross_entropy(z, 0.5 * z, where),
        lambda z, where: categorical.js_divergence(z, 0.5 * z, where),
        lambda z, where: categorical.mutual_information(jnp.stack([z, 0.5 * z]), 0, where),
    ],
)
def test_masked_classes_leave_the_support(function):
    logits = single(LOGITS[0])
    where = jnp.arange(10) % 3 != 1
    np.testing.assert_allclose(function(logits, where=where), function(logits[where], where=None), rtol=1e-5)
    strange = jnp.where(where, logits, jnp.nan)
    value, gradient = jax.value_and_grad(lambda z: function(z, where=where))(strange)
    np.testing.assert_allclose(value, function(logits, where=where), rtol=1e-6)
    assert not gradient[~where].any()
    value, gradient = jax.value_and_grad(lambda z: function(z, where=jnp.zeros(10, bool)))(logits)
    assert value == 0
    assert not gradient.any()


@pytest.mark.parametrize(
    "function",
    [
        categorical.marginal_entropy,
        categorical.mutual_information,
        categorical.expected_pairwise_kl,
        categorical.reverse_mutual_information,
    ],
)
def test_masked_members_do_not_count(function):
    logits = single(MEMBERS)
    keep = jnp.array([True, False, True, True, False])
    value = function(logits, 0, member_where=keep[:, None])
    np.testing.assert_allclose(value, function(logits[keep], 0), rtol=1e-5)
    strange = jnp.where(keep[:, None, None], logits, jnp.nan)
    gradient = jax.grad(lambda z: function(z, 0, member_where=keep[:, None]).sum())(strange)
    expected = jax.grad(lambda z: function(z, 0).sum())(logits[keep])
    np.testing.assert_allclose(gradient[keep], expected, rtol=1e-4, atol=1e-6)
    assert not gradient[~keep].any()
    each = jnp.stack([keep, ~keep, keep, jnp.zeros(5, bool)], axis=1)  # another mask for each row
    several = function(logits, 0, member_where=each)
    np.testing.assert_allclose(several[1], function(logits[~keep][:, 1], 0), rtol=1e-5)
    assert several[3] == 0
    other_axis = function(jnp.moveaxis(logits, 0, 1), 1)
    np.testing.assert_allclose(other_axis, function(logits, 0), rtol=1e-6)
    assert function(jnp.zeros((5, 0, 6)), 0).shape == (0,)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.01, 30))
def test_identities_and_bounds_of_ensembles(seed, spread):
    logits = single(np.random.default_rng(seed).standard_normal((5, 3, 6)) * spread)
    information = categorical.mutual_information(logits, 0)
    reverse = categorical.reverse_mutual_information(logits, 0)
    pairwise = categorical.expected_pairwise_kl(logits, 0)
    np.testing.assert_allclose(0.8 * pairwise, information + reverse, rtol=2e-5, atol=3e-6)
    assert (information > -2e-6).all()
    assert (information < np.log(5) + 1e-5).all()
    assert (categorical.marginal_entropy(logits, 0) < np.log(6) + 1e-5).all()
    loops = [
        [float(categorical.kl_divergence(logits[i, 0], logits[j, 0])) for j in range(5) if j != i] for i in range(5)
    ]
    np.testing.assert_allclose(pairwise[0], np.mean(loops), rtol=2e-5, atol=1e-5)
    equal = jnp.broadcast_to(logits[:1], logits.shape)
    np.testing.assert_allclose(categorical.mutual_information(equal, 0), 0, atol=1e-6)
    np.testing.assert_allclose(categorical.expected_pairwise_kl(equal, 0), 0, atol=1e-6)


def test_normalized_entropy_divides_by_the_classes_kept():
    where = jnp.array([True, True, False, True])
    np.testing.assert_allclose(categorical.normalized_entropy(jnp.zeros(4)), 1, rtol=1e-6)
    np.testing.assert_allclose(categorical.normalized_entropy(jnp.zeros(4), where=where), 1, rtol=1e-6)
    assert categorical.normalized_entropy(jnp.zeros(4), where=jnp.arange(4) < 1) == 0


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_accumulates_in_float32(dtype):
    value = categorical.entropy(jnp.zeros(50_000, dtype))
    assert value.dtype == dtype
    assert float(value) == float(jnp.asarray(np.log(50_000), dtype))
    extremes = jnp.array([6e4, -6e4, 6e4], dtype)
    np.testing.assert_allclose(np.float32(categorical.entropy(extremes)), np.log(2), rtol=1e-2)
    gradient = jax.grad(lambda z: categorical.entropy(z).astype(jnp.float32))(extremes)
    assert np.isfinite(np.float32(gradient)).all()


def test_half_precision_has_gradients_of_more_classes_than_float16_can_count():
    """Beyond 65,504 a sum in float16 is inf; each of 2¹⁷ equal classes has its share."""
    logits = jnp.zeros(2**17, jnp.float16)
    for function in (
        categorical.entropy,
        categorical.normalized_entropy,
        lambda z: categorical.kl_divergence(z, 0 * z),
    ):
        value, gradient = jax.value_and_grad(lambda z, f=function: f(z).astype(jnp.float32))(logits)
        assert np.isfinite(value)
        np.testing.assert_allclose(np.float32(gradient), 0, atol=1e-6)
    tilted = logits.at[0].set(8.0)
    gradient = np.float32(jax.grad(lambda z: categorical.entropy(z).astype(jnp.float32))(tilted))
    p = np.exp(8) / (2**17 - 1 + np.exp(8))
    entropy = -p * np.log(p) - (1 - p) * np.log((1 - p) / (2**17 - 1))
    np.testing.assert_allclose(gradient[0], -p * (np.log(p) + entropy), rtol=2e-3)


def test_empty_batches_and_missing_data_are_told():
    assert categorical.entropy(jnp.zeros((0, 4))).shape == (0,)
    assert np.isnan(categorical.entropy(jnp.array([0.0, jnp.nan])))
    with pytest.raises(ValueError, match="axis of the members"):
        categorical.mutual_information(jnp.zeros((3, 4)), -1)
    with pytest.raises(ValueError, match="axis of the members"):
        categorical.mutual_information(jnp.zeros(4), 0)
    with pytest.raises(ValueError, match="at least 2 members"):
        categorical.expected_pairwise_kl(jnp.zeros((1, 4)), 0)
    with pytest.raises(ValueError, match="temperature must be above 0"):
        categorical.entropy(jnp.zeros(4), 0.0)
    with pytest.raises(ValueError, match="same classes"):
        categorical.kl_divergence(jnp.zeros(4), jnp.zeros(3))
    with pytest.raises(ValueError, match="scalar"):
        categorical.entropy(jnp.zeros(()))
