"""Clean and shifted images side by side in every batch, at a given share.

Zhao et al. (2023), "On pitfalls of test-time adaptation" (TTAB), the scenario of in- and out-of-distribution images
mixed.
"""

import numpy as np

from infojax.data.streams import _parts
from infojax.types import Count, ImageData, Stream, StreamPlan, UnitInterval


def make(
    data: ImageData,
    *,
    corruption: _parts.Corruption = None,
    severity: _parts.Severity = 5,
    batch_size: Count = 64,
    num_images: _parts.NumImages = None,
    clean_share: UnitInterval = 0.5,
) -> StreamPlan:
    """Every image once for each shift, either clean or shifted, shuffled; the source is restored before each shift.

    Args:
        data: where the images come from.
        corruption: a name or several, or None for all.
        severity: of the corruptions.
        batch_size: B; the last batch of a shift is filled up and masked.
        num_images: for each shift, clean and shifted together, or None for all.
        clean_share: round(clean_share · num_images) of them are clean, the same ones for every shift.

    Raises:
        UserError: a value out of its range, an unknown shift, more images than there are.
    """
    listed = _parts.check(data, corruption, (severity,), batch_size, num_images, clean=False)
    _parts.check_share("clean_share", clean_share)

    def draw(seed: int) -> Stream:
        clean = _parts.read(data, _parts.CLEAN, severity, seed)
        total = num_images or len(clean.labels)
        kept = round(clean_share * total)

        def sets() -> _parts.Sets:
            rows = _parts.shuffled_rows(_parts.CLEAN, len(clean.labels), seed, total)
            yield _parts.CLEAN, _parts.taken(clean, rows[:kept])
            for shift in listed:
                name, images = _parts.domain_name(shift, severity), _parts.read(data, shift, severity, seed)
                rows = _parts.shuffled_rows(name, len(images.labels), seed, total)
                yield name, _parts.taken(images, rows[kept:])

        gathered = _parts.gather(data, sets())
        visits = []
        for name in gathered.domains[1:]:
            rows = np.concatenate([_parts.rows_of(gathered, _parts.CLEAN), _parts.rows_of(gathered, name)])
            rows = _parts.generator(seed, _parts.SEQUENCE).permutation(rows)
            visits.append(_parts.Visit(f"clean_and_{name}", rows, reset=True))
        return _parts.lay_out(gathered, visits, batch_size)

    return StreamPlan("mixture", batch_size, draw)
