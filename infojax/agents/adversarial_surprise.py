r"""Adversarial surprise (Fickinger, Jaques, Parajuli, Chang, Rhinehart, Berseth, Russell and Levine, 2021).

"Explore and Control with Adversarial Surprise": two players move one body in turns of k steps, Explore first. Explore
leaves the body where Control will be surprised; Control goes to where it is not. With p_θ the density of what Control
has observed, before the observation o_{t+1} to which its step t led is inserted,

    Control   r_t = log p_θ(o_{t+1}) in the last (1 − `no_reward_share`) k steps of its round, before them 0
    Explore   r_t = −Σ of Control's rewards in the round that follows, at its last step; before it 0

so that each pair of rounds is zero-sum, to the last bit. Control's rewards are divided by the running standard
deviation of their discounted return; Explore gets the negated sum of what Control gets. Both players are PPO with
networks and optimisers of their own, and see the observation, the density's summary and the time in their round.

`buffer_life`: the density is emptied with every pair of rounds (round), with every episode (episode, as released), or
never (life). For life it lies in the agent's state, of all environments together: `update` inserts what a rollout has
shown, so that it lags behind by up to one unroll, within which nobody sees it move.
`buffer_observes`: what enters, the outcomes of Control's rewarded steps (rewarded, as released), of all its steps
(control), or of both players' (both).
`after_round`: with `nothing` a round ends like an episode and the value after it is 0; with `own_next_round`, as
released, a player's rounds of one episode follow one another as if the other's were not there, up to the unroll's end.

A pair of rounds counts where all of it lies within one episode and one unroll; others have weight 0. Since episodes may
terminate at any step, whole pairs are found by the clock of each environment and gathered into arrays of a static size,
Explore's steps in the first half and Control's in the second, so that neither player's networks work on the other's.
The task's reward enters nowhere, and no objective is taken.

Shapes: T steps of B environments; R = B ⌊T / 2k⌋ pairs at most; S statistics; D inputs of a network.
"""

import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from infojax.agents import parts, policy_gradient, rounds
from infojax.nets import inputs
from infojax.nets.mlp import Activation
from infojax.nets.statistics import gathered, largest
from infojax.objectives import densities, none
from infojax.types import (
    Agent,
    Array,
    Count,
    EnvSpec,
    Finite,
    Key,
    Metrics,
    NonNegative,
    Objective,
    Positive,
    Rollout,
    Timestep,
    UnitInterval,
    UserError,
    episode_mask,
)

ROLES = ("explore", "control")


class Player(NamedTuple):
    parameters: Any
    optimizer: optax.OptState


class AdversarialSurpriseState(NamedTuple):
    explore: Player
    control: Player
    statistics: Any  # of the density of a whole life [S], else ()
    scale: policy_gradient.ReturnScale  # of Control's rewards


class Carry(NamedTuple):
    context: Array  # [0]
    clock: Array  # step within the pair of rounds, 0 … 2k − 1
    statistics: Any  # of the density [S]; () where it lives in the agent's state
    enters: Array  # whether the observation that comes now is to be inserted


class Played(NamedTuple):
    """The rounds of one player, [k, R, …]."""

    view: Array
    raw: Array  # actions
    log_prob: Array
    reward: Array


