"""Information quantities of categorical distributions given by logits; classes on the last axis.

A logit of −inf is a class out of the support, exactly. A temperature divides the logits after their maximum has been
taken off, which stays right under `jit` for huge logits, where dividing first does not.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from infojax.info._numerics import MOST_UNROLLED, fold, keep, log_mean_power, mean_power, member_mean, promote

# On a CPU a reduction over many classes is fast while its rows stay in the cache; accelerators do better in one go.
CHUNK_ELEMENTS = 2**18


def _by_rows(function: Callable[[jax.Array], tuple[jax.Array, ...]], array: jax.Array) -> tuple[jax.Array, ...]:
    """Apply a function of rows (n, K) to an array (…, K), on a CPU in chunks of rows if they are many."""
    lead, classes = array.shape[:-1], array.shape[-1]
    rows = math.prod(lead)
    flat = array.reshape((rows, classes))
    size = max(1, CHUNK_ELEMENTS // max(classes, 1))
    if rows < 4 * size:
        values = function(flat)
    else:

        def chunked(flat: jax.Array) -> tuple[jax.Array, ...]:
            whole = rows // size * size
            values = jax.lax.map(function, flat[:whole].reshape((-1, size, classes)))
            values = tuple(value.reshape((whole, *value.shape[2:])) for value in values)
            if whole == rows:
                return values
            rest = function(flat[whole:])
            return tuple(jnp.concatenate(pair) for pair in zip(values, rest, strict=True))

        values = jax.lax.platform_dependent(flat, cpu=chunked, default=function)
    return tuple(value.reshape(lead + value.shape[1:]) for value in values)


def _centred(logits: jax.Array) -> jax.Array:
    """Logits less their maximum, −inf and everything else that is far below any exponential's range at one floor."""
    top = jnp.max(logits, axis=-1, keepdims=True, initial=-jnp.inf)
    return jnp.maximum(logits - jnp.where(jnp.isneginf(top), 0, top), -1e4)


def _sums(logits: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]:
    """c, e^c, 1 / Σ e^c, log Σ e^c and the mean of c, of centred logits; no class left gives 0 for all sums."""
    centred = _centred(logits)
    weight = jnp.exp(centred)
    total = jnp.sum(weight, axis=-1, keepdims=True)
    total = jnp.where(total > 0, total, 1)
    mean = jnp.sum(weight * centred, axis=-1, keepdims=True) / total
    return centred, weight, 1 / total, jnp.log(total), mean


def _entropy_rows(logits: jax.Array) -> tuple[jax.Array]:
    *_, log_total, mean = _sums(logits)
    return ((log_total - mean)[..., 0],)


def _slope_rows(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """H, and dH/dz = −p (log p + H): zero where p = 0, where autodiff would give NaN."""
    centred, weight, scale, log_total, mean = _sums(logits)
    return (log_total - mean)[..., 0], weight * scale * (mean - centred)


@jax.custom_jvp
def _entropy(logits: jax.Array) -> jax.Array:
    return _by_rows(_entropy_rows, logits)[0]


@_entropy.defjvp
def _entropy_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (logits,), (tangent,) = primals, tangents
    value, slope = _by_rows(_slope_rows, logits)
    return value, jnp.sum(slope * tangent, axis=-1)


def _prepared(logits: jax.Array, temperature: ArrayLike, where: jax.Array | None) -> jax.Array:
    """Logits with masked classes at −inf and, if there is a temperature, centred and divided by it."""
    if logits.ndim < 1:
        raise ValueError("logits must have the shape (…, K), got a scalar")
    if where is not None:
        logits = jnp.where(jnp.broadcast_to(where, logits.shape), logits, -jnp.inf)
    if isinstance(temperature, int | float) and temperature == 1:
        return logits
    if isinstance(temperature, int | float) and not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature!r}; for the limit 0 take the argmax")
    scale = jnp.asarray(temperature, logits.dtype)
    if scale.ndim:
        scale = jnp.broadcast_to(scale, jnp.broadcast_shapes(scale.shape, (*logits.shape[:-1], 1)))
    alive = logits > -jnp.inf
    top = jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True, initial=-jnp.inf))
    centred = jnp.where(alive, logits, 0) - jnp.where(jnp.isneginf(top), 0, top)
    return jnp.where(alive, jnp.where(alive, centred, 0) / scale, -jnp.inf)


