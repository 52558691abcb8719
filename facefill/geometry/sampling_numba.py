"""Bilinear samples of pictures, forward and backward, as machine code for the CPU.

The twin of `texture.sample`, which it equals to rounding. Gradients of a pixel are summed in the order of the
positions, so two runs agree to the last bit.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from facefill.geometry.compiled import images_of, run_each


def sample_numba(picture: Tensor, positions: Tensor) -> Tensor:  # (N, C, H, W), (N, h, w, 2)
    """(N, C, h, w) samples as `texture.sample` has them."""
    return _Samples.apply(picture, positions)


class _Samples(Function):
    @staticmethod
    def forward(ctx: Any, picture: Tensor, positions: Tensor) -> Tensor:
        samples = torch.empty(*picture.shape[:2], *positions.shape[1:3])
        given = images_of(picture), images_of(positions.flatten(1, 2))
        run_each(fill_samples, len(samples), *given, images_of(samples.flatten(2)))
        ctx.save_for_backward(picture, positions)
        return samples

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_samples: Tensor) -> tuple[Tensor | None, Tensor | None]:
        picture, positions = ctx.saved_tensors
        wanted_picture, wanted_positions = ctx.needs_input_grad
        by_picture, by_positions = torch.zeros(picture.shape), torch.zeros(positions.shape)
        given = images_of(picture), images_of(positions.flatten(1, 2)), images_of(by_samples.flatten(2))
        if wanted_picture:
            written = images_of(by_picture)
            run_each(fill_picture_gradient, len(picture), *given[1:], written)
        if wanted_positions:
            written = images_of(by_positions.flatten(1, 2))
            run_each(fill_position_gradient, len(picture), *given, written)
        return by_picture if wanted_picture else None, by_positions if wanted_positions else None


def fill_samples(picture: np.ndarray, positions: np.ndarray, samples: np.ndarray) -> None:
    """Write the samples (C, P) of a picture (C, H, W) at positions (P, 2) of column and row."""
    channels, height, width = picture.shape
    last_column, last_row, zero = np.float32(width - 1), np.float32(height - 1), np.float32(0)
    for k in range(len(positions)):
        # what is not a number is 0 too
        column = min(positions[k, 0], last_column) if positions[k, 0] > zero else zero
        row = min(positions[k, 1], last_row) if positions[k, 1] > zero else zero
        left, top = int(column), int(row)
        right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
        across, down = column - np.float32(left), row - np.float32(top)
        for channel in range(channels):
            first, second = picture[channel, top, left], picture[channel, top, right]
            third, fourth = picture[channel, bottom, left], picture[channel, bottom, right]
            upper, lower = first + across * (second - first), third + across * (fourth - third)
            samples[channel, k] = upper + down * (lower - upper)


def fill_picture_gradient(positions: np.ndarray, by_samples: np.ndarray, by_picture: np.ndarray) -> None:
    """Add the gradient by the picture (C, H, W), given that by its samples (C, P)."""
    channels, height, width = by_picture.shape
    last_column, last_row = np.float32(width - 1), np.float32(height - 1)
    zero, one = np.float32(0), np.float32(1)
    for k in range(len(positions)):
        column = min(positions[k, 0], last_column) if positions[k, 0] > zero else zero
        row = min(positions[k, 1], last_row) if positions[k, 1] > zero else zero
        left, top = int(column), int(row)
        right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
        across, down = column - np.float32(left), row - np.float32(top)
        for channel in range(channels):
            given = by_samples[channel, k]
            by_picture[channel, top, left] += given * (one - across) * (one - down)
            by_picture[channel, top, right] += given * across * (one - down)
            by_picture[channel, bottom, left] += given * (one - across) * down
            by_picture[channel, bottom, right] += given * across * down


def fill_position_gradient(
    picture: np.ndarray, positions: np.ndarray, by_samples: np.ndarray, by_positions: np.ndarray
) -> None:
    """Write the gradient by the positions (P, 2) into zeros; 0 where the border is repeated."""
    channels, height, width = picture.shape
    last_column, last_row, zero = np.float32(width - 1), np.float32(height - 1), np.float32(0)
    for k in range(len(positions)):
        column = min(positions[k, 0], last_column) if positions[k, 0] > zero else zero
        row = min(positions[k, 1], last_row) if positions[k, 1] > zero else zero
        left, top = int(column), int(row)
        right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
        across, down = column - np.float32(left), row - np.float32(top)
        by_column, by_row = zero, zero
        for channel in range(channels):
            first, second = picture[channel, top, left], picture[channel, top, right]
            third, fourth = picture[channel, bottom, left], picture[channel, bottom, right]
            upper, lower = second - first, fourth - third
            by_column += by_samples[channel, k] * (upper + down * (lower - upper))
            lefts, rights = third - first, fourth - second
            by_row += by_samples[channel, k] * (lefts + across * (rights - lefts))
        by_positions[k, 0] = by_column if zero < column < last_column else zero
        by_positions[k, 1] = by_row if zero < row < last_row else zero
