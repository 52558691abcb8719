"""Choose the face area on the subdivided head and flatten it: Tutte's embedding inside an ellipse.

A disk whose border lies on a convex curve and whose inner vertices are positive averages of their neighbours
has no flipped triangle (Tutte 1963, Floater 1997); the weights are then rebalanced towards a wanted texel
density.
"""

import numpy as np

ROWS, COLUMNS = 192, 256
CENTRE_ROW, HALF_HEIGHT, HALF_WIDTH = 97.5, 92.0, 113.0
STEPS_PER_TEXEL = 256  # uv is stored in these steps; column 127.5 is a whole number of them


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


def border_loops(triangles: np.ndarray) -> list[np.ndarray]:
    """Closed border loops of a triangle mesh, longest first, in the direction of its triangles."""
    sides = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    present = {(a, b) for a, b in sides.tolist()}
    following = {a: b for a, b in present if (b, a) not in present}
    loops = []
    while following:
        start, vertex = next(iter(following.items()))
        loop = [start]
        del following[start]
        while vertex != start:
            loop.append(vertex)
            vertex = following.pop(vertex)
        loops.append(np.array(loop))
    return sorted(loops, key=len, reverse=True)


def flatten(points: np.ndarray, triangles: np.ndarray, mirror: np.ndarray, density: np.ndarray) -> np.ndarray:
    """Texel coordinates (V, 2) [column, row] of a disk with a mouth hole, in whole steps, mirror-exact.

    points (V, 3) mean shape; density (V,) wanted texel area per surface area, relative.
    """
    from scipy.sparse import coo_matrix, diags
    from scipy.sparse.linalg import spsolve

    outer, mouth = border_loops(triangles)
    count = len(points)
    fan = np.stack([np.roll(mouth, -1), mouth, np.full(len(mouth), count)], 1)
    closed = np.concatenate([triangles, fan])
    points = np.concatenate([points, points[mouth].mean(0, keepdims=True)])
    density = np.append(density, density[mouth].mean())
    goal = _areas(points, triangles) * density[triangles].mean(1)
    goal = np.concatenate([goal, np.full(len(fan), 220.0 / len(fan) * goal.sum() / 31000)])
    fixed = _ellipse(points, outer, mirror)
    edges = np.unique(
        np.sort(np.concatenate([closed[:, [0, 1]], closed[:, [1, 2]], closed[:, [2, 0]]]), axis=1), axis=0
    )
    start, end = np.concatenate([edges, edges[:, ::-1]]).T
    weight = mean_value_weights(points, closed, start, end)
    free = np.ones(count + 1, dtype=bool)
    free[outer] = False
    strength = np.ones(count + 1)
    uv = np.zeros((count + 1, 2))
    uv[outer] = fixed
    ratio = None
    for _ in range(60):
        table = coo_matrix((weight * strength[end], (start, end)), shape=(count + 1, count + 1)).tocsr()
        table = diags(1 / np.asarray(table.sum(1)).ravel()) @ table
        system = (diags(np.ones(count + 1)) - table).tocsr()[free]
        uv[free] = spsolve(system[:, free].tocsc(), -(system[:, ~free] @ uv[~free]))
        area = signed_areas(uv, closed)
        ratio = _vertex_mean(np.log(area / area.sum() / (goal / goal.sum())), goal, closed, count + 1)
        # where texels are too many, the vertex pulls its neighbours closer; bounded so that the averages stay
        # well conditioned
        strength = np.clip(strength * np.exp(0.15 * np.clip(ratio, -2, 2)), 1e-3, 1e3)
    steps = np.round(uv[:count] * STEPS_PER_TEXEL).astype(np.int64)
    return _symmetric_steps(steps, mirror)


def mean_value_weights(
    points: np.ndarray, triangles: np.ndarray, start: np.ndarray, end: np.ndarray
) -> np.ndarray:
    """Positive mean value weights (Floater 2003) of the directed edges start -> end."""
    from scipy.sparse import coo_matrix

    count = len(points)
    rows, columns, values = [], [], []
    for k in range(3):
        here, one, other = triangles[:, k], triangles[:, (k + 1) % 3], triangles[:, (k + 2) % 3]
        a, b = points[one] - points[here], points[other] - points[here]
        length_a, length_b = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
        cosine = (a * b).sum(1) / np.maximum(length_a * length_b, 1e-12)
        half = np.tan(0.5 * np.arccos(np.clip(cosine, -0.999, 0.9999)))
        rows += [here, here]
        columns += [one, other]
        values += [half / np.maximum(length_a, 1e-4), half / np.maximum(length_b, 1e-4)]
    table = coo_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), (count, count)
    )
    return np.asarray(table.tocsr()[start, end]).ravel()


def _ellipse(points: np.ndarray, outer: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """Border positions (L, 2): throat and forehead at bottom and top, arc length between."""
    middle = [k for k, v in enumerate(outer) if mirror[v] == v]
    if len(middle) != 2:
        raise ValueError("the border must cross the mirror plane exactly twice")
    top = max(middle, key=lambda k: points[outer[k], 1])
    loop = np.roll(outer, -top)
    bottom = int(np.flatnonzero(mirror[loop] == loop)[1])
    step = np.linalg.norm(points[np.roll(loop, -1)] - points[loop], axis=1)
    length = np.concatenate([[0], np.cumsum(step)])
    total = length[-1]
    angle = np.where(
        np.arange(len(loop)) <= bottom,
        np.pi * length[:-1] / length[bottom],
        np.pi + np.pi * (length[:-1] - length[bottom]) / (total - length[bottom]),
    )
    # the direction of the loop decides the side: image-right vertices have x > 0 and larger columns
    side = np.sign(points[loop[1], 0])
    column = (COLUMNS - 1) / 2 + side * HALF_WIDTH * np.sin(angle)
    row = CENTRE_ROW - HALF_HEIGHT * np.cos(angle)
    placed = np.stack([column, row], 1)
    return np.roll(placed, top, axis=0)


def _symmetric_steps(steps: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """Make uv exactly mirrored: row equal, columns adding to 255 texels."""
    axis = (COLUMNS - 1) * STEPS_PER_TEXEL
    flipped = np.stack([axis - steps[mirror, 0], steps[mirror, 1]], 1)
    image_left = steps[:, 0] <= flipped[:, 0]
    column = np.where(image_left, steps[:, 0], flipped[:, 0])
    row = np.where(image_left, steps[:, 1], flipped[:, 1])
    own = mirror == np.arange(len(mirror))
    column = np.where(own, axis // 2, column)
    result = np.stack([column, row], 1)
    right = ~image_left
    result[right] = np.stack([axis - result[mirror[right], 0], result[mirror[right], 1]], 1)
    return result


def _vertex_mean(values: np.ndarray, weight: np.ndarray, triangles: np.ndarray, count: int) -> np.ndarray:
    total, norm = np.zeros(count), np.full(count, 1e-12)
    for k in range(3):
        total += np.bincount(triangles[:, k], values * weight, count)
        norm += np.bincount(triangles[:, k], weight, count)
    return total / norm


def _areas(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (points[triangles[:, k]] for k in range(3))
    return 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)


def signed_areas(uv: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Areas of flattened triangles, positive when they keep their orientation (rows grow downwards)."""
    a, b, c = (uv[triangles[:, k]] for k in range(3))
    return -0.5 * ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0])
