"""Adapting from a configuration to a run directory: a source model, a stream, methods beside one another.

A stream falls into segments, before each of which the source is restored. A method on a segment is one compiled
program: the scan of its `adapt` over T batches, and after them C batches of clean images, on which the state that was
reached predicts without learning and is thrown away, batch by batch; their error tells what was forgotten. Images are
gathered on the device. What is kept are numbers for every row, in `predictions/`, of which everything else is made; a
run that was killed goes on with what is not there yet.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from infojax.info import categorical
from infojax.run import adaptations, mesh, sourcing
from infojax.run import config as configuration
from infojax.run.directory import (
    compile_clock,
    failures_noted,
    limit_cpu_threads,
    origin,
    prepare,
    set_status,
    summarised,
    use_compilation_cache,
)
from infojax.run.log import MetricsFile, Progress, open_loggers, write_json
from infojax.types import Adapted, Array, Key, Method, Model, Stream, UserError, same_length, segments

SOURCE_BATCH = 64  # clean images that a method sees at once before the stream, as in EATA's main.py
SHORT = 5.0  # seconds up to which a segment is run again to time it
TIMED_RUNS = 2


class Lane(NamedTuple):
    """A segment for the compiled program: L = T + C batches of B rows of a table of images."""

    order: Any  # int32 [L, B]
    mask: Any  # bool [L, B]
    learn: Any  # bool [L], False for clean images after the stream
    place: Any  # int32 [L], of which each batch has its key


class Rows(NamedTuple):
    """What is kept of a batch; of a lane, of a stream with further axes before them."""

    predicted: Any  # int32 [B]
    confidence: Any  # [B], the probability of the predicted class
    entropy: Any  # [B] nats
    selected: Any  # bool [B]
    info: Any  # name -> a number


def adapt(
    method: str | None = None,
    data: str = "digits",
    stream: str = "reset_per_shift",
    *,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    config_dir: str | None = None,
) -> dict[str, Any]:
    """Adapt as `infojax adapt` does and return the summary.

    Args:
        method: name of a file in `configs/method`; None compares those of `configs/comparison/standard`.
        data: name of a file in `configs/data` that gives images.
        stream: name of a file in `configs/stream`.
        overrides: dotted keys to values, `{"stream.severity": 3}`, or Hydra words, `["stream.severity=3"]`.
        config_dir: a folder with further configurations.

    Returns:
        What `summary.json` holds: `metrics` by name (`tent/error`, `tent/error/PHASE`, …) with `mean`, `low`, `high`
        and `per_seed`; shares are from 0 to 1.

    Raises:
        UserError: an unknown name or key, a wrong type or value, images or weights that cannot be used.
    """
    words = [f"data={data}", f"stream={stream}", *configuration.words_of(overrides)]
    words = words if method is None else [f"method={method}", *words]
    return adapt_from_config(configuration.compose(words, config_name="adapt", config_dir=config_dir))


def adapt_from_config(config: dict[str, Any]) -> dict[str, Any]:
    """Adapt, or go on adapting, or show what is finished; returns the summary."""
    limit_cpu_threads(config["cpu_threads"])
    mesh.begin_alone(mesh.settings_of(config), "adapt")
    built = configuration.build_adaptation(config)
    seeds = [config["seed"] + index for index in range(config["num_seeds"])]
    first = _checked(built.stream.draw(seeds[0]), built)
    run_dir = Path(configuration.run_directory(config))
    use_compilation_cache()
    finished = (run_dir / "summary.json").exists() and not config["overwrite"]
    source = None if finished else _source(built, config, first)
    done = prepare(run_dir, config)
    if done is not None:
        adaptations.print_adaptation(done, run_dir)
        return done
    with failures_noted(run_dir, "interrupted; the same command goes on with what is left"):
        return _run(built, config, source or _source(built, config, first), seeds, first, run_dir)


class Ready(NamedTuple):
    """What a run begins with."""

    source: sourcing.Source
    methods: dict[str, Method]
    held: Array | None  # clean images [batches, B, H, W, C] that methods may see before the stream


def _source(built: configuration.BuiltAdaptation, config: Mapping[str, Any], stream: Stream) -> Ready:
    """The source model and the methods for it; what one of them refuses, it refuses before anything is written."""
    source = sourcing.source_model(built, config, print)
    methods = {name: make(source.model) for name, make in built.methods.items()}
    held = _source_images(built, config)
    images = jax.ShapeDtypeStruct((stream.order.shape[1], *stream.images.shape[1:]), stream.images.dtype)
    for method in methods.values():
        state = jax.eval_shape(method.init, source.model.variables, held)
        jax.eval_shape(method.adapt, state, images, jax.random.key(0), jax.ShapeDtypeStruct(images.shape[:1], bool))
    return Ready(source, methods, held)


def _checked(stream: Stream, built: configuration.BuiltAdaptation) -> Stream:
    if not len(stream.order) or not np.any(stream.mask):
        raise UserError(f"stream={built.stream.name} on data={built.data.name} is empty; give it at least one image")
    return stream


def _run(
    built: configuration.BuiltAdaptation,
    config: dict[str, Any],
    ready: Ready,
    seeds: list[int],
    first: Stream,
    run_dir: Path,
) -> dict[str, Any]:
    began = time.perf_counter()
    metrics_file = MetricsFile(run_dir / "metrics.jsonl")
    metrics_file.truncate(0)  # its rows are made of what is in predictions/
    source, methods, held = ready
    total = len(seeds) * len(methods)
    devices = mesh.devices_of(mesh.settings_of(config))
    streams = {seeds[0]: first}
    with contextlib.ExitStack() as stack:
        clock = stack.enter_context(compile_clock())
        loggers = open_loggers(config["logger"], run_dir, config)
        for logger in loggers:
            stack.callback(logger.close)
        set_status(run_dir, "running", "")
        progress = stack.enter_context(Progress(total, enabled=config["progress"], noun="method"))
        done = 0
        for name, method in methods.items():
            left = [seed for seed in seeds if not adaptations.kept(run_dir, name, seed).exists()]
            fresh = [seed for seed in left if seed not in streams]
            streams |= {seed: _checked(built.stream.draw(seed), built) for seed in fresh}
            clean = {seed: _clean(built, config, seed) for seed in left}
            if left:
                initial = _initial(method, source.model, held)
                for seed, kept in RUNS[config["seeds"]](method, initial, left, streams, clean, devices):
                    _keep(adaptations.kept(run_dir, name, seed), kept)
            for seed in seeds:
                record = adaptations.read_record(adaptations.kept(run_dir, name, seed))
                rows = adaptations.rows(record, seed, name)
                metrics_file.write(rows)
                for logger in loggers:
                    for row in rows:
                        numbers = {f"{name}/{key}": v for key, v in row.items() if key not in adaptations.NOT_NUMBERS}
                        logger.write(row["step"], seed, numbers)
                done += 1
                progress.update(done, f"{name}/error", adaptations.headline(record))
    timing = {"wall_seconds": time.perf_counter() - began, "compile_seconds": sum(clock)}
    summary = _summary(config, built, methods, source, seeds, run_dir, timing)
    summary["mesh"] = mesh.facts(mesh.beside_mesh(len(seeds), devices, config["seeds"]))
    write_json(run_dir / "summary.json", summary)
    adaptations.figures(run_dir)
    set_status(run_dir, "done", "")
    adaptations.print_adaptation(summary, run_dir)
    for warning in summary["warnings"]:
        print(f"infojax: warning: {warning}", file=sys.stderr)
    return summary


def _keep(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays so that a kill finds either all of them or none."""
    path.parent.mkdir(exist_ok=True)
    draft = path.with_suffix(".tmp")
    with open(draft, "wb") as file:
        np.savez_compressed(file, **arrays)
    os.replace(draft, path)


