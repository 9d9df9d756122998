"""The compiled loops: chunks of (act, step; update) on the device, and their short twin for environments on the host.

    iteration = scan(act, step; T) → update        chunk = scan(iteration, K)

One seed is a pure function of (loop state, pool of initial states). Seeds are mapped over it by `vmap` or `lax.map`
under `shard_map`, with no communication between them. Nothing in here prints, writes or calls back.

Leaves of the loop state carry a leading seed axis [S, …]; within one seed, B environments [B, …]. Where the data of a
seed is spread over D shards (`EnvSpec.data_shards`) they carry two, [S, D, …]: each shard has its own environments and
replay, and a copy of what is learned, the same in all because every gradient and every statistic is averaged over them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from infojax.run import coverage
from infojax.run.mesh import Seeds, over_seeds, over_shards, place, seed_keys, seed_mesh
from infojax.types import (
    Agent,
    Array,
    Environment,
    EnvSpec,
    HostEnvironment,
    Key,
    Metrics,
    Rollout,
    Timestep,
    UserError,
    shard_key,
)


class LoopState(NamedTuple):
    """All that a run needs to go on: nothing else lives between chunks."""

    agent: Any
    env: Any  # device environments only
    timestep: Timestep
    carry: Any
    root: Key  # key(seed) itself: pools of initial states derive from it
    key: Key  # moves on with every iteration
    chunk: Array
    episode_step: Array  # [B]
    episode_return: Array  # [B]
    visited: Array  # [cells] of the grid of positions, by any environment in any step


class Pool(NamedTuple):
    """Fresh initial states for the episodes of one chunk, [P, …]."""

    env: Any
    observation: Array


class Episodes(NamedTuple):
    """Sums over the episodes that ended."""

    number: Array
    returns: Array
    lengths: Array
    measures: Metrics  # the environment's own, in the last step of an episode


class Varied(NamedTuple):
    """Numbers in which the members of a program differ, and the agent that has those of one member.

    A member is a seed of a run; members of several runs lie on the same axis, one run behind the other.
    """

    agent: Callable[[Mapping[str, Any]], Agent]
    values: Mapping[str, np.ndarray]  # key of the configuration -> [S]

    def laid_out(self, mesh: Mesh, shards: int = 1) -> dict[str, Array]:
        """The values on the devices, [S], or [S, D] where a seed has several shards."""
        spread = {key: value if shards == 1 else np.stack([value] * shards, 1) for key, value in self.values.items()}
        return {key: place(value.astype(np.float32), mesh) for key, value in spread.items()}


class Loop(NamedTuple):
    """The compiled functions of one run; leaves carry the seed axis."""

    init: Callable[[Sequence[int]], LoopState]
    chunk: Callable[[LoopState], tuple[LoopState, Metrics]]
    steps_per_chunk: int


def strong(tree: Any) -> Any:
    """The same leaves without weak types: a weak leaf after `init` would compile the chunk twice."""
    return jax.tree.map(
        lambda leaf: jax.lax.convert_element_type(leaf, jnp.asarray(leaf).dtype) if _weak(leaf) else leaf, tree
    )


def _weak(leaf: Any) -> bool:
    return bool(getattr(leaf, "weak_type", False))


def act_once(agent: Agent, state: Any, carry: Any, timestep: Timestep, key: Key) -> tuple[Any, Array, dict[str, Array]]:
    """Begin the episodes that open here, then act, in B environments; shared by the device and the host loop."""
    num_envs = timestep.first.shape[0]
    begin_key, act_key = jax.random.split(key)
    fresh = jax.vmap(agent.begin, in_axes=(None, 0))(state, jax.random.split(begin_key, num_envs))
    carry = jax.tree.map(lambda new, old: select_environments(timestep.first, new, old), fresh, carry)
    return act_all(agent, state, carry, timestep, act_key, True)


def act_all(
    agent: Agent, state: Any, carry: Any, timestep: Timestep, key: Key, explore: bool
) -> tuple[Any, Array, dict[str, Array]]:
    """`act` in B environments."""
    keys = jax.random.split(key, timestep.first.shape[0])
    return jax.vmap(lambda c, t, k: agent.act(state, c, t, k, explore))(carry, timestep, keys)


def select_environments(mask: Array, new: Array, old: Array) -> Array:
    """Select whole environments: `mask` [B] against leaves [B, …]."""
    return jnp.where(mask.reshape(mask.shape + (1,) * (new.ndim - 1)), new, old)


def opening(observation: Array) -> Timestep:
    """The timestep of B environments that have just been reset."""
    num_envs = observation.shape[0]
    no = jnp.zeros((num_envs,), bool)
    return Timestep(observation, jnp.zeros((num_envs,), jnp.float32), no, no, observation, ~no)


def opening_state(agent: Agent, spec: EnvSpec, env_state: Any, observation: Array, root: Key) -> LoopState:
    """The loop before its first chunk."""
    agent_key, carry_key, loop_key = jax.random.split(jax.random.fold_in(root, 0), 3)
    # Shards begin with the same agent and go their own ways from there.
    carry_key, loop_key = shard_key(spec, carry_key), shard_key(spec, loop_key)
    state = agent.init(agent_key)
    keys = jax.random.split(carry_key, agent.num_envs)
    return LoopState(
        agent=state,
        env=env_state,
        timestep=opening(observation),
        carry=jax.vmap(agent.begin, in_axes=(None, 0))(state, keys),
        root=root,
        key=loop_key,
        chunk=jnp.zeros((), jnp.int32),
        episode_step=jnp.zeros((agent.num_envs,), jnp.int32),
        episode_return=jnp.zeros((agent.num_envs,), jnp.float32),
        visited=coverage.nowhere(spec),
    )


def _chunk_metrics(metrics: Metrics, episodes: Episodes, measures: Metrics, axis: tuple[str, ...] | None) -> Metrics:
    """Means over a chunk; without a finished episode there is no return to tell, hence NaN."""

    def total(values: Array) -> Array:
        return jnp.sum(values) if axis is None else jax.lax.psum(jnp.sum(values), axis)

    def mean(values: Array) -> Array:
        return jnp.mean(values) if axis is None else jax.lax.pmean(jnp.mean(values), axis)

    count = total(episodes.number)

    def per_episode(values: Array) -> Array:
        return jnp.where(count > 0, total(values) / jnp.maximum(count, 1), jnp.nan)

    twice = sorted(set(metrics) & {*measures, *(f"{name}_at_end" for name in measures)})
    if twice:
        raise UserError(f"the agent and the environment both report {', '.join(twice)}; rename one of them")
    return (
        {f"train/{name}": mean(value) for name, value in (metrics | measures).items()}
        | {f"train/{name}_at_end": per_episode(value) for name, value in episodes.measures.items()}
        | {
            "train/episode_return": per_episode(episodes.returns),
            "train/episode_length": per_episode(episodes.lengths),
            "train/episodes": count,
        }
    )


def _count_episodes(state: LoopState, reward: Array, done: Array, measures: Metrics) -> tuple[LoopState, Episodes]:
    length, total = state.episode_step + 1, state.episode_return + reward
    episodes = Episodes(
        jnp.sum(done.astype(jnp.float32)),
        jnp.sum(jnp.where(done, total, 0)),
        jnp.sum(jnp.where(done, length, 0).astype(jnp.float32)),
        {name: jnp.sum(jnp.where(done, value, 0)) for name, value in measures.items()},
    )
    return state._replace(episode_step=jnp.where(done, 0, length), episode_return=jnp.where(done, 0, total)), episodes


class Step(NamedTuple):
    """What one step of B environments leaves behind besides the next state."""

    rollout: Rollout
    episodes: Episodes
    position: Array  # [B, P]
    measures: Metrics  # means over the environments


def device_chunk(
    agent: Agent, environment: Environment, iterations: int
) -> Callable[[LoopState, Pool], tuple[LoopState, Metrics]]:
    """`iterations` x (T steps in B environments, one update), of one seed."""
    spec, num_envs = environment.spec, agent.num_envs

    def step(state: LoopState, pool: Pool, taken: Array, key: Key) -> tuple[LoopState, Array, Step]:
        act_key, env_key = jax.random.split(key)
        carry, action, extras = act_once(agent, state.agent, state.carry, state.timestep, act_key)
        env_state, observation, reward, terminated = jax.vmap(environment.step)(
            state.env, action, jax.random.split(env_key, num_envs)
        )
        truncated = (state.episode_step + 1 >= spec.episode_length) & ~terminated
        done = terminated | truncated
        rollout = Rollout(
            state.timestep.observation,
            state.timestep.first,
            action,
            reward,
            terminated,
            truncated,
            observation,
            extras,
        )
        position, measures = jax.vmap(environment.position)(env_state), jax.vmap(environment.measures)(env_state)
        # Every ended episode takes the next unused state of the pool.
        ended = done.astype(jnp.int32)
        index = (taken + jnp.cumsum(ended) - ended) % pool.observation.shape[0]
        env_state, after = jax.tree.map(
            lambda initial, old: select_environments(done, initial[index], old),
            (pool.env, pool.observation),
            (env_state, observation),
        )
        timestep = Timestep(after, reward, terminated, truncated, observation, done)
        state = state._replace(env=env_state, timestep=timestep, carry=carry)
        state, episodes = _count_episodes(state, reward, done, measures)
        return state, taken + jnp.sum(ended), Step(rollout, episodes, position, jax.tree.map(jnp.mean, measures))

    def chunk(state: LoopState, pool: Pool) -> tuple[LoopState, Metrics]:
        def iteration(
            loop: tuple[LoopState, Array], _: None
        ) -> tuple[tuple[LoopState, Array], tuple[Metrics, Episodes, Metrics]]:
            state, taken = loop
            key, step_key, update_key = jax.random.split(state.key, 3)

            # The agent does not change while it acts, so its state (with its replay) is not carried by this scan.
            def body(inner: tuple[LoopState, Array], key: Key) -> tuple[tuple[LoopState, Array], Step]:
                moved, taken, left = step(inner[0]._replace(agent=state.agent), pool, inner[1], key)
                return (moved._replace(agent=()), taken), left

            keys = jax.random.split(step_key, agent.unroll)
            (moved, taken), left = jax.lax.scan(body, (state._replace(agent=()), taken), keys)
            agent_state, metrics = agent.update(state.agent, left.rollout, update_key)
            visited = coverage.visit(spec, state.visited, left.position)
            return (moved._replace(agent=agent_state, key=key, visited=visited), taken), (
                metrics,
                left.episodes,
                left.measures,
            )

        loop = (state, jnp.zeros((), jnp.int32))
        (state, _), found = jax.lax.scan(iteration, loop, None, length=iterations)
        values = _chunk_metrics(*found, spec.data_axis)
        if spec.position_names:
            if spec.data_axis is not None:  # what any shard has visited
                visited = jax.lax.pmax(state.visited.astype(jnp.int32), spec.data_axis) > 0
                state = state._replace(visited=visited)
            values["train/coverage"] = coverage.share(state.visited)
        return state._replace(chunk=state.chunk + 1), values

    return chunk


def pool_size(agent: Agent, environment: Environment, iterations: int) -> int:
    """Initial states enough for one chunk, were every episode as short as the spec expects of the shortest.

    Should more episodes end than that, the pool is reused from its start.
    """
    steps = iterations * agent.unroll
    return agent.num_envs * (math.ceil(steps / environment.spec.shortest_episode) + 1)


class DevicePrograms(NamedTuple):
    """The jitted functions of an environment on the device; leaves carry the seed axis."""

    pool: Callable[[Key, Array], Pool]  # (roots, numbers of the chunks)
    init: Callable[..., LoopState]  # (roots, pools), and what varies
    chunk: Callable[..., tuple[LoopState, Metrics]]  # (states, whose memory it takes, pools), and what varies


def device_programs(
    agent: Agent,
    environment: Environment,
    iterations: int,
    mesh: Mesh,
    seeds: Seeds,
    agent_of: Callable[[Mapping[str, Any]], Agent] | None = None,
) -> DevicePrograms:
    """What a run on the device compiles, over the seeds on a mesh; `agent_of` where the agents differ in numbers."""
    size = pool_size(agent, environment, iterations)

    def make_pool(root: Key, chunk: Array) -> Pool:
        key = shard_key(environment.spec, jax.random.fold_in(jax.random.fold_in(root, 1), chunk))
        keys = jax.random.split(key, size)
        return Pool(*strong(jax.vmap(environment.reset)(keys)))

    def init(root: Key, pool: Pool, *varied: Any) -> LoopState:
        # The first episodes take the pool of "chunk −1", so that resetting is compiled once.
        first = jax.tree.map(lambda leaf: leaf[: agent.num_envs], pool)
        mine = agent if agent_of is None else agent_of(*varied)
        return strong(opening_state(mine, environment.spec, first.env, first.observation, root))

    def chunk(state: LoopState, pool: Pool, *varied: Any) -> tuple[LoopState, Metrics]:
        mine = agent if agent_of is None else agent_of(*varied)
        return device_chunk(mine, environment, iterations)(state, pool)

    return DevicePrograms(
        pool=over_shards(make_pool, mesh, seeds),
        init=over_shards(init, mesh, seeds),
        chunk=over_shards(chunk, mesh, seeds, ("shard", "seed"), donate=True),
    )


def device_loop(
    agent: Agent,
    environment: Environment,
    iterations: int,
    num_seeds: int,
    seeds: Seeds,
    devices: Sequence[Any] | None = None,
    varied: Varied | None = None,
) -> Loop:
    """The loop of an environment on the device, on those of the machine or those given."""
    shards = environment.spec.data_shards
    mesh = seed_mesh(num_seeds, devices, shards)
    run = device_programs(agent, environment, iterations, mesh, seeds, varied and varied.agent)
    values = [] if varied is None else [varied.laid_out(mesh, shards)]

    def start(seed_list: Sequence[int]) -> LoopState:
        roots = seed_keys(seed_list, mesh, shards)
        before = place(np.full((num_seeds, shards)[: roots.ndim], -1, np.int32), mesh)
        return run.init(roots, run.pool(roots, before), *values)

    def advance(state: LoopState) -> tuple[LoopState, Metrics]:
        return run.chunk(state, run.pool(state.root, state.chunk), *values)

    return Loop(start, advance, iterations * agent.unroll * agent.num_envs * shards)


class HostPrograms(NamedTuple):
    """The jitted functions of environments on the host; leaves carry the seed axis."""

    init: Callable[..., LoopState]  # (roots, observations)
    act: Callable[..., tuple[LoopState, Array, dict[str, Array], Array]]  # (agent state, what moves, timestep)
    update: Callable[..., tuple[Any, Key, Metrics]]  # (agent state, whose memory it takes, key, rollout)
    visit: Callable[..., Array]  # (visited, positions)


def host_programs(agent: Agent, spec: EnvSpec, mesh: Mesh, seeds: Seeds) -> HostPrograms:
    """What a run on the host compiles, over the seeds on a mesh."""

    def init(root: Key, observation: Array) -> LoopState:
        return strong(opening_state(agent, spec, (), observation, root))

    def act(
        agent_state: Any, moving: LoopState, timestep: Timestep
    ) -> tuple[LoopState, Array, dict[str, Array], Array]:
        step_key, key = jax.random.split(moving.key)
        carry, action, extras = act_once(agent, agent_state, moving.carry, timestep, step_key)
        return moving._replace(carry=carry, key=key), action, extras, timestep.first

    def update(agent_state: Any, key: Key, rollout: Rollout) -> tuple[Any, Key, Metrics]:
        update_key, key = jax.random.split(key)
        agent_state, metrics = agent.update(agent_state, rollout, update_key)
        return agent_state, key, metrics

    def visit(visited: Array, positions: Array) -> Array:
        return coverage.visit(spec, visited, positions)

    return HostPrograms(
        init=over_seeds(init, mesh, seeds),
        act=over_seeds(act, mesh, seeds),
        update=over_seeds(update, mesh, seeds, donate=True),
        visit=over_seeds(visit, mesh, seeds),
    )


def host_loop(
    agent: Agent,
    batches: Sequence[HostEnvironment],
    iterations: int,
    seeds: Seeds,
    devices: Sequence[Any] | None = None,
) -> Loop:
    """The loop of environments on the host, one batch per seed: the same `act` and `update`, numpy in between."""
    num_seeds, spec = len(batches), batches[0].spec
    mesh = seed_mesh(num_seeds, devices)
    run = host_programs(agent, spec, mesh, seeds)

    def start(seed_list: Sequence[int]) -> LoopState:
        observation = np.stack([batch.reset(seed) for batch, seed in zip(batches, seed_list, strict=True)])
        return run.init(seed_keys(seed_list, mesh), observation)

    def advance(state: LoopState) -> tuple[LoopState, Metrics]:
        agent_state, moving = state.agent, state._replace(agent=(), timestep=(), visited=())
        timestep: Timestep = jax.tree.map(np.asarray, state.timestep)
        step, total = np.array(state.episode_step), np.array(state.episode_return)
        ended: list[list[tuple[float, int]]] = [[] for _ in batches]
        visited, collected = state.visited, []
        for _ in range(iterations):
            records, positions = [], []
            for _ in range(agent.unroll):
                moving, action, extras, _ = run.act(agent_state, moving, timestep)
                actions = np.asarray(action)
                results = [batch.step(actions[index]) for index, batch in enumerate(batches)]
                after: Timestep = jax.tree.map(lambda *leaves: np.stack(leaves), *results)
                records.append((timestep, actions, after, {name: np.asarray(value) for name, value in extras.items()}))
                positions.append(np.stack([batch.position() for batch in batches]))
                timestep = after
                step, total = step + 1, total + after.reward
                for seed, env in np.argwhere(after.terminated | after.truncated):
                    ended[seed].append((float(total[seed, env]), int(step[seed, env])))
                    step[seed, env], total[seed, env] = 0, 0
            agent_state, key, metrics = run.update(agent_state, moving.key, host_rollout(records))
            moving = moving._replace(key=key)
            visited = run.visit(visited, np.stack(positions, axis=1).astype(np.float32))
            collected.append(metrics)
        averages = {f"train/{n}": np.mean([np.asarray(m[n]) for m in collected], axis=0) for n in collected[0]}
        averages["train/episode_return"] = np.array([np.mean([r for r, _ in e]) if e else np.nan for e in ended])
        averages["train/episode_length"] = np.array([np.mean([n for _, n in e]) if e else np.nan for e in ended])
        averages["train/episodes"] = np.array([float(len(e)) for e in ended])
        if spec.position_names:
            averages["train/coverage"] = np.mean(np.asarray(visited), axis=1)
        state = moving._replace(
            agent=agent_state,
            timestep=timestep,
            chunk=np.asarray(moving.chunk) + np.int32(1),
            episode_step=step,
            episode_return=total,
            visited=visited,
        )
        return state, averages

    return Loop(start, advance, iterations * agent.unroll * agent.num_envs)


def host_rollout(records: list[tuple[Timestep, Any, Timestep, dict[str, Any]]]) -> Rollout:
    """[S, T, B, …] numpy arrays of consecutive host steps."""

    def stack(leaves: list[Any]) -> Any:
        return np.stack(leaves, axis=1)

    before, actions, after, extras = zip(*records, strict=True)
    return Rollout(
        observation=stack([t.observation for t in before]),
        first=stack([t.first for t in before]),
        action=stack(list(actions)),
        reward=stack([t.reward for t in after]),
        terminated=stack([t.terminated for t in after]),
        truncated=stack([t.truncated for t in after]),
        next_observation=stack([t.final_observation for t in after]),
        extras={name: stack([e[name] for e in extras]) for name in extras[0]},
    )
