"""A fitted photograph as maps of the atlas: texture, albedo, and which texels the photograph shows.

What a UV shard holds, so pictures come and go as stored ones, uint8. Many faces at once share one pass over
the model's bases. On the CPU everything after the bases is compiled loops; `project_with_torch` is their
twin.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from facefill.geometry.camera import project
from facefill.geometry.compiled import may_run_compiled
from facefill.geometry.morphable_model import MorphableModel, vertices_from_coefficients
from facefill.geometry.reconstruction import Fit, reconstruct
from facefill.geometry.shapes import check_shape
from facefill.geometry.texture import fill_hidden, unwrap
from facefill.geometry.uv_atlas import UVAtlas

# Cosine to the camera below which a texel counts as hidden: there a pixel of misfit shows the background as
# skin.
LEAST_FACING = 0.15


@dataclass(frozen=True)
class Projection:
    """Photographs in UV. Hidden texels of the pictures continue the visible ones smoothly, so that JPEG keeps
    those clean to their border."""

    texture: Tensor  # (N, 192, 256, 3) uint8
    albedo: Tensor  # (N, 192, 256, 3) uint8, texture / shading
    visible: Tensor  # (N, 192, 256) bool
    projected: Tensor  # (N, V, 3) column, row, depth of the mesh


@torch.no_grad()
def project_photographs(
    photographs: Tensor,  # (N, H, W, 3) uint8
    fit: Fit,
    model: MorphableModel,
    atlas: UVAtlas,
) -> Projection:
    """The maps of photographs whose fits are given in their pixels."""
    check_shape("photographs", photographs, len(fit.identity), "H", "W", 3)
    if may_run_compiled(fit.identity, model.mean):
        from facefill.geometry.projection_numba import project_numba

        projected = project(
            vertices := vertices_from_coefficients(model, fit.identity, fit.expression), fit.camera
        )
        return Projection(*project_numba(photographs, vertices, projected, fit, model, atlas), projected)
    return project_with_torch(photographs, fit, model, atlas)


def project_with_torch(
    photographs: Tensor,  # (N, H, W, 3) uint8
    fit: Fit,
    model: MorphableModel,
    atlas: UVAtlas,
) -> Projection:
    """The same from the parts of this package, on any device."""
    image = photographs.permute(0, 3, 1, 2).to(fit.identity.dtype) / 255
    mesh = reconstruct(fit, model, atlas, *image.shape[2:])
    texture, visible = unwrap(image, mesh.projected, model, atlas, mesh.fragments)
    visible = visible * (mesh.uv_normals[:, 2:] > LEAST_FACING)
    albedo = (texture / mesh.shading).clamp(0, 1)
    both = fill_hidden(torch.cat([texture, albedo], 1), visible)
    texture, albedo = (both * 255).round().byte().permute(0, 2, 3, 1).split(3, 3)
    return Projection(texture.contiguous(), albedo.contiguous(), visible[:, 0] > 0, mesh.projected)
