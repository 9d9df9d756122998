"""What the estimators with a trained network share: early stopping, held-out values, intervals and checks.

A network is trained on one part of the samples, stopped by a second, and its value taken on a third that it has never
seen: judged by what it was trained on, it finds information in noise. The three parts rotate, so that every sample is
in one of the test folds. All trainings, those of the folds and those of the checks, are one compiled program, one
after the other (`lax.map`): each stops for itself.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from infojax.estimators import parts
from infojax.info import gaussian, particle
from infojax.nets.critic import Critic
from infojax.nets.optimizers import adam
from infojax.types import Array, Count, Estimate, Key, Positive, UserError

Margins = Literal["ranks", "standardised"]
GROUPS = 10  # of a test fold, left out one after the other for its variance
PAIR = 0.6  # correlation of the pair that is added to see whether its information is
AT_ONCE = 1000  # samples of which all pairs are scored at once
LEAST = 64  # samples that can be cut into three parts


class Samples(NamedTuple):
    """Samples (n, d) to train on, to stop by and to take the value from."""

    train: tuple[Array, Array]
    validation: tuple[Array, Array]
    test: tuple[Array, Array]


class Training(NamedTuple):
    """How long and how fast to train."""

    learning_rate: float
    batch_size: int
    epochs: int  # at most
    patience: int  # epochs without a better validation after which training ends


class Model(NamedTuple):
    """A network's part of an estimate."""

    train: Callable[[Key, Samples], Any]  # -> parameters
    value: Callable[[Any, Key, Array, Array], tuple[Array, Array]]  # of samples it was not trained on: nats, variance
    ceiling: Callable[[int], float] = lambda count: math.inf  # the largest value that so many samples can give


class Bound(NamedTuple):
    """A variational estimator: what its critic maximises, and what it then says; all of scores (B, B)."""

    critic: Critic
    objective: Callable[[Array, Array], tuple[Array, Array]]  # (scores, memory) -> what to maximise, memory
    validation: Callable[[Array], Array]
    value: Callable[[Array, Array | None], Array]  # (scores, where) -> nats
    ceiling: Callable[[int], float] = lambda count: math.inf  # of the value, by the number of rows


def early_stopped(
    epoch: Callable[[Any, Array], Any],
    candidate: Callable[[Any], Any],
    validation: Callable[[Any], Array],
    learnt: Any,
    training: Training,
) -> Any:
    """The candidate of the epoch whose validation was highest."""

    def one(carry: Any) -> Any:
        number, learnt, best, highest, last = carry
        learnt = epoch(learnt, number)
        found = validation(candidate(learnt))
        better = found > highest
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), candidate(learnt), best)
        return number + 1, learnt, best, jnp.where(better, found, highest), jnp.where(better, number, last)

    def unfinished(carry: Any) -> Array:
        number, _, _, _, last = carry
        return (number < training.epochs) & (number - last <= training.patience)

    # A loop that ends when patience does: under `lax.map` an epoch that is not needed is not computed.
    begin = (jnp.int32(0), learnt, candidate(learnt), jnp.float32(-jnp.inf), jnp.int32(0))
    return jax.lax.while_loop(unfinished, one, begin)[2]


def batches(key: Key, count: int, batch_size: int) -> Array:
    """One pass in random order, (steps, batch); what fills no batch is left out this time."""
    size = min(batch_size, count)
    steps = count // size
    return parts.permutation(key, count)[: steps * size].reshape(steps, size)


