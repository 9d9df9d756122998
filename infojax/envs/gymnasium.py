"""Gymnasium environments on the host: any id with Box or Discrete spaces, in numpy, with same-step autoreset.

When an episode ends in a step, that step resets the environment: its `observation` opens the next episode and its
`final_observation` closes the last one. Batches are plain lists of single environments, not Gymnasium's vector
environments, so that the state of each can be saved and restored bit for bit: what wrappers and environment remember,
the random generators, and for MuJoCo all of MjData. Setting the physics state and calling mj_forward would not be
enough: several environments reward the change of quantities which, after a step, lag behind the physics state.
"""

import difflib
import io
import pickle
import re
import zlib
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from infojax.envs.quiet import quiet
from infojax.types import Count, EnvSpec, HostEnvironment, HostFactory, Timestep, UserError

_INFINITE = 1e6  # bounds beyond this are no bounds; some spaces say 3.4e38
_REACH = 10.0  # half the side of the box where nothing is known
_DESCRIPTION = frozenset(("env", "spec", "_cached_spec", "func_env"))  # other layers, what was registered, functions
_PHYSICS = frozenset(("model", "data", "mujoco_renderer"))  # of MuJoCo; saved in another way or not at all
_PICTURES = frozenset(("viewer", "screen", "surf", "clock", "window", "window_surface", "font"))  # may defy pickle


class _Box(NamedTuple):
    """What the coordinates of a position are called, and the box on which coverage is counted."""

    names: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


_PLANE = _Box(("x", "y"), (-20, -20), (20, 20))
_CART = _Box(("cart", "angle"), (-1, -1), (1, 1))
_ROAD = _Box(("position", "velocity"), (-1.2, -0.07), (0.6, 0.07))
_BODIES = {  # MuJoCo: the first two joint coordinates
    "Ant": _PLANE,
    "HalfCheetah": _Box(("x", "z"), (-20, -1), (20, 1)),
    "Hopper": _Box(("x", "z"), (-20, 0), (20, 2)),
    "Humanoid": _PLANE,
    "HumanoidStandup": _PLANE,
    "InvertedDoublePendulum": _CART,
    "InvertedPendulum": _CART,
    "Pusher": _Box(("shoulder", "lift"), (-2.3, -0.6), (1.8, 1.4)),
    "Reacher": _Box(("shoulder", "elbow"), (-3.2, -3.2), (3.2, 3.2)),
    "Swimmer": _PLANE,
    "Walker2d": _Box(("x", "z"), (-20, 0), (20, 2)),
}
_OBSERVED = {  # others: the first two entries of the observation
    "Acrobot": _Box(("cos", "sin"), (-1, -1), (1, 1)),
    "CartPole": _Box(("position", "velocity"), (-2.4, -4), (2.4, 4)),
    "MountainCar": _ROAD,
    "MountainCarContinuous": _ROAD,
    "Pendulum": _Box(("cos", "sin"), (-1, -1), (1, 1)),
}


def make(*, id: str, episode_length: Count | None = None) -> HostFactory:
    """The environment registered as `id`; without `episode_length` it is truncated as it was registered."""
    env = _load(id, episode_length)
    try:
        spec = _describe(env, id, episode_length)
    finally:
        env.close()
    return HostFactory(spec, lambda num_envs: _batch(spec, [_load(id, episode_length) for _ in range(num_envs)]))


def _batch(spec: EnvSpec, envs: list[Any]) -> HostEnvironment:
    """Some environments of one kind, stepped one after the other."""
    act, see = _action_reader(envs[0].action_space), _observation_reader(envs[0].observation_space)
    locate = _locator(envs[0], spec)
    positions = np.zeros((len(envs), len(spec.position_names)), np.float32)

    def reset(seed: int) -> np.ndarray:
        seeds = np.random.SeedSequence(seed).generate_state(len(envs))
        raw = [env.reset(seed=int(own))[0] for env, own in zip(envs, seeds, strict=True)]
        positions[:] = [locate(env, one) for env, one in zip(envs, raw, strict=True)]
        return np.stack([see(one) for one in raw])

    def step(actions: Any) -> Timestep:
        actions = np.asarray(actions)
        if actions.shape != (len(envs), *spec.action_shape):
            raise UserError(f"actions have shape {actions.shape}; {spec.name} takes {(len(envs), *spec.action_shape)}")
        return _stack([one(index, actions[index]) for index in range(len(envs))])

    def one(index: int, action: np.ndarray) -> Timestep:
        env = envs[index]
        raw, reward, terminated, truncated, _ = env.step(act(action))
        positions[index] = locate(env, raw)
        final, done = see(raw), bool(terminated or truncated)
        observation = see(env.reset()[0]) if done else final
        # As everywhere in infojax, an end that both the task and the clock ask for counts as the task's.
        return _timestep(observation, reward, bool(terminated), bool(truncated) and not terminated, final, done)

    def save() -> bytes:
        return zlib.compress(pickle.dumps((positions, [_memory(env, spec.name) for env in envs])), 1)

    def restore(content: bytes) -> None:
        located, memories = pickle.loads(zlib.decompress(content))
        if len(memories) != len(envs):
            raise UserError(f"the saved batch has {len(memories)} environments, this one {len(envs)}; make them equal")
        positions[:] = located
        for env, memory in zip(envs, memories, strict=True):
            _remember(env, memory)

    def close() -> None:
        for env in envs:
            env.close()

    return HostEnvironment(spec, len(envs), reset, step, positions.copy, save, restore, close)


