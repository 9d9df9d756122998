"""Seeds over several devices: no communication, and every member bit for bit the run of its seed alone."""

import os
import subprocess
import sys

PROGRAM = """
import re
import jax, numpy as np
from infojax.agents import sac
from infojax.envs import maze
from infojax.objectives import diayn
from infojax.run import loop, mesh

assert jax.device_count() == 2
environment = maze.make(layout="open", episode_length=5)
objective = diayn.make(environment.spec, num_skills=3, hidden_sizes=(8,))
agent = sac.make(environment.spec, objective, num_envs=2, batch_size=8, hidden_sizes=(8,), replay_capacity=32,
                 random_steps=0, learning_starts=0)
both = loop.device_loop(agent, environment, 3, 2, "vmap")
state, _ = both.chunk(both.init([5, 6]))
assert len(state.episode_return.sharding.device_set) == 2
alone = loop.device_loop(agent, environment, 3, 1, "vmap")
single, _ = alone.chunk(alone.init([6]))
for left, right in zip(jax.tree.leaves(state.agent), jax.tree.leaves(single.agent), strict=True):
    np.testing.assert_array_equal(np.asarray(left)[1:], np.asarray(right))

one_seed = loop.device_chunk(agent, environment, 3)
mapped = mesh.over_seeds(lambda state: one_seed(state, loop.Pool(state.env, state.timestep.observation)),
                         mesh.seed_mesh(2), "vmap")
text = mapped.lower(state).compile().as_text()
found = re.findall("all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter", text)
assert not found, found
print("equal and apart")
"""


def test_seeds_over_two_devices():
    given = os.environ.get("XLA_FLAGS", "")
    flags = {"XLA_FLAGS": f"{given} --xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**os.environ, **flags}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "equal and apart" in done.stdout
