"""Two real processes train one run together, are killed, and the run goes on in two processes and in one."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time

import pytest

# The data of one seed in two shards: one on each of two processes, or both on the device of one.
RUN = [
    *("agent=ppo", "objective=none", "env=probe/discrete_action", "mesh.data=2", "num_seeds=1", "progress=false"),
    *("agent.num_envs=4", "agent.unroll=2", "agent.epochs=1", "agent.minibatches=1", "agent.hidden_sizes=[4]"),
    *("total_steps=96", "log.every=8", "checkpoint.every=8", "evaluation.every=96", "evaluation.episodes=1"),
]


def start(folder, *words):
    # One device a process: what is here of virtual ones belongs to other tests.
    flags = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if "device_count" not in flag]
    return subprocess.Popen(
        [sys.executable, "-m", "infojax", "train", *RUN, f"run_dir={folder}", *words],
        env={**os.environ, "XLA_FLAGS": " ".join(flags), "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_two(folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together = [f"mesh.coordinator=127.0.0.1:{port}", "mesh.processes=2"]
    return [start(folder, *together, f"mesh.process={process}") for process in range(2)]


def finish(processes):
    """What they print."""
    told = []
    try:
        told = [process.communicate(timeout=900)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, text in zip(processes, told, strict=True):
        assert process.returncode == 0, text[-3000:]
    return told


def rows(folder):
    written = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if not name.startswith("time/")} for row in written]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of a run killed in the middle and finished by two processes, and that of its twin finished by one."""
    folder, twin = tmp_path_factory.mktemp("runs") / "two", tmp_path_factory.mktemp("runs") / "one"
    killed = start_two(folder)
    try:
        deadline = time.monotonic() + 900
        while not list(folder.glob("checkpoints/*/manifest.json")):
            assert all(process.poll() is None for process in killed), killed[0].communicate()[0][-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        for process in killed:
            process.kill()  # SIGKILL: jax's runtime keeps SIGTERM to itself
            process.communicate()
    shutil.copytree(folder, twin)
    return {"folder": folder, "twin": twin, "two": finish(start_two(folder)), "one": finish([start(twin)])}


def test_the_first_process_alone_tells_and_writes(runs):
    first, second = runs["two"]
    assert "numbers:" in first
    assert "numbers:" not in second
    summary = json.loads((runs["folder"] / "summary.json").read_text())
    assert summary["mesh"]["processes"] == 2
    assert summary["mesh"]["devices"] == {"seed": 1, "data": 2}
    assert json.loads((runs["folder"] / "status.json").read_text())["status"] == "done"


def test_a_killed_run_goes_on_in_two_processes_and_in_one(runs):
    two, one = rows(runs["folder"]), rows(runs["twin"])
    assert json.loads((runs["twin"] / "summary.json").read_text())["mesh"]["processes"] == 1
    assert [row["step"] for row in two] == [row["step"] for row in one] == list(range(8, 97, 8))
    for left, right in zip(two, one, strict=True):
        assert left.keys() == right.keys()
        assert {name: value for name, value in left.items() if value is not None} == pytest.approx(
            {name: value for name, value in right.items() if value is not None}, rel=1e-4, abs=1e-5
        )
