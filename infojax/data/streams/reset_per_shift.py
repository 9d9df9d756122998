"""One shift after another, the source model restored before each.

The protocol of Wang et al. (2021), "Tent: Fully test-time adaptation by entropy minimization", section 4, and of most
tables since: shuffled images of one corruption at severity 5, then the next with the source model again. With batches
of one image it is the single-sample stream of Niu et al. (2023), "Towards stable test-time adaptation in dynamic wild
world".
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
    """Every image of every shift once; all shifts show the same images in the same order of the seed.

    Args:
        data: where the images come from.
        corruption: a name or several, or None for all; `clean` stands for the test images as they are.
        severity: of the corruptions.
        batch_size: B; the last batch of a shift is filled up and masked.
        num_images: of each shift, or None for all.

    Raises:
        UserError: a value out of its range, an unknown shift, more images than there are.
    """
    listed = _parts.check(data, corruption, (severity,), batch_size, num_images)

    def draw(seed: int) -> Stream:
        gathered = _parts.gather(data, (_parts.drawn(data, shift, severity, seed, num_images) for shift in listed))
        visits = [_parts.Visit(name, _parts.rows_of(gathered, name), reset=True) for name in gathered.domains]
        return _parts.lay_out(gathered, visits, batch_size)

    return StreamPlan("reset_per_shift", batch_size, draw)
