"""optax has no entropy; its cross entropy of logits with their own softmax is one.

Its losses compare two distributions.
"""

import jax
import optax
from jax import Array
from peers.plain_jax import array_tasks, entropy_tasks

PACKAGES = ("optax", "jax", "jaxlib")


def logits_kl(p: Array, q: Array) -> Array:
    """`kl_divergence_with_log_targets`."""
    return optax.losses.kl_divergence_with_log_targets(jax.nn.log_softmax(q), jax.nn.log_softmax(p))


TASKS = entropy_tasks(lambda logits: optax.softmax_cross_entropy(logits, jax.nn.softmax(logits))) | array_tasks(
    {
        "discrete.kl_divergence": lambda p, q: optax.losses.kl_divergence(jax.numpy.log(q), p),
        "categorical.cross_entropy": lambda p, q: optax.softmax_cross_entropy(q, jax.nn.softmax(p)),
        "categorical.kl_divergence": logits_kl,
        "bayes.surprise_categorical": logits_kl,
    }
)
