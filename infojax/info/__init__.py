"""The primitives: pure functions of arrays, in nats, that need nothing but jax."""

from infojax.info import bayes, bounds, categorical, discrete, ensemble, gaussian, kernel, particle, score, units

__all__ = [
    "bayes",
    "bounds",
    "categorical",
    "discrete",
    "ensemble",
    "gaussian",
    "kernel",
    "particle",
    "score",
    "units",
]
