"""Information quantities of samples by nearest neighbours: exact, in blocks, never an n × n array.

Shapes: samples (…, n, d), any number of leading batch axes. Distances are Euclidean ("l2") or maximum norm ("linf").
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
from jax.scipy.special import digamma, gammaln

from infojax.info._numerics import Reduction, check_samples, masked_mean, product, promote, reduce

Norm: TypeAlias = Literal["l2", "linf"]
Selection: TypeAlias = Callable[[jax.Array, int], tuple[jax.Array, jax.Array]]

# The k nearest columns lie in the k groups whose minima are smallest, so the selection sees one value per group first.
GROUP = 16
# Up to so many neighbours are selected by insertion on CPU, where `top_k` takes one row after the other.
MOST_INSERTED = 32
# A matrix product finds the candidates where there are more dimensions than this; it cancels where there are few.
DIRECT_DIMENSIONS = 8
# Up to so many dimensions the product adds |p|² itself, as one more of them: cheaper than a pass over the result.
AUGMENTED_DIMENSIONS = 64
# Candidates beyond k, so that rounding in the matrix product cannot hide a neighbour; then distances are exact.
SPARE = 4
# Stands for infinity in a matrix product, whose passes of lower precision may subtract it from itself.
FAR = 2.0**120


def _check_neighbours(k: int, available: int, what: str) -> None:
    if not isinstance(k, int) or k < 1:
        raise ValueError(f"k must be a positive integer known when tracing, got {k!r}")
    if k > available:
        raise ValueError(f"k = {k} neighbours need more than {available} {what}; lower k or bring more samples")


def _check_norm(norm: str) -> None:
    if norm not in ("l2", "linf"):
        raise ValueError(f"norm must be 'l2' or 'linf', got {norm!r}")


def _batched(function: Callable[..., jax.Array], ranks: tuple[int, ...], *arrays: jax.Array | None) -> jax.Array:
    """Apply a function of single sample sets over the leading axes, side by side if that is small.

    `ranks` says how many trailing axes of each array belong to one sample set.
    """
    present = [(array, rank) for array, rank in zip(arrays, ranks, strict=True) if array is not None]
    lead = jnp.broadcast_shapes(*(array.shape[: array.ndim - rank] for array, rank in present))
    if not lead:
        return function(*arrays)
    flat = []
    for array, rank in present:
        single = array.shape[array.ndim - rank :]
        flat.append(jnp.broadcast_to(array, lead + single).reshape((-1, *single)))

    def call(parts: list[jax.Array]) -> jax.Array:
        given = iter(parts)
        return function(*(None if array is None else next(given) for array in arrays))

    size = flat[0].shape[0] * flat[0].shape[1] * max(array.shape[1] for array in flat)
    values = jax.vmap(call)(flat) if size <= 2**24 else jax.lax.map(call, flat)
    return values.reshape(lead + values.shape[1:])


def _in_blocks(
    function: Callable[..., tuple[jax.Array, ...]], rows: tuple[jax.Array, ...], width: int, block_size: int | None
) -> tuple[jax.Array, ...]:
    """Apply a function of a block of rows to all rows, one block after the other."""
    count = rows[0].shape[0]
    block = min(count, block_size or max(64, min(256, 2**20 // max(width, 1))))
    blocks = -(-count // block)
    padding = blocks * block - count
    padded = [jnp.pad(row, ((0, padding),) + ((0, 0),) * (row.ndim - 1)) for row in rows]
    if blocks == 1:
        return function(*padded)
    stacked = [row.reshape((blocks, block, *row.shape[1:])) for row in padded]
    result = jax.lax.map(lambda parts: function(*parts), stacked)
    return tuple(part.reshape((blocks * block, *part.shape[2:]))[:count] for part in result)


def _differences(query: jax.Array, points: jax.Array, norm: Norm) -> jax.Array:
    """(b, m) squared Euclidean or maximum-norm distances by direct differences; points come as (d, m)."""
    dimensions = points.shape[0]

    def add(total: jax.Array, q: jax.Array, p: jax.Array) -> jax.Array:
        difference = q[:, None] - p[None, :]
        return total + difference * difference if norm == "l2" else jnp.maximum(total, jnp.abs(difference))

    total = jnp.zeros((query.shape[0], points.shape[1]), query.dtype)
    if dimensions <= 32:  # one fused pass
        for i in range(dimensions):
            total = add(total, query[:, i], points[i])
        return total
    return jax.lax.fori_loop(0, dimensions, lambda i, total: add(total, query[:, i], points[i]), total)


def _insertion(values: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """`_top` by insertion into sorted lists, one column after the other.

    Every step is a minimum and a maximum over all rows and places, which CPUs do many at a time; `top_k` there takes
    row after row, 3 to 5 times slower.
    """
    rows = values.shape[0]

    def below(entries: jax.Array, first: float) -> jax.Array:
        return jnp.concatenate([jnp.full((1, rows), first, entries.dtype), entries[:-1]])

    def insert(entries: tuple[jax.Array, jax.Array], new: tuple[jax.Array, jax.Array]) -> tuple[tuple, None]:
        (value, column), (candidate, index) = entries, new
        candidate, before = candidate[None], below(value, -jnp.inf)
        # Equal ones, infinite ones too, go in before those already there, so no place keeps the column it began with.
        column = jnp.where(candidate <= before, below(column, 0), jnp.where(candidate <= value, index, column))
        return (jnp.minimum(value, jnp.maximum(before, candidate)), column), None

    empty = jnp.full((count, rows), jnp.inf, values.dtype), jnp.zeros((count, rows), jnp.int32)
    columns = jnp.arange(values.shape[1], dtype=jnp.int32)
    # From the last column to the first: the order of equal ones is then that of `top_k`.
    value, column = jax.lax.scan(insert, empty, (values.T, columns), reverse=True)[0]
    return value.T, column.T


def _sorted_out(values: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """`_top` by the primitive, which is short to compile and right on accelerators."""
    value, column = jax.lax.top_k(-values, count)
    return -value, column


def _top(values: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """The `count` smallest of each row, ascending, and their columns."""

    def inserted(values: jax.Array) -> tuple[jax.Array, jax.Array]:
        if values.shape[0] < 64:
            return _insertion(values, count)
        # XLA runs the two loops side by side, each on a core.
        half = values.shape[0] // 2
        halves = [_insertion(values[:half], count), _insertion(values[half:], count)]
        value, column = (jnp.concatenate(parts) for parts in zip(*halves, strict=True))
        return value, column

    if count > MOST_INSERTED:
        return _sorted_out(values, count)
    return jax.lax.platform_dependent(values, cpu=inserted, default=lambda values: _sorted_out(values, count))


def _smallest(distance: jax.Array, count: int, top: Selection = _top) -> tuple[jax.Array, jax.Array]:
    """`_top` of rows of any width, by groups and groups of groups where that leaves less to look at; exact."""
    rows, width = distance.shape
    if width <= 3 * GROUP * count:
        return top(distance, count)
    distance = jnp.pad(distance, ((0, 0), (0, -width % GROUP)), constant_values=jnp.inf)
    groups = distance.shape[1] // GROUP
    grouped = distance.reshape((rows, GROUP, groups))
    _, group = _smallest(jnp.min(grouped, axis=1), count, top)
    candidates = jnp.take_along_axis(grouped, group[:, None, :], axis=2, mode="clip")
    value, place = top(candidates.reshape((rows, GROUP * count)), count)
    return value, (place // count) * groups + jnp.take_along_axis(group, place % count, axis=1, mode="clip")


def _pad_points(points: jax.Array, where: jax.Array | None) -> jax.Array:
    """Points up to a multiple of GROUP; what is padding or masked lies infinitely far away."""
    if where is not None:
        points = jnp.where(where[:, None], points, jnp.inf)
    return jnp.pad(points, ((0, -points.shape[0] % GROUP), (0, 0)), constant_values=jnp.inf)


def _gathered(query: jax.Array, points: jax.Array, column: jax.Array) -> jax.Array:
    """(n, k, d) differences to chosen points."""
    return query[:, None, :] - jnp.take(points, column, axis=0, mode="clip")


def _safe_norm(difference: jax.Array, norm: Norm) -> jax.Array:
    """Norm over the last axis, with gradient 0 at 0, for differences whose squares would overflow or vanish as well."""
    if norm == "linf":
        return jnp.max(jnp.abs(difference), axis=-1)
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(difference), axis=-1, keepdims=True))
    apart = largest > 0
    unit = jnp.where(apart, difference, 1) / jnp.where(apart, largest, 1)
    return jnp.where(apart[..., 0], largest[..., 0] * jnp.sqrt(jnp.sum(unit * unit, axis=-1)), 0)


def _squares_by_product(query: jax.Array, q_square: jax.Array, points: jax.Array, p_square: jax.Array) -> jax.Array:
    """(b, m) squared distances |q|² + |p|² − 2 q p."""
    if points.shape[1] > AUGMENTED_DIMENSIONS:
        return q_square[:, None] + p_square[None, :] - 2 * product(query, points.T)
    left = [-2 * query, q_square[:, None], jnp.ones_like(q_square)[:, None]]
    right = [points, jnp.ones_like(p_square)[:, None], p_square[:, None]]
    return product(jnp.concatenate(left, axis=1), jnp.concatenate(right, axis=1).T)


@partial(jax.jit, static_argnums=(3, 4, 5, 6))
def _search(
    query: jax.Array, points: jax.Array, where: jax.Array | None, k: int, norm: Norm, same: bool, block_size: int | None
) -> tuple[jax.Array, jax.Array]:
    """(n, k) distances to the nearest points and their columns; inf and −1 where there is none.

    `same` says that the queries are the points: each is left out of its own neighbours, by its index.

    The fast pass squares coordinates that a power of two has brought to about 1, and, in many dimensions, takes the
    squares apart into a matrix product. Where that could have lost precision (distances below the coordinates, squares
    below the range) the distances of a block are taken from the differences to its candidates, and where even the
    candidates could be wrong, all distances of the block are.
    """
    count, dimensions = points.shape
    direct = norm == "linf" or dimensions <= DIRECT_DIMENSIONS
    present = jnp.ones(count, bool) if where is None else where
    kept = jnp.where(present[:, None], points, 0)
    if direct:
        centre = jnp.zeros((1, dimensions), points.dtype)
    else:
        size = jnp.maximum(jnp.sum(present), 1).astype(points.dtype)
        centre = jnp.sum(kept / size, axis=0, keepdims=True)
    largest = jnp.max(jnp.abs(kept - centre), initial=0)
    scale = jnp.exp2(-jnp.floor(jnp.log2(jnp.where(largest > 0, largest, 1))))
    scaled = (kept - centre) * scale
    square = jnp.where(present, jnp.sum(scaled * scaled, axis=1), FAR)
    far = _pad_points(scaled, where)
    padding = far.shape[0] - count
    scaled, square = jnp.pad(scaled, ((0, padding), (0, 0))), jnp.pad(square, (0, padding), constant_values=FAR)

    def without_itself(distance: jax.Array, index: jax.Array) -> jax.Array:
        """A block of rows in order has itself on a diagonal, wherever it starts; only that square is written."""
        if not same:
            return distance
        rows, width = distance.shape
        start = jnp.minimum(index[0], width - rows)
        corner = jnp.zeros_like(start), start
        square = jax.lax.dynamic_slice(distance, corner, (rows, rows))
        columns = start + jnp.arange(rows, dtype=index.dtype)
        square = jnp.where(columns[None, :] == index[:, None], jnp.inf, square)
        return jax.lax.dynamic_update_slice(distance, square, corner)

    def block(original: jax.Array, index: jax.Array) -> tuple[jax.Array, ...]:
        rows = (original - centre) * scale
        own = jnp.sum(rows * rows, axis=1)

        def differences() -> jax.Array:
            return without_itself(_differences(rows, far.T, norm), index)

        def expanded() -> jax.Array:
            return without_itself(_squares_by_product(rows, own, scaled, square), index)

        values = differences() if direct else expanded()
        value, column = _smallest(values, k)
        lost = value > FAR / 2

        def fast() -> tuple[jax.Array, jax.Array]:
            distance = (value if norm == "linf" else jnp.sqrt(jnp.maximum(value, 0))) / scale
            return jnp.where(lost, jnp.inf, distance), jnp.where(lost, -1, column)

        def careful() -> tuple[jax.Array, jax.Array]:
            """Distances from the differences to the candidates."""
            candidates = values
            if not direct:
                blurred = jnp.any(value < own[:, None] / 5000)
                candidates = jax.lax.cond(blurred, differences, lambda: values)
            _, column = _smallest(candidates, min(k + (0 if direct else SPARE), count), _sorted_out)
            lost = jnp.take_along_axis(candidates, column, axis=1) > FAR / 2
            distance = _safe_norm(jnp.where(lost[..., None], 0, _gathered(original, kept, column)), norm)
            distance, place = jax.lax.top_k(-jnp.where(lost, jnp.inf, distance), k)
            return -distance, jnp.take_along_axis(jnp.where(lost, -1, column), place, axis=1)

        if norm == "linf":
            return fast()
        doubtful = jnp.any(value < (1e-30 if direct else own[:, None] / 10))
        return jax.lax.cond(doubtful, careful, fast)

    distance, column = _in_blocks(block, (query, jnp.arange(query.shape[0], dtype=jnp.int32)), count, block_size)
    return distance, column


@partial(jax.custom_jvp, nondiff_argnums=(3, 4, 5, 6))
def _distances(
    query: jax.Array, points: jax.Array, where: jax.Array | None, k: int, norm: Norm, same: bool, block_size: int | None
) -> jax.Array:
    return _search(query, points, where, k, norm, same, block_size)[0]


@_distances.defjvp
def _distances_jvp(
    k: int, norm: Norm, same: bool, block_size: int | None, primals: tuple, tangents: tuple
) -> tuple[jax.Array, jax.Array]:
    """The neighbours are fixed; the derivative is that of the norms of the differences to them."""
    query, points, where = primals
    query_tangent, points_tangent, _ = tangents
    fixed = jax.lax.stop_gradient
    distance, column = _search(fixed(query), fixed(points), where, k, norm, same, block_size)
    exists = (column >= 0)[..., None]

    def norms(query: jax.Array, points: jax.Array) -> jax.Array:
        return _safe_norm(jnp.where(exists, _gathered(query, points, column), 0), norm)

    _, tangent = jax.jvp(norms, (query, points), (query_tangent, points_tangent))
    return distance, tangent


def _mask(where: jax.Array | None, x: jax.Array) -> jax.Array | None:
    return None if where is None else jnp.broadcast_to(where, x.shape[:-1])


def _neighbours(
    x: jax.Array,
    y: jax.Array | None,
    where: jax.Array | None,
    y_where: jax.Array | None,
    k: int,
    norm: Norm,
    block_size: int | None,
) -> jax.Array:
    """`_distances` over leading axes, after the checks."""
    _check_norm(norm)
    check_samples("x", x)
    if y is None:
        _check_neighbours(k, x.shape[-2] - 1, "other samples")
    else:
        check_samples("y", y)
        if y.shape[-1] != x.shape[-1]:
            raise ValueError(f"x and y must have the same number of dimensions, got {x.shape} and {y.shape}")
        _check_neighbours(k, y.shape[-2], "samples of y")
    if x.shape[-2] == 0:
        return jnp.zeros((*x.shape[:-1], k), x.dtype)

    def one(x: jax.Array, y: jax.Array | None, where: jax.Array | None, y_where: jax.Array | None) -> jax.Array:
        # What is masked may be anything, and must not reach a derivative.
        x = x if where is None else jnp.where(where[:, None], x, 0)
        y = y if y is None or y_where is None else jnp.where(y_where[:, None], y, 0)
        distance = _distances(x, x if y is None else y, where if y is None else y_where, k, norm, y is None, block_size)
        return distance if where is None else jnp.where(where[:, None], distance, jnp.inf)

    return _batched(one, (2, 2, 1, 1), x, y, _mask(where, x), None if y is None else _mask(y_where, y))


def _log_distance(distance: jax.Array) -> jax.Array:
    """log r; duplicates count as the smallest normal number, without a gradient."""
    floor = jnp.finfo(distance.dtype).tiny
    return jnp.log(jnp.where(distance > floor, distance, floor))


def _log_unit_ball(dimensions: int, norm: Norm, dtype: jnp.dtype) -> jax.Array:
    """log volume of the unit ball: 2^d for the maximum norm, π^(d/2) / Γ(d/2 + 1) for the Euclidean one."""
    if norm == "linf":
        return jnp.asarray(dimensions * jnp.log(2.0), dtype)
    half = jnp.asarray(dimensions / 2, dtype)
    return half * jnp.log(jnp.asarray(jnp.pi, dtype)) - gammaln(half + 1)


def knn_distances(
    x: jax.Array,
    k: int = 3,
    y: jax.Array | None = None,
    norm: Norm = "l2",
    where: jax.Array | None = None,
    y_where: jax.Array | None = None,
    block_size: int | None = None,
) -> jax.Array:
    r"""Distances from each sample of x to its k nearest samples of y, or of x without itself.

    $$r_{il} = \text{the } l\text{-th smallest of } \|x_i - y_j\|, \qquad l = 1, \dots, k$$

    Exact: a blocked search finds the neighbours, then distances are computed from the differences. Memory grows with
    n times `block_size`, never with n × n. Gradients are finite, 0 at duplicates.

    Args:
        x: (…, n, d) samples.
        k: how many neighbours, static.
        y: (…, m, d) samples to search in; None searches x and leaves each sample out of its own neighbours, by index,
            so that duplicates stay neighbours at distance 0.
        norm: "l2" (Euclidean) or "linf" (maximum norm).
        where: (…, n) mask of x. A masked sample has distances inf and is nobody's neighbour.
        y_where: (…, m) mask of y.
        block_size: rows per block, static; None chooses by n.

    Returns:
        (…, n, k) ascending, in the units of x; inf where fewer than k neighbours are left by the mask.

    Raises:
        ValueError: k not below the number of samples, x without its axis of dimensions, unknown norm.

    Example:
        >>> import jax.numpy as jnp
        >>> knn_distances(jnp.array([[0.0], [1.0], [3.0]]), k=2)[0].tolist()
        [1.0, 3.0]

    Source: exact search; the estimators below name theirs.
    """
    arrays, dtype = promote(x, *(() if y is None else (y,)))
    distance = _neighbours(arrays[0], None if y is None else arrays[1], where, y_where, k, norm, block_size)
    return distance.astype(dtype)


def knn_entropy(
    x: jax.Array,
    k: int = 3,
    norm: Norm = "l2",
    where: jax.Array | None = None,
    reduction: Reduction = "mean",
    block_size: int | None = None,
) -> jax.Array:
    r"""Differential entropy of samples by their k-th nearest neighbours (Kozachenko–Leonenko).

    $$\hat H = \psi(n) - \psi(k) + \log c_d + \frac dn \sum_i \log r_i$$

    r_i is the distance to the k-th neighbour, c_d the volume of the unit ball of the norm: 2^d for "linf",
    π^(d/2)/Γ(d/2+1) for "l2". Negative entropies are right and not clamped. The gradient follows the distances; its
    sum over samples, weighted with the samples, is d. Duplicates count as the smallest normal number of the precision:
    add noise of your own with a key if your data are rounded.

    Args:
        x: (…, n, d) samples, independent.
        k: neighbours, static; 3 to 5 is customary, more lowers the variance and raises the bias.
        norm: "l2" or "linf"; in many dimensions "l2" has less bias.
        where: (…, n) mask; n is then the number of samples kept. Where nothing (or not more than k) is left, 0.
        reduction: "mean", or "none" for the term of each sample, whose mean is the entropy.
        block_size: rows per block, static; None chooses by n.

    Returns:
        (…) or (…, n) in nats.

    Raises:
        ValueError: k not below n, wrong shape, unknown norm or reduction.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> x = jax.random.uniform(jax.random.key(0), (2000, 1))
        >>> bool(abs(knn_entropy(x)) < 0.1)  # the entropy of U(0, 1) is 0
        True

    Source: Kozachenko and Leonenko (1987); Kraskov, Stögbauer and Grassberger (2004), eq. 20.
    """
    (x,), dtype = promote(x)
    distance = _neighbours(x, None, where, None, k, norm, block_size)[..., -1]
    exists = distance < jnp.inf
    log_distance = _log_distance(jnp.where(exists, distance, 1))
    count = jnp.maximum(jnp.sum(exists, axis=-1, keepdims=True), 1).astype(x.dtype)
    dimensions = x.shape[-1]
    constant = _log_unit_ball(dimensions, norm, x.dtype) - digamma(jnp.asarray(k, x.dtype))
    return reduce(dimensions * log_distance + digamma(count) + constant, exists, reduction, dtype)


def _inside(distance: jax.Array, radius: jax.Array, strict: bool) -> jax.Array:
    """How many other samples lie within the radius; the sample itself is not counted."""
    inside = distance < radius[:, None] if strict else distance <= radius[:, None]
    itself = (radius > 0) if strict else (radius >= 0)
    return jnp.sum(inside.astype(distance.dtype), axis=1) - itself.astype(distance.dtype)


@partial(jax.jit, static_argnums=(2, 3, 4, 5))
def _counts(
    parts: tuple[jax.Array, ...],
    where: jax.Array | None,
    k: int,
    groups: tuple[tuple[int, ...], ...],
    own_radius: bool,
    block_size: int | None,
) -> jax.Array:
    """(n, groups) samples within the radius of each group of parts, −1 where there is no k-th neighbour.

    The radius is the distance to the k-th neighbour in the maximum norm over all parts, counted strictly; with
    `own_radius` the largest distance within the group among the k neighbours, counted up to and including it. Radii
    and counts come from the same subtractions, so these comparisons are exact in floating point.
    """
    columns = [_pad_points(part, where).T for part in parts]

    def joined(distances: list[jax.Array]) -> jax.Array:
        total = distances[0]
        for distance in distances[1:]:
            total = jnp.maximum(total, distance)
        return total

    def block(index: jax.Array, *rows: jax.Array) -> tuple[jax.Array, ...]:
        distances = [_differences(row, column, "linf") for row, column in zip(rows, columns, strict=True)]
        value, column = _smallest(joined(distances), k + 1)
        if own_radius:
            value, place = jax.lax.top_k(-jnp.where(column == index[:, None], jnp.inf, value), k)
            column = jnp.take_along_axis(column, place, axis=1)
            radius = -value[:, -1]
        else:
            # The sample itself is among the nearest, at distance 0: the k-th other one is number k + 1.
            radius = value[:, -1]
        counts = []
        for group in groups:
            distance = joined([distances[part] for part in group])
            if own_radius:
                nearest = jnp.take_along_axis(distance, column, axis=1)
                counts.append(_inside(distance, jnp.max(nearest, axis=1), strict=False))
            else:
                counts.append(_inside(distance, radius, strict=True))
        return (jnp.where((radius < jnp.inf)[:, None], jnp.stack(counts, axis=1), -1),)

    rows = (jnp.arange(parts[0].shape[0], dtype=jnp.int32), *parts)
    return _in_blocks(block, rows, columns[0].shape[1], block_size)[0]


def _all_counts(
    parts: dict[str, jax.Array],
    where: jax.Array | None,
    k: int,
    groups: tuple[tuple[int, ...], ...],
    own_radius: bool,
    block_size: int | None,
) -> tuple[jax.Array, jax.Array]:
    """`_counts` over leading axes, after the checks, and which samples have a k-th neighbour."""
    for name, part in parts.items():
        check_samples(name, part)
    sizes = {part.shape[-2] for part in parts.values()}
    if len(sizes) > 1:
        shapes = ", ".join(f"{name} {part.shape}" for name, part in parts.items())
        raise ValueError(f"samples come in tuples, so all need the same n; got {shapes}")
    first = next(iter(parts.values()))
    _check_neighbours(k, first.shape[-2] - 1, "other samples")

    def one(where: jax.Array | None, *samples: jax.Array) -> jax.Array:
        return _counts(samples, where, k, groups, own_radius, block_size)

    # Counts do not move with the samples: the gradient is zero almost everywhere.
    fixed = [jax.lax.stop_gradient(part) for part in parts.values()]
    mask = None if where is None else jnp.broadcast_to(where, first.shape[:-1])
    counts = _batched(one, (1, *(2 for _ in fixed)), mask, *fixed)
    exists = counts[..., 0] >= 0
    if mask is not None:
        exists = exists & mask
    return jnp.where(exists[..., None], counts, 1), exists


def _clipped(value: jax.Array, clip: bool, reduction: Reduction) -> jax.Array:
    if clip and reduction == "none":
        raise ValueError("clip=True is for the mean; values per sample may be negative: use reduction='mean'")
    return jnp.maximum(value, 0) if clip else value


def ksg_mutual_information(
    x: jax.Array,
    y: jax.Array,
    k: int = 3,
    algorithm: Literal[1, 2] = 1,
    where: jax.Array | None = None,
    reduction: Reduction = "mean",
    clip: bool = False,
    block_size: int | None = None,
) -> jax.Array:
    r"""Mutual information of paired samples by nearest neighbours (Kraskov, Stögbauer, Grassberger).

    $$\hat I_1 = \psi(k) + \psi(n) - \langle \psi(n_x + 1) + \psi(n_y + 1) \rangle$$

    $$\hat I_2 = \psi(k) - \tfrac1k + \psi(n) - \langle \psi(n_x) + \psi(n_y) \rangle$$

    Neighbours are found in the maximum norm over (x, y). Algorithm 1 counts samples strictly within that distance in
    each margin; algorithm 2 has a radius for each margin, the largest among the k neighbours, and counts up to it.
    Data are used as they are: no noise, no standardising, no clamping; independent data may give a little below 0.
    Scale x and y alike first, and do not expect more than about log n. The gradient is zero: counts do not move.

    Args:
        x: (…, n, d_x) samples.
        y: (…, n, d_y) samples paired with x.
        k: neighbours, static.
        algorithm: 1 or 2, static.
        where: (…, n) mask of pairs. Where not more than k are left, 0.
        reduction: "mean", or "none" for local values, whose mean is the estimate.
        clip: True replaces a negative mean by 0.
        block_size: rows per block, static; None chooses by n.

    Returns:
        (…) or (…, n) in nats.

    Raises:
        ValueError: k not below n, x and y of unequal n, unknown algorithm or reduction.

    Example:
        >>> import jax
        >>> x = jax.random.normal(jax.random.key(0), (1000, 1))
        >>> bool(ksg_mutual_information(x, x**3) > 3)
        True

    Source: Kraskov, Stögbauer and Grassberger (2004), eq. 8 and 9.
    """
    if algorithm not in (1, 2):
        raise ValueError(f"algorithm must be 1 or 2 (Kraskov et al. 2004, eq. 8 or 9), got {algorithm!r}")
    (x, y), dtype = promote(x, y)
    if x.ndim >= 2 and x.shape[-2] == 0:
        return reduce(jnp.zeros(x.shape[:-1], x.dtype), None, reduction, dtype)
    counts, exists = _all_counts({"x": x, "y": y}, where, k, ((0,), (1,)), algorithm == 2, block_size)
    neighbours = jnp.asarray(k, x.dtype)
    size = jnp.maximum(jnp.sum(exists, axis=-1, keepdims=True), 1).astype(x.dtype)
    if algorithm == 1:
        local = digamma(neighbours) + digamma(size) - jnp.sum(digamma(counts + 1), axis=-1)
    else:
        local = digamma(neighbours) - 1 / neighbours + digamma(size) - jnp.sum(digamma(counts), axis=-1)
    return _clipped(reduce(local, exists, reduction, dtype), clip, reduction)


def conditional_mutual_information(
    x: jax.Array,
    y: jax.Array,
    z: jax.Array,
    k: int = 3,
    where: jax.Array | None = None,
    reduction: Reduction = "mean",
    clip: bool = False,
    block_size: int | None = None,
) -> jax.Array:
    r"""I(X;Y|Z) of samples by nearest neighbours (Frenzel–Pompe).

    $$\hat I = \psi(k) + \langle \psi(n_z + 1) - \psi(n_{xz} + 1) - \psi(n_{yz} + 1) \rangle$$

    The radius is the distance to the k-th neighbour in the maximum norm over (x, y, z); counts are strict.

    Args:
        x: (…, n, d_x) samples.
        y: (…, n, d_y) samples.
        z: (…, n, d_z) samples of the condition.
        k: neighbours, static.
        where: (…, n) mask of triples. Where not more than k are left, 0.
        reduction: "mean", or "none" for local values.
        clip: True replaces a negative mean by 0.
        block_size: rows per block, static; None chooses by n.

    Returns:
        (…) or (…, n) in nats.

    Raises:
        ValueError: k not below n, samples of unequal n, unknown reduction.

    Example:
        >>> import jax
        >>> x, y, z = jax.random.normal(jax.random.key(0), (3, 500, 1))
        >>> bool(abs(conditional_mutual_information(x, y, z)) < 0.1)
        True

    Source: Frenzel and Pompe (2007), eq. 8.
    """
    (x, y, z), dtype = promote(x, y, z)
    if x.ndim >= 2 and x.shape[-2] == 0:
        return reduce(jnp.zeros(x.shape[:-1], x.dtype), None, reduction, dtype)
    groups = ((2,), (0, 2), (1, 2))
    counts, exists = _all_counts({"x": x, "y": y, "z": z}, where, k, groups, False, block_size)
    terms = digamma(counts + 1)
    local = digamma(jnp.asarray(k, x.dtype)) + terms[..., 0] - terms[..., 1] - terms[..., 2]
    return _clipped(reduce(local, exists, reduction, dtype), clip, reduction)


def kl_divergence(
    x: jax.Array,
    y: jax.Array,
    k: int = 3,
    norm: Norm = "l2",
    where: jax.Array | None = None,
    y_where: jax.Array | None = None,
    reduction: Reduction = "mean",
    clip: bool = False,
    block_size: int | None = None,
) -> jax.Array:
    r"""KL(p‖q) from samples x of p and y of q by nearest neighbours.

    $$\hat D = \frac dn \sum_i \log\frac{\nu_i}{\rho_i} + \log\frac m{n-1}$$

    ρ_i is the distance from x_i to its k-th neighbour in x (without itself), ν_i to its k-th neighbour in y.

    Args:
        x: (…, n, d) samples of p.
        y: (…, m, d) samples of q.
        k: neighbours, static.
        norm: "l2" or "linf".
        where: (…, n) mask of x.
        y_where: (…, m) mask of y.
        reduction: "mean", or "none" for the term of each x_i.
        clip: True replaces a negative mean by 0.
        block_size: rows per block, static; None chooses by m.

    Returns:
        (…) or (…, n) in nats.

    Raises:
        ValueError: k not below n or above m, unequal dimensions, unknown norm or reduction.

    Example:
        >>> import jax
        >>> x, y = jax.random.normal(jax.random.key(0), (2, 1000, 2))
        >>> bool(abs(kl_divergence(x, y)) < 0.15)
        True

    Source: Wang, Kulkarni and Verdú (2009), eq. 5 with k neighbours (eq. 17).
    """
    (x, y), dtype = promote(x, y)
    within = _neighbours(x, None, where, None, k, norm, block_size)[..., -1]
    across = _neighbours(x, y, where, y_where, k, norm, block_size)[..., -1]
    exists = (within < jnp.inf) & (across < jnp.inf)
    ratio = _log_distance(jnp.where(exists, across, 1)) - _log_distance(jnp.where(exists, within, 1))
    count = jnp.sum(exists, axis=-1, keepdims=True).astype(x.dtype)
    if y_where is None:
        other = jnp.asarray(y.shape[-2], x.dtype)
    else:
        mask = jnp.broadcast_to(y_where, y.shape[:-1])
        other = jnp.maximum(jnp.sum(mask, axis=-1, keepdims=True), 1).astype(x.dtype)
    local = x.shape[-1] * ratio + jnp.log(other) - jnp.log(jnp.maximum(count - 1, 1))
    return _clipped(reduce(local, exists, reduction, dtype), clip, reduction)


def particle_reward(
    x: jax.Array,
    k: int = 3,
    y: jax.Array | None = None,
    form: Literal["apt", "urlb", "re3"] = "apt",
    norm: Norm = "l2",
    where: jax.Array | None = None,
    y_where: jax.Array | None = None,
    block_size: int | None = None,
) -> jax.Array:
    r"""Entropy reward of each particle from the distances to its nearest neighbours.

    $$r^{apt}_i = \log\Big(1 + \frac1k \sum_{j \le k} d_{ij}\Big) \qquad r^{re3}_i = \log(1 + d_{ik})$$

    "apt" averages the k nearest others. "urlb" is the same over the k smallest distances when the sample itself, at
    distance 0, is one of them, as the code of the Unsupervised RL Benchmark does: k − 1 others, divided by k. "re3"
    takes the k-th only. With `y` there is no self, and "urlb" equals "apt". The gradient is finite at duplicates.

    Args:
        x: (…, n, d) particles (representations).
        k: neighbours, static.
        y: (…, m, d) particles to compare with; None compares within x.
        form: "apt", "urlb" or "re3", static.
        norm: "l2" or "linf".
        where: (…, n) mask of x; a masked particle gets 0 and is nobody's neighbour.
        y_where: (…, m) mask of y.
        block_size: rows per block, static; None chooses by n.

    Returns:
        (…, n) rewards, at least 0, on the scale of a log distance (not an entropy estimate in nats).

    Raises:
        ValueError: k not below the number of particles, k = 1 with "urlb", unknown form or norm.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.array([[0.0], [1.0], [3.0]])
        >>> bool(jnp.allclose(particle_reward(x, k=2), jnp.log1p(jnp.array([2.0, 1.5, 2.5]))))
        True

    Source: Liu and Abbeel (2021), APT, eq. 5; Laskin et al. (2021), URLB; Seo et al. (2021), RE3, eq. 4.
    """
    if form not in ("apt", "urlb", "re3"):
        raise ValueError(f"form must be 'apt', 'urlb' or 're3', got {form!r}")
    includes_self = form == "urlb" and y is None
    if includes_self and k == 1:
        raise ValueError("k = 1 with form='urlb' sees only the sample itself, at distance 0; use k of at least 2")
    arrays, dtype = promote(x, *(() if y is None else (y,)))
    others = k - 1 if includes_self else k
    distance = _neighbours(arrays[0], None if y is None else arrays[1], where, y_where, others, norm, block_size)
    exists = distance < jnp.inf
    distance = jnp.where(exists, distance, 0)
    if form == "re3":
        return jnp.log1p(distance[..., -1]).astype(dtype)
    mean = masked_mean(distance, exists)
    if includes_self:
        mean = mean * (others / k)
    return jnp.log1p(mean).astype(dtype)
