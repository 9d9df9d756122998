"""Rented machines: the files of experiments/cloud, what `infojax sky` writes, and what slice.sh asks of gcloud."""

import importlib
import itertools
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from infojax import cli
from infojax.run import cloud
from infojax.run import config as configuration
from infojax.types import UserError

ROOT = Path(__file__).parents[1]
CLOUD = ROOT / "experiments" / "cloud"
SPOT = CLOUD / "skypilot" / "spot.yaml"
TASKS = sorted((CLOUD / "skypilot").glob("*.yaml"))
WORDS = ["env=maze/open", "agent=sac,diayn", "seed=range(2)", "agent.hidden_sizes=[8,8]"]


def command_of(path):
    """The words of the one command of ours in a task."""
    (line,) = [line for line in yaml.safe_load(path.read_text())["run"].splitlines() if "infojax train" in line]
    return shlex.split(line)


# --- the files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(CLOUD.rglob("*.yaml")), ids=lambda path: path.name)
def test_every_yaml_parses_and_says_what_each_key_is(path):
    assert isinstance(yaml.safe_load(path.read_text()), dict)
    first, *lines = path.read_text().splitlines()
    assert first.startswith("# ")
    depth = None  # of a block of shell, which has no keys
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if depth is not None and indent > depth:
            continue
        depth = indent if ": |" in line else None
        assert " # " in line, f"{path}: {line}"


@pytest.mark.parametrize("path", TASKS, ids=lambda path: path.stem)
def test_a_task_names_its_tpu_and_keeps_its_run_in_the_bucket(path):
    task = yaml.safe_load(path.read_text())
    # SkyPilot's default for v5e is the runtime of v5p.
    assert task["resources"]["accelerator_args"] == {"runtime_version": "v2-alpha-tpuv5-lite"}
    assert task["resources"]["accelerators"].startswith("tpu-v5litepod-")
    assert task["envs"] == {"BUCKET": None}  # nobody starts it without one
    assert task["file_mounts"] == {"/runs": {"source": "gs://${BUCKET}", "mode": "MOUNT"}}
    assert 'pip install --quiet --constraint constraints.txt -e ".[tpu]"' in task["setup"]
    given = cloud.read_task(path)
    assert (given.app.name, given.runs) == ("train", "/runs")
    configuration.check_parts(configuration.compose(command_of(path)[2:]))


