"""Methods of views, teachers and prototypes: each against numpy or a plain Python list of the paper's rule."""

import colorsys
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import tta_models

from infojax.info import categorical
from infojax.tta import augmentations, cotta, lame, memo, parts, roid, rotta, t3a

COUNT = 12
IMAGES = tta_models.images(COUNT, seed=3)
MASK = np.arange(COUNT) < 10
KEY = jax.random.key(5)
SLOW = {"optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.0}


@functools.cache
def soft():
    """Variables of the tiny model with a head that is less sure of itself, so that no gradient vanishes."""
    variables = tta_models.tiny().variables
    head = jax.tree.map(lambda leaf: leaf / 8, variables["params"]["fc"])
    return {**variables, "params": {**variables["params"], "fc": head}}


@functools.cache
def made(name):
    model = tta_models.tiny()
    method = {
        "memo": lambda: memo.make(model, num_views=4, learning_rate=1e-3),
        "lame": lambda: lame.make(model),
        "t3a": lambda: t3a.make(model, num_supports=3),
        "cotta": lambda: cotta.make(model, num_views=2, teacher_momentum=0.9, restore=0.25, **SLOW),
        "rotta": lambda: rotta.make(model, memory_size=6, interval=5, teacher_rate=0.1, **SLOW),
        "roid": lambda: roid.make(model, **SLOW),
    }[name]()
    return method, method.init(soft()), jax.jit(method.adapt)


def softmax(logits):
    return scipy.special.softmax(np.asarray(logits, np.float64), axis=-1)


def entropy(logits):
    return scipy.special.entr(softmax(logits)).sum(-1)


def close(left, right, tolerance=1e-5):
    for one, other in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=tolerance, atol=tolerance)


@functools.cache
def outputs(statistics):
    """Logits and features of the source model for the rows of the mask."""
    model = tta_models.tiny()
    return jax.tree.map(np.asarray, model.apply(soft(), IMAGES, statistics, jnp.asarray(MASK)))


# --- what holds for all ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["memo", "lame", "t3a", "cotta", "rotta", "roid"])
def test_masked_rows_have_no_part_and_a_key_decides_everything(name):
    _, state, adapt = made(name)
    mask = jnp.asarray(MASK)
    new, adapted = adapt(state, IMAGES, KEY, mask)
    again, adapted_again = adapt(state, IMAGES, KEY, mask)
    assert all(map(np.array_equal, jax.tree.leaves((new, adapted)), jax.tree.leaves((again, adapted_again))))
    other, adapted_other = adapt(state, IMAGES.at[10:].set(0.9), KEY, mask)
    close(new, other, 1e-6)
    close(adapted.logits[:10], adapted_other.logits[:10])
    assert not np.asarray(adapted.selected)[10:].any()
    if name not in ("lame", "memo"):
        moved = adapt(state, IMAGES.at[0].set(0.9), KEY, mask)[0]
        gaps = [
            np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).max()
            for a, b in zip(jax.tree.leaves(new), jax.tree.leaves(moved), strict=True)
        ]
        assert max(gaps) > 1e-4, "a row of the mask has no influence"


# --- MEMO ---------------------------------------------------------------------------------------------------------


def test_memo_adapts_every_image_by_itself_from_the_source():
    model = tta_models.tiny()
    _, state, adapt = made("memo")
    new, adapted = adapt(state, IMAGES, KEY, jnp.asarray(MASK))
    close(new, soft(), 0)
    paths = tuple(parts.flat(soft()["params"]))
    weight = 1 / 17

    @jax.jit
    def alone(row, image):
        def marginal(values):
            seen = augmentations.views(jax.random.fold_in(KEY, row), jnp.stack([image] * 4), augmentations.mixed)
            logits, _ = model.apply(parts.put(soft(), values), seen, weight, None)
            return categorical.marginal_entropy(logits, axis=0)

        values = parts.pick(soft(), paths)
        before, slope = jax.value_and_grad(marginal)(values)
        moved = jax.tree.map(lambda value, gradient: value - 1e-3 * gradient, values, slope)
        logits, _ = model.apply(parts.put(soft(), moved), image[None], weight, None)
        return before, marginal(moved), logits[0]

    found = [alone(row, IMAGES[row]) for row in range(10)]
    before, after, logits = (np.stack(values) for values in zip(*found, strict=True))
    close(adapted.logits[:10], logits, 1e-4)
    assert (after < before).all()
    np.testing.assert_allclose(adapted.info["loss"], before.mean(), rtol=1e-5)
    untouched, _ = model.apply(soft(), IMAGES[11][None], weight, None)
    close(adapted.logits[11], untouched[0])
    assert int(adapted.info["backward_rows"]) == 4 * 10
    assert int(adapted.info["forward_rows"]) == 4 * 10 + COUNT


