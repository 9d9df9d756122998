"""CoTTA: learn from a slow teacher that looks at augmented views, and keep falling back to the source a little.

Wang et al. (2022), "Continual test-time domain adaptation". Student θ, teacher θ' and source θ⁰, all normalised by the
statistics of the batch:

- pseudo-labels: the teacher's logits of the batch, or, where the mean over the batch of the source's largest
  probability is below `confidence`, the mean of its logits of `num_views` augmented batches;
- loss: mean_i −Σ_c q'_ic log q_ic, in nats; `symmetric` adds the other direction and halves, as the authors do on
  ImageNet;
- one step of the student, then θ' ← m θ' + (1 − m) θ, m = `teacher_momentum`;
- every number of θ is the source's again with the probability `restore`.

Predictions are the pseudo-labels.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from infojax.info import categorical
from infojax.nets.bundle import probabilities
from infojax.nets.optimizers import Optimizer
from infojax.tta import augmentations, parts
from infojax.types import Adapted, Array, Count, Key, Method, Model, NonNegative, Positive, UnitInterval


class CottaState(NamedTuple):
    """The student, and what adapts of teacher and source."""

    learned: parts.Learned
    teacher: parts.Values  # path -> parameter
    source: parts.Values  # path -> parameter


def make(
    model: Model,
    *,
    teacher_momentum: UnitInterval = 0.999,
    restore: UnitInterval = 0.01,
    confidence: UnitInterval = 0.92,
    num_views: Count = 32,
    flip: UnitInterval = 0.5,
    symmetric: bool = False,
    optimizer: Optimizer = "adam",
    learning_rate: Positive = 1e-3,
    momentum: NonNegative = 0.9,
    parameters: str = "all",
    leave_out: tuple[str, ...] = (),
) -> Method:
    """Cross entropy to an averaged teacher, with restoration. Three forward passes or 2 + `num_views`, one backward.

    Args:
        model: that is adapted.
        teacher_momentum: m.
        restore: probability with which a number is restored after a step.
        confidence: of the source, below which the teacher looks at augmented views.
        num_views: of each image.
        flip: probability of a mirror image in a view.
        symmetric: whether the loss is the mean of both directions.
        optimizer: "adam" or "sgd".
        learning_rate: of a step.
        momentum: of sgd, plain.
        parameters: what adapts: norm, all, body, or a regular expression of paths.
        leave_out: regular expressions of paths that do not adapt.
    """
    learner = parts.learner(model, optimizer, learning_rate, momentum, parameters, leave_out)

    def init(variables: Any, source: Array | None) -> CottaState:
        values = parts.pick(variables, learner.paths)
        return CottaState(learner.init(variables), jax.tree.map(jnp.array, values), values)

    def adapt(state: CottaState, batch: parts.Batch, key: Key) -> tuple[CottaState, Adapted]:
        variables = state.learned.variables
        view_key, restore_key = jax.random.split(key)
        count = len(batch.images)

        def logits_of(values: parts.Values, images: Array) -> Array:
            return model.apply(parts.put(variables, values), images, "batch", batch.mask)[0]

        def averaged() -> Array:
            images = augmentations.unit(batch.images)

            def add(total: Array, view: Array) -> tuple[Array, None]:
                seen = augmentations.views(
                    jax.random.fold_in(view_key, view), images, lambda *a: augmentations.jittered(*a, flip=flip)
                )
                return total + logits_of(state.teacher, seen), None

            total = jnp.zeros((count, model.num_classes), jnp.float32)
            return jax.lax.scan(add, total, jnp.arange(num_views))[0] / num_views

        sure = jnp.max(probabilities(logits_of(state.source, batch.images)), axis=1)
        unsure = parts.mean_over(sure, batch.mask) < confidence
        teacher_logits = jax.lax.cond(unsure, averaged, lambda: logits_of(state.teacher, batch.images))

        def loss(logits: Array) -> tuple[Array, tuple[Array, None]]:
            value = categorical.cross_entropy(teacher_logits, logits)
            if symmetric:
                value = (value + categorical.cross_entropy(logits, teacher_logits)) / 2
            return parts.mean_over(value, batch.allowed), (batch.allowed, None)

        found = parts.differentiate(model, variables, learner.paths, batch, loss, compaction="none")
        some = jnp.any(found.selected)
        learned = learner.step(state.learned, found.gradient, some)
        student = parts.pick(learned.variables, learner.paths)
        teacher = averaged_towards(state.teacher, student, teacher_momentum)
        restored = restored_to(restore_key, student, state.source, restore)
        new_state = CottaState(
            learned=learned._replace(variables=parts.put(learned.variables, parts.chosen(some, restored, student))),
            teacher=parts.chosen(some, teacher, state.teacher),
            source=state.source,
        )
        info = parts.info(found, some, augmented=unsure.astype(jnp.int32))
        info["forward_rows"] = info["forward_rows"] + count + jnp.where(unsure, num_views, 1) * count
        return new_state, Adapted(teacher_logits, found.selected, info)

    return parts.method(model, init, adapt)


def averaged_towards(slow: parts.Values, fast: parts.Values, momentum: float) -> parts.Values:
    """momentum · slow + (1 − momentum) · fast, of every parameter."""
    return {path: momentum * value + (1 - momentum) * fast[path] for path, value in slow.items()}


def restored_to(key: Key, values: parts.Values, source: parts.Values, probability: float) -> parts.Values:
    """The values, each number the source's instead with a probability."""
    keys = jax.random.split(key, len(values))
    return {
        path: jnp.where(jax.random.bernoulli(keys[at], probability, value.shape), source[path], value)
        for at, (path, value) in enumerate(values.items())
    }
