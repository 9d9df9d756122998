"""The source model of an adaptation: weights that are given, or trained on the spot on clean images and kept.

What was trained is kept by what made it, in the user's cache folder: the same model, training and images are read back.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from infojax import __version__
from infojax.run.config import BuiltAdaptation
from infojax.run.log import Progress, duration
from infojax.types import ImageSet, Model, UserError

Say = Callable[[str], None]
BATCH = 200  # images of a pass that only predicts


class Source(NamedTuple):
    """The model, and what is known of it."""

    model: Model
    clean_error: float | None  # share of the clean test images by its own statistics; None where there are none
    weights: str  # where they come from, in words


def source_model(built: BuiltAdaptation, config: Mapping[str, Any], say: Say) -> Source:
    """The model of a configuration, trained where no weights are given.

    Raises:
        UserError: weights that do not fit the data, data without images to train on.
    """
    data, architecture = built.data, built.architecture
    if architecture.imported is not None:
        model = architecture.imported(data.num_classes, data.image_shape, data.mean, data.deviation)
        return _judged(built, model, str(config["model"].get("weights")), say)
    path = kept_at(built, config)
    told = f"kept in {path}"
    if not path.exists():
        before = time.perf_counter()
        with Progress(1, enabled=config["progress"], noun="training step") as progress:

            def update(step: int, total: int, loss: float) -> None:
                progress.total = total
                progress.update(step, "loss", loss)

            built.train(architecture, data, path, update)
        told = f"trained in {duration(time.perf_counter() - before)}, {told}"
    imported = built.imports(str(path)).imported
    assert imported is not None, "a model with weights imports them"
    return _judged(built, imported(data.num_classes, data.image_shape, data.mean, data.deviation), told, say)


def kept_at(built: BuiltAdaptation, config: Mapping[str, Any]) -> Path:
    """Where the weights of this model are kept when it has been trained in this way on these images."""
    try:
        images, labels, _ = built.data.train()
    except UserError as error:
        raise UserError(f"{error}; or give trained weights by model.weights=FILE") from error
    recipe = {
        "version": __version__,
        "model": {key: value for key, value in config["model"].items() if key not in ("weights", "layout")},
        "training": config["training"],
        "classes": built.data.num_classes,
        "constants": [built.data.mean, built.data.deviation],
        "images": hashlib.sha256(np.ascontiguousarray(images).data).hexdigest(),
        "labels": hashlib.sha256(np.ascontiguousarray(labels).data).hexdigest(),
    }
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]
    name = str((config.get("choices") or {}).get("model") or "model").replace("/", "_")
    return Path.home() / ".cache" / "infojax" / "models" / f"{name}-{digest}.safetensors"


def clean_images(built: BuiltAdaptation) -> ImageSet | None:
    """The clean test images; None where the data come without."""
    try:
        return built.data.test()
    except UserError:
        return None


def _judged(built: BuiltAdaptation, model: Model, told: str, say: Say) -> Source:
    """The model with its error on clean images."""
    clean = clean_images(built)
    error = None if clean is None else _error(model, clean)
    words = "" if error is None else f"{100 * error:.1f} % error on clean test images, "
    say(f"source model: {words}{told}")
    return Source(model, error, told)


def _error(model: Model, clean: ImageSet) -> float:
    """Share of images, at most 2,000 of them, of which the model by its own statistics says another class."""
    count = min(len(clean.labels), 2000)
    rows = np.arange(BATCH * -(-count // BATCH)) % count
    images = np.asarray(clean.images[:count])[rows].reshape(-1, BATCH, *model.image_shape)

    @jax.jit
    def predicted(variables: Any, images: jax.Array) -> jax.Array:
        return jnp.argmax(model.apply(variables, images, "source", None)[0], axis=1)

    found = np.concatenate([np.asarray(predicted(model.variables, part)) for part in images])[:count]
    return float(np.mean(found != np.asarray(clean.labels[:count])))
