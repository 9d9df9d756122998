r"""Disagreement of an ensemble (Pathak, Gandhi and Gupta, 2019, "Self-supervised exploration via disagreement").

M networks f_m predict what follows, each by least squares, and the reward is where they differ:

    loss_m = mean_i (f_m(s, a)_i − y_i)²            r = 1/D Σ_i Var_m f_m(s, a)_i

(the paper's eq. 1; the variance is that of the population). Noise, which all average alike once they have seen enough
of it, leaves no disagreement. `target` names y: the next observation or its difference from the one before. Members
begin apart; with `bootstrap` below 1 they also learn from different transitions, of each batch every member its own
random share, where published code trains all on the same. Shapes: observation features (N, D), predictions (M, N, D).
The reward is in squared units of y.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from infojax.info import ensemble
from infojax.nets.mlp import Activation, mlp
from infojax.nets.optimizers import adam
from infojax.nets.statistics import averaged
from infojax.objectives.parts import descend, flat_inputs, mean_over
from infojax.types import (
    Array,
    Count,
    EnvSpec,
    Key,
    Metrics,
    Objective,
    Positive,
    Rate,
    Transition,
    UserError,
    keep_context,
)


class DisagreementState(NamedTuple):
    members: Any
    optimizer: optax.OptState


def make(
    spec: EnvSpec,
    *,
    num_members: Count = 5,
    target: Literal["next_observation", "difference"] = "next_observation",
    bootstrap: Rate = 0.5,
    hidden_sizes: tuple[int, ...] = (64,),
    activation: Activation = "relu",
    learning_rate: Positive = 3e-4,
) -> Objective:
    """Disagreement of `num_members` forward models; see the module's text."""
    inputs = flat_inputs(spec, "disagreement")
    if num_members < 2:
        raise UserError(f"objective.num_members={num_members} cannot disagree; take at least 2")
    network = mlp(hidden_sizes, inputs.observation_size, activation=activation, members=num_members)
    optimizer = adam(learning_rate, spec.data_axis)

    def predict(members: Any, transitions: Transition) -> Array:
        """(M, N, D)."""
        return network.apply(members, inputs.pair(transitions.observation, transitions.action))

    def squared_errors(members: Any, transitions: Transition) -> Array:
        """(M, N) squared error of each member, averaged over dimensions."""
        wanted = inputs.observation(transitions.next_observation)
        if target == "difference":
            wanted = wanted - inputs.observation(transitions.observation)
        predicted = predict(members, transitions)
        return jnp.mean(jnp.square(predicted - jnp.broadcast_to(wanted, predicted.shape)), axis=-1)

    def init(key: Key) -> DisagreementState:
        members = network.init(key, inputs.observation_size + inputs.action_size)
        return DisagreementState(members, optimizer.init(members))

    def reward(state: DisagreementState, transitions: Transition) -> Array:
        return ensemble.disagreement(predict(state.members, transitions), axis=0)

    def update(state: DisagreementState, transitions: Transition, key: Key) -> tuple[DisagreementState, Metrics]:
        shape = (num_members, transitions.reward.shape[0])
        weight = jax.random.bernoulli(key, bootstrap, shape).astype(jnp.float32)

        def loss(members: Any) -> tuple[Array, Metrics]:
            errors = squared_errors(members, transitions)
            # Each member's loss is its own mean; their sum gives every member the gradient it would have alone.
            # Over shards, the mean of what they return is the mean of all rows.
            count = averaged(jnp.sum(weight, axis=1), spec.data_axis)
            own = jnp.sum(weight * errors, axis=1) / jnp.maximum(count, 1 / spec.data_shards)
            return jnp.sum(own), {"model_loss": jnp.mean(own), "prediction_error": jnp.mean(errors)}

        members, optimizer_state, metrics = descend(optimizer, loss, state.members, state.optimizer)
        return DisagreementState(members, optimizer_state), metrics

    def report(state: DisagreementState, transitions: Transition, where: Array | None = None) -> Metrics:
        return {
            "disagreement": mean_over(reward(state, transitions), where),
            "prediction_error": mean_over(jnp.mean(squared_errors(state.members, transitions), axis=0), where),
        }

    return Objective(
        context_size=0,
        contexts=None,
        init=init,
        context=lambda state, key: jnp.zeros((0,), jnp.float32),
        advance=keep_context,
        reward=reward,
        observe=lambda state, transitions: state,
        update=update,
        report=report,
    )
