"""Optimisers from optax, usable under jax's strict dtype promotion and where the data of one seed is spread.

`axis` names the axes over which a batch is spread, `EnvSpec.data_axis`: gradients are averaged over them before all
else, so that every shard makes the step of the whole batch. Where a loss is a mean over equally many rows, the mean of
the shards' gradients is the gradient of the whole batch.
"""

from typing import Any, Literal

import jax
import optax

from infojax.nets.statistics import Axis, averaged

Optimizer = Literal["sgd", "adam"]


def adam(learning_rate: float | jax.Array, axis: Axis = None) -> optax.GradientTransformation:
    """Adam (Kingma and Ba, 2015)."""
    return lenient(optax.adam(learning_rate), axis)


def sgd(learning_rate: float | jax.Array, momentum: float | jax.Array = 0.0) -> optax.GradientTransformation:
    """Gradient descent with plain (not Nesterov's) momentum."""
    return lenient(optax.sgd(learning_rate, momentum=momentum))


def optimizer(name: Optimizer, learning_rate: float, momentum: float) -> optax.GradientTransformation:
    """An optimiser by its name; Adam's own averages are the usual 0.9 and 0.999, `momentum` is that of sgd."""
    return sgd(learning_rate, momentum) if name == "sgd" else adam(learning_rate)


def lenient(inner: optax.GradientTransformation, axis: Axis = None) -> optax.GradientTransformation:
    """The same under strict promotion, which forbids that optax raises a float to an integer count.

    Gradients are averaged over `axis` before they reach it.
    """

    def update(updates: Any, state: optax.OptState, params: Any = None) -> tuple[Any, optax.OptState]:
        with jax.numpy_dtype_promotion("standard"):
            return inner.update(averaged(updates, axis), state, params)

    return optax.GradientTransformation(inner.init, update)
