"""The common battery: what agents, objectives, environments, estimators and methods must hold, of this package or not.

Each function raises AssertionError with a sentence on the first thing that does not hold.

    from infojax import testing
    testing.check_agent(my_make(spec, objective), environment)
"""

import contextlib
import inspect
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jax.extend.core import Literal

from infojax.run.checkpoint import checkpoints
from infojax.run.loop import LoopState, Pool, device_chunk, device_loop, opening_state, strong
from infojax.types import (
    Agent,
    Environment,
    EnvSpec,
    Estimate,
    Estimator,
    HostFactory,
    Key,
    Method,
    Model,
    Objective,
    Transition,
    shard_key,
)

PLATFORMS = ("tpu", "cuda", "cpu")
# Compiling is what the battery costs: on its few small arrays the compiler need not try hard.
QUICK: Any = {"xla_backend_optimization_level": 0}


def check_environment(environment: Environment, action: Any = None) -> None:
    """Reset and step keep one structure, free of weak types; resets differ by key; positions fit the spec."""
    spec = environment.spec
    action = example_action(spec, 1)[0] if action is None else action
    key = jax.random.key(0)
    state, observation = jax.jit(environment.reset)(key)
    assert observation.shape == spec.observation_shape, (
        f"observation {observation.shape} is not {spec.observation_shape}"
    )
    assert observation.dtype == jnp.float32, f"observations are {observation.dtype}, not float32"
    after, following, reward, terminated = jax.eval_shape(environment.step, state, action, key)
    same_layout(state, after, "the environment's state after step")
    same_layout(observation, following, "the observation after step")
    assert reward.shape == () and reward.dtype == jnp.float32, f"the reward is {reward.dtype}{reward.shape}"
    assert terminated.shape == () and terminated.dtype == jnp.bool_, (
        f"terminated is {terminated.dtype}{terminated.shape}"
    )
    weak = [leaf for leaf in jax.tree.leaves((after, following, reward)) if getattr(leaf, "weak_type", False)]
    assert not weak, "step returns weakly typed leaves, which would compile the training loop twice"
    position = jax.eval_shape(environment.position, state)
    assert position.shape == (len(spec.position_names),), f"position has shape {position.shape}"
    assert len(spec.cells) <= len(spec.position_names), f"cells {spec.cells} of coordinates {spec.position_names}"
    for name, value in jax.eval_shape(environment.measures, state).items():
        assert (value.shape, value.dtype) == ((), jnp.float32), f"the measure {name} is {value.dtype}{value.shape}"
        assert not getattr(value, "weak_type", False), f"the measure {name} is weakly typed"
    assert len(spec.position_low) == len(spec.position_high) == len(spec.position_names)


def check_host_environment(factory: HostFactory, num_steps: int = 20) -> None:
    """Batches step in numpy, and a saved batch goes on bit for bit in another."""
    spec, generator = factory.spec, np.random.default_rng(0)
    actions = [np.asarray(example_action(spec, 3, generator)) for _ in range(2 * num_steps)]
    batch, twin = factory.create(3), factory.create(3)
    assert batch.reset(7).shape == (3, *spec.observation_shape)
    for action in actions[:num_steps]:
        batch.step(action)
    twin.reset(8)
    twin.restore(batch.save())
    for action in actions[num_steps:]:
        one, other = batch.step(action), twin.step(action)
        for name, left, right in zip(one._fields, one, other, strict=True):
            assert np.array_equal(left, right), f"{name} differs after save and restore"
        assert one.observation.dtype == np.float32 and one.reward.dtype == np.float32
        assert batch.position().shape == (3, len(spec.position_names))
    batch.close()
    twin.close()


def example_action(spec: Any, count: int, generator: np.random.Generator | None = None) -> jax.Array:
    """Random actions within the bounds."""
    generator = np.random.default_rng(0) if generator is None else generator
    if spec.num_actions is not None:
        return jnp.asarray(generator.integers(0, spec.num_actions, count), jnp.int32)
    low, high = np.asarray(spec.low), np.asarray(spec.high)
    return jnp.asarray(generator.uniform(low, high, (count, *spec.action_shape)), jnp.float32)


