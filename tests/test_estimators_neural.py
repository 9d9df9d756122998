"""Estimators with a trained network: their critics, their parts, and what they say where the answer is known."""

import importlib
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from infojax.data import bmi
from infojax.estimators import _neural, minde, parts
from infojax.info import bounds
from infojax.nets import critic as critics
from infojax.types import UserError

CORRELATION = 0.75
INFORMATION = -0.5 * math.log(1 - CORRELATION**2)
LOWER, UPPER, NEITHER = ("infonce", "nwj", "jensen_shannon"), ("club",), ("mine", "smile", "minde")


def normal_pairs(n, seed=0, correlation=CORRELATION):
    x, noise = np.random.default_rng(seed).standard_normal((2, n, 1)).astype(np.float32)
    return jnp.asarray(x), jnp.asarray(correlation * x + math.sqrt(1 - correlation**2) * noise, jnp.float32)


def best_scores(x, y):
    """log p(y|x)/p(y) of every pair."""
    square = (y.T - CORRELATION * x) ** 2 / (1 - CORRELATION**2)
    return INFORMATION - 0.5 * square + 0.5 * y.T**2


# --- critics -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["separable", "joint"])
def test_a_critic_scores_each_pair_as_if_alone(form):
    made = critics.critic(form, (8, 8), 4)
    x, y = jax.random.normal(jax.random.key(0), (5, 2)), jax.random.normal(jax.random.key(1), (7, 3))
    parameters = made.init(jax.random.key(2), 2, 3)
    scores = made.scores(parameters, x, y)
    assert scores.shape == (5, 7)
    alone = [[made.scores(parameters, x[i : i + 1], y[j : j + 1])[0, 0] for j in range(7)] for i in range(5)]
    np.testing.assert_allclose(scores, np.array(alone), atol=1e-5)
    assert len(np.unique(np.round(scores, 6))) == 35


def test_a_joint_critic_is_the_same_in_blocks(monkeypatch):
    made = critics.critic("joint", (8,))
    x = jax.random.normal(jax.random.key(0), (10, 2))
    parameters = made.init(jax.random.key(2), 2, 2)
    whole = made.scores(parameters, x, x)
    monkeypatch.setattr(critics, "PAIRS_AT_ONCE", 30)
    np.testing.assert_allclose(made.scores(parameters, x, x), whole, atol=1e-6)


def test_the_decoder_gives_normal_log_densities():
    made = critics.gaussian_decoder((8,))
    x, y = jax.random.normal(jax.random.key(0), (4, 2)), 2 * jax.random.normal(jax.random.key(1), (6, 3))
    parameters = made.init(jax.random.key(2), 2, 3)
    log_q = made.scores(parameters, x, y)
    # Its mean and scale, read from what it says of three points on each axis.
    points = np.concatenate([np.zeros((1, 3)), np.eye(3), -np.eye(3)]).astype(np.float32)
    seen = np.asarray(made.scores(parameters, x, jnp.asarray(points)), np.float64)
    curvature = seen[:, 1:4] + seen[:, 4:7] - 2 * seen[:, :1]
    scale = 1 / np.sqrt(-curvature)
    mean = (seen[:, 1:4] - seen[:, 4:7]) / 2 * scale**2
    expected = scipy.stats.norm(mean[:, None], scale[:, None]).logpdf(np.asarray(y)[None]).sum(-1)
    np.testing.assert_allclose(log_q, expected, rtol=2e-3, atol=2e-3)
    far = jax.tree.map(lambda leaf: 1e4 * leaf, parameters)
    assert jnp.isfinite(made.scores(far, x, y)).all()


# --- parts -------------------------------------------------------------------------------------------------------


