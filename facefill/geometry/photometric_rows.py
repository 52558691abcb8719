"""The few texels of a model that a photometric fit compares with the picture, cut out once.

Positions and normals at the texels are linear in the coefficients here: positions exactly, normals to first
order about the mean face. Colours are kept once per blur of the picture, blurred alike, so that model and
picture show the same detail.
"""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from facefill.geometry.landmark_rows import UNIT
from facefill.geometry.mesh import vertex_normals
from facefill.geometry.morphable_model import UV_COLUMNS, MorphableModel
from facefill.geometry.uv_atlas import UVAtlas

WANTED_TEXELS = 3000
LEAST_FRONT = 0.1  # of the mean face's normal: what looks sideways there is hair and background too often
FOREHEAD = 0.45  # of the height from chin to brows: how far above the brows texels are taken
MARGIN = 0.92  # of the jaw's half width
BLURS = (0.032, 0.018, 0.010)  # decimetres on the face, coarse to fine
AT_ONCE = 4  # meshes


@dataclass(frozen=True)
class PhotometricRows:
    """What the T texels need; K = 228 coefficients, identity then expression; A colours of the skin."""

    corners: Tensor  # (T, 3) vertices around each texel
    barycentric: Tensor  # (T, 3)
    bases: Tensor  # (T, 6, K) per standard deviation: place in decimetres (3), unit normal (3)
    albedo: Tensor  # (levels, 3, T)
    albedo_basis: Tensor  # (levels, A, 3, T)


@functools.lru_cache(maxsize=2)
def photometric_rows(model: MorphableModel, atlas: UVAtlas) -> PhotometricRows:
    """The rows of a model; a second or two, once per process."""
    normals = vertex_normals(model.mean[None], model.triangles)[0]
    texels = chosen_texels(model, atlas, normals)
    corners = atlas.texel_vertices.view(-1, 3)[texels]
    barycentric = atlas.texel_barycentric.view(-1, 3)[texels]

    def at_texels(values: Tensor) -> Tensor:  # (B, V, 3) -> (B, T, 3)
        return torch.einsum("btcd,tc->btd", values[:, corners], barycentric)

    parts = (*model.identity_basis.split(AT_ONCE), *model.expression_basis.split(AT_ONCE))
    bases = model.mean.new_empty(len(texels), 6, sum(map(len, parts)))
    stop = 0
    for part in parts:
        start, stop = stop, stop + len(part)
        ahead = vertex_normals(model.mean + part, model.triangles)
        behind = vertex_normals(model.mean - part, model.triangles)
        bases[:, :3, start:stop] = (at_texels(part) / UNIT).permute(1, 2, 0)
        bases[:, 3:, start:stop] = at_texels(0.5 * (ahead - behind)).permute(1, 2, 0)
    per_texel = _texels_per_decimetre(model)
    colours = [blurred_colours(model, atlas, blur * per_texel, texels) for blur in BLURS]
    return PhotometricRows(
        corners=corners,
        barycentric=barycentric,
        bases=bases,
        albedo=torch.stack([maps[0] for maps in colours]),
        albedo_basis=torch.stack([maps[1:] for maps in colours]),
    )


def chosen_texels(model: MorphableModel, atlas: UVAtlas, normals: Tensor) -> Tensor:
    """(T,) flat texels on an even lattice over the face between the jaw line and the forehead."""
    corners, weights = atlas.texel_vertices.view(-1, 3), atlas.texel_barycentric.view(-1, 3)
    place = torch.einsum("tcd,tc->td", model.mean[corners], weights)
    facing = torch.einsum("tcd,tc->td", normals[corners], weights)[:, 2]
    landmarks = model.mean[model.landmarks]
    jaw, brows = landmarks[:17], landmarks[17:27]
    top = brows[:, 1].max() + FOREHEAD * (brows[:, 1].max() - jaw[8, 1])
    middle = 0.5 * (top + jaw[8, 1])
    half_height, half_width = top - middle, MARGIN * jaw[:, 0].abs().max()
    # a square rounded off: the jaw narrows, the forehead does too
    inside = (place[:, 0] / half_width).abs() ** 2.5 + ((place[:, 1] - middle) / half_height).abs() ** 2.5 < 1
    wanted = atlas.face.flatten() & inside & (facing > LEAST_FRONT)
    step = max(1, round((int(wanted.sum()) / WANTED_TEXELS) ** 0.5))
    left = torch.zeros_like(atlas.face[:, : UV_COLUMNS // 2])
    left[step // 2 :: step, step // 2 :: step] = True
    lattice = torch.cat((left, left.flip(1)), 1)
    return torch.nonzero(wanted & lattice.flatten())[:, 0]


def blurred_colours(model: MorphableModel, atlas: UVAtlas, sigma: float, texels: Tensor) -> Tensor:
    """(1 + A, 3, T) mean albedo and albedo basis at some flat texels, blurred over the atlas by `sigma`
    texels.
    """
    face = atlas.face.to(model.mean_albedo.dtype)[None, None]
    weight = gaussian_blur(face, sigma).clamp_min(1e-3)
    # one map at a time: all at once would take 300 MB
    return torch.stack(
        [
            (gaussian_blur(one[None] * face, sigma) / weight)[0].flatten(1)[:, texels]
            for one in (model.mean_albedo, *model.albedo_basis)
        ]
    )


def gaussian_blur(picture: Tensor, sigma: float) -> Tensor:  # (N, C, H, W)
    """The picture blurred by a Gaussian of `sigma` pixels, zero outside."""
    reach = max(1, round(3 * sigma))
    at = torch.arange(-reach, reach + 1, dtype=picture.dtype, device=picture.device)
    kernel = torch.exp(-0.5 * (at / sigma).square())
    kernel = kernel / kernel.sum()
    planes = picture.flatten(0, 1)[:, None]
    planes = functional.conv2d(planes, kernel.view(1, 1, 1, -1), padding=(0, reach))
    planes = functional.conv2d(planes, kernel.view(1, 1, -1, 1), padding=(reach, 0))
    return planes.view(picture.shape)


def _texels_per_decimetre(model: MorphableModel) -> float:
    """How fine the atlas is between the outer corners of the eyes."""
    corners = model.landmarks[[36, 45]]
    return float(
        (model.uv[corners[0]] - model.uv[corners[1]]).norm()
        / ((model.mean[corners[0]] - model.mean[corners[1]]).norm() / UNIT)
    )
