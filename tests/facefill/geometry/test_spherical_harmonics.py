"""Spherical harmonics: the basis by its printed numbers, linearity, mirror, and the side that is lit."""

import torch
from torch.nn import functional

from facefill.geometry.spherical_harmonics import (
    MINIMUM_SHADING,
    ambient_illumination,
    mirror_illumination,
    sh_basis,
    shade,
    shade_maps,
)


def normals(count: int = 2) -> torch.Tensor:
    return functional.normalize(torch.randn(count, 50, 3, generator=torch.Generator().manual_seed(0)), dim=2)


def test_basis_has_the_printed_numbers():
    basis = sh_basis(torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [0.6, 0.0, 0.8], [0.6, 0.8, 0.0]]))
    expected = torch.tensor(
        [
            [0.28209, 0, 0, 1.02333, -0.24771, 0, 0, 0, 0.42905],
            [0.28209, 0, 1.02333, 0, -0.24771, 0, 0, 0, -0.42905],
            [0.28209, 1.02333, 0, 0, 2 * 0.24771, 0, 0, 0, 0],
            [0.28209, 0.8 * 1.02333, 0, 0.6 * 1.02333, 0.92 * 0.24771, 0, 0.48 * 0.85809, 0, 0.36 * 0.42905],
            [0.28209, 0, 0.8 * 1.02333, 0.6 * 1.02333, -0.24771, 0, 0, 0.48 * 0.85809, -0.28 * 0.42905],
        ]
    )
    torch.testing.assert_close(basis, expected, atol=2e-5, rtol=0)


def test_light_from_the_right_brightens_what_faces_right():
    illumination = ambient_illumination(1)
    illumination[0, :, 3] = 0.3
    shading = shade(torch.tensor([[[1.0, 0, 0], [-1.0, 0, 0]]]), illumination)
    assert (shading[0, 0] > 1.2).all() and (shading[0, 1] < 0.8).all()


def test_ambient_light_is_the_same_everywhere():
    torch.testing.assert_close(shade(normals(), ambient_illumination(2, 0.7)), torch.full((2, 50, 3), 0.7))


def test_shading_is_linear_above_its_floor_and_never_below():
    one, two = (
        ambient_illumination(2),
        0.05 * torch.randn(2, 3, 9, generator=torch.Generator().manual_seed(1)),
    )
    together = shade(normals(), one + two)
    apart = shade(normals(), one + 0.5 * two) * 2 - shade(normals(), one)
    torch.testing.assert_close(together, apart)
    assert shade(normals(), -one).eq(MINIMUM_SHADING).all()


def test_channels_and_pictures_keep_their_places():
    illumination = ambient_illumination(2)
    illumination[:, 1] *= 2
    shading = shade(normals().view(2, 5, 10, 3), illumination)
    assert shading.shape == (2, 5, 10, 3)
    torch.testing.assert_close(shading[..., 1], 2 * shading[..., 0])


def test_mirrored_light_on_mirrored_normals():
    light = ambient_illumination(2) + 0.2 * torch.randn(2, 3, 9, generator=torch.Generator().manual_seed(2))
    mirrored_normals = normals() * torch.tensor([-1.0, 1.0, 1.0])
    assert torch.equal(shade(mirrored_normals, mirror_illumination(light)), shade(normals(), light))


def test_maps_are_shaded_as_points_are():
    light = ambient_illumination(2) + 0.2 * torch.randn(2, 3, 9, generator=torch.Generator().manual_seed(2))
    points = normals().view(2, 5, 10, 3)
    torch.testing.assert_close(
        shade_maps(points.permute(0, 3, 1, 2), light).permute(0, 2, 3, 1), shade(points, light)
    )
