"""What all primitives share: precision, masks, and means of powers that do not cancel."""

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

Reduction: TypeAlias = Literal["mean", "none"]


# More members than these are a reduction, so that programs stay short.
MOST_UNROLLED = 16


def accumulation_dtype(dtype: DTypeLike) -> jnp.dtype:
    """The precision in which sums are formed: half precision accumulates in float32."""
    return jnp.dtype(jnp.float32) if jnp.finfo(dtype).bits < 32 else jnp.dtype(dtype)


def promote(*arrays: ArrayLike) -> tuple[list[jax.Array], jnp.dtype]:
    """The arrays in the precision to compute in, and the dtype of the result: integers count as default floats."""
    result = jnp.result_type(*arrays)
    if not jnp.issubdtype(result, jnp.floating):
        result = jnp.result_type(float)
    return [jnp.asarray(array, accumulation_dtype(result)) for array in arrays], jnp.dtype(result)


def transposed(matrix: jax.Array) -> jax.Array:
    return jnp.swapaxes(matrix, -1, -2)


def product(a: jax.Array, b: jax.Array) -> jax.Array:
    """a b in full precision: accelerators round the factors of float32 products otherwise."""
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def check_samples(name: str, x: jax.Array) -> None:
    """Refuse what is not (…, n, d)."""
    if x.ndim < 2:
        raise ValueError(f"{name} must have the shape (…, n, d), got {x.shape}; write x[:, None] for one dimension")


def keep(values: jax.Array, where: jax.Array | None, filler: float = 0.0) -> jax.Array:
    """`values` with the masked ones replaced, so that neither their value nor their gradient is left."""
    return values if where is None else jnp.where(where, values, filler)


def masked_mean(
    values: jax.Array, where: jax.Array | None, axis: int | tuple[int, ...] = -1, keepdims: bool = False
) -> jax.Array:
    """Mean of what the mask keeps; 0, with zero gradient, where that is nothing."""
    if where is None:
        axes = (axis,) if isinstance(axis, int) else axis
        return jnp.sum(values, axis=axis, keepdims=keepdims) / max(math.prod(values.shape[i] for i in axes), 1)
    kept = jnp.broadcast_to(where, values.shape)
    count = jnp.sum(kept.astype(values.dtype), axis=axis, keepdims=keepdims)
    return jnp.sum(keep(values, where), axis=axis, keepdims=keepdims) / jnp.maximum(count, 1)


def fold(combine: Callable[[jax.Array, jax.Array], jax.Array], values: jax.Array) -> jax.Array:
    """The members on axis 0 combined one after the other.

    Written out while they are few: on CPU XLA then does it in one pass over memory, 10 to 50 times faster than a
    reduction over a first axis that is fused with what is computed of its terms.
    """
    result = values[0]
    for index in range(1, values.shape[0]):
        result = combine(result, values[index])
    return result


def member_mean(values: jax.Array, where: jax.Array | None = None) -> jax.Array:
    """`masked_mean` over the members of an ensemble, on axis 0."""
    if not 0 < values.shape[0] <= MOST_UNROLLED:
        return masked_mean(values, where, axis=0)
    if where is None:
        return fold(jnp.add, values) / values.shape[0]
    kept = jnp.broadcast_to(where, values.shape)
    count = fold(jnp.add, kept.astype(values.dtype))
    return fold(jnp.add, keep(values, kept)) / jnp.maximum(count, 1)


def reduce(values: jax.Array, where: jax.Array | None, reduction: Reduction, dtype: DTypeLike) -> jax.Array:
    """The mean over the last axis, or the values themselves; masked ones count 0 in both."""
    if reduction not in ("mean", "none"):
        raise ValueError(f"reduction must be 'mean' or 'none', got {reduction!r}")
    if reduction == "mean":
        return masked_mean(values, where).astype(dtype)
    return keep(values, where).astype(dtype)


def positive(p: jax.Array) -> jax.Array:
    """Where a probability counts as more than 0; below the smallest normal number XLA flushes to zero anyway."""
    return p >= jnp.finfo(p.dtype).tiny


