"""What every primitive must hold, function by function: one table of cases, found complete by introspection."""

import ast
import contextlib
import functools
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import infojax.info
from infojax.info import _numerics

PLATFORMS = ("tpu", "cuda", "cpu")
BATCH = 3
# Compiling is most of the time here. XLA's own passes run as always; it is LLVM that is told not to try hard.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}

# Names, order and defaults of the public API. A primitive may take more after or between these, with defaults.
SIGNATURES = {
    "discrete": """
        shannon_entropy(p) renyi_entropy(p,alpha) tsallis_entropy(p,q) cross_entropy(p,q) kl_divergence(p,q)
        js_divergence(p,q) renyi_divergence(p,q,alpha) mutual_information(joint) conditional_entropy(joint)
        conditional_mutual_information(joint) total_correlation(joint,num_variables=None)
        dual_total_correlation(joint,num_variables=None) o_information(joint,num_variables=None)
        co_information(joint,num_variables=None) s_information(joint,num_variables=None)
        plugin_entropy(x,num_classes,correction="none") transfer_entropy(x,y,num_classes,history=1)
        permutation_entropy(x,order=3,delay=1) entropy_rate(transition_matrix) channel_capacity(p_y_given_x)""",
    "categorical": """
        entropy(logits,temperature=1.0,where=None) renyi_entropy(logits,alpha,temperature=1.0,where=None)
        tsallis_entropy(logits,q,temperature=1.0,where=None) normalized_entropy(logits,temperature=1.0,where=None)
        cross_entropy(logits_p,logits_q,where=None) kl_divergence(logits_p,logits_q,where=None)
        js_divergence(logits_p,logits_q,where=None) marginal_entropy(logits,axis,where=None,member_where=None)
        mutual_information(logits,axis,where=None,member_where=None)
        expected_pairwise_kl(logits,axis,where=None,member_where=None)
        reverse_mutual_information(logits,axis,where=None,member_where=None)""",
    "gaussian": """
        entropy(cov) diagonal_entropy(scale) kl_divergence(mean_p,cov_p,mean_q,cov_q)
        diagonal_kl_divergence(mean_p,scale_p,mean_q,scale_q) mutual_information(cov,dim_x)
        conditional_mutual_information(cov,dim_x,dim_y) total_correlation(cov) o_information(cov)
        information_gain(features,prior_cov,noise_variance) transfer_entropy(x,y,history=1) copula_transform(x)""",
    "ensemble": """
        variance_split(mean,scale,axis=0)
        gaussian_information_gain(mean,scale,axis=0,form="upper_bound",over_dims=None)
        disagreement(mean,axis=0) pairwise_information_gain(mean,scale,axis=0,divergence="kl")""",
    "bayes": """
        surprise_normal(mean,scale,prior_mean,prior_scale) surprise_dirichlet(concentration,prior_concentration)
        surprise_beta(alpha,beta,prior_alpha,prior_beta) surprise_gamma(shape,rate,prior_shape,prior_rate)
        surprise_categorical(logits,prior_logits) expected_information_gain(log_likelihoods)""",
    "particle": """
        knn_distances(x,k=3,y=None,norm="l2") knn_entropy(x,k=3,norm="l2") ksg_mutual_information(x,y,k=3,algorithm=1)
        conditional_mutual_information(x,y,z,k=3) kl_divergence(x,y,k=3,norm="l2")
        particle_reward(x,k=3,y=None,form="apt",norm="l2")""",
    "kernel": """
        gram(x,y=None,bandwidth=1.0) matrix_renyi_entropy(gram,alpha) matrix_mutual_information(gram_x,gram_y,alpha)
        von_neumann_entropy(features) effective_rank(features) matrix_nuclear_norm(features,form="exact")
        hsic(gram_x,gram_y,unbiased=False) cka(gram_x,gram_y) mmd(x,y,bandwidth=1.0)
        cauchy_schwarz_divergence(x,y,bandwidth=1.0) diffusion_spectral_entropy(x,bandwidth,t=1)
        diffusion_spectral_mutual_information(x,labels,num_classes,bandwidth,t=1)""",
    "bounds": """
        donsker_varadhan(scores) nwj(scores) tuba(scores,log_baseline) infonce(scores) jensen_shannon(scores)
        smile(scores,tau) interpolated(scores,log_baseline,alpha) club(log_q) leave_one_out(log_q)
        barber_agakov(log_q,prior_entropy) vib_rate(mean,scale)""",
    "score": """
        minde_conditional(score_conditional,score_marginal,times,beta,terminal=0.0)
        minde_joint(score_joint,score_conditional_x,score_conditional_y,times,beta,terminal=0.0)""",
    "units": "nats_to_bits(value) bits_to_nats(value)",
}


