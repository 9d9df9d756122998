"""Information quantities of discrete distributions: from probabilities, joint tables and integer symbols.

Probabilities lie on the last axis and are never renormalised; the axes of a joint table are its variables. Everything
here that is known of a joint table is one expectation, E[Σ_S c_S log p_S], over logarithms of its margins.
"""

import math
from itertools import combinations
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
from jax.scipy.special import digamma
from jax.typing import ArrayLike

from infojax.info._numerics import keep, log_mean_power, mean_power, positive, promote, safe_log

Correction: TypeAlias = Literal["none", "miller_madow", "grassberger", "chao_shen", "james_stein"]


def _masked(p: jax.Array, where: jax.Array | None) -> jax.Array:
    return keep(p, None if where is None else jnp.broadcast_to(where, p.shape))


def _same_classes(p: jax.Array, q: jax.Array) -> None:
    if p.shape[-1:] != q.shape[-1:]:
        raise ValueError(f"p and q must have the same number of classes on the last axis, got {p.shape} and {q.shape}")


def shannon_entropy(p: ArrayLike, where: jax.Array | None = None) -> jax.Array:
    r"""Shannon entropy of probabilities.

    $$H(p) = -\sum_k p_k \log p_k, \qquad 0 \log 0 = 0$$

    Args:
        p: (…, K) probabilities.
        where: mask that broadcasts to `p`; masked classes count as probability 0.

    Returns:
        (…) in nats. The gradient is −log p − 1, and 0 where p = 0.

    Example:
        >>> import jax.numpy as jnp
        >>> bool(jnp.allclose(shannon_entropy(jnp.array([0.5, 0.5, 0.0])), jnp.log(2.0)))
        True

    Source: Shannon (1948), section 6.
    """
    (p,), dtype = promote(p)
    p = _masked(p, where)
    return -jnp.sum(p * safe_log(p), axis=-1).astype(dtype)


def renyi_entropy(p: ArrayLike, alpha: ArrayLike, where: jax.Array | None = None) -> jax.Array:
    r"""Rényi entropy of order alpha.

    $$H_\alpha(p) = \frac{1}{1-\alpha} \log \sum_k p_k^\alpha$$

    alpha = 0 gives the log of the support, 1 Shannon's entropy, inf −log max p; near 1 nothing cancels.

    Args:
        p: (…, K) probabilities.
        alpha: order, a scalar of at least 0; may be traced.
        where: mask that broadcasts to `p`; masked classes count as probability 0.

    Returns:
        (…) in nats.

    Example:
        >>> import jax.numpy as jnp
        >>> bool(jnp.allclose(renyi_entropy(jnp.array([0.5, 0.25, 0.25]), jnp.inf), jnp.log(2.0)))
        True

    Source: Rényi (1961), eq. 1.21.
    """
    (p,), dtype = promote(p)
    p = _masked(p, where)
    log_p = safe_log(p)
    return -log_mean_power(p, log_p, log_p, jnp.asarray(alpha, p.dtype) - 1, positive(p)).astype(dtype)


def tsallis_entropy(p: ArrayLike, q: ArrayLike, where: jax.Array | None = None) -> jax.Array:
    r"""Tsallis entropy of order q.

    $$S_q(p) = \frac{1 - \sum_k p_k^q}{q - 1}$$

    q = 1 gives Shannon's entropy, 2 the Gini impurity, 0 the support less 1.

    Args:
        p: (…, K) probabilities.
        q: order, a scalar of at least 0; may be traced.
        where: mask that broadcasts to `p`; masked classes count as probability 0.

    Returns:
        (…); in nats for q = 1, else without a unit.

    Example:
        >>> import jax.numpy as jnp
        >>> float(tsallis_entropy(jnp.array([0.5, 0.5]), 2))
        0.5

    Source: Tsallis (1988), eq. 1.
    """
    (p,), dtype = promote(p)
    p = _masked(p, where)
    log_p = safe_log(p)
    return -mean_power(p, log_p, log_p, jnp.asarray(q, p.dtype) - 1, positive(p)).astype(dtype)


