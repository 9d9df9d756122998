"""The many small primitives, one row of a table each: data, the formula in numpy, settings and the peers that have it.

`PRIMITIVES` names functions of `infojax.info` by module. Arrays are passed in order, settings by name, so that one
mechanism runs them all; the functions that `cases.py` looks at more closely are not here.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import formulas as of
import numpy as np

Data = dict[str, Any]
Maker = Callable[[bool], Data]


class Primitive(NamedTuple):
    """A function of `infojax.info`, on which data, and who else has it (workers besides numpy_scipy)."""

    data: Maker
    formula: Callable[..., Any]  # of the arrays, then the settings
    peers: tuple[str, ...] = ()
    settings: dict[str, Any] = {}  # noqa: RUF012, read only
    ours: dict[str, Any] = {}  # noqa: RUF012, settings that the formula has built in


def normals(seed: int, *shape: int) -> np.ndarray:
    """Standard normal float32 numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def softmax(logits: np.ndarray, axes: int = 1) -> np.ndarray:
    """Probabilities over the last axes."""
    axis = tuple(range(-axes, 0))
    weight = np.exp(logits.astype(np.float64))
    return (weight / weight.sum(axis, keepdims=True)).astype(np.float32)


def positive(seed: int, *shape: int) -> np.ndarray:
    """Numbers around 1.5, above 0.3."""
    return np.exp(0.3 * normals(seed, *shape)) + np.float32(0.3)


def covariances(seed: int, n: int, d: int) -> np.ndarray:
    """n well-conditioned covariances."""
    factor = normals(seed, n, d, 2 * d) / np.float32(np.sqrt(2 * d))
    return factor @ np.swapaxes(factor, 1, 2) + np.float32(0.1) * np.eye(d, dtype=np.float32)


def sized(make: Callable[..., tuple[np.ndarray, ...]], small: tuple[int, ...], full: tuple[int, ...]) -> Maker:
    """Arrays of one of two sizes, by the names a, b, c, …"""
    return lambda tiny: dict(zip("abcdef", make(*(small if tiny else full)), strict=False))


def logits(count: int, small: tuple[int, ...] = (50, 7), full: tuple[int, ...] = (5000, 200)) -> Maker:
    """Logits of standard deviation 2."""
    return sized(lambda *shape: tuple(2 * normals(20 + i, *shape) for i in range(count)), small, full)


def probabilities(count: int) -> Maker:
    """Their probabilities."""
    return lambda small: {name: softmax(array) for name, array in logits(count)(small).items()}


def joint(variables: int, states: int) -> Maker:
    """Joint tables of dependent variables."""

    def make(n: int, k: int) -> tuple[np.ndarray, ...]:
        return (softmax(normals(30, n, *[k] * variables), variables),)

    return sized(make, (5, 3), (200, states))


def coordinates(means: int) -> Maker:
    """Means and standard deviations of one or two diagonal Gaussians; standard deviations alone where means is 0."""

    def make(n: int, d: int) -> tuple[np.ndarray, ...]:
        pairs = ((normals(40 + i, n, d), positive(50 + i, n, d)) for i in range(max(means, 1)))
        arrays = tuple(array for pair in pairs for array in pair)
        return arrays if means else arrays[1:]

    return sized(make, (50, 4), (20_000, 32))


def concentrations(count: int, *full: int) -> Maker:
    """Parameters above 0."""
    small = tuple(min(size, 50) for size in full)
    return sized(lambda *shape: tuple(2 * positive(60 + i, *shape) for i in range(count)), small, full)


def ensemble(n: int, d: int) -> tuple[np.ndarray, ...]:
    """Means and standard deviations of 5 members."""
    return normals(70, 5, n, d), positive(71, 5, n, d)


def samples(count: int, d: int, full: int, together: float = 0.7) -> Maker:
    """Sets of samples that depend on the first."""

    def make(n: int) -> tuple[np.ndarray, ...]:
        first = normals(80, n, d)
        return (first, *((together * first + normals(80 + i, n, d)).astype(np.float32) for i in range(1, count)))

    return sized(make, (120,), (full,))


def grams(count: int, full: int) -> Maker:
    """Gram matrices of dependent samples."""
    return lambda small: {
        name: of.gram(x.astype(np.float64), bandwidth=2.0).astype(np.float32)
        for name, x in samples(count, 4, full)(small).items()
    }


