"""Variational bounds on mutual information, from the scores of a critic or the log-densities of a model.

`scores[i, j]` is critic(x_i, y_j), of any offset where the bound allows it: the pairs that belong together are on the
diagonal, all others are negatives. `log_q[i, j]` is log q(y_j | x_i). A mask is of pairs and broadcasts to the matrix;
to leave out a sample, mask its row and its column. A row without its positive, or without any negative where the
bound needs one, does not count. Everything is computed in log space, and masks enter as −inf before any sum.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from infojax.info._numerics import Reduction, keep, masked_mean, promote, reduce
from infojax.info.gaussian import diagonal_kl_divergence

# The log of a sum of nothing: far below all scores, and unlike −inf with finite differences.
FLOOR = -1e30


def _check_square(name: str, matrix: jax.Array) -> None:
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
        raise ValueError(
            f"{name} must be square, (…, B, B) with the pairs that belong together on the diagonal, got {matrix.shape}"
        )


def _diagonal(matrix: jax.Array) -> jax.Array:
    return jnp.diagonal(matrix, axis1=-2, axis2=-1)


def _on_diagonal(matrix: jax.Array) -> jax.Array:
    return jnp.broadcast_to(jnp.eye(matrix.shape[-1], dtype=bool), matrix.shape)


def _positives_and_negatives(matrix: jax.Array, where: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Which rows have their positive (…, B), and which pairs are negatives (…, B, B)."""
    pairs = jnp.ones(matrix.shape, bool) if where is None else jnp.broadcast_to(where, matrix.shape)
    return _diagonal(pairs), pairs & ~_on_diagonal(matrix)


def _with_positives(positives: jax.Array, negatives: jax.Array) -> jax.Array:
    """The pairs that count where the positive is one of its row or column."""
    return negatives | (positives[..., None] & _on_diagonal(negatives))


def _prepared(
    scores: ArrayLike, where: jax.Array | None, name: str = "scores"
) -> tuple[jax.Array, jax.Array, jax.Array, jnp.dtype]:
    """Scores with 0 for what is masked, positives, negatives, and the dtype of the result."""
    (values,), dtype = promote(scores)
    _check_square(name, values)
    positives, negatives = _positives_and_negatives(values, where)
    return jnp.where(_with_positives(positives, negatives), values, 0), positives, negatives, dtype


def _count(mask: jax.Array, dtype: jnp.dtype, axis: int | tuple[int, ...] = -1) -> jax.Array:
    return jnp.maximum(jnp.sum(mask, axis=axis).astype(dtype), 1)


def _highest(values: jax.Array, where: jax.Array, axis: int | tuple[int, ...]) -> jax.Array:
    """The largest finite value kept, a constant for gradients; 0 where there is none."""
    top = jnp.max(jnp.where(where, values, -jnp.inf), axis=axis, keepdims=True, initial=-jnp.inf)
    return jax.lax.stop_gradient(jnp.where(jnp.isfinite(top), top, 0))


def _log_mean_exp(values: jax.Array, where: jax.Array, axis: int | tuple[int, ...] = -1) -> jax.Array:
    """log of the mean of e^value over what is kept; 0 where nothing is, −inf with zero gradient where all are −inf."""
    top = _highest(values, where, axis)
    total = jnp.sum(jnp.where(where, jnp.exp(jnp.where(where, values - top, 0)), 0), axis=axis)
    logarithm = jnp.where(total > 0, jnp.log(jnp.where(total > 0, total, 1)), -jnp.inf)
    value = logarithm + jnp.squeeze(top, axis) - jnp.log(_count(where, values.dtype, axis))
    return jnp.where(jnp.any(where, axis=axis), value, 0)


def _row_mean_exp(values: jax.Array, where: jax.Array) -> jax.Array:
    """The mean of e^value of each row."""
    return masked_mean(jnp.exp(jnp.where(where, values, 0)), where)


def _less(positive: jax.Array, other: jax.Array) -> jax.Array:
    """positive − other; −inf where the positive is, also beside another −inf."""
    return jnp.where(positive > -jnp.inf, positive - other, -jnp.inf)


