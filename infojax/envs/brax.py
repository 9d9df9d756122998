"""Brax environments on the device (Freeman et al., 2021), raw: no wrapper of brax resets, counts or truncates here.

Termination is brax' `done`; the time limit is the runner's. Positions are the coordinates in which a body moves, for
traces and coverage; an ant's coverage counts squares of a metre and a half-cheetah's metres of x, the metric of Park et
al., "METRA" (2024). Tasks of our own on these bodies: `ant_maze` and `halfcheetah_sparse`.
"""

import difflib
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from infojax.envs.quiet import quiet
from infojax.types import Array, Count, Environment, EnvSpec, Key, UserError

Backend = Literal["spring", "positional", "generalized", "mjx"]


class Body(NamedTuple):
    """What brax does not tell: which coordinates of `q` (or of `qd`, if `moving`) say where it is, and if it ends."""

    names: tuple[str, ...]
    indices: tuple[int, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    terminates: bool
    cells: tuple[int, ...] = ()
    moving: bool = False


_PLANE = ("x", "y")
_BODIES = {
    "ant": Body(_PLANE, (0, 1), (-10, -10), (10, 10), True, (20, 20)),
    "halfcheetah": Body(("x", "pitch"), (0, 2), (-10, -3.2), (10, 3.2), False, (20,)),
    "hopper": Body(("x", "height"), (0, 1), (-5, -1), (5, 1), True),
    "humanoid": Body(_PLANE, (0, 1), (-5, -5), (5, 5), True),
    "humanoidstandup": Body(_PLANE, (0, 1), (-5, -5), (5, 5), False),
    "inverted_double_pendulum": Body(("cart", "angle"), (0, 1), (-1, -1), (1, 1), True),
    "inverted_pendulum": Body(("cart", "angle"), (0, 1), (-1, -1), (1, 1), True),
    "pusher": Body(("shoulder", "lift"), (0, 1), (-2.3, -0.6), (1.8, 1.4), False),
    "reacher": Body(("shoulder", "elbow"), (0, 1), (-3.2, -3.2), (3.2, 3.2), False),
    "swimmer": Body(_PLANE, (0, 1), (-5, -5), (5, 5), False),
    "walker2d": Body(("x", "height"), (0, 1), (-10, -1.5), (10, 1.5), True),
}


class BraxState(NamedTuple):
    """What an environment carries between steps; brax' metrics are left behind."""

    physics: Any
    info: Any


def make(*, name: str, backend: Backend = "spring", episode_length: Count = 1000) -> Environment:
    """The brax environment `name` on a physics `backend`, truncated by the runner after `episode_length` steps."""
    if name not in _BODIES:
        near = difflib.get_close_matches(name, _BODIES, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(_BODIES)}"
        raise UserError(f"env.name={name} is not a brax environment; {hint}")
    return wrap(_load(name, backend), _BODIES[name], f"brax/{name}", episode_length)


def wrap(env: Any, body: Body, name: str, episode_length: int) -> Environment:
    """An environment of brax as one of ours."""
    zero_reward = jnp.zeros((), jnp.float32)

    def template(key: Key) -> Any:
        return scoped(env.reset, jax.random.bits(key, (2,), jnp.uint32))  # brax wants raw keys of two words

    blank = jax.eval_shape(template, jax.random.key(0))

    def reset(key: Key) -> tuple[BraxState, Array]:
        state = template(key)
        return BraxState(_strong(state.pipeline_state), _strong(state.info)), state.obs

    def step(state: BraxState, action: Array, key: Key) -> tuple[BraxState, Array, Array, Array]:
        metrics = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), blank.metrics)
        before = blank.replace(
            pipeline_state=state.physics,
            obs=jnp.zeros(blank.obs.shape, blank.obs.dtype),
            reward=zero_reward,
            done=zero_reward,
            metrics=metrics,
            info=state.info,
        )
        after = scoped(env.step, before, action)
        moved = BraxState(_like(after.pipeline_state, state.physics), _like(after.info, state.info))
        return moved, after.obs, jnp.asarray(after.reward, jnp.float32), jnp.asarray(after.done, jnp.float32) > 0

    def position(state: BraxState) -> Array:
        coordinates = state.physics.qd if body.moving else state.physics.q
        return jnp.asarray(coordinates, jnp.float32)[jnp.asarray(body.indices)]

    size: int = env.action_size
    spec = EnvSpec(
        observation_shape=blank.obs.shape,
        action_shape=(size,),
        num_actions=None,
        low=(-1.0,) * size,  # every brax environment scales its actuators from [−1, 1] itself
        high=(1.0,) * size,
        episode_length=episode_length,
        name=name,
        position_names=body.names,
        position_low=tuple(float(bound) for bound in body.low),
        position_high=tuple(float(bound) for bound in body.high),
        shortest_episode=min(8, episode_length) if body.terminates else episode_length,
        cells=body.cells,
    )
    return Environment(spec, reset, step, position)


def scoped(function: Any, *arguments: Any, **named: Any) -> Any:
    """Brax is written for jax's default promotion rules, ours are stricter, and for float32 as it stands on a CPU."""
    rules = (jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"))
    with rules[0], rules[1], jax.default_matmul_precision("highest"):
        return function(*arguments, **named)


def _load(name: str, backend: str) -> Any:
    with quiet():
        from brax import envs

        return scoped(envs.get_environment, name, backend=backend)


def _strong(tree: Any) -> Any:
    """Without weak types, which would compile a training loop twice."""
    return jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, jnp.asarray(leaf).dtype), tree)


def _like(tree: Any, pattern: Any) -> Any:
    """In the types that reset gave, so that a scan can carry it."""
    return jax.tree.map(lambda leaf, wanted: jax.lax.convert_element_type(leaf, wanted.dtype), tree, pattern)
