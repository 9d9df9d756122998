"""The residual networks for small images of 6n + 2 layers, which TTT and MEMO adapt as ResNet-26.

He, Zhang, Ren and Sun (2016), section 4.2: three stages of n blocks with 16, 32 and 64 channels. In the form of Sun et
al. (2020), "Test-time training with self-supervision", which Zhang, Levine and Finn (2022), "MEMO", use as well: blocks
are x + f(x) with the norm and relu before each convolution (He et al., 2016, "Identity mappings"), a last norm and relu
stand before the mean, and a skip that changes shape has no parameters: a mean over stride × stride, its new channels 0.
"""

import jax.numpy as jnp
from flax import linen

from infojax.nets import architecture
from infojax.nets.layers import Norm, convolution, normalisation
from infojax.nets.weights import Layout
from infojax.types import Architecture, Array, Count, Finite, Positive, UserError


class Block(linen.Module):
    """x + f(x): [B, H, W, C] -> [B, H / stride, W / stride, width]."""

    width: int
    stride: int
    norm: Norm
    groups: int

    @linen.compact
    def __call__(self, inputs: Array) -> Array:
        hidden = linen.relu(normalisation(self.norm, self.groups, name="bn1")(inputs))
        hidden = convolution(self.width, 3, stride=self.stride, name="conv1")(hidden)
        hidden = linen.relu(normalisation(self.norm, self.groups, name="bn2")(hidden))
        hidden = convolution(self.width, 3, name="conv2")(hidden)
        skip = inputs
        if self.stride != 1:
            batch, height, width, channels = skip.shape
            squares = (batch, height // self.stride, self.stride, width // self.stride, self.stride, channels)
            skip = jnp.mean(skip.reshape(squares), axis=(2, 4))
        return hidden + jnp.pad(skip, ((0, 0), (0, 0), (0, 0), (0, self.width - skip.shape[-1])))


class CifarResNet(linen.Module):
    """Images [B, H, W, C] -> logits [B, num_classes]."""

    num_classes: int
    blocks: int
    width: int
    norm: Norm
    groups: int

    @linen.compact
    def __call__(self, images: Array) -> Array:
        hidden = convolution(16, 3, name="conv1")(images)
        for stage, (factor, stride) in enumerate(((16, 1), (32, 2), (64, 2)), start=1):
            for index in range(self.blocks):
                block = Block(
                    factor * self.width,
                    stride if index == 0 else 1,
                    self.norm,
                    self.groups,
                    name=f"layer{stage}_{index}",
                )
                hidden = block(hidden)
        hidden = linen.relu(normalisation(self.norm, self.groups, name="bn")(hidden))
        return linen.Dense(self.num_classes, name="fc")(jnp.mean(hidden, axis=(1, 2)))


def make(
    *,
    depth: Count = 26,
    width: Count = 1,
    norm: Norm = "batch",
    groups: Count = 8,
    weights: str | None = None,
    layout: Layout = "auto",
    mean: tuple[Finite, ...] | None = None,
    deviation: tuple[Positive, ...] | None = None,
) -> Architecture:
    """A residual network of three stages, for images of which 4 divides height and width.

    Args:
        depth: layers, 6n + 2.
        width: by which the channels are multiplied.
        norm: "batch" or "group".
        groups: of a group normalisation; 8 in the models of TTT and MEMO.
        weights: a file of weights, .safetensors, .npz or a torch file; None for random ones.
        layout: whose names the file has.
        mean: of the channels of images in [0, 1], which is subtracted; None is that of the weights, else of the data.
        deviation: of the channels, by which they are divided; None likewise.

    Raises:
        UserError: another depth, channels that groups do not divide.
    """
    if depth < 8 or (depth - 2) % 6:
        raise UserError(f"model.depth={depth} is not 6n + 2; give 8, 14, 20, 26, 32, …")
    architecture.check_groups(norm, groups, (16, 16 * width))

    def module(num_classes: int) -> CifarResNet:
        return CifarResNet(num_classes, (depth - 2) // 6, width, norm, groups)

    return architecture.architecture(
        module,
        head="fc",
        spread=architecture.he_normal,
        own=architecture.Own(weights, layout, mean, deviation),
        published={"torchvision": ((0.5,), (0.5,))},  # by which TTT and MEMO normalise
        multiple=4,
    )
