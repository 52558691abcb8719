"""The picture in the making, and what the mesh shows at each of its pixels."""

from dataclasses import dataclass

import numpy as np
import torch

from facefill.geometry.spherical_harmonics import shade
from facefill.synthetic.arrays import Bytes, Floats, Integers
from facefill.synthetic.body import Body, vertex_normals
from facefill.synthetic.pixels import rasterize_values
from facefill.synthetic.view import View

EMPTY = 255  # surface of a pixel that the mesh leaves free


@dataclass
class Canvas:
    """The picture in the making."""

    picture: Floats  # (H, W, 3)
    labels: Bytes  # (H, W)
    depth: Floats  # (H, W)


@dataclass(frozen=True)
class Pixels:
    """What the mesh shows; values are meaningless where surface is EMPTY."""

    light: Floats  # (H, W, 3) shading
    normal: Floats  # (H, W, 3)
    map_position: Floats  # (H, W, 2)
    occlusion: Floats  # (H, W)
    ear: Floats  # (H, W)
    below: Floats  # (H, W, 2) micrometres below the necklines of the outermost and the inner layer
    weights: Floats  # (H, W, 2) of the triangle's first two corners
    triangle: Integers  # (H, W)
    surface: Bytes  # (H, W)


def look_at(body: Body, view: View) -> tuple[Pixels, Floats]:
    """The pixels of a body in a view, and their depth (H, W)."""
    positions = view.turn(body.positions, body.follow)
    normals = vertex_normals(positions, body.triangles)
    light = shade(torch.from_numpy(normals)[None], torch.from_numpy(view.illumination)[None])[0].numpy()
    columns = (light, normals, body.map_position, body.occlusion[:, None], body.ear[:, None], body.below)
    triangle, values, depth = rasterize_values(
        view.project(positions), np.concatenate(columns, 1), body.triangles, view.height, view.width
    )
    surface = np.where(triangle >= 0, body.surface[triangle], EMPTY).astype(np.uint8)
    pixels = Pixels(
        light=values[..., :3],
        normal=values[..., 3:6],
        map_position=values[..., 6:8],
        occlusion=values[..., 8],
        ear=values[..., 9],
        below=values[..., 10:12],
        weights=values[..., 12:14],
        triangle=triangle,
        surface=surface,
    )
    return pixels, depth
