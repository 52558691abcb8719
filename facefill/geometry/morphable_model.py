"""A linear face model: mean, identity and expression bases, landmarks, mirror pairs, texel coordinates.

The networks see standardised coefficients: 199 of identity and 29 of expression, unit variance. Vertices in
micrometres: x to the image's right for a frontal face, y up, z out of the face.
"""

import hashlib
import os
import zipfile
import zlib
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from facefill.errors import UserError
from facefill.geometry.shapes import check_shape

IDENTITY_COUNT = 199
EXPRESSION_COUNT = 29
LANDMARK_COUNT = 68
UV_ROWS, UV_COLUMNS = 192, 256
VERTEX_IDS = ("triangles", "landmarks", "mirror")  # fields of vertex ids; the others hold float32


@dataclass(frozen=True)
class MorphableModel:
    """Everything about a face model that does not change while it is used.

    name; mean (V, 3) µm; identity_basis (199, V, 3) and expression_basis (29, V, 3), µm for a coefficient of
    1; identity_sigma (199,) and expression_sigma (29,), one standard deviation in the numbers of the model's
    own files, 0 for a component that it does not have; triangles (F, 3) int64, counter-clockwise from
    outside; landmarks (68,) int64 vertex ids in iBUG order; mirror (V,) int64 partner of each vertex; uv (V,
    2) float32 [column, row] in texels of the 192 x 256 atlas, pixel centres at integers; mean_albedo (3, 192,
    256) in [0, 1]; albedo_basis (A, 3, 192, 256), one standard deviation each, where A may be 0.
    """

    name: str
    mean: Tensor
    identity_basis: Tensor
    expression_basis: Tensor
    identity_sigma: Tensor
    expression_sigma: Tensor
    triangles: Tensor
    landmarks: Tensor
    mirror: Tensor
    uv: Tensor
    mean_albedo: Tensor
    albedo_basis: Tensor

    def __post_init__(self) -> None:
        check_shape("mean", self.mean, "V", 3)
        vertex_count = len(self.mean)
        check_shape("identity_basis", self.identity_basis, IDENTITY_COUNT, vertex_count, 3)
        check_shape("expression_basis", self.expression_basis, EXPRESSION_COUNT, vertex_count, 3)
        check_shape("identity_sigma", self.identity_sigma, IDENTITY_COUNT)
        check_shape("expression_sigma", self.expression_sigma, EXPRESSION_COUNT)
        check_shape("triangles", self.triangles, "F", 3)
        check_shape("landmarks", self.landmarks, LANDMARK_COUNT)
        check_shape("mirror", self.mirror, vertex_count)
        check_shape("uv", self.uv, vertex_count, 2)
        check_shape("mean_albedo", self.mean_albedo, 3, UV_ROWS, UV_COLUMNS)
        check_shape("albedo_basis", self.albedo_basis, "A", 3, UV_ROWS, UV_COLUMNS)

    def to(self, device: torch.device | str) -> "MorphableModel":
        """The same model with its tensors on `device`."""
        return MorphableModel(self.name, **{name: value.to(device) for name, value in _tensors(self).items()})


def vertices_from_coefficients(model: MorphableModel, identity: Tensor, expression: Tensor) -> Tensor:
    """Vertices (N, V, 3) in µm from identity (N, 199) and expression (N, 29), both standardised."""
    check_shape("identity", identity, "N", IDENTITY_COUNT)
    check_shape("expression", expression, len(identity), EXPRESSION_COUNT)
    return linear_vertices(model.mean, model.identity_basis, model.expression_basis, identity, expression)


def linear_vertices(
    mean: Tensor, identity_basis: Tensor, expression_basis: Tensor, identity: Tensor, expression: Tensor
) -> Tensor:
    """mean (V, 3) plus coefficients (N, K) times bases (K, V, 3), identity and expression -> (N, V, 3)."""
    flat = torch.addmm(mean.reshape(1, -1), identity, identity_basis.reshape(len(identity_basis), -1))
    flat = torch.addmm(flat, expression, expression_basis.reshape(len(expression_basis), -1))
    return flat.reshape(-1, *mean.shape)


