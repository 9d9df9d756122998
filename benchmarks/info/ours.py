"""The tasks by infojax: every one under `jit`, inputs on the device before timing, results waited for.

A primitive is imported where its task is built, so that a missing one fails in its own case only.
"""

import functools
import importlib
from collections.abc import Callable
from typing import Any

import cases
import jax
import jax.numpy as jnp
import primitives

PACKAGES = ("infojax", "jax", "jaxlib")


def compiled(function: Callable[..., Any], *arrays: Any) -> Callable[[], Any]:
    """A call of the compiled function on device arrays."""
    inputs = jax.block_until_ready([jnp.asarray(array) for array in arrays])
    fast = jax.jit(function)
    return lambda: jax.block_until_ready(fast(*inputs))


def knn_entropy(data: cases.Data) -> Callable[[], Any]:
    """Kozachenko–Leonenko, Euclidean norm."""
    from infojax.info import particle

    return compiled(lambda x: particle.knn_entropy(x, k=3), data["x"])


def ksg(algorithm: int) -> Callable[[cases.Data], Callable[[], Any]]:
    """Kraskov's first or second algorithm."""

    def task(data: cases.Data) -> Callable[[], Any]:
        from infojax.info import particle

        estimate = particle.ksg_mutual_information
        return compiled(lambda x, y: estimate(x, y, k=3, algorithm=algorithm), data["x"], data["y"])

    return task


def logits_entropy(data: cases.Data) -> Callable[[], Any]:
    """Entropy of every row."""
    from infojax.info import categorical

    return compiled(categorical.entropy, data["logits"])


def logits_entropy_gradient(data: cases.Data) -> Callable[[], Any]:
    """The sum of the entropies and its gradient."""
    from infojax.info import categorical

    return compiled(jax.value_and_grad(lambda z: categorical.entropy(z).sum()), data["logits"])


def information_gain(data: cases.Data) -> Callable[[], Any]:
    """Per row, summed over dimensions."""
    from infojax.info import ensemble

    gain = ensemble.gaussian_information_gain
    return compiled(lambda mean, scale: gain(mean, scale, form="upper_bound"), data["mean"], data["scale"])


def bald(data: cases.Data) -> Callable[[], Any]:
    """Mutual information of prediction and member."""
    from infojax.info import categorical

    return compiled(lambda logits: categorical.mutual_information(logits, axis=0), data["logits"])


def particle_reward(data: cases.Data) -> Callable[[], Any]:
    """APT's reward of every particle."""
    from infojax.info import particle

    return compiled(lambda x: particle.particle_reward(x, k=cases.NEIGHBOURS, form="apt"), data["x"])


def matrix_renyi(data: cases.Data) -> Callable[[], Any]:
    """Order 2."""
    from infojax.info import kernel

    return compiled(lambda gram: kernel.matrix_renyi_entropy(gram, alpha=2), data["gram_x"])


def gaussian_mi(data: cases.Data) -> Callable[[], Any]:
    """Of the sample covariance, which is part of the call."""
    from infojax.info import gaussian

    def estimate(x: jax.Array, y: jax.Array) -> jax.Array:
        return gaussian.mutual_information(jnp.cov(jnp.concatenate([x, y], axis=1), rowvar=False), cases.DIMENSIONS)

    return compiled(estimate, data["x"], data["y"])


def plugin_entropy(data: cases.Data) -> Callable[[], Any]:
    """Of the observed frequencies."""
    from infojax.info import discrete

    return compiled(lambda x: discrete.plugin_entropy(x, cases.SYMBOLS), data["x"])


def hsic(data: cases.Data) -> Callable[[], Any]:
    """Biased."""
    from infojax.info import kernel

    return compiled(kernel.hsic, data["gram_x"], data["gram_y"])


def infonce(data: cases.Data) -> Callable[[], Any]:
    """Over whole rows."""
    from infojax.info import bounds

    return compiled(bounds.infonce, data["scores"])


def smile(data: cases.Data) -> Callable[[], Any]:
    """The value; its gradient is Jensen–Shannon's."""
    from infojax.info import bounds

    return compiled(lambda scores: bounds.smile(scores, cases.TAU), data["scores"])


def primitive(name: str) -> Callable[[cases.Data], Callable[[], Any]]:
    """One of the many small ones: the function of that name, with its settings."""

    def task(data: cases.Data) -> Callable[[], Any]:
        module, function = name.split(".")
        row = primitives.PRIMITIVES[name]
        call = getattr(importlib.import_module(f"infojax.info.{module}"), function)
        return compiled(functools.partial(call, **row.settings, **row.ours), *data.values())

    return task


TASKS = {
    "knn_entropy": knn_entropy,
    "ksg_one": ksg(1),
    "ksg_two": ksg(2),
    "logits_entropy": logits_entropy,
    "logits_entropy_gradient": logits_entropy_gradient,
    "information_gain": information_gain,
    "bald": bald,
    "particle_reward": particle_reward,
    "matrix_renyi": matrix_renyi,
    "gaussian_mi": gaussian_mi,
    "plugin_entropy": plugin_entropy,
    "hsic": hsic,
    "infonce": infonce,
    "smile": smile,
}

TASKS |= {name: primitive(name) for name in primitives.PRIMITIVES}
