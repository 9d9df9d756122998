"""One skill of a trained agent, held for good: the learner sees its context, and no intrinsic reward.

It is for fine-tuning a skill on a task (Eysenbach et al., 2019, section 4.2.1, "accelerating learning with policy
initialization"): the trained networks take observation and skill, so that who starts from them must see a skill.
"""

import jax
import jax.numpy as jnp

from infojax.objectives import none
from infojax.types import Count, EnvSpec, NonNegativeInt, Objective, UserError


def make(spec: EnvSpec, *, num_skills: Count | None = None, skill: NonNegativeInt | None = None) -> Objective:
    """The context of `skill`, one of `num_skills`, in every episode."""
    if num_skills is None or skill is None:
        raise UserError(
            f"objective.num_skills={num_skills} and objective.skill={skill} must be those of a trained agent; "
            "give init_from=RUN_DIR of a finished run with skills, which also finds its best skill, or both numbers"
        )
    if skill >= num_skills:
        raise UserError(f"objective.skill={skill} must be one of the {num_skills} skills, 0 to {num_skills - 1}")
    held = jax.nn.one_hot(skill, num_skills, dtype=jnp.float32)

    # A reward of its own, though it is 0 as well: learners then keep the value head that the trained agent has for it.
    return none.make(spec)._replace(
        context_size=num_skills,
        context=lambda state, key: held,
        reward=lambda state, transitions: jnp.zeros_like(transitions.reward),
    )
