"""Coverage: which cells of a grid over an environment's positions were visited, as the papers count it.

The grid is `EnvSpec.cells` over the first coordinates of the position, 10 along each of the first two where the
environment does not say; a position outside of the box counts for the cell at the border.
"""

import math

import jax.numpy as jnp
import numpy as np

from infojax.types import Array, EnvSpec

GRID = 10  # cells along a coordinate where the environment says nothing


def grid(spec: EnvSpec) -> tuple[int, ...]:
    """Cells along each of the coordinates that are counted; () where the environment tells no position."""
    return spec.cells or (GRID,) * min(2, len(spec.position_names))


def num_cells(spec: EnvSpec) -> int:
    """All cells of the grid."""
    return math.prod(grid(spec))


def cell_index(spec: EnvSpec, positions: Array) -> Array:
    """Positions (…, P) as the number of their cell (…)."""
    index = jnp.zeros(positions.shape[:-1], jnp.int32)
    for dimension, cells in enumerate(grid(spec)):
        low, high = np.float32(spec.position_low[dimension]), np.float32(spec.position_high[dimension])
        share = (positions[..., dimension] - low) / (high - low)
        cell = jnp.clip(jnp.nan_to_num(jnp.floor(share * cells)), 0, cells - 1).astype(jnp.int32)
        index = index * cells + cell
    return index


def visit(spec: EnvSpec, visited: Array, positions: Array, mask: Array | None = None) -> Array:
    """`visited` [cells] bool, and the cells of `positions` (…, P) where `mask` (…) besides."""
    index = cell_index(spec, positions).reshape(-1)
    counts = jnp.ones(index.shape, bool) if mask is None else mask.reshape(-1)
    return visited.at[index].max(counts)


def nowhere(spec: EnvSpec) -> Array:
    """No cell visited yet."""
    return jnp.zeros((num_cells(spec),), bool)


def share(visited: Array) -> Array:
    """The share of the cells that were visited."""
    return jnp.mean(visited.astype(jnp.float32))
