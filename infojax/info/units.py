"""Nats to bits and back: everything else in this package is in nats, and unit changes happen at its edge."""

import math

import jax
from jax.typing import ArrayLike

from infojax.info._numerics import promote


def nats_to_bits(value: ArrayLike) -> jax.Array:
    r"""Nats as bits.

    $$H_{\text{bits}} = H_{\text{nats}} / \ln 2$$

    Args:
        value: any shape, in nats.

    Returns:
        The same shape, in bits.

    Example:
        >>> import jax.numpy as jnp
        >>> bool(jnp.allclose(nats_to_bits(jnp.log(8.0)), 3.0))
        True

    Source: Shannon (1948), introduction.
    """
    (nats,), dtype = promote(value)
    return (nats / math.log(2)).astype(dtype)


def bits_to_nats(value: ArrayLike) -> jax.Array:
    r"""Bits as nats.

    $$H_{\text{nats}} = H_{\text{bits}} \ln 2$$

    Args:
        value: any shape, in bits.

    Returns:
        The same shape, in nats.

    Example:
        >>> import jax.numpy as jnp
        >>> bool(jnp.allclose(bits_to_nats(3.0), jnp.log(8.0)))
        True

    Source: Shannon (1948), introduction.
    """
    (bits,), dtype = promote(value)
    return (bits * math.log(2)).astype(dtype)
