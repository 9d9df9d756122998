"""SAR: sharpness-aware and reliable entropy minimisation.

Niu et al. (2023), "Towards stable test-time adaptation in dynamic wild world". With the entropies H_i in nats of a
batch [B] and E0 = `margin` ln C:

- S1 = {i: H_i < E0}; g = gradient of mean_{S1} H; θ' = θ + rho g / ‖g‖ (equation 4);
- H'_i at θ'; S2 = {i in S1: H'_i < E0}; the step is from θ, with the gradient of L2 = mean_{S2} H' at θ';
- recovery (section 3.3): e ← 0.9 e + 0.1 L2, and where e < `reset_level` model and optimiser are the source's again.

Two forward and two backward passes. As in the authors' code an empty selection still steps, by a gradient of zeros, so
that momentum moves on. Theirs also keeps e over a recovery, so that it recovers after every batch until e has climbed
above the level: `kept_average` is that; False begins anew.
"""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp

from infojax.info import categorical
from infojax.nets.optimizers import Optimizer
from infojax.tta import parts
from infojax.types import Adapted, Array, Key, Method, Model, NonNegative, Positive, Rate


class SarState(NamedTuple):
    """The model, what it goes back to, and the average of its loss."""

    learned: parts.Learned
    source: parts.Learned
    average: Array  # e
    begun: Array  # bool; whether there is an average yet


def make(
    model: Model,
    *,
    margin: Positive = 0.4,
    radius: NonNegative = 0.05,
    reset_level: NonNegative = 0.2,
    average_rate: Rate = 0.1,
    kept_average: bool = False,
    optimizer: Optimizer = "adam",
    learning_rate: Positive = 1e-3,
    momentum: NonNegative = 0.9,
    parameters: str = "norm",
    leave_out: tuple[str, ...] = ("layer4", "blocks_(9|10|11)/", "^norm/"),
    compaction: parts.Compaction = "exact",
) -> Method:
    """Entropy of reliable rows at the sharpest point nearby.

    Args:
        model: that is adapted.
        margin: E0 as a share of ln C.
        radius: rho, of the neighbourhood.
        reset_level: of the averaged loss in nats, below which the source is restored; 0 never does.
        average_rate: share of a new loss in the average.
        kept_average: whether the average outlives a recovery, as in the authors' code.
        optimizer: "adam" or "sgd".
        learning_rate: of a step.
        momentum: of sgd, plain.
        parameters: what adapts: norm, all, body, or a regular expression of paths.
        leave_out: regular expressions of paths that do not adapt; by default the last blocks.
        compaction: exact, none or frozen_statistics; see `infojax.tta.parts`.
    """
    learner = parts.learner(model, optimizer, learning_rate, momentum, parameters, leave_out)
    threshold = margin * math.log(model.num_classes)

    def init(variables: Any, source: Array | None) -> SarState:
        learned = learner.init(variables)
        return SarState(learned, learned, jnp.zeros((), jnp.float32), jnp.zeros((), bool))

    def adapt(state: SarState, batch: parts.Batch, key: Key) -> tuple[SarState, Adapted]:
        variables = state.learned.variables

        def first(logits: Array) -> tuple[Array, tuple[Array, None]]:
            entropy = categorical.entropy(logits)
            reliable = batch.allowed & (entropy < threshold) if batch.selection is None else batch.selection[0]
            return parts.mean_over(entropy, reliable), (reliable, None)

        here = parts.differentiate(model, variables, learner.paths, batch, first, compaction=compaction)
        values = parts.pick(variables, learner.paths)
        norm = jnp.sqrt(sum(jnp.sum(slope**2) for slope in here.gradient.values()))
        away = {path: value + radius * here.gradient[path] / (norm + 1e-12) for path, value in values.items()}

        def second(logits: Array) -> tuple[Array, tuple[Array, Array]]:
            entropy = categorical.entropy(logits)
            sharp = here.selected & (entropy < threshold) if batch.selection is None else batch.selection[1]
            return parts.mean_over(entropy, sharp), (sharp, entropy)

        there = parts.differentiate(
            model, parts.put(variables, away), learner.paths, batch, second, compaction=compaction
        )
        some = jnp.any(there.selected)
        moved = jnp.where(state.begun, (1 - average_rate) * state.average + average_rate * there.loss, there.loss)
        average, begun = jnp.where(some, moved, state.average), state.begun | some
        recover = begun & (average < reset_level)
        learned = learner.step(state.learned, there.gradient, jnp.ones((), bool))
        new_state = SarState(
            learned=parts.chosen(recover, state.source, learned),
            source=state.source,
            average=average,
            begun=begun if kept_average else begun & jnp.logical_not(recover),
        )
        info = parts.info(there, jnp.ones((), bool), first_filter=here.selected, sharp_entropy=there.found)
        info["recovered"] = recover.astype(jnp.int32)
        info |= {name: here.rows[name] + there.rows[name] for name in here.rows}
        return new_state, Adapted(here.logits, there.selected, info)

    return parts.method(model, init, adapt)
