"""Fit of shape, camera and light to photographs: landmarks first, then pixels, batched."""

import torch
from torch import Tensor

from facefill.geometry.landmark_fitting import fit_landmarks
from facefill.geometry.landmark_rows import NUM_JAW
from facefill.geometry.morphable_model import MorphableModel
from facefill.geometry.photometric import light_and_skin, refine
from facefill.geometry.reconstruction import Fit, reconstruct
from facefill.geometry.texture import unwrap
from facefill.geometry.uv_atlas import UVAtlas

RESIDUAL_STRIDE = 2  # a mean over every fourth texel is as good


def fit_faces(
    image: Tensor,  # (N, 3, H, W) in [0, 1]
    landmarks: Tensor,  # (N, 68 or 5, 2) pixels
    weights: Tensor,  # (N, 68 or 5)
    model: MorphableModel,
    atlas: UVAtlas,
    hole: Tensor | None = None,  # (N, 1, H, W), 1 = unknown
) -> tuple[Fit, dict[str, Tensor]]:
    """Shape, camera and light from landmarks and pixels, and how well they explain the picture.

    What lies in the hole has no influence. Residuals, each (N,): `landmark_px`, mean distance of the given
    points without the jaw, in pixels; `photometric`, mean absolute difference of texture and estimated
    albedo × shading over what is visible, in [0, 1]; `seen`, the part of the atlas that is visible.
    """
    fit = fit_landmarks(landmarks, weights, model, five_points=landmarks.shape[1] == 5)
    fit, skin = refine(image, landmarks, weights, fit, model, atlas, hole)
    return fit, residuals(image, landmarks, weights, fit, skin, model, atlas, hole)


def fit_light(
    image: Tensor,  # (N, 3, H, W) in [0, 1]
    landmarks: Tensor,  # (N, 68 or 5, 2) pixels
    weights: Tensor,  # (N, 68 or 5)
    fit: Fit,
    model: MorphableModel,
    atlas: UVAtlas,
    hole: Tensor | None = None,  # (N, 1, H, W), 1 = unknown
) -> tuple[Fit, dict[str, Tensor]]:
    """The fit with the light that the pixels show, shape and camera kept; residuals as of fit_faces."""
    light, skin = light_and_skin(image, fit, model, atlas, hole)
    lit = Fit(fit.identity, fit.expression, fit.camera, light)
    return lit, residuals(image, landmarks, weights, lit, skin, model, atlas, hole)


def residuals(
    image: Tensor,  # (N, 3, H, W) in [0, 1]
    landmarks: Tensor,  # (N, 68 or 5, 2)
    weights: Tensor,  # (N, 68 or 5)
    fit: Fit,
    skin: Tensor,  # (N, A)
    model: MorphableModel,
    atlas: UVAtlas,
    hole: Tensor | None = None,  # (N, 1, H, W)
) -> dict[str, Tensor]:
    """What fit_faces returns beside the fit."""
    mesh = reconstruct(fit, model, atlas, *image.shape[2:])
    known = torch.ones_like(image[:, :1])
    if hole is not None:
        image, known = torch.where(hole > 0, 0, image), known * (hole == 0)
    texture, visible = unwrap(torch.cat((image, known), 1), mesh.projected, model, atlas, mesh.fragments)
    seen = visible * (texture[:, 3:] > 0.999)  # a texel is known where its whole sample is
    step = slice(None, None, RESIDUAL_STRIDE)
    expected = (skin_albedo(model, skin) * mesh.shading)[:, :, step, step]
    difference = (texture[:, :3, step, step] - expected).abs().mean(1, keepdim=True)
    compared = seen[:, :, step, step]
    return {
        "landmark_px": landmark_residual(mesh.projected, landmarks, weights, model),
        "photometric": (difference * compared).sum((1, 2, 3)) / compared.sum((1, 2, 3)).clamp_min(1),
        "seen": seen.sum((1, 2, 3)) / atlas.face.sum(),
    }


def skin_albedo(model: MorphableModel, skin: Tensor) -> Tensor:  # (N, A)
    """(N, 3, 192, 256) albedo in [0, 1] of skins in standard deviations."""
    return (model.mean_albedo + torch.einsum("na,achw->nchw", skin, model.albedo_basis)).clamp(0, 1)


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
