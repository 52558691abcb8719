"""One call opens every kind of model; what was built is kept."""

from pathlib import Path

import pytest
from small_model import small_model_and_atlas
from statismo_files import write_landmarks, write_statismo

from facefill.errors import UserError
from facefill.geometry import face_models
from facefill.geometry.default_model import default_model
from facefill.geometry.face_models import MODEL_KINDS, open_model
from facefill.geometry.model_checks import check_model
from facefill.geometry.morphable_model import checksum, save_model


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for this test alone; the default head is taken from the usual one first."""
    default_model()
    folder = tmp_path / "cache"
    monkeypatch.setenv("FACEFILL_CACHE", str(folder))
    return folder


def test_every_kind_is_described() -> None:
    assert [kind.name for kind in MODEL_KINDS] == ["default", "ict", "bfm2009", "statismo", "saved"]
    assert all(kind.title and kind.files and kind.licence for kind in MODEL_KINDS)


def test_unknown_kinds_and_absent_paths_are_answered_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no kind of face model is called 'flame': choose among default, ict"):
        open_model("flame")
    with pytest.raises(UserError, match="the ict face model needs a path: the folder FaceXModel"):
        open_model("ict")
    with pytest.raises(UserError, match=r"nowhere does not exist: expected a folder with 01_MorphableModel"):
        open_model("bfm2009", tmp_path / "nowhere")


def test_the_default_and_a_saved_model(tmp_path: Path) -> None:
    assert open_model("default") is default_model()
    model, _ = small_model_and_atlas()
    save_model(model, tmp_path / "own.npz")
    assert checksum(open_model("saved", tmp_path / "own.npz")) == checksum(model)


def test_a_built_model_is_complete_and_kept(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, marks = tmp_path / "small.h5", tmp_path / "marks.txt"
    write_statismo(path), write_landmarks(marks)
    model = open_model("statismo", path, marks)
    assert model.identity_basis.shape[0] == 199
    assert model.expression_basis.shape[0] == 29
    assert (model.identity_sigma[5:] == 0).all()
    assert not model.identity_basis[5:].any()
    assert model.albedo_basis.shape == (4, 3, 192, 256)
    passed = {check.name: check.passed for check in check_model(model)}
    assert passed["mirror"] and passed["atlas"] and passed["atlas flips"] and passed["identity"]
    assert len(list(cache.iterdir())) == 1

    def unwanted(*_: object) -> None:
        raise AssertionError("built again")

    with monkeypatch.context() as patch:
        patch.setattr(face_models, "build_statismo", unwanted)
        assert checksum(open_model("statismo", path, marks)) == checksum(model)
    next(cache.iterdir()).write_bytes(b"damaged")
    assert checksum(open_model("statismo", path, marks)) == checksum(model)
    marks.write_text(marks.read_text() + "\n")  # other files, another entry
    open_model("statismo", path, marks)
    assert len(list(cache.iterdir())) == 2


def test_a_mesh_that_is_no_face_is_named(realdata: Path, tmp_path: Path) -> None:
    marks = tmp_path / "marks.txt"
    marks.write_text("\n".join(str(k % 25) for k in range(68)))
    with pytest.raises(UserError, match=r"random-momo\.h5 is not the mesh of a face"):
        open_model("statismo", realdata / "statismo_h5" / "random-momo.h5", marks)


def test_the_genuine_ict_face_is_a_face(realdata: Path) -> None:
    model = open_model("ict", realdata / "ict_facekit" / "ict_face_area_9409.npz")
    assert model.name == "ict-facekit"
    assert [check.name for check in check_model(model) if not check.passed] == []
    assert (model.identity_sigma[:100] == 1).all()
    assert not model.identity_sigma[100:].any()
    lower_lip = model.uv[model.landmarks[[57, 66]]].mean(0).round().long()
    chin = model.uv[model.landmarks[8]].round().long()
    lip_colour, chin_colour = (model.mean_albedo[:, row, column] for column, row in (lower_lip, chin))
    assert lip_colour[1] / lip_colour[0] < 0.9 * chin_colour[1] / chin_colour[0]  # redder
