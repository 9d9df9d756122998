"""All estimators on all tasks of the Beyond Normal benchmark: one table of estimate, interval, truth and verdict.

    python experiments/estimate/run.py --runs runs/estimate

2,000 samples; 10 seeds for estimators in closed form and by neighbours, 3 for those with a network. Two processes with
one thread each share the estimators between them; started again, it goes on with what is left. The tables and the
picture are written beside this file.
"""

import argparse
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from infojax.run.estimates import print_sweep

HERE = Path(__file__).resolve().parent
SEEDS = {  # the longest first
    "minde": 3,
    "jensen_shannon": 3,
    "smile": 3,
    "nwj": 3,
    "mine": 3,
    "infonce": 3,
    "club": 3,
    "plug_in": 10,
    "ksg": 10,
    "ksg_2": 10,
    "matrix_renyi": 10,
    "gaussian_copula": 10,
    "gaussian": 10,
}


def command(estimator: str, num_seeds: int, first_seed: int, num_samples: int, runs: Path) -> list[str]:
    """A sweep over all tasks; all sweeps keep one list of their runs."""
    words = [f"estimator={estimator}", "data=glob(bmi/*)", f"seed={first_seed}", f"num_seeds={num_seeds}"]
    words += [f"num_samples={num_samples}", "cpu_threads=1", "progress=false", f"hydra.sweep.dir={runs}"]
    return [sys.executable, "-m", "infojax", "estimate", "-m", *words]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/estimate"), help="where the runs are kept")
    parser.add_argument("--estimators", nargs="+", choices=tuple(SEEDS), default=list(SEEDS), metavar="NAME")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--num-samples", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--output", type=Path, default=HERE, help="folder of the tables and the picture")
    arguments = parser.parse_args()
    runs = arguments.runs
    runs.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()

    def sweep(estimator: str) -> None:
        words = command(estimator, SEEDS[estimator], arguments.first_seed, arguments.num_samples, runs)
        with open(runs / f"{estimator}.log", "w") as log:
            code = subprocess.run(words, stdout=log, stderr=subprocess.STDOUT).returncode
        minutes = (time.perf_counter() - began) / 60
        print(f"{minutes:5.1f} min  {estimator} ended with code {code}", flush=True)

    with ThreadPoolExecutor(arguments.processes) as pool:
        list(pool.map(sweep, arguments.estimators))
    print_sweep(runs)
    print(f"all of it took {(time.perf_counter() - began) / 60:.1f} min")
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name in ("table.md", "table.json", "estimates.png"):
        shutil.copy(runs / name, arguments.output / name)


if __name__ == "__main__":
    main()
