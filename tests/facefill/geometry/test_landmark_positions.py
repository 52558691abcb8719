"""The default head's landmarks lie where annotators put them on photographs."""

import numpy as np
import torch

from facefill.geometry.camera import project
from facefill.geometry.default_model import default_model
from facefill.geometry.fitting import fit_landmarks
from facefill.geometry.morphable_model import vertices_from_coefficients


def test_no_inner_landmark_is_off_its_mark_on_most_photographs(realdata):
    table = np.loadtxt(realdata / "celeba" / "landmarks68_dlib.csv", str, delimiter=",", skiprows=1)
    found = table[table[:, 1] == "1"][::14]
    points = torch.from_numpy(found[:, 2:].astype(np.float32).reshape(-1, 68, 2))
    assert len(points) > 150
    model = default_model()
    fit = fit_landmarks(points, torch.ones(points.shape[:2]), model, five_points=False)
    vertices = vertices_from_coefficients(model, fit.identity, fit.expression)
    left_over = (points - project(vertices, fit.camera)[:, model.landmarks, :2])[:, 17:]
    assert torch.linalg.vector_norm(left_over, dim=2).mean() < 0.72  # pixels of a picture of 178 x 218
    millimetres = left_over / fit.camera.scale[:, None, None] / 1000
    assert torch.linalg.vector_norm(millimetres.mean(0), dim=1).max() < 2.2
