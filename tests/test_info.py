"""The decoder's bound that the first agents stand on, against closed forms and against independent implementations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from infojax.info import bounds, categorical


def test_barber_agakov_is_mutual_information_when_the_decoder_is_the_posterior():
    joint = np.array([[0.3, 0.1, 0.1], [0.05, 0.25, 0.2]])
    marginal_s, marginal_z = joint.sum(0), joint.sum(1)
    information = np.sum(joint * np.log(joint / np.outer(marginal_z, marginal_s)))
    counts = np.rint(joint * 100).astype(int)
    log_q = np.concatenate([[np.log(joint[z, s] / marginal_s[s])] * counts[z, s] for z in range(2) for s in range(3)])
    entropy_z = scipy.stats.entropy(marginal_z)
    assert bounds.barber_agakov(jnp.asarray(log_q, jnp.float32), entropy_z) == pytest.approx(information, abs=1e-6)


def test_a_confident_random_decoder_scores_below_zero():
    key = jax.random.key(0)
    logits = 20 * jax.random.normal(key, (4000, 8))
    skill = jax.random.randint(jax.random.key(1), (4000,), 0, 8)
    log_q = jnp.take_along_axis(jax.nn.log_softmax(logits), skill[:, None], axis=1)[:, 0]
    # The difference of prediction entropies would call this decoder nearly perfect.
    confident = np.log(8) - float(jnp.mean(categorical.entropy(logits)))
    assert confident > 0.7 * np.log(8)
    assert bounds.barber_agakov(log_q, np.log(8)) <= 0


def test_barber_agakov_masks_infinities_and_keeps_values_per_sample():
    log_q = jnp.array([-1.0, -jnp.inf, -3.0])
    mask = jnp.array([True, False, True])
    assert bounds.barber_agakov(log_q, 2.0, where=mask) == pytest.approx(0.0)
    np.testing.assert_allclose(bounds.barber_agakov(log_q, 2.0, where=mask, reduction="none"), [1.0, 0.0, -1.0])
    assert bounds.barber_agakov(log_q, 2.0, where=jnp.zeros(3, bool)) == 0
    gradient = jax.grad(lambda x: bounds.barber_agakov(x, 2.0, where=mask))(log_q)
    np.testing.assert_allclose(gradient, [0.5, 0.0, 0.5])
    with pytest.raises(ValueError, match="reduction"):
        bounds.barber_agakov(log_q, 2.0, reduction="median")  # type: ignore[arg-type]
