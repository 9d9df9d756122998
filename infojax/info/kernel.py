"""Information from Gram matrices and spectra: no densities, only similarities between samples.

The kernel is the Gaussian exp(−d²/2s²) with the bandwidth s. Samples are on the last axis but one. Masked samples
have zero rows and columns in a Gram matrix; whatever is computed of it is then that of the samples kept.
"""

import math
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from infojax.info import categorical
from infojax.info._numerics import check_samples, keep, masked_mean, product, promote, safe_log, transposed

Form: TypeAlias = Literal["exact", "l12"]

# Up to this dimension squares of differences are added one coordinate at a time: exact also far from the origin.
DIRECT_DIMENSIONS = 8
# Powers up to this one are matrix products; beyond it eigenvalues are cheaper.
LARGEST_POWER = 64


def _check_gram(name: str, gram: jax.Array) -> None:
    if gram.ndim < 2 or gram.shape[-1] != gram.shape[-2]:
        raise ValueError(f"{name} must be square matrices (…, n, n), got {gram.shape}; `gram(x)` makes them")


def _check_same_samples(gram_x: jax.Array, gram_y: jax.Array) -> None:
    _check_gram("gram_x", gram_x)
    _check_gram("gram_y", gram_y)
    if gram_x.shape[-1] != gram_y.shape[-1]:
        raise ValueError(
            f"gram_x and gram_y must be of the same samples, got {gram_x.shape[-1]} and {gram_y.shape[-1]} of them"
        )


def _check_bandwidth(bandwidth: ArrayLike) -> None:
    if isinstance(bandwidth, int | float) and not bandwidth > 0:
        raise ValueError(f"bandwidth must be above 0, got {bandwidth!r}; the median distance is a usual choice")


def _mask(where: jax.Array | None, shape: tuple[int, ...]) -> jax.Array:
    return jnp.ones(shape, bool) if where is None else jnp.broadcast_to(where, shape)


def _pairs(rows: jax.Array, columns: jax.Array) -> jax.Array:
    return rows[..., :, None] & columns[..., None, :]


