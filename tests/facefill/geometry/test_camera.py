"""Weak perspective: where known points land, and cameras of transformed and mirrored images."""

import math

import torch

from facefill.geometry.camera import WeakPerspective, mirror_camera, project, transform_camera


def cameras(count: int = 5) -> WeakPerspective:
    generator = torch.Generator().manual_seed(1)
    uniform = torch.rand(count, 6, generator=generator, dtype=torch.float64)
    return WeakPerspective(
        scale=5e-4 + 1e-3 * uniform[:, 0],
        euler_xyz=2.8 * (uniform[:, 1:4] - 0.5),
        translation=224 * uniform[:, 4:],
    )


def vertices(count: int = 5) -> torch.Tensor:
    return 1e5 * torch.randn(count, 40, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def test_projection_of_axes():
    camera = WeakPerspective(torch.tensor([1e-3]), torch.zeros(1, 3), torch.tensor([[112.0, 100.0]]))
    axes = 1e4 * torch.eye(3)[None]
    expected = torch.tensor([[[122.0, 100.0, 0.0], [112.0, 90.0, 0.0], [112.0, 100.0, 1e4]]])
    torch.testing.assert_close(project(axes, camera), expected)


def test_depth_is_the_unscaled_third_rotated_coordinate():
    camera = cameras()
    rotated = vertices() @ camera.rotation.transpose(1, 2)
    torch.testing.assert_close(project(vertices(), camera)[:, :, 2], rotated[:, :, 2])


def test_camera_of_a_transformed_image():
    camera = cameras()
    generator = torch.Generator().manual_seed(3)
    angle, size = (
        2 * math.pi * torch.rand(5, generator=generator).double(),
        0.5 + torch.rand(5, generator=generator),
    )
    cosine, sine = size * torch.cos(angle), size * torch.sin(angle)
    shift = 100 * torch.rand(5, 2, generator=generator).double()
    similarity = torch.stack(
        (torch.stack((cosine, -sine, shift[:, 0]), 1), torch.stack((sine, cosine, shift[:, 1]), 1)), 1
    )
    before, after = project(vertices(), camera), project(vertices(), transform_camera(camera, similarity))
    moved = before[:, :, :2] @ similarity[:, :, :2].transpose(1, 2) + similarity[:, None, :, 2]
    torch.testing.assert_close(after[:, :, :2], moved)
    torch.testing.assert_close(after[:, :, 2], before[:, :, 2])


def test_mirrored_camera_sees_the_mirrored_face_as_the_flipped_image_exactly():
    camera = cameras()
    mirrored_face = vertices() * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    before, after = project(vertices(), camera), project(mirrored_face, mirror_camera(camera, 224))
    torch.testing.assert_close(after[:, :, 0], 223 - before[:, :, 0], rtol=0, atol=1e-9)
    torch.testing.assert_close(after[:, :, 1:], before[:, :, 1:], rtol=0, atol=1e-9)


def test_mirror_twice_is_the_same_camera():
    camera = cameras()
    again = mirror_camera(mirror_camera(camera, 224), 224)
    torch.testing.assert_close(again.euler_xyz, camera.euler_xyz, rtol=0, atol=0)
    torch.testing.assert_close(again.translation, camera.translation)
