"""Random crops, flips and rectangles of training faces, each a function of the sample's own seed.

A flip mirrors everything that belongs to the face: pixels, landmarks (with their left and right names),
shape, pose, light and UV maps. A crop only moves the camera.
"""

import numpy as np
import torch
from torch import Tensor

from facefill.face_masks import random_rectangle_hole
from facefill.geometry.reconstruction import fit_from_vector, fit_to_vector, mirror_fit, shift_fit
from facefill.geometry.uv_atlas import flip_uv
from facefill.landmarks import MIRROR_68
from facefill.stages import Batch

ALIGNED = 256
CROP = 224
CENTRE = (ALIGNED - CROP) // 2


def sample_generator(seed: int, purpose: int) -> np.random.Generator:
    """Random numbers of one sample for one purpose, so that no purpose shifts another's."""
    return np.random.default_rng([int(seed), purpose])


def crop_and_flip(batch: Batch, mirror: Tensor, jitter: int = CENTRE) -> Batch:
    """Random flip and random 224 crop of every sample (supplementary 4.3).

    mirror: (228, 228) of the model. jitter: pixels that a crop may lie off the middle, at most 16.
    """
    generators = [sample_generator(int(seed), 0) for seed in batch["seed"]]
    flips = torch.tensor([g.random() < 0.5 for g in generators], device=batch["image"].device)
    corners = [g.integers(CENTRE - jitter, CENTRE + jitter + 1, 2) for g in generators]
    offsets = [(int(column), int(row)) for column, row in corners]
    return crop(flip(batch, flips, mirror), offsets)


def centre_crop(batch: Batch) -> Batch:
    """The crop of inference: 224 from the middle."""
    return crop(batch, [(CENTRE, CENTRE)] * len(batch["image"]))


def flip(batch: Batch, flips: Tensor, mirror: Tensor) -> Batch:
    """Mirror the samples where `flips` (N,) is true."""
    out = dict(batch)

    def where(mirrored: Tensor, original: Tensor) -> Tensor:
        return torch.where(flips.view(-1, *[1] * (original.ndim - 1)), mirrored, original)

    for name in ("image", "parsing"):
        if name in batch:
            out[name] = where(batch[name].flip(-1), batch[name])
    for name in ("uv_texture", "uv_albedo", "uv_visible"):
        if name in batch:
            out[name] = where(flip_uv(batch[name]), batch[name])
    if "landmarks" in batch:
        points = batch["landmarks"][:, list(MIRROR_68)]
        points = torch.stack([ALIGNED - 1 - points[..., 0], points[..., 1]], -1)
        out["landmarks"] = where(points, batch["landmarks"])
    if "fit" in batch:
        mirrored = fit_to_vector(mirror_fit(fit_from_vector(batch["fit"]), mirror, ALIGNED))
        out["fit"] = where(mirrored, batch["fit"])
    return out


def crop(batch: Batch, offsets: list[tuple[int, int]]) -> Batch:
    """Cut (column, row) offsets of size 224 out of every sample; the UV maps stay as they are."""
    out = dict(batch)
    for name in ("image", "parsing"):
        if name in batch:
            out[name] = torch.stack(
                [
                    pixels[..., row : row + CROP, column : column + CROP]
                    for pixels, (column, row) in zip(batch[name], offsets, strict=True)
                ]
            )
    moved = torch.tensor(offsets, dtype=torch.float32, device=batch["image"].device)
    if "landmarks" in batch:
        out["landmarks"] = batch["landmarks"] - moved[:, None]
    if "fit" in batch:
        out["fit"] = fit_to_vector(shift_fit(fit_from_vector(batch["fit"]), -moved))
    return out


def rectangles(batch: Batch, share: float = 1.0) -> Tensor:
    """(N, 1, 224, 224) random rectangles (authors' release), 1 = missing; a sample gets one with probability
    `share`.
    """
    holes = []
    for seed in batch["seed"]:
        generator = sample_generator(int(seed), 1)
        rectangle = random_rectangle_hole(generator, CROP, CROP)
        holes.append(rectangle if generator.random() < share else torch.zeros_like(rectangle))
    return torch.stack(holes).to(batch["image"].device)