def safe_log(p: jax.Array) -> jax.Array:
    """log p, and 0 with zero gradient where p = 0: for use beside a mask."""
    alive = positive(p)
    return jnp.where(alive, jnp.log(jnp.where(alive, p, 1)), 0)


def log_mean_power(
    weight: jax.Array, log_weight: jax.Array, ratio: jax.Array, t: ArrayLike, alive: jax.Array
) -> jax.Array:
    r"""$\frac1t\log\sum_k w_k e^{t r_k}$ over the last axis, for weights that sum to 1; the mean of r at t = 0.

    Both Rényi entropies and Rényi divergences are this with t = α − 1. Where |t| is small the logarithm is of a
    number near 1; the difference from 1 is then summed with expm1, so that nothing cancels, and for t near 0 the
    first two cumulants stand for the limit (and give the derivative in t). t = ±inf gives the largest and smallest r.
    Only what is `alive` counts, also where its weight is too small for the precision. t is a scalar.
    """
    t = jnp.asarray(t, weight.dtype)
    weight, ratio = jnp.where(alive, weight, 0), jnp.where(alive, ratio, 0)
    # What the precision cannot weigh has no part in the means, and could overflow there.
    likely = jnp.where(weight > 0, ratio, 0)
    mean = jnp.sum(weight * likely, axis=-1, keepdims=True)
    variance = jnp.sum(weight * (likely - mean) ** 2, axis=-1, keepdims=True)

    near, nearest = jnp.abs(t) < 0.5, jnp.abs(t) < 1e-4
    series = mean + jnp.where(nearest, t, 0) * variance / 2

    small = jnp.where(near & ~nearest, t, 0.25)
    middle = jnp.log1p(jnp.sum(weight * jnp.expm1(small * likely), axis=-1, keepdims=True)) / small

    large = jnp.where(near | jnp.isinf(t), 1, t)
    exponent = jnp.where(alive, jnp.where(alive, log_weight, 0) + large * ratio, -jnp.inf)
    top = jnp.max(exponent, axis=-1, keepdims=True, initial=-jnp.inf)
    top = jax.lax.stop_gradient(jnp.where(jnp.isfinite(top), top, 0))
    total = jnp.sum(jnp.where(alive, jnp.exp(exponent - top), 0), axis=-1, keepdims=True)
    far = jnp.where(total > 0, (jnp.log(jnp.where(total > 0, total, 1)) + top) / large, 0)

    highest = jnp.max(jnp.where(alive, ratio, -jnp.inf), axis=-1, keepdims=True, initial=-jnp.inf)
    lowest = jnp.min(jnp.where(alive, ratio, jnp.inf), axis=-1, keepdims=True, initial=jnp.inf)
    extreme = jnp.where(t > 0, highest, lowest)
    extreme = jnp.where(jnp.isfinite(extreme), extreme, 0)

    value = jnp.where(nearest, series, jnp.where(near, middle, jnp.where(jnp.isinf(t), extreme, far)))
    return value[..., 0]


def mean_power(weight: jax.Array, log_weight: jax.Array, ratio: jax.Array, t: ArrayLike, alive: jax.Array) -> jax.Array:
    r"""$\frac1t\left(\sum_k w_k e^{t r_k} - 1\right)$ over the last axis, uncancelled; the mean of r at t = 0."""
    t = jnp.asarray(t, weight.dtype)
    weight, likely = jnp.where(alive, weight, 0), jnp.where(alive & (weight > 0), ratio, 0)
    nearest = jnp.abs(t) < 1e-4
    safe = jnp.where(nearest | jnp.isinf(t), 1, t)
    series = jnp.sum(weight * (likely + jnp.where(nearest, t, 0) * likely**2 / 2), axis=-1)
    lost = alive & ~(weight > 0)
    tail = jnp.where(lost, jnp.exp(jnp.where(lost, log_weight + safe * ratio, 0)), 0)
    value = jnp.sum(weight * jnp.expm1(safe * likely) + tail, axis=-1) / safe
    return jnp.where(nearest, series, jnp.where(jnp.isinf(t), 0, value))