def test_three_parts_share_no_sample_and_folds_test_every_one():
    order, samples = jax.random.permutation(jax.random.key(0), 203), jnp.arange(203.0)[:, None]
    tested = []
    for fold in range(4):
        data = _neural.split(jnp.roll(order, -fold * 50), 4, samples, -samples)
        for x, y in data:
            assert jnp.array_equal(x, -y)
        rows = [set(np.asarray(x[:, 0]).astype(int)) for x, _ in data]
        assert sum(map(len, rows)) == 203 == len(set.union(*rows))
        assert len(rows[1]) == 25 and len(rows[2]) == 50
        tested.append(rows[2])
    assert len(set.union(*tested)) == 200
    whole = _neural.split(order, 4, samples, samples)
    half = _neural.split(_neural.halved(order, 4), 4, samples, samples)
    assert jnp.array_equal(half.test[0], whole.test[0]) and jnp.array_equal(half.validation[0], whole.validation[0])
    kept = set(np.asarray(half.train[0][:, 0]).astype(int))
    assert len(kept) == 64 and kept < set(np.asarray(whole.train[0][:, 0]).astype(int))


def test_training_ends_when_patience_does_and_gives_the_best():
    def run(best, training):
        return _neural.early_stopped(
            epoch=lambda learnt, number: (learnt[0] + 1, learnt[1] + 1),
            candidate=lambda learnt: learnt[0],
            validation=lambda candidate: -((candidate - best) ** 2).astype(jnp.float32),
            learnt=(jnp.int32(0), jnp.int32(0)),
            training=training,
        )

    assert run(7, _neural.Training(1e-3, 8, epochs=50, patience=3)) == 7
    assert run(70, _neural.Training(1e-3, 8, epochs=50, patience=3)) == 50
    # A second hill behind a valley longer than patience is not reached.
    found = _neural.early_stopped(
        epoch=lambda learnt, number: learnt + 1,
        candidate=lambda learnt: learnt,
        validation=lambda candidate: jnp.where(candidate == 2, 1.0, jnp.where(candidate == 9, 2.0, 0.0)),
        learnt=jnp.int32(0),
        training=_neural.Training(1e-3, 8, epochs=50, patience=3),
    )
    assert found == 2


def test_the_jackknife_knows_how_values_scatter():
    for value in (bounds.donsker_varadhan, bounds.nwj, bounds.infonce):

        def one(key, value=value):
            x, noise = jax.random.normal(key, (2, 300, 1))
            y = CORRELATION * x + math.sqrt(1 - CORRELATION**2) * noise
            return _neural.jackknifed(value, best_scores(x, y) + (1.0 if value is bounds.nwj else 0.0))

        values, variances = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 200))
        assert float(jnp.sqrt(variances.mean())) == pytest.approx(float(values.std()), rel=0.2)
        assert float(values.mean()) == pytest.approx(INFORMATION, abs=0.02)


def test_ties_are_ranked_in_no_order():
    samples = jnp.repeat(jnp.arange(4.0), 100)[:, None]
    scores = _neural.to_ranks(jax.random.key(0), samples)
    place = np.corrcoef(np.arange(100), np.asarray(scores[:100, 0]))[0, 1]
    assert abs(place) < 0.3
    assert jnp.all(jnp.diff(scores.reshape(4, 100).max(1)) > 0) and scores[99] < scores.reshape(4, 100)[1:].min()
    steady = _neural.to_ranks(jax.random.key(0), jnp.array([[3.0], [1.0], [2.0]]))
    assert steady[1] < steady[2] < steady[0]


def test_minde_noises_and_denoises_as_it_says():
    tau = jnp.array([[-3.0], [0.0], [2.0]])
    x, noise = jax.random.normal(jax.random.key(0), (2, 3, 2))
    noisy, direction, alpha, sigma = minde.noised(tau, x, noise)
    np.testing.assert_allclose(alpha**2 + sigma**2, jnp.ones((3, 1)), atol=1e-6)
    np.testing.assert_allclose(jnp.log(sigma**2 / alpha**2), tau, atol=1e-5)
    # The noise is what the score is made of: −ε/σ = −x_τ − (α/σ) v.
    np.testing.assert_allclose(-noise / sigma, -noisy - alpha / sigma * direction, atol=1e-4)


