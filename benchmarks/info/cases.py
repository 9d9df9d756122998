"""The cases: data made by numpy from fixed seeds, who takes part, exact references and bars. Shared by all processes.

A case names tasks of workers (`ours.py`, `peers/*.py`); a task takes the case's data and returns a function of nothing
that computes once. Data are float32 values everywhere, so that a peer working in float64 sees the same numbers.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from primitives import PRIMITIVES, Data, exact, normals

RHO = 0.75  # correlation of the pair of the mutual-information cases
CANONICAL = 0.5  # correlation of each of the 5 pairs of the Gaussian case
DIMENSIONS = 5
SYMBOLS = 64
NEIGHBOURS = 12  # of the particle reward
TAU = 5.0  # clipping of SMILE


class Entry(NamedTuple):
    """One row: a task of a worker; `repeats` where one turn costs half a minute."""

    worker: str
    task: str
    label: str
    repeats: int | None = None


class Bar(NamedTuple):
    """`ours` against every one of `peers` (labels; the worst counts).

    Kinds: faster (peer's time over ours, at least), slower (our time over the peer's, at most), value (difference of
    the values, at most), error (largest against the reference, at most), memory (peak MiB of the process, at most).
    """

    kind: str
    ours: str
    peers: tuple[str, ...]
    wanted: float


class Case(NamedTuple):
    """What is computed, on which data, by whom."""

    title: str
    data: Callable[[bool], Data]  # True: tiny, for a smoke test
    entries: tuple[Entry, ...]
    bars: tuple[Bar, ...] = ()
    truth: float | None = None  # of the distribution; an estimator differs from it by its own error
    reference: Callable[[Data], list[float]] | None = None  # of the formula on these data, in float64
    fresh: bool = False  # every entry in a process of its own, whose peak memory is the point
    primitive: str = ""  # the function of `infojax.info`, by module
    in_table: bool = False  # one row of its module's table, not a table of its own


def sample_rows(length: int) -> np.ndarray:
    """The rows of a result that are compared: at most 32, evenly spaced."""
    return np.linspace(0, length - 1, min(length, 32)).astype(int)


def digest(result: Any) -> list[float]:
    """The numbers of a result (array or tuple of arrays) that are compared."""
    numbers: list[float] = []
    for leaf in result if isinstance(result, tuple) else (result,):
        array = np.asarray(leaf)
        rows = array[sample_rows(len(array))] if array.ndim else array
        numbers += np.asarray(rows, np.float64).ravel().tolist()
    return numbers


def headline(result: Any) -> float:
    """The one number of a result that is shown: of its first array the value, or the mean of the compared rows."""
    return float(np.mean(digest(result[0] if isinstance(result, tuple) else result)))


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities in float64."""
    centred = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return centred - np.log(np.exp(centred).sum(-1, keepdims=True))


def entropy_of(log_p: np.ndarray) -> np.ndarray:
    """Entropy from log-probabilities."""
    return -(np.exp(log_p) * log_p).sum(-1)


# Data


def gaussian_cloud(n: int, d: int) -> Callable[[bool], Data]:
    """n samples of N(0, I_d)."""
    return lambda small: {"x": normals(0, 300 if small else n, d)}


def correlated_pair(small: bool) -> Data:
    """Two correlated standard normals, (n, 1) each."""
    z = normals(1, 300 if small else 10_000, 2)
    return {"x": z[:, :1], "y": (RHO * z[:, :1] + np.sqrt(1 - RHO**2) * z[:, 1:]).astype(np.float32)}


def wide_logits(small: bool) -> Data:
    """Logits of standard deviation 3."""
    return {"logits": 3 * normals(2, *((50, 7) if small else (100_000, 1000)))}


def gaussian_ensemble(small: bool) -> Data:
    """Means and standard deviations of 5 members."""
    shape = (5, 16, 3) if small else (5, 65_536, 32)
    return {"mean": normals(3, *shape), "scale": np.exp(0.3 * normals(4, *shape))}


def ensemble_logits(small: bool) -> Data:
    """Logits of 10 members around common ones."""
    members, n, classes = (10, 16, 5) if small else (10, 10_000, 100)
    return {"logits": 2 * normals(5, 1, n, classes) + normals(6, members, n, classes)}