class Case(NamedTuple):
    arrays: Mapping[str, Any]  # one example each, stacked on a first axis
    corner: Mapping[str, Any] = {}  # a degenerate example instead, of the arrays it names
    static: Mapping[str, Any] = {}
    shared: tuple[str, ...] = ()  # arrays that all examples have in common
    flat: bool = False  # the derivative is 0 wherever it exists, and not asked for
    rtol: float = 4.0  # of half precision, in units of its rounding


RNG = np.random.default_rng(0)
INF = np.inf


def normal(*shape):
    return RNG.standard_normal((BATCH, *shape))


def positive(*shape):
    return np.exp(0.5 * normal(*shape))


def dirichlet(*shape):
    return RNG.dirichlet(np.ones(int(np.prod(shape))), BATCH).reshape(BATCH, *shape)


def rows(*shape):
    return RNG.dirichlet(np.ones(shape[-1]), (BATCH, *shape[:-1]))


def symbols(*shape):
    return RNG.integers(0, 3, (BATCH, *shape)).astype(np.int32)


def covariance(size):
    root = normal(size, size)
    return root @ root.swapaxes(1, 2) / size + 0.5 * np.eye(size)


def gram(size):
    x = normal(size, 2)
    return np.exp(-0.5 * np.sum((x[:, :, None] - x[:, None]) ** 2, -1))


def one_cell(*shape):
    table = np.zeros(shape)
    table.flat[0] = 1
    return table


P, Q = np.array([0.5, 0.5, 0, 0]), np.array([1.0, 0, 0, 0])
LOGITS, OTHER = np.array([0, -INF, 0, -INF]), np.array([-INF, 0, -INF, 0])
MEMBERS = np.array([[0, -INF, 1], [0, -INF, 1], [-INF, -INF, -INF]])
SCORES = np.where(np.eye(4), 0, -INF)
SAMPLES = {"x": normal(8, 2), "y": normal(8, 1)}
NOWHERE = {"x": np.zeros((8, 2)), "y": np.zeros((8, 1))}
MEMBER = {"axis": -2}
FEATURES, ZEROS = {"features": normal(5, 3)}, {"features": np.zeros((5, 3))}
GRAMS, ONES = {"gram_x": gram(5), "gram_y": gram(5)}, {"gram_x": np.ones((5, 5)), "gram_y": np.ones((5, 5))}
ENSEMBLE, AGREED = {"mean": normal(4, 2), "scale": positive(4, 2)}, {"mean": np.zeros((4, 2)), "scale": np.ones((4, 2))}
FOUR = {name: positive() for name in "abcd"}
TIMES = {"times": np.array([0.0, 0.3, 1.0]), "beta": np.array([0.1, 1.0, 2.0])}
TABLE = {"arrays": {"joint": dirichlet(2, 3, 2)}, "corner": {"joint": one_cell(2, 3, 2)}}
VARIABLES = {**TABLE, "static": {"num_variables": 3}}


def four(*names, ones=(), shape=()):
    return Case({name: positive(*shape) for name in names}, {name: np.ones(shape) for name in names})


def from_p(**static):
    return Case({"p": dirichlet(4)}, {"p": Q}, static)


def from_pq(**static):
    return Case({"p": dirichlet(4), "q": dirichlet(4)}, {"p": P, "q": Q}, static)


def from_logits(**static):
    return Case({"logits": normal(4)}, {"logits": LOGITS}, static)


def from_two_logits(first="logits_p", second="logits_q"):
    return Case({first: normal(4), second: normal(4)}, {first: LOGITS, second: OTHER})


def from_members():
    return Case({"logits": normal(3, 3)}, {"logits": MEMBERS}, MEMBER)


def from_scores(name="scores", arrays=None, corner=None, **static):
    return Case({name: normal(4, 4), **(arrays or {})}, {name: SCORES, **(corner or {})}, static)


