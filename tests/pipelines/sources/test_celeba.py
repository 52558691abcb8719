"""CelebA's reader, on generated folders in the released layout and on genuine pictures."""

import shutil

import numpy as np
import pytest
from tiny_releases import face_68, write_celeba
from tiny_sources import write_csv, write_photograph

from facefill.errors import UserError
from pipelines import storage
from pipelines.sources.celeba import list_records
from pipelines.sources.records import RejectedSample, SourceSettings, limited

CELEBA = SourceSettings("celeba")


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("variant", ["aligned", "in_the_wild"])
def test_both_variants_in_both_layouts(tmp_path, flat, variant):
    listing = list_records(str(write_celeba(tmp_path, flat=flat)), CELEBA, variant)
    assert [record.key for record in listing.records] == [f"celeba/{n:06d}" for n in range(1, 13)]
    assert [record.split for record in listing.records[:6]] == ["train"] * 4 + ["validation", "test"]
    assert [record.identity for record in listing.records[:4]] == [100, 100, 101, 101]
    assert listing.rejected == () and listing.notes == ()
    sample = listing.records[0].load()
    assert sample.picture[:2] == b"\xff\xd8" and sample.landmarks.shape == (5, 2)
    assert (sample.landmarks[:, 0] > 140).any() == (variant == "in_the_wild")


def test_genuine_folder_with_68_points(realdata):
    csv = str(realdata / "celeba/landmarks68_dlib.csv")
    listing = list_records(str(realdata / "celeba"), SourceSettings("celeba", landmarks=csv), "aligned")
    assert len(listing.records) == 2793 and len(listing.rejected) == 95
    assert {record.split for record in listing.records} == {"train"}  # as the official partition has it
    assert "detected = 0" in listing.rejected[0].reason
    assert listing.records[0].load().landmarks.shape == (68, 2)
    kept = SourceSettings("celeba", landmarks=csv, undetected="keep")
    assert len(list_records(str(realdata / "celeba"), kept, "aligned").records) == 2888


def test_genuine_folder_with_the_official_five_points(realdata):
    listing = list_records(str(realdata / "celeba"), CELEBA, "aligned")
    assert len(listing.records) == 88 and len(listing.rejected) == 2800
    assert listing.rejected[0].reason == "no row in list_landmarks_align_celeba.txt"


def test_identities_never_cross_splits(realdata):
    csv = str(realdata / "celeba/landmarks68_dlib.csv")
    settings = SourceSettings("celeba", landmarks=csv, split="identity", held_out=0.1)
    records = list_records(str(realdata / "celeba"), settings, "aligned").records
    people = {
        split: {r.identity for r in records if r.split == split} for split in ("train", "validation", "test")
    }
    assert not people["train"] & people["test"] and not people["train"] & people["validation"]
    assert not people["validation"] & people["test"]
    shares = [len(people[split]) / sum(map(len, people.values())) for split in people]
    assert np.allclose(shares, [0.8, 0.1, 0.1], atol=0.03)


def test_pictures_and_rows_that_do_not_meet(tmp_path):
    root = write_celeba(tmp_path, count=4)
    (root / "Img/img_align_celeba/000002.jpg").unlink()
    (root / "Img/img_align_celeba/000009.jpg").write_bytes(b"\xff\xd8")
    listing = list_records(str(root), CELEBA, "aligned")
    assert [record.key for record in listing.records] == ["celeba/000001", "celeba/000003", "celeba/000004"]
    assert [(r.key, r.reason) for r in listing.rejected] == [
        ("celeba/000009", "no row in list_landmarks_align_celeba.txt")
    ]
    assert "1 rows name pictures that are not there, first 000002.jpg" in listing.notes[0]


def test_a_picture_that_vanished_or_is_empty_is_rejected(tmp_path):
    root = write_celeba(tmp_path, count=2)
    records = list_records(str(root), CELEBA, "aligned").records
    (root / "Img/img_align_celeba/000001.jpg").unlink()
    (root / "Img/img_align_celeba/000002.jpg").write_bytes(b"")
    with pytest.raises(RejectedSample, match="absent"):
        records[0].load()
    with pytest.raises(RejectedSample, match="empty"):
        records[1].load()


def test_missing_folders_and_lists_are_named(tmp_path):
    with pytest.raises(UserError, match=r"Img/img_celeba or img_celeba"):
        list_records(str(tmp_path), CELEBA)
    root = write_celeba(tmp_path)
    (root / "Eval/list_eval_partition.txt").unlink()
    with pytest.raises(
        UserError, match=r"official partition not found; expected Eval/list_eval_partition\.txt"
    ):
        list_records(str(root), CELEBA, "aligned")
    (root / "Anno/identity_CelebA.txt").unlink()
    with pytest.raises(UserError, match="identities not found"):
        list_records(str(root), SourceSettings("celeba", split="identity"), "aligned")
    (root / "Anno/list_landmarks_align_celeba.txt").unlink()
    with pytest.raises(UserError, match="landmarks not found"):
        list_records(str(root), CELEBA, "aligned")


