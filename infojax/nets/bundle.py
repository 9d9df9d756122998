"""Any flax classifier as a `Model`: batch statistics explicit, dropout off, the normalisation of inputs inside.

The module itself need not know of adaptation. While it is applied, every `BatchNorm` in it is computed here, by the
statistics that the caller names, and every `Dropout` is the identity; nothing is written to its collections.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

from infojax.types import Array, Model, Statistics, UserError

NORMS = (linen.BatchNorm, linen.GroupNorm, linen.LayerNorm, linen.InstanceNorm, linen.RMSNorm)


def bundle(
    module: linen.Module,
    variables: Any,
    *,
    num_classes: int,
    image_shape: tuple[int, int, int],
    mean: Sequence[float] = (0.0,),
    deviation: Sequence[float] = (1.0,),
    head: str = "fc",
    arguments: Mapping[str, Any] | None = None,
) -> Model:
    """A flax module that maps images [B, H, W, C] to logits [B, num_classes], as a `Model`.

    Args:
        module: any linen module with one array as its output.
        variables: its "params", and "batch_stats" where it has batch normalisation.
        num_classes: of the logits.
        image_shape: H, W, C.
        mean: of the channels, subtracted from images in [0, 1].
        deviation: of the channels, by which they are then divided.
        head: path of the last layer, whose inputs are the features; such as `fc` or `head/out`.
        arguments: keywords of the module's call, such as `{"train": False}`.

    Raises:
        UserError: there is no layer `head`, or the logits have another shape.
    """
    channels = image_shape[-1]
    for name, values in (("mean", mean), ("deviation", deviation)):
        if len(values) not in (1, channels):
            raise UserError(f"{name} has {len(values)} entries; images of {channels} channels need 1 or {channels}")
    shift, scale = jnp.asarray(mean, jnp.float32), jnp.asarray(deviation, jnp.float32)
    keywords = dict(arguments or {})

    def run(
        variables: Any, images: Array, statistics: Statistics, mask: Array | None
    ) -> tuple[Array, dict[str, Any], dict[str, tuple[Array, Array]], list[str]]:
        features: dict[str, Any] = {}
        measured: dict[str, tuple[Array, Array]] = {}
        norms: list[str] = []
        outputs = _scaled(images, shift, scale)
        with linen.intercept_methods(_interceptor(statistics, mask, head, features, measured, norms)):
            logits: Any = module.apply(variables, outputs, **keywords)
        return logits, features, measured, norms

    def apply(
        variables: Any, images: Array, statistics: Statistics = "batch", mask: Array | None = None
    ) -> tuple[Array, Array]:
        logits, features, _, _ = run(variables, images, statistics, mask)
        return logits, features[head]

    def measure(
        variables: Any, images: Array, statistics: Statistics = "batch", mask: Array | None = None
    ) -> dict[str, tuple[Array, Array]]:
        return run(variables, images, statistics, mask)[2]

    @functools.partial(jax.vmap, in_axes=(None, 0))
    def classify(variables: Any, features: Array) -> Array:
        dense = _at(variables["params"], head)
        logits = jnp.matmul(features, dense["kernel"])
        return logits + dense["bias"] if "bias" in dense else logits

    found: dict[str, Any] = {}

    def trace(variables: Any, images: Array) -> Array:
        logits, found["features"], found["measured"], found["norms"] = run(variables, images, "source", None)
        return logits

    images = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
    logits = jax.eval_shape(trace, variables, images)
    if head not in found["features"]:
        raise UserError(f"head={head} is not a layer of {type(module).__name__}; name the last one, such as fc")
    if logits.shape != (2, num_classes):
        raise UserError(
            f"the model gives {logits.shape[-1]} logits for an image, the data have {num_classes} classes; "
            f"take a model that was trained on these classes"
        )
    return Model(
        apply=apply,
        measure=measure,
        classify=classify,
        variables=variables,
        num_classes=num_classes,
        image_shape=image_shape,
        norms=tuple(found["norms"]),
        batch_norms=tuple(found["measured"]),
        head=head,
    )


def probabilities(logits: Array) -> Array:
    """softmax of logits (…, C), what a model predicts."""
    return jax.nn.softmax(logits, axis=-1)


def _scaled(images: Array, shift: Array, scale: Array) -> Array:
    values = images.astype(jnp.float32) / 255 if images.dtype == jnp.uint8 else images.astype(jnp.float32)
    shape = (1,) * (values.ndim - 1) + (-1,)
    return (values - shift.reshape(shape)) / scale.reshape(shape)


def _interceptor(
    statistics: Statistics,
    mask: Array | None,
    head: str,
    features: dict[str, Any],
    measured: dict[str, tuple[Array, Array]],
    norms: list[str],
) -> Callable[..., Any]:
    def intercept(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], context: Any) -> Any:
        module, path = context.module, "/".join(context.module.path)
        if context.method_name != "__call__":
            return call(*args, **kwargs)
        if isinstance(module, linen.Dropout):
            return args[0]
        if path == head:
            features[head] = args[0]
        if isinstance(module, NORMS):
            norms.append(path)
        if isinstance(module, linen.BatchNorm):
            return _normalised(module, path, args[0], statistics, mask, measured)
        if isinstance(module, linen.GroupNorm) and _is_plain(module):
            return _by_group(
                args[0],
                module.get_variable("params", "scale"),
                module.get_variable("params", "bias"),
                module.num_groups,
                module.epsilon,
            )
        return call(*args, **kwargs)

    return intercept


def _normalised(
    module: linen.BatchNorm,
    path: str,
    inputs: Array,
    statistics: Statistics,
    mask: Array | None,
    measured: dict[str, tuple[Array, Array]],
) -> Array:
    """Batch normalisation by the statistics named; the variance is the biased one, taken about the mean."""
    source = module.get_variable("batch_stats", "mean"), module.get_variable("batch_stats", "var")
    channels = inputs.shape[-1:]
    scale = module.get_variable("params", "scale") if module.use_scale else jnp.ones(channels, inputs.dtype)
    bias = module.get_variable("params", "bias") if module.use_bias else jnp.zeros(channels, inputs.dtype)
    if isinstance(statistics, str) and statistics == "batch":
        both: Any = _by_batch(inputs, scale, bias, mask, source, module.epsilon)
        measured[path] = both[1]
        return both[0]
    measured[path] = batch = batch_statistics(inputs, mask, source)
    mean, variance = _chosen(statistics, path, inputs, source, batch)
    # The mean is subtracted first: what lies near it keeps its digits, and with them its side of a ReLU.
    return (inputs - _wide(mean, inputs)) * _wide(jax.lax.rsqrt(variance + module.epsilon) * scale, inputs) + _wide(
        bias, inputs
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def _by_batch(
    inputs: Array, scale: Array, bias: Array, mask: Array | None, source: tuple[Array, Array], epsilon: float
) -> tuple[Array, tuple[Array, Array]]:
    """Normalised by the statistics of the rows in `mask`, and these; what is returned of them has no gradient.

    The gradient is written out: half of the passes over memory that differentiating step by step would take.
    """
    return _by_batch_forward(inputs, scale, bias, mask, source, epsilon)[0]


def _by_batch_forward(
    inputs: Array, scale: Array, bias: Array, mask: Array | None, source: tuple[Array, Array], epsilon: float
) -> tuple[tuple[Array, tuple[Array, Array]], Any]:
    mean, variance = batch_statistics(inputs, mask, source)
    inverse = jax.lax.rsqrt(variance + epsilon)
    outputs = (inputs - _wide(mean, inputs)) * _wide(inverse * scale, inputs) + _wide(bias, inputs)
    return (outputs, (mean, variance)), (inputs, scale, mask, mean, inverse)


def _by_batch_backward(epsilon: float, kept: Any, slopes: tuple[Array, tuple[Array, Array]]) -> tuple[Any, ...]:
    inputs, scale, mask, mean, inverse = kept
    slope = slopes[0]
    axes = tuple(range(inputs.ndim - 1))
    normal = (inputs - _wide(mean, inputs)) * _wide(inverse, inputs)
    total, along = jnp.sum(slope, axis=axes), jnp.sum(slope * normal, axis=axes)
    places = inputs.size // (inputs.shape[0] * inputs.shape[-1])
    rows = jnp.float32(len(inputs)) if mask is None else jnp.maximum(jnp.sum(mask.astype(inputs.dtype)), 1)
    # What the statistics pass on, in equal parts to every place of the rows that they are of.
    shared = (_wide(total, inputs) + normal * _wide(along, inputs)) / (rows * places)
    if mask is not None:
        shared = jnp.where(mask.reshape(-1, *(1,) * (inputs.ndim - 1)), shared, jnp.zeros_like(shared))
    return (slope - shared) * _wide(inverse * scale, inputs), along, total, None, None


_by_batch.defvjp(_by_batch_forward, _by_batch_backward)


def _is_plain(module: linen.GroupNorm) -> bool:
    """Whether a group normalisation is the usual one of [B, …, C]."""
    usual = module.reduction_axes is None and module.dtype is None
    return module.num_groups is not None and module.use_scale and module.use_bias and usual


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _by_group(inputs: Array, scale: Array, bias: Array, groups: int, epsilon: float) -> Array:
    """Each row of [B, …, C] normalised within groups of channels (Wu and He, 2018), with its gradient written out."""
    return _by_group_forward(inputs, scale, bias, groups, epsilon)[0]


def _by_group_forward(inputs: Array, scale: Array, bias: Array, groups: int, epsilon: float) -> tuple[Array, Any]:
    mean = _spread(inputs, groups)
    inverse = jax.lax.rsqrt(_spread((inputs - mean) ** 2, groups) + epsilon)
    normal = (inputs - mean) * inverse
    return normal * _wide(scale, inputs) + _wide(bias, inputs), (inputs, scale, mean, inverse)


def _spread(inputs: Array, groups: int) -> Array:
    """Means over the places and channels of each group, (B, 1, …, C)."""
    rows, channels = inputs.shape[0], inputs.shape[-1]
    by_channel = jnp.mean(inputs.reshape(rows, -1, channels), axis=1)
    means = jnp.mean(by_channel.reshape(rows, groups, -1), axis=2)
    wide = jnp.broadcast_to(means[:, :, None], (rows, groups, channels // groups))
    return wide.reshape(rows, *(1,) * (inputs.ndim - 2), channels)


def _by_group_backward(groups: int, epsilon: float, kept: Any, slope: Array) -> tuple[Array, Array, Array]:
    inputs, scale, mean, inverse = kept
    axes = tuple(range(inputs.ndim - 1))
    normal = (inputs - mean) * inverse
    scaled = slope * _wide(scale, inputs)
    shared = _spread(scaled, groups) + normal * _spread(scaled * normal, groups)
    return (scaled - shared) * inverse, jnp.sum(slope * normal, axis=axes), jnp.sum(slope, axis=axes)


_by_group.defvjp(_by_group_forward, _by_group_backward)


def _wide(values: Array, inputs: Array) -> Array:
    return values.reshape((1,) * (inputs.ndim - values.ndim) + values.shape)


def batch_statistics(inputs: Array, mask: Array | None, source: tuple[Array, Array]) -> tuple[Array, Array]:
    """Mean and biased variance (C,) over the rows [B, …, C] in `mask`; those of the source where there are none."""
    axes = tuple(range(inputs.ndim - 1))
    if mask is None:
        mean = jnp.mean(inputs, axis=axes)
        return mean, jnp.mean((inputs - _wide(mean, inputs)) ** 2, axis=axes)
    weights = mask.astype(inputs.dtype).reshape(-1, *(1,) * (inputs.ndim - 1))
    rows = jnp.sum(mask.astype(inputs.dtype))
    count = jnp.maximum(rows, 1) * (inputs.size // (inputs.shape[0] * inputs.shape[-1]))
    mean = jnp.sum(weights * inputs, axis=axes) / count
    variance = jnp.sum(weights * (inputs - _wide(mean, inputs)) ** 2, axis=axes) / count
    return jnp.where(rows > 0, mean, source[0]), jnp.where(rows > 0, variance, source[1])


def _chosen(
    statistics: Statistics, path: str, inputs: Array, source: tuple[Array, Array], batch: tuple[Array, Array]
) -> tuple[Array, Array]:
    if isinstance(statistics, str):
        if statistics not in ("batch", "source"):
            raise UserError(f"statistics={statistics!r}; take 'batch', 'source', a weight of the batch or a mapping")
        return batch if statistics == "batch" else source
    if isinstance(statistics, Mapping):
        return statistics[path]
    if callable(statistics):
        chosen: Any = statistics(path, inputs, source, batch)
        return chosen
    weight = jnp.asarray(statistics, inputs.dtype)
    return (1 - weight) * source[0] + weight * batch[0], (1 - weight) * source[1] + weight * batch[1]


def _at(tree: Any, path: str) -> Any:
    for name in path.split("/"):
        tree = tree[name]
    return tree
