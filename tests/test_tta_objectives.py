"""Losses of test-time methods: their steps against derivatives taken in numpy, and rows that must have no part."""

import functools
import importlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import tta_models
import yaml

from infojax.tta import adamix_norm, gem, information_maximisation, lerm, parts, tent, tesla, wisdom_of_crowds
from infojax.types import UserError

CONFIGS = Path(__file__).parents[1] / "configs" / "method"
NAMES = ("information_maximisation", "wisdom_of_crowds", "gem", "adamix_norm", "tesla", "lerm", "rdumb")
STEP = {"optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.0, "parameters": "norm"}
COUNT = 10
IMAGES = tta_models.images(COUNT, seed=1)
MASK = np.arange(COUNT) < 8  # rows that are there
ALLOWED = np.arange(COUNT) != 2  # rows that may be learned from
LEARNED = MASK & ALLOWED


# --- the same in numpy ---------------------------------------------------------------------------------------------


def softmax(logits):
    return scipy.special.softmax(logits, axis=-1)


def entropy(p):
    return scipy.special.entr(p).sum(axis=-1)


def convolved(variables, images):
    padded = np.pad(np.asarray(images, np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    kernel = np.asarray(variables["params"]["conv"]["kernel"], np.float64)
    return np.einsum("nhwcij,ijco->nhwo", windows, kernel)


def batch(inputs, mask):
    return inputs[mask].mean((0, 1, 2)), inputs[mask].var((0, 1, 2))


def source():
    statistics = tta_models.tiny().variables["batch_stats"]["bn"]
    return np.asarray(statistics["mean"], np.float64), np.asarray(statistics["var"], np.float64)


def weight_of_source(inputs, mask):
    """λ of AdaMixBN, by its definition."""
    (source_mean, source_variance), (mean, variance) = source(), batch(inputs, mask)
    values = []
    for image in inputs[mask]:
        own_mean, own_deviation = image.mean((0, 1)), image.std((0, 1))
        st = np.mean((mean - source_mean) ** 2) + np.mean((variance**0.5 - source_variance**0.5) ** 2)
        is_ = np.mean((own_mean - source_mean) ** 2) + np.mean((own_deviation - source_variance**0.5) ** 2)
        it = np.mean((own_mean - mean) ** 2) + np.mean((own_deviation - variance**0.5) ** 2)
        values.append(np.clip(1 - st / (st + is_ + it), 0, 1))
    return np.mean(values)


def mixture(inputs, mask):
    weight = weight_of_source(inputs, mask)
    return tuple(
        weight * of_source + (1 - weight) * of_batch
        for of_source, of_batch in zip(source(), batch(inputs, mask), strict=True)
    )


def forward(affine, images=IMAGES, mask=MASK, statistics=batch):
    """Logits of the tiny model with scale and shift affine [2, 4]."""
    variables = tta_models.tiny().variables
    inputs = convolved(variables, images)
    mean, variance = statistics(inputs, mask)
    outputs = np.maximum((inputs - mean) / np.sqrt(variance + 1e-5) * affine[0] + affine[1], 0).mean((1, 2))
    head = variables["params"]["fc"]
    return outputs @ np.asarray(head["kernel"], np.float64) + np.asarray(head["bias"], np.float64)


def slope(loss, affine, width=1e-6):
    """Central differences of a function of affine [2, 4]."""
    found = np.zeros_like(affine)
    for index in np.ndindex(affine.shape):
        offset = np.zeros_like(affine)
        offset[index] = width
        found[index] = (loss(affine + offset) - loss(affine - offset)) / (2 * width)
    return found


def affine_of(variables):
    norm = variables["params"]["bn"]
    return np.stack([np.asarray(norm["scale"], np.float64), np.asarray(norm["bias"], np.float64)])


START = affine_of(tta_models.tiny().variables)


def information(logits, weights=1.0, label_weight=0.0, threshold=0.9, together=LEARNED):
    p = softmax(logits)
    value = entropy(p)[LEARNED].mean() - weights * entropy(p[together].mean(0))
    confident = LEARNED & (p.max(1) > threshold)
    return value - (label_weight * np.log(p.max(1)[confident]).mean() if confident.any() else 0)


def generalised(logits, loss, frozen):
    centred = frozen - frozen.mean(1, keepdims=True)
    temperature = 2 * centred.std(1, ddof=1, keepdims=True)
    log_q = scipy.special.log_softmax(logits / temperature, axis=1)
    target = np.exp(log_q) if loss == "t" else softmax(frozen)
    return -(temperature[:, 0] ** 2 * (target * log_q).sum(1))[LEARNED].mean()


def encoding(logits):
    p = softmax(logits)[LEARNED]
    rows = [(p[:, k : k + 1] * p).sum(0) / p[:, k].sum() for k in range(p.shape[1])]
    return np.mean([np.abs(row - np.eye(len(rows))[k]).mean() for k, row in enumerate(rows)])


@functools.cache
def adapting(function, **arguments):
    """The method on the tiny model, compiled, and its first state."""
    model = tta_models.tiny()
    method = function(model, **arguments)
    return jax.jit(method.adapt), method.init(model.variables)


def step(function, state=None, images=IMAGES, allowed=ALLOWED, **arguments):
    adapt, first = adapting(function, **arguments)
    return adapt(
        first if state is None else state, images, jax.random.key(0), jnp.asarray(MASK), None, jnp.asarray(allowed)
    )


# --- steps -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function, arguments, loss",
    [
        (information_maximisation.make, {"label_weight": 0.0}, information),
        (
            information_maximisation.make,
            {"diversity_weight": 0.4, "label_weight": 0.3, "threshold": 0.75},
            functools.partial(information, weights=0.4, label_weight=0.3, threshold=0.75),
        ),
        (lerm.make, {}, encoding),
    ],
    ids=["information", "weighted_with_labels", "lerm"],
)
def test_the_step_follows_the_slope_of_the_loss(function, arguments, loss):
    state, adapted = step(function, **STEP, **arguments)
    logits = forward(START)
    np.testing.assert_allclose(adapted.logits[:8], logits[:8], atol=2e-5)
    np.testing.assert_allclose(adapted.info["loss"], loss(logits), atol=1e-5)
    wanted = START - STEP["learning_rate"] * slope(lambda affine: loss(forward(affine)), START)
    np.testing.assert_allclose(affine_of(state.variables), wanted, atol=2e-5)
    assert np.abs(wanted - START).max() > 1e-3
    np.testing.assert_array_equal(adapted.selected, LEARNED)


def test_the_threshold_of_labels_splits_the_rows_and_none_is_no_error():
    confident = softmax(forward(START)).max(1)[LEARNED] > 0.75
    assert 0 < confident.sum() < len(confident)
    state, adapted = step(information_maximisation.make, **STEP, threshold=1.0)
    assert not np.any(adapted.info["confident"])
    without, _ = step(information_maximisation.make, **STEP, label_weight=0.0)
    np.testing.assert_array_equal(affine_of(state.variables), affine_of(without.variables))


def test_mutual_information_is_reported():
    _, adapted = step(information_maximisation.make, **STEP, label_weight=0.0)
    p = softmax(forward(START))[MASK]
    np.testing.assert_allclose(adapted.info["mutual_information"], entropy(p.mean(0)) - entropy(p).mean(), atol=1e-5)


@pytest.mark.parametrize("loss", ["t", "skd"])
@pytest.mark.parametrize("normalisation", ["batch", "mixed"])
def test_generalised_entropy_steps_and_predicts_again(loss, normalisation):
    statistics = mixture if normalisation == "mixed" else batch
    state, adapted = step(gem.make, **STEP, loss=loss, normalisation=normalisation, restored=False)
    frozen = forward(START, statistics=statistics)
    slopes = slope(lambda affine: generalised(forward(affine, statistics=statistics), loss, frozen), START)
    wanted = START - STEP["learning_rate"] * slopes
    np.testing.assert_allclose(affine_of(state.variables), wanted, atol=5e-5)
    np.testing.assert_allclose(adapted.logits[MASK], forward(wanted, statistics=statistics)[MASK], atol=3e-4, rtol=3e-6)
    assert np.abs(wanted - START).max() > 1e-3
    assert int(adapted.info["forward_rows"]) == 2 * COUNT


def test_the_transform_moves_the_mixture_into_scales_and_shifts():
    state, adapted = step(gem.make, **STEP, normalisation="rectified")
    inputs = convolved(tta_models.tiny().variables, IMAGES)
    weight, (source_mean, source_variance), (mean, variance) = (
        weight_of_source(inputs, MASK),
        source(),
        batch(inputs, MASK),
    )
    deviation = np.sqrt(variance + 1e-5)
    scale = START[0] * deviation / np.sqrt(weight * source_variance + (1 - weight) * variance + 1e-5)
    start = np.stack([scale, START[1] + scale * weight * (mean - source_mean) / deviation])
    frozen = forward(start)
    np.testing.assert_allclose(frozen, forward(START, statistics=mixture), atol=1e-9)
    wanted = start - STEP["learning_rate"] * slope(lambda affine: generalised(forward(affine), "t", frozen), start)
    np.testing.assert_allclose(adapted.logits[MASK], forward(wanted)[MASK], atol=3e-4, rtol=3e-6)
    np.testing.assert_array_equal(affine_of(state.variables), START)  # restored
    assert int(adapted.info["forward_rows"]) == 3 * COUNT
    assert 0.05 < weight < 0.95


def test_generalised_entropy_is_none_for_equal_logits():
    value, slopes = jax.value_and_grad(lambda z: jnp.sum(gem.generalised_entropy(z, "t")))(jnp.ones((2, 3)))
    assert value == 0 and not np.any(slopes)


@pytest.mark.parametrize("arguments, word", [({"restored": False}, "online"), ({"parameters": "fc"}, "does not adapt")])
def test_the_transform_refuses_what_it_cannot_do(arguments, word):
    with pytest.raises(UserError, match=word):
        gem.make(tta_models.tiny(), normalisation="rectified", **arguments)


def test_mixed_statistics_predict():
    _, adapted = step(adamix_norm.make)
    np.testing.assert_allclose(adapted.logits[MASK], forward(START, statistics=mixture)[MASK], atol=2e-5)
    np.testing.assert_array_equal(
        adamix_norm.source_weight(jnp.ones((3, 2, 2, 4)), jnp.ones(3, bool), *[(jnp.ones(4), jnp.zeros(4))] * 2), 1
    )


def test_a_student_follows_its_teacher():
    arguments = {**STEP, "views": 0, "teacher_rate": 0.25}
    state, adapted = step(tesla.make, **arguments)
    first = START - STEP["learning_rate"] * slope(lambda affine: information(forward(affine)), START)
    np.testing.assert_allclose(affine_of(state.student.variables), first, atol=2e-5)
    np.testing.assert_allclose(adapted.logits[MASK], forward(first)[MASK], atol=2e-4)
    slow = 0.75 * START + 0.25 * first
    np.testing.assert_allclose(np.stack([state.teacher["bn/scale"], state.teacher["bn/bias"]]), slow, atol=1e-5)
    target = softmax(forward(slow))

    def loss(affine):
        p = softmax(forward(affine))[LEARNED]
        return -(p * np.log(target[LEARNED])).sum(1).mean() - entropy(p.mean(0))

    state, adapted = step(tesla.make, state, **arguments)
    np.testing.assert_allclose(adapted.info["loss"], loss(first), atol=3e-5)
    second = first - STEP["learning_rate"] * slope(loss, first)
    np.testing.assert_allclose(affine_of(state.student.variables), second, atol=1e-4)
    assert np.abs(slope(loss, first) - slope(lambda affine: information(forward(affine)), first)).max() > 1e-3


def test_the_teacher_sees_views_and_can_be_scored():
    arguments = {**STEP, "views": 2, "scored": "teacher", "teacher_rate": 0.25}
    state, adapted = step(tesla.make, **arguments)
    slow = np.stack([state.teacher["bn/scale"], state.teacher["bn/bias"]]).astype(np.float64)
    np.testing.assert_allclose(adapted.logits[MASK], forward(slow)[MASK], atol=2e-4)
    assert int(adapted.info["forward_rows"]) == 5 * COUNT
    without, _ = step(tesla.make, **STEP, views=0, teacher_rate=0.25)
    assert np.abs(affine_of(state.student.variables) - affine_of(without.student.variables)).max() > 1e-4


def test_weak_views_are_parts_of_the_image():
    ramp = jnp.broadcast_to(jnp.arange(8.0)[None, :, None], (8, 8, 1))
    views = jax.vmap(lambda key: tesla.weak_view(key, ramp, 0.8, 0.5))(jax.random.split(jax.random.key(0), 40))
    values = np.asarray(views)[:, 0, :, 0]
    steps = np.abs(np.diff(values, axis=1))
    assert values.min() >= 0 and values.max() <= 7
    # The width kept is the root of an area in [0.8, 1] times one of a ratio in [3/4, 4/3], and 1 at most.
    inner = steps[:, 3]
    assert inner.min() > np.sqrt(0.8 * 0.75) - 1e-3 and inner.max() < 1 + 1e-3 and np.ptp(inner) > 0.1
    mirrored = values[:, 0] > values[:, -1]
    assert 8 < mirrored.sum() < 32


# --- the crowd -------------------------------------------------------------------------------------------------------


def test_the_crowd_is_those_who_grew_surer():
    arguments = {**STEP, "learning_rate": 0.1}
    state, adapted = step(wisdom_of_crowds.make, **arguments)

    def loss(affine, rows):
        p = softmax(forward(affine))
        return entropy(p)[rows].mean() - 0.5 * entropy(p[MASK].mean(0))

    np.testing.assert_array_equal(adapted.info["crowd"], LEARNED)  # nothing has moved yet
    first = START - 0.1 * slope(lambda affine: loss(affine, LEARNED), START)
    np.testing.assert_allclose(affine_of(state.inner.variables), first, atol=2e-5)
    assert int(adapted.info["forward_rows"]) == 3 * COUNT

    frozen, now = softmax(forward(START)), softmax(forward(first))
    named = frozen.argmax(1)
    gain = (now - frozen)[np.arange(COUNT), named]
    crowd = LEARNED & (gain >= 0)
    assert 0 < crowd.sum() < LEARNED.sum() and np.all((gain >= 0) | (gain < -1e-5))
    state, adapted = step(wisdom_of_crowds.make, state, **arguments)
    np.testing.assert_array_equal(adapted.info["crowd"], crowd)
    np.testing.assert_array_equal(adapted.selected, crowd)
    second = first - 0.1 * slope(lambda affine: loss(affine, crowd), first)
    np.testing.assert_allclose(affine_of(state.inner.variables), second, atol=1e-4)


def test_an_empty_crowd_moves_nothing():
    model = tta_models.tiny()
    method = wisdom_of_crowds.wisdom_of_crowds(model, tent.make(model, **STEP))
    state = method.init(model.variables)
    even = parts.put(model.variables, {"fc/kernel": jnp.zeros((4, 3)), "fc/bias": jnp.zeros(3)})
    state = state._replace(inner=state.inner._replace(variables=even))  # less sure than the source of everything
    new, adapted = jax.jit(method.adapt)(state, IMAGES, jax.random.key(0))
    assert not np.any(adapted.selected) and int(adapted.info["updated"]) == 0
    jax.tree.map(np.testing.assert_array_equal, new, state)


# --- all of them -----------------------------------------------------------------------------------------------------


CASES = [
    (information_maximisation.make, {**STEP}),
    (lerm.make, {**STEP}),
    (gem.make, {**STEP, "loss": "t", "normalisation": "mixed", "restored": False}),
    (tesla.make, {**STEP, "views": 2, "scored": "teacher", "teacher_rate": 0.25}),
    (wisdom_of_crowds.make, {**STEP}),
    (adamix_norm.make, {}),
]
IDS = ["information_maximisation", "lerm", "gem", "tesla", "wisdom_of_crowds", "adamix_norm"]


@pytest.mark.parametrize("function, arguments", CASES, ids=IDS)
def test_rows_that_are_not_there_have_no_part(function, arguments):
    other = jnp.where(jnp.asarray(MASK)[:, None, None, None], IMAGES, tta_models.images(COUNT, seed=9))
    (one, seen), (two, also) = (step(function, images=images, **arguments) for images in (IMAGES, other))
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-7), one, two)
    np.testing.assert_allclose(seen.logits[MASK], also.logits[MASK], atol=1e-6)


@pytest.mark.parametrize("function, arguments", CASES, ids=IDS)
def test_nothing_to_learn_from_moves_nothing(function, arguments):
    _, state = adapting(function, **arguments)
    new, adapted = step(function, allowed=np.zeros(COUNT, bool), **arguments)
    jax.tree.map(np.testing.assert_array_equal, new, state)
    assert np.all(np.isfinite(adapted.logits)) and int(adapted.info["updated"]) == 0
    broken = IMAGES.at[0, 0, 0, 0].set(jnp.nan)
    new, adapted = step(function, images=broken, **arguments)
    jax.tree.map(np.testing.assert_array_equal, new, state)
    assert np.all(np.isfinite(adapted.logits)) and int(adapted.info["invalid"]) == 1


@pytest.mark.parametrize("name", NAMES)
def test_the_configuration_makes_the_method(name):
    section = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    module, _, function = section.pop("_target_").rpartition(".")
    make = getattr(importlib.import_module(module), function)
    defaults = {
        key: list(value) if isinstance(value, tuple) else value for key, value in (make.__kwdefaults__ or {}).items()
    }
    assert section == defaults
    method = make(tta_models.tiny(), **section)
    assert method.scores == ("after" if name in ("gem", "tesla") else "before")
