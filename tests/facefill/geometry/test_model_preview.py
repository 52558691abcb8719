"""The picture of a face model."""

from dataclasses import replace

import torch
from small_model import small_model_and_atlas

from facefill.geometry.model_preview import COLUMNS, TILE, preview


def tile(picture: torch.Tensor, row: int, column: int) -> torch.Tensor:
    return picture[:, row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]


def test_the_picture_shows_mean_components_and_albedo() -> None:
    model, _ = small_model_and_atlas()
    model = replace(model, mean_albedo=model.mean_albedo * torch.tensor([1.0, 0.5, 0.25])[:, None, None])
    picture = preview(model)
    assert picture.shape == (3, 3 * TILE, COLUMNS * TILE)
    assert picture.min() >= 0
    assert picture.max() <= 1
    plain, coloured = tile(picture, 0, 0), tile(picture, 0, 3)
    assert (plain[0] == plain[2]).all()  # grey
    inside = (plain < 1).any(0)
    assert 0.2 < inside.float().mean() < 0.9
    assert coloured[0][inside].mean() > 1.5 * coloured[2][inside].mean()
    assert not torch.equal(tile(picture, 1, 0), tile(picture, 1, 1))  # -2 and +2 standard deviations
    assert torch.equal(picture, preview(model))


def test_components_of_the_albedo_get_a_row_of_their_own() -> None:
    model, _ = small_model_and_atlas()
    basis = torch.full((2, 3, 192, 256), 0.1)
    picture = preview(replace(model, albedo_basis=basis))
    assert picture.shape == (3, 4 * TILE, COLUMNS * TILE)
    darker, lighter, empty = (tile(picture, 3, column) for column in (0, 1, 4))
    assert darker.mean() < lighter.mean()
    assert (empty == 1).all()
