"""Information quantities of categorical distributions given by logits; classes on the last axis."""

import jax
import jax.numpy as jnp

from infojax.info._numerics import accumulation_dtype


@jax.custom_jvp
def _entropy(centred: jax.Array) -> jax.Array:
    """Entropy of logits whose maximum is 0; −inf marks a class that is out of the support."""
    weight = jnp.exp(centred)
    product = jnp.where(weight > 0, weight * jnp.where(weight > 0, centred, 0), 0)
    total = jnp.sum(weight, axis=-1)
    safe = jnp.maximum(total, 1)  # the largest weight is 1 unless every class is masked
    return jnp.where(total > 0, jnp.log(safe) - jnp.sum(product, axis=-1) / safe, 0)


@_entropy.defjvp
def _entropy_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    """dH/dz = −p (log p + H), exactly zero where p = 0; autodiff of the sum would give NaN there."""
    (centred,), (tangent,) = primals, tangents
    entropy = _entropy(centred)
    weight = jnp.exp(centred)
    total = jnp.maximum(jnp.sum(weight, axis=-1, keepdims=True), 1)
    probability = weight / total
    log_probability = jnp.where(weight > 0, centred, 0) - jnp.log(total)
    slope = jnp.where(weight > 0, -probability * (log_probability + entropy[..., None]), 0)
    return entropy, jnp.sum(slope * jnp.where(weight > 0, tangent, 0), axis=-1)


def entropy(logits: jax.Array, temperature: jax.Array | float = 1.0, where: jax.Array | None = None) -> jax.Array:
    r"""Shannon entropy of softmax(logits / temperature).

    $$H = -\sum_k p_k \log p_k, \qquad p = \mathrm{softmax}(z / T)$$

    Computed from the logits in one pass, never from log(softmax + eps). Logits of −inf are exact, with zero gradient.

    Args:
        logits: (…, K) unnormalised log-probabilities.
        temperature: T > 0, scalar or broadcastable to (…, 1); applied after the maximum is subtracted, so that huge
            logits stay right under `jit`.
        where: mask that broadcasts to `logits`; masked classes leave the support. A row with none left gives 0.

    Returns:
        (…) entropy in nats, between 0 and log K.

    Example:
        >>> import jax.numpy as jnp
        >>> bool(jnp.allclose(entropy(jnp.zeros(4)), jnp.log(4.0)))
        True

    Source: Shannon (1948), section 6.
    """
    dtype = accumulation_dtype(logits.dtype)
    values = logits.astype(dtype)
    if where is not None:
        values = jnp.where(where, values, -jnp.inf)
    maximum = jax.lax.stop_gradient(jnp.max(values, axis=-1, keepdims=True))
    alive = values > -jnp.inf
    centred = jnp.where(alive, values, 0) - jnp.where(jnp.isfinite(maximum), maximum, 0)
    centred = jnp.where(alive, centred / jnp.asarray(temperature, dtype), -jnp.inf)
    return _entropy(centred).astype(logits.dtype)
