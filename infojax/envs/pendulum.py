"""Swinging up a pendulum with a motor too weak to lift it at once: Gymnasium's Pendulum-v1, and a sparse task of it.

    ω' = clip(ω + (15 sin θ + 3 u) Δ, ±8)        θ' = θ + ω' Δ        u ∈ [−2, 2], Δ = 0.05; upright is θ = 0

for a uniform rod of length and mass 1 under g = 10; θ is kept in [−π, π], so that float32 stays exact over an episode.
Rewards of a step from (θ, ω) to (θ', ω') with torque u, less c u²:

    standard    −(θ² + 0.1 ω²), with c = 0.001 as in Gymnasium
    sparse      1 where cos θ' >= cos 8°, else 0: upright as in the DeepMind control suite (Tassa et al., 2018)

Episodes never terminate. They start anywhere, θ ~ U(−π, π) and ω ~ U(−1, 1) as in Gymnasium, or hanging: θ within 0.1
of straight down and ω of 0. Observation: cos θ, sin θ, ω.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from infojax.types import Array, Count, Environment, EnvSpec, Key, NonNegative

GRAVITY, TORQUE, STEP, TOP_SPEED, TOP_TORQUE, NEAR_REST = 15.0, 3.0, 0.05, 8.0, 2.0, 0.1
UPRIGHT = 0.9902680687  # cos 8°
_PI = 3.1415927410125732  # the float32 next to π


class PendulumState(NamedTuple):
    angle: Array  # from upright, in [−π, π]
    speed: Array


def make(
    *,
    reward: Literal["standard", "sparse"] = "standard",
    action_cost: NonNegative = 0.001,
    start: Literal["anywhere", "hanging"] = "anywhere",
    episode_length: Count = 200,
) -> Environment:
    """The pendulum with a `reward`, less `action_cost` times the squared torque, from a `start`.

    Measure: `upright`, 1 where it is within 8 degrees of upright.
    """

    def observe(state: PendulumState) -> Array:
        return jnp.stack([jnp.cos(state.angle), jnp.sin(state.angle), state.speed])

    def reset(key: Key) -> tuple[PendulumState, Array]:
        angle_key, speed_key = jax.random.split(key)
        reach, speed = (_PI, 1.0) if start == "anywhere" else (NEAR_REST, NEAR_REST)
        angle = jax.random.uniform(angle_key, (), jnp.float32, -reach, reach)
        if start == "hanging":
            angle = _wrapped(angle + _PI)
        state = PendulumState(angle, jax.random.uniform(speed_key, (), jnp.float32, -speed, speed))
        return state, observe(state)

    def step(state: PendulumState, action: Array, key: Key) -> tuple[PendulumState, Array, Array, Array]:
        torque = jnp.clip(action[0], -TOP_TORQUE, TOP_TORQUE)
        force = GRAVITY * jnp.sin(state.angle) + TORQUE * torque
        speed = jnp.clip(state.speed + force * STEP, -TOP_SPEED, TOP_SPEED)
        after = PendulumState(_wrapped(state.angle + speed * STEP), speed)
        away = jnp.square(state.angle) + 0.1 * jnp.square(state.speed)
        gained = -away if reward == "standard" else _upright(after)
        return after, observe(after), gained - action_cost * jnp.square(torque), jnp.zeros((), bool)

    spec = EnvSpec(
        observation_shape=(3,),
        action_shape=(1,),
        num_actions=None,
        low=(-TOP_TORQUE,),
        high=(TOP_TORQUE,),
        episode_length=episode_length,
        name=f"pendulum/{reward}",
        position_names=("angle", "speed"),
        position_low=(-_PI, -TOP_SPEED),
        position_high=(_PI, TOP_SPEED),
        shortest_episode=episode_length,
        cells=(10, 10),
    )
    return Environment(
        spec,
        reset,
        step,
        lambda state: jnp.stack([state.angle, state.speed]),
        lambda state: {"upright": _upright(state)},
    )


def _upright(state: PendulumState) -> Array:
    return (jnp.cos(state.angle) >= UPRIGHT).astype(jnp.float32)


def _wrapped(angle: Array) -> Array:
    """The same angle in [−π, π]."""
    return jnp.mod(angle + _PI, 2 * _PI) - _PI
