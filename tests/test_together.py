"""Runs that differ only in numbers: grouped by what one program can do, trained by it, equal to single runs."""

import json

import jax
import numpy as np
import pytest

from infojax import cli
from infojax.run import config as configuration
from infojax.run import together, training

TINY = {
    "total_steps": 64,
    "log.every": 16,
    "evaluation.every": 32,
    "evaluation.episodes": 1,
    "checkpoint.every": 16,
    "progress": False,
    "agent.num_envs": 2,
    "agent.unroll": 4,
    "agent.epochs": 1,
    "agent.minibatches": 1,
    "agent.hidden_sizes": [4],
    "env.episode_length": 8,
    "sweep.together": 8,
}


def tiny(run_dir, **more):
    given = {**TINY, **{key.replace("__", "."): value for key, value in more.items()}, "run_dir": str(run_dir)}
    words = [f"{key}={configuration.word(value)}" for key, value in given.items()]
    return configuration.compose(["agent=ppo", "objective=none", "env=maze/open", *words])


def rows_of(run_dir):
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if not name.startswith("time/")} for row in rows]


def test_runs_are_grouped_by_what_one_program_can_do(tmp_path):
    """A discount may be traced; whether there is a value head of the task (weight 0) and shapes are of the program."""
    configs = [
        tiny(tmp_path / f"{discount}-{weight}", agent__discount=discount, agent__extrinsic_weight=weight)
        for discount in (0.9, 0.95)
        for weight in (0.0, 1.0)
    ]
    alike = {"agent__discount": 0.9, "agent__extrinsic_weight": 1.0}
    configs += [tiny(tmp_path / "seed", seed=7, **alike), tiny(tmp_path / "size", agent__hidden_sizes=[5], **alike)]
    found = {
        tuple(sorted(configuration.run_directory(config).name for config in group.configs)): group.keys
        for group in together.groups(configs)
    }
    assert found == {
        ("0.9-0.0", "0.95-0.0"): ["agent.discount"],
        ("0.9-1.0", "0.95-1.0", "seed"): ["agent.discount"],
    }
    at_most_two = [{**config, "sweep": {**config["sweep"], "together": 2}} for config in configs]
    assert sorted(len(group.configs) for group in together.groups(at_most_two)) == [2, 2]  # the third is left


def test_runs_of_one_program_are_those_of_programs_of_their_own(tmp_path, power_cut):
    """Two runs of two seeds, interrupted in the third chunk and gone on with."""
    values = {"agent__discount": 0.5, "agent__learning_rate": 0.01}
    pair = [tiny(tmp_path / "first", num_seeds=2), tiny(tmp_path / "second", num_seeds=2, seed=4, **values)]
    told = []
    with power_cut(6):
        together.train_together(pair, told.append)
    assert told[0] == "2 runs in one program, which differ in agent.learning_rate, agent.discount"
    assert "power cut" in told[1]
    assert json.loads((tmp_path / "second" / "status.json").read_text())["status"] == "failed"
    together.train_together(pair, told.append)
    assert len(told) == 3

    single = tmp_path / "single"
    training.train_from_config(tiny(single, num_seeds=2, seed=4, **values))
    kept, alone = rows_of(tmp_path / "second"), rows_of(single)
    assert [(row["step"], row["seed"]) for row in kept] == [
        (step, seed) for step in (16, 32, 48, 64) for seed in (4, 5)
    ]
    for row, other in zip(kept, alone, strict=True):
        assert row.keys() == other.keys()
        for name, value in row.items():
            assert value == pytest.approx(other[name], rel=1e-5, abs=1e-6), name
    first, second = (training.load(tmp_path / name) for name in ("second", "single"))
    for one, other in zip(jax.tree.leaves(first.state), jax.tree.leaves(second.state), strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=1e-5, atol=1e-5)
    summary = json.loads((tmp_path / "second" / "summary.json").read_text())
    assert summary["num_seeds"] == 2 and summary["seed"] == 4
    # Each learns by its own numbers: the first run is another.
    assert rows_of(tmp_path / "first")[-1]["train/value_loss"] != kept[-1]["train/value_loss"]
    assert together.groups(pair) == []  # both are finished


@pytest.mark.parametrize(
    ("word", "told"),
    [("overwrite=true", "would train every run twice"), ("hydra/sweeper=optuna", "finds them later")],
)
def test_what_does_not_go_together_is_refused(word, told, capsys):
    words = ["agent=ppo", "objective=none", "env=maze/open", "agent.discount=0.9,0.95", "sweep.together=2", word]
    assert cli.main(["train", "-m", *words]) == cli.WRONG
    assert told in capsys.readouterr().err
