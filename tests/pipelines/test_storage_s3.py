"""The same storage on a real S3 server: files, listings, copies, Ray's filesystem, shards and loader."""

import hashlib
import io
import json
import os
import pickle
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from s3_server import KEY, SECRET, client
from tiny_releases import write_celeba
from toy_stage import toy_job

from facefill.errors import UserError
from pipelines import storage, storage_faults, storage_settings
from pipelines.checkpoints import list_checkpoints, read_weights
from pipelines.cluster_session import worker_environment
from pipelines.config import StorageConfig
from pipelines.loader import Loader
from pipelines.manifest import load_manifest
from pipelines.progress import Progress
from pipelines.shards import shard_dataset
from pipelines.sources.celeba import list_records
from pipelines.sources.records import SourceSettings
from pipelines.train import train_stage


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
    monkeypatch.setattr(storage_faults, "REMOTE_PATIENCE_S", 0.5)
    with pytest.raises(UserError, match=r"s3://facefill.*does not answer"):
        storage.read_bytes(storage.join(bucket, "x"))


def test_what_no_trying_again_can_help_is_said_at_once(bucket, monkeypatch):
    monkeypatch.setattr(storage_faults.time, "sleep", lambda _: pytest.fail("waited"))
    with pytest.raises(FileNotFoundError) as caught:
        storage.read_bytes("s3://nobodys-bucket/x")
    assert caught.value.filename == "s3://nobodys-bucket/x"
    with pytest.raises(UserError, match=r"s3://Not_A_Bucket!/x: the storage refuses this.*[Bb]ucket name"):
        storage.read_bytes("s3://Not_A_Bucket!/x")
    with pytest.raises(FileNotFoundError, match="bucket does not exist"):
        storage.list_files("s3://nobodys-bucket/folder")
    monkeypatch.setenv("FACEFILL_STORAGE", '{"anonymous": true}')
    with pytest.raises(PermissionError) as caught:
        storage.read_bytes(storage.join(bucket, "x"))
    assert caught.value.filename == storage.join(bucket, "x")


def test_an_object_of_many_parts(bucket, tmp_path):
    content = random.Random(1).randbytes(2 * storage.PART_BYTES + 12345)
    url = storage.join(bucket, "large.bin")
    storage.write_bytes(url, content)
    head = client(os.environ["AWS_ENDPOINT_URL"]).head_object(Bucket="facefill", Key=url.split("/", 3)[3])
    assert head["ETag"].strip('"').endswith("-3")  # how S3 marks an object of three parts
    assert storage.size(url) == len(content)
    assert storage.sha256(url) == hashlib.sha256(content).hexdigest()
    assert storage.local_copy(url, tmp_path).read_bytes() == content
    with storage.open(url) as file:
        file.seek(storage.PART_BYTES - 10)
        assert file.read(20) == content[storage.PART_BYTES - 10 :][:20]
        file.seek(-5, os.SEEK_END)
        assert file.read(100) == content[-5:]


def test_listing_and_removing_beyond_a_thousand_keys(bucket):
    s3 = client(os.environ["AWS_ENDPOINT_URL"])
    folder = storage.join(bucket, "many")
    key = folder.split("/", 3)[3]
    names = [f"{number // 100:02d}/{number:04d}.jpg" for number in range(1100)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: s3.put_object(Bucket="facefill", Key=f"{key}/{name}", Body=b"x"), names))
    assert storage.list_files(folder) == [storage.join(folder, name) for name in names]
    assert len(storage.list_files(folder, "7.jpg")) == 110
    assert storage.list_files(folder, recursive=False) == []
    storage.remove(folder)
    assert storage.list_files(folder) == []


