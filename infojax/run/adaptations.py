"""What adaptation runs say: errors, calibration and entropies of methods beside one another, in tables and pictures.

Everything is made of the rows that a run keeps in `predictions/`, and of its summary, so that a table can be asked for
at any time. Shares are from 0 to 1 in files and in per cent for people. Errors are of images of known classes that are
shifted, where a stream has such, and of all of them where it has none.
"""

import html
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter
from rich.console import Console
from rich.table import Table
from rich.text import Text
from scipy import stats

from infojax.run import config as configuration
from infojax.run.drawing import COLOURS, html_table, image, markdown_table, page, save, tidy, write_text
from infojax.run.log import duration, number, pictures, read_json, say, wide, write_json

BINS = 15  # of confidence, of the calibration error (Guo et al., 2017)
CLEAN = "clean"
NOT_NUMBERS = ("step", "seed", "method", "phase")
RESTORED = ("recovered", "collapsed")  # what methods and wrappers count when they give up what they learned
SOURCE_COLOUR = "#6B6B6B"


class Record(NamedTuple):
    """What is kept of one method on one stream: [T, B] by batch and row."""

    predicted: np.ndarray
    confidence: np.ndarray
    entropy: np.ndarray
    selected: np.ndarray
    labels: np.ndarray
    mask: np.ndarray
    domain: np.ndarray
    groups: np.ndarray | None
    phase: np.ndarray  # [T]
    reset: np.ndarray  # [T]
    info: dict[str, np.ndarray]  # name -> [T]
    clean_predicted: np.ndarray  # [segments, N]
    clean_labels: np.ndarray  # [N]
    domains: list[str]
    phases: list[str]
    scores: str
    milliseconds: float
    cpu_milliseconds: float


def kept(run_dir: Path, method: str, seed: int) -> Path:
    """The file that keeps the rows of a method on the stream of a seed."""
    return run_dir / "predictions" / f"{method.replace('/', '_')}-{seed}.npz"


def read_record(path: Path) -> Record:
    """What was kept in a file of `predictions/`."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    about = json.loads(str(arrays.pop("about")))
    info = {name.removeprefix("info/"): arrays.pop(name) for name in list(arrays) if name.startswith("info/")}
    return Record(**{"groups": None, **arrays, "info": info, **about})


# --- numbers -----------------------------------------------------------------------------------------------------


def judged(record: Record, num_classes: int) -> dict[str, float]:
    """Every number of a method on a stream, by name.

    Returns:
        `error` of shifted images and `error/PHASE` of all in a phase, `domain_error/DOMAIN` where domains are not
        phases; `calibration_error`, `entropy` (nats), `clean_error` after the stream (mean over segments), `selected`
        (share of rows learned from), `updated` (share of batches with a step), `forward_rows` and `backward_rows` per
        batch, `milliseconds` and `cpu_milliseconds` per batch, `restored` and `invalid` (batches); where there are
        groups `worst_group_error`, where there are unknown classes `auroc` and `fpr95` of telling them by confidence.
    """
    real, known = record.mask, record.mask & (record.labels < num_classes)
    wrong = record.predicted != record.labels
    counted = known & _shifted(record, known)
    found = {"error": _mean(wrong[counted]), "calibration_error": calibration_error(record, counted)}
    for place, name in enumerate(record.phases):
        found[f"error/{name}"] = _mean(wrong[known & (record.phase == place)[:, None]])
    for place, name in enumerate(record.domains if set(record.domains) != set(record.phases) else ()):
        found[f"domain_error/{name}"] = _mean(wrong[known & (record.domain == place)])
    found["entropy"] = _mean(record.entropy[counted])
    if record.groups is not None:
        members = [known & (record.groups == group) for group in np.unique(record.groups[known])]
        found["worst_group_error"] = max((_mean(wrong[mine]) for mine in members), default=math.nan)
    unknown = real & (record.labels >= num_classes)
    if unknown.any() and known.any():
        found["auroc"], found["fpr95"] = open_set(record.confidence[known], record.confidence[unknown])
    if record.clean_labels.size:
        found["clean_error"] = _mean(record.clean_predicted != record.clean_labels)
    found["selected"] = _mean(record.selected[real])
    found["updated"] = _mean(record.info["updated"] > 0)
    found |= {name: _mean(record.info[name]) for name in ("forward_rows", "backward_rows")}
    found |= {"milliseconds": record.milliseconds, "cpu_milliseconds": record.cpu_milliseconds}
    found["restored"] = float(sum(np.sum(record.info[name] > 0) for name in RESTORED if name in record.info))
    found["invalid"] = float(np.sum(record.info["invalid"] > 0))
    return found


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if values.size else math.nan


def _shifted(record: Record, known: np.ndarray) -> np.ndarray:
    """[T, B], the rows that are not of the clean domain; all where there are no others."""
    clean = np.array([name == CLEAN for name in record.domains])[record.domain]
    return ~clean if (known & ~clean).any() else np.ones_like(clean)


def headline(record: Record) -> float:
    """The share of wrong predictions, of all rows that have a label; for the progress bar."""
    return _mean((record.predicted != record.labels)[record.mask])


def calibration_curve(record: Record, where: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count, mean confidence and share of right predictions in 15 equally wide bins of confidence; NaN where none."""
    confidence = record.confidence[where].astype(np.float64)
    right = (record.predicted == record.labels)[where]
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    with np.errstate(invalid="ignore"):
        means = np.bincount(place, confidence, BINS) / counts
        shares = np.bincount(place, right, BINS) / counts
    return counts, means, shares


