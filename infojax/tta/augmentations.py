"""Random views of images: those of AugMix, and those by which teachers and students see the same image differently.

Pure functions of a key and one image [H, W, C] in [0, 1], of one, three or any number of channels and any size; `views`
maps one over many. Every geometric change is an affine map of positions, read bilinearly.

AugMix: Hendrycks et al. (2020), "AugMix: A simple data processing method to improve robustness and uncertainty", the
set of operations that overlaps with none of the corruptions of ImageNet-C. The jitter of teachers is that of Wang et
al. (2022), "Continual test-time domain adaptation" (their appendix; also used by RoTTA and, less blur and noise, ROID).
"""

import math
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from infojax.types import Array, Key

Outside = Literal["edge", "reflect"] | float
"""What is beyond the border: the nearest pixel, the image mirrored about its outermost pixels, or a constant."""
Crop = Literal["shift", "resized"]

CHAINS = 3  # of AugMix
LONGEST = 3  # operations of a chain
GREY = 0.5
LUMA = (0.299, 0.587, 0.114)  # weights of red, green and blue (ITU-R BT.601)


def unit(images: Array) -> Array:
    """Images as float32 in [0, 1], whether they came so or as uint8."""
    return images.astype(jnp.float32) / 255 if images.dtype == jnp.uint8 else images.astype(jnp.float32)


def views(key: Key, images: Array, view: Callable[[Key, Array], Array]) -> Array:
    """A view of each of some images [B, H, W, C]; the draw of a row depends on the key and on its place alone."""
    keys = jax.vmap(lambda row: jax.random.fold_in(key, row))(jnp.arange(len(images)))
    return jax.vmap(view)(keys, images)


def between(draw: Array, low: float, high: float) -> Array:
    """Even draws from [0, 1) as even draws from [low, high)."""
    return low + draw * (high - low)


# --- geometry ----------------------------------------------------------------------------------------------------


