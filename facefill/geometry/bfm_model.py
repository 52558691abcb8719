"""The Basel Face Model 2009 with expressions, from the user's licensed files.

Two sources, one model: the original 01_MorphableModel.mat, trimmed from 53,490 vertices to 53,215 as 3DDFA
does it (model_info.mat), or 3DDFA's Model_Shape.mat, where that has been done. Micrometres already. 300W-LP
and its relatives give raw coefficients: for identity those of the principal components as stored, so that one
standard deviation is shapeEV; for expression those of w_exp, so that it is sigma_exp.

The mesh's border has a few vertices without a mirror image; they are left out (14 of 53,215).
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
    outward_triangles,
    restricted,
)
from facefill.geometry.morphable_model import EXPRESSION_COUNT, IDENTITY_COUNT, LANDMARK_COUNT
from facefill.geometry.source_files import (
    check_finite,
    find_file,
    numbers,
    read_mat,
    require_file,
    vertex_ids,
)

WITH_UNITS, WITH_PRINCIPAL_COMPONENTS = "bfm2009-3ddfa", "bfm2009-exp-pca"
ORIGINAL_VERTICES, VERTICES = 53490, 53215
BASEL = "of the Basel Face Model 2009 (faces.dmi.unibas.ch/bfm, free for research after registration)"
ZHU = "of the 3DDFA project (Zhu et al. 2016; face3d's examples/Data/BFM says where to get it)"
GUO = "of github.com/Juyong/3DFace"
ORIGINAL, INFO, TRIMMED = "01_MorphableModel.mat", "model_info.mat", "Model_Shape.mat"
EXPRESSION_NAMES = ("Model_Expression.mat", "Model_Exp.mat")
PRINCIPAL_EXPRESSIONS, DEVIATIONS = "Exp_Pca.bin", "std_exp.txt"
TRIM_NAMES, TRIANGLE_NAMES = (INFO, "BFM_exp_idx.mat"), (INFO, "tri.mat")
NOSE_TIP = 30
BYTES = 255.0  # colours are stored from 0 to 255
# fmt: off
LANDMARKS = (  # iBUG order, vertices of the trimmed mesh
    21873, 22149, 21653, 21036, 43236, 44918, 46166, 47135, 47914, 48695, 49667, 50924, 52613, 33678, 33005,
    32469, 32709, 38695, 39392, 39782, 39987, 40154, 40893, 41059, 41267, 41661, 42367, 8161, 8177, 8187,
    8192, 6515, 7243, 8204, 9163, 9883, 2215, 3886, 4920, 5828, 4801, 3640, 10455, 11353, 12383, 14066, 12653,
    11492, 5522, 6025, 7495, 8215, 8935, 10395, 10795, 9555, 8836, 8236, 7636, 6915, 5909, 7384, 8223, 9064,
    10537, 8829, 8229, 7629,
)
# fmt: on


@dataclass(frozen=True)
class BfmFiles:
    """Which file holds what; `trim` is absent where the shape file is trimmed already."""

    shape: Path
    expression: Path
    deviations: Path | None
    trim: Path | None
    triangles: Path

    @property
    def all(self) -> list[Path]:
        """Every file once."""
        given = [self.shape, self.expression, self.deviations, self.trim, self.triangles]
        return list(dict.fromkeys(path for path in given if path is not None))


@dataclass(frozen=True)
class Shape:
    """Trimmed identity: mean (53215, 3), basis (K, 53215, 3) raw, sigma (K,), colours."""

    mean: NDArray[np.float64]
    basis: NDArray[np.float32]
    sigma: NDArray[np.float64]
    colours: VertexColours | None


@dataclass(frozen=True)
class Expression:
    """Expression: offset of the mean (53215, 3), basis (E, 53215, 3) raw, sigma (E,)."""

    offset: NDArray[np.float64]
    basis: NDArray[np.float32]
    sigma: NDArray[np.float64]


def bfm_files(folder: Path) -> BfmFiles:
    """Find the files of the model in a folder. Raises UserError that names the first one that is missing."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: give the one that holds {ORIGINAL} or {TRIMMED}")
    original = folder / ORIGINAL
    if original.exists() or not (folder / TRIMMED).exists():
        shape = require_file(original, f"the shape model {BASEL}, or {TRIMMED} {ZHU}")
        trim = _first(folder, TRIM_NAMES, f"the vertices to keep, trimIndex, {ZHU}")
        triangles = _first(folder, TRIANGLE_NAMES, f"the triangles, tri, {ZHU}")
    else:
        shape, trim = require_file(folder / TRIMMED, f"the trimmed shape model {ZHU}"), None
        triangles = shape
    expression = find_file(folder, EXPRESSION_NAMES)
    if expression is not None:
        require_file(expression, f"the expression model {ZHU}")
        return BfmFiles(shape, expression, None, trim, triangles)
    expression = require_file(
        folder / PRINCIPAL_EXPRESSIONS, f"the expressions {GUO}, or {EXPRESSION_NAMES[0]} {ZHU}"
    )
    deviations = require_file(folder / DEVIATIONS, f"the deviations of {PRINCIPAL_EXPRESSIONS}, {GUO}")
    return BfmFiles(shape, expression, deviations, trim, triangles)


