"""Which face of a picture is meant, by rules that are stated here and nowhere else.

A detector (`detector_litert.py`) gives every face of a picture; one of them is taken, or it is said why none.

Where nothing is known, `choose_face`: of the faces that score at least `LEAST_SCORE`, the largest one counts.
It must be at least `SMALLEST_FACE` pixels wide. Other faces of similar size (at least `SIMILAR` of its width)
compete: the one nearest the picture's centre is taken, and a note says how many there were.

Where five points are known, `choose_face_at`: of the faces that score enough, whatever their size, the one
whose own five points lie nearest to them, on average within `AGREES` of the way from the eyes to the mouth.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from facefill.landmarks import five_from_68

LEAST_SCORE = 0.5
SMALLEST_FACE = 40.0  # pixels: a smaller face has less than half of the aligned picture's resolution
SIMILAR = 0.75
AGREES = 0.3

NO_FACE = "no face found"


@dataclass(frozen=True)
class DetectedFace:
    """One face: box (left, top, right, bottom) and points (68, 2) in the picture's pixels; score 0 to 1."""

    box: tuple[float, float, float, float]
    score: float
    points: NDArray[np.float64]

    @property
    def width(self) -> float:
        """The longer side of the box in pixels."""
        left, top, right, bottom = self.box
        return max(right - left, bottom - top)

    def distance_to(self, column: float, row: float) -> float:
        """From the box's middle, in pixels."""
        left, top, right, bottom = self.box
        return float(np.hypot((left + right) / 2 - column, (top + bottom) / 2 - row))


class Detector(Protocol):
    """What finds faces; built once per worker."""

    def faces(self, image: NDArray[np.uint8]) -> list[DetectedFace]:
        """Every face of an upright RGB picture (H, W, 3), in any order."""


@dataclass(frozen=True)
class Choice:
    """The chosen face, or None with the reason; note: what else the user should know, "" for nothing.

    seen: how many faces scored high enough, whatever their size.
    """

    face: DetectedFace | None
    seen: int
    reason: str = ""
    note: str = ""


def choose_face(faces: Sequence[DetectedFace], width: int, height: int) -> Choice:
    """The face that a picture of width x height pixels shows, by this module's rule."""
    sure = [face for face in faces if face.score >= LEAST_SCORE and _inside(face.points, width, height)]
    if not sure:
        best = max((face.score for face in faces), default=0.0)
        unsure = (
            f" (the likeliest place scores {best:.2f}; at least {LEAST_SCORE} is needed)" if faces else ""
        )
        return Choice(None, 0, reason=NO_FACE + unsure)
    largest = max(face.width for face in sure)
    if largest < SMALLEST_FACE:
        reason = f"the largest face is {largest:.0f} px wide; at least {SMALLEST_FACE:.0f} are needed"
        return Choice(None, len(sure), reason=reason)
    rivals = [face for face in sure if face.width >= max(SIMILAR * largest, SMALLEST_FACE)]
    column, row = (width - 1) / 2, (height - 1) / 2
    chosen = min(rivals, key=lambda face: (face.distance_to(column, row), face.box))
    note = ""
    if len(rivals) > 1:
        note = f"{len(rivals)} faces of similar size; the one nearest the picture's centre is taken"
    return Choice(chosen, len(sure), note=note)


def choose_face_at(faces: Sequence[DetectedFace], five: NDArray[np.floating]) -> Choice:
    """The face that known points five (5, 2), in CelebA's order, belong to."""
    sure = [face for face in faces if face.score >= LEAST_SCORE and np.isfinite(face.points).all()]
    length = float(np.linalg.norm(five[3:].mean(0) - five[:2].mean(0)))

    def distance(face: DetectedFace) -> float:
        return float(np.linalg.norm(five_from_68(face.points) - five, axis=1).mean())

    nearest = min(sure, key=distance, default=None)
    if nearest is None or not distance(nearest) <= AGREES * length:
        return Choice(None, len(sure), reason="no face found where its five points are")
    return Choice(nearest, len(sure))


def _inside(points: NDArray[Any], width: int, height: int) -> bool:
    """Whether the points' mean lies in the picture, as alignment demands."""
    column, row = points.mean(0)
    return bool(np.isfinite(points).all() and 0 <= column < width and 0 <= row < height)
