"""rejax PPO on gymnax CartPole-v1: 64 environments x 128 steps, 4 epochs of 4 minibatches."""

import sys
from pathlib import Path

import jax
from rejax import PPO

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import protocol

chosen = protocol.settings()
recorder = protocol.Recorder(chosen, ("rejax", "gymnax", "jax", "jaxlib", "flax", "optax", "numpy"))
algorithm = PPO.create(
    env="CartPole-v1",
    num_envs=protocol.PPO_ENVS,
    num_steps=protocol.PPO_UNROLL,
    num_epochs=protocol.PPO_EPOCHS,
    num_minibatches=protocol.PPO_MINIBATCHES,
    learning_rate=protocol.PPO_LEARNING_RATE,
    max_grad_norm=protocol.PPO_GRADIENT_NORM,
    total_timesteps=chosen.steps,
    eval_freq=chosen.steps,
    skip_initial_evaluation=True,
    gamma=protocol.PPO_DISCOUNT,
    gae_lambda=protocol.PPO_TRACE,
    clip_eps=protocol.PPO_CLIP,
    ent_coef=protocol.PPO_ENTROPY_WEIGHT,
    vf_coef=protocol.PPO_VALUE_WEIGHT,
    agent_kwargs={"activation": "tanh", "hidden_layer_sizes": (chosen.hidden, chosen.hidden)},
)
algorithm = algorithm.replace(eval_callback=lambda algorithm, state, key: ())
state = jax.jit(algorithm.init_state)(jax.random.PRNGKey(0))
train = jax.jit(lambda state: algorithm.train(train_state=state)[0], donate_argnums=0)


def call() -> None:
    global state
    state = jax.block_until_ready(train(state))


protocol.time_calls(recorder, call, chosen.steps, chosen.steps)
recorder.finish(steps=int(state.global_step))
