r"""The intrinsic curiosity module (Pathak, Agrawal, Efros and Darrell, 2017, "Curiosity-driven exploration by
self-supervised prediction").

An encoder φ keeps of observations what tells which action was taken (inverse model), and the reward is how badly a
forward model predicts the encoding of what follows:

    inverse  L_I = −log p(a | φ(s), φ(s'))  (discrete actions),  mean_j (a_j − â_j)²  (continuous ones)
    forward  L_F = ½ ‖f(φ(s), a) − φ(s')‖²
    loss = 0.8 L_I + 0.2 L_F  (eq. 7 with β = 0.2)         r = η/2 ‖f(φ(s), a) − φ(s')‖²  (eq. 6)

The paper minimises over all parameters together, so that the encoder also follows L_F, through φ(s) and through φ(s');
`encoder_learns_from=inverse` detaches it there. Shapes: observation features (N, D), φ (N, d), actions (N, A). The
reward has no unit.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from infojax.info import categorical
from infojax.nets.mlp import Activation, mlp
from infojax.nets.optimizers import adam
from infojax.objectives.parts import descend, flat_inputs, mean_over, squared_distance
from infojax.types import (
    Array,
    Count,
    EnvSpec,
    Key,
    Metrics,
    NonNegative,
    Objective,
    Positive,
    Transition,
    keep_context,
)


class CuriosityModel(NamedTuple):
    encoder: Any  # s -> φ
    inverse: Any  # φ(s), φ(s') -> a, or logits of it
    forward: Any  # φ(s), a -> φ(s')


class ICMState(NamedTuple):
    model: CuriosityModel
    optimizer: optax.OptState


def make(
    spec: EnvSpec,
    *,
    form: Literal["squared", "log"] = "squared",
    eta: Positive = 1.0,
    feature_size: Count = 32,
    hidden_sizes: tuple[int, ...] = (64,),
    forward_weight: NonNegative = 0.2,
    inverse_weight: NonNegative = 0.8,
    encoder_learns_from: Literal["both", "inverse"] = "both",
    activation: Activation = "relu",
    learning_rate: Positive = 3e-4,
) -> Objective:
    """The intrinsic curiosity module; see the module's text.

    `form` names the published reward: `squared` is the paper's eq. 6, `log` is η log(1 + ‖f(φ(s), a) − φ(s')‖) as in
    the unsupervised reinforcement learning benchmark (Laskin et al., 2021).
    """
    inputs = flat_inputs(spec, "icm")
    encoder = mlp(hidden_sizes, feature_size, activation=activation)
    inverse = mlp(hidden_sizes, inputs.action_size, activation=activation)
    forward = mlp(hidden_sizes, feature_size, activation=activation)
    optimizer = adam(learning_rate, spec.data_axis)

    def encode(model: CuriosityModel, transitions: Transition) -> tuple[Array, Array]:
        """φ(s) and φ(s')."""
        return (
            encoder.apply(model.encoder, inputs.observation(transitions.observation)),
            encoder.apply(model.encoder, inputs.observation(transitions.next_observation)),
        )

    def squared_error(model: CuriosityModel, transitions: Transition, before: Array, after: Array) -> Array:
        """(N,) ‖f(φ(s), a) − φ(s')‖²."""
        action = inputs.action(transitions.action)
        return squared_distance(forward.apply(model.forward, jnp.concatenate([before, action], axis=-1)), after)

    def inverse_error(model: CuriosityModel, transitions: Transition, before: Array, after: Array) -> Array:
        """(N,) cross entropy of the action in nats, or its mean squared error."""
        action = inputs.action(transitions.action)
        predicted = inverse.apply(model.inverse, jnp.concatenate([before, after], axis=-1))
        if spec.num_actions is None:
            return jnp.mean(jnp.square(predicted - action), axis=-1)
        return categorical.cross_entropy(jnp.where(action > 0, 0.0, -jnp.inf), predicted)

    def init(key: Key) -> ICMState:
        keys = jax.random.split(key, 3)
        model = CuriosityModel(
            encoder=encoder.init(keys[0], inputs.observation_size),
            inverse=inverse.init(keys[1], 2 * feature_size),
            forward=forward.init(keys[2], feature_size + inputs.action_size),
        )
        return ICMState(model, optimizer.init(model))

    def reward(state: ICMState, transitions: Transition) -> Array:
        error = squared_error(state.model, transitions, *encode(state.model, transitions))
        return eta * (error / 2 if form == "squared" else jnp.log1p(jnp.sqrt(error)))

    def update(state: ICMState, transitions: Transition, key: Key) -> tuple[ICMState, Metrics]:
        def loss(model: CuriosityModel) -> tuple[Array, Metrics]:
            encoded = encode(model, transitions)
            kept = encoded if encoder_learns_from == "both" else jax.lax.stop_gradient(encoded)
            forward_loss = jnp.mean(squared_error(model, transitions, *kept)) / 2
            inverse_loss = jnp.mean(inverse_error(model, transitions, *encoded))
            value = forward_weight * forward_loss + inverse_weight * inverse_loss
            return value, {"model_loss": value, "forward_loss": forward_loss, "inverse_loss": inverse_loss}

        model, optimizer_state, metrics = descend(optimizer, loss, state.model, state.optimizer)
        return ICMState(model, optimizer_state), metrics

    def report(state: ICMState, transitions: Transition, where: Array | None = None) -> Metrics:
        encoded = encode(state.model, transitions)
        return {
            "forward_loss": mean_over(squared_error(state.model, transitions, *encoded), where) / 2,
            "inverse_loss": mean_over(inverse_error(state.model, transitions, *encoded), where),
        }

    return Objective(
        context_size=0,
        contexts=None,
        init=init,
        context=lambda state, key: jnp.zeros((0,), jnp.float32),
        advance=keep_context,
        reward=reward,
        observe=lambda state, transitions: state,
        update=update,
        report=report,
    )
