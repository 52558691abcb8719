"""Refinement of a fit by the picture: shape, camera, skin and light together, until the model looks like it.

Gauss-Newton on the difference of picture and albedo x shading at a few thousand texels, coarse to fine, with
the landmarks and the priors as in the landmark fit. Texels that the model cannot explain (hair, glasses,
hands, cast shadows) lose their weight by themselves. Every face is resampled to a crop of one size, so
settings are in decimetres on the face and nothing depends on the picture's size.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from facefill.geometry.camera import WeakPerspective
from facefill.geometry.face_crop import CROP, FaceCrop, crop_camera, crop_face
from facefill.geometry.landmark_fitting import Pose, landmark_system, moved
from facefill.geometry.landmark_rows import UNIT, landmark_rows
from facefill.geometry.mesh import vertex_normals
from facefill.geometry.morphable_model import MorphableModel, linear_vertices
from facefill.geometry.photometric_rows import PhotometricRows, photometric_rows
from facefill.geometry.rasterizer import rasterize
from facefill.geometry.reconstruction import NUM_EXPRESSION, NUM_IDENTITY, Fit
from facefill.geometry.rotations import euler_xyz_from_matrix
from facefill.geometry.spherical_harmonics import LINEAR, QUADRATIC, ZENITH, sh_basis
from facefill.geometry.texture import sample
from facefill.geometry.uv_atlas import UVAtlas

STEPS = (0, 0, 1, 1, 2, 2, 2)  # blur of each Gauss-Newton step
FIRST_LIGHT_STEPS, LIGHT_STEPS = (
    3,
    6,
)  # of light and skin alone: before all else, and where nothing else moves
EVIDENCE = 0.04  # of an independent sample that one texel stands for: its neighbours err alike
SPREADS = (0.03, 0.15)  # smallest and largest standard deviation of the residual, of [0, 1]
OUTLIER = 2.0  # standard deviations beyond which a texel loses its weight (Geman-McClure)
LEAST_FACING, WELL_FACING = 0.15, 0.4  # of the normal towards the camera
DEPTH_TOLERANCE = 3e3  # micrometres
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


@dataclass(frozen=True)
class _Texels:
    """The T texels of one face as its crop shows them."""

    place: Tensor  # (T, 3) camera frame, decimetres
    normal: Tensor  # (T, 3) unit, camera frame
    colour: Tensor  # (3, T)
    across: Tensor  # (3, T) change of the colour per pixel to the right
    down: Tensor  # (3, T) and downwards
    trust: Tensor  # (T,) in [0, 1]: seen, known and facing the camera


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
) -> list[_Texels]:
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
        _texels(
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


def _texels(
    picture: Tensor,
    known: Tensor,
    scale: Tensor,
    vertices: Tensor,
    normals: Tensor,
    pixels: Tensor,
    depth: Tensor,
    rows: PhotometricRows,
) -> _Texels:
    """What one crop shows at the texels."""
    corners = torch.cat((vertices, normals, pixels), 1)[rows.corners]
    place, normal, position = (corners * rows.barycentric[:, :, None]).sum(1).split((3, 3, 2), 1)
    normal = functional.normalize(normal, dim=1)
    found = sample(torch.cat((picture, known), 1), position[None, None])[0, :, 0]
    facing = normal[:, 2]
    column, row = position.round().long().clamp(0, CROP - 1).unbind(1)
    slope = (1 - facing.square()).clamp_min(0).sqrt() / facing.clamp_min(LEAST_FACING) * UNIT / scale
    in_front = place[:, 2] >= depth[row, column] - DEPTH_TOLERANCE - slope
    inside = ((position >= 0) & (position <= CROP - 1)).all(1)
    ramp = ((facing - LEAST_FACING) / (WELL_FACING - LEAST_FACING)).clamp(0, 1)
    trust = ramp * (2 * found[9] - 1).clamp(0, 1) * (in_front & inside)
    return _Texels(place / UNIT, normal, found[:3], found[3:6], found[6:9], trust)


def _with_light(
    state: _State, seen: list[_Texels], rows: PhotometricRows, level: int, prior: Tensor, count: int
) -> _State:
    """The state with the light and skin that explain the picture where shape and camera are."""
    for _ in range(count):
        steps = []
        for n, texels in enumerate(seen):
            light, skin = state.light[n], state.skin[n]
            residual, albedo, harmonics, shading = _colours(texels, light, skin, rows, level)
            jacobian = _colour_jacobian(albedo, harmonics, shading, rows, level)
            matrix, right = _normal_equations(jacobian, residual, texels.trust)
            matrix = matrix + prior[GEOMETRY:, GEOMETRY:]
            right = right - prior[GEOMETRY:, GEOMETRY:] @ _from_mean(light, skin)
            steps.append(torch.linalg.solve(matrix.double(), right.double()).float())
        light_step, skin_step = torch.stack(steps).split((NUM_LIGHT, state.skin.shape[1]), 1)
        state = _State(state.pose, state.shape, state.light + light_step, state.skin + skin_step)
    return state


def _stepped(
    state: _State,
    seen: list[_Texels],
    marked: tuple[Tensor, Tensor],
    rows: PhotometricRows,
    level: int,
    prior: Tensor,
) -> _State:
    """The state after one Gauss-Newton step of everything, and one more of the light at most."""
    steps = []
    for n, texels in enumerate(seen):
        light, skin = state.light[n], state.skin[n]
        residual, albedo, harmonics, shading = _colours(texels, light, skin, rows, level)
        jacobian = torch.cat(
            (
                _geometry_jacobian(texels, albedo, light, state.pose.scale[n], state.pose.rotation[n], rows),
                _colour_jacobian(albedo, harmonics, shading, rows, level),
            ),
            2,
        )
        matrix, right = _normal_equations(jacobian, residual, texels.trust)
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


def _colours(
    texels: _Texels, light: Tensor, skin: Tensor, rows: PhotometricRows, level: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Residual (3, T) of the picture, albedo (3, T), harmonics (9, T), shading (3, T)."""
    albedo = rows.albedo[level] + torch.tensordot(skin, rows.albedo_basis[level], 1)
    harmonics = sh_basis(texels.normal).T
    shading = light.view(3, 9) @ harmonics
    return texels.colour - albedo * shading, albedo, harmonics, shading


