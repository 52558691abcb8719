"""Rotations: the convention by hand-computed values, round trips, behaviour at singular points."""

import math

import pytest
import torch

from facefill.geometry.rotations import (
    euler_xyz_from_matrix,
    matrix_from_euler_xyz,
    quaternion_from_matrix,
    quaternion_squared_distance,
)


def random_euler(count: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(count, 3, generator=generator, dtype=torch.float64) - 0.5) * math.pi * 0.98


def test_matrix_is_the_product_of_the_three_axis_turns():
    for euler in random_euler(8):
        (sx, sy, sz), (cx, cy, cz) = torch.sin(euler).tolist(), torch.cos(euler).tolist()
        about_x = torch.tensor([[1, 0, 0], [0, cx, sx], [0, -sx, cx]], dtype=torch.float64)
        about_y = torch.tensor([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]], dtype=torch.float64)
        about_z = torch.tensor([[cz, sz, 0], [-sz, cz, 0], [0, 0, 1]], dtype=torch.float64)
        torch.testing.assert_close(matrix_from_euler_xyz(euler[None])[0], about_x @ about_y @ about_z)


def test_matrices_are_rotations_and_give_their_angles_back():
    euler = random_euler()
    matrix = matrix_from_euler_xyz(euler)
    torch.testing.assert_close(matrix @ matrix.transpose(1, 2), torch.eye(3).double().expand(64, 3, 3))
    torch.testing.assert_close(torch.linalg.det(matrix), torch.ones(64, dtype=torch.float64))
    torch.testing.assert_close(euler_xyz_from_matrix(matrix), euler)


def test_positive_yaw_turns_the_nose_to_the_image_left():
    nose = torch.tensor([0.0, 0.0, 1.0])
    turned = matrix_from_euler_xyz(torch.tensor([[0.0, 0.5, 0.0]]))[0] @ nose
    assert turned[0] < -0.4


def test_euler_angles_at_a_yaw_of_ninety_degrees_still_give_the_matrix():
    matrix = matrix_from_euler_xyz(torch.tensor([[0.3, math.pi / 2, 0.4]], dtype=torch.float64))
    torch.testing.assert_close(
        matrix_from_euler_xyz(euler_xyz_from_matrix(matrix)), matrix, atol=1e-7, rtol=0
    )


def matrix_from_quaternion(quaternion: torch.Tensor) -> torch.Tensor:
    w, x, y, z = quaternion.tolist()
    return torch.tensor(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ],
        dtype=torch.float64,
    )


def test_quaternion_describes_the_matrix_also_for_half_turns():
    matrices = [*matrix_from_euler_xyz(random_euler(16))]
    matrices += [
        torch.diag(torch.tensor(signs, dtype=torch.float64))
        for signs in ((1, -1, -1), (-1, 1, -1), (-1, -1, 1))
    ]
    for matrix in matrices:
        quaternion = quaternion_from_matrix(matrix[None])[0]
        assert quaternion[0] >= 0
        torch.testing.assert_close(matrix_from_quaternion(quaternion), matrix)


@pytest.mark.parametrize("signs", [(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)])
def test_quaternion_gradient_is_finite_at_the_identity_and_at_half_turns(signs):
    matrix = torch.diag(torch.tensor(signs, dtype=torch.float64))[None].requires_grad_()
    quaternion_from_matrix(matrix).sum().backward()
    assert matrix.grad is not None and matrix.grad.isfinite().all()


def test_quaternion_gradient():
    euler = random_euler(4).requires_grad_()
    assert torch.autograd.gradcheck(lambda e: quaternion_from_matrix(matrix_from_euler_xyz(e)), euler)


def test_quaternion_distance_does_not_see_the_sign():
    quaternion = quaternion_from_matrix(matrix_from_euler_xyz(random_euler()))
    assert quaternion_squared_distance(quaternion, -quaternion).max() < 1e-24
    assert quaternion_squared_distance(quaternion[:1], quaternion[1:2]) > 0.01


def test_shape_error_names_the_argument():
    with pytest.raises(ValueError, match=r"euler_xyz: expected \(N, 3\), got \(3,\)"):
        matrix_from_euler_xyz(torch.zeros(3))
