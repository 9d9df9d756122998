"""Everything compiles for TPU slices, with libtpu and without a TPU: `make lower-tpu`.

Every agent's chunk, every method on two batches and every primitive with its gradients for v5e:2x2; two agents and one
whose data is spread over chips for v5e:4x4. Memory, FLOPs and collectives are compared with `data/lower_tpu.json`.

    python tests/lower_tpu.py                   all of them
    python tests/lower_tpu.py agent/ info/bits  those whose name contains one of the words
    python tests/lower_tpu.py --write method/   notes what is found, in place of comparing
    python tests/lower_tpu.py --write --missing notes what is not noted yet

Bytes may differ by 2 % and 16 kB from what is noted, collectives and FLOPs not at all. Another libtpu than the noted
one lays programs out in another way; then differences are told and are no failure.
"""

import json
import os
import sys
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

NOTED = Path(__file__).parent / "data" / "lower_tpu.json"
SHARE, BYTES = 0.02, 16_384
PARTS = ("arguments", "outputs", "aliased", "temporaries", "code")
SEEDS = ("num_seeds=4", "seeds=vmap")
DISCRETE = ("adversarial_surprise",)


def train(agent, env, seeds, *words):
    """A run of an agent as small as in the common battery."""
    import test_battery_rl as battery

    from infojax.run import config as configuration

    objective = ["objective=none"] if agent in ("sac", "ppo") else []
    chosen = [f"agent={agent}", f"env={env}", f"num_seeds={seeds}", "total_steps=64", *objective, *words]
    config = configuration.compose(chosen)
    tiny = {"agent": battery.AGENT | {"unroll": battery.UNROLL.get(agent, 2)}, "objective": battery.OBJECTIVE}
    tiny["env"] = {"episode_length": 16}
    for section, sizes in tiny.items():
        config[section] |= {key: value for key, value in sizes.items() if key in config[section]}
    return config


def cases():
    """name -> (slice, devices -> the program)."""
    import test_battery_methods as methods
    import test_battery_rl as battery
    import test_info_battery as primitives

    from infojax.run import config as configuration
    from infojax.run import lowering

    def chunk(*choice):
        return lambda devices: lowering.programs(train(*choice), devices)[0]

    def composed(app, *words):
        config = lambda: configuration.compose(words, config_name=app)  # noqa: E731
        return lambda devices: lowering.programs(config(), devices)[0]

    def primitive(name):
        def program(devices):
            import jax
            from jax.sharding import SingleDeviceSharding

            # The battery's own jit has options for a CPU.
            function = jax.jit(primitives.with_gradients(name).__wrapped__)
            layout = SingleDeviceSharding(devices[0])
            arrays = primitives.example(name, 0)
            structs = [jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=layout) for array in arrays]
            return lowering.Program(name, function, tuple(structs), 1, 1, 1)

        return program

    found = {f"info/{name}": ("v5e:2x2", primitive(name)) for name in primitives.NAMES}
    found["estimator/gaussian"] = ("v5e:2x2", composed("estimate", "estimator=gaussian", *SEEDS))
    # Two of the four stages of the small residual network: what is compiled twice as often is no better proof.
    stages = ("model.depths=[1,1]", "model.widths=[16,32]", "model.strides=[1,2]")
    for name, settings in methods.FILES.items():
        if "_target_" in settings:
            found[f"method/{name}"] = ("v5e:2x2", composed("adapt", f"method={name}", *SEEDS, *stages))
    for name in battery.names("agent"):
        found[f"agent/{name}"] = ("v5e:2x2", chunk(name, "maze/open", 4))
        if name in DISCRETE:
            found[f"agent/{name}, discrete"] = ("v5e:2x2", chunk(name, "rooms/mixed", 4))
    for name in ("ppo", "sac"):
        found[f"agent/{name}, 16 chips"] = ("v5e:4x4", chunk(name, "maze/open", 16))
    found["agent/ppo, 16 chips, data over 4"] = ("v5e:4x4", chunk("ppo", "maze/open", 4, "mesh.data=4"))
    return found


def row(name, found):
    """One line of the table."""
    memory, calls = found["memory"], found["collectives"]
    told = ", ".join(f"{kind} {count['instructions']} ({count['runs']})" for kind, count in calls.items())
    sizes = " ".join(f"{memory[part]:>11,}" for part in (*PARTS, "total"))
    seconds = f"{found['lower_seconds']:6.1f} {found['compile_seconds']:7.1f}"
    return f"{name:<44} {sizes} {found['matrix_flops']:>13,.0f} {seconds}  {told or 'none'}"


def compared(found, noted):
    """In words, what is not as noted; empty where all is."""
    wrong = []
    for part in PARTS:
        now, before = found["memory"][part], noted["memory"][part]
        if abs(now - before) > SHARE * before + BYTES:
            wrong.append(f"{part} {now:,} bytes, {before:,} noted")
    for key in ("matrix_flops", "collectives"):
        if found[key] != noted[key]:
            wrong.append(f"{key} {found[key]}, {noted[key]} noted")
    return wrong


def main(words):
    """Compile, print, compare or note; returns the exit code."""
    if find_spec("libtpu") is None:
        print("skipped: libtpu is not installed; `make lower-tpu` installs it, or pip install 'infojax[tpu]'")
        return 0
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax

    from infojax.run import lowering

    jax.config.update("jax_numpy_rank_promotion", "raise")
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    write, missing = "--write" in words, "--missing" in words
    words = [word for word in words if word not in ("--write", "--missing")]
    versions = {name: version(name) for name in ("jax", "libtpu")}
    book = json.loads(NOTED.read_text()) if NOTED.exists() else {"programs": {}}
    other = "" if write or book.get("versions") == versions else f"noted with {book.get('versions')}: "
    heads = " ".join(f"{head:>11}" for head in (*PARTS, "total"))
    print(f"{'bytes on one chip, v5e':<44} {heads} {'FLOPs':>13} {'lower':>6} {'compile':>7}  collectives (runs)")
    failed, done, began, slices = [], 0, time.perf_counter(), {}
    for name, (place, make) in cases().items():
        if (words and not any(word in name for word in words)) or (missing and name in book["programs"]):
            continue
        if place not in slices:
            slices[place] = lowering.topology(place)
        try:
            with jax.default_matmul_precision(lowering.PRECISION["tpu"]):
                found = lowering.read(make(slices[place].devices))
        except Exception as error:
            failed.append(f"{name}: {type(error).__name__}: {str(error)[:500]}")
            print(failed[-1], flush=True)
            continue
        done += 1
        print(row(name, found), flush=True)
        if write:
            kept = {key: found[key] for key in ("chips", "seeds", "memory", "matrix_flops", "collectives")}
            programs = {**book["programs"], name: kept}
            book = {"versions": versions, "programs": dict(sorted(programs.items()))}
            NOTED.write_text(json.dumps(book, indent=1) + "\n")
        elif name not in book["programs"]:
            failed.append(f"{name}: not noted yet; run with --write")
        elif wrong := compared(found, book["programs"][name]):
            print(f"  {other}{'; '.join(wrong)}", flush=True)
            failed += [] if other else [f"{name}: {'; '.join(wrong)}"]
        jax.clear_caches()
    print(f"{done} programs compiled in {time.perf_counter() - began:.0f} s with libtpu {versions['libtpu']}")
    print("\n".join(f"failed: {line}" for line in failed) or "all as noted" if not write else "noted")
    return 1 if failed or not done else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
