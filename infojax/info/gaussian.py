"""Information quantities of Gaussians, in closed form; dimensions on the last axis.

Determinants come from one Cholesky factor, C = L Lᵀ with log det C = 2 Σ log L_ii. What is a difference of
log-determinants is never formed as one: with the variables ordered (Z, X, Y), the rows of L that belong to Y split into
what X adds (L_yx) and what is left (L_yy), and

$$I(X;Y \\mid Z) = \\tfrac12 \\log\\det(I + K K^\\top), \\qquad K = L_{yy}^{-1} L_{yx}$$

has nothing to cancel and no way to be negative. A covariance that is not positive definite in the precision at hand
gives NaN. The factor of a covariance with condition number κ knows its logarithms to about ε κ: at a correlation of
0.99999 that is 3e-3 nats in float32, and rounding the covariance itself to float32 costs as much. A pair of single
variables with unit variances is exact for the correlation it was given.
"""

import math

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import digamma, ndtri
from jax.typing import ArrayLike

from infojax.info._numerics import keep, masked_mean, positive, product, promote, transposed

ENTROPY_PER_DIMENSION = 0.5 * math.log(2 * math.pi * math.e)


def _check_covariance(name: str, cov: jax.Array) -> None:
    if cov.ndim < 2 or cov.shape[-1] != cov.shape[-2]:
        raise ValueError(f"{name} must be square on its last two axes, of shape (…, d, d), got {cov.shape}")


def _check_block(name: str, size: int, most: int) -> None:
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= most:
        raise ValueError(
            f"{name} must be an integer from 1 to {most}, so that every variable has a coordinate of the covariance, "
            f"got {size!r}"
        )


def _diagonal(matrix: jax.Array) -> jax.Array:
    return jnp.diagonal(matrix, axis1=-2, axis2=-1)


def _log_diagonal_sum(factor: jax.Array) -> jax.Array:
    """Half the log-determinant of the matrix whose Cholesky factor this is."""
    return jnp.sum(jnp.log(_diagonal(factor)), axis=-1)


def _half_log_det_plus_identity(factor: jax.Array) -> jax.Array:
    """½ log det(I + A Aᵀ) through the smaller of A Aᵀ and Aᵀ A, which share their nonzero eigenvalues."""
    rows, columns = factor.shape[-2:]
    gram = product(factor, transposed(factor)) if rows <= columns else product(transposed(factor), factor)
    size = gram.shape[-1]
    if size == 1:
        return jnp.log1p(gram[..., 0, 0]) / 2
    return _log_diagonal_sum(jnp.linalg.cholesky(gram + jnp.broadcast_to(jnp.eye(size, dtype=gram.dtype), gram.shape)))


def _log_gap(x: jax.Array, y: jax.Array) -> jax.Array:
    r"""x / y − 1 − log(x / y) ≥ 0, which vanishes to second order at x = y, where it is summed as a series.

    With u = x / y − 1 and v = u / (2 + u), log(1 + u) = 2 artanh v, and u − 2 v = u v. Inf, without gradient, at x = 0.
    """
    u = (x - y) / y
    near = jnp.abs(u) < 0.25
    small = jnp.where(near, u, 0)
    v = small / (2 + small)
    tail = jnp.zeros_like(v)
    for odd in range(19, 1, -2):
        tail = tail * v * v + 1 / odd
    series = small * v - 2 * v * v * v * tail
    alive = x > 0
    ratio = jnp.where(near | ~alive, 1, x / y)
    return jnp.where(near, series, jnp.where(alive, ratio - 1 - jnp.log(ratio), jnp.inf))


def _block_information(cov: jax.Array, dim_z: int, dim_x: int) -> jax.Array:
    """I(X; Y | Z) of a covariance whose variables come in the order Z, X, Y."""
    dim_zx = dim_z + dim_x
    factor = jnp.linalg.cholesky(cov)
    cross, rest = factor[..., dim_zx:, dim_z:dim_zx], factor[..., dim_zx:, dim_zx:]
    return _half_log_det_plus_identity(solve_triangular(rest, cross, lower=True))