CASES = {
    "discrete": {
        "shannon_entropy": from_p(),
        "renyi_entropy": from_p(alpha=0.5),
        "tsallis_entropy": from_p(q=2.0),
        "cross_entropy": from_pq(),
        "kl_divergence": from_pq(),
        "js_divergence": from_pq(),
        "renyi_divergence": from_pq(alpha=2.0),
        "mutual_information": Case(**TABLE),
        "conditional_entropy": Case(**TABLE),
        "conditional_mutual_information": Case(**TABLE),
        "total_correlation": Case(**VARIABLES),
        "dual_total_correlation": Case(**VARIABLES),
        "o_information": Case(**VARIABLES),
        "co_information": Case(**VARIABLES),
        "s_information": Case(**VARIABLES),
        "plugin_entropy": Case({"x": symbols(9)}, static={"num_classes": 3, "correction": "chao_shen"}, flat=True),
        "transfer_entropy": Case({"x": symbols(9), "y": symbols(9)}, static={"num_classes": 3}, flat=True),
        "permutation_entropy": Case({"x": normal(9)}, {"x": np.zeros(9)}, flat=True),
        "entropy_rate": Case({"transition_matrix": rows(3, 3)}, {"transition_matrix": np.roll(np.eye(3), 1, 0)}),
        "channel_capacity": Case({"p_y_given_x": rows(3, 4)}, {"p_y_given_x": np.tile(Q, (3, 1))}),
    },
    "categorical": {
        "entropy": from_logits(temperature=0.5),
        "renyi_entropy": from_logits(alpha=0.5),
        "tsallis_entropy": from_logits(q=2.0),
        "normalized_entropy": from_logits(),
        "cross_entropy": from_two_logits(),
        "kl_divergence": from_two_logits(),
        "js_divergence": from_two_logits(),
        "marginal_entropy": from_members(),
        "mutual_information": from_members(),
        "expected_pairwise_kl": from_members(),
        "reverse_mutual_information": from_members(),
    },
    "gaussian": {
        "entropy": Case({"cov": covariance(3)}, {"cov": np.eye(3)}),
        "diagonal_entropy": Case({"scale": positive(3)}, {"scale": np.array([1.0, 0, 0])}),
        "kl_divergence": Case(
            {"mean_p": normal(3), "cov_p": covariance(3), "mean_q": normal(3), "cov_q": covariance(3)},
            {"mean_p": np.zeros(3), "cov_p": np.eye(3), "mean_q": np.zeros(3), "cov_q": np.eye(3)},
        ),
        "diagonal_kl_divergence": Case(
            {"mean_p": normal(3), "scale_p": positive(3), "mean_q": normal(3), "scale_q": positive(3)},
            {"mean_p": np.zeros(3), "scale_p": np.array([0.0, 1, 1]), "mean_q": np.zeros(3), "scale_q": np.ones(3)},
        ),
        "mutual_information": Case({"cov": covariance(4)}, {"cov": np.eye(4)}, {"dim_x": 2}),
        "conditional_mutual_information": Case({"cov": covariance(4)}, {"cov": np.eye(4)}, {"dim_x": 1, "dim_y": 2}),
        "total_correlation": Case({"cov": covariance(3)}, {"cov": np.eye(3)}),
        "o_information": Case({"cov": covariance(3)}, {"cov": np.eye(3)}),
        "information_gain": Case(
            {"features": normal(5, 3), "prior_cov": covariance(3), "noise_variance": positive()},
            {"features": np.zeros((5, 3))},
        ),
        "transfer_entropy": Case({"x": normal(12, 1), "y": normal(12, 1)}, {"x": np.ones((12, 1))}),
        "copula_transform": Case({"x": normal(6, 2)}, {"x": np.ones((6, 2))}, flat=True),
    },
    "ensemble": {
        "variance_split": Case(ENSEMBLE, AGREED, MEMBER),
        "gaussian_information_gain": Case(ENSEMBLE, AGREED, MEMBER),
        "disagreement": Case({"mean": normal(4, 2)}, {"mean": np.zeros((4, 2))}, MEMBER),
        "pairwise_information_gain": Case(ENSEMBLE, AGREED, MEMBER),
    },
    "bayes": {
        "surprise_normal": four("mean", "scale", "prior_mean", "prior_scale", shape=(3,)),
        "surprise_dirichlet": four("concentration", "prior_concentration", shape=(3,)),
        "surprise_beta": four("alpha", "beta", "prior_alpha", "prior_beta"),
        "surprise_gamma": four("shape", "rate", "prior_shape", "prior_rate"),
        "surprise_categorical": from_two_logits("logits", "prior_logits"),
        "expected_information_gain": Case(
            {"log_likelihoods": normal(4, 3)},
            {"log_likelihoods": np.array([[0, -INF, -INF], [-INF, 0, 0], [-INF, -INF, -INF], [0, 0, 0]])},
        ),
    },
    "particle": {
        "knn_distances": Case({"x": SAMPLES["x"]}, {"x": NOWHERE["x"]}, {"k": 2}),
        "knn_entropy": Case({"x": SAMPLES["x"]}, {"x": NOWHERE["x"]}, {"k": 2}),
        "ksg_mutual_information": Case(SAMPLES, NOWHERE, {"k": 2}, flat=True),
        "conditional_mutual_information": Case(
            {**SAMPLES, "z": normal(8, 1)}, {**NOWHERE, "z": np.zeros((8, 1))}, {"k": 2}, flat=True
        ),
        "kl_divergence": Case(
            {"x": SAMPLES["x"], "y": normal(9, 2)}, {"x": NOWHERE["x"], "y": np.zeros((9, 2))}, {"k": 2}
        ),
        "particle_reward": Case({"x": SAMPLES["x"]}, {"x": NOWHERE["x"]}, {"k": 2}),
    },
    "kernel": {
        "gram": Case({"x": normal(4, 2), "y": normal(5, 2)}, {"x": np.zeros((4, 2)), "y": np.zeros((5, 2))}),
        "matrix_renyi_entropy": Case({"gram": gram(5)}, {"gram": np.ones((5, 5))}, {"alpha": 1.5}),
        "matrix_mutual_information": Case(GRAMS, ONES, {"alpha": 2}),
        "von_neumann_entropy": Case(FEATURES, ZEROS),
        "effective_rank": Case(FEATURES, ZEROS),
        "matrix_nuclear_norm": Case(FEATURES, ZEROS),
        "hsic": Case(GRAMS, ONES),
        "cka": Case(GRAMS, ONES),
        "mmd": Case(SAMPLES | {"y": normal(5, 2)}, {"x": np.zeros((8, 2)), "y": np.zeros((5, 2))}),
        "cauchy_schwarz_divergence": Case(
            SAMPLES | {"y": normal(5, 2)}, {"x": np.zeros((8, 2)), "y": np.zeros((5, 2))}
        ),
        "diffusion_spectral_entropy": Case({"x": SAMPLES["x"]}, {"x": NOWHERE["x"]}, {"bandwidth": 1.0}),
        "diffusion_spectral_mutual_information": Case(
            {"x": SAMPLES["x"], "labels": symbols(8)}, {"x": NOWHERE["x"]}, {"num_classes": 3, "bandwidth": 1.0}
        ),
    },
    "bounds": {
        "donsker_varadhan": from_scores(),
        "nwj": from_scores(),
        "tuba": from_scores(arrays={"log_baseline": normal(4)}),
        "infonce": from_scores(),
        "jensen_shannon": from_scores(),
        "smile": from_scores(tau=1.0),
        "interpolated": from_scores(arrays={"log_baseline": normal(4)}, alpha=0.5),
        "club": from_scores("log_q", corner={"log_q": np.zeros((4, 4))}),
        "leave_one_out": from_scores("log_q"),
        "barber_agakov": Case(
            {"log_q": -positive(5), "prior_entropy": positive()}, {"log_q": np.array([-INF, 0, 0, 0, 0])}
        ),
        "vib_rate": Case({"mean": normal(3), "scale": positive(3)}, {"mean": np.zeros(3), "scale": np.zeros(3)}),
    },
    "score": {
        "minde_conditional": Case(
            {"score_conditional": normal(3, 5, 2), "score_marginal": normal(3, 5, 2), **TIMES},
            {"score_conditional": np.zeros((3, 5, 2)), "score_marginal": np.zeros((3, 5, 2))},
            shared=("times", "beta"),
        ),
        "minde_joint": Case(
            {
                "score_joint": normal(3, 5, 3),
                "score_conditional_x": normal(3, 5, 2),
                "score_conditional_y": normal(3, 5, 1),
                **TIMES,
            },
            {"score_joint": np.zeros((3, 5, 3))},
            shared=("times", "beta"),
        ),
    },
    "units": {
        "nats_to_bits": Case({"value": normal()}, {"value": np.zeros(())}),
        "bits_to_nats": Case({"value": normal()}, {"value": np.zeros(())}),
    },
}
NAMES = [f"{module}.{name}" for module, cases in CASES.items() for name in cases]
every_function = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(autouse=True, scope="module")
def every_program_is_kept() -> Iterator[None]:
    """In the cache of compiled programs, also the small ones, of which there are many here."""
    before = jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    yield
    jax.config.update("jax_persistent_cache_min_compile_time_secs", before)


