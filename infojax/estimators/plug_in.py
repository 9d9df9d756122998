"""Mutual information of samples cut into bins of equal counts.

I = H(X) + H(Y) − H(X, Y), each entropy from counts, with a correction for how few they are. Bins lose information, too
few samples per cell feign it: the number of bins weighs the two.
"""

import jax.numpy as jnp
import numpy as np

from infojax.estimators import parts
from infojax.info import discrete
from infojax.info.discrete import Correction
from infojax.types import Array, Count, Estimate, Estimator, Key, Positive, UserError


def symbols(samples: Array, bins: int) -> Array:
    """One symbol (n,) of samples (n, d): the bin in each coordinate, bins of equal counts."""
    n = len(samples)
    ranks = jnp.argsort(jnp.argsort(samples, axis=0), axis=0)
    place = ranks * bins // n
    return jnp.sum(place * bins ** jnp.arange(samples.shape[1])[None], axis=1)


def information(x: Array, y: Array, num_x: int, num_y: int, correction: Correction) -> Array:
    """Plug-in mutual information of symbols (n,)."""
    one, other = discrete.plugin_entropy(x, num_x, correction), discrete.plugin_entropy(y, num_y, correction)
    return one + other - discrete.plugin_entropy(x * num_y + y, num_x * num_y, correction)


def make(
    *, bins: Count | None = None, correction: Correction = "miller_madow", tolerance: Positive = 0.05
) -> Estimator:
    """Plug-in mutual information.

    Args:
        bins: in each dimension; None takes as many as leave 5 samples to a cell of the joint table.
        correction: of the entropies, as in `info.discrete.plugin_entropy`.
        tolerance: the error in nats that a trusted estimate may have, beside its interval.
    """

    if bins is not None and bins < 2:
        raise UserError(f"estimator.bins={bins} holds no information; give at least 2")

    def number(x: Array, y: Array) -> int:
        return bins or max(2, int(np.floor((len(x) / 5) ** (1 / (x.shape[1] + y.shape[1])))))

    def measure(x: Array, y: Array) -> Array:
        count = number(x, y)
        cells = count ** x.shape[1], count ** y.shape[1]
        return information(symbols(x, count), symbols(y, count), *cells, correction)

    def fit(key: Key, x: Array, y: Array) -> Estimate:
        x, y = parts.check_samples(x, y)
        if number(x, y) ** max(x.shape[1], y.shape[1]) > len(x):
            # A cell for each sample and more: nothing can be counted.
            nothing = jnp.zeros(2)
            return parts.verdict(nothing[0], nothing, {"resolution": jnp.full((), jnp.inf)}, {})
        value = measure(x, y)
        half, quarters, _ = parts.subsampled(key, measure, x, y)
        checks, seen = parts.self_consistency(key, measure, x, y, value, quarters, tolerance)
        del checks["additivity"]  # one more dimension would have to be cut into fewer bins
        return parts.verdict(value, jnp.stack([value - half, value + half]), checks, seen)

    return Estimator(fit, parts.why)
