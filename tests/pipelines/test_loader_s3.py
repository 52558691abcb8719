"""The loader on a real S3 server: one cache for all processes of a machine, whatever its limit."""

import hashlib
import multiprocessing
import os
import random
import time
from collections import Counter

import pytest
import torch
from tiny_releases import write_celeba

from facefill.errors import UserError
from pipelines import storage
from pipelines.loader import Loader
from pipelines.manifest import Manifest, load_manifest
from pipelines.shard_cache import ShardCache, shard_cache
from pipelines.shards import shard_dataset
from pipelines.sources.celeba import list_records
from pipelines.sources.records import SourceSettings

SIZE = 1000


@pytest.fixture
def bucket(s3_server, monkeypatch, tmp_path) -> str:
    for name, value in s3_server.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FACEFILL_CACHE", str(tmp_path / "cache"))
    return f"s3://facefill/{tmp_path.name}"


@pytest.fixture
def remote(bucket, tmp_path) -> Manifest:
    """Eight training samples in four shards on the server."""
    root = write_celeba(tmp_path / "celeba", count=12)
    listing = list_records(str(root), SourceSettings("celeba"), "aligned")
    made = shard_dataset(listing, str(tmp_path / "shards"), samples_per_shard=2, config={}, workers=0)
    for file in storage.list_files(made.folder):
        there = storage.join(bucket, "shards", file.removeprefix(made.folder))
        storage.write_bytes(there, storage.read_bytes(file))
    return load_manifest(storage.join(bucket, "shards"))


def run_together(work, argument_lists):
    """Each of the argument lists in a process of its own; their results in the order of arrival."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=work, args=(*given, results)) for given in argument_lists]
    for process in processes:
        process.start()
    found = [results.get(timeout=90) for _ in processes]
    for process in processes:
        process.join(20)
        assert process.exitcode == 0
    return found


def open_at_random(folder, shards, seed, results):
    """Open shards at random, hold two, check every byte."""
    cache, choice, held = ShardCache(folder, 2 * SIZE), random.Random(seed), []
    wrong = 0
    for _ in range(60):
        shard = choice.choice(shards)
        held.append((cache.open(*shard), shard))
        if len(held) > 2:
            descriptor, (_, _, sha256) = held.pop(0)
            wrong += hashlib.sha256(os.pread(descriptor, 2 * SIZE, 0)).hexdigest() != sha256
            os.close(descriptor)
    results.put(wrong)


def test_processes_share_a_cache_that_is_too_small(bucket, tmp_path):
    """Of four shards two may stay, while three processes fetch, read and remove them all the time."""
    shards = []
    for number in range(4):
        content = bytes([number]) * SIZE
        url = storage.join(bucket, f"{number}.tar")
        storage.write_bytes(url, content)
        shards.append((url, SIZE, hashlib.sha256(content).hexdigest()))
    folder = tmp_path / "cache"
    assert run_together(open_at_random, [(folder, shards, seed) for seed in range(3)]) == [0, 0, 0]
    cache = ShardCache(folder, 2 * SIZE)
    cache.make_room(0)
    assert len(list(folder.iterdir())) == len(list(folder.glob("*.tar"))) <= 2


def load_an_evaluation(folder, rank, world_size, results):
    """One rank's keys, and which files its shards are."""
    manifest = load_manifest(folder)
    loader = Loader([manifest], 2, seed=1, split="train", rank=rank, world_size=world_size, fields=["image"])
    keys = [key for batch in loader.evaluation_batches() for key in batch["key"]]
    shards = [shard for shard in manifest.shards if "-train-" in shard.url]
    files = []
    for shard in shards:
        descriptor = shard_cache().open(storage.join(folder, shard.url), shard.filesize, shard.sha256)
        files.append(os.fstat(descriptor).st_ino)
        os.close(descriptor)
    results.put((keys, files))


def test_ranks_of_a_machine_fetch_each_shard_once(remote, tmp_path):
    found = run_together(load_an_evaluation, [(remote.folder, rank, 3) for rank in range(3)])
    assert Counter(key for keys, _ in found for key in keys) == {
        row.key: 1 for row in remote.of_split("train")
    }
    assert len({tuple(files) for _, files in found}) == 1  # a second fetch would have made another file
    assert len(list((tmp_path / "cache/shards").glob("*.tar"))) == 4


def test_with_a_warm_cache_the_server_may_be_gone(remote, monkeypatch):
    def epoch() -> list[torch.Tensor]:
        loader = Loader([remote], 2, seed=1, split="train", threads=2)
        batches = loader.batches()
        return [next(batches)[1]["image"] for _ in range(loader.steps_per_epoch)]

    first = epoch()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert all(torch.equal(one, two) for one, two in zip(first, epoch(), strict=True))


def test_the_next_shard_is_fetched_while_this_one_is_read(remote, tmp_path, monkeypatch):
    """Windows and batches of one shard, one batch decoded at a time: yet more than one shard comes."""
    monkeypatch.setattr("pipelines.order.WINDOW_SHARDS", 1)
    monkeypatch.setattr("pipelines.loader.PREFETCH_BATCHES", 1)
    batches = Loader([remote], 2, seed=1, split="train", fields=["landmarks"]).batches()
    next(batches)
    deadline = time.monotonic() + 10
    while len(list((tmp_path / "cache/shards").glob("*.tar"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(list((tmp_path / "cache/shards").glob("*.tar"))) == 2
    batches.close()


def test_damage_on_the_server_is_named(remote, bucket):
    shard = next(shard for shard in remote.shards if "-train-" in shard.url)
    url = storage.join(remote.folder, shard.url)
    whole = storage.read_bytes(url)
    storage.write_bytes(url, whole[:-512])
    loader = Loader([remote], 8, seed=1, split="train")
    with pytest.raises(UserError, match=rf"{shard.url}: the tar is truncated, {len(whole) - 512} of"):
        next(loader.batches())
    storage.write_bytes(url, whole[:600] + bytes([whole[600] ^ 1]) + whole[601:])
    with pytest.raises(UserError, match=rf"{shard.url}: its checksum is not the manifest's"):
        next(loader.batches())
    storage.remove(url)
    with pytest.raises(UserError, match=rf"{shard.url}: the tar is absent"):
        next(loader.batches())
    storage.write_bytes(url, whole)
    assert len(next(loader.batches())[1]["key"]) == 8
