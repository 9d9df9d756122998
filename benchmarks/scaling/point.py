"""One point of the scaling tables: a run's own compiled chunk, timed in a process of its own; prints one JSON line.

    python benchmarks/scaling/point.py --repeats 5 agent=ppo objective=none env=maze/open num_seeds=4

Times, sizes and FLOPs are of the words of `infojax train` that are given. Between the repeats it measures the machine's
rate of float32 matrix products, so that both meet the same load, and behind them the rate at the run's own shapes.
"""

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from infojax.run import config as configuration
from infojax.run import lowering
from infojax.run.loop import device_programs
from infojax.run.mesh import place, seed_keys, seed_mesh
from infojax.run.training import plan_of

sys.path.append(str(Path(__file__).resolve().parents[1] / "rl"))
import matmul_peak

SQUARES = (1024, 2048)
CHAIN = 20  # products in one call
PACKAGES = ("jax", "jaxlib", "flax", "optax", "brax", "numpy")


def resident() -> int:
    """Bytes that the process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def most_resident() -> int:
    """Bytes that the process held when it held most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def timed(call: Callable[[], Any], times: int = 1) -> tuple[float, float]:
    """Seconds and CPU-seconds of all threads that a call takes, the mean over so many."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(times):
        call()
    return (time.perf_counter() - wall) / times, (time.process_time() - cpu) / times


def shape_rate(seeds: int, rows: int, width: int, seconds: float) -> float:
    """GFLOP/s of [rows, width] x [width, width] for all seeds at once, each product the input of the next; the best."""
    left = jax.random.normal(jax.random.key(0), (seeds, rows, width))
    right = jax.random.normal(jax.random.key(1), (seeds, width, width)) / width**0.5

    def chain(values: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, CHAIN, lambda _, value: value @ kernel, values)

    # One seed multiplies matrices, several multiply batches of them, as in the run.
    function, arguments = (chain, (left[0], right[0])) if seeds == 1 else (jax.vmap(chain), (left, right))
    compiled = jax.jit(function)
    call = lambda: jax.block_until_ready(compiled(*arguments))  # noqa: E731
    call()
    once, _ = timed(call)
    times = max(1, round(seconds / 3 / once))
    return max(2e-9 * CHAIN * seeds * rows * width**2 / timed(call, times)[0] for _ in range(3))


def rows_of(agent: dict[str, Any]) -> dict[str, int]:
    """Rows of the matrices that a seed learns from and acts upon."""
    learning = agent["batch_size"] if "batch_size" in agent else agent["num_envs"] * agent["unroll"]
    return {"learning": learning // agent.get("minibatches", 1), "acting": agent["num_envs"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="+", help="as of `infojax train`")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="that a repeat takes at least")
    parser.add_argument("--most", type=float, default=8.0, help="seconds after which, three made, no repeat begins")
    parser.add_argument("--squares", type=int, nargs="+", default=list(SQUARES))
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    config = configuration.compose(arguments.words)
    jax.block_until_ready(jnp.zeros(()))
    at_start = resident()
    built = configuration.build(config)
    agent, environment, count = built.agent, built.environment, config["num_seeds"]
    iterations = plan_of(agent, config).iterations
    mesh = seed_mesh(count)
    programs = device_programs(agent, environment, iterations, mesh, config["seeds"])
    roots = seed_keys(range(count), mesh)
    pool = programs.pool(roots, place(np.full(count, -1, np.int32), mesh))
    state = programs.init(roots, pool)
    jax.block_until_ready((state, pool))

    before, before_cpu = time.perf_counter(), time.process_time()
    traced = programs.chunk.trace(state, pool)
    lowered = traced.lower()
    middle = time.perf_counter()
    chunk = lowered.compile()
    compiled = {
        "trace_seconds": middle - before,
        "compile_seconds": time.perf_counter() - middle,
        "cpu_seconds": time.process_time() - before_cpu,
    }
    after_compiling = most_resident()

    def call() -> None:
        nonlocal state
        # As in a run: fresh initial states for every chunk, and the chunk takes the memory of its state.
        state, metrics = chunk(state, programs.pool(state.root, state.chunk))
        jax.block_until_ready((state, metrics))

    warm, _ = timed(call)
    times = max(1, round(arguments.seconds / warm))
    after_running = most_resident()
    repeats, squares, began = [], [], time.perf_counter()
    for repeat in range(arguments.repeats):
        if repeat >= 3 and time.perf_counter() - began > arguments.most:
            break
        wall, cpu = timed(call, times)
        repeats.append({"wall_seconds": wall, "cpu_seconds": cpu})
        size = arguments.squares[repeat % len(arguments.squares)]
        squares.append({"size": size} | matmul_peak.square(size, 1))

    steps = iterations * agent.unroll * agent.num_envs
    rows, width = rows_of(config["agent"]), config["agent"]["hidden_sizes"][0]
    together = count if config["seeds"] == "vmap" else 1
    result = {
        "words": arguments.words,
        "device": jax.devices()[0].device_kind,
        "seeds": count,
        "environments": agent.num_envs,
        "steps_per_call": steps * count,
        "calls_per_repeat": times,
        "repeats": repeats,
        "matrix_flops_per_step": lowering.matrix_flops(traced.jaxpr.jaxpr) / (steps * count),
        "squares": squares,
        "shapes": {
            name: {"seeds": together, "rows": number, "width": width}
            | {"gflops_per_second": shape_rate(together, number, width, arguments.seconds)}
            for name, number in rows.items()
        },
        "memory": lowering.memory(chunk.memory_analysis()),
        "resident": {
            "at_start": at_start,
            "most_after_compiling": after_compiling,
            "most_after_running": after_running,
        },
        "compiled": compiled,
        "load": {"before": round(load, 2), "after": round(os.getloadavg()[0], 2)},
        "versions": {name: version(name) for name in PACKAGES},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
