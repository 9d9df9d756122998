"""MaxInfoRL beside SAC where the reward is sparse: who reaches the goal, and after how many steps.

    python experiments/maxinforl/run.py

Mountain car with a continuous force and action cost, and the pendulum that hangs and is rewarded near upright alone;
64x64 networks, the same budget, updates and temperatures for both; five seeds in one program. The table and the picture
are written beside this file.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import studies  # noqa: E402  the folder above is on the path now

WORLDS = {  # threshold of the return: the goal is reached; most of an episode is upright
    "mountain_car/continuous": 50.0,
    "pendulum/sparse": 50.0,
}
AGENT = (
    "agent.num_envs=4",
    "agent.unroll=4",
    "agent.updates_per_step=0.5",
    "agent.batch_size=128",
    "agent.hidden_sizes=[64,64]",
    "agent.random_steps=1000",
    "agent.learning_starts=1000",
    "agent.actor_learning_rate=1e-3",
    "agent.critic_learning_rate=1e-3",
    "agent.temperature_learning_rate=1e-3",
)
MODEL = (
    "agent.model_hidden_sizes=[64,64]",
    "agent.model_learning_rate=1e-3",
    "agent.information_weight_learning_rate=1e-3",
)
METHODS = {
    "SAC": ("agent=sac", "objective=none", *AGENT),
    "MaxInfoRL": ("agent=maxinforl", *AGENT, *MODEL),
}
METRIC = "evaluation/deterministic/return"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/maxinforl"), help="where the runs are kept")
    parser.add_argument("--steps", type=int, default=50_000, help="environment steps of every seed")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=HERE, help="folder of the table and the picture")
    arguments = parser.parse_args()
    log = max(arguments.steps // 50, 16)
    budget = (f"total_steps={arguments.steps}", f"log.every={log}", f"evaluation.every={2 * log}")
    rest = (*budget, "evaluation.episodes=5", f"checkpoint.every={arguments.steps}")
    cases = [
        studies.Case(world, method, (*words, f"env={world}", *rest))
        for world in WORLDS
        for method, words in METHODS.items()
    ]
    minutes = studies.run(cases, arguments.runs, arguments.seeds)
    rows, record = [], {"minutes": minutes, "steps": arguments.steps, "cases": {}}
    for case in cases:
        steps, values = studies.curve(arguments.runs / case.name, METRIC)
        threshold = WORLDS[case.world]
        reached = studies.first_step(steps, values, threshold)
        last = studies.interval(values[:, -3:].mean(axis=1))
        median = float(np.median(reached))
        entry = {"threshold": threshold, "first_step": reached, "median_first_step": median, "last_return": last}
        record["cases"][case.name] = {**entry, "words": case.words}
        told = f"{median:,.0f}" if np.isfinite(median) else f"more than {arguments.steps:,}"
        count = sum(np.isfinite(step) for step in reached)
        rows.append([case.world, case.method, f"{count} of {len(reached)}", told, studies.shown(last)])
    heads = ["world", "method", "seeds that reach the goal", "steps to it, median", "return at the end"]
    studies.write(arguments.output, "table", heads, rows, record)
    studies.picture(arguments.output / "returns.png", cases, arguments.runs, {METRIC: "return, deterministic"})
    print((arguments.output / "table.md").read_text())
    print(f"{minutes:.1f} min")


if __name__ == "__main__":
    main()
