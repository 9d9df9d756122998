"""What an ensemble's disagreement tells of its parameters: members on an explicit axis, dimensions on the last.

Each member m predicts a Gaussian with independent coordinates, of mean μ_m and standard deviation σ_m. Variances over
members are those of the population (divided by M, not M − 1): the ensemble is the whole distribution, not a sample.
"""

from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from infojax.info._numerics import keep, masked_mean, member_mean, promote
from infojax.info.gaussian import _log_gap

Form: TypeAlias = Literal["upper_bound", "log_ratio"]
OverDims: TypeAlias = Literal["sum", "mean", "max", "none"]
Divergence: TypeAlias = Literal["kl", "bhattacharyya"]


def _members_first(
    axis: int, where: jax.Array | None, least: int, *arrays: jax.Array
) -> tuple[list[jax.Array], jax.Array | None]:
    """The arrays, broadcast together and with the members in front, and the mask of the same shape."""
    shape = jnp.broadcast_shapes(*(array.shape for array in arrays))
    if len(shape) < least or not -len(shape) <= axis < len(shape):
        wanted = "members" if least == 1 else "members and one of dimensions"
        raise ValueError(f"axis must name the members of arrays with an axis of {wanted}, got axis={axis} for {shape}")
    if shape[axis] == 0:
        raise ValueError(f"an ensemble needs at least one member, got none on axis {axis} of {shape}")
    moved = [jnp.moveaxis(jnp.broadcast_to(array, shape), axis, 0) for array in arrays]
    return moved, None if where is None else jnp.moveaxis(jnp.broadcast_to(where, shape), axis, 0)


