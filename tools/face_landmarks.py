"""The 68 iBUG points as vertices of the face mesh: found on the image-left half, mirrored to the other."""

import numpy as np
from head_topology import edge_loop

# Vertex ids of the MakeHuman base mesh; all loops go through valence-4 vertices around the eye or the mouth.
LID_EDGE_VERTEX = 6785
OUTER_LIP_VERTEX = 455
INNER_LIP_VERTEX = 474
# fmt: off
MIRROR_68 = np.array([
    *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31,
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
])
# fmt: on
# Where annotators put the points, not where the anatomy has its edges: the positions below take back the mean
# distance, in the model frame, that remained between fitted model and points marked on 800 photographs.
# The middle brow points are marked 3 to 4 mm nearer to the nose than equal steps along the ridge of the bone;
# 32 and 34 are marked above the base of the nose, 33 below it.
BROW = [(-0.566, 7.411), (-0.472, 7.446), (-0.367, 7.480), (-0.246, 7.466), (-0.125, 7.426)]
NOSTRIL_BASE = [(-0.140, 6.828), (-0.078, 6.807)]
SEPTUM_BASE = 6.795
# Parts of the way from the middle of the mouth to its corner. The upper border is marked beside the peaks of
# the bow, not on them.
UPPER_LIP, LOWER_LIP = (0.67, 0.31), (0.62, 0.30)
INNER_UPPER_LIP, INNER_LOWER_LIP = 0.24, 0.25
BOW_DEPTH = 0.009  # the middle of the upper lip is marked in the dip of the bow, below its border
INNER_CORNER = 2  # vertices from the corner of the inner edge to where the lips part
JAW_SLOPE = 0.64  # of the line from below the ear to the chin, seen from the side; the chin is marked low


def find_landmarks(
    body: np.ndarray,
    points: np.ndarray,
    normals: np.ndarray,
    mirror: np.ndarray,
    of_base: np.ndarray,
    ears: np.ndarray,
) -> np.ndarray:
    """Vertex ids (68,) of the face mesh.

    body: quads of the base mesh; points (V, 3) dm, normals (V, 3), mirror (V,), ears (V,) mask of the face
    mesh; of_base (19158,) face vertex of each base vertex, -1 where outside.
    """
    found = np.full(68, -1)
    found[36:42] = _eye(of_base[edge_loop(body, LID_EDGE_VERTEX)], points, mirror)
    found[[48, 49, 50, 51, 57, 58, 59]] = _outer_lip(of_base[edge_loop(body, OUTER_LIP_VERTEX)], points)
    found[[60, 61, 62, 66, 67]] = _inner_lip(of_base[edge_loop(body, INNER_LIP_VERTEX)], points)
    front = np.flatnonzero((points[:, 2] > 0.9) & (normals[:, 2] > 0.2))
    found[17:22] = [front[_nearest(points[front, :2], xy)] for xy in BROW]
    below_nose = np.flatnonzero((points[:, 2] > 1.3) & (normals[:, 2] > 0.0))
    found[31:33] = [below_nose[_nearest(points[below_nose, :2], xy)] for xy in NOSTRIL_BASE]
    middle = np.flatnonzero(mirror == np.arange(len(mirror)))
    found[51] = middle[_nearest(points[middle, 1:], points[found[51], 1:] - [BOW_DEPTH, 0])]
    found[27:31], found[33] = _nose_line(middle, points)
    found[0:9] = _jaw(points, normals, ears, middle)
    known = np.flatnonzero(found >= 0)
    found[MIRROR_68[known]] = mirror[found[known]]
    own = np.flatnonzero(np.arange(68) == MIRROR_68)
    if (found < 0).any() or not np.array_equal(mirror[found], found[MIRROR_68]):
        raise ValueError(f"landmarks are not mirror-paired: {found}")
    if not np.isin(found[own], middle).all():
        raise ValueError("a landmark of the middle line is off the middle line")
    return found


