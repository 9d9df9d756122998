"""numpy and scipy: KD-trees, and the formulas as one writes them with numpy, in the dtype of the data."""

from collections.abc import Callable
from typing import Any

import cases
import numpy as np
from primitives import PRIMITIVES, in_double
from scipy.spatial import cKDTree
from scipy.special import digamma, entr, gammaln, log_softmax, logsumexp, softmax

PACKAGES = ("scipy",)


def kozachenko_leonenko(radius: np.ndarray, d: int, k: int) -> float:
    """Entropy from Euclidean distances to the k-th neighbour."""
    ball = d / 2 * np.log(np.pi) - gammaln(d / 2 + 1)
    return float(digamma(len(radius)) - digamma(k) + ball + d * np.log(radius).mean())


def knn_entropy(workers: int) -> Callable[[cases.Data], Callable[[], Any]]:
    """Build a KD-tree and ask it, in float64."""

    def task(data: cases.Data) -> Callable[[], Any]:
        x = data["x"].astype(np.float64)
        return lambda: kozachenko_leonenko(cKDTree(x).query(x, k=[4], workers=workers)[0][:, 0], x.shape[1], 3)

    return task


def ksg_two(data: cases.Data) -> Callable[[], Any]:
    """Kraskov's equation 9 with all distances, block by block."""
    x, y = data["x"][:, 0].astype(np.float64), data["y"][:, 0].astype(np.float64)
    n, k = len(x), 3

    def call() -> float:
        total = 0.0
        for rows in np.array_split(np.arange(n), max(1, n // 250)):
            across, along = np.abs(x[rows, None] - x), np.abs(y[rows, None] - y)
            joint = np.maximum(across, along)
            joint[np.arange(len(rows)), rows] = np.inf
            nearest = np.argpartition(joint, k, axis=1)[:, :k]
            for distances in (across, along):
                reach = np.take_along_axis(distances, nearest, axis=1).max(axis=1, keepdims=True)
                total += digamma((distances <= reach).sum(axis=1) - 1).sum()
        return float(digamma(k) - 1 / k + digamma(n) - total / n)

    return call


def logits_entropy(data: cases.Data) -> Callable[[], Any]:
    """Through probabilities."""
    return lambda: entr(softmax(data["logits"], axis=-1)).sum(axis=-1)


def information_gain(data: cases.Data) -> Callable[[], Any]:
    """The formula."""
    mean, scale = data["mean"], data["scale"]

    def call() -> np.ndarray:
        variance = scale**2
        return 0.5 * (np.log(mean.var(axis=0) + variance.mean(axis=0)) - np.log(variance).mean(axis=0)).sum(axis=-1)

    return call


def bald(data: cases.Data) -> Callable[[], Any]:
    """Entropy of the mean minus mean entropy."""

    def call() -> np.ndarray:
        log_p = log_softmax(data["logits"], axis=-1)
        p = np.exp(log_p)
        return entr(p.mean(axis=0)).sum(axis=-1) + (p * log_p).sum(axis=-1).mean(axis=0)

    return call


def particle_reward(data: cases.Data) -> Callable[[], Any]:
    """Distances by a matrix product, neighbours by a partition, self excluded."""
    x = data["x"]

    def call() -> np.ndarray:
        squares = (x**2).sum(axis=1)
        distances = squares[:, None] + squares - 2 * x @ x.T
        np.fill_diagonal(distances, np.inf)
        nearest = np.partition(distances, cases.NEIGHBOURS - 1, axis=1)[:, : cases.NEIGHBOURS]
        return np.log1p(np.sqrt(np.maximum(nearest, 0)).mean(axis=1))

    return call


def matrix_renyi(dtype: type) -> Callable[[cases.Data], Callable[[], Any]]:
    """By eigenvalues."""

    def task(data: cases.Data) -> Callable[[], Any]:
        gram = data["gram_x"].astype(dtype)
        return lambda: float(-np.log((np.linalg.eigvalsh(gram / np.trace(gram)) ** 2).sum()))

    return task


def gaussian_mi(data: cases.Data) -> Callable[[], Any]:
    """Log-determinants of the sample covariance."""
    x, y, d = data["x"], data["y"], cases.DIMENSIONS

    def call() -> float:
        cov = np.cov(np.concatenate([x, y], axis=1), rowvar=False)
        first, second, both = (np.linalg.slogdet(c)[1] for c in (cov[:d, :d], cov[d:, d:], cov))
        return float(0.5 * (first + second - both))

    return call


def plugin_entropy(data: cases.Data) -> Callable[[], Any]:
    """Counts, then the formula."""
    return lambda: float(entr(np.bincount(data["x"], minlength=cases.SYMBOLS) / len(data["x"])).sum())


def hsic(data: cases.Data) -> Callable[[], Any]:
    """Centre one gram matrix, multiply element by element: no matrix product."""
    x, y = data["gram_x"], data["gram_y"]

    def call() -> float:
        centred = x - x.mean(axis=0) - x.mean(axis=1)[:, None] + x.mean()
        return float((centred * y).sum() / (len(x) - 1) ** 2)

    return call


def infonce(data: cases.Data) -> Callable[[], Any]:
    """Rows of scores."""
    scores = data["scores"]
    return lambda: float(np.mean(np.diag(scores) - logsumexp(scores, axis=1)) + np.log(len(scores)))


def smile(data: cases.Data) -> Callable[[], Any]:
    """Clip, drop the diagonal, log-sum-exp."""
    scores = data["scores"]

    def call() -> float:
        n = len(scores)
        clipped = np.clip(scores, -cases.TAU, cases.TAU)
        np.fill_diagonal(clipped, -np.inf)
        return float(np.diag(scores).mean() - logsumexp(clipped) + np.log(n * (n - 1)))

    return call


def primitive(name: str) -> Callable[[cases.Data], Callable[[], Any]]:
    """One of the many small ones: its formula, in the dtype of the data."""
    row = PRIMITIVES[name]
    return lambda data: lambda: row.formula(*data.values(), **row.settings)


def knn_distances(data: cases.Data) -> Callable[[], Any]:
    """A KD-tree, one worker."""
    (x,) = in_double(data)
    return lambda: cKDTree(x).query(x, k=[2, 3, 4])[0]


def kl_divergence(data: cases.Data) -> Callable[[], Any]:
    """Two KD-trees, maximum norm."""
    x, y = in_double(data)

    def call() -> float:
        own = cKDTree(x).query(x, k=[4], p=np.inf)[0]
        other = cKDTree(y).query(x, k=[3], p=np.inf)[0]
        return float(x.shape[1] * np.log(other / own).mean() + np.log(len(y) / (len(x) - 1)))

    return call


def conditional_mutual_information(data: cases.Data) -> Callable[[], Any]:
    """KD-trees of all variables and of those to count in, maximum norm."""
    x, y, z = in_double(data)

    def call() -> float:
        both = np.hstack([x, y, z])
        radius = np.nextafter(cKDTree(both).query(both, k=[4], p=np.inf)[0][:, 0], 0)
        parts = (z, np.hstack([x, z]), np.hstack([y, z]))
        inside = [cKDTree(part).query_ball_point(part, radius, p=np.inf, return_length=True) for part in parts]
        of_z, of_xz, of_yz = (digamma(count) for count in inside)
        return float(digamma(3) + (of_z - of_xz - of_yz).mean())

    return call


TASKS = {
    "knn_entropy": knn_entropy(1),
    "knn_entropy_all_workers": knn_entropy(-1),
    "ksg_two": ksg_two,
    "logits_entropy": logits_entropy,
    "information_gain": information_gain,
    "bald": bald,
    "particle_reward": particle_reward,
    "matrix_renyi": matrix_renyi(np.float32),
    "matrix_renyi_float64": matrix_renyi(np.float64),
    "gaussian_mi": gaussian_mi,
    "plugin_entropy": plugin_entropy,
    "hsic": hsic,
    "infonce": infonce,
    "smile": smile,
    **{name: primitive(name) for name in PRIMITIVES},
    "particle.knn_distances": knn_distances,
    "particle.kl_divergence": kl_divergence,
    "particle.conditional_mutual_information": conditional_mutual_information,
}
