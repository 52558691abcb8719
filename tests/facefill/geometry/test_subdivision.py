"""One Catmull-Clark step: counts, linearity, the rules on a cube and a grid, mirror partners."""

import numpy as np
import pytest

from facefill.geometry.subdivision import (
    mirror_of_subdivision,
    plan_subdivision,
    subdivide,
    subdivide_linearly,
)

CUBE = np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
CUBE_QUADS = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])


def grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """A flat size x size grid of quads in the plane z = 0."""
    side = size + 1
    points = np.array([[column, row, 0.0] for row in range(side) for column in range(side)])
    corner = np.array([row * side + column for row in range(size) for column in range(size)])
    return points, np.stack([corner, corner + 1, corner + side + 1, corner + side], 1)


def test_a_cube_follows_the_published_rules() -> None:
    plan = plan_subdivision(CUBE_QUADS, 8)
    fine = subdivide(plan, CUBE)
    assert fine.shape == (8 + 12 + 6, 3) and plan.fine_quads.shape == (24, 4)
    np.testing.assert_allclose(np.abs(fine[:8]), 5 / 9)  # (Q + 2R + (n - 3) S) / n with n = 3
    np.testing.assert_allclose(np.sort(np.abs(fine[8:20]), 1), [[0, 0.75, 0.75]] * 12)
    np.testing.assert_allclose(np.sort(np.abs(fine[20:]), 1), [[0, 0, 1]] * 6)


def test_fine_quads_keep_the_orientation() -> None:
    plan = plan_subdivision(CUBE_QUADS, 8)
    fine = subdivide_linearly(plan, CUBE)

    def outward(points: np.ndarray, quads: np.ndarray) -> np.ndarray:
        a, b, c, d = (points[quads[:, k]] for k in range(4))
        return np.sign((np.cross(c - a, d - b) * points[quads].mean(1)).sum(1))

    assert np.all(outward(CUBE, CUBE_QUADS) == outward(CUBE, CUBE_QUADS)[0])
    assert np.all(outward(fine, plan.fine_quads) == outward(CUBE, CUBE_QUADS)[0])


def test_a_flat_grid_stays_where_it_is_inside() -> None:
    points, quads = grid(4)
    fine = subdivide(plan_subdivision(quads, len(points)), points)
    inner = (points[:, :2] > 0).all(1) & (points[:, :2] < 4).all(1)
    np.testing.assert_allclose(fine[: len(points)][inner], points[inner])
    assert np.abs(fine[:, 2]).max() == 0


def test_subdivision_is_linear_and_keeps_loose_vertices() -> None:
    points, quads = grid(3)
    points = np.concatenate([points, [[9.0, 9.0, 9.0]]])
    plan = plan_subdivision(quads, len(points))
    other = np.random.default_rng(0).normal(size=points.shape)
    mixed = subdivide(plan, 2 * points - 3 * other)
    np.testing.assert_allclose(mixed, 2 * subdivide(plan, points) - 3 * subdivide(plan, other), atol=1e-12)
    np.testing.assert_array_equal(subdivide(plan, points)[len(points) - 1], points[-1])


def test_mirror_partners_carry_over() -> None:
    points, quads = grid(4)
    points[:, 0] -= 2
    mirror = np.array([int(np.argmin(np.abs(points - p * [-1, 1, 1]).sum(1))) for p in points])
    plan = plan_subdivision(quads, len(points))
    fine, partner = subdivide(plan, points), mirror_of_subdivision(plan, mirror)
    np.testing.assert_allclose(fine[partner] * [-1, 1, 1], fine, atol=1e-12)
    with pytest.raises(ValueError, match="not mirror-symmetric"):
        mirror_of_subdivision(plan, np.roll(mirror, 1))


def test_an_edge_with_three_faces_is_refused() -> None:
    quads = np.array([[0, 1, 2, 3], [1, 0, 4, 5], [0, 1, 6, 7]])
    with pytest.raises(ValueError, match="more than two faces"):
        plan_subdivision(quads, 8)
