"""Any flax classifier as a Model: statistics by choice, gradients against those of flax and jax, dropout off."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from infojax.nets.bundle import _by_group, bundle
from infojax.nets.conv import convolve
from infojax.types import UserError

IMAGES = jnp.asarray(np.random.default_rng(0).normal(2.0, 3.0, (6, 8, 8, 3)), jnp.float32)
CHANNELS = ("NHWC", "HWIO", "NHWC")


class Plain(linen.Module):
    """A user's module: dropout as if training, a batch normalisation that would write, and its own epsilon."""

    affine: bool = True

    @linen.compact
    def __call__(self, x, train):
        x = linen.BatchNorm(
            not train, momentum=0.9, epsilon=1e-3, use_scale=self.affine, use_bias=self.affine, name="norm"
        )(x)
        x = linen.Dropout(0.5, deterministic=not train)(x)
        return linen.Dense(4, name="out")(x.mean(axis=(1, 2)) + (x**2).mean(axis=(1, 2)))


def plain(affine=True, **changes):
    module = Plain(affine)
    variables = module.init({"params": jax.random.key(0), "dropout": jax.random.key(1)}, IMAGES, train=False)
    generator = np.random.default_rng(1)
    variables = jax.tree.map(lambda leaf: jnp.asarray(generator.uniform(0.5, 1.5, leaf.shape), jnp.float32), variables)
    settings = {"num_classes": 4, "image_shape": (8, 8, 3), "head": "out", "arguments": {"train": True}}
    return module, bundle(module, variables, **settings | changes)


def gradients(function, *arrays):
    outputs, pullback = jax.vjp(function, *arrays)
    return outputs, pullback(jnp.asarray(np.random.default_rng(2).normal(size=outputs.shape), jnp.float32))


def assert_close(left, right):
    for one, other in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5 * float(jnp.abs(other).max()))


@pytest.mark.parametrize("affine", [True, False])
def test_source_statistics_are_the_module_as_it_predicts(affine):
    module, model = plain(affine)
    logits, features = model.apply(model.variables, IMAGES, "source")
    assert_close(logits, module.apply(model.variables, IMAGES, train=False))
    assert_close(model.classify(model.variables, features), logits)
    assert model.norms == model.batch_norms == ("norm",)


@pytest.mark.parametrize("affine", [True, False])
def test_batch_statistics_and_their_gradients_are_those_of_flax(affine):
    """With dropout, which flax draws in training and adaptation never does, taken out."""
    _, model = plain(affine)

    class Same(linen.Module):
        @linen.compact
        def __call__(self, x):
            x = linen.BatchNorm(False, epsilon=1e-3, use_scale=affine, use_bias=affine, use_fast_variance=False)(x)
            return linen.Dense(4)(x.mean(axis=(1, 2)) + (x**2).mean(axis=(1, 2)))

    def theirs(params, images):
        renamed = {"Dense_0": params["out"]} | ({"BatchNorm_0": params["norm"]} if affine else {})
        statistics = {"BatchNorm_0": model.variables["batch_stats"]["norm"]}
        return Same().apply({"params": renamed, "batch_stats": statistics}, images, mutable=["batch_stats"])[0]

    def ours(params, images):
        return model.apply(model.variables | {"params": params}, images)[0]

    assert_close(
        gradients(ours, model.variables["params"], IMAGES), gradients(theirs, model.variables["params"], IMAGES)
    )


