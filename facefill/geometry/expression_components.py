"""Standardised expression components from face units: a principal component analysis of stated activations.

Face units (jaw open, smile, blink ...) have activations from 0 to 1 and are not independent directions of
unit variance. Here a distribution of activations is stated: independent directions, left and right together
and, smaller, apart. The eigenvectors of its covariance are the components; each is exactly mirror-symmetric
or antisymmetric.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# What the mean face holds: lips hardly parted, a trace of a smile.
MEAN_ACTIVATION = {"jawOpen": 0.05, "mouthSmile": 0.10}
# Standard deviation of the activation of each unit; pairs are given once, without the side.
UNIT_SIGMA = {
    "browDown": 0.35,
    "browInnerUp": 0.40,
    "browOuterUp": 0.35,
    "cheekPuff": 0.10,
    "cheekSquint": 0.30,
    "eyeBlink": 0.18,
    "eyeLookDown": 0.15,
    "eyeLookUp": 0.15,
    "eyeSquint": 0.20,
    "eyeWide": 0.20,
    "jawForward": 0.12,
    "jawOpen": 0.10,
    "mouthDimple": 0.18,
    "mouthFrown": 0.18,
    "mouthFunnel": 0.10,
    "mouthLowerDown": 0.16,
    "mouthPress": 0.10,
    "mouthPucker": 0.13,
    "mouthRollLower": 0.08,
    "mouthRollUpper": 0.08,
    "mouthShrugLower": 0.12,
    "mouthShrugUpper": 0.10,
    "mouthSmile": 0.28,
    "mouthStretch": 0.15,
    "mouthUpperUp": 0.16,
    "noseSneer": 0.18,
}
ONE_SIDED = 0.25  # the difference of left and right, relative to what both do together
# Pairs that move one part to one side, antisymmetric only: (to one side, to the other) and deviation.
SIDEWAYS = (
    (("jawLeft",), ("jawRight",), 0.05),
    (("mouthLeft",), ("mouthRight",), 0.06),
    (("eyeLookIn_L", "eyeLookOut_R"), ("eyeLookIn_R", "eyeLookOut_L"), 0.20),
)
# mouthClose keeps the lips together while the jaw is open: it has no meaning alone.
CLOSED_JAW = ("jawOpen", "mouthClose", 0.5, 0.15)


@dataclass(frozen=True)
class Direction:
    """sigma times the sum of weights[unit] times the unit's field, of one parity."""

    weights: dict[str, float]
    parity: int
    sigma: float


def expression_components(
    fields: dict[str, NDArray[np.float64]], mirror: NDArray[np.int64], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean offset (V, 3) and components (count, V, 3), one standard deviation each, largest first.

    fields: displacement (V, 3) of each unit at activation 1; mirror (V,). Every vertex counts the same, so
    lips and lids, where a mesh is dense, count most.
    """
    components, strengths = [], []
    for parity in (1, -1):
        shapes = np.stack([_shape(d, fields, mirror) for d in directions(fields) if d.parity == parity])
        flat = shapes.reshape(len(shapes), -1)
        variance, vectors = np.linalg.eigh(flat @ flat.T)
        own = np.tensordot(vectors.T, shapes, 1)
        # a component and its negative are the same: an arbitrary fixed projection decides
        sign = np.sign(vectors.T @ np.cos(np.arange(len(vectors))))
        components.append(own * sign[:, None, None])
        strengths.append(variance)
    order = np.argsort(-np.concatenate(strengths), kind="stable")[:count]
    mean = np.zeros_like(next(iter(fields.values())))
    for unit, activation in MEAN_ACTIVATION.items():
        mean += activation * np.sum([fields[name] for name in _sides(unit, fields)], 0)
    return 0.5 * (mean + mean[mirror] * [-1.0, 1.0, 1.0]), np.concatenate(components)[order]


def directions(fields: dict[str, NDArray[np.float64]]) -> list[Direction]:
    """The independent directions of the stated distribution."""
    found = []
    for unit, sigma in UNIT_SIGMA.items():
        sides = _sides(unit, fields)
        found.append(Direction(dict.fromkeys(sides, 1.0), 1, sigma))
        if len(sides) == 2:
            found.append(Direction({sides[0]: 1.0, sides[1]: -1.0}, -1, sigma * ONE_SIDED))
    for there, back, sigma in SIDEWAYS:
        found.append(Direction(dict.fromkeys(there, 1.0) | dict.fromkeys(back, -1.0), -1, sigma))
    jaw, lips, share, sigma = CLOSED_JAW
    found.append(Direction({jaw: share, lips: share}, 1, sigma))
    return found


def _sides(unit: str, fields: dict[str, NDArray[np.float64]]) -> tuple[str, ...]:
    return (unit,) if unit in fields else (f"{unit}_L", f"{unit}_R")


def _shape(
    direction: Direction, fields: dict[str, NDArray[np.float64]], mirror: NDArray[np.int64]
) -> NDArray[np.float64]:
    """One standard deviation (V, 3) of a direction, exactly of its parity."""
    shape = direction.sigma * np.sum([weight * fields[name] for name, weight in direction.weights.items()], 0)
    return 0.5 * (shape + direction.parity * shape[mirror] * [-1.0, 1.0, 1.0])
