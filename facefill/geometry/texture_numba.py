"""The loops of `texture` as machine code for the CPU: where each texel lies and whether it is visible, and
the filling of what is hidden."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facefill.geometry.compiled import compiled, for_images, images_of, run_each
from facefill.geometry.texture import BEND, DEPTH_TOLERANCE, LARGEST_BEND, LARGEST_RISE, SMALLEST_AREA


def locate_numba(
    projected: Tensor, vertices: Tensor, weights: Tensor, depth: Tensor, model_height: float
) -> tuple[Tensor, Tensor]:
    """(N, T, 2) column and row and (N, T) bool, as `texture.locate` has them."""
    position = torch.empty(len(projected), len(vertices), 2)
    visible = torch.empty(len(projected), len(vertices), dtype=torch.bool)
    run_each(
        fill_texels,
        len(projected),
        images_of(projected),
        vertices.numpy(),
        weights.numpy(),
        images_of(depth),
        depth_limits(model_height),
        images_of(position),
        images_of(visible),
    )
    return position, visible


def depth_limits(model_height: float) -> NDArray[np.float32]:
    """(5,) least tolerance of depth, most that bending adds to it, part of the slope that is bending, most
    that a plane rises per pixel, smallest twice the area of a triangle.
    """
    parts = np.array([DEPTH_TOLERANCE, LARGEST_BEND, BEND, LARGEST_RISE, SMALLEST_AREA])
    return (parts * [model_height, model_height, 1, model_height, 1]).astype(np.float32)


def fill_texels(
    projected: np.ndarray,
    vertices: np.ndarray,
    weights: np.ndarray,
    depth: np.ndarray,
    limits: np.ndarray,  # (5,) of depth_limits
    position: np.ndarray,
    visible: np.ndarray,
) -> None:
    """Write the texels of one image; the formulas are those of `texture.locate`."""
    height, width = depth.shape
    least, most, bending, rise, smallest_area = limits[0], limits[1], limits[2], limits[3], limits[4]
    for texel in range(vertices.shape[0]):
        first, second, third = vertices[texel, 0], vertices[texel, 1], vertices[texel, 2]
        u, v, w = weights[texel, 0], weights[texel, 1], weights[texel, 2]
        column = projected[first, 0] * u + projected[second, 0] * v + projected[third, 0] * w
        row = projected[first, 1] * u + projected[second, 1] * v + projected[third, 1] * w
        own_depth = projected[first, 2] * u + projected[second, 2] * v + projected[third, 2] * w
        position[texel, 0], position[texel, 1] = column, row
        visible[texel] = False
        ax, ay = projected[second, 0] - projected[first, 0], projected[second, 1] - projected[first, 1]
        bx, by = projected[third, 0] - projected[first, 0], projected[third, 1] - projected[first, 1]
        twice_area = ay * bx - ax * by
        inside = 0 <= column <= width - 1 and 0 <= row <= height - 1
        if not (inside and twice_area > 0):
            continue
        az, bz = projected[second, 2] - projected[first, 2], projected[third, 2] - projected[first, 2]
        area = max(twice_area, smallest_area)
        across = min(max((ay * bz - by * az) / area, -rise), rise)
        down = min(max((bx * az - ax * bz) / area, -rise), rise)
        tolerance = least + min(bending * (abs(across) + abs(down)), most)
        left, top = min(int(column), width - 2), min(int(row), height - 2)
        seen = True
        for y in range(top, top + 2):
            for x in range(left, left + 2):
                there = own_depth + across * (np.float32(x) - column) + down * (np.float32(y) - row)
                if abs(depth[y, x] - there) > tolerance:
                    seen = False
        visible[texel] = seen


def fill_hidden_numba(uv_map: Tensor, known: Tensor) -> Tensor:  # (N, C, H, W), (N or 1, 1, H, W)
    """The map with its unknown texels filled, as `texture.fill_hidden` has it."""
    filled = uv_map.detach().clone(memory_format=torch.contiguous_format)
    planes, masks = images_of(filled), images_of(known[:, 0].float().expand(len(uv_map), -1, -1))
    for_images(lambda image: fill_planes(planes[image], masks[image]), len(filled))
    return filled


def fill_planes(planes: NDArray[np.float32], known: NDArray[np.float32]) -> None:
    """Fill planes (C, H, W) in place where `known` (H, W) is less than 1."""
    channels, height, width = planes.shape
    if height == 1 and width == 1:
        planes *= known
        return
    coarse = np.empty((channels, -(-height // 2), -(-width // 2)), np.float32)
    coarse_known = np.empty(coarse.shape[1:], np.float32)
    compiled(shrink_planes)(planes, known, coarse, coarse_known)
    fill_planes(coarse, coarse_known)
    compiled(blend_planes)(coarse, known, planes)


def shrink_planes(
    planes: np.ndarray, known: np.ndarray, coarse: np.ndarray, coarse_known: np.ndarray
) -> None:
    """Write the means of the known over cells of two by two, fewer at an odd border, and where some are."""
    channels, height, width = planes.shape
    pairs = width // 2
    means = np.empty(coarse.shape[2], np.float32)
    least, half = np.float32(1e-6), np.float32(0.5)
    for row in range(coarse.shape[1]):
        first, second = 2 * row, min(2 * row + 1, height - 1)  # at an odd border the same row twice
        for cell in range(pairs):
            upper = known[first, 2 * cell] + known[first, 2 * cell + 1]
            weight = (upper + (known[second, 2 * cell] + known[second, 2 * cell + 1])) * np.float32(0.25)
            means[cell] = weight
        if width % 2:
            means[pairs] = (known[first, width - 1] + known[second, width - 1]) * half
        for cell in range(len(means)):
            coarse_known[row, cell] = np.float32(1) if means[cell] > 0 else np.float32(0)
        for channel in range(channels):
            for cell in range(pairs):
                left, right = 2 * cell, 2 * cell + 1
                upper = planes[channel, first, left] * known[first, left]
                upper += planes[channel, first, right] * known[first, right]
                below = planes[channel, second, left] * known[second, left]
                below += planes[channel, second, right] * known[second, right]
                coarse[channel, row, cell] = (upper + below) * np.float32(0.25) / max(means[cell], least)
            if width % 2:
                upper = planes[channel, first, width - 1] * known[first, width - 1]
                below = planes[channel, second, width - 1] * known[second, width - 1]
                coarse[channel, row, pairs] = (upper + below) * half / max(means[pairs], least)


def blend_planes(coarse: np.ndarray, known: np.ndarray, planes: np.ndarray) -> None:
    """Put the bilinearly enlarged coarse planes where `known` is 0, a mixture where it is between 0 and 1."""
    channels, height, width = planes.shape
    rows, columns = coarse.shape[1:]
    mixed, smooth = np.empty(columns, np.float32), np.empty(width, np.float32)
    one, quarter, half = np.float32(1), np.float32(0.25), np.float32(0.5)
    per_row, per_column = np.float32(rows / height), np.float32(columns / width)
    for row in range(height):
        place = max((np.float32(row) + half) * per_row - half, np.float32(0))
        first = int(place)
        second, low = min(first + 1, rows - 1), place - np.float32(first)
        for channel in range(channels):
            for cell in range(columns):
                upper, below = coarse[channel, first, cell], coarse[channel, second, cell]
                mixed[cell] = upper * (one - low) + below * low
            if width == 2 * columns:
                smooth[0], smooth[width - 1] = mixed[0], mixed[columns - 1]
                for cell in range(columns - 1):
                    here, there = mixed[cell], mixed[cell + 1]
                    smooth[2 * cell + 1] = (one - quarter) * here + quarter * there
                    smooth[2 * cell + 2] = quarter * here + (one - quarter) * there
            else:
                for column in range(width):
                    across = max((np.float32(column) + half) * per_column - half, np.float32(0))
                    left = int(across)
                    right, share = min(left + 1, columns - 1), across - np.float32(left)
                    smooth[column] = mixed[left] * (one - share) + mixed[right] * share
            for column in range(width):
                own, weight = planes[channel, row, column], known[row, column]
                mixture = smooth[column] * (one - weight) + own * weight
                planes[channel, row, column] = own if weight >= one else mixture
