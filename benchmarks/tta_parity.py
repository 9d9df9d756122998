"""The methods of infojax against recorded runs of the official code: same weights, same batches, step by step.

    python benchmarks/tta_parity.py --reference FILE

Replays every run in FILE and prints, for each, the largest difference of logits, of adapted parameters, of the Fisher
information and the rows whose selection differs; it exits with 1 where logits differ by more than 1e-3, parameters by
more than 1e-4, the Fisher information by more than 1e-3 of its largest entry, or where a row's selection differs that
is not within 1e-4 of its threshold. After a difference that is, the batch is repeated with the recorded selection.
Every run is replayed twice: with the compaction of selected rows and without.

FILE is an npz without pickles. Its arrays: `w/NAME` weights of the small ResNet by their torch names; `x_CORRUPTION`
the streams (uint8, in order) and `clean_u8` the images of the Fisher information, both in batches of `meta_json`'s B;
`fisher/NAME`; `CORRUPTION/RUN/logits` before each step, `…/params` after it, `…/mask` of both filters, `…/probs_ema`,
`…/perm` and `…/plpd`. `meta_json` has B, C, `normalise` and `param_names` of every run.
"""

import argparse
import json
import math
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from infojax.info import categorical
from infojax.nets import resnet, weights
from infojax.nets.bundle import probabilities
from infojax.tta import deyo, eata, norm, sar, source, tent
from infojax.types import Method, Model

LOGITS, PARAMETERS, FISHER, THRESHOLD = 1e-3, 1e-4, 1e-3, 1e-4
SGD: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 0.005, "momentum": 0.9}


class Difference(NamedTuple):
    """The largest differences of a run, and the rows selected otherwise, all and those too far from the threshold."""

    logits: float
    parameters: float
    flips: int
    wrong: int


def method(run: str, model: Model, compaction: str) -> Method:
    """The method and settings of a run by its name in the file."""
    makes: dict[str, Callable[[], Method]] = {
        "source": lambda: source.make(model),
        "norm": lambda: norm.make(model),
        "tent_adam": lambda: tent.make(model, optimizer="adam", learning_rate=1e-3),
        "tent_sgd": lambda: tent.make(model, **SGD),
        "eta": lambda: eata.make(model, fisher_weight=0.0, compaction=compaction, **SGD),
        "deyo": lambda: deyo.make(model, plpd_threshold=0.2, compaction=compaction, **SGD),
        "sar": lambda: sar.make(model, kept_average=True, compaction=compaction, **SGD),
    }
    fisher = re.fullmatch(r"eata_a([\d.e+-]+)", run)
    if fisher:
        return eata.make(model, fisher_weight=float(fisher[1]), compaction=compaction, **SGD)
    if run not in makes:
        raise SystemExit(f"the run {run} is none of {', '.join(makes)} and eata_aNUMBER; it cannot be replayed")
    return makes[run]()


def path_of(name: str) -> str:
    """A torch name such as layer2.0.down.1.weight as the path of ours."""
    *place, kind = name.split(".")
    layer = re.sub(r"\.(\d+)", r"_\1", ".".join(place)).replace(".", "/")
    return f"{layer}/{ {'weight': 'scale', 'bias': 'bias'}[kind] }"


def flat(state: Any, names: list[str]) -> np.ndarray:
    """Adapted parameters in the order of the file."""
    learned = state if hasattr(state, "variables") else state.learned
    found = {
        "/".join(str(part.key) for part in path): leaf
        for path, leaf in jax.tree_util.tree_flatten_with_path(learned.variables["params"])[0]
    }
    return np.concatenate([np.asarray(found[path_of(name)]).ravel() for name in names])