def the(name: str) -> tuple[Callable[..., Any], Case]:
    module, function = name.split(".")
    return getattr(importlib.import_module(f"infojax.info.{module}"), function), CASES[module][function]


def bound(name: str) -> Callable[..., Any]:
    """The function of its arrays alone, in the order of the case."""
    function, case = the(name)
    return lambda *arrays: function(**dict(zip(case.arrays, arrays, strict=True)), **case.static)


def is_real(array):
    return np.issubdtype(np.asarray(array).dtype, np.floating)


def example(name: str, index: int | None, dtype: Any = np.float32, corner: bool = False) -> list[Any]:
    """One example, or all of them on a first axis; reals in `dtype`."""
    _, case = the(name)
    chosen = []
    for key, array in case.arrays.items():
        value = array if index is None or key in case.shared else array[index]
        value = case.corner.get(key, value) if corner else value
        chosen.append(jnp.asarray(value, dtype if is_real(array) else None))
    return chosen


def reals(name: str) -> tuple[int, ...]:
    return tuple(i for i, array in enumerate(the(name)[1].arrays.values()) if is_real(array))


@functools.cache
def with_gradients(name: str) -> Callable[..., Any]:
    """Values, by the function itself, and gradients of their sum in every real array."""
    function = bound(name)

    def total(*arrays):
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(function(*arrays)))

    def both(*arrays):
        slopes = () if the(name)[1].flat else jax.grad(total, argnums=reals(name))(*arrays)
        return function(*arrays), slopes

    return jax.jit(both, compiler_options=QUICK)


