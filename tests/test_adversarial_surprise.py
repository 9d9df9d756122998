"""Adversarial surprise: its rounds, rewards and losses against a slow simulation in numpy, and who learns what."""

import inspect
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from infojax.agents import adversarial_surprise, rounds
from infojax.objectives import diayn, none
from infojax.testing import QUICK, check_yaml
from infojax.types import Environment, EnvSpec, Rollout, Timestep, UserError

SYMBOLS = EnvSpec((2,), (), 3, (), (), 16, name="symbols", num_categories=4)
NUMBERS = EnvSpec((2,), (1,), None, (-2.0,), (2.0,), 16, name="numbers")
K, UNROLL, ENVS = 4, 16, 3
SMALL = {
    "num_envs": ENVS,
    "unroll": UNROLL,
    "round_length": K,
    "hidden_sizes": (8,),
    "epochs": 1,
    "learning_rate": 0.01,
}
# The steps after which episodes end, and whether by termination: environment 0 stays in phase with the unroll, 1 and 2
# do not; in 2 the first pair ends together with its episode.
ENDS = {(15, 0): False, (31, 0): False, (5, 1): True, (21, 1): False, (7, 2): True, (18, 2): True}
MODES = {
    "symbols, as released": (SYMBOLS, {"after_round": "own_next_round"}),
    "numbers, by round": (
        NUMBERS,
        {"buffer_life": "round", "buffer_observes": "control", "no_reward_share": 0.25, "normalize_rewards": False},
    ),
    "symbols, for life": (SYMBOLS, {"buffer_life": "life", "buffer_observes": "both"}),
}


class Counts:
    """The density in numpy, of a list of observations."""

    def __init__(self, spec):
        self.spec, self.seen = spec, []

    def moments(self):
        # One observation of the standard normal is what empty statistics are worth.
        seen = np.array([*self.seen]).reshape(-1, 2)
        mean = seen.sum(0) / (len(seen) + 1)
        variance = (np.square(seen - mean).sum(0) + 1 + np.square(mean)) / (len(seen) + 1)
        return mean, np.maximum(np.sqrt(variance), 0.1)

    def frequencies(self):
        if not self.seen:
            return np.full((2, 4), 0.25)
        return np.stack([np.bincount([int(o[j]) for o in self.seen], minlength=4) / len(self.seen) for j in range(2)])

    def log_density(self, observation):
        if self.spec is SYMBOLS:
            chances = self.frequencies()
            return sum(np.log(max(chances[j, int(observation[j])], 1e-3)) for j in range(2))
        mean, scale = self.moments()
        # The released code has log 2πσ in place of log 2πσ².
        return np.sum(-0.5 * np.square((observation - mean) / scale) - 0.5 * np.log(2 * np.pi * scale**2))

    def shown(self):
        parts = [self.frequencies().reshape(-1)] if self.spec is SYMBOLS else list(self.moments())
        return np.concatenate([[np.log1p(len(self.seen)) / 7], *parts])


def features(spec, observation):
    return np.eye(4)[observation.astype(int)].reshape(-1) if spec is SYMBOLS else observation


def dense(parameters, inputs):
    first, last = parameters["member_0_layer_0"], parameters["member_0_output"]
    hidden = np.tanh(inputs @ np.asarray(first["kernel"], np.float64) + np.asarray(first["bias"]))
    return hidden @ np.asarray(last["kernel"], np.float64) + np.asarray(last["bias"])


def world(spec, steps, seed=0):
    """Observations before and after each step, and flags, [steps, B, …]; what an episode ends with is never inserted
    into the next."""
    generator = np.random.default_rng(seed)
    draw = (lambda: generator.integers(0, 4, 2)) if spec is SYMBOLS else (lambda: generator.normal(0.3, 2, 2))
    before, after = (np.zeros((steps, ENVS, 2), np.float32) for _ in range(2))
    first, terminated, truncated = (np.zeros((steps, ENVS), bool) for _ in range(3))
    for env in range(ENVS):
        now, opens = draw(), True
        for time in range(steps):
            before[time, env], first[time, env], after[time, env] = now, opens, draw()
            opens = (time, env) in ENDS
            if opens:
                (terminated if ENDS[time, env] else truncated)[time, env] = True
            now = draw() if opens else after[time, env]
    return before, first, terminated, truncated, after


