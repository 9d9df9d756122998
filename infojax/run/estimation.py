"""Estimating from a configuration to a run directory: samples, one compiled program for all seeds, verdicts.

Every seed is a row of `metrics.jsonl` as soon as it is known, so that a run that was killed goes on with the others.
The summary, the verdict in words and the pictures are all made of these rows.
"""

import contextlib
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from infojax.run import config as configuration
from infojax.run import mesh
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
from infojax.run.estimates import figures, print_estimates
from infojax.run.log import MetricsFile, Progress, open_loggers, read_json, whole_rows, write_json
from infojax.types import Estimate, Estimator, Pairs, UserError

NUM_SAMPLES = 2000  # where neither the user nor a file says how many
NOT_FINITE = "the estimate is not a finite number"

Fit = Callable[..., Estimate]  # (key, x, y), or (key, x) for an entropy
Samples = tuple[np.ndarray, ...]


def estimate(
    estimator: str = "ksg",
    data: str = "bmi/1v1-normal-0.75",
    *,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    config_dir: str | None = None,
) -> dict[str, Any]:
    """Estimate as `infojax estimate` does and return the summary.

    Args:
        estimator: name of a file in `configs/estimator`.
        data: name of a file in `configs/data`; `file` with the override `data.path` takes samples of your own.
        overrides: dotted keys to values, `{"estimator.k": 5}`, or Hydra words, `["estimator.k=5"]`.
        config_dir: a folder with further configurations.

    Returns:
        What `summary.json` holds: `metrics` by name (`value`, `low`, `high`, `trusted`, …) with `mean`, `low`, `high`
        and `per_seed`, and `reasons` why an estimate is not trusted, for each seed; empty where it is.

    Raises:
        UserError: an unknown name or key, a wrong type or value, samples that cannot be read or judged.
    """
    words = [f"estimator={estimator}", f"data={data}", *configuration.words_of(overrides)]
    return estimate_from_config(configuration.compose(words, config_name="estimate", config_dir=config_dir))


def estimate_from_config(config: dict[str, Any]) -> dict[str, Any]:
    """Estimate, or go on estimating, or show what is finished; returns the summary."""
    limit_cpu_threads(config["cpu_threads"])
    mesh.begin_alone(mesh.settings_of(config), "estimate")
    built = configuration.build_estimation(config)
    fit = jax.jit(fit_of(built.estimator, config))
    num_samples = num_samples_of(built.data, config)
    seeds = [config["seed"] + index for index in range(config["num_seeds"])]
    first = _samples(built.data, seeds[0], num_samples, config["quantity"])
    # What the estimator refuses, it refuses here, before anything is written or compiled.
    jax.eval_shape(fit, jax.random.key(0), *first)
    run_dir = Path(configuration.run_directory(config))
    done = prepare(run_dir, config)
    _check_same_samples(run_dir, built.data, num_samples)
    if done is not None:
        print_estimates(done, run_dir)
        return done
    use_compilation_cache()
    with failures_noted(run_dir, "interrupted; the same command goes on with the seeds that are left"):
        return _run(built, fit, config, seeds, num_samples, run_dir)


def fit_of(estimator: Estimator, config: Mapping[str, Any]) -> Fit:
    """What estimates the quantity that was asked for."""
    if config["quantity"] == "mutual_information":
        return estimator.fit
    if estimator.entropy is None:
        raise UserError(
            f"quantity=entropy cannot be: estimator={config['choices']['estimator']} has no entropy; take another, "
            "such as estimator=ksg, or quantity=mutual_information"
        )
    return estimator.entropy


def num_samples_of(data: Pairs, config: Mapping[str, Any]) -> int:
    asked = config["num_samples"]
    if asked is None:
        return NUM_SAMPLES if data.available is None else data.available
    if data.available is not None and asked > data.available:
        raise UserError(
            f"num_samples={asked} is more than the {data.available} samples of {data.name}; give fewer, or null for all"
        )
    return asked


