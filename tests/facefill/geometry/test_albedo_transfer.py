"""Skin carried from the default head to a model without colours."""

import numpy as np
import torch

from facefill.geometry.albedo_transfer import thin_plate_warp, transferred_albedo
from facefill.geometry.default_model import default_model
from facefill.geometry.uv_atlas import build_atlas, flip_uv


def test_the_warp_takes_the_points_there_and_keeps_straight_maps_straight() -> None:
    rng = np.random.default_rng(0)
    source, goal = rng.normal(size=(20, 3)), rng.normal(size=(20, 3))
    assert np.allclose(thin_plate_warp(source, goal, source), goal, atol=1e-8)
    matrix, offset = rng.normal(size=(3, 3)), rng.normal(size=3)
    elsewhere = rng.normal(size=(50, 3)) * 3
    warped = thin_plate_warp(source, source @ matrix + offset, elsewhere)
    assert np.allclose(warped, elsewhere @ matrix + offset, atol=1e-8)


def test_the_default_head_of_another_size_gets_its_own_skin_back() -> None:
    model = default_model()
    atlas = build_atlas(model)
    larger = model.mean * torch.tensor([1.1, 1.05, 0.95]) + torch.tensor([0.0, 5e3, 2e3])
    albedo, basis = transferred_albedo(larger, model.triangles, model.landmarks, atlas)
    assert basis.shape == model.albedo_basis.shape
    error = (albedo - model.mean_albedo)[:, atlas.face].abs()
    assert error.mean() < 0.005
    assert (albedo[:, ~atlas.face] == 0).all()
    assert torch.equal(flip_uv(albedo), albedo)
