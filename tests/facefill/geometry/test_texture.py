"""Unwrap and render: each against an obvious loop, their round trip, occlusion, gradients."""

import math

import pytest
import torch

from facefill.geometry import compiled
from facefill.geometry.camera import WeakPerspective, project
from facefill.geometry.default_model import default_model
from facefill.geometry.mesh import vertex_normals
from facefill.geometry.rasterizer import Fragments, rasterize
from facefill.geometry.texture import coverage, fill_hidden, render, sample, unwrap
from facefill.geometry.uv_atlas import build_atlas, uv_from_vertices
from tests.support.small_model import small_model_and_atlas

SIZE = 224
POSES = [(0.0, 0.0, 0.0), (0.1, 0.5, -0.2), (-0.2, -0.8, 0.1), (0.4, 0.1, 0.3)]


def seen_from(*euler: float, size: int = SIZE) -> tuple[torch.Tensor, Fragments]:
    model, _ = small_model_and_atlas()
    scale = torch.tensor([size / 2.4e5])
    camera = WeakPerspective(scale, torch.tensor([euler]), torch.tensor([[size / 2 + 0.3, size / 2 - 0.4]]))
    projected = project(model.mean[None], camera)
    return projected, rasterize(projected, model.triangles, size, size)


def smooth_map() -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(192.0), torch.arange(256.0), indexing="ij")
    waves = [torch.sin(columns / 40 + 1), torch.cos(rows / 35), torch.sin((rows + columns) / 50)]
    return 0.5 + 0.4 * torch.stack(waves)[None]


def psnr(a: torch.Tensor, b: torch.Tensor, where: torch.Tensor) -> float:
    squared = (a - b).square() * where
    return -10 * math.log10(float(squared.sum() / (3 * where.sum())))


@pytest.mark.parametrize("pose", POSES)
def test_render_unwrap_render_is_the_same_on_visible_pixels(pose):
    model, atlas = small_model_and_atlas()
    projected, fragments = seen_from(*pose)
    image = render(smooth_map(), fragments, model)
    uv_map, visible = unwrap(image, projected, model, atlas, fragments)
    pixels = render(visible, fragments, model) > 0.999
    assert pixels.sum() > 0.75 * coverage(fragments).sum()
    assert psnr(render(uv_map, fragments, model), image, pixels) > 70
    assert psnr(uv_map, smooth_map(), visible) > 55


@pytest.mark.parametrize("pose", [*POSES, (0.0, 1.2, 0.0)])
def test_the_default_head_makes_the_round_trip_too(pose):
    model = default_model()
    atlas = build_atlas(model)
    camera = WeakPerspective(torch.tensor([1e-3]), torch.tensor([pose]), torch.tensor([[112.2, 110.7]]))
    projected = project(model.mean[None], camera)
    fragments = rasterize(projected, model.triangles, SIZE, SIZE)
    image = render(smooth_map(), fragments, model)
    uv_map, visible = unwrap(image, projected, model, atlas, fragments)
    pixels = render(visible, fragments, model) > 0.999
    assert pixels.sum() > 0.9 * coverage(fragments).sum()
    assert psnr(render(uv_map, fragments, model), image, pixels) > 73


def test_render_reads_the_map_at_the_interpolated_position():
    model, _ = small_model_and_atlas()
    _, fragments = seen_from(0.1, 0.4, 0.0)
    columns = torch.arange(256.0).expand(1, 1, 192, 256)
    rows = torch.arange(192.0)[:, None].expand(1, 1, 192, 256)
    image = render(torch.cat((columns, rows), 1), fragments, model)
    for row, column in torch.nonzero(fragments.triangle[0] >= 0)[::97].tolist():
        corners = model.uv[model.triangles[fragments.triangle[0, row, column]]]
        expected = fragments.barycentric[0, row, column] @ corners
        torch.testing.assert_close(image[0, :, row, column], expected, atol=2e-4, rtol=0)
    assert image[:, :, fragments.triangle[0] < 0].eq(0).all()


