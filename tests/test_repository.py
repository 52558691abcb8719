"""What lies in the repository: no machine paths, no large files, configs named, dependencies pinned."""

import re
import subprocess
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LARGEST_FILE = 3_000_000  # bytes
# In two parts, so that this file is no finding of its own.
MACHINE_PATHS = re.compile("|".join(r"(?<![\w.])/" + folder for folder in ("work/", "root/", "tmp/bash")))


def tracked_files() -> list[str]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: the list of files is not known")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def machine_paths_in(content: bytes) -> list[str]:
    """Absolute paths that only exist on one machine; pictures and arrays have none."""
    if b"\0" in content:
        return []
    return MACHINE_PATHS.findall(content.decode("utf-8", errors="replace"))


def test_no_machine_paths():
    found = {
        name: paths for name in tracked_files() if (paths := machine_paths_in((ROOT / name).read_bytes()))
    }
    assert not found


def test_machine_paths_are_seen():
    assert machine_paths_in(("see /" + "work/main").encode())
    assert machine_paths_in(("'/" + "root/.cache'").encode())
    assert not machine_paths_in(b"the network/work/flow of the tree/root/node")


def test_no_large_files():
    sizes = {name: (ROOT / name).stat().st_size for name in tracked_files()}
    assert not {name: size for name, size in sizes.items() if size > LARGEST_FILE}


def test_nothing_that_git_shall_ignore_is_tracked():
    assert not [
        name for name in tracked_files() if re.search(r"\.pyc$|\.db$|\.egg-info/|^runs/|\.partial$", name)
    ]


def test_every_packaged_config_is_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    configs = sorted(path.stem for path in (ROOT / "pipelines" / "configs").glob("*.yaml"))
    assert "demo" in configs
    assert not [name for name in configs if not re.search(rf"\b{name}\b", readme)]


def test_changelog_has_an_entry():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(r"^## \[(Unreleased|\d+\.\d+\.\d+)\]", changelog, re.MULTILINE)
    assert re.search(r"^- \S", changelog, re.MULTILINE)


def test_links_between_documents_lead_somewhere():
    for document in [ROOT / name for name in tracked_files() if name.endswith(".md")]:
        for target in re.findall(r"\]\(([^)#\s]+)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), (
                    f"{document.relative_to(ROOT)}: {target} is not there"
                )


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pins}


def requirements() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project.get("optional-dependencies", {}).values()
    return [
        Requirement(line)
        for line in [*project["dependencies"], *(line for extra in extras for line in extra)]
    ]


@pytest.mark.parametrize("requirement", requirements(), ids=lambda requirement: requirement.name)
def test_every_dependency_is_pinned_within_its_bounds(requirement):
    pinned = constraints().get(canonicalize_name(requirement.name))
    assert pinned, f"{requirement.name} has no line in constraints.txt"
    assert pinned in requirement.specifier


def test_pins_are_plain_and_single():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    assert not [
        line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)
    ]  # no local build such as +cpu
    names = Counter(canonicalize_name(line.split("==")[0]) for line in lines)
    assert not [name for name, count in names.items() if count > 1]


def test_every_dependency_has_its_licence_noted():
    notes = (ROOT / "THIRD_PARTY.md").read_text().lower()
    assert not [
        requirement.name for requirement in requirements() if f"| {requirement.name.lower()}" not in notes
    ]
