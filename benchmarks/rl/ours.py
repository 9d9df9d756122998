"""infojax SAC or DIAYN on brax inverted_pendulum/spring, driven through the runner's own compiled chunk."""

import argparse

import jax
import protocol

from infojax.agents import sac
from infojax.envs import brax
from infojax.objectives import diayn, none
from infojax.run.loop import device_loop
from infojax.run.training import limit_cpu_threads

parser = argparse.ArgumentParser()
parser.add_argument("agent", choices=("sac", "diayn"))
parser.add_argument("--cpu-threads", type=int)
arguments, rest = parser.parse_known_args()
limit_cpu_threads(arguments.cpu_threads)
chosen = protocol.settings(rest)
recorder = protocol.Recorder(chosen, ("brax", "jax", "jaxlib", "flax", "optax", "numpy"))
environment = brax.make(name="inverted_pendulum", backend="spring", episode_length=protocol.EPISODE_LENGTH)
hidden = (chosen.hidden, chosen.hidden)
is_diayn = arguments.agent == "diayn"
if is_diayn:
    # As in QDax: reward on the next state, training on the state, entropy target of half the action dimensions.
    objective = diayn.make(
        environment.spec,
        num_skills=protocol.DIAYN_SKILLS,
        hidden_sizes=hidden,
        reward_on="next_observation",
        train_on="observation",
        learning_rate=protocol.LEARNING_RATE,
    )
else:
    objective = none.make(environment.spec)
num_envs = protocol.DIAYN_ENVS if is_diayn else protocol.SAC_ENVS
agent = sac.make(
    environment.spec,
    objective,
    num_envs=num_envs,
    unroll=1,
    updates_per_step=1.0,
    batch_size=chosen.batch,
    replay_capacity=protocol.REPLAY_CAPACITY,
    # The optimiser's steps before `learning_starts` are scaled to nothing but computed, so that the first call is as
    # long as any other and holds as much work.
    random_steps=protocol.FILL,
    learning_starts=protocol.FILL,
    discount=protocol.DIAYN_DISCOUNT if is_diayn else protocol.SAC_DISCOUNT,
    target_rate=protocol.TARGET_RATE,
    target_entropy_per_dimension=-0.5 if is_diayn else -1.0,
    actor_learning_rate=protocol.LEARNING_RATE,
    critic_learning_rate=protocol.LEARNING_RATE,
    temperature_learning_rate=protocol.LEARNING_RATE,
    hidden_sizes=hidden,
    extrinsic_weight=0.0 if is_diayn else 1.0,
    intrinsic_weight=1.0 if is_diayn else 0.0,
)
loop = device_loop(agent, environment, chosen.steps // num_envs, num_seeds=1, seeds="vmap")
if loop.steps_per_chunk != chosen.steps:
    raise SystemExit(f"--steps={chosen.steps} must be a multiple of {num_envs} environments")
state = loop.init([0])


def call() -> None:
    global state
    state, metrics = loop.chunk(state)
    jax.block_until_ready((state, metrics))


protocol.time_calls(recorder, call, chosen.steps, chosen.steps)
recorder.finish(steps=int(state.agent.steps[0]))
