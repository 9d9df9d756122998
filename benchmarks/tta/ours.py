"""The same methods by infojax, for their time.

A worker: reads a method's name per line, adapts to some batches, and answers the CPU milliseconds of each, and once per
method the seconds that compiling took.
"""

import functools
import json
import os
import sys
import time

os.environ["NPROC"] = "1"

import jax
import jax.numpy as jnp
import numpy as np

from infojax.nets import resnet, weights
from infojax.tta import deyo, eata, norm, source, tent

SGD = {"optimizer": "sgd", "learning_rate": 0.005, "momentum": 0.9}


def main():
    """Answer the requests of `speed.py`."""
    data = np.load(sys.argv[1])
    found = {name.removeprefix("w/"): data[name] for name in data.files if name.startswith("w/")}
    images = jnp.asarray(np.load(sys.argv[2])[..., None])
    models = {}
    for kind in ("batch", "group"):
        architecture = resnet.make(norm=kind)
        variables = architecture.init(jax.random.key(0), 10, (28, 28, 1))
        own = {k: v for k, v in found.items() if kind == "batch" or "running" not in k}
        variables = weights.load(own, variables, "torchvision")
        models[kind] = architecture.bundle(variables, 10, (28, 28, 1), (0.2860,), (0.3530,))
    makes = {
        "source": lambda model: source.make(model),
        "norm": lambda model: norm.make(model),
        "tent": lambda model: tent.make(model, **SGD),
        "eta": lambda model: eata.make(model, fisher_weight=0.0, **SGD),
        "eata": lambda model: eata.make(model, fisher_weight=1.0, **SGD),
        "half": lambda model: eata.make(model, margin=9.0, redundancy=2.0, fisher_weight=0.0, **SGD),
        "deyo": lambda model: deyo.make(model, **SGD),
    }
    compiled = {}
    print(json.dumps({"versions": f"jax {jax.__version__}"}), flush=True)
    for line in sys.stdin:
        name, kind = line.split()
        half = name == "half"  # ETA where just half of the rows pass
        method = makes[name](models[kind])
        state = jax.jit(method.init)(models[kind].variables, source=images[:2])
        answer = {}
        if (name, kind) not in compiled:
            began = time.perf_counter()
            step = jax.jit(functools.partial(method.adapt, allowed=jnp.arange(200) < 100) if half else method.adapt)
            compiled[name, kind] = step.lower(state, images[0], jax.random.key(0)).compile()
            answer["compile"] = time.perf_counter() - began
        taken, rows = [], []
        keys = jax.random.split(jax.random.key(0), len(images))
        for batch, key in zip(images, keys, strict=True):
            jax.block_until_ready((state, batch, key))
            began = time.process_time()
            state, adapted = jax.block_until_ready(compiled[name, kind](state, batch, key))
            taken.append(1e3 * (time.process_time() - began))
            rows.append(int(adapted.info["backward_rows"]))
        print(json.dumps({"ms": taken, "rows": float(np.mean(rows)), **answer}), flush=True)


if __name__ == "__main__":
    main()
