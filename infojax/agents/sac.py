r"""Soft actor-critic (Haarnoja et al., 2018, "Soft Actor-Critic Algorithms and Applications"), with an objective.

    critic   y = r + γ (1 − terminated) [ min_i Q̄_i(s', a') − α log π(a'|s') ]          (eqs. 5 and 6)
    actor    E[ α log π(a|s) − min_i Q_i(s, a) ]                                          (eq. 7, reparameterised)
    α        E[ −log α (log π(a|s) + H̄) ]                                                (eq. 18, on log α)

The reward is r = `extrinsic_weight` · task reward + `intrinsic_weight` · objective reward, the latter computed by the
objective of now for every replayed transition. Actor and critics see the observation with the objective's context
behind it; the objective sees the observation alone. Truncation bootstraps, termination does not. Actions live in
[−1, 1] inside (log π is the density there, in nats) and are scaled to the environment's bounds at the door.

Shapes: B environments, T steps an iteration, N = `batch_size`, inputs D = observation + context.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from infojax.agents import parts
from infojax.info import gaussian
from infojax.nets.mlp import Activation, mlp
from infojax.nets.optimizers import adam
from infojax.nets.statistics import RunningStatistics, normalize, observe_statistics, running_statistics
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
    Transition,
    UnitInterval,
    UserError,
    episode_mask,
    second_half,
)


class SACState(NamedTuple):
    actor: Any
    critic: Any
    target_critic: Any
    log_temperature: Array
    actor_optimizer: optax.OptState
    critic_optimizer: optax.OptState
    temperature_optimizer: optax.OptState
    replay: parts.RingBuffer
    statistics: RunningStatistics
    objective: Any
    steps: Array  # environment steps seen


class Carry(NamedTuple):
    context: Array


class Minibatch(NamedTuple):
    """What one gradient step takes in; all of it is drawn before the first step of an update."""

    rows: Array
    next_noise: Array
    noise: Array
    key: Key


LOG_SCALE_BOUNDS = (-10.0, 2.0)


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
    extrinsic_weight: Finite = 1.0,
    intrinsic_weight: Finite = 1.0,
) -> Agent:
    """SAC on `spec`, rewarded by the task and by `objective`; see the module's text."""
    action_range = parts.continuous_actions(spec, "sac")
    (observation_size,), (action_size,) = spec.observation_shape, spec.action_shape
    input_size = observation_size + objective.context_size
    block = num_envs * unroll
    num_updates = round(updates_per_step * block)
    if num_updates < 1:
        raise UserError(
            f"agent.updates_per_step={updates_per_step:g} with {num_envs} environments x unroll {unroll} gives no "
            f"gradient step at all; use at least {1 / block:g}, or a longer agent.unroll"
        )
    packing = parts.packing(spec, objective)
    capacity = -(-replay_capacity // block) * block
    actor_network = mlp(hidden_sizes, 2 * action_size, activation=activation)
    critic_network = mlp(hidden_sizes, 1, activation=activation, members=2)
    actor_optimizer = adam(actor_learning_rate)
    critic_optimizer = adam(critic_learning_rate)
    temperature_optimizer = adam(temperature_learning_rate)

    def policy(actor: Any, inputs: Array) -> tuple[Array, Array]:
        mean, log_scale = jnp.split(actor_network.apply(actor, inputs), 2, axis=-1)
        return mean, jnp.clip(log_scale, *LOG_SCALE_BOUNDS)

    def sample(actor: Any, inputs: Array, noise: Array) -> tuple[Array, Array]:
        """An action in (−1, 1) by reparameterisation, and its log-density (appendix C, eq. 21) in a stable form.

        Before tanh the log-density is −H, and ½ (1 − ε²) more for each ε of the noise, whose mean is 0.
        """
        mean, log_scale = policy(actor, inputs)
        scale = jnp.exp(log_scale)
        raw = mean + scale * noise
        log_gaussian = jnp.sum(0.5 * (1 - jnp.square(noise)), axis=-1) - gaussian.diagonal_entropy(scale)
        log_slope = 2 * (jnp.log(2.0) - raw - jax.nn.softplus(-2 * raw))
        return jnp.tanh(raw), log_gaussian - jnp.sum(log_slope, axis=-1)

    def values(critic: Any, inputs: Array, action: Array) -> Array:
        """(2, N) both critics."""
        return critic_network.apply(critic, jnp.concatenate([inputs, action], axis=-1))[..., 0]

    def seen(state: SACState, observation: Array) -> Array:
        return normalize(state.statistics, observation) if normalize_observations else observation

    def init(key: Key) -> SACState:
        actor_key, critic_key, objective_key = jax.random.split(key, 3)
        actor = actor_network.init(actor_key, input_size)
        critic = critic_network.init(critic_key, input_size + action_size)
        log_temperature = jnp.log(jnp.asarray(temperature, jnp.float32))
        return SACState(
            actor=actor,
            critic=critic,
            target_critic=jax.tree.map(jnp.copy, critic),
            log_temperature=log_temperature,
            actor_optimizer=actor_optimizer.init(actor),
            critic_optimizer=critic_optimizer.init(critic),
            temperature_optimizer=temperature_optimizer.init(log_temperature),
            replay=parts.ring_buffer(capacity, packing.width),
            statistics=running_statistics(spec.observation_shape),
            objective=objective.init(objective_key),
            steps=jnp.zeros((), jnp.int32),
        )

    def begin(state: SACState, key: Key) -> Carry:
        return Carry(objective.context(state.objective, key))

    def act(
        state: SACState, carry: Carry, timestep: Timestep, key: Key, explore: bool
    ) -> tuple[Carry, Array, dict[str, Array]]:
        observation = seen(state, timestep.observation)
        context = objective.advance(state.objective, carry.context, observation)
        inputs = jnp.concatenate([observation, context])
        if explore:
            noise_key, uniform_key = jax.random.split(key)
            action, _ = sample(state.actor, inputs, jax.random.normal(noise_key, (action_size,)))
            uniform = jax.random.uniform(uniform_key, (action_size,), minval=-1.0, maxval=1.0)
            action = jnp.where(state.steps < random_steps, uniform, action)
        else:
            action = jnp.tanh(policy(state.actor, inputs)[0])
        return Carry(context), action_range.to_env(action), {"context": context}

    def gradient_step(state: SACState, batch: Minibatch) -> tuple[SACState, Metrics]:
        transitions = packing.unpack(batch.rows)
        transitions = transitions._replace(
            observation=seen(state, transitions.observation),
            next_observation=seen(state, transitions.next_observation),
            action=action_range.from_env(transitions.action),
        )
        intrinsic = objective.reward(state.objective, transitions)
        reward = extrinsic_weight * transitions.reward + intrinsic_weight * intrinsic
        inputs = jnp.concatenate([transitions.observation, transitions.context], axis=-1)
        next_inputs = jnp.concatenate([transitions.next_observation, transitions.next_context], axis=-1)
        alpha = jnp.exp(state.log_temperature)
        # Before `learning_starts` steps every optimiser's step is scaled to nothing: no branch, no copy of the state.
        learns = (state.steps >= learning_starts).astype(jnp.float32)

        next_action, next_log_density = sample(state.actor, next_inputs, batch.next_noise)
        next_value = jnp.min(values(state.target_critic, next_inputs, next_action), axis=0) - alpha * next_log_density
        target = reward + discount * (1 - transitions.terminated.astype(jnp.float32)) * next_value

        def critic_loss(critic: Any) -> tuple[Array, Array]:
            estimate = values(critic, inputs, transitions.action)
            return 0.5 * jnp.sum(
                jnp.mean(jnp.square(estimate - jnp.broadcast_to(target, estimate.shape)), axis=-1)
            ), jnp.mean(estimate)

        (critic_value, mean_value), gradient = jax.value_and_grad(critic_loss, has_aux=True)(state.critic)
        critic, critic_state = _step(critic_optimizer, gradient, state.critic_optimizer, state.critic, learns)

        def actor_loss(actor: Any) -> tuple[Array, Array]:
            action, log_density = sample(actor, inputs, batch.noise)
            value = jnp.min(values(critic, inputs, action), axis=0)
            return jnp.mean(alpha * log_density - value), -jnp.mean(log_density)

        (actor_value, policy_entropy), gradient = jax.value_and_grad(actor_loss, has_aux=True)(state.actor)
        actor, actor_state = _step(actor_optimizer, gradient, state.actor_optimizer, state.actor, learns)

        log_temperature, temperature_state = state.log_temperature, state.temperature_optimizer
        if target_entropy_per_dimension is not None:
            gradient = policy_entropy - target_entropy_per_dimension * action_size
            log_temperature, temperature_state = _step(
                temperature_optimizer, gradient, temperature_state, log_temperature, learns
            )

        objective_key = batch.key
        objective_state, objective_metrics = objective.update(state.objective, transitions, objective_key)
        state = state._replace(
            actor=actor,
            critic=critic,
            target_critic=jax.tree.map(
                lambda slow, fast: slow + target_rate * (fast - slow), state.target_critic, critic
            ),
            log_temperature=log_temperature,
            actor_optimizer=actor_state,
            critic_optimizer=critic_state,
            temperature_optimizer=temperature_state,
            objective=objective_state,
        )
        metrics = {
            "critic_loss": critic_value,
            "actor_loss": actor_value,
            "value": mean_value,
            "policy_entropy": policy_entropy,
            "temperature": alpha,
            "intrinsic_reward": jnp.mean(intrinsic),
        }
        return state, metrics | objective_metrics

    def update(state: SACState, rollout: Rollout, key: Key) -> tuple[SACState, Metrics]:
        """Store the rollout, then `updates_per_step` · T · B gradient steps on replayed minibatches."""
        statistics = state.statistics
        if normalize_observations:
            fresh = rollout.observation.reshape(-1, *spec.observation_shape)
            statistics = observe_statistics(statistics, fresh)
        raw = parts.transitions_of(rollout, objective, state.objective)
        state = state._replace(statistics=statistics, steps=state.steps + block)
        normalized = raw._replace(
            observation=seen(state, raw.observation),
            next_observation=seen(state, raw.next_observation),
            action=action_range.from_env(raw.action),
        )
        replay = parts.insert(state.replay, packing.pack(raw))
        state = state._replace(replay=replay, objective=objective.observe(state.objective, normalized))

        index_key, noise_key, step_key = jax.random.split(key, 3)
        indices = jax.random.randint(index_key, (num_updates, batch_size), 0, replay.size)
        noise = jax.random.normal(noise_key, (2, num_updates, batch_size, action_size))
        batches = Minibatch(replay.rows[indices], noise[0], noise[1], jax.random.split(step_key, num_updates))
        # The buffer stays outside the scan: it does not change in it and need not be carried.
        small, metrics = jax.lax.scan(gradient_step, state._replace(replay=()), batches)
        return small._replace(replay=replay), jax.tree.map(jnp.mean, metrics)

    def report(state: SACState, rollout: Rollout) -> Metrics:
        """What the objective says of the second halves of the episodes, one episode per column."""
        transitions: Transition = parts.transitions_of(rollout, objective, state.objective)
        transitions = transitions._replace(
            observation=seen(state, transitions.observation),
            next_observation=seen(state, transitions.next_observation),
            action=action_range.from_env(transitions.action),
        )
        where = second_half(episode_mask(rollout.terminated, rollout.truncated)).reshape(-1)
        return objective.report(state.objective, transitions, where)

    return Agent(unroll, num_envs, objective.contexts, init, begin, act, update, report)


def _step(
    optimizer: optax.GradientTransformation, gradient: Any, optimizer_state: Any, parameters: Any, learns: Array
) -> tuple[Any, Any]:
    step, optimizer_state = optimizer.update(gradient, optimizer_state, parameters)
    return jax.tree.map(lambda value, change: value + learns * change, parameters, step), optimizer_state
