"""What SkyPilot says of the tasks here, and XPK of the JobSet; `make cloud-lint` calls it.

python experiments/cloud/check.py sky [TASK.yaml …]        where skypilot is installed
python experiments/cloud/check.py jobset                   where xpk is installed
"""

import importlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "jobset"))
render = importlib.import_module("render")

IMAGE, BUCKET, NAME, RESTARTS = "us-docker.pkg.dev/my-project/infojax/infojax:tpu", "my-bucket", "infojax-run", 100
WORDS = ["train", "experiment=default"]


def sky(paths: Sequence[str]) -> None:
    """Let SkyPilot read every task, without its catalogue of prices, which it would fetch."""
    skypilot = importlib.import_module("sky")
    print(f"SkyPilot {version('skypilot')}")
    for path in paths or sorted(map(str, (HERE / "skypilot").glob("*.yaml"))):
        text = Path(path).read_text(encoding="utf-8")
        task = skypilot.Task.from_yaml_config(yaml.safe_load(text), env_overrides=[("BUCKET", BUCKET)])
        (resources,) = task.resources
        stores = {folder: (store.source, store.mode.value) for folder, store in task.storage_mounts.items()}
        runtime = (resources.accelerator_args or {}).get("runtime_version")
        assert resources.accelerators and runtime, f"{path}: no TPU, or no runtime_version"
        assert stores == {"/runs": (f"gs://{BUCKET}", "MOUNT")}, f"{path}: {stores}"
        spot = f"spot, {resources.job_recovery}" if resources.use_spot else "on demand"
        print(f"  {Path(path).name}: {task.name}, {resources.accelerators}, {runtime}, {spot}, {stores}")
        try:
            skypilot.Task.from_yaml_config(yaml.safe_load(text))
        except ValueError as error:  # nobody starts it without a bucket
            print(f"    without a bucket: {str(error).partition('.')[0]}")
        else:
            raise AssertionError(f"{path} is accepted without a bucket")


def jobset() -> None:
    """Lay our JobSet beside what XPK would apply for the same slice, for every slice that render.py knows."""
    print(f"XPK {version('xpk')}")
    for slice_type in render.SLICES:
        ours = without_ours(yaml.safe_load(rendered(slice_type)))
        theirs = without_theirs(yaml.safe_load(dry_run(slice_type)))
        different = [
            f"{key}: {ours.get(key)} here, {theirs.get(key)} there"
            for key in ours.keys() | theirs.keys()
            if ours.get(key) != theirs.get(key)
        ]
        assert not different, f"{slice_type}: {different}"
        print(f"  {slice_type}: equal in all of its {len(ours)} values")


def rendered(slice_type: str) -> str:
    """Our JobSet."""
    return render.render(NAME, slice_type, BUCKET, IMAGE, RESTARTS, WORDS)


def dry_run(slice_type: str) -> str:
    """XPK's JobSet of the same run, which it writes without asking a cluster."""
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder) / "jobset.yaml"
        command = [str(Path(sys.executable).parent / "xpk"), "workload", "create", "--dry-run", "--skip-validation"]
        command += ["--project=my-project", "--zone=us-west4-a", "--cluster=my-cluster", f"--workload={NAME}"]
        command += [f"--tpu-type={slice_type}", f"--docker-image={IMAGE}", f"--max-restarts={RESTARTS}"]
        command += [f"--command=infojax {' '.join(WORDS)}", f"--output-manifest-file={manifest}"]
        environment = {"HOME": folder, "PATH": "/usr/bin:/bin"}  # its settings go where nothing of yours is
        subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        return manifest.read_text(encoding="utf-8")


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value with its path; what is null or empty is not there."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, f"{prefix}/{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from leaves(value, f"{prefix}/{index}")
    elif node is not None:
        yield prefix, node


def without_ours(manifest: dict[str, Any]) -> dict[str, Any]:
    """What is in our JobSet but for the bucket, which XPK knows only of a cluster, and the command."""
    found = dict(leaves(manifest))
    container = "/spec/replicatedJobs/0/template/spec/template/spec/containers/0"
    assert found.pop(f"{container}/volumeMounts/1/name") == "runs"
    assert found.pop(f"{container}/volumeMounts/1/mountPath") == "/runs"
    pod = container.removesuffix("/containers/0")
    kept = {
        key: value for key, value in found.items() if not key.startswith((f"{pod}/volumes/1/", f"{container}/command"))
    }
    return {key: value for key, value in kept.items() if "/annotations/gke-gcsfuse/" not in key}


def without_theirs(manifest: dict[str, Any]) -> dict[str, Any]:
    """What is in XPK's but for the shell that it wraps around the command, and the secret "None" for a public image."""
    found = dict(leaves(manifest))
    pod = "/spec/replicatedJobs/0/template/spec/template/spec"
    assert found.pop(f"{pod}/imagePullSecrets/0/name", "None") == "None"
    return {key: value for key, value in found.items() if not key.startswith(f"{pod}/containers/0/command")}


if __name__ == "__main__":
    if sys.argv[1:2] == ["sky"]:
        sky(sys.argv[2:])
    elif sys.argv[1:] == ["jobset"]:
        jobset()
    else:
        sys.exit(__doc__)
