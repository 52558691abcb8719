"""Close the eye openings of a face mesh with eyeballs, so that a photograph's eyes have texels.

The lids of such a mesh end on the eyeball, so the sphere through the border of the opening is the eyeball.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RINGS = (1 / 3, 2 / 3, 1.0)  # parts of the way from the border to the middle of the opening


@dataclass(frozen=True)
class EyeCap:
    """New vertices of one eye, numbered after those of the mesh.

    loop (L,) vertices of the border; weights (C, L) of the border's points in each new point; bulge (C, 3)
    from that mean to the eyeball, in the resting face; triangles (T, 3).
    """

    loop: NDArray[np.int64]
    weights: NDArray[np.float64]
    bulge: NDArray[np.float64]
    triangles: NDArray[np.int64]


def eye_cap(points: NDArray[np.float64], loop: NDArray[np.int64], first_id: int) -> EyeCap:
    """The cap over an opening of points (V, 3); its ids count from `first_id`.

    loop (L,): the opening's border in the direction of the mesh's triangles, as border_loops gives it.
    """
    count = len(loop)
    even = np.full((1, count), 1 / count)
    rings = [(1 - part) * np.eye(count) + part * even for part in RINGS[:-1]]
    weights = np.concatenate([*rings, even])
    centre, radius = _sphere(points[loop])
    flat = weights @ points[loop]
    from_centre = flat - centre
    bulge = centre + radius * from_centre / np.linalg.norm(from_centre, axis=1, keepdims=True) - flat
    ids = np.concatenate([loop, first_id + np.arange(len(weights))])
    here = np.arange(count)
    after = (here + 1) % count
    triangles = []
    for ring in range(len(RINGS) - 1):
        outer, inner = ids[ring * count :], ids[(ring + 1) * count :]
        triangles.append(np.stack([outer[here], outer[after], inner[after]], 1))
        triangles.append(np.stack([outer[here], inner[after], inner[here]], 1))
    last = ids[(len(RINGS) - 1) * count :]
    triangles.append(np.stack([last[here], last[after], np.full(count, ids[-1])], 1))
    # a triangle that fills the opening walks its border the other way
    return EyeCap(loop, weights, bulge, np.concatenate(triangles)[:, ::-1])


def mirrored_cap(cap: EyeCap, partner: NDArray[np.int64], first_id: int) -> EyeCap:
    """The cap of the other eye: the mirror image, vertex by vertex; partner (V,) of the mesh's vertices."""
    moved = cap.triangles.copy()
    own = moved >= len(partner)  # new vertices keep their place within the cap
    offset = first_id - cap.triangles[own].min()
    moved = np.where(own, moved + offset, partner[np.where(own, 0, moved)])
    return EyeCap(partner[cap.loop], cap.weights, cap.bulge * [-1.0, 1.0, 1.0], moved[:, ::-1])


def _sphere(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Centre (3,) and radius of the sphere nearest to points (n, 3), by linear least squares."""
    table = np.concatenate([2 * points, np.ones((len(points), 1))], 1)
    solution = np.linalg.lstsq(table, (points**2).sum(1), rcond=None)[0]
    return solution[:3], float(np.sqrt(solution[3] + solution[:3] @ solution[:3]))
