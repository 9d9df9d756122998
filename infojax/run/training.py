"""Training from a configuration to a run directory: chunks, logs, evaluation, checkpoints, resuming.

The compiled work is in `loop` and `evaluation`; all that touches files, clocks and signals is here.
"""

import contextlib
import json
import math
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from infojax.run import config as configuration
from infojax.run import mesh
from infojax.run.checkpoint import Checkpoints, Restored, checkpoints
from infojax.run.directory import (
    compile_clock,
    failures_noted,
    limit_cpu_threads,
    origin,
    prepare,
    saved_config,
    set_status,
    summarised,
    use_compilation_cache,
)
from infojax.run.evaluation import Evaluate, Evaluation, device_evaluation, host_evaluation, of_seeds
from infojax.run.log import MetricsFile, Progress, open_loggers, print_result, write_json
from infojax.run.loop import Loop, LoopState, Varied, device_loop, host_loop
from infojax.run.report import figures
from infojax.types import Agent, Environment, HostEnvironment, HostFactory, UserError

INTERRUPTED = "interrupted; the same command goes on from the last checkpoint"


class Run(NamedTuple):
    """A trained run in Python: `state` is the agent's state with a leading seed axis.

    Where the data of a seed is spread over shards it is that of the first: what is learned, and this shard's replay.
    """

    agent: Agent
    state: Any
    config: dict[str, Any]
    summary: dict[str, Any]
    run_dir: Path


class Plan(NamedTuple):
    """How a run is cut into chunks; all steps are environment steps of one seed."""

    iterations: int
    chunks: int
    steps_per_chunk: int
    evaluate_every: int  # chunks
    checkpoint_every: int  # chunks


class Session(NamedTuple):
    """The compiled functions and the environments behind them."""

    agent: Agent
    loop: Loop
    evaluate: Evaluate
    batches: list[HostEnvironment]
    plan: Plan
    seeds: list[int]
    devices: Sequence[Any]


def train(
    agent: str = "diayn",
    env: str = "brax/halfcheetah",
    objective: str | None = None,
    *,
    experiment: str | None = None,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    config_dir: str | None = None,
) -> Run:
    """Train as `infojax train` does and return agent, state and config.

    Args:
        agent: name of a file in `configs/agent`.
        env: name of a file in `configs/env`, or `gymnasium/ID`.
        objective: name of a file in `configs/objective`; None keeps the agent's own.
        experiment: name of a preset in `configs/experiment`; its choices win over `agent` and `env` left at default.
        overrides: dotted keys to values, `{"agent.batch_size": 64}`, or Hydra words, `["agent.batch_size=64"]`.
        config_dir: a folder with further configurations.

    Returns:
        The run; a finished one in the same run directory is loaded, not repeated.

    Raises:
        UserError: an unknown name or key, a wrong type or value, an environment the agent cannot act in.
    """
    words = [f"experiment={experiment}"] if experiment else [f"agent={agent}", f"env={env}"]
    words += [f"objective={objective}"] if objective else []
    config = configuration.compose([*words, *configuration.words_of(overrides)], config_dir=config_dir)
    train_from_config(config)
    return load(configuration.run_directory(config))


def train_from_config(config: dict[str, Any]) -> dict[str, Any]:
    """Train, or go on training, or show what is finished; returns the summary."""
    limit_cpu_threads(config["cpu_threads"])
    mesh.begin(mesh.settings_of(config))
    built = configuration.build(config)
    run_dir = Path(configuration.run_directory(config))
    done = _prepared(run_dir, config)
    if done is not None:
        if mesh.is_first():
            print_result(done, run_dir)
        return done
    use_compilation_cache()
    with failures_noted(run_dir, INTERRUPTED):
        (summary,) = run_all(built, [config])
    if mesh.is_first():
        print_result(summary, run_dir)
    return summary


