"""distrax: the entropy of `Categorical`, under `jit`."""

import distrax
from peers.plain_jax import entropy_tasks

PACKAGES = ("distrax", "jax", "jaxlib")
TASKS = entropy_tasks(lambda logits: distrax.Categorical(logits=logits).entropy())
