"""The command `infojax`: `train`, `estimate` and `adapt` are Hydra applications, the other words take run directories.

What a user can mend is one sentence on stderr and exit code 2. Hydra raises its errors to us (HYDRA_FULL_ERROR) and we
say them in our words; whoever sets that variable himself gets the traceback too. jax is imported when work begins.
"""

import argparse
import contextlib
import difflib
import importlib
import logging
import math
import os
import shlex
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from infojax import __version__
from infojax.run import config as configuration
from infojax.run import sweeps

OK, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130


class _Wrong(Exception):
    """A command line that cannot be followed; its text is the sentence to print."""


class _JobFailed(Exception):
    """What a sweeper is told of a job that failed."""


class Command(NamedTuple):
    """A word after `infojax`."""

    usage: str
    purpose: str
    run: Callable[[list[str]], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    show_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    try:
        with _environment(HYDRA_FULL_ERROR="1"):
            _dispatch(words)
        return OK
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else OK if stop.code is None else FAILED
    except KeyboardInterrupt:
        print("\ninfojax: interrupted; the same command goes on where it was", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of `infojax … | head` has gone
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - it replaces a stream that Python flushes at exit
        return FAILED
    except configuration.Stopped as stopped:
        error: Exception = stopped.error
    except Exception as raised:
        if _sentence(raised) is None:
            raise
        error = raised
    sentence = _sentence(error)
    if sentence is None:  # a mistake of ours or of a user's module, with its traceback
        raise error
    if show_traceback:
        traceback.print_exception(error)
    print(f"infojax: {sentence}", file=sys.stderr)
    return WRONG


def _sentence(error: Exception) -> str | None:
    """What to tell the user; None for an error that is not his."""
    return " ".join(str(error).split()) if isinstance(error, _Wrong) or _is_user_error(error) else None


def _is_user_error(error: BaseException) -> bool:
    # Where infojax.types, and with it jax, was never imported, no UserError can have been raised.
    types = sys.modules.get("infojax.types")
    return types is not None and isinstance(error, types.UserError)


def _dispatch(words: list[str]) -> None:
    if words and words[0] in ("-sc", "--shell-completion"):
        return _completion(words)
    if not words or words[0] in ("-h", "--help", "help"):
        return _overview()
    if words[0] in ("--version", "-V"):
        return print(f"infojax {__version__}")
    if words[0] in COMMANDS:
        return COMMANDS[words[0]].run(words[1:])
    if "=" in words[0]:
        group, _, name = words[0].partition("=")
        apps = [app for app in configuration.APPS.values() if group in app.groups]
        homes = [app for app in apps if name in configuration.options(group, app=app)]
        app = (*homes, *apps, configuration.TRAIN)[0]
        raise _Wrong(f"{words[0]} needs a command before it; did you mean infojax {app.name} {' '.join(words)}?")
    near = difflib.get_close_matches(words[0], COMMANDS, n=1)
    meant = f"did you mean infojax {near[0]}?" if near else f"the commands are {', '.join(COMMANDS)}"
    raise _Wrong(f"{words[0]} is not a command; {meant}")


def _overview() -> None:
    """What there is: commands and everything that a configuration can choose."""
    lines = [f"infojax {__version__}: reinforcement learning and test-time adaptation driven by information", ""]
    lines += [f"  infojax {command.usage:<34} {command.purpose}" for command in COMMANDS.values()]
    for app, group, title in TITLES:
        families: dict[str, list[str]] = {}
        for name in configuration.options(group, gymnasium=False, app=app):
            family, _, leaf = name.rpartition("/")
            families.setdefault(family, []).append(leaf)
        families.pop("gymnasium", None)
        lines += ["", f"{title} ({group}=NAME)"]
        lines += [f"  {name:<34} {_purpose(group, name)}" for name in families.pop("", [])]
        for family, names in families.items():
            told = textwrap.wrap(", ".join(names), 100, break_on_hyphens=False)
            lines += [f"  {family + '/' if index == 0 else '':<14} {line}" for index, line in enumerate(told)]
        if group == "env":
            lines += ["  gymnasium/     every id that Gymnasium knows, such as gymnasium/HalfCheetah-v5"]
    words = ", ".join(f"infojax {name} --help" for name in configuration.APPS)
    lines += ["", f"{words} list every option; infojax COMMAND --help says more."]
    print("\n".join(lines))


def _purpose(group: str, name: str) -> str:
    """The opening comment of a configuration."""
    path = configuration.configs_folder() / group / f"{name}.yaml"
    comments = [line[1:].strip() for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    return next((comment for comment in comments if not comment.startswith("@package")), "")


# --- train, estimate and adapt ------------------------------------------------------------------------------------


def _train(words: list[str]) -> None:
    configuration.configs_folder()  # says so where the package is not installed
    configuration.register_gymnasium()
    _application(configuration.TRAIN, _job, words)


def _estimate(words: list[str]) -> None:
    _tabled("estimates", configuration.ESTIMATE, _estimate_job, words)


def _adapt(words: list[str]) -> None:
    _tabled("adaptations", configuration.ADAPT, _adapt_job, words)


def _tabled(module: str, app: configuration.App, job: Callable[[DictConfig], float], words: list[str]) -> None:
    """An application whose sweeps end in a table, that the module of its tables prints."""
    configuration.Record.begun.clear()
    try:
        _application(app, job, words)
    finally:  # a sweep of which a job failed has a table of the others
        for folder in dict.fromkeys(configuration.Record.begun):
            importlib.import_module(f"infojax.run.{module}").print_sweep(folder)


def _application(app: configuration.App, job: Callable[[DictConfig], float], words: list[str]) -> None:
    """Let Hydra compose the configuration, or those of a sweep, and hand each to `job`."""
    flags, overrides, parsed = _parse(words)
    if parsed.cfg == "job" and not parsed.resolve:
        flags = [*flags, "--resolve"]
    configuration.configs_folder()
    folders = configuration.folders_of(overrides, parsed.config_dir)
    application = hydra.main(version_base="1.3", config_path=f"pkg://{configuration.CONFIGS}", config_name=app.name)
    composing = configuration.COMPOSITION_ERRORS if parsed.multirun else (*configuration.COMPOSITION_ERRORS, ValueError)
    try:
        configuration.check_plugins(overrides)
        if parsed.multirun:
            overrides = configuration.spelt_out(overrides, app, folders)
            if app is configuration.TRAIN:
                _train_together(overrides, folders, parsed.config_dir)
        with _argv([*flags, *overrides]), _told_jobs() if parsed.multirun else contextlib.nullcontext():
            _rounds(application(job))
    except composing as error:
        if _is_user_error(error):
            raise
        raise _Wrong(configuration.explain(error, overrides, folders, app)) from error


def _train_together(words: list[str], folders: Sequence[Path], config_dir: str | None) -> None:
    """Train first those jobs of a sweep that can share a compiled program, where `sweep.together` asks for it.

    The launcher then finds them finished, tells their results and runs the others.
    """
    if not any(given.startswith("sweep.together=") for given in words):
        return
    searched = next((given for given in words if given.startswith("hydra/sweeper=")), None)
    if searched is not None:
        raise _Wrong(f"sweep.together trains jobs that are known at the start, {searched} finds them later; leave one")
    own = [given for given in words if not given.startswith("hydra") or given.startswith("hydra.searchpath=")]
    configs = []
    for job in configuration.jobs_of(own, configuration.TRAIN, folders):
        with contextlib.suppress(Exception):  # what is wrong with a job it says itself, when its turn comes
            config = configuration.compose(job, config_dir=config_dir)
            configuration.check_run_directory(config)
            configs.append(config)
    asked = [config for config in configs if config["sweep"]["together"] > 1]
    if any(config["overwrite"] for config in asked):
        raise _Wrong("sweep.together with overwrite=true would train every run twice; delete the runs, or leave one")
    if asked:
        from infojax.run import together

        together.train_together(asked, lambda text: print(f"infojax: {text}", flush=True))


def _rounds(application: Callable[[], None]) -> None:
    """Run Hydra's application; in a sweep again for what is left where the launcher broke down, and a word at the end.

    A job that raises is noted and the others go on. A process that dies can take a launcher down (joblib gives up all
    its jobs, submitit and Ray the results of those behind): then the rest is launched again, and what is done skipped.
    """
    begun, struck, ended = configuration.Record.begun, {}, 0
    begun.clear()
    with configuration.Record.held:
        while True:
            error = None
            try:
                application()
            except configuration.COMPOSITION_ERRORS:
                raise
            except Exception as raised:
                error = raised
            if error is None or isinstance(error, _JobFailed) or "No trials are completed" in str(error):
                break
            if not begun or _is_user_error(error):
                raise error
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            lost, before = sweeps.strike(begun[-1], struck), ended
            jobs = sweeps.jobs_of(begun[-1])
            ended = sum(job.status != "running" for job in jobs)
            if not jobs:
                raise _Wrong(f"the jobs could not be launched: {reason}") from error
            if not lost and ended <= before:  # another round would end like this one
                raise error
            print(f"infojax: the launcher broke down ({reason}); another round for what is left", file=sys.stderr)
    if begun:
        lines, refused = sweeps.account(begun[-1])
        if lines:
            print("\n".join(f"infojax: {line}" for line in lines), file=sys.stderr, flush=True)
            raise SystemExit(WRONG if refused else FAILED)


def _job(config: DictConfig) -> float:
    """One job of `infojax train`. Returns the headline metric for sweepers."""
    return _done(config, configuration.TRAIN, _trained)


def _estimate_job(config: DictConfig) -> float:
    """One job of `infojax estimate`. Returns the mean of the value for sweepers."""
    return _done(config, configuration.ESTIMATE, _estimated)


def _adapt_job(config: DictConfig) -> float:
    """One job of `infojax adapt`. Returns the mean error of the last method for sweepers."""
    return _done(config, configuration.ADAPT, _adapted)


def _done(config: DictConfig, app: configuration.App, run: Callable[[dict[str, Any]], dict[str, Any]]) -> float:
    """One job of Hydra's: a plain configuration, checked, run."""
    settings = HydraConfig.get()
    if settings.mode == RunMode.MULTIRUN:
        return _done_in_sweep(config, app, run)
    try:
        plain = configuration.plain(config, settings.runtime.choices, app)
        configuration.check_run_directory(plain)
        summary = run(plain)
    except Exception as error:
        raise configuration.Stopped(error) from error
    return sweeps.value(summary, None)


def _done_in_sweep(
    config: DictConfig, app: configuration.App, run: Callable[[dict[str, Any]], dict[str, Any]]
) -> float:
    """One job of a sweep, in whatever process; what became of it stands in the sweep's folder, and nothing is raised.

    But a search is told by an error that a job failed: Optuna takes no NaN.
    """
    settings = HydraConfig.get()
    if Path(settings.runtime.cwd).is_dir():
        os.chdir(settings.runtime.cwd)  # a worker of a cluster begins elsewhere
    sweep, words = Path(settings.sweep.dir), [str(given) for given in settings.overrides.task]
    job = sweeps.noted(sweep, words)
    if job is None or job.status != "failed":  # else an earlier round of this command has seen it fail
        job = sweeps.Job(settings.job.num, words, None, "running")
        try:
            plain = configuration.plain(config, settings.runtime.choices, app)
            configuration.check_run_directory(plain)
            run_dir = configuration.run_directory(plain)
            job = job._replace(run_dir=str(run_dir))
            configuration.record_run(sweep, run_dir)
            with sweeps.alone(run_dir):
                sweeps.note(sweep, job)
                found = sweeps.value(run(plain), plain["sweep"]["metric"])
                sweeps.note(sweep, job._replace(status="done"))
            return found
        except Exception as error:
            sentence = _sentence(error)
            if sentence is None:  # a mistake of ours or of a user's module
                traceback.print_exc()
            reason = sentence or f"{type(error).__name__}: {error}"
            print(f"infojax: job {job.number}: {reason}", file=sys.stderr, flush=True)
            job = job._replace(status="failed", reason=reason, refused=sentence is not None)
            sweeps.note(sweep, job)
            if job.run_dir is not None:
                sweeps.write_status(Path(job.run_dir), reason)
    if settings.sweeper.get("_target_", "").endswith("BasicSweeper"):
        return math.nan
    raise _JobFailed(job.reason)


def _trained(config: dict[str, Any]) -> dict[str, Any]:
    from infojax.run import training

    return training.train_from_config(config)


def _estimated(config: dict[str, Any]) -> dict[str, Any]:
    from infojax.run import estimation

    return estimation.estimate_from_config(config)


def _adapted(config: dict[str, Any]) -> dict[str, Any]:
    from infojax.run import adaptation

    return adaptation.adapt_from_config(config)


def _parse(words: list[str]) -> tuple[list[str], list[str], argparse.Namespace]:
    """Hydra's flags, the overrides in whatever order they came, and the flags' values."""
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ").split()[0]
        if not message.startswith("unrecognized") or not unknown.startswith("-"):
            raise _Wrong(message)
        name, _, value = unknown.lstrip("-").partition("=")
        flags = [flag for action in parser._actions for flag in action.option_strings]
        near = difflib.get_close_matches(unknown, flags, n=1, cutoff=0.75)
        if near:
            raise _Wrong(f"{unknown} is not an option; did you mean {near[0]}?")
        raise _Wrong(f"{unknown} is not an option; settings are written without dashes: {name}={value or 'VALUE'}")

    parser.error = refuse  # pyright: ignore[reportAttributeAccessIssue]
    # Hydra itself takes flags before or after the overrides, not among them.
    parsed = parser.parse_intermixed_args(words)
    overrides, flags = list(parsed.overrides), list(words)
    for override in overrides:
        flags.remove(override)
    return flags, overrides, parsed


def _completion(words: list[str]) -> None:
    """Hydra's shell completion, which calls `infojax -sc query=SHELL` with the line typed so far."""
    line = os.environ.get("COMP_LINE", "")
    typed = line.split()[1:]
    if not words[1:] or not words[1].startswith("query="):
        return _train(words)
    if not typed or (len(typed) == 1 and not line.endswith(" ")):
        return print(" ".join([*COMMANDS, "--help", "--version"]))
    if typed[0] not in configuration.APPS:
        return None
    app = configuration.APPS[typed[0]]
    group, equals, _ = ("" if line.endswith(" ") else typed[-1]).partition("=")
    if equals and group in app.groups:  # with the names in sub-folders, which Hydra leaves out
        return print(" ".join(f"{group}={name}" for name in configuration.options(group, app=app)))
    rest = line.split(app.name, 1)[1].lstrip()
    with _environment(COMP_LINE=f"infojax {rest}"):
        return COMMANDS[app.name].run(words)


# --- commands that take run directories --------------------------------------------------------------------------


def _run_dirs(name: str, words: list[str], most: int | None) -> list[Path]:
    """The run directories of a command; `--help` prints its usage and ends."""
    command = COMMANDS[name]
    if any(word in ("-h", "--help") for word in words):
        print(f"usage: infojax {command.usage}\n\n{command.purpose}")
        raise SystemExit(OK)
    strange = next((word for word in words if word.startswith("-")), None)
    if strange:
        raise _Wrong(f"{strange} is not an option of infojax {name}; usage: infojax {command.usage}")
    if not words:
        raise _Wrong(f"infojax {name} needs a run directory, such as runs/NAME; usage: infojax {command.usage}")
    if most is not None and len(words) > most:
        raise _Wrong(f"infojax {name} takes one run directory, got {len(words)}; usage: infojax {command.usage}")
    for word in words:
        if not Path(word).is_dir():
            beside = [str(path) for path in Path(word).absolute().parent.glob("*/")] if Path(word).name else []
            near = difflib.get_close_matches(Path(word).name, [Path(path).name for path in beside], n=1)
            hint = f"did you mean {Path(word).parent / near[0]}?" if near else "give the folder that a run wrote"
            raise _Wrong(f"{word} is not a folder; {hint}")
    return [Path(word) for word in words]


def _resume(words: list[str]) -> None:
    (run_dir,) = _run_dirs("resume", words, most=1)
    from infojax.run import training

    training.resume(run_dir)


def _evaluate(words: list[str]) -> None:
    (run_dir,) = _run_dirs("evaluate", words, most=1)
    from infojax.run import training

    training.evaluate(run_dir)


def _report(words: list[str]) -> None:
    run_dirs = _run_dirs("report", words, most=None)
    from infojax.run.report import report

    print(f"report: {report(run_dirs)}")


# --- tasks for rented machines -----------------------------------------------------------------------------------


def _sky(words: list[str]) -> None:
    """One SkyPilot task for each job of a sweep."""
    command = COMMANDS["sky"]
    parser = argparse.ArgumentParser(
        prog="infojax sky",
        usage=f"infojax {command.usage}",
        description=f"{command.purpose}; TASK.yaml has one line `infojax train … run_dir=/FOLDER/NAME`, whose words "
        "each job replaces by its own.",
        allow_abbrev=False,
    )
    parser.add_argument("task", metavar="TASK.yaml", nargs="?", help="such as those in experiments/cloud/skypilot")
    parser.add_argument(
        "overrides", metavar="KEY=VALUE", nargs="*", help="as of infojax train -m, commas and range too"
    )
    parser.add_argument("--output", metavar="FOLDER", default="tasks", help="where the tasks go; default tasks")
    parser.add_argument("--config-dir", metavar="FOLDER", help="a folder with configurations of your own")
    parser.add_argument("-m", "--multirun", action="store_true", help="allowed, and always meant")

    def refuse(message: str) -> NoReturn:
        raise _Wrong(f"{message}; usage: infojax {command.usage}")

    parser.error = refuse  # pyright: ignore[reportAttributeAccessIssue]
    parsed = parser.parse_intermixed_args(words)
    if parsed.task is None or "=" in parsed.task:
        raise _Wrong(
            "infojax sky needs a task file first, such as experiments/cloud/skypilot/spot.yaml; "
            f"usage: infojax {command.usage}"
        )
    from infojax.run import cloud

    paths = cloud.render(parsed.task, parsed.overrides, parsed.output, parsed.config_dir)
    print("\n".join(str(path) for path in paths))
    print(f"{len(paths)} task{'s' if len(paths) > 1 else ''}; launch them from the root of the repository:")
    print(
        f'  for task in {shlex.quote(parsed.output)}/*.yaml; do sky jobs launch -y -d --env BUCKET=NAME "$task"; done'
    )


# --- compiling for a slice that is not there ---------------------------------------------------------------------


def _lower(words: list[str]) -> None:
    """What a run of `train`, `adapt` or `estimate` would take on a TPU slice."""
    command = COMMANDS["lower"]
    given = words[0] if words else ""
    app = configuration.APPS.get(given, configuration.TRAIN)
    flags, overrides, parsed = _parse(words[1:] if given == app.name else words)
    if parsed.help:
        return print(
            f"usage: infojax {command.usage}\n\n{command.purpose}: memory per chip, FLOPs, collectives and\n"
            "the largest buffers. It takes the words of train, or of adapt or estimate behind their name, and needs\n"
            "libtpu (pip install 'infojax[tpu]') but no TPU.\n\n"
            "  infojax lower agent=diayn env=brax/ant num_seeds=16 topology=v5e:4x4\n"
            "  infojax lower adapt method=tent topology=v6e:2x2\n"
            "  infojax lower estimate estimator=ksg num_seeds=4 seeds=vmap topology=v5p:2x2x1"
        )
    strange = next((flag for flag in flags if flag.startswith("-") and not flag.startswith("--config-dir")), None)
    if strange:
        raise _Wrong(f"{strange} is not an option of infojax lower; usage: infojax {command.usage}")
    slices = [word.partition("=")[2] for word in overrides if word.startswith("topology=")]
    if len(slices) != 1 or "," in slices[0]:
        told = f"one slice, got {', '.join(slices)}" if slices else "a slice of chips"
        raise _Wrong(f"infojax lower needs {told}; give it as topology=v5e:4x4; usage: infojax {command.usage}")
    chosen = [word for word in overrides if not word.startswith("topology=")]
    with _environment(JAX_PLATFORMS="cpu"):  # the compiler for a TPU needs none, and must not look for one
        config = configuration.compose(chosen, config_name=app.name, config_dir=parsed.config_dir)
        configuration.check_run_directory(config)
        from infojax.run import lowering

        lowering.lower_from_config(config, slices[0])


COMMANDS = {
    "train": Command("train [KEY=VALUE …]", "train an agent, or go on where the same command was stopped", _train),
    "estimate": Command("estimate [KEY=VALUE …]", "estimate mutual information from samples, and judge it", _estimate),
    "adapt": Command("adapt [KEY=VALUE …]", "adapt a classifier at test time, one method or several compared", _adapt),
    "resume": Command("resume RUN_DIR", "go on with a stopped run, or show the result of a finished one", _resume),
    "evaluate": Command("evaluate RUN_DIR", "evaluate the newest checkpoint of a run", _evaluate),
    "report": Command("report RUN_DIR …", "tables with intervals, curves and pictures of runs, or of a sweep", _report),
    "lower": Command("lower topology=… [KEY=VALUE …]", "what a run takes on a TPU slice, compiled without one", _lower),
    "sky": Command("sky TASK.yaml [KEY=VALUE …]", "write one SkyPilot task for each job of a sweep", _sky),
}
TITLES = (
    (configuration.TRAIN, "agent", "agents"),
    (configuration.TRAIN, "objective", "objectives"),
    (configuration.TRAIN, "experiment", "experiments"),
    (configuration.TRAIN, "env", "environments"),
    (configuration.ESTIMATE, "estimator", "estimators of mutual information"),
    (configuration.ESTIMATE, "data", "samples to estimate from"),
    (configuration.ADAPT, "method", "methods of test-time adaptation"),
    (configuration.ADAPT, "comparison", "methods beside one another"),
    (configuration.ADAPT, "model", "models to adapt"),
    (configuration.ADAPT, "data", "images to adapt to"),
    (configuration.ADAPT, "stream", "streams of them"),
)


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Environment variables for the time of one call."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _told_jobs() -> Iterator[None]:
    """Hydra's launchers and sweepers say on stdout what they do; the logging of the process stays as it is."""
    loggers = [logging.getLogger(name) for name in ("hydra", "hydra_plugins")]
    handler = logging.StreamHandler(sys.stdout)
    before = [(logger.level, logger.propagate) for logger in loggers]
    handler.setFormatter(logging.Formatter("%(message)s"))
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate


@contextlib.contextmanager
def _argv(words: Sequence[str]) -> Iterator[None]:
    """Hydra reads its words from sys.argv."""
    before = sys.argv
    sys.argv = [before[0] if before else "infojax", *words]
    try:
        yield
    finally:
        sys.argv = before


if __name__ == "__main__":
    sys.exit(main())
