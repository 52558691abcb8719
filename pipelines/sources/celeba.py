"""CelebA in its released layout, in both variants.

`in_the_wild` is Img/img_celeba with list_landmarks_celeba and list_bbox_celeba, `aligned` is
Img/img_align_celeba (178 x 218) with list_landmarks_align_celeba; lists lie in Anno/ and Eval/, or beside the
pictures' folder. A csv with 68 landmarks per picture, in the variant's own pixels, may replace the five
points; in the wild its points must lie in the box of the face that the data set means.
"""

from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from facefill.errors import UserError
from pipelines import storage
from pipelines.manifest import SPLITS, UNKNOWN_IDENTITY, Rejected
from pipelines.sources import lists
from pipelines.sources.file_names import find_first, first_existing, key_of, pictures_in, stem_of
from pipelines.sources.landmark_files import LandmarkList, given_landmarks
from pipelines.sources.records import (
    Listing,
    Photograph,
    RejectedSample,
    Source,
    SourceSettings,
    finished,
    split_by_share,
    unpacked,
)

Variant = Literal["in_the_wild", "aligned"]
PICTURE_FOLDER = {"in_the_wild": "img_celeba", "aligned": "img_align_celeba"}
LANDMARK_LIST = {"in_the_wild": "list_landmarks_celeba", "aligned": "list_landmarks_align_celeba"}


def list_records(root: str, settings: SourceSettings, variant: Variant = "in_the_wild") -> Listing:
    """Every picture of the variant's folder. Raises UserError for a missing or wrong list."""
    folder = _find_pictures(root, variant)
    pictures = pictures_in(folder)
    if not pictures:
        raise UserError(f"{folder}: no pictures in this folder; expected 000001.jpg and on")
    landmarks = given_landmarks(settings) or _official_landmarks(root, variant)
    boxes = _read_boxes(root) if variant == "in_the_wild" else {}
    identities = _read_identities(root, required=settings.split == "identity")
    partition = read_partition(root) if settings.split == "official" else None

    records: list[Photograph] = []
    rejected: list[Rejected] = []
    for url in pictures:
        name, key = storage.name_of(url), key_of(settings.dataset, stem_of(url))
        try:
            points = landmarks.of(name)
            if settings.landmarks and name in boxes:
                _check_inside(unpacked(points), boxes[name])
            split = _split_of(name, identities, partition, settings.held_out)
        except RejectedSample as reason:
            rejected.append(Rejected(key, url, str(reason)))
            continue
        identity = identities.get(name, UNKNOWN_IDENTITY)
        records.append(Photograph(key, split, url, identity, points))
    notes = []
    if absent := sorted(set(landmarks.rows) - {storage.name_of(url) for url in pictures}):
        notes.append(
            f"{landmarks.url}: {len(absent)} rows name pictures that are not there, first {absent[0]}"
        )
    return finished(settings, folder, records, rejected, notes)


def find_lists(root: str, settings: SourceSettings, variant: Variant = "in_the_wild") -> None:
    """Raise UserError unless the pictures' folder and the lists that the settings need are there."""
    _find_pictures(root, variant)
    if not settings.landmarks:
        _find_landmarks(root, variant)
    find_people_or_partition(root, settings)


def find_people_or_partition(root: str, settings: SourceSettings) -> None:
    """Raise UserError unless the list is there that decides the split."""
    if settings.split == "identity":
        find_identities(root)
    else:
        find_partition(root)


USES = ("landmarks", "undetected", "identity")
IN_THE_WILD = Source(list_records, USES, find_lists=find_lists)
ALIGNED = Source(
    partial(list_records, variant="aligned"), USES, find_lists=partial(find_lists, variant="aligned")
)


def find_partition(root: str) -> str:
    """The URL of list_eval_partition. Raises UserError."""
    return first_existing(root, _places("list_eval_partition", ("Eval", "Anno")), "the official partition")


def read_partition(root: str) -> dict[str, str]:
    """File name -> split, of list_eval_partition. Raises UserError for a number other than 0, 1 or 2."""
    url = find_partition(root)
    partition = lists.read_pairs(url)
    for name, number in partition.items():
        if number not in (0, 1, 2):
            raise UserError(
                f"{url}: {name} has partition {number}; expected 0 (train), 1 (validation) or 2 (test)"
            )
    return {name: SPLITS[number] for name, number in partition.items()}


def find_identities(root: str) -> str:
    """The URL of identity_CelebA. Raises UserError."""
    return first_existing(root, IDENTITIES, "the identities")


def read_identities(root: str) -> dict[str, int]:
    """File name -> the person's number, of identity_CelebA."""
    return lists.read_pairs(find_identities(root))


def _places(name: str, folders: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(
        f"{folder}{name}{ending}"
        for folder in (*(f"{f}/" for f in folders), "")
        for ending in (".txt", ".csv")
    )


IDENTITIES = _places("identity_CelebA", ("Anno",))


def _read_identities(root: str, required: bool) -> dict[str, int]:
    """Without the list the samples have no identity, nothing more, unless it is required."""
    if not required and find_first(root, IDENTITIES) is None:
        return {}
    return read_identities(root)


def _find_pictures(root: str, variant: Variant) -> str:
    name = PICTURE_FOLDER[variant]
    return first_existing(root, (f"Img/{name}", name), f"CelebA's pictures ({variant})")


def _find_landmarks(root: str, variant: Variant) -> str:
    return first_existing(root, _places(LANDMARK_LIST[variant], ("Anno",)), "the landmarks")


def _official_landmarks(root: str, variant: Variant) -> LandmarkList:
    url = _find_landmarks(root, variant)
    return LandmarkList(url, {name: (points, True) for name, points in lists.read_five_points(url).items()})


def _read_boxes(root: str) -> dict[str, tuple[float, ...]]:
    """File name -> (left, top, width, height); empty without the list, and less the boxes of no extent."""
    url = find_first(root, _places("list_bbox_celeba", ("Anno",)))
    if url is None:  # they only say which of several faces is meant
        return {}
    return {name: box for name, box in lists.read_boxes(url).items() if box[2] > 0 and box[3] > 0}


def _check_inside(points: NDArray[np.float64] | None, box: tuple[float, ...]) -> None:
    column, row = np.mean(np.asarray(points), 0)
    left, top, width, height = box
    if not (left <= column <= left + width and top <= row <= top + height):
        raise RejectedSample("its landmarks lie outside the box in list_bbox_celeba: another face's")


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