def _pair_information(cov: jax.Array) -> jax.Array:
    """−½ log(1 − ρ²) of two coordinates; (1 − ρ)(1 + ρ) keeps all digits of 1 − ρ, which ρ² would round away."""
    scale = jnp.sqrt(_diagonal(cov))
    correlation = cov[..., 0, 1] / scale[..., 0] / scale[..., 1]
    small = jnp.abs(correlation) < 0.5
    weak = jnp.where(small, correlation, 0)
    strong = jnp.where(small, 0, correlation)
    return -jnp.where(small, jnp.log1p(-weak * weak), jnp.log((1 - strong) * (1 + strong))) / 2


def _entropy_bias(num_samples: ArrayLike, dimensions: int, dtype: jnp.dtype) -> jax.Array:
    """By how much the entropy of an unbiased sample covariance is too low on average."""
    if isinstance(num_samples, int) and num_samples <= dimensions:
        raise ValueError(
            f"num_samples must be above the number of dimensions {dimensions}, or the sample covariance is singular, "
            f"got {num_samples}"
        )
    n = jnp.asarray(num_samples, dtype)
    bias = jnp.zeros_like(n)
    for i in range(1, dimensions + 1):
        bias = bias + jnp.log((n - 1) / 2) - digamma((n - i) / 2)
    return bias / 2


def entropy(cov: ArrayLike, num_samples: ArrayLike | None = None) -> jax.Array:
    r"""Differential entropy of a Gaussian.

    $$H = \tfrac12 \log\det(2 \pi e\, C)$$

    Args:
        cov: (…, d, d) covariance.
        num_samples: if `cov` is the unbiased covariance (ddof 1) of n > d Gaussian samples, n takes off the mean error
            of the plug-in, which is low by ½ Σ_i [log((n − 1)/2) − ψ((n − i)/2)], i = 1 … d. A scalar or of shape (…).

    Returns:
        (…) in nats; negative for a narrow Gaussian.

    Raises:
        ValueError: `cov` not square, or a static `num_samples` of at most d.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(entropy(jnp.eye(2))), 4)
        2.8379

    Source: Cover and Thomas (2006), theorem 8.4.1; bias after Misra, Singh and Demchuk (2005), "Estimation of the
    entropy of a multivariate normal distribution".
    """
    (matrix,), dtype = promote(cov)
    _check_covariance("cov", matrix)
    dimensions = matrix.shape[-1]
    value = dimensions * ENTROPY_PER_DIMENSION + _log_diagonal_sum(jnp.linalg.cholesky(matrix))
    if num_samples is not None:
        value = value + _entropy_bias(num_samples, dimensions, matrix.dtype)
    return value.astype(dtype)


def diagonal_entropy(scale: ArrayLike, where: jax.Array | None = None) -> jax.Array:
    r"""Differential entropy of independent Gaussian coordinates.

    $$H = \sum_i \left[\tfrac12 \log(2 \pi e) + \log \sigma_i\right]$$

    Args:
        scale: (…, d) standard deviations; 0 gives −inf with zero gradient. A scalar counts as one dimension.
        where: mask of coordinates that broadcasts to `scale`. None left gives 0.

    Returns:
        (…) in nats.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(diagonal_entropy(jnp.ones(2))), 4)
        2.8379

    Source: Cover and Thomas (2006), theorem 8.4.1.
    """
    (sigma,), dtype = promote(scale)
    sigma = jnp.atleast_1d(sigma)
    where = None if where is None else jnp.broadcast_to(where, sigma.shape)
    sigma = keep(sigma, where, 1)
    alive = positive(sigma)
    value = ENTROPY_PER_DIMENSION + jnp.where(alive, jnp.log(jnp.where(alive, sigma, 1)), -jnp.inf)
    return jnp.sum(keep(value, where), axis=-1).astype(dtype)