# --- what they say -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fits():
    """Compiled once for each estimator."""
    made = {name: importlib.import_module(f"infojax.estimators.{name}").make() for name in LOWER + UPPER + NEITHER}
    return {name: jax.jit(estimator.fit) for name, estimator in made.items()}


def test_which_ones_are_bounds():
    for names, bound in ((LOWER, "lower"), (UPPER, "upper"), (NEITHER, "")):
        for name in names:
            assert importlib.import_module(f"infojax.estimators.{name}").make().bound == bound


FEW = ("infonce", "mine")  # the others share their checks, and but for minde their training


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FEW else pytest.mark.slow) for name in LOWER + NEITHER]
)
def test_what_is_right_is_trusted(fits, name):
    found = fits[name](jax.random.key(2), *normal_pairs(2000))
    assert found.value == pytest.approx(INFORMATION, abs=0.06)
    low, high = found.interval
    assert low < found.value < high < low + 0.2
    assert bool(found.trusted), parts.why(found)


@pytest.mark.parametrize("name", [*FEW, pytest.param("minde", marks=pytest.mark.slow)])
def test_what_is_wrong_is_not_trusted_and_nothing_is_nothing(fits, name):
    # A band with edges: smooth critics of 2,000 samples see less than neighbours do.
    x, y = (jnp.asarray(a, jnp.float32) for a in bmi.make(task="1v1-additive-0.1").sample(1, 2000))
    sharp = fits[name](jax.random.key(2), x, y)
    assert float(sharp.value) < 1.65
    assert not bool(sharp.trusted) and "neighbours" in parts.why(sharp)
    # Independent samples hold nothing.
    nothing = fits[name](jax.random.key(2), normal_pairs(2000)[0], normal_pairs(2000, seed=1)[0])
    assert nothing.value == pytest.approx(0, abs=0.03)


def test_club_is_the_upper_bound_of_its_paper(fits):
    found = fits["club"](jax.random.key(2), *normal_pairs(2000))
    # E log q(y|x) under the joint less under the product of margins, for the true conditional.
    assert found.value == pytest.approx(CORRELATION**2 / (1 - CORRELATION**2), abs=0.2)
    assert found.value > INFORMATION and not bool(found.trusted)


def test_infonce_says_when_its_ceiling_presses(fits):
    x, noise = jax.random.normal(jax.random.key(0), (2, 2000, 1))
    found = fits["infonce"](jax.random.key(2), x, x + 1e-4 * noise)
    assert float(found.diagnostics["check/ceiling"]) == pytest.approx(float(found.value) / (math.log(500) - 1))
    assert float(found.value) < math.log(500) < 9
    assert not bool(found.trusted)


def test_seeds_side_by_side_are_seeds_alone():
    from infojax.estimators import infonce

    fit = infonce.make(hidden_sizes=(8,), epochs=3).fit
    x, y = normal_pairs(256)
    keys = jax.random.split(jax.random.key(0), 2)
    many = jax.jit(jax.vmap(fit))(keys, jnp.stack([x, y]), jnp.stack([y, x]))
    alone = jax.jit(fit)(keys[1], y, x)
    np.testing.assert_allclose(many.value[1], alone.value, atol=1e-4)
    np.testing.assert_allclose(many.interval[1], alone.interval, atol=1e-4)


def test_samples_that_do_not_fit_are_refused():
    from infojax.estimators import mine

    x, y = normal_pairs(60)
    with pytest.raises(UserError, match="too few"):
        mine.make().fit(jax.random.key(0), x, y)
    with pytest.raises(UserError, match="folds"):
        mine.make(folds=1).fit(jax.random.key(0), *normal_pairs(200))
