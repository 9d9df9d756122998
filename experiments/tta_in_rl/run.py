"""Test-time adaptation inside reinforcement learning: Tent, EATA and DeYO adapt a policy whose sensors have shifted.

    python experiments/tta_in_rl/run.py

PPO learns CartPole with clean sensors. Its policy then acts in 64 environments side by side, through sensors that are
noisy, drop entries or have lost their calibration, with no reward to learn from, and the methods of `infojax.tta`
adapt it online, one step of theirs for each step of the environments, whose observations are their batch. What adapts
are a scale and a shift of each sensor, in the normalisation of observations that PPO has anyway. Settings are chosen on
policies and streams of other seeds than those reported. The table and the pictures are written beside this file.
"""

import argparse
import functools
import itertools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen
from matplotlib.figure import Figure

from infojax.envs import cartpole
from infojax.info import categorical
from infojax.nets.bundle import bundle
from infojax.run import drawing, training
from infojax.run.directory import limit_cpu_threads, origin, use_compilation_cache
from infojax.tta import deyo, eata, ema_norm, norm, source, tent
from infojax.types import Adapted, Array, Environment, Key, Method, Model, Timestep

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import studies  # noqa: E402  the folder above is on the path now

WORLD, STEPS, TUNING_SEED, REPORTED_SEED = "cartpole/v1", 204_800, 100, 0
WORDS = (
    "agent=ppo",
    f"env={WORLD}",
    "agent.normalize_observations=true",
    f"agent.anneal_steps={STEPS}",
    f"total_steps={STEPS}",
    f"log.every={STEPS // 10}",
    f"evaluation.every={STEPS}",
    f"checkpoint.every={STEPS}",
)
BATCH = 64
BEFORE, UNDER, TUNING_UNDER = 500, 1000, 500  # steps of a stream before the shift and under it
SOURCE_BATCHES = 32
EPSILON = 1e-8  # of the normalisation; PPO's own has none


class Shift(NamedTuple):
    """What happens between the world and the policy; deviations and gains are of each sensor."""

    noise: Any  # standard deviations of Gaussian noise, in those of the sensor on clean streams
    dropped: Any  # probability that an entry reads 0, in every step and for each sensor anew
    gain: Any  # [D], by which the sensors are multiplied


def miscalibrated(by: float) -> Any:
    """Gains of CartPole's sensors: positions read too large and velocities too small."""
    return np.float32([by, 1 / by, by, 1 / by])


EXACT = np.ones(4, np.float32)
SHIFTS: dict[str, Shift] = {
    "none": Shift(0.0, 0.0, EXACT),
    "noise 4": Shift(4.0, 0.0, EXACT),
    "noise 8": Shift(8.0, 0.0, EXACT),
    "dropped 25 %": Shift(0.0, 0.25, EXACT),
    "dropped 50 %": Shift(0.0, 0.5, EXACT),
    "rescaled by 2": Shift(0.0, 0.0, miscalibrated(2)),
    "rescaled by 4": Shift(0.0, 0.0, miscalibrated(4)),
}
TUNING_SHIFTS = ("noise 8", "dropped 50 %", "rescaled by 4")


class Entry(NamedTuple):
    """A method, and the settings among which one is chosen on the seeds for tuning."""

    make: Callable[..., Method]  # (model, one of the settings)
    batch_statistics: bool  # whether normalisation is by the batch at hand; else by the statistics of the source
    grid: Mapping[str, Sequence[float]]
    settings_of: str = ""  # the method whose chosen settings it takes, instead of a choice of its own


def _source(model: Model, settings: Mapping[str, Any]) -> Method:
    return source.make(model)


def _norm(model: Model, settings: Mapping[str, Any]) -> Method:
    return norm.make(model)


def _ema_norm(model: Model, settings: Mapping[str, Any]) -> Method:
    return ema_norm.make(model, rate=settings["rate"])


def _tent(model: Model, settings: Mapping[str, Any]) -> Method:
    return tent.make(model, learning_rate=settings["learning_rate"])


def _eata(model: Model, settings: Mapping[str, Any]) -> Method:
    return eata.make(model, **settings, compaction="none")


def _deyo(model: Model, settings: Mapping[str, Any]) -> Method:
    # leave_out of the default names the last blocks of image models; here there is one normalisation.
    return deyo.make(model, **settings, leave_out=(), compaction="none")


