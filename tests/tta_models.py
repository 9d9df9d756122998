"""Tiny models and images that the tests of test-time adaptation share."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from infojax.nets.bundle import bundle

SHAPE, CLASSES = (8, 8, 1), 3


class Tiny(linen.Module):
    """A convolution, a normalisation and a head.

    A bias before batch normalisation changes nothing: its gradient is rounding, of which Adam makes whole steps.
    """

    norm: str = "batch"

    @linen.compact
    def __call__(self, x):
        x = linen.Conv(4, (3, 3), use_bias=self.norm != "batch", name="conv")(x)
        if self.norm == "batch":
            x = linen.BatchNorm(use_running_average=True, name="bn")(x)
        else:
            x = linen.GroupNorm(num_groups=2, name="gn")(x)
        return linen.Dense(CLASSES, name="fc")(jnp.mean(linen.relu(x), axis=(1, 2)))


@functools.cache
def tiny(norm="batch"):
    """The bundled model, with random parameters and statistics that are not those of any batch."""
    module = Tiny(norm)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((1, *SHAPE))))
    generator = np.random.default_rng(0)

    def draw(path, leaf):
        values = generator.uniform(0.5, 1.5, leaf.shape)
        if path[-1].key not in ("scale", "var"):
            values = 1.5 * generator.standard_normal(leaf.shape)
        return jnp.asarray(values, jnp.float32)

    variables = jax.tree_util.tree_map_with_path(draw, shapes)
    # A head that tells typical images apart: without this all of them would be of one class.
    model = bundle(module, variables, num_classes=CLASSES, image_shape=SHAPE)
    features = model.apply(variables, images(64))[1]
    head = variables["params"]["fc"]
    head["kernel"] = 8 * head["kernel"]
    head["bias"] = -jnp.mean(features, axis=0) @ head["kernel"]
    return bundle(module, variables, num_classes=CLASSES, image_shape=SHAPE)


def images(count, seed=0):
    """Images [count, 8, 8, 1] of different brightness and contrast."""
    generator = np.random.default_rng(seed)
    level, contrast = generator.uniform(0.2, 0.8, (2, count, 1, 1, 1))
    values = level + contrast * generator.uniform(-0.5, 0.5, (count, *SHAPE))
    return jnp.asarray(np.clip(values, 0, 1), jnp.float32)
