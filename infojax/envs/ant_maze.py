"""Brax' ant in a maze like a U: seven square blocks in a row, bent twice (after Shyam et al., 2019, "MAX").

    6 5 4        Blocks of `block` metres, numbered along the way. The ant starts in the middle of block 0, at (0, 0);
    # # 3        the outer walls are planes and the inner one, which fills the two blocks marked #, is a box.
    0 1 2        With blocks of 2 metres it is the maze of Shyam et al.

Walls are contacts of the physics, as the floor is. As in brax only the feet touch things; here the torso does too, on
the floor as well, where brax' own ant would sink in once it has fallen. Legs between torso and foot pass through the
edges of walls. Episodes do not end when the ant falls. The observation has x and y, which brax' ant leaves out. The
reward is 1 in every step that ends in block 6.
"""

from typing import Any, Literal, NamedTuple
from xml.etree import ElementTree

import jax.numpy as jnp

from infojax.envs.brax import Body, BraxState, scoped, wrap
from infojax.envs.quiet import quiet
from infojax.types import Array, Count, Environment, Key, Metrics, Positive

_BLOCKS = ((0, 1, 2), (0, 0, 3), (6, 5, 4))  # [row from the bottom][column]; in the wall no progress
LAST = 6
_TIMESTEP = 0.005  # brax' own for the ant under these backends, where ten of them make a step


class AntMazeState(NamedTuple):
    ant: BraxState
    furthest: Array  # the furthest block of this episode


def make(
    *, block: Positive = 2.0, backend: Literal["spring", "positional"] = "spring", episode_length: Count = 300
) -> Environment:
    """The ant among walls `block` metres apart, rewarded in the last block.

    Measures: `furthest_block`, the furthest of blocks 0 to 6 in this episode, and `goal`, 1 in the last block.
    """
    env = load(block, backend)
    side = max(1, round(3 * block))  # cells of about a metre
    low, high = -0.5 * block, 2.5 * block
    body = Body(("x", "y"), (0, 1), (low, low), (high, high), False, (side, side))
    base = wrap(env, body, "brax/ant_maze", episode_length)

    def inside(state: BraxState) -> Array:
        return block_of(base.position(state), block).astype(jnp.float32)

    def reset(key: Key) -> tuple[AntMazeState, Array]:
        state, observation = base.reset(key)
        return AntMazeState(state, inside(state)), observation

    def step(state: AntMazeState, action: Array, key: Key) -> tuple[AntMazeState, Array, Array, Array]:
        ant, observation, _, terminated = base.step(state.ant, action, key)
        state = AntMazeState(ant, jnp.maximum(state.furthest, inside(ant)))
        return state, observation, arrived(state), terminated

    def arrived(state: AntMazeState) -> Array:
        return (inside(state.ant) == LAST).astype(jnp.float32)

    def measures(state: AntMazeState) -> Metrics:
        return {"furthest_block": state.furthest, "goal": arrived(state)}

    return Environment(base.spec, reset, step, lambda state: base.position(state.ant), measures)


def block_of(position: Array, block: float) -> Array:
    """The number, 0 to 6, of the block in which a position [2] lies; 0 in the inner wall."""
    column, row = jnp.clip(jnp.floor(position / block + 0.5), 0, 2).astype(jnp.int32)
    return jnp.asarray(_BLOCKS, jnp.int32)[row, column]


def load(block: float, backend: str) -> Any:
    """Brax' ant with walls added to its model."""
    with quiet():
        return scoped(_build, block, backend)


def _build(block: float, backend: str) -> Any:
    from brax.envs.ant import Ant
    from brax.io import mjcf
    from etils import epath

    root = ElementTree.fromstring((epath.resource_path("brax") / "envs/assets/ant.xml").read_text())
    world = root.find("worldbody")
    torso = root.find(".//geom[@name='torso_geom']")
    assert world is not None and torso is not None
    torso.set("contype", "1")
    low, high = -0.5 * block, 2.5 * block
    planes = {(low, 0): (1, 0), (high, 0): (-1, 0), (0, low): (0, 1), (0, high): (0, -1)}  # a point and the way inwards
    for (x, y), (inwards_x, inwards_y) in planes.items():
        where = {"pos": f"{x} {y} 0", "zaxis": f"{inwards_x} {inwards_y} 0", "size": "40 40 40"}
        ElementTree.SubElement(world, "geom", {"type": "plane", "conaffinity": "1", **where})
    wall = {"pos": f"{0.5 * block} {block} 1", "size": f"{block} {0.5 * block} 1"}  # sizes of a box are halves
    ElementTree.SubElement(world, "geom", {"type": "box", "conaffinity": "1", **wall})

    env: Any = Ant(backend=backend, terminate_when_unhealthy=False, exclude_current_positions_from_observation=False)
    system = mjcf.loads(ElementTree.tostring(root, encoding="unicode")).tree_replace({"opt.timestep": _TIMESTEP})
    # What brax sets for a backend (the gear of its actuators) is kept.
    env.sys = system.replace(actuator=env.sys.actuator)
    return env
