"""Runs end to end: what a run directory holds, resuming, damaged and foreign checkpoints, being killed."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import infojax.run
from infojax.run import config as configuration
from infojax.run import training
from infojax.types import UserError

TINY = {
    "total_steps": 320,
    "log.every": 80,
    "evaluation.every": 160,
    "checkpoint.every": 80,
    "progress": False,
    "agent.batch_size": 8,
    "agent.hidden_sizes": [8],
    "objective.hidden_sizes": [8],
    "env.episode_length": 10,
}


def tiny(run_dir, env="maze/open", **more):
    words = [f"{key}={configuration.word(value)}" for key, value in {**TINY, **more, "run_dir": str(run_dir)}.items()]
    return configuration.compose(["experiment=smoke", f"env={env}", *words])


def rows_of(run_dir):
    rows = [json.loads(line) for line in (Path(run_dir) / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if not name.startswith("time/")} for row in rows]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One finished run of two seeds, shared by the tests that only read it."""
    run_dir = tmp_path_factory.mktemp("runs") / "finished"
    training.train_from_config(tiny(run_dir, num_seeds=2))
    return run_dir


def test_a_run_directory_holds_what_was_promised(finished):
    assert json.loads((finished / "status.json").read_text())["status"] == "done"
    rows = rows_of(finished)
    assert [(row["step"], row["seed"]) for row in rows] == [(s, seed) for s in (80, 160, 240, 320) for seed in (0, 1)]
    summary = json.loads((finished / "summary.json").read_text())
    found = summary["metrics"]["evaluation/stochastic/mutual_information"]
    assert found["per_seed"] == [row["evaluation/stochastic/mutual_information"] for row in rows[-2:]]
    assert found["low"] <= found["mean"] <= found["high"]
    assert found["mean"] == pytest.approx(np.mean(found["per_seed"]))
    assert summary["versions"]["jax"] == jax.__version__
    assert configuration.read(finished / "config.yaml")["objective"]["num_skills"] == 4
    assert len(list((finished / "figures").glob("*.png"))) >= 3
    kept = sorted(int(path.name) for path in (finished / "checkpoints").iterdir() if path.name.isdigit())
    assert kept[-3:] == [2, 3, 4]


def test_the_same_command_shows_a_finished_run_and_overwrite_starts_afresh(finished, capsys, tmp_path):
    before = (finished / "metrics.jsonl").stat().st_mtime_ns
    summary = training.train_from_config(tiny(finished, num_seeds=2))
    assert (finished / "metrics.jsonl").stat().st_mtime_ns == before
    assert "mutual information" in capsys.readouterr().out
    assert summary == json.loads((finished / "summary.json").read_text())


def test_load_gives_agent_state_and_config(finished):
    run = training.load(finished)
    assert run.config["agent"]["batch_size"] == 8
    assert run.state.steps.tolist() == [320, 320]
    one = jax.tree.map(lambda leaf: leaf[1], run.state)
    carry = run.agent.begin(one, jax.random.key(0))
    assert carry.context.sum() == 1


def test_another_configuration_is_refused_in_the_same_directory(finished):
    with pytest.raises(UserError, match=r"agent\.discount"):
        training.train_from_config(tiny(finished, num_seeds=2, **{"agent.discount": 0.5}))


