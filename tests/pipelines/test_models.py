"""The verb `models`: the list, checks, previews, and files that are no model."""

import dataclasses
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from facefill.geometry.default_model import default_model
from facefill.geometry.face_models import MODEL_KINDS
from facefill.geometry.morphable_model import checksum, load_model, save_model
from pipelines.cli import main
from tests.support.other_model import other_model


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "mine.npz"
    save_model(other_model(), path)
    return path


def test_the_list_says_of_every_kind_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    printed = capsys.readouterr().out
    for kind in MODEL_KINDS:
        block = printed.split(f"{kind.name}\n", 1)[1].split("\n\n")[0]
        words = " ".join(block.split())
        assert all(" ".join(text.split()) in words for text in (kind.title, kind.files, kind.licence))
    assert checksum(default_model()) in printed and f"{len(default_model().mean):,} vertices" in printed
    assert max(len(line) for line in printed.splitlines()) <= 100


def test_a_model_is_checked_drawn_and_saved(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, copy = tmp_path / "new" / "mine.png", tmp_path / "new" / "copy.npz"
    assert main(["models", "saved", str(saved), "--preview", str(picture), "--save", str(copy)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"components +100 of identity, 29 of expression", printed)
    assert re.search(r"0 of 23,150 triangles flipped, 0 texels shown twice", printed)
    assert re.search(
        r"^inner face +0\.75 / 1\.02 / 1\.21 +1\.09 / 1\.28 / 1\.61 +15,426 +31\.4%$", printed, re.M
    )
    assert "\nok " in printed and "FAILED" not in printed
    assert f"model.kind=saved model.path={copy}" in printed
    drawn = cv2.imread(str(picture))
    assert drawn.shape[0] >= 256 and drawn.std() > 10
    assert checksum(load_model(copy)) == checksum(other_model())


def test_a_model_that_fails_a_check_is_shown_but_not_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = other_model()
    huge = dataclasses.replace(model, mean=model.mean * 10, name="huge")
    save_model(huge, tmp_path / "huge.npz")
    copy = tmp_path / "copy.npz"
    assert main(["models", "saved", str(tmp_path / "huge.npz"), "--save", str(copy)]) == 2
    printed = capsys.readouterr()
    assert re.search(r"^FAILED +size ", printed.out, re.M)
    assert printed.err.startswith("facefill: model huge: size") and printed.err.count("\n") == 1
    assert not copy.exists()


def test_files_that_are_no_model_are_one_line(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.npz"
    page.write_text("<!DOCTYPE html><html>not found</html>")
    cut = tmp_path / "cut.npz"
    cut.write_bytes(saved.read_bytes()[:100_000])
    short = tmp_path / "short.npz"
    with np.load(saved) as arrays:
        np.savez(short, **{name: arrays[name] for name in arrays if name != "mean"})
    (tmp_path / "empty").mkdir()
    marks = tmp_path / "marks.txt"
    cases = [
        (("sculpture", str(saved)), "no kind of face model"),
        (("ict",), "needs a path"),
        (("default", str(saved)), "mine.npz"),
        (("default", "--landmarks", str(marks)), "knows its 68 landmarks: leave out"),
        (("ict", str(saved), "--landmarks", str(marks)), "knows its 68 landmarks: leave out"),
        (("statismo", str(saved)), "names no 68 landmarks"),
        (("statismo", str(saved), "--landmarks", str(marks)), "marks.txt is missing: expected a text file"),
        (("statismo", str(tmp_path / "empty")), "empty is a folder: expected a face model in HDF5"),
        (("ict", str(cut)), "expected an .npz with mean, identity, expression, quads and expression_names"),
        (("ict", str(tmp_path / "nowhere")), "nowhere"),
        (("ict", str(tmp_path / "empty")), "empty"),
        (("ict", str(page)), "page.npz"),
        (("bfm2009", str(tmp_path / "empty")), "01_MorphableModel.mat"),
        (("statismo", str(page)), "page.npz"),
        (("saved", str(page)), "page.npz"),
        (("saved", str(cut)), "expected the .npz that `facefill models KIND PATH --save FILE.npz`"),
        (("saved", str(short)), "short.npz"),
    ]
    outputs = [tmp_path / "out.png", tmp_path / "out.npz"]
    for arguments, message in cases:
        written = ["--preview", str(outputs[0]), "--save", str(outputs[1])]
        assert main(["models", *arguments, *written]) == 2, message
        printed = capsys.readouterr().err
        assert message in printed and printed.startswith("facefill: ") and printed.count("\n") == 1, printed
    assert not any(path.exists() for path in outputs)


def test_outputs_that_would_not_be_written_are_refused(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, copy = tmp_path / "out.jpg", tmp_path / "out.bin"
    cases = [
        (("--preview", str(tmp_path / "out.png")), "--preview without a model"),
        (("--save", str(tmp_path / "out.npz")), "--save without a model"),
        (("--landmarks", str(tmp_path / "marks.txt")), "--landmarks without a model"),
        (("saved", str(saved), "--preview", str(picture)), "out.jpg would hold PNG: give a name in .png"),
        (("saved", str(saved), "--save", str(copy)), "out.bin would hold NPZ: give a name in .npz"),
    ]
    for arguments, message in cases:
        assert main(["models", *arguments]) == 2, message
        printed = capsys.readouterr()
        assert message in printed.err and printed.err.count("\n") == 1 and not printed.out, printed
    assert not list(tmp_path.iterdir())


def test_the_ict_pack_is_a_model(realdata: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack = realdata / "ict_facekit" / "ict_face_area_9409.npz"
    assert main(["models", "ict", str(pack), "--preview", str(tmp_path / "ict.png")]) == 0
    printed = capsys.readouterr().out
    assert "name          ict-facekit" in printed and "100 of identity, 29 of expression" in printed
    assert cv2.imread(str(tmp_path / "ict.png")) is not None