def _samples(data: Pairs, seed: int, num_samples: int, quantity: str) -> Samples:
    """x and y, or x alone, as the estimators compute: in float32."""
    pair = data.sample(seed, num_samples)
    names = ("x", "y") if quantity == "mutual_information" else ("x",)
    return tuple(_single_precision(name, np.asarray(array), data) for name, array in zip(names, pair, strict=False))


def _single_precision(name: str, samples: np.ndarray, data: Pairs) -> np.ndarray:
    """Samples as float32, their middle at 0 where rounding would otherwise make different ones equal.

    A shift changes neither mutual information nor entropy; times in seconds since 1970, rounded, would change both.
    """
    with np.errstate(over="ignore"):
        rounded = samples.astype(np.float32)
        far = np.abs(np.median(samples, axis=0)) > 100 * np.std(samples, axis=0)
        if far.any():
            rounded = (samples - np.where(far, np.median(samples, axis=0), 0)).astype(np.float32)
    if not np.isfinite(rounded).all():
        raise UserError(
            f"{name} of {data.name} has entries beyond 3e38, the largest of float32; give it in a larger unit"
        )
    return rounded


def _fingerprint(data: Pairs, num_samples: int) -> str | None:
    """A digest of samples that the user can change; None for those that are drawn by recipe."""
    if data.available is None:
        return None
    pair = data.sample(0, num_samples)
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in pair)).hexdigest()[:16]


def _check_same_samples(run_dir: Path, data: Pairs, num_samples: int) -> None:
    """Refuse to go on with, or to show, what was estimated from a file that was changed since."""
    fingerprint, noted = _fingerprint(data, num_samples), run_dir / "samples.json"
    if noted.exists() and read_json(noted).get("fingerprint") != fingerprint:
        raise UserError(
            f"run_dir={run_dir} holds estimates from other samples: {data.name} was changed since; choose another "
            "run_dir, or overwrite=true to estimate anew"
        )
    if fingerprint is not None:
        write_json(noted, {"fingerprint": fingerprint})


def _run(
    built: configuration.BuiltEstimation,
    fit: Fit,
    config: dict[str, Any],
    seeds: list[int],
    num_samples: int,
    run_dir: Path,
) -> dict[str, Any]:
    began = time.perf_counter()
    devices = mesh.devices_of(mesh.settings_of(config))
    truth = built.data.truth if config["quantity"] == "mutual_information" else None
    metrics_file = MetricsFile(run_dir / "metrics.jsonl")
    rows, position = whole_rows(metrics_file.path)
    metrics_file.truncate(position)
    left = [seed for seed in seeds if seed not in {row["seed"] for row in rows}]
    draw = partial(_samples, built.data, num_samples=num_samples, quantity=config["quantity"])
    with contextlib.ExitStack() as stack:
        clock = stack.enter_context(compile_clock())
        loggers = open_loggers(config["logger"], run_dir, config)
        for logger in loggers:
            stack.callback(logger.close)
        set_status(run_dir, "running", "")
        words = {"noun": "seed", "start": len(seeds) - len(left)}
        progress = stack.enter_context(Progress(len(seeds), enabled=config["progress"] and len(seeds) > 1, **words))
        for seed, found, seconds in FITTED[config["seeds"]](fit, left, draw, devices):
            row = _row(seed, found, truth, seconds)
            metrics_file.write([row])
            for logger in loggers:
                logger.write(0, seed, {name: value for name, value in row.items() if name not in ("step", "seed")})
            rows.append(row)
            progress.update(len(rows), config["quantity"], row["value"])
    timing = {"wall_seconds": time.perf_counter() - began, "compile_seconds": sum(clock)}
    about = {
        "estimator": config["choices"]["estimator"],
        "data": built.data.name,
        "quantity": config["quantity"],
        "num_samples": num_samples,
        "dimensions": [built.data.dim_x, built.data.dim_y],
        "truth": truth,
        "bound": built.estimator.bound,
    }
    # Read back, so that a run that went on is the same as one that was never stopped.
    summary = _summary(config, whole_rows(metrics_file.path)[0], seeds, built.estimator.why, about, timing)
    summary["mesh"] = mesh.facts(mesh.beside_mesh(len(seeds), devices, config["seeds"]))
    write_json(run_dir / "summary.json", summary)
    figures(run_dir)
    set_status(run_dir, "done", "")
    print_estimates(summary, run_dir)
    return summary


