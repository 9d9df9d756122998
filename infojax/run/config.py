"""Configurations: composing them by Hydra, checking them against signatures, building what they name.

With `cli.py` the only place that knows Hydra. A thing that can be chosen is a YAML with a `_target_`, the dotted path
of a `make`, and that function's keyword-only arguments; their annotations are the schema. What is wrong with a
configuration is said in one sentence (`UserError`) before anything is made. jax is not imported before something is
checked or built, so that the command line answers `--help` at once.
"""

import ast
import contextlib
import difflib
import hashlib
import importlib
import inspect
import json
import math
import os
import re
import textwrap
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Union

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra import version as hydra_version
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException
from packaging.version import Version

if TYPE_CHECKING:
    from infojax.types import (
        Agent,
        Architecture,
        Environment,
        Estimator,
        HostFactory,
        ImageData,
        Method,
        Model,
        Objective,
        Pairs,
        StreamPlan,
        UserError,
    )

CONFIGS = "infojax.configs"
# What changes nothing in a run's numbers: it neither names a run nor sets it apart from another. Of the mesh, `data`
# does, see `_counting`.
NEUTRAL = ("run_dir", "overwrite", "logger", "progress", "cpu_threads", "checkpoint", "mesh", "sweep", "choices")
# The errors that a composition ends in because of what the user wrote.
COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, yaml.YAMLError)


RUNS_OF_A_SWEEP = "runs.txt"
# What a launcher or a sweeper beside Hydra's own is installed with.
PLUGINS = {
    "joblib": ("hydra_joblib_launcher", "sweep"),
    "submitit_local": ("hydra_submitit_launcher", "sweep"),
    "submitit_slurm": ("hydra_submitit_launcher", "sweep"),
    "optuna": ("hydra_optuna_sweeper", "sweep"),
    "ray": ("hydra_ray_launcher", "ray"),
    "ray_cluster": ("hydra_ray_launcher", "ray"),
    "ray_tpu": ("hydra_ray_launcher", "ray"),
}


class Stopped(BaseException):
    """Carries what was raised past Hydra, which would print lines of its own about an `Exception`."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class App(NamedTuple):
    """A word of the command line that Hydra configures: what it chooses, and which options it has."""

    name: str  # of the command and of its primary configuration
    parts: tuple[str, ...]  # the groups whose choice is made, each a section with a `_target_`
    groups: tuple[str, ...]  # all that is chosen by GROUP=NAME
    example: str  # a word of a command, to show the form
    options: Callable[[], dict[str, Any]]  # key -> annotation
    chosen: Callable[[dict[str, Any], Mapping[str, Any]], dict[str, Any]]  # (choices, configuration) -> choices
    names: Callable[[Mapping[str, Any]], list[Any]]  # choices -> what a run is named after
    presets: tuple[str, ...] = ()  # groups whose choice fills several sections; it is kept among the choices
    sections: tuple[str, ...] = ()  # sections that are no options, beside those of the parts
    gives: Mapping[str, str] = types.MappingProxyType({})  # group -> type that `make` returns, where apps share a group
    settled: Callable[[dict[str, Any]], dict[str, Any]] = lambda config: config  # what was chosen, without the rest


class Built(NamedTuple):
    """What a configuration of training names, made."""

    agent: "Agent"
    environment: "Environment | HostFactory"
    objective: "Objective"


class BuiltEstimation(NamedTuple):
    """What a configuration of an estimation names, made."""

    estimator: "Estimator"
    data: "Pairs"


class BuiltAdaptation(NamedTuple):
    """What a configuration of an adaptation names, made; methods when the source model is there."""

    architecture: "Architecture"
    imports: Callable[[str], "Architecture"]  # of a file that `train` has written
    data: "ImageData"
    stream: "StreamPlan"
    train: Callable[..., None]  # (architecture, data, path, told): writes the weights of the source model
    methods: dict[str, Callable[["Model"], "Method"]]  # the first is the source model as it is


# --- the apps ----------------------------------------------------------------------------------------------------


def _common_options() -> dict[str, Any]:
    from infojax.types import Count, NonNegativeInt, Range

    return {
        "seed": Annotated[int, Range(0, 2**31 - 1)],  # jax drops the higher bits of a seed
        "num_seeds": Count,
        "seeds": Literal["vmap", "map"],
        "run_dir": str | None,
        "overwrite": bool,
        "logger": tuple[Literal["tensorboard", "wandb", "mlflow"], ...],
        "progress": bool,
        "cpu_threads": Union[Count, None],  # noqa: UP007  an Annotated alias has no `|`
        "sweep.metric": str | None,
        "sweep.direction": Literal["maximize", "minimize"],
        "mesh.platform": Literal["auto", "cpu", "gpu", "tpu"],
        "mesh.devices": Union[Count, None],  # noqa: UP007
        "mesh.data": Count,
        "mesh.matmul_precision": Literal["auto", "default", "high", "highest", "bfloat16"],
        "mesh.distributed": Literal["auto", "off"],
        "mesh.coordinator": str | None,
        "mesh.processes": Union[Count, None],  # noqa: UP007
        "mesh.process": Union[NonNegativeInt, None],  # noqa: UP007
    }


def _train_options() -> dict[str, Any]:
    from infojax.types import Count

    return _common_options() | {
        "total_steps": Count,
        "init_from": str | None,
        "skills.run_dir": str | None,
        "skills.steps": Count,
        "sweep.together": Count,
        "evaluation.every": Count,
        "evaluation.episodes": Count,
        "evaluation.diagnostics": bool,
        "checkpoint.every": Count,
        "checkpoint.keep": Count,
        "log.every": Count,
    }


def _estimate_options() -> dict[str, Any]:
    from infojax.types import Count

    return _common_options() | {
        "num_samples": Union[Count, None],  # noqa: UP007  an Annotated alias has no `|`
        "quantity": Literal["mutual_information", "entropy"],
    }


def _adapt_options() -> dict[str, Any]:
    from infojax.types import NonNegativeInt

    return _common_options() | {"source_images": NonNegativeInt, "clean_images": NonNegativeInt}


def _with_id(choices: dict[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """An environment chosen by the id of a user's module is called by that id."""
    env, section = str(choices["env"]), config.get("env")
    if not env.endswith("/any") or not isinstance(section, Mapping):
        return choices
    return {**choices, "env": env.removesuffix("any") + str(section.get("id"))}