def play(agent, state, carry, given, act, key):
    """A rollout of the given world by the agent's own `act`, and the carry behind it."""
    before, first, terminated, truncated, after = given
    steps = []
    for time in range(len(before)):
        key, begin_key, act_key = jax.random.split(key, 3)
        carry, action, extras = act(
            state, carry, jnp.asarray(before[time]), jnp.asarray(first[time]), (begin_key, act_key)
        )
        steps.append((action, extras))
    actions, extras = jax.tree.map(lambda *leaves: jnp.stack(leaves), *steps)
    reward = jnp.zeros(first.shape, jnp.float32)
    flags = [jnp.asarray(array) for array in (terminated, truncated, after)]
    return carry, Rollout(jnp.asarray(before), jnp.asarray(first), actions, reward, *flags, extras)


def acting(agent):
    def act(state, carry, observation, first, keys):
        fresh = jax.vmap(agent.begin, in_axes=(None, 0))(state, jax.random.split(keys[0], ENVS))
        carry = jax.tree.map(
            lambda new, old: jnp.where(first.reshape(-1, *[1] * (new.ndim - 1)), new, old), fresh, carry
        )
        no = jnp.zeros((ENVS,), bool)
        timestep = Timestep(observation, jnp.zeros((ENVS,)), no, no, observation, first)
        run = jax.vmap(lambda c, t, k: agent.act(state, c, t, k, True))
        return run(carry, timestep, jax.random.split(keys[1], ENVS))

    return jax.jit(act, compiler_options=QUICK)


@pytest.fixture(scope="module", params=list(MODES))
def played(request):
    """Two updates in a row: states, rollouts, metrics."""
    spec, settings = MODES[request.param]
    agent = adversarial_surprise.make(spec, none.make(spec), **SMALL, **settings)
    state = jax.jit(agent.init, compiler_options=QUICK)(jax.random.key(0))
    # Every environment begins an episode with the first step: of this carry nothing stays.
    carry = jax.vmap(lambda key: agent.begin(state, key))
    carry = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(carry, jax.random.split(jax.random.key(1), ENVS))
    )
    act, update = acting(agent), jax.jit(agent.update, compiler_options=QUICK)
    whole, found = world(spec, 2 * UNROLL), []
    for index in range(2):
        given = [array[index * UNROLL : (index + 1) * UNROLL] for array in whole]
        carry, rollout = play(agent, state, carry, given, act, jax.random.key(index))
        after, metrics = update(state, rollout, jax.random.key(9))
        found.append((state, rollout, after, metrics))
        state = after
    return spec, {"buffer_life": "episode", "buffer_observes": "rewarded", "no_reward_share": 0.5} | settings, found


def simulate(spec, settings, found):
    """The same two rollouts, step by step and environment by environment, in float64."""
    scored = K + int(np.ceil(settings["no_reward_share"] * K))
    opens_to = {"rewarded": scored, "control": K, "both": 0}[settings["buffer_observes"]]
    life, clocks, densities = Counts(spec), [0] * ENVS, [Counts(spec) for _ in range(ENVS)]
    returns, all_returns, results = [0.0] * ENVS, [], []
    for _, rollout, *_ in found:
        rollout = jax.tree.map(np.asarray, rollout)
        records, for_life = {}, []
        for time in range(UNROLL):
            for env in range(ENVS):
                if rollout.first[time, env]:
                    clocks[env], returns[env], densities[env] = 0, 0.0, Counts(spec)
                clock = clocks[env]
                if settings["buffer_life"] == "round" and clock == 0:
                    densities[env] = Counts(spec)
                density = life if settings["buffer_life"] == "life" else densities[env]
                shown = features(spec, rollout.observation[time, env])
                view = np.concatenate([shown, density.shown(), [(clock % K) / K]])
                outcome = rollout.next_observation[time, env]
                pay = density.log_density(outcome) if clock >= scored else 0.0
                if clock >= opens_to:
                    (for_life if settings["buffer_life"] == "life" else density.seen).append(outcome)
                returns[env] = 0.99 * returns[env] + pay
                all_returns.append(returns[env])
                done = rollout.terminated[time, env] or rollout.truncated[time, env]
                records[time, env] = (clock, view, pay, done)
                clocks[env] = (clock + 1) % (2 * K)
        scale = np.std(all_returns) if settings.get("normalize_rewards", True) else 1.0
        pairs = []
        for env in range(ENVS):
            for start in range(UNROLL - 2 * K + 1):
                steps = [records[start + step, env] for step in range(2 * K)]
                if [step[0] for step in steps] == list(range(2 * K)) and not any(step[3] for step in steps[:-1]):
                    pairs.append((env, start, steps))
        life.seen += for_life
        results.append((scale, pairs, records))
    return results