def cross_entropy(p: ArrayLike, q: ArrayLike, where: jax.Array | None = None) -> jax.Array:
    r"""Cross entropy of q relative to p.

    $$H(p, q) = -\sum_k p_k \log q_k$$

    Args:
        p: (…, K) probabilities.
        q: (…, K) probabilities.
        where: mask that broadcasts to both; masked classes do not count.

    Returns:
        (…) in nats; inf where q = 0 < p, with zero gradient there.

    Raises:
        ValueError: different numbers of classes.

    Example:
        >>> import jax.numpy as jnp
        >>> bool(jnp.allclose(cross_entropy(jnp.array([1.0, 0.0]), jnp.array([0.5, 0.5])), jnp.log(2.0)))
        True

    Source: Cover and Thomas (2006), section 2.3.
    """
    (p, q), dtype = promote(p, q)
    _same_classes(p, q)
    p, q = _masked(p, where), _masked(q, where)
    missing = jnp.any(positive(p) & ~positive(q), axis=-1)
    value = -jnp.sum(p * safe_log(q), axis=-1)
    return jnp.where(missing, jnp.inf, value).astype(dtype)


def kl_divergence(p: ArrayLike, q: ArrayLike, where: jax.Array | None = None) -> jax.Array:
    r"""Kullback–Leibler divergence of p from q.

    $$D(p \| q) = \sum_k p_k \log \frac{p_k}{q_k}$$

    Args:
        p: (…, K) probabilities.
        q: (…, K) probabilities.
        where: mask that broadcasts to both; masked classes do not count.

    Returns:
        (…) in nats; inf where q = 0 < p, with zero gradient there.

    Raises:
        ValueError: different numbers of classes.

    Example:
        >>> import jax.numpy as jnp
        >>> float(kl_divergence(jnp.array([0.5, 0.5]), jnp.array([1.0, 0.0])))
        inf

    Source: Kullback and Leibler (1951), eq. 2.4.
    """
    (p, q), dtype = promote(p, q)
    _same_classes(p, q)
    p, q = _masked(p, where), _masked(q, where)
    missing = jnp.any(positive(p) & ~positive(q), axis=-1)
    value = jnp.sum(p * (safe_log(p) - safe_log(q)), axis=-1)
    return jnp.where(missing, jnp.inf, value).astype(dtype)


def js_divergence(p: ArrayLike, q: ArrayLike, where: jax.Array | None = None) -> jax.Array:
    r"""Jensen–Shannon divergence.

    $$JS(p, q) = \tfrac12 D(p \| m) + \tfrac12 D(q \| m), \qquad m = \tfrac12 (p + q)$$

    Args:
        p: (…, K) probabilities.
        q: (…, K) probabilities.
        where: mask that broadcasts to both; masked classes do not count.

    Returns:
        (…) in nats, between 0 and log 2; always finite.

    Raises:
        ValueError: different numbers of classes.

    Example:
        >>> import jax.numpy as jnp
        >>> bool(jnp.allclose(js_divergence(jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])), jnp.log(2.0)))
        True

    Source: Lin (1991), eq. 4.1 with equal weights.
    """
    (p, q), dtype = promote(p, q)
    _same_classes(p, q)
    p, q = _masked(p, where), _masked(q, where)
    log_middle = safe_log((p + q) / 2)
    terms = p * jnp.where(positive(p), safe_log(p) - log_middle, 0)
    terms = terms + q * jnp.where(positive(q), safe_log(q) - log_middle, 0)
    return (jnp.sum(terms, axis=-1) / 2).astype(dtype)


