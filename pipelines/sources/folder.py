"""A plain folder of photographs, at any depth, with landmarks where somebody has found them.

Landmarks are looked for beside each picture (NAME.pts, NAME.txt, detections/NAME.txt) and in the root's own
.csv and .xml files with `landmarks` in their names; a csv in the settings replaces all of these. A picture
without any is listed without any. Folders `train`, `validation` and `test` in the root decide the split, else
the picture's own name does.
"""

from dataclasses import dataclass

from facefill.errors import UserError
from pipelines import storage
from pipelines.manifest import SPLITS, UNKNOWN_IDENTITY, Rejected
from pipelines.sources import lists
from pipelines.sources.file_names import PICTURES, has_suffix, image_id, key_of, pictures_in
from pipelines.sources.landmark_files import LandmarkList, given_landmarks, read_beside, read_dlib_xml
from pipelines.sources.records import (
    Listing,
    RejectedSample,
    Source,
    SourceSample,
    SourceSettings,
    finished,
    read_picture,
    split_by_share,
    unpacked,
)


@dataclass(frozen=True, slots=True)
class FolderRecord:
    """One photograph; landmarks as `packed`, or annotation: URL of its own landmark file, or neither."""

    key: str
    split: str
    source: str
    landmarks: bytes = b""
    annotation: str = ""
    identity: int = UNKNOWN_IDENTITY

    def load(self) -> SourceSample:
        """Read picture and landmarks. Raises RejectedSample."""
        points = read_beside(self.annotation) if self.annotation else unpacked(self.landmarks)
        return SourceSample(read_picture(self.source), points)


def list_records(root: str, settings: SourceSettings) -> Listing:
    """Every picture below root. Raises UserError when there is none, and for a wrong list of landmarks."""
    pictures = pictures_in(root)
    if not pictures:
        raise UserError(f"{root}: no pictures in this folder; expected files {', '.join(PICTURES)}")
    names = {image_id(root, url) for url in pictures}
    given = given_landmarks(settings)
    others = [url for url in storage.list_files(root) if not has_suffix(url, PICTURES)]
    many, notes = ([given], []) if given else _landmark_lists(root, others, settings)
    beside = {} if given else _beside(root, others)

    records: list[FolderRecord] = []
    rejected: list[Rejected] = []
    for url in pictures:
        name = image_id(root, url)
        stem = name.rsplit(".", 1)[0]
        key = key_of(settings.dataset, stem.replace("/", "-"))
        claims = [entry for entry in many if entry is given or name in entry.rows]
        files = beside.pop(stem, [])
        try:
            if len(claims) + len(files) > 1:
                both = " and ".join(map(storage.name_of, [*(entry.url for entry in claims), *files][:2]))
                raise RejectedSample(f"its landmarks are in {both}; keep one of them")
            points = claims[0].of(name) if claims else b""
        except RejectedSample as reason:
            rejected.append(Rejected(key, url, str(reason)))
            continue
        top = name.split("/", 1)[0] if "/" in name else ""
        split = top if top in SPLITS else split_by_share(stem, settings.held_out)
        records.append(FolderRecord(key, split, url, points, files[0] if files else ""))
    if alone := [file for files in beside.values() for file in files if not _may_be_text(file)]:
        notes.append(
            f"{root}: {len(alone)} files of landmarks have no picture, first {image_id(root, alone[0])}"
        )
    for entry in many:
        if absent := sorted(set(entry.rows) - names):
            notes.append(
                f"{entry.url}: {len(absent)} rows name pictures that are not there, first {absent[0]}"
            )
    if bare := [record for record in records if not record.landmarks and not record.annotation]:
        notes.append(f"{root}: {len(bare)} pictures have no landmarks yet, first {bare[0].key}")
    return finished(settings, root, records, rejected, notes)


SOURCE = Source(list_records, ("landmarks", "undetected"))


def _landmark_lists(
    root: str, files: list[str], settings: SourceSettings
) -> tuple[list[LandmarkList], list[str]]:
    """The root's own files about many pictures, and remarks on them."""
    found, notes = [], []
    for url in files:
        name = image_id(root, url)
        if "/" in name or "landmarks" not in name.lower():
            continue
        if has_suffix(url, ".csv"):
            found.append(LandmarkList(url, lists.read_68_points(url), settings.undetected == "keep"))
        elif has_suffix(url, ".xml"):
            faces, several = read_dlib_xml(url)
            found.append(LandmarkList(url, {name: (points, True) for name, points in faces.items()}))
            if several:
                notes.append(
                    f"{url}: {several} pictures have several faces; the one of the largest box is used"
                )
    return found, notes


def _may_be_text(url: str) -> bool:
    """Whether a lonely .txt is as likely a README as a picture's landmarks."""
    return has_suffix(url, ".txt") and "/detections/" not in url


def _beside(root: str, files: list[str]) -> dict[str, list[str]]:
    """Path of a picture without its ending -> files of that name with landmarks."""
    beside: dict[str, list[str]] = {}
    for url in files:
        if has_suffix(url, (".pts", ".txt")):
            stem = image_id(root, url).rsplit(".", 1)[0]
            folder, _, name = stem.rpartition("/")
            if folder == "detections" or folder.endswith("/detections"):
                stem = "/".join(filter(None, [folder.removesuffix("detections").rstrip("/"), name]))
            beside.setdefault(stem, []).append(url)
    return beside
