"""The formulas of the many small primitives as one writes them with numpy and scipy, in the precision of the arrays.

Given float64 arrays they are the reference, given float32 ones a peer. Arrays come first and settings after them, with
the names that infojax uses.
"""

from itertools import combinations
from math import factorial, log, pi
from typing import Any

import numpy as np
from scipy.special import digamma, gammaln, log_softmax, logsumexp, ndtri

Array = np.ndarray
LOG_TWO_PI_E = log(2 * pi) + 1

# Of probabilities


def shannon_entropy(p: Array) -> Array:
    return -(p * np.log(p)).sum(-1)


def renyi_entropy(p: Array, alpha: float) -> Array:
    return np.log((p**alpha).sum(-1)) / (1 - alpha)


def tsallis_entropy(p: Array, q: float) -> Array:
    return (1 - (p**q).sum(-1)) / (q - 1)


def cross_entropy(p: Array, q: Array) -> Array:
    return -(p * np.log(q)).sum(-1)


def kl_divergence(p: Array, q: Array) -> Array:
    return (p * np.log(p / q)).sum(-1)


def js_divergence(p: Array, q: Array) -> Array:
    middle = (p + q) / 2
    return (kl_divergence(p, middle) + kl_divergence(q, middle)) / 2


def renyi_divergence(p: Array, q: Array, alpha: float) -> Array:
    return np.log((p**alpha * q ** (1 - alpha)).sum(-1)) / (alpha - 1)


# Of joint tables


def margin_entropy(joint: Array, variables: int, kept: tuple[int, ...]) -> Array:
    """Entropy of some of the last axes."""
    first = joint.ndim - variables
    margin = joint.sum(tuple(first + axis for axis in range(variables) if axis not in kept), keepdims=True)
    return -(margin * np.log(margin)).sum(tuple(range(first, joint.ndim)))


def singles_and_rest(joint: Array, n: int) -> tuple[Array, Array, Array]:
    """The entropy of all, and the sums of those of one variable and of all but one."""
    everything = tuple(range(n))
    singles = sum(margin_entropy(joint, n, (i,)) for i in everything)
    rest = sum(margin_entropy(joint, n, tuple(j for j in everything if j != i)) for i in everything)
    return margin_entropy(joint, n, everything), singles, rest


def mutual_information(joint: Array) -> Array:
    return margin_entropy(joint, 2, (0,)) + margin_entropy(joint, 2, (1,)) - margin_entropy(joint, 2, (0, 1))


def conditional_entropy(joint: Array) -> Array:
    return margin_entropy(joint, 2, (0, 1)) - margin_entropy(joint, 2, (0,))


def conditional_mutual_information(joint: Array) -> Array:
    xz, yz, z, xyz = (margin_entropy(joint, 3, kept) for kept in ((0, 2), (1, 2), (2,), (0, 1, 2)))
    return xz + yz - z - xyz


def total_correlation(joint: Array, num_variables: int) -> Array:
    return sum(margin_entropy(joint, num_variables, (i,)) for i in range(num_variables)) - margin_entropy(
        joint, num_variables, tuple(range(num_variables))
    )


def dual_total_correlation(joint: Array, num_variables: int) -> Array:
    whole, _, rest = singles_and_rest(joint, num_variables)
    return rest - (num_variables - 1) * whole


def o_information(joint: Array, num_variables: int) -> Array:
    whole, singles, rest = singles_and_rest(joint, num_variables)
    return (num_variables - 2) * whole + singles - rest


def s_information(joint: Array, num_variables: int) -> Array:
    whole, singles, rest = singles_and_rest(joint, num_variables)
    return singles + rest - num_variables * whole


def co_information(joint: Array, num_variables: int) -> Array:
    subsets = [kept for size in range(1, num_variables + 1) for kept in combinations(range(num_variables), size)]
    return -sum((-1) ** len(kept) * margin_entropy(joint, num_variables, kept) for kept in subsets)


# Of series and channels


def transfer_entropy(x: Array, y: Array, num_classes: int) -> Any:
    code = (y[1:] * num_classes + x[:-1]) * num_classes + y[:-1]
    counts = np.bincount(code, minlength=num_classes**3).reshape((num_classes,) * 3)
    return conditional_mutual_information(counts / counts.sum())


def permutation_entropy(x: Array, order: int) -> Any:
    ranks = np.argsort(np.lib.stride_tricks.sliding_window_view(x, order), axis=1, kind="stable")
    counts = np.bincount(ranks @ order ** np.arange(order))
    assert np.count_nonzero(counts) <= factorial(order)
    return shannon_entropy(counts[counts > 0] / counts.sum())


