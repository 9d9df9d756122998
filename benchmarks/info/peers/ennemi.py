"""ennemi: KSG with scaling of the data to unit variance, its default; given a condition, without."""

from collections.abc import Callable
from typing import Any

import cases
import ennemi
import numpy as np
from primitives import in_double

PACKAGES = ("ennemi", "scipy")


def ksg(data: cases.Data) -> Callable[[], Any]:
    """`estimate_mi`."""
    x, y = data["x"][:, 0].astype(np.float64), data["y"][:, 0].astype(np.float64)
    return lambda: float(np.asarray(ennemi.estimate_mi(y, x, k=3)).item())


def conditional_mutual_information(data: cases.Data) -> Callable[[], Any]:
    """`estimate_mi` given a condition."""
    x, y, z = (part[:, 0] for part in in_double(data))
    return lambda: float(np.asarray(ennemi.estimate_mi(y, x, k=3, cond=z, preprocess=False)).item())


TASKS = {"ksg": ksg, "particle.conditional_mutual_information": conditional_mutual_information}
