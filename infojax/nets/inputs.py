"""Observations and actions as the flat vectors that networks take: symbols and discrete actions become one-hot."""

import math

import jax
import jax.numpy as jnp

from infojax.types import Array, EnvSpec


def observation_size(spec: EnvSpec) -> int:
    """Entries of `observation_features`."""
    return math.prod(spec.observation_shape) * (spec.num_categories or 1)


def observation_features(spec: EnvSpec, observation: Array) -> Array:
    """Observations (…, *observation_shape) as (…, D): flat, and one-hot per entry where entries are symbols."""
    leading = observation.shape[: observation.ndim - len(spec.observation_shape)]
    if spec.num_categories is not None:
        symbols = jnp.round(observation).astype(jnp.int32)
        observation = jax.nn.one_hot(symbols, spec.num_categories, dtype=jnp.float32)
    return observation.reshape(*leading, observation_size(spec))


def action_size(spec: EnvSpec) -> int:
    """Entries of `action_features`."""
    return math.prod(spec.action_shape) if spec.num_actions is None else spec.num_actions


def action_features(spec: EnvSpec, action: Array) -> Array:
    """Actions (…, *action_shape) as (…, A): flat, or one-hot where they are discrete."""
    if spec.num_actions is not None:
        return jax.nn.one_hot(action.astype(jnp.int32), spec.num_actions, dtype=jnp.float32)
    leading = action.shape[: action.ndim - len(spec.action_shape)]
    return action.reshape(*leading, action_size(spec))
