"""The loop of `texture.locate` as machine code for the CPU: where each texel lies and whether it is
visible."""

import numpy as np
import torch
from torch import Tensor

from facefill.geometry.compiled import images_of, run_each
from facefill.geometry.texture import DEPTH_TOLERANCE, MAXIMUM_SLOPE, SMALLEST_AREA


def locate_numba(
    projected: Tensor, vertices: Tensor, weights: Tensor, depth: Tensor, model_height: float
) -> tuple[Tensor, Tensor]:
    """(N, T, 2) column and row and (N, T) bool, as `texture.locate` has them."""
    position = torch.empty(len(projected), len(vertices), 2)
    visible = torch.empty(len(projected), len(vertices), dtype=torch.bool)
    run_each(
        fill_texels,
        len(projected),
        images_of(projected),
        vertices.numpy(),
        weights.numpy(),
        images_of(depth),
        model_height,
        images_of(position),
        images_of(visible),
    )
    return position, visible


def fill_texels(
    projected: np.ndarray,
    vertices: np.ndarray,
    weights: np.ndarray,
    depth: np.ndarray,
    model_height: float,
    position: np.ndarray,
    visible: np.ndarray,
) -> None:
    """Write the texels of one image; the formulas are those of `texture.locate`."""
    height, width = depth.shape
    least = np.float32(model_height * DEPTH_TOLERANCE)
    most = np.float32(model_height * MAXIMUM_SLOPE)
    for texel in range(vertices.shape[0]):
        first, second, third = vertices[texel, 0], vertices[texel, 1], vertices[texel, 2]
        u, v, w = weights[texel, 0], weights[texel, 1], weights[texel, 2]
        column = projected[first, 0] * u + projected[second, 0] * v + projected[third, 0] * w
        row = projected[first, 1] * u + projected[second, 1] * v + projected[third, 1] * w
        own_depth = projected[first, 2] * u + projected[second, 2] * v + projected[third, 2] * w
        position[texel, 0], position[texel, 1] = column, row
        visible[texel] = False
        ax, ay = projected[second, 0] - projected[first, 0], projected[second, 1] - projected[first, 1]
        bx, by = projected[third, 0] - projected[first, 0], projected[third, 1] - projected[first, 1]
        twice_area = ay * bx - ax * by
        inside = 0 <= column <= width - 1 and 0 <= row <= height - 1
        if not (inside and twice_area > 0):
            continue
        az, bz = projected[second, 2] - projected[first, 2], projected[third, 2] - projected[first, 2]
        slope = (abs(ay * bz - by * az) + abs(bx * az - ax * bz)) / max(twice_area, np.float32(SMALLEST_AREA))
        tolerance = least + min(slope, most)
        left, top = min(int(column), width - 2), min(int(row), height - 2)
        seen = True
        for y in range(top, top + 2):
            for x in range(left, left + 2):
                if abs(depth[y, x] - own_depth) > tolerance:
                    seen = False
        visible[texel] = seen