def test_unwrap_reads_the_image_at_the_projected_texel():
    model, atlas = small_model_and_atlas()
    projected, fragments = seen_from(0.1, 0.4, 0.0)
    rows, columns = torch.meshgrid(torch.arange(float(SIZE)), torch.arange(float(SIZE)), indexing="ij")
    uv_map, visible = unwrap(torch.stack((columns, rows))[None], projected, model, atlas, fragments)
    for row, column in torch.nonzero(visible[0, 0])[::501].tolist():
        corners = projected[0, atlas.texel_vertices[row, column], :2]
        expected = atlas.texel_barycentric[row, column] @ corners
        torch.testing.assert_close(uv_map[0, :, row, column], expected, atol=1e-3, rtol=0)


def test_visibility_agrees_with_casting_a_ray_at_every_texel():
    """A texel is hidden when the mesh is nearer at that texel's exact place; a pixel from an edge it may
    be."""
    model, atlas = small_model_and_atlas()
    projected, fragments = seen_from(0.0, 0.9, 0.0)
    _, visible = unwrap(torch.zeros(1, 1, SIZE, SIZE), projected, model, atlas, fragments)
    corners = projected[0, model.triangles].double()
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    texels = torch.nonzero(atlas.face)[::23].tolist()
    ray_sees, called_visible = [], []
    for row, column in texels:
        weights = atlas.texel_barycentric[row, column]
        place = weights @ projected[0, atlas.texel_vertices[row, column]]
        offset = place[:2] - corners[:, 0, :2]
        a = (offset[:, 0] * second[:, 1] - offset[:, 1] * second[:, 0]) / area
        b = (first[:, 0] * offset[:, 1] - first[:, 1] * offset[:, 0]) / area
        hit = (a >= 0) & (b >= 0) & (a + b <= 1) & (area < 0)
        in_front = (corners[:, 0, 2] + a * first[:, 2] + b * second[:, 2])[hit] - place[2] > 2e3
        ray_sees.append(bool(area[atlas.texel_triangle[row, column]] < 0) and not in_front.any())
        called_visible.append(bool(visible[0, 0, row, column]))
    sees, called = torch.tensor(ray_sees), torch.tensor(called_visible)
    assert (called & ~sees).sum() <= 2 and (~sees).sum() > 400
    assert (called & sees).sum() > 0.88 * sees.sum()


def test_the_far_cheek_of_a_turned_head_receives_nothing_from_the_nose():
    model, atlas = small_model_and_atlas()
    rows, columns = torch.meshgrid(torch.arange(192.0), torch.arange(256.0), indexing="ij")
    far = (columns < 127.5 - 110 * 0.28) | (columns > 127.5 + 110 * 0.28)
    red_nose = (~far).float()[None, None] * ((rows - 95.5).abs() < 60)
    leaked = 0
    for yaw in (-1.1, -0.8, 0.8, 1.1):
        projected, fragments = seen_from(0.0, yaw, 0.0)
        uv_map, visible = unwrap(render(red_nose, fragments, model), projected, model, atlas, fragments)
        distant = (columns < 127.5 - 110 * 0.4) | (columns > 127.5 + 110 * 0.4)
        assert (uv_map[0, 0][distant] > 0.02).sum() == 0
        leaked += int(((visible[0, 0] == 0) & distant & atlas.face).sum())
    assert leaked > 1000


@pytest.mark.parametrize("with_loops", [True, False])
@pytest.mark.parametrize(("size", "least"), [(256, 0.88), (128, 0.78), (96, 0.7)])
def test_a_steep_cheek_is_seen_as_far_as_the_outline(monkeypatch, size, least, with_loops):
    """What a steep surface's depth changes from pixel to pixel is its own plane's, and where pixels are
    coarse its bend: it hides nothing."""
    if not with_loops:
        monkeypatch.setattr(compiled, "numba_is_importable", lambda: False)
    model = default_model()
    atlas = build_atlas(model)
    camera = WeakPerspective(torch.tensor([size / 256e3]), torch.zeros(1, 3), torch.full((1, 2), size / 2))
    projected = project(model.mean[None], camera)
    fragments = rasterize(projected, model.triangles, size, size)
    _, visible = unwrap(torch.zeros(1, 1, size, size), projected, model, atlas, fragments)
    normals = uv_from_vertices(vertex_normals(model.mean[None], model.triangles), atlas)[:, 2]
    rows = torch.arange(192.0)[:, None].expand(192, 256)
    steep = (normals[0] > 0.1) & (normals[0] < 0.2) & (rows > 60) & (rows < 150)
    assert steep.sum() > 1000
    assert visible[0, 0][steep].mean() > least


