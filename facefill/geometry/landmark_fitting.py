"""Fit of shape and camera to landmarks, batched.

With a Gaussian prior on the coefficients (unit variance in standard deviations) the 3D landmarks are a
Gaussian vector of known covariance, so each Gauss-Newton step solves the camera with the shape integrated
out and then takes the best shape: a system as large as the landmarks, not as the model. Distances are in
decimetres of the model, so the balance of prior and points does not depend on the size of the picture.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from facefill.geometry.camera import WeakPerspective
from facefill.geometry.landmark_rows import UNIT, LandmarkRows, landmark_rows
from facefill.geometry.morphable_model import MorphableModel
from facefill.geometry.reconstruction import NUM_IDENTITY, Fit
from facefill.geometry.rotations import euler_xyz_from_matrix
from facefill.geometry.shapes import check_shape
from facefill.geometry.spherical_harmonics import ambient_illumination

ITERATIONS = 8
OUTLIER = 2.5  # residuals beyond this many standard deviations lose their weight (Cauchy)
LARGEST_TURN = 0.5  # radians per step
ABSENT = 1e-6  # weight of a point that was not given
DAMPING = 1e-3  # keeps a camera that too few points determine where it is


@dataclass(frozen=True)
class Pose:
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


def _pose_of_mean(points: Tensor, trust: Tensor, rows: LandmarkRows) -> Pose:
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
    pose = Pose(scale, rotation, points.new_zeros(len(points), 2))
    origin = (pose.axes @ mean_centre.transpose(1, 2))[:, :, 0] * scale[:, None]
    return Pose(scale, rotation, points_centre[:, 0] - origin)


def _improve(
    points: Tensor, trust: Tensor, robust: Tensor, pose: Pose, coefficients: Tensor, rows: LandmarkRows
) -> tuple[Pose, Tensor, Tensor]:
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
    return moved(pose, step), coefficients, 1 / (1 + (residual / OUTLIER).square())


def landmark_system(
    points: Tensor, trust: Tensor, pose: Pose, coefficients: Tensor, rows: LandmarkRows
) -> tuple[Tensor, Tensor]:
    """Rows of the landmarks for a least-squares step over camera and shape together, in standard deviations.

    (N, 2K, 6 + 228) change of the model's points by the step of `moved` and by the coefficients, and (N, 2K)
    how far the marked points lie from them; both carry the square root of each point's weight.
    """
    all_rows = rows.mean + (rows.basis @ coefficients.T).permute(2, 0, 1)
    chosen, frame = _choose(all_rows, pose, rows)
    shape = all_rows.gather(1, chosen[:, :, None].expand(-1, -1, 3))
    axes = frame @ pose.axes[:, None]
    seen = (points - pose.translation[:, None]) / pose.scale[:, None, None]
    residual = (frame @ seen[..., None] - axes @ shape[..., None])[..., 0] / rows.noise  # (N, K, 2)
    robust = trust[:, :, None] / (1 + (residual / OUTLIER).square())
    factor = (robust.sqrt() / rows.noise).flatten(1)[:, :, None]
    by_shape = (axes @ rows.basis[chosen]).flatten(1, 2)
    jacobian = torch.cat((_camera_jacobian(shape, pose, frame), by_shape), 2) * factor
    return jacobian, (residual * robust.sqrt()).flatten(1)


def _choose(all_rows: Tensor, pose: Pose, rows: LandmarkRows) -> tuple[Tensor, Tensor]:
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


def _camera_jacobian(shape: Tensor, pose: Pose, frame: Tensor) -> Tensor:
    """(N, 2K, 6) change of the seen decimetres by turn about the camera's axes (3), log scale, shift (2)."""
    x, y, z = (shape @ pose.rotation.transpose(1, 2)).unbind(2)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    columns = torch.stack((zero, z, -y, x, one, zero), 2)
    rows_down = torch.stack((z, zero, -x, -y, zero, one), 2)
    return (frame @ torch.stack((columns, rows_down), 2)).flatten(1, 2)


def moved(pose: Pose, step: Tensor) -> Pose:
    """The camera after a step of (turn 3, log scale, shift in decimetres 2)."""
    x, y, z = step[:, :3].unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), 1).view(-1, 3, 3)
    return Pose(
        scale=pose.scale * step[:, 3].clamp(-1, 1).exp(),
        rotation=torch.linalg.matrix_exp(cross) @ pose.rotation,
        translation=pose.translation + pose.scale[:, None] * step[:, 4:],
    )
