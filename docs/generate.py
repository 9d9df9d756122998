"""Collect the pages of the site in build/docs: written ones, docstrings, and configurations with their comments."""

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
OUT = ROOT / "build" / "docs"
ROOMS = {
    "info": "Primitives",
    "estimators": "Estimators",
    "data": "Data",
    "objectives": "Objectives",
    "agents": "Agents",
    "tta": "Test-time adaptation",
    "envs": "Environments",
    "nets": "Networks",
    "run": "Running",
}
APPS = {
    "train": ("agent", "objective", "env", "experiment", "mesh", "hydra/launcher", "hydra/sweeper"),
    "estimate": ("estimator", "data"),
    "adapt": ("method", "comparison", "model", "data", "stream"),
}


def reference(room: str, title: str) -> str:
    """One page that shows the docstrings of every module of a room."""
    modules = sorted((ROOT / "infojax" / room).glob("*.py"))
    names = [f"infojax.{room}.{path.stem}" for path in modules if not path.stem.startswith("_")]
    return f"# {title}\n\n" + "\n".join(f"::: {name}\n" for name in names)


def configurations() -> str:
    """Every YAML with its keys, values and comments."""
    lines = ["# Configurations", "", "Each file is one choice, `GROUP=NAME`; each key an override, `GROUP.KEY=VALUE`."]
    shown: set[str] = set()  # a group that several commands share stands once
    for app, groups in APPS.items():
        sections = [("", [ROOT / "configs" / f"{app}.yaml"])]
        sections += [
            (group, sorted((ROOT / "configs" / group).rglob("*.yaml"))) for group in groups if group not in shown
        ]
        shown |= set(groups)
        for group, paths in sections:
            lines += ["", f"## {group or app}"]
            for path in paths:
                name = path.relative_to(ROOT / "configs" / group).as_posix().removesuffix(".yaml")
                text = path.read_text().strip()
                lines += ["", f"### {group + '=' if group else ''}{name}", "", "```yaml", text, "```"]
    return "\n".join(lines) + "\n"


def relinked(text: str) -> str:
    """Links between files of the repository as links between pages."""
    pages = {
        "CONTRIBUTING.md": "contributing.md",
        "experiments/README.md": "experiments.md",
        "benchmarks/rl/README.md": "benchmarks.md",
        "ppo/results.md": "#ppo-the-last-measurement",
        "../../experiments/latent_bayesian_surprise/README.md": "latent_bayesian_surprise/README.md",
        "benchmarks/info/results.md": "benchmarks.md",
        "benchmarks/scaling/results.md": "benchmarks.md",
        "../benchmarks/scaling/results.md": "benchmarks.md",
        "../benchmarks/scaling/README.md": "benchmarks.md",
        "../benchmarks/scaling/gpu/results.md": "benchmarks.md",
        "benchmarks/scaling/gpu/results.md": "benchmarks.md",
        "estimate/README.md": "estimates.md",
        "estimates.png": "estimate/estimates.png",
        "table.md": "#each-estimate",
    }
    text = re.sub(r"\]\(([^)#]+)\)", lambda found: f"]({pages.get(found[1], found[1])})", text)
    text = text.replace("](CONTRIBUTING)", "](contributing.md)")
    return re.sub(r"\[(`[^`]+`)\]\(docs/templates/[^)]+\)", r"\1", text)


def main() -> None:
    """Write all pages."""
    shutil.rmtree(OUT, ignore_errors=True)
    (OUT / "api").mkdir(parents=True)
    sources = {
        "index.md": ROOT / "README.md",
        "contributing.md": ROOT / "CONTRIBUTING.md",
        "changelog.md": ROOT / "CHANGELOG.md",
        "protocols.md": ROOT / "docs" / "protocols.md",
        "devices.md": ROOT / "docs" / "devices.md",
        "sweeps.md": ROOT / "docs" / "sweeps.md",
        "lower.md": ROOT / "docs" / "lower.md",
        "experiments.md": ROOT / "experiments" / "README.md",
        "benchmarks.md": ROOT / "benchmarks" / "rl" / "README.md",
    }
    for name, source in sources.items():
        (OUT / name).write_text(relinked(source.read_text()))
    with (OUT / "benchmarks.md").open("a") as file:
        rooms = {"rl": "Reinforcement learning", "rl/ppo": "PPO", "info": "Primitives", "scaling": "Scaling"}
        for room, heading in (rooms | {"scaling/gpu": "Scaling on a GPU"}).items():
            results = (ROOT / "benchmarks" / room / "results.md").read_text()
            pictured = results.replace("](scaling.png)", f"]({room.replace('/', '-')}.png)")
            file.write(f"\n## {heading}: the last measurement\n\n{pictured}")
    for room in ("scaling", "scaling/gpu"):
        shutil.copy(ROOT / "benchmarks" / room / "scaling.png", OUT / f"{room.replace('/', '-')}.png")
    study = ROOT / "experiments" / "estimate"
    table = (study / "table.md").read_text()
    (OUT / "estimates.md").write_text(f"{relinked((study / 'README.md').read_text())}\n## Each estimate\n\n{table}")
    for study in (ROOT / "experiments").glob("*/README.md"):
        if study.parent.name != "estimate":  # which has a page of its own, above
            page = OUT / study.parent.name / "README.md"
            page.parent.mkdir()
            page.write_text(re.sub(r"\[([^]]+)\]\(table\.md\)", r"\1", study.read_text()))
    for path in (ROOT / "experiments" / "cloud").glob("*.md"):
        (OUT / "cloud" / path.name).write_text(path.read_text().replace("](../../docs/", "](../"))
    (OUT / "configurations.md").write_text(configurations())
    for room, title in ROOMS.items():
        (OUT / "api" / f"{room}.md").write_text(reference(room, title))
    (OUT / "api" / "testing.md").write_text("# Testing\n\n::: infojax.testing\n")
    for picture in (ROOT / "experiments").rglob("*.png"):
        target = OUT / picture.relative_to(ROOT / "experiments")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, target)


if __name__ == "__main__":
    main()