def _prepared(run_dir: Path, config: dict[str, Any]) -> dict[str, Any] | None:
    """`prepare`, by the first process for all of them."""
    found: dict[str, Any] = {"summary": None, "refused": None}
    if mesh.is_first():
        try:
            found["summary"] = prepare(run_dir, config)
        except UserError as error:
            found["refused"] = str(error)
    found = json.loads(mesh.told(json.dumps(found)))
    if found["refused"] is not None:
        raise UserError(found["refused"])
    return found["summary"]


def resume(run_dir: str | Path) -> dict[str, Any]:
    """Go on with the run in `run_dir`, or show its result when it is finished; with whatever devices there are now."""
    config = saved_config(run_dir)
    return train_from_config({**config, "run_dir": str(run_dir), "overwrite": False, "mesh": _lasting(config)})


def _lasting(config: dict[str, Any]) -> dict[str, Any]:
    """Of the section `mesh` what is the run's and not the machine's."""
    settings = mesh.settings_of(config)
    return {"data": settings.data, "matmul_precision": settings.matmul_precision}


def load(run_dir: str | Path) -> Run:
    """Agent, newest state, config and summary of a run directory."""
    config = saved_config(run_dir)
    session, restored = _reopen(Path(run_dir), config)
    for batch in session.batches:
        batch.close()
    state = restored.state.agent
    if mesh.settings_of(config).data > 1:
        state = jax.tree.map(lambda leaf: leaf[:, 0], state)
    summary = Path(run_dir) / "summary.json"
    found = json.loads(summary.read_text()) if summary.exists() else {}
    return Run(session.agent, state, config, found, Path(run_dir))


def evaluate(run_dir: str | Path) -> dict[str, Any]:
    """Evaluate the newest checkpoint of a run afresh, print and return the metrics."""
    run_dir, config = Path(run_dir), saved_config(run_dir)
    config = {**config, "evaluation": {**config["evaluation"], "diagnostics": True}}
    session, restored = _reopen(run_dir, config)
    step = restored.chunk * session.plan.steps_per_chunk
    found = session.evaluate(restored.state.agent, session.seeds, step)
    summary = _summary(config, {name: value.tolist() for name, value in found.metrics.items()}, {})
    print_result(summary, run_dir)
    for batch in session.batches:
        batch.close()
    return summary


def _reopen(run_dir: Path, config: dict[str, Any]) -> tuple[Session, Restored]:
    session = _session(configuration.build(config), [config], jax.local_devices())
    store = checkpoints(run_dir / "checkpoints", config["checkpoint"]["keep"])
    restored = store.restore(session.loop.init(session.seeds))
    store.close()
    if restored is None:
        raise UserError(f"{run_dir} has no readable checkpoint yet; train it first with the command that made it")
    return session, restored


def _adopted(agent: Agent, state: Any, config: dict[str, Any], devices: Sequence[Any]) -> Any:
    """The agents' fresh states with what the run `init_from` has learned: its member i, or its only one."""
    source, count = config["init_from"], config["num_seeds"]
    if agent.adopt is None:
        raise UserError(f"agent {config['choices']['agent']} cannot start from another run; leave init_from null")
    learned = load(source).state
    shards = mesh.settings_of(config).data
    members = jax.tree.leaves(learned)[0].shape[0]
    if members not in (1, count):
        raise UserError(
            f"init_from={source} has {members} seeds and this run has num_seeds={count}; "
            f"use num_seeds={members}, or a run of a single seed"
        )
    if members != count:
        learned = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape[1:])), learned)
    if shards > 1:
        learned = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:, None], (count, shards, *leaf.shape[1:])), learned)
    layout = mesh.seed_mesh(count, devices, shards)
    if jax.process_count() > 1:
        learned = jax.tree.map(lambda leaf: mesh.place(leaf, layout), learned)
    return mesh.over_shards(agent.adopt, layout, "vmap")(state, learned)


def plan_of(agent: Agent, config: dict[str, Any]) -> Plan:
    per_iteration = agent.unroll * agent.num_envs * mesh.settings_of(config).data
    total = config["total_steps"]
    iterations = max(1, round(min(config["log"]["every"], total) / per_iteration))
    steps_per_chunk = iterations * per_iteration
    return Plan(
        iterations=iterations,
        chunks=math.ceil(total / steps_per_chunk),
        steps_per_chunk=steps_per_chunk,
        evaluate_every=max(1, round(config["evaluation"]["every"] / steps_per_chunk)),
        checkpoint_every=max(1, round(config["checkpoint"]["every"] / steps_per_chunk)),
    )


