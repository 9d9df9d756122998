"""frites: Gaussian mutual information without bias correction, bits turned into nats, and the copula transform."""

from collections.abc import Callable
from typing import Any

import cases
import numpy as np
from frites.core import copnorm_nd, mi_nd_gg

PACKAGES = ("frites", "scipy")


def gaussian_mi(data: cases.Data) -> Callable[[], Any]:
    """`mi_nd_gg`."""
    x, y = np.ascontiguousarray(data["x"].T), np.ascontiguousarray(data["y"].T)
    return lambda: float(np.squeeze(mi_nd_gg(x, y, mvaxis=-2, traxis=-1, biascorrect=False))) * np.log(2)


def copula_transform(data: cases.Data) -> Callable[[], Any]:
    """`copnorm_nd`."""
    (x,) = data.values()
    return lambda: copnorm_nd(x, axis=0)


TASKS = {"gaussian_mi": gaussian_mi, "gaussian.copula_transform": copula_transform}
