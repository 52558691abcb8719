"""The Basel Face Model 2009: files composed from genuine pieces and smooth made-up bases, and bad input."""

from pathlib import Path

import basel_files
import numpy as np
import pytest
import scipy.io

from facefill.errors import UserError
from facefill.geometry.bfm_model import LANDMARKS, BfmFiles, bfm_files, build_bfm
from facefill.geometry.mesh import mirror_triangles
from facefill.geometry.model_parts import ModelParts

VERTICES = basel_files.VERTICES


@pytest.fixture(scope="module")
def pieces(realdata: Path) -> Path:
    return realdata / "bfm_3ddfa"


@pytest.fixture(scope="module")
def original(
    pieces: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, np.ndarray], ModelParts]:
    """What was written into the original's files, and what was read from them."""
    folder = tmp_path_factory.mktemp("original")
    return basel_files.write_original(folder, pieces), build_bfm(bfm_files(folder))


def test_the_original_files_give_the_trimmed_model(
    original: tuple[dict[str, np.ndarray], ModelParts],
) -> None:
    stored, parts = original
    assert parts.name == "bfm2009-3ddfa"
    assert parts.mean.shape == (53201, 3)
    mirror_triangles(parts.triangles, parts.mirror)
    own = np.array(LANDMARKS)
    trim = stored["trim"]
    neutral = stored["shapeMU"].reshape(-1, 3)[trim] + stored["mu_exp"].reshape(-1, 3)
    assert np.allclose(parts.mean[parts.landmarks], neutral[own], atol=0.02)
    # raw coefficients as data sets give them, divided by sigma, move the landmarks as the files' own bases do
    rng = np.random.default_rng(0)
    raw, raw_expression = rng.normal(size=6) * 5e5, rng.normal(size=4)
    moved = (stored["shapePC"] @ raw).reshape(-1, 3)[trim][own]
    moved = moved + (stored["w_exp"] @ raw_expression).reshape(-1, 3)[own]
    identity = raw / parts.identity_sigma
    expression = raw_expression / parts.expression_sigma
    mine = np.tensordot(identity, parts.identity[:, parts.landmarks], 1)
    mine += np.tensordot(expression, parts.expression[:, parts.landmarks], 1)
    assert np.allclose(mine, moved, atol=0.5)  # micrometres
    colour = stored["texMU"].reshape(-1, 3)[trim][own] / 255
    assert parts.colours is not None
    assert np.allclose(parts.colours.mean[parts.landmarks], colour, atol=1e-5)
    first = (stored["texPC"][:, 0] * stored["texEV"][0]).reshape(-1, 3)[trim][own] / 255
    assert np.allclose(parts.colours.basis[0, parts.landmarks], first, atol=1e-6)


def test_the_files_of_3ddfa_give_the_same_model(
    pieces: Path, original: tuple[dict[str, np.ndarray], ModelParts], tmp_path: Path
) -> None:
    basel_files.write_trimmed(tmp_path, pieces)
    trimmed, (_, parts) = build_bfm(bfm_files(tmp_path)), original
    for name in ("mean", "triangles", "landmarks", "expression", "expression_sigma"):
        assert np.array_equal(getattr(trimmed, name), getattr(parts, name))
    assert trimmed.colours is not None
    assert len(trimmed.colours.basis) == 0


