"""`infojax estimate` end to end: run directories, files of the user's own, sweeps and their tables, wrong words."""

import json
import math
import shutil
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

import infojax.run
from infojax import cli
from infojax.data import file as source
from infojax.run import config as configuration
from infojax.run import estimates, estimation
from infojax.run.report import report
from infojax.types import UserError

TEMPLATES = Path(__file__).parents[1] / "docs" / "templates"
QUICK = ("estimator=line", "num_samples=400", "progress=false")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder, beside it an estimator of one's own that compiles in no time."""
    (tmp_path / "own" / "estimator").mkdir(parents=True)
    shutil.copy(TEMPLATES / "estimator.py", tmp_path / "own" / "line_estimator.py")
    shutil.copy(TEMPLATES / "estimator.yaml", tmp_path / "own" / "estimator" / "line.yaml")
    (tmp_path / "work").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "own")
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    return tmp_path / "work"


def run(monkeypatch, *words):
    own = ["--config-dir", "../own"] if Path("../own").is_dir() else []
    monkeypatch.setattr(sys, "argv", ["infojax", "estimate", *own, *words])
    return cli.main()


def the_run(folder):
    (found,) = (path for path in (folder / "runs").iterdir() if path.name != "sweeps")
    return found


def rows_of(run_dir):
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


# --- one run -----------------------------------------------------------------------------------------------------


def test_value_interval_truth_and_verdict(folder, monkeypatch, capsys):
    assert run(monkeypatch, "estimator=gaussian", "num_samples=300") == 0
    printed = capsys.readouterr().out
    assert "mutual information by gaussian on bmi/1v1-normal-0.75, 300 samples" in printed
    for word in ("value:", "95 % interval", "truth:    0.413 nats", "verdict:  trusted", "estimates.png"):
        assert word in printed
    run_dir = the_run(folder)
    assert run_dir.name.startswith("gaussian-bmi_1v1-normal-0.75-")
    assert json.loads((run_dir / "status.json").read_text())["status"] == "done"
    assert configuration.read(run_dir / "config.yaml")["estimator"] == {"_target_": "infojax.estimators.gaussian.make"}
    (row,) = rows_of(run_dir)
    assert row.keys() == {"step", "seed", "value", "low", "high", "trusted", "check/fit", "check/precision", "truth"}
    assert row["low"] < row["value"] < row["high"] and row["trusted"] == 1
    summary = json.loads((run_dir / "summary.json").read_text())
    assert summary["metrics"]["value"] == dict.fromkeys(("mean", "low", "high"), row["value"]) | {
        "per_seed": [row["value"]]
    }
    assert summary["reasons"] == [""] and summary["bound"] == "" and summary["num_samples"] == 300
    assert {"versions", "device", "git_commit", "wall_seconds", "compile_seconds"} <= summary.keys()
    assert matplotlib.image.imread(run_dir / "figures" / "estimates.png").shape[1] > 500


