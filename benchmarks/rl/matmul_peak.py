"""This machine's float32 matmul rate, by the same compiler that the agents use.

`peak` is the best over square matrices (GFLOP/s with all cores; GFLOP per CPU-second beside it). `update_shape` is the
rate at the shapes of an update, [width, width] x [width, width], in a chain inside one compiled loop, as in training.
"""

import argparse
import json
import time

import jax
import jax.numpy as jnp

SQUARES = (768, 1024, 1536, 2048, 3072)
CHAIN = 100


def best(call, flops: float, repeats: int) -> dict[str, float]:
    """The best of several timings, after one call that compiles."""
    jax.block_until_ready(call())
    wall = cpu = 0.0
    for _ in range(repeats):
        start_wall, start_cpu = time.perf_counter(), time.process_time()
        jax.block_until_ready(call())
        wall = max(wall, flops / (time.perf_counter() - start_wall))
        cpu = max(cpu, flops / (time.process_time() - start_cpu))
    return {"gflops_per_second": wall / 1e9, "gflops_per_cpu_second": cpu / 1e9}


def square(size: int, repeats: int) -> dict[str, float]:
    """One product of two [size, size] matrices; repeated inside a call for about 0.2 s, for the clocks to resolve."""
    left, right = jax.random.normal(jax.random.key(0), (2, size, size))
    times = max(1, int(2e10 / (2 * size**3)))
    product = jax.jit(jnp.dot)

    def call():
        for _ in range(times):
            result = product(left, right)
        return result

    return best(call, 2.0 * size**3 * times, repeats)


def chain(rows: int, width: int, repeats: int) -> dict[str, float]:
    """[rows, width] x [width, width], each product the input of the next, in one compiled loop."""
    left = jax.random.normal(jax.random.key(0), (rows, width))
    right = jax.random.normal(jax.random.key(1), (width, width)) / width**0.5
    rounds = max(1, int(2e10 / (2 * rows * width * width * CHAIN)))
    call = jax.jit(lambda a, b: jax.lax.fori_loop(0, CHAIN, lambda _, value: value @ b, a))

    def calls():
        for _ in range(rounds):
            result = call(left, right)
        return result

    return best(calls, 2.0 * rows * width * width * CHAIN * rounds, repeats)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--squares", type=int, nargs="+", default=list(SQUARES))
    arguments = parser.parse_args()
    repeats = arguments.repeats
    squares = {str(size): square(size, repeats) for size in arguments.squares}
    keys = ("gflops_per_second", "gflops_per_cpu_second")
    result = {
        "peak": {key: max(rates[key] for rates in squares.values()) for key in keys},
        "squares": squares,
        "update_shape": {str(width): chain(width, width, repeats) for width in (64, 256)},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