def _session(
    built: configuration.Built,
    configs: Sequence[dict[str, Any]],
    devices: Sequence[Any],
    varied: Varied | None = None,
) -> Session:
    """What is compiled for a run, or for several that lie behind one another on the axis of seeds."""
    agent, environment, config = built.agent, built.environment, configs[0]
    plan, how = plan_of(agent, config), config["seeds"]
    seeds = [one["seed"] + index for one in configs for index in range(one["num_seeds"])]
    episodes, yardstick = config["evaluation"]["episodes"], config["evaluation"]["diagnostics"]
    if isinstance(environment, Environment):
        loop = device_loop(agent, environment, plan.iterations, len(seeds), how, devices, varied)
        evaluate = device_evaluation(agent, environment, episodes, len(seeds), how, yardstick, devices, varied)
        return Session(agent, loop, evaluate, [], plan, seeds, devices)
    factory: HostFactory = environment
    if len({device.process_index for device in devices}) > 1:
        raise UserError(
            f"env={config['choices']['env']} is stepped on the host, which several processes cannot share; use "
            "mesh.distributed=off, or an environment on the device, such as env=brax/halfcheetah"
        )
    batches = [factory.create(agent.num_envs) for _ in seeds]
    loop = host_loop(agent, batches, plan.iterations, how, devices)
    evaluate = host_evaluation(agent, factory, episodes, len(seeds), how, yardstick, devices)
    return Session(agent, loop, evaluate, batches, plan, seeds, devices)


# --- what is kept ------------------------------------------------------------------------------------------------


class Book(NamedTuple):
    """Where one run is kept, and which of the seeds of the program are its own."""

    config: dict[str, Any]
    run_dir: Path
    own: slice
    store: Checkpoints
    metrics: MetricsFile | None  # None in a process that does not write
    loggers: list[Any]
    record: dict[str, Any]  # goes with each checkpoint: position in the file, seconds, score


def _book(config: dict[str, Any], start: int, stack: contextlib.ExitStack) -> Book:
    """Open what a run writes to; its seeds begin at `start`."""
    run_dir, first = Path(configuration.run_directory(config)), mesh.is_first()
    store = checkpoints(run_dir / "checkpoints", config["checkpoint"]["keep"])
    stack.callback(store.close)
    loggers = open_loggers(config["logger"], run_dir, config) if first else []
    for logger in loggers:
        stack.callback(logger.close)
    file = MetricsFile(run_dir / "metrics.jsonl") if first else None
    record = {"position": 0, "wall": 0.0, "compile": 0.0, "score": None}
    return Book(config, run_dir, slice(start, start + config["num_seeds"]), store, file, loggers, record)


def _log(book: Book, session: Session, step: int, values: Mapping[str, np.ndarray], seconds: float) -> None:
    """A row for each seed of a run."""
    seeds = session.seeds[book.own]
    speed = {"time/steps_per_second": session.plan.steps_per_chunk * len(seeds) / seconds}
    rows = [
        {"step": step, "seed": seed} | {name: float(value[book.own][index]) for name, value in values.items()} | speed
        for index, seed in enumerate(seeds)
    ]
    if book.metrics is not None:
        book.metrics.write(rows)
    for logger in book.loggers:
        for row in rows:
            logger.write(step, int(row["seed"]), {k: v for k, v in row.items() if k not in ("step", "seed")})


def _save(book: Book, session: Session, chunk: int, state: LoopState, seconds: tuple[float, float]) -> None:
    """A checkpoint of one run."""
    wall, compiling = seconds
    position = 0 if book.metrics is None else book.metrics.position()
    now = {"wall": book.record["wall"] + wall, "compile": book.record["compile"] + compiling, "position": position}
    score = -math.inf if book.record["score"] is None else book.record["score"]
    own = _of(state, book, session)
    book.store.save(chunk, own, [batch.save() for batch in session.batches], {**book.record, **now}, score)