# --- LAME ---------------------------------------------------------------------------------------------------------


def lame_in_numpy(logits, features, affinity, neighbours=5, max_steps=100):
    """Labels by the fixed point, and KL − ½ Σ w y y after each step."""
    unit = features.astype(np.float64) / np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    distance = np.linalg.norm(unit[:, None] - unit[None], axis=2)
    count = len(unit)
    if affinity == "linear":
        weights = unit @ unit.T
    elif affinity == "rbf":
        width = np.sort(distance, axis=1)[:, neighbours - 1].mean()
        weights = np.exp(-(distance**2) / (2 * width**2))
    else:
        weights = np.zeros((count, count))
        for row in range(count):
            others = sorted((other for other in range(count) if other != row), key=lambda other: distance[row, other])
            weights[row, others[:neighbours]] = 1
    source = softmax(logits)
    labels, objective = source, []
    for _ in range(max_steps):
        labels = softmax(np.log(source) + weights @ labels)
        divergence = scipy.special.rel_entr(labels, source).sum()
        objective.append(divergence - 0.5 * (labels * (weights @ labels)).sum())
    return labels, np.array(objective)


@pytest.mark.parametrize("affinity", ["knn", "rbf", "linear"])
def test_lame_reaches_the_fixed_point(affinity):
    model = tta_models.tiny()
    method = lame.make(model, affinity=affinity)
    _, adapted = jax.jit(method.adapt)(soft(), IMAGES, KEY, jnp.asarray(MASK))
    logits, features = outputs("source")
    labels, objective = lame_in_numpy(logits[:10], features[:10], affinity)
    np.testing.assert_allclose(softmax(adapted.logits)[:10], labels, atol=2e-4)
    assert np.abs(labels - softmax(logits[:10])).max() > 0.01
    close(adapted.logits[10:], logits[10:])
    assert 3 <= int(adapted.info["steps"]) < 100
    if affinity != "knn":  # symmetric, without negative eigenvalues
        assert (np.diff(objective) <= 1e-12).all() and objective[0] > objective[-1]


# --- T3A ----------------------------------------------------------------------------------------------------------


def test_t3a_keeps_the_most_certain_supports():
    model = tta_models.tiny()
    _, state, adapt = made("t3a")
    kernel = np.asarray(soft()["params"]["fc"]["kernel"], np.float64)
    bias = np.asarray(soft()["params"]["fc"]["bias"], np.float64)
    kept = []  # features, entropy, class; in the order of their arrival

    def admit(features):
        nonlocal kept
        logits = features @ kernel + bias
        kept += list(zip(features, entropy(logits), logits.argmax(1), strict=True))
        chosen = []
        for label in range(tta_models.CLASSES):
            chosen += sorted((one for one in kept if one[2] == label), key=lambda one: one[1])[:3]
        kept = chosen

    admit(kernel.T)
    for batch in range(3):
        images = tta_models.images(COUNT, seed=20 + batch)
        state, adapted = adapt(state, images, KEY, jnp.asarray(MASK))
        features = np.asarray(model.apply(soft(), images, "source", None)[1], np.float64)
        admit(features[:10])
        expected = np.zeros((len(features), tta_models.CLASSES))
        for label in range(tta_models.CLASSES):
            mine = [one[0] / np.linalg.norm(one[0]) for one in kept if one[2] == label]
            if mine:
                total = np.sum(mine, axis=0)
                expected[:, label] = features @ (total / np.linalg.norm(total))
        np.testing.assert_allclose(adapted.logits, expected, atol=1e-4)
        stayed = [any(np.allclose(row, one[0], atol=1e-9) for one in kept) for row in features]
        assert np.array_equal(adapted.selected, np.array(stayed) & MASK)
    assert int(state.used.sum()) == len(kept) > tta_models.CLASSES


# --- CoTTA --------------------------------------------------------------------------------------------------------


