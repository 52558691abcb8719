"""Which triangle each pixel sees, and where on it: the z-buffer.

Two steps. Triangle ids come from a z-buffer without gradient; barycentric coordinates are then recomputed
from the vertices of the winning triangle, differentiably. Gradients exist inside triangles, not at
silhouettes. Both run as compiled loops on the CPU in float32 and as plain torch everywhere else.

Ids are the same bit for bit on every device and in both implementations: vertices are snapped to 1/4096
pixel so that edge functions are whole numbers below 2^53 (exact in float64); a pixel centre on a shared
edge belongs to exactly one triangle; depth is one rounding rule in float32; equal depths go to the smaller
id. Back faces (clockwise as seen) are culled. Pixel centres are integers. Larger depth is nearer. The camera
is weak-perspective, infinitely far away on the axis of depth: nothing lies behind it, so a depth of any sign
is drawn.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from facefill.geometry.compiled import may_run_loops
from facefill.geometry.shapes import check_shape

SNAP = 4096  # steps per pixel
GUARD = 8192  # pixels; triangles that reach farther from the origin are dropped, which keeps products exact
EMPTY_KEY = -(2**63)
LARGEST_ID = 2**31 - 1
CANDIDATES_AT_ONCE = 2**23
NEXT_CORNER, PREVIOUS_CORNER = [1, 2, 0], [2, 0, 1]


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
    if may_run_loops(positions):
        from facefill.geometry.rasterizer_numba import triangle_ids_numba

        ids = triangle_ids_numba(positions, triangles, height, width)
    else:
        ids = triangle_ids(positions, triangles, height, width)
    return fragments_from_ids(ids, projected, triangles)


def triangle_ids(projected: Tensor, triangles: Tensor, height: int, width: int) -> Tensor:
    """(N, H, W) int64 id of the nearest front-facing triangle, -1 where empty, by plain torch on any device.

    Every (triangle, pixel of its bounding box) is a candidate; the winner of a pixel is the largest key
    depth | -id, a reduction whose order does not matter.
    """
    snapped = torch.round(projected[:, :, :2] * SNAP)  # whole numbers that float32 holds exactly
    usable = (snapped.abs() <= GUARD * SNAP).all(2) & projected[:, :, 2].isfinite()
    snapped[~usable] = torch.nan
    columns, rows = (snapped[:, :, axis][:, triangles].flatten(0, 1) for axis in (0, 1))  # (N·F, 3 corners)
    left = torch.ceil(columns.amin(1) / SNAP).clamp_min(0)
    right = torch.floor(columns.amax(1) / SNAP).clamp_max(width - 1)
    top = torch.ceil(rows.amin(1) / SNAP).clamp_min(0)
    bottom = torch.floor(rows.amax(1) / SNAP).clamp_max(height - 1)
    boxed = torch.nonzero((right >= left) & (bottom >= top))[:, 0]  # false where anything is not a number
    columns, rows = columns[boxed].double(), rows[boxed].double()
    # Front faces are counter-clockwise with y up, so with y down b→a→c is the positive turn.
    (ax, bx, cx), (ay, by, cy) = columns.unbind(1), rows.unbind(1)
    twice_area = (ax - bx) * (cy - by) - (ay - by) * (cx - bx)
    front = torch.nonzero(twice_area > 0)[:, 0]
    kept, columns, rows, twice_area = boxed[front], columns[front], rows[front], twice_area[front]
    left, top, right, bottom = left[kept], top[kept], right[kept], bottom[kept]

    image, face = kept // max(len(triangles), 1), kept % max(len(triangles), 1)
    depths = projected[:, :, 2].reshape(-1)[image[:, None] * projected.shape[1] + triangles[face]].double()
    tables = _edge_tables(columns, rows, left.double() * SNAP, top.double() * SNAP)
    first_pixel = (image * height + top.long()) * width + left.long()
    box_width = (right - left).long() + 1
    box_size = box_width * ((bottom - top).long() + 1)

    keys = torch.full((len(projected) * height * width,), EMPTY_KEY, device=projected.device)
    for part in _parts(box_size):
        sizes = box_size[part]
        members = torch.arange(part.start, part.stop, device=kept.device)
        owner = torch.repeat_interleave(members, sizes)
        starts = torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)
        within, across = torch.arange(len(owner), device=kept.device) - starts, box_width[owner]
        down = within // across
        right_of_left = within - down * across
        start, per_column, per_row, unowned = (table[owner] for table in tables)
        weights = start + per_column * right_of_left[:, None] + per_row * down[:, None]
        inside = torch.nonzero((weights >= unowned).all(1))[:, 0]
        owner, weights = owner[inside], weights[inside]
        weighted = weights * depths[owner]
        depth = (weighted[:, 0] + weighted[:, 1] + weighted[:, 2]) / twice_area[owner]
        pixel = first_pixel[owner] + down[inside] * width + right_of_left[inside]
        key = _sortable(depth.float() + 0.0) << 32 | (LARGEST_ID - face[owner])
        keys.scatter_reduce_(0, pixel, key, "amax")
    ids = torch.where(keys == EMPTY_KEY, -1, LARGEST_ID - (keys & 0xFFFFFFFF))
    return ids.view(len(projected), height, width)


def fragments_from_ids(
    ids: Tensor, projected: Tensor, triangles: Tensor
) -> Fragments:  # (N, H, W), (N, V, 3), (F, 3)
    """Fragments of known triangle ids; barycentric coordinates and depth carry gradients to `projected`."""
    if may_run_loops(projected):
        from facefill.geometry.fragments_numba import fragments_numba

        return Fragments(ids, *fragments_numba(ids, projected, triangles))
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
    if may_run_loops(values, fragments.barycentric):
        from facefill.geometry.fragments_numba import interpolate_numba

        return interpolate_numba(values, fragments.triangle, fragments.barycentric, triangles)
    count, height, width = fragments.triangle.shape
    shared = values.ndim == 2
    pixels = torch.nonzero(fragments.triangle.flatten() >= 0)[:, 0]
    corners = _corners(fragments.triangle, pixels, triangles, 0 if shared else values.shape[1])
    weights = fragments.barycentric.view(-1, 3)[pixels]
    seen = _gather(values, corners[:, 0]) * weights[:, :1]
    for corner in (1, 2):
        seen = torch.addcmul(seen, _gather(values, corners[:, corner]), weights[:, corner, None])
    image = seen.new_zeros(count * height * width, values.shape[-1]).index_copy(0, pixels, seen)
    return image.view(count, height, width, -1).permute(0, 3, 1, 2)


def _corners(ids: Tensor, pixels: Tensor, triangles: Tensor, num_vertices: int) -> Tensor:
    """(P, 3) rows of the flattened vertex table (N·V, C): corners of the triangles that `pixels` see."""
    corners = triangles[ids.flatten()[pixels]]
    return corners + (pixels // ids[0].numel() * num_vertices)[:, None]


def _gather(values: Tensor, rows: Tensor) -> Tensor:
    """(*rows.shape, C) rows of values (..., C), by index_select, whose backward is an ordered sum per
    vertex."""
    return values.reshape(-1, values.shape[-1]).index_select(0, rows.flatten()).view(*rows.shape, -1)


def _edge_tables(columns: Tensor, rows: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    """Four (T, 3) tables of each triangle's edge functions, the one that is zero opposite corner k in place
    k.

    Value at (x, y), change per pixel to the right, change per pixel down, and the smallest value that is
    inside: 0 where pixel centres on the edge are this triangle's, else 1. They are its own for one of the
    two directions in which an edge can be walked, so that no centre counts twice.
    """
    from_column, from_row = columns[:, PREVIOUS_CORNER], rows[:, PREVIOUS_CORNER]
    across, down = columns[:, NEXT_CORNER] - from_column, rows[:, NEXT_CORNER] - from_row
    value = across * (y[:, None] - from_row) - down * (x[:, None] - from_column)
    unowned = (down < 0) | ((down == 0) & (across < 0))
    return value, -down * SNAP, across * SNAP, unowned.double()


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
