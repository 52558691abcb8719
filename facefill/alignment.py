"""The CelebA-HQ alignment as one similarity: five points in, a 256 x 256 upright face out.

A similarity is (2, 3) float64, A·[column, row, 1]: it takes source pixels to aligned pixels, pixel centres at
integers in both. The quad is Progressive GAN's; its half-pixel additions are kept, so the pictures agree with
those made by the usual crop, pad and QUAD sequence.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facefill.errors import UserError

ALIGNED_SIZE = 256


def celeba_hq_similarity(five: NDArray[np.floating], size: int = ALIGNED_SIZE) -> NDArray[np.float64]:
    """The similarity of a face.

    five (5, 2): left eye, right eye, nose, left and right mouth corner (left = image left), source pixels.
    Raises UserError for points that are not finite or lie upon each other.
    """
    points = np.asarray(five, np.float64)
    if points.shape != (5, 2) or not np.isfinite(points).all():
        raise UserError(f"landmarks: expected five finite points, got {points.tolist()}")
    eyes = (points[0] + points[1]) / 2 + 0.5
    mouth = (points[3] + points[4]) / 2 + 0.5
    across, down = points[1] - points[0], mouth - eyes
    axis = across - _quarter_turn(down)
    if np.linalg.norm(axis) < 1e-6:
        raise UserError(f"landmarks: eyes and mouth lie upon each other: {points.tolist()}")
    axis *= max(2.0 * np.linalg.norm(across), 1.8 * np.linalg.norm(down)) / np.linalg.norm(axis)
    half_right, half_down = axis, _quarter_turn(axis)
    corner = eyes + 0.1 * down - half_right - half_down  # the top left pixel's outer corner
    linear = np.stack([half_right, half_down]) * (size / (2 * half_right @ half_right))
    return np.column_stack([linear, -linear @ corner - 0.5])


def resize_similarity(width: int, height: int, size: int = ALIGNED_SIZE) -> NDArray[np.float64]:
    """The similarity that only scales a square picture to `size`. Raises UserError if it is not square."""
    if width != height:
        raise UserError(
            f"picture of {width}x{height} pixels: an aligned face is square; align it by landmarks"
        )
    zoom = size / width
    shift = (zoom - 1) / 2  # pixel centres are at integers
    return np.array([[zoom, 0, shift], [0, zoom, shift]])


def apply_similarity(points: NDArray[np.floating], similarity: NDArray[np.floating]) -> NDArray[np.float64]:
    """Points (..., 2) in source pixels -> aligned pixels."""
    return np.asarray(points, np.float64) @ similarity[:, :2].T + similarity[:, 2]


def invert_similarity(similarity: NDArray[np.floating]) -> NDArray[np.float64]:
    """The similarity that takes aligned pixels back to source pixels."""
    linear = np.linalg.inv(np.asarray(similarity, np.float64)[:, :2])
    return np.column_stack([linear, -linear @ similarity[:, 2]])


def zoom_of(similarity: NDArray[np.floating]) -> float:
    """Aligned pixels per source pixel."""
    return float(np.sqrt(abs(np.linalg.det(similarity[:, :2]))))


def align_image(
    image: NDArray[np.uint8], similarity: NDArray[np.floating], size: int = ALIGNED_SIZE
) -> NDArray[np.uint8]:
    """The aligned picture (size, size, 3) of an image (H, W, 3) uint8; beyond its border it is reflected.

    Where the face shrinks, the picture is first reduced by area to at least twice the aligned resolution,
    then drawn finer than that and reduced again, so nothing aliases. OpenCV where it is installed, else
    torch, within a grey level.
    """
    zoom = zoom_of(similarity)
    image, matrix = _crop_to_face(image, np.asarray(similarity, np.float64), size)
    shrink = max(1, int(0.5 / zoom))
    if shrink > 1:
        image = _shrink(image, shrink)
        centre = (shrink - 1) / 2  # of the first block
        matrix = matrix @ np.array([[shrink, 0, centre], [0, shrink, centre], [0, 0, 1]])
    finer = math.ceil(1 / (zoom * shrink)) if zoom < 1 else 1
    matrix = matrix * finer
    matrix[:, 2] += (finer - 1) / 2
    return _three_channels(_shrink(_warp(_four_channels(image), matrix, finer * size), finer))


def _quarter_turn(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([-vector[1], vector[0]])


def _crop_to_face(
    image: NDArray[np.uint8], similarity: NDArray[np.float64], size: int
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """What the aligned picture can see of the image, and the similarity from there."""
    height, width = image.shape[:2]
    corners = np.array([[-0.5, -0.5], [size - 0.5, -0.5], [-0.5, size - 0.5], [size - 0.5, size - 0.5]])
    seen = apply_similarity(corners, invert_similarity(similarity))
    margin = 3 + 2 / zoom_of(similarity)
    left, top = np.floor(seen.min(0) - margin).astype(int)
    right, bottom = np.ceil(seen.max(0) + margin).astype(int) + 1
    if left <= 0 and top <= 0 and right >= width and bottom >= height:
        return image, similarity
    # Where the face reaches over a border, the reflection draws on the inside: keep that whole extent.
    left, right = (0, width) if left < 0 or right > width else (left, right)
    top, bottom = (0, height) if top < 0 or bottom > height else (top, bottom)
    moved = similarity.copy()
    moved[:, 2] += similarity[:, :2] @ np.array([left, top])
    return image[top:bottom, left:right], moved


def _shrink(image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Mean over factor x factor blocks; incomplete last blocks are completed by repeating the edge."""
    if factor == 1:
        return image
    height, width = image.shape[:2]
    rest = ((0, -height % factor), (0, -width % factor), (0, 0))
    if rest[0][1] or rest[1][1]:
        image = np.pad(image, rest, mode="edge")
    rows, columns = image.shape[0] // factor, image.shape[1] // factor
    cv2 = _opencv()
    if cv2 is not None:
        return cv2.resize(np.ascontiguousarray(image), (columns, rows), interpolation=cv2.INTER_AREA)
    blocks = image.reshape(rows, factor, columns, factor, image.shape[2])
    return np.rint(blocks.mean((1, 3))).astype(np.uint8)


def _four_channels(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image (H, W, 3) with one channel more where OpenCV warps it: the same values in half the time."""
    cv2 = _opencv()
    return image if cv2 is None else cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)


def _three_channels(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return image if image.shape[2] == 3 else _opencv().cvtColor(image, _opencv().COLOR_RGBA2RGB)


def _warp(image: NDArray[np.uint8], similarity: NDArray[np.float64], size: int) -> NDArray[np.uint8]:
    cv2 = _opencv()
    if cv2 is None:
        return _warp_with_torch(image, similarity, size)
    return cv2.warpAffine(
        np.ascontiguousarray(image),
        similarity,
        (size, size),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )


def _warp_with_torch(
    image: NDArray[np.uint8], similarity: NDArray[np.float64], size: int
) -> NDArray[np.uint8]:
    import torch

    height, width = image.shape[:2]
    rows, columns = np.mgrid[:size, :size]
    seen = apply_similarity(np.stack([columns, rows], -1), invert_similarity(similarity))
    grid = seen / np.array([max(width - 1, 1), max(height - 1, 1)]) * 2 - 1
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    warped = torch.nn.functional.grid_sample(
        pixels, torch.from_numpy(grid)[None].float(), padding_mode="reflection", align_corners=True
    )
    return warped[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy()


def _opencv() -> Any:
    try:
        import cv2
    except ImportError:
        return None
    return cv2
