r"""Proximal policy optimisation (Schulman, Wolski, Dhariwal, Radford and Klimov, 2017), with an objective.

    loss   − E[ min(ρ A, clip(ρ, 1 − ε, 1 + ε) A) ]  −  c_H H(π(·|s))  +  c_V ½ Σ_k (V_k(s) − A_k − V_k^old(s))²

(eqs. 7 and 9), over several epochs of minibatches of one rollout. Returns k are two: that of the task's reward and that
of the objective's, each with a value head and a discount of its own, A = Σ_k w_k A_k with their weights (Burda et al.,
2019, section 2.3); a return of weight 0 has no head and costs nothing. Every A_k is a generalised advantage (Schulman
et al., 2016). Truncation bootstraps, termination does not, save that the objective's return bootstraps there too
unless `intrinsic_episodic`: curiosity has no end of the world. No credit passes from one episode to the next.

Within an update the order is: the objective observes the rollout, rewards it, the policy learns, and then the objective
learns from the same rollout. The statistics by which observations are normalised move last of all, so that the first
minibatch is seen as it was acted upon and its ratio ρ is 1.

Where the data of a seed is spread over shards, each has its part of the environments and of every minibatch, and B and
N are those of one. Shapes: T = `unroll` steps, B environments, N = T B / `minibatches` rows, D features of
observation and context.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from infojax.agents import parts
from infojax.agents import policy_gradient as pg
from infojax.agents.adoption import same_kind, take, take_if_fits
from infojax.nets.inputs import observation_features, observation_size
from infojax.nets.mlp import Activation
from infojax.nets.statistics import RunningStatistics, normalize, observe_statistics, running_statistics
from infojax.objectives import none
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
    Rollout,
    Timestep,
    Transition,
    UnitInterval,
    episode_mask,
    second_half,
)


class PPOState(NamedTuple):
    parameters: Any
    optimizer: optax.OptState
    statistics: RunningStatistics  # of observations
    reward_scale: pg.ReturnScale  # of the task's return
    intrinsic_scale: pg.ReturnScale
    objective: Any
    steps: Array  # environment steps seen


class Carry(NamedTuple):
    context: Array


class Return(NamedTuple):
    """One of the returns that the policy works for."""

    weight: float
    discount: float
    episodic: bool
    intrinsic: bool


def make(
    spec: EnvSpec,
    objective: Objective,
    *,
    num_envs: Count = 16,
    unroll: Count = 128,
    epochs: Count = 10,
    minibatches: Count = 32,
    learning_rate: Positive = 3e-4,
    adam_epsilon: Positive = 1e-5,
    anneal_steps: Count | None = None,
    discount: UnitInterval = 0.99,
    trace: UnitInterval = 0.95,
    clip: Positive = 0.2,
    value_clip: Positive | None = None,
    entropy_weight: NonNegative = 0.0,
    value_weight: NonNegative = 0.5,
    max_gradient_norm: Positive | None = 0.5,
    normalize_advantages: bool = True,
    hidden_sizes: tuple[int, ...] = (64, 64),
    activation: Activation = "tanh",
    shared_networks: bool = False,
    initial_scale: Positive = 1.0,
    normalize_observations: bool = False,
    normalize_rewards: bool = False,
    extrinsic_weight: Finite = 1.0,
    intrinsic_weight: Finite = 1.0,
    intrinsic_discount: UnitInterval = 0.99,
    intrinsic_episodic: bool = False,
    normalize_intrinsic: bool = True,
    intrinsic_clip: Positive | None = None,
    objective_epochs: NonNegativeInt | None = None,
) -> Agent:
    """PPO on `spec`, rewarded by the task and by `objective`; see the module's text."""
    axis, num_envs = spec.data_axis, parts.part_of(spec, "agent.num_envs", num_envs)
    head = pg.policy_head(spec, agent="ppo", initial_scale=initial_scale)
    pg.check_minibatches(num_envs, unroll, minibatches)
    has_objective = objective.reward is not none.nothing
    returns = []
    if has_objective and intrinsic_weight:
        returns.append(Return(intrinsic_weight, intrinsic_discount, intrinsic_episodic, intrinsic=True))
    if extrinsic_weight or not returns:
        returns.insert(0, Return(extrinsic_weight, discount, episodic=True, intrinsic=False))
    networks = pg.actor_critic(head, len(returns), hidden_sizes, activation, shared_networks)
    optimizer = pg.adam_clipped(learning_rate, adam_epsilon, max_gradient_norm, axis)
    normalizes = normalize_observations and spec.num_categories is None
    passes = epochs if objective_epochs is None else objective_epochs
    packing = parts.packing(spec, objective)
    block = num_envs * unroll
    discrete = spec.num_actions is not None
    columns = {
        "observation": observation_size(spec._replace(num_categories=None)),
        "context": objective.context_size,
        "action": 1 if discrete else head.output_size,
        "log_prob": 1,
        "advantage": 1,
        "target": len(returns),
        "value": len(returns) if value_clip is not None else 0,
    }

    def seen(state: PPOState, observation: Array) -> Array:
        return normalize(state.statistics, observation) if normalizes else observation

    def network_inputs(observation: Array, context: Array) -> Array:
        return jnp.concatenate([observation_features(spec, observation), context], axis=-1)

    def init(key: Key) -> PPOState:
        network_key, objective_key = jax.random.split(key)
        parameters = networks.init(network_key, observation_size(spec) + objective.context_size)
        return PPOState(
            parameters=parameters,
            optimizer=optimizer.init(parameters),
            statistics=running_statistics(spec.observation_shape),
            reward_scale=pg.return_scale(num_envs),
            intrinsic_scale=pg.return_scale(num_envs),
            objective=objective.init(objective_key),
            steps=jnp.zeros((), jnp.int32),
        )

    def begin(state: PPOState, key: Key) -> Carry:
        return Carry(objective.context(state.objective, key))

    def act(
        state: PPOState, carry: Carry, timestep: Timestep, key: Key, explore: bool
    ) -> tuple[Carry, Array, dict[str, Array]]:
        observation = seen(state, timestep.observation)
        context = objective.advance(state.objective, carry.context, observation)
        outputs, extra = networks.policy(state.parameters, network_inputs(observation, context))
        if explore:
            raw, log_prob = head.sample(outputs, extra, key)
        else:
            raw = head.mode(outputs, extra)
            log_prob, _ = head.evaluate(outputs, extra, raw)
        return Carry(context), head.to_env(raw), {"context": context, "raw_action": raw, "log_prob": log_prob}

    def normalized(state: PPOState, rollout: Rollout) -> Transition:
        """[T·B, …] as objectives see them."""
        rollout = rollout._replace(
            observation=seen(state, rollout.observation),
            next_observation=seen(state, rollout.next_observation),
            action=head.from_env(rollout.action),
        )
        return parts.transitions_of(rollout, objective, state.objective)

    def rewards(state: PPOState, rollout: Rollout, intrinsic: Array) -> tuple[PPOState, list[Array]]:
        """[T, B] of each return, scaled by how widely the return spreads."""
        done = rollout.terminated | rollout.truncated
        found = []
        for part in returns:
            reward = intrinsic if part.intrinsic else rollout.reward
            restart = done if part.episodic else jnp.zeros_like(done)
            if part.intrinsic and (normalize_intrinsic or intrinsic_clip is not None):
                scale = pg.observe_returns(state.intrinsic_scale, reward, restart, part.discount, axis)
                state = state._replace(intrinsic_scale=scale)
                reward = reward if intrinsic_clip is None else pg.clipped_by_scale(scale, reward, intrinsic_clip)
                reward = pg.scaled(scale, reward) if normalize_intrinsic else reward
            elif not part.intrinsic and normalize_rewards:
                scale = pg.observe_returns(state.reward_scale, reward, restart, part.discount, axis)
                state = state._replace(reward_scale=scale)
                reward = pg.scaled(scale, reward)
            found.append(reward)
        return state, found

    def next_values(state: PPOState, rollout: Rollout, transitions: Transition, value: Array) -> Array:
        """[T, B, V] values of the observations before resets: those of the next step wherever the episode goes on."""

        # Values behind a termination are multiplied by 0 unless some return goes on there.
        needed = rollout.truncated if all(part.episodic for part in returns) else rollout.truncated | rollout.terminated
        needed = needed.at[-1].set(True)
        observation = transitions.next_observation.reshape(rollout.next_observation.shape)
        context = transitions.next_context.reshape(unroll, num_envs, objective.context_size)
        column = jnp.arange(num_envs)

        def of_all() -> Array:
            return networks.value(state.parameters, network_inputs(observation, context))

        def of_two() -> Array:
            """In every environment, behind the first end of an episode and behind the last step."""
            first = jnp.argmax(needed, axis=0)
            ends = jnp.stack([first, jnp.full_like(first, unroll - 1)])
            inputs = network_inputs(observation[ends, column], context[ends, column])
            shifted = jnp.concatenate([value[1:], value[-1:]])
            return shifted.at[ends, column].set(networks.value(state.parameters, inputs))

        return jax.lax.cond(jnp.max(jnp.sum(needed[:-1].astype(jnp.int32), axis=0)) > 1, of_all, of_two)

    def advantages(
        state: PPOState, rollout: Rollout, transitions: Transition, reward: list[Array]
    ) -> tuple[Array, Array, Array]:
        """The weighted advantage [T, B], and values and their targets [T, B, V]."""
        inputs = network_inputs(transitions.observation, transitions.context)
        value = networks.value(state.parameters, inputs).reshape(unroll, num_envs, len(returns))
        following = next_values(state, rollout, transitions, value)
        done = rollout.terminated | rollout.truncated
        total, targets = jnp.zeros_like(rollout.reward), []
        for index, part in enumerate(returns):
            terminated = rollout.terminated if part.episodic else jnp.zeros_like(done)
            advantage = pg.generalized_advantages(
                reward[index], value[..., index], following[..., index], terminated, done, part.discount, trace
            )
            total = total + part.weight * advantage
            targets.append(advantage + value[..., index])
        return total, value, jnp.stack(targets, axis=-1)

    def loss(parameters: Any, rows: Array) -> tuple[Array, Metrics]:
        """Of one minibatch, eq. 9 with its sign turned."""
        batch = dict(zip(columns, jnp.split(rows, _ends(columns), axis=1), strict=True))
        observation = batch["observation"].reshape(-1, *spec.observation_shape)
        outputs, extra, value = networks.both(parameters, network_inputs(observation, batch["context"]))
        raw = batch["action"][:, 0].astype(jnp.int32) if discrete else batch["action"]
        log_prob, entropy = head.evaluate(outputs, extra, raw)
        advantage = batch["advantage"][:, 0]
        if normalize_advantages:
            advantage = pg.standardized(advantage, None, axis)
        policy_loss, metrics = pg.clipped_surrogate(log_prob, batch["log_prob"][:, 0], advantage, clip)
        error = pg.value_loss(value, batch["target"], None, batch["value"], value_clip)
        mean_entropy = jnp.mean(entropy)
        total = policy_loss - entropy_weight * mean_entropy + value_weight * error
        return total, metrics | {"policy_loss": policy_loss, "value_loss": error, "policy_entropy": mean_entropy}

    def learn(state: PPOState, rows: Array, key: Key) -> tuple[PPOState, Metrics]:
        """All epochs of the policy."""
        pace = jnp.ones((), jnp.float32)
        if anneal_steps is not None:
            pace = jnp.maximum(1 - state.steps.astype(jnp.float32) / anneal_steps, 0)

        def step(learner: tuple[Any, optax.OptState], batch: Array, key: Key) -> tuple[Any, Metrics]:
            parameters, optimizer_state = learner
            gradient, metrics = jax.grad(loss, has_aux=True)(parameters, batch)
            change, optimizer_state = optimizer.update(gradient, optimizer_state, parameters)
            parameters = jax.tree.map(lambda old, by: old + pace * by, parameters, change)
            return (parameters, optimizer_state), metrics

        learner = (state.parameters, state.optimizer)
        (parameters, optimizer_state), metrics = pg.over_minibatches(step, learner, rows, key, epochs, minibatches)
        first = {"first_ratio_distance": metrics.pop("ratio_distance")[0, 0]}
        return state._replace(parameters=parameters, optimizer=optimizer_state), first | jax.tree.map(jnp.mean, metrics)

    def learn_objective(state: PPOState, transitions: Transition, key: Key) -> tuple[PPOState, Metrics]:
        """All epochs of the objective, on the transitions that it has just rewarded."""

        def step(objective_state: Any, rows: Array, key: Key) -> tuple[Any, Metrics]:
            batch = packing.unpack(rows)
            if discrete:
                batch = batch._replace(action=batch.action.astype(jnp.int32))
            return objective.update(objective_state, batch, key)

        rows = packing.pack(transitions)
        after, metrics = pg.over_minibatches(step, state.objective, rows, key, passes, minibatches)
        return state._replace(objective=after), jax.tree.map(jnp.mean, metrics)

    def update(state: PPOState, rollout: Rollout, key: Key) -> tuple[PPOState, Metrics]:
        policy_key, objective_key = jax.random.split(key)
        transitions = normalized(state, rollout)
        intrinsic = jnp.zeros_like(transitions.reward)
        if has_objective:
            state = state._replace(objective=objective.observe(state.objective, transitions))
            intrinsic = objective.reward(state.objective, transitions)
        state, reward = rewards(state, rollout, intrinsic.reshape(rollout.reward.shape))
        advantage, value, target = advantages(state, rollout, transitions, reward)
        fields = {
            "observation": transitions.observation,
            "context": transitions.context,
            "action": rollout.extras["raw_action"].astype(jnp.float32),
            "log_prob": rollout.extras["log_prob"],
            "advantage": advantage,
            "target": target,
            "value": value,
        }
        rows = jnp.concatenate([fields[n].reshape(block, -1)[:, :width] for n, width in columns.items()], axis=1)
        state, metrics = learn(state, rows, policy_key)
        metrics |= {part + "value": jnp.mean(value[..., index]) for index, part in enumerate(_prefixes(returns))}
        if has_objective:
            metrics |= {"intrinsic_reward": jnp.mean(intrinsic)}
            if passes:
                state, objective_metrics = learn_objective(state, transitions, objective_key)
                metrics |= objective_metrics
        if normalizes:
            fresh = rollout.observation.reshape(block, *spec.observation_shape)
            state = state._replace(statistics=observe_statistics(state.statistics, fresh, axis))
        return state._replace(steps=state.steps + block * spec.data_shards), metrics

    def report(state: PPOState, rollout: Rollout) -> Metrics:
        """What the objective says of the second halves of the episodes, one episode per column."""
        where = second_half(episode_mask(rollout.terminated, rollout.truncated)).reshape(-1)
        return objective.report(state.objective, normalized(state, rollout), where)

    def adopt(state: PPOState, learned: PPOState) -> PPOState:
        """Networks, statistics and, where they fit, the objective's models of another run; a new optimiser."""
        same_kind(state, learned)
        return state._replace(
            parameters=take(state.parameters, learned.parameters, "policy and values"),
            statistics=take(state.statistics, learned.statistics, "statistics of observations"),
            reward_scale=take_if_fits(state.reward_scale, learned.reward_scale),
            intrinsic_scale=take_if_fits(state.intrinsic_scale, learned.intrinsic_scale),
            objective=take_if_fits(state.objective, learned.objective),
        )

    return Agent(unroll, num_envs, objective.contexts, init, begin, act, update, report, adopt)


def _ends(columns: dict[str, int]) -> list[int]:
    ends, total = [], 0
    for width in list(columns.values())[:-1]:
        total += width
        ends.append(total)
    return ends


def _prefixes(returns: list[Return]) -> list[str]:
    return ["intrinsic_" if part.intrinsic else "" for part in returns]
