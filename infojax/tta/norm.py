"""Normalisation by the statistics of the batch, or by a mixture of them with those of the source.

mean = (1 − w) source mean + w batch mean, and the variance likewise. w = 1 is the adaptive batch normalisation that
Nado et al. (2020) and Schneider et al. (2020) found to help against corruptions; smaller weights keep more of the
source (alpha-BN: You et al., 2021; Schneider et al. write w = n / (N + n) with N pseudo-samples of the source). Biased
variances throughout, nothing is carried over.
"""

from typing import Any

from infojax.tta import parts
from infojax.types import Adapted, Array, Key, Method, Model, UnitInterval


def make(model: Model, *, weight: UnitInterval = 1.0) -> Method:
    """Predictions by mixed statistics; nothing is learned. One forward pass.

    Args:
        model: that is adapted.
        weight: w of the batch; 1 is all of it, 0 the source model.
    """

    def init(variables: Any, source: Array | None) -> Any:
        return variables

    def adapt(state: Any, batch: parts.Batch, key: Key) -> tuple[Any, Adapted]:
        logits, _ = model.apply(state, batch.images, "batch" if weight == 1 else weight, batch.mask)
        return state, parts.predicted(logits, len(batch.images))

    return parts.method(model, init, adapt)
