"""Image models: outputs against numpy, numbers of parameters, random variables, imported weights and constants."""

import importlib
import math
from pathlib import Path

import jax
import numpy as np
import pytest
import yaml
from scipy.special import erf

from infojax import testing
from infojax.nets import cifar_resnet, resnet, vit, weights, wide_resnet
from infojax.types import UserError

CONFIGS = Path(__file__).parents[1] / "configs" / "model"
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def count(variables):
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


def configured(name, **changes):
    section = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    module, _, function = section.pop("_target_").rpartition(".")
    return getattr(importlib.import_module(module), function)(**section | changes)


def shapes(architecture, num_classes, image_shape):
    return jax.eval_shape(lambda key: architecture.init(key, num_classes, image_shape), jax.random.key(0))


# --- the same networks in numpy, on torch's arrays [N, C, H, W] ---------------------------------------------------


def drawing(seed):
    """A function (name, shape) -> array that draws an array when its name is first met, and what it has drawn."""
    generator, arrays = np.random.default_rng(seed), {}

    def draw(name, *shape):
        if name.endswith("running_var"):
            arrays[name] = generator.uniform(0.5, 2, shape)
        elif len(shape) == 1:
            arrays[name] = generator.normal(1.0 if name.endswith("weight") else 0.0, 0.3, shape)
        else:
            arrays[name] = generator.normal(0, 1 / math.sqrt(math.prod(shape[1:])), shape)
        arrays[name] = arrays[name].astype(np.float32)
        return arrays[name].astype(np.float64)

    return draw, arrays


def convolve(x, kernel, stride, padding):
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[2:], axis=(2, 3))[:, :, ::stride, ::stride]
    return np.einsum("nchwij,ocij->nohw", windows, kernel)


def relu(x):
    return np.maximum(x, 0)


def layers(draw, groups):
    """Convolution and normalisation by names; batch normalisation by running statistics where groups is None."""

    def convolution(x, name, features, size, stride=1):
        return convolve(x, draw(f"{name}.weight", features, x.shape[1], size, size), stride, size // 2)

    def norm(x, name):
        channels = x.shape[1]
        scale, shift = (draw(f"{name}.{part}", channels)[:, None, None] for part in ("weight", "bias"))
        if groups is None:
            mean, variance = (draw(f"{name}.running_{part}", channels)[:, None, None] for part in ("mean", "var"))
            return (x - mean) / np.sqrt(variance + 1e-5) * scale + shift
        grouped = x.reshape(len(x), groups, -1)
        grouped = grouped - grouped.mean(-1, keepdims=True)
        grouped = grouped / np.sqrt((grouped**2).mean(-1, keepdims=True) + 1e-5)
        return grouped.reshape(x.shape) * scale + shift

    return convolution, norm


def linear(x, draw, name, features):
    return x @ draw(f"{name}.weight", features, x.shape[-1]).T + draw(f"{name}.bias", features)


def resnet_in_numpy(draw, x, *, bottleneck, depths, widths, strides, stride, imagenet, groups, down):
    convolution, norm = layers(draw, groups)
    x = relu(norm(convolution(x, "conv1", widths[0], 7 if imagenet else 3, stride), "bn1"))
    if imagenet:
        x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
        x = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))[:, :, ::2, ::2].max((-2, -1))
    for stage, (depth, width, step) in enumerate(zip(depths, widths, strides, strict=True), start=1):
        for index in range(depth):
            name, step = f"layer{stage}.{index}", step if index == 0 else 1
            if bottleneck:
                y = relu(norm(convolution(x, f"{name}.conv1", width, 1), f"{name}.bn1"))
                y = relu(norm(convolution(y, f"{name}.conv2", width, 3, step), f"{name}.bn2"))
                y = norm(convolution(y, f"{name}.conv3", 4 * width, 1), f"{name}.bn3")
            else:
                y = relu(norm(convolution(x, f"{name}.conv1", width, 3, step), f"{name}.bn1"))
                y = norm(convolution(y, f"{name}.conv2", width, 3), f"{name}.bn2")
            if step != 1 or x.shape[1] != y.shape[1]:
                x = norm(convolution(x, f"{name}.{down}.0", y.shape[1], 1, step), f"{name}.{down}.1")
            x = relu(x + y)
    return linear(x.mean((2, 3)), draw, "fc", 5)