def test_a_run_goes_on_is_found_again_and_begins_anew(folder, monkeypatch, capsys):
    words = (*QUICK, "num_seeds=3", "run_dir=here")
    assert run(monkeypatch, *words) == 0
    capsys.readouterr()
    run_dir, before = folder / "here", rows_of(folder / "here")
    assert [row["seed"] for row in before] == [0, 1, 2]
    assert len({row["value"] for row in before}) == 3
    # As a kill within the second seed leaves it.
    lines = (run_dir / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (run_dir / "metrics.jsonl").write_bytes(lines[0] + lines[1][:20])
    (run_dir / "status.json").write_text('{"status": "running", "reason": ""}')
    fitted = []
    whole = estimation.FITTED["map"]

    def noting(fit, seeds, *rest):
        fitted.append(seeds)
        return whole(fit, seeds, *rest)

    monkeypatch.setitem(estimation.FITTED, "map", noting)
    assert run(monkeypatch, *words) == 0
    assert fitted == [[1, 2]] and rows_of(run_dir) == before
    stamp = (run_dir / "metrics.jsonl").stat().st_mtime_ns
    capsys.readouterr()
    assert run(monkeypatch, *words) == 0
    assert len(fitted) == 1 and (run_dir / "metrics.jsonl").stat().st_mtime_ns == stamp
    assert "means over 3 seeds" in capsys.readouterr().out
    assert run(monkeypatch, *words, "estimator.tolerance=0.2") == 2
    assert "run_dir=here holds another run: it differs in estimator.tolerance" in capsys.readouterr().err
    assert run(monkeypatch, *words, "overwrite=true", "num_seeds=1") == 0
    assert [row["seed"] for row in rows_of(run_dir)] == [0]


def test_a_seed_is_the_same_alone_and_beside_others(folder, monkeypatch):
    for name, words in {
        "one": ("seed=1",),
        "map": ("num_seeds=2",),
        "vmap": ("num_seeds=2", "seeds=vmap"),
    }.items():
        assert run(monkeypatch, *QUICK, f"run_dir={name}", *words) == 0
    one, mapped, together = (rows_of(folder / name)[-1] for name in ("one", "map", "vmap"))
    assert one == mapped
    assert together == pytest.approx(one, rel=1e-4, abs=1e-5)


def test_a_verdict_of_no_is_said_in_words(folder, monkeypatch, capsys):
    assert run(monkeypatch, *QUICK, "estimator.tolerance=1e-6", "num_seeds=2") == 0
    printed = capsys.readouterr().out
    assert "verdict:  not trusted, because" in printed
    assert "ranks, which carry the same information, give another estimate" in printed.replace("\n", " ")
    assert not any(row["trusted"] for row in rows_of(the_run(folder)))


def test_a_seed_without_a_number_takes_nothing_from_the_others(folder, monkeypatch, capsys):
    code = (folder.parent / "own" / "line_estimator.py").read_text()
    broken = code.replace("value = information(x, y)", "value = jnp.where(x[0] > 0, jnp.nan, information(x, y))")
    (folder.parent / "own" / "broken_estimator.py").write_text(broken)
    (folder.parent / "own" / "estimator" / "broken.yaml").write_text(
        "_target_: broken_estimator.make\ntolerance: 1.0 # x\n"
    )
    assert run(monkeypatch, "estimator=broken", "num_samples=400", "num_seeds=6", "progress=false") == 0
    summary = json.loads((the_run(folder) / "summary.json").read_text())
    values = summary["metrics"]["value"]["per_seed"]
    assert None in values and summary["metrics"]["value"]["mean"] > 0
    told = [reason == estimation.NOT_FINITE for reason in summary["reasons"]]
    assert told == [value is None for value in values]
    assert "not trusted, because the estimate is not a finite number" in capsys.readouterr().out


def test_entropy(folder, monkeypatch, capsys):
    assert run(monkeypatch, "estimator=gaussian", "quantity=entropy", "num_samples=2000") == 0
    assert "entropy of x by gaussian" in capsys.readouterr().out
    (row,) = rows_of(the_run(folder))
    assert row["value"] == pytest.approx(0.5 * math.log(2 * math.pi * math.e), abs=0.05) and "truth" not in row


def test_from_python(folder):
    summary = infojax.run.estimate(
        "line", overrides={"num_samples": 300, "num_seeds": 2, "progress": False}, config_dir="../own"
    )
    assert summary["estimator"] == "line" and len(summary["metrics"]["value"]["per_seed"]) == 2
    assert summary == json.loads((the_run(folder) / "summary.json").read_text())


# --- wrong words -------------------------------------------------------------------------------------------------

WRONG = [
    ("estimator=kgs", "estimator=kgs does not exist; did you mean ksg?"),
    ("data=1v1-normal-0.75", "data=1v1-normal-0.75 does not exist; did you mean bmi/1v1-normal-0.75?"),
    ("data=bmi", "data=bmi is a family; choose one of it"),
    ("data=bmi/1v1-normal-0.7", "did you mean bmi/1v1-normal-0.75"),
    ("data.task=spirall-1v1-normal-0.75", "is not a task of the benchmark"),
    ("agent=sac", "agent does not exist in infojax estimate, which chooses estimator, data and mesh; try infojax"),
    ("ksg", "did you mean estimator=ksg?"),
    ("estimator=ksg,gaussian", "estimator=ksg,gaussian names several values; add -m"),
    ("estimator.kk=3", "estimator.kk does not exist; did you mean estimator.k?"),
    ("estimator.k=0", "estimator.k=0 is out of range; give a whole number of at least 1"),
    ("estimator.algorithm=3", "estimator.algorithm=3 is not accepted; give one of 1, 2"),
    ("num_sample=5", "num_sample does not exist; did you mean num_samples?"),
    ("num_samples=0", "num_samples=0 is out of range"),
    ("num_samples=5", "5 samples are too few"),
    ("quantity=entropi", "quantity=entropi is not accepted; give one of mutual_information, entropy"),
    ("estimator=plug_in quantity=entropy", "quantity=entropy cannot be: estimator=plug_in has no entropy"),
    ("total_steps=5", "total_steps does not exist"),
    ("data=file", "data.path has no value yet; give it as data.path=VALUE"),
    ("data=file data.path=nowhere.csv", "data.path=nowhere.csv is not a file"),
    ("run_dir=/dev/null/run", "run_dir=/dev/null/run cannot be written"),
    ("-m data=glob(bmy/*)", "data=glob(bmy/*) matches nothing"),
]


@pytest.mark.parametrize(("words", "sentence"), WRONG, ids=[words for words, _ in WRONG])
def test_one_clear_sentence(words, sentence, folder, monkeypatch, capsys):
    assert run(monkeypatch, *words.split()) == 2
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("infojax: ") and sentence in lines[0], captured.err
    assert captured.out == "" and not list(folder.iterdir())


def test_help_and_completion(folder, monkeypatch, capsys):
    assert run(monkeypatch, "--help") == 0
    printed = {word.strip(",:") for word in capsys.readouterr().out.split()}
    for group in ("estimator", "data"):
        assert {name.rpartition("/")[2] for name in configuration.options(group, app=configuration.ESTIMATE)} <= printed
    assert {"line", "num_samples", "quantity"} <= printed and "halfcheetah" not in printed
    monkeypatch.setenv("COMP_LINE", "infojax estimate data=bm")
    monkeypatch.setattr(sys, "argv", ["infojax", "-sc", "query=bash"])
    assert cli.main() == 0
    assert "data=bmi/1v1-normal-0.75" in capsys.readouterr().out.split()
    monkeypatch.setattr(sys, "argv", ["infojax"])
    assert cli.main() == 0
    printed = capsys.readouterr().out
    assert "infojax estimate" in printed and "ksg" in printed and "bmi/" in printed


def test_every_key_of_the_primary_configuration_has_a_comment():
    text = (configuration.configs_folder() / "estimate.yaml").read_text().partition("\n# Hydra's own")[0]
    lines = [line for line in text.splitlines() if line.strip() and line != "defaults:" and "_self_" not in line]
    assert all("#" in line for line in lines)
    config = configuration.compose(config_name="estimate")
    sections = {name.partition(".")[0] for name in configuration.ESTIMATE.options()}
    assert sections | {"estimator", "data", "choices"} == set(config)


# --- files -------------------------------------------------------------------------------------------------------


def test_samples_of_a_file(folder, monkeypatch, capsys):
    z = np.random.default_rng(0).standard_normal((500, 2))
    np.savez("mine.npz", x=z[:, 0], y=0.6 * z[:, 0] + 0.8 * z[:, 1], truth=-0.5 * np.log(0.64))
    words = ("estimator=line", "data=file", "data.path=mine.npz")
    assert run(monkeypatch, *words) == 0
    assert "on file/mine.npz, 500 samples" in capsys.readouterr().out
    run_dir = the_run(folder)
    assert run_dir.name.startswith("line-file_mine.npz-")
    summary = json.loads((run_dir / "summary.json").read_text())
    assert summary["truth"] == pytest.approx(0.223, abs=1e-3)
    assert run(monkeypatch, *words) == 0
    np.savez("mine.npz", x=z[:, 0], y=z[:, 1])
    assert run(monkeypatch, *words) == 2
    assert "file/mine.npz was changed since" in capsys.readouterr().err
    (run_dir / "status.json").unlink()  # as if it had been killed: its other seeds are not to come from other samples
    assert run(monkeypatch, *words) == 2
    assert "file/mine.npz was changed since" in capsys.readouterr().err
    assert run(monkeypatch, *words, "overwrite=true") == 0
    assert json.loads((run_dir / "summary.json").read_text())["truth"] is None
    assert run(monkeypatch, *words, "num_samples=501") == 2
    assert "num_samples=501 is more than the 500 samples of file/mine.npz" in capsys.readouterr().err


def test_times_since_1970_lose_nothing(folder, monkeypatch):
    z = np.random.default_rng(0).standard_normal((400, 2))
    for name, shift in (("near", 0.0), ("far", 1.7e9)):
        np.savez(f"{name}.npz", x=z[:, 0] + shift, y=z[:, 0] + z[:, 1])
        assert run(monkeypatch, "estimator=line", "data=file", f"data.path={name}.npz", f"run_dir={name}") == 0
    near, far = (rows_of(folder / name)[0]["value"] for name in ("near", "far"))
    assert far == pytest.approx(near, abs=1e-4)


def test_columns_of_a_table(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("time,left eye,right,y\n" + "".join(f"{i},{i + 0.5},{-i},{10 * i}\n" for i in range(6)))
    pairs = source.make(path=str(path))
    x, y = pairs.sample(0, 6)
    assert (pairs.dim_x, pairs.dim_y, pairs.available, pairs.truth) == (3, 1, 6, None)
    assert y[:, 0].tolist() == [0, 10, 20, 30, 40, 50] and x[2].tolist() == [2, 2.5, -2]
    chosen = source.make(path=str(path), x="left eye, 0", y=2)
    assert [array[1].tolist() for array in chosen.sample(0, 6)] == [[1.5, 1.0], [-1.0]]
    assert source.make(path=str(path), x=["right"], y=["y", "time"]).dim_y == 2
    path.write_text("1;2\n3;4\n\n5;6\n")
    assert source.make(path=str(path)).sample(0, 3)[0].tolist() == [[1], [3], [5]]
    path.write_text(",a,b\n0,1,2\n1,3,4\n")  # with the row numbers that pandas writes
    assert source.make(path=str(path)).sample(0, 2)[0].tolist() == [[1], [3]]


def test_rows_are_drawn_by_seed_without_replacement(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(50), y=np.arange(50))
    pairs = source.make(path=str(tmp_path / "a.npz"))
    x, y = pairs.sample(3, 20)
    assert np.array_equal(x, y) and len(np.unique(x)) == 20
    assert np.array_equal(x, pairs.sample(3, 20)[0]) and not np.array_equal(x, pairs.sample(4, 20)[0])


ONES = np.ones(4)
WRONG_ARRAYS = [
    ({"x": ONES, "z": ONES}, {}, r"data\.y=y is not in .*; there are x, z"),
    ({"x": ONES, "spikes": ONES}, {"y": "spike"}, r"data\.y=spike is not in .*; did you mean data\.y=spikes\?"),
    ({"x": ONES, "y": np.ones(3)}, {}, "are 4 and 3 samples; they must be pairs"),
    ({"x": ONES, "y": 1j * ONES}, {}, "the array y of .* is complex"),
    ({"x": ONES, "y": np.array(["a"] * 4)}, {}, "holds <U1, not numbers"),
    ({"x": ONES, "y": np.array([{}] * 4)}, {}, "holds Python objects"),
    ({"x": ONES, "y": np.ones((4, 2, 2))}, {}, r"has the shape \(4, 2, 2\)"),
    ({"x": ONES[:0], "y": ONES[:0]}, {}, "holds no samples"),
    ({"x": ONES, "y": np.array([1, np.nan, np.inf, 0])}, {}, "2 of the 4 samples .* the first of them sample 1"),
    ({"x": ONES, "y": ONES, "truth": np.ones(2)}, {}, "the array truth .* must be one finite number"),
    ({"x": ONES, "y": ONES}, {"x": 0}, r"data\.x=0 is not the name of an array"),
]


@pytest.mark.parametrize(("arrays", "chosen", "sentence"), WRONG_ARRAYS, ids=[text for _, _, text in WRONG_ARRAYS])
def test_wrong_arrays(arrays, chosen, sentence, tmp_path):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError, match=sentence):
        source.make(path=str(tmp_path / "a.npz"), **chosen)


WRONG_TABLES = [
    ("", {}, "is empty"),
    ("a,b\n", {}, "holds no samples"),
    ("a\n1\n", {}, "has one column"),
    ("a,b\n1,2\n3,four\n", {}, "line 3 of .* has 'four' in column b, which is no number"),
    ("a,b\n1,2\n3\n", {}, "line 3 of .* has 1 cells where the first has 2"),
    ("a,b\n1,\n3,4\n", {}, "1 of the 2 samples .* the first of them sample 0"),
    ("left,right\n1,2\n", {"x": "lef"}, r"data\.x=lef is not a column of .*; did you mean left\?"),
    ("a,b\n1,2\n", {"y": 7}, r"data\.y=7 is not a column"),
    ("a,b\n1,2\n", {"y": "a,b"}, "none is left for x"),
]


@pytest.mark.parametrize(("text", "chosen", "sentence"), WRONG_TABLES, ids=[text for _, _, text in WRONG_TABLES])
def test_wrong_tables(text, chosen, sentence, tmp_path):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError, match=sentence):
        source.make(path=str(tmp_path / "a.csv"), **chosen)