def _log_probabilities(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """log p, 0 where a class is out of the support, and which classes are in it."""
    alive = logits > -jnp.inf
    top = jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True, initial=-jnp.inf))
    centred = jnp.where(alive, logits, 0) - jnp.where(jnp.isneginf(top), 0, top)
    total = jnp.sum(jnp.where(alive, jnp.exp(jnp.where(alive, centred, 0)), 0), axis=-1, keepdims=True)
    log_total = jnp.log(jnp.where(total > 0, total, 1))
    return jnp.where(alive, centred - log_total, 0), alive


def _probabilities(log_p: jax.Array, alive: jax.Array) -> jax.Array:
    return jnp.where(alive, jnp.exp(log_p), 0)


def entropy(logits: jax.Array, temperature: ArrayLike = 1.0, where: jax.Array | None = None) -> jax.Array:
    r"""Shannon entropy of softmax(logits / temperature).

    $$H = -\sum_k p_k \log p_k = \log S - \frac TS, \qquad S = \sum_k e^{c_k}, \quad T = \sum_k c_k e^{c_k}$$

    with c the logits less their maximum: one pass, no logarithm of a probability. The derivative −p (log p + H) is
    given in closed form. Many rows are computed in chunks on a CPU.

    Args:
        logits: (…, K) unnormalised log-probabilities.
        temperature: T > 0, a scalar or broadcastable to (…, 1).
        where: mask that broadcasts to `logits`; masked classes leave the support. A row with none left gives 0.

    Returns:
        (…) entropy in nats, between 0 and log K.

    Raises:
        ValueError: logits without an axis of classes, or a temperature, known when tracing, that is not above 0.

    Example:
        >>> import jax.numpy as jnp
        >>> bool(jnp.allclose(entropy(jnp.zeros(4)), jnp.log(4.0)))
        True

    Source: Shannon (1948), section 6.
    """
    (values,), dtype = promote(logits)
    return _entropy(_prepared(values, temperature, where)).astype(dtype)


def renyi_entropy(
    logits: jax.Array, alpha: ArrayLike, temperature: ArrayLike = 1.0, where: jax.Array | None = None
) -> jax.Array:
    r"""Rényi entropy of order alpha of softmax(logits / temperature).

    $$H_\alpha = \frac{1}{1-\alpha} \log \sum_k p_k^\alpha$$

    alpha = 0 gives the log of the support, 1 Shannon's entropy, inf −log max p; near 1 nothing cancels.

    Args:
        logits: (…, K) unnormalised log-probabilities.
        alpha: order, a scalar of at least 0; may be traced.
        temperature: T > 0, a scalar or broadcastable to (…, 1).
        where: mask that broadcasts to `logits`; masked classes leave the support. A row with none left gives 0.

    Returns:
        (…) in nats.

    Raises:
        ValueError: as `entropy`.

    Example:
        >>> import jax.numpy as jnp
        >>> bool(jnp.allclose(renyi_entropy(jnp.zeros(4), 2), jnp.log(4.0)))
        True

    Source: Rényi (1961), eq. 1.21.
    """
    (values,), dtype = promote(logits)
    log_p, alive = _log_probabilities(_prepared(values, temperature, where))
    p = _probabilities(log_p, alive)
    return -log_mean_power(p, log_p, log_p, jnp.asarray(alpha, p.dtype) - 1, alive).astype(dtype)


