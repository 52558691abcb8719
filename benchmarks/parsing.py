"""How well segmenters parse genuine photographs: intersection over union with CelebAMask-HQ's label maps.

Prints a Markdown table; with --out also draws the photographs, the maps and what each segmenter made of
them. The genuine samples hold a handful of label maps with their photographs, so a second digit means little.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from facefill.augmentation import centre_crop
from facefill.errors import UserError
from facefill.face_parsing import UNKNOWN
from facefill.networks.segmenter import Segmenter
from facefill.samples import collate, decode_sample
from facefill.stages.segment import painted
from facefill.weights import filled, read_card
from pipelines.align import prepare
from pipelines.sources.celebamask_hq import CelebaMaskHqRecord

# Folders of photographs below the genuine samples, and those of their label maps ("": they have none).
LABELLED = {
    "celebamask_hq/CelebA-HQ-img": "celebamask_hq/CelebAMask-HQ-mask",
    "celebamask_hq/maskgan_demo": "celebamask_hq/maskgan_demo",
}
UNLABELLED = "celebamask_hq_sean/CelebA-HQ-img"
CLASSES = ("face", "occluder", "background")
AT_ONCE = 8
TINT = 0.55


@dataclass(frozen=True)
class Parsed:
    """Photographs at the crop of inference with their label maps."""

    names: tuple[str, ...]
    images: Tensor  # (N, 3, 224, 224)
    labels: Tensor  # (N, 224, 224) int64, UNKNOWN where there is none


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of `python -m benchmarks parsing`."""
    parser.add_argument("--realdata", type=Path, required=True, help="folder of genuine samples")
    parser.add_argument(
        "--weights",
        type=Path,
        action="append",
        required=True,
        help="weights folder of a run; may be repeated",
    )
    parser.add_argument("--out", type=Path, help="folder for a sheet; not inside the repository")


def run(chosen: argparse.Namespace) -> int:
    """Print the table and draw the sheet. Raises UserError for files that are absent or not as expected."""
    segmenters = {str(folder): load_segmenter(folder) for folder in chosen.weights}
    labelled = read_labelled(chosen.realdata)
    print(f"{len(labelled.names)} photographs with a label map.\n")
    predicted = {name: predict(segmenter, labelled.images) for name, segmenter in segmenters.items()}
    print(table(labelled, predicted))
    if chosen.out is not None:
        more = read_unlabelled(chosen.realdata)
        chosen.out.mkdir(parents=True, exist_ok=True)
        for number, (name, segmenter) in enumerate(segmenters.items(), 1):
            draw_sheet(chosen.out / f"parsing-{number}.png", labelled, predicted[name])
            draw_sheet(chosen.out / f"unlabelled-{number}.png", more, predict(segmenter, more.images))
    return 0


def load_segmenter(weights: Path) -> Segmenter:
    """The segmenter of a run's weights folder. Raises UserError where there is none."""
    folder = weights / "segment"
    card = read_card(folder)
    segmenter = filled(Segmenter(card["config"]["width"]), folder, "segmenter", card)
    assert isinstance(segmenter, Segmenter)
    return segmenter


def read_labelled(realdata: Path) -> Parsed:
    """All photographs with a label map. Raises UserError when there are none."""
    pairs = [
        (picture, realdata / maps / f"{picture.stem}.png")
        for pictures, maps in LABELLED.items()
        for picture in sorted((realdata / pictures).glob("*.jpg"))
    ]
    pairs = [(picture, label_map) for picture, label_map in pairs if label_map.is_file()]
    if not pairs:
        raise UserError(
            f"{realdata / 'celebamask_hq'}: no photographs with label maps here: give the folder of the "
            "genuine samples with --realdata"
        )
    return read(pairs)


def read_unlabelled(realdata: Path) -> Parsed:
    """The photographs that are there to be looked at. Raises UserError when there are none."""
    pictures = sorted((realdata / UNLABELLED).glob("*.jpg"))
    if not pictures:
        raise UserError(f"{realdata / UNLABELLED} is missing: give the folder of the genuine samples")
    return read([(picture, None) for picture in pictures])


def read(pairs: Sequence[tuple[Path, Path | None]]) -> Parsed:
    """Photographs and label maps as the pipeline aligns them."""
    samples = []
    for number, (picture, label_map) in enumerate(pairs):
        record = CelebaMaskHqRecord(
            key=f"{picture.parent.name}/{picture.stem}",
            split="test",
            identity=-1,
            source=str(picture),
            parts=(),
            label_map="" if label_map is None else str(label_map),
        )
        samples.append({**decode_sample(prepare(record).members), "key": record.key, "seed": number})
    batch = centre_crop(collate(samples))
    return Parsed(tuple(batch["key"]), batch["image"], batch["parsing"])


@torch.no_grad()
def predict(segmenter: Segmenter, images: Tensor) -> Tensor:
    """(N, H, W) int64 classes."""
    return torch.cat([segmenter(some).argmax(1) for some in images.split(AT_ONCE)])


def iou(predicted: Tensor, labels: Tensor) -> list[float]:
    """Intersection over union of each class over the labelled pixels of (N, H, W) together; nan for a class
    that neither has.
    """
    known = labels != UNKNOWN
    values = []
    for label in range(len(CLASSES)):
        own, true = (predicted == label) & known, (labels == label) & known
        values.append(float((own & true).sum() / (own | true).sum()))
    return values


def table(faces: Parsed, predicted: dict[str, Tensor]) -> str:
    """Markdown: a row per segmenter and photograph, and one over all photographs."""
    lines = [
        f"| segmenter | photograph | {' | '.join(CLASSES)} |",
        "| --- | --- |" + " ---: |" * len(CLASSES),
    ]
    for name, classes in predicted.items():
        rows = {"all": iou(classes, faces.labels)}
        for place, photograph in enumerate(faces.names):
            rows[photograph] = iou(classes[[place]], faces.labels[[place]])
        for photograph, values in rows.items():
            lines.append(f"| {name} | {photograph} | {' | '.join(f'{value:.3f}' for value in values)} |")
    return "\n".join(lines)


def draw_sheet(path: Path, faces: Parsed, predicted: Tensor) -> None:
    """Photograph, label map and prediction side by side as a PNG, four photographs a row."""
    from PIL import Image

    tiles = [faces.images]
    if bool((faces.labels != UNKNOWN).any()):
        tiles.append(tinted(faces.images, faces.labels))
    tiles.append(tinted(faces.images, predicted))
    groups = torch.cat(tiles, 3)
    blank = groups.new_ones(-len(groups) % 4, *groups.shape[1:])
    rows = torch.cat([groups, blank]).unflatten(0, (-1, 4)).permute(2, 0, 3, 1, 4).flatten(1, 2).flatten(2)
    pixels = (rows.clamp(0, 1) * 255).round().byte().permute(1, 2, 0)
    Image.fromarray(pixels.numpy()).save(path)


def tinted(images: Tensor, classes: Tensor) -> Tensor:
    """The photographs with their classes' colours laid over them."""
    return torch.lerp(images, painted(classes), TINT)