def example_transitions(spec: Any, objective: Objective, count: int = 32, scale: float = 1.0) -> Transition:
    """Random transitions as an objective sees them."""
    keys = jax.random.split(jax.random.key(0), 3)
    state = objective.init(keys[0])
    observation = scale * jax.random.normal(keys[1], (2, count, *spec.observation_shape))
    context = jax.vmap(objective.context, in_axes=(None, 0))(state, jax.random.split(keys[2], count))
    no = jnp.zeros((count,), bool)
    return Transition(
        observation=observation[0],
        context=context,
        action=example_action(spec, count),
        reward=jnp.zeros((count,), jnp.float32),
        next_observation=observation[1],
        next_context=context,
        terminated=no,
        truncated=no,
    )


def check_objective(objective: Objective, spec: Any) -> None:
    """Protocol, jit against eager, finite values and states on extreme inputs, a report of nothing, export."""
    key = jax.random.key(1)
    state = objective.init(key)
    context = objective.context(state, key)
    assert context.shape == (objective.context_size,), f"context has shape {context.shape}"
    assert context.dtype == jnp.float32, f"contexts are {context.dtype}, not float32"
    if objective.contexts is not None:
        assert objective.contexts.shape[1:] == (objective.context_size,)
    rewarded = jax.jit(objective.reward, compiler_options=QUICK)
    step = jax.jit(objective.update, compiler_options=QUICK)
    for scale in (1.0, 1e4):
        transitions = example_transitions(spec, objective, scale=scale)
        reward = rewarded(state, transitions)
        assert reward.shape == transitions.reward.shape, f"reward has shape {reward.shape}"
        assert bool(jnp.isfinite(reward).all()), f"the reward is not finite for observations of scale {scale:g}"
        with unoptimised():
            _close(reward, objective.reward(state, transitions), "reward without jit")
        updated, metrics = step(state, transitions, key)
        same_layout(state, updated, "the objective's state after update")
        assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves((updated, metrics)) if _real(leaf))
    transitions = example_transitions(spec, objective)
    same_layout(state, jax.eval_shape(objective.observe, state, transitions), "the objective's state after observe")
    masked = jax.jit(objective.report, compiler_options=QUICK)(
        state, transitions, jnp.zeros_like(transitions.terminated)
    )
    assert all(bool(jnp.isfinite(value).all()) for value in masked.values()), "a report of nothing must be finite"
    export.export(jax.jit(objective.reward), platforms=PLATFORMS)(*_structs((state, transitions)))


def check_agent(agent: Agent, environment: Environment, iterations: int = 2) -> None:
    """Protocol, one compilation, seeds by map and vmap against single runs, checkpoint round trip, export."""
    loops = {
        "single": device_loop(agent, environment, iterations, 1, "vmap"),
        "vmap": device_loop(agent, environment, iterations, 2, "vmap"),
        "map": device_loop(agent, environment, iterations, 2, "map"),
    }
    state = loops["single"].init([4])
    state, metrics = loops["single"].chunk(state)
    single = jax.device_get(_words(state))
    assert all(np.isfinite(np.asarray(value)).all() for name, value in metrics.items() if "episode_" not in name), (
        metrics
    )
    with tempfile.TemporaryDirectory() as folder:
        store = checkpoints(Path(folder) / "checkpoints", keep=1)
        store.save(1, state, [], {}, 0.0)
        restored = store.restore(loops["single"].init([4]))
        store.close()
    assert restored is not None
    _identical(single, jax.device_get(_words(restored.state)), "the state after a checkpoint")
    count = compilations(lambda: [loops["single"].chunk(restored.state) for _ in range(1)])
    assert count == 0, f"the second chunk compiled {count} programs more"

    for how in ("map", "vmap"):
        several, _ = loops[how].chunk(loops[how].init([3, 4]))
        second = jax.tree.map(lambda leaf: leaf[1:], jax.device_get(_words(several)))
        if how == "map":
            _identical(single, second, "member 1 of a mapped run")
        else:
            jax.tree.map(lambda left, right: _close(left, right, "member 1 of a vmapped run", 1e-5), single, second)


def check_shards(agent: Agent, environment: Environment, own: tuple[str, ...] = ("replay", "running")) -> None:
    """What is learned stays the same in all shards of a seed's data: only leaves named in `own` may differ.

    The spec must name several (`data_shards`, `data_axis`). Nothing is compiled: the traced chunk is followed, in which
    what an environment, a replay or a shard's own key gives differs until it is averaged over `data_axis`.
    """
    for name in differing_leaves(agent, environment):
        words = set(re.findall(r"\w+", name))
        assert words & set(own), (
            f"{name} of the agent's state would differ from shard to shard; average gradients and statistics over "
            "spec.data_axis, see infojax.nets.optimizers and infojax.nets.statistics"
        )