def _batched_together(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both with the same batch axes, which strict rank promotion wants spelt out."""
    lead = jnp.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    return jnp.broadcast_to(x, lead + x.shape[-2:]), jnp.broadcast_to(y, lead + y.shape[-2:])


def _squared_distances(x: jax.Array, y: jax.Array, scale: jax.Array, x_where: jax.Array, same: bool) -> jax.Array:
    """(…, n, m) of (…, n, d) and (…, m, d), in units of the scale.

    The scale divides differences: dividing the samples would round away what is small beside a common offset.
    """
    if x.shape[-1] <= DIRECT_DIMENSIONS:
        total = jnp.zeros((*x.shape[:-1], y.shape[-2]), x.dtype)
        for i in range(x.shape[-1]):
            total = total + ((x[..., :, None, i] - y[..., None, :, i]) / scale) ** 2
        return total
    centre = masked_mean(x, x_where[..., None], axis=-2, keepdims=True)
    x, y = (x - centre) / scale, (y - centre) / scale
    norms = jnp.sum(x * x, axis=-1)[..., :, None] + jnp.sum(y * y, axis=-1)[..., None, :]
    square = jnp.maximum(norms - 2 * product(x, transposed(y)), 0)
    return jnp.where(jnp.eye(x.shape[-2], dtype=bool), 0, square) if same else square


def _exponents(
    x: jax.Array,
    y: jax.Array | None,
    bandwidth: ArrayLike,
    where: jax.Array | None,
    y_where: jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
    """−d²/2s² of all pairs, and which pairs count."""
    _check_bandwidth(bandwidth)
    check_samples("x", x)
    same = y is None
    if y is None:
        y, y_where = x, where
    check_samples("y", y)
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(f"x and y must have the same number of dimensions, got {x.shape[-1]} and {y.shape[-1]}")
    x, y = _batched_together(x, y)
    kept, y_kept = _mask(where, x.shape[:-1]), _mask(y_where, y.shape[:-1])
    # Masked samples may hold anything, also NaN: they leave before any arithmetic.
    x, y = jnp.where(kept[..., None], x, 0), jnp.where(y_kept[..., None], y, 0)
    scale = jnp.asarray(bandwidth, x.dtype)
    if scale.ndim:
        scale = jnp.broadcast_to(scale, x.shape[:-2])[..., None, None]
    pairs = _pairs(kept, y_kept)
    return jnp.where(pairs, -0.5 * _squared_distances(x, y, scale, kept, same), 0), pairs


def gram(
    x: ArrayLike,
    y: ArrayLike | None = None,
    bandwidth: ArrayLike = 1.0,
    where: jax.Array | None = None,
    y_where: jax.Array | None = None,
) -> jax.Array:
    r"""Gram matrix of the Gaussian kernel.

    $$K_{ij} = \exp\left(-\frac{\|x_i - y_j\|^2}{2 s^2}\right)$$

    Args:
        x: (…, n, d) samples.
        y: (…, m, d) samples; None takes x.
        bandwidth: s > 0, a scalar or of the shape (…) of the batch.
        where: mask that broadcasts to (…, n); masked samples have rows of zeros (and columns, if y is None).
        y_where: mask that broadcasts to (…, m), for y.

    Returns:
        (…, n, m), between 0 and 1.

    Raises:
        ValueError: no axes of samples and dimensions, different dimensions, or a bandwidth that is not above 0.

    Example:
        >>> import jax.numpy as jnp
        >>> bool(jnp.allclose(gram(jnp.array([[0.0], [2.0]]))[0, 1], jnp.exp(-2.0)))
        True

    Source: Schölkopf and Smola (2002), "Learning with kernels", eq. 2.68.
    """
    arrays, dtype = promote(x) if y is None else promote(x, y)
    exponent, pairs = _exponents(arrays[0], None if y is None else arrays[1], bandwidth, where, y_where)
    return jnp.where(pairs, jnp.exp(exponent), 0).astype(dtype)


def _trace(matrix: jax.Array) -> jax.Array:
    """(…, 1, 1) traces, of the diagonal alone: `jnp.trace` masks and sums the whole matrix."""
    return jnp.sum(jnp.diagonal(matrix, axis1=-2, axis2=-1), axis=-1)[..., None, None]


def _unit_trace(matrix: jax.Array) -> jax.Array:
    """A / tr A; what has no trace stays 0."""
    trace = _trace(matrix)
    alive = trace > 0
    return jnp.where(alive, matrix / jnp.where(alive, trace, 1), 0)


def _log_spectrum(values: jax.Array) -> jax.Array:
    """log of the values of a spectrum, −inf for what is only rounding beside the largest.

    The error of a symmetric solver is about √n eps of the largest value (measured: at most half of that up to
    n = 1000). Taking n eps instead would cost small values that are real.
    """
    top = jnp.max(values, axis=-1, keepdims=True, initial=0)
    floor = jax.lax.stop_gradient(top) * (4 * math.sqrt(values.shape[-1]) * jnp.finfo(values.dtype).eps)
    return jnp.where(values > floor, safe_log(jnp.where(values > floor, values, 1)), -jnp.inf)


def _log_eigenvalues(matrix: jax.Array) -> jax.Array:
    if not matrix.shape[-1]:
        return jnp.zeros(matrix.shape[:-1], matrix.dtype)
    return _log_spectrum(jnp.linalg.eigvalsh(matrix))


def _log_singular_values(matrix: jax.Array) -> jax.Array:
    if 0 in matrix.shape[-2:]:
        return jnp.zeros((*matrix.shape[:-2], 0), matrix.dtype)
    return _log_spectrum(jnp.linalg.svd(matrix, compute_uv=False))


def _to_unit_size(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The matrix over its Frobenius norm, and the log of that norm, a constant for gradients."""
    norm = jax.lax.stop_gradient(jnp.sqrt(jnp.sum(matrix * matrix, axis=(-2, -1))))
    norm = jnp.where(norm > 0, norm, 1)
    return matrix / norm[..., None, None], jnp.log(norm)


def _log_trace_power(matrix: jax.Array, power: int) -> jax.Array:
    """log tr A^power of symmetric matrices, by repeated squaring; rescaled all along, so that nothing underflows."""
    square, log_square = _to_unit_size(matrix)
    first, log_first = square, log_square
    half = power // 2
    result, log_result = None, jnp.zeros_like(log_square)
    while half:
        if half % 2:
            multiplied = square if result is None else product(result, square)
            result, log_size = _to_unit_size(multiplied)
            log_result = log_result + log_square + log_size
        half //= 2
        if half:
            square, log_size = _to_unit_size(product(square, square))
            log_square = 2 * log_square + log_size
    assert result is not None
    other, log_other = (product(result, first), log_result + log_first) if power % 2 else (result, log_result)
    trace = jnp.sum(result * other, axis=(-2, -1))
    # No trace is left only of a matrix of zeros, whose entropy is to be 0.
    return jnp.where(trace > 0, safe_log(trace) + log_result + log_other, 0)


def _static(alpha: ArrayLike) -> float | None:
    """The order as a number, None where it is only known at run time."""
    if isinstance(alpha, jax.Array):
        return None
    value = float(alpha)  # type: ignore[arg-type]
    if not value >= 0:
        raise ValueError(f"alpha must be at least 0, got {alpha!r}; 1 is von Neumann's entropy, inf the min-entropy")
    return value


def _collision_entropy(matrix: jax.Array) -> jax.Array:
    """−log tr A² = 2 log tr K − log ‖K‖²_F, in one pass over K; scaled first, so that squares stay in range."""
    trace = _trace(matrix)
    alive = trace > 0
    # A constant for gradients: it cancels. Its own floor is for traces near the end of the range.
    scale = jnp.maximum(1 / jnp.where(alive, trace, 1), jnp.finfo(matrix.dtype).tiny)
    scale = jax.lax.stop_gradient(jnp.where(alive, scale, 0))
    scaled = matrix * scale
    square = jnp.sum(scaled * scaled, axis=(-2, -1))
    return jnp.where(square > 0, 2 * safe_log((trace * scale)[..., 0, 0]) - safe_log(square), 0)


def _renyi(matrix: jax.Array, alpha: ArrayLike) -> jax.Array:
    """Of matrices of any trace."""
    order = _static(alpha)
    if order == 2:
        return _collision_entropy(matrix)
    matrix = _unit_trace(matrix)
    if order is not None and 2 < order <= LARGEST_POWER and order == int(order):
        return _log_trace_power(matrix, int(order)) / (1 - order)
    return categorical.renyi_entropy(_log_eigenvalues(matrix), alpha)


def _masked_gram(gram_matrix: jax.Array, where: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    kept = _mask(where, gram_matrix.shape[:-1])
    return gram_matrix if where is None else jnp.where(_pairs(kept, kept), gram_matrix, 0), kept


def matrix_renyi_entropy(gram: ArrayLike, alpha: ArrayLike, where: jax.Array | None = None) -> jax.Array:
    r"""Matrix-based Rényi entropy of order alpha.

    $$S_\alpha(A) = \frac{1}{1-\alpha}\log \operatorname{tr} A^\alpha
    = \frac{1}{1-\alpha}\log\sum_i \lambda_i(A)^\alpha, \qquad A = K / \operatorname{tr} K$$

    Order 2 is −log ‖A‖²_F and needs no eigenvalues, other whole numbers known when tracing take matrix products, all
    else `eigvalsh`, where eigenvalues that are only rounding beside the largest count as zero. Order 1 is von
    Neumann's entropy, 0 the log of the rank, inf −log of the largest eigenvalue; near 1 nothing cancels.

    Args:
        gram: (…, n, n) symmetric positive semidefinite K, of any trace.
        alpha: order of at least 0; a Python number chooses the fastest path, a traced scalar takes eigenvalues.
        where: mask that broadcasts to (…, n). No sample left gives 0.

    Returns:
        (…) in nats, between 0 and log n.

    Raises:
        ValueError: matrices that are not square, or an alpha, known when tracing, below 0.

    Example:
        >>> import jax.numpy as jnp
        >>> bool(jnp.allclose(matrix_renyi_entropy(jnp.eye(4), 2), jnp.log(4.0)))
        True

    Source: Sánchez Giraldo, Rao and Príncipe (2015), "Measures of entropy from data using infinitely divisible
    kernels", eq. 12.
    """
    (matrix,), dtype = promote(gram)
    _check_gram("gram", matrix)
    matrix, _ = _masked_gram(matrix, where)
    return _renyi(matrix, alpha).astype(dtype)


def matrix_mutual_information(
    gram_x: ArrayLike,
    gram_y: ArrayLike,
    alpha: ArrayLike,
    where: jax.Array | None = None,
    clip: bool = False,
) -> jax.Array:
    r"""Matrix-based Rényi mutual information.

    $$I_\alpha = S_\alpha(A) + S_\alpha(B) - S_\alpha\left(\frac{A \circ B}{\operatorname{tr}(A \circ B)}\right)$$

    A and B are the Gram matrices over their trace, ∘ multiplies entry by entry.

    Args:
        gram_x: (…, n, n) Gram matrix of x.
        gram_y: (…, n, n) Gram matrix of y, of the same samples.
        alpha: order, as in `matrix_renyi_entropy`.
        where: mask that broadcasts to (…, n). No sample left gives 0.
        clip: True replaces a negative value by 0.

    Returns:
        (…) in nats.

    Raises:
        ValueError: matrices that are not square or not of equal size, or an alpha below 0.

    Example:
        >>> import jax.numpy as jnp
        >>> bool(jnp.allclose(matrix_mutual_information(jnp.eye(4), jnp.eye(4), 2), jnp.log(4.0)))
        True

    Source: Yu, Sánchez Giraldo, Jenssen and Príncipe (2019), "Multivariate extension of matrix-based Rényi's α-order
    entropy functional", definitions 2 and 3.
    """
    (a, b), dtype = promote(gram_x, gram_y)
    _check_same_samples(a, b)
    a, b = _batched_together(a, b)
    a, b = _unit_trace(_masked_gram(a, where)[0]), _unit_trace(_masked_gram(b, where)[0])
    value = _renyi(a, alpha) + _renyi(b, alpha) - _renyi(a * b, alpha)
    return (jnp.maximum(value, 0) if clip else value).astype(dtype)


def _unit_rows(features: jax.Array) -> jax.Array:
    """Rows of length 1; a row of zeros stays one, with zero gradient."""
    size = jax.lax.stop_gradient(jnp.max(jnp.abs(features), axis=-1, keepdims=True, initial=0))
    scaled = features / jnp.where(size > 0, size, 1)
    square = jnp.sum(scaled * scaled, axis=-1, keepdims=True)
    return jnp.where(square > 0, scaled * jax.lax.rsqrt(jnp.where(square > 0, square, 1)), 0)


def _features(features: ArrayLike, where: jax.Array | None) -> tuple[jax.Array, jax.Array, jnp.dtype]:
    """Features with masked rows at zero, the mask of rows, and the dtype of the result."""
    (values,), dtype = promote(features)
    check_samples("features", values)
    kept = _mask(where, values.shape[:-1])
    return jnp.where(kept[..., None], values, 0), kept, dtype


def von_neumann_entropy(features: ArrayLike, where: jax.Array | None = None) -> jax.Array:
    r"""Von Neumann entropy of the autocorrelation of features with rows of length 1.

    $$S = -\sum_i \lambda_i \log \lambda_i, \qquad \lambda = \operatorname{eig}\left(\frac{Z^\top Z}{n}\right), \quad
    Z_i = \frac{z_i}{\|z_i\|}$$

    The same eigenvalues come from ZZᵀ/n, so the smaller of the two matrices is taken.

    Args:
        features: (…, n, d), not centred. A row of zeros has no direction and counts as masked.
        where: mask that broadcasts to (…, n). No row left gives 0.

    Returns:
        (…) in nats, between 0 and log min(n, d).

    Raises:
        ValueError: no axes of samples and dimensions.

    Example:
        >>> import jax.numpy as jnp
        >>> bool(jnp.allclose(von_neumann_entropy(3.0 * jnp.eye(4)), jnp.log(4.0)))
        True

    Source: Kim, Kang, Hwang, Shin and Rhee (2023), "VNE: An effective method for improving deep representation by
    manipulating eigenvalue distribution", eq. 2.
    """
    values, _, dtype = _features(features, where)
    rows = _unit_rows(values)
    left, right = (transposed(rows), rows) if rows.shape[-1] <= rows.shape[-2] else (rows, transposed(rows))
    return categorical.entropy(_log_eigenvalues(_unit_trace(product(left, right)))).astype(dtype)


def effective_rank(features: ArrayLike, where: jax.Array | None = None) -> jax.Array:
    r"""Effective rank: the exponential of the entropy of normalised singular values.

    $$\operatorname{erank}(Z) = \exp\left(-\sum_i p_i \log p_i\right), \qquad p_i = \frac{\sigma_i}{\sum_j \sigma_j}$$

    Args:
        features: (…, n, d), taken as it is: not centred, not normalised.
        where: mask that broadcasts to (…, n).

    Returns:
        (…) between 1 and min(n, d), and 0 for a matrix of zeros or with no row left; a number of dimensions, not nats.

    Raises:
        ValueError: no axes of samples and dimensions.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(effective_rank(jnp.eye(4)[:, :3])), 4)
        3.0

    Source: Roy and Vetterli (2007), "The effective rank: a measure of effective dimensionality", eq. 1 to 3.
    """
    values, _, dtype = _features(features, where)
    # A scale of its own keeps the singular values of huge or tiny features in range.
    size = jax.lax.stop_gradient(jnp.max(jnp.abs(values), axis=(-2, -1), keepdims=True, initial=0))
    logarithms = _log_singular_values(values / jnp.where(size > 0, size, 1))
    rank = jnp.exp(categorical.entropy(logarithms))
    return jnp.where(size[..., 0, 0] > 0, rank, 0).astype(dtype)


def _column_norms(values: jax.Array, count: jax.Array) -> jax.Array:
    """The sum of the largest min(n, d) norms of columns."""
    square = jnp.sum(values * values, axis=-2)
    norms = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
    largest = jax.lax.top_k(norms, min(values.shape[-2:]))[0]
    place = jax.lax.broadcasted_iota(count.dtype, largest.shape, largest.ndim - 1)
    return jnp.sum(jnp.where(place < count, largest, 0), axis=-1)


def _centred_rows(values: jax.Array, kept: jax.Array) -> jax.Array:
    """Rows less their mean, exactly zero where all that is left of one is rounding: scaled up, it would be a row."""
    rows = kept[..., None]
    lowest = jnp.min(jnp.where(rows, values, jnp.inf), axis=-2, keepdims=True)
    highest = jnp.max(jnp.where(rows, values, -jnp.inf), axis=-2, keepdims=True)
    # A common offset drops out of the mean; taking the middle off first leaves equal samples exactly 0.
    middle = jax.lax.stop_gradient(jnp.where(lowest <= highest, lowest / 2 + highest / 2, 0))
    values = keep(values - middle, rows)
    centred = keep(values - masked_mean(values, rows, axis=-2, keepdims=True), rows)
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(values), axis=(-2, -1), keepdims=True))
    alive = jnp.max(jnp.abs(centred), axis=-1, keepdims=True) > 8 * jnp.finfo(values.dtype).eps * largest
    return jnp.where(alive, centred, 0)