def test_cotta_averages_its_teacher_and_restores_a_share():
    _, state, adapt = made("cotta")
    before = parts.flat(state.learned.variables["params"])
    first, adapted = adapt(state, IMAGES, KEY, jnp.asarray(MASK))
    second, _ = adapt(first, IMAGES, jax.random.key(9), jnp.asarray(MASK))
    assert int(adapted.info["augmented"]) == int(softmax(outputs("batch")[0])[:10].max(1).mean() < 0.92)
    student = parts.flat(first.learned.variables["params"])
    numbers = restored = 0
    for path, source in before.items():
        teacher = np.asarray(first.teacher[path])
        # The teacher moved towards the student before it was restored: what was not restored says where that was.
        stays = np.asarray(student[path] != source)
        np.testing.assert_allclose(
            teacher[stays], 0.9 * np.asarray(source)[stays] + 0.1 * np.asarray(student[path])[stays], rtol=1e-5
        )
        came_back = np.asarray(parts.flat(second.learned.variables["params"])[path] == source)
        numbers, restored = numbers + came_back.size, restored + came_back.sum()
    # 63 numbers restored with probability ¼; six standard deviations.
    assert abs(restored - numbers / 4) < 6 * math.sqrt(numbers * 3 / 16) and restored > 0


def test_cotta_loss_is_the_cross_entropy_to_the_teacher():
    model = tta_models.tiny()
    sure = cotta.make(model, confidence=0.0, restore=0.0, **SLOW)
    state, adapted = jax.jit(sure.adapt)(sure.init(soft()), IMAGES, KEY, jnp.asarray(MASK))
    logits = outputs("batch")[0]
    close(adapted.logits, logits, 1e-4)
    np.testing.assert_allclose(adapted.info["loss"], entropy(logits)[:10].mean(), rtol=1e-4)
    assert int(adapted.info["forward_rows"]) == 3 * COUNT and int(adapted.info["augmented"]) == 0
    # Student and teacher agree on the first batch: dL/dz = p − p' = 0, so the student stays.
    close(state.learned.variables, soft(), 1e-5)


def test_restoring_has_its_rate():
    values = {"a": jnp.ones((100, 100)), "b": jnp.ones((5000,))}
    restored = cotta.restored_to(KEY, values, jax.tree.map(jnp.zeros_like, values), 0.1)
    shares = [float(1 - value.mean()) for value in restored.values()]
    np.testing.assert_allclose(shares, 0.1, atol=0.02)


# --- RoTTA --------------------------------------------------------------------------------------------------------


class Item:
    """An image in the memory of the list implementation."""

    def __init__(self, row, label, uncertainty):
        self.row, self.label, self.uncertainty, self.age = row, label, uncertainty, 0


def shown(items, item, capacity, num_classes, lambda_t, lambda_u):
    """Show one image to the memory, a plain list; the paper's rule in its own words."""

    def importance(age, uncertainty):
        return lambda_t / (1 + math.exp(-age / capacity)) + lambda_u * uncertainty / math.log(num_classes)

    def throw_out(rivals):
        worst = max(rivals, key=lambda one: importance(one.age, one.uncertainty))
        if importance(worst.age, worst.uncertainty) > importance(0, item.uncertainty):
            items.remove(worst)
            items.append(item)

    mine = [one for one in items if one.label == item.label]
    if len(mine) >= capacity / num_classes:
        throw_out(mine)
    elif len(items) < capacity:
        items.append(item)
    else:
        sizes = [sum(one.label == label for one in items) for label in range(num_classes)]
        throw_out([one for one in items if sizes[one.label] == max(sizes)])
    for one in items:
        one.age += 1


@pytest.mark.parametrize("capacity, num_classes, lambda_t", [(7, 3, 1.0), (4, 8, 1.0), (12, 4, 0.0)])
def test_rotta_memory_follows_the_rule(capacity, num_classes, lambda_t):
    generator = np.random.default_rng(capacity)
    rule = rotta.Rule(num_classes, lambda_t, 1.0)
    count, items, names = 30, [], [None] * capacity
    memory = rotta.Memory(
        used=jnp.zeros(capacity, bool),
        label=jnp.zeros(capacity, jnp.int32),
        uncertainty=jnp.zeros(capacity, jnp.float32),
        age=jnp.zeros(capacity, jnp.int32),
    )
    show = jax.jit(functools.partial(rotta.remembered, rule=rule))
    for batch in range(3):
        skewed = generator.dirichlet(np.full(num_classes, 0.3 if batch else 1e-2))
        label = generator.choice(num_classes, count, p=skewed).astype(np.int32)
        uncertainty = generator.uniform(0, math.log(num_classes), count).astype(np.float32)
        here = generator.uniform(size=count) < 0.8
        memory, place, _ = show(memory, jnp.asarray(label), jnp.asarray(uncertainty), jnp.asarray(here))
        for row in np.flatnonzero(here):
            shown(items, Item((batch, row), label[row], float(uncertainty[row])), capacity, num_classes, lambda_t, 1.0)
        memory = jax.tree.map(np.asarray, memory)
        names = [names[at] if at < capacity else (batch, at - capacity) for at in np.asarray(place)]
        rows = zip(names, memory.age, memory.label, memory.used, strict=True)
        found = {name: (int(age), int(label)) for name, age, label, used in rows if used}
        assert found == {item.row: (item.age, item.label) for item in items}
        assert len(found) == int(memory.used.sum())
    assert len(items) >= min(capacity, num_classes) // 2


