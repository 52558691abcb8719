"""Compiled loops against their twins in torch, and when each of the two is used."""

import pytest
import torch

from facefill.geometry import compiled
from facefill.geometry.camera import WeakPerspective, project
from facefill.geometry.compiled import may_run_compiled
from facefill.geometry.rasterizer import Fragments, fragments_from_ids, interpolate, rasterize, triangle_ids
from facefill.geometry.rasterizer_numba import fragments_numba, interpolate_numba, triangle_ids_numba
from facefill.geometry.texture import locate
from facefill.geometry.texture_numba import locate_numba
from tests.support.small_model import small_model_and_atlas

SIZE = 80


def scene(count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Projected meshes (N, V, 3) in several poses, one partly off the image, and their triangles."""
    model, _ = small_model_and_atlas()
    euler = torch.tensor([[0.0, 0.0, 0.0], [0.2, 0.9, -0.3], [-0.3, -0.5, 0.2]])[:count]
    middle = torch.tensor([[40.0, 41.0], [38.3, 40.7], [10.0, 70.0]])[:count]
    camera = WeakPerspective(torch.full((count,), 3.4e-4), euler, middle)
    return project(model.mean.expand(count, -1, -1), camera), model.triangles


def without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "numba_is_importable", lambda: False)


def test_fragments_agree_with_torch(monkeypatch):
    projected, triangles = scene()
    ids = triangle_ids_numba(projected, triangles, SIZE, SIZE)
    barycentric, depth = fragments_numba(ids, projected, triangles)
    without_numba(monkeypatch)
    expected = fragments_from_ids(ids, projected, triangles)
    torch.testing.assert_close(barycentric, expected.barycentric, atol=1e-5, rtol=0)
    torch.testing.assert_close(depth, expected.depth, atol=0.1, rtol=1e-5)
    assert (
        torch.equal(ids, triangle_ids(projected, triangles, SIZE, SIZE)) and (ids >= 0).float().mean() > 0.3
    )


@pytest.mark.parametrize("shared", [True, False])
def test_interpolation_agrees_with_torch(monkeypatch, shared):
    projected, triangles = scene()
    fragments = rasterize(projected, triangles, SIZE, SIZE)
    values = torch.randn(3, projected.shape[1], 4, generator=torch.Generator().manual_seed(0))
    values = values[0] if shared else values
    seen = interpolate_numba(values, fragments.triangle, fragments.barycentric, triangles)
    without_numba(monkeypatch)
    torch.testing.assert_close(seen, interpolate(values, fragments, triangles), atol=1e-5, rtol=0)


def test_texels_agree_with_torch():
    projected, triangles = scene()
    _, atlas = small_model_and_atlas()
    fragments = rasterize(projected, triangles, SIZE, SIZE)
    arguments = (atlas.texel_vertices[atlas.face], atlas.texel_barycentric[atlas.face], fragments.depth, 2e5)
    position, visible = locate_numba(projected, *arguments)
    expected_position, expected_visible = locate(projected, *arguments)
    torch.testing.assert_close(position, expected_position, atol=1e-4, rtol=0)
    assert 0.2 < visible.float().mean() < 0.9
    assert (visible != expected_visible).float().mean() < 1e-4  # a tolerance met to the last bit


def test_threads_change_nothing():
    projected, triangles = scene()
    threads = torch.get_num_threads()
    results = []
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            results.append(rasterize(projected, triangles, SIZE, SIZE))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0].triangle, results[1].triangle)
    assert torch.equal(results[0].barycentric, results[1].barycentric)


def test_loops_are_compiled_only_for_numbers_without_gradient_in_float32():
    plain, wanted = torch.zeros(1), torch.zeros(1, requires_grad=True)
    assert may_run_compiled(plain) == compiled.numba_is_importable()
    assert not may_run_compiled(plain, wanted)
    assert not may_run_compiled(plain.double())
    with torch.no_grad():
        assert may_run_compiled(plain, wanted) == compiled.numba_is_importable()


def test_gradients_flow_where_they_are_asked_for():
    projected, triangles = scene(1)
    fragments = rasterize(projected.requires_grad_(), triangles, SIZE, SIZE)
    assert isinstance(fragments, Fragments) and fragments.barycentric.requires_grad
    interpolate(projected, fragments, triangles).sum().backward()
    assert projected.grad is not None and projected.grad.abs().sum() > 0