def tsallis_entropy(
    logits: jax.Array, q: ArrayLike, temperature: ArrayLike = 1.0, where: jax.Array | None = None
) -> jax.Array:
    r"""Tsallis entropy of order q of softmax(logits / temperature).

    $$S_q = \frac{1 - \sum_k p_k^q}{q - 1}$$

    q = 1 gives Shannon's entropy, 2 the Gini impurity.

    Args:
        logits: (…, K) unnormalised log-probabilities.
        q: order, a scalar of at least 0; may be traced.
        temperature: T > 0, a scalar or broadcastable to (…, 1).
        where: mask that broadcasts to `logits`; masked classes leave the support. A row with none left gives 0.

    Returns:
        (…); in nats for q = 1, else without a unit.

    Raises:
        ValueError: as `entropy`.

    Example:
        >>> import jax.numpy as jnp
        >>> float(tsallis_entropy(jnp.zeros(4), 2))
        0.75

    Source: Tsallis (1988), eq. 1.
    """
    (values,), dtype = promote(logits)
    log_p, alive = _log_probabilities(_prepared(values, temperature, where))
    p = _probabilities(log_p, alive)
    return -mean_power(p, log_p, log_p, jnp.asarray(q, p.dtype) - 1, alive).astype(dtype)


def normalized_entropy(logits: jax.Array, temperature: ArrayLike = 1.0, where: jax.Array | None = None) -> jax.Array:
    r"""Shannon entropy over its maximum, the log of the number of classes kept.

    $$H / \log K$$

    Args:
        logits: (…, K) unnormalised log-probabilities.
        temperature: T > 0, a scalar or broadcastable to (…, 1).
        where: mask that broadcasts to `logits`; K counts what it keeps. One class or none gives 0.

    Returns:
        (…) between 0 and 1, without a unit.

    Raises:
        ValueError: as `entropy`.

    Example:
        >>> import jax.numpy as jnp
        >>> bool(jnp.allclose(normalized_entropy(jnp.zeros(4)), 1.0))
        True

    Source: Shannon (1948), section 7 (relative entropy of a source).
    """
    (values,), dtype = promote(logits)
    value = _entropy(_prepared(values, temperature, where))
    if where is None:
        kept = jnp.asarray(values.shape[-1], values.dtype)
    else:
        kept = jnp.sum(jnp.broadcast_to(where, values.shape), axis=-1).astype(values.dtype)
    several = kept > 1
    return jnp.where(several, value / jnp.log(jnp.where(several, kept, 2)), 0).astype(dtype)


def _pair(
    logits_p: jax.Array, logits_q: jax.Array, where: jax.Array | None
) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array], jnp.dtype]:
    (p, q), dtype = promote(logits_p, logits_q)
    if p.shape[-1:] != q.shape[-1:]:
        raise ValueError(f"logits_p and logits_q must have the same classes on the last axis, got {p.shape}, {q.shape}")
    shape = jnp.broadcast_shapes(p.shape, q.shape)
    p, q = jnp.broadcast_to(p, shape), jnp.broadcast_to(q, shape)
    return _log_probabilities(_prepared(p, 1.0, where)), _log_probabilities(_prepared(q, 1.0, where)), dtype


def cross_entropy(logits_p: jax.Array, logits_q: jax.Array, where: jax.Array | None = None) -> jax.Array:
    r"""Cross entropy of softmax(logits_q) relative to softmax(logits_p).

    $$H(p, q) = -\sum_k p_k \log q_k$$

    Args:
        logits_p: (…, K) unnormalised log-probabilities of p.
        logits_q: (…, K) unnormalised log-probabilities of q.
        where: mask that broadcasts to both; masked classes leave the supports. A row with none left gives 0.

    Returns:
        (…) in nats; inf where q lacks a class of p, with zero gradient there.

    Raises:
        ValueError: different numbers of classes.

    Example:
        >>> import jax.numpy as jnp
        >>> bool(jnp.allclose(cross_entropy(jnp.array([0.0, -jnp.inf]), jnp.zeros(2)), jnp.log(2.0)))
        True

    Source: Cover and Thomas (2006), section 2.3.
    """
    (log_p, alive), (log_q, alive_q), dtype = _pair(logits_p, logits_q, where)
    value = -jnp.sum(_probabilities(log_p, alive) * log_q, axis=-1)
    return jnp.where(jnp.any(alive & ~alive_q, axis=-1), jnp.inf, value).astype(dtype)


