"""Parts that objectives share: what their networks see, a Gaussian's log-density, one step of Adam, masked means."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from infojax.info import gaussian
from infojax.nets import inputs
from infojax.nets.statistics import RunningStatistics
from infojax.types import Array, EnvSpec, UserError

MIN_SCALE = 1e-4


class Inputs(NamedTuple):
    """Observations and actions of one environment as flat vectors; symbols and discrete actions are one-hot."""

    observation_size: int
    action_size: int
    observation: Callable[[Array], Array]  # (…, *observation_shape) -> (…, observation_size)
    action: Callable[[Array], Array]  # (…, *action_shape) -> (…, action_size)
    pair: Callable[[Array, Array], Array]  # observation, action -> (…, observation_size + action_size)


def flat_inputs(spec: EnvSpec, name: str) -> Inputs:
    """What the networks of the objective `name` see, or a clear error where observations are arrays of numbers."""
    if spec.num_categories is None and len(spec.observation_shape) != 1:
        raise UserError(
            f"objective {name} needs observations of shape (D,) or of symbols, but {spec.name or 'the environment'} "
            f"observes {spec.observation_shape}; flatten them in the environment"
        )

    def observation(values: Array) -> Array:
        return inputs.observation_features(spec, values)

    def action(values: Array) -> Array:
        return inputs.action_features(spec, values)

    return Inputs(
        observation_size=inputs.observation_size(spec),
        action_size=inputs.action_size(spec),
        observation=observation,
        action=action,
        pair=lambda seen, done: jnp.concatenate([observation(seen), action(done)], axis=-1),
    )


def mean_and_scale(outputs: Array) -> tuple[Array, Array]:
    """The outputs (…, 2 d) of a network as mean and standard deviation (…, d) of a diagonal Gaussian."""
    mean, raw_scale = jnp.split(outputs, 2, axis=-1)
    return mean, jax.nn.softplus(raw_scale) + MIN_SCALE


def log_density(values: Array, mean: Array, scale: Array) -> Array:
    """(…) log N(values; mean, scale) of (…, d), all of one shape, in nats.

    log q(x) = d/2 − D(q moved to x ‖ q) − H(q): equal scales leave of the divergence the square alone.
    """
    moved = gaussian.diagonal_kl_divergence(values, scale, mean, scale)
    return values.shape[-1] / 2 - moved - gaussian.diagonal_entropy(scale)


def descend(
    optimizer: optax.GradientTransformation,
    loss: Callable[[Any], tuple[Array, Any]],
    parameters: Any,
    optimizer_state: optax.OptState,
) -> tuple[Any, optax.OptState, Any]:
    """One step down `loss(parameters) -> (value, what else it found)`: parameters, optimiser's state, what it found."""
    gradient, found = jax.grad(loss, has_aux=True)(parameters)
    step, optimizer_state = optimizer.update(gradient, optimizer_state, parameters)
    return optax.apply_updates(parameters, step), optimizer_state, found


def mean_over(values: Array, where: Array | None) -> Array:
    """The mean of [N] values over those that count, 0 where none does: for `report`."""
    if where is None:
        return jnp.mean(values)
    return jnp.sum(jnp.where(where, values, 0)) / jnp.maximum(jnp.sum(where.astype(values.dtype)), 1)


def squared_distance(left: Array, right: Array) -> Array:
    """(…) ‖left − right‖² of (…, d), both of one shape."""
    return jnp.sum(jnp.square(left - right), axis=-1)


def running_scale(statistics: RunningStatistics) -> Array:
    """The standard deviation of all that was seen; 1 where that is nothing or never moved."""
    variance = statistics.deviation / jnp.maximum(statistics.seen, 1)
    return jnp.where(variance > 1e-8, jnp.sqrt(jnp.maximum(variance, 1e-8)), 1)
