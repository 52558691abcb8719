"""The cache of remote shards: whole and checked copies, a limit, nothing taken from under a reader."""

import hashlib
import os
import time

import pytest

from facefill.errors import UserError
from pipelines import storage
from pipelines.shard_cache import ABANDONED_S, ShardCache, shard_cache

SIZE = 1000


@pytest.fixture
def remote(tmp_path):
    """Four shards of a thousand bytes elsewhere: number -> (url, size, sha256)."""
    shards = []
    for number in range(4):
        content = bytes([number]) * SIZE
        url = f"memory://{tmp_path.name}/{number}.tar"
        storage.write_bytes(url, content)
        shards.append((url, SIZE, hashlib.sha256(content).hexdigest()))
    yield shards
    storage.remove(f"memory://{tmp_path.name}")


def content_of(descriptor: int) -> bytes:
    return os.pread(descriptor, 2 * SIZE, 0)


def fetch(cache: ShardCache, shard: tuple[str, int, str]) -> None:
    os.close(cache.open(*shard))


def held(cache: ShardCache) -> list[int]:
    """The numbers of the shards of which there are copies."""
    return sorted(copy.read_bytes()[0] for copy in cache.folder.glob("*.tar"))


def test_a_copy_is_fetched_once_and_needs_the_storage_no_more(remote, tmp_path):
    cache = ShardCache(tmp_path / "cache", 10 * SIZE)
    url, size, sha256 = remote[1]
    fetch(cache, remote[1])
    storage.remove(url)
    descriptor = cache.open(url, size, sha256)
    assert content_of(descriptor) == bytes([1]) * SIZE
    os.close(descriptor)
    assert [path.suffix for path in cache.folder.iterdir()] == [".tar"]
    with pytest.raises(FileNotFoundError):
        cache.open(url, size, "")  # another content by its checksum: another copy


def test_the_longest_unused_go_first_and_the_limit_holds(remote, tmp_path):
    cache = ShardCache(tmp_path / "cache", 2 * SIZE)
    for number in (0, 1, 0, 2):
        fetch(cache, remote[number])
        time.sleep(0.01)
    assert held(cache) == [0, 2]
    fetch(cache, remote[3])
    assert held(cache) == [2, 3]


def test_a_shard_in_use_stays_though_the_limit_is_passed(remote, tmp_path, caplog):
    cache = ShardCache(tmp_path / "cache", SIZE)
    reading = cache.open(*remote[0])
    fetch(cache, remote[1])
    assert held(cache) == [0, 1] and content_of(reading) == bytes([0]) * SIZE
    assert "shards in use need more than its limit" in caplog.text
    os.close(reading)
    fetch(cache, remote[2])
    assert held(cache) == [2]


def test_another_size_or_content_is_refused_and_leaves_nothing(remote, tmp_path):
    cache = ShardCache(tmp_path / "cache", 10 * SIZE)
    url, size, sha256 = remote[0]
    with pytest.raises(UserError, match=r"0\.tar: the tar is truncated, 1000 of 1001 bytes"):
        cache.open(url, size + 1, "")
    flipped = bytes([0]) * (SIZE - 1) + b"\x01"
    storage.write_bytes(url, flipped)
    with pytest.raises(UserError, match=r"0\.tar: its checksum is not the manifest's"):
        cache.open(url, size, sha256)
    assert list(cache.folder.iterdir()) == []
    fetch(cache, (url, size, ""))


def test_what_is_on_its_way_counts_and_what_was_abandoned_goes(remote, tmp_path):
    cache = ShardCache(tmp_path / "cache", 3 * SIZE)
    for number in range(2):
        fetch(cache, remote[number])
        time.sleep(0.01)
    coming = cache.folder / f"{'a' * 32}.{SIZE}.partial"
    coming.touch()
    fetch(cache, remote[2])
    assert held(cache) == [1, 2]
    old = time.time() - ABANDONED_S - 1
    os.utime(coming, (old, old))
    fetch(cache, remote[3])
    assert held(cache) == [1, 2, 3] and not coming.exists()


def test_a_full_disk_makes_room_first(remote, tmp_path, monkeypatch):
    import shutil

    cache = ShardCache(tmp_path / "cache", 100 * SIZE)
    fetch(cache, remote[0])
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=SIZE))
    fetch(cache, remote[1])
    assert held(cache) == [1]


def test_the_limit_comes_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("FACEFILL_CACHE", str(tmp_path))
    monkeypatch.setenv("FACEFILL_CACHE_GB", "1.5")
    assert shard_cache() == ShardCache(tmp_path / "shards", 1_500_000_000)
    for wrong in ("many", "-1", "nan", "inf"):
        monkeypatch.setenv("FACEFILL_CACHE_GB", wrong)
        with pytest.raises(UserError, match=f"FACEFILL_CACHE_GB={wrong}: give the gigabytes"):
            shard_cache()
