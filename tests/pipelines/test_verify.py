"""Verification: whole sets pass, and no damage passes."""

import json
from pathlib import Path

import pytest

from facefill.errors import UserError
from pipelines import manifest, shards, storage
from pipelines.manifest import Manifest, load_manifest
from pipelines.shard_rows import rows_by_shard
from pipelines.verify import (
    Damage,
    Found,
    StoredShard,
    describe,
    find,
    remove_damaged,
    verify_set,
    verify_shard,
)
from pipelines.verify_fits import remove_damaged_fits, verify_fits
from tests.support.face_shards import FIVE, GOOD, write_face_shards


@pytest.fixture
def made(tmp_path: Path) -> Manifest:
    return again(tmp_path)


def again(tmp_path: Path) -> Manifest:
    return write_face_shards(str(tmp_path / "run" / "shards"), [GOOD, FIVE, GOOD, GOOD, GOOD], per_shard=2)


def damages(made: Manifest) -> tuple[Damage, ...]:
    return verify_set(made.folder, workers=0).damages


def damages_of_first(made: Manifest) -> list[Damage]:
    shard, rows = next(rows_by_shard(load_manifest(made.folder)))
    return verify_shard(StoredShard(made.folder, shard, rows))


def test_an_index_of_other_tars_is_refused(made: Manifest) -> None:
    index = Path(made.folder) / "index.json"
    content = json.loads(index.read_text())
    index.write_text(json.dumps(content | {"shardlist": content["shardlist"][::-1]}))
    assert [damage.file for damage in damages(made)] == ["index.json"]
    Path(made.folder, "checksums.json").unlink()
    assert "other tars than the manifest" in damages(made)[0].what


def small_files(folder: str) -> list[Path]:
    return sorted(file for file in Path(folder).rglob("*") if file.is_file() and file.suffix != ".tar")


def flipped(data: bytes, place: int) -> bytes:
    broken = bytearray(data)
    broken[place] ^= 1 << (place % 8)
    return bytes(broken)


