"""Mutual information from nearest neighbours.

Kraskov, Stögbauer and Grassberger (2004), eq. 8 (algorithm 1) and eq. 9 (algorithm 2), on the samples as they are.
Entropy: Kozachenko and Leonenko (1987). Intervals and the check of the sample size: Holmes and Nemenman (2019),
"Estimation of mutual information for real-valued data with error bars and controlled bias".
"""

from functools import partial
from typing import Literal

import jax.numpy as jnp

from infojax.estimators import parts
from infojax.info import particle
from infojax.types import Array, Count, Estimate, Estimator, Key, Positive


def make(*, k: Count = 3, algorithm: Literal[1, 2] = 1, tolerance: Positive = 0.05) -> Estimator:
    """KSG mutual information and k-NN entropy.

    Args:
        k: neighbours; more of them trade variance for bias.
        algorithm: 1 or 2 of the paper.
        tolerance: the error in nats that a trusted estimate may have, beside its interval.
    """
    measure = partial(particle.ksg_mutual_information, k=k, algorithm=algorithm)

    def fit(key: Key, x: Array, y: Array) -> Estimate:
        x, y = parts.check_samples(x, y, least=8 * (k + 1))
        value = measure(x, y)
        half, quarters, _ = parts.subsampled(key, measure, x, y)
        checks, seen = parts.self_consistency(key, measure, x, y, value, quarters, tolerance)
        return parts.verdict(value, jnp.stack([value - half, value + half]), checks, seen)

    def entropy(key: Key, x: Array) -> Estimate:
        x, _ = parts.check_samples(x, least=8 * (k + 1))
        value = particle.knn_entropy(x, k=k)
        half, quarters, _ = parts.subsampled(key, lambda a, _: particle.knn_entropy(a, k=k), x, x)
        checks = {"sample_size": jnp.abs(value - quarters) / (1.2 * tolerance)}
        return parts.verdict(value, jnp.stack([value - half, value + half]), checks, {"seen/quarters": quarters})

    return Estimator(fit, parts.why, entropy)
