"""Every method of test-time adaptation under the common battery, found by its configuration."""

import importlib
from pathlib import Path

import pytest
import yaml
from tta_models import tiny

from infojax import testing

CONFIGS = Path(__file__).parents[1] / "configs" / "method"
FILES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(CONFIGS.glob("*.yaml"))}

# Outside of jit each operation compiles by itself, which takes as long as all the rest: one method of each kind, that
# without gradients, those of memories and of labels, and a gradient. The tests of single methods call most so as well.
EAGER = ("adamix_norm", "ema_norm", "lame", "norm", "source", "t3a", "tent")


def make(name, model):
    """A method by its configuration; that of a preset is its parent's with other values."""
    settings = FILES[name]
    for parent in settings.get("defaults", []):
        settings = {**FILES[parent], **settings}
    module, _, function = settings["_target_"].rpartition(".")
    given = {key: value for key, value in settings.items() if key not in ("_target_", "defaults")}
    return getattr(importlib.import_module(module), function)(model, **given)


# One of each kind in every run of the tests; the others, which vary these, are slow.
KINDS = ("deyo", "eata", "lame", "norm", "sar", "t3a", "tent")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in KINDS else pytest.mark.slow)
        for name, settings in FILES.items()
        if "_target_" in settings
    ],
)
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_methods(name, norm):
    if norm == "group" and name not in ("tent", "eata", "deyo"):
        pytest.skip("one of each kind of gradient is enough without batch normalisation")
    testing.check_method(make(name, tiny(norm)), tiny(norm), eager=norm == "batch" and name in EAGER)


def test_every_file_has_a_configuration():
    """A method is chosen by its name."""
    folder = Path(__file__).parents[1] / "infojax" / "tta"
    methods = {path.stem for path in folder.glob("*.py") if "\ndef make(" in path.read_text()} - {"wrapping"}
    named = {settings["_target_"].split(".")[2] for settings in FILES.values() if "_target_" in settings}
    assert methods == named
