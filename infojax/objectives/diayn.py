r"""Diversity is all you need (Eysenbach, Gupta, Ibarz and Levine, 2019), with discrete skills.

A skill z ~ p(z) is drawn when an episode begins and handed to the learner as a one-hot context. A discriminator
q(z|s) is trained by cross entropy to name the skill from the observation alone, and the reward is

    r = log q(z | s) − log p(z),          E[r] = H(Z) + E log q(z|s)  ≤  I(S; Z)

(eq. 3 of the paper; the Barber–Agakov bound on the mutual information of skill and state, in nats). Replayed
transitions are rewarded by the discriminator of now. Shapes: observations (N, D), contexts (N, K) one-hot.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from infojax.info import bounds, categorical
from infojax.nets.mlp import Activation, mlp
from infojax.nets.optimizers import adam
from infojax.types import (
    Array,
    Count,
    EnvSpec,
    Key,
    Metrics,
    Objective,
    Positive,
    Transition,
    UserError,
    keep_context,
)


class DIAYNState(NamedTuple):
    discriminator: Any
    optimizer: optax.OptState


def select_features(spec: EnvSpec, features: tuple[int, ...] | None) -> tuple[int, ...]:
    """The observation entries the discriminator sees; all of them when `features` is None."""
    if len(spec.observation_shape) != 1:
        raise UserError(
            f"the discriminator needs a flat observation, but {spec.name or 'the environment'} observes "
            f"{spec.observation_shape}; flatten it in the environment"
        )
    size = spec.observation_shape[0]
    if features is None:
        return tuple(range(size))
    bad = [index for index in features if not 0 <= index < size]
    if bad or not features:
        raise UserError(
            f"objective.features={list(features)} must be a non-empty list of indices of the {size} observation "
            f"entries, 0 to {size - 1}; use null for all of them"
        )
    return tuple(features)


def make(
    spec: EnvSpec,
    *,
    num_skills: Count = 50,
    prior: tuple[float, ...] | None = None,
    features: tuple[int, ...] | None = None,
    reward_on: Literal["observation", "next_observation"] = "observation",
    train_on: Literal["observation", "next_observation"] = "observation",
    hidden_sizes: tuple[int, ...] = (300, 300),
    activation: Activation = "relu",
    learning_rate: Positive = 3e-4,
) -> Objective:
    """DIAYN with `num_skills` discrete skills; see the module's text."""
    indices = select_features(spec, features)
    if prior is not None and (len(prior) != num_skills or min(prior) <= 0 or abs(sum(prior) - 1) > 1e-4):
        raise UserError(
            f"objective.prior={list(prior)} must be {num_skills} positive probabilities that sum to 1 "
            f"(got {len(prior)}, sum {sum(prior):g}); use null for the uniform prior"
        )
    log_prior = jnp.log(jnp.asarray(prior or [1 / num_skills] * num_skills, jnp.float32))
    prior_entropy = categorical.entropy(log_prior)
    network = mlp(hidden_sizes, num_skills, activation=activation)
    optimizer = adam(learning_rate, spec.data_axis)

    def predict(discriminator: Any, observation: Array) -> Array:
        """(…, K) logits of q(z|s); the input is the observation, never the learner's context."""
        chosen = observation if features is None else observation[..., jnp.asarray(indices)]
        return network.apply(discriminator, chosen)

    def surprisal(logits: Array, skill: Array) -> Array:
        """(…) −log of the probability that the logits give to the skill: the cross entropy from the one-hot."""
        return categorical.cross_entropy(jnp.where(skill > 0, 0.0, -jnp.inf), logits)

    def init(key: Key) -> DIAYNState:
        discriminator = network.init(key, len(indices))
        return DIAYNState(discriminator, optimizer.init(discriminator))

    def context(state: DIAYNState, key: Key) -> Array:
        return jax.nn.one_hot(jax.random.categorical(key, log_prior), num_skills, dtype=jnp.float32)

    def reward(state: DIAYNState, transitions: Transition) -> Array:
        logits = predict(state.discriminator, getattr(transitions, reward_on))
        return surprisal(log_prior, transitions.context) - surprisal(logits, transitions.context)

    def update(state: DIAYNState, transitions: Transition, key: Key) -> tuple[DIAYNState, Metrics]:
        def loss(discriminator: Any) -> Array:
            return jnp.mean(surprisal(predict(discriminator, getattr(transitions, train_on)), transitions.context))

        value, gradient = jax.value_and_grad(loss)(state.discriminator)
        step, optimizer_state = optimizer.update(gradient, state.optimizer)
        return DIAYNState(optax.apply_updates(state.discriminator, step), optimizer_state), {
            "discriminator_loss": value
        }

    def report(state: DIAYNState, transitions: Transition, where: Array | None = None) -> Metrics:
        """Held-out I(S;Z) from the log-probability of the true skill, never from the entropy of the predictions."""
        mask = jnp.ones(transitions.reward.shape, bool) if where is None else where
        logits = predict(state.discriminator, getattr(transitions, reward_on))
        true = jnp.argmax(transitions.context, axis=-1)
        predicted = jnp.argmax(logits, axis=-1)
        weight = mask.astype(jnp.float32)
        pairs = jnp.zeros((num_skills, num_skills), jnp.float32).at[true, predicted].add(weight)
        total = jnp.maximum(jnp.sum(weight), 1)
        return {
            "mutual_information": bounds.barber_agakov(
                -surprisal(logits, transitions.context), prior_entropy, where=mask
            ),
            "mutual_information_ceiling": prior_entropy,
            "accuracy": jnp.sum(jnp.where(true == predicted, weight, 0)) / total,
            "discriminator_entropy": jnp.sum(jnp.where(mask, categorical.entropy(logits), 0)) / total,
            "confusion": pairs / jnp.maximum(jnp.sum(pairs, axis=1, keepdims=True), 1),
        }

    return Objective(
        context_size=num_skills,
        contexts=jnp.eye(num_skills, dtype=jnp.float32),
        init=init,
        context=context,
        advance=keep_context,
        reward=reward,
        observe=lambda state, transitions: state,
        update=update,
        report=report,
    )
