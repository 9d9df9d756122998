"""RoTTA: learn at intervals from a memory that is balanced, certain and recent, with statistics that move slowly.

Yuan, Xie and Li (2023), "Robust test-time adaptation in dynamic scenarios".

- Robust batch normalisation: batches that are learned from are normalised by running statistics
  (1 − a) running + a batch, which are kept; images of the stream are predicted by the teacher with its running ones.
- The memory of N images over C classes takes up each image of the stream with its predicted
  class and the entropy u of that prediction. The importance of an old one of age A is judged by
  h = lambda_t / (1 + exp(−A / N)) + lambda_u u / ln C, largest goes first: from among the image's own class if that
  holds N / C, else from the most numerous classes if the memory is full; the new image comes in if there is room or
  the h of the one that would go is above its own (with A = 0). Then everything ages by one.
- After every `interval` images: loss mean_j E(A_j) · −Σ_c q'_jc log q_jc over the memory, in nats, of the
  student's view of strongly augmented images against the teacher's of plain ones, E(A) = exp(−A/N) / (1 + exp(−A/N));
  one step of the student, then teacher ← (1 − nu) teacher + nu student.

Predictions of a batch are those of the teacher before it.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from infojax.info import categorical
from infojax.nets.optimizers import Optimizer
from infojax.tta import augmentations, parts
from infojax.types import Adapted, Array, Count, Key, Method, Model, NonNegative, Positive, Rate, UnitInterval

Moments = dict[str, tuple[Array, Array]]  # path -> mean, variance


class Memory(NamedTuple):
    """N places; what is in a place that is not used has no meaning."""

    used: Array  # [N] bool
    label: Array  # [N] int32
    uncertainty: Array  # [N], entropy in nats
    age: Array  # [N] int32, in images of the stream


class RottaState(NamedTuple):
    """Student and teacher with their statistics, and the memory."""

    learned: parts.Learned
    teacher: parts.Values  # path -> parameter
    student_moments: Moments
    teacher_moments: Moments
    memory: Memory
    images: Array  # [N, H, W, C] float32 in [0, 1]
    since: Array  # int32, images since the last step


class Rule(NamedTuple):
    """What decides who stays in the memory."""

    num_classes: int
    lambda_t: float
    lambda_u: float

    def score(self, age: Array, uncertainty: Array, capacity: int) -> Array:
        """h of images; the largest goes first."""
        timely = self.lambda_t * jax.nn.sigmoid(age.astype(jnp.float32) / capacity)
        return timely + self.lambda_u * uncertainty / math.log(self.num_classes)


def make(
    model: Model,
    *,
    memory_size: Count = 64,
    interval: Count = 64,
    teacher_rate: Rate = 1e-3,
    statistics_rate: Rate = 0.05,
    lambda_t: NonNegative = 1.0,
    lambda_u: NonNegative = 1.0,
    flip: UnitInterval = 0.5,
    optimizer: Optimizer = "adam",
    learning_rate: Positive = 1e-3,
    momentum: NonNegative = 0.9,
    parameters: str = "norm",
    leave_out: tuple[str, ...] = (),
) -> Method:
    """Distillation from a memory. One forward pass; at a step another two and a backward of the memory.

    A batch of B images may hold several intervals; then there are that many steps, as if images came one by one.

    Args:
        model: that is adapted.
        memory_size: N.
        interval: images of the stream from one step to the next.
        teacher_rate: nu.
        statistics_rate: a, share of a batch in the running statistics.
        lambda_t: weight of age.
        lambda_u: weight of uncertainty.
        flip: probability of a mirror image in the student's view.
        optimizer: "adam" or "sgd".
        learning_rate: of a step.
        momentum: of sgd, plain.
        parameters: what adapts: norm, all, body, or a regular expression of paths.
        leave_out: regular expressions of paths that do not adapt.
    """
    learner = parts.learner(model, optimizer, learning_rate, momentum, parameters, leave_out)
    rule = Rule(model.num_classes, lambda_t, lambda_u)

    def init(variables: Any, source: Array | None) -> RottaState:
        moments = parts.source_statistics(model, variables)
        return RottaState(
            learned=learner.init(variables),
            teacher=parts.pick(variables, learner.paths),
            student_moments=moments,
            teacher_moments=moments,
            memory=Memory(
                used=jnp.zeros((memory_size,), bool),
                label=jnp.zeros((memory_size,), jnp.int32),
                uncertainty=jnp.zeros((memory_size,), jnp.float32),
                age=jnp.zeros((memory_size,), jnp.int32),
            ),
            images=jnp.zeros((memory_size, *model.image_shape), jnp.float32),
            since=jnp.zeros((), jnp.int32),
        )

    def learn(state: RottaState, key: Key) -> tuple[RottaState, Array]:
        """One step from the memory, and its loss."""
        memory = state.memory
        seen = augmentations.views(key, state.images, lambda *a: augmentations.jittered(*a, flip=flip))
        teacher = parts.put(state.learned.variables, state.teacher)
        teacher_robust = robust(state.teacher_moments, statistics_rate)
        student_robust = robust(state.student_moments, statistics_rate)
        teacher_logits, _ = model.apply(teacher, state.images, teacher_robust, memory.used)
        weight = jax.nn.sigmoid(-memory.age.astype(jnp.float32) / memory_size)

        def loss(logits: Array) -> tuple[Array, tuple[Array, None]]:
            value = weight * categorical.cross_entropy(teacher_logits, logits)
            return parts.mean_over(value, memory.used), (memory.used, None)

        batch = parts.Batch(seen, memory.used, memory.used, None, None)
        found = parts.differentiate(
            model, state.learned.variables, learner.paths, batch, loss, statistics=student_robust, compaction="none"
        )
        teacher_batch = model.measure(teacher, state.images, teacher_robust, memory.used)
        student_batch = model.measure(state.learned.variables, seen, student_robust, memory.used)
        learned = learner.step(state.learned, found.gradient, jnp.any(memory.used))
        student = parts.pick(learned.variables, learner.paths)
        new_state = state._replace(
            learned=learned,
            teacher={p: (1 - teacher_rate) * v + teacher_rate * student[p] for p, v in state.teacher.items()},
            student_moments=moved(state.student_moments, student_batch, statistics_rate),
            teacher_moments=moved(state.teacher_moments, teacher_batch, statistics_rate),
        )
        return new_state, found.loss

    def adapt(state: RottaState, batch: parts.Batch, key: Key) -> tuple[RottaState, Adapted]:
        count = len(batch.images)
        images = augmentations.unit(batch.images)
        teacher = parts.put(state.learned.variables, state.teacher)
        logits, _ = model.apply(teacher, images, state.teacher_moments, batch.mask)
        label, uncertainty = jnp.argmax(logits, axis=1).astype(jnp.int32), categorical.entropy(logits)
        # In which interval of this batch an image falls; a step is due at the end of each but the last.
        arrived = state.since + jnp.cumsum(batch.allowed.astype(jnp.int32))
        part = (arrived - 1) // interval
        due = arrived[-1] // interval
        rounds = math.ceil(count / interval)

        def stretch(state: RottaState, at: Array) -> tuple[RottaState, tuple[Array, Array]]:
            memory, place, came = remembered(state.memory, label, uncertainty, batch.allowed & (part == at), rule)
            held = jnp.concatenate([state.images, images])[place]
            state = state._replace(memory=memory, images=held)
            state, value = jax.lax.cond(
                at < due, lambda: learn(state, jax.random.fold_in(key, at)), lambda: (state, jnp.zeros(()))
            )
            return state, (came, value)

        state, (came, losses) = jax.lax.scan(stretch, state, jnp.arange(rounds + 1))
        state = state._replace(since=arrived[-1] % interval)
        info = {
            "forward_rows": count + 2 * memory_size * due,
            "backward_rows": memory_size * due,
            "loss": jnp.sum(losses) / jnp.maximum(due, 1).astype(jnp.float32),
            "updated": (due > 0).astype(jnp.int32),
            "steps": due,
            "remembered": jnp.sum(state.memory.used.astype(jnp.int32)),
        }
        return state, Adapted(logits, jnp.any(came, axis=0), info)

    return parts.method(model, init, adapt)


def robust(moments: Moments, rate: float) -> Any:
    """Statistics of a layer: running ones moved towards those of the batch, through which gradients flow."""

    def statistics(
        path: str, inputs: Array, source: tuple[Array, Array], batch: tuple[Array, Array]
    ) -> tuple[Array, Array]:
        mean, variance = moments[path]
        return (1 - rate) * mean + rate * batch[0], (1 - rate) * variance + rate * batch[1]

    return statistics


def moved(moments: Moments, batch: Moments, rate: float) -> Moments:
    """The running statistics after a batch."""
    return jax.tree.map(lambda old, new: (1 - rate) * old + rate * new, moments, batch)


def remembered(
    memory: Memory, label: Array, uncertainty: Array, where: Array, rule: Rule
) -> tuple[Memory, Array, Array]:
    """Show the memory some images [B], one after another.

    Args:
        memory: of N places.
        label: [B] their predicted classes.
        uncertainty: [B] the entropies of the predictions in nats.
        where: [B] bool; the others are passed over and nothing ages by them.
        rule: what decides.

    Returns:
        The memory; where the image in each place comes from [N], a place of the memory before or N + a row of the
        batch; and which rows came in [B], whether or not they were thrown out again.
    """
    size = len(memory.used)
    full_share = size / rule.num_classes

    def step(carry: tuple[Memory, Array], row: tuple[Array, Array, Array, Array]) -> tuple[tuple[Memory, Array], Array]:
        (memory, place), (at, label, uncertainty, here) = carry, row
        counts = jnp.zeros((rule.num_classes,), jnp.int32).at[memory.label].add(memory.used.astype(jnp.int32))
        full_class = counts[label].astype(jnp.float32) >= full_share
        full = jnp.all(memory.used)
        of_largest = counts[memory.label] == jnp.max(counts)
        rivals = memory.used & jnp.where(full_class, memory.label == label, of_largest)
        scores = jnp.where(rivals, rule.score(memory.age, memory.uncertainty, size), -jnp.inf)
        worst = jnp.argmax(scores)
        replaces = full_class | full
        better = scores[worst] > rule.score(jnp.zeros((), jnp.int32), uncertainty, size)
        slot = jnp.where(replaces, worst, jnp.argmin(memory.used))
        comes = here & (better | jnp.logical_not(replaces))

        def put(array: Array, value: Array) -> Array:
            return array.at[slot].set(jnp.where(comes, value, array[slot]))

        age = put(memory.age, jnp.zeros((), jnp.int32))
        memory = Memory(
            used=put(memory.used, jnp.ones((), bool)),
            label=put(memory.label, label),
            uncertainty=put(memory.uncertainty, uncertainty),
            age=age + here.astype(jnp.int32),
        )
        return (memory, put(place, size + at)), comes

    rows = jnp.arange(len(label), dtype=jnp.int32)
    start = (memory, jnp.arange(size, dtype=jnp.int32))
    (memory, place), came = jax.lax.scan(step, start, (rows, label, uncertainty, where))
    return memory, place, came
