"""Colour between image and UV atlas: unwrap (image to UV) with a true depth test, render (UV to image).

Both sample bilinearly at exact sub-pixel positions: a texel's place in the image is its triangle's
interpolated projection, a pixel's place in the atlas its fragment's interpolated UV. Paper Fig. 3b.
"""

import functools

import torch
from torch import Tensor
from torch.nn import functional

from facefill.geometry.compiled import may_run_compiled, may_run_loops
from facefill.geometry.morphable_model import MorphableModel
from facefill.geometry.rasterizer import Fragments, interpolate
from facefill.geometry.shapes import check_shape
from facefill.geometry.uv_atlas import UVAtlas

# A texel is hidden where a pixel's depth differs from what the plane of the texel's own triangle has there by
# more than this part of the model's height, plus a part of what that plane rises over one pixel (for the
# surface is bent), at most LARGEST_BEND of the height. A plane counts as rising at most LARGEST_RISE of the
# height over a pixel.
DEPTH_TOLERANCE = 0.01
BEND = 0.25
LARGEST_BEND = 0.02
LARGEST_RISE = 0.1
SMALLEST_AREA = 1e-9  # square pixels


def unwrap(
    image: Tensor,  # (N, C, H, W)
    projected: Tensor,  # (N, V, 3)
    model: MorphableModel,
    atlas: UVAtlas,
    fragments: Fragments,  # of `projected` at H x W
) -> tuple[Tensor, Tensor]:
    """(N, C, 192, 256) colours in UV, 0 where not visible, and (N, 1, 192, 256) float visibility, 1 = seen.

    Visible: front-facing, and all four pixels that the bilinear sample mixes see this very surface, neither
    something in front of it nor what is behind. Differentiable in image and positions, not in visibility.
    """
    check_shape("image", image, len(projected), "C", *fragments.triangle.shape[1:])
    texels = torch.nonzero(atlas.texel_triangle.flatten() >= 0)[:, 0]
    vertices = atlas.texel_vertices.view(-1, 3)[texels]
    weights = atlas.texel_barycentric.view(-1, 3)[texels]
    model_height = height_of(model)
    if may_run_compiled(projected, fragments.depth):
        from facefill.geometry.texture_numba import locate_numba as locate_texels
    else:
        locate_texels = locate
    position, visible = locate_texels(projected, vertices, weights, fragments.depth, model_height)
    visible = visible.to(image.dtype)[:, None]
    colour = sample(image, position[:, None])[:, :, 0] * visible
    shape = atlas.texel_triangle.shape
    return _scatter(colour, texels, shape), _scatter(visible, texels, shape)


@functools.lru_cache(maxsize=4)
def height_of(model: MorphableModel) -> float:
    """The mean shape's height in micrometres, asked of its device once."""
    return float(model.mean[:, 1].max() - model.mean[:, 1].min())


def locate(
    projected: Tensor,  # (N, V, 3)
    vertices: Tensor,  # (T, 3) corners of the texels' triangles
    weights: Tensor,  # (T, 3) barycentric coordinates of the texels
    depth: Tensor,  # (N, H, W)
    model_height: float,
) -> tuple[Tensor, Tensor]:
    """(N, T, 2) column and row where each texel lies in the image, and (N, T) whether it is visible there."""
    height, width = depth.shape[1:]
    # Planes of one coordinate each, so that every step below runs over contiguous memory.
    planes = projected.permute(2, 0, 1).flatten(0, 1)
    corners = [planes.index_select(1, vertices[:, k]).view(3, -1, len(vertices)) for k in range(3)]
    position = corners[0] * weights[:, 0] + corners[1] * weights[:, 1] + corners[2] * weights[:, 2]
    column, row, own_depth = position.detach()
    ax, ay, az = (corners[1] - corners[0]).detach()
    bx, by, bz = (corners[2] - corners[0]).detach()
    twice_area = ay * bx - ax * by  # positive where the triangle faces the camera
    # Depth's change over one pixel to the right and one down, along the plane of the texel's triangle.
    area, rise = twice_area.clamp_min(SMALLEST_AREA), model_height * LARGEST_RISE
    across = ((ay * bz - by * az) / area).clamp(-rise, rise)
    down = ((bx * az - ax * bz) / area).clamp(-rise, rise)
    bend = (BEND * (across.abs() + down.abs())).clamp_max(model_height * LARGEST_BEND)
    tolerance = model_height * DEPTH_TOLERANCE + bend
    visible = (twice_area > 0) & (column >= 0) & (column <= width - 1) & (row >= 0) & (row <= height - 1)

    seen = depth.detach().flatten(1)
    left, top = column.floor().clamp(0, width - 2), row.floor().clamp(0, height - 2)
    for x in (left, left + 1):
        for y in (top, top + 1):
            there = own_depth + across * (x - column) + down * (y - row)
            visible &= (seen.gather(1, (y * width + x).long()) - there).abs() <= tolerance
    return torch.stack((position[0], position[1]), 2), visible


def render(uv_map: Tensor, fragments: Fragments, model: MorphableModel) -> Tensor:  # (N, C, 192, 256)
    """(N, C, H, W) the map seen on the mesh, 0 where the mesh is not; differentiable in map and
    barycentrics."""
    position = interpolate(model.uv, fragments, model.triangles).permute(0, 2, 3, 1)
    return sample(uv_map, position) * coverage(fragments)


def coverage(fragments: Fragments) -> Tensor:
    """(N, 1, H, W) float, 1 where the mesh covers the pixel centre."""
    return (fragments.triangle >= 0).to(fragments.barycentric.dtype)[:, None]


def sample(picture: Tensor, positions: Tensor) -> Tensor:  # (N, C, H, W), (N, h, w, 2) column and row
    """(N, C, h, w) bilinear samples, pixel centres at integers, the border repeated outside."""
    if may_run_loops(picture, positions):
        from facefill.geometry.sampling_numba import sample_numba

        return sample_numba(picture, positions)
    size = positions.new_tensor((picture.shape[3], picture.shape[2]))
    grid = (2 * positions + 1) / size - 1
    return functional.grid_sample(picture, grid, padding_mode="border", align_corners=False)


def fill_hidden(uv_map: Tensor, known: Tensor) -> Tensor:  # (N, C, H, W), (N or 1, 1, H, W) in [0, 1]
    """The map with its unknown texels filled smoothly from the known ones, which stay as they are.

    Push-pull: means of known texels over ever coarser cells, taken from the finest level that has any. It
    keeps dark rims out of bilinear samples and out of JPEG blocks at the border of what is known.
    """
    check_shape("uv_map", uv_map, "N", "C", "H", "W")
    known = known.to(uv_map.dtype)
    if may_run_compiled(uv_map, known):
        from facefill.geometry.texture_numba import fill_hidden_numba

        return fill_hidden_numba(uv_map, known)
    height, width = uv_map.shape[2:]
    if height == 1 and width == 1:
        return uv_map * known
    window = min(2, height), min(2, width)
    weight = functional.avg_pool2d(known, window, ceil_mode=True)
    total = functional.avg_pool2d(uv_map * known, window, ceil_mode=True)
    coarse = fill_hidden(total / weight.clamp_min(1e-6), (weight > 0).to(uv_map.dtype))
    smooth = functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
    return torch.lerp(smooth, uv_map, known)


def _scatter(values: Tensor, texels: Tensor, shape: torch.Size) -> Tensor:
    """(N, C, *shape) with values (N, C, T) at the flat positions `texels` and 0 elsewhere."""
    flat = values.new_zeros(*values.shape[:2], shape.numel())
    return flat.index_copy(2, texels, values).unflatten(2, shape)
