"""HOI: its compiled functions on (features, samples), bits turned into nats."""

from collections.abc import Callable
from typing import Any

import cases
import jax
import jax.numpy as jnp
import numpy as np
from hoi.core.entropies import entropy_knn
from hoi.core.mi import mi_gauss, mi_knn

PACKAGES = ("hoi", "jax", "jaxlib")


def in_nats(function: Callable[..., Any], *arrays: np.ndarray) -> Callable[[], Any]:
    """A call on device arrays."""
    inputs = jax.block_until_ready([jnp.asarray(array.T) for array in arrays])
    return lambda: float(function(*inputs)) * np.log(2)


def knn_entropy(data: cases.Data) -> Callable[[], Any]:
    """`entropy_knn`."""
    return in_nats(lambda x: entropy_knn(x, 3), data["x"])


def ksg(data: cases.Data) -> Callable[[], Any]:
    """`mi_knn`."""
    return in_nats(lambda x, y: mi_knn(x, y, 3), data["x"], data["y"])


def gaussian_mi(data: cases.Data) -> Callable[[], Any]:
    """`mi_gauss`, which takes the means to be zero."""
    return in_nats(mi_gauss, data["x"], data["y"])


TASKS = {"knn_entropy": knn_entropy, "ksg": ksg, "gaussian_mi": gaussian_mi}
