"""A point mass on the plane [−1, 1]², in an open arena or among walls; on the device and fast.

    v' = 0.8 v + 0.01 a          p' = p + v'          a ∈ [−1, 1]²

The top speed is 0.05 a step on either axis, a fifth of the narrowest wall, so no step can pass through one: motion is
tried along x and then along y, and where the way is blocked the mass stops at the wall and loses that velocity. It
slides along the other axis. The reward is 1 in every step within 0.15 of the goal, else 0. Episodes never terminate.
Observation: position, and velocity over the top speed, all within [−1, 1].
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from infojax.types import Array, Count, Environment, EnvSpec, Key

DAMPING, ACCELERATION, TOP_SPEED, GOAL_RADIUS, START_NOISE, SKIN = 0.8, 0.01, 0.05, 0.15, 0.02, 1e-4


class _Layout(NamedTuple):
    rows: tuple[str, ...]  # "#" is wall; the first row is at the top (y = 1)
    start: tuple[float, float]
    goal: tuple[float, float]


_LAYOUTS = {
    "open": _Layout((".",), (0.0, 0.0), (0.8, 0.8)),
    "u": _Layout((".....", ".....", "####.", ".....", "....."), (-0.8, -0.6), (-0.8, 0.6)),
    "spiral": _Layout(
        (
            ".........",
            "########.",
            ".......#.",
            ".#####.#.",
            ".#...#.#.",
            ".#.###.#.",
            ".#.....#.",
            ".#######.",
            ".........",
        ),
        (-8 / 9, 8 / 9),
        (0.0, 0.0),
    ),
}


class MazeState(NamedTuple):
    position: Array  # [2]
    velocity: Array  # [2]


def walls(layout: str) -> tuple[tuple[bool, ...], ...]:
    """Which cells are wall, [row from the top][column]."""
    return tuple(tuple(cell == "#" for cell in row) for row in _LAYOUTS[layout].rows)


def make(*, layout: Literal["open", "u", "spiral"] = "open", episode_length: Count = 100) -> Environment:
    """The point mass in a `layout`, truncated after `episode_length` steps."""
    grid = jnp.asarray(walls(layout))
    size = grid.shape[0]
    start, goal = (jnp.asarray(point, jnp.float32) for point in _LAYOUTS[layout][1:])

    def blocked(position: Array) -> Array:
        """Whether a point lies in a wall or outside the plane."""
        column, row = _cell(position[0], size), size - 1 - _cell(position[1], size)
        inside = jnp.all(jnp.abs(position) <= 1 - SKIN)
        return ~inside | grid[jnp.clip(row, 0, size - 1), jnp.clip(column, 0, size - 1)]

    def along(position: Array, velocity: Array, axis: int) -> tuple[Array, Array]:
        """Move along one axis; a blocked way ends a skin's width before the wall, at rest."""
        speed = velocity[axis]
        wanted = position.at[axis].add(speed)
        hits = blocked(wanted)
        # The wall's face is the border of the cell being left.
        cell = _cell(position[axis], size)
        face = jnp.where(speed > 0, cell + 1, cell).astype(jnp.float32) * (2 / size) - 1
        stopped = position.at[axis].set(face - jnp.sign(speed) * SKIN)
        return jnp.where(hits, stopped, wanted), velocity.at[axis].set(jnp.where(hits, 0, speed))

    def observe(state: MazeState) -> Array:
        return jnp.concatenate([state.position, state.velocity / TOP_SPEED])

    def reset(key: Key) -> tuple[MazeState, Array]:
        noise = jax.random.uniform(key, (2,), jnp.float32, -START_NOISE, START_NOISE)
        state = MazeState(start + noise, jnp.zeros((2,), jnp.float32))
        return state, observe(state)

    def step(state: MazeState, action: Array, key: Key) -> tuple[MazeState, Array, Array, Array]:
        velocity = DAMPING * state.velocity + ACCELERATION * jnp.clip(action, -1, 1)
        position = state.position
        for axis in range(2):
            position, velocity = along(position, velocity, axis)
        state = MazeState(position, velocity)
        reward = (jnp.sum(jnp.square(position - goal)) < GOAL_RADIUS**2).astype(jnp.float32)
        return state, observe(state), reward, jnp.zeros((), bool)

    spec = EnvSpec(
        observation_shape=(4,),
        action_shape=(2,),
        num_actions=None,
        low=(-1.0, -1.0),
        high=(1.0, 1.0),
        episode_length=episode_length,
        name=f"maze/{layout}",
        position_names=("x", "y"),
        position_low=(-1.0, -1.0),
        position_high=(1.0, 1.0),
        shortest_episode=episode_length,
    )
    return Environment(spec, reset, step, lambda state: state.position)


def _cell(coordinate: Array, size: int) -> Array:
    return jnp.clip(jnp.floor((coordinate + 1) * (size / 2)), 0, size - 1).astype(jnp.int32)
