"""Complete held-back faces behind holes of every size and measure it, ours beside fills without learning.

Picture i gets a rectangle cut to its face whose mask ratio lies in decile i mod 10, drawn from (seed, i): the
same pictures and seed give the same holes, and the deciles fill evenly. All images are rounded to
8 bits before they are measured, as if they had been saved. Regions: the whole 224 crop, the face (visible
part and hole), the hole.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facefill.augmentation import CROP, centre_crop
from facefill.baselines import mean_fill, mirror_fill, telea_fill
from facefill.completion import Completion
from facefill.errors import UserError
from facefill.face_masks import NUM_BUCKETS, bucket_of, mask_ratio, rectangle_hole_with_ratio
from facefill.face_region import face_region, face_texels
from facefill.geometry.morphable_model import MorphableModel
from facefill.geometry.reconstruction import fit_from_vector, reconstruct
from facefill.geometry.uv_atlas import UVAtlas
from facefill.metrics.image import psnr, ssim
from facefill.metrics.perceptual import Lpips, image_distance, region_distance
from facefill.stages import Batch
from pipelines.contact_sheet import Shown, tiles_of

MEAN, MIRROR, TELEA, OURS, OURS_ONCE = "mean colour", "mirror", "Telea", "ours", "ours, iteration 1"
MEAN_ALBEDO = "mean albedo"  # the model's mean skin in our geometry, light and blend: ours without inpainter
OURS_UNREFINED = "ours, encoder's fit as it is"  # as the paper completes
METHODS = (MEAN, MEAN_ALBEDO, MIRROR, TELEA, OURS_UNREFINED, OURS_ONCE, OURS)
METRICS = ("psnr", "ssim", "lpips")
REGIONS = ("image", "face", "hole")
SHOWN_PER_BUCKET = 2
SHOWN_WORST = 6
AT_ONCE = 8  # pictures completed in one batch

Complete = Callable[[Tensor, Tensor], list[Completion]]
Row = dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """One held-back face, cropped for the networks."""

    key: str
    image: Tensor  # (3, 224, 224) in [0, 1]
    face: Tensor  # (1, 224, 224) bool: where holes may lie
    landmarks: Tensor  # (68, 2) pixels of the crop, from the fit


@dataclass(frozen=True)
class Trial:
    """A subject with its hole."""

    subject: Subject
    position: int
    bucket: int
    ratio: float
    hole: Tensor  # (1, 224, 224) float, 1 = missing


@dataclass(frozen=True)
class Evaluation:
    """rows: one per picture and method. skipped: (key, reason). shown, worst: pictures for the report."""

    rows: list[Row] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    worst: list[Shown] = field(default_factory=list)


def subjects_of(batch: Batch, model: MorphableModel, atlas: UVAtlas) -> list[Subject]:
    """The faces of a batch, with where holes may lie on them."""
    example = centre_crop(batch)
    mesh = reconstruct(fit_from_vector(example["fit"]), model, atlas, CROP, CROP)
    face = face_region(example["parsing"], mesh.fragments, face_texels(model, atlas), model) > 0
    landmarks = mesh.projected[:, model.landmarks, :2]
    return [Subject(*parts) for parts in zip(batch["key"], example["image"], face, landmarks, strict=True)]


def evaluate(
    subjects: Iterable[Subject],
    complete: Complete,
    mean_albedo: Complete,
    unrefined: Complete,
    seed: int,
    lpips: Lpips | None,
    tell: Callable[[int], None] = lambda done: None,
) -> Evaluation:
    """Complete and measure every subject; `tell` hears the count.

    complete: ours, a result per iteration. mean_albedo: the same with the model's mean albedo; unrefined: the
    same with the encoder's fit as it is; the last result of each counts. A picture whose face is too small
    for a hole is skipped with the reason. lpips None: empty columns.
    """
    result = Evaluation()
    num_shown = [0] * NUM_BUCKETS
    worst: list[tuple[float, Shown]] = []
    trials = drawn_trials(subjects, seed, result.skipped)
    while chunk := list(islice(trials, AT_ONCE)):
        images = torch.stack([trial.subject.image for trial in chunk])
        holes = torch.stack([trial.hole for trial in chunk])
        completions, seconds = timed(complete, images, holes)
        beside = {
            MEAN_ALBEDO: timed(mean_albedo, images, holes),
            OURS_UNREFINED: timed(unrefined, images, holes),
        }
        for number, trial in enumerate(chunk):
            ours = [completion.image[number] for completion in completions]
            others = {name: (results[-1].image[number], took) for name, (results, took) in beside.items()}
            fills, times = filled(trial, others, ours, seconds)
            rows = measured(trial, fills, times, lpips)
            result.rows.extend(rows)
            hole_psnr = {row["method"]: row["psnr_hole"] for row in rows}
            tiles = tiles_of(trial.subject.image, trial.hole, fills, completions[-1], number)
            shown = Shown(trial.subject.key, trial.ratio, hole_psnr, tiles)
            if num_shown[trial.bucket] < SHOWN_PER_BUCKET:
                num_shown[trial.bucket] += 1
                result.shown.append(shown)
            worst = sorted([*worst, (hole_psnr[OURS], shown)], key=lambda entry: entry[0])[:SHOWN_WORST]
        tell(chunk[-1].position + 1)
    result.shown.sort(key=lambda shown: shown.ratio)
    result.worst.extend(shown for _, shown in worst)
    return result


def drawn_trials(subjects: Iterable[Subject], seed: int, skipped: list[tuple[str, str]]) -> Iterator[Trial]:
    """Each subject with the hole of its position; those that cannot have one go to `skipped`."""
    for position, subject in enumerate(subjects):
        bucket = position % NUM_BUCKETS
        generator = np.random.default_rng([seed, position])
        face: NDArray[np.bool_] = subject.face[0].cpu().numpy() > 0
        low, high = bucket / NUM_BUCKETS, (bucket + 1) / NUM_BUCKETS
        try:
            hole = rectangle_hole_with_ratio(face, low, high, generator)
        except UserError as error:
            skipped.append((subject.key, str(error)))
            continue
        ratio = float(mask_ratio(hole, face))
        drawn = torch.from_numpy(hole)[None].to(subject.image)
        yield Trial(subject, position, bucket_of(ratio), ratio, drawn)


def timed(complete: Complete, images: Tensor, holes: Tensor) -> tuple[list[Completion], float]:
    """The results, and seconds per picture."""
    started = time.perf_counter()
    results = complete(images, holes)
    return results, (time.perf_counter() - started) / len(images)


def filled(
    trial: Trial, others: dict[str, tuple[Tensor, float]], ours: list[Tensor], seconds: float
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The picture as each method completes it, rounded to 8 bits, and how long each took.

    others: pictures and seconds of methods that work on many at once; seconds: of all iterations of ours.
    """
    subject, hole = trial.subject, trial.hole
    face = subject.face.to(hole)
    started = time.perf_counter()
    fills = {MEAN: mean_fill(subject.image, hole, face)}
    fills[MEAN_ALBEDO] = others[MEAN_ALBEDO][0]
    after_mean = time.perf_counter()
    fills[MIRROR] = mirror_fill(subject.image, hole, face, subject.landmarks)
    after_mirror = time.perf_counter()
    fills[TELEA] = telea_fill(subject.image, hole, face)
    after_telea = time.perf_counter()
    times = {MEAN: after_mean - started} | {name: took for name, (_, took) in others.items()}
    times |= {MIRROR: after_mirror - after_mean, TELEA: after_telea - after_mirror}
    fills[OURS_UNREFINED] = others[OURS_UNREFINED][0]
    if len(ours) > 1:
        fills[OURS_ONCE] = ours[0]
        times[OURS_ONCE] = seconds / len(ours)
    fills[OURS] = ours[-1]
    times[OURS] = seconds
    return {method: in_8_bits(fill) for method, fill in fills.items()}, times


