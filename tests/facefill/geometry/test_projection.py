"""Projection of photographs into UV: compiled loops against torch, and pictures of known parts."""

import pytest
import torch

from facefill.geometry import compiled
from facefill.geometry.morphable_model import MorphableModel
from facefill.geometry.projection import LEAST_FACING, Projection, project_photographs, project_with_torch
from facefill.geometry.reconstruction import Fit, reconstruct, shift_fit
from facefill.geometry.uv_atlas import UVAtlas
from tests.support.faces import draw, model_and_atlas, random_fit

SIZE = 160


def faces(count: int = 3) -> tuple[torch.Tensor, Fit, MorphableModel, UVAtlas]:
    """Drawn photographs with their fits, one turned far to the side, one partly outside of its picture."""
    model, atlas = model_and_atlas()
    fit = random_fit(count, 3, (SIZE / 2, SIZE / 2 - 3))
    fit.camera.scale.mul_(SIZE / 256)
    fit.camera.euler_xyz[1:2] = torch.tensor([0.2, -0.9, 0.1])
    fit = shift_fit(fit, torch.tensor([[0.0, 0.0], [0.0, 0.0], [-80.0, 30.0]])[:count])
    with torch.no_grad():
        image, _ = draw(fit, model, atlas, SIZE)
    noise = 0.05 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    photographs = ((image + noise).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1)
    return photographs.contiguous(), fit, model, atlas


def by_torch_alone(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> Projection:
    with monkeypatch.context() as patch:
        patch.setattr(compiled, "numba_is_importable", lambda: False)
        return project_photographs(*arguments)  # type: ignore[arg-type]


def test_compiled_loops_agree_with_torch_to_one_grey_level(monkeypatch):
    arguments = faces()
    found, expected = project_photographs(*arguments), by_torch_alone(monkeypatch, *arguments)
    assert 0.1 < expected.visible.float().mean() < 0.6
    different = found.visible != expected.visible
    assert different.sum() <= 3  # a tolerance met to the last bit
    torch.testing.assert_close(found.projected, expected.projected)
    for own, other in ((found.texture, expected.texture), (found.albedo, expected.albedo)):
        apart = (own.int() - other.int()).abs()
        assert apart[expected.visible & found.visible].max() <= 1
        assert (apart > 1).float().mean() < 1e-4 and (apart > 0).float().mean() < 2e-3
        assert own.float().std() > 20


def test_the_parts_of_the_package_agree_with_the_whole():
    arguments = faces(1)
    found, expected = project_photographs(*arguments), project_with_torch(*arguments)
    for own, other in ((found.texture, expected.texture), (found.albedo, expected.albedo)):
        assert ((own.int() - other.int()).abs() > 1).float().mean() < 1e-4


def test_faces_do_not_mix_and_two_runs_are_the_same_to_the_last_bit():
    photographs, fit, model, atlas = faces()
    together = project_photographs(photographs, fit, model, atlas)
    again = project_photographs(photographs, fit, model, atlas)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        threaded = project_photographs(photographs, fit, model, atlas)
    finally:
        torch.set_num_threads(threads)
    for other in (again, threaded):
        assert torch.equal(together.texture, other.texture) and torch.equal(together.albedo, other.albedo)
        assert torch.equal(together.visible, other.visible)
    swapped = photographs.flip(0)
    first = project_photographs(torch.cat((photographs[:1], swapped[1:])), fit, model, atlas)
    assert torch.equal(first.texture[0], together.texture[0])


def test_visible_texels_face_the_camera_and_lie_in_the_picture():
    photographs, fit, model, atlas = faces()
    maps = project_photographs(photographs, fit, model, atlas)
    mesh = reconstruct(fit, model, atlas, SIZE, SIZE)
    assert not maps.visible[:, ~atlas.face].any()
    assert mesh.uv_normals[:, 2][maps.visible].min() > LEAST_FACING - 1e-4
    corners = mesh.projected[2, atlas.texel_vertices[maps.visible[2]], :2]
    places = (corners * atlas.texel_barycentric[maps.visible[2]][..., None]).sum(1)
    assert places.min() > -1e-3 and places.max() < SIZE - 1 + 1e-3
    assert maps.visible[2].sum() < 0.8 * maps.visible[0].sum()


def test_texture_over_albedo_is_the_shading():
    photographs, fit, model, atlas = faces(1)
    maps = project_photographs(photographs, fit, model, atlas)
    shading = reconstruct(fit, model, atlas, SIZE, SIZE).shading.permute(0, 2, 3, 1)
    seen = maps.visible & (maps.albedo > 60).all(3) & (maps.albedo < 255).all(3)
    ratio = maps.texture.float() / maps.albedo.float()
    assert seen.sum() > 8000 and (ratio - shading)[seen].abs().max() < 0.03


def test_a_picture_of_one_colour_fills_the_whole_atlas_with_it():
    _, fit, model, atlas = faces(1)
    maps = project_photographs(torch.full((1, SIZE, SIZE, 3), 177, dtype=torch.uint8), fit, model, atlas)
    assert maps.texture.eq(177).all()
