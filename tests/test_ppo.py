"""PPO: its parts against numpy in float64, its order of work, and its values where they are known."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from infojax import testing
from infojax.agents import policy_gradient as pg
from infojax.agents import ppo
from infojax.envs import probe
from infojax.nets.mlp import mlp
from infojax.objectives import none
from infojax.run import loop
from infojax.types import EnvSpec, Rollout, Timestep, UserError

CONTINUOUS = EnvSpec((3,), (2,), None, (-2.0, 0.0), (2.0, 1.0), 10, name="test")
DISCRETE = EnvSpec((3,), (), 4, (), (), 10, name="test")
SMALL = {"num_envs": 4, "unroll": 6, "epochs": 1, "minibatches": 1, "hidden_sizes": (8,)}


def quick(function, *arguments):
    return jax.jit(function, compiler_options=testing.QUICK)(*arguments)


def counting(spec, reward):
    """An objective whose state is how many rows it observed and how many updates it made."""
    base = none.make(spec)

    def update(state, transitions, key):
        assert transitions.action.dtype == (jnp.float32 if spec.num_actions is None else jnp.int32)
        return (state[0], state[1] + 1), {"seen_next": jnp.mean(transitions.next_observation)}

    return base._replace(
        init=lambda key: (jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)),
        observe=lambda state, transitions: (state[0] + transitions.reward.shape[0], state[1]),
        reward=reward,
        update=update,
    )


def numpy_advantages(reward, value, following, terminated, done, discount, trace):
    """The definition: Σ_k (γ λ)^k δ_{t+k} up to the end of the episode."""
    length, envs = reward.shape
    advantage = np.zeros((length, envs))
    for env in range(envs):
        for start in range(length):
            weight = 1.0
            for time in range(start, length):
                bootstrap = 0 if terminated[time, env] else discount * following[time, env]
                advantage[start, env] += weight * (reward[time, env] + bootstrap - value[time, env])
                weight *= discount * trace
                if done[time, env]:
                    break
    return advantage


def ends(generator, shape):
    kind = generator.choice(3, shape, p=[0.7, 0.15, 0.15])
    return kind == 1, kind == 2


def test_advantages_are_sums_of_residuals_within_episodes():
    generator = np.random.default_rng(0)
    reward, value, following = generator.normal(size=(3, 20, 5))
    terminated, truncated = ends(generator, (20, 5))
    given = [jnp.asarray(a, jnp.float32) for a in (reward, value, following)]
    found = quick(lambda *a: pg.generalized_advantages(*a, 0.9, 0.8), *given, terminated, terminated | truncated)
    wanted = numpy_advantages(reward, value, following, terminated, terminated | truncated, 0.9, 0.8)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_advantages_are_those_of_rlax():
    """Numbers that rlax gave for one long rollout; it knows terminations alone, through the discount."""
    kept = json.loads((Path(__file__).parent / "data" / "rlax_advantages.json").read_text())
    reward, value, terminated = (np.asarray(kept[name])[:, None] for name in ("reward", "value", "terminated"))
    given = [jnp.asarray(a, jnp.float32) for a in (reward, value[:-1], value[1:])]
    found = quick(lambda *a: pg.generalized_advantages(*a, 0.9, 0.8), *given, terminated > 0, terminated > 0)
    assert 0 < terminated.sum() < len(reward)
    np.testing.assert_allclose(found[:, 0], kept["advantage"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_losses_are_the_papers(masked):
    generator = np.random.default_rng(1)
    log_prob, old, advantage = generator.normal(scale=0.4, size=(3, 64))
    mask = generator.random(64) < 0.5 if masked else np.ones(64, bool)
    where = jnp.asarray(mask) if masked else None
    ratio = np.exp(log_prob - old)
    gain = np.minimum(ratio * advantage, np.clip(ratio, 0.8, 1.2) * advantage)
    loss, metrics = pg.clipped_surrogate(*(jnp.asarray(a, jnp.float32) for a in (log_prob, old, advantage)), 0.2, where)
    assert loss == pytest.approx(-gain[mask].mean(), rel=1e-4)
    assert metrics["clip_fraction"] == pytest.approx((np.abs(ratio - 1) > 0.2)[mask].mean())
    assert metrics["ratio_distance"] == pytest.approx(np.abs(ratio - 1)[mask].max(), rel=1e-4)
    assert metrics["approximate_kl"] == pytest.approx((ratio - 1 - np.log(ratio))[mask].mean(), rel=1e-4)

    value, target, before = generator.normal(size=(3, 64, 2))
    given = [jnp.asarray(a, jnp.float32) for a in (value, target)]
    assert pg.value_loss(*given, where) == pytest.approx(0.5 * ((value - target) ** 2)[mask].sum(1).mean(), rel=1e-4)
    held = before + np.clip(value - before, -0.1, 0.1)
    worse = np.maximum((value - target) ** 2, (held - target) ** 2)
    found = pg.value_loss(*given, where, jnp.asarray(before, jnp.float32), 0.1)
    assert found == pytest.approx(0.5 * worse[mask].sum(1).mean(), rel=1e-4)
    wanted = (advantage[mask] - advantage[mask].mean()) / advantage[mask].std()
    standard = np.asarray(pg.standardized(jnp.asarray(5 + 3 * advantage, jnp.float32), where))
    np.testing.assert_allclose(standard[mask], wanted, atol=1e-4)
    assert (standard[~mask] == 0).all()


def test_policies_sample_what_they_say():
    logits = jnp.asarray([0.5, -1.0, 2.0, 0.0])
    head = pg.policy_head(DISCRETE)
    keys = jax.random.split(jax.random.key(0), 4000)
    raw, log_prob = quick(jax.vmap(lambda key: head.sample(logits, head.init(), key)), keys)
    p = np.exp(np.asarray(logits, np.float64))
    p /= p.sum()
    np.testing.assert_allclose(np.bincount(raw, minlength=4) / 4000, p, atol=0.03)
    np.testing.assert_allclose(log_prob, np.log(p)[np.asarray(raw)], rtol=1e-5)
    again, entropy = head.evaluate(jnp.tile(logits, (4000, 1)), head.init(), raw)
    np.testing.assert_allclose(again, log_prob, rtol=1e-6)
    np.testing.assert_allclose(entropy, -(p * np.log(p)).sum(), rtol=1e-5)
    assert int(head.mode(logits, head.init())) == 2

    head = pg.policy_head(CONTINUOUS, initial_scale=0.5)
    mean, log_scale = jnp.asarray([0.2, -1.5]), head.init() + jnp.asarray([0.0, 0.3])
    raw, log_prob = quick(jax.vmap(lambda key: head.sample(mean, log_scale, key)), keys)
    scale = np.array([0.5, 0.5 * np.exp(0.3)])
    np.testing.assert_allclose(np.std(raw, axis=0), scale, rtol=0.05)
    noise = (np.asarray(raw, np.float64) - np.asarray(mean)) / scale
    density = (-0.5 * noise**2 - np.log(scale) - 0.5 * np.log(2 * np.pi)).sum(1)
    np.testing.assert_allclose(log_prob, density, rtol=1e-3, atol=1e-4)
    again, entropy = head.evaluate(jnp.tile(mean, (4000, 1)), log_scale, raw)
    np.testing.assert_allclose(again, density, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(entropy, np.log(scale * np.sqrt(2 * np.pi * np.e)).sum(), rtol=1e-5)
    action = head.to_env(raw)
    assert np.abs(raw[:, 1]).max() > 1, "raw actions go beyond the bounds"
    np.testing.assert_array_equal(np.asarray(action).min(0), [-2.0, 0.0])
    np.testing.assert_allclose(head.from_env(action), np.clip(raw, -1, 1), atol=1e-6)


def test_kernels_are_orthogonal_with_their_gains():
    parameters = quick(lambda key: mlp((8, 8), 3, output_gains=((2, 0.01), (1, 1.0))).init(key, 8), jax.random.key(0))
    for layer in ("member_0_layer_0", "member_0_layer_1"):
        kernel = np.asarray(parameters[layer]["kernel"])
        np.testing.assert_allclose(kernel.T @ kernel, 2 * np.eye(8), atol=1e-5)
    last = np.asarray(parameters["member_0_output"]["kernel"])
    np.testing.assert_allclose(last[:, :2].T @ last[:, :2], 1e-4 * np.eye(2), atol=1e-8)
    np.testing.assert_allclose(np.linalg.norm(last[:, 2]), 1, rtol=1e-5)


@pytest.mark.parametrize("size", [1, 24, 1000, 70_000])
def test_shuffling_is_a_permutation(size):
    orders = np.asarray(jax.vmap(lambda key: pg.shuffled(key, size))(jax.random.split(jax.random.key(0), 3)))
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.tile(np.arange(size), (3, 1)))
    if size == 1000:
        # Where the first ten go is uniform: three orders, mean rank within five deviations of the middle.
        assert abs(np.argsort(orders, axis=1)[:, :10].mean() - 500) < 5 * 1000 / np.sqrt(12 * 30)
        assert np.abs(np.corrcoef(orders)[np.triu_indices(3, 1)]).max() < 0.2


def test_every_row_is_in_one_minibatch_of_each_epoch():
    rows = jnp.arange(24, dtype=jnp.float32)[:, None]

    def step(carry, batch, key):
        return carry + 1, {"rows": batch[:, 0]}

    steps, metrics = pg.over_minibatches(step, jnp.int32(0), rows, jax.random.key(0), 3, 4)
    assert int(steps) == 12
    found = np.asarray(metrics["rows"]).reshape(3, 24)
    np.testing.assert_array_equal(np.sort(found, axis=1), np.tile(np.arange(24), (3, 1)))
    assert not np.array_equal(found[0], found[1])


def test_rewards_are_scaled_by_the_spread_of_returns():
    generator = np.random.default_rng(2)
    reward, restart = generator.normal(2, 3, (12, 4)), generator.random((12, 4)) < 0.2
    running, returns = np.zeros(4), []
    for time in range(12):
        running = 0.9 * running + reward[time]
        returns.append(running.copy())
        running = np.where(restart[time], 0, running)
    scale = pg.return_scale(4)
    np.testing.assert_array_equal(pg.scaled(scale, jnp.ones((1, 4))), np.ones((1, 4)))
    for half in (slice(0, 6), slice(6, 12)):
        scale = pg.observe_returns(scale, jnp.asarray(reward[half], jnp.float32), jnp.asarray(restart[half]), 0.9)
    np.testing.assert_allclose(scale.running, running, rtol=1e-4)
    given = jnp.asarray(reward, jnp.float32)
    np.testing.assert_allclose(pg.scaled(scale, given), reward / np.std(returns), rtol=1e-3)
    bound = 0.5 * np.std(returns)
    assert np.abs(reward).max() > bound
    np.testing.assert_allclose(pg.clipped_by_scale(scale, given, 0.5), np.clip(reward, -bound, bound), rtol=1e-3)


def rollout_of(agent, state, spec, seed):
    """Random steps whose extras are what the agent gives out."""
    generator, shape = np.random.default_rng(seed), (agent.unroll, agent.num_envs)
    observation = jnp.asarray(generator.normal(1, 2, (*shape, *spec.observation_shape)), jnp.float32)
    no = jnp.zeros(shape, bool)
    timestep = Timestep(observation, jnp.zeros(shape), no, no, observation, no)
    keys = jax.random.split(jax.random.key(seed), shape)
    carry = jax.vmap(jax.vmap(agent.begin, (None, 0)), (None, 0))(state, keys)
    act = jax.vmap(jax.vmap(lambda c, t, k: agent.act(state, c, t, k, True)))
    _, action, extras = quick(act, carry, timestep, keys)
    terminated, truncated = (jnp.asarray(flag) for flag in ends(generator, shape))
    # Within an episode the next observation is that of the next step.
    fresh = jnp.asarray(generator.normal(1, 2, observation.shape), jnp.float32)
    goes_on = ~(terminated | truncated)[:-1, :, None]
    following = jnp.concatenate([jnp.where(goes_on, observation[1:], fresh[:-1]), fresh[-1:]])
    reward = jnp.asarray(generator.normal(size=shape), jnp.float32)
    return Rollout(observation, no, action, reward, terminated, truncated, following, extras)


def dense(parameters, inputs):
    hidden = np.asarray(inputs, np.float64)
    first, last = parameters["member_0_layer_0"], parameters["member_0_output"]
    hidden = np.tanh(hidden @ np.asarray(first["kernel"], np.float64) + np.asarray(first["bias"]))
    return hidden @ np.asarray(last["kernel"], np.float64) + np.asarray(last["bias"])


@pytest.fixture(scope="module")
def learned():
    """Two updates of an agent with both value heads, and what they were made from."""
    objective = counting(
        CONTINUOUS, lambda state, transitions: transitions.next_observation[:, 0] + state[1].astype(jnp.float32)
    )
    options = {
        "discount": 0.9,
        "trace": 0.8,
        "intrinsic_discount": 0.5,
        "extrinsic_weight": 0.7,
        "intrinsic_weight": 0.3,
        "entropy_weight": 0.01,
        "normalize_observations": True,
        "normalize_intrinsic": False,
        "normalize_advantages": False,
        "objective_epochs": 3,
        "learning_rate": 1e-2,
        "anneal_steps": 100,
    }
    agent = ppo.make(CONTINUOUS, objective, **SMALL, **options)
    update = jax.jit(agent.update, compiler_options=testing.QUICK)
    first = agent.init(jax.random.key(0))
    second, _ = update(first, rollout_of(agent, first, CONTINUOUS, 1), jax.random.key(1))
    data = rollout_of(agent, second, CONTINUOUS, 2)
    third, metrics = update(second, data, jax.random.key(2))
    return agent, update, second, data, third, metrics


def test_an_update_is_the_papers(learned):
    """Advantages of both returns, each with its own discount; the objective's goes on behind a termination."""
    _, _, state, data, _, metrics = learned
    mean = np.asarray(state.statistics.mean, np.float64)
    spread = np.sqrt(np.asarray(state.statistics.deviation / state.statistics.seen, np.float64))
    observation, following = ((np.asarray(a) - mean) / spread for a in (data.observation, data.next_observation))
    value, after = (dense(state.parameters["critic"], inputs) for inputs in (observation, following))
    done = np.asarray(data.terminated | data.truncated)
    never = np.zeros_like(done)
    extrinsic = numpy_advantages(np.asarray(data.reward), value[..., 0], after[..., 0], data.terminated, done, 0.9, 0.8)
    # The objective has made three updates before, in one pass of one minibatch each.
    curious = numpy_advantages(following[..., 0] + 3, value[..., 1], after[..., 1], never, done, 0.5, 0.8)
    assert metrics["policy_loss"] == pytest.approx(-(0.7 * extrinsic + 0.3 * curious).mean(), rel=1e-3, abs=1e-4)
    assert metrics["value_loss"] == pytest.approx(0.5 * (extrinsic**2 + curious**2).mean(), rel=1e-3)
    assert metrics["value"] == pytest.approx(value[..., 0].mean(), rel=1e-3, abs=1e-4)
    assert metrics["intrinsic_value"] == pytest.approx(value[..., 1].mean(), rel=1e-3, abs=1e-4)
    entropy = np.log(np.exp(np.asarray(state.parameters["extra"])) * np.sqrt(2 * np.pi * np.e)).sum()
    assert metrics["policy_entropy"] == pytest.approx(entropy, rel=1e-4)


