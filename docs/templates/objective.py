"""Surprise under a running Gaussian, −log p(s'): a template for an objective of your own.

The density is a diagonal Gaussian fitted to everything observed so far; the reward is in nats per dimension.
"""

from typing import NamedTuple

import jax.numpy as jnp

from infojax.info import gaussian
from infojax.types import Array, EnvSpec, Key, Metrics, Objective, Positive, Transition, keep_context


class MineState(NamedTuple):
    total: Array  # how much was seen
    mean: Array
    square: Array  # mean of squares


def make(spec: EnvSpec, *, smallest_scale: Positive = 0.01) -> Objective:
    """−log p(s') under the running Gaussian, averaged over dimensions."""

    def init(key: Key) -> MineState:
        zeros = jnp.zeros(spec.observation_shape, jnp.float32)
        return MineState(jnp.zeros((), jnp.float32), zeros, zeros)

    def reward(state: MineState, transitions: Transition) -> Array:
        scale = jnp.sqrt(jnp.maximum(state.square - jnp.square(state.mean), smallest_scale**2))
        # −log p(x) = D(p moved to x ‖ p) + H(p) − d/2: equal scales leave of the divergence the square alone.
        moved = gaussian.diagonal_kl_divergence(transitions.next_observation, scale, state.mean, scale)
        return (moved + gaussian.diagonal_entropy(scale)) / scale.size - 0.5

    def observe(state: MineState, transitions: Transition) -> MineState:
        values = transitions.next_observation
        total = state.total + values.shape[0]
        share = values.shape[0] / total
        return MineState(
            total,
            state.mean + share * (jnp.mean(values, axis=0) - state.mean),
            state.square + share * (jnp.mean(jnp.square(values), axis=0) - state.square),
        )

    def update(state: MineState, transitions: Transition, key: Key) -> tuple[MineState, Metrics]:
        return state, {}

    def report(state: MineState, transitions: Transition, where: Array | None = None) -> Metrics:
        return {}

    return Objective(
        context_size=0,
        contexts=None,
        init=init,
        context=lambda state, key: jnp.zeros((0,), jnp.float32),
        advance=keep_context,
        reward=reward,
        observe=observe,
        update=update,
        report=report,
    )
