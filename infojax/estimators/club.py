"""CLUB: an upper bound, from a model of y given x.

Cheng et al. (2020), "CLUB: A contrastive log-ratio upper bound of mutual information", eq. 9 over all pairs. The model
q(y|x) is normal with a mean and a diagonal scale that are networks of x, trained by its likelihood. The bound holds if
q is close to the true conditional; a poor model makes it anything.
"""

import jax.numpy as jnp

from infojax.estimators import _neural, parts
from infojax.info import bounds
from infojax.nets.critic import gaussian_decoder
from infojax.nets.mlp import Activation
from infojax.types import Array, Count, Estimate, Estimator, Key, Positive


def make(
    *,
    hidden_sizes: tuple[Count, ...] = (64, 64),
    activation: Activation = "silu",
    learning_rate: Positive = 1e-3,
    batch_size: Count = 128,
    epochs: Count = 200,
    patience: Count = 15,
    folds: Count = 4,
    margins: _neural.Margins = "ranks",
    tolerance: Positive = 0.05,
) -> Estimator:
    """Mutual information, from above, by CLUB.

    Args:
        hidden_sizes: of the network of mean and scale.
        activation: of the hidden layers.
        learning_rate: of Adam.
        batch_size: pairs of a gradient step; the likelihood sees the true ones alone.
        epochs: passes over the samples, at most.
        patience: epochs without a better validation after which training ends.
        folds: test folds; each trains on the rest.
        margins: "ranks" brings every coordinate to normal scores, which changes no information between continuous x
            and y; "standardised" only shifts and scales.
        tolerance: the error in nats that a trusted estimate may have, beside its interval.
    """

    def likelihood(log_q: Array) -> Array:
        return jnp.mean(jnp.diagonal(log_q))

    bound = _neural.Bound(
        critic=gaussian_decoder(hidden_sizes, activation=activation),
        objective=lambda log_q, memory: (likelihood(log_q), memory),
        validation=likelihood,
        value=bounds.club,
    )
    model = _neural.critic_model(bound, _neural.Training(learning_rate, batch_size, epochs, patience))

    def fit(key: Key, x: Array, y: Array) -> Estimate:
        return _neural.estimate(model, key, x, y, margins, folds, tolerance)

    return Estimator(fit, parts.why, bound="upper")
