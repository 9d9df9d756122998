"""The tasks of the *Beyond Normal* benchmark: samples of (X, Y) whose mutual information is known.

Czyż, Grabowski, Vogt, Beerenwinkel and Marx (2023), "Beyond Normal: On the evaluation of mutual information
estimators". A name is read from the right: what the samples are drawn from, and in front of it the maps that are
applied to them, the nearest first. All maps are invertible, X and Y apart, so none changes the mutual information.

| name | draw |
|---|---|
| `1v1-normal-0.75` | two normal variables with that correlation |
| `1v1-additive-E` | X uniform on (0, 1), Y = X + uniform noise on (−E, E) |
| `1v1-bimodal-0.75` | the normal pair with margins of two normal modes each |
| `multinormal-dense-D-D-0.5` | D + D normal variables, every pair with that correlation |
| `multinormal-sparse-D-D-2-2.0` | D + D normal variables, the first two of X each with correlation 0.8 to its twin |
| `student-identity-D-D-N` | multivariate Student with N degrees of freedom and no correlation: dependent in the tails |
| `normal_cdf-` | the normal distribution function, which makes normal margins uniform |
| `half_cube-` | v √|v| |
| `asinh-` | arsinh v |
| `wiggly-` | a strictly increasing wave |
| `swissroll_x-` | X, uniform, rolled up in the plane |
| `spiral-` | X and Y rotated in a plane, by an angle that grows with the distance from the origin |
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import digamma, gammaln, ndtr

from infojax.types import Pairs, UserError

Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]
Map = Callable[[np.ndarray], np.ndarray]


class _Base(NamedTuple):
    draw: Draw
    dim_x: int
    dim_y: int
    truth: float


def _normal(covariance: np.ndarray, dim_x: int) -> _Base:
    factor = np.linalg.cholesky(covariance).T

    def draw(generator: np.random.Generator, num_samples: int) -> tuple[np.ndarray, np.ndarray]:
        z = generator.standard_normal((num_samples, len(covariance))) @ factor
        return z[:, :dim_x], z[:, dim_x:]

    def half_log_det(matrix: np.ndarray) -> float:
        return 0.5 * float(np.linalg.slogdet(matrix)[1])

    blocks = half_log_det(covariance[:dim_x, :dim_x]) + half_log_det(covariance[dim_x:, dim_x:])
    return _Base(draw, dim_x, len(covariance) - dim_x, blocks - half_log_det(covariance))


def _dense(dim: int, correlation: float) -> _Base:
    return _normal((1 - correlation) * np.eye(2 * dim) + correlation, dim)


def _sparse(dim: int) -> _Base:
    covariance = np.eye(2 * dim)
    for pair in range(2):
        covariance[pair, dim + pair] = covariance[dim + pair, pair] = 0.8
    return _normal(covariance, dim)


def _additive(width: float) -> _Base:
    def draw(generator: np.random.Generator, num_samples: int) -> tuple[np.ndarray, np.ndarray]:
        x = generator.uniform(0, 1, (num_samples, 1))
        return x, x + generator.uniform(-width, width, (num_samples, 1))

    return _Base(draw, 1, 1, width - np.log(2 * width) if width <= 0.5 else 1 / (4 * width))


def _student(dim: int, freedom: int) -> _Base:
    def draw(generator: np.random.Generator, num_samples: int) -> tuple[np.ndarray, np.ndarray]:
        z = generator.standard_normal((num_samples, 2 * dim))
        z = z * np.sqrt(freedom / generator.chisquare(freedom, (num_samples, 1)))
        return z[:, :dim], z[:, dim:]

    def entropy(size: int) -> float:
        both = (freedom + size) / 2
        scale = gammaln(freedom / 2) - gammaln(both) + size / 2 * np.log(freedom * np.pi)
        return float(scale + both * (digamma(both) - digamma(freedom / 2)))

    return _Base(draw, dim, dim, 2 * entropy(dim) - entropy(2 * dim))


def _with_margins(base: _Base, map_x: Map, map_y: Map) -> _Base:
    def draw(generator: np.random.Generator, num_samples: int) -> tuple[np.ndarray, np.ndarray]:
        x, y = base.draw(generator, num_samples)
        return map_x(x), map_y(y)

    return base._replace(draw=draw)


def _two_modes(share: float, first: float, second: float) -> Map:
    """From a normal variable to a mixture of N(first, 1), with that share, and N(second, 1)."""

    def quantile(values: np.ndarray) -> np.ndarray:
        wanted = ndtr(values)
        low, high = np.full_like(values, min(first, second) - 10), np.full_like(values, max(first, second) + 10)
        for _ in range(70):
            middle = (low + high) / 2
            below = share * ndtr(middle - first) + (1 - share) * ndtr(middle - second) < wanted
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return (low + high) / 2

    return quantile


def _wave(*parts: tuple[float, float, float]) -> Map:
    return lambda v: v + sum(size * np.sin(speed * v + phase) for size, speed, phase in parts)


def _half_cube(values: np.ndarray) -> np.ndarray:
    return values * np.sqrt(np.abs(values))


def _swissroll(values: np.ndarray) -> np.ndarray:
    angle = 1.5 * np.pi * (1 + 2 * values)
    return np.concatenate([angle * np.cos(angle), angle * np.sin(angle)], axis=1) / 21


def _spiral(first: int, second: int) -> Map:
    def turn(values: np.ndarray) -> np.ndarray:
        angle = np.sum(values**2, axis=1) / values.shape[1]
        cos, sin, turned = np.cos(angle), np.sin(angle), values.copy()
        turned[:, first] = cos * values[:, first] - sin * values[:, second]
        turned[:, second] = sin * values[:, first] + cos * values[:, second]
        return turned

    return turn


BASES: dict[str, _Base] = {
    "1v1-normal-0.75": _normal(np.array([[1, 0.75], [0.75, 1]]), 1),
    "1v1-additive-0.1": _additive(0.1),
    "1v1-additive-0.75": _additive(0.75),
    **{f"multinormal-dense-{dim}-{dim}-0.5": _dense(dim, 0.5) for dim in (2, 3, 5, 25, 50)},
    **{f"multinormal-sparse-{dim}-{dim}-2-2.0": _sparse(dim) for dim in (2, 3, 5, 25)},
    **{
        f"student-identity-{dim}-{dim}-{freedom}": _student(dim, freedom)
        for dim, freedom in ((1, 1), (2, 1), (2, 2), (3, 2), (3, 3), (5, 2), (5, 3))
    },
}
BASES["1v1-bimodal-0.75"] = _with_margins(BASES["1v1-normal-0.75"], _two_modes(0.3, 0, 5), _two_modes(0.5, -1, 3))
MAPS: dict[str, tuple[Map, Map]] = {
    "normal_cdf": (ndtr, ndtr),
    "half_cube": (_half_cube, _half_cube),
    "asinh": (np.arcsinh, np.arcsinh),
    "wiggly": (
        _wave((0.4, 1, 0), (0.2, 1.7, 1), (0.03, 3.3, -2.5)),
        _wave((-0.4, 0.4, 0), (0.17, 1.3, 3.5), (0.02, 4.3, -2.5)),
    ),
    "swissroll_x": (_swissroll, lambda values: values),
    "spiral": (_spiral(0, 1), _spiral(1, 2)),
}
TASKS: tuple[str, ...] = (
    "1v1-normal-0.75",
    "normal_cdf-1v1-normal-0.75",
    "1v1-additive-0.1",
    "1v1-additive-0.75",
    "1v1-bimodal-0.75",
    "wiggly-1v1-normal-0.75",
    "half_cube-1v1-normal-0.75",
    "student-identity-1-1-1",
    "asinh-student-identity-1-1-1",
    "swissroll_x-normal_cdf-1v1-normal-0.75",
    *(f"multinormal-dense-{dim}-{dim}-0.5" for dim in (2, 3, 5, 25, 50)),
    *(f"multinormal-sparse-{dim}-{dim}-2-2.0" for dim in (2, 3, 5, 25)),
    *(f"student-identity-{dim}-{dim}-{freedom}" for dim, freedom in ((2, 1), (2, 2), (3, 2), (3, 3), (5, 2), (5, 3))),
    *(
        f"{maps}-multinormal-sparse-{dim}-{dim}-2-2.0"
        for maps in ("normal_cdf", "half_cube", "spiral", "spiral-normal_cdf")
        for dim in (3, 5, 25)
    ),
    *(f"asinh-student-identity-{dim}-{dim}-{freedom}" for dim, freedom in ((2, 1), (3, 2), (5, 2))),
)


def make(*, task: str = "1v1-normal-0.75") -> Pairs:
    """One task of the benchmark.

    Args:
        task: name of the task; any of the maps may stand in front of any of the draws.

    Returns:
        Samples by seed and number, equal on every machine, and the true mutual information in nats.

    Raises:
        UserError: a name that is none.
    """
    maps, rest = [], task
    while rest not in BASES:
        name, _, rest = rest.partition("-")
        if name not in MAPS:
            raise UserError(f"data.task={task} is not a task of the benchmark; there are {', '.join(TASKS)}")
        maps.append(name)
    base, dim_x = BASES[rest], BASES[rest].dim_x
    if "spiral" in maps and dim_x < 3:
        raise UserError(f"data.task={task} cannot be: a spiral turns Y in its second and third dimension")
    if "swissroll_x" in maps:
        if maps[-2:] != ["swissroll_x", "normal_cdf"] or dim_x != 1:
            raise UserError(f"data.task={task} cannot be: the roll takes one uniform X, as in {TASKS[9]}")
        dim_x = 2

    def sample(seed: int, num_samples: int) -> tuple[np.ndarray, np.ndarray]:
        x, y = base.draw(np.random.default_rng(seed), num_samples)
        for name in reversed(maps):
            map_x, map_y = MAPS[name]
            x, y = map_x(x), map_y(y)
        return x, y

    return Pairs(f"bmi/{task}", dim_x, base.dim_y, float(base.truth), None, sample)
