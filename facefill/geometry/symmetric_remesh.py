"""An exactly mirror-symmetric mesh for a face model whose own mesh is not: one half, and its mirror image.

The mesh is cut along the middle plane and the image-left half is kept. Every vertex of the other half is the
mirror image of one of these, placed on the nearest point of the original surface. So each new vertex is a
mean of up to three old ones, and mean, bases and colours go over by the same weights: the right half keeps
its own, asymmetric shape.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

ON_PLANE = 0.2  # part of the mesh's mean edge: nearer vertices count as on the plane, against slivers
BEYOND = 0.5  # of the mean edge: vertices farther than this outside the other side's border have no image
NEAREST_TRIANGLES = 16  # by their middles, among which the nearest point is sought


@dataclass(frozen=True)
class SymmetricMesh:
    """corners (K, 3) old vertices of each new one, weights (K, 3), sum 1; triangles (G, 3); mirror (K,)."""

    corners: NDArray[np.int64]
    weights: NDArray[np.float64]
    triangles: NDArray[np.int64]
    mirror: NDArray[np.int64]

    def carried(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Values (..., V, C) of the old vertices on the new ones (..., K, C)."""
        return np.einsum("kj,...kjc->...kc", self.weights, values[..., self.corners, :])


def symmetric_already(
    kept: NDArray[np.int64], triangles: NDArray[np.int64], mirror: NDArray[np.int64]
) -> SymmetricMesh:
    """A mesh that needs nothing new: the old vertices `kept` (K,), with triangles and mirror of these."""
    corners = np.repeat(kept[:, None], 3, 1)
    return SymmetricMesh(corners, np.tile([1.0, 0.0, 0.0], (len(kept), 1)), triangles, mirror)


def symmetric_remesh(points: NDArray[np.float64], triangles: NDArray[np.int64]) -> SymmetricMesh:
    """The new mesh of points (V, 3), whose middle plane is x = 0, and triangles (F, 3)."""
    corners, weights, half, on_plane = _left_half(points, triangles)
    goals = np.einsum("kj,kjc->kc", weights, points[corners]) * [-1.0, 1.0, 1.0]
    other_corners, other_weights = _nearest_on_surface(goals, points, triangles)
    found = np.einsum("kj,kjc->kc", other_weights, points[other_corners])
    # where the other side ends earlier, several rows of vertices would share its border: they are left out
    beyond = _on_border(other_corners, other_weights, triangles) & ~on_plane
    beyond &= np.linalg.norm(found - goals, axis=1) > BEYOND * _mean_edge(points, triangles)
    used, half = np.unique(half[~beyond[half].any(1)], return_inverse=True)
    half = half.reshape(-1, 3)
    off_plane = np.flatnonzero(~on_plane[used])
    mirror = np.arange(len(used) + len(off_plane))
    mirror[off_plane] = len(used) + np.arange(len(off_plane))
    mirror[len(used) :] = off_plane
    return SymmetricMesh(
        corners=np.concatenate([corners[used], other_corners[used[off_plane]]]),
        weights=np.concatenate([weights[used], other_weights[used[off_plane]]]),
        triangles=np.concatenate([half, mirror[half][:, ::-1]]),
        mirror=mirror,
    )


