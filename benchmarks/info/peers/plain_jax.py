"""Plain jax: the formulas as one first writes them, under `jit`."""

from collections.abc import Callable
from typing import Any

import cases
import jax
import jax.numpy as jnp

PACKAGES = ("jax", "jaxlib")


def compiled(function: Callable[..., Any], *arrays: Any) -> Callable[[], Any]:
    """A call of the compiled function on device arrays."""
    inputs = jax.block_until_ready([jnp.asarray(array) for array in arrays])
    fast = jax.jit(function)
    return lambda: jax.block_until_ready(fast(*inputs))


def entropy_tasks(entropy: Callable[[jax.Array], jax.Array]) -> dict[str, Callable[[cases.Data], Callable[[], Any]]]:
    """Both tasks on logits of one entropy."""
    both = jax.value_and_grad(lambda logits: entropy(logits).sum())
    return {
        "logits_entropy": lambda data: compiled(entropy, data["logits"]),
        "logits_entropy_gradient": lambda data: compiled(both, data["logits"]),
    }


def array_tasks(functions: dict[str, Callable[..., Any]]) -> dict[str, Callable[[cases.Data], Callable[[], Any]]]:
    """Tasks that take the case's arrays in order."""
    return {name: lambda data, call=call: compiled(call, *data.values()) for name, call in functions.items()}


def entropy(logits: jax.Array) -> jax.Array:
    """Through probabilities."""
    return jax.scipy.special.entr(jax.nn.softmax(logits)).sum(axis=-1)


def renyi(gram: jax.Array) -> jax.Array:
    """By eigenvalues."""
    return -jnp.log((jnp.linalg.eigvalsh(gram / jnp.trace(gram)) ** 2).sum())


TASKS = entropy_tasks(entropy) | {"matrix_renyi": lambda data: compiled(renyi, data["gram_x"])}
