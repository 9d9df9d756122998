"""Block MDPs: sampled against exact tables, disjoint blocks, occupancies against enumeration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from infojax import testing
from infojax.envs import block_mdp
from infojax.types import UserError

KINDS = {
    "ring": {"num_states": 5, "symbols": 2, "noise_symbols": 8, "slip": 0.3},
    "lock": {"num_states": 5, "symbols": 3, "noise_symbols": 12, "slip": 0.1, "escape": 0.25, "layout_seed": 3},
}


@pytest.fixture(scope="module", params=sorted(KINDS))
def walks(request):
    """Latent states before and after, actions and symbols of random walks from all states."""
    options = {"kind": request.param, **KINDS[request.param]}
    environment, found = block_mdp.make(**options), block_mdp.tables(**options)
    testing.check_environment(environment)
    generator = np.random.default_rng(0)
    before, action = generator.integers(0, 5, 60_000), generator.integers(0, 3, 60_000)
    states = block_mdp.BlockState(jnp.asarray(before, jnp.int32), jnp.zeros((len(before), 5), bool))
    step = jax.jit(jax.vmap(environment.step), compiler_options=testing.QUICK)
    after, symbol, reward, terminated = step(
        states, jnp.asarray(action, jnp.int32), jax.random.split(jax.random.key(1), len(before))
    )
    assert not terminated.any()
    latent = np.asarray(after.latent)
    return environment, found, before, action, latent, np.asarray(symbol)[:, 0].astype(int), np.asarray(reward)


def test_transitions_follow_the_exact_matrix(walks):
    _, found, before, action, after, _, _ = walks
    counts = np.zeros((5, 3, 5))
    np.add.at(counts, (before, action, after), 1)
    total = counts.sum(-1, keepdims=True)
    error = np.sqrt(found.transition * (1 - found.transition) / total)
    assert (np.abs(counts / total - found.transition) <= 5 * error).all()
    np.testing.assert_allclose(found.transition.sum(-1), 1, atol=1e-12)


def test_symbols_tell_the_latent_state_and_are_uniform_in_their_block(walks):
    environment, found, _, _, after, symbol, _ = walks
    assert (np.count_nonzero(found.emission, axis=0) == 1).all()  # blocks are disjoint and leave no symbol out
    assert environment.spec.num_categories == found.emission.shape[1]
    assert (found.emission.argmax(axis=0)[symbol] == after).all()
    for latent in range(5):
        counts = np.bincount(symbol[after == latent], minlength=found.emission.shape[1])
        block = found.emission[latent] > 0
        expected = counts.sum() * found.emission[latent][block]
        # Chi-square with less than 12 degrees of freedom: above 40 once in 30,000.
        assert ((counts[block] - expected) ** 2 / expected).sum() < 40
    sizes = np.count_nonzero(found.emission, axis=1)
    assert sizes[-1] >= 4 * sizes[:-1].max()


def test_a_ring_goes_round_and_a_lock_opens_to_its_code():
    ring = block_mdp.tables(kind="ring", num_states=4, num_actions=4, slip=0.0).transition
    for state in range(4):
        assert ring[state].argmax(-1).tolist() == [(state + 1) % 4, (state - 1) % 4, state, state]
    lock = block_mdp.tables(kind="lock", num_states=5, slip=0.0, escape=0.25, layout_seed=3)
    for state in range(4):
        for action in range(3):
            right = action == lock.code[state]
            assert lock.transition[state, action, min(state + 1, 3) if right else 4] == 1
    assert len(set(lock.code.tolist())) > 1
    np.testing.assert_allclose(lock.transition[4], np.tile([0.25, 0, 0, 0, 0.75], (3, 1)))


def test_the_end_of_a_lock_is_rewarded_and_nothing_else_is(walks):
    environment, _, _, _, after, _, reward = walks
    wanted = after == 3 if environment.spec.name.endswith("lock") else np.zeros(len(after))
    np.testing.assert_array_equal(reward, wanted)


def test_states_visited_are_counted_and_positions_are_latent_states():
    environment = block_mdp.make(kind="ring", num_states=4, slip=0.0)
    state, _ = environment.reset(jax.random.key(0))
    seen = []
    for action in (2, 0, 1, 1, 1):  # stay at 0, on to 1, back to 0, into the noise, back to 2
        state, *_ = environment.step(state, jnp.int32(action), jax.random.key(1))
        measured = environment.measures(state)
        seen.append((*(float(value) for value in measured.values()), float(environment.position(state)[0])))
    assert list(measured) == ["latent_states_visited", "in_noise"]
    assert seen == [(1, 0, 0), (2, 0, 1), (2, 0, 0), (3, 1, 3), (4, 0, 2)]
    assert environment.spec.cells == (4,)


def test_occupancy_is_that_of_all_paths_enumerated():
    found = block_mdp.tables(kind="lock", num_states=3, num_actions=2, slip=0.2, escape=0.5)
    policy = np.array([[0.3, 0.7], [0.9, 0.1], [0.5, 0.5]])
    expected = np.zeros(3)
    for first in range(3):
        for second in range(3):
            one = sum(policy[0, a] * found.transition[0, a, first] for a in range(2))
            two = sum(policy[first, a] * found.transition[first, a, second] for a in range(2))
            expected[first] += one * two / 2
            expected[second] += one * two / 2
    np.testing.assert_allclose(block_mdp.occupancy(found, policy, 2), expected, atol=1e-12)
    # Always on around a ring that never slips: every state equally long.
    ring = block_mdp.tables(kind="ring", num_states=6, slip=0.0)
    on = np.tile([1.0, 0, 0], (6, 1))
    np.testing.assert_allclose(block_mdp.occupancy(ring, on, 12), 1 / 6, atol=1e-12)


@pytest.mark.parametrize("wrong", [{"num_states": 2}, {"num_actions": 1}])
def test_what_is_too_small_is_refused(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        block_mdp.make(**wrong)
