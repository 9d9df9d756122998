"""Configurations: composing, checking against signatures, naming runs, building."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import gymnasium
import hydra.version
import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from infojax.run import config as configuration
from infojax.types import Count, Finite, Positive, Range, Rate, UnitInterval, UserError

ARENA = ("env=maze/open",)


# --- composing ---------------------------------------------------------------------------------------------------


def test_a_composed_configuration_is_plain_and_resolved():
    config = configuration.compose(["agent=sac", "total_steps=5000", *ARENA])
    assert type(config) is dict and type(config["agent"]) is dict and type(config["agent"]["hidden_sizes"]) is list
    assert config["agent"]["replay_capacity"] == 5000  # at most total_steps
    assert config["choices"] == {"agent": "sac", "objective": "none", "env": "maze/open"}
    assert "hydra" not in config


def test_the_top_level_keys_are_the_documented_ones():
    options = {"seed", "num_seeds", "seeds", "total_steps", "run_dir", "overwrite", "logger", "progress", "cpu_threads"}
    sections = {"agent", "objective", "env", "evaluation", "checkpoint", "log", "mesh", "skills", "sweep", "choices"}
    assert set(configuration.compose(ARENA)) == options | {"init_from"} | sections


def test_every_key_of_the_primary_configuration_has_a_comment():
    lines = (configuration.configs_folder() / "train.yaml").read_text().partition("\nhydra:")[0].splitlines()
    lines = lines[: next(index for index, line in enumerate(lines) if line.startswith("# Hydra's own"))]
    bare = [
        line for line in lines if line.strip() and "#" not in line and not line.endswith(":") and "_self_" not in line
    ]
    assert not bare


def test_the_preset_brings_its_objective_and_words_win_over_it():
    assert configuration.compose(["agent=diayn", *ARENA])["choices"]["objective"] == "diayn"
    assert configuration.compose(["agent=diayn", "objective=none", *ARENA])["choices"]["objective"] == "none"
    assert configuration.compose(["agent=sac", *ARENA])["choices"]["objective"] == "none"
    assert configuration.compose(["agent=sac", "objective=diayn", *ARENA])["objective"]["num_skills"] == 50


def test_an_experiment_sets_options_and_choices_and_words_win_over_it():
    config = configuration.compose(["experiment=smoke"])
    assert (config["total_steps"], config["choices"]["env"]) == (4000, "maze/open")
    config = configuration.compose(["experiment=smoke", "total_steps=8", "env=maze/u"])
    assert (config["total_steps"], config["choices"]["env"]) == (8, "maze/u")


def test_every_choice_composes():
    for group in ("agent", "objective"):
        for name in configuration.options(group):
            assert configuration.compose([f"{group}={name}", *ARENA])["choices"][group] == name
    for name in configuration.options("env", gymnasium=False):
        words = [f"env={name}"] + (["env.id=module:Name-v0"] if name.endswith("/any") else [])
        assert "_target_" in configuration.compose(words)["env"]
    for name in configuration.options("experiment"):
        configuration.compose([f"experiment={name}"])


def test_composing_leaves_an_initialised_hydra_as_it_was(tmp_path):
    (tmp_path / "mine.yaml").write_text("value: 1\n")
    with initialize_config_dir(str(tmp_path), version_base="1.2"):
        before = GlobalHydra.instance().hydra
        configuration.compose(ARENA)
        with pytest.raises(UserError):
            configuration.compose(["agent=nobody"])
        assert GlobalHydra.instance().hydra is before
    assert not GlobalHydra.instance().is_initialized()


def test_gymnasium_ids_are_environments():
    configuration.register_gymnasium()
    configuration.register_gymnasium()
    assert configuration.compose(["env=gymnasium/HalfCheetah-v5"])["env"] == {
        "_target_": "infojax.envs.gymnasium.make",
        "id": "HalfCheetah-v5",
        "episode_length": None,
    }
    slashed = next(name for name in gymnasium.registry if "/" in name)
    assert configuration.compose([f"env=gymnasium/{slashed}"])["env"]["id"] == slashed
    assert set(gymnasium.registry) <= {name.removeprefix("gymnasium/") for name in configuration.options("env")}


def test_gymnasium_keys_are_those_of_its_make():
    from infojax.envs.gymnasium import make

    section = configuration.compose(["env=gymnasium/Pendulum-v1"])["env"]
    assert configuration.check_arguments(make, "env", section)["id"] == "Pendulum-v1"


def test_an_id_of_a_module_names_the_run():
    config = configuration.compose(["env=gymnasium/any", "env.id=mine:Task-v0"])
    assert config["choices"]["env"] == "gymnasium/mine:Task-v0"
    assert "gymnasium_mine_Task-v0" in configuration.run_name(config)


WORDS: list[Any] = [
    None,
    True,
    3,
    0.5,
    1e-05,
    "relu",
    "brax/ant",
    "with space",
    "it's",
    "1e-3",
    "null",
    "a\\'b",
    "C:\\",
]


@pytest.mark.parametrize("value", [*WORDS, "", "a,b=c", [1, "x"], {"a": 1, "b": "c d"}, [], "{x}"])
def test_a_word_is_read_back_as_its_value(value):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_override(f"key={configuration.word(value)}").value()
    assert parsed == value and type(parsed) is type(value)


# --- values ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (3, float, 3.0),
        ("1e-3", Positive, 1e-3),
        (1e6, Count, 1_000_000),
        ("256", Count, 256),
        ([1, 2], tuple[int, ...], (1, 2)),
        ([1, 2], tuple[float, float], (1.0, 2.0)),
        ([[1], []], tuple[tuple[int, ...], ...], ((1,), ())),
        (None, Positive | None, None),
        (0.5, Positive | None, 0.5),
        ("relu", Literal["relu", "tanh"], "relu"),
        (True, bool, True),
        (0, UnitInterval, 0.0),
        (-3, Finite, -3.0),
        ("anything", Any, "anything"),
        ("text", str, "text"),
    ],
)
def test_accepted_values(value, annotation, expected):
    found = configuration.convert(value, annotation)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (True, int),
        (True, float),
        (1, bool),
        ("yes", bool),
        ("ten", Count),
        (0, Count),
        (1.5, Count),
        (float("inf"), Count),
        (float("nan"), UnitInterval),
        (1.5, UnitInterval),
        (0.0, Rate),
        (float("inf"), Finite),
        (None, Positive),
        (3, str),
        (3, tuple[int, ...]),
        ("34", tuple[int, ...]),
        ([1, "a"], tuple[int, ...]),
        ([1], tuple[int, int]),
        ("rel", Literal["relu", "tanh"]),
        (True, Literal[1, 2]),
        (-1, Positive | None),
    ],
)
def test_refused_values(value, annotation):
    with pytest.raises(UserError, match=r"agent\.key="):
        configuration.check("agent.key", value, annotation)


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Count, "a whole number of at least 1"),
        (UnitInterval, "a number from 0 to 1"),
        (Rate, "a number above 0 and up to 1"),
        (Positive | None, "a number above 0 or null"),
        (Annotated[float, Range(0, 1, open_high=True)], "a number of at least 0 and below 1"),
        (Literal["a", "b"], "one of a, b"),
        (tuple[int, ...], "a list like [A,B], each entry a whole number"),
    ],
)
def test_what_is_expected_is_said_in_words(annotation, words):
    assert configuration.describe(annotation) == words


def make(spec: Any, *, size: Count, rate: UnitInterval = 0.5, name: str = "x") -> Any:
    """A target for the tests below."""
    return spec, size, rate, name


def test_arguments_are_checked_before_the_call():
    section = {"_target_": "test_config.make", "size": 4.0, "rate": "1e-1"}
    assert configuration.check_arguments(make, "agent", section) == {"size": 4, "rate": 0.1}
    with pytest.raises(UserError, match=r"agent\.sise is not a key .* did you mean agent\.size\?"):
        configuration.check_arguments(make, "agent", {**section, "sise": 3})
    with pytest.raises(UserError, match=r"agent\.size is missing; .* a whole number of at least 1"):
        configuration.check_arguments(make, "agent", {"_target_": "test_config.make"})
    with pytest.raises(UserError, match=r"agent\.rate=1\.5 is out of range; give a number from 0 to 1, .*0\.5"):
        configuration.check_arguments(make, "agent", {**section, "rate": 1.5})


def test_options_are_converted():
    config = configuration.compose(["total_steps=1e4", "logger=tensorboard", *ARENA])
    assert config["total_steps"] == 10_000 and type(config["total_steps"]) is int
    assert config["logger"] == ["tensorboard"]


def test_the_hydra_of_a_caller_is_left_as_it_was():
    state = hydra.version.VersionBase.instance()
    before = state.getbase()
    for version in (hydra.version.Version("1.1"), hydra.version.Version("1.2")):
        state.setbase(version)
        configuration.compose([*ARENA])
        assert state.getbase() == version
    state.version_base = before


# --- runs --------------------------------------------------------------------------------------------------------


def test_the_name_of_a_run_is_stable():
    name = configuration.run_name(configuration.compose(["agent=sac", *ARENA]))
    assert name.startswith("sac-maze_open-") and len(name.rpartition("-")[2]) == 8
    same = ["run_dir=x", "overwrite=true", "logger=[wandb]", "progress=false", "cpu_threads=1", "checkpoint.keep=9"]
    same += ["sweep.metric=value"]
    same += ["total_steps=1e6"]
    for words in same:
        assert configuration.run_name(configuration.compose(["agent=sac", words, *ARENA])) == name
    for words in ("seed=1", "num_seeds=2", "agent.discount=0.9", "log.every=500", "env=maze/u", "total_steps=5"):
        assert configuration.run_name(configuration.compose(["agent=sac", *ARENA, words])) != name


def test_the_name_of_a_run_tells_a_combined_objective():
    config = configuration.compose(["agent=sac", "objective=diayn", *ARENA])
    assert configuration.run_name(config).startswith("sac-diayn-maze_open-")
    config = configuration.compose(["agent=diayn", *ARENA])
    assert configuration.run_name(config).startswith("diayn-maze_open-")


def test_the_run_directory(monkeypatch, tmp_path):
    config = configuration.compose(ARENA)
    assert configuration.run_directory(config) == Path("runs") / configuration.run_name(config)
    assert configuration.run_directory({**config, "run_dir": str(tmp_path)}) == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path))
    assert configuration.run_directory({**config, "run_dir": "~/x"}) == tmp_path / "x"


def test_a_run_directory_that_cannot_be_written(monkeypatch, tmp_path):
    config = configuration.compose(ARENA)
    configuration.check_run_directory({**config, "run_dir": str(tmp_path / "a" / "b")})
    assert not list(tmp_path.iterdir())  # nothing was made
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"run_dir=.*file/run cannot be written: .* is a file; choose another"):
        configuration.check_run_directory({**config, "run_dir": str(tmp_path / "file" / "run")})
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UserError, match="is not writable for you"):
        configuration.check_run_directory({**config, "run_dir": str(tmp_path)})


def test_a_saved_configuration_is_read_back(tmp_path):
    config = configuration.compose(["agent.actor_learning_rate=1e-5", "run_dir='${oc.env:HOME}'", *ARENA])
    configuration.write(tmp_path / "config.yaml", config)
    assert configuration.read(tmp_path / "config.yaml") == config
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
    assert configuration.difference(configuration.read(tmp_path / "config.yaml"), config) == []


def test_the_difference_of_two_runs_is_told_with_both_values():
    sac, diayn = (configuration.compose([f"agent={agent}", *ARENA]) for agent in ("sac", "diayn"))
    told = configuration.difference(sac, diayn)
    assert told[0] == "objective._target_ (infojax.objectives.none.make there, infojax.objectives.diayn.make here)"
    assert "agent.batch_size (256 there, 128 here)" in told
    assert "objective.num_skills (nothing there, 50 here)" in told
    assert configuration.difference(sac, {**sac, "run_dir": "elsewhere", "checkpoint": {"every": 1, "keep": 1}}) == []


# --- building ----------------------------------------------------------------------------------------------------


def test_a_configuration_is_built():
    built = configuration.build(configuration.compose(["agent=diayn", "objective.num_skills=3", *ARENA]))
    assert built.agent.contexts is not None and built.agent.contexts.shape[0] == 3
    assert built.environment.spec.action_shape == (2,)
    assert built.objective.context_size == 3


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("infojax.agents.sac.mak", "has no function mak; did you mean make"),
        ("infojax.agent.sac.make", "module infojax.agent is not found"),
        ("make", "give the dotted path"),
        (3, "give the dotted path"),
    ],
)
def test_a_target_that_is_not_there(target, sentence):
    config = configuration.compose(ARENA)
    config["agent"]["_target_"] = target
    with pytest.raises(UserError, match=sentence):
        configuration.build(config)


def test_an_error_inside_a_module_is_not_hidden(tmp_path, monkeypatch):
    (tmp_path / "broken_agent.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    config = configuration.compose(ARENA)
    config["agent"]["_target_"] = "broken_agent.make"
    with pytest.raises(ZeroDivisionError):
        configuration.build(config)


# --- from outside the package ------------------------------------------------------------------------------------

AGENT = """
from infojax.agents import sac
from infojax.types import Count

