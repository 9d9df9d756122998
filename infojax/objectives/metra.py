r"""Metric-aware abstraction (Park, Rybkin and Levine, 2024, "METRA: Scalable Unsupervised RL with Metric-Aware
Abstraction").

    max E[(φ(s') − φ(s)) · w(z)]   with   ‖φ(s') − φ(s)‖² ≤ 1 for neighbouring states

The constraint is of time: a step of the environment is at most a step of φ, whatever the scale of observations. It is
held by a multiplier λ and a slack ε,

    φ   ascends   E[ (φ(s') − φ(s)) · w(z) + λ min(ε, c(s, s')) ],      c = 1 − ‖φ(s') − φ(s)‖²
    λ   descends  log λ · E[min(ε, c)]                                  (algorithm 1; on log λ as the authors' code)

so λ grows as long as the constraint is violated on average and falls otherwise. `constraint` "norm" is the paper's
‖·‖², the sum over dimensions; "mean" is their mean, as in the authors' code, under which φ moves √dimensions further.
Both steps are at the parameters of before. Skills and shapes: see `displacement`.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from infojax.nets.mlp import Activation
from infojax.nets.optimizers import adam
from infojax.objectives import displacement
from infojax.objectives.parts import descend
from infojax.types import (
    Array,
    Count,
    EnvSpec,
    Key,
    Metrics,
    NonNegative,
    Objective,
    Positive,
    Transition,
    keep_context,
)


class METRAState(NamedTuple):
    encoder: Any
    log_multiplier: Array
    optimizer: optax.OptState
    multiplier_optimizer: optax.OptState


def make(
    spec: EnvSpec,
    *,
    skills: displacement.Kind = "discrete",
    skill_size: Count = 16,
    constraint: Literal["norm", "mean"] = "norm",
    slack: NonNegative = 1e-3,
    multiplier: Positive = 30.0,
    features: tuple[int, ...] | None = None,
    hidden_sizes: tuple[int, ...] = (1024, 1024),
    activation: Activation = "relu",
    learning_rate: Positive = 1e-4,
    multiplier_learning_rate: Positive = 1e-4,
) -> Objective:
    """METRA with `skill_size` discrete skills, or continuous ones of that many dimensions; see the module's text."""
    chosen = displacement.make_skills(skills, skill_size)
    encoder = displacement.make_encoder(spec, "metra", skill_size, features, hidden_sizes, activation)
    optimizer = adam(learning_rate, spec.data_axis)
    multiplier_optimizer = adam(multiplier_learning_rate, spec.data_axis)

    def squares(change: Array) -> Array:
        """(N,) what must not exceed 1."""
        total = jnp.sum(jnp.square(change), axis=-1)
        return total / skill_size if constraint == "mean" else total

    def init(key: Key) -> METRAState:
        parameters = encoder.network.init(key, encoder.input_size)
        log_multiplier = jnp.log(jnp.asarray(multiplier, jnp.float32))
        return METRAState(
            parameters, log_multiplier, optimizer.init(parameters), multiplier_optimizer.init(log_multiplier)
        )

    def reward(state: METRAState, transitions: Transition) -> Array:
        change = displacement.displacement(encoder, state.encoder, transitions)
        return displacement.projection(chosen, change, transitions.context)

    def update(state: METRAState, transitions: Transition, key: Key) -> tuple[METRAState, Metrics]:
        weight = jnp.exp(state.log_multiplier)

        def loss(parameters: Any) -> tuple[Array, tuple[Metrics, Array]]:
            change = displacement.displacement(encoder, parameters, transitions)
            gain = displacement.projection(chosen, change, transitions.context)
            used = squares(change)
            room = jnp.mean(jnp.minimum(1 - used, slack))
            value = -(jnp.mean(gain) + weight * room)
            metrics = {
                "representation_loss": value,
                "displacement": jnp.mean(jnp.linalg.norm(jax.lax.stop_gradient(change), axis=-1)),
                "violation": jnp.mean(jnp.maximum(used - 1, 0)),
                "multiplier": weight,
            }
            return value, (metrics, room)

        parameters, optimizer_state, (metrics, room) = descend(optimizer, loss, state.encoder, state.optimizer)
        step, multiplier_state = multiplier_optimizer.update(room, state.multiplier_optimizer, state.log_multiplier)
        log_multiplier = state.log_multiplier + jnp.asarray(step)
        return METRAState(parameters, log_multiplier, optimizer_state, multiplier_state), metrics

    def report(state: METRAState, transitions: Transition, where: Array | None = None) -> Metrics:
        """`violation` is by how much ‖φ(s') − φ(s)‖², or the mean, exceeds 1, on average."""
        change = displacement.displacement(encoder, state.encoder, transitions)
        excess = jnp.maximum(squares(change) - 1, 0)
        return displacement.skill_report(chosen, change, transitions.context, excess, where)

    return Objective(
        context_size=skill_size,
        contexts=chosen.contexts,
        init=init,
        context=lambda state, key: chosen.draw(key),
        advance=keep_context,
        # Differences of large numbers: one program, so that they are rounded alike with and without a caller's jit.
        reward=jax.jit(reward),
        observe=lambda state, transitions: state,
        update=update,
        report=report,
    )
