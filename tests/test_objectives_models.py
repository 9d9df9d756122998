"""Objectives with a model of the world: rewards and losses against numpy, published defects, what is learned."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from infojax.agents import parts
from infojax.objectives import compression_progress, disagreement, icm, latent_bayesian_surprise, none, rnd
from infojax.objectives.parts import flat_inputs
from infojax.testing import QUICK
from infojax.types import EnvSpec, Rollout, Transition, UserError

CONTINUOUS = EnvSpec((3,), (2,), None, (-1.0, -1.0), (1.0, 1.0), 10, name="test")
DISCRETE = CONTINUOUS._replace(action_shape=(), num_actions=4, low=(), high=())
SYMBOLS = DISCRETE._replace(observation_shape=(2, 2), num_categories=3)
SPECS = {"continuous": CONTINUOUS, "discrete": DISCRETE, "symbols": SYMBOLS}
SMALL = {"hidden_sizes": (6, 5), "learning_rate": 1e-3}


def batch(spec, seed=0, count=8):
    generator = np.random.default_rng(seed)
    shape = (2, count, *spec.observation_shape)
    seen = generator.normal(size=shape) if spec.num_categories is None else generator.integers(0, 3, shape)
    observation, following = jnp.asarray(seen, jnp.float32)
    if spec.num_actions is None:
        action = jnp.asarray(generator.uniform(-1, 1, (count, *spec.action_shape)), jnp.float32)
    else:
        action = jnp.asarray(generator.integers(0, spec.num_actions, count), jnp.int32)
    return transitions_from(observation, action, following)


def transitions_from(observation, action, following):
    count = observation.shape[0]
    empty, no = jnp.zeros((count, 0)), jnp.zeros((count,), bool)
    return Transition(observation, empty, action, jnp.zeros(count), following, empty, no, no)


def arrays(spec, transitions):
    """Features of s, a and s' in float64, one-hot where they are symbols."""

    def one_hot(symbols, count):
        return np.eye(count)[np.asarray(symbols, int)].reshape(len(symbols), -1)

    seen = [np.asarray(part, np.float64) for part in (transitions.observation, transitions.next_observation)]
    if spec.num_categories is not None:
        seen = [one_hot(part, spec.num_categories) for part in seen]
    action = np.asarray(transitions.action, np.float64)
    return seen[0], action if spec.num_actions is None else one_hot(action, spec.num_actions), seen[1]


def dense(parameters, *inputs, member=0, last=None):
    """A network by numpy: `last` is what is done to its outputs."""
    hidden, layer = np.concatenate(inputs, -1), 0
    while (name := f"member_{member}_layer_{layer}") in parameters:
        hidden = np.maximum(hidden @ parameters[name]["kernel"] + parameters[name]["bias"], 0)
        layer += 1
    outputs = hidden @ parameters[f"member_{member}_output"]["kernel"] + parameters[f"member_{member}_output"]["bias"]
    return outputs if last is None else last(outputs)


def relu(values):
    return np.maximum(values, 0)


def softplus(values):
    return np.log1p(np.exp(values))


def normal_log_density(values, mean, scale):
    return np.sum(-0.5 * ((values - mean) / scale) ** 2 - np.log(scale) - 0.5 * np.log(2 * np.pi), -1)


def compiled(objective):
    names = ("init", "reward", "observe", "update", "report")
    return objective._replace(**{name: jax.jit(getattr(objective, name), compiler_options=QUICK) for name in names})


def shaken(tree):
    """Parameters off their initial values: units with biases of 0 can rest on the kink, where slopes are not one."""
    generator = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: leaf + jnp.asarray(generator.normal(0, 0.1, leaf.shape), jnp.float32), tree)


def numbers(tree):
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


def assert_gradient(loss, parameters, optimizer):
    """The first step's gradient, in every part of the parameters, is the slope of the loss as numpy computes it."""
    parameters, gradient = numbers(parameters), jax.tree.map(lambda leaf: leaf / 0.1, numbers(optimizer[0].mu))
    names = getattr(parameters, "_fields", None) or list(parameters)
    for name in names:
        generator = np.random.default_rng(1)
        read = getattr if hasattr(parameters, "_fields") else dict.__getitem__
        change = jax.tree.map(lambda leaf, draw=generator: draw.normal(size=leaf.shape), read(parameters, name))

        def moved(step, name=name, change=change, read=read):
            part = jax.tree.map(lambda leaf, by: leaf + step * by, read(parameters, name), change)
            named = hasattr(parameters, "_fields")
            return parameters._replace(**{name: part}) if named else {**parameters, name: part}

        expected = (loss(moved(1e-6)) - loss(moved(-1e-6))) / 2e-6
        products = jax.tree.map(lambda leaf, by: np.sum(leaf * by), read(gradient, name), change)
        assert sum(jax.tree.leaves(products)) == pytest.approx(expected, rel=2e-3, abs=2e-4), name


