"""optax has no entropy; its cross entropy of logits with their own softmax is one."""

import jax
import optax
from peers.plain_jax import entropy_tasks

PACKAGES = ("optax", "jax", "jaxlib")
TASKS = entropy_tasks(lambda logits: optax.softmax_cross_entropy(logits, jax.nn.softmax(logits)))
