"""SAC: its losses against numpy, its buffer, its statistics, and its values where they are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from infojax.agents import parts, sac, soft_actor_critic
from infojax.nets import statistics
from infojax.objectives import diayn, none
from infojax.types import EnvSpec, Rollout, Timestep, Transition, UserError, keep_context

SPEC = EnvSpec((3,), (2,), None, (-2.0, 0.0), (2.0, 1.0), 10, name="test")
SMALL = {
    "num_envs": 2,
    "unroll": 2,
    "updates_per_step": 0.25,
    "batch_size": 8,
    "hidden_sizes": (16,),
    "replay_capacity": 16,
    "random_steps": 0,
    "learning_starts": 0,
}


def rollout(objective, state, key):
    keys = jax.random.split(key, 5)
    no = jnp.zeros((2, 2), bool)
    contexts = jax.vmap(jax.vmap(lambda k: objective.context(state.objective, k)))(jax.random.split(keys[4], (2, 2)))
    return Rollout(
        observation=jax.random.normal(keys[0], (2, 2, 3)),
        first=no,
        action=jax.random.uniform(keys[1], (2, 2, 2)),
        reward=jax.random.normal(keys[2], (2, 2)),
        terminated=jnp.array([[True, False], [False, False]]),
        truncated=jnp.array([[False, True], [False, False]]),
        next_observation=jax.random.normal(keys[3], (2, 2, 3)),
        extras={"context": contexts},
    )


def dense(parameters, member, inputs):
    first, last = parameters[f"member_{member}_layer_0"], parameters[f"member_{member}_output"]
    hidden = np.maximum(inputs @ np.asarray(first["kernel"], np.float64) + np.asarray(first["bias"]), 0)
    return hidden @ np.asarray(last["kernel"], np.float64) + np.asarray(last["bias"])


def squashed(actor, inputs, noise):
    """Action and log-density with the tanh correction written out naively, in float64."""
    output = dense(actor, 0, inputs)
    mean, scale = output[:, :2], np.exp(np.clip(output[:, 2:], *soft_actor_critic.LOG_SCALE_BOUNDS))
    raw = mean + scale * noise
    log_density = -0.5 * noise**2 - np.log(scale) - 0.5 * np.log(2 * np.pi) - np.log(1 - np.tanh(raw) ** 2)
    return np.tanh(raw), log_density.sum(-1)


@pytest.mark.parametrize("with_skill", [False, True])
def test_losses_and_targets_are_the_papers(with_skill):
    objective = diayn.make(SPEC, num_skills=4, hidden_sizes=(16,)) if with_skill else none.make(SPEC)
    weights = {"extrinsic_weight": 0.7, "intrinsic_weight": 0.3, "discount": 0.9, "temperature": 0.2}
    agent = sac.make(SPEC, objective, **SMALL, **weights)
    state = agent.init(jax.random.key(0))
    # A target that differs from the critic, so that mixing them up would show.
    shifted = jax.tree.map(lambda leaf: leaf + 0.1, state.learner.target_critic)
    state = state._replace(learner=state.learner._replace(target_critic=shifted))
    data, key = rollout(objective, state, jax.random.key(1)), jax.random.key(2)
    after, metrics = agent.update(state, data, key)

    index_key, noise_key, _ = jax.random.split(key, 3)
    indices = np.asarray(jax.random.randint(index_key, (1, 8), 0, 4))[0]
    next_noise, noise = np.asarray(jax.random.normal(noise_key, (2, 1, 8, 2)))[:, 0]
    flat = jax.tree.map(lambda leaf: np.asarray(leaf).reshape(4, *leaf.shape[2:])[indices], data)
    context = flat.extras["context"]
    action = (flat.action - np.array([0.0, 0.5])) / np.array([2.0, 0.5])
    transitions = Transition(
        *map(jnp.asarray, (flat.observation, context, action, flat.reward, flat.next_observation, context)),
        terminated=jnp.asarray(flat.terminated),
        truncated=jnp.asarray(flat.truncated),
    )
    reward = 0.7 * flat.reward + 0.3 * np.asarray(objective.reward(state.objective, transitions))
    inputs = np.concatenate([flat.observation, context], -1).astype(np.float64)
    next_inputs = np.concatenate([flat.next_observation, context], -1).astype(np.float64)
    next_action, next_log = squashed(state.learner.actor, next_inputs, next_noise)
    following = np.concatenate([next_inputs, next_action], -1)
    next_value = (
        np.minimum(*(dense(state.learner.target_critic, m, following)[:, 0] for m in range(2))) - 0.2 * next_log
    )
    target = reward + 0.9 * (1 - flat.terminated) * next_value
    estimates = [dense(state.learner.critic, m, np.concatenate([inputs, action], -1))[:, 0] for m in range(2)]
    critic_loss = sum(0.5 * np.mean((estimate - target) ** 2) for estimate in estimates)
    assert metrics["critic_loss"] == pytest.approx(critic_loss, rel=1e-3)

    now, log_density = squashed(state.learner.actor, inputs, noise)
    values = [dense(after.learner.critic, m, np.concatenate([inputs, now], -1))[:, 0] for m in range(2)]
    assert metrics["actor_loss"] == pytest.approx(np.mean(0.2 * log_density - np.minimum(*values)), rel=1e-3, abs=1e-4)
    assert metrics["policy_entropy"] == pytest.approx(-log_density.mean(), rel=1e-3)
    moved = jax.tree.map(lambda new, old: 0.995 * old + 0.005 * new, after.learner.critic, state.learner.target_critic)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), moved, after.learner.target_critic)


def test_the_temperature_moves_towards_its_target():
    def temperature_after(target):
        agent = sac.make(SPEC, none.make(SPEC), **SMALL, target_entropy_per_dimension=target)
        state = agent.init(jax.random.key(0))
        return agent.update(state, rollout(none.make(SPEC), state, jax.random.key(1)), jax.random.key(2))[0]

    assert temperature_after(50.0).learner.log_temperature > 0  # too little entropy: it is worth more
    assert temperature_after(-50.0).learner.log_temperature < 0
    assert temperature_after(None).learner.log_temperature == 0


def test_nothing_moves_before_learning_starts():
    agent = sac.make(SPEC, none.make(SPEC), **{**SMALL, "learning_starts": 8})
    state = agent.init(jax.random.key(0))
    data = rollout(none.make(SPEC), state, jax.random.key(1))
    once, _ = agent.update(state, data, jax.random.key(2))
    for part in ("actor", "critic", "target_critic", "log_temperature"):
        jax.tree.map(np.testing.assert_array_equal, getattr(once.learner, part), getattr(state.learner, part))
    twice, _ = agent.update(once, data, jax.random.key(3))
    assert not np.array_equal(jax.tree.leaves(twice.learner.actor)[0], jax.tree.leaves(state.learner.actor)[0])


def test_an_actor_waits_for_its_critics():
    agent = sac.make(SPEC, none.make(SPEC), **{**SMALL, "actor_starts": 8})
    state = agent.init(jax.random.key(0))
    data = rollout(none.make(SPEC), state, jax.random.key(1))
    once, _ = agent.update(state, data, jax.random.key(2))
    for part in ("actor", "log_temperature"):
        jax.tree.map(np.testing.assert_array_equal, getattr(once.learner, part), getattr(state.learner, part))
    assert not np.array_equal(jax.tree.leaves(once.learner.critic)[0], jax.tree.leaves(state.learner.critic)[0])
    twice, _ = agent.update(once, data, jax.random.key(3))
    for part in ("actor", "log_temperature"):
        before, after = (jax.tree.leaves(getattr(one.learner, part))[0] for one in (once, twice))
        assert not np.array_equal(before, after)


@pytest.mark.parametrize("adopts", [True, False])
def test_critics_are_adopted_or_start_anew(adopts):
    agent = sac.make(SPEC, none.make(SPEC), **SMALL, adopt_critics=adopts)
    fresh, learned = agent.init(jax.random.key(0)), agent.init(jax.random.key(1))
    # Of another run the target critics are not the critics.
    slow = jax.tree.map(lambda leaf: leaf + 1, learned.learner.target_critic)
    learned = learned._replace(learner=learned.learner._replace(target_critic=slow))
    begun = agent.adopt(fresh, learned).learner
    jax.tree.map(np.testing.assert_array_equal, begun.actor, learned.learner.actor)
    for part in ("critic", "target_critic"):
        wanted = (learned if adopts else fresh).learner
        jax.tree.map(np.testing.assert_array_equal, getattr(begun, part), getattr(wanted, part))


def test_random_steps_are_uniform_over_the_bounds_and_then_end():
    agent = sac.make(SPEC, none.make(SPEC), **{**SMALL, "random_steps": 100})
    state = agent.init(jax.random.key(0))
    timestep = Timestep(jnp.ones(3), jnp.zeros(()), *[jnp.zeros((), bool)] * 2, jnp.ones(3), jnp.ones((), bool))
    carry = agent.begin(state, jax.random.key(1))
    act = jax.vmap(lambda s, k: agent.act(s, carry, timestep, k, True)[1], in_axes=(None, 0))
    actions = np.asarray(act(state, jax.random.split(jax.random.key(2), 4000)))
    np.testing.assert_allclose(actions.min(0), SPEC.low, atol=0.02)
    np.testing.assert_allclose(actions.max(0), SPEC.high, atol=0.02)
    np.testing.assert_allclose(actions.std(0), [4 / np.sqrt(12), 1 / np.sqrt(12)], rtol=0.05)
    later = np.asarray(act(state._replace(steps=jnp.int32(100)), jax.random.split(jax.random.key(2), 4000)))
    assert abs(later.std(0)[0] - 4 / np.sqrt(12)) > 0.05


def test_the_ring_buffer_keeps_the_newest_rows():
    buffer = parts.ring_buffer(6, 1)
    for block in range(4):
        buffer = parts.insert(buffer, jnp.full((2, 1), block, jnp.float32))
    assert sorted(np.asarray(buffer.rows)[:, 0].tolist()) == [1, 1, 2, 2, 3, 3]
    assert (int(buffer.size), int(buffer.position)) == (6, 2)


def test_packing_keeps_every_field():
    objective = none.make(SPEC)._replace(context_size=2, advance=lambda state, context, observation: context + 1)
    for advance in (objective.advance, keep_context):
        packing = parts.packing(SPEC, objective._replace(advance=advance))
        generator = np.random.default_rng(0)
        shapes = {"observation": (3,), "context": (2,), "action": (2,), "reward": (), "next_observation": (3,)}
        fields = {n: jnp.asarray(generator.normal(size=(5, *s)), jnp.float32) for n, s in shapes.items()}
        following = fields["context"] if advance is keep_context else fields["context"] + 1
        flags = {"terminated": jnp.arange(5) > 2, "truncated": jnp.arange(5) < 2}
        transitions = Transition(**fields, next_context=following, **flags)
        back = packing.unpack(packing.pack(transitions))
        jax.tree.map(np.testing.assert_array_equal, back, transitions)
    assert packing.width == 3 + 2 + 2 + 1 + 3 + 2


def test_running_statistics_equal_those_of_all_data():
    values = np.random.default_rng(0).normal(3, 5, (70, 2)).astype(np.float32)
    seen = statistics.running_statistics((2,))
    for chunk in np.split(values, [10, 11, 40]):
        seen = statistics.observe_statistics(seen, jnp.asarray(chunk))
    np.testing.assert_allclose(seen.mean, values.mean(0), rtol=1e-5)
    np.testing.assert_allclose(seen.deviation / seen.seen, values.var(0), rtol=1e-4)
    np.testing.assert_allclose(statistics.normalize(seen, jnp.asarray(values)).std(0), 1, rtol=1e-3)
    nothing = statistics.running_statistics((2,))
    np.testing.assert_array_equal(statistics.normalize(nothing, jnp.ones((1, 2))), jnp.ones((1, 2)))


def test_discrete_actions_and_no_updates_are_refused():
    with pytest.raises(UserError, match="discrete"):
        sac.make(SPEC._replace(num_actions=3, action_shape=()), none.make(SPEC), **SMALL)
    with pytest.raises(UserError, match="updates_per_step"):
        sac.make(SPEC, none.make(SPEC), **{**SMALL, "updates_per_step": 0.01})
