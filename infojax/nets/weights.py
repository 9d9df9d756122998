"""Weights in files: reading them safely, bringing torch's names and layouts to flax, writing and restoring our own.

No file is ever executed: safetensors are parsed here, .npz are read without pickles, and a torch file, which is a
pickle, is read by torch itself, which then admits nothing but arrays.

| torch | flax |
|---|---|
| convolution `weight` [out, in, height, width] | `kernel` [height, width, in, out] |
| linear `weight` [out, in] | `kernel` [in, out] |
| norm `weight`, `bias`, `running_mean`, `running_var` | `scale`, `bias`, and in batch_stats `mean`, `var` |
| `layer1.0.conv1` | `layer1_0/conv1` |

A safetensors file is the length of its header (8 bytes, little-endian), the header (JSON: name -> dtype, shape, and
where in the rest its bytes begin and end; `__metadata__`: text -> text), and the arrays, row-major, without gaps.
"""

import hashlib
import importlib
import json
import math
import os
import pickle
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from infojax.types import UserError

Layout = Literal["auto", "torchvision", "timm", "robustbench", "infojax"]

_DTYPES: dict[str, Any] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": jnp.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
_CODES = {np.dtype(dtype): code for code, dtype in _DTYPES.items()}
_HEADER_BYTES = 100_000_000  # the most that the format allows
_CHECKSUM = "sha256"
_TORCH_SUFFIXES = (".pt", ".pth", ".tar", ".bin", ".ckpt")
_TO_CONVERT = "convert it where torch is, by safetensors.torch.save_file(state_dict, 'weights.safetensors')"
# Where checkpoints keep the arrays among other things, such as the state of an optimiser.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
# Buffers by which a model normalises its own inputs: (mean, deviation).
_CONSTANTS = (("normalize.mean", "normalize.std"), ("mu", "sigma"))
# Names of other libraries and what they are here; on whole names without the last part.
_RENAMED = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^block(\d+)\.layer\.", r"block\1."),
        (r"\bconvShortcut\b", "shortcut"),
        (r"\bdownsample\b", "down"),
        (r"^conv_proj\b", "patch_embed.proj"),
        (r"^class_token$", "cls_token"),
        (r"^encoder\.pos_embedding$", "pos_embed"),
        (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
        (r"\bln_(\d)\b", r"norm\1"),
        (r"\bself_attention\.in_proj_", "attn.qkv."),
        (r"\bself_attention\.out_proj\b", "attn.proj"),
        (r"\bmlp\.(0|linear_1)\b", "mlp.fc1"),
        (r"\bmlp\.(3|linear_2)\b", "mlp.fc2"),
        (r"^encoder\.ln\b", "norm"),
        (r"^heads\.head\b", "head"),
    )
)
# What says nothing about the outputs: a counter of torch, and a second first block that no forward pass of TRADES' wide
# residual networks sees.
_IGNORED = re.compile(r"(^|\.)num_batches_tracked$|^sub_block1\.")


