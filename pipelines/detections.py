"""68 landmarks for the pictures of a listing that come with none or five: detected on Ray, kept in tables.

`{folder}/000000.parquet` and on hold one row per picture that was looked at, `PART` rows each; together they
are one table. A picture with the same bytes, seen by the same detector, is taken from there.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from facefill.errors import UserError
from facefill.photographs import decode_photograph
from pipelines import jobs, storage, tables
from pipelines.detect import Detector, choose_face, choose_face_at
from pipelines.manifest import Rejected
from pipelines.sources.records import (
    Listing,
    RejectedSample,
    SourceRecord,
    SourceSample,
    packed,
    unpacked,
)

DETECTION_FORMAT = 1  # counts up when the same picture and detector give another row
PART = 256  # pictures per table and per work item
COLUMNS = {
    "key": "string",
    "sha256": "string",
    "detector": "string",
    "given": "int64",
    "points": "list<float64>",
    "score": "float64",
    "box": "list<float64>",
    "faces": "int64",
    "reason": "string",
    "note": "string",
}


@dataclass(frozen=True)
class Detection:
    """What was found in one picture.

    sha256 of the picture's bytes and of the points it brought; detector: name and version of what looked;
    given: how many points it brought, 0 or 5; points: the 68 as `packed`, b"" where no face was taken; box:
    left, top, right, bottom; faces: how many were seen; reason: why none was taken; note: a remark.
    """

    key: str
    sha256: str
    detector: str
    given: int
    points: bytes
    score: float
    box: tuple[float, ...]
    faces: int
    reason: str
    note: str


Found = Detection | Rejected | None  # None where a picture needs no detection


@dataclass(frozen=True, slots=True)
class DetectedRecord:
    """A record whose picture has no 68 landmarks of its own, with the detected ones."""

    record: SourceRecord
    points: bytes

    @property
    def key(self) -> str:
        """The record's."""
        return self.record.key

    @property
    def split(self) -> str:
        """The record's."""
        return self.record.split

    @property
    def identity(self) -> int:
        """The record's."""
        return self.record.identity

    @property
    def source(self) -> str:
        """The record's."""
        return self.record.source

    def load(self) -> SourceSample:
        """The record's sample with the detected landmarks. Raises RejectedSample."""
        return replace(self.record.load(), landmarks=unpacked(self.points))


@dataclass(frozen=True)
class _Work:
    """One part of the listing, and what is known of its pictures."""

    number: int
    records: tuple[SourceRecord, ...]
    known: Mapping[str, Detection]


def with_detected_landmarks(
    listing: Listing,
    folder: str,
    build_detector: Callable[[], Detector],
    detector: str,
    *,
    workers: int | None = None,
    on_progress: jobs.Progress | None = None,
) -> Listing:
    """The listing with 68 points for every picture that has none or five.

    Where no face is taken, a picture without points is rejected, one with five keeps them.

    folder: of the tables; build_detector: module-level or a partial of such, called once per worker;
    detector: its name, which decides what can be taken from the tables. workers=0: in this process. Raises
    UserError where the storage fails; a picture that is itself at fault is rejected with its reason.
    """
    known = read_detections(folder)
    work = []
    for number, start in enumerate(range(0, len(listing.records), PART)):
        records = listing.records[start : start + PART]
        of_these = {record.key: known[record.key] for record in records if record.key in known}
        work.append(_Work(number, records, of_these))

    found = jobs.run_actors(
        partial(_build, build_detector, folder, detector),
        work,
        label=f"detect {listing.dataset}",
        weights=[len(part.records) for part in work],
        workers=workers,
        on_progress=on_progress,
    )
    _remove_strays(folder, len(work))
    return _merge(listing, [detection for part in found for detection in part])