def in_8_bits(image: Tensor) -> Tensor:
    """The values that survive being saved."""
    return (image.clamp(0, 1) * 255).round() / 255


@torch.no_grad()
def measured(
    trial: Trial, fills: dict[str, Tensor], seconds: dict[str, float], lpips: Lpips | None
) -> list[Row]:
    """One row per method: where, how large the hole, and psnr, ssim, lpips of image, face and hole."""
    truth = in_8_bits(trial.subject.image)[None]
    results = torch.stack(list(fills.values()))
    values: dict[str, list[float | None]] = {}
    maps = None if lpips is None else lpips.maps(results, truth)
    masks = {"image": None, "face": trial.subject.face.to(truth)[None], "hole": trial.hole[None]}
    for region, mask in masks.items():
        values[f"psnr_{region}"] = psnr(results, truth, mask).tolist()
        values[f"ssim_{region}"] = ssim(results, truth, mask).tolist()
        if maps is None:
            values[f"lpips_{region}"] = [None] * len(results)
        else:
            distance = image_distance(maps) if mask is None else region_distance(maps, mask)
            values[f"lpips_{region}"] = distance.tolist()
    where = {
        "key": trial.subject.key,
        "position": trial.position,
        "bucket": trial.bucket,
        "ratio": trial.ratio,
    }
    return [
        where
        | {"method": method}
        | {name: column[number] for name, column in values.items()}
        | {"seconds": seconds[method]}
        for number, method in enumerate(fills)
    ]
