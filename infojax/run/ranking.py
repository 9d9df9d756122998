"""The configurations of a sweep beside one another: which is best, how sure that is, and what makes the difference.

A configuration is one setting of everything that the runs vary but seeds and environments. Its score is the
interquartile mean over all of its seeds in all environments, with the stratified bootstrap; where there are several
environments, a score of 0 is the lowest seed of the whole sweep in that environment and 1 the highest.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, NullLocator, PercentFormatter

from infojax.run.config import NEUTRAL, leaves
from infojax.run.drawing import COLOURS, tidy
from infojax.run.log import number, title
from infojax.run.statistics import Interval, Statistic, performance_profile, stratified_interval

MOST_PROFILES = 6  # lines in one picture of profiles
MOST_BANDS = 3  # of which each has its band
FAN = 0.03  # how far lines through one point of a parallel axis are spread, of its length
LOGARITHMIC = 30.0  # ratio of the highest to the lowest value from which an axis is logarithmic
SEEDS = ("seed", "num_seeds", "seeds")
ABSENT = "–"


class Scored(NamedTuple):
    """Runs of one configuration in one environment, and what they reached."""

    config: Mapping[str, Any]
    scores: Mapping[int, float]  # seed -> score


class Configuration(NamedTuple):
    """One setting of what the sweep varies."""

    values: dict[str, Any]  # swept key -> value
    scores: dict[str, np.ndarray]  # environment -> score of each seed, as measured
    strata: list[np.ndarray]  # the same as ranked: normalised where there are several environments
    interval: Interval
    members: list[int]  # which of the given it is made of


class Ranking(NamedTuple):
    """A sweep, the best configuration first; those without a score are last."""

    metric: str
    maximise: bool
    statistic: Statistic
    keys: list[str]
    environments: list[str]
    configurations: list[Configuration]


def rank(scored: Sequence[Scored], metric: str, maximise: bool = True, statistic: Statistic = "iqm") -> Ranking:
    """Pool by configuration and order by score."""
    keys = swept_keys([entry.config for entry in scored])
    environments = list(dict.fromkeys(_environment(entry.config) for entry in scored))
    span = {env: _span([entry for entry in scored if _environment(entry.config) == env]) for env in environments}
    pooled: dict[str, list[int]] = {}
    for index, entry in enumerate(scored):
        pooled.setdefault(json.dumps(_values(entry.config, keys), sort_keys=True, default=str), []).append(index)
    found = []
    for members in pooled.values():
        scores: dict[str, np.ndarray] = {}
        for env in environments:
            by_seed: dict[int, float] = {}
            for index in members:
                if _environment(scored[index].config) == env:
                    by_seed = {**scored[index].scores, **by_seed}  # a seed that was run twice counts once
            if by_seed:
                scores[env] = np.array(list(by_seed.values()), np.float64)
        strata = [
            _normalised(values, *span[env]) if len(environments) > 1 else values for env, values in scores.items()
        ]
        interval = stratified_interval(strata, statistic)
        found.append(Configuration(_values(scored[members[0]].config, keys), scores, strata, interval, members))
    sign = -1 if maximise else 1
    found.sort(key=lambda one: math.inf if math.isnan(one.interval.value) else sign * one.interval.value)
    return Ranking(metric, maximise, statistic, keys, environments, found)


def swept_keys(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys that the runs vary on their own: choices first; what follows from another key is left out."""
    rows = [_settings(config) for config in configs]
    chosen = [dict(config.get("choices") or {}) for config in configs]
    parts = [part for part in dict.fromkeys(key for row in chosen for key in row) if part != "env"]
    kept: list[str] = []
    for part in parts:
        column = [str(row.get(part)) for row in chosen]
        # A preset brings its objective: that follows from the agent.
        if len(set(column)) > 1 and not any(_follows(column, [str(row.get(one)) for row in chosen]) for one in kept):
            kept.append(part)
    alike: dict[str, list[dict[str, Any]]] = {}
    for row, choice in zip(rows, chosen, strict=True):
        alike.setdefault(json.dumps(choice, sort_keys=True, default=str), []).append(row)
    names = sorted({key for row in rows for key in row}, key=lambda key: (key.count("."), key))
    varied = [
        key for key in names if any(len({_word(row.get(key, ABSENT)) for row in mine}) > 1 for mine in alike.values())
    ]
    columns = {key: [row.get(key, ABSENT) for row in rows] for key in varied}
    several = len({tuple(map(_word, row)) for row in zip(*columns.values(), strict=True)}) if columns else 0
    for key in varied:
        earlier = [one for one in kept if one in columns]
        if not any(_derived(columns[key], columns[one], several) for one in earlier):
            kept.append(key)
    return kept