def differing_leaves(agent: Agent, environment: Environment) -> list[str]:
    """The leaves of the agent's state that come to differ between the shards of a seed's data, by their paths."""
    spec = environment.spec
    assert spec.data_axis is not None and spec.data_shards > 1, "the spec names no shards"
    sizes = [(name, spec.data_shards if index == 0 else 1) for index, name in enumerate(spec.data_axis)]

    def begin(root: Key) -> tuple[LoopState, Pool]:
        keys = jax.random.split(shard_key(spec, root), agent.num_envs)
        pool = Pool(*strong(jax.vmap(environment.reset)(keys)))
        return strong(opening_state(agent, spec, pool.env, pool.observation, root)), pool

    def chunk(state: LoopState, pool: Pool) -> Any:
        return device_chunk(agent, environment, 1)(state, pool)[0].agent

    _, (state, pool) = jax.make_jaxpr(begin, axis_env=sizes, return_shape=True)(jax.random.key(0))
    traced = jax.make_jaxpr(chunk, axis_env=sizes)(state, pool)
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(state.agent)[0]]
    alike = {"agent", "root", "chunk", "visited"}
    rest = [field not in alike for field in LoopState._fields[1:] for _ in jax.tree.leaves(getattr(state, field))] + [
        True for _ in jax.tree.leaves(pool)
    ]
    differs = [False] * len(names)
    while True:
        after = _differing(traced.jaxpr, [*differs, *rest], set(spec.data_axis))
        grown = [before or now for before, now in zip(differs, after, strict=True)]
        if grown == differs:
            return [name for name, differ in zip(names, differs, strict=True) if differ]
        differs = grown


def _differing(jaxpr: Any, inputs: list[bool], axes: set[str]) -> list[bool]:
    """Which outputs of a traced program differ between shards, given which inputs do."""
    known = dict(zip(jaxpr.invars, inputs, strict=True))

    def differs(variable: Any) -> bool:
        return not isinstance(variable, Literal) and known.get(variable, False)

    for equation in jaxpr.eqns:
        given = [differs(variable) for variable in equation.invars]
        outputs = _through(equation, given, axes)
        known.update(zip(equation.outvars, outputs, strict=True))
    return [differs(variable) for variable in jaxpr.outvars]


def _counts_of_scan(parameters: Mapping[str, Any]) -> tuple[int, int]:
    """How many of the inputs of a `lax.scan` are constants and carried; jax 0.11 keeps them as trees."""
    if "ft_in" in parameters:
        constants, carried, _ = parameters["ft_in"].unpack()
        return len(constants), len(carried)
    return parameters["num_consts"], parameters["num_carry"]


def _through(equation: Any, given: list[bool], axes: set[str]) -> list[bool]:
    """Which results of one equation differ between shards."""
    parameters, count = equation.params, len(equation.outvars)
    if equation.primitive.name in ("psum", "pmax", "pmin"):
        return [any(given) and not axes <= set(parameters["axes"])] * count
    if equation.primitive.name == "axis_index":
        return [True] * count
    if equation.primitive.name == "scan":
        constants, carried = _counts_of_scan(parameters)
        while True:
            found = _differing(parameters["jaxpr"].jaxpr, given, axes)
            carry = given[constants : constants + carried]
            grown = [before or now for before, now in zip(carry, found[:carried], strict=True)]
            if grown == carry:
                return found
            given = [*given[:constants], *grown, *given[constants + carried :]]
    if equation.primitive.name == "cond":
        branches = [_differing(branch.jaxpr, given[1:], axes) for branch in parameters["branches"]]
        return [given[0] or any(of_branches) for of_branches in zip(*branches, strict=True)]
    inner = next((parameters[name] for name in ("jaxpr", "call_jaxpr") if name in parameters), None)
    if inner is not None and len(getattr(inner, "jaxpr", inner).invars) == len(given):
        return _differing(getattr(inner, "jaxpr", inner), given, axes)
    return [any(given)] * count


