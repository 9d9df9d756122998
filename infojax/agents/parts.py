"""Parts that learners share: a ring buffer, the range of actions, contexts of a rollout."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from infojax.nets.statistics import largest, spread
from infojax.types import Array, EnvSpec, Key, Objective, Rollout, Transition, UserError, keep_context


def part_of(spec: EnvSpec, key: str, number: int) -> int:
    """What one shard has of a number that is a whole seed's, such as agent.num_envs; raises UserError for a rest."""
    if number % spec.data_shards:
        nearest = max(1, round(number / spec.data_shards)) * spec.data_shards
        raise UserError(
            f"{key}={number} cannot be spread evenly over mesh.data={spec.data_shards} shards; use a multiple of it, "
            f"such as {key}={nearest}"
        )
    return number // spec.data_shards


def common_key(spec: EnvSpec, key: Key) -> Key:
    """One key that all shards have, from keys of their own: for what must be drawn alike in all."""
    if spec.data_axis is None:
        return key
    return jax.random.wrap_key_data(largest(jax.random.key_data(key), spec.data_axis))


class RingBuffer(NamedTuple):
    """The last `capacity` rows of packed transitions; one matrix, so that a minibatch is one gather."""

    rows: Array  # [capacity, width] float32
    position: Array  # where the next block goes
    size: Array  # rows filled so far


def ring_buffer(capacity: int, width: int) -> RingBuffer:
    """An empty buffer."""
    zero = jnp.zeros((), jnp.int32)
    return RingBuffer(jnp.zeros((capacity, width), jnp.float32), zero, jnp.zeros_like(zero))


def insert(buffer: RingBuffer, rows: Array) -> RingBuffer:
    """Write a block of rows [n, width]; the capacity must be a multiple of n, so that a block never wraps."""
    capacity, count = buffer.rows.shape[0], rows.shape[0]
    return RingBuffer(
        rows=jax.lax.dynamic_update_slice(buffer.rows, rows, (buffer.position, jnp.zeros_like(buffer.position))),
        position=(buffer.position + count) % capacity,
        size=jnp.minimum(buffer.size + count, capacity),
    )


class Packing(NamedTuple):
    """How transitions become rows of one float32 matrix: the trailing shape of each field."""

    shapes: tuple[tuple[int, ...], ...]
    store_next_context: bool

    @property
    def width(self) -> int:
        """Numbers in one row."""
        return sum(_size(shape) for shape in self.shapes)

    def pack(self, transitions: Transition) -> Array:
        """[N, …] fields to rows [N, width]."""
        fields = [getattr(transitions, name) for name in self._names()]
        rows = [
            field.reshape(field.shape[0], _size(shape)).astype(jnp.float32)
            for field, shape in zip(fields, self.shapes, strict=True)
        ]
        return jnp.concatenate(rows, axis=1)

    def unpack(self, rows: Array) -> Transition:
        """Rows [N, width] to [N, …] fields."""
        fields, start = {}, 0
        for name, shape in zip(self._names(), self.shapes, strict=True):
            stop = start + _size(shape)
            fields[name] = rows[:, start:stop].reshape(rows.shape[0], *shape)
            start = stop
        for name in ("terminated", "truncated"):
            fields[name] = fields[name] > 0
        return Transition(**{"next_context": fields["context"], **fields})

    def _names(self) -> list[str]:
        return [name for name in Transition._fields if name != "next_context" or self.store_next_context]


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


def packing(spec: EnvSpec, objective: Objective) -> Packing:
    """The packing of this environment's transitions; `next_context` is stored only where contexts evolve."""
    context = (objective.context_size,)
    shapes = {
        "observation": spec.observation_shape,
        "context": context,
        "action": spec.action_shape,
        "reward": (),
        "next_observation": spec.observation_shape,
        "next_context": context,
        "terminated": (),
        "truncated": (),
    }
    store = objective.advance is not keep_context
    return Packing(tuple(shapes[n] for n in Transition._fields if n != "next_context" or store), store)


def transitions_of(
    rollout: Rollout, objective: Objective, objective_state: Any, sight: Callable[[Array], Array] = lambda seen: seen
) -> Transition:
    """[T, B, …] steps as [T·B, …] transitions; the next context follows from the observation before a reset.

    `sight` is how the learner sees observations, where those of the rollout are raw: contexts evolve by what is seen.
    """
    flat = jax.tree.map(lambda leaf: leaf.reshape(leaf.shape[0] * leaf.shape[1], *leaf.shape[2:]), rollout)
    context = flat.extras["context"]
    if objective.advance is keep_context:
        next_context = context
    else:
        next_context = jax.vmap(objective.advance, in_axes=(None, 0, 0))(
            objective_state, context, sight(flat.next_observation)
        )
    return Transition(
        observation=flat.observation,
        context=context,
        action=flat.action,
        reward=flat.reward,
        next_observation=flat.next_observation,
        next_context=next_context,
        terminated=flat.terminated,
        truncated=flat.truncated,
    )


class ActionRange(NamedTuple):
    """The affine map between [−1, 1] and the environment's bounds."""

    middle: Array
    half: Array

    def to_env(self, action: Array) -> Array:
        """[−1, 1] to the environment's bounds."""
        return spread(self.middle, action) + spread(self.half, action) * action

    def from_env(self, action: Array) -> Array:
        """The environment's bounds to [−1, 1]."""
        return (action - spread(self.middle, action)) / spread(self.half, action)


def continuous_actions(spec: EnvSpec, agent: str) -> ActionRange:
    """The range of the actions, or a clear error where the environment's actions are not continuous and flat."""
    if spec.num_actions is not None:
        raise UserError(
            f"agent {agent} acts with continuous actions, but {spec.name or 'this environment'} has "
            f"{spec.num_actions} discrete ones; choose an environment with continuous actions, "
            "such as env=gymnasium/Pendulum-v1"
        )
    if len(spec.action_shape) != 1 or len(spec.observation_shape) != 1:
        raise UserError(
            f"agent {agent} needs flat observations and actions, but {spec.name or 'this environment'} has shapes "
            f"{spec.observation_shape} and {spec.action_shape}; flatten them in the environment"
        )
    low, high = jnp.asarray(spec.low, jnp.float32), jnp.asarray(spec.high, jnp.float32)
    return ActionRange((low + high) / 2, (high - low) / 2)
