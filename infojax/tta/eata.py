"""EATA: adapt on reliable and non-redundant samples, and do not forget the source.

Niu et al. (2022), "Efficient test-time model adaptation without forgetting". With predictions p_i of a batch [B], their
entropies H_i in nats, and a moving average m of the predictions that were selected so far:

- reliable (equation 3): S1 = {i: H_i < E0}, E0 = `margin` ln C;
- non-redundant (equation 5): S2 = {i in S1: |cos(m, p_i)| < `redundancy`}, and S1 itself on the first batch;
- m ← 0.9 m + 0.1 mean_{S2} p, on the first batch the mean; where S2 is empty it stays;
- loss (equations 2 and 8): mean_{S2} exp(E0 − H_i) H_i + alpha Σ_k F_k (θ_k − θ_k⁰)², no gradient through the weights.

F is the diagonal Fisher information of the source model, from batches of clean images labelled by itself: the mean over
batches of the squared gradient of a batch's mean cross-entropy, as the authors' code has it. Where S2 is empty there is
no step at all. alpha = 0 is ETA, which needs no source images.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from infojax.info import categorical
from infojax.nets.bundle import probabilities
from infojax.nets.optimizers import Optimizer
from infojax.tta import parts
from infojax.types import Adapted, Array, Key, Method, Model, NonNegative, Positive, Rate, UserError


class EataState(NamedTuple):
    """The model, the average prediction, and what holds the model where it was."""

    learned: parts.Learned
    average: Array  # [C], of the predictions selected so far
    begun: Array  # bool; whether there is an average yet
    fisher: parts.Values  # path -> of each parameter; empty for ETA
    anchor: parts.Values  # path -> parameters of the source; empty for ETA


def make(
    model: Model,
    *,
    margin: Positive = 0.4,
    redundancy: Positive = 0.4,
    fisher_weight: NonNegative = 1.0,
    average_rate: Rate = 0.1,
    optimizer: Optimizer = "adam",
    learning_rate: Positive = 1e-3,
    momentum: NonNegative = 0.9,
    parameters: str = "norm",
    leave_out: tuple[str, ...] = (),
    compaction: parts.Compaction = "exact",
) -> Method:
    """Weighted entropy of selected rows, held to the source. One forward pass; backward as `compaction` says.

    Args:
        model: that is adapted.
        margin: E0 as a share of ln C.
        redundancy: largest |cosine| with the average prediction.
        fisher_weight: alpha; above 0, `init` needs clean images of the source. 0 is ETA.
        average_rate: share of a new batch in the average prediction.
        optimizer: "adam" or "sgd".
        learning_rate: of a step.
        momentum: of sgd, plain.
        parameters: what adapts: norm, all, body, or a regular expression of paths.
        leave_out: regular expressions of paths that do not adapt.
        compaction: exact, none or frozen_statistics; see `infojax.tta.parts`.

    Raises:
        UserError: `fisher_weight` is above 0 and `init` got no source images.
    """
    learner = parts.learner(model, optimizer, learning_rate, momentum, parameters, leave_out)
    threshold = margin * math.log(model.num_classes)

    def init(variables: Any, source: Array | None) -> EataState:
        if fisher_weight > 0 and source is None:
            raise UserError(
                f"EATA with fisher_weight={fisher_weight:g} needs clean images of the source: give init(variables, "
                f"source=images [batches, B, H, W, C]), or set fisher_weight=0 (ETA)"
            )
        held = source if fisher_weight > 0 else None
        return EataState(
            learned=learner.init(variables),
            average=jnp.zeros((model.num_classes,), jnp.float32),
            begun=jnp.zeros((), bool),
            fisher={} if held is None else fisher_information(model, variables, learner.paths, held),
            anchor={} if held is None else parts.pick(variables, learner.paths),
        )

    def adapt(state: EataState, batch: parts.Batch, key: Key) -> tuple[EataState, Adapted]:
        def loss(logits: Array) -> tuple[Array, tuple[Array, tuple[Array, Array]]]:
            entropy = categorical.entropy(logits)
            predicted = probabilities(jax.lax.stop_gradient(logits))
            reliable = batch.allowed & (entropy < threshold)
            new = jnp.logical_not(state.begun) | (jnp.abs(cosine(predicted, state.average)) < redundancy)
            selected = reliable & new
            if batch.selection is not None:
                reliable, selected = batch.selection
            weight = parts.certainty(entropy, threshold)
            return parts.mean_over(weight * entropy, selected), (selected, (reliable, predicted))

        found = parts.differentiate(model, state.learned.variables, learner.paths, batch, loss, compaction=compaction)
        reliable, predicted = found.found
        some = jnp.any(found.selected)
        gradient = found.gradient
        if state.fisher:
            now = parts.pick(state.learned.variables, learner.paths)
            gradient = {
                path: slope + 2 * fisher_weight * state.fisher[path] * (now[path] - state.anchor[path])
                for path, slope in gradient.items()
            }
        mean = parts.mean_over(predicted, found.selected)
        average = jnp.where(state.begun, (1 - average_rate) * state.average + average_rate * mean, mean)
        new_state = EataState(
            learned=learner.step(state.learned, gradient, some),
            average=jnp.where(some, average, state.average),
            begun=state.begun | some,
            fisher=state.fisher,
            anchor=state.anchor,
        )
        return new_state, Adapted(found.logits, found.selected, parts.info(found, some, first_filter=reliable))

    return parts.method(model, init, adapt)


def cosine(rows: Array, vector: Array) -> Array:
    """Cosine of each row [B, C] with a vector [C], with norms of at least 1e-8."""
    norms = jnp.maximum(jnp.linalg.norm(rows, axis=1), 1e-8) * jnp.maximum(jnp.linalg.norm(vector), 1e-8)
    return jnp.matmul(rows, vector, precision="highest") / norms


def fisher_information(model: Model, variables: Any, paths: tuple[str, ...], source: Array) -> parts.Values:
    """Diagonal Fisher information of the parameters at `paths`, from clean images [batches, B, H, W, C].

    F_k = mean over batches of (∂/∂θ_k mean_i −log p_i[argmax p_i])², statistics of the batch.
    """
    values = parts.pick(variables, paths)

    def square(images: Array) -> parts.Values:
        def loss(values: parts.Values) -> Array:
            logits, _ = model.apply(parts.put(variables, values), images, "batch", None)
            return jnp.mean(categorical.cross_entropy(parts.certain(jnp.argmax(logits, axis=1), logits), logits))

        return jax.tree.map(jnp.square, jax.grad(loss)(values))

    return jax.tree.map(lambda squares: jnp.mean(squares, axis=0), jax.lax.map(square, source))