def _timestep(*fields: Any) -> Timestep:
    return Timestep(*fields)


def _stack(steps: list[Timestep]) -> Timestep:
    """One timestep of a batch from those of its environments."""
    kinds = Timestep(np.float32, np.float32, np.bool_, np.bool_, np.float32, np.bool_)  # type: ignore[arg-type]
    return _timestep(*(np.asarray(field, kind) for field, kind in zip(zip(*steps, strict=True), kinds, strict=True)))


# The description


def _describe(env: Any, id: str, episode_length: int | None) -> EnvSpec:
    """What agents need to know, or a UserError that says what they could not deal with."""
    from gymnasium import spaces

    action, observed = env.action_space, env.observation_space
    if isinstance(action, spaces.Box) and np.issubdtype(action.dtype, np.floating):
        if not (np.abs([action.low, action.high]) < _INFINITE).all():
            raise UserError(
                f"env.id={id} has the action space {action}, whose bounds are infinite; actions need finite bounds, "
                "which gymnasium.wrappers.RescaleAction or a Box of your own gives"
            )
        shape, count = action.shape, None
        low, high = (tuple(float(bound) for bound in np.ravel(bounds)) for bounds in (action.low, action.high))
    elif isinstance(action, spaces.Discrete):
        shape, count, low, high = (), int(action.n), (), ()
    else:
        raise UserError(
            f"env.id={id} has the action space {action}; only Box of floats and Discrete are supported, "
            "so register a version whose actions a wrapper has converted"
        )
    if isinstance(observed, spaces.Discrete):
        observation_shape = (int(observed.n),)
    elif isinstance(observed, spaces.Box):
        observation_shape = observed.shape
    else:
        raise UserError(
            f"env.id={id} has the observation space {observed}; only Box and Discrete are supported, "
            "so register a version wrapped in gymnasium.wrappers.FlattenObservation"
        )
    length = env.spec.max_episode_steps if episode_length is None else episode_length
    if length is None:
        raise UserError(
            f"env.id={id} is registered without a time limit; say after how many steps an episode is truncated, "
            "for example env.episode_length=1000"
        )
    place = _place(env, id)
    return EnvSpec(
        observation_shape=tuple(int(size) for size in observation_shape),
        action_shape=tuple(int(size) for size in shape),
        num_actions=count,
        low=low,
        high=high,
        episode_length=int(length),
        name=f"gymnasium/{id}",
        position_names=place.names,
        position_low=tuple(float(bound) for bound in place.low),
        position_high=tuple(float(bound) for bound in place.high),
    )


def _place(env: Any, id: str) -> _Box:
    """The coordinates of a position, by the environment's name where that is known."""
    from gymnasium import spaces

    name = re.sub(r"^.*[:/]|-v\d+$", "", id)
    if _has_physics(env):
        count = min(2, len(env.unwrapped.data.qpos))
        reach = (2 * _REACH,) * count
        unknown = _Box(tuple(f"joint_{index}" for index in range(count)), tuple(-side for side in reach), reach)
        known = _BODIES.get(name, unknown)
        return known if len(known.names) == count else unknown
    space = env.observation_space
    if isinstance(space, spaces.Discrete):
        return _Box(("state",), (float(space.start),), (float(space.start + max(space.n - 1, 1)),))
    low, high = (np.ravel(np.asarray(bounds, np.float64))[:2] for bounds in (space.low, space.high))
    known = _OBSERVED.get(name)
    if known is not None and len(low) == len(known.names):
        return known
    low = np.where(np.abs(low) < _INFINITE, low, np.where(np.abs(high) < _INFINITE, high - 2 * _REACH, -_REACH))
    high = np.where(np.abs(high) < _INFINITE, high, low + 2 * _REACH)
    high = np.where(high > low, high, low + 1)  # a constant entry; coverage needs a side
    names = tuple(f"observation_{index}" for index in range(len(low)))
    return _Box(names, tuple(low.tolist()), tuple(high.tolist()))