def critic_model(bound: Bound, training: Training) -> Model:
    """Training by the bound's objective; the value of all pairs of the samples, its variance by the jackknife."""
    optimizer = adam(training.learning_rate)

    def train(key: Key, data: Samples) -> Any:
        x, y = data.train
        key_init, key_order = jax.random.split(key)
        # As one vector, which compiles faster than the optimiser of a tree.
        parameters, as_tree = ravel_pytree(bound.critic.init(key_init, x.shape[1], y.shape[1]))

        def loss(parameters: Array, x: Array, y: Array, memory: Array) -> tuple[Array, Array]:
            gain, memory = bound.objective(bound.critic.scores(as_tree(parameters), x, y), memory)
            return -gain, memory

        def step(carry: Any, index: Array) -> tuple[Any, None]:
            parameters, state, memory = carry
            gradient, memory = jax.grad(loss, has_aux=True)(parameters, x[index], y[index], memory)
            updates, state = optimizer.update(gradient, state)
            return (parameters + updates, state, memory), None

        def epoch(learnt: Any, number: Array) -> Any:
            order = batches(jax.random.fold_in(key_order, number), len(x), training.batch_size)
            return jax.lax.scan(step, learnt, order)[0]

        def validation(parameters: Array) -> Array:
            x, y = data.validation
            return bound.validation(bound.critic.scores(as_tree(parameters), x[:AT_ONCE], y[:AT_ONCE]))

        learnt = (parameters, optimizer.init(parameters), jnp.zeros((), jnp.float32))
        return as_tree(early_stopped(epoch, lambda learnt: learnt[0], validation, learnt, training))

    def value(parameters: Any, key: Key, x: Array, y: Array) -> tuple[Array, Array]:
        count = max(1, len(x) // AT_ONCE)
        size = len(x) // count
        blocks = (x[: count * size].reshape(count, size, -1), y[: count * size].reshape(count, size, -1))
        values, variances = jax.lax.map(
            lambda block: jackknifed(bound.value, bound.critic.scores(parameters, *block)), blocks
        )
        return jnp.mean(values), jnp.mean(variances) / count

    return Model(train, value, bound.ceiling)


def jackknifed(value: Callable[[Array, Array | None], Array], scores: Array) -> tuple[Array, Array]:
    """The value of scores (n, n), and its variance by leaving out groups of samples."""
    group = jnp.arange(len(scores)) * GROUPS // len(scores)

    def without(index: Array) -> Array:
        kept = group != index
        return value(scores, kept[:, None] & kept[None, :])

    left = jax.lax.map(without, jnp.arange(GROUPS))
    return value(scores, None), (GROUPS - 1) * jnp.var(left)


def to_ranks(key: Key, samples: Array) -> Array:
    """Normal scores; equal ones are ranked in a random order, for that of the data may carry information."""
    order = jnp.argsort(jax.random.bits(key, samples.shape), axis=0)
    scores = gaussian.copula_transform(jnp.take_along_axis(samples, order, axis=0))
    return jnp.put_along_axis(samples, order, scores, axis=0, inplace=False)


def with_column(samples: Array, column: Array | None = None) -> Array:
    """One more coordinate, zero where none is given: so that all trainings have the same shapes."""
    extra = jnp.zeros((len(samples), 1), samples.dtype) if column is None else column
    return jnp.concatenate([samples, extra], axis=1)


def split(order: Array, folds: int, x: Array, y: Array) -> Samples:
    """In this order: a test fold, an eighth to stop by, the rest to train on."""
    size = len(order) // folds
    middle = size + len(order) // 8

    def pick(index: Array) -> tuple[Array, Array]:
        return x[index], y[index]

    return Samples(pick(order[middle:]), pick(order[size:middle]), pick(order[:size]))


def halved(order: Array, folds: int) -> Array:
    """The order in which half of the samples to train on come twice, and the other half not at all."""
    start = len(order) // folds + len(order) // 8
    half = order[start : start + (len(order) - start) // 2]
    return jnp.concatenate([order[:start], half, half, half])[: len(order)]


def estimate(
    model: Model, key: Key, x: Array, y: Array, margins: Margins, folds: Count, tolerance: Positive
) -> Estimate:
    """Cross-fitted value, interval and verdict."""
    if folds < 2:
        raise UserError(f"estimator.folds={folds} leaves nothing to train on; give at least 2")
    x, y = parts.check_samples(x, y, least=LEAST)
    n, given = len(x), (x, y)
    keys = jax.random.split(key, 7)
    if margins == "ranks":
        x, y = jnp.split(to_ranks(keys[0], jnp.concatenate([x, y], axis=1)), [x.shape[1]], axis=1)
    else:
        x, y = parts.standardised(x), parts.standardised(y)
    draw, truth, freedom = parts.surrogate(x, y)
    known_x, known_y = jax.lax.map(draw, jax.random.split(keys[1], 4))
    u, v = jax.random.normal(keys[2], (2, n, 1))
    v = PAIR * u + np.sqrt(1 - PAIR**2) * v
    # What trainings see: the samples, two draws of known information, shuffled ones, ones with a pair beside them, and
    # ones with a function of y beside y.
    shuffled_y, square = y[parts.permutation(keys[3], n)], (y[:, :1] ** 2 - 1) / np.sqrt(2)
    worlds_x = jnp.stack([*map(with_column, (x, known_x[0], known_x[1], x)), with_column(x, u), with_column(x)])
    worlds_y = jnp.stack(
        [*map(with_column, (y, known_y[0], known_y[1], shuffled_y)), with_column(y, v), with_column(y, square)]
    )
    order = parts.permutation(keys[4], n)
    orders = [jnp.roll(order, -fold * (n // folds)) for fold in range(folds)] + [order] * 5 + [halved(order, folds)]
    world = jnp.asarray([0] * folds + [1, 2, 3, 4, 5, 0])

    def one(given: tuple[Key, Array, Array]) -> tuple[Any, Array, Array]:
        key_train, key_value = jax.random.split(given[0])
        data = split(given[2], folds, worlds_x[given[1]], worlds_y[given[1]])
        parameters = model.train(key_train, data)
        return parameters, *model.value(parameters, key_value, *data.test)

    # Checks begin as the first fold does, so that what they differ by is not their luck.
    own = jax.random.split(keys[5], folds)
    trainings = (jnp.concatenate([own, jnp.repeat(own[:1], len(orders) - folds)]), world, jnp.stack(orders))
    parameters, values, variances = jax.lax.map(one, trainings)
    value = jnp.mean(values[:folds])
    # Folds differ by their test samples and by what they were trained on; the one variance sees only the first.
    variance = jnp.maximum(jnp.mean(variances[:folds]), jnp.var(values[:folds], ddof=1)) / folds
    half = 2.0 * jnp.sqrt(variance)

    def known(given: tuple[Any, Key, Array, Array]) -> Array:
        learnt, key, one_x, one_y = given
        return model.value(learnt, key, with_column(one_x[:AT_ONCE]), with_column(one_y[:AT_ONCE]))[0] - truth

    learnt = jax.tree.map(lambda leaf: leaf[folds : folds + 2], parameters)
    error = jnp.mean(jax.lax.map(known, (learnt, jax.random.split(keys[6]), known_x[2:], known_y[2:])))
    shuffled, added, processed, halves = values[folds + 2 :] - jnp.array([0.0, 1.0, 1.0, 1.0]) * values[0]
    added = added + 0.5 * np.log1p(-(PAIR**2))
    neighbours = jnp.maximum(particle.ksg_mutual_information(x, y), particle.ksg_mutual_information(*given))
    checks = {
        "known_answer": jnp.abs(error) / (1.2 * tolerance),
        "sample_size": jnp.abs(halves) / (1.2 * tolerance),
        "independence": jnp.abs(shuffled) / tolerance,
        "additivity": jnp.abs(added) / (2 * tolerance + 0.1 * jnp.abs(value)),
        "processing": jnp.abs(processed) / (1.2 * tolerance),
        # A value within one nat of the ceiling is pressed down by it.
        "ceiling": value / (model.ceiling(min(n // folds, AT_ONCE)) - 1),
        # Neighbours hardly ever find information that is not there.
        "neighbours": jnp.maximum(neighbours - value, 0) / (tolerance + half / 2),
    }
    seen = {
        "seen/known_answer": error,
        "seen/half_training": halves,
        "seen/shuffled": shuffled,
        "seen/additivity": added,
        "seen/processing": processed,
        "seen/neighbours": neighbours,
        "seen/copula_freedom": freedom,
    }
    return parts.verdict(value, jnp.stack([value - half, value + half]), checks, seen)