def calibration_error(record: Record, where: np.ndarray) -> float:
    """The expected calibration error Σ_b n_b / n |accuracy_b − confidence_b| (Guo et al., 2017)."""
    counts, means, shares = calibration_curve(record, where)
    gaps = np.where(counts > 0, np.abs(shares - means), 0)
    return float(np.sum(counts * gaps) / counts.sum()) if counts.sum() else math.nan


def open_set(known: np.ndarray, unknown: np.ndarray) -> tuple[float, float]:
    """How confidence tells known from unknown: the area under the ROC curve (ties count half), and the share of
    unknown that passes a threshold that at least 95 % of the known pass."""
    ranks = stats.rankdata(np.concatenate([known, unknown]))
    above = ranks[: len(known)].sum() - len(known) * (len(known) + 1) / 2
    threshold = np.sort(known)[::-1][math.ceil(0.95 * len(known)) - 1]
    return float(above / (len(known) * len(unknown))), float(np.mean(unknown >= threshold))


def rows(record: Record, seed: int, method: str) -> list[dict[str, Any]]:
    """One row of `metrics.jsonl` for each batch."""
    wrong, found = (record.predicted != record.labels), []
    for step in range(len(record.phase)):
        real = record.mask[step]
        row = {"step": step, "seed": seed, "method": method, "phase": record.phases[record.phase[step]]}
        row |= {"error": _mean(wrong[step][real]), "entropy": _mean(record.entropy[step][real])}
        row |= {"confidence": _mean(record.confidence[step][real]), "selected": _mean(record.selected[step][real])}
        found.append(row | {name: float(values[step]) for name, values in record.info.items()})
    return found


def warnings(name: str, records: Sequence[Record]) -> list[str]:
    """What is strange about what a method selected, over the seeds."""
    selecting = any(key in records[0].info for key in ("first_filter", "crowd", "confident"))
    if not selecting:
        return []
    shares = [_mean(record.selected[record.mask]) for record in records]
    if max(shares) == 0:
        return [f"{name} selected no image of the whole stream and learned nothing; widen its margin"]
    if min(shares) == 1:
        return [f"{name} selected every image of the whole stream, so that its filters do nothing; narrow its margin"]
    return []


# --- reading -----------------------------------------------------------------------------------------------------


class Result(NamedTuple):
    """One method of one run."""

    label: str  # of the method, with what sets its run apart from others
    method: str
    run_dir: Path
    summary: dict[str, Any]

    def mean(self, name: str) -> float:
        """The mean over seeds of a metric; NaN where there is none."""
        value = (self.summary["metrics"].get(f"{self.method}/{name}") or {}).get("mean")
        return math.nan if value is None else float(value)


