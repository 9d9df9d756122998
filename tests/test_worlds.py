"""Continuous worlds: their dynamics against Gymnasium, MuJoCo and closed forms, and where they give rewards."""

import gymnasium
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from infojax import testing
from infojax.envs import ant_maze, brax, cartpole_swingup, halfcheetah_sparse, mountain_car, pendulum
from infojax.envs import gymnasium as host
from infojax.types import Environment

COUNT = 400
STEP_KEY = jax.random.key(0)


def stepped(environment, states, actions, key=STEP_KEY):
    """One step of many states under their own actions [N, A] and keys."""
    step = jax.jit(jax.vmap(environment.step), compiler_options=testing.QUICK)
    return step(states, jnp.asarray(actions, jnp.float32), jax.random.split(key, len(actions)))


def draw(low, high, seed=0, count=COUNT):
    return np.random.default_rng(seed).uniform(low, high, (count, len(low))).astype(np.float32)


# Mountain car


def cars(position, velocity, noise=None):
    position, velocity = (jnp.asarray(array, jnp.float32) for array in (position, velocity))
    noise = jnp.zeros_like(position) if noise is None else jnp.asarray(noise, jnp.float32)
    return mountain_car.MountainCarState(position, velocity, noise, jnp.zeros(position.shape, bool))


