"""`infojax lower` without libtpu: what is read from a compiled program's text, the programs, and what is refused.

Compiling for TPUs is the lane `make lower-tpu`, in `lower_tpu.py`.
"""

import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import lower_tpu
import pytest
from jax.experimental import topologies
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from rich.console import Console

from infojax import cli
from infojax.run import config as configuration
from infojax.run import log, lowering
from infojax.run.loop import device_loop
from infojax.types import UserError

# What libtpu 0.0.42.1 makes for v5e:2x2 of c + pmean(tanh(x c))^T pmean(tanh(x c)), seven times, with x [60, 128] on
# each of four chips and c [128, 128]; of its remarks on operations only the cycles are kept.
TEXT = (Path(__file__).parent / "data" / "lower_v5e.txt").read_text()


def test_collectives_and_cycles_count_every_turn_of_a_loop():
    found = lowering.parse(TEXT)
    assert lowering.collectives(found) == {"all-reduce": {"instructions": 1, "runs": 7}}
    assert lowering.estimated_cycles(found) == 1955 + 7 * (2205 + 288)


def test_a_loop_that_does_not_say_how_often_it_turns_counts_once():
    found = lowering.parse(TEXT.replace("constant(7)", "parameter(7)"))
    assert lowering.collectives(found) == {"all-reduce": {"instructions": 1, "runs": 1}}


def test_the_largest_buffers_with_their_padding():
    largest, *others = lowering.largest_buffers(lowering.parse(TEXT))
    assert (largest["bytes"], largest["shape"], largest["memory"]) == (128 * 128 * 4, "f32[128,128]", "HBM")
    assert (largest["op"], largest["origin"]) == ("parameter", "w")
    (images,) = [entry for entry in others if entry["shape"] == "f32[60,128]" and entry["memory"] == "HBM"]
    assert (images["bytes"], images["data_bytes"], images["origin"]) == (64 * 128 * 4, 60 * 128 * 4, "x")
    (half,) = [entry for entry in others if entry["shape"] == "bf16[60,128]"]
    assert (half["bytes"], half["memory"], half["op"]) == (64 * 128 * 2, "VMEM", "convert")


def test_what_is_inside_of_a_fusion_has_no_buffer():
    names = {each.name for part in lowering.parse(TEXT) if part.own_buffers for each in part.instructions}
    assert "convolution_tanh_fusion.2" in names and "tanh.6" not in names and "add.2" not in names


@pytest.mark.parametrize(
    ("sizes", "layout", "stored"),
    [
        ([60, 3], "1,0:T(8,128)", [64, 128]),
        ([60, 3], "0,1:T(8,128)", [8, 128]),
        ([5, 60, 130], "2,1,0:T(8,128)(2,1)", [5, 64, 256]),
        ([7], "0:T(128)", [128]),
        ([3], "0:T(8,128)", [8, 128]),
        ([], ":T(128)", [128]),
        ([60, 3], "1,0", [60, 3]),
    ],
)
def test_padding(sizes, layout, stored):
    assert lowering.padded(sizes, layout) == stored


def test_a_program_compiled_here_is_read_likewise():
    """On a CPU there are no tiles and no cycles; XLA itself says how often the loop turns."""
    mesh = jax.make_mesh((1,), ("data",), devices=jax.devices()[:1], axis_types=(AxisType.Auto,))

    def local(w, x):
        def body(c, _):
            hidden = jnp.tanh(x @ c)
            return c + jax.lax.all_gather(hidden.T @ hidden, "data", axis=0, tiled=True), None

        return jax.lax.scan(body, w, None, length=5)[0]

    mapped = jax.shard_map(local, mesh=mesh, in_specs=P(), out_specs=P(), check_vma=False)
    shapes = jax.ShapeDtypeStruct((8, 8), jnp.float32), jax.ShapeDtypeStruct((600, 8), jnp.float32)
    found = lowering.read(lowering.Program("loop", jax.jit(mapped, donate_argnums=0), shapes, 1, 1, 1))
    assert found["matrix_flops"] == 5 * 2 * (2 * 600 * 8 * 8)
    assert (found["memory"]["arguments"], found["memory"]["aliased"]) == (4 * (600 * 8 + 64), 4 * 64)
    assert found["memory"]["total"] == 4 * (600 * 8 + 64) + sum(found["memory"][key] for key in ("temporaries", "code"))
    assert found["largest_buffers"][0]["bytes"] == 4 * 600 * 8
    assert found["cycles"] == 0


def test_flops_of_loops_branches_and_convolutions():
    def function(x, images, kernel):
        turned = jax.lax.scan(lambda c, _: (c @ x, None), x, None, length=3)[0]
        chosen = jax.lax.cond(x[0, 0] > 0, lambda y: y @ x @ x, lambda y: y @ x, turned)
        strided = jax.lax.conv_general_dilated(
            images, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return chosen, strided

    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((4, 4), (2, 8, 8, 3), (3, 3, 3, 5))]
    product = 2 * 4 * 4 * 4
    convolved = 2 * (2 * 4 * 4 * 5) * (3 * 3 * 3)
    assert lowering.matrix_flops(jax.jit(function).trace(*shapes).jaxpr.jaxpr) == (3 + 2) * product + convolved


