"""Sweeps for real, with jobs that fail and processes that are killed: `make sweep-joblib` and its like.

    python tests/lanes/sweeps.py joblib|optuna|submitit|ray

Each lane runs one command twice. The first time a job is made to fail and something is killed in the middle; the second
time, with the cause of the failure gone, the same command must run what is left and nothing else.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
# Samples whose strength of dependence is swept. What begins is written down; strength 5 fails while `broken` is there.
WORLD = """
import json, os, sys, time
from pathlib import Path
import numpy as np
from infojax.types import Pairs

def make(*, strength: float, seconds: float, folder: str) -> Pairs:
    node = os.environ.get("LANE_NODE", "")
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        node = sys.modules["ray"].util.get_node_ip_address()
    with open(Path(folder) / "began.jsonl", "a") as file:
        file.write(json.dumps({"strength": strength, "pid": os.getpid(), "node": node}) + "\\n")
    if 5 <= strength < 6 and (Path(folder) / "broken").exists():
        raise RuntimeError("made to fail")
    time.sleep(seconds)
    def sample(seed, num_samples):
        x, noise = np.random.default_rng(seed).normal(size=(2, num_samples, 1))
        return x, strength * x + noise
    return Pairs(f"strength {strength}", 1, 1, 0.5 * float(np.log1p(strength**2)), None, sample)