def kl_divergence(logits_p: jax.Array, logits_q: jax.Array, where: jax.Array | None = None) -> jax.Array:
    r"""Kullback–Leibler divergence of softmax(logits_p) from softmax(logits_q).

    $$D(p \| q) = \sum_k p_k (\log p_k - \log q_k)$$

    Args:
        logits_p: (…, K) unnormalised log-probabilities of p.
        logits_q: (…, K) unnormalised log-probabilities of q.
        where: mask that broadcasts to both; masked classes leave the supports. A row with none left gives 0.

    Returns:
        (…) in nats; inf where q lacks a class of p, with zero gradient there.

    Raises:
        ValueError: different numbers of classes.

    Example:
        >>> import jax.numpy as jnp
        >>> bool(jnp.allclose(kl_divergence(jnp.array([0.0, -jnp.inf]), jnp.zeros(2)), jnp.log(2.0)))
        True

    Source: Kullback and Leibler (1951), eq. 2.4.
    """
    (log_p, alive), (log_q, alive_q), dtype = _pair(logits_p, logits_q, where)
    value = jnp.sum(_probabilities(log_p, alive) * (log_p - log_q), axis=-1)
    return jnp.where(jnp.any(alive & ~alive_q, axis=-1), jnp.inf, value).astype(dtype)


def js_divergence(logits_p: jax.Array, logits_q: jax.Array, where: jax.Array | None = None) -> jax.Array:
    r"""Jensen–Shannon divergence of softmax(logits_p) and softmax(logits_q).

    $$JS = \tfrac12 D(p \| m) + \tfrac12 D(q \| m), \qquad m = \tfrac12 (p + q)$$

    Args:
        logits_p: (…, K) unnormalised log-probabilities of p.
        logits_q: (…, K) unnormalised log-probabilities of q.
        where: mask that broadcasts to both; masked classes leave the supports. A row with none left gives 0.

    Returns:
        (…) in nats, between 0 and log 2; always finite.

    Raises:
        ValueError: different numbers of classes.

    Example:
        >>> import jax.numpy as jnp
        >>> apart = js_divergence(jnp.array([0.0, -jnp.inf]), jnp.array([-jnp.inf, 0.0]))
        >>> bool(jnp.allclose(apart, jnp.log(2.0)))
        True

    Source: Lin (1991), eq. 4.1 with equal weights.
    """
    (log_p, alive), (log_q, alive_q), dtype = _pair(logits_p, logits_q, where)
    stacked, mask = jnp.stack([log_p, log_q]), jnp.stack([alive, alive_q])
    return mutual_information(jnp.where(mask, stacked, -jnp.inf), axis=0).astype(dtype)


