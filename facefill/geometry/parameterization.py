"""Texel coordinates for a face mesh that is a disk with holes: mirror-symmetric, no overlap, low distortion.

Tutte's embedding is the start, from which the symmetric Dirichlet energy is minimised with a free border.
Mirror partners share their numbers, so that the symmetry is exact.
"""

import numpy as np
from numpy.typing import NDArray

from facefill.geometry.mesh import smooth_normals
from facefill.geometry.mesh_border import ClosedDisk, close_disk
from facefill.geometry.morphable_model import UV_COLUMNS, UV_ROWS
from facefill.geometry.symmetric_dirichlet import Freedom, flatten_freely
from facefill.geometry.tutte_embedding import circular_border, embed

Integers = NDArray[np.int64]
Reals = NDArray[np.float64]
MARGIN = 1.5  # texels around the map
STEPS_PER_TEXEL = 256
LARGEST_STRETCH = 1.15  # of columns against rows, to fill the atlas
# Wanted texels per area: 1 in front; less towards ears, crown and throat, by the angle seen from inside the
# head, and less on surfaces that no camera in front sees, such as the inside of nostrils.
SIDE_DENSITY, SIDE_POWER = 0.1, 5
HIDDEN_DENSITY, HIDDEN_NORMAL, SEEN_NORMAL = 0.3, -0.2, 0.3
HEAD_CENTRE, ELEVATION = 0.45, 1.8  # height of the centre in the mesh; heights count more than widths
LEAST_OPENING = 0.15  # height of a hole as part of its width: closed lips and lids are drawn apart
LID_WEIGHT = 0.2  # of what closes a hole against as much surface
FLATTEST = 1e-3  # height of a surface triangle as part of its side, at least


def symmetric_texel_coordinates(
    vertices: NDArray[np.float64],  # (V, 3) any unit, x to the image's right, y up, z to the camera
    triangles: NDArray[np.int64],  # (F, 3) counter-clockwise from outside
    mirror: NDArray[np.int64],  # (V,) partner of each vertex, itself on the middle line
) -> NDArray[np.float32]:
    """Texels (V, 2) [column, row] in steps of 1/256: no triangle flipped, none over another.

    Two vertices that name each other as partners lie exactly mirrored about column 127.5. Others (of a mesh
    whose halves are meshed differently) lie where the surface puts them, and so do partners in whose exact
    places a triangle would be flipped. Raises ValueError when the mesh is not one disk with holes.
    """
    points = np.asarray(vertices, dtype=np.float64)
    disk = close_disk(points / np.abs(points).max(), triangles, mirror)
    start, freedom = _start(disk)
    inverse_rest, weight = _surface_triangles(disk)
    uv = flatten_freely(start, disk.triangles, inverse_rest, weight, freedom)
    if crosses_itself(uv[disk.outer]):
        # lay the border on the circle for good: then nothing can overlap
        freedom.sign[disk.outer] = 0
        uv = flatten_freely(start, disk.triangles, inverse_rest, weight, freedom)
    return _fill_atlas(uv[: len(vertices)])


def crosses_itself(loop: NDArray[np.float64]) -> bool:
    """Whether two sides of a closed polygon (L, 2) that are not neighbours cross."""
    start, end = loop, np.roll(loop, -1, axis=0)

    def side(point: Reals) -> Reals:  # (L, L): of which side of line i point j lies
        along, to = (end - start)[:, None], point[None] - start[:, None]
        return along[..., 0] * to[..., 1] - along[..., 1] * to[..., 0]

    apart = side(start) * side(end) < 0
    return bool((apart & apart.T).any())


def _start(disk: ClosedDisk) -> tuple[Reals, Freedom]:
    """Tutte's embedding with partners tied, and what is left free."""
    own = np.arange(len(disk.mirror))
    on_border = np.isin(own, disk.outer)
    mutual = (disk.mirror[disk.mirror] == own) & (on_border[disk.mirror] == on_border)
    partner = np.where(mutual, disk.mirror, -1)
    border = circular_border(disk, partner)
    while True:
        freedom = _freedom(partner)
        uv = embed(disk, border, freedom)
        flipped = signed_areas(uv, disk.triangles) <= 0
        if not flipped.any():
            return uv, freedom
        # halves that are meshed differently: there the tie of two equations is no average of neighbours
        loose = np.unique(disk.triangles[flipped])
        loose = loose[partner[loose] >= 0]
        if len(loose) == 0:
            raise ValueError("the mesh cannot be flattened: it has triangles without area")
        partner[np.concatenate([loose, partner[loose]])] = -1


def _freedom(partner: Integers) -> Freedom:
    """One pair of numbers for two partners; vertices of the middle line stay at column 0."""
    own = np.arange(len(partner))
    holder = np.where((partner >= 0) & (partner < own), partner, own)
    _, number = np.unique(holder, return_inverse=True)
    sign = np.ones((len(partner), 2))
    sign[:, 0] = np.where(partner == own, 0.0, np.where(holder == own, 1.0, -1.0))
    return Freedom(np.stack([2 * number, 2 * number + 1], 1), sign, 2 * int(number.max()) + 2)


