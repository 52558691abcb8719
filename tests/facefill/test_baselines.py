"""The learning-free fills: what they put under the hole, and that they touch nothing else."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from facefill.baselines import mean_fill, mirror_fill, mirror_map, telea_fill
from facefill.landmarks import MIRROR_68

SIZE = 65
CENTRE = 32  # the mirror line is this column


def symmetric_landmarks() -> Tensor:
    """68 points, each the reflection of its partner in the middle column."""
    points = torch.rand(68, 2, generator=torch.Generator().manual_seed(0)).double() * 50
    mirrored = points[list(MIRROR_68)].clone()
    mirrored[:, 0] = 2 * CENTRE - mirrored[:, 0]
    return (points + mirrored) / 2


@pytest.fixture
def scene() -> tuple[Tensor, Tensor, Tensor]:
    """A symmetric picture, a hole on its left half and in the middle, a face that fills most of it."""
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(3, SIZE, SIZE, generator=generator)
    image = (image + image.flip(-1)) / 2
    hole = torch.zeros(1, SIZE, SIZE)
    hole[:, 20:40, 10:20] = 1
    hole[:, 45:50, 28:37] = 1
    face = torch.zeros(1, SIZE, SIZE)
    face[:, 5:60, 5:60] = 1
    return image, hole, face


def test_nothing_but_the_hole_changes(scene: tuple[Tensor, Tensor, Tensor]) -> None:
    image, hole, face = scene
    for result in (
        mean_fill(image, hole, face),
        telea_fill(image, hole, face),
        mirror_fill(image, hole, face, symmetric_landmarks()),
    ):
        outside = (hole == 0).expand_as(image)
        assert torch.equal(result[outside], image[outside])
        assert result.min() >= 0
        assert result.max() <= 1


def test_pixels_under_the_hole_are_not_looked_at(scene: tuple[Tensor, Tensor, Tensor]) -> None:
    image, hole, face = scene
    other = torch.where(hole > 0, torch.rand(image.shape), image)
    landmarks = symmetric_landmarks()
    for first, second in (
        (mean_fill(image, hole, face), mean_fill(other, hole, face)),
        (telea_fill(image, hole, face), telea_fill(other, hole, face)),
        (mirror_fill(image, hole, face, landmarks), mirror_fill(other, hole, face, landmarks)),
    ):
        torch.testing.assert_close(first, second, rtol=0, atol=1e-6)


def test_mean_is_that_of_the_visible_face() -> None:
    image = torch.zeros(3, 4, 4)
    image[:, 1] = torch.tensor([0.2, 0.4, 0.6])[:, None]
    hole, face = torch.zeros(2, 1, 4, 4)
    hole[:, 1, :2] = face[:, 1] = 1
    result = mean_fill(image, hole, face)
    torch.testing.assert_close(result[:, 1, 0], torch.tensor([0.2, 0.4, 0.6]))
    hole[:, 1] = 1  # no face left: the mean of the rest, which is black
    assert not mean_fill(image, hole, face)[:, 1].any()


def test_mirror_restores_a_symmetric_face(scene: tuple[Tensor, Tensor, Tensor]) -> None:
    image, hole, face = scene
    result = mirror_fill(image, hole, face, symmetric_landmarks())
    torch.testing.assert_close(result[:, 20:40, 10:20], image[:, 20:40, 10:20], rtol=0, atol=1e-4)


def test_mirror_falls_back_to_the_mean(scene: tuple[Tensor, Tensor, Tensor]) -> None:
    """Where the hole lies over its own mirror image, and where the mirror point is background."""
    image, hole, face = scene
    face[:, :, 45:] = 0  # columns 10..19 mirror to 45..54
    result = mirror_fill(image, hole, face, symmetric_landmarks())
    torch.testing.assert_close(result, mean_fill(image, hole, face))


def test_mirror_map_of_a_tilted_head() -> None:
    """Reflection in a line through (30, 40), tilted by 20 degrees: applied twice it is the identity."""
    angle = math.radians(20)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]).double()
    centre = torch.tensor([30.0, 40.0]).double()
    upright = symmetric_landmarks() - CENTRE
    tilted = upright @ turn.T + centre
    found = mirror_map(tilted)
    reflection = turn @ torch.diag(torch.tensor([-1.0, 1.0]).double()) @ turn.T
    torch.testing.assert_close(found[:, :2], reflection)
    torch.testing.assert_close(found[:, 2], centre - reflection @ centre)


def test_telea_continues_a_flat_colour() -> None:
    image = torch.full((3, 20, 20), 51 / 255)
    hole = torch.zeros(1, 20, 20)
    hole[:, 5:12, 6:15] = 1
    damaged = torch.where(hole > 0, torch.tensor(1.0), image)
    assert np.allclose(telea_fill(damaged, hole, hole).numpy(), 51 / 255, rtol=0, atol=3 / 255)
