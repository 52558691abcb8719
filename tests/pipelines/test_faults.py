"""Workers, nodes and the driver are killed in the middle: nothing is lost, and the bytes are the same."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import interrupted_driver
import pytest
import slow_samples

from facefill.errors import UserError
from pipelines import jobs
from pipelines.shards import write_shard_set

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 240


def checksums(folder: Path) -> dict[str, bytes]:
    """Every file of a set by its name there, unfinished ones too."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed")
    slow_samples.write(str(folder / "set"), str(folder / "diary"))
    return checksums(folder / "set")


def wait_for(condition, process: subprocess.Popen | None = None) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline and (process is None or process.poll() is None)
        time.sleep(0.02)


def driver(kind: str, folder: Path, diary: Path, log: Path) -> subprocess.Popen:
    command = [sys.executable, interrupted_driver.__file__, kind, str(folder), str(diary)]
    environment = os.environ | {"RAY_AUTH_MODE": "disabled"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment["PYTHONPATH"]])
    environment.pop("RAY_ADDRESS", None)
    with log.open("wb") as stream:
        return subprocess.Popen(
            command, env=environment, stdout=stream, stderr=stream, start_new_session=True
        )


def test_a_killed_worker(undisturbed, tmp_path, ray_session):
    diary = tmp_path / "diary"
    killed: list[str] = []

    def kill() -> None:
        wait_for(lambda: list(diary.glob("004-*")))  # in the middle of the second tar
        killed.append(next(iter(diary.glob("004-*"))).name)
        os.kill(int(killed[0].split("-")[1]), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    slow_samples.write(str(tmp_path / "set"), str(diary), pause=0.15, workers=2)
    killer.join()
    again = [entry.name for entry in diary.glob("004-*")]
    assert len(again) == 2 and killed[0] in again  # begun again by another process
    assert checksums(tmp_path / "set") == undisturbed


def test_a_worker_that_dies_each_time_is_said_in_one_line(undisturbed, tmp_path, ray_session, monkeypatch):
    monkeypatch.setattr(jobs, "MAX_RETRIES", 1)
    folder, tars = str(tmp_path / "set"), slow_samples.slices(1)
    with pytest.raises(UserError, match=r"a worker died 2 times .*memory.*same command") as caught:
        write_shard_set(folder, "made", tars, slow_samples.prepare_and_die, config={}, workers=1)
    assert "\n" not in str(caught.value)
    slow_samples.write(folder, str(tmp_path / "diary"))
    assert checksums(tmp_path / "set") == undisturbed


def test_a_node_that_goes(undisturbed, tmp_path):
    diary = tmp_path / "diary"
    process = driver("nodes", tmp_path / "set", diary, tmp_path / "log")
    try:
        assert process.wait(LIMIT_S) == 0, (tmp_path / "log").read_text()[-3000:]
    finally:
        end(process)
    assert (diary / "node removed").exists()
    nodes = {entry.name.split("-")[2] for entry in diary.glob("0*")}
    begun = [entry.name[:3] for entry in diary.glob("0*")]
    assert len(nodes) == 2 and len(begun) > len(set(begun))  # what the node had in hand was begun again
    assert checksums(tmp_path / "set") == undisturbed


def test_a_killed_driver(undisturbed, tmp_path):
    folder, diary = tmp_path / "set", tmp_path / "diary"
    process = driver("private", folder, diary, tmp_path / "log")
    try:
        wait_for(lambda: len(list(folder.glob("parts/*"))) >= 2 and list(folder.glob(".*.tar.*")), process)
        workers = {int(entry.name.split("-")[1]) for entry in diary.iterdir()}
        for killed in (process.pid, *workers):  # all at once, as when a machine loses its power
            os.kill(killed, signal.SIGKILL)
    finally:
        end(process)
    assert list(folder.glob(".*.tar.*"))  # half a tar, under no name that anybody reads
    assert not (folder / "manifest.parquet").exists()
    before = {tar: tar.stat().st_mtime_ns for tar in folder.glob("*.tar")}
    slow_samples.write(str(folder), str(tmp_path / "second diary"))
    assert len([tar for tar in before if tar.stat().st_mtime_ns == before[tar]]) >= 2
    assert len(list((tmp_path / "second diary").iterdir())) <= len(undisturbed_tars(undisturbed)) - 2
    assert checksums(folder) == undisturbed


def undisturbed_tars(files: dict[str, bytes]) -> list[str]:
    return [name for name in files if name.endswith(".tar")]


def end(process: subprocess.Popen) -> None:
    """The driver and what it started, should anything be left of it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