def mirror_coefficients(model: MorphableModel) -> Tensor:
    """(228, 228) matrix M: coefficients (N, 228) @ M describe the mirrored face (identity first).

    Diagonal ±1 where every component is symmetric or antisymmetric; otherwise the least-squares map of each
    mirrored component onto the components of its own kind (identity or expression).
    """
    matrix = torch.zeros(IDENTITY_COUNT + EXPRESSION_COUNT, IDENTITY_COUNT + EXPRESSION_COUNT)
    start = 0
    for basis in (model.identity_basis, model.expression_basis):
        flat = basis.reshape(len(basis), -1).double()
        mirrored = (basis[:, model.mirror] * basis.new_tensor([-1, 1, 1])).reshape(len(basis), -1).double()
        sign = torch.sign((flat * mirrored).sum(1))
        if torch.equal(mirrored, sign[:, None] * flat):
            block = torch.diag(sign)
        else:
            # normal equations: the bases of a scan are long, and their 199 components far from dependent
            products = (flat @ flat.T).cpu(), (flat @ mirrored.T).cpu()
            block = torch.linalg.lstsq(*products, driver="gelsd").solution.T
        stop = start + len(basis)
        matrix[start:stop, start:stop] = block.float().cpu()
        start = stop
    return matrix.to(model.mean.device)


def checksum(model: MorphableModel) -> str:
    """sha256 (hex) over the names, types, shapes and bytes of all fields: the identity of a model."""
    digest = hashlib.sha256(model.name.encode())
    for name, value in _tensors(model).items():
        array = np.ascontiguousarray(value.cpu().numpy())
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def save_model(model: MorphableModel, path: Path) -> None:
    """Write a model as .npz (no pickle inside), complete or not at all."""
    arrays = {name: value.cpu().numpy() for name, value in _tensors(model).items()}
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as stream:
        np.savez(stream, allow_pickle=False, name=np.array(model.name), **arrays)
    os.replace(partial, path)


def load_model(path: Path) -> MorphableModel:
    """Read what save_model wrote.

    Raises UserError when the file is missing, holds something else, or a model that cannot be used.
    """
    if not path.is_file():
        raise UserError(f"no morphable model at {path}: give the .npz that was saved for this run")
    try:
        with np.load(path, allow_pickle=False) as stored:
            tensors = {
                field.name: torch.from_numpy(stored[field.name])
                for field in fields(MorphableModel)
                if field.name != "name"
            }
            model = MorphableModel(name=str(stored["name"]), **tensors)
    except (KeyError, ValueError, TypeError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(
            f"{path} is not a morphable model of this program ({error}): expected the .npz that "
            "`facefill models KIND PATH --save FILE.npz` or a run wrote"
        ) from error
    check_usable(model, path)
    return model


def check_usable(model: MorphableModel, source: Path | str) -> None:
    """Raise UserError that names `source` and the field whose types, vertex ids or values no code can use.

    Cheap beside reading the model; whether it is a plausible face is model_checks.py's question.
    """
    vertex_count = len(model.mean)
    for name, values in _tensors(model).items():
        ids = name in VERTEX_IDS
        wanted = torch.int64 if ids else torch.float32
        fault = ""
        if values.dtype != wanted:
            fault = f"holds {values.dtype}, expected {wanted}".replace("torch.", "")
        elif ids and values.numel() == 0:
            fault = "is empty"
        elif ids and (values.min() < 0 or values.max() >= vertex_count):
            fault = (
                f"holds vertex numbers from {values.min()} to {values.max()}, expected 0 to "
                f"{vertex_count - 1}"
            )
        # one pass without a copy: only a sum that is not finite is worth a closer look
        elif not ids and not values.sum().isfinite() and not values.isfinite().all():
            fault = "holds NaN or infinite values"
        if fault:
            raise UserError(f"{source} is not a usable face model: {name} {fault}; make or save it again")


def _tensors(model: MorphableModel) -> dict[str, Tensor]:
    return {field.name: getattr(model, field.name) for field in fields(model) if field.name != "name"}
