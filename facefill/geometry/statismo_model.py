"""Face models in the HDF5 layout of statismo: the Basel Face Models 2017 and 2019 and their relatives.

Groups shape, color and expression each hold model/mean, model/pcaBasis (orthonormal columns) and
model/pcaVariance; shape/representer holds the mesh. Raw coefficients belong to the orthonormal columns, so
one standard deviation is the root of the variance, in the file's units of length. The files name no 68
landmarks: the user gives them. A mesh that is not mirror-symmetric is made so (symmetric_remesh.py).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facefill.errors import UserError
from facefill.geometry.mesh_symmetry import mirror_partners, symmetric_part
from facefill.geometry.model_parts import (
    ALBEDO_COMPONENTS,
    ModelParts,
    VertexColours,
    face_alone,
    outward_triangles,
)
from facefill.geometry.morphable_model import EXPRESSION_COUNT, IDENTITY_COUNT, LANDMARK_COUNT
from facefill.geometry.source_files import check_finite, require_file
from facefill.geometry.symmetric_remesh import symmetric_already, symmetric_remesh

EXPECTED = (
    "a face model in HDF5, such as model2017-1_bfm_nomouth.h5 (faces.dmi.unibas.ch/bfm, after registration)"
)
LANDMARK_FILE = (
    "a text file with 68 lines in iBUG order: a vertex number counted from 0, or x y z in the model's units"
)
METRES_PER_UNIT = 1e-3  # where the file does not say
NOSE_TIP = 30
MODEL_FIELDS = ("mean", "pcaBasis", "pcaVariance")
NORM_TOLERANCE = 0.05


@dataclass(frozen=True)
class Component:
    """One linear model: mean (V, 3), basis (K, V, 3) for one standard deviation, sigma (K,)."""

    mean: NDArray[np.float64]
    basis: NDArray[np.float64]
    sigma: NDArray[np.float64]


@dataclass(frozen=True)
class StatismoFile:
    """What one file holds, in its own units: metres_per_unit; triangles (F, 3)."""

    shape: Component
    expression: Component | None
    colour: Component | None
    triangles: NDArray[np.int64]
    metres_per_unit: float


def statismo_files(path: Path, landmarks: Path | None) -> list[Path]:
    """The two files of a model. Raises UserError that says which is missing."""
    model = require_file(path, EXPECTED)
    if landmarks is None:
        raise UserError(f"{path} names no 68 landmarks: give {LANDMARK_FILE}")
    return [model, require_file(landmarks, LANDMARK_FILE)]


def build_statismo(path: Path, landmark_path: Path) -> ModelParts:
    """The model on an exactly mirror-symmetric mesh. Raises UserError that names a bad file."""
    stored = read_statismo(path)
    neutral, expression = stored.shape.mean, stored.expression
    landmarks = read_landmarks(landmark_path, neutral)
    mean = neutral if expression is None else neutral + expression.mean
    middle = 0.5 * (mean[landmarks[36:40], 0].mean() + mean[landmarks[42:46], 0].mean())
    centred = mean - [middle, 0.0, 0.0]
    triangles = outward_triangles(stored.triangles, mean, int(landmarks[NOSE_TIP]))
    partners = mirror_partners(centred, triangles)
    if partners is None:
        mesh = symmetric_remesh(centred, triangles)
    else:
        mesh = symmetric_already(*symmetric_part(partners, triangles))
    micrometres = stored.metres_per_unit * 1e6
    points = mesh.carried(centred)
    identity = mesh.carried(stored.shape.basis) * micrometres
    expressions, expression_sigma = np.zeros((0, *points.shape)), np.zeros(0)
    if expression is not None:
        expressions, expression_sigma = mesh.carried(expression.basis) * micrometres, expression.sigma
    colours = None
    if stored.colour is not None:
        basis = mesh.carried(stored.colour.basis).astype(np.float32)
        colours = VertexColours(mesh.carried(stored.colour.mean), basis)
    whole = ModelParts(
        name=f"statismo-{path.stem}",
        mean=points * micrometres,
        identity=identity.astype(np.float32),
        expression=expressions.astype(np.float32),
        identity_sigma=stored.shape.sigma,
        expression_sigma=expression_sigma,
        triangles=mesh.triangles,
        landmarks=_nearest(points, centred[landmarks]),
        mirror=mesh.mirror,
        colours=colours,
    )
    return face_alone(whole)


def read_statismo(path: Path) -> StatismoFile:
    """Everything that is used of a file. Raises UserError that names file and field."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            fields = {name: file[name][()] for name in _datasets(file)}
    except OSError as error:
        raise UserError(f"{path} is no HDF5 file that can be read ({error}): expected {EXPECTED}") from None
    cells = _field(fields, "shape/representer/cells", path)
    shape = _component(fields, "shape", IDENTITY_COUNT, path)
    vertex_count = len(shape.mean)
    if cells.ndim != 2 or cells.shape[0] != 3 or cells.min() < 0 or cells.max() >= vertex_count:
        raise UserError(
            f"{path}: shape/representer/cells is {cells.shape} with vertices to {cells.max()}, expected 3 x "
            f"triangles of vertices below {vertex_count}"
        )
    colour = _component(fields, "color", ALBEDO_COMPONENTS, path) if "color/model/mean" in fields else None
    expression = None
    if "expression/model/mean" in fields:
        expression = _component(fields, "expression", EXPRESSION_COUNT, path)
    for name, component in (("color", colour), ("expression", expression)):
        if component is not None and len(component.mean) != vertex_count:
            raise UserError(
                f"{path}: {name} has {len(component.mean)} vertices and shape has {vertex_count}: "
                "expected the same mesh"
            )
    unit = fields.get("shape/representer/length-unit", METRES_PER_UNIT)
    return StatismoFile(shape, expression, colour, cells.T.astype(np.int64), float(np.ravel(unit)[0]))


