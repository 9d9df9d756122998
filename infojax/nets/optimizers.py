"""Optimisers from optax, usable under jax's strict dtype promotion."""

from typing import Any

import jax
import optax


def adam(learning_rate: float | jax.Array) -> optax.GradientTransformation:
    """Adam (Kingma and Ba, 2015). optax raises a float to an integer count, which strict promotion forbids."""
    inner = optax.adam(learning_rate)

    def update(gradient: Any, state: optax.OptState, parameters: Any = None) -> tuple[Any, optax.OptState]:
        with jax.numpy_dtype_promotion("standard"):
            return inner.update(gradient, state, parameters)

    return optax.GradientTransformation(inner.init, update)
