"""Read the files of licensed face models; what is wrong with them is said in one line that names the file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facefill.errors import UserError


def require_file(path: Path, expected: str) -> Path:
    """The path, when a file that can be a model file lies there.

    Raises UserError when it is missing, a folder, empty, or a web page that was saved in the file's place.
    `expected` says what the file holds and where it is had.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder: expected {expected}")
    if not path.is_file():
        raise UserError(f"{path} is missing: expected {expected}")
    with path.open("rb") as stream:
        start = stream.read(512).lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start:
        raise UserError(f"{path} is empty: expected {expected}; download it again")
    if start[:1] == b"<":
        raise UserError(
            f"{path} is a web page, not {expected}: the download did not succeed; "
            "sign in, accept the licence and download the file itself"
        )
    return path


def find_file(folder: Path, names: tuple[str, ...]) -> Path | None:
    """The first of several names that lies in a folder."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


def read_mat(path: Path, expected: str) -> dict[str, Any]:
    """The fields of a MATLAB file. Raises UserError when the file is missing or damaged."""
    import scipy.io

    require_file(path, expected)
    try:
        return scipy.io.loadmat(path)
    except NotImplementedError:
        raise UserError(
            f"{path} was saved as MATLAB 7.3, which is not read: save it again with `save -v7`"
        ) from None
    except Exception as error:  # scipy raises a dozen kinds for damaged files
        raise UserError(
            f"{path} is no MATLAB file that can be read ({error}): expected {expected}; download it again"
        ) from None


def numbers(
    fields: Mapping[str, Any], name: str, shape: tuple[int | None, ...], path: Path
) -> NDArray[np.float64]:
    """A field of finite numbers; `shape` after dropping axes of length 1, None for any length.

    Raises UserError that names file and field: missing, not numbers, another shape, NaN or infinite.
    """
    if name not in fields:
        present = ", ".join(sorted(key for key in fields if not key.startswith("__")))
        raise UserError(f"{path}: the field {name} is missing; the file has {present or 'none'}")
    try:
        values = np.asarray(fields[name], dtype=np.float64)
    except (TypeError, ValueError):
        raise UserError(f"{path}: {name} does not hold numbers") from None
    # a vector may come as row or column, a matrix of one row or column may not lose its second axis
    values = values.reshape([length for length in values.shape if length != 1] or [1])
    if values.ndim < len(shape):
        values = values.reshape([*values.shape, *[1] * (len(shape) - values.ndim)])
    fits = values.ndim == len(shape) and all(
        want is None or want == have for want, have in zip(shape, values.shape, strict=True)
    )
    if not fits:
        wanted = " x ".join("any" if length is None else str(length) for length in shape)
        found = " x ".join(str(length) for length in values.shape)
        raise UserError(f"{path}: {name} is {found}, expected {wanted}")
    check_finite(values, name, path)
    return values


def vertex_ids(
    fields: Mapping[str, Any], name: str, shape: tuple[int | None, ...], vertex_count: int, path: Path
) -> NDArray[np.int64]:
    """A field of vertex ids that count from 1, as MATLAB does; returned counting from 0."""
    ids = numbers(fields, name, shape, path).astype(np.int64) - 1
    if ids.min() < 0 or ids.max() >= vertex_count:
        raise UserError(
            f"{path}: {name} counts to {ids.max() + 1}, expected vertex numbers from 1 to {vertex_count}"
        )
    return ids


def check_finite(values: NDArray[np.floating], what: str, path: Path) -> None:
    """Raise UserError when an array read from `path` holds NaN or infinite values."""
    if not np.isfinite(values).all():
        raise UserError(f"{path}: {what} holds NaN or infinite values; the file is damaged")
