"""Which devices a run takes, how its seeds and the data of each seed are spread over them, and over how many processes.

A run has S seeds; the data of each may be spread over D logical shards (`mesh.data`), which are part of the run and not
of the machine. Devices form a mesh of s x d, of which s divides S and d divides D, so that the same run goes on with
more devices, with fewer or with one. On every device lie S/s seeds and D/d shards: seeds by `vmap` or `lax.map`, with
no communication, shards by `vmap` with an axis name. Averages over shards are over the names of both, `DATA_AXES`.

Several processes (a TPU pod, a cluster) run the same program on one mesh. The first alone writes and prints.
"""

import importlib.util
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from infojax.types import Key, UserError

Seeds = Literal["vmap", "map"]
Leaves = Literal["shard", "seed"]  # [S, D, …], or [S, …] and the same in all shards
DATA_AXES = ("data", "shard")  # devices, and the shards on one of them
SEED_AXIS = "seed"

# --- devices -----------------------------------------------------------------------------------------------------


def seed_mesh(num_seeds: int, devices: Sequence[Any] | None = None, shards: int = 1) -> Mesh:
    """A mesh over as many devices, of the machine's own or of those given, as divide seeds and shards evenly.

    Its axes are `seed`, and `data` where there are several shards. Of equally many devices, seeds have the more.
    """
    devices = jax.devices() if devices is None else list(devices)
    shapes = [(s, d) for s in _divisors(num_seeds) for d in _divisors(shards) if s * d <= len(devices)]
    along_seeds, along_data = max(shapes, key=lambda shape: (shape[0] * shape[1], shape[0]))
    count = along_seeds * along_data
    here = {device.process_index for device in devices}
    if len(here) > 1 and count != len(devices):
        raise UserError(
            f"the {len(devices)} devices of {len(here)} processes must all have a part of the run, but num_seeds="
            f"{num_seeds} and mesh.data={shards} spread over {count} of them; make their product a multiple of "
            f"{len(devices)}"
        )
    if shards == 1:
        return jax.make_mesh((count,), (SEED_AXIS,), devices=devices[:count], axis_types=(AxisType.Auto,))
    return jax.make_mesh(
        (along_seeds, along_data),
        (SEED_AXIS, DATA_AXES[0]),
        devices=devices[:count],
        axis_types=(AxisType.Auto, AxisType.Auto),
    )


def beside_mesh(num_seeds: int, devices: Sequence[Any], seeds: Seeds) -> Mesh:
    """The mesh of seeds that run side by side; those that run one after the other have one device."""
    return seed_mesh(num_seeds, devices) if seeds == "vmap" else seed_mesh(1, devices[:1])


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]


def over_seeds(
    function: Callable[..., Any], mesh: Mesh, seeds: Seeds, donate: bool = False, common: int = 0
) -> Callable[..., Any]:
    """Jit `function` of one seed over a leading seed axis of its arguments, save the first `common` that all share.

    What is common lies once on every device, without that axis. One seed on a device runs unbatched; several run by
    `vmap`, fast and equal to rounding, or by `lax.map`, one after the other and bit for bit the single run.
    """
    axis = PartitionSpec(SEED_AXIS)

    def mapped(*arguments: Any) -> Any:
        shared, own = arguments[:common], arguments[common:]
        # It enters as an argument of its own, since as a constant each seed of a `vmap` might get a copy.
        local = lambda shared, own: _local(partial(function, *shared), seeds)(*own)  # noqa: E731
        return _spread(local, mesh, (PartitionSpec(), axis), axis, (shared, own))

    return jax.jit(mapped, donate_argnums=(common,) if donate else ())


def over_shards(
    function: Callable[..., Any],
    mesh: Mesh,
    seeds: Seeds,
    gives: Leaves | tuple[Leaves, ...] = "shard",
    donate: bool = False,
) -> Callable[..., Any]:
    """Jit `function` of one shard of one seed over arguments [S, D, …]; averages over `DATA_AXES` reach all shards.

    `gives` says of what it returns, or of each entry of the tuple that it returns, whether shards have their own
    [S, D, …] or all the same, of which one is kept [S, …]. Without an axis of data in the mesh it is `over_seeds`.
    """
    if DATA_AXES[0] not in mesh.axis_names:
        return over_seeds(function, mesh, seeds, donate)

    def one_seed(*arguments: Any) -> Any:
        result = jax.vmap(function, axis_name=DATA_AXES[1])(*arguments)
        if isinstance(gives, str):
            return _kept(gives, result)
        return tuple(_kept(kind, part) for kind, part in zip(gives, result, strict=True))

    both = PartitionSpec(SEED_AXIS, DATA_AXES[0])
    specs = {"shard": both, "seed": PartitionSpec(SEED_AXIS)}
    out = specs[gives] if isinstance(gives, str) else tuple(specs[kind] for kind in gives)

    def mapped(*arguments: Any) -> Any:
        return _spread(_local(one_seed, seeds), mesh, (both,) * len(arguments), out, arguments)

    return jax.jit(mapped, donate_argnums=(0,) if donate else ())