def test_rotta_steps_after_every_interval():
    model = tta_models.tiny()
    _, state, adapt = made("rotta")
    logits = outputs("source")[0]
    first, adapted = adapt(state, IMAGES, KEY, jnp.asarray(MASK))
    close(adapted.logits, logits, 1e-4)  # the teacher's, by its statistics before the batch
    assert int(adapted.info["steps"]) == 2 and int(first.since) == 0
    assert int(adapted.info["backward_rows"]) == 2 * 6
    few = jnp.arange(COUNT) < 4
    waiting, quiet = adapt(state, IMAGES, KEY, few)
    assert int(quiet.info["updated"]) == 0 and int(waiting.since) == 4
    close(waiting.learned, state.learned, 0)
    close(waiting.teacher_moments, state.teacher_moments, 0)
    # One more image, and a step is due, from the memory and ages of the list implementation.
    fifth = tta_models.images(COUNT, seed=8)
    stepped, due = adapt(waiting, fifth, KEY, jnp.arange(COUNT) < 1)
    assert int(due.info["steps"]) == 1 and int(stepped.since) == 0
    items = []
    label, uncertainty = logits.argmax(1), entropy(logits)
    other = np.asarray(model.apply(soft(), fifth, "source", None)[0])
    for row in range(4):
        shown(items, Item(row, label[row], uncertainty[row]), 6, 3, 1.0, 1.0)
    shown(items, Item(4, other.argmax(1)[0], entropy(other)[0]), 6, 3, 1.0, 1.0)
    assert sorted(item.age for item in items) == sorted(np.asarray(stepped.memory.age)[np.asarray(stepped.memory.used)])
    remembered = jnp.stack([IMAGES[item.row] if item.row < 4 else fifth[0] for item in items])
    measured = model.measure(soft(), remembered, lambda path, inputs, source, batch: mixed(source, batch, 0.05), None)
    old = state.teacher_moments["bn"]
    close(stepped.teacher_moments["bn"], mixed(old, measured["bn"], 0.05), 1e-5)
    seen = augmentations.views(jax.random.fold_in(KEY, 0), stepped.images, augmentations.jittered)
    robust, used = rotta.robust(state.teacher_moments, 0.05), stepped.memory.used
    of_student, of_teacher = (model.apply(soft(), shown_to, robust, used)[0] for shown_to in (seen, stepped.images))
    divergence = -np.sum(softmax(of_teacher) * np.log(softmax(of_student)), axis=1)
    weight = 1 / (1 + np.exp(np.asarray(stepped.memory.age) / 6))
    np.testing.assert_allclose(due.info["loss"], (weight * divergence)[np.asarray(used)].mean(), rtol=1e-4)
    source = parts.pick(soft(), tuple(stepped.teacher))
    student = parts.pick(stepped.learned.variables, tuple(stepped.teacher))
    for path, value in stepped.teacher.items():
        np.testing.assert_allclose(value, 0.9 * source[path] + 0.1 * student[path], rtol=1e-5)
    assert max(float(jnp.abs(student[path] - source[path]).max()) for path in source) > 1e-5


def mixed(old, new, rate):
    return tuple((1 - rate) * one + rate * other for one, other in zip(old, new, strict=True))


# --- ROID ---------------------------------------------------------------------------------------------------------


def roid_weights_in_numpy(logits, average, temperature):
    p = softmax(logits)
    diversity = 1 - p @ average / np.linalg.norm(p, axis=1) / np.linalg.norm(average)
    diversity = (diversity - diversity.min()) / (diversity.max() - diversity.min())
    certainty = -entropy(logits)
    certainty = (certainty - certainty.min()) / (certainty.max() - certainty.min())
    return np.exp(diversity * certainty / temperature), diversity >= diversity.mean()


