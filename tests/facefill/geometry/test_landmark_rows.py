"""Where jaw points may lie on the default head, and what that does to fits of turned heads and chins."""

import dataclasses

import pytest
import torch

from facefill.geometry import landmark_fitting
from facefill.geometry.camera import WeakPerspective, project
from facefill.geometry.default_model import default_model
from facefill.geometry.landmark_fitting import fit_landmarks
from facefill.geometry.landmark_rows import NUM_JAW, UNIT, jaw_candidates, landmark_rows
from facefill.geometry.mesh import vertex_normals


def outermost(euler: tuple[float, float, float]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Chosen vertices (17,) of the mean head at a pose, its projection (V, 3), its turned normals (V, 3)."""
    model = default_model()
    candidates, outward = jaw_candidates(model)
    camera = WeakPerspective(torch.tensor([1e-3]), torch.tensor([euler]), torch.zeros(1, 2))
    projected = project(model.mean[None], camera)[0]
    direction = (outward @ camera.rotation[0].T)[:, :2] * torch.tensor([1.0, -1.0])
    along = (projected[candidates][..., :2] * direction[:, None]).sum(2)
    chosen = candidates.gather(1, along.argmax(1, keepdim=True))[:, 0]
    normals = vertex_normals(model.mean[None], model.triangles)[0] @ camera.rotation[0].T
    return chosen, projected, normals


def test_candidates_start_at_the_landmark_and_stay_in_its_direction():
    model = default_model()
    candidates, outward = jaw_candidates(model)
    assert torch.equal(candidates[:, 0], model.landmarks[:NUM_JAW])
    middle = model.mean[model.landmarks][NUM_JAW:].mean(0)
    offset = (model.mean[candidates] - middle)[..., :2]
    cosine = (torch.nn.functional.normalize(offset, dim=2) * outward[:, None, :2]).sum(2)
    assert cosine.min() > 0.99
    assert (candidates[:, 1:] != candidates[:, :1]).float().mean() > 0.7


@pytest.mark.parametrize("yaw", [-0.8, 0.8])
def test_on_a_turned_head_the_far_points_lie_on_the_contour_where_their_vertices_are_hidden(yaw):
    model = default_model()
    chosen, projected, normals = outermost((0.0, yaw, 0.0))
    far = slice(1, 6) if yaw > 0 else slice(11, 16)
    near = slice(11, 16) if yaw > 0 else slice(1, 6)
    own = model.landmarks[:NUM_JAW]
    assert normals[own[far], 2].max() < 0  # turned away
    assert normals[chosen[far], 2].abs().mean() < 0.3
    slid = torch.linalg.vector_norm((projected[chosen] - projected[own])[:, :2], dim=1)
    assert slid[far].mean() > 3 * slid[near].mean()


def test_chin_points_of_a_frontal_face_lie_on_its_lower_contour():
    model = default_model()
    chosen, projected, normals = outermost((0.0, 0.0, 0.0))
    lower = projected[chosen, 1] - projected[model.landmarks[:NUM_JAW], 1]
    assert (lower[6:11] > 1).all() and (lower[6:11] < 12).all()  # pixels of 1e-3 px per micrometre
    assert normals[chosen[6:11], 2].mean() < 0.5


def test_sliding_points_fit_a_contour_better_than_fixed_ones(monkeypatch):
    model = default_model()
    camera_turn = (0.05, 0.7, 0.0)
    chosen, projected, _ = outermost(camera_turn)
    points = projected[model.landmarks, :2].clone()
    points[:NUM_JAW] = projected[chosen, :2]
    rows = landmark_rows(model, False)
    errors = []
    for choices in (rows.choices, rows.choices[:, :1]):
        own = dataclasses.replace(rows, choices=choices)
        monkeypatch.setattr(landmark_fitting, "landmark_rows", lambda *_, own=own: own)
        fit = fit_landmarks(points[None], torch.ones(1, 68), model, five_points=False)
        shape_error = fit.identity.square().sum() + fit.expression.square().sum()
        errors.append(
            (float(shape_error), float((fit.camera.euler_xyz - torch.tensor(camera_turn)).abs().max()))
        )
    assert errors[0][0] < 0.2 and errors[0][1] < 0.01
    assert errors[1][0] > 2 * errors[0][0]


def test_five_rows_are_means_of_landmarks():
    model = default_model()
    rows = landmark_rows(model, True)
    landmarks = model.mean[model.landmarks]
    torch.testing.assert_close(rows.mean[1] * UNIT, landmarks[42:48].mean(0), rtol=1e-4, atol=1.0)
    torch.testing.assert_close(rows.mean[3] * UNIT, landmarks[48], rtol=1e-4, atol=1.0)
    moved = model.expression_basis[3][model.landmarks[36:42]].mean(0)
    torch.testing.assert_close(rows.basis[0, :, 199 + 3] * UNIT, moved, rtol=1e-3, atol=1.0)
    assert not rows.slides.any()
