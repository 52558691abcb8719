"""A fit (shape, camera, light of one face) as one vector, and the mesh, shading and fragments that it
stands for.

Vector layout, 261 numbers: identity 199, expression 29, scale, Euler angles 3, translation 2, illumination
27 (red, green, blue times nine). Coefficients are in standard deviations.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from facefill.geometry.camera import WeakPerspective, mirror_camera, project
from facefill.geometry.mesh import vertex_normals
from facefill.geometry.morphable_model import MorphableModel, vertices_from_coefficients
from facefill.geometry.rasterizer import Fragments, rasterize
from facefill.geometry.shapes import check_shape
from facefill.geometry.spherical_harmonics import mirror_illumination, shade_maps
from facefill.geometry.uv_atlas import UVAtlas, uv_from_vertices

NUM_IDENTITY, NUM_EXPRESSION = 199, 29
PARTS = (NUM_IDENTITY, NUM_EXPRESSION, 1, 3, 2, 27)
FIT_SIZE = sum(PARTS)


@dataclass(frozen=True)
class Fit:
    """Everything that the morphable model says about one photograph of a face."""

    identity: Tensor  # (N, 199) standard deviations
    expression: Tensor  # (N, 29) standard deviations
    camera: WeakPerspective
    illumination: Tensor  # (N, 3, 9)


@dataclass(frozen=True)
class Reconstruction:
    """The face that a fit describes, as an image of H x W sees it."""

    vertices: Tensor  # (N, V, 3) model frame, micrometres
    projected: Tensor  # (N, V, 3) column, row, depth
    normals: Tensor  # (N, V, 3) unit, camera frame
    uv_normals: Tensor  # (N, 3, 192, 256) the same in UV, 0 where the atlas is empty
    shading: Tensor  # (N, 3, 192, 256); where the atlas is empty, that of the ambient light
    fragments: Fragments


def reconstruct(fit: Fit, model: MorphableModel, atlas: UVAtlas, height: int, width: int) -> Reconstruction:
    """Mesh, projection, shading in UV and fragments of a fit; differentiable in all parts of the fit."""
    vertices = vertices_from_coefficients(model, fit.identity, fit.expression)
    projected = project(vertices, fit.camera)
    normals = vertex_normals(vertices, model.triangles) @ fit.camera.rotation.transpose(1, 2)
    in_uv = uv_normals(normals, atlas)
    return Reconstruction(
        vertices=vertices,
        projected=projected,
        normals=normals,
        uv_normals=in_uv,
        shading=shade_maps(in_uv, fit.illumination),
        fragments=rasterize(projected, model.triangles, height, width),
    )


def uv_normals(normals: Tensor, atlas: UVAtlas) -> Tensor:  # (N, V, 3)
    """(N, 3, 192, 256) unit normals in UV, 0 where the atlas is empty."""
    blended = uv_from_vertices(normals, atlas)
    # functional.normalize takes ten times as long over so short and strided an axis
    return blended * (blended.square().sum(1, keepdim=True) + 1e-12).rsqrt()


def fit_to_vector(fit: Fit) -> Tensor:
    """(N, 261) the fit as one vector."""
    camera = fit.camera
    parts = (fit.identity, fit.expression, camera.scale[:, None], camera.euler_xyz, camera.translation)
    return torch.cat((*parts, fit.illumination.flatten(1)), 1)


def fit_from_vector(vector: Tensor) -> Fit:  # (N, 261)
    """The fit of a vector; inverse of fit_to_vector."""
    check_shape("vector", vector, "N", FIT_SIZE)
    identity, expression, scale, euler_xyz, translation, illumination = vector.split(PARTS, 1)
    camera = WeakPerspective(scale[:, 0], euler_xyz, translation)
    return Fit(identity, expression, camera, illumination.unflatten(1, (3, 9)))


def mirror_fit(fit: Fit, mirror_matrix: Tensor, width: int) -> Fit:  # (228, 228) of mirror_coefficients
    """The fit of the image flipped left to right; `width` is the image's."""
    check_shape("mirror_matrix", mirror_matrix, NUM_IDENTITY + NUM_EXPRESSION, NUM_IDENTITY + NUM_EXPRESSION)
    mirrored = torch.cat((fit.identity, fit.expression), 1) @ mirror_matrix
    identity, expression = mirrored.split((NUM_IDENTITY, NUM_EXPRESSION), 1)
    return Fit(identity, expression, mirror_camera(fit.camera, width), mirror_illumination(fit.illumination))


def shift_fit(fit: Fit, offset: Tensor) -> Fit:  # (2,) or (N, 2)
    """The fit after `offset` (columns, rows) was added to all pixel positions; a crop at (c, r) adds (-c,
    -r)."""
    camera = WeakPerspective(fit.camera.scale, fit.camera.euler_xyz, fit.camera.translation + offset)
    return Fit(fit.identity, fit.expression, camera, fit.illumination)