def test_the_first_ratio_is_one_for_normalised_observations(learned):
    """The statistics that an update ends with are not those that it begins with, which the actions were drawn by."""
    _, _, state, _, after, metrics = learned
    assert metrics["first_ratio_distance"] < 1e-5
    assert not np.allclose(state.statistics.mean, after.statistics.mean, rtol=1e-3)


def test_the_objective_observes_once_and_learns_after_it_has_rewarded(learned):
    _, _, state, data, after, metrics = learned
    assert [int(count) for count in state.objective] == [24, 3]
    assert [int(count) for count in after.objective] == [48, 6]
    mean = np.asarray(state.statistics.mean)
    spread = np.sqrt(np.asarray(state.statistics.deviation / state.statistics.seen))
    following = (np.asarray(data.next_observation) - mean) / spread
    assert metrics["intrinsic_reward"] == pytest.approx(following[..., 0].mean() + 3, rel=1e-4)
    # What it learns from is the observation before a reset, as what it rewards.
    assert metrics["seen_next"] == pytest.approx(following.mean(), rel=1e-3, abs=1e-5)


def test_the_learning_rate_falls_to_nothing(learned):
    _, update, state, data, after, _ = learned
    late, _ = update(state._replace(steps=jnp.int32(100)), data, jax.random.key(2))
    # To rounding: what is fused with a step of nothing may be rounded otherwise.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), late.parameters, state.parameters)
    half, _ = update(state._replace(steps=jnp.int32(62)), data, jax.random.key(2))

    def moved(now):
        return np.asarray(now.parameters["extra"]) - np.asarray(state.parameters["extra"])

    # The fixture's update was made at step 24: the pace was 0.76, and is half of that here.
    np.testing.assert_allclose(moved(half), moved(after) / 2, rtol=1e-3)


