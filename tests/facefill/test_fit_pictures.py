"""Pictures of fits: each tile shows what its caption says."""

import numpy as np
import torch

from facefill.fit_pictures import (
    FOUND_COLOUR,
    GIVEN_COLOUR,
    MESH,
    MODEL,
    PHOTOGRAPH,
    TEXTURE,
    fit_sheet,
    fit_tiles,
    with_points,
)
from facefill.geometry.texture import coverage
from tests.support.faces import draw, model_and_atlas, random_fit


def test_the_true_fit_covers_its_face_and_looks_like_it():
    model, atlas = model_and_atlas()
    fit = random_fit(2, seed=3)
    image, mesh = draw(fit, model, atlas)
    given = mesh.projected[:, model.landmarks, :2] + 8
    tiles = fit_tiles(image, given, fit, model, atlas)
    covered = coverage(mesh.fragments)[:, 0].numpy() > 0
    for face in range(2):
        photograph = tiles[face][PHOTOGRAPH].astype(int)
        assert photograph.shape == (256, 256, 3)
        assert np.abs(tiles[face][MODEL] - photograph)[covered[face]].max() <= 1
        assert (tiles[face][MODEL][~covered[face]] == 255).all()
        marks = [
            np.abs(tiles[face][MESH] / 255 - colour).max(-1) < 0.01 for colour in (FOUND_COLOUR, GIVEN_COLOUR)
        ]
        changed = (tiles[face][MESH] != tiles[face][PHOTOGRAPH]).any(-1)
        assert changed[covered[face]].mean() > 0.95
        assert not (changed & ~covered[face] & ~marks[0] & ~marks[1]).any()
        for mark, points in zip(marks, (given - 8, given), strict=True):
            column, row = points[face, 30].round().long().tolist()
            assert mark[row, column]
        texture = tiles[face][TEXTURE]
        assert 0.1 < (texture != 255).any(-1).mean() < 0.75


def test_points_that_are_absent_or_outside_are_not_drawn():
    picture = torch.zeros(3, 20, 30)
    points = torch.tensor([[5.0, 6.0], [torch.nan, 3.0], [-40.0, 2.0], [29.0, 19.0]])
    drawn = with_points(picture, points, (1.0, 1.0, 1.0))
    assert drawn.sum() == 3 * (5 + 3) and picture.sum() == 0


def test_five_points_are_enough_and_the_sheet_holds_a_row_a_face():
    model, atlas = model_and_atlas()
    fit = random_fit(1, seed=4)
    image, _ = draw(fit, model, atlas)
    [tiles] = fit_tiles(image, torch.full((1, 5, 2), 128.0), fit, model, atlas)
    one, two = fit_sheet([("a", tiles)]), fit_sheet([("a", tiles), ("b", tiles)])
    assert one.shape[1] == two.shape[1] == 4 * 256 + 3 * 4 and one.dtype == np.uint8
    assert np.array_equal(one, fit_sheet([("a", tiles)])) and two.shape[0] - one.shape[0] == 256 + 18 + 4