def _two_factors(first: jax.Array, second: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cholesky factors of both, never at the same time.

    With jax 0.10 on two CPU cores, the factorisations of two large batches side by side with the triangular solve after
    them hung within some hundred calls; one after the other they do not. They are not broadcast first, for often one q
    stands against many p.
    """
    if first.shape == second.shape:
        both = jnp.linalg.cholesky(jnp.stack([first, second]))
        return both[0], both[1]
    factor = jnp.linalg.cholesky(first)
    _, second = jax.lax.optimization_barrier((factor, second))
    return factor, jnp.linalg.cholesky(second)


def kl_divergence(mean_p: ArrayLike, cov_p: ArrayLike, mean_q: ArrayLike, cov_q: ArrayLike) -> jax.Array:
    r"""KL divergence of the Gaussian p from the Gaussian q.

    $$D(p \| q) = \tfrac12\left[\operatorname{tr}(C_q^{-1} C_p) - d + (\mu_p-\mu_q)^\top C_q^{-1} (\mu_p-\mu_q)
    + \log\frac{\det C_q}{\det C_p}\right]$$

    Summed as squares and as terms r − 1 − log r of the factors' diagonals, so that nothing cancels for p near q.

    Args:
        mean_p: (…, d) mean of p.
        cov_p: (…, d, d) covariance of p.
        mean_q: (…, d) mean of q; leading axes broadcast.
        cov_q: (…, d, d) covariance of q; leading axes broadcast.

    Returns:
        (…) in nats, never negative.

    Raises:
        ValueError: a covariance that is not square, or another number of dimensions in one of the arguments.

    Example:
        >>> import jax.numpy as jnp
        >>> float(kl_divergence(jnp.ones(2), jnp.eye(2), jnp.zeros(2), jnp.eye(2)))
        1.0

    Source: Kullback (1959), "Information theory and statistics", chapter 9.
    """
    (m_p, c_p, m_q, c_q), dtype = promote(mean_p, cov_p, mean_q, cov_q)
    _check_covariance("cov_p", c_p)
    _check_covariance("cov_q", c_q)
    size = c_p.shape[-1]
    if c_q.shape[-1] != size or m_p.shape[-1:] != (size,) or m_q.shape[-1:] != (size,):
        shapes = f"{m_p.shape}, {c_p.shape}, {m_q.shape} and {c_q.shape}"
        raise ValueError(f"means (…, d) and covariances (…, d, d) must have the same d, got {shapes}")
    batch = jnp.broadcast_shapes(m_p.shape[:-1], c_p.shape[:-2], m_q.shape[:-1], c_q.shape[:-2])
    factor_p, factor_q = (jnp.broadcast_to(factor, (*batch, size, size)) for factor in _two_factors(c_p, c_q))
    shift = jnp.broadcast_to(m_p, (*batch, size)) - jnp.broadcast_to(m_q, (*batch, size))
    whitened = solve_triangular(factor_q, jnp.concatenate([factor_p, shift[..., None]], axis=-1), lower=True)
    crossed = jnp.sum(jnp.tril(whitened[..., :size], -1) ** 2, axis=(-1, -2))
    moved = jnp.sum(whitened[..., size] ** 2, axis=-1)
    spread_p, spread_q = _diagonal(factor_p), _diagonal(factor_q)
    excess = ((spread_p - spread_q) / spread_q) ** 2 / 2 + _log_gap(spread_p, spread_q)
    return ((crossed + moved) / 2 + jnp.sum(excess, axis=-1)).astype(dtype)


def diagonal_kl_divergence(
    mean_p: ArrayLike, scale_p: ArrayLike, mean_q: ArrayLike, scale_q: ArrayLike, where: jax.Array | None = None
) -> jax.Array:
    r"""KL divergence of p from q, both Gaussian with independent coordinates.

    $$D(p \| q) = \sum_i \left[\log\frac{\sigma_{q,i}}{\sigma_{p,i}}
    + \frac{\sigma_{p,i}^2 + (\mu_{p,i}-\mu_{q,i})^2}{2\sigma_{q,i}^2} - \frac12\right]$$

    Args:
        mean_p: (…, d) mean of p. All four broadcast together; only scalars count as one dimension.
        scale_p: (…, d) standard deviations of p; 0 gives +inf.
        mean_q: (…, d) mean of q.
        scale_q: (…, d) standard deviations of q, above 0.
        where: mask of coordinates that broadcasts to the result of broadcasting. None left gives 0.

    Returns:
        (…) in nats, never negative.

    Example:
        >>> import jax.numpy as jnp
        >>> float(diagonal_kl_divergence(jnp.ones(2), 1.0, 0.0, 1.0))
        1.0

    Source: Kullback (1959), "Information theory and statistics", chapter 9; used by Kingma and Welling (2014),
    appendix B.
    """
    arrays, dtype = promote(mean_p, scale_p, mean_q, scale_q)
    shape = jnp.broadcast_shapes((1,), *(array.shape for array in arrays))
    m_p, s_p, m_q, s_q = (jnp.broadcast_to(array, shape) for array in arrays)
    if where is not None:
        where = jnp.broadcast_to(where, shape)
        # Before the division, so that no gradient of what is masked is left.
        m_p, s_p, m_q, s_q = keep(m_p, where), keep(s_p, where, 1), keep(m_q, where), keep(s_q, where, 1)
    value = (((s_p - s_q) / s_q) ** 2 + ((m_p - m_q) / s_q) ** 2) / 2 + _log_gap(s_p, s_q)
    return jnp.sum(value, axis=-1).astype(dtype)


def mutual_information(
    cov: ArrayLike, dim_x: int, num_samples: ArrayLike | None = None, clip: bool = False
) -> jax.Array:
    r"""Mutual information of two blocks of a Gaussian: the first `dim_x` coordinates and the rest.

    $$I(X;Y) = \tfrac12 \log\frac{\det C_x \det C_y}{\det C} = -\tfrac12 \sum_i \log(1-\rho_i^2)$$

    with the canonical correlations ρ. In float32 a strong ρ costs digits: an error ε in the covariance is one of
    about ε / (1 − ρ²) nats in the result. Two single coordinates with unit variances lose nothing.

    Args:
        cov: (…, d, d) covariance.
        dim_x: how many coordinates belong to X, static, 1 … d − 1.
        num_samples: if `cov` is the unbiased covariance (ddof 1) of n > d Gaussian samples, n takes off the mean error
            of the plug-in, which is too high; the value may then be negative. A scalar or of shape (…).
        clip: True raises negative values to 0.

    Returns:
        (…) in nats; inf for a pair at |ρ| = 1.

    Raises:
        ValueError: `cov` not square, dim_x outside 1 … d − 1, or a static `num_samples` of at most d.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(mutual_information(jnp.array([[1.0, 0.75], [0.75, 1.0]]), 1)), 4)
        0.4133

    Source: Gelfand and Yaglom (1957), "Calculation of amount of information about a random function contained in
    another such function"; bias after Misra, Singh and Demchuk (2005).
    """
    (matrix,), dtype = promote(cov)
    _check_covariance("cov", matrix)
    size = matrix.shape[-1]
    _check_block("dim_x", dim_x, size - 1)
    value = _pair_information(matrix) if size == 2 else _block_information(matrix, 0, dim_x)
    if num_samples is not None:
        signed = ((1, dim_x), (1, size - dim_x), (-1, size))
        value = value + sum(sign * _entropy_bias(num_samples, block, matrix.dtype) for sign, block in signed)
    return (jnp.maximum(value, 0) if clip else value).astype(dtype)


def conditional_mutual_information(
    cov: ArrayLike, dim_x: int, dim_y: int, num_samples: ArrayLike | None = None, clip: bool = False
) -> jax.Array:
    r"""Mutual information of two blocks of a Gaussian given a third: X comes first, then Y, the rest is the condition.

    $$I(X;Y \mid Z) = \tfrac12 \log\frac{\det C_{xz} \det C_{yz}}{\det C_z \det C_{xyz}}$$

    Args:
        cov: (…, d, d) covariance of (X, Y, Z).
        dim_x: how many coordinates belong to X, static, at least 1.
        dim_y: how many coordinates belong to Y, static, at least 1. None left for Z gives I(X; Y).
        num_samples: as for `mutual_information`.
        clip: True raises negative values to 0.

    Returns:
        (…) in nats.

    Raises:
        ValueError: `cov` not square, blocks that do not fit, or a static `num_samples` of at most d.

    Example:
        >>> import jax.numpy as jnp
        >>> float(conditional_mutual_information(jnp.eye(3), 1, 1))
        0.0

    Source: Cover and Thomas (2006), section 2.5 and theorem 8.4.1; bias after Misra, Singh and Demchuk (2005).
    """
    (matrix,), dtype = promote(cov)
    _check_covariance("cov", matrix)
    size = matrix.shape[-1]
    _check_block("dim_x", dim_x, size - 1)
    _check_block("dim_y", dim_y, size - dim_x)
    dim_z = size - dim_x - dim_y
    ordered = jnp.roll(matrix, (dim_z, dim_z), axis=(-2, -1))
    value = _pair_information(matrix) if size == 2 else _block_information(ordered, dim_z, dim_x)
    if num_samples is not None:
        signed = ((1, dim_x + dim_z), (1, dim_y + dim_z), (-1, dim_z), (-1, size))
        value = value + sum(sign * _entropy_bias(num_samples, block, matrix.dtype) for sign, block in signed)
    return (jnp.maximum(value, 0) if clip else value).astype(dtype)


def _correlation_sums(factor: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Total and dual total correlation; the dual one is the total correlation of the inverse covariance."""
    spread = _diagonal(factor)
    identity = jnp.broadcast_to(jnp.eye(spread.shape[-1], dtype=factor.dtype), factor.shape)
    inverse = solve_triangular(factor, identity, lower=True)
    explained = jnp.sum(jnp.tril(factor, -1) ** 2, axis=-1) / spread**2
    shared = jnp.sum(jnp.tril(inverse, -1) ** 2, axis=-2) * spread**2
    return jnp.sum(jnp.log1p(explained), axis=-1) / 2, jnp.sum(jnp.log1p(shared), axis=-1) / 2


