"""Fit of shape, camera and light to photographs: landmarks first, then pixels, batched."""

import torch
from torch import Tensor

from facefill.geometry.camera import project
from facefill.geometry.illumination import estimate_illumination
from facefill.geometry.landmark_fitting import fit_landmarks
from facefill.geometry.landmark_rows import NUM_JAW
from facefill.geometry.mesh import vertex_normals
from facefill.geometry.morphable_model import MorphableModel, vertices_from_coefficients
from facefill.geometry.rasterizer import rasterize
from facefill.geometry.reconstruction import Fit, uv_normals
from facefill.geometry.spherical_harmonics import shade_maps
from facefill.geometry.texture import unwrap
from facefill.geometry.uv_atlas import UVAtlas

RESIDUAL_STRIDE = 2  # a mean over every fourth texel is as good


def fit_faces(
    image: Tensor,  # (N, 3, H, W) in [0, 1]
    landmarks: Tensor,  # (N, 68 or 5, 2) pixels
    weights: Tensor,  # (N, 68 or 5)
    model: MorphableModel,
    atlas: UVAtlas,
) -> tuple[Fit, dict[str, Tensor]]:
    """Shape and camera from the landmarks, light from the pixels, and how well they explain the picture.

    Residuals, each (N,): `landmark_px`, mean distance of the given points without the jaw, in pixels;
    `photometric`, mean absolute difference of texture and mean albedo × shading × the skin's brightness in
    each channel over what is visible, in [0, 1]; `seen`, the part of the atlas that is visible.
    """
    fit = fit_landmarks(landmarks, weights, model, five_points=landmarks.shape[1] == 5)
    return fit_light(image, landmarks, weights, fit, model, atlas)


def fit_light(
    image: Tensor,  # (N, 3, H, W) in [0, 1]
    landmarks: Tensor,  # (N, 68 or 5, 2) pixels
    weights: Tensor,  # (N, 68 or 5)
    fit: Fit,
    model: MorphableModel,
    atlas: UVAtlas,
) -> tuple[Fit, dict[str, Tensor]]:
    """The fit with the light that the pixels show, shape and camera kept; residuals as of fit_faces."""
    vertices = vertices_from_coefficients(model, fit.identity, fit.expression)
    projected = project(vertices, fit.camera)
    fragments = rasterize(projected, model.triangles, *image.shape[2:])
    texture, visible = unwrap(image, projected, model, atlas, fragments)
    normals = uv_normals(
        vertex_normals(vertices, model.triangles) @ fit.camera.rotation.transpose(1, 2), atlas
    )
    illumination = estimate_illumination(texture, visible, normals, model.mean_albedo)
    residuals = {
        "landmark_px": landmark_residual(projected, landmarks, weights, model),
        "photometric": photometric_residual(texture, visible, normals, illumination, model.mean_albedo),
        "seen": visible.sum((1, 2, 3)) / atlas.face.sum(),
    }
    return Fit(fit.identity, fit.expression, fit.camera, illumination), residuals


def photometric_residual(
    texture: Tensor,  # (N, 3, 192, 256) in [0, 1]
    visible: Tensor,  # (N, 1, 192, 256)
    normals: Tensor,  # (N, 3, 192, 256) unit, camera frame
    illumination: Tensor,  # (N, 3, 9)
    mean_albedo: Tensor,  # (3, 192, 256)
) -> Tensor:
    """(N,) mean absolute difference of the texture and the mean albedo in that light.

    Each channel is scaled to the skin's brightness first, so that it tells dark skin from a bad fit.
    """
    texture, visible, normals, mean_albedo = (
        maps[..., ::RESIDUAL_STRIDE, ::RESIDUAL_STRIDE] for maps in (texture, visible, normals, mean_albedo)
    )
    expected = mean_albedo * shade_maps(normals, illumination) * visible
    skin = (texture * expected).sum((2, 3)) / expected.square().sum((2, 3)).clamp_min(1e-6)
    difference = (texture - skin[:, :, None, None] * expected).abs().mean(1)
    return difference.sum((1, 2)) / visible.sum((1, 2, 3)).clamp_min(1)


def landmark_residual(
    projected: Tensor,  # (N, V, 3)
    landmarks: Tensor,  # (N, 68 or 5, 2)
    weights: Tensor,  # (N, 68 or 5)
    model: MorphableModel,
) -> Tensor:
    """(N,) weighted mean distance in pixels between the points and the model's, without the jaw."""
    own = projected[:, model.landmarks, :2]
    if landmarks.shape[1] == 5:
        eyes = own[:, 36:48].unflatten(1, (2, 6)).mean(2)
        own = torch.cat((eyes, own[:, [30, 48, 54]]), 1)
    else:
        own, landmarks, weights = own[:, NUM_JAW:], landmarks[:, NUM_JAW:], weights[:, NUM_JAW:]
    given = torch.where(weights[:, :, None] > 0, landmarks, own)
    distance = torch.linalg.vector_norm(own - given, dim=2)
    return (distance * weights).sum(1) / weights.sum(1).clamp_min(1e-6)
