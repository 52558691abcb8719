"""A head cut down to its face."""

import numpy as np
import pytest
from numpy.typing import NDArray
from small_model import small_model_and_atlas

from facefill.geometry.face_outline import BELOW_CHIN, CHIN, face_outline
from facefill.geometry.mesh import mirror_triangles
from facefill.geometry.mesh_border import border_loops


def small_head() -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """points, triangles, mirror, landmarks of the test face, stretched far downwards below the chin."""
    model, _ = small_model_and_atlas()
    points = model.mean.double().numpy().copy()
    chin = points[model.landmarks[8], 1]
    below = points[:, 1] < chin - 1e3
    points[below, 1] = chin + 12 * (points[below, 1] - chin)
    return points, model.triangles.numpy(), model.mirror.numpy(), model.landmarks.numpy()


def test_the_neck_goes_and_the_face_stays() -> None:
    points, triangles, mirror, landmarks = small_head()
    kept, left, partners = face_outline(points, triangles, mirror, landmarks)
    assert len(kept) < len(points)
    assert np.isin(landmarks, kept).all()
    assert points[:, 1].min() < points[kept, 1].min() - 2e4
    mirror_triangles(left, partners)
    assert np.array_equal(kept[partners], mirror[kept])
    assert len(border_loops(left)) == len(border_loops(triangles))


@pytest.mark.parametrize("seed", [0, 6, 7])
def test_the_cut_has_no_teeth(seed: int) -> None:
    """A neck whose vertices jump up and down: no triangle sticks out of the cut with two of its sides."""
    points, triangles, mirror, landmarks = small_head()
    below = points[:, 1] < points[landmarks[CHIN], 1] - 1e3
    jump = np.random.default_rng(seed).standard_normal(len(points))
    points[below, 1] += (0.3 * np.abs(points[:, 0]) + 4e4 * (jump + jump[mirror]))[below]
    kept, left, _ = face_outline(points, triangles, mirror, landmarks)
    marks = points[landmarks]
    unit = np.linalg.norm(marks[36:42].mean(0) - marks[42:48].mean(0))
    beyond = points[kept, 1] < marks[CHIN, 1] - BELOW_CHIN * unit
    sides = left[:, [[0, 1], [1, 2], [2, 0]]]
    shared = set(map(tuple, sides.reshape(-1, 2).tolist()))
    open_sides = np.array([[(b, a) not in shared for a, b in corners] for corners in sides.tolist()]).sum(1)
    cut = beyond[left].any(1)
    assert (open_sides[cut] == 1).sum() > 10
    assert (open_sides[cut] < 2).all()


def test_a_pinched_border_is_widened() -> None:
    points, triangles, mirror, landmarks = small_head()
    inner = int(np.flatnonzero((mirror == np.arange(len(mirror))) & (points[:, 1] > 6e4))[1])
    row = triangles[(triangles == inner).any(1)]
    # without one triangle on each side, the hole beside `inner` may touch the border: still one piece, simple
    without = triangles[~(np.isin(triangles, row).all(1))]
    kept, left, _ = face_outline(points, without, mirror, landmarks)
    starts = np.concatenate(border_loops(left))
    assert len(starts) == len(np.unique(starts))
    assert np.array_equal(np.unique(left), np.arange(len(kept)))


def test_loose_pieces_are_dropped() -> None:
    points, triangles, mirror, landmarks = small_head()
    count = len(points)
    speck = np.array([[0.0, 0, 0], [1e3, 0, 0], [0, 1e3, 0]]) + [0, 0, points[:, 2].max()]
    points = np.concatenate([points, speck])
    triangles = np.concatenate([triangles, [[count, count + 1, count + 2]]])
    mirror = np.concatenate([mirror, count + np.arange(3)])
    kept, _, _ = face_outline(points, triangles, mirror, landmarks)
    assert kept.max() < count
