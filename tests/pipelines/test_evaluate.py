"""The evaluation on small faces: same holes for the same seed, all deciles, exact rows, nothing invented."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from facefill.geometry.default_model import default_model
from facefill.geometry.reconstruction import FIT_SIZE
from facefill.geometry.uv_atlas import build_atlas
from facefill.metrics.image import psnr, ssim
from pipelines.evaluate import (
    MEAN,
    METHODS,
    MIRROR,
    OURS,
    OURS_ONCE,
    TELEA,
    Subject,
    evaluate,
    subjects_of,
)
from pipelines.statistics import paired_differences, summarize

SIZE = 224


@dataclass(frozen=True)
class FakeCompletion:
    """What the evaluation reads of a completion."""

    image: Tensor
    rendered: Tensor
    coverage: Tensor
    albedo: Tensor
    image_log_sigma: Tensor


def subjects(count: int) -> list[Subject]:
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    face = (((rows - 110) / 70) ** 2 + ((columns - 112) / 50) ** 2 < 1)[None]
    landmarks = 60 + 100 * torch.rand(68, 2, generator=generator)
    found = []
    for number in range(count):
        coarse = torch.rand(1, 3, 14, 14, generator=generator)
        image = torch.nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bilinear")[0]
        found.append(Subject(f"face/{number:03d}", (image * 255).round() / 255, face, landmarks))
    return found


def completer(offsets: tuple[float, ...]) -> Callable[[Tensor, Tensor], list[FakeCompletion]]:
    """A completion that sees the truth and misses it by an offset, one per iteration."""

    def complete(images: Tensor, holes: Tensor) -> list[FakeCompletion]:
        number = len(images)
        return [
            FakeCompletion(
                images + offset * holes,
                images,
                torch.ones(number, 1, SIZE, SIZE),
                torch.rand(number, 3, 192, 256),
                torch.zeros(number, 1, SIZE, SIZE),
            )
            for offset in offsets
        ]

    return complete


MEAN_ALBEDO_FILL, UNREFINED = completer((0.25,)), completer((0.15,))


def test_rows_of_ten_faces() -> None:
    told: list[int] = []
    evaluation = evaluate(
        subjects(10), completer((0.2, 0.1)), MEAN_ALBEDO_FILL, UNREFINED, 3, None, told.append
    )
    assert told == [8, 10]
    assert len(evaluation.rows) == 10 * len(METHODS)
    assert {row["method"] for row in evaluation.rows} == set(METHODS)
    assert sorted(row["bucket"] for row in evaluation.rows if row["method"] == OURS) == list(range(10))
    assert all(row["bucket"] == int(10 * row["ratio"]) for row in evaluation.rows)
    assert all(row["lpips_hole"] is None for row in evaluation.rows)
    assert evaluation.skipped == []


def test_values_are_those_of_the_metrics() -> None:
    """An offset of 51/255 in the hole of an image in [0, 0.5], by hand and by region."""
    [subject] = subjects(1)
    subject = Subject(subject.key, (subject.image * 127).round() / 255, subject.face, subject.landmarks)
    evaluation = evaluate([subject], completer((51 / 255,)), MEAN_ALBEDO_FILL, UNREFINED, 0, None)
    [row] = [row for row in evaluation.rows if row["method"] == OURS]
    assert OURS_ONCE not in {row["method"] for row in evaluation.rows}  # there was one iteration only
    assert math.isclose(row["psnr_hole"], -20 * math.log10(0.2), rel_tol=1e-4)
    hole = torch.from_numpy(hole_of(evaluation.shown[0].tiles["input"]))
    face_error = 0.04 * hole.sum() / subject.face.sum()
    assert math.isclose(row["psnr_face"], -10 * math.log10(face_error), rel_tol=1e-3)
    result = subject.image + hole * 51 / 255
    assert math.isclose(row["psnr_image"], psnr(result[None], subject.image[None]).item(), rel_tol=1e-4)
    expected = ssim(result[None].float(), subject.image[None], hole[None, None].float()).item()
    assert math.isclose(row["ssim_hole"], expected, rel_tol=1e-4)


def hole_of(tile: np.ndarray) -> np.ndarray:
    """Where the input's tile shows the colour of holes."""
    return (tile == np.array([237, 237, 242], np.uint8)).all(axis=2)


def test_same_seed_same_holes() -> None:
    first, second, other = (
        evaluate(subjects(4), completer((0.1,)), MEAN_ALBEDO_FILL, UNREFINED, seed, None)
        for seed in (1, 1, 2)
    )
    for rows in (first.rows, second.rows, other.rows):
        for row in rows:
            row.pop("seconds")
    assert first.rows == second.rows
    assert first.rows != other.rows


def test_a_face_too_small_is_skipped_with_its_reason() -> None:
    good, bad = subjects(2)
    bad = Subject(bad.key, bad.image, torch.zeros(1, SIZE, SIZE, dtype=torch.bool), bad.landmarks)
    evaluation = evaluate([bad, good], completer((0.1,)), MEAN_ALBEDO_FILL, UNREFINED, 0, None)
    assert {row["key"] for row in evaluation.rows} == {good.key}
    [(key, reason)] = evaluation.skipped
    assert key == bad.key
    assert "too small for a hole" in reason


