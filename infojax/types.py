"""The protocols of infojax: what an environment, an objective and an agent are.

Every algorithm is a `make(...)` function that returns one of the NamedTuples of pure functions below. Shapes: `T` steps
of a rollout, `B` parallel environments, `N` transitions in a batch, `C` the size of a context, `K` finite skills.
States are pytrees passed in and returned; randomness is a key passed in.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array
Key = jax.Array
Metrics = dict[str, Array]


class UserError(ValueError):
    """Input that the user can mend; its message names the value, what was expected and what to do."""


class Range(NamedTuple):
    """Bounds of a number, put into a signature with `Annotated`; `open_*` excludes the bound itself."""

    low: float
    high: float
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, int | float):
            return False
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below

    def __str__(self) -> str:
        return f"{'(' if self.open_low else '['}{self.low:g}, {self.high:g}{')' if self.open_high else ']'}"


_INFINITY = float("inf")
Count = Annotated[int, Range(1, _INFINITY, open_high=True)]
NonNegativeInt = Annotated[int, Range(0, _INFINITY, open_high=True)]
Positive = Annotated[float, Range(0, _INFINITY, open_low=True, open_high=True)]
NonNegative = Annotated[float, Range(0, _INFINITY, open_high=True)]
Finite = Annotated[float, Range(-_INFINITY, _INFINITY, open_low=True, open_high=True)]
UnitInterval = Annotated[float, Range(0, 1)]
Rate = Annotated[float, Range(0, 1, open_low=True)]


class EnvSpec(NamedTuple):
    """What an agent needs to know of an environment, all of it static."""

    observation_shape: tuple[int, ...]
    action_shape: tuple[int, ...]  # () where actions are discrete
    num_actions: int | None  # None where actions are continuous
    low: tuple[float, ...]  # bounds of each action dimension; () where discrete
    high: tuple[float, ...]
    episode_length: int  # the runner truncates here
    data_axis: tuple[str, ...] | None = None  # axes over which the data of one seed is spread; None: in one piece
    name: str = ""
    position_names: tuple[str, ...] = ()  # the coordinates of `position`, for traces and coverage
    position_low: tuple[float, ...] = ()  # the box on which coverage is counted
    position_high: tuple[float, ...] = ()
    shortest_episode: int = 1  # episodes hardly ever end earlier; sizes the pool of initial states
    num_categories: int | None = None  # observations are symbols 0 … n − 1, as floats; None if numbers
    cells: tuple[int, ...] = ()  # the grid of coverage: cells along the first coordinates; () is 10 along each of two
    data_shards: int = 1  # into how many equal parts the data of one seed is spread, along `data_axis`


def shard_index(spec: EnvSpec) -> Array:
    """Which of the shards of a seed's data this is, 0 where there is one."""
    return jnp.zeros((), jnp.int32) if spec.data_axis is None else jax.lax.axis_index(spec.data_axis)


def shard_key(spec: EnvSpec, key: Key) -> Key:
    """A key of this shard's own, from one that all have; the key itself where there is one shard."""
    return key if spec.data_axis is None else jax.random.fold_in(key, shard_index(spec))


class Timestep(NamedTuple):
    """One moment of an environment; `observation` is after a reset, `final_observation` before it."""

    observation: Array
    reward: Array
    terminated: Array
    truncated: Array
    final_observation: Array
    first: Array  # this observation opens an episode


class Rollout(NamedTuple):
    """[T, B, …] of consecutive steps; `next_observation` is the one before a reset."""

    observation: Array
    first: Array
    action: Array
    reward: Array
    terminated: Array
    truncated: Array
    next_observation: Array
    extras: dict[str, Array]  # what `act` gave out; `context` is always among it


class Transition(NamedTuple):
    """[N, …] transitions as objectives and replay see them."""

    observation: Array
    context: Array
    action: Array
    reward: Array
    next_observation: Array
    next_context: Array
    terminated: Array
    truncated: Array


def keep_context(state: Any, context: Array, observation: Array) -> Array:
    """The identity `advance`: the context of an episode stays what it was when the episode began."""
    return context


class Objective(NamedTuple):
    """An intrinsic reward: "optax for rewards". Its models see observations, never the context of the learner."""

    context_size: int
    contexts: Array | None  # [K, C] where the contexts are finitely many
    init: Callable[[Key], Any]
    context: Callable[[Any, Key], Array]  # (state, key) -> [C]; drawn when an episode begins
    advance: Callable[[Any, Array, Array], Array]  # (state, context, observation) -> [C]; `keep_context` by default
    reward: Callable[[Any, Transition], Array]  # (state, [N, …]) -> [N], in nats; may depend on the whole batch
    observe: Callable[[Any, Transition], Any]  # each fresh transition exactly once
    update: Callable[[Any, Transition, Key], tuple[Any, Metrics]]  # one gradient step, repeatable on replay
    report: Callable[..., Metrics]  # (state, transitions, where=None) -> metrics; `where` [N] marks what counts