def _eye(loop: np.ndarray, points: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """Outer corner, two upper, inner corner, two lower points of the image-left eye."""
    loop = loop if points[loop, 0].mean() < 0 else mirror[loop]
    ring = np.roll(loop, -int(np.argmin(points[loop, 0])))
    half = int(np.argmax(points[ring, 0]))
    if points[ring[1:half], 1].mean() < points[ring[half + 1 :], 1].mean():
        ring = np.roll(ring[::-1], 1)
        half = len(ring) - half
    upper, lower = ring[1:half], ring[half + 1 :]
    outer, inner = points[ring[0], 0], points[ring[half], 0]
    third, other = outer + 0.31 * (inner - outer), outer + 0.67 * (inner - outer)
    above = [upper[_nearest(points[upper, :1], [x])] for x in (third, other)]
    below = [lower[_nearest(points[lower, :1], [x])] for x in (other, third)]
    return np.array([ring[0], *above, ring[half], *below])


def _outer_lip(loop: np.ndarray, points: np.ndarray) -> np.ndarray:
    """48 corner, 49, 50 beside the peak, 51 middle of the upper border; 57 middle, 58, 59 of the lower."""
    upper, lower = _lip_halves(loop, points)
    above = [_at_part(upper, points, part) for part in UPPER_LIP]
    below = [_at_part(lower, points, part) for part in LOWER_LIP]
    return np.array([upper[0], *above, upper[-1], lower[-1], *below[::-1]])


def _inner_lip(loop: np.ndarray, points: np.ndarray) -> np.ndarray:
    """60 corner, 61, 62 middle of the upper edge; 66 middle, 67 of the lower edge."""
    upper, lower = _lip_halves(loop, points)
    above, below = _at_part(upper, points, INNER_UPPER_LIP), _at_part(lower, points, INNER_LOWER_LIP)
    return np.array([upper[INNER_CORNER], above, upper[-1], lower[-1], below])


def _at_part(half: np.ndarray, points: np.ndarray, part: float) -> int:
    """The vertex of half a lip that lies nearest to a part of the way from the middle to the corner."""
    return int(half[_nearest(points[half, :1], [part * points[half[0], 0]])])


def _lip_halves(loop: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Upper and lower half of a lip loop on the image-left side, each from the corner to the middle."""
    ring = np.roll(loop, -int(np.argmin(points[loop, 0])))
    if points[ring[1], 1] < points[ring[-1], 1]:
        ring = np.roll(ring[::-1], 1)
    upper = ring[: len(ring) // 2]
    lower = np.concatenate([ring[:1], ring[: len(ring) // 2 : -1]])
    on_left = 1e-9
    return upper[points[upper, 0] < on_left], lower[points[lower, 0] < on_left]


def _nose_line(middle: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, int]:
    """27..30 down the bridge to the tip, and 33 under the septum."""
    nose = middle[(points[middle, 1] > 6.75) & (points[middle, 1] < 7.4) & (points[middle, 2] > 1.4)]
    tip = nose[np.argmax(points[nose, 2])]
    heights = np.linspace(7.30, points[tip, 1], 4)
    bridge = [nose[_nearest(points[nose, 1:2], [y])] for y in heights[:3]]
    under = nose[points[nose, 1] < points[tip, 1]]
    edge = under[_nearest(points[under, 1:2], [SEPTUM_BASE])]
    return np.array([*bridge, tip]), int(edge)


def _jaw(points: np.ndarray, normals: np.ndarray, ears: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """0..8: the outline of face and jaw seen from the front, ears and neck left out, in equal steps."""
    centre = np.array([0.0, 7.05])
    jaw_edge = 6.68 - JAW_SLOPE * (points[:, 2] - 0.65)
    on_face = (ears < 0.05) & (points[:, 2] > 0.62) & (points[:, 1] > jaw_edge)
    usable = np.flatnonzero(on_face & (normals[:, 2] > 0.12))
    usable = usable[points[usable, 0] <= 1e-9]
    angle = np.arctan2(
        -points[usable, 0], -(points[usable, 1] - centre[1])
    )  # 0 at the chin, growing to the ear
    radius = np.linalg.norm(points[usable, :2] - centre, axis=1)
    rays = np.linspace(0.0, 1.85, 75)
    outline = []
    for ray in rays:
        near = np.flatnonzero(np.abs(angle - ray) < 0.06)
        outline.append(usable[near[np.argmax(radius[near])]])
    reach = np.linalg.norm(points[outline][:, :2] - centre, axis=1)
    reach = np.convolve(np.pad(reach, 4, mode="edge"), np.ones(9) / 9, mode="valid")
    track = centre - reach[:, None] * np.stack([np.sin(rays), np.cos(rays)], 1)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(track, axis=0), axis=1))])
    top = np.interp(7.30, track[:, 1], length)
    wanted = np.linspace(top, 0, 9)
    goal = np.stack([np.interp(wanted, length, track[:, k]) for k in range(2)], 1)
    chosen = [usable[_nearest(points[usable, :2], xy)] for xy in goal[:8]]
    chin = middle[on_face[middle] & (points[middle, 1] < 6.45) & (normals[middle, 2] > 0.12)]
    return np.array([*chosen, chin[np.argmin(points[chin, 1])]])


def _nearest(table: np.ndarray, wanted: object) -> int:
    return int(np.argmin(np.linalg.norm(table - np.asarray(wanted), axis=1)))
