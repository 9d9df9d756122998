"""Matrix-based Rényi information: dependence from Gram matrices, in any dimension, without densities.

Sánchez Giraldo, Rao and Príncipe (2015); Yu et al. (2019). It grows with dependence and is bounded by log n, but it is
information of an order alpha at the scale of a bandwidth: no estimate of Shannon's, and so never trusted as one.
"""

import jax.numpy as jnp

from infojax.estimators import parts
from infojax.info import kernel
from infojax.types import Array, Estimate, Estimator, Key, Positive


def make(*, alpha: Positive = 2.0, bandwidth: Positive | None = None) -> Estimator:
    """Matrix-based Rényi information and entropy of standardised samples.

    Args:
        alpha: order; whole numbers need no eigenvalues.
        bandwidth: of the Gaussian kernel; None takes Silverman's rule for each side.
    """

    def gram(samples: Array) -> Array:
        n, dims = samples.shape
        width = (4 / (n * (dims + 2))) ** (1 / (dims + 4)) if bandwidth is None else bandwidth
        return kernel.gram(parts.standardised(samples), bandwidth=width)

    def measure(x: Array, y: Array) -> Array:
        return kernel.matrix_mutual_information(gram(x), gram(y), alpha)

    def judged(key: Key, x: Array, y: Array, value: Array, function: parts.Measure) -> Estimate:
        half, quarters, _ = parts.subsampled(key, function, x, y)
        checks = {"definition": jnp.full((), jnp.inf)}
        return parts.verdict(value, jnp.stack([value - half, value + half]), checks, {"seen/quarters": quarters})

    def fit(key: Key, x: Array, y: Array) -> Estimate:
        x, y = parts.check_samples(x, y)
        return judged(key, x, y, measure(x, y), measure)

    def entropy(key: Key, x: Array) -> Estimate:
        x, _ = parts.check_samples(x)

        def one(a: Array, _: Array) -> Array:
            return kernel.matrix_renyi_entropy(gram(a), alpha)

        return judged(key, x, x, one(x, x), one)

    return Estimator(fit, parts.why, entropy)