def renyi_divergence(p: ArrayLike, q: ArrayLike, alpha: ArrayLike, where: jax.Array | None = None) -> jax.Array:
    r"""Rényi divergence of order alpha of p from q.

    $$D_\alpha(p \| q) = \frac{1}{\alpha - 1} \log \sum_k p_k^\alpha q_k^{1-\alpha}$$

    alpha = 0 gives −log q(p > 0), 1 the Kullback–Leibler divergence, inf log max p/q.

    Args:
        p: (…, K) probabilities.
        q: (…, K) probabilities.
        alpha: order, a scalar of at least 0; may be traced.
        where: mask that broadcasts to both; masked classes do not count.

    Returns:
        (…) in nats; inf where alpha ≥ 1 and q = 0 < p, and where the supports are disjoint.

    Raises:
        ValueError: different numbers of classes.

    Example:
        >>> import jax.numpy as jnp
        >>> p, q = jnp.array([0.5, 0.5]), jnp.array([0.25, 0.75])
        >>> bool(jnp.allclose(renyi_divergence(p, q, jnp.inf), jnp.log(2.0)))
        True

    Source: van Erven and Harremoës (2014), eq. 1 and 9, definition 3.
    """
    (p, q), dtype = promote(p, q)
    _same_classes(p, q)
    p, q = _masked(p, where), _masked(q, where)
    p, q = jnp.broadcast_arrays(p, q)
    t = jnp.asarray(alpha, p.dtype) - 1
    common = positive(p) & positive(q)
    log_p, ratio = safe_log(p), jnp.where(common, safe_log(p) - safe_log(q), 0)
    # Below order 1 classes that q lacks drop out of the sum, so what is left of p no longer sums to 1 and the form
    # that stays exact near order 1 does not apply: there the plain sum is right, and order 1 itself is inf.
    mismatch = jnp.any(positive(p) & ~common, axis=-1)
    matched = log_mean_power(p, log_p, ratio, t, common)
    safe_t = jnp.where((t == 0) | jnp.isinf(t), -1, t)
    exponent = jnp.where(common, log_p + safe_t * ratio, -jnp.inf)
    plain = _logsumexp(exponent) / safe_t
    apart = ~jnp.any(common, axis=-1) & jnp.any(positive(p), axis=-1)
    plain = jnp.where(apart | (t >= 0), jnp.inf, plain)
    return jnp.where(mismatch, plain, matched).astype(dtype)


def _logsumexp(exponent: jax.Array) -> jax.Array:
    top = jnp.max(exponent, axis=-1, keepdims=True)
    top = jax.lax.stop_gradient(jnp.where(jnp.isfinite(top), top, 0))
    total = jnp.sum(jnp.exp(exponent - top), axis=-1)
    return jnp.where(total > 0, jnp.log(jnp.where(total > 0, total, 1)), 0) + top[..., 0]


def _expected_log(joint: jax.Array, variables: int, terms: dict[tuple[int, ...], float]) -> jax.Array:
    """E[Σ_S c_S log p_S] under a joint table; S are sets of its last `variables` axes."""
    first = joint.ndim - variables
    total = jnp.zeros_like(joint)
    for subset, coefficient in terms.items():
        others = tuple(first + axis for axis in range(variables) if axis not in subset)
        total = total + coefficient * safe_log(jnp.sum(joint, axis=others, keepdims=True))
    total = jnp.where(positive(joint), total, 0)
    return jnp.sum(joint * total, axis=tuple(range(first, joint.ndim)))


def _table(joint: ArrayLike, variables: int | None, least: int = 2) -> tuple[jax.Array, int, jnp.dtype]:
    (table,), dtype = promote(joint)
    count = table.ndim if variables is None else variables
    if not least <= count <= table.ndim:
        raise ValueError(
            f"a joint table of {count} variables was asked for, at least {least} and at most its {table.ndim} axes are "
            f"possible; its shape is {table.shape}"
        )
    return table, count, dtype


def mutual_information(joint: ArrayLike) -> jax.Array:
    r"""Mutual information of a joint table.

    $$I(X;Y) = \sum_{xy} p_{xy} \log \frac{p_{xy}}{p_x p_y}$$

    Args:
        joint: (…, X, Y) probabilities that sum to 1 over the last two axes.

    Returns:
        (…) in nats.

    Raises:
        ValueError: fewer than two axes.

    Example:
        >>> import jax.numpy as jnp
        >>> bool(jnp.allclose(mutual_information(jnp.eye(2) / 2), jnp.log(2.0)))
        True

    Source: Cover and Thomas (2006), eq. 2.28.
    """
    table, count, dtype = _table(joint, 2)
    return _expected_log(table, count, {(0, 1): 1, (0,): -1, (1,): -1}).astype(dtype)


def conditional_entropy(joint: ArrayLike) -> jax.Array:
    r"""Entropy of the last variable given the one before it.

    $$H(Y|X) = -\sum_{xy} p_{xy} \log \frac{p_{xy}}{p_x}$$

    Args:
        joint: (…, X, Y) probabilities that sum to 1 over the last two axes.

    Returns:
        (…) in nats.

    Raises:
        ValueError: fewer than two axes.

    Example:
        >>> import jax.numpy as jnp
        >>> bool(jnp.allclose(conditional_entropy(jnp.eye(2) / 2), 0.0))
        True

    Source: Cover and Thomas (2006), eq. 2.10.
    """
    table, count, dtype = _table(joint, 2)
    return _expected_log(table, count, {(0, 1): -1, (0,): 1}).astype(dtype)


