"""Scenes: the light is what the harmonics say, also after the picture is turned."""

import math

import numpy as np
import pytest
import torch

from facefill.geometry.rotations import matrix_from_euler_xyz
from facefill.geometry.spherical_harmonics import sh_basis
from facefill.synthetic.head import Head
from facefill.synthetic.scene import (
    BAND,
    PEAK,
    PoseRange,
    direction_of,
    harmonics,
    sample_light,
    sample_scene,
    turn_light,
)


def random_normals(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1)


@pytest.mark.parametrize("azimuth", [-1.4, 0.0, 0.7])
def test_a_lamp_is_brightest_on_the_surface_that_faces_it(azimuth: float) -> None:
    towards = direction_of(azimuth, 0.3)
    coefficients = torch.from_numpy(BAND * harmonics(towards) / PEAK)
    facing = float(sh_basis(torch.from_numpy(towards)[None])[0] @ coefficients)
    assert facing == pytest.approx(1.0, abs=2e-3)
    shading = sh_basis(random_normals(500)) @ coefficients
    assert float(shading.max()) <= facing + 1e-5


@pytest.mark.parametrize("angle", [0.3, -1.1, math.pi / 2])
def test_turned_light_shades_turned_normals_alike(angle: float) -> None:
    illumination = sample_light(np.random.default_rng(3), 1.0).illumination
    normals = random_normals(200)
    turn = matrix_from_euler_xyz(torch.tensor([[0.0, 0.0, angle]]))[0]
    before = sh_basis(normals) @ torch.from_numpy(illumination).T
    after = sh_basis(normals @ turn.T) @ torch.from_numpy(turn_light(illumination, angle)).T
    assert torch.allclose(before, after, atol=1e-5)


def test_poses_stay_in_range_and_light_comes_from_all_sides(head: Head) -> None:
    tone = np.float32([0.7, 0.5, 0.4])
    scenes = [sample_scene(seed, 450, 450, (60, 80), PoseRange(50), head.model, tone) for seed in range(200)]
    angles = np.degrees([scene.euler_xyz for scene in scenes])
    assert (np.abs(angles) <= np.array([15, 50, 15]) + 1e-3).all()
    assert np.abs(angles[:, 1]).max() > 45
    lights = np.array([scene.light.direction for scene in scenes])
    assert (lights[:, 0] < -0.7).any() and (lights[:, 0] > 0.7).any()
    assert np.mean([scene.smiling for scene in scenes]) > 0.3
