"""The common battery over every agent, objective and environment of the package, found by their folders."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from infojax import testing
from infojax.run import config as configuration
from infojax.run.loop import device_loop
from infojax.types import EnvSpec

CONFIGS = Path(__file__).parents[1] / "configs"
# Whatever an agent or its objective calls its sizes, they are tiny here.
AGENT = {
    "num_envs": 4,
    "batch_size": 8,
    "hidden_sizes": [8],
    "model_hidden_sizes": [8],
    "replay_capacity": 64,
    "random_steps": 0,
    "learning_starts": 0,
    "updates_per_step": 0.5,
    "actor_period": 1,
    "epochs": 2,
    "minibatches": 2,
    "minibatch_size": 16,
    "round_length": 4,
    "members": 2,
}
OBJECTIVE = {
    "hidden_sizes": [8],
    "num_skills": 4,
    "feature_size": 8,
    "members": 2,
    "skill": 1,
    "k": 3,
    "latent_size": 2,
}
UNROLL = {"adversarial_surprise": 16, "ppo": 8, "latent_bayesian_surprise": 8}


def names(group):
    return sorted(str(path.relative_to(CONFIGS / group).with_suffix("")) for path in (CONFIGS / group).rglob("*.yaml"))


def built(agent, env, *words, episode_length=8):
    """The choice, with every size that it has made tiny."""
    choice = [f"agent={agent}", f"env={env}", *words]
    if not any(word.startswith("objective=") for word in words) and agent in ("sac", "ppo"):
        choice.append("objective=none")
    config = configuration.compose([*choice, "total_steps=64"])
    sizes = {"agent": AGENT | {"unroll": UNROLL.get(agent, 2)}, "objective": OBJECTIVE, "env": {}}
    if "episode_length" in config["env"]:
        sizes["env"]["episode_length"] = episode_length
    for section, tiny in sizes.items():
        config[section] |= {key: value for key, value in tiny.items() if key in config[section]}
    return configuration.build(config)


def layouts(made):
    """Structure, shapes and types of the loop's state before and after a chunk; traced, nothing is compiled."""
    loop = device_loop(made.agent, made.environment, 1, 1, "vmap")
    state = jax.eval_shape(lambda: loop.init([0]))
    after, _ = jax.eval_shape(loop.chunk, state)
    return tuple(jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree) for tree in (state, after))


IN_FULL = ("adversarial_surprise", "maxinforl", "ppo")  # and sac with skills, in test_loop
SLOW = ("adversarial_surprise", "maxinforl")  # a minute each to compile: traced with the others, in full if asked for


def marked(names, slow):
    """Parameters of a test, those in `slow` for `make test-all` alone."""
    return [pytest.param(name, marks=pytest.mark.slow if name in slow else ()) for name in names]


@pytest.mark.parametrize("name", marked(IN_FULL, SLOW))
def test_agents(name):
    """The whole battery, for the learners that keep their state in ways of their own."""
    made = built(name, "maze/open", episode_length=16)
    testing.check_agent(made.agent, made.environment)


@pytest.mark.parametrize("name", sorted({*names("agent")} - {"ppo"}))
def test_compositions(name):
    """What composes parts and objectives of which the battery has each: traced."""
    before, after = layouts(built(name, "maze/open", episode_length=16))
    assert before == after


@pytest.mark.parametrize("name", ["ppo", "latent_bayesian_surprise", "adversarial_surprise"])
def test_agents_with_discrete_actions_and_symbols(name):
    """Traced: what they compute is tested elsewhere."""
    before, after = layouts(built(name, "rooms/mixed", episode_length=16))
    assert before == after


@pytest.mark.parametrize("name", names("objective"))
def test_objectives(name):
    made = built("sac", "maze/open", f"objective={name}")
    testing.check_objective(made.objective, made.environment.spec)


# One of each kind: a model, contexts that evolve, a reward of the whole batch, skills, nothing.
RUN_UNDER_PPO = ("latent_bayesian_surprise", "smirl", "knn_entropy", "metra", "none")


@pytest.mark.parametrize("name", marked(RUN_UNDER_PPO, {*RUN_UNDER_PPO} - {"smirl", "metra"}))
def test_objectives_run_under_ppo(name):
    """On symbols and discrete actions: two updates, finite, compiled once."""
    made = built("ppo", "rooms/mixed", f"objective={name}")
    with testing.unoptimised():
        loop = device_loop(made.agent, made.environment, 1, 1, "vmap")
        state, metrics = loop.chunk(loop.init([0]))
        finite = [np.isfinite(np.asarray(value)).all() for key, value in metrics.items() if "episode_" not in key]
        assert all(finite), metrics
        assert testing.compilations(lambda: loop.chunk(state)) == 0


@pytest.mark.parametrize("name", sorted({*names("objective")} - {"smirl", "metra"}))
def test_objectives_under_ppo(name):
    """The others, on symbols where they can: traced."""
    before, after = layouts(
        built("ppo", "maze/open" if name.startswith("diayn") else "rooms/mixed", f"objective={name}")
    )
    assert before == after


@pytest.mark.parametrize("name", names("objective"))
def test_objectives_under_sac(name):
    """Every objective under SAC; traced, since the battery runs each by itself."""
    before, after = layouts(built("sac", "maze/open", f"objective={name}"))
    assert before == after


ENVIRONMENTS = [name for name in names("env") if not name.startswith(("gymnasium/", "brax/", "probe/"))]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_environments(name):
    made = configuration.build(configuration.compose([f"env={name}", "agent=ppo", "objective=none"]))
    with testing.unoptimised():
        testing.check_environment(made.environment)


def test_symbols_are_what_the_spec_says():
    """The inputs of networks: one-hot per entry, flat, and as they are where they are numbers."""
    from infojax.nets import inputs

    spec = EnvSpec((2, 2), (), 3, (), (), 5, num_categories=4)
    observation = jnp.asarray([[[0.0, 3.0], [1.0, 2.0]]])
    found = np.asarray(inputs.observation_features(spec, observation))
    assert found.shape == (1, inputs.observation_size(spec)) == (1, 16)
    np.testing.assert_array_equal(found.reshape(4, 4).argmax(-1), [0, 3, 1, 2])
    np.testing.assert_array_equal(found.sum(), 4)
    plain = spec._replace(num_categories=None, action_shape=(2,), num_actions=None)
    np.testing.assert_array_equal(inputs.observation_features(plain, observation), [[0.0, 3.0, 1.0, 2.0]])
    np.testing.assert_array_equal(inputs.action_features(spec, jnp.asarray([2, 0])), [[0, 0, 1], [1, 0, 0]])
    np.testing.assert_array_equal(inputs.action_features(plain, jnp.ones((3, 2))), np.ones((3, 2)))
