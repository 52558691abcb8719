"""CelebA in its released layout, in both variants.

`in_the_wild` is Img/img_celeba with list_landmarks_celeba, `aligned` is Img/img_align_celeba (178 x 218) with
list_landmarks_align_celeba; lists lie in Anno/ and Eval/, or beside the pictures' folder.
A csv with 68 landmarks per picture, in the variant's own pixels, may replace the five points.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from facefill.errors import UserError
from pipelines import storage
from pipelines.manifest import SPLITS, UNKNOWN_IDENTITY, Rejected
from pipelines.sources import lists
from pipelines.sources.records import (
    PICTURES,
    Listing,
    RejectedSample,
    SourceSample,
    Split,
    first_existing,
    key_of,
    read_picture,
    split_by_share,
    stem_of,
)

Variant = Literal["in_the_wild", "aligned"]
PICTURE_FOLDER = {"in_the_wild": "img_celeba", "aligned": "img_align_celeba"}
LANDMARK_LIST = {"in_the_wild": "list_landmarks_celeba", "aligned": "list_landmarks_align_celeba"}


@dataclass(frozen=True)
class CelebaOptions:
    """How to read CelebA.

    dataset: the name in keys and tars. landmarks68: URL of the csv, "" for the official five points.
    undetected: what to do with its rows of detected = 0. split: the official partition, or by identity, where
    `held_out` is the share of identities for test and for validation each.
    """

    dataset: str = "celeba"
    variant: Variant = "in_the_wild"
    landmarks68: str = ""
    undetected: Literal["reject", "keep"] = "reject"
    split: Split = "official"
    held_out: float = 0.1


@dataclass(frozen=True)
class CelebaRecord:
    """One picture with its landmarks, row after row x0, y0, x1, ..."""

    key: str
    split: str
    identity: int
    source: str
    landmarks: tuple[float, ...]

    def load(self) -> SourceSample:
        """Read the picture. Raises RejectedSample."""
        return SourceSample(read_picture(self.source), np.reshape(self.landmarks, (-1, 2)))


def list_records(root: str, options: CelebaOptions) -> Listing:
    """Every picture of the variant's folder. Raises UserError for a missing or wrong list."""
    folder_name = PICTURE_FOLDER[options.variant]
    folder = first_existing(
        root, (f"Img/{folder_name}", folder_name), f"CelebA's pictures ({options.variant})"
    )
    pictures = {storage.name_of(url): url for url in storage.list_files(folder, PICTURES)}
    if not pictures:
        raise UserError(f"{folder}: no pictures in this folder; expected 000001.jpg and on")
    landmarks, landmark_list = _read_landmarks(root, options)
    identities = _read_identities(root, required=options.split == "identity")
    partition = read_partition(root) if options.split == "official" else None

    records: list[CelebaRecord] = []
    rejected: list[Rejected] = []
    for name, url in sorted(pictures.items()):
        key = key_of(options.dataset, stem_of(url))
        try:
            points = _points_of(name, landmarks, landmark_list, options.undetected)
            split = _split_of(name, identities, partition, options.held_out)
        except RejectedSample as reason:
            rejected.append(Rejected(key, url, str(reason)))
            continue
        identity = identities.get(name, UNKNOWN_IDENTITY)
        records.append(CelebaRecord(key, split, identity, url, tuple(points.ravel().tolist())))
    notes = []
    if absent := sorted(set(landmarks) - set(pictures)):
        notes.append(
            f"{landmark_list}: {len(absent)} rows name pictures that are not there, first {absent[0]}"
        )
    if rejected:
        first = rejected[0]
        notes.append(f"{folder}: {len(rejected)} pictures are rejected, first {first.key}: {first.reason}")
    return Listing(
        options.dataset, tuple(sorted(records, key=lambda r: r.key)), tuple(rejected), tuple(notes)
    )


def read_partition(root: str) -> dict[str, str]:
    """File name -> split, of list_eval_partition. Raises UserError for a number other than 0, 1 or 2."""
    url = first_existing(root, _places("list_eval_partition", ("Eval", "Anno")), "the official partition")
    partition = lists.read_pairs(url)
    for name, number in partition.items():
        if number not in (0, 1, 2):
            raise UserError(
                f"{url}: {name} has partition {number}; expected 0 (train), 1 (validation) or 2 (test)"
            )
    return {name: SPLITS[number] for name, number in partition.items()}


def read_identities(root: str) -> dict[str, int]:
    """File name -> the person's number, of identity_CelebA."""
    return lists.read_pairs(first_existing(root, _places("identity_CelebA", ("Anno",)), "the identities"))


def _places(name: str, folders: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(
        f"{folder}{name}{ending}"
        for folder in (*(f"{f}/" for f in folders), "")
        for ending in (".txt", ".csv")
    )


def _read_identities(root: str, required: bool) -> dict[str, int]:
    if required:
        return read_identities(root)
    try:
        url = first_existing(root, _places("identity_CelebA", ("Anno",)), "the identities")
    except UserError:  # without them the samples have no identity, nothing more
        return {}
    return lists.read_pairs(url)


def _read_landmarks(
    root: str, options: CelebaOptions
) -> tuple[dict[str, tuple[NDArray[np.float64], bool]], str]:
    """File name -> (points, detected), and the list's URL for messages."""
    if options.landmarks68:
        return lists.read_68_points(options.landmarks68), options.landmarks68
    url = first_existing(root, _places(LANDMARK_LIST[options.variant], ("Anno",)), "the landmarks")
    return {name: (points, True) for name, points in lists.read_five_points(url).items()}, url


def _points_of(
    name: str,
    landmarks: dict[str, tuple[NDArray[np.float64], bool]],
    landmark_list: str,
    undetected: Literal["reject", "keep"],
) -> NDArray[np.float64]:
    if name not in landmarks:
        raise RejectedSample(f"no row in {storage.name_of(landmark_list)}")
    points, detected = landmarks[name]
    if not detected and undetected == "reject":
        raise RejectedSample(f"no face was detected (detected = 0 in {storage.name_of(landmark_list)})")
    return points


def _split_of(
    name: str, identities: dict[str, int], partition: dict[str, str] | None, held_out: float
) -> str:
    if partition is not None:
        if name not in partition:
            raise RejectedSample("no row in list_eval_partition")
        return partition[name]
    if name not in identities:
        raise RejectedSample("no row in identity_CelebA")
    return split_by_share(str(identities[name]), held_out)