def particles(small: bool) -> Data:
    """A batch of features."""
    return {"x": normals(7, *((64, 8) if small else (1024, 512)))}


def gram_of(x: np.ndarray) -> np.ndarray:
    """Gaussian gram matrix of bandwidth √d."""
    wide = x.astype(np.float64)
    squares = (wide**2).sum(1)
    distances = np.maximum(squares[:, None] + squares - 2 * wide @ wide.T, 0)
    return np.exp(-distances / (2 * x.shape[1])).astype(np.float32)


def gram_pair(small: bool) -> Data:
    """Gram matrices of two dependent samples."""
    x, noise = normals(8, 40 if small else 1000, 8), normals(9, 40 if small else 1000, 8)
    return {"gram_x": gram_of(x), "gram_y": gram_of((0.7 * x + 0.7 * noise).astype(np.float32))}


def gaussian_blocks(small: bool) -> Data:
    """X and Y of 5 dimensions, in pairs of correlation 0.5."""
    x, noise = normals(10, 300 if small else 10_000, DIMENSIONS), normals(11, 300 if small else 10_000, DIMENSIONS)
    return {"x": x, "y": (CANONICAL * x + np.sqrt(1 - CANONICAL**2) * noise).astype(np.float32)}


def symbols(small: bool) -> Data:
    """Symbols of unequal probability."""
    p = np.arange(1, SYMBOLS + 1) / (SYMBOLS * (SYMBOLS + 1) / 2)
    return {"x": np.random.default_rng(12).choice(SYMBOLS, 5000 if small else 1_000_000, p=p).astype(np.int32)}


def critic_scores(small: bool) -> Data:
    """The optimal critic log p(y|x) / p(y) of a Gaussian pair, at all pairs of a batch."""
    n, rho = 64 if small else 1024, 0.9
    z = normals(13, n, 2).astype(np.float64)
    x, y = z[:, :1], (rho * z[:, :1] + np.sqrt(1 - rho**2) * z[:, 1:]).T
    scores = -0.5 * np.log(1 - rho**2) - (y - rho * x) ** 2 / (2 * (1 - rho**2)) + y**2 / 2
    return {"scores": scores.astype(np.float32)}


# References in float64


def blocks(array: np.ndarray, size: int = 1000) -> Iterator[np.ndarray]:
    """Consecutive rows, for little memory."""
    return (array[start : start + size] for start in range(0, len(array), size))


def logits_entropy(data: Data) -> list[float]:
    """Entropy of the compared rows."""
    return entropy_of(log_softmax(data["logits"][sample_rows(len(data["logits"]))])).tolist()


def logits_entropy_gradient(data: Data) -> list[float]:
    """The sum of all entropies and −p (log p + H) at the compared rows."""
    total = sum(float(entropy_of(log_softmax(block)).sum()) for block in blocks(data["logits"]))
    log_p = log_softmax(data["logits"][sample_rows(len(data["logits"]))])
    return [total, *(-np.exp(log_p) * (log_p + entropy_of(log_p)[:, None])).ravel().tolist()]


def information_gain(data: Data) -> list[float]:
    """½ Σ log(Var μ + mean σ²) − mean log σ²."""
    rows = sample_rows(data["mean"].shape[1])
    mean, variance = data["mean"][:, rows].astype(np.float64), data["scale"][:, rows].astype(np.float64) ** 2
    return (0.5 * (np.log(mean.var(0) + variance.mean(0)) - np.log(variance).mean(0)).sum(-1)).tolist()


def bald(data: Data) -> list[float]:
    """Entropy of the mean prediction minus the mean entropy."""
    log_p = log_softmax(data["logits"][:, sample_rows(data["logits"].shape[1])])
    return (entropy_of(np.log(np.exp(log_p).mean(0))) - entropy_of(log_p).mean(0)).tolist()


def apt_reward(data: Data) -> list[float]:
    """log(1 + mean distance to the 12 nearest others), by plain differences."""
    x = data["x"].astype(np.float64)
    distances = (np.sort(np.sqrt(((x - x[row]) ** 2).sum(1)))[1 : NEIGHBOURS + 1] for row in sample_rows(len(x)))
    return [float(np.log1p(nearest.mean())) for nearest in distances]