def test_the_car_moves_as_gymnasiums_at_the_wall_and_at_the_goal():
    environment = mountain_car.make()
    testing.check_environment(environment)
    before = draw((-1.2, -0.07), (0.6, 0.07))
    before[:60] = draw((-1.2, -0.07), (-1.18, -0.02), seed=1, count=60)  # these run into the wall
    before[60:120] = draw((0.42, -0.02), (0.48, 0.03), seed=2, count=60)  # and these over the border of the goal
    actions = draw((-1.0,), (1.0,), seed=3)
    _, observations, rewards, ended = stepped(environment, cars(*before.T), actions)
    theirs = gymnasium.make("MountainCarContinuous-v0").unwrapped
    expected = []
    for state, action in zip(before, actions, strict=True):
        theirs.reset()
        theirs.state = state.copy()
        observation, reward, terminated, _, _ = theirs.step(action)
        expected.append((observation, reward, terminated))
    found, reward, terminated = (np.asarray(column) for column in zip(*expected, strict=True))
    np.testing.assert_allclose(observations, found, atol=2e-7)  # a unit in the last place of a position
    np.testing.assert_allclose(rewards, reward, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(ended, terminated)
    assert 20 < terminated.sum() < 200
    stopped = (found[:, 0] == np.float32(-1.2)) & (found[:, 1] == 0)
    assert stopped.sum() > 20


def test_a_car_follows_gymnasiums_for_a_whole_episode():
    environment = mountain_car.make()
    theirs = gymnasium.make("MountainCarContinuous-v0").unwrapped
    theirs.reset(seed=1)
    theirs.state = np.array([-0.5, 0.0], np.float32)
    begun = jax.tree.map(lambda leaf: leaf[0], cars([-0.5], [0.0]))

    def forward(state, _):
        action = jnp.where(state.velocity < 0, -1.0, 1.0)[None]
        state, observation, _, terminated = environment.step(state, action, STEP_KEY)
        return state, (observation, action, terminated)

    _, (observations, actions, ended) = jax.jit(lambda s: jax.lax.scan(forward, s, None, length=120))(begun)
    length = int(np.argmax(ended)) + 1
    assert environment.spec.shortest_episode < length < 120, "full force along the velocity is about the quickest way"
    for index in range(length):
        observation, _, terminated, _, _ = theirs.step(np.asarray(actions[index]))
        np.testing.assert_allclose(observations[index], observation, atol=1e-5)
        assert terminated == (index == length - 1)


@pytest.mark.parametrize("noise", ["frozen", "evolving"])
def test_the_remote_control_redraws_the_noise_and_nothing_else_does(noise):
    environment = mountain_car.make(reward="sparse", action_cost=0.2, noise=noise, episode_length=100)
    testing.check_environment(environment)
    before = draw((-1.1, -0.03, -1.0), (0.3, 0.03, 1.0))
    actions = draw((-1.0, -1.0), (1.0, 1.0), seed=3)
    actions[0, 1], actions[1, 1] = 0.0, 1e-6  # strictly above 0
    pressed = actions[:, 1] > 0
    assert (bool(pressed[0]), bool(pressed[1])) == (False, True)
    after, observations, rewards, _ = stepped(environment, cars(*before.T), actions)
    observations = np.asarray(observations)
    # What the car itself does, by the car without noise, which the tests above compare with Gymnasium's.
    force = np.where(pressed, 0, actions[:, 0])[:, None]
    moved = np.array(stepped(mountain_car.make(), cars(*before[:, :2].T), force)[1])
    if noise == "frozen":
        moved[pressed] = before[pressed, :2]
    np.testing.assert_array_equal(observations[:, :2], moved)
    np.testing.assert_array_equal(observations[~pressed, 2], before[~pressed, 2])
    assert (observations[pressed, 2] != before[pressed, 2]).all()
    np.testing.assert_allclose(rewards, -0.2 * force[:, 0] ** 2, rtol=1e-6)  # a force that is not exerted costs nothing
    measured = jax.vmap(environment.measures)(after)
    np.testing.assert_array_equal(measured["noise_on"], pressed)
    # Uniform on (−1, 1): the law of what is shown, whatever was there before, by Kolmogorov and Smirnov.
    count = 4000
    shown = stepped(environment, cars(np.zeros(count), np.zeros(count), np.ones(count)), np.ones((count, 2)))[1][:, 2]
    levels = (np.sort(np.asarray(shown)) + 1) / 2
    assert np.abs(levels - (np.arange(count) + 0.5) / count).max() < 1.95 / np.sqrt(count)  # a level of 0.001


def test_the_sparse_car_is_rewarded_at_the_goal_alone():
    environment = mountain_car.make(reward="sparse", action_cost=0.0, goal_terminates=False, episode_length=100)
    velocity = np.array([0.02, 0.02, -0.01, 0.0])
    place = np.array([0.45 - 0.015, 0.45 - 0.03, 0.47, 0.5])
    after, _, rewards, ended = stepped(environment, cars(place, velocity), np.array([[0.0], [0.0], [0.0], [1.0]]))
    np.testing.assert_array_equal(rewards, [1, 0, 0, 1])  # over it, not yet there, going back, from rest
    np.testing.assert_array_equal(jax.vmap(environment.measures)(after)["goal"], rewards)
    assert not np.asarray(ended).any()
    assert environment.spec.shortest_episode == 100
    assert set(environment.measures(jax.tree.map(lambda leaf: leaf[0], after))) == {"goal"}


# Pendulum


def test_the_pendulum_swings_as_gymnasiums():
    environment = pendulum.make()
    testing.check_environment(environment)
    before = draw((-np.pi, -8.0), (np.pi, 8.0))
    actions = draw((-2.0,), (2.0,), seed=3)
    after, observations, rewards, _ = stepped(environment, pendulum.PendulumState(*jnp.asarray(before.T)), actions)
    theirs = gymnasium.make("Pendulum-v1").unwrapped
    theirs.reset(seed=0)
    for index, (state, action) in enumerate(zip(before, actions, strict=True)):
        theirs.state = state.astype(np.float64)
        observation, reward, _, _, _ = theirs.step(action.astype(np.float64))
        np.testing.assert_allclose(observations[index], observation, atol=3e-6)
        np.testing.assert_allclose(rewards[index], reward, rtol=1e-6, atol=1e-6)
    assert (np.abs(after.angle) <= np.float32(np.pi)).all()


def test_the_sparse_pendulum_is_rewarded_near_upright_and_starts_hanging():
    environment = pendulum.make(reward="sparse", action_cost=0.1, start="hanging")
    degrees = np.radians([7.9, 8.1, -7.9, -8.1, 180.0])
    states = pendulum.PendulumState(
        jnp.asarray(degrees, jnp.float32), jnp.asarray(-0.75 * np.sin(degrees), jnp.float32)
    )
    # The speed above is what gravity adds in a step, so that the pendulum stays where it is.
    after, _, rewards, _ = stepped(environment, states, np.zeros((5, 1)))
    np.testing.assert_allclose(after.angle[:4], degrees[:4], atol=1e-5)
    np.testing.assert_array_equal(rewards, [1, 0, 1, 0, 0])
    np.testing.assert_array_equal(jax.vmap(environment.measures)(after)["upright"], rewards)
    costly = stepped(environment, states, np.full((5, 1), -1.5))[2]
    np.testing.assert_allclose(sorted(costly), [-0.225] * 3 + [0.775] * 2, rtol=1e-6)
    begun, _ = jax.vmap(environment.reset)(jax.random.split(STEP_KEY, 200))
    assert (np.cos(begun.angle) < -0.99).all() and (np.abs(begun.speed) < 0.1).all()
    assert 0.2 < (np.asarray(begun.angle) > 0).mean() < 0.8  # on either side


# Cartpole


def poles(columns):
    return cartpole_swingup.CartpoleState(*(jnp.asarray(column, jnp.float32) for column in np.transpose(columns)))


ROD = """
<mujoco>
  <compiler angle="radian"/>
  <option gravity="0 0 -9.81"/>
  <worldbody>
    <body>
      <inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/>
      <joint type="slide" axis="1 0 0" damping="5e-4"/>
      <body>
        <inertial pos="0 0 0.5" mass="0.1" diaginertia="0.008333333333333333 0.008333333333333333 1e-9"/>
        <joint type="hinge" axis="0 1 0" damping="2e-6"/>
      </body>
    </body>
  </worldbody>
  <actuator><motor joint="slide" gear="1"/></actuator>
</mujoco>
"""


def test_the_equations_of_the_cart_and_its_pole_are_mujocos():
    model = mujoco.MjModel.from_xml_string(ROD.replace('type="slide"', 'name="slide" type="slide"'))
    data = mujoco.MjData(model)
    states = draw((-1.8, -np.pi, -5.0, -15.0), (1.8, np.pi, 5.0, 15.0), count=50)
    forces = draw((-10.0,), (10.0,), seed=1, count=50)[:, 0]
    found = jax.jit(jax.vmap(cartpole_swingup.accelerations))(poles(states), jnp.asarray(forces))
    for index, (state, force) in enumerate(zip(states, forces, strict=True)):
        data.qpos[:], data.qvel[:], data.ctrl[:] = state[:2], state[2:], force
        mujoco.mj_forward(model, data)
        np.testing.assert_allclose([found[0][index], found[1][index]], data.qacc, rtol=2e-5, atol=2e-4)


def energy(state):
    angle, speed, spin = (np.asarray(column, np.float64) for column in state[1:])
    moving = 0.5 * 1.1 * speed**2 + 0.05 * speed * spin * np.cos(angle) + 0.5 * 0.1 / 3 * spin**2
    return moving + 0.1 * 9.81 * 0.5 * np.cos(angle)


def test_without_friction_the_cart_and_its_pole_keep_their_energy_and_swing_at_the_known_rate():
    begun = poles([[0.0, 3.0, 0.0, 0.0], [0.0, 0.5, 0.3, 2.0], [0.0, np.pi - 0.02, 0.0, 0.0]])

    def free(state, _):
        state = jax.vmap(lambda one: cartpole_swingup.moved(one, jnp.zeros(()), friction=False))(state)
        return state, state

    seen = jax.jit(lambda s: jax.lax.scan(free, s, None, length=1000)[1])(begun)  # ten seconds
    spent = energy(seen) - energy(begun)
    assert np.abs(spent).max() < 5e-5, (
        "of about half a joule"
    )  # rounding; Euler's steps would lose hundreds of times it
    momentum = 1.1 * np.asarray(seen.speed) + 0.05 * np.asarray(seen.spin) * np.cos(np.asarray(seen.angle, np.float64))
    assert np.abs(momentum - momentum[:1]).max() < 1e-5
    # Hanging and swinging a little, with the cart free: ω² = g (M + m) / (l (4/3 (M + m) − m)).
    rate = np.sqrt(9.81 * 1.1 / (0.5 * (4 / 3 * 1.1 - 0.1)))
    times = 0.01 * np.arange(1, 1001)
    np.testing.assert_allclose(np.asarray(seen.angle)[:, 2] - np.pi, -0.02 * np.cos(rate * times), atol=3e-4)


@pytest.mark.parametrize("reward", ["sparse", "dense"])
def test_the_cart_stays_on_its_rail_and_is_rewarded_where_the_task_says(reward):
    environment = cartpole_swingup.make(reward=reward, action_cost=0.3)
    testing.check_environment(environment)
    angle = np.arccos(0.995)
    states = [[0.0, 0.9 * angle, 0.0, 0.0], [0.0, 1.1 * angle, 0.0, 0.0], [0.24, 0.0, 0.0, 0.0], [0.26, 0.0, 0.0, 0.0]]
    states += [[1.79, np.pi, 4.0, 0.0], [-1.79, 0.5, -4.0, 1.0], [1.7, np.pi, -1.0, 9.0]]
    action = np.array([[0.0], [0.0], [0.0], [0.0], [1.0], [-0.5], [0.5]])
    after, observations, rewards, _ = stepped(environment, poles(states), action)
    place, cosine, sine, speed, spin = np.asarray(observations, np.float64).T
    if reward == "sparse":
        task = [1, 0, 1, 0, 0, 0, 0]
    else:
        nearness = (1 + 0.1 ** ((place / 2) ** 2)) / 2 * (1 + 0.1 ** ((spin / 5) ** 2)) / 2
        task = (1 + cosine) / 2 * nearness * (5 - action[:, 0] ** 2) / 5
    np.testing.assert_allclose(rewards, task - 0.3 * action[:, 0] ** 2, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.asarray(after.angle), np.arctan2(sine, cosine), atol=1e-6)
    # Stopped at either end; the pole goes on, faster where it hung.
    np.testing.assert_allclose(place[4:6], [1.8, -1.8], rtol=1e-6)
    np.testing.assert_array_equal(speed[4:6], [0, 0])
    assert spin[4] < -5 and abs(place[6]) < 1.7
    end = poles([[1.8, np.pi, 4.0, 0.0]])
    np.testing.assert_allclose(cartpole_swingup._stopped(end).spin, -1.5 * 4.0, rtol=1e-6)
    assert energy(cartpole_swingup._stopped(end))[0] < energy(end)[0]


# Brax


def layout(environment):
    """That a step keeps what a reset gave, without compiling the physics."""
    state, observation = jax.eval_shape(environment.reset, jax.random.key(0))
    action = jnp.zeros(environment.spec.action_shape)
    after, following, reward, terminated = jax.eval_shape(environment.step, state, action, jax.random.key(0))
    testing.same_layout((state, observation), (after, following), environment.spec.name)
    assert (reward.shape, reward.dtype, terminated.dtype) == ((), jnp.float32, jnp.bool_)
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), state)