def check_estimator(
    estimator: Estimator,
    num_samples: int = 64,
    dims: tuple[int, int] = (2, 1),
    eager: bool = True,
    vmap: bool = True,
) -> None:
    """Protocol, one compilation, seeds by map and vmap, jit against eager, hard samples, words of a verdict, export.

    Without jit each operation is a program of its own, which takes as long as all the rest: `eager` False leaves it,
    as `vmap` False does seeds by vmap, for those that share the code of another.
    """
    assert estimator.bound in ("", "lower", "upper"), f"bound is {estimator.bound!r}, not lower, upper or empty"
    keys = jax.random.split(jax.random.key(5), 2)
    samples = example_pairs(2, num_samples, dims)
    # Compiling is what costs, so that one program, of two seeds one after the other, answers most of it.
    mapped = jax.jit(
        lambda keys, *given: jax.lax.map(lambda one: estimator.fit(*one), (keys, *given)), compiler_options=QUICK
    )
    ordered = _check_estimates(mapped, estimator.why, keys, samples, "fit")
    reversed_keys, reversed_samples = jax.block_until_ready((keys[::-1], tuple(array[::-1] for array in samples)))
    count = compilations(lambda: mapped(reversed_keys, *reversed_samples))
    assert count == 0, f"the second call compiled {count} programs more"
    turned = jax.device_get(mapped(reversed_keys, *reversed_samples))
    _identical(ordered, jax.tree.map(lambda leaf: leaf[::-1], turned), "a seed by map, with another before it,")
    if vmap:
        by_vmap = jax.jit(jax.vmap(estimator.fit), compiler_options=QUICK)(keys, *samples)
        _estimates_close("seeds by vmap", ordered, by_vmap)
    if eager:
        with unoptimised():
            plain = estimator.fit(keys[0], *(array[0] for array in samples))
        _estimates_close("fit without jit", jax.tree.map(lambda leaf: leaf[0], ordered), plain)
    exported = export.export(jax.jit(estimator.fit), platforms=PLATFORMS)(
        *_structs((keys[0], *(array[0] for array in samples)))
    )
    assert set(exported.platforms) == set(PLATFORMS)
    if estimator.entropy is not None:
        entropy = jax.jit(jax.vmap(estimator.entropy), compiler_options=QUICK)
        _check_estimates(entropy, estimator.why, keys, samples[:1], "entropy")


def example_pairs(seeds: int, num_samples: int, dims: tuple[int, int]) -> tuple[jax.Array, jax.Array]:
    """Normal samples (seeds, n, d_x) and (seeds, n, d_y), the first coordinates of both dependent."""
    noise = jax.random.normal(jax.random.key(0), (seeds, num_samples, sum(dims)))
    x, y = noise[..., : dims[0]], noise[..., dims[0] :]
    return x, y.at[..., 0].set(0.6 * x[..., 0] + 0.8 * y[..., 0])


def _check_estimates(
    function: Callable[..., Estimate],
    why: Callable[[Estimate], str],
    keys: Key,
    samples: tuple[jax.Array, ...],
    name: str,
) -> Estimate:
    """Protocol and words of two estimates, also on hard samples; those on normal samples are returned."""
    hard = {
        "normal samples": samples,
        "samples of scale 1e4": tuple(1e4 * array for array in samples),
        "a constant column": tuple(array.at[..., 0].set(3.0) for array in samples),
    }
    told: dict[str, Estimate] = {words: jax.device_get(function(keys, *given)) for words, given in hard.items()}
    for words, both in told.items():
        for index in range(2):
            where = f"{name} on {words}"
            found = jax.tree.map(lambda leaf, index=index: leaf[index], both)
            assert found.value.shape == () and found.value.dtype == np.float32, f"{where}: the value is {found.value!r}"
            assert found.interval.shape == (2,), f"{where}: the interval has the shape {found.interval.shape}"
            assert found.trusted.shape == () and found.trusted.dtype == np.bool_, f"{where}: trusted {found.trusted!r}"
            strange = [key for key in found.diagnostics if not key.startswith(("check/", "seen/"))]
            assert not strange, f"{where}: diagnostics are called check/NAME or seen/NAME, not {strange}"
            finite = bool(np.isfinite(found.value))
            # Covariances of a constant are singular and its entropy is −inf: no number is right, as long as it says so.
            assert finite or (words == "a constant column" and not found.trusted), f"{where}: the value {found.value}"
            assert not finite or found.interval[0] <= found.value <= found.interval[1], f"{where}: {found.interval}"
            assert (why(found) == "") == bool(found.trusted), f"{where}: `why` must be empty where it is trusted alone"
    return told["normal samples"]


def _estimates_close(what: str, left: Estimate, right: Estimate) -> None:
    """Values and intervals alike; checks are shares of small allowances, in which rounding shows."""
    _close(left.value, right.value, f"the value of {what}", 1e-4)
    _close(left.interval, right.interval, f"the interval of {what}", 1e-4)


