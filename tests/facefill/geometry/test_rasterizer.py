"""Rasterizer: both z-buffers against an obvious loop, awkward triangles, gradients, interpolation."""

import math

import numpy as np
import pytest
import torch

from facefill.geometry.rasterizer import fragments_from_ids, interpolate, rasterize, triangle_ids
from facefill.geometry.rasterizer_numba import triangle_ids_numba

Z_BUFFERS = [triangle_ids, triangle_ids_numba]


def soup(seed: int, num_triangles: int = 80, size: float = 30.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Loose triangles of all sizes, some facing away, some off the screen."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(2, num_triangles, 1, 3, generator=generator) * torch.tensor([size * 1.2, size, 1e5])
    spread = torch.rand(2, num_triangles, 1, 1, generator=generator) ** 2 * torch.tensor(
        [1.6 * size, 1.6 * size, 4e4]
    )
    corners = centres + (torch.rand(2, num_triangles, 3, 3, generator=generator) - 0.5) * spread
    return corners.flatten(1, 2), torch.arange(3 * num_triangles).view(-1, 3)


def ids_by_loop(
    projected: torch.Tensor, triangles: torch.Tensor, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Ids of one image in float64 without snapping, and which pixels are clearly decided (edge, depth)."""
    ids, nearest = np.full((height, width), -1), np.full((height, width), -np.inf)
    clear = np.ones((height, width), bool)
    for face, corners in enumerate(projected.double()[triangles].numpy()):
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = corners
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area >= 0:
            continue
        for row in range(height):
            for column in range(width):
                a = ((cx - bx) * (row - by) - (cy - by) * (column - bx)) / area
                b = ((ax - cx) * (row - cy) - (ay - cy) * (column - cx)) / area
                c = 1 - a - b
                margin = min(a, b, c) * math.sqrt(-area)
                if abs(margin) < 2e-3:
                    clear[row, column] = False
                depth = a * az + b * bz + c * cz
                if margin > 0:
                    if abs(depth - nearest[row, column]) < 1:
                        clear[row, column] = False
                    if depth > nearest[row, column]:
                        ids[row, column], nearest[row, column] = face, depth
    return ids, clear


@pytest.mark.parametrize("z_buffer", Z_BUFFERS)
def test_ids_agree_with_the_obvious_loop(z_buffer):
    for seed in range(3):
        projected, triangles = soup(seed)
        ids = z_buffer(projected, triangles, 30, 36).numpy()
        for image in range(2):
            expected, clear = ids_by_loop(projected[image], triangles, 30, 36)
            assert clear.mean() > 0.9 and (expected >= 0).mean() > 0.2
            np.testing.assert_array_equal(ids[image][clear], expected[clear])


def test_both_z_buffers_give_the_same_ids_bit_for_bit():
    for seed in range(20):
        projected, triangles = soup(seed, 400, 60.0)
        if seed % 2:  # whole and half coordinates: pixel centres on edges and on corners, equal depths
            projected = torch.round(projected / 2 * torch.tensor([1.0, 1.0, 1e-4])) * torch.tensor(
                [0.5, 0.5, 1e4]
            )
        assert torch.equal(
            triangle_ids(projected, triangles, 60, 70), triangle_ids_numba(projected, triangles, 60, 70)
        )


def awkward(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A mesh of shared vertices, some of them far off, not a number, infinite or of huge depth."""
    generator = torch.Generator().manual_seed(seed)
    vertices = torch.rand(1, 120, 3, generator=generator) * torch.tensor([90.0, 70.0, 1e5]) - 10
    vertices[..., 2] -= 5e4  # depths of both signs
    if seed % 3 == 0:
        vertices[0, :40] = torch.round(vertices[0, :40])
    kinds = [(0, 1e9), (1, -8192.0), (0, 8192.0), (1, 8191.9), (0, -8192.1), (1, torch.nan), (2, torch.nan)]
    kinds += [(2, torch.inf), (0, -torch.inf), (2, 3e38), (2, -3e38), (2, -0.0)]
    for vertex, (axis, value) in enumerate(kinds):
        vertices[0, 40 + vertex, axis] = value
    triangles = torch.randint(0, 120, (300, 3), generator=generator)  # a corner may stand twice
    return vertices, torch.cat((triangles, triangles.roll(1, 1)))  # every one twice: equal depths


@pytest.mark.parametrize("size", [(60, 70), (9, 3), (1, 1), (5, 8), (64, 9)])
def test_both_z_buffers_agree_on_awkward_meshes_and_narrow_pictures(size):
    seen = 0
    for seed in range(12):
        projected, triangles = awkward(seed)
        expected = triangle_ids(projected, triangles, *size)
        assert torch.equal(triangle_ids_numba(projected, triangles, *size), expected)
        seen += int((expected >= 0).sum())
    assert seen > 4 * size[0] * size[1]


@pytest.mark.parametrize("z_buffer", Z_BUFFERS)
def test_one_vertex_that_is_not_finite_takes_its_own_triangles_alone(z_buffer):
    sheet, triangles = grid(40, 30)
    sheet = sheet * 1.37 + 0.21
    whole = z_buffer(sheet, triangles, 30, 40)
    sheet[0, 500, 2] = torch.nan
    around = (triangles == 500).any(1)
    without = z_buffer(sheet, triangles, 30, 40)
    lost = around[whole] & (whole >= 0)
    assert 0 < lost.sum() < 30 and without[lost].eq(-1).all() and torch.equal(without[~lost], whole[~lost])


def test_a_dense_mesh_of_tiny_triangles_gives_the_same_ids():
    sheet, triangles = grid(250, 200)
    turn = torch.tensor([[0.19, 0.02, 0.0], [-0.03, 0.17, 0.0], [0.0, 0.0, 1.0]])
    projected = sheet @ turn + torch.tensor([3.3, -2.7, 0.0])
    projected[..., 2] = 10 * torch.sin(projected[..., 0] / 3) * torch.cos(projected[..., 1] / 4)
    ids = triangle_ids_numba(projected, triangles, 40, 50)
    assert torch.equal(ids, triangle_ids(projected, triangles, 40, 50)) and (ids >= 0).float().mean() > 0.5


def grid(columns: int, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A flat sheet of pixel-aligned squares, each cut in two, seen from its front."""
    xs, ys = torch.meshgrid(torch.arange(columns + 1.0), torch.arange(rows + 1.0), indexing="xy")
    sheet = torch.stack((xs, ys, torch.zeros_like(xs)), 2).view(1, -1, 3)
    corner = (torch.arange(rows)[:, None] * (columns + 1) + torch.arange(columns)).flatten()
    right, below = corner + 1, corner + columns + 1
    triangles = torch.cat((torch.stack((corner, below, right), 1), torch.stack((right, below, below + 1), 1)))
    return sheet, triangles


@pytest.mark.parametrize("z_buffer", Z_BUFFERS)
def test_pixel_centres_on_shared_edges_are_covered_exactly_once(z_buffer):
    sheet, triangles = grid(6, 5)
    every = z_buffer(sheet, triangles, 6, 7)
    covered = (every >= 0).sum()
    alone = sum(
        (z_buffer(sheet, triangles[face : face + 1], 6, 7) >= 0).sum() for face in range(len(triangles))
    )
    assert covered == alone == 30


@pytest.mark.parametrize("z_buffer", Z_BUFFERS)
@pytest.mark.parametrize(
    "corners",
    [
        pytest.param([(2, 2), (2, 2), (2, 2)], id="a point"),
        pytest.param([(0, 0), (4, 4), (8, 8)], id="a line"),
        pytest.param([(1, 1), (8, 1), (1, 8)], id="back face"),
        pytest.param([(-9, -9), (-9, -1), (-1, -9)], id="off the corner"),
        pytest.param([(3, 3), (3, float("nan")), (8, 3)], id="not a number"),
        pytest.param([(0, 0), (0, 1e9), (9, 0)], id="beyond the guard"),
        pytest.param([(0, 0), (0, float("inf")), (9, 0)], id="infinite"),
        pytest.param([(2.1, 2.1), (2.1, 2.9), (2.9, 2.1)], id="between pixel centres"),
    ],
)
def test_triangles_that_cover_nothing(z_buffer, corners):
    projected = torch.tensor([[(*corner, 0.0) for corner in corners]])
    assert z_buffer(projected, torch.tensor([[0, 1, 2]]), 10, 10).eq(-1).all()


@pytest.mark.parametrize("z_buffer", Z_BUFFERS)
def test_triangle_larger_than_the_screen_covers_it(z_buffer):
    projected = torch.tensor([[(-100.0, -100.0, 0.0), (-100.0, 300.0, 0.0), (300.0, -100.0, 0.0)]])
    assert z_buffer(projected, torch.tensor([[0, 1, 2]]), 10, 12).eq(0).all()


@pytest.mark.parametrize("z_buffer", Z_BUFFERS)
def test_nearer_wins_and_equal_depth_goes_to_the_smaller_id(z_buffer):
    corner = torch.tensor([(-1.0, -1.0), (-1.0, 20.0), (20.0, -1.0)])
    depths = torch.tensor([-5.0, 3.0, -0.0, 0.0, 3.0])
    projected = torch.cat([torch.cat((corner, depth.expand(3, 1)), 1) for depth in depths])[None]
    assert z_buffer(projected, torch.arange(15).view(5, 3), 4, 4).eq(1).all()
    assert z_buffer(projected, torch.arange(15).view(5, 3)[[0, 2, 3]], 4, 4).eq(1).all()


@pytest.mark.parametrize("z_buffer", Z_BUFFERS)
def test_depths_of_every_sign_and_size_are_in_order(z_buffer):
    corner = torch.tensor([(-1.0, -1.0), (-1.0, 20.0), (20.0, -1.0)])
    depths = [-3e38, -1e5, -5.0, -2.0, -1.5, -1e-3, -1e-30, 0.0, 1e-30, 1e-3, 1.5, 2.0, 5.0, 1e5, 3e38]
    layers = torch.cat([torch.cat((corner, torch.full((3, 1), depth)), 1) for depth in depths])[None]
    faces = torch.arange(3 * len(depths)).view(-1, 3)
    for near in range(1, len(depths)):
        for order in ([near - 1, near], [near, near - 1], [0, near]):
            assert z_buffer(layers, faces[order], 2, 2).eq(order.index(near)).all(), depths[near]


@pytest.mark.parametrize("z_buffer", Z_BUFFERS)
def test_no_triangles_at_all(z_buffer):
    assert z_buffer(torch.zeros(2, 3, 3), torch.zeros(0, 3, dtype=torch.long), 4, 5).eq(-1).all()


def test_candidates_in_many_parts_give_the_same_ids(monkeypatch):
    projected, triangles = soup(5, 200)
    whole = triangle_ids(projected, triangles, 30, 36)
    monkeypatch.setattr("facefill.geometry.rasterizer.CANDIDATES_AT_ONCE", 50)
    assert torch.equal(triangle_ids(projected, triangles, 30, 36), whole)


def test_fragments_reproduce_the_pixel_position():
    projected, triangles = soup(7)
    fragments = rasterize(projected, triangles, 30, 36)
    seen = interpolate(projected, fragments, triangles)
    covered = fragments.triangle >= 0
    rows, columns = torch.meshgrid(torch.arange(30.0), torch.arange(36.0), indexing="ij")
    torch.testing.assert_close(seen[:, 0][covered], columns.expand(2, -1, -1)[covered], atol=1e-3, rtol=0)
    torch.testing.assert_close(seen[:, 1][covered], rows.expand(2, -1, -1)[covered], atol=1e-3, rtol=0)
    torch.testing.assert_close(seen[:, 2][covered], fragments.depth[covered])
    assert seen.permute(0, 2, 3, 1)[~covered].eq(0).all() and fragments.depth[~covered].eq(-torch.inf).all()
    torch.testing.assert_close(fragments.barycentric.sum(3), covered.float())


def test_values_shared_by_all_images_or_given_for_each():
    projected, triangles = soup(8)
    fragments = rasterize(projected, triangles, 30, 36)
    shared = torch.randn(projected.shape[1], 4, generator=torch.Generator().manual_seed(0))
    each = interpolate(shared.expand(2, -1, -1), fragments, triangles)
    assert torch.equal(interpolate(shared, fragments, triangles), each)


def test_gradients_of_barycentrics_depth_and_values():
    projected, triangles = soup(3, 30, 8.0)
    projected = projected.double() * torch.tensor([1.0, 1.0, 1e-5])
    ids = triangle_ids(projected.float(), triangles, 8, 9)
    assert (ids >= 0).sum() > 20
    values = torch.randn(
        2, projected.shape[1], 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )

    def seen(positions: torch.Tensor, colours: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        fragments = fragments_from_ids(ids, positions, triangles)
        return interpolate(colours, fragments, triangles), fragments.depth.clamp_min(-1e3)

    assert torch.autograd.gradcheck(seen, (projected.requires_grad_(), values.requires_grad_()))


def weights_and_depth(corners: np.ndarray, column: int, row: int) -> np.ndarray:
    """Barycentric coordinates and depth of one pixel, from the linear system that defines them."""
    system = np.stack((corners[:, 0], corners[:, 1], np.ones(3)))
    weights = np.linalg.solve(system, np.array([column, row, 1.0]))
    return np.array([*weights, weights @ corners[:, 2]])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_gradients_agree_with_finite_differences_pixel_by_pixel(dtype):
    projected, triangles = soup(4, 40, 12.0)
    projected = projected[:1] * torch.tensor([1.0, 1.0, 1e-4])
    ids = triangle_ids(projected, triangles, 12, 13)
    upstream = torch.randn(12, 13, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).numpy()
    expected = np.zeros(projected.shape[1:])
    for row, column in torch.nonzero(ids[0] >= 0).tolist():
        vertices = triangles[ids[0, row, column]].numpy()
        corners = projected[0, vertices].double().numpy()
        for corner in range(3):
            for axis in range(3):
                step = np.zeros((3, 3))
                step[corner, axis] = 1e-5
                ends = [weights_and_depth(corners + sign * step, column, row) for sign in (1, -1)]
                expected[vertices[corner], axis] += upstream[row, column] @ (ends[0] - ends[1]) / 2e-5
    positions = projected.to(dtype).requires_grad_()
    fragments = fragments_from_ids(ids, positions, triangles)
    given = torch.from_numpy(upstream).to(dtype)[None]
    covered = (ids >= 0)[..., None]
    ((fragments.barycentric * given[..., :3])[covered[..., 0]].sum()).backward(retain_graph=True)
    (fragments.depth * given[..., 3])[covered[..., 0]].sum().backward()
    assert positions.grad is not None and np.abs(expected).max() > 1 and (ids >= 0).sum() > 60
    # clamped weights of pixels that snapping leaves a hair outside have no gradient; none of these is one
    error = np.abs(positions.grad[0].double().numpy() - expected).max() / np.abs(expected).max()
    assert error < (1e-6 if dtype == torch.float64 else 1e-4)


def test_sliver_gradients_are_finite():
    corners = torch.tensor([[(4.0, 4.0001, 2.0), (9.0, 4.0, 1.0), (0.0, 4.0, 0.0)]])
    projected = corners.requires_grad_()
    ids = torch.full((1, 9, 9), -1)
    ids[0, 4, 2:8] = 0
    fragments = fragments_from_ids(ids, projected, torch.tensor([[0, 1, 2]]))
    fragments.depth[ids >= 0].sum().backward()
    assert projected.grad is not None and projected.grad.isfinite().all()
    assert fragments.barycentric.ge(0).all() and fragments.barycentric.le(1).all()
