"""CelebAMask-HQ: 1024 x 1024 pictures and their face parsing.

Pictures are CelebA-HQ-img/{i}.jpg; labels are one PNG per part, CelebAMask-HQ-mask-anno/{i //
2000}/{i:05d}_{part}.png, or one label map per picture, CelebAMask-HQ-mask/{i}.png; where both are, the parts
count. The mapping file leads to CelebA's own file names, and with them to partition and identity. The
pictures are aligned as released and only need resizing; a plain folder of CelebA-HQ pictures named by CelebA
file (012712.jpg, six digits) is understood too.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facefill.errors import UserError
from facefill.face_parsing import CELEBAMASK_PARTS, parsing_from_label_map, parsing_from_parts
from pipelines import storage
from pipelines.manifest import UNKNOWN_IDENTITY, Rejected
from pipelines.sources import celeba, lists
from pipelines.sources.file_names import has_suffix, key_of, pictures_in, stem_of
from pipelines.sources.landmark_files import given_landmarks
from pipelines.sources.records import (
    Listing,
    RejectedSample,
    Source,
    SourceSample,
    SourceSettings,
    finished,
    read_file,
    read_picture,
    split_by_share,
    unpacked,
)

PICTURE_FOLDER = "CelebA-HQ-img"
PARTS_FOLDER = "CelebAMask-HQ-mask-anno"
LABELS_FOLDER = "CelebAMask-HQ-mask"
MAPPING = "CelebA-HQ-to-CelebA-mapping.txt"
# The official partition is by CelebA file number.
FIRST_VALIDATION, FIRST_TEST = 162771, 182638
NEEDS_CELEBA = "split by identity needs CelebA's identity_CelebA.txt: give CelebA's own folder"


@dataclass(frozen=True, slots=True)
class CelebaMaskHqRecord:
    """One picture; parts: (name, URL) of its part files; label_map: URL of its single label map, or ""."""

    key: str
    split: str
    identity: int
    source: str
    parts: tuple[tuple[str, str], ...]
    label_map: str
    landmarks: bytes = b""

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
        picture = read_picture(self.source)
        return SourceSample(picture, unpacked(self.landmarks), aligned=True, parsing=parsing)


def list_records(root: str, settings: SourceSettings) -> Listing:
    """Every picture with its labels, split and identity. Raises UserError for a missing or wrong list."""
    pictures, by_celeba_file = _find_pictures(root)
    mapping = {} if by_celeba_file else lists.read_mapping(storage.join(root, MAPPING))
    parts, label_maps = _find_parts(root), _find_label_maps(root)
    landmarks = given_landmarks(settings)
    by_partition = settings.celeba and settings.split == "official"
    partition = celeba.read_partition(settings.celeba) if by_partition else None
    identities = _read_identities(settings)

    records: list[CelebaMaskHqRecord] = []
    rejected: list[Rejected] = []
    for url in pictures:
        stem = stem_of(url)
        key = key_of(settings.dataset, stem)
        try:
            index, celeba_file = _names_of(stem, mapping, by_celeba_file)
            split = split_of(celeba_file, partition, identities, settings)
            points = b"" if landmarks is None else landmarks.of(storage.name_of(url))
        except RejectedSample as reason:
            rejected.append(Rejected(key, url, str(reason)))
            continue
        record = CelebaMaskHqRecord(
            key=key,
            split=split,
            identity=identities.get(celeba_file, UNKNOWN_IDENTITY),
            source=url,
            parts=tuple(sorted(parts.get(index, {}).items())),
            label_map=label_maps.get(index, ""),
            landmarks=points,
        )
        records.append(record)
    unlabelled = sum(not record.parts and not record.label_map for record in records)
    notes = [f"{root}: {unlabelled} of {len(records)} pictures have no labels"] if unlabelled else []
    if lonely := (set(parts) | set(label_maps)) - {
        int(stem_of(url)) for url in pictures if stem_of(url).isdecimal()
    }:
        notes.append(f"{root}: {len(lonely)} pictures have labels but are not there, first {min(lonely)}")
    return finished(settings, root, records, rejected, notes)


def find_lists(_: str, settings: SourceSettings) -> None:
    """Raise UserError unless CelebA's own lists are there that the settings need."""
    if settings.celeba:
        celeba.find_identities(settings.celeba)
    if settings.celeba and settings.split == "official":
        celeba.find_partition(settings.celeba)
    if settings.split == "identity" and not settings.celeba:
        raise UserError(NEEDS_CELEBA)


