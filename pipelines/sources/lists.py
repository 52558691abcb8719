"""The text lists of the CelebA family: counted tables with a header, pairs without one, and their .csv twins.

Each function checks what it reads: a page saved by a failed download, a wrong count, missing columns, a
second row of one picture or a value that is no number ends with a UserError that names the file, the line and
what was expected.
"""

import csv

import numpy as np
from numpy.typing import NDArray

from facefill.errors import UserError
from pipelines import storage

FIVE_POINT_COLUMNS = tuple(
    f"{point}_{axis}"
    for point in ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
    for axis in ("x", "y")
)
BOX_COLUMNS = ("x_1", "y_1", "width", "height")


def read_five_points(url: str) -> dict[str, NDArray[np.float64]]:
    """File name -> (5, 2) of list_landmarks_celeba or list_landmarks_align_celeba, .txt or .csv."""
    rows = _counted_rows(url, "rows of five landmarks", FIVE_POINT_COLUMNS)
    return {name: np.reshape(values, (5, 2)) for name, values in rows.items()}


def read_boxes(url: str) -> dict[str, tuple[float, ...]]:
    """File name -> (left, top, width, height) of list_bbox_celeba, .txt or .csv; some have no extent."""
    rows = _counted_rows(url, "rows of boxes", BOX_COLUMNS)
    return {name: tuple(values.tolist()) for name, values in rows.items()}


def read_68_points(url: str) -> dict[str, tuple[NDArray[np.float64], bool]]:
    """File name -> ((68, 2), detected) of a csv with columns image_id, detected, x0, y0, ... x67, y67.

    detected 0 means that the points were guessed from a fixed box, 1 that a detector found the face.
    """
    lines = _lines(url, "a csv with 68 landmarks")
    columns = ("image_id", "detected", *(f"{axis}{point}" for point in range(68) for axis in "xy"))
    _expect(url, 1, lines[0].split(","), columns)
    rows = _number_rows(url, lines[1:], 2, ",", 137)
    return {name: (np.reshape(values[1:], (68, 2)), values[0] > 0) for name, values in rows.items()}


def read_pairs(url: str) -> dict[str, int]:
    """File name -> number, of identity_CelebA or list_eval_partition: .txt has no header, .csv has one."""
    lines = _lines(url, "rows of a file name and a number")
    is_csv = url.endswith(".csv")
    rows = _number_rows(url, lines[1:] if is_csv else lines, 2 if is_csv else 1, "," if is_csv else None, 1)
    return {name: int(values[0]) for name, values in rows.items()}


def read_mapping(url: str) -> dict[int, str]:
    """CelebA-HQ index -> CelebA file name, of CelebA-HQ-to-CelebA-mapping.txt with or without its header."""
    lines = _lines(url, "rows of idx, orig_idx, orig_file")
    start = 1 if lines[0].split() == ["idx", "orig_idx", "orig_file"] else 0
    mapping: dict[int, str] = {}
    for number, line in enumerate(lines[start:], start + 1):
        parts = line.split()
        if len(parts) != 3 or not parts[0].isdigit() or not parts[1].isdigit():
            raise UserError(f"{url}, line {number}: expected idx, orig_idx, orig_file, found {line[:60]!r}")
        if int(parts[0]) in mapping:
            raise UserError(
                f"{url}, line {number}: a second row of picture {parts[0]}; remove one of the two"
            )
        mapping[int(parts[0])] = parts[2]
    return mapping


def _counted_rows(url: str, expected: str, columns: tuple[str, ...]) -> dict[str, NDArray[np.float64]]:
    """File name -> numbers of a list with a header, which the .txt has below the number of rows."""
    lines = _lines(url, expected)
    if url.endswith(".csv"):
        _expect(url, 1, lines[0].split(","), ("image_id", *columns))
        return _number_rows(url, lines[1:], 2, ",", len(columns))
    count = lines[0].strip()
    if not count.isdigit():
        raise UserError(f"{url}, line 1: expected the number of rows, found {count[:40]!r}")
    header = lines[1].split() if len(lines) > 1 else []
    _expect(url, 2, header[1:] if header[:1] == ["image_id"] else header, columns)  # the boxes' list has it
    rows = _number_rows(url, lines[2:], 3, None, len(columns))
    if len(rows) != int(count):
        raise UserError(f"{url}: line 1 announces {count} rows, the file has {len(rows)}; download it again")
    return rows


def _lines(url: str, expected: str) -> list[str]:
    try:
        text = storage.read_text(url)
    except FileNotFoundError:
        raise UserError(f"{url}: no such file; expected {expected}") from None
    if text.lstrip("\ufeff \t\r\n")[:1] == "<":
        raise UserError(f"{url}: this is a web page (a failed download?), not {expected}; download it again")
    lines = [line for line in text.lstrip("\ufeff").splitlines() if line.strip()]
    if not lines:
        raise UserError(f"{url}: the file is empty; expected {expected}")
    return lines


def _expect(url: str, line: int, found: list[str], columns: tuple[str, ...]) -> None:
    found = [column.strip() for column in found]
    missing = [column for column in columns if column not in found]
    if missing:
        lacking = ", ".join(missing[:4])
        raise UserError(
            f"{url}, line {line}: missing columns {lacking}; expected {' '.join(columns[:5])} ..."
        )
    if tuple(found) != columns:
        raise UserError(f"{url}, line {line}: columns in another order; expected {' '.join(columns[:5])} ...")


def _number_rows(
    url: str, lines: list[str], first_line: int, separator: str | None, count: int
) -> dict[str, NDArray[np.float64]]:
    """Name -> numbers; every line must have the name and exactly `count` finite numbers."""
    rows: dict[str, NDArray[np.float64]] = {}
    for number, line in enumerate(lines, first_line):
        # names with commas are quoted
        name, *values = next(csv.reader([line])) if '"' in line else line.split(separator)
        try:
            numbers = np.array([float(value) for value in values])
        except ValueError:
            raise UserError(
                f"{url}, line {number}: expected numbers after {name!r}, found {line[:60]!r}"
            ) from None
        if len(numbers) != count or not np.isfinite(numbers).all():
            raise UserError(
                f"{url}, line {number}: expected a name and {count} numbers, found {len(numbers)}"
            )
        if name.strip() in rows:
            raise UserError(f"{url}, line {number}: a second row of {name.strip()}; remove one of the two")
        rows[name.strip()] = numbers
    return rows