def advantages(spec, settings, parameters, pairs, scale, role):
    """Advantages of one player by the definition, round after round."""
    reward = np.zeros((len(pairs), K))
    for index, (_, _, steps) in enumerate(pairs):
        pay = np.array([step[2] for step in steps[K:]]) / scale
        reward[index] = pay if role == "control" else np.eye(K)[-1] * -pay.sum()
    half = slice(K, 2 * K) if role == "control" else slice(0, K)
    views = np.array([[step[1] for step in steps[half]] for _, _, steps in pairs])
    value = dense(parameters["critic"], views)[..., 0]
    result = np.zeros((len(pairs), K))
    for index in reversed(range(len(pairs))):
        env, start, steps = pairs[index]
        following, later = 0.0, 0.0
        if settings.get("after_round") == "own_next_round" and index + 1 < len(pairs):
            beside = pairs[index + 1]
            if beside[:2] == (env, start + 2 * K) and not steps[-1][3]:
                following, later = value[index + 1, 0], result[index + 1, 0]
        for step in reversed(range(K)):
            residual = reward[index, step] + 0.99 * following - value[index, step]
            later = residual + 0.99 * 0.95 * later
            result[index, step], following = later, value[index, step]
    return reward, result


def test_rewards_and_losses_are_those_of_a_slow_simulation(played):
    spec, settings, found = played
    for (state, rollout, _, metrics), (scale, pairs, records) in zip(
        found, simulate(spec, settings, found), strict=True
    ):
        # Of 6 pairs that have room, 5 and then 4 are whole: those that an end or the border cuts count nothing.
        assert metrics["counted_pairs"] == pytest.approx(len(pairs) / 6)
        np.testing.assert_array_equal(
            rollout.extras["clock"], [[records[time, env][0] for env in range(ENVS)] for time in range(UNROLL)]
        )
        assert ("statistics" in rollout.extras) == (settings["buffer_life"] != "life")
        np.testing.assert_array_equal(rollout.extras["role"], np.asarray(rollout.extras["clock"]) >= K)
        scored = K + int(settings["no_reward_share"] * K)
        pay = [step[2] for _, _, steps in pairs for step in steps[scored:]]
        assert metrics["control_log_prob"] == pytest.approx(np.mean(pay), rel=1e-4)
        if settings.get("normalize_rewards", True):
            assert metrics["reward_scale"] == pytest.approx(scale, rel=1e-4)
        for role in ("explore", "control"):
            reward, advantage = advantages(spec, settings, getattr(state, role).parameters, pairs, scale, role)
            assert metrics[f"{role}_return"] == pytest.approx(reward.sum(1).mean(), rel=1e-4)
            # The first step's ratio is 1 and its target A + V, so that the losses tell mean and square of advantages;
            # values are those of what the player sees: observation, density, time in the round.
            assert metrics[f"{role}_policy_loss"] == pytest.approx(-advantage.mean(), rel=1e-3, abs=1e-5)
            assert metrics[f"{role}_value_loss"] == pytest.approx(np.square(advantage).mean(), rel=1e-3)
            assert metrics[f"{role}_ratio_distance"] < 1e-5


def test_cut_pairs_were_among_those_simulated(played):
    spec, settings, found = played
    counted = [{pair[:2] for pair in pairs} for _, pairs, _ in simulate(spec, settings, found)]
    # Environment 1 ends after step 5, so its pair from 6 to 13 is its first whole one; in the second unroll its next
    # episode begins at 22 (6 within the unroll). Environment 2 begins at 0 and 8, and at 19 (3).
    assert counted == [{(0, 0), (0, 8), (1, 6), (2, 0), (2, 8)}, {(0, 0), (0, 8), (1, 6), (2, 3)}]


def test_rounds_are_zero_sum_to_the_last_bit():
    control = np.random.default_rng(0).normal(size=(32, 50)).astype(np.float32) * np.logspace(
        -3, 3, 50, dtype=np.float32
    )
    explore = np.asarray(jax.jit(rounds.explore_rewards)(control))
    total = np.zeros(50, np.float32)
    for reward in control[::-1]:
        total = reward + total
    np.testing.assert_array_equal(explore[-1], -total)
    assert not explore[:-1].any()


