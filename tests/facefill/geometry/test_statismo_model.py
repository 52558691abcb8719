"""Face models in the HDF5 layout of the Basel Face Models 2017 and 2019."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from statismo_files import MICROMETRES, write_landmarks, write_statismo

from facefill.errors import UserError
from facefill.geometry.mesh import mirror_triangles
from facefill.geometry.statismo_model import build_statismo, read_landmarks, read_statismo, statismo_files


def test_mean_bases_and_deviations_are_those_of_the_file(tmp_path: Path) -> None:
    path, marks = tmp_path / "small.h5", tmp_path / "marks.txt"
    fields, ids = write_statismo(path), write_landmarks(marks)
    parts = build_statismo(*statismo_files(path, marks))
    assert parts.name == "statismo-small"
    mirror_triangles(parts.triangles, parts.mirror)
    mean = (fields["shape/model/mean"] + fields["expression/model/mean"]).reshape(-1, 3)[ids] * MICROMETRES
    mean[:, 0] -= 0.1 * MICROMETRES  # the middle plane goes to x = 0
    assert np.allclose(parts.mean[parts.landmarks], mean, atol=1)
    raw = np.random.default_rng(0).normal(size=5) * 50
    moved = (fields["shape/model/pcaBasis"] @ raw).reshape(-1, 3)[ids] * MICROMETRES
    standardised = raw / parts.identity_sigma
    assert np.allclose(np.tensordot(standardised, parts.identity[:, parts.landmarks], 1), moved, atol=1)
    assert np.allclose(parts.expression_sigma, np.sqrt(fields["expression/model/pcaVariance"]))
    assert parts.colours is not None
    assert np.allclose(parts.colours.mean[parts.landmarks], [0.7, 0.5, 0.4])


def test_a_mesh_that_is_not_symmetric_is_made_so(tmp_path: Path) -> None:
    path, marks = tmp_path / "lopsided.h5", tmp_path / "marks.txt"
    fields, ids = write_statismo(path, lopsided=True), write_landmarks(marks)
    parts = build_statismo(*statismo_files(path, marks))
    mirror_triangles(parts.triangles, parts.mirror)
    mean = (fields["shape/model/mean"] + fields["expression/model/mean"]).reshape(-1, 3)[ids] * MICROMETRES
    mean[:, 0] -= 0.1 * MICROMETRES
    assert np.abs(parts.mean[parts.landmarks] - mean).max() < 2e3  # less than an edge of 4 mm


def test_landmarks_may_be_places(tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(200, 3))
    path = tmp_path / "places.txt"
    np.savetxt(path, points[100:168] + 1e-3)
    assert np.array_equal(read_landmarks(path, points), np.arange(100, 168))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\n2\n", "has 2 lines of .* expected a text file with 68 lines"),
        ("1 2\n" * 68, "expected a text file with 68 lines"),
        ("nose\n" * 68, "is not a text file with 68 lines"),
        ("500\n" * 68, "vertex 500 is not below the model's 100 vertices"),
        ("nan\n" * 68, "a landmark holds NaN"),
    ],
)
def test_bad_landmarks_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "marks.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=rf"marks\.txt.*{message}"):
        read_landmarks(path, np.zeros((100, 3)))


def test_absent_landmarks_are_asked_for(tmp_path: Path) -> None:
    write_statismo(tmp_path / "small.h5")
    with pytest.raises(UserError, match=r"small\.h5 names no 68 landmarks: give a text file with 68 lines"):
        statismo_files(tmp_path / "small.h5", None)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("shape/model/mean", None, "shape/model/mean is missing"),
        ("shape/model/mean", np.zeros(30), "shape/model/pcaBasis is .*, expected 30 .three per vertex"),
        ("shape/model/pcaVariance", np.array([1.0, 1, 1, np.nan, 1]), "shape/model/pcaVariance holds NaN"),
        ("shape/model/pcaVariance", np.array([1.0, 1, 1, -1, 1]), "shape/model/pcaVariance is negative"),
        ("shape/representer/cells", np.full((3, 4), 9999), "shape/representer/cells is .*vertices to 9999"),
    ],
)
def test_bad_fields_are_named(tmp_path: Path, field: str, value: np.ndarray | None, message: str) -> None:
    path = tmp_path / "bad.h5"
    write_statismo(path)
    with h5py.File(path, "a") as file:
        del file[field]
        if value is not None:
            file[field] = value
    with pytest.raises(UserError, match=rf"bad\.h5: {message}"):
        read_statismo(path)


def test_scaled_bases_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.h5"
    write_statismo(path)
    with h5py.File(path, "a") as file:
        file["shape/model/pcaBasis"][...] *= 30
    with pytest.raises(UserError, match="have lengths 30 to 30, expected 1"):
        read_statismo(path)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cut.h5"
    write_statismo(path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"cut\.h5 is no HDF5 file that can be read"):
        read_statismo(path)


def test_the_genuine_samples_are_read(realdata: Path) -> None:
    toy = read_statismo(realdata / "statismo_h5" / "random-momo.h5")
    assert toy.shape.mean.shape == (25, 3)
    assert toy.expression is not None
    assert toy.expression.basis.shape == (10, 25, 3)
    face = read_statismo(realdata / "statismo_h5" / "random-l4.h5")
    assert face.shape.mean.shape == (1529, 3)
    assert face.shape.basis.shape == (19, 1529, 3)
    assert face.triangles.shape == (3044, 3)
    assert face.expression is None
    assert face.metres_per_unit == pytest.approx(1e-3)
    with h5py.File(realdata / "statismo_h5" / "random-l4.h5") as file:  # its points are a face of this size
        assert np.abs(file["shape/representer/points"][()].T - face.shape.mean).max() < 8
