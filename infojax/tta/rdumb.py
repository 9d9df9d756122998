"""RDumb: ETA that begins anew every so often.

Press et al. (2023), "RDumb: a simple approach that questions our progress in continual test-time adaptation": EATA
without its Fisher term, and model, optimiser and average prediction restored after every 1000 updates. On streams that
go on for long it beats methods made for them. See `infojax.tta.eata` and `infojax.tta.wrappers.reset_every`.
"""

from infojax.nets.optimizers import Optimizer
from infojax.tta import eata, parts
from infojax.tta.wrappers import reset_every
from infojax.types import Count, Method, Model, NonNegative, Positive, Rate


def make(
    model: Model,
    *,
    updates: Count = 1000,
    margin: Positive = 0.4,
    redundancy: Positive = 0.4,
    average_rate: Rate = 0.1,
    optimizer: Optimizer = "adam",
    learning_rate: Positive = 1e-3,
    momentum: NonNegative = 0.9,
    parameters: str = "norm",
    leave_out: tuple[str, ...] = (),
    compaction: parts.Compaction = "exact",
) -> Method:
    """ETA with a reset after a number of updates.

    Args:
        model: that is adapted.
        updates: after which it begins anew.
        margin: E0 as a share of ln C.
        redundancy: largest |cosine| with the average prediction.
        average_rate: share of a new batch in the average prediction.
        optimizer: "adam" or "sgd".
        learning_rate: of a step.
        momentum: of sgd, plain.
        parameters: what adapts: norm, all, body, or a regular expression of paths.
        leave_out: regular expressions of paths that do not adapt.
        compaction: exact, none or frozen_statistics; see `infojax.tta.parts`.
    """
    inner = eata.make(
        model,
        margin=margin,
        redundancy=redundancy,
        fisher_weight=0.0,
        average_rate=average_rate,
        optimizer=optimizer,
        learning_rate=learning_rate,
        momentum=momentum,
        parameters=parameters,
        leave_out=leave_out,
        compaction=compaction,
    )
    return reset_every(inner, updates)
