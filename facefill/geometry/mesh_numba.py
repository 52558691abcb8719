"""Vertex normals and vertex values in UV, forward and backward, as machine code for the CPU.

The twins of `mesh.vertex_normals` and `uv_atlas.uv_from_vertices`, which they equal to rounding. Sums run in
the order of the triangles and texels, so two runs agree to the last bit.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from facefill.geometry.compiled import images_of, run_each


def vertex_normals_numba(vertices: Tensor, triangles: Tensor) -> Tensor:
    """(N, V, 3) unit normals as `mesh.vertex_normals` has them."""
    return _Normals.apply(vertices, triangles)


def uv_from_vertices_numba(values: Tensor, texel_vertices: Tensor, weights: Tensor, face: Tensor) -> Tensor:
    """(N, C, 192, 256) maps as `uv_atlas.uv_from_vertices` has them, of the atlas's own tables."""
    return _Maps.apply(values, texel_vertices, weights, face)


class _Normals(Function):
    @staticmethod
    def forward(ctx: Any, vertices: Tensor, triangles: Tensor) -> Tensor:
        normals = torch.zeros(vertices.shape)
        mesh = images_of(vertices), triangles.contiguous().numpy()
        run_each(fill_normals, len(vertices), *mesh, images_of(normals))
        ctx.save_for_backward(vertices, triangles)
        return normals

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_normals: Tensor) -> tuple[Tensor, None]:
        vertices, triangles = ctx.saved_tensors
        sums, gradient = torch.zeros(vertices.shape), torch.zeros(vertices.shape)
        mesh = images_of(vertices), triangles.contiguous().numpy()
        written = images_of(sums), images_of(gradient)
        run_each(fill_normals_gradient, len(vertices), *mesh, images_of(by_normals), *written)
        return gradient, None


class _Maps(Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, texel_vertices: Tensor, weights: Tensor, face: Tensor) -> Tensor:
        maps = torch.empty(len(values), values.shape[2], *face.shape)
        ctx.atlas, ctx.shape = (texel_vertices.numpy(), weights.numpy(), face.numpy()), values.shape
        run_each(fill_maps, len(values), images_of(values), *ctx.atlas, images_of(maps))
        return maps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_maps: Tensor) -> tuple[Tensor, None, None, None]:
        gradient = torch.zeros(ctx.shape)
        run_each(fill_maps_gradient, len(gradient), images_of(by_maps), *ctx.atlas, images_of(gradient))
        return gradient, None, None, None


def fill_normals(vertices: np.ndarray, triangles: np.ndarray, normals: np.ndarray) -> None:
    """Write unit normals (V, 3) into an array of zeros."""
    for face in range(len(triangles)):
        a, b, c = np.uint64(triangles[face, 0]), np.uint64(triangles[face, 1]), np.uint64(triangles[face, 2])
        ux, vx = vertices[b, 0] - vertices[a, 0], vertices[c, 0] - vertices[a, 0]
        uy, vy = vertices[b, 1] - vertices[a, 1], vertices[c, 1] - vertices[a, 1]
        uz, vz = vertices[b, 2] - vertices[a, 2], vertices[c, 2] - vertices[a, 2]
        x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for vertex in (a, b, c):
            normals[vertex, 0] += x
            normals[vertex, 1] += y
            normals[vertex, 2] += z
    for k in range(len(normals)):
        x, y, z = normals[k, 0], normals[k, 1], normals[k, 2]
        length = max(np.sqrt(x * x + y * y + z * z), np.float32(1e-20))
        normals[k, 0], normals[k, 1], normals[k, 2] = x / length, y / length, z / length