def _left_half(
    points: NDArray[np.float64], triangles: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
    """Corners and weights of the vertices with x <= 0, triangles cut at x = 0, and who lies on the plane."""
    x = points[:, 0]
    x = np.where(np.abs(x) < ON_PLANE * _mean_edge(points, triangles), 0.0, x)
    corners = [[v, v, v] for v in range(len(points))]
    weights = [[1.0, 0.0, 0.0] for _ in range(len(points))]
    crossing: dict[tuple[int, int], int] = {}

    def cut(a: int, b: int) -> int:
        """The new vertex where the edge from a to b crosses the plane."""
        key = (min(a, b), max(a, b))
        if key not in crossing:
            crossing[key] = len(corners)
            share = x[key[0]] / (x[key[0]] - x[key[1]])
            corners.append([key[0], key[1], key[1]])
            weights.append([1 - share, share, 0.0])
        return crossing[key]

    halves = []
    for triangle in triangles[x[triangles].min(1) < 0].tolist():
        polygon = []
        for a, b in zip(triangle, [*triangle[1:], triangle[0]], strict=True):
            if x[a] <= 0:
                polygon.append(a)
            if x[a] * x[b] < 0:
                polygon.append(cut(a, b))
        halves += [[polygon[0], polygon[k], polygon[k + 1]] for k in range(1, len(polygon) - 1)]
    used, half = np.unique(np.array(halves), return_inverse=True)
    on_plane = np.concatenate([x == 0, np.ones(len(corners) - len(points), dtype=bool)])
    return (
        np.array(corners)[used],
        np.array(weights)[used],
        half.reshape(-1, 3),
        on_plane[used],
    )


def _mean_edge(points: NDArray[np.float64], triangles: NDArray[np.int64]) -> float:
    return float(np.linalg.norm(points[triangles[:, 1]] - points[triangles[:, 0]], axis=1).mean())


def _on_border(
    corners: NDArray[np.int64], weights: NDArray[np.float64], triangles: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which points, corners (n, 3) and weights (n, 3), lie on a side that only one triangle has."""
    count = int(triangles.max()) + 1
    sides = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    forward, backward = sides[:, 0] * count + sides[:, 1], sides[:, 1] * count + sides[:, 0]
    lonely = np.sort(sides[~np.isin(forward, backward)], 1)
    border = np.zeros(len(corners), dtype=bool)
    for apex in range(3):
        side = np.sort(corners[:, [(apex + 1) % 3, (apex + 2) % 3]], 1)
        on_side = weights[:, apex] == 0
        border |= on_side & np.isin(side[:, 0] * count + side[:, 1], lonely[:, 0] * count + lonely[:, 1])
    return border


def _nearest_on_surface(
    goals: NDArray[np.float64], points: NDArray[np.float64], triangles: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For each goal (n, 3) the corners (n, 3) and weights (n, 3) of the nearest point of the surface."""
    from scipy.spatial import cKDTree

    count = min(NEAREST_TRIANGLES, len(triangles))
    near = cKDTree(points[triangles].mean(1)).query(goals, count)[1].reshape(len(goals), count)
    corners = points[triangles[near]]
    origin = corners[:, :, 0]
    first, second, goal = corners[:, :, 1] - origin, corners[:, :, 2] - origin, goals[:, None] - origin
    aa, ab, bb = (first * first).sum(2), (first * second).sum(2), (second * second).sum(2)
    ag, bg = (first * goal).sum(2), (second * goal).sum(2)
    area = np.maximum(aa * bb - ab * ab, 1e-30)
    v, w = (bb * ag - ab * bg) / area, (aa * bg - ab * ag) / area
    # beside the triangle: the nearest points of its three sides; inside: the foot of the perpendicular
    candidates = [np.stack([1 - v - w, v, w], 2)]
    along = np.clip(ag / np.maximum(aa, 1e-30), 0, 1)
    candidates.append(np.stack([1 - along, along, 0 * along], 2))
    along = np.clip(bg / np.maximum(bb, 1e-30), 0, 1)
    candidates.append(np.stack([1 - along, 0 * along, along], 2))
    side, from_second = second - first, goal - first
    along = np.clip((side * from_second).sum(2) / np.maximum((side * side).sum(2), 1e-30), 0, 1)
    candidates.append(np.stack([0 * along, 1 - along, along], 2))
    weights = np.concatenate(candidates, 1)
    places = np.einsum("nkj,nkjc->nkc", weights, np.tile(corners, (1, 4, 1, 1)))
    distance = np.linalg.norm(places - goals[:, None], axis=2)
    distance[(weights < 0).any(2)] = np.inf
    best = distance.argmin(1)
    here = np.arange(len(goals))
    return triangles[near[here, best % count]], weights[here, best]