def make(spec, objective, *, num_envs: Count = 2):
    return sac.make(spec, objective, num_envs=num_envs)
"""
OBJECTIVE = """
from infojax.objectives import none
from infojax.types import Positive

def make(spec, *, bonus: Positive):
    return none.make(spec)
"""
ENV = """
from infojax.envs import maze
from infojax.types import Count

def make(*, episode_length: Count = 20):
    return maze.make(layout="open", episode_length=episode_length)
"""
OUTSIDE = {"agent": (AGENT, "num_envs: 2"), "objective": (OBJECTIVE, "bonus: 0.5"), "env": (ENV, "episode_length: 20")}


@pytest.mark.parametrize("group", list(OUTSIDE))
def test_two_files_outside_the_package_add_one_of_each(group, tmp_path, monkeypatch):
    code, keys = OUTSIDE[group]
    (tmp_path / f"outside_{group}.py").write_text(code)
    folder = tmp_path / "my configs" / group
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(f"_target_: outside_{group}.make\n{keys} # explained\n")
    monkeypatch.syspath_prepend(tmp_path)
    words = [f"{group}=mine", *(() if group == "env" else ARENA), *(("agent=sac",) if group != "agent" else ())]
    config = configuration.compose(words, config_dir=folder.parent)
    assert config["choices"][group] == "mine"
    assert configuration.build(config).environment.spec.episode_length >= 20
    key = keys.partition(":")[0]
    with pytest.raises(UserError, match=rf"{group}\.{key}=-1 is out of range"):
        configuration.build(configuration.compose([*words, f"{group}.{key}=-1"], config_dir=folder.parent))
    with pytest.raises(UserError, match=rf"{group}=mime does not exist; did you mean mine(\?| or )"):
        configuration.compose([f"{group}=mime"], config_dir=folder.parent)


def test_a_missing_folder_of_configurations_is_told(tmp_path):
    with pytest.raises(UserError, match="is not a folder"):
        configuration.compose(config_dir=tmp_path / "nothing")


def test_the_resolver_takes_the_smaller_number():
    assert OmegaConf.create({"a": "${at_most:10,${b}}", "b": 3}).a == 3
    assert configuration.at_most(10, "text") == 10  # `b` itself is then refused with its own name
