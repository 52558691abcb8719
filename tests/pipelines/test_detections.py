"""Detecting a listing's landmarks: what is kept, what is looked at again, and the same on Ray."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from toy_detector import build_squares

from facefill.errors import UserError
from facefill.landmarks import five_from_68
from pipelines import detections
from pipelines.align import prepare
from pipelines.detections import read_detections, with_detected_landmarks
from pipelines.sources.records import Listing, SourceSample, read_picture, unpacked


@dataclass(frozen=True)
class PlainRecord:
    """A picture file; points: those that it brings."""

    key: str
    source: str
    points: tuple[tuple[float, ...], ...] = ()
    split: str = "train"
    identity: int = -1

    def load(self) -> SourceSample:
        return SourceSample(read_picture(self.source), np.array(self.points) if self.points else None)


def picture(path: Path, *squares: tuple[int, int, int]) -> PlainRecord:
    """A PNG of 300 x 200 with white squares (left, top, side)."""
    image = np.zeros((200, 300, 3), np.uint8)
    for left, top, side in squares:
        image[top : top + side, left : left + side] = 255
    cv2.imwrite(str(path), image)
    return PlainRecord(f"toy/{path.stem}", str(path))


@pytest.fixture
def listing(tmp_path: Path) -> Listing:
    records = (
        picture(tmp_path / "a.png", (20, 40, 80)),
        picture(tmp_path / "b.png"),
        picture(tmp_path / "c.png", (20, 40, 10)),
        picture(tmp_path / "d.png", (60, 60, 80), (210, 60, 76)),
        replace(picture(tmp_path / "e.png", (20, 40, 80)), points=((7.0, 7.0),) * 68),
        PlainRecord("toy/f", str(tmp_path / "f.png")),
    )
    return Listing("toy", records, (), ("a remark",))


def detect(
    listing: Listing, folder: Path, workers: int = 0, detector: str = "squares 1"
) -> tuple[Listing, int]:
    """The new listing, and how many pictures were looked at."""
    diary = folder / "diary"
    folder.mkdir(exist_ok=True)
    diary.unlink(missing_ok=True)
    build = partial(build_squares, str(diary))
    made = with_detected_landmarks(listing, str(folder / "tables"), build, detector, workers=workers)
    return made, len(diary.read_text().splitlines()) if diary.exists() else 0


def test_every_picture_is_landmarked_or_rejected_with_its_reason(listing: Listing, tmp_path: Path):
    made, seen = detect(listing, tmp_path / "out")
    assert seen == 4
    assert [record.key for record in made.records] == ["toy/a", "toy/d", "toy/e"]
    assert {row.key: row.reason for row in made.rejected} == {
        "toy/b": "no face found",
        "toy/c": "the largest face is 10 px wide; at least 40 are needed",
        "toy/f": "the picture is absent",
    }
    assert made.notes == (
        "a remark",
        "landmarks detected in 2 of 4 pictures",
        "3 are rejected, first toy/b: no face found",
        "1 show several faces of similar size, first toy/d",
    )
    first = made.records[0].load()
    assert first.landmarks.shape == (68, 2)
    np.testing.assert_allclose(first.landmarks[[0, -1]], [[28, 56], [92, 104]], atol=0.01)
    assert made.records[2].load().landmarks[0, 0] == 7  # its own


@dataclass(frozen=True)
class RecordOfAnOutage(PlainRecord):
    """A picture on a server that has gone away."""

    def load(self) -> SourceSample:
        raise UserError(f"{self.source}: the storage does not answer")


def test_an_outage_ends_the_detection_and_rejects_nothing(listing: Listing, tmp_path: Path):
    (tmp_path / "c.png").write_bytes(b"no picture")
    away = replace(listing, records=(*listing.records, RecordOfAnOutage("toy/g", "s3://away/g.png")))
    with pytest.raises(UserError, match=r"s3://away/g\.png: the storage does not answer"):
        detect(away, tmp_path / "out")
    made, _ = detect(listing, tmp_path / "out")
    reasons = {row.key: row.reason for row in made.rejected}
    assert reasons["toy/c"].startswith("c.png: not a picture that can be read")


def test_alignment_uses_the_detected_points(listing: Listing, tmp_path: Path):
    made, _ = detect(listing, tmp_path / "out")
    sample = prepare(made.records[0])
    assert sample.landmarks == 68 and "landmarks.npy" in sample.members


def test_the_table_says_what_was_found(listing: Listing, tmp_path: Path):
    detect(listing, tmp_path / "out")
    rows = read_detections(str(tmp_path / "out" / "tables"))
    assert list(rows) == ["toy/a", "toy/b", "toy/c", "toy/d"]
    assert rows["toy/a"].box == (20, 40, 100, 120) and rows["toy/a"].faces == 1
    assert rows["toy/b"].points == b"" and rows["toy/b"].reason == "no face found"
    assert rows["toy/d"].faces == 2 and "nearest the picture's centre" in rows["toy/d"].note
    assert unpacked(rows["toy/d"].points)[0, 0] > 60


def test_a_picture_seen_already_is_not_looked_at_again(listing: Listing, tmp_path: Path):
    out = tmp_path / "out"
    first, _ = detect(listing, out)
    tables = {path.name: path.read_bytes() for path in (out / "tables").iterdir()}
    again, seen = detect(listing, out)
    assert seen == 0 and again == first
    assert {path.name: path.read_bytes() for path in (out / "tables").iterdir()} == tables


def test_a_changed_picture_and_another_detector_are_looked_at(listing: Listing, tmp_path: Path):
    out = tmp_path / "out"
    detect(listing, out)
    picture(tmp_path / "b.png", (20, 40, 60))
    made, seen = detect(listing, out)
    assert seen == 1 and "toy/b" in [record.key for record in made.records]
    assert detect(listing, out, detector="squares 2")[1] == 4


def test_an_interrupted_detection_goes_on_where_it_was(listing: Listing, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(detections, "PART", 2)
    out = tmp_path / "out"
    whole, _ = detect(listing, out)
    (out / "tables" / "000001.parquet").unlink()  # c and d
    again, seen = detect(listing, out)
    assert seen == 2 and again == whole


def test_tables_of_a_longer_listing_vanish(listing: Listing, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(detections, "PART", 2)
    out = tmp_path / "out"
    detect(listing, out)
    shorter = replace(listing, records=listing.records[2:4])
    assert detect(shorter, out)[1] == 0
    assert [path.name for path in (out / "tables").iterdir()] == ["000000.parquet"]


def test_the_same_on_ray(listing: Listing, tmp_path: Path, ray_session, monkeypatch):
    monkeypatch.setattr(detections, "PART", 2)
    here, _ = detect(listing, tmp_path / "here")
    there, seen = detect(listing, tmp_path / "there", workers=2)
    assert seen == 4 and there == here
    for table in sorted((tmp_path / "here" / "tables").iterdir()):
        assert table.read_bytes() == (tmp_path / "there" / "tables" / table.name).read_bytes()


def test_five_points_become_68_where_the_face_is_and_else_stay(tmp_path: Path):
    record = picture(tmp_path / "a.png", (20, 40, 30), (180, 40, 80))
    whole, _ = detect(Listing("toy", (record,), (), ()), tmp_path / "first")
    large = five_from_68(whole.records[0].load().landmarks)
    small = (large - [180, 40]) * 30 / 80 + [20, 40]
    records = (
        replace(record, points=tuple(map(tuple, small.tolist()))),
        replace(record, key="toy/b", points=tuple(map(tuple, (small + 60).tolist()))),
    )
    made, seen = detect(Listing("toy", records, (), ()), tmp_path / "out")
    assert seen == 2 and not made.rejected
    assert made.notes == (
        "landmarks detected in 1 of 2 pictures",
        "1 keep their five points, for no face was found there, first toy/b",
    )
    np.testing.assert_allclose(five_from_68(made.records[0].load().landmarks), small, atol=0.02)
    np.testing.assert_allclose(made.records[1].load().landmarks, small + 60)
    moved = (replace(records[0], points=records[1].points), records[1])
    again, seen = detect(Listing("toy", moved, (), ()), tmp_path / "out")  # the list of points has changed
    assert seen == 1 and again.records == moved