def test_wrong_files(tmp_path):
    np.savez(tmp_path / "good.npz", x=np.ones(100), y=np.ones(100))
    (tmp_path / "torn.npz").write_bytes((tmp_path / "good.npz").read_bytes()[:300])
    (tmp_path / "text.npz").write_text("hello")
    np.save(tmp_path / "one.npy", np.ones(3))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x81")
    (tmp_path / "sheet.xlsx").touch()
    for name, sentence in {
        "torn.npz": "cannot be read as an .npz",
        "text.npz": "cannot be read as an .npz",
        "one.npz": "cannot be read as an .npz",
        "binary.csv": "cannot be read as text",
        "sheet.xlsx": "is neither .npz nor .csv",
        "goood.npz": "did you mean .*good.npz",
    }.items():
        with pytest.raises(UserError, match=sentence):
            source.make(path=str(tmp_path / name))


# --- sweeps and reports ------------------------------------------------------------------------------------------


def test_a_sweep_ends_in_one_table(folder, monkeypatch, capsys):
    words = ("-m", "estimator=line", "data=glob(bmi/1v1-a*)", "estimator.tolerance=0.05,0.5")
    assert run(monkeypatch, *words, "num_samples=400", "num_seeds=2", "progress=false") == 0
    printed = capsys.readouterr().out
    assert "Estimates in nats" in printed and "line (tolerance=0.5)" in printed
    assert "Verdicts against the truth" in printed
    (sweep,) = (folder / "runs" / "sweeps").iterdir()
    assert len(configuration.runs_of(sweep)) == 4
    table = json.loads((sweep / "table.json").read_text())
    assert [row["data"] for row in table["rows"]] == ["bmi/1v1-additive-0.1"] * 2 + ["bmi/1v1-additive-0.75"] * 2
    assert all(row["seeds"] == 2 and row["low"] <= row["value"] <= row["high"] for row in table["rows"])
    assert set(table["reliability"]) == {"line (tolerance=0.05)", "line (tolerance=0.5)", "all"}
    assert table["reliability"]["all"]["estimates"] == 8
    assert (sweep / "table.md").read_text().count("| bmi/1v1-additive-0.1 |") == 2
    assert matplotlib.image.imread(sweep / "estimates.png").shape[1] > 500
    page = report([sweep])
    assert page == Path(sweep) / "report.html" or page.resolve() == (sweep / "report.html").resolve()
    text = page.read_text()
    assert "line (tolerance=0.5)" in text and text.count("data:image/png") >= 5
    assert (sweep / "figures" / "report_estimates.png").exists()


