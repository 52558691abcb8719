"""The ICT face model (Li et al. 2020, MIT licence) from its FaceXModel folder, or from its face area alone.

The folder has one OBJ per shape, in centimetres and in one order of vertices: the face is the first 9,409 of
26,719 vertices and the first 9,230 of 26,384 polygons. identity000 to identity099 lie one standard deviation
from generic_neutral_mesh; the expression shapes are face units at activation 1. The face's eye openings are
closed with eyeballs (eye_caps.py), which carry the gaze of a photograph.
"""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facefill.errors import UserError
from facefill.geometry.expression_components import expression_components
from facefill.geometry.eye_caps import EyeCap, eye_cap, mirrored_cap
from facefill.geometry.head_model import split_quads
from facefill.geometry.mesh_border import border_loops
from facefill.geometry.mesh_symmetry import symmetrised_points
from facefill.geometry.model_parts import ModelParts, face_alone
from facefill.geometry.morphable_model import EXPRESSION_COUNT
from facefill.geometry.source_files import check_finite, require_file

NAME = "ict-facekit"
MICROMETRES_PER_UNIT = 1e4  # centimetres
ALL_VERTICES, FACE_VERTICES, FACE_QUADS, IDENTITIES = 26719, 9409, 9230, 100
NEUTRAL = "generic_neutral_mesh.obj"
WHERE = "the FaceXModel folder of github.com/ICT-VGL/ICT-FaceKit (MIT licence)"
# fmt: off
SINGLE_UNITS = (
    "jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose", "mouthFunnel", "mouthLeft",
    "mouthPucker", "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower",
    "mouthShrugUpper",
)
PAIRED_UNITS = (
    "browDown", "browInnerUp", "browOuterUp", "cheekPuff", "cheekSquint", "eyeBlink", "eyeLookDown",
    "eyeLookIn", "eyeLookOut", "eyeLookUp", "eyeSquint", "eyeWide", "mouthDimple", "mouthFrown",
    "mouthLowerDown", "mouthPress", "mouthSmile", "mouthStretch", "mouthUpperUp", "noseSneer",
)
# fmt: on
UNITS = tuple(sorted([*SINGLE_UNITS, *(f"{unit}_{side}" for unit in PAIRED_UNITS for side in "LR")]))
# fmt: off
LANDMARKS = (  # iBUG order
    1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088, 3443,
    268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857, 1140, 2075, 1147, 4269,
    3360, 1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732, 5708, 5695, 2081, 0, 4275,
    6200, 6213, 6346, 6461, 5518, 5957, 5841, 5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966,
)
# fmt: on
RIGHT_EYE = slice(36, 42)  # the person's
LARGEST_ASYMMETRY = 0.02  # centimetres between a vertex and the mirror image of its partner
OF_ONE_PARITY = 0.9  # correlation of a component with its mirror image that counts as ±1


@dataclass(frozen=True)
class IctShapes:
    """What both sources hold, in centimetres: mean (9409, 3), identity (100, 9409, 3), units (9409, 3) each,
    quads (9230, 4)."""

    mean: NDArray[np.float64]
    identity: NDArray[np.float64]
    units: dict[str, NDArray[np.float64]]
    quads: NDArray[np.int64]


def ict_files(path: Path) -> list[Path]:
    """The files that the model is made of: the OBJ files of a folder, or the one .npz.

    Raises UserError that names the first file that is missing.
    """
    if path.is_file():
        return [require_file(path, "the packed face area of the ICT model (.npz)")]
    folder = path / "FaceXModel" if (path / "FaceXModel").is_dir() else path
    names = [NEUTRAL, *(f"identity{k:03d}.obj" for k in range(IDENTITIES)), *(f"{u}.obj" for u in UNITS)]
    return [require_file(folder / name, f"a mesh of {WHERE}") for name in names]