def test_whole_pairs_are_found_in_order_and_masked():
    clock = np.array([[0, 3], [1, 0], [2, 1], [3, 2], [0, 3], [1, 0], [0, 1], [1, 2], [2, 3]])
    pairs = rounds.whole_pairs(jnp.asarray(clock), 2)
    assert pairs.counted.tolist() == [True, True, True, False]
    assert pairs.time[:3, 0].tolist() == [0, 1, 5] and pairs.env[:3, 0].tolist() == [0, 1, 1]
    done = jnp.zeros(clock.shape, bool)
    assert rounds.followed(pairs, done).tolist() == [False, True, False, False]
    assert not rounds.followed(pairs, done.at[4, 1].set(True)).any()
    where = jnp.asarray(np.arange(9)[:, None] < np.array([[3, 6]]))
    assert rounds.whole_pairs(jnp.asarray(clock), 2, where).counted.tolist() == [True, False, False, False]


def same(left, right):
    return all(np.array_equal(*pair) for pair in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True))


@pytest.mark.parametrize("played", ["symbols, as released"], indirect=True)
def test_each_player_learns_alone_and_nothing_is_learned_from_nothing(played):
    spec, _, found = played
    state, rollout, both, _ = found[0]
    settings = MODES["symbols, as released"][1] | {"learns": "control"}
    agent = adversarial_surprise.make(spec, none.make(spec), **SMALL, **settings)
    update, key = jax.jit(agent.update, compiler_options=QUICK), jax.random.key(9)
    after, metrics = update(state, rollout, key)
    assert same(after.explore, state.explore)
    assert "explore_policy_loss" not in metrics and "control_policy_loss" in metrics
    assert not same(after.control.parameters, state.control.parameters)
    # What a player learns does not depend on whether the other learns.
    jax.tree.map(lambda one, two: np.testing.assert_allclose(one, two, atol=1e-6), after.control, both.control)
    nowhere = rollout._replace(extras=rollout.extras | {"clock": jnp.ones_like(rollout.extras["clock"])})
    still, told = update(state, nowhere, key)
    assert same((still.explore, still.control), (state.explore, state.control))
    assert told["counted_pairs"] == 0 and all(np.isfinite(value) for value in told.values())


def test_report_tells_what_control_calms():
    spec = SYMBOLS
    agent = adversarial_surprise.make(spec, none.make(spec), **SMALL)
    # Explore's last two outcomes differ in both entries, Control's first two in one, its last two in none.
    outcome = np.zeros((10, 2, 2), np.float32)
    outcome[3], outcome[4], outcome[8:] = 1, [1, 0], 3
    clock = np.arange(10)[:, None].repeat(2, 1) % 8
    terminated = np.zeros((10, 2), bool)
    terminated[5, 1] = True  # the second column's pair is cut, and the columns' rests are in no pair
    statistics = np.zeros((10, 2, 9), np.float32)
    statistics[..., 1:] = 0.25
    extras = {"clock": clock, "role": (clock >= K).astype(np.int32), "statistics": statistics}
    no = np.zeros((10, 2), bool)
    rollout = Rollout(outcome, no, np.zeros((10, 2), np.int32), no.astype(np.float32), terminated, no, outcome, extras)
    report = jax.jit(lambda rollout: agent.report((), rollout), compiler_options=QUICK)
    told = report(rollout)
    one = np.log(2)
    assert told["observation_entropy_explore"] == pytest.approx(2 * one)
    assert told["observation_entropy_control_first"] == pytest.approx(one)
    assert told["observation_entropy_control_last"] == pytest.approx(0, abs=1e-6)
    assert told["control_lowers_entropy"] == pytest.approx(2 * one)
    assert told["density_entropy_start"] == pytest.approx(2 * np.log(4))
    assert told["density_entropy_end"] == pytest.approx(0, abs=1e-6)
    assert told["steps_outside_pairs"] == pytest.approx(1 - 8 / 16)
    assert told["explore_surprise"] == pytest.approx(2 * np.log(4)) == told["control_surprise"]
    nothing = report(rollout._replace(terminated=terminated | terminated[:, ::-1]))
    assert nothing["control_lowers_entropy"] == 0 and nothing["steps_outside_pairs"] == 1


