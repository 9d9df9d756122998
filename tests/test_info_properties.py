"""Laws that information quantities obey whatever the data: chains, invariances, bounds, additivity, laws of scale.

The same examples every time, of fixed shapes, so that each law compiles once.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from infojax.info import bayes, bounds, categorical, discrete, ensemble, gaussian, kernel, particle, score, units

SEEDS = st.integers(0, 2**32 - 1)
LAW = settings(max_examples=25, derandomize=True, deadline=None)
compiled = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
single = partial(jnp.asarray, dtype=jnp.float32)


def draw(seed):
    return np.random.default_rng(seed)


def equal(left, right, atol=3e-6, rtol=1e-5):
    np.testing.assert_allclose(left, right, atol=atol, rtol=rtol)


@compiled
def discrete_laws(p, q, first, second, channel, table):
    mixed = [jnp.outer(a, b).ravel() for a, b in ((p, first), (q, second))]
    tables = first[:, None] * channel, table.sum(2)
    both = jnp.einsum("ab,cd->acbd", *tables).reshape(first.size * 2, -1)
    orders = (0.5, 1.0, 2.0)
    return {
        "renyi": [[discrete.renyi_entropy(x, a) for x in (p, first, mixed[0])] for a in orders],
        "tsallis": [[discrete.tsallis_entropy(x, a) for x in (p, first, mixed[0])] for a in orders],
        "divergence": [
            [discrete.renyi_divergence(x, y, a) for x, y in ((p, q), (first, second), mixed)] for a in orders
        ],
        "kl": [discrete.kl_divergence(first, second), discrete.kl_divergence(first @ channel, second @ channel)],
        "js": [discrete.js_divergence(first, second), discrete.js_divergence(first @ channel, second @ channel)],
        "pair": [*map(discrete.mutual_information, tables), discrete.mutual_information(both)],
        "capacity": discrete.channel_capacity(channel),
        # X – Y – Z: Z is Y through the channel.
        "processed": discrete.mutual_information(table.sum(2) @ channel),
        "whole": discrete.mutual_information(table.reshape(2, -1)),
        "given": discrete.conditional_mutual_information(table),
        "third": discrete.mutual_information(table.sum(1)),
        "entropies": [discrete.conditional_entropy(table.sum(2)), discrete.shannon_entropy(table.sum((0, 2)))],
    }


@LAW
@given(seed=SEEDS, concentration=st.floats(0.05, 5.0))
def test_laws_of_discrete_quantities(seed, concentration):
    rng = draw(seed)
    p, q = rng.dirichlet(np.full(4, concentration + 0.3), 2)
    first, second = rng.dirichlet(np.full(3, concentration + 0.3), 2)
    channel = rng.dirichlet(np.full(5, concentration), 3)
    table = rng.dirichlet(np.full(24, concentration)).reshape(2, 3, 4)
    v = jax.device_get(discrete_laws(*map(single, (p, q, first, second, channel, table))))
    # Additive under independence; Tsallis' entropy up to its own product.
    for one, other, joined in (*v["renyi"], *v["divergence"], v["pair"]):
        equal(one + other, joined, 1e-5, 2e-5)
    for order, (one, other, joined) in zip((0.5, 1.0, 2.0), v["tsallis"], strict=True):
        equal(one + other + (1 - order) * one * other, joined, 1e-5)
    # Nothing is gained by a channel, nor lost by conditioning on more.
    for before, after in (v["kl"], v["js"], (v["pair"][1], v["processed"]), (v["capacity"], v["pair"][0])):
        assert -3e-6 <= after <= before + 1e-5
    assert -1e-6 <= v["js"][0] <= np.log(2) + 1e-6 and v["capacity"] <= np.log(3) + 1e-6
    equal(v["whole"], v["third"] + v["given"])
    assert v["entropies"][0] <= v["entropies"][1] + 3e-6


@compiled
def categorical_laws(z, w):
    members = jnp.stack([z, w, (z + w) / 2])
    return {
        "entropy": [categorical.entropy(z), categorical.renyi_entropy(z, 0.5), categorical.tsallis_entropy(z, 2.0)],
        "pair": [f(z, w) for f in (categorical.cross_entropy, categorical.kl_divergence, categorical.js_divergence)],
        "members": [
            f(members, 0)
            for f in (
                categorical.marginal_entropy,
                categorical.mutual_information,
                categorical.expected_pairwise_kl,
                categorical.reverse_mutual_information,
            )
        ],
        "normalized": categorical.normalized_entropy(z),
        "reversed": categorical.js_divergence(w, z),
    }


temperatures = compiled(jax.vmap(categorical.entropy, in_axes=(None, 0)))


@LAW
@given(seed=SEEDS, spread=st.floats(0.01, 20.0), shift=st.integers(-(2**15), 2**15))
def test_laws_of_logits(seed, spread, shift):
    # Multiples of 1/64, so that the shift rounds nothing.
    z, w = np.round(spread * draw(seed).standard_normal((2, 6)) * 64) / 64
    v = jax.device_get(categorical_laws(single(z), single(w)))
    order = draw(seed).permutation(6)
    for others in ((z[order], w[order]), (z + shift, w - shift)):
        jax.tree.map(partial(equal, atol=1e-5), categorical_laws(*map(single, others)), v)
    cross, divergence, js = v["pair"]
    equal(cross - divergence, v["entropy"][0], 1e-5 * (1 + abs(cross)))
    marginal, information, pairwise, reverse = v["members"]
    equal(2 / 3 * pairwise, information + reverse, 1e-5 * (1 + pairwise))
    assert -2e-6 <= information <= min(np.log(3), marginal) + 1e-5 and marginal <= np.log(6) + 1e-6
    assert -1e-6 <= js <= np.log(2) + 1e-6 and -1e-6 <= v["normalized"] <= 1 + 1e-6
    equal(js, v["reversed"])
    heated = np.asarray(temperatures(single(z), single([0.25, 0.5, 1.0, 2.0, 4.0])))
    assert (np.diff(heated) >= -2e-6).all()
    equal(heated[2], v["entropy"][0])


@compiled
def gaussian_laws(cov, other, mean, mean_other, maps, block):
    mapped = maps @ cov @ maps.T
    return {
        "entropy": [gaussian.entropy(cov), gaussian.entropy(mapped)],
        "divergence": [
            gaussian.kl_divergence(mean, cov, mean_other, other),
            gaussian.kl_divergence(maps @ mean, mapped, maps @ mean_other, maps @ other @ maps.T),
        ],
        "information": [gaussian.mutual_information(cov, 2), gaussian.mutual_information(mapped, 2)],
        "conditional": [gaussian.conditional_mutual_information(c, 2, 1) for c in (cov, mapped)],
        "fewer": gaussian.mutual_information(cov[:3, :3], 2),
        "independent": [gaussian.mutual_information(block, 2), gaussian.entropy(block)],
        "parts": [gaussian.entropy(block[:2, :2]), gaussian.entropy(block[2:, 2:])],
        "total": gaussian.total_correlation(cov),
    }


@LAW
@given(seed=SEEDS)
def test_laws_of_gaussians(seed):
    rng = draw(seed)
    roots = rng.standard_normal((2, 4, 4))
    cov, other = roots @ roots.swapaxes(1, 2) / 4 + 0.2 * np.eye(4)
    maps = np.zeros((4, 4))
    # An invertible map of X, one of Y and one of Z, each by itself.
    maps[:2, :2] = rng.standard_normal((2, 2)) + 3 * np.eye(2)
    maps[2, 2], maps[3, 3] = rng.uniform(0.5, 2, 2) * rng.choice([-1, 1], 2)
    block = cov * np.kron(np.eye(2), np.ones((2, 2)))
    with jax.enable_x64(True):
        v = jax.device_get(gaussian_laws(cov, other, *rng.standard_normal((2, 4)), maps, block))
    for name in ("divergence", "information", "conditional"):
        equal(*v[name], 1e-9, 1e-9)
    equal(v["entropy"][0] + np.linalg.slogdet(maps)[1], v["entropy"][1], 1e-9)
    assert v["information"][0] >= v["fewer"] >= 0 and v["total"] >= v["information"][0]
    equal(v["information"][0], v["fewer"] + gaussian_chain(cov), 1e-9)
    assert v["independent"][0] == 0
    equal(v["independent"][1], sum(v["parts"]), 1e-9)


def gaussian_chain(cov):
    """I(X; Z | Y) of X the first two, Y the third, Z the fourth."""
    order = np.array([0, 1, 3, 2])
    with jax.enable_x64(True):
        return float(CONDITIONAL(cov[np.ix_(order, order)]))


CONDITIONAL = compiled(lambda cov: gaussian.conditional_mutual_information(cov, 2, 1))


@compiled
def particle_laws(x, y, z):
    pairs = [(a, b, algorithm) for a, b in ((x, y), (y, x)) for algorithm in (1, 2)]
    return {
        "entropy": [particle.knn_entropy(x), particle.knn_entropy(x, norm="linf")],
        "information": [particle.ksg_mutual_information(a, b, algorithm=algorithm) for a, b, algorithm in pairs],
        "conditional": [particle.conditional_mutual_information(a, b, z) for a, b in ((x, y), (y, x))],
        "divergence": particle.kl_divergence(x, z),
        "distances": particle.knn_distances(x),
        "reward": particle.particle_reward(x),
    }


@LAW
@given(seed=SEEDS, power=st.integers(-3, 3), shift=st.integers(-8, 8))
def test_laws_of_neighbours(seed, power, shift):
    rng = draw(seed)
    # Few digits, a power of two and a whole shift: no distance is rounded, so no neighbour changes.
    x, y, z = np.round(rng.standard_normal((3, 16, 2)) * 1024) / 1024
    v = jax.device_get(particle_laws(*map(single, (x, y, z))))
    scale = 2.0**power
    moved = jax.device_get(particle_laws(*(single(scale * (a + shift)) for a in (x, y, z))))
    equal(moved["entropy"], np.asarray(v["entropy"]) + 2 * np.log(scale), 1e-5)
    equal(moved["distances"], scale * v["distances"])
    for name in ("information", "conditional", "divergence"):
        equal(moved[name], v[name], 1e-5)
    order = rng.permutation(16)
    shuffled = jax.device_get(particle_laws(*(single(a[order]) for a in (x, y, z))))
    for name in ("distances", "reward"):
        equal(shuffled[name], v[name][order], 1e-5)
        v[name] = shuffled[name] = 0
    jax.tree.map(lambda a, b: equal(a, b, 1e-5), shuffled, v)
    equal(v["information"][:2], v["information"][2:])
    equal(*v["conditional"])


@compiled
def kernel_laws(x, y):
    a, b = kernel.gram(x), kernel.gram(y)
    labels = (jnp.arange(len(x)) % 2).astype(jnp.int32)
    return {
        "entropies": [kernel.matrix_renyi_entropy(m, 2.0) for m in (a, b, a * b)]
        + [kernel.matrix_renyi_entropy(m, 1.0) for m in (a, b, a * b)],
        "information": [kernel.matrix_mutual_information(a, b, 1.0), kernel.matrix_mutual_information(b, a, 1.0)],
        "hsic": [kernel.hsic(a, b), kernel.hsic(b, a)],
        "alignment": [kernel.cka(a, b), kernel.cka(b, a)],
        "discrepancy": [kernel.mmd(x, y), kernel.mmd(y, x)],
        "divergence": [kernel.cauchy_schwarz_divergence(x, y), kernel.cauchy_schwarz_divergence(y, x)],
        "itself": [1 - kernel.cka(a, a), kernel.mmd(x, x), kernel.cauchy_schwarz_divergence(x, x)],
        "spectra": [kernel.von_neumann_entropy(x), jnp.log(kernel.effective_rank(x))],
        "norm": kernel.matrix_nuclear_norm(x),
        "diffusion": kernel.diffusion_spectral_entropy(x, 1.0),
        "labelled": kernel.diffusion_spectral_mutual_information(x, labels * 0, 2, 1.0),
    }


@LAW
@given(seed=SEEDS, spread=st.floats(0.1, 5.0))
def test_laws_of_kernels(seed, spread):
    rng = draw(seed)
    x, y = spread * rng.standard_normal((2, 7, 2))
    v = jax.device_get(kernel_laws(single(x), single(y)))
    order, angle = rng.permutation(7), rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    for other in ((x[order], y[order]), (x @ turn, y @ turn)):
        jax.tree.map(lambda a, b: equal(a, b, 3e-5, 1e-4), kernel_laws(*map(single, other)), v)
    for name in ("information", "hsic", "alignment", "discrepancy", "divergence"):
        equal(*v[name], 1e-5, 1e-4)
        assert v[name][0] >= -1e-5, name
    assert v["alignment"][0] <= 1 + 1e-5
    equal(v["itself"], 0, 1e-5)
    for single_x, single_y, both in (v["entropies"][:3], v["entropies"][3:]):
        assert min(single_x, single_y) >= -2e-6 and max(single_x, single_y) <= both + 1e-5 <= np.log(7) + 3e-5
    assert all(-1e-5 <= value <= np.log(2) + 1e-5 for value in v["spectra"])
    assert -1e-5 <= v["diffusion"] <= np.log(7) + 1e-5
    equal(v["labelled"], 0, 1e-5)  # one class tells nothing


@compiled
def bound_laws(f, baseline, alpha):
    return {
        "smile": [bounds.smile(f, jnp.inf), bounds.donsker_varadhan(f)],
        "nwj": [bounds.nwj(f), bounds.tuba(f, 1.0)],
        "interpolated": [bounds.interpolated(f, baseline, 0.0), bounds.tuba(f, baseline)],
        "between": bounds.interpolated(f, baseline, alpha),
        "shifted": [
            jnp.stack([function(g) for function in (bounds.donsker_varadhan, bounds.infonce, bounds.club)])
            for g in (f, f + 32)
        ],
        # A score that depends on x alone, or on y alone.
        "rows": [bounds.infonce(f), bounds.infonce(f + baseline[:, None])],
        "columns": [bounds.leave_one_out(f), bounds.leave_one_out(f + baseline[None])],
        "tuba": [bounds.tuba(f, baseline), bounds.tuba(f + baseline[:, None], 2 * baseline)],
        "infonce": bounds.infonce(f),
        "upper": [bounds.leave_one_out(f), jnp.mean(jnp.diagonal(f)) - (jnp.sum(f) - jnp.trace(f)) / 30],
        "rate": [bounds.vib_rate(f, jnp.exp(f.T)), bayes.surprise_normal(f, jnp.exp(f.T), 0.0, 1.0)],
        "decoder": [bounds.barber_agakov(jnp.minimum(f[0], 0), jnp.log(6.0)), jnp.log(6.0)],
    }


@LAW
@given(seed=SEEDS, scale=st.floats(0.01, 3.0), alpha=st.floats(0.0, 1.0))
def test_laws_of_bounds(seed, scale, alpha):
    rng = draw(seed)
    f, baseline = np.round(scale * rng.standard_normal((6, 6)) * 256) / 256, rng.standard_normal(6)
    v = jax.device_get(bound_laws(single(f), single(baseline), single(alpha)))
    for name in ("smile", "nwj", "interpolated", "shifted", "rows", "columns", "tuba", "rate"):
        equal(*v[name], 2e-5, 1e-4)
    assert v["infonce"] <= np.log(6) + 2e-6 and np.isfinite(v["between"])
    # The log of a mean is no less than the mean of the logs; a decoder never tells more than there is.
    assert v["upper"][0] <= v["upper"][1] + 1e-5 and v["decoder"][0] <= v["decoder"][1]


@compiled
def belief_laws(a, b, c, d, factor, shift, mean, scale, log_likelihoods):
    order = jnp.array([2, 0, 1])
    gains = [
        lambda m, s: ensemble.gaussian_information_gain(m, s),
        lambda m, s: ensemble.gaussian_information_gain(m, s, form="log_ratio"),
        lambda m, s: ensemble.pairwise_information_gain(m, s),
        lambda m, s: ensemble.pairwise_information_gain(m, s, divergence="bhattacharyya"),
    ]
    moved = factor * mean + shift, factor * scale
    return {
        "normal": [
            bayes.surprise_normal(a, b, c, d),
            bayes.surprise_normal(factor * a + shift, factor * b, factor * c + shift, factor * d),
        ],
        "gamma": [bayes.surprise_gamma(a, b, c, d), bayes.surprise_gamma(a, factor * b, c, factor * d)],
        "beta": [bayes.surprise_beta(a, b, c, d), bayes.surprise_beta(b, a, d, c)],
        # Counts of classes that are put together tell less.
        "dirichlet": [
            bayes.surprise_dirichlet(jnp.stack([a, b, c]), jnp.stack([b, c, d])),
            bayes.surprise_dirichlet(jnp.stack([a + b, c]), jnp.stack([b + c, d])),
        ],
        "gains": [jnp.stack([gain(m, s) for gain in gains]) for m, s in ((mean, scale), moved)],
        "order": [jnp.stack([gain(m, s) for gain in gains]) for m, s in ((mean, scale), (mean[order], scale[order]))],
        "disagreement": [factor**2 * ensemble.disagreement(mean), ensemble.disagreement(moved[0])],
        "split": [sum(ensemble.variance_split(mean, scale)), jnp.mean(mean**2 + scale**2, 0) - jnp.mean(mean, 0) ** 2],
        "expected": bayes.expected_information_gain(log_likelihoods, "contrastive"),
        "units": [units.bits_to_nats(units.nats_to_bits(a)), a],
    }


@LAW
@given(seed=SEEDS, factor=st.floats(0.1, 10.0), shift=st.floats(-3.0, 3.0))
def test_laws_of_beliefs(seed, factor, shift):
    rng = draw(seed)
    numbers = [*np.exp(rng.standard_normal(4)), factor, shift]
    arrays = rng.standard_normal((3, 2)), np.exp(rng.standard_normal((3, 2))), 3 * rng.standard_normal((5, 4))
    v = jax.device_get(belief_laws(*map(single, (*numbers, *arrays))))
    dirichlet, expected = v.pop("dirichlet"), v.pop("expected")
    for name, (left, right) in v.items():
        equal(left, right, 2e-5, 2e-4)
        assert np.min(left) >= -1e-5, name
    assert -1e-5 <= dirichlet[1] <= dirichlet[0] + 1e-5
    assert expected <= np.log(4) + 1e-5


@compiled
def score_laws(s, other, times, factor):
    whole = score.minde_conditional(s, other, times, 2.0)
    parts = score.minde_conditional(s[:3], other[:3], times[:3], 2.0)
    parts = parts + score.minde_conditional(s[2:], other[2:], times[2:], 2.0)
    joint = jnp.concatenate([s, other], -1)
    return {
        "parts": [whole, parts],
        "scaled": [factor**2 * whole, score.minde_conditional(factor * s, factor * other, times, 2.0)],
        "swapped": [whole, score.minde_conditional(other, s, times, 2.0)],
        "beta": [factor * whole, score.minde_conditional(s, other, times, 2 * factor)],
        "joint": [whole, score.minde_joint(joint, other, other, times, 2.0)],
    }


@LAW
@given(seed=SEEDS, factor=st.floats(0.1, 10.0))
def test_laws_of_scores(seed, factor):
    rng = draw(seed)
    times = np.cumsum(rng.uniform(0.05, 0.5, 5))
    v = score_laws(*map(single, (*rng.standard_normal((2, 5, 6, 2)), times, factor)))
    for name, (left, right) in v.items():
        equal(left, right, 1e-5, 1e-4)
        assert left >= 0, name
