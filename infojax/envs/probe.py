"""Probe environments: so small that the right answer is known, so that a learner's error has nowhere to hide.

With discount γ, episodes of one step unless said otherwise:

    constant_reward      observation 0, reward 1                              value 1
    observation_reward   observation ±1 at random, reward = observation       value = observation
    discounted           two steps, observations 0 then 1, reward 1 at last   values γ, 1
    action_reward        observation 0, reward 1 − (a − 0.5)²                 value 1 at a = 0.5
    observation_action   observation ±1, reward 1 − (a − 0.5 o)²              value 1 at a = 0.5 o
    truncation           never terminates, reward 1 in every step             value 1 / (1 − γ), cut after each 5 steps
    skill                three steps, observation = the last action           I(S;Z) = log 2 with two skills
    discrete_action      observation ±1, two actions, reward 1 if a = [o > 0] value 1 at that action

The idea of probes is from Andy Jones, "Debugging RL" (2021); rejax tests with such environments too.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from infojax.types import Array, Environment, EnvSpec, Key

Kind = Literal[
    "constant_reward",
    "observation_reward",
    "discounted",
    "action_reward",
    "observation_action",
    "truncation",
    "skill",
    "discrete_action",
]
LENGTHS = {"discounted": 2, "truncation": 5, "skill": 3}


class ProbeState(NamedTuple):
    observation: Array  # [1]
    time: Array


def make(*, kind: Kind) -> Environment:
    """The probe `kind`; see the module's text for what a right learner finds."""
    length = LENGTHS.get(kind, 1)
    discrete = kind == "discrete_action"

    def reset(key: Key) -> tuple[ProbeState, Array]:
        random_sign = jnp.where(jax.random.bernoulli(key), 1.0, -1.0).astype(jnp.float32)
        observes = kind in ("observation_reward", "observation_action", "discrete_action")
        observation = jnp.reshape(random_sign if observes else jnp.zeros((), jnp.float32), (1,))
        return ProbeState(observation, jnp.zeros((), jnp.int32)), observation

    def step(state: ProbeState, action: Array, key: Key) -> tuple[ProbeState, Array, Array, Array]:
        observed = state.observation[0]
        chosen = (action if discrete else action[0]).astype(jnp.float32)
        time = state.time + 1
        last = time >= length
        rewards = {
            "constant_reward": jnp.ones((), jnp.float32),
            "observation_reward": observed,
            "discounted": last.astype(jnp.float32),
            "action_reward": 1 - jnp.square(chosen - 0.5),
            "observation_action": 1 - jnp.square(chosen - 0.5 * observed),
            "truncation": jnp.ones((), jnp.float32),
            "skill": jnp.zeros((), jnp.float32),
            "discrete_action": (chosen == (observed > 0).astype(jnp.float32)).astype(jnp.float32),
        }
        following = {"discounted": time.astype(jnp.float32), "skill": chosen}.get(kind, observed)
        observation = jnp.reshape(following, (1,))
        terminated = jnp.zeros((), bool) if kind in ("truncation", "skill") else last
        return ProbeState(observation, time), observation, rewards[kind], terminated

    spec = EnvSpec(
        observation_shape=(1,),
        action_shape=() if discrete else (1,),
        num_actions=2 if discrete else None,
        low=() if discrete else (-1.0,),
        high=() if discrete else (1.0,),
        # Those that terminate do so by themselves, one step before the runner would truncate.
        episode_length=length if kind in ("truncation", "skill") else length + 1,
        name=f"probe/{kind}",
        position_names=("observation",),
        position_low=(-1.0,),
        position_high=(1.0,),
        shortest_episode=length,
    )
    return Environment(spec, reset, step, lambda state: state.observation)
