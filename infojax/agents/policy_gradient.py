r"""What learners on the policy gradient share: policies, advantages, losses, networks and minibatches.

    advantage   δ_t = r_t + γ (1 − terminated_t) V(s'_t) − V(s_t),    A_t = δ_t + γ λ (1 − done_t) A_{t+1}
    surrogate   − E[ min(ρ A, clip(ρ, 1 − ε, 1 + ε) A) ],             ρ = π(a|s) / π_old(a|s)

(Schulman et al., 2016, "High-Dimensional Continuous Control Using Generalized Advantage Estimation", eq. 16; Schulman
et al., 2017, "Proximal Policy Optimization Algorithms", eq. 7). s' is the observation before a reset, so truncation
bootstraps and termination does not, and no trace crosses the end of an episode.

Where the data of a seed is spread over `axis` (`EnvSpec.data_axis`), moments of advantages and of returns are those of
all shards. Shapes: T steps, B environments, N rows of a minibatch, P outputs of the policy, V values, A dimensions of
an action.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from infojax.agents.parts import ActionRange
from infojax.info import categorical, gaussian
from infojax.nets.mlp import Activation, mlp
from infojax.nets.optimizers import lenient
from infojax.nets.statistics import (
    Axis,
    RunningStatistics,
    averaged,
    observe_statistics,
    running_statistics,
    spread,
)
from infojax.types import Array, EnvSpec, Key, Metrics, UserError

SMALL = 1e-8


class PolicyHead(NamedTuple):
    """From the outputs of a network to actions; `extra` are parameters that no observation changes.

    A raw action is an int32 where actions are discrete, else [A], unbounded, in coordinates whose [−1, 1] spans the
    bounds. Its log-probability is that of the raw action, so no clipping enters the gradient. Leading axes are free.
    """

    output_size: int  # P
    init: Callable[[], Array]  # () -> extra: log standard deviations [A], or [0] where actions are discrete
    sample: Callable[[Array, Array, Key], tuple[Array, Array]]  # (outputs, extra, key) -> raw action, its log-prob
    mode: Callable[[Array, Array], Array]  # (outputs, extra) -> raw action
    evaluate: Callable[[Array, Array, Array], tuple[Array, Array]]  # (outputs, extra, raw) -> log-prob, entropy; nats
    to_env: Callable[[Array], Array]  # raw -> what the environment gets
    to_objective: Callable[[Array], Array]  # raw -> what objectives see: int, or clipped into [−1, 1]
    from_env: Callable[[Array], Array]  # what the environment got -> what objectives see


def policy_head(spec: EnvSpec, *, agent: str = "ppo", initial_scale: float = 1.0) -> PolicyHead:
    """The policy that suits the actions: categorical where discrete, else a diagonal Gaussian of one learned scale.

    Raises UserError where actions are neither one integer nor a vector.
    """
    if spec.num_actions is not None:
        return _categorical_head(spec, agent)
    if len(spec.action_shape) != 1:
        raise UserError(
            f"agent {agent} acts with one integer or a vector, but {spec.name or 'this environment'} has actions of "
            f"shape {spec.action_shape}; flatten them in the environment"
        )
    return _gaussian_head(spec, initial_scale)


def _categorical_head(spec: EnvSpec, agent: str) -> PolicyHead:
    if spec.action_shape or spec.num_actions is None:
        raise UserError(
            f"agent {agent} chooses one discrete action at a time, but {spec.name or 'this environment'} has "
            f"{spec.action_shape} of them; number their combinations in the environment"
        )
    num_actions = spec.num_actions

    def log_prob(logits: Array, raw: Array) -> Array:
        """(…) the negated cross entropy from the one-hot action."""
        chosen = jax.nn.one_hot(raw, num_actions, dtype=jnp.float32) > 0
        return -categorical.cross_entropy(jnp.where(chosen, 0.0, -jnp.inf), logits)

    def sample(logits: Array, extra: Array, key: Key) -> tuple[Array, Array]:
        raw = jax.random.categorical(key, logits).astype(jnp.int32)
        return raw, log_prob(logits, raw)

    return PolicyHead(
        output_size=num_actions,
        init=lambda: jnp.zeros((0,), jnp.float32),
        sample=sample,
        mode=lambda logits, extra: jnp.argmax(logits, axis=-1).astype(jnp.int32),
        evaluate=lambda logits, extra, raw: (log_prob(logits, raw), categorical.entropy(logits)),
        to_env=lambda raw: raw,
        to_objective=lambda raw: raw,
        from_env=lambda action: action,
    )


def _gaussian_head(spec: EnvSpec, initial_scale: float) -> PolicyHead:
    (size,) = spec.action_shape
    low, high = jnp.asarray(spec.low, jnp.float32), jnp.asarray(spec.high, jnp.float32)
    action_range = ActionRange((low + high) / 2, (high - low) / 2)

    def log_prob(noise: Array, log_scale: Array) -> Array:
        """(…) of mean + scale · noise: −H, and ½ (1 − ε²) more for each ε of the noise, whose mean is 0."""
        return jnp.sum(0.5 * (1 - jnp.square(noise)), axis=-1) - uncertainty(noise, log_scale)

    def uncertainty(like: Array, log_scale: Array) -> Array:
        """(…) the differential entropy, the same for every row."""
        return spread(gaussian.diagonal_entropy(jnp.exp(log_scale)), like[..., 0])

    def sample(mean: Array, log_scale: Array, key: Key) -> tuple[Array, Array]:
        noise = jax.random.normal(key, mean.shape)
        return mean + spread(jnp.exp(log_scale), mean) * noise, log_prob(noise, log_scale)

    def evaluate(mean: Array, log_scale: Array, raw: Array) -> tuple[Array, Array]:
        noise = (raw - mean) / spread(jnp.exp(log_scale), mean)
        return log_prob(noise, log_scale), uncertainty(noise, log_scale)

    def to_objective(raw: Array) -> Array:
        return jnp.clip(raw, -1.0, 1.0)

    return PolicyHead(
        output_size=size,
        init=lambda: jnp.full((size,), jnp.log(jnp.asarray(initial_scale, jnp.float32))),
        sample=sample,
        mode=lambda mean, log_scale: mean,
        evaluate=evaluate,
        to_env=lambda raw: action_range.to_env(to_objective(raw)),
        to_objective=to_objective,
        from_env=action_range.from_env,
    )


class ReturnScale(NamedTuple):
    """How widely discounted returns spread, by which rewards are divided."""

    running: Array  # [B] the discounted return of now, looking back
    statistics: RunningStatistics


def return_scale(num_envs: int) -> ReturnScale:
    """Nothing seen yet: `scaled` is then the identity."""
    return ReturnScale(jnp.zeros((num_envs,), jnp.float32), running_statistics(()))


def observe_returns(
    scale: ReturnScale, reward: Array, restart: Array, discount: float, axis: Axis = None
) -> ReturnScale:
    """Take in [T, B] rewards by their returns R_t = γ R_{t−1} + r_t, which begin anew behind a step that restarts."""

    def forward(running: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        running = discount * running + step[0]
        return jnp.where(step[1], jnp.zeros_like(running), running), running

    running, returns = jax.lax.scan(forward, scale.running, (reward, restart), unroll=min(16, reward.shape[0]))
    return ReturnScale(running, observe_statistics(scale.statistics, returns.reshape(-1), axis))


def deviation(scale: ReturnScale) -> Array:
    """The standard deviation of returns; 1 where there is none."""
    variance = scale.statistics.deviation / jnp.maximum(scale.statistics.seen, 1)
    return jnp.where(variance > SMALL, jnp.sqrt(jnp.maximum(variance, SMALL)), 1)


def scaled(scale: ReturnScale, reward: Array) -> Array:
    """Rewards over the standard deviation of returns."""
    return reward / jnp.broadcast_to(deviation(scale), reward.shape)


def clipped_by_scale(scale: ReturnScale, reward: Array, clip: float) -> Array:
    """Rewards within ± `clip` standard deviations of returns."""
    bound = jnp.broadcast_to(clip * deviation(scale), reward.shape)
    return jnp.clip(reward, -bound, bound)


class ActorCritic(NamedTuple):
    """Policy and values of one observation's features: parameters are a dict, `extra` the policy head's own."""

    init: Callable[[Key, int], Any]  # (key, input_size) -> parameters
    policy: Callable[[Any, Array], tuple[Array, Array]]  # (parameters, inputs [..., D]) -> outputs [..., P], extra
    value: Callable[[Any, Array], Array]  # (parameters, inputs [..., D]) -> [..., V]
    both: Callable[[Any, Array], tuple[Array, Array, Array]]  # -> outputs, extra, values, by one pass of a shared body


def actor_critic(
    head: PolicyHead, num_values: int, hidden_sizes: tuple[int, ...], activation: Activation, shared: bool
) -> ActorCritic:
    """Networks for the policy and for V values, on one body where `shared`.

    Kernels are orthogonal, of gain √2 in hidden layers, 0.01 at the policy (which begins almost uniform) and 1 at the
    values (Engstrom et al., 2020, "Implementation Matters in Deep Policy Gradients").
    """
    policy_size = head.output_size
    if shared:
        gains = ((policy_size, 0.01), (num_values, 1.0))
        network = mlp(hidden_sizes, policy_size + num_values, activation=activation, output_gains=gains)

        def init(key: Key, input_size: int) -> Any:
            return {"body": network.init(key, input_size), "extra": head.init()}

        def both(parameters: Any, inputs: Array) -> tuple[Array, Array, Array]:
            outputs = network.apply(parameters["body"], inputs)
            return outputs[..., :policy_size], parameters["extra"], outputs[..., policy_size:]

        return ActorCritic(
            init=init,
            policy=lambda parameters, inputs: both(parameters, inputs)[:2],
            value=lambda parameters, inputs: both(parameters, inputs)[2],
            both=both,
        )

    actor = mlp(hidden_sizes, policy_size, activation=activation, output_gains=((policy_size, 0.01),))
    critic = mlp(hidden_sizes, num_values, activation=activation, output_gains=((num_values, 1.0),))

    def init_separate(key: Key, input_size: int) -> Any:
        actor_key, critic_key = jax.random.split(key)
        return {
            "actor": actor.init(actor_key, input_size),
            "critic": critic.init(critic_key, input_size),
            "extra": head.init(),
        }

    def policy(parameters: Any, inputs: Array) -> tuple[Array, Array]:
        return actor.apply(parameters["actor"], inputs), parameters["extra"]

    def value(parameters: Any, inputs: Array) -> Array:
        return critic.apply(parameters["critic"], inputs)

    return ActorCritic(init_separate, policy, value, lambda p, inputs: (*policy(p, inputs), value(p, inputs)))


def generalized_advantages(
    reward: Array, value: Array, next_value: Array, terminated: Array, done: Array, discount: float, trace: float
) -> Array:
    r"""[T, B] advantages A_t = δ_t + γ λ (1 − done_t) A_{t+1}, δ_t = r_t + γ (1 − terminated_t) V(s'_t) − V(s_t).

    `next_value` is that of the observation before a reset; `done` is terminated or truncated. The returns that values
    aim at are A + V. Source: Schulman et al. (2016), eq. 16.
    """
    bootstrap = jnp.where(terminated, jnp.zeros_like(next_value), next_value)
    residual = reward + discount * bootstrap - value
    decay = jnp.where(done, jnp.zeros_like(value), discount * trace)

    def backward(following: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        advantage = step[0] + step[1] * following
        return advantage, advantage

    # Unrolled, because handing on a loop of additions this small costs more than the additions.
    zero = jnp.zeros_like(residual[0])
    return jax.lax.scan(backward, zero, (residual, decay), reverse=True, unroll=min(16, reward.shape[0]))[1]


def standardized(values: Array, where: Array | None = None, axis: Axis = None) -> Array:
    """[N] at mean 0 and standard deviation 1, over the rows of the mask alone; the others become 0."""
    mean = averaged(masked_mean(values, where, axis), axis)
    centred = values - jnp.broadcast_to(mean, values.shape)
    centred = centred if where is None else jnp.where(where, centred, 0)
    scale = jnp.sqrt(averaged(masked_mean(jnp.square(centred), where, axis), axis)) + SMALL
    return centred / jnp.broadcast_to(scale, values.shape)


def masked_mean(values: Array, where: Array | None = None, axis: Axis = None) -> Array:
    """The mean of [N, …] over the rows of the mask [N], 0 where there is none.

    Where the rows are spread over `axis`, what the shards return differs, and its mean over them is that of all rows.
    """
    if where is None:
        return jnp.mean(values)
    mask = jnp.broadcast_to(where.reshape(where.shape + (1,) * (values.ndim - where.ndim)), values.shape)
    least = 1 if axis is None else 1 / jax.lax.axis_size(axis)
    count = averaged(jnp.sum(mask.astype(values.dtype)), axis)
    return jnp.sum(jnp.where(mask, values, 0)) / jnp.maximum(count, least)


def clipped_surrogate(
    log_prob: Array, old_log_prob: Array, advantage: Array, clip: float, where: Array | None = None, axis: Axis = None
) -> tuple[Array, Metrics]:
    r"""The scalar loss −mean min(ρ A, clip(ρ, 1 − ε, 1 + ε) A) of [N] rows, ρ = exp(log π − log π_old).

    Metrics: the largest |ρ − 1|, the share of rows beyond the clip, and (ρ − 1) − log ρ, whose mean is
    KL(π_old ‖ π) in nats. Source: Schulman et al. (2017), eq. 7.
    """
    log_ratio = log_prob - old_log_prob
    ratio = jnp.exp(log_ratio)
    distance = jnp.abs(ratio - 1) if where is None else jnp.where(where, jnp.abs(ratio - 1), 0)
    gain = jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - clip, 1 + clip) * advantage)
    return -masked_mean(gain, where, axis), {
        "ratio_distance": jnp.max(distance),
        "clip_fraction": masked_mean((distance > clip).astype(jnp.float32), where, axis),
        "approximate_kl": masked_mean(ratio - 1 - log_ratio, where, axis),
    }


def value_loss(
    value: Array,
    target: Array,
    where: Array | None = None,
    old_value: Array | None = None,
    clip: float | None = None,
    axis: Axis = None,
) -> Array:
    """Half the mean squared error of [N] or [N, V] values, summed over V.

    With `clip`, the larger of that and the error of the value held within ± clip of what it was, row by row.
    """
    error = jnp.square(value - target)
    if clip is not None and old_value is not None:
        held = old_value + jnp.clip(value - old_value, -clip, clip)
        error = jnp.maximum(error, jnp.square(held - target))
    return 0.5 * (error.shape[1] if error.ndim > 1 else 1) * masked_mean(error, where, axis)


def adam_clipped(
    learning_rate: float, epsilon: float, max_gradient_norm: float | None, axis: Axis = None
) -> optax.GradientTransformation:
    """Adam after the gradient's global norm has been held below a maximum."""
    adam = optax.adam(learning_rate, eps=epsilon)
    if max_gradient_norm is None:
        return lenient(adam, axis)
    return lenient(optax.chain(optax.clip_by_global_norm(max_gradient_norm), adam), axis)


def check_minibatches(num_envs: int, unroll: int, minibatches: int) -> None:
    """Raise UserError where the steps of a rollout do not divide into equal minibatches."""
    rows = num_envs * unroll
    if rows % minibatches:
        raise UserError(
            f"agent.minibatches={minibatches} must divide the {rows} steps of an update (agent.num_envs={num_envs} x "
            f"agent.unroll={unroll}); choose a divisor of {rows}"
        )


def shuffled(key: Key, num_rows: int) -> Array:
    """[num_rows] the indices in random order.

    The index fills the low bits of a random word, so that one sort without a payload does it; words that agree in
    their other bits, which are rare, stay in order.
    """
    low = (num_rows - 1).bit_length()
    if low > 16:
        return jnp.argsort(jax.random.bits(key, (num_rows,)))
    index = jnp.arange(num_rows, dtype=jnp.uint32)
    words = (jax.random.bits(key, (num_rows,)) & jnp.uint32(0xFFFFFFFF >> low << low)) | index
    return (jnp.sort(words) & jnp.uint32((1 << low) - 1)).astype(jnp.int32)


def over_minibatches(
    step: Callable[[Any, Array, Key], tuple[Any, Metrics]],
    carry: Any,
    rows: Array,
    key: Key,
    epochs: int,
    minibatches: int,
) -> tuple[Any, Metrics]:
    """`step(carry, rows [N, W], key)` on every minibatch of every epoch: each row once an epoch, in a new order.

    `rows` [minibatches · N, W] hold all that a step needs, so that an epoch is one gather. Metrics are
    [epochs, minibatches, …].
    """
    num_rows = rows.shape[0]

    def epoch(carry: Any, key: Key) -> tuple[Any, Metrics]:
        order_key, step_key = jax.random.split(key)
        batches = rows[shuffled(order_key, num_rows)].reshape(minibatches, num_rows // minibatches, -1)
        keys = jax.random.split(step_key, minibatches)
        return jax.lax.scan(lambda carry, batch: step(carry, *batch), carry, (batches, keys))

    return jax.lax.scan(epoch, carry, jax.random.split(key, epochs))
