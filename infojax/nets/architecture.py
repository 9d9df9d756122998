"""What all image models have in common: random variables, imported weights, the normalisation of their inputs."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from infojax.nets import weights
from infojax.nets.bundle import bundle
from infojax.nets.layers import Norm
from infojax.nets.weights import Layout
from infojax.types import Architecture, Key, Model, UserError

Constants = tuple[Sequence[float], Sequence[float]]  # mean and deviation of the channels of images in [0, 1]
Spread = Callable[[str, tuple[int, ...]], float]  # (path, shape) -> standard deviation of a random array

_IMAGENET: Constants = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGENET: dict[str, Constants] = {"torchvision": _IMAGENET, "timm": _IMAGENET}


class Own(NamedTuple):
    """What a configuration says of a model besides its form; None is silence."""

    weights: str | None
    layout: Layout
    mean: Sequence[float] | None
    deviation: Sequence[float] | None


def he_normal(path: str, shape: tuple[int, ...]) -> float:
    """√(2 / outputs) for convolutions (He et al., 2015, for the backward pass), 1 / √inputs for the head."""
    return math.sqrt(2 / (math.prod(shape[:-2]) * shape[-1])) if len(shape) == 4 else 1 / math.sqrt(shape[0])


def transformer_normal(path: str, shape: tuple[int, ...]) -> float:
    """0.02, as transformers begin; 1e-6 for the class token, 1 / √inputs for the patches."""
    if len(shape) == 4:
        return 1 / math.sqrt(math.prod(shape[:-1]))
    return 1e-6 if path.endswith("cls_token") else 0.02


def check_groups(norm: Norm, groups: int, widths: Sequence[int]) -> None:
    """Refuse groups that do not divide the channels.

    Raises:
        UserError: they do not.
    """
    odd = [width for width in widths if width % groups]
    if norm == "group" and odd:
        raise UserError(f"model.groups={groups} does not divide {odd[0]} channels; give a divisor of {min(widths)}")


def architecture(
    module: Callable[[int], linen.Module],
    *,
    head: str,
    spread: Spread,
    own: Own,
    published: Mapping[str, Constants],
    multiple: int = 1,
) -> Architecture:
    """A family of flax modules as an `Architecture`.

    The inputs are normalised by what the configuration says; where it says nothing, by what the file of weights holds,
    else by what weights of that layout are published with, else by what the data say.

    Args:
        module: num_classes -> the module.
        head: path of its last layer.
        spread: standard deviations of random arrays.
        own: weights and constants of the configuration.
        published: layout -> constants.
        multiple: what must divide the height and width of images.
    """

    def shapes(num_classes: int, image_shape: tuple[int, int, int]) -> Any:
        if any(side % multiple for side in image_shape[:2]):
            raise UserError(
                f"images of {image_shape[0]}×{image_shape[1]} pixels do not suit this model; "
                f"height and width have to be multiples of {multiple}"
            )
        images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
        return jax.eval_shape(module(num_classes).init, jax.eval_shape(lambda: jax.random.key(0)), images)

    def init(key: Key, num_classes: int, image_shape: tuple[int, int, int]) -> Any:
        found = shapes(num_classes, image_shape)
        return jax.jit(lambda key: _drawn(key, found, spread))(key)

    def made(
        variables: Any,
        num_classes: int,
        image_shape: tuple[int, int, int],
        mean: Sequence[float],
        deviation: Sequence[float],
    ) -> Model:
        return bundle(
            module(num_classes),
            variables,
            num_classes=num_classes,
            image_shape=image_shape,
            mean=mean if own.mean is None else own.mean,
            deviation=deviation if own.deviation is None else own.deviation,
            head=head,
        )

    def imported(
        num_classes: int, image_shape: tuple[int, int, int], mean: Sequence[float], deviation: Sequence[float]
    ) -> Model:
        arrays = weights.read(str(own.weights))
        layout = weights.layout_of(arrays) if own.layout == "auto" else own.layout
        variables = weights.load(arrays, shapes(num_classes, image_shape), layout)
        constants = weights.constants(arrays) or published.get(layout) or (mean, deviation)
        return made(variables, num_classes, image_shape, *constants)

    return Architecture(init, made, None if own.weights is None else imported)


def _drawn(key: Key, shapes: Any, spread: Spread) -> Any:
    """Normal arrays of more than one dimension, scales and variances 1, everything else 0.

    One draw for all of them, because a program that draws each array by itself takes seconds to compile.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(shapes)
    named = [(weights.path_of(path), leaf) for path, leaf in leaves]
    sizes = [leaf.size if leaf.ndim > 1 else 0 for _, leaf in named]
    ends = np.cumsum(sizes)
    normal = jax.random.normal(key, (int(ends[-1]),), jnp.float32)
    filled = []
    for (path, leaf), values in zip(named, jnp.split(normal, ends[:-1]), strict=True):
        if leaf.ndim > 1:
            filled.append(spread(path, leaf.shape) * values.reshape(leaf.shape))
        else:
            ones = path.endswith(("/scale", "/var"))
            filled.append(jnp.full(leaf.shape, 1.0 if ones else 0.0, jnp.float32))
    return jax.tree.unflatten(structure, filled)
