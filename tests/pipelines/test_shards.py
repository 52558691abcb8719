"""Shard sets: the same bytes on any number of workers, resumption, rejection, webdataset reads them."""

import json
import tarfile
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from tiny_releases import write_celeba, write_celebamask_hq

from facefill.errors import UserError
from facefill.samples import decode_sample
from pipelines import manifest as manifests
from pipelines import shards, storage
from pipelines.manifest import Manifest, Row, load_manifest
from pipelines.prepared import members_sha256
from pipelines.shards import shard_dataset
from pipelines.sources import celebamask_hq
from pipelines.sources.celeba import list_records
from pipelines.sources.records import SourceSettings

CELEBA = SourceSettings("celeba")


def sharded(root, folder, **options) -> Manifest:
    settings = {"samples_per_shard": 3, "config": {"source": "celeba"}, "workers": 0} | options
    return shard_dataset(list_records(str(root), CELEBA, "aligned"), str(folder), **settings)


def members_of(manifest: Manifest, row: Row) -> dict[str, bytes]:
    tar = storage.read_bytes(manifest.shard_url(row))
    return {
        name: tar[offset : offset + size]
        for name, offset, size in zip(row.members, row.offsets, row.sizes, strict=True)
    }


def test_names_counts_and_members(tmp_path):
    manifest = sharded(write_celeba(tmp_path / "celeba"), tmp_path / "out")
    assert [shard.url for shard in manifest.shards] == [
        "celeba-train-000000.tar",
        "celeba-train-000001.tar",
        "celeba-train-000002.tar",
        "celeba-validation-000000.tar",
        "celeba-test-000000.tar",
    ]
    assert manifest.counts() == {"train": 8, "validation": 2, "test": 2}
    assert [shard.nsamples for shard in manifest.shards] == [3, 3, 2, 2, 2]
    with tarfile.open(tmp_path / "out/celeba-train-000000.tar") as tar:
        infos = tar.getmembers()
    assert [info.name for info in infos[:3]] == [
        "celeba/000001.image.jpg",
        "celeba/000001.landmarks.npy",
        "celeba/000002.image.jpg",
    ]
    assert {(info.mtime, info.mode, info.uname, info.gname, info.uid) for info in infos} == {
        (0, 0o444, "bigdata", "bigdata", 0)
    }
    assert load_manifest(str(tmp_path / "out")) == manifest
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["samples_per_shard"] == 3 and config["source"] == "celeba"


def test_rows_tell_where_the_bytes_lie(tmp_path):
    manifest = sharded(write_celeba(tmp_path / "celeba"), tmp_path / "out")
    for row in manifest.rows:
        members = members_of(manifest, row)
        assert members_sha256(members) == row.sha256
        sample = decode_sample(members)
        assert sample["image"].shape == (256, 256, 3) and sample["landmarks"].shape == (5, 2)
        assert row.landmarks == 5 and not row.has_parsing and len(row.similarity) == 6
        with tarfile.open(tmp_path / "out" / row.shard) as tar:
            assert tar.getmember(f"{row.key}.image.jpg").offset_data == row.offsets[0]


def fingerprints(folder) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): storage.sha256(str(path))
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".tar", ".parquet", ".json")
    }


def test_two_runs_are_byte_identical(tmp_path):
    root = write_celeba(tmp_path / "celeba")
    sharded(root, tmp_path / "one")
    sharded(root, tmp_path / "two")
    assert fingerprints(tmp_path / "one") == fingerprints(tmp_path / "two")
    assert len(fingerprints(tmp_path / "one")) == 10 + 5  # tars, manifest, checksums; parts


def test_any_number_of_ray_workers_writes_the_same_bytes(tmp_path, ray_session):
    root = write_celeba(tmp_path / "celeba")
    sharded(root, tmp_path / "here")
    for workers in (1, 2, 8):
        seen: list[tuple[int, int]] = []
        note = partial(lambda seen, done, total, _: seen.append((done, total)), seen)
        sharded(root, tmp_path / f"{workers}", workers=workers, on_progress=note)
        assert fingerprints(tmp_path / "here") == fingerprints(tmp_path / f"{workers}")
        assert len(seen) == 5 and seen == sorted(seen) and seen[-1] == (12, 12)  # pictures


