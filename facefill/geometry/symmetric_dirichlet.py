"""The symmetric Dirichlet energy of a flattening, minimised by Newton steps.

A triangle whose map from the surface has the singular values s, t costs s² + t² + 1/s² + 1/t²: least where
lengths are kept, infinite where it folds over, so that a flattening without flips stays one (Smith and
Schaefer 2015). The Hessian is made positive triangle by triangle, from its known eigenvectors (Smith, de Goes
and Kim 2019).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Reals = NDArray[np.float64]
ITERATIONS = 60
ENOUGH = 1e-3  # part of the energy that a step has to gain


@dataclass(frozen=True)
class Freedom:
    """How 2V coordinates depend on D numbers: coordinate k is sign[k] * number[index[k]]; sign 0 fixes it.

    index (V, 2) int64 names each of the D numbers; sign (V, 2) in {-1, 0, 1}; coordinates are [column from
    the middle, row].
    """

    index: Integers
    sign: Reals
    count: int

    def spread(self, numbers: Reals) -> Reals:
        """(D,) -> (V, 2)."""
        return self.sign * numbers[self.index]


def flatten_freely(
    uv: Reals,
    triangles: Integers,
    inverse_rest: Reals,
    weight: Reals,
    freedom: Freedom,
) -> Reals:
    """uv (V, 2) without flips -> uv (V, 2) of less energy, nearly the least that can be reached from it.

    inverse_rest (F, 2, 2): inverse of the surface triangle's sides, [first, second] in columns; weight (F,).
    """
    from scipy.sparse import csc_matrix
    from scipy.sparse.linalg import splu

    index = freedom.index[triangles].reshape(len(triangles), 6)
    sign = freedom.sign[triangles].reshape(len(triangles), 6)
    rows, columns = np.repeat(index, 6, axis=1).ravel(), np.tile(index, 6).ravel()
    places, place = np.unique(columns * freedom.count + rows, return_inverse=True)
    indices = places % freedom.count
    pointers = np.searchsorted(places, np.arange(freedom.count + 1) * freedom.count)
    fixed = np.bincount(freedom.index.ravel(), np.abs(freedom.sign).ravel(), freedom.count) == 0
    diagonal = np.searchsorted(places, np.arange(freedom.count) * (freedom.count + 1))

    operator = _operator(inverse_rest)  # (F, 4, 6)
    for _ in range(ITERATIONS):
        jacobian = _sides(uv, triangles) @ inverse_rest
        energy, slope, curvature = _density(jacobian)
        corner_slope = ((weight[:, None] * slope)[:, None] @ operator)[:, 0]
        corner_curvature = operator.transpose(0, 2, 1) @ (weight[:, None, None] * curvature) @ operator
        corner_curvature *= sign[:, :, None] * sign[:, None, :]
        gradient = np.bincount(index.ravel(), (sign * corner_slope).ravel(), freedom.count)
        data = np.bincount(place.ravel(), corner_curvature.ravel(), len(places))
        data[diagonal] += 1e-9 * data[diagonal].mean() + fixed
        hessian = csc_matrix((data, indices, pointers), (freedom.count, freedom.count))
        options = {"SymmetricMode": True}
        solver = splu(hessian, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
        numbers = solver.solve(-gradient)
        step, downhill = freedom.spread(numbers), float(gradient @ numbers)
        before = float(weight @ energy)
        length = min(1.0, 0.9 * _first_flip(uv, step, triangles))
        while True:
            after = float(weight @ _energy(_sides(uv + length * step, triangles) @ inverse_rest))
            if after <= before + 1e-4 * length * downhill or length < 1e-6:
                break
            length *= 0.5
        uv = uv + length * step
        if before - after < ENOUGH * before:
            break
    return uv


def _sides(uv: Reals, triangles: Integers) -> Reals:
    """(F, 2, 2) with the two sides from the first corner as columns."""
    first = uv[triangles[:, 0]]
    return np.stack([uv[triangles[:, 1]] - first, uv[triangles[:, 2]] - first], 2)


def _operator(inverse_rest: Reals) -> Reals:
    """(F, 4, 6): the change of the flattened Jacobian [00, 01, 10, 11] by the corners' [u, v] each."""
    change = np.zeros((len(inverse_rest), 4, 6))
    for row in range(2):
        for column in range(2):
            first, second = inverse_rest[:, 0, column], inverse_rest[:, 1, column]
            change[:, 2 * row + column, row] = -first - second
            change[:, 2 * row + column, 2 + row] = first
            change[:, 2 * row + column, 4 + row] = second
    return change


def _energy(jacobian: Reals) -> Reals:
    """(F,) symmetric Dirichlet energy density."""
    area = np.linalg.det(jacobian)
    squares = (jacobian**2).sum((1, 2))
    return np.where(area > 0, squares * (1 + 1 / np.maximum(area, 1e-150) ** 2), np.inf)


def _density(jacobian: Reals) -> tuple[Reals, Reals, Reals]:
    """Energy (F,), gradient (F, 4) and positive semi-definite Hessian (F, 4, 4) by the Jacobian's entries."""
    left, singular, right = np.linalg.svd(jacobian)
    s, t = singular.T
    # singular values and vectors of a map without flips, both bases rotations
    slope_s, slope_t = 2 * s - 2 * s**-3.0, 2 * t - 2 * t**-3.0
    u, v = left, right.transpose(0, 2, 1)

    def outer(a: int, b: int) -> Reals:
        return (u[:, :, None, a] * v[:, None, :, b]).reshape(-1, 4)

    stretch_s, stretch_t = outer(0, 0), outer(1, 1)
    # reflections in both bases cancel in the stretches and change at most the sign of the two others
    twist, flip = (outer(1, 0) - outer(0, 1)) / np.sqrt(2), (outer(1, 0) + outer(0, 1)) / np.sqrt(2)
    values = np.stack(
        [
            2 + 6 * s**-4.0,
            2 + 6 * t**-4.0,
            np.maximum((slope_s + slope_t) / (s + t), 0),
            2 + 2 * (s * s + s * t + t * t) / (s * t) ** 3,
        ],
        1,
    )
    vectors = np.stack([stretch_s, stretch_t, twist, flip], 1)
    energy = s**2 + t**2 + s**-2.0 + t**-2.0
    slope = slope_s[:, None] * stretch_s + slope_t[:, None] * stretch_t
    return energy, slope, vectors.transpose(0, 2, 1) @ (values[:, :, None] * vectors)


def _first_flip(uv: Reals, step: Reals, triangles: Integers) -> float:
    """The smallest positive length of the step at which a triangle loses its area."""
    here, there = _sides(uv, triangles), _sides(step, triangles)
    c, a = np.linalg.det(here), np.linalg.det(there)
    b = here[:, 0, 0] * there[:, 1, 1] + there[:, 0, 0] * here[:, 1, 1]
    b -= here[:, 0, 1] * there[:, 1, 0] + there[:, 0, 1] * here[:, 1, 0]
    root = np.sqrt(np.maximum(b * b - 4 * a * c, 0))
    # the stable form of the smaller root: c > 0, so it is positive exactly when root > b or a < 0
    with np.errstate(divide="ignore", invalid="ignore"):
        near = 2 * c / (root - b)
    real = (b * b - 4 * a * c >= 0) & (near > 0)
    return float(near[real].min()) if real.any() else np.inf
