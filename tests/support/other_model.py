"""A face model that is not the default one, and pictures whose stored parameters belong to it."""

import dataclasses
from pathlib import Path

import numpy as np
import scipy.io
import torch

from facefill.geometry.default_model import default_model
from facefill.geometry.morphable_model import MorphableModel
from facefill.geometry.reconstruction import Fit
from facefill.geometry.uv_atlas import build_atlas
from facefill.samples import encode_jpeg
from tests.support.faces import SIZE, draw, random_fit

IDENTITIES = 100
EXPRESSION_SIGMA = 0.5


def other_model() -> MorphableModel:
    """The default head with its first 100 of 199 identity components, as the ICT model has."""
    model = default_model()
    there = torch.arange(len(model.identity_sigma)) < IDENTITIES
    return dataclasses.replace(
        model,
        name="ict-like",
        identity_basis=model.identity_basis * there[:, None, None],
        identity_sigma=there.float(),
        expression_sigma=torch.full_like(model.expression_sigma, EXPRESSION_SIGMA),
    )


def write_drawn_300w(root: Path, count: int) -> Fit:
    """AFW of 300W-3D with drawn faces of other_model() and its coefficients; returns them in file order."""
    model = other_model()
    fit = random_fit(count, seed=11)
    image, mesh = draw(fit, model, build_atlas(model))
    pixels = (image * 255).round().byte().permute(0, 2, 3, 1).numpy()
    (root / "AFW").mkdir(parents=True)
    for face in range(count):
        (root / "AFW" / f"{face:03d}.jpg").write_bytes(encode_jpeg(pixels[face]))
        (column, row), scale = fit.camera.translation[face].tolist(), float(fit.camera.scale[face])
        pose = [*fit.camera.euler_xyz[face].tolist(), column + 1, SIZE - row, 0, scale]
        annotation = {
            "pt2d": mesh.projected[face, model.landmarks, :2].numpy().T + 1,
            "Shape_Para": fit.identity[face, :, None].numpy(),
            "Exp_Para": fit.expression[face, :, None].numpy() * EXPRESSION_SIGMA,
            "Pose_Para": np.array([pose]),
        }
        scipy.io.savemat(root / "AFW" / f"{face:03d}.mat", annotation)
    return fit
