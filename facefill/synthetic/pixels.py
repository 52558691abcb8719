"""Per-pixel work on a rasterized mesh: interpolating vertex values, looking up maps."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from facefill.synthetic.arrays import Floats, Integers


@cache
def _gather_kernel() -> Callable[..., None]:
    import numba

    @numba.njit(cache=True)
    def gather(values: Any, triangles: Any, triangle: Any, barycentric: Any, out: Any) -> None:
        height, width = triangle.shape
        channels = values.shape[1]
        for row in range(height):
            for column in range(width):
                t = triangle[row, column]
                if t < 0:
                    continue
                a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
                wa, wb, wc = (
                    barycentric[row, column, 0],
                    barycentric[row, column, 1],
                    barycentric[row, column, 2],
                )
                for k in range(channels):
                    out[row, column, k] = wa * values[a, k] + wb * values[b, k] + wc * values[c, k]

    kernel: Callable[..., None] = gather
    return kernel


def gather(values: Floats, triangles: Integers, triangle: Integers, barycentric: Floats) -> Floats:
    """(H, W, C) of vertex values (V, C) at pixels that see `triangle` (H, W, -1 empty) at `barycentric` (H, W, 3)."""
    out = np.zeros((*triangle.shape, values.shape[1]), np.float32)
    _gather_kernel()(values, triangles, triangle, barycentric, out)
    return out
