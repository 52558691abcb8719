"""Normals point outwards, are the same on every run, and mirror partners of triangles are found."""

import numpy as np
import pytest
import torch

from facefill.geometry.mesh import incident_triangles, mirror_triangles, vertex_normals

OCTAHEDRON = torch.tensor(
    [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], dtype=torch.float64
)
FACES = torch.tensor([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]])
MIRROR = np.array([1, 0, 2, 3, 4, 5])


def test_normals_of_a_regular_body_point_away_from_its_centre() -> None:
    normals = vertex_normals(OCTAHEDRON[None] * 7, FACES)
    torch.testing.assert_close(normals[0], OCTAHEDRON)


def test_normals_turn_with_the_mesh_and_ignore_its_size() -> None:
    generator = torch.Generator().manual_seed(0)
    vertices = OCTAHEDRON + 0.2 * torch.randn(6, 3, generator=generator, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64)).Q
    rotation = rotation * torch.sign(torch.linalg.det(rotation))
    turned = vertex_normals((3 * vertices @ rotation.T)[None], FACES)
    torch.testing.assert_close(turned, vertex_normals(vertices[None], FACES) @ rotation.T)


def test_normals_have_gradients_and_a_vertex_without_triangles_has_none() -> None:
    vertices = torch.cat([OCTAHEDRON, torch.zeros(1, 3, dtype=torch.float64)])[None].requires_grad_()
    normals = vertex_normals(vertices, FACES)
    assert torch.equal(normals[0, 6], torch.zeros(3, dtype=torch.float64))
    assert torch.autograd.gradcheck(lambda v: vertex_normals(v, FACES)[:, :6], vertices)


def test_incident_triangles_are_complete_and_padded() -> None:
    table = incident_triangles(FACES[:5], 6)
    for vertex in range(6):
        expected = [k for k, face in enumerate(FACES[:5].tolist()) if vertex in face]
        assert table[vertex].tolist() == expected + [5] * (table.shape[1] - len(expected))


def test_mirror_triangles_pairs_up_and_refuses_a_lopsided_mesh() -> None:
    triangles = FACES.numpy()
    partner = mirror_triangles(triangles, MIRROR)
    assert np.array_equal(partner[partner], np.arange(8))
    assert np.array_equal(np.sort(triangles[partner], 1), np.sort(MIRROR[triangles], 1))
    with pytest.raises(ValueError, match="not mirror-symmetric"):
        mirror_triangles(triangles[:1], MIRROR)


def test_a_wrong_shape_is_named() -> None:
    with pytest.raises(ValueError, match="vertices"):
        vertex_normals(OCTAHEDRON, FACES)
