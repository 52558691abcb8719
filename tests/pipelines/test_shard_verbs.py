"""`facefill verify` and `facefill inspect` as a user calls them."""

from pathlib import Path

import cv2
import pytest

from pipelines.cli import main
from pipelines.manifest import Manifest
from tests.support.face_shards import GOOD, write_face_shards


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return write_face_shards(str(tmp_path / "run" / "shards" / "drawn"), [GOOD] * 4, per_shard=2)


def test_whole_sets_are_counted(made: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out.rstrip().endswith("4 samples, 0.1 MB: whole")


def test_damage_is_named_removed_on_demand_and_ends_with_status_2(
    made: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = made.rows[2]
    path = Path(made.folder, row.shard)
    broken = bytearray(path.read_bytes())
    broken[row.offsets[0] + 9] ^= 4
    path.write_bytes(broken)
    assert main(["verify", str(tmp_path / "run")]) == 2
    told = capsys.readouterr()
    assert f"{row.shard}: sample {row.key}" in told.out
    assert "1 damaged files" in told.err and "--remove-damaged" in told.err
    assert path.exists()
    assert main(["verify", str(tmp_path / "run"), "--remove-damaged"]) == 2
    assert not path.exists() and Path(made.folder, made.rows[0].shard).exists()
    assert main(["verify", str(tmp_path / "run")]) == 2
    told = capsys.readouterr()
    assert told.out.endswith(f"{made.folder}: not finished\n")
    assert f"{made.folder}: no finished shard set here" in told.err


def test_damaged_settings_are_one_line_and_damaged_fits_are_found(
    made: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = Path(made.folder, "index.json")
    for content in ("{", "[]", "{}", '{"name": "drawn", "shardlist": [{"url": 1, "size": 2}]}'):
        index.write_text(content)
        assert main(["inspect", made.folder]) == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1 and "facefill verify --remove-damaged" in told
    assert main(["verify", made.folder]) == 2
    assert "index.json" in capsys.readouterr().out
    fits = tmp_path / "run" / "fits"
    fits.mkdir()
    (fits / "a.parquet").write_bytes(b"another")
    (fits / "a.parquet.json").write_text('{"inputs": "x", "sha256": "y"}')
    assert main(["verify", str(fits)]) == 2
    told = capsys.readouterr()
    assert "a.parquet: its bytes are not" in told.out and "1 damaged files" in told.err


def test_a_set_is_told_and_drawn(made: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet = tmp_path / "sheet.png"
    assert main(["inspect", made.folder, "--sheet", str(sheet), "--count", "3"]) == 0
    assert capsys.readouterr().out.startswith("drawn: 4 samples in 2 tars")
    assert cv2.imread(str(sheet)).shape == (274, 3 * 260 - 4, 3)
    assert main(["inspect", made.folder, "--sample", made.rows[1].key]) == 0
    assert capsys.readouterr().out.startswith(f"{made.rows[1].key}: train, sample 1 of")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--sheet", "x.gif"], "ends with .jpg or .png"),
        (["--count", "0"], "at least one"),
        (["--sample", "no"], "sample no"),
    ],
)
def test_mistakes_are_named(
    options: list[str], said: str, made: Manifest, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", made.folder, *options]) == 2
    assert said in capsys.readouterr().err
