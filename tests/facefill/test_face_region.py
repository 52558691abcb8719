"""Where holes may lie."""

import torch

from facefill.face_parsing import BACKGROUND, FACE, UNKNOWN
from facefill.face_region import face_region, face_texels, inside_polygon
from facefill.geometry.reconstruction import fit_from_vector
from facefill.geometry.texture import coverage
from tests.support.faces import draw, make_batch, model_and_atlas


def test_the_polygon_holds_exactly_its_pixels() -> None:
    square = torch.tensor([[1.5, 0.5], [4.5, 0.5], [4.5, 3.5], [1.5, 3.5]])
    inside = inside_polygon(square, 6, 7)
    expected = torch.zeros(6, 7, dtype=torch.bool)
    expected[1:4, 2:5] = True
    assert torch.equal(inside, expected)


def test_the_face_is_symmetric_and_without_ears_scalp_and_neck() -> None:
    model, atlas = model_and_atlas()
    texels = face_texels(model, atlas)
    assert torch.equal(texels, texels.flip(-1))
    assert 0.3 < float(texels.sum() / atlas.face.sum()) < 0.8
    inner = model.uv[model.landmarks][17:60].round().long()
    assert float(texels[0, 0, inner[:, 1], inner[:, 0]].mean()) > 0.85


def test_labels_decide_where_there_are_any() -> None:
    model, atlas = model_and_atlas()
    batch = make_batch(2)
    _, mesh = draw(fit_from_vector(batch["fit"]), model, atlas)
    texels = face_texels(model, atlas)
    parsing = torch.full((2, 256, 256), UNKNOWN)
    parsing[1] = BACKGROUND
    parsing[1, 100:120, 100:130] = FACE
    region = face_region(parsing, mesh.fragments, texels, model)
    assert float(region[1].sum()) == 20 * 30
    covered = coverage(mesh.fragments)[0]
    assert bool((region[0] <= covered).all())
    assert 0.3 < float(region[0].sum() / covered.sum()) < 0.9
