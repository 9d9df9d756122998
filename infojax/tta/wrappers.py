"""Methods around methods: when to begin anew, and what to do with single images.

Beginning anew is going on with the state that `init` gave, optimiser, averages and all. Each wrapper takes a `Method`
and returns one, so they nest: `window(model, reset_every(method, 1000), 64)` resets after 1000 windows.
"""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp

from infojax.info import categorical
from infojax.nets.bundle import probabilities
from infojax.tta import augmentations, parts
from infojax.types import Adapted, Array, Count, Key, Method, Model, Rate, UnitInterval, UserError


class Renewed(NamedTuple):
    """A method's state, the one it began with, and the number of updates between them."""

    inner: Any
    initial: Any
    updates: Array


class Window(NamedTuple):
    """A method's state and the last images, in a ring."""

    inner: Any
    images: Array  # [W, H, W, C] in [0, 1]
    filled: Array  # [W] bool
    allowed: Array  # [W] bool
    place: Array  # of the next image


class Guard(NamedTuple):
    """A method's state, the one it began with, and running sums over rows of what each of them predicts."""

    inner: Any
    initial: Any
    weight: Array  # of the sums
    rows: Array  # met since the beginning or the last restoration
    predictions: Array  # [2, C], sums of p: of the method now, and of its initial state
    entropies: Array  # [2], sums of H(p)


def episodic(method: Method) -> Method:
    """The method with its initial state restored before every batch.

    The state is the initial one and stays it. Methods scored before their step then predict what they would without
    ever learning.
    """

    def adapt(
        state: Any,
        images: Array,
        key: Key,
        mask: Array | None = None,
        destroyed: Array | None = None,
        allowed: Array | None = None,
        selection: Array | None = None,
    ) -> tuple[Any, Adapted]:
        _, adapted = method.adapt(state, images, key, mask, destroyed, allowed, selection)
        return state, adapted

    return Method(method.init, adapt, method.scores)


def reset_every(method: Method, updates: Count) -> Method:
    """The method with its initial state restored after every so many updates (Press et al., 2023).

    Batches that moved nothing, as `info["updated"]` tells, do not count; `info["reset"]` is 1 where it was restored.

    Raises:
        UserError: `updates` is below 1.
    """
    if updates < 1:
        raise UserError(f"reset_every needs 1 update or more between two resets, got {updates}")

    def init(variables: Any, source: Array | None = None) -> Renewed:
        state = method.init(variables, source)
        return Renewed(state, state, jnp.zeros((), jnp.int32))

    def adapt(
        state: Renewed,
        images: Array,
        key: Key,
        mask: Array | None = None,
        destroyed: Array | None = None,
        allowed: Array | None = None,
        selection: Array | None = None,
    ) -> tuple[Renewed, Adapted]:
        inner, adapted = method.adapt(state.inner, images, key, mask, destroyed, allowed, selection)
        done = state.updates + (adapted.info["updated"] > 0).astype(jnp.int32)
        full = done >= updates
        new = Renewed(parts.chosen(full, state.initial, inner), state.initial, jnp.where(full, 0, done))
        return new, adapted._replace(info={**adapted.info, "reset": full.astype(jnp.int32)})

    return Method(init, adapt, method.scores)


def window(model: Model, method: Method, size: Count) -> Method:
    """The method on single images: each is predicted at once, in a batch with the `size` − 1 before it.

    The window is a ring. After every `size` images, when all in it are new, the method learns from it; in between
    nothing is learned and its state stays (the protocol of the online benchmark of Döbler et al., 2023). At first the
    window holds fewer images. An image that is not finite is predicted but not kept. What `info` says of rows is of the
    image's own; `info["window_selected"]` is the number of rows of the window that were learned from.

    Args:
        model: that the method adapts.
        method: of batches of `size`.
        size: images of the window.

    Raises:
        UserError: `size` is below 1, more than one image at a time, or recorded selections or destroyed images.
    """
    if size < 1:
        raise UserError(f"a window holds 1 image or more, got size={size}")

    def init(variables: Any, source: Array | None = None) -> Window:
        none = jnp.zeros((size,), bool)
        images = jnp.zeros((size, *model.image_shape), jnp.float32)
        return Window(method.init(variables, source), images, none, none, jnp.zeros((), jnp.int32))

    def adapt(
        state: Window,
        images: Array,
        key: Key,
        mask: Array | None = None,
        destroyed: Array | None = None,
        allowed: Array | None = None,
        selection: Array | None = None,
    ) -> tuple[Window, Adapted]:
        parts.check_images(model, images, 4, "a window takes one image at a time [1, H, W, C]")
        if len(images) != 1:
            raise UserError(f"a window takes one image at a time, got {len(images)}; stream with a batch size of 1")
        if destroyed is not None or selection is not None:
            raise UserError("a window cannot replay recorded selections or destroyed images; leave the window out")
        real = jnp.ones((), bool) if mask is None else mask[0].astype(bool)
        may = jnp.ones((), bool) if allowed is None else allowed[0].astype(bool)
        image = augmentations.unit(images[0])
        finite = jnp.all(jnp.isfinite(image))
        image = jnp.where(finite, image, jnp.zeros_like(image))
        place = state.place
        filled = Window(
            inner=state.inner,
            images=state.images.at[place].set(image),
            filled=state.filled.at[place].set(finite),
            allowed=state.allowed.at[place].set(finite & may),
            place=(place + 1) % size,
        )
        learns = (place == size - 1) & real
        inner, adapted = method.adapt(
            state.inner, filled.images, key, filled.filled, None, filled.allowed & learns, None
        )
        # Some methods move even where nothing may be learned from: averages of statistics, momentum.
        filled = filled._replace(inner=parts.chosen(learns, inner, state.inner))
        info = {name: value[place][None] if _of_rows(value, size) else value for name, value in adapted.info.items()}
        info["updated"] = jnp.where(learns, info["updated"], 0)
        info["invalid"] = (real & ~finite).astype(jnp.int32)
        info["window_selected"] = jnp.sum((adapted.selected & learns).astype(jnp.int32))
        selected = adapted.selected[place][None] & learns
        return parts.chosen(real, filled, state), Adapted(adapted.logits[place][None], selected, info)

    return Method(init, adapt, method.scores)


