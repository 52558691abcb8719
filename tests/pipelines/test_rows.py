"""Rows that are read when they are asked for: from one file or many, in ranges, as any sequence of rows."""

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from facefill.errors import UserError
from pipelines import manifest as manifests
from pipelines import storage, tables
from pipelines.manifest import Manifest, ShardFile, load_manifest
from pipelines.rows import Row, Rows, rows_of, table_of
from tests.support.manifests import save_manifest

PER_SHARD = 3
SPLITS = ("train",) * 11 + ("validation",) * 2 + ("test",) * 4


def row(number: int) -> Row:
    place = SPLITS[:number].count(SPLITS[number])
    return Row(
        key=f"faces/{number:03d}",
        shard=f"faces-{SPLITS[number]}-{place // PER_SHARD:06d}.tar",
        index=place % PER_SHARD,
        split=SPLITS[number],
        source=f"/ü/{number}.jpg",
        identity=number // 2,
        sha256=f"{number:064x}",
        members=("image.jpg", "landmarks.npy") if number % 2 else ("image.jpg",),
        offsets=(512, 2048) if number % 2 else (512,),
        sizes=(900, 700) if number % 2 else (901,),
        similarity=(1.0, 0.1, number / 3, -0.1, 1.0, 0.0),
        landmarks=68,
        has_parsing=number % 3 == 0,
    )


ROWS = tuple(row(number) for number in range(len(SPLITS)))


def saved(folder: Path | str) -> Manifest:
    shards = dict.fromkeys(row.shard for row in ROWS)
    manifest = Manifest(
        folder=str(folder),
        dataset="faces",
        rows=ROWS,
        shards=tuple(ShardFile(url, PER_SHARD, 10240, "0" * 64) for url in shards),
        rejected=(),
        config={},
    )
    save_manifest(manifest)
    return manifest


@pytest.fixture(params=[100, 6, 1], ids=["one file", "files", "a file per shard"])
def set_of_files(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    monkeypatch.setattr(manifests, "ROWS_PER_FILE", request.param)
    monkeypatch.setattr(manifests, "GROUP_ROWS", 5)
    return saved(tmp_path)


def test_any_row_from_any_file(set_of_files: Manifest):
    loaded = load_manifest(set_of_files.folder)
    assert loaded == set_of_files and set_of_files == loaded
    assert isinstance(loaded.rows, Rows) and len(loaded.rows) == len(ROWS)
    for place in range(-len(ROWS), len(ROWS)):
        assert loaded.rows[place] == ROWS[place]
    assert loaded.rows[3:9:2] == ROWS[3:9:2] and loaded.rows[::-1] == ROWS[::-1]
    assert list(loaded.rows) == list(ROWS)
    for outside in (len(ROWS), -len(ROWS) - 1):
        with pytest.raises(IndexError):
            loaded.rows[outside]
    assert loaded.digest() == set_of_files.digest()
    assert loaded != replace(set_of_files, rows=ROWS[:-1])
    assert loaded != replace(set_of_files, rows=(*ROWS[:-1], replace(ROWS[-1], landmarks=5)))


def test_splits(set_of_files: Manifest):
    loaded = load_manifest(set_of_files.folder)
    assert loaded.counts() == set_of_files.counts() == {"train": 11, "validation": 2, "test": 4}
    for split in ("train", "validation", "test", "absent"):
        found, wanted = loaded.of_split(split), set_of_files.of_split(split)
        assert found == wanted and [found[place] for place in range(len(found))] == list(wanted)


def test_rows_travel_to_other_processes(set_of_files: Manifest):
    loaded = load_manifest(set_of_files.folder)
    assert loaded.rows[7] == ROWS[7]
    assert pickle.loads(pickle.dumps(loaded)) == set_of_files


def test_splits_that_alternate(tmp_path: Path):
    mixed = tuple(replace(each, split=("train", "test")[place % 2]) for place, each in enumerate(ROWS))
    save_manifest(replace(saved(tmp_path), rows=mixed))
    loaded = load_manifest(str(tmp_path))
    assert loaded.rows == mixed and loaded.of_split("test") == mixed[1::2]
    assert loaded.of_split("test")[3] == mixed[7]


def test_files_are_of_whole_shards_and_one_split_and_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(manifests, "ROWS_PER_FILE", 6)
    saved(tmp_path)
    listed = tables.read_table(str(tmp_path / "manifest.parquet"))
    assert [(entry["split"], entry["rows"]) for entry in listed] == [
        ("train", 6),
        ("train", 5),
        ("validation", 2),
        ("test", 4),
    ]
    for entry in listed:
        assert storage.sha256(str(tmp_path / entry["file"])) == entry["sha256"]
    before = {entry["file"] for entry in listed}
    assert before == {str(file.relative_to(tmp_path)) for file in (tmp_path / "manifest").iterdir()}
    monkeypatch.setattr(manifests, "ROWS_PER_FILE", 100)
    saved(tmp_path)
    assert not list((tmp_path / "manifest").iterdir())  # the former set's files are gone


def test_no_rows_at_all(tmp_path: Path):
    empty = replace(saved(tmp_path), rows=(), shards=())
    save_manifest(empty)
    loaded = load_manifest(str(tmp_path))
    assert loaded == empty and not loaded.rows and loaded.counts() == {} and loaded.of_split("train") == ()


def test_files_in_other_storage_are_read_from_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(manifests, "ROWS_PER_FILE", 6)
    monkeypatch.setenv("FACEFILL_CACHE", str(tmp_path))
    there = saved("memory://rows")
    assert load_manifest("memory://rows") == there
    assert len(list(tmp_path.rglob("*.parquet"))) == 4


def test_a_flipped_byte_is_not_believed(tmp_path: Path):
    saved(tmp_path)
    file = tmp_path / "manifest.parquet"
    whole = file.read_bytes()
    found = 0
    for place in range(8, len(whole) - 8, 37):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        try:
            assert load_manifest(str(tmp_path)).rows == ROWS  # where the file has nothing that is read
        except UserError:
            found += 1
    assert found > len(whole) / 37 / 4


def test_a_table_that_is_no_manifest_is_named(tmp_path: Path):
    saved(tmp_path)
    tables.write_table(str(tmp_path / "manifest.parquet"), [{"key": "a"}])
    with pytest.raises(UserError, match="not a manifest"):
        load_manifest(str(tmp_path))


def test_equal_strings_are_one_object():
    rows = rows_of(table_of(ROWS))
    assert rows == list(ROWS)
    assert rows[0].shard is rows[1].shard and rows[0].members is rows[2].members