def renyi_two(data: Data) -> list[float]:
    """−log Σ λ² of the gram matrix over its trace."""
    gram = data["gram_x"].astype(np.float64)
    return [float(-np.log((np.linalg.eigvalsh(gram / np.trace(gram)) ** 2).sum()))]


def hsic(data: Data) -> list[float]:
    """tr(KHLH) / (n−1)²."""
    n = len(data["gram_x"])
    centring = np.eye(n) - 1 / n
    return [float(np.trace(data["gram_x"] @ centring @ data["gram_y"] @ centring) / (n - 1) ** 2)]


def gaussian_information(data: Data) -> list[float]:
    """½ (log det Cx + log det Cy − log det C) of the sample covariance."""
    cov = np.cov(np.hstack([data["x"], data["y"]]).astype(np.float64).T)
    log_det = [np.linalg.slogdet(c)[1] for c in (cov[:DIMENSIONS, :DIMENSIONS], cov[DIMENSIONS:, DIMENSIONS:], cov)]
    return [float(0.5 * (log_det[0] + log_det[1] - log_det[2]))]


def plugin_entropy(data: Data) -> list[float]:
    """Entropy of the observed frequencies."""
    p = np.bincount(data["x"], minlength=SYMBOLS) / len(data["x"])
    return [float(-(p[p > 0] * np.log(p[p > 0])).sum())]


def log_mean_exp(scores: np.ndarray, **axis: int) -> Any:
    """Logarithm of the mean of exp."""
    return np.log(np.exp(scores - scores.max()).mean(**axis)) + scores.max()


def infonce(data: Data) -> list[float]:
    """Mean over rows of the positive minus the log-mean-exp of its row."""
    scores = data["scores"].astype(np.float64)
    return [float(np.mean(np.diag(scores) - log_mean_exp(scores, axis=1)))]


def smile(data: Data) -> list[float]:
    """Mean positive minus the log-mean-exp of the clipped negatives."""
    scores = data["scores"].astype(np.float64)
    negatives = np.clip(scores, -TAU, TAU)[~np.eye(len(scores), dtype=bool)]
    return [float(np.diag(scores).mean() - log_mean_exp(negatives))]


# Cases

LABELS = {"numpy_scipy": "numpy, scipy", "tfp": "tfp on jax", "scikit_learn": "scikit-learn", "npeet": "NPEET"}


def primitive_case(name: str) -> Case:
    """One of the many small ones: ours, the formula in numpy, and the libraries that have the function."""
    workers = ("numpy_scipy", *PRIMITIVES[name].peers)
    return Case(
        name,
        PRIMITIVES[name].data,
        (Entry("ours", name, "infojax"), *(Entry(worker, name, LABELS.get(worker, worker)) for worker in workers)),
        reference=lambda data: digest(exact(name, data)),
        primitive=name,
        in_table=True,
    )


GAUSSIAN_ENTROPY = 0.5 * np.log(2 * np.pi * np.e)  # per dimension
GAUSSIAN_PAIR = -0.5 * np.log1p(-(RHO**2))
BRUTE = ("scikit-learn brute force", "scikit-learn brute force, float32")


def knn_case(d: int, bars: tuple[Bar, ...]) -> Case:
    """Kozachenko–Leonenko entropy of N(0, I_d)."""
    return Case(
        f"k-NN entropy, n = 10,000, d = {d}, k = 3",
        gaussian_cloud(10_000, d),
        (
            Entry("ours", "knn_entropy", "infojax"),
            Entry("numpy_scipy", "knn_entropy", "scipy cKDTree, one worker"),
            Entry("numpy_scipy", "knn_entropy_all_workers", "scipy cKDTree, all workers"),
            Entry("scikit_learn", "knn_entropy", BRUTE[0]),
            Entry("scikit_learn", "knn_entropy_float32", BRUTE[1]),
            Entry("npeet", "knn_entropy", "NPEET (max-norm)"),
            Entry("infomeasure", "knn_entropy", "infomeasure"),
            Entry("hoi", "knn_entropy", "HOI", repeats=1),
        ),
        (Bar("value", "infojax", ("scipy cKDTree, one worker",), 1e-3), Bar("faster", "infojax", ("HOI",), 100), *bars),
        truth=float(d * GAUSSIAN_ENTROPY),
        primitive="particle.knn_entropy",
    )