def _of(state: Any, book: Book, session: Session) -> Any:
    """What of a state belongs to one run: all of it where there is no other."""
    alone = book.config["num_seeds"] == len(session.seeds)
    return state if alone else jax.tree.map(lambda leaf: leaf[book.own], state)


def _restored(books: Sequence[Book], session: Session, state: LoopState) -> tuple[int, LoopState]:
    """How many chunks are done, and the state behind them, of runs that stand at the same place."""
    found = [book.store.restore(_of(state, book, session)) for book in books]
    known = [one for one in found if one is not None]
    if not known:
        config = books[0].config
        if config["init_from"] is None:
            return 0, state
        return 0, state._replace(agent=_adopted(session.agent, state.agent, config, session.devices))
    if len({one.chunk for one in known}) > 1 or len(known) < len(found):
        raise Apart
    for book, one in zip(books, known, strict=True):
        book.record.update(one.record)
    for batch, blob in zip(session.batches, known[0].host, strict=True):
        batch.restore(blob)
    if len(known) == 1:
        return known[0].chunk, known[0].state
    layout = mesh.seed_mesh(len(session.seeds), session.devices, mesh.settings_of(books[0].config).data)
    here = session.devices[0]

    def behind_one_another(*leaves: Any) -> Any:
        return mesh.place(jnp.concatenate([jax.device_put(leaf, here) for leaf in leaves]), layout)

    return known[0].chunk, jax.tree.map(behind_one_another, *(one.state for one in known))


class Apart(Exception):
    """Runs that were to go on in one program do not stand at the same place."""


def _finish(book: Book, session: Session, found: Evaluation, seconds: tuple[float, float]) -> dict[str, Any]:
    """The files of a run at its end, and its summary."""
    config, run_dir, seeds = book.config, book.run_dir, session.seeds[book.own]
    np.savez_compressed(run_dir / "evaluation.npz", **of_seeds(found, book.own).arrays)  # pyright: ignore[reportArgumentType]
    wall, compiling = seconds
    timing = {
        "wall_seconds": book.record["wall"] + wall,
        "compile_seconds": book.record["compile"] + compiling,
    }
    summary = _summary(config, _last_rows(run_dir / "metrics.jsonl", seeds), timing)
    shards = mesh.settings_of(config).data
    summary["mesh"] = mesh.facts(mesh.seed_mesh(len(session.seeds), session.devices, shards))
    write_json(run_dir / "summary.json", summary)
    figures(run_dir)
    set_status(run_dir, "done", "")
    return summary


# --- the run -----------------------------------------------------------------------------------------------------


