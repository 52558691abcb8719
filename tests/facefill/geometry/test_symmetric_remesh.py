"""A symmetric mesh made from one that is not."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay

from facefill.geometry.mesh import mirror_triangles
from facefill.geometry.symmetric_remesh import symmetric_already, symmetric_remesh


def scattered_dome() -> tuple[NDArray, NDArray]:
    """A dome (V, 3) over scattered points, counter-clockwise; nothing about its mesh is symmetric."""
    flat = np.random.default_rng(0).uniform(-1, 1, (400, 2))
    edge = np.linspace(-1, 1, 21)
    rim = [np.stack([edge, 0 * edge + side], 1)[1:] for side in (-1.0, 1.0)]
    flat = np.concatenate([flat, *rim, *(points[:, ::-1] * [1, -1] for points in rim)])
    triangles = Delaunay(flat).simplices.astype(np.int64)
    points = np.concatenate([flat, 1 - (flat**2).sum(1, keepdims=True) / 2], 1)
    first, second = (
        flat[triangles[:, 1]] - flat[triangles[:, 0]],
        flat[triangles[:, 2]] - flat[triangles[:, 0]],
    )
    turned = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0] < 0
    triangles[turned] = triangles[turned][:, ::-1]
    return points, triangles


def test_the_new_mesh_is_exactly_symmetric_and_lies_on_the_old_surface() -> None:
    points, triangles = scattered_dome()
    mesh = symmetric_remesh(points, triangles)
    mirror_triangles(mesh.triangles, mesh.mirror)
    assert np.array_equal(mesh.mirror[mesh.mirror], np.arange(len(mesh.mirror)))
    assert np.allclose(mesh.weights.sum(1), 1)
    assert mesh.weights.min() >= 0
    placed = mesh.carried(points)
    dome = 1 - (placed[:, :2] ** 2).sum(1) / 2
    assert np.abs(placed[:, 2] - dome).max() < 0.03  # the flat triangles' own distance from the dome
    inner = (np.abs(placed[:, :2]) < 0.9).all(1)
    away = placed[mesh.mirror] * [-1, 1, 1] - placed
    assert np.linalg.norm(away[inner], axis=1).max() < 0.05
    assert (np.abs(placed[mesh.mirror == np.arange(len(placed)), 0]) < 0.05).all()


def test_fields_are_carried_over_linearly() -> None:
    points, triangles = scattered_dome()
    mesh = symmetric_remesh(points, triangles)
    field = points @ np.array([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0], [0.5, 0.0, 1.0]]) + 4
    expected = mesh.carried(points) @ np.array([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0], [0.5, 0.0, 1.0]]) + 4
    assert np.allclose(mesh.carried(field[None])[0], expected)


def test_the_triangles_stay_wound_outward() -> None:
    points, triangles = scattered_dome()
    mesh = symmetric_remesh(points, triangles)
    corners = mesh.carried(points)[mesh.triangles]
    up = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2]
    assert (up > -1e-9).all()


def test_a_symmetric_mesh_is_carried_over_as_it_is() -> None:
    values = np.random.default_rng(0).normal(size=(2, 5, 3))
    kept = np.array([0, 2, 3])
    mesh = symmetric_already(kept, np.array([[0, 1, 2]]), np.array([0, 2, 1]))
    assert np.array_equal(mesh.carried(values), values[:, kept])