def read_landmarks(path: Path, points: NDArray[np.float64]) -> NDArray[np.int64]:
    """The 68 vertices (68,) that a text file names by number, or by the nearest place to x y z."""
    try:
        rows = [
            [float(word) for word in line.split()] for line in path.read_text().splitlines() if line.strip()
        ]
    except ValueError:
        raise UserError(f"{path} is not {LANDMARK_FILE}") from None
    widths = {len(row) for row in rows}
    if len(rows) != LANDMARK_COUNT or widths not in ({1}, {3}):
        raise UserError(f"{path} has {len(rows)} lines of {sorted(widths)} numbers, expected {LANDMARK_FILE}")
    table = np.array(rows)
    check_finite(table, "a landmark", path)
    if widths == {3}:
        return _nearest(points, table)
    ids = table[:, 0].astype(np.int64)
    if ids.min() < 0 or ids.max() >= len(points):
        raise UserError(f"{path}: vertex {ids.max()} is not below the model's {len(points)} vertices")
    return ids


def _datasets(file: Any) -> list[str]:
    """Names of the numeric datasets that are used."""
    wanted = [f"{part}/model/{name}" for part in ("shape", "color", "expression") for name in MODEL_FIELDS]
    wanted += ["shape/representer/cells", "shape/representer/length-unit"]
    return [name for name in wanted if name in file]


def _component(fields: dict[str, NDArray], part: str, count: int, path: Path) -> Component:
    mean, basis, variance = (_field(fields, f"{part}/model/{name}", path) for name in MODEL_FIELDS)
    mean, variance = mean.ravel(), variance.ravel()
    if len(mean) % 3 or basis.shape != (len(mean), len(variance)):
        raise UserError(
            f"{path}: {part}/model/pcaBasis is {basis.shape}, expected {len(mean)} (three per vertex) x "
            f"{len(variance)} (one per pcaVariance)"
        )
    if (variance < 0).any():
        raise UserError(f"{path}: {part}/model/pcaVariance is negative; the file is damaged")
    norms = np.linalg.norm(basis, axis=0)
    if (np.abs(norms - 1) > NORM_TOLERANCE).any():
        raise UserError(
            f"{path}: the columns of {part}/model/pcaBasis have lengths {norms.min():.3g} to "
            f"{norms.max():.3g}, expected 1; statismo before version 0.9 stores them scaled: convert the file"
        )
    sigma = np.sqrt(variance[:count])
    scaled = (basis[:, :count] * sigma).T.reshape(len(sigma), -1, 3)
    return Component(mean.reshape(-1, 3), scaled, sigma)


def _field(fields: dict[str, NDArray], name: str, path: Path) -> NDArray[np.float64]:
    if name not in fields:
        raise UserError(f"{path}: {name} is missing: expected {EXPECTED}")
    values = np.asarray(fields[name], dtype=np.float64)
    check_finite(values, name, path)
    return values


def _nearest(points: NDArray[np.float64], goals: NDArray[np.float64]) -> NDArray[np.int64]:
    from scipy.spatial import cKDTree

    return cKDTree(points).query(goals)[1].astype(np.int64)
