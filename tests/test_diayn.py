"""DIAYN's objective: the formula of its reward, what it reports, and that the discriminator never sees the skill."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from infojax import testing
from infojax.objectives import diayn, diayn_continuous
from infojax.types import EnvSpec, Transition, UserError, keep_context

SPEC = EnvSpec((3,), (2,), None, (-1.0, -1.0), (1.0, 1.0), 10, name="test")
SMALL = {"num_skills": 4, "hidden_sizes": (16,)}


def batch(objective, contexts, observation, next_observation=None):
    count = observation.shape[0]
    following = observation if next_observation is None else next_observation
    no = jnp.zeros((count,), bool)
    zeros = jnp.zeros((count,), jnp.float32)
    return Transition(observation, contexts, jnp.zeros((count, 2)), zeros, following, contexts, no, no)


def discriminator_log_probability(state, observation):
    """The discriminator by hand, in numpy."""
    layer, output = state.discriminator["member_0_layer_0"], state.discriminator["member_0_output"]
    hidden = np.maximum(np.asarray(observation) @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"]), 0)
    logits = hidden @ np.asarray(output["kernel"]) + np.asarray(output["bias"])
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


@pytest.mark.parametrize("prior", [None, (0.1, 0.2, 0.3, 0.4)])
@pytest.mark.parametrize("reward_on", ["observation", "next_observation"])
def test_reward_is_log_q_minus_log_p_on_the_state_it_names(prior, reward_on):
    objective = diayn.make(SPEC, prior=prior, reward_on=reward_on, **SMALL)
    state = objective.init(jax.random.key(0))
    observation, following = jax.random.normal(jax.random.key(1), (2, 6, 3))
    skill = np.array([0, 1, 2, 3, 0, 1])
    transitions = batch(objective, jnp.eye(4)[skill], observation, following)
    chosen = observation if reward_on == "observation" else following
    log_q = discriminator_log_probability(state, chosen)[np.arange(6), skill]
    log_p = np.log(np.full(4, 0.25) if prior is None else np.array(prior))[skill]
    np.testing.assert_allclose(objective.reward(state, transitions), log_q - log_p, rtol=1e-4, atol=1e-5)


def test_the_reward_follows_the_discriminator_of_now():
    objective = diayn.make(SPEC, learning_rate=0.05, **SMALL)
    state = objective.init(jax.random.key(0))
    contexts = jnp.eye(4)
    transitions = batch(objective, contexts, jnp.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [-1.0, -1, -1]]))
    before, update = objective.reward(state, transitions), jax.jit(objective.update)
    for index in range(200):
        state, _ = update(state, transitions, jax.random.key(index))
    after = objective.reward(state, transitions)
    assert (np.asarray(after) > 0.9 * np.log(4)).all()
    assert not np.allclose(before, after)


def test_skills_follow_the_prior():
    prior = (0.5, 0.3, 0.15, 0.05)
    objective = diayn.make(SPEC, prior=prior, **SMALL)
    state = objective.init(jax.random.key(0))
    drawn = jax.vmap(objective.context, in_axes=(None, 0))(state, jax.random.split(jax.random.key(1), 8000))
    np.testing.assert_allclose(jnp.mean(drawn, axis=0), prior, atol=0.02)
    assert objective.report(state, batch(objective, jnp.eye(4), jnp.ones((4, 3))))[
        "mutual_information_ceiling"
    ] == pytest.approx(-np.sum(np.array(prior) * np.log(prior)))


def test_the_skill_does_not_reach_the_discriminator():
    """A discriminator that saw the context could not be wrong; with constant observations it must know nothing."""
    objective = diayn.make(SPEC, learning_rate=0.02, **SMALL)
    state = objective.init(jax.random.key(0))
    transitions = batch(objective, jnp.tile(jnp.eye(4), (8, 1)), jnp.ones((32, 3)))
    update = jax.jit(objective.update)
    for index in range(300):
        state, _ = update(state, transitions, jax.random.key(index))
    found = objective.report(state, transitions)
    assert found["mutual_information"] == pytest.approx(0.0, abs=0.01)
    assert found["accuracy"] == pytest.approx(0.25)


def test_report_is_the_barber_agakov_bound_of_the_true_skill_within_the_mask():
    objective = diayn.make(SPEC, **SMALL)
    state = objective.init(jax.random.key(3))
    observation = 100 * jax.random.normal(jax.random.key(4), (64, 3))
    skill = np.arange(64) % 4
    mask = np.arange(64) < 40
    found = objective.report(state, batch(objective, jnp.eye(4)[skill], observation), jnp.asarray(mask))
    log_q = discriminator_log_probability(state, observation)
    expected = np.log(4) + log_q[np.arange(64), skill][mask].mean()
    assert found["mutual_information"] == pytest.approx(expected, rel=1e-4)
    assert found["mutual_information"] < 0  # untrained and confident: far from its prediction entropy
    assert found["accuracy"] == pytest.approx((log_q.argmax(-1) == skill)[mask].mean())
    confusion = np.zeros((4, 4))
    np.add.at(confusion, (skill[mask], log_q.argmax(-1)[mask]), 1)
    np.testing.assert_allclose(found["confusion"], confusion / confusion.sum(1, keepdims=True), rtol=1e-6)


def test_chosen_features_alone_are_seen():
    objective = diayn.make(SPEC, features=(2,), **SMALL)
    state = objective.init(jax.random.key(0))
    one = batch(objective, jnp.eye(4), jnp.array([[1.0, 2.0, 3.0]] * 4))
    other = batch(objective, jnp.eye(4), jnp.array([[-7.0, 9.0, 3.0]] * 4))
    np.testing.assert_array_equal(objective.reward(state, one), objective.reward(state, other))


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"features": (3,)}, "features"),
        ({"features": ()}, "features"),
        ({"prior": (0.5, 0.5)}, "prior"),
        ({"prior": (0.5, 0.5, 0.5, 0.5)}, "sum"),
    ],
)
def test_wrong_features_and_priors_are_refused(keywords, words):
    with pytest.raises(UserError, match=words):
        diayn.make(SPEC, **{**SMALL, **keywords})


def test_continuous_reward_is_the_density_ratio():
    objective = diayn_continuous.make(SPEC, skill_size=2, hidden_sizes=(16,), min_scale=0.1)
    state = objective.init(jax.random.key(0))
    observation = jax.random.normal(jax.random.key(1), (5, 3))
    skill = jax.random.uniform(jax.random.key(2), (5, 2), minval=-1, maxval=1)
    raw = np.asarray(
        np.maximum(
            np.asarray(observation) @ np.asarray(state.discriminator["member_0_layer_0"]["kernel"])
            + np.asarray(state.discriminator["member_0_layer_0"]["bias"]),
            0,
        )
        @ np.asarray(state.discriminator["member_0_output"]["kernel"])
        + np.asarray(state.discriminator["member_0_output"]["bias"])
    )
    mean, scale = np.tanh(raw[:, :2]), np.log1p(np.exp(raw[:, 2:])) + 0.1
    log_q = (-0.5 * ((np.asarray(skill) - mean) / scale) ** 2 - np.log(scale) - 0.5 * np.log(2 * np.pi)).sum(-1)
    reward = objective.reward(state, batch(objective, skill, observation))
    np.testing.assert_allclose(reward, log_q + 2 * np.log(2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "make", [lambda: diayn.make(SPEC, **SMALL), lambda: diayn_continuous.make(SPEC, hidden_sizes=(8,))]
)
def test_the_battery(make):
    objective = make()
    assert objective.advance is keep_context
    testing.check_objective(objective, SPEC)