def total_correlation(cov: ArrayLike) -> jax.Array:
    r"""Total correlation of the coordinates of a Gaussian.

    $$TC = \sum_i H(X_i) - H(X) = \tfrac12\left[\sum_i \log C_{ii} - \log\det C\right]$$

    Args:
        cov: (…, d, d) covariance; each coordinate is a variable.

    Returns:
        (…) in nats, never negative.

    Raises:
        ValueError: `cov` not square.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(total_correlation(jnp.array([[1.0, 0.75], [0.75, 1.0]]))), 4)
        0.4133

    Source: Watanabe (1960), "Information theoretical analysis of multivariate correlation".
    """
    (matrix,), dtype = promote(cov)
    _check_covariance("cov", matrix)
    if matrix.shape[-1] == 2:
        return _pair_information(matrix).astype(dtype)
    return _correlation_sums(jnp.linalg.cholesky(matrix))[0].astype(dtype)


def o_information(cov: ArrayLike) -> jax.Array:
    r"""O-information of the coordinates of a Gaussian: above 0 redundancy prevails, below 0 synergy.

    $$\Omega = TC - DTC = (d-2) H(X) + \sum_i \left[H(X_i) - H(X_{-i})\right]$$

    Args:
        cov: (…, d, d) covariance; each coordinate is a variable.

    Returns:
        (…) in nats, of either sign; 0 for one or two coordinates.

    Raises:
        ValueError: `cov` not square.

    Example:
        >>> import jax.numpy as jnp
        >>> bool(o_information(0.5 * jnp.eye(3) + 0.5) > 0)
        True

    Source: Rosas et al. (2019), "Quantifying high-order interdependencies via multivariate extensions of the mutual
    information"; dual total correlation: Han (1975).
    """
    (matrix,), dtype = promote(cov)
    _check_covariance("cov", matrix)
    if matrix.shape[-1] < 3:
        return jnp.zeros(matrix.shape[:-2], dtype)
    total, dual = _correlation_sums(jnp.linalg.cholesky(matrix))
    return (total - dual).astype(dtype)


