"""Reports of sweeps: statistics against rliable, swept keys, the best configuration, and the pictures of all."""

import itertools
import json

import matplotlib.image
import numpy as np
import pytest
import yaml
from matplotlib.patches import Rectangle

from infojax.run import ranking
from infojax.run.config import record_run
from infojax.run.report import rank_runs, read_run, report
from infojax.run.statistics import interquartile_mean, performance_profile, stratified_interval
from infojax.types import UserError

RETURN = "evaluation/deterministic/return"
TASKS = np.arange(3)[None, :]
SEEDS = np.arange(5)[:, None]
SCORES = np.sin(1.7 * SEEDS + 2.9 * TASKS) + 0.5 * TASKS + 6.0 * (SEEDS == 4) * (TASKS == 1)  # 5 runs of 3 tasks
THRESHOLDS = [-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 6.0]
# What rliable 1.2.0 gives for SCORES: aggregate_iqm; run_score_deviation of each threshold; and, by its stratified
# percentile bootstrap, the ends of the first (mean of 4 seeds with 2,000 repetitions, which differ by 0.011 and 0.018)
# and of the second (5,000 repetitions).
RLIABLE_IQM = 0.6153684355434065
RLIABLE_PROFILE = np.array([15, 14, 11, 9, 5, 2, 1, 1]) / 15
RLIABLE_IQM_ENDS = (0.19229189897862087, 1.073840268458703)
RLIABLE_PROFILE_ENDS = np.array([[15, 12, 8, 6, 2, 0, 0, 0], [15, 15, 14, 12, 8, 5, 3, 3]]) / 15


def strata(scores):
    return list(np.asarray(scores).T)


# --- statistics --------------------------------------------------------------------------------------------------


def test_the_interquartile_mean_over_tasks_is_that_of_rliable():
    assert stratified_interval(strata(SCORES)).value == pytest.approx(RLIABLE_IQM, rel=1e-12)
    assert interquartile_mean(SCORES.ravel()) == pytest.approx(RLIABLE_IQM, rel=1e-12)


def test_the_stratified_bootstrap_is_that_of_rliable():
    _, low, high = stratified_interval(strata(SCORES), num_resamples=20_000)
    assert low == pytest.approx(RLIABLE_IQM_ENDS[0], abs=0.03)
    assert high == pytest.approx(RLIABLE_IQM_ENDS[1], abs=0.05)


def test_the_performance_profile_is_that_of_rliable():
    share, low, high = performance_profile(strata(SCORES), THRESHOLDS, num_resamples=5000)
    np.testing.assert_allclose(share, RLIABLE_PROFILE, rtol=1e-12)
    np.testing.assert_allclose([low, high], RLIABLE_PROFILE_ENDS, atol=1 / 15 + 1e-9)  # ends are steps of 1 / 15


def test_seeds_are_drawn_within_their_task():
    # Tasks that differ and seeds that do not: nothing is left to chance, where a bootstrap of all would spread.
    assert stratified_interval([[1.0] * 4, [9.0] * 4], "mean") == (5.0, 5.0, 5.0)
    one = stratified_interval([[0.0, 1.0, 2.0], [10.0]], "mean", num_resamples=5000)
    assert one.value == pytest.approx(13 / 4)
    assert (one.low, one.high) == (pytest.approx(10 / 4), pytest.approx(16 / 4))


def test_what_is_missing_is_left_out_and_wrong_words_are_refused():
    assert stratified_interval([[1.0, np.nan, 2.0], [np.nan]]) == stratified_interval([[1.0, 2.0]])
    assert np.isnan(stratified_interval([[np.nan], []])).all()
    assert np.isnan(np.stack(performance_profile([[]], [0.0, 1.0]))).all()
    with pytest.raises(UserError, match="statistic='median'"):
        stratified_interval([[1.0]], "median")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="confidence=95"):
        performance_profile([[1.0]], [0.0], confidence=95)


# --- swept keys --------------------------------------------------------------------------------------------------


def make_run(folder, score, *, seed=0, num_seeds=1, env="maze/open", agent="sac", metric=RETURN, top=None, **settings):
    """A run directory as training leaves it, whose seeds reach `score` and a tenth more each."""
    folder.mkdir(parents=True)
    config = {"seed": seed, "num_seeds": num_seeds, "total_steps": 500, "run_dir": str(folder), **(top or {})}
    config["agent"] = {"_target_": f"infojax.agents.{agent}.make", **settings}
    config["choices"] = {"agent": agent, "objective": agent if agent == "diayn" else "none", "env": env}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    rows = [
        {"step": step, "seed": seed + index, metric: share * (score + 0.1 * index), "train/loss": 1.0}
        for step, share in ((250, 0.5), (500, 1.0))
        for index in range(num_seeds)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "status.json").write_text(json.dumps({"status": "done", "reason": ""}))
    (folder / "summary.json").write_text(json.dumps({"headline": metric, "metrics": {}}))
    return folder


