"""bmi (benchmark-mi): KSG with three neighbours and its other settings as they come."""

from collections.abc import Callable
from typing import Any

import cases
import numpy as np
from bmi.estimators.ksg import KSGEnsembleFirstEstimator

PACKAGES = ("benchmark-mi", "scikit-learn")


def ksg(data: cases.Data) -> Callable[[], Any]:
    """`KSGEnsembleFirstEstimator`, which standardises the data."""
    x, y = data["x"].astype(np.float64), data["y"].astype(np.float64)
    return lambda: float(KSGEnsembleFirstEstimator(neighborhoods=(3,)).estimate(x, y))


TASKS = {"ksg": ksg}