def matrix_nuclear_norm(
    features: ArrayLike, form: Form = "exact", normalize: bool = False, where: jax.Array | None = None
) -> jax.Array:
    r"""Nuclear norm of a matrix of features (or of predictions), exact or without singular values.

    $$\text{exact:}\quad \|Z\|_* = \sum_i \sigma_i(Z) \qquad
    \text{l12:}\quad \sum_{j \in \text{largest } \min(n, d)} \sqrt{\sum_i Z_{ij}^2}$$

    `l12` is the approximation of the matrix nuclear norm, of cost nd. With d ≤ n it is never below the exact value,
    and equal to it where the columns are orthogonal.

    Args:
        features: (…, n, d).
        form: "exact" or "l12".
        normalize: True centres the samples and scales rows to length 1 before, as the authors do for hidden states;
            they divide the result by n.
        where: mask that broadcasts to (…, n). No row left gives 0.

    Returns:
        (…) in the units of the features.

    Raises:
        ValueError: unknown form, or no axes of samples and dimensions.

    Example:
        >>> import jax.numpy as jnp
        >>> z = jnp.array([[3.0, 0.0], [0.0, 4.0]])
        >>> float(matrix_nuclear_norm(z)), float(matrix_nuclear_norm(z, "l12"))
        (7.0, 7.0)

    Source: Li, Xia, Chang and Wu (2024), "Large language model evaluation via matrix nuclear-norm"; used on
    predictions by Cui et al. (2020), "Towards discriminability and diversity", eq. 7.
    """
    if form not in ("exact", "l12"):
        raise ValueError(f"form must be 'exact' or 'l12', got {form!r}")
    values, kept, dtype = _features(features, where)
    if 0 in values.shape[-2:]:
        return jnp.zeros(values.shape[:-2], dtype)
    if normalize:
        values = _unit_rows(_centred_rows(values, kept))
    if form == "l12":
        return _column_norms(values, jnp.sum(kept, axis=-1, keepdims=True)).astype(dtype)
    return jnp.sum(jnp.linalg.svd(values, compute_uv=False), axis=-1).astype(dtype)


