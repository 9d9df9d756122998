"""Streams of test-time adaptation: which images are met, when, how often, and after which resets."""

import importlib
import math
from pathlib import Path

import numpy as np
import pytest
import yaml

from infojax import testing
from infojax.data.streams import (
    continual,
    correlated,
    gradual,
    label_shift,
    mixed,
    mixture,
    open_set,
    reset_per_shift,
    spurious,
)
from infojax.run import config as configuration
from infojax.types import ImageData, ImageSet, UserError, same_length, segments

ROOT = Path(__file__).parents[1]
YAMLS = sorted((ROOT / "configs" / "stream").glob("*.yaml"))
COUNT, CLASSES, SHAPE = 50, 5, (4, 3, 1)
SHIFTS = ("fog", "blur", "noise")
LABELS = (np.arange(COUNT) * 7 % CLASSES).astype(np.int32)
GROUPS = (np.arange(COUNT) % 4).astype(np.int32)


def numbered(count, mark):
    """Images that say which they are: the number in the first pixel, the mark (of shift, severity) in the second."""
    images = np.zeros((count, *SHAPE), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 1, 0] = np.arange(count), mark
    images[:, 3, 2, 0] = 255
    return images


def mark(shift, severity):
    return 10 * (1 + SHIFTS.index(shift)) + severity


def shifted(shift, severity, seed):
    images = numbered(COUNT, mark(shift, severity))
    images[:, 1, 0, 0] = seed
    return ImageSet(images, LABELS, GROUPS)


DATA = ImageData(
    name="numbered",
    num_classes=CLASSES,
    image_shape=SHAPE,
    mean=(0.0,),
    deviation=(1.0,),
    train=lambda: ImageSet(numbered(COUNT, 0), LABELS, GROUPS),
    test=lambda: ImageSet(numbered(COUNT, 0), LABELS, GROUPS),
    shifts=SHIFTS,
    shifted=shifted,
    unknown=lambda: ImageSet(numbered(20, 100), np.full(20, CLASSES + 1, np.int32)),
    num_groups=4,
)
KINDS = {
    "reset_per_shift": reset_per_shift.make,
    "continual": continual.make,
    "gradual": gradual.make,
    "mixed": mixed.make,
    "label_shift": label_shift.make,
    "correlated": correlated.make,
    "mixture": mixture.make,
    "spurious": spurious.make,
    "open_set": open_set.make,
}


def met(stream, phase=None):
    """(number, mark) of the images that are met, in order, without what fills up."""
    rows = stream.order if phase is None else stream.order[stream.phase == stream.phases.index(phase)]
    mask = stream.mask if phase is None else stream.mask[stream.phase == stream.phases.index(phase)]
    pixels = stream.images[rows[mask]]
    return pixels[:, 0, 0, 0].astype(int), pixels[:, 0, 1, 0].astype(int)


def labels_of(stream, phase=None):
    rows = slice(None) if phase is None else stream.phase == stream.phases.index(phase)
    return stream.labels[stream.order[rows][stream.mask[rows]]]