@functools.cache
def singles(name: str) -> list[Any]:
    """Values and gradients of the examples, one after the other."""
    return [jax.device_get(with_gradients(name)(*example(name, index))) for index in range(BATCH)]


def close(left: Any, right: Any, rtol: float = 1e-5, atol: float = 2e-6) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), left, right)


@contextlib.contextmanager
def quickly() -> Iterator[None]:
    """Eager operations are small programs, too: compile them without optimising."""
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", False)


def compilations(function: Callable[[], Any]) -> int:
    events, active = [], [True]

    def listen(event: str, duration_secs: float, **_: Any) -> None:
        if active[0] and event == "/jax/core/compile/backend_compile_duration":
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        jax.block_until_ready(function())
    finally:
        active[0] = False
    return len(events)


def test_the_table_holds_every_public_function():
    found = set()
    for module in infojax.info.__all__:
        members = vars(importlib.import_module(f"infojax.info.{module}"))
        own = {key for key, value in members.items() if getattr(value, "__module__", None) == f"infojax.info.{module}"}
        found |= {f"{module}.{key}" for key in own if not key.startswith("_") and inspect.isfunction(members[key])}
    assert found == set(NAMES), sorted(found ^ set(NAMES))
    listed = {f"{module}.{text.split('(')[0]}" for module, lines in SIGNATURES.items() for text in lines.split()}
    assert listed == found, sorted(listed ^ found)
    files = {path.name.removesuffix(".py") for path in importlib.resources.files("infojax.info").iterdir()}
    assert {file for file in files if not file.startswith("_")} == set(infojax.info.__all__)


@every_function
def test_signature(name):
    module, key = name.split(".")
    text = next(text for text in SIGNATURES[module].split() if text.startswith(f"{key}("))
    wanted = ast.parse(f"def {text}: ...").body[0].args
    defaults = [inspect.Parameter.empty] * (len(wanted.args) - len(wanted.defaults))
    defaults += [ast.literal_eval(node) for node in wanted.defaults]
    actual = inspect.signature(the(name)[0]).parameters
    names = [argument.arg for argument in wanted.args]
    assert [parameter for parameter in actual if parameter in names] == names
    for parameter, default in zip(names, defaults, strict=True):
        assert actual[parameter].default == default, parameter
    extra = {key: value for key, value in actual.items() if key not in names}
    assert all(parameter.default is not parameter.empty for parameter in extra.values()), list(extra)