@pytest.fixture(scope="module")
def maze():
    """Ants in the maze, thrown from places by hand: what happens in 16 steps without action."""
    environment = ant_maze.make(block=2.0)
    layout(environment)
    physics = ant_maze.load(2.0, "spring")

    def thrown(place, velocity):
        pose = jnp.array([0.6, 1, 0, 0, 0, 0, 1, 0, -1, 0, -1, 0, 1], jnp.float32)
        q, qd = jnp.concatenate([place, pose]), jnp.concatenate([velocity, jnp.zeros(12)])
        begun = brax.BraxState(brax._strong(brax.scoped(physics.pipeline_init, q, qd)), {})
        state = ant_maze.AntMazeState(begun, jnp.zeros((), jnp.float32))

        def step(state, _):
            state, _, reward, terminated = environment.step(state, jnp.zeros(8), STEP_KEY)
            return state, (environment.position(state), reward, environment.measures(state), terminated)

        return jax.lax.scan(step, state, None, length=16)[1]

    return jax.jit(jax.vmap(thrown), compiler_options=testing.QUICK)


def test_ants_are_stopped_by_walls_and_rewarded_in_the_last_block(maze):
    places = np.array([(0, 0), (0, 0), (4, 4), (4, 4), (1, 0), (1, 4), (4, 2), (1.3, 4), (0, 4), (1.5, 0)], np.float32)
    velocities = np.array([(-1, 0), (0, -1), (1, 0), (0, 1), (0, 1), (0, -1), (-1, 0), (-1, 0), (0, 0), (1, 0)]) * 6.0
    positions, rewards, measured, terminated = maze(jnp.asarray(places), jnp.asarray(velocities, jnp.float32))
    positions, furthest = np.asarray(positions), np.asarray(measured["furthest_block"])
    assert np.isfinite(positions).all() and not np.asarray(terminated).any()
    x, y = positions[..., 0], positions[..., 1]
    assert x.min() > -1 and x.max() < 5 and y.min() > -1 and y.max() < 5
    assert not ((x < 3) & (y > 1) & (y < 3)).any(), "in the inner wall"
    moved = np.linalg.norm(positions[:, -1] - places, axis=1)
    assert moved[[7, 9]].min() > 0.7, "with nothing in the way an ant goes on"
    inside = (x < 1) & (y > 3)
    np.testing.assert_array_equal(rewards, inside)
    np.testing.assert_array_equal(measured["goal"], inside)
    assert inside[8].all() and inside[7].any() and not inside[7].all(), "on both sides of the border of the last block"
    column, row = np.digitize(x, (1, 3)), np.digitize(y, (1, 3))
    block = np.array([[0, 1, 2], [0, 0, 3], [6, 5, 4]])[row, column]
    np.testing.assert_array_equal(furthest, np.maximum.accumulate(block, axis=1))
    assert {0, 2, 3, 4, 6} <= set(furthest[:, -1].astype(int).tolist())


