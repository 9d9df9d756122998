"""MaxInfoRL, its ensemble, REDQ and ε-MaxInfoRL against numpy, against SAC, and against published defects."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_sac import SMALL, SPEC, dense, rollout, squashed

from infojax.agents import epsilon_maxinforl, maxinforl, sac
from infojax.agents import information_model as information
from infojax.nets.ensemble import choose_members, fused_ensemble
from infojax.nets.mlp import mlp
from infojax.nets.statistics import RunningStatistics, running_statistics
from infojax.objectives import none
from infojax.testing import QUICK
from infojax.types import Timestep, Transition, UserError

NOTHING = none.make(SPEC)
MODEL = {
    "targets": "dynamics",
    "embedding_size": 1,
    "information_gain": "log_ratio",
    "over_dims": "mean",
    "members": 3,
    "probabilistic": False,
    "bootstrap": False,
    "hidden_sizes": (8,),
    "activation": "silu",
    "learning_rate": 3e-3,
    "weight_decay": 0.0,
}
AGENT = {**SMALL, "model_hidden_sizes": (8,), "members": 3}


def quick(function):
    return jax.jit(function, compiler_options=QUICK)


def updated(agent, state, seed=1):
    return quick(agent.update)(state, rollout(NOTHING, state, jax.random.key(seed)), jax.random.key(2))


def transitions(count=6, seed=0):
    generator = np.random.default_rng(seed)
    fields = {"observation": (3,), "action": (2,), "reward": (), "next_observation": (3,), "context": (0,)}
    made = {name: jnp.asarray(generator.normal(size=(count, *shape)), jnp.float32) for name, shape in fields.items()}
    no = jnp.zeros((count,), bool)
    return Transition(**made, next_context=made["context"], terminated=no, truncated=no)


def members_outputs(parameters, inputs):
    """(M, N, d) in float64, every member by itself."""
    first = {name: np.asarray(leaf, np.float64) for name, leaf in parameters["first"].items()}
    count = len(parameters["members"])
    kernels, biases = np.split(first["kernel"], count, axis=1), np.split(first["bias"], count)
    outputs = []
    for kernel, bias, (last,) in zip(kernels, biases, parameters["members"], strict=True):
        hidden = inputs @ kernel + bias
        hidden = hidden / (1 + np.exp(-hidden))
        outputs.append(hidden @ np.asarray(last["kernel"], np.float64) + np.asarray(last["bias"]))
    return np.stack(outputs)


def standard(statistics, values):
    """Standardised in float64."""
    if statistics.seen == 0:
        return np.asarray(values, np.float64)
    deviation = np.sqrt(np.asarray(statistics.deviation, np.float64) / statistics.seen)
    return (values - np.asarray(statistics.mean, np.float64)) / np.maximum(deviation, 1e-3)


def gain_of(model, observation, action):
    """log_ratio, averaged over dimensions, of deterministic members."""
    outputs = members_outputs(model.members, standard(model.inputs, np.concatenate([observation, action], -1)))
    return np.log1p(outputs.var(0) / 1e-6).mean(-1)


@pytest.mark.parametrize("probabilistic", [False, True])
def test_the_gain_of_a_known_ensemble(probabilistic):
    data, aggregates = transitions(), {"mean": np.mean, "sum": np.sum, "max": np.max}
    models = {
        (form, over_dims): information.information_model(
            3, 2, **{**MODEL, "probabilistic": probabilistic, "information_gain": form, "over_dims": over_dims}
        )
        for form in ("log_ratio", "upper_bound", "disagreement")
        for over_dims in aggregates
    }
    state = quick(models["log_ratio", "mean"].init)(jax.random.key(0))
    gains = quick(lambda *given: {name: model.gain(*given) for name, model in models.items()})(
        state, data.observation, data.action
    )
    outputs = members_outputs(state.members, np.concatenate([data.observation, data.action], -1))
    mean, scale = outputs, np.full(outputs.shape, 1e-3)
    if probabilistic:
        mean, raw = np.split(outputs, 2, axis=-1)
        scale = np.clip(np.log1p(np.exp(raw)), 1e-3, 1e2)
    epistemic, aleatoric = mean.var(0), (scale**2).mean(0)
    wanted = {
        "log_ratio": np.log(1 + epistemic / aleatoric),
        "upper_bound": 0.5 * (np.log(epistemic + aleatoric) - np.log(scale**2).mean(0)),
        "disagreement": epistemic,
    }
    for (form, over_dims), gain in gains.items():
        assert gain.shape == (6,)  # the published `max` returns another shape than `mean`
        np.testing.assert_allclose(gain, aggregates[over_dims](wanted[form], axis=-1), rtol=2e-4)


@pytest.mark.parametrize("probabilistic", [False, True])
@pytest.mark.parametrize("bootstrap", [False, True])
def test_the_ensembles_loss_and_statistics(probabilistic, bootstrap):
    model = information.information_model(3, 2, **{**MODEL, "probabilistic": probabilistic, "bootstrap": bootstrap})
    state, data, slots = quick(model.init)(jax.random.key(0)), transitions(), jnp.arange(10, 16)
    after, metrics = quick(model.update)(state, data, slots, jnp.float32(1))
    inputs = np.concatenate([data.observation, data.action], -1).astype(np.float64)
    wanted = np.concatenate([data.next_observation - data.observation, data.reward[:, None]], -1).astype(np.float64)
    np.testing.assert_allclose(after.inputs.mean, inputs.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(after.targets.deviation / after.targets.seen, wanted.var(0), rtol=1e-4)
    outputs = members_outputs(state.members, (inputs - inputs.mean(0)) / inputs.std(0))
    wanted = (wanted - wanted.mean(0)) / wanted.std(0)
    if probabilistic:
        mean, raw = np.split(outputs, 2, axis=-1)
        scale = np.clip(np.log1p(np.exp(raw)), 1e-3, 1e2)
        rows = (0.5 * ((wanted - mean) / scale) ** 2 + np.log(scale) + 0.5 * np.log(2 * np.pi)).mean(-1)
    else:
        rows = ((wanted - outputs) ** 2).mean(-1)
    if bootstrap:
        keys = [jax.random.fold_in(jax.random.key(0), slot) for slot in range(10, 16)]
        weights = np.stack([2.0 * np.asarray(jax.random.bernoulli(key, 0.5, (3,))) for key in keys], axis=1)
        assert len({tuple(member) for member in weights}) == 3  # members do not train on identical batches
        rows = rows * weights
    assert metrics["model_loss"] == pytest.approx(rows.mean(), rel=1e-3)
    still, _ = quick(model.update)(state, data, slots, jnp.float32(0))
    jax.tree.map(np.testing.assert_array_equal, still.members, state.members)


def test_standardisation_is_that_of_recent_values():
    values = np.random.default_rng(0).normal(3, 5, (64, 2)).astype(np.float32)
    seen = running_statistics((2,))
    np.testing.assert_array_equal(information.standardize(seen, values), values)
    for chunk in np.split(values, 4):
        seen = information.observe_recent(seen, jnp.asarray(chunk))
    np.testing.assert_allclose(
        information.standardize(seen, values), (values - values.mean(0)) / values.std(0), atol=1e-4
    )
    constant = information.observe_recent(running_statistics((2,)), jnp.ones((4, 2)))
    np.testing.assert_allclose(information.standardize(constant, jnp.full((1, 2), 1.001)), 1, rtol=1e-3)
    old = RunningStatistics(jnp.float32(1e6), jnp.zeros(2), jnp.full(2, 4e6))
    after = information.observe_recent(old, jnp.asarray(values))
    assert after.seen == 1e6
    everything = (4e6 + (values.astype(np.float64) ** 2).sum(0)) / (1e6 + 64)
    np.testing.assert_allclose(after.deviation / after.seen, everything, rtol=1e-5)


def test_losses_targets_and_the_weight_are_the_papers():
    agent = maxinforl.make(SPEC, NOTHING, **AGENT, discount=0.9, temperature=0.2, information_weight=0.5)
    state = quick(agent.init)(jax.random.key(0))
    exploration = state.exploration
    # A slow actor that differs from the actor, and statistics that are not those of nothing.
    exploration = exploration._replace(
        target_actor=jax.tree.map(lambda leaf: leaf + 0.3, exploration.target_actor),
        gains=RunningStatistics(jnp.float32(5), jnp.float32(9), jnp.float32(20)),
    )
    state = state._replace(exploration=exploration)
    after, metrics = updated(agent, state)

    data = rollout(NOTHING, state, jax.random.key(1))
    index_key, noise_key, step_key = jax.random.split(jax.random.key(2), 3)
    indices = np.asarray(jax.random.randint(index_key, (1, 8), 0, 4))[0]
    next_noise, noise = np.asarray(jax.random.normal(noise_key, (2, 1, 8, 2)))[:, 0]
    slow_key = jax.random.split(jax.random.fold_in(step_key, 1), 1)[0]
    slow_noise = np.asarray(jax.random.normal(slow_key, (8, 2)))
    flat = jax.tree.map(lambda leaf: np.asarray(leaf).reshape(4, *leaf.shape[2:])[indices], data)
    action = (flat.action - np.array([0.0, 0.5])) / np.array([2.0, 0.5])
    model, learned = exploration.model, state.learner

    following, log_following = squashed(learned.actor, flat.next_observation.astype(np.float64), next_noise)
    gain = standard(exploration.gains, gain_of(model, flat.next_observation, following))
    pair = np.concatenate([flat.next_observation, following], -1)
    values = [dense(learned.target_critic, member, pair)[:, 0] for member in range(2)]
    target = flat.reward + 0.9 * (1 - flat.terminated) * (np.minimum(*values) + 0.5 * gain - 0.2 * log_following)
    pair = np.concatenate([flat.observation, action], -1)
    estimates = [dense(learned.critic, member, pair)[:, 0] for member in range(2)]
    assert metrics["critic_loss"] == pytest.approx(sum(0.5 * np.mean((e - target) ** 2) for e in estimates), rel=1e-3)

    observation = flat.observation.astype(np.float64)
    now, log_density = squashed(learned.actor, observation, noise)
    slow, _ = squashed(exploration.target_actor, observation, slow_noise)
    raw, slow_raw = gain_of(model, observation, now), gain_of(model, observation, slow)
    everything = information.observe_recent(
        exploration.gains, jnp.asarray(np.concatenate([raw, slow_raw]), jnp.float32)
    )
    gain, slow_gain = standard(everything, raw), standard(everything, slow_raw)
    pair = np.concatenate([observation, now], -1)
    value = np.minimum(*(dense(after.learner.critic, member, pair)[:, 0] for member in range(2)))
    loss = np.mean(0.2 * log_density - value - 0.5 * gain)
    assert metrics["actor_loss"] == pytest.approx(loss, rel=1e-3, abs=1e-3)
    assert metrics["information_gain"] == pytest.approx(raw.mean(), rel=1e-3)
    np.testing.assert_allclose(after.exploration.gains.mean, everything.mean, rtol=1e-4)

    # The weight falls where the policy is more informative than its slow copy, and rises elsewhere.
    excess = gain.mean() - slow_gain.mean()
    assert metrics["information_gain_over_target"] == pytest.approx(excess, rel=1e-2, abs=1e-3)
    assert abs(excess) > 0.01
    moved = float(after.exploration.log_weight - exploration.log_weight)
    assert moved == pytest.approx(-3e-4 * np.sign(excess), rel=1e-2)  # Adam's first step
    for slow_copy, fast, before in (
        (after.exploration.target_actor, after.learner.actor, exploration.target_actor),
        (after.learner.target_critic, after.learner.critic, learned.target_critic),
    ):
        wanted = jax.tree.map(lambda old, new: 0.995 * old + 0.005 * new, before, fast)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), slow_copy, wanted)
    # What a checkpoint keeps: statistics and the optimiser's state, of the ensemble too.
    assert after.exploration.model.inputs.seen == after.exploration.model.targets.seen == 8
    moments = jax.tree.leaves(jax.device_get(after.exploration.model.optimizer))
    assert sum(bool(np.any(leaf != 0)) for leaf in moments) == 1 + 2 * 8  # a count, and two of every parameter


def test_without_information_gain_it_is_sac():
    settings = {**SMALL, "updates_per_step": 0.5}
    one = sac.make(SPEC, NOTHING, **settings)
    other = maxinforl.make(SPEC, NOTHING, **settings, information_gain="none")
    state, twin = quick(one.init)(jax.random.key(0)), quick(other.init)(jax.random.key(0))
    assert twin.exploration == ()
    update, twin_update = (quick(agent.update) for agent in (one, other))
    for step in range(3):
        data, key = rollout(NOTHING, state, jax.random.key(10 + step)), jax.random.key(20 + step)
        (state, metrics), (twin, twin_metrics) = update(state, data, key), twin_update(twin, data, key)
        jax.tree.map(np.testing.assert_array_equal, (twin.learner, twin_metrics), (state.learner, metrics))

    unweighted = maxinforl.make(
        SPEC, NOTHING, **{**AGENT, **settings}, information_weight=0.0, tune_information_weight=False
    )
    with_model, _ = updated(unweighted, quick(unweighted.init)(jax.random.key(0)))
    alone, _ = updated(one, quick(one.init)(jax.random.key(0)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5), with_model.learner, alone.learner)
    with pytest.raises(UserError, match="information_weight=0"):
        maxinforl.make(SPEC, NOTHING, information_weight=0.0)


def products(jaxpr):
    """How many matrix products a program and those within it have."""
    count = sum(equation.primitive.name == "dot_general" for equation in jaxpr.eqns)
    inner = [leaf for equation in jaxpr.eqns for leaf in jax.tree.leaves(list(equation.params.values()))]
    return count + sum(products(getattr(leaf, "jaxpr", leaf)) for leaf in inner if hasattr(leaf, "eqns"))


def test_the_slow_actors_half_is_not_differentiated():
    counts = []
    for tuned in (True, False):
        agent = maxinforl.make(SPEC, NOTHING, **AGENT, tune_information_weight=tuned)
        state = jax.eval_shape(agent.init, jax.random.key(0))
        data = jax.eval_shape(lambda key, state=state: rollout(NOTHING, state, key), jax.random.key(1))
        counts.append(products(jax.make_jaxpr(agent.update)(state, data, jax.random.key(2)).jaxpr))
    # One pass of the actor, of two layers, and one of the ensemble: a fused first layer and three members' last.
    assert counts[0] - counts[1] == 2 + 1 + 3


def test_redq_takes_the_minimum_over_a_random_few():
    settings = {**SMALL, "num_critics": 4, "actor_value": "mean", "discount": 0.9, "temperature": 0.2}
    agent = sac.make(SPEC, NOTHING, **settings)
    state = quick(agent.init)(jax.random.key(0))
    after, metrics = updated(agent, state)

    index_key, noise_key, step_key = jax.random.split(jax.random.key(2), 3)
    chosen = jax.random.permutation(jax.random.split(jax.random.fold_in(step_key, 1), 1)[0], 4)[:2]
    indices = np.asarray(jax.random.randint(index_key, (1, 8), 0, 4))[0]
    next_noise, noise = np.asarray(jax.random.normal(noise_key, (2, 1, 8, 2)))[:, 0]
    data = rollout(NOTHING, state, jax.random.key(1))
    flat = jax.tree.map(lambda leaf: np.asarray(leaf).reshape(4, *leaf.shape[2:])[indices], data)
    following, log_following = squashed(state.learner.actor, flat.next_observation.astype(np.float64), next_noise)
    pair = np.concatenate([flat.next_observation, following], -1)
    values = np.stack([dense(state.learner.target_critic, member, pair)[:, 0] for member in range(4)])
    action = (flat.action - np.array([0.0, 0.5])) / np.array([2.0, 0.5])
    pair = np.concatenate([flat.observation, action], -1).astype(np.float64)
    estimates = [dense(state.learner.critic, member, pair)[:, 0] for member in range(4)]

    def critic_loss(of):
        target = flat.reward + 0.9 * (1 - flat.terminated) * (values[of].min(0) - 0.2 * log_following)
        return sum(0.5 * np.mean((estimate - target) ** 2) for estimate in estimates)

    assert metrics["critic_loss"] == pytest.approx(critic_loss(np.asarray(chosen)), rel=1e-4)
    assert abs(critic_loss(np.asarray(chosen)) / critic_loss(np.arange(4)) - 1) > 1e-3
    now, log_density = squashed(state.learner.actor, flat.observation.astype(np.float64), noise)
    pair = np.concatenate([flat.observation, now], -1)
    value = np.mean([dense(after.learner.critic, member, pair)[:, 0] for member in range(4)], axis=0)
    assert metrics["actor_loss"] == pytest.approx(np.mean(0.2 * log_density - value), rel=1e-3, abs=1e-4)

    inputs = jax.random.normal(jax.random.key(5), (7, 5))
    few = mlp((16,), 1, members=2).apply(choose_members(state.learner.critic, jnp.array([3, 1]), 4), inputs)
    np.testing.assert_allclose(few, mlp((16,), 1, members=4).apply(state.learner.critic, inputs)[np.array([3, 1])])
    with pytest.raises(UserError, match="target_critics=3"):
        sac.make(SPEC, NOTHING, **SMALL, target_critics=3)


def test_periods_of_the_actor_and_of_slow_copies_act():
    agent = maxinforl.make(SPEC, NOTHING, **{**AGENT, "updates_per_step": 1.0}, actor_period=2, target_rate=1.0)
    state = quick(agent.init)(jax.random.key(0))
    after, _ = updated(agent, state)
    learned = after.learner
    optimizers = learned.actor_optimizer, learned.critic_optimizer, after.exploration.model.optimizer
    counts = [{int(leaf) for leaf in jax.tree.leaves(one) if leaf.dtype == jnp.int32} for one in optimizers]
    assert counts == [{2}, {4}, {4}]
    # In the published code the counter of its period stands still. Here slow copies follow in every step.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), learned.target_critic, learned.critic)
    with pytest.raises(UserError, match="actor_period=2"):
        sac.make(SPEC, NOTHING, **SMALL, actor_period=2)


def test_epsilon_falls_and_says_who_acts():
    steps = jnp.array([0, 50, 100, 1000])
    values = epsilon_maxinforl.epsilon_at(steps, 1.0, 0.1, 100)
    np.testing.assert_allclose(values, [1.0, 0.55, 0.1, 0.1], rtol=1e-6)
    timestep = Timestep(jnp.ones(3), jnp.zeros(()), *[jnp.zeros((), bool)] * 2, jnp.ones(3), jnp.ones((), bool))
    keys = jax.random.split(jax.random.key(3), 1000)
    for draw_per in ("step", "episode"):
        agent = epsilon_maxinforl.make(
            SPEC, NOTHING, **SMALL, epsilon_start=0.3, epsilon_end=0.3, draw_per=draw_per, discount=0.0
        )
        state = quick(agent.init)(jax.random.key(0))
        carries = quick(jax.vmap(agent.begin, in_axes=(None, 0)))(state, keys)
        act = quick(jax.vmap(lambda s, c, k, agent=agent: agent.act(s, c, timestep, k, True)[1], in_axes=(None, 0, 0)))
        mixed = np.asarray(act(state, carries, keys))
        tasks = np.asarray(act(state._replace(explorer=state.learner), carries, keys))
        explorers = np.asarray(act(state._replace(learner=state.explorer), carries, keys))
        from_explorer = np.all(mixed == explorers, axis=1)
        assert np.all(from_explorer | np.all(mixed == tasks, axis=1))
        assert from_explorer.mean() == pytest.approx(0.3, abs=0.05)
        drawn = np.asarray(carries.draw) < 0.3
        assert np.array_equal(drawn, from_explorer) == (draw_per == "episode")
        carry = jax.tree.map(lambda leaf: leaf[0], carries)
        best = quick(lambda s, agent=agent, carry=carry: agent.act(s, carry, timestep, keys[0], False)[1])
        np.testing.assert_array_equal(best(state), best(state._replace(explorer=state.learner)))

    # Without a discount the targets are the rewards: the task's for one, the objective's, here 0, for the other.
    _, metrics = updated(agent, state)
    data = rollout(NOTHING, state, jax.random.key(1))
    indices = np.asarray(jax.random.randint(jax.random.split(jax.random.key(2), 3)[0], (1, 8), 0, 4))[0]
    flat = jax.tree.map(lambda leaf: np.asarray(leaf).reshape(4, *leaf.shape[2:])[indices], data)
    pair = np.concatenate([flat.observation, (flat.action - [0.0, 0.5]) / [2.0, 0.5]], -1).astype(np.float64)
    for prefix, learned, reward in (("", state.learner, flat.reward), ("explorer_", state.explorer, 0)):
        errors = [dense(learned.critic, member, pair)[:, 0] - reward for member in range(2)]
        assert metrics[prefix + "critic_loss"] == pytest.approx(sum(0.5 * np.mean(e**2) for e in errors), rel=1e-3)


def test_what_was_seen_often_tells_little():
    """The ensemble agrees where it was trained and disagrees elsewhere; random features are targets that stay."""
    for targets in ("dynamics", "random_features"):
        model = information.information_model(3, 2, **{**MODEL, "targets": targets, "hidden_sizes": (32,)})

        def step(state, key, model=model):
            places = jax.random.uniform(key, (32, 5), minval=-1.0)
            data = transitions(32)._replace(
                observation=places[:, :3],
                action=places[:, 3:],
                next_observation=places[:, :3] + jnp.sin(places[:, 2:]),
                reward=places[:, 0],
            )
            return model.update(state, data, jnp.arange(32), jnp.float32(1))

        def trial(key, model=model, step=step):
            state = model.init(key)
            trained, metrics = jax.lax.scan(step, state, jax.random.split(jax.random.key(1), 400))
            near = jax.random.uniform(jax.random.key(2), (256, 5), minval=-1.0)
            gains = [jnp.mean(model.gain(trained, r * near[:, :3], r * near[:, 3:])) for r in (1.0, 4.0)]
            return state, trained, metrics, gains

        state, trained, metrics, gains = quick(trial)(jax.random.key(0))
        assert metrics["model_loss"][-1] < 0.1 * metrics["model_loss"][0]
        assert gains[1] > gains[0] + 2, gains
        jax.tree.map(np.testing.assert_array_equal, trained.random_network, state.random_network)


def test_members_are_orthogonal_and_their_own():
    network = fused_ensemble((8,), 2, members=2)
    parameters = network.init(jax.random.key(0), 4)
    first, second = np.split(np.asarray(parameters["first"]["kernel"]), 2, axis=1)
    np.testing.assert_allclose(first @ first.T, 2 * np.eye(4), atol=1e-5)
    assert np.abs(first - second).max() > 0.1
    inputs = np.random.default_rng(0).normal(size=(3, 4))
    outputs = network.apply(parameters, jnp.asarray(inputs, jnp.float32))
    np.testing.assert_allclose(outputs, members_outputs(parameters, inputs), rtol=1e-4, atol=1e-5)
