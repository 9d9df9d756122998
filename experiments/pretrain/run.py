"""Pretrain, then use: DIAYN's skills on a sparse goal that SAC alone does not find.

    python experiments/pretrain/run.py

Skills are learned without the reward in the U-shaped maze. Then, with the reward: the best of the skills as it is; SAC
from the best skill; a PPO controller that picks a frozen skill every ten steps; and SAC from scratch, with the steps of
pretraining on top. Every seed has skills of its own. The table and the picture are written beside this file.
"""

import argparse
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import studies  # noqa: E402  the folder above is on the path now

SAC = (
    "agent.num_envs=16",
    "agent.unroll=8",
    "agent.batch_size=256",
    "agent.hidden_sizes=[64,64]",
    "agent.actor_learning_rate=1e-3",
    "agent.critic_learning_rate=1e-3",
)
METRIC = "evaluation/deterministic/return"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/pretrain"), help="where the runs are kept")
    parser.add_argument("--env", default="maze/u")
    parser.add_argument("--pretraining", type=int, default=100_000, help="environment steps without the reward")
    parser.add_argument("--steps", type=int, default=50_000, help="environment steps with it")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=HERE, help="folder of the table and the picture")
    arguments = parser.parse_args()
    runs, began = arguments.runs, time.perf_counter()
    runs.mkdir(parents=True, exist_ok=True)

    def train(name: str, steps: int, *words: str) -> Path:
        every = max(steps // 25, 128)
        budget = [
            f"total_steps={steps}",
            f"log.every={every}",
            f"evaluation.every={every}",
            f"checkpoint.every={steps}",
        ]
        given = [f"env={arguments.env}", *words, *budget, "cpu_threads=1", "progress=false", f"run_dir={runs / name}"]
        with open(runs / f"{name}.log", "w") as log:
            command = [sys.executable, "-m", "infojax", "train", *given]
            subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=True)
        print(f"{(time.perf_counter() - began) / 60:5.1f} min  {name}", flush=True)
        return runs / name

    def one_seed(seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        own = (f"seed={seed}", "evaluation.episodes=4")
        found = ("objective.num_skills=8", "objective.hidden_sizes=[64,64]", "objective.features=[0,1]")
        pretrained = train(
            f"skills-{seed}", arguments.pretraining, "agent=diayn", *SAC, "agent.updates_per_step=0.25", *found, *own
        )
        learner = ("agent=sac", *SAC, "agent.updates_per_step=0.5", "agent.temperature=0.1", *own)
        rest = {
            "fine-tuned from the best skill": train(
                f"fine_tuned-{seed}", arguments.steps, *learner, "objective=fixed_skill", f"init_from={pretrained}"
            ),
            "controller over frozen skills": train(
                f"controller-{seed}",
                arguments.steps // 10,
                *("agent=ppo", "objective=none", f"skills.run_dir={pretrained}", "skills.steps=10"),
                *("agent.num_envs=16", "agent.unroll=20", "agent.minibatches=4", "agent.entropy_weight=0.01", *own),
            ),
            "from scratch": train(
                f"scratch-{seed}", arguments.pretraining + arguments.steps, *learner, "objective=none"
            ),
        }
        curves = {name: studies.curve(run, METRIC) for name, run in rest.items()}
        steps, values = studies.curve(pretrained, "evaluation/deterministic/best_skill_return")
        return {"best of 8 skills": (steps, values), **curves}

    with ThreadPoolExecutor(2) as pool:
        seeds = list(pool.map(one_seed, range(arguments.seeds)))
    minutes = (time.perf_counter() - began) / 60
    rows, record = [], {"minutes": minutes, "pretraining": arguments.pretraining, "steps": arguments.steps, "cases": {}}
    for name in seeds[0]:
        last = studies.interval([float(found[name][1][0, -3:].mean()) for found in seeds])
        record["cases"][name] = {"return": last, "curves": [[c.tolist() for c in found[name]] for found in seeds]}
        rows.append([name, studies.shown(last), f"{sum(value > 1 for value in last['per_seed'])} of {len(seeds)}"])
    heads = ["", "return at the end", "seeds that find the goal"]
    studies.write(arguments.output, "table", heads, rows, record)
    print((arguments.output / "table.md").read_text())
    print(f"{minutes:.1f} min", json.dumps({"env": arguments.env}))


if __name__ == "__main__":
    main()