def noisy_or_silent():
    """Two places, the body gets to where it wants with probability 0.3; one shows a random symbol, the other none."""

    def observe(noisy, key):
        symbol = jnp.where(noisy, jax.random.randint(key, (), 1, 6), 0)
        return jnp.stack([noisy.astype(jnp.float32), symbol.astype(jnp.float32)])

    def reset(key):
        noisy = jax.random.bernoulli(key)
        return noisy, observe(noisy, key)

    def step(noisy, action, key):
        move_key, symbol_key = jax.random.split(key)
        noisy = jnp.where(jax.random.bernoulli(move_key, 0.3), action == 1, noisy)
        return noisy, observe(noisy, symbol_key), jnp.zeros(()), jnp.zeros((), bool)

    spec = EnvSpec((2,), (), 2, (), (), 32, name="noisy or silent", num_categories=6)
    return Environment(spec, reset, step, lambda noisy: jnp.zeros((0,)))


def test_explore_seeks_the_noise_and_control_leaves_it():
    environment, envs, length = noisy_or_silent(), 32, 32
    agent = adversarial_surprise.make(
        environment.spec,
        none.make(environment.spec),
        num_envs=envs,
        unroll=length,
        round_length=8,
        no_reward_share=0.25,
        minibatch_size=512,
        learning_rate=3e-3,
        hidden_sizes=(16,),
    )
    no = jnp.zeros((envs,), bool)

    def iteration(state, key):
        reset_key, step_key, update_key = jax.random.split(key, 3)
        place, observation = jax.vmap(environment.reset)(jax.random.split(reset_key, envs))
        carry = jax.vmap(agent.begin, in_axes=(None, 0))(state, jax.random.split(reset_key, envs))

        def step(loop, given):
            place, observation, carry = loop
            act_key, move_key = jax.random.split(given[0])
            timestep = Timestep(observation, jnp.zeros((envs,)), no, no, observation, no)
            act = jax.vmap(lambda c, t, k: agent.act(state, c, t, k, True))
            carry, action, extras = act(carry, timestep, jax.random.split(act_key, envs))
            place, following, reward, _ = jax.vmap(environment.step)(place, action, jax.random.split(move_key, envs))
            rollout = Rollout(observation, no, action, reward, no, no | (given[1] == length - 1), following, extras)
            return (place, following, carry), rollout

        _, rollout = jax.lax.scan(
            step, (place, observation, carry), (jax.random.split(step_key, length), jnp.arange(length))
        )
        state, _ = agent.update(state, rollout, update_key)
        action = rollout.action.reshape(2, 2, 8, envs).astype(jnp.float32)
        return state, jnp.mean(action, axis=(0, 2, 3))

    train = jax.jit(
        lambda key: jax.lax.scan(iteration, agent.init(key), jax.random.split(key, 40))[1], compiler_options=QUICK
    )
    wants_noise = np.asarray(train(jax.random.key(3)))  # [iterations, role]
    np.testing.assert_allclose(wants_noise[0], 0.5, atol=0.1)
    explore, control = wants_noise[-10:].mean(0)
    assert explore > 0.85 and control < 0.1, (explore, control)


def test_what_does_not_fit_is_refused():
    def refused(words, spec=SYMBOLS, objective=None, **settings):
        with pytest.raises(UserError, match=words):
            adversarial_surprise.make(spec, objective or none.make(spec), **{**SMALL, **settings})

    refused("unroll=12 must be a multiple of two rounds.*unroll=16", unroll=12)
    refused("round_length=16 is too long.*at most 8", round_length=16, unroll=32)
    refused("no_reward_share leaves Control no step.*at most 0.75", no_reward_share=0.8)
    refused("minibatch_size=5 must divide the 24 steps", minibatch_size=5)
    refused("density=categorical counts symbols", spec=NUMBERS, density="categorical")
    refused("takes no objective", spec=NUMBERS, objective=diayn.make(NUMBERS))


def test_the_configuration_is_what_make_takes_with_its_defaults():
    path = Path(__file__).parents[1] / "configs/agent/adversarial_surprise.yaml"
    check_yaml(path, adversarial_surprise.make)
    defaults = {name: p.default for name, p in inspect.signature(adversarial_surprise.make).parameters.items()}
    assert defaults["round_length"] == 32 and defaults["no_reward_share"] == 0.5
