"""The bandit study: its information gain, its posterior, and regret that grows sublinearly."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from infojax.info import gaussian

PATH = Path(__file__).parents[1] / "experiments" / "bandits" / "run.py"


@pytest.fixture(scope="module")
def study():
    specification = importlib.util.spec_from_file_location("bandit_study", PATH)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_beliefs_and_information_are_those_of_a_gaussian_bandit(study):
    pulls, rewards = np.array([0.0, 1.0, 7.0]), np.array([0.0, 2.0, -3.0])
    beliefs = study.Beliefs(jnp.asarray(pulls, jnp.float32), jnp.asarray(rewards, jnp.float32))
    np.testing.assert_allclose(beliefs.variance, 1 / (1 + pulls), rtol=1e-6)
    np.testing.assert_allclose(beliefs.mean, rewards / (1 + pulls), rtol=1e-6)
    for arm, gain in enumerate(np.asarray(study.information_gain(beliefs))):
        one_pull = gaussian.information_gain(jnp.ones((1, 1)), beliefs.variance[arm] * jnp.eye(1), 1.0)
        assert gain == pytest.approx(float(one_pull), rel=1e-5)


def test_the_informative_arm_is_the_least_pulled(study):
    beliefs = study.Beliefs(jnp.array([3.0, 1.0, 1.0]), jnp.zeros(3))
    arms = {int(study.most_informative(beliefs, jax.random.key(seed))) for seed in range(20)}
    assert arms == {1, 2}


def test_regret_is_sublinear(study):
    def found(name):
        regret = np.asarray(study.played(name, 100, 10, 2000, 50)[0], np.float64)
        return study.slope(np.arange(50, 2001, 50), regret)

    assert found("epsilon-MaxInfoRL") < 0.8
    assert found("Boltzmann MaxInfoRL") < 0.65
