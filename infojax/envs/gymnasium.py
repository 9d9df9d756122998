"""Gymnasium environments on the host: any registered id with Box or Discrete spaces, in numpy, with same-step autoreset.

Batches step single environments one after the other, because those can be saved and continued bit for bit, which the
vector environments of Gymnasium cannot. The time limit and termination are Gymnasium's own and stay apart.
"""

import difflib
import pickle
from typing import Any

import numpy as np

from infojax.envs.quiet import quiet
from infojax.types import Count, EnvSpec, HostEnvironment, HostFactory, Timestep, UserError

# Names of the first observation entries where Gymnasium documents them; used for traces only.
_NAMES = {
    "Acrobot": ("cos of angle 1", "sin of angle 1"),
    "CartPole": ("cart position", "cart velocity"),
    "MountainCar": ("position", "velocity"),
    "Pendulum": ("cos of angle", "sin of angle"),
}
_PLANAR = ("HalfCheetah", "Hopper", "Walker2d")
_WIDE = 20.0  # half the width of the box for coordinates without bounds


def make(*, id: str, episode_length: Count | None = None) -> HostFactory:
    """Batches of the Gymnasium environment `id`; `episode_length` replaces its own time limit."""
    first = _single(id, episode_length)
    spec = _spec(first, id, episode_length)
    first.close()
    return HostFactory(spec, lambda num_envs: _batch(spec, [_single(id, episode_length) for _ in range(num_envs)]))


def _single(id: str, episode_length: int | None) -> Any:
    """One environment, with a clear error where there is none of that name or a part of it is not installed."""
    import gymnasium

    try:
        with quiet():
            return gymnasium.make(id, max_episode_steps=episode_length, disable_env_checker=True)
    except gymnasium.error.DependencyNotInstalled as error:
        raise UserError(f"env.id={id} needs more than is installed: {error}") from error
    except (gymnasium.error.Error, ModuleNotFoundError) as error:
        near = difflib.get_close_matches(id, gymnasium.registry, n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(near)}?" if near else "gymnasium.registry lists what there is"
        raise UserError(f"env.id={id} is not a Gymnasium environment ({str(error).splitlines()[0]}); {hint}") from error


def _spec(env: Any, id: str, episode_length: int | None) -> EnvSpec:
    from gymnasium.spaces import Box, Discrete

    length = episode_length or env.spec.max_episode_steps
    if length is None:
        raise UserError(f"env.id={id} has no time limit of its own; give env.episode_length=STEPS")
    observed, acted = env.observation_space, env.action_space
    if not isinstance(observed, Box | Discrete):
        raise UserError(f"env.id={id} observes {observed}; infojax takes Box and Discrete observations")
    shape = (int(observed.n),) if isinstance(observed, Discrete) else tuple(observed.shape)
    if isinstance(acted, Discrete):
        action_shape, num_actions, low, high = (), int(acted.n), (), ()
    elif isinstance(acted, Box):
        if not (np.isfinite(acted.low).all() and np.isfinite(acted.high).all()):
            raise UserError(f"env.id={id} has actions without bounds, {acted}; wrap it so that they are bounded")
        action_shape, num_actions = tuple(acted.shape), None
        low, high = (tuple(float(bound) for bound in bounds.ravel()) for bounds in (acted.low, acted.high))
    else:
        raise UserError(f"env.id={id} acts by {acted}; infojax takes Box and Discrete actions")
    names, lows, highs = _place(env, id, shape)
    return EnvSpec(
        observation_shape=shape,
        action_shape=action_shape,
        num_actions=num_actions,
        low=low,
        high=high,
        episode_length=int(length),
        name=f"gymnasium/{id}",
        position_names=names,
        position_low=lows,
        position_high=highs,
    )


def _is_mujoco(env: Any) -> bool:
    return hasattr(env.unwrapped, "model") and hasattr(env.unwrapped, "data")


def _place(env: Any, id: str, shape: tuple[int, ...]) -> tuple[tuple[str, ...], tuple[float, ...], tuple[float, ...]]:
    """Names and bounds of the coordinates that say where a body is."""
    if _is_mujoco(env):
        count = min(2, len(env.unwrapped.data.qpos))
        names = ("x", "z") if id.startswith(_PLANAR) else ("x", "y")
        return names[:count], (-_WIDE,) * count, (_WIDE,) * count
    if len(shape) != 1:
        return (), (), ()
    count = min(2, shape[0])
    known = next((names for name, names in _NAMES.items() if id.startswith(name)), ("observation 0", "observation 1"))
    space = env.observation_space
    low, high = (
        [float(bound) for bound in np.asarray(getattr(space, side, np.full(shape, fallback))).ravel()[:count]]
        for side, fallback in (("low", 0.0), ("high", 1.0))
    )
    bounded = [abs(bound) < 1e6 for bound in (*low, *high)]
    lows = tuple(low[i] if bounded[i] else -_WIDE for i in range(count))
    highs = tuple(high[i] if bounded[count + i] else _WIDE for i in range(count))
    return known[:count], lows, highs


