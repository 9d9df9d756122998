"""A walk on a line: a template for an environment of your own.

The position moves by the action; the reward is the position; it ends outside of ±`limit`.
"""

import jax
import jax.numpy as jnp

from infojax.types import Array, Count, Environment, EnvSpec, Key, Positive


def make(*, limit: Positive = 3.0, episode_length: Count = 20) -> Environment:
    """The walk, terminated outside of ±`limit` and truncated after `episode_length` steps."""

    def reset(key: Key) -> tuple[Array, Array]:
        position = jax.random.uniform(key, (1,), jnp.float32, -1, 1)
        return position, position

    def step(state: Array, action: Array, key: Key) -> tuple[Array, Array, Array, Array]:
        position = state + 0.2 * jnp.clip(action, -1, 1)
        return position, position, position[0], jnp.abs(position[0]) > limit

    spec = EnvSpec(
        observation_shape=(1,),
        action_shape=(1,),
        num_actions=None,
        low=(-1.0,),
        high=(1.0,),
        episode_length=episode_length,
        name="mine",
        position_names=("position",),
        position_low=(-limit,),
        position_high=(limit,),
    )
    return Environment(spec, reset, step, lambda state: state)
