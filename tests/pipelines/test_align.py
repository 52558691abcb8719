"""One released picture becomes one aligned sample: pixels, points and labels stay together."""

import io
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image
from tiny_releases import FIVE, face_68, smooth_noise

from facefill.face_parsing import BACKGROUND, FACE, UNKNOWN
from facefill.samples import decode_sample
from pipelines.align import align_parsing, prepare, prepare_records
from pipelines.manifest import Rejected
from pipelines.sources.celeba import list_records
from pipelines.sources.records import RejectedSample, SourceSample, SourceSettings


@dataclass(frozen=True)
class Fixed:
    """A record that gives what it was made with."""

    sample: SourceSample
    key: str = "test/1"
    split: str = "train"
    identity: int = -1
    source: str = "/pictures/1.jpg"

    def load(self) -> SourceSample:
        return self.sample


def jpeg(image: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=95, subsampling=0, **options)
    return stream.getvalue()


def dots(points: np.ndarray, width: int, height: int) -> Image.Image:
    """A grey picture with a bright blob at every point."""
    rows, columns = np.mgrid[:height, :width]
    image = np.full((height, width), 40.0)
    for column, row in points:
        image += 200 * np.exp(-((columns - column) ** 2 + (rows - row) ** 2) / 8)
    return Image.fromarray(np.repeat(np.clip(image, 0, 255)[..., None], 3, 2).astype(np.uint8))


def test_points_stay_on_their_pixels():
    picture = dots(FIVE, 178, 218)
    prepared = prepare(Fixed(SourceSample(jpeg(picture), FIVE.astype(float))))
    sample = decode_sample(prepared.members)
    assert sample["image"].shape == (256, 256, 3) and prepared.landmarks == 5
    for column, row in sample["landmarks"]:
        patch = sample["image"][int(row) - 5 : int(row) + 7, int(column) - 5 : int(column) + 7, 0].astype(
            float
        )
        patch = np.maximum(patch - 60, 0)
        rows, columns = np.mgrid[: patch.shape[0], : patch.shape[1]]
        centre = np.array([(columns * patch).sum(), (rows * patch).sum()]) / patch.sum()
        assert np.abs(centre - 5 - [column % 1, row % 1]).max() < 0.35


def test_orientation_is_honoured_before_alignment():
    upright = dots(FIVE, 178, 218)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying, to be turned clockwise
    lying = jpeg(upright.transpose(Image.Transpose.ROTATE_90), exif=exif)
    plain = decode_sample(prepare(Fixed(SourceSample(jpeg(upright), FIVE.astype(float)))).members)["image"]
    turned = decode_sample(prepare(Fixed(SourceSample(lying, FIVE.astype(float)))).members)["image"]
    assert np.abs(plain.astype(int) - turned.astype(int)).mean() < 1


def test_an_aligned_picture_of_the_right_size_keeps_its_bytes():
    data = jpeg(smooth_noise(np.random.default_rng(0), 256, 256))
    prepared = prepare(Fixed(SourceSample(data, None, aligned=True)))
    assert prepared.members["image.jpg"] == data and "landmarks.npy" not in prepared.members
    assert prepared.similarity == (1, 0, 0, 0, 1, 0)
    exif = Image.Exif()
    exif[0x0112] = 3
    turned = jpeg(smooth_noise(np.random.default_rng(0), 256, 256), exif=exif)
    assert prepare(Fixed(SourceSample(turned, None, aligned=True))).members["image.jpg"] != turned


def test_labels_follow_the_picture():
    parsing = np.full((512, 512), BACKGROUND, np.uint8)
    parsing[200:400, 100:300] = FACE
    parsing[:50, :50] = UNKNOWN
    image = np.full((1024, 1024, 3), 30, np.uint8)
    image[400:800, 200:600] = 220
    source = SourceSample(jpeg(Image.fromarray(image)), None, aligned=True, parsing=parsing)
    sample = decode_sample(prepare(Fixed(source)).members)
    assert sample["parsing"].shape == (256, 256)
    assert ((sample["parsing"] == FACE) == (sample["image"][..., 0] > 125)).mean() > 0.999
    assert (sample["parsing"][:24, :24] == UNKNOWN).all() and (sample["parsing"] == UNKNOWN).sum() < 27**2


def test_labels_at_another_resolution_than_the_picture():
    parsing = np.full((128, 128), BACKGROUND, np.uint8)
    parsing[32:64, 32:64] = FACE
    turned = align_parsing(parsing, (256, 256), np.array([[0, -1, 255], [1, 0, 0]], float))
    expected = np.full((256, 256), BACKGROUND, np.uint8)
    expected[64:128, 128:192] = FACE
    assert (turned != expected).mean() < 0.01


def test_what_is_wrong_with_one_picture_is_its_reason():
    good = jpeg(smooth_noise(np.random.default_rng(0), 178, 218))
    cases = {
        "truncated": SourceSample(good[: len(good) // 2], FIVE.astype(float)),
        "not a picture": SourceSample(b"<html>", FIVE.astype(float)),
        "outside the picture of 178x218": SourceSample(good, FIVE.astype(float) * 4),
        "no landmarks to align it by: set the dataset": SourceSample(good, None),
        "178x218": SourceSample(good, None, aligned=True),
        "lie upon each other": SourceSample(good, np.full((5, 2), 60.0)),
    }
    for reason, sample in cases.items():
        with pytest.raises(RejectedSample, match=reason):
            prepare(Fixed(sample))
    with pytest.raises(RejectedSample, match="longer than 80"):
        prepare(Fixed(SourceSample(good, FIVE.astype(float)), key="test/" + "x" * 81))
    rejected, kept = prepare_records(
        [Fixed(cases["truncated"]), Fixed(SourceSample(good, face_68((90, 120), 40)))]
    )
    assert isinstance(rejected, Rejected) and rejected.source == "/pictures/1.jpg"
    assert kept.landmarks == 68


def test_genuine_faces_end_up_where_celeba_hq_has_them(realdata):
    csv = str(realdata / "celeba/landmarks68_dlib.csv")
    listing = list_records(str(realdata / "celeba"), SourceSettings("celeba", landmarks=csv), "aligned")
    eyes = []
    for record in listing.records[:20]:
        landmarks = decode_sample(prepare(record).members, ["landmarks"])["landmarks"]
        eyes.append([landmarks[36:42].mean(0), landmarks[42:48].mean(0)])
    mean = np.mean(eyes, 0)
    assert np.abs(mean[:, 1] - 121).max() < 4  # eye line of CelebA-HQ at 256
    assert 90 < mean[0, 0] < 102 and 154 < mean[1, 0] < 166
