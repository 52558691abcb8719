"""Flickr-Faces-HQ: images1024x1024/00000/00000.png or thumbnails128x128/00000/00000.png.

The pictures are framed by CelebA-HQ's own rule, with eyes and mouth taken from dlib's 68 points instead of
people's five (download_ffhq.py, `recreate_aligned_images`), so they only need resizing. Where
ffhq-dataset-v2.json lies beside the folders it gives the split and the 68 points; without it the split is by
number: 60,000 and on are for validation. There is no test split, and people are unknown.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from facefill.errors import UserError
from pipelines import storage
from pipelines.manifest import UNKNOWN_IDENTITY, Rejected
from pipelines.sources.file_names import first_existing, image_id, key_of, pictures_in, stem_of
from pipelines.sources.landmark_files import given_landmarks
from pipelines.sources.records import (
    Listing,
    RejectedSample,
    Source,
    SourceSample,
    SourceSettings,
    finished,
    packed,
    read_picture,
    unpacked,
)

ANNOTATIONS = "ffhq-dataset-v2.json"
ANNOTATED_SIZE = 1024  # of the pictures whose pixels the annotations count
FIRST_VALIDATION = 60000
SPLIT_OF_CATEGORY = {"training": "train", "validation": "validation"}


@dataclass(frozen=True, slots=True)
class FfhqRecord:
    """One picture of size x size; landmarks as `packed`, in its own pixels."""

    key: str
    split: str
    source: str
    size: int
    landmarks: bytes = b""
    identity: int = UNKNOWN_IDENTITY

    def load(self) -> SourceSample:
        """Read the picture. Raises RejectedSample, also for another size: the landmarks would not fit."""
        picture = read_picture(self.source)
        width, height = _size_of(picture)
        if (width, height) != (self.size, self.size):
            raise RejectedSample(f"a picture of {width}x{height}; expected {self.size}x{self.size}")
        return SourceSample(picture, unpacked(self.landmarks), aligned=True)


def list_records(root: str, settings: SourceSettings, folder: str, size: int) -> Listing:
    """Every picture of the folder. Raises UserError when there is none and for wrong annotations."""
    pictures = pictures_in(storage.join(root, folder))
    if not pictures:
        raise UserError(f"{root}: no pictures found; expected {folder}/00000/00000.png and on")
    entries = _read_annotations(storage.join(root, ANNOTATIONS))
    given = given_landmarks(settings)
    records: list[FfhqRecord] = []
    rejected: list[Rejected] = []
    for url in pictures:
        stem = stem_of(url)
        key = key_of(settings.dataset, stem)
        try:
            if not stem.isdecimal():
                raise RejectedSample("expected a name like 00000.png, the picture's number")
            split, points = _annotated(int(stem), entries, size)
            if given is not None:
                points = given.of(image_id(storage.join(root, folder), url))
        except RejectedSample as reason:
            rejected.append(Rejected(key, url, str(reason)))
            continue
        records.append(FfhqRecord(key, split, url, size, points))
    notes = []
    if entries is None:
        notes.append(f"{root}: no {ANNOTATIONS} here: the split is by number, landmarks are unknown")
    elif absent := set(entries) - {int(stem_of(url)) for url in pictures if stem_of(url).isdecimal()}:
        notes.append(f"{root}: {len(absent)} annotated pictures are not there, first {min(absent):05d}")
    return finished(settings, root, records, rejected, notes)


def find_lists(root: str, _: SourceSettings, folder: str) -> None:
    """Raise UserError unless the folder of pictures is there."""
    first_existing(root, (folder,), "the pictures")


USES = ("landmarks", "undetected")
IMAGES = Source(
    partial(list_records, folder="images1024x1024", size=1024),
    USES,
    find_lists=partial(find_lists, folder="images1024x1024"),
)
THUMBNAILS = Source(
    partial(list_records, folder="thumbnails128x128", size=128),
    USES,
    find_lists=partial(find_lists, folder="thumbnails128x128"),
)


def _annotated(number: int, entries: Mapping[int, tuple[str, bytes]] | None, size: int) -> tuple[str, bytes]:
    """Split and landmarks of a picture. Raises RejectedSample for one that is not annotated."""
    if entries is None:
        return ("validation" if number >= FIRST_VALIDATION else "train"), b""
    if number not in entries:
        raise RejectedSample(f"no entry in {ANNOTATIONS}")
    split, landmarks = entries[number]
    points = np.asarray(unpacked(landmarks))
    return split, packed((points + 0.5) * (size / ANNOTATED_SIZE) - 0.5)


def _read_annotations(url: str) -> dict[int, tuple[str, bytes]] | None:
    """Number -> (split, 68 points packed); None where the file is absent. Raises UserError."""
    try:
        text = storage.read_bytes(url)
    except FileNotFoundError:
        return None
    try:
        tree = json.loads(text, object_hook=_small)
        if not isinstance(tree, dict):
            raise ValueError("expected one object")
    except ValueError as error:
        raise UserError(f"{url}: not JSON that can be read ({error}); download it again") from None
    entries = {}
    for number, entry in tree.items():
        try:
            entries[int(number)] = (SPLIT_OF_CATEGORY[entry["category"]], entry["image"])
        except (KeyError, TypeError, ValueError):
            raise UserError(
                f"{url}: entry {number!r}: expected a number with category (training or validation) and 68 "
                "image.face_landmarks"
            ) from None
    return entries


def _small(part: dict[str, Any]) -> Any:
    """An object of the file while it is parsed, less what nobody needs: the whole would take gigabytes."""
    if "face_landmarks" in part:
        points = np.asarray(part["face_landmarks"], np.float64)
        return packed(points) if points.shape == (68, 2) and np.isfinite(points).all() else None
    if "image" in part:
        if part["image"] is None:
            del part["image"]
        return {name: part[name] for name in ("category", "image") if name in part}
    return part


def _size_of(picture: bytes) -> tuple[int, int]:
    from PIL import Image

    try:
        return Image.open(io.BytesIO(picture)).size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise RejectedSample("not a picture that can be read; fetch it again") from None