# --- all kinds ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_is_of_its_seed_and_all_seeds_of_one_layout(kind):
    plan = KINDS[kind](DATA, batch_size=8)
    first, again, other = plan.draw(3), plan.draw(3), plan.draw(4)
    assert plan.name == kind and plan.batch_size == 8
    for name, one, two in zip(first._fields, first, again, strict=True):
        assert np.array_equal(one, two), name
    for name in ("images", "labels", "groups", "domain", "order", "mask", "reset", "phase"):
        one, two = getattr(first, name), getattr(other, name)
        if one is not None:
            assert one.shape == two.shape and one.dtype == two.dtype, name
    assert first.domains == other.domains and first.phases == other.phases
    assert not np.array_equal(met(first)[0], met(other)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_the_fields_of_a_stream_fit_together(kind):
    stream = KINDS[kind](DATA, batch_size=8).draw(0)
    batches = len(stream.order)
    assert stream.images.dtype == np.uint8 and stream.images.shape[1:] == SHAPE
    for name in ("labels", "domain", "order", "phase"):
        assert getattr(stream, name).dtype == np.int32, name
    assert stream.order.shape == stream.mask.shape == (batches, 8)
    assert stream.reset.shape == stream.phase.shape == (batches,)
    assert stream.reset[0] and stream.reset.dtype == stream.mask.dtype == bool
    assert len(stream.labels) == len(stream.domain) == len(stream.images)
    assert set(np.unique(stream.phase)) == set(range(len(stream.phases))) and len(set(stream.phases)) == len(
        stream.phases
    )
    assert stream.domain.max() == len(stream.domains) - 1 and len(set(stream.domains)) == len(stream.domains)
    assert stream.mask[:, 0].all() and (np.diff(stream.mask.astype(int), axis=1) <= 0).all()
    assert (stream.order[~stream.mask] == 0).all()
    # Only the last batch of a phase may be short.
    short = ~stream.mask.all(axis=1)
    assert all(t == batches - 1 or stream.phase[t] != stream.phase[t + 1] for t in np.flatnonzero(short))
    known = stream.labels < CLASSES
    assert (stream.labels[known] == LABELS[stream.images[known][:, 0, 0, 0]]).all()
    if stream.groups is not None:
        assert (stream.groups == GROUPS[stream.images[:, 0, 0, 0]]).all()


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.stem)
def test_a_configuration_makes_a_stream(path):
    section = yaml.safe_load(path.read_text())
    module, _, name = section["_target_"].rpartition(".")
    make = getattr(importlib.import_module(module), name)
    testing.check_yaml(path, make)
    arguments = configuration.check_arguments(make, "stream", section)
    stream = make(DATA, **arguments).draw(0)
    assert stream.mask.any(axis=1).all() and path.read_text().startswith("# ")
    if path.stem != "single":  # what a kind does by default is what its file says
        default = make(DATA).draw(0)
        assert np.array_equal(default.order, stream.order) and default.phases == stream.phases


def test_every_kind_has_a_configuration():
    modules = {path.stem for path in (ROOT / "infojax/data/streams").glob("[a-z]*.py")}
    assert modules == set(KINDS) == {path.stem for path in YAMLS} - {"single"}


# --- each kind ---------------------------------------------------------------------------------------------------


def test_reset_per_shift_meets_every_image_of_every_shift_once_in_one_order():
    stream = reset_per_shift.make(DATA, severity=3, batch_size=8).draw(1)
    assert stream.phases == stream.domains == ("fog/3", "blur/3", "noise/3")
    assert len(stream.order) == 3 * 7 and len(stream.images) == 3 * COUNT
    orders = []
    for shift in SHIFTS:
        numbers, marks = met(stream, f"{shift}/3")
        assert sorted(numbers) == list(range(COUNT)) and (marks == mark(shift, 3)).all()
        orders.append(numbers)
    assert (orders[0] == orders[1]).all() and (orders[0] == orders[2]).all()
    assert np.flatnonzero(stream.reset).tolist() == [0, 7, 14]
    assert stream.mask.sum() == 3 * COUNT and stream.mask[6].tolist() == [True] * 2 + [False] * 6
    assert (stream.images[:, 1, 0, 0] == 1).all()  # the seed reaches the corruptions


def test_fewer_images_are_the_same_of_every_shift_and_only_they_are_kept():
    stream = reset_per_shift.make(DATA, corruption=("noise", "clean"), num_images=11, batch_size=4).draw(0)
    assert stream.phases == ("noise/5", "clean") and len(stream.images) == 22 and stream.order.shape == (6, 4)
    (noisy, marks), (clean, none) = met(stream, "noise/5"), met(stream, "clean")
    assert (noisy == clean).all() and len(set(noisy)) == 11
    assert (marks == mark("noise", 5)).all() and (none == 0).all()


def test_a_batch_larger_than_the_data_is_one_padded_batch():
    stream = reset_per_shift.make(DATA, corruption=("fog",), batch_size=64).draw(0)
    assert stream.order.shape == (1, 64) and stream.mask.sum() == COUNT


def test_segments_begin_with_resets_and_are_lanes_where_equally_long():
    stream = reset_per_shift.make(DATA, batch_size=8).draw(0)
    pieces = segments(stream)
    assert pieces == [slice(0, 7), slice(7, 14), slice(14, 21)] and same_length(pieces)
    reset = stream.reset.copy()
    reset[3] = True
    pieces = segments(stream._replace(reset=reset))
    assert pieces == [slice(0, 3), slice(3, 7), slice(7, 14), slice(14, 21)] and not same_length(pieces)
    whole = continual.make(DATA, batch_size=8).draw(0)
    assert segments(whole) == [slice(0, len(whole.order))]
    assert segments(whole._replace(reset=np.zeros(len(whole.order), bool))) == [slice(0, len(whole.order))]


