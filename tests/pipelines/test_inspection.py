"""Looking into a shard set: the lines say what is in it, the sheet shows it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facefill.errors import UserError
from facefill.face_parsing import FACE
from facefill.samples import encode_sample
from pipelines import rows
from pipelines.inspection import inspect, rows_of, spread, statistics, summary
from pipelines.manifest import Manifest, Rejected
from pipelines.prepared import Prepared, Slice
from pipelines.sample_sheet import tiles_of, with_landmarks, with_parsing
from pipelines.shards import write_shard_set
from tests.support.face_shards import FIVE, GOOD, sample_of, write_face_shards


@pytest.fixture
def drawn(tmp_path: Path) -> Manifest:
    return write_face_shards(str(tmp_path / "shards"), [GOOD, FIVE, GOOD, GOOD, GOOD, GOOD])


def test_the_summary_counts_what_the_manifest_holds(drawn: Manifest) -> None:
    reasons = [Rejected(f"drawn/x{i}", "x", "cut") for i in range(3)] + [Rejected("drawn/y", "y", "dark")]
    lines = summary(replace(drawn, rejected=tuple(reasons)))
    assert lines[0].startswith(f"drawn: 6 samples in {len(drawn.shards)} tars")
    people = {row.identity for row in drawn.rows}
    assert f"people: {len(people)}" in lines
    assert "rejected: 4" in lines and "  3 × cut" in lines and "  1 × dark" in lines
    for split, count in drawn.counts().items():
        assert f"{split} {count}" in lines[1]


def test_statistics_are_those_of_the_samples(drawn: Manifest) -> None:
    images = [np.full((4, 4, 3), level, np.uint8) for level in (10, 20, 30)]
    row = replace(drawn.rows[0], similarity=(0.0, -2.0, 5.0, 2.0, 0.0, 7.0))
    lines = statistics([(row, {"image": image}) for image in images])
    assert "of 3 samples" in lines[0]
    assert [float(value) for value in lines[1].split()[-3:]] == [2, 2, 2]
    assert [float(value) for value in lines[2].split()[-3:]] == [11, 20, 29]


def test_one_sample_is_told_with_source_and_fields(drawn: Manifest) -> None:
    row = drawn.rows[3]
    lines, sheet = inspect(drawn, key=row.key)
    assert lines[0].startswith(f"{row.key}: {row.split}") and f"source: {row.source}" in lines
    assert any("image.jpg" in line and "(256, 256, 3)" in line for line in lines)
    assert sheet.shape[1] == 256


def test_the_sheet_holds_the_pictures(drawn: Manifest) -> None:
    _, sheet = inspect(drawn, count=6)
    assert sheet.shape == (2 * (256 + 18 + 4) - 4, 4 * 260 - 4, 3)
    assert len(np.unique(sheet)) > 50


def labelled(items: tuple[str, ...]) -> Iterator[Prepared]:
    for key in items:
        sample = sample_of(GOOD, 0, False) | {"parsing": np.full((256, 256), FACE, np.uint8)}
        yield Prepared(key, 1, key, (1.0, 0, 0, 0, 1.0, 0), 68, encode_sample(sample))


def test_labels_are_shown_beside_their_picture(tmp_path: Path) -> None:
    slices = [Slice("one-train-000000.tar", "train", ("one/0", "one/1"))]
    made = write_shard_set(str(tmp_path), "one", slices, labelled, config={}, workers=0)
    lines, sheet = inspect(made)
    faces = next(line for line in lines if line.startswith("  face, % of pixels"))
    assert faces.split()[-3:] == ["100.00"] * 3
    assert sheet.shape[1] == 2 * 260 - 4


def test_marks_lie_where_they_belong() -> None:
    image = np.zeros((256, 256, 3), np.uint8)
    drawn = with_landmarks(image, np.array([[40.2, 30.4], [-5, 3], [255, 255], [np.nan, 4]]))
    assert drawn[30, 40].any() and not image.any()
    assert int(drawn.any(2).sum()) == 5
    parsing = np.full((256, 256), 2, np.uint8)
    parsing[:100] = FACE
    assert not np.array_equal(with_parsing(image, parsing)[0, 0], with_parsing(image, parsing)[200, 0])
    visible = np.zeros((192, 256), bool)
    shown = tiles_of({"uv_texture": np.zeros((192, 256, 3), np.uint8), "uv_visible": visible})[0]
    assert (shown == 255).all()


def test_rows_are_spread_over_the_whole_set(drawn: Manifest) -> None:
    assert [row.key for row in spread(drawn.rows, 3)] == [drawn.rows[i].key for i in (0, 2, 4)]
    assert len(spread(drawn.rows, 99)) == 6


def test_what_is_not_there_is_named(drawn: Manifest) -> None:
    with pytest.raises(UserError, match="sample drawn/none is not in this set; its first is drawn/"):
        inspect(drawn, key="drawn/none")
    with pytest.raises(UserError, match="a sample of split holiday is not in this set; it holds train"):
        inspect(drawn, split="holiday")
    with pytest.raises(UserError, match="sample drawn/none is not in split train of this set"):
        inspect(drawn, split="train", key="drawn/none")


def test_rows_are_read_where_they_are_looked_at(drawn: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither asking for a split nor counting makes rows of the whole set."""
    made: list[int] = []
    whole = rows.rows_of
    monkeypatch.setattr(rows, "rows_of", lambda table: made.append(len(table)) or whole(table))
    rows._kept_group.cache_clear()
    assert len(rows_of(drawn, "train", "")) == len(rows_of(drawn, "", "")) == 6
    summary(drawn)
    assert made == []
    [row] = rows_of(drawn, "train", "drawn/003")
    assert row.key == "drawn/003" and len(made) == 1
