"""The atlas is exactly symmetric, covers each texel once, and carries vertex values faithfully."""

import dataclasses

import numpy as np
import pytest
import torch

from facefill.geometry.default_model import default_model
from facefill.geometry.morphable_model import MorphableModel
from facefill.geometry.uv_atlas import UVAtlas, build_atlas, flip_uv, rasterize_atlas, uv_from_vertices


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return default_model()


@pytest.fixture(scope="module")
def atlas(model: MorphableModel) -> UVAtlas:
    return build_atlas(model)


def test_the_mirrored_texel_holds_the_mirrored_vertices_with_the_same_weights(
    model: MorphableModel, atlas: UVAtlas
) -> None:
    assert torch.equal(atlas.face, flip_uv(atlas.face))
    left = _by_vertex(model.mirror[atlas.texel_vertices[:, :128]], atlas.texel_barycentric[:, :128])
    right = _by_vertex(atlas.texel_vertices.flip(1)[:, :128], atlas.texel_barycentric.flip(1)[:, :128])
    covered = atlas.face[:, :128]
    for ours, theirs in zip(left, right, strict=True):
        assert torch.equal(ours[covered], theirs[covered])


def _by_vertex(vertices: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    ids, order = vertices.sort(-1)
    return ids, weights.gather(-1, order)


def test_texel_coordinates_come_back_at_every_texel(model: MorphableModel, atlas: UVAtlas) -> None:
    position = uv_from_vertices(model.uv[None], atlas)[0]
    rows, columns = torch.meshgrid(torch.arange(192.0), torch.arange(256.0), indexing="ij")
    wanted = torch.stack([columns, rows])
    assert (position - wanted)[:, atlas.face].abs().max() < 1e-3
    assert torch.equal(position[:, ~atlas.face], torch.zeros_like(position[:, ~atlas.face]))


def test_weights_are_convex_and_empty_texels_are_marked(atlas: UVAtlas) -> None:
    weights = atlas.texel_barycentric
    assert weights.min() >= 0
    torch.testing.assert_close(weights.sum(-1), atlas.face.float())
    assert torch.equal(atlas.texel_triangle >= 0, atlas.face)
    assert (atlas.texel_vertices[~atlas.face] == 0).all()
    assert 0.68 < atlas.face.float().mean() < 0.72


def test_an_even_vertex_field_maps_to_an_even_map(model: MorphableModel, atlas: UVAtlas) -> None:
    field = torch.randn(2, len(model.mean), 4, generator=torch.Generator().manual_seed(1))
    even = field + field[:, model.mirror]
    mapped = uv_from_vertices(even, atlas)
    assert (mapped - flip_uv(mapped)).abs().max() < 1e-6
    assert torch.equal(flip_uv(flip_uv(mapped)), mapped)


def test_the_mouth_is_the_one_hole(atlas: UVAtlas) -> None:
    empty = ~atlas.face
    outside = torch.zeros_like(empty)
    outside[0, 0] = outside[0, -1] = outside[-1, 0] = outside[-1, -1] = True
    for _ in range(300):
        grown = torch.nn.functional.max_pool2d(outside[None].float(), 3, 1, 1)[0].bool() & empty
        if torch.equal(grown, outside):
            break
        outside = grown
    rows, columns = torch.nonzero(empty & ~outside, as_tuple=True)
    assert len(rows) > 100
    assert rows.min() > 130 and rows.max() < 145
    assert columns.min() + columns.max() == 255


def test_to_moves_every_tensor(atlas: UVAtlas) -> None:
    moved = atlas.to("meta")
    assert {getattr(moved, f.name).device.type for f in dataclasses.fields(moved)} == {"meta"}


def test_lopsided_coordinates_are_refused(model: MorphableModel) -> None:
    uv = model.uv.double().numpy().copy()
    uv[:, 0] += 1.5
    with pytest.raises(ValueError, match=r"column 127\.5"):
        rasterize_atlas(uv, model.triangles.numpy(), model.mirror.numpy())


def test_one_triangle_pair_is_covered_texel_by_texel() -> None:
    uv = np.array([[10.0, 5.0], [14.0, 5.0], [10.0, 9.0], [245.0, 5.0], [241.0, 5.0], [245.0, 9.0]])
    triangles = np.array([[0, 2, 1], [4, 5, 3]])
    atlas = rasterize_atlas(uv, triangles, np.array([3, 4, 5, 0, 1, 2]))
    filled = {(r, c) for r, c in np.argwhere(atlas.face.numpy())}
    left = {(5 + r, 10 + c) for r in range(5) for c in range(5 - r)}
    assert filled == left | {(r, 255 - c) for r, c in left}
    assert atlas.texel_barycentric[5, 12].tolist() == [0.5, 0.0, 0.5]
    assert atlas.texel_vertices[5, 243].tolist() == [4, 5, 3]
    assert atlas.texel_barycentric[5, 243].tolist() == [0.5, 0.0, 0.5]


def test_texels_on_shared_edges_and_corners_keep_triangle_and_weights_together() -> None:
    """Squares of whole texels, each cut in two: nearly every texel lies on an edge of several triangles."""
    steps = np.arange(5) * 8.0
    left = np.stack(np.meshgrid(40 + steps, 30 + steps, indexing="xy"), 2).reshape(-1, 2)
    corner = (np.arange(4)[:, None] * 5 + np.arange(4)).reshape(-1)
    half = np.concatenate(
        [np.stack([corner, corner + 5, corner + 1], 1), np.stack([corner + 1, corner + 5, corner + 6], 1)]
    )
    uv = np.concatenate([left, np.stack([255 - left[:, 0], left[:, 1]], 1)])
    triangles = np.concatenate([half, half[:, [0, 2, 1]] + 25])
    atlas = rasterize_atlas(uv, triangles, np.roll(np.arange(50), 25))
    assert atlas.face.sum() == 2 * 33 * 33
    place = uv_from_vertices(torch.from_numpy(uv)[None], atlas)[0]
    rows, columns = torch.nonzero(atlas.face, as_tuple=True)
    torch.testing.assert_close(
        place[:, rows, columns], torch.stack([columns, rows]).double(), atol=1e-5, rtol=0
    )