# --- images ------------------------------------------------------------------------------------------------------


def _source_images(built: configuration.BuiltAdaptation, config: Mapping[str, Any]) -> Array | None:
    """Clean images [batches, B, H, W, C] that a method may see before the stream: to train on, else to test on."""
    wanted = config["source_images"]
    if wanted == 0:
        return None
    try:
        found = built.data.train()
    except UserError:
        found = built.data.test()
    count = min(wanted, len(found.labels))
    size = min(SOURCE_BATCH, count)
    rows = np.random.default_rng(config["seed"]).permutation(len(found.labels))[: count - count % size]
    return jnp.asarray(np.asarray(found.images)[np.sort(rows)].reshape(-1, size, *built.data.image_shape))


def _clean(built: configuration.BuiltAdaptation, config: Mapping[str, Any], seed: int) -> tuple[Any, Any]:
    """Images and labels on which forgetting is measured; none where they are not asked for, or not there."""
    found = sourcing.clean_images(built) if config["clean_images"] else None
    if found is None:
        return np.zeros((0, *built.data.image_shape), np.uint8), np.zeros((0,), np.int32)
    rows = np.sort(np.random.default_rng(seed).permutation(len(found.labels))[: config["clean_images"]])
    return np.asarray(found.images)[rows], np.asarray(found.labels, np.int32)[rows]


