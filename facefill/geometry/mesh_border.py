"""The border of a triangle mesh that is a disk with holes: its loops, and lids that close the holes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Reals = NDArray[np.float64]


@dataclass(frozen=True)
class ClosedDisk:
    """A disk whose holes are closed by lids, each a fan around a vertex of its own.

    points (V + H, 3), triangles (F + L, 3), mirror (V + H,) with the H lid centres last; lid (F + L,) bool:
    the last L triangles; outer (B,) the outer border in the direction of its triangles;
    holes: the other borders, in the order of their lids.
    """

    points: Reals
    triangles: Integers
    mirror: Integers
    lid: NDArray[np.bool_]
    outer: Integers
    holes: tuple[Integers, ...]


def border_loops(triangles: Integers) -> list[Integers]:
    """Closed border loops of a triangle mesh in the direction of its triangles, by their smallest vertex.

    Raises ValueError when a directed edge belongs to two triangles or two loops touch in a vertex.
    """
    sides = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    size = int(sides.max()) + 1
    code, back = sides @ [size, 1], sides @ [1, size]
    if len(np.unique(code)) < len(code):
        raise ValueError("an edge belongs to two triangles of the same direction: the mesh is no surface")
    start, end = sides[~np.isin(code, back)].T
    if len(np.unique(start)) < len(start):
        raise ValueError("two borders of the mesh touch in a vertex")
    following = dict(sorted(zip(start.tolist(), end.tolist(), strict=True)))
    loops = []
    while following:
        vertex = next(iter(following))
        loop = []
        while vertex in following:
            loop.append(vertex)
            vertex = following.pop(vertex)
        loops.append(np.array(loop))
    return loops


def close_disk(points: Reals, triangles: Integers, mirror: Integers) -> ClosedDisk:
    """Close every hole of a disk; the border that is longest in space (V, 3) is the outer one.

    Raises ValueError when the mesh is not one disk with holes.
    """
    loops = border_loops(triangles)
    vertices = len(np.unique(triangles))
    sides = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    edges = len(np.unique(np.sort(sides, axis=1), axis=0))
    if vertices < len(points):
        raise ValueError(f"{len(points) - vertices} vertices of the mesh belong to no triangle")
    # Euler: a disk has 1 and each hole takes 1 away
    if not loops or vertices - edges + len(triangles) != 2 - len(loops):
        raise ValueError("the mesh is not one disk with holes: it is closed, in pieces, or has a handle")
    lengths = [np.linalg.norm(points[np.roll(loop, -1)] - points[loop], axis=1).sum() for loop in loops]
    outer = loops.pop(int(np.argmax(lengths)))
    count = len(points)
    centres = [points[loop].mean(0, keepdims=True) for loop in loops]
    fans = [
        np.stack([np.roll(loop, -1), loop, np.full(len(loop), count + k)], 1) for k, loop in enumerate(loops)
    ]
    # the lid of a hole is the partner of the lid around its vertices' partners
    owner = np.full(count, -1)
    for k, loop in enumerate(loops):
        owner[loop] = count + k
    partners = []
    for k, loop in enumerate(loops):
        found = owner[mirror[loop]]
        found = found[found >= 0]
        partners.append(np.bincount(found).argmax() if len(found) else count + k)
    closed = np.concatenate([triangles, *fans])
    return ClosedDisk(
        points=np.concatenate([points, *centres]),
        triangles=closed,
        mirror=np.concatenate([mirror, np.array(partners, dtype=np.int64)]),
        lid=np.arange(len(closed)) >= len(triangles),
        outer=outer,
        holes=tuple(loops),
    )