def information_gain(
    features: ArrayLike, prior_cov: ArrayLike, noise_variance: ArrayLike, where: jax.Array | None = None
) -> jax.Array:
    r"""What n observations of a linear-Gaussian model tell of its weights.

    $$I(y;w) = \tfrac12 \log\det(I + \Phi S \Phi^\top / \sigma^2), \qquad
    y = \Phi w + \epsilon,\; w \sim N(0, S),\; \epsilon \sim N(0, \sigma^2)$$

    which is H(w) − H(w | y), whatever y. The smaller of the n × n and the d × d determinant is taken.

    Args:
        features: (…, n, d), one row per observation.
        prior_cov: (…, d, d) covariance S of the weights, positive definite; leading axes broadcast.
        noise_variance: σ² > 0, a scalar or of shape (…) (a variance, not a standard deviation).
        where: (…, n) mask of observations; masked ones tell nothing.

    Returns:
        (…) in nats, never negative; 0 for no observations.

    Raises:
        ValueError: features without rows and columns, or a covariance of another size.

    Example:
        >>> import jax.numpy as jnp
        >>> bool(jnp.allclose(information_gain(jnp.ones((3, 1)), jnp.eye(1), 1.0), 0.5 * jnp.log(4.0)))
        True

    Source: MacKay (1992), "Information-based objective functions for active data selection"; Srinivas et al. (2010),
    "Gaussian process optimization in the bandit setting".
    """
    (phi, prior, noise), dtype = promote(features, prior_cov, noise_variance)
    _check_covariance("prior_cov", prior)
    size = prior.shape[-1]
    if phi.ndim < 2 or phi.shape[-1] != size:
        raise ValueError(f"features must have the shape (…, n, {size}) to fit prior_cov {prior.shape}, got {phi.shape}")
    if where is not None:
        phi = jnp.where(jnp.broadcast_to(where, phi.shape[:-1])[..., None], phi, 0)
    batch = jnp.broadcast_shapes(phi.shape[:-2], prior.shape[:-2], noise.shape)
    factor = jnp.broadcast_to(jnp.linalg.cholesky(prior), (*batch, size, size))
    phi = jnp.broadcast_to(phi, (*batch, *phi.shape[-2:]))
    signal = product(phi, factor) / jnp.broadcast_to(jnp.sqrt(noise), batch)[..., None, None]
    return _half_log_det_plus_identity(signal).astype(dtype)


