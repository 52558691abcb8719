"""A face of two thousand vertices made of formulas, for tests that need a model and not a likeness."""

import functools

import torch
from torch import Tensor

from facefill.geometry.morphable_model import (
    EXPRESSION_COUNT,
    IDENTITY_COUNT,
    UV_COLUMNS,
    UV_ROWS,
    MorphableModel,
)
from facefill.geometry.uv_atlas import UVAtlas, build_atlas

COLUMNS, ROWS = 41, 49  # the middle column lies on the mirror axis
WIDTH, HEIGHT, DEPTH, NOSE = 7.5e4, 1.0e5, 8e4, 2.6e4  # micrometres


@functools.cache
def small_model_and_atlas() -> tuple[MorphableModel, UVAtlas]:
    """The model and its atlas: exactly mirror-symmetric, with smooth random bases."""
    x, y = _grid()
    model = MorphableModel(
        name="small",
        mean=_surface(x, y),
        identity_basis=_basis(IDENTITY_COUNT, 2.5e3, x, y),
        expression_basis=_basis(EXPRESSION_COUNT, 1.5e3, x, y, seed=1),
        identity_sigma=torch.full((IDENTITY_COUNT,), 2.5e3),
        expression_sigma=torch.full((EXPRESSION_COUNT,), 1.5e3),
        triangles=_triangles(),
        landmarks=_landmarks(),
        mirror=torch.arange(ROWS * COLUMNS).view(ROWS, COLUMNS).flip(1).flatten(),
        uv=_uv(x, y),
        mean_albedo=_albedo(),
        albedo_basis=torch.zeros(0, 3, 192, 256),
    )
    return model, build_atlas(model)


def _uv(x: Tensor, y: Tensor) -> Tensor:
    """(V, 2) column and row; rounded to 1/256 texel, so that the halves mirror each other exactly."""
    offset = torch.round(torch.stack((109.3 * x, -89.7 * y), 1) * 256) / 256
    return torch.tensor([(UV_COLUMNS - 1) / 2, (UV_ROWS - 1) / 2]) + offset


def _grid() -> tuple[Tensor, Tensor]:
    """Coordinates (V,) in [-1, 1]: x to the right, y up, row by row from the top; exactly symmetric in x."""
    half = torch.linspace(0, 1, COLUMNS // 2 + 1)[1:]
    x = torch.cat((-half.flip(0), torch.zeros(1), half))
    y = torch.linspace(1, -1, ROWS)
    return x.expand(ROWS, -1).flatten(), y[:, None].expand(-1, COLUMNS).flatten()


def _surface(x: Tensor, y: Tensor) -> Tensor:
    """A half ellipsoid with a steep nose."""
    bend = 1.35 * x
    nose = NOSE * torch.exp(-((x / 0.13) ** 2) - ((y + 0.1) / 0.28) ** 2)
    across = WIDTH * torch.sin(bend) * torch.cos(0.6 * y)
    return torch.stack((across, HEIGHT * y, DEPTH * torch.cos(bend) * torch.cos(0.8 * y) - 4e4 + nose), 1)


def _basis(count: int, size: float, x: Tensor, y: Tensor, seed: int = 0) -> Tensor:
    """Smooth displacements (count, V, 3), by turns symmetric and antisymmetric, ever finer and smaller."""
    generator = torch.Generator().manual_seed(seed)
    basis = []
    for number in range(count):
        fineness = 1 + number // 8
        phase, strength = torch.rand(3, generator=generator), torch.randn(3, generator=generator)
        rows = torch.cos(fineness * 1.5 * y[:, None] + 6.3 * phase)
        even, odd = torch.cos(fineness * 1.7 * x), torch.sin(fineness * 1.7 * x)
        first, second = (even, odd) if number % 2 else (odd, even)
        basis.append(size / fineness**0.5 * strength * rows * torch.stack((second, first, first), 1))
    return torch.stack(basis)


def _triangles() -> Tensor:
    """Two triangles for each square, mirrored across the axis; counter-clockwise from outside."""
    triangles = []
    for row in range(ROWS - 1):
        for column in range(COLUMNS - 1):
            a = row * COLUMNS + column
            b, c, d = a + 1, a + COLUMNS, a + COLUMNS + 1
            left_half = column < COLUMNS // 2
            triangles += [(a, c, b), (b, c, d)] if left_half else [(a, c, d), (a, d, b)]
    return torch.tensor(triangles)


def _landmarks() -> Tensor:
    """(68,) vertices at roughly the places of the iBUG points."""
    turn = torch.linspace(-1.25, 1.25, 17)
    jaw = torch.stack((0.98 * torch.sin(turn), 0.1 - 0.95 * torch.cos(turn)), 1).tolist()
    brows = [
        (side * (0.18 + 0.12 * k), 0.5)
        for side, order in ((-1, range(4, -1, -1)), (1, range(5)))
        for k in order
    ]
    nose = [(0, 0.35 - 0.15 * k) for k in range(4)] + [(0.07 * k, -0.3) for k in range(-2, 3)]
    eye = [(-0.15, 0), (-0.08, 0.06), (0.08, 0.06), (0.15, 0), (0.08, -0.06), (-0.08, -0.06)]
    eyes = [(side * 0.38 + dx, 0.3 + dy) for side in (-1, 1) for dx, dy in eye]
    lip = [(-0.3, -0.55), (-0.2, -0.48), (-0.1, -0.45), (0, -0.47), (0.1, -0.45), (0.2, -0.48), (0.3, -0.55)]
    lip += [(0.2, -0.64), (0.1, -0.68), (0, -0.69), (-0.1, -0.68), (-0.2, -0.64)]
    inner = [
        (-0.25, -0.55),
        (-0.1, -0.53),
        (0, -0.53),
        (0.1, -0.53),
        (0.25, -0.55),
        (0.1, -0.58),
        (0, -0.58),
        (-0.1, -0.58),
    ]
    places = torch.tensor([*jaw, *brows, *nose, *eyes, *lip, *inner], dtype=torch.float32)
    grid = torch.stack(_grid(), 1)
    return torch.cdist(places, grid).argmin(1)


def _albedo() -> Tensor:
    """(3, 192, 256) smooth, symmetric, between 0.3 and 0.8."""
    v = torch.linspace(-1, 1, UV_ROWS)[:, None]
    u = torch.linspace(-1, 1, UV_COLUMNS)[None]
    u = (u - u.flip(1)) / 2
    pattern = torch.cos(7 * u) * torch.sin(5 * v)
    return torch.stack((0.65 + 0.1 * pattern, 0.5 + 0.08 * pattern * v, 0.42 + 0.1 * torch.cos(9 * u) * v))
