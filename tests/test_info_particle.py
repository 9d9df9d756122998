"""Nearest-neighbour quantities against scipy's trees in float64, reference values, closed forms and identities."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from scipy.special import digamma, gammaln

from infojax.info import particle

REFERENCE = json.loads((Path(__file__).parent / "data" / "information_reference.json").read_text())["entries"]


def entry(name):
    return next(entry["expected"] for entry in REFERENCE if entry["id"] == name)


def sample(seed, *shape, scale=1.0):
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def correlated(seed, n, rho):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 1))
    return x, rho * x + np.sqrt(1 - rho**2) * rng.standard_normal((n, 1))


def ball(d, norm):
    return d * np.log(2) if norm == "linf" else d / 2 * np.log(np.pi) - gammaln(d / 2 + 1)


def tree_entropy(x, k=3, norm="l2"):
    x = np.asarray(x, np.float64)
    n, d = x.shape
    r = cKDTree(x).query(x, k + 1, p=2 if norm == "l2" else np.inf)[0][:, -1]
    return digamma(n) - digamma(k) + ball(d, norm) + d * np.mean(np.log(r))


def brute_ksg(x, y, k=3, algorithm=1):
    dx, dy = (cdist(a, a, "chebyshev") for a in (np.asarray(x, np.float64), np.asarray(y, np.float64)))
    joint = np.maximum(dx, dy) + np.diag(np.full(len(x), np.inf))
    total = 0.0
    for i in range(len(x)):
        nearest = np.argsort(joint[i])[:k]
        if algorithm == 1:
            radius = joint[i, nearest[-1]]
            total += digamma(np.sum(dx[i] < radius)) + digamma(np.sum(dy[i] < radius))
        else:
            total += sum(digamma(np.sum(d[i] <= d[i, nearest].max()) - 1) for d in (dx, dy))
    return digamma(k) + digamma(len(x)) - total / len(x) - (1 / k if algorithm == 2 else 0)


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("d", [1, 2, 8, 9, 40])
def test_distances_equal_those_of_a_tree(d, norm):
    x, y = sample(0, 300, d), sample(1, 170, d)
    p = 2 if norm == "l2" else np.inf
    expected = cKDTree(x.astype(np.float64)).query(x.astype(np.float64), 6, p=p)[0][:, 1:]
    np.testing.assert_allclose(particle.knn_distances(x, 5, norm=norm), expected, rtol=2e-5)
    expected = cKDTree(y.astype(np.float64)).query(x.astype(np.float64), 5, p=p)[0]
    np.testing.assert_allclose(particle.knn_distances(x, 5, y=y, norm=norm), expected, rtol=2e-5)


@pytest.mark.parametrize("d", [2, 16])
def test_block_size_and_leading_axes_do_not_change_the_distances(d):
    x = sample(2, 3, 130, d)
    whole = particle.knn_distances(x, 4)
    for block_size in (1, 7, 64, 1000):
        blocked = particle.knn_distances(x, 4, block_size=block_size)
        np.testing.assert_allclose(blocked, whole, rtol=3e-6)
    single = jnp.stack([particle.knn_distances(part, 4) for part in x])
    np.testing.assert_allclose(whole, single, rtol=3e-6)
    np.testing.assert_allclose(jax.vmap(lambda part: particle.knn_distances(part, 4))(x), single, rtol=3e-6)
    np.testing.assert_allclose(jax.jit(particle.knn_distances, static_argnums=1)(x, 4), single, rtol=3e-6)


@pytest.mark.parametrize("width, count", [(20, 20), (700, 3), (9000, 2), (900, 40)])
def test_selection_is_exact_with_ties_and_infinities(width, count):
    values = np.random.default_rng(26).integers(0, width // 2, (130, width)).astype(np.float32)
    values[:5, 1:] = np.inf
    value, column = particle._smallest(jnp.asarray(values), count)
    np.testing.assert_array_equal(value, np.sort(values, axis=1)[:, :count])
    np.testing.assert_array_equal(np.take_along_axis(values, np.asarray(column), axis=1)[5:], value[5:])
    assert all(len(set(row)) == count for row in np.asarray(column)[5:])


def test_queries_far_from_all_points_keep_their_distance():
    x, y = sample(27, 20, 12), sample(28, 50, 12, scale=1e-9)
    np.testing.assert_allclose(particle.knn_distances(x, 1, y=y)[:, 0], np.linalg.norm(x, axis=1), rtol=1e-5)


def test_many_sets_are_searched_one_after_the_other():
    x = sample(3, 30, 800, 1)
    value = jax.jit(particle.knn_entropy)(x)
    np.testing.assert_allclose(value[17], tree_entropy(x[17]), atol=1e-4)


@pytest.mark.parametrize("d", [1, 3, 16])
@pytest.mark.parametrize("offset, scale", [(1e3, 1.0), (0.0, 1e-25), (0.0, 1e25), (0.0, 1e-3)])
def test_offsets_and_extreme_scales_lose_nothing(d, offset, scale):
    # Multiples of 2⁻¹² stay exact beside an offset of 1000.
    x = np.round(sample(4, 200, d) * 4096) / 4096
    moved = ((x + offset) * scale).astype(np.float32)
    expected = cKDTree(x.astype(np.float64)).query(x.astype(np.float64), 4)[0][:, 1:]
    np.testing.assert_allclose(particle.knn_distances(moved, 3) / np.float32(scale), expected, rtol=2e-5, atol=1e-7)


def test_tight_clusters_far_apart_are_told_apart():
    """The matrix product alone would see distances of 0.01 between coordinates of 1000 as noise."""
    centres = np.repeat(sample(5, 4, 16, scale=1000.0), 20, axis=0)
    steps = np.random.default_rng(6).integers(-40, 40, (80, 16)) / 4096
    x = (np.round(centres) + steps).astype(np.float32)
    expected = cKDTree(x.astype(np.float64)).query(x.astype(np.float64), 4)[0][:, 1:]
    np.testing.assert_allclose(particle.knn_distances(x, 3), expected, rtol=1e-5)


@pytest.mark.parametrize("case", [e for e in REFERENCE if e["id"].startswith("knn.kl_entropy")], ids=lambda e: e["id"])
def test_reference_entropies(case):
    d = int(case["id"][-1])
    rng = np.random.default_rng(int(case["recipe"].split("default_rng(")[1].split(")")[0]))
    n = 500 if "n500" in case["id"] else 1000
    draw = {"normal": lambda: rng.standard_normal((n, d)), "uniform": lambda: rng.uniform(0, 1, (n, d))}
    x = draw.get(case["id"].split(".")[2], lambda: rng.exponential(1, (n, d)))()
    for norm in ("l2", "linf"):
        value = particle.knn_entropy(jnp.asarray(x, jnp.float32), norm=norm)
        np.testing.assert_allclose(value, case["expected"][norm], atol=5e-4)
        with jax.enable_x64(True):
            np.testing.assert_allclose(particle.knn_entropy(x, norm=norm), case["expected"][norm], rtol=1e-9)


TRUTHS = {
    "normal": (lambda r: r.normal(size=(1000, 1)), 0.5 * np.log(2 * np.pi * np.e)),
    "narrow": (lambda r: r.normal(size=(1000, 1)) * 0.01, 0.5 * np.log(2 * np.pi * np.e * 1e-4)),
    "uniform": (lambda r: r.uniform(size=(1000, 1)), 0.0),
    "exponential": (lambda r: r.exponential(size=(1000, 1)), 1.0),
    "laplace": (lambda r: r.laplace(size=(1000, 1)), 1 + np.log(2)),
    "cauchy": (lambda r: r.standard_cauchy(size=(1000, 1)), np.log(4 * np.pi)),
    "beta": (lambda r: r.beta(2, 5, size=(1000, 1)), scipy.stats.beta(2, 5).entropy()),
    "normal2": (lambda r: r.normal(size=(1000, 2)), np.log(2 * np.pi * np.e)),
}


@pytest.mark.parametrize("name", TRUTHS)
def test_entropies_of_known_distributions(name):
    draw, truth = TRUTHS[name]
    x = np.stack([draw(np.random.default_rng(seed)) for seed in range(10)]).astype(np.float32)
    values = np.asarray(particle.knn_entropy(x))
    assert abs(values.mean() - truth) < 3 * max(values.std(), 0.02)


def test_many_samples_on_a_line_keep_their_small_distances():
    """Their squares, 1e-8, are below what float32 rounds off |x|² + |y|² − 2xy."""
    x = sample(29, 5000, 1).astype(np.float32)
    np.testing.assert_allclose(particle.knn_entropy(x), tree_entropy(x.astype(np.float64)), atol=2e-6)


def test_mean_reduction_is_the_mean_of_the_local_values():
    x, (a, b) = sample(7, 100, 2), correlated(8, 100, 0.6)
    np.testing.assert_allclose(particle.knn_entropy(x, reduction="none").mean(), particle.knn_entropy(x), rtol=1e-5)
    local = particle.ksg_mutual_information(a, b, reduction="none")
    np.testing.assert_allclose(local.mean(), particle.ksg_mutual_information(a, b), rtol=1e-4)


@pytest.mark.parametrize("d", [2, 12])
def test_scale_law_and_the_gradient_it_implies(d):
    x = sample(9, 150, d)
    value = particle.knn_entropy(x)
    np.testing.assert_allclose(particle.knn_entropy(5 * x), value + d * np.log(5), rtol=1e-5)
    np.testing.assert_allclose(particle.knn_entropy(x + 8), value, atol=5e-4)
    gradient = jax.grad(particle.knn_entropy)(jnp.asarray(x))
    np.testing.assert_allclose(jnp.sum(gradient * x), d, rtol=1e-4)
    with jax.enable_x64(True):
        wide, direction = (jnp.asarray(a, jnp.float64) for a in (x, sample(10, 150, d)))
        slope = jax.jvp(particle.knn_entropy, (wide,), (direction,))[1]
        step = 1e-7
        ends = [particle.knn_entropy(wide + sign * step * direction) for sign in (1, -1)]
        np.testing.assert_allclose(slope, (ends[0] - ends[1]) / (2 * step), rtol=1e-4)


@pytest.mark.parametrize("d", [1, 12])
def test_duplicates_are_finite_with_finite_gradients(d):
    x = jnp.asarray(np.repeat(sample(11, 20, d), 6, axis=0))
    assert np.allclose(particle.knn_distances(x, 5), 0)
    for function in (
        particle.knn_entropy,
        lambda x: particle.particle_reward(x, 3).sum(),
        lambda x: particle.particle_reward(x, 8, form="re3").sum(),
        lambda x: particle.kl_divergence(x, x[:60]),
    ):
        value, gradient = jax.value_and_grad(function)(x)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
    assert np.isfinite(particle.ksg_mutual_information(x, x[::-1]))
    assert np.isfinite(particle.ksg_mutual_information(x, x[::-1], algorithm=2))


@pytest.mark.parametrize("d", [2, 12])
def test_masked_calls_equal_calls_on_what_is_kept(d):
    x, y = sample(12, 2, 90, d), sample(13, 2, 70, d)
    x[:, 60:], y[:, 50:] = np.nan, np.inf  # what is masked may be anything
    keep, keep_y = jnp.arange(90) < 60, jnp.arange(70) < 50
    kept, kept_y = x[:, :60], y[:, :50]
    for norm in ("l2", "linf"):
        masked = particle.knn_entropy(x, norm=norm, where=keep)
        np.testing.assert_allclose(masked, particle.knn_entropy(kept, norm=norm), rtol=1e-5)
    gradient = jax.grad(lambda x: particle.knn_entropy(x, where=keep).sum())(jnp.asarray(x))
    expected = jax.grad(lambda x: particle.knn_entropy(x).sum())(jnp.asarray(kept))
    np.testing.assert_allclose(gradient[:, :60], expected, rtol=1e-4, atol=1e-5)
    assert not gradient[:, 60:].any()
    value = particle.kl_divergence(x, y, where=keep, y_where=keep_y)
    np.testing.assert_allclose(value, particle.kl_divergence(kept, kept_y), rtol=1e-5)
    for form in ("apt", "urlb", "re3"):
        reward = particle.particle_reward(x, 4, form=form, where=keep)
        np.testing.assert_allclose(reward[:, :60], particle.particle_reward(kept, 4, form=form), rtol=1e-5)
        assert not reward[:, 60:].any()
    a, b, c = x[..., :1], x[..., 1:], -(x[..., :1] ** 2)
    for algorithm in (1, 2):
        value = particle.ksg_mutual_information(a, b, algorithm=algorithm, where=keep)
        alone = particle.ksg_mutual_information(a[:, :60], b[:, :60], algorithm=algorithm)
        np.testing.assert_allclose(value, alone, rtol=1e-5, atol=1e-6)
    value = particle.conditional_mutual_information(a, b, c, where=keep)
    alone = particle.conditional_mutual_information(a[:, :60], b[:, :60], c[:, :60])
    np.testing.assert_allclose(value, alone, rtol=1e-5, atol=1e-6)


def test_nothing_left_gives_zero_with_zero_gradient():
    x = jnp.asarray(sample(14, 20, 2))
    for where in (jnp.zeros(20, bool), jnp.arange(20) < 3):
        value, gradient = jax.value_and_grad(lambda x, where=where: particle.knn_entropy(x, where=where))(x)
        assert value == 0
        assert not gradient.any()
        assert particle.ksg_mutual_information(x[:, :1], x[:, 1:], where=where) == 0
        assert particle.kl_divergence(x, x, where=where) == 0
    assert particle.knn_entropy(jnp.zeros((0, 20, 2))).shape == (0,)


@pytest.mark.parametrize("algorithm", [1, 2])
@pytest.mark.parametrize("rho", [0.0, 0.75, 0.99999])
def test_ksg_equals_brute_force_in_float64(rho, algorithm):
    x, y = (a.astype(np.float32) for a in correlated(15, 250, rho))
    value = particle.ksg_mutual_information(x, y, algorithm=algorithm)
    np.testing.assert_allclose(value, brute_ksg(x, y, algorithm=algorithm), atol=2e-4 if rho < 0.9 else 2e-2)
    swapped = particle.ksg_mutual_information(y, x, algorithm=algorithm)
    np.testing.assert_allclose(value, swapped, atol=1e-6)
    moved = particle.ksg_mutual_information(4 * x + 0.5, 4 * y, algorithm=algorithm)
    np.testing.assert_allclose(moved, value, atol=2e-2)


def test_ksg_of_several_dimensions_equals_brute_force():
    x, y = sample(16, 200, 3), sample(17, 200, 2)
    y[:, 0] += x[:, 0]
    for algorithm in (1, 2):
        value = particle.ksg_mutual_information(x, y, k=4, algorithm=algorithm, block_size=64)
        np.testing.assert_allclose(value, brute_ksg(x, y, 4, algorithm), atol=1e-5)


def test_ksg_reference_values_and_local_values():
    x, y = correlated(30, 1000, 0.5)
    expected = entry("knn.ksg.rho0.5")
    for algorithm in (1, 2):
        with jax.enable_x64(True):
            value = particle.ksg_mutual_information(x, y, algorithm=algorithm)
            np.testing.assert_allclose(value, expected[f"ksg{algorithm}"], rtol=1e-9)
        single = particle.ksg_mutual_information(x.astype(np.float32), y.astype(np.float32), algorithm=algorithm)
        np.testing.assert_allclose(single, expected[f"ksg{algorithm}"], atol=5e-4)


def test_independent_data_may_give_less_than_zero_unless_clipped():
    pairs = [correlated(seed, 200, 0.0) for seed in range(8)]
    x, y = (np.stack(part).astype(np.float32) for part in zip(*pairs, strict=True))
    values = particle.ksg_mutual_information(x, y)
    assert values.min() < 0
    assert abs(values.mean()) < 0.05
    assert (particle.ksg_mutual_information(x, y, clip=True) == jnp.maximum(values, 0)).all()


def test_conditional_information_against_brute_force_and_known_cases():
    x, y = correlated(18, 200, 0.8)
    z = sample(19, 200, 1)
    d = [cdist(a.astype(np.float32), a.astype(np.float32), "chebyshev") for a in (x, y, z)]
    joint = np.max(d, axis=0) + np.diag(np.full(200, np.inf))
    radius = np.sort(joint, axis=1)[:, 2:3]
    n_z, n_xz, n_yz = (
        np.sum(np.max([d[i] for i in group], axis=0) < radius, axis=1) for group in ((2,), (0, 2), (1, 2))
    )
    expected = digamma(3) + np.mean(digamma(n_z) - digamma(n_xz) - digamma(n_yz))
    value = particle.conditional_mutual_information(x.astype(np.float32), y.astype(np.float32), z)
    np.testing.assert_allclose(value, expected, atol=1e-4)
    # Two noisy copies of one cause tell nothing of each other once it is known.
    cause = sample(20, 800, 1)
    left, right = cause + sample(21, 800, 1, scale=0.3), cause + sample(22, 800, 1, scale=0.3)
    assert particle.ksg_mutual_information(left, right) > 0.8
    assert abs(particle.conditional_mutual_information(left, right, cause)) < 0.15


def test_divergence_reference_value_and_unequal_sizes():
    x = np.random.default_rng(32).standard_normal((800, 2))
    y = np.random.default_rng(33).standard_normal((1000, 2)) + np.array([1, 0])
    expected = entry("knn.kldiv")["value"]
    single = particle.kl_divergence(x.astype(np.float32), y.astype(np.float32))
    np.testing.assert_allclose(single, expected, atol=5e-4)
    with jax.enable_x64(True):
        np.testing.assert_allclose(particle.kl_divergence(x, y), expected, rtol=1e-9)


def test_reward_reference_values_name_their_variant():
    x = np.random.default_rng(6).standard_normal((256, 16)).astype(np.float32)
    np.testing.assert_allclose(particle.particle_reward(x, 12, form="urlb")[:5], entry("particle.urlb"), rtol=1e-5)
    np.testing.assert_allclose(particle.particle_reward(x, 12)[:5], entry("particle.apt_excl"), rtol=1e-5)
    third = np.sort(cdist(x, x), axis=1)[:, 3]
    np.testing.assert_allclose(particle.particle_reward(x, form="re3"), np.log1p(third), rtol=1e-5)
    y = sample(23, 50, 16)
    mean = np.sort(cdist(x, y), axis=1)[:, :3].mean(axis=1)
    for form in ("apt", "urlb"):
        np.testing.assert_allclose(particle.particle_reward(x, 3, y=y, form=form), np.log1p(mean), rtol=1e-5)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["normal", "cauchy", "lattice"]))
def test_entropy_of_any_data_equals_the_tree(seed, kind):
    rng = np.random.default_rng(seed)
    draw = {"normal": rng.normal, "cauchy": rng.standard_cauchy, "lattice": lambda size: rng.permutation(size[0] * 2)}
    x = np.resize(np.asarray(draw[kind](size=(64, 2)), np.float32), (64, 2))
    if kind == "lattice":
        x = rng.permutation(4096)[:64, None] // np.array([[64, 1]]) % 64
    x = x.astype(np.float32)
    np.testing.assert_allclose(particle.knn_entropy(x), tree_entropy(x), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(particle.knn_entropy(x, norm="linf"), tree_entropy(x, norm="linf"), rtol=1e-4, atol=1e-4)


def test_no_array_of_n_times_n_is_made():
    x = jax.ShapeDtypeStruct((20_000, 4), jnp.float32)
    for function in (particle.knn_entropy, lambda x: particle.ksg_mutual_information(x, x)):
        memory = jax.jit(function).lower(x).compile().memory_analysis()
        assert memory.temp_size_in_bytes < 200e6  # 20,000² floats are 1.6 GB


def test_half_precision_computes_in_float32():
    x = sample(24, 100, 2).astype(np.float16)
    value = particle.knn_entropy(x)
    assert value.dtype == jnp.float16
    np.testing.assert_allclose(np.float32(value), particle.knn_entropy(x.astype(np.float32)), rtol=2e-3)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x: particle.knn_entropy(x, k=10), "k = 10 neighbours need more than 9 other samples"),
        (lambda x: particle.knn_entropy(x, k=0), "k must be a positive integer"),
        (lambda x: particle.knn_entropy(x[:, 0]), r"write x\[:, None\]"),
        (lambda x: particle.knn_entropy(x, norm="l1"), "norm must be"),
        (lambda x: particle.knn_entropy(x, reduction="sum"), "reduction must be"),
        (lambda x: particle.knn_distances(x, y=x[:, :1]), "same number of dimensions"),
        (lambda x: particle.kl_divergence(x, x[:2]), "samples of y"),
        (lambda x: particle.ksg_mutual_information(x, x[:5]), "same n"),
        (lambda x: particle.ksg_mutual_information(x, x, k=10), "k = 10"),
        (lambda x: particle.ksg_mutual_information(x, x, algorithm=3), "algorithm must be"),
        (lambda x: particle.ksg_mutual_information(x, x, clip=True, reduction="none"), "clip"),
        (lambda x: particle.particle_reward(x, form="rnd"), "form must be"),
        (lambda x: particle.particle_reward(x, k=1, form="urlb"), "only the sample itself"),
    ],
)
def test_bad_input_is_an_error_when_tracing(call, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(call, jax.ShapeDtypeStruct((10, 2), jnp.float32))