def entropy_rate(matrix: Array) -> Array:
    size = matrix.shape[-1]
    system = np.swapaxes(np.eye(size, dtype=matrix.dtype) + 1 - matrix, -1, -2)
    stationary = np.linalg.solve(system, np.ones((*matrix.shape[:-1], 1), matrix.dtype))[..., 0]
    return (stationary * shannon_entropy(matrix)).sum(-1)


def channel_capacity(channel: Array) -> Any:
    p = np.full(len(channel), 1 / len(channel), channel.dtype)
    for _ in range(2000):
        rows = kl_divergence(channel, p @ channel)
        if rows.max() - p @ rows < 1e-6:
            break
        p = p * np.exp(rows)
        p /= p.sum()
    return p @ rows


# Of logits


def logits_renyi_entropy(logits: Array, alpha: float) -> Array:
    return logsumexp(alpha * log_softmax(logits, -1), -1) / (1 - alpha)


def logits_tsallis_entropy(logits: Array, q: float) -> Array:
    return tsallis_entropy(np.exp(log_softmax(logits, -1)), q)


def logits_entropy(logits: Array) -> Array:
    log_p = log_softmax(logits, -1)
    return -(np.exp(log_p) * log_p).sum(-1)


def logits_normalized_entropy(logits: Array) -> Array:
    return logits_entropy(logits) / log(logits.shape[-1])


def logits_cross_entropy(logits_p: Array, logits_q: Array) -> Array:
    return -(np.exp(log_softmax(logits_p, -1)) * log_softmax(logits_q, -1)).sum(-1)


def logits_kl_divergence(logits_p: Array, logits_q: Array) -> Array:
    log_p = log_softmax(logits_p, -1)
    return (np.exp(log_p) * (log_p - log_softmax(logits_q, -1))).sum(-1)


def logits_js_divergence(logits_p: Array, logits_q: Array) -> Array:
    return js_divergence(np.exp(log_softmax(logits_p, -1)), np.exp(log_softmax(logits_q, -1)))


def logits_marginal_entropy(logits: Array, axis: int) -> Array:
    return shannon_entropy(np.exp(log_softmax(logits, -1)).mean(axis))


def logits_reverse_mutual_information(logits: Array, axis: int) -> Array:
    log_p = log_softmax(logits, -1)
    mean = np.exp(log_p).mean(axis)
    return (mean * (np.log(mean) - log_p.mean(axis))).sum(-1)


def logits_expected_pairwise_kl(logits: Array, axis: int) -> Array:
    log_p = log_softmax(logits, -1)
    members = log_p.shape[axis]
    p = np.exp(log_p)
    covariance = (p * log_p).mean(axis) - p.mean(axis) * log_p.mean(axis)
    return covariance.sum(-1) * (members / (members - 1))


# Of Gaussians


def half_log_det(matrix: Array) -> Array:
    return np.linalg.slogdet(matrix)[1] / 2


def block(matrix: Array, kept: Any) -> Array:
    return matrix[..., kept, :][..., kept]


def gaussian_entropy(cov: Array) -> Array:
    return half_log_det(cov) + cov.shape[-1] / 2 * LOG_TWO_PI_E


def diagonal_entropy(scale: Array) -> Array:
    return np.log(scale).sum(-1) + scale.shape[-1] / 2 * LOG_TWO_PI_E


def gaussian_kl_divergence(mean_p: Array, cov_p: Array, mean_q: Array, cov_q: Array) -> Array:
    gap = (mean_p - mean_q)[..., None]
    trace = np.trace(np.linalg.solve(cov_q, cov_p + gap * np.swapaxes(gap, -1, -2)), axis1=-2, axis2=-1)
    return (trace - cov_p.shape[-1]) / 2 + half_log_det(cov_q) - half_log_det(cov_p)


def diagonal_kl_divergence(mean_p: Array, scale_p: Array, mean_q: Array, scale_q: Array) -> Array:
    return (np.log(scale_q / scale_p) + (scale_p**2 + (mean_p - mean_q) ** 2) / (2 * scale_q**2) - 0.5).sum(-1)


def gaussian_conditional_mutual_information(cov: Array, dim_x: int, dim_y: int) -> Array:
    x, y, z = np.split(np.arange(cov.shape[-1]), (dim_x, dim_x + dim_y))
    parts = (np.r_[x, z], np.r_[y, z], z)
    xz, yz, of_z = (half_log_det(block(cov, part)) for part in parts)
    return xz + yz - of_z - half_log_det(cov)


def gaussian_total_correlation(cov: Array) -> Array:
    return np.log(np.diagonal(cov, axis1=-2, axis2=-1)).sum(-1) / 2 - half_log_det(cov)


def gaussian_o_information(cov: Array) -> Array:
    d = cov.shape[-1]
    singles = np.log(np.diagonal(cov, axis1=-2, axis2=-1)).sum(-1) / 2
    rest = sum(half_log_det(block(cov, np.delete(np.arange(d), i))) for i in range(d))
    return (d - 2) * half_log_det(cov) + singles - rest