def best_sentence(ranking: Ranking) -> str:
    """Which configuration is best, its score, and which others cannot be told from it by their intervals."""
    best, *others = ranking.configurations
    low, high = best.interval.low, best.interval.high
    near = [one for one in others if one.interval.low <= high and one.interval.high >= low]
    words = f"{_statistic(ranking)} of {title(ranking.metric)}{_scale(ranking)}"
    told = f"Best: {label(ranking, best)}, {words} {_short(best.interval.value)} [{_short(low)}, {_short(high)}]"
    if not near:
        return f"{told}; no other interval overlaps with its own."
    return f"{told}; the intervals of {len(near)} other{'s' if len(near) > 1 else ''} overlap with its own."


def label(ranking: Ranking, configuration: Configuration) -> str:
    """A configuration as the words of a command."""
    return " ".join(f"{key}={_word(configuration.values[key])}" for key in ranking.keys) or "the only one"


def table(ranking: Ranking) -> tuple[list[str], list[list[str]]]:
    """Heads and rows: swept keys, runs of a seed, score with its interval, and the score in each environment."""
    several = ranking.environments if len(ranking.environments) > 1 else []
    heads = [*ranking.keys, "seeds", f"{_statistic(ranking)}{_scale(ranking)}", "95 % interval", *several]
    rows = []
    for one in ranking.configurations:
        value, low, high = one.interval
        seeds = sum(int(np.isfinite(scores).sum()) for scores in one.scores.values())
        known = not math.isnan(value)
        cells = [*(_word(one.values[key]) for key in ranking.keys), str(seeds)]
        cells += [_short(value) if known else ABSENT, f"{_short(low)} … {_short(high)}" if known else ABSENT]
        inside = [stratified_interval([one.scores.get(env, np.array([]))], ranking.statistic).value for env in several]
        rows.append(cells + [_short(entry) if not math.isnan(entry) else ABSENT for entry in inside])
    return heads, rows


# --- pictures ----------------------------------------------------------------------------------------------------


def profiles(ranking: Ranking) -> Figure:
    """Share of seeds above every score, of the best configurations; higher is better, and crossing lines are told."""
    drawn = _known(ranking)[:MOST_PROFILES]
    everything = np.concatenate([stratum for one in drawn for stratum in one.strata])
    everything = everything[np.isfinite(everything)]
    low, high = float(everything.min()), float(everything.max())
    margin = 0.04 * (high - low) or 1.0
    # Also the scores themselves: there the shares step.
    thresholds = np.unique(np.concatenate([np.linspace(low - margin, high + margin, 201), everything]))
    figure = Figure(figsize=(6.4, 3.6 + 0.22 * len(drawn)), layout="constrained")
    axes = figure.add_subplot()
    handles = []
    for colour, one in zip(COLOURS, drawn, strict=False):
        share = performance_profile(one.strata, thresholds, num_resamples=500)
        if len(drawn) <= MOST_BANDS or one is drawn[0]:  # more of them would hide one another
            axes.fill_between(thresholds, share.low, share.high, color=colour, alpha=0.15, lw=0, step="post")
        axes.step(thresholds, share.value, where="post", color=colour, lw=1.8)
        handles.append(Line2D([], [], color=colour, lw=2, label=label(ranking, one)))
    axes.set_xlabel(f"{title(ranking.metric)}{_scale(ranking)}")
    axes.set_ylabel("share of seeds above it")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.set_ylim(-0.03, 1.03)
    axes.grid(color="#E6E6E6", lw=0.6)
    tidy(axes, 9)
    left = len(_known(ranking)) - len(drawn)
    figure.suptitle(
        "performance profiles" + (f" of the best {len(drawn)}, {left} more not drawn" if left else ""), fontsize=11
    )
    figure.legend(handles=handles, loc="outside lower center", frameon=False, fontsize=8)
    return figure


def hyperparameters(ranking: Ranking) -> Figure:
    """What the swept keys do: points of one, a heat map of two, parallel coordinates of more."""
    draw = {1: _points, 2: _heat_map}.get(len(ranking.keys), _parallel)
    return draw(ranking)


