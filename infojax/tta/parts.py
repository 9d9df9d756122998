"""What methods share: which parameters adapt, gradients that cost what the selected rows cost, and a guard at the door.

Every gradient of a method goes through `differentiate`. Its loss is a function of the logits, which may itself select
rows; rows that are not selected have a cotangent of zero. Where no row depends on another (models without batch
normalisation, or normalised by given statistics) only the selected rows are run again with a gradient, in one of three
sizes of batch; where they do, all are, unless nothing was selected.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from infojax.nets.optimizers import Optimizer, optimizer
from infojax.types import Adapted, Array, Key, Method, Metrics, Model, Statistics, UserError

Compaction = Literal["exact", "none", "frozen_statistics"]
"""Whether only selected rows run backwards: where that is exact, never, or with BatchNorm's statistics held constant,
which leaves out the part of the gradient that goes through them."""
Values = dict[str, Array]  # path -> parameter

SHARES = (0.25, 0.5, 1.0)  # of a batch, the sizes in which selected rows are run; each is compiled


class Batch(NamedTuple):
    """What a method sees at a time, ready to be learned from."""

    images: Array  # [B, H, W, C], finite
    mask: Array  # [B] bool, rows that are there
    allowed: Array  # [B] bool, rows that may be learned from; within `mask`
    destroyed: Array | None  # [B, H, W, C]
    selection: Array | None  # [2, B] bool, in place of the method's own filters


class Learned(NamedTuple):
    """Variables of a model and the optimiser of those among them that adapt."""

    variables: Any
    optimizer: Any


class Learner(NamedTuple):
    """Which parameters adapt and by which optimiser."""

    paths: tuple[str, ...]
    optimizer: optax.GradientTransformation

    def init(self, variables: Any) -> Learned:
        """Nothing learned yet."""
        return Learned(variables, self.optimizer.init(pick(variables, self.paths)))

    def step(self, learned: Learned, gradient: Values, when: Array) -> Learned:
        """One step of the optimiser; where `when` is False neither parameters nor the optimiser's state move."""
        values = pick(learned.variables, self.paths)
        updates, state = self.optimizer.update(gradient, learned.optimizer, values)
        values = chosen(when, {path: value + updates[path] for path, value in values.items()}, values)  # type: ignore[index]
        return Learned(put(learned.variables, values), chosen(when, state, learned.optimizer))


def learner(
    model: Model,
    name: Optimizer,
    learning_rate: float,
    momentum: float,
    parameters: str | Callable[[str], bool] = "norm",
    leave_out: tuple[str, ...] = (),
) -> Learner:
    """A learner of the parameters that `parameters` names but for those left out; see `adapted_paths`."""
    return Learner(adapted_paths(model, parameters, leave_out), optimizer(name, learning_rate, momentum))