def _surface_triangles(disk: ClosedDisk) -> tuple[Reals, Reals]:
    """Inverse sides (F, 2, 2) of the triangles laid flat, as large as they should become; weights (F,)."""
    corners = disk.points[disk.triangles]
    corners[disk.lid] = np.concatenate([opened(disk.points[loop]) for loop in disk.holes] or [corners[:0]])
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    longest = np.maximum(np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1))
    length = np.maximum(np.linalg.norm(first, axis=1), FLATTEST * longest)
    along = (first * second).sum(1) / length
    height = np.sqrt(np.maximum((second**2).sum(1) - along**2, (FLATTEST * longest) ** 2))
    scale = np.sqrt(_wanted_density(disk))
    sides = np.zeros((len(length), 2, 2))
    # rows of the atlas grow downwards, so a triangle turns the other way round
    sides[:, 0, 0], sides[:, 0, 1], sides[:, 1, 1] = length * scale, along * scale, -height * scale
    area = 0.5 * length * height * scale**2
    return np.asarray(np.linalg.inv(sides)), area * np.where(disk.lid, LID_WEIGHT, 1)


def opened(loop: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lid triangles (L, 3, 3), flat, of an ellipse as long around as the border (L, 3) of a hole."""
    following = np.roll(loop, -1, axis=0)
    step = np.linalg.norm(following - loop, axis=1)
    apart = np.linalg.norm(loop[:, None] - loop[None], axis=2)
    one, other = np.unravel_index(np.argmax(apart), apart.shape)  # the corners of the mouth or eye
    extent = np.linalg.svd(loop - loop.mean(0), compute_uv=False)
    ratio = max(LEAST_OPENING, extent[1] / extent[0])
    run = (np.cumsum(step) - step - (np.cumsum(step) - step)[one]) % step.sum()
    half = run[other]
    angle = np.pi * np.where(run <= half, run / half, 1 + (run - half) / (step.sum() - half))
    ellipse = np.stack([np.cos(angle), ratio * np.sin(angle), np.zeros(len(loop))], 1)
    ellipse *= step.sum() / np.linalg.norm(np.roll(ellipse, -1, axis=0) - ellipse, axis=1).sum()
    return np.stack([np.roll(ellipse, -1, axis=0), ellipse, np.zeros_like(ellipse)], 1)


def _wanted_density(disk: ClosedDisk) -> Reals:
    """(F,) texels per area, relative."""
    low, high = disk.points.min(0), disk.points.max(0)
    centre = (1 - HEAD_CENTRE) * low + HEAD_CENTRE * high
    centre[0], centre[2] = 0.5 * (low[0] + high[0]), low[2]
    away = (disk.points[disk.triangles].mean(1) - centre) * [1, ELEVATION, 1]
    frontal = 0.5 + 0.5 * away[:, 2] / np.linalg.norm(away, axis=1)
    normals = smooth_normals(disk.points, disk.triangles)
    towards = normals[disk.triangles].mean(1)  # of a vertex, then of a triangle: a little smoothed
    towards = _neighbour_mean(towards, disk.triangles, len(normals))[disk.triangles].mean(1)[:, 2]
    seen = np.clip((towards - HIDDEN_NORMAL) / (SEEN_NORMAL - HIDDEN_NORMAL), 0, 1)
    seen = seen * seen * (3 - 2 * seen)
    visible = HIDDEN_DENSITY + (1 - HIDDEN_DENSITY) * seen
    return visible * (SIDE_DENSITY + (1 - SIDE_DENSITY) * frontal**SIDE_POWER)


def _neighbour_mean(values: Reals, triangles: Integers, count: int) -> Reals:
    """Unit mean (V, 3) of the vectors (F, 3) of the triangles around each vertex."""
    corners = triangles.ravel()
    total = np.stack([np.bincount(corners, np.repeat(column, 3), count) for column in values.T], 1)
    return total / np.linalg.norm(total, axis=1, keepdims=True).clip(1e-12)


def _fill_atlas(uv: Reals) -> NDArray[np.float32]:
    """Scale a map that is symmetric about column 0 into the atlas."""
    low, high = uv.min(0), uv.max(0)
    half = max(-low[0], high[0])
    size = np.array([UV_COLUMNS, UV_ROWS])
    scale = (size - 1 - 2 * MARGIN) / [2 * half, high[1] - low[1]]
    scale = np.minimum(scale, [LARGEST_STRETCH * scale[1], LARGEST_STRETCH * scale[0]])
    steps = np.round((uv - [0, 0.5 * (low[1] + high[1])]) * scale * STEPS_PER_TEXEL)
    return ((steps + (size - 1) * STEPS_PER_TEXEL // 2) / STEPS_PER_TEXEL).astype(np.float32)


def signed_areas(uv: NDArray[np.float64], triangles: NDArray[np.int64]) -> NDArray[np.float64]:
    """Areas (F,) in uv (V, 2), positive when triangles keep their orientation (rows grow downwards)."""
    a, b, c = (uv[triangles[:, k]] for k in range(3))
    return -0.5 * ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0])
