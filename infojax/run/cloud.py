"""Tasks for rented machines: one SkyPilot YAML for each job of a sweep, made of a task file that a user edits.

A task file runs one line `infojax train … run_dir=/FOLDER/NAME` (or estimate, or adapt). Each job gets a copy of the
file in which that line has the job's own words, and a run directory of its own beside the one that stood there: a
machine that is lost and rented again goes on from the checkpoint that the same line finds. SkyPilot is not imported.
"""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import yaml

from infojax.run import config as configuration

LINE = re.compile(rf"^(?P<before>\s*(?:exec\s+)?)infojax\s+(?P<app>{'|'.join(configuration.APPS)})\b(?P<words>.*)$")


class TaskFile(NamedTuple):
    """A task as a user wrote it."""

    path: Path
    text: str
    document: dict[str, Any]
    line: int  # of the command, from 0
    app: configuration.App
    runs: str  # the folder, on the rented machine, in which runs are kept


class Job(NamedTuple):
    """One job of a sweep."""

    name: str  # of the run, and of the task
    words: list[str]


def render(
    task: str | Path, words: Sequence[str], output: str | Path, config_dir: str | Path | None = None
) -> list[Path]:
    """Write one task for each job that the words of a sweep name; all are checked before the first is written.

    Args:
        task: a SkyPilot task whose `run` has one line `infojax train … run_dir=/FOLDER/NAME`.
        words: overrides as of `infojax train -m`, such as `agent=sac,diayn` and `seed=range(4)`.
        output: the folder to write to.
        config_dir: a folder with further configurations, inside the folder that is sent to the machine.

    Returns:
        The files, `output/NAME.yaml`; NAME is what the run would be called here.

    Raises:
        UserError: words that cannot be composed, words that a task sets itself, a task file without such a line, a
            folder with tasks of another sweep.
    """
    given = read_task(Path(task))
    _refuse(words, config_dir)
    jobs = jobs_of(words, given.app, config_dir)
    output = Path(output)
    written = {output / f"{job.name}.yaml": _text(given, job, config_dir) for job in jobs}
    others = sorted(path.name for path in output.glob("*.yaml") if path not in written)
    if others:
        raise _user_error(
            f"{output} holds the tasks of another sweep, such as {others[0]}; remove them, or give another --output"
        )
    try:
        output.mkdir(parents=True, exist_ok=True)
        for path, text in written.items():
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _user_error(f"{output} cannot be written ({error.strerror}); give another --output") from error
    return list(written)


def read_task(path: Path) -> TaskFile:
    """Read a SkyPilot task and find its command.

    Raises:
        UserError: no such file, no YAML of a task, no line of ours in its `run` or several, no `run_dir` in it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _user_error(f"{path} cannot be read; give a SkyPilot task, such as those in experiments/cloud") from error
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise _user_error(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict) or not isinstance(document.get("run"), str):
        raise _user_error(f"{path} is not a SkyPilot task: it has no `run`; take one of those in experiments/cloud")
    found = [(index, match) for index, line in enumerate(text.splitlines()) if (match := LINE.match(line))]
    if len(found) != 1:
        count = "no line" if not found else f"{len(found)} lines"
        raise _user_error(
            f"{path} has {count} `infojax train … run_dir=/FOLDER/NAME`; write exactly one, below `run: |`"
        )
    index, match = found[0]
    try:
        given = [word.partition("=") for word in shlex.split(match["words"])]
    except ValueError as error:
        raise _user_error(f"{path}, line {index + 1} cannot be read ({error}); close its quotes") from error
    folder = next((value for key, _, value in given if key == "run_dir"), "")
    if not folder.startswith("/") or len(PurePosixPath(folder).parts) < 3:
        raise _user_error(
            f"{path}, line {index + 1} has no run_dir=/FOLDER/NAME; give one in the bucket, such as run_dir=/runs/first"
        )
    return TaskFile(path, text, document, index, configuration.APPS[match["app"]], str(PurePosixPath(folder).parent))


def jobs_of(words: Sequence[str], app: configuration.App, config_dir: str | Path | None = None) -> list[Job]:
    """The jobs that the words of a sweep name, each composed and checked, without doubles.

    Raises:
        UserError: words that cannot be composed, or values that their part does not take.
    """
    jobs: dict[str, Job] = {}
    folders = [] if config_dir is None else [Path(config_dir)]
    for job in configuration.jobs_of(words, app, folders):
        config = configuration.compose(job, config_name=app.name, config_dir=config_dir)
        configuration.check_parts(config)
        # SkyPilot's names are of these characters and begin with a letter.
        name = re.sub(r"[^A-Za-z0-9._-]", "_", configuration.run_name(config))
        name = name if name[0].isalpha() else f"run-{name}"
        jobs.setdefault(name, Job(name, job))
    return list(jobs.values())


def _refuse(words: Sequence[str], config_dir: str | Path | None) -> None:
    for word in words:
        key, _, value = word.lstrip("+~").partition("=")
        if key == "run_dir":
            raise _user_error(f"{word} is not for a sweep of tasks: each has a run_dir of its own, beside the task's")
        if key == "overwrite" and value.lower() != "false":
            raise _user_error(f"{word} would begin anew after every pre-emption; leave it out")
        if key == "hydra/sweeper" and value != "basic":
            raise _user_error(f"{word} needs results before it can choose the next job; tasks are written before any")
    if config_dir is not None and (Path(config_dir).is_absolute() or ".." in Path(config_dir).parts):
        raise _user_error(f"--config-dir={config_dir} is not sent to the machine; give a folder inside the current one")


def _text(task: TaskFile, job: Job, config_dir: str | Path | None) -> str:
    """The task of one job; what else the file says stays, comments too."""
    further = [] if config_dir is None else ["--config-dir", str(config_dir)]
    command = shlex.join(["infojax", task.app.name, *further, *job.words, f"run_dir={task.runs}/{job.name}"])
    lines = task.text.splitlines()
    lines[task.line] = LINE.sub(lambda found: found["before"] + command, lines[task.line])
    lines = [line for line in lines if not line.startswith("name:")]
    heading = f"# {job.name}: rendered by `infojax sky` from {task.path.name}"
    text = "\n".join([heading, f"name: {job.name}", *lines]) + "\n"
    run = [LINE.sub(lambda found: found["before"] + command, line) for line in task.document["run"].splitlines()]
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        found = {}
    expected = {**task.document, "name": job.name, "run": run}
    if {
        **found,
        "run": str(found.get("run")).splitlines(),
    } != expected:  # a `run` that is folded or quoted, a word with a line break
        raise _user_error(f"{task.path} cannot be filled in; write its commands one to a line, below `run: |`")
    return text


def _user_error(message: str) -> Exception:
    # jax, which types.py loads, is not worth a second of start-up before something is wrong.
    from infojax.types import UserError

    return UserError(message)
