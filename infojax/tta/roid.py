"""ROID: certain and diverse rows, a loss that stays steep where the model is sure, and the source always mixed in.

Marsden, Döbler and Yang (2024), "Universal test-time adaptation through weight ensembling, diversity weighting, and
prior correction". With predictions p_i of a batch and a moving average m of mean predictions, from uniform:

- diversity d_i = 1 − cos(m, p_i) and certainty −H(p_i), each brought to [0, 1] over the batch; rows with d_i below the
  mean of d are left out, the others weigh w_i = exp(d_i · certainty_i / `temperature`); m ← 0.9 m + 0.1 mean p;
- soft likelihood ratio: −Σ_c p_ic log(p_ic / (1 − p_ic)), p at most `clip`, and consistency with an augmented view p̃_i:
  ½ (−Σ p log p̃ − Σ p̃ log p), normalised over the rows that are not left out; both times w_i, summed, over the rows
  of the batch; gradients flow through both predictions and not through weights;
- weight ensembling: θ ← `source_momentum` θ + (1 − `source_momentum`) θ⁰ after the step;
- prior correction: p_i · (r + g) / (1 + g C), r the mean prediction of the batch of B, g = max(1/B, 1/C) / max r.
  The authors' code multiplies the logits instead: `prior_correction: logits`.

Everything in nats; statistics of the batch. Predictions are those before the step, corrected.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from infojax.info import categorical, discrete
from infojax.nets.bundle import probabilities
from infojax.nets.optimizers import Optimizer
from infojax.tta import augmentations, parts
from infojax.types import Adapted, Array, Key, Method, Model, NonNegative, Positive, UnitInterval

PriorCorrection = Literal["probabilities", "logits", "none"]


class RoidState(NamedTuple):
    """The model, what of it is mixed in, and the average prediction."""

    learned: parts.Learned
    source: parts.Values  # path -> parameter
    average: Array  # [C]


def make(
    model: Model,
    *,
    source_momentum: UnitInterval = 0.99,
    average_momentum: UnitInterval = 0.9,
    temperature: Positive = 1 / 3,
    clip: UnitInterval = 0.99,
    consistency: bool = True,
    flip: UnitInterval = 0.5,
    prior_correction: PriorCorrection = "probabilities",
    optimizer: Optimizer = "adam",
    learning_rate: Positive = 1e-3,
    momentum: NonNegative = 0.9,
    parameters: str = "norm",
    leave_out: tuple[str, ...] = (),
) -> Method:
    """Weighted self-training held to the source. Two forward and two backward passes, one without `consistency`.

    Args:
        model: that is adapted.
        source_momentum: share of the model in the mixture with the source after a step.
        average_momentum: share of the past in the average prediction.
        temperature: of the weights.
        clip: largest probability in the likelihood ratio.
        consistency: whether augmented views are learned from as well.
        flip: probability of a mirror image in a view.
        prior_correction: of "probabilities" (the paper), "logits" (the authors' code) or "none".
        optimizer: "adam" or "sgd".
        learning_rate: of a step.
        momentum: of sgd, plain.
        parameters: what adapts: norm, all, body, or a regular expression of paths.
        leave_out: regular expressions of paths that do not adapt.
    """
    learner = parts.learner(model, optimizer, learning_rate, momentum, parameters, leave_out)

    def init(variables: Any, source: Array | None) -> RoidState:
        average = jnp.full((model.num_classes,), 1 / model.num_classes, jnp.float32)
        return RoidState(learner.init(variables), parts.pick(variables, learner.paths), average)

    def adapt(state: RoidState, batch: parts.Batch, key: Key) -> tuple[RoidState, Adapted]:
        variables = state.learned.variables
        values = parts.pick(variables, learner.paths)
        count = len(batch.images)
        rows = jnp.maximum(jnp.sum(batch.mask.astype(jnp.float32)), 1)

        def logits_of(values: parts.Values, images: Array, where: Array) -> Array:
            return model.apply(parts.put(variables, values), images, "batch", where)[0]

        def view(key: Key, image: Array) -> Array:
            return augmentations.jittered(key, image, flip=flip, blur=0, noise=0, outside="reflect")

        def loss(values: parts.Values) -> tuple[Array, tuple[Array, Array]]:
            logits = logits_of(values, batch.images, batch.mask)
            weight, selected = weights(jax.lax.stop_gradient(logits), state.average, batch.allowed, temperature)
            value = likelihood_ratio(logits, clip)
            if consistency:
                seen = augmentations.views(key, augmentations.unit(batch.images), view)
                other = logits_of(values, seen, selected)
                there, back = categorical.cross_entropy(logits, other), categorical.cross_entropy(other, logits)
                value = value + (there + back) / 2
            return jnp.sum(jnp.where(selected, weight * value, 0)) / rows, (logits, selected)

        value, pullback, (logits, selected) = jax.vjp(loss, values, has_aux=True)
        some = jnp.any(selected)
        nothing = jax.tree.map(jnp.zeros_like, values)
        gradient = jax.lax.cond(some, lambda: pullback(jnp.ones_like(value))[0], lambda: nothing)
        learned = learner.step(state.learned, gradient, some)
        stepped = parts.pick(learned.variables, learner.paths)
        mixed = {
            path: source_momentum * new + (1 - source_momentum) * state.source[path] for path, new in stepped.items()
        }
        mean = parts.mean_over(probabilities(logits), batch.allowed)
        average = average_momentum * state.average + (1 - average_momentum) * mean
        new_state = RoidState(
            learned=learned._replace(variables=parts.put(variables, parts.chosen(some, mixed, stepped))),
            source=state.source,
            average=jnp.where(some, average, state.average),
        )
        passes = 2 if consistency else 1
        info = {
            "forward_rows": jnp.int32(passes * count),
            "backward_rows": jnp.where(some, passes * count, 0).astype(jnp.int32),
            "loss": value,
            "updated": some.astype(jnp.int32),
        }
        return new_state, Adapted(corrected(logits, batch.mask, prior_correction), selected, info)

    return parts.method(model, init, adapt)


def weights(logits: Array, average: Array, where: Array, temperature: float) -> tuple[Array, Array]:
    """Weights [B] of the rows in `where` [B], and which of them are diverse enough to be learned from [B]."""
    predicted = probabilities(logits)
    norms = jnp.linalg.norm(predicted, axis=1) * jnp.linalg.norm(average)
    diversity = _stretched(1 - jnp.matmul(predicted, average, precision="highest") / jnp.maximum(norms, 1e-8), where)
    certainty = _stretched(-categorical.entropy(logits), where)
    selected = where & (diversity >= parts.mean_over(diversity, where))
    return jnp.exp(diversity * certainty / temperature), selected


def _stretched(values: Array, where: Array) -> Array:
    """Values [B] brought to [0, 1] over the rows in `where`; zeros where all of them are equal."""
    low = jnp.min(jnp.where(where, values, jnp.inf))
    spread = jnp.max(jnp.where(where, values, -jnp.inf)) - low
    return jnp.where(where & (spread > 0), (values - low) / jnp.where(spread > 0, spread, 1), 0)


def likelihood_ratio(logits: Array, clip: float) -> Array:
    """−Σ_c p_c log(p_c / (1 − p_c)) [B] in nats, no p_c above `clip`."""
    p = jnp.minimum(probabilities(logits), clip)
    return discrete.shannon_entropy(p) - discrete.cross_entropy(p, 1 - p)


def corrected(logits: Array, where: Array, how: PriorCorrection) -> Array:
    """Logits [B, C] corrected by the smoothed mean prediction of the rows in `where`."""
    if how == "none":
        return logits
    num_classes = logits.shape[1]
    prior = parts.mean_over(probabilities(logits), where)
    rows = jnp.maximum(jnp.sum(where.astype(jnp.float32)), 1)
    smooth = jnp.maximum(1 / rows, 1 / num_classes) / jnp.maximum(jnp.max(prior), 1e-12)
    smoothed = (prior + smooth) / (1 + smooth * num_classes)
    return logits * smoothed[None, :] if how == "logits" else logits + jnp.log(smoothed)[None, :]
