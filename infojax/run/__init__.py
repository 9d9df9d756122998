"""Running things: `train`, `resume`, `evaluate` and `load`, which are `infojax.run.train(...)` from Python.

They are imported on first use, so that the command line answers `--help` without loading jax.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infojax.run.training import Run, evaluate, load, resume, train

__all__ = ["Run", "evaluate", "load", "resume", "train"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'infojax.run' has no attribute {name!r}")
    from infojax.run import training

    return getattr(training, name)
