r"""What learners of the soft actor-critic family share: networks, and one step of each loss.

    critic   y = r + γ (1 − terminated) [ min_i Q̄_i(s', a') + b(s', a') − α log π(a'|s') ],      Σ_i ½ E (Q_i − y)²
    actor    E[ α log π(a|s) − Q(s, a) − b(s, a) ],      Q = min_i Q_i or mean_i Q_i
    α        E[ −log α (log π(a|s) + H̄) ]

(Haarnoja et al., 2018, "Soft Actor-Critic Algorithms and Applications", eqs. 5 to 7 and 18.) The bonus b is 0 unless a
learner gives one (MaxInfoRL). The minimum of the target is over a random subset of the critics where fewer than all
are wanted (Chen et al., 2021, "Randomized Ensembled Double Q-Learning", algorithm 1).

Shapes: N = `batch_size`, A action dimensions in [−1, 1], D inputs: the observation with the objective's context behind
it, n critics. log π is the density in [−1, 1]^A, in nats.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from infojax.agents.adoption import take
from infojax.agents.experience import Carry, Experience, Minibatch, Seen
from infojax.info import gaussian
from infojax.nets.ensemble import choose_members
from infojax.nets.mlp import Activation, mlp
from infojax.nets.optimizers import adam
from infojax.nets.statistics import Axis
from infojax.types import Array, Key, Metrics, Timestep, UserError

LOG_SCALE_BOUNDS = (-10.0, 2.0)
LOG_WEIGHT_BOUNDS = (-18.420681, 18.420681)  # the logarithms of 1e-8 and 1e8
ActorValue = Literal["min", "mean"]


class LearnerState(NamedTuple):
    """One actor with its critics."""

    actor: Any
    critic: Any
    target_critic: Any
    log_temperature: Array
    actor_optimizer: optax.OptState
    critic_optimizer: optax.OptState
    temperature_optimizer: optax.OptState


def adopted(fresh: LearnerState, learned: LearnerState, with_critics: bool = True) -> LearnerState:
    """`fresh` with the actor of `learned`, and with its critics where wanted; optimisers and temperature start anew."""
    fresh = fresh._replace(actor=take(fresh.actor, learned.actor, "actor"))
    if not with_critics:
        return fresh
    return fresh._replace(
        critic=take(fresh.critic, learned.critic, "critics"),
        target_critic=take(fresh.target_critic, learned.target_critic, "target critics"),
    )


class Learner(NamedTuple):
    """The pure functions of an actor with its critics."""

    init: Callable[[Key, Key], LearnerState]  # keys of actor and critics
    sample: Callable[[Any, Array, Array], tuple[Array, Array]]  # (actor, inputs, noise) -> actions, log-densities
    mode: Callable[[Any, Array], Array]  # (actor, inputs) -> the action of the mean
    critic_step: Callable[..., tuple[LearnerState, Metrics]]
    actor_step: Callable[..., tuple[LearnerState, Metrics, Any]]


def learner(
    input_size: int,
    action_size: int,
    *,
    discount: float,
    target_rate: float,
    temperature: float,
    target_entropy_per_dimension: float | None,
    actor_learning_rate: float,
    critic_learning_rate: float,
    temperature_learning_rate: float,
    hidden_sizes: tuple[int, ...],
    activation: Activation,
    num_critics: int = 2,
    target_critics: int = 2,
    actor_value: ActorValue = "min",
    axis: Axis = None,
) -> Learner:
    """An actor with `num_critics` critics; see the module's text. Raises UserError where the target wants more.

    `axis` is that over which minibatches are spread, see `infojax.nets.optimizers`.
    """
    if target_critics > num_critics:
        raise UserError(
            f"agent.target_critics={target_critics} is more than agent.num_critics={num_critics}; the target's minimum "
            "is over some or all of the critics"
        )
    actor_network = mlp(hidden_sizes, 2 * action_size, activation=activation)
    critic_network = mlp(hidden_sizes, 1, activation=activation, members=num_critics)
    target_network = mlp(hidden_sizes, 1, activation=activation, members=target_critics)
    actor_optimizer, critic_optimizer = adam(actor_learning_rate, axis), adam(critic_learning_rate, axis)
    temperature_optimizer = adam(temperature_learning_rate, axis)

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

    def mode(actor: Any, inputs: Array) -> Array:
        return jnp.tanh(policy(actor, inputs)[0])

    def values(network: Any, critic: Any, inputs: Array, action: Array) -> Array:
        """(n, N) of every critic."""
        estimates = network.apply(critic, jnp.concatenate([inputs, action], axis=-1))[..., 0]
        return estimates if estimates.ndim == 2 else estimates[None]

    def init(actor_key: Key, critic_key: Key) -> LearnerState:
        actor = actor_network.init(actor_key, input_size)
        critic = critic_network.init(critic_key, input_size + action_size)
        log_temperature = jnp.log(jnp.asarray(temperature, jnp.float32))
        return LearnerState(
            actor=actor,
            critic=critic,
            target_critic=jax.tree.map(jnp.copy, critic),
            log_temperature=log_temperature,
            actor_optimizer=actor_optimizer.init(actor),
            critic_optimizer=critic_optimizer.init(critic),
            temperature_optimizer=temperature_optimizer.init(log_temperature),
        )

    def critic_step(
        state: LearnerState,
        seen: Seen,
        reward: Array,
        batch: Minibatch,
        learns: Array,
        bonus: Callable[[Array], Array] | None = None,
    ) -> tuple[LearnerState, Metrics]:
        """One step of the critics, then of their targets. `bonus` of the next actions is [N]."""
        target_critic = state.target_critic
        if target_critics < num_critics:
            order = jax.random.permutation(batch.learner_key, num_critics)
            target_critic = choose_members(target_critic, order[:target_critics], num_critics)
        next_action, next_log_density = sample(state.actor, seen.next_inputs, batch.next_noise)
        next_value = jnp.min(values(target_network, target_critic, seen.next_inputs, next_action), axis=0)
        if bonus is not None:
            next_value = next_value + bonus(next_action)
        next_value = next_value - weight(state.log_temperature) * next_log_density
        target = reward + discount * (1 - seen.transitions.terminated.astype(jnp.float32)) * next_value

        def loss(critic: Any) -> tuple[Array, Array]:
            estimate = values(critic_network, critic, seen.inputs, seen.transitions.action)
            return 0.5 * jnp.sum(
                jnp.mean(jnp.square(estimate - jnp.broadcast_to(target, estimate.shape)), axis=-1)
            ), jnp.mean(estimate)

        (value, mean_value), gradient = jax.value_and_grad(loss, has_aux=True)(state.critic)
        critic, critic_state = gradient_step(critic_optimizer, gradient, state.critic_optimizer, state.critic, learns)
        state = state._replace(
            critic=critic,
            critic_optimizer=critic_state,
            target_critic=follow(state.target_critic, critic, target_rate),
        )
        return state, {"critic_loss": value, "value": mean_value}

    def actor_step(
        state: LearnerState,
        seen: Seen,
        batch: Minibatch,
        learns: Array,
        bonus: Callable[[Array], tuple[Array, Any]] | None = None,
    ) -> tuple[LearnerState, Metrics, Any]:
        """One step of the actor, then of its temperature. `bonus` of the actions is [N], and more that is handed on."""
        alpha = weight(state.log_temperature)

        def loss(actor: Any) -> tuple[Array, tuple[Array, Any]]:
            action, log_density = sample(actor, seen.inputs, batch.noise)
            estimates = values(critic_network, state.critic, seen.inputs, action)
            value = jnp.min(estimates, axis=0) if actor_value == "min" else jnp.mean(estimates, axis=0)
            more = None
            if bonus is not None:
                extra, more = bonus(action)
                value = value + extra
            return jnp.mean(alpha * log_density - value), (-jnp.mean(log_density), more)

        (value, (policy_entropy, more)), gradient = jax.value_and_grad(loss, has_aux=True)(state.actor)
        actor, actor_state = gradient_step(actor_optimizer, gradient, state.actor_optimizer, state.actor, learns)
        state = state._replace(actor=actor, actor_optimizer=actor_state)
        if target_entropy_per_dimension is not None:
            gradient = policy_entropy - target_entropy_per_dimension * action_size
            log_temperature, temperature_state = gradient_step(
                temperature_optimizer, gradient, state.temperature_optimizer, state.log_temperature, learns
            )
            state = state._replace(log_temperature=log_temperature, temperature_optimizer=temperature_state)
        return state, {"actor_loss": value, "policy_entropy": policy_entropy, "temperature": alpha}, more

    return Learner(init, sample, mode, critic_step, actor_step)


def gradient_step(
    optimizer: optax.GradientTransformation, gradient: Any, optimizer_state: Any, parameters: Any, learns: Array
) -> tuple[Any, Any]:
    """The optimiser's step times `learns`: 0 before learning starts, without a branch or a copy of the state."""
    step, optimizer_state = optimizer.update(gradient, optimizer_state, parameters)
    return jax.tree.map(lambda value, change: value + learns * change, parameters, step), optimizer_state


