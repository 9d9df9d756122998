"""Seeds and the data of one seed over devices: equal to the single run, and no talk between seeds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from test_battery_rl import built, names

from infojax import testing
from infojax.agents import ppo
from infojax.objectives import rnd
from infojax.run import config as configuration
from infojax.run import mesh
from infojax.types import UserError

# Prints one line of JSON: largest differences and what was found, for the assertions below.
PROGRAM = """
import json, re
import jax, jax.numpy as jnp, numpy as np
from infojax.agents import ppo, soft_actor_critic as soft
from infojax.agents.experience import Minibatch, Seen
from infojax.envs import probe
from infojax.objectives import none
from infojax.run import loop, mesh
from infojax.types import Rollout, Transition

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
devices, found = jax.devices(), {"devices": jax.device_count()}
wanted = ((4, 4), (3, 2), (16, 1), (1, 4))
found["shapes"] = [tuple(mesh.seed_mesh(seeds, None, shards).shape.values()) for seeds, shards in wanted]


def numbers(tree):
    leaves, shape = jax.tree.flatten(jax.block_until_ready(tree))
    keys = [jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in leaves]
    words = [np.asarray(jax.random.key_data(leaf) if key else leaf) for leaf, key in zip(leaves, keys)]
    return jax.tree.unflatten(shape, words)


def share(a, b):
    # Relative where numbers are above 1, as sums of squares are. Equal infinities have no difference.
    with np.errstate(invalid="ignore"):
        return np.where(a == b, 0, np.abs(np.asarray(a, np.float64) - b) / np.maximum(np.abs(b), 1))


def apart(left, right):
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    return max(float(np.max(share(a, b), initial=0)) for a, b in pairs)


# Sixteen seeds on eight devices, two on each, and two of them alone.
options = dict(num_envs=2, unroll=4, epochs=1, minibatches=1, hidden_sizes=(4,), normalize_observations=True)
environment = probe.make(kind="discrete_action")
agent = ppo.make(environment.spec, none.make(environment.spec), **options)


def programs(how, layout, seeds):
    run, roots = loop.device_programs(agent, environment, 1, layout, how), mesh.seed_keys(seeds, layout)
    before = mesh.place(np.full((len(seeds),), -1, np.int32), layout)
    state, pool = run.init(roots, run.pool(roots, before)), run.pool(roots, before + 1)
    return run.chunk.lower(state, pool).compile(), state, pool


chunk, state, pool = programs("vmap", mesh.seed_mesh(1, devices[:1]), [3])
single = numbers(chunk(state, pool)[0])
for how in ("map", "vmap"):
    chunk, state, pool = programs(how, mesh.seed_mesh(16), range(16))
    twin = jax.tree.map(jnp.copy, state)
    many = numbers(chunk(state, pool)[0])
    found[f"{how} repeated"] = apart(many, numbers(chunk(twin, pool)[0]))
    found[how] = apart(jax.tree.map(lambda leaf: leaf[3:4], many), single)
    found[f"{how} devices"] = len(twin.episode_return.sharding.device_set)
COLLECTIVES = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
found["between seeds"] = re.findall(COLLECTIVES, chunk.as_text())

# One update by PPO of a batch in one piece, and in four shards on two devices: moments of advantages, statistics of
# observations and of returns enter it.
options |= dict(num_envs=8, normalize_rewards=True, value_clip=0.2, entropy_weight=0.01)
whole = ppo.make(environment.spec, none.make(environment.spec), **options)
spec = environment.spec._replace(data_axis=mesh.DATA_AXES, data_shards=4)
part = ppo.make(spec, none.make(spec), **options)
key, generator = jax.random.key(1), np.random.default_rng(0)
T, B = 4, 8
normal = lambda *shape: generator.normal(size=(T, B, *shape)).astype(np.float32)
rollout = Rollout(
    observation=1 + 2 * normal(*spec.observation_shape),
    first=np.zeros((T, B), bool),
    action=generator.integers(0, spec.num_actions, (T, B)).astype(np.int32),
    reward=normal() + np.arange(B, dtype=np.float32),
    terminated=generator.random((T, B)) < 0.2,
    truncated=np.zeros((T, B), bool),
    next_observation=1 + 2 * normal(*spec.observation_shape),
    extras={"context": np.zeros((T, B, 0), np.float32), "log_prob": -np.abs(normal())},
)
rollout.extras["raw_action"] = rollout.action
state = whole.init(key)
after = jax.jit(whole.update)(state, rollout, key)[0]
layout = mesh.seed_mesh(1, devices[:2], 4)
shards = lambda leaf: np.stack(np.split(np.asarray(leaf), 4, axis=1))[None]
copies = lambda leaf: np.broadcast_to(np.asarray(leaf), (1, 4, *leaf.shape))
spread = jax.tree.map(copies, part.init(key))
update = mesh.over_shards(part.update, layout, "vmap", ("shard", "seed"))
moved = update(spread, jax.tree.map(shards, rollout), mesh.seed_keys([1], layout, 4))[0]
found["ppo devices"] = len(moved.parameters["extra"].sharding.device_set)
moved, after = numbers(moved), numbers(after)
found["ppo moved"] = apart(after.parameters, state.parameters)
learned = lambda state: (state.parameters, state.optimizer, state.statistics, state.reward_scale.statistics)
for shard in range(4):
    mine = jax.tree.map(lambda leaf: leaf[0, shard], learned(moved))
    found["ppo"] = max(found.get("ppo", 0.0), apart(mine, learned(after)))
