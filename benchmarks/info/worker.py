"""A live process of one system: prepares tasks and computes them once per order, in JSON lines.

    python benchmarks/info/worker.py peers.npeet

The module named on the command line has `PACKAGES` (whose versions are told) and `TASKS` (name to a function of the
case's data that returns a function of nothing, which computes once and waits for the result).
"""

import importlib
import importlib.metadata
import json
import os
import re
import resource
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cases

TURN = 0.1  # seconds that a turn of a short task is filled up to
LONG = 5.0  # seconds of a first call beyond which no second untimed one is made


def version(package: str) -> str:
    """Of an installed package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def peak_mib() -> float:
    """Peak resident memory of this process; VmHWM, for ru_maxrss starts with what the parent process had."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    peaks = [int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")]
    return peaks[0] if peaks else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def reason(error: Exception) -> str:
    """A failure in one line, without the paths of this machine."""
    return re.sub(r" \(/[^)]*\)", "", f"{type(error).__name__}: {error}").splitlines()[0]


def timed(call: Callable[[], Any], calls: int) -> tuple[float, float, Any]:
    """Wall and CPU seconds (all threads) of a call, as a mean over consecutive ones, and the last result."""
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(calls):
        result = call()
    return (time.perf_counter() - wall) / calls, (time.process_time() - cpu) / calls, result


class Worker:
    """What has been prepared and is waiting for its turns."""

    def __init__(self, module: str) -> None:
        self.module = importlib.import_module(module)
        self.calls: dict[str, tuple[Callable[[], Any], int]] = {}
        self.data: tuple[Any, Any] = (None, None)

    def prepare(self, case: str, task: str, small: bool) -> dict[str, Any]:
        """Make the data, build the call and make it untimed; tells the first call and the numbers to compare."""
        if task not in self.module.TASKS:
            raise KeyError(f"{self.module.__name__} has no task {task}")
        if self.data[0] != (case, small):
            self.data = ((case, small), cases.CASES[case].data(small))
        begin = time.perf_counter()
        call = self.module.TASKS[task](self.data[1])
        result = call()
        first = time.perf_counter() - begin
        again = timed(call, 1)[0] if first < LONG else first
        self.calls[task] = (call, max(1, min(100, int(TURN / max(again, 1e-6)))))
        return {"first_call_seconds": first, "digest": cases.digest(result), "calls": self.calls[task][1]}

    def run(self, task: str) -> dict[str, Any]:
        """One turn."""
        wall, cpu, result = timed(*self.calls[task])
        return {
            "wall_seconds": wall,
            "cpu_seconds": cpu,
            "value": cases.headline(result),
            "peak_mib": peak_mib(),
            "load": os.getloadavg()[0],
        }

    def release(self) -> dict[str, Any]:
        """Let go of a case's memory."""
        self.calls, self.data = {}, (None, None)
        return {}

    def answer(self, order: dict[str, Any]) -> dict[str, Any]:
        """Obey; a failure is told and concerns this order only."""
        try:
            return getattr(self, order.pop("do"))(**order)
        except Exception as error:
            traceback.print_exc()
            return {"error": reason(error)}


def main() -> None:
    try:
        worker = Worker(sys.argv[1])
        packages = (*worker.module.PACKAGES, "numpy")
        print(json.dumps({"versions": {name: version(name) for name in packages}}), flush=True)
    except Exception as error:
        print(json.dumps({"error": reason(error)}), flush=True)
        return
    for line in sys.stdin:
        print(json.dumps(worker.answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
