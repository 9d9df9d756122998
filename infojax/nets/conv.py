"""Convolutions whose gradients are fast on every backend, inside of loops and branches too.

XLA:CPU runs a convolution by its fast kernels where its arrays lie as [B, H, W, C] and its kernel as [h, w, in, out].
Those of a gradient it brings into that form in the outermost computation alone: in the body of a scan or a branch of a
cond the same gradient is several times slower. So both gradients are written here in forms that are fast anywhere: that
of the inputs is a convolution of the usual form, with the kernel turned; that of the kernel is a matrix product for
each of its places.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from infojax.types import Array

DIMENSIONS = ("NHWC", "HWIO", "NHWC")


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve(inputs: Array, kernel: Array, stride: int, padding: int) -> Array:
    """Cross-correlation of [B, H, W, in] with [h, w, in, out], zeros around: [B, H', W', out], as in torch.

    Args:
        inputs: [B, H, W, in].
        kernel: [h, w, in, out].
        stride: in both directions.
        padding: zeros on each side.
    """
    return _forward(inputs, kernel, stride, padding)


def _forward(inputs: Array, kernel: Array, stride: int, padding: int) -> Array:
    if kernel.shape[:2] == (1, 1) and not padding:
        return jnp.matmul(inputs[:, ::stride, ::stride], kernel[0, 0])
    if kernel.shape[2] == 1:  # a product of one number with a row for every place: less than gathering the places
        return _by_places(inputs, kernel, stride, padding)
    around = ((padding, padding), (padding, padding))
    return jax.lax.conv_general_dilated(inputs, kernel, (stride, stride), around, dimension_numbers=DIMENSIONS)


def _by_places(inputs: Array, kernel: Array, stride: int, padding: int) -> Array:
    wide, high, long = _padded(inputs, kernel.shape, stride, padding)
    places = [(i, j) for i in range(kernel.shape[0]) for j in range(kernel.shape[1])]
    total: Any = sum(
        wide[:, i : i + high : stride, j : j + long : stride] * kernel[i, j].reshape(1, 1, 1, -1) for i, j in places
    )
    return total


def _padded(inputs: Array, shape: tuple[int, ...], stride: int, padding: int) -> tuple[Array, int, int]:
    """The inputs with zeros around, and how far apart the first and the last place of a kernel are."""
    wide = jnp.pad(inputs, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    high, long = (
        (length - side) // stride * stride + 1 for length, side in zip(wide.shape[1:3], shape[:2], strict=True)
    )
    return wide, high, long


def _keep(inputs: Array, kernel: Array, stride: int, padding: int) -> tuple[Array, tuple[Array, Array]]:
    return _forward(inputs, kernel, stride, padding), (inputs, kernel)


def _gradients(stride: int, padding: int, kept: tuple[Array, Array], slope: Array) -> tuple[Array, Array]:
    inputs, kernel = kept
    return input_gradient(slope, kernel, inputs.shape, stride, padding), kernel_gradient(
        inputs, slope, kernel.shape, stride, padding
    )


convolve.defvjp(_keep, _gradients)


def input_gradient(slope: Array, kernel: Array, shape: tuple[int, ...], stride: int, padding: int) -> Array:
    """Gradient with respect to the inputs, of a `shape`."""
    size = kernel.shape[:2]
    turned = jnp.transpose(kernel[::-1, ::-1], (0, 1, 3, 2))
    around = []
    for length, side, out in zip(shape[1:3], size, slope.shape[1:3], strict=True):
        before = side - 1 - padding
        around.append((before, length + side - 1 - before - (stride * (out - 1) + 1)))
    return jax.lax.conv_general_dilated(
        slope, turned, (1, 1), around, lhs_dilation=(stride, stride), dimension_numbers=DIMENSIONS
    )


def kernel_gradient(inputs: Array, slope: Array, shape: tuple[int, ...], stride: int, padding: int) -> Array:
    """Gradient with respect to the kernel, of a `shape`."""
    wide, high, long = _padded(inputs, shape, stride, padding)
    right = slope.reshape(-1, shape[3])
    places = [
        jnp.matmul(wide[:, i : i + high : stride, j : j + long : stride].reshape(-1, shape[2]).T, right)
        for i in range(shape[0])
        for j in range(shape[1])
    ]
    return jnp.stack(places).reshape(shape)