def _with_file(choices: dict[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Samples out of a file are called by its name."""
    section = config.get("data")
    if choices["data"] != "file" or not isinstance(section, Mapping):
        return choices
    return {**choices, "data": f"file/{Path(str(section.get('path'))).name}"}


def _train_names(choices: Mapping[str, Any]) -> list[Any]:
    agent, objective, env = (choices.get(part) for part in TRAIN.parts)
    return [agent, None if objective in ("none", agent) else objective, env]


def _adapt_names(choices: Mapping[str, Any]) -> list[Any]:
    return [choices.get("method") or choices.get("comparison"), *(choices.get(part) for part in ADAPT.parts[1:])]


def _chosen_methods(config: dict[str, Any]) -> dict[str, Any]:
    """Beside the source model the one method that is chosen, else those of the comparison."""
    name, methods = config["choices"]["method"], config.get("methods")
    if name is None or not isinstance(methods, Mapping):
        return config
    others = {key: value for key, value in config.items() if key != "method"}
    return {**others, "methods": {SOURCE: methods.get(SOURCE), name: config["method"]}}


SOURCE = "source"  # the method that all others are laid beside

TRAIN = App(
    name="train",
    parts=("agent", "objective", "env"),
    groups=("agent", "objective", "env", "experiment", "mesh"),
    example="agent=sac",
    options=_train_options,
    chosen=_with_id,
    names=_train_names,
)
ESTIMATE = App(
    name="estimate",
    parts=("estimator", "data"),
    groups=("estimator", "data", "mesh"),
    example="estimator=ksg",
    options=_estimate_options,
    chosen=_with_file,
    names=lambda choices: [choices.get(part) for part in ESTIMATE.parts],
    gives={"data": "Pairs"},
)
ADAPT = App(
    name="adapt",
    parts=("method", "model", "data", "stream"),
    groups=("method", "comparison", "model", "data", "stream", "mesh"),
    example="method=tent",
    options=_adapt_options,
    chosen=lambda choices, _: choices,
    names=_adapt_names,
    presets=("comparison",),
    sections=("methods", "training", "wrap"),
    gives={"data": "ImageData"},
    settled=_chosen_methods,
)
APPS = {app.name: app for app in (TRAIN, ESTIMATE, ADAPT)}


def app_of(config: Mapping[str, Any]) -> App:
    """The app that a configuration was composed for: the one whose parts it has chosen."""
    choices = config.get("choices") or {}
    return next((app for app in APPS.values() if set(app.parts) <= set(choices)), TRAIN)


# --- composing ---------------------------------------------------------------------------------------------------


def compose(
    overrides: Sequence[str] = (), *, config_name: str = "train", config_dir: str | Path | None = None
) -> dict[str, Any]:
    """The resolved, checked configuration that the command line would make of the same words.

    Args:
        overrides: Hydra words such as `agent=sac` or `agent.batch_size=64`.
        config_name: the primary configuration.
        config_dir: a folder with further configurations, like `--config-dir`.

    Returns:
        A plain dictionary; `choices` says what was chosen of each part, such as agent, objective and env.

    Raises:
        UserError: an unknown name or key, a wrong option.
    """
    app = APPS.get(config_name, TRAIN)
    if "env" in app.groups:
        register_gymnasium()
    words, folders = list(overrides), []
    if config_dir is not None:
        folders = [Path(config_dir).resolve()]
        if not folders[0].is_dir():
            holds = ", ".join(f"{part}/" for part in app.parts)
            raise _user_error(f"config_dir={config_dir} is not a folder; give the one that holds your {holds} …")
        words.append(f"hydra.searchpath=[{word(f'file://{folders[0]}')}]")
    # A notebook or a Hydra application may have initialised Hydra for itself: it finds it again as it was.
    before, version_base = GlobalHydra.instance().hydra, hydra_version.getbase()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module(CONFIGS, job_name="infojax", version_base="1.3"):
            composed = hydra_compose(config_name, words, return_hydra_config=True)
    except (*COMPOSITION_ERRORS, ValueError) as error:
        raise _user_error(explain(error, words, folders, app)) from error
    finally:
        GlobalHydra.instance().hydra = before
        if isinstance(version_base, Version):
            # Not by `setbase`, which would warn a caller again of the version that is the caller's own choice.
            hydra_version.VersionBase.instance().setbase(version_base)
    choices = composed.hydra.runtime.choices
    OmegaConf.set_struct(composed, False)
    composed.pop("hydra")
    return plain(composed, choices, app)


def plain(config: DictConfig, choices: Mapping[str, Any], app: App = TRAIN) -> dict[str, Any]:
    """A composed configuration as a plain dictionary: resolved, its options checked, with the choices made."""
    try:
        resolved: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise _user_error(explain(error, app=app)) from error
    chosen = app.chosen({part: choices.get(part) for part in (*app.parts, *app.presets)}, resolved)
    _check_kinds(chosen, resolved, app)
    return app.settled(check_options({**resolved, "choices": chosen}, app))


def _check_kinds(choices: Mapping[str, Any], config: Mapping[str, Any], app: App) -> None:
    """Refuse what another app would take from a group of the same name."""
    for group, wanted in app.gives.items():
        section = config.get(group)
        found = _returned(str(section.get("_target_"))) if isinstance(section, Mapping) else None
        homes = [other for other in APPS.values() if found is not None and other.gives.get(group) == found]
        if homes and found != wanted:
            fitting = [f"{group}={name}" for name in options(group, app=app)]
            raise _user_error(
                f"{group}={choices.get(group)} is for infojax {homes[0].name}, not for infojax {app.name}"
                f"{_listing(fitting)}"
            )


@cache
def register_gymnasium() -> None:
    """Make every id that Gymnasium knows an `env=gymnasium/ID`; ids with a slash become groups of their own."""
    import gymnasium

    for name in gymnasium.registry:
        folder, _, leaf = f"env/gymnasium/{name}".rpartition("/")
        node = {"_target_": "infojax.envs.gymnasium.make", "id": name, "episode_length": None}
        ConfigStore.instance().store(group=folder, name=leaf, node=node, package="env", provider="gymnasium")


def at_most(limit: Any, value: Any) -> Any:
    """`${at_most:LIMIT,VALUE}` in a YAML; what is no number is left to the check of the key it came from."""
    numbers = [entry for entry in (limit, value) if isinstance(entry, int | float) and not isinstance(entry, bool)]
    return min(numbers, default=limit)


def best_skill(run_dir: Any) -> int | None:
    """`${best_skill:RUN_DIR}` in a YAML: the skill of a finished run with the highest return, None where unknown."""
    metrics = _metrics_of(run_dir)
    name = "evaluation/deterministic/return_skill_"
    returns = {int(key.removeprefix(name)): value["mean"] for key, value in metrics.items() if key.startswith(name)}
    return max(returns, key=lambda skill: returns[skill], default=None)


def num_skills(run_dir: Any) -> int | None:
    """`${num_skills:RUN_DIR}` in a YAML: how many skills a finished run has, None where unknown."""
    return sum(key.startswith("evaluation/deterministic/return_skill_") for key in _metrics_of(run_dir)) or None


def _metrics_of(run_dir: Any) -> dict[str, Any]:
    """What a finished run found; nothing where there is none, which is told when the run is opened."""
    path = Path(str(run_dir)) / "summary.json"
    if run_dir is None or not path.is_file():
        return {}
    return json.loads(path.read_text()).get("metrics", {})


def choices_of(sources: Any, name: str, *groups: str) -> str:
    """`${choices_of:${hydra.runtime.config_sources},APP,GROUP,…}` in the help of an app: what each group has for it."""
    folders = [source["path"] for source in sources if source["schema"] == "file"]
    lines = []
    for group in groups:
        members: dict[str, list[str]] = {}
        for option in options(group, folders, app=APPS[name]):
            folder, _, leaf = f"{group}/{option}".rpartition("/")
            members.setdefault(folder, []).append(leaf)
        for folder, leaves in members.items():
            lines += textwrap.wrap(
                f"{folder}: {', '.join(leaves)}", 118, subsequent_indent="  ", break_on_hyphens=False
            )
    return "\n".join(lines)


def sweep_name(words: Any, hydra_words: Any) -> str:
    """`${sweep_name:${hydra.overrides.task},${hydra.overrides.hydra}}`: the same for the same sweep."""
    extent = ("n_trials", "n_jobs", "max_batch_size", "max_failure_rate")  # of a sweep, which may grow
    searched = [given for given in hydra_words if re.match(r"\+*hydra[./]sweeper", given)]
    kept = [given for given in searched if not re.match(rf"\+*hydra\.sweeper\.({'|'.join(extent)})=", given)]
    kept += [given for given in words if given.lstrip("+").partition("=")[0].partition(".")[0] not in NEUTRAL]
    return hashlib.sha256(json.dumps(sorted(kept)).encode()).hexdigest()[:8]


# At import, because the workers of a parallel sweep resolve what the parent composed.
OmegaConf.register_new_resolver("at_most", at_most, replace=True)
OmegaConf.register_new_resolver("best_skill", best_skill, replace=True)
OmegaConf.register_new_resolver("num_skills", num_skills, replace=True)
OmegaConf.register_new_resolver("choices_of", choices_of, replace=True)
# Kept, so that the jobs of a sweep, whose words differ, find the folder of the whole.
OmegaConf.register_new_resolver("sweep_name", sweep_name, replace=True, use_cache=True)


def spelt_out(words: Sequence[str], app: App, folders: Iterable[str | Path] = ()) -> list[str]:
    """The words of a sweep with `GROUP=glob(…)` as the names that match, those in sub-folders too.

    Hydra's own glob sees the top of a folder alone. A choice that still lacks a value is not among the names.
    """
    return [_spelt_out(given, app, list(folders)) for given in words]


def jobs_of(words: Sequence[str], app: App, folders: Iterable[str | Path] = ()) -> list[list[str]]:
    """The words of each job of a sweep: every combination of what names several values, in the order of `-m`.

    Raises:
        UserError: words that cannot be read.
    """
    folders = list(folders)
    try:
        overrides = OverridesParser.create().parse_overrides(spelt_out(words, app, folders))
        return BasicSweeper.split_arguments(overrides, max_batch_size=None)[0]
    except (*COMPOSITION_ERRORS, ValueError) as error:
        raise _user_error(explain(error, words, folders, app)) from error


def _spelt_out(given: str, app: App, folders: list[str | Path]) -> str:
    group, _, value = given.partition("=")
    if group not in app.groups or not value.startswith("glob("):
        return given
    glob = OverridesParser.create().parse_override(given).value()
    if not isinstance(glob, Glob):
        return given
    there = options(group, folders, gymnasium=False, app=app)
    ready = [name for name in there if not _lacks_a_value(group, name, folders)]
    names = glob.filter(ready)
    if not names:
        raise _user_error(f"{given} matches nothing{_listing([f'{group}={name}' for name in ready])}")
    return f"{group}={','.join(names)}"


def _lacks_a_value(group: str, name: str, folders: Iterable[str | Path]) -> bool:
    paths = [Path(root) / group / f"{name}.yaml" for root in (*folders, configs_folder())]
    path = next(path for path in paths if path.exists())
    return any(value == "???" for _, value in leaves(read(path)))


def check_plugins(words: Sequence[str]) -> None:
    """Refuse a launcher or a sweeper of ours whose packages are not there; let ours stand for the plugins' own.

    Hydra would mix a file with what a plugin has stored under the same name, which it no longer likes.
    """
    Plugins.instance()  # from here on they have stored theirs
    for path in (configs_folder() / "hydra").rglob("*.yaml"):
        ConfigStore.instance().repo.get("hydra", {}).get(path.parent.name, {}).pop(path.name, None)
    for given in words:
        group, _, name = given.lstrip("+").partition("=")
        package, extra = PLUGINS.get(name, ("", ""))
        if group not in ("hydra/launcher", "hydra/sweeper") or not package:
            continue
        try:
            found = find_spec(f"hydra_plugins.{package}")
        except ModuleNotFoundError:  # no plugin at all
            found = None
        if found is None:
            raise _user_error(f"{given} needs packages of its own; install them by pip install 'infojax[{extra}]'")


def word(value: Any) -> str:
    """A Python value as it stands right of `=` in a Hydra word."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{word(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(word(entry) for entry in value) + "]"
    if not isinstance(value, str):
        return str(value)
    # Unquoted only where the grammar cannot read it as anything else, a number or null for instance.
    if re.fullmatch(r"[A-Za-z_][\w/.-]*", value) and value.lower() not in ("null", "true", "false", "inf", "nan"):
        return value
    return "'" + re.sub(r"(\\*)'", r"\1\1\\'", value) + ("\\" if value.endswith("\\") else "") + "'"


def words_of(overrides: Mapping[str, Any] | Sequence[str]) -> list[str]:
    """Overrides from Python, dotted keys to values or words already, as the words of a command."""
    if isinstance(overrides, Mapping):
        return [f"{key}={word(value)}" for key, value in overrides.items()]
    return list(overrides)


def read(path: str | Path) -> dict[str, Any]:
    """The configuration in a YAML file."""
    found: Any = OmegaConf.to_container(OmegaConf.load(path))
    return found


def write(path: str | Path, config: Mapping[str, Any]) -> None:
    """Write a configuration as YAML; a reader sees either the whole of it or what was there before."""
    draft = Path(f"{path}.draft")
    draft.write_text(yaml.safe_dump(json.loads(json.dumps(config)), sort_keys=False, allow_unicode=True))
    os.replace(draft, path)


# --- runs --------------------------------------------------------------------------------------------------------


def run_name(config: Mapping[str, Any]) -> str:
    """A stable name: the same command finds the run that it began."""
    names = app_of(config).names(config.get("choices") or {})
    digest = hashlib.sha256(json.dumps(_counting(config), sort_keys=True).encode()).hexdigest()[:8]
    return "-".join([re.sub(r"[^\w.-]+", "_", str(name)) for name in names if name] + [digest])


def _counting(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a configuration sets a run apart from others."""
    counting = {key: value for key, value in config.items() if key not in NEUTRAL}
    shards = (config.get("mesh") or {}).get("data", 1)
    return counting if shards == 1 else counting | {"mesh": {"data": shards}}


def run_directory(config: Mapping[str, Any]) -> Path:
    """Where the run of this configuration is kept."""
    return Path(config["run_dir"]).expanduser() if config.get("run_dir") else Path("runs") / run_name(config)


def check_run_directory(config: Mapping[str, Any]) -> None:
    """Refuse a run directory that cannot be made or written; nothing is made here."""
    folder = run_directory(config).absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    reason = None
    if not existing.is_dir():
        reason = f"{existing} is a file"
    elif not os.access(existing, os.W_OK | os.X_OK):
        reason = f"{existing} is not writable for you"
    if reason:
        raise _user_error(f"run_dir={folder} cannot be written: {reason}; choose another folder by run_dir=FOLDER")


class Record(Callback):
    """A callback of Hydra's by which the command line learns where a sweep is kept, and prepares it."""

    begun: ClassVar[list[Path]] = []  # by the present command; several rounds of one sweep are several entries
    held: ClassVar[contextlib.ExitStack] = contextlib.ExitStack()  # what the command has for itself while it goes on

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Note the folder of a sweep before its first job; what goes wrong here ends the command."""
        from infojax.run import sweeps

        sweep, searches = Path(config.hydra.sweep.dir), "Optuna" in str(config.hydra.sweeper.get("_target_"))
        try:
            if sweep not in Record.begun:
                if not Record.held.enter_context(sweeps.alone(sweep, wait=False)):
                    raise _user_error(f"this sweep is under way in another process; wait for it, or stop it ({sweep})")
                sweeps.begin(sweep)
                if not searches:  # the jobs name their runs anew; a search goes on with those that it has
                    (sweep / RUNS_OF_A_SWEEP).unlink(missing_ok=True)
            Record.begun.append(sweep)
            if searches:
                ended = sweeps.reopen_study(config.hydra.sweeper.storage, config.hydra.sweeper.study_name)
                with read_write(config), open_dict(config):
                    config.hydra.sweeper.n_trials = max(0, config.hydra.sweeper.n_trials - ended)
        except Exception as error:
            raise Stopped(error) from error  # Hydra would make a warning of an `Exception`


def record_run(sweep: Path, run_dir: Path) -> None:
    """Add a run to the list that a sweep keeps; relative to the sweep, so that both may be moved together."""
    sweep.mkdir(parents=True, exist_ok=True)
    with open(sweep / RUNS_OF_A_SWEEP, "a", encoding="utf-8") as file:
        file.write(f"{os.path.relpath(run_dir, sweep)}\n")


def runs_of(folder: str | Path) -> list[Path]:
    """The runs that a folder stands for: itself, or those of the sweep that it keeps."""
    listed = Path(folder) / RUNS_OF_A_SWEEP
    if not listed.is_file():
        return [Path(folder)]
    names = dict.fromkeys(listed.read_text(encoding="utf-8").splitlines())
    # A job that was refused never made its folder.
    paths = [Path(os.path.normpath(Path(folder) / name)) for name in names if name]
    return [path for path in paths if (path / "config.yaml").is_file()]


def difference(saved: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """The keys in which two configurations are different runs, each with both values."""
    absent = "nothing"
    before, now = (dict(leaves(_counting(given))) for given in (saved, config))
    keys = [key for key in {**before, **now} if before.get(key, absent) != now.get(key, absent)]
    keys.sort(key=lambda key: not key.endswith("._target_"))  # another agent altogether is told first
    return [f"{key} ({_show(before.get(key, absent))} there, {_show(now.get(key, absent))} here)" for key in keys]


def leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of everything that is not a dictionary; lists are values."""
    if not isinstance(config, Mapping):
        yield prefix, list(config) if isinstance(config, tuple) else config
        return
    for key, value in config.items():
        yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))