def _table(stream: Stream, clean: Any) -> Any:
    """The images of a stream, the clean ones behind them."""
    images = np.asarray(stream.images)
    if images.dtype != clean.dtype:
        clean = clean.astype(images.dtype) / 255
    return np.concatenate([images, clean])


def _lane(stream: Stream, piece: slice, num_clean: int) -> Lane:
    size = stream.order.shape[1]
    length = -(-num_clean // size)
    order, mask = np.zeros((length * size,), np.int32), np.zeros((length * size,), bool)
    order[:num_clean], mask[:num_clean] = len(stream.images) + np.arange(num_clean), True
    count = piece.stop - piece.start
    places = np.concatenate([np.arange(piece.start, piece.stop), len(stream.order) + np.arange(length)])
    return Lane(
        order=np.concatenate([stream.order[piece], order.reshape(-1, size)]).astype(np.int32),
        mask=np.concatenate([stream.mask[piece], mask.reshape(-1, size)]),
        learn=np.arange(count + length) < count,
        place=places.astype(np.int32),
    )


# --- the compiled program ----------------------------------------------------------------------------------------


def _initial(method: Method, model: Model, held: Array | None) -> Any:
    """What every segment begins with, without weak types, which would compile the program twice."""
    found = jax.jit(method.init)(model.variables, held)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, leaf.dtype) if leaf.weak_type else leaf, found)


def program(method: Method) -> Callable[[Any, Array, Key, Lane], Rows]:
    """(state, table of images, key, lane) -> what is kept of its L batches."""

    def run(state: Any, table: Array, key: Key, lane: Lane) -> Rows:
        def step(state: Any, given: Lane) -> tuple[Any, Rows]:
            mask = given.mask
            new, adapted = method.adapt(
                state,
                table[given.order],
                jax.random.fold_in(key, given.place),
                mask=mask,
                allowed=mask & given.learn,
            )
            kept = jax.tree.map(lambda one, other: jnp.where(given.learn, one, other), new, state)
            return kept, summary_of(adapted, mask)

        return jax.lax.scan(step, state, lane)[1]

    return run


def spread(run: Callable[..., Rows], layout: Mesh) -> Callable[..., Rows]:
    """Jit a `program` over seeds on a mesh and over their segments; the state is that of all.

    (state, tables [S, M, …], keys [S], lanes [S, segments, L, …]) -> rows [S, segments, L, …].
    """
    return mesh.over_seeds(jax.vmap(run, in_axes=(None, None, None, 0)), layout, "vmap", common=1)


