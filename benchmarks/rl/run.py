"""The driver: runs ours and the peers alternately, each in its own environment, and writes results.json and results.md.

    python benchmarks/rl/run.py --ours OUR/bin/python --rejax REJAX/bin/python --qdax QDAX/bin/python

Standard library only. See README.md for what is compared and how fair it is.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import flops
import protocol

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))
from machine import processor  # noqa: E402  the folder above is on the path now

OBSERVATION, ACTION = 4, 1  # inverted_pendulum; CartPole observes as much and has two actions
STEPS = {256: 1024, 64: 4096}  # environment steps of one repeat, by network width and batch size
PPO_SIZE, PPO_STEPS, PPO_ACTIONS = 64, 524_288, 2
SHARE_BAR = 0.85
RATIO_BAR = {256: 1.0, 64: 1.5}
PPO_RATIO_BAR = 1.3


class System(NamedTuple):
    """One script and the option that names its Python."""

    name: str
    python: str
    command: tuple[str, ...]


GROUPS = {
    "sac": (
        System("infojax SAC, cpu_threads=1", "ours", ("ours.py", "sac", "--cpu-threads=1")),
        System("infojax SAC", "ours", ("ours.py", "sac")),
        System("rejax SAC", "rejax", ("peers/rejax_sac.py",)),
        System("brax SAC", "qdax", ("peers/brax_sac.py",)),
    ),
    "diayn": (
        System("infojax DIAYN, cpu_threads=1", "ours", ("ours.py", "diayn", "--cpu-threads=1")),
        System("infojax DIAYN", "ours", ("ours.py", "diayn")),
        System("QDax DIAYN", "qdax", ("peers/qdax_diayn.py",)),
    ),
    # Every step of the environment counts here where an update does above.
    "ppo": (
        System("infojax PPO, cpu_threads=1", "ours", ("ours.py", "ppo", "--cpu-threads=1")),
        System("infojax PPO", "ours", ("ours.py", "ppo")),
        System("rejax PPO", "rejax", ("peers/rejax_ppo.py",)),
    ),
}


def clean_environment(is_ours: bool) -> dict[str, str]:
    """The environment without a persistent compilation cache and flags; a peer does not see our PYTHONPATH either."""
    dropped = {"JAX_COMPILATION_CACHE_DIR", "XLA_FLAGS"} | (set() if is_ours else {"PYTHONPATH"})
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return kept | {"JAX_ENABLE_COMPILATION_CACHE": "false", "JAX_PLATFORMS": "cpu", "PYTHONWARNINGS": "ignore"}


class Process:
    """A live script that runs one repeat whenever it is told to."""

    def __init__(self, system: System, pythons: dict[str, str], arguments: list[str]) -> None:
        self.system = system
        self.log: list[str] = []
        self.process = subprocess.Popen(
            [pythons[system.python], *system.command, *arguments, "--wait"],
            cwd=HERE,
            env=clean_environment(system.python == "ours"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.read()

    def read(self) -> dict[str, Any]:
        """The next JSON line; what libraries print in between is kept for the error message."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
            self.log.append(line)
        raise SystemExit(f"{self.system.name} ended early:\n{''.join(self.log[-30:])}")

    def turn(self) -> dict[str, Any]:
        """Run one repeat; returns the next line, which is the result after the last one."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.read()


def measure_group(
    systems: tuple[System, ...], pythons: dict[str, str], size: int, steps: int, repeats: int
) -> dict[str, dict[str, Any]]:
    """First calls one after the other, then the repeats in turn: A B C, A B C, …"""
    numbers = {"--hidden": size, "--batch": size, "--steps": steps, "--repeats": repeats}
    arguments = [str(word) for pair in numbers.items() for word in pair]
    processes = [Process(system, pythons, arguments) for system in systems]
    results: dict[str, dict[str, Any]] = {}
    for _ in range(repeats):
        for process in processes:
            results[process.system.name] = process.turn()
    for process in processes:
        process.process.wait()
    return results


def measure_peak(python: str) -> dict[str, Any]:
    """The matmul rates on these cores."""
    done = subprocess.run(
        [python, "matmul_peak.py"], cwd=HERE, env=clean_environment(True), stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def better(first: Any, second: Any) -> Any:
    """The larger of every number of two measured peaks."""
    if isinstance(first, dict):
        return {key: better(first[key], second[key]) for key in first}
    return max(first, second)


def necessary_flops(group: str, size: int) -> int:
    """FLOPs of one update of this comparison, or of one environment step of PPO."""
    if group == "ppo":
        return flops.ppo_step(size, OBSERVATION, PPO_ACTIONS, protocol.PPO_EPOCHS)
    if group == "sac":
        return flops.sac_update(size, size, OBSERVATION, ACTION)
    return flops.diayn_update(size, size, OBSERVATION, ACTION, protocol.DIAYN_SKILLS)


def figures(result: dict[str, Any], update_flops: int, peak: dict[str, float]) -> dict[str, float]:
    """What the table shows of one system: medians over the repeats."""
    repeats = result["repeats"]
    per_second = statistics.median(r["updates"] / r["wall_seconds"] for r in repeats)
    per_cpu_second = statistics.median(r["updates"] / r["cpu_seconds"] for r in repeats)
    # Further untimed calls count as first ones as far as they compiled again: what they took beyond a warm call.
    warm = statistics.median(r["wall_seconds"] for r in repeats)
    again = sum(seconds - warm for seconds in result["warm_up_seconds"] if seconds > 1.5 * warm)
    return {
        "updates_per_second": per_second,
        "updates_per_cpu_second": per_cpu_second,
        "best_updates_per_second": max(r["updates"] / r["wall_seconds"] for r in repeats),
        "best_updates_per_cpu_second": max(r["updates"] / r["cpu_seconds"] for r in repeats),
        "first_call": result["first_call_seconds"] - result["first_call_updates"] / per_second + again,
        "first_call_cpu": result["first_call_cpu_seconds"] - result["first_call_updates"] / per_cpu_second,
        "share_of_peak": update_flops * per_second / peak["gflops_per_second"] / 1e9,
        "share_of_peak_cpu": update_flops * per_cpu_second / peak["gflops_per_cpu_second"] / 1e9,
    }


def judge(
    group: str, size: int, ours: dict[str, dict[str, float]], peers: dict[str, dict[str, float]]
) -> list[dict[str, Any]]:
    """Each bar with its value by the better of our settings; `margin` is the value over the bar, 1 or more is met."""

    def best(key: str) -> tuple[float, str]:
        return max((row[key], name) for name, row in ours.items())

    fastest = max(peer["updates_per_cpu_second"] for peer in peers.values())
    value, setting = best("updates_per_cpu_second")
    bars = [
        (
            f"{unit(group)} per CPU-second over the best peer's",
            setting,
            value / fastest,
            PPO_RATIO_BAR if group == "ppo" else RATIO_BAR[size],
        ),
    ]
    if size == 256:
        for name, key in (("wall", "share_of_peak"), ("CPU", "share_of_peak_cpu")):
            value, setting = best(key)
            bars.append((f"share of the matmul limit, per {name}-second", setting, value, SHARE_BAR))
    shortest = min(peer["first_call"] for peer in peers.values())
    longest, setting = max((row["first_call"], name) for name, row in ours.items())
    judged = [
        {"bar": name, "setting": setting, "value": value, "wanted": wanted, "margin": value / wanted}
        for name, setting, value, wanted in bars
    ]
    judged.append(
        {
            "bar": "first call, in the fastest peer's",
            "setting": setting,
            "value": longest / shortest,
            "wanted": 1.0,
            "margin": shortest / longest,
        }
    )
    return [bar | {"met": bar["margin"] >= 1} for bar in judged]


def unit(group: str) -> str:
    """What is counted."""
    return "steps" if group == "ppo" else "updates"


def markdown(results: dict[str, Any]) -> str:
    """The tables."""
    lines = [
        "Measured {date} on {processor}, {cores} cores, no GPU.".format(date=results["date"], **results["machine"]),
        "Medians over the repeats. First call: seconds to build, fill and compile, less the training in it, no cache.",
        "",
    ]
    for comparison in results["comparisons"]:
        peak = results["peaks"][comparison["cores"]]["peak"]
        size, limit, name = comparison["size"], comparison["flops_per_update"], unit(comparison["group"])
        lines += [
            f"### {comparison['group'].upper()}, nets {size}x{size}, "
            + ("" if comparison["group"] == "ppo" else f"batch {size}, ")
            + comparison["cores"],
            "",
            f"{limit / 1e6:.2f} MFLOP for one of the {name}; "
            f"limit {1e9 * peak['gflops_per_second'] / limit:.0f} a second, "
            f"{1e9 * peak['gflops_per_cpu_second'] / limit:.0f} a CPU-second. Load before {comparison['load_before']}, "
            f"after {comparison['load_after']}.",
            "",
            f"| system | {name}/CPU-s | {name}/s | first call, s (CPU-s) | share of peak, wall | CPU |",
            "|---|---|---|---|---|---|",
        ]
        for system, row in comparison["figures"].items():
            lines.append(
                f"| {system} | {row['updates_per_cpu_second']:.0f} | {row['updates_per_second']:.0f} "
                f"| {row['first_call']:.1f} ({row['first_call_cpu']:.1f}) "
                f"| {row['share_of_peak']:.1%} | {row['share_of_peak_cpu']:.1%} |"
            )
        lines += ["", "| bar | our setting | value | wanted | |", "|---|---|---|---|---|"]
        for bar in comparison["bars"]:
            wanted = f"{'at most' if bar['bar'].startswith('first') else 'at least'} {bar['wanted']:g}"
            verdict = "met" if bar["met"] else f"missed: {1 - bar['margin']:.0%} short of the bar"
            lines.append(f"| {bar['bar']} | {bar['setting']} | {bar['value']:.2f} | {wanted} | {verdict} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", default=sys.executable, help="Python with infojax")
    parser.add_argument("--rejax", help="Python with requirements-rejax.txt")
    parser.add_argument("--qdax", help="Python with requirements-qdax.txt: QDax and brax")
    parser.add_argument("--groups", nargs="+", choices=tuple(GROUPS), default=list(GROUPS))
    parser.add_argument("--sizes", nargs="+", type=int, choices=tuple(STEPS), default=list(STEPS))
    parser.add_argument("--cores", nargs="+", choices=("all", "one"), default=["all", "one"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=HERE, help="folder for results.json and results.md")
    arguments = parser.parse_args()
    given = {"ours": arguments.ours, "rejax": arguments.rejax, "qdax": arguments.qdax}
    # Made absolute, for the scripts run in this folder; not resolved, for a link is what makes a virtual environment.
    pythons = {name: os.path.abspath(path) for name, path in given.items() if path}
    available = os.sched_getaffinity(0)
    results: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": {"processor": processor(), "cores": len(available), "python": platform.python_version()},
        "peaks": {},
        "comparisons": [],
    }
    for cores in arguments.cores:
        label = f"{len(available)} cores" if cores == "all" else "1 core"
        # What is started from here on inherits the cores, and XLA makes as many threads as it may use.
        os.sched_setaffinity(0, available if cores == "all" else {max(available)})
        peak = measure_peak(pythons["ours"])
        measured = []
        for size in arguments.sizes:
            for group in arguments.groups:
                if group == "ppo" and size != PPO_SIZE:
                    continue
                systems = tuple(system for system in GROUPS[group] if system.python in pythons)
                load = round(os.getloadavg()[0], 2)
                print(f"{group}, {size}x{size}, {label}: {', '.join(s.name for s in systems)} …", flush=True)
                steps = PPO_STEPS if group == "ppo" else STEPS[size]
                runs = measure_group(systems, pythons, size, steps, arguments.repeats)
                measured.append((size, group, runs, load, round(os.getloadavg()[0], 2)))
        # Once more at the end, so that a busy minute at the start cannot lower the limit.
        peak = better(peak, measure_peak(pythons["ours"]))
        results["peaks"][label] = peak
        for size, group, runs, before, after in measured:
            limit = necessary_flops(group, size)
            rows = {name: figures(run, limit, peak["peak"]) for name, run in runs.items()}
            ours = {name: row for name, row in rows.items() if name.startswith("infojax")}
            peers = {name: row for name, row in rows.items() if name not in ours}
            results["comparisons"].append(
                {
                    "group": group,
                    "size": size,
                    "cores": label,
                    "flops_per_update": limit,
                    "load_before": before,
                    "load_after": after,
                    "figures": rows,
                    "bars": judge(group, size, ours, peers) if peers else [],
                    "runs": runs,
                }
            )
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    table = markdown(results)
    (arguments.output / "results.md").write_text(table + "\n")
    print(table)


if __name__ == "__main__":
    main()
