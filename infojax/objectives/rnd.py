r"""Random network distillation (Burda, Edwards, Storkey and Klimov, 2019, "Exploration by random network
distillation").

A predictor g learns to give what a random network f, which never learns, gives for an observation; where it was seldom
trained it is wrong:

    r = e / σ_e,    e = 1/d Σ_j (g_j(x) − f_j(x))²,    x = clip((s' − μ) / σ, −5, 5)

with running μ, σ of what was observed and the running standard deviation σ_e of e (the paper's section 2.4 divides by
that of the discounted sum of e instead, which is for the learner, who knows of time). Both are taken from fresh
transitions alone; the predictor is trained on whatever the learner gives it. Shapes: observation features (N, D),
features (N, d). The reward has no unit.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from infojax.nets.mlp import Activation, mlp
from infojax.nets.optimizers import adam
from infojax.nets.statistics import RunningStatistics, normalize, observe_statistics, running_statistics
from infojax.objectives.parts import descend, flat_inputs, mean_over, running_scale
from infojax.types import Array, Count, EnvSpec, Key, Metrics, Objective, Positive, Transition, keep_context

CLIP = 5.0


class RNDState(NamedTuple):
    target: Any  # never learns
    predictor: Any
    optimizer: optax.OptState
    observations: RunningStatistics  # of features of s'
    errors: RunningStatistics  # of e


def make(
    spec: EnvSpec,
    *,
    feature_size: Count = 64,
    hidden_sizes: tuple[int, ...] = (64, 64),
    activation: Activation = "relu",
    learning_rate: Positive = 1e-4,
) -> Objective:
    """Random network distillation; see the module's text."""
    inputs = flat_inputs(spec, "rnd")
    network = mlp(hidden_sizes, feature_size, activation=activation)
    optimizer = adam(learning_rate, spec.data_axis)

    def normalized(observations: RunningStatistics, transitions: Transition) -> Array:
        return jnp.clip(normalize(observations, inputs.observation(transitions.next_observation)), -CLIP, CLIP)

    def distance(target: Any, predictor: Any, seen: Array) -> Array:
        """(N,) squared error of the predictor, averaged over features."""
        return jnp.mean(jnp.square(network.apply(predictor, seen) - network.apply(target, seen)), axis=-1)

    def error(state: RNDState, transitions: Transition) -> Array:
        return distance(state.target, state.predictor, normalized(state.observations, transitions))

    def init(key: Key) -> RNDState:
        target_key, predictor_key = jax.random.split(key)
        predictor = network.init(predictor_key, inputs.observation_size)
        return RNDState(
            target=network.init(target_key, inputs.observation_size),
            predictor=predictor,
            optimizer=optimizer.init(predictor),
            observations=running_statistics((inputs.observation_size,)),
            errors=running_statistics(()),
        )

    def reward(state: RNDState, transitions: Transition) -> Array:
        return error(state, transitions) / running_scale(state.errors)

    def observe(state: RNDState, transitions: Transition) -> RNDState:
        features = inputs.observation(transitions.next_observation)
        state = state._replace(observations=observe_statistics(state.observations, features, spec.data_axis))
        errors = observe_statistics(state.errors, error(state, transitions), spec.data_axis)
        return state._replace(errors=errors)

    def update(state: RNDState, transitions: Transition, key: Key) -> tuple[RNDState, Metrics]:
        seen = normalized(state.observations, transitions)

        def loss(predictor: Any) -> tuple[Array, Array]:
            value = jnp.mean(distance(state.target, predictor, seen))
            return value, value

        predictor, optimizer_state, value = descend(optimizer, loss, state.predictor, state.optimizer)
        return state._replace(predictor=predictor, optimizer=optimizer_state), {"prediction_error": value}

    def report(state: RNDState, transitions: Transition, where: Array | None = None) -> Metrics:
        return {"prediction_error": mean_over(error(state, transitions), where)}

    return Objective(
        context_size=0,
        contexts=None,
        init=init,
        context=lambda state, key: jnp.zeros((0,), jnp.float32),
        advance=keep_context,
        reward=reward,
        observe=observe,
        update=update,
        report=report,
    )
