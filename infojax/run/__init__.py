"""Running things: `train`, `estimate`, `adapt`, `resume`, `evaluate`, `load`: `infojax.run.train(...)` from Python.

They are imported on first use, so that the command line answers `--help` without loading jax.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infojax.run.adaptation import adapt
    from infojax.run.estimation import estimate
    from infojax.run.training import Run, evaluate, load, resume, train

__all__ = ["Run", "adapt", "estimate", "evaluate", "load", "resume", "train"]

HOMES = {"adapt": "adaptation", "estimate": "estimation"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'infojax.run' has no attribute {name!r}")
    module = import_module(f"infojax.run.{HOMES.get(name, 'training')}")
    return getattr(module, name)