def _centred(matrix: jax.Array, kept: jax.Array) -> jax.Array:
    """HKH over the samples kept, the mean of all taken off first so that little cancels."""
    pairs = _pairs(kept, kept)
    matrix = keep(matrix - masked_mean(matrix, pairs, axis=(-2, -1), keepdims=True), pairs)
    matrix = keep(matrix - masked_mean(matrix, pairs, axis=-1, keepdims=True), pairs)
    return keep(matrix - masked_mean(matrix, pairs, axis=-2, keepdims=True), pairs)


def _u_centred(matrix: jax.Array, kept: jax.Array, count: jax.Array) -> jax.Array:
    """Centred so that each row sums to 0 without its diagonal, which is 0: its products are unbiased."""
    pairs = _pairs(kept, kept) & ~jnp.broadcast_to(jnp.eye(matrix.shape[-1], dtype=bool), matrix.shape)
    # A constant on all pairs drops out; taking the mean off first spares the digits of what is left.
    matrix = keep(matrix - masked_mean(matrix, pairs, axis=(-2, -1), keepdims=True), pairs)
    rows, columns = jnp.sum(matrix, axis=-1, keepdims=True), jnp.sum(matrix, axis=-2, keepdims=True)
    total = jnp.sum(rows, axis=-2, keepdims=True)
    less_one, less_two = jnp.maximum(count - 1, 1)[..., None, None], jnp.maximum(count - 2, 1)[..., None, None]
    return keep(matrix - (rows + columns) / less_two + total / (less_one * less_two), pairs)


