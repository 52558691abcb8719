"""A batch of faces with known ground truth, drawn by the project's own geometry in a few milliseconds
each.
"""

import torch
from torch import Tensor

from facefill.face_parsing import BACKGROUND, FACE
from facefill.geometry.camera import WeakPerspective
from facefill.geometry.default_model import default_model
from facefill.geometry.morphable_model import MorphableModel
from facefill.geometry.reconstruction import Fit, Reconstruction, fit_to_vector, reconstruct
from facefill.geometry.spherical_harmonics import ambient_illumination
from facefill.geometry.texture import coverage, render, unwrap
from facefill.geometry.uv_atlas import UVAtlas, build_atlas
from facefill.stages import Batch

SIZE = 256


def model_and_atlas() -> tuple[MorphableModel, UVAtlas]:
    """The default model with its atlas."""
    model = default_model()
    return model, build_atlas(model)


def random_fit(count: int, seed: int, middle: tuple[float, float] = (128.0, 125.0)) -> Fit:
    """Moderate people, poses and lights, in the frame of an aligned picture."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    light = ambient_illumination(count, 0.9)
    light[:, :, 1:4] += 0.15 * normal(count, 1, 3)
    camera = WeakPerspective(
        torch.full((count,), 1.0e-3) * (1 + 0.03 * normal(count)),
        0.25 * normal(count, 3) * torch.tensor([0.5, 1.0, 0.3]),
        torch.tensor(middle) + 2 * normal(count, 2),
    )
    return Fit(0.8 * normal(count, 199), 0.6 * normal(count, 29), camera, light)


def draw(fit: Fit, model: MorphableModel, atlas: UVAtlas, size: int = SIZE) -> tuple[Tensor, Reconstruction]:
    """Pictures (N, 3, size, size) of the mean albedo in the fits' light before a bluish ground, and
    their meshes.
    """
    mesh = reconstruct(fit, model, atlas, size, size)
    texture = (model.mean_albedo * mesh.shading).clamp(0, 1)
    covered = coverage(mesh.fragments)
    ground = torch.tensor([0.35, 0.45, 0.6]).view(1, 3, 1, 1)
    return render(texture, mesh.fragments, model) * covered + ground * (1 - covered), mesh


def degrees_between(a: Tensor, b: Tensor) -> Tensor:
    """(N,) angle of the rotation that takes rotation a (N, 3, 3) to b: 3 - trace = |a - b|² / 2."""
    chord = torch.linalg.matrix_norm(a.double() - b.double()) / 2**1.5
    return torch.rad2deg(2 * torch.asin(chord.clamp(max=1)))


def make_batch(count: int = 2, seed: int = 0) -> Batch:
    """What a loader would give for `count` faces."""
    model, atlas = model_and_atlas()
    fit = random_fit(count, seed)
    image, mesh = draw(fit, model, atlas)
    texture, visible = unwrap(image, mesh.projected, model, atlas, mesh.fragments)
    covered = coverage(mesh.fragments)[:, 0] > 0
    return {
        "key": [f"face/{seed}-{number}" for number in range(count)],
        "seed": torch.arange(count) + 1000 * seed,
        "image": image,
        "landmarks": mesh.projected[:, model.landmarks, :2],
        "parsing": torch.where(covered, FACE, BACKGROUND),
        "fit": fit_to_vector(fit),
        "uv_texture": texture,
        "uv_albedo": (texture / mesh.shading).clamp(0, 1),
        "uv_visible": visible,
    }