# --- reading -----------------------------------------------------------------------------------------------------


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a file by their names in it.

    Args:
        path: .safetensors, .npz, or a torch file (.pt, .pth, .tar, .bin, .ckpt), for which torch has to be installed.

    Raises:
        UserError: there is no such file, it is damaged, or it holds more than arrays.
    """
    file = _file(path)
    if file.suffix == ".safetensors":
        return _safetensors(file)[0]
    if file.suffix == ".npz":
        return _npz(file)
    if file.suffix in _TORCH_SUFFIXES:
        return _torch(file)
    raise UserError(f"weights={path} is of no known kind; give a .safetensors, an .npz or a torch file (.pt, .pth)")


def metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """What was written into a safetensors file besides its arrays.

    Raises:
        UserError: the file is damaged.
    """
    found = _safetensors(_file(path))[1]
    return {key: value for key, value in found.items() if key != _CHECKSUM}


def _file(path: str | os.PathLike[str]) -> Path:
    file = Path(path)
    if not file.is_file():
        raise UserError(f"weights={path} is not a file; give a .safetensors, an .npz or a torch file")
    return file


def _safetensors(file: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    content = memoryview(file.read_bytes())

    def damaged(why: str) -> UserError:
        return UserError(f"weights={file} is no whole safetensors file: {why}; fetch or write it again")

    if len(content) < 8:
        raise damaged(f"it has {len(content)} bytes")
    length = int.from_bytes(content[:8], "little")
    if length > min(len(content) - 8, _HEADER_BYTES):
        raise damaged(f"its header should have {length} bytes, the file has {len(content)}")
    try:
        header = json.loads(bytes(content[8 : 8 + length]), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise damaged(f"its header is not read ({error})") from None
    if not isinstance(header, dict):
        raise damaged("its header is no table")
    notes = header.pop("__metadata__", {})
    if not isinstance(notes, dict) or not all(isinstance(text, str) for text in notes.values()):
        raise damaged("its metadata is not text")
    body = content[8 + length :]
    arrays, spans = {}, []
    for name, entry in header.items():
        fault = _fault(entry)
        if fault:
            raise damaged(f"{name} {fault}")
        dtype, shape, (begin, end) = np.dtype(_DTYPES[entry["dtype"]]), entry["shape"], entry["data_offsets"]
        if not begin <= end <= len(body):
            raise damaged(f"{name} is at bytes {begin} to {end} of {len(body)}")
        if end - begin != math.prod(shape) * dtype.itemsize:
            raise damaged(f"{name} of shape {tuple(shape)} has {end - begin} bytes")
        spans.append((begin, end))
        try:
            arrays[name] = np.frombuffer(body[begin:end], dtype).reshape(shape)
        except (ValueError, OverflowError) as error:
            raise damaged(f"{name} of shape {tuple(shape)} cannot be ({error})") from None
    expected = 0
    for begin, end in sorted(spans):
        if begin != expected:
            raise damaged(f"its arrays do not join at byte {expected}")
        expected = end
    if expected != len(body):
        raise damaged(f"its arrays end at byte {expected} of {len(body)}")
    if _CHECKSUM in notes and notes[_CHECKSUM] != _checksum(header, body):
        raise damaged("its checksum is another, it was changed")
    return arrays, notes


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name stands twice")
    return table


def _fault(entry: Any) -> str:
    """What is wrong with a header's entry; empty where nothing is."""

    def whole(numbers: Any) -> bool:
        return isinstance(numbers, list) and all(type(number) is int and number >= 0 for number in numbers)

    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        return "is not described by dtype, shape and data_offsets"
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in _DTYPES:
        return f"is of dtype {entry['dtype']}, which is none of {', '.join(_DTYPES)}"
    if not whole(entry["shape"]) or not whole(entry["data_offsets"]) or len(entry["data_offsets"]) != 2:
        return "has a shape or data_offsets that are no natural numbers"
    return ""


