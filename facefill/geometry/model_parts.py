"""From what a model's files say to the one object that everything uses."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from facefill.geometry.albedo_transfer import transferred_albedo
from facefill.geometry.face_outline import face_outline
from facefill.geometry.mesh_symmetry import symmetrised_points
from facefill.geometry.morphable_model import EXPRESSION_COUNT, IDENTITY_COUNT, MorphableModel
from facefill.geometry.parameterization import symmetric_texel_coordinates
from facefill.geometry.uv_atlas import rasterize_atlas, uv_from_vertices

ALBEDO_COMPONENTS = 40


@dataclass(frozen=True)
class VertexColours:
    """mean (V, 3) in [0, 1] RGB and basis (A, V, 3), one standard deviation each."""

    mean: NDArray[np.float64]
    basis: NDArray[np.float32]


@dataclass(frozen=True)
class ModelParts:
    """A face model on an exactly mirror-symmetric mesh, before its atlas is made.

    mean (V, 3) µm; identity (I, V, 3) and expression (E, V, 3) µm for one standard deviation, I <= 199, E <=
    29; identity_sigma (I,) and expression_sigma (E,): one standard deviation in the numbers of the model's
    files; triangles (F, 3) counter-clockwise from outside; landmarks (68,); mirror (V,); colours, where the
    files have any.
    """

    name: str
    mean: NDArray[np.float64]
    identity: NDArray[np.float32]
    expression: NDArray[np.float32]
    identity_sigma: NDArray[np.float64]
    expression_sigma: NDArray[np.float64]
    triangles: NDArray[np.int64]
    landmarks: NDArray[np.int64]
    mirror: NDArray[np.int64]
    colours: VertexColours | None


def model_from_parts(parts: ModelParts) -> MorphableModel:
    """The model with its atlas and albedo; components that it does not have are zero, with sigma 0.

    A model without colours takes mean and basis of the albedo from the default head.
    """
    symmetric = symmetrised_points(parts.mean, parts.mirror)
    uv = symmetric_texel_coordinates(symmetric, parts.triangles, parts.mirror)
    atlas = rasterize_atlas(uv.astype(np.float64), parts.triangles, parts.mirror)
    mean = torch.from_numpy(parts.mean.astype(np.float32))
    if parts.colours is None:
        triangles, landmarks = torch.from_numpy(parts.triangles), torch.from_numpy(parts.landmarks)
        albedo, basis = transferred_albedo(mean, triangles, landmarks, atlas)
    else:
        albedo = uv_from_vertices(torch.from_numpy(parts.colours.mean.astype(np.float32))[None], atlas)[0]
        basis = uv_from_vertices(torch.from_numpy(parts.colours.basis[:ALBEDO_COMPONENTS]), atlas)
    return MorphableModel(
        name=parts.name,
        mean=mean,
        identity_basis=torch.from_numpy(_padded(parts.identity, IDENTITY_COUNT)),
        expression_basis=torch.from_numpy(_padded(parts.expression, EXPRESSION_COUNT)),
        identity_sigma=torch.from_numpy(_padded(parts.identity_sigma, IDENTITY_COUNT)),
        expression_sigma=torch.from_numpy(_padded(parts.expression_sigma, EXPRESSION_COUNT)),
        triangles=torch.from_numpy(parts.triangles),
        landmarks=torch.from_numpy(parts.landmarks),
        mirror=torch.from_numpy(parts.mirror),
        uv=torch.from_numpy(uv),
        mean_albedo=albedo.clamp(0, 1),
        albedo_basis=basis,
    )


def restricted(
    parts: ModelParts, kept: NDArray[np.int64], triangles: NDArray[np.int64], mirror: NDArray[np.int64]
) -> ModelParts:
    """The part of a model on the vertices `kept` (K,), ascending, with triangles and mirror of these.

    A landmark that is not among them goes to the nearest vertex that is.
    """
    from scipy.spatial import cKDTree

    colours = parts.colours
    return replace(
        parts,
        mean=parts.mean[kept],
        identity=parts.identity[:, kept],
        expression=parts.expression[:, kept],
        triangles=triangles,
        landmarks=cKDTree(parts.mean[kept]).query(parts.mean[parts.landmarks])[1].astype(np.int64),
        mirror=mirror,
        colours=None if colours is None else VertexColours(colours.mean[kept], colours.basis[:, kept]),
    )


def face_alone(parts: ModelParts) -> ModelParts:
    """The model without the rest of the head (face_outline.py)."""
    points = symmetrised_points(parts.mean, parts.mirror)
    return restricted(parts, *face_outline(points, parts.triangles, parts.mirror, parts.landmarks))


def outward_triangles(
    triangles: NDArray[np.int64], points: NDArray[np.float64], nose_tip: int
) -> NDArray[np.int64]:
    """The triangles wound so that the face is seen counter-clockwise: the nose points towards +z."""
    corners = points[triangles[(triangles == nose_tip).any(1)]]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return triangles if normals[:, 2].sum() > 0 else np.ascontiguousarray(triangles[:, ::-1])


def _padded(values: NDArray[np.floating], count: int) -> NDArray[np.float32]:
    """The first `count` rows in float32, zero where there are fewer."""
    padded = np.zeros((count, *values.shape[1:]), dtype=np.float32)
    padded[: len(values)] = values[:count]
    return padded
