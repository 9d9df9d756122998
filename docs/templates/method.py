"""Adapt to the predictions one is sure of: a template for a method of test-time adaptation of your own.

Lee (2013), "Pseudo-label: the simple and efficient semi-supervised learning method for deep neural networks": one
gradient step per batch on the mean −log p_i[argmax p_i] of the rows whose entropy lies below `margin` ln C.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from infojax.info import categorical
from infojax.nets.optimizers import Optimizer
from infojax.tta import parts
from infojax.types import Adapted, Array, Key, Method, Model, NonNegative, Positive


def make(
    model: Model,
    *,
    margin: Positive = 0.4,
    optimizer: Optimizer = "adam",
    learning_rate: Positive = 1e-3,
    momentum: NonNegative = 0.9,
) -> Method:
    """Learn the predicted class of certain rows."""
    # Scales and shifts of normalisation layers adapt; `parameters` and `leave_out` of the learner choose others.
    learner = parts.learner(model, optimizer, learning_rate, momentum)

    def init(variables: Any, source: Array | None) -> parts.Learned:
        return learner.init(variables)

    def adapt(state: parts.Learned, batch: parts.Batch, key: Key) -> tuple[parts.Learned, Adapted]:
        def loss(logits: Array) -> tuple[Array, tuple[Array, None]]:
            frozen = jax.lax.stop_gradient(logits)
            certain = batch.allowed & (categorical.entropy(frozen) < margin * math.log(model.num_classes))
            label = parts.certain(jnp.argmax(frozen, axis=1), frozen)
            return parts.mean_over(categorical.cross_entropy(label, logits), certain), (certain, None)

        found = parts.differentiate(model, state.variables, learner.paths, batch, loss)
        some = jnp.any(found.selected)
        info = parts.info(found, some, first_filter=found.selected)
        return learner.step(state, found.gradient, some), Adapted(found.logits, found.selected, info)

    return parts.method(model, init, adapt)