def test_the_jobset_is_that_of_xpk():
    """tests/data holds what XPK 1.16.0 makes of the same run; `make cloud-lint` asks it again, of all slices."""
    check = _module(CLOUD / "check.py")
    recorded = json.loads((ROOT / "tests" / "data" / "xpk_v5litepod_16.json").read_text())
    ours = yaml.safe_load(check.rendered("v5litepod-16"))
    assert check.without_ours(ours) == recorded and len(recorded) > 150
    (job,) = ours["spec"]["replicatedJobs"]
    pod = job["template"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["command"][1:] == ["train", "experiment=default", "run_dir=/runs/infojax-run"]
    assert pod["volumes"][1]["csi"]["volumeAttributes"]["bucketName"] == "my-bucket"


def _module(path):
    sys.path.insert(0, str(path.parent))
    try:
        return importlib.import_module(path.stem)
    finally:
        sys.path.remove(str(path.parent))


# --- infojax sky -------------------------------------------------------------------------------------------------


def test_sky_writes_one_task_for_each_job(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["sky", str(SPOT), *WORDS]) == 0
    out = capsys.readouterr().out
    paths = sorted((tmp_path / "tasks").glob("*.yaml"))
    assert len(paths) == 4 and "4 tasks" in out and all(f"tasks/{path.name}" in out for path in paths)
    template, jobs = yaml.safe_load(SPOT.read_text()), set()
    for path in paths:
        task = yaml.safe_load(path.read_text())
        *words, run_dir = command_of(path)[2:]
        config = configuration.compose(words)
        assert run_dir == f"run_dir=/runs/{path.stem}" and path.stem == task["name"] == configuration.run_name(config)
        assert config["agent"]["hidden_sizes"] == [8, 8]
        jobs.add((config["choices"]["agent"], config["choices"]["env"], config["seed"]))
        others = ("name", "run")
        assert {key: task[key] for key in task if key not in others} == {
            key: template[key] for key in template if key not in others
        }
        assert path.read_text().startswith(f"# {path.stem}: rendered by `infojax sky` from spot.yaml\n")
    assert jobs == {(agent, "maze/open", seed) for agent, seed in itertools.product(("sac", "diayn"), (0, 1))}
    assert cli.main(["sky", str(SPOT), *WORDS, "-m"]) == 0  # the same sweep again
    assert sorted((tmp_path / "tasks").glob("*.yaml")) == paths
    assert cli.main(["sky", str(SPOT), "env=maze/u", "agent=sac"]) == 2  # another one
    assert "tasks holds the tasks of another sweep, such as diayn" in capsys.readouterr().err


def test_the_words_of_a_task_come_through_its_shell(tmp_path):
    """The `run` of a task under bash, with a program in our place that tells its arguments."""
    words = ["env=maze/open", "agent=sac", "init_from='/runs/a b$HOME'"]
    (path,) = cloud.render(SPOT, words, tmp_path / "tasks")
    bin_folder = tmp_path / "infojax-venv" / "bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "activate").write_text(f"PATH={bin_folder}:$PATH\n")
    (bin_folder / "infojax").write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done\n')
    (bin_folder / "infojax").chmod(0o755)
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    run = yaml.safe_load(path.read_text())["run"]
    told = subprocess.run(["bash", "-c", run], env=environment, capture_output=True, text=True, check=True).stdout
    assert told.splitlines() == ["train", *words, f"run_dir=/runs/{path.stem}"]
    assert configuration.compose(told.splitlines()[1:])["init_from"] == "/runs/a b$HOME"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("agent.batchsize=3", "agent.batchsize does not exist; did you mean agent.batch_size?"),
        ("agent=sac,dian", "agent=dian does not exist; did you mean diayn?"),
        ("agent.batch_size=64,ten", "agent.batch_size=ten is not accepted; give a whole number"),
        ("total_steps=0", "total_steps=0 is out of range"),
        ("run_dir=/runs/mine", "run_dir=/runs/mine is not for a sweep of tasks"),
        ("overwrite=true", "overwrite=true would begin anew after every pre-emption"),
        ("hydra/sweeper=optuna", "hydra/sweeper=optuna needs results before it can choose the next job"),
        ("seed=choice(", "seed=choice( cannot be read"),
        ("--config-dir /etc", "--config-dir=/etc is not sent to the machine"),
        ("--outptu x", "usage: infojax sky TASK.yaml"),
    ],
)
def test_sky_refuses_before_it_writes(words, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["sky", str(SPOT), "env=maze/open", *words.split()]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and sentence in lines[0]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "cannot be read; give a SkyPilot task"),
        ("run: [", "is not YAML"),
        ("name: x", "is not a SkyPilot task: it has no `run`"),
        ("run: |\n  echo\n", "has no line `infojax train … run_dir=/FOLDER/NAME`"),
        ("run: |\n  infojax train run_dir=/r/x\n  infojax adapt run_dir=/r/y\n", "has 2 lines"),
        ("run: |\n  infojax train seed=1\n", "line 2 has no run_dir=/FOLDER/NAME"),
        ("run: |\n  infojax train 'run_dir=/r/x\n", "line 2 cannot be read (No closing quotation)"),
        ("run: >\n  infojax train run_dir=/r/x\n  seed=1\n", "cannot be filled in; write its commands one to a line"),
    ],
)
def test_sky_refuses_a_task_that_it_cannot_fill_in(text, sentence, tmp_path):
    task = tmp_path / "task.yaml"
    if text is not None:
        task.write_text(text)
    with pytest.raises(UserError) as refused:
        cloud.render(task, ["env=maze/open", "agent=sac"], tmp_path / "tasks")
    assert sentence in str(refused.value)
    assert not (tmp_path / "tasks").exists()


