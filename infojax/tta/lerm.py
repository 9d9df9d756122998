"""LERM: the predictions that go with a class, on average, are to be that class alone.

Zhang et al. (2024), "Rethinking guidance information to utilize unlabeled samples: a label encoding perspective". With
predictions P [n, C] of the rows of a batch that may be learned from, the estimated encoding of class k is the mean of
the predictions weighted by what they give to k, and it is compared with the class itself, the unit vector e_k:

    E_k = Σ_i P_ik P_i / Σ_i P_ik,    L = (1 / C²) Σ_k ‖E_k − e_k‖₁

Certain predictions are not enough: a class that no row is certain of keeps its encoding away from e_k. As the rows of E
sum to 1, the norm is 2 (1 − E_kk) and the loss smooth. The authors add a tenth of the same loss for strongly augmented
images, and use both beside supervised losses; here it is the whole objective, of the images as they are.
"""

from typing import Any

import jax.numpy as jnp

from infojax.nets.bundle import probabilities
from infojax.nets.optimizers import Optimizer
from infojax.tta import parts
from infojax.types import Adapted, Array, Key, Method, Model, NonNegative, Positive


def make(
    model: Model,
    *,
    optimizer: Optimizer = "adam",
    learning_rate: Positive = 1e-3,
    momentum: NonNegative = 0.9,
    parameters: str = "norm",
    leave_out: tuple[str, ...] = (),
) -> Method:
    """Minimise the label-encoding risk. One forward and one backward pass of every row.

    Args:
        model: that is adapted.
        optimizer: "adam" or "sgd".
        learning_rate: of a step.
        momentum: of sgd, plain.
        parameters: what adapts: norm, all, body, or a regular expression of paths.
        leave_out: regular expressions of paths that do not adapt.
    """
    learner = parts.learner(model, optimizer, learning_rate, momentum, parameters, leave_out)

    def init(variables: Any, source: Array | None) -> parts.Learned:
        return learner.init(variables)

    def adapt(state: parts.Learned, batch: parts.Batch, key: Key) -> tuple[parts.Learned, Adapted]:
        def loss(logits: Array) -> tuple[Array, tuple[Array, None]]:
            return label_encoding_risk(logits, batch.allowed), (batch.allowed, None)

        found = parts.differentiate(model, state.variables, learner.paths, batch, loss, compaction="none")
        some = jnp.any(found.selected)
        return learner.step(state, found.gradient, some), Adapted(found.logits, found.selected, parts.info(found, some))

    return parts.method(model, init, adapt)


def label_encoding_risk(logits: Array, where: Array) -> Array:
    """(1 / C²) Σ_k ‖E_k − e_k‖₁ of the rows of logits [B, C] in `where`; between 0 and 2 / C."""
    predictions = jnp.where(where[:, None], probabilities(logits), 0)
    totals = jnp.sum(predictions, axis=0)
    # A class of which nothing is predicted keeps an encoding of zeros, and no gradient.
    encodings = jnp.matmul(predictions.T, predictions, precision="highest") / jnp.maximum(totals, 1e-12)[:, None]
    return jnp.mean(jnp.abs(encodings - jnp.eye(len(totals), dtype=encodings.dtype)))