def summary_of(adapted: Adapted, mask: Array) -> Rows:
    """Numbers for each row; what `info` says of rows as the mean over the real ones that have a number."""

    def number(value: Array) -> Array:
        if value.ndim == 0:
            return value.astype(jnp.float32)
        value = value.astype(jnp.float32)
        there = mask & jnp.isfinite(value)
        count = jnp.sum(there.astype(jnp.float32))
        mean = jnp.sum(jnp.where(there, value, jnp.zeros_like(value))) / jnp.maximum(count, 1)
        return jnp.where(count > 0, mean, jnp.nan)

    logits = adapted.logits
    # The entropy of order infinity is -log max p.
    confidence = jnp.exp(-categorical.renyi_entropy(logits, jnp.float32(jnp.inf)))
    info = {k: number(v) for k, v in adapted.info.items() if v.ndim == 0 or v.shape == mask.shape}
    return Rows(
        predicted=jnp.argmax(logits, axis=-1).astype(jnp.int32),
        confidence=confidence,
        entropy=categorical.entropy(logits),
        selected=adapted.selected & mask,
        info=info,
    )


def _one_after_the_other(
    method: Method,
    initial: Any,
    seeds: Sequence[int],
    streams: Mapping[int, Stream],
    clean: Mapping[int, tuple[Any, Any]],
    devices: Sequence[Any],
) -> Any:
    """(seed, what is kept of it) of each as it comes; one program for all segments of a length."""
    del devices
    run = jax.jit(program(method))
    for seed in seeds:
        stream, (images, labels) = streams[seed], clean[seed]
        pieces = segments(stream)
        table, key = jnp.asarray(_table(stream, images)), jax.random.key(seed)
        lanes = [_lane(stream, piece, len(images)) for piece in pieces]
        found = [jax.device_get(run(initial, table, key, lane)) for lane in lanes]
        timing = _timed(run, initial, table, key, lanes[0])
        yield seed, _record(method, stream, labels, pieces, found, timing)


def _side_by_side(
    method: Method,
    initial: Any,
    seeds: Sequence[int],
    streams: Mapping[int, Stream],
    clean: Mapping[int, tuple[Any, Any]],
    devices: Sequence[Any],
) -> Any:
    """The same by one program over all seeds and segments, or one for each length of segments.

    Seeds are spread over as many devices as divide them evenly.
    """
    run = program(method)
    layout = mesh.beside_mesh(len(seeds), devices, "vmap")
    together = spread(run, layout)
    pieces = segments(streams[seeds[0]])
    first = _table(streams[seeds[0]], clean[seeds[0]][0])
    rest = (_table(streams[seed], clean[seed][0]) for seed in seeds[1:])
    tables, keys = mesh.place(np.stack([first, *rest]), layout), mesh.seed_keys(seeds, layout)
    lanes = [[_lane(streams[seed], piece, len(clean[seed][0])) for piece in pieces] for seed in seeds]
    lengths = [piece.stop - piece.start for piece in pieces]
    found: dict[tuple[int, int], Any] = {}
    for length in dict.fromkeys(lengths) if not same_length(pieces) else [lengths[0]]:
        places = [place for place, its in enumerate(lengths) if its == length]
        stacked = jax.tree.map(
            lambda *leaves: np.stack(leaves),
            *[jax.tree.map(lambda *leaves: np.stack(leaves), *[mine[place] for place in places]) for mine in lanes],
        )
        lanes_over = jax.tree.map(lambda leaf: mesh.place(leaf, layout), stacked)
        rows = jax.device_get(together(initial, tables, keys, lanes_over))
        for index in range(len(seeds)):
            for at, place in enumerate(places):
                found[index, place] = jax.tree.map(lambda leaf, i=index, a=at: leaf[i, a], rows)
    timing = _timed(jax.jit(run), initial, jnp.asarray(first), jax.random.key(seeds[0]), lanes[0][0])
    for index, seed in enumerate(seeds):
        mine = [found[index, place] for place in range(len(pieces))]
        yield seed, _record(method, streams[seed], clean[seed][1], segments(streams[seed]), mine, timing)


RUNS = {"map": _one_after_the_other, "vmap": _side_by_side}


