"""The cart and its pole, transition by transition beside Gymnasium's own."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from infojax import testing
from infojax.envs import cartpole


def test_every_transition_is_gymnasiums():
    environment = cartpole.make()
    testing.check_environment(environment, jnp.zeros((), jnp.int32))
    step = jax.jit(environment.step, compiler_options=testing.QUICK)
    state, _ = environment.reset(jax.random.key(0))
    peer = gymnasium.make("CartPole-v1").unwrapped
    peer.reset(seed=0)
    generator, ends = np.random.default_rng(0), 0
    for index in range(400):
        action = int(generator.integers(2))
        peer.state = tuple(float(entry) for entry in state)
        peer.steps_beyond_terminated = None
        observed, reward, terminated, *_ = peer.step(action)
        state, observation, ours, ended = step(state, jnp.int32(action), jax.random.key(0))
        np.testing.assert_allclose(observation, observed, rtol=1e-6, atol=1e-6)
        assert (float(ours), bool(ended)) == (reward, bool(terminated))
        ends += bool(ended)
        if ended or index % 50 == 49:
            # Wide states, so that both edges and fast poles are met.
            drawn = generator.uniform(-1, 1, 4) * np.array([2.4, 3.0, 0.2, 3.0])
            state = cartpole.CartPoleState(*jnp.asarray(drawn, jnp.float32))
    assert ends > 5


def test_episodes_open_near_the_middle_and_last_as_long_as_gymnasiums():
    environment = cartpole.make()
    _, first = jax.vmap(environment.reset)(jax.random.split(jax.random.key(0), 1000))
    assert np.abs(first).max() <= 0.05
    np.testing.assert_allclose(np.std(first, axis=0), 0.1 / np.sqrt(12), rtol=0.1)
    assert environment.spec.episode_length == gymnasium.spec("CartPole-v1").max_episode_steps
