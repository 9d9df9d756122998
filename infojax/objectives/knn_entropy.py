r"""Entropy of states by nearest neighbours (Liu and Abbeel, 2021, "APT"; Seo et al., 2021, "RE3").

    apt   r_i = log(1 + (1/k) Σ_{j ≤ k} d_ij / c)      APT, eq. 5
    urlb  the same over the k smallest with d_ii = 0 among them, as the code of URLB (Laskin et al., 2021) has it
    re3   r_i = (1 − κ)^t log(1 + d_ik / c)            RE3, eq. 4; d_ik is of the k-th OTHER particle

d_ij is the Euclidean distance of the features φ(s_i) and φ(s_j) of the particles of one batch: the whole rollout under
an on-policy learner, the replayed minibatch under SAC, and of these the part of its own shard where the data of a seed
is spread. Each particle is never its own neighbour but in "urlb".
Features: the observation itself ("raw"), a fixed random network ("random", RE3), or the encoder of an inverse model
a ≈ g(φ(s), φ(s')), which keeps what actions change ("icm", the inverse part of Pathak et al., 2017, eq. 2; APT's choice
on states). c is 1 or a running statistic of the distances of all batches that `update` saw, named by what it is: their
mean ("mean_distance") or their standard deviation ("distance_deviation"); published code divides by either under one
name. κ = `decay` per transition seen, for every form. Rewards are on the scale of a log distance, not nats of an
entropy estimate. Shapes: observations (N, …), features (N, F); distances in blocks, never N × N.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from infojax.info import categorical, particle
from infojax.nets.mlp import Activation, mlp
from infojax.nets.optimizers import adam
from infojax.nets.statistics import RunningStatistics, observe_statistics, running_statistics
from infojax.objectives.parts import descend, flat_inputs, mean_over
from infojax.types import (
    Array,
    Count,
    EnvSpec,
    Key,
    Metrics,
    Objective,
    Positive,
    Transition,
    UnitInterval,
    UserError,
    keep_context,
)


class Models(NamedTuple):
    encoder: Any  # () with raw features
    inverse: Any  # () but with features of an inverse model


class KNNEntropyState(NamedTuple):
    models: Models
    optimizer: optax.OptState
    distances: RunningStatistics  # of the neighbours' distances
    seen: Array  # fresh transitions so far, for the decay


def make(
    spec: EnvSpec,
    *,
    form: Literal["apt", "urlb", "re3"] = "apt",
    k: Count = 12,
    features: Literal["raw", "random", "icm"] = "icm",
    reward_on: Literal["observation", "next_observation"] = "next_observation",
    scale_by: Literal["none", "mean_distance", "distance_deviation"] = "mean_distance",
    decay: UnitInterval = 0.0,
    feature_size: Count = 64,
    hidden_sizes: tuple[int, ...] = (256, 256),
    activation: Activation = "relu",
    learning_rate: Positive = 1e-4,
) -> Objective:
    """The k-nearest-neighbour reward of a batch; see the module's text.

    Raises:
        UserError: k = 1 with form "urlb", or a batch of no more than k transitions.
    """
    if form == "urlb" and k == 1:
        raise UserError("objective.k=1 with objective.form=urlb sees only the state itself; use objective.k=2 or more")
    seen_by = flat_inputs(spec, "knn_entropy")
    encoder = mlp(hidden_sizes, feature_size, activation=activation)
    inverse = mlp(hidden_sizes, seen_by.action_size, activation=activation)
    optimizer = adam(learning_rate, spec.data_axis)
    learned = features == "icm"
    # In "urlb" one of the k is the state itself.
    others = k - 1 if form == "urlb" else k

    def encode(models: Models, observation: Array) -> Array:
        """(N, F)"""
        flat = seen_by.observation(observation)
        return flat if features == "raw" else encoder.apply(models.encoder, flat)

    def particles(state: KNNEntropyState, transitions: Transition) -> Array:
        """(N, F) features of the states that are rewarded, with an error where they are too few."""
        count = transitions.reward.shape[0]
        if count <= k:
            raise UserError(
                f"objective.k={k} neighbours need batches of more than {k} transitions, but one has {count}; lower "
                "objective.k or raise the batch or minibatch size of the agent"
            )
        return jax.lax.stop_gradient(encode(state.models, getattr(transitions, reward_on)))

    def unit(distances: RunningStatistics) -> Array:
        """c; 1 as long as no distance above 0 was seen."""
        if scale_by == "none":
            return jnp.ones((), jnp.float32)
        variance = distances.deviation / jnp.maximum(distances.seen, 1)
        value = distances.mean if scale_by == "mean_distance" else jnp.sqrt(variance)
        return jnp.where(value > 0, value, 1)

    def rewards(state: KNNEntropyState, transitions: Transition, where: Array | None) -> Array:
        points = particles(state, transitions)
        points = points / jnp.broadcast_to(unit(state.distances), points.shape)
        reward = particle.particle_reward(points, k, form=form, where=where)
        if decay > 0:
            reward = reward * jnp.power(jnp.asarray(1 - decay, jnp.float32), state.seen.astype(jnp.float32))
        return reward

    def inverse_loss(models: Models, transitions: Transition) -> Array:
        """Cross entropy of discrete actions in nats, mean squared error of continuous ones."""
        pair = [encode(models, transitions.observation), encode(models, transitions.next_observation)]
        guess = inverse.apply(models.inverse, jnp.concatenate(pair, axis=-1))
        action = seen_by.action(transitions.action)
        if spec.num_actions is None:
            return jnp.mean(jnp.square(guess - action))
        return jnp.mean(categorical.cross_entropy(jnp.where(action > 0, 0.0, -jnp.inf), guess))

    def init(key: Key) -> KNNEntropyState:
        encoder_key, inverse_key = jax.random.split(key)
        models = Models(
            encoder=() if features == "raw" else encoder.init(encoder_key, seen_by.observation_size),
            inverse=inverse.init(inverse_key, 2 * feature_size) if learned else (),
        )
        zero = jnp.zeros((), jnp.int32)
        return KNNEntropyState(models, optimizer.init(models) if learned else (), running_statistics(()), zero)

    def observe(state: KNNEntropyState, transitions: Transition) -> KNNEntropyState:
        return state._replace(seen=state.seen + spec.data_shards * transitions.reward.shape[0])

    def update(state: KNNEntropyState, transitions: Transition, key: Key) -> tuple[KNNEntropyState, Metrics]:
        """Distances are measured here and not on fresh transitions: these batches are of the size of what is rewarded.

        A fresh step of a few environments has other neighbours, or none.
        """
        metrics: Metrics = {}
        if scale_by != "none":
            near = particle.knn_distances(particles(state, transitions), others)
            near = near[:, -1] if form == "re3" else near.reshape(-1)
            state = state._replace(distances=observe_statistics(state.distances, near, spec.data_axis))
            metrics["distance"] = jnp.mean(near)
        if learned:

            def loss(models: Models) -> tuple[Array, Array]:
                value = inverse_loss(models, transitions)
                return value, value

            models, optimizer_state, value = descend(optimizer, loss, state.models, state.optimizer)
            state = state._replace(models=models, optimizer=optimizer_state)
            metrics["inverse_loss"] = value
        return state, metrics

    def report(state: KNNEntropyState, transitions: Transition, where: Array | None = None) -> Metrics:
        """The mean reward of the states of an evaluation among themselves."""
        return {"particle_entropy": mean_over(rewards(state, transitions, where), where)}

    return Objective(
        context_size=0,
        contexts=None,
        init=init,
        context=lambda state, key: jnp.zeros((0,), jnp.float32),
        advance=keep_context,
        reward=lambda state, transitions: rewards(state, transitions, None),
        observe=observe,
        update=update,
        report=report,
    )