# --- latent Bayesian surprise


def believe(model, spec, transitions):
    observation, action, following = arrays(spec, transitions)
    hidden = dense(model.trunk, observation, action, last=relu)
    prior = np.split(dense(model.prior, hidden), 2, -1)
    posterior = np.split(dense(model.posterior, hidden, following), 2, -1)
    return following, prior[0], softplus(prior[1]) + 1e-4, posterior[0], softplus(posterior[1]) + 1e-4


def divergence(model, spec, transitions):
    _, m_p, s_p, m_q, s_q = believe(model, spec, transitions)
    return np.sum(np.log(s_p / s_q) + (s_q**2 + (m_q - m_p) ** 2) / (2 * s_p**2) - 0.5, -1)


@pytest.mark.parametrize("name", SPECS)
def test_latent_bayesian_surprise_is_the_papers(name):
    spec, key = SPECS[name], jax.random.key(3)
    transitions = batch(spec)
    objective = compiled(latent_bayesian_surprise.make(spec, latent_size=4, beta=0.7, **SMALL))
    state = objective.init(jax.random.key(0))
    state = state._replace(model=shaken(state.model))
    noise = np.asarray(jax.random.normal(key, (8, 4)), np.float64)

    def parts_of_loss(model):
        following, _, _, mean, scale = believe(model, spec, transitions)
        fit = normal_log_density(following, dense(model.reconstruction, mean + scale * noise), np.ones(following.shape))
        return divergence(model, spec, transitions).mean(), fit.mean()

    def loss(model):
        surprise, fit = parts_of_loss(model)
        return 0.7 * surprise - fit

    model = numbers(state.model)
    expected = divergence(model, spec, transitions)
    assert expected.max() > 0.1
    np.testing.assert_allclose(objective.reward(state, transitions), expected, rtol=1e-4, atol=1e-5)
    after, metrics = objective.update(state, transitions, key)
    surprise, fit = parts_of_loss(model)
    assert float(metrics["kl"]) == pytest.approx(surprise, rel=1e-4)
    assert float(metrics["reconstruction_log_likelihood"]) == pytest.approx(fit, rel=1e-4)
    assert float(metrics["model_loss"]) == pytest.approx(loss(model), rel=1e-4)
    # No part is detached: prior, posterior and trunk follow the divergence too.
    assert_gradient(loss, state.model, after.optimizer)


def test_forms_of_latent_bayesian_surprise():
    transitions = batch(CONTINUOUS)
    by_means = compiled(latent_bayesian_surprise.make(CONTINUOUS, form="mean_distance", **SMALL))
    state = by_means.init(jax.random.key(0))
    state = state._replace(model=shaken(state.model))

    def distance(model):
        _, prior, _, posterior, _ = believe(model, CONTINUOUS, transitions)
        return np.mean((posterior - prior) ** 2, -1)

    def loss(model):
        following, _, _, posterior, _ = believe(model, CONTINUOUS, transitions)
        return np.mean(distance(model) + np.mean((dense(model.reconstruction, posterior) - following) ** 2, -1))

    model = numbers(state.model)
    np.testing.assert_allclose(by_means.reward(state, transitions), distance(model), rtol=1e-4)
    after, metrics = by_means.update(state, transitions, jax.random.key(1))
    assert float(metrics["model_loss"]) == pytest.approx(loss(model), rel=1e-4)
    assert_gradient(loss, state.model, after.optimizer)

    accuracy = compiled(latent_bayesian_surprise.make(CONTINUOUS, form="accuracy", **SMALL))
    following, _, _, mean, scale = believe(model, CONTINUOUS, transitions)
    latents = mean + scale * np.random.default_rng(0).normal(size=(40_000, *mean.shape))
    fit = normal_log_density(following, dense(model.reconstruction, latents), np.ones(following.shape)).mean(0)
    expected = divergence(model, CONTINUOUS, transitions) - fit
    np.testing.assert_allclose(accuracy.reward(state, transitions), expected, rtol=0.02)