def _of_rows(value: Array, rows: int) -> bool:
    return jnp.ndim(value) > 0 and jnp.shape(value)[0] == rows


def collapse_guard(
    model: Model, method: Method, *, share: Rate = 0.5, evidence: UnitInterval = 0.25, rows: Count = 500
) -> Method:
    """The method, restored where its predictions no longer tell its inputs apart.

    It watches the mutual information of input and prediction in nats, I = H(p̄) − mean H(p), with p̄ and the mean
    taken over about the last `rows` rows (each row's weight falls by 1 / `rows` with every further one), and that of
    the method's initial state, I₀, on the same rows. The state is restored where, with `rows` rows met,

        I₀ ≥ evidence · ln C    and    I < share · I₀,

    and where logits are not finite. Why so:

    - A collapsed model gives the same answer to every input: I falls to 0, while entropies alone, or confidence, look
      better than ever. By Fano's inequality no classifier of C balanced classes errs less than 1 − (I + ln 2) / ln C.
    - Adapting well raises I: it lowers H(p) and keeps p̄. The ratio to I₀ is then 1 or more, and near 1 at the start,
      whatever the number of classes, the shift and the model; no constant in nats does that. One half is far from 1
      compared with the few per cent by which 500 rows scatter, and is passed long before a collapse ends at 0.
    - Restoring helps only if the initial state knows more. It is asked on the same rows, by the same statistics.
    - Rows of one class have nothing to tell apart: there both are near 0 and the ratio means nothing, which a stream
      sorted by labels, or a batch of one image, would show as a collapse. Hence the average over many rows, and the
      first condition: I₀ reaches a quarter of ln C only where the rows are of more than C^(1/4) classes (or the
      initial state mistakes one class for many). For streams sorted by labels take `rows` no fewer than the longest
      run of one class twice.

    While a model collapses, what it said before and says now differ, which the average takes for information too: the
    fall is seen when about `rows` rows have passed.

    Costs one more forward pass, counted in `info["forward_rows"]`. `info` has `collapsed` (1 where it was restored),
    `information` (I) and `information_initial` (I₀).

    Args:
        model: that the method adapts.
        method: to be watched; the predictions it gives are, before or after its step.
        share: of I₀, below which it is restored.
        evidence: of ln C, that I₀ must reach.
        rows: that the average spans, and that must have been met since the last restoration.
    """
    least = evidence * math.log(model.num_classes)

    def fresh(inner: Any, initial: Any) -> Guard:
        none = jnp.zeros((), jnp.float32)
        sums = jnp.zeros((2, model.num_classes), jnp.float32)
        return Guard(inner, initial, none, none, sums, jnp.zeros((2,), jnp.float32))

    def init(variables: Any, source: Array | None = None) -> Guard:
        state = method.init(variables, source)
        return fresh(state, state)

    def adapt(
        state: Guard,
        images: Array,
        key: Key,
        mask: Array | None = None,
        destroyed: Array | None = None,
        allowed: Array | None = None,
        selection: Array | None = None,
    ) -> tuple[Guard, Adapted]:
        inner, adapted = method.adapt(state.inner, images, key, mask, destroyed, allowed, selection)
        _, initial = method.adapt(state.initial, images, key, mask, destroyed, jnp.zeros((len(images),), bool))
        there = jnp.ones((len(images),), bool) if mask is None else mask.astype(bool)
        there = there & (adapted.info["invalid"] == 0)
        broken = jnp.any(there & ~jnp.all(jnp.isfinite(adapted.logits), axis=1))
        logits = jnp.stack([adapted.logits, initial.logits])
        logits = jnp.where(broken, jnp.zeros_like(logits), logits)
        count = jnp.sum(there.astype(jnp.float32))
        # The rows of a batch have weights r^(n−1), …, r, 1, those before it r^n times what they had; r = 1 − 1 / rows.
        age = jnp.cumsum(there[::-1].astype(jnp.float32))[::-1] - 1
        keep = 1 - 1 / rows
        weights = jnp.where(there, keep**age, 0)
        faded = keep**count
        weight = faded * state.weight + jnp.sum(weights)
        predictions = faded * state.predictions + jnp.einsum(
            "b,mbc->mc", weights, probabilities(logits), precision="highest"
        )
        entropies = faded * state.entropies + jnp.matmul(categorical.entropy(logits), weights, precision="highest")
        met = state.rows + count
        total = jnp.maximum(weight, 1e-6)
        marginal = jnp.log(jnp.maximum(predictions / total, jnp.finfo(jnp.float32).tiny))
        information = categorical.entropy(marginal) - entropies / total
        now, before = information[0], information[1]
        collapsed = broken | ((met >= rows) & (before >= least) & (now < share * before))
        new = Guard(inner, state.initial, weight, met, predictions, entropies)
        info = {
            **adapted.info,
            "forward_rows": adapted.info["forward_rows"] + initial.info["forward_rows"],
            "collapsed": collapsed.astype(jnp.int32),
            "information": now,
            "information_initial": before,
        }
        restored = fresh(state.initial, state.initial)
        return parts.chosen(collapsed, restored, new), adapted._replace(info=info)

    return Method(init, adapt, method.scores)
