"""TeSLA: a student that is diverse, and close to a slower teacher, by the flipped cross-entropy.

Tomar et al. (2023), "TeSLA: test-time self-learning with automatic adversarial augmentation". With the
student's predictions p_i of a batch [B], their mean p̄, and soft labels t_i, the mean prediction of the teacher over an
image and weakly augmented views of it:

    L = −H(p̄) + mean_i H(p_i, t_i),    H(p, t) = −Σ_k p_k log t_k

in nats, no gradient through t. With the teacher equal to the student and no views, L is minus the mutual information of
input and prediction: the flipped cross-entropy is entropy plus the divergence of the student from the teacher. The
teacher is an exponential average of the student's parameters, taken after the step. Both normalise by the statistics of
the batch. The student is scored after its step, as the authors do, who print the teacher as well: `scored`.

Left out: the adversarial augmentation policy and the distillation on its images (`--no_kl_hard` of the authors' code),
and the refinement of labels by neighbours, which their scripts for streams reduce to the nearest one.
"""

import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from infojax.info import categorical
from infojax.nets.bundle import probabilities
from infojax.nets.optimizers import Optimizer
from infojax.tta import augmentations, parts
from infojax.types import Adapted, Array, Key, Method, Model, NonNegative, NonNegativeInt, Positive, Rate, UnitInterval


class TeslaState(NamedTuple):
    """The student, and the parameters of the teacher that differ from it."""

    student: parts.Learned
    teacher: parts.Values


def make(
    model: Model,
    *,
    teacher_rate: Rate = 0.01,
    views: NonNegativeInt = 4,
    smallest_crop: Rate = 0.8,
    flip: UnitInterval = 0.5,
    scored: Literal["student", "teacher"] = "student",
    optimizer: Optimizer = "adam",
    learning_rate: Positive = 1e-3,
    momentum: NonNegative = 0.9,
    parameters: str = "body",
    leave_out: tuple[str, ...] = (),
) -> Method:
    """Flipped cross-entropy with a teacher. `views` + 3 forward passes and a backward one.

    Args:
        model: that is adapted.
        teacher_rate: share of the student in the teacher after every step; 1 makes them equal.
        views: weakly augmented ones that the teacher sees beside the image itself.
        smallest_crop: of the area of an image, that a view keeps.
        flip: probability that a view is the mirror image; 0 where that changes the class, as of digits.
        scored: whose predictions are given, "student" or "teacher", both after the step.
        optimizer: "adam" or "sgd".
        learning_rate: of a step.
        momentum: of sgd, plain.
        parameters: what adapts: norm, all, body, or a regular expression of paths.
        leave_out: regular expressions of paths that do not adapt.
    """
    learner = parts.learner(model, optimizer, learning_rate, momentum, parameters, leave_out)

    def init(variables: Any, source: Array | None) -> TeslaState:
        return TeslaState(learner.init(variables), parts.pick(variables, learner.paths))

    def adapt(state: TeslaState, batch: parts.Batch, key: Key) -> tuple[TeslaState, Adapted]:
        variables = state.student.variables
        teacher = parts.put(variables, state.teacher)
        images = augmentations.unit(batch.images)

        def view(key: Key, image: Array) -> Array:
            return weak_view(key, image, smallest_crop, flip)

        def label(images: Array) -> Array:
            return probabilities(model.apply(teacher, images, "batch", batch.mask)[0])

        def another(total: Array, key: Key) -> tuple[Array, None]:
            return total + label(augmentations.views(key, images, view)), None

        total = label(images)
        if views:
            total, _ = jax.lax.scan(another, total, jax.random.split(key, views))
        # Up to a constant the logits of the mean; a class that the teacher rules out stays finite, as do the gradients.
        target = jnp.log(jnp.maximum(total / (views + 1), jnp.finfo(jnp.float32).tiny))

        def loss(logits: Array) -> tuple[Array, tuple[Array, None]]:
            flipped = parts.mean_over(categorical.cross_entropy(logits, target), batch.allowed)
            diversity = categorical.marginal_entropy(logits, axis=0, member_where=batch.allowed)
            return flipped - diversity, (batch.allowed, None)

        found = parts.differentiate(model, variables, learner.paths, batch, loss, compaction="none")
        some = jnp.any(found.selected)
        student = learner.step(state.student, found.gradient, some)
        now = parts.pick(student.variables, learner.paths)
        moved = jax.tree.map(lambda old, new: (1 - teacher_rate) * old + teacher_rate * new, state.teacher, now)
        moved = parts.chosen(some, moved, state.teacher)
        shown = student.variables if scored == "student" else parts.put(student.variables, moved)
        logits, _ = model.apply(shown, batch.images, "batch", batch.mask)
        info = parts.info(found, some)
        info["forward_rows"] = info["forward_rows"] + (views + 2) * len(batch.images)
        return TeslaState(student, moved), Adapted(logits, found.selected, info)

    return parts.method(model, init, adapt, scores="after")


def weak_view(key: Key, image: Array, smallest: float, flip: float) -> Array:
    """A part of an image [H, W, C] of at least `smallest` of its area, of a shape between 3:4 and 4:3, resized to the
    whole, and mirrored with the probability `flip`."""
    area_key, shape_key, place_key, flip_key = jax.random.split(key, 4)
    area = jax.random.uniform(area_key, (), minval=smallest, maxval=1.0)
    ratio = jnp.exp(jax.random.uniform(shape_key, (), minval=math.log(3 / 4), maxval=math.log(4 / 3)))
    share = jnp.minimum(jnp.stack([jnp.sqrt(area / ratio), jnp.sqrt(area * ratio)]), 1.0)
    room = (1 - share) * jnp.array(image.shape[:2], jnp.float32)
    offset = room * jax.random.uniform(place_key, (2,), minval=-0.5, maxval=0.5)
    part = augmentations.affine(image, jnp.diag(share), offset)
    return jnp.where(jax.random.bernoulli(flip_key, flip), part[:, ::-1], part)
