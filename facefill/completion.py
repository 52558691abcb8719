"""Complete a face: fit, unwrap, inpaint the albedo, render, blend, and refine once more (paper 3.2, Fig. 3).

The pixels under the hole are replaced by mid-grey before anything looks at the image, so they cannot
influence the result. Pixels outside the hole are returned untouched.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from facefill.geometry.camera import project
from facefill.geometry.morphable_model import MorphableModel, vertices_from_coefficients
from facefill.geometry.photometric import refine
from facefill.geometry.reconstruction import Fit, Reconstruction, reconstruct
from facefill.geometry.texture import coverage, fill_hidden, render, unwrap
from facefill.geometry.uv_atlas import UVAtlas
from facefill.networks.encoder import EncoderOutput

# masked albedo and known texels -> completed albedo and log_sigma
Inpainter = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

HIDDEN_GREY = 0.5
ITERATIONS = 2
ENCODER_TRUST = 0.005  # weight of its landmarks where a marked point has 1; 0.02 and 0.001 measured worse


@dataclass(frozen=True)
class Factors:
    """An image taken apart in UV space.

    albedo (N, 3, 192, 256) in [0, 1]; visible, known (N, 1, 192, 256): seen in the image, seen and not
    under the hole; reconstruction: the mesh with its shading and its fragments.
    """

    albedo: Tensor
    visible: Tensor
    known: Tensor
    reconstruction: Reconstruction


@dataclass(frozen=True)
class Completion:
    """One pass of the method.

    image (N, 3, H, W): blended; rendered (N, 3, H, W) and coverage (N, 1, H, W): the whole completed face;
    albedo, texture (N, 3, 192, 256); log_sigma (N, 1, 192, 256) and image_log_sigma (N, 1, H, W): the
    uncertainty; factors and fit: what went in.
    """

    image: Tensor
    rendered: Tensor
    coverage: Tensor
    albedo: Tensor
    texture: Tensor
    log_sigma: Tensor
    image_log_sigma: Tensor
    factors: Factors
    fit: Fit


def hide(image: Tensor, hole: Tensor) -> Tensor:
    """The image with mid-grey under the hole: all that a network may see of it."""
    return torch.where(hole > 0, torch.full_like(image, HIDDEN_GREY), image)


def fit_from_encoder(output: EncoderOutput) -> Fit:
    """The encoder's answer as a fit in the frame of the image it saw."""
    return Fit(output.identity, output.expression, output.camera, output.illumination)


def refined(image: Tensor, hole: Tensor, fit: Fit, model: MorphableModel, atlas: UVAtlas) -> Fit:
    """The fit that explains the pixels around the hole, with the encoder's landmarks to hold on to.

    Shape, camera and light move; what lies in the hole has no influence (log, 2026-11-22).
    """
    vertices = vertices_from_coefficients(model, fit.identity, fit.expression)
    landmarks = project(vertices, fit.camera)[:, model.landmarks, :2]
    weights = landmarks.new_full(landmarks.shape[:2], ENCODER_TRUST)
    return refine(image, landmarks, weights, fit, model, atlas, hole)[0]


def factorize(image: Tensor, hole: Tensor, fit: Fit, model: MorphableModel, atlas: UVAtlas) -> Factors:
    """Image (N, 3, H, W) and hole (N, 1, H, W) to UV albedo (paper Fig. 3b).

    A texel is known if no hole pixel takes part in its sample.
    """
    height, width = image.shape[-2:]
    mesh = reconstruct(fit, model, atlas, height, width)
    sampled, visible = unwrap(torch.cat([image, hole], 1), mesh.projected, model, atlas, mesh.fragments)
    albedo = (sampled[:, :3] / mesh.shading).clamp(0, 1) * visible
    known = visible * (sampled[:, 3:] < 1e-3)
    return Factors(albedo, visible, known, mesh)


def inpaint(
    image: Tensor, hole: Tensor, factors: Factors, fit: Fit, inpainter: Inpainter, model: MorphableModel
) -> Completion:
    """Complete the albedo, shade, render and blend (paper Fig. 3); image and hole as for `factorize`."""
    mesh = factors.reconstruction
    albedo, log_sigma = inpainter(factors.albedo * factors.known, factors.known)
    texture = (albedo * mesh.shading).clamp(0, 1)
    drawn = render(torch.cat([texture, log_sigma], 1), mesh.fragments, model)
    rendered, image_log_sigma = drawn[:, :3], drawn[:, 3:]
    covered = coverage(mesh.fragments)
    blended = blend(image, hole, rendered, covered)
    return Completion(blended, rendered, covered, albedo, texture, log_sigma, image_log_sigma, factors, fit)


def blend(image: Tensor, hole: Tensor, rendered: Tensor, covered: Tensor) -> Tensor:
    """The rendering inside the hole without a seam, the image outside; (N, 3, H, W) as `image`.

    What the rendering lacks on the visible face around the hole is continued smoothly into it and added, as
    in seamless cloning (the paper pastes; log, 2026-11-22: +0.7 dB in the hole). Hole pixels that the mesh
    misses are filled from around them. hole, covered (N, 1, H, W); pixels under the hole have no influence.
    """
    seen = (1 - hole) * covered
    lacking = fill_hidden((image - rendered) * seen, seen)
    inside = hole * covered
    pasted = torch.where(inside > 0, (rendered + lacking).clamp(0, 1), image)
    missed = hole * (1 - covered)
    if missed.device.type == "cpu" and not bool(missed.any()):  # a GPU would have to be waited for
        return pasted
    return torch.where(missed > 0, fill_hidden(pasted, 1 - missed), pasted)


def mean_albedo_of(model: MorphableModel) -> Inpainter:
    """An inpainter that knows nothing but the mean albedo: what the learned one is measured against."""

    def answer(albedo: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        return model.mean_albedo.to(albedo).expand_as(albedo), torch.zeros_like(known)

    return answer


def complete(
    image: Tensor,
    hole: Tensor,
    encoder: nn.Module,
    inpainter: Inpainter,
    model: MorphableModel,
    atlas: UVAtlas,
    iterations: int = ITERATIONS,
    by_pixels: bool = True,
) -> list[Completion]:
    """Complete faces, one result per refinement iteration, the last the best (supplementary 3.1).

    image (N, 3, 224, 224) in [0, 1]; hole (N, 1, 224, 224), 1 = missing. Only what the encoder sees changes
    between the iterations: texture and hole keep coming from the given image. by_pixels: the encoder's fit is
    refined by the visible pixels (ours, +1 dB in the hole for 0.2 s a face and iteration); the paper takes it
    as it is.
    """
    masked = hide(image, hole)
    seen = masked
    results = []
    for _ in range(iterations):
        fit = fit_from_encoder(encoder(seen))
        if by_pixels:
            fit = refined(masked, hole, fit, model, atlas)
        factors = factorize(masked, hole, fit, model, atlas)
        results.append(inpaint(masked, hole, factors, fit, inpainter, model))
        seen = results[-1].image
    return results
