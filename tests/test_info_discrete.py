"""Discrete quantities against the reference values, scipy, closed forms and each other."""

import json
from itertools import pairwise
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from infojax.info import discrete

REFERENCE = json.loads((Path(__file__).parent / "data" / "information_reference.json").read_text())["entries"]
FUNCTIONS = {
    "shannon_entropy": discrete.shannon_entropy,
    "renyi_entropy": discrete.renyi_entropy,
    "tsallis_entropy": discrete.tsallis_entropy,
    "kl_divergence": discrete.kl_divergence,
    "renyi_divergence": discrete.renyi_divergence,
    "js_divergence": discrete.js_divergence,
}
CLOSED = [entry for entry in REFERENCE if entry["id"].startswith("disc.") and entry["recipe"].startswith("p=")]
XOR = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]]]) / 4
COPY = np.zeros((2, 2, 2))
COPY[0, 0, 0] = COPY[1, 1, 1] = 0.5
P5 = np.array([0.1, 0.2, 0.3, 0.15, 0.25])


def entry(name):
    return next(entry["expected"] for entry in REFERENCE if entry["id"] == name)


def entropy(p):
    return float(scipy.special.entr(np.asarray(p, np.float64)).sum())


@pytest.mark.parametrize("case", CLOSED, ids=lambda case: case["id"])
def test_reference_values_from_probabilities(case):
    values = eval(f"dict({case['recipe']})", {"inf": np.inf})
    function = FUNCTIONS[case["quantity"]]
    single = {name: jnp.asarray(v, jnp.float32) if isinstance(v, list) else v for name, v in values.items()}
    np.testing.assert_allclose(function(**single), case["expected"], rtol=1e-5, atol=2e-6)
    with jax.enable_x64(True):
        double = {name: jnp.asarray(v, jnp.float64) if isinstance(v, list) else v for name, v in values.items()}
        np.testing.assert_allclose(function(**double), case["expected"], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("alpha", [0, 1e-3, 0.5, 0.9, 0.999, 0.99999, 1, 1.00001, 1.001, 1.4, 1.6, 2, 5, 60, np.inf])
def test_orders_near_1_do_not_cancel(alpha):
    """Against the same formulas in float64, away from order 1 where those cancel themselves."""
    p, q = P5, np.array([0.3, 0.1, 0.2, 0.2, 0.2])
    if alpha == 1:
        renyi, tsallis, divergence = entropy(p), entropy(p), np.sum(p * np.log(p / q))
    elif alpha == np.inf:
        renyi, tsallis, divergence = -np.log(p.max()), 0.0, np.log(np.max(p / q))
    else:
        renyi = np.log(np.sum(p**alpha)) / (1 - alpha)
        tsallis = (1 - np.sum(p**alpha)) / (alpha - 1)
        divergence = np.log(np.sum(p**alpha * q ** (1 - alpha))) / (alpha - 1)
    single, other = jnp.asarray(p, jnp.float32), jnp.asarray(q, jnp.float32)
    np.testing.assert_allclose(discrete.renyi_entropy(single, alpha), renyi, rtol=3e-6)
    np.testing.assert_allclose(discrete.tsallis_entropy(single, alpha), tsallis, rtol=3e-6, atol=1e-6)
    np.testing.assert_allclose(discrete.renyi_divergence(single, other, alpha), divergence, rtol=2e-5, atol=1e-6)
    traced = jax.jit(discrete.renyi_entropy)(single, jnp.float32(alpha))
    np.testing.assert_allclose(traced, renyi, rtol=3e-6)


def test_the_derivative_in_the_order_is_finite_and_right_at_1():
    p = jnp.asarray(P5, jnp.float32)
    log_p = np.log(P5)
    variance = np.sum(P5 * (log_p - np.sum(P5 * log_p)) ** 2)
    np.testing.assert_allclose(jax.grad(lambda a: discrete.renyi_entropy(p, a))(1.0), -variance / 2, rtol=1e-4)
    for alpha in (0.3, 0.7, 1.3, 3.0):
        step = 1e-2
        slope = (discrete.renyi_entropy(p, alpha + step) - discrete.renyi_entropy(p, alpha - step)) / (2 * step)
        np.testing.assert_allclose(jax.grad(lambda a: discrete.renyi_entropy(p, a))(alpha), slope, rtol=5e-3)


@pytest.mark.parametrize("alpha", [0.5, 0.99])
def test_renyi_divergence_of_supports_that_differ(alpha):
    p, q = jnp.array([0.5, 0.5]), jnp.array([1.0, 0.0])
    np.testing.assert_allclose(discrete.renyi_divergence(p, q, alpha), np.log(0.5**alpha) / (alpha - 1), rtol=1e-5)
    assert discrete.renyi_divergence(p, q, 1) == np.inf
    assert discrete.renyi_divergence(p, q, 2) == np.inf
    assert discrete.renyi_divergence(p, q, np.inf) == np.inf
    np.testing.assert_allclose(discrete.renyi_divergence(p, q, 0), 0, atol=1e-7)
    np.testing.assert_allclose(discrete.renyi_divergence(q, p, 0), np.log(2), rtol=1e-6)
    assert discrete.renyi_divergence(jnp.array([0.0, 1.0]), q, 0.5) == np.inf


def test_infinite_divergences_and_their_zero_gradients():
    p, q = jnp.array([0.5, 0.5, 0.0]), jnp.array([1.0, 0.0, 0.0])
    assert discrete.kl_divergence(p, q) == np.inf
    assert discrete.cross_entropy(p, q) == np.inf
    np.testing.assert_allclose(discrete.kl_divergence(q, p), np.log(2), rtol=1e-6)
    for function in (discrete.kl_divergence, discrete.cross_entropy, discrete.js_divergence):
        for gradient in jax.grad(function, argnums=(0, 1))(p, q):
            assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    "function",
    [
        discrete.shannon_entropy,
        *(lambda p, a=a: discrete.renyi_entropy(p, a) for a in (0, 0.5, 1, 2, np.inf)),
        *(lambda p, q=q: discrete.tsallis_entropy(p, q) for q in (0.5, 1, 3)),
    ],
)
def test_gradients_are_finite_at_corners_and_subnormal_probabilities(function):
    for p in ([1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [1.0, 1e-41, 1e-38]):
        value, gradient = jax.value_and_grad(function)(jnp.array(p, jnp.float32))
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


def test_masks_and_half_precision():
    p = jnp.array([[0.5, 0.25, 0.25], [0.2, 0.3, 0.5]])
    mask = jnp.array([[True, True, False], [False, False, False]])
    value = discrete.shannon_entropy(p, where=mask)
    np.testing.assert_allclose(value, [entropy([0.5, 0.25]), 0], rtol=1e-6)
    gradient = jax.grad(lambda p: discrete.shannon_entropy(p, where=mask).sum())(p)
    assert not gradient[1].any()
    assert gradient[0, 2] == 0
    half = discrete.shannon_entropy(jnp.full(4096, 1 / 4096, jnp.float16))
    assert half.dtype == jnp.float16
    np.testing.assert_allclose(np.float32(half), np.log(4096), rtol=1e-3)


def test_reference_values_of_tables():
    table = np.random.default_rng(20).dirichlet(np.ones(12)).reshape(3, 4)
    np.testing.assert_allclose(discrete.conditional_entropy(table.T), entry("disc.condent.rng20"), rtol=1e-5)
    table = np.random.default_rng(21).dirichlet(np.ones(24)).reshape(2, 3, 4)
    expected = entry("disc.triple.rng21")
    with jax.enable_x64(True):
        np.testing.assert_allclose(discrete.conditional_mutual_information(table), expected["cmi"], rtol=1e-9)
        for name in ("total_correlation", "dual_total_correlation", "o_information", "co_information"):
            np.testing.assert_allclose(getattr(discrete, name)(table), expected[name], rtol=1e-9)
        np.testing.assert_allclose(discrete.mutual_information(table.sum(2)), expected["mi_xy"], rtol=1e-9)
    single = jnp.asarray(table, jnp.float32)
    np.testing.assert_allclose(discrete.o_information(single), expected["o_information"], atol=2e-6)


def test_synergy_is_negative_and_redundancy_positive():
    for sign, table in ((-1, XOR), (1, COPY)):
        np.testing.assert_allclose(discrete.o_information(table), sign * np.log(2), rtol=1e-6)
        np.testing.assert_allclose(discrete.co_information(table), sign * np.log(2), rtol=1e-6)
    np.testing.assert_allclose(discrete.s_information(COPY), 3 * np.log(2), rtol=1e-6)
    np.testing.assert_allclose(discrete.total_correlation(XOR), np.log(2), rtol=1e-6)
    np.testing.assert_allclose(discrete.dual_total_correlation(XOR), 2 * np.log(2), rtol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.05, 3))
