"""CelebAMask-HQ: 1024 x 1024 pictures and their face parsing.

Pictures are CelebA-HQ-img/{i}.jpg; labels are one PNG per part, CelebAMask-HQ-mask-anno/{i //
2000}/{i:05d}_{part}.png, or one label map per picture, CelebAMask-HQ-mask/{i}.png. The mapping file leads to
CelebA's own file names, and with them to partition and identity. The pictures are aligned as released and
only need resizing; a plain folder of CelebA-HQ pictures named by CelebA file (012712.jpg, six digits) is
understood too.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from facefill.errors import UserError
from facefill.face_parsing import CELEBAMASK_PARTS, parsing_from_label_map, parsing_from_parts
from pipelines import storage
from pipelines.manifest import UNKNOWN_IDENTITY, Rejected
from pipelines.sources import celeba, lists
from pipelines.sources.records import (
    PICTURES,
    Listing,
    RejectedSample,
    SourceSample,
    Split,
    key_of,
    read_picture,
    split_by_share,
    stem_of,
)

PICTURE_FOLDER = "CelebA-HQ-img"
PARTS_FOLDER = "CelebAMask-HQ-mask-anno"
LABELS_FOLDER = "CelebAMask-HQ-mask"
MAPPING = "CelebA-HQ-to-CelebA-mapping.txt"
# The official partition is by CelebA file number.
FIRST_VALIDATION, FIRST_TEST = 162771, 182638


@dataclass(frozen=True)
class CelebaMaskHqOptions:
    """How to read CelebAMask-HQ.

    dataset: the name in keys and tars. celeba: CelebA's own folder for partition and identities; without it
    the official split follows from the file number. landmarks68: URL of a csv with 68 points in the released
    pictures' pixels, "" for none. undetected, split and held_out as for CelebA; by identity needs `celeba`.
    """

    dataset: str = "celebamask_hq"
    celeba: str = ""
    landmarks68: str = ""
    undetected: Literal["reject", "keep"] = "reject"
    split: Split = "official"
    held_out: float = 0.1


@dataclass(frozen=True)
class CelebaMaskHqRecord:
    """One picture; parts: (name, URL) of its part files; label_map: URL of its single label map, or ""."""

    key: str
    split: str
    identity: int
    source: str
    parts: tuple[tuple[str, str], ...]
    label_map: str
    landmarks: tuple[float, ...] = ()

    def load(self) -> SourceSample:
        """Read picture and labels. Raises RejectedSample."""
        parsing = None
        if self.parts:
            masks = {name: _read_png(url) > 127 for name, url in self.parts}
            if len({mask.shape for mask in masks.values()}) > 1:
                raise RejectedSample("its part files differ in size")
            parsing = parsing_from_parts(masks)
        elif self.label_map:
            parsing = parsing_from_label_map(_read_png(self.label_map))
        landmarks = np.reshape(self.landmarks, (-1, 2)) if self.landmarks else None
        return SourceSample(read_picture(self.source), landmarks, aligned=True, parsing=parsing)


def list_records(root: str, options: CelebaMaskHqOptions) -> Listing:
    """Every picture with its labels, split and identity. Raises UserError for a missing or wrong list."""
    pictures, by_celeba_file = _find_pictures(root)
    mapping = {} if by_celeba_file else _read_mapping(root)
    parts, label_maps = _find_parts(root), _find_label_maps(root)
    landmarks = lists.read_68_points(options.landmarks68) if options.landmarks68 else None
    partition = (
        celeba.read_partition(options.celeba) if options.celeba and options.split == "official" else None
    )
    identities = _read_identities(options)

    records: list[CelebaMaskHqRecord] = []
    rejected: list[Rejected] = []
    for url in pictures:
        stem = stem_of(url)
        key = key_of(options.dataset, stem)
        try:
            index, celeba_file = _names_of(stem, mapping, by_celeba_file)
            split = _split_of(celeba_file, partition, identities, options)
            points = _points_of(storage.name_of(url), landmarks, options.undetected)
        except RejectedSample as reason:
            rejected.append(Rejected(key, url, str(reason)))
            continue
        record = CelebaMaskHqRecord(
            key=key,
            split=split,
            identity=identities.get(celeba_file, UNKNOWN_IDENTITY),
            source=url,
            parts=tuple(parts.get(index, ())),
            label_map=label_maps.get(index, ""),
            landmarks=points,
        )
        records.append(record)
    unlabelled = sum(not record.parts and not record.label_map for record in records)
    notes = [f"{root}: {unlabelled} of {len(records)} pictures have no labels"] if unlabelled else []
    if lonely := (set(parts) | set(label_maps)) - {
        int(stem_of(url)) for url in pictures if stem_of(url).isdigit()
    }:
        notes.append(f"{root}: {len(lonely)} pictures have labels but are not there, first {min(lonely)}")
    return Listing(
        options.dataset, tuple(sorted(records, key=lambda r: r.key)), tuple(rejected), tuple(notes)
    )


def _find_pictures(root: str) -> tuple[list[str], bool]:
    """The pictures' URLs, and whether they are named by CelebA file instead of by CelebA-HQ index."""
    for folder in (storage.join(root, PICTURE_FOLDER), root):
        pictures = storage.list_files(folder, PICTURES, recursive=False)
        if pictures:
            stems = [stem_of(url) for url in pictures]
            return pictures, all(len(stem) == 6 and stem.isdigit() for stem in stems)
    raise UserError(f"{root}: no pictures found; expected {PICTURE_FOLDER}/0.jpg and on")