# --- building ----------------------------------------------------------------------------------------------------


def build(config: Mapping[str, Any]) -> Built:
    """Import, check and make what training names: environment, then objective, then agent."""
    make = _makes(config, TRAIN)
    environment = make["env"]()
    if config["skills"]["run_dir"] is not None:
        from infojax.run.skills import over_skills_of

        environment = over_skills_of(config["skills"]["run_dir"], environment, config["skills"]["steps"])
    environment = _in_shards(environment, config)
    objective = make["objective"](environment.spec)
    agent = make["agent"](environment.spec, objective)
    shards, wanted = environment.spec.data_shards, config["agent"].get("num_envs")
    if shards > 1 and agent.num_envs * shards != wanted:
        raise _user_error(
            f"agent={config['choices']['agent']} has {agent.num_envs} environments in each of mesh.data={shards} "
            f"shards where agent.num_envs={wanted} are to be spread; use mesh.data=1, or let its make divide them"
        )
    return Built(agent, environment, objective)


def numbers_of(config: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of agent and objective that are not whole ones by their kind, by key, such as agent.discount."""
    found = {}
    for part in ("agent", "objective"):
        arguments = check_arguments(_target(part, config[part]), part, config[part])
        found |= {f"{part}.{key}": value for key, value in arguments.items() if isinstance(value, float)}
    return found


def agent_of(config: Mapping[str, Any], environment: "Environment") -> Callable[[Mapping[str, Any]], "Agent"]:
    """(values by key) -> the agent of a configuration with these values in the place of its own, unchecked.

    They may be traced, where the `make`s of agent and objective bear that.
    """
    makes = _makes(config, TRAIN)

    def agent(values: Mapping[str, Any]) -> "Agent":
        def of(part: str) -> dict[str, Any]:
            return {key.removeprefix(f"{part}."): one for key, one in values.items() if key.startswith(f"{part}.")}

        objective = makes["objective"](environment.spec, **of("objective"))
        return makes["agent"](environment.spec, objective, **of("agent"))

    return agent


def _in_shards(environment: "Environment | HostFactory", config: Mapping[str, Any]) -> "Environment | HostFactory":
    """The environment with a spec that says over how many shards the data of a seed is spread."""
    from infojax.run.mesh import DATA_AXES
    from infojax.types import HostFactory

    shards = (config.get("mesh") or {}).get("data", 1)
    if shards == 1:
        return environment
    if isinstance(environment, HostFactory):
        raise _user_error(
            f"mesh.data={shards} spreads the environments of a seed over devices, but env={config['choices']['env']} "
            "is stepped on the host; use mesh.data=1, or an environment on the device, such as env=brax/halfcheetah"
        )
    return environment._replace(spec=environment.spec._replace(data_axis=DATA_AXES, data_shards=shards))


def build_estimation(config: Mapping[str, Any]) -> BuiltEstimation:
    """Import, check and make the estimator and the source of samples that a configuration names."""
    make = _makes(config, ESTIMATE)
    return BuiltEstimation(make["estimator"](), make["data"]())


def build_adaptation(config: Mapping[str, Any]) -> BuiltAdaptation:
    """Import, check and make what an adaptation names: data and stream at once, methods for a model."""
    sections = {part: config.get(part) for part in ("model", "data", "stream", "training", "wrap")}
    given = config.get("methods")
    methods: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {}
    if len(methods) < 2 and config["choices"].get("method") is None:
        raise _user_error("there is no method to compare; choose one by method=NAME, or several by comparison=NAME")
    alone = config["choices"].get("method")
    labels = {name: "method" if name == alone else f"methods.{name}" for name in methods}
    named = {labels[name]: section for name, section in methods.items()}
    make = {key: _made(key, section) for key, section in (sections | named).items()}
    data = make["data"]()

    def method(name: str) -> Callable[["Model"], "Method"]:
        plain_one = make[labels[name]]
        if name == SOURCE:
            return plain_one
        return lambda model: make["wrap"](model, plain_one(model))

    def imports(path: str) -> "Architecture":
        return make["model"](weights=path, layout="infojax")

    made = {name: method(name) for name in methods}
    return BuiltAdaptation(make["model"](), imports, data, make["stream"](data), make["training"](), made)


def check_parts(config: Mapping[str, Any]) -> None:
    """Refuse what does not fit the `make`s that a configuration names; none of them is called.

    Raises:
        UserError: no such `make`, a key that it does not have, a value that it does not take.
    """
    app = app_of(config)
    sections = {part: config.get(part) for part in app.parts}
    if app is ADAPT:
        methods: Mapping[str, Any] = config.get("methods") or {}
        sections = {key: config.get(key) for key in ("model", "data", "stream", "training", "wrap")}
        sections |= {f"methods.{name}": section for name, section in methods.items()}
    for key, section in sections.items():
        _made(key, section)


def _made(part: str, section: Any) -> Callable[..., Any]:
    """The `make` of a section with its keyword arguments, checked."""
    make = _target(part, section)
    return partial(make, **check_arguments(make, part, section))


def _makes(config: Mapping[str, Any], app: App) -> dict[str, Callable[..., Any]]:
    """The `make` of every part with its keyword arguments: all are checked before the first is called."""
    makes = {part: _target(part, config.get(part)) for part in app.parts}
    return {part: partial(make, **check_arguments(make, part, config[part])) for part, make in makes.items()}


def _target(part: str, section: Any) -> Callable[..., Any]:
    if not isinstance(section, Mapping):
        raise _user_error(f"{part} is {_show(section)}; choose one by {part}=NAME{_listing(options(part))}")
    path = section.get("_target_")
    module_name, _, name = str(path).rpartition(".")
    if not isinstance(path, str) or not module_name:
        raise _user_error(f"{part}._target_ is {_show(path)}; give the dotted path of a make, such as mymodule.make")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        hint = f"module {error.name} is not found; install it or put its folder on PYTHONPATH"
        raise _user_error(f"{part}._target_={path} cannot be imported: {hint}") from error
    make = getattr(module, name, None)
    if not callable(make):
        functions = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise _user_error(f"{part}._target_={path}: {module_name} has no function {name}{_nearest(name, functions)}")
    return make


def check_arguments(make: Callable[..., Any], part: str, section: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments that a section gives to its `make`, converted as its annotations say."""
    parameters = inspect.signature(make).parameters.values()
    known = {parameter.name: parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    try:
        annotations = typing.get_type_hints(make, include_extras=True)
    except NameError:  # names that exist for type checkers alone
        annotations = {}
    given = {str(key): value for key, value in section.items() if key != "_target_"}
    for key in given:
        if key not in known and not open_ended:
            raise _user_error(f"{part}.{key} is not a key of {section['_target_']}{_nearest(key, known, part)}")
    for name, parameter in known.items():
        if parameter.default is parameter.empty and name not in given:
            wanted = describe(annotations.get(name, Any))
            raise _user_error(f"{part}.{name} is missing; give it as {part}.{name}=VALUE, {wanted}")
    empty = inspect.Parameter.empty
    return {
        key: check(f"{part}.{key}", value, annotations.get(key, Any), known[key].default if key in known else empty)
        for key, value in given.items()
    }


def check_options(config: Mapping[str, Any], app: App = TRAIN) -> dict[str, Any]:
    """The configuration with its options (all but the parts) checked and converted."""
    schema, defaults = app.options(), _option_defaults(app)
    others = (*app.parts, *app.sections, "choices")
    given = dict(leaves({key: value for key, value in config.items() if key not in others}))
    checked: dict[str, Any] = {key: config[key] for key in others if key in config}
    for key, value in given.items():
        if key not in schema:
            top = key.partition(".")[0]
            if top in ("experiment", "comparison", "local"):
                raise _user_error(f"the file chosen by {top}= sets {key}; begin it with the line `# @package _global_`")
            inside = [name for name in schema if name.startswith(f"{top}.")]
            if key == top and inside:
                raise _user_error(f"{key}={_show(value)} is not a section; give {' or '.join(inside)} instead")
            raise _user_error(f"{key} is not an option{_nearest(key, [*schema, *app.groups])}")
    for key, annotation in schema.items():
        if key not in given:
            raise _user_error(f"{key} is missing; give it as {key}=VALUE, {describe(annotation)}")
        value = given[key]
        if key == "logger" and isinstance(value, str):
            value = [value] if value else []
        value = check(key, value, annotation, defaults.get(key, inspect.Parameter.empty))
        section, _, name = key.rpartition(".")
        (checked.setdefault(section, {}) if section else checked)[name] = list(value) if key == "logger" else value
    return checked


def _option_defaults(app: App) -> dict[str, Any]:
    path = configs_folder() / f"{app.name}.yaml"
    return dict(leaves(read(path))) if path.exists() else {}


# --- values ------------------------------------------------------------------------------------------------------


class _Unfit(Exception):
    """A value that an annotation does not admit; `in_range` is False where its kind is right."""

    def __init__(self, in_range: bool = True) -> None:
        super().__init__()
        self.in_range = in_range


def check(key: str, value: Any, annotation: Any, default: Any = inspect.Parameter.empty) -> Any:
    """`value` as the annotation wants it, or a sentence with the key, the value and what is expected."""
    try:
        return convert(value, annotation)
    except _Unfit as unfit:
        fault = "is not accepted" if unfit.in_range else "is out of range"
        example = "" if default in (inspect.Parameter.empty, None, []) else f", for example {key}={_show(default)}"
        message = f"{key}={_show(value)} {fault}; give {describe(annotation)}{example}"
    raise _user_error(message)


def convert(value: Any, annotation: Any) -> Any:
    """`value` as the annotation wants it: numbers written as text and lists come from YAML; a bool is no number."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        converted = convert(value, arguments[0])
        for bound in arguments[1:]:
            if hasattr(bound, "__contains__") and converted is not None and converted not in bound:
                raise _Unfit(in_range=False)
        return converted
    if origin in (Union, types.UnionType):
        faults = []
        for member in arguments:
            try:
                return convert(value, member)
            except _Unfit as unfit:
                faults.append(unfit)
        raise _Unfit(in_range=all(fault.in_range for fault in faults))
    if origin is Literal:
        if any(value == entry and type(value) is type(entry) for entry in arguments):
            return value
        raise _Unfit
    if annotation in (tuple, list) or origin in (tuple, list):
        return _convert_sequence(value, origin or annotation, arguments)
    if annotation in (bool, str, None, type(None)):
        if isinstance(value, annotation or type(None)):
            return value
        raise _Unfit
    if annotation in (int, float):
        return _convert_number(value, annotation)
    return value  # an annotation of the user's own: his `make` judges it


def _convert_sequence(value: Any, kind: type, arguments: tuple[Any, ...]) -> Any:
    if not isinstance(value, list | tuple):
        raise _Unfit
    if kind is list or not arguments or arguments[-1] is Ellipsis:
        entries = [arguments[0] if arguments else Any] * len(value)
    else:
        entries = list(arguments)
    if len(entries) != len(value):
        raise _Unfit
    return kind(convert(entry, annotation) for entry, annotation in zip(value, entries, strict=True))


def _convert_number(value: Any, kind: type) -> int | float:
    number: Any = value
    if isinstance(value, str):  # YAML's own loader reads 1e-3, which has no dot, as text
        try:
            number = float(value)
        except ValueError:
            raise _Unfit from None
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise _Unfit
    if kind is float:
        return float(number)
    if isinstance(number, float):  # 1e6 is a fine way to write a whole number
        if not math.isfinite(number) or not number.is_integer():
            raise _Unfit
        return int(number)
    return number


def describe(annotation: Any) -> str:
    """In words, what an annotation admits."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return " ".join([describe(arguments[0]), *(_describe_range(bound) for bound in arguments[1:])]).strip()
    if origin in (Union, types.UnionType):
        return " or ".join(describe(member) for member in arguments)
    if origin is Literal:
        return ("one of " if len(arguments) > 1 else "") + ", ".join(_show(entry) for entry in arguments)
    if annotation in (tuple, list) or origin in (tuple, list):
        if not arguments:
            return "a list"
        if origin is list or arguments[-1] is Ellipsis:
            return f"a list like [A,B], each entry {describe(arguments[0])}"
        return f"a list of {len(arguments)} entries: {', then '.join(map(describe, arguments))}"
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", type(None): "null"}
    return names.get(annotation, "a value")


def _describe_range(bound: Any) -> str:
    low, high = getattr(bound, "low", None), getattr(bound, "high", None)
    if low is None or high is None:
        return ""
    if math.isinf(low) and math.isinf(high):
        return "other than inf" if getattr(bound, "open_high", False) else ""
    if math.isinf(high):
        return f"above {low:g}" if bound.open_low else f"of at least {low:g}"
    if math.isinf(low):
        return f"below {high:g}" if bound.open_high else f"of at most {high:g}"
    if not (bound.open_low or bound.open_high):
        return f"from {low:g} to {high:.10g}"
    lowest = f"above {low:g}" if bound.open_low else f"of at least {low:g}"
    return f"{lowest} and {'below' if bound.open_high else 'up to'} {high:.10g}"


def _show(value: Any) -> str:
    """A value as the user would write it."""
    if value == "":
        return "(empty)"
    return value if isinstance(value, str) else word(value)


# --- what there is, and what is near -----------------------------------------------------------------------------


def configs_folder() -> Path:
    """The folder of the packaged configurations."""
    spec = find_spec(CONFIGS)
    if spec is None or spec.origin is None:
        raise _user_error("infojax is not installed with its configurations; run `pip install -e .` in its folder")
    return Path(spec.origin).parent


def options(
    group: str, folders: Iterable[str | Path] = (), *, gymnasium: bool = True, app: App | None = None
) -> list[str]:
    """The names that `group=` takes, of an app or of any; from the package, from further folders and from Gymnasium."""
    names = set()
    wanted = None if app is None else app.gives.get(group)
    for root in (configs_folder() / group, *(Path(folder) / group for folder in folders)):
        for path in root.rglob("*.yaml"):
            if wanted is None or _given_by(path) in (wanted, None):
                names.add(path.relative_to(root).with_suffix("").as_posix())
    if group == "env" and gymnasium:
        from gymnasium import registry

        names |= {f"gymnasium/{name}" for name in registry}
    return sorted(names, key=lambda name: (name.startswith("gymnasium/"), name))


def _given_by(path: Path) -> str | None:
    """The type that the choice in this YAML gives; None where that cannot be seen."""
    text = path.read_text(encoding="utf-8")
    target = re.search(r"^_target_: *([\w.]+)", text, flags=re.MULTILINE)
    if target:
        return _returned(target[1])
    parent = re.search(r"^defaults:\s*\n\s*- *([\w/.-]+) *(#.*)?$", text, flags=re.MULTILINE)
    beside = path.parent / f"{parent[1]}.yaml" if parent else path
    return _given_by(beside) if beside != path and beside.is_file() else None


@cache
def _returned(target: str) -> str | None:
    """The name of the type that the function at a dotted path says it returns, read from its source.

    Not imported, because that would load jax where `--help` is asked for.
    """
    module, _, name = target.rpartition(".")
    try:
        spec = find_spec(module)
        tree = ast.parse(Path(str(spec.origin)).read_text(encoding="utf-8")) if spec else None
    except (ImportError, ValueError, OSError, SyntaxError):
        return None
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.FunctionDef) and node.name == name and node.returns is not None:
            return ast.unparse(node.returns).strip("'\"").rpartition(".")[2]
    return None


def folders_of(words: Iterable[str], config_dir: str | None = None) -> list[Path]:
    """The further folders that a command names, by `--config-dir` and by `hydra.searchpath=[…]`."""
    found = [Path(config_dir)] if config_dir else []
    for given in words:
        key, _, value = given.lstrip("+").partition("=")
        if key == "hydra.searchpath":
            found += [Path(entry.removeprefix("file://")) for entry in re.split(r"[\[\],'\" ]+", value) if entry]
    return found


def _near(name: str, names: Iterable[str], most: int = 3) -> list[str]:
    """The names nearest to `name`, as a whole or in their last part, without regard to case."""

    def last(key: str) -> str:
        return re.split(r"/|\.(?!\d)", key)[-1]  # a dot before a digit is part of a name

    def likeness(entry: str) -> float:
        pairs = ((name.lower(), entry.lower()), (last(name.lower()), last(entry.lower())))
        same_section = 0.05 if name.rpartition(".")[0] == entry.rpartition(".")[0] else 0.0
        return max(difflib.SequenceMatcher(None, *pair).ratio() for pair in pairs) + same_section

    # Of equally near ones the later name: the newest version of an environment.
    scored = sorted(((likeness(entry), entry) for entry in set(names)), reverse=True)
    return [entry for score, entry in scored[:most] if score >= max(0.65, scored[0][0] - 0.1)]


def _nearest(name: str, names: Iterable[str], part: str = "") -> str:
    """The end of a sentence about an unknown name: what may have been meant, else what there is."""
    names, prefix = list(names), f"{part}." if part else ""
    near = _near(name, names)
    if near:
        return f"; did you mean {' or '.join(prefix + entry for entry in near)}?"
    return _listing([prefix + entry for entry in names])


def _listing(names: Sequence[str], most: int = 12) -> str:
    if not names:
        return "; it has none"
    return f"; there are {', '.join(names[:most])}" + (f" and {len(names) - most} more" if len(names) > most else "")


# --- Hydra's errors in one sentence ------------------------------------------------------------------------------


def explain(
    error: BaseException, words: Sequence[str] = (), folders: Iterable[str | Path] = (), app: App = TRAIN
) -> str:
    """What was wrong with the words of a command, in one sentence with the remedy."""
    chain = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    for link in chain:
        if isinstance(link, OverrideParseException):
            return _explain_syntax(link.override, folders, app)
        if isinstance(link, MissingConfigException):
            return _explain_missing(link, folders, app)
        if isinstance(link, ConfigKeyError | ConfigAttributeError) and link.parent_node is not None:
            return _explain_key(link, app)
        if isinstance(link, MissingMandatoryValue):
            return f"{link.full_key} has no value yet; give it as {link.full_key}=VALUE"
    for given in words:
        key, _, value = given.lstrip("+").partition("=")
        if key in app.groups and (value in ("", "null") or not isinstance(yaml.safe_load(value), str | list)):
            return f"{given} chooses nothing; write {key}=NAME{_listing(options(key, folders, app=app))}"
        if not key:
            return _explain_syntax(given, folders, app)
    texts = [" ".join(str(link).partition("full_key:")[0].split()) for link in chain]
    text = texts[0] or texts[-1]
    ambiguous = re.search(r"Ambiguous value for argument '(.*?)' 1\.", text)
    if ambiguous:
        key, _, value = ambiguous[1].partition("=")
        return f"{ambiguous[1]} names several values; add -m to run each of them, or write {key}=[{value}] for a list"
    sweep = re.search(r"Sweep parameters '(.*)' requires", text)
    if sweep:
        return f"{sweep[1]} names several values; add -m to run each of them"
    present = re.search(r"Could not append to config\. An item is already at '(.*?)'", text)
    if present:
        return f"{present[1]} is there already; write {present[1]}=VALUE without the +"
    unused = re.search(r"Could not override '([^']+)'", text)
    if unused and (home := _elsewhere(unused[1], app)):
        return home
    if unused and "/" in unused[1]:
        group, _, folder = unused[1].partition("/")
        value = next((given.partition("=")[2] for given in words if given.startswith(f"{unused[1]}=")), "NAME")
        return f"{unused[1]}= chooses nothing here; write {group}={folder}/{value}"
    repeated = re.search(r"Multiple values for ([^.]+)\.", text)
    if repeated:
        return f"{repeated[1]} is chosen already; write {repeated[1]}=NAME without a +"
    deepest = chain[-1]
    if isinstance(deepest, OmegaConfBaseException):
        where = f"{deepest.full_key}: " if deepest.full_key and deepest.full_key not in text else ""
        text = where + (text if text == texts[-1] else f"{text.rstrip('.')}: {texts[-1]}")
    return text


def _explain_syntax(given: str, folders: Iterable[str | Path], app: App) -> str:
    homes = [f"{group}={given}" for group in app.groups if given in options(group, folders, app=app)]
    if homes:
        return f"{given} does not say what it is; did you mean {' or '.join(homes)}?"
    key, equals, _ = given.partition("=")
    if equals and not key:
        return f"{given} has no key before the =; write KEY=VALUE, such as seed=1"
    if equals:
        return f"{given} cannot be read; put quotes around a value with special characters: \"{key}='VALUE'\""
    return f"{given} is not of the form KEY=VALUE, such as seed=1 or {app.example}"


def _explain_missing(error: MissingConfigException, folders: Iterable[str | Path], app: App) -> str:
    missing = (error.missing_cfg_file or "").removesuffix(".yaml")
    if not missing:
        return " ".join(str(error).split())
    group, _, name = missing.partition("/")
    if group == "hydra":
        group, _, name = missing.rpartition("/")
        return f"{group}={name} is not installed{_nearest(name, error.options or [])}"
    if not name and group in app.groups:
        return f"{group}= chooses nothing; write {group}=NAME{_listing(options(group, folders, app=app))}"
    if not name:
        return f"{missing}.yaml is not among the configurations; check --config-name and --config-dir"
    where = re.match(r"In '([^']+)'", str(error))
    source = f" (named in {where[1]}.yaml)" if where and "/" in where[1] else ""
    if group == "env" and name.startswith("gymnasium/") and ":" in name:
        return f"env={name} is written env=gymnasium/any env.id={name.removeprefix('gymnasium/')}"
    names = options(group, folders, app=app)
    members = [f"{group}={entry}" for entry in names if entry.startswith(f"{name}/")]
    if members:
        return f"{group}={name} is a family{source}; choose one of it{_listing(members)}"
    return f"{group}={name} does not exist{source}{_nearest(name, names)}"


def _elsewhere(key: str, app: App) -> str:
    """A sentence about a key that another app has; empty where that is not so."""
    group = re.split(r"[./]", key)[0]
    homes = [f"infojax {other.name}" for other in APPS.values() if group in other.groups]
    if not homes or group in app.groups:
        return ""
    return f"{key} does not exist in infojax {app.name}, which chooses {_and(app.groups)}; try {homes[0]}"


def _and(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def _explain_key(error: Any, app: App) -> str:
    """An unknown key, with the nearest of all that the composed configuration has."""
    full_key, node = str(error.full_key or error.key), error.parent_node
    root: Any = OmegaConf.to_container(node._get_root(), resolve=False)
    keys = [key for key, _ in leaves({key: value for key, value in root.items() if key != "hydra"})]
    keys = [key for key in keys if not key.endswith("_target_")]
    if full_key.startswith("hydra."):
        keys = [f"hydra.{key}" for key, _ in leaves(root.get("hydra", {}))]
    section = full_key.rpartition(".")[0]
    if home := _elsewhere(full_key, app):
        return home
    inside = [key for key in keys if key.startswith(f"{section}.")] if section else keys
    near = _near(full_key, keys if section else [*keys, *app.groups])
    if near:
        return f"{full_key} does not exist; did you mean {' or '.join(near)}?"
    if not inside:
        return f"{full_key} does not exist: {section} has no keys of its own here"
    return f"{full_key} does not exist{_listing(inside)}"


def _user_error(message: str) -> "UserError":
    from infojax.types import UserError

    return UserError(message)
