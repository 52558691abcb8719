"""The measure of segmenters: perfect ones score 1, wrong ones less, genuine label maps are read right."""

import math

import pytest
import torch

from benchmarks.__main__ import main
from benchmarks.parsing import Parsed, draw_sheet, iou, read_labelled, table, tinted
from facefill.face_parsing import BACKGROUND, FACE, OCCLUDER, UNKNOWN


def labelled() -> Parsed:
    labels = torch.full((5, 224, 224), BACKGROUND)
    labels[:, 50:150, 60:160] = FACE
    labels[0, :40] = OCCLUDER
    labels[:, :, :10] = UNKNOWN
    images = torch.rand(5, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    return Parsed(tuple("abcde"), images, labels)


def test_only_labelled_pixels_count_and_every_class_by_its_union():
    faces = labelled()
    assert iou(faces.labels.where(faces.labels != UNKNOWN, FACE), faces.labels) == [1, 1, 1]
    shifted = faces.labels.clone()
    shifted[:, 50:100, 60:160] = BACKGROUND  # half of the face is missed
    face, occluder, background = iou(shifted, faces.labels)
    assert face == 0.5 and occluder == 1 and 0.8 < background < 1
    assert math.isnan(iou(faces.labels[1:], faces.labels[1:])[OCCLUDER])


def test_the_table_has_a_row_for_all_and_for_each_photograph():
    faces = labelled()
    lines = table(faces, {"x": faces.labels, "y": torch.zeros_like(faces.labels)}).splitlines()
    assert len(lines) == 2 + 2 * 6
    assert lines[2] == "| x | all | 1.000 | 1.000 | 1.000 |"
    assert lines[4] == "| x | b | 1.000 | nan | 1.000 |"
    assert lines[8].startswith("| y | all | 0.2")


def test_the_sheet_shows_photograph_map_and_prediction_four_a_row(tmp_path):
    from PIL import Image

    faces = labelled()
    draw_sheet(tmp_path / "sheet.png", faces, faces.labels)
    sheet = Image.open(tmp_path / "sheet.png")
    assert sheet.size == (4 * 3 * 224, 2 * 224)
    expected = tinted(faces.images, faces.labels)[4, :, 100, 100] * 255
    shown = torch.tensor(sheet.getpixel((224 + 100, 224 + 100)))
    assert (shown - expected).abs().max() < 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--realdata", "/nonexistent", "--weights", "/none"], "/none/segment: no card.json here"),
    ],
)
def test_mistakes_are_one_line(arguments, message, capsys):
    assert main(["parsing", *arguments]) == 2
    printed = capsys.readouterr()
    assert message in printed.err and printed.err.count("\n") == 1 and not printed.out


def test_genuine_label_maps_lie_on_their_photographs(realdata):
    faces = read_labelled(realdata)
    assert len(faces.names) == 3 and "CelebA-HQ-img/28297" in faces.names
    for labels in faces.labels:
        assert labels[112, 112] == FACE  # the nose
        share = [float((labels == label).float().mean()) for label in range(3)]
        assert share[0] > 0.2 and share[1] > 0.05 and share[2] > 0.1
