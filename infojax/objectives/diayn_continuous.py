r"""DIAYN with continuous skills: z uniform on the cube [−1, 1]^d, q(z|s) a diagonal Gaussian.

    r = log q(z | s) − log p(z),          −log p(z) = d log 2 = H(Z)

(Eysenbach et al., 2019, eq. 3, with a density for q). E[r] is the Barber–Agakov lower bound on I(S; Z) in nats. It
has no ceiling, because the information about a real number has none; `min_scale` bounds what q may claim to know.
Shapes: observations (N, D), contexts (N, d).
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from infojax.info import bounds, gaussian
from infojax.nets.mlp import Activation, mlp
from infojax.nets.optimizers import adam
from infojax.objectives.diayn import select_features
from infojax.types import Array, Count, EnvSpec, Key, Metrics, Objective, Positive, Transition, keep_context


class ContinuousDIAYNState(NamedTuple):
    discriminator: Any
    optimizer: optax.OptState


def make(
    spec: EnvSpec,
    *,
    skill_size: Count = 2,
    min_scale: Positive = 0.05,
    features: tuple[int, ...] | None = None,
    reward_on: Literal["observation", "next_observation"] = "observation",
    train_on: Literal["observation", "next_observation"] = "observation",
    hidden_sizes: tuple[int, ...] = (300, 300),
    activation: Activation = "relu",
    learning_rate: Positive = 3e-4,
) -> Objective:
    """DIAYN with skills from the cube [−1, 1]^`skill_size`; see the module's text."""
    indices = select_features(spec, features)
    prior_entropy = skill_size * jnp.log(jnp.asarray(2, jnp.float32))
    network = mlp(hidden_sizes, 2 * skill_size, activation=activation)
    optimizer = adam(learning_rate, spec.data_axis)

    def log_q(discriminator: Any, observation: Array, skill: Array) -> Array:
        """(N,) log-density of the true skill under the diagonal Gaussian q that the observation predicts.

        −log q(z) = D(q moved to z ‖ q) + H(q) − d/2: equal scales leave of the divergence the square alone.
        """
        chosen = observation if features is None else observation[..., jnp.asarray(indices)]
        mean, raw_scale = jnp.split(network.apply(discriminator, chosen), 2, axis=-1)
        scale = jax.nn.softplus(raw_scale) + min_scale
        moved = gaussian.diagonal_kl_divergence(skill, scale, jnp.tanh(mean), scale)
        return skill_size / 2 - moved - gaussian.diagonal_entropy(scale)

    def init(key: Key) -> ContinuousDIAYNState:
        discriminator = network.init(key, len(indices))
        return ContinuousDIAYNState(discriminator, optimizer.init(discriminator))

    def reward(state: ContinuousDIAYNState, transitions: Transition) -> Array:
        observation = getattr(transitions, reward_on)
        log_density = log_q(state.discriminator, observation, transitions.context)
        return bounds.barber_agakov(log_density, prior_entropy, reduction="none")

    def update(state: ContinuousDIAYNState, transitions: Transition, key: Key) -> tuple[ContinuousDIAYNState, Metrics]:
        def loss(discriminator: Any) -> Array:
            return -jnp.mean(log_q(discriminator, getattr(transitions, train_on), transitions.context))

        value, gradient = jax.value_and_grad(loss)(state.discriminator)
        step, optimizer_state = optimizer.update(gradient, state.optimizer)
        discriminator = optax.apply_updates(state.discriminator, step)
        return ContinuousDIAYNState(discriminator, optimizer_state), {"discriminator_loss": value}

    def report(state: ContinuousDIAYNState, transitions: Transition, where: Array | None = None) -> Metrics:
        log_density = log_q(state.discriminator, getattr(transitions, reward_on), transitions.context)
        return {"mutual_information": bounds.barber_agakov(log_density, prior_entropy, where=where)}

    return Objective(
        context_size=skill_size,
        contexts=None,
        init=init,
        context=lambda state, key: jax.random.uniform(key, (skill_size,), jnp.float32, -1, 1),
        advance=keep_context,
        reward=reward,
        observe=lambda state, transitions: state,
        update=update,
        report=report,
    )
