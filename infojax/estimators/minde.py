"""MINDE: what knowing y changes in the score of a noised x.

Franzese, Bounoua and Michiardi (2024), "MINDE: Mutual information neural diffusion estimation", the conditional form.
x is noised to x_t = α x + σ ε with α² + σ² = 1; one network learns the denoising direction v = α ε − σ x from x_t, with
y and without. As E[ε | x_t] = σ x_t + α E[v | x_t], the score is −E[ε | x_t]/σ = −x_t − (α/σ) v, and standard normal x
needs no network at all. The clock is the negative log of the signal-to-noise ratio, τ = log σ²/α², for which g² = σ²:

    I(X;Y) = ½ ∫ σ²(τ) E‖s(x_τ | y) − s(x_τ)‖² dτ

For few dimensions: errors of the network add to a square and can only feign information.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from infojax.estimators import _neural, parts
from infojax.info import score
from infojax.nets.critic import lecun_normal
from infojax.nets.mlp import Activation, mlp
from infojax.nets.optimizers import adam
from infojax.types import Array, Count, Estimate, Estimator, Key, Positive, Rate

LEAST_NOISE, MOST_NOISE = -7.0, 6.0  # of τ; beyond them there is little left to learn, or nothing to see
TIMES = 40  # of the integral
FREQUENCIES = (0.25, 0.5, 1.0)  # with which the network sees τ


def noised(tau: Array, x: Array, noise: Array) -> tuple[Array, Array, Array, Array]:
    """x_τ, the direction v, α and σ, for τ of the shape (…, 1)."""
    alpha, sigma = jnp.sqrt(jax.nn.sigmoid(-tau)), jnp.sqrt(jax.nn.sigmoid(tau))
    return alpha * x + sigma * noise, alpha * noise - sigma * x, alpha, sigma


def make(
    *,
    hidden_sizes: tuple[Count, ...] = (64, 64),
    activation: Activation = "silu",
    learning_rate: Positive = 3e-3,
    batch_size: Count = 128,
    epochs: Count = 300,
    patience: Count = 40,
    averaging_rate: Rate = 0.02,
    folds: Count = 4,
    margins: _neural.Margins = "ranks",
    tolerance: Positive = 0.05,
) -> Estimator:
    """Mutual information by MINDE.

    Args:
        hidden_sizes: of the network.
        activation: of the hidden layers.
        learning_rate: of Adam.
        batch_size: samples of a gradient step, each at one level of noise.
        epochs: passes over the samples, at most.
        patience: epochs without a better validation after which training ends.
        averaging_rate: of the running mean of parameters that estimates.
        folds: test folds; each trains on the rest.
        margins: "ranks" brings every coordinate to normal scores, which changes no information between continuous x
            and y; "standardised" only shifts and scales.
        tolerance: the error in nats that a trusted estimate may have, beside its interval.
    """
    optimizer, training = adam(learning_rate), _neural.Training(learning_rate, batch_size, epochs, patience)

    def direction(parameters: Any, noisy: Array, y: Array, given: float, tau: Array) -> Array:
        """v, from the noised x and from y if that is given."""
        network = mlp(hidden_sizes, noisy.shape[1], activation=activation)
        waves = [wave(frequency * tau) for frequency in FREQUENCIES for wave in (jnp.sin, jnp.cos)]
        inputs = [noisy, given * y, jnp.full_like(tau, given), tau / MOST_NOISE, *waves]
        return network.apply(parameters, jnp.concatenate(inputs, axis=-1))

    def loss(parameters: Any, x: Array, y: Array, tau: Array, noise: Array) -> Array:
        noisy, target, _, _ = noised(tau, x, noise)
        errors = [direction(parameters, noisy, y, given, tau) - target for given in (0.0, 1.0)]
        return sum(jnp.mean(jnp.sum(error**2, axis=-1)) for error in errors)  # pyright: ignore[reportReturnType]

    def drawn(key: Key, x: Array) -> tuple[Array, Array]:
        """Levels of noise, one in each stratum, and noise."""
        key_tau, key_noise = jax.random.split(key)
        place = (jnp.arange(len(x), dtype=jnp.float32) + jax.random.uniform(key_tau, (len(x),))) / len(x)
        return (LEAST_NOISE + (MOST_NOISE - LEAST_NOISE) * place)[:, None], jax.random.normal(key_noise, x.shape)

    def train(key: Key, data: _neural.Samples) -> Any:
        x, y = data.train
        key_init, key_order, key_validation = jax.random.split(key, 3)
        size = x.shape[1] + y.shape[1] + 2 + 2 * len(FREQUENCIES)
        network = mlp(hidden_sizes, x.shape[1], activation=activation)
        parameters, as_tree = ravel_pytree(lecun_normal(key_init, lambda key: network.init(key, size)))
        # Every sample at 8 levels of noise, always the same ones: epochs are told apart by what they learnt alone.
        many_x, many_y = (jnp.tile(samples, (8, 1)) for samples in data.validation)
        held_out = drawn(key_validation, many_x)

        def step(carry: Any, given: tuple[Array, Key]) -> tuple[Any, None]:
            parameters, average, state = carry
            index, key = given
            noise = drawn(key, x[index])
            gradient = jax.grad(lambda flat: loss(as_tree(flat), x[index], y[index], *noise))(parameters)
            updates, state = optimizer.update(gradient, state)
            parameters = parameters + updates
            return (parameters, average + averaging_rate * (parameters - average), state), None

        def epoch(learnt: Any, number: Array) -> Any:
            key_epoch, key_noise = jax.random.split(jax.random.fold_in(key_order, number))
            order = _neural.batches(key_epoch, len(x), batch_size)
            return jax.lax.scan(step, learnt, (order, jax.random.split(key_noise, len(order))))[0]

        def validation(average: Array) -> Array:
            return -loss(as_tree(average), many_x, many_y, *held_out)

        learnt = (parameters, parameters, optimizer.init(parameters))
        return as_tree(_neural.early_stopped(epoch, lambda learnt: learnt[1], validation, learnt, training))

    def value(parameters: Any, key: Key, x: Array, y: Array) -> tuple[Array, Array]:
        taus = jnp.linspace(LEAST_NOISE, MOST_NOISE, TIMES)

        def scores(given: tuple[Array, Array]) -> tuple[Array, Array]:
            tau = jnp.broadcast_to(given[0], (len(x), 1))
            noisy, _, alpha, sigma = noised(tau, x, given[1])
            without, known = (direction(parameters, noisy, y, flag, tau) for flag in (0.0, 1.0))
            return -noisy - alpha / sigma * known, -noisy - alpha / sigma * without

        noise = jax.random.normal(key, (TIMES, *x.shape))
        conditional, marginal = jax.lax.map(scores, (taus, noise))
        local = score.minde_conditional(conditional, marginal, taus, jax.nn.sigmoid(taus), reduction="none")
        return jnp.mean(local), jnp.var(local) / len(x)

    def fit(key: Key, x: Array, y: Array) -> Estimate:
        return _neural.estimate(_neural.Model(train, value), key, x, y, margins, folds, tolerance)

    return Estimator(fit, parts.why)
