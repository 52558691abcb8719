"""Shading by nine spherical harmonics per colour channel, for Lambertian skin.

shading = basis(normal) · illumination, with the attenuated basis of the release; normals are in the
camera frame (x right, y up, z to the camera), so the light stays with the photograph when the head turns.
"""

import math

import torch
from torch import Tensor

from facefill.geometry.compiled import may_run_loops
from facefill.geometry.shapes import check_shape

# Shading is clamped below here, so that albedo = texture / shading stays bounded. The released code clamps at
# 0.5, which makes every deep shadow part of the skin.
MINIMUM_SHADING = 0.25

AMBIENT = 1 / math.sqrt(4 * math.pi)
LINEAR = (2 * math.pi / 3) * math.sqrt(3 / (4 * math.pi))
QUADRATIC = (math.pi / 4) * 3 * math.sqrt(5 / (12 * math.pi))
ZENITH = (math.pi / 4) * 0.5 * math.sqrt(5 / (4 * math.pi))

# x, x·z and x·y change sign in a mirror.
MIRROR_SIGNS = (1.0, 1.0, 1.0, -1.0, 1.0, 1.0, -1.0, -1.0, 1.0)


def sh_basis(normals: Tensor, dim: int = -1) -> Tensor:  # (..., 3) unit
    """(..., 9) values of the nine harmonics in the order 1, z, y, x, 2z²-x²-y², yz, xz, xy, x²-y².

    `dim` is where the 3 stands and the 9 shall stand.
    """
    x, y, z = normals.unbind(dim)
    return torch.stack(
        (
            torch.full_like(x, AMBIENT),
            LINEAR * z,
            LINEAR * y,
            LINEAR * x,
            ZENITH * (2 * z * z - x * x - y * y),
            QUADRATIC * y * z,
            QUADRATIC * x * z,
            QUADRATIC * x * y,
            0.5 * QUADRATIC * (x * x - y * y),
        ),
        dim,
    )


def shade(normals: Tensor, illumination: Tensor) -> Tensor:  # (N, ..., 3) unit, (N, 3, 9)
    """(N, ..., 3) shading of red, green, blue, at least MINIMUM_SHADING (no gradient where that holds)."""
    check_shape("illumination", illumination, "N", 3, 9)
    basis = sh_basis(normals)
    shading = torch.bmm(basis.flatten(1, -2), illumination.transpose(1, 2))
    return shading.reshape(*basis.shape[:-1], 3).clamp_min(MINIMUM_SHADING)


def shade_maps(normals: Tensor, illumination: Tensor) -> Tensor:  # (N, 3, H, W) unit, (N, 3, 9)
    """(N, 3, H, W) the same for normals that come as maps."""
    check_shape("normals", normals, "N", 3, "H", "W")
    check_shape("illumination", illumination, len(normals), 3, 9)
    if may_run_loops(normals, illumination):
        from facefill.geometry.shading_numba import shade_maps_numba

        return shade_maps_numba(normals, illumination)
    shading = torch.bmm(illumination, sh_basis(normals, dim=1).flatten(2))
    return shading.view(normals.shape).clamp_min(MINIMUM_SHADING)


def ambient_illumination(count: int, brightness: float = 1.0) -> Tensor:
    """(count, 3, 9) white light from everywhere: shading = brightness for every normal."""
    illumination = torch.zeros(count, 3, 9)
    illumination[:, :, 0] = brightness / AMBIENT
    return illumination


def mirror_illumination(illumination: Tensor) -> Tensor:  # (N, 3, 9)
    """(N, 3, 9) the light of the photograph mirrored left to right."""
    check_shape("illumination", illumination, "N", 3, 9)
    return illumination * illumination.new_tensor(MIRROR_SIGNS)