def _batch(spec: EnvSpec, envs: list[Any]) -> HostEnvironment:
    """A batch that steps its environments in turn."""
    mujoco = _is_mujoco(envs[0])
    discrete = spec.num_actions is not None
    one_hot = not hasattr(envs[0].observation_space, "low")
    places = [np.zeros((len(envs), len(spec.position_names)), np.float32)]

    def seen(observation: Any) -> np.ndarray:
        if one_hot:
            return np.eye(spec.observation_shape[0], dtype=np.float32)[int(observation)]
        return np.array(observation, np.float32)

    def place(env: Any, observation: np.ndarray) -> np.ndarray:
        count = len(spec.position_names)
        return np.array(env.unwrapped.data.qpos[:count] if mujoco else observation.ravel()[:count], np.float32)

    def reset(seed: int) -> np.ndarray:
        seeds = np.random.SeedSequence(seed).generate_state(len(envs))
        return np.stack([seen(env.reset(seed=int(one))[0]) for env, one in zip(envs, seeds, strict=True)])

    def step(actions: Any) -> Timestep:
        count = len(envs)
        after, final = (np.zeros((count, *spec.observation_shape), np.float32) for _ in range(2))
        reward = np.zeros((count,), np.float32)
        terminated, truncated = np.zeros((count,), bool), np.zeros((count,), bool)
        positions = np.zeros_like(places[0])
        for index, env in enumerate(envs):
            action = int(actions[index]) if discrete else np.asarray(actions[index])
            observation, gain, ended, cut, _ = env.step(action)
            final[index] = after[index] = seen(observation)
            # An episode that terminates in its last step has terminated; there is nothing to bootstrap from.
            reward[index], terminated[index], truncated[index] = gain, ended, cut and not ended
            positions[index] = place(env, final[index])
            if ended or cut:
                after[index] = seen(env.reset()[0])
        places[0] = positions
        arrays: Any = (after, reward, terminated, truncated, final, terminated | truncated)
        return Timestep(*arrays)

    def restore(blob: bytes) -> None:
        for env, state in zip(envs, pickle.loads(blob), strict=True):
            _restore(env, state, mujoco)

    def close() -> None:
        for env in envs:
            env.close()

    return HostEnvironment(
        spec=spec,
        num_envs=len(envs),
        reset=reset,
        step=step,
        position=lambda: places[0],
        save=lambda: pickle.dumps([_save(env, mujoco) for env in envs]),
        restore=restore,
        close=close,
    )


def _layers(env: Any) -> list[Any]:
    """The wrappers from the outside in, then the environment itself."""
    layers = [env]
    while layers[-1] is not env.unwrapped:
        layers.append(layers[-1].env)
    return layers


def _simple(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_simple(entry) for entry in value)
    return value is None or isinstance(value, bool | int | float | str | np.ndarray | np.generic)


def _save(env: Any, mujoco: bool) -> dict[str, Any]:
    """The numbers that every layer holds, the random generator, and the physics."""
    layers = [{name: value for name, value in vars(layer).items() if _simple(value)} for layer in _layers(env)]
    state: dict[str, Any] = {"layers": layers, "random": env.unwrapped.np_random.bit_generator.state}
    if mujoco:
        # All of it: some observations and rewards read derived quantities that lag the physical state.
        state["physics"] = pickle.dumps(env.unwrapped.data)
    return state


def _restore(env: Any, state: dict[str, Any], mujoco: bool) -> None:
    env.reset(seed=0)  # a fresh environment must have begun before its layers accept a step
    for layer, values in zip(_layers(env), state["layers"], strict=True):
        for name, value in values.items():
            setattr(layer, name, value)
    env.unwrapped.np_random.bit_generator.state = state["random"]
    if mujoco:
        import mujoco as engine

        engine.mj_copyData(env.unwrapped.data, env.unwrapped.model, pickle.loads(state["physics"]))
