"""Compile what a run would run for a TPU slice, on a machine without one, and read what it takes.

libtpu holds the whole TPU compiler, which needs no TPU. The programs are those of training, adapting and estimating
themselves, lowered from shapes alone over a mesh of the slice's chips: no weight is drawn, no image read, nothing run.

Memory is the compiler's own account and hard: what does not fit here does not fit there. FLOPs are those of matrix
products and convolutions as they are written, with every loop counted as often as it turns (XLA's own count, beside
it, takes the body of a loop once). Cycles are the compiler's guess for each fused operation, times its turns; times of
collectives, sorts and copies are not in them. None of it is a measurement.
"""

import contextlib
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.extend.core import ClosedJaxpr, Jaxpr
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from infojax.run import adaptation, estimation, training
from infojax.run import config as configuration
from infojax.run.directory import origin
from infojax.run.log import say, wide, write_json
from infojax.run.loop import device_programs, host_programs
from infojax.run.mesh import (
    BFLOAT16,
    DATA_AXES,
    PRECISION,
    SEED_AXIS,
    Seeds,
    beside_mesh,
    check_alone,
    over_seeds,
    seed_mesh,
    settings_of,
)
from infojax.types import Agent, Environment, HostFactory, Model, Rollout, UserError

FILE = "lower.json"
SHOWN = 8  # of the largest buffers
FEW = 4  # programs
BATCHES = 2  # of a stream: the loop over one would be opened, and what it learns never be read
# Without these libtpu asks the machine's metadata server which slice it is a worker of, and refuses a second process,
# since it would have to share the chips that nobody wants here.
NO_SLICE = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
}


class Chip(NamedTuple):
    """What Google publishes of a chip (cloud.google.com/tpu/docs/v4, /v5e, /v5p, /v6e)."""

    flops: float  # per second at its peak, in bfloat16
    memory: float  # bytes of HBM
    bandwidth: float  # bytes of HBM per second
    example: str  # a slice, to show the form of its name


CHIPS = {
    "v4": Chip(275e12, 32e9, 1200e9, "v4:2x2x1"),
    "v5e": Chip(197e12, 16e9, 819e9, "v5e:4x4"),
    "v5p": Chip(459e12, 95e9, 2765e9, "v5p:2x2x1"),
    "v6e": Chip(918e12, 32e9, 1640e9, "v6e:4x4"),
}


class Topology(NamedTuple):
    """A slice that is not there."""

    name: str
    chip: Chip
    devices: list[Any]  # one for each chip


class Program(NamedTuple):
    """One jitted function of a run with the shapes of its arguments."""

    name: str
    function: Any
    arguments: tuple[Any, ...]
    chips: int
    seeds: int
    steps: int  # environment steps, images or samples of one seed that a call takes


def lower_from_config(config: dict[str, Any], slice_name: str) -> dict[str, Any]:
    """Compile what the run of a configuration would run on a slice; prints it, and writes `lower.json`.

    Returns:
        What the file holds: of each program memory per chip, FLOPs, collectives, largest buffers, seconds.

    Raises:
        UserError: no such slice, no libtpu, a run that cannot be, or one that does not fit into memory.
    """
    there = topology(slice_name)
    precision = settings_of(config).matmul_precision
    precision = {"auto": PRECISION["tpu"], "bfloat16": BFLOAT16["tpu"]}.get(precision, precision)
    with jax.default_matmul_precision(precision):
        made = programs(config, there.devices)
        found = {program.name: read(program) for program in made}
    run_dir = configuration.run_directory(config)
    summary = {
        "topology": there.name,
        "chips": len(there.devices),
        "chip": there.chip._asdict(),
        "matmul_precision": precision,
        "choices": config["choices"],
        "programs": found,
        "libtpu": _libtpu(),
        **origin(),
    }
    run_dir.mkdir(parents=True, exist_ok=True)
    write_json(run_dir / FILE, summary)
    print_lowered(summary, run_dir)
    return summary


# --- the slice ---------------------------------------------------------------------------------------------------


