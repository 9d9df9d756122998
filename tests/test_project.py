"""The project itself: who imports whom, configs against signatures, templates, README, Dockerfile."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jax
import pytest
import tta_models
import yaml

from infojax import __version__, testing
from infojax.run import config as configuration

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
MAY_IMPORT = {
    "info": set(),
    "types": set(),
    "nets": {"types"},
    "envs": {"types"},
    "data": {"types"},
    "estimators": {"types", "info", "nets"},
    "objectives": {"types", "info", "nets"},
    "agents": {"types", "info", "nets", "objectives"},
    "tta": {"types", "info", "nets"},
    "run": {"types", "info"},
    "cli": {"run", "types"},
    "testing": {"run", "types"},
}
MODULES = sorted((ROOT / "infojax").rglob("*.py"))


def room(path):
    return path.relative_to(ROOT / "infojax").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms_import_only_what_they_may(path):
    if room(path) not in MAY_IMPORT:
        assert path.name in ("__init__.py", "__main__.py")
        return
    seen = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            seen |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            seen |= {f"{node.module}.{alias.name}" for alias in node.names}
    ours = {name.split(".")[1] for name in seen if name.startswith("infojax.")} - {"__version__"}
    assert ours <= MAY_IMPORT[room(path)] | {room(path)}, f"{path} imports {sorted(ours)}"
    libraries = {name.split(".")[0] for name in seen} - {"infojax"}
    if room(path) in ("info", "types"):
        assert libraries <= {"jax", *sys.stdlib_module_names}
    if room(path) != "nets":
        assert "flax" not in libraries
    if path.name not in ("cli.py", "config.py"):
        assert not libraries & {"hydra", "omegaconf"}


ONLY_JAX = """
import importlib, sys

allowed = {*sys.stdlib_module_names, "jax", "jaxlib", "numpy", "scipy", "ml_dtypes", "opt_einsum", "infojax"}


class Only:
    \"\"\"A finder to which nothing but that is installed, and what Python names after the machine.\"\"\"

    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if top in allowed or top.startswith("_sysconfigdata"):
            return self.finder.find_spec(name, path, target)


sys.meta_path[:] = [Only(finder) for finder in sys.meta_path]
import infojax.info

modules = {name: importlib.import_module(f"infojax.info.{name}") for name in infojax.info.__all__}
for name in ("flax", "optax", "yaml"):  # the finder does what it says
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"{name} was imported")

import jax.numpy as jnp

