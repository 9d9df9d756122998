"""Shifts that grow and fade: severities 1 2 3 4 5 4 3 2 1 of each, without ever restoring the source model.

Wang, Fink, Van Gool and Dai (2022), "Continual test-time domain adaptation".
"""

from infojax.data.streams import _parts
from infojax.types import Count, ImageData, Stream, StreamPlan, UserError


def make(
    data: ImageData,
    *,
    corruption: _parts.Corruption = None,
    severities: tuple[_parts.Severity, ...] = (1, 2, 3, 4, 5, 4, 3, 2, 1),
    batch_size: Count = 64,
    num_images: _parts.NumImages = None,
    shuffle_shifts: bool = False,
) -> StreamPlan:
    """Every image once at every step of every shift; images of one severity are kept once and visited again.

    Args:
        data: where the images come from.
        corruption: a name or several, or None for all.
        severities: of each shift, in this order; a second visit to one is named `…/visit_2`.
        batch_size: B; the last batch of a severity is filled up and masked.
        num_images: of each severity of each shift, or None for all.
        shuffle_shifts: whether the shifts come in an order of the seed.

    Raises:
        UserError: a value out of its range, an unknown shift, more images than there are.
    """
    if not severities:
        raise UserError("stream.severities=[] makes an empty stream; give severities from 1 to 5, such as [1,3,5,3,1]")
    listed = _parts.check(data, corruption, severities, batch_size, num_images, clean=False)
    steps = {shift: _parts.distinct(_parts.domain_name(shift, severity) for severity in severities) for shift in listed}

    def draw(seed: int) -> Stream:
        sets = (
            _parts.drawn(data, shift, severity, seed, num_images)
            for shift in listed
            for severity in dict.fromkeys(severities)
        )
        gathered = _parts.gather(data, sets)
        generator = _parts.generator(seed, _parts.SEQUENCE)
        places = generator.permutation(len(listed)) if shuffle_shifts else range(len(listed))
        visits = [
            _parts.Visit(phase, _parts.rows_of(gathered, _parts.domain_name(listed[place], severity)), reset=False)
            for place in places
            for phase, severity in zip(steps[listed[place]], severities, strict=True)
        ]
        return _parts.lay_out(gathered, visits, batch_size, tuple(phase for shift in listed for phase in steps[shift]))

    return StreamPlan("gradual", batch_size, draw)
