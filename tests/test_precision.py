"""With `mesh.matmul_precision=bfloat16` networks multiply in bfloat16, and what measures information does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_battery_estimators as estimators
import test_info_battery as primitives
from jax import export
from jax.extend.core import ClosedJaxpr, Jaxpr
from test_battery_rl import built

from infojax.envs import brax
from infojax.nets.mlp import mlp
from infojax.run import config as configuration
from infojax.run import mesh
from infojax.run.loop import device_loop

HIGHEST = (jax.lax.Precision.HIGHEST,) * 2
ONE_PASS = (jax.lax.Precision.DEFAULT,) * 2  # of a TPU: bfloat16
PRODUCTS = ("dot_general", "conv_general_dilated")
# Their lowerings and derivatives multiply.
LINEAR_ALGEBRA = {"cholesky", "eigh", "householder_product", "lu", "qr", "svd", "triangular_solve"}


def equations(jaxpr):
    """Of a jaxpr, and of all that it calls."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for entry in value if isinstance(value, tuple | list) else (value,):
                if isinstance(entry, ClosedJaxpr | Jaxpr):
                    yield from equations(getattr(entry, "jaxpr", entry))


def traced(function, *arguments):
    with jax.default_matmul_precision(mesh.BFLOAT16["tpu"]):
        return list(equations(jax.make_jaxpr(function)(*arguments).jaxpr))


def products(found):
    return [equation for equation in found if equation.primitive.name in PRODUCTS]


def places(equation):
    """The files that it was written in, of ours."""
    return [frame.file_name.partition("/infojax/")[2] for frame in equation.source_info.traceback.frames]


def test_all_primitives_and_their_gradients_multiply_exactly():
    multiply, rounded = {}, []
    for name in primitives.NAMES:
        arrays = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in host_example(name)]
        found = traced(primitives.bound(name), *arrays)
        if products(found) or LINEAR_ALGEBRA & {equation.primitive.name for equation in found}:
            multiply[name] = products(traced(primitives.with_gradients(name).__wrapped__, *arrays))
            rounded += [(name, each) for each in multiply[name] if each.params["precision"] != HIGHEST]
    assert not rounded
    assert {"gaussian.kl_divergence", "kernel.effective_rank", "score.minde_joint"} <= multiply.keys()
    assert sum(map(len, multiply.values())) > 50


def host_example(name):
    case = primitives.the(name)[1]
    chosen = [array if key in case.shared else array[0] for key, array in case.arrays.items()]
    return [np.asarray(array, np.float32 if primitives.is_real(array) else np.int32) for array in chosen]


@pytest.mark.parametrize("name", ["gaussian", "ksg", "club"])
def test_estimators_multiply_exactly_but_for_their_networks(name):
    settings = {f"estimator.{key}": value for key, value in estimators.SMALL.get(name, {}).items()}
    words = [f"estimator={name}", *configuration.words_of(settings)]
    fit = configuration.build_estimation(configuration.compose(words, config_name="estimate")).estimator.fit
    samples = jax.ShapeDtypeStruct((64, 2), jnp.float32)
    found = products(traced(fit, jax.random.key(0), samples, samples))
    low = [each for each in found if each.params["precision"] != HIGHEST]
    assert all("nets/mlp.py" in places(each) for each in low)
    assert bool(low) == (name in estimators.TRAINED)


def test_the_networks_of_an_agent_multiply_in_bfloat16_and_its_bounds_do_not():
    made = built("sac", "maze/open", "objective=lsd")  # whose objective measures matrices besides
    loop = device_loop(made.agent, made.environment, 1, 1, "vmap")
    found = products(traced(loop.chunk, jax.eval_shape(lambda: loop.init([0]))))
    first = [(next(filter(None, places(each))), each.params["precision"]) for each in found]
    assert set(first) == {("nets/mlp.py", ONE_PASS), ("objectives/lsd.py", HIGHEST)}
    assert {leaf.aval.dtype for each in found for leaf in (*each.invars, *each.outvars)} == {jnp.dtype(jnp.float32)}


def test_physics_multiplies_exactly():
    environment = brax.make(name="inverted_pendulum")
    state, _ = jax.eval_shape(environment.reset, jax.random.key(0))
    found = products(traced(environment.step, state, jnp.zeros(environment.spec.action_shape), jax.random.key(0)))
    assert found and {each.params["precision"] for each in found} == {HIGHEST}


def test_a_gpu_is_told_the_algorithm():
    network = mlp((4,), 1)
    parameters = network.init(jax.random.key(0), 3)

    def both(parameters, inputs):
        return network.apply(parameters, inputs), jnp.matmul(inputs.T, inputs, precision="highest")

    with jax.default_matmul_precision(mesh.BFLOAT16["gpu"]):
        text = export.export(jax.jit(both), platforms=["cuda"])(parameters, jnp.zeros((5, 3))).mlir_module()
    lines = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    told = ["lhs_precision_type = bf16" in line and "accumulation_type = f32" in line for line in lines]
    assert told == [True, True, False] and "HIGHEST, HIGHEST" in lines[2]