def over_first_shards(function: Callable[..., Any], mesh: Mesh, seeds: Seeds) -> Callable[..., Any]:
    """Jit `function(state, …)` of one seed over a state [S, D, …], of which one shard is taken, and arguments [S, …].

    It is for what needs nothing but what all shards have alike, such as acting; every device along the data does the
    same. Without an axis of data in the mesh it is `over_seeds`.
    """
    if DATA_AXES[0] not in mesh.axis_names:
        return over_seeds(function, mesh, seeds)

    def one_seed(state: Any, *arguments: Any) -> Any:
        return function(jax.tree.map(lambda leaf: leaf[0], state), *arguments)

    def mapped(state: Any, *arguments: Any) -> Any:
        seed = PartitionSpec(SEED_AXIS)
        specs = (PartitionSpec(SEED_AXIS, DATA_AXES[0]), *(seed for _ in arguments))
        return _spread(_local(one_seed, seeds), mesh, specs, seed, (state, *arguments))

    return jax.jit(mapped)


def _spread(
    function: Callable[..., Any], mesh: Mesh, specs: Sequence[PartitionSpec], out: Any, arguments: Sequence[Any]
) -> Any:
    """What `function` gives under `jax.shard_map`, each argument laid out by its spec and the results by `out`.

    Arrays without elements, such as the context of an agent that has none, are made anew inside: over those that come
    from outside and are passed on to a result the compiler of jaxlib 0.11 breaks down.
    """
    leaves, structure = jax.tree.flatten(tuple(arguments))
    laid = [spec for argument, spec in zip(arguments, specs, strict=True) for _ in jax.tree.leaves(argument)]

    def local(*given: Any) -> Any:
        rest = iter(given)
        filled = [
            next(rest) if jnp.size(leaf) else jnp.zeros(NamedSharding(mesh, spec).shard_shape(leaf.shape), leaf.dtype)
            for leaf, spec in zip(leaves, laid, strict=True)
        ]
        return function(*jax.tree.unflatten(structure, filled))

    given = [(leaf, spec) for leaf, spec in zip(leaves, laid, strict=True) if jnp.size(leaf)]
    kept, kept_specs = [leaf for leaf, _ in given], tuple(spec for _, spec in given)
    return jax.shard_map(local, mesh=mesh, in_specs=kept_specs, out_specs=out, check_vma=False)(*kept)


def _local(function: Callable[..., Any], seeds: Seeds) -> Callable[..., Any]:
    """`function` of one seed over those that lie on one device."""

    def local(*arguments: Any) -> Any:
        count = jax.tree.leaves(arguments)[0].shape[0]
        if count == 1:
            result = function(*jax.tree.map(lambda leaf: leaf[0], arguments))
            return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], result)
        if seeds == "vmap":
            return jax.vmap(function)(*arguments)
        return jax.lax.map(lambda packed: function(*packed), arguments)

    return local


def _kept(kind: Leaves, tree: Any) -> Any:
    return tree if kind == "shard" else jax.tree.map(lambda leaf: leaf[0], tree)


def seed_keys(seeds: Sequence[int], mesh: Mesh, shards: int = 1) -> Key:
    """`key(seed)` of every seed, laid out over the mesh, so that member i of a run is the run of its seed alone.

    [S], or [S, D] where there are several shards, the same in all of them.
    """
    keys = jnp.stack([jax.random.key(seed) for seed in seeds])
    return place(keys if shards == 1 else jnp.stack([keys] * shards, axis=1), mesh)


def place(values: Any, mesh: Mesh) -> Any:
    """An array [S, …] or [S, D, …] laid out over the mesh; every process gives the whole of it."""
    spread = DATA_AXES[0] in mesh.axis_names and values.ndim > 1
    sharding = NamedSharding(mesh, PartitionSpec(SEED_AXIS, DATA_AXES[0]) if spread else PartitionSpec(SEED_AXIS))
    if sharding.is_fully_addressable:
        return jax.device_put(values, sharding)
    if jnp.issubdtype(values.dtype, jax.dtypes.prng_key):
        words = np.asarray(jax.random.key_data(values))
        whole = jax.make_array_from_callback(words.shape, sharding, lambda index: words[index])
        return jax.jit(jax.random.wrap_key_data)(whole)
    whole = np.asarray(values)
    return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])


