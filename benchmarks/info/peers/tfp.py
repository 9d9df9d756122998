"""tensorflow-probability on jax: entropies and divergences of its distributions and a kernel, under `jit`."""

import jax.numpy as jnp
from jax import Array
from peers.plain_jax import array_tasks, entropy_tasks
from tensorflow_probability.substrates.jax import distributions as tfd
from tensorflow_probability.substrates.jax.math import psd_kernels

PACKAGES = ("tfp-nightly", "jax", "jaxlib")


def of_logits(logits: Array) -> tfd.Categorical:
    """Categorical by logits."""
    return tfd.Categorical(logits=logits)


def of_probabilities(p: Array) -> tfd.Categorical:
    """Categorical by probabilities."""
    return tfd.Categorical(probs=p)


def diagonal_kl(mean_p: Array, scale_p: Array, mean_q: Array, scale_q: Array) -> Array:
    """Of `MultivariateNormalDiag`."""
    return tfd.MultivariateNormalDiag(mean_p, scale_p).kl_divergence(tfd.MultivariateNormalDiag(mean_q, scale_q))


def full(mean: Array, cov: Array) -> tfd.MultivariateNormalTriL:
    """By the factor of its covariance."""
    return tfd.MultivariateNormalTriL(mean, jnp.linalg.cholesky(cov))


def logits_kl(p: Array, q: Array) -> Array:
    """Of `Categorical`."""
    return of_logits(p).kl_divergence(of_logits(q))


TASKS = entropy_tasks(lambda logits: of_logits(logits).entropy()) | array_tasks(
    {
        "discrete.shannon_entropy": lambda p: of_probabilities(p).entropy(),
        "discrete.cross_entropy": lambda p, q: of_probabilities(p).cross_entropy(of_probabilities(q)),
        "discrete.kl_divergence": lambda p, q: of_probabilities(p).kl_divergence(of_probabilities(q)),
        "categorical.normalized_entropy": lambda logits: of_logits(logits).entropy() / jnp.log(logits.shape[-1]),
        "categorical.cross_entropy": lambda p, q: of_logits(p).cross_entropy(of_logits(q)),
        "categorical.kl_divergence": logits_kl,
        "gaussian.entropy": lambda cov: full(jnp.zeros(cov.shape[:-1]), cov).entropy(),
        "gaussian.diagonal_entropy": lambda scale: tfd.MultivariateNormalDiag(scale_diag=scale).entropy(),
        "gaussian.kl_divergence": lambda m_p, c_p, m_q, c_q: full(m_p, c_p).kl_divergence(full(m_q, c_q)),
        "gaussian.diagonal_kl_divergence": diagonal_kl,
        "bayes.surprise_normal": diagonal_kl,
        "bayes.surprise_dirichlet": lambda a, b: tfd.Dirichlet(a).kl_divergence(tfd.Dirichlet(b)),
        "bayes.surprise_beta": lambda a, b, c, d: tfd.Beta(a, b).kl_divergence(tfd.Beta(c, d)),
        "bayes.surprise_gamma": lambda a, r, b, s: tfd.Gamma(a, r).kl_divergence(tfd.Gamma(b, s)),
        "bayes.surprise_categorical": logits_kl,
        "kernel.gram": lambda x: psd_kernels.ExponentiatedQuadratic().matrix(x, x),
        "bounds.vib_rate": lambda mean, scale: diagonal_kl(mean, scale, jnp.zeros_like(mean), jnp.ones_like(scale)),
    }
)