def test_an_unknown_partition_number_is_refused(tmp_path):
    root = write_celeba(tmp_path, count=2)
    (root / "Eval/list_eval_partition.txt").write_text("000001.jpg 0\n000002.jpg 3\n")
    with pytest.raises(UserError, match=r"000002\.jpg has partition 3"):
        list_records(str(root), CELEBA, "aligned")


def test_limit_keeps_every_split(tmp_path):
    listing = list_records(str(write_celeba(tmp_path, count=36)), CELEBA, "aligned")
    few = limited(listing, 9)
    assert len(few.records) == 9 and "9 of 36" in few.notes[-1]
    assert {record.split for record in few.records} == {"train", "validation"} or len(
        {record.split for record in few.records}
    ) == 3
    assert limited(listing, None) is listing and limited(listing, 99) is listing


def test_a_folder_in_a_folder_and_capitals_are_read_and_copies_are_nobodys(tmp_path):
    root = write_celeba(tmp_path, count=4)
    folder = root / "Img/img_align_celeba"
    (folder / "img_align_celeba").mkdir()  # as one of the archives unpacks
    (folder / "000001.jpg").rename(folder / "img_align_celeba/000001.jpg")
    shutil.copy(folder / "000002.jpg", folder / "img_align_celeba/000002.jpg")
    (folder / "000003.jpg").rename(folder / "000003.JPG")
    listing = list_records(str(root), CELEBA, "aligned")
    assert [record.key for record in listing.records] == ["celeba/000001", "celeba/000004"]
    assert [(r.key, r.reason.split(" (")[0]) for r in listing.rejected] == [
        ("celeba/000002", "2 pictures have this key"),
        ("celeba/000002", "2 pictures have this key"),
        ("celeba/000003", "no row in list_landmarks_align_celeba.txt"),
    ]
    assert "1 rows name pictures that are not there, first 000003.jpg" in listing.notes[0]
    assert "3 pictures are rejected, first celeba/000002" in listing.notes[1]


def test_a_name_in_another_script_has_no_row(tmp_path):
    root = write_celeba(tmp_path, count=2)
    write_photograph(root / "Img/img_align_celeba/写真.jpg")
    (rejected,) = list_records(str(root), CELEBA, "aligned").rejected
    assert rejected.key == "celeba/%E5%86%99%E7%9C%9F" and rejected.reason.startswith(
        "no row in list_landmarks"
    )


@pytest.fixture
def wild_points(tmp_path):
    """Two pictures in the wild, a csv with 68 points for both, and boxes around all but the second's."""
    root = write_celeba(tmp_path / "celeba", count=2)
    points = face_68((200, 280), 70)
    csv = write_csv(tmp_path / "points.csv", {"000001.jpg": (points, 1), "000002.jpg": (points, 1)})
    boxes = "2\nx_1 y_1 width height\n000001.jpg  100 150 200 260\n000002.jpg    5   6  80  90\n"
    (root / "Anno/list_bbox_celeba.txt").write_text(boxes)
    return root, str(csv)


def test_68_points_of_another_face_are_rejected_by_the_box(wild_points):
    root, csv = wild_points
    listing = list_records(str(root), SourceSettings("celeba", landmarks=csv))
    assert [record.key for record in listing.records] == ["celeba/000001"]
    assert [r.reason for r in listing.rejected] == [
        "its landmarks lie outside the box in list_bbox_celeba: another face's"
    ]
    assert len(list_records(str(root), CELEBA).records) == 2, "people's own five points need no box"
    assert len(list_records(str(root), SourceSettings("celeba", landmarks=csv), "aligned").records) == 2


def test_a_box_without_extent_says_nothing_and_a_wrong_list_of_boxes_ends_the_command(wild_points):
    root, csv = wild_points
    boxes = root / "Anno/list_bbox_celeba.txt"
    boxes.write_text(boxes.read_text().replace("5   6  80  90", "0 0 0 0"))
    settings = SourceSettings("celeba", landmarks=csv)
    assert len(list_records(str(root), settings).records) == 2
    boxes.write_text("2\nx_1 y_1 width\n000001.jpg 1 2 3\n")
    with pytest.raises(UserError, match=r"list_bbox_celeba\.txt, line 2: missing columns height"):
        list_records(str(root), settings)
    boxes.unlink()
    (root / "Anno/list_bbox_celeba.csv").write_text("image_id,x_1,y_1,width,height\n000002.jpg,5,6,80,90\n")
    assert [record.key for record in list_records(str(root), settings).records] == ["celeba/000001"]


@pytest.mark.parametrize("name", ["identity_CelebA", "list_bbox_celeba"])
def test_an_outage_is_not_taken_for_a_list_that_is_not_there(tmp_path, monkeypatch, name):
    root = write_celeba(tmp_path, count=2)
    there = storage.exists

    def exists(url: str) -> bool:
        if name in url:
            raise UserError(f"{url}: the storage does not answer")
        return there(url)

    monkeypatch.setattr(storage, "exists", exists)
    with pytest.raises(UserError, match=f"{name}.*does not answer"):
        list_records(str(root), CELEBA)
