"""What trains the encoder and the albedo decoder (supplementary 4.2; α and p of Tran & Liu, CVPR 2018).

Lengths are made comparable before they are squared: scale by its range 2e-3 px/µm, pixels by the image size.
"""

import torch
from torch import Tensor

from facefill.geometry.camera import WeakPerspective
from facefill.geometry.rotations import quaternion_from_matrix, quaternion_squared_distance
from facefill.losses.masked import masked_mean

SCALE_RANGE = 2e-3  # px per µm, the range of the encoder's scale
CHROMATICITY_SHARPNESS = 15.0  # α
CONSTANCY_POWER = 0.8  # p: below 1 favours few sharp edges over many faint ones
TINY_LENGTH = 1e-8  # of a square: 0.02 px of 224, where the distance's gradient would not be finite
ROUNDING = 1e-8  # below the square of half an 8-bit step; keeps the gradient of |d|^0.8 finite at zero


def shape_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of standardised coefficients (N, K)."""
    return (predicted - target).square().mean()


def scale_loss(predicted: WeakPerspective, target: WeakPerspective) -> Tensor:
    """Mean squared difference of scales, in units of the encoder's range."""
    return ((predicted.scale - target.scale) / SCALE_RANGE).square().mean()


def translation_loss(predicted: WeakPerspective, target: WeakPerspective, image_size: int) -> Tensor:
    """Mean squared length of the translation's error, in image sizes."""
    return ((predicted.translation - target.translation) / image_size).square().sum(dim=1).mean()


def rotation_loss(predicted: WeakPerspective, target: WeakPerspective) -> Tensor:
    """Mean squared distance of the unit quaternions; q and -q are one rotation."""
    return quaternion_squared_distance(
        quaternion_from_matrix(predicted.rotation), quaternion_from_matrix(target.rotation)
    ).mean()


def illumination_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of spherical-harmonics coefficients (N, 3, 9)."""
    return (predicted - target).square().mean()


def texture_loss(predicted: Tensor, target: Tensor, visible: Tensor) -> Tensor:
    """Mean squared error of UV textures (N, 3, 192, 256) over visible texels (N, 1, 192, 256)."""
    return masked_mean((predicted - target).square().mean(dim=1, keepdim=True), visible)


def landmark_loss(predicted: Tensor, target: Tensor, weights: Tensor, image_size: int) -> Tensor:
    """Weighted mean of the squared distance of landmarks, in image sizes.

    predicted, target (N, 68, 2) pixels; weights (N, 68), 0 = not known.
    """
    squared = ((predicted - target) / image_size).square().sum(dim=2)
    return (squared * weights).sum() / weights.sum().clamp(min=1)


def landmark_distance(predicted: Tensor, target: Tensor, weights: Tensor, image_size: int) -> Tensor:
    """`landmark_loss` without the square: small errors count as much per pixel as large ones.

    Ours; a face whose landmarks are marked badly does not outweigh the others.
    """
    squared = ((predicted - target) / image_size).square().sum(dim=2)
    distance = (squared + TINY_LENGTH).sqrt()
    return (distance * weights).sum() / weights.sum().clamp(min=1)


def reconstruction_loss(rendered: Tensor, image: Tensor, mask: Tensor) -> Tensor:
    """L1 of images (N, 3, H, W) over the mask (N, 1, H, W): pixels that are rendered and seen to be face."""
    return masked_mean((rendered - image).abs().mean(dim=1, keepdim=True), mask)


def albedo_symmetry(albedo: Tensor, face: Tensor) -> Tensor:
    """L1 of albedo maps (N, 3, 192, 256) to their mirror images over face texels (N or 1, 1, 192, 256)."""
    return masked_mean((albedo - albedo.flip(-1)).abs().mean(dim=1, keepdim=True), face)


def albedo_constancy(albedo: Tensor, texture: Tensor, visible: Tensor) -> Tensor:
    """Neighbours of like chromaticity should have like albedo: Σ ω·|ΔA|^p / Σ ω over pairs across and down.

    ω = exp(-α·|Δc|) on pairs of visible texels, c = the observed texture over the sum of its channels.
    albedo, texture (N, 3, 192, 256), visible (N, 1, 192, 256). α = 15, p = 0.8; ω takes no gradient.
    """
    chromaticity = texture.detach() / (texture.detach().sum(dim=1, keepdim=True) + 1e-6)
    total = albedo.new_zeros(())
    weights = albedo.new_zeros(())
    for axis in (-1, -2):
        num_pairs = visible.shape[axis] - 1
        both_visible = visible.narrow(axis, 0, num_pairs) * visible.narrow(axis, 1, num_pairs)
        # vector_norm over so short and strided an axis takes ten times as long
        distance = chromaticity.diff(dim=axis).square().sum(dim=1).sqrt()
        likeness = torch.exp(-CHROMATICITY_SHARPNESS * distance)
        weight = likeness[:, None] * both_visible
        squared = albedo.diff(dim=axis).square().sum(dim=1, keepdim=True)
        total = total + (weight * (squared + ROUNDING) ** (CONSTANCY_POWER / 2)).sum()
        weights = weights + weight.sum()
    return total / weights.clamp(min=1)
