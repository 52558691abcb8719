"""Light from texture: known lights come back, hair and shadows do not count, brightness is shared with the
skin."""

import torch

from facefill.geometry.illumination import LIGHT_PART_OF_BRIGHTNESS, estimate_illumination
from facefill.geometry.mesh import vertex_normals
from facefill.geometry.reconstruction import uv_normals
from facefill.geometry.spherical_harmonics import ambient_illumination, mirror_illumination, shade_maps
from facefill.geometry.uv_atlas import flip_uv
from tests.support.small_model import small_model_and_atlas


def scene(light: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Texture of the mean albedo, all of the atlas visible, normals and shading under `light`."""
    model, atlas = small_model_and_atlas()
    normals = vertex_normals(model.mean[None], model.triangles).expand(len(light), -1, -1)
    in_uv = uv_normals(normals, atlas)
    shading = shade_maps(in_uv, light)
    visible = atlas.face[None, None].float().expand(len(light), 1, -1, -1)
    return model.mean_albedo * shading * visible, visible, in_uv, shading


def lights(count: int = 3) -> torch.Tensor:
    """Lights from all sides whose mean over the small face is 1 in every channel."""
    light = ambient_illumination(count)
    light[:, :, 1:4] += 0.25 * torch.randn(count, 3, 3, generator=torch.Generator().manual_seed(0))
    _, visible, _, shading = scene(light)
    mean = (shading * visible).sum((2, 3)) / visible.sum((2, 3))
    return light / mean[:, :, None]


def relative_error(estimated: torch.Tensor, true: torch.Tensor) -> float:
    _, visible, _, expected = scene(true)
    _, _, _, shading = scene(estimated)
    return float((((shading / expected - 1).abs()) * visible).sum() / (3 * visible.sum()))


def test_known_light_comes_back():
    model, _ = small_model_and_atlas()
    light = lights()
    texture, visible, normals, _ = scene(light)
    assert relative_error(estimate_illumination(texture, visible, normals, model.mean_albedo), light) < 0.02
    assert relative_error(ambient_illumination(3), light) > 0.08


def test_dark_hair_over_a_fifth_of_the_face_does_not_count():
    model, _ = small_model_and_atlas()
    light = lights()
    texture, visible, normals, _ = scene(light)
    texture[:, :, 20:45] = 0.05
    assert relative_error(estimate_illumination(texture, visible, normals, model.mean_albedo), light) < 0.03


def test_hidden_texels_do_not_count():
    model, _ = small_model_and_atlas()
    light = lights()
    texture, visible, normals, _ = scene(light)
    visible = visible.clone()
    visible[:, :, :, 140:] = 0
    noise = torch.rand(texture.shape, generator=torch.Generator().manual_seed(1))
    estimates = [
        estimate_illumination(torch.where(visible > 0, texture, hidden), visible, normals, model.mean_albedo)
        for hidden in (torch.zeros_like(noise), noise)
    ]
    assert torch.equal(*estimates)


def test_a_darker_face_is_partly_skin_and_partly_light():
    model, _ = small_model_and_atlas()
    light = lights(1)
    texture, visible, normals, _ = scene(light)
    dark = estimate_illumination(0.4 * texture, visible, normals, model.mean_albedo)
    full = estimate_illumination(texture, visible, normals, model.mean_albedo)
    expected = full * 0.4**LIGHT_PART_OF_BRIGHTNESS
    torch.testing.assert_close(dark[:, :, 0], expected[:, :, 0], rtol=0.03, atol=0)
    assert 0 < LIGHT_PART_OF_BRIGHTNESS < 1


def test_nothing_visible_gives_white_ambient_light():
    model, atlas = small_model_and_atlas()
    empty = torch.zeros(1, 3, *atlas.face.shape)
    light = estimate_illumination(empty, empty[:, :1], empty, model.mean_albedo)
    torch.testing.assert_close(light, ambient_illumination(1))


def test_mirrored_texture_has_the_mirrored_light():
    model, _ = small_model_and_atlas()
    texture, visible, normals, _ = scene(lights())
    mirrored_normals = flip_uv(normals) * torch.tensor([-1.0, 1.0, 1.0]).view(1, 3, 1, 1)
    light = estimate_illumination(texture, visible, normals, model.mean_albedo)
    mirrored = estimate_illumination(flip_uv(texture), flip_uv(visible), mirrored_normals, model.mean_albedo)
    torch.testing.assert_close(mirrored, mirror_illumination(light), atol=0.02, rtol=0)


def test_estimates_do_not_depend_on_the_rest_of_the_batch():
    model, _ = small_model_and_atlas()
    texture, visible, normals, _ = scene(lights())
    together = estimate_illumination(texture, visible, normals, model.mean_albedo)
    alone = estimate_illumination(texture[1:2], visible[1:2], normals[1:2], model.mean_albedo)
    torch.testing.assert_close(together[1:2], alone, atol=2e-3, rtol=0)
