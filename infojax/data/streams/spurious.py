"""Test images in which a spurious attribute goes with other labels than in training.

Lee et al. (2024), "Entropy is not enough for test-time adaptation: From the perspective of disentangled factors"
(DeYO), ColoredMNIST and Waterbirds. The shift is in the test images themselves; what counts is the error
of the worst group of label and attribute.
"""

from infojax.data.streams import _parts
from infojax.types import Count, ImageData, Stream, StreamPlan, UserError


def make(data: ImageData, *, batch_size: Count = 64, num_images: _parts.NumImages = None) -> StreamPlan:
    """Every test image once, in an order of the seed, with its group.

    Args:
        data: where the images come from; its test images have groups.
        batch_size: B; the last batch is filled up and masked.
        num_images: or None for all.

    Raises:
        UserError: data without groups, a value out of its range, more images than there are.
    """
    _parts.check_sizes(batch_size, num_images)
    if data.num_groups < 1:
        raise UserError(
            f"data={data.name} has no groups, so that there is no spurious attribute to tell them by; choose data with "
            "groups, such as data=colored_mnist"
        )

    def draw(seed: int) -> Stream:
        _, images = _parts.drawn(data, _parts.CLEAN, 1, seed, num_images)
        if images.groups is None:
            raise UserError(f"the test images of data={data.name} come without groups, of which it says it has some")
        gathered = _parts.gather(data, [("test", images)])
        return _parts.lay_out(
            gathered, [_parts.Visit("test", _parts.rows_of(gathered, "test"), reset=True)], batch_size
        )

    return StreamPlan("spurious", batch_size, draw)