def check_method(method: Method, model: Model, batch_size: int = 8, eager: bool = True) -> None:
    """Protocol, one compilation, seeds by map and vmap, jit against eager, hard images, masks, checkpoint, export.

    Without jit each operation is a program of its own, which takes as long as all the rest: `eager` False leaves it.
    """
    assert method.scores in ("before", "after"), f"scores is {method.scores!r}, not before or after"
    generator = np.random.default_rng(0)
    shape = (3, 2, batch_size, *model.image_shape)  # seeds, batches
    images = jnp.asarray(generator.uniform(size=shape), jnp.float32)
    keys = jax.random.split(jax.random.key(6), (3, 2))
    mask = jnp.asarray(np.arange(batch_size) < batch_size - 2)
    begun = jax.jit(method.init, compiler_options=QUICK)(model.variables, source=images[0])

    def stream(images: jax.Array, keys: Key) -> Any:
        return jax.lax.scan(lambda state, given: method.adapt(state, *given, mask), begun, (images, keys))

    mapped = jax.jit(lambda *given: jax.lax.map(lambda one: stream(*one), given), compiler_options=QUICK)
    reached, _ = outcome = mapped(images, keys)
    state, adapted = _words(jax.device_get(outcome))
    same_layout(begun, jax.eval_shape(lambda: method.adapt(begun, images[0, 0], keys[0, 0], mask)[0]), "the state")
    rows = (3, 2, batch_size)
    assert adapted.logits.shape == (*rows, model.num_classes), f"logits have the shape {adapted.logits.shape[2:]}"
    assert adapted.selected.shape == rows and adapted.selected.dtype == np.bool_, "selected must be [B] bool"
    assert not adapted.selected[..., -2:].any(), "a row outside of the mask was learned from"
    wanted = {"forward_rows", "backward_rows", "updated", "invalid"}
    assert wanted <= set(adapted.info), f"info lacks {sorted(wanted - set(adapted.info))}"
    assert all(np.isfinite(leaf).all() for leaf in (*jax.tree.leaves(state), adapted.logits)), "not finite"

    order = jnp.array([2, 0, 1])
    again = jax.block_until_ready((images[order], keys[order]))
    count = compilations(lambda: mapped(*again))
    assert count == 0, f"the second call compiled {count} programs more"
    turned = _words(jax.device_get(mapped(*again)))
    picked = jax.tree.map(lambda leaf: leaf[np.asarray(order)], (state, adapted))
    _identical(picked, turned, "a seed by map, among others,")
    together = jax.jit(jax.vmap(stream), compiler_options=QUICK)
    _alike((state, adapted), _words(together(images, keys)), "seeds by vmap")

    hard = {
        "images of not a number": images[:, :, :].at[:, 1, 0].set(jnp.nan),
        "black images": jnp.zeros_like(images),
        "images of 1e4": 1e4 * images,
    }
    for words, given in hard.items():
        after, found = _words(jax.device_get(mapped(given, keys)))
        finite = all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after) if _real(leaf))
        assert finite and np.isfinite(found.logits).all(), f"{words}: states or logits are not finite"
        if words.endswith("number"):
            assert (found.info["invalid"][:, 1] == 1).all(), f"{words}: not counted"
            assert (found.info["updated"][:, 1] == 0).all() and not found.selected[:, 1].any(), f"{words}: learned from"
    kept = np.asarray(mask)
    masked_state, masked = _words(jax.device_get(mapped(images.at[:, :, -2:].set(0.9), keys)))
    _alike(
        (state, adapted.logits[..., kept, :], adapted.selected),
        (masked_state, masked.logits[..., kept, :], masked.selected),
        "what is learned with other images outside of the mask",
    )
    if eager:
        plain, found = begun, []
        with unoptimised():
            for batch, key in zip(images[0], keys[0], strict=True):
                plain, step = method.adapt(plain, batch, key, mask)
                found.append(step)
        steps = jax.tree.map(lambda *leaves: np.stack(leaves), *found)
        first = jax.tree.map(lambda leaf: leaf[0], (state, adapted))
        _alike(first, (plain, steps), "adapt without jit")
    last = jax.tree.map(lambda leaf: leaf[0], reached)
    with tempfile.TemporaryDirectory() as folder:
        store = checkpoints(Path(folder) / "checkpoints", keep=1)
        store.save(1, last, [], {}, 0.0)
        restored = store.restore(begun)
        store.close()
    assert restored is not None
    _identical(_words(last), _words(restored.state), "the state after a checkpoint")
    exported = export.export(jax.jit(method.adapt), platforms=PLATFORMS)(
        *_structs((begun, images[0, 0], keys[0, 0], mask))
    )
    assert set(exported.platforms) == set(PLATFORMS)


