"""What a photometric fit compares: the texels as a crop shows them, the model's colours there, and how those
change with every number that is fitted.

One face at a time: T texels, 3 channels.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from facefill.geometry.face_crop import CROP
from facefill.geometry.landmark_rows import UNIT
from facefill.geometry.photometric_rows import PhotometricRows
from facefill.geometry.spherical_harmonics import LINEAR, QUADRATIC, ZENITH, sh_basis
from facefill.geometry.texture import sample

# What part of an independent sample a texel stands for, per blur: neighbours err alike, the more so when
# blurred.
EVIDENCE = (0.03, 0.06, 0.15)
SPREADS = (0.02, 0.08)  # smallest and largest standard deviation of the residual, of [0, 1]
# Standard deviations beyond which a texel loses its weight (Geman-McClure), per blur: forgiving while the fit
# may be far off, strict in the end.
OUTLIERS = (1.5, 1.2, 0.9)
LEAST_FACING, WELL_FACING = 0.15, 0.4  # of the normal towards the camera
DEPTH_TOLERANCE = 3e3  # micrometres
TEXELS_AT_ONCE = 256  # of the Jacobian: all would take 8 MB


@dataclass(frozen=True)
class Texels:
    """The T texels of one face as its crop shows them."""

    place: Tensor  # (T, 3) camera frame, decimetres
    normal: Tensor  # (T, 3) unit, camera frame
    colour: Tensor  # (3, T)
    across: Tensor  # (3, T) change of the colour per pixel to the right
    down: Tensor  # (3, T) and downwards
    trust: Tensor  # (T,) in [0, 1]: seen, known and facing the camera


def texels_of(
    picture: Tensor,
    known: Tensor,
    scale: Tensor,
    vertices: Tensor,
    normals: Tensor,
    pixels: Tensor,
    depth: Tensor,
    rows: PhotometricRows,
) -> Texels:
    """What one crop shows at the texels."""
    corners = torch.cat((vertices, normals, pixels), 1)[rows.corners]
    place, normal, position = (corners * rows.barycentric[:, :, None]).sum(1).split((3, 3, 2), 1)
    normal = functional.normalize(normal, dim=1)
    found = sample(torch.cat((picture, known), 1), position[None, None])[0, :, 0]
    facing = normal[:, 2]
    column, row = position.round().long().clamp(0, CROP - 1).unbind(1)
    slope = (1 - facing.square()).clamp_min(0).sqrt() / facing.clamp_min(LEAST_FACING) * UNIT / scale
    in_front = place[:, 2] >= depth[row, column] - DEPTH_TOLERANCE - slope
    inside = ((position >= 0) & (position <= CROP - 1)).all(1)
    ramp = ((facing - LEAST_FACING) / (WELL_FACING - LEAST_FACING)).clamp(0, 1)
    trust = ramp * (2 * found[9] - 1).clamp(0, 1) * (in_front & inside)
    return Texels(place / UNIT, normal, found[:3], found[3:6], found[6:9], trust)


def colours(
    texels: Texels, light: Tensor, skin: Tensor, rows: PhotometricRows, level: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Residual (3, T) of the picture, albedo (3, T), harmonics (9, T), shading (3, T)."""
    albedo = rows.albedo[level] + torch.tensordot(skin, rows.albedo_basis[level], 1)
    harmonics = sh_basis(texels.normal).T
    shading = light.view(3, 9) @ harmonics
    return texels.colour - albedo * shading, albedo, harmonics, shading


def colour_jacobian(
    albedo: Tensor, harmonics: Tensor, shading: Tensor, rows: PhotometricRows, level: int
) -> Tensor:
    """(3, T, 27 + A) change of the model's colours by light and skin."""
    by_light = albedo.new_zeros(3, albedo.shape[1], 3, 9)
    for channel in range(3):
        by_light[channel, :, channel] = (albedo[channel] * harmonics).T
    by_skin = (rows.albedo_basis[level] * shading).permute(1, 2, 0)
    return torch.cat((by_light.flatten(2), by_skin), 2)


def geometry_changes(
    texels: Texels, albedo: Tensor, light: Tensor, scale: Tensor, rotation: Tensor
) -> tuple[Tensor, Tensor]:
    """Change of the model's colours less the picture's: (3, T, 6) by `moved`, and (3, T, 6) by a texel's
    place and normal.
    """
    # a texel that moves sees another pixel; one that turns is shaded differently
    move = -torch.stack((texels.across * scale, -texels.down * scale, torch.zeros_like(texels.down)), 2)
    turn = albedo[:, :, None] * torch.einsum(
        "cb,tbd->ctd", light.view(3, 9), _harmonics_by_normal(texels.normal)
    )
    spin = torch.linalg.cross(texels.place.expand_as(move), move) + torch.linalg.cross(
        texels.normal.expand_as(turn), turn
    )
    grow = (move * texels.place).sum(2, keepdim=True)
    shift = move[:, :, :2] * move.new_tensor((1.0, -1.0))
    return torch.cat((spin, grow, shift), 2), torch.cat((move @ rotation, turn @ rotation), 2)


def jacobian_blocks(
    by_camera: Tensor, by_place: Tensor, by_colour: Tensor, rows: PhotometricRows
) -> Iterator[Tensor]:
    """(3, B, 6 + 228 + 27 + A) change of the colours by everything that is fitted, some texels after the
    others.
    """
    for start in range(0, by_place.shape[1], TEXELS_AT_ONCE):
        some = slice(start, start + TEXELS_AT_ONCE)
        by_shape = by_place[:, some].transpose(0, 1) @ rows.bases[some]
        yield torch.cat((by_camera[:, some], by_shape.transpose(0, 1), by_colour[:, some]), 2)


def _harmonics_by_normal(normal: Tensor) -> Tensor:
    """(T, 9, 3) change of sh_basis with the normal (T, 3)."""
    x, y, z = normal.unbind(1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    table = (
        (zero, zero, zero),
        (zero, zero, LINEAR * one),
        (zero, LINEAR * one, zero),
        (LINEAR * one, zero, zero),
        (-2 * ZENITH * x, -2 * ZENITH * y, 4 * ZENITH * z),
        (zero, QUADRATIC * z, QUADRATIC * y),
        (QUADRATIC * z, zero, QUADRATIC * x),
        (QUADRATIC * y, QUADRATIC * x, zero),
        (QUADRATIC * x, -QUADRATIC * y, zero),
    )
    return torch.stack([torch.stack(row, 1) for row in table], 1)


def normal_equations(
    blocks: Iterable[Tensor], residual: Tensor, trust: Tensor, level: int
) -> tuple[Tensor, Tensor]:
    """Matrix (P, P) and right side (P,) of the robust least-squares step.

    blocks: the Jacobian (3, T, P) cut along its texels, in order; it is weighted in place.
    """
    size = residual.square().mean(0).sqrt()
    median = torch.where(trust > 0.5, size, torch.nan).nanmedian().nan_to_num()
    spread = (1.2 * median).clamp(*SPREADS)
    robust = (1 + (size / (OUTLIERS[level] * spread)).square()).square().reciprocal()
    weight = (trust * robust * EVIDENCE[level] / spread.square()).sqrt()
    matrix = right = residual.new_zeros(())
    stop = 0
    for block in blocks:
        start, stop = stop, stop + block.shape[1]
        some = slice(start, stop)
        flat = block.mul_(weight[some, None]).flatten(0, 1)
        matrix = matrix + flat.T @ flat
        right = right + flat.T @ (residual[:, some] * weight[some]).flatten()
    return matrix, right
