"""Images in an order that depends on their class: sorted, or in chunks of a few classes each.

Sorted is the plainest temporal correlation. Chunks are those of Gong et al. (2022), "NOTE: Robust continual test-time
adaptation against temporal correlation", that Yuan et al. (2023, RoTTA) and Marsden et al. (2024, ROID)
use too: there are as many chunks as classes; the images of a class are parted among the chunks by shares from a
symmetric Dirichlet distribution of concentration δ; a chunk shows its classes one after another, in random order.
"""

from typing import Literal, Union

import numpy as np

from infojax.data.streams import _parts
from infojax.types import Count, ImageData, Positive, Stream, StreamPlan, UserError


def make(
    data: ImageData,
    *,
    corruption: _parts.Corruption = None,
    severity: _parts.Severity = 5,
    batch_size: Count = 64,
    num_images: _parts.NumImages = None,
    delta: Union[Positive, None] = None,  # noqa: UP007  an Annotated alias has no `|`
    between_shifts: Literal["reset", "continue", "mix"] = "reset",
) -> StreamPlan:
    """Every image of every shift once, in an order that depends on its class.

    Args:
        data: where the images come from.
        corruption: a name or several, or None for all; `clean` stands for the test images as they are.
        severity: of the corruptions.
        batch_size: B; the last batch of a shift is filled up and masked.
        num_images: of each shift, or None for all.
        delta: δ, the smaller the fewer classes in a chunk; None sorts by class, in an order of the seed within each.
        between_shifts: "reset" restores the source model before each shift, "continue" goes on with the adapted one,
            "mix" makes one stream of all shifts together.

    Raises:
        UserError: a value out of its range, an unknown shift, more images than there are.
    """
    listed = _parts.check(data, corruption, (severity,), batch_size, num_images)
    if delta is not None and not delta > 0:
        raise UserError(f"stream.delta={delta} is no concentration; give a number above 0, or null to sort by class")

    def ordered(gathered: _parts.Gathered, rows: np.ndarray, seed: int) -> np.ndarray:
        generator = _parts.generator(seed, _parts.SEQUENCE)
        rows = generator.permutation(rows)
        labels = gathered.labels[rows]
        return rows[np.argsort(labels, kind="stable") if delta is None else _chunked(labels, delta, generator)]

    def draw(seed: int) -> Stream:
        gathered = _parts.gather(data, (_parts.drawn(data, shift, severity, seed, num_images) for shift in listed))
        if between_shifts == "mix":
            parts = {"mixed": np.arange(len(gathered.labels))}
        else:
            parts = {name: _parts.rows_of(gathered, name) for name in gathered.domains}
        visits = [
            _parts.Visit(name, ordered(gathered, rows, seed), reset=between_shifts == "reset")
            for name, rows in parts.items()
        ]
        return _parts.lay_out(gathered, visits, batch_size)

    return StreamPlan("correlated", batch_size, draw)


def _chunked(labels: np.ndarray, delta: float, generator: np.random.Generator) -> np.ndarray:
    """An order of `labels` [N] in chunks.

    A chunk that has its N / C images already gets no share of further classes. The published code draws again until
    every chunk has ten images; here a chunk may be small or empty, so that small sets have an order too.
    """
    classes = np.unique(labels)
    chunks: list[list[np.ndarray]] = [[] for _ in classes]
    filled = np.zeros(len(classes), np.int64)
    for label in classes:
        rows = generator.permutation(np.flatnonzero(labels == label))
        shares = generator.dirichlet(np.full(len(classes), delta)) * (filled < len(labels) / len(classes))
        if not shares.sum() > 0:  # all of the distribution's weight is on chunks that are full
            shares = (np.arange(len(classes)) == np.argmin(filled)).astype(float)
        cuts = np.floor(np.cumsum(shares / shares.sum())[:-1] * len(rows)).astype(np.int64)
        for index, piece in enumerate(np.split(rows, cuts)):
            chunks[index].append(piece)
            filled[index] += len(piece)
    return np.concatenate([chunk[place] for chunk in chunks for place in generator.permutation(len(classes))])
