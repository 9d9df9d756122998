"""Gymnasium environments in batches: autoreset, time limits, saving, and what users get wrong."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest

from infojax import testing
from infojax.envs.gymnasium import make
from infojax.types import UserError

BOX = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)


class Custom(gymnasium.Env):
    """Walks on whatever spaces it is given; its generator cannot be pickled if `awkward`."""

    def __init__(self, action_space=BOX, observation_space=BOX, awkward=False):
        self.action_space, self.observation_space = action_space, observation_space
        self.count = 0
        if awkward:
            self.steps = (step for step in range(10))

    def observe(self):
        if isinstance(self.observation_space, gymnasium.spaces.Discrete):
            return int(self.observation_space.start) + self.count % int(self.observation_space.n)
        return np.full(self.observation_space.shape, self.count, self.observation_space.dtype)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return self.observe(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.count += 1
        return self.observe(), float(self.np_random.random()), False, False, {}


@pytest.fixture
def custom():
    """Registers a Custom with these arguments for the length of a test and gives its id."""
    names = []

    def register(limit=5, **arguments):
        names.append(f"Custom{len(names)}-v0")
        gymnasium.register(names[-1], Custom, max_episode_steps=limit, kwargs=arguments)
        return names[-1]

    yield register
    for name in names:
        del gymnasium.registry[name]


@pytest.mark.parametrize(
    "id",
    [
        "CartPole-v1",
        "Pendulum-v1",
        "MountainCarContinuous-v0",
        "Acrobot-v1",
        "HalfCheetah-v5",
        "Hopper-v5",
        "Ant-v5",  # rewards the change of body positions, which lag behind the joints
        "Humanoid-v5",
        "HalfCheetah-v4",
        "FrozenLake-v1",
        "phys2d/CartPole-v1",  # functional, in jax
    ],
)
def test_battery(id):
    testing.check_host_environment(make(id=id), num_steps=60)


@pytest.mark.parametrize("id", ["CartPole-v1", "Hopper-v5"])
def test_autoreset_is_that_of_a_single_environment(id):
    """Observations before and after resets, rewards and ends are what the environments give one by one."""
    factory = make(id=id)
    batch = factory.create(3)
    seeds = np.random.SeedSequence(11).generate_state(3)
    singles = [gymnasium.make(id) for _ in seeds]
    opening = [env.reset(seed=int(seed))[0] for env, seed in zip(singles, seeds, strict=True)]
    np.testing.assert_array_equal(batch.reset(11), np.asarray(opening, np.float32))
    generator, ends = np.random.default_rng(0), 0
    for _ in range(80):
        actions = np.asarray(testing.example_action(factory.spec, 3, generator))
        timestep = batch.step(actions)
        for index, env in enumerate(singles):
            final, reward, terminated, truncated, _ = env.step(actions[index])
            done = terminated or truncated
            observation = env.reset()[0] if done else final
            np.testing.assert_array_equal(timestep.final_observation[index], final.astype(np.float32))
            np.testing.assert_array_equal(timestep.observation[index], observation.astype(np.float32))
            assert timestep.reward[index] == np.float32(reward)
            assert timestep.terminated[index] == terminated and timestep.truncated[index] == truncated
            assert timestep.first[index] == done
            assert done == (timestep.final_observation[index] != timestep.observation[index]).any()
            ends += done
    assert ends > 3
    batch.close()


def test_termination():
    batch = make(id="CartPole-v1").create(2)
    batch.reset(0)
    steps = [batch.step(np.ones(2, np.int32)) for _ in range(15)]
    assert np.any([step.terminated for step in steps], axis=0).all()
    assert not np.any([step.truncated for step in steps])


@pytest.mark.parametrize("id, given, length", [("Pendulum-v1", None, 200), ("Pendulum-v1", 7, 7), ("Ant-v5", 3, 3)])
def test_truncation(id, given, length):
    factory = make(id=id, episode_length=given)
    assert factory.spec.episode_length == length
    batch = factory.create(1)
    batch.reset(0)
    action = np.zeros((1, *factory.spec.action_shape), np.float32)
    steps = [batch.step(action) for _ in range(2 * length)]
    ends = np.arange(1, 2 * length + 1) % length == 0
    np.testing.assert_array_equal([step.truncated[0] for step in steps], ends)
    np.testing.assert_array_equal([step.first[0] for step in steps], ends)
    assert not any(step.terminated[0] for step in steps)


def test_an_end_by_task_and_clock_is_the_task_s():
    batch = make(id="CartPole-v1").create(1)
    batch.reset(0)
    length = next(count for count in range(1, 30) if batch.step(np.ones(1, np.int32)).terminated[0])
    limited = make(id="CartPole-v1", episode_length=length).create(1)
    limited.reset(0)
    last = [limited.step(np.ones(1, np.int32)) for _ in range(length)][-1]
    assert last.terminated[0] and not last.truncated[0] and last.first[0]


def test_seeds():
    """Environments of a batch differ, batches of one seed agree, and a larger batch begins like a smaller one."""
    factory = make(id="Pendulum-v1")
    one, two = factory.create(4), factory.create(6)
    first = one.reset(3)
    assert len(np.unique(first, axis=0)) == 4
    np.testing.assert_array_equal(first, two.reset(3)[:4])
    assert (first != one.reset(4)).any()
    np.testing.assert_array_equal(first, one.reset(3))


@pytest.mark.parametrize(
    "id, names",
    [
        ("HalfCheetah-v5", ("x", "z")),
        ("Swimmer-v5", ("x", "y")),
        ("Pendulum-v1", ("cos", "sin")),
        ("MountainCar-v0", ("position", "velocity")),
        ("FrozenLake-v1", ("state",)),
    ],
)
def test_positions(id, names):
    factory = make(id=id, episode_length=2)
    spec = factory.spec
    assert spec.position_names == names
    assert len(spec.position_low) == len(spec.position_high) == len(names)
    assert np.isfinite((spec.position_low, spec.position_high)).all()
    assert (np.asarray(spec.position_low) < spec.position_high).all()
    batch = factory.create(2)
    batch.reset(0)
    assert batch.position().shape == (2, len(names)) and batch.position().dtype == np.float32


def test_position_is_that_before_the_reset():
    factory = make(id="Hopper-v5", episode_length=2)
    batch, unlimited = factory.create(1), make(id="Hopper-v5").create(1)
    batch.reset(0), unlimited.reset(0)
    before = batch.position()
    for _ in range(2):
        ends, goes_on = batch.step(np.ones((1, 3), np.float32)), unlimited.step(np.ones((1, 3), np.float32))
    assert ends.truncated[0] and not goes_on.truncated[0]
    np.testing.assert_array_equal(batch.position(), unlimited.position())
    assert (batch.position() != before).any()
    pendulum = make(id="Pendulum-v1", episode_length=1).create(1)
    pendulum.reset(0)
    final = pendulum.step(np.zeros((1, 1), np.float32)).final_observation
    np.testing.assert_array_equal(pendulum.position(), final[:, :2])


def test_spaces(custom):
    """Discrete spaces may begin anywhere; boxes keep their shape; half-open boxes get a finite box of positions."""
    discrete = gymnasium.spaces.Discrete(3, start=5)
    factory = make(id=custom(action_space=discrete, observation_space=discrete))
    assert factory.spec.num_actions == 3 and factory.spec.action_shape == () and factory.spec.low == ()
    batch = factory.create(1)
    np.testing.assert_array_equal(batch.reset(0), [[1, 0, 0]])
    np.testing.assert_array_equal(batch.step(np.asarray([2])).observation, [[0, 1, 0]])
    np.testing.assert_array_equal(batch.position(), [[6]])
    image = gymnasium.spaces.Box(0, 255, (2, 3, 1), np.uint8)
    factory = make(id=custom(observation_space=image))
    assert factory.spec.observation_shape == (2, 3, 1)
    assert factory.spec.low == (-1.0, -1.0) and factory.spec.high == (1.0, 1.0)
    testing.check_host_environment(factory)
    open_box = gymnasium.spaces.Box(np.array([0, -np.inf]), np.array([np.inf, 3]), dtype=np.float64)
    spec = make(id=custom(observation_space=open_box)).spec
    assert spec.position_low == (0, -17) and spec.position_high == (20, 3)


def test_actions_are_kept_within_bounds(custom):
    batch = make(id=custom()).create(1)
    batch.reset(0)
    batch.step(np.asarray([[1.0000001, -1.5]], np.float32))
    with pytest.raises(UserError, match=r"\(1, 3\).*\(1, 2\)"):
        batch.step(np.zeros((1, 3)))


@pytest.mark.parametrize(
    "id, message",
    [
        ("HalfCheeta-v5", "HalfCheetah-v5"),
        ("CartPole-v7", "CartPole-v1"),
        ("nowhere/CartPole-v1", "CartPole-v1"),
        ("no_such_module_at_all:Thing-v0", "no_such_module_at_all"),
        ("not an id", "not an id"),
        ("Ant-v2", "gymnasium-robotics"),
        ("Blackjack-v1", "Tuple"),
        ("CliffWalking-v1", r"env\.episode_length=1000"),
    ],
)
def test_ids_that_do_not_work(id, message):
    with pytest.raises(UserError, match=message):
        make(id=id)


def test_a_time_limit_can_be_given_where_there_is_none():
    assert make(id="CliffWalking-v1", episode_length=30).spec.episode_length == 30


def test_a_missing_package():
    def entry(**_):
        raise gymnasium.error.DependencyNotInstalled('run `pip install "gymnasium[box2d]"`')

    gymnasium.register("Lacking-v0", entry)
    try:
        with pytest.raises(UserError, match=r"Lacking-v0.*gymnasium\[box2d\]"):
            make(id="Lacking-v0")
    finally:
        del gymnasium.registry["Lacking-v0"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"action_space": gymnasium.spaces.Box(-np.inf, np.inf, (2,))}, "infinite"),
        ({"action_space": gymnasium.spaces.MultiDiscrete([2, 3])}, "MultiDiscrete"),
        ({"action_space": gymnasium.spaces.Box(0, 9, (2,), np.int32)}, "int32"),
        ({"observation_space": gymnasium.spaces.Dict({"a": BOX})}, "Dict.*FlattenObservation"),
    ],
)
def test_spaces_that_do_not_work(custom, arguments, message):
    with pytest.raises(UserError, match=message):
        make(id=custom(**arguments))


def test_what_cannot_be_saved(custom):
    batch = make(id=custom(awkward=True)).create(1)
    batch.reset(0)
    with pytest.raises(UserError, match="`steps` of Custom"):
        batch.save()


def test_a_batch_of_another_size():
    factory = make(id="Pendulum-v1")
    two, three = factory.create(2), factory.create(3)
    two.reset(0)
    with pytest.raises(UserError, match="2 environments, this one 3"):
        three.restore(two.save())


def test_yaml():
    folder = Path(__file__).parents[1] / "configs" / "env" / "gymnasium"
    testing.check_yaml(folder / "any.yaml", make)
