"""Storage on disks and in memory: atomic writes, retries, listings, local copies."""

import errno
import http.server
import os
import tempfile
import threading
from pathlib import Path

import pytest

from facefill.errors import UserError
from pipelines import storage, storage_faults


@pytest.fixture(params=["path", "file", "memory"])
def folder(request, tmp_path):
    url = {"path": str(tmp_path), "file": f"file://{tmp_path}", "memory": f"memory://{tmp_path.name}"}
    yield url[request.param]
    storage.remove(url[request.param])


def test_round_trip(folder):
    url = storage.join(folder, "a", "b.bin")
    assert not storage.exists(url)
    storage.write_bytes(url, b"\x00\x01")
    assert storage.read_bytes(url) == b"\x00\x01"
    assert storage.exists(url) and storage.exists(storage.join(folder, "a"))
    assert storage.size(url) == 2
    assert storage.sha256(url) == "b413f47d13ee2fe6c845b2ee141af81de858df4ec549a58b7970bb96645bc8d2"
    storage.write_text(url, "grün")
    assert storage.read_text(url) == "grün"
    storage.remove(url)
    storage.remove(url)  # nothing there: nothing happens
    assert not storage.exists(url)


def test_listing_is_sorted_and_its_urls_can_be_read(folder):
    for name in ("b/2.txt", "a.txt", "b/1.jpg"):
        storage.write_text(storage.join(folder, name), name)
    assert storage.list_files(folder) == [storage.join(folder, n) for n in ("a.txt", "b/1.jpg", "b/2.txt")]
    assert storage.list_files(folder, ".txt", recursive=False) == [storage.join(folder, "a.txt")]
    assert [storage.read_text(url) for url in storage.list_files(folder, ".txt")] == ["a.txt", "b/2.txt"]
    assert storage.list_files(storage.join(folder, "absent")) == []


def test_a_failed_write_leaves_the_old_file_and_no_litter(folder):
    url = storage.join(folder, "x.bin")
    storage.write_bytes(url, b"old")
    with pytest.raises(RuntimeError), storage.open(url, "wb") as file:
        file.write(b"half of the n")
        raise RuntimeError
    assert storage.read_bytes(url) == b"old"
    assert storage.list_files(folder) == [url]
    path = storage.local_path(folder)
    if path is not None:
        assert os.listdir(path) == ["x.bin"]


@pytest.fixture
def no_waiting(monkeypatch):
    monkeypatch.setattr(storage_faults.time, "sleep", lambda _: pytest.fail("waited"))


def test_missing_files_are_not_tried_again(folder, no_waiting):
    for read in (storage.read_bytes, storage.size, storage.sha256, storage.local_copy):
        with pytest.raises(FileNotFoundError):
            read(storage.join(folder, "absent"))


class Clock:
    """Time that passes only while one sleeps."""

    def __init__(self):
        self.now, self.pauses = 0.0, []

    def monotonic(self):
        return self.now

    def sleep(self, pause):
        self.pauses.append(pause)
        self.now += pause


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(storage_faults, "time", clock)
    return clock


def test_transient_failures_are_tried_again_with_growing_pauses(clock):
    failures = [ConnectionResetError("reset"), TimeoutError("late"), OSError(5, "EIO")]

    def flaky() -> str:
        if failures:
            raise failures.pop()
        return "done"

    assert storage_faults.retried(flaky, "s3://b/k", 60) == "done"
    assert clock.pauses == [0.2, 0.4, 0.8]


@pytest.mark.parametrize(("url", "least"), [("s3://b/k", 50), ("/disk/k", 2)])
def test_a_store_that_never_answers_is_a_users_error_after_its_time(clock, url, least):
    def dead() -> None:
        raise ConnectionRefusedError("nobody there")

    with pytest.raises(UserError, match=rf"{url}.*does not answer.*nobody there.*same command again"):
        storage._retry(dead, url)
    assert least < clock.now <= 60 and max(clock.pauses) <= 5


def test_an_outage_of_half_a_minute_is_waited_for(clock):
    def back_after_half_a_minute() -> str:
        if clock.now < 30:
            raise ConnectionRefusedError("nobody there")
        return "done"

    assert storage._retry(back_after_half_a_minute, "s3://b/k") == "done"


def test_refused_permission_is_not_tried_again_and_names_the_url(no_waiting):
    def refused() -> None:
        raise PermissionError("Access Denied")  # s3fs gives neither number nor name

    with pytest.raises(PermissionError) as caught:
        storage._retry(refused, "s3://b/k")
    assert caught.value.filename == "s3://b/k" and caught.value.strerror == "Access Denied"


@pytest.mark.parametrize(
    ("error", "number", "remedy"),
    [
        ("ENOSPC", errno.ENOSPC, "free space"),
        ("EDQUOT", errno.EDQUOT, "free space"),
        ("EFBIG", errno.EFBIG, ""),
    ],
)
def test_a_full_disk_is_said_in_one_line_with_path_and_remedy(folder, error, number, remedy, no_waiting):
    url = storage.join(folder, "a", "x.bin")
    storage.write_bytes(url, b"old")
    with pytest.raises(UserError) as caught, storage.open(url, "wb"):
        raise OSError(number, os.strerror(number))
    place = storage.local_path(url)
    assert str(caught.value).startswith(f"{tempfile.gettempdir() if place is None else place.parent}: ")
    assert remedy in str(caught.value) and "\n" not in str(caught.value) and "x.bin" in str(caught.value)
    assert storage.read_bytes(url) == b"old" and storage.list_files(folder) == [url]


