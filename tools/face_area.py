"""Choose the face area on the subdivided head."""

import numpy as np


def face_quads(quads: np.ndarray, points: np.ndarray, ears: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Quads (bool) of the face area: in front of a profile line from the crown over the ears to the throat.

    points (V, 3) dm, ears (V,) mask, allowed (Q,) bool. Spikes and notches of the border are smoothed away.
    """
    centre = points[quads].mean(1)
    height = [6.02, 6.5, 6.75, 7.0, 7.45, 7.6, 7.9, 8.2, 8.36, 8.40]
    depth = [0.80, 0.46, 0.35, 0.22, 0.22, 0.40, 0.62, 0.86, 1.04, 9.0]
    in_front = centre[:, 2] > np.interp(centre[:, 1], height, depth, left=9.0)
    chosen = (in_front | (ears[quads] > 0.5).any(1)) & allowed
    neighbour = quad_neighbours(quads)
    for _ in range(8):
        count = np.where(neighbour >= 0, chosen[neighbour], False).sum(1)
        chosen = allowed & ((chosen & (count >= 2)) | (count >= 3))
    return chosen


def chamfer(quads: np.ndarray, chosen: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Cut the steps of the border: triangles that fill the notches.

    Returns corner (Q,), the corner of a quad whose triangle (with the corners before and after it) is added,
    -1 for none; the quad has to be split by the other diagonal.
    """
    neighbour = quad_neighbours(quads)
    beside = np.where(neighbour >= 0, chosen[neighbour], False)  # side k runs from corner k to k + 1
    corner = np.full(len(quads), -1)
    for k in range(4):
        notch = beside[:, k] & beside[:, k - 1] & (beside.sum(1) == 2) & ~chosen & allowed
        corner[notch] = k
    return corner


def quad_neighbours(quads: np.ndarray) -> np.ndarray:
    """(Q, 4) the quad across each side, -1 on a border."""
    sides = np.sort(np.stack([quads, np.roll(quads, -1, axis=1)], axis=-1).reshape(-1, 2), axis=1)
    order = np.lexsort(sides.T)
    same = (sides[order][1:] == sides[order][:-1]).all(1)
    neighbour = np.full(len(sides), -1)
    neighbour[order[:-1][same]] = order[1:][same] // 4
    neighbour[order[1:][same]] = order[:-1][same] // 4
    return neighbour.reshape(-1, 4)
