"""Openings of a mesh closed by the front of a ball."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay

from facefill.geometry.eye_caps import eye_cap, mirrored_cap
from facefill.geometry.mesh_border import border_loops

BALL = np.array([-3.0, 1.0, 0.0])
RADIUS = 2.0


def plate_with_an_opening() -> tuple[NDArray, NDArray]:
    """A curved plate (V, 3) around the ball's front with a wide hole, counter-clockwise seen from +z."""
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    rings = [
        np.stack([a * np.cos(angle), b * np.sin(angle)], 1) for a, b in ((1.2, 0.6), (1.6, 1.2), (2.4, 2.4))
    ]
    flat = np.concatenate(rings) + BALL[:2]
    triangles = Delaunay(flat).simplices.astype(np.int64)
    triangles = triangles[(triangles >= 24).any(1)]
    first, second = (
        flat[triangles[:, 1]] - flat[triangles[:, 0]],
        flat[triangles[:, 2]] - flat[triangles[:, 0]],
    )
    turned = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0] < 0
    triangles[turned] = triangles[turned][:, ::-1]
    off = ((flat - BALL[:2]) ** 2).sum(1)
    height = np.where(np.arange(len(flat)) < 24, np.sqrt(RADIUS**2 - np.minimum(off, 3.9)), 1.0)
    return np.concatenate([flat, height[:, None]], 1), triangles


def test_the_cap_closes_the_hole_and_lies_on_the_ball() -> None:
    points, triangles = plate_with_an_opening()
    loops = border_loops(triangles)
    assert sorted(len(loop) for loop in loops) == [24, 24]
    loop = min(loops, key=lambda border: border.max())
    cap = eye_cap(points, loop, len(points))
    new = cap.weights @ points[loop] + cap.bulge
    assert np.allclose(np.linalg.norm(new - BALL, axis=1), RADIUS, atol=1e-6)
    closed = np.concatenate([triangles, cap.triangles])
    assert [len(border) for border in border_loops(closed)] == [24]
    corners = np.concatenate([points, new])[cap.triangles]
    outward = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2]
    assert (outward > 0).all()


def test_the_other_eye_gets_the_mirror_image() -> None:
    points, triangles = plate_with_an_opening()
    count = len(points)
    both = np.concatenate([points, points * [-1, 1, 1]])
    partner = np.concatenate([np.arange(count) + count, np.arange(count)])
    loop = min(border_loops(triangles), key=lambda border: border.max())
    right = eye_cap(both, loop, 2 * count)
    left = mirrored_cap(right, partner, 2 * count + len(right.weights))
    new = [cap.weights @ both[cap.loop] + cap.bulge for cap in (right, left)]
    assert np.allclose(new[0] * [-1, 1, 1], new[1])
    mesh = [triangles, partner[triangles][:, ::-1], right.triangles, left.triangles]
    assert sorted(len(border) for border in border_loops(np.concatenate(mesh))) == [24, 24]
    corners = np.concatenate([both, *new])[left.triangles]
    assert (np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2] > 0).all()