def test_a_mark_on_the_nose_leaves_the_cheek_behind_it_as_it_was():
    """Another colour on the nose alone may change no texel elsewhere: a far cheek that the nose covers is
    hidden, not coloured by it."""
    model = default_model()
    atlas = build_atlas(model)
    tip = model.uv[model.landmarks[30]]
    rows, columns = torch.meshgrid(torch.arange(192.0), torch.arange(256.0), indexing="ij")
    distance = torch.hypot(columns - tip[0], rows - tip[1])
    camera = WeakPerspective(
        torch.full((3,), 1e-3),
        torch.tensor([[0.0, 0.9, 0.0], [0.1, -0.9, 0.1], [0.05, 0.5, 0.0]]),
        torch.full((3, 2), 112.0),
    )
    projected = project(model.mean.expand(3, -1, -1), camera)
    fragments = rasterize(projected, model.triangles, SIZE, SIZE)
    maps = []
    for nose in (0.0, 1.0):
        marked = torch.where(distance < 12, nose, 0.5).expand(3, 1, -1, -1)
        maps.append(unwrap(render(marked, fragments, model), projected, model, atlas, fragments))
    (dark, visible), (bright, _) = maps
    changed = (bright - dark).abs() > 0
    assert changed[:, 0, distance < 10].sum() > 200  # the nose itself is seen and changes
    assert not (changed[:, 0] & (distance > 20)).any()
    beside = atlas.face & (distance > 20) & (distance < 45)
    assert (beside & (visible[:, 0] == 0)).sum() > 200  # much of what lies near the nose is hidden


def test_a_hole_unwrapped_and_rendered_back_covers_the_same_visible_pixels():
    model = default_model()
    atlas = build_atlas(model)
    for yaw in (0.0, -0.6):
        camera = WeakPerspective(
            torch.tensor([1e-3]), torch.tensor([[0.1, yaw, 0.05]]), torch.tensor([[112.2, 110.7]])
        )
        projected = project(model.mean[None], camera)
        fragments = rasterize(projected, model.triangles, SIZE, SIZE)
        hole = torch.zeros(1, 1, SIZE, SIZE)
        hole[..., 90:140, 80:120] = 1
        uv_hole, visible = unwrap(hole, projected, model, atlas, fragments)
        back = render(uv_hole, fragments, model)
        seen = render(visible, fragments, model) > 0.999
        inside = (-torch.nn.functional.max_pool2d(-hole, 5, 1, 2)) > 0  # two pixels from the border
        outside = torch.nn.functional.max_pool2d(hole, 5, 1, 2) == 0
        assert (seen & inside).sum() > 800 and (seen & outside).sum() > 8000
        assert back[seen & inside].min() > 0.999 and back[seen & outside].max() < 0.001
        wrong = ((back > 0.5) != (hole > 0.5)) & seen
        assert wrong.sum() < 0.02 * (seen & (hole > 0)).sum()


@pytest.mark.parametrize("shape", [(192, 256), (7, 9), (3, 4), (1, 5), (6, 1), (1, 1)])
def test_compiled_filling_agrees_with_torch(monkeypatch, shape):
    generator = torch.Generator().manual_seed(1)
    uv_map = torch.rand(2, 3, *shape, generator=generator)
    known = (torch.rand(2, 1, *shape, generator=generator) > 0.7).float()
    known[1] *= torch.rand(shape, generator=generator)  # half known ones too
    filled = fill_hidden(uv_map, known)
    one_mask = fill_hidden(uv_map, known[:1])
    monkeypatch.setattr(compiled, "numba_is_importable", lambda: False)
    torch.testing.assert_close(filled, fill_hidden(uv_map, known), atol=2e-6, rtol=0)
    torch.testing.assert_close(one_mask, fill_hidden(uv_map, known[:1]), atol=2e-6, rtol=0)


