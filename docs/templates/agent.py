"""REINFORCE with a linear Gaussian policy (Williams, 1992): a template for an agent of your own.

    gradient of  E[ log π(a|s) · A ],   A = return to go within the rollout − its mean over environments

Shapes: B environments, T steps an iteration, D inputs (observation and the objective's context).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from infojax.types import (
    Agent,
    Array,
    Count,
    EnvSpec,
    Key,
    Metrics,
    Objective,
    Positive,
    Rollout,
    Timestep,
    Transition,
    UnitInterval,
)


class MineState(NamedTuple):
    weights: Array  # [D, A]
    objective: NamedTuple


class Carry(NamedTuple):
    context: Array


def make(
    spec: EnvSpec,
    objective: Objective,
    *,
    num_envs: Count = 16,
    unroll: Count = 10,
    learning_rate: Positive = 0.01,
    discount: UnitInterval = 0.99,
    scale: Positive = 0.5,
) -> Agent:
    """REINFORCE on the task's reward plus the objective's; see the module's text."""
    (observation_size,), (action_size,) = spec.observation_shape, spec.action_shape

    def init(key: Key) -> MineState:
        weights = jnp.zeros((observation_size + objective.context_size, action_size), jnp.float32)
        return MineState(weights, objective.init(key))

    def begin(state: MineState, key: Key) -> Carry:
        return Carry(objective.context(state.objective, key))

    def act(
        state: MineState, carry: Carry, timestep: Timestep, key: Key, explore: bool
    ) -> tuple[Carry, Array, dict[str, Array]]:
        mean = jnp.concatenate([timestep.observation, carry.context]) @ state.weights
        action = mean + scale * jax.random.normal(key, mean.shape) if explore else mean
        return carry, action, {"context": carry.context}

    def transitions_of(rollout: Rollout) -> Transition:
        flat = jax.tree.map(lambda leaf: leaf.reshape(leaf.shape[0] * leaf.shape[1], *leaf.shape[2:]), rollout)
        context = flat.extras["context"]
        return Transition(
            flat.observation,
            context,
            flat.action,
            flat.reward,
            flat.next_observation,
            context,
            flat.terminated,
            flat.truncated,
        )

    def update(state: MineState, rollout: Rollout, key: Key) -> tuple[MineState, Metrics]:
        transitions = transitions_of(rollout)
        intrinsic = objective.reward(state.objective, transitions).reshape(rollout.reward.shape)
        ends = rollout.terminated | rollout.truncated

        def backwards(later: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
            reward, end = step
            value = reward + discount * jnp.where(end, 0, later)
            return value, value

        rewards = rollout.reward + intrinsic
        _, returns = jax.lax.scan(backwards, jnp.zeros((num_envs,), jnp.float32), (rewards, ends), reverse=True)
        advantage = returns - jnp.mean(returns, axis=1, keepdims=True)
        inputs = jnp.concatenate([rollout.observation, rollout.extras["context"]], axis=-1)

        def loss(weights: Array) -> Array:
            squared = jnp.sum(jnp.square((rollout.action - inputs @ weights) / scale), axis=-1)
            return jnp.mean(0.5 * squared * advantage)

        value, gradient = jax.value_and_grad(loss)(state.weights)
        observed = objective.observe(state.objective, transitions)
        objective_state, metrics = objective.update(observed, transitions, key)
        return MineState(state.weights - learning_rate * gradient, objective_state), {"loss": value, **metrics}

    def report(state: MineState, rollout: Rollout) -> Metrics:
        return objective.report(state.objective, transitions_of(rollout))

    return Agent(unroll, num_envs, objective.contexts, init, begin, act, update, report)
