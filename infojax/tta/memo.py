"""MEMO: make the model certain, on average over augmented views of one image, and then ask it about that image.

Zhang, Levine and Finn (2022), "MEMO: Test time robustness via adaptation and augmentation". For each image by itself,
from the source model every time, with views a_1(x) … a_V(x) drawn by AugMix:

- loss: H(1/V Σ_v p(y | a_v(x))), the entropy in nats of the mean prediction;
- one step on all parameters, and the prediction of x by what it gave.

Batch normalisation mixes the statistics of the source as `prior` images with those at hand as one (after Schneider et
al., 2020): weight 1 / (prior + 1) of the views, and of the image itself.
"""

from typing import Any

import jax
import jax.numpy as jnp

from infojax.info import categorical
from infojax.nets.optimizers import Optimizer
from infojax.tta import augmentations, parts
from infojax.types import Adapted, Array, Count, Key, Method, Model, NonNegative, Positive, UnitInterval


def make(
    model: Model,
    *,
    num_views: Count = 32,
    severity: Positive = 1.0,
    flip: UnitInterval = 0.5,
    crop: augmentations.Crop = "shift",
    prior: NonNegative = 16.0,
    optimizer: Optimizer = "sgd",
    learning_rate: Positive = 5e-3,
    momentum: NonNegative = 0.0,
    parameters: str = "all",
    leave_out: tuple[str, ...] = (),
) -> Method:
    """Marginal entropy over views, an image at a time. V rows forward and backward for each, and one more forward.

    Args:
        model: that is adapted.
        num_views: V.
        severity: largest level of AugMix's operations, of 10.
        flip: probability of a mirror image.
        crop: "shift" by at most an eighth, or "resized", a random part stretched to the whole.
        prior: images that the statistics of the source count for.
        optimizer: "adam" or "sgd".
        learning_rate: of the step.
        momentum: of sgd, plain; without effect on a single step.
        parameters: what adapts: norm, all, body, or a regular expression of paths.
        leave_out: regular expressions of paths that do not adapt.
    """
    learner = parts.learner(model, optimizer, learning_rate, momentum, parameters, leave_out)
    weight = 1 / (prior + 1)

    def init(variables: Any, source: Array | None) -> Any:
        return variables

    def adapt(state: Any, batch: parts.Batch, key: Key) -> tuple[Any, Adapted]:
        images = augmentations.unit(batch.images)
        fresh = learner.init(state)
        values = parts.pick(state, learner.paths)

        def mixed(key: Key, image: Array) -> Array:
            return augmentations.mixed(key, image, severity=severity, flip=flip, crop=crop)

        def learned(row: Array, image: Array) -> tuple[Any, Array]:
            repeated = jnp.broadcast_to(image[None], (num_views, *image.shape))
            seen = augmentations.views(jax.random.fold_in(key, row), repeated, mixed)

            def loss(values: parts.Values) -> Array:
                logits, _ = model.apply(parts.put(state, values), seen, weight, None)
                return categorical.marginal_entropy(logits, axis=0)

            value, gradient = jax.value_and_grad(loss)(values)
            return learner.step(fresh, gradient, jnp.ones((), bool)).variables, value

        def one(at: tuple[Array, Array, Array]) -> tuple[Array, Array]:
            row, image, may = at
            variables, value = jax.lax.cond(may, lambda: learned(row, image), lambda: (state, jnp.zeros(())))
            return model.apply(variables, image[None], weight, None)[0][0], value

        logits, losses = jax.lax.map(one, (jnp.arange(len(images)), images, batch.allowed))
        rows = num_views * jnp.sum(batch.allowed.astype(jnp.int32))
        info = {
            "forward_rows": len(images) + rows,
            "backward_rows": rows,
            "loss": parts.mean_over(losses, batch.allowed),
            "updated": jnp.any(batch.allowed).astype(jnp.int32),
        }
        return state, Adapted(logits, batch.allowed, info)

    return parts.method(model, init, adapt, scores="after")