def config(agent="sac", top=None, env="maze/open", objective="none", **settings):
    return {
        "seed": 0,
        "run_dir": "x",
        **(top or {}),
        "agent": settings,
        "choices": {"agent": agent, "objective": objective, "env": env},
    }


def test_swept_keys_are_those_that_vary_on_their_own():
    grid = [config(rate=rate, batch=batch, same=1) for rate, batch in itertools.product((1e-3, 1e-4), (64, 128))]
    assert ranking.swept_keys(grid) == ["agent.batch", "agent.rate"]
    assert ranking.swept_keys([config(seed=0) | {"seed": seed} for seed in range(3)]) == []
    # An agent brings settings and an objective of its own, which were not swept; a rate that differs within one was.
    agents = [config("sac", batch=64), config("diayn", objective="diayn", skills=8, batch=256)]
    assert ranking.swept_keys(agents) == ["agent"]
    assert ranking.swept_keys([*agents, config("sac", batch=128)]) == ["agent", "agent.batch"]
    # A capacity of at most total_steps follows from it, and so does a function of it in a grid.
    longer = [
        config(top={"total_steps": steps}, capacity=min(steps, 2000), double=2 * steps, rate=rate)
        for steps, rate in itertools.product((1000, 2000, 4000), (1e-3, 1e-4))
    ]
    assert ranking.swept_keys(longer) == ["total_steps", "agent.rate"]
    # In a search every value of every key is there once: each is a key of its own.
    search = [config(rate=rate, batch=batch) for rate, batch in ((1e-3, 64), (2e-3, 32), (5e-4, 128))]
    assert ranking.swept_keys(search) == ["agent.batch", "agent.rate"]


def test_the_best_configuration_over_seeds_and_environments(tmp_path):
    runs = []
    for (rate, gain), (env, scale), seed in itertools.product(
        ((1e-3, 1.0), (1e-4, 3.0), (1e-5, 2.0)), (("maze/open", 1.0), ("maze/u", 100.0)), (0, 2)
    ):
        folder = tmp_path / f"{rate}-{env.replace('/', '_')}-{seed}"
        runs.append(read_run(make_run(folder, scale * gain, seed=seed, num_seeds=2, env=env, rate=rate)))
    found = rank_runs(runs)
    assert (found.metric, found.keys, found.environments) == (RETURN, ["agent.rate"], ["maze/open", "maze/u"])
    assert [one.values["agent.rate"] for one in found.configurations] == [1e-4, 1e-5, 1e-3]
    best = found.configurations[0]
    assert sorted(best.members) == [4, 5, 6, 7]
    np.testing.assert_allclose(np.sort(best.scores["maze/open"]), [3.0, 3.0, 3.1, 3.1])
    # Between the lowest seed of the sweep, 1 or 100, and its highest, 3.1 or 300.1.
    np.testing.assert_allclose(np.sort(best.strata[0]), [2 / 2.1, 2 / 2.1, 1, 1])
    np.testing.assert_allclose(np.sort(best.strata[1]), [200 / 200.1, 200 / 200.1, 1, 1])
    heads, rows = ranking.table(found)
    assert heads == ["agent.rate", "seeds", "IQM (0 to 1 in each environment)", "95 % interval", "maze/open", "maze/u"]
    assert [row[:2] for row in rows] == [["0.0001", "8"], ["1e-05", "8"], ["0.001", "8"]]
    assert rows[0][4:] == ["3.050", "300.1"]
    assert ranking.best_sentence(found).startswith(
        "Best: agent.rate=0.0001, IQM of return (0 to 1 in each environment)"
    )
    assert ranking.best_sentence(found).endswith("no other interval overlaps with its own.")


def test_the_lowest_is_best_where_the_sweep_minimises_and_a_run_without_a_score_is_last(tmp_path):
    searched = {"sweep": {"metric": "train/error", "direction": "minimize"}}
    runs = [
        read_run(make_run(tmp_path / str(rate), score, metric=name, top=searched, num_seeds=2, rate=rate))
        for rate, score, name in ((0.1, 5.0, "train/error"), (0.2, 4.95, "train/error"), (0.3, 9.0, "train/other"))
    ]
    found = rank_runs(runs)
    assert (found.metric, found.maximise) == ("train/error", False)
    assert [one.values["agent.rate"] for one in found.configurations] == [0.2, 0.1, 0.3]
    assert ranking.best_sentence(found).endswith("the intervals of 1 other overlap with its own.")
    assert ranking.table(found)[1][2] == ["0.3", "0", "–", "–"]


# --- pictures ----------------------------------------------------------------------------------------------------


def scored(values, score, seeds=3):
    return ranking.Scored(config(**values), {seed: score + 0.05 * seed for seed in range(seeds)})


