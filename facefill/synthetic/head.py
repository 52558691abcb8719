"""The whole head as painter and renderer see it: mesh, kinds of surface, places on the skin map."""

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch

from facefill.geometry import head_asset
from facefill.geometry.default_model import default_head, default_model
from facefill.geometry.head_model import HeadModel, head_vertices_from_coefficients
from facefill.geometry.mesh import smooth_normals
from facefill.geometry.rasterizer import rasterize
from facefill.synthetic.anatomy import Anatomy, measure
from facefill.synthetic.arrays import Bytes, Floats, Integers
from facefill.synthetic.clothing import border_loop

# Kinds of surface of a triangle.
SURFACE_SKIN, SURFACE_EYE, SURFACE_MOUTH, SURFACE_TEETH, SURFACE_CLOTH, SURFACE_HAT = range(6)

# The skin map unrolls the head around a vertical axis: columns are azimuth, rows height, about 256 texels
# per dm.
MAP_REACH = 2.2  # radians either side of the face
MAP_WIDTH, MAP_HEIGHT = 1126, 800
TEXELS_PER_UM = 256 / 100_000

SKY_DIRECTIONS = 48
SKY_RASTER = 320
SKY_BIAS = 3000.0  # micrometres: nearer surfaces do not shade each other


@dataclass(frozen=True)
class Head:
    """Topology and mean shape of the head; positions in micrometres of the model frame."""

    model: HeadModel
    canonical: Floats  # (V, 3) mean head
    triangles: Integers  # (F, 3)
    surface: Bytes  # (F,) SURFACE_*
    ear: Floats  # (V,) 1 on the ears
    map_position: Floats  # (V, 2) column, row on the skin map
    occlusion: Floats  # (V,) 1 in the open, darker in hollows
    landmark_vertices: Integers  # (68,)
    cheek_vertices: Integers  # skin of the face without ears: what its outline is made of
    shoulder_border: Integers  # (B,) loop of vertices where the mesh ends, counter-clockwise from above
    anatomy: Anatomy

    @property
    def lowest_of_face(self) -> float:
        """Smallest y of the face model's mesh: all above moves as one with the head."""
        return float(self.canonical[self.model.face_vertices.numpy(), 1].min())

    @property
    def landmarks(self) -> Floats:
        """(68, 3) on the mean head."""
        return self.canonical[self.landmark_vertices]

    def vertices(self, identity: Floats, expression: Floats) -> Floats:
        """(V, 3) of one face from coefficients in sigma (199,), (29,)."""
        shape = head_vertices_from_coefficients(
            self.model, torch.from_numpy(identity)[None], torch.from_numpy(expression)[None]
        )
        return shape[0].numpy()


@functools.cache
def load_head() -> Head:
    """The default model's head, prepared for painting; about a second, once per process."""
    model = default_head()
    canonical = model.mean.numpy()
    triangles = model.triangles.numpy()
    surface = np.empty(len(triangles), np.uint8)
    for kind, code in (
        (head_asset.SKIN, SURFACE_SKIN), (head_asset.EYE, SURFACE_EYE),
        (head_asset.INNER_MOUTH, SURFACE_MOUTH), (head_asset.TEETH, SURFACE_TEETH),
    ):  # fmt: skip
        surface[model.triangle_kind.numpy() == kind] = code
    landmarks = model.face_vertices.numpy()[default_model().landmarks.numpy()]
    anatomy = measure(canonical, triangles, surface == SURFACE_SKIN, model.ears.numpy(), canonical[landmarks])
    return Head(
        model=model,
        canonical=canonical,
        triangles=triangles,
        surface=surface,
        ear=model.ears.numpy(),
        map_position=map_position(canonical, anatomy),
        occlusion=sky_occlusion(canonical, triangles),
        landmark_vertices=landmarks,
        cheek_vertices=np.flatnonzero(_on_cheek(model, canonical, triangles[surface == SURFACE_SKIN])),
        shoulder_border=border_loop(triangles, canonical[:, 1] < anatomy.chin[1] - 20e3),
        anatomy=anatomy,
    )


def _on_cheek(model: HeadModel, canonical: Floats, skin: Integers) -> Bytes:
    chosen = np.zeros(len(canonical), bool)
    chosen[skin.ravel()] = True
    face = np.zeros(len(canonical), bool)
    face[model.face_vertices.numpy()] = True
    return chosen & face & (model.ears.numpy() < 0.1)


def map_position(points: Floats, anatomy: Anatomy) -> Floats:
    """(N, 2) column and row on the skin map of canonical points (N, 3)."""
    relative = points - anatomy.skull_centre
    column = (np.arctan2(relative[:, 0], relative[:, 2]) / MAP_REACH * 0.5 + 0.5) * MAP_WIDTH
    row = (anatomy.top - points[:, 1]) * TEXELS_PER_UM
    return np.stack((column, row), 1).astype(np.float32)


def sky_occlusion(points: Floats, triangles: Integers) -> Floats:
    """(V,) how much of an even light from all sides reaches each vertex, scaled to 1 in the open; hollows
    are darker.

    Each of SKY_DIRECTIONS lights looks at the mesh through a z-buffer: what it sees, it lights.
    """
    normals = smooth_normals(points.astype(np.float64), triangles)
    lit, total = np.zeros(len(points)), np.zeros(len(points))
    extent = float(np.abs(points).max()) * 1.05
    for k in range(SKY_DIRECTIONS):
        height = 1 - (2 * k + 1) / SKY_DIRECTIONS
        around = k * math.pi * (3 - math.sqrt(5))
        forward = np.array(
            [math.cos(around) * math.sqrt(1 - height**2), height, math.sin(around) * math.sqrt(1 - height**2)]
        )
        side = np.cross([0.3, 0.1, 1.0], forward)
        side /= np.linalg.norm(side)
        seen = points @ np.stack((side, np.cross(forward, side), forward)).T
        half = SKY_RASTER / 2
        seen[:, :2] = half + seen[:, :2] * [half / extent, -half / extent]
        depth = rasterize(
            torch.from_numpy(seen.astype(np.float32))[None], torch.from_numpy(triangles), SKY_RASTER,
            SKY_RASTER
        ).depth[0].numpy()  # fmt: skip
        facing = np.clip(normals @ forward, 0, 1)
        place = np.clip(np.round(seen[:, :2]).astype(int), 0, SKY_RASTER - 1)
        free = depth[place[:, 1], place[:, 0]] < seen[:, 2] + SKY_BIAS
        lit += facing * free
        total += facing
    open_share = lit / np.maximum(total, 1e-6)
    return np.clip(0.30 + 0.78 * open_share, 0, 1).astype(np.float32)