def cifar_resnet_in_numpy(draw, x, *, blocks, groups):
    convolution, norm = layers(draw, groups)
    x = convolution(x, "conv1", 16, 3)
    for stage, (width, step) in enumerate(((16, 1), (32, 2), (64, 2)), start=1):
        for index in range(blocks):
            name, step = f"layer{stage}.{index}", step if index == 0 else 1
            y = convolution(relu(norm(x, f"{name}.bn1")), f"{name}.conv1", width, 3, step)
            y = convolution(relu(norm(y, f"{name}.bn2")), f"{name}.conv2", width, 3)
            if step != 1:
                x = (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4
                x = np.concatenate([x, 0 * x], axis=1)
            x = x + y
    return linear(relu(norm(x, "bn")).mean((2, 3)), draw, "fc", 5)


def wide_resnet_in_numpy(draw, x, *, blocks, widen):
    convolution, norm = layers(draw, None)
    x = convolution(x, "conv1", 16, 3)
    for stage, (width, step) in enumerate(((16 * widen, 1), (32 * widen, 2), (64 * widen, 2)), start=1):
        for index in range(blocks):
            name, step = f"block{stage}.layer.{index}", step if index == 0 else 1
            active = relu(norm(x, f"{name}.bn1"))
            y = convolution(active, f"{name}.conv1", width, 3, step)
            y = convolution(relu(norm(y, f"{name}.bn2")), f"{name}.conv2", width, 3)
            if x.shape[1] != width:
                x = convolution(active, f"{name}.convShortcut", width, 1, step)
            x = x + y
    return linear(relu(norm(x, "bn1")).mean((2, 3)), draw, "fc", 5)


def vit_in_numpy(draw, x, *, patch, width, depth, heads):
    def norm(x, name):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)
        return x * draw(f"{name}.weight", width) + draw(f"{name}.bias", width)

    kernel = draw("patch_embed.proj.weight", width, x.shape[1], patch, patch)
    x = convolve(x, kernel, patch, 0) + draw("patch_embed.proj.bias", width)[:, None, None]
    x = x.reshape(len(x), width, -1).swapaxes(1, 2)
    x = np.concatenate([np.repeat(draw("cls_token", 1, 1, width), len(x), axis=0), x], axis=1)
    x = x + draw("pos_embed", 1, *x.shape[1:])
    size = width // heads
    for index in range(depth):
        name = f"blocks.{index}"
        mixed = linear(norm(x, f"{name}.norm1"), draw, f"{name}.attn.qkv", 3 * width)
        seen = []
        for head in range(heads):
            query, key, value = (mixed[..., part * width + head * size :][..., :size] for part in range(3))
            scores = np.exp(query @ key.swapaxes(1, 2) / math.sqrt(size))
            seen.append(scores / scores.sum(-1, keepdims=True) @ value)
        x = x + linear(np.concatenate(seen, axis=-1), draw, f"{name}.attn.proj", width)
        hidden = linear(norm(x, f"{name}.norm2"), draw, f"{name}.mlp.fc1", 4 * width)
        x = x + linear(0.5 * hidden * (1 + erf(hidden / math.sqrt(2))), draw, f"{name}.mlp.fc2", width)
    return linear(norm(x, "norm")[:, 0], draw, "head", 5)


