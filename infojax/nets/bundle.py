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
    batch = batch_statistics(inputs, mask, source)
    measured[path] = batch
    mean, variance = _chosen(statistics, path, inputs, source, batch)
    factor = jax.lax.rsqrt(variance + module.epsilon)
    if module.use_scale:
        factor = factor * module.get_variable("params", "scale")
    # The mean is subtracted first: what lies near it keeps its digits, and with them its side of a ReLU.
    outputs = (inputs - _wide(mean, inputs)) * _wide(factor, inputs)
    return outputs + _wide(module.get_variable("params", "bias"), inputs) if module.use_bias else outputs


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