def build_ict(files: list[Path]) -> ModelParts:
    """The model on the face's vertices and 170 of eyeballs. Raises UserError that names a bad file."""
    shapes = _read_pack(files[0]) if len(files) == 1 else _read_folder(files)
    mirror = _mirror(shapes.mean, files[0])
    mean = symmetrised_points(shapes.mean, mirror)
    triangles = split_quads(shapes.quads, _shorter_diagonal(mean, shapes.quads))
    caps = _eye_caps(mean, triangles, mirror)
    mirror = _with_caps_mirror(mirror, caps)
    units = {name: _with_caps(field, caps) for name, field in shapes.units.items()}
    for side, cap in zip("RL", caps, strict=True):  # a closed lid lies on the eyeball: the cap must not show
        own = np.isin(np.arange(len(mirror)), _cap_ids(caps, cap))
        units[f"eyeBlink_{side}"][own] -= cap.bulge
    offset, expression = expression_components(units, mirror, EXPRESSION_COUNT)
    rest = _with_caps(mean, caps)
    for cap in caps:
        rest[_cap_ids(caps, cap)] += cap.bulge
    identity = np.stack([_with_caps(field, caps) for field in shapes.identity])
    whole = ModelParts(
        name=NAME,
        mean=(rest + offset) * MICROMETRES_PER_UNIT,
        identity=(_of_one_parity(identity, mirror) * MICROMETRES_PER_UNIT).astype(np.float32),
        expression=(expression * MICROMETRES_PER_UNIT).astype(np.float32),
        identity_sigma=np.ones(len(identity)),
        expression_sigma=np.ones(len(expression)),
        triangles=np.concatenate([triangles, *(cap.triangles for cap in caps)]),
        landmarks=np.array(LANDMARKS),
        mirror=mirror,
        colours=None,
    )
    return face_alone(whole)


def _read_folder(files: list[Path]) -> IctShapes:
    neutral, *others = files
    mean = _obj_vertices(neutral)
    offsets = np.stack([_obj_vertices(file) - mean for file in others])
    return IctShapes(
        mean, offsets[:IDENTITIES], dict(zip(UNITS, offsets[IDENTITIES:], strict=True)), _obj_quads(neutral)
    )


def _obj_vertices(path: Path) -> NDArray[np.float64]:
    """The face's vertices (9409, 3) of one OBJ file."""
    rows = [line[2:] for line in path.read_bytes().split(b"\n") if line.startswith(b"v ")]
    if len(rows) != ALL_VERTICES:
        raise UserError(
            f"{path} has {len(rows)} vertices, expected {ALL_VERTICES}: take it unchanged from {WHERE}"
        )
    try:
        values = np.array(b" ".join(rows[:FACE_VERTICES]).split(), dtype=np.float64)
        points = values.reshape(FACE_VERTICES, 3)
    except ValueError:
        raise UserError(f"{path}: a vertex is not three numbers; download it again from {WHERE}") from None
    check_finite(points, "a vertex", path)
    return points


def _obj_quads(path: Path) -> NDArray[np.int64]:
    """The face's polygons (9230, 4) of the neutral mesh."""
    rows = [line[2:].split() for line in path.read_bytes().split(b"\n") if line.startswith(b"f ")]
    face = rows[:FACE_QUADS]
    if len(face) < FACE_QUADS or any(len(row) != 4 for row in face):
        raise UserError(
            f"{path}: expected the face as {FACE_QUADS} polygons of 4 corners first; take {WHERE}"
        )
    return _checked_quads(np.array([[int(c.split(b"/")[0]) for c in row] for row in face]) - 1, path)


