"""Vision transformers, their arrays named as in timm.

Dosovitskiy et al. (2021), "An image is worth 16x16 words": patches are embedded linearly, a class token stands before
them, positions are added; blocks are x + attention(norm(x)), then x + mlp(norm(x)); the head sees the class token after
a last norm. LayerNorm with epsilon 1e-6, exact gelu, queries, keys and values of all heads in one product.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen

from infojax.nets import architecture
from infojax.nets.layers import convolution
from infojax.nets.weights import Layout
from infojax.types import Architecture, Array, Count, Finite, Positive, UserError


def _layer_norm(name: str) -> linen.LayerNorm:
    return linen.LayerNorm(epsilon=1e-6, use_fast_variance=False, name=name)


class PatchEmbedding(linen.Module):
    """[B, H, W, C] -> [B, (H / patch)(W / patch), width], patches row by row."""

    patch: int
    width: int

    @linen.compact
    def __call__(self, images: Array) -> Array:
        embedded = convolution(self.width, self.patch, stride=self.patch, padding=0, bias=True, name="proj")(images)
        return embedded.reshape(len(images), -1, self.width)


class Attention(linen.Module):
    """Softmax attention of `heads` heads: [B, T, D] -> [B, T, D]; all tokens see all."""

    heads: int

    @linen.compact
    def __call__(self, tokens: Array) -> Array:
        batch, length, width = tokens.shape
        mixed = linen.Dense(3 * width, name="qkv")(tokens)
        query, key, value = jnp.moveaxis(mixed.reshape(batch, length, 3, self.heads, width // self.heads), 2, 0)
        scores = jnp.einsum("bthd,bshd->bhts", query, key) / math.sqrt(width // self.heads)
        seen = jnp.einsum("bhts,bshd->bthd", linen.softmax(scores, axis=-1), value)
        return linen.Dense(width, name="proj")(seen.reshape(batch, length, width))


class Perceptron(linen.Module):
    """A hidden layer with exact gelu: [B, T, D] -> [B, T, D]."""

    hidden: int

    @linen.compact
    def __call__(self, tokens: Array) -> Array:
        hidden = jax.nn.gelu(linen.Dense(self.hidden, name="fc1")(tokens), approximate=False)
        return linen.Dense(tokens.shape[-1], name="fc2")(hidden)


class Block(linen.Module):
    """Attention and perceptron, each added to what it is given: [B, T, D] -> [B, T, D]."""

    heads: int
    hidden: int

    @linen.compact
    def __call__(self, tokens: Array) -> Array:
        tokens = tokens + Attention(self.heads, name="attn")(_layer_norm("norm1")(tokens))
        return tokens + Perceptron(self.hidden, name="mlp")(_layer_norm("norm2")(tokens))


class VisionTransformer(linen.Module):
    """Images [B, H, W, C] -> logits [B, num_classes]."""

    num_classes: int
    patch: int
    width: int
    depth: int
    heads: int
    mlp_ratio: int

    @linen.compact
    def __call__(self, images: Array) -> Array:
        if images.shape[1] % self.patch or images.shape[2] % self.patch:
            raise UserError(
                f"model.patch={self.patch} does not divide images of {images.shape[1]}×{images.shape[2]} pixels; "
                f"give a divisor of both"
            )
        patches = PatchEmbedding(self.patch, self.width, name="patch_embed")(images)
        token = self.param("cls_token", linen.initializers.zeros, (1, 1, self.width))
        tokens = jnp.concatenate([jnp.broadcast_to(token, (len(images), 1, self.width)), patches], axis=1)
        tokens = tokens + self.param("pos_embed", linen.initializers.zeros, (1, *tokens.shape[1:]))
        for index in range(self.depth):
            tokens = Block(self.heads, self.mlp_ratio * self.width, name=f"blocks_{index}")(tokens)
        return linen.Dense(self.num_classes, name="head")(_layer_norm("norm")(tokens)[:, 0])


def make(
    *,
    patch: Count = 16,
    width: Count = 768,
    depth: Count = 12,
    heads: Count = 12,
    mlp_ratio: Count = 4,
    weights: str | None = None,
    layout: Layout = "auto",
    mean: tuple[Finite, ...] | None = None,
    deviation: tuple[Positive, ...] | None = None,
) -> Architecture:
    """A vision transformer.

    Args:
        patch: pixels a side of a patch; divides the sides of the images.
        width: entries of a token.
        depth: blocks.
        heads: of the attention; divides `width`.
        mlp_ratio: hidden units of a block's perceptron, in widths.
        weights: a file of weights, .safetensors, .npz or a torch file; None for random ones.
        layout: whose names the file has.
        mean: of the channels of images in [0, 1], which is subtracted; None is that of the weights, else of the data.
        deviation: of the channels, by which they are divided; None likewise.

    Raises:
        UserError: heads that do not divide the width.
    """
    if width % heads:
        raise UserError(f"model.heads={heads} does not divide model.width={width}; give a divisor")

    def module(num_classes: int) -> VisionTransformer:
        return VisionTransformer(num_classes, patch, width, depth, heads, mlp_ratio)

    return architecture.architecture(
        module,
        head="head",
        spread=architecture.transformer_normal,
        own=architecture.Own(weights, layout, mean, deviation),
        # timm's own models take 0.5 for both; its DeiT and torchvision's models take those of ImageNet.
        published={"timm": ((0.5,), (0.5,)), "torchvision": architecture.IMAGENET["torchvision"]},
    )
