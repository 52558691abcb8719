"""PyramidGAN's hinge losses over four score maps, weighed by uncertainty, and the gradient penalty.

c is the uncertainty of the rendered albedo in the image, brought to the size of each score map by nearest
neighbour and detached (authors' release): the verdict counts less where the inpainter says it does not know.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from facefill.losses.masked import limited, masked_mean

CEILING = 20.0


def hinge_discriminator(real: list[Tensor], completed: list[Tensor], log_sigma: Tensor) -> Tensor:
    """Mean over scales of mean((relu(1 - D(real)) + relu(1 + D(completed))) · exp(-c) + c) / 2.

    real, completed: score maps (N, 1, h, w), one a scale; log_sigma (N, 1, H, W).
    """
    margins = [functional.relu(1 - r) + functional.relu(1 + c) for r, c in zip(real, completed, strict=True)]
    return uncertain_over_scales(margins, log_sigma)


def hinge_generator(completed: list[Tensor], log_sigma: Tensor) -> Tensor:
    """Mean over scales of mean(-D(completed) · exp(-c) + c) / 2."""
    return uncertain_over_scales([-scores for scores in completed], log_sigma)


def uncertain_over_scales(maps: list[Tensor], log_sigma: Tensor) -> Tensor:
    """Mean over `maps` of mean(map · exp(-c) + c) / 2, at most 20."""
    terms = []
    for values in maps:
        c = functional.interpolate(log_sigma.detach(), size=values.shape[-2:], mode="nearest")
        terms.append((values * (-c).exp() + c).mean() / 2)
    return limited(torch.stack(terms).mean(), CEILING)


def gradient_penalty(
    discriminator: Callable[[Tensor], list[Tensor]],
    real: Tensor,  # (N, 3, H, W) in [0, 1]
    completed: Tensor,  # (N, 3, H, W) in [0, 1]
    face: Tensor,  # (N, 1, H, W)
    mixing: Tensor,  # (N, 1, 1, 1) uniform in [0, 1]
) -> Tensor:
    """Two-sided penalty: mean over face pixels of (|gradient over colours| - 1)², not weighted by its 10.

    The gradient is that of the sum of all scores at mixing · real + (1 - mixing) · completed, with respect to
    the image in [-1, 1] that the discriminator works on, hence the factor 1/2.
    """
    mixed = (mixing * real + (1 - mixing) * completed).detach().requires_grad_(True)
    total = torch.stack([scores.sum() for scores in discriminator(mixed)]).sum()
    (gradient,) = torch.autograd.grad(total, mixed, create_graph=True)
    # The norm's own gradient is not finite at zero, which a dead pixel would reach.
    length = ((gradient / 2).square().sum(dim=1, keepdim=True) + 1e-12).sqrt()
    return masked_mean((length - 1).square(), face)
