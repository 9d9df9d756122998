"""Skills and coverage: METRA and LSD beside DIAYN under one soft actor-critic, and k-NN entropy beside random actions.

    python experiments/skills/run.py
    python experiments/skills/run.py --worlds maze/u --methods DIAYN LSD --seeds 10 --output FOLDER

Coverage is what the skills (or the one policy) reach in evaluation after training without any reward: the share of a
grid's cells in the maze, of unit cells of x and cells of pitch for half-cheetah. Eight skills, 64x64 networks, equal
budgets and updates; the seeds of a method are one program. The table and the picture are written beside this file.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import studies  # noqa: E402  the folder above is on the path now

from infojax.run.drawing import markdown_table, write_text  # noqa: E402

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
NUM_SKILLS = 8
DISCRETE = ("objective.skills=discrete", f"objective.skill_size={NUM_SKILLS}", *MODELS)
CONTINUOUS = ("objective.skills=continuous", "objective.skill_size=2", *MODELS)  # METRA's choice for its ant
METHODS = {
    "DIAYN": (*SAC, *FIXED, "objective=diayn", f"objective.num_skills={NUM_SKILLS}", *MODELS),
    "LSD": (*SAC, *TUNED, "objective=lsd", *DISCRETE),
    "METRA": (*SAC, *TUNED, "objective=metra", *DISCRETE),
    "continuous LSD": (*SAC, *TUNED, "objective=lsd", *CONTINUOUS),
    "continuous METRA": (*SAC, *TUNED, "objective=metra", *CONTINUOUS),
    "k-NN entropy": (*SAC, *TUNED, "objective=knn_entropy", "objective.features=raw"),
    "random": (*SAC, "objective=none", "agent.random_steps=1000000000", "agent.learning_starts=1000000000"),
}
SKILLED = ("DIAYN", "LSD", "METRA")
# Each beside what it is claimed to cover more than.
BESIDE = {name: "DIAYN" for name in METHODS if name.endswith(("LSD", "METRA"))} | {"k-NN entropy": "random"}


class World(NamedTuple):
    steps: int  # of every seed
    methods: tuple[str, ...]
    words: tuple[str, ...] = ()


# Half-cheetah costs ten times as much a step.
WORLDS = {
    "maze/u": World(100_000, tuple(METHODS)),
    "brax/halfcheetah": World(51_200, SKILLED, ("env.episode_length=200",)),
}
METRICS = {"evaluation/stochastic/coverage": "reached in evaluation", "train/coverage": "reached in training"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/skills"), help="where the runs are kept")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--worlds", nargs="+", choices=tuple(WORLDS), default=list(WORLDS), metavar="WORLD")
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=list(METHODS), metavar="METHOD")
    parser.add_argument("--output", type=Path, default=HERE, help="folder of the table and the picture")
    arguments = parser.parse_args()
    cases = []
    for name, world in ((name, WORLDS[name]) for name in arguments.worlds):
        log = world.steps // 25
        rest = (*world.words, f"total_steps={world.steps}", f"log.every={log}", f"evaluation.every={5 * log}")
        for method in (method for method in world.methods if method in arguments.methods):
            # As many episodes of one policy as of all skills together.
            episodes = f"evaluation.episodes={16 // NUM_SKILLS if method in SKILLED else 16}"
            end = (episodes, f"checkpoint.every={world.steps}")
            cases.append(studies.Case(name, method, (*METHODS[method], f"env={name}", *rest, *end)))
    minutes = studies.run(cases, arguments.runs, arguments.seeds)
    rows, record, ends = [], {"minutes": minutes, "cases": {}, "above": {}}, {}
    for case in cases:
        found = {}
        for metric, words in METRICS.items():
            _, values = studies.curve(arguments.runs / case.name, metric)
            found[words] = studies.interval(values[:, -1])
            ends[case.world, case.method, words] = values[:, -1]
        record["cases"][case.name] = {**found, "words": case.words}
        rows.append([case.world, case.method, *(studies.shown(entry) for entry in found.values())])
    bars = []
    for case in (case for case in cases if BESIDE.get(case.method) in arguments.methods):
        other = BESIDE[case.method]
        gaps = [studies.above(ends[case.world, case.method, w], ends[case.world, other, w]) for w in METRICS.values()]
        record["above"][f"{case.name} above {other}"] = dict(zip(METRICS.values(), gaps, strict=True))
        bars.append([case.world, f"{case.method} above {other}", *map(studies.shown, gaps)])
    studies.write(arguments.output, "table", ["world", "method", *METRICS.values()], rows, record)
    table = (arguments.output / "table.md").read_text()
    seed_by_seed = markdown_table(["world", "seed by seed", *METRICS.values()], bars)
    write_text(arguments.output / "table.md", f"{table}\n{seed_by_seed}")
    labels = {metric: f"cells {words}, share" for metric, words in METRICS.items()}
    studies.picture(arguments.output / "coverage.png", cases, arguments.runs, labels)
    print((arguments.output / "table.md").read_text())
    print(f"{minutes:.1f} min")


if __name__ == "__main__":
    main()
