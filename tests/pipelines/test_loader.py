"""The loader: exact resumption, equal shares, evaluation without repeats, several sets, damaged tars."""

import itertools
from collections import Counter

import pytest
import torch
from tiny_releases import write_300w, write_celeba

from facefill.errors import UserError
from pipelines import storage
from pipelines.loader import Loader
from pipelines.manifest import Manifest, load_manifest
from pipelines.shards import shard_dataset
from pipelines.sources import three_hundred_w
from pipelines.sources.celeba import list_records
from pipelines.sources.records import SourceSettings


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Manifest:
    folder = tmp_path_factory.mktemp("loader")
    root = write_celeba(folder / "celeba", count=36)
    listing = list_records(str(root), SourceSettings("celeba"), "aligned")
    return shard_dataset(listing, str(folder / "out"), samples_per_shard=5, config={}, workers=0)


def take(loader: Loader, count: int, start: int = 0) -> list[tuple[int, dict]]:
    return list(itertools.islice(loader.batches(start), count))


def test_an_epoch_has_every_sample_once(manifest):
    loader = Loader([manifest], 4, seed=1, split="train")
    assert len(loader) == 24 and loader.steps_per_epoch == 6
    for epoch in range(2):
        keys = [key for _, batch in take(loader, 6, 6 * epoch) for key in batch["key"]]
        assert sorted(keys) == [row.key for row in manifest.of_split("train")]


def test_any_step_can_be_the_first(manifest):
    whole = take(Loader([manifest], 5, seed=1, split="train"), 12)
    assert [step for step, _ in whole] == list(range(12))
    resumed = take(Loader([manifest], 5, seed=1, split="train", threads=3), 5, start=7)
    for (step, batch), (expected_step, expected) in zip(resumed, whole[7:], strict=True):
        assert step == expected_step and batch["key"] == expected["key"]
        assert batch.keys() == expected.keys()
        for name, value in batch.items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(value.nan_to_num(-1), expected[name].nan_to_num(-1)), name


def test_seeds_change_with_the_epoch_only(manifest):
    loader = Loader([manifest], 8, seed=1, split="train")
    seeds: dict[str, list[int]] = {}
    for _, batch in take(loader, 6):
        for key, seed in zip(batch["key"], batch["seed"].tolist(), strict=True):
            seeds.setdefault(key, []).append(seed)
    assert all(len(set(values)) == 2 for values in seeds.values())
    again = {k: s for _, b in take(loader, 3) for k, s in zip(b["key"], b["seed"].tolist(), strict=True)}
    assert all(seeds[key][0] == seed for key, seed in again.items())


def test_ranks_get_equally_many_and_never_the_same(manifest):
    loaders = [Loader([manifest], 3, seed=2, split="train", rank=rank, world_size=2) for rank in range(2)]
    assert [loader.steps_per_epoch for loader in loaders] == [4, 4]
    keys = Counter(key for loader in loaders for _, batch in take(loader, 4) for key in batch["key"])
    assert len(keys) == 24 and set(keys.values()) == {1}


