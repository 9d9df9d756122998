r"""The bandit study of MaxInfoRL (Sukhija et al., 2024): does exploring for information give sublinear regret?

    python experiments/bandits/run.py

Bandits with 10 arms: means drawn from N(0, 1), rewards with noise N(0, 1), and the exact posterior of every mean under
that prior. The information that a pull of arm a gives about its mean is I(a) = ½ log(1 + s²(a) / σ²), with s² the
posterior variance. All players see the same bandits:

    epsilon-MaxInfoRL     with probability ε(t) the arm of the highest information gain, else the arm of the best mean
    Boltzmann MaxInfoRL   π(a) ∝ exp[(m(a) + β(t) I(a)) / α(t)]: value, information gain and entropy in one objective
    UCB                   argmax m(a) + sqrt(2 log t) s(a)
    Thompson sampling     argmax of a draw from the posterior
    epsilon-greedy        with probability ε(t) any arm, else the best mean; and the same with a constant ε
    Boltzmann             Boltzmann MaxInfoRL without information gain

with ε(t) = min(1, (10 / t)^(1/3)), β(t) = sqrt(t) and α(t) = 1 / sqrt(t). An arm that looks bad by bad luck is tried
again only if exploration does not run dry: β grows, since the information of n pulls falls as 1 / n, so that every arm
is pulled about sqrt(t) times and regret grows no faster than sqrt(t); ε(t) makes t^(2/3) explorations.

The slope is that of log regret over log t from a tenth of the steps to the end, by least squares; below 1 is sublinear.
Intervals are bootstraps over groups of bandits.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import pyplot as plt

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import studies  # noqa: E402  the folder above is on the path now

from infojax.info import categorical, ensemble  # noqa: E402
from infojax.run.drawing import COLOURS, save, tidy  # noqa: E402

NOISE_VARIANCE = 1.0
PRIOR_VARIANCE = 1.0


class Beliefs(NamedTuple):
    """The exact posterior of independent arms, from how often each was pulled and what it gave."""

    pulls: jax.Array  # [A]
    rewards: jax.Array  # [A] sums

    @property
    def variance(self) -> jax.Array:
        """[A] of each arm's mean."""
        return 1 / (1 / PRIOR_VARIANCE + self.pulls / NOISE_VARIANCE)

    @property
    def mean(self) -> jax.Array:
        """[A] of each arm's mean."""
        return self.variance * self.rewards / NOISE_VARIANCE


Player = Callable[[Beliefs, jax.Array, jax.Array], jax.Array]  # (beliefs, t from 1, key) -> arm


def information_gain(beliefs: Beliefs) -> jax.Array:
    """[A] what one pull of each arm tells about its mean, in nats: ½ log(1 + s² / σ²)."""
    deviation = jnp.sqrt(beliefs.variance)
    # Two members one posterior deviation to either side of the mean: their variance is the epistemic one.
    members = jnp.stack([deviation, -deviation])[..., None]
    noise = jnp.full_like(members, np.sqrt(NOISE_VARIANCE))
    return ensemble.gaussian_information_gain(members, noise, form="upper_bound")


def rate(time: jax.Array) -> jax.Array:
    """ε(t) = min(1, (10 / t)^(1/3))."""
    return jnp.minimum(1.0, (10 / time) ** (1 / 3))


def explores(explore: Callable[[Beliefs, jax.Array], jax.Array], epsilon: Callable[[jax.Array], jax.Array]) -> Player:
    """With probability `epsilon` as `explore` says, else the arm of the best mean."""

    def player(beliefs: Beliefs, time: jax.Array, key: jax.Array) -> jax.Array:
        coin_key, arm_key = jax.random.split(key)
        coin = jax.random.uniform(coin_key) < epsilon(time)
        return jnp.where(coin, explore(beliefs, arm_key), jnp.argmax(beliefs.mean))

    return player


def boltzmann(beta: Callable[[jax.Array], jax.Array]) -> Player:
    """Draws from exp[(m + β I) / α], α = 1 / sqrt(t)."""

    def player(beliefs: Beliefs, time: jax.Array, key: jax.Array) -> jax.Array:
        return jax.random.categorical(key, (beliefs.mean + beta(time) * information_gain(beliefs)) * jnp.sqrt(time))

    return player


def any_arm(beliefs: Beliefs, key: jax.Array) -> jax.Array:
    """Undirected."""
    return jax.random.randint(key, (), 0, beliefs.pulls.shape[0])


def most_informative(beliefs: Beliefs, key: jax.Array) -> jax.Array:
    """The arm of the highest information gain, one of them at random where several have it."""
    gain = information_gain(beliefs)
    return jnp.argmax(jnp.where(gain >= gain.max(), jax.random.uniform(key, gain.shape), -1))


def upper_bound(beliefs: Beliefs, time: jax.Array, key: jax.Array) -> jax.Array:
    """Bayesian UCB with 2 log t."""
    return jnp.argmax(beliefs.mean + jnp.sqrt(2 * jnp.log(time) * beliefs.variance))


