r"""An ensemble that predicts what a state and an action lead to, and what seeing it would tell of the right member.

The M members predict targets y from x = (s, a), both standardised by their running mean and standard deviation, by
mean squared error or, with a scale of their own, by a Gaussian's negative log-likelihood. With the epistemic variance
e of the members' means and the aleatoric variance a of their scales, per dimension of y,

    log_ratio      log(1 + e/a)                    upper_bound      ½ [log(e + a) − mean_m log σ_m²]
    disagreement   e

(Sukhija et al., 2024, "MaxInfoRL: Boosting exploration in reinforcement learning through information gain
maximization", section 4, and `infojax.info.ensemble`). Members without a scale have the constant σ = 1e-3.

Shapes: N rows, D observation entries, A action dimensions, M members, d targets.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from infojax.agents.soft_actor_critic import gradient_step
from infojax.info import ensemble, gaussian
from infojax.nets.ensemble import fused_ensemble
from infojax.nets.mlp import Activation
from infojax.nets.optimizers import lenient
from infojax.nets.statistics import Axis, RunningStatistics, observe_statistics, running_statistics, spread
from infojax.types import Array, Key, Metrics, Transition

Gain = Literal["log_ratio", "upper_bound", "disagreement"]
OverDims = Literal["mean", "sum", "max"]
Targets = Literal["dynamics", "random_features"]

SCALE_BOUNDS = (1e-3, 1e2)
LEAST_DEVIATION = 1e-3
MOST_SEEN = 1e6  # statistics forget what is older, since the members and with them the gain change
RANDOM_HIDDEN = (32, 32)


class ModelState(NamedTuple):
    members: Any
    optimizer: optax.OptState
    inputs: RunningStatistics
    targets: RunningStatistics
    random_network: Any  # the fixed network of `random_features`, else ()


class InformationModel(NamedTuple):
    """The pure functions of the ensemble."""

    init: Callable[[Key], ModelState]
    predict: Callable[[ModelState, Array, Array], tuple[Array, Array]]  # (state, s, a) -> mean and scale [M, N, d]
    gain: Callable[[ModelState, Array, Array], Array]  # (state, s [N, D], a [N, A]) -> [N], not yet standardised
    update: Callable[[ModelState, Transition, Array, Array], tuple[ModelState, Metrics]]  # (…, rows, learns)


def standardize(statistics: RunningStatistics, values: Array) -> Array:
    """Values at mean 0 and deviation 1; as they are while nothing was seen."""
    deviation = jnp.sqrt(statistics.deviation / jnp.maximum(statistics.seen, 1))
    scale = jnp.where(statistics.seen > 0, jnp.maximum(deviation, LEAST_DEVIATION), 1)
    return (values - spread(statistics.mean, values)) / spread(scale, values)


def observe_recent(statistics: RunningStatistics, values: Array, axis: Axis = None) -> RunningStatistics:
    """Statistics with a batch [n, …] merged in, as if of no more than `MOST_SEEN` values."""
    merged = observe_statistics(statistics, values, axis)
    kept = jnp.minimum(merged.seen, MOST_SEEN)
    return merged._replace(seen=kept, deviation=merged.deviation * kept / merged.seen)


def information_model(
    observation_size: int,
    action_size: int,
    *,
    targets: Targets,
    embedding_size: int,
    information_gain: Gain,
    over_dims: OverDims,
    members: int,
    probabilistic: bool,
    bootstrap: bool,
    hidden_sizes: tuple[int, ...],
    activation: Activation,
    learning_rate: float,
    weight_decay: float,
    axis: Axis = None,
) -> InformationModel:
    """The ensemble, its training and its information gain; see the module's text. Batches are spread over `axis`."""
    input_size = observation_size + action_size
    random_network = fused_ensemble(RANDOM_HIDDEN, embedding_size, members=1, activation="tanh")
    target_size = observation_size + 1 if targets == "dynamics" else embedding_size
    network = fused_ensemble(hidden_sizes, (1 + probabilistic) * target_size, members=members, activation=activation)
    optimizer = lenient(optax.adamw(learning_rate, weight_decay=weight_decay), axis)

    def init(key: Key) -> ModelState:
        members_key, random_key = jax.random.split(key)
        ensemble_members = network.init(members_key, input_size)
        return ModelState(
            members=ensemble_members,
            optimizer=optimizer.init(ensemble_members),
            inputs=running_statistics((input_size,)),
            targets=running_statistics((target_size,)),
            random_network=random_network.init(random_key, input_size) if targets == "random_features" else (),
        )

    def forward(parameters: Any, inputs: Array) -> tuple[Array, Array]:
        outputs = network.apply(parameters, inputs)
        if not probabilistic:
            return outputs, jnp.full_like(outputs, SCALE_BOUNDS[0])
        mean, raw = jnp.split(outputs, 2, axis=-1)
        return mean, jnp.clip(jax.nn.softplus(raw), *SCALE_BOUNDS)

    def predict(state: ModelState, observation: Array, action: Array) -> tuple[Array, Array]:
        inputs = jnp.concatenate([observation, action], axis=-1)
        return forward(state.members, standardize(state.inputs, inputs))

    def gain(state: ModelState, observation: Array, action: Array) -> Array:
        mean, scale = predict(state, observation, action)
        if information_gain != "disagreement":
            return ensemble.gaussian_information_gain(mean, scale, form=information_gain, over_dims=over_dims)
        per_dimension = ensemble.disagreement(mean[..., None])
        return {"mean": jnp.mean, "sum": jnp.sum, "max": jnp.max}[over_dims](per_dimension, axis=-1)

    def loss(parameters: Any, inputs: Array, wanted: Array, weights: Array | None) -> Array:
        """Over members, rows and dimensions the mean of (y − μ)², or of −log N(y; μ, σ²) in nats; rows may weigh."""
        mean, scale = forward(parameters, inputs)
        error = jnp.broadcast_to(wanted, mean.shape) - mean
        if probabilistic:
            # −log N is the Gaussian's entropy where the squared error is as it expects, and ½ (z² − 1) more elsewhere.
            excess = 0.5 * jnp.mean(jnp.square(error / scale) - 1, axis=-1)
            rows = excess + gaussian.diagonal_entropy(scale) / target_size
        else:
            rows = jnp.mean(jnp.square(error), axis=-1)
        return jnp.mean(rows if weights is None else rows * weights)

    def double_or_nothing(index: Array) -> Array:
        """(M, N) weights 0 or 2, the same whenever the row is replayed: a bootstrap of the replay for each member."""
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(jax.random.key(0), index)
        kept = jax.vmap(lambda key: jax.random.bernoulli(key, 0.5, (members,)), out_axes=1)(keys)
        return 2 * kept.astype(jnp.float32)

    def update(state: ModelState, transitions: Transition, index: Array, learns: Array) -> tuple[ModelState, Metrics]:
        inputs = jnp.concatenate([transitions.observation, transitions.action], axis=-1)
        if targets == "dynamics":
            change = transitions.next_observation - transitions.observation
            wanted = jnp.concatenate([change, transitions.reward[:, None]], axis=-1)
        else:
            wanted = random_network.apply(state.random_network, inputs)[0]
        state = state._replace(
            inputs=observe_recent(state.inputs, inputs, axis), targets=observe_recent(state.targets, wanted, axis)
        )
        value, gradient = jax.value_and_grad(loss)(
            state.members,
            standardize(state.inputs, inputs),
            standardize(state.targets, wanted),
            double_or_nothing(index) if bootstrap else None,
        )
        trained, optimizer_state = gradient_step(optimizer, gradient, state.optimizer, state.members, learns)
        return state._replace(members=trained, optimizer=optimizer_state), {"model_loss": value}

    return InformationModel(init, predict, gain, update)
