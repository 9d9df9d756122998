"""Normalisation by a running average of the statistics of the stream.

m ← (1 − r) m + r (batch mean), v likewise (biased), beginning with those of the source; each batch is predicted by the
average that includes it. It forgets the source by and by and, unlike the statistics of single batches, stands small
batches (the "EMA-BN" of online benchmarks, such as that of Döbler et al., 2023).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from infojax.tta import parts
from infojax.types import Adapted, Array, Key, Method, Model, Rate


class EmaNormState(NamedTuple):
    """The model, and the average of every layer."""

    variables: Any
    statistics: dict[str, tuple[Array, Array]]  # path -> mean, variance


def make(model: Model, *, rate: Rate = 0.1) -> Method:
    """Predictions by running statistics; nothing is learned. Two forward passes: each layer is measured with the
    layers before it normalised by the average so far, and then normalises by the new one.

    Args:
        model: that is adapted.
        rate: r, the share of a new batch.
    """

    def init(variables: Any, source: Array | None) -> EmaNormState:
        return EmaNormState(variables, parts.source_statistics(model, variables))

    def adapt(state: EmaNormState, batch: parts.Batch, key: Key) -> tuple[EmaNormState, Adapted]:
        measured = model.measure(state.variables, batch.images, state.statistics, batch.mask)
        statistics = jax.tree.map(lambda old, new: (1 - rate) * old + rate * new, state.statistics, measured)
        logits, _ = model.apply(state.variables, batch.images, statistics, batch.mask)
        adapted = parts.predicted(logits, 2 * len(batch.images))
        return EmaNormState(state.variables, statistics), adapted._replace(
            info={**adapted.info, "updated": jnp.int32(1)}
        )

    return parts.method(model, init, adapt)
