"""A detector that needs no network, and functions for actors: importable on the workers."""

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facefill.errors import UserError
from pipelines.detect import DetectedFace
from pipelines.jobs import advance


class SquareDetector:
    """Takes what is bright in the left and in the right half for a face; notes down each picture seen."""

    def __init__(self, diary: str) -> None:
        self.diary = Path(diary)

    def faces(self, image: NDArray[np.uint8]) -> list[DetectedFace]:
        with self.diary.open("a") as file:
            file.write(f"{os.getpid()}\n")
        half = image.shape[1] // 2
        found = [square(image[:, :half], 0), square(image[:, half:], half)]
        return [face for face in found if face is not None]


def square(image: NDArray[np.uint8], left: int) -> DetectedFace | None:
    """The bounding box of what is bright, its 68 points on a grid inside."""
    rows, columns = np.nonzero(image.min(-1) > 200)
    if not len(rows):
        return None
    box = (left + columns.min(), rows.min(), left + columns.max() + 1, rows.max() + 1)
    grid = np.stack(np.meshgrid(np.linspace(0.1, 0.9, 17), np.linspace(0.2, 0.8, 4)), -1).reshape(68, 2)
    corner, extent = np.array(box[:2]), np.array(box[2:]) - np.array(box[:2])
    return DetectedFace(tuple(float(side) for side in box), 0.9, corner + grid * extent)


def build_squares(diary: str) -> SquareDetector:
    return SquareDetector(diary)


def build_dying(folder: str) -> Callable[[int], int]:
    """A function whose process dies once, at item 5; each process that is built leaves a file."""
    Path(folder, f"built-{os.getpid()}").touch()
    return partial(die_once, folder)


def die_once(folder: str, item: int) -> int:
    died = Path(folder, "died")
    if item == 5 and not died.exists():
        died.touch()
        os._exit(1)
    return 10 * item


def build_mortal(folder: str) -> Callable[[int], int]:
    """A function whose process dies with the first try of every item, and with each try of item 1."""
    return partial(die_at_first, folder)


def die_at_first(folder: str, item: int) -> int:
    tries = len(list(Path(folder).glob(f"{item}-*")))
    Path(folder, f"{item}-{tries}").touch()
    if item == 1 or not tries:
        os._exit(1)
    return 10 * item


def build_wrong() -> Callable[[int], int]:
    raise UserError("the bundle is missing; give one")


def build_slow() -> Callable[[int], int]:
    return slow


def slow(item: int) -> int:
    """Half a second for each of eight units, which are said as they go by."""
    for _ in range(8):
        time.sleep(0.5)
        advance(1)
    return item
