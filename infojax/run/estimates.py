"""What estimation runs say together: tables, how far verdicts can be believed, pictures of truth against estimate.

Runs that differ in nothing but their seeds are one result. Everything is read from the run directories, so that a table
can be asked for at any time, of unfinished runs too.
"""

import html
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from rich.console import Console
from rich.table import Table
from rich.text import Text

from infojax.run import config as configuration
from infojax.run.drawing import COLOURS, html_table, image, markdown_table, page, save, tidy, write_text
from infojax.run.log import duration, number, pictures, read_json, say, whole_rows, wide, write_json

TOLERANCE = 0.05  # nats beside the interval, within which an estimate is right
TRUSTED, DOUBTED, TRUTH = "#0072B2", "#8A8A8A", "#D55E00"
PANELS_PER_ROW = 4
MOST_NAMED = 12  # sources whose names have room under a panel


class Result(NamedTuple):
    """What one estimator found in one source of samples; S seeds."""

    estimator: str  # with what sets it apart from others of its name
    data: str
    quantity: str
    truth: float | None
    bound: str  # "lower", "upper" or empty
    values: np.ndarray  # [S]
    intervals: np.ndarray  # [S, 2]
    trusted: np.ndarray  # [S] bool
    reasons: list[str]  # [S], empty where trusted or not known yet
    status: str  # empty where every run of it is finished
    run_dirs: list[Path]


class Reliability(NamedTuple):
    """How far the verdicts of an estimator can be believed, over estimates whose truth is known."""

    estimates: int
    trusted: int
    missed: float  # share of the trusted that miss the truth by more than their interval and the tolerance
    recognised: float  # share trusted among those within the tolerance of the truth
    width: float  # median width of the intervals of the trusted, nats


def reliability(
    values: np.ndarray,
    intervals: np.ndarray,
    trusted: np.ndarray,
    truths: np.ndarray,
    bounds: Sequence[str],
    tolerance: float = TOLERANCE,
) -> Reliability:
    """Verdicts against the truth.

    Args:
        values: [N] nats; what is not finite is near nothing.
        intervals: [N, 2].
        trusted: [N] bool.
        truths: [N]; NaN where the truth is not known, which leaves the estimate out.
        bounds: of each, "lower" (only an interval above the truth misses it), "upper" (only one below) or empty.
        tolerance: nats by which the truth may lie outside of the interval, or the value beside the truth.

    Returns:
        The figures; a share or median of nothing is NaN.
    """
    known = np.isfinite(truths)
    above, below = intervals[:, 0] - tolerance > truths, intervals[:, 1] + tolerance < truths
    upper, lower = np.array([b == "upper" for b in bounds], bool), np.array([b == "lower" for b in bounds], bool)
    missed = (above & ~upper) | (below & ~lower)
    near = known & (np.abs(values - truths) <= tolerance)
    believed = known & trusted
    widths = (intervals[:, 1] - intervals[:, 0])[believed]
    return Reliability(
        estimates=int(known.sum()),
        trusted=int(believed.sum()),
        missed=float(missed[believed].mean()) if believed.any() else math.nan,
        recognised=float(trusted[near].mean()) if near.any() else math.nan,
        width=float(np.median(widths)) if len(widths) else math.nan,
    )


def reliabilities(results: Sequence[Result]) -> dict[str, Reliability]:
    """Per estimator, and of several together as `all`; none where no truth is known."""
    known = [result for result in results if result.truth is not None]
    names = list(dict.fromkeys(result.estimator for result in known))
    chosen = {name: [result for result in known if result.estimator == name] for name in names}
    return {name: _pooled(mine) for name, mine in (chosen | ({"all": known} if len(names) > 1 else {})).items()}


def _pooled(results: Sequence[Result]) -> Reliability:
    counts = [len(result.values) for result in results]
    return reliability(
        np.concatenate([result.values for result in results]),
        np.concatenate([result.intervals for result in results]),
        np.concatenate([result.trusted for result in results]),
        np.repeat([np.nan if result.truth is None else result.truth for result in results], counts),
        [result.bound for result, count in zip(results, counts, strict=True) for _ in range(count)],
    )


