"""Fit of shape, camera and light to photographs: landmarks first, then pixels, batched.

Landmarks. With a Gaussian prior on the coefficients (unit variance in standard deviations) the 3D landmarks
are a Gaussian vector of known covariance, so each Gauss-Newton step solves the camera with the shape
integrated out and then takes the best shape: a system as large as the landmarks, not as the model.
Distances are in micrometres of the model, so the balance of prior and points does not depend on the size of
the picture.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from facefill.geometry.camera import WeakPerspective, project
from facefill.geometry.illumination import estimate_illumination
from facefill.geometry.landmark_rows import NUM_JAW, UNIT, LandmarkRows, landmark_rows
from facefill.geometry.mesh import vertex_normals
from facefill.geometry.morphable_model import MorphableModel, vertices_from_coefficients
from facefill.geometry.rasterizer import rasterize
from facefill.geometry.reconstruction import NUM_IDENTITY, Fit, uv_normals
from facefill.geometry.rotations import euler_xyz_from_matrix
from facefill.geometry.shapes import check_shape
from facefill.geometry.spherical_harmonics import ambient_illumination, shade_maps
from facefill.geometry.texture import unwrap
from facefill.geometry.uv_atlas import UVAtlas

ITERATIONS = 8
OUTLIER = 2.5  # residuals beyond this many standard deviations lose their weight (Cauchy)
LARGEST_TURN = 0.5  # radians per step
RESIDUAL_STRIDE = 2  # a mean over every fourth texel is as good
ABSENT = 1e-6  # weight of a point that was not given
DAMPING = 1e-3  # keeps a camera that too few points determine where it is


@dataclass(frozen=True)
class _Pose:
    """Cameras of N faces while they are being fitted."""

    scale: Tensor  # (N,) pixels per decimetre
    rotation: Tensor  # (N, 3, 3)
    translation: Tensor  # (N, 2) pixels, y down

    @property
    def axes(self) -> Tensor:
        """(N, 2, 3) from the model frame to decimetres along columns and rows."""
        return self.rotation[:, :2] * self.rotation.new_tensor((1.0, -1.0))[:, None]


def fit_landmarks(landmarks: Tensor, weights: Tensor, model: MorphableModel, five_points: bool) -> Fit:
    """Shape and camera from landmarks (N, 68, 2), or (N, 5, 2) with `five_points`, in pixels; neutral
    light.

    weights (N, K) >= 0 scale the trust in each point; 0 leaves it out (its position may then be NaN). The
    most probable fit under the prior; outliers lose their weight by themselves.
    """
    rows = landmark_rows(model, five_points)
    check_shape("landmarks", landmarks, "N", len(rows.choices), 2)
    check_shape("weights", weights, *landmarks.shape[:2])
    points = torch.where(weights[:, :, None] > 0, landmarks, 0).float()
    trust = weights.float()
    pose = _pose_of_mean(points, trust, rows)
    coefficients = points.new_zeros(len(points), rows.basis.shape[2])
    robust = torch.ones_like(points)
    for _ in range(ITERATIONS):
        pose, coefficients, robust = _improve(points, trust, robust, pose, coefficients, rows)
    return Fit(
        identity=coefficients[:, :NUM_IDENTITY],
        expression=coefficients[:, NUM_IDENTITY:],
        camera=WeakPerspective(pose.scale / UNIT, euler_xyz_from_matrix(pose.rotation), pose.translation),
        illumination=ambient_illumination(len(landmarks)).to(landmarks.device),
    )


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


def _pose_of_mean(points: Tensor, trust: Tensor, rows: LandmarkRows) -> _Pose:
    """Closed-form camera of the mean face: least-squares affine map, then the nearest scaled rotation."""
    mean = rows.mean[rows.choices[:, 0]]
    # Jaw points do not correspond to vertices yet.
    weight = (trust * ~rows.slides + ABSENT)[:, :, None]
    total = weight.sum(1, keepdim=True)
    mean_centre = (mean * weight).sum(1, keepdim=True) / total
    points_centre = (points * weight).sum(1, keepdim=True) / total
    shape, image = mean - mean_centre, (points - points_centre) * points.new_tensor((1.0, -1.0))
    # The depth of a face is small and noisy in five points: damp it rather than let it flip the pose.
    covariance = (shape * weight).transpose(1, 2) @ shape
    damping = 0.02 * covariance.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * torch.eye(3).to(points)
    affine = torch.linalg.solve(covariance + damping, (shape * weight).transpose(1, 2) @ image).transpose(
        1, 2
    )
    left, singular, right = torch.linalg.svd(affine, full_matrices=False)
    axes = left @ right
    rotation = torch.cat((axes, torch.linalg.cross(axes[:, 0], axes[:, 1])[:, None]), 1)
    scale = singular.mean(1).clamp_min(1e-3)
    pose = _Pose(scale, rotation, points.new_zeros(len(points), 2))
    origin = (pose.axes @ mean_centre.transpose(1, 2))[:, :, 0] * scale[:, None]
    return _Pose(scale, rotation, points_centre[:, 0] - origin)


def _improve(
    points: Tensor, trust: Tensor, robust: Tensor, pose: _Pose, coefficients: Tensor, rows: LandmarkRows
) -> tuple[_Pose, Tensor, Tensor]:
    """One Gauss-Newton step: camera with the shape integrated out, then shape, then robust weights."""
    all_rows = rows.mean + (rows.basis @ coefficients.T).permute(2, 0, 1)  # (N, R, 3)
    chosen, frame = _choose(all_rows, pose, rows)  # (N, K), (N, K, 2, 2)
    axes = frame @ pose.axes[:, None]  # (N, K, 2, 3): along `outward` and across it

    # What the points are without the shape, and how the shape's and the camera's numbers change them.
    seen = (points - pose.translation[:, None]) / pose.scale[:, None, None]
    left_over = (frame @ seen[..., None] - axes @ rows.mean[chosen][..., None]).flatten(1)  # (N, 2K)
    by_shape = (axes @ rows.basis[chosen]).flatten(1, 2)  # (N, 2K, 228)
    by_camera = _camera_jacobian(all_rows.gather(1, chosen[:, :, None].expand(-1, -1, 3)), pose, frame)

    # Covariance of the points when the shape is drawn from its prior.
    precision = robust * (trust[:, :, None] + ABSENT)
    noise = (rows.noise.square() / precision).flatten(1)
    factor = torch.linalg.cholesky(by_shape @ by_shape.transpose(1, 2) + torch.diag_embed(noise))
    whitened = torch.linalg.solve_triangular(
        factor, torch.cat((by_camera, left_over[:, :, None]), 2), upper=False
    )
    normal_matrix = whitened[:, :, :6].transpose(1, 2) @ whitened
    damping = DAMPING * torch.eye(6, device=points.device)
    step = torch.linalg.solve(normal_matrix[:, :, :6] + damping, normal_matrix[:, :, 6])
    step = step * (LARGEST_TURN / step[:, :3].abs().amax(1).clamp_min(LARGEST_TURN))[:, None]

    explained = left_over - (by_camera @ step[:, :, None])[:, :, 0]
    multipliers = torch.cholesky_solve(explained[:, :, None], factor)
    coefficients = (by_shape.transpose(1, 2) @ multipliers)[:, :, 0]
    residual = (multipliers[:, :, 0] * noise).unflatten(1, (-1, 2)) / rows.noise
    return _moved(pose, step), coefficients, 1 / (1 + (residual / OUTLIER).square())


def _choose(all_rows: Tensor, pose: _Pose, rows: LandmarkRows) -> tuple[Tensor, Tensor]:
    """(N, K) the outermost choice of each point as seen, and (N, K, 2, 2) its frame: outward, along the
    contour."""
    direction = (pose.axes @ rows.outward.T).transpose(1, 2)  # (N, K, 2)
    length = torch.linalg.vector_norm(direction, dim=2, keepdim=True)
    directed = (rows.outward != 0).any(1)[:, None] & (length > 1e-3)
    direction = torch.where(directed, direction / length.clamp_min(1e-3), direction.new_tensor((1.0, 0.0)))
    frame = torch.stack((direction, direction.flip(2) * direction.new_tensor((-1.0, 1.0))), 2)
    seen = all_rows[:, rows.choices] @ pose.axes[:, None].transpose(2, 3)  # (N, K, C, 2)
    outermost = (seen * direction[:, :, None]).sum(3).argmax(2)
    return rows.choices.expand(len(seen), -1, -1).gather(2, outermost[:, :, None])[:, :, 0], frame


def _camera_jacobian(shape: Tensor, pose: _Pose, frame: Tensor) -> Tensor:
    """(N, 2K, 6) change of the seen decimetres by turn about the camera's axes (3), log scale, shift (2)."""
    x, y, z = (shape @ pose.rotation.transpose(1, 2)).unbind(2)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    columns = torch.stack((zero, z, -y, x, one, zero), 2)
    rows_down = torch.stack((z, zero, -x, -y, zero, one), 2)
    return (frame @ torch.stack((columns, rows_down), 2)).flatten(1, 2)


def _moved(pose: _Pose, step: Tensor) -> _Pose:
    """The camera after a step of (turn 3, log scale, shift in decimetres 2)."""
    x, y, z = step[:, :3].unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), 1).view(-1, 3, 3)
    return _Pose(
        scale=pose.scale * step[:, 3].clamp(-1, 1).exp(),
        rotation=torch.linalg.matrix_exp(cross) @ pose.rotation,
        translation=pose.translation + pose.scale[:, None] * step[:, 4:],
    )