def test_without_an_objective_or_a_weight_there_is_no_head():
    def sizes(objective, **options):
        agent = ppo.make(DISCRETE, objective, **SMALL, **options)
        shapes = jax.eval_shape(agent.init, jax.random.key(0))
        return agent, shapes.parameters["critic"]["member_0_output"]["bias"].shape[0]

    curious = counting(DISCRETE, lambda state, transitions: transitions.reward)
    agent, size = sizes(none.make(DISCRETE))
    assert size == 1
    state = agent.init(jax.random.key(0))
    data = rollout_of(agent, state, DISCRETE, 0)
    metrics = jax.eval_shape(agent.update, state, data, jax.random.key(0))[1]
    assert not [name for name in metrics if "intrinsic" in name]
    agent, size = sizes(curious)
    assert size == 2
    # Traced with integer actions for the objective, which `counting` asserts.
    jax.eval_shape(agent.update, agent.init(jax.random.key(0)), data, jax.random.key(0))
    assert sizes(curious, extrinsic_weight=0.0)[1] == 1


def test_what_does_not_divide_or_cannot_be_acted_is_refused():
    with pytest.raises(UserError, match=r"minibatches=5 must divide the 24"):
        ppo.make(CONTINUOUS, none.make(CONTINUOUS), **{**SMALL, "minibatches": 5})
    with pytest.raises(UserError, match="one integer or a vector"):
        ppo.make(CONTINUOUS._replace(action_shape=(2, 2)), none.make(CONTINUOUS), **SMALL)