def build_bfm(files: BfmFiles) -> ModelParts:
    """The model on the mirror-symmetric part of the trimmed mesh. Raises UserError that names a bad file."""
    opened = {path: read_mat(path, "a file of the Basel Face Model") for path in files.all if _is_mat(path)}
    if files.trim is None:
        shape = _trimmed(opened[files.shape], files.shape)
    else:
        kept = vertex_ids(opened[files.trim], "trimIndex", (VERTICES,), ORIGINAL_VERTICES, files.trim)
        shape = _original(opened[files.shape], files.shape, kept)
    if files.deviations is None:
        name, expression = WITH_UNITS, _expression(opened[files.expression], files.expression)
    else:
        name, expression = WITH_PRINCIPAL_COMPONENTS, _principal(files.expression, files.deviations)
    mean = shape.mean + expression.offset
    named = files.shape if files.trim is None else files.trim
    landmarks = np.array(LANDMARKS)
    if "keypoints" in opened[named]:
        landmarks = vertex_ids(opened[named], "keypoints", (LANDMARK_COUNT,), VERTICES, named)
    triangles = vertex_ids(opened[files.triangles], "tri", (3, None), VERTICES, files.triangles).T
    triangles = outward_triangles(np.ascontiguousarray(triangles), mean, int(landmarks[NOSE_TIP]))
    partners = mirror_partners(mean, triangles)
    if partners is None:
        raise UserError(f"{files.triangles}: the triangles do not belong to the trimmed mesh {ZHU}")
    whole = ModelParts(
        name=name,
        mean=mean,
        identity=shape.basis * shape.sigma[:, None, None].astype(np.float32),
        expression=expression.basis * expression.sigma[:, None, None].astype(np.float32),
        identity_sigma=shape.sigma,
        expression_sigma=expression.sigma,
        triangles=triangles,
        landmarks=landmarks,
        mirror=partners,
        colours=shape.colours,
    )
    return restricted(whole, *symmetric_part(partners, triangles))


def _first(folder: Path, names: tuple[str, ...], expected: str) -> Path:
    return require_file(find_file(folder, names) or folder / names[0], expected)


def _is_mat(path: Path) -> bool:
    return path.suffix == ".mat"


def _original(fields: dict[str, Any], path: Path, kept: NDArray[np.int64]) -> Shape:
    colour_sigma = _sigma(fields, "texEV", ALBEDO_COMPONENTS, path)
    colour_basis = _basis(fields, "texPC", ORIGINAL_VERTICES, len(colour_sigma), path)[:, kept]
    sigma = _sigma(fields, "shapeEV", IDENTITY_COUNT, path)
    return Shape(
        mean=_points(fields, "shapeMU", ORIGINAL_VERTICES, path)[kept],
        basis=_basis(fields, "shapePC", ORIGINAL_VERTICES, len(sigma), path)[:, kept],
        sigma=sigma,
        colours=VertexColours(
            mean=_points(fields, "texMU", ORIGINAL_VERTICES, path)[kept] / BYTES,
            basis=colour_basis * (colour_sigma[:, None, None] / BYTES).astype(np.float32),
        ),
    )


