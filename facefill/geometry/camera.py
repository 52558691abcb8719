"""Weak perspective: from the model frame (micrometres, y up) to pixels (y down).

r = R·v ; column = scale·r_x + t_x ; row = t_y - scale·r_y ; depth = r_z in unscaled micrometres, larger =
nearer. Pixel centres are integers. The y-up model frame is left behind here and nowhere else.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from facefill.geometry.rotations import euler_xyz_from_matrix, matrix_from_euler_xyz
from facefill.geometry.shapes import check_shape


@dataclass(frozen=True)
class WeakPerspective:
    """One camera per face."""

    scale: Tensor  # (N,) pixels per micrometre, > 0
    euler_xyz: Tensor  # (N, 3) pitch, yaw, roll in radians
    translation: Tensor  # (N, 2) pixels (column, row) of the model's origin

    @property
    def rotation(self) -> Tensor:
        """(N, 3, 3) model frame to camera frame."""
        return matrix_from_euler_xyz(self.euler_xyz)


def project(vertices: Tensor, camera: WeakPerspective) -> Tensor:  # (N, V, 3)
    """(N, V, 3) of column and row in pixels and depth in micrometres (larger = nearer)."""
    check_shape("vertices", vertices, "N", "V", 3)
    scale = camera.scale[:, None]
    # The image's scale and its downward rows go into the 3x3 matrix: one pass over the vertices.
    axes = torch.stack((scale, -scale, torch.ones_like(scale)), 1)
    offset = torch.cat((camera.translation, torch.zeros_like(scale)), 1)
    return torch.baddbmm(offset[:, None], vertices, (axes * camera.rotation).transpose(1, 2))


def transform_camera(camera: WeakPerspective, similarity: Tensor) -> WeakPerspective:  # (N, 2, 3)
    """The camera of the image that `similarity` makes: new (column, row) = A·(column, row, 1).

    A turns, scales and shifts; it neither mirrors nor shears. Depth stays as it is.
    """
    check_shape("similarity", similarity, "N", 2, 3)
    linear = similarity[:, :, :2]
    cosine = linear[:, 0, 0] + linear[:, 1, 1]
    sine = linear[:, 1, 0] - linear[:, 0, 1]
    angle = torch.atan2(sine, cosine)
    zero = torch.zeros_like(angle)
    # A turn of the image by `angle` (clockwise to the eye) is Rz(angle) in the y-up camera frame.
    turn = matrix_from_euler_xyz(torch.stack((zero, zero, angle), 1))
    translation = (linear @ camera.translation[:, :, None])[:, :, 0] + similarity[:, :, 2]
    return WeakPerspective(
        scale=camera.scale * torch.hypot(cosine, sine) / 2,
        euler_xyz=euler_xyz_from_matrix(turn @ camera.rotation),
        translation=translation,
    )


def mirror_camera(camera: WeakPerspective, width: int) -> WeakPerspective:
    """The camera under which the mirrored face gives the mirrored image (column -> width - 1 - column)."""
    signs = camera.euler_xyz.new_tensor((1.0, -1.0, -1.0))
    column, row = camera.translation.unbind(1)
    return WeakPerspective(
        scale=camera.scale,
        euler_xyz=camera.euler_xyz * signs,
        translation=torch.stack((width - 1 - column, row), 1),
    )
