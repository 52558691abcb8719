"""The completed face from other viewpoints (supplementary 2.4, Fig. 9).

The light turns with the head, as if the camera walked around: the texture that the photograph shows is
kept where it is known, and the completed one fills the rest, self-occluded parts included.
"""

from dataclasses import replace

import torch
from torch import Tensor

from facefill.completion import Completion
from facefill.face_region import inside_polygon
from facefill.geometry.morphable_model import MorphableModel
from facefill.geometry.reconstruction import Fit, reconstruct
from facefill.geometry.texture import coverage, render
from facefill.geometry.uv_atlas import UVAtlas
from facefill.landmarks import MOUTH

YAWS = (-50.0, -25.0, 0.0, 25.0, 50.0)  # degrees, five viewpoints as in the paper
BACKGROUND = 0.93
OUTER_LIPS = MOUTH[:12]
MOUTH_COLOUR = (
    0.23,
    0.10,
    0.10,
)  # the mesh has no inside of the mouth, and a bright ground would shine through


def render_views(
    completion: Completion,
    model: MorphableModel,
    atlas: UVAtlas,
    yaws: tuple[float, ...] = YAWS,
    size: int = 224,
) -> Tensor:
    """One face (a Completion of batch 1) seen at the given yaws, upright: (len(yaws), 3, size, size) in
    [0, 1].
    """
    factors = completion.factors
    observed = (factors.albedo * factors.reconstruction.shading).clamp(0, 1)
    texture = torch.where(factors.known > 0, observed, completion.texture)
    number = len(yaws)
    fit = turned(completion.fit, yaws, size)
    mesh = reconstruct(fit, model, atlas, size, size)
    drawn = render(texture.expand(number, -1, -1, -1), mesh.fragments, model)
    covered = coverage(mesh.fragments)
    lips = mesh.projected[:, model.landmarks[list(OUTER_LIPS)], :2]
    inside = torch.stack([inside_polygon(outline, size, size) for outline in lips])[:, None]
    mouth = torch.tensor(MOUTH_COLOUR, device=drawn.device).view(1, 3, 1, 1)
    ground = torch.where(inside, mouth, torch.full_like(drawn, BACKGROUND))
    return drawn * covered + ground * (1 - covered)


def turned(fit: Fit, yaws: tuple[float, ...], size: int) -> Fit:
    """The face of `fit` (batch 1) with the yaws given in degrees, no pitch or roll, in the middle of the
    picture.
    """
    number = len(yaws)
    angles = fit.camera.euler_xyz.new_zeros(number, 3)
    angles[:, 1] = torch.deg2rad(torch.tensor(yaws))
    middle = fit.camera.translation.new_full((number, 2), (size - 1) / 2)
    camera = replace(fit.camera, scale=fit.camera.scale.expand(number), euler_xyz=angles, translation=middle)
    return Fit(
        fit.identity.expand(number, -1),
        fit.expression.expand(number, -1),
        camera,
        fit.illumination.expand(number, -1, -1),
    )
