"""Information maximisation: predictions that are certain one by one and diverse together.

Liang et al. (2020), "Do we really need to access the source data? Source hypothesis transfer for unsupervised domain
adaptation" (SHOT), equation 3, in the streaming form of TTAB (Zhao et al., 2023). Of the rows of a batch [B]
that may be learned from, with predictions p_i, their entropies H(p_i) in nats and their mean p̄:

    L = mean_i H(p_i) − d H(p̄) + c mean_{max p_i > threshold} (−log max p_i)

With d = `diversity_weight` = 1 the first two terms are minus the mutual information of input and prediction. The last
is the cross-entropy with the rows' own classes, c = `label_weight`, and 0 where no row is confident (where TTAB's code
gives NaN). SHOT's labels from clustering need the whole of the data and are not for streams.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp

from infojax.info import categorical
from infojax.nets.bundle import probabilities
from infojax.nets.optimizers import Optimizer
from infojax.tta import parts
from infojax.types import Adapted, Array, Key, Method, Model, NonNegative, Positive, UnitInterval

Marginal = Literal["learned", "batch"]
"""Whose mean prediction is to be diverse: that of the rows learned from, or of all rows of the batch."""


def make(
    model: Model,
    *,
    diversity_weight: NonNegative = 1.0,
    label_weight: NonNegative = 0.3,
    threshold: UnitInterval = 0.9,
    marginal: Marginal = "learned",
    optimizer: Optimizer = "sgd",
    learning_rate: Positive = 1e-3,
    momentum: NonNegative = 0.9,
    parameters: str = "body",
    leave_out: tuple[str, ...] = (),
) -> Method:
    """Maximise the mutual information of input and prediction. One forward and one backward pass of every row.

    `info["mutual_information"]` is that of the batch before the step, in nats.

    Args:
        model: that is adapted.
        diversity_weight: d of the entropy of the mean prediction.
        label_weight: c of the cross-entropy with the rows' own classes.
        threshold: largest probability above which a row has a class of its own.
        marginal: whose mean prediction: "learned" of the rows that may be learned from, "batch" of all rows that are
            there, of which the others then have a part in the step.
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
        some = jnp.any(batch.allowed)
        together = batch.allowed if marginal == "learned" else batch.mask & some

        def loss(logits: Array) -> tuple[Array, tuple[Array, Array]]:
            frozen = jax.lax.stop_gradient(logits)
            confident = batch.allowed & (jnp.max(probabilities(frozen), axis=1) > threshold)
            labels = categorical.cross_entropy(parts.certain(jnp.argmax(frozen, axis=1), frozen), logits)
            value = parts.mean_over(categorical.entropy(logits), batch.allowed)
            value = value - diversity_weight * categorical.marginal_entropy(logits, axis=0, member_where=together)
            return value + label_weight * parts.mean_over(labels, confident), (together, confident)

        found = parts.differentiate(model, state.variables, learner.paths, batch, loss, compaction="none")
        information = categorical.mutual_information(found.logits, axis=0, member_where=batch.mask)
        info = parts.info(found, some, confident=found.found, mutual_information=information)
        return learner.step(state, found.gradient, some), Adapted(found.logits, batch.allowed, info)

    return parts.method(model, init, adapt)
