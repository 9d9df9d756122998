"""The command line: what it prints, and one clear sentence for everything that a newcomer may get wrong."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from infojax import __version__, cli
from infojax.run import config as configuration
from infojax.types import UserError

ARENA = "env=maze/open"


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """Training replaced by building; the configurations that came to it."""
    configs = []

    def train(config):
        configuration.build(config)
        configs.append(config)
        return {"metrics": {"score": {"mean": 1.5}}, "headline": "score"}

    monkeypatch.setattr(cli, "_trained", train)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.chdir(tmp_path)
    return configs


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["infojax", *words])
    return cli.main()


# --- what is wrong -----------------------------------------------------------------------------------------------

WRONG = [
    # names
    ("agent=dian", "agent=dian does not exist; did you mean diayn?"),
    ("env=brax/halfcheeta", "env=brax/halfcheeta does not exist; did you mean brax/halfcheetah?"),
    ("env=halfcheetah", "did you mean brax/halfcheetah?"),
    ("env=gymnasium/HalfCheetah-v9", "did you mean gymnasium/HalfCheetah-v5"),
    ("env=maze", "env=maze is a family; choose one of it; there are env=maze/open"),
    ("env=gymnasium/mine:Task-v0", "is written env=gymnasium/any env.id=mine:Task-v0"),
    ("objective=diayns", "objective=diayns does not exist; did you mean diayn"),
    ("experiment=smoek", "experiment=smoek does not exist; did you mean smoke?"),
    ("hydra/launcher=nobody", "hydra/launcher=nobody is not installed"),
    ("env/maze=u", "write env=maze/u"),
    ("agents=sac", "agents does not exist; did you mean agent?"),
    ("agent=null", "agent=null chooses nothing; write agent=NAME; there are adversarial_surprise, diayn"),
    ("agent=3", "agent=3 chooses nothing; write agent=NAME; there are adversarial_surprise, diayn"),
    ("~agent", "agent is null; choose one by agent=NAME; there are adversarial_surprise, diayn"),
    # keys
    ("agent.num_skil=3", "agent.num_skil does not exist; did you mean objective.num_skills"),
    ("agent.batchsize=3", "agent.batchsize does not exist; did you mean agent.batch_size?"),
    ("total_step=5", "total_step does not exist; did you mean total_steps?"),
    ("objective.num_skill=8", "objective.num_skill does not exist; did you mean objective.num_skills?"),
    ("env.layot=u", "env.layot does not exist; did you mean env.layout?"),
    ("evaluation.evry=8", "evaluation.evry does not exist; did you mean evaluation.every?"),
    ("hydra.swep.dir=x", "hydra.swep does not exist; did you mean hydra.sweep.dir"),
    ("seed.value=3", "seed.value does not exist"),
    (
        "+agent.target_rat=0.5",
        "agent.target_rat is not a key of infojax.agents.sac.make; did you mean agent.target_rate",
    ),
    ("+total_step=5", "total_step is not an option; did you mean total_steps?"),
    ("+env.layout=u", "env.layout is there already; write env.layout=VALUE without the +"),
    ("+experiment=smoke", "experiment is chosen already; write experiment=NAME without a +"),
    ("~num_seeds", "num_seeds is missing; give it as num_seeds=VALUE, a whole number of at least 1"),
    ("evaluation=3", "evaluation=3 is not a section; give evaluation.every or evaluation.episodes"),
    # types
    ("agent.batch_size=ten", "agent.batch_size=ten is not accepted; give a whole number of at least 1, for example"),
    ("agent.batch_size=1.5", "agent.batch_size=1.5 is not accepted; give a whole number"),
    ("agent.batch_size=null", "agent.batch_size=null is not accepted"),
    ("agent.batch_size=true", "agent.batch_size=true is not accepted"),
    ("agent.hidden_sizes=3", "agent.hidden_sizes=3 is not accepted; give a list like [A,B], each entry a whole number"),
    ("agent.hidden_sizes=[a]", "agent.hidden_sizes=[a] is not accepted"),
    ("agent.activation=rel", "agent.activation=rel is not accepted; give one of relu, tanh"),
    ("seed=abc", "seed=abc is not accepted; give a whole number"),
    ("seed=", "seed=(empty) is not accepted; give a whole number"),
    ("total_steps=abc", "total_steps=abc is not accepted; give a whole number of at least 1"),
    ("overwrite=maybe", "overwrite=maybe is not accepted; give true or false"),
    ("seeds=pmap", "seeds=pmap is not accepted; give one of vmap, map"),
    ("logger=tensorbord", "logger=[tensorbord] is not accepted; give a list like [A,B], each entry one of tensorboard"),
    # ranges
    ("agent.discount=1.5", "agent.discount=1.5 is out of range; give a number from 0 to 1"),
    ("agent.batch_size=0", "agent.batch_size=0 is out of range; give a whole number of at least 1"),
    ("agent.target_rate=0", "agent.target_rate=0 is out of range; give a number above 0 and up to 1"),
    ("total_steps=-5", "total_steps=-5 is out of range; give a whole number of at least 1"),
    ("seed=-1", "seed=-1 is out of range; give a whole number from 0"),
    ("seed=4294967296", "seed=4294967296 is out of range"),
    ("num_seeds=0", "num_seeds=0 is out of range"),
    ("checkpoint.keep=0", "checkpoint.keep=0 is out of range"),
    # syntax
    ("agent=", "agent= chooses nothing; write agent=NAME; there are adversarial_surprise, diayn"),
    ("foo", "foo is not of the form KEY=VALUE"),
    ("estimator=ksg", "infojax train, which chooses agent, objective, env, experiment and mesh; try infojax estimate"),
    ("diayn", "did you mean agent=diayn or objective=diayn?"),
    ("=3", "=3 has no key before the ="),
    ("run_dir={", "run_dir={ cannot be read; put quotes"),
    ("agent.discount=${nothing}", "agent.discount: Interpolation key 'nothing' not found"),
    ("agent=sac,diayn", "agent=sac,diayn names several values; add -m to run each of them"),
    ("seed=range(3)", "seed=range(3) names several values; add -m"),
    ("--seed=3", "--seed=3 is not an option; settings are written without dashes: seed=3"),
    ("--multirn", "--multirn is not an option; did you mean --multirun?"),
    ("--cfg=jobs", "invalid choice: 'jobs'"),
    ("--resolve", "--resolve flag can only be used in conjunction with --cfg"),
    ("--config-dir=nowhere", "nowhere' not found"),
    ("--config-name=nowhere", "nowhere.yaml is not among the configurations"),
    # what cannot be
    ("env=gymnasium/any", "env.id has no value yet; give it as env.id=VALUE"),
    ("agent=sac env=gymnasium/CartPole-v1", "agent sac acts with continuous actions"),
    ("run_dir=/dev/null/run", "run_dir=/dev/null/run cannot be written"),
    ("agent._target_=infojax.agents.sac.mak", "has no function mak; did you mean make?"),
    ("agent._target_=nowhere.make", "module nowhere is not found"),
]


@pytest.mark.parametrize(("words", "sentence"), WRONG, ids=[words for words, _ in WRONG])
def test_one_clear_sentence(words, sentence, trained, monkeypatch, capsys, tmp_path):
    given = words.split()
    arena = [] if any(word.startswith("env=") for word in given) else [ARENA]
    assert run(monkeypatch, "train", *arena, *given) == 2
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("infojax: "), captured.err
    assert sentence in lines[0]
    assert captured.out == "" and not trained
    assert not list(tmp_path.iterdir()), "a refused command leaves nothing behind"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("trian", "trian is not a command; did you mean infojax train?"),
        ("xyz", "xyz is not a command; the commands are train, estimate, adapt, resume, evaluate, report"),
        ("agent=sac seed=1", "did you mean infojax train agent=sac seed=1?"),
        ("resume", "infojax resume needs a run directory"),
        ("resume nowhere", "nowhere is not a folder; give the folder that a run wrote"),
        ("resume a b", "takes one run directory, got 2"),
        ("evaluate --fast", "--fast is not an option of infojax evaluate"),
        ("report runs/sac-maze_opn", "did you mean runs/sac-maze_open?"),
    ],
)
def test_commands_in_one_clear_sentence(words, sentence, trained, monkeypatch, capsys, tmp_path):
    (tmp_path / "runs" / "sac-maze_open").mkdir(parents=True)
    assert run(monkeypatch, *words.split()) == 2
    captured = capsys.readouterr()
    assert re.fullmatch(r"infojax: .*\n", captured.err) and sentence in captured.err


def test_what_training_finds_wrong_is_a_sentence_too(trained, monkeypatch, capsys):
    def refuse(config):
        raise UserError("run_dir=x holds another run: it differs in agent.batch_size\nchoose another")

    monkeypatch.setattr(cli, "_trained", refuse)
    assert run(monkeypatch, "train", ARENA) == 2
    expected = "infojax: run_dir=x holds another run: it differs in agent.batch_size choose another\n"
    assert capsys.readouterr().err == expected


def test_an_error_that_is_not_the_users_keeps_its_traceback(trained, monkeypatch, capsys):
    def fail(config):
        raise ValueError("a mistake of ours")

    monkeypatch.setattr(cli, "_trained", fail)
    with pytest.raises(ValueError, match="a mistake of ours"):
        run(monkeypatch, "train", ARENA)
    assert capsys.readouterr().err == ""


def test_who_asks_hydra_for_full_errors_gets_the_traceback(trained, monkeypatch, capsys):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    assert run(monkeypatch, "train", ARENA, "agent=dian") == 2
    error = capsys.readouterr().err
    assert "Traceback" in error and error.splitlines()[-1].startswith("infojax: agent=dian does not exist")


def test_a_yaml_of_the_users_that_cannot_be_read(trained, monkeypatch, capsys, tmp_path):
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "mine.yaml").write_text("_target_: [unclosed\nkey: 1\n")
    assert run(monkeypatch, "train", "--config-dir", str(tmp_path), "agent=mine", ARENA) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and "mine.yaml" in error and "line 2" in error


def test_an_interruption(trained, monkeypatch, capsys):
    def interrupt(config):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_trained", interrupt)
    assert run(monkeypatch, "train", ARENA) == 130
    assert "interrupted" in capsys.readouterr().err


def test_a_clean_stop(trained, monkeypatch):
    def stop(config):
        raise SystemExit(0)

    monkeypatch.setattr(cli, "_trained", stop)
    assert run(monkeypatch, "train", ARENA) == 0


# --- what is right -----------------------------------------------------------------------------------------------


def test_training_gets_the_configuration(trained, monkeypatch, tmp_path):
    assert run(monkeypatch, "train", ARENA, "agent=sac", "seed=3", "total_steps=1e4") == 0
    (config,) = trained
    assert (config["seed"], config["total_steps"], config["agent"]["num_envs"]) == (3, 10_000, 16)
    assert config == configuration.compose([ARENA, "agent=sac", "seed=3", "total_steps=1e4"])
    assert not list(tmp_path.iterdir())  # Hydra leaves no folder of its own
    assert "HYDRA_FULL_ERROR" not in os.environ


def test_a_sweep_runs_every_job_and_fails_if_one_did(trained, monkeypatch, capsys):
    assert run(monkeypatch, "train", ARENA, "agent=sac", "-m", "seed=1,2", "agent.batch_size=0,8") == 2
    assert [(config["seed"], config["agent"]["batch_size"]) for config in trained] == [(1, 8), (2, 8)]
    assert len({configuration.run_directory(config) for config in trained}) == 2
    captured = capsys.readouterr()
    assert "infojax: job 0: agent.batch_size=0 is out of range" in captured.err
    assert "infojax: job 2: agent.batch_size=0 is out of range" in captured.err
    assert "Traceback" not in captured.err


def test_a_sweep_leaves_its_record_beside_the_runs(trained, monkeypatch, tmp_path):
    assert run(monkeypatch, "train", "-m", ARENA, "agent=sac", "seed=range(2)") == 0
    assert [config["seed"] for config in trained] == [0, 1]
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"]
    assert sorted(path.name for path in files if path.parent.name != "jobs") == ["multirun.yaml", "runs.txt"]
    assert len([path for path in files if path.parent.name == "jobs"]) == 2
    sweep = next(tmp_path.rglob("multirun.yaml")).parent
    assert sweep.is_relative_to(tmp_path / "runs" / "sweeps")
    named = [f"../../{configuration.run_name(config)}" for config in trained]
    assert (sweep / "runs.txt").read_text().splitlines() == named
    assert configuration.runs_of(sweep) == []  # neither began


def test_a_sweeper_sees_the_headline_metric(trained, monkeypatch):
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    settings = OmegaConf.create({"runtime": {"choices": {}}, "mode": "RUN"})
    monkeypatch.setattr(HydraConfig, "get", staticmethod(lambda: settings))
    config = {key: value for key, value in configuration.compose([ARENA]).items() if key != "choices"}
    assert cli._job(OmegaConf.create(config)) == 1.5


def test_the_overview_lists_what_there_is(monkeypatch, capsys):
    for words in ([], ["--help"]):
        assert run(monkeypatch, *words) == 0
        printed = capsys.readouterr().out
        for word in ("infojax train", "infojax resume", "diayn", "sac", "none", "maze/", "halfcheetah", "smoke"):
            assert word in printed


def test_the_version(monkeypatch, capsys):
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"infojax {__version__}\n"


def test_help_lists_every_group_and_option(monkeypatch, capsys):
    assert run(monkeypatch, "train", "--help") == 0
    printed = capsys.readouterr().out
    words = {word.strip(",:") for word in printed.split()}
    for group in ("agent", "objective", "experiment"):
        assert group in words
        assert set(configuration.options(group)) <= words
    for name in configuration.options("env"):
        folder, _, leaf = f"env/{name}".rpartition("/")
        assert folder in words and leaf in words
    for key in (*configuration.compose([]), "evaluation", "every", "episodes", "keep", "hidden_sizes", "num_skills"):
        assert key in words or key == "choices"


def test_the_configuration_is_shown_resolved(monkeypatch, capsys):
    assert run(monkeypatch, "train", "--cfg", "job", "agent=sac", "total_steps=5000", ARENA) == 0
    printed = capsys.readouterr().out
    assert "replay_capacity: 5000\n" in printed and "hydra" not in printed
    assert run(monkeypatch, "train", "agent=sac", "-c", "job", "-p", "agent", ARENA) == 0
    assert "discount: 0.99\n" in capsys.readouterr().out
    assert run(monkeypatch, "train", "--cfg", "hydra", ARENA) == 0
    assert "sweeper:" in capsys.readouterr().out


def test_shell_completion(monkeypatch, capsys):
    def complete(line):
        monkeypatch.setenv("COMP_LINE", line)
        assert run(monkeypatch, "-sc", "query=bash") == 0
        return capsys.readouterr().out.split()

    assert {"train", "resume"} <= set(complete("infojax tr"))
    assert "env=maze/open" in complete("infojax train agent=sac env=ma")
    assert complete("infojax train agent.batch_s") == ["agent.batch_size="]
    assert complete("infojax resume ru") == []
    assert run(monkeypatch, "train", "-sc", "install=bash") == 0
    assert capsys.readouterr().out.rstrip().endswith("infojax")


def test_commands_of_run_directories(monkeypatch, capsys, tmp_path):
    from infojax.run import report, training

    called = []
    monkeypatch.setattr(training, "resume", lambda folder: called.append(("resume", folder)))
    monkeypatch.setattr(training, "evaluate", lambda folder: called.append(("evaluate", folder)))
    monkeypatch.setattr(report, "report", lambda folders: called.append(("report", folders)) or "somewhere/report.html")
    for word in ("resume", "evaluate", "report"):
        assert run(monkeypatch, word, str(tmp_path)) == 0
        assert run(monkeypatch, word, "--help") == 0
    assert called == [("resume", tmp_path), ("evaluate", tmp_path), ("report", [tmp_path])]
    assert "report: somewhere/report.html" in capsys.readouterr().out


def test_two_files_outside_the_package_add_an_agent(trained, monkeypatch, tmp_path):
    (tmp_path / "outside_cli_agent.py").write_text(
        "from infojax.agents import sac\nfrom infojax.types import Count\n\n\n"
        "def make(spec, objective, *, num_envs: Count = 2):\n    return sac.make(spec, objective, num_envs=num_envs)\n"
    )
    folder = tmp_path / "configs" / "agent"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("_target_: outside_cli_agent.make\nnum_envs: 3 # side by side\n")
    monkeypatch.syspath_prepend(tmp_path)
    for place in (["--config-dir", str(folder.parent)], [f"hydra.searchpath=[file://{folder.parent}]"]):
        assert run(monkeypatch, "train", *place, "agent=mine", ARENA) == 0
        assert trained[-1]["agent"]["num_envs"] == 3


# --- as a process ------------------------------------------------------------------------------------------------


def process(*words, folder):
    command = [sys.executable, "-m", "infojax", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_a_wrong_command_as_a_process(tmp_path):
    ended = process("train", "agent=dian", folder=tmp_path)
    assert ended.returncode == 2 and ended.stdout == ""
    assert ended.stderr == "infojax: agent=dian does not exist; did you mean diayn?\n"
    assert not list(tmp_path.iterdir())


def test_a_wrong_value_as_a_process(tmp_path):
    ended = process("train", "total_steps=-5", folder=tmp_path)
    assert ended.returncode == 2 and re.fullmatch(r"infojax: total_steps=-5 is out of range; .*\n", ended.stderr)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", ["", "--version", "train --help", "train --cfg job", "train --info searchpath"])
def test_looking_around_does_not_load_jax(words, tmp_path):
    code = f"import sys, infojax.cli; assert infojax.cli.main({words.split()!r}) == 0; assert 'jax' not in sys.modules"
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout and not list(Path(tmp_path).iterdir())
