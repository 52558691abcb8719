"""What every reader of a released data set gives: a listing of records that can be loaded anywhere.

Reading has two steps. Listing looks at the annotation files and folder names only: a wrong file ends the
command (UserError), a picture without its row is listed as rejected. Loading reads one picture on whatever
worker has the record: what is wrong with that picture alone raises `RejectedSample`, and the job goes on.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from facefill.errors import UserError
from pipelines import storage
from pipelines.manifest import Rejected

PICTURES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")
Split = Literal["official", "identity"]


class RejectedSample(ValueError):
    """One picture cannot be used; the message is the reason that goes to `rejected.parquet`."""


@dataclass(frozen=True)
class SourceSample:
    """One picture as it was released.

    picture: the file's bytes; landmarks (68, 2) or (5, 2) pixels of the upright picture, 0-based, or None;
    aligned: the picture already is a CelebA-HQ face that needs at most resizing; parsing (H, W) uint8 classes
    in the picture's frame at any resolution, or None; parameters (234,) with the camera in the picture's
    pixels, or None (`samples.PARAMETERS`).
    """

    picture: bytes
    landmarks: NDArray[np.float64] | None
    aligned: bool = False
    parsing: NDArray[np.uint8] | None = None
    parameters: NDArray[np.float64] | None = None


class SourceRecord(Protocol):
    """One picture that a listing found; small, picklable, the same on every machine."""

    @property
    def key(self) -> str:
        """`{dataset}/{stem}`, without a dot."""

    @property
    def split(self) -> str:
        """train, validation or test."""

    @property
    def identity(self) -> int:
        """The person's number, -1 where unknown."""

    @property
    def source(self) -> str:
        """URL of the picture."""

    def load(self) -> SourceSample:
        """Read it. Raises RejectedSample."""


@dataclass(frozen=True)
class Listing:
    """A data set as found: records sorted by key, what is rejected already, and remarks for the user."""

    dataset: str
    records: tuple[Any, ...]  # SourceRecord
    rejected: tuple[Rejected, ...]
    notes: tuple[str, ...]


def limited(listing: Listing, limit: int | None) -> Listing:
    """At most `limit` records, spread evenly over the sorted listing so that every split keeps its share."""
    count = len(listing.records)
    if limit is None or limit >= count:
        return listing
    chosen = tuple(listing.records[place * count // limit] for place in range(limit))
    return replace(listing, records=chosen, notes=(*listing.notes, f"{limit} of {count} pictures are used"))


def key_of(dataset: str, stem: str) -> str:
    """A key without dots, for the first dot of a tar member ends the key."""
    return f"{dataset}/{stem.replace('.', '_')}"


def split_by_share(person: str, held_out: float) -> str:
    """A split by the name alone: `held_out` of all names are for test, as many for validation."""
    place = int.from_bytes(hashlib.sha256(person.encode()).digest()[:8], "big") / 2**64
    if place < held_out:
        return "test"
    return "validation" if place < 2 * held_out else "train"


def read_picture(url: str) -> bytes:
    """A picture's bytes. Raises RejectedSample when it is absent or empty."""
    try:
        data = storage.read_bytes(url)
    except FileNotFoundError:
        raise RejectedSample("the picture is absent") from None
    if not data:
        raise RejectedSample("the picture file is empty")
    return data


def first_existing(root: str, candidates: tuple[str, ...], what: str) -> str:
    """The first of the relative paths that exists below root. Raises UserError naming the expected ones."""
    for candidate in candidates:
        url = storage.join(root, candidate)
        if storage.exists(url):
            return url
    raise UserError(f"{root}: {what} not found; expected {' or '.join(candidates)}")


def stem_of(url: str) -> str:
    """The file name without its ending."""
    return storage.name_of(url).rsplit(".", 1)[0]