def donsker_varadhan(
    scores: ArrayLike, where: jax.Array | None = None, reduction: Reduction = "mean", clip: bool = False
) -> jax.Array:
    r"""Donsker–Varadhan estimate, the value of MINE.

    $$\frac1B\sum_i f_{ii} - \log\frac{1}{B(B-1)}\sum_{i \ne j} e^{f_{ij}}$$

    Its expectation is a lower bound with the exact partition only: the log of a mean over few pairs is biased. Its
    gradient is that of this value; MINE's divides by a running mean of the partition instead.

    Args:
        scores: (…, B, B), positives on the diagonal; a constant added to all changes nothing.
        where: mask of pairs that broadcasts to `scores`. No positive or no negative left gives 0.
        reduction: "mean", or "none" for f_ii less the logarithm, which all rows share.
        clip: True replaces a negative mean by 0.

    Returns:
        (…) or (…, B) in nats.

    Raises:
        ValueError: scores that are not square, unknown reduction, or clip without the mean.

    Example:
        >>> import jax.numpy as jnp
        >>> float(donsker_varadhan(5.0 * jnp.eye(3)))
        5.0

    Source: Donsker and Varadhan (1983); Belghazi et al. (2018), "Mutual information neural estimation", eq. 5.
    """
    values, positives, negatives, dtype = _prepared(scores, where)
    # An offset of all scores goes before it can take digits from their differences.
    values = values - _highest(values, _with_positives(positives, negatives), (-2, -1))
    local = _less(_diagonal(values), _log_mean_exp(values, negatives, (-2, -1))[..., None])
    some = jnp.any(negatives, axis=(-2, -1))[..., None]
    return _clipped(reduce(local, positives & some, reduction, dtype), clip, reduction)


def _clipped(value: jax.Array, clip: bool, reduction: Reduction) -> jax.Array:
    if clip and reduction == "none":
        raise ValueError("clip=True is for the mean; values per sample may be negative: use reduction='mean'")
    return jnp.maximum(value, 0) if clip else value


def _baseline(log_baseline: ArrayLike, scores: jax.Array) -> jax.Array:
    """log a of each row, (…, B, 1) or a scalar's shape made that."""
    values = jnp.asarray(log_baseline, scores.dtype)
    try:
        return jnp.broadcast_to(values, scores.shape[:-1])[..., None]
    except ValueError as error:
        raise ValueError(
            f"log_baseline must be a scalar or one value per row, {scores.shape[:-1]}, got {values.shape}"
        ) from error


def tuba(
    scores: ArrayLike,
    log_baseline: ArrayLike,
    where: jax.Array | None = None,
    reduction: Reduction = "mean",
    clip: bool = False,
) -> jax.Array:
    r"""Tractable unnormalised Barber–Agakov bound, with a baseline for each row.

    $$\frac1B\sum_i \left[1 + g_{ii} - \frac{1}{B-1}\sum_{j \ne i} e^{g_{ij}}\right], \qquad
    g_{ij} = f_{ij} - \log a_i$$

    A lower bound in expectation, for any positive a. Beyond scores of about 88 more than log a the exponential, and
    with it the value and its gradient, overflows to −inf in float32: that is the bound's nature.

    Args:
        scores: (…, B, B), positives on the diagonal.
        log_baseline: log a_i of the sample of row i, (…, B) or a scalar.
        where: mask of pairs that broadcasts to `scores`. No row with a positive and a negative left gives 0.
        reduction: "mean" over rows, or "none" for their values.
        clip: True replaces a negative mean by 0.

    Returns:
        (…) or (…, B) in nats.

    Raises:
        ValueError: scores that are not square, a baseline of another shape, unknown reduction, or clip without the
            mean.

    Example:
        >>> import jax.numpy as jnp
        >>> float(tuba(jnp.zeros((4, 4)), 0.0))
        0.0

    Source: Poole et al. (2019), "On variational bounds of mutual information", eq. 8.
    """
    values, positives, negatives, dtype = _prepared(scores, where)
    exists = positives & jnp.any(negatives, axis=-1)
    values = values - _baseline(log_baseline, values)
    # Rows that do not count leave before the exponential: should it overflow, a zero cotangent would make it NaN.
    local = 1 + _diagonal(values) - _row_mean_exp(values, negatives & exists[..., None])
    return _clipped(reduce(local, exists, reduction, dtype), clip, reduction)