# --- reading -----------------------------------------------------------------------------------------------------


def read_results(run_dirs: Sequence[str | Path]) -> list[Result]:
    """The results of estimation runs, those that differ in nothing but their seeds as one."""
    pooled: dict[str, list[tuple[Path, dict[str, Any]]]] = {}
    for run_dir in map(Path, run_dirs):
        config = configuration.read(run_dir / "config.yaml")
        key = json.dumps(_counting(config), sort_keys=True, default=str)
        pooled.setdefault(key, []).append((run_dir, config))
    configs = [members[0][1] for members in pooled.values()]
    estimators = _labels(configs, "estimator", without="data")
    sources = _labels(configs, "data", without="estimator")
    found = [
        _result([run_dir for run_dir, _ in members], members[0][1], estimator, source)
        for members, estimator, source in zip(pooled.values(), estimators, sources, strict=True)
    ]
    places = {name: index for index, name in enumerate(dict.fromkeys(result.data for result in found))}
    return sorted(found, key=lambda result: places[result.data])


def _counting(config: Mapping[str, Any]) -> dict[str, Any]:
    neutral = ("seed", "num_seeds", "seeds", *configuration.NEUTRAL)
    return {key: value for key, value in config.items() if key not in neutral}


def _labels(configs: Sequence[Mapping[str, Any]], part: str, without: str) -> list[str]:
    """The choice of a part, with its settings where others of that name have others."""
    names = [str(config["choices"][part]) for config in configs]
    kept = (part,) if part == "data" else tuple(key for config in configs for key in _counting(config))
    details = [
        dict(configuration.leaves({key: config[key] for key in kept if key in config and key != without}))
        for config in configs
    ]
    labels = []
    for name, mine in zip(names, details, strict=True):
        alike = [other for its, other in zip(names, details, strict=True) if its == name]
        apart = [key for key in mine if any(other.get(key) != mine[key] for other in alike)]
        words = ", ".join(f"{key.removeprefix(f'{part}.')}={mine[key]}" for key in apart[:3])
        labels.append(f"{name} ({words})" if words else name)
    return labels


def _result(run_dirs: Sequence[Path], config: Mapping[str, Any], estimator: str, source: str) -> Result:
    by_seed: dict[int, tuple[dict[str, Any], str]] = {}
    status, bound = "", ""
    for run_dir in run_dirs:
        rows, _ = whole_rows(run_dir / "metrics.jsonl")
        summary = read_json(run_dir / "summary.json")
        first = int(summary.get("seed", 0))
        reasons = {first + index: reason for index, reason in enumerate(summary.get("reasons", []))}
        by_seed |= {row["seed"]: (row, reasons.get(row["seed"], "")) for row in rows}
        status = status or _status(run_dir)
        bound = bound or str(summary.get("bound") or "")
    rows = [by_seed[seed][0] for seed in sorted(by_seed)]
    truths = [row["truth"] for row in rows if row.get("truth") is not None]
    return Result(
        estimator=estimator,
        data=source,
        quantity=str(config.get("quantity", "mutual_information")),
        truth=truths[0] if truths else None,
        bound=bound,
        values=np.array([_float(row["value"]) for row in rows]),
        intervals=np.array([[_float(row["low"]), _float(row["high"])] for row in rows]).reshape(-1, 2),
        trusted=np.array([bool(row["trusted"]) for row in rows], bool),
        reasons=[by_seed[seed][1] for seed in sorted(by_seed)],
        status=status,
        run_dirs=list(run_dirs),
    )


def _status(run_dir: Path) -> str:
    found = read_json(run_dir / "status.json")
    if found.get("status") == "done":
        return ""
    word = "failed" if found.get("status") == "failed" else "unfinished"
    return f"{word}: {found['reason']}" if found.get("reason") else word


def _float(value: float | None) -> float:
    return math.nan if value is None else float(value)