# --- the compiled program ----------------------------------------------------------------------------------------

Fitted = Iterator[tuple[int, Estimate, float]]


def spread(fit: Fit, layout: Mesh) -> Fit:
    """Jit the fit of seeds side by side, over keys and samples [S, …] on a mesh of seeds."""
    return mesh.over_seeds(fit, layout, "vmap")


def _one_after_the_other(
    fit: Fit, seeds: Sequence[int], draw: Callable[[int], Samples], devices: Sequence[Any]
) -> Fitted:
    """(seed, estimate, seconds) of each as it comes; it is compiled with the first."""
    del devices
    for seed in seeds:
        samples = draw(seed)
        before = time.perf_counter()
        found = jax.device_get(fit(jax.random.key(seed), *samples))
        yield seed, found, time.perf_counter() - before


def _side_by_side(fit: Fit, seeds: Sequence[int], draw: Callable[[int], Samples], devices: Sequence[Any]) -> Fitted:
    """The same of all by one program, on as many devices as divide them evenly."""
    if not seeds:
        return
    layout = mesh.beside_mesh(len(seeds), devices, "vmap")
    samples = (mesh.place(np.stack(arrays), layout) for arrays in zip(*map(draw, seeds), strict=True))
    before = time.perf_counter()
    found = jax.device_get(spread(fit, layout)(mesh.seed_keys(seeds, layout), *samples))
    seconds = (time.perf_counter() - before) / len(seeds)
    for index, seed in enumerate(seeds):
        yield seed, jax.tree.map(lambda leaf, index=index: leaf[index], found), seconds


FITTED = {"map": _one_after_the_other, "vmap": _side_by_side}


# --- rows and words ----------------------------------------------------------------------------------------------


def _row(seed: int, found: Estimate, truth: float | None, seconds: float) -> dict[str, Any]:
    """What is logged of one seed."""
    value, interval = float(found.value), np.asarray(found.interval, np.float64)
    trusted = bool(found.trusted) and math.isfinite(value)
    row = {"step": 0, "seed": seed, "value": value, "low": float(interval[0]), "high": float(interval[1])}
    row |= {"trusted": int(trusted)} | {name: float(share) for name, share in found.diagnostics.items()}
    return row | ({} if truth is None else {"truth": truth}) | {"seconds": seconds}


def _reason(row: Mapping[str, Any], why: Callable[[Estimate], str]) -> str:
    """In words, why the estimate of a row is not trusted; empty where it is."""
    if row["trusted"]:
        return ""
    if row["value"] is None:
        return NOT_FINITE
    numbers = {name: math.inf if value is None else value for name, value in row.items()}
    diagnostics = {name: value for name, value in numbers.items() if name.startswith(("check/", "seen/"))}
    interval = np.asarray([numbers["low"], numbers["high"]])
    told = why(Estimate(numbers["value"], interval, np.False_, diagnostics))  # pyright: ignore[reportArgumentType]
    return told or "its estimator does not say why"


def _summary(
    config: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    seeds: Sequence[int],
    why: Callable[[Estimate], str],
    about: dict[str, Any],
    timing: dict[str, float],
) -> dict[str, Any]:
    by_seed = {row["seed"]: row for row in rows}
    ordered = [by_seed[seed] for seed in seeds]
    names = [name for name in ordered[0] if name not in ("step", "seed")]
    values = {name: [_number(row.get(name)) for row in ordered] for name in names}
    summary = {
        "metrics": summarised(values),
        **about,
        "reasons": [_reason(row, why) for row in ordered],
        "headline": "value",
        "num_seeds": config["num_seeds"],
        "seed": config["seed"],
        **origin(),
        **timing,
    }
    # As it is read back from the file, where what is not finite is null.
    return json.loads(json.dumps(summary), parse_constant=lambda _: None)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


__all__ = ["estimate", "estimate_from_config"]
