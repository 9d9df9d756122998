"""Steps per second of the noisy rooms with random actions, views included.

Rooms are drawn anew for every episode; drawing them is part of what is measured. One round is an episode of 128 steps
in each of a number of environments, in one compiled program that keeps every observation, as a rollout would.

    python benchmarks/rl/rooms.py [--envs 512] [--rounds 20] [--layout mixed]

Prints one JSON line: the median and the best round in steps per second of wall time, and in steps per second of CPU
time (all threads), which other work on the machine disturbs less.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import yaml

from infojax.envs import rooms

PRESETS = Path(__file__).parents[2] / "configs" / "env" / "rooms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--layout", default="mixed", choices=sorted(path.stem for path in PRESETS.glob("*.yaml")))
    chosen = parser.parse_args()
    options = yaml.safe_load((PRESETS / f"{chosen.layout}.yaml").read_text())
    del options["_target_"]
    environment = rooms.make(**options)
    length = environment.spec.episode_length

    @jax.jit
    def episodes(key):
        reset_key, walk_key = jax.random.split(key)
        state, first = jax.vmap(environment.reset)(jax.random.split(reset_key, chosen.envs))

        def step(state, key):
            action_key, step_key = jax.random.split(key)
            action = jax.random.randint(action_key, (chosen.envs,), 0, 4)
            keys = jax.random.split(step_key, chosen.envs)
            state, observation, reward, terminated = jax.vmap(environment.step)(state, action, keys)
            return state, (observation, reward, terminated)

        return first, *jax.lax.scan(step, state, jax.random.split(walk_key, length))

    keys = jax.random.split(jax.random.key(0), chosen.rounds + 1)
    start = time.perf_counter()
    jax.block_until_ready(episodes(keys[0]))
    first_call = time.perf_counter() - start
    wall, cpu = [], []
    for key in keys[1:]:
        before = time.perf_counter(), time.process_time()
        jax.block_until_ready(episodes(key))
        wall.append(time.perf_counter() - before[0])
        cpu.append(time.process_time() - before[1])
    steps = chosen.envs * length
    result = {
        "layout": chosen.layout,
        "envs": chosen.envs,
        "rounds": chosen.rounds,
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "first_call_seconds": round(first_call, 2),
        "steps_per_second": round(steps / statistics.median(wall)),
        "steps_per_second_best": round(steps / min(wall)),
        "steps_per_cpu_second": round(steps / statistics.median(cpu)),
        "steps_per_cpu_second_best": round(steps / min(cpu)),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
