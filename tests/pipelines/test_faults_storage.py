"""The disk fills, the S3 server dies, shards are damaged: said in one line, nothing lost, the same bytes."""

import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import full_disk
import pytest
import slow_samples
import yaml
from tiny_releases import write_celeba

from facefill.errors import UserError
from pipelines import storage
from pipelines.cli import main
from pipelines.shards import shard_dataset
from pipelines.sources.celeba import list_records
from pipelines.sources.records import SourceSettings
from pipelines.verify import describe, remove_damaged, verify_set

ROOT = Path(__file__).resolve().parents[2]
OWN_MOUNTS = ["unshare", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), "--mount"]


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def celeba(tmp_path_factory) -> Path:
    return write_celeba(tmp_path_factory.mktemp("celeba"), count=12)


def config_file(folder: Path, root: Path, output: Path) -> Path:
    tree = {
        "name": "tiny",
        "output": str(output),
        "datasets": [{"name": "celeba", "source": "celeba_aligned", "root": str(root), "fit": False}],
        "shard": {"samples_per_shard": 3},
    }
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump(tree))
    return file


def may_mount(folder: Path) -> bool:
    if shutil.which("unshare") is None:
        return False
    mount = f"mount -t tmpfs -o size=1m none {folder}"
    return subprocess.run([*OWN_MOUNTS, "sh", "-c", mount], capture_output=True).returncode == 0


def test_a_full_disk(celeba, tmp_path, ray_session):
    disk = tmp_path / "disk"
    disk.mkdir()
    if not may_mount(disk):
        pytest.skip("no small disk can be mounted here: needs root or user namespaces")
    config = config_file(tmp_path, celeba, tmp_path / "roomy")
    assert main(["shard", str(config), "shard.workers=0"]) == 0
    expected = {name: data.hex() for name, data in files_below(tmp_path / "roomy" / "shards").items()}
    free = str(sum(len(data) // 2 for data in expected.values()) * 6 // 10)
    config_file(tmp_path, celeba, disk / "run")
    environment = os.environ | {"RAY_AUTH_MODE": "disabled"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment["PYTHONPATH"]])
    command = [*OWN_MOUNTS, sys.executable, full_disk.__file__, str(config), str(disk), free]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["status"] == 2 and len(seen["lines"]) == 1
    where = f"facefill: {disk}/run/shards/celeba"
    assert seen["lines"][0].startswith(where) and "no space left on device" in seen["lines"][0]
    assert "free space there" in seen["lines"][0] and "same command" in seen["lines"][0]
    assert seen["again"] == 0
    assert seen["all"] == expected
    left = {name: data for name, data in seen["left"].items() if not name.endswith(".partial")}
    assert [name for name in left if name.endswith(".tar")]  # what was whole before is kept
    assert left.items() <= expected.items() and "celeba/manifest.parquet" not in left


def test_a_limit_on_the_size_of_files(tmp_path):
    slow_samples.write(str(tmp_path / "undisturbed"), str(tmp_path / "diary"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (slow_samples.SAMPLE_BYTES * 3, limits[1]))
    try:
        with pytest.raises(UserError) as caught:
            slow_samples.write(str(tmp_path / "set"), str(tmp_path / "diary"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    place = f"{tmp_path}/set: file too large while writing made-train-000000.tar: "
    assert str(caught.value).startswith(place)
    assert not files_below(tmp_path / "set")
    slow_samples.write(str(tmp_path / "set"), str(tmp_path / "diary"))
    assert files_below(tmp_path / "set") == files_below(tmp_path / "undisturbed")


def test_the_server_dies_in_the_middle_and_comes_back(celeba, running_s3, tmp_path, monkeypatch):
    for name, value in running_s3.environment.items():
        monkeypatch.setenv(name, value)
    bucket = f"s3://facefill/{tmp_path.name}"
    for file, content in files_below(celeba).items():
        storage.write_bytes(storage.join(bucket, "celeba", file), content)
    settings = SourceSettings("celeba")
    listing = list_records(storage.join(bucket, "celeba"), settings, "aligned")
    away = threading.Thread(target=die_and_come_back, args=(running_s3, 3))

    def begin(*_: object) -> None:
        if away.ident is None:  # the first tar is there
            away.start()
            time.sleep(0.5)

    out = storage.join(bucket, "set")
    made = shard_dataset(listing, out, samples_per_shard=3, config={}, workers=0, on_progress=begin)
    away.join()
    assert not made.rejected
    undisturbed = storage.join(bucket, "undisturbed")
    shard_dataset(listing, undisturbed, samples_per_shard=3, config={}, workers=0)
    found = [
        {url[len(root) :]: storage.sha256(url) for url in storage.list_files(root)}
        for root in (out, undisturbed)
    ]
    assert found[0] == found[1] and len(found[0]) > 8
    assert verify_set(out, workers=0).damages == ()


def die_and_come_back(server, seconds: float) -> None:
    server.kill()
    time.sleep(seconds)
    server.start()


@pytest.mark.parametrize("place", ["head", "data", "padding", "end"])
def test_a_flipped_byte(tmp_path, place):
    folder = tmp_path / "set"
    slow_samples.write(str(folder), str(tmp_path / "diary"))
    whole = files_below(folder)
    tar = folder / "made-train-000002.tar"
    data = bytearray(tar.read_bytes())
    data[{"head": 3, "data": 700, "padding": 512 + slow_samples.SAMPLE_BYTES + 1, "end": -1}[place]] ^= 0x10
    tar.write_bytes(data)
    repair(folder, tar.name, tmp_path)
    assert files_below(folder) == whole


@pytest.mark.parametrize("length", [0, 100, 512, 40_000, -1])
def test_a_cut_tar(tmp_path, length):
    folder = tmp_path / "set"
    slow_samples.write(str(folder), str(tmp_path / "diary"))
    whole = files_below(folder)
    tar = folder / "made-train-000004.tar"
    tar.write_bytes(tar.read_bytes()[:length])
    repair(folder, tar.name, tmp_path)
    assert files_below(folder) == whole


def test_a_tar_that_is_gone(tmp_path):
    folder = tmp_path / "set"
    slow_samples.write(str(folder), str(tmp_path / "diary"))
    whole = files_below(folder)
    (folder / "made-train-000001.tar").unlink()
    repair(folder, "made-train-000001.tar", tmp_path)
    assert files_below(folder) == whole


def repair(folder: Path, damaged: str, tmp_path: Path) -> None:
    """Find the damage, remove what is damaged, write just that again."""
    found = verify_set(str(folder), workers=0)
    assert {damage.file for damage in found.damages} == {damaged}
    assert damaged in "\n".join(describe([found]))
    untouched = {tar: tar.stat().st_mtime_ns for tar in folder.glob("*.tar") if tar.name != damaged}
    remove_damaged(found)
    slow_samples.write(str(folder), str(tmp_path / "second diary"))
    assert {tar: tar.stat().st_mtime_ns for tar in untouched} == untouched
    assert len(list((tmp_path / "second diary").iterdir())) == 1
    assert verify_set(str(folder), workers=0).damages == ()