def test_a_set_of_several_manifest_files_is_the_same_however_it_is_made(tmp_path, monkeypatch):
    root = write_celeba(tmp_path / "celeba")
    one = sharded(root, tmp_path / "one")
    monkeypatch.setattr(manifests, "ROWS_PER_FILE", 6)
    many = sharded(root, tmp_path / "many")
    assert len(list((tmp_path / "many/manifest").iterdir())) == 4
    assert replace(many, folder=one.folder) == one and many.digest() == one.digest()
    sharded(root, tmp_path / "again", on_progress=lambda *_: None)
    assert fingerprints(tmp_path / "many") == fingerprints(tmp_path / "again")
    sharded(root, tmp_path / "many", samples_per_shard=2)
    assert load_manifest(str(tmp_path / "many")).counts() == one.counts()


def test_a_damaged_part_is_made_again(tmp_path):
    root = write_celeba(tmp_path / "celeba")
    sharded(root, tmp_path / "out")
    expected = fingerprints(tmp_path / "out")
    part = tmp_path / "out/parts/celeba-train-000001.tar.parquet"
    whole = part.read_bytes()
    for damaged in (whole[:-9], b"", whole[:200] + bytes([whole[200] ^ 1]) + whole[201:]):
        part.write_bytes(damaged)
        (tmp_path / "out/manifest.parquet").unlink()
        sharded(root, tmp_path / "out")
        assert fingerprints(tmp_path / "out") == expected


def test_a_stopped_job_goes_on_and_keeps_what_is_valid(tmp_path, monkeypatch):
    root = write_celeba(tmp_path / "celeba")
    whole = sharded(root, tmp_path / "whole")

    reports = iter(range(1, 4))

    def stop(done: int, total: int, left: float) -> None:
        if next(reports) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sharded(root, tmp_path / "out", on_progress=stop)
    with pytest.raises(UserError, match="no finished shard set"):
        load_manifest(str(tmp_path / "out"))
    tars = sorted((tmp_path / "out").glob("*.tar"))
    assert len(tars) == 3
    times = [tar.stat().st_mtime_ns for tar in tars]
    resumed = sharded(root, tmp_path / "out")
    assert [tar.stat().st_mtime_ns for tar in tars] == times
    assert resumed == replace(whole, folder=str(tmp_path / "out"))


