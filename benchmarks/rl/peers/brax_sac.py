"""brax SAC on inverted_pendulum/spring: 16 environments, one update per environment step.

`train` owns its loop and evaluates after every chunk. The evaluator is replaced by one that does nothing, and the
repeats are cut at the calls of `progress_fn`, which is also where this process waits for its turn.
"""

import functools
import sys
from pathlib import Path

from brax import envs
from brax.training import acting
from brax.training.agents.sac import networks
from brax.training.agents.sac import train as sac

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import protocol


class NoEvaluation:
    """In the place of `acting.Evaluator`."""

    def __init__(self, *arguments: object, **keywords: object) -> None:
        pass

    def run_evaluation(self, params: object, training_metrics: dict) -> dict:
        return training_metrics


acting.Evaluator = NoEvaluation
chosen = protocol.settings()
recorder = protocol.Recorder(chosen, ("brax", "jax", "jaxlib", "flax", "optax", "numpy"))
WARM_UP = 2  # the second chunk compiles again, because its inputs are placed differently from the first one's
begin = recorder.start
calls = 0


def progress(step: int, metrics: dict) -> None:
    global begin, calls
    calls += 1
    if calls == 1:  # before training
        return
    if calls == 2:
        recorder.first_call(chosen.steps)
    elif calls <= 2 + WARM_UP:
        recorder.warm(begin)
    else:
        recorder.repeat(begin, chosen.steps, chosen.steps)
    if 2 + WARM_UP <= calls < 2 + WARM_UP + chosen.repeats:
        protocol.wait_for_turn(chosen)
    begin = protocol.now()


chunks = 1 + WARM_UP + chosen.repeats
sac.train(
    environment=envs.get_environment("inverted_pendulum", backend="spring"),
    num_timesteps=protocol.FILL + chosen.steps * chunks,
    episode_length=protocol.EPISODE_LENGTH,
    num_envs=protocol.SAC_ENVS,
    num_evals=chunks + 1,
    learning_rate=protocol.LEARNING_RATE,
    discounting=protocol.SAC_DISCOUNT,
    tau=protocol.TARGET_RATE,
    batch_size=chosen.batch,
    min_replay_size=protocol.FILL,
    max_replay_size=protocol.REPLAY_CAPACITY,
    grad_updates_per_step=protocol.SAC_ENVS,
    network_factory=functools.partial(networks.make_sac_networks, hidden_layer_sizes=(chosen.hidden, chosen.hidden)),
    progress_fn=progress,
)
recorder.finish()
