"""Three classes from CelebAMask-HQ's labels."""

import numpy as np
import pytest

from facefill.face_parsing import (
    BACKGROUND,
    CELEBAMASK_PARTS,
    FACE,
    OCCLUDER,
    UNKNOWN,
    parsing_from_label_map,
    parsing_from_parts,
)


def test_labels_become_classes():
    parsing = parsing_from_label_map(np.array([[0, 1, 2, 3, 10, 12, 13, 14, 17, 18, 19, 255]], np.uint8))
    expected = [
        BACKGROUND,
        FACE,
        FACE,
        OCCLUDER,
        BACKGROUND,
        FACE,
        OCCLUDER,
        OCCLUDER,
        BACKGROUND,
        BACKGROUND,
    ]
    assert parsing.tolist() == [[*expected, UNKNOWN, UNKNOWN]]
    assert parsing.dtype == np.uint8


def test_mouth_and_hair_are_cut_out_of_the_skin():
    skin = np.ones((2, 4), bool)
    mouth, hair = np.zeros((2, 4), bool), np.zeros((2, 4), bool)
    mouth[0, 0], hair[1, 1] = True, True
    parsing = parsing_from_parts({"skin": skin, "mouth": mouth, "hair": hair})
    assert parsing[0, 0] == BACKGROUND and parsing[1, 1] == OCCLUDER
    assert (parsing == FACE).sum() == 6


def test_parts_of_a_genuine_label_map_give_the_same_classes(realdata):
    from PIL import Image

    for path in sorted((realdata / "celebamask_hq/CelebAMask-HQ-mask").glob("*.png")):
        labels = np.array(Image.open(path))
        parts = {name: labels == label for label, name in enumerate(CELEBAMASK_PARTS) if label}
        assert (parsing_from_parts(parts) == parsing_from_label_map(labels)).all()


def test_unknown_part_is_refused():
    with pytest.raises(ValueError, match="beard"):
        parsing_from_parts({"beard": np.zeros((2, 2), bool)})
    with pytest.raises(ValueError, match="none"):
        parsing_from_parts({})
