"""How exact the landmark detector is: `python -m benchmarks landmarks FOLDER` on aligned CelebA photographs.

FOLDER has img_align_celeba/ and list_landmarks_align_celeba.txt (the official five points) or a csv with 68
points per picture. Distances are means over the points, then over the pictures, in pixels and in parts of the
distance of the eyes.
"""

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facefill.errors import UserError
from facefill.landmarks import five_from_68
from facefill.photographs import decode_photograph
from pipelines.detect import choose_face
from pipelines.detector_litert import LandmarkDetector, read_bundle

Points = NDArray[np.float64]
OFFICIAL, PICTURES = "list_landmarks_align_celeba.txt", "img_align_celeba"
INNER = slice(17, 68)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `landmarks`."""
    parser.add_argument("folder", type=Path, help="CelebA's folder, pictures aligned to 178x218")
    parser.add_argument("--csv", default="landmarks68_dlib.csv", help="68 points per picture, in that folder")
    parser.add_argument("--first", type=int, help="so many pictures of the csv only")


def run(options: argparse.Namespace) -> int:
    """Print the table. Raises UserError where neither list is there."""
    detector = LandmarkDetector(read_bundle())
    print("| compared with | pictures | found | px | of the eyes' distance |")
    print("| --- | ---: | ---: | ---: | ---: |")
    lists = 0
    if (official := options.folder / OFFICIAL).is_file():
        lists += 1
        print(row("official five points", measured(detector, options.folder, official_rows(official))))
    if (table := options.folder / options.csv).is_file():
        lists += 1
        found = list(measured(detector, options.folder, csv_rows(table, options.first)))
        print(row(f"{options.csv}, 68 points", found))
        inner = [None if one is None else (one[0][INNER], one[1]) for one in found]
        print(row(f"{options.csv}, inner 51", inner))
    if not lists:
        raise UserError(f"{options.folder}: neither {OFFICIAL} nor {options.csv} is here")
    return 0


def official_rows(path: Path) -> Iterator[tuple[str, Points]]:
    """Name and (5, 2) of every row of CelebA's own list."""
    for line in path.read_text().splitlines()[2:]:
        name, *values = line.split()
        yield name, np.array(values, float).reshape(5, 2)


def csv_rows(path: Path, first: int | None) -> Iterator[tuple[str, Points]]:
    """Name and (68, 2) of the rows in which a face had been detected."""
    with path.open() as file:
        rows = [record for record in csv.DictReader(file) if record.get("detected", "1") != "0"]
    for record in rows[:first]:
        points = [[float(record[f"{axis}{number}"]) for axis in "xy"] for number in range(68)]
        yield record["image_id"], np.array(points)


def measured(
    detector: LandmarkDetector, folder: Path, rows: Iterator[tuple[str, Points]]
) -> Iterator[tuple[Points, float] | None]:
    """Per row the distance of each point in pixels and the distance of the eyes; None: no face was found."""
    for name, truth in rows:
        image = decode_photograph((folder / PICTURES / name).read_bytes(), name)
        face = choose_face(detector.faces(image), *image.shape[1::-1]).face
        if face is None:
            yield None
            continue
        points = face.points if len(truth) == 68 else five_from_68(face.points)
        eyes = truth if len(truth) == 5 else five_from_68(truth)
        yield np.linalg.norm(points - truth, axis=1), float(np.linalg.norm(eyes[0] - eyes[1]))


def row(name: str, answers: Iterator[tuple[Points, float] | None] | list[tuple[Points, float] | None]) -> str:
    """One line of the table."""
    all_answers = list(answers)
    found = [answer for answer in all_answers if answer is not None]
    distances = [float(errors.mean()) for errors, _ in found]
    shares = [float(errors.mean()) / eyes for errors, eyes in found]
    share = len(found) / max(len(all_answers), 1)
    return (
        f"| {name} | {len(all_answers)} | {len(found)} ({share:.1%}) | {np.mean(distances):.2f} | "
        f"{np.mean(shares):.1%} |"
    )
