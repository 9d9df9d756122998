r"""Densities of what an episode has shown, kept as sufficient statistics (Berseth et al., 2021, "SMiRL").

    categorical   p_j(k) = n_jk / n             log p(o) = Σ_j log max(p_j(o_j), floor)
    bernoulli     p_j    = Σ o_j / n            log p(o) = Σ_j log Bernoulli(o_j; p_j clipped to [floor, 1 − floor])
    gaussian      μ_j, σ_j² = mean, variance    log p(o) = Σ_j log N(o_j; μ_j, max(σ_j, min_scale)²)

Entries j = 1 … `size` of an observation are independent. Statistics are one flat float32 vector [S] whose first number
is n, the insertions, and whose others are averages, so that they can live in the context or the carry of an episode
and be shown to a network. Everything is for ONE observation; map it over environments. Log-densities are in nats.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from infojax.info import discrete
from infojax.info import gaussian as normal
from infojax.types import Array, UserError

# Logarithms of counts are shown divided by this: an episode of 1000 steps ends near 1.
LOG_COUNT_SCALE = 7.0


class Density(NamedTuple):
    """A density with sufficient statistics, pure functions of them.

    `log_prob_of` and `entropy_of` are sums over the entries of an observation, in nats.
    """

    statistics_size: int  # S
    summary_size: int  # P
    empty: Callable[[], Array]  # -> statistics [S] of no observation
    insert: Callable[[Array, Array], Array]  # (statistics, observation) -> statistics
    log_prob_of: Callable[[Array, Array], Array]  # (statistics, observation) -> scalar
    entropy_of: Callable[[Array], Array]  # statistics -> scalar
    summary: Callable[[Array], Array]  # statistics -> [P], what a policy is shown


def categorical(
    size: int, num_categories: int, floor: float = 1e-3, smoothing: Literal["floor", "laplace"] = "floor"
) -> Density:
    """Independent categorical entries: `size` symbols, each one of 0 … `num_categories` − 1.

    "floor" is how adversarial surprise was published: probabilities are raised to `floor` and NOT normalised again, so
    that they may sum to more than 1 by `num_categories` · `floor`, and empty statistics are uniform. "laplace" adds one
    to each count (n_jk + 1) / (n + K), which sums to 1 and needs no floor. The entropy is that of n_jk / n, or of the
    smoothed probabilities. Statistics: n, then the frequencies [size, K], uniform when empty. A symbol outside of the
    range counts as the nearest one.

    Source: Fickinger et al. (2021), "Explore and Control with Adversarial Surprise"; `floor` as their code.
    """
    if num_categories < 2 or not 0 < floor < 1 / num_categories:
        raise UserError(
            f"a categorical density needs at least 2 categories and a floor between 0 and 1 over their number, got "
            f"num_categories={num_categories} and floor={floor:g}; lower the floor"
        )
    smooth = smoothing == "laplace"

    def probabilities(statistics: Array) -> Array:
        number, frequencies = statistics[0], statistics[1:].reshape(size, num_categories)
        return (frequencies * number + 1) / (number + num_categories) if smooth else frequencies

    def symbols(observation: Array) -> Array:
        return jnp.clip(jnp.round(observation.reshape(size)).astype(jnp.int32), 0, num_categories - 1)

    def empty() -> Array:
        frequencies = jnp.full((size * num_categories,), 1 / num_categories, jnp.float32)
        return jnp.concatenate([jnp.zeros((1,), jnp.float32), frequencies])

    def insert(statistics: Array, observation: Array) -> Array:
        number = statistics[0]
        seen = jax.nn.one_hot(symbols(observation), num_categories, dtype=jnp.float32).reshape(-1)
        # Counts are whole, so that rounding never adds up however long the episode.
        counts = jnp.round(statistics[1:] * number) + seen
        return jnp.concatenate([number[None] + 1, counts / (number + 1)])

    def log_prob_of(statistics: Array, observation: Array) -> Array:
        chosen = jnp.take_along_axis(probabilities(statistics), symbols(observation)[:, None], axis=1)[:, 0]
        return jnp.sum(jnp.log(chosen if smooth else jnp.maximum(chosen, floor)))

    def entropy_of(statistics: Array) -> Array:
        return jnp.sum(discrete.shannon_entropy(probabilities(statistics)))

    def summary(statistics: Array) -> Array:
        return jnp.concatenate([_shown_count(statistics), probabilities(statistics).reshape(-1)])

    width = 1 + size * num_categories
    return Density(width, width, empty, insert, log_prob_of, entropy_of, summary)


def bernoulli(size: int, floor: float = 1e-5) -> Density:
    """Independent entries that are 0 or 1 (above ½ counts as 1), probabilities within [`floor`, 1 − `floor`].

    Statistics: n, then the share of ones [size], ½ when empty.

    Source: Berseth et al. (2021); `floor` as Fickinger et al. (2021) have it in code.
    """
    if not 0 < floor < 0.5:
        raise UserError(f"the floor of a Bernoulli density must be between 0 and 0.5, got {floor:g}")

    def ones(observation: Array) -> Array:
        return (observation.reshape(size) > 0.5).astype(jnp.float32)

    def both(statistics: Array) -> Array:
        """(size, 2) probabilities of 0 and of 1."""
        chance = jnp.clip(statistics[1:], floor, 1 - floor)
        return jnp.stack([jnp.clip(1 - statistics[1:], floor, 1 - floor), chance], axis=-1)

    def empty() -> Array:
        return jnp.concatenate([jnp.zeros((1,), jnp.float32), jnp.full((size,), 0.5, jnp.float32)])

    def insert(statistics: Array, observation: Array) -> Array:
        number = statistics[0]
        counts = jnp.round(jnp.where(number > 0, statistics[1:], 0) * number) + ones(observation)
        return jnp.concatenate([number[None] + 1, counts / (number + 1)])

    def log_prob_of(statistics: Array, observation: Array) -> Array:
        chances = both(statistics)
        return jnp.sum(jnp.log(jnp.where(ones(observation) > 0, chances[:, 1], chances[:, 0])))

    def entropy_of(statistics: Array) -> Array:
        return jnp.sum(discrete.shannon_entropy(both(statistics)))

    def summary(statistics: Array) -> Array:
        return jnp.concatenate([_shown_count(statistics), statistics[1:]])

    return Density(1 + size, 1 + size, empty, insert, log_prob_of, entropy_of, summary)


def gaussian(size: int, min_scale: float, window: int | None = None, prior_count: float = 1.0) -> Density:
    """Independent Gaussian entries with the mean and the population variance of what was inserted.

    `prior_count` is the weight, in observations, of the standard normal that empty statistics are; with 0 the first
    observation replaces it and the scale is `min_scale` after it. Updates are Welford's, which do not cancel. With
    `window` only that many last observations count (there `prior_count` has no effect), and the observations themselves
    are the statistics. Statistics: n, mean [size], variance [size], then with a window a ring [window, size].

    Source: Berseth et al. (2021); window as Fickinger et al. (2021) have it in code; Welford (1962).
    """
    if min_scale <= 0 or prior_count < 0 or (window is not None and window < 1):
        raise UserError(
            f"a Gaussian density needs min_scale above 0, prior_count of at least 0 and a window of 1 or more or none, "
            f"got min_scale={min_scale:g}, prior_count={prior_count:g} and window={window}"
        )

    def moments(statistics: Array) -> tuple[Array, Array]:
        """Mean and scale of each entry."""
        return statistics[1 : 1 + size], jnp.maximum(jnp.sqrt(statistics[1 + size : 1 + 2 * size]), min_scale)

    def empty() -> Array:
        ring = jnp.zeros((size * (window or 0),), jnp.float32)
        first = jnp.concatenate([jnp.zeros((1 + size,), jnp.float32), jnp.ones((size,), jnp.float32)])
        return jnp.concatenate([first, ring])

    def insert(statistics: Array, observation: Array) -> Array:
        number, mean, variance = statistics[0], statistics[1 : 1 + size], statistics[1 + size : 1 + 2 * size]
        value = observation.reshape(size)
        if window is None:
            weight = 1 / (number + prior_count + 1)
            delta = value - mean
            mean = mean + weight * delta
            # (1 − w)(σ² + w δ²) is the variance after a step of weight w; it cannot be negative.
            variance = (1 - weight) * (variance + weight * jnp.square(delta))
            return jnp.concatenate([number[None] + 1, mean, variance])
        ring = statistics[1 + 2 * size :].reshape(window, size)
        place = number.astype(jnp.int32) % window
        ring = jax.lax.dynamic_update_index_in_dim(ring, value, place, axis=0)
        filled = (jnp.arange(window) <= number.astype(jnp.int32))[:, None]
        held = jnp.minimum(number + 1, window)
        mean = jnp.sum(jnp.where(filled, ring, 0), axis=0) / held
        variance = jnp.sum(jnp.where(filled, jnp.square(ring - mean[None]), 0), axis=0) / held
        return jnp.concatenate([number[None] + 1, mean, variance, ring.reshape(-1)])

    def log_prob_of(statistics: Array, observation: Array) -> Array:
        # −log q(x) = D(q moved to x ‖ q) + H(q) − d/2: equal scales leave of the divergence the square alone.
        mean, scale = moments(statistics)
        moved = normal.diagonal_kl_divergence(observation.reshape(size), scale, mean, scale)
        return size / 2 - moved - normal.diagonal_entropy(scale)

    def entropy_of(statistics: Array) -> Array:
        return normal.diagonal_entropy(moments(statistics)[1])

    def summary(statistics: Array) -> Array:
        return jnp.concatenate([_shown_count(statistics), *moments(statistics)])

    width = 1 + 2 * size
    return Density(width + size * (window or 0), width, empty, insert, log_prob_of, entropy_of, summary)


def _shown_count(statistics: Array) -> Array:
    """[1] log(1 + n), scaled."""
    return jnp.log1p(statistics[:1]) / LOG_COUNT_SCALE