def _read_pack(path: Path) -> IctShapes:
    expected = {"mean": (FACE_VERTICES, 3), "identity": (IDENTITIES, FACE_VERTICES, 3)}
    expected |= {"expression": (len(UNITS), FACE_VERTICES, 3), "quads": (FACE_QUADS, 4)}
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in (*expected, "expression_names")}
    except (KeyError, ValueError, TypeError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(
            f"{path} is not the packed face area of the ICT model ({error}): expected an .npz with "
            f"{', '.join(expected)} and expression_names, or {WHERE}"
        ) from None
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise UserError(f"{path}: {name} has shape {arrays[name].shape}, expected {shape}")
        check_finite(arrays[name], name, path)
    names = [str(name) for name in arrays["expression_names"]]
    missing = sorted(set(UNITS) - set(names))
    if missing:
        raise UserError(f"{path}: the expression {missing[0]} is missing in expression_names")
    fields = dict(zip(names, arrays["expression"].astype(np.float64), strict=True))
    return IctShapes(
        mean=arrays["mean"].astype(np.float64),
        identity=arrays["identity"].astype(np.float64),
        units={name: fields[name] for name in UNITS},
        quads=_checked_quads(arrays["quads"].astype(np.int64), path),
    )


def _checked_quads(quads: NDArray[np.int64], path: Path) -> NDArray[np.int64]:
    if quads.min() < 0 or quads.max() >= FACE_VERTICES:
        raise UserError(
            f"{path}: the face's polygons reach beyond its {FACE_VERTICES} vertices; take {WHERE}"
        )
    return quads


def _mirror(mean: NDArray[np.float64], path: Path) -> NDArray[np.int64]:
    """Partner (9409,) of each vertex, by place."""
    from scipy.spatial import cKDTree

    distance, partner = cKDTree(mean).query(mean * [-1.0, 1.0, 1.0])
    if distance.max() > LARGEST_ASYMMETRY or not np.array_equal(partner[partner], np.arange(len(mean))):
        raise UserError(f"{path}: the neutral face is not mirror-symmetric; take it unchanged from {WHERE}")
    return partner.astype(np.int64)


def _shorter_diagonal(points: NDArray[np.float64], quads: NDArray[np.int64]) -> NDArray[np.bool_]:
    """True where a quad is split from corner 0 to 2; the same choice on both sides of a symmetric face."""
    corners = points[quads]
    first = np.linalg.norm(corners[:, 0] - corners[:, 2], axis=1)
    second = np.linalg.norm(corners[:, 1] - corners[:, 3], axis=1)
    # mirror images list their corners in another order: a tie goes to the corner nearest to the middle line
    tie = np.abs(first - second) < 1e-9
    inner = np.abs(corners[:, :, 0]).argmin(1) % 2 == 0
    return np.where(tie, inner, first < second)


def _eye_caps(
    mean: NDArray[np.float64], triangles: NDArray[np.int64], mirror: NDArray[np.int64]
) -> tuple[EyeCap, EyeCap]:
    """The caps of the image-left and the image-right eye, mirror images of each other."""
    middle = mean[np.array(LANDMARKS)[RIGHT_EYE]].mean(0)
    loops = border_loops(triangles)
    loop = min(loops, key=lambda border: float(np.linalg.norm(mean[border].mean(0) - middle)))
    right = eye_cap(mean, loop, len(mean))
    return right, mirrored_cap(right, mirror, len(mean) + len(right.weights))


def _with_caps(field: NDArray[np.float64], caps: tuple[EyeCap, EyeCap]) -> NDArray[np.float64]:
    """A field (9409, 3) continued over the caps: each new vertex moves as its mean of the border does."""
    return np.concatenate([field, *(cap.weights @ field[cap.loop] for cap in caps)])


def _with_caps_mirror(mirror: NDArray[np.int64], caps: tuple[EyeCap, EyeCap]) -> NDArray[np.int64]:
    right, left = _cap_ids(caps, caps[0]), _cap_ids(caps, caps[1])
    return np.concatenate([mirror, left, right])


def _cap_ids(caps: tuple[EyeCap, EyeCap], cap: EyeCap) -> NDArray[np.int64]:
    count = len(cap.weights)
    return FACE_VERTICES + (0 if cap is caps[0] else count) + np.arange(count)


def _of_one_parity(basis: NDArray[np.float64], mirror: NDArray[np.int64]) -> NDArray[np.float64]:
    """The basis (K, V, 3), its nearly symmetric or antisymmetric components made exactly so."""
    mirrored = basis[:, mirror] * [-1.0, 1.0, 1.0]
    likeness = (basis * mirrored).sum((1, 2)) / np.maximum((basis**2).sum((1, 2)), 1e-30)
    parity = np.sign(likeness)[:, None, None]
    exact = 0.5 * (basis + parity * mirrored)
    return np.where((np.abs(likeness) > OF_ONE_PARITY)[:, None, None], exact, basis)