@pytest.mark.parametrize("world_size", [1, 2, 5])
def test_evaluation_sees_every_sample_once_and_always_with_the_same_seed(manifest, world_size):
    loaders = [
        Loader([manifest], 4, seed=9, split="test", rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    batches = [batch for loader in loaders for batch in loader.evaluation_batches()]
    assert Counter(key for batch in batches for key in batch["key"]) == {
        row.key: 1 for row in manifest.of_split("test")
    }
    again = [batch for loader in loaders for batch in loader.evaluation_batches()]
    assert all(torch.equal(one["seed"], two["seed"]) for one, two in zip(batches, again, strict=True))


def test_batches_hold_what_the_stages_need(manifest):
    _, batch = take(Loader([manifest], 2, seed=1, split="train"), 1)[0]
    assert batch["image"].shape == (2, 3, 256, 256) and 0 <= batch["image"].min() < batch["image"].max() <= 1
    assert batch["landmarks"].shape == (2, 68, 2) and batch["five"].isfinite().all()
    assert (batch["parsing"] == 255).all()


def test_only_the_named_fields_are_read(manifest):
    _, batch = take(Loader([manifest], 2, seed=1, split="train", fields=["landmarks"]), 1)[0]
    assert "image" not in batch and batch["five"].isfinite().all()


def test_several_sets_are_mixed(manifest, tmp_path):
    listing = three_hundred_w.list_records(
        str(write_300w(tmp_path / "300w")), SourceSettings("300w_3d", held_out=0.0)
    )
    other = shard_dataset(listing, str(tmp_path / "out"), samples_per_shard=5, config={}, workers=0)
    assert len(Loader([manifest, other], 1, seed=1, split="test")) == 6  # one set has none, and need not
    loader = Loader([manifest, other], 9, seed=1, split="train")
    assert len(loader) == 27
    batches = [batch for _, batch in take(loader, 3)]
    assert sum(key.startswith("300w_3d/") for batch in batches for key in batch["key"]) == 3
    mixed = next(batch for batch in batches if any(key.startswith("300w") for key in batch["key"]))
    for key, points, parameters in zip(mixed["key"], mixed["landmarks"], mixed["parameters"], strict=True):
        assert (
            bool(points.isfinite().all()) == bool(parameters.isfinite().all()) == key.startswith("300w_3d/")
        )


def test_too_few_samples_and_empty_splits_are_users_errors(manifest):
    loader = Loader([manifest], 13, seed=1, split="train", world_size=2)
    with pytest.raises(UserError, match="24 samples, too few for a batch of 13 on 2 workers"):
        next(loader.batches())
    with pytest.raises(
        UserError, match=r"no samples in split 'holdout'.*holds 6 for test, 24 for train, 6 for val"
    ):
        Loader([manifest], 1, seed=1, split="holdout")
    with pytest.raises(UserError, match="no data set is named"):
        Loader([], 1, seed=1, split="train")


def test_a_truncated_or_absent_tar_is_named(tmp_path):
    root = write_celeba(tmp_path / "celeba", count=4)
    listing = list_records(str(root), SourceSettings("celeba"), "aligned")
    shard_dataset(listing, str(tmp_path / "out"), samples_per_shard=5, config={}, workers=0)
    made = load_manifest(str(tmp_path / "out"))
    tar = tmp_path / "out/celeba-train-000000.tar"
    tar.write_bytes(tar.read_bytes()[:2000])
    with pytest.raises(UserError, match=r"celeba-train-000000\.tar.*truncated; shard"):
        next(Loader([made], 4, seed=1, split="train").batches())
    tar.unlink()
    with pytest.raises(UserError, match=r"celeba-train-000000\.tar.*the tar is absent"):
        next(Loader([made], 4, seed=1, split="train").batches())


def test_more_shards_than_may_be_open(manifest, monkeypatch):
    from pipelines import shard_reader as module

    monkeypatch.setattr(module, "OPEN_SHARDS", 2)
    keys = [
        key
        for _, batch in take(Loader([manifest], 4, seed=1, split="train", threads=4), 6)
        for key in batch["key"]
    ]
    assert len(set(keys)) == 24


def test_leaving_early_ends_the_threads(manifest):
    import threading

    batches = Loader([manifest], 4, seed=1, split="train").batches()
    next(batches)
    batches.close()
    for thread in threading.enumerate():
        if thread.name.startswith("loader"):
            thread.join(5)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("loader")]


def test_remote_shards_are_fetched_once(manifest, tmp_path, monkeypatch):
    monkeypatch.setenv("FACEFILL_CACHE", str(tmp_path))
    remote = f"memory://{tmp_path.name}"
    for url in storage.list_files(manifest.folder, recursive=False):
        storage.write_bytes(storage.join(remote, storage.name_of(url)), storage.read_bytes(url))
    there, here = load_manifest(remote), load_manifest(manifest.folder)
    assert there.digest() == here.digest()
    _, batch = take(Loader([there], 6, seed=3, split="train"), 1)[0]
    _, expected = take(Loader([here], 6, seed=3, split="train"), 1)[0]
    assert batch["key"] == expected["key"] and torch.equal(batch["image"], expected["image"])
    storage.remove(remote)