def _series(name: str, x: jax.Array) -> jax.Array:
    if x.ndim < 1:
        raise ValueError(f"{name} must have the shape (n,) or (…, n, d), got a scalar")
    return x[..., None] if x.ndim == 1 else x


def _past(series: jax.Array, history: int) -> jax.Array:
    """(…, n − h, h d) the h steps before each step, side by side."""
    steps = series.shape[-2] - history
    return jnp.concatenate([series[..., lag : lag + steps, :] for lag in range(history)], axis=-1)


def _correlation(samples: jax.Array, where: jax.Array | None) -> jax.Array:
    """(…, d, d) correlations of samples (…, n, d); columns that do not vary count as independent of all."""
    mask = None if where is None else where[..., None]
    mean = masked_mean(samples, mask, axis=-2, keepdims=True)
    centred = keep(samples - mean, mask)
    variance = masked_mean(centred**2, mask, axis=-2, keepdims=True)
    # A mean is only known to a few units in the last place, so that a constant column keeps a spurious variance.
    floor = (32 * jnp.finfo(samples.dtype).eps * mean) ** 2
    varies = jax.lax.stop_gradient(variance > jnp.maximum(floor, jnp.finfo(samples.dtype).tiny))
    standard = jnp.where(varies, centred / jnp.sqrt(jnp.where(varies, variance, 1)), 0)
    kept = samples.shape[-2] if where is None else jnp.sum(where, axis=-1)[..., None, None]
    count = jnp.maximum(jnp.asarray(kept, samples.dtype), 1)
    correlation = product(transposed(standard), standard) / count
    # The diagonal is 1 by definition; writing it so also stands in for the columns that do not vary.
    diagonal = jnp.broadcast_to(jnp.eye(samples.shape[-1], dtype=bool), correlation.shape)
    return jnp.where(diagonal, 1, correlation)