def test_a_job_that_fails_leaves_a_table_of_the_others(folder, monkeypatch, capsys):
    words = ("-m", "estimator=line", "data=bmi/multinormal-dense-2-2-0.5,bmi/1v1-normal-0.75", "num_samples=400")
    assert run(monkeypatch, *words) == 2
    captured = capsys.readouterr()
    assert "infojax: job 0: a straight line takes one x and one y" in captured.err
    assert "bmi/1v1-normal-0.75" in captured.out.partition("Estimates in nats")[2]
    (sweep,) = (folder / "runs" / "sweeps").iterdir()
    assert len(json.loads((sweep / "table.json").read_text())["rows"]) == 1


def test_samples_whose_truth_is_not_known_have_a_picture_too(folder, monkeypatch):
    z = np.random.default_rng(0).standard_normal((200, 2))
    np.savetxt("a.csv", z, delimiter=",")
    assert run(monkeypatch, "-m", "estimator=line", "data=file", "data.path=a.csv", "seed=0,1", "num_samples=150") == 0
    (sweep,) = (folder / "runs" / "sweeps").iterdir()
    assert (sweep / "estimates_without_truth.png").exists() and not (sweep / "estimates.png").exists()
    table = json.loads((sweep / "table.json").read_text())
    assert table["reliability"] == {} and [row["seeds"] for row in table["rows"]] == [2]