def topology(name: str) -> Topology:
    """The slice of this name, such as `v5e:4x4`.

    Raises:
        UserError: no such slice, or no libtpu to describe it.
    """
    kind, _, shape = name.partition(":")
    examples = ", ".join(chip.example for chip in CHIPS.values())
    if kind not in CHIPS or not re.fullmatch(r"[1-9]\d*x[1-9]\d*(x[1-9]\d*)?", shape):
        raise UserError(f"topology={name} is not a TPU slice; give the chip and its layout, such as {examples}")
    for variable, value in NO_SLICE.items():
        os.environ.setdefault(variable, value)
    # The two cores of a v4 chip work as one device in practice; the compiler has to be told.
    options = {"chip_config_name": "megacore"} if kind == "v4" else {}
    try:
        with _without_stderr():
            found = topologies.get_topology_desc(name, "tpu", **options)
    except RuntimeError as error:  # jax's own errors among them
        raise UserError(_why_not(name, str(error))) from error
    return Topology(name, CHIPS[kind], list(found.devices))


def _libtpu() -> str | None:
    try:
        return version("libtpu")
    except PackageNotFoundError:  # a library by itself, named by TPU_LIBRARY_PATH
        return None


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """Keep to itself what a library writes: that it finds no TPU, which is no news."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _why_not(name: str, reason: str) -> str:
    kind, _, shape = name.partition(":")
    if "TPU support not installed" in reason:
        return (
            "infojax lower needs the TPU compiler, libtpu, which is not installed; it comes with "
            "`pip install 'infojax[tpu]'` and needs no TPU"
        )
    if "INVALID_ARGUMENT" in reason or "NOT_FOUND" in reason:
        smallest = "2x2x1" if shape.count("x") == 2 else "2x2"
        return (
            f"topology={name} is not a slice that {kind} comes in; take sides that are multiples of 2, such as "
            f"{CHIPS[kind].example}; {kind}:{smallest} is the smallest"
        )
    return f"libtpu does not describe topology={name}: {reason}"


# --- the programs ------------------------------------------------------------------------------------------------


def programs(config: Mapping[str, Any], devices: Sequence[Any]) -> list[Program]:
    """What the run of a configuration compiles, the main one first, over a mesh of given devices.

    Raises:
        UserError: what the run itself would refuse.
    """
    app = configuration.app_of(config).name
    return {"train": _training, "adapt": _adapting, "estimate": _estimating}[app](dict(config), devices)


def _key() -> Any:
    return jax.eval_shape(lambda: jax.random.key(0))


def _over(count: int, tree: Any, shards: int = 1) -> Any:
    """Shapes of one seed as those of `count` seeds, of several shards each."""
    leading = (count,) if shards == 1 else (count, shards)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*leading, *leaf.shape), leaf.dtype), tree)


def _laid_out(tree: Any, mesh: Mesh) -> Any:
    """Shapes with how they lie on a mesh: by seeds, and by shards of their data where it has an axis for them."""
    spread = DATA_AXES[0] in mesh.axis_names
    layout = NamedSharding(mesh, PartitionSpec(SEED_AXIS, DATA_AXES[0]) if spread else PartitionSpec(SEED_AXIS))
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=layout), tree)


def _everywhere(tree: Any, mesh: Mesh) -> Any:
    """Shapes of what lies once on every device."""
    layout = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=layout), tree)


def _training(config: dict[str, Any], devices: Sequence[Any]) -> list[Program]:
    built = configuration.build(config)
    agent, environment, count = built.agent, built.environment, config["num_seeds"]
    if not isinstance(environment, Environment):
        return _host_programs(agent, environment, count, seed_mesh(count, devices), config["seeds"])
    shards = environment.spec.data_shards
    mesh = seed_mesh(count, devices, shards)
    iterations = training.plan_of(agent, config).iterations
    made = device_programs(agent, environment, iterations, mesh, config["seeds"])
    roots, numbers = _over(count, _key(), shards), _over(count, jax.ShapeDtypeStruct((), jnp.int32), shards)
    pool = jax.eval_shape(made.pool, roots, numbers)
    state = jax.eval_shape(made.init, roots, pool)
    steps = iterations * agent.unroll * agent.num_envs * shards
    return [
        Program("chunk", made.chunk, _laid_out((state, pool), mesh), mesh.size, count, steps),
        Program("pool", made.pool, _laid_out((roots, numbers), mesh), mesh.size, count, steps),
    ]


def _host_programs(agent: Agent, factory: HostFactory, count: int, mesh: Mesh, how: Seeds) -> list[Program]:
    """Update and act, between which the environments step on the host."""
    made, spec = host_programs(agent, factory.spec, mesh, how), factory.spec
    observations = jax.ShapeDtypeStruct((count, agent.num_envs, *spec.observation_shape), jnp.float32)
    state = jax.eval_shape(made.init, _over(count, _key()), observations)
    moving, timestep = state._replace(agent=(), timestep=(), visited=()), state.timestep
    _, action, extras, first = jax.eval_shape(made.act, state.agent, moving, timestep)
    step = Rollout(
        observation=timestep.observation,
        first=first,
        action=action,
        reward=timestep.reward,
        terminated=timestep.terminated,
        truncated=timestep.truncated,
        next_observation=timestep.final_observation,
        extras=extras,
    )
    rollout = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((count, agent.unroll, *leaf.shape[1:]), leaf.dtype), step)
    updated, acted = _laid_out(((state.agent, moving.key, rollout), (state.agent, moving, timestep)), mesh)
    return [
        Program("update", made.update, updated, mesh.size, count, agent.unroll * agent.num_envs),
        Program("act", made.act, acted, mesh.size, count, agent.num_envs),
    ]


def _adapting(config: dict[str, Any], devices: Sequence[Any]) -> list[Program]:
    """Two batches of every method's stream, which keep its loop one; of the source model the weights' shapes alone.

    Seeds one after the other are a program of one; those side by side have a segment of their streams each.
    """
    check_alone(settings_of(config), "adapt")
    built, together = configuration.build_adaptation(config), config["seeds"] == "vmap"
    data, batch = built.data, built.stream.batch_size
    count = config["num_seeds"] if together else 1
    mesh = beside_mesh(count, devices, config["seeds"])
    held, wanted = None, config["source_images"]
    if wanted:  # clean images that a method may see before the stream
        size = min(adaptation.SOURCE_BATCH, wanted)
        held = jax.ShapeDtypeStruct((wanted // size, size, *data.image_shape), jnp.uint8)
    variables = jax.eval_shape(lambda: built.architecture.init(jax.random.key(0), data.num_classes, data.image_shape))
    table = jax.ShapeDtypeStruct((BATCHES * batch, *data.image_shape), jnp.uint8)
    of_batch, of_row = (BATCHES,), (BATCHES, batch)
    lane = adaptation.Lane(
        order=jax.ShapeDtypeStruct(of_row, jnp.int32),
        mask=jax.ShapeDtypeStruct(of_row, bool),
        learn=jax.ShapeDtypeStruct(of_batch, bool),
        place=jax.ShapeDtypeStruct(of_batch, jnp.int32),
    )
    own = _laid_out(_over(count, (table, _key(), _over(1, lane) if together else lane)), mesh)

    def model(variables: Any) -> Model:
        return built.architecture.bundle(variables, data.num_classes, data.image_shape, data.mean, data.deviation)

    def program(name: str, make: Callable[[Model], Any]) -> Program:
        def init(variables: Any, held: Any) -> Any:
            return make(model(variables)).init(variables, held)

        def run(common: Any, *arguments: Any) -> Any:
            state, variables = common
            return adaptation.program(make(model(variables)))(state, *arguments)

        common = _everywhere((jax.eval_shape(init, variables, held), variables), mesh)
        function = adaptation.spread(run, mesh) if together else over_seeds(run, mesh, "map", common=1)
        return Program(name, function, (common, *own), mesh.size, count, BATCHES * batch)

    alone = config["choices"]["method"]
    return [program(name, make) for name, make in built.methods.items() if alone in (None, name)]


def _estimating(config: dict[str, Any], devices: Sequence[Any]) -> list[Program]:
    """The fit of seeds side by side, or of one where they come one after the other."""
    check_alone(settings_of(config), "estimate")
    built = configuration.build_estimation(config)
    size = estimation.num_samples_of(built.data, config)
    count = config["num_seeds"] if config["seeds"] == "vmap" else 1
    mesh = beside_mesh(count, devices, config["seeds"])
    dims = (built.data.dim_x, built.data.dim_y)[: 2 if config["quantity"] == "mutual_information" else 1]
    samples = tuple(jax.ShapeDtypeStruct((size, dim), jnp.float32) for dim in dims)
    fit = estimation.spread(estimation.fit_of(built.estimator, config), mesh)
    return [Program("fit", fit, _laid_out(_over(count, (_key(), *samples)), mesh), mesh.size, count, size)]


# --- compiling ---------------------------------------------------------------------------------------------------


def read(program: Program) -> dict[str, Any]:
    """Compile a program and say what it takes; all numbers are of one chip and one call.

    Raises:
        UserError: it does not fit into the chips' memory.
    """
    before = time.perf_counter()
    traced = program.function.trace(*program.arguments)
    flops = matrix_flops(traced.jaxpr.jaxpr)
    lowered = traced.lower()
    middle = time.perf_counter()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        reason = str(error)
        if "RESOURCE_EXHAUSTED" not in reason:
            raise
        told = reason.partition("RESOURCE_EXHAUSTED: ")[2].splitlines()[0].strip(" .")
        raise UserError(
            f"{program.name} of {program.seeds} seeds on {program.chips} chips does not fit: {told}; take fewer seeds, "
            "more chips, or smaller sizes, such as a smaller replay"
        ) from error
    after = time.perf_counter()
    text, costs = compiled.as_text(), _costs(compiled.cost_analysis())
    computations = parse(text)
    return {
        "chips": program.chips,
        "seeds": program.seeds,
        "steps": program.steps,
        "memory": memory(compiled.memory_analysis()),
        "matrix_flops": flops,
        "xla_flops_once": costs.get("flops", 0.0),
        "xla_bytes_once": costs.get("bytes accessed", 0.0),
        "cycles": estimated_cycles(computations),
        "collectives": collectives(computations),
        "largest_buffers": largest_buffers(computations),
        "lower_seconds": middle - before,
        "compile_seconds": after - middle,
    }


def _costs(found: Any) -> dict[str, float]:
    return dict(found[0] if isinstance(found, list) else found or {})


def memory(stats: Any) -> dict[str, int]:
    """Bytes on one chip, from XLA's account; `total` counts what inputs and outputs share once."""
    found = {
        "arguments": stats.argument_size_in_bytes,
        "outputs": stats.output_size_in_bytes,
        "aliased": stats.alias_size_in_bytes,
        "temporaries": stats.temp_size_in_bytes,
        "code": stats.generated_code_size_in_bytes,
    }
    return found | {"total": sum(found.values()) - 2 * found["aliased"]}