def nwj(
    scores: ArrayLike, where: jax.Array | None = None, reduction: Reduction = "mean", clip: bool = False
) -> jax.Array:
    r"""Nguyen–Wainwright–Jordan bound (also MINE-f): `tuba` with the baseline e.

    $$\frac1B\sum_i \left[f_{ii} - \frac{1}{B-1}\sum_{j \ne i} e^{f_{ij} - 1}\right]$$

    The best critic is 1 + log p(y|x)/p(y). Scores above about 89 overflow in float32, as in `tuba`.

    Args:
        scores: (…, B, B), positives on the diagonal.
        where: mask of pairs that broadcasts to `scores`. No row with a positive and a negative left gives 0.
        reduction: "mean" over rows, or "none" for their values.
        clip: True replaces a negative mean by 0.

    Returns:
        (…) or (…, B) in nats.

    Raises:
        ValueError: scores that are not square, unknown reduction, or clip without the mean.

    Example:
        >>> import jax.numpy as jnp
        >>> float(nwj(jnp.ones((4, 4))))
        0.0

    Source: Nguyen, Wainwright and Jordan (2010), eq. 8; Poole et al. (2019), eq. 7.
    """
    return tuba(scores, 1.0, where, reduction, clip)


def infonce(
    scores: ArrayLike, where: jax.Array | None = None, reduction: Reduction = "mean", clip: bool = False
) -> jax.Array:
    r"""InfoNCE over whole rows, the positive among them.

    $$\frac1B\sum_i \left[f_{ii} - \log\frac1B\sum_j e^{f_{ij}}\right] \le \log B$$

    The version over columns is this of the transposed scores; the mean of both is the symmetric one.

    Args:
        scores: (…, B, B), positives on the diagonal; a constant added to a row changes nothing.
        where: mask of pairs that broadcasts to `scores`; B is then the number kept in the row. No row with its
            positive left gives 0.
        reduction: "mean" over rows, or "none" for their values.
        clip: True replaces a negative mean by 0.

    Returns:
        (…) or (…, B) in nats.

    Raises:
        ValueError: scores that are not square, unknown reduction, or clip without the mean.

    Example:
        >>> import jax.numpy as jnp
        >>> bool(jnp.allclose(infonce(1e3 * jnp.eye(4)), jnp.log(4.0)))
        True

    Source: van den Oord, Li and Vinyals (2018), eq. 4; Poole et al. (2019), eq. 10.
    """
    values, positives, negatives, dtype = _prepared(scores, where)
    whole = _with_positives(positives, negatives)
    centred = values - _highest(values, whole, -1)
    local = _less(_diagonal(centred), _log_mean_exp(centred, whole))
    return _clipped(reduce(local, positives, reduction, dtype), clip, reduction)


@jax.custom_jvp
def _softplus(values: jax.Array) -> jax.Array:
    return jnp.maximum(values, 0) + jnp.log1p(jnp.exp(-jnp.abs(values)))


@_softplus.defjvp
def _softplus_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    # The sigmoid is right at 0 and at ±inf, where autodiff of either form of the softplus is not.
    return _softplus(primals[0]), jax.nn.sigmoid(primals[0]) * tangents[0]


def _jensen_shannon_rows(values: jax.Array, negatives: jax.Array) -> jax.Array:
    return -_softplus(-_diagonal(values)) - masked_mean(_softplus(values), negatives)


def jensen_shannon(scores: ArrayLike, where: jax.Array | None = None, reduction: Reduction = "mean") -> jax.Array:
    r"""Jensen–Shannon objective of f-GANs: a steady loss to train critics with, no estimate of I itself.

    $$\frac1B\sum_i \left[-\operatorname{softplus}(-f_{ii})
    - \frac{1}{B-1}\sum_{j \ne i}\operatorname{softplus}(f_{ij})\right]$$

    Its maximum is 2 JS(p(x,y) ‖ p(x)p(y)) − 2 log 2, never above 0, reached by the critic log p(y|x)/p(y).

    Args:
        scores: (…, B, B), positives on the diagonal.
        where: mask of pairs that broadcasts to `scores`. No row with a positive and a negative left gives 0.
        reduction: "mean" over rows, or "none" for their values.

    Returns:
        (…) or (…, B) in nats.

    Raises:
        ValueError: scores that are not square, or unknown reduction.

    Example:
        >>> import jax.numpy as jnp
        >>> bool(jnp.allclose(jensen_shannon(jnp.zeros((3, 3))), -2 * jnp.log(2.0)))
        True

    Source: Nowozin, Cseke and Tomioka (2016), table 2; Hjelm et al. (2019), "Deep InfoMax", eq. 4.
    """
    values, positives, negatives, dtype = _prepared(scores, where)
    exists = positives & jnp.any(negatives, axis=-1)
    return reduce(_jensen_shannon_rows(values, negatives), exists, reduction, dtype)