def test_continual_never_resets_and_keeps_the_clean_images_once():
    stream = continual.make(DATA, batch_size=8).draw(0)
    assert np.flatnonzero(stream.reset).tolist() == [0]
    assert stream.domains == ("fog/5", "blur/5", "noise/5", "clean") and len(stream.images) == 4 * COUNT
    assert stream.phases == tuple(name for s in SHIFTS for name in (f"{s}/5", f"clean_after_{s}/5"))
    assert stream.phase.tolist() == np.repeat(np.arange(6), 7).tolist()
    order = met(stream, "fog/5")[0]
    for shift in SHIFTS:
        numbers, marks = met(stream, f"clean_after_{shift}/5")
        assert (numbers == order).all() and (marks == 0).all() and set(order) == set(range(COUNT))
    bare = continual.make(DATA, clean_between=False, batch_size=8).draw(0)
    assert bare.phases == bare.domains == ("fog/5", "blur/5", "noise/5")


def test_continual_rounds_and_shuffled_shifts_keep_the_layout():
    plan = continual.make(DATA, clean_between=False, shuffle_shifts=True, rounds=4, batch_size=25)
    streams = [plan.draw(seed) for seed in range(3)]
    assert streams[0].phases[:4] == ("fog/5", "blur/5", "noise/5", "fog/5/visit_2") and len(streams[0].phases) == 12
    orders = {tuple(np.asarray(stream.domain[stream.order[::2, 0]])) for stream in streams}
    assert len(orders) == 3  # the domain of each visit
    for stream in streams:
        assert len(stream.images) == 3 * COUNT
        for place in range(4):
            rounds = stream.phase[6 * place : 6 * place + 6]
            assert set(rounds) == {3 * place, 3 * place + 1, 3 * place + 2}
        for index, phase in enumerate(stream.phases):
            assert set(met(stream, phase)[1]) == {mark(SHIFTS[index % 3], 5)}