SOURCE = Source(list_records, ("landmarks", "undetected", "celeba", "identity"), find_lists=find_lists)


def _find_pictures(root: str) -> tuple[list[str], bool]:
    """The pictures' URLs, and whether they are named by CelebA file instead of by CelebA-HQ index."""
    for folder in (storage.join(root, PICTURE_FOLDER), root):
        pictures = pictures_in(folder, recursive=False)
        if pictures:
            stems = [stem_of(url) for url in pictures]
            return pictures, all(len(stem) == 6 and stem.isdecimal() for stem in stems)
    raise UserError(f"{root}: no pictures found; expected {PICTURE_FOLDER}/0.jpg and on")


def _find_parts(root: str) -> dict[int, dict[str, str]]:
    """CelebA-HQ index -> part -> URL. Raises UserError for a file that is not {5 digits}_{part}.png."""
    parts: dict[int, dict[str, str]] = {}
    for url in storage.list_files(storage.join(root, PARTS_FOLDER)):
        if not has_suffix(url, ".png"):
            continue
        number, _, part = stem_of(url).partition("_")
        if not number.isdecimal() or part not in CELEBAMASK_PARTS[1:]:
            raise UserError(
                f"{url}: expected a name like 00000_skin.png with one of the 18 parts; remove or rename it"
            )
        other = parts.setdefault(int(number), {}).setdefault(part, url)
        if other != url:
            raise UserError(f"{url}: the same part as {other}; remove one of the two")
    return parts


def _find_label_maps(root: str) -> dict[int, str]:
    files = storage.list_files(storage.join(root, LABELS_FOLDER), recursive=False)
    pngs = [url for url in files if has_suffix(url, ".png")]
    for url in pngs:
        if not stem_of(url).isdecimal():
            raise UserError(f"{url}: expected a name like 0.png, the picture's number; remove or rename it")
    return {int(stem_of(url)): url for url in pngs}


def _read_identities(settings: SourceSettings) -> dict[str, int]:
    if settings.celeba:
        return celeba.read_identities(settings.celeba)
    if settings.split == "identity":
        raise UserError(NEEDS_CELEBA)
    return {}


def _names_of(stem: str, mapping: dict[int, str], by_celeba_file: bool) -> tuple[int, str]:
    """(CelebA-HQ index or -1, CelebA file name) of a picture."""
    if by_celeba_file:
        return -1, f"{stem}.jpg"
    if not stem.isdecimal() or int(stem) not in mapping:
        raise RejectedSample(f"no row in {MAPPING}")
    return int(stem), mapping[int(stem)]


def split_of(
    celeba_file: str,
    partition: dict[str, str] | None,
    identities: dict[str, int],
    settings: SourceSettings,
) -> str:
    """The split of a picture made from CelebA's; without its partition the number decides as it would.

    Raises RejectedSample.
    """
    if settings.split == "identity":
        if celeba_file not in identities:
            raise RejectedSample(f"{celeba_file} has no row in identity_CelebA")
        return split_by_share(str(identities[celeba_file]), settings.held_out)
    if partition is not None:
        if celeba_file not in partition:
            raise RejectedSample(f"{celeba_file} has no row in list_eval_partition")
        return partition[celeba_file]
    number = stem_of(celeba_file)
    if not number.isdecimal():
        raise RejectedSample(f"{celeba_file} is no CelebA file name")
    if int(number) >= FIRST_TEST:
        return "test"
    return "validation" if int(number) >= FIRST_VALIDATION else "train"


def _read_png(url: str) -> NDArray[np.uint8]:
    """A grey or palette PNG's own values (H, W): Pillow, for OpenCV would turn a palette into colours."""
    import io

    from PIL import Image

    data = read_file(url)
    try:
        image = Image.open(io.BytesIO(data))
        values = np.array(image if image.mode in ("P", "L") else image.convert("L"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RejectedSample(f"{storage.name_of(url)} is not a PNG that can be read: {error}") from None
    return values