@every_function
def test_jit_vmap_and_batches_equal_single_calls(name):
    with quickly():
        eager = bound(name)(*example(name, 0))
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *(one for one, _ in singles(name)))
    axes = [None if key in the(name)[1].shared else 0 for key in the(name)[1].arrays]
    mapped = jax.vmap(bound(name), in_axes=axes)
    together = jax.jit(lambda *arrays: (bound(name)(*arrays), mapped(*arrays)), compiler_options=QUICK)
    batched, mapped = together(*example(name, None))
    close(jax.tree.map(lambda leaf: leaf[0], batched), eager)
    close(batched, stacked)
    close(mapped, stacked)


@every_function
def test_one_program_per_shape(name):
    compiled = with_gradients(name)
    jax.block_until_ready(compiled(*example(name, 0)))
    others = [example(name, 1), example(name, 0, corner=True)]
    assert compilations(lambda: [compiled(*arrays) for arrays in others]) == 0


@every_function
def test_precisions(name):
    function = jax.jit(bound(name), compiler_options=QUICK)
    with jax.enable_x64(True):
        exact = function(*example(name, 0, np.float64))
        assert all(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(exact))
        close(singles(name)[0][0], exact)
    if not reals(name):
        return
    for dtype in (jnp.float16, jnp.bfloat16):
        arrays = example(name, 0, dtype)
        with quickly():
            low = bound(name)(*arrays)
        assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(low))
        with jax.enable_x64(True):
            rounded = [
                jnp.asarray(a, jnp.float64) if is_real(b) else a for a, b in zip(arrays, example(name, 0), strict=True)
            ]
            exact = function(*rounded)
        error = the(name)[1].rtol * float(jnp.finfo(dtype).eps)
        close(jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), low), exact, error, error)


@every_function
def test_gradients_are_finite_also_where_the_example_degenerates(name):
    assert all(np.isfinite(slope).all() for _, slopes in singles(name) for slope in slopes)
    _, slopes = with_gradients(name)(*example(name, 0, corner=True))
    assert all(np.isfinite(slope).all() for slope in slopes), slopes
    if not the(name)[1].flat:
        assert any(slope.any() for slope in singles(name)[0][1])


@every_function
def test_values_and_gradients_export_for_every_platform(name):
    structs = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in example(name, 0)]
    exported = export.export(with_gradients(name), platforms=PLATFORMS)(*structs)
    assert set(exported.platforms) == set(PLATFORMS)


def raises(function: Callable[..., Any], seen: set[Any]) -> bool:
    """Whether a function, or one of ours that it calls, has a `raise` in it."""
    if function in seen:
        return False
    seen.add(function)
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    if any(isinstance(node, ast.Raise) for node in ast.walk(tree)):
        return True
    called = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    spaces = {**vars(_numerics), **getattr(function, "__globals__", {})}
    ours = (spaces[key] for key in called if str(getattr(spaces.get(key), "__module__", "")).startswith("infojax.info"))
    return any(raises(other, seen) for other in ours if inspect.isfunction(other) or inspect.isclass(other))


@every_function
def test_documentation(name):
    function, _ = the(name)
    text = inspect.getdoc(function)
    first, blank, *_ = text.splitlines()
    assert first.endswith(".") and not blank and len(first) < 115
    assert text.count("$$") >= 2, "no formula"
    sections = dict(re.findall(r"^(Args|Returns|Raises|Example|Source):(.*?)(?=^\w|\Z)", text, flags=re.M | re.S))
    for section in ("Args", "Returns", "Example", "Source"):
        assert sections.get(section, "").strip(), f"no {section}"
    assert list(sections) == [s for s in ("Args", "Returns", "Raises", "Example", "Source") if s in sections]
    for parameter in inspect.signature(function).parameters:
        assert re.search(rf"^    {parameter}: \S", sections["Args"], flags=re.M), f"{parameter} is not in Args"
    returns = sections["Returns"]
    assert re.search(r"\(…|shape", returns), "Returns names no shape"
    assert re.search(r"nats|bits|unit|number of|squared|between|distance|quantile", returns), "Returns names no unit"
    assert ">>> " in sections["Example"]
    assert ("Raises" in sections) == raises(function, set()), "Raises and `raise` go together"
