"""What the kinds of streams share: reading images of a shift, keeping them once, laying out batches.

Shapes: N images of a set, M of a stream, T batches of B.
"""

import difflib
import math
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, NamedTuple, Union

import numpy as np

from infojax.types import Count, ImageData, ImageSet, Range, Stream, UserError

CLEAN = "clean"
Severity = Annotated[int, Range(1, 5)]
Corruption = str | tuple[str, ...] | None
NumImages = Union[Count, None]  # noqa: UP007  an Annotated alias has no `|`
Sets = Iterable[tuple[str, ImageSet]]
# Separate uses of one seed; a new generator for every shift, so that all shifts show the same images in one order.
IMAGES, SEQUENCE, SYNTHESIS = range(3)


class Gathered(NamedTuple):
    """The images of all domains, one domain after another."""

    images: np.ndarray  # uint8 [M, H, W, C]
    labels: np.ndarray  # int32 [M]
    groups: np.ndarray | None
    domain: np.ndarray  # int32 [M]
    domains: tuple[str, ...]


class Visit(NamedTuple):
    """A stretch of a stream, cut into batches by itself."""

    phase: str
    rows: np.ndarray  # of the gathered images, in the order in which they are met
    reset: bool


def generator(seed: int, use: int) -> np.random.Generator:
    """Random numbers of a seed, others for each use."""
    return np.random.default_rng([seed, use])


def domain_name(shift: str, severity: int) -> str:
    """`gaussian_noise/5`, or `clean`."""
    return shift if shift == CLEAN else f"{shift}/{severity}"


def check(
    data: ImageData,
    corruption: str | Sequence[str] | None,
    severities: Sequence[int],
    batch_size: int,
    num_images: int | None,
    *,
    clean: bool = True,
) -> tuple[str, ...]:
    """The shifts of a stream, all that the data have where none is named.

    Args:
        data: where the images come from.
        corruption: a name or several; `clean` stands for the test images as they are.
        severities: each from 1 to 5.
        batch_size: at least 1.
        num_images: at least 1, or None.
        clean: whether `clean` makes sense among the shifts.

    Raises:
        UserError: a value out of its range, an unknown or repeated shift, data without any.
    """
    check_sizes(batch_size, num_images)
    for severity in severities:
        if severity not in (1, 2, 3, 4, 5):
            raise UserError(
                f"a severity of {severity} is none; corruptions have the severities 1 to 5, give one of them"
            )
    named = (corruption,) if isinstance(corruption, str) else corruption
    if not named and not data.shifts:
        raise UserError(
            f"data={data.name} has no shifts to make a stream of; choose other data, stream.corruption={CLEAN} for its "
            "test images as they are, or stream=spurious where it has groups"
        )
    listed = tuple(named or data.shifts)
    known = (*data.shifts, CLEAN) if clean else data.shifts
    for shift in listed:
        if shift not in known:
            near = difflib.get_close_matches(shift, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known) or 'none'}"
            raise UserError(f"stream.corruption names {shift}, which data={data.name} does not have; {hint}")
        if listed.count(shift) > 1:
            raise UserError(f"stream.corruption names {shift} twice; name each shift once")
    return listed


def check_sizes(batch_size: int, num_images: int | None) -> None:
    """A `UserError` for an empty batch or an empty stream."""
    if batch_size < 1:
        raise UserError(f"stream.batch_size={batch_size} holds no image; give 1 or more")
    if num_images is not None and num_images < 1:
        raise UserError(f"stream.num_images={num_images} makes an empty stream; give 1 or more, or null for all images")


def check_share(key: str, share: float, *, below_one: bool = False) -> None:
    """A `UserError` for a share outside of [0, 1], or of [0, 1)."""
    if not 0 <= share <= 1 or (below_one and share == 1):
        bounds = "from 0 to below 1" if below_one else "from 0 to 1"
        raise UserError(f"stream.{key}={share} is no share of the images; give a number {bounds}")


def read(data: ImageData, shift: str, severity: int, seed: int) -> ImageSet:
    """The test images under a shift, or as they are for `clean`."""
    images = data.test() if shift == CLEAN else data.shifted(shift, severity, seed)
    return checked(data, domain_name(shift, severity), images)