def smile(
    scores: ArrayLike,
    tau: ArrayLike,
    where: jax.Array | None = None,
    reduction: Reduction = "mean",
    clip: bool = False,
) -> jax.Array:
    r"""SMILE: Donsker–Varadhan with a clipped partition, and the gradient of the Jensen–Shannon objective.

    $$\frac1B\sum_i f_{ii} - \log\frac{1}{B(B-1)}\sum_{i \ne j} e^{\operatorname{clip}(f_{ij}, -\tau, \tau)}$$

    Clipping limits the variance and costs bias: not a bound. tau = inf is Donsker–Varadhan with a critic trained by
    Jensen–Shannon.

    Args:
        scores: (…, B, B), positives on the diagonal.
        tau: clip of the scores in the partition, a scalar above 0.
        where: mask of pairs that broadcasts to `scores`. No positive or no negative left gives 0.
        reduction: "mean" over rows, or "none" for their values, with the gradients of `jensen_shannon`'s.
        clip: True replaces a negative mean by 0, with zero gradient there.

    Returns:
        (…) or (…, B) in nats.

    Raises:
        ValueError: scores that are not square, unknown reduction, clip without the mean, or a tau, known when
            tracing, that is not above 0.

    Example:
        >>> import jax.numpy as jnp
        >>> float(smile(5.0 * jnp.eye(3), tau=1.0))
        5.0

    Source: Song and Ermon (2020), "Understanding the limitations of variational mutual information estimators", eq. 17.
    """
    if isinstance(tau, int | float) and not tau > 0:
        raise ValueError(f"tau must be above 0, got {tau!r}; inf leaves the scores as they are")
    values, positives, negatives, dtype = _prepared(scores, where)
    limit = jnp.asarray(tau, values.dtype)
    partition = _log_mean_exp(jnp.clip(values, -limit, limit), negatives, (-2, -1))[..., None]
    some = jnp.any(negatives, axis=(-2, -1))[..., None]
    value = reduce(_less(_diagonal(values), partition), positives & some, reduction, values.dtype)
    objective = _jensen_shannon_rows(values, negatives)
    # An infinite row of the objective has no gradient to give, and would make the zero below NaN.
    objective = jnp.where(jnp.isfinite(objective), objective, 0)
    trained = reduce(objective, positives & jnp.any(negatives, axis=-1), reduction, values.dtype)
    # The value of one and the gradient of the other: adding a zero leaves the value exact.
    value = jax.lax.stop_gradient(value) + (trained - jax.lax.stop_gradient(trained))
    return _clipped(value.astype(dtype), clip, reduction)


def _log_share(alpha: jax.Array) -> jax.Array:
    return jnp.where(alpha > 0, jnp.log(jnp.where(alpha > 0, alpha, 1)), -jnp.inf)


def _log_mean_exp_without_each(values: jax.Array, where: jax.Array) -> jax.Array:
    """[i, j] = log of the mean over k ≠ j of e^f_ik.

    The sum less one of its terms keeps its digits unless that term is the largest, for what is left is then at least
    as large as what was taken; without the largest the rest is summed by itself.
    """
    if not values.shape[-1]:
        return values
    kept = where & (values > -jnp.inf)
    first = jnp.argmax(jnp.where(kept, values, -jnp.inf), axis=-1, keepdims=True)
    leader = jax.lax.broadcasted_iota(first.dtype, values.shape, values.ndim - 1) == first
    top = _highest(values, kept, -1)
    weight = jnp.where(kept, jnp.exp(jnp.where(kept, values - top, 0)), 0)
    rest = jnp.sum(weight, axis=-1, keepdims=True) - weight
    usual = jnp.where(rest > 0, jnp.log(jnp.where(rest > 0, rest, 1)) + top, FLOOR)
    followers = kept & ~leader
    count = _count(followers, values.dtype)
    second = jnp.where(jnp.any(followers, axis=-1), _log_mean_exp(values, followers) + jnp.log(count), FLOOR)
    total = jnp.where(leader, second[..., None], usual)
    others = jnp.sum(where, axis=-1, keepdims=True) - where.astype(int)
    return total - jnp.log(jnp.maximum(others, 1).astype(values.dtype))


