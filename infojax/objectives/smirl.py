r"""Surprise minimisation (Berseth et al., 2021, "SMiRL: Surprise Minimizing Reinforcement Learning in Unstable
Environments").

    r_t = log p_θt(o_{t+1}),          θ_t = sufficient statistics of o_0 … o_t               (algorithm 1)

in nats: the density of the episode so far, BEFORE o_{t+1} is inserted. With form "maximise" the reward is −log p, which
seeks surprise. θ_t is the context of the learner, so that its policy and critics see [o_t, θ_t, t] as the paper asks:

    context = [ n / episode length,  frequencies (size · K) | share of ones (size) | mean (size), deviation (size) ]

n is the number of observations so far, and thereby the time; with it the context is both what a network can take and
the statistics of `densities`, to which it is turned back for every reward. `advance` inserts an observation. Shapes:
observations (N, …) with `size` entries in all, contexts (N, C).
"""

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp

from infojax.objectives import densities
from infojax.objectives.parts import mean_over
from infojax.types import (
    Array,
    EnvSpec,
    Key,
    Metrics,
    NonNegative,
    Objective,
    Positive,
    Transition,
    UserError,
)


def make(
    spec: EnvSpec,
    *,
    form: Literal["minimise", "maximise"] = "minimise",
    density: Literal["auto", "categorical", "bernoulli", "gaussian"] = "auto",
    floor: Positive | None = None,
    smoothing: Literal["floor", "laplace"] = "floor",
    min_scale: Positive = 1e-3,
    prior_count: NonNegative = 1.0,
    largest: Positive = 300.0,
) -> Objective:
    """The log-density of the next observation under the episode so far, clipped to ±`largest`; see the module's text.

    Raises:
        UserError: a categorical density of observations that are numbers, or a floor that is no probability.

    Source: Berseth et al. (2021), algorithm 1; `largest` and `min_scale` as in the authors' code.
    """
    size = math.prod(spec.observation_shape)
    chosen, distribution = _choose(spec, density, size, floor, smoothing, min_scale, prior_count)
    sign = 1.0 if form == "minimise" else -1.0

    def shown(statistics: Array) -> Array:
        """Statistics as a context: the count as a share of the episode, a variance as a deviation."""
        rest = statistics[1:]
        if chosen == "gaussian":
            rest = jnp.concatenate([rest[:size], jnp.sqrt(rest[size:])])
        return jnp.concatenate([statistics[:1] / spec.episode_length, rest])

    def statistics_of(context: Array) -> Array:
        """The context turned back."""
        rest = context[1:]
        if chosen == "gaussian":
            rest = jnp.concatenate([rest[:size], jnp.square(rest[size:])])
        return jnp.concatenate([jnp.round(context[:1] * spec.episode_length), rest])

    def advance(state: tuple[()], context: Array, observation: Array) -> Array:
        return shown(distribution.insert(statistics_of(context), observation))

    def log_probs(transitions: Transition) -> Array:
        """(N,) nats."""
        statistics = jax.vmap(statistics_of)(transitions.context)
        return jax.vmap(distribution.log_prob_of)(statistics, transitions.next_observation)

    def reward(state: tuple[()], transitions: Transition) -> Array:
        return sign * jnp.clip(log_probs(transitions), -largest, largest)

    def update(state: tuple[()], transitions: Transition, key: Key) -> tuple[tuple[()], Metrics]:
        return state, {}

    def report(state: tuple[()], transitions: Transition, where: Array | None = None) -> Metrics:
        """Nats per observation: how likely the next one was, and the entropy of the density of the episode so far."""
        entropies = jax.vmap(lambda context: distribution.entropy_of(statistics_of(context)))(transitions.context)
        return {
            "log_likelihood": mean_over(log_probs(transitions), where),
            "density_entropy": mean_over(entropies, where),
        }

    return Objective(
        context_size=distribution.statistics_size,
        contexts=None,
        init=lambda key: (),
        context=lambda state, key: shown(distribution.empty()),
        advance=advance,
        reward=reward,
        observe=lambda state, transitions: state,
        update=update,
        report=report,
    )


def _choose(
    spec: EnvSpec, density: str, size: int, floor: float | None, smoothing: Any, min_scale: float, prior_count: float
) -> tuple[str, densities.Density]:
    """The name of the density and the density; published floors where none is given."""
    symbols = spec.num_categories
    chosen = ("gaussian" if symbols is None else "categorical") if density == "auto" else density
    if chosen == "gaussian":
        return chosen, densities.gaussian(size, min_scale, prior_count=prior_count)
    if chosen == "bernoulli":
        return chosen, densities.bernoulli(size, **({} if floor is None else {"floor": floor}))
    if symbols is None:
        raise UserError(
            f"objective.density=categorical needs observations of symbols, but {spec.name or 'the environment'} "
            "observes numbers; use objective.density=gaussian"
        )
    given = {} if floor is None else {"floor": floor}
    return chosen, densities.categorical(size, symbols, smoothing=smoothing, **given)