def checked(data: ImageData, name: str, images: ImageSet) -> ImageSet:
    """The same images, or a `UserError` where they are none or of another shape than the data say."""
    shape, count = tuple(images.images.shape), len(images.labels)
    if count == 0:
        raise UserError(f"{name} of data={data.name} holds no images; an empty stream cannot be adapted to")
    if shape != (count, *data.image_shape) or images.images.dtype != np.uint8:
        raise UserError(
            f"{name} of data={data.name} has {count} labels and images {shape} of {images.images.dtype}; the data say "
            f"uint8 ({count}, {', '.join(map(str, data.image_shape))})"
        )
    return images


def taken(images: ImageSet, rows: np.ndarray) -> ImageSet:
    """Some rows of a set, in that order."""
    groups = None if images.groups is None else np.asarray(images.groups)[rows]
    return ImageSet(images.images[rows], np.asarray(images.labels)[rows], groups)


def shuffled_rows(name: str, available: int, seed: int, num_images: int | None) -> np.ndarray:
    """Which images are met, in an order of the seed that is the same for all sets of that size."""
    if num_images is not None and num_images > available:
        raise UserError(
            f"stream.num_images={num_images} is more than the {available} images of {name}; give at most {available}, "
            "or null for all"
        )
    return generator(seed, IMAGES).permutation(available)[:num_images]


def drawn(data: ImageData, shift: str, severity: int, seed: int, num_images: int | None) -> tuple[str, ImageSet]:
    """The name of a domain and `num_images` of its images, in an order of the seed."""
    name = domain_name(shift, severity)
    images = read(data, shift, severity, seed)
    return name, taken(images, shuffled_rows(name, len(images.labels), seed, num_images))


def gather(data: ImageData, sets: Sets) -> Gathered:
    """All images in one array, that grows in place: with a lazy iterable, one set more than the result is in memory."""
    images = np.empty((0, *data.image_shape), np.uint8)
    labels: list[np.ndarray] = []
    groups: list[Any] = []
    domains: list[str] = []
    for name, found in sets:
        start = len(images)
        images.resize((start + len(found.labels), *data.image_shape), refcheck=False)
        images[start:] = found.images
        labels.append(np.asarray(found.labels, np.int32))
        groups.append(found.groups)
        domains.append(name)
    grouped = all(entry is not None for entry in groups)
    return Gathered(
        images=images,
        labels=np.concatenate(labels),
        groups=np.concatenate([np.asarray(entry, np.int32) for entry in groups]) if grouped else None,
        domain=np.repeat(np.arange(len(domains), dtype=np.int32), [len(entry) for entry in labels]),
        domains=tuple(domains),
    )


def rows_of(gathered: Gathered, name: str) -> np.ndarray:
    """The rows of one domain, in the order in which they are stored."""
    return np.flatnonzero(gathered.domain == gathered.domains.index(name))


def lay_out(
    gathered: Gathered, visits: Sequence[Visit], batch_size: int, phases: tuple[str, ...] | None = None
) -> Stream:
    """The stream of some visits, each in batches of its own; the last is filled up by row 0, masked.

    Args:
        gathered: the images.
        visits: one after another.
        batch_size: B.
        phases: the names of the visits in an order that is the same for all seeds; by default that of the visits.
    """
    names = phases or tuple(visit.phase for visit in visits)
    lengths = [math.ceil(len(visit.rows) / batch_size) for visit in visits]
    order = np.zeros((sum(lengths), batch_size), np.int32)
    mask = np.zeros(order.shape, bool)
    reset = np.zeros(len(order), bool)
    start = 0
    for visit, length in zip(visits, lengths, strict=True):
        order[start : start + length].reshape(-1)[: len(visit.rows)] = visit.rows
        mask[start : start + length].reshape(-1)[: len(visit.rows)] = True
        reset[start] = visit.reset
        start += length
    reset[0] = True
    phase = np.repeat(np.array([names.index(visit.phase) for visit in visits], np.int32), lengths)
    return Stream(
        images=gathered.images,
        labels=gathered.labels,
        groups=gathered.groups,
        domain=gathered.domain,
        order=order,
        mask=mask,
        reset=reset,
        phase=phase,
        domains=gathered.domains,
        phases=names,
    )


def distinct(names: Iterable[str]) -> tuple[str, ...]:
    """Names of visits: the second of one name gets `/visit_2`, and so on."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name}/visit_{seen[name]}")
    return tuple(found)
