"""Pictures of one run, and a report that lays several beside one another.

`figures` draws what one run learned; `report` writes a self-contained page with tables, curves and those pictures.
Runs that differ in nothing but their seeds are pooled. Everything is read from the run directories, so both can be
asked for at any time, of unfinished runs too. Skill k of one seed has nothing to do with skill k of another, so what
is drawn per skill is drawn per seed.
"""

import html
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import yaml
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

from infojax.run import adaptations, estimates, ranking
from infojax.run.config import NEUTRAL, RUNS_OF_A_SWEEP, app_of, runs_of
from infojax.run.drawing import COLOURS, html_table, image, markdown_table, page, save, tidy, write_text
from infojax.run.log import pictures, place, read_json, result_rows, table_names, title, unit, whole_rows
from infojax.run.statistics import Statistic, bootstrap_interval

PLACES = {"stochastic": "#0072B2", "deterministic": "#D55E00", "training": "#6B6B6B"}
HEADLINES = (  # the panels of learning_curves.png, by the last part of a metric's name
    ("mutual_information",),
    ("return", "episode_return"),
    ("coverage",),
    ("accuracy",),
    ("intrinsic_reward",),
    ("length", "episode_length"),
)
DULL_WHERE_CONSTANT = ("intrinsic_reward", "length")
SMALL_PER_ROW = 4
MOST_SMALL = 8
SWEEP_FROM = 3  # configurations that make a sweep where no folder of one was given
RETURNS = ("evaluation/deterministic/return", "evaluation/stochastic/return", "train/episode_return")

Curves = dict[int, tuple[np.ndarray, np.ndarray]]  # seed -> steps, values; values may be NaN


class RunData(NamedTuple):
    """What a run directory says."""

    run_dir: Path
    config: dict[str, Any]
    status: str
    curves: dict[str, Curves]  # by metric
    step: int  # the last logged
    summary: dict[str, Any]


class Group(NamedTuple):
    """Runs that differ in nothing but their seeds."""

    label: str
    env: str
    runs: list[RunData]
    curves: dict[str, Curves]


# --- reading -----------------------------------------------------------------------------------------------------


def read_run(run_dir: str | Path) -> RunData:
    """Read a run directory, finished or not.

    Raises:
        UserError: the folder is no run directory, or a line of its metrics.jsonl cannot be read.
    """
    run_dir = Path(run_dir)
    config = _config(run_dir)
    rows, _ = whole_rows(run_dir / "metrics.jsonl")
    found: dict[str, dict[int, list[tuple[int, float]]]] = {}
    for row in rows:
        for name, value in row.items():
            if name not in ("step", "seed"):
                number = np.nan if value is None else float(value)
                found.setdefault(name, {}).setdefault(int(row["seed"]), []).append((int(row["step"]), number))
    curves = {
        name: {
            seed: (np.array([s for s, _ in points]), np.array([v for _, v in points])) for seed, points in by.items()
        }
        for name, by in found.items()
    }
    step = max((int(row["step"]) for row in rows), default=0)
    summary = read_json(run_dir / "summary.json")
    return RunData(run_dir, config, _status(run_dir, step, config.get("total_steps")), curves, step, summary)


