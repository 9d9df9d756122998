"""Wide residual networks, their arrays named as in RobustBench.

Zagoruyko and Komodakis (2016), "Wide residual networks": WRN-d-k has three stages of (d − 4) / 6 blocks with 16k, 32k
and 64k channels. Blocks are skip(x) + f(x) with norm and relu before each convolution; where the number of channels
changes the skip is a 1×1 convolution of what the first norm and relu give. `block1_0/conv1` here is
`block1.layer.0.conv1` there, `shortcut` is `convShortcut`.
"""

import jax.numpy as jnp
from flax import linen

from infojax.nets import architecture
from infojax.nets.layers import Norm, convolution, normalisation
from infojax.nets.weights import Layout
from infojax.types import Architecture, Array, Count, Finite, Positive, UserError


class Block(linen.Module):
    """skip(x) + f(x): [B, H, W, C] -> [B, H / stride, W / stride, width]."""

    width: int
    stride: int
    norm: Norm
    groups: int

    @linen.compact
    def __call__(self, inputs: Array) -> Array:
        active = linen.relu(normalisation(self.norm, self.groups, name="bn1")(inputs))
        hidden = convolution(self.width, 3, stride=self.stride, name="conv1")(active)
        hidden = linen.relu(normalisation(self.norm, self.groups, name="bn2")(hidden))
        hidden = convolution(self.width, 3, name="conv2")(hidden)
        if inputs.shape[-1] == self.width:
            return inputs + hidden
        return convolution(self.width, 1, stride=self.stride, name="shortcut")(active) + hidden


class WideResNet(linen.Module):
    """Images [B, H, W, C] -> logits [B, num_classes]."""

    num_classes: int
    blocks: int
    widen: int
    norm: Norm
    groups: int

    @linen.compact
    def __call__(self, images: Array) -> Array:
        hidden = convolution(16, 3, name="conv1")(images)
        for stage, (factor, stride) in enumerate(((16, 1), (32, 2), (64, 2)), start=1):
            for index in range(self.blocks):
                block = Block(
                    factor * self.widen,
                    stride if index == 0 else 1,
                    self.norm,
                    self.groups,
                    name=f"block{stage}_{index}",
                )
                hidden = block(hidden)
        hidden = linen.relu(normalisation(self.norm, self.groups, name="bn1")(hidden))
        return linen.Dense(self.num_classes, name="fc")(jnp.mean(hidden, axis=(1, 2)))


def make(
    *,
    depth: Count = 28,
    widen: Count = 10,
    norm: Norm = "batch",
    groups: Count = 8,
    weights: str | None = None,
    layout: Layout = "auto",
    mean: tuple[Finite, ...] | None = None,
    deviation: tuple[Positive, ...] | None = None,
) -> Architecture:
    """A wide residual network.

    Args:
        depth: layers, 6n + 4.
        widen: factor of the channels; 2 or more.
        norm: "batch" or "group".
        groups: of a group normalisation.
        weights: a file of weights, .safetensors, .npz or a torch file; None for random ones.
        layout: whose names the file has.
        mean: of the channels of images in [0, 1], which is subtracted; None is that of the weights, else of the data.
        deviation: of the channels, by which they are divided; None likewise.

    Raises:
        UserError: another depth or width, channels that groups do not divide.
    """
    if depth < 10 or (depth - 4) % 6:
        raise UserError(f"model.depth={depth} is not 6n + 4; give 10, 16, 22, 28, 34, 40, …")
    architecture.check_groups(norm, groups, (16, 16 * widen))

    def module(num_classes: int) -> WideResNet:
        return WideResNet(num_classes, (depth - 4) // 6, widen, norm, groups)

    return architecture.architecture(
        module,
        head="fc",
        spread=architecture.he_normal,
        own=architecture.Own(weights, layout, mean, deviation),
        # RobustBench's models take images in [0, 1]; those that normalise hold the constants among their arrays.
        published={"robustbench": ((0.0,), (1.0,))},
    )