@pytest.mark.parametrize("env", ["maze/open", "gymnasium/Pendulum-v1"])
def test_an_interrupted_run_goes_on_as_if_nothing_had_been(env, tmp_path, power_cut):
    """Stopped in the middle of the third chunk; the last checkpoint then damaged, so that it falls back once more."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    training.train_from_config(tiny(whole, env))
    with power_cut(3), pytest.raises(RuntimeError, match="power cut"):
        training.train_from_config(tiny(broken, env))
    assert json.loads((broken / "status.json").read_text())["status"] == "failed"
    newest = max((broken / "checkpoints").glob("[0-9]*"), key=lambda path: int(path.name))
    victim = max((path for path in newest.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    victim.write_bytes(victim.read_bytes()[:-7])
    training.resume(broken)
    assert rows_of(broken) == rows_of(whole)
    one, other = training.load(whole).state, training.load(broken).state
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_a_damaged_checkpoint_is_named(finished, capsys, tmp_path):
    from infojax.run.checkpoint import checkpoints

    state = {"a": jax.numpy.arange(5)}
    store = checkpoints(tmp_path / "checkpoints", keep=3)
    for chunk in (1, 2):
        store.save(chunk, jax.tree.map(lambda leaf, c=chunk: leaf * c, state), [b"host"], {"n": chunk}, 0.0)
    for path in (tmp_path / "checkpoints" / "2").rglob("*"):
        if path.is_file() and path.name != "manifest.json":
            path.write_bytes(b"")
    restored = store.restore(state)
    assert restored is not None
    assert (restored.chunk, restored.host, restored.record) == (1, [b"host"], {"n": 1})
    assert "checkpoint 2" in capsys.readouterr().out
    with pytest.raises(UserError, match="another agent"):
        store.restore({"a": jax.numpy.arange(6)})
    store.close()


def test_sigterm_saves_and_exits_cleanly(tmp_path):
    words = [f"{key}={configuration.word(value)}" for key, value in {**TINY, "total_steps": 400_000}.items()]
    command = [sys.executable, "-m", "infojax", "train", "experiment=smoke", *words, f"run_dir={tmp_path / 'run'}"]
    process = subprocess.Popen([*command, "checkpoint.every=400000"], env={**os.environ, "JAX_PLATFORMS": "cpu"})
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 200
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=100) == 0
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert "SIGTERM" in status["reason"]
    assert len(list((tmp_path / "run" / "checkpoints").glob("[0-9]*"))) == 1


@pytest.mark.slow
def test_killed_twice_and_still_the_same(tmp_path):
    """The short version of experiments/kill_test."""
    path = Path(__file__).parents[1] / "experiments" / "kill_test" / "run.py"
    spec = importlib.util.spec_from_file_location("kill_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert len(module.run("maze/open", 2, 16_000, tmp_path)) == 2


def test_training_from_python(tmp_path):
    run = infojax.run.train(agent="diayn", env="maze/open", overrides={**TINY, "run_dir": str(tmp_path / "run")})
    assert run.state.steps.tolist() == [320]
    assert run.summary["agent"] == "diayn"
    again = infojax.run.load(tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, run.state, again.state)
    with pytest.raises(UserError, match="is not a run directory"):
        infojax.run.load(tmp_path)


# --- threads -----------------------------------------------------------------------------------------------------

COUNT_THREADS = """
import os, jax
from infojax.run.training import limit_cpu_threads
limit_cpu_threads({count})
jax.numpy.ones(3).sum().block_until_ready()
names = [open(f"/proc/self/task/{{task}}/comm").read().strip() for task in os.listdir("/proc/self/task")]
print(sum(name == "tf_XLAEigen" for name in names))
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted in /proc")
@pytest.mark.parametrize("count", [1, 3])
def test_cpu_threads_are_those_of_xla(count):
    environment = {name: value for name, value in os.environ.items() if name != "NPROC"} | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", COUNT_THREADS.format(count=count)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) == count


def test_cpu_threads_after_the_start_of_jax_are_warned_of(monkeypatch):
    monkeypatch.delenv("NPROC", raising=False)
    jax.devices()
    with pytest.warns(UserWarning, match="cpu_threads=1 comes too late.*NPROC=1"):
        training.limit_cpu_threads(1)
    assert "NPROC" not in os.environ
    monkeypatch.setenv("NPROC", "1")  # as an earlier job of the same sweep left it
    training.limit_cpu_threads(1)
    training.limit_cpu_threads(None)
