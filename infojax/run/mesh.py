"""Which devices a run takes, and how its seeds are spread over them."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from infojax.types import Key

Seeds = Literal["vmap", "map"]


def seed_mesh(num_seeds: int) -> Mesh:
    """A mesh over as many devices as divide the seeds evenly."""
    devices = jax.devices()
    count = max(n for n in range(1, len(devices) + 1) if num_seeds % n == 0)
    return jax.make_mesh((count,), ("seed",), devices=devices[:count], axis_types=(AxisType.Auto,))


def over_seeds(function: Callable[..., Any], mesh: Mesh, seeds: Seeds, donate: bool = False) -> Callable[..., Any]:
    """Jit `function` of one seed over a leading seed axis of all its arguments.

    One seed on a device runs unbatched; several run by `vmap`, fast and equal to rounding, or by `lax.map`, one after
    the other and bit for bit the single run.
    """

    def local(*arguments: Any) -> Any:
        count = jax.tree.leaves(arguments)[0].shape[0]
        if count == 1:
            result = function(*jax.tree.map(lambda leaf: leaf[0], arguments))
            return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], result)
        if seeds == "vmap":
            return jax.vmap(function)(*arguments)
        return jax.lax.map(lambda packed: function(*packed), arguments)

    axis = PartitionSpec("seed")
    mapped = jax.shard_map(local, mesh=mesh, in_specs=axis, out_specs=axis, check_vma=False)
    return jax.jit(mapped, donate_argnums=(0,) if donate else ())


def seed_keys(seeds: Sequence[int], mesh: Mesh) -> Key:
    """`key(seed)` of every seed, laid out over the mesh, so that member i of a run is the run of its seed alone."""
    keys = jnp.stack([jax.random.key(seed) for seed in seeds])
    return jax.device_put(keys, NamedSharding(mesh, PartitionSpec("seed")))
