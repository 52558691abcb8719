"""The command line: photographs in, pictures out, and one line with exit status 2 for every mistake."""

import errno
import shlex
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from facefill.alignment import apply_similarity, invert_similarity, zoom_of
from facefill.augmentation import CENTRE
from facefill.face_parsing import FACE, OCCLUDER
from facefill.geometry.default_model import default_model
from facefill.landmarks import five_from_68
from facefill.photo import complete_photo, similarity_of
from facefill.samples import encode_jpeg
from facefill.weights import load_completer
from pipelines.cli import build_parser, main
from pipelines.complete import occluded, pictures_of, read_landmarks, read_photo
from pipelines.config_file import load_config
from tests.support.faces import make_batch
from tests.support.trained import publish_untrained


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_untrained(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A photograph of 400x360 with a face, its mask and its landmarks."""
    batch = make_batch(1)
    face = (batch["image"][0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    photo = np.full((360, 400, 3), 90, np.uint8)
    photo[40:296, 70:326] = face
    mask = np.zeros((360, 400), np.uint8)
    mask[150:200, 180:250] = 255
    (tmp_path / "photo.jpg").write_bytes(encode_jpeg(photo))
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    np.savetxt(tmp_path / "points.txt", batch["landmarks"][0].numpy() + [70, 40], fmt="%.2f")
    return tmp_path


def run(verb: str, folder: Path, weights: Path, *more: str) -> int:
    arguments = [
        verb,
        str(folder / "photo.jpg"),
        "--weights",
        str(weights),
        "--out",
        str(folder / "out"),
        *more,
    ]
    return main(arguments)


def read(path: Path) -> NDArray[np.uint8]:
    return np.asarray(cv2.imread(str(path)), np.uint8)


def test_complete_writes_every_picture_and_touches_only_the_hole(folder: Path, weights: Path) -> None:
    points = ("--landmarks", str(folder / "points.txt"))
    assert run("complete", folder, weights, "--mask", str(folder / "mask.png"), *points) == 0
    out = folder / "out"
    names = {path.stem for path in out.glob("*.png")}
    assert names >= {
        "completed",
        "uncertainty",
        "albedo",
        "shading",
        "iteration1",
        "iteration2",
        "views",
        "overview",
    }
    photo, completed = read(folder / "photo.jpg"), read(out / "completed.png")
    hole = read(folder / "mask.png")[..., 0] > 127
    from facefill.photographs import decode_photograph

    original = decode_photograph((folder / "photo.jpg").read_bytes(), "photo.jpg")[..., ::-1]
    assert photo.shape == completed.shape
    assert np.array_equal(completed[~hole], original[~hole])
    assert not np.array_equal(completed[hole], original[hole])


def test_the_pixels_under_the_mask_do_not_matter(folder: Path, weights: Path) -> None:
    points = ("--mask", str(folder / "mask.png"), "--landmarks", str(folder / "points.txt"))
    pixels = read(folder / "photo.jpg")
    results = []
    for value in (0, 255):
        pixels[150:200, 180:250] = value
        cv2.imwrite(str(folder / "photo.jpg"), pixels, [cv2.IMWRITE_JPEG_QUALITY, 100])
        changed = folder / f"photo{value}.png"
        cv2.imwrite(str(changed), pixels)
        out = folder / f"out{value}"
        arguments = ["complete", str(changed), "--weights", str(weights), "--out", str(out), *points]
        assert main(arguments) == 0
        results.append(read(out / "completed.png"))
    assert np.array_equal(*results)


def test_views_draws_five_of_them(folder: Path, weights: Path) -> None:
    points = ("--landmarks", str(folder / "points.txt"))
    assert run("views", folder, weights, "--mask", str(folder / "mask.png"), *points) == 0
    assert read(folder / "out" / "views.png").shape == (224, 5 * 224, 3)


def test_every_mistake_is_one_line_and_status_2(
    folder: Path, weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEFILL_FACE_LANDMARKER", str(folder / "absent.task"))  # no face is found by itself
    mask, points = ("--mask", str(folder / "mask.png")), ("--landmarks", str(folder / "points.txt"))
    (folder / "page.png").write_text("<html>not found</html>")
    cv2.imwrite(str(folder / "small.png"), np.full((10, 10), 255, np.uint8))
    cv2.imwrite(str(folder / "empty.png"), np.zeros((360, 400), np.uint8))
    corner = np.zeros((360, 400), np.uint8)
    corner[:10, :10] = 255
    cv2.imwrite(str(folder / "corner.png"), corner)
    (folder / "words.txt").write_text("left eye\n")
    cases = [
        ((*points, "--mask", str(folder / "small.png")), "mask is 10x10 pixels, the photograph 400x360"),
        ((*points, "--mask", str(folder / "empty.png")), "mask is empty"),
        ((*points, "--mask", str(folder / "corner.png")), "off the aligned face"),
        ((*points, "--mask", str(folder / "page.png")), "page.png"),
        ((*points, "--mask", str(folder / "absent.png")), "absent.png: no such picture"),
        (mask, "where is the face? Give --landmarks"),
        ((*mask, "--landmarks", str(folder / "words.txt")), "expected 5 or 68 lines"),
        ((*mask, "--landmarks", str(folder / "absent.txt")), "absent.txt: no such file"),
        ((*mask, *points, "--weights", str(folder)), "no card.json"),
        ((*mask, *points, "--iterations", "0"), "iterations: 0"),
        ((*mask, *points, "--out", str(folder / "photo.jpg")), "photo.jpg is a file"),
        ((*mask, *points, "--out", str(folder / "photo.jpg" / "out")), "photo.jpg is a file"),
    ]
    for arguments, message in cases:
        assert run("complete", folder, weights, *arguments) == 2, message
        printed = capsys.readouterr().err
        assert message in printed
        assert printed.startswith("facefill: ") and printed.count("\n") == 1
    assert not (folder / "out").exists()


def test_unknown_configs_and_keys_are_mistakes_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "demo", "stages.inpaint.model.widht=1"]) == 2
    assert "did you mean width" in capsys.readouterr().err
    assert main(["train", "nowhere"]) == 2
    assert "no such file" in capsys.readouterr().err


def refuse(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """No read of this file is permitted (the tests may run as a user who may read everything)."""
    read = Path.read_bytes

    def read_bytes(self: Path) -> bytes:
        if self == path:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)


def test_failures_of_files_name_the_path_and_the_reason(
    folder: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    network = weights / "inpaint" / "inpainter.safetensors"
    for path in (folder / "photo.jpg", network):
        with monkeypatch.context() as patch:
            refuse(patch, path)
            points = ("--mask", str(folder / "mask.png"), "--landmarks", str(folder / "points.txt"))
            assert run("complete", folder, weights, *points) == 2
        assert capsys.readouterr().err == f"facefill: {path}: Permission denied\n"


def test_output_folders_that_refuse_are_named_before_the_work(
    folder: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != folder)
    assert run("complete", folder, Path("nowhere")) == 2
    printed = capsys.readouterr().err
    assert f"{folder} cannot be written to" in printed and printed.count("\n") == 1


def test_any_failure_of_the_system_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failures = [
        (
            OSError(errno.ENOSPC, "No space left on device", "/runs/a.tar"),
            "/runs/a.tar: No space left on device",
        ),
        (
            ConnectionError("worker lost\n  at line 3\nConnectionError: no answer"),
            "ConnectionError: no answer",
        ),
        (OSError(), "OSError"),
    ]
    for failure, message in failures:

        def fail(source: str, settings: list[str], failure: OSError = failure) -> None:
            raise failure

        monkeypatch.setattr("pipelines.config_file.load_config", fail)
        assert main(["run", "demo"]) == 2
        assert capsys.readouterr().err == f"facefill: {message}\n"


class FindsABox(torch.nn.Module):
    """A segmenter that calls one box of every crop an occluder."""

    def forward(self, image: Tensor) -> Tensor:
        scores = torch.zeros(len(image), 3, *image.shape[-2:])
        scores[:, FACE] = 1
        scores[:, OCCLUDER, 0:60, 80:140] = 2
        return scores


def test_the_segmenters_mask_is_drawn_once_in_a_large_photo(folder: Path, weights: Path) -> None:
    photo = np.full((1500, 2000, 3), 90, np.uint8)
    five = five_from_68(np.loadtxt(folder / "points.txt")) * 0.5 + [900, 600]  # an aligned square of ~128
    similarity = similarity_of(photo, five)
    completer = replace(load_completer(weights, default_model()), segmenter=FindsABox())
    mask = occluded(photo, similarity, completer)
    components, _ = cv2.connectedComponents(mask.astype(np.uint8))
    assert components == 2  # the ground and the box
    corners = np.array([[80, 0], [140, 0], [80, 60], [140, 60]]) + CENTRE - 0.5
    outline = apply_similarity(corners, invert_similarity(similarity))
    rows, columns = np.nonzero(mask)
    assert columns.min() >= outline[:, 0].min() - 1 and columns.max() <= outline[:, 0].max() + 1
    assert rows.min() >= outline[:, 1].min() - 1 and rows.max() <= outline[:, 1].max() + 1
    area = 60 * 60 / zoom_of(similarity) ** 2
    assert abs(mask.sum() / area - 1) < 0.1


def test_the_uncertainty_is_drawn_on_the_face_alone(folder: Path, weights: Path) -> None:
    photo = read_photo(folder / "photo.jpg")
    mask = cv2.imread(str(folder / "mask.png"), cv2.IMREAD_GRAYSCALE) > 127
    completer = load_completer(weights, default_model())
    similarity = similarity_of(photo, read_landmarks(folder / "points.txt"))
    completed = complete_photo(photo, mask, similarity, completer)
    pictures = pictures_of(photo, mask, completed, completer)
    uncovered = completed.iterations[-1].coverage[0, 0].numpy() == 0
    assert uncovered.any() and not uncovered.all()
    white = (pictures["uncertainty"] == 255).all(-1)
    assert white[uncovered].all() and not white[~uncovered].any()
    assert np.array_equal(pictures["overview"][:, -224:], pictures["uncertainty"])


def help_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--help"])
    assert stopped.value.code == 0
    return capsys.readouterr().out


CONFIG_VERBS = ("run", "synthesize", "shard", "fit", "project", "train", "sweep", "evaluate")
VERBS = (*CONFIG_VERBS, "complete", "views", "models")


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = help_of(capsys)
    assert all(f"\n    {verb} " in text or f"\n    {verb}\n" in text for verb in VERBS)
    assert max(len(line) for line in text.splitlines()) <= 79
    commands = [line.strip() for line in text.splitlines() if line.startswith("  facefill ")]
    assert len(commands) == 3
    for command in commands:
        build_parser().parse_args(shlex.split(command)[1:])


@pytest.mark.parametrize("verb", VERBS)
def test_the_example_of_every_verb_works(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = help_of(capsys, verb)
    assert max(len(line) for line in text.splitlines()) <= 79
    program, *arguments = shlex.split(text.partition("\nexample:\n")[2])
    options = build_parser().parse_args(arguments)
    assert program == "facefill" and options.verb == verb
    if verb in CONFIG_VERBS:
        load_config(options.config, options.settings)