def test_fills_do_not_see_under_the_hole() -> None:
    """Other pixels under the hole, the same fills."""
    [subject] = subjects(1)
    seen = evaluate([subject], completer((0.0,)), MEAN_ALBEDO_FILL, UNREFINED, 0, None)
    hole = torch.from_numpy(hole_of(seen.shown[0].tiles["input"]))
    image = torch.where(hole, 1 - subject.image, subject.image)
    changed = Subject(subject.key, image, subject.face, subject.landmarks)
    other = evaluate([changed], completer((0.0,)), MEAN_ALBEDO_FILL, UNREFINED, 0, None)
    for method in (MEAN, MIRROR, TELEA):
        first, second = seen.shown[0].tiles[method], other.shown[0].tiles[method]
        assert np.array_equal(first, second), method


def test_shown_faces_are_spread_and_the_worst_are_the_worst() -> None:
    evaluation = evaluate(subjects(24), completer((0.3, 0.1)), MEAN_ALBEDO_FILL, UNREFINED, 0, None)
    assert len(evaluation.shown) == 20
    assert [shown.ratio for shown in evaluation.shown] == sorted(shown.ratio for shown in evaluation.shown)
    values = sorted(row["psnr_hole"] for row in evaluation.rows if row["method"] == OURS)
    assert [shown.psnr[OURS] for shown in evaluation.worst] == values[:6]


def test_lpips_fills_its_columns() -> None:
    class Distance:
        def maps(self, results: Tensor, truth: Tensor) -> list[Tensor]:
            return [(results - truth).abs().mean(1, keepdim=True)]

    evaluation = evaluate(subjects(1), completer((0.0, 51 / 255)), MEAN_ALBEDO_FILL, UNREFINED, 0, Distance())  # type: ignore[arg-type]
    row = next(row for row in evaluation.rows if row["method"] == OURS_ONCE)
    assert row["lpips_image"] == row["lpips_face"] == row["lpips_hole"] == 0
    row = next(row for row in evaluation.rows if row["method"] == OURS)
    assert 0 < row["lpips_image"] < row["lpips_face"] < row["lpips_hole"] < 0.21


def test_subjects_of_a_batch() -> None:
    """Without labels a hole may lie on what the fit covers, with labels on the face class."""
    model = default_model()
    vector = torch.zeros(2, FIT_SIZE)
    vector[:, 228] = 1e-3  # scale
    vector[:, 232:234] = torch.tensor([128.0, 128.0])
    parsing = torch.full((2, 256, 256), 255)
    parsing[1] = 2
    parsing[1, 100:150, 90:160] = 0
    batch = {"key": ["a", "b"], "image": torch.rand(2, 3, 256, 256), "parsing": parsing, "fit": vector}
    unlabelled, labelled = subjects_of(batch, model, build_atlas(model))
    assert unlabelled.key == "a"
    assert torch.equal(unlabelled.image, batch["image"][0, :, 16:240, 16:240])
    assert 0.1 < unlabelled.face.float().mean() < 0.9
    inside = unlabelled.landmarks[17:].round().long()
    assert unlabelled.face[0, inside[:, 1], inside[:, 0]].float().mean() > 0.8
    assert labelled.face.sum() == 50 * 70
    assert labelled.face[0, 84:134, 74:144].all()


def row(method: str, position: int, value: float | None, bucket: int = 0) -> dict[str, object]:
    return {"method": method, "position": position, "bucket": bucket, "psnr_hole": value}


def test_summary_by_hand() -> None:
    rows = [row("a", 0, 10.0), row("a", 1, 20.0, 1), row("b", 0, None), row("b", 1, float("nan"), 1)]
    table = summarize(rows, ["psnr_hole"])
    assert table[0] == {"method": "a", "bucket": None, "pictures": 2, "psnr_hole": 15.0}
    assert table[1]["psnr_hole"] is None
    assert [(r["bucket"], r["psnr_hole"]) for r in table if r["method"] == "a"] == [
        (None, 15),
        (0, 10),
        (1, 20),
    ]


def test_paired_differences() -> None:
    generator = np.random.default_rng(0)
    level = generator.normal(20, 5, 200)  # how hard a picture is, the same for both
    rows = [row("a", i, level[i]) for i in range(200)]
    rows += [row("b", i, level[i] - 1 + generator.normal(0, 0.2)) for i in range(200)]
    [difference] = paired_differences(rows, "a", ["psnr_hole"])
    assert difference["other"] == "b"
    assert difference["pictures"] == 200
    assert 0.95 < difference["low"] < difference["mean"] < difference["high"] < 1.05
    assert difference["wins"] == 1


@pytest.mark.parametrize(("metric", "expected"), [("psnr_hole", 0.0), ("lpips_hole", 1.0)])
def test_who_wins_depends_on_the_metric(metric: str, expected: float) -> None:
    rows = [{"method": m, "position": 0, metric: v} for m, v in (("a", 1.0), ("b", 2.0))]
    [difference] = paired_differences(rows, "a", [metric])
    assert difference["wins"] == expected
