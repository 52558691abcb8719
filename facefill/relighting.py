"""A face under another light: the picture times new brightness / old brightness, where the mesh is.

Texture = albedo × shading (paper 3.1), so the ratio keeps all detail that the model knows nothing
of. Outside the mesh no pixel changes.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from facefill.geometry.morphable_model import MorphableModel
from facefill.geometry.reconstruction import Fit, reconstruct
from facefill.geometry.shapes import check_shape
from facefill.geometry.spherical_harmonics import AMBIENT, LINEAR, shade, shade_maps
from facefill.geometry.texture import coverage, render
from facefill.geometry.uv_atlas import UVAtlas

FEATHER = 4  # pixels inside the mesh's outline over which the change sets in
LARGEST_CHANGE = 4.0  # of brightness: a shadow this deep holds nothing that could be brightened
DIRECTIONS = {
    "left": (-1.0, 0.2, 0.6),
    "above": (0.0, 1.0, 0.6),
    "front": (0.0, 0.0, 1.0),
    "right": (1.0, 0.2, 0.6),
}


def relight(
    image: Tensor,  # (N, 3, H, W) in [0, 1]
    fit: Fit,
    illumination: Tensor,  # (N, 3, 9)
    model: MorphableModel,
    atlas: UVAtlas,
) -> Tensor:
    """(N, 3, H, W) the image with its faces under `illumination`; equal to the image outside the mesh."""
    check_shape("image", image, "N", 3, "H", "W")
    mesh = reconstruct(fit, model, atlas, *image.shape[2:])
    new = shade_maps(mesh.uv_normals, illumination)
    brightness = new.mean(1, keepdim=True) / mesh.shading.mean(1, keepdim=True)
    # a fitted light's tint differs from side to side as no lamp's does: the tint changes as a whole
    tint = _tint(illumination) / _tint(fit.illumination)
    ratio = (brightness * tint[:, :, None, None]).clamp(1 / LARGEST_CHANGE, LARGEST_CHANGE)
    drawn = render(ratio, mesh.fragments, model)
    covered = coverage(mesh.fragments)
    size = 2 * FEATHER + 1
    share = avg_pool2d(covered, size, stride=1, padding=FEATHER, count_include_pad=False)
    weight = (2 * share - 1).clamp(0, 1) * covered
    changed = (image * (1 + weight * (drawn - 1))).clamp(0, 1)
    return torch.where(weight > 0, changed, image)


def light_from(fit: Fit, direction: tuple[float, float, float], part: float = 0.6) -> Tensor:
    """(N, 3, 9) a lamp in `direction` (x right, y up, z to the camera) with the tint of the fit's own light.

    part in [0, 1]: the lamp's share, the rest comes from everywhere. Skin half-way between the lamp and the
    camera keeps about its brightness: kept towards the camera, a lamp from the side would burn the cheek out.
    """
    brightness = _towards_camera(fit.illumination)
    length = math.hypot(*direction)
    x, y, z = (coordinate / length for coordinate in direction)
    lamp = torch.zeros_like(fit.illumination)
    lamp[..., 0] = (1 - part) / AMBIENT
    for place, coordinate in ((1, z), (2, y), (3, x)):
        lamp[..., place] = part * coordinate / LINEAR
    facing = (1 - part) + part * z
    return lamp * (2 * brightness / (1 + facing))[..., None]


def _towards_camera(illumination: Tensor) -> Tensor:
    """(N, 3) shading of skin that faces the camera."""
    normal = illumination.new_tensor((0.0, 0.0, 1.0)).expand(len(illumination), 1, 3)
    return shade(normal, illumination)[:, 0]


def _tint(illumination: Tensor) -> Tensor:
    """(N, 3) colour of the shading of skin that faces the camera, mean 1."""
    facing = _towards_camera(illumination)
    return facing / facing.mean(1, keepdim=True)
