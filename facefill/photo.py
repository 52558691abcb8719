"""Complete a photograph of any size: align, complete, draw at the photograph's own resolution, keep the
rest byte-equal.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample

from facefill.alignment import (
    align_image,
    apply_similarity,
    celeba_hq_similarity,
    invert_similarity,
    resize_similarity,
)
from facefill.augmentation import ALIGNED, CENTRE, CROP
from facefill.completion import ITERATIONS, Completion, blend, complete
from facefill.errors import UserError
from facefill.geometry.camera import transform_camera
from facefill.geometry.reconstruction import Fit, reconstruct, shift_fit
from facefill.geometry.texture import coverage, render
from facefill.weights import FaceCompleter

# Where the five points lie in CelebA's aligned pictures (178×218).
CELEBA_ALIGNED_SIZE = (218, 178)
CELEBA_ALIGNED_POINTS = ((69.5, 111.5), (108.0, 111.5), (88.5, 133.0), (72.5, 152.0), (105.5, 152.0))
# Pixels around the hole that are drawn too: a seamless blend needs some of the face beside it.
MARGIN = 16


@dataclass(frozen=True)
class PhotoCompletion:
    """What completing a photograph gives.

    photo (H, W, 3) uint8, equal to the original outside the mask; iterations: the aligned 224 results,
    last the best; similarity (2, 3): photograph to aligned picture.
    """

    photo: NDArray[np.uint8]
    iterations: list[Completion]
    similarity: NDArray[np.float64]


def complete_photo(
    photo: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    similarity: NDArray[np.float64],
    completer: FaceCompleter,
    iterations: int = ITERATIONS,
) -> PhotoCompletion:
    """Complete the masked pixels of a photograph.

    photo (H, W, 3) uint8 RGB; mask (H, W), True = missing; similarity (2, 3) from `similarity_of`. Raises
    UserError if the mask has another size, is empty, or lies off the face, or for no iteration at all.
    """
    if iterations < 1:
        raise UserError(f"iterations: {iterations} refinement passes draw nothing; ask for 1 or more")
    if mask.shape != photo.shape[:2]:
        raise UserError(
            f"mask is {mask.shape[1]}x{mask.shape[0]} pixels, "
            f"the photograph {photo.shape[1]}x{photo.shape[0]}"
            "; make the mask in the photograph's size"
        )
    if not mask.any():
        raise UserError("mask is empty: paint the missing pixels white (above 127)")
    hidden = np.where(mask[..., None], np.uint8(128), photo)
    image, hole = aligned_crop(hidden, mask, similarity)
    if not bool(hole.any()):
        raise UserError("mask lies off the aligned face; check the landmarks or the mask")
    with torch.no_grad():
        results = complete(
            image, hole, completer.encoder, completer.inpainter, completer.model, completer.atlas, iterations
        )
        pasted = paste_back(hidden, mask, similarity, results[-1], completer)
    return PhotoCompletion(np.where(mask[..., None], pasted, photo), results, similarity)


def similarity_of(photo: NDArray[np.uint8], five: NDArray[np.floating] | None) -> NDArray[np.float64]:
    """The alignment (2, 3) of a photograph from its five points.

    Without points only two layouts are understood: CelebA's aligned 178×218 pictures, and square pictures
    that are already aligned the CelebA-HQ way.
    """
    height, width = photo.shape[:2]
    if five is not None:
        return celeba_hq_similarity(np.asarray(five, np.float64), ALIGNED)
    if (height, width) == CELEBA_ALIGNED_SIZE:
        return celeba_hq_similarity(np.array(CELEBA_ALIGNED_POINTS), ALIGNED)
    if height == width:
        return resize_similarity(width, height, ALIGNED)
    raise UserError(
        f"photograph of {width}x{height} pixels: where is the face? Give --landmarks with 5 or 68 points, "
        "or a picture aligned like CelebA (178x218) or CelebA-HQ (square)"
    )


def is_aligned(photo: NDArray[np.uint8]) -> bool:
    """Whether `similarity_of` understands the photograph without points."""
    height, width = photo.shape[:2]
    return height == width or (height, width) == CELEBA_ALIGNED_SIZE


def aligned_crop(
    photo: NDArray[np.uint8], mask: NDArray[np.bool_], similarity: NDArray[np.float64]
) -> tuple[Tensor, Tensor]:
    """Image (1, 3, 224, 224) in [0, 1] and hole (1, 1, 224, 224) in the frame of the networks."""
    aligned = align_image(photo, similarity, ALIGNED)
    spread = align_image(np.repeat(mask[..., None], 3, 2).astype(np.uint8) * 255, similarity, ALIGNED)
    inner = slice(CENTRE, CENTRE + CROP)
    image = torch.from_numpy(np.ascontiguousarray(aligned[inner, inner])).permute(2, 0, 1)[None] / 255
    hole = torch.from_numpy(np.ascontiguousarray(spread[inner, inner, :1])).permute(2, 0, 1)[None] > 0
    return image.float(), hole.float()


def mask_in_photo(
    crop: NDArray[np.bool_], similarity: NDArray[np.float64], height: int, width: int
) -> NDArray[np.bool_]:
    """A mask (224, 224) in the frame of the networks, drawn in a photograph of height x width.

    False everywhere outside the crop: unlike the pictures, a mask is not reflected at its border.
    """
    corners = np.array([[CENTRE, CENTRE], [CENTRE + CROP, CENTRE], [CENTRE, CENTRE + CROP]], np.float64)
    corners = np.vstack([corners, corners[1] + corners[2] - corners[0]]) - 0.5
    seen = apply_similarity(corners, invert_similarity(similarity))
    mask = np.zeros((height, width), bool)
    left, top = np.clip(np.floor(seen.min(0)).astype(int), 0, (width, height))
    right, bottom = np.clip(np.ceil(seen.max(0)).astype(int) + 1, 0, (width, height))
    if left >= right or top >= bottom:
        return mask
    columns, rows = np.arange(left, right)[None], np.arange(top, bottom)[:, None]
    # From pixel centres of the crop to grid_sample's -1..1 between its outer edges.
    grid = [(a * columns + b * rows + (c - CENTRE + 0.5)) * (2 / CROP) - 1 for a, b, c in similarity]
    share = grid_sample(
        torch.from_numpy(crop)[None, None].float(),
        torch.from_numpy(np.stack(grid, -1)).float()[None],
        padding_mode="zeros",
        align_corners=False,
    )
    mask[top:bottom, left:right] = (share[0, 0] > 0.5).numpy()
    return mask


def paste_back(
    photo: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    similarity: NDArray[np.float64],
    completion: Completion,
    completer: FaceCompleter,
) -> NDArray[np.uint8]:
    """Draw the completed face at the photograph's resolution under the mask; (H, W, 3) uint8.

    Masked pixels that the face does not cover are filled from around them.
    """
    rows, columns = np.nonzero(mask)
    around = (
        MARGIN + (np.ptp(rows) + np.ptp(columns)) // 8
    )  # of the face beside the hole, for a seamless blend
    top, left = max(int(rows.min() - around), 0), max(int(columns.min() - around), 0)
    window = (slice(top, int(rows.max() + around + 1)), slice(left, int(columns.max() + around + 1)))
    region = torch.from_numpy(np.ascontiguousarray(photo[window])).permute(2, 0, 1)[None] / 255
    hole = torch.from_numpy(np.ascontiguousarray(mask[window]))[None, None].float()
    fit = fit_in_photo(completion.fit, similarity, (left, top))
    mesh = reconstruct(fit, completer.model, completer.atlas, *region.shape[-2:])
    drawn = render(completion.texture, mesh.fragments, completer.model)
    region = blend(region, hole, drawn, coverage(mesh.fragments))
    out = photo.copy()
    out[window] = (region[0].permute(1, 2, 0) * 255).round().clamp(0, 255).byte().numpy()
    return out


def fit_in_photo(fit: Fit, similarity: NDArray[np.float64], offset: tuple[int, int]) -> Fit:
    """The fit of the 224 crop in the frame of the photograph's region that starts at `offset` (column,
    row).
    """
    aligned = shift_fit(fit, torch.tensor([[float(CENTRE), float(CENTRE)]]))
    square = np.vstack([similarity, [0, 0, 1]])
    inverse = np.linalg.inv(square)[:2]
    inverse[:, 2] -= offset
    return replace(aligned, camera=transform_camera(aligned.camera, torch.from_numpy(inverse).float()[None]))