class Agent(NamedTuple):
    """A learner. `begin` and `act` are for ONE environment; the runner maps them over environments."""

    unroll: int  # T
    num_envs: int  # B
    contexts: Array | None  # [K, C] of the objective, so that evaluation can visit each
    init: Callable[[Key], Any]
    begin: Callable[[Any, Key], Any]  # (state, key) -> carry, a NamedTuple with a field `context`
    act: Callable[
        ..., tuple[Any, Array, dict[str, Array]]
    ]  # (state, carry, timestep, key, explore) -> carry, action, extras
    update: Callable[[Any, Rollout, Key], tuple[Any, Metrics]]
    report: Callable[[Any, Rollout], Metrics]  # of an evaluation: one episode per column of the rollout
    adopt: Callable[[Any, Any], Any] | None = None  # (state, learned) -> state with what another run has learned


def nothing_measured(env_state: Any) -> Metrics:
    """No measures besides the position."""
    return {}


class Environment(NamedTuple):
    """One environment on the device, raw: the runner resets, truncates and maps over environments."""

    spec: EnvSpec
    reset: Callable[[Key], tuple[Any, Array]]  # -> env_state, observation
    step: Callable[[Any, Array, Key], tuple[Any, Array, Array, Array]]  # -> env_state, observation, reward, terminated
    position: Callable[[Any], Array]  # env_state -> [P], where the body is
    measures: Callable[[Any], Metrics] = nothing_measured  # env_state -> float32 scalars that users of it report


class HostEnvironment(NamedTuple):
    """A batch of environments on the host, in numpy, with same-step autoreset."""

    spec: EnvSpec
    num_envs: int
    reset: Callable[[int], Any]  # seed -> observations
    step: Callable[
        [Any], Timestep
    ]  # actions -> numpy Timestep; `observation` after, `final_observation` before a reset
    position: Callable[[], Any]  # -> [B, P] of the state before the reset that the last step made
    save: Callable[[], bytes]
    restore: Callable[[bytes], None]
    close: Callable[[], None]


def episode_mask(terminated: Array, truncated: Array) -> Array:
    """Which steps of [T, B] evaluation columns belong to the first episode of their column."""
    done = jnp.logical_or(terminated, truncated).astype(jnp.int32)
    return (jnp.cumsum(done, axis=0) - done) == 0


def second_half(mask: Array) -> Array:
    """The later half of each column's episode: steps t >= length / 2 within `mask` [T, B]."""
    length = jnp.sum(mask.astype(jnp.int32), axis=0)
    return mask & (2 * jnp.arange(mask.shape[0])[:, None] >= length[None, :])


class HostFactory(NamedTuple):
    """What `make` of a host environment returns: the spec at once, batches of any size on request."""

    spec: EnvSpec
    create: Callable[[int], HostEnvironment]  # num_envs -> a batch


class Pairs(NamedTuple):
    """Where samples (x [n, d_x], y [n, d_y]) come from, in numpy."""

    name: str
    dim_x: int
    dim_y: int
    truth: float | None  # the mutual information in nats, where it is known
    available: int | None  # how many samples there are; None where as many as one likes
    sample: Callable[[int, int], tuple[Any, Any]]  # (seed, num_samples) -> x, y


class Estimate(NamedTuple):
    """What an estimator says, and whether to believe it."""

    value: Array  # in nats, not clipped at 0
    interval: Array  # [2], 95 %, of the sampling error alone
    trusted: Array  # bool: every check passed
    diagnostics: dict[str, Array]  # `check/NAME`: how much of its allowance a check has used up; above 1 it failed


class Estimator(NamedTuple):
    """An estimator of mutual information, fitted to samples; pure, so seeds are its `vmap`."""

    fit: Callable[[Key, Array, Array], Estimate]  # (key, x [n, d_x], y [n, d_y]); not the key that drew the samples
    why: Callable[[Estimate], str]  # on the host: in words, why an estimate is not trusted; empty where it is
    entropy: Callable[[Key, Array], Estimate] | None = None  # (key, x [n, d]) where it is defined
    bound: str = ""  # "lower" or "upper" where the value bounds the truth, else empty


# --- test-time adaptation ----------------------------------------------------------------------------------------


class ImageSet(NamedTuple):
    """Labelled images, in numpy."""

    images: Any  # uint8 [N, H, W, C]
    labels: Any  # int32 [N]; a class that the model does not know has a label of num_classes or above
    groups: Any = None  # int32 [N], where worst groups are of interest


