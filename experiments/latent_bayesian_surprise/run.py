"""Latent Bayesian surprise beside ICM, RND and disagreement: coverage of mountain car, without noise and with it.

    python experiments/latent_bayesian_surprise/run.py

The paper's task, budget, learner (PPO) and metric: the share of 10 x 10 cells of position and velocity that were ever
visited, in 102,400 steps; no method sees the task's reward. Noise is an extra dimension that an extra action redraws,
while the car stands still (frozen) or rolls without force (evolving). All methods share every setting of PPO; each has
models of 32 units. Five seeds in one program. The table and the picture are written beside this file.
"""

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import studies  # noqa: E402  the folder above is on the path now

WORLDS = ("mountain_car/sparse", "mountain_car/frozen", "mountain_car/evolving")
PPO = ("agent=latent_bayesian_surprise",)
SIZES = ("objective.hidden_sizes=[32,32]",)
METHODS = {
    "latent Bayesian surprise": (*PPO, *SIZES),
    "ICM": (*PPO, "objective=icm", *SIZES),
    "RND": (*PPO, "objective=rnd", *SIZES),
    "disagreement": (*PPO, "objective=disagreement", *SIZES),
    "random": (*PPO, "objective=none", "agent.learning_rate=1e-30", "agent.extrinsic_weight=1.0"),
}
METRIC = "train/coverage"
STEPS = 102_400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/latent_bayesian_surprise"), help="where the runs are kept"
    )
    parser.add_argument("--steps", type=int, default=STEPS, help="environment steps of every seed")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=HERE, help="folder of the table and the picture")
    arguments = parser.parse_args()
    budget = (f"total_steps={arguments.steps}", "log.every=2048", f"evaluation.every={arguments.steps}")
    rest = (*budget, "evaluation.episodes=1", f"checkpoint.every={arguments.steps}")
    cases = []
    for world in WORLDS:
        for method, words in METHODS.items():
            # The paper's weight of the divergence: 2 under noise, 0.1 without.
            own = (f"objective.beta={0.1 if world == WORLDS[0] else 2.0}",) if method.startswith("latent") else ()
            cases.append(studies.Case(world, method, (*words, *own, f"env={world}", *rest)))
    minutes = studies.run(cases, arguments.runs, arguments.seeds)
    record = {"minutes": minutes, "steps": arguments.steps, "cases": {}}
    found: dict[str, dict[str, dict]] = {}
    for case in cases:
        _, values = studies.curve(arguments.runs / case.name, METRIC)
        entry = studies.interval(values[:, -1])
        found.setdefault(case.method, {})[case.world] = entry
        record["cases"][case.name] = {"coverage": entry, "words": case.words}
    rows = []
    for method, worlds in found.items():
        clean = worlds[WORLDS[0]]
        lost = []
        for world in WORLDS[1:]:
            pairs = zip(clean["per_seed"], worlds[world]["per_seed"], strict=True)
            lost.append(studies.interval([before - after for before, after in pairs]))
        record.setdefault("lost", {})[method] = dict(zip(WORLDS[1:], lost, strict=True))
        rows.append(
            [method, *(studies.shown(worlds[world]) for world in WORLDS), *(studies.shown(one) for one in lost)]
        )
    heads = ["method", *(f"coverage, {world}" for world in WORLDS), *(f"lost, {world}" for world in WORLDS[1:])]
    studies.write(arguments.output, "table", heads, rows, record)
    studies.picture(arguments.output / "coverage.png", cases, arguments.runs, {METRIC: "cells ever visited, share"})
    print((arguments.output / "table.md").read_text())
    print(f"{minutes:.1f} min")


if __name__ == "__main__":
    main()
