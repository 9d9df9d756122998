"""AdaMixBN: statistics of source and batch mixed as close as the batch's images are to the source.

Zhang et al. (2023), "DomainAdaptor: a novel approach to test-time adaptation". In each batch
normalisation, with the mean μ and the deviation σ of its channels in the source (s), in the batch (t) and in each image
i, and d the squared distance, averaged over channels, of the means plus that of the deviations:

    λ = mean_i clip(1 − d_st / (d_st + d_is + d_it), 0, 1)
    mean = λ μ_s + (1 − λ) μ_t,    variance = λ σ_s² + (1 − λ) σ_t²

Variances are biased, as everywhere in this package; the authors' code takes the unbiased ones. Nothing is carried over.

When a model mixed so is trained, gradients run through λ and the mixture. The authors' "Transform" avoids that: in the
first pass of a batch it puts into each layer the scale and shift with which normalising by the batch alone gives what
mixing would have given,

    γ' = γ √(σ_t² + ε) / √(λ σ_s² + (1 − λ) σ_t² + ε),    β' = β + γ' λ (μ_t − μ_s) / √(σ_t² + ε)

and trains these, so that gradients pass through the statistics of the batch as in Tent. γ' and β' fit that batch only:
the source must be restored before the next, so it cannot be used online. `gem` trains either way.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from infojax.tta import parts
from infojax.types import Adapted, Array, Key, Method, Model

Pair = tuple[Array, Array]


def make(model: Model) -> Method:
    """Predictions by the mixed statistics; nothing is learned. One forward pass.

    Args:
        model: that is adapted.
    """

    def init(variables: Any, source: Array | None) -> Any:
        return variables

    def adapt(state: Any, batch: parts.Batch, key: Key) -> tuple[Any, Adapted]:
        logits, _ = model.apply(state, batch.images, mixed(batch.mask), batch.mask)
        return state, parts.predicted(logits, len(batch.images))

    return parts.method(model, init, adapt)


def mixed(mask: Array, weights: dict[str, Array] | None = None) -> Callable[[str, Array, Pair, Pair], Pair]:
    """Statistics, as `infojax.types.Statistics` takes them, of batches whose rows in `mask` [B] are there.

    Args:
        mask: rows that count.
        weights: where given, λ of each layer is put into it.
    """

    def statistics(path: str, inputs: Array, source: Pair, batch: Pair) -> Pair:
        weight = source_weight(inputs, mask, source, batch)
        if weights is not None:
            weights[path] = weight
        return weight * source[0] + (1 - weight) * batch[0], weight * source[1] + (1 - weight) * batch[1]

    return statistics


def source_weight(inputs: Array, mask: Array, source: Pair, batch: Pair) -> Array:
    """λ, a scalar, of inputs [B, …, C] and the pairs (mean, variance) [C]; 1 where nothing differs."""
    axes = tuple(range(1, inputs.ndim - 1))
    mean = jnp.mean(inputs, axis=axes)
    deviation = _root(jnp.var(inputs, axis=axes) if axes else jnp.zeros_like(mean))
    (source_mean, source_variance), (batch_mean, batch_variance) = source, batch
    source_deviation, batch_deviation = _root(source_variance), _root(batch_variance)

    def distance(one: Pair, other: Pair) -> Array:
        return jnp.mean((one[0] - other[0]) ** 2 + (one[1] - other[1]) ** 2, axis=-1)

    def to_each(mean_of: Array, deviation_of: Array) -> Array:
        return distance((mean, deviation), (mean_of[None, :], deviation_of[None, :]))

    between = distance((source_mean, source_deviation), (batch_mean, batch_deviation))
    total = between + to_each(source_mean, source_deviation) + to_each(batch_mean, batch_deviation)
    apart = total > 0
    return parts.mean_over(jnp.where(apart, 1 - between / jnp.where(apart, total, 1), 1), mask)


def rectified(
    values: parts.Values, weights: dict[str, Array], measured: dict[str, Pair], source: dict[str, Pair], epsilon: float
) -> parts.Values:
    """Scales γ' and shifts β' of "Transform", by path, for those of `values` that have a layer in `weights`.

    Args:
        values: path -> γ or β, such as `bn/scale` and `bn/bias`; a layer has both.
        weights: path of a layer -> λ.
        measured: path of a layer -> mean, variance of the batch, in the pass in which λ was found.
        source: path of a layer -> mean, variance of the source.
        epsilon: ε of the layers.
    """
    new = dict(values)
    for path, weight in weights.items():
        (source_mean, source_variance), (mean, variance) = source[path], measured[path]
        deviation = jnp.sqrt(variance + epsilon)
        blend = weight * source_variance + (1 - weight) * variance
        scale = values[f"{path}/scale"] * deviation / jnp.sqrt(blend + epsilon)
        new[f"{path}/scale"] = scale
        new[f"{path}/bias"] = values[f"{path}/bias"] + scale * weight * (mean - source_mean) / deviation
    return new


def _root(variance: Array) -> Array:
    """√v with a gradient of 0 at 0."""
    some = variance > 0
    return jnp.where(some, jnp.sqrt(jnp.where(some, variance, 1)), 0)
