"""Focal loss: known values, cross-entropy at γ = 0, unknown pixels left out."""

import math

import torch

from facefill.losses.focal import focal_loss


def test_one_pixel_by_hand() -> None:
    """Probabilities 0.5, 0.25, 0.25 and class 1: (1 - 0.25)² · ln 4."""
    logits = torch.tensor([0.5, 0.25, 0.25]).log().reshape(1, 3, 1, 1)
    loss = focal_loss(logits, torch.ones(1, 1, 1, dtype=torch.int64))
    assert math.isclose(loss.item(), 0.75**2 * math.log(4), rel_tol=1e-6)


def test_gamma_zero_is_cross_entropy_of_the_known_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, generator=generator)
    target = torch.randint(0, 3, (2, 4, 5), generator=generator)
    target[0, :2] = 255
    expected = torch.nn.functional.cross_entropy(logits, target, ignore_index=255)
    torch.testing.assert_close(focal_loss(logits, target, gamma=0), expected)


def test_unknown_pixels_have_no_gradient() -> None:
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    target = torch.tensor([[[0, 255], [255, 2]]])
    focal_loss(logits, target).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert (logits.grad.abs().sum(1) > 0).tolist() == [[[True, False], [False, True]]]


def test_nothing_known_is_zero() -> None:
    assert focal_loss(torch.randn(1, 3, 2, 2), torch.full((1, 2, 2), 255)).item() == 0


def test_gradient() -> None:
    logits = torch.randn(1, 3, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([[[0, 1, 2], [255, 1, 0]]])
    assert torch.autograd.gradcheck(lambda values: focal_loss(values, target), (logits.requires_grad_(True),))
