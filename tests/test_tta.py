"""Tent, EATA, DeYO and SAR: the official runs, selection that saves compute, what never happens, what is refused."""

import importlib.util
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tta_models import CLASSES, SHAPE, images, tiny

from infojax.tta import deyo, eata, ema_norm, norm, parts, sar, source, tent
from infojax.types import UserError

ROOT = Path(__file__).parents[1]
BATCH = images(12)
KEY = jax.random.key(0)
SOURCE = jnp.stack([images(6, seed=3), images(6, seed=4)])
SGD = {"optimizer": "sgd", "learning_rate": 0.1}


def identical(left, right):
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    return all(np.array_equal(one, other) for one, other in pairs)


def assert_close(left, right, tolerance=1e-5):
    for one, other in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def test_the_official_runs_step_by_step(capsys):
    """Three steps of every recorded method, by the benchmark that replays whole files."""
    place = importlib.util.spec_from_file_location("tta_parity", ROOT / "benchmarks" / "tta_parity.py")
    parity = importlib.util.module_from_spec(place)
    place.loader.exec_module(parity)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        code = parity.main(["--reference", str(ROOT / "tests" / "data" / "tta_reference.npz"), "--compaction", "exact"])
    printed = capsys.readouterr().out
    assert code == 0 and "all 8 runs are the official ones" in printed, printed


GENTLE = {"optimizer": "sgd", "learning_rate": 1e-3}
LEARNERS = {
    "eata": lambda model, share, **more: eata.make(
        model, margin=share, redundancy=2.0, fisher_weight=0.0, **GENTLE, **more
    ),
    "deyo": lambda model, share, **more: deyo.make(
        model, margin=share, plpd_threshold=-0.05, leave_out=(), **GENTLE, **more
    ),
    "sar": lambda model, share, **more: sar.make(
        model, margin=share, radius=1e-3, reset_level=0.0, leave_out=(), **GENTLE, **more
    ),
}


def share_of_half(model):
    """The entropy, as a share of ln C, below which half of the batch lies."""
    logits, _ = model.apply(model.variables, BATCH)
    entropy = -jnp.sum(jax.nn.softmax(logits) * jax.nn.log_softmax(logits), axis=1)
    return float(jnp.median(entropy)) / math.log(CLASSES)


@pytest.mark.parametrize("name", LEARNERS)
def test_compacting_is_exact_without_batch_statistics_and_saves_rows(name):
    model = tiny("group")
    found = {}
    for how in ("exact", "none"):
        method = LEARNERS[name](model, share_of_half(model), compaction=how)
        found[how] = jax.jit(method.adapt)(method.init(model.variables), BATCH, KEY)
    (state, adapted), (whole, other) = found["exact"], found["none"]
    assert_close((state, adapted.logits), (whole, other.logits))
    assert np.array_equal(adapted.selected, other.selected)
    assert 0 < adapted.selected.sum() <= 6
    passes = 2 if name == "sar" else 1
    assert other.info["backward_rows"] == 12 * passes
    assert adapted.info["backward_rows"] <= 6 * passes


@pytest.mark.parametrize("norm_kind", ["batch", "group"])
def test_nothing_selected_is_no_step_and_no_backward(norm_kind):
    """Neither parameters nor the momentum that an earlier step left move; SAR's do, as in its authors' code."""
    model = tiny(norm_kind)
    for make in (
        lambda margin: eata.make(model, margin=margin, redundancy=2.0, fisher_weight=0.0, **SGD),
        lambda margin: deyo.make(model, margin=margin, plpd_threshold=-2.0, leave_out=(), **SGD),
    ):
        method, never = make(2.0), make(-1.0)
        state, first = jax.jit(method.adapt)(method.init(model.variables), BATCH, KEY)
        assert bool(first.selected.all()) and first.info["updated"] == 1
        after, adapted = jax.jit(never.adapt)(state, BATCH, KEY)
        assert identical(after, state)
        assert adapted.info["updated"] == adapted.info["backward_rows"] == 0 and not adapted.selected.any()
    sharp = sar.make(model, margin=2.0, reset_level=0.0, leave_out=(), **SGD)
    still = sar.make(model, margin=-1.0, reset_level=0.0, leave_out=(), **SGD)
    state, _ = sharp.adapt(sharp.init(model.variables), BATCH, KEY)
    assert not identical(still.adapt(state, BATCH, KEY)[0].learned.variables, state.learned.variables)


