"""UV textures of others: listed by person, stored resized in their own layout, readable as batches."""

import numpy as np
import pytest
from tiny_sources import write_texture

from facefill.errors import UserError
from facefill.samples import decode_sample
from pipelines.align import prepare
from pipelines.loader import Loader
from pipelines.shards import shard_dataset
from pipelines.sources.records import RejectedSample, SourceSettings
from pipelines.sources.uv_textures import list_records

SETTINGS = SourceSettings("uvdb")


def test_eighty_to_twenty_by_person(tmp_path):
    for person in range(200):
        for view in ("051_07", "010_07"):
            path = tmp_path / f"{person:03d}_01_01_{view}.png"
            path.write_bytes(b"listing does not look inside")
    records = list_records(str(tmp_path), SETTINGS).records
    people = {split: {r.identity for r in records if r.split == split} for split in ("train", "test")}
    assert len(people["train"]) + len(people["test"]) == 200 and not people["train"] & people["test"]
    assert len(people["test"]) == 40 and people["test"] != set(range(40))
    by_identity = SourceSettings("uvdb", split="identity", held_out=0.3)
    assert {r.split for r in list_records(str(tmp_path), by_identity).records} == {
        "train",
        "validation",
        "test",
    }


def test_other_names_are_kept_apart_and_counted(tmp_path):
    write_texture(tmp_path / "a/one.png")
    write_texture(tmp_path / "b/one.png")
    listing = list_records(str(tmp_path), SETTINGS)
    assert [(record.key, record.identity) for record in listing.records] == [
        ("uvdb/a-one", -1),
        ("uvdb/b-one", -1),
    ]
    assert "the person is unknown for 2 of 2 textures" in listing.notes[0]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no textures in this folder"):
        list_records(str(tmp_path / "empty"), SETTINGS)


def test_a_texture_keeps_its_layout_and_knows_what_was_seen(tmp_path):
    write_texture(tmp_path / "001_a.png", 595, 377)
    (record,) = list_records(str(tmp_path), SETTINGS).records
    prepared = prepare(record)
    sample = decode_sample(prepared.members)
    assert set(sample) == {"uv_texture", "uv_visible"}
    texture, visible = sample["uv_texture"], sample["uv_visible"]
    assert texture.shape == (192, 256, 3) and visible.shape == (192, 256)
    assert visible[96, 128] and not visible[0, 0] and abs(visible.mean() - np.pi / 4 / 1.1**2) < 0.02
    columns = np.arange(256) * 595 / 256
    expected = 120 + columns[60:200] * 100 / 595
    assert np.abs(texture[96, 60:200, 0] - expected).max() < 4
    assert texture[visible].min() > 60, "a texel that is partly black is not visible"
    zoom = np.reshape(prepared.similarity, (2, 3))
    assert np.allclose(zoom @ [594, 376, 1], [255, 191], atol=0.5)


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda path: write_texture(path, 200, 192), "a texture of 200x192; expected at least 256x192"),
        (lambda path: path.write_bytes(b"<html>"), r"001\.png: not a picture"),
        (lambda path: path.write_bytes(b""), "the picture file is empty"),
    ],
)
def test_what_cannot_be_used_is_rejected(tmp_path, write, reason):
    write(tmp_path / "001.png")
    (record,) = list_records(str(tmp_path), SETTINGS).records
    with pytest.raises(RejectedSample, match=reason):
        prepare(record)


def test_shards_without_photographs_make_batches(tmp_path):
    for person in range(12):
        write_texture(tmp_path / f"raw/{person:03d}_a.png")
    listing = list_records(str(tmp_path / "raw"), SETTINGS)
    manifest = shard_dataset(listing, str(tmp_path / "shards"), samples_per_shard=5, config={}, workers=0)
    batch = next(Loader([manifest], 4, seed=0, split="train").evaluation_batches())
    assert batch["uv_texture"].shape == (4, 3, 192, 256) and batch["uv_visible"].shape == (4, 1, 192, 256)
    assert "image" not in batch and not batch["landmarks"].isfinite().any()
