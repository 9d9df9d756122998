"""Residual networks, their arrays named as in torchvision and timm.

He, Zhang, Ren and Sun (2016), "Deep residual learning for image recognition": a block is relu(f(x) + skip(x)), with f
of two 3×3 convolutions, or of 1×1, 3×3 and 1×1 with four times as many channels at the end; the stride of the latter is
in its 3×3 convolution, as in both libraries. The skip is a 1×1 convolution where the shape changes. `layer1_0/conv1`
here is `layer1.0.conv1` there, `down_0` and `down_1` are `downsample.0` and `downsample.1`.
"""

from typing import Any, Literal, Union

import jax.numpy as jnp
from flax import linen

from infojax.nets import architecture
from infojax.nets.layers import Norm, convolution, normalisation
from infojax.nets.weights import Layout
from infojax.types import Architecture, Array, Count, Finite, Positive, UserError

# Below this many pixels a side, a first convolution of stride 2 would leave too little.
SMALL_IMAGE = 16


class Block(linen.Module):
    """relu(f(x) + skip(x)): [B, H, W, C] -> [B, H / stride, W / stride, width], four times as wide as a bottleneck."""

    kind: str
    width: int
    stride: int
    norm: Norm
    groups: int

    @linen.compact
    def __call__(self, inputs: Array) -> Array:
        def normal(name: str) -> Any:
            return normalisation(self.norm, self.groups, name=name)

        if self.kind == "basic":
            shapes = ((self.width, 3, self.stride), (self.width, 3, 1))
        else:
            shapes = ((self.width, 1, 1), (self.width, 3, self.stride), (4 * self.width, 1, 1))
        hidden = inputs
        for index, (features, size, stride) in enumerate(shapes, start=1):
            hidden = convolution(features, size, stride=stride, name=f"conv{index}")(hidden)
            hidden = normal(f"bn{index}")(hidden)
            if index < len(shapes):
                hidden = linen.relu(hidden)
        skip = inputs
        if self.stride != 1 or inputs.shape[-1] != hidden.shape[-1]:
            skip = convolution(hidden.shape[-1], 1, stride=self.stride, name="down_0")(inputs)
            skip = normal("down_1")(skip)
        return linen.relu(hidden + skip)


class ResNet(linen.Module):
    """Images [B, H, W, C] -> logits [B, num_classes]."""

    num_classes: int
    block: str
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    strides: tuple[int, ...]
    stem: str
    stem_stride: int | None
    norm: Norm
    groups: int

    @linen.compact
    def __call__(self, images: Array) -> Array:
        stride = self.stem_stride or (2 if min(images.shape[1:3]) >= SMALL_IMAGE else 1)
        size = 7 if self.stem == "imagenet" else 3
        hidden = convolution(self.widths[0], size, stride=stride, name="conv1")(images)
        hidden = linen.relu(normalisation(self.norm, self.groups, name="bn1")(hidden))
        if self.stem == "imagenet":
            sides: Any = ((1, 1), (1, 1))
            hidden = linen.max_pool(hidden, (3, 3), strides=(2, 2), padding=sides)
        for stage, (depth, width, stride) in enumerate(zip(self.depths, self.widths, self.strides, strict=True), 1):
            for index in range(depth):
                block = Block(
                    self.block, width, stride if index == 0 else 1, self.norm, self.groups, name=f"layer{stage}_{index}"
                )
                hidden = block(hidden)
        return linen.Dense(self.num_classes, name="fc")(jnp.mean(hidden, axis=(1, 2)))


def make(
    *,
    block: Literal["basic", "bottleneck"] = "basic",
    depths: tuple[Count, ...] = (1, 1, 1, 1),
    widths: tuple[Count, ...] = (16, 32, 64, 64),
    strides: tuple[Count, ...] = (1, 2, 2, 1),
    stem: Literal["imagenet", "cifar"] = "cifar",
    stem_stride: Union[Count, None] = None,  # noqa: UP007  an Annotated alias has no `|`
    norm: Norm = "batch",
    groups: Count = 8,
    weights: str | None = None,
    layout: Layout = "auto",
    mean: tuple[Finite, ...] | None = None,
    deviation: tuple[Positive, ...] | None = None,
) -> Architecture:
    """A residual network.

    Args:
        block: "basic" of two 3×3 convolutions or "bottleneck" of three.
        depths: blocks of each stage.
        widths: channels of each stage, of the inner ones of a bottleneck.
        strides: of the first block of each stage.
        stem: "imagenet" is a 7×7 convolution and a maximum over 3×3 with stride 2, "cifar" a 3×3 convolution.
        stem_stride: of the first convolution; None is 2, and 1 for images below 16 pixels.
        norm: "batch" or "group".
        groups: of a group normalisation.
        weights: a file of weights, .safetensors, .npz or a torch file; None for random ones.
        layout: whose names the file has.
        mean: of the channels of images in [0, 1], which is subtracted; None is that of the weights, else of the data.
        deviation: of the channels, by which they are divided; None likewise.

    Raises:
        UserError: stages of which something is not said, channels that groups do not divide.
    """
    if not len(depths) == len(widths) == len(strides):
        raise UserError(
            f"model.depths, model.widths and model.strides have {len(depths)}, {len(widths)} and {len(strides)} "
            f"entries; give one of each for every stage"
        )
    architecture.check_groups(norm, groups, widths)

    def module(num_classes: int) -> ResNet:
        return ResNet(num_classes, block, tuple(depths), tuple(widths), tuple(strides), stem, stem_stride, norm, groups)

    return architecture.architecture(
        module,
        head="fc",
        spread=architecture.he_normal,
        own=architecture.Own(weights, layout, mean, deviation),
        published=architecture.IMAGENET if stem == "imagenet" else {},
    )