def conditional_mutual_information(joint: ArrayLike) -> jax.Array:
    r"""Mutual information of two variables given a third.

    $$I(X;Y|Z) = \sum_{xyz} p_{xyz} \log \frac{p_{xyz} p_z}{p_{xz} p_{yz}}$$

    Args:
        joint: (…, X, Y, Z) probabilities that sum to 1 over the last three axes; the last one is the condition.

    Returns:
        (…) in nats.

    Raises:
        ValueError: fewer than three axes.

    Example:
        >>> import jax.numpy as jnp
        >>> xor = jnp.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]]) / 4
        >>> bool(jnp.allclose(conditional_mutual_information(xor), jnp.log(2.0)))
        True

    Source: Cover and Thomas (2006), eq. 2.61.
    """
    table, count, dtype = _table(joint, 3)
    return _expected_log(table, count, {(0, 1, 2): 1, (2,): 1, (0, 2): -1, (1, 2): -1}).astype(dtype)


def _whole(variables: int) -> tuple[int, ...]:
    return tuple(range(variables))


def _without(variables: int, left_out: int) -> tuple[int, ...]:
    return tuple(axis for axis in range(variables) if axis != left_out)


def _total_terms(variables: int) -> dict[tuple[int, ...], float]:
    """H(X_1) + … − H(X_1, …, X_n) as coefficients of expected logarithms."""
    return {_whole(variables): 1, **{(axis,): -1 for axis in range(variables)}}


def _dual_terms(variables: int) -> dict[tuple[int, ...], float]:
    """Σ H(all but X_i) − (n − 1) H(all)."""
    return {_whole(variables): variables - 1, **{_without(variables, axis): -1 for axis in range(variables)}}


def _combined(
    first: dict[tuple[int, ...], float], second: dict[tuple[int, ...], float], sign: int
) -> dict[tuple[int, ...], float]:
    subsets = {*first, *second}
    return {subset: first.get(subset, 0) + sign * second.get(subset, 0) for subset in subsets}


def total_correlation(joint: ArrayLike, num_variables: int | None = None) -> jax.Array:
    r"""Total correlation (multi-information) of a joint table.

    $$TC = \sum_i H(X_i) - H(X_1, \dots, X_n)$$

    Args:
        joint: (…, X_1, …, X_n) probabilities that sum to 1 over the variables.
        num_variables: how many of the last axes are variables; None takes all axes.

    Returns:
        (…), the axes before the variables, in nats.

    Raises:
        ValueError: fewer than two variables or more than there are axes.

    Example:
        >>> import jax.numpy as jnp
        >>> copies = jnp.zeros((2, 2, 2)).at[0, 0, 0].set(0.5).at[1, 1, 1].set(0.5)
        >>> bool(jnp.allclose(total_correlation(copies), 2 * jnp.log(2.0)))
        True

    Source: Watanabe (1960).
    """
    table, count, dtype = _table(joint, num_variables)
    return _expected_log(table, count, _total_terms(count)).astype(dtype)


def dual_total_correlation(joint: ArrayLike, num_variables: int | None = None) -> jax.Array:
    r"""Dual total correlation (binding information) of a joint table.

    $$DTC = H(X_1, \dots, X_n) - \sum_i H(X_i | X_{-i})$$

    Args:
        joint: (…, X_1, …, X_n) probabilities that sum to 1 over the variables.
        num_variables: how many of the last axes are variables; None takes all axes.

    Returns:
        (…), the axes before the variables, in nats.

    Raises:
        ValueError: fewer than two variables or more than there are axes.

    Example:
        >>> import jax.numpy as jnp
        >>> copies = jnp.zeros((2, 2, 2)).at[0, 0, 0].set(0.5).at[1, 1, 1].set(0.5)
        >>> bool(jnp.allclose(dual_total_correlation(copies), jnp.log(2.0)))
        True

    Source: Han (1975).
    """
    table, count, dtype = _table(joint, num_variables)
    return _expected_log(table, count, _dual_terms(count)).astype(dtype)


