"""Fits as vectors, crops and mirrors; reconstruction against its parts."""

import pytest
import torch

from facefill.geometry.camera import WeakPerspective, project
from facefill.geometry.mesh import vertex_normals
from facefill.geometry.morphable_model import mirror_coefficients
from facefill.geometry.reconstruction import (
    FIT_SIZE,
    Fit,
    fit_from_vector,
    fit_to_vector,
    mirror_fit,
    reconstruct,
    shift_fit,
)
from facefill.geometry.spherical_harmonics import ambient_illumination, shade
from facefill.geometry.texture import render
from facefill.geometry.uv_atlas import flip_uv
from tests.support.small_model import small_model_and_atlas

SIZE = 112


def random_fit(count: int = 2, seed: int = 0) -> Fit:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    camera = WeakPerspective(
        4.5e-4 * (1 + 0.05 * normal(count)), 0.3 * normal(count, 3), SIZE / 2 + 3 * normal(count, 2)
    )
    light = ambient_illumination(count) + 0.15 * normal(count, 3, 9)
    return Fit(0.5 * normal(count, 199), 0.5 * normal(count, 29), camera, light)


def rendered(fit: Fit, uv_map: torch.Tensor) -> torch.Tensor:
    model, atlas = small_model_and_atlas()
    reconstruction = reconstruct(fit, model, atlas, SIZE, SIZE)
    return render(uv_map * reconstruction.shading, reconstruction.fragments, model)


def test_vector_has_the_documented_layout_and_gives_the_fit_back():
    fit = random_fit()
    vector = fit_to_vector(fit)
    assert vector.shape == (2, FIT_SIZE) and FIT_SIZE == 261
    assert torch.equal(vector[:, :199], fit.identity) and torch.equal(vector[:, 199:228], fit.expression)
    assert torch.equal(vector[:, 228], fit.camera.scale)
    assert torch.equal(vector[:, 229:232], fit.camera.euler_xyz)
    assert torch.equal(vector[:, 232:234], fit.camera.translation)
    assert torch.equal(vector[:, 243:252], fit.illumination[:, 1])
    assert torch.equal(fit_to_vector(fit_from_vector(vector)), vector)
    with pytest.raises(ValueError, match=r"vector: expected \(N, 261\), got \(2, 260\)"):
        fit_from_vector(vector[:, 1:])


def test_mirrored_fit_renders_the_flipped_image():
    model, _ = small_model_and_atlas()
    uv_map = torch.rand(2, 3, 24, 32, generator=torch.Generator().manual_seed(1))
    uv_map = torch.nn.functional.interpolate(uv_map, (192, 256), mode="bicubic").clamp(0, 1)
    fit = random_fit()
    flipped = rendered(fit, uv_map).flip(3)
    mirrored = rendered(mirror_fit(fit, mirror_coefficients(model), SIZE), flip_uv(uv_map))
    difference = (mirrored - flipped).abs().amax(1)
    assert flipped.amax() > 0.5
    # A silhouette pixel whose centre lies on the very edge may fall on either side of it.
    assert (difference > 2e-3).sum() <= 4 and (flipped - flipped.flip(3)).abs().mean() > 0.02


def test_mirror_twice_is_the_same_fit():
    model, _ = small_model_and_atlas()
    matrix = mirror_coefficients(model)
    vector = fit_to_vector(random_fit())
    again = fit_to_vector(mirror_fit(mirror_fit(fit_from_vector(vector), matrix, SIZE), matrix, SIZE))
    torch.testing.assert_close(again, vector)


def test_shifted_fit_renders_the_crop():
    fit = random_fit()
    uv_map = torch.ones(2, 3, 192, 256)
    whole = rendered(fit, uv_map)
    cropped = rendered(shift_fit(fit, torch.tensor([-8.0, -5.0])), uv_map)
    torch.testing.assert_close(cropped[:, :, : SIZE - 5, : SIZE - 8], whole[:, :, 5:, 8:], atol=2e-3, rtol=0)


def test_reconstruction_is_made_of_its_parts():
    model, atlas = small_model_and_atlas()
    fit = random_fit()
    reconstruction = reconstruct(fit, model, atlas, SIZE, SIZE)
    torch.testing.assert_close(reconstruction.projected, project(reconstruction.vertices, fit.camera))
    normals = vertex_normals(reconstruction.vertices, model.triangles) @ fit.camera.rotation.transpose(1, 2)
    torch.testing.assert_close(reconstruction.normals, normals)
    row, column = 100, 90
    corners = normals[:, atlas.texel_vertices[row, column]]
    normal = torch.nn.functional.normalize(
        (corners * atlas.texel_barycentric[row, column, :, None]).sum(1), dim=1
    )
    expected = shade(normal[:, None], fit.illumination)[:, 0]
    torch.testing.assert_close(reconstruction.shading[:, :, row, column], expected)


def test_every_part_of_the_fit_gets_a_gradient():
    model, atlas = small_model_and_atlas()
    vector = fit_to_vector(random_fit()).requires_grad_()
    reconstruction = reconstruct(fit_from_vector(vector), model, atlas, SIZE, SIZE)
    texture = model.mean_albedo * reconstruction.shading
    render(texture, reconstruction.fragments, model).square().sum().backward()
    assert vector.grad is not None and vector.grad.isfinite().all()
    assert (vector.grad != 0).float().mean() > 0.99
