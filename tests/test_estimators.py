"""Estimators of mutual information: their numbers, their intervals, and whether their verdicts can be believed."""

import importlib
import json
import math
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from infojax.data import bmi
from infojax.estimators import gaussian, gaussian_copula, ksg, matrix_renyi, parts, plug_in
from infojax.types import UserError

REFERENCE = json.loads((Path(__file__).parent / "data" / "information_reference.json").read_text())
NAMES = ("gaussian", "gaussian_copula", "ksg", "matrix_renyi", "plug_in")  # the others: test_estimators_neural.py
# What KSG 1 with k = 3 (float64) and the Gaussian copula give on 2,000 samples of seed 0.
MEASURED = {
    "1v1-normal-0.75": (0.409, 0.399),
    "1v1-additive-0.1": (1.693, 1.297),
    "1v1-additive-0.75": (0.315, 0.189),
    "half_cube-1v1-normal-0.75": (0.412, 0.399),
    "normal_cdf-1v1-normal-0.75": (0.417, 0.399),
    "swissroll_x-normal_cdf-1v1-normal-0.75": (0.403, 0.026),
    "student-identity-1-1-1": (0.184, 0.001),
    "asinh-student-identity-1-1-1": (0.250, 0.001),
    "multinormal-dense-2-2-0.5": (0.327, 0.309),
    "multinormal-dense-5-5-0.5": (0.579, 0.610),
    "multinormal-dense-25-25-0.5": (0.931, 1.264),
    "multinormal-sparse-2-2-2-2.0": (1.022, 1.017),
    "multinormal-sparse-5-5-2-2.0": (0.690, 1.035),
    "multinormal-sparse-25-25-2-2.0": (0.121, 1.011),
    "spiral-multinormal-sparse-3-3-2-2.0": (0.638, 0.271),
    "student-identity-2-2-2": (0.089, 0.001),
    "student-identity-5-5-2": (0.234, 0.003),
}


def pairs(task, seed=0, n=2000):
    return tuple(jnp.asarray(array, jnp.float32) for array in bmi.make(task=task).sample(seed, n))


@pytest.fixture(scope="module")
def fits():
    """Compiled once for each estimator."""
    made = {name: importlib.import_module(f"infojax.estimators.{name}").make() for name in NAMES}
    return {name: jax.jit(estimator.fit) for name, estimator in made.items()}


def test_the_40_tasks_have_the_published_information():
    truths = REFERENCE["bmi_ground_truth_all_40"]
    assert set(bmi.TASKS) == set(truths)
    for task in bmi.TASKS:
        source = bmi.make(task=task)
        assert source.truth == pytest.approx(truths[task], abs=1e-6)
        x, y = source.sample(3, 50)
        assert x.shape == (50, source.dim_x) and y.shape == (50, source.dim_y)
        again = source.sample(3, 50)
        assert np.array_equal(x, again[0]) and np.array_equal(y, again[1])
        assert not np.array_equal(x, source.sample(4, 50)[0])


@pytest.mark.parametrize("task", MEASURED)
def test_the_recipes_give_what_others_measured_on_them(task):
    from infojax.info import particle

    nearest, copula = MEASURED[task]
    x, y = pairs(task)
    assert particle.ksg_mutual_information(x, y) == pytest.approx(nearest, abs=0.02)
    scores = gaussian_copula.gaussian.copula_transform(jnp.concatenate([x, y], axis=1))
    found = gaussian_copula.gaussian.mutual_information(parts.covariance(scores), x.shape[1], num_samples=2000)
    assert found == pytest.approx(copula, abs=0.06 if "25" in task else 0.02)


def test_margins_of_the_transformed_tasks():
    x, _ = bmi.make(task="1v1-bimodal-0.75").sample(0, 4000)

    def distribution(v):
        return 0.3 * scipy.stats.norm.cdf(v) + 0.7 * scipy.stats.norm.cdf(v - 5)

    assert scipy.stats.kstest(x[:, 0], distribution).pvalue > 0.01
    uniform, _ = bmi.make(task="normal_cdf-1v1-normal-0.75").sample(0, 4000)
    assert scipy.stats.kstest(uniform[:, 0], "uniform").pvalue > 0.01
    plain, wave = (
        bmi.make(task="1v1-normal-0.75").sample(0, 4000),
        bmi.make(task="wiggly-1v1-normal-0.75").sample(0, 4000),
    )
    for before, after in zip(plain, wave, strict=True):
        assert np.array_equal(np.argsort(before[:, 0]), np.argsort(after[:, 0]))  # strictly increasing
    straight = bmi.make(task="multinormal-sparse-5-5-2-2.0").sample(0, 100)
    turned = bmi.make(task="spiral-multinormal-sparse-5-5-2-2.0").sample(0, 100)
    for before, after in zip(straight, turned, strict=True):
        np.testing.assert_allclose(np.sum(before**2, 1), np.sum(after**2, 1))