def train(environment, objective, iterations, **options):
    """Metrics of the last of two chunks, of one seed."""
    settings = {"num_envs": 16, "unroll": 10, "epochs": 4, "minibatches": 4, "hidden_sizes": (16,)}
    agent = ppo.make(environment.spec, objective, **{**settings, "learning_rate": 1e-2, **options})
    size = loop.pool_size(agent, environment, iterations)

    def run(root):
        pools = loop.Pool(*jax.vmap(jax.vmap(environment.reset))(jax.random.split(root, (2, size))))
        first = jax.tree.map(lambda leaf: leaf[0, : agent.num_envs], pools)
        state = loop.opening_state(agent, environment.spec, first.env, first.observation, root)
        return jax.lax.scan(loop.device_chunk(agent, environment, iterations), loop.strong(state), pools)[1]

    return {name: float(value[-1]) for name, value in quick(run, jax.random.key(0)).items()}


def always(spec):
    return counting(spec, lambda state, transitions: jnp.ones_like(transitions.reward))


def test_values_behind_a_termination():
    """Rewards of 1: the task's return ends, 1; the objective's goes on, 1 / (1 − 0.5)."""
    environment = probe.make(kind="constant_reward")
    found = train(environment, always(environment.spec), 60, intrinsic_discount=0.5, normalize_intrinsic=False)
    assert found["train/value"] == pytest.approx(1, rel=0.05)
    assert found["train/intrinsic_value"] == pytest.approx(2, rel=0.05)
    assert found["train/first_ratio_distance"] < 1e-5


def test_values_behind_a_truncation():
    """Rewards of 1 that truncation does not end: 1 / (1 − γ), with either return's own discount."""
    environment = probe.make(kind="truncation")
    options = {"discount": 0.8, "intrinsic_discount": 0.5, "intrinsic_episodic": True, "normalize_intrinsic": False}
    # Rollouts of four steps hold one truncation at most, at any place; those of the fixture hold several.
    found = train(environment, always(environment.spec), 120, unroll=4, shared_networks=True, **options)
    assert found["train/value"] == pytest.approx(5, rel=0.05)
    assert found["train/intrinsic_value"] == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize(("kind", "least"), [("discrete_action", 0.95), ("observation_action", 0.97)])
def test_it_learns_to_act_on_what_it_observes(kind, least):
    """Chance is 0.5 with two actions, and at most 0.75 for a continuous action that ignores the observation."""
    environment = probe.make(kind=kind)
    found = train(environment, none.make(environment.spec), 60, normalize_observations=True)
    assert found["train/episode_return"] > least
    assert found["train/first_ratio_distance"] < 1e-5
