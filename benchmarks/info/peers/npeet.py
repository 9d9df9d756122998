"""NPEET: max-norm, scikit-learn's trees."""

import math
from collections.abc import Callable
from typing import Any

import cases
import numpy as np
from npeet import entropy_estimators
from primitives import in_double

PACKAGES = ("NPEET", "scikit-learn", "scipy")


def knn_entropy(data: cases.Data) -> Callable[[], Any]:
    """`entropy`."""
    x = data["x"].astype(np.float64)
    return lambda: float(entropy_estimators.entropy(x, k=3, base=math.e))


def ksg(data: cases.Data) -> Callable[[], Any]:
    """`mi`."""
    x, y = data["x"].astype(np.float64), data["y"].astype(np.float64)
    return lambda: float(entropy_estimators.mi(x, y, k=3, base=math.e))


def plugin_entropy(data: cases.Data) -> Callable[[], Any]:
    """`entropyd`."""
    return lambda: float(entropy_estimators.entropyd(data["x"], base=math.e))


def conditional_mutual_information(data: cases.Data) -> Callable[[], Any]:
    """`cmi`."""
    x, y, z = in_double(data)
    return lambda: float(entropy_estimators.cmi(x, y, z, k=3, base=math.e))


def kl_divergence(data: cases.Data) -> Callable[[], Any]:
    """`kldiv`."""
    x, y = in_double(data)
    return lambda: float(entropy_estimators.kldiv(x, y, k=3, base=math.e))


TASKS = {
    "knn_entropy": knn_entropy,
    "ksg": ksg,
    "plugin_entropy": plugin_entropy,
    "particle.conditional_mutual_information": conditional_mutual_information,
    "particle.kl_divergence": kl_divergence,
}
