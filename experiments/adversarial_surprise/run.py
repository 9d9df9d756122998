"""Adversarial surprise on noisy rooms beside random actions, SMiRL, RND and ICM: rooms, time in noise, calm.

    python experiments/adversarial_surprise/run.py

The same number of environment steps and environments for each method, PPO with the same networks; five seeds, one
after the other. Tables and the picture are written beside this file.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import studies  # noqa: E402  the folder above is on the path now

from infojax.run.drawing import markdown_table, write_text  # noqa: E402

OURS, ALONE = "adversarial surprise", "explore alone"
PPO = ("agent=ppo", "agent.extrinsic_weight=0", "agent.epochs=4", "agent.minibatches=8", "agent.entropy_weight=0.01")
GAME = ("agent=adversarial_surprise", "agent.minibatch_size=1024")
METHODS: dict[str, tuple[str, ...]] = {  # the longest first
    OURS: GAME,
    # Its Control stays as random as it begins: what Control itself adds is the difference.
    ALONE: (*GAME, "agent.learns=explore"),
    "ICM": (*PPO, "objective=icm"),
    "RND": (*PPO, "objective=rnd"),
    "SMiRL": (*PPO, "objective=smirl"),
    # The rooms give no reward, so that nothing is learned and the first policy stays: almost uniform.
    "random": ("agent=ppo", "objective=none", "agent.epochs=1", "agent.minibatches=1"),
}
SWITCHES, NOISY = "rooms/controllable", "rooms/noisy"
WORLDS = {SWITCHES: "with switches", NOISY: "without switches"}
# They are compared by the time spent in noise that nothing silences.
NOISY_ALONE = ("ICM", "RND")
ROOMS = ("env.view_size=5", "env.max_size=4")
COMMON = (
    "agent.num_envs=64",
    "agent.unroll=128",
    "agent.learning_rate=1e-3",
    "agent.hidden_sizes=[64,64]",
    "seeds=map",
)
MEASURES = {
    "rooms_visited_at_end": "rooms visited",
    "furthest_room_at_end": "furthest room",
    "in_noise": "share of time in noise",
    "noise_off_at_end": "share of noise off",
    "coverage": "tiles covered",
    "control_lowers_entropy": "nats that Control calms",
    "observation_entropy_explore": "entropy after Explore",
    "observation_entropy_control_last": "entropy after Control",
    "control_log_prob_gain": "gain of log p in Control's round",
}
DRAWN = ("rooms_visited_at_end", "in_noise")


def collected(run: Path) -> dict[str, dict[str, Any]]:
    """What the last evaluation says, with stochastic acting."""
    metrics = json.loads((run / "summary.json").read_text())["metrics"]
    names = {name: f"evaluation/stochastic/{name}" for name in MEASURES}
    return {name: studies.interval(metrics[full]["per_seed"]) for name, full in names.items() if full in metrics}


def claims(found: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]) -> dict[str, Mapping[str, Any]]:
    """The bars of the README, by world -> method -> measure."""
    told = {}

    def compare(words: str, world: str, measure: str, first: str, second: str) -> None:
        pair = [found[world][method][measure]["per_seed"] for method in (first, second)]
        told[f"{words} ({WORLDS[world]})"] = studies.above(*pair)

    for world in found:
        for other in ("random", "SMiRL"):
            compare(f"rooms visited above {other}", world, "rooms_visited_at_end", OURS, other)
        compare("Control calms more than a random one", world, "control_lowers_entropy", OURS, ALONE)
        calmed = found[world][OURS]["control_lowers_entropy"]["per_seed"]
        told[f"Control lowers the entropy of observations ({WORLDS[world]})"] = studies.above(calmed, [0] * len(calmed))
    if NOISY in found:
        for other in ("RND", "ICM"):
            compare(f"less time in noise than {other}", NOISY, "in_noise", other, OURS)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/adversarial_surprise"), help="where the runs are kept")
    parser.add_argument("--worlds", nargs="+", choices=tuple(WORLDS), default=list(WORLDS), metavar="WORLD")
    parser.add_argument("--steps", type=int, default=900_000, help="environment steps of every seed")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=HERE, help="folder of the tables and the picture")
    arguments = parser.parse_args()
    steps = arguments.steps
    budget = (
        f"total_steps={steps}",
        f"log.every={max(2048, steps // 25)}",
        f"evaluation.every={max(2048, steps // 5)}",
    )
    rest = (*ROOMS, *COMMON, *budget, "evaluation.episodes=32", f"checkpoint.every={steps}")
    cases = [
        studies.Case(world, method, (*words, f"env={world}", *rest))
        for method, words in METHODS.items()
        for world in arguments.worlds
        if world == NOISY or method not in NOISY_ALONE
    ]
    minutes = studies.run(cases, arguments.runs, arguments.seeds)

    found: dict[str, dict[str, dict[str, dict[str, Any]]]] = {world: {} for world in arguments.worlds}
    for case in cases:
        found[case.world][case.method] = collected(arguments.runs / case.name)
    bars = claims(found)
    parts = []
    for world, methods in found.items():
        rows = [
            [words, *(studies.shown(values[name]) if name in values else "–" for values in methods.values())]
            for name, words in MEASURES.items()
        ]
        parts.append(f"## Rooms {WORLDS[world]}\n\n{markdown_table(['', *methods], rows)}")
    record = {"minutes": minutes, "steps": steps, "worlds": found, "bars": bars}
    judged = [[words, studies.shown(bar), "yes" if bar["holds"] else "no"] for words, bar in bars.items()]
    studies.write(arguments.output, "table", ["what", "difference", "holds"], judged, record)
    bars_text = (arguments.output / "table.md").read_text()
    write_text(arguments.output / "table.md", "\n".join([*parts, f"## Bars\n\n{bars_text}"]))
    drawn = {f"train/{name}": MEASURES[name] for name in DRAWN}
    studies.picture(arguments.output / "rooms.png", cases, arguments.runs, drawn)
    print((arguments.output / "table.md").read_text())
    print(f"{minutes:.1f} min")


if __name__ == "__main__":
    main()