def adapted_paths(
    model: Model, parameters: str | Callable[[str], bool] = "norm", leave_out: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """Paths such as `layer1_0/bn1/scale` of the parameters that adapt.

    Args:
        model: whose parameters.
        parameters: "norm" (scales and shifts of normalisation layers), "all", "body" (all but the last layer), a
            regular expression that is searched for in the path, or a function of the path.
        leave_out: regular expressions; what matches one of them stays as it is.

    Raises:
        UserError: nothing is left to adapt, or an expression cannot be read.
    """
    paths = flat(model.variables["params"])
    kinds: dict[str, Callable[[str], bool]] = {
        "norm": lambda path: path.rpartition("/")[0] in model.norms,
        "all": lambda path: True,
        "body": lambda path: not path.startswith(f"{model.head}/"),
    }
    try:
        if callable(parameters):
            wanted: Callable[[str], bool] = parameters
        else:
            wanted = kinds.get(parameters) or (lambda path, found=re.compile(parameters): bool(found.search(path)))
        left_out = [re.compile(expression) for expression in leave_out]
    except re.error as error:
        raise UserError(
            f"{error.pattern!r} is not a regular expression ({error}); give norm, all, body or one such as layer[12]"
        ) from error
    chosen_paths = tuple(p for p in paths if wanted(p) and not any(expression.search(p) for expression in left_out))
    if not chosen_paths:
        raise UserError(
            f"parameters={parameters} without {', '.join(leave_out) or 'exceptions'} leaves nothing to adapt of this "
            f"model; its parameters are {', '.join(list(paths)[:4])} …"
        )
    return chosen_paths


def flat(tree: Any) -> Values:
    """A nested dictionary as path -> leaf."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {"/".join(str(entry.key) for entry in path): leaf for path, leaf in leaves}


def pick(variables: Any, paths: tuple[str, ...]) -> Values:
    """The parameters at `paths`."""
    found = flat(variables["params"])
    return {path: found[path] for path in paths}


def put(variables: Any, values: Values) -> Any:
    """The variables with other values at some paths."""

    def entry(path: Any, leaf: Array) -> Array:
        return values.get("/".join(str(part.key) for part in path), leaf)

    return {**variables, "params": jax.tree_util.tree_map_with_path(entry, variables["params"])}


def chosen(when: Array, new: Any, old: Any) -> Any:
    """`new` where `when`, else `old`, of whole trees."""
    return jax.tree.map(lambda one, other: jnp.where(when, one, other), new, old)


def mean_over(values: Array, where: Array) -> Array:
    """The mean of [B, …] over the rows in `where`; 0 where there are none."""
    weights = where.astype(values.dtype)
    total = jnp.tensordot(weights, values, axes=1, precision="highest")
    return total / jnp.maximum(jnp.sum(weights), 1)


def certainty(entropy: Array, reference: float) -> Array:
    """Weights exp(reference − H) of rows by their entropy H in nats, above 1 where it is below; no gradient."""
    return jnp.exp(reference - jax.lax.stop_gradient(entropy))


def certain(labels: Array, logits: Array) -> Array:
    """Logits [B, C] of the distributions that are certain of the labels [B]."""
    hit = labels[:, None] == jnp.arange(logits.shape[1])[None, :]
    return jnp.where(hit, jnp.zeros_like(logits), -jnp.inf)


class Gradient(NamedTuple):
    """What one pass found."""

    logits: Array  # [B, C], before the step
    loss: Array
    selected: Array  # [B] bool
    found: Any  # what the loss had to say besides
    gradient: Values
    rows: Metrics  # forward_rows and backward_rows that were computed


def differentiate(
    model: Model,
    learned: Any,
    paths: tuple[str, ...],
    batch: Batch,
    loss: Callable[[Array], tuple[Array, tuple[Array, Any]]],
    *,
    statistics: Statistics = "batch",
    compaction: Compaction = "exact",
) -> Gradient:
    """The gradient of a loss of the logits with respect to the parameters at `paths`.

    Args:
        model: that is adapted.
        learned: its variables.
        paths: of the parameters.
        batch: of images.
        loss: logits [B, C] -> (value, (selected [B], anything else)); rows outside of `selected` must have no part in
            its derivative. It is called once, and gradients flow through logits alone.
        statistics: of the pass; see `infojax.types.Statistics`.
        compaction: see `Compaction`.

    Returns:
        A gradient of zeros, for which nothing is run backwards, where no row is selected.
    """
    values = pick(learned, paths)
    mode = compaction if not independent(model, statistics) else "independent" if compaction == "exact" else "none"

    def forward(values: Values, images: Array, mask: Array, statistics: Statistics) -> Array:
        return model.apply(put(learned, values), images, statistics, mask)[0]

    if mode in ("exact", "none"):
        logits, pullback = jax.vjp(lambda values: forward(values, batch.images, batch.mask, statistics), values)
    else:
        logits, pullback = forward(values, batch.images, batch.mask, statistics), None
    (value, (selected, found)), slope = jax.value_and_grad(loss, has_aux=True)(logits)
    count = len(batch.images)
    if pullback is not None:
        nothing = jax.tree.map(jnp.zeros_like, values)
        some = jnp.any(selected)
        gradient = jax.lax.cond(some, lambda slope: pullback(slope)[0], lambda slope: nothing, slope)
        forward_rows, backward_rows = jnp.int32(count), jnp.where(some, count, 0).astype(jnp.int32)
    else:
        held = statistics if mode == "independent" else _held(model, learned, batch, statistics)

        def part(images: Array, live: Array, slope: Array) -> Values:
            _, pull = jax.vjp(lambda values: forward(values, images, live, held), values)
            return pull(slope)[0]

        gradient, backward_rows = on_selected(part, selected, batch.images, selected, slope)
        forward_rows = count + backward_rows
    rows = {"forward_rows": forward_rows, "backward_rows": backward_rows}
    return Gradient(logits, value, selected, found, gradient, rows)


def _held(model: Model, learned: Any, batch: Batch, statistics: Statistics) -> Mapping[str, tuple[Array, Array]]:
    """The statistics that each layer uses in this batch, as constants."""
    if statistics != "batch":
        raise UserError(
            "compaction=frozen_statistics holds the statistics of the batch; this method normalises by others, "
            "for which compaction=exact or none is meant"
        )
    return jax.lax.stop_gradient(model.measure(learned, batch.images, statistics, batch.mask))


def independent(model: Model, statistics: Statistics) -> bool:
    """Whether what a model says of one row depends on that row alone."""
    return not model.batch_norms or isinstance(statistics, Mapping) or statistics == "source"


def on_selected(part: Callable[..., Any], selected: Array, *arrays: Array) -> tuple[Any, Array]:
    """`part` of the selected rows of some arrays, filled up to a quarter of the batch, half of it, or the whole.

    Args:
        part: arrays [b, …] -> a tree; `b` is one of at most three sizes. Rows that fill up are others of the batch,
            whose entry in every array of numbers is multiplied by 0, and in every array of truths False, but for the
            first array, the images.
        selected: [B] bool.
        *arrays: [B, …].

    Returns:
        What `part` gives, zeros where nothing is selected; and the number of rows that were run, filling included.
    """
    count = len(selected)
    sizes = sorted({math.ceil(count * share) for share in SHARES})
    order = jnp.argsort(jnp.logical_not(selected), stable=True)
    shapes = jax.eval_shape(part, *(jax.ShapeDtypeStruct((sizes[-1], *a.shape[1:]), a.dtype) for a in arrays))

    def of(size: int) -> Callable[[], Any]:
        def run() -> Any:
            rows = order[:size]
            live = selected[rows]

            def kept(array: Array) -> Array:
                taken = array[rows]
                if taken.dtype == jnp.bool_:
                    return taken & live.reshape(-1, *(1,) * (taken.ndim - 1))
                return jnp.where(live.reshape(-1, *(1,) * (taken.ndim - 1)), taken, jnp.zeros_like(taken))

            images, *others = arrays
            return part(images[rows], *map(kept, others))

        return run

    def nothing() -> Any:
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    needed = jnp.sum(selected.astype(jnp.int32))
    limits = jnp.array([0, *sizes], jnp.int32)
    which = jnp.searchsorted(limits, needed)
    return jax.lax.switch(which, [nothing, *map(of, sizes)]), limits[which]


def spread(part: Callable[..., Array], selected: Array, *arrays: Array) -> tuple[Array, Array]:
    """Like `on_selected` for a function of rows: what it gives for the selected rows, in their places, else zeros."""
    count = len(selected)
    order = jnp.argsort(jnp.logical_not(selected), stable=True)

    def filled(*given: Array) -> Array:
        values = part(*given)
        return jnp.zeros((count, *values.shape[1:]), values.dtype).at[order[: len(values)]].set(values)

    values, rows = on_selected(filled, selected, *arrays)
    return jnp.where(selected.reshape(-1, *(1,) * (values.ndim - 1)), values, jnp.zeros_like(values)), rows


# --- the door ----------------------------------------------------------------------------------------------------


def method(
    model: Model,
    init: Callable[[Any, Array | None], Any],
    adapt: Callable[[Any, Batch, Key], tuple[Any, Adapted]],
    *,
    scores: Literal["before", "after"] = "before",
) -> Method:
    """A `Method` that checks what comes in: shapes when it is compiled, numbers when it runs.

    A batch with an image that is not finite is predicted (that image as zeros, normalised without it) and not learned
    from: the state stays what it was, and `info["invalid"]` counts such images. So is one without any row.
    """

    def checked_init(variables: Any, source: Array | None = None) -> Any:
        if source is not None:
            check_images(model, source, 5, "source must be clean images [batches, B, H, W, C]")
        return init(variables, source)

    def checked_adapt(
        state: Any,
        images: Array,
        key: Key,
        mask: Array | None = None,
        destroyed: Array | None = None,
        allowed: Array | None = None,
        selection: Array | None = None,
    ) -> tuple[Any, Adapted]:
        check_images(model, images, 4, "images must be a batch [B, H, W, C]")
        if destroyed is not None and destroyed.shape != images.shape:
            raise UserError(f"destroyed has the shape {destroyed.shape}; it must be that of the images, {images.shape}")
        rows = jnp.ones(len(images), bool) if mask is None else mask.astype(bool)
        finite = jnp.ones_like(rows)
        if jnp.issubdtype(images.dtype, jnp.floating):
            finite = jnp.all(jnp.isfinite(images), axis=(1, 2, 3))
            images = jnp.where(finite[:, None, None, None], images, jnp.zeros_like(images))
        usable = jnp.all(finite | ~rows) & jnp.any(rows)
        may = rows if allowed is None else rows & allowed
        batch = Batch(images, rows & finite, may & usable, destroyed, selection)
        new, adapted = adapt(state, batch, key)
        info = {
            **adapted.info,
            "invalid": jnp.sum((rows & ~finite).astype(jnp.int32)),
            "updated": jnp.where(usable, adapted.info["updated"], 0),
        }
        return chosen(usable, new, state), adapted._replace(info=info, selected=adapted.selected & usable)

    return Method(checked_init, checked_adapt, scores)


def check_images(model: Model, images: Any, ndim: int, wanted: str) -> None:
    """Shape, order of the axes and dtype of images; raises a UserError."""
    shape = tuple(images.shape)
    height, width, channels = model.image_shape
    if len(shape) != ndim:
        raise UserError(f"{wanted}, got the shape {shape}")
    if shape[-3:] != model.image_shape:
        if shape[-3:] == (channels, height, width):
            raise UserError(
                f"images have the shape {shape}, channels before height and width; move the channels to the end, "
                f"(…, {height}, {width}, {channels}), by numpy.moveaxis(images, -3, -1)"
            )
        raise UserError(
            f"images have the shape {shape}; this model takes (…, {height}, {width}, {channels}): height, width, "
            f"channels"
        )
    if not shape[-4]:
        raise UserError("a batch of no images cannot be adapted to; leave it out")
    if images.dtype != jnp.uint8 and not jnp.issubdtype(images.dtype, jnp.floating):
        raise UserError(f"images are {images.dtype}; give floats in [0, 1] or uint8 from 0 to 255")


def info(gradient: Gradient, updated: Array, **further: Array) -> Metrics:
    """What every method that learns reports of a batch."""
    return {
        **gradient.rows,
        "loss": gradient.loss,
        "updated": updated.astype(jnp.int32),
        **further,
    }


def predicted(logits: Array, forward_rows: int) -> Adapted:
    """What a method reports that learns nothing."""
    none = jnp.zeros((len(logits),), bool)
    zero = jnp.zeros((), jnp.int32)
    return Adapted(logits, none, {"forward_rows": jnp.int32(forward_rows), "backward_rows": zero, "updated": zero})


def source_statistics(model: Model, variables: Any) -> dict[str, tuple[Array, Array]]:
    """The running statistics of the source: path of each batch normalisation -> mean, variance."""
    found = flat(variables.get("batch_stats", {}))
    return {path: (found[f"{path}/mean"], found[f"{path}/var"]) for path in model.batch_norms}
