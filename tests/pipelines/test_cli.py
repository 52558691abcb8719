"""The command line: photographs in, pictures out, and one line with exit status 2 for every mistake."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from facefill.samples import encode_jpeg
from pipelines.cli import main
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
    folder: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
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


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    for verb in (
        "run",
        "synthesize",
        "shard",
        "fit",
        "project",
        "train",
        "sweep",
        "evaluate",
        "complete",
        "views",
    ):
        assert verb in text
