"""Multilayer perceptrons. The only room that knows flax; the others see `init` and `apply`."""

import math
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
    output_gains: tuple[tuple[int, float], ...] | None

    @linen.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        inner = linen.initializers.lecun_normal() if self.output_gains is None else _orthogonal(math.sqrt(2))
        last = inner if self.output_gains is None else _blocks(self.output_gains)
        outputs = []
        for member in range(self.members):
            # Members are separate matrix products: on CPU one batched product of the same work is slower.
            hidden = inputs
            for index, size in enumerate(self.sizes[:-1]):
                layer = linen.Dense(size, name=f"member_{member}_layer_{index}", kernel_init=inner)
                hidden = _ACTIVATIONS[self.activation](layer(hidden))
            outputs.append(linen.Dense(self.sizes[-1], name=f"member_{member}_output", kernel_init=last)(hidden))
        return outputs[0] if self.members == 1 else jnp.stack(outputs)


def _orthogonal(gain: float) -> Callable[..., jax.Array]:
    return linen.initializers.orthogonal(gain)


def _blocks(gains: tuple[tuple[int, float], ...]) -> Callable[..., jax.Array]:
    """Orthogonal blocks of columns side by side, each of its own gain."""

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        keys = jax.random.split(key, len(gains))
        return jnp.concatenate(
            [_orthogonal(gain)(k, (shape[0], size), dtype) for k, (size, gain) in zip(keys, gains, strict=True)], axis=1
        )

    return init


def mlp(
    hidden_sizes: Sequence[int],
    output_size: int,
    *,
    activation: Activation = "relu",
    members: int = 1,
    output_gains: Sequence[tuple[int, float]] | None = None,
) -> Network:
    """An MLP with LeCun-normal kernels; with `members` > 1 independent copies, stacked on a new first axis.

    With `output_gains`, pairs (size, gain) that share the outputs out, kernels are orthogonal: of gain √2 in hidden
    layers, and of the given gains in the blocks of the last.
    """
    gains = None if output_gains is None else tuple((size, gain) for size, gain in output_gains)
    module: Any = _MLP((*hidden_sizes, output_size), activation, members, gains)
    return Network(
        init=lambda key, input_size: module.init(key, jnp.zeros((1, input_size), jnp.float32))["params"],
        apply=lambda parameters, inputs: module.apply({"params": parameters}, inputs),
    )
