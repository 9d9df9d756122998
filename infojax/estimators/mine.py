"""MINE: Donsker–Varadhan with a trained critic.

Belghazi et al. (2018), "MINE: Mutual information neural estimation". The gradient of the log of a batch's partition is
biased; as in their section 3.2, that of the partition is divided by a running mean of partitions instead. The value of
held-out samples is the log of a mean over few pairs: close to a lower bound, but none.
"""

import jax
import jax.numpy as jnp

from infojax.estimators import _neural, parts
from infojax.info import bounds
from infojax.nets.critic import Form
from infojax.nets.critic import critic as make_critic
from infojax.nets.mlp import Activation
from infojax.types import Array, Count, Estimate, Estimator, Key, Positive, Rate


def make(
    *,
    rate: Rate = 0.1,
    critic: Form = "separable",
    hidden_sizes: tuple[Count, ...] = (64, 64),
    embedding_size: Count = 32,
    activation: Activation = "silu",
    learning_rate: Positive = 3e-3,
    batch_size: Count = 128,
    epochs: Count = 200,
    patience: Count = 15,
    folds: Count = 4,
    margins: _neural.Margins = "ranks",
    tolerance: Positive = 0.05,
) -> Estimator:
    """Mutual information by MINE.

    Args:
        rate: of the running mean of partitions.
        critic: "separable", cheap for all pairs, or "joint", which sees each pair together.
        hidden_sizes: of the critic's networks.
        embedding_size: entries in which a separable critic compares x and y.
        activation: of the hidden layers.
        learning_rate: of Adam.
        batch_size: pairs of a gradient step; all combinations of them are scored.
        epochs: passes over the samples, at most.
        patience: epochs without a better validation after which training ends.
        folds: test folds; each trains on the rest.
        margins: "ranks" brings every coordinate to normal scores, which changes no information between continuous x
            and y; "standardised" only shifts and scales.
        tolerance: the error in nats that a trusted estimate may have, beside its interval.
    """

    def objective(scores: Array, memory: Array) -> tuple[Array, Array]:
        positive = jnp.mean(jnp.diagonal(scores))
        log_partition = positive - bounds.donsker_varadhan(scores)
        running = jax.lax.stop_gradient(jnp.logaddexp(memory + jnp.log1p(-rate), log_partition + jnp.log(rate)))
        return positive - jnp.exp(log_partition - running), running

    bound = _neural.Bound(
        critic=make_critic(critic, hidden_sizes, embedding_size, activation=activation),
        objective=objective,
        validation=bounds.donsker_varadhan,
        value=bounds.donsker_varadhan,
    )
    model = _neural.critic_model(bound, _neural.Training(learning_rate, batch_size, epochs, patience))

    def fit(key: Key, x: Array, y: Array) -> Estimate:
        return _neural.estimate(model, key, x, y, margins, folds, tolerance)

    return Estimator(fit, parts.why)
