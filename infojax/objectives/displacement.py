r"""What LSD and METRA share: skills as directions, and displacements of a learned representation along them.

    r = (φ(s') − φ(s)) · w(z),      w(z) = (z − mean(z)) K / (K − 1)  of a one-hot z, or z itself, ‖z‖ = 1

(Park et al., 2022, "Lipschitz-constrained Unsupervised Skill Discovery", and Park et al., 2024,
"METRA"). Without a constraint on φ the reward has no bound; each method brings its own.
Shapes: observations (N, …), contexts (N, K) or (N, d), φ as wide as the context.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from infojax.nets.mlp import Activation, Network, mlp
from infojax.objectives.diayn import select_features
from infojax.objectives.parts import flat_inputs, mean_over
from infojax.types import Array, EnvSpec, Key, Metrics, Transition, UserError

Kind = Literal["discrete", "continuous"]


class Skills(NamedTuple):
    """What a skill is: drawn when an episode begins, and a direction in the space of representations."""

    size: int
    contexts: Array | None  # [K, K] where there are finitely many
    draw: Callable[[Key], Array]  # -> [size]
    direction: Callable[[Array], Array]  # contexts (N, size) -> (N, size)


class Encoder(NamedTuple):
    """The network φ on the chosen entries of observations."""

    network: Network
    input_size: int
    inputs: Callable[[Array], Array]  # observations (N, …) -> (N, input_size)


def make_skills(kind: Kind, size: int) -> Skills:
    """`size` discrete skills, uniformly drawn, or skills uniform on the unit sphere of `size` dimensions."""
    if kind == "discrete":
        if size < 2:
            raise UserError(
                f"objective.skill_size={size} discrete skills cannot be told apart; use 2 or more, or "
                "objective.skills=continuous"
            )
        contexts = jnp.eye(size, dtype=jnp.float32)

        def draw(key: Key) -> Array:
            return jax.nn.one_hot(jax.random.randint(key, (), 0, size), size, dtype=jnp.float32)

        def direction(context: Array) -> Array:
            return (context - jnp.mean(context, axis=-1, keepdims=True)) * (size / (size - 1))

        return Skills(size, contexts, draw, direction)

    def draw_sphere(key: Key) -> Array:
        normal = jax.random.normal(key, (size,), jnp.float32)
        return normal / jnp.linalg.norm(normal)

    return Skills(size, None, draw_sphere, lambda context: context)


def make_encoder(
    spec: EnvSpec,
    name: str,
    size: int,
    features: tuple[int, ...] | None,
    hidden_sizes: tuple[int, ...],
    activation: Activation,
) -> Encoder:
    """φ with `size` outputs; it sees the entries `features` of the observation, or all."""
    network = mlp(hidden_sizes, size, activation=activation)
    if features is None:
        whole = flat_inputs(spec, name)
        return Encoder(network, whole.observation_size, whole.observation)
    indices = jnp.asarray(select_features(spec, features))
    part = flat_inputs(spec._replace(observation_shape=(len(features),)), name)
    return Encoder(network, part.observation_size, lambda observation: part.observation(observation[..., indices]))


def displacement(encoder: Encoder, parameters: Any, transitions: Transition) -> Array:
    """(N, size) φ(s') − φ(s)."""
    before, after = encoder.inputs(transitions.observation), encoder.inputs(transitions.next_observation)
    return encoder.network.apply(parameters, after) - encoder.network.apply(parameters, before)


def projection(skills: Skills, moved: Array, context: Array) -> Array:
    """(N,) displacements along the direction of their skill."""
    return jnp.sum(moved * skills.direction(context), axis=-1)


def skill_report(skills: Skills, moved: Array, context: Array, excess: Array, where: Array | None) -> Metrics:
    """How well displacements tell the skills apart.

    `alignment` is the mean cosine of displacement and direction, `displacement` the mean norm, `violation` the mean
    `excess` (N,) over the constraint. Of discrete skills also `accuracy`, the share of displacements that lie along
    their own skill's direction more than along any other's, and `confusion` [K, K], which row normalised says which
    skill they lie along instead.
    """
    wanted = skills.direction(context)
    length = jnp.linalg.norm(moved, axis=-1)
    norms = length * jnp.linalg.norm(wanted, axis=-1)
    cosine = jnp.sum(moved * wanted, axis=-1) / jnp.where(norms > 0, norms, 1)
    metrics = {
        "alignment": mean_over(cosine, where),
        "displacement": mean_over(length, where),
        "violation": mean_over(excess, where),
    }
    if skills.contexts is None:
        return metrics
    # Directions of discrete skills are one-hots less a constant, so the largest entry is the nearest direction.
    true, named = jnp.argmax(context, axis=-1), jnp.argmax(moved, axis=-1)
    weight = jnp.ones_like(length) if where is None else where.astype(jnp.float32)
    pairs = jnp.zeros((skills.size, skills.size), jnp.float32).at[true, named].add(weight)
    return metrics | {
        "accuracy": mean_over((true == named).astype(jnp.float32), where),
        "confusion": pairs / jnp.maximum(jnp.sum(pairs, axis=1, keepdims=True), 1),
    }