def test_identities_and_inequalities_of_random_tables(seed, concentration):
    rng = np.random.default_rng(seed)
    table = rng.dirichlet(np.full(48, concentration)).reshape(2, 2, 3, 4).astype(np.float32)
    xyz = table.sum(0)
    atol = 2e-6
    # I(X;YZ) = I(X;Z) + I(X;Y|Z)
    whole = discrete.mutual_information(xyz.reshape(2, 12))
    parts = discrete.mutual_information(xyz.sum(1)) + discrete.conditional_mutual_information(xyz)
    np.testing.assert_allclose(whole, parts, atol=atol)
    assert whole >= -atol
    # H(Y|X) = H(X,Y) - H(X)
    pair = xyz.sum(2)
    expected = discrete.shannon_entropy(pair.ravel()) - discrete.shannon_entropy(pair.sum(1))
    np.testing.assert_allclose(discrete.conditional_entropy(pair), expected, atol=atol)
    # TC - DTC = O, TC + DTC = S, and TC against entropies
    total, dual = discrete.total_correlation(table), discrete.dual_total_correlation(table)
    np.testing.assert_allclose(total - dual, discrete.o_information(table), atol=2 * atol)
    np.testing.assert_allclose(total + dual, discrete.s_information(table), atol=2 * atol)
    margins = sum(entropy(table.sum(tuple(set(range(4)) - {i}))) for i in range(4))
    np.testing.assert_allclose(total, margins - entropy(table), atol=2 * atol)
    rest = sum(entropy(table.sum(i)) for i in range(4))
    np.testing.assert_allclose(dual, rest - 3 * entropy(table), atol=4 * atol)
    # co-information by its recursion, and permutations of labels and of variables change nothing
    recursion = discrete.mutual_information(pair) - discrete.conditional_mutual_information(xyz)
    np.testing.assert_allclose(discrete.co_information(xyz), recursion, atol=2 * atol)
    shuffled = table[:, :, rng.permutation(3)].transpose(0, 2, 1, 3)
    np.testing.assert_allclose(discrete.o_information(shuffled), discrete.o_information(table), atol=2 * atol)
    # leading axes: the last three as variables of each table on axis 0
    batched = discrete.total_correlation(table / table.sum((1, 2, 3), keepdims=True), num_variables=3)
    assert batched.shape == (2,)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_divergences_of_random_distributions(seed):
    rng = np.random.default_rng(seed)
    p, q = rng.dirichlet(np.ones(6), size=2).astype(np.float32)
    np.testing.assert_allclose(discrete.kl_divergence(p, q), scipy.stats.entropy(p, q), rtol=2e-5, atol=2e-6)
    cross = discrete.kl_divergence(p, q) + discrete.shannon_entropy(p)
    np.testing.assert_allclose(discrete.cross_entropy(p, q), cross, rtol=1e-5)
    middle = (p + q) / 2
    expected = (scipy.stats.entropy(p, middle) + scipy.stats.entropy(q, middle)) / 2
    js = discrete.js_divergence(p, q)
    np.testing.assert_allclose(js, expected, rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(js, discrete.js_divergence(q, p), rtol=1e-5, atol=1e-7)
    assert -1e-6 <= js <= np.log(2) + 1e-6
    # Rényi quantities fall and rise with the order
    entropies = [float(discrete.renyi_entropy(p, a)) for a in (0, 0.5, 1, 2, np.inf)]
    assert all(a >= b - 1e-5 for a, b in pairwise(entropies))
    divergences = [float(discrete.renyi_divergence(p, q, a)) for a in (0.25, 0.5, 1, 2, np.inf)]
    assert all(a <= b + 1e-5 for a, b in pairwise(divergences))


SYMBOLS = np.random.default_rng(9).integers(0, 50, 100)


def test_plugin_corrections_against_reference_values():
    counts = np.bincount(SYMBOLS)
    np.testing.assert_allclose(discrete.plugin_entropy(SYMBOLS, 50), scipy.stats.entropy(counts), rtol=1e-5)
    value = discrete.plugin_entropy(SYMBOLS, 50, "miller_madow")
    np.testing.assert_allclose(value, entry("disc.miller_madow.rng9"), rtol=1e-5)
    value = discrete.plugin_entropy(SYMBOLS, 50, "chao_shen")
    np.testing.assert_allclose(value, entry("disc.chao_shen.rng9"), rtol=1e-5)
    # The recorded value shrinks towards the symbols seen, which here is an alphabet of 43.
    seen = np.unique(SYMBOLS, return_inverse=True)[1]
    value = discrete.plugin_entropy(seen, len(set(SYMBOLS)), "james_stein")
    np.testing.assert_allclose(value, entry("disc.shrink.rng9"), rtol=1e-5)


def test_grassberger_and_james_stein_against_their_formulas():
    counts = np.bincount(SYMBOLS, minlength=50).astype(float)
    n, seen = counts.sum(), counts[counts > 0]
    digamma = scipy.special.digamma
    g = digamma(seen) + 0.5 * (-1.0) ** seen * (digamma((seen + 1) / 2) - digamma(seen / 2))
    expected = np.log(n) - np.sum(seen * g) / n
    np.testing.assert_allclose(discrete.plugin_entropy(SYMBOLS, 50, "grassberger"), expected, rtol=1e-5)
    p = counts / n
    weight = (1 - np.sum(p**2)) / ((n - 1) * np.sum((1 / 50 - p) ** 2))
    assert 0 < weight < 1
    expected = entropy(weight / 50 + (1 - weight) * p)
    np.testing.assert_allclose(discrete.plugin_entropy(SYMBOLS, 50, "james_stein"), expected, rtol=1e-5)


@pytest.mark.parametrize("correction", ["none", "miller_madow", "grassberger", "chao_shen", "james_stein"])
def test_plugin_masks_batches_and_corners(correction):
    x = np.stack([SYMBOLS, SYMBOLS[::-1] % 7, np.arange(100) % 50])
    mask = np.arange(100) < np.array([[60], [100], [0]])
    value = discrete.plugin_entropy(x, 50, correction, where=jnp.asarray(mask))
    alone = [discrete.plugin_entropy(x[0, :60], 50, correction), discrete.plugin_entropy(x[1], 50, correction), 0]
    np.testing.assert_allclose(value, alone, rtol=1e-6)
    # a symbol out of range does not count, and is not counted elsewhere
    strange = np.where(mask, x, np.where(np.arange(100) % 2, -1, 50))
    np.testing.assert_allclose(discrete.plugin_entropy(strange, 50, correction), value, rtol=1e-6)
    assert np.isfinite(discrete.plugin_entropy(np.arange(20), 20, correction))  # every symbol once
    if correction != "grassberger":  # which is not exact for a single symbol
        np.testing.assert_allclose(discrete.plugin_entropy(np.zeros(9, int), 1, correction), 0, atol=1e-6)
    assert discrete.plugin_entropy(np.zeros((2, 0), int), 3, correction).tolist() == [0, 0]


def test_corrections_are_nearer_the_truth_than_the_plugin():
    x = np.random.default_rng(0).integers(0, 50, (200, 100))
    errors = {
        name: abs(float(discrete.plugin_entropy(x, 50, name).mean()) - np.log(50))
        for name in ("none", "miller_madow", "grassberger", "chao_shen", "james_stein")
    }
    assert errors["none"] > 0.2
    assert all(error < 0.15 for name, error in errors.items() if name != "none")


def test_transfer_entropy_has_a_direction_and_its_known_values():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, 40_000)
    flip = (rng.uniform(size=x.shape) < 0.1).astype(int)
    copied, noisy = np.roll(x, 1), np.roll(x, 1) ^ flip
    np.testing.assert_allclose(discrete.transfer_entropy(x, copied, 2), entry("disc.te.copy"), atol=2e-3)
    noise = entropy([0.1, 0.9])
    np.testing.assert_allclose(discrete.transfer_entropy(x, noisy, 2), np.log(2) - noise, atol=1e-2)
    np.testing.assert_allclose(discrete.transfer_entropy(copied, x, 2), entry("disc.te.indep"), atol=2e-3)
    # A delay of two steps is invisible to a history of one.
    late = np.roll(x, 2)
    np.testing.assert_allclose(discrete.transfer_entropy(x, late, 2), 0, atol=2e-3)
    np.testing.assert_allclose(discrete.transfer_entropy(x, late, 2, history=2), np.log(2), atol=2e-3)


