"""Skin for models that come without colour: the default head's albedo, carried over by a smooth warp.

The warp is the thin-plate spline of space that takes the model's 68 landmarks to those of the default head
(Bookstein 1989, with the three-dimensional kernel r). Each texel's point is warped and takes the albedo that
lies nearest to it on the default head, so brows, lips and eyes land on brows, lips and eyes.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facefill.geometry.default_model import default_model
from facefill.geometry.mesh import vertex_normals
from facefill.geometry.morphable_model import MorphableModel
from facefill.geometry.uv_atlas import UVAtlas, build_atlas, flip_uv, uv_from_vertices

NEIGHBOURS = 4  # texels of the default head that are blended, by distance
SMALLEST_DISTANCE = 50.0  # micrometres
TURN_DISTANCE = 8e3  # micrometres that a unit of difference between two normals counts


def transferred_albedo(
    mean: Tensor, triangles: Tensor, landmarks: Tensor, atlas: UVAtlas
) -> tuple[Tensor, Tensor]:
    """Mean albedo (3, 192, 256) and albedo basis (A, 3, 192, 256) for a mean face (V, 3) µm.

    triangles (F, 3); landmarks (68,) vertex ids; atlas of the model. Mirror-symmetric where the atlas is.
    """
    donor = default_model()
    rows, weights = _nearest_texels(donor, mean, triangles, landmarks, atlas)
    maps = torch.cat((donor.mean_albedo[None], donor.albedo_basis))
    donor_texels = maps.flatten(2)[:, :, _face_texels(build_atlas(donor))]
    carried = (donor_texels[:, :, rows] * weights).sum(3)
    albedo = maps.new_zeros(len(maps), 3, atlas.face.numel())
    albedo[:, :, _face_texels(atlas)] = carried
    albedo = albedo.view(len(maps), 3, *atlas.face.shape)
    if torch.equal(flip_uv(atlas.face), atlas.face):
        albedo = 0.5 * (albedo + flip_uv(albedo))
    return albedo[0], albedo[1:]


def thin_plate_warp(
    source: NDArray[np.float64], goal: NDArray[np.float64], points: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Points (n, 3) under the smoothest map of space that takes source (k, 3) to goal (k, 3)."""
    affine = np.concatenate([np.ones((len(source), 1)), source], 1)
    corner = np.zeros((4, 4))
    system = np.block([[_distances(source, source), affine], [affine.T, corner]])
    right = np.concatenate([goal, np.zeros((4, 3))])
    solution = np.linalg.lstsq(system, right, rcond=None)[0]
    bent = _distances(points, source) @ solution[:-4]
    return bent + np.concatenate([np.ones((len(points), 1)), points], 1) @ solution[-4:]


def _nearest_texels(
    donor: MorphableModel, mean: Tensor, triangles: Tensor, landmarks: Tensor, atlas: UVAtlas
) -> tuple[Tensor, Tensor]:
    """For each face texel, NEIGHBOURS face texels of the donor (n, k) and their weights (n, k), sum 1."""
    from scipy.spatial import cKDTree

    unit = 1e5  # decimetres keep the system well conditioned
    points, normals = _texel_points(mean, triangles, atlas)
    donor_points, donor_normals = _texel_points(donor.mean, donor.triangles, build_atlas(donor))
    warped = unit * thin_plate_warp(
        mean[landmarks].double().numpy() / unit,
        donor.mean[donor.landmarks].double().numpy() / unit,
        points / unit,
    )
    # a hollow beside a cheek, an upper beside a lower lip: near, but turned elsewhere
    tree = cKDTree(np.concatenate([donor_points, TURN_DISTANCE * donor_normals], 1))
    distances, rows = tree.query(np.concatenate([warped, TURN_DISTANCE * normals], 1), NEIGHBOURS)
    weights = 1 / np.maximum(distances, SMALLEST_DISTANCE) ** 2
    weights /= weights.sum(1, keepdims=True)
    return torch.from_numpy(rows), torch.from_numpy(weights.astype(np.float32))


def _texel_points(
    mean: Tensor, triangles: Tensor, atlas: UVAtlas
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points (n, 3) and normals (n, 3) of the mean face at the face texels, in their order."""
    fields = torch.cat((mean, vertex_normals(mean[None], triangles)[0]), 1)
    table = uv_from_vertices(fields[None], atlas)[0].flatten(1)[:, _face_texels(atlas)].T.double().numpy()
    return table[:, :3], table[:, 3:]


def _face_texels(atlas: UVAtlas) -> Tensor:
    return torch.nonzero(atlas.face.flatten())[:, 0]


def _distances(points: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.linalg.norm(points[:, None] - centres[None], axis=2)