def test_a_stopped_ray_job_leaves_whole_shards_and_goes_on(tmp_path, ray_session):
    root = write_celeba(tmp_path / "celeba")
    whole = sharded(root, tmp_path / "whole")

    def stop(done: int, total: int, left: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sharded(root, tmp_path / "out", workers=2, on_progress=stop)
    resumed = sharded(root, tmp_path / "out", workers=2)
    assert resumed == replace(whole, folder=str(tmp_path / "out"))


def test_a_damaged_shard_is_written_again(tmp_path):
    root = write_celeba(tmp_path / "celeba")
    sharded(root, tmp_path / "out")
    expected = fingerprints(tmp_path / "out")
    tar = tmp_path / "out/celeba-train-000001.tar"
    tar.write_bytes(tar.read_bytes()[:1000])
    (tmp_path / "out/manifest.parquet").unlink()
    sharded(root, tmp_path / "out")
    assert fingerprints(tmp_path / "out") == expected


def test_a_valid_set_is_not_touched_and_a_changed_one_is_made_anew(tmp_path, monkeypatch):
    root = write_celeba(tmp_path / "celeba")
    first = sharded(root, tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(shards.jobs, "run_tasks", lambda *_, **__: pytest.fail("nothing is to do"))
        assert sharded(root, tmp_path / "out") == first
    changed = sharded(root, tmp_path / "out", samples_per_shard=8)
    assert [shard.nsamples for shard in changed.shards] == [8, 2, 2]
    assert len(list((tmp_path / "out").glob("*.tar"))) == 3  # the old plan's tars are gone
    assert len(list((tmp_path / "out/parts").iterdir())) == 3
    assert changed.digest() != first.digest()


def test_a_part_never_stands_beside_another_plans_tar(tmp_path, monkeypatch):
    root = write_celeba(tmp_path / "celeba")
    sharded(root, tmp_path / "whole")
    sharded(root, tmp_path / "out")
    first = "celeba-train-000000.tar"

    def stop(*_: object) -> None:
        # The worst case: the other plan's tar has the length of the old one.
        length = (tmp_path / "whole" / first).stat().st_size
        (tmp_path / "out" / first).write_bytes(bytes(length))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # stopped between a tar and its part
        patch.setattr(shards, "write_part", stop)
        with pytest.raises(KeyboardInterrupt):
            sharded(root, tmp_path / "out", config={"source": "other"})
    assert not (tmp_path / "out/parts" / f"{first}.parquet").exists()
    sharded(root, tmp_path / "out")  # back to the first plan
    assert fingerprints(tmp_path / "out") == fingerprints(tmp_path / "whole")


def test_the_same_pictures_from_another_root_have_the_same_digest(tmp_path):
    roots = [write_celeba(tmp_path / name) for name in ("here", "there")]
    here, there = (
        sharded(root, tmp_path / f"{root.name}-out", config={"dataset": {"root": str(root)}})
        for root in roots
    )
    assert here.rows[0].source != there.rows[0].source and here.config["plan"] != there.config["plan"]
    assert here.digest() == there.digest()


def test_bad_pictures_are_listed_and_the_job_goes_on(tmp_path):
    root = write_celeba(tmp_path / "celeba")
    pictures = root / "Img/img_align_celeba"
    whole = (pictures / "000001.jpg").read_bytes()
    (pictures / "000001.jpg").write_bytes(whole[:-200])
    (pictures / "000002.jpg").write_bytes(b"")
    (pictures / "000003.jpg").write_bytes(b"<html>404</html>")
    (pictures / "000099.jpg").write_bytes(whole)
    manifest = sharded(root, tmp_path / "out")
    assert len(manifest.rows) == 9
    reasons = {rejected.key: rejected.reason for rejected in load_manifest(str(tmp_path / "out")).rejected}
    assert "truncated" in reasons["celeba/000001"] and "empty" in reasons["celeba/000002"]
    assert "not a picture" in reasons["celeba/000003"] and "no row" in reasons["celeba/000099"]
    assert len(reasons) == 4
    # the shard in which every record was bad does not exist, and is no error
    assert "celeba-train-000000.tar" not in [shard.url for shard in manifest.shards]


def test_nothing_usable_is_a_users_error(tmp_path):
    root = write_celeba(tmp_path / "celeba", count=2)
    for picture in (root / "Img/img_align_celeba").iterdir():
        picture.write_bytes(b"")
    with pytest.raises(
        UserError, match=r"none of its pictures can be used.*000001\.jpg: the picture file is empty"
    ):
        sharded(root, tmp_path / "out")
    with pytest.raises(UserError, match="no finished shard set"):
        load_manifest(str(tmp_path / "out"))


def test_two_pictures_with_one_key_are_named(tmp_path):
    root = write_celeba(tmp_path / "celeba", count=2)
    listing = list_records(str(root), CELEBA, "aligned")
    twice = replace(listing, records=(*listing.records, listing.records[0]))
    with pytest.raises(UserError, match="second picture with the key celeba/000001"):
        shard_dataset(twice, str(tmp_path / "out"), samples_per_shard=3, config={}, workers=0)


def test_plain_webdataset_reads_the_same_samples(tmp_path):
    import webdataset

    root = write_celebamask_hq(tmp_path / "hq")
    listing = celebamask_hq.list_records(str(root), SourceSettings("celebamask_hq"))
    manifest = shard_dataset(listing, str(tmp_path / "out"), samples_per_shard=2, config={}, workers=0)
    urls = [str(tmp_path / "out" / shard.url) for shard in manifest.shards]
    read = {
        sample["__key__"]: sample
        for sample in webdataset.WebDataset(urls, shardshuffle=False, empty_check=False)
    }
    assert sorted(read) == [row.key for row in sorted(manifest.rows, key=lambda row: row.key)]
    for row in manifest.rows:
        assert {name: read[row.key][name] for name in row.members} == members_of(manifest, row)
        assert row.has_parsing and row.landmarks == 0


def test_genuine_photographs(tmp_path, realdata):
    csv = str(realdata / "celeba/landmarks68_dlib.csv")
    settings = SourceSettings("celeba", landmarks=csv, split="identity", undetected="keep")
    listing = list_records(str(realdata / "celeba"), settings, "aligned")
    listing = replace(listing, records=listing.records[:60])
    manifest = shard_dataset(listing, str(tmp_path / "out"), samples_per_shard=25, config={}, workers=0)
    assert sum(manifest.counts().values()) == 60 and set(manifest.counts()) == {"train", "validation", "test"}
    for row in manifest.rows[::7]:
        sample = decode_sample(members_of(manifest, row))
        assert sample["landmarks"].shape == (68, 2)
        assert (np.abs(sample["landmarks"][27:].mean(0) - [128, 150]) < 35).all()
        assert sample["image"].std() > 20
