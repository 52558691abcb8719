"""Multi-PIE: everything from the file name; the subsets of the paper's cross-data-set evaluation."""

import pytest
from tiny_releases import face_68
from tiny_sources import write_csv, write_multipie, write_photograph

from facefill.errors import UserError
from pipelines.sources.multipie import YAW_OF_CAMERA, list_records
from pipelines.sources.records import SourceSettings

NAMES = (
    "001_01_01_051_00",
    "001_01_01_051_07",  # in both subsets
    "001_01_01_010_07",
    "001_01_01_081_07",  # from above: in neither
    "001_01_02_051_07",  # a smile: in neither
    "346_03_01_240_07",
    "346_03_01_240_08",
)
SETTINGS = SourceSettings("mpie")


def names_of(listing) -> list[str]:
    return [record.key.removeprefix("mpie/") for record in listing.records]


def test_subsets_of_the_release(tmp_path):
    root = str(write_multipie(tmp_path, NAMES))
    assert names_of(list_records(root, SETTINGS, "all")) == sorted(NAMES)
    pose = list_records(root, SETTINGS, "pose")
    assert names_of(pose) == ["001_01_01_010_07", "001_01_01_051_07", "346_03_01_240_07"]
    assert "4 pictures are not of the subset pose (recording 01, illumination 07" in pose.notes[0]
    light = list_records(root, SETTINGS, "illumination")
    assert names_of(light) == ["001_01_01_051_00", "001_01_01_051_07"]
    assert {record.split for record in light.records} == {"test"}
    assert [record.identity for record in pose.records] == [1, 1, 346]
    assert pose.records[0].load().landmarks is None


def test_cameras_go_round_the_head():
    assert len(YAW_OF_CAMERA) == 13
    assert [YAW_OF_CAMERA[camera] for camera in ("110", "080", "051", "190", "240")] == [-90, -45, 0, 45, 90]


def test_people_never_cross_splits(tmp_path):
    names = tuple(f"{person:03d}_01_01_{camera}_07" for person in range(40) for camera in ("051", "050"))
    root = str(write_multipie(tmp_path, names))
    records = list_records(root, SourceSettings("mpie", split="identity", held_out=0.25), "all").records
    splits = {person: {r.split for r in records if r.identity == person} for person in range(40)}
    assert all(len(of_person) == 1 for of_person in splits.values())
    assert set.union(*splits.values()) == {"train", "validation", "test"}


def test_other_names_and_copies_are_rejected(tmp_path):
    root = write_multipie(tmp_path, NAMES[:3])
    write_photograph(root / "elsewhere/001_01_01_051_07.png")
    write_photograph(root / "data/session01/highres/001_01_01.jpg")
    listing = list_records(str(root), SETTINGS, "pose")
    assert names_of(listing) == ["001_01_01_010_07"]
    assert [r.key for r in listing.rejected] == ["mpie/001_01_01", *["mpie/001_01_01_051_07"] * 2]
    assert listing.rejected[0].reason == "the file name is not PPP_SS_RR_CCc_LL, as Multi-PIE's are"


def test_landmarks_by_the_path_below_the_root(tmp_path):
    root = write_multipie(tmp_path / "mpie", NAMES[:2])
    name = f"data/session01/multiview/001/01/05_1/{NAMES[0]}.png"
    csv = str(write_csv(tmp_path / "points.csv", {name: (face_68((30, 20), 9), 1)}))
    listing = list_records(str(root), SourceSettings("mpie", landmarks=csv), "all")
    assert listing.records[0].load().landmarks.shape == (68, 2)
    assert [r.reason for r in listing.rejected] == ["no row in points.csv"]


def test_an_empty_subset_is_named(tmp_path):
    root = str(write_multipie(tmp_path, NAMES[4:5]))
    with pytest.raises(UserError, match=r"none of 1 pictures belongs to illumination \(recording 01, camera"):
        list_records(root, SETTINGS, "illumination")


def test_genuine_crops(realdata):
    root = str(realdata / "multipie_tpgan")
    listing = list_records(root, SETTINGS, "all")
    assert len(listing.records) == 6 and {record.identity for record in listing.records} == {1}
    with pytest.raises(UserError, match="none of 6 pictures belongs to pose"):
        list_records(root, SETTINGS, "pose")