def read_results(run_dirs: Sequence[Path]) -> list[Result]:
    """The methods of finished runs; what the runs have in common is told once."""
    found = []
    configs = {path: configuration.read(path / "config.yaml") for path in run_dirs}
    neutral = ("seed", "num_seeds", "seeds", *configuration.NEUTRAL)
    flat = {
        path: dict(configuration.leaves({key: value for key, value in config.items() if key not in neutral}))
        for path, config in configs.items()
    }
    seen: set[tuple[str, str]] = set()
    for path in run_dirs:
        summary = read_json(path / "summary.json")
        if not summary:
            continue
        for method in summary["methods"]:
            rivals = [mine for other, mine in flat.items() if f"methods.{method}._target_" in mine]
            mine = flat[path]
            apart = [
                key
                for key in mine
                if not key.endswith("_target_")
                and (not key.startswith("methods.") or key.startswith(f"methods.{method}."))
                and any(other.get(key) != mine[key] for other in rivals)
            ]
            words = [f"{key.removeprefix(f'methods.{method}.')}={_short(mine[key])}" for key in apart[:3]]
            words += [] if len({str(c["choices"]["data"]) for c in configs.values()}) < 2 else [str(summary["data"])]
            label = f"{method} ({', '.join(words)})" if words else method
            if (label, method) not in seen:  # the source model is the same in every run of a sweep
                seen.add((label, method))
                found.append(Result(label, method, path, summary))
    return found


def _short(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


# --- tables ------------------------------------------------------------------------------------------------------

COLUMNS = (
    ("error", "error %"),
    ("worst_group_error", "worst group %"),
    ("auroc", "AUROC %"),
    ("fpr95", "FPR95 %"),
    ("calibration_error", "calibration %"),
    ("clean_error", "clean after %"),
    ("selected", "selected %"),
    ("forward_rows", "rows forward"),
    ("backward_rows", "backward"),
    ("milliseconds", "ms"),
    ("cpu_milliseconds", "CPU-ms"),
    ("restored", "restored"),
    ("invalid", "invalid"),
)
ONLY_WHERE_THERE = ("worst_group_error", "auroc", "fpr95", "clean_error", "restored", "invalid")


def table(results: Sequence[Result]) -> tuple[list[str], list[list[str]]]:
    """Heads and cells: a row for each method; columns in which nothing happened are left out."""
    shown = [
        (name, head)
        for name, head in COLUMNS
        if name not in ONLY_WHERE_THERE or any(_there(result.mean(name), name) for result in results)
    ]
    cells = [[result.label, *(_cell(result.mean(name), head) for name, head in shown)] for result in results]
    return ["method", *(head for _, head in shown)], cells


def _there(value: float, name: str) -> bool:
    return math.isfinite(value) and (value > 0 or name not in ("restored", "invalid"))


def phase_table(results: Sequence[Result]) -> tuple[list[str], list[list[str]]]:
    """Heads and cells: error in per cent by phase of the stream and method."""
    phases = list(dict.fromkeys(phase for result in results for phase in result.summary["phases"]))
    cells = [[phase, *(_cell(result.mean(f"error/{phase}"), "%") for result in results)] for phase in phases]
    cells = cells if len(cells) < 2 else [*cells, ["all shifted", *(_cell(r.mean("error"), "%") for r in results)]]
    return ["error %", *(result.label for result in results)], cells


def _cell(value: float, head: str) -> str:
    if not math.isfinite(value):
        return "–"
    return f"{100 * value:.1f}" if head.endswith("%") else f"{value:.0f}" if value >= 100 else number(value)


def _rich(title: str, heads: Sequence[str], cells: Sequence[Sequence[str]]) -> Table:
    made = Table(title=title, title_justify="left")
    for index, head in enumerate(heads):
        made.add_column(head, justify="left" if index == 0 else "right", overflow="fold")
    for row in cells:
        made.add_row(*(Text(cell) for cell in row))
    return made


def _caption(summary: Mapping[str, Any]) -> str:
    """In words, what the numbers are of."""
    kinds: dict[str, list[str]] = {}
    for name, scores in summary["scores"].items():
        kinds.setdefault(scores, []).append(name)
    when = "; ".join(
        f"{' and '.join(names) if len(kinds) > 1 else 'all'} predict {kind} the step" for kind, names in kinds.items()
    )
    seeds = f"{summary['num_seeds']} seeds" if summary["num_seeds"] > 1 else f"seed {summary['seed']}"
    return f"{when}; rows and times per batch of {summary['batch_size']}; {seeds}"


def print_adaptation(summary: Mapping[str, Any], run_dir: str | Path, console: Console | None = None) -> None:
    """Print both tables of a run, and where its files are."""
    console = wide(console)
    results = [Result(name, name, Path(run_dir), dict(summary)) for name in summary["methods"]]
    heading = f"{summary['model']} on {summary['data']}, {summary['stream']}"
    console.print(_rich(heading, *table(results)))
    say(console, _caption(summary))
    if len(summary["phases"]) > 1:
        console.print(_rich("", *phase_table(results)))
    for word, paths in (("numbers:", [Path(run_dir) / "metrics.jsonl"]), ("pictures:", pictures(Path(run_dir)))):
        for index, path in enumerate(paths):
            say(console, f"{word if index == 0 else '':<10}{path}")
    if "wall_seconds" in summary:
        compiling = duration(summary["compile_seconds"])
        say(console, f"{'took:':<10}{duration(summary['wall_seconds'])}, of which compiling {compiling}")


# --- pictures ----------------------------------------------------------------------------------------------------

Records = Mapping[str, list[Record]]  # of each method, by seed


def _colours(names: Sequence[str]) -> dict[str, str]:
    others = [name for name in names if name != configuration.SOURCE]
    return {configuration.SOURCE: SOURCE_COLOUR} | {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(others)}


def _legend(figure: Figure, names: Sequence[str], colours: Mapping[str, str], marks: bool = False) -> None:
    handles = [
        _marked(Line2D([], [], color=colours[name]), name) if marks else Line2D([], [], color=colours[name], lw=2)
        for name in names
    ]
    columns = min(len(handles), 6)
    figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)


