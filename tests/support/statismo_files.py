"""Small face models in the HDF5 layout of statismo."""

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from small_model import small_model_and_atlas

IDENTITIES, EXPRESSIONS, COLOURS = 5, 3, 4
MICROMETRES = 1e3  # per unit: the file is in millimetres


def write_statismo(path: Path, lopsided: bool = False) -> dict[str, NDArray]:
    """A model of formulas; `lopsided`: cut so that its mesh is not symmetric. Returns what the file holds."""
    model, _ = small_model_and_atlas()
    triangles = model.triangles.numpy()
    points = model.mean.double().numpy() / MICROMETRES
    if lopsided:  # other diagonals on a quarter of the right half
        right = (points[triangles, 0] > 1).all(1)
        triangles = np.concatenate([triangles[~right], _crossed(triangles[right])])
    rng = np.random.default_rng(0)
    size = points.size
    fields: dict[str, NDArray] = {
        "shape/model/mean": points.ravel(),
        "shape/model/pcaBasis": np.linalg.qr(_smooth(points, IDENTITIES, rng))[0],
        "shape/model/pcaVariance": np.linspace(9e3, 4e3, IDENTITIES),
        "expression/model/mean": np.full(size, 0.1),
        "expression/model/pcaBasis": np.linalg.qr(_smooth(points, EXPRESSIONS, rng))[0],
        "expression/model/pcaVariance": np.linspace(4e3, 1e3, EXPRESSIONS),
        "color/model/mean": np.tile([0.7, 0.5, 0.4], len(points)),
        "color/model/pcaBasis": np.linalg.qr(_smooth(points, COLOURS, rng))[0],
        "color/model/pcaVariance": np.linspace(20, 10, COLOURS),
        "shape/representer/cells": triangles.T.astype(np.uint32),
    }
    fields = {
        name: value.astype(np.float32) if value.dtype == float else value for name, value in fields.items()
    }
    with h5py.File(path, "w") as file:
        for name, value in fields.items():
            file[name] = value
    return fields


def write_landmarks(path: Path) -> NDArray[np.int64]:
    """The model's 68 vertices, one per line."""
    ids = small_model_and_atlas()[0].landmarks.numpy()
    path.write_text("\n".join(str(i) for i in ids) + "\n")
    return ids


def _smooth(points: NDArray[np.float64], count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    waves = np.sin(points @ rng.normal(size=(3, count)) / 80 + rng.uniform(0, 6, count))
    return (waves[:, None] * rng.normal(size=(1, 3, count))).reshape(-1, count)


def _crossed(triangles: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same surface with the other diagonal in every third pair of neighbours."""
    crossed = triangles.copy()
    for row in range(0, len(triangles) - 1, 6):
        first, second = triangles[row], triangles[row + 1]
        shared = np.intersect1d(first, second)
        if len(shared) != 2:
            continue
        start = int(np.flatnonzero(~np.isin(first, shared))[0])
        a, b, c = np.roll(first, -start)
        d = int(second[~np.isin(second, shared)][0])
        crossed[row], crossed[row + 1] = [a, b, d], [a, d, c]
    return crossed
