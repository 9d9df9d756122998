r"""MaxInfoRL (Sukhija et al., 2024, "MaxInfoRL: Boosting exploration in reinforcement learning through information
gain maximization"): soft actor-critic that also seeks what an ensemble of dynamics models would learn from.

    critic   y = r + γ (1 − terminated) [ min_i Q̄_i(s', a') + β I(s', a') − α log π(a'|s') ]
    actor    E[ α log π(a|s) − min_i Q_i(s, a) − β I(s, a) ],     the gradient of I passes through the ensemble into a
    α        as in SAC
    β        E[ log β (I(s, a) − I(s, ā)) ],                      a ~ π, ā ~ π̄, a slow copy of the actor

I is the information gain of `infojax.agents.information_model`, standardised by running statistics that take in the
gains of π and of π̄ in every step of the actor, before they are used. So β grows while the policy is less informative
than its slow copy, and no level of information has to be set by hand. One gradient step moves, in this order, critics,
their slow copies, actor, its slow copy, α and β, and the ensemble. Gains of π̄ are computed without gradient.

The ensemble's targets are the change of the observation and the task's reward, or a fixed random network of (s, a)
(`model_targets: random_features`, the paper's variant with random network distillation). With `information_gain: none`
there is no ensemble and the learner is `sac`, bit for bit. All else is as in `infojax.agents.sac`, REDQ included.

Shapes: N = `batch_size`, D inputs, A action dimensions, M = `members`.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from infojax.agents import information_model as information
from infojax.agents import parts
from infojax.agents import soft_actor_critic as soft
from infojax.agents.experience import Minibatch, Seen, experience
from infojax.nets.mlp import Activation
from infojax.nets.optimizers import adam
from infojax.nets.statistics import RunningStatistics, running_statistics
from infojax.types import (
    Agent,
    Array,
    Count,
    EnvSpec,
    Finite,
    Key,
    Metrics,
    NonNegative,
    NonNegativeInt,
    Objective,
    Positive,
    Rate,
    Rollout,
    UnitInterval,
    UserError,
    shard_key,
)


class Exploration(NamedTuple):
    target_actor: Any
    model: information.ModelState
    gains: RunningStatistics
    log_weight: Array
    weight_optimizer: optax.OptState


class MaxInfoRLState(NamedTuple):
    learner: soft.LearnerState
    exploration: Exploration | tuple[()]  # () without information gain
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
    random_steps: NonNegativeInt = 0,
    learning_starts: NonNegativeInt = 0,
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
    normalize_observations: bool = False,
    extrinsic_weight: Finite = 1.0,
    intrinsic_weight: Finite = 1.0,
    information_gain: information.Gain | Literal["none"] = "log_ratio",
    over_dims: information.OverDims = "mean",
    information_weight: NonNegative = 1.0,
    tune_information_weight: bool = True,
    target_actor_rate: Rate = 0.005,
    information_weight_learning_rate: Positive = 3e-4,
    model_targets: information.Targets = "dynamics",
    embedding_size: Count = 1,
    members: Count = 5,
    probabilistic: bool = False,
    bootstrap: bool = False,
    model_hidden_sizes: tuple[int, ...] = (256, 256),
    model_activation: Activation = "silu",
    model_learning_rate: Positive = 3e-4,
    model_weight_decay: NonNegative = 0.0,
) -> Agent:
    """MaxInfoRL on `spec`, rewarded by the task and by `objective`; see the module's text."""
    if tune_information_weight and information_weight == 0:
        raise UserError(
            "agent.information_weight=0 cannot be tuned, since the logarithm is; start above 0, or set "
            "agent.tune_information_weight=false"
        )
    world = experience(
        spec,
        objective,
        "maxinforl",
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
    informed = information_gain != "none"
    model = information.information_model(
        spec.observation_shape[0],
        world.action_size,
        targets=model_targets,
        embedding_size=embedding_size,
        information_gain="log_ratio" if information_gain == "none" else information_gain,
        over_dims=over_dims,
        members=members,
        probabilistic=probabilistic,
        bootstrap=bootstrap,
        hidden_sizes=model_hidden_sizes,
        activation=model_activation,
        learning_rate=model_learning_rate,
        weight_decay=model_weight_decay,
        axis=spec.data_axis,
    )
    weight_optimizer = adam(information_weight_learning_rate, spec.data_axis)

    def init(key: Key) -> MaxInfoRLState:
        actor_key, critic_key, objective_key = jax.random.split(key, 3)
        learned, exploration = learner.init(actor_key, critic_key), ()
        if informed:
            log_weight = jnp.log(jnp.asarray(information_weight or 1.0, jnp.float32))
            exploration = Exploration(
                target_actor=jax.tree.map(jnp.copy, learned.actor),
                # A fourth key, beside the three above, which are those of `sac`.
                model=model.init(jax.random.fold_in(key, 3)),
                gains=running_statistics(()),
                log_weight=log_weight,
                weight_optimizer=weight_optimizer.init(log_weight),
            )
        return MaxInfoRLState(learned, exploration, **world.init(objective_key))

    def weight(exploration: Exploration) -> Array:
        tuned = tune_information_weight
        return soft.weight(exploration.log_weight) if tuned else jnp.asarray(information_weight, jnp.float32)

    def critic_bonus(exploration: Exploration, observation: Array) -> Callable[[Array], Array]:
        """β I of these observations and of the actions that it is called with."""

        def bonus(action: Array) -> Array:
            gain = model.gain(exploration.model, observation, action)
            return weight(exploration) * information.standardize(exploration.gains, gain)

        return bonus

    def actor_step(
        learned: soft.LearnerState, exploration: Exploration, seen: Seen, batch: Minibatch, learns: Array
    ) -> tuple[soft.LearnerState, Exploration, Metrics]:
        """Actor, its slow copy, α and β."""
        observation = seen.transitions.observation
        slow_gain = jnp.zeros((0,))
        if tune_information_weight:
            noise = jax.random.normal(shard_key(spec, batch.learner_key), batch.noise.shape)
            slow_action, _ = learner.sample(exploration.target_actor, seen.inputs, noise)
            slow_gain = model.gain(exploration.model, observation, slow_action)

        def bonus(action: Array) -> tuple[Array, Any]:
            gain = model.gain(exploration.model, observation, action)
            gains = information.observe_recent(
                exploration.gains, jax.lax.stop_gradient(jnp.concatenate([gain, slow_gain])), spec.data_axis
            )
            standard = information.standardize(gains, gain)
            return weight(exploration) * standard, (gains, jnp.mean(standard), jnp.mean(gain))

        learned, metrics, (gains, standard_gain, mean_gain) = learner.actor_step(learned, seen, batch, learns, bonus)
        metrics |= {"information_gain": mean_gain, "information_weight": weight(exploration)}
        exploration = exploration._replace(
            gains=gains, target_actor=soft.follow(exploration.target_actor, learned.actor, target_actor_rate)
        )
        if tune_information_weight:
            gradient = standard_gain - jnp.mean(information.standardize(gains, slow_gain))
            log_weight, optimizer_state = soft.gradient_step(
                weight_optimizer, gradient, exploration.weight_optimizer, exploration.log_weight, learns
            )
            exploration = exploration._replace(log_weight=log_weight, weight_optimizer=optimizer_state)
            metrics |= {"information_gain_over_target": gradient}
        return learned, exploration, metrics

    def gradient_step(state: MaxInfoRLState, batch: Minibatch, moves_actor: bool) -> tuple[MaxInfoRLState, Metrics]:
        seen, learns = world.see(state, batch), world.learns(state)
        intrinsic = objective.reward(state.objective, seen.transitions)
        reward = extrinsic_weight * seen.transitions.reward + intrinsic_weight * intrinsic
        learned, exploration = state.learner, state.exploration
        if isinstance(exploration, Exploration):
            bonus = critic_bonus(exploration, seen.transitions.next_observation)
            learned, metrics = learner.critic_step(learned, seen, reward, batch, learns, bonus)
            if moves_actor:
                learned, exploration, more = actor_step(learned, exploration, seen, batch, learns)
                metrics |= more
            trained, more = model.update(exploration.model, seen.transitions, batch.slots, learns)
            exploration, metrics = exploration._replace(model=trained), metrics | more
        else:
            learned, metrics = learner.critic_step(learned, seen, reward, batch, learns)
            if moves_actor:
                learned, more, _ = learner.actor_step(learned, seen, batch, learns)
                metrics |= more
        objective_state, more = objective.update(state.objective, seen.transitions, batch.key)
        metrics |= {"intrinsic_reward": jnp.mean(intrinsic), **more}
        return state._replace(learner=learned, exploration=exploration, objective=objective_state), metrics

    def update(state: MaxInfoRLState, rollout: Rollout, key: Key) -> tuple[MaxInfoRLState, Metrics]:
        return world.update(gradient_step, state, rollout, key)

    def adopt(state: MaxInfoRLState, learned: MaxInfoRLState) -> MaxInfoRLState:
        state = world.adopt(state, learned)
        return state._replace(learner=soft.adopted(state.learner, learned.learner))

    act = soft.acting(world, learner)
    return Agent(unroll, world.num_envs, objective.contexts, init, world.begin, act, update, world.report, adopt)
