"""What a run tells: its files of numbers, the trackers beside them, the progress bar and the table at the end."""

import importlib
import json
import math
import os
import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from rich import progress as rich_progress
from rich.console import Console
from rich.table import Table
from rich.text import Text

SECONDS_BETWEEN_LINES = 5.0

# --- files -------------------------------------------------------------------------------------------------------


class MetricsFile:
    """`metrics.jsonl`, one JSON object per line, only ever appended to or cut back.

    No handle stays open between calls, so a run that is killed or raises leaves nothing unwritten behind.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append one line per row; NaN and infinity, which JSON has no word for, become null."""
        text = "".join(json.dumps(_plain(row), allow_nan=False) + "\n" for row in rows)
        with open(self.path, "ab") as file:
            file.write(text.encode())

    def position(self) -> int:
        """Bytes written so far, once they are safely on the disk."""
        with open(self.path, "ab") as file:
            os.fsync(file.fileno())
            return file.tell()

    def truncate(self, position: int) -> None:
        """Cut back to `position`: rows after a checkpoint, and a line torn by a kill, are written anew."""
        size = self.path.stat().st_size if self.path.exists() else 0
        if size < position:
            from infojax.types import UserError

            raise UserError(
                f"{self.path} has {size} bytes, but the checkpoint was taken when it had {position}: the file was "
                "changed since; put it back, or use overwrite=true to start afresh"
            )
        with open(self.path, "ab") as file:
            file.truncate(position)
            os.fsync(file.fileno())


def whole_rows(path: str | Path) -> tuple[list[dict[str, Any]], int]:
    """The rows of a `metrics.jsonl` and the bytes that they take; a last line torn by a kill is left out.

    Raises:
        UserError: another line that is no row.
    """
    path = Path(path)
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    rows: list[dict[str, Any]] = []
    position = 0
    for index, line in enumerate(lines):
        try:
            row = json.loads(line)
            rows.append(row | {"step": int(row["step"]), "seed": int(row["seed"])})
        except (ValueError, KeyError, TypeError) as error:
            if index == len(lines) - 1:
                break
            from infojax.types import UserError

            raise UserError(
                f"line {index + 1} of {path} is not a row of metrics; the file was changed since the run wrote it: put "
                "it back, or train again with overwrite=true"
            ) from error
        position += len(line)
    return rows, position