def test_the_known_landmarks_are_those_of_the_files(pieces: Path) -> None:
    assert np.array_equal(np.load(pieces / "keypoints_sim.npy")[::3] // 3, LANDMARKS)


def test_principal_expressions_are_read_from_their_binary_file(pieces: Path, tmp_path: Path) -> None:
    basel_files.write_trimmed(tmp_path, pieces)
    (tmp_path / "Model_Expression.mat").unlink()
    basis = basel_files.write_principal(tmp_path, pieces, count=30)
    deviations = np.array((tmp_path / "std_exp.txt").read_text().split(), dtype=float)
    parts = build_bfm(bfm_files(tmp_path))
    assert parts.name == "bfm2009-exp-pca"  # other numbers than those of 300W-LP
    assert np.array_equal(parts.expression_sigma, deviations[:29])
    expected = basis[3, np.array(LANDMARKS)] * deviations[3]
    assert np.allclose(parts.expression[3, parts.landmarks], expected, rtol=1e-5)
    mean = basel_files.basel_mean(pieces)[np.array(LANDMARKS)]
    assert np.allclose(parts.mean[parts.landmarks], mean)  # the file's own mean is not added
    path = tmp_path / "Exp_Pca.bin"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(UserError, match=r"Exp_Pca\.bin has .* bytes, expected .* 51,086,404 for 79"):
        build_bfm(bfm_files(tmp_path))


def test_missing_files_are_named_with_their_source(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"01_MorphableModel\.mat is missing.*faces\.dmi\.unibas\.ch"):
        bfm_files(tmp_path)
    (tmp_path / "01_MorphableModel.mat").write_bytes(b"MATLAB")
    with pytest.raises(UserError, match=r"model_info\.mat is missing.*trimIndex"):
        bfm_files(tmp_path)
    (tmp_path / "BFM_exp_idx.mat").write_bytes(b"MATLAB")
    (tmp_path / "tri.mat").write_bytes(b"MATLAB")
    with pytest.raises(UserError, match=r"Exp_Pca\.bin is missing.*Model_Expression\.mat"):
        bfm_files(tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        bfm_files(tmp_path / "tri.mat")


def small_files(folder: Path, **changes: np.ndarray | None) -> BfmFiles:
    """Model_Shape.mat and Model_Expression.mat of zeros, with some fields changed or left out."""
    shape: dict[str, np.ndarray | None] = {
        "mu_shape": np.zeros((3 * VERTICES, 1), np.float32),
        "w": np.zeros((3 * VERTICES, 2), np.float32),
        "sigma": np.ones((2, 1)),
        "tri": np.ones((3, 5), np.uint16),
        "mu_exp": np.zeros((3 * VERTICES, 1), np.float32),
        "w_exp": np.zeros((3 * VERTICES, 2), np.float32),
        "sigma_exp": np.ones((2, 1)),
    }
    given = {name: value for name, value in (shape | changes).items() if value is not None}
    expression = {name: value for name, value in given.items() if name.endswith("_exp")}
    scipy.io.savemat(folder / "Model_Shape.mat", {n: v for n, v in given.items() if n not in expression})
    scipy.io.savemat(folder / "Model_Expression.mat", expression)
    return bfm_files(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mu_shape": np.zeros((300, 1))}, r"Model_Shape\.mat: mu_shape is 300, expected 159645"),
        ({"w": np.zeros((300, 2))}, r"Model_Shape\.mat: w is 300 x 2, expected 159645 x any"),
        ({"sigma": None}, r"Model_Shape\.mat: the field sigma is missing; the file has mu_shape, tri, w"),
        ({"sigma": np.ones((3, 1))}, r"w has 2 columns, expected one per deviation, 3"),
        ({"sigma": np.array([1.0, 0.0])}, r"sigma holds a deviation that is not positive"),
        ({"mu_exp": np.full((3 * VERTICES, 1), np.nan)}, r"Model_Expression\.mat: mu_exp holds NaN"),
        ({"w_exp": None}, r"Model_Expression\.mat: the field w_exp is missing"),
        ({"tri": np.full((3, 5), 60000)}, r"tri counts to 60000, expected vertex numbers from 1 to 53215"),
    ],
)
def test_bad_fields_are_named(tmp_path: Path, changes: dict[str, np.ndarray | None], message: str) -> None:
    files = small_files(tmp_path, **changes)
    with pytest.raises(UserError, match=message):
        build_bfm(files)


def test_the_wrong_triangles_are_refused(tmp_path: Path) -> None:
    triangles = np.random.default_rng(0).integers(1, VERTICES, (3, 500))
    with pytest.raises(UserError, match="triangles do not belong to the trimmed mesh"):
        build_bfm(small_files(tmp_path, tri=triangles))


def test_a_web_page_in_place_of_the_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "01_MorphableModel.mat").write_text("<html>login</html>")
    with pytest.raises(UserError, match=r"01_MorphableModel\.mat is a web page"):
        bfm_files(tmp_path)
