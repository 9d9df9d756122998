"""`infojax adapt` end to end: run directories, the compiled program, the source model, sweeps, wrong words."""

import json
import math
import sys
from pathlib import Path

import jax
import matplotlib.image
import numpy as np
import pytest
import yaml
from sklearn import metrics as reference

import infojax.run
from infojax import cli
from infojax.run import adaptation, adaptations, sourcing
from infojax.run import config as configuration
from infojax.run.report import report

# A network of one block that learns little in 25 steps: what is tested is what happens to it.
QUICK = (
    "model.depths=[1]",
    "model.widths=[8]",
    "model.strides=[2]",
    "training.steps=25",
    "stream.corruption=[gaussian_noise,contrast]",
    "stream.num_images=90",
    "stream.batch_size=40",
    "clean_images=50",
    "source_images=64",
    "progress=false",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working folder with a home of its own, in which one source model is trained for all tests, and a run."""
    folder = tmp_path_factory.mktemp("adapt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "home", lambda: folder / "home")
        patch.chdir(folder)
        patch.delenv("HYDRA_FULL_ERROR", raising=False)
        patch.setattr(sys, "argv", ["infojax", "adapt", "method=eata", *QUICK, "run_dir=eata", "num_seeds=2"])
        assert cli.main() == 0
        yield folder


@pytest.fixture
def work(folder, tmp_path, monkeypatch):
    """An empty folder to work in."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["infojax", "adapt", *words])
    return cli.main()


def record_of(run_dir, method="eata", seed=0):
    return adaptations.read_record(adaptations.kept(run_dir, method, seed))


def same(one, other):
    assert one.info.keys() == other.info.keys()
    for name in ("predicted", "confidence", "entropy", "selected", "clean_predicted"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    for name in one.info:
        np.testing.assert_array_equal(one.info[name], other.info[name], err_msg=name)


# --- one run -----------------------------------------------------------------------------------------------------


def test_a_run_directory(folder):
    run_dir = folder / "eata"
    summary = json.loads((run_dir / "summary.json").read_text())
    assert json.loads((run_dir / "status.json").read_text())["status"] == "done"
    assert summary["methods"] == ["source", "eata"] and summary["headline"] == "eata/error"
    assert summary["scores"] == {"source": "before", "eata": "before"}
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * 2 * 6  # methods, seeds, and batches of 40, 40 and 10 images of two shifts
    assert {row["phase"] for row in rows} == {"gaussian_noise/5", "contrast/5"}
    eata = [row for row in rows if row["method"] == "eata" and row["seed"] == 0]
    assert [row["step"] for row in eata] == list(range(6))
    assert all(row["forward_rows"] == 40 and row["invalid"] == 0 for row in eata)
    for name in ("error_over_stream", "error_by_phase", "entropy", "calibration"):
        assert matplotlib.image.imread(run_dir / "figures" / f"{name}.png").shape[1] > 500
    config = configuration.read(run_dir / "config.yaml")
    assert list(config["methods"]) == ["source", "eata"] and "method" not in config


def test_numbers_of_a_summary_are_those_of_the_rows(folder):
    found = json.loads((folder / "eata" / "summary.json").read_text())["metrics"]
    for method in ("source", "eata"):
        record = record_of(folder / "eata", method)
        wrong = (record.predicted != record.labels) & record.mask
        assert record.mask.sum() == 180
        assert found[f"{method}/error"]["per_seed"][0] == pytest.approx(wrong.sum() / 180)
        mine = record.phase == record.phases.index("contrast/5")
        assert found[f"{method}/error/contrast/5"]["per_seed"][0] == pytest.approx(wrong[mine].sum() / 90)
        assert found[f"{method}/selected"]["per_seed"][0] == pytest.approx(record.selected.sum() / 180)
        clean = record.clean_predicted != record.clean_labels[None]
        assert clean.shape == (2, 50)
        assert found[f"{method}/clean_error"]["per_seed"][0] == pytest.approx(clean.mean())
        assert found[f"{method}/milliseconds"]["per_seed"][0] > 0
    # The source model learns nothing: after both shifts it says the same of clean images.
    predicted = record_of(folder / "eata", "source").clean_predicted
    np.testing.assert_array_equal(predicted[0], predicted[1])


def test_source_predictions_are_those_of_the_model(folder):
    config = configuration.compose(["method=tent", *QUICK], config_name="adapt")
    built = configuration.build_adaptation(config)
    said = []
    source = sourcing.source_model(built, config, said.append)
    assert len(said) == 1 and "error on clean test images, kept in" in said[0]
    assert len(list((folder / "home" / ".cache" / "infojax" / "models").iterdir())) == 1
    stream, record = built.stream.draw(0), record_of(folder / "eata", "source")
    images = np.asarray(stream.images)[stream.order[0]]
    logits, _ = source.model.apply(source.model.variables, images, "source", None)
    probabilities = np.asarray(jax.nn.softmax(logits))
    np.testing.assert_array_equal(record.predicted[0], probabilities.argmax(axis=1))
    np.testing.assert_allclose(record.confidence[0], probabilities.max(axis=1), rtol=1e-5)
    entropy = -(probabilities * np.log(probabilities)).sum(axis=1)
    np.testing.assert_allclose(record.entropy[0], entropy, rtol=1e-4, atol=1e-5)


def test_a_stream_again_gives_the_same_bits(folder, work, monkeypatch, capsys):
    assert run(monkeypatch, "method=eata", *QUICK, "run_dir=again", "seed=1") == 0
    assert "trained in" not in capsys.readouterr().out
    same(record_of(work / "again", seed=1), record_of(folder / "eata", seed=1))


def test_lanes_side_by_side(folder, work, monkeypatch):
    assert run(monkeypatch, "method=eata", *QUICK, "run_dir=side", "num_seeds=2", "seeds=vmap") == 0
    for seed in (0, 1):
        one, other = record_of(work / "side", seed=seed), record_of(folder / "eata", seed=seed)
        np.testing.assert_allclose(one.confidence[one.mask], other.confidence[one.mask], atol=1e-5)
        np.testing.assert_allclose(one.entropy[one.mask], other.entropy[one.mask], atol=1e-5)


def test_a_killed_run_goes_on_and_a_finished_one_is_shown(folder, work, monkeypatch, capsys):
    words = ("method=norm", *QUICK, "run_dir=here")
    assert run(monkeypatch, *words) == 0
    before = (work / "here" / "metrics.jsonl").read_bytes()
    first = record_of(work / "here", "norm")
    stamp = adaptations.kept(work / "here", "source", 0).stat().st_mtime_ns
    # As a kill within the second method leaves it.
    adaptations.kept(work / "here", "norm", 0).unlink()
    (work / "here" / "metrics.jsonl").write_bytes(before[:700])
    (work / "here" / "status.json").write_text('{"status": "running", "reason": ""}')
    assert run(monkeypatch, *words) == 0
    assert (work / "here" / "metrics.jsonl").read_bytes() == before
    assert adaptations.kept(work / "here", "source", 0).stat().st_mtime_ns == stamp
    same(record_of(work / "here", "norm"), first)
    capsys.readouterr()
    monkeypatch.setattr(adaptation, "_run", None)  # must not be called
    assert run(monkeypatch, *words) == 0
    assert "norm" in capsys.readouterr().out
    assert run(monkeypatch, *words, "stream.severity=3") == 2
    assert "run_dir=here holds another run: it differs in stream.severity" in capsys.readouterr().err


def test_a_method_that_selects_nothing_is_warned_of(folder, work, monkeypatch, capsys):
    assert run(monkeypatch, "method=eta", *QUICK, "method.margin=1e-6", "clean_images=0", "source_images=0") == 0
    captured = capsys.readouterr()
    assert "infojax: warning: eta selected no image of the whole stream" in captured.err
    assert "clean after" not in captured.out


def test_open_set_wrappers_and_a_comparison_of_ones_own(folder, work, monkeypatch, capsys):
    (work / "own" / "comparison").mkdir(parents=True)
    (work / "own" / "comparison" / "mine.yaml").write_text(
        "# @package _global_\n# Mine.\ndefaults:\n  - /method@_global_.methods.slow: tent\n"
        "methods:\n  slow: {learning_rate: 1.0e-5}\n"
    )
    words = [word for word in QUICK if "num_images" not in word]
    words += ["stream=open_set", "stream.num_images=80", "data.held_out=4", "wrap.reset_every=1", "clean_images=0"]
    assert run(monkeypatch, "--config-dir", "own", "comparison=mine", "run_dir=open", *words) == 0
    assert "AUROC" in capsys.readouterr().out
    record = record_of(work / "open", "slow")
    assert np.all(record.info["reset"] == 1)
    known, unknown = (record.mask & (record.labels < 6)), (record.mask & (record.labels >= 6))
    assert known.sum() == unknown.sum() == 80
    found = json.loads((work / "open" / "summary.json").read_text())["metrics"]
    wanted = reference.roc_auc_score(known[record.mask], record.confidence[record.mask])
    assert found["slow/auroc"]["mean"] == pytest.approx(wanted, abs=1e-6)


def test_from_python_and_a_report_of_a_sweep(folder, work, monkeypatch, capsys):
    overrides = {key: yaml.safe_load(value) for key, _, value in (word.partition("=") for word in QUICK)}
    summary = infojax.run.adapt("norm", overrides=overrides | {"stream.corruption": "contrast", "run_dir": "one"})
    assert summary == json.loads((work / "one" / "summary.json").read_text())
    assert summary["phases"] == ["contrast/5"]
    capsys.readouterr()
    assert run(monkeypatch, "-m", "method=norm", "method.weight=0.5,1.0", *QUICK) == 0
    printed = capsys.readouterr().out
    assert "norm (weight=0.5)" in printed and "norm (weight=1.0)" in printed
    (sweep,) = (work / "runs" / "sweeps").iterdir()
    rows = json.loads((sweep / "table.json").read_text())["rows"]
    assert [row["method"] for row in rows] == ["source", "norm", "norm"]
    assert matplotlib.image.imread(sweep / "errors.png").shape[1] > 500
    text = report([sweep]).read_text()
    assert "norm (weight=0.5)" in text and text.count("data:image/png") >= 9


# --- numbers -----------------------------------------------------------------------------------------------------


def record(confidence, right, **changes):
    """A record of one batch in which class 1 is always predicted."""
    confidence, right = np.array([confidence]), np.array([right], bool)
    zeros = np.zeros(confidence.shape, np.int32)
    filled = adaptations.Record(
        predicted=zeros + 1, confidence=confidence, entropy=confidence, selected=right, labels=np.where(right, 1, 0),
        mask=np.ones_like(right), domain=zeros, groups=None, phase=np.zeros(1, int), reset=np.ones(1, bool),
        info={name: np.zeros(1) for name in ("updated", "forward_rows", "backward_rows", "invalid")},
        clean_predicted=np.zeros((1, 0), int), clean_labels=np.zeros(0, int), domains=["a/5"], phases=["a/5"],
        scores="before", milliseconds=1.0, cpu_milliseconds=1.0,
    )  # fmt: skip
    return filled._replace(**changes)


def test_calibration_error():
    #         0.40 to 0.47: 2 of 4 right at 0.45; 0.93 to 1: 1 of 1 right at 0.95
    mine = record([0.45] * 4 + [0.95], [1, 1, 0, 0, 1])
    assert adaptations.judged(mine, 2)["calibration_error"] == pytest.approx((4 * 0.05 + 0.05) / 5)


def test_worst_group_and_shifted_images():
    mine = record([0.5] * 6, [1, 1, 0, 1, 0, 0], groups=np.array([[0, 0, 0, 1, 1, 1]]))
    assert adaptations.judged(mine, 2)["worst_group_error"] == pytest.approx(2 / 3)
    clean = mine._replace(domains=["clean", "a/5"], domain=np.array([[0, 0, 0, 1, 1, 1]]))
    judged = adaptations.judged(clean, 2)
    assert judged["error"] == pytest.approx(2 / 3) and judged["domain_error/clean"] == pytest.approx(1 / 3)


def test_known_against_unknown():
    generator = np.random.default_rng(0)
    known, unknown = np.round(generator.random(300) ** 0.5, 2), np.round(generator.random(200), 2)  # with ties
    area, rate = adaptations.open_set(known, unknown)
    truth = np.repeat([1, 0], [300, 200])
    scores = np.concatenate([known, unknown])
    assert area == pytest.approx(reference.roc_auc_score(truth, scores))
    false, true, _ = reference.roc_curve(truth, scores, drop_intermediate=False)
    assert rate == pytest.approx(false[true >= 0.95][0])
    assert adaptations.open_set(np.ones(3), np.zeros(3)) == (1.0, 0.0)


def test_nothing_is_not_a_number():
    mine = record([0.5], [1], mask=np.zeros((1, 1), bool))
    assert math.isnan(adaptations.judged(mine, 2)["error"])


# --- words -------------------------------------------------------------------------------------------------------

WRONG = [
    ("method=tnt", "method=tnt does not exist; did you mean tent?"),
    ("comparison=standart", "comparison=standart does not exist; did you mean standard?"),
    ("data=bmi/1v1-normal-0.75", "data=bmi/1v1-normal-0.75 is for infojax estimate, not for infojax adapt"),
    ("data=digit", "data=digit does not exist; did you mean digits?"),
    (
        "estimator=ksg",
        "estimator does not exist in infojax adapt, which chooses method, comparison, model, data, stream",
    ),
    ("tent", "did you mean method=tent?"),
    ("method=tent,eata", "names several values; add -m"),
    ("method=tent method.learning_rate=0", "method.learning_rate=0 is out of range; give a number above 0"),
    ("methods.tent.learning_rate=x", "methods.tent.learning_rate=x is not accepted"),
    ("method=tent method.margin=1", "method.margin does not exist"),
    ("wrap.reset_every=0", "wrap.reset_every=0 is out of range"),
    ("training.steps=0", "training.steps=0 is out of range"),
    ("source_images=-1", "source_images=-1 is out of range"),
    ("stream=spurious", "data=digits has no groups"),
    ("stream=open_set", "data=digits has no images of unknown classes"),
    ("stream.num_images=0", "stream.num_images=0 is out of range"),
    ("stream.corruption=gausian_noise", "did you mean gaussian_noise?"),
    ("model.weights=nowhere.safetensors", "weights=nowhere.safetensors is not a file"),
    ("method=eata source_images=0", "needs clean images of the source"),
    ("run_dir=/dev/null/run", "run_dir=/dev/null/run cannot be written"),
]


@pytest.mark.parametrize(("words", "sentence"), WRONG, ids=[words for words, _ in WRONG])
def test_one_clear_sentence(words, sentence, work, monkeypatch, capsys):
    quick = [word for word in QUICK if word.split("=")[0] not in words and not word.startswith("stream.")]
    assert run(monkeypatch, *words.split(), *quick) == 2
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("infojax: ") and sentence in lines[0], captured.err
    assert not list(work.iterdir())


def test_weights_of_other_classes_and_torn_ones(folder, work, monkeypatch, capsys):
    models = folder / "home" / ".cache" / "infojax" / "models"
    kept = min(models.iterdir(), key=lambda path: path.stat().st_mtime)  # the first, of all ten classes
    words = ("method=norm", *QUICK, f"model.weights={kept}")
    assert run(monkeypatch, *words, "data.held_out=3") == 2
    captured = capsys.readouterr().err
    assert "7" in captured and "10" in captured and len(captured.splitlines()) == 1
    (work / "torn.safetensors").write_bytes(kept.read_bytes()[:-100])
    assert run(monkeypatch, "method=norm", *QUICK, "model.weights=torn.safetensors") == 2
    assert "torn.safetensors is no whole safetensors file" in capsys.readouterr().err


def test_images_are_not_for_estimating(work, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["infojax", "estimate", "data=digits"])
    assert cli.main() == 2
    assert "data=digits is for infojax adapt, not for infojax estimate" in capsys.readouterr().err


def test_help_and_overview(work, monkeypatch, capsys):
    assert run(monkeypatch, "--help") == 0
    printed = {word.strip(",:") for word in capsys.readouterr().out.split()}
    for group in configuration.ADAPT.groups:
        assert set(configuration.options(group, app=configuration.ADAPT)) <= printed
    assert "bmi" not in " ".join(printed) and "collapse_guard" in printed
    monkeypatch.setattr(sys, "argv", ["infojax"])
    assert cli.main() == 0
    printed = capsys.readouterr().out
    assert "infojax adapt" in printed and "fashion_mnist" in printed.partition("images to adapt to")[2]


def test_every_key_of_the_primary_configuration_has_a_comment():
    text = (configuration.configs_folder() / "adapt.yaml").read_text().partition("\n# Hydra's own")[0]
    lines = [line for line in text.splitlines() if line.strip() and line != "defaults:" and "_self_" not in line]
    assert all("#" in line for line in lines if "_target_" not in line)
    config = configuration.compose(config_name="adapt")
    app = configuration.ADAPT
    sections = {name.partition(".")[0] for name in app.options()}
    assert sections | {*app.parts[1:], *app.sections, "choices"} == set(config)
