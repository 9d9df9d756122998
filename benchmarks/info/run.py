"""The driver: lets ours and the peers take turns, each in its own process, and writes results.json and results.md.

    python benchmarks/info/run.py --ours OUR/bin/python --peers PEERS/bin/python --bmi BMI/bin/python

Needs numpy only. See README.md for what is compared and how fair it is.
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
from typing import Any

import cases
import numpy as np
from primitives import size_of

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))
from machine import processor  # noqa: E402  the folder above is on the path now

SAME = 1e-3  # largest error of a peer that still computes the same
BARS = {
    "faster": "at least {wanted:g} times as fast as {peers}",
    "slower": "at most {wanted:g} times the time of {peers}",
    "value": "value within {wanted:g} of {peers}",
    "error": "error at most {wanted:g}",
    "memory": "peak memory at most {wanted:g} MiB",
}


def clean_environment(is_ours: bool) -> dict[str, str]:
    """The environment without a persistent compilation cache and flags; a peer does not see our PYTHONPATH either."""
    dropped = {"JAX_COMPILATION_CACHE_DIR", "XLA_FLAGS"} | (set() if is_ours else {"PYTHONPATH"})
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return kept | {"JAX_ENABLE_COMPILATION_CACHE": "false", "JAX_PLATFORMS": "cpu", "PYTHONWARNINGS": "ignore"}


class Process:
    """A live worker, started when it is first asked; once it has ended, it answers with an error."""

    def __init__(self, worker: str, pythons: dict[str, str]) -> None:
        key = worker if worker in ("ours", "bmi") else "peers"
        self.log: list[str] = []
        self.process: subprocess.Popen[str] | None = None
        self.hello: dict[str, Any] = {"error": f"no Python given by --{key}"}
        if key in pythons:
            self.process = subprocess.Popen(
                [pythons[key], "worker.py", worker if key == "ours" else f"peers.{worker}"],
                cwd=HERE,
                env=clean_environment(key == "ours"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            self.hello = self.read()

    def read(self) -> dict[str, Any]:
        """The next JSON line; what libraries print in between is kept for the error message."""
        assert self.process is not None
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
            self.log.append(line)
        return {"error": f"the worker ended with code {self.process.wait()}: {''.join(self.log[-1:]).strip()}"}

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        """Send an order and wait for the answer."""
        if "error" in self.hello:
            return self.hello
        assert self.process is not None
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"do": do} | order) + "\n")
            self.process.stdin.flush()
            return self.read()
        except OSError:
            return {"error": f"the worker has ended with code {self.process.wait()}"}

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self.process is not None and self.process.poll() is None

    def close(self) -> None:
        """End it."""
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
            self.process.wait()


class Pool:
    """The live processes by worker; one that died is started afresh for the next case."""

    def __init__(self, pythons: dict[str, str]) -> None:
        self.pythons = pythons
        self.processes: dict[str, Process] = {}

    def get(self, worker: str) -> Process:
        """The process of a worker."""
        if worker not in self.processes or not self.processes[worker].alive:
            self.processes[worker] = Process(worker, self.pythons)
        return self.processes[worker]

    def release(self) -> None:
        """Let all go of their memory."""
        for process in self.processes.values():
            if process.alive:
                process.ask("release")

    def close(self) -> None:
        """End all."""
        for process in self.processes.values():
            process.close()
        self.processes.clear()


def relative_error(found: list[float], reference: list[float]) -> float:
    """Largest difference, relative where the reference is above 1."""
    if len(found) != len(reference):
        return float("inf")
    difference = np.abs(np.subtract(found, reference))
    return float(np.nan_to_num(difference / np.maximum(1, np.abs(reference)), nan=np.inf).max())


def measure(name: str, pool: Pool, repeats: int, small: bool) -> list[dict[str, Any]]:
    """Preparations one after the other, then the turns: A B C, A B C, …; one row per entry."""
    case = cases.CASES[name]
    # The reference comes first and while nothing else computes.
    reference = case.reference(case.data(small)) if case.reference else None
    rows, processes = [], []
    for entry in case.entries:
        if case.fresh:
            pool.close()
        process = pool.get(entry.worker)
        row: dict[str, Any] = {"system": entry.label, "versions": process.hello.get("versions", {}), "turns": []}
        row |= process.ask("prepare", case=name, task=entry.task, small=small)
        found = row.pop("digest", None)
        if reference is not None and found is not None:
            row["error_against_reference"] = relative_error(found, reference)
        if case.fresh:
            take_turn(process, entry, row)
        rows.append(row)
        processes.append(process)
    for repeat in range(0 if case.fresh else repeats):
        for entry, row, process in zip(case.entries, rows, processes, strict=True):
            if repeat < (entry.repeats or repeats):
                take_turn(process, entry, row)
    pool.release()
    return [row | figures(row["turns"]) for row in rows]


def take_turn(process: Process, entry: cases.Entry, row: dict[str, Any]) -> None:
    """One turn of an entry that has not failed."""
    if "error" not in row:
        answer = process.ask("run", task=entry.task)
        if "error" in answer:
            row["error"] = answer["error"]
        else:
            row["turns"].append(answer)


def figures(turns: list[dict[str, Any]]) -> dict[str, float]:
    """What the table shows of an entry."""
    if not turns:
        return {}
    return {
        "milliseconds": 1e3 * statistics.median(turn["wall_seconds"] for turn in turns),
        "best_milliseconds": 1e3 * min(turn["wall_seconds"] for turn in turns),
        "cpu_milliseconds": 1e3 * statistics.median(turn["cpu_seconds"] for turn in turns),
        "value": statistics.median(turn["value"] for turn in turns),
        "peak_mib": max(turn["peak_mib"] for turn in turns),
    }


def bar_values(bar: cases.Bar, rows: dict[str, dict[str, Any]]) -> list[float]:
    """The measured value against every peer of the bar; none where ours or one of them was not measured."""
    ours = rows[bar.ours]
    if any("value" not in rows[label] for label in (bar.ours, *bar.peers)):
        return []
    if bar.kind in ("error", "memory"):
        return [ours["error_against_reference" if bar.kind == "error" else "peak_mib"]]
    peers = [rows[peer] for peer in bar.peers]
    if bar.kind == "faster":
        return [peer["milliseconds"] / ours["milliseconds"] for peer in peers]
    if bar.kind == "slower":
        return [ours["milliseconds"] / peer["milliseconds"] for peer in peers]
    return [abs(ours["value"] - peer["value"]) for peer in peers]


def judge(name: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every bar of a case with its worst value; `met` is None where nothing was measured."""
    by_label = {row["system"]: row for row in rows}
    judged = []
    for bar in cases.CASES[name].bars:
        values = bar_values(bar, by_label)
        at_least = bar.kind == "faster"
        worst = (min(values) if at_least else max(values)) if values else None
        met = None if worst is None else bool(worst >= bar.wanted if at_least else worst <= bar.wanted)
        text = BARS[bar.kind].format(wanted=bar.wanted, peers=", ".join(bar.peers))
        judged.append({"bar": text, "system": bar.ours, "value": worst, "wanted": bar.wanted, "met": met})
    return judged


