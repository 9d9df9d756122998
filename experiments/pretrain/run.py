"""Pretrain, then use: DIAYN's skills on a sparse goal that SAC alone does not find.

    python experiments/pretrain/run.py

Skills are learned without the reward, in the open arena. Then, with the reward, which is 1 in every step near a goal in
one corner: the best of the skills as it is; SAC from the best skill; a PPO controller that picks a frozen skill every
ten steps; and SAC from scratch, with the steps of pretraining on top. Every seed has skills of its own. The table and
the picture are written beside this file.
"""

import argparse
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import studies  # noqa: E402  the folder above is on the path now
from matplotlib import pyplot as plt  # noqa: E402

from infojax.run.drawing import COLOURS, save, tidy  # noqa: E402
from infojax.run.statistics import bootstrap_interval  # noqa: E402

WORLD = ("env=maze/open",)
SAC = (
    "agent.num_envs=16",
    "agent.unroll=4",
    "agent.updates_per_step=0.25",
    "agent.batch_size=256",
    "agent.hidden_sizes=[64,64]",
    "agent.actor_learning_rate=1e-3",
    "agent.critic_learning_rate=1e-3",
    "agent.temperature=0.1",
)
NUM_SKILLS = 16
SKILLS = (
    "agent=diayn",
    f"objective.num_skills={NUM_SKILLS}",
    "objective.hidden_sizes=[64,64]",
    "objective.learning_rate=1e-3",
)
# A temperature that is tuned: the sparse reward would drown in a fixed one.
TASK = ("agent=sac", "agent.target_entropy_per_dimension=-0.5", "agent.temperature_learning_rate=1e-3")
# It acts by its skill from the first step on, never uniformly. The critics of the skills value DIAYN's reward: new ones
# learn from 8,000 steps of the skill what it is worth, before it moves.
FINE_TUNING = ("agent.random_steps=0", "agent.adopt_critics=false", "agent.actor_starts=8000")
CONTROLLER = (
    "agent=ppo",
    "objective=none",
    "agent.num_envs=16",
    "agent.unroll=20",
    "agent.minibatches=4",
    "agent.entropy_weight=0.01",
    "agent.learning_rate=1e-3",
)
BEST, TUNE = f"best of {NUM_SKILLS} skills", "fine-tuned from the best skill"
CONTROL, SCRATCH = "controller over frozen skills", "from scratch"
HOLD = 10  # steps for which the controller holds a skill
METRIC = "evaluation/deterministic/return"
STAYS = 50  # who has that return of 100 has found the goal and stays at it


def draw(path: Path, seeds: list[dict[str, tuple[np.ndarray, np.ndarray]]], pretraining: int) -> None:
    """Return over all steps of the world that a way has cost, those of pretraining included."""
    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for colour, name in zip(COLOURS, seeds[0], strict=False):
        steps = seeds[0][name][0].astype(float) * (HOLD if name == CONTROL else 1)
        steps += pretraining if name in (CONTROL, TUNE) else 0
        middle, low, high = (np.asarray(part) for part in bootstrap_interval(np.stack([s[name][1][0] for s in seeds])))
        axes.plot(steps, middle, color=colour, label=name, linewidth=1.6)
        axes.fill_between(steps, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.axvline(pretraining, color="0.6", linewidth=0.8, linestyle=":")
    axes.set_xlabel("environment steps, pretraining included")
    axes.set_ylabel("return, deterministic")
    axes.legend(frameon=False, fontsize=8)
    tidy(axes, 9)
    save(figure, path)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/pretrain"), help="where the runs are kept")
    parser.add_argument("--pretraining", type=int, default=80_000, help="environment steps without the reward")
    parser.add_argument("--steps", type=int, default=40_000, help="environment steps with it")
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
        given = [*WORLD, *words, *budget, "cpu_threads=1", "progress=false", f"run_dir={runs / name}"]
        with open(runs / f"{name}.log", "w") as log:
            command = [sys.executable, "-m", "infojax", "train", *given]
            subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=True)
        print(f"{(time.perf_counter() - began) / 60:5.1f} min  {name}", flush=True)
        return runs / name

    def one_seed(seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        own = (f"seed={seed}", "evaluation.episodes=4")
        pretrained = train(f"skills-{seed}", arguments.pretraining, *SKILLS, *SAC, *own)
        frozen = (f"skills.run_dir={pretrained}", f"skills.steps={HOLD}")
        best = ("objective=fixed_skill", f"init_from={pretrained}", *FINE_TUNING)
        rest = {
            TUNE: train(f"fine_tuned-{seed}", arguments.steps, *TASK, *SAC, *best, *own),
            CONTROL: train(f"controller-{seed}", arguments.steps // HOLD, *CONTROLLER, *frozen, *own),
            SCRATCH: train(
                f"scratch-{seed}", arguments.pretraining + arguments.steps, *TASK, *SAC, "objective=none", *own
            ),
        }
        curves = {name: studies.curve(run, METRIC) for name, run in rest.items()}
        steps, values = studies.curve(pretrained, "evaluation/deterministic/best_skill_return")
        return {BEST: (steps, values), **curves}

    with ThreadPoolExecutor(2) as pool:
        seeds = list(pool.map(one_seed, range(arguments.seeds)))
    minutes = (time.perf_counter() - began) / 60
    rows, record = [], {"minutes": minutes, "pretraining": arguments.pretraining, "steps": arguments.steps, "cases": {}}
    for name in seeds[0]:
        last = studies.interval([float(found[name][1][0, -3:].mean()) for found in seeds])
        record["cases"][name] = {"return": last, "curves": [[c.tolist() for c in found[name]] for found in seeds]}
        rows.append([name, studies.shown(last)])
        rows[-1] += [f"{sum(value > least for value in last['per_seed'])} of {len(seeds)}" for least in (1, STAYS)]
    at_end = {name: case["return"]["per_seed"] for name, case in record["cases"].items()}
    gap = record["fine_tuned_above_scratch"] = studies.above(at_end[TUNE], at_end[SCRATCH])
    rows.append([f"fine-tuned above scratch: {'yes' if gap['holds'] else 'no'}", studies.shown(gap), "", ""])
    draw(arguments.output / "returns.png", seeds, arguments.pretraining)
    heads = ["", "return at the end", "seeds that find the goal", "seeds that stay at it"]
    studies.write(arguments.output, "table", heads, rows, record)
    print((arguments.output / "table.md").read_text())
    print(f"{minutes:.1f} min")


if __name__ == "__main__":
    main()