def _alike(left: Any, right: Any, what: str) -> None:
    """Numbers to rounding, of the largest of their array; truths and counts exactly."""
    for one, other in zip(jax.tree.leaves(_words(left)), jax.tree.leaves(_words(right)), strict=True):
        if _real(np.asarray(one)):
            known = np.isfinite(np.asarray(one)) & np.isfinite(np.asarray(other))
            gap = np.abs(np.where(known, one, 0) - np.where(known, other, 0))
            largest = 1 + np.max(np.abs(np.where(known, one, 0)), initial=0.0)
            assert np.all(gap <= 1e-5 * largest), f"{what} differs by {np.max(gap) / largest:g}"
        else:
            assert np.array_equal(one, other), f"{what} differs in truths or counts"


def check_export(agent: Agent, key: Key, observation: Any) -> None:
    """`act` lowers for every platform."""
    from infojax.run.loop import act_once, opening_state

    spec = EnvSpec(observation.shape[1:], (), None, (), (), 1)
    state = jax.eval_shape(lambda k: opening_state(agent, spec, (), observation, k), key)
    lowered = jax.jit(lambda a, c, t, k: act_once(agent, a, c, t, k))
    exported = export.export(lowered, platforms=PLATFORMS)(state.agent, state.carry, state.timestep, key)
    assert set(exported.platforms) == set(PLATFORMS)


def check_yaml(path: Path, make: Callable[..., Any]) -> None:
    """The keys of a YAML are the keyword-only arguments of its `make`, and every one has a comment."""
    text = path.read_text()
    keys = re.findall(r"^([a-z_]+):", text, flags=re.MULTILINE)
    own = [key for key in keys if key not in ("defaults", "_target_")]
    wanted = [p.name for p in inspect.signature(make).parameters.values() if p.kind is p.KEYWORD_ONLY]
    unknown = set(own) - set(wanted)
    assert not unknown, f"{path} has keys that {make.__module__}.make does not take: {sorted(unknown)}"
    if "defaults:" not in text:
        assert set(own) == set(wanted), f"{path} lacks {sorted(set(wanted) - set(own))}"
    for line in text.splitlines():
        if re.match(r"^[a-z_]+:", line) and not line.startswith(("defaults:", "_target_:")):
            assert "#" in line, f"{path}: {line.split(':')[0]} has no comment"
    assert make.__doc__, f"{make.__module__}.make has no docstring"


@contextlib.contextmanager
def unoptimised() -> Iterator[None]:
    """Operations outside of jit are small programs, too: the compiler need not try hard on them either."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


def compilations(function: Callable[[], Any]) -> int:
    events: list[str] = []
    active = [True]

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if active[0] and event == "/jax/core/compile/backend_compile_duration":
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        jax.block_until_ready(function())
    finally:
        active[0] = False
    return len(events)


def _real(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def _words(tree: Any) -> Any:
    """Random keys as their words, so that everything compares as numbers."""
    return jax.tree.map(
        lambda leaf: jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf, tree
    )


def _structs(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def same_layout(left: Any, right: Any, what: str) -> None:
    assert jax.tree.structure(left) == jax.tree.structure(right), f"{what} has another structure"
    for one, other in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype), (
            f"{what} has {other.dtype}{other.shape} where {one.dtype}{one.shape} was"
        )


def _close(left: Any, right: Any, what: str, tolerance: float = 1e-5) -> None:
    left, right = np.asarray(left, np.float64), np.asarray(right, np.float64)
    gap = np.max(np.abs(left - right) / (1 + np.abs(left)), initial=0.0)
    assert gap <= tolerance, f"{what} differs by {gap:g}"


def _identical(left: Any, right: Any, what: str) -> None:
    flat, other = jax.tree_util.tree_flatten_with_path(left)[0], jax.tree.leaves(right)
    for (path, one), two in zip(flat, other, strict=True):
        assert np.array_equal(one, two, equal_nan=True), f"{what} differs in {jax.tree_util.keystr(path)}"
