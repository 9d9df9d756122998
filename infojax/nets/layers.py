"""Layers that the image models share, as torch computes them: explicit symmetric padding, variances about the mean.

Arrays are [B, H, W, C]. Modules built here belong to the module in whose `__call__` that happens.
"""

from typing import Any, Literal

from flax import linen

from infojax.nets.conv import convolve
from infojax.types import Array

Norm = Literal["batch", "group"]


class Convolution(linen.Module):
    """A square convolution whose gradients are fast inside of loops and branches: see `infojax.nets.conv`."""

    features: int
    size: int
    stride: int
    padding: int
    bias: bool

    @linen.compact
    def __call__(self, inputs: Array) -> Array:
        shape = (self.size, self.size, inputs.shape[-1], self.features)
        kernel: Any = self.param("kernel", linen.initializers.lecun_normal(), shape)
        outputs: Any = convolve(inputs, kernel, self.stride, self.padding)
        if not self.bias:
            return outputs
        shift: Any = self.param("bias", linen.initializers.zeros_init(), (self.features,))
        return outputs + shift.reshape(1, 1, 1, -1)


def convolution(
    features: int, size: int, *, name: str, stride: int = 1, padding: int | None = None, bias: bool = False
) -> Any:
    """A square convolution; `padding` on each side, None is half its size."""
    return Convolution(features, size, stride, size // 2 if padding is None else padding, bias, name=name)


def normalisation(norm: Norm, groups: int, *, name: str) -> Any:
    """Batch normalisation (Ioffe and Szegedy, 2015) or group normalisation (Wu and He, 2018); epsilon 1e-5."""
    if norm == "group":
        return linen.GroupNorm(num_groups=groups, epsilon=1e-5, use_fast_variance=False, name=name)
    return linen.BatchNorm(use_running_average=True, momentum=0.9, epsilon=1e-5, use_fast_variance=False, name=name)
