r"""The cart and its pole (Barto, Sutton and Anderson, 1983), on the device, as in Gymnasium's CartPole-v1.

    θ'' = (g sin θ − cos θ u) / (l (4/3 − m cos² θ / M)),    u = (F + m l θ'² sin θ) / M
    x'' = u − m l θ'' cos θ / M

with force F = ±10 N, pole m = 0.1 kg of half-length l = 0.5 m, M = 1.1 kg in all, g = 9.8 m/s², and Euler's steps of
0.02 s that move positions by the velocities of before. Observation: x, x', θ, θ'. The reward is 1 in every step, the
last included. An episode terminates where the cart leaves ±2.4 m or the pole ±12°.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from infojax.types import Array, Count, Environment, EnvSpec, Key

GRAVITY, POLE_MASS, TOTAL_MASS, HALF_LENGTH, FORCE, STEP = 9.8, 0.1, 1.1, 0.5, 10.0, 0.02
POLE_MOMENT = POLE_MASS * HALF_LENGTH
EDGE, STEEPEST = 2.4, 12 * math.pi / 180
OPENING = 0.05  # every entry of the first observation is uniform within ± this


class CartPoleState(NamedTuple):
    position: Array
    velocity: Array
    angle: Array
    angular_velocity: Array


def make(*, episode_length: Count = 500) -> Environment:
    """The cart and its pole, truncated after `episode_length` steps; action 0 pushes left, 1 right."""

    def observe(state: CartPoleState) -> Array:
        return jnp.stack(state)

    def reset(key: Key) -> tuple[CartPoleState, Array]:
        state = CartPoleState(*jax.random.uniform(key, (4,), minval=-OPENING, maxval=OPENING))
        return state, observe(state)

    def step(state: CartPoleState, action: Array, key: Key) -> tuple[CartPoleState, Array, Array, Array]:
        force = jnp.where(action == 1, FORCE, -FORCE).astype(jnp.float32)
        sine, cosine = jnp.sin(state.angle), jnp.cos(state.angle)
        push = (force + POLE_MOMENT * jnp.square(state.angular_velocity) * sine) / TOTAL_MASS
        turn = (GRAVITY * sine - cosine * push) / (HALF_LENGTH * (4 / 3 - POLE_MASS * jnp.square(cosine) / TOTAL_MASS))
        acceleration = push - POLE_MOMENT * turn * cosine / TOTAL_MASS
        moved = CartPoleState(
            position=state.position + STEP * state.velocity,
            velocity=state.velocity + STEP * acceleration,
            angle=state.angle + STEP * state.angular_velocity,
            angular_velocity=state.angular_velocity + STEP * turn,
        )
        terminated = (jnp.abs(moved.position) > EDGE) | (jnp.abs(moved.angle) > STEEPEST)
        return moved, observe(moved), jnp.ones((), jnp.float32), terminated

    spec = EnvSpec(
        observation_shape=(4,),
        action_shape=(),
        num_actions=2,
        low=(),
        high=(),
        episode_length=episode_length,
        name="cartpole",
        position_names=("position", "angle"),
        position_low=(-EDGE, -STEEPEST),
        position_high=(EDGE, STEEPEST),
        shortest_episode=min(8, episode_length),
    )
    return Environment(spec, reset, step, lambda state: jnp.stack([state.position, state.angle]))
