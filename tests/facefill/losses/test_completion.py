"""Uncertainty-weighted L1 and masked symmetry against their formulas pixel by pixel."""

import math

import torch

from facefill.losses.completion import masked_symmetry, uncertain_l1
from facefill.losses.masked import limited, masked_mean


def maps(seed: int = 0, height: int = 4, width: int = 6) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    shape = (2, 3, height, width)
    prediction, target = (torch.rand(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    log_sigma = torch.randn((2, 1, height, width), generator=generator, dtype=torch.float64)
    mask = (torch.rand((2, 1, height, width), generator=generator) > 0.4).double()
    return prediction, target, log_sigma, mask


def test_uncertain_l1_of_one_pixel() -> None:
    prediction = torch.tensor([0.5, 0.7, 0.3]).reshape(1, 3, 1, 1)
    target = torch.tensor([0.2, 0.7, 0.6]).reshape(1, 3, 1, 1)
    log_sigma = torch.full((1, 1, 1, 1), math.log(2))
    loss = uncertain_l1(prediction, target, log_sigma, torch.ones(1, 1, 1, 1))
    assert math.isclose(loss.item(), (0.2 / 2 + math.log(2)) / 2, rel_tol=1e-6)


def test_uncertain_l1_equals_the_loop() -> None:
    prediction, target, log_sigma, mask = maps()
    total, count = 0.0, 0
    for n, row, column in mask[:, 0].nonzero().tolist():
        difference = (prediction[n, :, row, column] - target[n, :, row, column]).abs().mean()
        c = log_sigma[n, 0, row, column]
        total += ((difference * torch.exp(-c) + c) / 2).item()
        count += 1
    assert math.isclose(uncertain_l1(prediction, target, log_sigma, mask).item(), total / count, rel_tol=1e-9)


def test_best_uncertainty_is_the_log_of_the_error() -> None:
    """d/dc = 0 at c = log |difference|: the channel means what its name says."""
    log_sigma = torch.tensor(0.1).log().reshape(1, 1, 1, 1).requires_grad_(True)
    loss = uncertain_l1(
        torch.full((1, 3, 1, 1), 0.4), torch.full((1, 3, 1, 1), 0.5), log_sigma, torch.ones(1, 1, 1, 1)
    )
    loss.backward()
    assert log_sigma.grad is not None
    assert log_sigma.grad.abs().item() < 1e-6


def test_symmetry_equals_the_loop() -> None:
    albedo, _, log_sigma, visible = maps(1)
    albedo[0, :, 0, 0] = albedo[0, :, 0, 5] + 0.004  # inside the dead zone, and made to count
    visible[0, 0, 0, 0], visible[0, 0, 0, 5] = 0, 1
    total, count = 0.0, 0
    for n, row, column in (1 - visible)[:, 0].nonzero().tolist():
        mirror = 5 - column
        if visible[n, 0, row, mirror] == 0:
            continue
        channels = (albedo[n, :, row, column] - albedo[n, :, row, mirror]).abs()
        channels[channels <= 0.005] = 0
        c = log_sigma[n, 0, row, column]
        total += ((channels.mean() * torch.exp(-c) + c) / 2).item()
        count += 1
    assert count > 3
    assert math.isclose(masked_symmetry(albedo, log_sigma, visible).item(), total / count, rel_tol=1e-9)


def test_symmetry_moves_only_the_hidden_side() -> None:
    albedo = torch.rand(1, 3, 2, 4, requires_grad=True)
    visible = torch.tensor([[1.0, 1, 0, 0], [0, 1, 1, 0]]).reshape(1, 1, 2, 4)
    masked_symmetry(albedo, torch.zeros(1, 1, 2, 4), visible).backward()
    assert albedo.grad is not None
    moved = albedo.grad.abs().sum((0, 1)) > 0
    assert moved.tolist() == [[False, False, True, True], [False, False, False, False]]


def test_empty_mask_is_zero_with_zero_gradient() -> None:
    prediction, target, log_sigma, mask = maps()
    prediction.requires_grad_(True)
    loss = uncertain_l1(prediction, target, log_sigma, 0 * mask)
    loss.backward()
    assert loss.item() == 0
    assert prediction.grad is not None
    assert not prediction.grad.any()


def test_gradients() -> None:
    prediction, target, log_sigma, mask = maps()
    inputs = (prediction.requires_grad_(True), target, log_sigma.requires_grad_(True), mask)
    assert torch.autograd.gradcheck(uncertain_l1, inputs)


def test_limited() -> None:
    loss = torch.tensor(200.0, requires_grad=True)
    limited(loss, 50).backward()
    assert loss.grad is not None
    assert loss.grad.item() == 0.25
    assert limited(torch.tensor(200.0), 50).item() == 50
    assert limited(torch.tensor(-200.0), 50).item() == -50
    assert limited(torch.tensor(3.0), 50).item() == 3


def test_masked_mean_counts_pixels_of_the_batch_alike() -> None:
    values = torch.tensor([1.0, 2, 3, 10]).reshape(2, 1, 1, 2)
    mask = torch.tensor([1.0, 1, 0, 1]).reshape(2, 1, 1, 2)
    assert math.isclose(masked_mean(values, mask).item(), 13 / 3, rel_tol=1e-6)
    assert masked_mean(values, torch.ones(1, 1, 1, 2)).item() == 4