def _marked(line: Line2D, name: str) -> Line2D:
    """A bar for the source model, a dot for what is laid beside it."""
    bar = name == configuration.SOURCE
    line.set(linestyle="", marker="|" if bar else "o", markersize=10 if bar else 5, markeredgewidth=2 if bar else 0)
    return line


def error_over_stream(records: Records) -> Figure:
    """Error of each batch, the mean over seeds and over a stretch of batches within a phase."""

    def of(record: Record) -> np.ndarray:
        return _batch_means(record.predicted != record.labels, record)

    return _over_stream(records, list(records), of, "error")


def selected_over_stream(records: Records) -> Figure | None:
    """Share of rows learned from in each batch, of the methods that learn."""
    learning = [name for name, mine in records.items() if any(record.selected.any() for record in mine)]
    if not learning:
        return None
    label = "share of images learned from"
    return _over_stream(records, learning, lambda record: _batch_means(record.selected, record), label)


def _batch_means(values: np.ndarray, record: Record) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.where(record.mask, values, 0).sum(axis=1) / record.mask.sum(axis=1)


def _over_stream(records: Records, names: Sequence[str], of: Any, label: str) -> Figure:
    first = next(iter(records.values()))[0]
    starts = [0, *(1 + np.flatnonzero(np.diff(first.phase)))]
    stops = [*starts[1:], len(first.phase)]
    figure = Figure(figsize=(9.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    colours = _colours(list(records))
    for index, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        if index % 2:
            axes.axvspan(start, stop, color="#000000", alpha=0.04, lw=0)
        if len(starts) <= 32:
            words, middle = _worded(first.phases[first.phase[start]]), (start + stop) / 2
            text = axes.text(middle, 1.01, words, rotation=90, fontsize=7, color="#444444", ha="center", va="bottom")
            text.set_transform(axes.get_xaxis_transform())
        for name in names:
            values = np.nanmean([of(record) for record in records[name]], axis=0)[start:stop]
            width = max(1, (stop - start) // 6)
            smooth = np.convolve(np.pad(values, (width - 1, 0), mode="edge"), np.ones(width) / width, mode="valid")
            mark = "o" if stop - start <= 12 else ""
            axes.plot(np.arange(start, stop) + 0.5, smooth, color=colours[name], lw=1.3, marker=mark, ms=2.2)
    axes.set_xlim(0, len(first.phase))
    axes.set_ylim(0, None)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("batch")
    axes.set_ylabel(label)
    axes.grid(axis="y", color="#E6E6E6", lw=0.6)
    tidy(axes, 9)
    _legend(figure, names, colours)
    return figure


def _worded(phase: str) -> str:
    return phase.replace("_", " ")


def error_by_phase(summary: Mapping[str, Any]) -> Figure:
    """A mark for each method in each phase of the stream, and below them the mean."""
    names, phases = summary["methods"], list(summary["phases"])
    results = [Result(name, name, Path(), dict(summary)) for name in names]
    lines = [*phases, ""] if len(phases) > 1 else phases
    figure = Figure(figsize=(7.2, 0.32 * len(lines) + 1.6), layout="constrained")
    axes = figure.add_subplot()
    colours = _colours(names)
    for place, phase in enumerate(lines):
        values = [result.mean(f"error/{phase}" if phase else "error") for result in results]
        finite = [value for value in values if math.isfinite(value)]
        if finite:
            axes.plot([min(finite), max(finite)], [place, place], color="#D8D8D8", lw=1.2, zorder=1)
        for index, (name, value) in enumerate(zip(names, values, strict=True)):
            # Beside one another where they are many of one error; the source model's bar stands across.
            shift = 0.0 if name == configuration.SOURCE else 0.5 * ((index + 0.5) / len(names) - 0.5)
            _marked(axes.plot([value], [place + shift], color=colours[name])[0], name)
    if len(phases) > 1:
        axes.axhline(len(lines) - 1.5, color="#888888", lw=0.6)
    axes.set_yticks(range(len(lines)), [_worded(phase) or "all shifted" for phase in lines])
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set_xlim(0, None)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("error")
    axes.grid(axis="x", color="#E6E6E6", lw=0.6)
    tidy(axes, 9)
    _legend(figure, names, colours, marks=True)
    return figure


def entropies(records: Records, num_classes: int) -> Figure:
    """Histograms of the entropy of predictions: of the source model in grey, of each method in colour."""
    names = [name for name in records if name != configuration.SOURCE] or list(records)
    figure, panels = _panels(names)
    edges = np.linspace(0, math.log(num_classes), 31)
    colours, before = _colours(list(records)), records.get(configuration.SOURCE)
    for axes, name in zip(panels, names, strict=True):
        for mine, filled in ((before, True), (records[name], False)):
            if mine is None:
                continue
            values = np.concatenate([record.entropy[record.mask] for record in mine])
            shares, _ = np.histogram(values, edges)
            heights = shares / max(1, len(values))
            axes.stairs(heights, edges, fill=filled, color="#C8C8C8" if filled else colours[name], lw=1.6)
            axes.axvline(values.mean(), color="#909090" if filled else colours[name], lw=1.0, ls=(0, (4, 2)))
        axes.set_title(name, fontsize=9)
        axes.set_xlim(0, edges[-1])
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel("entropy of a prediction (nats)")
        tidy(axes, 8)
    panels[0].set_ylabel("share of images")
    handles = [
        Line2D([], [], color="#C8C8C8", lw=6, label="source model"),
        Line2D([], [], color="#333333", lw=1.6, label="adapted"),
        Line2D([], [], color="#333333", lw=1.0, ls=(0, (4, 2)), label="mean"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def calibration(records: Records, num_classes: int) -> Figure:
    """Reliability curves: share of right predictions against their confidence; larger marks where more images are."""
    figure = Figure(figsize=(5.4, 5.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="#888888", lw=0.8, ls=(0, (4, 3)))
    colours = _colours(list(records))
    for name, mine in records.items():
        pooled = ("predicted", "confidence", "labels")
        whole = mine[0]._replace(**{key: np.concatenate([getattr(one, key) for one in mine]) for key in pooled})
        known = np.concatenate([record.mask & (record.labels < num_classes) for record in mine])
        counts, means, shares = calibration_curve(whole, known)
        few = counts < max(5, 0.002 * counts.sum())  # a handful of images tells nothing
        axes.plot(means[~few], shares[~few], color=colours[name], lw=1.4)
        sizes = 6 + 120 * counts[~few] / counts.sum()
        axes.scatter(means[~few], shares[~few], sizes, color=colours[name], lw=0, alpha=0.8)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.set_aspect("equal")
    axes.set_xlabel("confidence (area of a mark: share of images)")
    axes.set_ylabel("share of right predictions")
    axes.grid(color="#E6E6E6", lw=0.6)
    tidy(axes, 9)
    _legend(figure, list(records), colours)
    return figure


def _panels(names: Sequence[str]) -> tuple[Figure, list[Axes]]:
    columns = min(4, len(names))
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(max(5.0, 2.7 * columns), 2.5 * lines + 0.5), layout="constrained")
    found: list[Axes] = []
    for index in range(len(names)):
        found.append(figure.add_subplot(lines, columns, index + 1, sharey=found[0] if found else None))
    return figure, found


def figures(run_dir: str | Path) -> list[Path]:
    """Draw `figures/*.png` of a finished run."""
    run_dir = Path(run_dir)
    summary = read_json(run_dir / "summary.json")
    seeds = [summary["seed"] + index for index in range(summary["num_seeds"])]
    records = {name: [read_record(kept(run_dir, name, seed)) for seed in seeds] for name in summary["methods"]}
    classes = int(summary["num_classes"])
    drawn = {
        "error_over_stream": error_over_stream(records),
        "error_by_phase": error_by_phase(summary),
        "entropy": entropies(records, classes),
        "selected": selected_over_stream(records),
        "calibration": calibration(records, classes),
    }
    heading = f"{summary['model']} on {summary['data']}, {summary['stream']}"
    written = []
    for name, figure in drawn.items():
        if figure is not None:
            figure.suptitle(heading, fontsize=10)
            written.append(save(figure, run_dir / "figures" / f"{name}.png"))
    return written


def compared(results: Sequence[Result]) -> Figure:
    """The error of every method of several runs, sorted by nothing but their order."""
    figure = Figure(figsize=(7.2, 0.3 * len(results) + 1.4), layout="constrained")
    axes = figure.add_subplot()
    names = list(dict.fromkeys(result.method for result in results))
    colours = _colours(names)
    for place, result in enumerate(results):
        entry = result.summary["metrics"][f"{result.method}/error"]
        seeds = [value for value in entry["per_seed"] if value is not None]
        axes.barh(place, result.mean("error"), 0.62, color=colours[result.method], alpha=0.85, lw=0)
        if len(seeds) > 1:
            axes.plot(seeds, [place] * len(seeds), "o", color="#222222", ms=2.5)
    axes.set_yticks(range(len(results)), [result.label for result in results])
    axes.set_ylim(len(results) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("error (dots: seeds)" if any(r.summary["num_seeds"] > 1 for r in results) else "error")
    axes.grid(axis="x", color="#E6E6E6", lw=0.6)
    tidy(axes, 9)
    return figure


# --- sweeps and reports ------------------------------------------------------------------------------------------


def print_sweep(folder: Path, console: Console | None = None) -> list[Path]:
    """Print one table of all runs of a sweep; write it and its picture into the folder of the sweep."""
    run_dirs = configuration.runs_of(folder)
    results = [] if run_dirs == [folder] else read_results(run_dirs)
    if not results:
        return []
    console = wide(console)
    console.print(_rich("Methods on shifted images (means over seeds)", *table(results)))
    write_text(folder / "table.md", markdown_table(*table(results)))
    write_json(folder / "table.json", {"rows": [_row(result) for result in results]})
    written = [folder / "table.md", folder / "table.json", save(compared(results), folder / "errors.png")]
    for path in written:
        console.print(f"{'pictures:' if path.suffix == '.png' else 'table:':<10}{path}", markup=False, soft_wrap=True)
    return written


def _row(result: Result) -> dict[str, Any]:
    prefix = f"{result.method}/"
    metrics = {k.removeprefix(prefix): v["mean"] for k, v in result.summary["metrics"].items() if k.startswith(prefix)}
    return {"label": result.label, "method": result.method, "run_dir": str(result.run_dir), **metrics}


def report_page(run_dirs: Sequence[Path], path: Path) -> Path:
    """Write a page about adaptation runs: tables, errors beside one another, and the runs' own pictures."""
    results = read_results(run_dirs)
    models = dict.fromkeys(f"{result.summary['model']} on {result.summary['data']}" for result in results)
    heading = f"Test-time adaptation of {', '.join(models)}"
    prefix = "report_" if path.stem == "report" else f"report_{path.stem}_"
    picture = save(compared(results), path.parent / "figures" / f"{prefix}errors.png")
    parts = [f"<h1>{html.escape(heading)}</h1>", "<h2>Methods</h2>"]
    parts.append(html_table(*table(results), "means over seeds; rows and times per batch"))
    parts += ["<h2>Errors by phase of the stream</h2>", html_table(*phase_table(results), "error in per cent")]
    parts += ["<h2>Pictures</h2>", image(picture, "errors")]
    for run_dir in dict.fromkeys(result.run_dir for result in results):
        parts.append(f"<h3>{html.escape(run_dir.resolve().name)}</h3>")
        summary = next(result.summary for result in results if result.run_dir == run_dir)
        parts.append(f"<p>{html.escape(_caption(summary))}</p>")
        parts += [f"<p>{html.escape(warning)}</p>" for warning in summary["warnings"]]
        parts += [image(one, f"{run_dir.name}: {one.stem.replace('_', ' ')}") for one in pictures(run_dir)]
    write_text(path, page(heading, parts))
    return path