@pytest.mark.parametrize(
    "task", ["2v2-normal", "spiral-1v1-normal-0.75", "swissroll_x-1v1-normal-0.75", "wavy-1v1-normal-0.75", ""]
)
def test_unknown_tasks_are_refused(task):
    with pytest.raises(UserError, match=r"data\.task"):
        bmi.make(task=task)


TRUSTED = {
    "gaussian": ["1v1-normal-0.75", "multinormal-dense-25-25-0.5"],
    "gaussian_copula": ["half_cube-1v1-normal-0.75", "multinormal-sparse-5-5-2-2.0"],
    "ksg": ["1v1-normal-0.75", "asinh-student-identity-1-1-1"],
    "plug_in": ["1v1-normal-0.75", "half_cube-1v1-normal-0.75"],
}
NOT_TRUSTED = {
    "gaussian": ["half_cube-1v1-normal-0.75", "student-identity-2-2-2", "spiral-multinormal-sparse-25-25-2-2.0"],
    "gaussian_copula": ["1v1-additive-0.1", "student-identity-1-1-1", "spiral-multinormal-sparse-3-3-2-2.0"],
    "ksg": ["student-identity-1-1-1", "student-identity-2-2-2", "spiral-multinormal-sparse-3-3-2-2.0"],
    "plug_in": ["multinormal-dense-5-5-0.5", "multinormal-dense-25-25-0.5"],
    "matrix_renyi": ["1v1-normal-0.75"],
}


@pytest.mark.parametrize(("name", "task"), [(name, task) for name, tasks in TRUSTED.items() for task in tasks])
def test_what_is_right_is_trusted(fits, name, task):
    estimate = fits[name](jax.random.key(1), *pairs(task, seed=1))
    assert bool(estimate.trusted) and parts.why(estimate) == "", parts.why(estimate)
    low, high = estimate.interval
    assert low - 0.05 <= bmi.make(task=task).truth <= high + 0.05
    assert low < estimate.value < high < low + 0.2


@pytest.mark.parametrize(("name", "task"), [(name, task) for name, tasks in NOT_TRUSTED.items() for task in tasks])
def test_where_an_estimator_fails_the_verdict_says_so(fits, name, task):
    estimate = fits[name](jax.random.key(1), *pairs(task, seed=1))
    assert not bool(estimate.trusted)
    assert parts.why(estimate) and jnp.isfinite(estimate.value)


def test_gaussian_intervals_cover_the_truth_and_normal_samples_pass():
    covariance = np.linalg.cholesky(np.array([[1, 0.3, 0.6], [0.3, 1, 0.2], [0.6, 0.2, 1]]))
    truth = gaussian.gaussian.mutual_information(jnp.asarray(covariance @ covariance.T), 2)

    def one(key):
        z = jax.random.normal(key, (500, 3)) @ jnp.asarray(covariance.T, jnp.float32)
        return gaussian.make().fit(key, z[:, :2], z[:, 2:])

    found = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(5), 300))
    inside = (found.interval[:, 0] <= truth) & (truth <= found.interval[:, 1])
    assert 0.9 <= inside.mean() <= 0.99
    assert found.value.mean() == pytest.approx(float(truth), abs=3 * float(found.value.std()) / math.sqrt(300))
    assert found.trusted.mean() >= 0.95
    entropies = jax.jit(jax.vmap(lambda key: gaussian.make().entropy(key, jax.random.normal(key, (500, 2)))))
    found = entropies(jax.random.split(jax.random.key(7), 300))
    truth = math.log(2 * math.pi * math.e)
    inside = (found.interval[:, 0] <= truth) & (truth <= found.interval[:, 1])
    assert 0.9 <= inside.mean() <= 0.99 and found.trusted.mean() >= 0.95