RATES = (1e-4, 1e-3, 1e-2)
UNADAPTED = "unadapted"
METHODS: dict[str, Entry] = {
    UNADAPTED: Entry(_source, False, {}),
    "Norm": Entry(_norm, True, {}),
    "running Norm": Entry(_ema_norm, True, {"rate": (0.001, 0.01, 0.1)}),
    "Tent": Entry(_tent, False, {"learning_rate": RATES}),
    "EATA": Entry(_eata, False, {"learning_rate": RATES, "redundancy": (0.4, 0.8)}),
    "DeYO": Entry(_deyo, False, {"learning_rate": RATES, "plpd_threshold": (0.2,)}),
    "Tent, batch statistics": Entry(_tent, True, {}, settings_of="Tent"),
    "EATA, batch statistics": Entry(_eata, True, {}, settings_of="EATA"),
    "DeYO, batch statistics": Entry(_deyo, True, {}, settings_of="DeYO"),
}


# --- the policy as a model that adapts -----------------------------------------------------------------------------


class Policy(linen.Module):
    """PPO's policy: sensors normalised, clipped as PPO clips them, and its layers."""

    hidden_sizes: tuple[int, ...]
    num_actions: int

    @linen.compact
    def __call__(self, observations: Array) -> Array:
        inputs = linen.BatchNorm(use_running_average=True, epsilon=EPSILON, name="sensors")(observations)
        hidden: Any = jnp.clip(inputs.reshape(len(inputs), -1), -10, 10)
        for index, size in enumerate(self.hidden_sizes):
            hidden = jnp.tanh(linen.Dense(size, name=f"layer_{index}")(hidden))
        return linen.Dense(self.num_actions, name="output")(hidden)


def variables_of(state: Any) -> Any:
    """What PPO has learned, as the variables of `Policy`: its running statistics, a scale of 1 and a shift of 0."""
    actor, seen = state.parameters["actor"], state.statistics
    mean, variance = seen.mean, seen.deviation / seen.seen
    layers = {name.removeprefix("member_0_"): layer for name, layer in actor.items()}
    sensors = {"scale": jnp.ones_like(mean), "bias": jnp.zeros_like(mean)}
    return {"params": {**layers, "sensors": sensors}, "batch_stats": {"sensors": {"mean": mean, "var": variance}}}


def recentred(variables: Any, observations: Array) -> Any:
    """The same function, with the statistics of clean observations [N, D] for the source's.

    PPO's own are those of all that it saw while it learned. The scale and the shift make up for the difference.
    """
    old, affine = variables["batch_stats"]["sensors"], variables["params"]["sensors"]
    mean, variance = jnp.mean(observations, axis=0), jnp.var(observations, axis=0)
    ratio = affine["scale"] * jax.lax.rsqrt(old["var"] + EPSILON)
    sensors = {"scale": ratio * jnp.sqrt(variance + EPSILON), "bias": affine["bias"] + ratio * (mean - old["mean"])}
    params = {**variables["params"], "sensors": sensors}
    return {"params": params, "batch_stats": {"sensors": {"mean": mean, "var": variance}}}


def model_of(variables: Any, hidden_sizes: tuple[int, ...], env: Environment, batch_statistics: bool) -> Model:
    """The policy as a classifier of observations into actions, [B, 1, 1, D] as an image of one pixel.

    Without `batch_statistics` the normalisation is by the statistics of the source whatever a method asks for, and no
    row depends on another: what a policy that acts alone can do.
    """
    actions, size = env.spec.num_actions, env.spec.observation_shape[0]
    assert actions is not None
    module = Policy(hidden_sizes, actions)
    model = bundle(module, variables, num_classes=actions, image_shape=(1, 1, size), head="output")
    if batch_statistics:
        return model

    def apply(variables: Any, images: Array, statistics: Any = "source", mask: Any = None) -> tuple[Array, Array]:
        return model.apply(variables, images, "source", mask)

    return model._replace(apply=apply, batch_norms=())


# --- streams -------------------------------------------------------------------------------------------------------


class Moving(NamedTuple):
    """What goes from one step of a stream to the next."""

    method: Any
    env: Any
    observation: Array  # [B, D], as the world has it
    length: Array  # [B], steps of the episode


class Found(NamedTuple):
    """Of every step; B environments."""

    reward: Array  # their sum
    ends: Array  # how many episodes ended
    agreement: Array  # share of actions that are the source policy's best on the exact observation
    entropy: Array  # mean of the policy, in nats
    selected: Array  # share of rows that the method learned from


