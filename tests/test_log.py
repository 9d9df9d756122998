"""Files of numbers that survive kills, trackers that get the right numbers, progress and the result table."""

import io
import json
import math
import os
import re
import struct
import sys
import time
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from infojax.run import log
from infojax.run.log import MetricsFile, Progress, number, open_loggers, print_result, result_table, write_json
from infojax.types import UserError

CONFIG = {"seed": 3, "num_seeds": 2, "agent": {"batch_size": 64, "hidden_sizes": [8, 8]}, "logger": ["x"]}
INFORMATION = "evaluation/stochastic/mutual_information"


# --- files -------------------------------------------------------------------------------------------------------


def test_metrics_file_appends_and_keeps_every_digit(tmp_path):
    file = MetricsFile(tmp_path / "metrics.jsonl")
    third = 1 / 3
    file.write([{"step": 1, "seed": 0, "a": third}, {"step": 1, "seed": 1, "a": np.float32(0.1)}])
    first = file.position()
    file.write([{"step": 2, "seed": 0, "a": math.nan, "b": np.inf, "c": np.array(-np.inf), "d": np.int64(7)}])
    rows = [json.loads(line) for line in file.path.read_text().splitlines()]
    assert rows[0] == {"step": 1, "seed": 0, "a": third}
    assert rows[1]["a"] == float(np.float32(0.1))
    assert rows[2] == {"step": 2, "seed": 0, "a": None, "b": None, "c": None, "d": 7}
    assert first == len("\n".join(file.path.read_text().splitlines()[:2])) + 1
    assert file.position() == file.path.stat().st_size


def test_a_torn_line_and_rows_after_the_checkpoint_are_cut(tmp_path):
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.truncate(0)  # a fresh run: nothing there yet
    assert file.position() == 0
    file.write([{"step": 1, "seed": 0}])
    position, kept = file.position(), file.path.read_bytes()
    file.write([{"step": 2, "seed": 0}])
    with open(file.path, "ab") as raw:
        raw.write(b'{"step": 3, "se')
    again = MetricsFile(tmp_path / "metrics.jsonl")
    again.truncate(position)
    assert file.path.read_bytes() == kept
    again.write([{"step": 2, "seed": 0}])
    assert [json.loads(line)["step"] for line in file.path.read_text().splitlines()] == [1, 2]


def test_a_metrics_file_shorter_than_its_checkpoint_is_refused(tmp_path):
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.write([{"step": 1, "seed": 0}])
    with pytest.raises(UserError, match=r"metrics\.jsonl has 23 bytes.*1000.*overwrite=true"):
        file.truncate(1000)
    assert file.position() == 23


