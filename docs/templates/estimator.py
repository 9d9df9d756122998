"""Mutual information of the straight line between x and y: a template for an estimator of your own.

I = −½ log(1 − r²) of the correlation r of two variables. It is right where they are jointly normal; whether it can be
trusted is judged by the quarters of the samples, which must say the same, and by ranks in the place of values, which
carry the same information.
"""

import jax
import jax.numpy as jnp

from infojax.types import Array, Estimate, Estimator, Key, Positive, UserError

REASONS = {
    "check/sample_size": "the estimate still changes with the number of samples",
    "check/margins": "ranks, which carry the same information, give another estimate",
}


def information(x: Array, y: Array) -> Array:
    """Of samples (n,)."""
    x, y = x - jnp.mean(x), y - jnp.mean(y)
    square = jnp.mean(x * y) ** 2 / jnp.maximum(jnp.mean(x**2) * jnp.mean(y**2), 1e-12)
    return -0.5 * jnp.log1p(-jnp.minimum(square, 0.999999))


def ranks(samples: Array) -> Array:
    return jnp.argsort(jnp.argsort(samples)) / len(samples)


def make(*, tolerance: Positive = 0.05) -> Estimator:
    """Information of a straight line.

    Args:
        tolerance: the difference in nats at which a check fails.
    """

    def fit(key: Key, x: Array, y: Array) -> Estimate:
        if x.shape[1] != 1 or y.shape[1] != 1:
            raise UserError(f"a straight line takes one x and one y, got {x.shape[1]} and {y.shape[1]} dimensions")
        x, y = x[:, 0], y[:, 0]
        value = information(x, y)
        order = jax.random.permutation(key, len(x))[: len(x) // 4 * 4].reshape(4, -1)
        quarters = jax.vmap(information)(x[order], y[order])
        half = 3.18 * jnp.std(quarters, ddof=1) / 4  # Student's quantile at 3 degrees of freedom; 4 times the samples
        checks = {
            "check/sample_size": jnp.abs(value - jnp.mean(quarters)) / tolerance,
            "check/margins": jnp.abs(value - information(ranks(x), ranks(y))) / tolerance,
        }
        trusted = jnp.all(jnp.stack(list(checks.values())) <= 1)
        return Estimate(value, jnp.stack([value - half, value + half]), trusted, checks)

    def why(estimate: Estimate) -> str:
        return "; ".join(words for name, words in REASONS.items() if not estimate.diagnostics[name] <= 1)

    return Estimator(fit, why)