found["ppo steps"] = [int(after.steps), int(moved.steps[0, 0])]

# One step of critics, actor and temperature on a minibatch whose noise is given.
N = 8
options = dict(discount=0.9, target_rate=0.1, temperature=0.5, target_entropy_per_dimension=-1.0, hidden_sizes=(8,))
options |= dict(actor_learning_rate=1e-2, critic_learning_rate=1e-2, temperature_learning_rate=1e-2, activation="relu")
draw = lambda *shape: jnp.asarray(generator.normal(size=(N, *shape)), jnp.float32)
transitions = Transition(draw(3), draw(0), jnp.tanh(draw(2)), draw(), draw(3), draw(0), draw() > 1, draw() > 9)
seen = Seen(transitions, transitions.observation, transitions.next_observation)
batch = Minibatch((), (), draw(2), draw(2), (), ())


def learn(learner):
    def step(state, seen, batch):
        one = jnp.ones(())
        state, _ = learner.critic_step(state, seen, seen.transitions.reward, batch, one)
        return learner.actor_step(state, seen, batch, one)[0]

    return step


learner = soft.learner(3, 2, **options)
state = learner.init(key, jax.random.key(2))
after = jax.jit(learn(learner))(state, seen, batch)
step = mesh.over_shards(learn(soft.learner(3, 2, **options, axis=mesh.DATA_AXES)), layout, "vmap", "seed")
shards = lambda leaf: np.asarray(leaf).reshape(1, 4, N // 4, *leaf.shape[1:])
moved = step(jax.tree.map(copies, state), jax.tree.map(shards, seen), jax.tree.map(shards, batch))
found["sac"] = apart(jax.tree.map(lambda leaf: leaf[0], numbers(moved)), numbers(after))
found["sac moved"] = abs(float(after.log_temperature - state.log_temperature))

# Estimators and an adaptation: eight seeds on as many devices, and each of them alone.
import jax.flatten_util
import tta_models
from infojax.estimators import _neural, gaussian
from infojax.info import bounds
from infojax.nets.critic import separable
from infojax.run import adaptation, estimation
from infojax.tta import tent
from infojax.types import Estimate

jax.config.update("jax_disable_most_optimizations", True)  # compiling is most of what this costs
S, layout = 8, mesh.seed_mesh(8)
seeds = list(range(S))


def beside(program, *arguments):
    compiled = program.lower(*arguments).compile()
    result = compiled(*arguments)
    talk = re.findall(COLLECTIVES, compiled.as_text())
    return jax.device_get(result), [len(jax.tree.leaves(result)[0].sharding.device_set), talk]


bound = _neural.Bound(
    critic=separable((4,), 2, "silu"),
    objective=lambda scores, memory: (bounds.infonce(scores), memory),
    validation=bounds.infonce,
    value=bounds.infonce,
)
model = _neural.critic_model(bound, _neural.Training(1e-2, 16, 3, 3))


def trained(key, x, y):
    learnt = model.train(key, _neural.split(jnp.arange(len(x)), 2, x, y))
    value, variance = model.value(learnt, key, x, y)
    size = jnp.sum(jnp.abs(jax.flatten_util.ravel_pytree(learnt)[0]))
    return Estimate(value, jnp.stack([value, variance]), value > 0, {"size": size})


pairs = [generator.normal(size=(2, 64, 2)).astype(np.float32) for _ in seeds]
pairs = [(x, (x + y).astype(np.float32)) for x, y in pairs]
placed = [mesh.place(np.stack(part), layout) for part in zip(*pairs)]
for name, fit in (("gaussian", gaussian.make().fit), ("trained", trained)):
    many, found[f"{name} devices"] = beside(estimation.spread(fit, layout), mesh.seed_keys(seeds, layout), *placed)
    alone, singles = jax.jit(fit), []
    for seed in seeds:
        singles.append(jax.device_get(alone(jax.random.key(seed), *pairs[seed])))
    found[name] = apart(many, jax.tree.map(lambda *leaves: np.stack(leaves), *singles))
    found[f"{name} values"] = [float(value) for value in many.value]

tiny = tta_models.tiny()
method = tent.make(tiny, optimizer="sgd", learning_rate=0.02)
initial = jax.jit(method.init)(tiny.variables, None)
tables = np.stack([np.asarray(tta_models.images(12, seed)) for seed in seeds])
order = np.stack([generator.permutation(12).reshape(2, 3, 2) for _ in seeds]).astype(np.int32)
lanes = adaptation.Lane(
    order=order,
    mask=np.ones(order.shape, bool),
    learn=np.broadcast_to(np.arange(3) < 2, order.shape[:3]),
    place=np.broadcast_to(np.arange(6, dtype=np.int32).reshape(2, 3), order.shape[:3]),
)


def adapted(layout):
    tree = jax.tree.map(lambda leaf: mesh.place(leaf, layout), (tables, lanes))
    program = adaptation.spread(adaptation.program(method), layout)
    return beside(program, initial, tree[0], mesh.seed_keys(seeds, layout), tree[1])


many, found["tent devices"] = adapted(layout)
one, found["tent on one"] = adapted(mesh.seed_mesh(8, devices[:1]))
found["tent"], found["tent shape"] = apart(many, one), many.entropy.shape
found["tent learns"] = float(np.max(np.abs(many.entropy[:, 0, 0] - many.entropy[:, 0, 2])))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found():
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_seeds_over_eight_devices_are_the_single_runs(found):
    assert found["devices"] == found["map devices"] == found["vmap devices"] == 8
    assert found["map"] == 0
    assert found["vmap"] <= 1e-5
    assert found["map repeated"] == found["vmap repeated"] == 0


def test_the_mesh_takes_what_divides_seeds_and_shards(found):
    assert found["shapes"] == [[4, 2], [3, 2], [8], [1, 4]]


def test_seeds_do_not_talk(found):
    assert found["between seeds"] == []


def test_an_update_of_a_batch_in_shards_is_that_of_the_whole(found):
    assert found["ppo devices"] == 2
    assert found["ppo moved"] > 1e-4
    assert found["ppo"] <= 1e-5
    assert found["ppo steps"] == [32, 32]


def test_a_step_of_the_soft_actor_critic_in_shards_is_that_of_the_whole(found):
    assert found["sac moved"] > 1e-3
    assert found["sac"] <= 1e-5


@pytest.mark.parametrize("name", ["gaussian", "trained"])
def test_estimators_of_seeds_over_eight_devices_are_those_of_each_alone(found, name):
    assert found[f"{name} devices"] == [8, []]
    assert found[name] <= 1e-5
    assert len(set(found[f"{name} values"])) == 8


def test_adaptations_of_seeds_over_eight_devices_are_those_on_one(found):
    assert found["tent devices"] == [8, []] and found["tent on one"] == [1, []]
    assert found["tent shape"] == [8, 2, 3, 2]
    assert found["tent"] <= 1e-5
    assert found["tent learns"] > 1e-3


WORLDS = {"ppo": "probe/discrete_action", "adversarial_surprise": "rooms/dark"}
QUICK = [("ppo", "rnd"), ("adversarial_surprise", None), ("maxinforl_redq", "knn_entropy")]
AGENTS = [(agent, None) for agent in names("agent")]
OBJECTIVES = [("sac", objective) for objective in names("objective") if objective not in ("none", "fixed_skill")]


@pytest.mark.parametrize(
    ("agent", "objective"),
    [
        *QUICK,
        *(pytest.param(*pair, marks=pytest.mark.slow) for pair in [*AGENTS, *OBJECTIVES] if pair not in QUICK),
    ],
)
def test_what_is_learned_is_the_same_in_all_shards(agent, objective):
    words = [] if objective is None else [f"objective={objective}"]
    words += ["agent.buffer_life=life"] if agent == "adversarial_surprise" else []
    made = built(agent, WORLDS.get(agent, "pendulum/standard"), *words, "mesh.data=2")
    assert made.environment.spec.data_shards == 2
    assert made.agent.num_envs == 2
    assert testing.check_shards(made.agent, made.environment) is None
    assert testing.differing_leaves(made.agent, made.environment)  # its replay, or its running returns


def test_a_gradient_that_is_not_averaged_is_told():
    environment = built("ppo", WORLDS["ppo"], "objective=none", "mesh.data=2").environment
    alone = environment.spec._replace(data_axis=None, data_shards=1)
    objective = rnd.make(alone, hidden_sizes=(4,))
    agent = ppo.make(environment.spec, objective, num_envs=2, unroll=2, epochs=1, minibatches=1, hidden_sizes=(4,))
    with pytest.raises(AssertionError, match=r"objective\.predictor.* would differ from shard to shard"):
        testing.check_shards(agent, environment)


def test_the_mesh_fits_seeds_and_shards():
    device = jax.devices()[:1]
    assert dict(mesh.seed_mesh(4, device).shape) == {"seed": 1}
    assert dict(mesh.seed_mesh(4, device, shards=2).shape) == {"seed": 1, "data": 1}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["agent.num_envs=6", "mesh.data=4"], "agent.num_envs=6 cannot be spread evenly over mesh.data=4"),
        (["agent=sac", "agent.batch_size=255", "mesh.data=2"], "agent.batch_size=255 cannot be spread evenly"),
        (["env=gymnasium/CartPole-v1", "mesh.data=2"], "stepped on the host; use mesh.data=1"),
    ],
)
def test_what_cannot_be_spread_is_refused(words, sentence):
    config = configuration.compose(["agent=ppo", "objective=none", "env=pendulum/standard", *words])
    with pytest.raises(UserError, match=sentence):
        configuration.build(config)


