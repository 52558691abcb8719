"""The manifest: round trip, digest, the wids index, messages."""

import json
from dataclasses import replace

import pytest

from facefill.errors import UserError
from pipelines import storage
from pipelines.manifest import Manifest, Rejected, Row, ShardFile, load_manifest
from tests.support.manifests import save_manifest


def row(key: str, split: str = "train") -> Row:
    return Row(
        key=key,
        shard=f"celeba-{split}-000000.tar",
        index=0,
        split=split,
        source="/data/1.jpg",
        identity=7,
        sha256="ab" * 32,
        members=("image.jpg", "landmarks.npy"),
        offsets=(512, 2048),
        sizes=(900, 700),
        similarity=(1.0, 0.0, 0.5, 0.0, 1.0, -0.5),
        landmarks=5,
        has_parsing=False,
    )


def manifest(folder: str) -> Manifest:
    return Manifest(
        folder=folder,
        dataset="celeba",
        rows=(row("celeba/1"), row("celeba/2", "test")),
        shards=(ShardFile("celeba-train-000000.tar", 1, 10240, "0" * 64),),
        rejected=(Rejected("celeba/3", "/data/3.jpg", "a truncated JPEG"),),
        config={"size": 256},
    )


def test_round_trip(tmp_path):
    saved = manifest(str(tmp_path))
    save_manifest(saved)
    assert load_manifest(str(tmp_path)) == saved


def test_digest_follows_the_content_and_not_the_place(tmp_path):
    one = manifest(str(tmp_path))
    assert one.digest() == manifest("s3://elsewhere/x").digest()
    assert one.digest() != replace(one, rows=(replace(one.rows[0], sha256="cd" * 32), one.rows[1])).digest()
    for other in ({"split": "test"}, {"identity": 8}, {"shard": "celeba-train-000001.tar"}, {"key": "x"}):
        assert one.digest() != replace(one, rows=(replace(one.rows[0], **other), one.rows[1])).digest()
    assert one.digest() != replace(one, rows=one.rows[::-1]).digest()
    assert one.digest() == replace(one, config={"dataset": {"root": "/b"}, "plan": "ef" * 32}).digest()
    assert one.digest() == replace(one, rows=(replace(one.rows[0], source="/b/1.jpg"), one.rows[1])).digest()


def test_index_has_the_wids_layout(tmp_path):
    save_manifest(manifest(str(tmp_path)))
    index = json.loads((tmp_path / "index.json").read_text())
    assert index["__kind__"] == "wids-shard-index-v1" and index["wids_version"] == 1
    assert index["shardlist"] == [
        {"url": "celeba-train-000000.tar", "nsamples": 1, "filesize": 10240, "sha256": "0" * 64}
    ]


def test_sets_of_before_keep_the_checksum_that_ties_fits_to_them(tmp_path):
    save_manifest(manifest(str(tmp_path)))
    index = json.loads((tmp_path / "index.json").read_text())
    for known, tells in [({"md5sum": "1" * 32}, "1" * 32), ({}, "0" * 64)]:
        (tmp_path / "index.json").write_text(
            json.dumps(index | {"shardlist": [index["shardlist"][0] | known]})
        )
        [shard] = load_manifest(str(tmp_path)).shards
        assert shard.checksum == tells and shard.sha256 == "0" * 64


def test_splits(tmp_path):
    one = manifest(str(tmp_path))
    assert [r.key for r in one.of_split("test")] == ["celeba/2"]
    assert one.counts() == {"train": 1, "test": 1}
    assert one.shard_url(one.rows[0]) == f"{tmp_path}/celeba-train-000000.tar"
    assert one.of_split("validation") == ()


def test_an_unfinished_set_does_not_exist(tmp_path):
    with pytest.raises(UserError, match=r"no finished shard set"):
        load_manifest(str(tmp_path))
    save_manifest(manifest(str(tmp_path)))
    storage.remove(str(tmp_path / "manifest.parquet"))
    with pytest.raises(UserError, match=r"manifest\.parquet"):
        load_manifest(str(tmp_path))