def _points(ranking: Ranking) -> Figure:
    (key,) = ranking.keys
    values = _ordered([one.values[key] for one in ranking.configurations])
    figure = Figure(figsize=(max(4.5, 1.0 + 0.7 * len(values)), 3.6), layout="constrained")
    axes = figure.add_subplot()
    for one in _known(ranking):
        at = values.index(_word(one.values[key]))
        best = one is ranking.configurations[0]
        colour = COLOURS[1] if best else COLOURS[0]
        axes.vlines(at, one.interval.low, one.interval.high, color=colour, lw=2)
        axes.plot(at, one.interval.value, "o", color=colour, ms=7)
    axes.set_xticks(range(len(values)), values)
    axes.set_xlim(-0.5, len(values) - 0.5)
    axes.set_xlabel(key)
    axes.set_ylabel(f"{_statistic(ranking)} of {title(ranking.metric)}{_scale(ranking)}")
    axes.grid(axis="y", color="#E6E6E6", lw=0.6)
    tidy(axes, 9)
    figure.suptitle("with 95 % intervals; the best in red", fontsize=10)
    return figure


def _heat_map(ranking: Ranking) -> Figure:
    across, down = ranking.keys
    columns = _ordered([one.values[across] for one in ranking.configurations])
    rows = _ordered([one.values[down] for one in ranking.configurations])
    grid = np.full((len(rows), len(columns)), np.nan)
    for one in ranking.configurations:
        grid[rows.index(_word(one.values[down])), columns.index(_word(one.values[across]))] = one.interval.value
    figure = Figure(
        figsize=(max(4.6, 2.2 + 0.85 * len(columns)), max(3.0, 1.6 + 0.6 * len(rows))), layout="constrained"
    )
    axes = figure.add_subplot()
    axes.set_facecolor("#EFEFEF")  # what was not run, or has no score
    norm = _norm(ranking)
    axes.imshow(grid, cmap="viridis", norm=norm, aspect="auto")
    for row, column in np.argwhere(np.isfinite(grid)):
        dark = norm(grid[row, column]) < 0.6
        axes.text(
            column,
            row,
            _short(float(grid[row, column])),
            ha="center",
            va="center",
            fontsize=9,
            color="white" if dark else "black",
        )
    best = ranking.configurations[0]
    corner = (columns.index(_word(best.values[across])) - 0.5, rows.index(_word(best.values[down])) - 0.5)
    axes.add_patch(Rectangle(corner, 1, 1, fill=False, ec=COLOURS[1], lw=3, clip_on=False, zorder=4))
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xlabel(across)
    axes.set_ylabel(down)
    tidy(axes, 9)
    _bar(figure, ranking)
    figure.suptitle("the best is framed" + (", grey was not run" if np.isnan(grid).any() else ""), fontsize=10)
    return figure


def _parallel(ranking: Ranking) -> Figure:
    drawn = _known(ranking)
    figure = Figure(figsize=(max(6.4, 1.5 * (len(ranking.keys) + 1) + 1.5), 4.2), layout="constrained")
    axes = figure.add_subplot()
    norm, colours = _norm(ranking), matplotlib.colormaps["viridis"]
    heights = np.zeros((len(drawn), len(ranking.keys) + 1))
    for index, key in enumerate(ranking.keys):
        heights[:, index], ticks = _axis([one.values[key] for one in drawn])
        for height, word in ticks:
            box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.8}
            axes.text(
                index - 0.04, height, word, ha="right", va="center", fontsize=8, color="#333333", bbox=box, zorder=5
            )
    # In a grid many lines go through each point: the better ones a little above the others.
    heights += np.linspace(FAN, -FAN, len(drawn))[:, None] if len(drawn) > 1 else 0.0
    heights[:, -1] = [norm(one.interval.value) for one in drawn]
    for height, one in reversed(list(zip(heights, drawn, strict=True))):
        best = one is ranking.configurations[0]
        shade = COLOURS[1] if best else colours(norm(one.interval.value))
        axes.plot(height, color=shade, lw=3 if best else 1.4, alpha=1 if best else 0.8, zorder=4 if best else 2)
    for index in range(heights.shape[1]):
        axes.axvline(index, color="#888888", lw=1, zorder=1)
    axes.set_xticks(range(heights.shape[1]), [*ranking.keys, f"{_statistic(ranking)}"])
    axes.set_xlim(-0.45, heights.shape[1] - 0.9)
    axes.set_ylim(-0.07, 1.07)
    axes.yaxis.set_major_locator(NullLocator())
    tidy(axes, 9)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    _bar(figure, ranking)
    figure.suptitle("every line is a configuration; the best in red", fontsize=10)
    return figure


