"""The measures give the known answers on known maps, and bound the distortion of the default head's map."""

import numpy as np
import pytest

from facefill.geometry.default_model import default_model
from facefill.geometry.uv_distortion import inner_face, model_distortion, uv_distortion


def sheet() -> tuple[np.ndarray, np.ndarray]:
    """A flat square of 10 x 10 cells, 1 unit each, y up, tilted in space; and its triangles."""
    u, v = np.meshgrid(np.arange(11.0), np.arange(11.0))
    corner = np.arange(121).reshape(11, 11)
    a, b, c, d = (p.ravel() for p in (corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]))
    return np.stack([u.ravel(), v.ravel()], 1), np.concatenate(
        [np.stack([a, b, c], 1), np.stack([a, c, d], 1)]
    )


def tilted(plane: np.ndarray) -> np.ndarray:
    return plane @ np.array([[0.6, 0.0, 0.8], [0.0, 1.0, 0.0]])


def test_a_scaled_copy_has_no_distortion():
    plane, triangles = sheet()
    found = uv_distortion(tilted(plane), triangles, plane * [7, -7] + [100.3, 150.3])
    assert found.area == pytest.approx((1, 1, 1)) and found.angle == pytest.approx((1, 1, 1))
    assert (found.flips, found.overlaps) == (0, 0)
    assert found.texels == pytest.approx(4900) and found.coverage == pytest.approx(4900 / (192 * 256))


def test_a_stretched_copy_has_the_ratio_of_the_stretch():
    plane, triangles = sheet()
    found = uv_distortion(tilted(plane), triangles, plane * [12, -4] + [80, 150])
    assert found.angle == pytest.approx((3, 3, 3)) and found.area == pytest.approx((1, 1, 1))


def test_a_half_with_four_times_the_texels_is_told():
    plane, triangles = sheet()
    uv = plane * [5, -10] + [60, 150]
    uv[:, 0] += np.maximum(plane[:, 0] - 5, 0) * 15  # the right half is 4 times as wide
    found = uv_distortion(tilted(plane), triangles, uv)
    assert found.area[0] == pytest.approx(0.4) and found.area[2] == pytest.approx(1.6)
    assert found.angle[0] == pytest.approx(2) and found.angle[2] == pytest.approx(2)


def test_flips_and_overlaps_are_counted():
    plane, triangles = sheet()
    uv = plane * [7, -7] + [100.3, 150.3]
    uv[60] += 15  # drawn over its neighbours
    found = uv_distortion(tilted(plane), triangles, uv)
    assert found.flips > 0 and found.overlaps > 10
    turned = uv_distortion(tilted(plane), triangles, plane * [7, 7] + [100.3, 50.3])
    assert turned.flips == len(triangles) and turned.overlaps == 0
    twice = np.concatenate([triangles, triangles])
    assert uv_distortion(tilted(plane), twice, plane * [7, -7] + [100.3, 150.3]).overlaps == 4900


def test_nothing_has_no_distortion():
    plane, triangles = sheet()
    nothing = uv_distortion(tilted(plane), triangles[:0], plane)
    assert np.isnan([*nothing.area, *nothing.angle]).all() and nothing.texels == 0
    point = uv_distortion(tilted(plane) * 0, triangles, plane * [7, -7] + [100.3, 150.3])
    assert np.isnan([*point.area, *point.angle]).all() and point.flips == 0


def test_the_map_of_the_default_head_distorts_little():
    model = default_model()
    vertices, uv = model.mean.double().numpy(), model.uv.double().numpy()
    triangles, landmarks = model.triangles.numpy(), model.landmarks.numpy()
    whole, inner = model_distortion(model)
    assert whole == uv_distortion(vertices, triangles, uv)
    assert (whole.flips, whole.overlaps) == (0, 0) and whole.coverage > 0.65
    assert whole.area[0] > 0.25 and whole.area[2] < 1.6
    assert whole.angle[1] < 1.6 and whole.angle[2] < 3.5
    inside = inner_face(uv, triangles, landmarks)
    assert 0.4 < inside.mean() < 0.8
    assert (
        inside[(triangles == landmarks[30]).any(1)].all()
        and not inside[(triangles == uv[:, 1].argmin()).any(1)].any()
    )
    assert inner == uv_distortion(vertices, triangles[inside], uv)
    assert inner.area[0] > 0.7 and inner.area[2] < 1.25
    assert inner.angle[1] < 1.3 and inner.angle[2] < 1.65
    assert inner.texels > 15_000