# --- tables ------------------------------------------------------------------------------------------------------

HEADS = ("data", "estimator", "value", "95 % interval", "truth", "trusted", "why not")
RELIABILITY_HEADS = (
    "estimator",
    "estimates",
    "trusted",
    "trusted that miss the truth",
    "trusted of those near it",
    "median interval of the trusted",
)


def table_rows(results: Sequence[Result]) -> list[dict[str, Any]]:
    """One row for each result: means over its seeds, the share trusted, and the reason most of the others give."""
    rows = []
    for result in results:
        told = Counter(reason for reason in result.reasons if reason)
        rows.append(
            {
                "data": result.data,
                "estimator": result.estimator,
                "quantity": result.quantity,
                "value": _mean(result.values),
                "low": _mean(result.intervals[:, 0]),
                "high": _mean(result.intervals[:, 1]),
                "truth": result.truth,
                "bound": result.bound,
                "trusted": _mean(result.trusted),
                "seeds": len(result.values),
                "reason": result.status or (told.most_common(1)[0][0] if told else ""),
                "run_dirs": [str(path) for path in result.run_dirs],
            }
        )
    return rows


def _mean(values: np.ndarray) -> float | None:
    finite = values[np.isfinite(values)]
    return float(np.mean(finite)) if finite.size else None


def _cells(row: Mapping[str, Any], short: bool) -> tuple[str, ...]:
    first, *others = row["reason"].split("; ")
    reason = f"{first} (and {len(others)} more)" if short and others else row["reason"]
    interval = "–" if row["low"] is None else f"{nats(row['low'])} … {nats(row['high'])}"
    trusted = "–" if row["trusted"] is None else f"{round(row['trusted'] * row['seeds'])} of {row['seeds']}"
    bound = {"lower": "≥ ", "upper": "≤ "}.get(row["bound"], "")
    return row["data"], row["estimator"], bound + nats(row["value"]), interval, nats(row["truth"]), trusted, reason


def _reliability_cells(name: str, found: Reliability) -> tuple[str, ...]:
    share = [_per_cent(found.missed), _per_cent(found.recognised)]
    return name, str(found.estimates), str(found.trusted), *share, f"{nats(found.width)} nats"


