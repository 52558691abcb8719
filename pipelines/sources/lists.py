"""The text lists of the CelebA family: counted tables with a header, pairs without one, and their .csv twins.

Each function checks what it reads: a page saved by a failed download, a wrong count, missing columns, a
second row of one picture or a value that is no number ends with a UserError that names the file, the line and
what was expected. Lists are read line by line, and landmarks are kept as `records.packed` has them.
"""

import csv
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from facefill.errors import UserError
from pipelines import storage
from pipelines.sources.records import packed

FIVE_POINT_COLUMNS = tuple(
    f"{point}_{axis}"
    for point in ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
    for axis in ("x", "y")
)
BOX_COLUMNS = ("x_1", "y_1", "width", "height")

Lines = Iterator[tuple[int, str]]  # with their numbers, from 1


def read_five_points(url: str) -> dict[str, bytes]:
    """File name -> packed (5, 2) of list_landmarks_celeba or list_landmarks_align_celeba, .txt or .csv."""
    rows = _counted_rows(url, "rows of five landmarks", FIVE_POINT_COLUMNS)
    return {name: packed(values.reshape(5, 2)) for name, values in rows.items()}


def read_boxes(url: str) -> dict[str, tuple[float, ...]]:
    """File name -> (left, top, width, height) of list_bbox_celeba, .txt or .csv; some have no extent."""
    rows = _counted_rows(url, "rows of boxes", BOX_COLUMNS)
    return {name: tuple(values.tolist()) for name, values in rows.items()}


def read_68_points(url: str) -> dict[str, tuple[bytes, bool]]:
    """Picture -> (packed (68, 2), detected) of a csv with columns image_id, detected, x0, y0, ... x67, y67.

    detected 0 means that the points were guessed from a fixed box, 1 that a detector found the face.
    """
    lines = _lines(url, "a csv with 68 landmarks")
    columns = ("image_id", "detected", *(f"{axis}{point}" for point in range(68) for axis in "xy"))
    _expect(url, 1, next(lines)[1].split(","), columns)
    rows: dict[str, tuple[bytes, bool]] = {}
    for number, name, values in _numbers(url, lines, ",", 137):
        _refuse_second(url, number, name, rows)
        rows[name] = (packed(values[1:].reshape(68, 2)), bool(values[0] > 0))
    return rows


def read_pairs(url: str) -> dict[str, int]:
    """File name -> number, of identity_CelebA or list_eval_partition: .txt has no header, .csv has one."""
    lines = _lines(url, "rows of a file name and a number")
    is_csv = url.endswith(".csv")
    if is_csv:
        next(lines)
    rows: dict[str, int] = {}
    for number, name, values in _numbers(url, lines, "," if is_csv else None, 1):
        _refuse_second(url, number, name, rows)
        rows[name] = int(values[0])
    return rows


def read_mapping(url: str) -> dict[int, str]:
    """CelebA-HQ index -> CelebA file name, of CelebA-HQ-to-CelebA-mapping.txt with or without its header."""
    mapping: dict[int, str] = {}
    for number, line in _lines(url, "rows of idx, orig_idx, orig_file"):
        parts = line.split()
        if number == 1 and parts == ["idx", "orig_idx", "orig_file"]:
            continue
        if len(parts) != 3 or not parts[0].isdecimal() or not parts[1].isdecimal():
            raise UserError(f"{url}, line {number}: expected idx, orig_idx, orig_file, found {line[:60]!r}")
        _refuse_second(url, number, int(parts[0]), mapping)
        mapping[int(parts[0])] = parts[2]
    return mapping


def _counted_rows(url: str, expected: str, columns: tuple[str, ...]) -> dict[str, NDArray[np.float64]]:
    """File name -> numbers of a list with a header, which the .txt has below the number of rows."""
    lines = _lines(url, expected)
    first = next(lines)[1]
    rows: dict[str, NDArray[np.float64]] = {}
    if url.endswith(".csv"):
        _expect(url, 1, first.split(","), ("image_id", *columns))
        for number, name, values in _numbers(url, lines, ",", len(columns)):
            _refuse_second(url, number, name, rows)
            rows[name] = values
        return rows
    if not first.strip().isdecimal():
        raise UserError(f"{url}, line 1: expected the number of rows, found {first.strip()[:40]!r}")
    header = next(lines, (2, ""))[1].split()
    _expect(url, 2, header[1:] if header[:1] == ["image_id"] else header, columns)  # the boxes' list has it
    for number, name, values in _numbers(url, lines, None, len(columns)):
        _refuse_second(url, number, name, rows)
        rows[name] = values
    if len(rows) != int(first):
        raise UserError(
            f"{url}: line 1 announces {int(first)} rows, the file has {len(rows)}; download it again"
        )
    return rows


def _lines(url: str, expected: str) -> Lines:
    """The lines that are not blank. Raises UserError where there are none, and for a web page."""
    found = False
    try:
        with storage.open(url) as file:
            for number, data in enumerate(file, 1):
                line = data.decode("utf-8", "replace").lstrip("\ufeff").rstrip("\r\n")
                if not found and line.lstrip()[:1] == "<":
                    raise UserError(
                        f"{url}: this is a web page (a failed download?), not {expected}; download it again"
                    )
                if line.strip():
                    found = True
                    yield number, line
    except FileNotFoundError:
        raise UserError(f"{url}: no such file; expected {expected}") from None
    if not found:
        raise UserError(f"{url}: the file is empty; expected {expected}")


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


def _numbers(
    url: str, lines: Lines, separator: str | None, count: int
) -> Iterator[tuple[int, str, NDArray[np.float64]]]:
    """Line number, name and numbers; every line must have the name and exactly `count` finite numbers."""
    for number, line in lines:
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
        yield number, name.strip(), numbers


def _refuse_second(url: str, number: int, name: str | int, rows: dict) -> None:
    if name in rows:
        raise UserError(f"{url}, line {number}: a second row of {name}; remove one of the two")
