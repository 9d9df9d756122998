"""What goes around a method, by configuration: see `infojax.tta.wrappers` for each."""

from typing import Union

from infojax.tta import wisdom_of_crowds as crowds
from infojax.tta import wrappers
from infojax.types import Count, Method, Model


def make(
    model: Model,
    method: Method,
    *,
    episodic: bool = False,
    reset_every: Union[Count, None] = None,  # noqa: UP007  an Annotated alias has no `|`
    window: Union[Count, None] = None,  # noqa: UP007
    collapse_guard: bool = False,
    wisdom_of_crowds: bool = False,
) -> Method:
    """The method with what is asked for around it, the first innermost.

    Args:
        model: that is adapted.
        method: of adapting it.
        episodic: the source is restored before every batch.
        reset_every: batches after which the source is restored.
        window: images that are adapted to together; None is those of the batch.
        collapse_guard: restore the source when predictions collapse.
        wisdom_of_crowds: learn only from rows whose confidence has not fallen below that of the source.
    """
    if wisdom_of_crowds:
        method = crowds.wisdom_of_crowds(model, method)
    if collapse_guard:
        method = wrappers.collapse_guard(model, method)
    if window is not None:
        method = wrappers.window(model, method, window)
    if reset_every is not None:
        method = wrappers.reset_every(method, reset_every)
    if episodic:
        method = wrappers.episodic(method)
    return method