def labelled(n: int) -> tuple[np.ndarray, ...]:
    """Samples of 3 classes around different centres."""
    labels = np.random.default_rng(90).integers(0, 3, n).astype(np.int32)
    return normals(91, n, 4) + np.float32(1.5) * labels[:, None].astype(np.float32), labels


def follower(n: int) -> tuple[np.ndarray, ...]:
    """Symbols, and symbols that follow them in three of four cases."""
    x, other, copied = np.random.default_rng(92).integers(0, 4, (3, n))
    return x.astype(np.int32), np.where(copied > 0, np.roll(x, 1), other).astype(np.int32)


def driven_series(n: int) -> tuple[np.ndarray, ...]:
    """Series, and series that they drive."""
    x = normals(93, n, 3)
    return x, (np.roll(x, 1, axis=0) + normals(94, n, 3)).astype(np.float32)


def weights(n: int, d: int) -> tuple[np.ndarray, ...]:
    """Features of observations in batches, and the prior covariance of their weights."""
    return normals(95, 20, n, d), covariances(96, 1, d)[0]


def critic(n: int) -> tuple[np.ndarray, ...]:
    """Scores log p(y|x) / p(y) of a Gaussian pair, which are log-densities up to what the columns share."""
    z, rho = normals(97, n, 2).astype(np.float64), 0.8
    x, y = z[:, :1], (rho * z[:, :1] + np.sqrt(1 - rho**2) * z[:, 1:]).T
    scores = -0.5 * np.log(1 - rho**2) - (y - rho * x) ** 2 / (2 * (1 - rho**2)) + y**2 / 2
    return (scores.astype(np.float32),)


def diffusion(parts: int) -> Maker:
    """Scores at 10 times: of the whole, and of it in parts."""

    def make(n: int, d: int) -> tuple[np.ndarray, ...]:
        others = (normals(98 + i, 10, n, d) for i in range(parts))
        return (normals(101, 10, n, d * parts), *others, np.linspace(0, 1, 10, dtype=np.float32) ** 2)

    return sized(make, (50, 2), (10_000, 4))


def numbers(seed: int, *full: int) -> Maker:
    """Standard normal numbers."""
    return sized(lambda *shape: (normals(seed, *shape),), tuple(min(size, 100) for size in full), full)


def two_gaussians(n: int, d: int) -> tuple[np.ndarray, ...]:
    """Means and covariances of two."""
    return normals(110, n, d), covariances(111, n, d), normals(112, n, d), covariances(113, n, d)


COVARIANCES = sized(lambda n, d: (covariances(114, n, d),), (20, 6), (2000, 12))
SCORES = sized(critic, (40,), (1024,))
MEMBERS = logits(1, (4, 20, 5), (10, 5000, 50))
JAX = ("tfp", "distrax")
FOUR = {"num_variables": 4}

