"""What every reader of a data set takes and gives: settings in, a listing of records that load anywhere out.

Reading has two steps. Listing looks at the annotation files and file names only: a wrong file ends the
command (UserError), a picture without its row is listed as rejected. Loading reads one picture on whatever
worker has the record: what is wrong with that picture alone raises `RejectedSample`, and the job goes on.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from facefill.errors import UserError
from pipelines import storage
from pipelines.manifest import UNKNOWN_IDENTITY, Rejected
from pipelines.sources.file_names import is_unicode

Split = Literal["official", "identity"]


class RejectedSample(ValueError):
    """One picture cannot be used; the message is the reason that goes to `rejected.parquet`."""


@dataclass(frozen=True)
class SourceSample:
    """One picture as it was released.

    picture: the file's bytes; landmarks (68, 2) or (5, 2) pixels of the upright picture, 0-based, or None
    where nobody has looked for them yet; aligned: the picture already is a CelebA-HQ face that needs at most
    resizing; parsing (H, W) uint8 classes in the picture's frame at any resolution, or None; parameters
    (234,) with the camera in the picture's pixels, or None (`samples.PARAMETERS`); is_uv_texture: the picture
    is no photograph but a face's unwrapped skin, in a layout of its own.
    """

    picture: bytes
    landmarks: NDArray[np.float64] | None
    aligned: bool = False
    parsing: NDArray[np.uint8] | None = None
    parameters: NDArray[np.float64] | None = None
    is_uv_texture: bool = False


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


@dataclass(frozen=True, slots=True)
class Photograph:
    """A record for pictures with nothing else to read; landmarks as `packed`, b"" for none."""

    key: str
    split: str
    source: str
    identity: int = UNKNOWN_IDENTITY
    landmarks: bytes = b""

    def load(self) -> SourceSample:
        """Read the picture. Raises RejectedSample."""
        return SourceSample(read_picture(self.source), unpacked(self.landmarks))


@dataclass(frozen=True)
class Listing:
    """A data set as found: records sorted by key, what is rejected already, and remarks for the user."""

    dataset: str
    records: tuple[Any, ...]  # SourceRecord
    rejected: tuple[Rejected, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class SourceSettings:
    """How to read a data set; what a source has no use for keeps its default.

    dataset: the name in keys and tars. landmarks: URL of a csv with 68 points per picture, "" for none;
    undetected: what to do with its rows of detected = 0. split: the official partition, or by identity,
    where `held_out` is the share of people (of files, where people are unknown) for test and for validation
    each. celeba: CelebA's own folder, for data sets made from it.
    """

    dataset: str
    landmarks: str = ""
    undetected: Literal["reject", "keep"] = "reject"
    split: Split = "official"
    held_out: float = 0.1
    celeba: str = ""


@dataclass(frozen=True)
class Source:
    """One kind of data set, as the table of sources has it.

    list_records: (root, settings) -> every picture; raises UserError. uses: which of landmarks, undetected,
    celeba and identity (`split: identity`) it has a use for; the others are refused by name. photographs:
    False where there is nothing that could be fitted. find_lists: (root, settings), raises UserError where a
    folder or list below root is not there that list_records needs, without reading any; None for a source
    that needs none.
    """

    list_records: Callable[[str, SourceSettings], Listing]
    uses: tuple[str, ...] = ()
    photographs: bool = True
    find_lists: Callable[[str, SourceSettings], None] | None = None


def finished(
    settings: SourceSettings,
    root: str,
    records: Iterable[SourceRecord],
    rejected: Iterable[Rejected],
    notes: Sequence[str] = (),
) -> Listing:
    """The listing of what a source found, sorted by key.

    Pictures that share a key are all rejected, for nobody can say which is meant, and so are file names that
    are not Unicode, for no table can hold them.
    """
    by_key: dict[str, list[SourceRecord]] = defaultdict(list)
    for record in records:
        by_key[record.key].append(record)
    kept, refused = [], list(rejected)
    for key, same in by_key.items():
        if len(same) > 1:
            names = " and ".join(storage.name_of(record.source) for record in same[:2])
            reason = f"{len(same)} pictures have this key ({names}); rename all but one"
            refused += [Rejected(key, record.source, reason) for record in same]
        elif not is_unicode(same[0].source):
            refused.append(Rejected(key, same[0].source, "the file name is not Unicode; rename it"))
        else:
            kept.append(same[0])
    refused = sorted((printable(entry) for entry in refused), key=lambda entry: (entry.key, entry.source))
    remarks = list(notes)
    if refused:
        first = refused[0]
        remarks.append(f"{root}: {len(refused)} pictures are rejected, first {first.key}: {first.reason}")
    return Listing(settings.dataset, tuple(sorted(kept, key=lambda r: r.key)), tuple(refused), tuple(remarks))


def limited(listing: Listing, limit: int | None) -> Listing:
    """At most `limit` records, spread evenly over the sorted listing so that every split keeps its share."""
    count = len(listing.records)
    if limit is None or limit >= count:
        return listing
    chosen = tuple(listing.records[place * count // limit] for place in range(limit))
    return replace(listing, records=chosen, notes=(*listing.notes, f"{limit} of {count} pictures are used"))


def printable(entry: Rejected) -> Rejected:
    """The same with a source that can be stored."""
    return replace(entry, source=entry.source.encode("utf-8", "backslashreplace").decode())


def packed(points: NDArray[np.floating] | None) -> bytes:
    """Landmarks (N, 2) as float32 bytes, an eighth of what a tuple of floats takes; b"" for None."""
    return b"" if points is None else np.ascontiguousarray(points, "<f4").tobytes()


def unpacked(landmarks: bytes) -> NDArray[np.float64] | None:
    """What `packed` was given, (N, 2), or None for b""."""
    return np.frombuffer(landmarks, "<f4").reshape(-1, 2).astype(np.float64) if landmarks else None


def split_by_share(person: str, held_out: float) -> str:
    """A split by the name alone: `held_out` of all names are for test, as many for validation."""
    share = place_of(person)
    if share < held_out:
        return "test"
    return "validation" if share < 2 * held_out else "train"


def place_of(person: str) -> float:
    """A place from 0 to 1 that a name is drawn to, the same on every machine."""
    place = int.from_bytes(hashlib.sha256(person.encode("utf-8", "surrogateescape")).digest()[:8], "big")
    return place / 2**64


def read_picture(url: str) -> bytes:
    """A picture's bytes. Raises RejectedSample when it is absent or empty, UserError as `read_file`."""
    data = read_file(url, "the picture")
    if not data:
        raise RejectedSample("the picture file is empty")
    return data


def read_file(url: str, what: str = "") -> bytes:
    """The bytes of one picture's file. Raises RejectedSample when it is absent; a file that is there and
    cannot be had is nobody's to leave out: UserError where it is refused, and where the storage fails.
    """
    try:
        return storage.read_bytes(url)
    except FileNotFoundError:
        raise RejectedSample(f"{what or storage.name_of(url)} is absent") from None
    except OSError as error:
        raise UserError(
            f"{url}: not readable here ({error.strerror or error}); permit it or take the file away, then "
            "give the same command again"
        ) from error
