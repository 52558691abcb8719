"""Rotations as Euler angles, matrices and unit quaternions.

R = Rx·Ry·Rz of (pitch, yaw, roll) in radians, with Rx = [1 0 0; 0 c s; 0 -s c], Ry = [c 0 -s; 0 1 0; s 0 c]
and Rz = [c s 0; -s c 0; 0 0 1], as in the 300W-LP files. R acts on column vectors.
"""

import torch
from torch import Tensor
from torch.nn import functional

from facefill.geometry.shapes import check_shape


def matrix_from_euler_xyz(euler_xyz: Tensor) -> Tensor:  # (N, 3)
    """(N, 3, 3) rotation matrices Rx·Ry·Rz of (pitch, yaw, roll) in radians."""
    check_shape("euler_xyz", euler_xyz, "N", 3)
    sin_x, sin_y, sin_z = torch.sin(euler_xyz).unbind(1)
    cos_x, cos_y, cos_z = torch.cos(euler_xyz).unbind(1)
    zero = torch.zeros_like(sin_x)
    # Rows of Ry·Rz; Rx then mixes the second and the third.
    first = torch.stack((cos_y * cos_z, cos_y * sin_z, -sin_y), 1)
    second = torch.stack((-sin_z, cos_z, zero), 1)
    third = torch.stack((sin_y * cos_z, sin_y * sin_z, cos_y), 1)
    sin_x, cos_x = sin_x[:, None], cos_x[:, None]
    return torch.stack((first, cos_x * second + sin_x * third, cos_x * third - sin_x * second), 1)


def euler_xyz_from_matrix(matrix: Tensor) -> Tensor:  # (N, 3, 3)
    """(N, 3) pitch, yaw, roll in radians, yaw in [-π/2, π/2]; at ±π/2 roll is not unique, any is given."""
    check_shape("matrix", matrix, "N", 3, 3)
    pitch = torch.atan2(matrix[:, 1, 2], matrix[:, 2, 2])
    yaw = torch.atan2(-matrix[:, 0, 2], torch.hypot(matrix[:, 0, 0], matrix[:, 0, 1]))
    roll = torch.atan2(matrix[:, 0, 1], matrix[:, 0, 0])
    return torch.stack((pitch, yaw, roll), 1)


def quaternion_from_matrix(matrix: Tensor) -> Tensor:  # (N, 3, 3)
    """(N, 4) unit quaternions (w, x, y, z) with w >= 0; finite gradients everywhere, half turns included."""
    check_shape("matrix", matrix, "N", 3, 3)
    r = matrix.flatten(1).unbind(1)
    xx, yy, zz = r[0], r[4], r[8]
    wx, wy, wz = r[7] - r[5], r[2] - r[6], r[3] - r[1]
    xy, xz, yz = r[1] + r[3], r[2] + r[6], r[5] + r[7]
    # Row k is 4·q_k·(w, x, y, z); that of the largest q_k is far from zero, so normalising it is stable.
    rows = torch.stack(
        (
            torch.stack((1 + xx + yy + zz, wx, wy, wz), 1),
            torch.stack((wx, 1 + xx - yy - zz, xy, xz), 1),
            torch.stack((wy, xy, 1 - xx + yy - zz, yz), 1),
            torch.stack((wz, xz, yz, 1 - xx - yy + zz), 1),
        ),
        1,
    )
    largest = rows.diagonal(dim1=1, dim2=2).argmax(1)
    quaternion = functional.normalize(rows[torch.arange(len(rows), device=rows.device), largest], dim=1)
    return torch.where(quaternion[:, :1] < 0, -quaternion, quaternion)


def quaternion_squared_distance(a: Tensor, b: Tensor) -> Tensor:  # (N, 4), (N, 4)
    """(N,) squared distance of unit quaternions that does not tell q from -q, in [0, 2]."""
    check_shape("a", a, "N", 4)
    check_shape("b", b, "N", 4)
    return torch.minimum((a - b).square().sum(1), (a + b).square().sum(1))
