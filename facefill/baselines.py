"""Three fills without learning, to compare with: mean colour, mirror image, Telea's fast marching.

Each takes image (3, H, W) in [0, 1], hole (1, H, W), 1 = missing, and face (1, H, W), 1 = face, and returns
the image with new values under the hole; every other value is returned untouched.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from facefill.landmarks import INNER, MIRROR_68

TELEA_RADIUS = 3  # pixels, as in OpenCV's own example


def mean_fill(image: Tensor, hole: Tensor, face: Tensor) -> Tensor:
    """The mean colour of the visible face; of the whole visible image if none of the face is."""
    return torch.where(hole > 0, visible_mean(image, hole, face), image)


def visible_mean(image: Tensor, hole: Tensor, face: Tensor) -> Tensor:
    """(3, 1, 1) mean colour outside the hole, of the face if it shows."""
    visible = (face > 0) & (hole == 0)
    if not bool(visible.any()):
        visible = hole == 0
    return (image * visible).sum((1, 2), keepdim=True) / visible.sum().clamp(min=1)


def mirror_fill(image: Tensor, hole: Tensor, face: Tensor, landmarks: Tensor) -> Tensor:
    """The colour of the mirror point; the mean colour where that is hidden too, or is no face.

    landmarks (68, 2) pixels (column, row): they tell where the face's mirror line lies.
    """
    height, width = image.shape[1:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack((columns, rows, torch.ones_like(rows)), dim=-1).to(image)
    mirror_points = pixels @ mirror_map(landmarks).to(image).T
    grid = mirror_points / mirror_points.new_tensor([width - 1, height - 1]) * 2 - 1
    usable = ((hole == 0) & (face > 0)).to(image)
    sampled = functional.grid_sample(torch.cat((image, usable))[None], grid[None], align_corners=True)[0]
    # A neighbour that is hidden takes part in the bilinear sample, so all four must be usable.
    mirrored = torch.where(sampled[3:] > 0.999, sampled[:3], visible_mean(image, hole, face))
    return torch.where(hole > 0, mirrored, image)


def mirror_map(landmarks: Tensor) -> Tensor:
    """(2, 3) affine map that takes each inner landmark to its mirror landmark, by least squares.

    Affine and not a plain reflection: a turned head's mirror line may be shifted and its halves sheared.
    """
    points = landmarks.detach().double().cpu().numpy()
    inner = np.array(INNER)
    mirrored = points[np.array(MIRROR_68)[inner]]
    sources = np.column_stack((points[inner], np.ones(len(inner))))
    solution: NDArray[np.float64] = np.linalg.lstsq(sources, mirrored, rcond=None)[0]
    return torch.from_numpy(solution.T.copy())


def telea_fill(image: Tensor, hole: Tensor, face: Tensor) -> Tensor:
    """OpenCV's inpainting by fast marching (Telea 2004) on the 8-bit image; the face is not asked for."""
    import cv2

    pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
    missing = (hole[0] > 0).to(torch.uint8).cpu().numpy()
    filled = cv2.inpaint(pixels, missing, TELEA_RADIUS, cv2.INPAINT_TELEA)
    colours = torch.from_numpy(filled).permute(2, 0, 1).to(image) / 255
    return torch.where(hole > 0, colours, image)