def _read_mapping(root: str) -> dict[int, str]:
    return lists.read_mapping(storage.join(root, MAPPING))


def _find_parts(root: str) -> dict[int, list[tuple[str, str]]]:
    """CelebA-HQ index -> (part, URL). Raises UserError for a file that is not {5 digits}_{part}.png."""
    parts: dict[int, list[tuple[str, str]]] = {}
    for url in storage.list_files(storage.join(root, PARTS_FOLDER), ".png"):
        number, _, part = stem_of(url).partition("_")
        if not number.isdigit() or part not in CELEBAMASK_PARTS[1:]:
            raise UserError(
                f"{url}: expected a name like 00000_skin.png with one of the 18 parts; remove or rename it"
            )
        parts.setdefault(int(number), []).append((part, url))
    return parts


def _find_label_maps(root: str) -> dict[int, str]:
    files = storage.list_files(storage.join(root, LABELS_FOLDER), ".png", recursive=False)
    return {int(stem_of(url)): url for url in files if stem_of(url).isdigit()}


def _read_identities(options: CelebaMaskHqOptions) -> dict[str, int]:
    if options.celeba:
        return celeba.read_identities(options.celeba)
    if options.split == "identity":
        raise UserError("split by identity needs CelebA's identity_CelebA.txt: give CelebA's own folder")
    return {}


def _names_of(stem: str, mapping: dict[int, str], by_celeba_file: bool) -> tuple[int, str]:
    """(CelebA-HQ index or -1, CelebA file name) of a picture."""
    if by_celeba_file:
        return -1, f"{stem}.jpg"
    if not stem.isdigit() or int(stem) not in mapping:
        raise RejectedSample(f"no row in {MAPPING}")
    return int(stem), mapping[int(stem)]


def _split_of(
    celeba_file: str,
    partition: dict[str, str] | None,
    identities: dict[str, int],
    options: CelebaMaskHqOptions,
) -> str:
    if options.split == "identity":
        if celeba_file not in identities:
            raise RejectedSample(f"{celeba_file} has no row in identity_CelebA")
        return split_by_share(str(identities[celeba_file]), options.held_out)
    if partition is not None:
        if celeba_file not in partition:
            raise RejectedSample(f"{celeba_file} has no row in list_eval_partition")
        return partition[celeba_file]
    number = stem_of(celeba_file)
    if not number.isdigit():
        raise RejectedSample(f"{celeba_file} is no CelebA file name")
    if int(number) >= FIRST_TEST:
        return "test"
    return "validation" if int(number) >= FIRST_VALIDATION else "train"


def _points_of(
    name: str,
    landmarks: dict[str, tuple[NDArray[np.float64], bool]] | None,
    undetected: Literal["reject", "keep"],
) -> tuple[float, ...]:
    if landmarks is None:
        return ()
    if name not in landmarks:
        raise RejectedSample("no row in the list of 68 landmarks")
    points, detected = landmarks[name]
    if not detected and undetected == "reject":
        raise RejectedSample("no face was detected (detected = 0)")
    return tuple(points.ravel().tolist())


def _read_png(url: str) -> NDArray[np.uint8]:
    """A grey or palette PNG's own values (H, W): Pillow, for OpenCV would turn a palette into colours."""
    import io

    from PIL import Image

    try:
        image = Image.open(io.BytesIO(storage.read_bytes(url)))
        values = np.array(image if image.mode in ("P", "L") else image.convert("L"))
    except FileNotFoundError:
        raise RejectedSample(f"{storage.name_of(url)} is absent") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise RejectedSample(f"{storage.name_of(url)} is not a PNG that can be read: {error}") from None
    return values