def fetch(tree: Any) -> Any:
    """Numpy arrays of the whole tree on every process, wherever its leaves lie."""
    if all(leaf.is_fully_addressable for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array)):
        return jax.device_get(tree)
    return multihost_utils.process_allgather(tree, tiled=True)


# --- what a configuration says -----------------------------------------------------------------------------------


class Settings(NamedTuple):
    """The section `mesh` of a configuration."""

    platform: str = "auto"
    devices: int | None = None  # how many at most
    data: int = 1
    matmul_precision: str = "auto"
    distributed: str = "auto"
    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None


# A product of float32 matrices is rounded to TF32 by a GPU and to bfloat16 by a TPU unless they are told otherwise.
PRECISION = {"cpu": None, "gpu": "highest", "tpu": "high"}
# What jax calls one pass of bfloat16: what a TPU does by itself, and an algorithm that a GPU has to be told.
BFLOAT16 = {"cpu": "bfloat16", "gpu": "BF16_BF16_F32", "tpu": "bfloat16"}
# What the user has told jax himself, and what `begin` has told it last: a run must not inherit an earlier run's choice.
_told_precision: dict[str, str | None] = {}


def settings_of(config: Mapping[str, Any]) -> Settings:
    """The settings of a configuration; those of a machine by itself where it has none."""
    return Settings(**(config.get("mesh") or {}))


def begin(settings: Settings) -> None:
    """Join the other processes, if there are any, choose the devices and how precisely they multiply.

    It must come before jax computes anything, save where nothing of the sort is asked for. Raises UserError where
    there are no such devices, or not as many.
    """
    _join(settings)
    if settings.platform == "cpu" and not started():
        jax.config.update("jax_platforms", "cpu")  # leaves the memory of a GPU alone
    devices = devices_of(settings)
    if settings.platform not in ("auto", jax.default_backend()):
        jax.config.update("jax_default_device", devices[0])
    _choose_precision(settings.matmul_precision, _kind(devices[0]))


def _choose_precision(wanted: str, kind: str) -> None:
    """Tell jax how precisely products of float32 are computed that do not say so themselves."""
    name = "jax_default_matmul_precision"
    if jax.config.values[name] != _told_precision.get("run", ""):
        _told_precision["user"] = jax.config.values[name]
    precision: str | None = wanted
    if wanted == "auto":
        precision = _told_precision.get("user") or PRECISION.get(kind)
    elif wanted == "default":
        precision = None
    elif wanted == "bfloat16":
        precision = BFLOAT16.get(kind, wanted)
        if kind == "cpu" and is_first():
            told = "infojax: mesh.matmul_precision=bfloat16 changes nothing on a CPU, which multiplies in float32"
            print(told, file=sys.stderr)
    _told_precision["run"] = precision
    jax.config.update(name, precision)


def begin_alone(settings: Settings, command: str) -> None:
    """`begin` for what runs in one process and has no data to spread, only seeds.

    Raises UserError also where several processes or shards are asked for, or a cluster of processes is recognised.
    """
    check_alone(settings, command)
    if settings.distributed != "off" and recognised():
        raise UserError(
            f"infojax {command} runs in one process, and this is one of several; start it once, or use "
            "mesh.distributed=off to leave each alone"
        )
    begin(settings._replace(distributed="off"))


def check_alone(settings: Settings, command: str) -> None:
    """Refuse what only training has: data of a seed in shards, and several processes."""
    if settings.data != 1:
        raise UserError(
            f"mesh.data={settings.data} spreads the data of a seed, which only infojax train does; use mesh.data=1: "
            f"infojax {command} spreads seeds over devices, with seeds=vmap"
        )
    named = {"coordinator": settings.coordinator, "processes": settings.processes, "process": settings.process}
    for key, value in named.items():
        if value is not None:
            raise UserError(
                f"mesh.{key}={value} is for several processes, and infojax {command} runs in one; leave it null"
            )


