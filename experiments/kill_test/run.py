"""Kill a training run at random moments, start it again each time, and compare it with one that was never killed.

    python experiments/kill_test/run.py --env maze/open --kills 10
    python experiments/kill_test/run.py --env gymnasium/Pendulum-v1 --kills 10

Every other kill waits for a checkpoint to be under way. Parameters, replay, environment states, metrics and results
must be equal bit for bit; only fields of time may differ.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

WORDS = ["experiment=smoke", "num_seeds=2", "log.every=800", "checkpoint.every=800", "progress=false"]


def command(env: str, steps: int, run_dir: Path) -> list[str]:
    """The one command, the same at every start."""
    words = [*WORDS, f"env={env}", f"total_steps={steps}", f"evaluation.every={steps // 5}", f"run_dir={run_dir}"]
    return [sys.executable, "-m", "infojax", "train", *words]


def saving(run_dir: Path) -> bool:
    """Whether a checkpoint is under way: a folder that is not finished yet."""
    folder = run_dir / "checkpoints"
    found = list(folder.glob("*")) if folder.exists() else []
    return any(path.is_dir() and not (path / "manifest.json").exists() for path in found)


def killed(words: list[str], run_dir: Path, while_saving: bool, generator: random.Random) -> str | None:
    """Start, kill at a random moment of training; what was going on, or None when the run ended first."""
    metrics = run_dir / "metrics.jsonl"
    before = metrics.stat().st_size if metrics.exists() else 0
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300

    def wait(condition) -> bool:
        while process.poll() is None and time.monotonic() < deadline:
            if condition():
                return True
            time.sleep(0.001)
        return False

    # Training has begun when the file has been cut to the checkpoint and grows again.
    alive = wait(lambda: metrics.exists() and metrics.stat().st_size != before)
    moment = time.monotonic() + generator.uniform(0.0, 1.5)
    alive = alive and wait(lambda: time.monotonic() >= moment)
    if while_saving:
        alive = alive and wait(lambda: saving(run_dir))
    if not alive:
        process.wait()
        return None
    during = saving(run_dir)
    process.kill()
    process.wait()
    return "while saving" if during else "while training"


def contents(run_dir: Path) -> tuple[list[np.ndarray], list[dict], dict, dict]:
    """Every array of the last checkpoint, the logged rows and the summary without times, the evaluation's arrays."""
    import jax

    from infojax.run import training

    state = training._reopen(run_dir, training.saved_config(run_dir))[1]
    words = jax.tree.map(
        lambda leaf: jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf,
        state.state,
    )
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(words)]
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    rows = [{name: value for name, value in row.items() if not name.startswith("time/")} for row in rows]
    summary = json.loads((run_dir / "summary.json").read_text())["metrics"]
    with np.load(run_dir / "evaluation.npz") as arrays:
        return leaves, rows, summary, dict(arrays)


def run(env: str, kills: int, steps: int, folder: Path, seed: int = 0) -> list[str]:
    """The moments of the kills; raises AssertionError where the two runs differ."""
    undisturbed, disturbed = folder / "undisturbed", folder / "disturbed"
    subprocess.run(command(env, steps, undisturbed), check=True, stdout=subprocess.DEVNULL)
    generator, moments = random.Random(seed), []
    words = command(env, steps, disturbed)
    for index in range(kills):
        moment = killed(words, disturbed, index % 2 == 1, generator)
        assert moment is not None, f"the run ended after {len(moments)} kills; give it more --steps"
        moments.append(moment)
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)

    one, other = contents(undisturbed), contents(disturbed)
    assert len(one[0]) == len(other[0])
    for index, (left, right) in enumerate(zip(one[0], other[0], strict=True)):
        assert np.array_equal(left, right, equal_nan=True), f"array {index} of the checkpoint differs"
    assert one[1] == other[1], "the logged metrics differ"
    assert one[2] == other[2], "the summaries differ"
    for name, array in one[3].items():
        equal = np.array_equal(array, other[3][name], equal_nan=array.dtype.kind == "f")
        assert equal, f"{name} of the evaluation differs"
    return moments


def main() -> None:
    """Run the test and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="maze/open")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--steps", type=int, default=120_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        moments = run(arguments.env, arguments.kills, arguments.steps, Path(folder), arguments.seed)
    told = ", ".join(f"{moments.count(name)} {name}" for name in sorted(set(moments)))
    print(f"{arguments.env}: {len(moments)} kills ({told}); bit for bit the undisturbed run")


if __name__ == "__main__":
    main()
