"""Multilayer perceptrons. The only room that knows flax; the others see `init` and `apply`."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen

Activation = Literal["relu", "tanh", "silu", "gelu"]

_ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": linen.relu,
    "tanh": jnp.tanh,
    "silu": linen.silu,
    "gelu": linen.gelu,
}


class Network(NamedTuple):
    """A pure network: `init(key, input_size) -> parameters`, `apply(parameters, inputs [..., D]) -> outputs`."""

    init: Callable[[jax.Array, int], Any]
    apply: Callable[[Any, jax.Array], jax.Array]


class _MLP(linen.Module):
    sizes: tuple[int, ...]
    activation: Activation
    members: int

    @linen.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        outputs = []
        for member in range(self.members):
            # Members are separate matrix products: on CPU one batched product of the same work is slower.
            hidden = inputs
            for index, size in enumerate(self.sizes[:-1]):
                hidden = _ACTIVATIONS[self.activation](linen.Dense(size, name=f"member_{member}_layer_{index}")(hidden))
            outputs.append(linen.Dense(self.sizes[-1], name=f"member_{member}_output")(hidden))
        return outputs[0] if self.members == 1 else jnp.stack(outputs)


def mlp(hidden_sizes: Sequence[int], output_size: int, *, activation: Activation = "relu", members: int = 1) -> Network:
    """An MLP with LeCun-normal kernels; with `members` > 1 independent copies, stacked on a new first axis."""
    module: Any = _MLP((*hidden_sizes, output_size), activation, members)
    return Network(
        init=lambda key, input_size: module.init(key, jnp.zeros((1, input_size), jnp.float32))["params"],
        apply=lambda parameters, inputs: module.apply({"params": parameters}, inputs),
    )
