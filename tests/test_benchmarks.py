"""The benchmark of the primitives leaves none of them out; only its tables are read, nothing is timed."""

import importlib
import inspect
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from infojax import info

FOLDER = Path(__file__).parent.parent / "benchmarks" / "info"


@pytest.fixture
def cases(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of the cases, which lies in no package."""
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in ("cases", "primitives", "formulas"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("cases")


def public_functions() -> set[str]:
    """What `infojax.info` offers, by module."""
    modules = {name: getattr(info, name) for name in info.__all__}
    return {
        f"{name}.{function}"
        for name, module in modules.items()
        for function, found in inspect.getmembers(module, inspect.isfunction)
        if found.__module__ == module.__name__ and not function.startswith("_")
    }


def test_every_primitive_is_measured(cases: ModuleType) -> None:
    functions = public_functions()
    assert len(functions) >= 85
    assert functions == {case.primitive for case in cases.CASES.values()}


def test_every_primitive_has_a_peer(cases: ModuleType) -> None:
    alone = [name for name, case in cases.CASES.items() if not any(entry.worker != "ours" for entry in case.entries)]
    assert alone == []


def test_formulas_are_finite(cases: ModuleType) -> None:
    for name, case in cases.CASES.items():
        if case.in_table:
            assert np.isfinite(case.reference(case.data(True))).all(), name
