"""The driver: steps per second, memory and compile time against seeds and environments, beside the arithmetic limit.

    python benchmarks/scaling/run.py                 a quarter of an hour on two cores
    python benchmarks/scaling/run.py --device gpu    minutes on a GPU, whose series go further; written to gpu/
    python benchmarks/scaling/run.py --quick         two points of each series at tiny sizes, to see that it works

Every point is a process of its own (`point.py`), one after the other. It writes results.json, results.md and
scaling.png; see README.md for what the figures are.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from infojax.run.drawing import COLOURS, markdown_table, save, tidy, write_text
from infojax.run.mesh import PRECISION

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))
from machine import processor  # noqa: E402  the folder above is on the path now

RL = HERE.parent / "rl"
PPO, SAC = ("agent=ppo", "objective=none", "env=maze/open"), ("agent=sac", "objective=none", "env=maze/open")
# A quarter of the default's steps in a quarter of its minibatches, which at 16 environments have its 64 rows.
SHORT = ("agent.unroll=32", "agent.minibatches=8")
SEEDS, ENVIRONMENTS = (1, 2, 4, 8, 16), (16, 64, 256, 1024, 4096)
QUICK = ("agent.hidden_sizes=[16,16]", "log.every=64")
QUICK_POINT = ("--repeats", "2", "--seconds", "0.02", "--squares", "128", "--most", "1")


class Series(NamedTuple):
    """One word of the command line that varies, all others held."""

    title: str
    label: str  # in the picture
    key: str
    values: tuple[int, ...]
    words: tuple[str, ...]


SERIES = {
    "ppo_seeds": Series("PPO, seeds side by side", "PPO, seeds=vmap", "num_seeds", SEEDS, (*PPO, "seeds=vmap")),
    "ppo_seeds_map": Series(
        "PPO, seeds one after the other", "PPO, seeds=map", "num_seeds", (1, 4, 16), (*PPO, "seeds=map")
    ),
    "sac_seeds": Series(
        "SAC, seeds side by side", "SAC, seeds=vmap", "num_seeds", SEEDS, (*SAC, "seeds=vmap", "log.every=64")
    ),
    "ppo_environments": Series("PPO, environments", "PPO, maze/open", "agent.num_envs", ENVIRONMENTS, (*PPO, *SHORT)),
    "brax_environments": Series(
        "PPO, environments of brax",
        "PPO, brax/halfcheetah",
        "agent.num_envs",
        (16, 256, 4096),
        ("agent=ppo", "objective=none", "env=brax/halfcheetah", "agent.unroll=8", "agent.minibatches=2"),
    ),
}


# A GPU is not filled by what fills two cores, and a seed after another is no question there.
GPU_VALUES = {
    "ppo_seeds": (1, 16, 256, 2048),
    "sac_seeds": (1, 16, 256),
    "ppo_environments": (16, 1024, 16384, 131072),
    "brax_environments": (256, 4096, 32768),
}
GPU_SQUARES = ("--squares", "4096", "8192")  # smaller ones are over before they fill it


def series_of(device: str) -> dict[str, Series]:
    """What is measured on a kind of device."""
    if device == "cpu":
        return SERIES
    return {name: SERIES[name]._replace(values=values) for name, values in GPU_VALUES.items()}


def clean_environment(device: str) -> dict[str, str]:
    """The environment without a persistent compilation cache, flags and a number of threads; products as in a run."""
    dropped = {"JAX_COMPILATION_CACHE_DIR", "XLA_FLAGS", "NPROC"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    if device == "gpu":
        kept |= {"JAX_DEFAULT_MATMUL_PRECISION": PRECISION["gpu"]}
    platforms = {"cpu": "cpu", "gpu": "cuda,cpu"}[device]
    return kept | {"JAX_ENABLE_COMPILATION_CACHE": "false", "JAX_PLATFORMS": platforms, "PYTHONWARNINGS": "ignore"}


def answer(words: Sequence[str], device: str) -> dict[str, Any]:
    """The JSON line that a script prints last."""
    done = subprocess.run([sys.executable, *words], env=clean_environment(device), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} ended with code {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def figures(point: dict[str, Any]) -> dict[str, float]:
    """What a table shows of a point, but for the limit: medians over the repeats, and memory for each seed."""
    rates = [point["steps_per_call"] / repeat["wall_seconds"] for repeat in point["repeats"]]
    seeds, memory, resident = point["seeds"], point["memory"], point["resident"]
    return {
        "steps_per_second": statistics.median(rates),
        "lowest": min(rates),
        "highest": max(rates),
        "steps_per_cpu_second": statistics.median(
            point["steps_per_call"] / repeat["cpu_seconds"] for repeat in point["repeats"]
        ),
        "gflops_per_second": statistics.median(rates) * point["matrix_flops_per_step"] / 1e9,
        "arguments_per_seed": memory["arguments"] / seeds,
        "temporaries_per_seed": memory["temporaries"] / seeds,
        "memory_per_seed": memory["total"] / seeds,
        "resident_growth": resident["most_after_running"] - resident["at_start"],
        "compile_seconds": point["compiled"]["trace_seconds"] + point["compiled"]["compile_seconds"],
    }


def with_limit(found: dict[str, float], point: dict[str, Any], peak: float) -> dict[str, float]:
    """The figures with the limit by a machine that multiplies matrices at `peak` GFLOP/s and does nothing else."""
    limit = 1e9 * peak / point["matrix_flops_per_step"]
    return found | {
        "limit_steps_per_second": limit,
        "share_of_limit": found["steps_per_second"] / limit,
        "share_of_shape": found["gflops_per_second"] / point["shapes"]["learning"]["gflops_per_second"],
    }


def best_rate(results: dict[str, Any]) -> float:
    """The best of all rates of matrix products that this run has measured, GFLOP/s."""
    rates = [peak["peak"]["gflops_per_second"] for peak in results["peaks"]]
    return max([*rates, *rates_between(results)])


def rates_between(results: dict[str, Any]) -> list[float]:
    """The rates of matrix products between the repeats of all points, GFLOP/s, in order of size."""
    points = [point for series in results["series"].values() for point in series["points"]]
    return sorted(square["gflops_per_second"] for point in points for square in point["squares"])


def short(number: float) -> str:
    """Three digits, thousands with commas."""
    if number >= 100:
        digits = 10 ** max(0, len(str(int(number))) - 3)
        return f"{round(number / digits) * digits:,}"
    return f"{number:.3g}"


def megabytes(count: float) -> str:
    return f"{count / 1e6:.3g}" if count < 1e9 else f"{count / 1e6:,.0f}"


def table(series: dict[str, Any]) -> str:
    """One row for each point."""
    heads = [
        {"num_seeds": "seeds", "agent.num_envs": "environments"}[series["key"]],
        "steps/s",
        "lowest to highest",
        "over the first",
        "limit, steps/s",
        "share of it",
        "share of the rate at its shapes",
        "MB a seed",
        "of them arguments, temporaries",
        "process grew by, MB",
        "compiling, s",
    ]
    first = series["figures"][0]["steps_per_second"]
    rows = [
        [
            f"{value:,}",
            short(row["steps_per_second"]),
            f"{short(row['lowest'])} to {short(row['highest'])}",
            f"{row['steps_per_second'] / first:.2f}",
            short(row["limit_steps_per_second"]),
            f"{row['share_of_limit']:.1%}",
            f"{row['share_of_shape']:.0%}",
            megabytes(row["memory_per_seed"]),
            f"{megabytes(row['arguments_per_seed'])}, {megabytes(row['temporaries_per_seed'])}",
            megabytes(row["resident_growth"]),
            f"{row['compile_seconds']:.1f}",
        ]
        for value, row in zip(series["values"], series["figures"], strict=True)
    ]
    return markdown_table(heads, rows)


def shapes(results: dict[str, Any]) -> str:
    """The rates at the shapes of the points, each shape once, the best of its measurements."""
    found: dict[tuple[int, int, int], float] = {}
    for series in results["series"].values():
        for point in series["points"]:
            for shape in point["shapes"].values():
                key = (shape["seeds"], shape["rows"], shape["width"])
                found[key] = max(found.get(key, 0.0), shape["gflops_per_second"])
    rows = [
        [f"{seeds} x [{rows:,}, {width}] x [{width}, {width}]", f"{rate:.1f}", f"{rate / results['peak']:.0%}"]
        for (seeds, rows, width), rate in sorted(found.items(), key=lambda entry: (entry[0][2], *entry[0]))
    ]
    return markdown_table(["matrices", "GFLOP/s", "of the peak"], rows)


def markdown(results: dict[str, Any]) -> str:
    """The tables."""
    machine = results["machine"]
    between = rates_between(results)
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    lines = [
        f"Measured {results['date']} on {machine['device']}; Python "
        f"{machine['python']}, {versions}. {results['minutes']:.1f} minutes; load before {results['load_before']}, "
        f"after {results['load_after']}. Best rate of float32 matrix products {results['peak']:.0f} GFLOP/s, which "
        f"the limits are made of; between the repeats it was {between[0]:.0f} to {between[-1]:.0f}, "
        f"{statistics.median(between):.0f} in the median.",
        "",
        "![Steps per second, memory of a seed and seconds of compiling, against seeds and environments](scaling.png)",
        "",
    ]
    for series in results["series"].values():
        per_step = [point["matrix_flops_per_step"] for point in series["points"]]
        counts = short(per_step[0]) if max(per_step) < 1.01 * min(per_step) else " to ".join(map(short, per_step[::2]))
        lines += [
            f"### {series['title']}",
            "",
            f"`{' '.join(series['words'])} {series['key']}=…`; {counts} FLOPs a step.",
            "",
            table(series),
        ]
    lines += ["### Rates at these shapes", "", shapes(results)]
    return "\n".join(lines)


def picture(results: dict[str, Any], path: Path) -> None:
    """Steps per second with limits, memory of a seed and seconds of compiling; seeds left, environments right."""
    figure, axes = plt.subplots(3, 2, figsize=(10, 9), sharex="col", sharey="row", layout="constrained")
    columns = {"num_seeds": 0, "agent.num_envs": 1}
    every: list[set[int]] = [set(), set()]
    kinds = (("steps_per_second", "environment steps per second"), ("memory_per_seed", "bytes of a seed"))
    for index, series in enumerate(results["series"].values()):
        column, colour, values = columns[series["key"]], COLOURS[index], series["values"]
        every[column] |= set(values)
        top: Axes = axes[0][column]
        for row, (key, _) in enumerate((*kinds, ("compile_seconds", ""))):
            found = [figure[key] for figure in series["figures"]]
            axes[row][column].plot(values, found, "o-", color=colour, label=series["label"], markersize=4)
        limits = [figure["limit_steps_per_second"] for figure in series["figures"]]
        top.plot(values, limits, "--", color=colour, linewidth=1)
        top.fill_between(
            values,
            [figure["lowest"] for figure in series["figures"]],
            [figure["highest"] for figure in series["figures"]],
            color=colour,
            alpha=0.2,
            linewidth=0,
        )
    for column, name in enumerate(("seeds", "environments")):
        values = sorted(every[column])
        for row, label in enumerate((*(label for _, label in kinds), "seconds of compiling")):
            here: Axes = axes[row][column]
            here.set_xscale("log", base=2)
            if row < 2:
                here.set_yscale("log")
            else:
                here.set_ylim(bottom=0)
                here.set_xlabel(name)
                here.set_xticks(values, [f"{value:,}" for value in values])
                here.minorticks_off()
            if column == 0:
                here.set_ylabel(label)
            here.grid(color="#eeeeee")
            tidy(here, 10)
        axes[0][column].plot([], [], "--", color="#666666", linewidth=1, label="its arithmetic limit")
        axes[0][column].legend(fontsize=8, frameon=False)
    save(figure, path)
    plt.close(figure)


def write(results: dict[str, Any], output: Path) -> None:
    """What is measured so far, so that a run that is cut off leaves it: the numbers, the tables, the picture."""
    results["peak"] = peak = best_rate(results)
    for found in results["series"].values():
        found["figures"] = [with_limit(figures(point), point, peak) for point in found["points"]]
    first = next(iter(results["series"].values()))["points"][0]
    results["versions"] = first["versions"]
    machine = results["machine"]
    told = f"{machine['processor']}, {machine['cores']} cores"
    machine["device"] = f"{told}, no GPU" if first["device"] == "cpu" else f"one {first['device']} beside {told}"
    write_text(output / "results.json", json.dumps(results, indent=1) + "\n")
    write_text(output / "results.md", markdown(results))
    picture(results, output / "scaling.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--series", nargs="+", choices=tuple(SERIES), help="all of the device, unless named")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, written to a folder of their own")
    parser.add_argument("--output", type=Path, help="folder for what is written; this one, or a temporary one")
    arguments = parser.parse_args()
    device, offered = arguments.device, series_of(arguments.device)
    names = arguments.series or list(offered)
    if unknown := [name for name in names if name not in offered]:
        parser.error(f"--series {' '.join(unknown)} is not measured on a GPU, only {', '.join(offered)}")
    home = HERE if device == "cpu" else HERE / device
    output = arguments.output or (Path(tempfile.mkdtemp(prefix="scaling-")) if arguments.quick else home)
    squares = GPU_SQUARES if device == "gpu" else ()
    output.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    results: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": {
            "processor": processor(),
            "cores": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
        },
        "quick": arguments.quick,
        "load_before": round(os.getloadavg()[0], 2),
        "peaks": [],
        "series": {},
    }

    def say(text: str) -> None:
        print(f"{(time.perf_counter() - began) / 60:5.1f} min  {text}", flush=True)

    def measure_peak() -> None:
        if not arguments.quick:
            results["peaks"].append(answer([str(RL / "matmul_peak.py"), *squares], device))
            say(f"matrix products: {results['peaks'][-1]['peak']['gflops_per_second']:.0f} GFLOP/s")

    measure_peak()
    for name in names:
        series = offered[name]
        values = series.values[:2] if arguments.quick else series.values
        words = (*series.words, *QUICK) if arguments.quick else series.words
        found = results["series"][name] = {**series._asdict(), "values": [], "words": words, "points": []}
        options = QUICK_POINT if arguments.quick else ("--repeats", str(arguments.repeats), *squares)
        for value in values:
            point = answer([str(HERE / "point.py"), *words, f"{series.key}={value}", *options], device)
            found["values"].append(value)
            found["points"].append(point)
            told = figures(point)
            say(
                f"{series.label}, {series.key}={value}: {short(told['steps_per_second'])} steps/s, "
                f"{megabytes(told['memory_per_seed'])} MB a seed, compiled in {told['compile_seconds']:.1f} s; "
                f"{len(point['repeats'])} repeats of {point['calls_per_repeat']}, load {point['load']['after']}"
            )
            results["load_after"] = point["load"]["after"]
            results["minutes"] = (time.perf_counter() - began) / 60
            write(results, output)
    # Once more at the end, so that a busy minute at the start cannot lower the limit.
    measure_peak()
    results["minutes"] = (time.perf_counter() - began) / 60
    write(results, output)
    print(f"\n{markdown(results)}\nwritten to {output}")


if __name__ == "__main__":
    main()