def transfer_entropy(x: ArrayLike, y: ArrayLike, history: int = 1, where: jax.Array | None = None) -> jax.Array:
    r"""Transfer entropy from x to y of jointly Gaussian series: what x's past tells of the next y beyond y's own past.

    $$T_{X \to Y} = \tfrac12 \log\frac{\det \operatorname{Cov}(Y_{t+1} \mid Y_t^{(h)})}
    {\det \operatorname{Cov}(Y_{t+1} \mid Y_t^{(h)}, X_t^{(h)})}$$

    With the covariances of the samples at hand, which makes it half of Granger's causality. It is never negative, and
    with T transitions about h d_x d_y / 2T too high on average.

    Args:
        x: (…, n, d_x) the source, or (n,) for one series. A batch of single series needs its d = 1: (…, n, 1).
        y: (…, n, d_y) or (n,), the target; leading axes broadcast.
        history: h, how many past steps of each count, static.
        where: (…, n) mask of steps; a transition counts if all h + 1 of its steps do. None gives 0.

    Returns:
        (…) in nats; NaN or a large number where y is a deterministic linear function of the past.

    Raises:
        ValueError: scalars, unequal lengths, a history that is not a positive integer, or too few steps for it.

    Example:
        >>> import jax
        >>> x = jax.random.normal(jax.random.key(0), (2000,))
        >>> y = jax.numpy.roll(x, 1) + jax.random.normal(jax.random.key(1), (2000,))
        >>> bool(transfer_entropy(x, y) > 0.3), bool(transfer_entropy(y, x) < 0.01)
        (True, True)

    Source: Schreiber (2000), eq. 4; Barnett, Barrett and Seth (2009), "Granger causality and transfer entropy are
    equivalent for Gaussian variables".
    """
    (source, target), dtype = promote(x, y)
    source, target = _series("x", source), _series("y", target)
    length = target.shape[-2]
    if source.shape[-2] != length:
        raise ValueError(f"x and y must have the same number of steps, got {source.shape} and {target.shape}")
    if isinstance(history, bool) or not isinstance(history, int) or history < 1:
        raise ValueError(f"history must be an integer of at least 1, got {history!r}")
    past_y, past_x = history * target.shape[-1], history * source.shape[-1]
    needed = past_y + past_x + target.shape[-1] + 1 + history
    if length < needed:
        raise ValueError(
            f"history={history} of x {source.shape} and y {target.shape} needs at least {needed} steps, got {length}; "
            "a batch of single series must have the shape (…, n, 1)"
        )
    batch = jnp.broadcast_shapes(source.shape[:-2], target.shape[:-2], () if where is None else where.shape[:-1])
    source = jnp.broadcast_to(source, (*batch, *source.shape[-2:]))
    target = jnp.broadcast_to(target, (*batch, *target.shape[-2:]))
    transitions = jnp.concatenate([_past(target, history), _past(source, history), target[..., history:, :]], axis=-1)
    if where is not None:
        where = jnp.broadcast_to(where, (*batch, length))
        where = jnp.all(jnp.stack([where[..., lag : lag + length - history] for lag in range(history + 1)]), axis=0)
    return _block_information(_correlation(transitions, where), past_y, past_x).astype(dtype)


def copula_transform(x: ArrayLike, where: jax.Array | None = None) -> jax.Array:
    r"""Each column's samples as the normal quantiles of their ranks.

    $$\tilde x_i = \Phi^{-1}\!\left(\frac{\operatorname{rank}(x_i)}{n+1}\right)$$

    `mutual_information` of the covariance of the result is the Gaussian-copula mutual information, which depends on
    the data by their ranks only and is a lower bound up to sampling error. The entropy of the result says nothing of
    the data's own. Ranks do not move with the data: the gradient is zero.

    Args:
        x: (…, n, d) samples; among equal ones the earlier ranks lower.
        where: (…, n) mask of samples; the rest is ranked among itself and masked samples give 0.

    Returns:
        (…, n, d), without a unit.

    Raises:
        ValueError: x without an axis of samples and one of dimensions.

    Example:
        >>> import jax.numpy as jnp
        >>> copula_transform(jnp.array([[3.0], [1.0], [100.0]])).round(3)[:, 0].tolist()
        [0.0, -0.6740000247955322, 0.6740000247955322]

    Source: Ince et al. (2017), "A statistical framework for neuroimaging data analysis based on mutual information
    estimated via a Gaussian copula".
    """
    (samples,), dtype = promote(x)
    if samples.ndim < 2:
        raise ValueError(f"x must have the shape (…, n, d), got {samples.shape}; one column is x[:, None]")
    samples = jax.lax.stop_gradient(samples)
    if where is None:
        kept = jnp.ones(samples.shape, bool)
    else:
        kept = jnp.broadcast_to(jnp.broadcast_to(where, samples.shape[:-1])[..., None], samples.shape)
    order = jnp.lexsort((samples, ~kept), axis=-2)
    rank = jnp.argsort(order, axis=-2) + 1
    count = jnp.sum(kept, axis=-2, keepdims=True)
    # The upper half mirrors the lower one: close to 1 a probability has few digits left.
    tail = jnp.minimum(rank, count + 1 - rank).astype(samples.dtype) / (count + 1).astype(samples.dtype)
    quantile = jnp.abs(ndtri(jnp.where(kept, tail, 0.5)))
    sign = jnp.sign(2 * rank - count - 1).astype(samples.dtype)
    return jnp.where(kept, sign * quantile, 0).astype(dtype)
