"""MaxInfoRL's updates per CPU-second beside what the arithmetic allows, both measured in one run.

    python benchmarks/rl/maxinforl.py [--cpu-threads 1]

Networks 256x256, batch 256, observations of 17 numbers, actions of 6, five deterministic members: half-cheetah's sizes.
A call is `agent.update`, compiled. Calls and the machine's matmul rate (`matmul_peak.py`) are measured in turns, so
that both meet the same load. The limit is the best matmul rate over the products that one update cannot do without
(`flops.py` for SAC's part). A machine that others share is now fast and now slow: `share_of_limit_beside` holds every
call against the better of the rates just before and just behind it, `share_of_limit` against the best of all rates.
The result is one JSON line.
"""

import argparse
import json
import os
import statistics
import sys
import time
from itertools import pairwise

import flops
import jax
import jax.numpy as jnp
import matmul_peak

from infojax.agents import maxinforl, sac
from infojax.objectives import none
from infojax.run.training import limit_cpu_threads
from infojax.types import EnvSpec, Rollout

OBSERVATION, ACTION, BATCH, HIDDEN, MEMBERS = 17, 6, 256, 256, 5
UPDATES = 32
SQUARES = (1024, 2048)


def maxinforl_update(rows: int, hidden: int, observation: int, action: int, members: int) -> int:
    """The SAC update, the slow actor forward, and the ensemble.

    The ensemble forward at the next action, at the action and back to it, at the slow actor's action, and trained. It
    predicts the change of the observation and the reward.
    """
    actor = [observation, hidden, hidden, 2 * action]
    member = [observation + action, hidden, hidden, observation + 1]
    gains = 3 * flops.forward(rows, member) + flops.input_gradient(rows, member, action)
    training = flops.forward(rows, member) + flops.kernel_gradients(rows, member)
    sac_part = flops.sac_update(rows, hidden, observation, action)
    return sac_part + flops.forward(rows, actor) + members * (gains + training)


def rollout(steps: int) -> Rollout:
    """One environment's random steps [T, 1, …]."""
    keys = jax.random.split(jax.random.key(1), 4)
    no = jnp.zeros((steps, 1), bool)
    return Rollout(
        observation=jax.random.normal(keys[0], (steps, 1, OBSERVATION)),
        first=no,
        action=jax.random.uniform(keys[1], (steps, 1, ACTION), minval=-1.0, maxval=1.0),
        reward=jax.random.normal(keys[2], (steps, 1)),
        terminated=no,
        truncated=no,
        next_observation=jax.random.normal(keys[3], (steps, 1, OBSERVATION)),
        extras={"context": jnp.zeros((steps, 1, 0))},
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("agent", nargs="?", default="maxinforl", choices=("maxinforl", "sac"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cpu-threads", type=int)
    arguments = parser.parse_args()
    limit_cpu_threads(arguments.cpu_threads)
    spec = EnvSpec((OBSERVATION,), (ACTION,), None, (-1.0,) * ACTION, (1.0,) * ACTION, 1000)
    make = maxinforl.make if arguments.agent == "maxinforl" else sac.make
    settings = {"num_envs": 1, "unroll": UPDATES, "updates_per_step": 1.0, "batch_size": BATCH}
    agent = make(spec, none.make(spec), **settings, random_steps=0, learning_starts=0, replay_capacity=8192)
    needed = flops.sac_update(BATCH, HIDDEN, OBSERVATION, ACTION)
    if arguments.agent == "maxinforl":
        needed = maxinforl_update(BATCH, HIDDEN, OBSERVATION, ACTION, MEMBERS)
    update = jax.jit(agent.update, donate_argnums=0)
    state, fresh = agent.init(jax.random.key(0)), rollout(UPDATES)
    start = time.perf_counter()
    state, _ = jax.block_until_ready(update(state, fresh, jax.random.key(2)))
    first_call = time.perf_counter() - start

    def rate() -> float:
        return max(matmul_peak.square(size, 2)["gflops_per_cpu_second"] for size in SQUARES)

    per_cpu_second, per_second, rates = [], [], [rate()]
    for repeat in range(arguments.repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        state, _ = jax.block_until_ready(update(state, fresh, jax.random.key(3 + repeat)))
        per_cpu_second.append(UPDATES / (time.process_time() - cpu))
        per_second.append(UPDATES / (time.perf_counter() - wall))
        rates.append(rate())
    peak = max(rates)
    limit = 1e9 * peak / needed
    beside = [
        needed * updates / (1e9 * max(pair)) for updates, pair in zip(per_cpu_second, pairwise(rates), strict=True)
    ]
    result = {
        "agent": arguments.agent,
        "cpu_threads": arguments.cpu_threads,
        "mflop_per_update": needed / 1e6,
        "peak_gflops_per_cpu_second": peak,
        "limit_updates_per_cpu_second": limit,
        "updates_per_cpu_second": statistics.median(per_cpu_second),
        "updates_per_second": statistics.median(per_second),
        "share_of_limit": statistics.median(per_cpu_second) / limit,
        "share_of_limit_beside": statistics.median(beside),
        "best_share_of_limit": max(per_cpu_second) / limit,
        "first_call_seconds": first_call,
        "load": os.getloadavg()[0],
        "jax": jax.__version__,
        "python": sys.version.split()[0],
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
