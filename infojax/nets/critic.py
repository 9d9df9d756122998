"""Critics: networks that score pairs (x_i, y_j), and densities of y given x.

`scores(parameters, x [n, d_x], y [m, d_y])` is the matrix [n, m] that `info.bounds` takes, pairs that belong together
on its diagonal.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from infojax.nets.mlp import Activation, mlp

Form = Literal["separable", "joint"]

# Pairs that a joint critic sees at once: more would only fill the memory.
PAIRS_AT_ONCE = 2**16


def lecun_normal(key: jax.Array, init: Callable[[jax.Array], Any]) -> Any:
    """Parameters of the shapes that `init` gives: kernels LeCun-normal, biases 0.

    One draw for all of them, because a program that draws each kernel by itself takes seconds to compile.
    """
    leaves, structure = jax.tree.flatten(jax.eval_shape(init, key))
    ends = np.cumsum([math.prod(leaf.shape) for leaf in leaves])
    normal = jax.random.truncated_normal(key, -2, 2, (int(ends[-1]),), jnp.float32)
    deviation = 0.87962566  # of what is left between −2 and 2
    filled = [
        values.reshape(leaf.shape) / (deviation * math.sqrt(leaf.shape[0])) if leaf.ndim > 1 else jnp.zeros(leaf.shape)
        for leaf, values in zip(leaves, jnp.split(normal, ends[:-1]), strict=True)
    ]
    return jax.tree.unflatten(structure, filled)


class Critic(NamedTuple):
    """A pure critic: `init(key, dim_x, dim_y) -> parameters`, `scores(parameters, x, y) -> [n, m]`."""

    init: Callable[[jax.Array, int, int], Any]
    scores: Callable[[Any, jax.Array, jax.Array], jax.Array]


def critic(
    form: Form, hidden_sizes: Sequence[int], embedding_size: int = 32, *, activation: Activation = "relu"
) -> Critic:
    """A separable critic g(x)·h(y), cheap for all pairs, or a joint one of the concatenated pair.

    Args:
        form: "separable" or "joint".
        hidden_sizes: of the networks g and h, or of the joint one.
        embedding_size: entries of g(x) and h(y); the joint critic has none.
        activation: of the hidden layers.
    """
    return (
        separable(hidden_sizes, embedding_size, activation) if form == "separable" else joint(hidden_sizes, activation)
    )


def separable(hidden_sizes: Sequence[int], embedding_size: int, activation: Activation) -> Critic:
    """g(x)·h(y) / √e: n + m passes for n m pairs."""
    network = mlp(hidden_sizes, embedding_size, activation=activation)

    def init(key: jax.Array, dim_x: int, dim_y: int) -> Any:
        return lecun_normal(key, lambda key: {"x": network.init(key, dim_x), "y": network.init(key, dim_y)})

    def scores(parameters: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        left, right = network.apply(parameters["x"], x), network.apply(parameters["y"], y)
        return jnp.matmul(left, right.T, precision="highest") / jnp.sqrt(jnp.float32(embedding_size))

    return Critic(init, scores)


def joint(hidden_sizes: Sequence[int], activation: Activation) -> Critic:
    """One network of the concatenated pair: n m passes."""
    network = mlp(hidden_sizes, 1, activation=activation)

    def init(key: jax.Array, dim_x: int, dim_y: int) -> Any:
        return lecun_normal(key, lambda key: network.init(key, dim_x + dim_y))

    def row(parameters: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        pairs = jnp.concatenate([jnp.broadcast_to(x, (len(y), len(x))), y], axis=1)
        return network.apply(parameters, pairs)[:, 0]

    def scores(parameters: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        return jax.lax.map(lambda one: row(parameters, one, y), x, batch_size=max(1, PAIRS_AT_ONCE // len(y)))

    return Critic(init, scores)


def gaussian_decoder(
    hidden_sizes: Sequence[int], *, activation: Activation = "relu", least_scale: float = 1e-2
) -> Critic:
    """log q(y_j | x_i) of a normal distribution with diagonal covariance, its mean and scale a network of x.

    The scale stays between `least_scale` and about 30, so that no single sample can make the density explode.
    """
    low, high = jnp.log(jnp.float32(least_scale)), jnp.float32(3.4)

    def init(key: jax.Array, dim_x: int, dim_y: int) -> Any:
        network = mlp(hidden_sizes, 2 * dim_y, activation=activation)
        return lecun_normal(key, lambda key: network.init(key, dim_x))

    def scores(parameters: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        outputs = mlp(hidden_sizes, 2 * y.shape[1], activation=activation).apply(parameters, x)
        mean, raw = jnp.split(outputs, 2, axis=1)
        log_scale = low + (high - low) * linen.sigmoid(raw - jnp.log((high - 0) / (0 - low)))
        # Expanded squares: a matrix product in place of an array of all differences, whose terms cancel.
        inverse = jnp.exp(-2 * log_scale)
        mixed = jnp.matmul(inverse * mean, y.T, precision="highest")
        square = jnp.matmul(inverse, (y * y).T, precision="highest") - 2 * mixed
        constant = jnp.sum(inverse * mean * mean + 2 * log_scale + jnp.log(2 * jnp.pi), axis=1, keepdims=True)
        return -0.5 * (square + constant)

    return Critic(init, scores)
