"""LAME: leave the model alone and make the predictions of a batch agree between neighbours.

Boudiaf et al. (2022), "Parameter-free online test-time adaptation". With the source model's predictions q_i and the
affinity w_ij of the normalised features of rows i and j, labels y_i on the simplex are sought that minimise

    Σ_i KL(y_i ‖ q_i) − Σ_ij w_ij y_i · y_j

by the bound that is linear in the last term: y_i ← softmax(log q_i + Σ_j w_ij y_j), from y = q, until the
bound moves by no more than `tolerance` of itself. As it stands in the paper the update is that of half the last term,
so that with a symmetric w without negative eigenvalues Σ KL − ½ Σ w y · y falls in every step. Nothing is learned.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp

from infojax.info import categorical
from infojax.nets.bundle import probabilities
from infojax.tta import parts
from infojax.types import Adapted, Array, Count, Key, Method, Model, NonNegative

Affinity = Literal["knn", "rbf", "linear"]


def make(
    model: Model,
    *,
    affinity: Affinity = "rbf",
    neighbours: Count = 5,
    symmetric: bool = False,
    max_steps: Count = 100,
    tolerance: NonNegative = 1e-8,
) -> Method:
    """Labels of a batch by a fixed point; statistics of the source. One forward pass.

    Args:
        model: that predicts; it stays as it is.
        affinity: "knn" (1 for the nearest rows), "rbf" (a Gaussian as wide as the mean distance to the k-th nearest,
            each row its own first) or "linear" (the cosine).
        neighbours: k.
        symmetric: whether affinities are averaged over both directions.
        max_steps: of the fixed point.
        tolerance: change of the bound, as a share of it, at which it has converged.
    """

    def init(variables: Any, source: Array | None) -> Any:
        return variables

    def adapt(state: Any, batch: parts.Batch, key: Key) -> tuple[Any, Adapted]:
        logits, features = model.apply(state, batch.images, "source", batch.mask)
        weights = affinities(features, batch.allowed, affinity, neighbours)
        if symmetric:
            weights = (weights + weights.T) / 2
        labels, steps, bound = agreement(logits, weights, batch.mask, max_steps, tolerance)
        adapted = parts.predicted(labels, len(batch.images))
        return state, adapted._replace(info={**adapted.info, "loss": bound, "steps": steps})

    return parts.method(model, init, adapt, scores="after")


def affinities(features: Array, where: Array, affinity: Affinity, neighbours: int) -> Array:
    """w_ij [B, B] of rows of features [B, D]; 0 where either is outside of `where` [B]."""
    norms = jnp.linalg.norm(features, axis=1, keepdims=True)
    unit = features / jnp.maximum(norms, 1e-12)
    both = where[:, None] & where[None, :]
    if affinity == "linear":
        return jnp.where(both, jnp.matmul(unit, unit.T, precision="highest"), 0)
    count = len(features)
    # Row by row, not by way of the cosine: near neighbours would be lost to rounding.
    distance = jax.lax.map(lambda row: jnp.linalg.norm(unit - row[None, :], axis=1), unit)
    itself = jnp.eye(count, dtype=bool)
    if affinity == "knn":
        far = jnp.where(both & ~itself, distance, jnp.inf)
        least, index = jax.lax.top_k(-far, min(neighbours, count))
        row = jnp.arange(count)[:, None]
        return jnp.zeros_like(distance).at[row, index].set(jnp.where(least > -jnp.inf, 1.0, 0.0))
    least, _ = jax.lax.top_k(-jnp.where(both, distance, jnp.inf), min(neighbours, count))
    # Fewer rows than k: the farthest there is.
    width = parts.mean_over(jnp.max(jnp.where(least > -jnp.inf, -least, 0), axis=1), where)
    return jnp.where(both, jnp.exp(-(distance**2) / jnp.maximum(2 * width**2, 1e-12)), 0)


def agreement(
    logits: Array, weights: Array, where: Array, max_steps: int, tolerance: float
) -> tuple[Array, Array, Array]:
    """The fixed point: its logits [B, C], how many steps it took and the bound there, over the rows in `where`."""

    def going(carry: tuple[Array, Array, Array, Array]) -> Array:
        _, steps, bound, before = carry
        still = jnp.logical_not(jnp.abs(bound - before) <= tolerance * jnp.abs(before))
        return (steps < max_steps) & (still | (steps < 3))

    def step(carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        labels, steps, bound, _ = carry
        agreed = jnp.matmul(weights, probabilities(labels), precision="highest")
        new = logits + agreed
        gain = categorical.kl_divergence(new, logits) - jnp.sum(probabilities(new) * agreed, axis=1)
        return new, steps + 1, jnp.sum(jnp.where(where, gain, 0)), bound

    start = (logits, jnp.zeros((), jnp.int32), jnp.float32(jnp.inf), jnp.float32(jnp.inf))
    labels, steps, bound, _ = jax.lax.while_loop(going, step, start)
    return labels, steps, bound
