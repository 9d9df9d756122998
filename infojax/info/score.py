"""Mutual information from the scores (gradients of log-densities) of a diffusion that noises the data.

The forward process is dx = −½ β(t) x dt + √β(t) dw, or any other with the diffusion coefficient g(t)² = β(t). The
scores are those of its noised densities, exact or learnt, at samples x_t of the forward process.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from infojax.info._numerics import Reduction, promote, reduce


def _check_scores(name: str, score: jax.Array, times: jax.Array) -> None:
    if score.ndim < 3 or score.shape[-3] != times.shape[0]:
        raise ValueError(
            f"{name} must have the shape (…, times, n, d) with {times.shape[0]} times as in `times`, got {score.shape}"
        )


def _step_weights(times: jax.Array, beta: ArrayLike) -> jax.Array:
    """β times the weight of each time in the trapezoidal rule."""
    diffusion = jnp.asarray(beta, times.dtype)
    if diffusion.ndim > 1 or (diffusion.ndim == 1 and diffusion.shape != times.shape):
        raise ValueError(
            f"beta must be a scalar or g(t)² at each of the {times.shape[0]} times, got shape {diffusion.shape}"
        )
    steps = jnp.diff(times)
    # Every step counts half for the time it starts from and half for the time it ends at.
    return diffusion * (jnp.pad(steps, (0, 1)) + jnp.pad(steps, (1, 0))) / 2


def _integrated(
    difference: jax.Array,
    weights: jax.Array,
    terminal: ArrayLike,
    where: jax.Array | None,
    reduction: Reduction,
    dtype: jnp.dtype,
) -> jax.Array:
    if where is not None:
        where = jnp.broadcast_to(where, difference.shape[:-3] + difference.shape[-2:-1])
        difference = jnp.where(where[..., None, :, None], difference, 0)
    square = jnp.sum(difference * difference, axis=-1)
    local = jnp.einsum("t,...tn->...n", weights, square, precision=jax.lax.Precision.HIGHEST) / 2
    rest = jnp.asarray(terminal, local.dtype)
    if rest.ndim:
        rest = jnp.broadcast_to(rest, local.shape[:-1])[..., None]
    return reduce(local + rest, where, reduction, dtype)


def _times(times: ArrayLike, dtype: jnp.dtype) -> jax.Array:
    values = jnp.asarray(times, dtype)
    if values.ndim != 1 or values.shape[0] < 2:
        raise ValueError(f"times must be one axis of at least 2 ascending times, got shape {values.shape}")
    return values


def minde_conditional(
    score_conditional: ArrayLike,
    score_marginal: ArrayLike,
    times: ArrayLike,
    beta: ArrayLike,
    terminal: ArrayLike = 0.0,
    where: jax.Array | None = None,
    reduction: Reduction = "mean",
) -> jax.Array:
    r"""MINDE, conditional form: what knowing y changes in the score of the noised x.

    $$I(X;Y) = \frac12\int_0^T \beta(t)\, \mathbb E\left\|\nabla\log p_t(x_t \mid y) - \nabla\log p_t(x_t)\right\|^2 dt
    + I(X_T; Y)$$

    by the trapezoidal rule over `times`. Never negative but for `terminal`.

    Args:
        score_conditional: (…, times, n, d) ∇ log p_t(x_t | y) at n samples of (x_t, y) for each time.
        score_marginal: (…, times, n, d) ∇ log p_t(x_t) at the same samples.
        times: (times,) ascending, not necessarily at equal distances.
        beta: g(t)², (times,) or a scalar.
        terminal: I(X_T; Y), near 0 once the noise has drowned x; a scalar or of the shape (…).
        where: mask of samples that broadcasts to (…, n), the same at all times. No sample left gives 0.
        reduction: "mean" over samples, or "none" for the values per sample.

    Returns:
        (…) or (…, n) in nats.

    Raises:
        ValueError: scores of different or too few axes, times or beta that do not fit, or unknown reduction.

    Example:
        >>> import jax.numpy as jnp
        >>> float(minde_conditional(jnp.ones((3, 5, 2)), jnp.zeros((3, 5, 2)), jnp.array([0.0, 0.5, 1.0]), 2.0))
        2.0

    Source: Franzese, Bounoua and Michiardi (2024), "MINDE: Mutual information neural diffusion estimation",
    section 3, the conditional estimator.
    """
    (conditional, marginal), dtype = promote(score_conditional, score_marginal)
    moments = _times(times, conditional.dtype)
    _check_scores("score_conditional", conditional, moments)
    _check_scores("score_marginal", marginal, moments)
    if conditional.shape[-1] != marginal.shape[-1]:
        raise ValueError(
            f"both scores must be of the same x, got {conditional.shape[-1]} and {marginal.shape[-1]} dimensions"
        )
    shape = jnp.broadcast_shapes(conditional.shape, marginal.shape)
    difference = jnp.broadcast_to(conditional, shape) - jnp.broadcast_to(marginal, shape)
    return _integrated(difference, _step_weights(moments, beta), terminal, where, reduction, dtype)


def minde_joint(
    score_joint: ArrayLike,
    score_conditional_x: ArrayLike,
    score_conditional_y: ArrayLike,
    times: ArrayLike,
    beta: ArrayLike,
    terminal: ArrayLike = 0.0,
    where: jax.Array | None = None,
    reduction: Reduction = "mean",
) -> jax.Array:
    r"""MINDE, joint form: how the score of the noised pair differs from those of each side given the other, clean.

    $$I(X;Y) = \frac12\int_0^T \beta(t)\, \mathbb E\left\| \nabla\log p_t(x_t, y_t) -
    \begin{bmatrix}\nabla\log p_t(x_t \mid y_0) \\ \nabla\log p_t(y_t \mid x_0)\end{bmatrix}\right\|^2 dt
    + I(X_T; Y_0) + I(Y_T; X_0) - I(X_T; Y_T)$$

    This is H(X,Y) − H(X|Y) − H(Y|X), each entropy by its scores: the score of the pair is the mean of the conditional
    ones over the clean values, so the three integrals are one of a square.

    Args:
        score_joint: (…, times, n, d_x + d_y) ∇ log p_t(x_t, y_t), x first, at n samples of (x_0, y_0, x_t, y_t), both
            sides noised to the same time.
        score_conditional_x: (…, times, n, d_x) ∇ log p_t(x_t | y_0) at the same samples.
        score_conditional_y: (…, times, n, d_y) ∇ log p_t(y_t | x_0) at the same samples.
        times: (times,) ascending, not necessarily at equal distances.
        beta: g(t)², (times,) or a scalar.
        terminal: the terms after the integral, near 0 once the noise has drowned both; a scalar or of the shape (…).
        where: mask of samples that broadcasts to (…, n), the same at all times. No sample left gives 0.
        reduction: "mean" over samples, or "none" for the values per sample.

    Returns:
        (…) or (…, n) in nats.

    Raises:
        ValueError: scores of different or too few axes, times or beta that do not fit, or unknown reduction.

    Example:
        >>> import jax.numpy as jnp
        >>> joint, side = jnp.zeros((2, 5, 2)), jnp.ones((2, 5, 1))
        >>> float(minde_joint(joint, side, side, jnp.array([0.0, 1.0]), 1.0))
        1.0

    Source: Franzese, Bounoua and Michiardi (2024), "MINDE: Mutual information neural diffusion estimation",
    section 3, the joint estimator.
    """
    (joint, side_x, side_y), dtype = promote(score_joint, score_conditional_x, score_conditional_y)
    moments = _times(times, joint.dtype)
    named = {"score_joint": joint, "score_conditional_x": side_x, "score_conditional_y": side_y}
    for name, score in named.items():
        _check_scores(name, score, moments)
    if joint.shape[-1] != side_x.shape[-1] + side_y.shape[-1]:
        raise ValueError(
            f"score_joint must have the dimensions of x and of y, {side_x.shape[-1]} + {side_y.shape[-1]}, got"
            f" {joint.shape[-1]}"
        )
    lead = jnp.broadcast_shapes(joint.shape[:-1], side_x.shape[:-1], side_y.shape[:-1])
    joint, side_x, side_y = (jnp.broadcast_to(score, (*lead, score.shape[-1])) for score in (joint, side_x, side_y))
    difference = joint - jnp.concatenate([side_x, side_y], axis=-1)
    return _integrated(difference, _step_weights(moments, beta), terminal, where, reduction, dtype)
