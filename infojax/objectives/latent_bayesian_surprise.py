r"""Latent Bayesian surprise (Mazzaglia, Catal, Verbelen and Dhoedt, 2022, "Curiosity-driven exploration via latent
Bayesian surprise").

A latent variable z explains what a transition adds. Prior and posterior share a trunk h = MLP(s, a):

    p(z|s,a) = N(μ_p(h), σ_p(h)),    q(z|s,a,s') = N(MLP(h, s')),    p(x|z) = N(W z + b, I),    x = s'

and what is learned and what is rewarded are

    loss = β D(q(z|s,a,s') ‖ p(z|s,a)) − log p(x|z),  z ~ q          r = D(q(z|s,a,s') ‖ p(z|s,a))

(eq. 3 and 4 of the paper, in nats and summed over z): the surprise is how far seeing s' moves the belief. Nothing is
detached: the divergence trains both sides. Noise moves the belief only as far as the reconstruction is worth more than
β per nat, so that a larger β asks for more indifference. The divergence alone cannot tell a world that holds no
surprise from a posterior that ignores s' (collapse): `reconstruction_log_likelihood` beside it does.

s' is standardised by the learner; the step across a reset is in no transition. Shapes: observation features (N, D),
actions (N, A), latents (N, Z).
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from infojax.info import bayes
from infojax.nets.mlp import Activation, mlp
from infojax.nets.optimizers import adam
from infojax.objectives.parts import descend, flat_inputs, log_density, mean_and_scale, mean_over
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


class LatentModel(NamedTuple):
    trunk: Any  # s, a -> h before its activation
    prior: Any  # h -> mean and raw scale
    posterior: Any  # h, s' -> mean and raw scale
    reconstruction: Any  # z -> x, one linear layer


class LatentBayesianSurpriseState(NamedTuple):
    model: LatentModel
    optimizer: optax.OptState


class Belief(NamedTuple):
    """What the model makes of transitions."""

    target: Array  # [N, D], x
    prior: tuple[Array, Array]  # mean and scale [N, Z]
    posterior: tuple[Array, Array]


def make(
    spec: EnvSpec,
    *,
    beta: Positive = 0.1,
    latent_size: Count | None = None,
    form: Literal["kl", "mean_distance", "accuracy"] = "kl",
    hidden_sizes: tuple[int, ...] = (32, 32),
    activation: Activation = "relu",
    learning_rate: Positive = 3e-4,
) -> Objective:
    """Latent Bayesian surprise; see the module's text.

    `form` names the published reward: `kl` is the paper's; `mean_distance` (the authors' --use-mean) compares means,
    |μ_q − μ_p|² averaged over z, and learns them without samples by |μ_q − μ_p|² + |W μ_q + b − x|², both averaged, so
    that β plays no part; `accuracy` (--cur-acc) adds to the divergence how badly s' is reconstructed, −E_q log p(x|z),
    here in closed form where the authors draw one z.
    """
    inputs = flat_inputs(spec, "latent_bayesian_surprise")
    if not hidden_sizes:
        raise UserError(
            "objective.hidden_sizes=[] leaves the prior and the posterior nothing to share; name at least one layer, "
            "such as [32, 32]"
        )
    size = latent_size or inputs.observation_size
    trunk = mlp(hidden_sizes[:-1], hidden_sizes[-1], activation=activation)
    prior = mlp((), 2 * size)
    posterior = mlp(hidden_sizes, 2 * size, activation=activation)
    reconstruction = mlp((), inputs.observation_size)
    optimizer = adam(learning_rate, spec.data_axis)

    def believe(model: LatentModel, transitions: Transition) -> Belief:
        hidden = trunk.apply(model.trunk, inputs.pair(transitions.observation, transitions.action))
        hidden = getattr(jax.nn, activation)(hidden)
        target = inputs.observation(transitions.next_observation)
        return Belief(
            target=target,
            prior=mean_and_scale(prior.apply(model.prior, hidden)),
            posterior=mean_and_scale(posterior.apply(model.posterior, jnp.concatenate([hidden, target], axis=-1))),
        )

    def surprise(belief: Belief) -> Array:
        """(N,) D(q ‖ p) in nats."""
        return bayes.surprise_normal(*belief.posterior, *belief.prior)

    def distance(belief: Belief) -> Array:
        """(N,) |μ_q − μ_p|², averaged over z."""
        return jnp.mean(jnp.square(belief.posterior[0] - belief.prior[0]), axis=-1)

    def log_likelihood(model: LatentModel, belief: Belief, latent: Array) -> Array:
        """(N,) log N(x; W z + b, I) in nats."""
        predicted = reconstruction.apply(model.reconstruction, latent)
        return log_density(belief.target, predicted, jnp.ones_like(predicted))

    def expected_log_likelihood(model: LatentModel, belief: Belief) -> Array:
        """(N,) E_q log N(x; W z + b, I) = log N(x; W μ_q + b, I) − ½ Σ_j σ_j² |W_j|², since W z + b is linear."""
        mean, scale = belief.posterior
        zero = jnp.zeros((1, size), jnp.float32)
        both = reconstruction.apply(model.reconstruction, jnp.concatenate([jnp.eye(size, dtype=jnp.float32), zero]))
        lengths = jnp.sum(jnp.square(both[:-1] - jnp.broadcast_to(both[-1:], both[:-1].shape)), axis=-1)
        return log_likelihood(model, belief, mean) - jnp.matmul(jnp.square(scale), lengths, precision="highest") / 2

    def init(key: Key) -> LatentBayesianSurpriseState:
        keys = jax.random.split(key, 4)
        model = LatentModel(
            trunk=trunk.init(keys[0], inputs.observation_size + inputs.action_size),
            prior=prior.init(keys[1], hidden_sizes[-1]),
            posterior=posterior.init(keys[2], hidden_sizes[-1] + inputs.observation_size),
            reconstruction=reconstruction.init(keys[3], size),
        )
        return LatentBayesianSurpriseState(model, optimizer.init(model))

    def reward(state: LatentBayesianSurpriseState, transitions: Transition) -> Array:
        belief = believe(state.model, transitions)
        if form == "mean_distance":
            return distance(belief)
        if form == "accuracy":
            return surprise(belief) - expected_log_likelihood(state.model, belief)
        return surprise(belief)

    def update(
        state: LatentBayesianSurpriseState, transitions: Transition, key: Key
    ) -> tuple[LatentBayesianSurpriseState, Metrics]:
        def loss(model: LatentModel) -> tuple[Array, Metrics]:
            belief = believe(model, transitions)
            mean, scale = belief.posterior
            divergence = surprise(belief)
            if form == "mean_distance":
                predicted = reconstruction.apply(model.reconstruction, mean)
                fit = log_likelihood(model, belief, mean)
                error = jnp.mean(jnp.square(predicted - belief.target), axis=-1)
                value = jnp.mean(distance(belief) + error)
            else:
                latent = mean + scale * jax.random.normal(key, mean.shape)
                fit = log_likelihood(model, belief, latent)
                value = jnp.mean(beta * divergence - fit)
            return value, {
                "model_loss": value,
                "kl": jnp.mean(divergence),
                "reconstruction_log_likelihood": jnp.mean(fit),
            }

        model, optimizer_state, metrics = descend(optimizer, loss, state.model, state.optimizer)
        return LatentBayesianSurpriseState(model, optimizer_state), metrics

    def report(state: LatentBayesianSurpriseState, transitions: Transition, where: Array | None = None) -> Metrics:
        """Surprise and reconstruction together: a low divergence with a poor reconstruction is a collapse."""
        belief = believe(state.model, transitions)
        return {
            "kl": mean_over(surprise(belief), where),
            "reconstruction_log_likelihood": mean_over(expected_log_likelihood(state.model, belief), where),
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