def test_frozen_statistics_leave_out_the_gradient_through_them():
    model = tiny("batch")
    exact, held = (
        eata.make(model, margin=2.0, redundancy=2.0, fisher_weight=0.0, compaction=how, **SGD)
        for how in ("exact", "frozen_statistics")
    )
    state = exact.init(model.variables)
    one, ours = exact.adapt(state, BATCH, KEY)
    two, theirs = held.adapt(state, BATCH, KEY)
    assert_close(ours.logits, theirs.logits)
    constant = model.measure(model.variables, BATCH)

    def loss(values):
        logits, _ = model.apply(parts.put(model.variables, values), BATCH, constant)
        entropy = -jnp.sum(jax.nn.softmax(logits) * jax.nn.log_softmax(logits), axis=1)
        return jnp.mean(jax.lax.stop_gradient(jnp.exp(2 * math.log(CLASSES) - entropy)) * entropy)

    paths = parts.adapted_paths(model)
    values = parts.pick(model.variables, paths)
    expected = {path: values[path] - 0.1 * slope for path, slope in jax.grad(loss)(values).items()}
    assert_close(parts.pick(two.learned.variables, paths), expected)
    # The scale and shift of the only normalisation see the statistics as given, so that here both agree.
    assert_close(parts.pick(one.learned.variables, paths), expected)
    with pytest.raises(UserError, match="frozen_statistics holds the statistics of the batch"):
        parts.differentiate(
            model,
            model.variables,
            paths,
            parts.Batch(BATCH, jnp.ones(12, bool), jnp.ones(12, bool), None, None),
            lambda logits: (jnp.sum(logits), (jnp.ones(12, bool), None)),
            statistics=0.5,
            compaction="frozen_statistics",
        )


def test_the_first_batch_and_the_average_of_eata_are_in_the_state():
    model = tiny("group")
    method = eata.make(model, margin=2.0, redundancy=1e-6, fisher_weight=0.0, **SGD)
    fresh = method.init(model.variables)
    state, first = method.adapt(fresh, BATCH, KEY)
    assert bool(first.selected.all()), "the first batch knows no average"
    np.testing.assert_allclose(state.average, jax.nn.softmax(first.logits).mean(0), rtol=1e-5)
    after, second = method.adapt(state, BATCH, KEY)
    assert not second.selected.any() and identical(after, state), "all are redundant, and the average stays"
    again, third = method.adapt(fresh, BATCH, KEY)
    assert identical((again, third), (state, first)), "going on with an old state is a reset, of the average too"


def test_the_fisher_information_holds_the_parameters():
    model = tiny("batch")
    paths = parts.adapted_paths(model)
    fisher = eata.fisher_information(model, model.variables, paths, SOURCE)

    def loss(values, batch):
        logits, _ = model.apply(parts.put(model.variables, values), batch)
        return -jnp.mean(jnp.max(jax.nn.log_softmax(logits), axis=1))

    values = parts.pick(model.variables, paths)
    slopes = [jax.grad(loss)(values, batch) for batch in SOURCE]
    assert_close(fisher, {path: (slopes[0][path] ** 2 + slopes[1][path] ** 2) / 2 for path in paths})
    moved = {}
    for weight in (0.0, 1.0, 10.0):
        method = eata.make(model, margin=2.0, redundancy=2.0, fisher_weight=weight, **GENTLE)
        state = method.init(model.variables, source=SOURCE)
        for _ in range(4):
            state, _ = jax.jit(method.adapt)(state, BATCH, KEY)
        now = parts.pick(state.learned.variables, paths)
        moved[weight] = sum(float(jnp.sum(fisher[path] * (now[path] - values[path]) ** 2)) for path in paths)
    assert moved[10.0] < moved[1.0] < moved[0.0]
    with pytest.raises(UserError, match=r"fisher_weight=1 needs clean images.*fisher_weight=0 \(ETA\)"):
        eata.make(model, fisher_weight=1.0).init(model.variables)


