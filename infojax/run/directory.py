"""What every run directory has, whoever writes it: the saved configuration, the status, the summary; and the machine.

The machine's part is how many threads XLA takes, where compiled programs are kept, and how long compiling took.
"""

import contextlib
import json
import os
import platform
import shutil
import subprocess
import warnings
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from infojax.run import config as configuration
from infojax.run.log import write_json
from infojax.run.mesh import is_first, started
from infojax.run.statistics import bootstrap_interval
from infojax.types import UserError

PACKAGES = ("infojax", "jax", "jaxlib", "flax", "optax", "brax", "gymnasium", "hydra-core", "orbax-checkpoint", "numpy")
OWN_FILES = (
    "config.yaml",
    "metrics.jsonl",
    "summary.json",
    "status.json",
    "samples.json",
    "evaluation.npz",
    "report.html",
)
OWN_FOLDERS = ("checkpoints", "figures", "predictions", "tensorboard", "wandb", "mlruns")


def saved_config(run_dir: str | Path) -> dict[str, Any]:
    """The resolved configuration of a run directory."""
    path = Path(run_dir) / "config.yaml"
    if not path.exists():
        raise UserError(f"{run_dir} is not a run directory: it has no config.yaml; give the folder that a run wrote")
    return configuration.read(path)


def prepare(run_dir: Path, config: dict[str, Any]) -> dict[str, Any] | None:
    """Make the run directory ready; the summary when it holds this very run, finished."""
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        probe = run_dir / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"run_dir={run_dir} cannot be written ({error.strerror}); choose a folder you may write to"
        ) from error
    saved = run_dir / "config.yaml"
    if config["overwrite"]:
        for name in OWN_FILES:
            (run_dir / name).unlink(missing_ok=True)
        for name in OWN_FOLDERS:
            shutil.rmtree(run_dir / name, ignore_errors=True)
    elif saved.exists():
        different = configuration.difference(configuration.read(saved), config)
        if different:
            raise UserError(
                f"run_dir={run_dir} holds another run: it differs in {', '.join(different[:4])}"
                f"{' and more' if len(different) > 4 else ''}; choose another run_dir, or overwrite=true to begin anew"
            )
        status = run_dir / "status.json"
        summary = run_dir / "summary.json"
        if status.exists() and summary.exists() and json.loads(status.read_text())["status"] == "done":
            return json.loads(summary.read_text())
    configuration.write(saved, config)
    return None


def summarised(values: Mapping[str, Sequence[float]]) -> dict[str, dict[str, Any]]:
    """name -> mean, 95 % interval over the seeds, and the value of each seed."""
    metrics = {}
    for name, per_seed in values.items():
        mean, low, high = map(float, bootstrap_interval(np.asarray(per_seed, np.float64)))
        metrics[name] = {"mean": mean, "low": low, "high": high, "per_seed": list(per_seed)}
    return metrics


def origin() -> dict[str, Any]:
    """What made the numbers of a summary: versions, device and commit."""
    return {
        "versions": {name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "git_commit": git_commit(),
    }


def git_commit() -> str | None:
    """The commit of the checkout that this package runs from; None for an installed wheel."""
    folder = Path(__file__).parent
    if not (folder.parent.parent / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def set_status(run_dir: Path, status: str, reason: str) -> None:
    """running, done or failed, and why; of several processes the first one's word counts."""
    if is_first():
        write_json(run_dir / "status.json", {"status": status, "reason": reason})


@contextlib.contextmanager
def failures_noted(run_dir: Path, interrupted: str) -> Iterator[None]:
    """Let the status say what ended a run that did not end by itself."""
    try:
        yield
    except KeyboardInterrupt:
        set_status(run_dir, "failed", interrupted)
        raise
    except Exception as error:
        set_status(run_dir, "failed", f"{type(error).__name__}: {error}")
        raise


def limit_cpu_threads(count: int | None) -> None:
    """Give XLA `count` threads on the CPU; None leaves it one per core. It must come before jax computes anything.

    Handing a small matrix product to another thread costs more than the product: see benchmarks/rl.
    """
    # XLA reads this variable once, when jax starts; there is no jax option for it.
    if count is None or os.environ.get("NPROC") == str(count):
        return
    if started():
        warnings.warn(
            f"cpu_threads={count} comes too late, jax has already started in this process; "
            f"restart it and train before anything else, or set the environment variable NPROC={count}",
            stacklevel=3,
        )
        return
    os.environ["NPROC"] = str(count)


def use_compilation_cache() -> None:
    """Compiled programs are kept in the user's cache folder, so that the next start is quick."""
    if jax.config.values.get("jax_compilation_cache_dir") is None:
        jax.config.update("jax_compilation_cache_dir", str(Path.home() / ".cache" / "infojax" / "xla"))


@contextlib.contextmanager
def compile_clock() -> Iterator[list[float]]:
    """Seconds of every compilation while this is open."""
    seconds: list[float] = []
    listening = [True]

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if listening[0] and event == "/jax/core/compile/backend_compile_duration":
            seconds.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seconds
    finally:
        listening[0] = False
