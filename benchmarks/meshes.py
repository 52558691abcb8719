"""Meshes to rasterize: a bent grid as large as common face models, a finer head, the Basel mean."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from facefill.errors import UserError
from facefill.geometry.camera import WeakPerspective, project
from facefill.geometry.morphable_model import MorphableModel

ROWS, COLUMNS = 231, 230  # 53,130 vertices, 105,340 triangles
UV_STEPS = 1024  # per texel; float32 holds them exactly, so that the halves stay mirror images


@dataclass(frozen=True)
class PosedMesh:
    """A mesh in several poses, in pixels of a square image."""

    name: str
    projected: Tensor  # (N, V, 3) column, row, depth
    triangles: Tensor  # (F, 3) int64
    size: int


def posed(name: str, vertices: Tensor, triangles: Tensor, size: int, count: int) -> PosedMesh:
    """Vertices (V, 3) in `count` random poses, each fitted to cover about half of the image."""
    generator = torch.Generator().manual_seed(0)
    turns = torch.randn(count, 3, generator=generator).clamp(-2, 2) * torch.tensor([0.12, 0.3, 0.1])
    centred = vertices - (vertices.amax(0) + vertices.amin(0)) / 2
    scale = 0.92 * size / float(centred[:, 1].abs().amax() * 2)
    shifts = size / 2 + 3 * torch.randn(count, 2, generator=generator)
    camera = WeakPerspective(torch.full((count,), scale), turns, shifts)
    projected = project(centred.expand(count, -1, -1), camera).contiguous()
    return PosedMesh(
        f"{name} ({len(vertices):,} vertices, {len(triangles):,} triangles)", projected, triangles, size
    )


def bent_grid() -> tuple[Tensor, Tensor]:
    """Vertices (53130, 3) in micrometres and triangles (105340, 3): a shield with a nose."""
    down, across = np.meshgrid(np.linspace(-1, 1, ROWS), np.linspace(-1, 1, COLUMNS), indexing="ij")
    angle = np.radians(80) * across
    narrowing = np.sqrt(1 - 0.5 * down**2)
    nose = 22_000 * np.exp(-((across / 0.15) ** 2) - ((down - 0.05) / 0.2) ** 2)
    x = 82_000 * np.sin(angle) * narrowing
    z = 80_000 * np.cos(angle) * narrowing + nose
    vertices = np.stack([x, -100_000 * down, z], -1).reshape(-1, 3)
    first = (np.arange(ROWS - 1)[:, None] * COLUMNS + np.arange(COLUMNS - 1)).reshape(-1, 1)
    upper, lower = first + [0, COLUMNS, 1], first + [1, COLUMNS, COLUMNS + 1]
    triangles = np.stack([upper, lower], 1).reshape(-1, 3)
    return torch.from_numpy(vertices).float(), torch.from_numpy(triangles)


def basel_mean(realdata: Path) -> tuple[Tensor, Tensor]:
    """Mean shape (53215, 3) and triangles (105840, 3) of the Basel model, from 3DDFA's files."""
    import scipy.io

    folder = realdata / "bfm_3ddfa"
    if not folder.is_dir():
        raise UserError(
            f"--realdata {realdata} has no folder bfm_3ddfa: leave the option out, or name another"
        )
    vertices = np.load(folder / "u_shp.npy", allow_pickle=False).reshape(-1, 3)
    triangles = scipy.io.loadmat(folder / "tri.mat")["tri"].T.astype(np.int64) - 1
    corners = vertices[triangles]
    turn = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    if turn[:, 2].sum() < 0:  # 3DDFA numbers corners clockwise, ours go the other way round
        triangles = triangles[:, ::-1]
    return torch.from_numpy(vertices).float(), torch.from_numpy(np.ascontiguousarray(triangles))


def finer(model: MorphableModel) -> MorphableModel:
    """The same face with every triangle cut into four: as many vertices as the Basel model, nearly."""
    triangles, count = model.triangles, len(model.mean)
    sides = torch.stack([triangles, triangles.roll(-1, 1)], -1).reshape(-1, 2).sort(1).values
    edges, side_edge = torch.unique(sides, dim=0, return_inverse=True)
    middle = side_edge.view(-1, 3) + count  # between corners 0 and 1, 1 and 2, 2 and 0
    corner_pieces = [torch.stack([triangles[:, k], middle[:, k], middle[:, k - 1]], 1) for k in range(3)]

    def refined(values: Tensor) -> Tensor:
        """Values (..., V, C) with those of the edges' middles behind them."""
        halves = (values[..., edges[:, 0], :] + values[..., edges[:, 1], :]) / 2
        return torch.cat([values, halves], -2)

    mirrored = model.mirror[edges].sort(1).values
    partner = torch.searchsorted(edges @ torch.tensor([count, 1]), mirrored @ torch.tensor([count, 1]))
    return replace(
        model,
        name=f"{model.name}-finer",
        mean=refined(model.mean),
        identity_basis=refined(model.identity_basis),
        expression_basis=refined(model.expression_basis),
        triangles=torch.cat([*corner_pieces, middle]),
        mirror=torch.cat([model.mirror, partner + count]),
        uv=(refined(model.uv) * UV_STEPS).round() / UV_STEPS,
    )