def interpolated(
    scores: ArrayLike,
    log_baseline: ArrayLike,
    alpha: ArrayLike,
    where: jax.Array | None = None,
    reduction: Reduction = "mean",
    clip: bool = False,
) -> jax.Array:
    r"""Interpolation between `tuba` (alpha = 0) and a multi-sample bound like InfoNCE (alpha = 1).

    $$\frac1B\sum_i \left[1 + \frac{1}{B-1}\sum_{j \ne i} (f_{ii} - b_{ij})
    - \frac{1}{B-1}\sum_{j \ne i} e^{f_{ij} - b_{ii}}\right], \qquad
    b_{ij} = \log\left[\frac{\alpha}{B-1}\sum_{k \ne j} e^{f_{ik}} + (1-\alpha) a_i\right]$$

    b leaves one sample out: of the positive's terms any negative, of the negatives' term the positive, so that both
    are over B − 1 samples. At alpha = 1 the bound is at most log(B − 1); less alpha trades bias for variance.

    Args:
        scores: (…, B, B), positives on the diagonal.
        log_baseline: log a_i of the sample of row i, (…, B) or a scalar; finite.
        alpha: between 0 and 1, a scalar.
        where: mask of pairs that broadcasts to `scores`. No row with a positive and a negative left gives 0.
        reduction: "mean" over rows, or "none" for their values.
        clip: True replaces a negative mean by 0.

    Returns:
        (…) or (…, B) in nats.

    Raises:
        ValueError: scores that are not square, a baseline of another shape, unknown reduction, clip without the
            mean, or an alpha, known when tracing, outside of [0, 1].

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(interpolated(jnp.zeros((4, 4)), 0.0, 0.5)), 6)
        0.0

    Source: Poole et al. (2019), "On variational bounds of mutual information", eq. 14, with their leave-one-out means.
    """
    if isinstance(alpha, int | float) and not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be between 0 (tuba) and 1 (multi-sample), got {alpha!r}")
    values, positives, negatives, dtype = _prepared(scores, where)
    share = jnp.asarray(alpha, values.dtype)
    whole = _with_positives(positives, negatives)
    # Scores and baseline enter as differences only; what a row shares would take their digits.
    top = _highest(values, whole, -1)
    single = jnp.broadcast_to(_log_share(1 - share) + (_baseline(log_baseline, values) - top), values.shape)
    values = values - top
    multi_sample = _log_share(share) + _log_mean_exp_without_each(values, whole)
    mixed = jnp.logaddexp(multi_sample, single)
    exists = positives & jnp.any(negatives, axis=-1)
    joint = masked_mean(_less(_diagonal(values)[..., None], mixed), negatives)
    local = 1 + joint - _row_mean_exp(values - _diagonal(mixed)[..., None], negatives & exists[..., None])
    return _clipped(reduce(local, exists, reduction, dtype), clip, reduction)


def club(
    log_q: ArrayLike, where: jax.Array | None = None, reduction: Reduction = "mean", clip: bool = False
) -> jax.Array:
    r"""Contrastive log-ratio upper bound, over all pairs, the positives among them.

    $$\frac1B\sum_i \left[\log q(y_i \mid x_i) - \frac1B\sum_j \log q(y_j \mid x_i)\right]$$

    An upper bound if q is the true conditional, or close enough to it.

    Args:
        log_q: (…, B, B) with log_q[i, j] = log q(y_j | x_i).
        where: mask of pairs that broadcasts to `log_q`; B is then the number kept in the row. No row with its
            positive left gives 0.
        reduction: "mean" over rows, or "none" for their values.
        clip: True replaces a negative mean by 0.

    Returns:
        (…) or (…, B) in nats.

    Raises:
        ValueError: log_q that is not square, unknown reduction, or clip without the mean.

    Example:
        >>> import jax.numpy as jnp
        >>> float(club(jnp.array([[0.0, -2.0], [-2.0, 0.0]])))
        1.0

    Source: Cheng et al. (2020), "CLUB: A contrastive log-ratio upper bound of mutual information", eq. 3 and 10.
    """
    values, positives, negatives, dtype = _prepared(log_q, where, "log_q")
    # Differences first: large log-densities of many dimensions would cancel after their sum. The positive's is 0.
    difference = jnp.where(negatives, _less(_diagonal(values)[..., None], values), 0)
    whole = _with_positives(positives, negatives)
    return _clipped(reduce(masked_mean(difference, whole), positives, reduction, dtype), clip, reduction)


