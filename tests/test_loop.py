"""The compiled loop: resets, truncation, seeds, compile counts, and the battery on every agent."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from infojax import testing
from infojax.agents import sac
from infojax.agents.experience import Carry
from infojax.envs import maze, probe
from infojax.objectives import diayn, none
from infojax.run import loop
from infojax.run.evaluation import _measured, device_evaluation
from infojax.types import Agent, Environment, EnvSpec, episode_mask, second_half

TINY = {
    "num_envs": 4,
    "unroll": 2,
    "updates_per_step": 0.5,
    "batch_size": 8,
    "hidden_sizes": (8,),
    "replay_capacity": 64,
    "random_steps": 0,
    "learning_starts": 0,
}


def recorder(num_envs=3, unroll=4):
    """An agent that learns nothing and keeps the rollout it was given."""

    def act(state, carry, timestep, key, explore):
        return carry, jnp.zeros((1,)), {"context": carry.context}

    def begin(state, key):
        return Carry(jax.random.uniform(key, (1,)))

    def update(state, rollout, key):
        return rollout, {}

    def init(key):
        shape = (unroll, num_envs)
        zeros, no = jnp.zeros(shape), jnp.zeros(shape, bool)
        vector = jnp.zeros((*shape, 1))
        return loop.Rollout(vector, no, vector, zeros, no, no, vector, {"context": vector})

    return Agent(unroll, num_envs, None, init, begin, act, update, lambda state, rollout: {})


def counter(length=5, ends_at=None):
    """Observes how many steps the episode has had, above a random hundred that names the episode."""

    def reset(key):
        name = 100.0 * jnp.round(1000 * jax.random.uniform(key))
        return jnp.stack([name, jnp.zeros(())]), jnp.reshape(name, (1,))

    def step(state, action, key):
        state = state.at[1].add(1)
        terminated = jnp.zeros((), bool) if ends_at is None else state[1] >= ends_at
        return state, jnp.reshape(state.sum(), (1,)), jnp.ones(()), terminated

    spec = EnvSpec((1,), (1,), None, (-1.0,), (1.0,), length, shortest_episode=ends_at or length)
    spec = spec._replace(position_names=("name", "time"), position_low=(0.0, 0.0), position_high=(1e5, 10.0))
    spec = spec._replace(cells=(5, 10))
    return Environment(spec, reset, step, lambda state: state, lambda state: {"age": state[1]})


@pytest.mark.parametrize("ends_at", [None, 3])
def test_episodes_end_restart_afresh_and_keep_the_observation_before_the_reset(ends_at):
    agent, environment = recorder(unroll=30), counter(5, ends_at)
    compiled = loop.device_loop(agent, environment, 1, 1, "vmap")
    state, metrics = compiled.chunk(compiled.init([0]))
    rollout = jax.tree.map(lambda leaf: np.asarray(leaf)[0], state.agent)
    length = ends_at or 5
    ends = np.arange(30) % length == length - 1
    np.testing.assert_array_equal(rollout.terminated, np.tile((ends & (ends_at is not None))[:, None], 3))
    np.testing.assert_array_equal(rollout.truncated, np.tile((ends & (ends_at is None))[:, None], 3))
    np.testing.assert_array_equal(rollout.first, np.tile((np.arange(30) % length == 0)[:, None], 3))
    np.testing.assert_array_equal(
        rollout.next_observation[:, :, 0] % 100, np.tile((np.arange(30) % length + 1)[:, None], 3)
    )
    names = rollout.observation[::length, :, 0].ravel()
    assert len(np.unique(names)) > 0.9 * len(names), "every episode must begin in a state of its own"
    assert len(np.unique(rollout.extras["context"][::length].ravel())) == len(names), "begin runs once an episode"
    within = rollout.extras["context"].reshape(-1, length, 3)
    assert (within == within[:, :1]).all(), "the context stays within an episode"
    assert metrics["train/episode_return"][0] == pytest.approx(length)
    assert metrics["train/episodes"][0] == 3 * (30 // length)
    assert metrics["train/age"][0] == pytest.approx((length + 1) / 2)
    assert metrics["train/age_at_end"][0] == length
    place = rollout.next_observation.ravel()
    cells = {(int(name * 5 // 1e5), int(time)) for name, time in zip(place // 100 * 100, place % 100, strict=True)}
    assert metrics["train/coverage"][0] == pytest.approx(len(cells) / 50)
    again, metrics = compiled.chunk(state)
    assert metrics["train/coverage"][0] > len(cells) / 50 - 1e-6
    assert int(np.asarray(again.visited).sum()) == round(50 * float(metrics["train/coverage"][0]))


def test_masks_of_evaluation_columns():
    done = jnp.array([[False, False], [True, False], [False, False], [True, True]])
    mask = episode_mask(done, jnp.zeros_like(done))
    np.testing.assert_array_equal(mask, [[True, True], [True, True], [False, True], [False, True]])
    np.testing.assert_array_equal(second_half(mask), [[False, False], [True, False], [False, True], [False, True]])


def test_measures_of_an_evaluation_are_those_of_its_episodes():
    """Episodes of 2 and 4 steps: means over all six steps, and the mean of the last values."""
    done = jnp.array([[False, False], [True, False], [False, False], [True, True]])
    mask = episode_mask(done, jnp.zeros_like(done))
    value = jnp.array([[1.0, 10.0], [2.0, 20.0], [99.0, 30.0], [99.0, 40.0]])
    found = _measured({"age": value}, mask)
    assert found["age"] == pytest.approx(103 / 6)
    assert found["age_at_end"] == pytest.approx((2 + 40) / 2)


def test_evaluation_sets_each_skill_and_sees_one_episode_per_column():
    environment = probe.make(kind="skill")
    agent = sac.make(environment.spec, diayn.make(environment.spec, num_skills=3, hidden_sizes=(8,)), **TINY)
    evaluate = device_evaluation(agent, environment, 2, 2, "vmap")
    state = jax.vmap(agent.init)(jax.random.split(jax.random.key(0), 2))
    found = evaluate(state, [0, 1], 100)
    np.testing.assert_array_equal(found.arrays["skill"], [0, 0, 1, 1, 2, 2] * 2)
    np.testing.assert_array_equal(found.arrays["deterministic"], [True] * 6 + [False] * 6)
    assert found.arrays["positions"].shape == (2, 3, 12, 1)
    assert found.arrays["mask"].all()
    ceiling = found.metrics["evaluation/stochastic/mutual_information_ceiling"]
    np.testing.assert_allclose(ceiling, np.log(3), rtol=1e-6)
    # Two episodes of one skill act alike when deterministic, and unlike when stochastic.
    positions = found.arrays["positions"][0, -1, :, 0]
    np.testing.assert_array_equal(positions[0:6:2], positions[1:6:2])
    assert not np.isclose(positions[6::2], positions[7::2]).any()
    again = evaluate(state, [0, 1], 100)
    np.testing.assert_array_equal(found.arrays["positions"], again.arrays["positions"])


def test_the_battery_for_sac_with_skills():
    environment = maze.make(layout="open", episode_length=7)
    objective = diayn.make(environment.spec, num_skills=4, hidden_sizes=(8,))
    agent = sac.make(environment.spec, objective, **TINY, normalize_observations=True)
    testing.check_agent(agent, environment)
    testing.check_export(agent, jax.random.key(0), jnp.zeros((4, 4), jnp.float32))


@pytest.mark.parametrize(("kind", "value"), [("constant_reward", 1.0), ("truncation", 10.0)])
def test_sac_finds_the_value_of_probes(kind, value):
    """Termination ends the return, truncation does not: 1 against 1 / (1 − 0.9)."""
    environment = probe.make(kind=kind)
    options = {"discount": 0.9, "temperature": 1e-4, "target_entropy_per_dimension": None, "target_rate": 0.1}
    rates = {"actor_learning_rate": 3e-3, "critic_learning_rate": 3e-3}
    agent = sac.make(
        environment.spec,
        none.make(environment.spec),
        **{**TINY, "hidden_sizes": (32,), "batch_size": 64},
        **options,
        **rates,
    )
    compiled = loop.device_loop(agent, environment, 400, 1, "vmap")
    state, _ = compiled.chunk(compiled.init([0]))
    _, metrics = compiled.chunk(state)
    assert metrics["train/value"][0] == pytest.approx(value, rel=0.05)


def test_diayn_learns_the_two_skills_of_a_probe():
    environment = probe.make(kind="skill")
    objective = diayn.make(environment.spec, num_skills=2, hidden_sizes=(16,), learning_rate=3e-3)
    options = {"temperature": 0.02, "target_entropy_per_dimension": None, "extrinsic_weight": 0.0}
    rates = {"actor_learning_rate": 3e-3, "critic_learning_rate": 3e-3}

    def information(intrinsic_weight):
        agent = sac.make(
            environment.spec,
            objective,
            **{**TINY, "hidden_sizes": (16,), "batch_size": 64},
            **options,
            **rates,
            intrinsic_weight=intrinsic_weight,
        )
        compiled = loop.device_loop(agent, environment, 400, 1, "vmap")
        state, _ = compiled.chunk(compiled.init([1]))
        found = device_evaluation(agent, environment, 16, 1, "vmap")(state.agent, [1], 0)
        return found.metrics["evaluation/stochastic/mutual_information"][0]

    assert information(1.0) > 0.9 * np.log(2)
    assert information(0.0) < 0.6 * np.log(2)