def test_a_flip_in_any_file_beside_the_tars_is_found_and_mended_by_the_same_command(
    made: Manifest, tmp_path: Path
) -> None:
    whole = {file: file.read_bytes() for file in small_files(made.folder)}
    assert {file.name for file in whole} > {"config.json", "index.json", "rejected.parquet", "checksums.json"}
    for file, data in whole.items():
        name = str(file.relative_to(made.folder))
        for place in range(0, len(data), len(data) // 6):
            file.write_bytes(flipped(data, place))
            assert {damage.file for damage in damages(made)} == {name}, place
        remove_damaged(verify_set(made.folder, workers=0))
        again(tmp_path)
        assert {other: other.read_bytes() for other in small_files(made.folder)} == whole


def test_the_same_command_mends_damaged_tables_though_nothing_was_removed(
    made: Manifest, tmp_path: Path
) -> None:
    for name in ("config.json", "index.json", "rejected.parquet", "manifest.parquet", "checksums.json"):
        file = Path(made.folder, name)
        data = file.read_bytes()
        for broken in (data[: len(data) // 2], b"", flipped(data, len(data) // 3)):
            file.write_bytes(broken)
            again(tmp_path)
            assert file.read_bytes() == data, name


def test_parts_whose_remark_is_damaged_are_written_again(made: Manifest, tmp_path: Path) -> None:
    part = Path(made.folder, "parts", f"{made.shards[0].url}.parquet")
    data = part.read_bytes()
    note = data.rindex(b'"digest"')  # nothing but the remark has the word
    for place in range(note - 1, note + 12):
        Path(made.folder, "manifest.parquet").unlink()
        part.write_bytes(flipped(data, place))
        again(tmp_path)
        assert part.read_bytes() == data


def test_files_of_rows_are_held_against_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "ROWS_PER_FILE", 2)
    made = again(tmp_path)
    files = sorted(Path(made.folder, "manifest").iterdir())
    assert len(files) == 3 and not damages(made)
    data = files[1].read_bytes()
    for place in (5, len(data) - 300, len(data) - 20):
        files[1].write_bytes(flipped(data, place))
        assert [damage.file for damage in damages(made)] == [f"manifest/{files[1].name}"]
    files[1].unlink()
    assert [damage.what for damage in damages(made)] == ["it is absent"]


def test_sets_without_checksums_of_their_tables_say_what_was_not_checked(made: Manifest) -> None:
    assert "not checked" not in "\n".join(describe([verify_set(made.folder, workers=0)]))
    Path(made.folder, "checksums.json").unlink()
    lines = describe([verify_set(made.folder, workers=0)])
    assert lines[0].endswith("whole") and "not checked: its tables and parts" in lines[1]
    path = Path(made.folder, "manifest.parquet")
    data = path.read_bytes()
    path.write_bytes(flipped(data, data.index(made.rows[0].key.encode())))
    assert [damage.file for damage in damages(made)] == ["manifest.parquet"]


def test_fits_are_held_against_the_checksums_beside_them(tmp_path: Path) -> None:
    folder = tmp_path / "fits"
    for name in ("a.parquet", "b.parquet"):
        storage.write_bytes(str(folder / name), name.encode())
        record = {"inputs": "x", "sha256": storage.sha256(str(folder / name))}
        storage.write_text(str(folder / f"{name}.json"), json.dumps(record))
    storage.write_bytes(f"{folder}.jpg", b"sheet")
    assert find(str(tmp_path)).fits == [str(folder)]
    whole = verify_fits(str(folder))
    assert (whole.count, whole.size, whole.damages) == (2, 18, ())
    (folder / "b.parquet").write_bytes(b"B.parquet")
    spoilt = verify_fits(str(folder))
    assert [damage.file for damage in spoilt.damages] == ["b.parquet"]
    remove_damaged_fits(spoilt)
    assert [file.name for file in sorted(tmp_path.rglob("*.*"))] == ["a.parquet", "a.parquet.json"]
    (folder / "a.parquet.json").write_text("{")
    assert "record" in verify_fits(str(folder)).damages[0].what
    (folder / "a.parquet").unlink()
    assert len(verify_fits(str(folder)).damages) == 1


def test_a_whole_set_passes_and_is_counted(made: Manifest) -> None:
    found = verify_set(made.folder, workers=0)
    assert found.damages == ()
    assert found.count == len(made.rows)
    assert found.size == sum(Path(made.folder, shard.url).stat().st_size for shard in made.shards)
    assert describe([found])[0].endswith("whole")


def test_every_flipped_bit_is_found(made: Manifest) -> None:
    path = Path(made.folder, made.shards[0].url)
    whole = path.read_bytes()
    row = made.rows[0]
    headers = range(row.offsets[-1] - 512, row.offsets[-1])
    for place in [*headers, *range(0, len(whole), 1499), len(whole) - 1]:
        broken = bytearray(whole)
        broken[place] ^= 1 << (place % 8)
        path.write_bytes(broken)
        assert damages_of_first(made), f"a flip at byte {place} was not noticed"
    path.write_bytes(whole)
    assert not damages(made)


def test_sets_without_the_tars_checksum_are_taken_apart(made: Manifest) -> None:
    index = Path(made.folder, "index.json")
    content = json.loads(index.read_text())
    for shard in content["shardlist"]:
        del shard["sha256"]
    index.write_text(json.dumps(content))
    Path(made.folder, "checksums.json").unlink()
    test_every_flipped_bit_is_found(made)


def test_the_damaged_sample_is_named(made: Manifest) -> None:
    row = made.rows[-1]
    path = Path(made.folder, row.shard)
    broken = bytearray(path.read_bytes())
    broken[row.offsets[0]] ^= 255
    path.write_bytes(broken)
    assert damages(made) == (Damage(row.shard, row.key, "its bytes are not those that were written"),)


def test_cut_absent_and_longer_tars_are_found(made: Manifest) -> None:
    first, second, *_ = (Path(made.folder, shard.url) for shard in made.shards)
    whole = first.read_bytes()
    first.write_bytes(whole[: len(whole) // 2])
    second.unlink()
    found = damages(made)
    assert {damage.file for damage in found} == {first.name, second.name}
    assert any("bytes instead of" in damage.what for damage in found)
    assert any("absent" in damage.what for damage in found)
    first.write_bytes(whole + b"tail")
    assert any("behind its last sample" in damage.what for damage in damages(made))


def test_damaged_tars_alone_are_written_again_with_the_same_bytes(
    made: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(made.folder, made.shards[1].url)
    whole = path.read_bytes()
    broken = bytearray(whole)
    broken[700] ^= 1
    path.write_bytes(broken)
    remove_damaged(verify_set(made.folder, workers=0))
    with pytest.raises(UserError, match="no finished shard set"):
        load_manifest(made.folder)
    written = []
    write = shards._write_tar
    monkeypatch.setattr(shards, "_write_tar", lambda *args: (written.append(args[2].shard), write(*args))[1])
    repaired = again(tmp_path)
    assert written == [path.name]
    assert path.read_bytes() == whole
    assert repaired.digest() == made.digest()
    assert not damages(repaired)


def test_sets_are_found_below_a_run_and_their_absence_is_said(made: Manifest, tmp_path: Path) -> None:
    assert find(str(tmp_path / "run")) == Found([made.folder], [], [])
    Path(made.folder, "manifest.parquet").unlink()
    assert find(str(tmp_path / "run")) == Found([], [made.folder], [])
    with pytest.raises(UserError, match="no finished shard set"):
        find(str(tmp_path / "elsewhere"))


def test_ray_workers_and_other_storage_find_the_same(made: Manifest, ray_session: None) -> None:
    path = Path(made.folder, made.shards[0].url)
    broken = bytearray(path.read_bytes())
    broken[600] ^= 1
    path.write_bytes(broken)
    assert verify_set(made.folder).damages == damages(made)
    for file in Path(made.folder).rglob("*"):
        if file.is_file():
            storage.write_bytes(f"memory://verify/{file.relative_to(made.folder)}", file.read_bytes())
    assert verify_set("memory://verify", workers=0).damages == damages(made)
