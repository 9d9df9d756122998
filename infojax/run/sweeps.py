"""What a sweep keeps of its jobs: which run, which failed and why, whether a process has a run in hand, Optuna's study.

A sweep has a folder. Each job has a file there (`jobs/KEY.json`), whatever process of whatever machine it ran in, so
that the process that began the sweep can say at its end what became of each, also of those whose process was killed.
"""

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

try:
    import fcntl
except ImportError:  # Windows: nothing keeps two processes from the same run there
    fcntl = None

JOBS, LOCK = "jobs", ".lock"


class Job(NamedTuple):
    """What is known of one job; `refused` where its words were wrong, which no machine can mend."""

    number: int
    words: list[str]
    run_dir: str | None
    status: str  # running, done or failed
    reason: str = ""
    refused: bool = False


# --- jobs --------------------------------------------------------------------------------------------------------


def begin(sweep: Path) -> None:
    """Forget what earlier commands noted of the jobs; the runs themselves know how far they are."""
    shutil.rmtree(sweep / JOBS, ignore_errors=True)
    (sweep / JOBS).mkdir(parents=True)


def note(sweep: Path, job: Job) -> None:
    """Write what is known of a job; a reader sees the whole of it or what was there before."""
    path = _path(sweep, job.words)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.draft")
    draft.write_text(json.dumps(job._asdict(), indent=2, ensure_ascii=False), encoding="utf-8")
    os.replace(draft, path)


def noted(sweep: Path, words: Sequence[str]) -> Job | None:
    """What this command has noted of the job of these words; None where it has not begun."""
    path = _path(sweep, words)
    return Job(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def jobs_of(sweep: Path) -> list[Job]:
    """All jobs that have begun, by number."""
    found = [Job(**json.loads(path.read_text(encoding="utf-8"))) for path in (sweep / JOBS).glob("*.json")]
    return sorted(found, key=lambda job: job.number)


def _path(sweep: Path, words: Sequence[str]) -> Path:
    # By its words, not by its number, which begins anew where a search goes on.
    return sweep / JOBS / f"{hashlib.sha256(json.dumps(sorted(words)).encode()).hexdigest()[:12]}.json"


def value(summary: Mapping[str, Any], metric: str | None) -> float:
    """The number of a finished run that a search climbs: the mean over seeds of `metric`, or of its headline."""
    metrics = summary["metrics"]
    if metric is not None and metric not in metrics:
        import difflib

        from infojax.types import UserError

        near = difflib.get_close_matches(metric, metrics, n=1, cutoff=0.5)
        meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(metrics))}"
        raise UserError(f"sweep.metric={metric} is not a metric of this run; {meant}")
    mean = (metrics.get(metric or summary.get("headline")) or {}).get("mean")
    return math.nan if mean is None else float(mean)


# --- one process for one run -------------------------------------------------------------------------------------


@contextlib.contextmanager
def alone(folder: Path, *, wait: bool = True) -> Iterator[bool]:
    """Have a folder for this process alone while this is open; the system lets go when the process dies.

    Jobs outlive the command that began them under some launchers: the same command, given again, then waits for those
    that are still at work instead of training the same run twice. Yields False where `wait` is off and another has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield True
        return
    with open(folder / LOCK, "a") as file:
        free = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            free = False
        except OSError as error:  # a file system that knows no locks
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
        yield free


def in_hand(folder: Path) -> bool:
    """Whether a process has this folder for itself."""
    if not folder.is_dir():
        return False
    with alone(folder, wait=False) as free:
        return not free


# --- after a round -----------------------------------------------------------------------------------------------


def strike(sweep: Path, struck: dict[str, int]) -> list[Job]:
    """Count for each job whose process ended without a word that it did; at the second time it has failed.

    A process that the system kills may take innocent neighbours with it, so that the first time proves nothing.
    """
    lost = [job for job in jobs_of(sweep) if job.run_dir and job.status == "running" and not in_hand(Path(job.run_dir))]
    for job in lost:
        key = _path(sweep, job.words).name
        struck[key] = struck.get(key, 0) + 1
        if struck[key] > 1:
            reason = "its process ended twice without a word: killed, or out of memory"
            note(sweep, job._replace(status="failed", reason=reason))
            write_status(Path(str(job.run_dir)), reason)
    return lost


def write_status(run_dir: Path, reason: str) -> None:
    """Let the run directory of a job that failed say so, where the run itself could not."""
    path = run_dir / "status.json"
    if path.is_file() and json.loads(path.read_text(encoding="utf-8"))["status"] == "done":
        return  # the run is sound, whatever went wrong with what was asked of it
    run_dir.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"status": "failed", "reason": reason}, ensure_ascii=False), encoding="utf-8")


def account(sweep: Path) -> tuple[list[str], bool]:
    """Lines that say which jobs did not end well and why, none where all did; and whether all of those were refused."""
    jobs = jobs_of(sweep)
    failed = [job for job in jobs if job.status != "done"]
    if not failed:
        return [], False
    lines = [f"{len(jobs) - len(failed)} of {len(jobs)} jobs are done, {len(failed)} failed:"]
    for job in failed:
        reason = job.reason or "its process ended without a word"
        lines.append(f"  #{job.number} {' '.join(job.words)}: {' '.join(reason.split())}")
        if job.run_dir and Path(job.run_dir, "config.yaml").is_file():
            lines[-1] += f" ({job.run_dir})"
    lines.append("the same command runs these again, or goes on with them, and skips what is done")
    return lines, all(job.refused for job in failed)


# --- Optuna ------------------------------------------------------------------------------------------------------


def reopen_study(storage: str | None, name: str | None) -> int:
    """How many trials of a kept study ended well; those that failed or were cut off are put first in its queue.

    A study has one command at a time: what it calls running when a command begins was cut off.
    """
    import optuna

    if storage is None or name is None:
        return 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls its queue experimental
        if name not in [summary.study_name for summary in optuna.get_all_study_summaries(storage)]:
            return 0
        study = optuna.load_study(name, storage)
        trials = study.get_trials(deepcopy=False)
        states = optuna.trial.TrialState
        ended = [trial.params for trial in trials if trial.state == states.COMPLETE]
        queued = [trial.system_attrs.get("fixed_params") for trial in trials if trial.state == states.WAITING]
        for trial in trials:
            if trial.state == states.RUNNING:
                study.tell(trial.number, state=states.FAIL)
            again = trial.state in (states.RUNNING, states.FAIL) and trial.params
            if again and trial.params not in [*ended, *queued]:
                study.enqueue_trial(dict(trial.params))
                queued.append(trial.params)
    return len(ended)
