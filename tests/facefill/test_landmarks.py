"""The 68 landmarks: the mirror permutation and the five points."""

import numpy as np

from facefill import landmarks as names


def test_groups_cover_all_points_once():
    groups = names.JAW + names.BROWS + names.NOSE + names.EYES + names.MOUTH
    assert sorted(groups) == list(range(68))
    assert sorted(names.JAW + names.INNER) == list(range(68))


def test_mirror_is_its_own_inverse_and_swaps_sides():
    mirror = np.array(names.MIRROR_68)
    assert (mirror[mirror] == np.arange(68)).all()
    assert {mirror[i] for i in names.LEFT_EYE} == set(names.RIGHT_EYE)
    assert {mirror[i] for i in names.LEFT_BROW} == set(names.RIGHT_BROW)
    assert mirror[names.NOSE_TIP] == names.NOSE_TIP
    assert mirror[names.LEFT_MOUTH_CORNER] == names.RIGHT_MOUTH_CORNER
    assert mirror[60] == 64  # inner mouth corners
    fixed = {i for i in range(68) if mirror[i] == i}
    assert fixed == {8, 27, 28, 29, 30, 33, 51, 57, 62, 66}  # the points on the axis


def test_mirroring_genuine_landmarks_looks_like_a_face(realdata):
    row = (realdata / "celeba/landmarks68_dlib.csv").read_text().splitlines()[1].split(",")
    points = np.array(row[2:], float).reshape(68, 2)
    mirrored = points[list(names.MIRROR_68)] * [-1, 1] + [177, 0]
    # A wrong permutation moves points across the face, by far more than a turned head does.
    assert np.abs(mirrored - points).mean() < 12


def test_five_points_are_left_to_right(realdata):
    row = (realdata / "celeba/landmarks68_dlib.csv").read_text().splitlines()[1].split(",")
    five = names.five_from_68(np.array(row[2:], float).reshape(68, 2))
    official = np.array([69, 109, 106, 113, 77, 142, 73, 152, 108, 154], float).reshape(5, 2)
    assert np.abs(five - official).max() < 8
    assert five[0, 0] < five[1, 0] and five[3, 0] < five[4, 0]
