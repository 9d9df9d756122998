"""Running statistics of what was seen, and normalisation by them; shared by learners and objectives.

`axis` names the axes over which a batch is spread, `EnvSpec.data_axis`: statistics are then those of the whole batch,
the same in every shard. None is a batch in one piece.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from infojax.types import Array

Axis = tuple[str, ...] | None


def averaged(tree: Any, axis: Axis) -> Any:
    """The mean of every leaf over the shards, the same in each."""
    return tree if axis is None else jax.lax.pmean(tree, axis)


def summed(tree: Any, axis: Axis) -> Any:
    """The sum of every leaf over the shards, the same in each."""
    return tree if axis is None else jax.lax.psum(tree, axis)


def largest(values: Array, axis: Axis) -> Array:
    """The largest over the shards, entry by entry, the same in each."""
    return values if axis is None else jax.lax.pmax(values, axis)


def gathered(values: Array, axis: Axis) -> Array:
    """[n, …] rows of every shard as [shards · n, …], the same in each."""
    if axis is None:
        return values
    # By a sum: unlike jax's gather it takes several axes at once, of which some are mapped on one device.
    rows = jnp.zeros((jax.lax.axis_size(axis), *values.shape), values.dtype).at[jax.lax.axis_index(axis)].set(values)
    return jax.lax.psum(rows, axis).reshape(-1, *values.shape[1:])


class RunningStatistics(NamedTuple):
    """Number, mean and summed squared deviation of everything seen."""

    seen: Array  # how many values
    mean: Array
    deviation: Array


def running_statistics(shape: tuple[int, ...]) -> RunningStatistics:
    """Statistics of nothing: `normalize` is then the identity."""
    return RunningStatistics(jnp.zeros(()), jnp.zeros(shape), jnp.zeros(shape))


def observe_statistics(statistics: RunningStatistics, values: Array, axis: Axis = None) -> RunningStatistics:
    """Merge a batch [n, …] (Chan, Golub and LeVeque, 1979, eq. 2.1)."""
    shards = 1 if axis is None else jax.lax.axis_size(axis)
    count = jnp.asarray(shards * values.shape[0], jnp.float32)
    mean = averaged(jnp.mean(values, axis=0), axis)
    deviation = summed(jnp.sum(jnp.square(values - spread(mean, values)), axis=0), axis)
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
