r"""ε-MaxInfoRL (Sukhija et al., 2024, "MaxInfoRL"): two soft actor-critics on one replay, of which one explores.

    task          y = r_task + γ (1 − terminated) [ min_i Q̄_i(s', a') − α log π(a'|s') ]
    exploration   the same with r = r_objective, and with actor, critics and temperature of its own

With probability ε the action is the exploration policy's, else the task policy's. ε falls linearly from `epsilon_start`
to `epsilon_end` over the first `epsilon_steps` environment steps and stays there (in the authors' code it reaches 0.1
after 75 % of a run and falls on to 0). As there, the draw is new for every step; `draw_per: episode` keeps it for an
episode. The exploration reward is the objective's, in the paper an ensemble's disagreement. Deterministic evaluation is
of the task policy alone. All else is as in `infojax.agents.sac`.

Shapes: N = `batch_size`, D inputs, A action dimensions.
"""

from typing import Any, Literal, NamedTuple

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
    Timestep,
    UnitInterval,
)


class EpsilonState(NamedTuple):
    learner: soft.LearnerState  # of the task
    explorer: soft.LearnerState
    replay: parts.RingBuffer
    statistics: RunningStatistics
    objective: Any
    steps: Array  # environment steps seen


class EpsilonCarry(NamedTuple):
    context: Array
    draw: Array  # uniform in [0, 1), of this episode


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
    normalize_observations: bool = False,
    epsilon_start: UnitInterval = 1.0,
    epsilon_end: UnitInterval = 0.1,
    epsilon_steps: Count = 250_000,
    draw_per: Literal["step", "episode"] = "step",
) -> Agent:
    """ε-MaxInfoRL on `spec`; the task rewards one policy, `objective` the other. See the module's text."""
    world = experience(
        spec,
        objective,
        "epsilon_maxinforl",
        num_envs=num_envs,
        unroll=unroll,
        updates_per_step=updates_per_step,
        batch_size=batch_size,
        replay_capacity=replay_capacity,
        random_steps=random_steps,
        learning_starts=learning_starts,
        normalize_observations=normalize_observations,
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
        axis=spec.data_axis,
    )

    def init(key: Key) -> EpsilonState:
        keys = jax.random.split(key, 5)
        both = learner.init(keys[0], keys[1]), learner.init(keys[2], keys[3])
        return EpsilonState(*both, **world.init(keys[4]))

    def begin(state: EpsilonState, key: Key) -> EpsilonCarry:
        context_key, draw_key = jax.random.split(key)
        return EpsilonCarry(objective.context(state.objective, context_key), jax.random.uniform(draw_key))

    def act(
        state: EpsilonState, carry: EpsilonCarry, timestep: Timestep, key: Key, explore: bool
    ) -> tuple[EpsilonCarry, Array, dict[str, Array]]:
        context, inputs = world.sense(state, carry.context, timestep)
        if explore:
            noise_key, uniform_key, draw_key = jax.random.split(key, 3)
            noise = jax.random.normal(noise_key, (world.action_size,))
            draw = carry.draw if draw_per == "episode" else jax.random.uniform(draw_key)
            explores = draw < epsilon_at(state.steps, epsilon_start, epsilon_end, epsilon_steps)
            actions = [learner.sample(one.actor, inputs, noise)[0] for one in (state.explorer, state.learner)]
            action = world.warm_up(state, jnp.where(explores, *actions), uniform_key)
        else:
            action = learner.mode(state.learner.actor, inputs)
        return EpsilonCarry(context, carry.draw), world.action_range.to_env(action), {"context": context}

    def gradient_step(state: EpsilonState, batch: Minibatch, moves_actor: bool) -> tuple[EpsilonState, Metrics]:
        seen, learns = world.see(state, batch), world.learns(state)
        intrinsic = objective.reward(state.objective, seen.transitions)
        metrics: Metrics = {"intrinsic_reward": jnp.mean(intrinsic)}
        moved = {}
        for name, prefix, reward in (
            ("learner", "", seen.transitions.reward),
            ("explorer", "explorer_", intrinsic),
        ):
            learned, critic_metrics = learner.critic_step(getattr(state, name), seen, reward, batch, learns)
            moved[name], actor_metrics, _ = learner.actor_step(learned, seen, batch, learns)
            metrics |= {prefix + key: value for key, value in (critic_metrics | actor_metrics).items()}
        objective_state, objective_metrics = objective.update(state.objective, seen.transitions, batch.key)
        return state._replace(objective=objective_state, **moved), metrics | objective_metrics

    def update(state: EpsilonState, rollout: Rollout, key: Key) -> tuple[EpsilonState, Metrics]:
        state, metrics = world.update(gradient_step, state, rollout, key)
        return state, metrics | {"epsilon": epsilon_at(state.steps, epsilon_start, epsilon_end, epsilon_steps)}

    def adopt(state: EpsilonState, learned: EpsilonState) -> EpsilonState:
        state = world.adopt(state, learned)
        return state._replace(
            learner=soft.adopted(state.learner, learned.learner),
            explorer=soft.adopted(state.explorer, learned.explorer),
        )

    return Agent(unroll, world.num_envs, objective.contexts, init, begin, act, update, world.report, adopt)


def epsilon_at(steps: Array, start: float, end: float, duration: int) -> Array:
    """ε after so many environment steps: start + (end − start) · min(steps / duration, 1)."""
    passed = jnp.minimum(steps.astype(jnp.float32) / duration, 1)
    return start + (end - start) * passed
