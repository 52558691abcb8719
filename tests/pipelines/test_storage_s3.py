"""The same storage on a real S3 server: files, listings, copies, Ray's filesystem, shards and loader."""

import pytest
from tiny_releases import write_celeba

from facefill.errors import UserError
from pipelines import storage
from pipelines.loader import Loader
from pipelines.manifest import load_manifest
from pipelines.shards import shard_dataset
from pipelines.sources.celeba import list_records
from pipelines.sources.records import SourceSettings


@pytest.fixture
def bucket(s3_server, monkeypatch, tmp_path):
    for name, value in s3_server.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FACEFILL_CACHE", str(tmp_path / "cache"))
    return f"s3://facefill/{tmp_path.name}"


def test_files(bucket, tmp_path):
    url = storage.join(bucket, "folder", "x.bin")
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(url)
    storage.write_bytes(url, b"one")
    assert storage.read_bytes(url) == b"one" and storage.exists(url) and storage.size(url) == 3
    assert storage.list_files(bucket) == [url]
    copy = storage.local_copy(url)
    assert copy.read_bytes() == b"one" and copy == storage.local_copy(url)
    storage.write_bytes(url, b"two, changed by another")
    assert storage.local_copy(url).read_bytes() == b"two, changed by another"
    with pytest.raises(RuntimeError), storage.open(url, "wb") as file:
        file.write(b"half")
        raise RuntimeError
    assert storage.read_bytes(url) == b"two, changed by another"
    storage.remove(storage.join(bucket, "folder"))
    assert storage.list_files(bucket) == []
    assert not storage.exists(url)


def test_one_url_serves_ray_too(bucket):
    path, filesystem = storage.ray_storage(bucket)
    storage.write_bytes(storage.join(bucket, "x"), b"from us")
    with filesystem.open_input_stream(f"{path}/x") as stream:
        assert stream.read() == b"from us"


def test_a_server_that_is_gone_is_a_users_error(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(storage, "ATTEMPTS", 2)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    try:
        with pytest.raises(UserError, match=r"s3://facefill.*does not answer"):
            storage.read_bytes(storage.join(bucket, "x"))
    finally:
        s3fs.S3FileSystem.clear_instance_cache()


def test_a_data_set_on_s3_becomes_the_same_shards(bucket, tmp_path):
    root = write_celeba(tmp_path / "celeba", count=6)
    for file in storage.list_files(str(root)):
        storage.write_bytes(storage.join(bucket, "celeba", file[len(str(root)) :]), storage.read_bytes(file))
    settings = SourceSettings("celeba")
    listing = list_records(storage.join(bucket, "celeba"), settings, "aligned")
    remote = shard_dataset(listing, storage.join(bucket, "shards"), samples_per_shard=3, config={}, workers=0)
    here = list_records(str(root), settings, "aligned")
    local = shard_dataset(here, str(tmp_path / "shards"), samples_per_shard=3, config={}, workers=0)
    assert [s.md5sum for s in remote.shards] == [s.md5sum for s in local.shards]
    reopened = load_manifest(storage.join(bucket, "shards"))
    assert reopened == remote
    step, batch = next(Loader([reopened], 2, seed=1, split="train").batches())
    _, expected = next(Loader([local], 2, seed=1, split="train").batches())
    assert step == 0 and batch["key"] == expected["key"] and bool((batch["image"] == expected["image"]).all())