def test_sky_wants_a_task_first(capsys):
    assert cli.main(["sky", "agent=sac"]) == 2
    assert "infojax sky needs a task file first" in capsys.readouterr().err


# --- slice.sh ----------------------------------------------------------------------------------------------------

GCLOUD = """#!/usr/bin/env bash
# Google's command for a test: it notes what it is asked, and follows a plan of states and of ends of the run.
echo "$*" >> calls
case "$4" in
  create) echo WAITING_FOR_RESOURCES > state; echo ACTIVE > next ;;
  delete) rm state ;;
  describe)
    if [[ ! -f state ]]; then echo "ERROR: NOT_FOUND: no such resource" >&2; exit 1; fi
    cat state
    if [[ -f next ]]; then mv next state; fi ;;
  ssh)
    if [[ "$*" == *"infojax train"* ]]; then
      read -r end < plan; sed -i 1d plan
      case $end in done) exit 0 ;; lost) echo SUSPENDED > state; exit 255 ;; failed) exit 2 ;; esac
    fi ;;
esac
"""


def slice_sh(tmp_path, *words, plan="", **settings):
    (tmp_path / "gcloud").write_text(GCLOUD)
    (tmp_path / "gcloud").chmod(0o755)
    (tmp_path / "plan").write_text(plan)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PROJECT": "p", "ZONE": "z", "BUCKET": "b", "POLL": "0"}
    ran = subprocess.run(
        ["bash", str(CLOUD / "queued_resources" / "slice.sh"), *words],
        env=environment | settings,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    calls = (tmp_path / "calls").read_text().splitlines() if (tmp_path / "calls").exists() else []
    return ran, [call for call in calls if " describe " not in call]


def test_a_slice_that_is_taken_away_is_asked_for_again_and_given_back(tmp_path):
    ran, calls = slice_sh(tmp_path, "keep", "first", "agent=sac", "agent.hidden_sizes=[8,8]", plan="lost\ndone\n")
    assert ran.returncode == 0, ran.stderr
    attempt = ["queued-resources create", "tpu-vm scp", "tpu-vm ssh", "tpu-vm ssh", "queued-resources delete"]
    assert [" ".join(call.split()[2:4]) for call in calls] == attempt * 2
    create, copy, install, train, _ = calls[:5]
    for flag in ("--accelerator-type=v5litepod-16", "--runtime-version=v2-alpha-tpuv5-lite", "--spot", "--project=p"):
        assert flag in create.split()
    assert "--worker=all" in copy and "host.sh b" in install
    assert "infojax train agent=sac agent.hidden_sizes=\\[8\\,8\\] run_dir=/runs/first" in train
    assert calls[8] == train  # the same command, which goes on from its checkpoint
    assert not (tmp_path / "state").exists() and "taken away" in ran.stderr


def test_a_run_that_fails_by_itself_is_not_tried_again_and_its_slice_is_left_to_look_at(tmp_path):
    ran, calls = slice_sh(tmp_path, "keep", "first", "agent=sac", plan="failed\ndone\n", SPOT="false")
    assert ran.returncode == 1 and "failed by itself" in ran.stderr
    assert [call.split()[3] for call in calls] == ["create", "scp", "ssh", "ssh"]
    assert "--spot" not in calls[0] and (tmp_path / "state").read_text() == "ACTIVE\n"


@pytest.mark.parametrize(
    ("words", "settings", "code", "sentence"),
    [
        ([], {}, 2, "slice.sh request"),
        (["kepe"], {}, 2, "slice.sh request"),
        (["train"], {}, 2, "train needs the name of a run"),
        (["train", "agent=sac"], {}, 2, "agent=sac is not the name of a run"),
        (["request"], {"PROJECT": ""}, 1, "give the project of Google that pays"),
        (["install"], {"BUCKET": ""}, 1, "give the bucket that keeps the runs"),
    ],
)
def test_slice_sh_says_what_it_needs(words, settings, code, sentence, tmp_path):
    ran, calls = slice_sh(tmp_path, *words, **settings)
    assert ran.returncode == code and sentence in ran.stderr and not calls
