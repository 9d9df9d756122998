"""Optimisers from optax, usable under jax's strict dtype promotion."""

from typing import Any

import jax
import optax


def adam(learning_rate: float | jax.Array) -> optax.GradientTransformation:
    """Adam (Kingma and Ba, 2015). optax raises a float to an integer count, which strict promotion forbids."""
    inner = optax.adam(learning_rate)

    def update(updates: Any, state: optax.OptState, params: Any = None) -> tuple[Any, optax.OptState]:
        with jax.numpy_dtype_promotion("standard"):
            return inner.update(updates, state, params)

    return optax.GradientTransformation(inner.init, update)
