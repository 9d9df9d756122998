"""Intervals over seeds: against scipy, by hand, and by how often they cover the truth."""

import numpy as np
import pytest
from scipy import stats

from infojax.run.statistics import STATISTICS, bootstrap_interval, interquartile_mean, mean_interval
from infojax.types import UserError


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 10, 12, 101])
def test_interquartile_mean_is_the_trimmed_mean(count):
    values = np.random.default_rng(count).standard_cauchy(count)
    np.testing.assert_allclose(interquartile_mean(values), stats.trim_mean(values, 0.25), rtol=1e-12)


def test_interquartile_mean_cuts_whole_values_by_hand():
    assert interquartile_mean([100.0, 1.0, 2.0, -50.0]) == 1.5
    assert interquartile_mean([5.0, 1.0, 9.0]) == 5.0  # three values: none is cut
    # Six values: one is cut at each end, never one and a half.
    assert interquartile_mean([0.0, 1.0, 2.0, 3.0, 4.0, 1000.0]) == 2.5
    np.testing.assert_array_equal(interquartile_mean([[0.0, 9], [1, 9], [2, 9], [50, 9]], axis=0), [1.5, 9])


def test_mean_interval_is_student_by_hand():
    mean, low, high = mean_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    # t(0.975, 4) = 2.776445, s = sqrt(2.5)
    assert mean == 3
    np.testing.assert_allclose([low, high], 3 + np.array([-1, 1]) * 2.776445 * np.sqrt(2.5 / 5), rtol=1e-6)


def test_mean_interval_covers_as_often_as_it_says_with_five_seeds():
    samples = np.random.default_rng(0).normal(3.0, 2.0, (3000, 5))
    found = [mean_interval(sample, 0.9) for sample in samples]
    coverage = np.mean([low <= 3.0 <= high for _, low, high in found])
    assert abs(coverage - 0.9) < 0.02


@pytest.mark.parametrize("statistic", ["mean", "iqm"])
def test_bootstrap_covers_the_centre_of_normals(statistic):
    # Every column is an experiment of its own with 40 seeds.
    samples = np.random.default_rng(1).normal(-1.0, 3.0, (40, 600))
    value, low, high = bootstrap_interval(samples, statistic, num_resamples=500)
    assert abs(np.mean((low <= -1.0) & (high >= -1.0)) - 0.94) < 0.03
    assert ((low < value) & (value < high)).all()


def test_bootstrap_of_the_mean_is_as_wide_as_the_normal_theory_says():
    values = np.random.default_rng(2).normal(0, 1, 400)
    value, low, high = bootstrap_interval(values, num_resamples=5000)
    assert value == pytest.approx(values.mean())
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.06)
    _, narrow_low, narrow_high = bootstrap_interval(values, confidence=0.5, num_resamples=5000)
    assert narrow_high - narrow_low == pytest.approx(2 * 0.6745 * values.std() / 20, rel=0.08)


def test_bootstrap_is_the_one_of_scipy():
    values = np.random.default_rng(7).exponential(size=12)
    peers = {"mean": np.mean, "iqm": lambda x, axis: stats.trim_mean(x, 0.25, axis=axis)}
    for name in STATISTICS:
        _, low, high = bootstrap_interval(values, name, num_resamples=20_000)
        peer = stats.bootstrap(
            (values,), peers[name], n_resamples=20_000, method="percentile", rng=0
        ).confidence_interval
        np.testing.assert_allclose([low, high], [peer.low, peer.high], rtol=0.02)


def test_bootstrap_ends_are_the_percentiles_of_all_resamples():
    # Two seeds: the mean of a resample is 0, 1/2 or 1 with probabilities 1/4, 1/2, 1/4.
    assert bootstrap_interval([0.0, 1.0]) == (0.5, 0.0, 1.0)
    assert bootstrap_interval([0.0, 1.0], confidence=0.3) == (0.5, 0.5, 0.5)


def test_iqm_shrugs_off_one_wild_seed():
    values = np.array([1.0, 1.1, 0.9, 1.0, 1.05, 0.95, 1.0, 1e6])
    assert bootstrap_interval(values, "iqm").value == pytest.approx(1.0, abs=0.05)
    assert bootstrap_interval(values, "mean").value > 1e5


def test_one_seed_no_seed_and_missing_seeds():
    assert bootstrap_interval([4.0]) == mean_interval([4.0]) == (4.0, 4.0, 4.0)
    assert np.isnan(bootstrap_interval([np.nan, np.inf])).all()
    assert np.isnan(mean_interval([np.nan])).all()
    assert np.isnan(bootstrap_interval([])).all()
    full = [1.0, 2.0, 5.0]
    assert bootstrap_interval([1.0, np.nan, 2.0, -np.inf, 5.0]) == bootstrap_interval(full)
    assert mean_interval([1.0, np.nan, 2.0, 5.0]) == mean_interval(full)


def test_columns_are_what_each_alone_would_be():
    values = np.random.default_rng(3).normal(size=(6, 5))
    values[2, 1] = values[0, 3] = np.nan
    values[1:, 4] = np.nan
    together = bootstrap_interval(values, num_resamples=300)
    for column in range(5):
        alone = bootstrap_interval(values[:, column], num_resamples=300)
        np.testing.assert_allclose([entry[column] for entry in together], alone, rtol=1e-12)


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(4).normal(size=9)
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values) != bootstrap_interval(values, seed=1)


def test_wrong_words_are_refused():
    with pytest.raises(UserError, match=r"statistic='median'.*mean, iqm"):
        bootstrap_interval([1.0], "median")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match=r"confidence=95.*0\.95"):
        bootstrap_interval([1.0], confidence=95)
    with pytest.raises(UserError, match="confidence=0"):
        mean_interval([1.0], confidence=0)
