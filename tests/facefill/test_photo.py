"""Masks between the networks' crop and the photograph, and where a face is without landmarks."""

import numpy as np
import pytest

from facefill.alignment import apply_similarity, invert_similarity, resize_similarity
from facefill.augmentation import CENTRE, CROP
from facefill.errors import UserError
from facefill.photo import mask_in_photo, similarity_of

SHRUNK = np.array([[0.5131, 0.2077, -40.3], [-0.2077, 0.5131, 60.7]])
ENLARGED = np.array([[2.917, 1.211, -950.1], [-1.211, 2.917, 101.3]])
OVER_THE_EDGE = SHRUNK - [[0, 0, 80], [0, 0, 0]]


@pytest.mark.parametrize("similarity", [SHRUNK, ENLARGED, OVER_THE_EDGE])
def test_a_mask_lies_in_the_photo_where_its_crop_came_from(similarity: np.ndarray) -> None:
    crop = np.zeros((CROP, CROP), bool)
    crop[60:150, 20:200] = True
    mask = mask_in_photo(crop, similarity, 500, 700)
    rows, columns = np.mgrid[:500, :700]
    seen = apply_similarity(np.stack([columns, rows], -1), similarity) - CENTRE
    inside = (seen >= [19.5, 59.5]) & (seen <= [199.5, 149.5])
    expected = inside.all(-1)
    assert mask.any()
    assert (mask != expected).sum() < 12  # the rounded corners of a bilinear sample


def test_a_mask_up_to_the_crops_border_ends_there() -> None:
    similarity = np.array([[4.0, 0, -3000], [0, 4.0, -2000]])  # a face of 64 pixels in a large photograph
    mask = mask_in_photo(np.ones((CROP, CROP), bool), similarity, 3000, 4000)
    corners = np.array([[CENTRE, CENTRE], [CENTRE + CROP, CENTRE + CROP]]) - 0.5
    (left, top), (right, bottom) = apply_similarity(corners, invert_similarity(similarity))
    rows, columns = np.nonzero(mask)
    assert np.allclose([columns.min(), columns.max() + 1], [left, right], atol=1)
    assert np.allclose([rows.min(), rows.max() + 1], [top, bottom], atol=1)
    assert mask.sum() == (columns.max() + 1 - columns.min()) * (rows.max() + 1 - rows.min())


def test_a_crop_beside_the_photo_leaves_it_unmasked() -> None:
    similarity = np.array([[1.0, 0, -5000], [0, 1.0, 0]])
    assert not mask_in_photo(np.ones((CROP, CROP), bool), similarity, 300, 300).any()


def test_square_photos_are_taken_as_aligned() -> None:
    photo = np.zeros((640, 640, 3), np.uint8)
    assert np.array_equal(similarity_of(photo, None), resize_similarity(640, 640))
    with pytest.raises(UserError, match="where is the face"):
        similarity_of(photo[:600], None)