class _Members:
    """Log-probabilities of an ensemble with the members on axis 0, and the masks that go with them."""

    def __init__(
        self, logits: jax.Array, axis: int, where: jax.Array | None, member_where: jax.Array | None, least: int = 1
    ) -> None:
        (values,), self.dtype = promote(logits)
        if values.ndim < 2 or not -values.ndim <= axis < values.ndim or axis % values.ndim == values.ndim - 1:
            raise ValueError(
                f"axis = {axis} must name the axis of the members in logits of shape {values.shape}, whose last axis "
                f"is that of the classes"
            )
        axis %= values.ndim
        if values.shape[axis] < least:
            raise ValueError(f"axis {axis} must hold at least {least} members, logits have the shape {values.shape}")
        log_p, alive = _log_probabilities(_prepared(values, 1.0, where))
        member = jnp.ones(values.shape[:-1], bool)
        if member_where is not None:
            member = jnp.broadcast_to(member_where, values.shape[:-1])
        self.log_p, self.alive = jnp.moveaxis(log_p, axis, 0), jnp.moveaxis(alive, axis, 0)
        self.member = jnp.moveaxis(member, axis, 0)
        self.p = _probabilities(self.log_p, self.alive)
        self.logits = jnp.where(self.alive, self.log_p, -jnp.inf)

    @property
    def count(self) -> jax.Array:
        return jnp.sum(self.member, axis=0).astype(self.log_p.dtype)

    def mean(self, values: jax.Array) -> jax.Array:
        """Mean over the members kept of values (members, …) or (members, …, K)."""
        kept = self.member if values.ndim == self.member.ndim else self.member[..., None]
        return member_mean(values, kept)

    def marginal_logits(self) -> jax.Array:
        """Logarithm, up to a constant, of the mean prediction, by log-sum-exp over the members."""
        kept = self.alive & self.member[..., None]
        exponent = jnp.where(kept, self.log_p, -jnp.inf)
        few = 0 < len(exponent) <= MOST_UNROLLED
        top = jax.lax.stop_gradient(fold(jnp.maximum, exponent) if few else jnp.max(exponent, axis=0, initial=-jnp.inf))
        top = jnp.where(jnp.isneginf(top), 0, top)
        terms = jnp.where(kept, jnp.exp(jnp.where(kept, self.log_p - top[None], 0)), 0)
        total = fold(jnp.add, terms) if few else jnp.sum(terms, axis=0)
        present = total > 0
        return jnp.where(present, jnp.log(jnp.where(present, total, 1)) + top, -jnp.inf)

    def lacking(self) -> jax.Array:
        """Where a member gives probability 0 to a class that another one does not."""
        kept = self.member[..., None]
        some = jnp.any(self.alive & kept, axis=0)
        missing = jnp.any(~self.alive & kept, axis=0)
        return jnp.any(some & missing, axis=-1)


def marginal_entropy(
    logits: jax.Array, axis: int, where: jax.Array | None = None, member_where: jax.Array | None = None
) -> jax.Array:
    r"""Entropy of the mean prediction over members or samples.

    $$H\Big(\frac1M \sum_m p_m\Big)$$

    Args:
        logits: (…, K) with members or samples on `axis`.
        axis: the axis to average over, not the last.
        where: mask of classes that broadcasts to `logits`.
        member_where: mask of members that broadcasts to the shape of `logits` without classes. None left gives 0.

    Returns:
        The shape of `logits` without `axis` and classes, in nats.

    Raises:
        ValueError: an axis that does not exist or is that of the classes.

    Example:
        >>> import jax.numpy as jnp
        >>> sure = jnp.array([[0.0, -jnp.inf], [-jnp.inf, 0.0]])
        >>> bool(jnp.allclose(marginal_entropy(sure, axis=0), jnp.log(2.0)))
        True

    Source: Liang, Hu and Feng (2020), SHOT, eq. 3, the diversity term.
    """
    members = _Members(logits, axis, where, member_where)
    return _entropy(members.marginal_logits()).astype(members.dtype)


def mutual_information(
    logits: jax.Array, axis: int, where: jax.Array | None = None, member_where: jax.Array | None = None
) -> jax.Array:
    r"""Mutual information of the prediction and the member or sample: marginal minus mean entropy.

    $$I = H\Big(\frac1M \sum_m p_m\Big) - \frac1M \sum_m H(p_m)$$

    Over an ensemble this is BALD, over a batch the information maximised by SHOT and IM, whose value says whether
    predictions have collapsed. Rounding can leave it some 1e-7 below 0.

    Args:
        logits: (…, K) with members or samples on `axis`.
        axis: the axis to average over, not the last.
        where: mask of classes that broadcasts to `logits`.
        member_where: mask of members that broadcasts to the shape of `logits` without classes. None left gives 0.

    Returns:
        The shape of `logits` without `axis` and classes, in nats, at most log M and log K.

    Raises:
        ValueError: an axis that does not exist or is that of the classes.

    Example:
        >>> import jax.numpy as jnp
        >>> sure = jnp.array([[0.0, -jnp.inf], [-jnp.inf, 0.0]])
        >>> bool(jnp.allclose(mutual_information(sure, axis=0), jnp.log(2.0)))
        True

    Source: Houlsby et al. (2011), BALD, eq. 2; Bridle, Heading and MacKay (1991).
    """
    members = _Members(logits, axis, where, member_where)
    conditional = members.mean(_entropy(members.logits))
    return (_entropy(members.marginal_logits()) - conditional).astype(members.dtype)


