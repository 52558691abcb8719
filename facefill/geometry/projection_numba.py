"""The loops of `projection` as machine code for the CPU: from the mesh of a face to its maps."""

import numpy as np
import torch
from torch import Tensor

from facefill.geometry.compiled import compiled, for_images, images_of
from facefill.geometry.mesh_numba import fill_normals
from facefill.geometry.morphable_model import MorphableModel
from facefill.geometry.projection import LEAST_FACING
from facefill.geometry.rasterizer_numba import depths_of_keys, draw_keys
from facefill.geometry.reconstruction import Fit
from facefill.geometry.shading_numba import FACTORS
from facefill.geometry.spherical_harmonics import MINIMUM_SHADING
from facefill.geometry.texture_numba import depth_limits, fill_planes
from facefill.geometry.uv_atlas import UVAtlas

BLOCK = 512  # texels


def project_numba(
    photographs: Tensor,  # (N, H, W, 3) uint8
    vertices: Tensor,  # (N, V, 3) model frame
    projected: Tensor,  # (N, V, 3)
    fit: Fit,
    model: MorphableModel,
    atlas: UVAtlas,
) -> tuple[Tensor, Tensor, Tensor]:
    """Texture, albedo and visibility as `projection.project_with_torch` has them."""
    count, height, width = photographs.shape[:3]
    shape = atlas.face.shape
    pictures = torch.empty(2, count, *shape, 3, dtype=torch.uint8)
    visible = torch.empty(count, *shape, dtype=torch.bool)
    texels = torch.nonzero(atlas.face.flatten())[:, 0]
    corners = atlas.texel_vertices.view(-1, 3)[texels].numpy()
    weights = atlas.texel_barycentric.view(-1, 3)[texels].numpy()
    triangles = model.triangles.contiguous().numpy()
    model_height = float(model.mean[:, 1].max() - model.mean[:, 1].min())
    limits = np.append(depth_limits(model_height), np.array([LEAST_FACING, MINIMUM_SHADING], np.float32))
    lights = images_of(fit.illumination * torch.tensor(FACTORS))
    rotations, images = images_of(fit.camera.rotation), images_of(photographs)
    shapes, places = images_of(vertices), images_of(projected)
    written = [images_of(part) for part in (*pictures, visible)]

    def unwrap(image: int) -> None:
        normals = np.zeros_like(shapes[image])
        compiled(fill_normals)(shapes[image], triangles, normals)
        keys, depth = np.empty(height * width, np.int64), np.empty(height * width, np.float32)
        draw_keys(places[image], triangles, height, width, keys)
        compiled(depths_of_keys)(keys, depth)
        planes, known = np.zeros((6, *shape), np.float32), np.zeros(shape, np.float32)
        compiled(fill_planes_of_texels)(
            images[image],
            depth.reshape(height, width),
            places[image],
            normals @ rotations[image].T,
            lights[image],
            limits,
            texels.numpy(),
            corners,
            weights,
            planes.reshape(6, -1),
            known.reshape(-1),
        )
        fill_planes(planes, known)
        compiled(fill_pictures)(planes, known, *(part[image] for part in written))

    for_images(unwrap, count)
    return pictures[0], pictures[1], visible


