"""Shading by spherical harmonics, forward and backward, as machine code for the CPU.

The twin of `spherical_harmonics.shade_maps`, which it equals to rounding. Gradients by the light are summed
in a fixed order, so two runs agree to the last bit.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from facefill.geometry.compiled import images_of, run_each
from facefill.geometry.spherical_harmonics import AMBIENT, LINEAR, MINIMUM_SHADING, QUADRATIC, ZENITH

# Of the harmonics 1, z, y, x, 2z²-x²-y², yz, xz, xy, x²-y².
FACTORS = (AMBIENT, LINEAR, LINEAR, LINEAR, ZENITH, QUADRATIC, QUADRATIC, QUADRATIC, QUADRATIC / 2)
LANES = 16


def shade_maps_numba(normals: Tensor, illumination: Tensor) -> Tensor:  # (N, 3, H, W), (N, 3, 9)
    """(N, 3, H, W) shading as `spherical_harmonics.shade_maps` has it."""
    return _Shading.apply(normals, illumination)


class _Shading(Function):
    @staticmethod
    def forward(ctx: Any, normals: Tensor, illumination: Tensor) -> Tensor:
        shading = torch.empty(normals.shape)
        given = images_of(normals.flatten(2)), images_of(illumination), *_constants()
        run_each(fill_shading, len(normals), *given, images_of(shading.flatten(2)))
        ctx.save_for_backward(normals, illumination)
        return shading

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_shading: Tensor) -> tuple[Tensor, Tensor]:
        normals, illumination = ctx.saved_tensors
        by_normals = torch.empty(normals.shape)
        by_light = torch.empty(illumination.shape)
        given = images_of(normals.flatten(2)), images_of(illumination), *_constants()
        written = images_of(by_normals.flatten(2)), images_of(by_light)
        run_each(fill_shading_gradient, len(normals), *given, images_of(by_shading.flatten(2)), *written)
        return by_normals, by_light


def _constants() -> tuple[NDArray[np.float32], np.float32]:
    return np.array(FACTORS, np.float32), np.float32(MINIMUM_SHADING)


def fill_shading(
    normals: np.ndarray, light: np.ndarray, factors: np.ndarray, least: np.float32, shading: np.ndarray
) -> None:
    """Write the shading (3, T) of normals (3, T)."""
    for channel in range(3):
        ambient, by_z = factors[0] * light[channel, 0], factors[1] * light[channel, 1]
        by_y, by_x = factors[2] * light[channel, 2], factors[3] * light[channel, 3]
        zenith, by_yz = factors[4] * light[channel, 4], factors[5] * light[channel, 5]
        by_xz, by_xy = factors[6] * light[channel, 6], factors[7] * light[channel, 7]
        tesseral = factors[8] * light[channel, 8]
        for k in range(normals.shape[1]):
            x, y, z = normals[0, k], normals[1, k], normals[2, k]
            total = ambient + by_z * z + by_y * y + by_x * x
            total += zenith * (np.float32(2) * z * z - x * x - y * y)
            total += by_yz * y * z + by_xz * x * z + by_xy * x * y + tesseral * (x * x - y * y)
            shading[channel, k] = max(total, least)


def fill_shading_gradient(
    normals: np.ndarray,
    light: np.ndarray,
    factors: np.ndarray,
    least: np.float32,
    by_shading: np.ndarray,
    by_normals: np.ndarray,
    by_light: np.ndarray,
) -> None:
    """Write the gradients by normals (3, T) and by the light (3, 9), given that by the shading (3, T)."""
    two = np.float32(2)
    by_normals[:] = np.float32(0)
    # Sums over every sixteenth texel, which one instruction can add to, and then a gradient by the normals.
    sums = np.empty((12, LANES), np.float32)
    for channel in range(3):
        sums[:] = 0
        ambient, by_z = factors[0] * light[channel, 0], factors[1] * light[channel, 1]
        by_y, by_x = factors[2] * light[channel, 2], factors[3] * light[channel, 3]
        zenith, by_yz = factors[4] * light[channel, 4], factors[5] * light[channel, 5]
        by_xz, by_xy = factors[6] * light[channel, 6], factors[7] * light[channel, 7]
        tesseral = factors[8] * light[channel, 8]
        for start in range(0, normals.shape[1], LANES):
            lanes = min(LANES, normals.shape[1] - start)
            for lane in range(lanes):
                k = start + lane
                x, y, z = normals[0, k], normals[1, k], normals[2, k]
                second, fifth = two * z * z - x * x - y * y, x * x - y * y
                total = ambient + by_z * z + by_y * y + by_x * x
                total += zenith * second
                total += by_yz * y * z + by_xz * x * z + by_xy * x * y + tesseral * fifth
                given = by_shading[channel, k] if total >= least else np.float32(0)
                sums[0, lane] += given
                sums[1, lane] += given * z
                sums[2, lane] += given * y
                sums[3, lane] += given * x
                sums[4, lane] += given * second
                sums[5, lane] += given * (y * z)
                sums[6, lane] += given * (x * z)
                sums[7, lane] += given * (x * y)
                sums[8, lane] += given * fifth
                sums[9, lane] = given * (by_x + two * (tesseral - zenith) * x + by_xz * z + by_xy * y)
                sums[10, lane] = given * (by_y - two * (tesseral + zenith) * y + by_yz * z + by_xy * x)
                sums[11, lane] = given * (by_z + two * two * zenith * z + by_yz * y + by_xz * x)
            for axis in range(3):
                for lane in range(lanes):
                    by_normals[axis, start + lane] += sums[9 + axis, lane]
        for term in range(9):
            by_light[channel, term] = factors[term] * sums[term].sum()
