"""infojax SAC or DIAYN on brax inverted_pendulum/spring, or PPO on CartPole, by the runner's own compiled chunk."""

import argparse

import jax
import protocol

from infojax.agents import ppo, sac
from infojax.envs import brax, cartpole
from infojax.objectives import diayn, none
from infojax.run.loop import device_loop
from infojax.run.training import limit_cpu_threads
from infojax.types import Agent, Environment

parser = argparse.ArgumentParser()
parser.add_argument("agent", choices=("sac", "diayn", "ppo"))
parser.add_argument("--cpu-threads", type=int)
arguments, rest = parser.parse_known_args()
limit_cpu_threads(arguments.cpu_threads)
chosen = protocol.settings(rest)
recorder = protocol.Recorder(chosen, ("brax", "jax", "jaxlib", "flax", "optax", "numpy"))


def off_policy(is_diayn: bool) -> tuple[Environment, Agent]:
    """SAC, or DIAYN on it."""
    environment = brax.make(name="inverted_pendulum", backend="spring", episode_length=protocol.EPISODE_LENGTH)
    hidden = (chosen.hidden, chosen.hidden)
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
    return environment, sac.make(
        environment.spec,
        objective,
        num_envs=num_envs,
        unroll=1,
        updates_per_step=1.0,
        batch_size=chosen.batch,
        replay_capacity=protocol.REPLAY_CAPACITY,
        # The optimiser's steps before `learning_starts` are scaled to nothing but computed, so that the first call is
        # as long as any other and holds as much work.
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


def on_policy() -> tuple[Environment, Agent]:
    """PPO, as the peer is configured."""
    environment = cartpole.make()
    return environment, ppo.make(
        environment.spec,
        none.make(environment.spec),
        num_envs=protocol.PPO_ENVS,
        unroll=protocol.PPO_UNROLL,
        epochs=protocol.PPO_EPOCHS,
        minibatches=protocol.PPO_MINIBATCHES,
        learning_rate=protocol.PPO_LEARNING_RATE,
        max_gradient_norm=protocol.PPO_GRADIENT_NORM,
        discount=protocol.PPO_DISCOUNT,
        trace=protocol.PPO_TRACE,
        clip=protocol.PPO_CLIP,
        # The peer holds its values within the same clip, in units of the return.
        value_clip=protocol.PPO_CLIP,
        entropy_weight=protocol.PPO_ENTROPY_WEIGHT,
        value_weight=protocol.PPO_VALUE_WEIGHT,
        hidden_sizes=(chosen.hidden, chosen.hidden),
    )


environment, agent = on_policy() if arguments.agent == "ppo" else off_policy(arguments.agent == "diayn")
loop = device_loop(agent, environment, chosen.steps // (agent.num_envs * agent.unroll), num_seeds=1, seeds="vmap")
if loop.steps_per_chunk != chosen.steps:
    raise SystemExit(f"--steps={chosen.steps} must be a multiple of {agent.num_envs} x {agent.unroll}")
state = loop.init([0])


def call() -> None:
    global state
    state, metrics = loop.chunk(state)
    jax.block_until_ready((state, metrics))


protocol.time_calls(recorder, call, chosen.steps, chosen.steps)
recorder.finish(steps=int(state.agent.steps[0]))