# --- the programs ------------------------------------------------------------------------------------------------


def leaves(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


def test_the_chunk_is_that_of_the_run():
    config = lower_tpu.train("sac", "maze/open", 2)
    chunk, pool = lowering.programs(config, jax.devices())
    built = configuration.build(config)
    loop = device_loop(built.agent, built.environment, chunk.steps // (2 * 4), 2, "vmap")
    assert leaves(chunk.arguments[0]) == leaves(jax.eval_shape(lambda: loop.init([0, 1])))
    assert leaves(chunk.arguments[1]) == leaves(jax.eval_shape(pool.function, *pool.arguments))
    assert (chunk.name, chunk.chips, chunk.seeds, chunk.steps) == ("chunk", 1, 2, 64)
    given, _ = chunk.function.trace(*chunk.arguments).args_info[0]
    assert all(leaf.donated for leaf in jax.tree.leaves(given))


def test_a_world_on_the_host_has_update_and_act():
    config = lower_tpu.train("ppo", "gymnasium/CartPole-v1", 3)
    update, act = lowering.programs(config, jax.devices())
    assert (update.name, act.name, update.steps, act.steps) == ("update", "act", 8 * 4, 4)
    state, _, rollout = update.arguments
    assert rollout.observation.shape == (3, 8, 4, 4)
    assert leaves(jax.eval_shape(update.function, *update.arguments)[0]) == leaves(state)


def test_two_batches_of_adaptation():
    words = ["method=tent", "num_seeds=2", "stream.batch_size=4"]
    (alone,) = lowering.programs(configuration.compose(words, config_name="adapt"), jax.devices())
    together = configuration.compose([*words, "seeds=vmap"], config_name="adapt")
    (beside,) = lowering.programs(together, jax.devices())
    for program, seeds in ((alone, (1,)), (beside, (2, 1))):
        rows = jax.eval_shape(program.function, *program.arguments)
        assert rows.predicted.shape == (*seeds, 2, 4)
        assert (program.name, program.seeds, program.steps) == ("tent", seeds[0], 8)
        (state, variables), table, *_ = program.arguments
        assert leaves(state.variables) == leaves(variables)  # of all seeds
        assert table.shape == (seeds[0], 8, *table.shape[2:])


def test_an_estimator_on_a_slice_from_the_command_line(monkeypatch, capsys, tmp_path):
    """The slice is replaced by this machine's device; all else is as it is."""
    here = lowering.Topology("v5e:2x2", lowering.CHIPS["v5e"], jax.devices()[:1] * 4)
    monkeypatch.setattr(lowering, "topology", lambda name: here._replace(name=name))
    words = ["lower", "estimate", "estimator=gaussian", "num_samples=50", "topology=v5e:2x2", f"run_dir={tmp_path}"]
    monkeypatch.setattr(log, "WIDE", 300)
    assert cli.main(words) == 0
    printed = capsys.readouterr().out
    found = json.loads((tmp_path / "lower.json").read_text())
    (fit,) = found["programs"].values()
    assert (found["topology"], found["chips"], fit["seeds"], fit["steps"]) == ("v5e:2x2", 4, 1, 50)
    assert fit["memory"]["arguments"] >= 4 * 50 * 2 and fit["collectives"] == {}
    assert re.search(r"fit: 1 seeds on 1 of 4 chips; it takes [\d.]+ \w+ of a chip's 16 GB", printed)
    assert "3 chips have nothing to do" in printed and "f32[50,1]" in printed


def test_what_is_said_of_a_chip():
    memory = {"arguments": 4e9, "outputs": 4e9, "aliased": 4e9, "temporaries": 2e9, "code": 1e9, "total": 7e9}
    chunk = {"chips": 4, "seeds": 8, "steps": 1000, "memory": memory, "matrix_flops": 4e12}
    told = "\n".join(
        lowering.in_words(
            {
                "chips": 4,
                "chip": lowering.CHIPS["v5e"]._asdict(),
                "matmul_precision": "high",
                "programs": {"chunk": chunk},
            }
        )
    )
    assert "8 seeds on 4 of 4 chips; it takes 7 GB of a chip's 16 GB, 3 GB for each seed besides the code" in told
    assert "2 G FLOPs" in told and "20.3 ms at the chip's peak of 197 TFLOP/s" in told


# --- what is refused ---------------------------------------------------------------------------------------------


def test_slices_that_are_not(monkeypatch):
    for name in ("v5e", "v5e:4", "v5e:4x", "v9:2x2", "v5e:0x2", "4x4"):
        with pytest.raises(
            UserError, match=f"topology={name} is not a TPU slice; give the chip and its layout, such as"
        ):
            lowering.topology(name)


@pytest.mark.parametrize(
    ("raised", "sentence"),
    [
        ("JAX TPU support not installed; cannot", r"libtpu, which is not installed; .*pip install 'infojax\[tpu\]'"),
        ("INVALID_ARGUMENT: Topology layout", "is not a slice that v5e comes in; .*v5e:2x2 is the smallest"),
        ("ABORTED: something else", "libtpu does not describe topology=v5e:1x1: ABORTED: something else"),
    ],
)
def test_what_libtpu_refuses(raised, sentence, monkeypatch, capfd):
    def refuse(name, platform):
        raise RuntimeError(raised)

    monkeypatch.setattr(topologies, "get_topology_desc", refuse)
    with pytest.raises(UserError, match=sentence):
        lowering.topology("v5e:1x1")
    assert capfd.readouterr() == ("", "")


def test_a_program_that_does_not_fit_is_the_users_affair():
    class Lowered:
        def compile(self):
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Ran out of memory on HBM, 74.62G of 15.75G.\nmore")

    class Traced:
        jaxpr = jax.make_jaxpr(lambda: 0)()
        lower = Lowered

    class Jitted:
        trace = Traced

    with pytest.raises(UserError, match=r"^chunk of 9 seeds on 3 chips does not fit: Ran out of memory on HBM, 74.62G"):
        lowering.read(lowering.Program("chunk", Jitted, (), 3, 9, 1))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("agent=sac", "infojax lower needs a slice of chips; give it as topology=v5e:4x4"),
        ("topology=v5e:2x2,v5e:4x4", "infojax lower needs one slice, got v5e:2x2,v5e:4x4"),
        ("topology=v5e:2x2 -m seed=1,2", "-m is not an option of infojax lower"),
        ("topology=v5e:2x2 agent=sca", "agent=sca does not exist; did you mean sac?"),
        ("estimate topology=v5e:2x2 agent=sac", "agent does not exist in infojax estimate"),
        ("topology=v5e", "topology=v5e is not a TPU slice"),
    ],
)
def test_one_clear_sentence(words, sentence, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["lower", *words.split()]) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(r"infojax: .*\n", error) and sentence in error
    assert not list(tmp_path.iterdir())