def o_information(joint: ArrayLike, num_variables: int | None = None) -> jax.Array:
    r"""O-information: total correlation minus dual total correlation.

    $$\Omega = (n-2) H(X) + \sum_i [H(X_i) - H(X_{-i})]$$

    Positive where redundancy prevails, negative where synergy does.

    Args:
        joint: (…, X_1, …, X_n) probabilities that sum to 1 over the variables.
        num_variables: how many of the last axes are variables; None takes all axes.

    Returns:
        (…), the axes before the variables, in nats.

    Raises:
        ValueError: fewer than two variables or more than there are axes.

    Example:
        >>> import jax.numpy as jnp
        >>> xor = jnp.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]]) / 4
        >>> bool(jnp.allclose(o_information(xor), -jnp.log(2.0)))
        True

    Source: Rosas, Mediano, Gastpar and Jensen (2019), eq. 2.
    """
    table, count, dtype = _table(joint, num_variables)
    return _expected_log(table, count, _combined(_total_terms(count), _dual_terms(count), -1)).astype(dtype)


def s_information(joint: ArrayLike, num_variables: int | None = None) -> jax.Array:
    r"""S-information: total correlation plus dual total correlation.

    $$\Sigma = \sum_i I(X_i; X_{-i})$$

    Args:
        joint: (…, X_1, …, X_n) probabilities that sum to 1 over the variables.
        num_variables: how many of the last axes are variables; None takes all axes.

    Returns:
        (…), the axes before the variables, in nats.

    Raises:
        ValueError: fewer than two variables or more than there are axes.

    Example:
        >>> import jax.numpy as jnp
        >>> bool(jnp.allclose(s_information(jnp.eye(2) / 2), 2 * jnp.log(2.0)))
        True

    Source: James, Ellison and Crutchfield (2011); named by Rosas et al. (2019), section II.
    """
    table, count, dtype = _table(joint, num_variables)
    return _expected_log(table, count, _combined(_total_terms(count), _dual_terms(count), 1)).astype(dtype)


def co_information(joint: ArrayLike, num_variables: int | None = None) -> jax.Array:
    r"""Co-information: what all variables share, by inclusion and exclusion.

    $$I(X_1; \dots; X_n) = -\sum_{S \ne \emptyset} (-1)^{|S|} H(X_S)$$

    For three variables I(X;Y) − I(X;Y|Z), negative for XOR. The interaction information of some authors is (−1)^n
    times this. The cost is 2^n margins.

    Args:
        joint: (…, X_1, …, X_n) probabilities that sum to 1 over the variables.
        num_variables: how many of the last axes are variables; None takes all axes.

    Returns:
        (…), the axes before the variables, in nats.

    Raises:
        ValueError: fewer than two variables or more than there are axes.

    Example:
        >>> import jax.numpy as jnp
        >>> xor = jnp.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]]) / 4
        >>> bool(jnp.allclose(co_information(xor), -jnp.log(2.0)))
        True

    Source: Bell (2003), eq. 5.
    """
    table, count, dtype = _table(joint, num_variables)
    terms: dict[tuple[int, ...], float] = {}
    for size in range(1, count + 1):
        terms.update({subset: float((-1) ** size) for subset in combinations(range(count), size)})
    return _expected_log(table, count, terms).astype(dtype)


def _check_classes(num_classes: int) -> None:
    if not isinstance(num_classes, int) or num_classes < 1:
        raise ValueError(f"num_classes must be a positive integer known when tracing, got {num_classes!r}")


def _check_symbols(name: str, x: jax.Array) -> None:
    if not jnp.issubdtype(x.dtype, jnp.integer) and x.dtype != jnp.bool_:
        raise ValueError(f"{name} must hold integer symbols, got {x.dtype}; bin continuous values first")
    if x.ndim < 1:
        raise ValueError(f"{name} must have the shape (…, n), got a scalar")


def _counts(x: jax.Array, num_classes: int, where: jax.Array | None) -> jax.Array:
    """(…, K) occurrences of each symbol as floats; symbols outside 0 … K − 1 do not count."""
    lead = x.shape[:-1]
    counted = (x >= 0) & (x < num_classes)
    if where is not None:
        counted = counted & jnp.broadcast_to(where, x.shape)
    rows = math.prod(lead)
    offset = jnp.arange(rows, dtype=jnp.int32)[:, None] * num_classes
    place = jnp.where(counted, x.astype(jnp.int32), 0).reshape((rows, x.shape[-1])) + offset
    counts = jnp.zeros(rows * num_classes, jnp.int32).at[place.reshape(-1)].add(counted.reshape(-1).astype(jnp.int32))
    return counts.reshape((*lead, num_classes)).astype(jnp.result_type(float))


