"""Cut a whole head down to the face: long necks and the back of the head take texels from what matters."""

import numpy as np
from numpy.typing import NDArray

CHIN, JAW_ENDS, BROWS = 8, (0, 16), tuple(range(17, 27))
BELOW_CHIN, ABOVE_BROWS, BEHIND_JAW = 0.4, 1.4, 0.75  # parts of the distance between the eyes


def face_outline(
    points: NDArray[np.float64],
    triangles: NDArray[np.int64],
    mirror: NDArray[np.int64],
    landmarks: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Kept vertices (K,), triangles (G, 3) and mirror (K,) of the face, one piece with a simple border.

    points (V, 3) exactly mirror-symmetric under mirror (V,), which triangles (F, 3) are too; landmarks (68,)
    in iBUG order. What reaches farther than a few centimetres below the chin, above the brows or behind the
    ends of the jaw line is cut off.
    """
    marks = points[landmarks]
    unit = float(np.linalg.norm(marks[36:42].mean(0) - marks[42:48].mean(0)))
    inside = points[:, 1] > marks[CHIN, 1] - BELOW_CHIN * unit
    inside &= points[:, 1] < marks[list(BROWS), 1].mean() + ABOVE_BROWS * unit
    inside &= points[:, 2] > marks[list(JAW_ENDS), 2].mean() - BEHIND_JAW * unit
    kept = triangles[inside[triangles].any(1)]
    kept = kept[(_border_sides(kept) < 2) | inside[kept].all(1)]  # no teeth along the cut
    while True:
        kept = _largest_piece(kept, len(points))
        pinched = _pinched(kept)
        if len(pinched) == 0:
            break
        kept = kept[~np.isin(kept, np.concatenate([pinched, mirror[pinched]])).any(1)]
    vertices = np.unique(kept)
    number = np.full(len(points), -1, dtype=np.int64)
    number[vertices] = np.arange(len(vertices))
    return vertices, number[kept], number[mirror[vertices]]


def _largest_piece(triangles: NDArray[np.int64], vertex_count: int) -> NDArray[np.int64]:
    """The triangles of the largest part that hangs together by its edges."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    ids = np.arange(len(triangles))
    sides = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), 1)
    side, owner = sides[:, 0] * vertex_count + sides[:, 1], np.tile(ids, 3)
    order = np.argsort(side, kind="stable")
    side, owner = side[order], owner[order]
    shared = np.flatnonzero(side[1:] == side[:-1])
    links = coo_matrix((np.ones(len(shared)), (owner[shared], owner[shared + 1])), (len(ids), len(ids)))
    piece = connected_components(links, directed=False)[1]
    return triangles[piece == np.bincount(piece).argmax()]


def _border_sides(triangles: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many sides (F,) of each triangle no other triangle has."""
    sides = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    count = int(triangles.max()) + 1
    forward, backward = sides[:, 0] * count + sides[:, 1], sides[:, 1] * count + sides[:, 0]
    return (~np.isin(forward, backward)).reshape(3, -1).sum(0)


def _pinched(triangles: NDArray[np.int64]) -> NDArray[np.int64]:
    """Vertices at which the border touches itself."""
    sides = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    count = int(triangles.max()) + 1
    forward, backward = sides[:, 0] * count + sides[:, 1], sides[:, 1] * count + sides[:, 0]
    border = sides[~np.isin(forward, backward)]
    start, times = np.unique(border[:, 0], return_counts=True)
    return start[times > 1]
