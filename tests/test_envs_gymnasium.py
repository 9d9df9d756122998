"""Gymnasium on the host: same-step autoreset, termination apart from truncation, and exact continuation."""

import gymnasium
import numpy as np
import pytest

from infojax import testing
from infojax.envs import gymnasium as host
from infojax.types import UserError

IDS = ["CartPole-v1", "Pendulum-v1", "MountainCarContinuous-v0", "Acrobot-v1", "HalfCheetah-v5", "Hopper-v5", "Ant-v5"]


@pytest.mark.parametrize("id", IDS)
def test_a_saved_batch_continues_bit_for_bit(id):
    testing.check_host_environment(host.make(id=id, episode_length=45), num_steps=60)


def test_steps_are_those_of_the_single_environment_and_keep_the_last_observation():
    batch = host.make(id="CartPole-v1").create(2)
    seeds = np.random.SeedSequence(3).generate_state(2)
    singles = [gymnasium.make("CartPole-v1") for _ in range(2)]
    expected = np.stack([env.reset(seed=int(seed))[0] for env, seed in zip(singles, seeds, strict=True)])
    observation = batch.reset(3)
    np.testing.assert_array_equal(observation, expected)
    assert not np.array_equal(observation[0], observation[1])
    ends = 0
    for _ in range(30):
        after = batch.step(np.array([1, 0]))
        for index, env in enumerate(singles):
            final, reward, terminated, truncated, _ = env.step([1, 0][index])
            np.testing.assert_array_equal(after.final_observation[index], final)
            assert (after.reward[index], after.terminated[index], after.truncated[index]) == (
                reward,
                terminated,
                truncated,
            )
            if terminated:
                ends += 1
                assert after.first[index]
                assert not np.array_equal(after.observation[index], final)
                np.testing.assert_array_equal(after.observation[index], env.reset()[0])
            else:
                np.testing.assert_array_equal(after.observation[index], final)
    assert ends >= 4


def test_a_time_limit_truncates_and_does_not_terminate():
    factory = host.make(id="Pendulum-v1", episode_length=7)
    batch = factory.create(1)
    batch.reset(0)
    ends = [(bool(t.terminated[0]), bool(t.truncated[0])) for t in (batch.step(np.zeros((1, 1))) for _ in range(14))]
    assert ends == ([(False, False)] * 6 + [(False, True)]) * 2
    assert (factory.spec.low, factory.spec.high, factory.spec.episode_length) == ((-2.0,), (2.0,), 7)


def test_discrete_spaces():
    spec = host.make(id="FrozenLake-v1").spec
    assert (spec.num_actions, spec.action_shape, spec.observation_shape) == (4, (), (16,))
    observation = host.make(id="FrozenLake-v1").create(2).reset(0)
    np.testing.assert_array_equal(observation, np.eye(16, dtype=np.float32)[[0, 0]])


def test_positions_of_bodies_are_their_coordinates_before_the_reset():
    batch = host.make(id="HalfCheetah-v5", episode_length=20).create(1)
    batch.reset(0)
    positions = [batch.step(np.ones((1, 6), np.float32)) and batch.position()[0, 0] for _ in range(20)]
    assert np.ptp(positions) > 0.05
    assert abs(positions[-1] - positions[-2]) < 0.5, "the last position is the moved one, not the fresh one"


@pytest.mark.parametrize(
    ("id", "words"),
    [
        ("HalfCheetah-v55", "HalfCheetah"),
        ("NoSuchThing-v0", "not a Gymnasium environment"),
        ("Blackjack-v1", "Tuple"),
    ],
)
def test_what_cannot_be_used_is_said(id, words):
    with pytest.raises(UserError, match=words):
        host.make(id=id, episode_length=5)
