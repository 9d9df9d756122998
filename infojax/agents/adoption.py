"""Going on from what another run has learned: which leaves fit, and a clear error where they do not."""

from typing import Any

import jax

from infojax.types import UserError


def same_kind(state: Any, learned: Any) -> None:
    """Raises UserError where the other run's agent keeps another kind of state."""
    if type(state) is not type(learned):
        raise UserError(
            f"init_from names a run whose agent keeps a {type(learned).__name__}, and this agent keeps a "
            f"{type(state).__name__}; start from a run of the same kind of agent"
        )


def take(fresh: Any, learned: Any, what: str) -> Any:
    """`learned` in place of `fresh`, both parameters of `what`; raises UserError where their shapes differ."""
    if not fits(fresh, learned):
        wanted, given = (sorted({str(leaf.shape) for leaf in jax.tree.leaves(tree)}) for tree in (fresh, learned))
        raise UserError(
            f"the {what} that init_from has learned does not fit: its arrays are {', '.join(given)}, here they are "
            f"{', '.join(wanted)}; use the same env, agent.hidden_sizes and size of the objective's context "
            "(objective=fixed_skill holds a skill)"
        )
    return learned


def take_if_fits(fresh: Any, learned: Any) -> Any:
    """`learned` where it has the layout of `fresh`, such as an objective's models; else `fresh`."""
    return learned if fits(fresh, learned) else fresh


def fits(fresh: Any, learned: Any) -> bool:
    """Whether both have one structure and the same shapes."""
    if jax.tree.structure(fresh) != jax.tree.structure(learned):
        return False
    pairs = zip(jax.tree.leaves(fresh), jax.tree.leaves(learned), strict=True)
    return all(one.shape == other.shape for one, other in pairs)