def versions(row: dict[str, Any]) -> str:
    """The package itself first, then the engine below it."""
    return ", ".join(f"{name} {version}" for name, version in list(row["versions"].items())[:2])


def table_row(row: dict[str, Any], ours: dict[str, Any], with_memory: bool) -> str:
    """One line of a case's table."""
    if "value" not in row:
        reason = row.get("error", "not run").replace("|", "/").replace("\n", " ")[:160]
        return f"| {row['system']} | {versions(row)} | not measured: {reason} |"
    ratio = f"{row['milliseconds'] / ours['milliseconds']:.3g}" if "value" in ours else "–"
    error = f"{row['error_against_reference']:.1e}" if "error_against_reference" in row else "–"
    memory = f" {row['peak_mib']:.0f} |" if with_memory else ""
    return (
        f"| {row['system']} | {versions(row)} | {row['milliseconds']:.4g} | {row['cpu_milliseconds']:.4g} | {ratio} "
        f"| {row['first_call_seconds']:.2f} | {row['value']:.5g} | {error} |{memory}"
    )


def case_lines(name: str, result: dict[str, Any]) -> list[str]:
    """A case's heading, table and bars."""
    case, rows = cases.CASES[name], result["rows"]
    truth = f" Truth of the distribution {case.truth:.5g}." if case.truth is not None else ""
    memory = (" peak MiB |", "---|") if case.fresh else ("", "")
    lines = [
        f"### {case.title}",
        "",
        f"`{name}`, {result['date']}.{truth} Load before {result['load_before']}, after {result['load_after']}.",
        "",
        f"| system | version | ms | CPU-ms | time over ours | first call, s | value | error |{memory[0]}",
        f"|---|---|---|---|---|---|---|---|{memory[1]}",
        *(table_row(row, rows[0], case.fresh) for row in rows),
        "",
    ]
    if result["bars"]:
        lines += ["| bar | system | value | |", "|---|---|---|---|"]
    for bar in result["bars"]:
        verdict = {True: "met", False: "missed", None: "not measured"}[bar["met"]]
        value = "–" if bar["value"] is None else f"{bar['value']:.3g}"
        lines.append(f"| {bar['bar']} | {bar['system']} | {value} | {verdict} |")
    return [*lines, ""]


