"""Checkpoints that hold everything, kept to the last few and the best; orbax writes them.

A checkpoint appears by renaming a finished folder, so a run killed while saving leaves the one before untouched.
Checksums tell a damaged one, and restoring then falls back to its predecessor and says so. Several processes write into
one folder that all of them see, each what its devices hold; what is restored takes the layout of now.
"""

import base64
import json
import logging
import shutil
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from infojax.run.log import write_json
from infojax.run.mesh import is_first, together, told
from infojax.types import UserError

MANIFEST = "manifest.json"


class Restored(NamedTuple):
    """A run as it stood after `chunk` chunks."""

    chunk: int
    state: Any
    host: list[bytes]  # one blob per seed for environments on the host
    record: dict[str, Any]  # what the runner wrote beside it


class Checkpoints(NamedTuple):
    """Saving and restoring in one run directory."""

    save: Callable[..., None]  # (chunk, state, host, record, score)
    restore: Callable[[Any], Restored | None]  # (a state of the same structure) -> the newest sound one
    close: Callable[[], None]


def checkpoints(folder: Path, keep: int) -> Checkpoints:
    """The checkpoints of `folder`: the last `keep` and the one of the highest score."""
    # orbax reports every step of its work at INFO level; a run tells its own progress.
    logging.getLogger("absl").setLevel(logging.ERROR)
    policy = AnyPreservationPolicy([LatestN(keep), BestN(get_metric_fn=lambda m: m["score"], n=1)])
    options = ocp.CheckpointManagerOptions(
        preservation_policy=policy,
        enable_async_checkpointing=False,
        cleanup_tmp_directories=True,
    )
    manager = ocp.CheckpointManager(folder.resolve(), options=options)

    def save(chunk: int, state: Any, host: list[bytes], record: dict[str, Any], score: float) -> None:
        leaves = _leaves(state)
        meta = {
            "record": record,
            "layout": _layout(leaves),
            "host": [base64.b64encode(blob).decode() for blob in host],
        }
        items = ocp.args.Composite(state=ocp.args.StandardSave(leaves), meta=ocp.args.JsonSave(meta))
        manager.save(chunk, args=items, metrics={"score": score}, force=True)
        step_folder = folder / str(chunk)
        if is_first():
            write_json(step_folder / MANIFEST, _checksums(step_folder))
        together(f"checkpoint {chunk}")

    def restore(like: Any) -> Restored | None:
        chunk = int(told(str(_newest_sound(folder, manager.all_steps()) if is_first() else "")))
        manager.reload()
        return None if chunk < 0 else _restore(manager, chunk, like)

    return Checkpoints(save, restore, manager.close)


def _newest_sound(folder: Path, chunks: Sequence[int]) -> int:
    """The newest checkpoint that is as it was written, −1 where there is none; damaged ones are taken away."""
    for chunk in sorted(chunks, reverse=True):
        damaged = _damaged(folder / str(chunk))
        if not damaged:
            return chunk
        print(f"infojax: checkpoint {chunk} in {folder} is damaged ({damaged}); trying the one before", flush=True)
        shutil.rmtree(folder / str(chunk))
    return -1


def _restore(manager: ocp.CheckpointManager, chunk: int, like: Any) -> Restored:
    meta = manager.restore(chunk, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"]
    leaves = _leaves(like)
    if meta["layout"] != _layout(leaves):
        raise UserError(
            f"the checkpoint in {manager.directory} belongs to another agent or environment: its arrays do not match "
            "this configuration; choose another run_dir, or overwrite=true to start afresh"
        )
    abstract = {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None))
        for name, leaf in leaves.items()
    }
    saved = manager.restore(chunk, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract)))["state"]
    host = [base64.b64decode(blob) for blob in meta["host"]]
    return Restored(chunk, _rebuild(like, saved), host, meta["record"])


def _checksums(folder: Path) -> dict[str, int]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {str(path.relative_to(folder)): zlib.crc32(path.read_bytes()) for path in files}


def _damaged(folder: Path) -> str:
    """What is wrong with a checkpoint's files; empty when they are as they were written."""
    manifest = folder / MANIFEST
    if not manifest.exists():
        return "it was being written when the run was killed"
    try:
        written = json.loads(manifest.read_text())
    except ValueError:
        return f"{MANIFEST} cannot be read"
    found = _checksums(folder)
    wrong = [name for name in sorted(written.keys() | found.keys()) if written.get(name) != found.get(name)]
    return f"{wrong[0]} is not as it was written" if wrong else ""


# Compiled, because without jit jax refuses arrays of which other processes hold a part.
_words = jax.jit(jax.random.key_data)
_keys = jax.jit(jax.random.wrap_key_data)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _named(tree: Any) -> list[tuple[str, Any]]:
    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [(f"{index:04d}{jax.tree_util.keystr(path)}", leaf) for index, (path, leaf) in enumerate(paths)]


def _leaves(tree: Any) -> dict[str, Any]:
    """Leaf by name; random keys as their words; without those of no elements, which orbax refuses."""
    named = {f"leaf_{name[:4]}": leaf for name, leaf in _named(tree)}
    words = {name: _words(leaf) if _is_key(leaf) else leaf for name, leaf in named.items()}
    return {name: leaf for name, leaf in words.items() if leaf.size}


def _layout(leaves: dict[str, Any]) -> dict[str, list[Any]]:
    return {name: [str(leaf.dtype), *leaf.shape] for name, leaf in leaves.items()}


def _rebuild(like: Any, saved: dict[str, Any]) -> Any:
    def rebuilt(name: str, leaf: Any) -> Any:
        if not leaf.size:
            return leaf
        value = saved[f"leaf_{name[:4]}"]
        return _keys(value) if _is_key(leaf) else value

    leaves = [rebuilt(name, leaf) for name, leaf in _named(like)]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)