def _two_grams(
    gram_x: ArrayLike, gram_y: ArrayLike, where: jax.Array | None
) -> tuple[jax.Array, jax.Array, jax.Array, jnp.dtype]:
    (a, b), dtype = promote(gram_x, gram_y)
    _check_same_samples(a, b)
    a, b = _batched_together(a, b)
    return _masked_gram(a, where)[0], *_masked_gram(b, where), dtype


def hsic(
    gram_x: ArrayLike,
    gram_y: ArrayLike,
    unbiased: bool = False,
    where: jax.Array | None = None,
    clip: bool = False,
) -> jax.Array:
    r"""Hilbert–Schmidt independence criterion.

    $$\text{biased:}\quad \frac{\operatorname{tr}(KHLH)}{(n-1)^2}, \quad H = I - \tfrac1n 11^\top \qquad
    \text{unbiased:}\quad \frac{1}{n(n-3)}\left[\operatorname{tr}(\tilde K\tilde L)
    + \frac{1^\top\tilde K 1\, 1^\top\tilde L 1}{(n-1)(n-2)} - \frac{2\, 1^\top\tilde K\tilde L 1}{n-2}\right]$$

    K̃ and L̃ have zeros on the diagonal. Some authors divide the biased form by n² instead of (n − 1)².

    Args:
        gram_x: (…, n, n) Gram matrix of x.
        gram_y: (…, n, n) Gram matrix of y, of the same samples.
        unbiased: False for the biased form, which is never negative.
        where: mask that broadcasts to (…, n). Fewer than 2 samples left (4 if unbiased) give 0.
        clip: True replaces a negative value by 0.

    Returns:
        (…) without unit.

    Raises:
        ValueError: matrices that are not square or not of equal size.

    Example:
        >>> import jax.numpy as jnp
        >>> float(hsic(jnp.eye(2), jnp.eye(2)))
        1.0

    Source: Gretton et al. (2005), "Measuring statistical dependence with Hilbert–Schmidt norms", definition 2 (biased);
    Song et al. (2012), "Feature selection via dependence maximization", eq. 4 (unbiased).
    """
    a, b, kept, dtype = _two_grams(gram_x, gram_y, where)
    count = jnp.sum(kept, axis=-1).astype(a.dtype)
    if unbiased:
        terms = _u_centred(a, kept, count) * _u_centred(b, kept, count)
        pairs, least = count * (count - 3), 4
    else:
        terms = _centred(a, kept) * _centred(b, kept)
        pairs, least = (count - 1) ** 2, 2
    enough = count >= least
    value = jnp.where(enough, jnp.sum(terms, axis=(-2, -1)) / jnp.where(enough, pairs, 1), 0)
    return (jnp.maximum(value, 0) if clip else value).astype(dtype)