def test_ray_gets_the_storage_without_keys(bucket, monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    monkeypatch.setenv("MY_SECRET", SECRET)
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_REGION"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("FACEFILL_STORAGE", "")  # put back afterwards
    settings = StorageConfig(
        endpoint_url=endpoint,
        region="us-east-1",
        access_key_variable="MY_KEY",
        secret_key_variable="MY_SECRET",
    )
    storage_settings.use(settings)
    storage.write_bytes(storage.join(bucket, "x"), b"by other variables")
    path, filesystem = storage.ray_storage(bucket)
    sent = pickle.dumps(filesystem)
    assert SECRET.encode() not in sent and KEY.encode() not in sent
    with pickle.loads(sent).open_input_stream(f"{path}/x") as stream:
        assert stream.read() == b"by other variables"
    assert SECRET not in os.environ["FACEFILL_STORAGE"]
    assert worker_environment()["FACEFILL_STORAGE"] == os.environ["FACEFILL_STORAGE"]
    assert SECRET not in worker_environment().values()


def test_keys_of_a_named_profile(bucket, monkeypatch, tmp_path):
    (tmp_path / "credentials").write_text(
        f"[team]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n"
        "[other]\naws_access_key_id = stranger\naws_secret_access_key = 0123456789\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("FACEFILL_STORAGE", "")  # put back afterwards
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    url = storage.join(bucket, "x")
    storage_settings.use(StorageConfig(profile="team"))
    storage.write_bytes(url, b"by a profile")
    assert storage.read_bytes(url) == b"by a profile"
    storage_settings.use(StorageConfig(profile="other"))
    with pytest.raises(PermissionError) as caught:
        storage.read_bytes(url)
    assert caught.value.filename == url
    storage_settings.use(StorageConfig(profile="nobody"))
    with pytest.raises(UserError, match=r"x: the storage refuses this.*nobody"):
        storage.read_bytes(url)


def test_ray_workers_take_the_runs_setting(bucket, monkeypatch, ray_session):
    """The session began before the server: only what a task is given can lead it there."""
    import ray

    storage.write_bytes(storage.join(bucket, "x"), b"to a worker")
    chosen = {"endpoint_url": os.environ["AWS_ENDPOINT_URL"], "region": "us-east-1"}
    keys = {"access_key_variable": "MY_KEY", "secret_key_variable": "MY_SECRET"}
    variables = {"FACEFILL_STORAGE": json.dumps(chosen | keys), "MY_KEY": KEY, "MY_SECRET": SECRET}
    task = ray.remote(lambda url: storage.write_bytes(f"{url}.worker", storage.read_bytes(url)[::-1]))
    ray.get(task.options(runtime_env={"env_vars": variables}).remote(storage.join(bucket, "x")), timeout=60)
    assert storage.read_bytes(storage.join(bucket, "x.worker")) == b"to a worker"[::-1]


def test_a_data_set_on_s3_becomes_the_same_shards(bucket, tmp_path):
    root = write_celeba(tmp_path / "celeba", count=6)
    for file in storage.list_files(str(root)):
        storage.write_bytes(storage.join(bucket, "celeba", file[len(str(root)) :]), storage.read_bytes(file))
    settings = SourceSettings("celeba")
    listing = list_records(storage.join(bucket, "celeba"), settings, "aligned")
    remote = shard_dataset(listing, storage.join(bucket, "shards"), samples_per_shard=3, config={}, workers=0)
    here = list_records(str(root), settings, "aligned")
    local = shard_dataset(here, str(tmp_path / "shards"), samples_per_shard=3, config={}, workers=0)
    assert [s.sha256 for s in remote.shards] == [s.sha256 for s in local.shards]
    reopened = load_manifest(storage.join(bucket, "shards"))
    assert reopened == remote
    step, batch = next(Loader([reopened], 2, seed=1, split="train").batches())
    _, expected = next(Loader([local], 2, seed=1, split="train").batches())
    assert step == 0 and batch["key"] == expected["key"] and bool((batch["image"] == expected["image"]).all())


def test_a_broken_training_goes_on_from_the_object_store_to_the_same_bits(bucket, tmp_path):
    settings = {"what": "raise", "at": 6, "marker": str(tmp_path / "marker")}
    job, whole = toy_job(bucket, config=settings), toy_job(tmp_path / "whole")
    with pytest.raises(RuntimeError, match="disturbed"):
        train_stage(job, Progress(io.StringIO()))
    assert [checkpoint.step for checkpoint in list_checkpoints(job.folder)] == [4]
    for each in (job, whole):
        train_stage(each, Progress(io.StringIO()))
    one, other = (read_weights(each.weights_folder)["network"] for each in (job, whole))
    assert all(torch.equal(one[name], other[name]) for name in other)
