"""SMiRL, k-nearest-neighbour entropy, LSD and METRA against numpy and scipy, and what LSD and METRA learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.spatial import cKDTree

from infojax.objectives import densities, displacement, knn_entropy, lsd, metra, smirl
from infojax.testing import QUICK
from infojax.types import EnvSpec, Transition, UserError, keep_context

SPEC = EnvSpec((3,), (2,), None, (-1.0, -1.0), (1.0, 1.0), 20, name="test")
SYMBOLS = EnvSpec((2, 2), (), 3, (), (), 20, name="symbols", num_categories=4)
N = 24
RANDOM = np.random.default_rng(0)


def transitions(observation, next_observation, context=None, action=None):
    count = len(observation)
    no = jnp.zeros((count,), bool)
    context = jnp.zeros((count, 0)) if context is None else jnp.asarray(context, jnp.float32)
    action = jnp.zeros((count, 2), jnp.float32) if action is None else jnp.asarray(action)
    return Transition(
        observation=jnp.asarray(observation, jnp.float32),
        context=context,
        action=action,
        reward=jnp.zeros((count,), jnp.float32),
        next_observation=jnp.asarray(next_observation, jnp.float32),
        next_context=context,
        terminated=no,
        truncated=no,
    )


def quick(function):
    """Compiled with little effort: most of these programs run once."""
    return jax.jit(function, compiler_options=QUICK)


def everything(objective, state, data):
    """Reward, update and report of the first ten, as one program."""

    def run(state, data):
        updated = objective.update(state, data, jax.random.key(1))
        return objective.reward(state, data), *updated, objective.report(state, data, jnp.arange(N) < 10)

    return quick(run)(state, data)


def drawn(objective, spec=SPEC, scale=1.0):
    """Random transitions with contexts of the objective."""
    observation, step = RANDOM.normal(size=(2, N, *spec.observation_shape))
    draws = quick(jax.vmap(objective.context, in_axes=(None, 0)))
    context = draws((), jax.random.split(jax.random.key(0), N))
    return transitions(observation, observation + scale * step, context)


def dense(parameters, inputs, normalize=None):
    """An MLP of one hidden layer with relu in float64; `normalize` is what each matrix is divided by."""
    first, last = parameters["member_0_layer_0"], parameters["member_0_output"]
    one, two = (normalize or {}).get("member_0_layer_0", 1), (normalize or {}).get("member_0_output", 1)
    hidden = np.maximum(inputs @ (np.asarray(first["kernel"], np.float64) / one) + np.asarray(first["bias"]), 0)
    return hidden @ (np.asarray(last["kernel"], np.float64) / two) + np.asarray(last["bias"])


def directions(context):
    """Centred one-hots, scaled to have 1 where the skill is."""
    context, count = np.asarray(context, np.float64), context.shape[1]
    return (context - 1 / count) * count / (count - 1)


# --- SMiRL ---------------------------------------------------------------------------------------------------------


def episode(objective, observations):
    """Transitions of one episode as a learner makes them: contexts by `advance`, from the first observation on."""

    def step(context, observation):
        context = objective.advance((), context, observation)
        return context, context

    start, steps = objective.context((), jax.random.key(0)), jnp.asarray(observations, jnp.float32)
    _, contexts = quick(lambda start, steps: jax.lax.scan(step, start, steps))(start, steps)
    return transitions(observations[:-1], observations[1:], contexts[:-1])


@pytest.mark.parametrize("form", ["minimise", "maximise"])
def test_smirl_rewards_by_the_gaussian_of_the_episode_so_far(form):
    objective = smirl.make(SPEC, form=form, prior_count=0.0, min_scale=0.05)
    observations = RANDOM.normal([0.0, 5.0, -1.0], [0.01, 2.0, 0.5], (16, 3)).astype(np.float32)
    data = episode(objective, observations)
    reward = quick(objective.reward)((), data)
    for t in range(15):
        seen = observations[: t + 1].astype(np.float64)  # with o_t, without o_{t+1}
        wanted = stats.norm.logpdf(observations[t + 1], seen.mean(0), np.maximum(seen.std(0), 0.05)).sum()
        wanted = np.clip(wanted, -300, 300) * (1 if form == "minimise" else -1)
        assert reward[t] == pytest.approx(wanted, rel=1e-3)
        np.testing.assert_allclose(data.context[t, 0], (t + 1) / 20, rtol=1e-6)
        np.testing.assert_allclose(data.context[t, 1:], np.concatenate([seen.mean(0), seen.std(0)]), atol=1e-4)
    assert objective.advance is not keep_context


def test_smirl_counts_symbols_and_reports_the_entropy_of_the_episode():
    objective = smirl.make(SYMBOLS)
    observations = RANDOM.choice(4, (12, 2, 2), p=[0.7, 0.1, 0.1, 0.1])
    data = episode(objective, observations)
    reward, entropies = quick(objective.reward)((), data), []
    for t in range(11):
        seen = observations[: t + 1].reshape(t + 1, 4)
        chances = np.stack([np.bincount(seen[:, j], minlength=4) for j in range(4)]) / (t + 1)
        given = chances[np.arange(4), observations[t + 1].ravel()]
        assert reward[t] == pytest.approx(np.log(np.maximum(given, 1e-3)).sum(), rel=1e-5)
        entropies.append(stats.entropy(chances, axis=1).sum())
    where = np.arange(11) >= 6
    report = quick(objective.report)((), data, jnp.asarray(where))
    assert report["density_entropy"] == pytest.approx(np.mean(entropies[6:]), rel=1e-4)
    assert report["log_likelihood"] == pytest.approx(float(np.mean(reward[6:])), rel=1e-5)


def test_smirl_prefers_what_it_has_seen():
    """The same observation again is worth more with every step; one never seen costs the floor."""
    objective = smirl.make(SYMBOLS, smoothing="laplace")
    same = quick(objective.reward)((), episode(objective, np.zeros((10, 2, 2))))
    assert np.all(np.diff(same) > 0)
    with pytest.raises(UserError, match="gaussian"):
        smirl.make(SPEC, density="categorical")


# --- k nearest neighbours ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form, reward_on", [("apt", "observation"), ("urlb", "next_observation"), ("re3", "next_observation")]
)
def test_knn_rewards_are_scipys_distances(form, reward_on):
    objective = knn_entropy.make(SPEC, form=form, k=4, features="raw", scale_by="none", reward_on=reward_on)
    observation, following = RANDOM.normal(size=(2, N, 3))
    observation[3] = observation[7]  # duplicates are neighbours at distance 0, a particle of itself is not
    points = observation if reward_on == "observation" else following
    distance = cKDTree(points).query(points, 5)[0]
    wanted = {"apt": distance[:, 1:].mean(1), "urlb": distance[:, :4].mean(1), "re3": distance[:, 4]}[form]
    reward = quick(objective.reward)(quick(objective.init)(jax.random.key(0)), transitions(observation, following))
    np.testing.assert_allclose(reward, np.log1p(wanted), rtol=1e-5)


@pytest.mark.parametrize("scale_by", ["mean_distance", "distance_deviation"])
def test_distances_are_divided_by_what_the_key_says(scale_by):
    """Mean and standard deviation are far apart here, so that one in the place of the other would show."""
    objective = knn_entropy.make(SPEC, k=2, features="raw", scale_by=scale_by)
    batches = [100 * RANDOM.normal(size=(N, 3)), 3 + RANDOM.normal(size=(N, 3))]
    state, seen = quick(objective.init)(jax.random.key(0)), []
    for points in batches:
        state, _ = quick(objective.update)(state, transitions(points, points), jax.random.key(1))
        seen.append(cKDTree(points).query(points, 3)[0][:, 1:])
    unit = np.mean(seen) if scale_by == "mean_distance" else np.std(seen)
    reward = quick(objective.reward)(state, transitions(batches[1], batches[1]))
    np.testing.assert_allclose(reward, np.log1p(seen[1].mean(1) / unit), rtol=1e-4)


def test_re3_encodes_by_a_fixed_network_and_decays():
    sizes = {"feature_size": 8, "hidden_sizes": (16,)}
    objective = knn_entropy.make(SPEC, form="re3", k=3, features="random", scale_by="none", decay=0.01, **sizes)
    state = quick(objective.init)(jax.random.key(0))
    data = transitions(*RANDOM.normal(size=(2, N, 3)))
    points = dense(state.models.encoder, np.asarray(data.next_observation, np.float64))
    wanted = np.log1p(cKDTree(points).query(points, 4)[0][:, 3])
    np.testing.assert_allclose(quick(objective.reward)(state, data), wanted, rtol=1e-4)
    after, _ = objective.update(objective.observe(state, data), data, jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, after.models, state.models)
    np.testing.assert_allclose(quick(objective.reward)(after, data), 0.99**N * wanted, rtol=1e-4)


def test_a_batch_of_too_few_is_told_how_to_mend():
    objective = knn_entropy.make(SPEC, k=N, features="raw")
    data = transitions(*RANDOM.normal(size=(2, N, 3)))
    with pytest.raises(UserError, match=r"objective\.k=24 .* has 24"):
        objective.reward(quick(objective.init)(jax.random.key(0)), data)
    with pytest.raises(UserError, match="urlb"):
        knn_entropy.make(SPEC, form="urlb", k=1)


def test_features_of_the_inverse_model_keep_what_actions_move():
    """One entry is moved by the action, the others are noise: the features come to depend on the first."""
    sizes = {"feature_size": 4, "hidden_sizes": (32,), "learning_rate": 1e-2}
    objective = knn_entropy.make(SPEC._replace(action_shape=(), num_actions=2), k=3, scale_by="none", **sizes)

    def batch(key):
        keys = jax.random.split(key, 3)
        observation, noise = jax.random.normal(keys[0], (2, 64, 3))
        action = jax.random.randint(keys[1], (64,), 0, 2)
        following = noise.at[:, 0].set(observation[:, 0] + 2.0 * action.astype(jnp.float32) - 1.0)
        return transitions(observation, following, action=action)

    def step(state, key):
        state, metrics = objective.update(state, batch(key), key)
        return state, metrics["inverse_loss"]

    state = quick(objective.init)(jax.random.key(0))
    run = quick(lambda state, keys: jax.lax.scan(step, state, keys))
    after, losses = run(state, jax.random.split(jax.random.key(1), 300))
    assert losses[0] > 0.5 and losses[-20:].mean() < 0.2

    def slope(models):
        """How far the features move with each entry of the observation."""
        points = RANDOM.normal(size=(64, 3))
        moved = [dense(models.encoder, points + 0.1 * np.eye(3)[i]) - dense(models.encoder, points) for i in range(3)]
        return np.abs(moved).mean((1, 2))

    before, after = slope(state.models), slope(after.models)
    assert after[0] > 2.2 * after[1:].max() > 0
    assert before[0] < 2 * before[1:].max()


# --- LSD and METRA -------------------------------------------------------------------------------------------------

SMALL = {"skill_size": 3, "hidden_sizes": (16,)}


def test_skills_are_directions():
    discrete, sphere = displacement.make_skills("discrete", 4), displacement.make_skills("continuous", 4)
    np.testing.assert_allclose(
        discrete.direction(discrete.contexts), np.where(np.eye(4) > 0, 1, -1 / 3), rtol=1e-6
    )  # the skill's own entry is 1, and entries sum to 0
    keys = jax.random.split(jax.random.key(0), 200)
    points = np.asarray(jax.vmap(sphere.draw)(keys))
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, rtol=1e-5)
    assert np.abs(points.mean(0)).max() < 0.15
    assert np.bincount(np.argmax(jax.vmap(discrete.draw)(keys), 1), minlength=4).min() > 30
    np.testing.assert_array_equal(sphere.direction(points), points)
    with pytest.raises(UserError, match="skill_size=1"):
        displacement.make_skills("discrete", 1)


@pytest.mark.parametrize("skills, constraint", [("discrete", "norm"), ("continuous", "mean")])
def test_metra_is_numpys(skills, constraint):
    objective = metra.make(SPEC, skills=skills, constraint=constraint, multiplier=5.0, slack=0.1, **SMALL)
    state = quick(objective.init)(jax.random.key(0))
    data = drawn(objective)
    before, after = (np.asarray(o, np.float64) for o in (data.observation, data.next_observation))
    change = dense(state.encoder, after) - dense(state.encoder, before)
    wanted = directions(data.context) if skills == "discrete" else np.asarray(data.context, np.float64)
    gain = (change * wanted).sum(1)
    reward, updated, metrics, report = everything(objective, state, data)
    np.testing.assert_allclose(reward, gain, rtol=1e-4, atol=1e-5)
    used = (change**2).sum(1) if constraint == "norm" else (change**2).mean(1)
    room = np.minimum(1 - used, 0.1).mean()
    assert metrics["representation_loss"] == pytest.approx(-(gain.mean() + 5 * room), rel=1e-4)
    assert metrics["violation"] == pytest.approx(np.maximum(used - 1, 0).mean(), rel=1e-4)
    # The first step of Adam is the sign of its gradient, which is `room`.
    assert updated.log_multiplier == pytest.approx(np.log(5) - 1e-4 * np.sign(room), abs=1e-6)
    cosine = gain / np.linalg.norm(change, axis=1) / np.linalg.norm(wanted, axis=1)
    assert report["alignment"] == pytest.approx(cosine[:10].mean(), rel=1e-4)
    assert report["displacement"] == pytest.approx(np.linalg.norm(change, axis=1)[:10].mean(), rel=1e-4)
    assert report["violation"] == pytest.approx(np.maximum(used - 1, 0)[:10].mean(), rel=1e-4)
    if skills == "discrete":
        hits = change.argmax(1) == np.asarray(data.context).argmax(1)
        assert report["accuracy"] == pytest.approx(hits[:10].mean(), rel=1e-5)
        assert report["confusion"].shape == (3, 3)


def test_metras_gradient_holds_the_multiplier_fixed_and_stops_at_the_slack():
    """With all displacements far inside, only the reward moves φ; the same update as with no multiplier at all."""
    data = None
    moved = []
    for multiplier in (1e-6, 1e3):
        objective = metra.make(SPEC, multiplier=multiplier, learning_rate=1e-2, **SMALL)
        data = drawn(objective, scale=1e-3) if data is None else data
        state = quick(objective.init)(jax.random.key(0))
        moved.append(quick(objective.update)(state, data, jax.random.key(1))[0].encoder)
    jax.tree.map(lambda one, two: np.testing.assert_allclose(one, two, atol=1e-7), *moved)


def test_the_multiplier_rises_where_the_constraint_is_violated_and_falls_elsewhere():
    objective = metra.make(SPEC, multiplier_learning_rate=0.1, **SMALL)
    state = quick(objective.init)(jax.random.key(0))
    update = quick(objective.update)
    for scale, sign in ((100.0, 1), (1e-3, -1)):
        after, _ = update(state, drawn(objective, scale=scale), jax.random.key(1))
        assert after.log_multiplier - state.log_multiplier == pytest.approx(0.1 * sign, rel=1e-3)


def test_lsd_is_numpys():
    objective = lsd.make(SPEC, **SMALL)
    state = quick(objective.init)(jax.random.key(0))
    data = drawn(objective)
    exact = {n: np.linalg.norm(np.asarray(layer["kernel"], np.float64), 2) for n, layer in state.encoder.items()}
    before, after = (np.asarray(o, np.float64) for o in (data.observation, data.next_observation))
    change = dense(state.encoder, after, exact) - dense(state.encoder, before, exact)
    gain = (change * directions(data.context)).sum(1)
    reward, _, metrics, report = everything(objective, state, data)
    np.testing.assert_allclose(reward, gain, rtol=1e-3, atol=1e-4)
    assert metrics["representation_loss"] == pytest.approx(-gain.mean(), rel=1e-3, abs=1e-4)
    assert report["displacement"] == pytest.approx(np.linalg.norm(change, axis=1)[:10].mean(), rel=1e-3)
    assert report["violation"] == pytest.approx(0, abs=1e-6)


# What a plane teaches: skill k moves the first two entries a step of 0.1 along its own direction; the third is noise.
ANGLES = np.pi / 4 + np.pi / 2 * np.arange(4)


def plane(key, step):
    keys = jax.random.split(key, 3)
    observation = jax.random.uniform(keys[0], (128, 3), minval=-1.0, maxval=1.0)
    skill = jax.random.randint(keys[1], (128,), 0, 4)
    away = step * jnp.asarray(np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1), jnp.float32)[skill]
    noise = 0.01 * jax.random.normal(keys[2], (128, 1))
    return transitions(observation, observation + jnp.concatenate([away, noise], 1), jax.nn.one_hot(skill, 4))


@pytest.fixture(scope="module", params=["lsd", "metra"])
def taught(request):
    rates = {"learning_rate": 3e-3, "skill_size": 4, "hidden_sizes": (32, 32)}
    if request.param == "lsd":
        objective = lsd.make(SPEC, **rates)
    else:
        objective = metra.make(SPEC, multiplier_learning_rate=1e-2, **rates)

    def step(state, key):
        return objective.update(state, plane(key, 0.1), key)

    start = quick(objective.init)(jax.random.key(0))
    run = quick(lambda state, keys: jax.lax.scan(step, state, keys))
    after, _ = run(start, jax.random.split(jax.random.key(1), 1500))
    report = quick(objective.report)
    data = plane(jax.random.key(2), 0.1)
    return request.param, objective, after, report(start, data), report(after, data)


def test_skills_become_directions_under_the_constraint(taught):
    name, _, state, before, after = taught
    assert before["accuracy"] < 0.6 and after["accuracy"] > 0.97
    # The best a plane can do: of the four directions, corners of a tetrahedron, it holds two thirds of the square.
    assert after["alignment"] == pytest.approx(np.sqrt(2 / 3), abs=0.02) and before["alignment"] < 0.5
    np.testing.assert_allclose(np.diag(after["confusion"]), 1, atol=0.1)
    if name == "metra":
        # A step of the world is a step of φ, however short it is in the observation.
        assert 0.9 < after["displacement"] < 1.05 and after["violation"] < 0.05
        assert before["displacement"] < 0.3
    else:
        # Steps of 0.1 stay steps of at most 0.1.
        assert 0.05 < after["displacement"] < 0.101 and after["violation"] < 1e-3
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


def test_lsd_stays_lipschitz_while_metra_does_not(taught):
    name, objective, state, _, _ = taught
    x, y = jax.random.normal(jax.random.key(3), (2, 2000, 3))
    near = x + 1e-2 * (y - x)
    # Rewards of all four skills give φ(x') − φ(x) less its mean over entries, which is no longer than the whole.
    worst = 0.0
    reward = quick(jax.vmap(objective.reward, in_axes=(None, 0)))
    for other in (y, near):
        contexts = jnp.broadcast_to(jnp.eye(4)[:, None], (4, 2000, 4))
        pairs = [transitions(x, other, context) for context in contexts]
        along = reward(state, jax.tree.map(lambda *leaves: jnp.stack(leaves), *pairs))
        worst = max(worst, (np.linalg.norm(0.75 * along, axis=0) / np.linalg.norm(x - other, axis=1)).max())
    if name == "lsd":
        exact = [np.linalg.norm(layer["kernel"], 2) for layer in lsd.normalized(state.encoder, state.vectors).values()]
        np.testing.assert_allclose(exact, 1, rtol=5e-3)
        assert 0.5 < worst <= 1.002
    else:
        assert worst > 3


def test_chosen_entries_alone_are_seen():
    encoder = displacement.make_encoder(SPEC, "lsd", 3, (0, 2), (8,), "relu")
    points = jnp.asarray(RANDOM.normal(size=(N, 3)), jnp.float32)
    np.testing.assert_array_equal(encoder.inputs(points), points[:, [0, 2]])
    symbols = displacement.make_encoder(SYMBOLS._replace(observation_shape=(3,)), "lsd", 3, (1,), (8,), "relu")
    np.testing.assert_array_equal(symbols.inputs(jnp.array([[0.0, 2.0, 1.0]])), np.eye(4)[[2]])
    assert (encoder.input_size, symbols.input_size) == (2, 4)


def test_the_published_count_floor_is_smirls_default():
    """One never seen symbol costs log 1e-3, whatever the length of the episode."""
    objective = smirl.make(SYMBOLS)
    seen = np.zeros((6, 2, 2))
    seen[-1, 0, 0] = 3
    reward = quick(objective.reward)((), episode(objective, seen))
    assert reward[-1] == pytest.approx(np.log(1e-3), rel=1e-5)
    assert reward[-2] == pytest.approx(0, abs=1e-6)
    assert densities.categorical(4, 4).statistics_size == objective.context_size
