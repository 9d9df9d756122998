"""infomeasure, without its noise: Euclidean norm for the entropy, max-norm for KSG."""

import logging
from collections.abc import Callable
from typing import Any

import cases
import infomeasure
import numpy as np
from primitives import in_double

PACKAGES = ("infomeasure", "scipy")
logging.disable(logging.WARNING)


def knn_entropy(data: cases.Data) -> Callable[[], Any]:
    """Approach `kl`."""
    x = data["x"].astype(np.float64)
    return lambda: float(infomeasure.entropy(x, approach="kl", k=3, minkowski_p=2, noise_level=0, base="e"))


def ksg(algorithm: int) -> Callable[[cases.Data], Callable[[], Any]]:
    """Approach `ksg`."""

    def task(data: cases.Data) -> Callable[[], Any]:
        x, y = data["x"].astype(np.float64), data["y"].astype(np.float64)
        settings = {"approach": "ksg", "k": 3, "ksg_id": algorithm, "noise_level": 0, "base": "e"}
        return lambda: float(infomeasure.mutual_information(x, y, **settings))

    return task


def plugin_entropy(data: cases.Data) -> Callable[[], Any]:
    """Approach `discrete`."""
    return lambda: float(infomeasure.entropy(data["x"], approach="discrete", base="e"))


def transfer_entropy(data: cases.Data) -> Callable[[], Any]:
    """Approach `discrete`."""
    source, target = data.values()
    return lambda: float(infomeasure.transfer_entropy(source, target, approach="discrete", base="e"))


def permutation_entropy(data: cases.Data) -> Callable[[], Any]:
    """Approach `ordinal`."""
    (x,) = in_double(data)
    return lambda: float(infomeasure.entropy(x, approach="ordinal", embedding_dim=4, base="e"))


def conditional_mutual_information(data: cases.Data) -> Callable[[], Any]:
    """Approach `ksg` given a condition."""
    x, y, z = in_double(data)
    settings = {"approach": "ksg", "k": 3, "noise_level": 0, "base": "e"}
    return lambda: float(infomeasure.conditional_mutual_information(x, y, cond=z, **settings))


TASKS = {
    "knn_entropy": knn_entropy,
    "ksg_one": ksg(1),
    "ksg_two": ksg(2),
    "plugin_entropy": plugin_entropy,
    "discrete.transfer_entropy": transfer_entropy,
    "discrete.permutation_entropy": permutation_entropy,
    "particle.conditional_mutual_information": conditional_mutual_information,
}