def matrix_flops(jaxpr: Any) -> float:
    """FLOPs of matrix products and convolutions, two for a product and its sum, loops by their number of turns.

    Of the branches of a `cond` the dearest counts; a loop without a fixed end counts once.
    """
    return sum(_flops(equation) for equation in jaxpr.eqns)


def _flops(equation: Any) -> float:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        left = equation.invars[0].aval.shape
        (contracted, _), _ = params["dimension_numbers"]
        return 2.0 * equation.outvars[0].aval.size * math.prod(left[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval
        outputs = kernel.shape[params["dimension_numbers"].rhs_spec[0]]
        return 2.0 * equation.outvars[0].aval.size * kernel.size / outputs
    inner = [matrix_flops(jaxpr) for jaxpr in _jaxprs(params)]
    if name == "cond":
        return max(inner, default=0.0)
    return sum(inner) * (params["length"] if name == "scan" else 1)


def _jaxprs(params: Mapping[str, Any]) -> Iterator[Any]:
    for value in params.values():
        for entry in value if isinstance(value, tuple | list) else (value,):
            if isinstance(entry, ClosedJaxpr):
                yield entry.jaxpr
            elif isinstance(entry, Jaxpr):
                yield entry


# --- the text of a compiled program ------------------------------------------------------------------------------


class Instruction(NamedTuple):
    """A line of HLO: `%name = shape opcode(operands), attributes`."""

    name: str
    shape: str
    opcode: str
    rest: str


class Computation(NamedTuple):
    """A computation that is reached from the entry, with how often it runs and whether its values have buffers."""

    instructions: list[Instruction]
    turns: float  # a loop whose end is not in the text counts once
    own_buffers: bool  # False inside of fusions
    entry: bool


COLLECTIVES = (
    "all-gather",
    "all-reduce",
    "all-to-all",
    "collective-broadcast",
    "collective-permute",
    "ragged-all-to-all",
    "reduce-scatter",
)
# They name what another instruction has made.
WITHOUT_BUFFER = (
    "after-all",
    "bitcast",
    "call",
    "conditional",
    "get-tuple-element",
    "opt-barrier",
    "parameter",
    "tuple",
    "while",
)
BITS = {"pred": 8, "token": 0, "s4": 4, "u4": 4, "bf16": 16, "c64": 64, "c128": 128}
FRAMES = re.compile(r"jit\(|shard_map|closed_call|jvp|vmap|while$|body$")  # in the name of an operation
INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*)$")
HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
OPCODE = re.compile(r"^\s*([\w\-]+)\((.*)$")
ARRAY = re.compile(r"\b([a-z]+\d*\w*)\[([\d,]*)\](?:\{([^}]*)\})?")


def parse(text: str) -> list[Computation]:
    """The computations that run, from the text of a compiled program."""
    blocks: dict[str, list[Instruction]] = {}
    block: list[Instruction] = []
    entry = ""
    for line in text.splitlines():
        header = HEADER.match(line)
        found = INSTRUCTION.match(line)
        if found:
            block.append(_instruction(found[1], found[2]))
        elif header:
            block = blocks.setdefault(header[2], [])
            entry = header[2] if header[1] else entry
    return list(_reached(blocks, entry, 1.0, True, True))


def _instruction(name: str, text: str) -> Instruction:
    end = _end_of_tuple(text) if text.startswith("(") else text.find(" ")
    opcode = OPCODE.match(text[end:])
    return Instruction(name, text[:end], opcode[1] if opcode else "", opcode[2] if opcode else "")


def _end_of_tuple(text: str) -> int:
    """Where the parenthesis closes that the text opens with; layouts have parentheses of their own."""
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return place + 1
    return len(text)


def _reached(
    blocks: Mapping[str, list[Instruction]], name: str, turns: float, own: bool, entry: bool = False
) -> Iterator[Computation]:
    block = blocks.get(name, [])
    yield Computation(block, turns, own, entry)
    for each in block:
        called = {key: re.findall(r"%?([\w.\-]+)", names) for key, names in _called(each)}
        if each.opcode == "while":
            (condition,), (body,) = called["condition"], called["body"]
            times = turns * (_trips(each, blocks.get(condition, [])) or 1)
            yield from _reached(blocks, body, times, own)
        elif each.opcode == "conditional":
            for key in ("branch_computations", "true_computation", "false_computation"):
                for branch in called.get(key, ()):
                    yield from _reached(blocks, branch, turns, own)
        elif each.opcode in ("call", "async-start"):
            for other in (*called.get("to_apply", ()), *called.get("calls", ())):
                yield from _reached(blocks, other, turns, own)
        elif each.opcode == "fusion":
            for other in called.get("calls", ()):
                yield from _reached(blocks, other, turns, False)


def _called(instruction: Instruction) -> Iterator[tuple[str, str]]:
    keys = "condition|body|calls|to_apply|branch_computations|true_computation|false_computation"
    for found in re.finditer(rf"\b({keys})=(\{{[^}}]*\}}|%?[\w.\-]+)", instruction.rest):
        yield found[1], found[2]


def _trips(loop: Instruction, condition: Sequence[Instruction]) -> int | None:
    """How often a loop turns: what XLA says, else the one bound that its counter, which begins at 0, is compared to."""
    known = re.search(r'"known_trip_count":\{"n":"(\d+)"', loop.rest)
    if known:
        return int(known[1])
    bounds = [re.match(r"(\d+)\)", each.rest) for each in condition if each.opcode == "constant"]
    compared = any("direction=LT" in each.rest for each in condition if each.opcode == "compare")
    return int(bounds[0][1]) if compared and len(bounds) == 1 and bounds[0] else None


def collectives(computations: Sequence[Computation]) -> dict[str, dict[str, int]]:
    """kind -> how many instructions there are, and how often they run in one call."""
    found: dict[str, dict[str, int]] = {}
    for computation in computations:
        for instruction in computation.instructions:
            kind = instruction.opcode.removesuffix("-start")
            if kind in COLLECTIVES:
                counts = found.setdefault(kind, {"instructions": 0, "runs": 0})
                counts["instructions"] += 1
                counts["runs"] += round(computation.turns)
    return dict(sorted(found.items()))


def estimated_cycles(computations: Sequence[Computation]) -> float:
    """The compiler's guess of cycles in one call, of what it gives a guess for; 0 where it gives none."""
    total = 0.0
    for computation in computations:
        if computation.own_buffers:
            for instruction in computation.instructions:
                guess = re.search(r'"estimated_cycles":"(\d+)"', instruction.rest)
                # The largest number is its word for "unknown".
                total += computation.turns * int(guess[1]) if guess and int(guess[1]) < 2**62 else 0.0
    return total


def largest_buffers(computations: Sequence[Computation], most: int = 20) -> list[dict[str, Any]]:
    """The arrays that take most, largest first, one entry for each shape.

    Returns:
        `bytes` with the padding of its layout, `data_bytes` without, `shape`, `memory` (HBM or VMEM), `op`, `origin`
        (the argument, or where in the program of jax), `instructions` of that shape; they may share one buffer.
    """
    found: dict[str, dict[str, Any]] = {}
    for computation in computations:
        if not computation.own_buffers:
            continue
        for instruction in computation.instructions:
            argument = computation.entry and instruction.opcode == "parameter"
            if instruction.opcode.endswith("-done") or (instruction.opcode in WITHOUT_BUFFER and not argument):
                continue
            for kind, dims, layout in ARRAY.findall(instruction.shape):
                entry = found.setdefault(f"{kind}[{dims}]{layout}", _buffer(kind, dims, layout))
                entry["instructions"] += 1
                if argument or "op" not in entry:
                    entry["op"], entry["origin"] = instruction.opcode, _origin(instruction)
    ordered = sorted(found.values(), key=lambda entry: (-entry["bytes"], entry["shape"]))
    return [entry for entry in ordered if entry["bytes"]][:most]


def _buffer(kind: str, dims: str, layout: str) -> dict[str, Any]:
    sizes = [int(size) for size in dims.split(",") if size]
    bits = BITS.get(kind) or int((re.search(r"\d+", kind) or [0])[0])
    data = math.prod(sizes) * bits // 8
    return {
        "bytes": math.prod(padded(sizes, layout)) * bits // 8,
        "data_bytes": data,
        "shape": f"{kind}[{dims}]",
        "memory": "HBM" if "S(" not in layout else "VMEM" if "S(1)" in layout else "other",
        "instructions": 0,
    }


def padded(sizes: Sequence[int], layout: str) -> list[int]:
    """The sizes that a TPU stores, from the outermost: the last ones are filled up to whole tiles.

    `layout` is what stands in braces behind a shape, such as `1,0:T(8,128)(2,1)S(1)`: the order of dimensions from the
    innermost, and the tile.
    """
    order, _, rest = layout.partition(":")
    outward = [sizes[int(axis)] for axis in reversed(order.split(","))] if order else list(sizes)
    tile = re.match(r"T\(([\d,]+)\)", rest)
    if not tile:
        return outward
    sides = [int(side) for side in tile[1].split(",")]
    outward = [1] * (len(sides) - len(outward)) + outward
    split = len(outward) - len(sides)
    return outward[:split] + [-(-size // side) * side for size, side in zip(outward[split:], sides, strict=True)]


def _origin(instruction: Instruction) -> str:
    found = re.search(r'op_name="([^"]*)"', instruction.rest)
    words = found[1].replace("\\'", "'") if found else ""
    kept = [word for word in words.split("/") if not FRAMES.match(word)]
    return "/".join(kept[-3:]) or words


# --- what is printed ---------------------------------------------------------------------------------------------


def print_lowered(summary: Mapping[str, Any], run_dir: str | Path, console: Console | None = None) -> None:
    """Print a row for each program, the largest buffers of the first, and what that comes to per seed and step."""
    console = wide(console)
    heads, rows = _figures(summary["programs"])
    if len(rows) <= FEW:  # then a column for each fits any terminal
        heads, *rows = zip(heads, *rows, strict=True)
    table = Table(title=f"{summary['topology']}, per chip and call", title_justify="left")
    for index, head in enumerate(heads):
        table.add_column(head, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)
    name, found = next(iter(summary["programs"].items()))
    table = Table(title=f"largest buffers of {name}", title_justify="left")
    for head in ("bytes", "of data", "shape", "in", "made by", "where"):
        table.add_column(head, justify="right" if head in ("bytes", "of data") else "left", no_wrap=head != "where")
    for entry in found["largest_buffers"][:SHOWN]:
        cells = (size(entry["bytes"]), size(entry["data_bytes"]), entry["shape"], entry["memory"], entry["op"])
        table.add_row(*map(Text, (*cells, entry["origin"])))
    console.print(table)
    for line in in_words(summary):
        say(console, line)
    say(console, f"written to {Path(run_dir) / FILE}; estimates of the compiler, not measurements")


def _figures(programs: Mapping[str, Mapping[str, Any]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Heads and a row for each program."""
    parts = ("arguments", "outputs", "aliased", "temporaries", "code", "total")
    heads = ("program", *parts, "FLOPs", "bytes, loops once", "cycles", "collectives", "compile")
    rows = []
    for name, found in programs.items():
        calls = ", ".join(f"{kind} {counts['instructions']}" for kind, counts in found["collectives"].items())
        counted = (scaled(found["matrix_flops"]), size(found["xla_bytes_once"]), scaled(found["cycles"]))
        sizes = (size(found["memory"][part]) for part in parts)
        rows.append((name, *sizes, *counted, calls or "none", f"{found['compile_seconds']:.1f} s"))
    return heads, rows


def in_words(summary: Mapping[str, Any]) -> list[str]:
    """What the first program comes to: chips, memory of the chip and of a seed, FLOPs of a step."""
    name, found = next(iter(summary["programs"].items()))
    chip, taken = summary["chip"], found["memory"]
    on_chip = found["seeds"] / found["chips"]
    per_seed = (taken["total"] - taken["code"]) / on_chip
    share = found["matrix_flops"] / chip["flops"]
    lines = [
        f"{name}: {found['seeds']} seeds on {found['chips']} of {summary['chips']} chips; it takes "
        f"{size(taken['total'])} of a chip's {size(chip['memory'])}, {size(per_seed)} for each seed besides the code"
    ]
    if found["chips"] < summary["chips"]:
        idle = summary["chips"] - found["chips"]
        how = "" if "agent" in summary["choices"] else ", with seeds=vmap"
        lines.append(f"{idle} chips have nothing to do: take as many seeds as chips{how}")
    step = found["matrix_flops"] / (found["steps"] * on_chip)
    lines.append(
        f"{scaled(step)} FLOPs of matrix products for each of {found['steps']:,} steps of a seed; a call takes no less "
        f"than {share * 1e3:.3g} ms at the chip's peak of {chip['flops'] / 1e12:.0f} TFLOP/s in bfloat16 "
        f"(matmul_precision={summary['matmul_precision']})"
    )
    return lines


def size(count: float) -> str:
    """Bytes in few letters."""
    for unit, letters in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= 0.9995 * unit:
            return f"{count / unit:.3g} {letters}"
    return f"{count:.0f} B"


def scaled(count: float) -> str:
    """A count in few letters."""
    for unit, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= 0.9995 * unit:
            return f"{count / unit:.3g} {letter}"
    return f"{count:.0f}"
