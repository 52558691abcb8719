"""Which triangle each pixel sees, and where on it: the z-buffer.

Two steps. Triangle ids come from a z-buffer without gradient; barycentric coordinates are then recomputed
from the vertices of the winning triangle, differentiably. Gradients exist inside triangles, not at
silhouettes.

Ids are the same bit for bit on every device and in both implementations: vertices are snapped to 1/4096
pixel so that edge functions are whole numbers below 2^53 (exact in float64); a pixel centre on a shared
edge belongs to exactly one triangle; depth is one rounding rule in float32; equal depths go to the smaller
id. Back faces (clockwise as seen) are culled. Pixel centres are integers. Larger depth is nearer (facts
sheet 2.6).
"""

import functools
import importlib.util
from dataclasses import dataclass

import torch
from torch import Tensor

from facefill.geometry.shapes import check_shape

SNAP = 4096  # steps per pixel
GUARD = 8192  # pixels; triangles that reach farther from the origin are dropped, which keeps products exact
EMPTY_KEY = torch.iinfo(torch.int64).min
LARGEST_ID = 2**31 - 1
CANDIDATES_AT_ONCE = 2**23


@dataclass(frozen=True)
class Fragments:
    """What every pixel sees."""

    triangle: Tensor  # (N, H, W) int64, -1 where empty
    barycentric: Tensor  # (N, H, W, 3) in [0, 1], sum 1, differentiable; 0 where empty
    depth: Tensor  # (N, H, W) interpolated depth, differentiable; -inf where empty


def rasterize(
    projected: Tensor, triangles: Tensor, height: int, width: int
) -> Fragments:  # (N, V, 3), (F, 3)
    """Fragments of the mesh, `projected` being column, row (pixels) and depth (larger = nearer).

    Triangles with a coordinate that is not finite or farther than GUARD are left out. Gradients reach
    `projected` through barycentric coordinates and depth.
    """
    check_shape("projected", projected, "N", "V", 3)
    check_shape("triangles", triangles, "F", 3)
    positions = projected.detach().float().contiguous()
    if positions.device.type == "cpu" and numba_is_importable():
        from facefill.geometry.rasterizer_numba import triangle_ids_numba

        ids = triangle_ids_numba(positions, triangles, height, width)
    else:
        ids = triangle_ids(positions, triangles, height, width)
    return fragments_from_ids(ids, projected, triangles)


@functools.cache
def numba_is_importable() -> bool:
    """Whether the compiled z-buffer can be used; plain torch gives the same ids without it."""
    return importlib.util.find_spec("numba") is not None


def triangle_ids(projected: Tensor, triangles: Tensor, height: int, width: int) -> Tensor:
    """(N, H, W) int64 id of the nearest front-facing triangle, -1 where empty, by plain torch on any device.

    Every (triangle, pixel of its bounding box) is a candidate; the winner of a pixel is the largest key
    depth | -id, a reduction whose order does not matter.
    """
    count, _, _ = projected.shape
    corners = projected[:, triangles].flatten(0, 1)  # (N·F, 3 corners, 3)
    positions = torch.round(corners[:, :, :2] * SNAP).double()
    columns, rows = positions.unbind(2)
    usable = corners.isfinite().all(2).all(1) & (positions.abs() <= GUARD * SNAP).all(2).all(1)
    # Front faces are counter-clockwise with y up, so with y down b→a→c is the positive turn.
    twice_area = _edge(columns, rows, 1, 0, columns[:, 2], rows[:, 2])
    left = torch.ceil(columns.amin(1) / SNAP).clamp_min(0)
    right = torch.floor(columns.amax(1) / SNAP).clamp_max(width - 1)
    top = torch.ceil(rows.amin(1) / SNAP).clamp_min(0)
    bottom = torch.floor(rows.amax(1) / SNAP).clamp_max(height - 1)
    kept = torch.nonzero(usable & (twice_area > 0) & (right >= left) & (bottom >= top))[:, 0]

    keys = torch.full((count * height * width,), EMPTY_KEY, dtype=torch.int64, device=projected.device)
    columns, rows, depths, twice_area = (
        columns[kept],
        rows[kept],
        corners[kept, :, 2].double(),
        twice_area[kept],
    )
    left, top = left[kept].long(), top[kept].long()
    box_width = right[kept].long() - left + 1
    box_size = box_width * (bottom[kept].long() - top + 1)
    for part in _parts(box_size):
        owner = torch.repeat_interleave(
            torch.arange(part.start, part.stop, device=kept.device), box_size[part]
        )
        ends = box_size[part].cumsum(0)
        within = torch.arange(len(owner), device=kept.device) - (ends - box_size[part])[owner - part.start]
        column = left[owner] + within % box_width[owner]
        row = top[owner] + within // box_width[owner]
        x, y = (column * SNAP).double(), (row * SNAP).double()
        weights = [
            _edge(columns, rows, second, first, x, y, owner) for first, second in ((1, 2), (2, 0), (0, 1))
        ]
        inside = torch.ones_like(owner, dtype=torch.bool)
        for weight, (first, second) in zip(weights, ((1, 2), (2, 0), (0, 1)), strict=True):
            owned = _owns_its_edge(columns, rows, second, first)[owner]
            inside &= (weight > 0) | ((weight == 0) & owned)
        owner, column, row = owner[inside], column[inside], row[inside]
        weighted = [weight[inside] * depths[owner, corner] for corner, weight in enumerate(weights)]
        depth = ((weighted[0] + weighted[1] + weighted[2]) / twice_area[owner]).float() + 0.0
        face, batch = kept[owner] % len(triangles), kept[owner] // len(triangles)
        pixel = (batch * height + row) * width + column
        keys.scatter_reduce_(0, pixel, _sortable(depth) << 32 | (LARGEST_ID - face), "amax")
    ids = torch.where(keys == EMPTY_KEY, -1, LARGEST_ID - (keys & 0xFFFFFFFF))
    return ids.view(count, height, width)


