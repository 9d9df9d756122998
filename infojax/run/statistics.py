"""Means over seeds with their uncertainty: Student's interval, the interquartile mean, the percentile bootstrap.

Over several tasks, such as environments, seeds are pooled and drawn within each task (Agarwal et al., 2021, "Deep
Reinforcement Learning at the Edge of the Statistical Precipice"), and a performance profile says how many seeds do
better than each score.

Values that are not finite (a seed that never finished an episode) are left out; nothing left gives NaN. One value
alone says nothing about its spread, so its interval is the value itself.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy import stats

Statistic = Literal["mean", "iqm"]


class Interval(NamedTuple):
    """An estimate and its interval; floats, or arrays where many columns were asked for at once."""

    value: Any
    low: Any
    high: Any


def interquartile_mean(values: Any, axis: int = -1) -> Any:
    """Mean of what is left when the lowest and the highest quarter are cut off.

    Of n values floor(n / 4) are cut at each end, as `scipy.stats.trim_mean(values, 0.25)` and rliable do: no value is
    ever counted in part, and of fewer than four values none is cut.
    """
    ordered = np.sort(np.asarray(values, np.float64), axis=axis)
    count = ordered.shape[axis]
    kept = np.take(ordered, np.arange(count // 4, count - count // 4), axis=axis)
    return np.mean(kept, axis=axis)


STATISTICS: dict[Statistic, Callable[..., Any]] = {"mean": np.mean, "iqm": interquartile_mean}


def mean_interval(values: Any, confidence: float = 0.95) -> Interval:
    """Mean of `values` [S] with Student's t interval: exact for normal values even where seeds are few."""
    _check_confidence(confidence)
    kept = _finite(values)
    if kept.size == 0:
        return Interval(np.nan, np.nan, np.nan)
    mean = float(np.mean(kept))
    if kept.size == 1:
        return Interval(mean, mean, mean)
    half = stats.t.ppf((1 + confidence) / 2, kept.size - 1) * np.std(kept, ddof=1) / np.sqrt(kept.size)
    return Interval(mean, mean - float(half), mean + float(half))


def bootstrap_interval(
    values: Any,
    statistic: Statistic = "mean",
    confidence: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap over seeds of the mean or the interquartile mean.

    Args:
        values: [S] one number per seed, or [S, T] for T columns at once (a learning curve).
        statistic: `mean` or `iqm`.
        confidence: share of the bootstrap distribution inside the interval.
        num_resamples: how often the seeds are drawn with replacement.
        seed: of the draws; the same values give the same interval.

    Returns:
        The estimate with low and high ends: floats of [S], arrays [T] of [S, T]. With few seeds (below about ten) the
        percentile bootstrap is known to be too narrow; `mean_interval` is not.

    Raises:
        UserError: an unknown statistic, or a confidence outside (0, 1).
    """
    estimate = _estimate_of(statistic)
    _check_confidence(confidence)
    array = np.asarray(values, np.float64)
    columns = array.reshape(len(array), math.prod(array.shape[1:]))
    found = np.full((3, columns.shape[1]), np.nan)
    # Columns that lack the same seeds share their draws, so that a whole curve is one call.
    patterns, group = np.unique(np.isfinite(columns), axis=1, return_inverse=True)
    for index, present in enumerate(patterns.T):
        mine = group.reshape(-1) == index
        kept = columns[np.ix_(present, mine)]
        if len(kept) == 0:
            continue
        value = estimate(kept, axis=0)
        low, high = value, value
        if len(kept) > 1:
            draws = np.random.default_rng(seed).integers(0, len(kept), (num_resamples, len(kept)))
            batches = np.array_split(draws, 1 + draws.size * kept.shape[1] // 1_000_000)  # bounds memory
            resampled = np.concatenate([estimate(kept[batch], axis=1) for batch in batches])
            low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
        found[:, mine] = value, low, high
    if array.ndim == 1:
        return Interval(*(float(entry[0]) for entry in found))
    return Interval(*(entry.reshape(array.shape[1:]) for entry in found))


def stratified_interval(
    strata: Sequence[Any],
    statistic: Statistic = "iqm",
    confidence: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean or interquartile mean of all scores, with the stratified percentile bootstrap.

    Args:
        strata: for each task its scores [S], one for each seed; their numbers may differ.
        statistic: `mean` or `iqm`, of the scores of all tasks together.
        confidence: share of the bootstrap distribution inside the interval.
        num_resamples: how often seeds are drawn, with replacement, each task's from its own.
        seed: of the draws; the same scores give the same interval.

    Returns:
        The estimate with low and high ends. Seeds alone are drawn, never tasks: it says how the number would vary
        with other seeds on the same tasks.

    Raises:
        UserError: an unknown statistic, or a confidence outside (0, 1).
    """
    estimate = _estimate_of(statistic)
    _check_confidence(confidence)
    scores = [kept for stratum in strata if (kept := _finite(stratum)).size]
    if not scores:
        return Interval(np.nan, np.nan, np.nan)
    value = float(estimate(np.concatenate(scores)))
    resampled = estimate(_resampled(scores, num_resamples, seed), axis=1)
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, float(low), float(high))


def performance_profile(
    strata: Sequence[Any], thresholds: Any, confidence: float = 0.95, num_resamples: int = 2000, seed: int = 0
) -> Interval:
    """Share of all scores above each of the `thresholds` [T], with the stratified percentile bootstrap.

    Args:
        strata: for each task its scores [S], one for each seed.
        thresholds: [T] scores.
        confidence: share of the bootstrap distribution inside the interval.
        num_resamples: how often seeds are drawn, with replacement, each task's from its own.
        seed: of the draws.

    Returns:
        Shares [T] with low and high ends [T], point by point; NaN where there is no score.

    Raises:
        UserError: a confidence outside (0, 1).
    """
    _check_confidence(confidence)
    thresholds = np.asarray(thresholds, np.float64)
    scores = [kept for stratum in strata if (kept := _finite(stratum)).size]
    if not scores:
        return Interval(*np.full((3, len(thresholds)), np.nan))
    everything = np.concatenate(scores)
    share = np.mean(everything[:, None] > thresholds, axis=0)
    # Shares above a threshold are ranks in what was drawn: sorting once serves all thresholds.
    drawn = np.sort(_resampled(scores, num_resamples, seed), axis=1)
    above = np.array([len(everything) - np.searchsorted(row, thresholds, side="right") for row in drawn])
    ends = np.quantile(above / len(everything), [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return Interval(share, *ends)


def _resampled(strata: Sequence[np.ndarray], num_resamples: int, seed: int) -> np.ndarray:
    """Scores [num_resamples, all] in which each stratum is drawn with replacement from itself."""
    generator = np.random.default_rng(seed)
    drawn = [stratum[generator.integers(0, stratum.size, (num_resamples, stratum.size))] for stratum in strata]
    return np.concatenate(drawn, axis=1)


def _finite(values: Any) -> np.ndarray:
    array = np.asarray(values, np.float64).reshape(-1)
    return array[np.isfinite(array)]


def _estimate_of(statistic: Statistic) -> Callable[..., Any]:
    if statistic not in STATISTICS:
        raise _user_error(f"statistic={statistic!r} is unknown; choose one of {', '.join(STATISTICS)}")
    return STATISTICS[statistic]


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise _user_error(f"confidence={confidence} must lie between 0 and 1; 0.95 is usual")


def _user_error(message: str) -> Exception:
    # jax, which types.py loads, is not worth a second of start-up before something is wrong.
    from infojax.types import UserError

    return UserError(message)