def nats(value: float | None) -> str:
    """Information to a thousandth of a nat; a dash for what is not there."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.3f}" if abs(value) < 1000 else number(value)


def _per_cent(share: float) -> str:
    return f"{100 * share:.0f} %" if math.isfinite(share) else "–"


def rich_tables(results: Sequence[Result]) -> list[Table]:
    """The table of results, and where truths are known that of the verdicts, for a terminal."""
    table = Table(title="Estimates in nats (means over seeds)", title_justify="left")
    for head in HEADS:
        table.add_column(head, justify="left" if head in ("data", "estimator", "why not") else "right", overflow="fold")
    rows = table_rows(results)
    for index, row in enumerate(rows):
        again = index > 0 and rows[index - 1]["data"] == row["data"]
        if not again:
            table.add_section()
        cells = _cells(row, short=True)
        table.add_row(*(Text(cell) for cell in ("" if again else cells[0], *cells[1:])))
    verdicts = reliabilities(results)
    if not verdicts:
        return [table]
    second = Table(title=f"Verdicts against the truth, within {TOLERANCE} nats", title_justify="left")
    for head in RELIABILITY_HEADS:
        second.add_column(head, justify="left" if head == "estimator" else "right")
    for name, found in verdicts.items():
        second.add_row(*(Text(cell) for cell in _reliability_cells(name, found)))
    return [table, second]


def markdown(results: Sequence[Result]) -> str:
    """Both tables as Markdown, with the whole reasons."""

    text = markdown_table(HEADS, [_cells(row, short=False) for row in table_rows(results)])
    verdicts = reliabilities(results)
    if verdicts:
        cells = [_reliability_cells(name, found) for name, found in verdicts.items()]
        text += f"\nVerdicts against the truth, within {TOLERANCE} nats:\n\n{markdown_table(RELIABILITY_HEADS, cells)}"
    return text


# --- pictures ----------------------------------------------------------------------------------------------------


def truth_against_estimate(results: Sequence[Result]) -> Figure | None:
    """A panel for each estimator: the sources in the order of their truth, every seed with its interval."""
    known = [result for result in results if result.truth is not None and len(result.values)]
    if not known:
        return None
    names = list(dict.fromkeys(result.estimator for result in known))
    truths = {result.data: result.truth for result in known if result.truth is not None}
    sources = sorted(truths, key=lambda name: (truths[name], name))
    columns = min(PANELS_PER_ROW, len(names))
    rows = -(-len(names) // columns)
    named = len(sources) <= MOST_NAMED
    height = 2.9 * rows + 1.0 + (0.055 * max(map(len, sources)) if named else 0)
    figure = Figure(figsize=(max(6.4, 3.2 * columns), height), layout="constrained")
    first: Axes | None = None
    for index, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, index + 1, sharey=first)
        first = first or axes
        _draw_against_truth(axes, [result for result in known if result.estimator == name], sources, truths)
        bounds = {result.bound for result in known if result.estimator == name} - {""}
        axes.set_title(name + "".join(f" ({bound} bound)" for bound in bounds), fontsize=9, wrap=True)
        last = index + columns >= len(names)  # of its column
        axes.set_xticks(range(len(sources)) if named else [], sources if named and last else None)
        axes.tick_params(axis="x", rotation=90, length=2)
        axes.set_xlabel("" if named or not last else f"{len(sources)} sources, in the order of their truth")
        axes.set_ylabel("estimate (nats)" if index % columns == 0 else "")
        tidy(axes, 8)
        if named and not last:
            axes.set_xticklabels([])
    handles = [
        Line2D([], [], color=TRUTH, lw=1.6, label="truth"),
        *_verdict_handles(),
        Line2D([], [], color=DOUBTED, marker="^", ls="", ms=5, mfc="none", label="beyond the edge"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2 if columns < 3 else 4, frameon=False, fontsize=8)
    figure.suptitle("Estimates against the truth", fontsize=10)
    return figure


def _verdict_handles() -> list[Line2D]:
    return [
        Line2D([], [], color=TRUSTED, marker="o", ls="", ms=5, label="trusted, with its 95 % interval"),
        Line2D([], [], color=DOUBTED, marker="o", ls="", ms=5, mfc="white", label="not trusted"),
    ]


def _draw_against_truth(
    axes: Axes, results: Sequence[Result], sources: Sequence[str], truths: Mapping[str, float]
) -> None:
    highest = max(0.5, *truths.values())
    low, high = -0.2 * highest, 1.4 * highest
    places, levels = np.arange(len(sources)), np.array([truths[name] for name in sources])
    axes.hlines(levels, places - 0.48, places + 0.48, color=TRUTH, lw=1.6, zorder=1.5)
    for place in places[1::2]:  # columns are told apart by their ground
        axes.axvspan(place - 0.5, place + 0.5, color="#000000", alpha=0.035, lw=0)
    for result in results:
        count = len(result.values)
        shifts = 0.7 * ((np.arange(count) + 0.5) / count - 0.5)
        for shift, value, interval, trusted in zip(
            shifts, result.values, result.intervals, result.trusted, strict=True
        ):
            place = sources.index(result.data) + shift
            _draw_estimate(axes, place, float(value), interval, bool(trusted), low, high)
    axes.set_xlim(-0.5, len(sources) - 0.5)
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.grid(axis="y", color="#E6E6E6", lw=0.6)


def _draw_estimate(
    axes: Axes, x: float, value: float, interval: np.ndarray, trusted: bool, low: float, high: float
) -> None:
    if not math.isfinite(value):
        return
    colour, face = (TRUSTED, TRUSTED) if trusted else (DOUBTED, "white")
    inside = low < value < high
    mark = "o" if inside else "^" if value >= high else "v"
    y = value if inside else low + (0.97 if value >= high else 0.03) * (high - low)
    if inside and np.isfinite(interval).all():
        axes.plot([x, x], interval, color=colour, lw=0.8, alpha=0.8, zorder=2 + trusted)
    axes.plot([x], [y], mark, color=colour, mfc=face, ms=3.5, mew=0.8, zorder=3 + trusted)


def without_truth(results: Sequence[Result]) -> Figure | None:
    """Sources whose truth is not known, one under the other, the estimators of each beside one another."""
    unknown = [result for result in results if result.truth is None and np.isfinite(result.values).any()]
    if not unknown:
        return None
    sources = list(dict.fromkeys(result.data for result in unknown))
    names = list(dict.fromkeys(result.estimator for result in unknown))
    shift = 0.8 / len(names)
    height = max(2.4, len(sources) * max(0.35, 0.13 * len(names)) + 0.28 * -(-len(names) // 3) + 1.4)
    figure = Figure(figsize=(7.2, height), layout="constrained")
    axes = figure.add_subplot()
    for result in unknown:
        colour, mark = _style(names.index(result.estimator))
        y = sources.index(result.data) + shift * (names.index(result.estimator) - (len(names) - 1) / 2)
        for value, interval, trusted in zip(result.values, result.intervals, result.trusted, strict=True):
            axes.plot(interval, [y, y], color=colour, lw=1.0, alpha=0.8)
            axes.plot([value], [y], mark, color=colour, mfc=colour if trusted else "white", ms=4.5, mew=1.0, zorder=3)
    axes.set_yticks(range(len(sources)), sources)
    axes.set_ylim(len(sources) - 0.5, -0.5)
    axes.grid(axis="x", color="#E6E6E6", lw=0.6)
    axes.set_xlabel(f"{unknown[0].quantity.replace('_', ' ')} (nats)")
    tidy(axes, 9)
    handles = [
        Line2D([], [], color=colour, marker=mark, lw=1.0, ms=4.5, label=name)
        for name, (colour, mark) in zip(names, map(_style, range(len(names))), strict=True)
    ]
    handles.append(Line2D([], [], color="#333333", marker="o", mfc="white", ls="", ms=4.5, label="not trusted"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(3, len(handles)), frameon=False, fontsize=8)
    figure.suptitle("Estimates with their 95 % intervals", fontsize=10)
    return figure


def _style(index: int) -> tuple[str, str]:
    """Colour and mark of an estimator; another mark where the colours begin again."""
    return COLOURS[index % len(COLOURS)], "osD^"[index // len(COLOURS) % 4]


PICTURES = {"estimates.png": truth_against_estimate, "estimates_without_truth.png": without_truth}


def draw(results: Sequence[Result], folder: Path, prefix: str = "") -> list[Path]:
    """Write the pictures that these results give."""
    drawn = {name: make(results) for name, make in PICTURES.items()}
    return [save(figure, folder / f"{prefix}{name}") for name, figure in drawn.items() if figure is not None]


def figures(run_dir: str | Path) -> list[Path]:
    """Draw `figures/estimates.png` of one run: its seeds beside the truth, and what its checks have used up."""
    run_dir = Path(run_dir)
    (result,) = read_results([run_dir])
    rows, _ = whole_rows(run_dir / "metrics.jsonl")
    checks = list(dict.fromkeys(name for row in rows for name in row if name.startswith("check/")))
    height = max(2.8, 0.26 * max(len(rows), len(checks)) + 1.5)
    figure = Figure(figsize=(9.2, height), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_seeds(left, result, [row["seed"] for row in sorted(rows, key=lambda row: row["seed"])])
    _draw_checks(right, rows, checks)
    figure.suptitle(f"{result.estimator} on {result.data}", fontsize=11)
    handles = [*_verdict_handles(), Line2D([], [], color=TRUTH, lw=1.2, label="truth")]
    handles = handles if result.truth is not None else handles[:-1]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return [save(figure, run_dir / "figures" / "estimates.png")]


def _draw_seeds(axes: Axes, result: Result, seeds: Sequence[int]) -> None:
    if result.truth is not None:
        axes.axvline(result.truth, color=TRUTH, lw=1.2)
        axes.axvspan(result.truth - TOLERANCE, result.truth + TOLERANCE, color=TRUTH, alpha=0.15, lw=0)
    for place, (value, interval, trusted) in enumerate(
        zip(result.values, result.intervals, result.trusted, strict=True)
    ):
        colour, face = (TRUSTED, TRUSTED) if trusted else (DOUBTED, "white")
        axes.plot(interval, [place, place], color=colour, lw=1.2)
        axes.plot([value], [place], "o", color=colour, mfc=face, ms=5, zorder=3)
    labels = range(0, len(seeds), max(1, -(-len(seeds) // 24)))
    axes.set_yticks(labels, [f"seed {seeds[place]}" for place in labels])
    axes.set_ylim(len(seeds) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_xlabel(f"{result.quantity.replace('_', ' ')} (nats)")
    axes.grid(axis="x", color="#E6E6E6", lw=0.6)
    tidy(axes, 9)


def _draw_checks(axes: Axes, rows: Sequence[Mapping[str, Any]], checks: Sequence[str]) -> None:
    """What each check has used up of its allowance, a dot for each seed; what is more than tenfold at the edge."""
    most, least = 10.0, 0.01
    axes.axvspan(1, 1.6 * most, color="#000000", alpha=0.06, lw=0)
    for place, name in enumerate(checks):
        for row in rows:
            share = most * 1.2 if row.get(name) is None else row[name]
            beyond = share > most
            colour = DOUBTED if share > 1 else TRUSTED
            x = min(max(share, least), most * 1.2)
            axes.plot([x], [place], ">" if beyond else "o", color=colour, mfc="white" if share > 1 else colour, ms=5)
    axes.set_xscale("log")
    axes.set_xlim(least * 0.8, 1.6 * most)
    axes.set_xticks([0.01, 0.1, 1, 10], ["1 %", "10 %", "100 %", "1000 %"])
    axes.minorticks_off()
    axes.set_yticks(range(len(checks)), [name.removeprefix("check/").replace("_", " ") for name in checks])
    axes.set_ylim(len(checks) - 0.5, -0.5)
    axes.set_xlabel("share of its allowance (grey: failed)")
    axes.grid(axis="x", color="#E6E6E6", lw=0.6)
    tidy(axes, 9)


# --- on the screen -----------------------------------------------------------------------------------------------


def print_estimates(summary: Mapping[str, Any], run_dir: str | Path, console: Console | None = None) -> None:
    """Print value, interval, truth and verdict of each seed of a run, and where its files are."""
    console = console or Console()
    metrics, reasons = summary["metrics"], summary["reasons"]
    seeds = [summary["seed"] + index for index in range(summary["num_seeds"])]
    what = "entropy of x" if summary["quantity"] == "entropy" else "mutual information"
    say(console, f"{what} by {summary['estimator']} on {summary['data']}, {summary['num_samples']:,} samples")
    values, lows, highs = (metrics[name]["per_seed"] for name in ("value", "low", "high"))
    if len(seeds) > 1:
        table = Table()
        for head in ("seed", "value", "95 % interval", "trusted"):
            table.add_column(head, justify="right")
        for index, seed in enumerate(seeds):
            interval = f"{nats(lows[index])} … {nats(highs[index])}"
            table.add_row(str(seed), nats(values[index]), interval, "no" if reasons[index] else "yes")
        console.print(table)
    mean, low, high = (metrics[name]["mean"] for name in ("value", "low", "high"))
    over = f", means over {len(seeds)} seeds" if len(seeds) > 1 else ""
    say(console, f"{'value:':<10}{nats(mean)} nats, 95 % interval {nats(low)} … {nats(high)}{over}")
    if summary["bound"]:
        direction = {"lower": "below", "upper": "above"}[summary["bound"]]
        say(console, f"{'bound:':<10}{summary['bound']}: what is estimated lies {direction} the truth, or at it")
    if summary["truth"] is not None:
        say(console, f"{'truth:':<10}{nats(summary['truth'])} nats")
    for index, line in enumerate(verdicts(seeds, reasons)):
        say(console, f"{'verdict:' if index == 0 else '':<10}{line}")
    for word, paths in (("numbers:", [Path(run_dir) / "metrics.jsonl"]), ("pictures:", pictures(Path(run_dir)))):
        for index, path in enumerate(paths):
            say(console, f"{word if index == 0 else '':<10}{path}")
    if "wall_seconds" in summary:
        compiling = duration(summary["compile_seconds"])
        say(console, f"{'took:':<10}{duration(summary['wall_seconds'])}, of which compiling {compiling}")


def verdicts(seeds: Sequence[int], reasons: Sequence[str]) -> list[str]:
    """The verdict in words: one line where all seeds have the same, else one for each reason."""
    groups: dict[str, list[int]] = {}
    for seed, reason in zip(seeds, reasons, strict=True):
        groups.setdefault(reason, []).append(seed)
    lines = []
    for reason, members in sorted(groups.items(), key=lambda item: item[0] != ""):
        who = "" if len(groups) == 1 else f"seed{'s' if len(members) > 1 else ''} {', '.join(map(str, members))}: "
        lines.append(who + (f"not trusted, because {reason}" if reason else "trusted"))
    return lines


# --- sweeps and reports ------------------------------------------------------------------------------------------


def print_sweep(folder: Path, console: Console | None = None) -> list[Path]:
    """Print one table of all runs of a sweep; write it and its picture into the folder of the sweep."""
    run_dirs = configuration.runs_of(folder)
    if not run_dirs or run_dirs == [folder]:
        return []
    console = wide(console)
    results = read_results(run_dirs)
    for table in rich_tables(results):
        console.print(table)
    write_text(folder / "table.md", markdown(results))
    verdicts = {name: found._asdict() for name, found in reliabilities(results).items()}
    write_json(folder / "table.json", {"rows": table_rows(results), "reliability": verdicts})
    written = [folder / "table.md", folder / "table.json", *draw(results, folder)]
    for path in written:
        console.print(f"{'pictures:' if path.suffix == '.png' else 'table:':<10}{path}", markup=False, soft_wrap=True)
    return written


def report_page(run_dirs: Sequence[Path], path: Path) -> Path:
    """Write a page about estimation runs: the tables, truth against estimate, and the runs' own pictures."""
    results = read_results(run_dirs)
    prefix = "report_" if path.stem == "report" else f"report_{path.stem}_"
    drawn = draw(results, path.parent / "figures", prefix)
    verdicts = reliabilities(results)
    estimators = list(dict.fromkeys(result.estimator for result in results))
    sources = list(dict.fromkeys(result.data for result in results))
    heading = f"{_some(estimators, 'estimators')} on {_some(sources, 'sources of samples')}"
    rows = [_cells(row, short=False) for row in table_rows(results)]
    parts = [f"<h1>{html.escape(heading)}</h1>", "<h2>Estimates</h2>"]
    parts.append(html_table(HEADS, rows, "nats; means over seeds, and the reason that most of the others give"))
    if verdicts:
        cells = [_reliability_cells(name, found) for name, found in verdicts.items()]
        parts += ["<h2>Verdicts</h2>", html_table(RELIABILITY_HEADS, cells, f"against the truth, {TOLERANCE} nats")]
    parts += ["<h2>Pictures</h2>", *(image(picture, picture.stem.replace("_", " ")) for picture in drawn)]
    parts.append("<details><summary>Each run</summary>")
    for result in results:
        for run_dir in result.run_dirs:
            parts.append(f"<h3>{html.escape(run_dir.resolve().name)}</h3>")
            parts += [image(picture, f"{run_dir.name}: {picture.stem}") for picture in pictures(run_dir)]
    parts.append("</details>")
    write_text(path, page(heading, parts))
    return path


def _some(names: Sequence[str], word: str) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{len(names)} {word}"
