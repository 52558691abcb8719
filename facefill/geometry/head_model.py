"""The whole head in the same 228 coefficients as the face model: what a rendered portrait is made of.

The face mesh is a subset of the head's vertices (`face_vertices`), so a head posed and shaped like a face
model's face has the same face to the last bit.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facefill.geometry.head_asset import (
    EYE,
    INNER_MOUTH,
    MICROMETRES_PER_STEP,
    TEETH,
    HeadAsset,
    coarse_basis,
    symmetrised,
    target_fields,
)
from facefill.geometry.morphable_model import linear_vertices
from facefill.geometry.subdivision import (
    Subdivision,
    mirror_of_subdivision,
    plan_subdivision,
    subdivide,
    subdivide_linearly,
)


@dataclass(frozen=True)
class HeadModel:
    """Head, neck, shoulders, mouth cavity and teeth.

    mean (H, 3) µm; identity_basis (199, H, 3), expression_basis (29, H, 3) µm; triangles (F, 3) int64;
    triangle_kind (F,) int64 SKIN, INNER_MOUTH, TEETH or EYE (head_asset.py); face_vertices (V,) int64 the
    face model's vertices; face_triangle (F,) bool the face model's triangles, in its order; mirror (H,)
    int64; scalp, lips, ears, eyelids (H,) float32 in [0, 1]: where hair grows, and three regions of the skin;
    unit_names: ARKit-style face units; unit_coefficients (U, 29) expression coefficients of a unit at
    activation 1; unit_mean (U,) activations that the mean face holds.
    """

    mean: Tensor
    identity_basis: Tensor
    expression_basis: Tensor
    triangles: Tensor
    triangle_kind: Tensor
    face_vertices: Tensor
    face_triangle: Tensor
    mirror: Tensor
    scalp: Tensor
    lips: Tensor
    ears: Tensor
    eyelids: Tensor
    unit_names: tuple[str, ...]
    unit_coefficients: Tensor
    unit_mean: Tensor


def head_vertices_from_coefficients(head: HeadModel, identity: Tensor, expression: Tensor) -> Tensor:
    """Vertices (N, H, 3) in µm from identity (N, 199) and expression (N, 29), both standardised."""
    return linear_vertices(head.mean, head.identity_basis, head.expression_basis, identity, expression)


def expression_from_units(head: HeadModel, activations: dict[str, float]) -> Tensor:
    """Expression coefficients (29,) nearest to face-unit activations in [0, 1]; unnamed units rest at 0.

    All zero gives the resting face, which is not the mean: the mean face smiles a little with parted lips.
    """
    unknown = sorted(set(activations) - set(head.unit_names))
    if unknown:
        raise ValueError(f"no face unit {unknown[0]!r}: the units are {', '.join(head.unit_names)}")
    wanted = torch.tensor([activations.get(name, 0.0) for name in head.unit_names])
    return (wanted - head.unit_mean) @ head.unit_coefficients


def build_head(asset: HeadAsset) -> HeadModel:
    """Blend and subdivide the asset's arrays."""
    plan = plan_subdivision(asset.quads.astype(np.int64), len(asset.mean))
    mirror = mirror_of_subdivision(plan, asset.mirror.astype(np.int64))
    targets = target_fields(asset)
    mean = _fine(
        plan, asset.mean[None].astype(np.float64) * MICROMETRES_PER_STEP, np.ones(1, dtype=np.int8), mirror
    )[0]
    bases = [
        _fine(plan, coarse_basis(mixture, parity, targets, asset.mirror), parity, mirror)
        for mixture, parity in (
            (asset.identity_mixture, asset.identity_parity),
            (asset.expression_mixture, asset.expression_parity),
        )
    ]
    diagonal = np.unpackbits(asset.diagonal, count=len(plan.fine_quads)).astype(bool)
    in_face = np.unpackbits(asset.face_triangles, count=2 * len(plan.fine_quads)).astype(bool)
    triangles = split_quads(plan.fine_quads, diagonal)
    regions = np.stack([asset.mask_lips, asset.mask_ears, asset.mask_eyelids], 1) / 255.0
    lips, ears, eyelids = subdivide_linearly(plan, regions).T
    kind = np.repeat(asset.quad_kind.astype(np.int64), 8)
    scalp = scalp_weight(mean) * (ears < 0.3) * _outside(plan, asset.quad_kind)
    return HeadModel(
        mean=_tensor(mean),
        identity_basis=_tensor(bases[0]),
        expression_basis=_tensor(bases[1]),
        triangles=torch.from_numpy(triangles),
        triangle_kind=torch.from_numpy(kind),
        face_vertices=torch.from_numpy(np.unique(triangles[in_face])),
        face_triangle=torch.from_numpy(in_face),
        mirror=torch.from_numpy(mirror),
        scalp=_tensor(scalp),
        lips=_tensor(lips),
        ears=_tensor(ears),
        eyelids=_tensor(eyelids),
        unit_names=tuple(str(name) for name in asset.unit_names),
        unit_coefficients=torch.from_numpy(asset.unit_coefficients),
        unit_mean=torch.from_numpy(asset.unit_mean),
    )


def scalp_weight(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where hair grows on the mean head: points (H, 3) µm -> (H,) in [0, 1], above a hairline."""
    x, y, z = points.T / 1e5
    around = np.degrees(np.arctan2(np.abs(x), z + 0.35))  # 0 in front, 90 beside the ears, 180 at the nape
    hairline = np.interp(
        around,
        [0, 30, 52, 62, 72, 88, 105, 130, 180],
        [0.88, 0.86, 0.72, 0.42, 0.28, 0.20, -0.1, -0.42, -0.5],
    )
    edge = np.clip((y - hairline) / 0.10 + 0.5, 0, 1)
    return edge * edge * (3 - 2 * edge)


def split_quads(quads: NDArray[np.int64], diagonal: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Quads (Q, 4) -> triangles (2Q, 3), the pair of a quad adjacent; diagonal: from corner 0 to corner 2."""
    a, b, c, d = quads.T
    first = np.where(diagonal, [a, b, c], [a, b, d]).T
    second = np.where(diagonal, [a, c, d], [b, c, d]).T
    return np.stack([first, second], 1).reshape(-1, 3)


def _fine(
    plan: Subdivision, coarse: NDArray[np.float64], parity: NDArray[np.int8], mirror: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Fields (K, V, 3) of the coarse head on the subdivided one (K, H, 3), mirror-exact."""
    count = len(coarse)
    columns = np.ascontiguousarray(coarse.transpose(1, 0, 2)).reshape(-1, 3 * count)
    fine = subdivide(plan, columns).reshape(-1, count, 3).transpose(1, 0, 2)
    return symmetrised(fine, parity, mirror)


def _outside(plan: Subdivision, quad_kind: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Vertices (H,) that belong to no cavity, tooth or eye."""
    hidden = np.isin(np.repeat(quad_kind, 4), [INNER_MOUTH, TEETH, EYE])
    outside = np.ones(int(plan.fine_quads.max()) + 1, dtype=bool)
    outside[plan.fine_quads[hidden]] = False
    return outside


def _tensor(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