SMALL = {"depths": (1, 2, 1), "widths": (8, 8, 16), "strides": (1, 1, 2)}
CASES = {
    "basic": (
        resnet.make(**SMALL),
        (8, 8, 1),
        lambda draw, x: resnet_in_numpy(
            draw, x, bottleneck=False, stride=1, imagenet=False, groups=None, down="down", **SMALL
        ),
    ),
    "bottleneck, groups, imagenet": (
        resnet.make(block="bottleneck", stem="imagenet", norm="group", groups=4, **SMALL),
        (32, 40, 3),
        lambda draw, x: resnet_in_numpy(
            draw, x, bottleneck=True, stride=2, imagenet=True, groups=4, down="downsample", **SMALL
        ),
    ),
    "cifar": (
        cifar_resnet.make(depth=14),
        (12, 8, 3),
        lambda draw, x: cifar_resnet_in_numpy(draw, x, blocks=2, groups=None),
    ),
    "wide": (
        wide_resnet.make(depth=16, widen=2),
        (8, 9, 3),
        lambda draw, x: wide_resnet_in_numpy(draw, x, blocks=2, widen=2),
    ),
    "transformer": (
        vit.make(patch=4, width=24, depth=2, heads=3),
        (8, 12, 3),
        lambda draw, x: vit_in_numpy(draw, x, patch=4, width=24, depth=2, heads=3),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_outputs_are_those_of_numpy_on_the_same_arrays(case):
    architecture, image_shape, reference = CASES[case]
    draw, arrays = drawing(0)
    images = np.random.default_rng(1).integers(0, 256, (3, *image_shape), dtype=np.uint8)
    expected = reference(draw, ((images / 255 - 0.4) / 0.3).transpose(0, 3, 1, 2))
    variables = weights.load(arrays, shapes(architecture, 5, image_shape))
    model = architecture.bundle(variables, 5, image_shape, (0.4,), (0.3,))
    logits, features = jax.jit(model.apply, static_argnames="statistics")(variables, images, statistics="source")
    assert np.std(expected) > 0.1
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    np.testing.assert_allclose(model.classify(variables, features), expected, atol=1e-4)


# --- the configured ones -----------------------------------------------------------------------------------------

PARAMETERS = {
    "small_resnet": (10, (28, 28, 1), 151_738),
    "small_resnet_gn": (10, (28, 28, 1), 151_738),
    "resnet18": (1000, (224, 224, 3), 11_689_512),
    "resnet26": (10, (32, 32, 3), None),
    "resnet26_gn": (10, (32, 32, 3), None),
    "resnet50": (1000, (224, 224, 3), 25_557_032),
    "resnet50_gn": (1000, (224, 224, 3), 25_557_032),
    "vit_b16": (1000, (224, 224, 3), 86_567_656),
    "wrn28_10": (10, (32, 32, 3), 36_479_194),
    "wrn40_2": (10, (32, 32, 3), 2_243_546),
}


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_configured_models_have_the_parameters_of_their_papers(path):
    module, _, name = yaml.safe_load(path.read_text())["_target_"].rpartition(".")
    testing.check_yaml(path, getattr(importlib.import_module(module), name))
    num_classes, image_shape, expected = PARAMETERS[path.stem]
    if expected is None:  # three stages of four blocks, without parameters in the skips
        kernels = 3 * 9 * 16 + sum(9 * (a * b + 7 * b * b) for a, b in ((16, 16), (16, 32), (32, 64)))
        norms = 2 * sum(a + 7 * b for a, b in ((16, 16), (16, 32), (32, 64))) + 2 * 64
        expected = kernels + norms + 65 * 10
    variables = shapes(configured(path.stem), num_classes, image_shape)
    assert count(variables) == expected
    assert ("batch_stats" in variables) == (
        path.stem not in ("small_resnet_gn", "resnet26_gn", "resnet50_gn", "vit_b16")
    )


def test_norms_and_heads_are_named():
    small = configured("small_resnet")
    model = small.bundle(shapes(small, 4, (8, 8, 3)), 4, (8, 8, 3), (0.5,), (0.5,))
    inside = ["layer1_0/bn1", "layer1_0/bn2"]
    for layer in (2, 3):
        inside += [f"layer{layer}_0/{name}" for name in ("bn1", "bn2", "down_1")]
    assert model.norms == model.batch_norms == ("bn1", *inside, "layer4_0/bn1", "layer4_0/bn2")
    assert model.head == "fc"
    grouped = configured("small_resnet_gn")
    model = grouped.bundle(shapes(grouped, 4, (8, 8, 3)), 4, (8, 8, 3), (0.5,), (0.5,))
    assert len(model.norms) == 11 and model.batch_norms == ()
    tiny = vit.make(patch=4, width=8, depth=1, heads=2)
    model = tiny.bundle(shapes(tiny, 4, (8, 8, 3)), 4, (8, 8, 3), (0.5,), (0.5,))
    assert model.norms == ("blocks_0/norm1", "blocks_0/norm2", "norm") and model.head == "head"


def test_random_variables_are_spread_as_their_papers_say():
    made = resnet.make(widths=(64, 64, 64, 64))
    init = jax.jit(lambda key: made.init(key, 10, (8, 8, 3)))
    first, again, other = init(jax.random.key(0)), init(jax.random.key(0)), init(jax.random.key(1))
    kernel = np.asarray(first["params"]["layer1_0"]["conv1"]["kernel"])
    assert kernel.shape == (3, 3, 64, 64) and kernel.std() == pytest.approx(math.sqrt(2 / (9 * 64)), rel=0.02)
    assert np.asarray(first["params"]["fc"]["kernel"]).std() == pytest.approx(1 / 8, rel=0.1)
    assert not np.array_equal(kernel, first["params"]["layer1_0"]["conv2"]["kernel"])
    assert jax.tree.all(jax.tree.map(np.array_equal, first, again))
    assert not np.array_equal(kernel, other["params"]["layer1_0"]["conv1"]["kernel"])
    for tree, name, value in (("params", "scale", 1), ("params", "bias", 0), ("batch_stats", "mean", 0)):
        assert np.all(np.asarray(first[tree]["bn1"][name]) == value)
    assert np.all(np.asarray(first["batch_stats"]["bn1"]["var"]) == 1)
    tokens = vit.make(patch=2, width=64, depth=1, heads=2).init(jax.random.key(0), 10, (16, 16, 3))["params"]
    assert np.asarray(tokens["pos_embed"]).std() == pytest.approx(0.02, rel=0.05)
    assert np.asarray(tokens["blocks_0"]["attn"]["qkv"]["kernel"]).std() == pytest.approx(0.02, rel=0.05)
    assert np.abs(tokens["cls_token"]).max() < 1e-5


@pytest.mark.parametrize(
    "make, changes, word",
    [
        (resnet.make, {"widths": (8, 8)}, "entries"),
        (resnet.make, {"norm": "group", "groups": 5}, "groups=5 does not divide 16"),
        (cifar_resnet.make, {"depth": 27}, "6n \\+ 2"),
        (wide_resnet.make, {"depth": 27}, "6n \\+ 4"),
        (vit.make, {"heads": 7}, "heads=7 does not divide"),
    ],
)
def test_forms_that_cannot_be_are_refused(make, changes, word):
    with pytest.raises(UserError, match=word):
        make(**changes)


def test_images_that_do_not_suit_are_refused():
    with pytest.raises(UserError, match="does not divide images of 8×9"):
        shapes(vit.make(patch=4, width=8, depth=1, heads=2), 4, (8, 9, 3))
    with pytest.raises(UserError, match="multiples of 4"):
        shapes(cifar_resnet.make(depth=8), 4, (8, 10, 3))


# --- imported weights and constants ------------------------------------------------------------------------------


def grey(draw, x):
    return resnet_in_numpy(
        draw,
        x,
        bottleneck=False,
        depths=(1,),
        widths=(8,),
        strides=(1,),
        stride=1,
        imagenet=False,
        groups=None,
        down="",
    )


TINY = {
    "grey": (resnet.make, {"depths": (1,), "widths": (8,), "strides": (1,)}, (4, 4, 1), grey),
    "transformer": (
        vit.make,
        {"patch": 2, "width": 8, "depth": 1, "heads": 2},
        (4, 4, 3),
        lambda draw, x: vit_in_numpy(draw, x, patch=2, width=8, depth=1, heads=2),
    ),
    "wide": (
        wide_resnet.make,
        {"depth": 10, "widen": 1},
        (4, 4, 3),
        lambda draw, x: wide_resnet_in_numpy(draw, x, blocks=1, widen=1),
    ),
}
BUFFERS = ((0.25, 0.5, 0.75), (0.5, 0.25, 0.125))


@pytest.mark.parametrize(
    "name, keys, buffers, constants",
    [
        ("grey", {}, None, ((0.1,), (0.9,))),  # of the data
        ("grey", {"mean": (0.3,)}, None, ((0.3,), (0.9,))),
        ("transformer", {}, None, ((0.5,), (0.5,))),
        ("transformer", {"layout": "torchvision"}, None, IMAGENET),
        ("transformer", {"layout": "torchvision", "deviation": (0.7,)}, None, (IMAGENET[0], (0.7,))),
        ("wide", {}, None, ((0.0,), (1.0,))),
        ("wide", {}, ("mu", "sigma"), BUFFERS),
        ("wide", {"mean": (0.3,), "deviation": (0.7,)}, ("mu", "sigma"), ((0.3,), (0.7,))),
    ],
)
def test_constants_are_of_the_configuration_then_of_the_weights_then_of_the_data(
    tmp_path, name, keys, buffers, constants
):
    make, form, image_shape, reference = TINY[name]
    images = np.random.default_rng(2).uniform(0, 1, (2, *image_shape)).astype(np.float32)
    mean, deviation = (np.array(values) for values in constants)
    draw, arrays = drawing(3)
    expected = reference(draw, ((images - mean) / deviation).transpose(0, 3, 1, 2))
    for buffer, values in zip(buffers or (), BUFFERS, strict=False):
        arrays[buffer] = np.float32(values).reshape(1, 3, 1, 1)
    np.savez(tmp_path / "w.npz", **arrays)
    assert make(**form).imported is None
    model = make(**form, **keys, weights=str(tmp_path / "w.npz")).imported(5, image_shape, (0.1,), (0.9,))
    logits, _ = jax.jit(model.apply, static_argnames="statistics")(model.variables, images, statistics="source")
    np.testing.assert_allclose(logits, expected, atol=2e-4)
