"""Acting by frozen skills: an environment whose actions are the skills of a trained run.

A controller over it is any learner with discrete actions (Eysenbach et al., 2019, section 4.2.2, "hierarchical RL").
One of its steps lasts `steps` steps of the world, in which the skill's deterministic policy acts; rewards are summed,
and a step ends early where the episode does.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from infojax.run.loop import opening
from infojax.types import Agent, Array, Environment, HostFactory, Key, UserError


class SkillState(NamedTuple):
    env: Any
    observation: Array
    time: Array  # steps of the world so far


def over_skills(environment: Environment, agent: Agent, state: Any, steps: int) -> Environment:
    """`environment` under the finitely many skills of `agent` in `state`, each held for `steps` steps."""
    contexts, length = agent.contexts, environment.spec.episode_length
    if contexts is None:
        raise UserError("a controller needs finitely many skills, and this agent has none; train agent=diayn, say")

    def reset(key: Key) -> tuple[SkillState, Array]:
        env_state, observation = environment.reset(key)
        return SkillState(env_state, observation, jnp.zeros((), jnp.int32)), observation

    def step(before: SkillState, action: Array, key: Key) -> tuple[SkillState, Array, Array, Array]:
        begin_key, steps_key = jax.random.split(key)
        carry = agent.begin(state, begin_key)._replace(context=contexts[action])

        def one(loop: tuple[SkillState, Any, Array], given: tuple[Key, Array]) -> tuple[Any, Any]:
            now, carry, over = loop
            key, first = given
            act_key, env_key = jax.random.split(key)
            timestep = jax.tree.map(lambda leaf: leaf[0], opening(now.observation[None]))._replace(first=first)
            carry, motion, _ = agent.act(state, carry, timestep, act_key, False)
            env_state, observation, reward, terminated = environment.step(now.env, motion, env_key)
            moved = SkillState(env_state, observation, now.time + 1)
            # Where the episode is over the body stands still until the step is.
            after = jax.tree.map(lambda old, new: jnp.where(over, old, new), now, moved)
            return (after, carry, over | terminated | (after.time >= length)), (
                jnp.where(over, 0, reward),
                terminated & ~over,
            )

        start = (before, carry, jnp.zeros((), bool))
        keys = jax.random.split(steps_key, steps)
        (after, _, _), (reward, terminated) = jax.lax.scan(one, start, (keys, jnp.arange(steps) == 0))
        return after, after.observation, jnp.sum(reward), jnp.any(terminated)

    spec = environment.spec._replace(
        action_shape=(),
        num_actions=len(contexts),
        low=(),
        high=(),
        episode_length=math.ceil(length / steps),
        shortest_episode=max(1, environment.spec.shortest_episode // steps),
        name=f"{environment.spec.name} by {len(contexts)} skills",
    )
    return Environment(
        spec,
        reset,
        step,
        lambda state: environment.position(state.env),
        lambda state: environment.measures(state.env),
    )


def over_skills_of(run_dir: str, environment: Environment | HostFactory, steps: int) -> Environment:
    """`environment` under the skills that the first seed of a run has learned."""
    from infojax.run.training import load

    if not isinstance(environment, Environment):
        raise UserError(
            f"skills.run_dir acts in environments on the device, and {environment.spec.name} is one on the host; "
            "choose an environment of another group, such as env=maze/u"
        )
    if not Path(run_dir).is_dir():
        raise UserError(f"skills.run_dir={run_dir} is not a folder; give the run directory of a trained agent=diayn")
    run = load(run_dir)
    state = jax.tree.map(lambda leaf: leaf[0], run.state)
    return over_skills(environment, run.agent, state, steps)
