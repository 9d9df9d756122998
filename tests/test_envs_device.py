"""Environments on the device: mazes, probes and brax."""

import importlib
from collections import deque

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from infojax import testing
from infojax.envs import brax, maze, probe
from infojax.types import UserError


def walk(environment, actions, key):
    """Positions of many masses under given actions [L, B, 2]."""
    reset_key, step_key = jax.random.split(key)
    state, _ = jax.vmap(environment.reset)(jax.random.split(reset_key, actions.shape[1]))

    def step(state, action):
        state, _, reward, _ = jax.vmap(environment.step, in_axes=(0, 0, None))(state, action, step_key)
        return state, (state.position, reward)

    return jax.jit(lambda s: jax.lax.scan(step, s, actions))(state)[1]


@pytest.mark.parametrize("layout", ["open", "u", "spiral"])
def test_no_mass_ever_passes_a_wall(layout):
    environment = maze.make(layout=layout)
    testing.check_environment(environment)
    # Long bursts at full force in random directions, which is what finds gaps.
    directions = jax.random.choice(jax.random.key(0), jnp.array([-1.0, 0.0, 1.0]), (40, 256, 2))
    positions, _ = walk(environment, jnp.repeat(directions, 25, axis=0), jax.random.key(1))
    positions = np.asarray(positions, np.float64)
    grid = np.array(maze.walls(layout))
    size = len(grid)
    cells = np.clip(np.floor((positions + 1) * size / 2).astype(int), 0, size - 1)
    rows, columns = size - 1 - cells[..., 1], cells[..., 0]
    assert (np.abs(positions) <= 1).all()
    assert not grid[rows, columns].any()
    # From one step to the next a mass moves to a neighbouring free cell, never across a wall.
    assert np.abs(np.diff(rows, axis=0)).max() <= 1
    assert np.abs(np.diff(columns, axis=0)).max() <= 1
    corner = (np.diff(rows, axis=0) != 0) & (np.diff(columns, axis=0) != 0)
    diagonal = grid[rows[:-1], columns[1:]] & grid[rows[1:], columns[:-1]]
    assert not (corner & diagonal).any()
    assert len(np.unique(rows * size + columns)) > (~grid).sum() / 2  # and it does get around


@pytest.mark.parametrize(("layout", "distance"), [("u", 10), ("spiral", 40)])
def test_the_goal_is_reachable_only_the_long_way(layout, distance):
    grid = np.array(maze.walls(layout))
    size = len(grid)

    def cell(point):
        column, row = (int((coordinate + 1) * size / 2) for coordinate in point)
        return size - 1 - row, column

    start, goal = (cell(point) for point in maze._LAYOUTS[layout][1:])
    lengths, queue = {start: 0}, deque([start])
    while queue:
        row, column = queue.popleft()
        for near in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
            if min(near) >= 0 and max(near) < size and not grid[near] and near not in lengths:
                lengths[near] = lengths[row, column] + 1
                queue.append(near)
    assert lengths[goal] >= distance


def test_the_mass_follows_its_equation_of_motion_and_is_rewarded_at_the_goal():
    environment = maze.make(layout="open")
    state = maze.MazeState(jnp.array([0.2, -0.3]), jnp.array([0.01, 0.02]))
    state, observation, reward, terminated = environment.step(state, jnp.array([0.5, -1.0]), jax.random.key(0))
    velocity = 0.8 * np.array([0.01, 0.02]) + 0.01 * np.array([0.5, -1.0])
    np.testing.assert_allclose(state.position, np.array([0.2, -0.3]) + velocity, rtol=1e-6)
    np.testing.assert_allclose(observation, [*(np.array([0.2, -0.3]) + velocity), *(velocity / 0.05)], rtol=1e-5)
    assert (float(reward), bool(terminated)) == (0.0, False)
    at_goal = maze.MazeState(jnp.array([0.8, 0.75]), jnp.zeros(2))
    assert environment.step(at_goal, jnp.zeros(2), jax.random.key(0))[2] == 1
    positions, rewards = walk(environment, jnp.ones((60, 1, 2)), jax.random.key(1))
    assert 15 <= int(np.argmax(positions[:, 0, 0] > 0.95)) <= 40
    assert rewards.sum() > 0


@pytest.mark.parametrize("kind", ["constant_reward", "discounted", "observation_action", "truncation", "skill"])
def test_probes(kind):
    environment = probe.make(kind=kind)
    testing.check_environment(environment)
    state, observation = environment.reset(jax.random.key(3))
    rewards, ends, seen = [], [], []
    for _ in range(environment.spec.shortest_episode):
        state, seen_now, reward, terminated = environment.step(state, jnp.array([0.25]), jax.random.key(0))
        rewards.append(float(reward))
        ends.append(bool(terminated))
        seen.append(float(seen_now[0]))
    expected = {
        "constant_reward": ([1], [True]),
        "discounted": ([0, 1], [False, True]),
        "observation_action": ([1 - (0.25 - 0.5 * float(observation[0])) ** 2], [True]),
        "truncation": ([1] * 5, [False] * 5),
        "skill": ([0] * 3, [False] * 3),
    }[kind]
    np.testing.assert_allclose(rewards, expected[0], rtol=1e-6)
    assert ends == expected[1]
    if kind == "skill":
        assert seen == [0.25] * 3
    if kind == "discounted":
        assert (float(observation[0]), seen) == (0.0, [1.0, 2.0])


def test_brax_steps_terminates_and_starts_afresh():
    environment = brax.make(name="inverted_pendulum", episode_length=50)
    testing.check_environment(environment)
    states, observations = jax.jit(jax.vmap(environment.reset))(jax.random.split(jax.random.key(0), 4))
    assert len(np.unique(np.asarray(observations)[:, 0])) == 4

    def step(state, _):
        state, observation, _, terminated = jax.vmap(environment.step, in_axes=(0, None, None))(
            state, jnp.ones((1,)), jax.random.key(0)
        )
        return state, (observation, terminated, jax.vmap(environment.position)(state))

    _, (observations, terminated, positions) = jax.jit(lambda s: jax.lax.scan(step, s, None, length=40))(states)
    assert np.asarray(terminated)[-1].all(), "pushed to one side, the pole falls"
    assert not np.asarray(terminated)[0].any()
    np.testing.assert_allclose(positions, observations[..., :2], atol=1e-5)


@pytest.mark.parametrize("name", ["halfcheetah", "ant"])
def test_brax_layouts_by_shape_alone(name):
    environment = brax.make(name=name)
    state, observation = jax.eval_shape(environment.reset, jax.random.key(0))
    after = jax.eval_shape(environment.step, state, jnp.zeros(environment.spec.action_shape), jax.random.key(0))
    testing.same_layout((state, observation), after[:2], name)
    assert observation.shape == environment.spec.observation_shape
    assert (environment.spec.shortest_episode < 1000) == (name == "ant")


def test_an_unknown_brax_name_gets_its_neighbours():
    with pytest.raises(UserError, match="halfcheetah"):
        brax.make(name="halfcheeta")


def test_modules_named_after_libraries_do_not_shadow_them():
    assert importlib.import_module("brax").__name__ == "brax"