def replay(data: Any, meta: dict[str, Any], model: Model, corruption: str, run: str, compaction: str) -> Difference:
    """One run, batch by batch."""
    adapting = method(run, model, compaction)
    batch, recorded = int(meta["B"]), f"{corruption}/{run}"
    logits = data[f"{recorded}/logits"]
    images = data[f"x_{corruption}"][..., None]
    clean = data["clean_u8"][..., None]
    clean = clean[: len(clean) // batch * batch].reshape(-1, batch, *clean.shape[1:])
    masks = data.get(f"{recorded}/mask")
    params = data.get(f"{recorded}/params")
    state = adapting.init(model.variables, source=jnp.asarray(clean))
    adapt = jax.jit(adapting.adapt)
    worst = [0.0, 0.0]
    flips = wrong = 0
    for step in range(len(logits)):
        given = jnp.asarray(images[step * batch : (step + 1) * batch])
        destroyed = None
        if run == "deyo":
            destroyed = deyo.shuffle_patches(given, jnp.asarray(data[f"{recorded}/perm"][step], jnp.int32))
        after, adapted = adapt(state, given, jax.random.key(step), destroyed=destroyed)
        if masks is not None:
            seen = np.stack([adapted.info["first_filter"], adapted.selected])
            other = seen != masks[step]
            if other.any():
                near = near_threshold(data, recorded, run, step, adapted, math.log(int(meta["C"])))
                flips += int(other.sum())
                # The second filter follows the first: a row that differs in the first for a reason may differ in both.
                excused = near | (other & near)[:1]
                wrong += int((other & ~excused).sum())
                after, adapted = adapt(
                    state, given, jax.random.key(step), destroyed=destroyed, selection=jnp.asarray(masks[step])
                )
        state = after
        worst[0] = max(worst[0], float(np.abs(adapted.logits - logits[step]).max()))
        if params is not None:
            ours = flat(state, meta["param_names"][run])
            worst[1] = max(worst[1], float(np.abs(ours - params[step]).max()))
    return Difference(*worst, flips, wrong)


def near_threshold(data: Any, recorded: str, run: str, step: int, adapted: Any, log_classes: float) -> np.ndarray:
    """(2, B): which rows lie within 1e-4 of the threshold of each filter, by the recorded numbers if there are any."""
    entropy = np.asarray(categorical.entropy(jnp.asarray(data[f"{recorded}/logits"][step])))
    if run == "deyo":
        second = np.abs(np.nan_to_num(data[f"{recorded}/plpd"][step], nan=np.inf) - 0.2)
        return np.stack([np.abs(entropy - 0.5 * log_classes), second]) <= THRESHOLD
    if run == "sar":
        second = np.abs(np.asarray(adapted.info["sharp_entropy"]) - 0.4 * log_classes)
        return np.stack([np.abs(entropy - 0.4 * log_classes), second]) <= THRESHOLD
    gap = np.full(len(entropy), np.inf)
    if step:
        predicted = probabilities(jnp.asarray(data[f"{recorded}/logits"][step]))
        average = jnp.asarray(data[f"{recorded}/probs_ema"][step - 1])
        gap = np.abs(np.abs(np.asarray(eata.cosine(predicted, average))) - 0.4)
    return np.stack([np.abs(entropy - 0.4 * log_classes), gap]) <= THRESHOLD


def fisher_difference(data: Any, meta: dict[str, Any], model: Model) -> float | None:
    """The largest difference of an array of the Fisher information, as a share of its largest entry."""
    names = [name.removeprefix("fisher/") for name in data.files if name.startswith("fisher/")]
    if not names:
        return None
    batch = int(meta["B"])
    clean = data["clean_u8"][..., None]
    clean = clean[: len(clean) // batch * batch].reshape(-1, batch, *clean.shape[1:])
    paths = tuple(path_of(name) for name in names)
    found = jax.jit(lambda images: eata.fisher_information(model, model.variables, paths, images))(jnp.asarray(clean))
    shares = [
        np.abs(np.asarray(found[path]) - data[f"fisher/{name}"]).max() / np.abs(data[f"fisher/{name}"]).max()
        for path, name in zip(paths, names, strict=True)
    ]
    return float(max(shares))


def load_model(data: Any, meta: dict[str, Any]) -> Model:
    """The small ResNet with the weights of the file and the normalisation that it states."""
    shift, scale = map(float, re.findall(r"\d+\.\d+", meta["normalise"])[:2])
    arrays = {name.removeprefix("w/"): data[name] for name in data.files if name.startswith("w/")}
    architecture = resnet.make()
    shape = (*data[next(name for name in data.files if name.startswith("x_"))].shape[1:], 1)
    variables = architecture.init(jax.random.key(0), int(meta["C"]), shape)
    variables = weights.load(arrays, variables, "torchvision")
    return architecture.bundle(variables, int(meta["C"]), shape, (shift,), (scale,))


def main(words: Sequence[str] | None = None) -> int:
    """Replay and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, required=True, metavar="FILE")
    parser.add_argument("--compaction", nargs="+", choices=("exact", "none"), default=("exact", "none"))
    arguments = parser.parse_args(words)
    try:
        data = np.load(arguments.reference, allow_pickle=False)
        meta = json.loads(str(data["meta_json"]))
    except (OSError, ValueError, KeyError) as error:
        print(f"{arguments.reference} is not a file of the reference format: {error}", file=sys.stderr)
        return 2
    model = load_model(data, meta)
    failed = False
    share = fisher_difference(data, meta, model)
    if share is not None:
        failed |= share > FISHER
        print(f"Fisher information: {share:.1e} of the largest entry{' TOO FAR' if share > FISHER else ''}")
    runs = sorted({name.rsplit("/", 1)[0] for name in data.files if name.endswith("/logits")})
    print(f"{'run':<32} {'compaction':<10} {'logits':>9} {'parameters':>11} {'flips':>6} {'wrong':>6}")
    for name in runs:
        corruption, run = name.split("/")
        for compaction in arguments.compaction:
            found = replay(data, meta, model, corruption, run, compaction)
            bad = found.logits > LOGITS or found.parameters > PARAMETERS or found.wrong > 0
            failed |= bad
            print(
                f"{name:<32} {compaction:<10} {found.logits:9.1e} {found.parameters:11.1e} {found.flips:6d} "
                f"{found.wrong:6d}{' TOO FAR' if bad else ''}",
                flush=True,
            )
    print("some runs differ" if failed else f"all {len(runs)} runs are the official ones")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