def test_roid_weighs_by_diversity_and_certainty():
    logits = np.random.default_rng(4).normal(size=(COUNT, 5), scale=2).astype(np.float32)
    average = np.array([0.5, 0.2, 0.1, 0.1, 0.1])
    weight, selected = roid.weights(jnp.asarray(logits), jnp.asarray(average, jnp.float32), jnp.asarray(MASK), 1 / 3)
    expected, chosen = roid_weights_in_numpy(logits[:10], average, 1 / 3)
    np.testing.assert_allclose(np.asarray(weight)[:10], expected, rtol=1e-4)
    assert np.array_equal(selected, np.append(chosen, [False, False])) and 0 < chosen.sum() < 10
    single = jnp.arange(COUNT) == 4
    weight, selected = roid.weights(jnp.asarray(logits), jnp.asarray(average, jnp.float32), single, 1 / 3)
    assert float(weight[4]) == 1 and np.array_equal(selected, single)


def test_roid_loss_and_prior():
    logits = np.array([[0.0, 1.0, -2.0], [9.0, 0.0, 0.0], [200.0, 0.0, -200.0]], np.float32)
    p = np.minimum(softmax(logits), 0.99)
    expected = -np.sum(p * np.log(np.where(p > 0, p, 1) / (1 - p)), axis=1)
    np.testing.assert_allclose(roid.likelihood_ratio(jnp.asarray(logits), 0.99), expected, rtol=1e-4)
    slope = jax.grad(lambda z: jnp.sum(roid.likelihood_ratio(z, 0.99)))(jnp.asarray(logits))
    assert np.isfinite(slope).all()
    rows = np.array([True, True, False])
    prior = softmax(logits)[rows].mean(0)
    smooth = max(1 / 2, 1 / 3) / prior.max()
    smoothed = (prior + smooth) / (1 + 3 * smooth)
    new = roid.corrected(jnp.asarray(logits), jnp.asarray(rows), "probabilities")
    posterior = softmax(logits) * smoothed
    np.testing.assert_allclose(softmax(new), posterior / posterior.sum(1, keepdims=True), atol=1e-6)
    scaled = roid.corrected(jnp.asarray(logits), jnp.asarray(rows), "logits")
    np.testing.assert_allclose(scaled, logits * smoothed, rtol=1e-5)


def test_roid_mixes_the_source_in():
    model = tta_models.tiny()
    _, state, adapt = made("roid")
    logits = outputs("batch")[0]
    new, adapted = adapt(state, IMAGES, KEY, jnp.asarray(MASK))
    np.testing.assert_allclose(new.average, 0.9 / 3 + 0.1 * softmax(logits)[:10].mean(0), rtol=1e-4)
    weight, selected = roid_weights_in_numpy(logits[:10], np.full(3, 1 / 3), 1 / 3)
    assert np.array_equal(np.asarray(adapted.selected)[:10], selected)
    # Without views the loss is that of the first pass, its step a gradient's, a hundredth of it taken back.
    plain = roid.make(model, consistency=False, prior_correction="none", **SLOW)
    bare, found = jax.jit(plain.adapt)(plain.init(soft()), IMAGES, KEY, jnp.asarray(MASK))
    ratio = np.asarray(roid.likelihood_ratio(jnp.asarray(logits[:10]), 0.99), np.float64)
    np.testing.assert_allclose(found.info["loss"], np.sum((weight * ratio)[selected]) / 10, rtol=1e-3)
    close(found.logits, logits, 1e-4)
    source, paths = parts.pick(soft(), tuple(state.source)), tuple(state.source)

    @jax.jit
    def value(values):
        logits, _ = model.apply(parts.put(soft(), values), IMAGES, "batch", jnp.asarray(MASK))
        terms = jnp.asarray(weight, jnp.float32) * roid.likelihood_ratio(logits[:10], 0.99)
        return jnp.sum(jnp.where(jnp.asarray(selected), terms, 0)) / 10

    slope = jax.grad(value)(source)
    for path, moved in parts.pick(bare.learned.variables, paths).items():
        np.testing.assert_allclose(moved, source[path] - 0.99 * 0.05 * slope[path], rtol=1e-3, atol=1e-5)