def plugin_entropy(
    x: jax.Array, num_classes: int, correction: Correction = "none", where: jax.Array | None = None
) -> jax.Array:
    r"""Entropy of integer samples from their frequencies, with a choice of bias corrections.

    $$\hat H = -\sum_k \hat p_k \log \hat p_k, \qquad \hat p_k = n_k / n$$

    - "miller_madow" adds (K' − 1) / 2n, K' being the symbols seen.
    - "grassberger": log n − Σ n_k G(n_k) / n, G(m) = ψ(m) + ½ (−1)^m [ψ((m + 1)/2) − ψ(m/2)].
    - "chao_shen": coverage C = 1 − f_1/n (f_1 symbols seen once), −Σ C p̂ log(C p̂) / (1 − (1 − C p̂)^n).
    - "james_stein": frequencies shrunk towards 1 / num_classes by the estimated optimal weight.

    Args:
        x: (…, n) integers; those outside 0 … num_classes − 1 do not count.
        num_classes: size of the alphabet, static.
        correction: one of the above, or "none".
        where: (…, n) mask of samples.

    Returns:
        (…) in nats; 0 for no samples.

    Raises:
        ValueError: x not integer, num_classes not a positive integer, unknown correction.

    Example:
        >>> import jax.numpy as jnp
        >>> bool(jnp.allclose(plugin_entropy(jnp.array([0, 1, 0, 1]), 2), jnp.log(2.0)))
        True

    Source: Miller (1955); Grassberger (2003), eq. 28–30; Chao and Shen (2003), eq. 6; Hausser and Strimmer (2009),
    eq. 2–6, with the target uniform over the alphabet (some libraries take the symbols seen instead).
    """
    x = jnp.asarray(x)
    _check_symbols("x", x)
    _check_classes(num_classes)
    counts = _counts(x, num_classes, where)
    size = jnp.maximum(jnp.sum(counts, axis=-1, keepdims=True), 1)
    p = counts / size
    n = size[..., 0]
    if correction == "none":
        return shannon_entropy(p)
    if correction == "miller_madow":
        seen = jnp.sum(counts > 0, axis=-1).astype(p.dtype)
        return shannon_entropy(p) + jnp.maximum(seen - 1, 0) / (2 * n)
    if correction == "grassberger":
        safe = jnp.maximum(counts, 1)
        sign = jnp.where(counts % 2 == 0, 1.0, -1.0).astype(p.dtype)
        g = digamma(safe) + sign / 2 * (digamma((safe + 1) / 2) - digamma(safe / 2))
        any_seen = (jnp.sum(counts, axis=-1) > 0).astype(p.dtype)
        return any_seen * jnp.log(n) - jnp.sum(p * g, axis=-1)
    if correction == "chao_shen":
        once = jnp.sum(counts == 1, axis=-1, keepdims=True).astype(p.dtype)
        # If every symbol was seen once the coverage would be 0 and the estimate empty.
        once = jnp.where(once == size, size - 1, once)
        covered = (1 - once / size) * p
        present = -jnp.expm1(size * jnp.log1p(-jnp.minimum(covered, 1 - jnp.finfo(p.dtype).epsneg)))
        return -jnp.sum(covered * safe_log(covered) / jnp.where(counts > 0, present, 1), axis=-1)
    if correction == "james_stein":
        target = 1 / num_classes
        spread = jnp.sum((target - p) ** 2, axis=-1)
        weight = (1 - jnp.sum(p * p, axis=-1)) / (jnp.maximum(n - 1, 1) * jnp.where(spread > 0, spread, 1))
        weight = jnp.where(spread > 0, jnp.clip(weight, 0, 1), 1)[..., None]
        value = shannon_entropy(weight * target + (1 - weight) * p)
        return jnp.where(jnp.sum(counts, axis=-1) > 0, value, 0)
    choices = "'none', 'miller_madow', 'grassberger', 'chao_shen' or 'james_stein'"
    raise ValueError(f"correction must be {choices}, got {correction!r}")


def _histories(x: jax.Array, num_classes: int, history: int) -> jax.Array:
    """(…, n − h) the h symbols before each step, as one symbol of num_classes^h."""
    steps = x.shape[-1] - history
    code = jnp.zeros((*x.shape[:-1], steps), jnp.int32)
    for lag in range(history):
        code = code * num_classes + x[..., lag : lag + steps].astype(jnp.int32)
    return code


