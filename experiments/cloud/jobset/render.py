"""Fill in jobset.yaml: the JobSet of one run, to standard output.

    python experiments/cloud/jobset/render.py --name arena --slice v5litepod-16 --bucket NAME --image IMAGE \\
        train experiment=arena num_seeds=16 | kubectl apply -f -
"""

import argparse
import json
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from string import Template

SLICES = {  # as gcloud and XPK call them -> accelerator and topology, as GKE does
    "v4-16": ("tpu-v4-podslice", "2x2x2"),
    "v4-32": ("tpu-v4-podslice", "2x2x4"),
    "v5litepod-8": ("tpu-v5-lite-podslice", "2x4"),
    "v5litepod-16": ("tpu-v5-lite-podslice", "4x4"),
    "v5litepod-32": ("tpu-v5-lite-podslice", "4x8"),
    "v5litepod-64": ("tpu-v5-lite-podslice", "8x8"),
    "v5p-16": ("tpu-v5p-slice", "2x2x2"),
    "v5p-32": ("tpu-v5p-slice", "2x2x4"),
    "v6e-16": ("tpu-v6e-slice", "4x4"),
    "v6e-32": ("tpu-v6e-slice", "4x8"),
}
CHIPS_PER_HOST = 4
RESTART_CODES = [42, *range(127, 256)]  # asked to, and killed by a signal
PROGRAM = "/infojax/.venv/bin/infojax"  # in our image
WORDS = ("train", "adapt", "estimate")


def render(name: str, slice_type: str, bucket: str, image: str, restarts: int, words: Sequence[str]) -> str:
    """The JobSet of `infojax WORDS… run_dir=/runs/NAME` over all hosts of a slice."""
    accelerator, topology = SLICES[slice_type]
    values = {
        "name": name,
        "restarts": restarts,
        "hosts": math.prod(map(int, topology.split("x"))) // CHIPS_PER_HOST,
        "restart_codes": RESTART_CODES,
        "accelerator": accelerator,
        "topology": topology,
        "chips": CHIPS_PER_HOST,
        "image": json.dumps(image),
        "command": json.dumps([PROGRAM, *words, f"run_dir=/runs/{name}"], ensure_ascii=False),
        "bucket": json.dumps(bucket),
    }
    heading, _, text = (Path(__file__).parent / "jobset.yaml").read_text(encoding="utf-8").partition("\n")
    return f"{heading.partition(';')[0]}.\n{Template(text).substitute(values)}"


def main() -> None:
    """Read the command line and print the JobSet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--name", required=True, help="of the run; also its folder in the bucket")
    parser.add_argument("--slice", dest="slice_type", required=True, choices=SLICES, help="the TPU slice")
    parser.add_argument("--bucket", required=True, help="the bucket that keeps the runs")
    parser.add_argument("--image", required=True, help="our Dockerfile, built with EXTRAS=tpu and pushed")
    parser.add_argument(
        "--restarts", type=int, default=100, help="after as many lost hosts it is given up; default 100"
    )
    parser.add_argument("words", nargs=argparse.REMAINDER, help=f"{', '.join(WORDS)}, then KEY=VALUE …")
    given = parser.parse_args()
    if not re.fullmatch(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", given.name):
        parser.error(f"--name={given.name}: give at most 40 lower-case letters, digits and dashes, a letter first")
    if not given.words or given.words[0] not in WORDS:
        parser.error(f"the words of the run begin with one of {', '.join(WORDS)}, such as: train experiment=arena")
    if any(word.startswith(("run_dir=", "overwrite=")) for word in given.words):
        parser.error(
            "run_dir= and overwrite= are not for you to give: the run lies in /runs/NAME, and a restart goes on"
        )
    sys.stdout.write(render(**vars(given)))


if __name__ == "__main__":
    main()
