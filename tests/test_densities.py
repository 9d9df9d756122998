"""Count densities against scipy, over whole episodes, and the published defects they do not share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from infojax.objectives import densities
from infojax.types import UserError

EPISODE = 40
RANDOM = np.random.default_rng(0)


def history(density, observations):
    """Statistics before each observation and after the last, [T + 1, S], by one scan."""

    def step(statistics, observation):
        return density.insert(statistics, observation), statistics

    last, before = jax.lax.scan(step, density.empty(), jnp.asarray(observations, jnp.float32))
    return jnp.concatenate([before, last[None]])


@pytest.mark.parametrize("smoothing", ["floor", "laplace"])
def test_categorical_is_the_counts_over_an_episode(smoothing):
    size, classes = 3, 4
    # The third class never appears, so that the floor is met.
    symbols = RANDOM.choice([0, 1, 3], (EPISODE, size), p=[0.6, 0.3, 0.1])
    density = densities.categorical(size, classes, smoothing=smoothing)
    statistics = history(density, symbols)
    probe = RANDOM.integers(0, classes, (EPISODE + 1, size))
    log_prob = jax.vmap(density.log_prob_of)(statistics, jnp.asarray(probe, jnp.float32))
    entropy = jax.vmap(density.entropy_of)(statistics)
    for n in range(EPISODE + 1):
        counts = np.stack([np.bincount(symbols[:n, j], minlength=classes) for j in range(size)]).astype(np.float64)
        if smoothing == "laplace":
            chances = (counts + 1) / (n + classes)
            given = chances[np.arange(size), probe[n]]
        else:
            chances = counts / n if n else np.full((size, classes), 1 / classes)
            given = np.maximum(chances[np.arange(size), probe[n]], 1e-3)
        assert log_prob[n] == pytest.approx(np.log(given).sum(), rel=2e-6)
        assert entropy[n] == pytest.approx(stats.entropy(chances, axis=1).sum(), rel=1e-5, abs=1e-6)
    shown = density.summary(statistics[-1])
    assert shown.shape == (density.summary_size,) and statistics.shape[1] == density.statistics_size
    np.testing.assert_allclose(shown[1:], chances.ravel(), rtol=1e-6)
    assert shown[0] == pytest.approx(np.log1p(EPISODE) / densities.LOG_COUNT_SCALE, rel=1e-6)


def test_the_floor_is_not_normalised_and_laplace_is():
    """Each symbol of one entry in turn: what their probabilities sum to."""
    for smoothing, total in (("floor", 1 + 3e-3), ("laplace", 1.0)):
        density = densities.categorical(1, 4, smoothing=smoothing)
        statistics = density.insert(density.empty(), jnp.zeros(1))
        each = jax.vmap(density.log_prob_of, in_axes=(None, 0))(statistics, jnp.arange(4.0)[:, None])
        assert np.exp(np.asarray(each, np.float64)).sum() == pytest.approx(total, rel=1e-6)


def test_counts_stay_whole_in_long_episodes():
    density = densities.categorical(1, 3)
    symbols = RANDOM.integers(0, 3, (20_000, 1))
    last = history(density, symbols)[-1]
    np.testing.assert_array_equal(np.round(np.asarray(last[1:], np.float64) * 20_000), np.bincount(symbols[:, 0]))
    np.testing.assert_allclose(last[1:], np.bincount(symbols[:, 0]) / 20_000, rtol=1e-6)


def test_bernoulli_is_scipys():
    size = 3
    ones = (RANDOM.random((EPISODE, size)) < [0.5, 0.9, 0.0]).astype(np.float32)
    density = densities.bernoulli(size)
    statistics = history(density, ones)
    probe = (RANDOM.random((EPISODE + 1, size)) < 0.5).astype(np.float32)
    log_prob = jax.vmap(density.log_prob_of)(statistics, jnp.asarray(probe))
    entropy = jax.vmap(density.entropy_of)(statistics)
    for n in range(EPISODE + 1):
        chance = np.clip(ones[:n].mean(0, dtype=np.float64) if n else np.full(size, 0.5), 1e-5, 1 - 1e-5)
        assert log_prob[n] == pytest.approx(stats.bernoulli.logpmf(probe[n], chance).sum(), rel=1e-5)
        assert entropy[n] == pytest.approx(stats.bernoulli.entropy(chance).sum(), rel=1e-4, abs=1e-6)
    np.testing.assert_allclose(density.summary(statistics[-1])[1:], ones.mean(0), atol=1e-6)


@pytest.mark.parametrize("window, prior", [(None, 0.0), (None, 1.0), (8, 1.0)])
def test_gaussian_is_scipys_normal_of_the_moments(window, prior):
    """Wide and narrow entries: log(2 π σ) in place of log(2 π σ²), or H with the other sign, miss by far."""
    size = 3
    values = RANDOM.normal([0.0, 100.0, -1.0], [0.1, 5.0, 30.0], (EPISODE, size)).astype(np.float32)
    density = densities.gaussian(size, 1e-2, window=window, prior_count=prior)
    statistics = history(density, values)
    probe = RANDOM.normal([0.0, 100.0, -1.0], [0.1, 5.0, 30.0], (EPISODE + 1, size)).astype(np.float32)
    log_prob = jax.vmap(density.log_prob_of)(statistics, jnp.asarray(probe))
    entropy = jax.vmap(density.entropy_of)(statistics)
    for n in range(EPISODE + 1):
        seen = values[max(0, n - (window or n)) : n].astype(np.float64)
        if n == 0:
            mean, variance = np.zeros(size), np.ones(size)
        else:
            # The prior is `prior` observations whose mean is 0 and whose square is 1 on average.
            weight = 0 if window else prior
            mean = seen.sum(0) / (len(seen) + weight)
            variance = ((seen**2).sum(0) + weight) / (len(seen) + weight) - mean**2
        scale = np.maximum(np.sqrt(np.maximum(variance, 0)), 1e-2)
        assert log_prob[n] == pytest.approx(stats.norm.logpdf(probe[n], mean, scale).sum(), rel=1e-3)
        assert entropy[n] == pytest.approx(stats.norm.entropy(mean, scale).sum(), rel=1e-3)
    np.testing.assert_allclose(density.summary(statistics[-1])[1:], np.concatenate([mean, scale]), rtol=1e-3)
    assert statistics.shape[1] == density.statistics_size


def test_the_second_gaussian_observation_does_not_replace_the_first():
    """The published incremental mean divides by the number of before and forgets all that came earlier."""
    density = densities.gaussian(1, 1e-3, prior_count=0.0)
    statistics = history(density, [[1.0], [3.0]])[-1]
    np.testing.assert_allclose(statistics, [2.0, 2.0, 1.0])


def test_gaussian_variance_does_not_cancel_far_from_zero():
    density = densities.gaussian(1, 1e-3, prior_count=0.0)
    values = 1000 + RANDOM.normal(0, 0.1, (200, 1)).astype(np.float32)
    scale = density.summary(history(density, values)[-1])[2]
    assert scale == pytest.approx(values.std(dtype=np.float64), rel=0.02)


def test_impossible_densities_are_refused():
    with pytest.raises(UserError, match="floor"):
        densities.categorical(2, 4, floor=0.3)
    with pytest.raises(UserError, match="Bernoulli"):
        densities.bernoulli(2, floor=0.5)
    with pytest.raises(UserError, match="min_scale"):
        densities.gaussian(2, 0.0)
