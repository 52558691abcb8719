"""300W-3D, 300W-LP and AFLW2000-3D: folders of .jpg with a .mat of the same name.

The files count pixels from 1 (MATLAB) and their camera has y up: column = X_x, row = height + 1 - X_y. Here
pixels count from 0 and the translation's y points down, so t_x becomes t_x - 1 and t_y becomes height - t_y.
The angles and the order Rx·Ry·Rz are ours already. Coefficients stay raw: they belong to the Basel model and
come multiplied by sigma.

300W-LP turns faces further: `AFW_134212_1_1` is a view of `AFW_134212_1_0`. Picture and parameters of such a
view are its own, but its pt2d is still that of the picture it was made from. Its own points are in
`landmarks/AFW/AFW_134212_1_1_pts.mat`; where that file is not there, the view has no landmarks.
"""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facefill.errors import UserError
from facefill.samples import NUM_EXPRESSION, NUM_IDENTITY
from pipelines import storage
from pipelines.manifest import UNKNOWN_IDENTITY, Rejected
from pipelines.sources.file_names import first_existing, has_suffix, key_of, pictures_in, stem_of
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
)

SUBSETS = ("AFW", "HELEN", "IBUG", "LFPW")
TEST_SUBSET = "AFLW2000"


@dataclass(frozen=True, slots=True)
class ThreeHundredWRecord:
    """One picture and its .mat. turned_from: the .mat of the view that it may have been turned from;
    own_points: its file of landmarks; each empty where there is none.
    """

    key: str
    split: str
    source: str
    annotation: str
    identity: int = UNKNOWN_IDENTITY
    turned_from: str = ""
    own_points: str = ""

    def load(self) -> SourceSample:
        """Read picture, landmarks and parameters. Raises RejectedSample that names the field."""
        from facefill.photographs import decode_photograph

        picture = read_picture(self.source)
        fields = _read_mat(self.annotation)
        try:
            height = decode_photograph(picture, storage.name_of(self.source)).shape[0]
        except UserError as error:
            raise RejectedSample(str(error)) from None
        landmarks, parameters = landmarks_of(fields), parameters_of(fields, height)
        if self.turned_from and np.array_equal(landmarks, landmarks_of(_read_mat(self.turned_from))):
            if not self.own_points:
                return SourceSample(picture, None, parameters=parameters)
            landmarks = _numbers(_read_mat(self.own_points), "pts_2d", (68, 2)) - 1
        return SourceSample(picture, landmarks, parameters=parameters)


def list_records(root: str, settings: SourceSettings) -> Listing:
    """Every picture with its .mat in the subset folders below root. Raises UserError when there is none.

    People are unknown here: `held_out` is a share of the photographs, and all views of one photograph share a
    split. AFLW2000, where it is present, is for test as a whole. The mirrored copies (`AFW_Flip` ...) are not
    read: training mirrors.
    """
    wanted = [*SUBSETS, TEST_SUBSET]
    records: list[ThreeHundredWRecord] = []
    rejected: list[Rejected] = []
    found, alone, pointless = [], [], []
    for subset in wanted:
        folder = storage.join(root, subset)
        pictures = pictures_in(folder, recursive=False)
        files = storage.list_files(folder, recursive=False)
        annotations = {stem_of(file): file for file in files if has_suffix(file, ".mat")}
        points = set(storage.list_files(storage.join(root, "landmarks", subset), "_pts.mat", recursive=False))
        found += [subset] if pictures else []
        alone += [annotations[stem] for stem in sorted(set(annotations) - set(map(stem_of, pictures)))]
        for picture in pictures:
            stem = stem_of(picture)
            # 300W-LP's names begin with the subset, 300W-3D's do not and could meet another subset's
            name = stem if stem.startswith(subset) else f"{subset}_{stem}"
            key = key_of(settings.dataset, name)
            if stem not in annotations:
                rejected.append(Rejected(key, picture, f"{stem}.mat is absent"))
                continue
            by_share = split_by_share(photograph_of(picture), settings.held_out)
            split = "test" if subset == TEST_SUBSET else by_share
            turned_from = annotations.get(unturned(stem), "")
            own_points = storage.join(root, "landmarks", subset, f"{stem}_pts.mat")
            own_points = own_points if own_points in points else ""
            pointless += [picture] if turned_from and not own_points else []
            records.append(
                ThreeHundredWRecord(
                    key, split, picture, annotations[stem], turned_from=turned_from, own_points=own_points
                )
            )
    if not found:
        raise UserError(
            f"{root}: no pictures found; expected folders {', '.join(wanted)} with .jpg and .mat files"
        )
    absent = [subset for subset in SUBSETS if subset not in found]
    notes = [f"{root}: read {', '.join(found)}" + (f"; absent: {', '.join(absent)}" if absent else "")]
    if alone:
        notes.append(f"{root}: {len(alone)} .mat files have no picture, first {storage.name_of(alone[0])}")
    if pointless:
        notes.append(
            f"{root}: {len(pointless)} turned views have no file in landmarks/; where their pt2d is another "
            f"view's they count as without landmarks, first {storage.name_of(pointless[0])}"
        )
    return finished(settings, root, records, rejected, notes)


