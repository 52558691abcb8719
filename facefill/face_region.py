"""Where a hole may lie on a face: its FACE pixels where they are labelled, else what the model calls the
face.

The model's mesh also covers ears, scalp and neck. The face region is the part of the atlas inside the jaw
line and below a line over the brows, half as far above them as the nose's base is below: skin on nearly every
photograph, seldom hair.
"""

import torch
from torch import Tensor

from facefill.face_parsing import FACE, UNKNOWN
from facefill.geometry.morphable_model import MorphableModel
from facefill.geometry.rasterizer import Fragments
from facefill.geometry.texture import render
from facefill.geometry.uv_atlas import UVAtlas
from facefill.landmarks import BROWS, JAW, NOSE

FOREHEAD = 0.5  # height above the brows, in distances from the brows to the nose's base
NOSE_BASE = NOSE[6]


def face_texels(model: MorphableModel, atlas: UVAtlas) -> Tensor:
    """(1, 1, 192, 256) float, 1 on the texels of the face region; mirror-symmetric as the atlas is."""
    points = model.uv[model.landmarks]
    brows = points[list(reversed(BROWS))]
    lift = FOREHEAD * (points[NOSE_BASE, 1] - brows[:, 1].mean())
    outline = torch.cat([points[list(JAW)], brows - torch.stack([lift.new_zeros(()), lift])])
    inside = inside_polygon(outline, *atlas.face.shape)
    return ((inside | inside.flip(-1)) & atlas.face)[None, None].float()


def inside_polygon(outline: Tensor, height: int, width: int) -> Tensor:  # (P, 2) column, row
    """(height, width) bool of the pixel centres inside a closed polygon (even-odd rule)."""
    row = torch.arange(height, device=outline.device)[:, None, None]
    column = torch.arange(width, device=outline.device)[None, :, None]
    start, end = outline, outline.roll(-1, 0)
    crosses = (start[:, 1] > row) != (end[:, 1] > row)
    slope = (end[:, 0] - start[:, 0]) / (end[:, 1] - start[:, 1])
    meets = start[:, 0] + (row - start[:, 1]) * slope
    return ((crosses & (column < meets)).sum(2) % 2) == 1


def face_region(
    parsing: Tensor, fragments: Fragments, texels: Tensor, model: MorphableModel
) -> Tensor:  # (N, H, W), of the fits at H x W, of face_texels
    """(N, 1, H, W) float: the labelled face, or where nothing is labelled the face region of the fitted
    mesh.
    """
    drawn = render(texels.expand(len(parsing), -1, -1, -1), fragments, model) > 0.5
    labels = parsing[:, None]
    return torch.where(labels == UNKNOWN, drawn, labels == FACE).float()
