"""The few rows of a morphable model that a landmark fit needs, cut out once.

A jaw landmark of a photograph lies on the visible contour, which slides over the cheek when the head turns.
So each of the 17 jaw points has a row of candidate vertices, from its own vertex inwards over the cheek in
the same direction from the middle of the face; the fit takes the outermost as seen (Zhu et al. 2015,
landmark marching).
"""

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from facefill.geometry.mesh import vertex_normals
from facefill.geometry.morphable_model import MorphableModel

NUM_LANDMARKS, NUM_JAW = 68, 17
UNIT = 1e5  # micrometres per decimetre: numbers near 1 keep float32 systems well conditioned
# Candidates lie at these parts of the jaw point's distance from the middle of the face.
CHEEK_RADII = (1.0, 0.96, 0.92, 0.88, 0.84, 0.8, 0.76, 0.72, 0.68, 0.64, 0.6, 1.0, 1.0, 1.0)
JAW_RADII = (1.0, 0.96, 0.92, 0.88, 0.84, 0.8, 0.76, 0.72, 0.68, 0.64, 1.03, 1.06, 1.09, 1.12)
CHIN_RADII = (1.0, 0.98, 0.96, 0.94, 0.92, 0.9, 0.88, 0.86, 1.02, 1.04, 1.06, 1.08, 1.1, 1.12)
JAW, CHIN = range(3, 14), range(5, 12)
CANDIDATES = len(JAW_RADII)
DIRECTION_TOLERANCE = math.radians(4)
LARGEST_RETREAT = 1.5e4  # micrometres behind its landmark: less than the neck is behind the chin

# How far a marked point may lie from its vertex, in decimetres: across and along the contour for jaw and
# brows.
INNER_NOISE = (0.005, 0.005)
FIVE_POINT_NOISE = (0.015, 0.015)
BROW_NOISE = (0.008, 0.03)
JAW_NOISE = (0.02, 0.08)
BROW_MIDDLES = (18, 19, 20, 23, 24, 25)
FIVE_POINTS = ((*range(36, 42),), (*range(42, 48),), (30,), (48,), (54,))


@dataclass(frozen=True)
class LandmarkRows:
    """Mean and bases at R points; point k of a fit is row `choices[k, c]` for one of its choices c."""

    mean: Tensor  # (R, 3) decimetres
    basis: Tensor  # (R, 3, 228) decimetres per standard deviation, identity then expression
    choices: Tensor  # (K, C) rows; all the same where a point has one vertex
    outward: Tensor  # (K, 3) direction in which the outermost choice is taken; 0 where none is special
    slides: Tensor  # (K,) bool, points that have more than one vertex
    noise: Tensor  # (K, 2) decimetres along `outward` and across it


@functools.lru_cache(maxsize=4)
def landmark_rows(model: MorphableModel, five_points: bool) -> LandmarkRows:
    """The rows of the 68 points, or of the five of CelebA (eye centres, nose tip, mouth corners)."""
    if five_points:
        vertices, count = model.landmarks, len(FIVE_POINTS)
        mixture = torch.zeros(count, NUM_LANDMARKS)
        for row, members in enumerate(FIVE_POINTS):
            mixture[row, list(members)] = 1 / len(members)
        choices, outward = torch.arange(count)[:, None], torch.zeros(count, 3)
        noise = torch.tensor(FIVE_POINT_NOISE).repeat(count, 1)
    else:
        candidates, outward_jaw = jaw_candidates(model)
        vertices, count = torch.cat((model.landmarks, candidates.flatten())), NUM_LANDMARKS
        mixture = torch.eye(len(vertices))
        choices, outward = torch.arange(count)[:, None].repeat(1, CANDIDATES), torch.zeros(count, 3)
        choices[:NUM_JAW] = NUM_LANDMARKS + torch.arange(NUM_JAW * CANDIDATES).view(NUM_JAW, -1)
        outward[:NUM_JAW], outward[list(BROW_MIDDLES), 1] = outward_jaw.cpu(), 1
        noise = torch.tensor(INNER_NOISE).repeat(count, 1)
        noise[:NUM_JAW], noise[list(BROW_MIDDLES)] = torch.tensor(JAW_NOISE), torch.tensor(BROW_NOISE)
    mixture, choices, outward, noise = (
        part.to(vertices.device) for part in (mixture, choices, outward, noise)
    )
    bases = torch.cat((model.identity_basis[:, vertices], model.expression_basis[:, vertices])) / UNIT
    return LandmarkRows(
        mean=mixture @ (model.mean[vertices] / UNIT),
        basis=torch.einsum("rv,kvd->rdk", mixture, bases).contiguous(),
        choices=choices,
        outward=outward,
        slides=(choices != choices[:, :1]).any(1),
        noise=noise,
    )


def jaw_candidates(model: MorphableModel) -> tuple[Tensor, Tensor]:
    """(17, CANDIDATES) vertices on which each jaw point may lie, its own first, and (17, 3) outward
    directions."""
    mean = model.mean.double()
    landmarks = mean[model.landmarks]
    middle = landmarks[NUM_JAW:].mean(0)
    middle[0] = 0
    in_front = vertex_normals(mean[None], model.triangles)[0, :, 2] > 0
    from_middle = (mean - middle)[:, :2]
    radius = torch.linalg.vector_norm(from_middle, dim=1)
    direction = from_middle / radius[:, None].clamp_min(1e-9)
    candidates, outward = [], []
    for point in range(NUM_JAW):
        vertex = int(model.landmarks[point])
        off_line = torch.acos((direction @ direction[vertex]).clamp(-1, 1))
        on_row = in_front & (off_line < DIRECTION_TOLERANCE)
        radii = CHIN_RADII if point in CHIN else JAW_RADII if point in JAW else CHEEK_RADII
        row = [vertex]
        for part in radii[1:]:
            retreat = LARGEST_RETREAT if part > 1 else 0
            allowed = on_row & (mean[:, 2] >= mean[vertex, 2] - retreat)
            distance = (radius / radius[vertex] - part).abs() + off_line
            nearest = int(torch.where(allowed, distance, torch.inf).argmin())
            row.append(nearest if bool(allowed[nearest]) and part != 1 else vertex)
        candidates.append(row)
        outward.append([*direction[vertex].tolist(), 0.0])
    return torch.tensor(candidates, device=mean.device), torch.tensor(outward, device=mean.device)