def find_lists(root: str, _: SourceSettings) -> None:
    """Raise UserError unless one of the folders is there."""
    first_existing(root, (*SUBSETS, TEST_SUBSET), "pictures")


SOURCE = Source(list_records, find_lists=find_lists)


def photograph_of(picture: str) -> str:
    """The photograph a picture was made from: its name less the numbers of the face and the turned view."""
    return re.sub(r"(_\d{1,2})+$", "", stem_of(picture))


def unturned(stem: str) -> str:
    """The view that 300W-LP would have turned this one from; empty where it is that view itself."""
    name, _, number = stem.rpartition("_")
    return f"{name}_0" if number.isdigit() and int(number) > 0 else ""


def landmarks_of(fields: Mapping[str, Any]) -> NDArray[np.float64]:
    """(68, 2) 0-based pixels: pt3d_68's first two rows where it is there (AFLW2000-3D), else pt2d."""
    if "pt3d_68" in fields:
        points = _numbers(fields, "pt3d_68", (3, 68))[:2]
    else:
        points = _numbers(fields, "pt2d", (2, 68))
    return points.T - 1


def parameters_of(fields: Mapping[str, Any], height: int) -> NDArray[np.float64]:
    """(234,): raw shape, raw expression, scale, pitch, yaw, roll, translation (column, row), 0-based."""
    shape = _numbers(fields, "Shape_Para", (NUM_IDENTITY, 1)).ravel()
    expression = _numbers(fields, "Exp_Para", (NUM_EXPRESSION, 1)).ravel()
    pitch, yaw, roll, x, y, _, scale = _numbers(fields, "Pose_Para", (1, 7)).ravel()
    if scale <= 0:
        raise RejectedSample(f"Pose_Para: the scale is {scale:g}, expected a positive one")
    return np.array([*shape, *expression, scale, pitch, yaw, roll, x - 1, height - y])


def _read_mat(url: str) -> Mapping[str, Any]:
    import scipy.io

    data = read_file(url)
    if data.lstrip()[:1] == b"<":
        raise RejectedSample(f"{storage.name_of(url)} is a web page, not a .mat file: download it again")
    try:
        return scipy.io.loadmat(io.BytesIO(data))
    except Exception as error:  # scipy raises a dozen kinds for damaged files
        raise RejectedSample(f"{storage.name_of(url)} is not a .mat file that can be read: {error}") from None


def _numbers(fields: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    if name not in fields:
        raise RejectedSample(f"{name} is missing in the .mat file")
    try:
        values = np.asarray(fields[name], np.float64)
    except (TypeError, ValueError):
        raise RejectedSample(f"{name} does not hold numbers") from None
    if values.shape != shape:
        raise RejectedSample(f"{name} has shape {values.shape}, expected {shape}")
    if not np.isfinite(values).all():
        raise RejectedSample(f"{name} holds NaN or infinite values")
    return values