def _has_physics(env: Any) -> bool:
    """Whether MuJoCo moves it."""
    return type(getattr(env.unwrapped, "data", None)).__module__.startswith("mujoco")


def _locator(env: Any, spec: EnvSpec) -> Callable[[Any, Any], np.ndarray]:
    """(environment, its last raw observation) -> [P]."""
    count = len(spec.position_names)
    if _has_physics(env):
        return lambda env, _: np.asarray(env.unwrapped.data.qpos[:count], np.float32)
    return lambda _, raw: np.ravel(np.asarray(raw, np.float32))[:count]


def _action_reader(space: Any) -> Callable[[np.ndarray], Any]:
    """From an agent's action to one of the space."""
    from gymnasium import spaces

    if isinstance(space, spaces.Discrete):
        return lambda action: int(action) + int(space.start)
    return lambda action: np.clip(action.astype(space.dtype), space.low, space.high)  # rounding may overstep a bound


def _observation_reader(space: Any) -> Callable[[Any], np.ndarray]:
    """From an observation of the space to float32; a copy, since environments may write into theirs."""
    from gymnasium import spaces

    if isinstance(space, spaces.Discrete):
        numbers = np.arange(int(space.n)) + int(space.start)
        return lambda raw: (numbers == int(raw)).astype(np.float32)
    return lambda raw: np.array(raw, np.float32)


# Saving and restoring


def _layers(env: Any) -> Iterator[Any]:
    """The wrappers from the outermost, then the environment itself."""
    while env is not env.unwrapped:
        yield env
        env = env.env
    yield env


def _memory(env: Any, name: str) -> tuple[list[bytes], bytes | None]:
    """All that the layers of an environment remember, and its physics."""
    layers = [_pickle(_state(layer, name)) for layer in _layers(env)]
    physics = _pickle(env.unwrapped.data) if _has_physics(env) else None
    assert None not in layers
    return [layer for layer in layers if layer is not None], physics


def _remember(env: Any, memory: tuple[list[bytes], bytes | None]) -> None:
    """The inverse of `_memory`, in place: renderers and wrappers hold on to the physics they know."""
    layers, physics = memory
    for layer, content in zip(_layers(env), layers, strict=True):
        layer.__dict__.update(pickle.loads(content))
    if physics is not None:
        import mujoco

        bare = env.unwrapped
        mujoco.mj_copyData(bare.data, bare.model, pickle.loads(physics))  # type: ignore[attr-defined]


def _state(layer: Any, name: str) -> dict[str, Any]:
    """The attributes that change; functions and modules that cannot be pickled are taken for fixed ones."""
    kept = {}
    left_out = _DESCRIPTION | _PHYSICS if layer is layer.unwrapped and _has_physics(layer) else _DESCRIPTION
    for key, value in vars(layer).items():
        if key in left_out:
            continue
        if _pickle(value) is not None:
            kept[key] = value
        elif not (key in _PICTURES or callable(value) or isinstance(value, ModuleType)):
            raise UserError(
                f"{name} cannot be saved: `{key}` of {type(layer).__name__} is a {type(value).__name__}, which pickle "
                "does not take; define __getstate__ there or choose another environment"
            )
    return kept


def _pickle(value: Any) -> bytes | None:
    """None where pickle does not take it; what it raises then depends on the type."""
    buffer = io.BytesIO()
    try:
        pickle.dump(value, buffer, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception:
        return None
    return buffer.getvalue()


# Loading


def _load(id: str, episode_length: int | None) -> Any:
    """The environment as it is registered, or a UserError that says how to come by it."""
    import gymnasium

    limit = {} if episode_length is None else {"max_episode_steps": int(episode_length)}
    try:
        with quiet():
            return gymnasium.make(id, disable_env_checker=True, **limit)
    except gymnasium.error.DependencyNotInstalled as error:
        raise UserError(f"env.id={id} needs a package that is not installed: {error}") from error
    except (gymnasium.error.UnregisteredEnv, gymnasium.error.DeprecatedEnv) as error:
        raise UserError(f"env.id={id} is not registered with Gymnasium; {_nearest(id)}") from error
    except gymnasium.error.Error as error:
        raise UserError(f"env.id={id} cannot be made: {error}; {_nearest(id)}") from error
    except ImportError as error:
        raise UserError(
            f"env.id={id} needs something that cannot be imported: {error} Install it, or choose another id"
        ) from error


def _nearest(id: str) -> str:
    """A sentence on the ids that look like this one."""
    from gymnasium import registry

    near = difflib.get_close_matches(id, registry, n=3, cutoff=0.5)
    advice = 'an id of a module of yours is written "module:Name-v0"'
    return f"did you mean {' or '.join(near)}?" if near else advice