def test_the_blocks_of_the_maze_are_numbered_along_the_way():
    way = np.array([(0, 0), (2, 0), (4, 0), (4, 2), (4, 4), (2, 4), (0, 4)], np.float32)
    for shift in (-0.9, 0.9):
        assert [int(ant_maze.block_of(jnp.asarray(place + shift), 2.0)) for place in way] == list(range(7))
    assert [int(ant_maze.block_of(jnp.asarray(2 * place), 4.0)) for place in way] == list(range(7))
    assert [int(ant_maze.block_of(jnp.array(place), 2.0)) for place in ((0.0, 2.0), (2.0, 2.0))] == [0, 0]


def test_the_half_cheetah_is_rewarded_past_its_goal_alone(monkeypatch):
    environment = halfcheetah_sparse.make(goal_x=5.0)
    blank = layout(environment)
    assert environment.spec.cells == (10, 10) and environment.spec.position_high == (9, 18)
    there = blank._replace(
        physics=blank.physics.replace(q=blank.physics.q.at[0].set(5.01), qd=jnp.arange(9, dtype=jnp.float32))
    )
    np.testing.assert_array_equal(environment.position(there), [0, 2])  # of x and of the pitch
    assert environment.measures(there)["goal"] == 1 and environment.measures(blank)["goal"] == 0

    # Where a step leads is brax'; in its place, a step that moves the body along x by the first action.
    def slide(*_):
        def step(state, action, key):
            moved = state.physics.replace(q=state.physics.q.at[0].add(action[0]))
            return state._replace(physics=moved), jnp.zeros(17), jnp.full((), 7.0), jnp.zeros((), bool)

        return Environment(environment.spec, environment.reset, step, environment.position)

    monkeypatch.setattr(halfcheetah_sparse, "wrap", slide)
    sliding = halfcheetah_sparse.make(goal_x=5.0)
    rewards = [float(sliding.step(there, jnp.array([shift]), STEP_KEY)[2]) for shift in (0.0, -0.02, 0.5)]
    assert rewards == [1, 0, 1]


def test_coverage_counts_the_papers_cells_on_every_world():
    assert brax.make(name="ant").spec.cells == (20, 20)
    assert brax.make(name="halfcheetah").spec.cells == (20,)
    ours, theirs = mountain_car.make().spec, host.make(id="MountainCarContinuous-v0").spec
    assert ours.cells == (10, 10) and theirs.cells in ((), (10, 10))  # 10 along each of two is what () stands for
    for name in ("position_names", "position_low", "position_high", "observation_shape", "low", "high"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.episode_length == theirs.episode_length