def devices_of(settings: Settings) -> list[Any]:
    """The devices that a run may take; raises UserError where there are no such devices, or not as many."""
    try:
        devices = jax.devices(None if settings.platform == "auto" else settings.platform)
    except RuntimeError as error:
        there = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
        raise UserError(
            f"mesh={settings.platform} finds no such device, jax sees {there}; install infojax with the extra for it, "
            "or use mesh=auto"
        ) from error
    wanted = len(devices) if settings.devices is None else settings.devices
    if wanted > len(devices):
        raise UserError(
            f"mesh.devices={wanted} is more than there are, {len(devices)} x {devices[0].device_kind}; use at most "
            f"{len(devices)}, or null for all"
        )
    return devices[:wanted]


def facts(mesh: Mesh) -> dict[str, Any]:
    """What a summary says of the devices."""
    return {
        "devices": {name: int(size) for name, size in mesh.shape.items()},
        "processes": jax.process_count(),
        "matmul_precision": jax.config.values["jax_default_matmul_precision"] or "default",
    }


def _kind(device: Any) -> str:
    """cpu, gpu or tpu."""
    return "gpu" if device.platform in ("cuda", "rocm") else device.platform


def started() -> bool:
    """Whether jax has made its devices: from then on it refuses to change their number."""
    devices = jax.config.values["jax_num_cpu_devices"]
    try:
        jax.config.update("jax_num_cpu_devices", 1 if devices != 1 else 2)
    except RuntimeError:
        return True
    jax.config.update("jax_num_cpu_devices", devices)
    return False


# --- processes ---------------------------------------------------------------------------------------------------


def _join(settings: Settings) -> None:
    """Start jax's multi-host runtime where a cluster is recognised or named; nothing happens elsewhere."""
    named = (settings.coordinator, settings.processes, settings.process)
    explicit = any(value is not None for value in named)
    if settings.distributed == "off" or jax.distributed.is_initialized():
        return
    if explicit and None in named:
        raise UserError(
            f"mesh.coordinator={_shown(named[0])}, mesh.processes={_shown(named[1])} and mesh.process="
            f"{_shown(named[2])} go together; give all three, or none of them where the cluster is recognised"
        )
    if settings.process is not None and settings.processes is not None and settings.process >= settings.processes:
        raise UserError(
            f"mesh.process={settings.process} is one of mesh.processes={settings.processes}, counted from 0; use at "
            f"most {settings.processes - 1}"
        )
    if not explicit and not recognised():
        return
    if started():
        raise UserError(
            "several processes must join before jax computes anything, and it has already begun in this one; start a "
            "process anew, or use mesh.distributed=off"
        )
    try:
        jax.distributed.initialize(*named)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"the processes of mesh.coordinator={_shown(named[0])} did not come together ({error}); start all of "
            "them within five minutes, or use mesh.distributed=off"
        ) from error


def _shown(value: Any) -> str:
    return "null" if value is None else str(value)


def recognised() -> bool:
    """Whether the environment says that this is one of several processes, in a way that jax understands."""
    given = os.environ
    slurm = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
    if all(name in given for name in slurm) and int(given["SLURM_NTASKS"]) > 1:
        return True
    if "OMPI_MCA_orte_hnp_uri" in given and int(given.get("OMPI_COMM_WORLD_SIZE", "1")) > 1:
        return True
    if "KUBERNETES_SERVICE_HOST" in given and "JOB_COMPLETION_INDEX" in given and _installed("kubernetes"):
        return True
    if not _installed("libtpu"):
        return False
    hosts = given.get("TPU_WORKER_HOSTNAMES") or given.get("TPU_PROCESS_ADDRESSES") or ""
    # A host of Google's own cloud, which jax asks for its neighbours; without a TPU there is nobody to ask.
    chips = [*Path("/dev").glob("accel*"), *Path("/dev/vfio").glob("[0-9]*")]
    asks = "TPU_SKIP_MDS_QUERY" not in given and not hosts and bool(chips)
    return "," in hosts or "MEGASCALE_COORDINATOR_ADDRESS" in given or asks


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def is_first() -> bool:
    """Whether this process is the one that writes and prints."""
    return jax.process_index() == 0


def any_process(flag: bool) -> bool:
    """Whether it is so in any process; all of them must ask."""
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))


def told(text: str) -> str:
    """The text of the first process, in all of them."""
    if jax.process_count() == 1:
        return text
    words = np.frombuffer(text.encode(), np.uint8)
    length = int(multihost_utils.broadcast_one_to_all(np.asarray(len(words), np.int32)))
    padded = np.zeros(length, np.uint8)
    padded[: min(length, len(words))] = words[:length]
    return bytes(np.asarray(multihost_utils.broadcast_one_to_all(padded))).decode()


def together(name: str) -> None:
    """Wait until all processes are here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)
