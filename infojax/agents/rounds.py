"""Rounds in which two players of one body take turns: which steps make whole pairs, what they pay, what follows.

A clock counts the steps 0 … 2k − 1 of a pair of rounds of k steps each and begins with the episode. Rounds are handled
as columns: [k, R] of the steps of R rounds. Shapes: T steps of B environments, R = B ⌊T / 2k⌋ pairs at most.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from infojax.agents import policy_gradient
from infojax.types import Array


class Pairs(NamedTuple):
    """Which steps of [T, B] make whole pairs of rounds."""

    time: Array  # [R, 2k]
    env: Array  # [R, 2k]
    counted: Array  # [R] bool; the others fill up


def whole_pairs(clock: Array, round_length: int, where: Array | None = None) -> Pairs:
    """The pairs of rounds that lie wholly within the rollout and one episode, of clocks [T, B] with T >= 2k.

    2k steps apart, clocks are 0 and 2k − 1 only if no episode began in between. `where` [T, B] marks what counts.
    """
    pair, num_envs = 2 * round_length, clock.shape[1]
    whole = (clock[: clock.shape[0] - pair + 1] == 0) & (clock[pair - 1 :] == pair - 1)
    whole = whole if where is None else whole & where[pair - 1 :]
    # Environment after environment, so that the rounds of an episode stand next to one another.
    flat = whole.T.reshape(-1)
    most = num_envs * (clock.shape[0] // pair)
    (start,) = jnp.nonzero(flat, size=most, fill_value=0)
    steps = start[:, None] % whole.shape[0] + jnp.arange(pair)[None]
    env = jnp.broadcast_to(start[:, None] // whole.shape[0], steps.shape)
    return Pairs(steps, env, jnp.arange(most) < jnp.sum(flat))


def followed(pairs: Pairs, done: Array) -> Array:
    """[R] whether the pair after this one goes on with its episode, without a step between them."""
    time, env = pairs.time, pairs.env
    adjacent = (jnp.roll(env[:, 0], -1) == env[:, 0]) & (jnp.roll(time[:, 0], -1) == time[:, -1] + 1)
    return adjacent & pairs.counted & jnp.roll(pairs.counted, -1) & ~done[time[:, -1], env[:, -1]]


def explore_rewards(control_reward: Array) -> Array:
    """[k, R] Explore's rewards of Control's in the rounds that follow: minus their sum, last to first, at the end.

    Explore's return is then minus Control's to the last bit, whatever the rewards are.
    """
    nothing = jnp.zeros_like(control_reward[0])
    total, _ = jax.lax.scan(lambda later, now: (now + later, None), nothing, control_reward, reverse=True)
    return jnp.zeros_like(control_reward).at[-1].set(-total)


def round_advantages(reward: Array, value: Array, goes_on: Array | None, discount: float, trace: float) -> Array:
    """[k, R] generalised advantages within rounds; those that `goes_on` [R] marks lead into the one beside them.

    Without it every round ends like an episode. With it A_t = (advantage within the round) + (γ λ)^(k − t) A'_0, where
    A'_0 is that of the first step of the player's next round, and the last step bootstraps from the value there.
    """
    length, last = reward.shape[0], jnp.arange(reward.shape[0]) == reward.shape[0] - 1
    ends = jnp.broadcast_to(last[:, None], reward.shape)
    following = jnp.zeros_like(value[0]) if goes_on is None else jnp.where(goes_on, jnp.roll(value[0], -1), 0)
    next_value = jnp.concatenate([value[1:], following[None]])
    never = jnp.zeros_like(ends)
    own = policy_gradient.generalized_advantages(reward, value, next_value, never, ends, discount, trace)
    if goes_on is None:
        return own
    decay = discount * trace

    def backward(later: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
        handed = jnp.where(now[1], later, 0)
        return now[0] + decay**length * handed, handed

    _, handed = jax.lax.scan(backward, jnp.zeros_like(own[0, 0]), (own[0], goes_on), reverse=True)
    reach = decay ** jnp.arange(length, 0, -1, dtype=jnp.float32)
    return own + reach[:, None] * handed[None]
