"""QDax DIAYN on inverted_pendulum/spring: 32 environments, 4 skills, discriminator on all of the observation, UTD 1."""

import functools
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import qdax.tasks.brax.v2 as tasks
from qdax.baselines.diayn import DIAYN, DiaynConfig
from qdax.core.neuroevolution.buffers.buffer import QDTransition, ReplayBuffer
from qdax.core.neuroevolution.sac_td3_utils import do_iteration_fn, warmstart_buffer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import protocol

chosen = protocol.settings()
recorder = protocol.Recorder(chosen, ("qdax", "brax", "jax", "jaxlib", "flax", "optax", "numpy"))
num_envs, num_skills = protocol.DIAYN_ENVS, protocol.DIAYN_SKILLS
env = tasks.create(
    "inverted_pendulum", batch_size=num_envs, episode_length=protocol.EPISODE_LENGTH, auto_reset=True, backend="spring"
)
key, reset_key = jax.random.split(jax.random.key(0))
env_state = jax.jit(env.reset)(reset_key)
replay = ReplayBuffer.init(
    buffer_size=protocol.REPLAY_CAPACITY,
    transition=QDTransition.init_dummy(
        observation_dim=env.observation_size + num_skills, action_dim=env.action_size, descriptor_dim=2
    ),
)
hidden = (chosen.hidden, chosen.hidden)
agent = DIAYN(
    config=DiaynConfig(
        batch_size=chosen.batch,
        episode_length=protocol.EPISODE_LENGTH,
        num_skills=num_skills,
        descriptor_full_state=True,
        discount=protocol.DIAYN_DISCOUNT,
        learning_rate=protocol.LEARNING_RATE,
        tau=protocol.TARGET_RATE,
        policy_hidden_layer_size=hidden,
        critic_hidden_layer_size=hidden,
    ),
    action_size=env.action_size,
)
training_state = agent.init(
    key, action_size=env.action_size, observation_size=env.observation_size, descriptor_size=env.observation_size
)
play = functools.partial(
    agent.play_step_fn,
    skills=jnp.concatenate([jnp.eye(num_skills)] * (num_envs // num_skills), axis=0),
    env=env,
    deterministic=False,
)
replay, env_state, training_state = warmstart_buffer(
    replay_buffer=replay,
    training_state=training_state,
    env_state=env_state,
    num_warmstart_steps=protocol.FILL,
    env_batch_size=num_envs,
    play_step_fn=play,
)
iterate = functools.partial(
    do_iteration_fn, env_batch_size=num_envs, grad_updates_per_step=1.0, play_step_fn=play, update_fn=agent.update
)


@functools.partial(jax.jit, donate_argnums=0)
def run(carry):
    def iteration(carry, _):
        *carry, metrics = iterate(*carry)
        return tuple(carry), metrics

    return jax.lax.scan(iteration, carry, None, length=chosen.steps // num_envs)


# Donation refuses a buffer that appears twice, and a fresh state may share constants.
state = jax.tree.map(jnp.copy, (training_state, env_state, replay))


def call() -> None:
    global state
    state, metrics = run(state)
    jax.block_until_ready((state, metrics))


protocol.time_calls(recorder, call, chosen.steps, chosen.steps)
recorder.finish(
    steps=int(state[0].steps),
    discriminator_parameters=sum(leaf.size for leaf in jax.tree.leaves(state[0].discriminator_params)),
)
