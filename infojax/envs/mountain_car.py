"""A car in a valley with an engine too weak for the hill: MountainCarContinuous (Moore, 1990; as in Gymnasium).

    v' = clip(v + 0.0015 a − 0.0025 cos 3x, ±0.07)        x' = clip(x + v', [−1.2, 0.6])        a ∈ [−1, 1]

The left end is a wall that stops the car; the goal is x ≥ 0.45 with v ≥ 0. It starts at rest, x ~ U(−0.6, −0.4). The
reward of a step is R − c a², with R = 100 ("standard") or 1 ("sparse") where the step ends at the goal and 0 elsewhere.
All in float32, as Gymnasium keeps the state; only its cosine is of double precision.

With noise, the observation has one more dimension and so has the action (the "stochasticity test" of Mazzaglia et al.,
2022, "Curiosity-Driven Exploration via Latent Bayesian Surprise"). A step whose extra action is above 0 redraws the
extra dimension from U(−1, 1), and meanwhile the car is "frozen" (keeps x and v) or "evolving" (moves with a = 0).
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from infojax.types import Array, Count, Environment, EnvSpec, Key, Metrics, NonNegative

POWER, GRAVITY, TOP_SPEED, LEFT, RIGHT, GOAL = 0.0015, 0.0025, 0.07, -1.2, 0.6, 0.45
_QUICKEST = 50  # no sequence of actions reaches the goal in fewer steps


class MountainCarState(NamedTuple):
    position: Array
    velocity: Array
    noise: Array  # what the extra dimension shows
    redrawn: Array  # bool: the last step redrew it


def make(
    *,
    reward: Literal["standard", "sparse"] = "standard",
    action_cost: NonNegative = 0.1,
    noise: Literal["none", "frozen", "evolving"] = "none",
    goal_terminates: bool = True,
    episode_length: Count = 999,
) -> Environment:
    """The car with a `reward` at the goal, less `action_cost` times the squared force; `noise` adds the remote control.

    Measures: `goal`, 1 where the car is at it, and with noise `noise_on`, 1 where the step redrew the extra dimension.
    """
    noisy = noise != "none"
    size = 2 if noisy else 1
    prize = 100.0 if reward == "standard" else 1.0

    def observe(state: MountainCarState) -> Array:
        entries = (state.position, state.velocity, state.noise) if noisy else (state.position, state.velocity)
        return jnp.stack(entries)

    def reset(key: Key) -> tuple[MountainCarState, Array]:
        place_key, noise_key = jax.random.split(key)
        position = jax.random.uniform(place_key, (), jnp.float32, -0.6, -0.4)
        shown = jax.random.uniform(noise_key, (), jnp.float32, -1, 1) if noisy else jnp.zeros((), jnp.float32)
        state = MountainCarState(position, jnp.zeros((), jnp.float32), shown, jnp.zeros((), bool))
        return state, observe(state)

    def step(state: MountainCarState, action: Array, key: Key) -> tuple[MountainCarState, Array, Array, Array]:
        force = jnp.clip(action[0], -1, 1)
        shown, redrawn = state.noise, state.redrawn
        if noisy:
            redrawn = action[1] > 0
            shown = jnp.where(redrawn, jax.random.uniform(key, (), jnp.float32, -1, 1), shown)
            force = jnp.where(redrawn, 0, force)
        position, velocity = _move(state.position, state.velocity, force)
        if noise == "frozen":
            position = jnp.where(redrawn, state.position, position)
            velocity = jnp.where(redrawn, state.velocity, velocity)
        state = MountainCarState(position, velocity, shown, redrawn)
        arrived = _at_goal(state)
        gained = jnp.where(arrived, prize, 0).astype(jnp.float32) - action_cost * jnp.square(force)
        return state, observe(state), gained, arrived if goal_terminates else jnp.zeros((), bool)

    def measures(state: MountainCarState) -> Metrics:
        found = {"goal": _at_goal(state).astype(jnp.float32)}
        return found | {"noise_on": state.redrawn.astype(jnp.float32)} if noisy else found

    spec = EnvSpec(
        observation_shape=(size + 1,),
        action_shape=(size,),
        num_actions=None,
        low=(-1.0,) * size,
        high=(1.0,) * size,
        episode_length=episode_length,
        name=f"mountain_car/{reward}" if noise == "none" else f"mountain_car/{reward}/{noise}",
        position_names=("position", "velocity"),
        position_low=(LEFT, -TOP_SPEED),
        position_high=(RIGHT, TOP_SPEED),
        shortest_episode=min(_QUICKEST, episode_length) if goal_terminates else episode_length,
        cells=(10, 10),
    )
    return Environment(spec, reset, step, lambda state: jnp.stack([state.position, state.velocity]), measures)


def _move(position: Array, velocity: Array, force: Array) -> tuple[Array, Array]:
    """One step of the car; the wall at the left takes its velocity, the edge at the right does not, as in Gymnasium."""
    velocity = jnp.clip(velocity + (POWER * force - GRAVITY * jnp.cos(3 * position)), -TOP_SPEED, TOP_SPEED)
    position = jnp.clip(position + velocity, LEFT, RIGHT)
    return position, jnp.where((position <= LEFT) & (velocity < 0), 0, velocity)


def _at_goal(state: MountainCarState) -> Array:
    return (state.position >= GOAL) & (state.velocity >= 0)
