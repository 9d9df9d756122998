"""Training a classifier of images on the spot, as the source model of test-time adaptation.

Gradient descent with Nesterov's momentum on the cross-entropy, a learning rate that rises and falls once (Smith and
Topin, 2018, "Super-convergence", here with cosines), weight decay on kernels, and images that are shifted at random.
The statistics of batch normalisation are measured afterwards, as means over batches of the images that were trained on
(Wu and Johnson, 2021, "Rethinking 'batch' in BatchNorm", section 3.2), so that no average has to run along.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Union

import jax
import jax.numpy as jnp
import numpy as np
import optax

from infojax.nets import weights
from infojax.nets.optimizers import lenient
from infojax.types import Architecture, Array, Count, ImageData, Key, Model, NonNegative, NonNegativeInt, Positive

Told = Callable[[int, int, float], None]  # (step, of how many, loss in nats)
Train = Callable[[Architecture, ImageData, Path, Told], None]  # writes the weights into a safetensors file
CHUNK = 25  # steps of one compiled program
EPOCHS, MOST_STEPS = 12, 2000  # where no number of steps is given
MOST_BATCHES = 50  # over which statistics are measured


def make(
    *,
    steps: Union[Count, None] = None,  # noqa: UP007  an Annotated alias has no `|`
    batch_size: Count = 128,
    learning_rate: Positive = 0.1,
    momentum: NonNegative = 0.9,
    weight_decay: NonNegative = 5e-4,
    shift: Union[NonNegativeInt, None] = None,  # noqa: UP007
    seed: NonNegativeInt = 0,
) -> Train:
    """How a source model is trained; the same on every call.

    Args:
        steps: of gradient descent, rounded up to a multiple of 25; None is 12 epochs, but at most 2,000 steps.
        batch_size: of a step; not more than there are images.
        learning_rate: the highest.
        momentum: Nesterov's.
        weight_decay: of arrays of more than one dimension.
        shift: most pixels by which an image is shifted each way, zeros moving in; None is an eighth of its height.
        seed: of first weights, order and shifts.
    """

    def train(architecture: Architecture, data: ImageData, path: Path, told: Told) -> None:
        images, labels, _ = data.train()
        rows = min(batch_size, len(labels))
        wanted = min(EPOCHS * -(-len(labels) // rows), MOST_STEPS) if steps is None else steps
        total = CHUNK * -(-wanted // CHUNK)
        key = jax.random.key(seed)
        variables = architecture.init(jax.random.fold_in(key, 0), data.num_classes, data.image_shape)
        model = architecture.bundle(variables, data.num_classes, data.image_shape, data.mean, data.deviation)
        schedule = optax.cosine_onecycle_schedule(total, learning_rate)
        decay = optax.add_decayed_weights(weight_decay, mask=_kernels)
        optimizer = lenient(optax.chain(decay, optax.sgd(schedule, momentum=momentum, nesterov=True)))
        pixels = data.image_shape[0] // 8 if shift is None else shift
        chunk = jax.jit(_chunk(model, optimizer, pixels), donate_argnums=(0, 1))
        order = _order(np.random.default_rng(seed), len(labels), total * rows).reshape(-1, CHUNK, rows)
        table, truth = jnp.asarray(images), jnp.asarray(np.asarray(labels, np.int32))
        state = optimizer.init(variables["params"])
        for index, part in enumerate(order):
            keys = jax.random.split(jax.random.fold_in(key, index + 1), CHUNK)
            variables, state, loss = chunk(variables, state, table, truth, part, keys)
            told((index + 1) * CHUNK, total, float(loss))
        if model.batch_norms:
            part = order.reshape(-1, rows)[-min(MOST_BATCHES, total) :]
            variables = jax.jit(_measured(model))(variables, table, part)
        weights.save(path, variables)

    return train


def _kernels(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.ndim > 1, tree)


def _order(generator: np.random.Generator, count: int, length: int) -> np.ndarray:
    """Rows of as many random orders, one after another, as give `length`."""
    orders = [generator.permutation(count) for _ in range(-(-length // count))]
    return np.concatenate(orders)[:length].astype(np.int32)


def _chunk(model: Model, optimizer: optax.GradientTransformation, pixels: int) -> Callable[..., Any]:
    def loss(params: Any, variables: Any, images: Array, labels: Array) -> Array:
        logits, _ = model.apply({**variables, "params": params}, images, "batch", None)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))

    def chunk(
        variables: Any, state: Any, table: Array, truth: Array, order: Array, keys: Key
    ) -> tuple[Any, Any, Array]:
        def step(carry: Any, given: Any) -> tuple[Any, Array]:
            (params, state), (rows, key) = carry, given
            images = shifted(table[rows], key, pixels)
            value, gradient = jax.value_and_grad(loss)(params, variables, images, truth[rows])
            updates, state = optimizer.update(gradient, state, params)
            return (jax.tree.map(jnp.add, params, updates), state), value

        (params, state), losses = jax.lax.scan(step, (variables["params"], state), (order, keys))
        return {**variables, "params": params}, state, jnp.mean(losses)

    return chunk


def shifted(images: Array, key: Key, pixels: int) -> Array:
    """Each image [B, H, W, C] shifted by up to `pixels` each way, zeros moving in."""
    if pixels == 0:
        return images
    padded = jnp.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)))
    corners = jax.random.randint(key, (len(images), 2), 0, 2 * pixels + 1)

    def cut(image: Array, corner: Array) -> Array:
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], jnp.zeros_like(corner[0])), images.shape[1:])

    return jax.vmap(cut)(padded, corners)


def _measured(model: Model) -> Callable[[Any, Array, Array], Any]:
    def measured(variables: Any, table: Array, order: Array) -> Any:
        found = jax.lax.map(lambda rows: model.measure(variables, table[rows], "batch", None), order)
        means = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), found)

        def entry(keys: Any, leaf: Array) -> Array:
            layer, _, name = weights.path_of(keys).rpartition("/")
            return means[layer][0 if name == "mean" else 1] if layer in means else leaf

        return {**variables, "batch_stats": jax.tree_util.tree_map_with_path(entry, variables["batch_stats"])}

    return measured
