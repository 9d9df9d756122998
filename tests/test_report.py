"""Pictures and reports of runs written here by hand: what is drawn, what the tables say, what is refused."""

import base64
import io
import json
import math
import re
from html.parser import HTMLParser

import matplotlib.image
import numpy as np
import pytest
import yaml
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex

from infojax.run import report as module
from infojax.run.report import compare, entries, figures, group_runs, learning_curves, read_run, report
from infojax.types import UserError

INFORMATION = "evaluation/stochastic/mutual_information"
RETURN = "evaluation/deterministic/return"


def make_run(
    folder, *, seed=0, num_seeds=1, skills=4, dimensions=2, env="maze/open", agent="diayn", level=0.0, last=5, **more
):
    """A run directory as training leaves it; `level` moves its numbers, `last` of 5 chunks is where it stopped."""
    folder.mkdir(parents=True)
    config = {
        "seed": seed,
        "num_seeds": num_seeds,
        "total_steps": 500,
        "run_dir": str(folder),
        "agent": {"batch_size": more.get("batch_size", 64)},
        "choices": {"agent": agent, "objective": agent if skills else "none", "env": env},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    rows = []
    for chunk in range(1, last + 1):
        for index in range(num_seeds):
            row = {"step": 100 * chunk, "seed": seed + index, "train/critic_loss": 1.0 / chunk, "time/x": 3.0}
            row["train/episode_return"] = None if chunk == 1 else level + 10.0 * chunk + index
            row["train/episode_length"] = None if chunk == 1 else 50.0
            if chunk in (2, 4, 5):
                for mode in ("deterministic", "stochastic"):
                    row[f"evaluation/{mode}/return"] = level + 20.0 * chunk + 7 * (seed + index)
                    if skills:
                        row[f"evaluation/{mode}/mutual_information"] = 0.25 * chunk + 0.01 * (seed + index)
                        row[f"evaluation/{mode}/mutual_information_ceiling"] = math.log(skills)
                        row |= {f"evaluation/{mode}/return_skill_{k}": 1.0 * k for k in range(skills)}
            rows.append(row)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = last == 5
    (folder / "status.json").write_text(json.dumps({"status": "done" if done else "running", "reason": ""}))
    if done:
        (folder / "summary.json").write_text(json.dumps({"wall_seconds": 61.0, "device": "1 x cpu", "metrics": {}}))
        np.savez_compressed(folder / "evaluation.npz", **evaluation(num_seeds, skills, dimensions))
    return folder


def evaluation(num_seeds, skills, dimensions, steps=30, episodes=2):
    generator = np.random.default_rng(0)
    once = np.repeat(np.arange(skills), episodes) if skills else -np.ones(episodes, int)
    skill = np.tile(once, 2)
    direction = generator.normal(size=(max(skills, 1), dimensions))[skill]
    walked = 0.1 * np.arange(1, steps + 1)[None, :, None, None] * direction
    arrays = {
        "positions": np.broadcast_to(walked, (num_seeds, steps, len(skill), dimensions)).astype(np.float32),
        "mask": np.ones((num_seeds, steps, len(skill)), bool),
        "skill": skill.astype(np.int32),
        "deterministic": np.repeat([True, False], len(once)),
        "returns": 10.0 * skill[None] + np.arange(num_seeds)[:, None] + np.tile([0.0, 1.0], len(skill) // 2),
        "position_names": np.array(["x", "y"][:dimensions], dtype=str),
        "step": np.asarray(500),
    }
    if skills:
        confusion = np.eye(skills) * 0.7 + 0.3 / skills
        arrays["confusion"] = np.broadcast_to(confusion, (num_seeds, skills, skills))
    return arrays


def means(axes):
    return [line for line in axes.lines if line.get_gid() == "mean"]


def drawn(figure):
    assert figure is not None
    return figure


def check_picture(path):
    """A picture that shows something: large, not of one colour, ink in every quarter."""
    pixels = matplotlib.image.imread(path)[..., :3]
    height, width = pixels.shape[:2]
    assert height > 200 and width > 400
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50
    for rows in (slice(0, height // 2), slice(height // 2, None)):
        for columns in (slice(0, width // 2), slice(width // 2, None)):
            assert pixels[rows, columns].min() < 0.7


# --- pictures of one run -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"num_seeds": 1}, ["learning_curves", "skill_traces", "confusion", "skill_returns"]),
        ({"num_seeds": 5}, ["learning_curves", "skill_traces", "confusion", "skill_returns"]),
        (
            {"num_seeds": 2, "dimensions": 1, "skills": 12},
            ["learning_curves", "skill_traces", "confusion", "skill_returns"],
        ),
        ({"skills": 0}, ["learning_curves", "skill_traces"]),
        ({"skills": 0, "dimensions": 0}, ["learning_curves"]),
    ],
)
def test_a_run_gets_the_pictures_that_its_data_allow(tmp_path, arguments, names):
    paths = figures(make_run(tmp_path / "run", **arguments))
    assert [path.stem for path in paths] == names
    assert {path.parent for path in paths} == {tmp_path / "run" / "figures"}
    for path in paths:
        check_picture(path)


def test_learning_curves_have_every_seed_thin_and_their_mean_thick(tmp_path):
    figure = learning_curves(read_run(make_run(tmp_path / "run", num_seeds=3)))
    panels = {axes.get_ylabel(): axes for axes in figure.axes}
    assert list(panels) == ["mutual information I(S;Z) (nats)", "return"]  # lengths never change: no panel
    information, returns = panels.values()
    assert len(means(information)) == 2 and len(means(returns)) == 3
    (ceiling,) = [line for line in information.lines if line.get_gid() == "ceiling"]
    assert set(np.asarray(ceiling.get_ydata()).tolist()) == {math.log(4)}
    assert len(information.lines) == 2 * (3 + 1) + 1  # deterministic and stochastic, one ceiling
    assert len(information.collections) == 2  # the bands
    thick = means(information)[0]
    np.testing.assert_array_equal(thick.get_xdata(), [200, 400, 500])
    np.testing.assert_allclose(np.asarray(thick.get_ydata()), np.array([0.5, 1.0, 1.25]) + 0.01)
    training = [line for line in means(returns) if to_hex(line.get_color()) == module.PLACES["training"].lower()]
    # The first chunk ended no episode: no value there.
    np.testing.assert_allclose(np.asarray(training[0].get_xdata()), [200, 300, 400, 500])
    assert "3 seeds" in figure.get_suptitle()
    assert "diayn on maze/open" in figure.get_suptitle()


def test_one_seed_is_drawn_once_without_a_band(tmp_path):
    figure = learning_curves(read_run(make_run(tmp_path / "run", skills=0)))
    (axes,) = figure.axes
    assert len(axes.lines) == 3 and not axes.collections


def test_traces_of_two_coordinates_are_paths_of_one_colour_per_skill(tmp_path):
    run = read_run(make_run(tmp_path / "run", num_seeds=3))
    arrays = evaluation(3, 4, 2)
    arrays["mask"] = arrays["mask"].copy()
    arrays["mask"][0, 10:, 1] = False  # this episode ended early
    figure = drawn(module.skill_traces(run, arrays))
    deterministic, stochastic, *others = figure.axes
    assert "deterministic" in deterministic.get_title() and "stochastic" in stochastic.get_title()
    assert [axes.get_title() for axes in others] == ["seed 1", "seed 2"]
    paths = [line for line in deterministic.lines if line.get_linestyle() == "-" and np.size(line.get_xdata()) > 1]
    assert [np.size(path.get_xdata()) for path in paths] == [30, 10] + [30] * 6
    np.testing.assert_allclose(np.asarray(paths[3].get_xydata()), arrays["positions"][0, :, 3])
    assert [path.get_color() for path in paths] == [module.COLOURS[k] for k in (0, 0, 1, 1, 2, 2, 3, 3)]
    assert deterministic.get_aspect() == 1.0
    assert (deterministic.get_xlabel(), deterministic.get_ylabel()) == ("x", "y")
    assert [text.get_text() for text in figure.legends[0].get_texts()][:4] == [f"skill {k}" for k in range(4)]


def test_traces_of_one_coordinate_are_drawn_over_time(tmp_path):
    run = read_run(make_run(tmp_path / "run", dimensions=1))
    arrays = evaluation(1, 4, 1)
    axes = drawn(module.skill_traces(run, arrays)).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step of the episode", "x")
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), np.arange(1, 31))
    np.testing.assert_allclose(np.asarray(axes.lines[0].get_ydata()), arrays["positions"][0, :, 0, 0])
    assert axes.get_aspect() == "auto"


def test_many_skills_get_a_colour_bar_and_each_its_own_colour(tmp_path):
    figure = drawn(module.skill_traces(read_run(make_run(tmp_path / "run")), evaluation(1, 20, 2)))
    paths = [line for line in figure.axes[0].lines if np.size(line.get_xdata()) == 30]
    assert len({to_hex(path.get_color()) for path in paths}) == 20
    assert figure.axes[-1].get_ylabel() == "skill"


def test_confusion_has_true_skills_in_rows(tmp_path):
    arrays = evaluation(2, 4, 2)
    arrays["confusion"] = np.array([[[0.9, 0.1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0.5, 0.5]]] * 2)
    figure = drawn(module.confusion(read_run(make_run(tmp_path / "run", num_seeds=2)), arrays))
    axes = figure.axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array(), arrays["confusion"][0])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted skill", "true skill")
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert written[(1, 0)] == "0.10" and written[(0, 1)] == "0.00" and written[(2, 3)] == "0.50"
    assert axes.get_title() == "seed 0: 85 % right"


def test_returns_are_shown_per_skill_with_their_mean(tmp_path):
    figure = drawn(module.skill_returns(read_run(make_run(tmp_path / "run", num_seeds=2)), evaluation(2, 4, 2)))
    first, second = figure.axes
    for axes, seed in ((first, 0), (second, 1)):
        bars = [
            segment for bars in axes.collections if isinstance(bars, LineCollection) for segment in bars.get_segments()
        ]
        assert sorted(bar[0][1] for bar in bars) == sorted([10.0 * k + seed + 0.5 for k in range(4)] * 2)
        dots = np.concatenate([line.get_ydata() for line in axes.lines if line.get_marker() == "o"])
        assert sorted(dots) == sorted(evaluation(2, 4, 2)["returns"][seed])


def test_an_unreadable_evaluation_leaves_the_curves(tmp_path):
    run_dir = make_run(tmp_path / "run")
    whole = (run_dir / "evaluation.npz").read_bytes()
    (run_dir / "evaluation.npz").write_bytes(whole[: len(whole) // 2])
    assert [path.name for path in figures(run_dir)] == ["learning_curves.png"]


# --- pooling -----------------------------------------------------------------------------------------------------


def test_seeds_are_pooled_and_other_settings_are_not(tmp_path):
    runs = [
        read_run(make_run(tmp_path / "a", num_seeds=2)),
        read_run(make_run(tmp_path / "b", seed=2)),
        read_run(make_run(tmp_path / "c", batch_size=128)),
        read_run(make_run(tmp_path / "d", env="maze/u")),
        read_run(make_run(tmp_path / "e", seed=1, level=1000.0)),  # a seed that `a` has already
    ]
    groups, notes = group_runs(runs)
    assert [group.label for group in groups] == [
        "diayn on maze/open (agent.batch_size=64)",
        "diayn on maze/open (agent.batch_size=128)",
        "diayn on maze/u",
    ]
    assert [sorted(group.curves[RETURN]) for group in groups] == [[0, 1, 2], [0], [0]]
    assert groups[0].curves[RETURN][1][1][-1] == 107.0  # that of `a`
    assert notes == [f"seed 1 of {tmp_path / 'e'} is left out: it is also in {tmp_path / 'a'}"]


def test_the_mean_stops_where_the_first_seed_stopped(tmp_path):
    runs = [read_run(make_run(tmp_path / "a", num_seeds=2)), read_run(make_run(tmp_path / "b", seed=2, last=3))]
    groups, _ = group_runs(runs)
    (axes,) = compare(groups, "train/critic_loss").axes
    (mean,) = means(axes)
    np.testing.assert_array_equal(mean.get_xdata(), [100, 200, 300])
    assert [np.size(line.get_xdata()) for line in axes.lines] == [5, 5, 3, 3]


def test_a_metric_of_several_environments_has_a_panel_for_each(tmp_path):
    runs = [
        read_run(make_run(tmp_path / name, env=name, agent=agent)) for name, agent in (("x", "sac"), ("y", "diayn"))
    ]
    figure = compare(group_runs(runs)[0], RETURN)
    assert [axes.get_title() for axes in figure.axes] == ["x", "y"]
    assert [len(means(axes)) for axes in figure.axes] == [1, 1]


def test_entries_are_the_last_values_with_the_asked_statistic(tmp_path):
    curves = {"x": {seed: (np.array([1, 2]), np.array([-1.0, value])) for seed, value in enumerate((0.0, 1, 2, 1e6))}}
    assert entries(curves, "mean")["x"]["mean"] == pytest.approx(250_000.75)
    assert entries(curves, "iqm")["x"]["mean"] == 1.5
    assert entries(curves, "mean")["x"]["per_seed"] == [0.0, 1.0, 2.0, 1e6]


def test_entries_pass_over_a_last_chunk_without_a_value(tmp_path):
    steps = np.array([1, 2, 3])
    curves = {"x": {0: (steps, np.array([1.0, 4.0, np.nan])), 1: (steps, np.array([np.nan, np.nan, 6.0]))}}
    assert entries(curves, "mean")["x"]["per_seed"] == [4.0, 6.0]
    assert entries(curves, "mean")["x"]["mean"] == 5.0
    (never,) = entries({"x": {0: (steps, np.full(3, np.nan))}}, "mean")["x"]["per_seed"]
    assert math.isnan(never)


# --- the report --------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """The tables, as lists of rows of cells, and the pictures of a page."""

    def __init__(self, path):
        super().__init__()
        self.tables, self.images, self.inside, self.open = [], {}, False, []
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attrs):
        if tag in ("meta", "img"):
            if tag == "img":
                self.images[dict(attrs)["alt"]] = dict(attrs)["src"]
            return
        self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += f" {data}" if self.tables[-1][-1][-1] else data


def row(table, first):
    return next(cells for cells in table if cells[0] == first)


def test_the_report_of_several_runs(tmp_path, monkeypatch):
    folders = [
        make_run(tmp_path / "runs" / "a", num_seeds=2),
        make_run(tmp_path / "runs" / "b", seed=2, num_seeds=1, last=4),
        make_run(tmp_path / "runs" / "sac<1>", agent="sac", skills=0, level=100.0),
    ]
    monkeypatch.chdir(tmp_path)
    path = report(folders)
    assert path.resolve() == tmp_path / "report" / "report.html"
    page = Page(path)
    runs, results = page.tables
    assert row(runs, "a")[1:7] == ["diayn", "maze/open", "0 to 1", "500", "finished", "61 s"]
    assert row(runs, "b")[3:6] == ["2", "400", "unfinished, at step 400 of 500"]
    assert "sac<1>" in [cells[0] for cells in runs] and "<1>" not in page.text
    assert results[0] == ["metric", "diayn (3 seeds)  unfinished", "sac (1 seed)"]
    # Last values 1.25, 1.26 and, four chunks in, 1.02: the bootstrap's ends are the lowest and highest seed.
    assert row(results, "mutual information") == [
        "mutual information",
        "1.177 of 1.386 nats (85 %) 1.020 … 1.260",
        "–",
    ]
    # 100 and 107 for seeds 0 and 1 at step 500, 94 for seed 2 at step 400.
    assert row(results, "return")[1:] == ["100.3 94 … 107", "200"]
    assert row(results, "skills, lowest … highest")[1] == "0 … 3"
    assert [cells for cells in results if len(cells) == 1] == [
        ["stochastic acting"],
        ["deterministic acting"],
        ["training"],
    ]
    assert not re.search(r'(src|href)="(?!data:)', page.text)  # one self-contained file
    for words in (INFORMATION, RETURN, "train/critic_loss", "a: skill traces", "a: confusion", "sac<1>: skill traces"):
        kind, data = page.images[words].split(",")
        assert kind == "data:image/png;base64"
        pixels = matplotlib.image.imread(io.BytesIO(base64.b64decode(data)))
        assert len(np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0)) > 50
    assert not [words for words in page.images if words.startswith("b:")]  # it never came to its last evaluation
    written = sorted(file.name for file in (tmp_path / "report" / "figures").iterdir())
    assert "report_evaluation_stochastic_mutual_information.png" in written
    assert len(written) == len([words for words in page.images if "/" in words])
    # The folder of runs holds runs only, so that runs/* can be asked for again.
    assert len(list((tmp_path / "runs").iterdir())) == 3


def test_runs_with_other_numbers_of_skills_and_seeds_stand_side_by_side(tmp_path):
    folders = [
        make_run(tmp_path / "a", num_seeds=2, skills=4),
        make_run(tmp_path / "b", num_seeds=3, skills=8, batch_size=128),
    ]
    results = Page(report(folders, tmp_path / "out")).tables[1]
    assert row(results, "skills, lowest … highest")[1:] == ["0 … 3", "0 … 7"]
    assert [cell.split(" nats")[0] for cell in row(results, "mutual information")[1:]] == [
        "1.255 of 1.386",
        "1.260 of 2.079",
    ]


def test_the_report_of_one_run_lies_in_it_and_keeps_its_pictures(tmp_path):
    run_dir = make_run(tmp_path / "run")
    own = figures(run_dir)
    before = {path: path.stat().st_mtime_ns for path in own}
    assert report([run_dir, run_dir]) == run_dir / "report.html"
    assert {path: path.stat().st_mtime_ns for path in own} == before
    page = Page(run_dir / "report.html")
    assert base64.b64decode(page.images["run: confusion"].split(",")[1]) == own[2].read_bytes()
    assert not [name for name in page.images if name.startswith("run: report")]
    assert list(Page(report([run_dir])).images) == list(page.images)  # once more: the same pictures


def test_the_statistic_and_the_place_can_be_chosen(tmp_path):
    run_dir = make_run(tmp_path / "run", num_seeds=5, skills=0)
    path = report([run_dir], tmp_path / "page.html", statistic="iqm")
    assert path == tmp_path / "page.html"
    page = Page(path)
    assert "interquartile mean over seeds" in page.text
    # 100, 107, 114, 121, 128: the middle three.
    assert row(page.tables[1], "return")[1].startswith("114")
    assert report([run_dir], tmp_path / "folder") == tmp_path / "folder" / "report.html"


def test_a_torn_last_line_is_left_out_and_a_bad_one_before_it_refused(tmp_path):
    run_dir = make_run(tmp_path / "run", last=3)
    whole = (run_dir / "metrics.jsonl").read_text()
    (run_dir / "metrics.jsonl").write_text(whole + '{"step": 400, "se')
    assert read_run(run_dir).step == 300
    (run_dir / "metrics.jsonl").write_text("rubbish\n" + whole)
    with pytest.raises(UserError, match=r"line 1 of .*metrics\.jsonl is not a row of metrics.*overwrite=true"):
        read_run(run_dir)


def test_what_is_no_run_or_says_nothing_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    for ask in (figures, lambda folder: report([folder])):
        with pytest.raises(UserError, match=r"empty is not a run directory: it has no config\.yaml"):
            ask(tmp_path / "empty")
        with pytest.raises(UserError, match="absent is not a run directory"):
            ask(tmp_path / "absent")
    silent = make_run(tmp_path / "silent", last=0)
    with pytest.raises(UserError, match="silent has logged nothing yet"):
        figures(silent)
    with pytest.raises(UserError, match="silent logged nothing yet"):
        report([silent])
    with pytest.raises(UserError, match="at least one run directory"):
        report([])
    with pytest.raises(UserError, match=r"statistic='median'.*mean or iqm"):
        report([silent], statistic="median")  # pyright: ignore[reportArgumentType]
    path = report([make_run(tmp_path / "run"), silent], tmp_path / "out")
    assert row(Page(path).tables[0], "silent")[5] == "unfinished, nothing logged yet"


def test_a_failed_run_says_why(tmp_path):
    run_dir = make_run(tmp_path / "run", last=2)
    (run_dir / "status.json").write_text(json.dumps({"status": "failed", "reason": "MemoryError: <too much>"}))
    page = Page(report([run_dir]))
    assert page.tables[0][1][5] == "failed, at step 200 of 500: MemoryError: <too much>"


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    run_dir = make_run(tmp_path / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"report\.html cannot be written.*output="):
        report([run_dir], tmp_path / "file")