def read_detections(folder: str) -> dict[str, Detection]:
    """All rows of a dataset's tables by key; there may be none."""
    rows = {}
    for url in storage.list_files(folder, (".parquet",)):
        for row in tables.read_table(url):
            points = packed(np.reshape(row["points"], (-1, 2)) if row["points"] else None)
            rows[row["key"]] = Detection(**{**row, "points": points, "box": tuple(row["box"])})
    return rows


def _build(build_detector: Callable[[], Detector], folder: str, name: str) -> Callable[[_Work], list[Found]]:
    return partial(_detect_part, build_detector(), folder, name)


def _detect_part(detector: Detector, folder: str, name: str, work: _Work) -> list[Found]:
    """What was found in every picture; writes the part's table."""
    found = [_detect(detector, name, record, work.known.get(record.key)) for record in work.records]
    rows = [_as_row(detection) for detection in found if isinstance(detection, Detection)]
    tables.write_table(_table(folder, work.number), rows, COLUMNS)
    return found


def _detect(detector: Detector, name: str, record: SourceRecord, known: Detection | None) -> Found:
    try:
        source = record.load()
    except RejectedSample as reason:
        return Rejected(record.key, record.source, str(reason))
    five = source.landmarks
    if source.is_uv_texture or (five is not None and len(five) != 5):
        return None
    sha256 = hashlib.sha256(source.picture + packed(five)).hexdigest()
    if known is not None and (known.sha256, known.detector) == (sha256, name):
        return known
    try:
        image = decode_photograph(source.picture, storage.name_of(record.source))
    except UserError as error:
        return Rejected(record.key, record.source, str(error))
    faces = detector.faces(image)
    if five is None:
        choice = choose_face(faces, image.shape[1], image.shape[0])
    else:
        choice = choose_face_at(faces, five)
    face = choice.face
    return Detection(
        key=record.key,
        sha256=sha256,
        detector=name,
        given=0 if five is None else len(five),
        points=packed(None if face is None else face.points.round(2)),
        score=0.0 if face is None else round(face.score, 4),
        box=() if face is None else tuple(round(side, 2) for side in face.box),
        faces=choice.seen,
        reason=choice.reason,
        note=choice.note,
    )


def _as_row(detection: Detection) -> dict[str, Any]:
    points = unpacked(detection.points)
    flat = [] if points is None else points.ravel().round(2).tolist()
    return {**vars(detection), "points": flat, "box": list(detection.box)}


def _merge(listing: Listing, found: Sequence[Found]) -> Listing:
    records: list[Any] = []
    rejected = []
    left = []
    for record, detection in zip(listing.records, found, strict=True):
        if detection is None:
            records.append(record)
        elif isinstance(detection, Rejected):
            rejected.append(detection)
        elif detection.points:
            records.append(DetectedRecord(record, detection.points))
        elif detection.given:
            records.append(record)
            left.append(record.key)
        else:
            rejected.append(Rejected(record.key, record.source, detection.reason))
    detected = [detection for detection in found if isinstance(detection, Detection)]
    several = [detection.key for detection in detected if detection.note]
    found_in = sum(1 for detection in detected if detection.points)
    notes = [f"landmarks detected in {found_in} of {len(detected)} pictures"]
    if rejected:
        notes.append(f"{len(rejected)} are rejected, first {rejected[0].key}: {rejected[0].reason}")
    if left:
        notes.append(f"{len(left)} keep their five points, for no face was found there, first {left[0]}")
    if several:
        notes.append(f"{len(several)} show several faces of similar size, first {several[0]}")
    return replace(
        listing,
        records=tuple(records),
        rejected=(*listing.rejected, *rejected),
        notes=(*listing.notes, *notes),
    )


def _table(folder: str, number: int) -> str:
    return storage.join(folder, f"{number:06d}.parquet")


def _remove_strays(folder: str, count: int) -> None:
    """Tables of an earlier, longer listing."""
    there = {_table(folder, number) for number in range(count)}
    for url in storage.list_files(folder, (".parquet",)):
        if url not in there:
            storage.remove(url)
