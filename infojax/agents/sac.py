r"""Soft actor-critic (Haarnoja et al., 2018, "Soft Actor-Critic Algorithms and Applications"), with an objective.

    critic   y = r + γ (1 − terminated) [ min_i Q̄_i(s', a') − α log π(a'|s') ]          (eqs. 5 and 6)
    actor    E[ α log π(a|s) − min_i Q_i(s, a) ]                                          (eq. 7, reparameterised)
    α        E[ −log α (log π(a|s) + H̄) ]                                                (eq. 18, on log α)

The reward is r = `extrinsic_weight` · task reward + `intrinsic_weight` · objective reward, the latter computed by the
objective of now for every replayed transition. Actor and critics see the observation with the objective's context
behind it; the objective sees the observation alone. Truncation bootstraps, termination does not. Actions live in
[−1, 1] inside (log π is the density there, in nats) and are scaled to the environment's bounds at the door.

REDQ (Chen et al., 2021) is this learner with more critics, of which the target takes the minimum over a random few
(`num_critics`, `target_critics`), the actor the mean (`actor_value`), and many gradient steps of the critics for one
of the actor (`updates_per_step`, `actor_period`).

Who goes on from another run (`init_from`) takes over its critics too, as Eysenbach et al. (2019, section 4.2.1) do with
skills, whose reward they found close to the task's. Where it is not, new critics (`adopt_critics=False`) learn what the
actor that is taken over is worth before it moves (`actor_starts`), or it would climb what they do not know yet.

Shapes: B environments, T steps an iteration, N = `batch_size`, inputs D = observation + context.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from infojax.agents import parts
from infojax.agents import soft_actor_critic as soft
from infojax.agents.experience import Minibatch, experience
from infojax.nets.mlp import Activation
from infojax.nets.statistics import RunningStatistics
from infojax.types import (
    Agent,
    Array,
    Count,
    EnvSpec,
    Finite,
    Key,
    Metrics,
    NonNegativeInt,
    Objective,
    Positive,
    Rate,
    Rollout,
    UnitInterval,
)


class SACState(NamedTuple):
    learner: soft.LearnerState
    replay: parts.RingBuffer
    statistics: RunningStatistics
    objective: Any
    steps: Array  # environment steps seen


def make(
    spec: EnvSpec,
    objective: Objective,
    *,
    num_envs: Count = 16,
    unroll: Count = 1,
    updates_per_step: Positive = 1.0,
    batch_size: Count = 256,
    replay_capacity: Count = 1_000_000,
    random_steps: NonNegativeInt = 1_000,
    learning_starts: NonNegativeInt = 1_000,
    discount: UnitInterval = 0.99,
    target_rate: Rate = 0.005,
    temperature: Positive = 1.0,
    target_entropy_per_dimension: Finite | None = -1.0,
    actor_learning_rate: Positive = 3e-4,
    critic_learning_rate: Positive = 3e-4,
    temperature_learning_rate: Positive = 3e-4,
    hidden_sizes: tuple[int, ...] = (256, 256),
    activation: Activation = "relu",
    num_critics: Count = 2,
    target_critics: Count = 2,
    actor_value: soft.ActorValue = "min",
    actor_period: Count = 1,
    actor_starts: NonNegativeInt = 0,
    adopt_critics: bool = True,
    normalize_observations: bool = False,
    extrinsic_weight: Finite = 1.0,
    intrinsic_weight: Finite = 1.0,
) -> Agent:
    """SAC on `spec`, rewarded by the task and by `objective`; see the module's text."""
    world = experience(
        spec,
        objective,
        "sac",
        num_envs=num_envs,
        unroll=unroll,
        updates_per_step=updates_per_step,
        batch_size=batch_size,
        replay_capacity=replay_capacity,
        random_steps=random_steps,
        learning_starts=learning_starts,
        normalize_observations=normalize_observations,
        actor_period=actor_period,
    )
    learner = soft.learner(
        world.input_size,
        world.action_size,
        discount=discount,
        target_rate=target_rate,
        temperature=temperature,
        target_entropy_per_dimension=target_entropy_per_dimension,
        actor_learning_rate=actor_learning_rate,
        critic_learning_rate=critic_learning_rate,
        temperature_learning_rate=temperature_learning_rate,
        hidden_sizes=hidden_sizes,
        activation=activation,
        num_critics=num_critics,
        target_critics=target_critics,
        actor_value=actor_value,
        axis=spec.data_axis,
    )

    def init(key: Key) -> SACState:
        actor_key, critic_key, objective_key = jax.random.split(key, 3)
        return SACState(learner.init(actor_key, critic_key), **world.init(objective_key))

    def gradient_step(state: SACState, batch: Minibatch, moves_actor: bool) -> tuple[SACState, Metrics]:
        seen, learns = world.see(state, batch), world.learns(state)
        intrinsic = objective.reward(state.objective, seen.transitions)
        reward = extrinsic_weight * seen.transitions.reward + intrinsic_weight * intrinsic
        learned, metrics = learner.critic_step(state.learner, seen, reward, batch, learns)
        if moves_actor:
            moves = learns * (state.steps >= actor_starts).astype(jnp.float32) if actor_starts else learns
            learned, actor_metrics, _ = learner.actor_step(learned, seen, batch, moves)
            metrics |= actor_metrics
        objective_state, objective_metrics = objective.update(state.objective, seen.transitions, batch.key)
        metrics |= {"intrinsic_reward": jnp.mean(intrinsic), **objective_metrics}
        return state._replace(learner=learned, objective=objective_state), metrics

    def update(state: SACState, rollout: Rollout, key: Key) -> tuple[SACState, Metrics]:
        return world.update(gradient_step, state, rollout, key)

    def adopt(state: SACState, learned: SACState) -> SACState:
        state = world.adopt(state, learned)
        return state._replace(learner=soft.adopted(state.learner, learned.learner, adopt_critics))

    act = soft.acting(world, learner)
    return Agent(unroll, world.num_envs, objective.contexts, init, world.begin, act, update, world.report, adopt)