def logits_case(title: str, task: str, reference: Callable[[Data], list[float]], wanted: float) -> Case:
    """Entropy of a large matrix of logits; scipy has no gradient."""
    return Case(
        f"entropy of (100000, 1000) float32 logits, {title}",
        wide_logits,
        (
            Entry("ours", task, "infojax"),
            Entry("distrax", task, "distrax"),
            Entry("tfp", task, "tfp on jax"),
            Entry("optax", task, "optax softmax_cross_entropy(z, softmax(z))"),
            Entry("plain_jax", task, "jax entr(softmax)"),
            *((Entry("numpy_scipy", task, "scipy entr(softmax)"),) if task == "logits_entropy" else ()),
        ),
        (Bar("faster", "infojax", ("distrax",), wanted), Bar("error", "infojax", (), 1e-5)),
        reference=reference,
        primitive="categorical.entropy",
    )


KSG_OURS = ("infojax, algorithm 1", "infojax, algorithm 2")
EIGENVALUES = ("numpy eigvalsh", "numpy eigvalsh, float64", "jax eigvalsh")

CASES = {
    "knn_entropy_d2": knn_case(2, (Bar("slower", "infojax", ("scipy cKDTree, one worker",), 8),)),
    "knn_entropy_d16": knn_case(
        16, (Bar("faster", "infojax", BRUTE, 1.5), Bar("faster", "infojax", ("NPEET (max-norm)",), 4))
    ),
    "knn_memory": Case(
        "k-NN entropy, n = 100,000, d = 16, k = 3: peak memory of a fresh process",
        gaussian_cloud(100_000, 16),
        (
            Entry("ours", "knn_entropy", "infojax", repeats=1),
            Entry("scikit_learn", "knn_entropy", BRUTE[0], repeats=1),
        ),
        (Bar("memory", "infojax", (), 1024),),
        truth=float(16 * GAUSSIAN_ENTROPY),
        fresh=True,
        primitive="particle.knn_entropy",
    ),
    "ksg": Case(
        "KSG mutual information, n = 10,000, 1 + 1, correlation 0.75, k = 3",
        correlated_pair,
        (
            Entry("ours", "ksg_one", KSG_OURS[0]),
            Entry("ours", "ksg_two", KSG_OURS[1]),
            Entry("scikit_learn", "ksg", "scikit-learn mutual_info_regression"),
            Entry("ennemi", "ksg", "ennemi"),
            Entry("npeet", "ksg", "NPEET"),
            Entry("infomeasure", "ksg_one", "infomeasure, algorithm 1"),
            Entry("infomeasure", "ksg_two", "infomeasure, algorithm 2"),
            Entry("numpy_scipy", "ksg_two", "numpy float64, brute force, algorithm 2", repeats=1),
            Entry("hoi", "ksg", "HOI", repeats=1),
            Entry("bmi", "ksg", "bmi KSGEnsembleFirst"),
        ),
        (
            *(Bar("faster", ours, (peer,), 30) for ours in KSG_OURS for peer in ("HOI", "bmi KSGEnsembleFirst")),
            *(Bar("slower", ours, ("scikit-learn mutual_info_regression",), 5) for ours in KSG_OURS),
            Bar("value", KSG_OURS[0], ("NPEET",), 1e-3),
            Bar("value", KSG_OURS[1], ("numpy float64, brute force, algorithm 2",), 1e-3),
        ),
        truth=float(GAUSSIAN_PAIR),
        primitive="particle.ksg_mutual_information",
    ),
    "logits_entropy": logits_case("forward", "logits_entropy", logits_entropy, 3),
    "logits_entropy_gradient": logits_case(
        "value and gradient of the sum", "logits_entropy_gradient", logits_entropy_gradient, 4
    ),
    "information_gain": Case(
        "Gaussian information gain of an ensemble (5, 65536, 32)",
        gaussian_ensemble,
        (Entry("ours", "information_gain", "infojax"), Entry("numpy_scipy", "information_gain", "numpy")),
        (Bar("error", "infojax", (), 1e-5),),
        reference=information_gain,
        primitive="ensemble.gaussian_information_gain",
    ),
    "bald": Case(
        "BALD of an ensemble of logits (10, 10000, 100)",
        ensemble_logits,
        (Entry("ours", "bald", "infojax"), Entry("numpy_scipy", "bald", "scipy")),
        (Bar("error", "infojax", (), 1e-5),),
        reference=bald,
        primitive="categorical.mutual_information",
    ),
    "particle_reward": Case(
        "particle reward (apt), 1024 x 512, k = 12",
        particles,
        (Entry("ours", "particle_reward", "infojax"), Entry("numpy_scipy", "particle_reward", "numpy")),
        (Bar("faster", "infojax", ("numpy",), 2), Bar("error", "infojax", (), 1e-5)),
        reference=apt_reward,
        primitive="particle.particle_reward",
    ),
    "matrix_renyi": Case(
        "matrix Renyi entropy, alpha = 2, n = 1000",
        gram_pair,
        (
            Entry("ours", "matrix_renyi", "infojax"),
            Entry("numpy_scipy", "matrix_renyi", EIGENVALUES[0]),
            Entry("numpy_scipy", "matrix_renyi_float64", EIGENVALUES[1]),
            Entry("plain_jax", "matrix_renyi", EIGENVALUES[2]),
        ),
        (Bar("faster", "infojax", EIGENVALUES, 100), Bar("error", "infojax", (), 1e-5)),
        reference=renyi_two,
        primitive="kernel.matrix_renyi_entropy",
    ),
    "gaussian_mi": Case(
        "Gaussian mutual information from samples, n = 10,000, 5 + 5",
        gaussian_blocks,
        (
            Entry("ours", "gaussian_mi", "infojax"),
            Entry("hoi", "gaussian_mi", "HOI mi_gauss"),
            Entry("frites", "gaussian_mi", "frites mi_nd_gg"),
            Entry("numpy_scipy", "gaussian_mi", "numpy slogdet"),
        ),
        (Bar("error", "infojax", (), 1e-5),),
        truth=float(-DIMENSIONS / 2 * np.log1p(-(CANONICAL**2))),
        reference=gaussian_information,
        primitive="gaussian.mutual_information",
    ),
    "plugin_entropy": Case(
        "plug-in entropy, n = 1,000,000, 64 symbols",
        symbols,
        (
            Entry("ours", "plugin_entropy", "infojax"),
            Entry("numpy_scipy", "plugin_entropy", "numpy bincount, scipy entr"),
            Entry("pyinform", "plugin_entropy", "pyinform block_entropy"),
            Entry("npeet", "plugin_entropy", "NPEET entropyd"),
            Entry("infomeasure", "plugin_entropy", "infomeasure"),
        ),
        (Bar("error", "infojax", (), 1e-5),),
        reference=plugin_entropy,
        primitive="discrete.plugin_entropy",
    ),
    "hsic": Case(
        "HSIC of two gram matrices, n = 1000",
        gram_pair,
        (Entry("ours", "hsic", "infojax"), Entry("numpy_scipy", "hsic", "numpy")),
        (Bar("error", "infojax", (), 1e-5),),
        reference=hsic,
        primitive="kernel.hsic",
    ),
    "infonce": Case(
        "InfoNCE of 1024 x 1024 scores",
        critic_scores,
        (Entry("ours", "infonce", "infojax"), Entry("numpy_scipy", "infonce", "scipy logsumexp")),
        (Bar("error", "infojax", (), 1e-5),),
        truth=float(-0.5 * np.log1p(-(0.9**2))),
        reference=infonce,
        primitive="bounds.infonce",
    ),
    "smile": Case(
        "SMILE (tau = 5) of 1024 x 1024 scores",
        critic_scores,
        (Entry("ours", "smile", "infojax"), Entry("numpy_scipy", "smile", "scipy logsumexp")),
        (Bar("error", "infojax", (), 1e-5),),
        truth=float(-0.5 * np.log1p(-(0.9**2))),
        reference=smile,
        primitive="bounds.smile",
    ),
}

CASES |= {name: primitive_case(name) for name in PRIMITIVES}
