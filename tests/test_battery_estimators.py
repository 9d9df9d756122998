"""The common battery on every estimator in the folder."""

import importlib
from pathlib import Path
from typing import Any

import pytest

from infojax import testing
from infojax.run import config as configuration

FOLDER = configuration.configs_folder() / "estimator"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
# Arguments that make an estimator small, where its own would take long: name -> arguments of its make.
TRAINED = ("club", "infonce", "jensen_shannon", "minde", "mine", "nwj", "smile")
SMALL: dict[str, dict[str, Any]] = {name: {"hidden_sizes": [8], "epochs": 2, "folds": 2} for name in TRAINED}
# They are trained and judged by the same code and differ by their bound, which tests/test_info_battery.py checks
# outside of jit and under vmap: one of them is enough there, the one with a memory. MINDE trains differently.
AS_ANOTHER = set(TRAINED) - {"mine"}


def test_every_estimator_has_a_configuration():
    files = Path(importlib.import_module("infojax.estimators").__path__[0]).glob("*.py")
    makes = [path.stem for path in files if "\ndef make(" in path.read_text()]
    assert set(makes) <= set(NAMES)  # the other names are presets


# One in closed form, one by neighbours, one that is trained: the others, which vary these, are slow.
SLOW = set(NAMES) - {"gaussian", "ksg", "mine"}


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in NAMES])
def test_the_battery(name):
    words = [
        f"estimator={name}",
        *configuration.words_of({f"estimator.{k}": v for k, v in SMALL.get(name, {}).items()}),
    ]
    built = configuration.build_estimation(configuration.compose(words, config_name="estimate"))
    testing.check_estimator(built.estimator, eager=name not in AS_ANOTHER, vmap=name not in AS_ANOTHER - {"minde"})