def weight(log_weight: Array) -> Array:
    """A tuned weight from its logarithm, kept within [1e-8, 1e8]; steps are on the logarithm, whatever it is."""
    return jnp.exp(jnp.clip(log_weight, *LOG_WEIGHT_BOUNDS))


def follow(slow: Any, fast: Any, rate: float) -> Any:
    """The slow copy, moved by `rate` of the way to the fast one (Polyak averaging)."""
    return jax.tree.map(lambda old, new: old + rate * (new - old), slow, fast)


def acting(experience: Experience, learner: Learner) -> Callable[..., tuple[Carry, Array, dict[str, Array]]]:
    """The `act` of an agent whose state has the field `learner`."""

    def act(
        state: Any, carry: Carry, timestep: Timestep, key: Key, explore: bool
    ) -> tuple[Carry, Array, dict[str, Array]]:
        context, inputs = experience.sense(state, carry.context, timestep)
        if explore:
            noise_key, uniform_key = jax.random.split(key)
            noise = jax.random.normal(noise_key, (experience.action_size,))
            action, _ = learner.sample(state.learner.actor, inputs, noise)
            action = experience.warm_up(state, action, uniform_key)
        else:
            action = learner.mode(state.learner.actor, inputs)
        return Carry(context), experience.action_range.to_env(action), {"context": context}

    return act