def test_statistics_of_a_mask_are_those_of_its_rows_with_the_gradient_too():
    _, model = plain()
    mask = jnp.array([True, True, False, True, False, True])
    kept = np.flatnonzero(mask)

    def masked(params, images):
        return model.apply(model.variables | {"params": params}, images, "batch", mask)[0][kept]

    def alone(params, images):
        return model.apply(model.variables | {"params": params}, images[kept])[0]

    assert_close(
        gradients(masked, model.variables["params"], IMAGES), gradients(alone, model.variables["params"], IMAGES)
    )
    measured = model.measure(model.variables, IMAGES, "batch", mask)["norm"]
    np.testing.assert_allclose(measured[0], np.mean(IMAGES[kept], axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(measured[1], np.var(IMAGES[kept], axis=(0, 1, 2)), rtol=1e-5)
    none = model.apply(model.variables, IMAGES, "batch", jnp.zeros(6, bool))[0]
    assert_close(none, model.apply(model.variables, IMAGES, "source")[0])


def test_a_weight_mixes_and_a_mapping_and_a_function_replace():
    _, model = plain()
    mean, variance = model.variables["batch_stats"]["norm"]["mean"], model.variables["batch_stats"]["norm"]["var"]
    batch = model.measure(model.variables, IMAGES)["norm"]
    mixed = {"norm": (0.7 * mean + 0.3 * batch[0], 0.7 * variance + 0.3 * batch[1])}
    by_mapping = model.apply(model.variables, IMAGES, mixed)[0]
    assert_close(model.apply(model.variables, IMAGES, 0.3)[0], by_mapping)
    assert_close(model.apply(model.variables, IMAGES, lambda path, inputs, source, found: mixed[path])[0], by_mapping)
    assert_close(model.apply(model.variables, IMAGES, 1.0)[0], model.apply(model.variables, IMAGES)[0])
    assert_close(model.apply(model.variables, IMAGES, 0.0)[0], model.apply(model.variables, IMAGES, "source")[0])
    with pytest.raises(UserError, match="statistics='both'"):
        model.apply(model.variables, IMAGES, "both")


def test_inputs_are_normalised_inside():
    _, bare = plain()
    _, model = plain(mean=(0.1, 0.2, 0.3), deviation=(0.5, 0.6, 0.7))
    raw = jnp.asarray(np.random.default_rng(3).integers(0, 256, (6, 8, 8, 3)), jnp.uint8)
    scaled = (raw.astype(jnp.float32) / 255 - jnp.array([0.1, 0.2, 0.3])[None, None, None]) / jnp.array(
        [0.5, 0.6, 0.7]
    )[None, None, None]
    assert_close(model.apply(model.variables, raw)[0], bare.apply(bare.variables, scaled)[0])


def test_a_bundle_that_does_not_fit_says_so():
    with pytest.raises(UserError, match="head=fc is not a layer"):
        plain(head="fc")
    with pytest.raises(UserError, match=r"gives 4 logits.*10 classes"):
        plain(num_classes=10)
    with pytest.raises(UserError, match="mean has 2 entries"):
        plain(mean=(0.1, 0.2))


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_group_normalisation_is_that_of_flax(groups):
    inputs = jnp.asarray(np.random.default_rng(4).normal(5.0, 2.0, (5, 3, 6, 8)), jnp.float32)
    scale, bias = jnp.asarray(np.random.default_rng(5).uniform(0.5, 1.5, (2, 8)), jnp.float32)
    module = linen.GroupNorm(num_groups=groups, epsilon=1e-5, use_fast_variance=False)

    def theirs(inputs, scale, bias):
        return module.apply({"params": {"scale": scale, "bias": bias}}, inputs)

    found = gradients(lambda *given: _by_group(*given, groups, 1e-5), inputs, scale, bias)
    assert_close(found, gradients(theirs, inputs, scale, bias))


@pytest.mark.parametrize(
    ("shape", "size", "stride", "padding"),
    [
        ((2, 8, 8, 3), 3, 1, 1),
        ((2, 7, 9, 3), 3, 2, 1),
        ((2, 8, 6, 1), 3, 2, 1),
        ((2, 9, 8, 1), 7, 2, 3),
        ((2, 8, 8, 4), 1, 2, 0),
        ((2, 7, 7, 4), 1, 1, 0),
        ((2, 8, 8, 3), 4, 4, 0),
        ((2, 6, 6, 2), 1, 1, 1),
    ],
)
def test_convolutions_and_both_gradients_are_those_of_jax(shape, size, stride, padding):
    generator = np.random.default_rng(6)
    inputs = jnp.asarray(generator.normal(size=shape), jnp.float32)
    kernel = jnp.asarray(generator.normal(size=(size, size, shape[-1], 5)), jnp.float32)

    def theirs(inputs, kernel):
        around = ((padding, padding), (padding, padding))
        return jax.lax.conv_general_dilated(inputs, kernel, (stride, stride), around, dimension_numbers=CHANNELS)

    assert_close(
        gradients(lambda *given: convolve(*given, stride, padding), inputs, kernel), gradients(theirs, inputs, kernel)
    )
