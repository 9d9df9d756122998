"""rejax SAC on brax inverted_pendulum/spring: 16 environments, one update per environment step."""

import sys
from pathlib import Path

import jax
from rejax import SAC

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import protocol

chosen = protocol.settings()
recorder = protocol.Recorder(chosen, ("rejax", "gymnax", "brax", "jax", "jaxlib", "flax", "optax", "numpy"))
# The two warm-up calls hold the fill: rejax starts to learn where more than `fill_buffer` steps have been taken.
algorithm = SAC.create(
    env="brax/inverted_pendulum",
    # gymnax resets by itself, so brax's own wrapper for that would be paid for twice.
    env_params={"backend": "spring", "episode_length": protocol.EPISODE_LENGTH, "auto_reset": False},
    num_envs=protocol.SAC_ENVS,
    num_epochs=protocol.SAC_ENVS,
    buffer_size=protocol.REPLAY_CAPACITY,
    fill_buffer=protocol.FILL,
    batch_size=chosen.batch,
    learning_rate=protocol.LEARNING_RATE,
    total_timesteps=chosen.steps,
    eval_freq=chosen.steps,
    skip_initial_evaluation=True,
    gamma=protocol.SAC_DISCOUNT,
    polyak=1 - protocol.TARGET_RATE,
    hidden_layer_sizes=(chosen.hidden, chosen.hidden),
)
algorithm = algorithm.replace(eval_callback=lambda algorithm, state, key: ())
state = jax.jit(algorithm.init_state)(jax.random.PRNGKey(0))
train = jax.jit(lambda state: algorithm.train(train_state=state)[0], donate_argnums=0)


def call() -> None:
    global state
    state = jax.block_until_ready(train(state))


protocol.time_calls(recorder, call, max(0, chosen.steps - protocol.FILL), chosen.steps)
recorder.finish(steps=int(state.actor_ts.step))
