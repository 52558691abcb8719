"""Hair: grows outside the skull, leaves the face free, and is the same for the same person."""

import numpy as np
import pytest

from facefill.synthetic.hair import BALD, COILS, LONG, SHORT, TIED, HairStyle, grow_hair
from facefill.synthetic.head import Head

COLOUR = np.float32([0.3, 0.2, 0.1])


@pytest.mark.parametrize("style", [SHORT, LONG, COILS, TIED], ids=lambda style: style.name)
def test_strands_stay_outside_the_skull(style: HairStyle, head: Head, generator: np.random.Generator) -> None:
    hair = grow_hair(style, COLOUR, head.canonical, head.anatomy, generator)
    assert hair is not None
    assert len(hair.points) > 0.9 * style.strands
    assert np.isfinite(hair.points).all()
    assert ((hair.tint >= 0) & (hair.tint <= 1)).all()
    above_ears = hair.points[hair.points[..., 1] > head.anatomy.brow[1]]
    centre, skull = head.anatomy.skull(head.canonical)
    assert np.linalg.norm(above_ears - centre, axis=1).min() > 0.9 * skull[: len(skull) // 2].min()


def test_long_hair_hangs_beside_the_face(head: Head, generator: np.random.Generator) -> None:
    hair = grow_hair(LONG, COLOUR, head.canonical, head.anatomy, generator)
    assert hair is not None
    points = hair.points.reshape(-1, 3)
    nose = head.landmarks[30]
    before_face = (
        (points[:, 2] > nose[2] - 40e3)
        & (np.abs(points[:, 1] - nose[1]) < 20e3)
        & (np.abs(points[:, 0]) < 30e3)
    )
    assert before_face.mean() < 1e-3
    assert points[:, 1].min() < head.landmarks[8, 1], "it reaches below the chin"


def test_nobody_combs_a_bald_head(head: Head, generator: np.random.Generator) -> None:
    assert grow_hair(BALD, COLOUR, head.canonical, head.anatomy, generator) is None


def test_hair_is_repeatable(head: Head) -> None:
    grown = [
        grow_hair(SHORT, COLOUR, head.canonical, head.anatomy, np.random.default_rng(4)) for _ in range(2)
    ]
    assert grown[0] is not None and grown[1] is not None
    assert np.array_equal(grown[0].points, grown[1].points)