def cka(gram_x: ArrayLike, gram_y: ArrayLike, where: jax.Array | None = None) -> jax.Array:
    r"""Centred kernel alignment, the biased HSIC as a cosine.

    $$\operatorname{CKA} = \frac{\operatorname{HSIC}(K, L)}{\sqrt{\operatorname{HSIC}(K, K)\operatorname{HSIC}(L, L)}}$$

    Args:
        gram_x: (…, n, n) Gram matrix of x, of the Gaussian or any other kernel (`x @ x.T` gives linear CKA).
        gram_y: (…, n, n) Gram matrix of y, of the same samples.
        where: mask that broadcasts to (…, n).

    Returns:
        (…) between 0 and 1; 0 where a Gram matrix is constant, as with no sample left.

    Raises:
        ValueError: matrices that are not square or not of equal size.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.array([[0.0], [1.0], [3.0]])
        >>> round(float(cka(gram(x), gram(-x))), 5)
        1.0

    Source: Kornblith et al. (2019), "Similarity of neural network representations revisited", eq. 4.
    """
    a, b, kept, dtype = _two_grams(gram_x, gram_y, where)

    def direction(matrix: jax.Array) -> jax.Array:
        centred = _centred(matrix, kept)
        largest = jnp.max(jnp.abs(matrix), axis=(-2, -1), keepdims=True, initial=0)
        rest = jnp.max(jnp.abs(centred), axis=(-2, -1), keepdims=True, initial=0)
        # What centring leaves of a constant matrix is rounding, and has no direction.
        alive = rest > 8 * jnp.finfo(matrix.dtype).eps * largest
        scaled = jnp.where(alive, centred / jax.lax.stop_gradient(jnp.where(alive, rest, 1)), 0)
        square = jnp.sum(scaled * scaled, axis=(-2, -1), keepdims=True)
        return scaled * jax.lax.rsqrt(jnp.where(alive, square, 1))

    return jnp.sum(direction(a) * direction(b), axis=(-2, -1)).astype(dtype)


def _three_exponents(
    x: ArrayLike, y: ArrayLike, bandwidth: ArrayLike, where: jax.Array | None, y_where: jax.Array | None
) -> tuple[list[tuple[jax.Array, jax.Array]], jnp.dtype]:
    """Exponents and pairs within x, within y and across."""
    (p, q), dtype = promote(x, y)
    check_samples("x", p)
    check_samples("y", q)
    p, q = _batched_together(p, q)
    within_x = _exponents(p, None, bandwidth, where, None)
    within_y = _exponents(q, None, bandwidth, y_where, None)
    return [within_x, within_y, _exponents(p, q, bandwidth, where, y_where)], dtype


