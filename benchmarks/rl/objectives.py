"""What one gradient step of each curiosity objective costs, in turns, at equal network sizes.

    python benchmarks/rl/objectives.py

Sparse mountain car, 64 transitions a step, hidden layers of 32 and 32 in every model (the paper's for latent Bayesian
surprise), five members for disagreement; 200 steps in one compiled scan. The result is a table, and one JSON line.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from infojax import testing
from infojax.envs import mountain_car
from infojax.objectives import disagreement, icm, latent_bayesian_surprise, rnd
from infojax.run.training import limit_cpu_threads
from infojax.types import Objective

STEPS = 200


def program(objective: Objective, spec: Any, rows: int) -> Callable[[Any], Any]:
    """`STEPS` updates on the same transitions."""
    transitions = testing.example_transitions(spec, objective, rows)

    def step(state: Any, key: jax.Array) -> tuple[Any, None]:
        return objective.update(state, transitions, key)[0], None

    return jax.jit(lambda state: jax.lax.scan(step, state, jax.random.split(jax.random.key(2), STEPS))[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=21)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--hidden", type=int, nargs="+", default=[32, 32])
    parser.add_argument("--cpu-threads", type=int, default=1)
    arguments = parser.parse_args()
    limit_cpu_threads(arguments.cpu_threads)
    hidden = tuple(arguments.hidden)
    spec = mountain_car.make(reward="sparse", action_cost=0.0, episode_length=100).spec
    objectives = {
        "latent Bayesian surprise": latent_bayesian_surprise.make(spec, hidden_sizes=hidden),
        "disagreement, 5 members": disagreement.make(spec, hidden_sizes=hidden, num_members=5),
        "ICM": icm.make(spec, hidden_sizes=hidden),
        "RND": rnd.make(spec, hidden_sizes=hidden),
    }
    programs, states = {}, {}
    for name, objective in objectives.items():
        programs[name] = program(objective, spec, arguments.rows)
        states[name] = jax.block_until_ready(programs[name](objective.init(jax.random.key(0))))
    seconds: dict[str, list[float]] = {name: [] for name in objectives}
    for _ in range(arguments.repeats):
        for name, run in programs.items():
            start = time.process_time()
            jax.block_until_ready(run(states[name]))
            seconds[name].append(time.process_time() - start)
    found = {name: 1e6 * statistics.median(values) / STEPS for name, values in seconds.items()}
    sizes = {
        name: sum(
            leaf.size
            for leaf in jax.tree.leaves(jax.eval_shape(one.init, jax.random.key(0)))
            if leaf.dtype == jnp.float32
        )
        for name, one in objectives.items()
    }
    print("| objective | microseconds of CPU a step | over latent Bayesian surprise | numbers in its state |")
    print("|---|---|---|---|")
    first = next(iter(found.values()))
    for name, value in found.items():
        print(f"| {name} | {value:.1f} | {value / first:.2f} | {sizes[name]:,} |")
    print(json.dumps({"microseconds": found, "load": os.getloadavg()[0], "jax": jax.__version__, "hidden": hidden}))


if __name__ == "__main__":
    main()
