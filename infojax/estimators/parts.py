"""What estimators share: intervals from subsamples, and the checks behind a verdict.

No check knows the truth. Each compares the estimator with itself where the right answer is known:

- `known_answer`: samples with the very margins, size and dimensions of the data, dependent through the elliptical
  copula (normal or Student) that fits the data best, so that their mutual information is known;
- `margins`: a strictly increasing map of every coordinate changes no information (data processing, in its
  case of equality);
- `sample_size`: quarters of the samples give, on average, what the whole gives (as the protocol of Holmes and Nemenman
  2019, and of Abdelaleem et al. 2025);
- `independence`: shuffled samples give 0;
- `additivity`: a pair beside the data, independent of it and of known information, adds just that (the last two and
  data processing are the tests of Song and Ermon 2020);
- `processing`: a function of y beside y adds nothing (data processing again);
- `neighbours`: nearest neighbours find no more than the estimator does;
- `fit`: for estimators with a model, moments of the data are those of the model;
- `resolution`, `definition`, `ceiling`, `precision`: what the estimator itself knows to be out of its reach.

A check is a share: what was seen over what is allowed, so that above 1 it fails. Allowances are in units of the
`tolerance` of the user, the error in nats that would still be called right, with a margin for the noise of the check.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from infojax.info import gaussian
from infojax.types import Array, Estimate, Key, UserError

Measure = Callable[[Array, Array], Array]

REASONS = {
    "known_answer": "on samples with the same margins, size and strength of dependence, whose information is known, "
    "it errs",
    "margins": "an increasing map of each coordinate, which changes no information, changes the estimate",
    "sample_size": "the estimate still changes with the number of samples",
    "independence": "shuffled samples, which share nothing, do not give 0",
    "additivity": "an independent pair of known information does not add just that",
    "processing": "a function of y beside y, which holds no more information, changes the estimate",
    "fit": "the samples are not of the distribution that it assumes",
    "resolution": "the samples are too few for two bins in each dimension",
    "definition": "it measures another quantity than Shannon's mutual information",
    "precision": "the interval is wide",
    "neighbours": "nearest neighbours find more information than it does",
    "ceiling": "the value is near the largest that so many samples can give",
}
FREEDOMS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 10.0, 20.0, np.inf)  # of the copulas that are tried; inf is normal
WIDEST = 0.5  # nats, of an interval that still says something


def why(estimate: Estimate) -> str:
    """In words, why an estimate is not trusted; empty where it is."""
    shares = {name[6:]: float(value) for name, value in estimate.diagnostics.items() if name.startswith("check/")}
    failed = sorted((name for name in shares if not shares[name] <= 1), key=lambda name: -shares[name])
    return "; ".join(REASONS[name] for name in failed)


def verdict(value: Array, interval: Array, checks: dict[str, Array], seen: dict[str, Array]) -> Estimate:
    """An estimate, trusted if every check is within its allowance."""
    checks = checks | {"precision": (interval[1] - interval[0]) / WIDEST}
    shares = {f"check/{name}": jnp.asarray(share, jnp.float32) for name, share in checks.items()}
    trusted = jnp.all(jnp.stack([share <= 1 for share in shares.values()]))
    return Estimate(value, interval, trusted, shares | seen)


def check_samples(x: Array, y: Array | None = None, least: int = 32) -> tuple[Array, Array]:
    """Samples as float32 (n, d)."""
    found = []
    for name, samples in (("x", x), ("y", x if y is None else y)):
        array = jnp.asarray(samples)
        array = array[:, None] if array.ndim == 1 else array
        if array.ndim != 2 or not array.shape[1]:
            raise UserError(f"{name} must be samples (n, d), got the shape {array.shape}")
        found.append(array.astype(jnp.float32))
    if len(found[0]) != len(found[1]):
        raise UserError(f"x and y must be as many samples, got {len(found[0])} and {len(found[1])}")
    if len(found[0]) < least:
        raise UserError(f"{len(found[0])} samples are too few to judge an estimate; bring at least {least}")
    return found[0], found[1]


def covariance(samples: Array) -> Array:
    """Unbiased covariance (d, d) of (n, d)."""
    centred = samples - jnp.mean(samples, axis=0, keepdims=True)
    return jnp.matmul(centred.T, centred, precision=jax.lax.Precision.HIGHEST) / (len(samples) - 1)


def standardised(samples: Array) -> Array:
    """Each coordinate with mean 0 and variance 1; a constant one is 0."""
    centred = samples - jnp.mean(samples, axis=0, keepdims=True)
    scale = jnp.sqrt(jnp.mean(centred**2, axis=0, keepdims=True))
    return centred / jnp.where(scale > 0, scale, 1)


def permutation(key: Key, count: int) -> Array:
    """A random order, by one sort: it compiles in a quarter of the time of `jax.random.permutation`.

    Like every draw, it needs a key of its own: with the key of the samples they would be ordered by their values.
    """
    return jnp.argsort(jax.random.bits(key, (count,)))


def blocks(key: Key, count: int, x: Array, y: Array) -> tuple[Array, Array]:
    """`count` disjoint random subsamples, (count, n // count, d) each; what is left over is left out."""
    size = len(x) // count
    order = permutation(key, len(x))[: size * count]
    return x[order].reshape(count, size, -1), y[order].reshape(count, size, -1)


def subsampled(key: Key, measure: Measure, x: Array, y: Array) -> tuple[Array, Array, Array]:
    """The 95 % half-width at the full size, and the means over quarters and eighths.

    The variance of an estimate falls as 1/n (for k-NN: Holmes and Nemenman 2019), so that of m disjoint blocks tells
    that of the whole, m times smaller. Quarters and eighths have 3 and 7 degrees of freedom.
    """
    variances, means = [], []
    for count in (4, 8):
        values = jax.lax.map(lambda pair: measure(*pair), blocks(key, count, x, y))
        means.append(jnp.mean(values))
        variances.append(jnp.var(values, ddof=1) / count)
    variance = (3 * variances[0] + 7 * variances[1]) / 10
    return 2.23 * jnp.sqrt(variance), means[0], means[1]  # Student's quantile at 10 degrees of freedom


def _ranks(samples: Array) -> Array:
    return jnp.argsort(jnp.argsort(samples, axis=0), axis=0)


def _excess(freedom: float, dims: int) -> float:
    """What the entropy of a Student of that dimension has beyond half the log-determinant of its scale."""
    if np.isinf(freedom):
        return dims / 2 * (1 + np.log(2 * np.pi))
    both = (freedom + dims) / 2
    rest = both * (special.digamma(both) - special.digamma(freedom / 2)) + dims / 2 * np.log(freedom * np.pi)
    return float(special.gammaln(freedom / 2) - special.gammaln(both) + rest)


def _log_density_constant(freedom: float, dims: int) -> float:
    if np.isinf(freedom):
        return -dims / 2 * np.log(2 * np.pi)
    both = (freedom + dims) / 2
    return float(special.gammaln(both) - special.gammaln(freedom / 2) - dims / 2 * np.log(freedom * np.pi))


def copula_likelihoods(ranks: Array, correlation: Array) -> Array:
    """Mean log-likelihood of elliptical copulas with that correlation, one for each of `FREEDOMS`."""
    n, dims = ranks.shape
    places = (np.arange(n) + 0.5) / n
    factor = jnp.linalg.cholesky(correlation)
    half_log_det = jnp.sum(jnp.log(jnp.diagonal(factor)))
    quantiles = [special.ndtri(places) if np.isinf(f) else special.stdtrit(f, places) for f in FREEDOMS]
    constants = [_log_density_constant(f, dims) - dims * _log_density_constant(f, 1) for f in FREEDOMS]

    def likelihood(given: tuple[Array, Array, Array]) -> Array:
        quantile, freedom, constant = given
        z = quantile[ranks]
        square = jnp.sum(jax.scipy.linalg.solve_triangular(factor, z.T, lower=True) ** 2, axis=0)
        normal = -0.5 * square + 0.5 * jnp.sum(z**2, axis=1)
        joint = -(freedom + dims) / 2 * jnp.log1p(square / freedom)
        margins = -(freedom + 1) / 2 * jnp.sum(jnp.log1p(z**2 / freedom), axis=1)
        return jnp.mean(jnp.where(freedom < jnp.inf, joint - margins, normal)) + constant - half_log_det

    tables = (np.stack(quantiles), FREEDOMS, constants)
    return jax.lax.map(likelihood, tuple(jnp.asarray(table, jnp.float32) for table in tables))


def fitted_correlation(x: Array, y: Array) -> Array:
    """Correlation of normal scores, kept away from singular."""
    scores = standardised(jnp.concatenate([gaussian.copula_transform(x), gaussian.copula_transform(y)], axis=1))
    correlation = covariance(scores)
    correlation = correlation / jnp.sqrt(jnp.outer(jnp.diagonal(correlation), jnp.diagonal(correlation)))
    dims = correlation.shape[0]
    return (correlation + 1e-4 * jnp.eye(dims)) / (1 + 1e-4)


def surrogate(x: Array, y: Array) -> tuple[Callable[[Key], tuple[Array, Array]], Array, Array]:
    """A sampler of pairs with the margins of the data and a known dependence, what that amounts to, and its freedom.

    The dependence is the elliptical copula of highest likelihood, its correlation that of normal scores.
    """
    samples, split = jnp.concatenate([x, y], axis=1), x.shape[1]
    n, dims = samples.shape
    correlation = fitted_correlation(x, y)
    best = jnp.argmax(copula_likelihoods(_ranks(samples), correlation))
    excess = [_excess(f, split) + _excess(f, dims - split) - _excess(f, dims) for f in FREEDOMS]
    truth = gaussian.mutual_information(correlation, split) + jnp.asarray(excess, jnp.float32)[best]
    factor, ordered = jnp.linalg.cholesky(correlation), jnp.sort(samples, axis=0)
    # Of a Student's radius one value in each of n equally likely strata. One too small for float32 would make ties.
    places = (np.arange(n) + 0.5) / n
    radii = [np.sqrt(2 * special.gammaincinv(f / 2, places) / f) if np.isfinite(f) else np.ones(n) for f in FREEDOMS]
    radius = jnp.asarray(np.maximum(np.stack(radii), 1e-12), jnp.float32)[best]

    def draw(key: Key) -> tuple[Array, Array]:
        normal, tail = jax.random.split(key)
        z = jnp.matmul(jax.random.normal(normal, (n, dims)), factor.T, precision=jax.lax.Precision.HIGHEST)
        z = z / radius[permutation(tail, n)][:, None]
        drawn = jnp.take_along_axis(ordered, _ranks(z), axis=0)
        return drawn[:, :split], drawn[:, split:]

    return draw, truth, jnp.asarray(FREEDOMS, jnp.float32)[best]


def self_consistency(
    key: Key, measure: Measure, x: Array, y: Array, value: Array, quarters: Array, tolerance: float
) -> tuple[dict[str, Array], dict[str, Array]]:
    """The checks that any estimator can be put to, and what was seen in them."""
    keys = jax.random.split(key, 3)
    draw, truth, freedom = surrogate(x, y)
    errors = jax.lax.map(lambda k: measure(*draw(k)), jax.random.split(keys[0], 3)) - truth
    known = jnp.mean(errors)
    score_x, score_y = gaussian.copula_transform(x), gaussian.copula_transform(y)
    on_scores = measure(score_x, score_y)
    shuffled = measure(x, y[permutation(keys[1], len(y))])
    u, v = jax.random.normal(keys[2], (2, len(x), 1))
    pair = (jnp.concatenate([score_x, u], axis=1), jnp.concatenate([score_y, 0.6 * u + 0.8 * v], axis=1))
    added = measure(*pair) - on_scores + 0.5 * np.log1p(-0.36)
    checks = {
        "known_answer": jnp.abs(known) / (1.2 * tolerance),
        "margins": jnp.abs(value - on_scores) / (0.8 * tolerance),
        "sample_size": jnp.abs(value - quarters) / (1.2 * tolerance),
        "independence": jnp.abs(shuffled) / tolerance,
        # One more dimension on each side is harder than the data, and the more so the larger the value.
        "additivity": jnp.abs(added) / (2 * tolerance + 0.1 * jnp.abs(value)),
    }
    seen = {
        "seen/known_answer": known,
        "seen/normal_scores": on_scores,
        "seen/quarters": quarters,
        "seen/shuffled": shuffled,
        "seen/additivity": added,
        "seen/copula_freedom": freedom,
    }
    return checks, seen


def normality(x: Array, y: Array) -> Array:
    """How far samples are from jointly normal, as a share of what chance allows in one of 100 samples.

    The largest of these scores in whitened coordinates, each over its quantile (Bonferroni): skewness and kurtosis of
    each coordinate; Mardia's kurtosis of the whole; the covariance of squares of each pair across x and y less the
    square of their correlation; and whether the covariance of a pair depends on the length of x or of y, which
    shows a rotation by an angle that varies.
    """
    n = len(x)

    def white(samples: Array) -> Array:
        centred = samples - jnp.mean(samples, axis=0, keepdims=True)
        factor = jnp.linalg.cholesky(covariance(samples) + 1e-6 * jnp.diag(jnp.var(samples, axis=0)))
        return jax.scipy.linalg.solve_triangular(factor, centred.T, lower=True).T

    a, b, whole = white(x), white(y), white(jnp.concatenate([x, y], axis=1))
    square_a, square_b = (a**2 - 1) / np.sqrt(2), (b**2 - 1) / np.sqrt(2)
    correlation = jnp.matmul(a.T, b, precision="highest") / n
    long_a = jnp.sum(a**2, axis=1, keepdims=True) - (a.shape[1] + 2)
    long_b = jnp.sum(b**2, axis=1, keepdims=True) - (b.shape[1] + 2)

    def across(left: Array, right: Array, less: Array | float) -> Array:
        """Scores of mean(left_i right_j) − less, the variance of the product from the mean of its square."""
        mean = jnp.matmul(left.T, right, precision="highest") / n
        second = jnp.matmul((left**2).T, right**2, precision="highest") / n
        variance = jnp.maximum(second - mean**2, 1e-12)
        return jnp.max(jnp.abs(mean - less) / jnp.sqrt(variance / n))

    dims = whole.shape[1]
    length = jnp.sum(whole**2, axis=1)
    kurtosis = (jnp.mean(length**2) - dims * (dims + 2) * (n - 1) / (n + 1)) / np.sqrt(8 * dims * (dims + 2) / n)
    raw = standardised(jnp.concatenate([x, y], axis=1))
    scores = {
        1: jnp.abs(kurtosis),
        2 * dims: jnp.maximum(
            jnp.max(jnp.abs(jnp.mean(raw**3, axis=0))) * np.sqrt(n / 6),
            jnp.max(jnp.abs(jnp.mean(raw**4, axis=0) - 3)) * np.sqrt(n / 24),
        ),
        3 * x.shape[1] * y.shape[1]: jnp.maximum(
            across(square_a, square_b, correlation**2),
            jnp.maximum(across(a * long_a, b, 0.0), across(a, b * long_b, 0.0)),
        ),
    }
    quantiles = {count: float(special.ndtri(1 - 0.005 / (len(scores) * count))) for count in scores}
    return jnp.max(jnp.stack([score / quantiles[count] for count, score in scores.items()]))
