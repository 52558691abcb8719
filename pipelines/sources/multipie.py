"""CMU Multi-PIE: 337 people, 15 cameras, 20 flashes; everything is told by the file name.

data/sessionSS/multiview/PPP/RR/CC_c/PPP_SS_RR_CCc_LL.png: person, session, recording, camera (folder 05_1 is
camera 051), illumination. What follows LL after an underscore is free (`_cropped`), and so are the folders.
The release has no landmarks. Nothing is trained on it: the official split is test for everybody.
"""

import re
from functools import partial
from typing import Literal

from facefill.errors import UserError
from pipelines.manifest import Rejected
from pipelines.sources.file_names import image_id, key_of, pictures_in, stem_of
from pipelines.sources.landmark_files import given_landmarks
from pipelines.sources.records import (
    Listing,
    Photograph,
    RejectedSample,
    Source,
    SourceSettings,
    finished,
    split_by_share,
)

Subset = Literal["all", "pose", "illumination"]
NAME = re.compile(r"(?P<person>\d{3})_\d\d_(?P<recording>\d\d)_(?P<camera>\d{3})_(?P<light>\d\d)(_.*)?")
# From the far left to the far right, 15 degrees apart; the two others, 081 and 191, look down from above.
CAMERAS = ("110", "120", "090", "080", "130", "140", "051", "050", "041", "190", "200", "010", "240")
YAW_OF_CAMERA = dict(zip(CAMERAS, range(-90, 91, 15), strict=True))
FRONTAL_CAMERA, FRONTAL_FLASH = "051", "07"
NEUTRAL_RECORDING = "01"  # the first of every session
RULES = {
    "all": "PPP_SS_RR_CCc_LL",
    "pose": "recording 01, illumination 07, the 13 cameras at the height of the head",
    "illumination": "recording 01, camera 051, illumination 00 to 19",
}


def list_records(root: str, settings: SourceSettings, subset: Subset) -> Listing:
    """Every picture of the subset below root. Raises UserError when there is none."""
    pictures = pictures_in(root)
    landmarks = given_landmarks(settings)
    records: list[Photograph] = []
    rejected: list[Rejected] = []
    left_out = 0
    for url in pictures:
        key = key_of(settings.dataset, stem_of(url))
        name = NAME.fullmatch(stem_of(url))
        if name is not None and not _belongs(name, subset):
            left_out += 1
            continue
        try:
            if name is None:
                raise RejectedSample("the file name is not PPP_SS_RR_CCc_LL, as Multi-PIE's are")
            points = b"" if landmarks is None else landmarks.of(image_id(root, url))
        except RejectedSample as reason:
            rejected.append(Rejected(key, url, str(reason)))
            continue
        person = name["person"]
        split = "test" if settings.split == "official" else split_by_share(person, settings.held_out)
        records.append(Photograph(key, split, url, int(person), points))
    if not records and not rejected:
        raise UserError(f"{root}: none of {len(pictures)} pictures belongs to {subset} ({RULES[subset]})")
    notes = (
        [f"{root}: {left_out} pictures are not of the subset {subset} ({RULES[subset]})"] if left_out else []
    )
    return finished(settings, root, records, rejected, notes)


USES = ("landmarks", "undetected", "identity")
ALL = Source(partial(list_records, subset="all"), USES)
POSE = Source(partial(list_records, subset="pose"), USES)
ILLUMINATION = Source(partial(list_records, subset="illumination"), USES)


def _belongs(name: re.Match[str], subset: Subset) -> bool:
    if subset == "all":
        return True
    if name["recording"] != NEUTRAL_RECORDING:
        return False
    if subset == "pose":
        return name["light"] == FRONTAL_FLASH and name["camera"] in YAW_OF_CAMERA
    return name["camera"] == FRONTAL_CAMERA and int(name["light"]) < 20