def thompson(beliefs: Beliefs, time: jax.Array, key: jax.Array) -> jax.Array:
    """A draw from the posterior."""
    noise = jax.random.normal(key, beliefs.pulls.shape)
    return jnp.argmax(beliefs.mean + jnp.sqrt(beliefs.variance) * noise)


PLAYERS: dict[str, Player] = {
    "epsilon-MaxInfoRL": explores(most_informative, rate),
    "Boltzmann MaxInfoRL": boltzmann(jnp.sqrt),
    "UCB": upper_bound,
    "Thompson sampling": thompson,
    "epsilon-greedy": explores(any_arm, rate),
    "epsilon-greedy, constant 0.1": explores(any_arm, lambda time: jnp.full_like(time, 0.1)),
    "Boltzmann": boltzmann(jnp.zeros_like),
}


def play(player: Player, key: jax.Array, arms: int, steps: int, stride: int) -> tuple[jax.Array, jax.Array]:
    """Regret so far after every `stride` steps [steps / stride], and the entropy of the pulls, on one bandit."""
    means_key, loop_key = jax.random.split(key)
    means = jnp.sqrt(PRIOR_VARIANCE) * jax.random.normal(means_key, (arms,))

    def step(carry: tuple[Beliefs, jax.Array], time: jax.Array) -> tuple[tuple[Beliefs, jax.Array], None]:
        beliefs, regret = carry
        player_key, noise_key = jax.random.split(jax.random.fold_in(loop_key, time))
        arm = player(beliefs, time.astype(jnp.float32), player_key)
        reward = means[arm] + jnp.sqrt(NOISE_VARIANCE) * jax.random.normal(noise_key)
        beliefs = Beliefs(beliefs.pulls.at[arm].add(1), beliefs.rewards.at[arm].add(reward))
        return (beliefs, regret + jnp.max(means) - means[arm]), None

    def several(carry: tuple[Beliefs, jax.Array], times: jax.Array) -> tuple[tuple[Beliefs, jax.Array], jax.Array]:
        carry, _ = jax.lax.scan(step, carry, times)
        return carry, carry[1]

    start = (Beliefs(jnp.zeros((arms,)), jnp.zeros((arms,))), jnp.zeros(()))
    (beliefs, _), regret = jax.lax.scan(several, start, jnp.arange(1, steps + 1).reshape(-1, stride))
    return regret, categorical.entropy(jnp.log(beliefs.pulls))


@partial(jax.jit, static_argnames=("name", "bandits", "arms", "steps", "stride"))
def played(name: str, bandits: int, arms: int, steps: int, stride: int, seed: int = 0) -> tuple[jax.Array, jax.Array]:
    """`play` on many bandits, which depend on the seed alone: every player meets the same."""
    keys = jax.random.split(jax.random.key(seed), bandits)
    return jax.vmap(lambda key: play(PLAYERS[name], key, arms, steps, stride))(keys)


def slope(times: np.ndarray, regret: np.ndarray) -> float:
    """Of log mean regret over log t from a tenth of the steps on, regret [bandits, T]."""
    late = times >= times[-1] / 10
    return float(np.polyfit(np.log(times[late]), np.log(regret.mean(0)[late]), 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bandits", type=int, default=2000)
    parser.add_argument("--arms", type=int, default=10)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--output", type=Path, default=HERE, help="folder of the table and the picture")
    arguments = parser.parse_args()
    stride, groups, began = max(arguments.steps // 200, 1), 20, time.perf_counter()
    times = np.arange(stride, arguments.steps + 1, stride)
    figure, axes = plt.subplots(figsize=(5.4, 4), layout="constrained")
    rows, record = [], {"bandits": arguments.bandits, "arms": arguments.arms, "steps": arguments.steps, "players": {}}
    for index, name in enumerate(PLAYERS):
        found, entropy = played(name, arguments.bandits, arguments.arms, arguments.steps, stride)
        regret = np.asarray(found, np.float64)
        parts = np.array_split(regret, groups)
        slopes = studies.interval([slope(times, part) for part in parts])
        slopes["mean"] = slope(times, regret)
        last = studies.interval([part[:, -1].mean() for part in parts])
        record["players"][name] = {"slope": slopes, "regret": last, "entropy_of_pulls": float(jnp.mean(entropy))}
        rows.append([name, studies.shown(last, 4), studies.shown(slopes), f"{float(jnp.mean(entropy)):.2f}"])
        axes.loglog(times, regret.mean(0), color=COLOURS[index % len(COLOURS)], label=name, linewidth=1.6)
        print(f"{time.perf_counter() - began:5.1f} s  {' | '.join(rows[-1])}", flush=True)
    axes.set_xlabel("pulls")
    axes.set_ylabel("regret, mean over bandits")
    axes.legend(frameon=False, fontsize=8)
    tidy(axes, 9)
    save(figure, arguments.output / "regret.png")
    record["seconds"] = time.perf_counter() - began
    heads = ["player", f"regret after {arguments.steps:,} pulls", "slope", "entropy of the pulls, nats"]
    studies.write(arguments.output, "table", heads, rows, record)
    print(json.dumps({name: found["slope"]["mean"] for name, found in record["players"].items()}))


if __name__ == "__main__":
    main()
