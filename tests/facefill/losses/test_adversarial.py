"""Hinge losses and the gradient penalty against hand values."""

import math

import torch
from torch import Tensor

from facefill.losses.adversarial import gradient_penalty, hinge_discriminator, hinge_generator


def test_hinge_by_hand() -> None:
    """Two scales of one pixel, no uncertainty: 0.5 + 0.8 at the first, 0 + 2 at the second."""
    real = [torch.full((1, 1, 1, 1), 0.5), torch.full((1, 1, 1, 1), 3.0)]
    completed = [torch.full((1, 1, 1, 1), -0.2), torch.full((1, 1, 1, 1), 1.0)]
    nothing = torch.zeros(1, 1, 4, 4)
    assert math.isclose(hinge_discriminator(real, completed, nothing).item(), (1.3 + 2) / 2 / 2, rel_tol=1e-6)
    assert math.isclose(hinge_generator(completed, nothing).item(), (0.2 - 1) / 2 / 2, rel_tol=1e-6)


def test_uncertainty_weighs_the_verdict_at_each_scale() -> None:
    """c of a 4x4 image at a 2x2 score map: nearest neighbour takes every second pixel."""
    log_sigma = torch.randn(2, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    scores = torch.randn(2, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    c = log_sigma[:, :, ::2, ::2]
    expected = (-scores * torch.exp(-c) + c).mean() / 2
    torch.testing.assert_close(hinge_generator([scores], log_sigma), expected)


def test_no_gradient_to_the_uncertainty() -> None:
    log_sigma = torch.zeros(1, 1, 4, 4, requires_grad=True)
    scores = torch.zeros(1, 1, 2, 2, requires_grad=True)
    hinge_generator([scores], log_sigma).backward()
    assert log_sigma.grad is None
    assert scores.grad is not None


def test_generator_and_discriminator_pull_apart() -> None:
    scores = torch.zeros(1, 1, 2, 2, requires_grad=True)
    nothing = torch.zeros(1, 1, 4, 4)
    (up,) = torch.autograd.grad(hinge_generator([scores], nothing), scores)
    (down,) = torch.autograd.grad(hinge_discriminator([torch.ones_like(scores)], [scores], nothing), scores)
    assert (up < 0).all()
    assert (down > 0).all()


def test_penalty_of_linear_discriminator() -> None:
    """Gradients that add up to (3, 0, 4) per pixel of [0, 1]: length 5, 2.5 in [-1, 1], penalty 1.5²."""

    def linear(image: Tensor) -> list[Tensor]:
        return [3 * image[:, :1], 4 * image[:, 2:]]

    real, completed = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    face = torch.zeros(2, 1, 4, 4)
    face[:, :, 1:3] = 1
    penalty = gradient_penalty(linear, real, completed, face, torch.rand(2, 1, 1, 1))
    assert math.isclose(penalty.item(), 2.25, rel_tol=1e-5)


def test_penalty_looks_between_the_images() -> None:
    """A quadratic discriminator: its gradient tells where it was asked."""

    def quadratic(image: Tensor) -> list[Tensor]:
        return [image.square().sum(1, keepdim=True)]

    real, completed = torch.ones(1, 3, 1, 1), torch.zeros(1, 3, 1, 1)
    penalty = gradient_penalty(
        quadratic, real, completed, torch.ones(1, 1, 1, 1), torch.full((1, 1, 1, 1), 0.25)
    )
    assert math.isclose(penalty.item(), (0.25 * math.sqrt(3) - 1) ** 2, rel_tol=1e-5)


def test_penalty_reaches_the_discriminator_only_in_the_face() -> None:
    weight = torch.nn.Parameter(torch.full((1, 3, 4, 4), 2.0))
    face = torch.zeros(1, 1, 4, 4)
    face[..., 0] = 1
    images = torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4)
    gradient_penalty(lambda image: [weight * image], *images, face, torch.rand(1, 1, 1, 1)).backward()
    assert weight.grad is not None
    assert (weight.grad[..., 0] != 0).all()
    assert not weight.grad[..., 1:].any()
