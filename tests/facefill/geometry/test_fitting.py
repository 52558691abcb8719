"""Landmark fits: known faces come back; outliers, missing points, turned heads, five points; whole fits."""

import numpy as np
import pytest
import torch

from facefill.geometry.camera import WeakPerspective, project
from facefill.geometry.default_model import default_model
from facefill.geometry.fitting import fit_faces
from facefill.geometry.landmark_fitting import fit_landmarks
from facefill.geometry.landmark_rows import NUM_JAW
from facefill.geometry.morphable_model import vertices_from_coefficients
from facefill.geometry.reconstruction import Fit, reconstruct
from facefill.geometry.spherical_harmonics import ambient_illumination
from facefill.geometry.texture import render
from tests.support.faces import degrees_between
from tests.support.small_model import small_model_and_atlas

SIZE = 128


def random_fit(count: int = 4, yaw: float = 0.2, seed: int = 0) -> Fit:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    euler = torch.stack((0.15 * normal(count), yaw * torch.sign(normal(count)), 0.3 * normal(count)), 1)
    camera = WeakPerspective(5e-4 * (1 + 0.1 * normal(count)), euler, SIZE / 2 + 5 * normal(count, 2))
    light = ambient_illumination(count)
    light[:, :, 1:4] += 0.15 * normal(count, 3, 3)
    return Fit(0.5 * normal(count, 199), 0.5 * normal(count, 29), camera, light)


def landmarks_of(fit: Fit) -> torch.Tensor:
    model, _ = small_model_and_atlas()
    vertices = vertices_from_coefficients(model, fit.identity, fit.expression)
    return project(vertices, fit.camera)[:, model.landmarks, :2]


def turn_error(a: Fit, b: Fit) -> torch.Tensor:
    """Degrees."""
    return degrees_between(a.camera.rotation, b.camera.rotation)


