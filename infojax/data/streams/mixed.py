"""All shifts at once: their images in one shuffled stream, without restoring the source model.

Niu et al. (2023), "Towards stable test-time adaptation in dynamic wild world" (mixed shifts). A batch
holds images of many domains: errors by domain are those by `Stream.domain`.
"""

from infojax.data.streams import _parts
from infojax.types import Count, ImageData, Stream, StreamPlan


def make(
    data: ImageData,
    *,
    corruption: _parts.Corruption = None,
    severity: _parts.Severity = 5,
    batch_size: Count = 64,
    num_images: _parts.NumImages = None,
) -> StreamPlan:
    """Every image of every shift once, all of them in one order of the seed.

    Args:
        data: where the images come from.
        corruption: a name or several, or None for all; `clean` stands for the test images as they are.
        severity: of the corruptions.
        batch_size: B; the last batch is filled up and masked.
        num_images: of each shift, or None for all.

    Raises:
        UserError: a value out of its range, an unknown shift, more images than there are.
    """
    listed = _parts.check(data, corruption, (severity,), batch_size, num_images)

    def draw(seed: int) -> Stream:
        gathered = _parts.gather(data, (_parts.drawn(data, shift, severity, seed, num_images) for shift in listed))
        rows = _parts.generator(seed, _parts.SEQUENCE).permutation(len(gathered.labels))
        return _parts.lay_out(gathered, [_parts.Visit("mixed", rows, reset=True)], batch_size)

    return StreamPlan("mixed", batch_size, draw)
