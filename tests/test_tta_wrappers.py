"""Wrappers of test-time methods: what is restored and when, windows of single images, the guard against collapse."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import tta_models

from infojax.tta import norm, parts, rdumb, tent
from infojax.tta.wrappers import collapse_guard, episodic, reset_every, window
from infojax.types import Adapted, Method, UserError

BATCHES = jnp.stack([tta_models.images(8, seed) for seed in range(3)])
FAST = {"optimizer": "sgd", "learning_rate": 0.1}


def stream(method, batches, masks=None):
    """Every state after a batch and what was made of it, stacked."""
    model = tta_models.tiny()
    masks = jnp.ones(batches.shape[:2], bool) if masks is None else masks

    def step(state, inputs):
        images, mask = inputs
        state, adapted = method.adapt(state, images, jax.random.key(0), mask)
        return state, (state, adapted)

    _, found = jax.jit(lambda state: jax.lax.scan(step, state, (batches, masks)))(method.init(model.variables))
    return found


def at(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


def equal(one, other):
    return all(jax.tree.leaves(jax.tree.map(lambda a, b: bool(np.all(np.asarray(a) == np.asarray(b))), one, other)))


# --- restoring -------------------------------------------------------------------------------------------------------


def test_episodic_tent_is_norm_on_the_scored_logits():
    model = tta_models.tiny()
    _, plain = stream(tent.make(model, **FAST), BATCHES)
    states, once = stream(episodic(tent.make(model, **FAST)), BATCHES)
    _, still = stream(norm.make(model), BATCHES)
    np.testing.assert_allclose(once.logits, still.logits, atol=1e-5)
    assert np.abs(plain.logits[1:] - still.logits[1:]).max() > 1e-2
    assert np.all(once.info["updated"] == 1)
    assert equal(at(states, 2), tent.make(model, **FAST).init(model.variables))


def test_resets_replay_the_same_bits():
    model = tta_models.tiny()
    method = reset_every(tent.make(model, optimizer="adam", learning_rate=1e-2), 3)
    states, adapted = stream(method, jnp.concatenate([BATCHES] * 3))
    for again in (slice(3, 6), slice(6, 9)):
        np.testing.assert_array_equal(adapted.logits[again], adapted.logits[:3])
    assert equal(at(states, 2), method.init(model.variables)) and not equal(at(states, 1), method.init(model.variables))
    np.testing.assert_array_equal(adapted.info["reset"], [0, 0, 1] * 3)
    _, plain = stream(tent.make(model, optimizer="adam", learning_rate=1e-2), jnp.concatenate([BATCHES] * 2))
    assert np.abs(plain.logits[3] - plain.logits[0]).max() > 1e-2


def test_batches_that_move_nothing_do_not_count_towards_a_reset():
    method = reset_every(tent.make(tta_models.tiny(), **FAST), 2)
    masks = jnp.ones((3, 8), bool).at[1].set(False)
    _, adapted = stream(method, BATCHES, masks)
    np.testing.assert_array_equal(adapted.info["reset"], [0, 0, 1])


def test_rdumb_is_eta_with_resets():
    model = tta_models.tiny()
    states, adapted = stream(rdumb.make(model, updates=2, margin=0.9, redundancy=1.0), BATCHES[jnp.array([0, 1, 0, 1])])
    np.testing.assert_array_equal(adapted.logits[2:], adapted.logits[:2])
    assert np.all(np.any(adapted.selected, axis=1))
    np.testing.assert_array_equal(states.inner.begun, [True, False, True, False])  # the average prediction too


def test_a_reset_needs_updates():
    with pytest.raises(UserError, match="1 update or more"):
        reset_every(norm.make(tta_models.tiny()), 0)


# --- windows ---------------------------------------------------------------------------------------------------------


SINGLES = tta_models.images(8, seed=5)[:, None]


def test_a_window_predicts_each_image_with_those_before_it():
    model = tta_models.tiny()
    _, adapted = stream(window(model, norm.make(model), 4), SINGLES)
    assert adapted.logits.shape == (8, 1, 3)
    for place in (0, 1, 3, 5, 7):
        held = SINGLES[max(0, place - 3) : place + 1, 0]
        logits, _ = model.apply(model.variables, held)
        np.testing.assert_allclose(adapted.logits[place, 0], logits[-1], atol=1e-4)


def test_a_window_learns_when_all_of_it_is_new():
    model = tta_models.tiny()
    inner = tent.make(model, **FAST)
    states, adapted = stream(window(model, inner, 4), SINGLES)
    np.testing.assert_array_equal(adapted.info["updated"], [0, 0, 0, 1] * 2)
    np.testing.assert_array_equal(adapted.info["window_selected"], [0, 0, 0, 4] * 2)
    np.testing.assert_array_equal(adapted.info["backward_rows"], [0, 0, 0, 4] * 2)
    assert equal(at(states.inner, 2), inner.init(model.variables)) and equal(at(states.inner, 3), at(states.inner, 6))
    batches, _ = stream(inner, SINGLES[:, 0].reshape(2, 4, 8, 8, 1))
    for one, two in ((3, 0), (7, 1)):
        jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-5), at(states.inner, one), at(batches, two))


def test_a_window_keeps_no_image_that_is_not_finite():
    model = tta_models.tiny()
    broken = SINGLES.at[1, 0, 0, 0, 0].set(jnp.nan)
    _, adapted = stream(window(model, tent.make(model, **FAST), 4), broken)
    assert np.all(np.isfinite(adapted.logits))
    np.testing.assert_array_equal(adapted.info["invalid"], [0, 1] + [0] * 6)
    np.testing.assert_array_equal(adapted.info["window_selected"], [0, 0, 0, 3, 0, 0, 0, 4])
    logits, _ = model.apply(model.variables, broken[jnp.array([0, 2]), 0])
    np.testing.assert_allclose(adapted.logits[2, 0], logits[-1], atol=1e-4)


def test_a_window_passes_over_places_that_are_filled_up():
    model = tta_models.tiny()
    masks = jnp.ones((8, 1), bool).at[2].set(False)
    states, adapted = stream(window(model, tent.make(model, **FAST), 4), SINGLES, masks)
    np.testing.assert_array_equal(adapted.info["updated"], [0, 0, 0, 0, 1, 0, 0, 0])
    np.testing.assert_array_equal(states.place, [1, 2, 2, 3, 0, 1, 2, 3])


def test_a_window_takes_one_image():
    model = tta_models.tiny()
    method = window(model, norm.make(model), 4)
    with pytest.raises(UserError, match="one image at a time, got 8"):
        method.adapt(method.init(model.variables), BATCHES[0], jax.random.key(0))
    with pytest.raises(UserError, match="1 image or more"):
        window(model, norm.make(model), 0)


# --- the guard -------------------------------------------------------------------------------------------------------


def tilting(truer=0.0, tilt=0.0, broken_after=1e9):
    """A method that reads noisy logits off the image; a batch adds `truer` of the right ones, `tilt` of class 0."""

    def init(variables, source=None):
        return {"right": jnp.zeros(()), "bias": jnp.zeros(()), "batches": jnp.zeros(())}

    def adapt(state, images, key, mask=None, destroyed=None, allowed=None, selection=None):
        may = jnp.ones(len(images), bool) if allowed is None else allowed
        may = may if mask is None else may & mask
        logits = (
            images[:, 0, :3, 0]
            + state["right"] * images[:, 1, :3, 0]
            + state["bias"] * jnp.array([1.0, 0.0, 0.0])[None]
        )
        logits = jnp.where(state["batches"] >= broken_after, jnp.nan, logits)
        learns = jnp.any(may).astype(jnp.float32)
        new = {
            "right": state["right"] + truer * learns,
            "bias": state["bias"] + tilt * learns,
            "batches": state["batches"] + learns,
        }
        zero = jnp.int32(0)
        info = {
            "forward_rows": jnp.int32(len(images)),
            "backward_rows": zero,
            "updated": learns.astype(jnp.int32),
            "invalid": zero,
        }
        return new, Adapted(logits, may, info)

    return Method(init, adapt)


def labelled(labels, seed=0):
    """Images [T, B] whose first row of pixels are noisy logits of their labels, and whose second the right ones."""
    labels = np.asarray(labels)
    generator = np.random.default_rng(seed)
    logits = 3.0 * np.eye(3)[labels] + 1.8 * generator.standard_normal((*labels.shape, 3))
    images = np.zeros((*labels.shape, 8, 8, 1), np.float32)
    images[..., 0, :3, 0], images[..., 1, :3, 0] = logits, np.eye(3)[labels]
    return jnp.asarray(images)


def guarded(method, images, masks=None, **arguments):
    guard = collapse_guard(tta_models.tiny(), method, rows=120, **arguments)
    states, adapted = stream(guard, images, masks)
    return guard, states, adapted


def information(logits):
    p = scipy.special.softmax(np.asarray(logits, np.float64), axis=-1)
    return scipy.special.entr(p.mean(0)).sum() - scipy.special.entr(p).sum(-1).mean()


SHUFFLED = np.random.default_rng(1).integers(0, 3, (40, 20))
SORTED = np.repeat(np.arange(12) % 3, 60).reshape(36, 20)  # 60 rows of a class, then of the next


def test_the_guard_computes_the_information_of_a_fading_average():
    images = labelled(SHUFFLED[:4])
    masks = jnp.ones((4, 20), bool).at[1, 15:].set(False)
    _, _, adapted = guarded(tilting(truer=0.2), images, masks)
    kept = np.asarray(masks).reshape(-1)
    p = scipy.special.softmax(np.asarray(adapted.logits, np.float64).reshape(-1, 3)[kept], axis=-1)
    weights = (1 - 1 / 120) ** np.arange(len(p))[::-1]
    weights /= weights.sum()
    wanted = scipy.special.entr(weights @ p).sum() - weights @ scipy.special.entr(p).sum(1)
    np.testing.assert_allclose(adapted.info["information"][-1], wanted, rtol=1e-4)
    assert adapted.info["information_initial"][-1] < adapted.info["information"][-1]  # it knows more
    np.testing.assert_array_equal(adapted.info["forward_rows"], 40)


def test_a_collapse_is_seen_and_undone():
    guard, states, adapted = guarded(tilting(tilt=0.5), labelled(SHUFFLED))
    collapsed = np.flatnonzero(adapted.info["collapsed"])
    assert len(collapsed) >= 2  # what collapses once does so again
    first = collapsed[0]
    assert adapted.info["information"][first] < 0.5 * adapted.info["information_initial"][first]
    assert information(adapted.logits[first]) < 0.1 < information(adapted.logits[0])
    assert equal(at(states, first), guard.init(tta_models.tiny().variables))
    assert states.rows[first + 1] == 20
    # It went as it would have without the guard until then, and then once more from the beginning.
    _, plain = stream(tilting(tilt=0.5), labelled(SHUFFLED))
    np.testing.assert_array_equal(adapted.logits[: first + 1], plain.logits[: first + 1])
    np.testing.assert_array_equal(states.inner["batches"][first : first + 3], [0, 1, 2])


@pytest.mark.parametrize("labels", [SHUFFLED, SORTED], ids=["shuffled", "sorted"])
def test_adapting_well_is_left_alone(labels):
    _, states, adapted = guarded(tilting(truer=0.2), labelled(labels))
    assert not np.any(adapted.info["collapsed"])
    np.testing.assert_array_equal(states.inner["batches"], np.arange(1, len(labels) + 1))


def test_sorted_labels_look_like_a_collapse_batch_by_batch_only():
    images = labelled(SORTED)
    _, _, adapted = guarded(tilting(truer=0.2), images)
    initial = [information(batch) for batch in images[..., 0, :3, 0]]
    alone = [information(batch) for batch in adapted.logits]
    assert any(now < 0.5 * before and before > 0.25 * np.log(3) for now, before in zip(alone, initial, strict=True))
    assert (adapted.info["information"] / adapted.info["information_initial"])[6:].min() > 0.8


def test_a_collapse_in_a_sorted_stream_is_seen():
    _, _, adapted = guarded(tilting(tilt=0.5), labelled(SORTED))
    assert np.any(adapted.info["collapsed"])


def test_an_initial_state_that_knows_nothing_is_not_gone_back_to():
    images = labelled(np.concatenate([SHUFFLED, SHUFFLED])) * 0.05  # it is unsure of everything
    _, _, adapted = guarded(tilting(tilt=0.5), images)
    assert adapted.info["information_initial"].max() < 0.25 * np.log(3)
    assert not np.any(adapted.info["collapsed"])
    assert adapted.info["information"][-1] < 0.1 * adapted.info["information_initial"][-1]


def test_logits_that_are_not_finite_are_a_collapse():
    _, states, adapted = guarded(tilting(broken_after=2.0), labelled(SHUFFLED[:5]))
    np.testing.assert_array_equal(adapted.info["collapsed"], [0, 0, 1, 0, 0])
    np.testing.assert_array_equal(states.inner["batches"], [1, 2, 0, 1, 2])
    assert np.all(np.isfinite(adapted.info["information"]))


def test_a_real_method_collapses_and_is_restored():
    """Tent with steps far too large, of an unsure model, gives one class to every image; the guard goes back."""
    model = tta_models.tiny()
    head = {f"fc/{name}": 0.5 * model.variables["params"]["fc"][name] for name in ("kernel", "bias")}
    unsure = parts.put(model.variables, head)
    batches = jnp.stack([tta_models.images(20, seed) for seed in range(12)])

    def method(learning_rate):
        made = tent.make(model, optimizer="sgd", learning_rate=learning_rate, momentum=0.9, parameters="bias")
        return made._replace(init=lambda variables, source=None: made.init(unsure))

    _, plain = stream(method(1.0), batches)
    assert information(plain.logits[-1]) < 0.02 < 0.25 * np.log(3) < information(plain.logits[0])
    states, adapted = stream(collapse_guard(model, method(1.0), rows=40), batches)
    assert np.any(adapted.info["collapsed"])
    restored = int(np.argmax(adapted.info["collapsed"]))
    assert equal(at(states.inner, restored), method(1.0).init(model.variables))
    _, adapted = stream(collapse_guard(model, method(1e-3), rows=40), batches)
    assert not np.any(adapted.info["collapsed"]) and np.all(adapted.info["updated"] == 1)
