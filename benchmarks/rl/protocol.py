"""What every timed script of the RL benchmark shares: arguments, clocks, the one JSON line. Standard library only.

A script is run by the Python of its own environment. It prepares, makes its first call, then for every timed repeat
waits for a line on standard input (with `--wait`), so that the driver can alternate two live processes call by call:
both have compiled, only one computes at a time, and neither is measured in a better minute than the other.
"""

import argparse
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

EPISODE_LENGTH = 100
FILL = 1024  # environment steps in the replay before the first gradient step
REPLAY_CAPACITY = 100_000
LEARNING_RATE = 3e-4
TARGET_RATE = 0.005
SAC_ENVS, SAC_DISCOUNT = 16, 0.99
DIAYN_ENVS, DIAYN_DISCOUNT, DIAYN_SKILLS = 32, 0.97, 4
PPO_ENVS, PPO_UNROLL, PPO_EPOCHS, PPO_MINIBATCHES = 64, 128, 4, 4
PPO_LEARNING_RATE, PPO_GRADIENT_NORM, PPO_DISCOUNT, PPO_TRACE = 2.5e-4, 0.5, 0.99, 0.95
PPO_CLIP, PPO_ENTROPY_WEIGHT, PPO_VALUE_WEIGHT = 0.2, 0.01, 0.5


class Settings(NamedTuple):
    """One script's arguments."""

    hidden: int
    batch: int
    steps: int
    repeats: int
    wait: bool


class Stopwatch(NamedTuple):
    """Wall and CPU seconds (all threads of the process) at one moment."""

    wall: float
    cpu: float


def settings(argv: Sequence[str] | None = None) -> Settings:
    """Read the arguments that all scripts share."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--hidden", type=int, default=256, help="width of the two hidden layers of every network")
    parser.add_argument("--batch", type=int, default=256, help="transitions in a minibatch")
    parser.add_argument("--steps", type=int, default=1024, help="environment steps of one repeat")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--wait", action="store_true", help="wait for a line on standard input before each repeat")
    return Settings(**vars(parser.parse_args(argv)))


def now() -> Stopwatch:
    """The two clocks."""
    return Stopwatch(time.perf_counter(), time.process_time())


def wait_for_turn(chosen: Settings) -> None:
    """Tell the driver that this process is idle, and block until it is its turn."""
    if chosen.wait:
        print(json.dumps({"idle": True}), flush=True)
        sys.stdin.readline()


class Recorder:
    """Collects the first call and the repeats of one script.

    The clock of the first call starts here, after the imports: it covers building the agent, initialising, filling
    the replay, compiling and one whole chunk. `first_call_updates` says how much training that chunk held, so that the
    driver can take its warm cost off and keep what only the first call pays.
    """

    def __init__(self, chosen: Settings, packages: Sequence[str]) -> None:
        self.chosen = chosen
        self.versions = {name: importlib.metadata.version(name) for name in packages}
        self.repeats: list[dict[str, float]] = []
        self.first: dict[str, float] = {}
        self.warm_up: list[float] = []
        self.start = now()

    def first_call(self, updates: int) -> None:
        """The first call has returned."""
        end = now()
        self.first = {
            "first_call_seconds": end.wall - self.start.wall,
            "first_call_cpu_seconds": end.cpu - self.start.cpu,
            "first_call_updates": updates,
        }

    def warm(self, begin: Stopwatch) -> None:
        """A further untimed call has returned; kept apart, it shows whether the program compiled once more."""
        self.warm_up.append(now().wall - begin.wall)

    def repeat(self, begin: Stopwatch, updates: int, env_steps: int) -> None:
        """A timed call has returned."""
        end = now()
        self.repeats.append(
            {
                "updates": updates,
                "env_steps": env_steps,
                "wall_seconds": end.wall - begin.wall,
                "cpu_seconds": end.cpu - begin.cpu,
                "load": os.getloadavg()[0],
            }
        )

    def finish(self, **extra: Any) -> None:
        """Print the JSON line."""
        result = {
            **self.first,
            "warm_up_seconds": self.warm_up,
            "repeats": self.repeats,
            "versions": self.versions,
            **extra,
        }
        print(json.dumps(result), flush=True)


def time_calls(recorder: Recorder, call: Callable[[], None], first_updates: int, updates: int) -> None:
    """Drive a script whose training goes on by calling `call()`, which blocks until its results are there."""
    call()
    recorder.first_call(first_updates)
    begin = now()
    call()
    recorder.warm(begin)
    for _ in range(recorder.chosen.repeats):
        wait_for_turn(recorder.chosen)
        begin = now()
        call()
        recorder.repeat(begin, updates, updates)
