"""The UV atlas: which triangle covers each texel; 192 x 256, mirror-symmetric about column 127.5.

Of a symmetric mesh only the image-left half is rasterized; the other half is its mirror image texel by texel,
so that flip_uv is the exact mirror map (the released map is off by one texel).
"""

from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facefill.geometry.compiled import may_run_loops
from facefill.geometry.mesh import mirror_triangles
from facefill.geometry.morphable_model import UV_COLUMNS, UV_ROWS, MorphableModel
from facefill.geometry.shapes import check_shape

# A mesh whose halves are meshed differently may have a few vertices without a partner at the mirrored place.
STRAY_VERTICES, STRAY_TEXELS = 0.01, 2.0


@dataclass(frozen=True)
class UVAtlas:
    """texel_triangle (192, 256) int64, -1 where empty; texel_vertices (192, 256, 3) int64, 0 where empty;
    texel_barycentric (192, 256, 3) float32, 0 where empty; face (192, 256) bool."""

    texel_triangle: Tensor
    texel_vertices: Tensor
    texel_barycentric: Tensor
    face: Tensor

    def to(self, device: torch.device | str) -> "UVAtlas":
        """The same atlas with its tensors on `device`."""
        return UVAtlas(*(getattr(self, field.name).to(device) for field in fields(self)))


def build_atlas(model: MorphableModel) -> UVAtlas:
    """Rasterize a model's texel coordinates.

    Raises ValueError when the texel coordinates are not mirror-symmetric.
    """
    triangles, mirror = model.triangles.cpu().numpy(), model.mirror.cpu().numpy()
    return rasterize_atlas(model.uv.cpu().numpy().astype(np.float64), triangles, mirror)


def rasterize_atlas(
    uv: NDArray[np.float64], triangles: NDArray[np.int64], mirror: NDArray[np.int64]
) -> UVAtlas:
    """The atlas of uv (V, 2) [column, row], triangles (F, 3) and vertex partners (V,).

    The right half is the mirror image of the left one, texel by texel and weight by weight. If the mesh is
    not symmetric itself, both halves hold their own triangles, and a texel counts if its mirror image does.
    """
    off = np.abs(uv[mirror] - np.stack([UV_COLUMNS - 1 - uv[:, 0], uv[:, 1]], 1)).max(1)
    if np.quantile(off, 1 - STRAY_VERTICES) > STRAY_TEXELS:
        raise ValueError("the texel coordinates are not mirror-symmetric about column 127.5")
    half = UV_COLUMNS // 2
    partner = _partners(triangles, mirror)
    if partner is None or off.any():
        triangle, barycentric = _cover(uv, triangles, UV_COLUMNS)
        triangle = np.where(triangle[:, ::-1] >= 0, triangle, -1)
        corners = triangles[triangle]
    else:
        triangle, barycentric = _cover(uv, triangles, half)
        corners = triangles[triangle]
        mirrored_corners = triangles[partner[triangle]]
        # a partner may list its corners in another order: each takes the weight of the corner it mirrors
        same = mirror[mirrored_corners][..., :, None] == corners[..., None, :]
        mirrored_barycentric = (same * barycentric[..., None, :]).sum(-1)
        mirrored = np.where(triangle >= 0, partner[triangle], -1)
        triangle = np.concatenate([triangle, mirrored[:, ::-1]], axis=1)
        corners = np.concatenate([corners, mirrored_corners[:, ::-1]], axis=1)
        barycentric = np.concatenate([barycentric, mirrored_barycentric[:, ::-1]], axis=1)
    face = triangle >= 0
    corners = np.where(face[..., None], corners, 0)
    weights = barycentric.astype(np.float32) * face[..., None]
    return UVAtlas(*(torch.from_numpy(array) for array in (triangle, corners, weights, face)))