def _config(run_dir: Path) -> dict[str, Any]:
    if not (run_dir / "config.yaml").is_file():
        raise _user_error(f"{run_dir} is not a run directory: it has no config.yaml; give the folder that a run wrote")
    return yaml.safe_load((run_dir / "config.yaml").read_text(encoding="utf-8")) or {}


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an evaluation; none where there was none, or the run was killed while writing it."""
    try:
        with open(path, "rb") as file, np.load(file) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return {}


def _status(run_dir: Path, step: int, total: int | None) -> str:
    status = read_json(run_dir / "status.json")
    if status.get("status") == "done":
        return "finished"
    where = f"at step {step:,}" + (f" of {total:,}" if total else "") if step else "nothing logged yet"
    word = "failed" if status.get("status") == "failed" else "unfinished"
    reason = f": {status['reason']}" if status.get("reason") else ""
    return f"{word}, {where}{reason}"


def _chosen(config: Mapping[str, Any]) -> tuple[str, str]:
    """The agent, with its objective where that is not part of its name, and the environment."""
    choices = config.get("choices") or {}
    agent, objective = str(choices.get("agent", "agent")), choices.get("objective")
    return agent if objective in (None, "none", agent) else f"{agent} + {objective}", str(choices.get("env", "env"))


def _user_error(message: str) -> Exception:
    # jax, which types.py loads, is not worth a second of start-up before something is wrong.
    from infojax.types import UserError

    return UserError(message)


# --- pictures of one run -----------------------------------------------------------------------------------------


def figures(run_dir: str | Path) -> list[Path]:
    """Draw `figures/*.png` of a run: learning curves, and what its last evaluation saw where there was one.

    Returns:
        The files: learning_curves.png; skill_traces.png where the environment tells positions; confusion.png and
        skill_returns.png where skills are finitely many.

    Raises:
        UserError: no run directory, or nothing logged yet.
    """
    run = read_run(run_dir)
    if not run.curves:
        raise _user_error(f"{run_dir} has logged nothing yet; train it first with the command that made it")
    drawn = {"learning_curves.png": learning_curves(run)}
    arrays = _arrays(run.run_dir / "evaluation.npz")
    if arrays:
        drawn |= {name: draw(run, arrays) for name, draw in EVALUATION_PICTURES.items()}
    folder = run.run_dir / "figures"
    return [save(figure, folder / name) for name, figure in drawn.items() if figure is not None]


def learning_curves(run: RunData) -> Figure:
    """Headline metrics over steps: every seed thin, their mean thick with its 95 % interval."""
    panels = [
        names
        for leaves in HEADLINES
        if (names := [name for name in table_names(run.curves) if name.rpartition("/")[2] in leaves])
        and not (leaves[0] in DULL_WHERE_CONSTANT and _constant([run.curves[name] for name in names]))
    ]
    panels = panels or [table_names(run.curves)[:1] or sorted(run.curves)[:1]]
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(max(4.1 * columns, 5.2), 2.9 * rows + 0.8), layout="constrained")
    seeds = max(len(by_seed) for by_seed in run.curves.values())
    for index, names in enumerate(panels):
        axes = figure.add_subplot(rows, columns, index + 1)
        for name in names:
            _draw_curves(axes, run.curves[name], PLACES.get(place(name), "#333333"), "mean")
            _draw_ceiling(axes, run.curves, name)
        _label_curves(axes, names[0])
    used = [word for word in PLACES if any(place(name) == word for names in panels for name in names)]
    words = {word: f"{word} acting" if word != "training" else word for word in used}
    handles = [Line2D([], [], color=PLACES[word], lw=2, label=words[word]) for word in used]
    if any(f"{name}_ceiling" in run.curves for names in panels for name in names):
        handles.append(_ceiling_handle())
    figure.legend(handles=handles, loc="outside lower center", ncols=max(1, len(handles)), frameon=False, fontsize=9)
    spread = f"{seeds} seeds (thin: each, thick: mean with its 95 % interval)" if seeds > 1 else "1 seed"
    return _heading(figure, run, spread)


def skill_traces(run: RunData, arrays: Mapping[str, np.ndarray]) -> Figure | None:
    """Where each skill goes: two coordinates as paths, one coordinate against time."""
    names = [str(name) for name in arrays["position_names"]]
    if not names:
        return None
    positions, mask, skill = arrays["positions"], arrays["mask"], arrays["skill"]
    flat = len(names) == 1
    colour, legend = _skill_colours(int(skill.max()) + 1)
    limits = _square_limits(positions[..., :2][mask]) if not flat else None

    def draw(axes: Axes, seed: int, deterministic: bool, small: bool) -> None:
        for episode in np.flatnonzero(arrays["deterministic"] == deterministic):
            path = positions[seed, mask[seed, :, episode], episode]
            x, y = (1 + np.arange(len(path)), path[:, 0]) if flat else (path[:, 0], path[:, 1])
            shade = colour(int(skill[episode]))
            axes.plot(x, y, color=shade, lw=0.8 if small else 1.3, alpha=0.85, solid_joinstyle="round")
            axes.plot(x[-1:], y[-1:], "o", color=shade, ms=2.5 if small else 4.5, mec="white", mew=0.4, zorder=3)
            if not flat:
                axes.plot(x[:1], y[:1], "+", color="black", ms=4 if small else 7, mew=1.0, zorder=4)
        axes.grid(color="#E6E6E6", lw=0.6)
        if limits is not None:
            axes.set_aspect("equal")
            axes.set_xlim(*limits[0])
            axes.set_ylim(*limits[1])
        axes.xaxis.set_major_locator(MaxNLocator(4 if small else 6, integer=flat))
        axes.yaxis.set_major_locator(MaxNLocator(4 if small and not flat else 6))
        axes.set_xlabel("step of the episode" if flat else names[0])
        axes.set_ylabel(names[0] if flat else names[1])

    figure = _seed_panels(run, arrays, draw, square=not flat, shared=flat)
    marks = [Line2D([], [], marker="o", color="#555555", ls="", ms=4.5, label="end of the episode")]
    if not flat:
        marks.insert(0, Line2D([], [], marker="+", color="black", ls="", ms=7, label="start"))
    legend(figure, marks)
    return _heading(figure, run, "where the skills go" if skill.max() >= 0 else "where the episodes go")


def confusion(run: RunData, arrays: Mapping[str, np.ndarray]) -> Figure | None:
    """Which skill the discriminator names at the steps of each: rows are the true skills and sum to one."""
    if "confusion" not in arrays:
        return None
    tables = arrays["confusion"]
    count = tables.shape[-1]

    def draw(axes: Axes, seed: int, deterministic: bool, small: bool) -> None:
        axes.imshow(tables[seed], vmin=0, vmax=1, cmap="Blues")
        if count <= 10 and not small:
            for row, column in np.ndindex(count, count):
                value = tables[seed, row, column]
                shade = "white" if value > 0.55 else "#333333"
                axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=shade, fontsize=8)
        axes.set_xticks(_skill_ticks(count, small))
        axes.set_yticks(_skill_ticks(count, small))
        axes.set_xlabel("predicted skill")
        axes.set_ylabel("true skill")
        share = float(np.nanmean(np.diagonal(tables[seed])))
        axes.set_title(f"seed {_seed(run, seed)}: {100 * share:.0f} % right", fontsize=8 if small else 10)

    figure = _seed_panels(run, {"deterministic": np.array([False])} | {"positions": tables}, draw, square=True)
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, 1), "Blues"), ax=figure.axes, location="right", shrink=0.7, aspect=28, pad=0.02
    )
    bar.set_label("share of the true skill's steps", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return _heading(figure, run, "skills as the discriminator tells them apart")


def skill_returns(run: RunData, arrays: Mapping[str, np.ndarray]) -> Figure | None:
    """The return of the task reward of each skill, deterministic and stochastic; every dot is an episode."""
    skill, returns, modes = arrays["skill"], arrays["returns"], arrays["deterministic"]
    count = int(skill.max()) + 1
    if count <= 0:
        return None

    def draw(axes: Axes, seed: int, _: bool, small: bool) -> None:
        axes.axhline(0, color="#AAAAAA", lw=0.8)
        for deterministic, shift in ((False, -0.16), (True, 0.16)):
            mine = modes == deterministic
            if not mine.any():
                continue
            colour = PLACES["deterministic" if deterministic else "stochastic"]
            axes.plot(
                skill[mine] + shift, returns[seed, mine], "o", color=colour, ms=2 if small else 3.5, alpha=0.55, mew=0
            )
            means = [np.mean(returns[seed, mine & (skill == k)]) for k in range(count)]
            half = 0.14
            at = np.arange(count) + shift
            axes.hlines(means, at - half, at + half, color=colour, lw=1.5 if small else 2.5)
        axes.grid(axis="y", color="#E6E6E6", lw=0.6)
        axes.set_xlim(-0.6, count - 0.4)
        axes.set_xticks(_skill_ticks(count, small))
        axes.yaxis.set_major_locator(MaxNLocator(6))
        axes.set_xlabel("skill")
        axes.set_ylabel("return" if small else "return of the task reward")
        axes.set_title(f"seed {_seed(run, seed)}", fontsize=8 if small else 10)

    one_mode = {"deterministic": np.array([False])} | {"positions": returns}
    figure = _seed_panels(run, one_mode, draw, square=False, shared=True)
    handles = [
        Line2D([], [], color=PLACES[word], lw=2.5, marker="o", ms=3.5, mec="none", label=f"{word} acting")
        for word in ("stochastic", "deterministic")
        if (modes == (word == "deterministic")).any()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return _heading(figure, run, "return of the task reward, by skill (dot: episode, bar: mean)")


EVALUATION_PICTURES: dict[str, Callable[[RunData, Mapping[str, np.ndarray]], Figure | None]] = {
    "skill_traces.png": skill_traces,
    "confusion.png": confusion,
    "skill_returns.png": skill_returns,
}


# --- parts of pictures -------------------------------------------------------------------------------------------


def _seed_panels(
    run: RunData,
    arrays: Mapping[str, np.ndarray],
    draw: Callable[[Axes, int, bool, bool], None],
    *,
    square: bool,
    shared: bool = False,
) -> Figure:
    """The first seed in large panels, one for each way of acting; below it the others, small."""
    modes = [mode for mode in (True, False) if (arrays["deterministic"] == mode).any()]
    others = range(1, min(len(arrays["positions"]), 1 + MOST_SMALL))
    small_rows = -(-len(others) // SMALL_PER_ROW)
    width = 9.2 if len(modes) > 1 else 6.4
    large, small = (4.8 if square else 4.0, 2.4) if len(modes) > 1 else (5.2 if square else 3.6, 1.9)
    large += 0.4 if square and not small_rows else 0  # alone, titles and legend need their own room
    figure = Figure(figsize=(width, large + small * small_rows + 0.5), layout="constrained")
    grid = figure.add_gridspec(1 + small_rows, SMALL_PER_ROW, height_ratios=[large] + [small] * small_rows)
    span = SMALL_PER_ROW // len(modes)
    first: Axes | None = None
    for index, mode in enumerate(modes):
        share = first if shared else None
        axes = figure.add_subplot(grid[0, index * span : (index + 1) * span], sharey=share)
        first = axes
        draw(axes, 0, mode, False)
        if len(modes) > 1:
            axes.set_title(f"seed {_seed(run, 0)}, {'deterministic' if mode else 'stochastic'} acting", fontsize=10)
        tidy(axes, 9)
        if index:
            axes.set_ylabel("")
    for index, seed in enumerate(others):
        row, column = divmod(index, SMALL_PER_ROW)
        axes = figure.add_subplot(grid[1 + row, column], sharey=first if shared else None)
        draw(axes, seed, modes[0], True)
        if len(modes) > 1:
            axes.set_title(f"seed {_seed(run, seed)}", fontsize=8)
        tidy(axes, 7)
        if column:
            axes.set_ylabel("")
    left = len(arrays["positions"]) - 1 - len(others)
    if left > 0:
        figure.supxlabel(f"{left} more seeds are not drawn", fontsize=8, color="#555555")
    return figure


def _skill_colours(count: int) -> tuple[Callable[[int], Any], Callable[[Figure, list[Line2D]], None]]:
    """The colour of each skill, and what draws the key to it: a legend of few, a colour bar of many."""

    def key(figure: Figure, handles: list[Line2D]) -> None:
        columns = -(-len(handles) // 2) if len(handles) > 6 else len(handles)
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)

    if count <= 0:
        return lambda skill: PLACES["stochastic"], key
    if count <= len(COLOURS):
        handles = [Line2D([], [], color=COLOURS[k], lw=2.5, label=f"skill {k}") for k in range(count)]
        return lambda skill: COLOURS[skill], lambda figure, marks: key(figure, handles + marks)
    colours = matplotlib.colormaps["viridis"].resampled(count)

    def bar(figure: Figure, marks: list[Line2D]) -> None:
        norm = BoundaryNorm(np.arange(count + 1) - 0.5, count)
        drawn = figure.colorbar(
            ScalarMappable(norm, colours), ax=figure.axes, location="right", shrink=0.8, aspect=32, pad=0.02
        )
        drawn.ax.yaxis.set_major_locator(MaxNLocator(10, integer=True))
        drawn.ax.minorticks_off()
        drawn.ax.tick_params(labelsize=8)
        drawn.set_label("skill", fontsize=9)
        figure.legend(handles=marks, loc="outside lower center", ncols=2, frameon=False, fontsize=8)

    return lambda skill: colours(skill), bar


def _draw_curves(axes: Axes, by_seed: Curves, colour: str, statistic: Statistic) -> None:
    """Every seed thin and the mean thick with its band; one seed alone is its own mean."""
    drawn = {seed: (s[np.isfinite(v)], v[np.isfinite(v)]) for seed, (s, v) in by_seed.items() if np.isfinite(v).any()}
    for steps, values in drawn.values() if len(drawn) > 1 else ():
        axes.plot(steps, values, color=colour, lw=0.7, alpha=0.4)
    steps, values = _together(drawn)
    if not len(steps):
        return
    found = bootstrap_interval(values, statistic, num_resamples=1000)
    if len(drawn) > 1:
        axes.fill_between(steps, found.low, found.high, color=colour, alpha=0.18, lw=0)
    axes.plot(steps, found.value, color=colour, lw=2, marker="o" if len(steps) <= 12 else "", ms=3.5, gid="mean")


def _together(by_seed: Curves) -> tuple[np.ndarray, np.ndarray]:
    """Steps at which every seed has a value, and those values [S, T]: a mean over changing seeds would jump."""
    if not by_seed:
        return np.array([]), np.empty((0, 0))
    common = sorted(set.intersection(*(set(steps.tolist()) for steps, _ in by_seed.values())))
    lookups = [dict(zip(steps.tolist(), values.tolist(), strict=True)) for steps, values in by_seed.values()]
    return np.array(common), np.array([[lookup[step] for step in common] for lookup in lookups])


def _draw_ceiling(axes: Axes, curves: Mapping[str, Curves], name: str) -> None:
    found = [values for _, values in curves.get(f"{name}_ceiling", {}).values()]
    values = np.concatenate(found) if found else np.array([])
    if not np.isfinite(values).any():
        return
    ceiling = float(np.nanmax(values))
    if not any(line.get_gid() == "ceiling" and np.asarray(line.get_ydata())[0] == ceiling for line in axes.lines):
        axes.axhline(ceiling, color="#333333", ls=(0, (4, 3)), lw=1, gid="ceiling")


def _ceiling_handle() -> Line2D:
    return Line2D([], [], color="#333333", ls=(0, (4, 3)), lw=1, label="ceiling H(Z)")


def _label_curves(axes: Axes, name: str) -> None:
    leaf = name.rpartition("/")[2]
    words = {"episode_return": "return", "mutual_information": "mutual information I(S;Z)"}.get(leaf, title(name))
    measure = unit(name)
    axes.set_ylabel(f"{words} ({measure})" if measure not in ("", "%") else words)
    axes.set_xlabel("environment steps")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlim(left=0)
    axes.yaxis.set_major_locator(MaxNLocator(6))
    if measure == "%":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.grid(color="#E6E6E6", lw=0.6)
    tidy(axes, 9)


def _heading(figure: Figure, run: RunData, words: str) -> Figure:
    agent, env = _chosen(run.config)
    figure.suptitle(f"{agent} on {env}, {words}", fontsize=11)
    return figure


def _seed(run: RunData, index: int) -> int:
    return int(run.config.get("seed", 0)) + index


def _skill_ticks(count: int, small: bool) -> range:
    return range(0, count, -(-count // (4 if small else 12)))


def _square_limits(points: np.ndarray) -> list[tuple[float, float]] | None:
    """Limits of two coordinates around all points, equally wide, so that equal aspect fills the panel."""
    points = points[np.isfinite(points).all(axis=-1)]
    if not len(points):
        return None
    low, high = points.min(axis=0), points.max(axis=0)
    half = max(float(np.max(high - low)) / 2 * 1.07, 1e-3)
    return [(float(centre - half), float(centre + half)) for centre in (low + high) / 2]


def _constant(curves: Iterable[Curves]) -> bool:
    values = np.concatenate([values for by_seed in curves for _, values in by_seed.values()])
    finite = values[np.isfinite(values)]
    return len(finite) == 0 or bool(np.ptp(finite) == 0)


# --- the report --------------------------------------------------------------------------------------------------


def report(run_dirs: Sequence[str | Path], output: str | Path | None = None, statistic: Statistic = "mean") -> Path:
    """Write one self-contained page about runs: tables with intervals, curves over seeds, the runs' own pictures.

    Args:
        run_dirs: run directories, all of one command, or folders of sweeps; runs that differ only in
            their seeds are pooled.
        output: the .html file, or a folder for report.html; None is the run directory, or for several runs the folder
            `report` here. The pictures of the curves also go into `figures/` beside it, as PNG.
        statistic: `mean`, or `iqm` for the interquartile mean; either with its 95 % bootstrap interval over seeds.

    Returns:
        The page.

    Raises:
        UserError: a folder that is no run directory, runs that all have logged nothing, runs of both kinds, a place
            that cannot be written.
    """
    if statistic not in ("mean", "iqm"):
        raise _user_error(f"statistic={statistic!r} is unknown; choose mean or iqm")
    given = list({Path(folder).resolve(): Path(folder) for folder in run_dirs}.values())
    if not given:
        raise _user_error("a report needs at least one run directory, such as runs/NAME")
    folders = list({run.resolve(): run for folder in given for run in runs_of(folder)}.values())
    if not folders:
        names = ", ".join(str(folder) for folder in given)
        raise _user_error(f"{names} keeps a sweep none of whose runs began; run it again, or give a run directory")
    path = _page_path(given, output)
    kind = _kind(folders)
    if kind == "adapt":
        if not any((folder / "summary.json").is_file() for folder in folders):
            names = ", ".join(str(folder) for folder in folders)
            raise _user_error(f"{names} is not finished, so there is nothing to report; run its command again")
        return _written(path, lambda: adaptations.report_page(folders, path))
    runs = [read_run(folder) for folder in folders]
    if not any(run.curves for run in runs):
        names = ", ".join(str(folder) for folder in folders)
        raise _user_error(f"{names} logged nothing yet, so there is nothing to report; train first")
    if kind == "estimate":
        return _written(path, lambda: estimates.report_page([run.run_dir for run in runs if run.curves], path))
    known = [run for run in runs if run.curves]
    groups, notes = group_runs(known)
    sweep = rank_runs(known)
    if len(sweep.configurations) < SWEEP_FROM and not any((folder / RUNS_OF_A_SWEEP).is_file() for folder in given):
        sweep = None
    elif len(sweep.configurations) > len(COLOURS):
        kept = {id(known[index]) for one in sweep.configurations[: len(COLOURS)] for index in one.members}
        notes.append(f"results and curves below are of the best {len(COLOURS)} configurations alone")
        groups, _ = group_runs([run for run in known if id(run) in kept])

    def write() -> None:
        parts = [] if sweep is None else _sweep_parts(sweep, path)
        curves: dict[str, Path] = {}
        names = {name for group in groups for name in group.curves}
        prefix = "report" if path.stem == "report" else f"report_{path.stem}"
        for name in table_names(names):
            picture = path.parent / "figures" / f"{prefix}_{re.sub(r'[^A-Za-z0-9]+', '_', name)}.png"
            curves[name] = save(compare(groups, name, statistic), picture)
        own = {run.run_dir: _own_pictures(run) for group in groups for run in group.runs}
        write_text(path, _page(runs, groups, notes, parts, curves, own, statistic))

    return _written(path, write)


def rank_runs(runs: Sequence[RunData], metric: str | None = None) -> ranking.Ranking:
    """The configurations of these runs, the best first, by the last value of `metric` of every seed.

    Args:
        runs: as `read_run` gives them, with something logged.
        metric: a name in metrics.jsonl; None is what the sweep itself searched by (`sweep.metric`), else the headline
            of most of the runs, if all have logged it, else a return.
    """
    searched = [run.config.get("sweep") or {} for run in runs]
    metric = metric or _ranked_by(runs, [str(entry["metric"]) for entry in searched if entry.get("metric")])
    maximise = all(entry.get("direction", "maximize") == "maximize" for entry in searched)
    scored = []
    for run in runs:
        last = {seed: values[np.isfinite(values)] for seed, (_, values) in run.curves.get(metric, {}).items()}
        scores = {seed: float(values[-1]) if values.size else np.nan for seed, values in last.items()}
        scored.append(ranking.Scored(run.config, scores))
    return ranking.rank(scored, metric, maximise)


def _ranked_by(runs: Sequence[RunData], searched: Sequence[str]) -> str:
    headlines = [str(run.summary["headline"]) for run in runs if run.summary.get("headline")]
    often = sorted(dict.fromkeys(headlines), key=headlines.count, reverse=True)
    logged = {name: sum(name in run.curves for run in runs) for run in runs for name in run.curves}
    if found := [name for name in searched if name in logged]:
        return found[0]
    candidates = [name for name in (*often, *RETURNS) if name in logged] or table_names(logged) or sorted(logged)
    return max(candidates, key=lambda name: logged[name])  # of equally many the first


def _sweep_parts(sweep: ranking.Ranking, path: Path) -> list[str]:
    """What a page says of a sweep; its table also goes into a file of its own, and its pictures into `figures/`."""
    known = [one for one in sweep.configurations if np.isfinite(one.interval.value)]
    if not known:
        return []
    heads, rows = ranking.table(sweep)
    sentence = ranking.best_sentence(sweep)
    where = place(sweep.metric)
    caption = (
        f"{title(sweep.metric)}{f' ({where})' if where else ''}, last value of every seed: interquartile mean over all "
        "seeds and environments with its 95 % stratified bootstrap, the best first"
    )
    text = f"{sentence}\n\n{caption}.\n\n{markdown_table(heads, rows)}"
    stem = "report_sweep" if path.stem == "report" else f"report_{path.stem}_sweep"
    write_text(path.with_name(f"{stem}.md"), text)
    parts = [
        "<h2>Configurations</h2>",
        f"<p><strong>{html.escape(sentence)}</strong></p>",
        html_table(heads, rows, caption),
    ]
    drawn = {}
    if sweep.keys and len(known) > 1:
        drawn = {"hyperparameters": ranking.hyperparameters(sweep), "performance profiles": ranking.profiles(sweep)}
    for words, figure in drawn.items():
        picture = save(figure, path.parent / "figures" / f"{stem}_{words.replace(' ', '_')}.png")
        parts.append(image(picture, words))
    return parts


def _written(path: Path, write: Callable[[], Any]) -> Path:
    try:
        (path.parent / "figures").mkdir(parents=True, exist_ok=True)
        write()
    except OSError as error:
        raise _user_error(f"{path} cannot be written ({error.strerror}); give another place with output=") from error
    return path


KINDS = {"train": "training", "estimate": "an estimation", "adapt": "an adaptation"}


def _kind(folders: Sequence[Path]) -> str:
    """The command that these runs are of; those of several have nothing to be laid beside one another."""
    kinds: dict[str, Path] = {}
    for folder in folders:
        kinds.setdefault(app_of(_config(folder)).name, folder)
    if len(kinds) > 1:
        (one, first), (other, second) = [(kind, kinds[kind]) for kind in reversed(KINDS) if kind in kinds][:2]
        raise _user_error(f"{first} is {KINDS[one]} and {second} is {KINDS[other]}; report them in two commands")
    return next(iter(kinds))


def group_runs(runs: Sequence[RunData]) -> tuple[list[Group], list[str]]:
    """Pool runs whose configurations differ in nothing but seeds and where things are kept; and what to say of it."""
    pooled: dict[str, list[RunData]] = {}
    for run in runs:
        neutral = ("seed", "num_seeds", "seeds", *(key for key in NEUTRAL if key != "choices"))
        counting = {key: value for key, value in run.config.items() if key not in neutral}
        pooled.setdefault(json.dumps(counting, sort_keys=True, default=str), []).append(run)
    labels = _labels([json.loads(key) for key in pooled])
    groups, notes = [], []
    for label, members in zip(labels, pooled.values(), strict=True):
        curves: dict[str, Curves] = {}
        owner: dict[int, Path] = {}
        for run in members:
            mine = {seed for by_seed in run.curves.values() for seed in by_seed}
            for seed in sorted(mine & owner.keys()):
                notes.append(f"seed {seed} of {run.run_dir} is left out: it is also in {owner[seed]}")
            fresh = mine - owner.keys()
            owner |= dict.fromkeys(fresh, run.run_dir)
            for name, by_seed in run.curves.items():
                curves.setdefault(name, {}).update({s: curve for s, curve in by_seed.items() if s in fresh})
        groups.append(Group(label, _chosen(members[0].config)[1], members, curves))
    return groups, notes


def _labels(configs: Sequence[dict[str, Any]]) -> list[str]:
    """Agent and environment; what else sets runs apart is added where these are the same."""
    names = [_chosen(config) for config in configs]
    several = len({env for _, env in names}) > 1
    labels = []
    for config, name in zip(configs, names, strict=True):
        alike = [_flat(other) for other, its in zip(configs, names, strict=True) if its == name]
        mine = _flat(config)
        apart = [key for key in mine if any(other.get(key) != mine[key] for other in alike)]
        words = f" ({', '.join(f'{key}={mine[key]}' for key in apart[:3])}{', …' if len(apart) > 3 else ''})"
        labels.append(name[0] + (f" on {name[1]}" if several else "") + (words if len(alike) > 1 else ""))
    return labels


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def compare(groups: Sequence[Group], name: str, statistic: Statistic = "mean") -> Figure:
    """One metric over steps, all groups: a panel for each environment, a colour for each group."""
    mine = [group for group in groups if name in group.curves]
    environments = list(dict.fromkeys(group.env for group in mine))
    columns = min(3, len(environments))
    rows = -(-len(environments) // columns)
    figure = Figure(figsize=(max(4.2 * columns, 5.6), 3.2 * rows + 0.35 * len(mine) + 0.3), layout="constrained")
    handles = []
    for index, env in enumerate(environments):
        axes = figure.add_subplot(rows, columns, index + 1)
        for group in mine:
            if group.env == env:
                colour = COLOURS[groups.index(group) % len(COLOURS)]
                _draw_curves(axes, group.curves[name], colour, statistic)
                _draw_ceiling(axes, group.curves, name)
                count = len(group.curves[name])
                label = f"{group.label}, {count} seed{'s' if count > 1 else ''}"
                handles.append(Line2D([], [], color=colour, lw=2, label=label))
        _label_curves(axes, name)
        axes.set_title(env, fontsize=10)
    if any(f"{name}_ceiling" in group.curves for group in mine):
        handles.append(_ceiling_handle())
    figure.legend(handles=handles, loc="outside lower center", frameon=False, fontsize=8)
    where = f", {place(name)}" if place(name) else ""
    figure.suptitle(f"{title(name)}{where}", fontsize=11)
    return figure


def entries(curves: Mapping[str, Curves], statistic: Statistic) -> dict[str, dict[str, Any]]:
    """The last known value of every metric and seed, as a summary has it; `mean` holds the asked statistic."""
    found = {}
    for name, by_seed in curves.items():
        # A chunk in which no episode ended has no return: the one before it still stands.
        last = [
            float(known[-1]) if (known := values[np.isfinite(values)]).size else np.nan
            for _, values in by_seed.values()
        ]
        value, low, high = bootstrap_interval(last, statistic)
        found[name] = {"mean": value, "low": low, "high": high, "per_seed": last}
    return found


def _page_path(folders: Sequence[Path], output: str | Path | None) -> Path:
    if output is None:
        # Never beside the runs: a later `report runs/*` would take it for one of them.
        return (folders[0] if len(folders) == 1 else Path("report")) / "report.html"
    output = Path(output)
    return output if output.suffix.lower() in (".html", ".htm") else output / "report.html"


def _own_pictures(run: RunData) -> list[Path]:
    """The pictures that a run made of itself; drawn now where it did not get to it."""
    drawn = pictures(run.run_dir)
    if not any(path.name in EVALUATION_PICTURES for path in drawn) and (run.run_dir / "evaluation.npz").exists():
        drawn = figures(run.run_dir)
    order = list(EVALUATION_PICTURES)
    # Its curves are among those of the report.
    own = [path for path in drawn if path.name != "learning_curves.png"]
    return sorted(own, key=lambda path: (order.index(path.name) if path.name in order else len(order), path.name))


def _page(
    runs: Sequence[RunData],
    groups: Sequence[Group],
    notes: Sequence[str],
    sweep: Sequence[str],
    curves: Mapping[str, Path],
    own: Mapping[Path, Sequence[Path]],
    statistic: Statistic,
) -> str:
    word = "mean" if statistic == "mean" else "interquartile mean"
    labels = list(dict.fromkeys(group.label for group in groups))
    heading = ", ".join(labels) if len(labels) <= 4 else f"{len(runs)} runs"
    environments = list(dict.fromkeys(group.env for group in groups))
    heading += f" on {environments[0]}" if len(environments) == 1 else ""
    training = [name for name in curves if place(name) == "training" and not name.endswith("/episode_return")]
    parts = [
        f"<h1>{html.escape(heading)}</h1>",
        *sweep,
        "<h2>Runs</h2>",
        _runs_table(runs),
        *(f"<p>{html.escape(note)}</p>" for note in notes),
        "<h2>Results</h2>",
        _results_table(groups, word),
        "<h2>Learning curves</h2>",
        f"<p>Thin lines are seeds; the thick line is their {word} at the steps that all of them have reached, with its "
        "95&nbsp;% bootstrap interval.</p>",
        *(image(path, name) for name, path in curves.items() if name not in training),
    ]
    if training:
        parts.append("<details><summary>More about training</summary>")
        parts += [image(curves[name], name) for name in training]
        parts.append("</details>")
    for run_dir, paths in own.items():
        if paths:
            parts.append(f"<h2>{html.escape(run_dir.resolve().name)}</h2>")
            parts += [image(path, f"{run_dir.resolve().name}: {path.stem.replace('_', ' ')}") for path in paths]
    return page(heading, parts)


def _runs_table(runs: Sequence[RunData]) -> str:
    titles = ("run", "agent", "environment", "seeds", "steps", "status", "wall time", "device", "commit")
    lines = [f"<tr>{''.join(f'<th>{word}</th>' for word in titles)}</tr>"]
    for run in runs:
        agent, env = _chosen(run.config)
        seeds = [_seed(run, index) for index in range(int(run.config.get("num_seeds", 1)))]
        wall = run.summary.get("wall_seconds")
        cells = (
            run.run_dir.resolve().name,
            agent,
            env,
            str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}",
            f"{run.step:,}",
            run.status,
            "–" if wall is None else f"{wall:,.0f} s",
            str(run.summary.get("device") or "–"),
            str(run.summary.get("git_commit") or "–")[:10],
        )
        style = "" if run.status == "finished" else ' class="unfinished"'
        tags = [f"<td{style if cell == run.status else ''}>{html.escape(cell)}</td>" for cell in cells]
        lines.append(f"<tr>{''.join(tags)}</tr>")
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _results_table(groups: Sequence[Group], word: str) -> str:
    statistic: Statistic = "mean" if word == "mean" else "iqm"
    found = [entries(group.curves, statistic) for group in groups]
    cells = [{(row.place, row.name): row for row in result_rows(entry)} for entry in found]
    # Only for the rows and their order; the numbers of groups with other skills or seeds do not go together.
    everything = {name: {"mean": 0.0, "per_seed": [0.0]} for entry in found for name in entry}
    keys = [(row.place, row.name) for row in result_rows(everything)]
    heads = []
    for group in groups:
        count = max(len(by_seed) for by_seed in group.curves.values())
        note = (
            "" if all(run.status == "finished" for run in group.runs) else ' <span class="unfinished">unfinished</span>'
        )
        heads.append(f"<th>{html.escape(group.label)} ({count} seed{'s' if count > 1 else ''}){note}</th>")
    lines = [f"<tr><th>metric</th>{''.join(heads)}</tr>"]
    for index, key in enumerate(keys):
        if index == 0 or keys[index - 1][0] != key[0]:
            acting = " acting" if key[0] in ("stochastic", "deterministic") else ""
            lines.append(f'<tr class="place"><th colspan="{1 + len(groups)}">{html.escape(key[0] + acting)}</th></tr>')
        tags = []
        for by_key in cells:
            row = by_key.get(key)
            value = "–" if row is None else html.escape(row.value)
            known = row is not None and row.interval != "–"
            interval = f'<span class="interval">{html.escape(row.interval)}</span>' if known and row else ""
            tags.append(f'<td class="number">{value}{interval}</td>')
        lines.append(f"<tr><td>{html.escape(key[1])}</td>{''.join(tags)}</tr>")
    caption = f"{word} over seeds of the last logged value, below it the 95&nbsp;% bootstrap interval"
    return f'<div class="wide"><table><caption>{caption}</caption>{"".join(lines)}</table></div>'


__all__ = ["compare", "entries", "figures", "group_runs", "rank_runs", "read_run", "report"]
