"""The wisdom of crowds: learn only from rows that adapting has made more certain of what the source said.

Lee et al. (2023), "Towards open-set test-time adaptation utilizing the wisdom of crowds in entropy minimization". With
predictions p_i of the adapted model and p⁰_i of the frozen source model, both by the same kind of statistics:

    c_i = argmax p⁰_i,    S = {i: p_i[c_i] ≥ p⁰_i[c_i]}

Rows whose confidence falls while the crowd pulls the model its way are likely of an unknown class, or wrong. The
authors' loss is mean_S H(p_i) − d H(p̄), p̄ the mean over the whole batch. Where S is empty there is no step.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp

from infojax.nets.bundle import probabilities
from infojax.nets.optimizers import Optimizer
from infojax.tta import information_maximisation
from infojax.types import Adapted, Array, Key, Method, Model, NonNegative, Positive, Statistics

TIE = 1e-6  # by which equal predictions may differ through rounding; before the first step all of them are


class CrowdState(NamedTuple):
    """The method's state, and the source model that does not move."""

    inner: Any
    source: Any


def make(
    model: Model,
    *,
    diversity_weight: NonNegative = 0.5,
    optimizer: Optimizer = "adam",
    learning_rate: Positive = 1e-3,
    momentum: NonNegative = 0.9,
    parameters: str = "norm",
    leave_out: tuple[str, ...] = (),
) -> Method:
    """The filter around the authors' loss. Three forward passes and a backward one; see `wisdom_of_crowds`.

    Args:
        model: that is adapted.
        diversity_weight: d of the entropy of the batch's mean prediction.
        optimizer: "adam" or "sgd".
        learning_rate: of a step.
        momentum: of sgd, plain.
        parameters: what adapts: norm, all, body, or a regular expression of paths.
        leave_out: regular expressions of paths that do not adapt.
    """
    inner = information_maximisation.make(
        model,
        diversity_weight=diversity_weight,
        label_weight=0.0,
        marginal="batch",
        optimizer=optimizer,
        learning_rate=learning_rate,
        momentum=momentum,
        parameters=parameters,
        leave_out=leave_out,
    )
    return wisdom_of_crowds(model, inner)


def wisdom_of_crowds(model: Model, method: Method, *, statistics: Statistics = "batch") -> Method:
    """Any method, its rows `allowed` filtered by S.

    What the method would say of a batch is found by adapting to it with nothing allowed, which runs nothing backwards;
    that pass and the source's are counted in `info["forward_rows"]`. `info["crowd"]` [B] is S.

    Args:
        model: that the method adapts.
        method: to be filtered.
        statistics: by which the source model normalises; those of the method. See `infojax.types.Statistics`.
    """

    def init(variables: Any, source: Array | None = None) -> CrowdState:
        return CrowdState(method.init(variables, source), variables)

    def adapt(
        state: CrowdState,
        images: Array,
        key: Key,
        mask: Array | None = None,
        destroyed: Array | None = None,
        allowed: Array | None = None,
        selection: Array | None = None,
    ) -> tuple[CrowdState, Adapted]:
        # The method looks first: it is what refuses images of a wrong shape.
        _, before = method.adapt(state.inner, images, key, mask, destroyed, jnp.zeros((len(images),), bool))
        finite = jnp.where(jnp.isfinite(images), images, jnp.zeros_like(images))
        frozen = probabilities(model.apply(state.source, finite, statistics, mask)[0])
        named = jnp.argmax(frozen, axis=1)[:, None]
        gain = jnp.take_along_axis(probabilities(before.logits) - frozen, named, axis=1)[:, 0]
        crowd = gain >= -TIE
        for rows in (mask, allowed):
            crowd = crowd if rows is None else crowd & rows.astype(bool)
        inner, adapted = method.adapt(state.inner, images, key, mask, destroyed, crowd, selection)
        forward = adapted.info["forward_rows"] + before.info["forward_rows"] + len(images)
        info = {**adapted.info, "forward_rows": forward, "crowd": crowd}
        return CrowdState(inner, state.source), adapted._replace(info=info)

    return Method(init, adapt, method.scores)
