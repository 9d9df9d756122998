"""Running statistics of what was seen, and normalisation by them; shared by learners and objectives."""

from typing import NamedTuple

import jax.numpy as jnp

from infojax.types import Array


class RunningStatistics(NamedTuple):
    """Number, mean and summed squared deviation of everything seen."""

    seen: Array  # how many values
    mean: Array
    deviation: Array


def running_statistics(shape: tuple[int, ...]) -> RunningStatistics:
    """Statistics of nothing: `normalize` is then the identity."""
    return RunningStatistics(jnp.zeros(()), jnp.zeros(shape), jnp.zeros(shape))


def observe_statistics(statistics: RunningStatistics, values: Array) -> RunningStatistics:
    """Merge a batch [n, …] (Chan, Golub and LeVeque, 1979, eq. 2.1)."""
    count = jnp.asarray(values.shape[0], jnp.float32)
    mean = jnp.mean(values, axis=0)
    deviation = jnp.sum(jnp.square(values - spread(mean, values)), axis=0)
    total = statistics.seen + count
    delta = mean - statistics.mean
    return RunningStatistics(
        seen=total,
        mean=statistics.mean + delta * count / total,
        deviation=statistics.deviation + deviation + jnp.square(delta) * statistics.seen * count / total,
    )


def normalize(statistics: RunningStatistics, values: Array) -> Array:
    """Values at mean 0 and scale 1, clipped to ±10; dimensions that never moved keep their scale."""
    variance = statistics.deviation / jnp.maximum(statistics.seen, 1)
    scale = jnp.where(variance > 1e-8, jnp.sqrt(jnp.maximum(variance, 1e-8)), 1)
    return jnp.clip((values - spread(statistics.mean, values)) / spread(scale, values), -10, 10)


def spread(per_dimension: Array, values: Array) -> Array:
    """Explicit broadcasting over leading axes: rank promotion stays an error elsewhere."""
    return jnp.broadcast_to(per_dimension, values.shape)
