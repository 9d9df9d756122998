"""Mutual information of samples as if they were jointly normal.

I = ½ (log det C_x + log det C_y − log det C), with the mean error of the log-determinants of n samples taken off
(Misra, Singh and Demchuk 2005). Right for normal samples of any dimension, and trusted only for them.
"""

import jax.numpy as jnp

from infojax.estimators import parts
from infojax.info import gaussian
from infojax.types import Array, Estimate, Estimator, Key


def estimate(x: Array, y: Array, fit: Array) -> Estimate:
    """The estimate, its interval and a verdict of how well the samples fit, of samples (n, d)."""
    n, split = len(x), x.shape[1]
    cov = parts.covariance(jnp.concatenate([x, y], axis=1))
    value = gaussian.mutual_information(cov, split, num_samples=n)
    # The variance of the log of the density ratio is the sum of squared canonical correlations; the second term is of
    # the second order, which many dimensions need.
    regression = jnp.linalg.solve(cov[:split, :split], cov[:split, split:])
    whitened = jnp.matmul(regression, jnp.linalg.inv(cov[split:, split:]), precision="highest")
    strength = jnp.maximum(jnp.sum(whitened * cov[:split, split:]), 0)
    half = 1.96 * jnp.sqrt(strength / n + split * y.shape[1] / (2 * n**2))
    return parts.verdict(value, jnp.stack([value - half, value + half]), {"fit": fit}, {})


def make() -> Estimator:
    """Gaussian mutual information and entropy."""

    def fit(key: Key, x: Array, y: Array) -> Estimate:
        x, y = parts.check_samples(x, y)
        return estimate(x, y, parts.normality(x, y))

    def entropy(key: Key, x: Array) -> Estimate:
        x, _ = parts.check_samples(x)
        n, dims = x.shape
        value = gaussian.entropy(parts.covariance(x), num_samples=n)
        half = 1.96 * jnp.sqrt(dims / (2 * n))
        # Two halves of the samples, as if they were pairs: jointly normal where the samples are normal.
        fit = parts.normality(x[: n // 2], x[n // 2 : 2 * (n // 2)])
        return parts.verdict(value, jnp.stack([value - half, value + half]), {"fit": fit}, {})

    return Estimator(fit, parts.why, entropy)
