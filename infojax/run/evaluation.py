"""Evaluation: one episode per environment, deterministic and stochastic side by side, each finite context in turn.

Columns of an evaluation: the E deterministic episodes first, then the E stochastic ones; within each, the contexts
follow one another `episodes` times. Its keys are its own and never those of training.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from infojax.run import coverage
from infojax.run.diagnostics import diagnose
from infojax.run.loop import Varied, act_all, host_rollout, opening, select_environments
from infojax.run.mesh import Seeds, fetch, over_first_shards, over_seeds, place, seed_mesh
from infojax.types import (
    Agent,
    Array,
    Environment,
    EnvSpec,
    HostFactory,
    Key,
    Metrics,
    Rollout,
    Timestep,
    episode_mask,
)

MODES = ("deterministic", "stochastic")
SEEDED = ("positions", "mask", "returns", "confusion")  # arrays of an evaluation that have the seed axis


class Evaluation(NamedTuple):
    """What an evaluation found, per seed: numbers to log, and arrays to draw."""

    metrics: dict[str, np.ndarray]  # name -> [S]
    arrays: dict[str, np.ndarray]


Evaluate = Callable[[Any, Sequence[int], int], Evaluation]  # (agent state as the loop has it, seeds, step)


def of_seeds(found: Evaluation, window: slice) -> Evaluation:
    """What an evaluation found of some of its seeds."""
    arrays = {name: value[window] if name in SEEDED else value for name, value in found.arrays.items()}
    return Evaluation({name: value[window] for name, value in found.metrics.items()}, arrays)


def columns(agent: Agent, episodes: int) -> tuple[np.ndarray, np.ndarray]:
    """The skill of every column (−1 without finite skills) and whether it acts deterministically."""
    skills = np.repeat(np.arange(len(agent.contexts)), episodes) if agent.contexts is not None else -np.ones(episodes)
    skill = np.tile(skills.astype(np.int32), len(MODES))
    return skill, np.repeat([True, False], len(skills))


def _carries(agent: Agent, state: Any, skill: np.ndarray, key: Key) -> Any:
    """Fresh carries with the context of each column put in."""
    carry = jax.vmap(agent.begin, in_axes=(None, 0))(state, jax.random.split(key, len(skill)))
    return carry if agent.contexts is None else carry._replace(context=agent.contexts[skill])


def _act(
    agent: Agent, state: Any, carry: Any, timestep: Timestep, key: Key, half: int
) -> tuple[Any, Array, dict[str, Array]]:
    """The first half of the columns acts deterministically, the second explores; one program for both."""
    parts = []
    for index, explore in enumerate((False, True)):
        window = slice(index * half, (index + 1) * half)
        mine, now = jax.tree.map(lambda leaf, window=window: leaf[window], (carry, timestep))
        parts.append(act_all(agent, state, mine, now, jax.random.fold_in(key, index), explore))
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


class Record(NamedTuple):
    """One seed's evaluation: rollout [L, 2E, …], positions [L, 2E, P] after each step, the environment's measures."""

    rollout: Rollout
    positions: Array
    measures: Metrics


def _summary(agent: Agent, spec: EnvSpec, state: Any, record: Record, skill: np.ndarray, diagnostics: bool) -> Metrics:
    """All numbers and pictures' arrays of one seed's evaluation."""
    rollout, positions, measures = record
    mask = episode_mask(rollout.terminated, rollout.truncated)
    returns = jnp.sum(jnp.where(mask, rollout.reward, 0), axis=0)
    lengths = jnp.sum(mask.astype(jnp.float32), axis=0)
    half = len(skill) // len(MODES)
    found: Metrics = {"positions": positions, "mask": mask, "returns": returns}
    for index, mode in enumerate(MODES):
        window = slice(index * half, (index + 1) * half)
        name = f"evaluation/{mode}"
        found[f"{name}/return"] = jnp.mean(returns[window])
        found[f"{name}/length"] = jnp.mean(lengths[window])
        if spec.position_names:
            visited = coverage.visit(spec, coverage.nowhere(spec), positions[:, window], mask[:, window])
            found[f"{name}/coverage"] = coverage.share(visited)
        if diagnostics:
            yardstick = diagnose(spec, positions[:, window], rollout.action[:, window], mask[:, window])
            found |= {f"{name}/{key}": value for key, value in yardstick.items()}
        if agent.contexts is not None:
            per_skill = jnp.mean(returns[window].reshape(len(agent.contexts), -1), axis=1)
            found[f"{name}/best_skill_return"] = jnp.max(per_skill)
            found |= {f"{name}/return_skill_{k}": per_skill[k] for k in range(len(agent.contexts))}
        mine, measured = jax.tree.map(lambda leaf, window=window: leaf[:, window], (rollout, measures))
        found |= {f"{name}/{key}": value for key, value in _measured(measured, mask[:, window]).items()}
        found |= {f"{name}/{key}": value for key, value in agent.report(state, mine).items()}
    return found


def _measured(measures: Metrics, mask: Array) -> Metrics:
    """The environment's measures (L, E): means over the steps of the episodes, and their values in the last ones."""
    steps = jnp.sum(mask.astype(jnp.int32), axis=0)
    last = jax.nn.one_hot(steps - 1, mask.shape[0], axis=0, dtype=jnp.float32)
    found: Metrics = {}
    for name, value in measures.items():
        found[name] = jnp.sum(jnp.where(mask, value, 0)) / jnp.sum(steps).astype(jnp.float32)
        found[f"{name}_at_end"] = jnp.mean(jnp.sum(jnp.where(last > 0, value, 0), axis=0))
    return found


