"""Verification: whole sets pass, and no damage passes."""

import json
from pathlib import Path

import pytest

from facefill.errors import UserError
from pipelines import shards, storage
from pipelines.manifest import Manifest, load_manifest
from pipelines.verify import Damage, describe, find_sets, remove_damaged, verify_set
from tests.support.face_shards import FIVE, GOOD, write_face_shards


@pytest.fixture
def made(tmp_path: Path) -> Manifest:
    return again(tmp_path)


def again(tmp_path: Path) -> Manifest:
    return write_face_shards(str(tmp_path / "run" / "shards"), [GOOD, FIVE, GOOD, GOOD, GOOD], per_shard=2)


def damages(manifest: Manifest) -> tuple[Damage, ...]:
    return verify_set(manifest.folder, workers=0).damages


def test_an_index_of_other_tars_is_refused(made: Manifest) -> None:
    index = Path(made.folder) / "index.json"
    content = json.loads(index.read_text())
    index.write_text(json.dumps(content | {"shardlist": content["shardlist"][::-1]}))
    with pytest.raises(UserError, match="other tars than the manifest"):
        verify_set(made.folder, workers=0)


def test_a_damaged_manifest_is_found_though_every_tar_is_whole(made: Manifest) -> None:
    path = Path(made.folder, "manifest.parquet")
    broken = bytearray(path.read_bytes())
    broken[broken.index(made.rows[0].key.encode())] ^= 1
    path.write_bytes(broken)
    with pytest.raises(UserError, match=r"manifest\.parquet"):
        verify_set(made.folder, workers=0)


def test_a_whole_set_passes_and_is_counted(made: Manifest) -> None:
    found = verify_set(made.folder, workers=0)
    assert found.damages == ()
    assert found.samples == len(made.rows)
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
        assert damages(made), f"a flip at byte {place} was not noticed"
    path.write_bytes(whole)
    assert not damages(made)


def test_sets_without_the_tars_checksum_are_taken_apart(made: Manifest) -> None:
    index = Path(made.folder, "index.json")
    content = json.loads(index.read_text())
    for shard in content["shardlist"]:
        del shard["sha256"]
    index.write_text(json.dumps(content))
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
    assert {damage.shard for damage in found} == {first.name, second.name}
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
    assert find_sets(str(tmp_path / "run")) == [made.folder]
    with pytest.raises(UserError, match="no finished shard set"):
        find_sets(str(tmp_path / "elsewhere"))


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