def test_gradual_goes_up_and_down_over_images_kept_once():
    stream = gradual.make(DATA, corruption=("blur", "fog"), batch_size=25, num_images=50).draw(0)
    severities = [1, 2, 3, 4, 5, 4, 3, 2, 1]
    marks = [met(stream, phase)[1] for phase in stream.phases]
    assert [set(found) for found in marks] == [{mark(s, n)} for s in ("blur", "fog") for n in severities]
    assert (np.diff(stream.phase) >= 0).all() and stream.phase.tolist() == np.repeat(np.arange(18), 2).tolist()
    assert stream.phases[3:7] == ("blur/4", "blur/5", "blur/4/visit_2", "blur/3/visit_2")
    assert len(stream.images) == 2 * 5 * COUNT and np.flatnonzero(stream.reset).tolist() == [0]
    shuffled = [gradual.make(DATA, severities=(1, 2, 1), shuffle_shifts=True).draw(seed) for seed in range(6)]
    assert len({tuple(one.phase) for one in shuffled}) > 1 and len({one.phases for one in shuffled}) == 1
    for one in shuffled:
        assert one.phase.reshape(3, 3).tolist() == [[3 * p, 3 * p + 1, 3 * p + 2] for p in one.phase[::3] // 3]


def test_mixed_meets_every_image_once_and_all_domains_in_a_batch():
    stream = mixed.make(DATA, batch_size=50).draw(0)
    numbers, marks = met(stream)
    assert sorted(zip(marks, numbers, strict=True)) == sorted((mark(s, 5), n) for s in SHIFTS for n in range(COUNT))
    assert stream.phases == ("mixed",) and stream.domains == ("fog/5", "blur/5", "noise/5")
    domains = stream.domain[stream.order]
    assert [len(set(batch)) for batch in domains] == [3, 3, 3]
    assert (marks == np.array([mark(s, 5) for s in SHIFTS])[domains[stream.mask]]).all()


@pytest.mark.parametrize("ratio", [1.0, 8.0, 500_000.0])
def test_label_shift_draws_the_major_class_as_often_as_the_formula_says(ratio):
    draws = 20_000
    stream = label_shift.make(DATA, corruption=("fog",), num_images=draws, imbalance_ratio=ratio, batch_size=100).draw(
        0
    )
    assert stream.mask.all() and stream.order.shape == (200, 100) and len(stream.images) == COUNT
    blocks = labels_of(stream).reshape(CLASSES, draws // CLASSES)
    shares = np.stack([np.bincount(block, minlength=CLASSES) for block in blocks]) / blocks.shape[1]
    major, minor = ratio / (ratio + CLASSES - 1), 1 / (ratio + CLASSES - 1)
    error = 4.5 * math.sqrt(0.25 / blocks.shape[1])
    if ratio > 1:
        majors = shares.argmax(axis=1)
        assert sorted(majors) == list(range(CLASSES))
    else:
        majors = np.arange(CLASSES)
    expected = np.where(np.arange(CLASSES)[None] == majors[:, None], major, minor)
    assert np.abs(shares - expected).max() < error
    # All images of a class are drawn about equally often.
    counts = np.bincount(met(stream)[0], minlength=COUNT)
    assert np.abs(counts - draws / COUNT).max() < 5 * math.sqrt(draws / COUNT)


def test_label_shift_takes_classes_in_an_order_of_the_seed_and_resets_per_shift():
    plan = label_shift.make(DATA, batch_size=8)
    streams = [plan.draw(seed) for seed in range(4)]
    assert len({tuple(labels_of(stream, "fog/5")[::10]) for stream in streams}) > 1
    stream = streams[0]
    assert (met(stream, "fog/5")[0] == met(stream, "noise/5")[0]).all()
    assert np.flatnonzero(stream.reset).tolist() == [0, 7, 14]
    few = label_shift.make(DATA, num_images=12, batch_size=4).draw(0)
    assert len(few.images) == 36 and few.mask.all() and few.order.shape == (9, 4)
    # 12 draws in 5 blocks are 3 + 3 + 2 + 2 + 2.
    assert [len(set(block)) for block in np.split(labels_of(few, "fog/5"), [3, 6, 8, 10])] == [1] * 5


@pytest.mark.parametrize("between", ["reset", "continue", "mix"])
def test_sorted_streams_meet_every_image_once_by_class(between):
    stream = correlated.make(DATA, between_shifts=between, batch_size=10).draw(0)
    if between == "mix":
        assert stream.phases == ("mixed",) and (np.diff(labels_of(stream)) >= 0).all()
        assert len(set(stream.domain[stream.order[0]])) > 1  # the domains are shuffled within a class
    else:
        for phase in stream.phases:
            assert (np.diff(labels_of(stream, phase)) >= 0).all()
            assert sorted(met(stream, phase)[0]) == list(range(COUNT))
    assert len(np.unique(stream.order[stream.mask])) == stream.mask.sum() == 3 * COUNT
    assert stream.reset.sum() == (3 if between == "reset" else 1)


def runs(labels):
    """Mean length of stretches of one class."""
    return len(labels) / (1 + np.count_nonzero(np.diff(labels)))


def test_dirichlet_chunks_are_the_more_sorted_the_smaller_delta():
    big = 2000
    labels = np.random.default_rng(5).integers(0, CLASSES, big).astype(np.int32)
    data = DATA._replace(
        shifts=("fog",), shifted=lambda *_: ImageSet(np.zeros((big, *SHAPE), np.uint8), labels), num_groups=0
    )
    lengths = []
    for delta in (1e-3, 0.1, 1.0, 1e4):
        streams = [correlated.make(data, delta=delta, batch_size=50).draw(seed) for seed in range(3)]
        for stream in streams:
            assert sorted(stream.order[stream.mask]) == list(range(big))
        lengths.append(np.mean([runs(labels_of(stream)) for stream in streams]))
    assert lengths == sorted(lengths, reverse=True)
    # Nearly equal shares: every chunk shows every class, in 25 stretches, but for equal neighbours.
    assert big / 25 - 1 <= lengths[-1] <= big / 20 and lengths[0] > 250
    # At δ → ∞ each chunk holds a fifth of each class, up to the rounding of shares.
    found = np.split(labels_of(correlated.make(data, delta=1e8).draw(0)), CLASSES)
    counts = np.stack([np.bincount(chunk, minlength=CLASSES) for chunk in found])
    assert np.abs(counts - np.bincount(labels) / CLASSES).max() <= 6


def test_a_mixture_has_its_share_of_clean_images():
    stream = mixture.make(DATA, clean_share=0.3, num_images=41, batch_size=8).draw(0)
    assert stream.domains == ("clean", "fog/5", "blur/5", "noise/5") and len(stream.images) == 12 + 3 * 29
    assert stream.phases == ("clean_and_fog/5", "clean_and_blur/5", "clean_and_noise/5") and stream.reset.sum() == 3
    clean = []
    for phase, shift in zip(stream.phases, SHIFTS, strict=True):
        numbers, marks = met(stream, phase)
        assert len(numbers) == len(set(numbers)) == 41
        assert sorted(set(marks)) == [0, mark(shift, 5)] and np.sum(marks == 0) == 12  # round(12.3)
        clean.append(set(numbers[marks == 0]))
        assert 0 < np.sum(marks[:20] == 0) < 12
    assert clean[0] == clean[1] == clean[2]
    for share, domains in ((0.0, {1}), (1.0, {0})):
        one = mixture.make(DATA, corruption=("fog",), clean_share=share).draw(0)
        assert one.mask.sum() == COUNT and set(one.domain) == domains


def test_spurious_is_the_test_set_with_its_groups():
    stream = spurious.make(DATA, batch_size=8).draw(0)
    numbers, marks = met(stream)
    assert sorted(numbers) == list(range(COUNT)) and not marks.any() and stream.groups is not None
    with pytest.raises(UserError, match="no groups"):
        spurious.make(DATA._replace(num_groups=0))
    bare = DATA._replace(test=lambda: DATA.test()._replace(groups=None))
    with pytest.raises(UserError, match="without groups"):
        spurious.make(bare).draw(0)


def test_open_set_takes_as_many_as_there_are_and_labels_the_unknown():
    stream = open_set.make(DATA, batch_size=8).draw(0)
    assert stream.domains == ("fog/5", "unknown", "blur/5", "noise/5")
    assert stream.phases == ("fog/5", "blur/5", "noise/5")
    assert stream.groups is None and len(stream.images) == 3 * 20 + 20 and stream.reset.sum() == 3
    for phase, shift in zip(stream.phases, SHIFTS, strict=True):
        numbers, marks = met(stream, phase)
        unknown = labels_of(stream, phase) >= CLASSES
        assert len(numbers) == 40 and unknown.sum() == 20 and (marks[unknown] == 100).all()
        assert (marks[~unknown] == mark(shift, 5)).all() and len(set(numbers[~unknown])) == 20
        assert 0 < unknown[:10].sum() < 10
    few = open_set.make(DATA, corruption=("fog",), unknown_share=0.2, num_images=25).draw(0)
    assert few.mask.sum() == 25 and (labels_of(few) >= CLASSES).sum() == 5
    most = open_set.make(DATA, corruption=("fog",), unknown_share=0.25).draw(0)
    assert (labels_of(most) < CLASSES).sum() == 50 and (labels_of(most) >= CLASSES).sum() == 16  # of 66
    none = open_set.make(DATA, corruption=("fog",), unknown_share=0.0).draw(0)
    assert none.mask.sum() == COUNT and (labels_of(none) < CLASSES).all()


def test_unknown_images_are_shifted_where_the_data_can():
    def unknown_shifted(shift, severity, seed):
        return ImageSet(numbered(20, 100 + mark(shift, severity)), np.full(20, CLASSES, np.int32))

    data = DATA._replace(unknown_shifted=unknown_shifted)
    stream = open_set.make(data, corruption=("noise", "clean"), severity=2).draw(0)
    assert stream.domains == ("noise/2", "unknown/noise/2", "clean", "unknown/clean")
    assert set(met(stream, "noise/2")[1]) == {mark("noise", 2), 100 + mark("noise", 2)}
    assert set(met(stream, "clean")[1]) == {0, 100}


def test_made_up_unknown_images_keep_colours_or_nothing():
    shuffled = open_set.make(DATA, corruption=("fog",), unknown_from="shuffled", unknown_share=0.5).draw(0)
    assert shuffled.domains == ("fog/5", "unknown/fog/5") and shuffled.mask.sum() == 2 * COUNT
    known, unknown = (shuffled.images[shuffled.domain == index].reshape(COUNT, -1) for index in (0, 1))
    assert (np.sort(known, axis=1) == np.sort(unknown, axis=1)).all() and not (known == unknown).all(axis=1).any()
    assert (shuffled.labels[shuffled.domain == 1] == CLASSES).all()
    noise = open_set.make(DATA, corruption=("fog",), unknown_from="noise").draw(0)
    pixels = noise.images[noise.domain == 1]
    assert pixels.min() < 5 and pixels.max() > 250 and abs(pixels.mean() - 127.5) < 5 * 74 / math.sqrt(pixels.size)


# --- what cannot be ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: reset_per_shift.make(DATA, num_images=0), "num_images=0 makes an empty stream"),
        (lambda: spurious.make(DATA, num_images=0), "num_images=0 makes an empty stream"),
        (lambda: mixed.make(DATA, batch_size=0), "batch_size=0"),
        (lambda: reset_per_shift.make(DATA, severity=6), "severity of 6.*1 to 5"),
        (lambda: gradual.make(DATA, severities=(1, 0)), "severity of 0"),
        (lambda: gradual.make(DATA, severities=()), "empty stream"),
        (lambda: reset_per_shift.make(DATA, corruption=("nois",)), "names nois.*did you mean noise"),
        (lambda: mixed.make(DATA, corruption="qqq"), "there are fog, blur, noise, clean"),
        (lambda: mixture.make(DATA, corruption=("clean",)), "names clean"),
        (lambda: gradual.make(DATA, corruption=("clean",)), "names clean"),
        (lambda: continual.make(DATA, corruption=("fog", "fog")), "fog twice"),
        (lambda: continual.make(DATA, rounds=0), "rounds=0"),
        (lambda: reset_per_shift.make(DATA._replace(shifts=())), "no shifts"),
        (lambda: label_shift.make(DATA, imbalance_ratio=0.5), "imbalance_ratio=0.5"),
        (lambda: label_shift.make(DATA, imbalance_ratio=math.inf), "imbalance_ratio=inf"),
        (lambda: correlated.make(DATA, delta=0.0), "delta=0.0"),
        (lambda: mixture.make(DATA, clean_share=1.5), "clean_share=1.5"),
        (lambda: open_set.make(DATA, unknown_share=1.0), "unknown_share=1.0.*below 1"),
        (lambda: open_set.make(DATA._replace(unknown=None)), "no images of unknown classes.*shuffled"),
        (lambda: reset_per_shift.make(DATA, num_images=51).draw(0), "more than the 50 images of fog/5"),
        (lambda: label_shift.make(DATA, num_images=4).draw(0), "fewer than the 5 blocks"),
        (lambda: open_set.make(DATA, num_images=60).draw(0), "30 images of unknown classes.*there are 20"),
        (lambda: open_set.make(DATA, unknown_share=0.1, num_images=60).draw(0), "54 images of known classes"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(call, message):
    with pytest.raises(UserError, match=message):
        call()


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_data_that_are_not_what_they_say_are_refused(kind):
    empty = ImageSet(np.zeros((0, *SHAPE), np.uint8), np.zeros(0, np.int32), np.zeros(0, np.int32))
    data = DATA._replace(test=lambda: empty, shifted=lambda *_: empty)
    with pytest.raises(UserError, match="holds no images"):
        KINDS[kind](data).draw(0)
    floats = ImageSet(np.zeros((COUNT, *SHAPE), np.float32), LABELS, GROUPS)
    with pytest.raises(UserError, match="uint8"):
        KINDS[kind](DATA._replace(test=lambda: floats, shifted=lambda *_: floats)).draw(0)


def test_unknown_images_with_known_labels_are_refused():
    data = DATA._replace(unknown=lambda: ImageSet(numbered(20, 100), np.zeros(20, np.int32)))
    with pytest.raises(UserError, match="label 0, which is one of its 5 classes"):
        open_set.make(data).draw(0)


def test_shifts_may_have_other_numbers_of_images():
    """As ImageNet-R beside ImageNet: each shift is met whole, and the pieces are no longer equally long."""

    def uneven(shift, severity, seed):
        count = {"fog": 50, "blur": 20, "noise": 33}[shift]
        return ImageSet(numbered(count, mark(shift, severity)), LABELS[:count], GROUPS[:count])

    data = DATA._replace(shifted=uneven)
    stream = reset_per_shift.make(data, batch_size=8).draw(0)
    assert segments(stream) == [slice(0, 7), slice(7, 10), slice(10, 15)] and not same_length(segments(stream))
    assert sorted(met(stream, "blur/5")[0]) == list(range(20))
    opened = open_set.make(data, unknown_share=0.4).draw(0)
    unknown = [int((labels_of(opened, phase) >= CLASSES).sum()) for phase in opened.phases]
    assert unknown == [20, 13, 20] and len(labels_of(opened, "blur/5")) == 33
