"""Layers that the image models share, as torch computes them: explicit symmetric padding, variances about the mean.

Arrays are [B, H, W, C]. Modules built here belong to the module in whose `__call__` that happens.
"""

from typing import Any, Literal

from flax import linen

Norm = Literal["batch", "group"]

# What computes every convolution of the models.
Convolution: Any = linen.Conv


def convolution(
    features: int, size: int, *, name: str, stride: int = 1, padding: int | None = None, bias: bool = False
) -> Any:
    """A square convolution; `padding` on each side, None is half its size."""
    sides = size // 2 if padding is None else padding
    return Convolution(
        features,
        (size, size),
        strides=(stride, stride),
        padding=((sides, sides), (sides, sides)),
        use_bias=bias,
        name=name,
    )


def normalisation(norm: Norm, groups: int, *, name: str) -> Any:
    """Batch normalisation (Ioffe and Szegedy, 2015) or group normalisation (Wu and He, 2018); epsilon 1e-5."""
    if norm == "group":
        return linen.GroupNorm(num_groups=groups, epsilon=1e-5, use_fast_variance=False, name=name)
    return linen.BatchNorm(use_running_average=True, momentum=0.9, epsilon=1e-5, use_fast_variance=False, name=name)
