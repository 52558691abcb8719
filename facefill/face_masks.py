"""Holes: random rectangles for training, rectangles of a wanted size for evaluation, and how large a hole is.

1 = missing, everywhere. The mask ratio is area(hole ∩ face) / area(face); its bucket is its decile, so that
bucket 3 holds ratios from 0.3 up to 0.4.
"""

from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facefill.errors import UserError

NUM_BUCKETS = 10
SMALLEST_FACE = 400  # pixels; below, a tenth of the face is no rectangle to speak of
TRIES = 200

Mask = TypeVar("Mask", Tensor, NDArray[np.bool_])


def random_rectangle_hole(generator: np.random.Generator, height: int, width: int) -> Tensor:
    """A training rectangle (1, H, W), float, 1 = missing: corner in the second quarter, sides 1/4 to 3/4.

    The authors' generator: upper bounds exclusive, cut one pixel before the image's end.
    """
    hole = torch.zeros(1, height, width)
    top, bottom = random_span(generator, height)
    left, right = random_span(generator, width)
    hole[:, top:bottom, left:right] = 1
    return hole


def random_span(generator: np.random.Generator, size: int) -> tuple[int, int]:
    """First and past-last index of a rectangle's side."""
    start = int(generator.integers(size // 4, size // 2))
    length = int(generator.integers(size // 4, 3 * size // 4))
    return start, min(start + length, size - 1)


def rectangle_hole_with_ratio(
    face: NDArray[np.bool_], low: float, high: float, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """A random rectangle cut to the face (H, W) whose mask ratio lies in [low, high); 1 belongs to high = 1.

    Centre and proportions are drawn; the size follows by bisection. Raises UserError where the face is too
    small to hold such a hole.
    """
    if face.sum() < SMALLEST_FACE:
        raise UserError(
            f"face region of {int(face.sum())} pixels: too small for a hole, leave the picture out"
        )
    rows, columns = np.nonzero(face)
    for _ in range(TRIES):
        wanted = generator.uniform(low, high)
        chosen = generator.integers(len(rows))
        proportions = np.exp(generator.uniform(-0.5, 0.5))
        hole = grown_rectangle(face, rows[chosen], columns[chosen], proportions, wanted)
        ratio = mask_ratio(hole, face)
        if max(low, 1e-3) <= ratio and (ratio < high or high >= 1):
            return hole
    raise UserError(f"no rectangle with a mask ratio of {low:.2f} to {high:.2f} found; leave the picture out")


def grown_rectangle(
    face: NDArray[np.bool_], row: int, column: int, proportions: float, wanted: float
) -> NDArray[np.bool_]:
    """The rectangle about (row, column), cut to the face, of the largest mask ratio up to `wanted`."""

    def rectangle(size: float) -> NDArray[np.bool_]:
        half_height, half_width = round(size * proportions), round(size / proportions)
        hole = np.zeros_like(face)
        top, left = max(row - half_height, 0), max(column - half_width, 0)
        hole[top : row + half_height + 1, left : column + half_width + 1] = True
        return hole & face

    low, high = 0.0, 2.0 * max(face.shape)
    while high - low > 0.1:
        middle = (low + high) / 2
        if mask_ratio(rectangle(middle), face) <= wanted:
            low = middle
        else:
            high = middle
    return rectangle(low)


def mask_ratio(hole: Mask, face: Mask) -> Mask:
    """area(hole ∩ face) / area(face) over the last two axes: (..., H, W) of 0 and 1, twice -> (...)."""
    return (hole * face).sum((-2, -1)) / face.sum((-2, -1))


def bucket_of(ratio: float) -> int:
    """The decile 0..9 of a mask ratio in [0, 1]; 1 counts to the last."""
    return min(int(ratio * NUM_BUCKETS + 1e-9), NUM_BUCKETS - 1)