class ImageData(NamedTuple):
    """Where images come from: clean ones to train on, clean and shifted ones to adapt to; read when asked for."""

    name: str
    num_classes: int
    image_shape: tuple[int, int, int]  # H, W, C
    mean: tuple[float, ...]  # of the channels in [0, 1]: what a model trained on it normalises by
    deviation: tuple[float, ...]
    train: Callable[[], ImageSet]
    test: Callable[[], ImageSet]
    shifts: tuple[str, ...]  # names that `shifted` takes, such as corruptions
    shifted: Callable[[str, int, int], ImageSet]  # (shift, severity 1 to 5, seed) -> the test images under that shift
    unknown: Callable[[], ImageSet] | None = None  # images of classes that no model here knows, for open-set streams
    num_groups: int = 0
    unknown_shifted: Callable[[str, int, int], ImageSet] | None = None  # those, under a shift, as `shifted` gives them


class Stream(NamedTuple):
    """Batches of images in the order in which a model meets them, in numpy: `images[order[t]]` is batch t of T."""

    images: Any  # uint8 [M, H, W, C]
    labels: Any  # int32 [M]; num_classes and above where the class is unknown to the model
    groups: Any  # int32 [M], or None
    domain: Any  # int32 [M], which of `domains` the image is of: what is met
    order: Any  # int32 [T, B]
    mask: Any  # bool [T, B]; False where a short batch is filled up, by image 0
    reset: Any  # bool [T]; the source model is restored before this batch; True for the first
    phase: Any  # int32 [T], which of `phases` the batch belongs to: when it is met
    domains: tuple[str, ...]  # such as gaussian_noise/5 or clean
    phases: tuple[str, ...]  # stretches of the stream, such as gaussian_noise/5, clean_after_gaussian_noise/5, mixed


class StreamPlan(NamedTuple):
    """What `make` of a stream returns: a stream for every seed, all of one layout."""

    name: str
    batch_size: int
    draw: Callable[[int], Stream]  # seed -> the stream


def segments(stream: Stream) -> list[slice]:
    """The pieces of a stream that begin with a reset: slices of its T batches, none of which knows of another."""
    length = len(stream.reset)
    starts = [batch for batch in range(length) if batch == 0 or stream.reset[batch]]
    return [slice(start, stop) for start, stop in zip(starts, [*starts[1:], length], strict=True)]


def same_length(pieces: Sequence[slice]) -> bool:
    """Whether the pieces are equally long, so that one program can be mapped over them as lanes."""
    return len({piece.stop - piece.start for piece in pieces}) == 1


Statistics = Any
"""By what a batch normalisation normalises: "batch", "source" (the running ones), a weight w of (1 − w) source + w
batch, a mapping path -> (mean, variance), or a function (path, inputs [B, …, C], source, batch) -> (mean, variance),
where source and batch are pairs (mean, variance) and what it returns broadcasts to the inputs."""


class Model(NamedTuple):
    """A classifier of images as adaptation sees it; the normalisation of its inputs is inside."""

    apply: Callable[..., tuple[Array, Array]]  # (variables, images, statistics="batch", mask=None) -> logits, features
    measure: Callable[..., dict[str, tuple[Array, Array]]]  # the same -> each batch normalisation's batch statistics
    classify: Callable[[Any, Array], Array]  # (variables, features) -> logits: the head alone
    variables: Any  # the source model: "params", and "batch_stats" where it has batch normalisation
    num_classes: int
    image_shape: tuple[int, int, int]
    norms: tuple[str, ...]  # paths of all normalisation layers
    batch_norms: tuple[str, ...]  # those with running statistics; without any, rows do not depend on one another
    head: str  # path of the last layer


class Architecture(NamedTuple):
    """What `make` of a model returns: a network for any number of classes and any images.

    `mean` and `deviation` of the channels are those of the data, used where neither the configuration nor the imported
    weights say others.
    """

    init: Callable[[Key, int, tuple[int, int, int]], Any]  # (key, num_classes, image_shape) -> random variables
    bundle: Callable[..., Model]  # (variables, num_classes, image_shape, mean, deviation) -> the model of them
    imported: Callable[..., Model] | None = None  # (num_classes, image_shape, mean, deviation); None without weights


class Adapted(NamedTuple):
    """What a method makes of one batch."""

    logits: Array  # [B, C]
    selected: Array  # [B] bool, the rows that were learned from
    info: Metrics  # always forward_rows, backward_rows, updated (0 or 1), invalid (rows that are not finite)


class Method(NamedTuple):
    """A method of test-time adaptation. A stream is a scan of `adapt`, resetting is going on with an old state.

    `adapt(state, images, key, mask=None, destroyed=None, allowed=None, selection=None) -> (state, Adapted)`: images
    [B, H, W, C] in [0, 1] or uint8; `mask` [B] marks real rows, the others enter nothing; `destroyed` are the images
    that DeYO compares with, made by itself otherwise; rows outside of `allowed` are predicted and normalised with, not
    learned from; `selection` (2, B) replays a recorded selection in place of the method's own filters.
    """

    init: Callable[..., Any]  # (variables, source=None) -> state; source: clean images [batches, B, H, W, C]
    adapt: Callable[..., tuple[Any, Adapted]]
    scores: str = "before"  # whether `logits` are of before or after the step of their batch
