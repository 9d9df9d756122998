"""Tent: entropy minimisation at test time.

Wang et al. (2021), "Tent: Fully test-time adaptation by entropy minimization", equation 1 and section 3: one gradient
step per batch [B] on L = mean_i H(p_i), H the Shannon entropy of the prediction in nats, with respect to scales and
shifts of the normalisation layers; statistics are those of the batch. Predictions are those before the step.
"""

from typing import Any

import jax.numpy as jnp

from infojax.info import categorical
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
    """Minimise the mean entropy of predictions. One forward and one backward pass of every row.

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
            return parts.mean_over(categorical.entropy(logits), batch.allowed), (batch.allowed, None)

        found = parts.differentiate(model, state.variables, learner.paths, batch, loss, compaction="none")
        some = jnp.any(found.selected)
        return learner.step(state, found.gradient, some), Adapted(found.logits, found.selected, parts.info(found, some))

    return parts.method(model, init, adapt)
