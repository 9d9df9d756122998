"""NPEET: max-norm, scikit-learn's trees."""

import math
from collections.abc import Callable
from typing import Any

import cases
import numpy as np
from npeet import entropy_estimators

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


TASKS = {"knn_entropy": knn_entropy, "ksg": ksg, "plugin_entropy": plugin_entropy}
