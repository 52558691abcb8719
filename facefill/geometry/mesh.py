"""Mesh helpers: vertex normals and mirror partners. Triangles are counter-clockwise seen from outside."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facefill.geometry.compiled import may_run_loops
from facefill.geometry.shapes import check_shape


def vertex_normals(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Unit outward normals (N, V, 3) of vertices (N, V, 3) with triangles (F, 3).

    Area-weighted mean of the incident face normals (the release takes the plain mean; areas are steadier
    on slivers). Differentiable; the sums of a vertex run in the fixed order of the triangles, so two runs
    agree to the last bit. A vertex without area gets the zero vector.
    """
    check_shape("vertices", vertices, "N", "V", 3)
    if may_run_loops(vertices):
        from facefill.geometry.mesh_numba import vertex_normals_numba

        return vertex_normals_numba(vertices, triangles)
    count, vertex_count, _ = vertices.shape
    # One row per vertex with all meshes of the batch side by side: gathers copy long rows.
    rows = vertices.transpose(0, 1).reshape(vertex_count, -1)
    first, second, third = (rows.index_select(0, triangles[:, corner]) for corner in range(3))
    sides = (second - first).view(-1, count, 3), (third - first).view(-1, count, 3)
    face = torch.linalg.cross(*sides).view(-1, 3 * count)
    face = torch.cat([face, face.new_zeros(1, 3 * count)])
    around = incident_triangles(triangles, vertex_count)
    total = face.index_select(0, around[:, 0])
    for k in range(1, around.shape[1]):
        total = total + face.index_select(0, around[:, k])
    normals = torch.nn.functional.normalize(total.view(vertex_count, count, 3), dim=-1, eps=1e-20)
    return normals.transpose(0, 1).contiguous()


def incident_triangles(triangles: Tensor, vertex_count: int) -> Tensor:
    """Triangles around each vertex (V, K) in ascending order, padded with F; K is the highest valence."""
    flat = triangles.reshape(-1)
    order = torch.sort(flat, stable=True).indices
    vertex = flat[order]
    counts = torch.bincount(flat, minlength=vertex_count)
    start = torch.cumsum(counts, 0) - counts
    table = torch.full((vertex_count, int(counts.max())), len(triangles), device=flat.device)
    table[vertex, torch.arange(len(flat), device=flat.device) - start[vertex]] = order // 3
    return table


def mirror_triangles(triangles: NDArray[np.int64], mirror: NDArray[np.int64]) -> NDArray[np.int64]:
    """Id (F,) of the mirror image of each triangle (F, 3) under vertex partners (V,).

    Raises ValueError when a triangle has no mirror image in the mesh.
    """
    own, image = np.sort(triangles, axis=1), np.sort(mirror[triangles], axis=1)
    partner = np.empty(len(triangles), dtype=np.int64)
    partner[np.lexsort(image.T[::-1])] = np.lexsort(own.T[::-1])
    if not np.array_equal(own[partner], image):
        raise ValueError("the triangles are not mirror-symmetric")
    return partner


def smooth_normals(points: NDArray[np.float64], triangles: NDArray[np.int64]) -> NDArray[np.float64]:
    """vertex_normals for one mesh in numpy: points (V, 3) -> (V, 3)."""
    normals = vertex_normals(torch.from_numpy(points)[None], torch.from_numpy(triangles))
    return normals[0].numpy()