def transfer_entropy(x: jax.Array, y: jax.Array, num_classes: int, history: int = 1) -> jax.Array:
    r"""Transfer entropy from x to y: what the past of x tells of the next y beyond y's own past.

    $$T_{X \to Y} = I(Y_{t+1}; X_t^{(h)} \mid Y_t^{(h)})$$

    The plug-in estimate over all steps; its bias grows with the table of num_classes^(2h+1) cells.

    Args:
        x: (…, n) integers in 0 … num_classes − 1, the source.
        y: (…, n) integers in 0 … num_classes − 1, the target.
        num_classes: size of both alphabets, static.
        history: h, how many past symbols of each count, static.

    Returns:
        (…) in nats.

    Raises:
        ValueError: not integers, unequal lengths, history outside 1 … n − 1, or a table beyond 2^26 cells.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x = jax.random.bernoulli(jax.random.key(0), 0.5, (5000,)).astype(jnp.int32)
        >>> bool(jnp.allclose(transfer_entropy(x, jnp.roll(x, 1), 2), jnp.log(2.0), atol=1e-2))
        True

    Source: Schreiber (2000), eq. 4.
    """
    x, y = jnp.asarray(x), jnp.asarray(y)
    _check_symbols("x", x)
    _check_symbols("y", y)
    _check_classes(num_classes)
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(f"x and y must have the same number of steps, got {x.shape[-1]} and {y.shape[-1]}")
    if not isinstance(history, int) or not 1 <= history < x.shape[-1]:
        raise ValueError(f"history must be an integer from 1 to {x.shape[-1] - 1} (the steps less 1), got {history!r}")
    if num_classes ** (2 * history + 1) > 2**26:
        raise ValueError(
            f"the joint table would have {num_classes}^{2 * history + 1} cells; lower num_classes = {num_classes} or "
            f"history = {history}"
        )
    past = num_classes**history
    lead = jnp.broadcast_shapes(x.shape[:-1], y.shape[:-1])
    x, y = (jnp.broadcast_to(series, (*lead, series.shape[-1])) for series in (x, y))
    code = y[..., history:].astype(jnp.int32) * past + _histories(x, num_classes, history)
    code = code * past + _histories(y, num_classes, history)
    counts = _counts(code, num_classes * past * past, None)
    joint = counts / jnp.maximum(jnp.sum(counts, axis=-1, keepdims=True), 1)
    return conditional_mutual_information(joint.reshape((*lead, num_classes, past, past)))


def permutation_entropy(x: ArrayLike, order: int = 3, delay: int = 1) -> jax.Array:
    r"""Entropy of the orderings of successive values of a series.

    $$H = -\sum_{\pi} \hat p(\pi) \log \hat p(\pi)$$

    over the orderings π of (x_t, x_{t+τ}, …, x_{t+(m−1)τ}); of equal values the earlier one counts as the smaller.

    Args:
        x: (…, n) real series.
        order: m, values per pattern, static.
        delay: τ, steps between them, static.

    Returns:
        (…) in nats, at most log m!.

    Raises:
        ValueError: order outside 2 … 10, delay below 1, or a series shorter than one pattern.

    Example:
        >>> import jax.numpy as jnp
        >>> float(permutation_entropy(jnp.arange(10.0))) == 0
        True

    Source: Bandt and Pompe (2002), eq. 2.
    """
    (x,), dtype = promote(x)
    if not isinstance(order, int) or not 2 <= order <= 10:
        raise ValueError(f"order must be an integer from 2 to 10, got {order!r}")
    if not isinstance(delay, int) or delay < 1:
        raise ValueError(f"delay must be an integer of at least 1, got {delay!r}")
    steps = x.shape[-1] - (order - 1) * delay
    if steps < 1:
        raise ValueError(f"one pattern spans {(order - 1) * delay + 1} values, the series has {x.shape[-1]}")
    values = [x[..., i * delay : i * delay + steps] for i in range(order)]
    # The Lehmer code numbers the orderings: how many later values are smaller, in factorial base.
    code = jnp.zeros(values[0].shape, jnp.int32)
    for i in range(order - 1):
        smaller = sum((values[j] < values[i]).astype(jnp.int32) for j in range(i + 1, order))
        code = code + smaller * math.factorial(order - 1 - i)
    return plugin_entropy(code, math.factorial(order)).astype(dtype)