def test_estimations_and_training_are_not_reported_together(folder, monkeypatch):
    assert run(monkeypatch, *QUICK, "run_dir=one") == 0
    (folder / "other").mkdir()
    (folder / "other" / "config.yaml").write_text("choices: {agent: sac, objective: none, env: maze/u}\n")
    with pytest.raises(UserError, match="one is an estimation and other is training; report them in two commands"):
        report(["one", "other"])
    assert report(["one"]) == Path("one/report.html")


def test_an_unfinished_run_is_told(folder, monkeypatch):
    assert run(monkeypatch, *QUICK, "run_dir=one") == 0
    (folder / "one" / "status.json").write_text('{"status": "failed", "reason": "no memory"}')
    (folder / "one" / "summary.json").unlink()
    (result,) = estimates.read_results(["one"])
    assert result.status == "failed: no memory" and len(result.values) == 1
    assert "failed: no memory" in estimates.markdown([result])


# --- how far verdicts can be believed ----------------------------------------------------------------------------


def judged(values, trusted, truths, bounds="", half=0.01):
    values, truths = np.array(values, float), np.array(truths, float)
    intervals = np.stack([values - half, values + half], axis=1)
    return estimates.reliability(values, intervals, np.array(trusted, bool), truths, [bounds] * len(values))


