"""A flattening without flips to start from: inner vertices are positive averages of their neighbours.

With the border on a circle and positive weights no triangle is flipped (Tutte 1963, Floater 1997); the
weights are the mean values of the surface (Floater 2003).
"""

import numpy as np
from numpy.typing import NDArray

from facefill.geometry.mesh_border import ClosedDisk
from facefill.geometry.symmetric_dirichlet import Freedom

Integers = NDArray[np.int64]
Reals = NDArray[np.float64]


def circular_border(disk: ClosedDisk, partner: Integers) -> Reals:
    """Places (B, 2) of the outer border on a unit circle, by arc length from where it meets the mirror plane.

    partner (V,): -1 where a vertex has none. Raises ValueError unless the border crosses the plane twice.
    """
    loop, points = disk.outer, disk.points
    following = np.roll(np.arange(len(loop)), -1)
    step = np.linalg.norm(points[loop[following]] - points[loop], axis=1)
    reached, total = np.cumsum(step) - step, step.sum()
    meeting = np.flatnonzero(partner[loop] == loop)
    share = np.zeros(len(meeting))
    if len(meeting) != 2:  # no vertices of the border are paired with themselves: it crosses between two
        x = (points[:, 0] - 0.5 * np.median(points[:, 0] + points[disk.mirror, 0]))[loop]
        meeting = np.flatnonzero((x >= 0) != (x[following] >= 0))
        share = x[meeting] / (x[meeting] - x[following[meeting]])
    if len(meeting) != 2:
        raise ValueError("the outer border of the mesh must cross the mirror plane exactly twice")
    at = reached[meeting] + share * step[meeting]
    height = points[loop, 1][meeting] * (1 - share) + points[loop, 1][following[meeting]] * share
    top, bottom = at[np.argmax(height)], at[np.argmin(height)]
    run, down = (reached - top) % total, (bottom - top) % total
    # counter-clockwise seen from outside: from the top down the image left, and up the image right
    angle = np.pi * np.where(run <= down, run / down, 1 + (run - down) / (total - down))
    place = np.zeros((len(points), 2))
    place[loop] = np.stack([-np.sin(angle), -np.cos(angle)], 1)
    tied = partner[loop] >= 0
    between = place[loop] + np.where(tied[:, None], place[partner[loop]] * [-1, 1], place[loop])
    return between / np.linalg.norm(between, axis=1, keepdims=True)


def embed(disk: ClosedDisk, border: Reals, freedom: Freedom) -> Reals:
    """Flattening (V, 2) with the outer border at `border` (B, 2); tied vertices satisfy the sum of their
    equations."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.linalg import splu

    count = len(disk.points)
    start, end, weight = _mean_value_weights(disk.points, disk.triangles)
    weight = weight / np.bincount(start, weight, count)[start]
    inner = np.ones(count, dtype=bool)
    inner[disk.outer] = False
    kept = inner[start]
    start, end, weight = start[kept], end[kept], weight[kept]
    uv = np.zeros((count, 2))
    uv[disk.outer] = border
    for axis in range(2):
        index, sign = freedom.index[:, axis], freedom.sign[:, axis]
        goal = np.bincount(index[start], sign[start] * weight * uv[end, axis], freedom.count)
        values = np.concatenate([sign[inner] ** 2, -sign[start] * sign[end] * weight * inner[end]])
        rows = np.concatenate([index[inner], index[start]])
        columns = np.concatenate([index[inner], index[end]])
        table = coo_matrix((values, (rows, columns)), (freedom.count, freedom.count)).tocsr()
        used = np.unique(index[inner & (sign != 0)])
        numbers = np.zeros(freedom.count)
        numbers[used] = splu(table[used][:, used].tocsc()).solve(goal[used])
        uv[inner, axis] = (sign * numbers[index])[inner]
    return uv


def _mean_value_weights(points: Reals, triangles: Integers) -> tuple[Integers, Integers, Reals]:
    """Directed edges (start, end, weight), twice where two triangles meet: their weights add up."""
    starts, ends, weights = [], [], []
    for k in range(3):
        here, one, other = triangles[:, k], triangles[:, (k + 1) % 3], triangles[:, (k + 2) % 3]
        a, b = points[one] - points[here], points[other] - points[here]
        length_a, length_b = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
        cosine = (a * b).sum(1) / np.maximum(length_a * length_b, 1e-12)
        half = np.tan(0.5 * np.arccos(np.clip(cosine, -0.999, 0.9999)))
        starts += [here, here]
        ends += [one, other]
        weights += [half / np.maximum(length_a, 1e-6), half / np.maximum(length_b, 1e-6)]
    return np.concatenate(starts), np.concatenate(ends), np.concatenate(weights)
