"""What pixels see, forward and backward, as machine code for the CPU: fragments and interpolated values.

The twins of `rasterizer.fragments_from_ids` and `rasterizer.interpolate`, which they equal to rounding.
Gradients of a vertex are summed pixel by pixel, row by row, so two runs agree to the last bit.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from facefill.geometry.compiled import images_of, run_each


def fragments_numba(ids: Tensor, projected: Tensor, triangles: Tensor) -> tuple[Tensor, Tensor]:
    """Barycentric coordinates (N, H, W, 3) and depth (N, H, W) as `rasterizer.fragments_from_ids` gives."""
    return _Fragments.apply(ids, projected, triangles)


def interpolate_numba(values: Tensor, ids: Tensor, barycentric: Tensor, triangles: Tensor) -> Tensor:
    """(N, C, H, W) vertex values (N, V, C) or (V, C) as `rasterizer.interpolate` has them."""
    return _Interpolation.apply(values, ids, barycentric, triangles).permute(0, 3, 1, 2)


class _Fragments(Function):
    @staticmethod
    def forward(ctx: Any, ids: Tensor, projected: Tensor, triangles: Tensor) -> tuple[Tensor, Tensor]:
        barycentric, depth = torch.empty(*ids.shape, 3), torch.empty(ids.shape)
        written = images_of(barycentric), images_of(depth)
        run_each(fill_fragments, len(ids), images_of(ids), images_of(projected), triangles.numpy(), *written)
        ctx.save_for_backward(ids, projected, triangles)
        return barycentric, depth

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_weights: Tensor, by_depth: Tensor) -> tuple[None, Tensor, None]:
        ids, projected, triangles = ctx.saved_tensors
        gradient = torch.zeros_like(projected, memory_format=torch.contiguous_format)
        mesh = images_of(ids), images_of(projected), triangles.numpy()
        given = images_of(by_weights), images_of(by_depth)
        run_each(fill_fragments_gradient, len(ids), *mesh, *given, images_of(gradient))
        return None, gradient, None


class _Interpolation(Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, ids: Tensor, barycentric: Tensor, triangles: Tensor) -> Tensor:
        seen = torch.empty(*ids.shape, values.shape[-1])
        each = _each(values, len(ids))
        arrays = images_of(ids), images_of(barycentric), triangles.numpy(), images_of(seen)
        run_each(fill_values, len(ids), each, *arrays)
        ctx.save_for_backward(values, ids, barycentric, triangles)
        return seen

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_seen: Tensor) -> tuple[Tensor, None, Tensor, None]:
        values, ids, barycentric, triangles = ctx.saved_tensors
        by_values = torch.zeros(len(ids), *values.shape[-2:])
        by_weights = torch.zeros_like(barycentric, memory_format=torch.contiguous_format)
        mesh = _each(values, len(ids)), images_of(ids), images_of(barycentric), triangles.numpy()
        written = images_of(by_values), images_of(by_weights)
        run_each(fill_values_gradient, len(ids), *mesh, images_of(by_seen), *written)
        return by_values.sum(0) if values.ndim == 2 else by_values, None, by_weights, None


def _each(values: Tensor, count: int) -> list[Any]:
    """One array of vertex values per image; shared ones for all."""
    return images_of(values) if values.ndim == 3 else images_of(values[None]) * count


def fill_fragments(
    ids: np.ndarray, projected: np.ndarray, triangles: np.ndarray, barycentric: np.ndarray, depth: np.ndarray
) -> None:
    """Write the barycentric coordinates and depths of one image."""
    height, width = ids.shape
    zero = np.float32(0)
    for row in range(height):
        for column in range(width):
            face = ids[row, column]
            if face < 0:
                barycentric[row, column] = zero
                depth[row, column] = -np.inf
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


def fill_fragments_gradient(
    ids: np.ndarray,
    projected: np.ndarray,
    triangles: np.ndarray,
    by_weights: np.ndarray,
    by_depth: np.ndarray,
    gradient: np.ndarray,
) -> None:
    """Add to `gradient` (V, 3) what the gradients by weights (H, W, 3) and depth (H, W) say of one image."""
    height, width = ids.shape
    zero, third = np.float32(0), np.float32(1 / 3)
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
            raw_a, raw_b, raw_c = cx * by - cy * bx, ax * cy - ay * cx, bx * ay - by * ax
            area_a, area_b, area_c = max(raw_a, zero), max(raw_b, zero), max(raw_c, zero)
            total = area_a + area_b + area_c
            near = by_depth[row, column]
            if not total > 0:
                for vertex in (a, b, c):
                    gradient[vertex, 2] += near * third
                continue
            weight_a, weight_b, weight_c = area_a / total, area_b / total, area_c / total
            by_a = by_weights[row, column, 0] + near * projected[a, 2]
            by_b = by_weights[row, column, 1] + near * projected[b, 2]
            by_c = by_weights[row, column, 2] + near * projected[c, 2]
            mean = by_a * weight_a + by_b * weight_b + by_c * weight_c
            by_a = (by_a - mean) / total if raw_a >= 0 else zero
            by_b = (by_b - mean) / total if raw_b >= 0 else zero
            by_c = (by_c - mean) / total if raw_c >= 0 else zero
            gradient[a, 0] += by_b * cy - by_c * by
            gradient[a, 1] += by_c * bx - by_b * cx
            gradient[a, 2] += near * weight_a
            gradient[b, 0] += by_c * ay - by_a * cy
            gradient[b, 1] += by_a * cx - by_c * ax
            gradient[b, 2] += near * weight_b
            gradient[c, 0] += by_a * by - by_b * ay
            gradient[c, 1] += by_b * ax - by_a * bx
            gradient[c, 2] += near * weight_c


def fill_values(
    values: np.ndarray, ids: np.ndarray, barycentric: np.ndarray, triangles: np.ndarray, seen: np.ndarray
) -> None:
    """Write the interpolated vertex values (V, C) of one image into (H, W, C)."""
    height, width = ids.shape
    for row in range(height):
        for column in range(width):
            face = ids[row, column]
            if face < 0:
                seen[row, column] = np.float32(0)
                continue
            for channel in range(values.shape[1]):
                total = np.float32(0)
                for corner in range(3):
                    weight = barycentric[row, column, corner]
                    total += weight * values[triangles[face, corner], channel]
                seen[row, column, channel] = total


def fill_values_gradient(
    values: np.ndarray,
    ids: np.ndarray,
    barycentric: np.ndarray,
    triangles: np.ndarray,
    by_seen: np.ndarray,
    by_values: np.ndarray,
    by_weights: np.ndarray,
) -> None:
    """Add the gradients by values (V, C) and weights (H, W, 3) of one image, given that by (H, W, C)."""
    height, width = ids.shape
    for row in range(height):
        for column in range(width):
            face = ids[row, column]
            if face < 0:
                continue
            for corner in range(3):
                vertex, weight = triangles[face, corner], barycentric[row, column, corner]
                total = np.float32(0)
                for channel in range(values.shape[1]):
                    given = by_seen[row, column, channel]
                    total += given * values[vertex, channel]
                    by_values[vertex, channel] += given * weight
                by_weights[row, column, corner] = total
