"""T3A: replace the last layer by prototypes of the features that were classified with most certainty so far.

Iwasawa and Matsuo (2021), "Test-time classifier adjustment module for model-agnostic domain generalization". Each class
k holds a set S_k of supports, at first the weights of the last layer, each with the entropy in nats of what that layer
says of it:

- every row's features z join the set of the class that the layer predicts for them;
- of each set the M of least entropy stay;
- prototypes c_k = Σ_{S_k} z / ‖z‖; logits z · c_k / ‖c_k‖ (of length one as in the authors' code).

Supports and prototypes include the batch that is predicted. No parameter is learned and no statistics are.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from infojax.info import categorical
from infojax.tta import parts
from infojax.types import Adapted, Array, Count, Key, Method, Model


class T3aState(NamedTuple):
    """The model, and the supports of each class in the order of their entropies."""

    variables: Any
    supports: Array  # [C, M, D]
    entropies: Array  # [C, M] in nats
    used: Array  # [C, M] bool, where there is a support


def make(model: Model, *, num_supports: Count = 100) -> Method:
    """Prototypes of certain features; statistics of the source. One forward pass.

    Args:
        model: that is adapted; its last layer is linear.
        num_supports: M of each class.
    """

    def init(variables: Any, source: Array | None) -> T3aState:
        kernel = parts.pick(variables, (f"{model.head}/kernel",))[f"{model.head}/kernel"]
        weights = kernel.T
        empty = T3aState(
            variables=variables,
            supports=jnp.zeros((model.num_classes, num_supports, weights.shape[1]), jnp.float32),
            entropies=jnp.zeros((model.num_classes, num_supports), jnp.float32),
            used=jnp.zeros((model.num_classes, num_supports), bool),
        )
        everything = jnp.ones((len(weights),), bool)
        return joined(empty, weights, model.classify(variables, weights), everything)[0]

    def adapt(state: T3aState, batch: parts.Batch, key: Key) -> tuple[T3aState, Adapted]:
        logits, features = model.apply(state.variables, batch.images, "source", batch.mask)
        state, kept = joined(state, features, logits, batch.allowed)
        adapted = parts.predicted(jnp.matmul(features, prototypes(state).T), len(batch.images))
        info = {**adapted.info, "updated": jnp.any(kept).astype(jnp.int32)}
        return state, adapted._replace(selected=kept, info=info)

    return parts.method(model, init, adapt, scores="after")


def joined(state: T3aState, features: Array, logits: Array, where: Array) -> tuple[T3aState, Array]:
    """The state with the features [N, D] in `where` [N] among the supports, and which of them stayed [N]."""
    num_classes, num_supports = state.entropies.shape
    count = len(features)
    entropy, label = categorical.entropy(logits), jnp.argmax(logits, axis=1)
    mine = where[None, :] & (label[None, :] == jnp.arange(num_classes)[:, None])
    candidates = jnp.concatenate(
        [jnp.where(state.used, state.entropies, jnp.inf), jnp.where(mine, entropy[None, :], jnp.inf)], axis=1
    )
    # The order of equals is that of their arrival.
    least, index = jax.lax.top_k(-candidates, num_supports)

    def gathered(supports: Array, index: Array) -> Array:
        old = supports[jnp.minimum(index, num_supports - 1)]
        new = features[jnp.clip(index - num_supports, 0, count - 1)]
        return jnp.where((index < num_supports)[:, None], old, new)

    used = jnp.isfinite(least)
    taken = used & (index >= num_supports)
    kept = jnp.zeros((count,), bool).at[jnp.where(taken, index - num_supports, count)].set(True, mode="drop")
    supports = jax.vmap(gathered)(state.supports, index)
    entropies = jnp.where(used, -least, 0)
    return state._replace(supports=supports, entropies=entropies, used=used), kept


def prototypes(state: T3aState) -> Array:
    """One vector of length one for each class [C, D]; zeros for a class without supports."""
    norms = jnp.linalg.norm(state.supports, axis=2, keepdims=True)
    directions = state.supports / jnp.maximum(norms, 1e-12)
    total = jnp.sum(jnp.where(state.used[:, :, None], directions, 0), axis=1)
    return total / jnp.maximum(jnp.linalg.norm(total, axis=1, keepdims=True), 1e-12)
