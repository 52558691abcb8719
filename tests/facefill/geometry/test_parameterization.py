"""Texel coordinates of made-up and genuine meshes: exact symmetry, no flips, no overlap, low distortion."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from facefill.geometry import parameterization
from facefill.geometry.parameterization import crosses_itself, signed_areas, symmetric_texel_coordinates
from facefill.geometry.uv_atlas import rasterize_atlas
from facefill.geometry.uv_distortion import uv_distortion


def mask(columns: int = 21, rows: int = 17) -> tuple[NDArray, NDArray, NDArray]:
    """A half cylinder with a nose, two eye holes and a mouth hole; every triangle has a mirror image."""
    u, v = np.meshgrid(np.linspace(-1, 1, columns), np.linspace(1, -1, rows))
    angle = 1.3 * u
    nose = 0.5 * np.exp(-((u / 0.2) ** 2) - (v / 0.25) ** 2)
    points = np.stack([np.sin(angle), 1.2 * v, np.cos(angle) + nose], 2).reshape(-1, 3)
    corner = np.arange(rows * columns).reshape(rows, columns)
    quads = np.stack([corner[:-1, :-1], corner[1:, :-1], corner[1:, 1:], corner[:-1, 1:]], 2)
    quads = quads.reshape(-1, 4)
    centre = points[quads].mean(1)
    eye = (np.abs(np.abs(centre[:, 0]) - 0.45) < 0.15) & (np.abs(centre[:, 1] - 0.45) < 0.1)
    mouth = (np.abs(centre[:, 0]) < 0.25) & (np.abs(centre[:, 1] + 0.7) < 0.1)
    quads, left = quads[~eye & ~mouth], centre[~eye & ~mouth, 0] < 0
    split = np.where(left[:, None, None], quads[:, [[0, 1, 2], [0, 2, 3]]], quads[:, [[0, 1, 3], [1, 2, 3]]])
    kept, triangles = np.unique(split.reshape(-1, 3), return_inverse=True)
    new = np.full(corner.size, -1)
    new[kept] = np.arange(len(kept))
    return points[kept], triangles.reshape(-1, 3), new[corner[:, ::-1].ravel()[kept]]


def assert_good(uv: NDArray, triangles: NDArray) -> None:
    areas = signed_areas(uv.astype(np.float64), triangles)
    assert areas.min() > 0
    assert uv.min() >= 1.5 and uv[:, 0].max() <= 253.5 and uv[:, 1].max() <= 189.5
    np.testing.assert_array_equal(uv * 256, np.round(uv * 256))
    assert areas.sum() > 0.6 * 192 * 256


def test_a_symmetric_mesh_gets_an_exactly_symmetric_map_without_flips_or_overlap():
    points, triangles, mirror = mask()
    uv = symmetric_texel_coordinates(points, triangles, mirror)
    assert uv.dtype == np.float32
    np.testing.assert_array_equal(uv[mirror], np.stack([255 - uv[:, 0], uv[:, 1]], 1))
    assert_good(uv, triangles)
    atlas = rasterize_atlas(uv.astype(np.float64), triangles, mirror)
    # covered once: as many texels as the triangles have area
    assert atlas.face.sum() == pytest.approx(signed_areas(uv.astype(np.float64), triangles).sum(), rel=0.01)
    # up in the model is up in the atlas, the image's right is right
    assert uv[points[:, 1].argmax(), 1] < uv[points[:, 1].argmin(), 1]
    assert uv[points[:, 0].argmin(), 0] < 100 < 155 < uv[points[:, 0].argmax(), 0]
    np.testing.assert_array_equal(uv, symmetric_texel_coordinates(points, triangles, mirror))
    np.testing.assert_array_equal(uv, symmetric_texel_coordinates(1e5 * points, triangles, mirror))


def test_halves_that_are_meshed_differently_are_symmetric_where_they_can_be():
    points, triangles, mirror = mask()
    # turn some diagonals on one side, and leave three vertices without a partner
    quad = triangles.reshape(-1, 2, 3)
    turned = np.flatnonzero(points[quad].mean((1, 2))[:, 0] < -0.2)[::3]
    a, b, c, d = quad[turned, 0, 0], quad[turned, 0, 1], quad[turned, 0, 2], quad[turned, 1, 2]
    quad[turned] = np.stack([np.stack([a, b, d], 1), np.stack([b, c, d], 1)], 1)
    triangles, mirror = quad.reshape(-1, 3), mirror.copy()
    generator = np.random.default_rng(0)
    points = points + 0.004 * generator.standard_normal(points.shape)
    lost = [30, 90, 200]
    mirror[lost] = mirror[[31, 91, 201]]
    uv = symmetric_texel_coordinates(points, triangles, mirror)
    assert_good(uv, triangles)
    off = np.abs(uv[mirror] - np.stack([255 - uv[:, 0], uv[:, 1]], 1)).max(1)
    assert (off == 0).mean() > 0.9
    atlas = rasterize_atlas(uv[:, :].astype(np.float64), triangles, mirror)
    assert (atlas.face == atlas.face.flip(1)).all() and atlas.face.float().mean() > 0.6


def test_where_a_free_border_would_cross_itself_it_stays_on_an_ellipse(monkeypatch):
    points, triangles, mirror = mask()
    monkeypatch.setattr(parameterization, "crosses_itself", lambda loop: True)
    uv = symmetric_texel_coordinates(points, triangles, mirror).astype(np.float64)
    assert signed_areas(uv, triangles).min() > 0
    np.testing.assert_array_equal(uv[mirror], np.stack([255 - uv[:, 0], uv[:, 1]], 1))
    border = uv[np.abs(points[:, 1]) == 1.2] - [127.5, 95.5]
    radius = np.linalg.norm(border / np.abs(uv - [127.5, 95.5]).max(0), axis=1)
    np.testing.assert_allclose(radius, 1, atol=0.01)


def test_a_polygon_that_crosses_itself_is_seen():
    loop = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]])
    assert not crosses_itself(loop)
    assert crosses_itself(loop[[0, 2, 1, 3]])


def test_what_is_no_disk_is_refused():
    points, triangles, mirror = mask()
    with pytest.raises(ValueError, match="belong to no triangle"):
        symmetric_texel_coordinates(np.concatenate([points, points[:1]]), triangles, np.append(mirror, 0))
    twice = np.concatenate([triangles, triangles + len(points)])
    with pytest.raises(ValueError, match="in pieces"):
        symmetric_texel_coordinates(np.tile(points, (2, 1)), twice, np.tile(mirror, 2))
    with pytest.raises(ValueError, match="no surface"):
        symmetric_texel_coordinates(points, np.concatenate([triangles, triangles[:1]]), mirror)


def test_a_genuine_face_mesh_with_eye_and_mouth_holes(realdata):
    with np.load(realdata / "ict_facekit" / "ict_face_area_9409.npz") as stored:
        points, quads = stored["mean"].astype(np.float64), stored["quads"].astype(np.int64)
        landmarks = stored["landmarks68"].astype(np.int64)
    triangles = quads[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3)
    mirror = cKDTree(points).query(points * [-1, 1, 1])[1]
    uv = symmetric_texel_coordinates(points, triangles, mirror).astype(np.float64)
    np.testing.assert_array_equal(uv[mirror], np.stack([255 - uv[:, 0], uv[:, 1]], 1))
    found = uv_distortion(points, triangles, uv)
    assert (found.flips, found.overlaps) == (0, 0) and found.coverage > 0.6
    assert found.area[0] > 0.3 and found.area[2] < 1.8 and found.angle[1] < 1.9
    # lips and lids are drawn apart
    rows = uv[landmarks, 1]
    assert rows[66] > rows[62] + 3 and rows[[40, 41]].min() > rows[[37, 38]].max() + 2
