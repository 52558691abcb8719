"""The loops of the rasterizer as machine code for the CPU: z-buffer, fragments, interpolation.

The z-buffer gives the ids of `rasterizer.triangle_ids` bit for bit; the rest agrees with torch to rounding.
"""

import numpy as np
import torch
from torch import Tensor

from facefill.geometry.compiled import images_of, run_each

SNAP = 4096.0
GUARD = 8192.0 * SNAP


def triangle_ids_numba(projected: Tensor, triangles: Tensor, height: int, width: int) -> Tensor:
    """(N, H, W) int64 ids of float32 `projected` (N, V, 3) on the CPU, by the rules of `rasterizer`."""
    ids = torch.empty(len(projected), height, width, dtype=torch.int64)
    run_each(fill_ids, len(ids), images_of(projected), triangles.numpy(), images_of(ids))
    return ids


def fragments_numba(ids: Tensor, projected: Tensor, triangles: Tensor) -> tuple[Tensor, Tensor]:
    """Barycentric coordinates (N, H, W, 3) and depth (N, H, W) as `rasterizer.fragments_from_ids` gives."""
    barycentric, depth = torch.zeros(*ids.shape, 3), torch.full(ids.shape, -torch.inf)
    written = images_of(barycentric), images_of(depth)
    run_each(fill_fragments, len(ids), images_of(ids), images_of(projected), triangles.numpy(), *written)
    return barycentric, depth


def interpolate_numba(values: Tensor, ids: Tensor, barycentric: Tensor, triangles: Tensor) -> Tensor:
    """(N, C, H, W) vertex values (N, V, C) or (V, C) as `rasterizer.interpolate` has them."""
    seen = torch.zeros(*ids.shape, values.shape[-1])
    vertex_values = values.detach().contiguous().numpy() if values.ndim == 2 else images_of(values)
    arrays = images_of(ids), images_of(barycentric), triangles.numpy(), images_of(seen)
    run_each(fill_values, len(ids), vertex_values, *arrays)
    return seen.permute(0, 3, 1, 2)


def fill_ids(projected: np.ndarray, triangles: np.ndarray, ids: np.ndarray) -> None:
    """Write the ids of one image; every product below is a whole number under 2^53, so float64 is exact."""
    height, width = ids.shape
    nearest = np.empty((height, width), np.float32)
    nearest[:] = -np.inf
    ids[:] = -1
    num_vertices = projected.shape[0]
    snapped = np.empty((num_vertices, 2), np.float64)
    for vertex in range(num_vertices):
        for axis in range(2):
            snapped[vertex, axis] = np.rint(projected[vertex, axis] * np.float32(SNAP))
        usable = abs(snapped[vertex, 0]) <= GUARD and abs(snapped[vertex, 1]) <= GUARD
        if not (usable and np.isfinite(projected[vertex, 2])):
            snapped[vertex, 0] = np.nan
    for face in range(triangles.shape[0]):
        a, b, c = triangles[face, 0], triangles[face, 1], triangles[face, 2]
        ax, ay = snapped[a, 0], snapped[a, 1]
        bx, by = snapped[b, 0], snapped[b, 1]
        cx, cy = snapped[c, 0], snapped[c, 1]
        twice_area = (ax - bx) * (cy - by) - (ay - by) * (cx - bx)
        if not twice_area > 0:  # back face, empty, or a vertex marked unusable
            continue
        left = max(0, int(np.ceil(min(ax, bx, cx) / SNAP)))
        right = min(width - 1, int(np.floor(max(ax, bx, cx) / SNAP)))
        if right < left:
            continue
        top = max(0, int(np.ceil(min(ay, by, cy) / SNAP)))
        bottom = min(height - 1, int(np.floor(max(ay, by, cy) / SNAP)))
        za, zb, zc = np.float64(projected[a, 2]), np.float64(projected[b, 2]), np.float64(projected[c, 2])
        # Edges c→b, a→c and b→a; a centre exactly on an edge belongs to the triangle that walks it downwards.
        owns_a = by - cy > 0 or (by == cy and bx - cx > 0)
        owns_b = cy - ay > 0 or (cy == ay and cx - ax > 0)
        owns_c = ay - by > 0 or (ay == by and ax - bx > 0)
        for row in range(top, bottom + 1):
            y = row * SNAP
            for column in range(left, right + 1):
                x = column * SNAP
                weight_a = (bx - cx) * (y - cy) - (by - cy) * (x - cx)
                if weight_a < 0 or (weight_a == 0 and not owns_a):
                    continue
                weight_b = (cx - ax) * (y - ay) - (cy - ay) * (x - ax)
                if weight_b < 0 or (weight_b == 0 and not owns_b):
                    continue
                weight_c = (ax - bx) * (y - by) - (ay - by) * (x - bx)
                if weight_c < 0 or (weight_c == 0 and not owns_c):
                    continue
                depth = np.float32((weight_a * za + weight_b * zb + weight_c * zc) / twice_area)
                if depth > nearest[row, column]:
                    nearest[row, column] = depth
                    ids[row, column] = face


def fill_fragments(
    ids: np.ndarray, projected: np.ndarray, triangles: np.ndarray, barycentric: np.ndarray, depth: np.ndarray
) -> None:
    """Write the barycentric coordinates and depths of one image where it sees a triangle."""
    height, width = ids.shape
    zero = np.float32(0)
    for row in range(height):
        for column in range(width):
            face = ids[row, column]
            if face < 0:
                continue
            a, b, c = triangles[face, 0], triangles[face, 1], triangles[face, 2]
            x, y = np.float32(column), np.float32(row)
            ax, ay = projected[a, 0] - x, projected[a, 1] - y
            bx, by = projected[b, 0] - x, projected[b, 1] - y
            cx, cy = projected[c, 0] - x, projected[c, 1] - y
            area_a = max(cx * by - cy * bx, zero)
            area_b = max(ax * cy - ay * cx, zero)
            area_c = max(bx * ay - by * ax, zero)
            total = area_a + area_b + area_c
            weight_a, weight_b = np.float32(1 / 3), np.float32(1 / 3)
            weight_c = np.float32(1 / 3)
            if total > 0:
                weight_a, weight_b, weight_c = area_a / total, area_b / total, area_c / total
            barycentric[row, column, 0] = weight_a
            barycentric[row, column, 1] = weight_b
            barycentric[row, column, 2] = weight_c
            depth[row, column] = (
                weight_a * projected[a, 2] + weight_b * projected[b, 2] + weight_c * projected[c, 2]
            )


def fill_values(
    values: np.ndarray, ids: np.ndarray, barycentric: np.ndarray, triangles: np.ndarray, seen: np.ndarray
) -> None:
    """Write the interpolated vertex values (V, C) of one image into (H, W, C) where it sees a triangle."""
    height, width = ids.shape
    for row in range(height):
        for column in range(width):
            face = ids[row, column]
            if face < 0:
                continue
            for channel in range(values.shape[1]):
                total = np.float32(0)
                for corner in range(3):
                    weight = barycentric[row, column, corner]
                    total += weight * values[triangles[face, corner], channel]
                seen[row, column, channel] = total
