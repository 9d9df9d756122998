"""Swinging up a pole that hangs from a cart on a rail (as in the DeepMind control suite; Tassa et al., 2018).

A cart of mass M = 1 at x, pushed by F = 10 a with a ∈ [−1, 1], carries a uniform rod of mass m = 0.1 and half-length
l = 0.5 at an angle θ from upright. With friction b on the rail and d in the hinge, Lagrange's equations are

    (M + m) x'' + m l θ'' cos θ = F − b x' + m l θ'² sin θ
    m l x'' cos θ + (4/3) m l² θ'' = m g l sin θ − d θ'

    energy  E = (M + m) x'²/2 + m l x' θ' cos θ + (2/3) m l² θ'² + m g l cos θ

integrated by the classical Runge–Kutta method, two steps of 0.01 s under the same force for each step of the
environment. At |x| = 1.8 the rail ends: the cart stops dead, and since the stop acts on the cart alone, the momentum
m l x' cos θ + (4/3) m l² θ' of the hinge stays what it was. The control suite has the same masses, lengths, friction
and gear; its pole is a capsule instead of a thin rod, and the ends of its rail are soft.

Rewards of a step, by the state after it, less c a²:

    sparse    1 where cos θ >= 0.995 and |x| <= 0.25, else 0
    dense     (1 + cos θ)/2 · (1 + 0.1^((x/2)²))/2 · (4 + 1 − a²)/5 · (1 + 0.1^((θ'/5)²))/2

Episodes never terminate; they start near the middle of the rail with the pole hanging. Observation: x, cos θ, sin θ,
x', θ'.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from infojax.types import Array, Count, Environment, EnvSpec, Key, NonNegative

CART, POLE, HALF_LENGTH, GRAVITY, GEAR = 1.0, 0.1, 0.5, 9.81, 10.0
RAIL_FRICTION, HINGE_FRICTION = 5e-4, 2e-6
SUBSTEP, SUBSTEPS, RAIL, START_NOISE = 0.01, 2, 1.8, 0.01
UPRIGHT, CENTRE = 0.995, 0.25
_PI = 3.1415927410125732  # the float32 next to π


class CartpoleState(NamedTuple):
    place: Array  # of the cart
    angle: Array  # of the pole from upright, in [−π, π]
    speed: Array
    spin: Array


def make(
    *,
    reward: Literal["sparse", "dense"] = "sparse",
    action_cost: NonNegative = 0.0,
    episode_length: Count = 500,
) -> Environment:
    """The cart and its pole with a `reward`, less `action_cost` times the squared action; 0.02 s a step.

    Measure: `upright`, 1 where the pole is up and the cart in the middle.
    """

    def observe(state: CartpoleState) -> Array:
        return jnp.stack([state.place, jnp.cos(state.angle), jnp.sin(state.angle), state.speed, state.spin])

    def reset(key: Key) -> tuple[CartpoleState, Array]:
        noise = START_NOISE * jax.random.normal(key, (4,), jnp.float32)
        state = CartpoleState(noise[0], _wrapped(_PI + noise[1]), noise[2], noise[3])
        return state, observe(state)

    def step(state: CartpoleState, action: Array, key: Key) -> tuple[CartpoleState, Array, Array, Array]:
        pushed = jnp.clip(action[0], -1, 1)
        for _ in range(SUBSTEPS):
            state = _stopped(moved(state, GEAR * pushed))
        state = state._replace(angle=_wrapped(state.angle))
        gained = _upright(state) if reward == "sparse" else _dense(state, pushed)
        return state, observe(state), gained - action_cost * jnp.square(pushed), jnp.zeros((), bool)

    spec = EnvSpec(
        observation_shape=(5,),
        action_shape=(1,),
        num_actions=None,
        low=(-1.0,),
        high=(1.0,),
        episode_length=episode_length,
        name=f"cartpole_swingup/{reward}",
        position_names=("cart", "angle"),
        position_low=(-RAIL, -_PI),
        position_high=(RAIL, _PI),
        shortest_episode=episode_length,
        cells=(10, 10),
    )
    return Environment(
        spec,
        reset,
        step,
        lambda state: jnp.stack([state.place, state.angle]),
        lambda state: {"upright": _upright(state)},
    )


def accelerations(state: CartpoleState, force: Array, friction: bool = True) -> tuple[Array, Array]:
    """x'' and θ'' of the equations above, () each, in SI units."""
    cosine, sine = jnp.cos(state.angle), jnp.sin(state.angle)
    coupling = POLE * HALF_LENGTH * cosine
    inertia = 4 / 3 * POLE * HALF_LENGTH**2
    on_cart = force + POLE * HALF_LENGTH * jnp.square(state.spin) * sine
    on_hinge = POLE * GRAVITY * HALF_LENGTH * sine
    if friction:
        on_cart, on_hinge = on_cart - RAIL_FRICTION * state.speed, on_hinge - HINGE_FRICTION * state.spin
    determinant = (CART + POLE) * inertia - jnp.square(coupling)  # at least m l² (4/3 M + m/3): never 0
    return (
        (inertia * on_cart - coupling * on_hinge) / determinant,
        ((CART + POLE) * on_hinge - coupling * on_cart) / determinant,
    )


def moved(state: CartpoleState, force: Array, friction: bool = True) -> CartpoleState:
    """One step of Runge and Kutta on an endless rail."""

    def slope(at: CartpoleState) -> CartpoleState:
        return CartpoleState(at.speed, at.spin, *accelerations(at, force, friction))

    def along(direction: CartpoleState, duration: float) -> CartpoleState:
        return jax.tree.map(lambda value, rate: value + duration * rate, state, direction)

    first = slope(state)
    second = slope(along(first, SUBSTEP / 2))
    third = slope(along(second, SUBSTEP / 2))
    fourth = slope(along(third, SUBSTEP))
    mean = jax.tree.map(lambda a, b, c, d: (a + 2 * b + 2 * c + d) / 6, first, second, third, fourth)
    return along(mean, SUBSTEP)


def _stopped(state: CartpoleState) -> CartpoleState:
    """At the end of the rail and beyond it the cart stands still; the pole takes up its speed."""
    hit = (jnp.abs(state.place) >= RAIL) & (state.place * state.speed > 0)
    swung = state.spin + 3 / (4 * HALF_LENGTH) * state.speed * jnp.cos(state.angle)
    return CartpoleState(
        jnp.clip(state.place, -RAIL, RAIL),
        state.angle,
        jnp.where(hit, 0, state.speed),
        jnp.where(hit, swung, state.spin),
    )


def _upright(state: CartpoleState) -> Array:
    return ((jnp.cos(state.angle) >= UPRIGHT) & (jnp.abs(state.place) <= CENTRE)).astype(jnp.float32)


def _dense(state: CartpoleState, pushed: Array) -> Array:
    def near(distance: Array) -> Array:
        """1 at 0, 0.1 at 1."""
        return jnp.float32(0.1) ** jnp.square(distance)

    up = (1 + jnp.cos(state.angle)) / 2
    return up * (1 + near(state.place / 2)) / 2 * (5 - jnp.square(pushed)) / 5 * (1 + near(state.spin / 5)) / 2


def _wrapped(angle: Array) -> Array:
    """The same angle in [−π, π]."""
    return jnp.mod(angle + _PI, 2 * _PI) - _PI