def entropy_rate(transition_matrix: ArrayLike) -> jax.Array:
    r"""Entropy rate of a stationary Markov chain.

    $$h = -\sum_i \pi_i \sum_j P_{ij} \log P_{ij}, \qquad \pi P = \pi$$

    Args:
        transition_matrix: (…, K, K), row i holds the probabilities of the next state after i. The stationary
            distribution must be unique (one recurrent class; periodic chains are fine), else the result is not finite.

    Returns:
        (…) in nats per step.

    Raises:
        ValueError: not a square matrix.

    Example:
        >>> import jax.numpy as jnp
        >>> bool(jnp.allclose(entropy_rate(jnp.full((2, 2), 0.5)), jnp.log(2.0)))
        True

    Source: Cover and Thomas (2006), theorem 4.2.4.
    """
    (matrix,), dtype = promote(transition_matrix)
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
        raise ValueError(f"transition_matrix must have the shape (…, K, K), got {matrix.shape}")
    size = matrix.shape[-1]
    # π (I − P + 1 1ᵀ) = 1ᵀ has one solution where the stationary distribution is unique.
    system = jnp.broadcast_to(jnp.eye(size, dtype=matrix.dtype) + 1, matrix.shape) - matrix
    ones = jnp.ones((*matrix.shape[:-1], 1), matrix.dtype)
    stationary = jnp.linalg.solve(jnp.swapaxes(system, -1, -2), ones)[..., 0]
    rows = -jnp.sum(matrix * safe_log(matrix), axis=-1)
    return jnp.sum(stationary * rows, axis=-1).astype(dtype)


def channel_capacity(p_y_given_x: ArrayLike, max_iterations: int = 2000, tolerance: float = 1e-6) -> jax.Array:
    r"""Capacity of a discrete memoryless channel (Blahut–Arimoto); with actions as input, empowerment.

    $$C = \max_{p(x)} I(X;Y)$$

    The iteration stops when the upper bound max_x D(p(y|x) ‖ p(y)) is within `tolerance` of I(X;Y), which is returned:
    a lower bound. The gradient is that of I at the best input distribution, which is the gradient of C.

    Args:
        p_y_given_x: (…, X, Y), row x holds the probabilities of the outputs.
        max_iterations: bound on the iterations, static.
        tolerance: gap in nats at which to stop.

    Returns:
        (…) in nats, at most log min(X, Y).

    Raises:
        ValueError: fewer than two axes.

    Example:
        >>> import jax.numpy as jnp
        >>> bool(jnp.allclose(channel_capacity(jnp.eye(4)), jnp.log(4.0), atol=1e-5))
        True

    Source: Blahut (1972), theorem 3; Arimoto (1972); empowerment: Klyubin, Polani and Nehaniv (2005).
    """
    (channel,), dtype = promote(p_y_given_x)
    if channel.ndim < 2:
        raise ValueError(f"p_y_given_x must have the shape (…, X, Y), got {channel.shape}")
    fixed = jax.lax.stop_gradient(channel)
    row_entropy = jnp.sum(fixed * safe_log(fixed), axis=-1)

    def divergence(log_input: jax.Array) -> jax.Array:
        output = jnp.sum(jnp.exp(log_input)[..., None] * fixed, axis=-2, keepdims=True)
        return row_entropy - jnp.sum(fixed * safe_log(output), axis=-1)

    def gap(log_input: jax.Array, rows: jax.Array) -> jax.Array:
        return jnp.max(rows, axis=-1) - jnp.sum(jnp.exp(log_input) * rows, axis=-1)

    def unfinished(carry: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        log_input, rows, step = carry
        return (step < max_iterations) & jnp.any(gap(log_input, rows) > tolerance)

    def improve(carry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        log_input, rows, step = carry
        log_input = jax.nn.log_softmax(log_input + rows, axis=-1)
        return log_input, divergence(log_input), step + 1

    inputs = channel.shape[-2]
    log_input = jnp.full(channel.shape[:-1], -math.log(inputs), channel.dtype)
    log_input, _, _ = jax.lax.while_loop(unfinished, improve, (log_input, divergence(log_input), jnp.asarray(0)))
    best = jax.lax.stop_gradient(jnp.exp(log_input))
    return mutual_information(best[..., None] * channel).astype(dtype)