def test_no_surprise_where_the_posterior_is_the_prior():
    objective = compiled(latent_bayesian_surprise.make(CONTINUOUS, **SMALL))
    state = objective.init(jax.random.key(0))
    assert objective.reward(state, batch(CONTINUOUS)).min() > 1e-3
    mute = {"kernel": jnp.zeros((5, 6)), "bias": jnp.linspace(-1, 1, 6)}
    model = state.model._replace(
        prior={"member_0_output": mute}, posterior={**state.model.posterior, "member_0_output": mute}
    )
    np.testing.assert_array_equal(objective.reward(state._replace(model=model), batch(CONTINUOUS)), 0)


def test_no_surprise_crosses_a_reset():
    """Published code takes the observation after a reset for s' of the step before it."""
    objective = compiled(latent_bayesian_surprise.make(CONTINUOUS, **SMALL))
    state = objective.init(jax.random.key(0))
    seen, empty = batch(CONTINUOUS, count=2), jnp.zeros((2, 1, 0))

    def of(reset_observation, final_observation):
        no = jnp.zeros((2, 1), bool)
        rollout = Rollout(
            observation=jnp.stack([seen.observation[:1], reset_observation]),
            first=no.at[1].set(True),
            action=seen.action[:, None],
            reward=jnp.zeros((2, 1)),
            terminated=no,
            truncated=no.at[0].set(True),
            next_observation=jnp.stack([final_observation, seen.next_observation[1:]]),
            extras={"context": empty},
        )
        return parts.transitions_of(rollout, none.make(CONTINUOUS), ())

    reset, final = seen.observation[1:], seen.next_observation[:1]
    before, elsewhere = of(reset, final), of(reset + 3, final)
    rewards = np.asarray(objective.reward(state, before))
    np.testing.assert_allclose(rewards, divergence(numbers(state.model), CONTINUOUS, seen), rtol=1e-4)
    other = np.asarray(objective.reward(state, elsewhere))
    assert rewards[0] == other[0] and abs(rewards[1] - other[1]) > 1e-3
    assert abs(rewards[0] - float(objective.reward(state, of(reset, reset))[0])) > 1e-3


# --- training on a small world


def world(key, noise, count=64):
    """s' follows from s and a, a share of it replaced by noise; all dimensions have about unit variance."""
    keys = jax.random.split(key, 3)
    observation = jax.random.normal(keys[0], (count, 2))
    action = jax.random.uniform(keys[1], (count, 1), jnp.float32, -1, 1)
    known = 0.8 * observation[:, ::-1] + jnp.concatenate([action, -action], -1)
    return transitions_from(observation, action, (1 - noise) * known + noise * jax.random.normal(keys[2], (count, 2)))


WORLD = EnvSpec((2,), (1,), None, (-1.0,), (1.0,), 10, name="world")