def test_the_second_pass_of_deyo_has_the_statistics_of_the_certain_rows_alone():
    model = tiny("batch")
    method = deyo.make(model, margin=0.9, plpd_threshold=-2.0, leave_out=(), **SGD)
    state = method.init(model.variables)
    destroyed = deyo.destroy(KEY, BATCH, "pixel", 4, 0.5)
    _, adapted = method.adapt(state, BATCH, KEY, destroyed=destroyed)
    certain = np.flatnonzero(adapted.info["first_filter"])
    assert 0 < len(certain) < 12
    predicted = jax.nn.softmax(model.apply(model.variables, BATCH)[0])[certain]
    after = jax.nn.softmax(model.apply(model.variables, destroyed[certain])[0])
    label = np.argmax(predicted, axis=1)
    rows = np.arange(len(certain))
    expected = predicted[rows, label] - after[rows, label]
    np.testing.assert_allclose(adapted.info["plpd"][certain], expected, rtol=1e-4, atol=5e-6)


@pytest.mark.parametrize("shape", [(2, 8, 8, 1), (2, 16, 12, 3)])
def test_destroyed_images_keep_their_pixels(shape):
    pixels = jnp.asarray(np.random.default_rng(0).uniform(size=shape), jnp.float32)
    for how in ("patch", "pixel"):
        destroyed = deyo.destroy(KEY, pixels, how, 4, 0.5)
        assert not np.array_equal(destroyed, pixels)
        ordered = [np.sort(array.reshape(2, -1, shape[-1]), axis=1) for array in (destroyed, pixels)]
        np.testing.assert_array_equal(*ordered)
    order = jnp.asarray([np.roll(np.arange(16), 1), np.arange(16)])
    moved = deyo.shuffle_patches(pixels, order)
    high, wide = shape[1] // 4, shape[2] // 4
    np.testing.assert_array_equal(moved[1], pixels[1])
    np.testing.assert_array_equal(moved[0, :high, wide : 2 * wide], pixels[0, :high, :wide])
    covered = np.asarray(deyo.occlude(pixels, 0.5))
    inside = covered[:, shape[1] // 4 : 3 * shape[1] // 4, shape[2] // 4 : 3 * shape[2] // 4]
    np.testing.assert_allclose(inside, np.broadcast_to(np.mean(pixels, (1, 2), keepdims=True), inside.shape), rtol=1e-5)
    np.testing.assert_array_equal(covered[:, : shape[1] // 4], pixels[:, : shape[1] // 4])


def test_sizes_that_patches_do_not_divide_are_resized_and_back():
    pixels = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 10, 11, 1)), jnp.float32)
    assert deyo.destroy(KEY, pixels, "patch", 4, 0.5).shape == pixels.shape


def test_sar_goes_back_to_the_source_and_its_average_can_outlive_that():
    model = tiny("group")
    results = {}
    for kept in (False, True):
        method = sar.make(model, margin=2.0, reset_level=10.0, kept_average=kept, leave_out=(), **SGD)
        state, adapted = method.adapt(method.init(model.variables), BATCH, KEY)
        assert adapted.info["recovered"] == 1
        assert identical(state.learned.variables, model.variables)
        results[kept] = bool(state.begun)
    assert results == {False: False, True: True}


