"""How a learner with replay meets its environment: acting, storing, and gradient steps on replayed minibatches.

Shapes: B environments, T steps an iteration, N = `batch_size`, A action dimensions in [−1, 1], D inputs: the
observation with the objective's context behind it. Where the data of a seed is spread over shards, each has its part of
the environments, of the replay and of every minibatch; as many gradient steps are made as in one piece.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from infojax.agents import parts
from infojax.agents.adoption import same_kind, take, take_if_fits
from infojax.nets.statistics import normalize, observe_statistics, running_statistics
from infojax.types import (
    Array,
    EnvSpec,
    Key,
    Metrics,
    Objective,
    Rollout,
    Timestep,
    Transition,
    UserError,
    episode_mask,
    second_half,
    shard_index,
)


class Minibatch(NamedTuple):
    """What one gradient step takes in; all of it is drawn before the first step of an update."""

    rows: Array  # [N, width] of the replay
    slots: Array  # [N] where in the replay of all shards they stand
    next_noise: Array  # [N, A] standard normal
    noise: Array
    key: Key  # of the objective's update
    learner_key: Key  # of all else that a learner draws; the same in every shard


class Seen(NamedTuple):
    """A minibatch as networks and objectives see it."""

    transitions: Transition
    inputs: Array  # [N, D]
    next_inputs: Array


class Carry(NamedTuple):
    """What an episode carries."""

    context: Array


class Experience(NamedTuple):
    """How a learner with replay meets its environment.

    States are NamedTuples with the fields `replay`, `statistics`, `objective` and `steps`, which `init` makes.
    """

    action_range: parts.ActionRange
    num_envs: int  # of one shard
    input_size: int
    action_size: int
    init: Callable[[Key], dict[str, Any]]  # (objective's key) -> those fields
    begin: Callable[[Any, Key], Carry]
    sense: Callable[[Any, Array, Timestep], tuple[Array, Array]]  # (state, context, timestep) -> context, inputs
    warm_up: Callable[[Any, Array, Key], Array]  # (state, action, key): uniform in the first `random_steps`
    learns: Callable[[Any], Array]  # 1 once `learning_starts` steps were seen, else 0
    see: Callable[[Any, Minibatch], Seen]
    update: Callable[..., tuple[Any, Metrics]]  # (gradient_step, state, rollout, key)
    report: Callable[[Any, Rollout], Metrics]
    adopt: Callable[[Any, Any], Any]  # (state, learned)


def experience(
    spec: EnvSpec,
    objective: Objective,
    agent: str,
    *,
    num_envs: int,
    unroll: int,
    updates_per_step: float,
    batch_size: int,
    replay_capacity: int,
    random_steps: int,
    learning_starts: int,
    normalize_observations: bool,
    actor_period: int = 1,
) -> Experience:
    """Acting, storing and replaying for one learner; `agent` names it in errors. See the module's text."""
    action_range = parts.continuous_actions(spec, agent)
    (observation_size,), (action_size,) = spec.observation_shape, spec.action_shape
    local_envs = parts.part_of(spec, "agent.num_envs", num_envs)
    local_batch = parts.part_of(spec, "agent.batch_size", batch_size)
    total, block = num_envs * unroll, local_envs * unroll
    num_updates = round(updates_per_step * total)
    if num_updates < 1:
        raise UserError(
            f"agent.updates_per_step={updates_per_step:g} with {num_envs} environments x unroll {unroll} gives no "
            f"gradient step at all; use at least {1 / total:g}, or a longer agent.unroll"
        )
    if num_updates % actor_period:
        raise UserError(
            f"agent.actor_period={actor_period} does not divide the {num_updates} gradient steps of one update "
            f"(updates_per_step {updates_per_step:g} x {num_envs} environments x unroll {unroll}); choose one that does"
        )
    packing = parts.packing(spec, objective)
    capacity = -(-replay_capacity // total) * block

    def sight(state: Any, observation: Array) -> Array:
        return normalize(state.statistics, observation) if normalize_observations else observation

    def transitions(state: Any, rollout: Rollout) -> Transition:
        """[T·B, …], observations raw; contexts evolve by what the learner saw when it acted."""
        return parts.transitions_of(rollout, objective, state.objective, lambda observation: sight(state, observation))

    def normalized(state: Any, transitions: Transition) -> Transition:
        return transitions._replace(
            observation=sight(state, transitions.observation),
            next_observation=sight(state, transitions.next_observation),
            action=action_range.from_env(transitions.action),
        )

    def init(objective_key: Key) -> dict[str, Any]:
        return {
            "replay": parts.ring_buffer(capacity, packing.width),
            "statistics": running_statistics(spec.observation_shape),
            "objective": objective.init(objective_key),
            "steps": jnp.zeros((), jnp.int32),
        }

    def begin(state: Any, key: Key) -> Carry:
        return Carry(objective.context(state.objective, key))

    def sense(state: Any, context: Array, timestep: Timestep) -> tuple[Array, Array]:
        observation = sight(state, timestep.observation)
        context = objective.advance(state.objective, context, observation)
        return context, jnp.concatenate([observation, context])

    def warm_up(state: Any, action: Array, key: Key) -> Array:
        uniform = jax.random.uniform(key, (action_size,), minval=-1.0, maxval=1.0)
        return jnp.where(state.steps < random_steps, uniform, action)

    def learns(state: Any) -> Array:
        return (state.steps >= learning_starts).astype(jnp.float32)

    def see(state: Any, batch: Minibatch) -> Seen:
        transitions = normalized(state, packing.unpack(batch.rows))
        return Seen(
            transitions,
            jnp.concatenate([transitions.observation, transitions.context], axis=-1),
            jnp.concatenate([transitions.next_observation, transitions.next_context], axis=-1),
        )

    def draw(replay: parts.RingBuffer, key: Key) -> Minibatch:
        """[updates, …] minibatches, with replacement."""
        index_key, noise_key, step_key = jax.random.split(key, 3)
        index = jax.random.randint(index_key, (num_updates, local_batch), 0, replay.size)
        noise = jax.random.normal(noise_key, (2, num_updates, local_batch, action_size))
        # None of those that the next line splits off.
        learner_key = parts.common_key(spec, jax.random.fold_in(step_key, num_updates))
        keys = jax.random.split(step_key, num_updates)
        first_slot = 0 if spec.data_axis is None else shard_index(spec) * capacity
        return Minibatch(
            replay.rows[index], index + first_slot, noise[0], noise[1], keys, jax.random.split(learner_key, num_updates)
        )

    def update(
        gradient_step: Callable[[Any, Minibatch, bool], tuple[Any, Metrics]], state: Any, rollout: Rollout, key: Key
    ) -> tuple[Any, Metrics]:
        """Store the rollout, then `updates_per_step` · T · B gradient steps on replayed minibatches.

        `gradient_step(state, batch, moves_actor)`, the last static: the actor moves in one of `actor_period` steps, and
        the metrics are of these.
        """
        statistics = state.statistics
        if normalize_observations:
            fresh = rollout.observation.reshape(-1, *spec.observation_shape)
            statistics = observe_statistics(statistics, fresh, spec.data_axis)
        raw = transitions(state, rollout)
        state = state._replace(statistics=statistics, steps=state.steps + total)
        replay = parts.insert(state.replay, packing.pack(raw))
        observed = objective.observe(state.objective, normalized(state, raw))
        # The buffer stays outside the scan: it does not change in it and need not be carried.
        small = state._replace(replay=(), objective=observed)
        batches = draw(replay, key)

        def without_actor(state: Any, batch: Minibatch) -> tuple[Any, None]:
            return gradient_step(state, batch, False)[0], None

        def period(state: Any, batches: Minibatch) -> tuple[Any, Metrics]:
            state, _ = jax.lax.scan(without_actor, state, jax.tree.map(lambda leaf: leaf[:-1], batches))
            return gradient_step(state, jax.tree.map(lambda leaf: leaf[-1], batches), True)

        if actor_period == 1:
            small, metrics = jax.lax.scan(lambda state, batch: gradient_step(state, batch, True), small, batches)
        else:
            periods = jax.tree.map(lambda leaf: leaf.reshape(-1, actor_period, *leaf.shape[1:]), batches)
            small, metrics = jax.lax.scan(period, small, periods)
        return small._replace(replay=replay), jax.tree.map(jnp.mean, metrics)

    def report(state: Any, rollout: Rollout) -> Metrics:
        """What the objective says of the second halves of the episodes, one episode per column."""
        where = second_half(episode_mask(rollout.terminated, rollout.truncated)).reshape(-1)
        return objective.report(state.objective, normalized(state, transitions(state, rollout)), where)

    def adopt(state: Any, learned: Any) -> Any:
        """`state` with the statistics and, where they fit, the objective's models of another run."""
        same_kind(state, learned)
        return state._replace(
            statistics=take(state.statistics, learned.statistics, "statistics of observations"),
            objective=take_if_fits(state.objective, learned.objective),
        )

    return Experience(
        action_range=action_range,
        num_envs=local_envs,
        input_size=observation_size + objective.context_size,
        action_size=action_size,
        init=init,
        begin=begin,
        sense=sense,
        warm_up=warm_up,
        learns=learns,
        see=see,
        update=update,
        report=report,
        adopt=adopt,
    )