# --- views --------------------------------------------------------------------------------------------------------


def test_affine_maps_move_pixels():
    image = jnp.asarray(np.random.default_rng(0).uniform(size=(6, 6, 2)), jnp.float32)
    same, none = jnp.eye(2), jnp.zeros(2)
    assert np.array_equal(augmentations.affine(image, same, none), image)
    down = augmentations.affine(image, same, jnp.array([2.0, 0.0]), 0.25)
    assert np.array_equal(down[:4], image[2:]) and (np.asarray(down[4:]) == 0.25).all()
    edge = augmentations.affine(image, same, jnp.array([0.0, -1.0]), "edge")
    assert np.array_equal(edge[:, 1:], image[:, :-1]) and np.array_equal(edge[:, 0], image[:, 0])
    mirrored = augmentations.affine(image, same, jnp.array([0.0, -1.0]), "reflect")
    assert np.array_equal(mirrored[:, 0], image[:, 1])
    half = augmentations.affine(image, same, jnp.array([0.0, 0.5]))
    np.testing.assert_allclose(half[:, :-1], (image[:, 1:] + image[:, :-1]) / 2, rtol=1e-5)
    quarter = augmentations.affine(image, augmentations.rotation(jnp.float32(math.pi / 2)), none)
    turned = [np.rot90(np.asarray(image), turns) for turns in (1, 3)]
    assert any(np.allclose(quarter, one, atol=1e-5) for one in turned)


def test_colours_against_numpy():
    generator = np.random.default_rng(1)
    image = generator.integers(0, 256, (8, 8, 3)).astype(np.float32) / 255
    flat = np.full((8, 8, 1), 0.2, np.float32)
    hue, stretched, even, same, blurred = jax.jit(
        lambda image, flat: (
            augmentations.turned_hue(image, jnp.float32(0.2)),
            augmentations.autocontrast(0.25 + image / 2),
            augmentations.equalised(image),
            augmentations.equalised(flat),
            augmentations.blurred(image, jnp.float32(0.7)),
        )
    )(image, flat)
    in_hsv = [[colorsys.rgb_to_hsv(*pixel) for pixel in row] for row in image]
    expected = [[colorsys.hsv_to_rgb((h + 0.2) % 1, s, v) for h, s, v in row] for row in in_hsv]
    np.testing.assert_allclose(hue, expected, atol=1e-5)
    low, top = image.min((0, 1)), image.max((0, 1))
    np.testing.assert_allclose(stretched, (image - low) / (top - low), atol=1e-5)
    levels = np.round(image[..., 0] * 255)
    lowest = (levels == levels.min()).sum()
    expected = ((levels[None, None] <= levels[..., None, None]).sum((2, 3)) - lowest) / (64 - lowest)
    np.testing.assert_allclose(even[..., 0], expected, atol=1e-5)
    np.testing.assert_allclose(same, flat, atol=1e-6)
    kernel = np.exp(-(np.arange(-2, 3) ** 2) / (2 * 0.7**2))
    kernel /= kernel.sum()
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(0, 1))
    np.testing.assert_allclose(blurred, np.einsum("hwcij,i,j->hwc", windows, kernel, kernel), atol=1e-5)


@pytest.mark.parametrize(
    "shape, view",
    [
        ((8, 8, 1), functools.partial(augmentations.mixed, crop="resized", severity=10.0)),
        ((20, 24, 3), functools.partial(augmentations.jittered, outside="reflect")),
    ],
    ids=["mixed", "jittered"],
)
def test_views_are_images_and_differ(shape, view):
    image = jnp.asarray(np.random.default_rng(2).uniform(size=shape), jnp.float32)
    stack = jnp.stack([image] * 6)
    seen = np.asarray(jax.jit(lambda key: augmentations.views(key, stack, view))(KEY))
    assert seen.shape == (6, *shape) and seen.min() >= -1e-6 and seen.max() <= 1 + 1e-6
    gaps = np.abs(seen[:, None] - seen[None]).max((2, 3, 4))
    assert (gaps[~np.eye(6, dtype=bool)] > 1e-3).all()


def test_images_of_either_kind_are_one():
    whole = jnp.arange(256, dtype=jnp.uint8)
    np.testing.assert_allclose(augmentations.unit(whole), np.arange(256) / 255, rtol=1e-6)
    assert np.array_equal(augmentations.unit(jnp.linspace(0, 1, 5)), np.linspace(0, 1, 5, dtype=np.float32))
