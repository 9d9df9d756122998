"""What the studies of agents share: methods on worlds at equal budgets, each with all its seeds in one program.

A case is one `infojax train` in a process of its own with one thread; `processes` of them run at a time. A finished
case is not run again, so that a study that was stopped goes on.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from infojax.run.drawing import COLOURS, markdown_table, save, tidy, write_text
from infojax.run.statistics import bootstrap_interval


class Case(NamedTuple):
    """One method in one world."""

    world: str
    method: str
    words: tuple[str, ...]  # of the command line

    @property
    def name(self) -> str:
        """The folder of the run."""
        return f"{self.world}-{self.method}".replace("/", "_").replace(" ", "_")


def run(cases: Sequence[Case], runs: Path, num_seeds: int, processes: int = 2) -> float:
    """Train all cases; returns the minutes that it took."""
    runs.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()

    def train(case: Case) -> None:
        words = [*case.words, f"num_seeds={num_seeds}", f"run_dir={runs / case.name}"]
        words += ["cpu_threads=1", "progress=false"]
        with open(runs / f"{case.name}.log", "w") as log:
            command = [sys.executable, "-m", "infojax", "train", *words]
            code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT).returncode
        minutes = (time.perf_counter() - began) / 60
        print(f"{minutes:5.1f} min  {case.world}, {case.method}: ended with code {code}", flush=True)
        if code:
            print(f"           infojax train {' '.join(words)}\n{(runs / f'{case.name}.log').read_text()[-500:]}")

    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(train, cases))
    return (time.perf_counter() - began) / 60


def curve(run_dir: Path, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps [T], and the metric [S, T] at them; steps without it are left out."""
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    found: dict[int, dict[int, float]] = {}
    for row in rows:
        if row.get(metric) is not None:
            found.setdefault(row["seed"], {})[row["step"]] = row[metric]
    steps = sorted(set.intersection(*(set(one) for one in found.values()))) if found else []
    return np.asarray(steps), np.asarray([[found[seed][step] for step in steps] for seed in sorted(found)])


def interval(values: Any) -> dict[str, Any]:
    """Mean over seeds with its bootstrap interval of 95 %."""
    found = bootstrap_interval(values)
    return {"mean": found[0], "low": found[1], "high": found[2], "per_seed": np.asarray(values, float).tolist()}


def shown(entry: Mapping[str, Any], digits: int = 3) -> str:
    """`mean [low, high]`."""
    return f"{entry['mean']:.{digits}g} [{entry['low']:.{digits}g}, {entry['high']:.{digits}g}]"


def first_step(steps: np.ndarray, values: np.ndarray, threshold: float) -> list[float]:
    """For every seed the first step at which the metric [S, T] reaches the threshold; infinity where it never does."""
    return [float(steps[np.argmax(row >= threshold)]) if (row >= threshold).any() else float("inf") for row in values]


def picture(
    path: Path,
    cases: Sequence[Case],
    runs: Path,
    metrics: Mapping[str, str],
    smooth: Callable[[np.ndarray], np.ndarray] = lambda values: values,
) -> Path:
    """A row of panels for each metric, named by its label, and a column for each world.

    The mean of every method over steps, shaded by its interval.
    """
    worlds = list(dict.fromkeys(case.world for case in cases))
    methods = list(dict.fromkeys(case.method for case in cases))
    size = (4.2 * len(worlds), 3.4 * len(metrics))
    figure, panels = plt.subplots(len(metrics), len(worlds), figsize=size, squeeze=False, layout="constrained")
    for row, (metric, label) in zip(panels, metrics.items(), strict=True):
        for axes, world in zip(row, worlds, strict=True):
            for case in (case for case in cases if case.world == world):
                steps, values = curve(runs / case.name, metric)
                if not len(steps):
                    continue
                colour = COLOURS[methods.index(case.method) % len(COLOURS)]
                middle, low, high = (np.asarray(part) for part in bootstrap_interval(smooth(values)))
                axes.plot(steps, middle, color=colour, label=case.method, linewidth=1.6)
                axes.fill_between(steps, low, high, color=colour, alpha=0.18, linewidth=0)
            axes.set_title(world, fontsize=10)
            axes.set_xlabel("environment steps")
            tidy(axes, 9)
        row[0].set_ylabel(label)
    # A method may be missing in some of the worlds.
    shown = {
        label: handle for axes in panels[0] for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    named = [method for method in methods if method in shown]
    columns = min(len(named), 4)
    handles = [shown[name] for name in named]
    figure.legend(handles, named, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
    saved = save(figure, path)
    plt.close(figure)
    return saved


def above(first: Sequence[float], second: Sequence[float]) -> dict[str, Any]:
    """By how much the first is above the second, seed by seed; it holds where the interval is above 0."""
    gap = interval(np.asarray(first) - np.asarray(second))
    return {**gap, "holds": bool(gap["low"] > 0)}


def write(folder: Path, name: str, heads: Sequence[str], rows: Sequence[Sequence[str]], record: Any) -> None:
    """The table as markdown and all its numbers as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / f"{name}.md", markdown_table(heads, rows))
    write_text(folder / f"{name}.json", json.dumps(record, indent=1) + "\n")
