r"""Lipschitz-constrained skill discovery (Park, Choi, Kim, Lee and Kim, 2022).

    max E[(φ(s') − φ(s)) · w(z)]   with   ‖φ(x) − φ(y)‖ ≤ ‖x − y‖                        (algorithm 1)

The reward is the displacement along the skill; to earn much of it a skill has to move far in the observation itself.
The constraint holds by construction, as each layer's matrix W is divided by its largest singular value σ (Miyato et
al., 2018) and the activations have slopes of at most 1. σ = ‖W u‖ with u from power iteration, which is kept in the
state and follows W by `power_iterations` steps per update: for the 1024 x 1024 layers of the paper a singular value
decomposition per gradient step would cost more than the step itself. As power iteration comes from below, the bound is
1 up to how far it has converged; it begins with 100 steps. The last layer's u is exact, since skills make its largest
singular values alike, between which power iteration is slow to choose. Skills and shapes: see `displacement`.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from infojax.nets.optimizers import adam
from infojax.objectives import displacement
from infojax.objectives.parts import descend
from infojax.types import Array, Count, EnvSpec, Key, Metrics, Objective, Positive, Transition, keep_context

FIRST_ITERATIONS = 100
EXACT_UP_TO = 32  # outputs of a layer
TINY = 1e-12


class LSDState(NamedTuple):
    encoder: Any
    vectors: dict[str, Array]  # u of each layer, unit [outputs]
    optimizer: optax.OptState


def unit(vector: Array) -> Array:
    """A vector at length 1."""
    return vector / jnp.sqrt(jnp.sum(jnp.square(vector)) + TINY)


def exact(left: Array, right: Array) -> Array:
    """Their matrix product in full precision, whatever networks multiply in: a bound must hold."""
    return jnp.matmul(left, right, precision="highest")


def iterate(encoder: Any, vectors: dict[str, Array], steps: int) -> dict[str, Array]:
    """`steps` of power iteration u ← WᵀW u / ‖WᵀW u‖ in every layer, W being [inputs, outputs]; exact in small ones."""

    def one(kernel: Array, vector: Array) -> Array:
        if vector.size <= EXACT_UP_TO:
            return jnp.linalg.eigh(exact(kernel.T, kernel))[1][:, -1]
        return jax.lax.fori_loop(0, steps, lambda _, u: unit(exact(unit(exact(kernel, u)), kernel)), vector)

    return {name: one(layer["kernel"], vectors[name]) for name, layer in encoder.items()}


def normalized(encoder: Any, vectors: dict[str, Array]) -> Any:
    """The parameters with each matrix divided by σ = ‖W u‖, whose gradient by W is (W u / σ) uᵀ."""

    def one(layer: Any, vector: Array) -> Any:
        kernel = layer["kernel"]
        largest = jnp.sqrt(jnp.sum(jnp.square(exact(kernel, vector))) + TINY)
        return {**layer, "kernel": kernel / jnp.broadcast_to(largest, kernel.shape)}

    return {name: one(layer, vectors[name]) for name, layer in encoder.items()}


def make(
    spec: EnvSpec,
    *,
    skills: displacement.Kind = "discrete",
    skill_size: Count = 16,
    features: tuple[int, ...] | None = None,
    hidden_sizes: tuple[int, ...] = (1024, 1024),
    activation: Literal["relu", "tanh"] = "relu",
    learning_rate: Positive = 1e-4,
    power_iterations: Count = 5,
) -> Objective:
    """LSD with `skill_size` discrete skills, or continuous ones of that many dimensions; see the module's text."""
    chosen = displacement.make_skills(skills, skill_size)
    encoder = displacement.make_encoder(spec, "lsd", skill_size, features, hidden_sizes, activation)
    optimizer = adam(learning_rate, spec.data_axis)

    def moved(parameters: Any, vectors: dict[str, Array], transitions: Transition) -> Array:
        return displacement.displacement(encoder, normalized(parameters, vectors), transitions)

    def init(key: Key) -> LSDState:
        encoder_key, vector_key = jax.random.split(key)
        parameters = encoder.network.init(encoder_key, encoder.input_size)
        keys = jax.random.split(vector_key, len(parameters))
        vectors = {
            name: unit(jax.random.normal(one, parameters[name]["bias"].shape, jnp.float32))
            for name, one in zip(parameters, keys, strict=True)
        }
        return LSDState(parameters, iterate(parameters, vectors, FIRST_ITERATIONS), optimizer.init(parameters))

    def reward(state: LSDState, transitions: Transition) -> Array:
        return displacement.projection(chosen, moved(state.encoder, state.vectors, transitions), transitions.context)

    def update(state: LSDState, transitions: Transition, key: Key) -> tuple[LSDState, Metrics]:
        def loss(parameters: Any) -> tuple[Array, Metrics]:
            change = moved(parameters, state.vectors, transitions)
            value = -jnp.mean(displacement.projection(chosen, change, transitions.context))
            return value, {
                "representation_loss": value,
                "displacement": jnp.mean(jnp.linalg.norm(jax.lax.stop_gradient(change), axis=-1)),
            }

        parameters, optimizer_state, metrics = descend(optimizer, loss, state.encoder, state.optimizer)
        return LSDState(parameters, iterate(parameters, state.vectors, power_iterations), optimizer_state), metrics

    def report(state: LSDState, transitions: Transition, where: Array | None = None) -> Metrics:
        """`violation` is by how much φ moved further than the observation did, on average."""
        change = moved(state.encoder, state.vectors, transitions)
        step = encoder.inputs(transitions.next_observation) - encoder.inputs(transitions.observation)
        excess = jnp.maximum(jnp.linalg.norm(change, axis=-1) - jnp.linalg.norm(step, axis=-1), 0)
        return displacement.skill_report(chosen, change, transitions.context, excess, where)

    return Objective(
        context_size=skill_size,
        contexts=chosen.contexts,
        init=init,
        context=lambda state, key: chosen.draw(key),
        advance=keep_context,
        # Differences of large numbers: one program, so that they are rounded alike with and without a caller's jit.
        reward=jax.jit(reward),
        observe=lambda state, transitions: state,
        update=update,
        report=report,
    )
