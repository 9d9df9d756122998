"""Skills and coverage: METRA and LSD beside DIAYN under one soft actor-critic, and k-NN entropy beside random actions.

    python experiments/skills/run.py

Coverage is what the skills (or the one policy) reach in evaluation after training without any reward: the share of a
grid's cells in the maze, of unit cells of x and cells of pitch for half-cheetah. Eight skills, 128x128 networks, equal
budgets and updates; five seeds in one program. The table and the picture are written beside this file.
"""

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import studies  # noqa: E402  the folder above is on the path now

SAC = (
    "agent=sac",
    "agent.num_envs=16",
    "agent.unroll=8",
    "agent.updates_per_step=0.125",
    "agent.batch_size=256",
    "agent.hidden_sizes=[64,64]",
    "agent.actor_learning_rate=1e-3",
    "agent.critic_learning_rate=1e-3",
    "agent.temperature_learning_rate=1e-3",
    "agent.extrinsic_weight=0",
    "agent.discount=0.97",
    "agent.normalize_observations=true",
)
TUNED = ("agent.temperature=0.1", "agent.target_entropy_per_dimension=-0.5")
FIXED = ("agent.temperature=0.05", "agent.target_entropy_per_dimension=null")
MODELS = ("objective.hidden_sizes=[64,64]", "objective.learning_rate=1e-3")
SKILLS = ("objective.num_skills=8", *MODELS)
METHODS = {
    "DIAYN": (*SAC, *FIXED, "objective=diayn", *SKILLS),
    "LSD": (*SAC, *TUNED, "objective=lsd", *SKILLS),
    "METRA": (*SAC, *TUNED, "objective=metra", *SKILLS),
    "k-NN entropy": (*SAC, *TUNED, "objective=knn_entropy"),
    "random": (*SAC, "objective=none", "agent.random_steps=1000000000", "agent.learning_starts=1000000000"),
}
WORLDS = {"maze/u": (), "maze/spiral": (), "brax/halfcheetah": ("env.episode_length=200",)}
METRICS = {"evaluation/stochastic/coverage": "reached in evaluation", "train/coverage": "reached in training"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/skills"), help="where the runs are kept")
    parser.add_argument("--steps", type=int, default=200_000, help="environment steps of every seed")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--worlds", nargs="+", choices=tuple(WORLDS), default=list(WORLDS), metavar="WORLD")
    parser.add_argument("--output", type=Path, default=HERE, help="folder of the table and the picture")
    arguments = parser.parse_args()
    log = max(arguments.steps // 25, 128)
    budget = (f"total_steps={arguments.steps}", f"log.every={log}", f"evaluation.every={5 * log}")
    cases = []
    for world in arguments.worlds:
        for method, words in METHODS.items():
            # As many episodes of one policy as of all skills together.
            episodes = "evaluation.episodes=2" if "objective.num_skills=8" in words else "evaluation.episodes=16"
            rest = (*WORLDS[world], *budget, episodes, f"checkpoint.every={arguments.steps}")
            cases.append(studies.Case(world, method, (*words, f"env={world}", *rest)))
    minutes = studies.run(cases, arguments.runs, arguments.seeds)
    rows, record = [], {"minutes": minutes, "steps": arguments.steps, "cases": {}}
    for case in cases:
        found = {}
        for metric, words in METRICS.items():
            _, values = studies.curve(arguments.runs / case.name, metric)
            found[words] = studies.interval(values[:, -1])
        record["cases"][case.name] = {**found, "words": case.words}
        rows.append([case.world, case.method, *(studies.shown(entry) for entry in found.values())])
    studies.write(arguments.output, "table", ["world", "method", *METRICS.values()], rows, record)
    metric = next(iter(METRICS))
    studies.picture(arguments.output / "coverage.png", cases, arguments.runs, metric, "cells reached, share")
    print((arguments.output / "table.md").read_text())
    print(f"{minutes:.1f} min")


if __name__ == "__main__":
    main()
