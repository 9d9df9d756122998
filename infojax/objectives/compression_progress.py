r"""Compression progress, or learning progress (Schmidhuber, 2010, "Formal theory of creativity, fun, and intrinsic
motivation", section III; Oudeyer, Kaplan and Hafner, 2007).

A model p(s'|s,a) learns by maximum likelihood, and the reward is how many nats fewer it needs now for a transition than
an older copy of it:

    r = log p_now(s'|s,a) − log p_older(s'|s,a)

What is known and what cannot be learned both give 0: only what is being learned is rewarded. p is a Gaussian with
independent coordinates and a learned scale of at least `min_scale` (without which a world without noise would be
progress for ever), and where observations are symbols a categorical distribution for each entry.

`older` names the copy: `average` moves every update by the share `rate` towards the model, so that it is about 1/rate
updates behind; `snapshot` is a copy taken every `lag` updates and used one period later, so that it is lag to 2 lag
updates behind. Shapes: observation features (N, D), rewards (N,) in nats.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from infojax.info import categorical
from infojax.nets.mlp import Activation, mlp
from infojax.nets.optimizers import adam
from infojax.objectives.parts import descend, flat_inputs, log_density, mean_over
from infojax.types import Array, Count, EnvSpec, Key, Metrics, Objective, Positive, Rate, Transition, keep_context


class CompressionProgressState(NamedTuple):
    model: Any
    older: Any  # what progress is measured against
    waiting: Any  # the snapshot that comes next; () for an average
    optimizer: optax.OptState
    updates: Array  # how many there were


def make(
    spec: EnvSpec,
    *,
    older: Literal["average", "snapshot"] = "average",
    rate: Rate = 0.01,
    lag: Count = 100,
    clip: bool = False,
    min_scale: Positive = 0.05,
    hidden_sizes: tuple[int, ...] = (64, 64),
    activation: Activation = "relu",
    learning_rate: Positive = 3e-4,
) -> Objective:
    """Compression progress; see the module's text. `clip` raises steps backwards to 0."""
    inputs = flat_inputs(spec, "compression_progress")
    outputs = inputs.observation_size * (2 if spec.num_categories is None else 1)
    network = mlp(hidden_sizes, outputs, activation=activation)
    optimizer = adam(learning_rate, spec.data_axis)

    def log_likelihood(model: Any, transitions: Transition) -> Array:
        """(N,) log p(s'|s,a) in nats: a log-density of numbers, a log-probability of symbols."""
        predicted = network.apply(model, inputs.pair(transitions.observation, transitions.action))
        following = inputs.observation(transitions.next_observation)
        if spec.num_categories is None:
            mean, raw_scale = jnp.split(predicted, 2, axis=-1)
            return log_density(following, mean, jax.nn.softplus(raw_scale) + min_scale)
        entries = (following.shape[0], -1, spec.num_categories)
        certain = jnp.where(following.reshape(entries) > 0, 0.0, -jnp.inf)
        return -jnp.sum(categorical.cross_entropy(certain, predicted.reshape(entries)), axis=-1)

    def progress(state: CompressionProgressState, transitions: Transition) -> Array:
        return log_likelihood(state.model, transitions) - log_likelihood(state.older, transitions)

    def init(key: Key) -> CompressionProgressState:
        model = network.init(key, inputs.observation_size + inputs.action_size)
        # Copies, since the runner hands leaves over to the next iteration and must not do so twice.
        copies = [jax.tree.map(jnp.copy, model) for _ in range(2)]
        return CompressionProgressState(
            model=model,
            older=copies[0],
            waiting=() if older == "average" else copies[1],
            optimizer=optimizer.init(model),
            updates=jnp.zeros((), jnp.int32),
        )

    def reward(state: CompressionProgressState, transitions: Transition) -> Array:
        value = progress(state, transitions)
        return jnp.maximum(value, 0) if clip else value

    def aged(state: CompressionProgressState) -> CompressionProgressState:
        """The older copy after an update of the model."""
        if older == "average":
            return state._replace(older=optax.incremental_update(state.model, state.older, rate))
        due = state.updates % lag == 0

        def pick(new: Array, old: Array) -> Array:
            return jnp.where(due, new, old)

        return state._replace(
            older=jax.tree.map(pick, state.waiting, state.older),
            waiting=jax.tree.map(pick, state.model, state.waiting),
        )

    def update(
        state: CompressionProgressState, transitions: Transition, key: Key
    ) -> tuple[CompressionProgressState, Metrics]:
        def loss(model: Any) -> tuple[Array, Array]:
            value = -jnp.mean(log_likelihood(model, transitions))
            return value, value

        model, optimizer_state, value = descend(optimizer, loss, state.model, state.optimizer)
        state = aged(state._replace(model=model, optimizer=optimizer_state, updates=state.updates + 1))
        return state, {"model_loss": value}

    def report(state: CompressionProgressState, transitions: Transition, where: Array | None = None) -> Metrics:
        return {
            "compression_progress": mean_over(progress(state, transitions), where),
            "log_likelihood": mean_over(log_likelihood(state.model, transitions), where),
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
