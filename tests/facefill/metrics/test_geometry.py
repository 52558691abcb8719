"""Landmark error by hand."""

import math

import torch

from facefill.metrics.geometry import landmark_nme


def test_nme_by_hand() -> None:
    """A box of 4 x 9 has size 6; every point off by (3, 4) is off by 5."""
    truth = torch.tensor([[[0.0, 0], [4, 0], [4, 9]]])
    assert math.isclose(landmark_nme(truth + torch.tensor([3.0, 4.0]), truth).item(), 5 / 6, rel_tol=1e-6)


def test_nme_does_not_depend_on_the_image_size() -> None:
    generator = torch.Generator().manual_seed(0)
    predicted, truth = torch.rand(2, 5, 68, 2, generator=generator)
    torch.testing.assert_close(landmark_nme(7 * predicted, 7 * truth), landmark_nme(predicted, truth))