def test_what_killed_writers_left_is_removed(tmp_path):
    storage.write_bytes(str(tmp_path / "x.tar"), b"whole")
    stream = storage.open(str(tmp_path / "y.tar"), "wb")
    stream.__enter__()
    assert len(os.listdir(tmp_path)) == 2 and storage.list_files(str(tmp_path)) == [str(tmp_path / "x.tar")]
    storage.remove_unfinished(f"file://{tmp_path}")
    assert os.listdir(tmp_path) == ["x.tar"]
    with pytest.raises(FileNotFoundError):  # a writer that was taken for dead publishes nothing
        stream.__exit__(None, None, None)
    storage.remove_unfinished(str(tmp_path / "absent"))


def test_a_remote_file_is_read_at_any_place_and_as_text(folder):
    url = storage.join(folder, "x.txt")
    storage.write_text(url, "0123456789\ngrün")
    with storage.open(url) as file:
        assert file.seekable() and file.read(3) == b"012"
        file.seek(-6, os.SEEK_END)
        assert file.read().decode() == "\ngrün" and file.read() == b""
        file.seek(5)
        assert file.tell() == 5 and file.read(2) == b"56"
    with storage.open(url, "r") as file:
        assert file.readlines() == ["0123456789\n", "grün"]


class Pages(http.server.BaseHTTPRequestHandler):
    """Answers with the path's own words; /flaky fails twice before."""

    failures = 0

    def do_GET(self):
        status = {"/absent": 404, "/secret": 403}.get(self.path, 200)
        if self.path == "/flaky" and Pages.failures < 2:
            Pages.failures += 1
            status = 503
        self.send_response(status)
        self.send_header("Content-Length", str(len(self.path)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(self.path.encode())

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


def test_another_kind_of_url(tmp_path, monkeypatch):
    monkeypatch.setattr(storage_faults, "FIRST_PAUSE_S", 0.01)
    Pages.failures = 0
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        root = f"http://127.0.0.1:{server.server_port}"
        assert storage.read_bytes(f"{root}/x.txt") == b"/x.txt"
        assert storage.exists(f"{root}/x.txt") and storage.size(f"{root}/x.txt") == 6
        assert storage.local_copy(f"{root}/x.txt", tmp_path).read_bytes() == b"/x.txt"
        with storage.open(f"{root}/x.txt", "r") as file:
            assert file.read() == "/x.txt"
        assert storage.read_bytes(f"{root}/flaky") == b"/flaky" and Pages.failures == 2
        assert not storage.exists(f"{root}/absent")
        with pytest.raises(FileNotFoundError):
            storage.read_bytes(f"{root}/absent")
        with pytest.raises(UserError, match=r"/secret: the storage refuses this.*403"):
            storage.read_bytes(f"{root}/secret")
        server.shutdown()


def test_local_copy_of_a_local_file_is_the_file(tmp_path):
    (tmp_path / "x").write_bytes(b"1")
    assert storage.local_copy(str(tmp_path / "x")) == tmp_path / "x"
    assert storage.local_copy(f"file://{tmp_path}/x") == tmp_path / "x"


def test_local_copy_of_a_remote_file_is_kept_until_it_changes(tmp_path):
    url = f"memory://{tmp_path.name}/x.bin"
    storage.write_bytes(url, b"one")
    first = storage.local_copy(url, tmp_path)
    assert first.read_bytes() == b"one" and first.name == "x.bin"
    first.write_bytes(b"marked")
    assert storage.local_copy(url, tmp_path).read_bytes() == b"marked"  # not fetched again
    storage.write_bytes(url, b"three")
    assert storage.local_copy(url, tmp_path).read_bytes() == b"three"


def test_unknown_kind_of_storage_is_a_users_error():
    with pytest.raises(UserError, match="nonsense://x"):
        storage.read_bytes("nonsense://x/y")


def test_ray_storage(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert storage.ray_storage("runs/one") == (str(tmp_path / "runs/one"), None)
    assert storage.ray_storage(f"file://{tmp_path}") == (str(tmp_path), None)
    with pytest.raises(UserError, match="memory://"):
        storage.ray_storage("memory://x")


def test_home_and_names():
    assert storage.local_path("~/x") == Path.home() / "x"
    assert storage.local_path("s3://b/x") is None
    assert storage.name_of("s3://b/x/y.tar") == "y.tar"


def test_a_writer_to_elsewhere_leaves_nothing_here_if_it_is_killed(tmp_path, monkeypatch):
    """There is no name on the disk at any time that a killed process could leave behind."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    url = f"memory://{tmp_path.name}/x.tar"
    with storage.open(url, "wb") as file:
        file.write(b"half")
        file.flush()
        assert os.listdir(tmp_path) == []
        file.write(b" and half")
    assert storage.read_bytes(url) == b"half and half"
    storage.remove(url)