def fill_normals_gradient(
    vertices: np.ndarray,
    triangles: np.ndarray,
    by_normals: np.ndarray,
    sums: np.ndarray,
    gradient: np.ndarray,
) -> None:
    """Add the gradient by vertices (V, 3), given that by their normals; `sums` (V, 3) comes as zeros."""
    for face in range(len(triangles)):
        a, b, c = np.uint64(triangles[face, 0]), np.uint64(triangles[face, 1]), np.uint64(triangles[face, 2])
        ux, vx = vertices[b, 0] - vertices[a, 0], vertices[c, 0] - vertices[a, 0]
        uy, vy = vertices[b, 1] - vertices[a, 1], vertices[c, 1] - vertices[a, 1]
        uz, vz = vertices[b, 2] - vertices[a, 2], vertices[c, 2] - vertices[a, 2]
        x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for vertex in (a, b, c):
            sums[vertex, 0] += x
            sums[vertex, 1] += y
            sums[vertex, 2] += z
    for k in range(len(sums)):  # from sums to their gradients, in place
        x, y, z = sums[k, 0], sums[k, 1], sums[k, 2]
        length = max(np.sqrt(x * x + y * y + z * z), np.float32(1e-20))
        x, y, z = x / length, y / length, z / length
        along = by_normals[k, 0] * x + by_normals[k, 1] * y + by_normals[k, 2] * z
        sums[k, 0] = (by_normals[k, 0] - along * x) / length
        sums[k, 1] = (by_normals[k, 1] - along * y) / length
        sums[k, 2] = (by_normals[k, 2] - along * z) / length
    for face in range(len(triangles)):
        a, b, c = np.uint64(triangles[face, 0]), np.uint64(triangles[face, 1]), np.uint64(triangles[face, 2])
        ux, vx = vertices[b, 0] - vertices[a, 0], vertices[c, 0] - vertices[a, 0]
        uy, vy = vertices[b, 1] - vertices[a, 1], vertices[c, 1] - vertices[a, 1]
        uz, vz = vertices[b, 2] - vertices[a, 2], vertices[c, 2] - vertices[a, 2]
        x = sums[a, 0] + sums[b, 0] + sums[c, 0]
        y = sums[a, 1] + sums[b, 1] + sums[c, 1]
        z = sums[a, 2] + sums[b, 2] + sums[c, 2]
        by_ux, by_uy, by_uz = vy * z - vz * y, vz * x - vx * z, vx * y - vy * x
        by_vx, by_vy, by_vz = y * uz - z * uy, z * ux - x * uz, x * uy - y * ux
        gradient[b, 0] += by_ux
        gradient[b, 1] += by_uy
        gradient[b, 2] += by_uz
        gradient[c, 0] += by_vx
        gradient[c, 1] += by_vy
        gradient[c, 2] += by_vz
        gradient[a, 0] -= by_ux + by_vx
        gradient[a, 1] -= by_uy + by_vy
        gradient[a, 2] -= by_uz + by_vz


def fill_maps(
    values: np.ndarray, corners: np.ndarray, weights: np.ndarray, face: np.ndarray, maps: np.ndarray
) -> None:
    """Write vertex values (V, C) into maps (C, H, W), 0 where the atlas is empty."""
    channels, height, width = maps.shape
    for row in range(height):
        for column in range(width):
            if not face[row, column]:
                for channel in range(channels):
                    maps[channel, row, column] = np.float32(0)
                continue
            a = np.uint64(corners[row, column, 0])
            b = np.uint64(corners[row, column, 1])
            c = np.uint64(corners[row, column, 2])
            u, v, w = weights[row, column, 0], weights[row, column, 1], weights[row, column, 2]
            for channel in range(channels):
                blended = values[a, channel] * u + values[b, channel] * v + values[c, channel] * w
                maps[channel, row, column] = blended


def fill_maps_gradient(
    by_maps: np.ndarray, corners: np.ndarray, weights: np.ndarray, face: np.ndarray, gradient: np.ndarray
) -> None:
    """Add the gradient by vertex values (V, C), given that by their maps (C, H, W)."""
    channels, height, width = by_maps.shape
    for row in range(height):
        for column in range(width):
            if not face[row, column]:
                continue
            for corner in range(3):
                vertex, weight = np.uint64(corners[row, column, corner]), weights[row, column, corner]
                for channel in range(channels):
                    gradient[vertex, channel] += weight * by_maps[channel, row, column]
