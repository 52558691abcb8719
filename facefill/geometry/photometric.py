"""Refinement of a fit by the picture: shape, camera, skin and light together, until the model looks like it.

Gauss-Newton on the difference of picture and albedo x shading at a few thousand texels, coarse to fine, with
the landmarks and the priors as in the landmark fit. Texels that the model cannot explain (hair, glasses,
hands, cast shadows) lose their weight by themselves. Every face is resampled to a crop of one size, so
settings are in decimetres on the face and nothing depends on the picture's size.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from facefill.geometry.camera import WeakPerspective
from facefill.geometry.face_crop import CROP, FaceCrop, crop_camera, crop_face
from facefill.geometry.landmark_fitting import Pose, landmark_system, moved
from facefill.geometry.landmark_rows import UNIT, landmark_rows
from facefill.geometry.mesh import vertex_normals
from facefill.geometry.morphable_model import MorphableModel, linear_vertices
from facefill.geometry.photometric_rows import PhotometricRows, photometric_rows
from facefill.geometry.photometric_terms import (
    Texels,
    colour_jacobian,
    colours,
    geometry_changes,
    jacobian_blocks,
    normal_equations,
    texels_of,
)
from facefill.geometry.rasterizer import rasterize
from facefill.geometry.reconstruction import NUM_EXPRESSION, NUM_IDENTITY, Fit
from facefill.geometry.rotations import euler_xyz_from_matrix
from facefill.geometry.uv_atlas import UVAtlas

STEPS = (0, 0, 1, 1, 2, 2, 2)  # blur of each Gauss-Newton step
# Steps of light and skin alone: before all else, and where nothing else moves.
FIRST_LIGHT_STEPS, LIGHT_STEPS = 3, 6
LARGEST_TURN, LARGEST_CHANGE = 0.2, 1.5  # radians and standard deviations per step
CAMERA_DAMPING = 1.0
# Lights of portraits, per harmonic: mean, spread that all channels share, spread of each channel's tint.
LIGHT_MEAN = (2.95, 0.17, 0.22, 0.0, -0.07, 0.15, 0.0, 0.0, 0.22)
LIGHT_SPREAD = (0.75, 0.25, 0.25, 0.4, 0.3, 0.25, 0.25, 0.3, 0.4)
LIGHT_TINT = (0.25, 0.05, 0.05, 0.06, 0.04, 0.04, 0.04, 0.04, 0.04)
NUM_CAMERA, NUM_SHAPE, NUM_LIGHT = 6, NUM_IDENTITY + NUM_EXPRESSION, 27
GEOMETRY = NUM_CAMERA + NUM_SHAPE


@dataclass(frozen=True)
class _State:
    """What is being fitted; the camera is that of the crop."""

    pose: Pose
    shape: Tensor  # (N, 228)
    light: Tensor  # (N, 27)
    skin: Tensor  # (N, A)


def refine(
    image: Tensor,  # (N, 3, H, W) in [0, 1]
    landmarks: Tensor,  # (N, 68 or 5, 2) pixels
    weights: Tensor,  # (N, 68 or 5)
    fit: Fit,
    model: MorphableModel,
    atlas: UVAtlas,
    hole: Tensor | None = None,  # (N, 1, H, W), 1 = unknown
) -> tuple[Fit, Tensor]:
    """The fit that also explains the pixels, and (N, A) the skin in standard deviations of albedo_basis."""
    rows = photometric_rows(model, atlas)
    marks = landmark_rows(model, landmarks.shape[1] == 5)
    state, crops, (offset, zoom) = _started(image, fit, model, rows, hole)
    points = torch.where(weights[:, :, None] > 0, landmarks, 0).float()
    points = (points - offset[:, None]) * zoom[:, None, None]
    prior = prior_precision(state.skin.shape[1]).to(image)
    for number, level in enumerate(STEPS):
        seen = _look(state, crops, level, model, rows)
        if number == 0:
            state = _with_light(state, seen, rows, level, prior, FIRST_LIGHT_STEPS)
        marked = landmark_system(points, weights.float(), state.pose, state.shape, marks)
        state = _stepped(state, seen, marked, rows, level, prior)
    camera = WeakPerspective(
        state.pose.scale / zoom / UNIT,
        euler_xyz_from_matrix(state.pose.rotation),
        state.pose.translation / zoom[:, None] + offset,
    )
    identity, expression = state.shape.split((NUM_IDENTITY, NUM_EXPRESSION), 1)
    return Fit(identity, expression, camera, state.light.unflatten(1, (3, 9))), state.skin


def light_and_skin(
    image: Tensor,  # (N, 3, H, W) in [0, 1]
    fit: Fit,
    model: MorphableModel,
    atlas: UVAtlas,
    hole: Tensor | None = None,  # (N, 1, H, W), 1 = unknown
) -> tuple[Tensor, Tensor]:
    """(N, 3, 9) light and (N, A) skin that explain the pixels where shape and camera stand."""
    rows = photometric_rows(model, atlas)
    state, crops, _ = _started(image, fit, model, rows, hole)
    level = STEPS[-1]
    seen = _look(state, crops, level, model, rows)
    prior = prior_precision(state.skin.shape[1]).to(image)
    state = _with_light(state, seen, rows, level, prior, LIGHT_STEPS)
    return state.light.unflatten(1, (3, 9)), state.skin


def prior_precision(skin_count: int) -> Tensor:
    """(P, P) inverse covariance of camera step, shape, light and skin."""
    total = GEOMETRY + NUM_LIGHT + skin_count
    precision = torch.eye(total)
    precision[range(NUM_CAMERA), range(NUM_CAMERA)] = CAMERA_DAMPING
    shared, tint = torch.tensor(LIGHT_SPREAD).square(), torch.tensor(LIGHT_TINT).square()
    covariance = torch.diag(shared).repeat(3, 3) + torch.diag(tint.repeat(3))
    light = slice(GEOMETRY, GEOMETRY + NUM_LIGHT)
    precision[light, light] = torch.linalg.inv(covariance)
    return precision


def _started(
    image: Tensor, fit: Fit, model: MorphableModel, rows: PhotometricRows, hole: Tensor | None
) -> tuple[_State, list[FaceCrop], tuple[Tensor, Tensor]]:
    """Where fitting starts: the fit with the mean light and skin, the crops, and where they were cut."""
    pose, offset, zoom = crop_camera(fit, model)
    holes = [None] * len(image) if hole is None else list(hole)
    crops = [crop_face(*face) for face in zip(image, holes, offset, zoom, strict=True)]
    shape = torch.cat((fit.identity, fit.expression), 1)
    light = image.new_tensor(LIGHT_MEAN).repeat(len(image), 3)
    skin = image.new_zeros(len(image), rows.albedo_basis.shape[1])
    return _State(pose, shape, light, skin), crops, (offset, zoom)


def _look(
    state: _State, crops: list[FaceCrop], level: int, model: MorphableModel, rows: PhotometricRows
) -> list[Texels]:
    """The texels of every face where the state puts them."""
    identity, expression = state.shape.split((NUM_IDENTITY, NUM_EXPRESSION), 1)
    vertices = linear_vertices(model.mean, model.identity_basis, model.expression_basis, identity, expression)
    turn = state.pose.rotation.transpose(1, 2)
    normals = vertex_normals(vertices, model.triangles) @ turn
    vertices = vertices @ turn
    to_pixels = state.pose.scale[:, None, None] / UNIT * vertices.new_tensor((1.0, -1.0))
    pixels = vertices[:, :, :2] * to_pixels + state.pose.translation[:, None]
    depth = rasterize(torch.cat((pixels, vertices[:, :, 2:]), 2), model.triangles, CROP, CROP).depth
    return [
        texels_of(
            crop.pictures[level],
            crop.known[level],
            state.pose.scale[n],
            vertices[n],
            normals[n],
            pixels[n],
            depth[n],
            rows,
        )
        for n, crop in enumerate(crops)
    ]


def _with_light(
    state: _State, seen: list[Texels], rows: PhotometricRows, level: int, prior: Tensor, count: int
) -> _State:
    """The state with the light and skin that explain the picture where shape and camera are."""
    for _ in range(count):
        steps = []
        for n, texels in enumerate(seen):
            light, skin = state.light[n], state.skin[n]
            residual, albedo, harmonics, shading = colours(texels, light, skin, rows, level)
            jacobian = colour_jacobian(albedo, harmonics, shading, rows, level)
            matrix, right = normal_equations([jacobian], residual, texels.trust, level)
            matrix = matrix + prior[GEOMETRY:, GEOMETRY:]
            right = right - prior[GEOMETRY:, GEOMETRY:] @ _from_mean(light, skin)
            steps.append(torch.linalg.solve(matrix.double(), right.double()).float())
        light_step, skin_step = torch.stack(steps).split((NUM_LIGHT, state.skin.shape[1]), 1)
        state = _State(state.pose, state.shape, state.light + light_step, state.skin + skin_step)
    return state


def _stepped(
    state: _State,
    seen: list[Texels],
    marked: tuple[Tensor, Tensor],
    rows: PhotometricRows,
    level: int,
    prior: Tensor,
) -> _State:
    """The state after one Gauss-Newton step of everything."""
    steps = []
    for n, texels in enumerate(seen):
        light, skin = state.light[n], state.skin[n]
        residual, albedo, harmonics, shading = colours(texels, light, skin, rows, level)
        by_camera, by_place = geometry_changes(
            texels, albedo, light, state.pose.scale[n], state.pose.rotation[n]
        )
        by_colour = colour_jacobian(albedo, harmonics, shading, rows, level)
        blocks = jacobian_blocks(by_camera, by_place, by_colour, rows)
        matrix, right = normal_equations(blocks, residual, texels.trust, level)
        by_landmarks, off = marked[0][n], marked[1][n]
        matrix[:GEOMETRY, :GEOMETRY] += by_landmarks.T @ by_landmarks
        right[:GEOMETRY] += by_landmarks.T @ off
        place = torch.cat((light.new_zeros(NUM_CAMERA), state.shape[n], _from_mean(light, skin)))
        steps.append(torch.linalg.solve((matrix + prior).double(), (right - prior @ place).double()).float())
    camera, shape, light_step, skin_step = torch.stack(steps).split(
        (NUM_CAMERA, NUM_SHAPE, NUM_LIGHT, state.skin.shape[1]), 1
    )
    camera = camera * (LARGEST_TURN / camera[:, :3].abs().amax(1).clamp_min(LARGEST_TURN))[:, None]
    shape = shape * (LARGEST_CHANGE / shape.abs().amax(1).clamp_min(LARGEST_CHANGE))[:, None]
    return _State(
        moved(state.pose, camera), state.shape + shape, state.light + light_step, state.skin + skin_step
    )


def _from_mean(light: Tensor, skin: Tensor) -> Tensor:
    """Distance of light and skin from the centre of their prior."""
    return torch.cat((light - light.new_tensor(LIGHT_MEAN).repeat(3), skin))