def primitive_row(name: str, result: dict[str, Any]) -> str:
    """Ours beside the fastest peer that computes the same."""
    ours, *peers = result["rows"]
    function, size = name.partition(".")[2], result["size"]
    if "value" not in ours:
        return f"| `{function}` | {size} | not measured: {ours.get('error', 'not run')[:100]} |"
    start = f"| `{function}` | {size} | {ours['milliseconds']:.3g} | {ours['error_against_reference']:.1e} |"
    measured = [peer for peer in peers if "value" in peer]
    if not measured:
        return f"{start} not measured |"
    same = [peer for peer in measured if peer["error_against_reference"] <= SAME]
    best = min(same or measured, key=lambda peer: peer["milliseconds"])
    ratio = best["milliseconds"] / ours["milliseconds"]
    others = ", ".join(f"{peer['system']} {peer['milliseconds']:.3g}" for peer in measured if peer is not best)
    failed = "".join(f" {peer['system']} failed." for peer in peers if "value" not in peer)
    return (
        f"{start} {best['system']} | {best['milliseconds']:.3g} | {best['error_against_reference']:.1e} | {ratio:.3g} "
        f"| {others or '–'}{failed} |"
    )


def primitive_lines(measured: dict[str, Any]) -> list[str]:
    """One table per module."""
    names = [name for name, case in cases.CASES.items() if case.in_table and name in measured]
    lines = []
    for module in dict.fromkeys(name.partition(".")[0] for name in names):
        rows = [name for name in names if name.startswith(f"{module}.")]
        loads = [measured[name]["load_before"] for name in rows]
        lines += [
            f"### The other primitives of `{module}`",
            "",
            f"{measured[rows[0]]['date']}. Load from {min(loads)} to {max(loads)}.",
            "",
            "| primitive | size | ours, ms | error | fastest peer | ms | its error | time over ours | others, ms |",
            "|---|---|---|---|---|---|---|---|---|",
            *(primitive_row(name, measured[name]) for name in rows),
            "",
        ]
    return lines


def markdown(results: dict[str, Any]) -> str:
    """All tables."""
    lines = [
        "Measured on {processor}, {cores} cores, no GPU.".format(**results["machine"]),
        "Medians over the repeats, in turn with the others; compilation is in the first call only. Values in nats; the",
        "error is the largest against the formula in float64, relative where the reference is above 1.",
        "",
    ]
    for name, case in cases.CASES.items():
        if name in results["cases"] and not case.in_table:
            lines += case_lines(name, results["cases"][name])
    lines += primitive_lines(results["cases"])
    return "\n".join(lines)


def earlier(output: Path | None, machine: dict[str, Any]) -> dict[str, Any]:
    """Cases measured before on the same machine: `--cases` replaces only its own."""
    path = output / "results.json" if output else None
    found = json.loads(path.read_text()) if path and path.exists() else {}
    return found["cases"] if found.get("machine") == machine else {}


def chosen(names: list[str]) -> list[str]:
    """The cases of the command line."""
    primitives = [name for name, case in cases.CASES.items() if case.in_table]
    return list(dict.fromkeys(one for name in names for one in (primitives if name == "primitives" else [name])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", default=sys.executable, help="Python with infojax")
    parser.add_argument("--peers", help="Python with requirements-peers.txt")
    parser.add_argument("--bmi", help="Python with requirements-bmi.txt")
    every, known = list(cases.CASES), ("primitives", *cases.CASES)
    help_cases = "which to measure; `primitives` are all that share tables"
    parser.add_argument("--cases", nargs="+", choices=known, default=every, metavar="CASE", help=help_cases)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="tiny sizes, to see that all works; not for the record")
    parser.add_argument("--output", type=Path, help="folder for the results; this one, or none with --small")
    arguments = parser.parse_args()
    given = {"ours": arguments.ours, "peers": arguments.peers, "bmi": arguments.bmi}
    # Made absolute, for the workers run in this folder; not resolved, for a link is what makes a virtual environment.
    pythons = {name: os.path.abspath(path) for name, path in given.items() if path}
    output = arguments.output or (None if arguments.small else HERE)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    machine = {"processor": processor(), "cores": cores, "python": platform.python_version(), "small": arguments.small}
    results: dict[str, Any] = {"machine": machine, "cases": earlier(output, machine)}
    pool = Pool(pythons)
    for name in chosen(arguments.cases):
        load = round(os.getloadavg()[0], 2)
        print(f"{name} …", flush=True)
        rows = measure(name, pool, arguments.repeats, arguments.small)
        results["cases"][name] = {
            "date": time.strftime("%Y-%m-%d"),
            "load_before": load,
            "load_after": round(os.getloadavg()[0], 2),
            "size": size_of(cases.CASES[name].data(arguments.small)),
            "rows": rows,
            "bars": judge(name, rows),
        }
        if output:  # after every case, so that an ended run leaves what it had
            output.mkdir(parents=True, exist_ok=True)
            (output / "results.json").write_text(json.dumps(results, indent=1) + "\n")
            (output / "results.md").write_text(markdown(results) + "\n")
    pool.close()
    print(markdown(results))


if __name__ == "__main__":
    main()
