"""scikit-learn: neighbours, `mutual_info_regression` and the Gaussian kernel."""

from collections.abc import Callable
from typing import Any

import cases
import numpy as np
from peers.numpy_scipy import kozachenko_leonenko
from primitives import in_double
from sklearn.feature_selection import mutual_info_regression
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.neighbors import NearestNeighbors

PACKAGES = ("scikit-learn", "scipy")


def knn_entropy(dtype: type) -> Callable[[cases.Data], Callable[[], Any]]:
    """`NearestNeighbors(algorithm="brute")`, self excluded."""

    def task(data: cases.Data) -> Callable[[], Any]:
        x = data["x"].astype(dtype)

        def call() -> float:
            neighbours = NearestNeighbors(n_neighbors=3, algorithm="brute").fit(x)
            return kozachenko_leonenko(neighbours.kneighbors()[0][:, -1].astype(np.float64), x.shape[1], 3)

        return call

    return task


def ksg(data: cases.Data) -> Callable[[], Any]:
    """One column against a target."""
    x, y = data["x"].astype(np.float64), data["y"][:, 0].astype(np.float64)
    return lambda: float(mutual_info_regression(x, y, discrete_features=False, n_neighbors=3, random_state=0)[0])


def knn_distances(data: cases.Data) -> Callable[[], Any]:
    """`NearestNeighbors` as it chooses, self excluded."""
    (x,) = in_double(data)
    return lambda: NearestNeighbors(n_neighbors=3).fit(x).kneighbors()[0]


def gram(data: cases.Data) -> Callable[[], Any]:
    """`rbf_kernel`."""
    (x,) = data.values()
    return lambda: rbf_kernel(x, gamma=0.5)


TASKS = {
    "knn_entropy": knn_entropy(np.float64),
    "knn_entropy_float32": knn_entropy(np.float32),
    "ksg": ksg,
    "particle.knn_distances": knn_distances,
    "kernel.gram": gram,
}