def _split(mean: jax.Array, scale: jax.Array, where: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    return _variance(mean, where), member_mean(scale * scale, where)


def _variance(mean: jax.Array, where: jax.Array | None) -> jax.Array:
    centre = member_mean(mean, where)[None]
    return member_mean(keep(mean - centre, where) ** 2, where)


def variance_split(
    mean: ArrayLike, scale: ArrayLike, axis: int = 0, where: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    r"""The variance of an ensemble's mixture as what its members disagree on, and the noise they see.

    $$\operatorname{Var}(y) = \underbrace{\operatorname{Var}_m(\mu_m)}_{\text{epistemic}}
    + \underbrace{\tfrac1M \sum_m \sigma_m^2}_{\text{aleatoric}}$$

    Args:
        mean: array whose `axis` is the members, elsewhere any shape.
        scale: standard deviations that broadcast with `mean`.
        axis: the members' axis.
        where: mask of members that broadcasts to `mean`. None left gives 0.

    Returns:
        Epistemic and aleatoric variance, of the shape of `mean` without `axis`, in squared units of `mean`.

    Raises:
        ValueError: no such axis, or no members.

    Example:
        >>> import jax.numpy as jnp
        >>> epistemic, aleatoric = variance_split(jnp.array([0.0, 2.0]), jnp.array([1.0, 3.0]))
        >>> float(epistemic), float(aleatoric)
        (1.0, 5.0)

    Source: Lakshminarayanan et al. (2017), section 2.4; Depeweg et al. (2018), "Decomposition of uncertainty in
    Bayesian deep learning".
    """
    arrays, dtype = promote(mean, scale)
    (mu, sigma), where = _members_first(axis, where, 1, *arrays)
    epistemic, aleatoric = _split(mu, keep(sigma, where), where)
    return epistemic.astype(dtype), aleatoric.astype(dtype)


def gaussian_information_gain(
    mean: ArrayLike,
    scale: ArrayLike,
    axis: int = 0,
    form: Form = "upper_bound",
    over_dims: OverDims | None = None,
    where: jax.Array | None = None,
) -> jax.Array:
    r"""What the next observation would tell of which member is right, with the mixture taken for a Gaussian.

    With the epistemic variance e and the aleatoric variance a of `variance_split`, per dimension:

    $$\text{upper\_bound:}\quad \tfrac12\left[\log(e + a) - \tfrac1M\sum_m \log\sigma_m^2\right]
    \qquad \text{log\_ratio:}\quad \log\left(1 + \frac ea\right)$$

    `upper_bound`, summed, is never below I(y; m): a Gaussian has the largest entropy of its variance. `log_ratio` is
    the reward of MaxInfoRL as its authors compute it, without the ½ and averaged over dimensions. Half of its sum is
    `upper_bound` where the members share σ, and otherwise smaller and no bound.

    Args:
        mean: (…, d) with the members on `axis`.
        scale: standard deviations above 0 that broadcast with `mean`; for deterministic members a constant.
        axis: the members' axis.
        form: "upper_bound" or "log_ratio".
        over_dims: "sum", "mean" or "max" over the last axis, or "none"; by default the sum for `upper_bound` and the
            mean for `log_ratio`.
        where: mask of members that broadcasts to `mean`, the same for all dimensions. None left gives 0.

    Returns:
        Of the shape of `mean` without `axis` and, unless over_dims is "none", without d. In nats (twice nats for
        `log_ratio`), never negative.

    Raises:
        ValueError: unknown form or over_dims, no such axis, or no members.

    Example:
        >>> import jax.numpy as jnp
        >>> mean, scale = jnp.array([[-1.0], [1.0]]), jnp.ones((2, 1))
        >>> bool(jnp.allclose(gaussian_information_gain(mean, scale), 0.5 * jnp.log(2.0)))
        True

    Source: Sukhija et al. (2025), "MaxInfoRL: Boosting exploration in RL through information gain
    maximization"; maximum entropy of a Gaussian: Cover and Thomas (2006), theorem 8.6.5.
    """
    if form not in ("upper_bound", "log_ratio"):
        raise ValueError(f"form must be 'upper_bound' or 'log_ratio', got {form!r}")
    if over_dims not in (None, "sum", "mean", "max", "none"):
        raise ValueError(f"over_dims must be 'sum', 'mean', 'max', 'none' or None for the default, got {over_dims!r}")
    chosen = over_dims or ("sum" if form == "upper_bound" else "mean")
    arrays, dtype = promote(mean, scale)
    (mu, sigma), where = _members_first(axis, where, 1 if chosen == "none" else 2, *arrays)
    sigma = keep(sigma, where, 1)
    epistemic, aleatoric = _split(mu, sigma, where)
    if where is not None:
        aleatoric = jnp.where(jnp.any(where, axis=0), aleatoric, 1)
    gain = jnp.log1p(epistemic / aleatoric)
    if form == "upper_bound":
        # log a − mean log σ², the gap between arithmetic and geometric mean, member by member: no term is negative.
        gap = _log_gap(sigma * sigma, jnp.broadcast_to(aleatoric[None], sigma.shape))
        gain = (gain + member_mean(gap, where)) / 2
    if chosen == "sum":
        # A product with ones: XLA would fuse a sum with all that comes before it, and be 4 times slower on CPU.
        gain = jnp.matmul(gain, jnp.ones(gain.shape[-1], gain.dtype), precision=jax.lax.Precision.HIGHEST)
    elif chosen == "mean":
        gain = masked_mean(gain, None)
    elif chosen == "max":
        gain = jnp.max(gain, axis=-1)
    return gain.astype(dtype)


def disagreement(mean: ArrayLike, axis: int = 0, where: jax.Array | None = None) -> jax.Array:
    r"""How much the members' means differ, on average over dimensions.

    $$\frac1d \sum_{i=1}^d \operatorname{Var}_m(\mu_{m,i})$$

    Args:
        mean: (…, d) with the members on `axis`.
        axis: the members' axis.
        where: mask of members that broadcasts to `mean`, the same for all dimensions. None left gives 0.

    Returns:
        Of the shape of `mean` without `axis` and d; in squared units of `mean`.

    Raises:
        ValueError: no such axis, no axis of dimensions, or no members.

    Example:
        >>> import jax.numpy as jnp
        >>> float(disagreement(jnp.array([[0.0, 1.0], [2.0, 1.0]])))
        0.5

    Source: Pathak, Gandhi and Gupta (2019), "Self-supervised exploration via disagreement"; Sekar et al. (2020),
    Plan2Explore.
    """
    (mu,), dtype = promote(mean)
    (mu,), where = _members_first(axis, where, 2, mu)
    return masked_mean(_variance(mu, where), None).astype(dtype)


def _pairwise_divergence(mean: jax.Array, scale: jax.Array, divergence: Divergence) -> jax.Array:
    """(M, M, …) divergences of member i from member j, of Gaussians with independent coordinates on the last axis."""
    shape = (mean.shape[0], *mean.shape)
    mean_i, mean_j = (jnp.broadcast_to(part, shape) for part in (mean[:, None], mean[None]))
    scale_i, scale_j = (jnp.broadcast_to(part, shape) for part in (scale[:, None], scale[None]))
    if divergence == "kl":
        spread = ((scale_i - scale_j) / scale_j) ** 2 / 2 + _log_gap(scale_i, scale_j)
        return jnp.sum(((mean_i - mean_j) / scale_j) ** 2 / 2 + spread, axis=-1)
    shared = jnp.hypot(scale_i, scale_j)
    spread = jnp.log1p((scale_i - scale_j) / scale_i * ((scale_i - scale_j) / scale_j) / 2) / 2
    return jnp.sum(((mean_i - mean_j) / shared) ** 2 / 4 + spread, axis=-1)


def pairwise_information_gain(
    mean: ArrayLike,
    scale: ArrayLike,
    axis: int = 0,
    divergence: Divergence = "kl",
    where: jax.Array | None = None,
) -> jax.Array:
    r"""Bounds on what the next observation would tell of which member is right, from divergences of pairs of members.

    $$\hat I = -\frac1M \sum_i \log \frac1M \sum_j e^{-D(p_i \| p_j)}$$

    The KL divergence gives an upper and the Bhattacharyya distance a lower bound of I(y; m); both lie in 0 … log M.

    Args:
        mean: (…, d) with the members on `axis`.
        scale: standard deviations above 0 that broadcast with `mean`.
        axis: the members' axis.
        divergence: "kl" or "bhattacharyya".
        where: mask of members that broadcasts to `mean`, the same for all dimensions. None left gives 0.

    Returns:
        Of the shape of `mean` without `axis` and d, in nats. M² d numbers per element are held at once.

    Raises:
        ValueError: unknown divergence, no such axis, no axis of dimensions, or no members.

    Example:
        >>> import jax.numpy as jnp
        >>> far_apart = jnp.array([[-100.0], [100.0]])
        >>> bool(jnp.allclose(pairwise_information_gain(far_apart, jnp.ones((2, 1))), jnp.log(2.0)))
        True

    Source: Kolchinsky and Tracey (2017), "Estimating mixture entropy with pairwise distances", eq. 10; for ensembles:
    Berry and Meger (2023), PaiDEs.
    """
    if divergence not in ("kl", "bhattacharyya"):
        raise ValueError(f"divergence must be 'kl' (upper bound) or 'bhattacharyya' (lower bound), got {divergence!r}")
    arrays, dtype = promote(mean, scale)
    (mu, sigma), where = _members_first(axis, where, 2, *arrays)
    between = _pairwise_divergence(keep(mu, where), keep(sigma, where, 1), divergence)
    members = None if where is None else jnp.all(where, axis=-1)
    pairs = None if members is None else jnp.broadcast_to(members[None], between.shape)
    # Every member is at distance 0 from itself, so that the mean of e^−D stays above 1/M.
    closeness = masked_mean(jnp.expm1(-between), pairs, axis=1)
    if members is not None:
        closeness = keep(closeness, members)
    return masked_mean(-jnp.log1p(closeness), members, axis=0).astype(dtype)
