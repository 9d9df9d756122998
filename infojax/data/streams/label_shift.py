"""Labels that come in blocks: one class after another is the major one.

Niu et al. (2023), "Towards stable test-time adaptation in dynamic wild world" (online imbalanced label
shift). With C classes and imbalance ratio r, the label of a draw is the major class of its block with probability
r / (r + C − 1), and each other class with 1 / (r + C − 1); the image is one of that class, drawn with replacement.
"""

import math
from typing import Annotated

import numpy as np

from infojax.data.streams import _parts
from infojax.types import Count, ImageData, Range, Stream, StreamPlan, UserError


def make(
    data: ImageData,
    *,
    corruption: _parts.Corruption = None,
    severity: _parts.Severity = 5,
    batch_size: Count = 64,
    num_images: _parts.NumImages = None,
    imbalance_ratio: Annotated[float, Range(1, math.inf, open_high=True)] = 500_000.0,
) -> StreamPlan:
    """C blocks of equal length, their major classes in an order of the seed; the source is restored before each shift.

    Args:
        data: where the images come from; C counts the classes that its test images show.
        corruption: a name or several, or None for all; `clean` stands for the test images as they are.
        severity: of the corruptions.
        batch_size: B; batches run over the ends of blocks, the last is filled up and masked.
        num_images: draws from each shift, of which images may be met many times or never; None for as many draws as
            images. Where C does not divide it, the first blocks are longer by one.
        imbalance_ratio: r; 1 is no shift of labels.

    Raises:
        UserError: a value out of its range, an unknown shift, fewer draws than classes.
    """
    listed = _parts.check(data, corruption, (severity,), batch_size, num_images)
    if not 1 <= imbalance_ratio < math.inf:
        raise UserError(f"stream.imbalance_ratio={imbalance_ratio} is none; give 1 (no shift of labels) or more")

    def draw(seed: int) -> Stream:
        sequences: dict[str, np.ndarray] = {}

        def sets() -> _parts.Sets:
            for shift in listed:
                name, images = _parts.domain_name(shift, severity), _parts.read(data, shift, severity, seed)
                count = len(images.labels)
                rows = _draws(np.asarray(images.labels), num_images or count, imbalance_ratio, seed)
                # Of fewer draws than images only what was drawn is kept.
                few = len(rows) < count
                sequences[name] = np.arange(len(rows)) if few else rows
                yield name, _parts.taken(images, rows) if few else images

        gathered = _parts.gather(data, sets())
        visits = [
            _parts.Visit(name, _parts.rows_of(gathered, name)[sequences[name]], reset=True) for name in gathered.domains
        ]
        return _parts.lay_out(gathered, visits, batch_size)

    return StreamPlan("label_shift", batch_size, draw)


def _draws(labels: np.ndarray, num_draws: int, ratio: float, seed: int) -> np.ndarray:
    """Rows of `labels` [N], (num_draws,)."""
    generator = _parts.generator(seed, _parts.SEQUENCE)
    classes = np.unique(labels)
    count = len(classes)
    if num_draws < count:
        raise UserError(f"stream.num_images={num_draws} are fewer than the {count} blocks; give at least one for each")
    major = np.concatenate(
        [
            np.full(len(block), chosen)
            for chosen, block in zip(
                generator.permutation(count), np.array_split(np.arange(num_draws), count), strict=True
            )
        ]
    )
    minor = generator.integers(0, max(count - 1, 1), num_draws)
    minor = minor + (minor >= major)
    drawn = np.where(generator.random(num_draws) < ratio / (ratio + count - 1), major, minor)
    rows = np.empty(num_draws, np.int64)
    for index, label in enumerate(classes):
        places = drawn == index
        rows[places] = generator.choice(np.flatnonzero(labels == label), int(places.sum()))
    return rows
