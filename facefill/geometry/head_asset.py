"""Read assets/head_cc0.npz and blend its targets into the bases of the coarse head.

All blending is done with integers held in double precision, whose sums are exact: the same bits on every
machine.
"""

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facefill.errors import UserError

ASSET = Path(__file__).resolve().parents[1] / "assets" / "head_cc0.npz"
MICROMETRES_PER_STEP = 10.0
MIXTURE_STEPS = 2.0**20
STEPS_PER_TEXEL = 256.0
SKIN, INNER_MOUTH, TEETH, EYE = range(4)


@dataclass(frozen=True)
class HeadAsset:
    """The arrays of the asset file, as stored.

    mean (V, 3) steps; quads (Q, 4); mirror (V,); quad_kind (Q,) SKIN, INNER_MOUTH, TEETH or EYE; mask_* (V,)
    0..255; target_names (T,), target_start (T + 1,), target_vertex (n,), target_delta (n, 3) steps;
    {identity, expression}_ mixture (K, T) and _parity (K,) ±1; unit_names (U,), unit_coefficients (U, 29),
    unit_mean (U,); diagonal: packed bits of the 4Q subdivided quads; face_triangles: packed bits of their 8Q
    triangles; uv (face vertices, 2); landmarks (68,).
    """

    mean: NDArray[np.int32]
    quads: NDArray[np.uint16]
    mirror: NDArray[np.uint16]
    quad_kind: NDArray[np.uint8]
    mask_lips: NDArray[np.uint8]
    mask_ears: NDArray[np.uint8]
    mask_eyelids: NDArray[np.uint8]
    target_names: NDArray[np.str_]
    target_start: NDArray[np.int32]
    target_vertex: NDArray[np.uint16]
    target_delta: NDArray[np.int16]
    identity_mixture: NDArray[np.int32]
    identity_parity: NDArray[np.int8]
    expression_mixture: NDArray[np.int32]
    expression_parity: NDArray[np.int8]
    unit_names: NDArray[np.str_]
    unit_coefficients: NDArray[np.float32]
    unit_mean: NDArray[np.float32]
    face_triangles: NDArray[np.uint8]
    diagonal: NDArray[np.uint8]
    uv: NDArray[np.uint16]
    landmarks: NDArray[np.int32]


def load_asset(path: Path = ASSET) -> HeadAsset:
    """Read the asset; raises UserError when the installation lacks it."""
    if not path.is_file():
        raise UserError(f"the head asset {path} is missing: install the package again")
    with np.load(path, allow_pickle=False) as stored:
        return HeadAsset(**{field.name: stored[field.name] for field in fields(HeadAsset)})


def asset_checksum(path: Path = ASSET) -> str:
    """sha256 (hex) of the asset file."""
    if not path.is_file():
        raise UserError(f"the head asset {path} is missing: install the package again")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def target_fields(asset: HeadAsset) -> NDArray[np.float64]:
    """Displacements (T, 3V) of all targets, in whole steps."""
    count, vertex_count = len(asset.target_names), len(asset.mean)
    dense = np.zeros((count, vertex_count, 3))
    target = np.repeat(np.arange(count), np.diff(asset.target_start))
    dense[target, asset.target_vertex] = asset.target_delta
    return dense.reshape(count, -1)


def coarse_basis(
    mixture: NDArray[np.int32],
    parity: NDArray[np.int8],
    targets: NDArray[np.float64],
    mirror: NDArray[np.uint16],
) -> NDArray[np.float64]:
    """Basis (K, V, 3) in µm, each component exactly symmetric (parity 1) or antisymmetric (-1)."""
    blended = (mixture.astype(np.float64) @ targets).reshape(len(mixture), -1, 3)
    return symmetrised(blended, parity, mirror) * (MICROMETRES_PER_STEP / MIXTURE_STEPS)


def symmetrised(
    basis: NDArray[np.float64], parity: NDArray[np.int8], mirror: NDArray[np.integer]
) -> NDArray[np.float64]:
    """The part (K, V, 3) of a basis that equals parity (K,) times its own mirror image, to the last bit."""
    mirrored = basis[:, mirror] * [-1.0, 1.0, 1.0]
    return 0.5 * (basis + parity[:, None, None] * mirrored)