def test_permutation_entropy_against_a_direct_count():
    x = np.random.default_rng(3).normal(size=(2, 60)).round(1)  # rounding makes ties
    for order, delay in ((3, 1), (4, 2)):
        for row in x:
            patterns = [
                tuple(np.argsort(row[t : t + (order - 1) * delay + 1 : delay], kind="stable"))
                for t in range(len(row) - (order - 1) * delay)
            ]
            counts = list({pattern: patterns.count(pattern) for pattern in patterns}.values())
            value = discrete.permutation_entropy(row, order, delay)
            np.testing.assert_allclose(value, scipy.stats.entropy(counts), rtol=1e-5)
    assert discrete.permutation_entropy(x).shape == (2,)
    np.testing.assert_allclose(discrete.permutation_entropy(np.ones(20, np.float32)), 0, atol=1e-7)


def test_entropy_rate_of_chains():
    chain = np.array([[0.9, 0.1], [0.4, 0.6]], np.float32)
    expected = 0.8 * entropy([0.9, 0.1]) + 0.2 * entropy([0.4, 0.6])
    np.testing.assert_allclose(discrete.entropy_rate(chain), expected, rtol=1e-5)
    periodic = np.array([[0, 1], [1, 0]], np.float32)
    transient = np.array([[0.5, 0.5], [0, 1]], np.float32)
    np.testing.assert_allclose(discrete.entropy_rate(np.stack([periodic, transient])), [0, 0], atol=1e-6)
    independent = np.tile(P5.astype(np.float32), (5, 1))
    np.testing.assert_allclose(discrete.entropy_rate(independent), entropy(P5), rtol=1e-5)


