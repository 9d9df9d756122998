"""The yardstick of exploration against numpy, starting from trained agents, and acting by frozen skills."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import digamma, gammaln

from infojax import testing
from infojax.agents import sac
from infojax.envs import maze
from infojax.objectives import fixed_skill
from infojax.run import config as configuration
from infojax.run import diagnostics, skills, training
from infojax.types import EnvSpec, UserError

SPEC = EnvSpec((1,), (), 2, (), (), 8, position_names=("x",), position_low=(0.0,), position_high=(3.0,), cells=(3,))


def surprise(posterior, prior):
    """KL of Dirichlet densities from its definition, in float64."""
    total, before = posterior.sum(), prior.sum()
    gap = gammaln(total) - gammaln(posterior).sum() - gammaln(before) + gammaln(prior).sum()
    return gap + ((posterior - prior) * (digamma(posterior) - digamma(total))).sum()


def test_the_yardstick_of_a_known_world():
    """Two actions, of which one goes to cell 1 and the other to cell 2, from everywhere: empowerment log 2."""
    generator = np.random.default_rng(0)
    action = generator.integers(0, 2, (40, 3))
    cell = 1 + action
    positions, mask = jnp.asarray(cell[..., None] + 0.5, jnp.float32), np.ones((40, 3), bool)
    mask[30:, 2] = False
    found = jax.jit(lambda p, a, m: diagnostics.diagnose(SPEC, p, a, m))(positions, jnp.asarray(action), mask)
    shares = np.bincount(cell[mask], minlength=3) / mask.sum()
    entropy = -(shares[1:] * np.log(shares[1:])).sum() + 1 / (2 * mask.sum())
    assert found["state_entropy"] == pytest.approx(entropy, rel=1e-5)
    model, gains = np.full((3, 2, 3), diagnostics.PRIOR), []
    for episode in range(3):
        for step in range(1, 40):
            if mask[step, episode]:
                row = model[cell[step - 1, episode], action[step, episode]]
                before = row.copy()
                row[cell[step, episode]] += 1
                gains.append(surprise(row, before))
    assert found["information_gain"] == pytest.approx(np.mean(gains), rel=1e-4)
    assert found["empowerment"] == pytest.approx(np.log(2), abs=1e-3)


def test_actions_without_effect_give_no_empowerment():
    generator = np.random.default_rng(1)
    positions = jnp.asarray(generator.integers(0, 3, (400, 8, 1)) + 0.5, jnp.float32)
    action = jnp.asarray(generator.integers(0, 2, (400, 8)))
    found = diagnostics.diagnose(SPEC, positions, action, jnp.ones((400, 8), bool))
    assert found["empowerment"] < 0.01
    assert found["state_entropy"] == pytest.approx(np.log(3), abs=0.01)


def test_continuous_actions_fall_into_bins():
    spec = EnvSpec((1,), (3,), None, (-1.0, 0.0, -1.0), (1.0, 1.0, 1.0), 8)
    action = jnp.asarray([[-1.0, 0.0, 0.3], [0.0, 0.5, 0.3], [1.0, 1.0, -1.0], [5.0, -5.0, 0.0]])
    np.testing.assert_array_equal(diagnostics.action_symbols(spec, action), [0, 4, 8, 6])
    assert diagnostics.num_symbols(spec) == 9


SIZES = {
    "num_envs": 2,
    "unroll": 2,
    "updates_per_step": 0.5,
    "batch_size": 8,
    "hidden_sizes": [8],
    "replay_capacity": 32,
    "random_steps": 0,
    "learning_starts": 0,
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run of DIAYN with three skills and two seeds."""
    folder = tmp_path_factory.mktemp("diayn") / "run"
    words = ["agent=diayn", "env=maze/u", "env.episode_length=6", "objective.num_skills=3", "num_seeds=2"]
    words += [f"agent.{key}={str(value).replace(' ', '')}" for key, value in SIZES.items()]
    words += ["objective.hidden_sizes=[8]", "total_steps=24", "log.every=12", "progress=false", f"run_dir={folder}"]
    training.train_from_config(configuration.compose(words))
    return folder