def affine(image: Array, matrix: Array, offset: Array, outside: Outside = "edge") -> Array:
    """The image read at `matrix` · (position − centre) + centre + `offset`, bilinearly.

    Args:
        image: [H, W, C].
        matrix: [2, 2] of (row, column).
        offset: [2] pixels down and right; the content moves the other way.
        outside: see `Outside`.

    Returns:
        [H, W, C]; the image itself, bit for bit, of the identity and no offset.
    """
    height, width = image.shape[:2]
    centre = jnp.array([(height - 1) / 2, (width - 1) / 2], jnp.float32)
    grid = jnp.stack(jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij"), axis=-1).astype(jnp.float32)
    moved = jnp.einsum("ij,hwj->hwi", matrix - jnp.eye(2), grid - centre[None, None, :], precision="highest")
    place = grid + (moved + offset[None, None, :])
    corner = jnp.floor(place)
    share = place - corner
    row, column = corner[..., 0].astype(jnp.int32), corner[..., 1].astype(jnp.int32)
    total = jnp.zeros_like(image)
    for down in (0, 1):
        for right in (0, 1):
            weight = jnp.abs(1 - down - share[..., 0]) * jnp.abs(1 - right - share[..., 1])
            total = total + weight[..., None] * _pixels(image, row + down, column + right, outside)
    return total


def _pixels(image: Array, row: Array, column: Array, outside: Outside) -> Array:
    height, width = image.shape[:2]
    if outside == "reflect":
        return image[_reflected(row, height), _reflected(column, width)]
    found = image[jnp.clip(row, 0, height - 1), jnp.clip(column, 0, width - 1)]
    if outside == "edge":
        return found
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return jnp.where(inside[..., None], found, jnp.asarray(outside, image.dtype))


def _reflected(index: Array, size: int) -> Array:
    period = max(2 * (size - 1), 1)
    index = jnp.mod(index, period)
    return jnp.minimum(index, period - index) if size > 1 else jnp.zeros_like(index)


def rotation(angle: Array) -> Array:
    """The matrix [2, 2] by which `affine` turns an image by an angle in radians."""
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    return jnp.stack([jnp.stack([cosine, sine]), jnp.stack([-sine, cosine])])


def flipped(draw: Array, image: Array, probability: float) -> Array:
    """Mirrored left to right where an even draw from [0, 1) is below the probability."""
    return jnp.where(draw < probability, image[:, ::-1], image)


def shifted(draw: Array, image: Array) -> Array:
    """A crop of the image padded with black by an eighth of its sides, where even draws [4] from [0, 1) put it."""
    height, width = image.shape[:2]
    most = jnp.array([height // 8, width // 8], jnp.float32)
    return affine(image, jnp.eye(2), jnp.floor(draw[:2] * (2 * most + 1)) - most, 0.0)


def resized_crop(draw: Array, image: Array) -> Array:
    """A part of 8 to 100 % of the area, of a shape between 3:4 and 4:3, stretched to the size of the image.

    Area, shape and place are by even draws [4] from [0, 1).
    """
    height, width = image.shape[:2]
    area = between(draw[0], 0.08, 1.0)
    ratio = jnp.exp(between(draw[1], math.log(3 / 4), math.log(4 / 3)))
    share = jnp.minimum(jnp.stack([jnp.sqrt(area / ratio), jnp.sqrt(area * ratio)]), 1.0)
    room = (1 - share) * jnp.array([height, width], jnp.float32)
    return affine(image, jnp.diag(share), room * (draw[2:] - 0.5), "edge")


# --- colours -----------------------------------------------------------------------------------------------------


def grey(image: Array) -> Array:
    """Luminance [H, W, 1] of three channels, the mean of any other number."""
    channels = image.shape[-1]
    weights = jnp.array(LUMA if channels == len(LUMA) else (1 / channels,) * channels, jnp.float32)
    return jnp.matmul(image, weights, precision="highest")[..., None]


def blended(image: Array, other: Array, factor: Array) -> Array:
    """factor · image + (1 − factor) · other, within [0, 1]."""
    return jnp.clip(factor * image + (1 - factor) * other, 0, 1)


def turned_hue(image: Array, turn: Array) -> Array:
    """Three channels with their hue turned by a share of the circle."""
    top, low = jnp.max(image, axis=-1), jnp.min(image, axis=-1)
    spread = top - low
    safe = jnp.where(spread > 0, spread, 1)
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    sector = jnp.where(
        top == red,
        (green - blue) / safe,
        jnp.where(top == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )

    def channel(start: int) -> Array:
        k = jnp.mod(start + sector + 6 * turn, 6)
        return top - spread * jnp.clip(jnp.minimum(k, 4 - k), 0, 1)

    return jnp.stack([channel(5), channel(3), channel(1)], axis=-1)


def blurred(image: Array, scale: Array) -> Array:
    """By a Gaussian of 5 × 5 pixels with standard deviation `scale`, the image mirrored beyond its border."""
    taps = jnp.arange(-2, 3)
    weights = jnp.exp(-(taps.astype(jnp.float32) ** 2) / (2 * scale**2))
    weights = weights / jnp.sum(weights)
    height, width = image.shape[:2]
    rows = image[_reflected(jnp.arange(height)[:, None] + taps[None, :], height)]
    image = jnp.einsum("htwc,t->hwc", rows, weights, precision="highest")
    columns = image[:, _reflected(jnp.arange(width)[:, None] + taps[None, :], width)]
    return jnp.einsum("hwtc,t->hwc", columns, weights, precision="highest")


def autocontrast(image: Array) -> Array:
    """Every channel stretched to [0, 1]; a channel of one value stays."""
    low, top = jnp.min(image, axis=(0, 1), keepdims=True), jnp.max(image, axis=(0, 1), keepdims=True)
    spread = top - low
    return jnp.where(spread > 0, (image - low) / jnp.where(spread > 0, spread, 1), image)


def equalised(image: Array) -> Array:
    """Every channel with its histogram of 256 values made even: (F(v) − F(v₀)) / (1 − F(v₀)), v₀ its lowest value."""
    height, width, channels = image.shape
    levels = jnp.clip(jnp.round(image * 255), 0, 255).astype(jnp.int32).reshape(-1, channels)

    def channel(values: Array) -> Array:
        count = jnp.cumsum(jnp.zeros((256,), jnp.int32).at[values].add(1)).astype(jnp.float32)
        low = count[jnp.min(values)]
        rest = height * width - low
        even = (count[values] - low) / jnp.maximum(rest, 1)
        return jnp.where(rest > 0, even, values.astype(jnp.float32) / 255)

    return jax.vmap(channel, in_axes=1, out_axes=1)(levels).reshape(image.shape)


# --- whole views ---------------------------------------------------------------------------------------------------


def mixed(key: Key, image: Array, *, severity: float = 1.0, flip: float = 0.5, crop: Crop = "shift") -> Array:
    """AugMix of a crop x of the image: m x + (1 − m) Σ_j w_j chain_j(x), w ~ Dirichlet(1, 1, 1), m ~ Beta(1, 1).

    A chain is one to three operations, each one of nine with equal chances at a level drawn below `severity`: stretch
    the contrast, equalise, posterise, solarise, rotate, shear or shift along either axis. Beyond the border is grey.
    """
    # One call of the generator: each costs compile time.
    lone = jax.random.uniform(key, (6 + 2 * CHAINS + 3 * CHAINS * LONGEST,))
    place, mirror, share, spacings, lengths, draws = jnp.split(lone, (4, 5, 6, 6 + CHAINS, 6 + 2 * CHAINS))
    image = (resized_crop if crop == "resized" else shifted)(place, image)
    image = flipped(mirror[0], image, flip)
    spacings = -jnp.log1p(-spacings)
    weights = spacings / jnp.sum(spacings)

    def chain(length: Array, draws: Array) -> Array:
        def step(seen: Array, at: tuple[Array, Array]) -> tuple[Array, None]:
            return jnp.where(at[0] < length, operation(at[1], seen, severity), seen), None

        return jax.lax.scan(step, image, (jnp.arange(LONGEST, dtype=jnp.float32), draws))[0]

    chains = jax.vmap(chain)(1 + jnp.floor(LONGEST * lengths), draws.reshape(CHAINS, LONGEST, 3))
    return share[0] * image + (1 - share[0]) * jnp.tensordot(weights, chains, axes=1, precision="highest")


def operation(draw: Array, image: Array, severity: float) -> Array:
    """One of AugMix's operations, its level in (0.1, severity) of 10 and its sign, by even draws [3] from [0, 1)."""
    height, width = image.shape[:2]
    kind = jnp.minimum(jnp.floor(9 * draw[0]), 8).astype(jnp.int32)
    level = between(draw[1], min(0.1, severity), severity) / 10
    signed = jnp.where(draw[2] < 0.5, level, -level)

    def along(which: int, most: float) -> Array:
        return jnp.where(kind == which, signed * most, 0.0)

    turn = rotation(along(4, math.radians(30)))
    one = jnp.ones(())
    shear = jnp.stack([jnp.stack([one, along(5, 0.3)]), jnp.stack([along(6, 0.3), one])])
    offset = jnp.stack([along(7, height / 3), along(8, width / 3)])
    bits = 4 - jnp.floor(4 * level)
    steps = 2 ** (8 - bits)
    posterised = jnp.floor(jnp.round(image * 255) / steps) * steps / 255
    solarised = jnp.where(image >= 1 - level, 1 - image, image)
    pointwise = [autocontrast(image), equalised(image), posterised, solarised]
    image = jnp.where(kind < len(pointwise), jnp.stack(pointwise)[jnp.minimum(kind, len(pointwise) - 1)], image)
    return affine(image, jnp.matmul(turn, shear, precision="highest"), offset, GREY)


def jittered(
    key: Key, image: Array, *, flip: float = 0.5, blur: float = 0.5, noise: float = 0.005, outside: Outside = "edge"
) -> Array:
    """A strong view: brightness, contrast, saturation, hue, gamma, turn, shift, size, blur, mirror image, noise.

    Factors are drawn evenly from 0.6 to 1.4 (brightness), 0.7 to 1.3 (contrast, gamma), 0.5 to 1.5 (saturation), hue
    ±0.06 of the circle, ±15 degrees, shifts of ±1/16 of a side, sizes of 0.9 to 1.1. Saturation and hue need three
    channels.

    Args:
        key: of the draw.
        image: [H, W, C] in [0, 1].
        flip: probability of the mirror image.
        blur: largest standard deviation in pixels; 0 blurs nothing.
        noise: standard deviation of Gaussian noise.
        outside: what is beyond the border.
    """
    draw_key, noise_key = jax.random.split(key)
    draws = jax.random.uniform(draw_key, (11,))
    height, width, channels = image.shape
    low = jnp.array([0.6, 0.7, 0.5, -0.06, 0.7], jnp.float32)
    top = jnp.array([1.4, 1.3, 1.5, 0.06, 1.3], jnp.float32)
    brightness, contrast, saturation, hue, gamma = low + draws[:5] * (top - low)
    image = jnp.clip(image, 0, 1)
    image = blended(image, jnp.zeros_like(image), brightness)
    image = blended(image, jnp.broadcast_to(jnp.mean(grey(image)), image.shape), contrast)
    if channels == len(LUMA):
        image = blended(image, jnp.broadcast_to(grey(image), image.shape), saturation)
        image = turned_hue(image, hue)
    image = jnp.maximum(image, 1e-8) ** gamma
    angle, down, right, size = between(draws[5:9], -1.0, 1.0)
    shift = jnp.stack([down * height / 16, right * width / 16])
    image = affine(image, rotation(angle * math.radians(15)) / (1 + 0.1 * size), shift, outside)
    if blur > 0:
        image = blurred(image, between(draws[9], 1e-3, blur))
    image = flipped(draws[10], image, flip)
    if noise > 0:
        image = image + noise * jax.random.normal(noise_key, image.shape)
    return jnp.clip(image, 0, 1)
