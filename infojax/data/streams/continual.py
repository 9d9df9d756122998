"""One shift after another without ever restoring the source model, with clean images in between.

Wang, Fink, Van Gool and Dai (2022), "Continual test-time domain adaptation"; the clean images after every shift, whose
error tells what was forgotten, are from Niu et al. (2022), "Efficient test-time model adaptation without forgetting".
"""

from infojax.data.streams import _parts
from infojax.types import Count, ImageData, Stream, StreamPlan, UserError


def make(
    data: ImageData,
    *,
    corruption: _parts.Corruption = None,
    severity: _parts.Severity = 5,
    batch_size: Count = 64,
    num_images: _parts.NumImages = None,
    clean_between: bool = True,
    shuffle_shifts: bool = False,
    rounds: Count = 1,
) -> StreamPlan:
    """Every image of every shift once a round, and after each shift the same images clean, as `clean_after_…`.

    Args:
        data: where the images come from.
        corruption: a name or several, or None for all; `clean` stands for the test images as they are.
        severity: of the corruptions.
        batch_size: B; the last batch of a shift is filled up and masked.
        num_images: of each shift, or None for all.
        clean_between: whether clean images follow every shift; a method adapts to them like to any others.
        shuffle_shifts: whether the shifts come in an order of the seed, another in each round.
        rounds: how often the shifts are gone through; their later visits are named `…/visit_2`.

    Raises:
        UserError: a value out of its range, an unknown shift, more images than there are.
    """
    listed = _parts.check(data, corruption, (severity,), batch_size, num_images)
    if rounds < 1:
        raise UserError(f"stream.rounds={rounds} makes an empty stream; give 1 or more")
    between = (_parts.CLEAN,) if clean_between and _parts.CLEAN not in listed else ()
    legs = [_leg(_parts.domain_name(shift, severity), clean_between) for shift in listed]
    names = _parts.distinct(phase for _ in range(rounds) for leg in legs for _, phase in leg)

    def draw(seed: int) -> Stream:
        sets = (_parts.drawn(data, shift, severity, seed, num_images) for shift in (*listed, *between))
        gathered = _parts.gather(data, sets)
        generator = _parts.generator(seed, _parts.SEQUENCE)
        met = []
        for _ in range(rounds):
            places = generator.permutation(len(legs)) if shuffle_shifts else range(len(legs))
            met += [stop for place in places for stop in legs[place]]
        phases = _parts.distinct(phase for _, phase in met)
        visits = [
            _parts.Visit(phase, _parts.rows_of(gathered, domain), reset=False)
            for phase, (domain, _) in zip(phases, met, strict=True)
        ]
        return _parts.lay_out(gathered, visits, batch_size, names)

    return StreamPlan("continual", batch_size, draw)


def _leg(domain: str, clean_between: bool) -> list[tuple[str, str]]:
    """Domains and phases of a shift and of what follows it."""
    return [(domain, domain), *([(_parts.CLEAN, f"clean_after_{domain}")] if clean_between else [])]