def test_what_lies_outside_the_image_is_not_visible():
    model, atlas = small_model_and_atlas()
    projected, _ = seen_from(0.0, 0.0, 0.0)
    shifted = projected - torch.tensor([SIZE / 2, 0.0, 0.0])
    fragments = rasterize(shifted, model.triangles, SIZE, SIZE)
    _, visible = unwrap(torch.ones(1, 1, SIZE, SIZE), shifted, model, atlas, fragments)
    assert visible[0, 0, :, :120].eq(0).all() and visible[0, 0, :, 140:].sum() > 8000


def test_faces_of_a_batch_do_not_mix():
    model, atlas = small_model_and_atlas()
    one, two = seen_from(*POSES[1]), seen_from(*POSES[2])
    projected = torch.cat((one[0], two[0]))
    fragments = rasterize(projected, model.triangles, SIZE, SIZE)
    image = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    together = unwrap(image, projected, model, atlas, fragments)
    for place, (own, own_fragments) in enumerate((one, two)):
        apart = unwrap(image[place : place + 1], own, model, atlas, own_fragments)
        for whole, part in zip(together, apart, strict=True):
            torch.testing.assert_close(whole[place : place + 1], part)


def test_gradients_of_unwrap_and_render():
    model, atlas = small_model_and_atlas()
    projected, fragments = seen_from(0.0, 0.3, 0.0, size=12)
    weights = torch.rand(192, 256, generator=torch.Generator().manual_seed(0)).double()

    def unwrapped(image: torch.Tensor) -> torch.Tensor:
        uv_map, _ = unwrap(image, projected.double(), model, atlas, fragments)
        return (uv_map * weights).sum(2)

    image = torch.rand(1, 1, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.autograd.gradcheck(unwrapped, image.requires_grad_(), fast_mode=True)

    uv_map = smooth_map().requires_grad_()
    rendered = render(uv_map, fragments, model)
    rendered.sum().backward()
    assert uv_map.grad is not None
    assert float(uv_map.grad.sum()) == pytest.approx(3 * float(coverage(fragments).sum()), rel=1e-4)


def test_gradient_reaches_the_vertices_through_the_texture():
    model, _ = small_model_and_atlas()
    projected, _ = seen_from(0.0, 0.0, 0.0)
    shift = torch.zeros(2, requires_grad=True)
    moved = projected + torch.nn.functional.pad(shift, (0, 1))
    fragments = rasterize(moved, model.triangles, SIZE, SIZE)
    ramp = torch.arange(256.0).expand(1, 1, 192, 256)
    render(ramp, fragments, model)[0, 0, 40:56, 40:56].mean().backward()
    assert shift.grad is not None
    assert (
        shift.grad[0] < -0.5 and abs(shift.grad[1]) < 0.4
    )  # moving the face right shows what was left of it


def test_samples_at_whole_positions_are_the_pixels():
    picture = torch.rand(1, 2, 5, 7, generator=torch.Generator().manual_seed(0))
    rows, columns = torch.meshgrid(torch.arange(5.0), torch.arange(7.0), indexing="ij")
    torch.testing.assert_close(sample(picture, torch.stack((columns, rows), 2)[None]), picture)


@pytest.mark.parametrize("shape", [(192, 256), (224, 224), (9, 31)])
def test_filling_keeps_the_known_and_continues_it_smoothly(shape):
    ramp = torch.linspace(0.2, 0.8, shape[1]).expand(1, 1, *shape)
    known = (torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(0)) > 0.6).float()
    filled = fill_hidden(ramp * known, known)
    assert torch.equal(filled * known, ramp * known)
    assert (filled - ramp).abs().max() < 0.6 * 4 / shape[1] + 0.05 and filled.min() >= 0.2 - 1e-6


def test_filling_from_nothing_gives_nothing():
    assert fill_hidden(torch.rand(1, 3, 8, 8), torch.zeros(1, 1, 8, 8)).eq(0).all()