def fragments_from_ids(
    ids: Tensor, projected: Tensor, triangles: Tensor
) -> Fragments:  # (N, H, W), (N, V, 3), (F, 3)
    """Fragments of known triangle ids; barycentric coordinates and depth carry gradients to `projected`."""
    pixels = torch.nonzero(ids.flatten() >= 0)[:, 0]
    corners = _gather(projected, _corners(ids, pixels, triangles, projected.shape[1]))
    height, width = ids.shape[1:]
    centre = torch.stack((pixels % width, pixels // width % height), 1).to(projected.dtype)
    x, y = (corners[:, :, :2] - centre[:, None]).unbind(2)
    # Twice the area that each pair of corners spans with the pixel; positive for a front face seen with y
    # down.
    areas = x.roll(1, 1) * y.roll(-1, 1) - y.roll(1, 1) * x.roll(-1, 1)
    # Snapping can leave a pixel a hair outside its triangle: clamp, so that slivers cannot extrapolate.
    areas = areas.clamp_min(0)
    total = areas.sum(1, keepdim=True)
    barycentric = torch.where(total > 0, areas / total.clamp_min(torch.finfo(total.dtype).tiny), 1 / 3)
    depth = (barycentric * corners[:, :, 2]).sum(1)
    weights = barycentric.new_zeros(ids.numel(), 3).index_copy(0, pixels, barycentric)
    depths = depth.new_full((ids.numel(),), -torch.inf).index_copy(0, pixels, depth)
    return Fragments(ids, weights.view(*ids.shape, 3), depths.view(ids.shape))


def interpolate(values: Tensor, fragments: Fragments, triangles: Tensor) -> Tensor:
    """(N, C, H, W) vertex values (N, V, C) or (V, C) as pixels see them, 0 where empty; differentiable."""
    count, height, width = fragments.triangle.shape
    shared = values.ndim == 2
    pixels = torch.nonzero(fragments.triangle.flatten() >= 0)[:, 0]
    corners = _corners(fragments.triangle, pixels, triangles, 0 if shared else values.shape[1])
    weights = fragments.barycentric.view(-1, 3)[pixels]
    seen = (_gather(values, corners) * weights[:, :, None]).sum(1)
    image = seen.new_zeros(count * height * width, values.shape[-1]).index_copy(0, pixels, seen)
    return image.view(count, height, width, -1).permute(0, 3, 1, 2)


def _corners(ids: Tensor, pixels: Tensor, triangles: Tensor, num_vertices: int) -> Tensor:
    """(P, 3) rows of the flattened vertex table (N·V, C): corners of the triangles that `pixels` see."""
    corners = triangles[ids.flatten()[pixels]]
    return corners + (pixels // ids[0].numel() * num_vertices)[:, None]


def _gather(values: Tensor, rows: Tensor) -> Tensor:
    """(P, 3, C) rows of values (..., C); by index_select, whose backward is one ordered sum per vertex."""
    return values.reshape(-1, values.shape[-1]).index_select(0, rows.flatten()).view(*rows.shape, -1)


def _edge(
    columns: Tensor, rows: Tensor, a: int, b: int, x: Tensor, y: Tensor, owner: Tensor | None = None
) -> Tensor:
    """Edge function of the line from corner a to corner b at (x, y): exact, positive inside a front face."""
    ax, ay, bx, by = columns[:, a], rows[:, a], columns[:, b], rows[:, b]
    if owner is not None:
        ax, ay, bx, by = ax[owner], ay[owner], bx[owner], by[owner]
    return (bx - ax) * (y - ay) - (by - ay) * (x - ax)


def _owns_its_edge(columns: Tensor, rows: Tensor, a: int, b: int) -> Tensor:
    """Whether pixel centres exactly on the edge a→b are this triangle's: true one way along an edge."""
    down, across = rows[:, b] - rows[:, a], columns[:, b] - columns[:, a]
    return (down > 0) | ((down == 0) & (across > 0))


def _sortable(depth: Tensor) -> Tensor:
    """int64 that sorts as the float32 depth does."""
    bits = depth.view(torch.int32)
    return (bits ^ ((bits >> 31) & LARGEST_ID)).long()


def _parts(sizes: Tensor) -> list[slice]:
    """Slices of consecutive triangles of about CANDIDATES_AT_ONCE candidates each, to bound the memory."""
    if len(sizes) == 0:
        return []
    group = sizes.cumsum(0) // CANDIDATES_AT_ONCE
    ends = torch.unique_consecutive(group, return_counts=True)[1].cumsum(0).tolist()
    return [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]
