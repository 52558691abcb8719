"""Mirror partners of the vertices of a face mesh, found from its triangles.

Scanned models are nearly, not exactly, mirror-symmetric in space, but their meshes were made symmetric once:
some edge of the middle line is its own mirror image, and from one such edge the partner of every other vertex
follows, triangle by triangle.
"""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from facefill.geometry.mesh import mirror_triangles

SEEDS = 300  # edges of the middle line that are tried
ENOUGH = 0.95  # part of all vertices that must find a partner


def mirror_partners(points: NDArray[np.float64], triangles: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Mirror partner (V,) of each vertex, -1 where there is none; None when the mesh is not symmetric.

    points (V, 3) with the plane of symmetry near x = 0; triangles (F, 3), all wound the same way. A vertex on
    the middle line is its own partner.
    """
    opposite = _opposite_corners(triangles)
    for first, second in _middle_edges(points, triangles):
        partner = _follow(opposite, first, second)
        if partner is not None and len(partner) >= ENOUGH * len(points):
            partners = np.full(len(points), -1, dtype=np.int64)
            partners[list(partner)] = list(partner.values())
            return partners
    return None


def symmetric_part(
    partners: NDArray[np.int64], triangles: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The mesh without what has no mirror image: kept vertices (K,), triangles (G, 3), their mirror (K,).

    A few vertices on the border of a scan have no partner; dropping them makes the rest exactly symmetric.
    """
    paired = triangles[(partners[triangles] >= 0).all(1)]
    known = {tuple(corners) for corners in np.sort(paired, 1).tolist()}
    image = np.sort(partners[paired], 1).tolist()
    paired = paired[[tuple(corners) in known for corners in image]]
    kept = np.unique(paired)
    number = np.full(len(partners), -1, dtype=np.int64)
    number[kept] = np.arange(len(kept))
    renumbered, mirror = number[paired], number[partners[kept]]
    mirror_triangles(renumbered, mirror)  # raises when the result is not symmetric after all
    return kept, renumbered, mirror


def symmetrised_points(points: NDArray[np.float64], mirror: NDArray[np.int64]) -> NDArray[np.float64]:
    """The nearest exactly mirror-symmetric points (V, 3)."""
    return 0.5 * (points + points[mirror] * [-1.0, 1.0, 1.0])


def _opposite_corners(triangles: NDArray[np.int64]) -> dict[tuple[int, int], int]:
    """The third corner of the triangle that walks along each directed edge."""
    opposite = {}
    for a, b, c in triangles.tolist():
        opposite[a, b], opposite[b, c], opposite[c, a] = c, a, b
    return opposite


def _middle_edges(points: NDArray[np.float64], triangles: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Edges that may be their own mirror images, most likely first: near x = 0 and across to x."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    along = np.abs(points[edges[:, 1]] - points[edges[:, 0]])
    steep = along[:, 0] < 0.5 * np.hypot(along[:, 1], along[:, 2])
    edges = edges[steep]
    order = np.argsort(np.abs(points[edges, 0]).max(1), kind="stable")[:SEEDS]
    return [(int(a), int(b)) for a, b in edges[order]]


def _follow(opposite: dict[tuple[int, int], int], first: int, second: int) -> dict[int, int] | None:
    """Partners of all vertices within reach of an edge that is its own image; None on a contradiction."""
    partner = {first: first, second: second}
    waiting, seen = deque([(first, second)]), {(first, second)}
    while waiting:
        a, b = waiting.popleft()
        c, image = opposite.get((a, b)), opposite.get((partner[b], partner[a]))
        if c is None or image is None:
            continue
        if partner.setdefault(c, image) != image or partner.setdefault(image, c) != c:
            return None
        for edge in ((b, a), (c, b), (a, c)):
            if edge not in seen:
                seen.add(edge)
                waiting.append(edge)
    return partner
