"""Brax' half-cheetah with a sparse reward: 1 in every step that ends past x = `goal_x`, nothing else.

The task of Mazzaglia et al. (2022), "Curiosity-Driven Exploration via Latent Bayesian Surprise": 500 steps, x = 10. Its
coverage is of a 10 x 10 grid over the velocity along x (±9 m/s) and the pitch's angular velocity (±18 rad/s).
"""

from typing import Literal

import jax.numpy as jnp

from infojax.envs.brax import Backend, Body, BraxState, scoped, wrap
from infojax.envs.quiet import quiet
from infojax.types import Array, Count, Environment, Finite, Key, Metrics

_BODIES = {
    "velocity": Body(("velocity", "angular_velocity"), (0, 2), (-9, -18), (9, 18), False, (10, 10), True),
    "place": Body(("x", "pitch"), (0, 2), (-10, -3.2), (10, 3.2), False, (20,)),
}


def make(
    *,
    goal_x: Finite = 10.0,
    coverage: Literal["velocity", "place"] = "velocity",
    backend: Backend = "spring",
    episode_length: Count = 500,
) -> Environment:
    """The half-cheetah rewarded past `goal_x` metres; its position is what `coverage` counts.

    Measure: `goal`, 1 where the body is past `goal_x`.
    """
    with quiet():
        from brax.envs.half_cheetah import Halfcheetah

        env = scoped(Halfcheetah, backend=backend)
    base = wrap(env, _BODIES[coverage], "brax/halfcheetah_sparse", episode_length)

    def step(state: BraxState, action: Array, key: Key) -> tuple[BraxState, Array, Array, Array]:
        state, observation, _, terminated = base.step(state, action, key)
        return state, observation, past(state), terminated

    def past(state: BraxState) -> Array:
        return (jnp.asarray(state.physics.q[0], jnp.float32) > goal_x).astype(jnp.float32)

    def measures(state: BraxState) -> Metrics:
        return {"goal": past(state)}

    return base._replace(step=step, measures=measures)