def stream(
    env: Environment, model: Model, method: Method, variables: Any, clean: Any, shift: Shift, under: int, key: Key
) -> tuple[Found, Array]:
    """`BEFORE` steps of `BATCH` environments with exact sensors and the source policy, then `under` steps with the
    shift, the method adapting in each; and `SOURCE_BATCHES` of the exact observations from before the shift.

    Episodes begin anew when they end. The first of each environment is truncated after a random part of the usual
    length, so that they do not all end at once. Actions are the best by the logits from before the step of their batch.
    """
    opening, length_key, running = jax.random.split(key, 3)
    env_state, observation = jax.vmap(env.reset)(jax.random.split(opening, BATCH))
    longest = env.spec.episode_length
    length = jax.random.randint(length_key, (BATCH,), 0, longest, jnp.int32)
    deviation = jnp.sqrt(variables["batch_stats"]["sensors"]["var"])

    def seen(observation: Array, key: Key) -> Array:
        noise_key, drop_key = jax.random.split(key)
        wide = functools.partial(jnp.broadcast_to, shape=observation.shape)
        noise = shift.noise * wide(deviation) * jax.random.normal(noise_key, observation.shape)
        kept = jax.random.uniform(drop_key, observation.shape) >= shift.dropped
        return jnp.where(kept, observation * wide(shift.gain) + noise, jnp.zeros_like(observation))

    def shifted(state: Any, observation: Array, key: Key) -> tuple[Any, Adapted]:
        """The destroyed observations are each made of the readings of several environments, sensor by sensor."""
        seen_key, order_key, method_key = jax.random.split(key, 3)
        observed = seen(observation, seen_key)
        order = jnp.argsort(jax.random.bits(order_key, observed.shape), axis=0)
        destroyed = jnp.take_along_axis(observed, order, axis=0)
        return method.adapt(state, as_images(observed), method_key, destroyed=as_images(destroyed))

    def exact(state: Any, observation: Array, key: Key) -> tuple[Any, Adapted]:
        logits, _ = model.apply(variables, as_images(observation), "source")
        return state, Adapted(logits, jnp.zeros((BATCH,), bool), {})

    def step(acts: Callable[..., tuple[Any, Adapted]], moving: Moving, index: Array) -> tuple[Moving, Any]:
        keys = jax.random.split(jax.random.fold_in(running, index), 3)
        state, adapted = acts(moving.method, moving.observation, keys[0])
        action = jnp.argmax(adapted.logits, axis=1).astype(jnp.int32)
        best = jnp.argmax(model.apply(variables, as_images(moving.observation), "source")[0], axis=1)
        env_state, after, reward, terminated = jax.vmap(env.step)(moving.env, action, jax.random.split(keys[1], BATCH))
        done = terminated | (moving.length + 1 >= longest)
        fresh = jax.vmap(env.reset)(jax.random.split(keys[2], BATCH))
        env_state, after = jax.tree.map(
            lambda new, old: jnp.where(done.reshape(-1, *(1,) * (old.ndim - 1)), new, old), fresh, (env_state, after)
        )
        found = Found(
            reward=jnp.sum(reward),
            ends=jnp.sum(done.astype(jnp.float32)),
            agreement=jnp.mean((action == best).astype(jnp.float32)),
            entropy=jnp.mean(categorical.entropy(adapted.logits)),
            selected=jnp.mean(adapted.selected.astype(jnp.float32)),
        )
        return Moving(state, env_state, after, jnp.where(done, 0, moving.length + 1)), (found, moving.observation)

    opened = Moving(method.init(variables, clean), env_state, observation, length)
    moving, (before, observations) = jax.lax.scan(functools.partial(step, exact), opened, jnp.arange(BEFORE))
    _, (found, _) = jax.lax.scan(functools.partial(step, shifted), moving, jnp.arange(BEFORE, BEFORE + under))
    found = jax.tree.map(lambda *parts: jnp.concatenate(parts), before, found)
    return found, observations[:: -(-BEFORE // SOURCE_BATCHES)]


def as_images(observations: Array) -> Array:
    """[…, B, D] -> […, B, 1, 1, D]."""
    return observations[..., None, None, :]


class Source(NamedTuple):
    """Policies to adapt, with a leading axis of seeds."""

    variables: Any
    clean: Array  # [S, n, B, 1, 1, D] observations from before the shift, which the Fisher information is of
    keys: Array  # [S]
    hidden_sizes: tuple[int, ...]


def source_of(run: training.Run, env: Environment, seed: int) -> Source:
    """The policies of a run, their clean observations, and keys of their streams."""
    learned = jax.vmap(variables_of)(run.state)
    sizes = tuple(run.config["agent"]["hidden_sizes"])
    model = model_of(member(learned, 0), sizes, env, batch_statistics=False)
    members = len(jax.tree.leaves(learned)[0])
    keys = jax.vmap(jax.random.key)(jnp.arange(seed, seed + members))

    @jax.jit
    @jax.vmap
    def observe(state: Any, variables: Any, key: Key) -> tuple[Any, Array, Array]:
        shift = jax.tree.map(jnp.asarray, SHIFTS["none"])
        seen = stream(env, model, source.make(model), variables, None, shift, 1, jax.random.fold_in(key, 1))[1]
        flat = seen.reshape(-1, seen.shape[-1])
        moved = recentred(variables, flat)
        ours = jnp.argmax(model.apply(moved, as_images(flat), "source")[0], axis=1)
        return moved, as_images(seen), jnp.mean((ours == actions_of(run, state, flat)).astype(jnp.float32))

    variables, clean, same = observe(run.state, learned, keys)
    print(f"share of actions that are the agent's own: {np.asarray(same).min():.4f}", flush=True)
    if np.asarray(same).min() < 0.999:
        raise SystemExit("the model is not the policy that was learned")
    return Source(variables, clean, keys, sizes)


def actions_of(run: training.Run, state: Any, observations: Array) -> Array:
    """The agent's own deterministic actions [N]."""
    carry = run.agent.begin(state, jax.random.key(0))
    no, zero = jnp.zeros((), bool), jnp.zeros(())

    def one(observation: Array) -> Array:
        moment = Timestep(observation, zero, no, no, observation, no)
        return run.agent.act(state, carry, moment, jax.random.key(0), False)[1]

    return jax.vmap(one)(observations)


def member(tree: Any, index: int) -> Any:
    """One seed of a tree."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def streams(
    env: Environment,
    policies: Source,
    entry: Entry,
    settings: Sequence[Mapping[str, float]],
    shifts: Sequence[str],
    under: int,
) -> Found:
    """Every setting, seed and shift: numpy [G, S, K, BEFORE + under], in one compiled program.

    The draws of a seed are the same for every method, shift and setting.
    """
    model = model_of(member(policies.variables, 0), policies.hidden_sizes, env, entry.batch_statistics)
    stacked = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves), jnp.float32), *(SHIFTS[n] for n in shifts))

    def lane(setting: Any, variables: Any, clean: Array, key: Key, shift: Shift) -> Found:
        return stream(env, model, entry.make(model, setting), variables, clean, shift, under, key)[0]

    over_shifts = jax.vmap(lane, in_axes=(None, None, None, None, 0))
    over_policies = jax.vmap(over_shifts, in_axes=(None, 0, 0, 0, None))

    @jax.jit
    def one(setting: Any) -> Found:
        return over_policies(setting, policies.variables, policies.clean, policies.keys, stacked)

    found = [jax.tree.map(np.asarray, one(jax.tree.map(jnp.float32, dict(each)))) for each in settings]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *found)


def settings_of(entry: Entry) -> list[dict[str, float]]:
    """All combinations of the grid."""
    return [dict(zip(entry.grid, each, strict=True)) for each in itertools.product(*entry.grid.values())]


def returns(found: Found, start: int, stop: int | None = None) -> np.ndarray:
    """Reward over ends of episodes between two steps, from [..., T]: the mean return, unfinished episodes included."""
    reward, ends = found.reward[..., start:stop].sum(-1), found.ends[..., start:stop].sum(-1)
    return reward / np.maximum(ends, 1)


# --- tables and pictures -------------------------------------------------------------------------------------------


def by_shift(path: Path, table: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    """The return of every method under every shift with its interval."""
    names, figure = list(SHIFTS), Figure(figsize=(12.5, 4.2), layout="constrained")
    axes = figure.subplots()
    for number, (colour, (method, row)) in enumerate(zip(drawing.COLOURS, table.items(), strict=False)):
        places = np.arange(len(names)) + 0.085 * (number - (len(table) - 1) / 2)
        middle = np.array([row[name]["mean"] for name in names])
        low, high = (np.array([row[name][end] for name in names]) for end in ("low", "high"))
        fill = "none" if "batch" in method else colour
        spread = np.abs(np.stack([middle - low, high - middle]))
        axes.errorbar(
            places, middle, spread, fmt="o", color=colour, mfc=fill, markersize=5, label=method, linewidth=1.2
        )
    axes.set_xticks(np.arange(len(names)), ["no shift" if name == "none" else name for name in names])
    axes.set_ylabel("return, of at most 500")
    axes.set_ylim(0, 520)
    for place in np.arange(len(names) - 1) + 0.5:
        axes.axvline(place, color="#dddddd", linewidth=0.8)
    drawing.tidy(axes, 10)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    drawing.save(figure, path)


def summary(found: Found, index: int) -> dict[str, Any]:
    """Of one shift: the return under it with its interval, that of its last third, and means of the rest."""

    def under(values: np.ndarray) -> float:
        return float(values[0, :, index, BEFORE:].mean())

    return {
        **studies.interval(returns(found, BEFORE)[0, :, index]),
        "last_third": float(returns(found, BEFORE + 2 * UNDER // 3)[0, :, index].mean()),
        "agreement": under(found.agreement),
        "entropy": under(found.entropy),
        "selected": under(found.selected),
    }


def write(output: Path, record: Mapping[str, Any]) -> None:
    """The table and the picture of the methods so far."""
    rows = []
    for method, row in record["methods"].items():
        gaps = record["above_unadapted"].get(method, {})
        marks = {name: " ↑" if gap["low"] > 0 else " ↓" if gap["high"] < 0 else "" for name, gap in gaps.items()}
        rows.append([method, *(studies.shown(row[name]) + marks.get(name, "") for name in SHIFTS)])
    heads = ["method", *("no shift" if name == "none" else name for name in SHIFTS)]
    studies.write(output, "table", heads, rows, record)
    by_shift(output / "returns.png", record["methods"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/tta_in_rl"), help="where the runs are kept")
    parser.add_argument("--output", type=Path, default=HERE, help="folder of the table and the picture")
    arguments = parser.parse_args()
    began = time.perf_counter()
    limit_cpu_threads(1)
    use_compilation_cache()
    cases = {
        seed: studies.Case(WORLD, f"from seed {seed}", (*WORDS, f"seed={seed}"))
        for seed in (TUNING_SEED, REPORTED_SEED)
    }
    missing = [case for case in cases.values() if not (arguments.runs / case.name / "summary.json").exists()]
    if missing:
        studies.run(missing, arguments.runs, num_seeds=5, processes=1)
    env = cartpole.make()
    policies = {seed: source_of(training.load(arguments.runs / case.name), env, seed) for seed, case in cases.items()}
    record: dict[str, Any] = {
        "tuning": {},
        "chosen": {},
        "methods": {},
        "above_unadapted": {},
        "steps": {"before": BEFORE, "under": UNDER, "environments": BATCH},
        **origin(),
    }
    for method, entry in METHODS.items():
        settings = [record["chosen"][entry.settings_of]] if entry.settings_of else settings_of(entry)
        if len(settings) > 1:
            tried = streams(env, policies[TUNING_SEED], entry, settings, TUNING_SHIFTS, TUNING_UNDER)
            values, selected = returns(tried, BEFORE).mean(axis=1), tried.selected[..., BEFORE:].mean(axis=(1, 3))
            record["tuning"][method] = [
                {
                    "settings": setting,
                    "return": dict(zip(TUNING_SHIFTS, value.tolist(), strict=True)),
                    "selected": dict(zip(TUNING_SHIFTS, share.tolist(), strict=True)),
                }
                for setting, value, share in zip(settings, values, selected, strict=True)
            ]
            settings = [settings[int(np.argmax(values.mean(axis=1)))]]
        record["chosen"][method] = settings[0]
        found = streams(env, policies[REPORTED_SEED], entry, settings, tuple(SHIFTS), UNDER)
        record["methods"][method] = {name: summary(found, index) for index, name in enumerate(SHIFTS)}
        if method == UNADAPTED:
            record["before"] = studies.interval(returns(found, 0, BEFORE)[0, :, 0])
        else:
            unadapted = record["methods"][UNADAPTED]
            record["above_unadapted"][method] = {
                name: studies.above(one["per_seed"], unadapted[name]["per_seed"])
                for name, one in record["methods"][method].items()
            }
        record["minutes"] = (time.perf_counter() - began) / 60
        write(arguments.output, record)
        shown = ", ".join(f"{name} {one['mean']:.0f}" for name, one in record["methods"][method].items())
        print(f"{record['minutes']:5.1f} min  {method} {settings[0]}: {shown}", flush=True)
    print((arguments.output / "table.md").read_text())


if __name__ == "__main__":
    main()
