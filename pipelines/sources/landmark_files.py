"""Landmarks that others found: a csv for a whole data set, dlib's XML, or a .pts or .txt beside each picture.

A file about many pictures ends the command when it is wrong (UserError); a file about one picture rejects
that picture (RejectedSample).
"""

import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facefill.errors import UserError
from pipelines import storage
from pipelines.sources import lists
from pipelines.sources.records import RejectedSample, SourceSettings, packed, read_file

Points = NDArray[np.float64]


@dataclass(frozen=True)
class LandmarkList:
    """Rows of (packed landmarks, detected) by the list's name of a picture; url is for messages."""

    url: str
    rows: Mapping[str, tuple[bytes, bool]]
    keep_undetected: bool = False

    def of(self, name: str) -> bytes:
        """A picture's landmarks, packed. Raises RejectedSample for one without a row, or without a face."""
        if name not in self.rows:
            raise RejectedSample(f"no row in {storage.name_of(self.url)}")
        points, detected = self.rows[name]
        if not detected and not self.keep_undetected:
            raise RejectedSample(f"no face was detected (detected = 0 in {storage.name_of(self.url)})")
        return points


def given_landmarks(settings: SourceSettings) -> LandmarkList | None:
    """The csv that the settings name, or None where they name none. Raises UserError."""
    if not settings.landmarks:
        return None
    rows = lists.read_68_points(settings.landmarks)
    return LandmarkList(settings.landmarks, rows, settings.undetected == "keep")


def read_dlib_xml(url: str) -> tuple[dict[str, bytes], int]:
    """File name -> packed (68, 2) of dlib's training XML, and how many pictures have several such faces.

    Of several faces the one with the largest box counts. dlib's pixels are 0-based. Raises UserError.
    """
    try:
        tree = ElementTree.fromstring(storage.read_bytes(url))
    except ElementTree.ParseError as error:
        raise UserError(f"{url}: not an XML file that can be read ({error}); download it again") from None
    images = tree.findall("./images/image")
    if tree.tag != "dataset" or not images:
        raise UserError(f"{url}: no images in it; expected dlib's <dataset><images><image file=...><box>")
    names = [image.get("file", "").replace("\\", "/") for image in images]
    if doubled := sorted(name for name, count in Counter(names).items() if count > 1):
        raise UserError(f"{url}: {doubled[0]} is there twice; remove one of the two")
    faces, several = {}, 0
    for name, image in zip(names, images, strict=True):
        boxes = [box for box in image.findall("box") if len(box.findall("part")) == 68]
        try:
            boxes.sort(key=lambda box: -float(box.get("width", "")) * float(box.get("height", "")))
            if boxes:
                faces[name] = packed(_parts_of(boxes[0]))
        except ValueError:
            raise UserError(f"{url}: {name}: parts 00 to 67 with whole x and y expected") from None
        several += len(boxes) > 1
    return faces, several


def read_beside(url: str) -> Points:
    """Landmarks of one picture, (68, 2) or (5, 2): `.pts` counts pixels from 1, `.txt` (x y) from 0.

    Raises RejectedSample.
    """
    name = storage.name_of(url)
    text = read_file(url).decode("utf-8", "replace").lstrip("\ufeff")
    lines = [line for line in text.splitlines() if line.strip()]
    is_pts = url.lower().endswith(".pts")
    if is_pts:
        lines = _inside_braces(lines, name)
    try:
        points = np.array([[float(number) for number in line.split()] for line in lines])
    except ValueError:
        raise RejectedSample(f"{name} does not hold two numbers a line") from None
    if points.shape not in ((68, 2), (5, 2)) or not np.isfinite(points).all():
        raise RejectedSample(f"{name} has {len(lines)} lines; expected 68 or 5 of two finite numbers")
    return points - 1 if is_pts else points


def _parts_of(box: ElementTree.Element) -> Points:
    """(68, 2); ValueError for parts that are not 00 to 67, each with x and y."""
    parts = {int(part.get("name", "")): (part.get("x", ""), part.get("y", "")) for part in box.iter("part")}
    if sorted(parts) != list(range(68)):
        raise ValueError
    return np.array([[float(x), float(y)] for x, y in (parts[number] for number in range(68))])


def _inside_braces(lines: list[str], name: str) -> list[str]:
    """The rows of a .pts file: version and n_points before `{`, nothing but the rows inside."""
    text = [line.strip() for line in lines]
    if "{" not in text or text[-1] != "}":
        raise RejectedSample(f"{name} is not a .pts file; expected version, n_points, then rows in braces")
    return lines[text.index("{") + 1 : -1]