def trained(make, steps, noise=1.0, draw=world):
    """The state after `steps` updates; at every tenth of them what is reported and rewarded on a fixed batch."""
    objective = make(WORLD)
    keys = jax.random.split(jax.random.key(1), steps)
    held_out = draw(jax.random.key(2), noise, 1024)

    def step(state, key):
        transitions = draw(key, noise)
        state, _ = objective.update(objective.observe(state, transitions), transitions, key)
        return state, None

    def stretch(state, keys):
        state, _ = jax.lax.scan(step, state, keys)
        return state, (objective.report(state, held_out), objective.reward(state, held_out))

    return jax.lax.scan(stretch, objective.init(jax.random.key(0)), keys.reshape(10, steps // 10))


def test_surprise_is_what_rate_and_distortion_say():
    """Of noise with unit variance a nat is kept where it is worth β: D(q‖p) = max(0, −½ log β) per dimension.

    A collapsed posterior and a world without surprise both have no divergence; the log-likelihood tells them apart.
    """

    def run(beta, noise):
        make = partial(latent_bayesian_surprise.make, beta=beta, hidden_sizes=(32, 32), learning_rate=3e-3)
        return jax.tree.map(lambda leaf: leaf[-1], trained(make, 1500, noise)[1][0])

    runs = jax.jit(lambda given: jax.lax.map(lambda one: run(*one), given), compiler_options=QUICK)
    found = runs((jnp.array([0.1, 5.0, 0.1]), jnp.array([1.0, 1.0, 0.0])))
    surprise, fit = np.asarray(found["kl"]), np.asarray(found["reconstruction_log_likelihood"])
    perfect = -np.log(2 * np.pi)
    np.testing.assert_allclose(surprise[:2], [np.log(10), 0], atol=0.4)
    np.testing.assert_allclose(fit[:2], [perfect - 0.1, perfect - 1], atol=0.2)
    assert surprise[2] < surprise[0] / 3 and fit[2] > perfect - 0.2


# --- random network distillation


@pytest.mark.parametrize("name", ["continuous", "symbols"])
def test_rnd_is_the_scaled_error_of_the_predictor(name):
    spec = SPECS[name]
    objective = compiled(rnd.make(spec, feature_size=4, **SMALL))
    start = objective.init(jax.random.key(0))
    start = start._replace(predictor=shaken(start.predictor))
    batches = [batch(spec, seed) for seed in range(2)]
    raw = [arrays(spec, transitions)[2] for transitions in batches]

    def error(predictor, features, seen):
        deviation = seen.std(0)
        scaled = np.clip((features - seen.mean(0)) / np.where(deviation > 1e-4, deviation, 1), -5, 5)
        return np.mean((dense(predictor, scaled) - dense(numbers(start.target), scaled)) ** 2, -1)

    state, seen, errors = start, np.zeros((0, raw[0].shape[1])), np.zeros(0)
    for transitions, features in zip(batches, raw, strict=True):
        state, seen = objective.observe(state, transitions), np.concatenate([seen, features])
        errors = np.concatenate([errors, error(numbers(start.predictor), features, seen)])
    extreme = batches[0]._replace(next_observation=batches[0].next_observation * (100 if name == "continuous" else 1))
    for transitions in (batches[0], extreme):
        expected = error(numbers(start.predictor), arrays(spec, transitions)[2], seen) / errors.std()
        np.testing.assert_allclose(objective.reward(state, transitions), expected, rtol=1e-3)

    after, metrics = objective.update(state, batches[0], jax.random.key(1))

    def loss(predictor):
        return error(predictor, raw[0], seen).mean()

    assert float(metrics["prediction_error"]) == pytest.approx(loss(numbers(state.predictor)), rel=1e-4)
    assert_gradient(loss, state.predictor, after.optimizer)
    jax.tree.map(np.testing.assert_array_equal, after.target, start.target)
    jax.tree.map(np.testing.assert_array_equal, after.errors, state.errors)  # replay is not seen twice


def line(key, noise, count=64):
    """What follows lies on a line, so that nothing is learned of the other direction."""
    transitions = world(key, noise, count)
    return transitions._replace(next_observation=transitions.next_observation * jnp.array([[1.0, 0.0]]))


def test_rnd_forgets_to_reward_what_was_visited():
    make = partial(rnd.make, feature_size=16, hidden_sizes=(32,), learning_rate=1e-3)
    run = partial(trained, make, noise=1.0, draw=line)
    begin, state = jax.jit(lambda: (run(steps=10)[0], run(steps=1000)[0]), compiler_options=QUICK)()
    jax.tree.map(np.testing.assert_array_equal, state.target, begin.target)
    near = line(jax.random.key(5), 1.0)
    far = near._replace(next_observation=near.next_observation + jnp.array([[0.0, 4.0]]))
    # Errors, so that the running scale, which falls with them, plays no part.
    report = compiled(make(WORLD)).report
    error = [[float(report(one, which)["prediction_error"]) for which in (near, far)] for one in (begin, state)]
    assert error[1][0] < 0.05 * error[0][0] and error[1][1] > 0.4 * error[0][1], error


# --- the intrinsic curiosity module


@pytest.mark.parametrize("name, learns_from", [("continuous", "both"), ("discrete", "inverse"), ("symbols", "both")])
def test_icm_is_the_papers(name, learns_from):
    spec = SPECS[name]
    transitions = batch(spec)
    objective = compiled(icm.make(spec, feature_size=4, eta=0.3, encoder_learns_from=learns_from, **SMALL))
    state = objective.init(jax.random.key(0))
    state = state._replace(model=shaken(state.model))
    observation, action, following = arrays(spec, transitions)
    fixed = numbers(state.model)

    def squared(model, encoder):
        before, after = dense(encoder, observation), dense(encoder, following)
        return np.sum((dense(model.forward, before, action) - after) ** 2, -1)

    def losses(model):
        encoder = model.encoder if learns_from == "both" else fixed.encoder
        predicted = dense(model.inverse, dense(model.encoder, observation), dense(model.encoder, following))
        if spec.num_actions is None:
            inverse = np.mean((predicted - action) ** 2, -1)
        else:
            inverse = np.log(np.exp(predicted).sum(-1)) - predicted[action > 0]
        return squared(model, encoder).mean() / 2, inverse.mean()

    def loss(model):
        forward, inverse = losses(model)
        return 0.2 * forward + 0.8 * inverse

    expected = squared(fixed, fixed.encoder)
    np.testing.assert_allclose(objective.reward(state, transitions), 0.3 / 2 * expected, rtol=1e-4)
    log_form = compiled(icm.make(spec, form="log", feature_size=4, **SMALL))
    np.testing.assert_allclose(log_form.reward(state, transitions), np.log(1 + np.sqrt(expected)), rtol=1e-4)
    after, metrics = objective.update(state, transitions, jax.random.key(1))
    found = [float(metrics[part]) for part in ("forward_loss", "inverse_loss", "model_loss")]
    np.testing.assert_allclose(found, [*losses(fixed), loss(fixed)], rtol=1e-4)
    assert_gradient(loss, state.model, after.optimizer)


# --- disagreement


@pytest.mark.parametrize(
    "name, target", [("continuous", "next_observation"), ("discrete", "difference"), ("symbols", "next_observation")]
)
def test_disagreement_is_the_papers(name, target):
    spec, key = SPECS[name], jax.random.key(4)
    transitions = batch(spec)
    objective = compiled(disagreement.make(spec, num_members=3, target=target, bootstrap=0.4, **SMALL))
    state = objective.init(jax.random.key(0))
    state = state._replace(members=shaken(state.members))
    observation, action, following = arrays(spec, transitions)
    wanted = following - observation if target == "difference" else following
    share = np.asarray(jax.random.bernoulli(key, 0.4, (3, 8)), np.float64)
    assert len({tuple(row) for row in share}) == 3 and share.sum(1).min() > 0

    def predictions(members):
        return np.stack([dense(members, observation, action, member=member) for member in range(3)])

    def errors(members):
        return np.mean((predictions(members) - wanted) ** 2, -1)

    def loss(members):
        return np.sum(np.sum(share * errors(members), 1) / share.sum(1))

    members = numbers(state.members)
    expected = predictions(members).var(0).mean(-1)
    np.testing.assert_allclose(objective.reward(state, transitions), expected, rtol=1e-4)
    after, metrics = objective.update(state, transitions, key)
    assert float(metrics["model_loss"]) == pytest.approx(loss(members) / 3, rel=1e-4)
    assert float(metrics["prediction_error"]) == pytest.approx(errors(members).mean(), rel=1e-4)
    assert_gradient(loss, state.members, after.optimizer)


def test_members_learn_from_different_transitions():
    """Published ensembles train all heads on the same batch, so that heads which begin alike never part."""
    apart = {}
    for bootstrap in (1.0, 0.5):
        objective = compiled(disagreement.make(CONTINUOUS, num_members=2, bootstrap=bootstrap, **SMALL))
        state = objective.init(jax.random.key(0))
        names = sorted(state.members)
        alike = {name: state.members[name.replace("member_1", "member_0")] for name in names}
        state = state._replace(members=alike)
        for count in range(5):
            state, _ = objective.update(state, batch(CONTINUOUS, count), jax.random.key(count))
        apart[bootstrap] = float(objective.reward(state, batch(CONTINUOUS)).max())
    assert apart[1.0] == 0 and apart[0.5] > 1e-9
    with pytest.raises(UserError, match="at least 2"):
        disagreement.make(CONTINUOUS, num_members=1)


# --- compression progress


@pytest.mark.parametrize("name", ["continuous", "symbols"])
def test_progress_is_the_difference_of_log_likelihoods(name):
    spec = SPECS[name]
    transitions = batch(spec)
    objective = compiled(compression_progress.make(spec, rate=0.25, min_scale=0.1, **SMALL))
    start = objective.init(jax.random.key(0))
    model = shaken(start.model)
    start = start._replace(model=model, older=model)
    np.testing.assert_array_equal(objective.reward(start, transitions), 0)
    observation, action, following = arrays(spec, transitions)

    def log_likelihood(model):
        predicted = dense(model, observation, action)
        if spec.num_categories is None:
            mean, raw_scale = np.split(predicted, 2, -1)
            return normal_log_density(following, mean, softplus(raw_scale) + 0.1)
        logits = predicted.reshape(len(predicted), -1, 3)
        logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        return np.sum(logs * following.reshape(logits.shape), (-1, -2))

    state, metrics = objective.update(start, transitions, jax.random.key(1))
    assert float(metrics["model_loss"]) == pytest.approx(-log_likelihood(numbers(start.model)).mean(), rel=1e-4)
    assert_gradient(lambda model: -log_likelihood(model).mean(), start.model, state.optimizer)
    older = jax.tree.map(lambda old, new: 0.75 * old + 0.25 * new, numbers(start.model), numbers(state.model))
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), state.older, older)
    expected = log_likelihood(numbers(state.model)) - log_likelihood(older)
    assert expected.mean() > 1e-3
    np.testing.assert_allclose(objective.reward(state, transitions), expected, atol=1e-5)
    clipped = compiled(compression_progress.make(spec, rate=0.25, min_scale=0.1, clip=True, **SMALL))
    backwards = state._replace(model=state.older, older=state.model)
    np.testing.assert_allclose(clipped.reward(backwards, transitions), np.maximum(-expected, 0), atol=1e-5)
    assert float(objective.reward(backwards, transitions).min()) < -1e-3


