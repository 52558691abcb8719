"""The ICT face model: layout and bad input on small files, the genuine face area where it is at hand."""

from pathlib import Path

import numpy as np
import pytest

from facefill.errors import UserError
from facefill.geometry.ict_model import (
    ALL_VERTICES,
    FACE_VERTICES,
    LANDMARKS,
    NEUTRAL,
    UNITS,
    build_ict,
    ict_files,
)
from facefill.geometry.mesh import mirror_triangles
from facefill.geometry.mesh_border import border_loops
from facefill.landmarks import MIRROR_68

WRITTEN_IDENTITIES = ("identity000", "identity099")
PACK = Path("ict_facekit", "ict_face_area_9409.npz")


def write_folder(folder: Path, neutral: bytes) -> None:
    """All file names of the model, the neutral mesh with `neutral` in it."""
    names = [NEUTRAL, *(f"identity{k:03d}.obj" for k in range(100)), *(f"{unit}.obj" for unit in UNITS)]
    for name in names:
        (folder / name).write_bytes(neutral)


def write_as_obj(folder: Path, pack: Path) -> None:
    """The genuine face area in the layout of the OBJ folder; what lies behind the face is made up."""
    with np.load(pack) as stored:
        mean, quads = stored["mean"].astype(np.float64), stored["quads"]
        offsets = [*stored["identity"], *stored["expression"]]
        names = [f"identity{k:03d}" for k in range(100)] + [str(name) for name in stored["expression_names"]]
    behind = b"v 0 0 -9\n" * (ALL_VERTICES - FACE_VERTICES)
    faces = "".join(f"f {' '.join(f'{i + 1}/{i + 1}' for i in quad)}\n" for quad in quads).encode()
    for name, offset in zip(["generic_neutral_mesh", *names], [np.zeros(3), *offsets], strict=True):
        if name.startswith("identity") and name not in WRITTEN_IDENTITIES:  # writing all takes long
            (folder / f"{name}.obj").hardlink_to(folder / "generic_neutral_mesh.obj")
            continue
        rows = ("v %.7f %.7f %.7f\n" * FACE_VERTICES % tuple((mean + offset).ravel())).encode()
        (folder / f"{name}.obj").write_bytes(b"# a comment\n" + rows + behind + b"vt 0 0\n" + faces)


def test_there_are_53_expressions() -> None:
    assert len(UNITS) == len(set(UNITS)) == 53


def test_the_first_missing_file_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, b"v 0 0 0\n")
    (tmp_path / "jawOpen.obj").unlink()
    with pytest.raises(UserError, match=r"jawOpen\.obj is missing.*ICT-FaceKit"):
        ict_files(tmp_path)


def test_a_wrong_vertex_count_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, b"v 0 0 0\n" * 9409)
    with pytest.raises(UserError, match=r"generic_neutral_mesh\.obj has 9409 vertices, expected 26719"):
        build_ict(ict_files(tmp_path))


def test_a_web_page_in_place_of_a_mesh_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, b"<html>rate limit</html>")
    with pytest.raises(UserError, match=r"generic_neutral_mesh\.obj is a web page"):
        ict_files(tmp_path)


def test_nan_in_a_mesh_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, b"v 0 nan 0\n" * ALL_VERTICES)
    with pytest.raises(UserError, match=r"generic_neutral_mesh\.obj: a vertex holds NaN"):
        build_ict(ict_files(tmp_path))


def test_another_npz_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.npz"
    np.savez(path, mean=np.zeros((3, 3)))
    with pytest.raises(UserError, match=r"other\.npz is not the packed face area"):
        build_ict(ict_files(path))


def test_the_genuine_face_area_becomes_a_symmetric_face_with_eyes(realdata: Path) -> None:
    parts = build_ict(ict_files(realdata / PACK))
    mirror_triangles(parts.triangles, parts.mirror)
    assert np.array_equal(parts.mean[parts.mirror] * [-1, 1, 1], parts.mean)
    # one outer border and the mouth: the eyes are closed by eyeballs
    assert len(border_loops(parts.triangles)) == 2
    assert parts.identity.shape[0] == 100
    assert parts.expression.shape[0] == 29
    for basis in (parts.identity, parts.expression):
        mirrored = basis[:, parts.mirror] * np.float32([-1, 1, 1])
        parity = np.sign((basis * mirrored).sum((1, 2)))
        assert np.array_equal(mirrored, parity[:, None, None] * basis)
    assert np.array_equal(parts.mirror[parts.landmarks], parts.landmarks[list(MIRROR_68)])
    with np.load(realdata / PACK) as stored:
        assert np.array_equal(stored["landmarks68"], LANDMARKS)
        there = stored["mean"][np.array(LANDMARKS)] * 1e4
        widths = np.linalg.norm(stored["identity"][:, stored["landmarks68"]].astype(float), axis=2) * 1e4
    # the mean face differs from the neutral one by the mean activation alone: lips and jaw, a few millimetres
    away = np.linalg.norm(parts.mean[parts.landmarks] - there, axis=1)
    assert away[17:48].max() < 2e3
    assert away.max() < 6e3
    mine = np.linalg.norm(parts.identity[:, parts.landmarks].astype(float), axis=2)
    assert np.allclose(mine, widths, atol=60)  # micrometres; the pack is rounded to 5 at most


def test_the_obj_folder_gives_the_same_model(realdata: Path, tmp_path: Path) -> None:
    write_as_obj(tmp_path, realdata / PACK)
    from_folder, from_pack = build_ict(ict_files(tmp_path)), build_ict(ict_files(realdata / PACK))
    assert np.array_equal(from_folder.triangles, from_pack.triangles)
    for name in ("mean", "expression"):
        assert np.abs(getattr(from_folder, name) - getattr(from_pack, name)).max() < 0.1  # micrometres
    written = [0, 99]
    assert np.abs(from_folder.identity[written] - from_pack.identity[written]).max() < 0.1
    assert not from_folder.identity[1:99].any()