def run_all(
    built: configuration.Built, configs: Sequence[dict[str, Any]], varied: Varied | None = None
) -> list[dict[str, Any]]:
    """Train a run, or several at once whose agents differ in the numbers that vary; returns their summaries.

    Their run directories are prepared. Raises `Apart` where runs that were begun do not stand at the same place.
    """
    began = time.perf_counter()
    with contextlib.ExitStack() as stack:
        clock = stack.enter_context(compile_clock())
        settings, first = mesh.settings_of(configs[0]), mesh.is_first()
        session = _session(built, configs, mesh.devices_of(settings), varied)
        plan, seeds = session.plan, session.seeds
        for batch in session.batches:
            stack.callback(batch.close)
        stopped = stack.enter_context(_termination())
        starts = np.cumsum([0, *(config["num_seeds"] for config in configs)]).tolist()
        books = [_book(config, start, stack) for config, start in zip(configs, starts, strict=False)]

        def seconds() -> tuple[float, float]:
            return time.perf_counter() - began, sum(clock)

        chunk, state = _restored(books, session, session.loop.init(seeds))
        for book in books:
            if book.metrics is not None:
                book.metrics.truncate(book.record["position"])
            set_status(book.run_dir, "running", "")
        found: Evaluation | None = None
        watched: tuple[str, float] | None = None
        total = plan.chunks * plan.steps_per_chunk
        shows = configs[0]["progress"] and first
        progress = stack.enter_context(Progress(total, enabled=shows, start=chunk * plan.steps_per_chunk))

        while chunk < plan.chunks:
            before = time.perf_counter()
            state, metrics = session.loop.chunk(state)
            jax.block_until_ready(state.agent)
            spent = time.perf_counter() - before
            chunk += 1
            step = chunk * plan.steps_per_chunk
            values: dict[str, np.ndarray] = dict(mesh.fetch(metrics))
            # All processes must stop behind the same chunk, whichever was told to.
            stops, found = mesh.any_process(bool(stopped)), None
            if chunk % plan.evaluate_every == 0 or chunk == plan.chunks:
                found = session.evaluate(state.agent, seeds, step)
                values |= found.metrics
                for book in books:
                    book.record["score"] = float(np.mean(values[headline(values)][book.own]))
            for book in books:
                _log(book, session, step, values, spent)
            # Between evaluations the bar goes on showing the last one.
            if found is not None or watched is None:
                name = headline(values)
                watched = (name, float(np.mean(values[name]))) if found is not None else None
                shown = watched or (name, _mean(values[name]))
            else:
                shown = watched
            progress.update(step, *shown)
            if chunk % plan.checkpoint_every == 0 or chunk == plan.chunks or stops:
                for book in books:
                    _save(book, session, chunk, state, seconds())
            if stops and chunk < plan.chunks:
                for book in books:
                    reason = f"stopped by SIGTERM at step {step}; the same command goes on from there"
                    set_status(book.run_dir, "running", reason)
                raise SystemExit(0)

        if found is None:  # killed between the last checkpoint and here
            found = session.evaluate(state.agent, seeds, chunk * plan.steps_per_chunk)
    if not first:
        return [json.loads(mesh.told(""))]
    summaries = [_finish(book, session, found, seconds()) for book in books]
    if jax.process_count() > 1:
        mesh.told(json.dumps(summaries[0]))
    return summaries


def _mean(values: np.ndarray) -> float:
    """The mean of what is there; NaN where nothing is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan


def headline(metrics: Mapping[str, Any]) -> str:
    """The one number to watch: what the objective maximises where it says so, else the return."""
    order = ("evaluation/stochastic/mutual_information", "evaluation/deterministic/return", "train/intrinsic_reward")
    return next((name for name in order if name in metrics), "train/episode_return")


def _last_rows(path: Path, seeds: Sequence[int]) -> dict[str, list[float]]:
    """name -> the last value that each seed logged; a chunk in which no episode ended has no return to log."""
    last: dict[int, dict[str, float]] = {seed: {} for seed in seeds}
    for line in path.read_text().splitlines():
        row = json.loads(line)
        last[row["seed"]] |= {name: value for name, value in row.items() if value is not None}
    names = [name for name in last[seeds[0]] if name not in ("step", "seed") and not name.startswith("time/")]
    return {name: [last[seed].get(name, math.nan) for seed in seeds] for name in names}


def _summary(config: dict[str, Any], values: dict[str, list[float]], timing: dict[str, float]) -> dict[str, Any]:
    return {
        "metrics": summarised(values),
        "agent": config["choices"]["agent"],
        "objective": config["choices"]["objective"],
        "env": config["choices"]["env"],
        "headline": headline(values),
        "total_steps": config["total_steps"],
        "num_seeds": config["num_seeds"],
        "seed": config["seed"],
        **origin(),
        **timing,
    }


@contextlib.contextmanager
def _termination() -> Iterator[list[bool]]:
    """A list that is filled once SIGTERM came; the chunk in progress ends first."""
    came: list[bool] = []
    try:
        previous = signal.signal(signal.SIGTERM, lambda *_: came.append(True))
    except ValueError:  # not the main thread: somebody else handles signals
        yield came
        return
    try:
        yield came
    finally:
        signal.signal(signal.SIGTERM, previous)


__all__ = [
    "LoopState",
    "Run",
    "evaluate",
    "limit_cpu_threads",
    "load",
    "resume",
    "saved_config",
    "train",
    "train_from_config",
]
