"""Sweeps: what becomes of jobs that fail, what the same command does again, what a search is told."""

import json
import sqlite3
import sys
from pathlib import Path

import pytest
import yaml
from lanes import sweeps as lanes

from infojax import cli
from infojax.run import config as configuration
from infojax.run import directory, sweeps
from infojax.types import UserError

ARENA = "env=maze/open"
NO_SWEEP = "is not installed; pip install 'infojax[sweep]'"


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """Training replaced by its files; `broken` says which seeds fail. The seeds that really ran, in order."""
    ran, broken = [], set()

    def train(config):
        run_dir = configuration.run_directory(config)
        done = directory.prepare(run_dir, config)
        if done is not None:
            return done
        with directory.failures_noted(run_dir, "interrupted"):
            ran.append(config["seed"])
            if config["seed"] in broken:
                raise RuntimeError(f"seed {config['seed']} is broken")
            score = -((config["agent"]["discount"] - 0.5) ** 2)
            summary = {"metrics": {"score": {"mean": score}, "loss": {"mean": 7.0}}, "headline": "score"}
            (run_dir / "summary.json").write_text(json.dumps(summary))
            directory.set_status(run_dir, "done", "")
            return summary

    monkeypatch.setattr(cli, "_trained", train)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.chdir(tmp_path)
    return ran, broken


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["infojax", *words])
    return cli.main()


# --- jobs that fail ----------------------------------------------------------------------------------------------


def test_a_failing_job_is_named_and_the_same_command_runs_it_alone(trained, monkeypatch, capsys, tmp_path):
    ran, broken = trained
    broken.add(1)
    words = ("train", "-m", ARENA, "agent=sac", "seed=range(3)")
    assert run(monkeypatch, *words) == 1
    said = capsys.readouterr().err
    assert ran == [0, 1, 2] and "infojax: 2 of 3 jobs are done, 1 failed:" in said
    assert "infojax:   #1 env=maze/open agent=sac seed=1: RuntimeError: seed 1 is broken (runs/sac-maze_open-" in said
    states = {path.parent.name: json.loads(path.read_text()) for path in tmp_path.glob("runs/*/status.json")}
    assert sorted(state["status"] for state in states.values()) == ["done", "done", "failed"]
    assert {state["reason"] for state in states.values()} == {"", "RuntimeError: seed 1 is broken"}
    ran.clear()
    broken.clear()
    assert run(monkeypatch, *words) == 0
    assert ran == [1] and capsys.readouterr().err == ""
    assert len(list(tmp_path.glob("runs/sweeps/*"))) == 1, "the same command has the same folder"
    (sweep,) = tmp_path.glob("runs/sweeps/*")
    assert [job.status for job in sweeps.jobs_of(sweep)] == ["done"] * 3
    assert len((sweep / "runs.txt").read_text().splitlines()) == 3