def test_verdicts_against_the_truth():
    #        hit, just outside, missed, missed but not trusted, near but not trusted
    found = judged([0.5, 0.555, 0.57, 0.9, 0.52], [1, 1, 1, 0, 0], [0.5] * 5)
    assert (found.estimates, found.trusted) == (5, 3)
    assert found.missed == pytest.approx(1 / 3)
    assert found.recognised == pytest.approx(1 / 2)  # of 0.5 and 0.52
    assert found.width == pytest.approx(0.02)


def test_a_bound_misses_on_one_side_alone():
    values, truths = [0.2, 0.8], [0.5, 0.5]
    assert judged(values, [1, 1], truths).missed == 1.0
    assert judged(values, [1, 1], truths, "lower").missed == 0.5
    assert judged([0.2], [1], [0.5], "lower").missed == 0.0 and judged([0.8], [1], [0.5], "lower").missed == 1.0
    assert judged([0.2], [1], [0.5], "upper").missed == 1.0 and judged([0.8], [1], [0.5], "upper").missed == 0.0


def test_what_is_not_there_is_not_counted():
    found = judged([0.5, np.nan, 0.5], [1, 0, 1], [0.5, 0.5, np.nan])
    assert (found.estimates, found.trusted, found.missed, found.recognised) == (2, 1, 0.0, 1.0)
    empty = judged([0.9], [0], [0.5])
    assert math.isnan(empty.missed) and math.isnan(empty.recognised) and math.isnan(empty.width)


def test_verdicts_of_seeds_are_told_together():
    assert estimates.verdicts([0, 1], ["", ""]) == ["trusted"]
    assert estimates.verdicts([3, 4, 5], ["it errs", "", "it errs"]) == [
        "seed 4: trusted",
        "seeds 3, 5: not trusted, because it errs",
    ]
