"""Generalised entropy minimisation: entropies at a temperature that follows the spread of the logits.

Zhang et al. (2023), "DomainAdaptor: a novel approach to test-time adaptation". With logits z_i [C] of the
rows of a batch, z'_i = z_i − mean z_i, T_i = 2 std(z'_i) (unbiased) and q_i = softmax(z'_i / T_i), no gradient through
mean and T:

- GEM-T: L = mean_i T_i² H(q_i), H the Shannon entropy in nats;
- GEM-SKD: L = mean_i T_i² H(softmax(z'_i), q_i), the cross-entropy with the prediction itself held constant.

The protocol of the paper: restore the source before every batch, one step, then predict the batch again. GEM-Aug, whose
target is the mean over augmented images, is left out.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp

from infojax.info import categorical
from infojax.nets.optimizers import Optimizer
from infojax.tta import adamix_norm, parts
from infojax.types import Adapted, Array, Key, Method, Model, NonNegative, Positive, Statistics, UserError

Loss = Literal["t", "skd"]
Normalisation = Literal["batch", "mixed", "rectified"]


def make(
    model: Model,
    *,
    loss: Loss = "t",
    normalisation: Normalisation = "batch",
    restored: bool = True,
    epsilon: Positive = 1e-5,
    optimizer: Optimizer = "sgd",
    learning_rate: Positive = 1e-3,
    momentum: NonNegative = 0.0,
    parameters: str = "norm",
    leave_out: tuple[str, ...] = (),
) -> Method:
    """Minimise the generalised entropy. Two forward passes (three with `rectified`) and a backward one.

    Args:
        model: that is adapted.
        loss: "t" or "skd".
        normalisation: "batch" by the statistics of the batch; "mixed" by AdaMixBN; "rectified" by AdaMixBN moved into
            scales and shifts ("Transform"); see `infojax.tta.adamix_norm`.
        restored: whether the source is restored before every batch.
        epsilon: of the model's batch normalisation; matters to "rectified" alone.
        optimizer: "adam" or "sgd".
        learning_rate: of a step.
        momentum: of sgd, plain; moves nothing where the source is restored.
        parameters: what adapts: norm, all, body, or a regular expression of paths.
        leave_out: regular expressions of paths that do not adapt.

    Raises:
        UserError: "rectified" without restoring the source, without scales and shifts, or where not all of them adapt.
    """
    learner = parts.learner(model, optimizer, learning_rate, momentum, parameters, leave_out)
    affine = [f"{path}/{name}" for path in model.batch_norms for name in ("scale", "bias")]
    if normalisation == "rectified":
        if not restored:
            raise UserError(
                "normalisation=rectified fits scales and shifts to one batch, so restored=False cannot carry them on; "
                "take normalisation=mixed to adapt online"
            )
        missing = [path for path in affine if path not in learner.paths]
        if missing:
            raise UserError(
                f"normalisation=rectified sets {missing[0]}, which does not adapt or is not there; take "
                f"parameters=norm with nothing left out, or normalisation=mixed"
            )

    def init(variables: Any, source: Array | None) -> parts.Learned:
        return learner.init(variables)

    def adapt(state: parts.Learned, batch: parts.Batch, key: Key) -> tuple[parts.Learned, Adapted]:
        count = len(batch.images)
        start, passes = state, 1
        statistics: Statistics = adamix_norm.mixed(batch.mask) if normalisation == "mixed" else "batch"
        if normalisation == "rectified":
            weights: dict[str, Array] = {}
            measured = model.measure(state.variables, batch.images, adamix_norm.mixed(batch.mask, weights), batch.mask)
            values = parts.pick(state.variables, learner.paths)
            source = parts.source_statistics(model, state.variables)
            values = adamix_norm.rectified(values, weights, measured, source, epsilon)
            start, passes = parts.Learned(parts.put(state.variables, values), state.optimizer), 2

        def objective(logits: Array) -> tuple[Array, tuple[Array, None]]:
            return parts.mean_over(generalised_entropy(logits, loss), batch.allowed), (batch.allowed, None)

        found = parts.differentiate(
            model, start.variables, learner.paths, batch, objective, statistics=statistics, compaction="none"
        )
        some = jnp.any(found.selected)
        learned = learner.step(start, found.gradient, some)
        logits, _ = model.apply(learned.variables, batch.images, statistics, batch.mask)
        info = parts.info(found, some)
        info["forward_rows"] = info["forward_rows"] + passes * count
        return state if restored else learned, Adapted(logits, found.selected, info)

    return parts.method(model, init, adapt, scores="after")


def generalised_entropy(logits: Array, loss: Loss) -> Array:
    """T² H(q), or T² H(softmax(z'), q), of logits [B, C]; 0 where all logits of a row are equal, as T is then."""
    frozen = jax.lax.stop_gradient(logits)
    centred = logits - jnp.mean(frozen, axis=1, keepdims=True)
    temperature = 2 * jnp.std(frozen, axis=1, ddof=1, keepdims=True)
    divisor = jnp.maximum(temperature, 1e-6)
    if loss == "t":
        value = categorical.entropy(centred, temperature=divisor)
    else:
        value = categorical.cross_entropy(jax.lax.stop_gradient(centred), centred / divisor)
    return temperature[:, 0] ** 2 * value