def test_write_json_replaces_whole_files_only(tmp_path, monkeypatch):
    path = tmp_path / "summary.json"
    write_json(path, {"a": np.array([1.5, math.nan]), "b": Path("x"), "c": (True, None), 3: {"d": np.float32(2)}})
    before = {"a": [1.5, None], "b": "x", "c": [True, None], "3": {"d": 2.0}}
    assert json.loads(path.read_text()) == before

    def kill(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", kill)
    with pytest.raises(KeyboardInterrupt):
        write_json(path, {"a": "new"})
    assert json.loads(path.read_text()) == before


def test_no_file_stays_open(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        file = MetricsFile(tmp_path / "metrics.jsonl")
        file.write([{"step": 1, "seed": 0}])
        file.position()
        file.truncate(0)
        before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        for _ in range(20):
            file.write([{"step": 1, "seed": 0}])
        assert before == (len(os.listdir("/proc/self/fd")) if before else 0)


# --- trackers ----------------------------------------------------------------------------------------------------


def events(folder):
    """The scalars and texts of TensorBoard event files, read frame by frame."""
    from tensorboardX.proto import event_pb2

    scalars, texts = [], []
    for path in sorted(folder.glob("events.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack("<Q", data[at : at + 8])
            frame = data[at + 12 : at + 12 + length]
            event = event_pb2.Event.FromString(frame)  # pyright: ignore[reportAttributeAccessIssue]
            at += 12 + length + 4
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    scalars.append((value.tag, event.step, round(value.simple_value, 4)))
                else:
                    texts.append(value.tensor.string_val[0].decode())
    return scalars, texts


def test_tensorboard_event_files_hold_every_finite_number(tmp_path):
    (logger,) = open_loggers(["tensorboard"], tmp_path, CONFIG)
    logger.write(10, 3, {INFORMATION: 1.5, "train/episode_return": math.nan})
    logger.write(10, 4, {INFORMATION: 0.5})
    logger.write(20, 3, {INFORMATION: 2.0, "train/episode_return": -7.0})
    # Read before closing: what is written must soon be safe from a kill.
    deadline = time.monotonic() + 30
    while len(events(tmp_path / "tensorboard" / "seed_3")[0]) < 3 and time.monotonic() < deadline:
        time.sleep(0.1)
    scalars, texts = events(tmp_path / "tensorboard" / "seed_3")
    assert scalars == [(INFORMATION, 10, 1.5), (INFORMATION, 20, 2.0), ("train/episode_return", 20, -7.0)]
    assert any('"batch_size": 64' in text for text in texts)
    logger.close()
    assert events(tmp_path / "tensorboard" / "seed_4")[0] == [(INFORMATION, 10, 0.5)]


class FakeWandb(types.ModuleType):
    def __init__(self, failing_at=None):
        super().__init__("wandb")
        self.started, self.logged, self.finished, self.failing_at = [], [], [], failing_at

    def init(self, **arguments):
        if len(self.started) == self.failing_at:
            raise RuntimeError("No API key configured")
        self.started.append(arguments)
        name = arguments["id"]
        return types.SimpleNamespace(
            log=lambda numbers, step: self.logged.append((name, step, numbers)),
            finish=lambda: self.finished.append(name),
        )


def test_wandb_gets_one_resumable_run_per_seed(tmp_path, monkeypatch):
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    run_dir = tmp_path / "diayn maze#1"
    (logger,) = open_loggers(["wandb"], run_dir, CONFIG)
    logger.write(10, 4, {INFORMATION: 1.5, "train/episode_return": math.nan})
    logger.write(20, 3, {INFORMATION: 2.0})
    logger.close()
    ids = [started["id"] for started in fake.started]
    assert [re.sub(r"^diayn_maze_1-[0-9a-f]{8}-seed_(\d)$", r"\1", name) for name in ids] == ["3", "4"]
    assert fake.logged == [(ids[1], 10, {INFORMATION: 1.5}), (ids[0], 20, {INFORMATION: 2.0})]
    assert fake.finished == ids
    for started in fake.started:
        assert started["mode"] == "offline"
        assert started["resume"] == "allow"
        assert started["project"] == "infojax"
        assert started["group"] == "diayn maze#1"
        assert started["dir"] == str(run_dir)
        assert started["config"] == CONFIG
    # Going on: the same ids; started afresh in the same place: others.
    open_loggers(["wandb"], run_dir, CONFIG)
    assert [started["id"] for started in fake.started[2:]] == ids
    (run_dir / "wandb" / "identity").unlink()
    monkeypatch.delenv("WANDB_MODE")
    open_loggers(["wandb"], run_dir, CONFIG)
    assert not {started["id"] for started in fake.started[4:]} & set(ids)
    assert fake.started[4]["mode"] is None


def test_a_tracker_that_cannot_start_says_what_to_do(tmp_path, monkeypatch):
    fake = FakeWandb(failing_at=1)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    with pytest.raises(UserError, match=r"logger=wandb could not start: No API key.*WANDB_MODE=offline"):
        open_loggers(["wandb"], tmp_path, CONFIG)
    assert fake.finished == [fake.started[0]["id"]]  # what had started is closed again


class FakeMlflow(types.ModuleType):
    def __init__(self):
        super().__init__("mlflow")
        self.uris, self.experiments, self.runs, self.metrics, self.params, self.ended = [], {}, {}, [], {}, []
        self.status, self.artifacts = [], []
        fake = self

        class Client:
            def __init__(self, tracking_uri):
                fake.uris.append(tracking_uri)

            def get_experiment_by_name(self, name):
                found = fake.experiments.get(name)
                return None if found is None else types.SimpleNamespace(experiment_id=found)

            def create_experiment(self, name, artifact_location):
                fake.artifacts.append(artifact_location)
                return fake.experiments.setdefault(name, str(len(fake.experiments)))

            def search_runs(self, ids, filter_string, max_results):
                assert ids == [fake.experiments["infojax"]]
                wanted = re.fullmatch(r"tags\.`infojax\.run` = '(.*)'", filter_string)
                assert wanted is not None
                hits = [name for name, tags in fake.runs.items() if tags["infojax.run"] == wanted[1]]
                return [types.SimpleNamespace(info=types.SimpleNamespace(run_id=name)) for name in hits]

            def create_run(self, experiment_id, run_name, tags):
                fake.runs[run_name] = tags
                return types.SimpleNamespace(info=types.SimpleNamespace(run_id=run_name))

            def update_run(self, run_id, status):
                fake.status.append((run_id, status))

            def log_batch(self, run_id, metrics=(), params=()):
                assert len(params) <= 100 and len(metrics) <= 1000
                fake.metrics += [(run_id, *metric) for metric in metrics]
                fake.params.setdefault(run_id, {}).update(params)

            def set_terminated(self, run_id):
                fake.ended.append(run_id)

        self.MlflowClient = Client
        self.entities = types.ModuleType("mlflow.entities")
        self.entities.__dict__["Metric"] = lambda key, value, timestamp, step: (key, value, step)
        self.entities.__dict__["Param"] = lambda key, value: (key, value)


def test_mlflow_gets_one_run_per_seed_in_the_run_directory(tmp_path, monkeypatch):
    fake = FakeMlflow()
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    monkeypatch.setitem(sys.modules, "mlflow.entities", fake.entities)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    run_dir = tmp_path / "run"
    for step in (10, 20):  # the second time it goes on
        (logger,) = open_loggers(["mlflow"], run_dir, CONFIG)
        logger.write(step, 4, {INFORMATION: step / 10, "train/episode_return": math.inf})
        logger.close()
    assert list(fake.runs) == ["run seed 3", "run seed 4"]
    assert fake.metrics == [("run seed 4", INFORMATION, 1.0, 10), ("run seed 4", INFORMATION, 2.0, 20)]
    assert fake.params["run seed 3"]["agent.batch_size"] == "64"
    assert fake.params["run seed 3"]["agent.hidden_sizes"] == "[8, 8]"
    assert fake.status == [("run seed 3", "RUNNING"), ("run seed 4", "RUNNING")]
    assert fake.ended == ["run seed 3", "run seed 4"] * 2
    assert fake.uris[0] == f"sqlite:///{run_dir / 'mlruns' / 'mlflow.db'}"
    assert fake.artifacts == [(run_dir / "mlruns" / "artifacts").as_uri()]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracker.example")
    open_loggers(["mlflow"], tmp_path / "other", CONFIG)
    assert fake.uris[-1] == "http://tracker.example"


@pytest.mark.parametrize(
    ("name", "package"), [("tensorboard", "tensorboardX"), ("wandb", "wandb"), ("mlflow", "mlflow")]
)
def test_a_missing_package_names_its_extra(tmp_path, monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        UserError, match=re.escape(f"logger={name}") + ".*" + re.escape(f'pip install "infojax[{name}]"')
    ):
        open_loggers([name], tmp_path, CONFIG)


def test_an_unknown_tracker_is_refused_before_any_opens(tmp_path):
    with pytest.raises(UserError, match="logger=tensorbord is unknown; choose among tensorboard, wandb, mlflow"):
        open_loggers(["tensorboard", "tensorbord"], tmp_path, CONFIG)
    assert not list(tmp_path.iterdir())
    assert open_loggers([], tmp_path, CONFIG) == []


# --- words and numbers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "name", "text"),
    [
        (1.98765, INFORMATION, "1.988"),
        (2.0, INFORMATION, "2.000"),
        (0.9561, "evaluation/stochastic/accuracy", "95.6"),
        (0.0, "evaluation/stochastic/accuracy", "0"),
        (1234.5678, "x", "1,235"),
        (-12.3456, "x", "-12.35"),
        (0.001234, "x", "0.00123"),
        (1e-7, "x", "1e-07"),
        (12345678.0, "x", "1.23e+07"),
        (100.0, "x", "100"),
        (math.nan, "x", "–"),
        (None, "x", "–"),
    ],
)
def test_numbers_read_well(value, name, text):
    assert number(value, name) == text


# --- progress ----------------------------------------------------------------------------------------------------


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def plain_progress(total, **arguments):
    clock, out = Clock(), io.StringIO()
    return Progress(total, console=Console(file=out, force_terminal=False), clock=clock, **arguments), clock, out


def test_plain_lines_are_few_and_the_last_is_always_there():
    progress, clock, out = plain_progress(1000)
    with progress:
        for step in range(10, 1001, 10):
            clock.now += 0.5 if step > 10 else 20.0  # the first chunk compiles
            progress.update(step, INFORMATION, step / 500)
    lines = out.getvalue().splitlines()
    assert len(lines) == 11  # at 20 s and then each 5 s of 49.5, and the last
    assert lines[0].startswith("step 10 of 1,000 (1 %)")
    assert lines[-1] == "step 1,000 of 1,000 (100 %) | 20 steps/s | mutual information 2.000 nats | 0:00 left"
    # 110 steps at 25 s: the compiling before the first chunk does not count in what is left.
    assert lines[1] == "step 110 of 1,000 (11 %) | 20 steps/s | mutual information 0.220 nats | 0:44 left"


def test_a_run_that_stops_early_still_prints_where_it_stood():
    progress, clock, out = plain_progress(1000, start=500)
    with progress:
        for step in (600, 700, 800):
            clock.now += 1.0
            progress.update(step, "train/episode_return", math.nan)
    lines = out.getvalue().splitlines()
    assert [line.split(" of ")[0] for line in lines] == ["step 600", "step 800"]
    assert "| 100 steps/s | episode return – |" in lines[0]


def test_the_bar_shows_steps_speed_headline_and_time_left():
    clock, out = Clock(), io.StringIO()
    console = Console(file=out, force_terminal=True, width=110, color_system=None)
    with Progress(1_000_000, console=console, clock=clock) as progress:
        for step in (100_000, 200_000, 300_000):
            clock.now += 10.0
            progress.update(step, "evaluation/deterministic/return", 12.5)
    text = out.getvalue()
    assert "compiling" in text
    assert "300k/1M steps · 10k steps/s · 1:10 left · return 12.50" in text


def test_progress_switched_off_is_silent():
    progress, _, out = plain_progress(10, enabled=False)
    with progress:
        progress.update(10, "x", 1.0)
    assert out.getvalue() == ""


# --- the result --------------------------------------------------------------------------------------------------


def entry(*per_seed):
    values = np.array(per_seed)
    return {"mean": values.mean(), "low": values.min(), "high": values.max(), "per_seed": list(per_seed)}


METRICS = {
    "train/critic_loss": entry(0.5, 0.7),
    INFORMATION: entry(1.9, 2.0),
    f"{INFORMATION}_ceiling": entry(math.log(8), math.log(8)),
    "evaluation/stochastic/return": entry(10.0, 30.0),
    "evaluation/stochastic/return_skill_0": entry(-5.0, 50.0),
    "evaluation/stochastic/return_skill_1": entry(25.0, 10.0),
    "time/steps_per_second": entry(1.0, 2.0),
}
SUMMARY = {
    "metrics": METRICS,
    "agent": "diayn",
    "objective": "diayn",
    "env": "maze/open",
    "num_seeds": 2,
    "total_steps": 200_000,
    "wall_seconds": 143.2,
    "compile_seconds": 31.0,
}


def rendered(thing, width=80):
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=False).print(thing)
    return out.getvalue()


def test_the_table_says_mean_interval_and_ceiling():
    text = rendered(result_table(SUMMARY))
    lines = text.splitlines()
    assert "diayn on maze/open, 200,000 steps, 2 seeds" in lines[0]
    (information,) = [line for line in lines if "mutual information" in line]
    assert "1.950 of 2.079 nats (94 %)" in information
    assert "1.900 … 2.000" in information
    # Per seed the lowest skills are -5 and 10, the highest 25 and 50: skills of two seeds are not the same skills.
    (skills,) = [line for line in lines if "lowest … highest" in line]
    assert "2.500 … 37.50" in skills
    assert "critic loss" in text and "0.600" in text
    assert "return_skill" not in text and "ceiling" not in text and "second" not in text
    assert text.index("stochastic acting") < text.index("training") < text.index("critic loss")


def test_one_seed_has_no_interval_and_missing_values_a_dash():
    metrics = {
        INFORMATION: entry(1.5),
        "train/episode_return": {"mean": None, "low": None, "high": None, "per_seed": [None]},
    }
    text = rendered(
        result_table({**SUMMARY, "num_seeds": 1, "metrics": metrics, "objective": "none", "agent": "sac"}), 120
    )
    assert "interval" not in text
    assert "sac on maze/open, 200,000 steps," in text and "1 seed" in text.replace("\n", "")
    assert "1.500 nats" in text
    (line,) = [line for line in text.splitlines() if "episode return" in line]
    assert "–" in line


def test_seeds_that_lack_a_number_are_counted():
    found = {"mean": 1.0, "low": 0.5, "high": 1.5, "per_seed": [0.5, 1.5, math.nan]}
    (row,) = log.result_rows({"train/episode_return": found})
    assert row.interval == "0.500 … 1.500 (2 of 3)"


def test_the_pictures_are_named_on_lines_of_their_own(tmp_path):
    run_dir = tmp_path / ("a-long-name-" * 8)
    (run_dir / "figures").mkdir(parents=True)
    for name in ("skill_traces.png", "confusion.png", "report_train_x.png"):
        (run_dir / "figures" / name).write_bytes(b"")
    out = io.StringIO()
    print_result(SUMMARY, run_dir, Console(file=out, width=80, force_terminal=False))
    lines = out.getvalue().splitlines()
    assert "took 2:23, of which compiling 0:31" in lines
    assert lines[-1] == f"          {run_dir / 'figures' / 'skill_traces.png'}"
    assert lines[-2] == f"pictures: {run_dir / 'figures' / 'confusion.png'}"
    assert "report_train_x" not in out.getvalue()
