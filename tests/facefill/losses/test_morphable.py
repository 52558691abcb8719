"""The encoder's losses against hand values and slow twins."""

import math

import torch

from facefill.geometry.camera import WeakPerspective
from facefill.losses import morphable


def camera(
    scale: float = 1e-3, yaw: float = 0.0, column: float = 100.0, row: float = 100.0
) -> WeakPerspective:
    return WeakPerspective(
        torch.tensor([scale]), torch.tensor([[0.0, yaw, 0.0]]), torch.tensor([[column, row]])
    )


def test_shape_is_a_mean_square() -> None:
    assert morphable.shape_loss(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 4.0]])).item() == 2.5


def test_pose_terms_by_hand() -> None:
    assert math.isclose(morphable.scale_loss(camera(1.5e-3), camera(1e-3)).item(), 0.0625, rel_tol=1e-5)
    moved = morphable.translation_loss(camera(column=103, row=104), camera(), image_size=100)
    assert math.isclose(moved.item(), 0.05**2, rel_tol=1e-5)
    # a turn of 60 degrees: quaternions at 30 degrees, chord 2·sin(15°)
    turned = morphable.rotation_loss(camera(yaw=math.pi / 3), camera())
    assert math.isclose(turned.item(), (2 * math.sin(math.pi / 12)) ** 2, rel_tol=1e-5)


def test_texture_counts_visible_texels_only() -> None:
    predicted, target = torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, 2)
    target[..., 0] = 0.5
    visible = torch.tensor([[1.0, 0], [1, 0]]).reshape(1, 1, 2, 2)
    assert morphable.texture_loss(predicted, target, visible).item() == 0.25


def test_landmarks_by_hand() -> None:
    predicted, target = torch.zeros(1, 2, 2), torch.tensor([[[3.0, 4.0], [100, 100]]])
    loss = morphable.landmark_loss(predicted, target, torch.tensor([[2.0, 0.0]]), image_size=10)
    assert math.isclose(loss.item(), 0.25, rel_tol=1e-6)


def test_plain_distance_of_landmarks_by_hand() -> None:
    predicted, target = torch.zeros(1, 2, 2), torch.tensor([[[3.0, 4.0], [100, 100]]])
    loss = morphable.landmark_distance(predicted, target, torch.tensor([[2.0, 0.0]]), image_size=10)
    assert math.isclose(loss.item(), 0.5, rel_tol=1e-6)
    same = target.clone().requires_grad_()
    morphable.landmark_distance(same, target, torch.ones(1, 2), image_size=10).backward()
    assert same.grad is not None and same.grad.isfinite().all()


def test_unknown_landmarks_are_free() -> None:
    assert (
        morphable.landmark_loss(torch.ones(1, 2, 2), torch.zeros(1, 2, 2), torch.zeros(1, 2), 10).item() == 0
    )


def test_reconstruction_in_the_mask() -> None:
    rendered, image = (
        torch.zeros(1, 3, 1, 2),
        torch.tensor([[0.3, 0.9], [0.6, 0.9], [0.0, 0.9]]).reshape(1, 3, 1, 2),
    )
    mask = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 2)
    assert math.isclose(morphable.reconstruction_loss(rendered, image, mask).item(), 0.3, rel_tol=1e-6)


def test_symmetric_albedo_costs_nothing() -> None:
    half = torch.rand(1, 3, 4, 5)
    albedo = torch.cat((half, half.flip(-1)), dim=-1)
    face = torch.ones(1, 1, 4, 10)
    assert morphable.albedo_symmetry(albedo, face).item() == 0
    albedo[..., 0, 0] += 0.5
    assert math.isclose(morphable.albedo_symmetry(albedo, face).item(), 2 * 0.5 / 40, rel_tol=1e-5)


def test_constancy_equals_the_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    albedo, texture = (torch.rand(2, 3, 4, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    visible = (torch.rand(2, 1, 4, 5, generator=generator) > 0.3).double()
    total, weights = 0.0, 0.0
    for n in range(2):
        for row in range(4):
            for column in range(5):
                for other_row, other_column in ((row + 1, column), (row, column + 1)):
                    if other_row > 3 or other_column > 4:
                        continue
                    here, there = (n, slice(None), row, column), (n, slice(None), other_row, other_column)
                    if visible[here] * visible[there] == 0:
                        continue
                    c_here = texture[here] / (texture[here].sum() + 1e-6)
                    c_there = texture[there] / (texture[there].sum() + 1e-6)
                    weight = math.exp(-15 * (c_here - c_there).norm().item())
                    total += weight * (albedo[here] - albedo[there]).norm().item() ** 0.8
                    weights += weight
    found = morphable.albedo_constancy(albedo, texture, visible).item()
    assert weights > 1
    assert math.isclose(found, total / weights, rel_tol=1e-5)


def test_constancy_is_finite_where_albedo_is_constant() -> None:
    albedo = torch.full((1, 3, 4, 4), 0.5, requires_grad=True)
    morphable.albedo_constancy(albedo, torch.rand(1, 3, 4, 4), torch.ones(1, 1, 4, 4)).backward()
    assert albedo.grad is not None
    assert albedo.grad.isfinite().all()


def test_constancy_leaves_the_texture_alone() -> None:
    albedo, texture = torch.rand(1, 3, 4, 4, requires_grad=True), torch.rand(1, 3, 4, 4, requires_grad=True)
    morphable.albedo_constancy(albedo, texture, torch.ones(1, 1, 4, 4)).backward()
    assert texture.grad is None


def test_gradients() -> None:
    generator = torch.Generator().manual_seed(3)
    albedo = torch.rand(1, 3, 3, 3, generator=generator, dtype=torch.float64).requires_grad_(True)
    texture = torch.rand(1, 3, 3, 3, generator=generator, dtype=torch.float64)
    ones = torch.ones(1, 1, 3, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda values: morphable.albedo_constancy(values, texture, ones), (albedo,)
    )
    assert torch.autograd.gradcheck(lambda values: morphable.texture_loss(values, texture, ones), (albedo,))