def inner_error(fit: Fit, points: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm(landmarks_of(fit) - points, dim=2)[:, NUM_JAW:]


def test_known_faces_come_back():
    model, _ = small_model_and_atlas()
    true = random_fit(8)
    points = landmarks_of(true)
    fit = fit_landmarks(points, torch.ones(8, 68), model, five_points=False)
    assert inner_error(fit, points).mean() < 0.3
    assert turn_error(fit, true).mean() < 3
    torch.testing.assert_close(fit.camera.scale, true.camera.scale, rtol=0.04, atol=0)
    assert torch.equal(fit.illumination, ambient_illumination(8))


def test_outliers_lose_their_weight():
    model, _ = small_model_and_atlas()
    true = random_fit(8)
    points = landmarks_of(true)
    wrong = points.clone()
    wrong[:, [20, 33, 40, 52, 60]] += torch.tensor([14.0, -11.0])
    fit = fit_landmarks(wrong, torch.ones(8, 68), model, five_points=False)
    kept = [k for k in range(NUM_JAW, 68) if k not in (20, 33, 40, 52, 60)]
    assert torch.linalg.vector_norm(landmarks_of(fit) - points, dim=2)[:, kept].mean() < 0.8
    assert turn_error(fit, true).mean() < 4


def test_points_without_weight_may_be_anything():
    model, _ = small_model_and_atlas()
    points = landmarks_of(random_fit(2))
    weights = torch.ones(2, 68)
    weights[:, [3, 25, 47, 61]] = 0
    fits = []
    for value in (0.0, 1e4, float("nan")):
        changed = points.clone()
        changed[weights == 0] = value
        fits.append(fit_landmarks(changed, weights, model, five_points=False))
    assert fits[2].identity.isfinite().all()
    torch.testing.assert_close(fits[0].identity, fits[1].identity)
    torch.testing.assert_close(fits[0].identity, fits[2].identity)
    assert inner_error(fits[0], points).mean() < 0.5


def test_size_and_place_of_the_picture_do_not_matter():
    model, _ = small_model_and_atlas()
    points, weights = landmarks_of(random_fit()), torch.ones(4, 68)
    small = fit_landmarks(points, weights, model, five_points=False)
    large = fit_landmarks(10 * points + 300, weights, model, five_points=False)
    torch.testing.assert_close(large.identity, small.identity, atol=2e-3, rtol=0)
    torch.testing.assert_close(large.camera.scale, 10 * small.camera.scale, rtol=1e-4, atol=0)
    torch.testing.assert_close(
        large.camera.translation, 10 * small.camera.translation + 300, atol=0.1, rtol=0
    )


def test_faces_of_a_batch_do_not_mix():
    model, _ = small_model_and_atlas()
    points, weights = landmarks_of(random_fit()), torch.ones(4, 68)
    together = fit_landmarks(points, weights, model, five_points=False)
    alone = fit_landmarks(points[2:3], weights[2:3], model, five_points=False)
    torch.testing.assert_close(together.identity[2:3], alone.identity, atol=1e-3, rtol=0)
    torch.testing.assert_close(together.camera.euler_xyz[2:3], alone.camera.euler_xyz, atol=1e-4, rtol=0)


def test_without_any_weight_the_fit_is_the_mean_face():
    model, _ = small_model_and_atlas()
    fit = fit_landmarks(landmarks_of(random_fit(1)), torch.zeros(1, 68), model, five_points=False)
    assert fit.identity.abs().max() < 0.1 and fit.camera.euler_xyz.isfinite().all()


def test_five_points_give_pose_and_place():
    model, _ = small_model_and_atlas()
    true = random_fit(8)
    true = Fit(0.2 * true.identity, 0.2 * true.expression, true.camera, true.illumination)
    points = landmarks_of(true)
    five = torch.cat((points[:, 36:48].unflatten(1, (2, 6)).mean(2), points[:, [30, 48, 54]]), 1)
    fit = fit_landmarks(five, torch.ones(8, 5), model, five_points=True)
    assert inner_error(fit, points).mean() < 2.5
    assert turn_error(fit, true).mean() < 12


def test_wrong_number_of_points_names_the_argument():
    model, _ = small_model_and_atlas()
    with pytest.raises(ValueError, match=r"landmarks: expected \(N, 5, 2\), got \(1, 68, 2\)"):
        fit_landmarks(torch.zeros(1, 68, 2), torch.ones(1, 68), model, five_points=True)


@pytest.mark.parametrize("num_points", [68, 5])
def test_whole_fit_explains_a_rendered_face(num_points):
    model, atlas = small_model_and_atlas()
    true = random_fit(2)
    if num_points == 5:
        true = Fit(0 * true.identity, 0 * true.expression, true.camera, true.illumination)
    scene = reconstruct(true, model, atlas, SIZE, SIZE)
    image = render((model.mean_albedo * scene.shading).clamp(0, 1), scene.fragments, model)
    points = landmarks_of(true)
    if num_points == 5:
        points = torch.cat((points[:, 36:48].unflatten(1, (2, 6)).mean(2), points[:, [30, 48, 54]]), 1)
    fit, residuals = fit_faces(image, points, torch.ones(2, num_points), model, atlas)
    assert residuals["landmark_px"].max() < 1 and residuals["photometric"].max() < 0.05
    again = reconstruct(fit, model, atlas, SIZE, SIZE)
    seen = render((model.mean_albedo * again.shading).clamp(0, 1), again.fragments, model)
    covered = (scene.fragments.triangle >= 0) & (again.fragments.triangle >= 0)
    assert (seen - image).abs().amax(1)[covered].mean() < 0.05
    assert covered.sum() > 0.9 * (scene.fragments.triangle >= 0).sum()


def test_the_mean_face_is_found_exactly():
    model, _ = small_model_and_atlas()
    euler = torch.tensor([[0.1, -0.3, 0.2]])
    camera = WeakPerspective(torch.tensor([5e-4]), euler, torch.tensor([[60.0, 66.0]]))
    points = project(model.mean[None], camera)[:, model.landmarks, :2]
    weights = torch.ones(1, 68)
    weights[:, :NUM_JAW] = 0
    fit = fit_landmarks(points, weights, model, five_points=False)
    torch.testing.assert_close(fit.camera.euler_xyz, euler, atol=2e-3, rtol=0)
    torch.testing.assert_close(fit.camera.translation, camera.translation, atol=0.1, rtol=0)
    assert fit.identity.abs().max() < 0.02 and fit.expression.abs().max() < 0.02


def test_photographs_are_fitted_within_a_pixel(realdata):
    """The inner 51 points of CelebA's 178 x 218 photographs, marked by dlib to whole pixels."""
    table = np.loadtxt(
        realdata / "celeba" / "landmarks68_dlib.csv", str, delimiter=",", skiprows=1, max_rows=80
    )
    found = table[table[:, 1] == "1"][:48, 2:].astype(np.float32)
    points = torch.from_numpy(found).unflatten(1, (68, 2))
    model = default_model()
    fit = fit_landmarks(points, torch.ones(len(points), 68), model, five_points=False)
    vertices = vertices_from_coefficients(model, fit.identity, fit.expression)
    distance = torch.linalg.vector_norm(project(vertices, fit.camera)[:, model.landmarks, :2] - points, dim=2)
    assert distance[:, NUM_JAW:].mean() < 1.1
    assert fit.identity.square().mean() < 1 and fit.expression.square().mean() < 1.5
    assert torch.rad2deg(fit.camera.euler_xyz).abs().amax(0)[[0, 2]].max() < 40