def fill_planes_of_texels(
    photograph: np.ndarray,  # (H, W, 3) uint8
    depth: np.ndarray,  # (H, W)
    projected: np.ndarray,  # (V, 3)
    normals: np.ndarray,  # (V, 3)
    light: np.ndarray,  # (3, 9)
    limits: np.ndarray,  # (7,) of depth_limits, least cosine to the camera, least shading
    texels: np.ndarray,  # (T,)
    corners: np.ndarray,  # (T, 3)
    weights: np.ndarray,  # (T, 3)
    planes: np.ndarray,  # (6, 192·256) zeros
    known: np.ndarray,  # (192·256,) zeros
) -> None:
    """Write texture, albedo and visibility of the visible texels, by the rules of `texture.locate`.

    Blocks of three loops: fetch the corners; find place, tolerance and shading, which needs no more fetching
    and so runs over many texels at once; look into the photograph.
    """
    height, width = depth.shape
    last_column, last_row = np.float32(width - 1), np.float32(height - 1)
    zero, one = np.float32(0), np.float32(1)
    least, most, bending, rise, smallest_area = limits[0], limits[1], limits[2], limits[3], limits[4]
    least_facing, least_shading = limits[5], limits[6]
    # rows: corner a, b, c (place and depth), normal; then column, row, depth, tolerance, shading, slopes
    table = np.zeros((21, BLOCK), np.float32)
    shown = np.zeros(BLOCK, np.uint8)
    for start in range(0, len(texels), BLOCK):
        size = min(BLOCK, len(texels) - start)
        for k in range(size):
            a = np.uint64(corners[start + k, 0])
            b = np.uint64(corners[start + k, 1])
            c = np.uint64(corners[start + k, 2])
            u, v, w = weights[start + k, 0], weights[start + k, 1], weights[start + k, 2]
            for axis in range(3):
                table[axis, k] = projected[a, axis]
                table[3 + axis, k] = projected[b, axis]
                table[6 + axis, k] = projected[c, axis]
                table[9 + axis, k] = normals[a, axis] * u + normals[b, axis] * v + normals[c, axis] * w
            table[12, k], table[13, k], table[14, k] = u, v, w
        for k in range(size):
            u, v, w = table[12, k], table[13, k], table[14, k]
            column = table[0, k] * u + table[3, k] * v + table[6, k] * w
            row = table[1, k] * u + table[4, k] * v + table[7, k] * w
            own_depth = table[2, k] * u + table[5, k] * v + table[8, k] * w
            ax, ay, az = table[3, k] - table[0, k], table[4, k] - table[1, k], table[5, k] - table[2, k]
            bx, by, bz = table[6, k] - table[0, k], table[7, k] - table[1, k], table[8, k] - table[2, k]
            twice_area = ay * bx - ax * by
            area = max(twice_area, smallest_area)
            across = min(max((ay * bz - by * az) / area, -rise), rise)
            down = min(max((bx * az - ax * bz) / area, -rise), rise)
            x, y, z = table[9, k], table[10, k], table[11, k]
            shrink = one / np.sqrt(x * x + y * y + z * z + np.float32(1e-12))
            x, y, z = x * shrink, y * shrink, z * shrink
            in_picture = (column >= zero) & (column <= last_column) & (row >= zero) & (row <= last_row)
            facing = (twice_area > zero) & (z > least_facing)
            shown[k] = np.uint8(in_picture & facing)
            table[12, k], table[13, k], table[14, k] = column, row, own_depth
            table[15, k] = least + min(bending * (abs(across) + abs(down)), most)
            table[19, k], table[20, k] = across, down
            second, fifth = np.float32(2) * z * z - x * x - y * y, x * x - y * y
            for channel in range(3):
                shading = (
                    light[channel, 0]
                    + light[channel, 1] * z
                    + light[channel, 2] * y
                    + light[channel, 3] * x
                    + light[channel, 4] * second
                    + light[channel, 5] * y * z
                    + light[channel, 6] * x * z
                    + light[channel, 7] * x * y
                    + light[channel, 8] * fifth
                )
                table[16 + channel, k] = max(shading, least_shading)
        for k in range(size):
            if not shown[k]:
                continue
            column, row, own_depth, tolerance = table[12, k], table[13, k], table[14, k], table[15, k]
            left, top = min(int(column), width - 2), min(int(row), height - 2)
            right, low = column - np.float32(left), row - np.float32(top)
            across, down = table[19, k], table[20, k]
            plane = own_depth - across * right - down * low  # at the pixel up and left
            difference = abs(depth[top, left] - plane)
            difference = max(difference, abs(depth[top, left + 1] - plane - across))
            difference = max(difference, abs(depth[top + 1, left] - plane - down))
            difference = max(difference, abs(depth[top + 1, left + 1] - plane - across - down))
            if not difference <= tolerance:
                continue
            texel = texels[start + k]
            known[texel] = one
            for channel in range(3):
                upper = (
                    photograph[top, left, channel] * (one - right)
                    + photograph[top, left + 1, channel] * right
                )
                below = (
                    photograph[top + 1, left, channel] * (one - right)
                    + photograph[top + 1, left + 1, channel] * right
                )
                colour = np.float32((upper * (one - low) + below * low) / np.float32(255))
                planes[channel, texel] = colour
                planes[3 + channel, texel] = min(colour / table[16 + channel, k], one)


def fill_pictures(
    planes: np.ndarray, known: np.ndarray, texture: np.ndarray, albedo: np.ndarray, visible: np.ndarray
) -> None:
    """Write planes (6, H, W) in [0, 1] as two pictures (H, W, 3) uint8, and which texels are known."""
    height, width = known.shape
    for row in range(height):
        for column in range(width):
            visible[row, column] = known[row, column] > 0
            for channel in range(3):
                texture[row, column, channel] = np.uint8(
                    np.rint(planes[channel, row, column] * np.float32(255))
                )
                albedo[row, column, channel] = np.uint8(
                    np.rint(planes[3 + channel, row, column] * np.float32(255))
                )
