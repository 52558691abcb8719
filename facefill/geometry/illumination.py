"""Light of a photograph from its unwrapped texture, with the model's mean albedo as the reference skin.

texture = albedo × shading, and shading is linear in the illumination, so this is a least-squares problem
per colour channel; robust weights keep hair, beards, glasses and highlights out of it. Brightness cannot
tell a light face under a dim lamp from a dark face under a bright one, so what the mean albedo does not
explain is shared between skin and light by fixed parts.
"""

import torch
from torch import Tensor

from facefill.geometry.shapes import check_shape
from facefill.geometry.spherical_harmonics import AMBIENT, sh_basis

ITERATIONS = 6
TEXEL_STRIDE = 3  # nine numbers need no more than every ninth texel
RESIDUAL_FLOOR = 0.02  # of [0, 1]: a residual below this is never an outlier
RIDGE = (
    0.0,
    0.01,
    0.01,
    0.01,
    0.03,
    0.03,
    0.03,
    0.03,
    0.03,
)  # pull towards ambient light, per unit of evidence
# The light's part of the difference to the mean skin, in logarithms: cameras expose faces to about the same
# brightness, while skins differ by a factor of three; both tints vary.
LIGHT_PART_OF_BRIGHTNESS = 0.5
LIGHT_PART_OF_TINT = 0.5


def estimate_illumination(
    uv_texture: Tensor,  # (N, 3, 192, 256) in [0, 1]
    visible: Tensor,  # (N, 1, 192, 256), 1 = seen
    normals_uv: Tensor,  # (N, 3, 192, 256) unit, camera frame
    mean_albedo: Tensor,  # (3, 192, 256) in [0, 1]
) -> Tensor:
    """(N, 3, 9) illumination. A face of which nothing is visible gets white ambient light."""
    check_shape("uv_texture", uv_texture, "N", 3, "H", "W")
    check_shape("mean_albedo", mean_albedo, 3, *uv_texture.shape[2:])
    step = slice(None, None, TEXEL_STRIDE)
    texture = uv_texture[:, :, step, step].flatten(2)  # (N, 3, T)
    albedo = mean_albedo[:, step, step].flatten(1)  # (3, T)
    seen = visible[:, 0, step, step].flatten(1) * (albedo > 0).all(0)  # (N, T)
    basis = sh_basis(normals_uv[:, :, step, step].flatten(2), dim=1)  # (N, 9, T)
    first, second = torch.triu_indices(9, 9)
    products = basis[:, first] * basis[:, second]  # (N, 45, T)
    weights = seen
    for _ in range(ITERATIONS):
        illumination = _weighted_fit(texture, albedo, basis, products, weights)
        residual = (texture - albedo * (illumination @ basis)).abs().mean(1)
        weights = seen / (1 + (residual / _spread(residual, seen)[:, None]).square()).square()
    return _share_with_skin(illumination, basis, weights)


def _weighted_fit(
    texture: Tensor, albedo: Tensor, basis: Tensor, products: Tensor, weights: Tensor
) -> Tensor:
    """(N, 3, 9) minimum of Σ weight (texture - albedo · basis · illumination)² + ridge."""
    trust = weights[:, None] * albedo.square()  # (N, 3, T)
    first, second = torch.triu_indices(9, 9)
    normal_matrix = trust.new_zeros(len(trust), 3, 9, 9)
    normal_matrix[:, :, first, second] = trust @ products.transpose(1, 2)
    normal_matrix[:, :, second, first] = normal_matrix[:, :, first, second]
    right_side = (weights[:, None] * albedo * texture) @ basis.transpose(1, 2)  # (N, 3, 9)
    ridge = (trust.sum(2) + 1e-3)[:, :, None] * basis.new_tensor(RIDGE) + 1e-6
    ambient = torch.zeros_like(right_side)
    ambient[:, :, 0] = 1e-6 / AMBIENT
    return torch.linalg.solve(normal_matrix + torch.diag_embed(ridge), right_side + ambient)


def _spread(residual: Tensor, seen: Tensor) -> Tensor:
    """(N,) robust standard deviation of the residuals of seen texels."""
    median = torch.where(seen > 0, residual, torch.nan).nanmedian(1).values
    return (1.4826 * median.nan_to_num()).clamp_min(RESIDUAL_FLOOR)


def _share_with_skin(illumination: Tensor, basis: Tensor, weights: Tensor) -> Tensor:
    """The illumination with only the light's part of its mean brightness and tint."""
    total = weights.sum(1)[:, None]
    mean = (illumination @ (basis @ weights[:, :, None]))[:, :, 0] / total.clamp_min(1e-6)
    log_mean = torch.where(total > 0, mean, 1.0).clamp(0.05, 20).log()  # (N, 3)
    brightness = log_mean.mean(1, keepdim=True)
    wanted = LIGHT_PART_OF_BRIGHTNESS * brightness + LIGHT_PART_OF_TINT * (log_mean - brightness)
    return illumination * (wanted - log_mean).exp()[:, :, None]
