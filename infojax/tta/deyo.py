"""DeYO: select and weigh by entropy and by what happens when the shape of the object is destroyed.

Lee et al. (2024), "Entropy is not enough for test-time adaptation: from the perspective of disentangled factors". With
predictions p_i of a batch [B], their entropies H_i in nats, their classes y_i = argmax p_i, and the predictions p'_i of
destroyed images (patches in a random order, pixels in a random order, or the centre covered):

- S1 = {i: H_i < tau_ent}, tau_ent = `margin` ln C;
- PLPD_i = p_i[y_i] − p'_i[y_i], the pseudo-label probability difference (equation 4), for rows of S1;
- S2 = {i in S1: PLPD_i > `plpd_threshold`};
- loss (equations 7 and 8): mean_{S2} (exp(Ent0 − H_i) + exp(PLPD_i)) H_i, Ent0 = `weight_margin` ln C, no gradient
  through the weights.

The second pass is of the rows in S1 alone, its batch statistics too, with the same weights and no gradient. Where S1 or
S2 is empty there is no step.
"""

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp

from infojax.info import categorical
from infojax.nets.bundle import probabilities
from infojax.nets.optimizers import Optimizer
from infojax.tta import parts
from infojax.types import Adapted, Array, Count, Finite, Key, Method, Model, NonNegative, Positive

Destruction = Literal["patch", "pixel", "occlusion"]


def make(
    model: Model,
    *,
    margin: Positive = 0.5,
    weight_margin: Positive = 0.4,
    plpd_threshold: Finite = 0.2,
    destruction: Destruction = "patch",
    patches: Count = 4,
    occluded: Positive = 0.5,
    optimizer: Optimizer = "adam",
    learning_rate: Positive = 1e-3,
    momentum: NonNegative = 0.9,
    parameters: str = "norm",
    leave_out: tuple[str, ...] = ("layer4", "blocks_(9|10|11)/", "^norm/"),
    compaction: parts.Compaction = "exact",
) -> Method:
    """Weighted entropy of rows whose prediction hangs on shape. Two forward passes, the second of S1 alone.

    Args:
        model: that is adapted.
        margin: tau_ent as a share of ln C.
        weight_margin: Ent0 as a share of ln C.
        plpd_threshold: tau_PLPD.
        destruction: "patch", "pixel" or "occlusion".
        patches: along each side of an image.
        occluded: side of the covered square as a share of the image's.
        optimizer: "adam" or "sgd".
        learning_rate: of a step.
        momentum: of sgd, plain.
        parameters: what adapts: norm, all, body, or a regular expression of paths.
        leave_out: regular expressions of paths that do not adapt; by default the last blocks.
        compaction: exact, none or frozen_statistics; see `infojax.tta.parts`. The second pass is exact, and of the rows
            in S1 alone, in all but none.
    """
    learner = parts.learner(model, optimizer, learning_rate, momentum, parameters, leave_out)
    threshold = margin * math.log(model.num_classes)
    reference = weight_margin * math.log(model.num_classes)

    def init(variables: Any, source: Array | None) -> parts.Learned:
        return learner.init(variables)

    def adapt(state: parts.Learned, batch: parts.Batch, key: Key) -> tuple[parts.Learned, Adapted]:
        if batch.destroyed is not None:
            destroyed = batch.destroyed
        else:
            destroyed = destroy(key, batch.images, destruction, patches, occluded)

        def second(images: Array, live: Array) -> Array:
            return probabilities(model.apply(state.variables, images, "batch", live)[0])

        def loss(logits: Array) -> tuple[Array, tuple[Array, tuple[Array, Array, Array]]]:
            entropy = categorical.entropy(logits)
            predicted = probabilities(jax.lax.stop_gradient(logits))
            certain = batch.allowed & (entropy < threshold)
            if batch.selection is not None:
                certain = batch.selection[0]
            if compaction == "none":
                after, rows = second(destroyed, certain), jnp.where(jnp.any(certain), len(certain), 0)
            else:
                after, rows = parts.spread(second, certain, destroyed, certain)
            label = jnp.argmax(predicted, axis=1)[:, None]
            plpd = jnp.take_along_axis(predicted - after, label, axis=1)[:, 0]
            selected = certain & (plpd > plpd_threshold)
            if batch.selection is not None:
                selected = batch.selection[1]
            weight = parts.certainty(entropy, reference) + jnp.exp(plpd)
            return parts.mean_over(weight * entropy, selected), (selected, (certain, plpd, rows))

        found = parts.differentiate(model, state.variables, learner.paths, batch, loss, compaction=compaction)
        certain, plpd, rows = found.found
        some = jnp.any(found.selected)
        info = parts.info(found, some, first_filter=certain, plpd=jnp.where(certain, plpd, jnp.nan))
        info["forward_rows"] = info["forward_rows"] + rows
        return learner.step(state, found.gradient, some), Adapted(found.logits, found.selected, info)

    return parts.method(model, init, adapt)


def destroy(key: Key, images: Array, how: Destruction, patches: int, occluded: float) -> Array:
    """Images [B, H, W, C] without their shapes: every image by a draw of its own."""
    if how == "patch":
        # By sorting random bits, which compiles in a fraction of the time of `jax.random.permutation`.
        order = jnp.argsort(jax.random.bits(key, (len(images), patches**2)), axis=1)
        return shuffle_patches(images, order)
    if how == "pixel":
        order = jnp.argsort(jax.random.bits(key, images.shape[:3]).reshape(len(images), -1), axis=1)
        flat = images.reshape(len(images), -1, images.shape[-1])
        return jnp.take_along_axis(flat, order[:, :, None], axis=1).reshape(images.shape)
    return occlude(images, occluded)


def shuffle_patches(images: Array, order: Array) -> Array:
    """Cut images [B, H, W, C] into a square grid and put patch `order[b, j]` at place j, both row by row.

    Sizes that the grid does not divide are resized down to the next that it does, and back.
    """
    count, height, width, channels = images.shape
    grid = math.isqrt(order.shape[1])
    high, wide = height // grid, width // grid
    dtype = images.dtype
    pixels = images.astype(jnp.float32)
    divided = (high * grid, wide * grid)
    if divided != (height, width):
        pixels = jax.image.resize(pixels, (count, *divided, channels), "linear")
    cut = pixels.reshape(count, grid, high, grid, wide, channels).transpose(0, 1, 3, 2, 4, 5)
    cut = cut.reshape(count, grid**2, high, wide, channels)
    moved = jnp.take_along_axis(cut, order[:, :, None, None, None], axis=1)
    whole = moved.reshape(count, grid, grid, high, wide, channels).transpose(0, 1, 3, 2, 4, 5)
    whole = whole.reshape(count, *divided, channels)
    if divided != (height, width):
        whole = jax.image.resize(whole, images.shape, "linear")
    return whole.astype(dtype)


def occlude(images: Array, share: float) -> Array:
    """Cover a square in the middle of images [B, H, W, C] with the mean of each channel."""
    height, width = images.shape[1:3]
    high, wide = round(share * height), round(share * width)
    top, left = (height - high) // 2, (width - wide) // 2
    mean = jnp.mean(images.astype(jnp.float32), axis=(1, 2), keepdims=True).astype(images.dtype)
    row, column = jnp.arange(height)[:, None], jnp.arange(width)[None, :]
    inside = (row >= top) & (row < top + high) & (column >= left) & (column < left + wide)
    return jnp.where(inside[None, :, :, None], mean, images)
