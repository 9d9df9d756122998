"""Strict settings for all tests: what is sloppy in our own code becomes an error."""

import contextlib
import os
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path.home() / ".cache" / "infojax" / "xla"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
# Compiling is most of what the tests cost. With XLA's older code for fusions on the CPU and without LLVM's costliest
# passes it takes a third to a half of the time (CoTTA 4.3 s for 12.2 s, InfoNCE 10 s for 18 s); what is compiled runs
# as fast or up to a half slower. jaxlib 0.11 stops at the name of the one and crashes in places by the other.
if version("jaxlib").startswith(("0.9.", "0.10.")):
    quick = "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=1"
    os.environ["XLA_FLAGS"] = f"{quick} {os.environ.get('XLA_FLAGS', '')}"

import jax
import pytest

from infojax import testing
from infojax.run import training

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


# Files of many programs that are compiled and hardly run.
COMPILE = ("info_", "battery_rl", "diagnostics", "mesh", "project", "report", "together", "training")


@pytest.fixture(scope="module", autouse=True)
def quickly_compiled(request):
    """Where compiling is all that a test costs the compiler does not try hard; numbers are compared at tolerances."""
    if request.path.name.removeprefix("test_").startswith(COMPILE):
        with testing.unoptimised():
            yield
    else:
        yield


@pytest.fixture
def power_cut(monkeypatch):
    """`with power_cut(n):` the n-th time that a run writes rows of metrics fails."""

    @contextlib.contextmanager
    def cut(number):
        write, calls = training.MetricsFile.write, []

        def stop(self, rows):
            calls.append(rows)
            if len(calls) == number:
                raise RuntimeError("power cut")
            return write(self, rows)

        with monkeypatch.context() as patch:
            patch.setattr(training.MetricsFile, "write", stop)
            yield

    return cut
