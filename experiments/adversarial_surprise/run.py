"""Adversarial surprise on noisy rooms beside random actions, SMiRL, RND and ICM: rooms, time in noise, calm.

    python experiments/adversarial_surprise/run.py --runs runs/adversarial_surprise

The same number of environment steps and environments for each method, PPO with the same networks; five seeds, one
after the other, in two processes of one thread each. Started again, it goes on with what is left. Tables and the
picture are written beside this file.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from infojax.run import drawing
from infojax.run.log import write_json
from infojax.run.statistics import bootstrap_interval

HERE = Path(__file__).resolve().parent
PPO = ("agent=ppo", "agent.extrinsic_weight=0", "agent.epochs=4", "agent.minibatches=8", "agent.entropy_weight=0.01")
METHODS: dict[str, tuple[str, ...]] = {  # the longest first
    "adversarial_surprise": ("agent=adversarial_surprise", "agent.unroll=128"),
    # Its Control stays as random as it begins: what Control itself adds is the difference.
    "explore_alone": ("agent=adversarial_surprise", "agent.unroll=128", "agent.learns=explore"),
    "icm": (*PPO, "objective=icm"),
    "rnd": (*PPO, "objective=rnd"),
    "smirl": (*PPO, "objective=smirl"),
    # The rooms give no reward, so that nothing is learned and the first policy stays: almost uniform.
    "random": ("agent=ppo", "objective=none", "agent.epochs=1", "agent.minibatches=1"),
}
WORLDS = {"with switches": "rooms/controllable", "without switches": "rooms/noisy"}
ROOMS = ("env.view_size=5", "env.max_size=4")
COMMON = ("agent.num_envs=16", "agent.learning_rate=1e-3", "agent.hidden_sizes=[64,64]", "seeds=map", "cpu_threads=1")
MEASURES = {
    "rooms_visited_at_end": "rooms visited",
    "furthest_room_at_end": "furthest room",
    "in_noise": "share of time in noise",
    "noise_off_at_end": "share of noise off",
    "coverage": "tiles covered",
    "control_lowers_entropy": "nats that Control calms",
    "observation_entropy_explore": "entropy after Explore",
    "observation_entropy_control_last": "entropy after Control",
    "control_log_prob_gain": "gain of log p in Control's round",
}


def folder(runs: Path, world: str, method: str) -> Path:
    return runs / f"{world.replace(' ', '_')}-{method}"


def command(runs: Path, world: str, method: str, steps: int, num_seeds: int, seed: int) -> list[str]:
    """One run of all seeds."""
    words = [*METHODS[method], f"env={WORLDS[world]}", *ROOMS, *COMMON, f"total_steps={steps}"]
    words += [f"seed={seed}", f"num_seeds={num_seeds}", f"run_dir={folder(runs, world, method)}", "progress=false"]
    words += [f"log.every={max(2048, steps // 25)}", f"evaluation.every={max(2048, steps // 5)}"]
    words += ["evaluation.episodes=32", f"checkpoint.every={steps}"]
    return [sys.executable, "-m", "infojax", "train", *words]


def collected(run: Path) -> dict[str, list[float]]:
    """What the last evaluation says, with stochastic acting, of each seed."""
    metrics = json.loads((run / "summary.json").read_text())["metrics"]
    names = {name: f"evaluation/stochastic/{name}" for name in MEASURES}
    return {name: metrics[full]["per_seed"] for name, full in names.items() if full in metrics}


def curve(run: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps [L] and values [L, S] of a training metric."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    seeds = sorted({row["seed"] for row in rows})
    steps = sorted({row["step"] for row in rows})
    values = {(row["step"], row["seed"]): row[f"train/{name}"] for row in rows}
    return np.array(steps), np.array([[values[step, seed] for seed in seeds] for step in steps])


def above(first: Sequence[float], second: Sequence[float]) -> Mapping[str, Any]:
    """By how much the first is above the second, seed by seed; it holds where the interval is above 0."""
    gap = bootstrap_interval(np.asarray(first) - np.asarray(second))
    return {"difference": gap.value, "low": gap.low, "high": gap.high, "holds": bool(gap.low > 0)}


def claims(found: Mapping[str, Mapping[str, Mapping[str, list[float]]]]) -> dict[str, Mapping[str, Any]]:
    """The bars of the README, where the methods they need were run."""
    told = {}

    def compare(words: str, world: str, measure: str, first: str, second: str) -> None:
        methods = found.get(world, {})
        if first in methods and second in methods:
            told[f"{words} ({world})"] = above(methods[first][measure], methods[second][measure])

    ours = "adversarial_surprise"
    for world in WORLDS:
        for other in ("random", "smirl"):
            compare(f"rooms visited above {other}", world, "rooms_visited_at_end", ours, other)
        compare("Control calms more than a random one", world, "control_lowers_entropy", ours, "explore_alone")
        if ours in found.get(world, {}):
            calmed = found[world][ours]["control_lowers_entropy"]
            told[f"Control lowers the entropy of observations ({world})"] = above(calmed, np.zeros(len(calmed)))
    for other in ("rnd", "icm"):
        compare(f"less time in noise than {other}", "without switches", "in_noise", other, ours)
    return told


def picture(runs: Path, found: Mapping[str, Mapping[str, Mapping[str, list[float]]]], path: Path) -> None:
    """Rooms visited and time in noise over training, one row for each world."""
    figure = Figure(figsize=(9, 3.2 * len(found)), layout="constrained")
    for row, (world, methods) in enumerate(found.items()):
        for column, name in enumerate(("rooms_visited_at_end", "in_noise")):
            axes = figure.add_subplot(len(found), 2, 2 * row + column + 1)
            drawing.tidy(axes, 9)
            for colour, method in zip(drawing.COLOURS, METHODS, strict=False):
                if method in methods:
                    steps, values = curve(folder(runs, world, method), name)
                    interval = bootstrap_interval(values.T)
                    axes.plot(steps, interval.value, color=colour, linewidth=1.4, label=method.replace("_", " "))
                    axes.fill_between(steps, interval.low, interval.high, color=colour, alpha=0.15, linewidth=0)
            axes.set_xlabel("environment steps")
            axes.set_ylabel(MEASURES[name])
            axes.set_title(world, fontsize=10, loc="left")
            if row == column == 0:
                axes.legend(frameon=False, fontsize=8)
    drawing.save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/adversarial_surprise"), help="where the runs are kept")
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=list(METHODS), metavar="NAME")
    parser.add_argument("--worlds", nargs="+", choices=tuple(WORLDS), default=list(WORLDS), metavar="NAME")
    parser.add_argument("--steps", type=int, default=256_000, help="environment steps of each seed")
    parser.add_argument("--num-seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--output", type=Path, default=HERE, help="folder of the tables and the picture")
    arguments = parser.parse_args()
    runs, began = arguments.runs, time.perf_counter()
    runs.mkdir(parents=True, exist_ok=True)

    def one(choice: tuple[str, str]) -> int:
        method, world = choice
        words = command(runs, world, method, arguments.steps, arguments.num_seeds, arguments.first_seed)
        with open(f"{folder(runs, world, method)}.log", "w") as log:
            code = subprocess.run(words, stdout=log, stderr=subprocess.STDOUT).returncode
        print(f"{(time.perf_counter() - began) / 60:5.1f} min  {method}, {world}: ended with code {code}", flush=True)
        return code

    with ThreadPoolExecutor(arguments.processes) as pool:
        codes = list(pool.map(one, [(m, w) for m in METHODS if m in arguments.methods for w in arguments.worlds]))
    if any(codes):
        sys.exit(f"{sum(map(bool, codes))} runs failed; see the logs in {runs}")

    found = {
        world: {name: collected(folder(runs, world, name)) for name in METHODS if name in arguments.methods}
        for world in arguments.worlds
    }
    intervals = {
        world: {
            method: {n: {**bootstrap_interval(v)._asdict(), "per_seed": v} for n, v in values.items()}
            for method, values in methods.items()
        }
        for world, methods in found.items()
    }
    bars = claims(found)
    cost = {"minutes": (time.perf_counter() - began) / 60, "steps": arguments.steps, "seeds": arguments.num_seeds}
    arguments.output.mkdir(parents=True, exist_ok=True)
    write_json(arguments.output / "table.json", {"cost": cost, "bars": bars, "worlds": intervals})

    def cell(methods: Mapping[str, Any], name: str) -> str:
        entry = methods.get(name)
        return f"{entry['value']:.3g} [{entry['low']:.3g}, {entry['high']:.3g}]" if entry else "–"

    parts = []
    for world, methods in intervals.items():
        heads = ["", *(method.replace("_", " ") for method in methods)]
        rows = [[words, *(cell(values, name) for values in methods.values())] for name, words in MEASURES.items()]
        parts.append(f"## Rooms {world}\n\n{drawing.markdown_table(heads, rows)}")
    judged = [
        [words, f"{bar['difference']:.3g} [{bar['low']:.3g}, {bar['high']:.3g}]", "yes" if bar["holds"] else "no"]
        for words, bar in bars.items()
    ]
    parts.append(f"## Bars\n\n{drawing.markdown_table(['what', 'difference', 'holds'], judged)}")
    text = "\n\n".join(parts) + "\n"
    (arguments.output / "table.md").write_text(text)
    picture(runs, found, arguments.output / "rooms.png")
    print(text)
    print(f"all of it took {cost['minutes']:.1f} min")


if __name__ == "__main__":
    main()