def test_devices_that_are_not_there_are_refused():
    with pytest.raises(UserError, match=r"mesh\.devices=4096 is more than there are"):
        mesh.devices_of(mesh.Settings(devices=4096))
    with pytest.raises(UserError, match=r"mesh=tpu finds no such device"):
        mesh.devices_of(mesh.Settings(platform="tpu"))


@pytest.mark.parametrize("app", ["estimate", "adapt"])
def test_what_only_training_has_is_refused(app):
    sentences = {
        "data=2": rf"mesh\.data=2 spreads the data of a seed, which only .*: infojax {app} spreads seeds over",
        "processes=2": rf"mesh\.processes=2 is for several processes, and infojax {app} runs in one; leave it null",
    }
    for word, sentence in sentences.items():
        config = configuration.compose([f"mesh.{word}", "seeds=vmap"], config_name=app)
        with pytest.raises(UserError, match=sentence):
            mesh.begin_alone(mesh.settings_of(config), app)


def test_where_only_training_joins_processes_the_others_say_so(monkeypatch):
    monkeypatch.setattr(mesh, "recognised", lambda: True)
    with pytest.raises(UserError, match=r"infojax adapt runs in one process, .* mesh\.distributed=off to leave each"):
        mesh.begin_alone(mesh.Settings(), "adapt")
    mesh.begin_alone(mesh.Settings(distributed="off"), "adapt")


