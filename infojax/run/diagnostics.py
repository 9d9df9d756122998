r"""The common yardstick of exploration: state entropy, information gain and empowerment of any agent's behaviour.

An agent is judged by the trajectories of its evaluation, not by its own objective, so that agents with different
objectives compare (Du, Kosoy, Dayan and Abbeel, 2023, "What can AI learn from human exploration?
Intrinsically-motivated humans and agents in open-ended exploration"). States are the cells of the environment's grid of
positions, actions are discrete, or bins of continuous ones; all quantities are tabular, in nats.

    state entropy      H(S) of the visited cells, with the correction of Miller and Madow
    information gain   Σ_t KL[Dir(α_t+1) ‖ Dir(α_t)] of a reference model, a Dirichlet over the next cell for each pair
                       of cell and action, that learns from the trajectories one after the other
    empowerment        max_{p(a)} I(A; S' | s) of the model so learned, averaged over the visits of cells
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from infojax.info import bayes, discrete
from infojax.run import coverage
from infojax.types import Array, EnvSpec, Metrics

BINS = 3  # of each of the first two dimensions of a continuous action: towards its low, middle and high
PRIOR = 0.1  # concentration of each next cell before anything was seen
MOST_CELLS = 400  # the table of the reference model has cells² · actions entries


class Trajectories(NamedTuple):
    """(L, E) symbols of L steps in E episodes; `mask` tells which steps belong to the episode."""

    cell: Array  # before the step
    action: Array
    next_cell: Array
    mask: Array


def num_symbols(spec: EnvSpec) -> int:
    """How many symbols actions become."""
    return spec.num_actions or BINS ** min(2, math.prod(spec.action_shape))


def action_symbols(spec: EnvSpec, action: Array) -> Array:
    """Actions (…, *action_shape) as integers."""
    if spec.num_actions is not None:
        return action.astype(jnp.int32)
    leading = action.shape[: action.ndim - len(spec.action_shape)]
    flat = action.reshape(*leading, -1)
    index = jnp.zeros(leading, jnp.int32)
    for dimension in range(min(2, flat.shape[-1])):
        low, high = spec.low[dimension], spec.high[dimension]
        share = (flat[..., dimension] - low) / (high - low)
        index = index * BINS + jnp.clip(jnp.floor(share * BINS), 0, BINS - 1).astype(jnp.int32)
    return index


def trajectories(spec: EnvSpec, positions: Array, action: Array, mask: Array) -> Trajectories:
    """Positions (L, E, P) after each step and actions (L, E, …) as symbols; the first step has no cell before it."""
    after = coverage.cell_index(spec, positions)
    known = mask.at[0].set(False)
    return Trajectories(jnp.roll(after, 1, axis=0), action_symbols(spec, action), after, known)


def state_entropy(spec: EnvSpec, positions: Array, mask: Array) -> Array:
    """Entropy of the visited cells in nats, positions (L, E, P) where `mask` (L, E)."""
    cells = coverage.cell_index(spec, positions).reshape(-1)
    return discrete.plugin_entropy(cells, coverage.num_cells(spec), "miller_madow", where=mask.reshape(-1))


def information_gain(found: Trajectories, num_cells: int, num_actions: int) -> tuple[Array, Array]:
    """What a reference model learns, per step in nats, and its concentrations (cells, actions, cells) at the end."""
    prior = jnp.full((num_cells, num_actions, num_cells), PRIOR, jnp.float32)

    def learn(model: Array, step: Trajectories) -> tuple[Array, Array]:
        row = model[step.cell, step.action]
        learned = row.at[step.next_cell].add(1.0)
        gain = bayes.surprise_dirichlet(learned, row)
        counts = step.mask.astype(jnp.float32)
        return model.at[step.cell, step.action, step.next_cell].add(counts), counts * gain

    # One episode after the other, each in its own order.
    ordered = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1).reshape(-1), found)
    model, gains = jax.lax.scan(learn, prior, ordered)
    steps = jnp.maximum(jnp.sum(found.mask.astype(jnp.float32)), 1)
    return jnp.sum(gains) / steps, model


def empowerment(model: Array) -> Array:
    """Capacity from action to next cell in nats, averaged over visits, by the model (cells, actions, cells)."""
    counts = model - PRIOR
    tried = jnp.sum(counts, axis=-1)  # (cells, actions)
    known = tried > 0.5
    # An action that was never tried in a cell tells nothing of it: it takes the row of what was done there on average.
    visits = jnp.sum(tried, axis=-1)
    usual = jnp.sum(counts, axis=1) / jnp.maximum(visits, 1)[:, None]
    rows = counts / jnp.maximum(tried, 1)[..., None]
    channel = jnp.where(known[..., None], rows, jnp.broadcast_to(usual[:, None], rows.shape))
    capacity = discrete.channel_capacity(channel, max_iterations=200, tolerance=1e-4)
    return jnp.sum(visits * capacity) / jnp.maximum(jnp.sum(visits), 1)


def diagnose(spec: EnvSpec, positions: Array, action: Array, mask: Array) -> Metrics:
    """All three of an evaluation: positions (L, E, P), actions (L, E, …), mask (L, E).

    Nothing where the environment tells no position. A grid of more than `MOST_CELLS` cells has its state entropy alone:
    the table of the reference model would be too large, and hardly filled.
    """
    if not spec.position_names:
        return {}
    found: Metrics = {"state_entropy": state_entropy(spec, positions, mask)}
    if coverage.num_cells(spec) <= MOST_CELLS:
        steps = trajectories(spec, positions, action, mask)
        gain, model = information_gain(steps, coverage.num_cells(spec), num_symbols(spec))
        found |= {"information_gain": gain, "empowerment": empowerment(model)}
    return found