def _axis(values: Sequence[Any]) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Heights from 0 to 1 of the values of a key, and its ticks: by amount where it is numbers, else evenly."""
    words = _ordered(values)
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(values) or len(words) < 2 or not all(map(math.isfinite, numbers)):
        step = max(len(words) - 1, 1)
        return np.array([words.index(_word(value)) / step for value in values]), [
            (index / step, word) for index, word in enumerate(words)
        ]
    amounts = np.array(numbers, np.float64)
    if amounts.min() > 0 and amounts.max() / amounts.min() >= LOGARITHMIC:
        amounts = np.log(amounts)
    heights = (amounts - amounts.min()) / np.ptp(amounts)
    ticks = dict(zip(heights.tolist(), map(_word, values), strict=True))
    if len(ticks) > 8:  # a search: the ends and the middle are enough
        order = sorted(ticks)
        ticks = {height: ticks[height] for height in (order[0], order[len(order) // 2], order[-1])}
    return heights, sorted(ticks.items())


def _bar(figure: Figure, ranking: Ranking) -> None:
    bar = figure.colorbar(ScalarMappable(_norm(ranking), "viridis"), ax=figure.axes, pad=0.02, aspect=28)
    bar.set_label(f"{_statistic(ranking)} of {title(ranking.metric)}{_scale(ranking)}", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    bar.ax.yaxis.set_major_locator(MaxNLocator(6))


def _norm(ranking: Ranking) -> Normalize:
    values = [one.interval.value for one in _known(ranking)]
    low, high = min(values), max(values)
    return Normalize(low, high if high > low else low + 1)


# --- parts -------------------------------------------------------------------------------------------------------


def _known(ranking: Ranking) -> list[Configuration]:
    return [one for one in ranking.configurations if not math.isnan(one.interval.value)]


def _environment(config: Mapping[str, Any]) -> str:
    return str((config.get("choices") or {}).get("env", "env"))


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting that may be swept, by dotted key."""
    beside = {*NEUTRAL, *SEEDS, "sweep", "choices"}
    counted = {key: value for key, value in config.items() if key not in beside}
    return {key: value for key, value in leaves(counted) if not key.endswith("_target_")}


def _values(config: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    choices, settings = config.get("choices") or {}, _settings(config)
    return {key: choices[key] if key in choices else settings.get(key, ABSENT) for key in keys}


def _follows(column: Sequence[str], other: Sequence[str]) -> bool:
    """Whether equal values of the other mean equal values of this."""
    return len(set(zip(other, column, strict=True))) == len(set(other))


def _derived(column: Sequence[Any], other: Sequence[Any], several: int) -> bool:
    """Whether a key follows from another: equal to it, at most it, or its function where that repeats in a grid."""
    words, others = list(map(_word, column)), list(map(_word, other))
    if words == others:
        return True
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (*column, *other))
    if numbers and list(column) == [min(value, max(column)) for value in other]:
        return True
    # In a search every value of a key is there once, so that anything would be its function.
    return _follows(words, others) and len(set(others)) < several


def _span(scored: Sequence[Scored]) -> tuple[float, float]:
    values = np.array([value for entry in scored for value in entry.scores.values()], np.float64)
    values = values[np.isfinite(values)]
    return (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)


def _normalised(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return (values - low) / (high - low) if high > low else np.where(np.isfinite(values), 0.5, np.nan)


def _ordered(values: Sequence[Any]) -> list[str]:
    """The distinct values as words: numbers by amount, others as they came."""
    distinct = {_word(value): value for value in values}
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in distinct.values()):
        return sorted(distinct, key=lambda word: distinct[word])
    return list(distinct)


def _word(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_word, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _short(value: float) -> str:
    return number(value)


def _statistic(ranking: Ranking) -> str:
    return "IQM" if ranking.statistic == "iqm" else "mean"


def _scale(ranking: Ranking) -> str:
    return " (0 to 1 in each environment)" if len(ranking.environments) > 1 else ""
