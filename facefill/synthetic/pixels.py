"""What each pixel of the raster sees: vertex values interpolated in the z-buffer's winning triangle.

The winners are those of `facefill.geometry.rasterizer`; values, depth and barycentric weights are filled in
one pass.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch

from facefill.geometry.rasterizer_numba import triangle_ids_numba
from facefill.synthetic.arrays import Floats, Integers


def rasterize_values(
    projected: Floats,  # (V, 3) column, row, depth
    values: Floats,  # (V, C)
    triangles: Integers,  # (F, 3)
    height: int,
    width: int,
) -> tuple[Integers, Floats, Floats]:
    """(H, W) triangle ids, -1 where empty; (H, W, C + 2) values, then the weights of the triangle's first
    two corners;
    (H, W) depth, -inf where empty.
    """
    mesh = torch.from_numpy(np.ascontiguousarray(triangles))
    ids = triangle_ids_numba(torch.from_numpy(projected)[None], mesh, height, width)[0].numpy()
    out = np.zeros((height, width, values.shape[1] + 2), np.float32)
    depth = np.full((height, width), -np.inf, np.float32)
    _fill_kernel()(projected, values, triangles, ids, out, depth)
    return ids, out, depth


@cache
def _fill_kernel() -> Callable[..., None]:
    import numba

    @numba.njit(cache=True)
    def fill(projected: Any, values: Any, triangles: Any, ids: Any, out: Any, depth: Any) -> None:
        height, width = ids.shape
        channels = values.shape[1]
        for row in range(height):
            for column in range(width):
                triangle = ids[row, column]
                if triangle < 0:
                    continue
                a, b, c = triangles[triangle, 0], triangles[triangle, 1], triangles[triangle, 2]
                ax, ay = projected[a, 0] - column, projected[a, 1] - row
                bx, by = projected[b, 0] - column, projected[b, 1] - row
                cx, cy = projected[c, 0] - column, projected[c, 1] - row
                wa, wb, wc = abs(bx * cy - by * cx), abs(cx * ay - cy * ax), abs(ax * by - ay * bx)
                total = max(wa + wb + wc, 1e-12)
                wa, wb, wc = wa / total, wb / total, wc / total
                for k in range(channels):
                    out[row, column, k] = wa * values[a, k] + wb * values[b, k] + wc * values[c, k]
                out[row, column, channels], out[row, column, channels + 1] = wa, wb
                depth[row, column] = wa * projected[a, 2] + wb * projected[b, 2] + wc * projected[c, 2]

    kernel: Callable[..., None] = fill
    return kernel