def _colour_jacobian(
    albedo: Tensor, harmonics: Tensor, shading: Tensor, rows: PhotometricRows, level: int
) -> Tensor:
    """(3, T, 27 + A) change of the model's colours by light and skin."""
    by_light = albedo.new_zeros(3, albedo.shape[1], 3, 9)
    for channel in range(3):
        by_light[channel, :, channel] = (albedo[channel] * harmonics).T
    by_skin = (rows.albedo_basis[level] * shading).permute(1, 2, 0)
    return torch.cat((by_light.flatten(2), by_skin), 2)


def _geometry_jacobian(
    texels: _Texels, albedo: Tensor, light: Tensor, scale: Tensor, rotation: Tensor, rows: PhotometricRows
) -> Tensor:
    """(3, T, 6 + 228) change of the model's colours less the picture's by `moved` and by shape."""
    # a texel that moves sees another pixel; one that turns is shaded differently
    move = -torch.stack((texels.across * scale, -texels.down * scale, torch.zeros_like(texels.down)), 2)
    turn = albedo[:, :, None] * torch.einsum(
        "cb,tbd->ctd", light.view(3, 9), _harmonics_by_normal(texels.normal)
    )
    spin = torch.linalg.cross(texels.place.expand_as(move), move) + torch.linalg.cross(
        texels.normal.expand_as(turn), turn
    )
    grow = (move * texels.place).sum(2, keepdim=True)
    shift = move[:, :, :2] * move.new_tensor((1.0, -1.0))
    by_shape = torch.cat((move @ rotation, turn @ rotation), 2).transpose(0, 1) @ rows.bases
    return torch.cat((spin, grow, shift, by_shape.transpose(0, 1)), 2)


def _harmonics_by_normal(normal: Tensor) -> Tensor:
    """(T, 9, 3) change of sh_basis with the normal (T, 3)."""
    x, y, z = normal.unbind(1)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    table = (
        (zero, zero, zero),
        (zero, zero, LINEAR * one),
        (zero, LINEAR * one, zero),
        (LINEAR * one, zero, zero),
        (-2 * ZENITH * x, -2 * ZENITH * y, 4 * ZENITH * z),
        (zero, QUADRATIC * z, QUADRATIC * y),
        (QUADRATIC * z, zero, QUADRATIC * x),
        (QUADRATIC * y, QUADRATIC * x, zero),
        (QUADRATIC * x, -QUADRATIC * y, zero),
    )
    return torch.stack([torch.stack(row, 1) for row in table], 1)


def _normal_equations(jacobian: Tensor, residual: Tensor, trust: Tensor) -> tuple[Tensor, Tensor]:
    """Matrix (P, P) and right side (P,) of the robust least-squares step."""
    size = residual.square().mean(0).sqrt()
    median = torch.where(trust > 0.5, size, torch.nan).nanmedian().nan_to_num()
    spread = (1.2 * median).clamp(*SPREADS)
    weight = trust / (1 + (size / (OUTLIER * spread)).square()).square() * EVIDENCE / spread.square()
    flat = (jacobian * weight.sqrt()[:, None]).flatten(0, 1)
    return flat.T @ flat, flat.T @ (residual * weight.sqrt()).flatten()


def _from_mean(light: Tensor, skin: Tensor) -> Tensor:
    """Distance of light and skin from the centre of their prior."""
    return torch.cat((light - light.new_tensor(LIGHT_MEAN).repeat(3), skin))
