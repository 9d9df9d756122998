"""Bayesian surprise, the divergence of a posterior from its prior, and the information expected of an experiment.

Conjugate families in closed form. With p the posterior and q the prior, lnΓ enters all of them by its gap
lnΓ(b) − lnΓ(a) − (b − a) ψ(a) only. For large arguments those are small differences of huge numbers, so Stirling's part
is split off and its logarithms are joined on paper; what is left, `_stirling_rest`, is small everywhere.
"""

from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from infojax.info import categorical, gaussian
from infojax.info._numerics import Reduction, keep, promote, reduce
from infojax.info.gaussian import _log_gap

Estimator: TypeAlias = Literal["nested", "contrastive"]

# Numerators and denominators of B_2k / (2k (2k − 1)), the coefficients of x^(1 − 2k) in Stirling's series.
STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)


def _stirling_rest(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """lnΓ(x) − (x − ½) log x + x − ½ log 2π and its derivative ψ(x) − log x + 1 / 2x; both vanish for large x.

    A small x is taken up to the series by Γ(x + 1) = x Γ(x). The library's lnΓ would not do: near 1 and 2 it errs by
    5e-7 in float32, and otherwise for constants than for variables, so that equal arguments would not cancel.
    """
    steps = 10 if jnp.finfo(x.dtype).bits > 32 else 3
    large = x > steps
    low = jnp.where(large, 1, x)
    inverse = 1 / jnp.where(large, x, low + steps)
    square = inverse * inverse
    series, slope = jnp.zeros_like(x), jnp.zeros_like(x)
    for k in range(len(STIRLING), 0, -1):
        series = series * square + STIRLING[k - 1]
        slope = slope * square - (2 * k - 1) * STIRLING[k - 1]
    risen, risen_slope = jnp.zeros_like(x), jnp.zeros_like(x)
    for step in range(steps):
        y = low + step
        log_ratio = jnp.log1p(1 / y)
        risen = risen + (y + 0.5) * log_ratio - 1
        risen_slope = risen_slope + log_ratio - (y + 0.5) / (y * (y + 1))
    return series * inverse + jnp.where(large, 0, risen), slope * square + jnp.where(large, 0, risen_slope)


def _gamma_gap(b: jax.Array, a: jax.Array) -> jax.Array:
    """lnΓ(b) − lnΓ(a) − (b − a) ψ(a), less b log(b / a) − (b − a)."""
    rest_b, _ = _stirling_rest(b)
    rest_a, slope_a = _stirling_rest(a)
    return _log_gap(b, a) / 2 + rest_b - rest_a - (b - a) * slope_a


def surprise_normal(
    mean: ArrayLike, scale: ArrayLike, prior_mean: ArrayLike, prior_scale: ArrayLike, where: jax.Array | None = None
) -> jax.Array:
    r"""Bayesian surprise of Gaussians with independent coordinates: KL of the posterior from the prior.

    $$D = \sum_i \left[\log\frac{\sigma_{0,i}}{\sigma_i} + \frac{\sigma_i^2 + (\mu_i-\mu_{0,i})^2}{2\sigma_{0,i}^2}
    - \frac12\right]$$

    Args:
        mean: (…, d) posterior mean. All four broadcast together; only scalars count as one dimension.
        scale: (…, d) posterior standard deviations; 0 gives +inf.
        prior_mean: (…, d).
        prior_scale: (…, d) above 0.
        where: mask of coordinates that broadcasts to the result of broadcasting. None left gives 0.

    Returns:
        (…) in nats, never negative.

    Example:
        >>> import jax.numpy as jnp
        >>> float(surprise_normal(jnp.ones(2), 1.0, 0.0, 1.0))
        1.0

    Source: Itti and Baldi (2009), "Bayesian surprise attracts human attention".
    """
    return gaussian.diagonal_kl_divergence(mean, scale, prior_mean, prior_scale, where)


def _dirichlet(posterior: jax.Array, prior: jax.Array, where: jax.Array | None) -> jax.Array:
    shape = jnp.broadcast_shapes(posterior.shape, prior.shape)
    where = None if where is None else jnp.broadcast_to(where, shape)
    posterior, prior = jnp.broadcast_to(posterior, shape), jnp.broadcast_to(prior, shape)
    posterior, prior = keep(posterior, where, 1), keep(prior, where, 1)
    total, prior_total = (jnp.sum(keep(array, where), axis=-1, keepdims=True) for array in (posterior, prior))
    some = None if where is None else jnp.any(where, axis=-1, keepdims=True)
    total, prior_total = keep(total, some, 1), keep(prior_total, some, 1)
    expected, prior_expected = posterior / total, prior / prior_total
    # Σ b_k log(b_k / a_k) of the concentrations less the same of their totals: a divergence of the expected classes.
    moved = prior * _log_gap(expected, prior_expected)
    gaps = _gamma_gap(prior, posterior)
    value = jnp.sum(keep(moved + gaps, where), axis=-1, keepdims=True) - _gamma_gap(prior_total, total)
    return keep(value, some)[..., 0]


def surprise_dirichlet(
    concentration: ArrayLike, prior_concentration: ArrayLike, where: jax.Array | None = None
) -> jax.Array:
    r"""Bayesian surprise of Dirichlet distributions: KL of the posterior (a) from the prior (b).

    $$D = \ln\Gamma(a_0) - \sum_k \ln\Gamma(a_k) - \ln\Gamma(b_0) + \sum_k \ln\Gamma(b_k)
    + \sum_k (a_k - b_k)\left[\psi(a_k) - \psi(a_0)\right]$$

    with a_0 and b_0 the sums.

    Args:
        concentration: (…, K) posterior concentrations above 0.
        prior_concentration: prior concentrations above 0; broadcasts with `concentration`.
        where: mask of classes that broadcasts to `concentration`. None left gives 0.

    Returns:
        (…) in nats.

    Raises:
        ValueError: two scalars, which leave no axis of classes.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(surprise_dirichlet(jnp.array([2.0, 1.0]), jnp.ones(2))), 4)
        0.1931

    Source: Itti and Baldi (2009), "Bayesian surprise attracts human attention"; Penny (2001),
    "KL-divergences of normal, gamma, Dirichlet and Wishart densities".
    """
    (posterior, prior), dtype = promote(concentration, prior_concentration)
    if posterior.ndim == 0 and prior.ndim == 0:
        raise ValueError("concentration must have the shape (…, K), got a scalar; for two classes see surprise_beta")
    return _dirichlet(posterior, prior, where).astype(dtype)


def surprise_beta(alpha: ArrayLike, beta: ArrayLike, prior_alpha: ArrayLike, prior_beta: ArrayLike) -> jax.Array:
    r"""Bayesian surprise of Beta distributions: KL of the posterior from the prior, element by element.

    $$D = \ln\frac{B(\alpha_0,\beta_0)}{B(\alpha,\beta)} + (\alpha-\alpha_0)\psi(\alpha) + (\beta-\beta_0)\psi(\beta)
    + (\alpha_0-\alpha+\beta_0-\beta)\psi(\alpha+\beta)$$

    Args:
        alpha: (…) posterior α > 0. All four broadcast together.
        beta: (…) posterior β > 0.
        prior_alpha: (…) prior α > 0.
        prior_beta: (…) prior β > 0.

    Returns:
        (…) in nats; independent variables are the caller's to sum.

    Example:
        >>> round(float(surprise_beta(2.0, 1.0, 1.0, 1.0)), 4)
        0.1931

    Source: Itti and Baldi (2009), "Bayesian surprise attracts human attention"; the Dirichlet
    divergence for two classes.
    """
    arrays, dtype = promote(alpha, beta, prior_alpha, prior_beta)
    shape = jnp.broadcast_shapes(*(array.shape for array in arrays))
    a, b, prior_a, prior_b = (jnp.broadcast_to(array, shape) for array in arrays)
    return _dirichlet(jnp.stack([a, b], -1), jnp.stack([prior_a, prior_b], -1), None).astype(dtype)


def surprise_gamma(shape: ArrayLike, rate: ArrayLike, prior_shape: ArrayLike, prior_rate: ArrayLike) -> jax.Array:
    r"""Bayesian surprise of Gamma distributions: KL of the posterior from the prior, element by element.

    $$D = (a-a_0)\psi(a) - \ln\Gamma(a) + \ln\Gamma(a_0) + a_0 \ln\frac{r}{r_0} + a\,\frac{r_0-r}{r}$$

    Args:
        shape: (…) posterior shape a > 0. All four broadcast together.
        rate: (…) posterior rate r > 0 (one over the scale of some libraries).
        prior_shape: (…) prior shape > 0.
        prior_rate: (…) prior rate > 0.

    Returns:
        (…) in nats; independent variables are the caller's to sum.

    Example:
        >>> import jax.numpy as jnp
        >>> bool(jnp.allclose(surprise_gamma(1.0, 2.0, 1.0, 1.0), jnp.log(2.0) - 0.5))
        True

    Source: Itti and Baldi (2009), "Bayesian surprise attracts human attention"; Penny (2001),
    "KL-divergences of normal, gamma, Dirichlet and Wishart densities".
    """
    arrays, dtype = promote(shape, rate, prior_shape, prior_rate)
    common = jnp.broadcast_shapes(*(array.shape for array in arrays))
    a, r, prior_a, prior_r = (jnp.broadcast_to(array, common) for array in arrays)
    return (_gamma_gap(prior_a, a) + prior_a * _log_gap(a / r, prior_a / prior_r)).astype(dtype)


def surprise_categorical(logits: jax.Array, prior_logits: jax.Array, where: jax.Array | None = None) -> jax.Array:
    r"""Bayesian surprise of categorical distributions: KL of the posterior from the prior.

    $$D = \sum_k p_k \log\frac{p_k}{q_k}, \qquad p = \operatorname{softmax}(\text{logits}),\;
    q = \operatorname{softmax}(\text{prior\_logits})$$

    Args:
        logits: (…, K) of the posterior.
        prior_logits: (…, K) of the prior.
        where: mask that broadcasts to the logits; masked classes leave both supports.

    Returns:
        (…) in nats; +inf where the posterior has a class that the prior excludes.

    Example:
        >>> import jax.numpy as jnp
        >>> certain = jnp.array([0.0, -jnp.inf])
        >>> bool(jnp.allclose(surprise_categorical(certain, jnp.zeros(2)), jnp.log(2.0)))
        True

    Source: Itti and Baldi (2009), "Bayesian surprise attracts human attention".
    """
    return categorical.kl_divergence(logits, prior_logits, where=where)


def _log_mean_exp(values: jax.Array, where: jax.Array | None) -> jax.Array:
    """Over the last axis; −inf with zero gradient if every value is."""
    kept = jnp.ones(values.shape, bool) if where is None else where
    alive = kept & (values > -jnp.inf)
    top = jax.lax.stop_gradient(jnp.max(jnp.where(alive, values, -jnp.inf), axis=-1, keepdims=True, initial=-jnp.inf))
    top = jnp.where(jnp.isfinite(top), top, 0)
    total = jnp.sum(jnp.where(alive, jnp.exp(jnp.where(alive, values - top, 0)), 0), axis=-1)
    count = jnp.maximum(jnp.sum(kept, axis=-1).astype(values.dtype), 1)
    some = total > 0
    return jnp.where(some, jnp.log(jnp.where(some, total, 1) / count) + top[..., 0], -jnp.inf)


def expected_information_gain(
    log_likelihoods: ArrayLike,
    estimator: Estimator = "nested",
    where: jax.Array | None = None,
    reduction: Reduction = "mean",
    clip: bool = False,
) -> jax.Array:
    r"""Information that an experiment is expected to give on its parameters, by nested Monte Carlo.

    For n = 1 … N draw θ_{n,0} from the prior and the outcome y_n from p(y | θ_{n,0}), the generating parameter, and
    M further parameters θ_{n,1} … θ_{n,M} from the prior. Then

    $$\hat I = \frac1N \sum_{n=1}^N \left[\log p(y_n \mid \theta_{n,0})
    - \log \frac1M \sum_{m=1}^M p(y_n \mid \theta_{n,m})\right]$$

    is too high on average and right for M → ∞. "contrastive" also counts the generating parameter among those of the
    sum, now M + 1: too low on average, never above log(M + 1), and better behaved where likelihoods are narrow. The
    further parameters may be the same for all outcomes.

    Args:
        log_likelihoods: (…, N, 1 + M), entry [n, m] is log p(y_n | θ_{n,m}); the GENERATING parameter is at m = 0.
        estimator: "nested" or "contrastive".
        where: mask that broadcasts to `log_likelihoods`; masked parameters do not count, and neither does an outcome
            whose generating parameter, or all of whose others, are masked. Nothing left gives 0 with zero gradient.
        reduction: "mean" over the outcomes, or "none" for the information of each.
        clip: True raises negative results to 0, after the reduction.

    Returns:
        (…) or (…, N), in nats.

    Raises:
        ValueError: no axis of outcomes, no further parameters, or an unknown estimator or reduction.

    Example:
        >>> import jax.numpy as jnp
        >>> bool(jnp.allclose(expected_information_gain(jnp.log(jnp.array([[0.5, 0.25, 0.25]]))), jnp.log(2.0)))
        True

    Source: Rainforth et al. (2018), "On nesting Monte Carlo estimators"; Foster et al. (2019), "Variational Bayesian
    optimal experimental design"; "contrastive": Foster et al. (2020), "A unified stochastic gradient approach to
    designing Bayesian-optimal experiments".
    """
    if estimator not in ("nested", "contrastive"):
        raise ValueError(f"estimator must be 'nested' or 'contrastive', got {estimator!r}")
    (values,), dtype = promote(log_likelihoods)
    if values.ndim < 2 or values.shape[-1] < 2:
        raise ValueError(
            "log_likelihoods must have the shape (…, N, 1 + M), the generating parameter at index 0 of the last axis "
            f"and at least one other after it, got {values.shape}"
        )
    outcomes = None
    if where is not None:
        where = jnp.broadcast_to(where, values.shape)
        outcomes = where[..., 0] & jnp.any(where[..., 1:], axis=-1)
        values = keep(values, where, -jnp.inf)
    # Likelihoods of many data are huge numbers with small differences, so what they share goes first.
    shared = jax.lax.stop_gradient(jnp.max(values, axis=-1, keepdims=True, initial=-jnp.inf))
    values = values - jnp.where(jnp.isfinite(shared), shared, 0)
    first = 0 if estimator == "contrastive" else 1
    generating = keep(values[..., 0], outcomes)
    inner = values[..., first:]
    marginal = keep(_log_mean_exp(inner, None if where is None else where[..., first:]), outcomes)
    # An outcome that even its own parameter excludes is −inf, also where nothing else explains it.
    possible = generating > -jnp.inf
    gain = jnp.where(possible, jnp.where(possible, generating, 0) - marginal, -jnp.inf)
    value = reduce(gain, outcomes, reduction, values.dtype)
    return (jnp.maximum(value, 0) if clip else value).astype(dtype)