def device_evaluation(
    agent: Agent,
    environment: Environment,
    episodes: int,
    num_seeds: int,
    seeds: Seeds,
    diagnostics: bool = False,
    devices: Sequence[Any] | None = None,
    varied: Varied | None = None,
) -> Evaluate:
    """Evaluation on the device, one compiled program; `diagnostics` adds the common yardstick of exploration."""
    spec = environment.spec
    mesh = seed_mesh(num_seeds, devices, spec.data_shards)
    values = [] if varied is None else [varied.laid_out(mesh)]

    def one_seed(state: Any, key: Key, *given: Any) -> Metrics:
        mine = agent if varied is None else varied.agent(*given)
        return device_episodes(mine, environment, episodes, diagnostics)(state, key)

    compiled = over_first_shards(one_seed, mesh, seeds)

    def evaluate(state: Any, seed_list: Sequence[int], step: int) -> Evaluation:
        found = fetch(compiled(state, place(evaluation_keys(seed_list, step), mesh), *values))
        return _split(agent, spec, found, episodes, step)

    return evaluate


def device_episodes(
    agent: Agent, environment: Environment, episodes: int, diagnostics: bool = False
) -> Callable[[Any, Key], Metrics]:
    """(state of the agent, key) -> all numbers and arrays of one seed's evaluation."""
    spec = environment.spec
    skill, _ = columns(agent, episodes)
    count = len(skill)

    def one_seed(state: Any, key: Key) -> Metrics:
        reset_key, carry_key, step_key = jax.random.split(key, 3)
        env_state, observation = jax.vmap(environment.reset)(jax.random.split(reset_key, count))
        carry = _carries(agent, state, skill, carry_key)

        def step(
            loop: tuple[Any, Any, Array, Array], inputs: tuple[Key, Array]
        ) -> tuple[Any, tuple[Rollout, Array, Metrics]]:
            env_state, carry, observation, over = loop
            key, time = inputs
            timestep = opening(observation)._replace(first=jnp.full((count,), time == 0))
            act_key, env_key = jax.random.split(key)
            carry, action, extras = _act(agent, state, carry, timestep, act_key, count // len(MODES))
            moved, following, reward, terminated = jax.vmap(environment.step)(
                env_state, action, jax.random.split(env_key, count)
            )
            # An environment whose episode is over stands still, so that nothing diverges behind the mask.
            moved, following = jax.tree.map(
                lambda old, new: select_environments(over, old, new), (env_state, observation), (moved, following)
            )
            truncated = (time + 1 >= spec.episode_length) & ~terminated
            rollout = Rollout(observation, timestep.first, action, reward, terminated, truncated, following, extras)
            position = jax.vmap(environment.position)(moved)
            measures = jax.vmap(environment.measures)(moved)
            return (moved, carry, following, over | terminated), (rollout, position, measures)

        times = jnp.arange(spec.episode_length, dtype=jnp.int32)
        start = (env_state, carry, observation, jnp.zeros((count,), bool))
        keys = jax.random.split(step_key, spec.episode_length)
        _, (rollout, positions, measures) = jax.lax.scan(step, start, (keys, times))
        return _summary(agent, spec, state, Record(rollout, positions, measures), skill, diagnostics)

    return one_seed


def evaluation_keys(seed_list: Sequence[int], step: int) -> Key:
    """fold_in(key(seed), step): the same evaluation whenever it is asked for, and no training key."""
    roots = jnp.stack([jax.random.key(seed) for seed in seed_list])
    return jax.vmap(lambda root: jax.random.fold_in(jax.random.fold_in(root, 2), step))(roots)


def host_evaluation(
    agent: Agent,
    factory: HostFactory,
    episodes: int,
    num_seeds: int,
    seeds: Seeds,
    diagnostics: bool = False,
    devices: Sequence[Any] | None = None,
) -> Evaluate:
    """The same evaluation of environments on the host."""
    spec = factory.spec
    skill, _ = columns(agent, episodes)
    half = len(skill) // len(MODES)
    mesh = seed_mesh(num_seeds, devices)

    def begin(state: Any, key: Key) -> tuple[Any, Key]:
        carry_key, step_key = jax.random.split(key)
        return _carries(agent, state, skill, carry_key), step_key

    def act(state: Any, carry: Any, timestep: Timestep, key: Key) -> tuple[Any, Array, dict[str, Array], Key]:
        key, act_key = jax.random.split(key)
        return *_act(agent, state, carry, timestep, act_key, half), key

    run_begin, run_act = over_seeds(begin, mesh, seeds), over_seeds(act, mesh, seeds)

    def summarise(state: Any, rollout: Rollout, positions: Array) -> Metrics:
        return _summary(agent, spec, state, Record(rollout, positions, {}), skill, diagnostics)

    run_summary = over_seeds(summarise, mesh, seeds)

    def evaluate(state: Any, seed_list: Sequence[int], step: int) -> Evaluation:
        batches = [factory.create(len(skill)) for _ in seed_list]
        starts = [int(np.random.SeedSequence((seed, step, 2)).generate_state(1)[0]) for seed in seed_list]
        observation = np.stack([batch.reset(start) for batch, start in zip(batches, starts, strict=True)])
        carry, key = run_begin(state, evaluation_keys(seed_list, step))
        timestep = jax.tree.map(np.asarray, jax.vmap(opening)(jnp.asarray(observation)))
        records, positions = [], []
        for _ in range(spec.episode_length):
            carry, action, extras, key = run_act(state, carry, timestep, key)
            actions = np.asarray(action)
            results = [batch.step(actions[index]) for index, batch in enumerate(batches)]
            after: Timestep = jax.tree.map(lambda *leaves: np.stack(leaves), *results)
            records.append((timestep, actions, after, {name: np.asarray(value) for name, value in extras.items()}))
            positions.append(np.stack([batch.position() for batch in batches]))
            timestep = after
        for batch in batches:
            batch.close()
        rollout = host_rollout(records)
        found = jax.device_get(run_summary(state, rollout, np.stack(positions, axis=1).astype(np.float32)))
        return _split(agent, spec, found, episodes, step)

    return evaluate


def _split(agent: Agent, spec: EnvSpec, found: Metrics, episodes: int, step: int) -> Evaluation:
    """Scalars to metrics, the rest to the arrays from which the pictures are drawn."""
    skill, deterministic = columns(agent, episodes)
    metrics = {name: np.asarray(value) for name, value in found.items() if np.ndim(value) == 1}
    arrays = {
        "positions": found["positions"],
        "mask": found["mask"],
        "returns": found["returns"],
        "skill": skill,
        "deterministic": deterministic,
        "position_names": np.asarray(spec.position_names, dtype=str),
        "step": np.asarray(step),
    }
    if "evaluation/stochastic/confusion" in found:
        arrays["confusion"] = found["evaluation/stochastic/confusion"]
    return Evaluation(metrics, {name: np.asarray(value) for name, value in arrays.items()})