def _npz(file: Path) -> dict[str, np.ndarray]:
    try:
        with file.open("rb") as opened:  # numpy leaves what it opens itself open where it fails
            archive = np.load(opened, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise UserError(f"weights={file} holds one array without a name; save all by numpy.savez")
            with archive:
                return {name: archive[name] for name in archive.files}
    except UserError:
        raise
    except (OSError, ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        if "pickle" in str(error):
            raise UserError(
                f"weights={file} holds a pickle, which is not read because it can run any program; "
                f"save plain arrays by numpy.savez"
            ) from None
        raise UserError(f"weights={file} is no whole .npz file ({error}); fetch or write it again") from None


def _torch(file: Path) -> dict[str, np.ndarray]:
    try:
        torch: Any = importlib.import_module("torch")
    except ImportError:
        raise UserError(f"weights={file} is a torch file and torch is not installed; {_TO_CONVERT}") from None
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 6):
        # Before 2.6, a file could run a program in spite of weights_only (CVE-2025-32434).
        raise UserError(f"weights={file} needs torch 2.6 to be read safely, here is {torch.__version__}; {_TO_CONVERT}")
    try:
        content = torch.load(file, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError:
        raise UserError(
            f"weights={file} holds more than arrays and is not read, because it could run any program; {_TO_CONVERT}"
        ) from None
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"weights={file} is no whole torch file ({error}); fetch or write it again") from None
    inner = content
    while isinstance(inner, Mapping):
        content = inner
        inner = next((content[name] for name in _WRAPPERS if isinstance(content.get(name), Mapping)), None)
    if not isinstance(content, Mapping):
        raise UserError(f"weights={file} holds no table of arrays but {type(content).__name__}; save a state_dict")
    arrays = {}
    for name, value in content.items():
        if torch.is_tensor(value):
            value = value.detach()
            # Every such type is exact in float32, and numpy has none of them.
            narrow = value.is_floating_point() and value.dtype not in (torch.float16, torch.float32, torch.float64)
            arrays[str(name)] = (value.float() if narrow else value).numpy()
    return arrays


# --- names and layouts -------------------------------------------------------------------------------------------


def path_of(keys: Sequence[Any]) -> str:
    """A path of jax.tree_util as `params/conv1/kernel`."""
    return "/".join(str(getattr(key, "key", key)) for key in keys)


def layout_of(arrays: Mapping[str, Any]) -> Layout:
    """Whose names these are; where torchvision and timm agree, as for residual networks, torchvision's."""
    plain, constants_found = _plain(arrays)
    if any(name.startswith("params/") for name in plain):
        return "infojax"
    if any(name.startswith("patch_embed.") for name in plain):
        return "timm"
    if constants_found or any(name.startswith("block1.layer.") for name in plain):
        return "robustbench"
    return "torchvision"


def constants(arrays: Mapping[str, np.ndarray]) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and deviation by which the model of these arrays normalises its inputs; None where they do not say.

    Raises:
        UserError: a deviation that is not positive.
    """
    found = _plain(arrays)[1]
    if found is None:
        return None
    mean, deviation = (tuple(float(value) for value in np.ravel(values)) for values in found)
    if not all(map(math.isfinite, mean + deviation)) or not all(value > 0 for value in deviation):
        raise UserError(f"the weights normalise images by mean {mean} and deviation {deviation}; take another file")
    return mean, deviation


def _plain(arrays: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[Any, Any] | None]:
    """Names without the prefixes that wrappers of models leave, and the constants of normalisation apart."""
    plain, found = dict(arrays), None
    for prefix in ("module.", "model.", "module."):
        for mean, deviation in _CONSTANTS:
            if mean in plain and deviation in plain:
                found = plain.pop(mean), plain.pop(deviation)
        if plain and all(name.startswith(prefix) for name in plain):
            plain = {name.removeprefix(prefix): value for name, value in plain.items()}
    return plain, found


def load(arrays: Mapping[str, np.ndarray], variables: Any, layout: Layout = "auto") -> Any:
    """Variables of the form of `variables` with the values of `arrays`.

    Args:
        arrays: by name, such as `read` gives them.
        variables: what the flax module was initialised to, or the shapes of that.
        layout: whose names the arrays have.

    Returns:
        A tree like `variables`, in its dtypes.

    Raises:
        UserError: arrays that are missing, not of this model, of another shape, or not finite: all of them in one
            sentence.
    """
    layout = layout_of(arrays) if layout == "auto" else layout
    leaves, structure = jax.tree_util.tree_flatten_with_path(variables)
    wanted = {path_of(path): leaf for path, leaf in leaves}
    given: dict[str, tuple[str, np.ndarray]] = {}
    for name, array in _plain(arrays)[0].items():
        if layout == "infojax":
            given[name] = name, np.asarray(array)
        elif not _IGNORED.search(name):
            path, value = _converted(name, np.asarray(array))
            if path in given:
                raise UserError(
                    f"the weights do not fit the model: {given[path][0]} and {name} are the same array of it"
                )
            given[path] = name, value
    faults = _faults(given, wanted)
    if faults:
        raise UserError(f"the weights do not fit the model: {'; '.join(faults)}")
    values = [jnp.asarray(given[path][1].astype(leaf.dtype)) for path, leaf in wanted.items()]
    return jax.tree.unflatten(structure, values)


def _converted(name: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    """Path and array in flax of one of torch."""
    for pattern, replacement in _RENAMED:
        name = pattern.sub(replacement, name)
    *parts, last = re.sub(r"\.(\d+)(?=\.)", r"_\1", name).split(".")
    collection = "params"
    if last == "weight" and array.ndim == 4:
        last, array = "kernel", array.transpose(2, 3, 1, 0)
    elif last == "weight" and array.ndim == 2:
        last, array = "kernel", array.T
    elif last == "weight":
        last = "scale"
    elif last in ("running_mean", "running_var"):
        collection, last = "batch_stats", last.removeprefix("running_")
    return "/".join((collection, *parts, last)), array


def _faults(given: Mapping[str, tuple[str, np.ndarray]], wanted: Mapping[str, Any]) -> list[str]:
    """In words, in which ways arrays are not those that are wanted."""
    faults = []
    for head in ("params/fc/kernel", "params/head/kernel"):
        if head in given and head in wanted and given[head][1].ndim == 2:
            theirs, ours = given[head][1].shape[-1], wanted[head].shape[-1]
            if theirs != ours:
                faults.append(f"they are of {theirs} classes, the model is of {ours}")
    missing = [path for path in wanted if path not in given]
    if missing and all(path.startswith("batch_stats/") for path in missing):
        faults.append("they have no running statistics, as of a model with group normalisation (model.norm=group)")
    elif missing:
        faults.append(f"missing {_some(missing)}")
    unexpected = [name for path, (name, _) in given.items() if path not in wanted]
    if unexpected:
        faults.append(f"not of this model {_some(unexpected)}")
    shared = [(path, *given[path]) for path in wanted if path in given]
    misshapen = [
        f"{name} (as {value.shape}, not {tuple(wanted[path].shape)})"
        for path, name, value in shared
        if value.shape != tuple(wanted[path].shape)
    ]
    if misshapen:
        faults.append(f"of another shape {_some(misshapen)}")
    other = [name for _, name, value in shared if not jnp.issubdtype(value.dtype, jnp.floating)]
    if other:
        faults.append(f"no real numbers in {_some(other)}")
    broken = [
        name
        for path, name, value in shared
        if name not in other and (not np.isfinite(value.astype(np.float32)).all() or _negative(path, value))
    ]
    if broken:
        faults.append(f"numbers that are not finite, or negative variances, in {_some(broken)}")
    return faults


def _negative(path: str, value: np.ndarray) -> bool:
    return path.startswith("batch_stats/") and path.endswith("/var") and bool((value < 0).any())


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


# --- our own files -----------------------------------------------------------------------------------------------


def save(path: str | os.PathLike[str], variables: Any, metadata: Mapping[str, str] | None = None) -> None:
    """Write variables, by their paths, as a safetensors file; a file that was there is replaced in one step.

    Args:
        path: of the file.
        variables: a tree of dictionaries of arrays.
        metadata: text to be kept with them.
    """
    file = Path(path)
    leaves = jax.tree_util.tree_flatten_with_path(variables)[0]
    header, parts, begin = {}, [], 0
    for keys, leaf in sorted(leaves, key=lambda item: path_of(item[0])):
        array = np.ascontiguousarray(leaf).reshape(np.shape(leaf))
        content = array.tobytes()
        offsets = [begin, begin + len(content)]
        header[path_of(keys)] = {"dtype": _CODES[array.dtype], "shape": list(array.shape), "data_offsets": offsets}
        parts.append(content)
        begin = offsets[1]
    body = b"".join(parts)
    notes = {**(metadata or {}), _CHECKSUM: _checksum(header, body)}
    words = json.dumps({"__metadata__": notes, **header}).encode()
    words += b" " * (-len(words) % 8)
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    unfinished.write_bytes(len(words).to_bytes(8, "little") + words + body)
    unfinished.replace(file)


def restore(path: str | os.PathLike[str]) -> Any:
    """The tree of dictionaries that `save` wrote, bit for bit.

    Raises:
        UserError: there is no such file, or it is damaged or changed, or not by `save`.
    """
    arrays, notes = _safetensors(_file(path))
    if _CHECKSUM not in notes:
        raise UserError(f"weights={path} was not written by infojax; give it as the weights of a model")
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        *parents, last = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = jnp.asarray(array)
    return tree


def _checksum(header: Mapping[str, Any], body: bytes | memoryview) -> str:
    return hashlib.sha256(json.dumps(header, sort_keys=True).encode() + bytes(body)).hexdigest()
