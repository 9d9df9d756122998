"""No intrinsic objective: the reward is 0 and the context is empty, so a learner sees the task's reward alone."""

import jax.numpy as jnp

from infojax.types import Array, EnvSpec, Key, Metrics, Objective, Transition, keep_context


def nothing(state: tuple[()], transitions: Transition) -> Array:
    """[N] zeros; learners know by this function that there is no objective to work for."""
    return jnp.zeros_like(transitions.reward)


def make(spec: EnvSpec) -> Objective:
    """The objective that adds nothing."""

    def update(state: tuple[()], transitions: Transition, key: Key) -> tuple[tuple[()], Metrics]:
        return state, {}

    def report(state: tuple[()], transitions: Transition, where: Array | None = None) -> Metrics:
        return {}

    return Objective(
        context_size=0,
        contexts=None,
        init=lambda key: (),
        context=lambda state, key: jnp.zeros((0,), jnp.float32),
        advance=keep_context,
        reward=nothing,
        observe=lambda state, transitions: state,
        update=update,
        report=report,
    )
