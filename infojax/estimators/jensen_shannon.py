"""The bound of Nguyen, Wainwright and Jordan of a critic trained by the Jensen–Shannon objective.

Hjelm et al. (2019), "Deep InfoMax", train by the objective of f-GANs; its best critic is the log of the density ratio,
of which Poole et al. (2019), section 2.3, take the bound. Steadier to train than the bound itself.
"""

from infojax.estimators import _neural, parts
from infojax.info import bounds
from infojax.nets.critic import Form
from infojax.nets.critic import critic as make_critic
from infojax.nets.mlp import Activation
from infojax.types import Array, Count, Estimate, Estimator, Key, Positive


def make(
    *,
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
    """Mutual information by a critic trained with the Jensen–Shannon objective.

    Args:
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
    bound = _neural.Bound(
        critic=make_critic(critic, hidden_sizes, embedding_size, activation=activation),
        objective=lambda scores, memory: (bounds.jensen_shannon(scores), memory),
        # By what is reported: the objective does not see the few large scores that the bound cannot bear.
        validation=lambda scores: bounds.nwj(scores + 1),
        value=lambda scores, where: bounds.nwj(scores + 1, where),
    )
    model = _neural.critic_model(bound, _neural.Training(learning_rate, batch_size, epochs, patience))

    def fit(key: Key, x: Array, y: Array) -> Estimate:
        return _neural.estimate(model, key, x, y, margins, folds, tolerance)

    return Estimator(fit, parts.why, bound="lower")