def mmd(
    x: ArrayLike,
    y: ArrayLike,
    bandwidth: ArrayLike = 1.0,
    where: jax.Array | None = None,
    y_where: jax.Array | None = None,
) -> jax.Array:
    r"""Squared maximum mean discrepancy, as a V-statistic.

    $$\frac{1}{n^2}\sum_{ij} k(x_i, x_j) + \frac{1}{m^2}\sum_{ij} k(y_i, y_j) - \frac{2}{nm}\sum_{ij} k(x_i, y_j)$$

    Args:
        x: (…, n, d) samples of p.
        y: (…, m, d) samples of q.
        bandwidth: s > 0, a scalar or of the shape (…) of the batch.
        where: mask that broadcasts to (…, n).
        y_where: mask that broadcasts to (…, m). No sample left of x or of y gives 0.

    Returns:
        (…) between 0 and 2, squared: take the root for the distance. Pairs of a sample with itself count.

    Raises:
        ValueError: as `gram`.

    Example:
        >>> import jax.numpy as jnp
        >>> float(mmd(jnp.zeros((3, 1)), jnp.full((2, 1), 100.0)))
        2.0

    Source: Gretton et al. (2012), "A kernel two-sample test", eq. 5.
    """
    exponents, dtype = _three_exponents(x, y, bandwidth, where, y_where)
    # expm1 instead of exp: the ones cancel exactly, and close samples or wide kernels keep their digits.
    means = [masked_mean(jnp.expm1(exponent), pairs, axis=(-2, -1)) for exponent, pairs in exponents]
    some = jnp.any(exponents[2][1], axis=(-2, -1))
    return jnp.where(some, means[0] + means[1] - 2 * means[2], 0).astype(dtype)


def _log_mean_exp(exponent: jax.Array, pairs: jax.Array) -> jax.Array:
    """log of the mean over pairs of e^exponent; 0 where there are none."""
    count = jnp.maximum(jnp.sum(pairs, axis=(-2, -1)).astype(exponent.dtype), 1)
    exponent = jnp.where(pairs, exponent, -jnp.inf)
    top = jax.lax.stop_gradient(jnp.max(exponent, axis=(-2, -1), keepdims=True, initial=-jnp.inf))
    top = jnp.where(jnp.isfinite(top), top, 0)
    total = jnp.sum(jnp.exp(exponent - top), axis=(-2, -1))
    return top[..., 0, 0] + safe_log(total) - jnp.log(count)


def cauchy_schwarz_divergence(
    x: ArrayLike,
    y: ArrayLike,
    bandwidth: ArrayLike = 1.0,
    where: jax.Array | None = None,
    y_where: jax.Array | None = None,
) -> jax.Array:
    r"""Cauchy–Schwarz divergence between the kernel density estimates of two sets of samples.

    $$D = -\log \frac{\langle p, q\rangle^2}{\langle p, p\rangle \langle q, q\rangle}, \qquad
    \langle p, q\rangle = \frac{1}{nm}\sum_{ij} k(x_i, y_j)$$

    Computed in log space: finite, with a gradient that pulls, also where the samples are so far apart that every
    k(x, y) underflows. The kernel k of the inner products is that of densities smoothed with s/√2.

    Args:
        x: (…, n, d) samples of p.
        y: (…, m, d) samples of q.
        bandwidth: s > 0, a scalar or of the shape (…) of the batch.
        where: mask that broadcasts to (…, n).
        y_where: mask that broadcasts to (…, m). No sample left of x or of y gives 0.

    Returns:
        (…) in nats, never negative but for rounding.

    Raises:
        ValueError: as `gram`.

    Example:
        >>> import jax.numpy as jnp
        >>> float(cauchy_schwarz_divergence(jnp.zeros((3, 1)), jnp.full((2, 1), 100.0)))
        10000.0

    Source: Príncipe (2010), "Information theoretic learning", eq. 2.58; Jenssen et al. (2006).
    """
    exponents, dtype = _three_exponents(x, y, bandwidth, where, y_where)
    within_x, within_y, across = (_log_mean_exp(*pair) for pair in exponents)
    some = jnp.any(exponents[2][1], axis=(-2, -1))
    return jnp.where(some, within_x + within_y - 2 * across, 0).astype(dtype)


def _check_time(t: ArrayLike) -> None:
    if isinstance(t, int | float) and not t > 0:
        raise ValueError(f"t must be above 0, got {t!r}; 1 is one step of diffusion")


def _diffusion_entropy(kernel: jax.Array, t: ArrayLike) -> jax.Array:
    degree = jnp.sum(kernel, axis=-1)
    scale = jnp.where(degree > 0, jax.lax.rsqrt(jnp.where(degree > 0, degree, 1)), 0)
    matrix = kernel * scale[..., :, None] * scale[..., None, :]
    if not matrix.shape[-1]:
        return jnp.zeros(matrix.shape[:-2], matrix.dtype)
    logarithms = _log_spectrum(jnp.abs(jnp.linalg.eigvalsh(matrix)))
    alive = logarithms > -jnp.inf
    powers = jnp.where(alive, jnp.asarray(t, matrix.dtype) * jnp.where(alive, logarithms, 0), -jnp.inf)
    return categorical.entropy(powers)


