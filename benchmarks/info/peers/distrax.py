"""distrax: entropies and divergences of its distributions, under `jit`."""

import distrax
import jax.numpy as jnp
from jax import Array
from peers.plain_jax import array_tasks, entropy_tasks

PACKAGES = ("distrax", "jax", "jaxlib")


def of_logits(logits: Array) -> distrax.Categorical:
    """Categorical by logits."""
    return distrax.Categorical(logits=logits)


def of_probabilities(p: Array) -> distrax.Categorical:
    """Categorical by probabilities."""
    return distrax.Categorical(probs=p)


def diagonal_kl(mean_p: Array, scale_p: Array, mean_q: Array, scale_q: Array) -> Array:
    """Of `MultivariateNormalDiag`."""
    p, q = distrax.MultivariateNormalDiag(mean_p, scale_p), distrax.MultivariateNormalDiag(mean_q, scale_q)
    return p.kl_divergence(q)


def full(mean: Array, cov: Array) -> distrax.MultivariateNormalFullCovariance:
    """By its covariance."""
    return distrax.MultivariateNormalFullCovariance(mean, cov)


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
        "gaussian.diagonal_entropy": lambda scale: distrax.MultivariateNormalDiag(scale_diag=scale).entropy(),
        "gaussian.kl_divergence": lambda m_p, c_p, m_q, c_q: full(m_p, c_p).kl_divergence(full(m_q, c_q)),
        "gaussian.diagonal_kl_divergence": diagonal_kl,
        "bayes.surprise_normal": diagonal_kl,
        "bayes.surprise_dirichlet": lambda a, b: distrax.Dirichlet(a).kl_divergence(distrax.Dirichlet(b)),
        "bayes.surprise_beta": lambda a, b, c, d: distrax.Beta(a, b).kl_divergence(distrax.Beta(c, d)),
        "bayes.surprise_gamma": lambda a, r, b, s: distrax.Gamma(a, r).kl_divergence(distrax.Gamma(b, s)),
        "bayes.surprise_categorical": logits_kl,
        "bounds.vib_rate": lambda mean, scale: diagonal_kl(mean, scale, jnp.zeros_like(mean), jnp.ones_like(scale)),
    }
)
