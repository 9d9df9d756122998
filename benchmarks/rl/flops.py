"""The matrix-product FLOPs that one gradient step cannot do without.

A dense layer of n rows, i inputs and o outputs costs 2·n·i·o forward, the same for the gradient of its kernel and the
same for the gradient of its input. Only matrix products count: no activations, biases, optimiser or sampling. Every
system is charged this same number, so work that a system does beyond it lowers its share and does not raise it.
"""

from collections.abc import Sequence
from itertools import pairwise


def forward(rows: int, sizes: Sequence[int]) -> int:
    """One pass through an MLP with these layer sizes."""
    return sum(2 * rows * inputs * outputs for inputs, outputs in pairwise(sizes))


def kernel_gradients(rows: int, sizes: Sequence[int]) -> int:
    """Gradients of all kernels, with the gradients of hidden activations that they need: the input's is not needed."""
    return forward(rows, sizes) + forward(rows, sizes[1:])


def input_gradient(rows: int, sizes: Sequence[int], wanted: int) -> int:
    """The gradient of `wanted` of the inputs alone: back through every layer, and no kernel's gradient."""
    return forward(rows, [wanted, *sizes[1:]])


def sac_update(rows: int, hidden: int, observation: int, action: int) -> int:
    """One SAC update with twin critics.

    Target: actor and both target critics on the next observation. Critics: both, forward and kernel gradients. Actor:
    forward and kernel gradients, through both critics forward and back to the action.
    """
    actor = [observation, hidden, hidden, 2 * action]
    critic = [observation + action, hidden, hidden, 1]
    target = forward(rows, actor) + 2 * forward(rows, critic)
    critics = 2 * (forward(rows, critic) + kernel_gradients(rows, critic))
    through = 2 * (forward(rows, critic) + input_gradient(rows, critic, action))
    return target + critics + through + forward(rows, actor) + kernel_gradients(rows, actor)


def diayn_update(rows: int, hidden: int, observation: int, action: int, skills: int) -> int:
    """The SAC update on observation and skill; the discriminator forward for the reward, and trained."""
    discriminator = [observation, hidden, hidden, skills]
    reward = forward(rows, discriminator)
    training = forward(rows, discriminator) + kernel_gradients(rows, discriminator)
    return sac_update(rows, hidden, observation + skills, action) + reward + training


def ppo_step(hidden: int, observation: int, actions: int, epochs: int) -> int:
    """PPO's share of one environment step: the actor acts, the critic values it, and every epoch trains both."""
    actor, critic = [observation, hidden, hidden, actions], [observation, hidden, hidden, 1]
    return sum(
        forward(1, sizes) + epochs * (forward(1, sizes) + kernel_gradients(1, sizes)) for sizes in (actor, critic)
    )