def test_snapshots_are_one_to_two_lags_old():
    objective = compiled(compression_progress.make(CONTINUOUS, older="snapshot", lag=2, **SMALL))
    state = objective.init(jax.random.key(0))
    models = [state.model]
    for count, age in enumerate([1, 2, 3, 2, 3, 2], start=1):
        state, _ = objective.update(state, batch(CONTINUOUS, count), jax.random.key(count))
        models.append(state.model)
        jax.tree.map(np.testing.assert_array_equal, state.older, models[max(count - age, 0)])


# --- what noise does to them


def remote(key, noise, count=64):
    """The second entry is drawn anew where the action is positive: noise at one's own command."""
    keys = jax.random.split(key, 3)
    observation = jax.random.normal(keys[0], (count, 2))
    action = jax.random.uniform(keys[1], (count, 1), jnp.float32, -1, 1)
    drawn = jnp.where(action > 0, jax.random.normal(keys[2], (count, 1)), observation[:, 1:])
    return transitions_from(observation, action, jnp.concatenate([-observation[:, :1], drawn], -1))


def test_noise_keeps_curiosity_but_neither_progress_nor_disagreement():
    settings = {"hidden_sizes": (32,), "learning_rate": 3e-3}
    run = partial(trained, draw=remote, steps=1500)
    makes = {
        "icm": partial(icm.make, feature_size=8, **settings),
        "disagreement": partial(disagreement.make, **settings),
        "progress": partial(compression_progress.make, **settings),
    }
    found = {name: jax.jit(lambda make=make: run(make)[1], compiler_options=QUICK)() for name, make in makes.items()}
    noisy = np.asarray(remote(jax.random.key(2), 1.0, 1024).action)[:, 0] > 0
    at_noise = {name: np.asarray(reward)[:, noisy].mean(1) for name, (_, reward) in found.items()}
    elsewhere = np.asarray(found["icm"][1])[:, ~noisy].mean(1)
    assert at_noise["icm"][-1] > 0.5 * at_noise["icm"][0] and at_noise["icm"][-1] > 5 * elsewhere[-1]
    assert at_noise["disagreement"][-1] < 0.3 * at_noise["disagreement"][0]
    error = np.asarray(found["disagreement"][0]["prediction_error"])
    assert error[-1] > 0.7 * error[0]
    assert abs(at_noise["progress"][-3:].mean()) < 0.05 * at_noise["progress"][0]


def test_observations_must_be_flat_or_symbols():
    with pytest.raises(UserError, match="flatten"):
        flat_inputs(CONTINUOUS._replace(observation_shape=(4, 4)), "rnd")
    with pytest.raises(UserError, match="hidden_sizes"):
        latent_bayesian_surprise.make(CONTINUOUS, hidden_sizes=())