def read_json(path: str | Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is none that can be read."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_json(path: str | Path, object: Any) -> None:
    """Write JSON so that a reader, or a kill at any moment, finds either the old file or the new, never a part."""
    path = Path(path)
    draft = path.with_name(f"{path.name}.tmp")
    with open(draft, "w", encoding="utf-8") as file:
        json.dump(_plain(object), file, indent=2, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


def _plain(value: Any) -> Any:
    """What JSON can hold: numpy scalars and arrays as numbers and lists, what is not finite as null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(entry) for entry in value]
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return str(value)


# --- trackers ----------------------------------------------------------------------------------------------------


class Logger(NamedTuple):
    """A tracker that gets every number beside `metrics.jsonl`; one curve per seed under the same name."""

    write: Callable[[int, int, Mapping[str, float]], None]  # (step, seed, metrics)
    close: Callable[[], None]


def open_loggers(names: Sequence[str], run_dir: Path, config: Mapping[str, Any]) -> list[Logger]:
    """The trackers that `logger=` asks for.

    Args:
        names: any of tensorboard, wandb, mlflow.
        run_dir: the run directory; TensorBoard's, offline W&B's and local MLflow's files go into it.
        config: the run's configuration, shown by each tracker; its `seed` and `num_seeds` say which curves come.

    Raises:
        UserError: an unknown name, a tracker whose package is not installed, or one that cannot start.
    """
    from infojax.types import UserError

    chosen = dict.fromkeys([names] if isinstance(names, str) else names)
    for name in chosen:
        if name not in LOGGERS:
            raise UserError(f"logger={name} is unknown; choose among {', '.join(LOGGERS)}, or none: logger=[]")
    loggers: list[Logger] = []
    for name in chosen:
        try:
            loggers.append(LOGGERS[name](Path(run_dir), config))
        except Exception as error:
            for logger in loggers:
                logger.close()
            if isinstance(error, ImportError):
                message = f'logger={name} needs a package that is not installed; run: pip install "infojax[{name}]"'
                raise UserError(message) from error
            if isinstance(error, UserError):
                raise
            advice = ADVICE.get(name, "see its own documentation")
            raise UserError(f"logger={name} could not start: {error}; {advice}, or leave it out: logger=[]") from error
    return loggers


def _tensorboard(run_dir: Path, config: Mapping[str, Any]) -> Logger:
    """One event folder per seed, which TensorBoard lays over one another."""
    package = importlib.import_module("tensorboardX")
    folder = run_dir / "tensorboard"
    # Flushed every second, not every two minutes: what a kill takes from the buffer, a run that goes on from its
    # checkpoint does not write again. (Its `flush` does not wait for what is queued.)
    writers = {seed: package.SummaryWriter(str(folder / f"seed_{seed}"), flush_secs=1) for seed in _seeds(config)}
    for writer in writers.values():
        writer.add_text("config", f"```\n{json.dumps(_plain(config), indent=2)}\n```", 0)

    def write(step: int, seed: int, metrics: Mapping[str, float]) -> None:
        for name, value in _finite(metrics).items():
            writers[seed].add_scalar(name, value, step)

    def close() -> None:
        for writer in writers.values():
            writer.close()

    return Logger(write, close)


def _wandb(run_dir: Path, config: Mapping[str, Any]) -> Logger:
    """One W&B run per seed, grouped under the name of the run; WANDB_MODE, WANDB_PROJECT and so on count as ever."""
    package = importlib.import_module("wandb")
    identity = _identity(run_dir, "wandb")
    runs: dict[int, Any] = {}

    def close() -> None:
        for run in runs.values():
            run.finish()

    try:
        for seed in _seeds(config):
            runs[seed] = package.init(
                project=os.environ.get("WANDB_PROJECT", "infojax"),
                mode=os.environ.get("WANDB_MODE"),
                group=run_dir.resolve().name,
                id=f"{identity}-seed_{seed}",
                name=f"{run_dir.resolve().name} seed {seed}",
                dir=str(run_dir),
                config=_plain(config),
                resume="allow",  # the same id goes on where the run was stopped
                reinit="create_new",  # the runs of several seeds are open at once
                settings={"console": "off"},  # the progress bar is no log
            )
    except Exception:
        close()
        raise

    def write(step: int, seed: int, metrics: Mapping[str, float]) -> None:
        runs[seed].log(_finite(metrics), step=step)

    return Logger(write, close)


def _mlflow(run_dir: Path, config: Mapping[str, Any]) -> Logger:
    """One MLflow run per seed; in a database inside the run directory unless MLFLOW_TRACKING_URI names a server."""
    package = importlib.import_module("mlflow")
    entities = importlib.import_module("mlflow.entities")
    identity = _identity(run_dir, "mlruns")
    folder = (run_dir / "mlruns").resolve()
    remote = os.environ.get("MLFLOW_TRACKING_URI")
    # A plain folder of files as the store is refused by newer MLflow; SQLite needs no server either.
    client = package.MlflowClient(tracking_uri=remote or f"sqlite:///{folder / 'mlflow.db'}")
    title = os.environ.get("MLFLOW_EXPERIMENT_NAME", "infojax")
    experiment = client.get_experiment_by_name(title)
    if experiment is not None:
        experiment_id = experiment.experiment_id
    else:
        location = None if remote else (folder / "artifacts").as_uri()
        experiment_id = client.create_experiment(title, artifact_location=location)
    parameters = [entities.Param(name, str(value)[:500]) for name, value in _flat(config).items()]
    runs: dict[int, str] = {}
    for seed in _seeds(config):
        tag = f"{identity}-seed_{seed}"
        known = client.search_runs([experiment_id], filter_string=f"tags.`infojax.run` = '{tag}'", max_results=1)
        if known:
            runs[seed] = known[0].info.run_id
            client.update_run(runs[seed], status="RUNNING")
            continue
        name = f"{run_dir.resolve().name} seed {seed}"
        created = client.create_run(experiment_id, run_name=name, tags={"infojax.run": tag, "infojax.seed": str(seed)})
        runs[seed] = created.info.run_id
        for start in range(0, len(parameters), 100):  # the most that one request may carry
            client.log_batch(runs[seed], params=parameters[start : start + 100])

    def write(step: int, seed: int, metrics: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        numbers = [entities.Metric(name, value, now, step) for name, value in _finite(metrics).items()]
        for start in range(0, len(numbers), 1000):
            client.log_batch(runs[seed], metrics=numbers[start : start + 1000])

    def close() -> None:
        for run_id in runs.values():
            client.set_terminated(run_id)

    return Logger(write, close)


LOGGERS: dict[str, Callable[[Path, Mapping[str, Any]], Logger]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
}
ADVICE = {
    "wandb": "run `wandb login`, or set WANDB_MODE=offline",
    "mlflow": "check MLFLOW_TRACKING_URI, or unset it to keep the numbers in the run directory",
}


def _seeds(config: Mapping[str, Any]) -> list[int]:
    first = config.get("seed", 0)
    return list(range(first, first + config.get("num_seeds", 1)))


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """Trackers draw what is there; what is not finite is null in `metrics.jsonl` and left out here."""
    numbers = {name: float(value) for name, value in metrics.items() if value is not None}
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _identity(run_dir: Path, folder: str) -> str:
    """What a tracker knows this run by: kept in the run directory, so that going on finds it again.

    It begins with the name of the run directory and ends in a token, because a run that is started afresh there, with
    `overwrite=true`, must not go on in the curves of the one before.
    """
    path = run_dir / folder / "identity"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"[^\w-]+", "_", run_dir.resolve().name, flags=re.ASCII)[:80]
        path.write_text(f"{name}-{uuid.uuid4().hex[:8]}", encoding="utf-8")
    return path.read_text(encoding="utf-8")


# --- words and numbers -------------------------------------------------------------------------------------------

TITLES = {
    "mutual_information": "mutual information",
    "mutual_information_ceiling": "entropy of the skills H(Z)",
    "return": "return",
    "best_skill_return": "return of the best skill",
    "length": "episode length",
    "accuracy": "discriminator accuracy",
    "discriminator_entropy": "entropy of the discriminator",
    "coverage": "state coverage",
}
UNITS = {
    "mutual_information": "nats",
    "entropy": "nats",
    "mutual_information_ceiling": "nats",
    "discriminator_entropy": "nats",
    "intrinsic_reward": "nats",
    "policy_entropy": "nats",
    "length": "steps",
    "episode_length": "steps",
}
SHARES = ("accuracy", "coverage", "error")
PER_SKILL = re.compile(r"(?P<mode>.*)/return_skill_(?P<skill>\d+)")


def title(name: str) -> str:
    """A metric's name in words, without where it was measured: evaluation/stochastic/return is a return."""
    leaf = name.rpartition("/")[2]
    return TITLES.get(leaf, leaf.replace("_", " "))


def place(name: str) -> str:
    """Where a metric was measured: stochastic, deterministic, training, …"""
    parts = name.split("/")
    if parts[0] == "evaluation" and len(parts) > 2:
        return parts[1]
    return {"train": "training"}.get(parts[0], parts[0]) if len(parts) > 1 else ""


def unit(name: str) -> str:
    """nats, steps, % or nothing."""
    leaf = name.rpartition("/")[2]
    return "%" if leaf in SHARES else UNITS.get(leaf, "")


def number(value: float | None, name: str = "") -> str:
    """A number as people read it, without its unit; shares of `name` in per cent; a dash for what is not there."""
    if value is None or not math.isfinite(value):
        return "–"
    value = float(value) * 100 if unit(name) == "%" else float(value)
    if value == 0:
        return "0"
    if unit(name) == "%":
        return f"{value:.1f}"
    digits = math.floor(math.log10(abs(value)))
    if not -4 <= digits < 7:
        return f"{value:.3g}"
    if digits >= 3 or (value == round(value) and unit(name) != "nats"):
        return f"{value:,.0f}"
    return f"{value:.{3 - max(digits, 0)}f}" if digits >= 0 else f"{value:.{2 - digits}f}"


def quantity(value: float | None, name: str) -> str:
    """A number with its unit."""
    text, measure = number(value, name), unit(name)
    return f"{text} {measure}" if measure and text != "–" else text


def duration(seconds: float) -> str:
    """Hours, minutes and seconds; a dash for for ever."""
    if not math.isfinite(seconds):
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _short(count: float) -> str:
    """Counts in few letters, for bars: 950, 12.3k, 1M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= 0.9995 * size:
            return f"{count / size:.3g}{letter}"
    return f"{count:.0f}"


# --- progress ----------------------------------------------------------------------------------------------------


class Progress:
    """A bar with steps, steps per second, the headline metric and the time left; plain lines without a terminal.

    What is counted is a `noun`: steps, or seeds.
    """

    def __init__(
        self,
        total: int,
        *,
        enabled: bool = True,
        start: int = 0,
        noun: str = "step",
        console: Console | None = None,
        seconds_between_lines: float = SECONDS_BETWEEN_LINES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total, self.enabled, self.start, self.noun = total, enabled, start, noun
        self.console: Console = console or Console()
        self.seconds_between_lines = seconds_between_lines
        self.clock = clock
        self.began = clock()
        self.first: tuple[int, float] | None = None  # of the first update: what came before it is mostly compiling
        self.printed_at = -math.inf
        self.pending: str | None = None
        self.bar: rich_progress.Progress | None = None
        self.task = rich_progress.TaskID(0)

    def __enter__(self) -> Self:
        if self.enabled and self.console.is_terminal:
            self.bar = rich_progress.Progress(
                rich_progress.BarColumn(bar_width=12),
                rich_progress.TextColumn("{task.fields[words]}", markup=False),
                console=self.console,
            )
            steps = f"{_short(self.start)}/{_short(self.total)} {self.noun}s"
            self.task = self.bar.add_task("", total=self.total, completed=self.start, words=f"{steps} · compiling")
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
        self._print_pending()

    def update(self, step: int, headline_name: str, headline_value: float | None) -> None:
        """Tell that `step` of `total` steps are done, and how the headline metric stands."""
        if not self.enabled:
            return
        now = self.clock()
        speed = self._speed(step, now)
        left = (self.total - step) / speed if speed > 0 else math.inf
        watched = f"{title(headline_name)} {quantity(headline_value, headline_name)}"
        if self.bar is not None:
            done = f"{_short(step)}/{_short(self.total)} {self.noun}s"
            words = f"{done} · {_short(speed)} {self.noun}s/s · {duration(left)} left"
            self.bar.update(self.task, completed=step, words=f"{words} · {watched}", refresh=True)
            return
        share = 100 * step / self.total if self.total else 100
        rate = f"{speed:,.0f}" if speed >= 10 else f"{speed:.2g}"
        self.pending = (
            f"{self.noun} {step:,} of {self.total:,} ({share:.0f} %) | {rate} {self.noun}s/s | {watched} | "
            f"{duration(left)} left"
        )
        if now - self.printed_at >= self.seconds_between_lines or step >= self.total:
            self.printed_at = now
            self._print_pending()

    def _speed(self, step: int, now: float) -> float:
        """Steps per second since the first update, or up to it while there is no other."""
        since, then = (self.start, self.began) if self.first is None else self.first
        if self.first is None:
            self.first = (step, now)
        return (step - since) / max(now - then, 1e-9)

    def _print_pending(self) -> None:
        if self.pending is not None:
            self.console.print(self.pending, markup=False, highlight=False, soft_wrap=True)
            self.console.file.flush()
            self.pending = None


# --- the result --------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """One line of a table of results, as people read it."""

    place: str
    name: str
    value: str
    interval: str


def result_rows(metrics: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """The metrics of a summary in words: evaluation first, mutual information beside its ceiling, skills in one row."""
    rows: list[Row] = []
    seeds = max((len(entry.get("per_seed", [])) for entry in metrics.values()), default=0)
    for name in table_names(metrics):
        entry = metrics[name]
        count = len(_numbers(entry.get("per_seed", [])))
        interval = f"{number(entry.get('low'), name)} … {number(entry.get('high'), name)}" if count > 1 else "–"
        interval += f" ({count} of {seeds})" if count < seeds else ""
        rows.append(Row(place(name), title(name), with_ceiling(name, entry.get("mean"), metrics), interval))
        span = skill_span(name, metrics)
        if span:
            rows.append(Row(place(name), "skills, lowest … highest", f"{number(span[0])} … {number(span[1])}", "–"))
    return rows


def skill_span(name: str, metrics: Mapping[str, Mapping[str, Any]]) -> tuple[float, float] | None:
    """Where `name` is a return with skills beside it: that of the lowest and of the highest skill, mean over seeds.

    Per seed first, because skill k of one seed has nothing to do with skill k of another.
    """
    hits = {key: PER_SKILL.fullmatch(key) for key in metrics}
    mode = name.removesuffix("/return")
    mine = [metrics[key].get("per_seed", []) for key, hit in hits.items() if hit and hit["mode"] == mode]
    seeds = [found for values in zip(*mine, strict=True) if (found := _numbers(values))]
    if not name.endswith("/return") or not seeds:
        return None
    return sum(map(min, seeds)) / len(seeds), sum(map(max, seeds)) / len(seeds)


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None and math.isfinite(value)]


def table_names(names: Iterable[str]) -> list[str]:
    """The metrics that get a row: evaluation before training; ceilings and single skills stand in others' rows."""
    shown = [
        name
        for name in names
        if not name.startswith("time/") and not name.endswith("_ceiling") and not PER_SKILL.fullmatch(name)
    ]
    leaves = ("mutual_information", "accuracy", "return", "best_skill_return", "coverage", "length", "episode_return")

    def rank(name: str) -> tuple[bool, bool, str, int, str]:
        leaf = name.rpartition("/")[2]
        order = leaves.index(leaf) if leaf in leaves else len(leaves)
        return not name.startswith("evaluation/"), place(name) != "stochastic", place(name), order, name

    return sorted(shown, key=rank)


def with_ceiling(name: str, value: float | None, metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """A quantity, and for mutual information how much of what is possible that is."""
    ceiling = metrics.get(f"{name}_ceiling", {}).get("mean")
    text = quantity(value, name)
    if text == "–" or value is None or ceiling is None or not ceiling > 0:
        return text
    return f"{number(value, name)} of {quantity(ceiling, name)} ({100 * value / ceiling:.0f} %)"


def result_table(summary: Mapping[str, Any]) -> Table:
    """The table at the end of a run: every metric with its mean and 95 % interval over the seeds."""
    objective = summary.get("objective")
    learner = summary.get("agent", "agent")
    named = learner if objective in (None, "none", learner) else f"{learner} with {objective}"
    count = summary.get("num_seeds", 1)
    heading = f"{named} on {summary.get('env', 'its environment')}"
    if summary.get("total_steps"):
        heading += f", {summary['total_steps']:,} steps"
    heading += ", 1 seed" if count == 1 else f", {count} seeds"
    table = Table(title=heading, title_justify="left")
    table.add_column("metric")
    table.add_column("value" if count == 1 else "mean", justify="right", no_wrap=True)
    if count > 1:
        table.add_column("95 % interval", justify="right", no_wrap=True)
    rows = result_rows(summary.get("metrics", {}))
    for index, row in enumerate(rows):
        if index == 0 or rows[index - 1].place != row.place:
            table.add_section()
            acting = row.place in ("stochastic", "deterministic")
            table.add_row(Text(f"{row.place} acting" if acting else row.place or "other", style="bold"))
        cells = (row.name, row.value, row.interval) if count > 1 else (row.name, row.value)
        table.add_row(*(Text(cell) for cell in cells))
    return table


WIDE = 150  # columns of a table that goes into a file or a pipe


def wide(console: Console | None) -> Console:
    """A console, the given one or stdout's, on which wide tables are whole also where it is no terminal."""
    console = console or Console()
    if not console.is_terminal:
        console.width = max(console.width, WIDE)
    return console


def say(console: Console, text: str) -> None:
    """Print a line as it is, without markup, colours or breaks."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def print_result(summary: Mapping[str, Any], run_dir: str | Path, console: Console | None = None) -> None:
    """Print the table of a run and where its files and pictures are."""
    console = console or Console()
    run_dir = Path(run_dir)
    console.print(result_table(summary))
    if "wall_seconds" in summary:
        took = f"took {duration(summary['wall_seconds'])}"
        if "compile_seconds" in summary:
            took += f", of which compiling {duration(summary['compile_seconds'])}"
        console.print(took, markup=False, highlight=False)
    lines = [("numbers", [run_dir / "metrics.jsonl"]), ("pictures", pictures(run_dir))]
    for word, paths in lines:
        for index, path in enumerate(paths):
            label = f"{word}:" if index == 0 else ""
            say(console, f"{label:<10}{path}")


def pictures(run_dir: Path) -> list[Path]:
    """The pictures of a run, those of a later report apart."""
    return sorted(path for path in (run_dir / "figures").glob("*.png") if not path.name.startswith("report_"))