def test_channel_capacity_of_known_channels_and_its_gradient():
    symmetric = np.array([[0.9, 0.1], [0.1, 0.9]], np.float32)
    np.testing.assert_allclose(discrete.channel_capacity(symmetric), np.log(2) - entropy([0.1, 0.9]), atol=2e-6)
    erasure = np.array([[0.7, 0.0, 0.3], [0.0, 0.7, 0.3]], np.float32)
    np.testing.assert_allclose(discrete.channel_capacity(erasure), 0.7 * np.log(2), atol=2e-6)
    z_channel = np.array([[1.0, 0.0], [0.5, 0.5]], np.float32)
    np.testing.assert_allclose(discrete.channel_capacity(z_channel), np.log(1.25), atol=5e-6)
    both = discrete.channel_capacity(np.stack([symmetric, z_channel]))
    np.testing.assert_allclose(both, [discrete.channel_capacity(c) for c in (symmetric, z_channel)], atol=5e-6)

    def capacity(e):
        return discrete.channel_capacity(jnp.stack([jnp.stack([1 - e, e]), jnp.stack([e, 1 - e])]))

    np.testing.assert_allclose(jax.grad(capacity)(0.1), np.log(0.1 / 0.9), rtol=1e-4)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: discrete.kl_divergence(jnp.ones(3), jnp.ones(4)), "same number of classes"),
        (lambda: discrete.mutual_information(jnp.ones(3)), "at least 2"),
        (lambda: discrete.total_correlation(jnp.ones((2, 2)), num_variables=3), "3 variables"),
        (lambda: discrete.plugin_entropy(jnp.ones(3), 2), "integer symbols"),
        (lambda: discrete.plugin_entropy(jnp.ones(3, int), 0), "num_classes"),
        (lambda: discrete.plugin_entropy(jnp.ones(3, int), 2, "nsb"), "correction must be"),
        (lambda: discrete.transfer_entropy(jnp.ones(3, int), jnp.ones(4, int), 2), "same number of steps"),
        (lambda: discrete.transfer_entropy(jnp.ones(3, int), jnp.ones(3, int), 2, history=3), "history"),
        (lambda: discrete.transfer_entropy(jnp.ones(30, int), jnp.ones(30, int), 50, history=3), "cells"),
        (lambda: discrete.permutation_entropy(jnp.ones(30), order=1), "order"),
        (lambda: discrete.permutation_entropy(jnp.ones(3), delay=2), "spans 5 values"),
        (lambda: discrete.entropy_rate(jnp.ones((2, 3))), "K, K"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
