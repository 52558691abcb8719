"""Drawn faces with known fits for the benchmarks: people, poses and lights at random, grain as a camera's."""

from dataclasses import dataclass

import torch
from torch import Tensor

from facefill.geometry.camera import WeakPerspective
from facefill.geometry.default_model import default_model
from facefill.geometry.morphable_model import MorphableModel
from facefill.geometry.reconstruction import NUM_EXPRESSION, NUM_IDENTITY, Fit, reconstruct
from facefill.geometry.spherical_harmonics import ambient_illumination
from facefill.geometry.texture import coverage, render
from facefill.geometry.uv_atlas import UVAtlas, build_atlas
from facefill.samples import IMAGE_SIZE

# Standard deviation, alike in all channels: JPEG is as long and PNG takes as long as for aligned photographs.
GRAIN = 0.03


@dataclass(frozen=True)
class Faces:
    """Pictures of faces and all that is known about them."""

    model: MorphableModel
    atlas: UVAtlas
    fit: Fit
    image: Tensor  # (N, 3, 256, 256) in [0, 1]
    landmarks: Tensor  # (N, 68, 2) pixels


def drawn_faces(count: int, model: MorphableModel | None = None) -> Faces:
    """`count` faces of `model`, by default the default model, in the frame of an aligned picture."""
    model = default_model() if model is None else model
    atlas = build_atlas(model)
    fit = random_fit(count)
    with torch.no_grad():
        mesh = reconstruct(fit, model, atlas, IMAGE_SIZE, IMAGE_SIZE)
        covered = coverage(mesh.fragments)
        skin = render((model.mean_albedo * mesh.shading).clamp(0, 1), mesh.fragments, model)
        ground = torch.linspace(0.3, 0.6, IMAGE_SIZE)[:, None]
        grain = GRAIN * torch.randn(covered.shape, generator=torch.Generator().manual_seed(1))
        image = (skin * covered + ground * (1 - covered) + grain).clamp(0, 1)
    return Faces(model, atlas, fit, image, mesh.projected[:, model.landmarks, :2])


def random_fit(count: int) -> Fit:
    """Moderate people, poses and lights."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    light = ambient_illumination(count, 0.9)
    light[:, :, 1:4] += 0.15 * normal(count, 1, 3)
    camera = WeakPerspective(
        1e-3 * (1 + 0.03 * normal(count)),
        0.25 * normal(count, 3) * torch.tensor([0.5, 1.0, 0.3]),
        torch.tensor([128.0, 125.0]) + 2 * normal(count, 2),
    )
    return Fit(0.8 * normal(count, NUM_IDENTITY), 0.6 * normal(count, NUM_EXPRESSION), camera, light)
