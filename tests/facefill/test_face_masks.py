"""Rectangles: the authors' bounds, the wanted ratio, the same hole for the same seed."""

import numpy as np
import pytest
import torch

from facefill.errors import UserError
from facefill.face_masks import bucket_of, mask_ratio, random_rectangle_hole, rectangle_hole_with_ratio


def ellipse(height: int = 224, width: int = 224) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return ((rows - 120) / 80) ** 2 + ((columns - 112) / 60) ** 2 < 1


def test_training_rectangles_stay_in_the_authors_bounds() -> None:
    generator = np.random.default_rng(0)
    tops, heights = [], []
    for _ in range(500):
        hole = random_rectangle_hole(generator, 224, 224)
        assert hole.shape == (1, 224, 224)
        rows = torch.nonzero(hole[0].any(1))[:, 0]
        columns = torch.nonzero(hole[0].any(0))[:, 0]
        assert hole.sum() == len(rows) * len(columns)  # a full rectangle
        tops.append(int(rows[0]))
        heights.append(len(rows))
        assert columns[-1] <= 222
    assert min(tops) >= 56
    assert max(tops) <= 111
    assert min(heights) >= 56
    assert max(heights) <= 167
    assert max(heights) > 140


@pytest.mark.parametrize("bucket", range(10))
def test_wanted_ratio(bucket: int) -> None:
    face = ellipse()
    for seed in range(10):
        hole = rectangle_hole_with_ratio(face, bucket / 10, (bucket + 1) / 10, np.random.default_rng(seed))
        assert hole.dtype == bool
        assert not (hole & ~face).any()
        ratio = float(mask_ratio(hole, face))
        assert ratio > 0
        assert bucket_of(ratio) == bucket


def test_a_hole_is_a_rectangle_of_the_face() -> None:
    face = ellipse()
    hole = rectangle_hole_with_ratio(face, 0.3, 0.4, np.random.default_rng(3))
    rows, columns = np.nonzero(hole.any(1))[0], np.nonzero(hole.any(0))[0]
    box = np.zeros_like(face)
    box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    assert np.array_equal(hole, box & face)


def test_same_seed_same_hole() -> None:
    face = ellipse()
    first, second, other = (
        rectangle_hole_with_ratio(face, 0.2, 0.3, np.random.default_rng(seed)) for seed in (5, 5, 6)
    )
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_too_small_a_face_is_refused() -> None:
    face = np.zeros((224, 224), bool)
    face[:10, :10] = True
    with pytest.raises(UserError, match="100 pixels"):
        rectangle_hole_with_ratio(face, 0.2, 0.3, np.random.default_rng(0))


def test_mask_ratio_of_tensors_and_arrays() -> None:
    face = torch.zeros(2, 1, 4, 4)
    face[:, :, :2] = 1
    hole = torch.zeros(2, 1, 4, 4)
    hole[0, 0, 1:3] = 1
    assert mask_ratio(hole, face)[:, 0].tolist() == [0.5, 0]
    assert mask_ratio(hole[0, 0].numpy() > 0, face[0, 0].numpy() > 0) == 0.5


@pytest.mark.parametrize(
    ("ratio", "bucket"), [(0, 0), (0.0999, 0), (0.1, 1), (0.3, 3), (0.7, 7), (0.95, 9), (1, 9)]
)
def test_buckets(ratio: float, bucket: int) -> None:
    assert bucket_of(ratio) == bucket
