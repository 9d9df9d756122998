"""Shifted images of known classes among images of classes that the model does not know.

Lee et al. (2023), "Towards open-set test-time adaptation utilizing the wisdom of crowds in entropy minimization": as
many images of unknown classes as of known ones, under the same corruption. Where the data have no such images, they are
made of what there is; those belong to no class either, but are easier to tell.
"""

from typing import Annotated, Literal

import numpy as np

from infojax.data.streams import _parts
from infojax.types import Count, ImageData, ImageSet, Range, Stream, StreamPlan, UserError

Source = Literal["data", "shuffled", "noise"]


def make(
    data: ImageData,
    *,
    corruption: _parts.Corruption = None,
    severity: _parts.Severity = 5,
    batch_size: Count = 64,
    num_images: _parts.NumImages = None,
    unknown_share: Annotated[float, Range(0, 1, open_high=True)] = 0.5,
    unknown_from: Source = "data",
) -> StreamPlan:
    """Images of known and unknown classes, each once for each shift, shuffled; the source is restored before each.

    Args:
        data: where the images come from.
        corruption: a name or several, or None for all; `clean` stands for the test images as they are.
        severity: of the corruptions.
        batch_size: B; the last batch of a shift is filled up and masked.
        num_images: for each shift, known and unknown together; None for as many as there are at that share.
        unknown_share: round(unknown_share · num_images) of them are of unknown classes.
        unknown_from: "data", its images of unknown classes, under the shift where the data can shift them, else as
            they are; "shuffled", the shifted test images with the pixels of each in a random order, which keeps their
            colours and loses their shapes; "noise", uniform in every pixel.

    Returns:
        A plan whose streams label what is unknown by num_classes or above, in a domain `unknown/…`, or `unknown` for
        images that no shift was applied to.

    Raises:
        UserError: a value out of its range, an unknown shift, data without unknown classes, more images than there are.
    """
    listed = _parts.check(data, corruption, (severity,), batch_size, num_images)
    _parts.check_share("unknown_share", unknown_share, below_one=True)
    if unknown_from == "data" and data.unknown is None:
        raise UserError(
            f"data={data.name} has no images of unknown classes; give stream.unknown_from=shuffled (its own images, "
            "their pixels in disorder) or noise"
        )

    def draw(seed: int) -> Stream:
        shared = unknown_from == "data" and data.unknown_shifted is None
        strange: dict[str, tuple[str, int]] = {}

        def sets() -> _parts.Sets:
            for shift in listed:
                name, images = _parts.domain_name(shift, severity), _parts.read(data, shift, severity, seed)
                unknown = _unknown(data, shift, severity, seed, unknown_from, images)
                known_count, unknown_count = _counts(
                    len(images.labels), len(unknown.labels), unknown_share, num_images, name
                )
                fresh = not (shared and strange)
                other = "unknown" if shared else f"unknown/{name}"
                strange[name] = other, unknown_count
                yield name, _parts.taken(images, _parts.shuffled_rows(name, len(images.labels), seed, known_count))
                if fresh:
                    rows = _parts.shuffled_rows(other, len(unknown.labels), seed, None if shared else unknown_count)
                    yield other, _parts.taken(unknown, rows)

        gathered = _parts.gather(data, sets())
        visits = []
        for name, (other, count) in strange.items():
            rows = np.concatenate([_parts.rows_of(gathered, name), _parts.rows_of(gathered, other)[:count]])
            visits.append(_parts.Visit(name, _parts.generator(seed, _parts.SEQUENCE).permutation(rows), reset=True))
        return _parts.lay_out(gathered, visits, batch_size)

    return StreamPlan("open_set", batch_size, draw)


def _unknown(data: ImageData, shift: str, severity: int, seed: int, source: Source, known: ImageSet) -> ImageSet:
    """All images that there are of unknown classes."""
    if source == "data":
        assert data.unknown is not None
        shifts = data.unknown_shifted is not None and shift != _parts.CLEAN
        found = data.unknown_shifted(shift, severity, seed) if shifts else data.unknown()  # pyright: ignore
        found = _parts.checked(data, "what is unknown", found)
        if np.min(found.labels) < data.num_classes:
            raise UserError(
                f"the unknown images of data={data.name} have a label {np.min(found.labels)}, which is one of its "
                f"{data.num_classes} classes; label them by {data.num_classes} or above"
            )
        return found
    generator, shape = _parts.generator(seed, _parts.SYNTHESIS), known.images.shape
    if source == "noise":
        images = generator.integers(0, 256, shape, np.uint8)
    else:
        pixels = known.images.reshape(shape[0], -1, shape[-1])
        places = np.argsort(generator.random(pixels.shape[:2]), axis=1)
        images = np.take_along_axis(pixels, places[..., None], axis=1).reshape(shape)
    return ImageSet(images, np.full(shape[0], data.num_classes, np.int32), known.groups)


def _counts(known: int, unknown: int, share: float, total: int | None, name: str) -> tuple[int, int]:
    """How many known and unknown images of those that there are make `total` at that share."""
    if total is None:
        most = known / (1 - share) if share == 0 else min(known / (1 - share), unknown / share)
        total = int(most + 1e-9)  # a whole number may be a hair less after the division
    strange = round(share * total)
    for count, available, kind in ((total - strange, known, "known"), (strange, unknown, "unknown")):
        if count > available:
            raise UserError(
                f"stream.num_images={total} with stream.unknown_share={share} takes {count} images of {kind} classes, "
                f"and there are {available} for {name}; give fewer, or null for as many as there are"
            )
    return total - strange, strange