def gaussian_information_gain(features: Array, prior_cov: Array, noise_variance: float) -> Array:
    precision = np.swapaxes(features, -1, -2) @ features / noise_variance
    return half_log_det(np.eye(prior_cov.shape[-1], dtype=prior_cov.dtype) + precision @ prior_cov)


def gaussian_transfer_entropy(x: Array, y: Array, history: int) -> Any:
    past = [series[lag : lag + len(y) - history] for series in (y, x) for lag in range(history)]
    cov = np.cov(np.hstack([*past, y[history:]]), rowvar=False)
    own, both, d = history * y.shape[1], history * (x.shape[1] + y.shape[1]), len(cov)
    narrow, nearer = np.r_[:own, both:d], np.arange(own)
    before = half_log_det(block(cov, narrow)) - half_log_det(block(cov, nearer))
    return before - half_log_det(cov) + half_log_det(block(cov, np.arange(both)))


def copula_transform(x: Array) -> Array:
    return ndtri((np.argsort(np.argsort(x, axis=0), axis=0) + x.dtype.type(1)) / x.dtype.type(len(x) + 1))


# Of ensembles, (members, …, dimensions)


def variance_split(mean: Array, scale: Array) -> tuple[Array, Array]:
    return mean.var(0), (scale**2).mean(0)


def disagreement(mean: Array) -> Array:
    return mean.var(0).mean(-1)


def pairwise_information_gain(mean: Array, scale: Array) -> Array:
    between = diagonal_kl_divergence(mean[:, None], scale[:, None], mean[None], scale[None])
    return -np.log(np.exp(-between).mean(1)).mean(0)


# Of posteriors and priors


def surprise_dirichlet(a: Array, b: Array) -> Array:
    top, low = a.sum(-1), b.sum(-1)
    drift = ((a - b) * (digamma(a) - digamma(top)[..., None])).sum(-1)
    return gammaln(top) - gammaln(a).sum(-1) - gammaln(low) + gammaln(b).sum(-1) + drift


def surprise_beta(alpha: Array, beta: Array, prior_alpha: Array, prior_beta: Array) -> Array:
    return surprise_dirichlet(np.stack([alpha, beta], -1), np.stack([prior_alpha, prior_beta], -1))


def surprise_gamma(a: Array, rate: Array, prior_a: Array, prior_rate: Array) -> Array:
    gap = (a - prior_a) * digamma(a) - gammaln(a) + gammaln(prior_a)
    return gap + prior_a * np.log(rate / prior_rate) + a * (prior_rate - rate) / rate


def expected_information_gain(log_likelihoods: Array) -> Any:
    others = log_likelihoods[:, 1:]
    return (log_likelihoods[:, 0] - logsumexp(others, 1)).mean() + log(others.shape[1])


# Of neighbours, by all distances


def all_distances(x: Array, y: Array, linf: bool = False) -> Array:
    differences = np.abs(x[:, None] - y[None])
    return differences.max(-1) if linf else np.sqrt((differences**2).sum(-1))


def knn_distances(x: Array, k: int) -> Array:
    return np.sort(all_distances(x, x), axis=1)[:, 1 : k + 1]


def particle_kl_divergence(x: Array, y: Array, k: int, norm: str) -> Any:
    own = np.sort(all_distances(x, x, norm == "linf"), axis=1)[:, k]
    other = np.sort(all_distances(x, y, norm == "linf"), axis=1)[:, k - 1]
    return x.shape[1] * np.log(other / own).mean() + log(len(y) / (len(x) - 1))


def particle_conditional_mutual_information(x: Array, y: Array, z: Array, k: int) -> Any:
    of_x, of_y, of_z = (all_distances(part, part, True) for part in (x, y, z))
    xz, yz = np.maximum(of_x, of_z), np.maximum(of_y, of_z)
    radius = np.sort(np.maximum(xz, of_y), axis=1)[:, k, None]
    # The sample itself is inside, which is the 1 of ψ(n + 1).
    inside_z, inside_xz, inside_yz = (digamma((part < radius).sum(1)) for part in (of_z, xz, yz))
    return digamma(k) + (inside_z - inside_xz - inside_yz).mean()


# Of kernels and spectra


