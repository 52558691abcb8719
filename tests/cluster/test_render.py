"""The command writes every file of a cluster, and nothing for a faulty spec."""

import re
from pathlib import Path

import pytest
import yaml

from cluster.__main__ import main
from cluster.errors import SpecError
from cluster.render import pinned_ray_version, render, write_files
from cluster.spec import load_spec

ROOT = Path(__file__).resolve().parents[2]


def test_command_writes_all_files(write_spec, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["render", str(write_spec()), str(out)]) == 0
    written = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert written == [
        "docker/Dockerfile",
        "docker/Dockerfile.dockerignore",
        "kuberay/rayjob.yaml",
        "ray_up/cluster.yaml",
    ]
    assert sorted(capsys.readouterr().out.split()) == [str(out / name) for name in written]


def test_rendering_twice_gives_the_same_bytes(write_spec):
    spec = load_spec(write_spec())
    assert render(spec) == render(spec)


def test_without_machines_no_ray_up_file(write_spec):
    assert "ray_up/cluster.yaml" not in render(load_spec(write_spec({"aws": None})))


def test_one_ray_version_everywhere(write_spec):
    spec = load_spec(write_spec())
    pinned = pinned_ray_version(ROOT / "constraints.txt")
    assert spec.ray_version == pinned
    files = render(spec)
    assert yaml.safe_load(files["kuberay/rayjob.yaml"])["spec"]["rayClusterSpec"]["rayVersion"] == pinned
    assert f"ray, version {pinned}" in files["docker/Dockerfile"]
    for text in files.values():
        assert set(re.findall(r"\b2\.\d\d\.\d+\b", text)) <= {pinned}


def test_another_ray_version_is_refused(write_spec, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["render", str(write_spec({"ray_version": "2.59.0"})), str(out)]) == 2
    error = capsys.readouterr().err
    assert error == (
        "error: ray_version: 2.59.0 is not the 2.60.0 of constraints.txt, "
        "with which the image is built: write 2.60.0\n"
    )
    assert not out.exists()


def test_faulty_spec_and_faulty_folder_exit_2(write_spec, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["render", str(write_spec({"workers.gpu": 1})), str(out)]) == 2
    assert "workers.gpu: unknown key" in capsys.readouterr().err
    assert not out.exists()
    out.write_text("a file in the way")
    assert main(["render", str(write_spec()), str(out)]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_files_are_replaced_whole(tmp_path):
    write_files({"a/b.yaml": "old"}, tmp_path)
    [path] = write_files({"a/b.yaml": "new"}, tmp_path)
    assert path.read_text() == "new"
    assert [entry.name for entry in path.parent.iterdir()] == ["b.yaml"]


def test_constraints_without_ray_are_refused(tmp_path):
    path = tmp_path / "constraints.txt"
    path.write_text("torch==2.13.0\n")
    with pytest.raises(SpecError, match="has no line ray==VERSION"):
        pinned_ray_version(path)
