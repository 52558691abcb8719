"""Faces cut out of their pictures at one size, blurred from coarse to fine."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from facefill.geometry.landmark_fitting import Pose
from facefill.geometry.landmark_rows import UNIT
from facefill.geometry.morphable_model import MorphableModel
from facefill.geometry.photometric_rows import BLURS, gaussian_blur
from facefill.geometry.reconstruction import Fit
from facefill.geometry.texture import sample

CROP, PIXELS_PER_DECIMETRE = 160, 77.0  # a face is about 110 pixels wide
MOST_SAMPLES = 8  # per pixel and axis


@dataclass(frozen=True)
class FaceCrop:
    """One face resampled to CROP x CROP pixels, once per blur."""

    pictures: tuple[Tensor, ...]  # (1, 9, CROP, CROP): colour, its change per column, its change per row
    known: tuple[Tensor, ...]  # (1, 1, CROP, CROP) in [0, 1]


def crop_camera(fit: Fit, model: MorphableModel) -> tuple[Pose, Tensor, Tensor]:
    """The fit's camera in its crop, and the crop: (N, 2) the picture's pixel at its (0, 0), (N,) its zoom."""
    rotation = fit.camera.rotation
    scale = fit.camera.scale * UNIT
    zoom = PIXELS_PER_DECIMETRE / scale
    centre = model.mean[model.landmarks].mean(0) / UNIT
    seen = (rotation @ centre)[:, :2] * scale[:, None] * scale.new_tensor(
        (1.0, -1.0)
    ) + fit.camera.translation
    # the forehead reaches as far above the eyes as the chin below
    offset = seen - 0.5 * (CROP - 1) / zoom[:, None]
    pose = Pose(zoom * scale, rotation, (fit.camera.translation - offset) * zoom[:, None])
    return pose, offset, zoom


def crop_face(image: Tensor, hole: Tensor | None, offset: Tensor, zoom: Tensor) -> FaceCrop:
    """The face of an image (3, H, W), averaged over the crop's pixels and blurred."""
    factor = int((1 / zoom).ceil().clamp(1, MOST_SAMPLES))
    along = (torch.arange(CROP * factor, device=image.device) + 0.5) / factor - 0.5
    columns, rows = offset[0] + along / zoom, offset[1] + along / zoom
    position = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), 2)[None]
    height, width = image.shape[1:]
    inside = ((rows >= 0) & (rows <= height - 1))[:, None] & ((columns >= 0) & (columns <= width - 1))
    known = inside[None, None].to(image.dtype)
    if hole is not None:
        # a pixel that takes in any hidden one is hidden
        known = known * (sample(hole[None].to(image.dtype), position) == 0)
        image = torch.where(hole > 0, 0, image)
    picture = sample(image[None], position)
    picture = functional.avg_pool2d(picture * known, factor)
    known = functional.avg_pool2d(known, factor)
    pictures, masks = [], []
    for blur in BLURS:
        sigma = blur * PIXELS_PER_DECIMETRE
        mask = gaussian_blur(known, sigma)
        blurred = gaussian_blur(picture, sigma) / mask.clamp_min(1e-3)
        padded = functional.pad(blurred, (1, 1, 1, 1), mode="replicate")
        across = 0.5 * (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2])
        down = 0.5 * (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1])
        pictures.append(torch.cat((blurred, across, down), 1))
        masks.append(mask)
    return FaceCrop(tuple(pictures), tuple(masks))