def uv_from_vertices(values: Tensor, atlas: UVAtlas) -> Tensor:
    """Vertex values (N, V, C) -> UV maps (N, C, 192, 256), barycentric, 0 where the atlas is empty."""
    check_shape("values", values, "N", "V", "C")
    if may_run_loops(values):
        from facefill.geometry.mesh_numba import uv_from_vertices_numba

        return uv_from_vertices_numba(values, atlas.texel_vertices, atlas.texel_barycentric, atlas.face)
    count, vertex_count, channels = values.shape
    texels = torch.nonzero(atlas.face.flatten())[:, 0]
    corners = atlas.texel_vertices.view(-1, 3)[texels]
    weights = atlas.texel_barycentric.view(-1, 3)[texels].to(values.dtype)
    # One row per vertex with the whole batch side by side: gathers copy long rows.
    rows = values.transpose(0, 1).reshape(vertex_count, -1)
    blended = rows.index_select(0, corners[:, 0]) * weights[:, :1]
    for k in (1, 2):
        blended = torch.addcmul(blended, rows.index_select(0, corners[:, k]), weights[:, k : k + 1])
    maps = values.new_zeros(atlas.face.numel(), count * channels).index_copy(0, texels, blended)
    return maps.t().contiguous().view(count, channels, *atlas.face.shape)


def flip_uv(uv_map: Tensor) -> Tensor:
    """The mirror image of UV maps (..., 192, 256)."""
    return torch.flip(uv_map, (-1,))


def _partners(triangles: NDArray[np.int64], mirror: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Mirror image (F,) of each triangle, None where the mesh lacks one."""
    try:
        return mirror_triangles(triangles, mirror)
    except ValueError:
        return None


def texels_inside(
    uv: NDArray[np.float64], triangles: NDArray[np.int64], columns: int = UV_COLUMNS
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """The texels of the first columns that lie in or on each triangle, one row for each pair.

    Triangle (n,) ascending, texel (n, 2) [column, row], barycentric weights (n, 3).
    """
    corners = uv[triangles]
    low = np.ceil(corners.min(1)).astype(np.int64)
    high = np.floor(corners.max(1)).astype(np.int64)
    low, high = np.maximum(low, 0), np.minimum(high, [columns - 1, UV_ROWS - 1])
    size = np.maximum(high - low + 1, 0)
    count = size[:, 0] * size[:, 1]
    candidate = np.repeat(np.arange(len(triangles)), count)
    within = np.arange(len(candidate)) - np.repeat(np.cumsum(count) - count, count)
    column = low[candidate, 0] + within % size[candidate, 0]
    row = low[candidate, 1] + within // size[candidate, 0]
    texel = np.stack([column, row], 1)
    weights = _barycentric(texel.astype(np.float64), corners[candidate])
    inside = (weights >= 0).all(1)
    return candidate[inside], texel[inside], weights[inside]


def _cover(
    uv: NDArray[np.float64], triangles: NDArray[np.int64], columns: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Triangle (192, columns), weights (192, columns, 3); the lowest id wins on an edge."""
    candidate, texel, weights = texels_inside(uv, triangles, columns)
    triangle = np.full((UV_ROWS, columns), -1, dtype=np.int64)
    barycentric = np.zeros((UV_ROWS, columns, 3))
    # triangles ascend, so the first of each texel is the lowest id
    place, first = np.unique(texel[:, 1] * columns + texel[:, 0], return_index=True)
    triangle.reshape(-1)[place] = candidate[first]
    barycentric.reshape(-1, 3)[place] = weights[first]
    return triangle, barycentric


def _barycentric(point: NDArray[np.float64], corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights (n, 3) of points (n, 2) in triangles (n, 3, 2); negative outside, nan without area."""
    opposite = [_cross(corners[:, (k + 1) % 3] - point, corners[:, (k + 2) % 3] - point) for k in range(3)]
    total = opposite[0] + opposite[1] + opposite[2]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.stack(opposite, 1) / total[:, None]


def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