def test_a_job_that_is_refused_leaves_its_status_too(trained, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(cli, "_trained", lambda config: configuration.build(config) and {"metrics": {}})
    assert run(monkeypatch, "train", "-m", ARENA, "agent=sac", "agent.batch_size=8,0") == 2  # nothing but refused ones
    (status,) = tmp_path.glob("runs/*/status.json")
    found = json.loads(status.read_text())
    assert found["status"] == "failed" and "agent.batch_size=0 is out of range" in found["reason"]
    assert "1 of 2 jobs are done, 1 failed" in capsys.readouterr().err


def test_a_launcher_that_breaks_down_is_begun_again(trained, monkeypatch, capsys):
    from hydra._internal.core_plugins.basic_launcher import BasicLauncher

    ran, _ = trained
    launch, rounds = BasicLauncher.launch, []

    def breaking(self, job_overrides, initial_job_idx):
        rounds.append(len(job_overrides))
        if len(rounds) == 1:  # one job is done when it breaks, another has begun
            launch(self, job_overrides[:1], initial_job_idx)
            sweep = Path(self.config.hydra.sweep.dir)
            sweeps.note(sweep, sweeps.Job(1, list(job_overrides[1]), "runs/lost", "running"))
            raise OSError("the machine is gone")
        return launch(self, job_overrides, initial_job_idx)

    monkeypatch.setattr(BasicLauncher, "launch", breaking)
    assert run(monkeypatch, "train", "-m", ARENA, "agent=sac", "seed=0,1") == 0
    assert ran == [0, 1] and rounds == [2, 2]
    assert "the launcher broke down (OSError: the machine is gone)" in capsys.readouterr().err


def test_a_launcher_that_never_begins_is_one_sentence(trained, monkeypatch, capsys):
    from hydra._internal.core_plugins.basic_launcher import BasicLauncher

    def breaking(self, job_overrides, initial_job_idx):
        raise ConnectionError("nobody at 127.0.0.2:6399")

    monkeypatch.setattr(BasicLauncher, "launch", breaking)
    assert run(monkeypatch, "train", "-m", ARENA, "agent=sac", "seed=0,1") == 2
    expected = "infojax: the jobs could not be launched: ConnectionError: nobody at 127.0.0.2:6399\n"
    assert capsys.readouterr().err == expected


def test_a_process_that_dies_twice_with_a_job_has_failed_it(tmp_path):
    job = sweeps.Job(3, ["seed=3"], str(tmp_path / "run"), "running")
    sweeps.begin(tmp_path / "sweep")
    sweeps.note(tmp_path / "sweep", job)
    struck: dict[str, int] = {}
    with sweeps.alone(tmp_path / "run"):
        assert sweeps.strike(tmp_path / "sweep", struck) == [], "a process has it in hand"
    assert sweeps.strike(tmp_path / "sweep", struck) == [job]
    assert sweeps.jobs_of(tmp_path / "sweep") == [job], "a neighbour may have taken it along"
    assert sweeps.strike(tmp_path / "sweep", struck) == [job]
    (found,) = sweeps.jobs_of(tmp_path / "sweep")
    assert found.status == "failed" and "ended twice without a word" in found.reason
    assert json.loads((tmp_path / "run" / "status.json").read_text())["status"] == "failed"
    lines, refused = sweeps.account(tmp_path / "sweep")
    assert lines[0] == "0 of 1 jobs are done, 1 failed:" and "#3 seed=3: its process ended twice" in lines[1]
    assert not refused


def test_one_command_at_a_time_has_a_sweep(trained, monkeypatch, capsys, tmp_path):
    words = ("train", "-m", ARENA, "agent=sac", "seed=0")
    assert run(monkeypatch, *words) == 0
    (sweep,) = tmp_path.glob("runs/sweeps/*")
    with sweeps.alone(sweep):
        assert run(monkeypatch, *words) == 2
    assert "this sweep is under way in another process" in capsys.readouterr().err
    assert not sweeps.in_hand(sweep), "it is let go of"


def test_the_name_of_a_sweep():
    name = configuration.sweep_name
    assert name(["seed=0,1", "agent=sac"], []) == name(["agent=sac", "seed=0,1", "progress=false"], ["hydra.verbose=x"])
    assert name(["seed=0,1"], []) != name(["seed=0,2"], [])
    assert name(["seed=0,1"], []) == name(["seed=0,1"], ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"])
    assert name(["seed=0,1"], []) != name(["seed=0,1"], ["hydra/sweeper=optuna"])
    longer = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=50"]
    assert name(["seed=0,1"], longer) == name(["seed=0,1"], ["hydra/sweeper=optuna"])


# --- what a search is told ---------------------------------------------------------------------------------------


def test_the_number_that_a_search_climbs():
    summary = {"metrics": {"train/loss": {"mean": 2.0}, "score": {"mean": None}}, "headline": "train/loss"}
    assert sweeps.value(summary, None) == 2.0 and sweeps.value(summary, "train/loss") == 2.0
    assert sweeps.value(summary, "score") != sweeps.value(summary, "score"), "a mean that is unknown is NaN"
    with pytest.raises(UserError, match=r"sweep.metric=train/los is not a metric .* did you mean train/loss\?"):
        sweeps.value(summary, "train/los")


def trials_of(tmp_path):
    (database,) = tmp_path.glob("runs/sweeps/*/study.db")
    query = (
        "select t.state, p.param_value, v.value from trials t left join trial_params p on p.trial_id = t.trial_id "
        "left join trial_values v on v.trial_id = t.trial_id order by t.number"
    )
    with sqlite3.connect(database) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.filterwarnings("ignore")  # Optuna 2 and SQLAlchemy 1.4 are older than the Python that we test with
def test_a_search_goes_on_where_it_was_cut_off(trained, monkeypatch, capsys, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason=f"the sweeper {NO_SWEEP}")
    ran, broken = trained
    words = ["train", "-m", ARENA, "agent=sac", "agent.discount=interval(0, 1)", "hydra/sweeper=optuna"]
    train, cut = cli._trained, []

    def cut_off(config):
        if len(ran) == 2:
            cut.append(config["agent"]["discount"])
            raise KeyboardInterrupt
        return train(config)

    monkeypatch.setattr(cli, "_trained", cut_off)
    assert run(monkeypatch, *words, "hydra.sweeper.n_trials=4") == 130
    assert [state for state, _, _ in trials_of(tmp_path)] == ["COMPLETE", "COMPLETE", "RUNNING"]
    monkeypatch.setattr(cli, "_trained", train)
    assert run(monkeypatch, *words, "hydra.sweeper.n_trials=4") == 0
    trials = trials_of(tmp_path)
    assert [state for state, _, _ in trials] == ["COMPLETE", "COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert trials[3][1] == pytest.approx(cut[0], abs=1e-12), "the trial that was cut off comes first"
    for _, discount, score in trials[3:]:
        assert score == pytest.approx(-((discount - 0.5) ** 2), abs=1e-9)
    best = max(score for _, _, score in trials if score is not None)
    assert f"Best value: {best}" in capsys.readouterr().out
    # A trial that fails is told as one, does not end the search, and is asked for again by the next command.
    broken.add(0)
    assert run(monkeypatch, *words, "hydra.sweeper.n_trials=6") == 1
    failed = [discount for state, discount, _ in trials_of(tmp_path)[5:] if state == "FAIL"]
    assert len(failed) == 2 and "RuntimeError: seed 0 is broken" in capsys.readouterr().err
    broken.clear()
    assert run(monkeypatch, *words, "hydra.sweeper.n_trials=6") == 0
    assert [discount for _, discount, _ in trials_of(tmp_path)[7:]] == failed
    assert run(monkeypatch, *words, "hydra.sweeper.n_trials=6") == 0
    assert len(trials_of(tmp_path)) == 9, "a study that is complete asks for nothing"


# --- launchers ---------------------------------------------------------------------------------------------------


def test_a_launcher_that_is_not_installed_is_one_sentence(trained, monkeypatch, capsys, tmp_path):
    found = configuration.find_spec
    monkeypatch.setattr(configuration, "find_spec", lambda name: None if "plugins" in name else found(name))
    for word, extra in (("hydra/launcher=ray_tpu", "ray"), ("hydra/sweeper=optuna", "sweep")):
        assert run(monkeypatch, "train", "-m", ARENA, "seed=0,1", word) == 2
        expected = f"infojax: {word} needs packages of its own; install them by pip install 'infojax[{extra}]'\n"
        assert capsys.readouterr().err == expected
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["joblib", "submitit_local", "submitit_slurm"])
def test_our_launchers_have_the_keys_of_the_plugins(name):
    plugin = pytest.importorskip(f"hydra_plugins.hydra_{name.partition('_')[0]}_launcher.config", reason=NO_SWEEP)
    schemas = {
        "joblib": "JobLibLauncherConf",
        "submitit_local": "LocalQueueConf",
        "submitit_slurm": "SlurmQueueConf",
    }
    wanted = set(getattr(plugin, schemas[name]).__dataclass_fields__)
    given = yaml.safe_load((configuration.configs_folder() / "hydra" / "launcher" / f"{name}.yaml").read_text())
    assert set(given) == wanted


def test_every_launcher_and_sweeper_of_ours_is_commented():
    paths = sorted((configuration.configs_folder() / "hydra").rglob("*.yaml"))
    assert {path.stem for path in paths} == set(configuration.PLUGINS)
    for path in paths:
        lines = path.read_text().splitlines()
        assert lines[0].startswith("# "), path
        bare = [line for line in lines if "#" not in line and "_target_" not in line and line != "defaults:"]
        assert [line for line in bare if line != "ray:"] == [], path


def test_joblib_for_real(tmp_path, capsys):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason=f"the launcher {NO_SWEEP}")
    lanes.joblib(tmp_path / "lane", count=2)
    assert "1 of 2 jobs are done, 1 failed" in capsys.readouterr().out
