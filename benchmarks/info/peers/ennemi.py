"""ennemi: KSG with scaling of the data to unit variance, its default."""

from collections.abc import Callable
from typing import Any

import cases
import ennemi
import numpy as np

PACKAGES = ("ennemi", "scipy")


def ksg(data: cases.Data) -> Callable[[], Any]:
    """`estimate_mi`."""
    x, y = data["x"][:, 0].astype(np.float64), data["y"][:, 0].astype(np.float64)
    return lambda: float(np.asarray(ennemi.estimate_mi(y, x, k=3)).item())


TASKS = {"ksg": ksg}