def make(
    spec: EnvSpec,
    objective: Objective,
    *,
    num_envs: Count = 16,
    unroll: Count = 512,
    round_length: Count = 32,
    no_reward_share: UnitInterval = 0.5,
    density: Literal["auto", "categorical", "bernoulli", "gaussian"] = "auto",
    min_scale: Positive = 0.1,
    buffer_life: Literal["round", "episode", "life"] = "episode",
    buffer_observes: Literal["rewarded", "control", "both"] = "rewarded",
    after_round: Literal["nothing", "own_next_round"] = "nothing",
    learns: Literal["both", "explore", "control"] = "both",
    normalize_rewards: bool = True,
    normalize_advantages: bool = False,
    epochs: Count = 4,
    minibatch_size: Count = 256,
    clip: Positive = 0.2,
    discount: UnitInterval = 0.99,
    trace: UnitInterval = 0.95,
    entropy_weight: NonNegative = 0.01,
    value_weight: Finite = 0.5,
    max_gradient_norm: Positive | None = 0.5,
    learning_rate: Positive = 3e-4,
    adam_epsilon: Positive = 1e-8,
    initial_scale: Positive = 1.0,
    hidden_sizes: tuple[int, ...] = (64, 64),
    activation: Activation = "tanh",
) -> Agent:
    """Explore and Control on `spec`; see the module's text. Raises UserError where rounds do not fit the unroll."""
    if objective.reward is not none.nothing:
        raise UserError(
            "agent adversarial_surprise plays for its own rewards and takes no objective; leave objective=none"
        )
    axis, num_envs = spec.data_axis, parts.part_of(spec, "agent.num_envs", num_envs)
    minibatch_size = parts.part_of(spec, "agent.minibatch_size", minibatch_size)
    pair = 2 * round_length
    scored = round_length + math.ceil(no_reward_share * round_length)  # first step of a pair that Control is paid for
    _check_rounds(spec, unroll, round_length, scored)
    model = _density(spec, density, min_scale)
    head = policy_gradient.policy_head(spec, agent="adversarial_surprise", initial_scale=initial_scale)
    network = policy_gradient.actor_critic(head, 1, hidden_sizes, activation, shared=False)
    optimizer = policy_gradient.adam_clipped(learning_rate, adam_epsilon, max_gradient_norm, axis)
    input_size = inputs.observation_size(spec) + model.summary_size + 1
    rows = num_envs * (unroll // pair) * round_length  # steps of one player in an update, at most
    minibatches = max(1, rows // minibatch_size)
    if rows % minibatches or rows > minibatches * minibatch_size:
        raise UserError(
            f"agent.minibatch_size={minibatch_size} must divide the {rows} steps that a player has of an update "
            f"(half of agent.num_envs={num_envs} x agent.unroll={unroll}); choose a divisor of {rows}"
        )
    first_to_enter = {"rewarded": scored, "control": round_length, "both": 0}[buffer_observes]
    lives_on = buffer_life == "life"

    def seen(observation: Array, statistics: Array, clock: Array) -> Array:
        """(…, D) what both players see."""
        shown = model.summary
        for _ in clock.shape:
            shown = jax.vmap(shown)
        time = (clock % round_length).astype(jnp.float32)[..., None] / round_length
        return jnp.concatenate([inputs.observation_features(spec, observation), shown(statistics), time], axis=-1)

    def init(key: Key) -> AdversarialSurpriseState:
        players = [network.init(one, input_size) for one in jax.random.split(key)]
        return AdversarialSurpriseState(
            *(Player(parameters, optimizer.init(parameters)) for parameters in players),
            statistics=model.empty() if lives_on else (),
            scale=policy_gradient.return_scale(num_envs),
        )

    def begin(state: AdversarialSurpriseState, key: Key) -> Carry:
        return Carry(
            context=jnp.zeros((0,), jnp.float32),
            clock=jnp.zeros((), jnp.int32),
            statistics=() if lives_on else model.empty(),
            enters=jnp.zeros((), bool),
        )

    def act(
        state: AdversarialSurpriseState, carry: Carry, timestep: Timestep, key: Key, explore: bool
    ) -> tuple[Carry, Array, dict[str, Array]]:
        clock, observation = carry.clock, timestep.observation
        extras: dict[str, Array] = {"context": carry.context, "clock": clock}
        if lives_on:
            statistics, kept = state.statistics, ()
        else:
            statistics = jnp.where(carry.enters, model.insert(carry.statistics, observation), carry.statistics)
            if buffer_life == "round":
                statistics = jnp.where(clock == 0, model.empty(), statistics)
            kept = extras["statistics"] = statistics
        view = seen(observation, statistics, clock)
        controls = clock >= round_length
        choices = [network.policy(player.parameters, view) for player in (state.explore, state.control)]
        outputs, extra = jax.tree.map(lambda one, other: jnp.where(controls, other, one), *choices)
        if explore:
            raw, log_prob = head.sample(outputs, extra, key)
        else:
            raw = head.mode(outputs, extra)
            log_prob, _ = head.evaluate(outputs, extra, raw)
        extras |= {"role": controls.astype(jnp.int32), "raw": raw, "log_prob": log_prob}
        carry = Carry(carry.context, (clock + 1) % pair, kept, clock >= first_to_enter)
        return carry, head.to_env(raw), extras

    def statistics_of(state: AdversarialSurpriseState, rollout: Rollout) -> Array:
        """[T, B, S] of the density at each step, before the observation to which it led."""
        if lives_on:
            clock = rollout.extras["clock"]
            return jnp.broadcast_to(state.statistics, (*clock.shape, *state.statistics.shape))
        return rollout.extras["statistics"]

    def log_density(statistics: Array, observation: Array) -> Array:
        """[T, B] log p_θ in nats."""
        return jax.vmap(jax.vmap(model.log_prob_of))(statistics, observation)

    def learn(
        player: Player, played: Played, key: Key, goes_on: Array | None, counted: Array
    ) -> tuple[Player, Metrics]:
        """PPO on the rounds of one player, those that are `counted` [R]."""
        value = network.value(player.parameters, played.view)[..., 0]
        advantage = rounds.round_advantages(played.reward, value, goes_on, discount, trace)
        counts = jnp.broadcast_to(counted, advantage.shape)
        columns = (played.raw, played.log_prob, value, advantage, counts)
        packed = [played.view, *(c.astype(jnp.float32).reshape(*advantage.shape, -1) for c in columns)]
        matrix = jnp.concatenate(packed, axis=-1).reshape(rows, -1)

        def step(player: Player, batch: Array, key: Key) -> tuple[Player, Metrics]:
            view, numbers = batch[:, :input_size], batch[:, input_size:-4]
            old_log_prob, old_value, advantage, counts = batch[:, -4:].T
            raw = numbers[:, 0].astype(jnp.int32) if spec.num_actions is not None else numbers
            where = counts > 0
            target = old_value + advantage
            gain = policy_gradient.standardized(advantage, where, axis) if normalize_advantages else advantage

            def loss(parameters: Any) -> tuple[Array, Metrics]:
                outputs, extra, value = network.both(parameters, view)
                log_prob, uncertainty = head.evaluate(outputs, extra, raw)
                policy_loss, found = policy_gradient.clipped_surrogate(log_prob, old_log_prob, gain, clip, where, axis)
                # The released code weighs the mean squared error without a half.
                error = 2 * policy_gradient.value_loss(value[:, 0], target, where, old_value, clip, axis)
                spread_of_policy = policy_gradient.masked_mean(uncertainty, where, axis)
                total = policy_loss + value_weight * error - entropy_weight * spread_of_policy
                return total, found | {
                    "policy_loss": policy_loss,
                    "value_loss": error,
                    "policy_entropy": spread_of_policy,
                }

            gradient, found = jax.grad(loss, has_aux=True)(player.parameters)
            change, optimizer_state = optimizer.update(gradient, player.optimizer, player.parameters)
            # A minibatch in which nothing counts is no step at all.
            alive = largest(jnp.any(where).astype(jnp.int32), axis) > 0
            moved = Player(optax.apply_updates(player.parameters, change), optimizer_state)
            return jax.tree.map(lambda new, old: jnp.where(alive, new, old), moved, player), found

        return policy_gradient.over_minibatches(step, player, matrix, key, epochs, minibatches)

    def update(state: AdversarialSurpriseState, rollout: Rollout, key: Key) -> tuple[AdversarialSurpriseState, Metrics]:
        """Pay the rounds, then `epochs` of PPO for each player on the pairs that count."""
        clock, done = rollout.extras["clock"], rollout.terminated | rollout.truncated
        statistics = statistics_of(state, rollout)
        likelihood = log_density(statistics, rollout.next_observation)
        pay = jnp.where(clock >= scored, likelihood, 0)
        scale = policy_gradient.observe_returns(state.scale, pay, done, discount, axis)

        pairs = rounds.whole_pairs(clock, round_length)
        # [2k, R, …]: Explore's steps, then Control's.
        time, env = pairs.time.T, pairs.env.T
        chosen = [leaf[time, env] for leaf in (rollout.observation, statistics, clock, pay)]
        view = seen(*chosen[:3])
        paid = chosen[3][round_length:]
        control_reward = policy_gradient.scaled(scale, paid) if normalize_rewards else paid
        reward = jnp.stack([rounds.explore_rewards(control_reward), control_reward])
        goes_on = rounds.followed(pairs, done) if after_round == "own_next_round" else None
        raw, log_prob = (rollout.extras[name][time, env] for name in ("raw", "log_prob"))

        def mean(values: Array) -> Array:
            return policy_gradient.masked_mean(values, pairs.counted, axis)

        metrics = {
            "control_return": mean(jnp.sum(control_reward, axis=0)),
            "explore_return": mean(reward[0, -1]),
            "control_log_prob": mean(jnp.mean(chosen[3][scored:], axis=0)),
            "reward_scale": policy_gradient.deviation(scale),
            "counted_pairs": jnp.mean(pairs.counted.astype(jnp.float32)),
        }
        # Both learn by one program, one after the other.
        view, raw, log_prob = (leaf.reshape(2, round_length, *leaf.shape[1:]) for leaf in (view, raw, log_prob))
        learners = [index for index, role in enumerate(ROLES) if learns in ("both", role)]
        both = jax.tree.map(lambda *leaves: jnp.stack(leaves), state.explore, state.control)
        given = (both, Played(view, raw, log_prob, reward), jax.random.split(key))

        def one_player(given: Any) -> tuple[Player, Metrics]:
            player, played, role_key = given
            return learn(player, played, role_key, goes_on, pairs.counted)

        moved, found = jax.lax.map(one_player, jax.tree.map(lambda leaf: leaf[jnp.array(learners)], given))
        for place, index in enumerate(learners):
            player = jax.tree.map(lambda leaf, place=place: leaf[place], moved)
            state = state._replace(**{ROLES[index]: player})
            metrics |= {f"{ROLES[index]}_{name}": jnp.mean(value[place]) for name, value in found.items()}
        if lives_on:
            flat = rollout.next_observation.reshape(-1, *spec.observation_shape)
            enters = (clock >= first_to_enter).reshape(-1)
            everything = gathered(flat, axis), gathered(enters.astype(jnp.int32), axis) > 0
            state = state._replace(statistics=_inserted(model, state.statistics, *everything))
        return state._replace(scale=scale), metrics

    def report(state: AdversarialSurpriseState, rollout: Rollout) -> Metrics:
        """Who is surprised, and whether Control calms what Explore has found; in nats, one episode per column.

        `observation_entropy_*` are of densities fitted from nothing to equally many observations: the outcomes of the
        last half of Explore's round, and of the first and last half of Control's. `control_lowers_entropy` is what lies
        between Explore's and Control's last halves. How full the game's own density is does not matter to them, as it
        does to `density_entropy_*` (at the two ends of Control's round) and to the trend of `control_log_prob_*` (in
        the first and last quarter of it).
        """
        clock, mask = rollout.extras["clock"], episode_mask(rollout.terminated, rollout.truncated)
        controls = rollout.extras["role"] > 0
        statistics = statistics_of(state, rollout)
        likelihood = log_density(statistics, rollout.next_observation)
        found = {}
        for role, mine in zip(ROLES, (~controls, controls), strict=True):
            found[f"{role}_surprise"] = -policy_gradient.masked_mean(likelihood.reshape(-1), (mask & mine).reshape(-1))
        if rollout.reward.shape[0] < pair:
            return found
        pairs = rounds.whole_pairs(clock, round_length, mask)

        def mean(values: Array) -> Array:
            return policy_gradient.masked_mean(values, pairs.counted)

        outcome, inside = (leaf[pairs.time, pairs.env] for leaf in (rollout.next_observation, likelihood))
        before = statistics[pairs.time[:, round_length], pairs.env[:, round_length]]
        after = statistics[pairs.time[:, -1], pairs.env[:, -1]]
        if not lives_on:
            after = jax.vmap(model.insert)(after, outcome[:, -1])
        quarter, half = max(1, round_length // 4), max(1, round_length // 2)
        early = mean(jnp.mean(inside[:, round_length : round_length + quarter], axis=1))
        late = mean(jnp.mean(inside[:, pair - quarter :], axis=1))

        def entropy_over(steps: slice) -> Array:
            window = outcome[:, steps]
            every = jnp.ones(window.shape[1], bool)
            fitted = jax.vmap(lambda shown: _inserted(model, model.empty(), shown, every))(window)
            return mean(jax.vmap(model.entropy_of)(fitted))

        explored = entropy_over(slice(round_length - half, round_length))
        first = entropy_over(slice(round_length, round_length + half))
        calmed = entropy_over(slice(pair - half, pair))
        steps = jnp.sum(mask.astype(jnp.float32))
        return found | {
            "control_log_prob_early": early,
            "control_log_prob_late": late,
            "control_log_prob_gain": late - early,
            "density_entropy_start": mean(jax.vmap(model.entropy_of)(before)),
            "density_entropy_end": mean(jax.vmap(model.entropy_of)(after)),
            "observation_entropy_explore": explored,
            "observation_entropy_control_first": first,
            "observation_entropy_control_last": calmed,
            "control_lowers_entropy": explored - calmed,
            "steps_outside_pairs": 1 - pair * jnp.sum(pairs.counted.astype(jnp.float32)) / steps,
        }

    return Agent(unroll, num_envs, None, init, begin, act, update, report)


def _inserted(model: densities.Density, statistics: Array, observations: Array, enters: Array) -> Array:
    """Statistics [S] after those of the observations [N, …] that enter [N], one after the other."""

    def step(statistics: Array, now: tuple[Array, Array]) -> tuple[Array, None]:
        return jnp.where(now[1], model.insert(statistics, now[0]), statistics), None

    return jax.lax.scan(step, statistics, (observations, enters))[0]


def _density(spec: EnvSpec, kind: str, min_scale: float) -> densities.Density:
    """The density of observations; `auto` is categorical for symbols and Gaussian for numbers."""
    size = math.prod(spec.observation_shape)
    if kind == "auto":
        kind = "gaussian" if spec.num_categories is None else "categorical"
    if kind == "categorical":
        if spec.num_categories is None:
            raise UserError(
                f"agent.density=categorical counts symbols, but {spec.name or 'this environment'} observes numbers; "
                "use agent.density=gaussian, or bernoulli where they are 0 and 1"
            )
        return densities.categorical(size, spec.num_categories)
    return densities.bernoulli(size) if kind == "bernoulli" else densities.gaussian(size, min_scale)


def _check_rounds(spec: EnvSpec, unroll: int, round_length: int, scored: int) -> None:
    pair = 2 * round_length
    if unroll % pair:
        raise UserError(
            f"agent.unroll={unroll} must be a multiple of two rounds, of agent.round_length={round_length} steps each; "
            f"use agent.unroll={-(-unroll // pair) * pair}"
        )
    if spec.episode_length < pair:
        raise UserError(
            f"agent.round_length={round_length} is too long: an episode of {spec.name or 'this environment'} has "
            f"{spec.episode_length} steps, fewer than two rounds; use at most {max(1, spec.episode_length // 2)}"
        )
    if scored >= pair:
        raise UserError(
            f"agent.no_reward_share leaves Control no step of its {round_length} that is rewarded; "
            f"use at most {(round_length - 1) / round_length:g}"
        )