def expected_pairwise_kl(
    logits: jax.Array, axis: int, where: jax.Array | None = None, member_where: jax.Array | None = None
) -> jax.Array:
    r"""Mean Kullback–Leibler divergence over ordered pairs of different members.

    $$\frac{1}{M(M-1)} \sum_{i \ne j} D(p_i \| p_j) = \frac{M}{M-1} \sum_k \mathrm{Cov}_m(p_{mk}, \log p_{mk})$$

    The covariance form costs no more than one pass over the members and is exactly 0 for equal ones.

    Args:
        logits: (…, K) with members on `axis`.
        axis: the axis of the members, not the last.
        where: mask of classes that broadcasts to `logits`.
        member_where: mask of members that broadcasts to the shape of `logits` without classes. Fewer than two
            left gives 0.

    Returns:
        The shape of `logits` without `axis` and classes, in nats; inf where one member rules out what another does not.

    Raises:
        ValueError: fewer than two members, an axis that does not exist or is that of the classes.

    Example:
        >>> import jax.numpy as jnp
        >>> float(expected_pairwise_kl(jnp.zeros((3, 4)), axis=0))
        0.0

    Source: Malinin and Gales (2021), eq. 8.
    """
    members = _Members(logits, axis, where, member_where, least=2)
    centred_p = members.p - members.mean(members.p)[None]
    centred_log = members.log_p - members.mean(members.log_p)[None]
    value = jnp.sum(members.mean(centred_p * centred_log), axis=-1)
    count = members.count
    value = jnp.where(count > 1, value * count / jnp.maximum(count - 1, 1), 0)
    return jnp.where(members.lacking(), jnp.inf, value).astype(members.dtype)


def reverse_mutual_information(
    logits: jax.Array, axis: int, where: jax.Array | None = None, member_where: jax.Array | None = None
) -> jax.Array:
    r"""Mean divergence of the mean prediction from the members.

    $$\frac1M \sum_m D(\bar p \| p_m) = \sum_k \bar p_k \Big(\log \bar p_k - \frac1M \sum_m \log p_{mk}\Big)$$

    Mutual information plus this is (M − 1)/M times the expected pairwise divergence.

    Args:
        logits: (…, K) with members on `axis`.
        axis: the axis of the members, not the last.
        where: mask of classes that broadcasts to `logits`.
        member_where: mask of members that broadcasts to the shape of `logits` without classes. None left gives 0.

    Returns:
        The shape of `logits` without `axis` and classes, in nats; inf where one member rules out what another does not.

    Raises:
        ValueError: an axis that does not exist or is that of the classes.

    Example:
        >>> import jax.numpy as jnp
        >>> bool(abs(reverse_mutual_information(jnp.zeros((3, 4)), axis=0)) < 1e-6)
        True

    Source: Malinin and Gales (2021), eq. 9.
    """
    members = _Members(logits, axis, where, member_where)
    log_mean, alive = _log_probabilities(members.marginal_logits())
    gap = log_mean - members.mean(members.log_p)
    value = jnp.sum(_probabilities(log_mean, alive) * keep(gap, alive), axis=-1)
    return jnp.where(members.lacking(), jnp.inf, value).astype(members.dtype)