def test_a_run_does_not_inherit_the_precision_of_an_earlier_one(capsys):
    def chosen(wanted):
        mesh.begin(mesh.Settings(matmul_precision=wanted))
        return jax.config.values["jax_default_matmul_precision"]

    assert chosen("bfloat16") == "bfloat16"
    assert capsys.readouterr().err.count("changes nothing on a CPU") == 1
    assert chosen("auto") is None
    jax.config.update("jax_default_matmul_precision", "high")  # the user's own
    try:
        assert [chosen(wanted) for wanted in ("auto", "highest", "auto", "default")] == [
            "high",
            "highest",
            "high",
            None,
        ]
    finally:
        jax.config.update("jax_default_matmul_precision", None)
    assert capsys.readouterr().err == ""


def test_half_a_coordinator_is_refused():
    with pytest.raises(UserError, match=r"mesh\.processes=null and mesh\.process=1 go together"):
        mesh.begin(mesh.Settings(coordinator="127.0.0.1:1", process=1))
    with pytest.raises(UserError, match=r"mesh\.process=2 is one of mesh\.processes=2"):
        mesh.begin(mesh.Settings(coordinator="127.0.0.1:1", processes=2, process=2))
    jnp.zeros(()).block_until_ready()
    with pytest.raises(UserError, match="before jax computes anything"):
        mesh.begin(mesh.Settings(coordinator="127.0.0.1:1", processes=2, process=1))


def test_clusters_are_recognised(monkeypatch):
    assert not mesh.recognised()
    slurm = {"SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "a", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    for name, value in slurm.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert not mesh.recognised()
    monkeypatch.setenv("SLURM_NTASKS", "2")
    assert mesh.recognised()