def fine_tuning(trained, folder, *words):
    sizes = [f"agent.{key}={str(value).replace(' ', '')}" for key, value in SIZES.items()]
    chosen = ["agent=sac", "objective=fixed_skill", "env=maze/u", "env.episode_length=6", f"init_from={trained}"]
    steps = ["num_seeds=2", "total_steps=8", "log.every=4", "progress=false", f"run_dir={folder}"]
    return configuration.compose([*chosen, *sizes, *steps, *words])


def test_a_run_starts_from_the_best_skill_of_another(trained, tmp_path):
    # Of another seed, or the networks that start anew would be those that the skills began with.
    config = fine_tuning(trained, tmp_path / "run", "seed=5", "agent.adopt_critics=false", "agent.actor_starts=100")
    source = training.load(trained)
    returns = [source.summary["metrics"][f"evaluation/deterministic/return_skill_{k}"]["mean"] for k in range(3)]
    assert config["objective"]["num_skills"] == 3
    assert config["objective"]["skill"] == int(np.argmax(returns))
    training.train_from_config(config)
    after = training.load(tmp_path / "run").state
    for mine, learned in zip(
        jax.tree.leaves(after.learner.actor), jax.tree.leaves(source.state.learner.actor), strict=True
    ):
        np.testing.assert_array_equal(mine, learned)
    critics = (jax.tree.leaves(state.learner.target_critic) for state in (after, source.state))
    gaps = [np.abs(mine - learned).max() for mine, learned in zip(*critics, strict=True)]
    assert max(gaps) > 0.1, "the critics are not those of the skills"
    assert int(after.replay.size[0]) == 8, "the replay is a fresh one"


def test_what_does_not_fit_is_refused(trained, tmp_path):
    with pytest.raises(UserError, match="num_seeds=3"):
        training.train_from_config(fine_tuning(trained, tmp_path / "a", "num_seeds=3"))
    with pytest.raises(UserError, match=r"agent\.hidden_sizes"):
        training.train_from_config(fine_tuning(trained, tmp_path / "b", "agent.hidden_sizes=[4]"))
    with pytest.raises(UserError, match="is not a run directory"):
        training.train_from_config(fine_tuning("/nowhere", tmp_path / "c", "objective=none"))
    with pytest.raises(UserError, match=r"objective\.skill=3"):
        fixed_skill.make(SPEC, num_skills=3, skill=3)


def test_a_controller_acts_by_frozen_skills(trained):
    """A step of the controller is some steps of the world by the skill's own policy."""
    world = maze.make(layout="u", episode_length=6)
    run = training.load(trained)
    state = jax.tree.map(lambda leaf: leaf[0], run.state)
    controlled = skills.over_skills_of(str(trained), world, 4)
    assert (controlled.spec.num_actions, controlled.spec.episode_length) == (3, 2)
    testing.check_environment(controlled, jnp.asarray(1))
    key = jax.random.key(3)
    begun, _ = controlled.reset(key)
    moved, seen, reward, terminated = jax.jit(controlled.step)(begun, jnp.asarray(2), key)
    inner, wanted = world.reset(key)
    held = jnp.eye(3)[2]
    for _ in range(4):
        mean, _ = jnp.split(_actor(state.learner.actor, jnp.concatenate([wanted, held])), 2)
        inner, wanted, _, _ = world.step(inner, jnp.tanh(mean), key)
    np.testing.assert_allclose(seen, wanted, atol=1e-6)
    assert float(reward) == 0
    assert not bool(terminated)
    assert int(moved.time) == 4
    # Two more steps end the episode of six: the body stands still after them.
    last, _, _, _ = jax.jit(controlled.step)(moved, jnp.asarray(0), key)
    assert int(last.time) == 6


def _actor(parameters, inputs):
    hidden = jax.nn.relu(inputs @ parameters["member_0_layer_0"]["kernel"] + parameters["member_0_layer_0"]["bias"])
    return hidden @ parameters["member_0_output"]["kernel"] + parameters["member_0_output"]["bias"]


def test_agents_without_skills_have_no_controller():
    world = maze.make(layout="u", episode_length=6)
    agent = sac.make(world.spec, fixed_skill.make(world.spec, num_skills=2, skill=0), **SIZES)
    with pytest.raises(UserError, match="finitely many skills"):
        skills.over_skills(world, agent, agent.init(jax.random.key(0)), 2)