def test_two_keys_make_a_heat_map():
    cells = [({"rate": rate, "batch": batch}, rate * 1000 + batch) for rate in (1e-2, 1e-3) for batch in (64, 8, 512)]
    found = ranking.rank([scored(values, score) for values, score in cells[:-1]], RETURN)
    axes, bar = ranking.hyperparameters(found).axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("agent.batch", "agent.rate")
    assert [text.get_text() for text in axes.get_xticklabels()] == ["8", "64", "512"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["0.001", "0.01"]
    drawn = np.ma.filled(axes.images[0].get_array(), np.nan)
    np.testing.assert_allclose(drawn, [[9.05, 65.05, np.nan], [18.05, 74.05, 522.05]])
    (frame,) = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert frame.get_xy() == (1.5, 0.5)  # 512 and 0.01
    assert "IQM of return" in bar.get_ylabel()


def test_more_keys_make_parallel_coordinates():
    grid = itertools.product((1e-2, 1e-3, 1e-4), (64, 128), ("relu", "tanh"))
    runs = [scored({"rate": rate, "batch": batch, "unit": unit}, batch * rate) for rate, batch, unit in grid]
    found = ranking.rank(runs, RETURN)
    axes = ranking.hyperparameters(found).axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["agent.batch", "agent.rate", "agent.unit", "IQM"]
    lines = [np.asarray(line.get_ydata()) for line in axes.lines if np.size(line.get_xdata()) == 4]
    assert len(lines) == 12
    best = max(axes.lines, key=lambda line: line.get_linewidth())
    heights = np.asarray(best.get_ydata())
    np.testing.assert_allclose(
        heights[[0, 1, 3]], [1, 1, 1], atol=ranking.FAN + 1e-9
    )  # the largest batch and rate, the highest score
    # Rates from 1e-4 to 1e-2 stand evenly on a logarithmic axis.
    assert {round(2 * float(line[1])) / 2 for line in lines} == {0.0, 0.5, 1.0}


def test_profiles_fall_from_all_seeds_to_none():
    found = ranking.rank([scored({"rate": rate}, rate, seeds=4) for rate in (1.0, 2.0, 3.0)], RETURN)
    figure = ranking.profiles(found)
    (axes,) = figure.axes
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [f"agent.rate={rate}" for rate in (3, 2, 1)]
    for line, rate in zip(axes.lines, (3.0, 2.0, 1.0), strict=True):
        x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
        assert (y[0], y[-1]) == (1, 0) and (np.diff(y) <= 0).all()
        assert y[np.searchsorted(x, rate + 0.05)] == 0.5  # two of 1, 1.05, 1.1, 1.15 are above 1.05
    (points,) = ranking.hyperparameters(found).axes
    assert [text.get_text() for text in points.get_xticklabels()] == ["1", "2", "3"]


# --- the page ----------------------------------------------------------------------------------------------------


def test_the_report_of_a_sweep_begins_with_its_configurations(tmp_path):
    sweep = tmp_path / "sweep"
    for rate, batch in itertools.product((1e-3, 1e-4), (64, 128)):
        name = f"{rate}-{batch}"
        make_run(tmp_path / "runs" / name, 1000 * rate + batch, num_seeds=2, rate=rate, batch=batch)
        record_run(sweep, tmp_path / "runs" / name)
    path = report([sweep])
    text = path.read_text()
    assert path == sweep / "report.html"
    assert text.index("<h2>Configurations</h2>") < text.index("<h2>Runs</h2>")
    table = (sweep / "report_sweep.md").read_text()
    assert "Best: agent.batch=128 agent.rate=0.001, IQM of return 129.1 [129, 129.1]" in table
    rows = [line for line in table.splitlines() if line.startswith("| ") and "---" not in line]
    assert rows[0] == "| agent.batch | agent.rate | seeds | IQM | 95 % interval |"
    assert [row.split(" | ")[0] for row in rows[1:]] == ["| 128", "| 128", "| 64", "| 64"]
    for name in ("hyperparameters", "performance_profiles"):
        pixels = matplotlib.image.imread(sweep / "figures" / f"report_sweep_{name}.png")[..., :3]
        assert min(pixels.shape[:2]) > 200 and len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


def test_of_many_configurations_the_curves_are_those_of_the_best(tmp_path):
    folders = [make_run(tmp_path / f"{rate:02}", float(rate), rate=rate) for rate in range(12)]
    text = report(folders, tmp_path / "out").read_text()
    assert "of the best 9 configurations alone" in text
    assert "sac (agent.rate=11)" in text and "sac (agent.rate=2)" not in text and "sac (agent.rate=3)" in text
    assert len((tmp_path / "out" / "report_sweep.md").read_text().splitlines()) == 4 + 2 + 12
