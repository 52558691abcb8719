"""FFHQ: pictures, thumbnails, annotations, and that its framing is CelebA-HQ's."""

import json

import numpy as np
import pytest
from tiny_releases import face_68
from tiny_sources import write_csv, write_ffhq, write_photograph

from facefill.alignment import celeba_hq_similarity, resize_similarity
from facefill.errors import UserError
from facefill.landmarks import five_from_68
from pipelines.align import prepare
from pipelines.sources.ffhq import IMAGES, THUMBNAILS
from pipelines.sources.records import RejectedSample, SourceSettings

SETTINGS = SourceSettings("ffhq")


def test_pictures_with_annotations(tmp_path):
    root = write_ffhq(tmp_path, (0, 1001, 60000), size=1024)
    listing = IMAGES.list_records(str(root), SETTINGS)
    assert [(record.key, record.split) for record in listing.records] == [
        ("ffhq/00000", "train"),
        ("ffhq/01001", "train"),
        ("ffhq/60000", "validation"),
    ]
    sample = listing.records[0].load()
    assert sample.aligned and np.allclose(sample.landmarks, face_68((512, 560), 280))
    assert listing.notes == () and prepare(listing.records[0]).landmarks == 68


def test_thumbnails_have_the_same_landmarks_an_eighth_in_size(tmp_path):
    root = write_ffhq(tmp_path, (7,))
    (record,) = THUMBNAILS.list_records(str(root), SETTINGS).records
    large = face_68((512, 560), 280) @ np.eye(2) * 0.25 + resize_similarity(1024, 1024)[:, 2]
    from facefill.samples import decode_sample

    assert np.allclose(decode_sample(prepare(record).members)["landmarks"], large, atol=1e-4)
    with pytest.raises(UserError, match=r"expected images1024x1024/00000/00000\.png"):
        IMAGES.list_records(str(root), SETTINGS)


def test_the_framing_is_that_of_celeba_hq():
    """download_ffhq.py cuts a quad around 68 points: in what it cuts, our rule finds the whole picture."""
    wild = face_68((700, 800), 300) @ np.array([[0.96, 0.28], [-0.28, 0.96]])
    left, right, _, mouth_left, mouth_right = five_from_68(wild)
    eyes, mouth = (left + right) / 2, (mouth_left + mouth_right) / 2
    x = (right - left) - np.flipud(mouth - eyes) * [-1, 1]
    x *= max(np.hypot(*(right - left)) * 2.0, np.hypot(*(mouth - eyes)) * 1.8) / np.hypot(*x)
    y = np.flipud(x) * [-1, 1]
    corner = eyes + (mouth - eyes) * 0.1 - x - y + 0.5  # as the quad is handed to Pillow
    basis = np.stack([2 * x, 2 * y], 1) / 1024
    aligned = np.linalg.solve(basis, (wild + 0.5 - corner).T).T - 0.5
    found = celeba_hq_similarity(five_from_68(aligned))
    corners = np.array([[0, 0, 1], [1023, 0, 1], [1023, 1023, 1], [0, 1023, 1]])
    assert np.abs(corners @ (found - resize_similarity(1024, 1024)).T).max() < 0.2  # of 256 pixels


def test_without_annotations_the_number_decides(tmp_path):
    root = write_ffhq(tmp_path, (59999, 60000))
    (root / "ffhq-dataset-v2.json").unlink()
    listing = THUMBNAILS.list_records(str(root), SETTINGS)
    assert [record.split for record in listing.records] == ["train", "validation"]
    assert listing.records[0].load().landmarks is None
    assert "no ffhq-dataset-v2.json here: the split is by number" in listing.notes[0]
    assert prepare(listing.records[0]).landmarks == 0


def test_pictures_and_entries_that_do_not_meet(tmp_path):
    root = write_ffhq(tmp_path, (1, 2, 3))
    folder = root / "thumbnails128x128"
    (folder / "00000/00002.png").unlink()
    write_photograph(folder / "00000/00009.png", 128, 128)
    write_photograph(folder / "00000/cover.PNG", 128, 128)
    write_photograph(folder / "00000/00003.jpg", 128, 128)
    listing = THUMBNAILS.list_records(str(root), SETTINGS)
    assert [record.key for record in listing.records] == ["ffhq/00001"]
    assert [(r.key, r.reason.split(" (")[0]) for r in listing.rejected] == [
        *[("ffhq/00003", "2 pictures have this key")] * 2,
        ("ffhq/00009", "no entry in ffhq-dataset-v2.json"),
        ("ffhq/cover", "expected a name like 00000.png, the picture's number"),
    ]
    assert "1 annotated pictures are not there, first 00002" in listing.notes[0]


def test_a_picture_of_another_size_or_none_is_rejected(tmp_path):
    root = write_ffhq(tmp_path, (1, 2))
    folder = root / "thumbnails128x128/00000"
    write_photograph(folder / "00001.png", 256, 256)
    (folder / "00002.png").write_bytes(b"<html>")
    records = THUMBNAILS.list_records(str(root), SETTINGS).records
    with pytest.raises(RejectedSample, match="a picture of 256x256; expected 128x128"):
        records[0].load()
    with pytest.raises(RejectedSample, match="not a picture"):
        records[1].load()


def test_landmarks_in_the_settings_go_before_the_annotations(tmp_path):
    root = write_ffhq(tmp_path / "ffhq", (1,))
    points = face_68((60, 70), 30)
    csv = write_csv(tmp_path / "points.csv", {"00000/00001.png": (points, 1)})
    (record,) = THUMBNAILS.list_records(str(root), SourceSettings("ffhq", landmarks=str(csv))).records
    assert np.allclose(record.load().landmarks, points)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!doctype html>", r"ffhq-dataset-v2\.json: not JSON"),
        ("[1, 2]", "expected one object"),
        ('{"0": {"category": "training"}}', "entry '0': expected a number with category"),
        ('{"0": {"category": "other", "image": {"face_landmarks": POINTS}}}', "entry '0'"),
        ('{"x": {"category": "training", "image": {"face_landmarks": POINTS}}}', "entry 'x'"),
        ('{"0": {"category": "training", "image": {"face_landmarks": [[1, 2]]}}}', "entry '0'"),
        ('{"0": {"category": "training", "image": {"face_landmarks": "many"}}}', "not JSON|entry '0'"),
        ('{"0": 5}', "entry '0'"),
    ],
)
def test_wrong_annotations_end_the_command(tmp_path, text, message):
    root = write_ffhq(tmp_path, (0,))
    points = json.dumps(face_68((512, 560), 280).tolist())
    (root / "ffhq-dataset-v2.json").write_text(text.replace("POINTS", points))
    with pytest.raises(UserError, match=message):
        THUMBNAILS.list_records(str(root), SETTINGS)