def leave_one_out(
    log_q: ArrayLike, where: jax.Array | None = None, reduction: Reduction = "mean", clip: bool = False
) -> jax.Array:
    r"""Leave-one-out upper bound: the marginal of y_i is the mixture of the other samples' conditionals.

    $$\frac1B\sum_i \left[\log q(y_i \mid x_i) - \log\frac{1}{B-1}\sum_{j \ne i} q(y_i \mid x_j)\right]$$

    An upper bound if q is the true conditional.

    Args:
        log_q: (…, B, B) with log_q[i, j] = log q(y_j | x_i); the sum is over a column.
        where: mask of pairs that broadcasts to `log_q`. No column with a positive and a negative left gives 0.
        reduction: "mean" over samples, or "none" for their values.
        clip: True replaces a negative mean by 0.

    Returns:
        (…) or (…, B) in nats.

    Raises:
        ValueError: log_q that is not square, unknown reduction, or clip without the mean.

    Example:
        >>> import jax.numpy as jnp
        >>> float(leave_one_out(jnp.array([[0.0, -2.0], [-2.0, 0.0]])))
        2.0

    Source: Poole et al. (2019), "On variational bounds of mutual information", eq. 3 (leave-one-out).
    """
    values, positives, negatives, dtype = _prepared(log_q, where, "log_q")
    # Log-densities of many dimensions are large and alike: what a column shares goes first.
    values = values - _highest(values, _with_positives(positives, negatives), -2)
    local = _less(_diagonal(values), _log_mean_exp(values, negatives, -2))
    exists = positives & jnp.any(negatives, axis=-2)
    return _clipped(reduce(local, exists, reduction, dtype), clip, reduction)


def barber_agakov(
    log_q: ArrayLike,
    prior_entropy: ArrayLike,
    where: jax.Array | None = None,
    reduction: Reduction = "mean",
) -> jax.Array:
    r"""Lower bound on I(S; Z) from a decoder's log-probability of the TRUE z.

    $$I(S;Z) \ge H(Z) + \mathbb{E}[\log q(z \mid s)]$$

    It is a bound only if `log_q` is evaluated at the z that produced s. A confident decoder that is wrong scores
    below zero; the value is not clamped.

    Args:
        log_q: (…, n) log q(z_i | s_i) of the true z_i, in nats.
        prior_entropy: H(Z) in nats, `log K` for K skills drawn uniformly; a scalar or of the shape (…).
        where: mask that broadcasts to `log_q`; what is masked does not count. Nothing left gives 0 with zero gradient.
        reduction: "mean" over the last axis, or "none" for the values per sample, which are DIAYN's reward
            log q(z|s) − log p(z) under a uniform prior.

    Returns:
        (…) or (…, n), in nats.

    Raises:
        ValueError: unknown `reduction`.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(barber_agakov(jnp.log(jnp.array([0.5, 0.5])), jnp.log(2.0))), 6)
        0.0

    Source: Barber and Agakov (2003), "The IM Algorithm", eq. 3; used as a reward by Eysenbach et al. (2019), eq. 3.
    """
    (values,), dtype = promote(log_q)
    entropy = jnp.asarray(prior_entropy, values.dtype)
    if entropy.ndim:
        entropy = jnp.broadcast_to(entropy, values.shape[:-1])[..., None]
    if where is not None:
        where = jnp.broadcast_to(where, values.shape)
    return reduce(keep(values, where) + entropy, where, reduction, dtype)


def vib_rate(mean: ArrayLike, scale: ArrayLike, where: jax.Array | None = None) -> jax.Array:
    r"""Rate of a Gaussian code against a standard normal: what a bottleneck lets through, at most.

    $$D\left(\mathcal N(\mu, \sigma^2) \,\|\, \mathcal N(0, I)\right)
    = \sum_k \frac{\mu_k^2 + \sigma_k^2 - 1}{2} - \log\sigma_k$$

    Its mean over inputs is an upper bound on I(X; T).

    Args:
        mean: (…, d) mean of the code.
        scale: (…, d) standard deviations of the code; 0 gives +inf.
        where: mask of dimensions that broadcasts to `mean`. None left gives 0.

    Returns:
        (…) in nats, never negative.

    Example:
        >>> import jax.numpy as jnp
        >>> float(vib_rate(jnp.array([1.0, 1.0]), jnp.ones(2)))
        1.0

    Source: Alemi et al. (2017), "Deep variational information bottleneck", eq. 14; Kingma and Welling (2014),
    appendix B.
    """
    return diagonal_kl_divergence(mean, scale, 0.0, 1.0, where)
