"""Compiled loops against their twins in torch, and when each of the two is used."""

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch

from facefill.geometry import compiled
from facefill.geometry.camera import WeakPerspective, project
from facefill.geometry.compiled import may_run_compiled
from facefill.geometry.fragments_numba import fragments_numba, interpolate_numba
from facefill.geometry.mesh import vertex_normals
from facefill.geometry.rasterizer import Fragments, fragments_from_ids, interpolate, rasterize, triangle_ids
from facefill.geometry.rasterizer_numba import triangle_ids_numba
from facefill.geometry.spherical_harmonics import shade_maps
from facefill.geometry.texture import locate, sample
from facefill.geometry.texture_numba import locate_numba
from facefill.geometry.uv_atlas import uv_from_vertices
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


def gradients_of_what_is_seen() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients by positions, by values of every image and by shared values, of a random sum of all."""
    projected, triangles = scene()
    ids = triangle_ids_numba(projected, triangles, SIZE, SIZE)
    generator = torch.Generator().manual_seed(0)
    each = torch.randn(*projected.shape, generator=generator)
    shared = torch.randn(projected.shape[1], 2, generator=generator)
    leaves = [projected.requires_grad_(), each.requires_grad_(), shared.requires_grad_()]
    fragments = fragments_from_ids(ids, projected, triangles)
    depth = torch.where(ids >= 0, fragments.depth, 0) * 1e-4
    looks = interpolate(each, fragments, triangles), interpolate(shared, fragments, triangles), depth
    sum((torch.randn(seen.shape, generator=generator) * seen).sum() for seen in looks).backward()
    return tuple(leaf.grad for leaf in leaves)


def test_gradients_agree_with_torch_and_two_runs_to_the_last_bit(monkeypatch):
    found, again = gradients_of_what_is_seen(), gradients_of_what_is_seen()
    without_numba(monkeypatch)
    for own, repeated, expected in zip(found, again, gradients_of_what_is_seen(), strict=True):
        assert torch.equal(own, repeated)
        assert expected.norm() > 1 and (own - expected).norm() < 1e-5 * expected.norm()


def test_gradients_of_a_sliver_agree_with_torch(monkeypatch):
    """Pixels a hair outside their triangle, a corner on a pixel and a triangle without area."""
    corners = [[(4.0, 4.0001, 2.0), (9.0, 4.0, 1.0), (0.0, 4.0, 0.0)], [(4.0, 4.0, 2.0)] * 3]
    ids = torch.full((2, 9, 9), -1)
    ids[:, 4, 2:8], ids[0, 5, 3] = 0, 0
    results = []
    for _ in range(2):
        projected = torch.tensor(corners, requires_grad=True)
        fragments = fragments_from_ids(ids, projected, torch.tensor([[0, 1, 2]]))
        (fragments.depth[ids >= 0].sum() + fragments.barycentric[..., 0].square().sum()).backward()
        results.append(projected.grad)
        without_numba(monkeypatch)
    assert results[0].isfinite().all() and results[1][1, :, 2].sum() == pytest.approx(6)
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-2)


def looks(name: str) -> tuple[Callable[..., torch.Tensor], tuple[torch.Tensor, ...]]:
    """A differentiable step of the geometry and what goes into it."""
    model, atlas = small_model_and_atlas()
    generator = torch.Generator().manual_seed(0)
    vertices = model.mean * (1 + 0.05 * torch.randn(2, *model.mean.shape, generator=generator))
    maps = torch.nn.functional.normalize(torch.randn(2, 3, 19, 33, generator=generator), dim=1)
    maps[..., :5] = 0
    picture = torch.rand(2, 3, 21, 17, generator=generator)
    places = torch.rand(2, 30, 9, 2, generator=generator) * torch.tensor([22.0, 26.0]) - 3  # some outside
    steps = {
        "normals": (lambda v: vertex_normals(v, model.triangles), (vertices,)),
        "maps": (
            lambda v: uv_from_vertices(v, atlas),
            (torch.randn(2, len(model.mean), 4, generator=generator),),
        ),
        "samples": (sample, (picture, places)),
        "shading": (shade_maps, (maps, torch.randn(2, 3, 9, generator=generator))),
    }
    return steps[name]


def with_gradients(step: Callable[..., torch.Tensor], inputs: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    """What a step gives, and the gradients of a random sum of it by its inputs."""
    leaves = [value.clone().requires_grad_() for value in inputs]
    made = step(*leaves)
    made.backward(torch.randn(made.shape, generator=torch.Generator().manual_seed(1)).to(made))
    return [made.detach(), *(leaf.grad for leaf in leaves)]


@pytest.mark.parametrize("name", ["normals", "maps", "shading", "samples"])
def test_steps_and_their_gradients_agree_with_torch_and_two_runs_to_the_last_bit(monkeypatch, name):
    found, again = with_gradients(*looks(name)), with_gradients(*looks(name))
    without_numba(monkeypatch)
    step, inputs = looks(name)
    for own, repeated, expected in zip(found, again, with_gradients(step, inputs), strict=True):
        assert torch.equal(own, repeated)
        assert expected.norm() > 0 and (own - expected).norm() < 2e-6 * expected.norm()
    exact = with_gradients(step, tuple(value.double() for value in inputs))
    assert all((own - true).norm() < 2e-5 * true.norm() for own, true in zip(found, exact, strict=True))


@pytest.mark.parametrize("name", ["normals", "maps", "shading", "samples"])
def test_gradients_of_the_torch_twins_in_float64(name):
    step, inputs = looks(name)
    doubles = tuple(value.double().requires_grad_() for value in inputs)
    assert torch.autograd.gradcheck(step, doubles, fast_mode=True)


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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here to compare with")
def test_the_same_ids_on_cpu_and_gpu():
    projected, triangles = scene()
    on_gpu = rasterize(projected.cuda(), triangles.cuda(), SIZE, SIZE)
    on_cpu = rasterize(projected, triangles, SIZE, SIZE)
    assert torch.equal(on_gpu.triangle.cpu(), on_cpu.triangle)
    torch.testing.assert_close(on_gpu.barycentric.cpu(), on_cpu.barycentric, atol=1e-5, rtol=0)


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
    assert not fragments.triangle.requires_grad
    interpolate(projected, fragments, triangles).sum().backward()
    assert projected.grad is not None and projected.grad.abs().sum() > 0


@pytest.mark.parametrize("count", [0, 1, 7])
def test_every_image_is_done_once_in_any_number_of_threads(count: int) -> None:
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            done: list[int] = []
            compiled.for_images(done.append, count)
            assert sorted(done) == list(range(count))
    finally:
        torch.set_num_threads(before)


def test_what_a_thread_raises_is_raised_to_the_caller() -> None:
    def work(image: int) -> None:
        if image == 1:  # done by a helper
            raise ValueError("image 1")

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with pytest.raises(ValueError, match="image 1"):
            compiled.for_images(work, 3)
    finally:
        torch.set_num_threads(before)


def test_workers_load_numba_without_scipys_blas_which_is_there_when_asked_for() -> None:
    lines = (
        "import sys",
        "from facefill.geometry.compiled import SCIPY_BLAS, load_without_scipy",
        "load_without_scipy()",
        "assert 'numba.np.arraymath' in sys.modules and SCIPY_BLAS not in sys.modules",
        "import importlib",
        "assert importlib.import_module(SCIPY_BLAS).__name__ == SCIPY_BLAS",
    )
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, timeout=60)
