"""The source model as it is: what adapting has to beat."""

from typing import Any

from infojax.tta import parts
from infojax.types import Adapted, Array, Key, Method, Model


def make(model: Model) -> Method:
    """Predictions by the source model with its own statistics; nothing adapts. One forward pass."""

    def init(variables: Any, source: Array | None) -> Any:
        return variables

    def adapt(state: Any, batch: parts.Batch, key: Key) -> tuple[Any, Adapted]:
        logits, _ = model.apply(state, batch.images, "source", batch.mask)
        return state, parts.predicted(logits, len(batch.images))

    return parts.method(model, init, adapt)
