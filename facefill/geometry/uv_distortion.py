"""How far a texel map is from the surface it shows: areas, angles, flips, overlaps, coverage."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facefill.geometry.morphable_model import UV_COLUMNS, UV_ROWS, MorphableModel
from facefill.geometry.uv_atlas import texels_inside

PARTS = (0.05, 0.5, 0.95)  # of the surface's area
JAW, BROWS = range(17), range(26, 16, -1)  # landmarks; together, in this order, the outline of the inner face
EDGE = 1e-6  # a texel this near to the edge of a triangle lies in none


@dataclass(frozen=True)
class UVDistortion:
    """area: texels per surface area over their mean, at 5, 50 and 95 % of the surface; angle, likewise: the
    longer over the shorter axis of the ellipse that a small circle of the surface becomes, 1 where angles are
    kept; flips: triangles without area or turned over; overlaps: texels in more than one triangle; texels:
    area of the map; coverage: its part of the atlas. NaN where no triangle has area on the surface.
    """

    area: tuple[float, float, float]
    angle: tuple[float, float, float]
    flips: int
    overlaps: int
    texels: float
    coverage: float


def model_distortion(model: MorphableModel) -> tuple[UVDistortion, UVDistortion]:
    """The map of a model, measured on its mean: the whole, and the inner face alone."""
    vertices, uv = model.mean.double().numpy(), model.uv.double().numpy()
    triangles = model.triangles.numpy()
    inner = triangles[inner_face(uv, triangles, model.landmarks.numpy())]
    return uv_distortion(vertices, triangles, uv), uv_distortion(vertices, inner, uv)


def uv_distortion(
    vertices: NDArray[np.float64],  # (V, 3)
    triangles: NDArray[np.int64],  # (F, 3) counter-clockwise from outside; all, or those of a part
    uv: NDArray[np.float64],  # (V, 2) texels [column, row]
) -> UVDistortion:
    """Measure a map. Triangles without area on the surface count for flips and overlaps alone."""
    first, second, third = (vertices[triangles[:, k]] for k in range(3))
    along, other = second - first, third - first
    length = np.linalg.norm(along, axis=1)
    shift = (along * other).sum(1) / np.maximum(length, 1e-300)
    height = np.linalg.norm(other - along * (shift / np.maximum(length, 1e-300))[:, None], axis=1)
    surface = 0.5 * length * height
    side, slant = (uv[triangles[:, k]] - uv[triangles[:, 0]] for k in (1, 2))
    texels = 0.5 * (side[:, 1] * slant[:, 0] - side[:, 0] * slant[:, 1])  # rows grow downwards
    kept = surface > 0
    flat = np.zeros((int(kept.sum()), 2, 2))
    flat[:, 0, 0], flat[:, 0, 1], flat[:, 1, 1] = length[kept], shift[kept], height[kept]
    long, short = np.linalg.svd(np.stack([side, slant], 2)[kept] @ np.linalg.inv(flat), compute_uv=False).T
    with np.errstate(invalid="ignore"):  # of nothing
        density = texels[kept] / surface[kept] / (texels[kept].sum() / surface[kept].sum())
    _, texel, weights = texels_inside(uv, triangles)
    within = texel[(weights > EDGE).all(1)]
    times = np.bincount(within[:, 1] * UV_COLUMNS + within[:, 0], minlength=UV_ROWS * UV_COLUMNS)
    return UVDistortion(
        area=_at_parts(density, surface[kept]),
        angle=_at_parts(long / np.maximum(short, 1e-300), surface[kept]),
        flips=int((texels <= 0).sum()),
        overlaps=int((times > 1).sum()),
        texels=float(texels.sum()),
        coverage=float(texels.sum()) / (UV_ROWS * UV_COLUMNS),
    )


def inner_face(
    uv: NDArray[np.float64], triangles: NDArray[np.int64], landmarks: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """(F,) triangles whose middle lies within the jaw and brow landmarks (68,), in the atlas."""
    outline = uv[landmarks[[*JAW, *BROWS]]]
    x, y = uv[triangles].mean(1).T
    inside = np.zeros(len(triangles), dtype=bool)
    for (ax, ay), (bx, by) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if ay != by:
            inside ^= ((ay > y) != (by > y)) & (x < ax + (y - ay) * (bx - ax) / (by - ay))
    return inside


def _at_parts(values: NDArray[np.float64], weight: NDArray[np.float64]) -> tuple[float, float, float]:
    if len(values) == 0:
        return np.nan, np.nan, np.nan
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weight[order])
    low, middle, high = values[order][np.searchsorted(reached, np.array(PARTS) * reached[-1])]
    return float(low), float(middle), float(high)