def gram(x: Array, y: Array | None = None, bandwidth: float = 1.0) -> Array:
    y = x if y is None else y
    squares = (x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T
    return np.exp(-np.maximum(squares, 0) / (2 * bandwidth**2))


def collision_entropy(matrix: Array) -> Any:
    return -np.log((matrix**2).sum() / np.trace(matrix) ** 2)


def matrix_mutual_information(gram_x: Array, gram_y: Array) -> Any:
    return collision_entropy(gram_x) + collision_entropy(gram_y) - collision_entropy(gram_x * gram_y)


def spectrum_entropy(values: Array) -> Any:
    p = values[values > 0] / values.sum()
    return shannon_entropy(p)


def von_neumann_entropy(features: Array) -> Any:
    rows = features / np.linalg.norm(features, axis=1, keepdims=True)
    return spectrum_entropy(np.linalg.eigvalsh(rows.T @ rows / len(rows)))


def effective_rank(features: Array) -> Any:
    return np.exp(spectrum_entropy(np.linalg.svd(features, compute_uv=False)))


def matrix_nuclear_norm(features: Array) -> Any:
    return np.linalg.svd(features, compute_uv=False).sum()


def centred(matrix: Array) -> Array:
    return matrix - matrix.mean(0) - matrix.mean(1)[:, None] + matrix.mean()


def cka(gram_x: Array, gram_y: Array) -> Any:
    x, y = centred(gram_x), centred(gram_y)
    return (x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum())


def mmd(x: Array, y: Array, bandwidth: float) -> Any:
    return gram(x, x, bandwidth).mean() + gram(y, y, bandwidth).mean() - 2 * gram(x, y, bandwidth).mean()


def cauchy_schwarz_divergence(x: Array, y: Array, bandwidth: float) -> Any:
    cross, own, other = (gram(*pair, bandwidth).mean() for pair in ((x, y), (x, x), (y, y)))
    return np.log(own) + np.log(other) - 2 * np.log(cross)


def diffusion_entropy(kernel: Array) -> Any:
    degree = kernel.sum(1)
    return spectrum_entropy(np.abs(np.linalg.eigvalsh(kernel / np.sqrt(degree[:, None] * degree))))


def diffusion_spectral_entropy(x: Array, bandwidth: float) -> Any:
    return diffusion_entropy(gram(x, x, bandwidth))


def diffusion_spectral_mutual_information(x: Array, labels: Array, num_classes: int, bandwidth: float) -> Any:
    kernel = gram(x, x, bandwidth)
    members = [np.flatnonzero(labels == label) for label in range(num_classes)]
    given = sum(len(rows) / len(x) * diffusion_entropy(kernel[np.ix_(rows, rows)]) for rows in members)
    return diffusion_entropy(kernel) - given


# Of critics' scores, positives on the diagonal


def off_diagonal(scores: Array) -> Array:
    """(B, B − 1) the negatives of each row."""
    size = len(scores)
    return scores[~np.eye(size, dtype=bool)].reshape(size, size - 1)


def donsker_varadhan(scores: Array) -> Any:
    negatives = off_diagonal(scores)
    return np.diag(scores).mean() - logsumexp(negatives) + log(negatives.size)


def tuba(scores: Array, log_baseline: float) -> Any:
    ratio = scores - log_baseline
    return 1 + np.diag(ratio).mean() - np.exp(off_diagonal(ratio)).mean()


def nwj(scores: Array) -> Any:
    return tuba(scores, 1.0)


def jensen_shannon(scores: Array) -> Any:
    return -np.logaddexp(0, -np.diag(scores)).mean() - np.logaddexp(0, off_diagonal(scores)).mean()


def interpolated(scores: Array, log_baseline: float, alpha: float) -> Any:
    size, weight = len(scores), np.exp(scores)
    rest = (weight.sum(1, keepdims=True) - weight) / (size - 1)
    mixed = np.log(alpha * rest + (1 - alpha) * np.exp(log_baseline))
    joint = np.diag(scores).mean() - off_diagonal(mixed).mean()
    return 1 + joint - np.exp(off_diagonal(scores - np.diag(mixed)[:, None])).mean()


def club(log_q: Array) -> Any:
    return np.diag(log_q).mean() - log_q.mean()


def leave_one_out(log_q: Array) -> Any:
    others = off_diagonal(log_q.T)
    return (np.diag(log_q) - logsumexp(others, 1)).mean() + log(others.shape[1])


def barber_agakov(log_q: Array, prior_entropy: float) -> Any:
    return prior_entropy + log_q.mean()


def vib_rate(mean: Array, scale: Array) -> Array:
    return ((mean**2 + scale**2 - 1) / 2 - np.log(scale)).sum(-1)


# Of diffusion scores, (times, samples, dimensions), and of units


def minde_conditional(conditional: Array, marginal: Array, times: Array, beta: float) -> Any:
    height = ((conditional - marginal) ** 2).sum(-1).mean(-1)
    return beta / 2 * ((height[1:] + height[:-1]) / 2 * np.diff(times)).sum()


def minde_joint(joint: Array, conditional_x: Array, conditional_y: Array, times: Array, beta: float) -> Any:
    return minde_conditional(joint, np.concatenate([conditional_x, conditional_y], -1), times, beta)


def nats_to_bits(value: Array) -> Array:
    return value / log(2)


def bits_to_nats(value: Array) -> Array:
    return value * log(2)