def test_norm_source_and_running_averages_are_their_statistics():
    model = tiny("batch")
    plain = model.apply(model.variables, BATCH, "source")[0]
    batch = model.apply(model.variables, BATCH, "batch")[0]
    assert_close(source.make(model).adapt(model.variables, BATCH, KEY)[1].logits, plain)
    assert_close(norm.make(model).adapt(model.variables, BATCH, KEY)[1].logits, batch)
    assert_close(norm.make(model, weight=0.0).adapt(model.variables, BATCH, KEY)[1].logits, plain)
    method = ema_norm.make(model, rate=0.5)
    state, first = method.adapt(method.init(model.variables), BATCH, KEY)
    assert_close(first.logits, model.apply(model.variables, BATCH, 0.5)[0])
    state, _ = method.adapt(state, images(12, seed=9), KEY)
    measured = model.measure(model.variables, images(12, seed=9))["bn"]
    source_values = parts.source_statistics(model, model.variables)["bn"]
    expected = jax.tree.map(
        lambda own, one, two: 0.25 * own + 0.25 * one + 0.5 * two,
        source_values,
        model.measure(model.variables, BATCH)["bn"],
        measured,
    )
    assert_close(state.statistics["bn"], expected)


def test_images_that_are_not_finite_are_predicted_counted_and_not_learned_from():
    model = tiny("batch")
    method = tent.make(model, **SGD)
    state, _ = method.adapt(method.init(model.variables), BATCH, KEY)
    for value in (np.nan, np.inf, -np.inf):
        after, adapted = jax.jit(method.adapt)(state, BATCH.at[3, 1, 2, 0].set(value).at[5, 0, 0, 0].set(value), KEY)
        assert identical(after, state)
        assert adapted.info["invalid"] == 2 and adapted.info["updated"] == 0 and not adapted.selected.any()
        assert np.isfinite(adapted.logits).all()
        others = np.array([row for row in range(12) if row not in (3, 5)])
        alone, _ = model.apply(state.variables, BATCH[others])
        np.testing.assert_allclose(adapted.logits[others], alone, rtol=1e-4, atol=1e-5)


def test_bad_images_get_a_sentence():
    model = tiny("batch")
    method = tent.make(model)
    state = method.init(model.variables)
    for wrong, words in (
        (jnp.zeros((4, 1, 8, 8)), r"channels before height and width.*numpy\.moveaxis"),
        (jnp.zeros((4, 9, 8, 1)), r"takes \(…, 8, 8, 1\): height, width, channels"),
        (jnp.zeros(SHAPE), r"must be a batch \[B, H, W, C\], got the shape \(8, 8, 1\)"),
        (jnp.zeros((4, *SHAPE), jnp.int32), "int32; give floats in .* or uint8"),
        (jnp.zeros((0, *SHAPE)), "a batch of no images"),
    ):
        with pytest.raises(UserError, match=words):
            method.adapt(state, wrong, KEY)
    with pytest.raises(UserError, match="source must be clean images"):
        method.init(model.variables, source=BATCH)
    with pytest.raises(UserError, match="destroyed has the shape"):
        method.adapt(state, BATCH, KEY, destroyed=BATCH[:3])


def test_what_adapts_is_a_predicate_over_paths():
    model = tiny("batch")
    assert parts.adapted_paths(model) == ("bn/bias", "bn/scale")
    assert set(parts.adapted_paths(model, "all")) > set(parts.adapted_paths(model, "body")) >= {"conv/kernel"}
    assert parts.adapted_paths(model, "scale$") == ("bn/scale",)
    assert parts.adapted_paths(model, lambda path: path.endswith("bias"), ("fc",)) == ("bn/bias",)
    with pytest.raises(UserError, match=r"without bn leaves nothing to adapt"):
        parts.adapted_paths(model, "norm", ("bn",))
    with pytest.raises(UserError, match=r"'\[' is not a regular expression"):
        parts.adapted_paths(model, "[")


def test_uint8_images_are_those_divided_by_255():
    model = tiny("batch")
    method = tent.make(model, **SGD)
    whole = jnp.round(255 * BATCH).astype(jnp.uint8)
    one = method.adapt(method.init(model.variables), whole, KEY)
    assert_close(one, method.adapt(method.init(model.variables), whole.astype(jnp.float32) / 255, KEY))
