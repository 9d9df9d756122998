"""Variational bounds on mutual information."""

from typing import Literal

import jax
import jax.numpy as jnp

from infojax.info._numerics import accumulation_dtype


def barber_agakov(
    log_q: jax.Array,
    prior_entropy: jax.Array | float,
    where: jax.Array | None = None,
    reduction: Literal["mean", "none"] = "mean",
) -> jax.Array:
    r"""Lower bound on I(S; Z) from a decoder's log-probability of the TRUE z.

    $$I(S;Z) \ge H(Z) + \mathbb{E}[\log q(z \mid s)]$$

    It is a bound only if `log_q` is evaluated at the z that produced s. A confident decoder that is wrong scores
    below zero; the value is not clamped.

    Args:
        log_q: (…, n) log q(z_i | s_i) of the true z_i, in nats.
        prior_entropy: H(Z) in nats, `log K` for K skills drawn uniformly.
        where: mask that broadcasts to `log_q`; what is masked does not count. Nothing left gives 0 with zero gradient.
        reduction: "mean" over the last axis, or "none" for the values per sample, which are DIAYN's reward
            log q(z|s) − log p(z) under a uniform prior.

    Returns:
        (…) or (…, n), in nats.

    Raises:
        ValueError: unknown `reduction`.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(barber_agakov(jnp.log(jnp.array([0.5, 0.5])), jnp.log(2.0))), 6)
        0.0

    Source: Barber and Agakov (2003), "The IM Algorithm", eq. 3; used as a reward by Eysenbach et al. (2019), eq. 3.
    """
    if reduction not in ("mean", "none"):
        raise ValueError(f"reduction must be 'mean' or 'none', got {reduction!r}")
    dtype = accumulation_dtype(log_q.dtype)
    entropy = jnp.asarray(prior_entropy, dtype)
    if where is not None:
        where = jnp.broadcast_to(where, log_q.shape)
    if reduction == "none":
        value = log_q.astype(dtype) + entropy
        return (value if where is None else jnp.where(where, value, 0)).astype(log_q.dtype)
    if where is None:
        return (jnp.mean(log_q.astype(dtype), axis=-1) + entropy).astype(log_q.dtype)
    # Masked entries are replaced before the sum so that an infinite one leaves neither value nor gradient behind.
    count = jnp.sum(where.astype(dtype), axis=-1)
    total = jnp.sum(jnp.where(where, log_q.astype(dtype), 0), axis=-1)
    mean = total / jnp.maximum(count, 1) + entropy
    return jnp.where(count > 0, mean, 0).astype(log_q.dtype)