"""
WORDS = ("estimator=gaussian", "data=lane", "num_samples=100", "progress=false", "cpu_threads=1")


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    text: str


class Lane(NamedTuple):
    """A folder for one sweep, and its command."""

    folder: Path
    command: list[str]
    environment: dict[str, str]


def lane(folder: Path, words: Sequence[str], seconds: float = 0.0) -> Lane:
    """Write the samples and their configuration; one job is made to fail as long as `broken` is there."""
    (folder / "configs" / "data").mkdir(parents=True)
    (folder / "lane_world.py").write_text(WORLD)
    (folder / "broken").touch()
    text = f"_target_: lane_world.make\nstrength: 1.0\nseconds: {seconds}\nfolder: {folder}\n"
    (folder / "configs" / "data" / "lane.yaml").write_text(text)
    environment = dict(os.environ) | {
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(Path.home() / ".cache" / "infojax" / "lanes"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.02",
        "NPROC": "1",
        "PYTHONUNBUFFERED": "1",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    }
    command = [sys.executable, "-m", "infojax", "estimate", "-m", "--config-dir", str(folder / "configs")]
    return Lane(folder, [*command, *WORDS, *words], environment)


def begin(lane: Lane) -> subprocess.Popen[str]:
    """The command, in a process group of its own."""
    return subprocess.Popen(
        lane.command,
        cwd=lane.folder,
        env=lane.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], seconds: float = 900) -> Ended:
    """Wait for a command."""
    text, _ = process.communicate(timeout=seconds)
    return Ended(process.returncode, text)


def began(lane: Lane) -> list[dict]:
    """What began, in order: strength, pid and node."""
    path = lane.folder / "began.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def jobs(lane: Lane) -> list[dict]:
    """What the sweep knows of its jobs, by number."""
    found = []
    for path in lane.folder.glob("runs/sweeps/*/jobs/*.json"):
        found.append(json.loads(path.read_text()))
    return sorted(found, key=lambda job: job["number"])


def statuses(lane: Lane) -> dict[float, str]:
    """strength -> status of the run's own directory."""
    found = {}
    for path in lane.folder.glob("runs/gaussian-*/status.json"):
        known = [job for job in jobs(lane) if job["run_dir"] and Path(job["run_dir"]).name == path.parent.name]
        for job in known:
            strength = next(word for word in job["words"] if word.startswith("data.strength=")).partition("=")[2]
            found[float(strength)] = json.loads(path.read_text())["status"]
    return dict(sorted(found.items()))


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 600) -> None:
    """Until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.1)


def told(text: str) -> str:
    """The lines that the command itself said at the end."""
    return "\n".join(f"    {line}" for line in text.splitlines() if line.startswith("infojax: "))


def done_by(lane: Lane) -> int:
    """How many jobs are done so far."""
    return sum(job["status"] == "done" for job in jobs(lane))


def check_first(lane: Lane, ended: Ended, strengths: Sequence[float]) -> None:
    """All jobs ended; the one that was made to fail is named, with its reason, and the exit code says so."""
    print(f"  exit code {ended.code}\n{told(ended.text)}\n    {statuses(lane)}")
    assert ended.code == 1, ended.text
    assert f"{len(strengths) - 1} of {len(strengths)} jobs are done, 1 failed" in ended.text, ended.text
    assert "data.strength=5" in told(ended.text) and "RuntimeError: made to fail" in told(ended.text), ended.text
    assert statuses(lane) == {strength: "failed" if strength == 5 else "done" for strength in strengths}


def check_again(lane: Lane, strengths: Sequence[float], before: int) -> None:
    """With the cause gone the same command runs what failed, and that alone."""
    (lane.folder / "broken").unlink()
    summaries = {path: path.stat().st_mtime_ns for path in lane.folder.glob("runs/*/summary.json")}
    ended = finish(begin(lane))
    again = [entry["strength"] for entry in began(lane)[before:]]
    written = [
        path for path in lane.folder.glob("runs/*/summary.json") if summaries.get(path) != path.stat().st_mtime_ns
    ]
    print(f"  the same command again: exit code {ended.code}, {len(written)} new summary, {statuses(lane)}")
    assert ended.code == 0, ended.text
    assert statuses(lane) == dict.fromkeys(strengths, "done")
    assert len(written) == 1 and len(summaries) == len(strengths) - 1
    assert 5 in again, again


# --- lanes -------------------------------------------------------------------------------------------------------


def joblib(folder: Path, count: int = 8) -> None:
    """Two processes side by side; one of them is killed in the middle, as by a machine out of memory."""
    strengths = [float(index) for index in range(count)] if count > 5 else [1.0, 5.0]
    swept = "data.strength=" + ",".join(map(str, strengths))
    sweep = lane(folder, [swept, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"], seconds=1.0 if count > 5 else 0.0)
    print(f"joblib: {len(strengths)} jobs, 2 at a time; strength 5 is made to fail")
    process = begin(sweep)
    if count > 5:
        wait_for(lambda: done_by(sweep) >= 2, "two jobs")
        held = [job for job in jobs(sweep) if job["status"] == "running"]
        wait_for(lambda: any(job["status"] == "running" for job in jobs(sweep)), "a running job")
        victim = began(sweep)[-1]
        os.kill(victim["pid"], signal.SIGKILL)
        print(f"  killed process {victim['pid']} at strength {victim['strength']} ({len(held)} in hand, 2 done)")
    ended = finish(process)
    if count > 5:
        assert "the launcher broke down (TerminatedWorkerError" in ended.text, ended.text
    check_first(sweep, ended, strengths)
    assert len({entry["pid"] for entry in began(sweep)}) >= 2, "one process did it all"
    if count > 5:
        check_again(sweep, strengths, len(began(sweep)))


def submitit(folder: Path) -> None:
    """Each job a process; the command itself is killed, its jobs go on, and the same command waits for them."""
    strengths = [1.0, 2.0, 3.0, 5.0]
    swept = "data.strength=" + ",".join(map(str, strengths))
    sweep = lane(folder, [swept, "hydra/launcher=submitit_local"], seconds=20.0)
    print(f"submitit: {len(strengths)} jobs, each its own process; strength 5 is made to fail; the command is killed")
    process = begin(sweep)
    wait_for(lambda: len(began(sweep)) == len(strengths), "all jobs to begin")
    process.kill()
    process.wait()
    pids = {entry["pid"] for entry in began(sweep)}
    alive = [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    print(f"  killed the command; {len(alive)} of its {len(pids)} jobs go on, {statuses(sweep)}")
    assert len(pids) == len(strengths) and len(alive) >= 3
    ended = finish(begin(sweep))
    check_first(sweep, ended, strengths)
    trained = [path.parent for path in sweep.folder.glob("runs/*/summary.json")]
    for run_dir in trained:  # one line of numbers for the one seed: nobody ran it twice
        assert len((run_dir / "metrics.jsonl").read_text().splitlines()) == 1
    check_again(sweep, strengths, len(began(sweep)))


def optuna(folder: Path, count: int = 6) -> None:
    """A search whose command is killed in a trial; the same command repeats that trial and ends the study."""
    import sqlite3

    words = ["hydra/sweeper=optuna", f"hydra.sweeper.n_trials={count}", "data.strength=interval(0,8)"]
    sweep = lane(folder, [*words, "sweep.metric=value"], seconds=1.0)
    (folder / "broken").unlink()
    print(f"Optuna: {count} trials in a study in sqlite; the command is killed in the {count // 2 + 1}th")
    process = begin(sweep)
    wait_for(lambda: len(began(sweep)) == count // 2 + 1, "the trial to be killed in")
    process.kill()
    process.wait()
    cut = began(sweep)[-1]["strength"]
    (database,) = folder.glob("runs/sweeps/*/study.db")

    def trials() -> list[tuple]:
        query = (
            "select t.number, t.state, p.param_value, v.value from trials t "
            "left join trial_params p on p.trial_id = t.trial_id left join trial_values v on v.trial_id = t.trial_id"
        )
        with sqlite3.connect(database) as connection:
            return connection.execute(query).fetchall()

    print(f"  killed at strength {cut:.4f}: {[(number, state) for number, state, _, _ in trials()]}")
    assert [state for _, state, _, _ in trials()] == ["COMPLETE"] * (count // 2) + ["RUNNING"]
    ended = finish(begin(sweep))
    print("\n".join(f"    {number} {state:<9} strength {x:.4f} value {v}" for number, state, x, v in trials()))
    assert ended.code == 0, ended.text
    states = [state for _, state, _, _ in trials()]
    assert states.count("COMPLETE") == count and states.count("FAIL") == 1 and len(states) == count + 1
    repeated = [number for number, state, x, _ in trials() if state == "COMPLETE" and abs(x - cut) < 1e-9]
    assert repeated == [count // 2 + 1], "the trial that was cut off comes first"
    best = max((v, x) for _, state, x, v in trials() if state == "COMPLETE")
    assert f"Best value: {best[0]}" in ended.text, ended.text
    third = finish(begin(sweep))
    assert third.code == 0 and len(trials()) == count + 1, "a study that is complete asks for nothing"
    print(
        f"  best of {count}: {best[0]:.4f} nats at strength {best[1]:.4f}; given once more, the command runs no trial"
    )
    (folder / "broken").touch()
    more = finish(begin(sweep._replace(command=[*sweep.command, f"hydra.sweeper.n_trials={count + 2}"])))
    failed = [number for number, state, x, _ in trials() if state == "FAIL" and number > count]
    print(f"  n_trials={count + 2}: exit code {more.code}, trials {len(trials())}, of the new ones failed: {failed}")
    assert len(trials()) == count + 3 and more.code == (1 if failed else 0), more.text


def ray(folder: Path) -> None:
    """Two nodes of a real cluster on loopback addresses; one of them is killed in the middle."""
    strengths = [float(index) for index in range(8)]
    swept = "data.strength=" + ",".join(map(str, strengths))
    words = [swept, "hydra/launcher=ray_cluster", "hydra.launcher.ray.init.address=127.0.0.2:6399"]
    sweep = lane(folder, words, seconds=3.0)
    program = str(Path(sys.executable).parent / "ray")
    temporary = tempfile.mkdtemp(prefix="r", dir="/tmp")  # short: Ray makes sockets in it
    common = [program, "start", "--num-cpus=1", "--object-store-memory=100000000", "--disable-usage-stats", "--block"]
    # Known ports: two nodes on one machine would else try the same ones.
    names = (
        "dashboard-agent-grpc-port",
        "dashboard-agent-listen-port",
        "metrics-export-port",
        "runtime-env-agent-port",
    )
    ports = [[f"--{name}={base + index}" for index, name in enumerate(names)] for base in (6410, 6420)]
    head = [*common, *ports[0], "--head", "--node-ip-address=127.0.0.2", "--port=6399", f"--temp-dir={temporary}"]
    head += ["--include-dashboard=false", '--resources={"TPU": 4}']
    second = [*common, *ports[1], "--address=127.0.0.2:6399", "--node-ip-address=127.0.0.3"]

    def node(command: list[str], name: str) -> None:
        """Start a node; again where a busy machine took longer than the 30 s that Ray gives it."""
        for _ in range(5):
            with open(folder / f"{name}.log", "wb") as log:
                started = subprocess.Popen(
                    command, stdout=log, stderr=log, env=sweep.environment, cwd=folder, start_new_session=True
                )
            nodes[name] = started
            log_of = (folder / f"{name}.log").read_text
            wait_for(lambda: "Ray runtime started" in log_of() or started.poll() is not None, f"node {name}")  # noqa: B023
            if started.poll() is None:
                return
            with contextlib.suppress(ProcessLookupError):  # what it has left behind
                os.killpg(started.pid, signal.SIGKILL)
        raise AssertionError((folder / f"{name}.log").read_text())

    nodes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        node(head, "127.0.0.2")
        node(second, "127.0.0.3")
        print("Ray: 8 jobs on two nodes, 127.0.0.2 and 127.0.0.3, one core each; strength 5 is made to fail")
        process = begin(sweep)

        def ready() -> bool:
            running = {float(job["words"][5].partition("=")[2]) for job in jobs(sweep) if job["status"] == "running"}
            there = [entry for entry in began(sweep) if entry["node"] == "127.0.0.3" and entry["strength"] in running]
            return done_by(sweep) >= 2 and bool(there)

        wait_for(ready, "two jobs done and one at work on the second node")
        places = {entry["strength"]: entry["node"] for entry in began(sweep)}
        caught = began(sweep)
        os.killpg(nodes["127.0.0.3"].pid, signal.SIGKILL)
        lost = next(entry for entry in reversed(caught) if entry["node"] == "127.0.0.3")
        print(f"  jobs by node so far: {places}")
        print(f"  killed node 127.0.0.3 while it had strength {lost['strength']} in hand; {done_by(sweep)} done")
        assert set(places.values()) == {"127.0.0.2", "127.0.0.3"}, "one node did it all"
        ended = finish(process)
        moved = [entry["node"] for entry in began(sweep) if entry["strength"] == lost["strength"]]
        print(f"  strength {lost['strength']} began on {' and again on '.join(moved)}")
        check_first(sweep, ended, strengths)
        assert moved[0] == "127.0.0.3" and moved[-1] == "127.0.0.2"
        check_again(sweep, strengths, len(began(sweep)))
        # The YAML for TPUs, on a node that says that it has four chips.
        (folder / "tpu").mkdir()
        address = "hydra.launcher.ray.init.address=127.0.0.2:6399"
        tpu = lane(folder / "tpu", ["data.strength=1,2", "hydra/launcher=ray_tpu", address])
        ended = finish(begin(tpu))
        print(f"  hydra/launcher=ray_tpu on a node that offers TPU: 4: exit code {ended.code}, {statuses(tpu)}")
        assert ended.code == 0 and statuses(tpu) == {1.0: "done", 2.0: "done"}, ended.text
    finally:
        for started in nodes.values():
            if started.poll() is None:
                os.killpg(started.pid, signal.SIGKILL)
            started.wait()
        shutil.rmtree(temporary, ignore_errors=True)


LANES = {"joblib": joblib, "optuna": optuna, "submitit": submitit, "ray": ray}


def main() -> None:
    """Run the lane that is named."""
    (name,) = sys.argv[1:]
    sys.stdout.reconfigure(line_buffering=True)
    before = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lane-", ignore_cleanup_errors=True) as folder:
        LANES[name](Path(folder))
    print(f"{name}: passed in {time.monotonic() - before:.0f} s")


if __name__ == "__main__":
    main()