def test_subsampled_intervals_cover_what_repetition_shows():
    measure = partial(ksg.particle.ksg_mutual_information, k=3)

    def one(key):
        key_samples, key_blocks = jax.random.split(key)
        x, noise = jax.random.normal(key_samples, (2, 400, 1))
        y = 0.75 * x + math.sqrt(1 - 0.75**2) * noise
        return measure(x, y), parts.subsampled(key_blocks, measure, x, y)[0]

    values, halves = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(6), 60))
    # The half-width is 2.23 standard deviations of what repeated samples give.
    assert float(halves.mean()) / 2.23 == pytest.approx(float(values.std()), rel=0.3)


def test_surrogates_have_the_margins_of_the_data_and_the_information_they_claim():
    x, y = pairs("asinh-student-identity-2-2-1", n=4000)
    draw, truth, freedom = parts.surrogate(x, y)
    assert freedom == 1
    # Of zero correlation, so that nothing but the tails is shared: the formula of the benchmark.
    assert truth == pytest.approx(bmi.make(task="student-identity-2-2-1").truth, abs=0.01)
    drawn_x, drawn_y = draw(jax.random.key(0))
    assert jnp.array_equal(jnp.sort(drawn_x, axis=0), jnp.sort(x, axis=0))
    assert jnp.array_equal(jnp.sort(drawn_y, axis=0), jnp.sort(y, axis=0))
    normal_x, normal_y = pairs("half_cube-1v1-normal-0.75", n=4000)
    draw, truth, freedom = parts.surrogate(normal_x, normal_y)
    assert freedom >= 20 and truth == pytest.approx(0.4133, abs=0.05)
    assert ksg.particle.ksg_mutual_information(*draw(jax.random.key(0))) == pytest.approx(float(truth), abs=0.06)
    ranks = np.argsort(np.argsort(np.asarray(x), 0), 0)
    likelihood = parts.copula_likelihoods(jnp.asarray(ranks), jnp.eye(2))
    z = scipy.stats.t.ppf((ranks + 0.5) / 4000, 3.0)
    plain = scipy.stats.multivariate_t(shape=np.eye(2), df=3).logpdf(z) - scipy.stats.t.logpdf(z, 3).sum(1)
    assert likelihood[parts.FREEDOMS.index(3.0)] == pytest.approx(plain.mean(), abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_pure_functions_of_key_and_samples(name):
    estimator = importlib.import_module(f"infojax.estimators.{name}").make()
    x, y = pairs("1v1-normal-0.75", n=256)
    batch = (jnp.stack([x, y]), jnp.stack([y, x]))
    keys = jax.random.split(jax.random.key(0), 2)
    alone = jax.jit(estimator.fit)(keys[0], x, y)
    many = jax.jit(jax.vmap(estimator.fit))(keys, *batch)
    np.testing.assert_allclose(many.value[0], alone.value, atol=1e-4)
    np.testing.assert_allclose(many.interval[0], alone.interval, atol=1e-4)
    if name.startswith("gaussian"):  # the others take long where every operation compiles for itself
        np.testing.assert_allclose(estimator.fit(keys[0], x, y).value, alone.value, atol=1e-4)
    assert many.trusted.shape == (2,) and many.interval.shape == (2, 2)
    if estimator.entropy is not None:
        entropy = jax.jit(estimator.entropy)(keys[0], x)
        assert jnp.isfinite(entropy.value)
        if name in ("gaussian", "ksg"):
            assert entropy.value == pytest.approx(0.5 * math.log(2 * math.pi * math.e), abs=0.2)


def test_samples_that_do_not_fit_are_refused():
    fit, key, x = ksg.make().fit, jax.random.key(0), jnp.zeros((100, 2))
    for bad, words in (((x, x[:50]), "as many"), ((x[:10], x[:10]), "too few"), ((jnp.zeros((9, 2, 2)), x), "shape")):
        with pytest.raises(UserError, match=words):
            fit(key, *bad)
    with pytest.raises(UserError, match="bins"):
        plug_in.make(bins=1)
    assert matrix_renyi.make(alpha=1.01).fit(key, x, x).value == pytest.approx(0, abs=1e-4)
