"""tensorflow-probability on jax: the entropy of `Categorical`, under `jit`."""

from peers.plain_jax import entropy_tasks
from tensorflow_probability.substrates.jax import distributions

PACKAGES = ("tfp-nightly", "jax", "jaxlib")
TASKS = entropy_tasks(lambda logits: distributions.Categorical(logits=logits).entropy())