def _timed(run: Callable[..., Any], initial: Any, table: Array, key: Key, lane: Lane) -> tuple[float, float]:
    """Milliseconds and CPU-milliseconds of a batch of one lane; the least of its runs, the first of which warms up."""
    jax.block_until_ready(run(initial, table, key, lane))
    best = (np.inf, np.inf)
    for _ in range(TIMED_RUNS):
        before, spent = time.perf_counter(), time.process_time()
        jax.block_until_ready(run(initial, table, key, lane))
        took = time.perf_counter() - before
        best = min(best, (took, time.process_time() - spent))
        if took > SHORT:
            break
    return best[0] * 1e3 / len(lane.learn), best[1] * 1e3 / len(lane.learn)


def _record(
    method: Method,
    stream: Stream,
    labels: Any,
    pieces: Sequence[slice],
    found: Sequence[Rows],
    timing: tuple[float, float],
) -> dict[str, Any]:
    """The arrays that are kept of a method on a stream; [T, B] by batch and row, [segments, N] of clean images."""
    counts = [piece.stop - piece.start for piece in pieces]
    streamed = [jax.tree.map(lambda leaf, c=count: leaf[:c], rows) for rows, count in zip(found, counts, strict=True)]
    whole: Any = jax.tree.map(lambda *leaves: np.concatenate(leaves), *streamed)
    after = [rows.predicted[count:].reshape(-1)[: len(labels)] for rows, count in zip(found, counts, strict=True)]
    at = np.asarray(stream.order)
    groups = {} if stream.groups is None else {"groups": np.asarray(stream.groups)[at]}
    about = {
        "scores": method.scores,
        "domains": list(stream.domains),
        "phases": list(stream.phases),
        "milliseconds": timing[0],
        "cpu_milliseconds": timing[1],
    }
    return {
        **{name: getattr(whole, name) for name in Rows._fields if name != "info"},
        **{f"info/{name}": values for name, values in whole.info.items()},
        "labels": np.asarray(stream.labels)[at],
        "mask": np.asarray(stream.mask),
        "domain": np.asarray(stream.domain)[at],
        "phase": np.asarray(stream.phase),
        "reset": np.asarray(stream.reset),
        **groups,
        "clean_predicted": np.stack(after),
        "clean_labels": labels,
        "about": np.array(json.dumps(about)),
    }


# --- the summary -------------------------------------------------------------------------------------------------


def _summary(
    config: Mapping[str, Any],
    built: configuration.BuiltAdaptation,
    methods: Mapping[str, Method],
    source: sourcing.Source,
    seeds: Sequence[int],
    run_dir: Path,
    timing: dict[str, float],
) -> dict[str, Any]:
    values: dict[str, list[float]] = {}
    warnings: list[str] = []
    records: dict[str, adaptations.Record] = {}
    for name in methods:
        records = {str(seed): adaptations.read_record(adaptations.kept(run_dir, name, seed)) for seed in seeds}
        judged = [adaptations.judged(record, built.data.num_classes) for record in records.values()]
        for key in judged[0]:
            values[f"{name}/{key}"] = [found.get(key, np.nan) for found in judged]
        warnings += adaptations.warnings(name, list(records.values()))
    phases = next(iter(records.values())).phases
    summary = {
        "metrics": summarised(values),
        "methods": list(methods),
        "scores": {name: method.scores for name, method in methods.items()},
        "model": config["choices"]["model"],
        "data": built.data.name,
        "stream": config["choices"]["stream"],
        "phases": phases,
        "num_classes": built.data.num_classes,
        "batch_size": built.stream.batch_size,
        "source_clean_error": source.clean_error,
        "weights": source.weights,
        "warnings": warnings,
        "headline": f"{list(methods)[-1]}/error",
        "num_seeds": config["num_seeds"],
        "seed": config["seed"],
        **origin(),
        **timing,
    }
    # As it is read back from the file, where what is not finite is null.
    return json.loads(json.dumps(summary), parse_constant=lambda _: None)


__all__ = ["adapt", "adapt_from_config", "program"]
