"""The energy's derivatives are right, and its minimum on a flat sheet is the sheet itself."""

import numpy as np
from numpy.typing import NDArray

from facefill.geometry import symmetric_dirichlet
from facefill.geometry.symmetric_dirichlet import Freedom, flatten_freely


def test_gradient_and_curvature_agree_with_differences() -> None:
    generator = np.random.default_rng(1)
    jacobian = np.eye(2) * generator.uniform(1.1, 1.6, (50, 1, 1)) + generator.uniform(-0.3, 0.3, (50, 2, 2))
    energy, slope, curvature = symmetric_dirichlet._density(jacobian)
    np.testing.assert_allclose(energy, symmetric_dirichlet._energy(jacobian), rtol=1e-12)
    step = 1e-5
    moved = [jacobian + step * np.eye(4)[k].reshape(2, 2) for k in range(4)]
    back = [jacobian - step * np.eye(4)[k].reshape(2, 2) for k in range(4)]
    energies = [
        symmetric_dirichlet._energy(m) - symmetric_dirichlet._energy(b)
        for m, b in zip(moved, back, strict=True)
    ]
    np.testing.assert_allclose(slope, np.stack(energies, 1) / (2 * step), rtol=1e-5, atol=1e-5)
    slopes = [
        symmetric_dirichlet._density(m)[1] - symmetric_dirichlet._density(b)[1]
        for m, b in zip(moved, back, strict=True)
    ]
    whole = np.stack(slopes, 1) / (2 * step)
    convex = np.linalg.eigvalsh(whole).min(1) > 1e-3
    assert convex.sum() > 5  # there nothing was clipped
    np.testing.assert_allclose(curvature[convex], whole[convex], rtol=1e-4, atol=1e-4)
    assert np.linalg.eigvalsh(curvature).min() > -1e-9


def sheet() -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Places of a 6 x 6 sheet, its triangles, and the inverse of their sides."""
    place = np.stack(np.meshgrid(np.arange(6.0), np.arange(6.0)), 2).reshape(-1, 2)
    corner = np.arange(36).reshape(6, 6)
    a, b, c, d = (p.ravel() for p in (corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]))
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return place, triangles, np.linalg.inv(symmetric_dirichlet._sides(place, triangles))


def test_a_squeezed_sheet_springs_back() -> None:
    place, triangles, inverse_rest = sheet()
    freedom = Freedom(np.arange(72).reshape(36, 2), np.ones((36, 2)), 72)
    squeezed = place * [0.3, 2.0] + 0.1 * np.random.default_rng(0).uniform(-1, 1, place.shape) * [0.3, 2.0]
    uv = flatten_freely(squeezed, triangles, inverse_rest, np.full(len(triangles), 0.5), freedom)
    lengths = np.linalg.norm(uv[triangles[:, 1]] - uv[triangles[:, 0]], axis=1)
    wanted = np.linalg.norm(place[triangles[:, 1]] - place[triangles[:, 0]], axis=1)
    np.testing.assert_allclose(lengths, wanted, rtol=0.03)


def test_what_is_fixed_stays_and_what_is_tied_stays_mirrored() -> None:
    place, triangles, inverse_rest = sheet()
    place = place - [2.5, 0]
    partner = np.arange(36).reshape(6, 6)[:, ::-1].ravel()
    holder = np.minimum(partner, np.arange(36))
    sign = np.ones((36, 2))
    sign[holder != np.arange(36), 0] = -1
    sign[:6] = 0  # the first row of the sheet
    _, number = np.unique(holder, return_inverse=True)
    freedom = Freedom(np.stack([2 * number, 2 * number + 1], 1), sign, 2 * int(number.max()) + 2)
    uv = flatten_freely(place * [1.5, 0.5], triangles, inverse_rest, np.full(len(triangles), 0.5), freedom)
    np.testing.assert_array_equal(uv[:6], place[:6] * [1.5, 0.5])
    np.testing.assert_array_equal(uv[partner] * [-1, 1], uv)
    assert np.ptp(uv[30:, 0]) < 6 < np.ptp(uv[:6, 0])
