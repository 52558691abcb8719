"""A picture of a face model: what its mean, its first components and its albedo look like."""

import math

import torch
from torch import Tensor

from facefill.geometry.camera import WeakPerspective, project
from facefill.geometry.mesh import vertex_normals
from facefill.geometry.morphable_model import (
    EXPRESSION_COUNT,
    IDENTITY_COUNT,
    MorphableModel,
    vertices_from_coefficients,
)
from facefill.geometry.rasterizer import interpolate, rasterize
from facefill.geometry.texture import coverage, render

TILE, COLUMNS, FILLED = 256, 6, 0.84  # FILLED: part of a tile that the mean face takes
SHOWN_COMPONENTS, DEVIATIONS = 3, 2.0
TURN = math.radians(40)
LIGHT = (0.35, 0.45, 0.82)  # towards the lamp, camera frame
AMBIENT, GREY, PAPER = 0.3, 0.72, 1.0


def preview(model: MorphableModel) -> Tensor:
    """(3, H, W) float32 in [0, 1], tiles in rows of six.

    Row 1: the mean face plain from the front and from both sides, then with the mean albedo. Rows 2 and 3:
    the first three identity and the first three expression components, each at -2 and +2 standard deviations.
    Row 4: the first three components of the albedo likewise, where the model has any.
    """
    turns = [0.0, -TURN, TURN] * 2
    identity = torch.zeros(3 * COLUMNS, IDENTITY_COUNT)
    expression = torch.zeros(3 * COLUMNS, EXPRESSION_COUNT)
    for component in range(SHOWN_COMPONENTS):
        for side, value in enumerate((-DEVIATIONS, DEVIATIONS)):
            identity[COLUMNS + 2 * component + side, component] = value
            expression[2 * COLUMNS + 2 * component + side, component] = value
    yaw = torch.tensor(turns + [0.0] * 2 * COLUMNS)
    grey = torch.full((1, 3, *model.mean_albedo.shape[1:]), GREY)
    albedo = model.mean_albedo[None]
    maps = torch.cat((grey.repeat(3, 1, 1, 1), albedo.repeat(3, 1, 1, 1), grey.repeat(2 * COLUMNS, 1, 1, 1)))
    if len(model.albedo_basis):
        steps = DEVIATIONS * torch.tensor([-1.0, 1.0]).repeat(SHOWN_COMPONENTS)
        shown = model.albedo_basis[:SHOWN_COMPONENTS].repeat_interleave(2, 0)
        maps = torch.cat((maps, (albedo + steps[: len(shown), None, None, None] * shown).clamp(0, 1)))
        more = len(shown)
        identity = torch.cat((identity, identity.new_zeros(more, IDENTITY_COUNT)))
        expression = torch.cat((expression, expression.new_zeros(more, EXPRESSION_COUNT)))
        yaw = torch.cat((yaw, yaw.new_zeros(more)))
    tiles = _draw(model, identity, expression, yaw, maps)
    missing = -len(tiles) % COLUMNS
    tiles = torch.cat((tiles, tiles.new_full((missing, 3, TILE, TILE), PAPER)))
    rows = tiles.unflatten(0, (-1, COLUMNS)).permute(2, 0, 3, 1, 4)
    return rows.reshape(3, -1, COLUMNS * TILE).contiguous()


def _draw(model: MorphableModel, identity: Tensor, expression: Tensor, yaw: Tensor, maps: Tensor) -> Tensor:
    """Shaded faces (N, 3, TILE, TILE) on paper, all seen by one camera but for the yaw."""
    vertices = vertices_from_coefficients(model, identity, expression)
    low, high = model.mean.amin(0), model.mean.amax(0)
    scale = FILLED * TILE / (high - low)[:2].max().item()
    middle = (low + high) / 2
    count = len(identity)
    centred = vertices - middle
    zero = torch.zeros(count)
    camera = WeakPerspective(
        scale=torch.full((count,), scale),
        euler_xyz=torch.stack((zero, yaw, zero), 1),
        translation=torch.full((count, 2), (TILE - 1) / 2),
    )
    fragments = rasterize(project(centred, camera), model.triangles, TILE, TILE)
    normals = vertex_normals(vertices, model.triangles) @ camera.rotation.transpose(1, 2)
    facing = (normals @ torch.tensor(LIGHT) / math.hypot(*LIGHT)).clamp_min(0)
    shading = interpolate(AMBIENT + (1 - AMBIENT) * facing[..., None], fragments, model.triangles)
    covered = coverage(fragments)
    return render(maps, fragments, model).clamp(0, 1) * shading + PAPER * (1 - covered)
