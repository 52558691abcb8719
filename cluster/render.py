"""From one spec to every file that a cluster needs."""

import os
import re
from pathlib import Path

import yaml

from cluster.docker import DOCKERIGNORE, dockerfile
from cluster.errors import SpecError
from cluster.kuberay import ray_job
from cluster.ray_up import ray_up
from cluster.spec import Spec

CONSTRAINTS = Path(__file__).resolve().parent.parent / "constraints.txt"
_HEADER = "# Rendered by `python -m cluster render`: change the spec, not this file.\n"


def render(spec: Spec, constraints: Path = CONSTRAINTS) -> dict[str, str]:
    """Relative path -> text of every rendered file."""
    pinned = pinned_ray_version(constraints)
    if spec.ray_version != pinned:
        raise SpecError(
            f"ray_version: {spec.ray_version} is not the {pinned} of {constraints.name}, "
            f"with which the image is built: write {pinned}"
        )
    files = {
        "docker/Dockerfile": dockerfile(spec),
        "docker/Dockerfile.dockerignore": DOCKERIGNORE,
        "kuberay/rayjob.yaml": _yaml(ray_job(spec)),
    }
    if spec.aws or spec.on_premise:
        files["ray_up/cluster.yaml"] = _yaml(ray_up(spec))
    return files


def pinned_ray_version(constraints: Path) -> str:
    """Ray's version in the constraints file."""
    match = re.search(r"^ray==(\S+)$", constraints.read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise SpecError(f"{constraints}: has no line ray==VERSION")
    return match.group(1)


def write_files(files: dict[str, str], folder: Path) -> list[Path]:
    """Write each file whole or not at all; returns the paths."""
    paths = []
    for relative, text in files.items():
        path = folder / relative
        partial = path.with_name(path.name + ".partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(text, encoding="utf-8")
            os.replace(partial, path)
        except OSError as error:
            raise SpecError(f"{path}: cannot be written ({error.strerror}): give another folder") from error
        paths.append(path)
    return paths


def _yaml(document: dict[str, object]) -> str:
    return _HEADER + yaml.safe_dump(document, sort_keys=False, width=120)