def diffusion_spectral_entropy(
    x: ArrayLike, bandwidth: ArrayLike, t: ArrayLike = 1, where: jax.Array | None = None
) -> jax.Array:
    r"""Diffusion spectral entropy of samples.

    $$S = -\sum_i \alpha_i \log \alpha_i, \quad \alpha_i = \frac{|\lambda_i|^t}{\sum_j |\lambda_j|^t}, \quad
    \lambda = \operatorname{eig}\left(\frac{G_{ij}}{\sqrt{q_i q_j}}\right), \quad q_i = \sum_j G_{ij}$$

    G is `gram(x)`. Eigenvalues that are only rounding beside the largest count as zero.

    Args:
        x: (…, n, d) samples.
        bandwidth: s > 0, a scalar or of the shape (…) of the batch; the authors take 10.
        t: steps of diffusion, a scalar above 0; more of them damp noise.
        where: mask that broadcasts to (…, n). No sample left gives 0.

    Returns:
        (…) in nats (the authors use bits), between 0 and log n.

    Raises:
        ValueError: as `gram`, or a t, known when tracing, that is not above 0.

    Example:
        >>> import jax.numpy as jnp
        >>> apart = 100.0 * jnp.arange(4.0)[:, None]
        >>> bool(jnp.allclose(diffusion_spectral_entropy(apart, 1.0), jnp.log(4.0)))
        True

    Source: Liao et al. (2023), "Assessing neural network representations during training using noise-resilient
    diffusion spectral entropy", eq. 1 to 4.
    """
    _check_time(t)
    (values,), dtype = promote(x)
    return _diffusion_entropy(gram(values, None, bandwidth, where), t).astype(dtype)


def diffusion_spectral_mutual_information(
    x: ArrayLike,
    labels: ArrayLike,
    num_classes: int,
    bandwidth: ArrayLike,
    t: ArrayLike = 1,
    where: jax.Array | None = None,
    clip: bool = False,
) -> jax.Array:
    r"""Diffusion spectral mutual information between samples and their labels.

    $$I(Z; Y) = S(Z) - \sum_c \frac{n_c}{n} S(Z \mid Y = c)$$

    S(Z) is of the full sample, not of subsamples as large as the classes. One class is computed at a time, as a mask
    on the same Gram matrix, so memory stays at n².

    Args:
        x: (…, n, d) samples.
        labels: (…, n) integers from 0 to num_classes − 1; a sample with any other label counts as masked.
        num_classes: static number of classes.
        bandwidth: s > 0, a scalar or of the shape (…) of the batch.
        t: steps of diffusion, a scalar above 0.
        where: mask that broadcasts to (…, n). No sample left gives 0.
        clip: True replaces a negative value by 0.

    Returns:
        (…) in nats.

    Raises:
        ValueError: as `diffusion_spectral_entropy`, labels that are not integers or not one per sample, or
            num_classes below 1.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.array([[0.0], [0.0], [100.0], [100.0]])
        >>> value = diffusion_spectral_mutual_information(x, jnp.array([0, 0, 1, 1]), 2, 1.0)
        >>> bool(jnp.allclose(value, jnp.log(2.0)))
        True

    Source: Liao et al. (2023), eq. 6.
    """
    _check_time(t)
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {num_classes}")
    (values,), dtype = promote(x)
    symbols = jnp.asarray(labels)
    if not jnp.issubdtype(symbols.dtype, jnp.integer):
        raise ValueError(f"labels must be integers, got {symbols.dtype}; convert them with `astype(int)`")
    check_samples("x", values)
    if symbols.ndim < 1 or symbols.shape[-1] != values.shape[-2]:
        raise ValueError(f"labels must be one per sample, (…, {values.shape[-2]}), got {symbols.shape}")
    lead = jnp.broadcast_shapes(values.shape[:-2], symbols.shape[:-1])
    values = jnp.broadcast_to(values, lead + values.shape[-2:])
    symbols = jnp.broadcast_to(symbols, values.shape[:-1])
    kept = _mask(where, symbols.shape) & (symbols >= 0) & (symbols < num_classes)
    kernel = gram(values, None, bandwidth, kept)

    def one(label: jax.Array) -> tuple[jax.Array, jax.Array]:
        members = kept & (symbols == label)
        share = masked_mean(members.astype(values.dtype), kept)
        return share, _diffusion_entropy(jnp.where(_pairs(members, members), kernel, 0), t)

    share, entropy = jax.lax.map(one, jnp.arange(num_classes, dtype=symbols.dtype))
    value = _diffusion_entropy(kernel, t) - jnp.sum(share * entropy, axis=0)
    return (jnp.maximum(value, 0) if clip else value).astype(dtype)