square, samples, scores = jnp.eye(4), jnp.arange(8.0)[:, None] ** 2, jnp.ones((2, 3, 1))
values = {
    "bayes": modules["bayes"].surprise_gamma(1.0, 2.0, 1.0, 1.0),
    "bounds": modules["bounds"].infonce(square),
    "categorical": modules["categorical"].entropy(square),
    "discrete": modules["discrete"].channel_capacity(square),
    "ensemble": modules["ensemble"].disagreement(square),
    "gaussian": modules["gaussian"].entropy(square),
    "kernel": modules["kernel"].von_neumann_entropy(square),
    "particle": modules["particle"].ksg_mutual_information(samples, samples),
    "score": modules["score"].minde_conditional(scores, 0 * scores, jnp.arange(2.0), 1.0),
    "units": modules["units"].nats_to_bits(1.0),
}
assert set(values) == set(infojax.info.__all__), sorted(set(values) ^ set(infojax.info.__all__))
assert all(bool(jnp.isfinite(value).all()) for value in values.values()), values
"""


def test_the_primitives_need_jax_alone():
    """Every module is imported and called where nothing but jax and what it needs itself can be found."""
    ran = subprocess.run([sys.executable, "-c", ONLY_JAX], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]


def test_the_packages_of_the_wheel_are_the_folders():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    folders = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "infojax").rglob("__init__.py")}
    assert listed == folders | {"infojax.configs"}


def test_one_version_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert project["version"] == citation["version"] == __version__
    assert __version__ in (ROOT / "CHANGELOG.md").read_text()


PARTS = [part for app in configuration.APPS.values() for part in app.parts]
CHOICES = [p for part in PARTS for p in sorted((CONFIGS / part).rglob("*.yaml"))]


@pytest.mark.parametrize("path", CHOICES, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_yaml_keys_are_the_arguments_of_make(path):
    text = path.read_text()
    if "_target_:" in text:
        module, _, name = yaml.safe_load(text)["_target_"].rpartition(".")
        testing.check_yaml(path, getattr(importlib.import_module(module), name))
    else:  # a preset: its parent's keys
        group, parent = path.parent.name, yaml.safe_load(text)["defaults"][0]
        app = next(app for app in configuration.APPS.values() if group in app.parts)
        composed = configuration.compose([f"{group}={path.stem}"], config_name=app.name)
        section = composed["methods"][path.stem] if group == "method" else composed[group]
        module, _, name = section["_target_"].rpartition(".")
        testing.check_yaml(path, getattr(importlib.import_module(module), name))
        assert (path.parent / f"{parent}.yaml").exists()


@pytest.mark.parametrize("path", sorted((CONFIGS / "experiment").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_experiment_composes_and_builds(path):
    built = configuration.build(configuration.compose([f"experiment={path.stem}"]))
    assert built.agent.num_envs >= 1


def test_an_agent_an_objective_and_an_environment_from_outside(tmp_path, monkeypatch):
    """Two files each, outside of the package, under the common battery."""
    for kind, group in (("agent", "agent"), ("objective", "objective"), ("environment", "env")):
        source = (ROOT / "docs" / "templates" / f"{kind}.py").read_text()
        (tmp_path / f"mine_{kind}.py").write_text(source)
        (tmp_path / group).mkdir()
        (tmp_path / group / "mine.yaml").write_text((ROOT / "docs" / "templates" / f"{kind}.yaml").read_text())
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ["agent=mine", "objective=mine", "env=mine", "agent.num_envs=4"]
    built = configuration.build(configuration.compose(words, config_dir=str(tmp_path)))
    testing.check_environment(built.environment)
    testing.check_objective(built.objective, built.environment.spec)
    testing.check_agent(built.agent, built.environment)
    for kind, group in (("agent", "agent"), ("objective", "objective"), ("environment", "env")):
        make = importlib.import_module(f"mine_{kind}").make
        testing.check_yaml(tmp_path / group / "mine.yaml", make)


def test_an_estimator_from_outside(tmp_path, monkeypatch):
    (tmp_path / "estimator").mkdir()
    for suffix, place in ((".py", "line_estimator.py"), (".yaml", "estimator/line.yaml")):
        (tmp_path / place).write_text((ROOT / "docs" / "templates" / f"estimator{suffix}").read_text())
    monkeypatch.syspath_prepend(str(tmp_path))
    config = configuration.compose(["estimator=line"], config_name="estimate", config_dir=str(tmp_path))
    testing.check_estimator(configuration.build_estimation(config).estimator, dims=(1, 1))
    testing.check_yaml(tmp_path / "estimator" / "line.yaml", importlib.import_module("line_estimator").make)


def test_a_method_from_outside(tmp_path, monkeypatch):
    (tmp_path / "method").mkdir()
    for suffix, place in ((".py", "pseudo_label.py"), (".yaml", "method/pseudo_label.yaml")):
        (tmp_path / place).write_text((ROOT / "docs" / "templates" / f"method{suffix}").read_text())
    monkeypatch.syspath_prepend(str(tmp_path))
    config = configuration.compose(["method=pseudo_label"], config_name="adapt", config_dir=str(tmp_path))
    built = configuration.build_adaptation(config)
    model = tta_models.tiny()
    testing.check_method(built.methods["pseudo_label"](model), model)
    testing.check_yaml(tmp_path / "method" / "pseudo_label.yaml", importlib.import_module("pseudo_label").make)


def test_python_of_the_readme_runs():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert blocks
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for block in blocks:
            assert len(block.strip().splitlines()) <= 15
            exec(compile(block, "README", "exec"), {})


def test_the_image_runs_what_the_makefile_offers():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    runs = re.findall(r"^RUN (.*)$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    ours = [line for line in runs if not line.startswith("apt-get")]
    assert ours
    for line in ours:
        program, target = line.split()[:2]
        assert program == "make"
        assert target in targets
