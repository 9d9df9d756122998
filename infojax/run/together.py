"""Runs that differ only in numbers, trained at once by one compiled program: `sweep.together=N`.

A number of agent or objective that changes no shape, such as `agent.discount`, need not be a constant of the program:
its value is one more input, along the axis of seeds. Which numbers bear that is found by tracing the agent with each of
them left open. Every run keeps what it would have kept alone, in its own run directory; runs are grouped once more by
how far they are, so that a sweep that was stopped goes on.
"""

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from infojax.run import config as configuration
from infojax.run import mesh, sweeps, training
from infojax.run.directory import failures_noted, limit_cpu_threads, prepare, use_compilation_cache
from infojax.run.evaluation import device_episodes
from infojax.run.loop import Pool, Varied, device_chunk, opening_state
from infojax.types import Agent, Environment

Config = dict[str, Any]
APART = ("run_dir", "sweep", "seed")  # in which runs of one program may differ, beside numbers


class Group(NamedTuple):
    """Runs for one program, and the numbers in which they differ."""

    configs: list[Config]
    keys: list[str]


def train_together(configs: Sequence[Config], told: Callable[[str], None] = print) -> None:
    """Train those of the runs that can share a program, at most `sweep.together` at a time; the others are left.

    A group that fails is left too, and `told` why: whoever trains its runs one by one meets the same error by name.
    """
    if not configs:
        return
    limit_cpu_threads(configs[0]["cpu_threads"])
    mesh.begin(mesh.settings_of(configs[0]))
    use_compilation_cache()
    for group in groups(configs):
        count, among = len(group.configs), ", ".join(group.keys) or "seed"
        told(f"{count} runs in one program, which differ in {among}")
        try:
            _train(group)
        except training.Apart:
            told(f"these {count} runs do not stand at the same place; one after the other")
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            told(f"these {count} runs cannot be trained in one program ({reason}); one after the other")


def groups(configs: Sequence[Config]) -> list[Group]:
    """The runs that are not finished, grouped by what one program can do, each group of two runs at least."""
    alike: dict[str, list[Config]] = {}
    for config in configs:
        if _may(config):
            alike.setdefault(_signature(config), []).append(config)
    found = []
    for members in alike.values():
        keys = _differing(members) if len(members) > 1 else []
        free = [key for key in keys if traceable(members[0], key)]
        parts: dict[str, list[Config]] = {}
        for config in members:
            numbers = configuration.numbers_of(config)
            fixed = [numbers[key] for key in keys if key not in free]
            parts.setdefault(json.dumps(fixed), []).append(config)
        for part in parts.values():
            most = part[0]["sweep"]["together"]
            pieces = [part[start : start + most] for start in range(0, len(part), most)]
            found += [Group(piece, [key for key in free if key in _differing(piece)]) for piece in pieces]
    return [group for group in found if len(group.configs) > 1]


def _may(config: Config) -> bool:
    """Whether a run may share a program with others."""
    run_dir = Path(configuration.run_directory(config))
    finished = (run_dir / "summary.json").exists()
    alone = config["init_from"] is not None or config["overwrite"] or jax.process_count() > 1
    on_device = not str(config["choices"]["env"]).startswith("gymnasium/")
    return config["sweep"]["together"] > 1 and on_device and not finished and not alone


def _signature(config: Config) -> str:
    """What runs of one program have alike: all but numbers of agent and objective, and how far they are."""
    others = {key: value for key, value in config.items() if key not in APART}
    for key in configuration.numbers_of(config):
        section, _, name = key.partition(".")
        others[section] = {other: value for other, value in others[section].items() if other != name}
    folder = Path(configuration.run_directory(config)) / "checkpoints"
    chunks = [int(path.name) for path in folder.glob("*") if path.name.isdigit()] if folder.is_dir() else []
    return json.dumps([others, max(chunks, default=0)], sort_keys=True, default=str)


def _differing(configs: Sequence[Config]) -> list[str]:
    numbers = [configuration.numbers_of(config) for config in configs]
    return [key for key in numbers[0] if len({found[key] for found in numbers}) > 1]


def traceable(config: Config, key: str) -> bool:
    """Whether the agent of a configuration can be traced with this number left open; nothing is compiled."""
    built = configuration.build(config)
    environment = built.environment
    if not isinstance(environment, Environment):
        return False
    make = configuration.agent_of(config, environment)
    axis = environment.spec.data_axis

    def run(value: Any, root: Any) -> Any:
        agent: Agent = make({key: value})
        keys = jax.random.split(root, agent.num_envs)
        pool = Pool(*jax.vmap(environment.reset)(keys))
        state = opening_state(agent, environment.spec, pool.env, pool.observation, root)
        state, metrics = device_chunk(agent, environment, 1)(state, pool)
        return metrics, device_episodes(agent, environment, 1)(state.agent, root)

    run = run if axis is None else _over(run, axis)
    try:
        jax.eval_shape(run, jnp.float32(configuration.numbers_of(config)[key]), jax.random.key(0))
    except (TypeError, ValueError):  # among them jax's own, of a value that Python wants to know
        return False
    return True


def _over(function: Callable[..., Any], names: Sequence[str]) -> Callable[..., Any]:
    """The function with axes of these names about it, of one entry each."""
    for name in names:
        function = jax.vmap(function, in_axes=(None, None), axis_name=name, axis_size=1)
    return function


def varied(group: Group, environment: Environment) -> Varied:
    """The numbers of each member of the program: those of a run, for each of its seeds."""
    numbers = [configuration.numbers_of(config) for config in group.configs]
    counts = [config["num_seeds"] for config in group.configs]
    values: Mapping[str, Any] = {key: np.repeat([one[key] for one in numbers], counts) for key in group.keys}
    return Varied(configuration.agent_of(group.configs[0], environment), values)


def _train(group: Group) -> None:
    """Train all runs of a group, each in the hand of this process."""
    with contextlib.ExitStack() as stack:
        run_dirs = {Path(configuration.run_directory(config)): config for config in group.configs}
        for run_dir in sorted(run_dirs):  # in one order, so that two processes never wait for one another
            stack.enter_context(sweeps.alone(run_dir))
        left = [config for run_dir, config in run_dirs.items() if prepare(run_dir, config) is None]
        for config in left:
            stack.enter_context(failures_noted(Path(configuration.run_directory(config)), training.INTERRUPTED))
        if left:
            built = configuration.build(left[0])
            assert isinstance(built.environment, Environment)
            training.run_all(built, left, varied(Group(left, group.keys), built.environment))


__all__ = ["Group", "groups", "traceable", "train_together"]
