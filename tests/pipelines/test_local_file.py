"""Files read by their names: whole whatever their size says, and where storage finds them."""

from pathlib import Path

import pytest

from pipelines import storage
from pipelines.local_file import content, local_name


@pytest.mark.parametrize("size", [0, 1, 70_000])
def test_a_file_is_read_whole(tmp_path, size):
    data = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "file").write_bytes(data[:size])
    assert content(str(tmp_path / "file")) == data[:size]
    assert storage.read_bytes(f"file://{tmp_path}/file") == data[:size]


def test_a_file_without_a_size_is_read_whole():
    assert content("/proc/self/status").startswith(b"Name:") and Path("/proc/self/status").stat().st_size == 0


def test_names_of_this_machine(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert (
        local_name("~/faces/a.jpg")
        == "/home/somebody/faces/a.jpg"
        == str(storage.local_path("~/faces/a.jpg"))
    )
    assert local_name("faces/a.jpg") == "faces/a.jpg" and local_name("local:///a") == "/a"
    assert local_name("s3://bucket/a") is None and local_name("zip::a.zip") is None