def test_help(capsys):
    assert cli.main(["lower", "--help"]) == 0
    assert "topology=v6e:2x2" in capsys.readouterr().out


# --- the lane ----------------------------------------------------------------------------------------------------


def test_the_lane_knows_a_difference():
    noted = {
        "memory": dict.fromkeys(lower_tpu.PARTS, 1_000_000),
        "matrix_flops": 5.0,
        "collectives": {"all-reduce": {"instructions": 1, "runs": 7}},
    }
    assert lower_tpu.compared(noted, noted) == []
    heavier = {**noted, "memory": {**noted["memory"], "temporaries": 1_040_000}}
    assert lower_tpu.compared(heavier, noted) == ["temporaries 1,040,000 bytes, 1,000,000 noted"]
    assert lower_tpu.compared({**noted, "memory": {**noted["memory"], "code": 1_030_000}}, noted) == []
    (told,) = lower_tpu.compared({**noted, "collectives": {}}, noted)
    assert told.startswith("collectives {}, {'all-reduce'")


def test_the_lane_is_skipped_without_libtpu(monkeypatch, capsys):
    monkeypatch.setattr(lower_tpu, "find_spec", lambda name: None)
    assert lower_tpu.main([]) == 0
    assert capsys.readouterr().out.startswith("skipped: libtpu is not installed; `make lower-tpu` installs it")


def test_nothing_talks_but_the_shards_of_a_seed():
    """Of the golden values, each of which is of a program that the lane compiles."""
    noted = json.loads(lower_tpu.NOTED.read_text())["programs"]
    assert set(noted) <= set(lower_tpu.cases())
    talking = {name for name, found in noted.items() if found["collectives"]}
    assert talking == {name for name in noted if "data over" in name}


def test_tables_fit_a_narrow_terminal(capsys):
    entry = lowering.largest_buffers(lowering.parse(TEXT))
    memory = dict.fromkeys(("arguments", "outputs", "aliased", "temporaries", "code", "total"), 1e6)
    found = {"chips": 1, "seeds": 1, "steps": 1, "memory": memory, "matrix_flops": 1.0, "xla_bytes_once": 1.0}
    found |= {"cycles": 1.0, "collectives": {}, "compile_seconds": 1.0, "largest_buffers": entry}
    about = {"topology": "v5e:2x2", "chips": 4, "chip": lowering.CHIPS["v5e"]._asdict(), "matmul_precision": "high"}
    about["choices"] = {"agent": "sac"}
    lowering.print_lowered({**about, "programs": {"chunk": found}}, "x", Console(width=80, force_terminal=True))
    printed = capsys.readouterr().out
    assert "x/lower.json" in printed and "f32[128,128]" in printed and "temporaries" in printed
