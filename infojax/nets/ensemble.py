"""Ensembles of networks of one input: all members in one call, or some of them by index.

Members' first layers are one matrix product, since they share their input; the layers behind it are products of their
own, because on CPU one batched product of the same work is slower.
"""

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp

from infojax.nets.mlp import Activation, Network


def choose_members(parameters: Any, members: jax.Array, num_members: int) -> Any:
    """The parameters of the members of these indices [m], out of those of `mlp(…, members=num_members)`.

    They are those of an `mlp(…, members=m)`. Gathering them is cheaper than the passes of all members.
    """

    def named(member: int) -> dict[str, Any]:
        prefix = f"member_{member}_"
        return {name.removeprefix(prefix): layer for name, layer in parameters.items() if name.startswith(prefix)}

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(named(member) for member in range(num_members)))
    chosen = jax.tree.map(lambda leaf: leaf[members], stacked)
    return {
        f"member_{index}_{name}": jax.tree.map(lambda leaf, index=index: leaf[index], layer)
        for index in range(members.shape[0])
        for name, layer in chosen.items()
    }


def fused_ensemble(
    hidden_sizes: Sequence[int], output_size: int, *, members: int, activation: Activation = "silu"
) -> Network:
    """Independent MLPs of one input: `apply(parameters, inputs [N, D])` is (members, N, output_size).

    Kernels are orthogonal with a gain of √2, biases 0.
    """
    nonlinearity = getattr(jax.nn, activation)

    def init(key: jax.Array, input_size: int) -> Any:
        sizes = (input_size, *hidden_sizes, output_size)
        draw = jax.nn.initializers.orthogonal(math.sqrt(2))
        layers = [
            jax.vmap(partial(draw, shape=shape))(jax.random.split(jax.random.fold_in(key, index), members))
            for index, shape in enumerate(pairwise(sizes))
        ]
        first = jnp.concatenate(list(layers[0]), axis=1)
        return {
            "first": {"kernel": first, "bias": jnp.zeros(first.shape[1])},
            "members": [
                [{"kernel": kernels[member], "bias": jnp.zeros(kernels.shape[2])} for kernels in layers[1:]]
                for member in range(members)
            ],
        }

    def apply(parameters: Any, inputs: jax.Array) -> jax.Array:
        outputs = []
        for hidden, layers in zip(
            jnp.split(_dense(parameters["first"], inputs), members, axis=1), parameters["members"], strict=True
        ):
            for layer in layers:
                hidden = _dense(layer, nonlinearity(hidden))
            outputs.append(hidden)
        return jnp.stack(outputs)

    return Network(init, apply)


def _dense(layer: Any, inputs: jax.Array) -> jax.Array:
    product = inputs @ layer["kernel"]
    return product + jnp.broadcast_to(layer["bias"], product.shape)