PRIMITIVES = {
    "discrete.shannon_entropy": Primitive(probabilities(1), of.shannon_entropy, JAX),
    "discrete.renyi_entropy": Primitive(probabilities(1), of.renyi_entropy, (), {"alpha": 0.5}),
    "discrete.tsallis_entropy": Primitive(probabilities(1), of.tsallis_entropy, (), {"q": 1.5}),
    "discrete.cross_entropy": Primitive(probabilities(2), of.cross_entropy, JAX),
    "discrete.kl_divergence": Primitive(probabilities(2), of.kl_divergence, (*JAX, "optax")),
    "discrete.js_divergence": Primitive(probabilities(2), of.js_divergence),
    "discrete.renyi_divergence": Primitive(probabilities(2), of.renyi_divergence, (), {"alpha": 0.5}),
    "discrete.mutual_information": Primitive(joint(2, 64), of.mutual_information),
    "discrete.conditional_entropy": Primitive(joint(2, 64), of.conditional_entropy),
    "discrete.conditional_mutual_information": Primitive(joint(3, 16), of.conditional_mutual_information),
    "discrete.total_correlation": Primitive(joint(4, 8), of.total_correlation, (), FOUR),
    "discrete.dual_total_correlation": Primitive(joint(4, 8), of.dual_total_correlation, (), FOUR),
    "discrete.o_information": Primitive(joint(4, 8), of.o_information, (), FOUR),
    "discrete.s_information": Primitive(joint(4, 8), of.s_information, (), FOUR),
    "discrete.co_information": Primitive(joint(4, 8), of.co_information, (), FOUR),
    "discrete.transfer_entropy": Primitive(
        sized(follower, (2000,), (200_000,)), of.transfer_entropy, ("pyinform", "infomeasure"), {"num_classes": 4}
    ),
    "discrete.permutation_entropy": Primitive(
        numbers(115, 200_000), of.permutation_entropy, ("infomeasure",), {"order": 4}
    ),
    "discrete.entropy_rate": Primitive(
        sized(lambda n, k: (softmax(normals(116, n, k, k)),), (3, 5), (20, 100)), of.entropy_rate
    ),
    "discrete.channel_capacity": Primitive(
        sized(lambda k: (softmax(normals(117, k, k) + 8 * np.eye(k, dtype=np.float32)),), (8,), (256,)),
        of.channel_capacity,
    ),
    "categorical.renyi_entropy": Primitive(logits(1), of.logits_renyi_entropy, (), {"alpha": 0.5}),
    "categorical.tsallis_entropy": Primitive(logits(1), of.logits_tsallis_entropy, (), {"q": 1.5}),
    "categorical.normalized_entropy": Primitive(logits(1), of.logits_normalized_entropy, JAX),
    "categorical.cross_entropy": Primitive(logits(2), of.logits_cross_entropy, (*JAX, "optax")),
    "categorical.kl_divergence": Primitive(logits(2), of.logits_kl_divergence, (*JAX, "optax")),
    "categorical.js_divergence": Primitive(logits(2), of.logits_js_divergence),
    "categorical.marginal_entropy": Primitive(MEMBERS, of.logits_marginal_entropy, (), {"axis": 0}),
    "categorical.expected_pairwise_kl": Primitive(MEMBERS, of.logits_expected_pairwise_kl, (), {"axis": 0}),
    "categorical.reverse_mutual_information": Primitive(MEMBERS, of.logits_reverse_mutual_information, (), {"axis": 0}),
    "gaussian.entropy": Primitive(COVARIANCES, of.gaussian_entropy, JAX),
    "gaussian.diagonal_entropy": Primitive(coordinates(0), of.diagonal_entropy, JAX),
    "gaussian.kl_divergence": Primitive(sized(two_gaussians, (20, 4), (64, 12)), of.gaussian_kl_divergence, JAX),
    "gaussian.diagonal_kl_divergence": Primitive(coordinates(2), of.diagonal_kl_divergence, JAX),
    "gaussian.conditional_mutual_information": Primitive(
        COVARIANCES, of.gaussian_conditional_mutual_information, (), {"dim_x": 2, "dim_y": 2}
    ),
    "gaussian.total_correlation": Primitive(COVARIANCES, of.gaussian_total_correlation),
    "gaussian.o_information": Primitive(COVARIANCES, of.gaussian_o_information),
    "gaussian.information_gain": Primitive(
        sized(weights, (30, 4), (256, 64)), of.gaussian_information_gain, (), {"noise_variance": 0.5}
    ),
    "gaussian.transfer_entropy": Primitive(
        sized(driven_series, (300,), (50_000,)), of.gaussian_transfer_entropy, (), {"history": 2}
    ),
    "gaussian.copula_transform": Primitive(numbers(118, 10_000, 4), of.copula_transform, ("frites",)),
    "ensemble.variance_split": Primitive(sized(ensemble, (50, 3), (20_000, 16)), of.variance_split),
    "ensemble.disagreement": Primitive(numbers(119, 5, 20_000, 16), of.disagreement),
    "ensemble.pairwise_information_gain": Primitive(sized(ensemble, (50, 3), (5000, 16)), of.pairwise_information_gain),
    "bayes.surprise_normal": Primitive(coordinates(2), of.diagonal_kl_divergence, JAX),
    "bayes.surprise_dirichlet": Primitive(concentrations(2, 5000, 16), of.surprise_dirichlet, JAX),
    "bayes.surprise_beta": Primitive(concentrations(4, 50_000), of.surprise_beta, JAX),
    "bayes.surprise_gamma": Primitive(concentrations(4, 50_000), of.surprise_gamma, JAX),
    "bayes.surprise_categorical": Primitive(logits(2), of.logits_kl_divergence, (*JAX, "optax")),
    "bayes.expected_information_gain": Primitive(
        sized(lambda n, m: (3 * normals(120, n, 1 + m) - 5,), (40, 16), (2000, 256)), of.expected_information_gain
    ),
    "particle.knn_distances": Primitive(samples(1, 3, 3000), of.knn_distances, ("scikit_learn",), {"k": 3}),
    "particle.conditional_mutual_information": Primitive(
        samples(3, 1, 2000),
        of.particle_conditional_mutual_information,
        ("npeet", "ennemi", "infomeasure"),
        {"k": 3},
    ),
    "particle.kl_divergence": Primitive(
        samples(2, 2, 2000), of.particle_kl_divergence, ("npeet",), {"k": 3, "norm": "linf"}
    ),
    "kernel.gram": Primitive(samples(1, 4, 1000), of.gram, ("scikit_learn", "tfp")),
    "kernel.matrix_mutual_information": Primitive(grams(2, 1000), of.matrix_mutual_information, (), {}, {"alpha": 2}),
    "kernel.von_neumann_entropy": Primitive(numbers(121, 1000, 64), of.von_neumann_entropy),
    "kernel.effective_rank": Primitive(numbers(121, 1000, 64), of.effective_rank),
    "kernel.matrix_nuclear_norm": Primitive(numbers(121, 1000, 64), of.matrix_nuclear_norm),
    "kernel.cka": Primitive(grams(2, 1000), of.cka),
    "kernel.mmd": Primitive(samples(2, 4, 1000), of.mmd, (), {"bandwidth": 2.0}),
    "kernel.cauchy_schwarz_divergence": Primitive(
        samples(2, 4, 1000), of.cauchy_schwarz_divergence, (), {"bandwidth": 2.0}
    ),
    "kernel.diffusion_spectral_entropy": Primitive(
        samples(1, 4, 300), of.diffusion_spectral_entropy, (), {"bandwidth": 1.0}
    ),
    "kernel.diffusion_spectral_mutual_information": Primitive(
        sized(labelled, (60,), (200,)),
        of.diffusion_spectral_mutual_information,
        (),
        {"num_classes": 3, "bandwidth": 1.0},
    ),
    "bounds.donsker_varadhan": Primitive(SCORES, of.donsker_varadhan),
    "bounds.tuba": Primitive(SCORES, of.tuba, (), {"log_baseline": 0.5}),
    "bounds.nwj": Primitive(SCORES, of.nwj),
    "bounds.jensen_shannon": Primitive(SCORES, of.jensen_shannon),
    "bounds.interpolated": Primitive(SCORES, of.interpolated, (), {"log_baseline": 0.5, "alpha": 0.5}),
    "bounds.club": Primitive(SCORES, of.club),
    "bounds.leave_one_out": Primitive(SCORES, of.leave_one_out),
    "bounds.barber_agakov": Primitive(numbers(122, 1_000_000), of.barber_agakov, (), {"prior_entropy": 2.0}),
    "bounds.vib_rate": Primitive(coordinates(1), of.vib_rate, JAX),
    "score.minde_conditional": Primitive(diffusion(1), of.minde_conditional, (), {"beta": 2.0}),
    "score.minde_joint": Primitive(diffusion(2), of.minde_joint, (), {"beta": 2.0}),
    "units.nats_to_bits": Primitive(numbers(123, 1_000_000), of.nats_to_bits),
    "units.bits_to_nats": Primitive(numbers(123, 1_000_000), of.bits_to_nats),
}


def size_of(data: Data) -> str:
    """The shapes of the arrays, equal ones counted."""
    shapes = [" x ".join(f"{length:,}" for length in array.shape) for array in data.values()]
    counted = {shape: shapes.count(shape) for shape in shapes}
    return ", ".join(shape if count == 1 else f"{count} of {shape}" for shape, count in counted.items())


def in_double(data: Data) -> list[np.ndarray]:
    """The arrays, in float64 where they are not integers."""
    return [array.astype(np.float64) if array.dtype.kind == "f" else array for array in data.values()]


def exact(name: str, data: Data) -> Any:
    """The formula in float64."""
    primitive = PRIMITIVES[name]
    return primitive.formula(*in_double(data), **primitive.settings)