def _trimmed(fields: dict[str, Any], path: Path) -> Shape:
    colours = None
    if "tex" in fields:
        basis = np.zeros((0, VERTICES, 3), dtype=np.float32)
        if "w_tex" in fields:
            deviation = _sigma(fields, "alpha_tex", ALBEDO_COMPONENTS, path)
            basis = _basis(fields, "w_tex", VERTICES, len(deviation), path)
            basis = basis * (deviation[:, None, None] / BYTES).astype(np.float32)
        # the mean colour is a matrix with one column per vertex
        colours = VertexColours(numbers(fields, "tex", (3, VERTICES), path).T / BYTES, basis)
    sigma = _sigma(fields, "sigma", IDENTITY_COUNT, path)
    return Shape(
        mean=_points(fields, "mu_shape", VERTICES, path),
        basis=_basis(fields, "w", VERTICES, len(sigma), path),
        sigma=sigma,
        colours=colours,
    )


def _expression(fields: dict[str, Any], path: Path) -> Expression:
    sigma = _sigma(fields, "sigma_exp", EXPRESSION_COUNT, path)
    return Expression(
        offset=_points(fields, "mu_exp", VERTICES, path),
        basis=_basis(fields, "w_exp", VERTICES, len(sigma), path),
        sigma=sigma,
    )


def _principal(path: Path, deviations_path: Path) -> Expression:
    """Exp_Pca.bin: int32 count of components, float32 mean (159645), float32 components (count, 159645).

    The mean in the file is not added: these expressions are offsets from the neutral face.
    """
    values = VERTICES * 3
    size = path.stat().st_size
    with path.open("rb") as stream:
        count = int(np.fromfile(stream, np.int32, 1)[0]) if size >= 4 else 0
        if not EXPRESSION_COUNT <= count <= 1000 or size != 4 + 4 * values * (count + 1):
            raise UserError(
                f"{path} has {size:,} bytes, expected 4 + 638,580 x (components + 1), 51,086,404 for 79: "
                f"download it again {GUO}"
            )
        stream.seek(4 + 4 * values)
        basis = np.fromfile(stream, np.float32, EXPRESSION_COUNT * values)
    basis = basis.reshape(EXPRESSION_COUNT, VERTICES, 3)
    check_finite(basis, "an expression", path)
    try:
        sigma = np.array(deviations_path.read_text().split(), dtype=np.float64)
    except ValueError:
        raise UserError(f"{deviations_path} does not hold numbers; take it {GUO}") from None
    if len(sigma) < EXPRESSION_COUNT:
        raise UserError(f"{deviations_path} holds {len(sigma)} numbers, expected one per expression, 79")
    check_finite(sigma, "a deviation", deviations_path)
    return Expression(np.zeros((VERTICES, 3)), basis, sigma[:EXPRESSION_COUNT])


def _points(fields: dict[str, Any], name: str, vertex_count: int, path: Path) -> NDArray[np.float64]:
    return numbers(fields, name, (3 * vertex_count,), path).reshape(vertex_count, 3)


def _basis(
    fields: dict[str, Any], name: str, vertex_count: int, count: int, path: Path
) -> NDArray[np.float32]:
    """The first `count` columns of a basis as (count, vertices, 3)."""
    columns = numbers(fields, name, (3 * vertex_count, None), path)
    if columns.shape[1] < count:
        raise UserError(f"{path}: {name} has {columns.shape[1]} columns, expected one per deviation, {count}")
    return np.ascontiguousarray(columns[:, :count].T.reshape(count, vertex_count, 3), dtype=np.float32)


def _sigma(fields: dict[str, Any], name: str, count: int, path: Path) -> NDArray[np.float64]:
    """The first `count` deviations; all, where there are fewer."""
    sigma = numbers(fields, name, (None,), path)[:count]
    if (sigma <= 0).any():
        raise UserError(f"{path}: {name} holds a deviation that is not positive; the file is damaged")
    return sigma
