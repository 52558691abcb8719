"""The loader: exact resumption, equal shares, evaluation without repeats, several sets, damaged tars."""

import itertools
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_releases import write_300w, write_celeba

from facefill.augmentation import rectangles
from facefill.errors import UserError
from facefill.samples import floats
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
    loader = Loader([manifest, other], 24 + len(other.rows), seed=1, split="train")
    assert loader.steps_per_epoch == 1
    _, mixed = next(loader.batches())
    assert sum(key.startswith("300w_3d/") for key in mixed["key"]) == len(other.rows) > 0
    for key, points, parameters in zip(mixed["key"], mixed["landmarks"], mixed["parameters"], strict=True):
        assert (
            bool(points.isfinite().all()) == bool(parameters.isfinite().all()) == key.startswith("300w_3d/")
        )


def test_too_few_samples_and_empty_splits_are_users_errors(manifest):
    loader = Loader([manifest], 13, seed=1, split="train", world_size=2)
    few = "split 'train' of .*/out has 24 samples, too few for a batch of 13 on each of 2 workers"
    with pytest.raises(UserError, match=few):
        loader.batches()  # not only when the first is asked for
    with pytest.raises(UserError, match="a batch_size below the 3 workers"):
        Loader([manifest], 2 // 3, seed=1, split="train", world_size=3).batches()
    with pytest.raises(
        UserError, match=r"no samples in split 'holdout'.*holds 6 for test, 24 for train, 6 for val"
    ):
        Loader([manifest], 1, seed=1, split="holdout")
    with pytest.raises(UserError, match="no data set is named"):
        Loader([], 1, seed=1, split="train")


def test_too_few_shards_are_said_once_at_the_start(manifest, caplog):
    enough = Loader([manifest], 1, seed=1, split="train", world_size=5)
    enough.batches()
    assert not caplog.records
    for rank in range(6):
        Loader([manifest], 1, seed=1, split="train", rank=rank, world_size=6).batches()
    (said,) = caplog.messages
    assert "split 'train'" in said and manifest.folder in said and "has 5 shards for 6 workers" in said


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 40), st.integers(1, 3))
def test_going_on_at_any_step_gives_the_same_samples(manifest, batch_size, world_size, start, threads):
    for rank in range(world_size):
        place = {"seed": 7, "split": "train", "rank": rank, "world_size": world_size, "fields": ["landmarks"]}
        whole = take(Loader([manifest], batch_size, **place), start + 2)
        resumed = take(Loader([manifest], batch_size, **place, threads=threads), 2, start)
        for (step, batch), (other_step, other) in zip(whole[start:], resumed, strict=True):
            assert step == other_step and batch["key"] == other["key"]
            assert torch.equal(batch["seed"], other["seed"]) and torch.equal(batch["five"], other["five"])


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9))
def test_an_evaluation_neither_loses_nor_doubles_on_any_number_of_ranks(manifest, batch_size, world_size):
    batches = [
        [
            batch["key"]
            for batch in Loader(
                [manifest],
                batch_size,
                seed=1,
                split="train",
                rank=rank,
                world_size=world_size,
                fields=[],
            ).evaluation_batches()
        ]
        for rank in range(world_size)
    ]
    seen = [key for mine in batches for keys in mine for key in keys]
    assert sorted(seen) == [row.key for row in manifest.of_split("train")]
    if batch_size > 1:
        assert len({len(mine) for mine in batches}) == 1


def test_holes_follow_epoch_and_key_and_nothing_else(manifest):
    def holes(batch_size: int, world_size: int, epoch: int) -> dict[str, torch.Tensor]:
        drawn = {}
        for rank in range(world_size):
            place = {"seed": 3, "split": "train", "rank": rank, "world_size": world_size}
            loader = Loader([manifest], batch_size, **place, fields=["image"])
            steps = loader.steps_per_epoch
            for _, batch in take(loader, steps, epoch * steps):
                drawn |= dict(zip(batch["key"], rectangles(batch), strict=True))
        return drawn

    first = holes(4, 1, 0)
    assert len(first) == 24
    for batch_size, world_size in ((3, 2), (1, 5)):
        other = holes(batch_size, world_size, 0)
        assert all(torch.equal(hole, first[key]) for key, hole in other.items())
    second = holes(4, 1, 1)
    assert sum(not torch.equal(first[key], second[key]) for key in first) > 20


def test_packed_batches_end_as_the_others(manifest):
    place = {"seed": 1, "split": "train"}
    _, packed = take(Loader([manifest], 4, **place, packed=True), 1)[0]
    _, ready = take(Loader([manifest], 4, **place), 1)[0]
    assert packed["image"].dtype == packed["parsing"].dtype == torch.uint8
    ended = floats(packed)
    for name, value in ready.items():
        if isinstance(value, torch.Tensor):
            assert value.dtype == ended[name].dtype and value.stride() == ended[name].stride()
            assert torch.equal(value.nan_to_num(-1), ended[name].nan_to_num(-1)), name


def test_batches_that_are_kept_are_not_written_over(manifest):
    loader = Loader([manifest], 4, seed=1, split="train", packed=True, threads=2)
    kept = [(batch["key"], batch["image"][1:2]) for _, batch in take(loader, 20)]
    again = Loader([manifest], 4, seed=1, split="train", packed=True)
    for (keys, image), (_, batch) in zip(kept, take(again, 20), strict=True):
        assert keys == batch["key"] and torch.equal(image, batch["image"][1:2])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here to pin memory for")
def test_pinned_batches(manifest):
    _, batch = take(Loader([manifest], 4, seed=1, split="train", packed=True, pinned=True), 1)[0]
    assert batch["image"].is_pinned() and batch["image"].dtype == torch.uint8


def test_ranks_read_few_shards_in_common(tmp_path):
    """Of 12 shards each of 3 ranks reads its four, or five where a share begins within a shard."""
    root = write_celeba(tmp_path / "celeba", count=45)
    listing = list_records(str(root), SourceSettings("celeba"), "aligned")
    made = shard_dataset(listing, str(tmp_path / "out"), samples_per_shard=2, config={}, workers=0)
    shard_of = {row.key: row.shard for row in made.rows}
    for rank in range(3):
        loader = Loader([made], 2, seed=5, split="train", rank=rank, world_size=3, fields=[])
        batches = take(loader, loader.steps_per_epoch)
        assert len({shard_of[key] for _, batch in batches for key in batch["key"]}) <= -(-15 // 3) + 1


def test_a_truncated_or_absent_tar_is_named(tmp_path):
    root = write_celeba(tmp_path / "celeba", count=4)
    listing = list_records(str(root), SourceSettings("celeba"), "aligned")
    shard_dataset(listing, str(tmp_path / "out"), samples_per_shard=5, config={}, workers=0)
    made = load_manifest(str(tmp_path / "out"))
    tar = tmp_path / "out/celeba-train-000000.tar"
    tar.write_bytes(tar.read_bytes()[:2000])
    with pytest.raises(UserError, match=r"celeba-train-000000\.tar.*truncated; run .facefill verify"):
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
