"""Block MDPs: a small latent chain or ring seen through random symbols, so that coverage and entropies are exact.

Du et al., "Provably efficient RL with Rich Observations via Latent State Decoding" (2019): the observation is a symbol
o ~ q(· | s) of the latent state s, and no symbol belongs to two states, so that s can be told from o. Here every state
has a block of symbols of its own, all equally likely; the last state has a far larger block than the others, and
nothing the agent does makes it quieter: a noisy television.

    ring   actions 0 on, 1 back, others stay; state S − 1, the noise, lies between S − 2 and 0; no reward
    lock   states 0 … S − 2 in a chain; one action of each leads on (and holds the last), every other one into the
           noise S − 1, which lets go to state 0 with probability `escape` whatever is done; reward 1 in every step
           that ends in S − 2

With probability `slip` the action is replaced by one drawn uniformly:

    P(s' | s, a) = (1 − slip) D(s' | s, a) + slip / A · Σ_b D(s' | s, b)

Observation: the symbol, [1]. `tables` gives P and q, `occupancy` how long a policy spends where.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from infojax.types import (
    Array,
    Count,
    Environment,
    EnvSpec,
    Key,
    Metrics,
    NonNegativeInt,
    Rate,
    UnitInterval,
    UserError,
)

Kind = Literal["lock", "ring"]


class Tables(NamedTuple):
    """The whole of a block MDP, in numpy float64."""

    initial: np.ndarray  # [S], of the first state
    transition: np.ndarray  # [S, A, S]
    emission: np.ndarray  # [S, M]
    code: np.ndarray  # [S − 1] the action that opens each state of a lock; empty for a ring


class BlockState(NamedTuple):
    latent: Array
    visited: Array  # [S] bool, in this episode


def tables(
    *,
    kind: Kind = "ring",
    num_states: Count = 8,
    num_actions: Count = 3,
    symbols: Count = 2,
    noise_symbols: Count = 16,
    slip: UnitInterval = 0.1,
    escape: Rate = 0.1,
    layout_seed: NonNegativeInt = 0,
) -> Tables:
    """Start, transitions and emissions, exactly; the arguments are those of `make`."""
    if num_states < 3:
        raise UserError(f"num_states is {num_states}, too few for a way and the noise; set num_states to 3 or more")
    if num_actions < 2:
        raise UserError(f"num_actions is {num_actions}, which leaves no choice; set num_actions to 2 or more")
    states, noise = np.arange(num_states), num_states - 1
    intended = np.zeros((num_states, num_actions, num_states))
    code = np.zeros((0,), np.int64)
    if kind == "ring":
        for action in range(num_actions):
            intended[states, action, (states + {0: 1, 1: -1}.get(action, 0)) % num_states] = 1
    else:
        code = np.random.default_rng(layout_seed).integers(num_actions, size=noise)
        intended[:noise, :, noise] = 1
        intended[states[:noise], code] = np.eye(num_states)[np.minimum(states[:noise] + 1, noise - 1)]
        intended[noise, :, 0], intended[noise, :, noise] = escape, 1 - escape
    transition = (1 - slip) * intended + slip * intended.mean(axis=1, keepdims=True)
    sizes = _sizes(num_states, symbols, noise_symbols)
    owner = np.repeat(states, sizes)
    emission = (owner[None] == states[:, None]) / sizes[:, None]
    return Tables(np.eye(num_states)[0], transition, emission, code)


def occupancy(found: Tables, policy: np.ndarray, num_steps: int) -> np.ndarray:
    """[S]: the mean over steps 1 … `num_steps` of an episode of the distribution of the latent state.

    `policy` [S, A] holds the probabilities of actions in each latent state, which a policy of symbols can tell. The
    entropy of what is returned is the coverage that adversarial surprise is said to maximise in block MDPs (Fickinger
    et al., 2021).
    """
    moves = np.einsum("sa,sat->st", policy, found.transition)
    state, total = found.initial, np.zeros_like(found.initial)
    for _ in range(num_steps):
        state = state @ moves
        total = total + state
    return total / num_steps


def make(
    *,
    kind: Kind = "ring",
    num_states: Count = 8,
    num_actions: Count = 3,
    symbols: Count = 2,
    noise_symbols: Count = 16,
    slip: UnitInterval = 0.1,
    escape: Rate = 0.1,
    layout_seed: NonNegativeInt = 0,
    episode_length: Count = 64,
) -> Environment:
    """A block MDP of `num_states` latent states with `symbols` symbols each, the last with `noise_symbols`.

    Measures: `latent_states_visited` in this episode, and `in_noise`, 1 in the noisy state.
    """
    found = tables(
        kind=kind,
        num_states=num_states,
        num_actions=num_actions,
        symbols=symbols,
        noise_symbols=noise_symbols,
        slip=slip,
        escape=escape,
        layout_seed=layout_seed,
    )
    sizes = _sizes(num_states, symbols, noise_symbols)
    # The last bound is left out: what is above all others belongs to the last state.
    bounds = jnp.asarray(np.cumsum(found.transition, axis=-1)[..., :-1], jnp.float32)
    block_size = jnp.asarray(sizes, jnp.int32)
    block_start = jnp.asarray(np.cumsum(sizes) - sizes, jnp.int32)

    def observe(latent: Array, key: Key) -> Array:
        start = block_start[latent]
        return jax.random.randint(key, (1,), start, start + block_size[latent], jnp.int32).astype(jnp.float32)

    def reset(key: Key) -> tuple[BlockState, Array]:
        latent = jnp.zeros((), jnp.int32)
        return BlockState(latent, jnp.arange(num_states) == latent), observe(latent, key)

    def step(state: BlockState, action: Array, key: Key) -> tuple[BlockState, Array, Array, Array]:
        move_key, symbol_key = jax.random.split(key)
        drawn = jax.random.uniform(move_key, (), jnp.float32)
        latent = jnp.sum((drawn >= bounds[state.latent, action]).astype(jnp.int32), dtype=jnp.int32)
        reward = (latent == num_states - 2) if kind == "lock" else jnp.zeros((), bool)
        state = BlockState(latent, state.visited | (jnp.arange(num_states) == latent))
        return state, observe(latent, symbol_key), reward.astype(jnp.float32), jnp.zeros((), bool)

    def measures(state: BlockState) -> Metrics:
        return {
            "latent_states_visited": jnp.sum(state.visited.astype(jnp.float32)),
            "in_noise": (state.latent == num_states - 1).astype(jnp.float32),
        }

    spec = EnvSpec(
        observation_shape=(1,),
        action_shape=(),
        num_actions=num_actions,
        low=(),
        high=(),
        episode_length=episode_length,
        name=f"block_mdp/{kind}",
        position_names=("latent",),
        position_low=(-0.5,),
        position_high=(num_states - 0.5,),
        shortest_episode=episode_length,
        num_categories=int(sizes.sum()),
        cells=(num_states,),
    )
    return Environment(spec, reset, step, lambda state: state.latent.astype(jnp.float32)[None], measures)


def _sizes(num_states: int, symbols: int, noise_symbols: int) -> np.ndarray:
    """Symbols of each state [S]."""
    return np.array([symbols] * (num_states - 1) + [noise_symbols])
