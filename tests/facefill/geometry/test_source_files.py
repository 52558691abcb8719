"""Damaged and missing files are named, with what was expected."""

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from facefill.errors import UserError
from facefill.geometry.source_files import numbers, read_mat, require_file, vertex_ids

PAGE = b"\n<!DOCTYPE html><html><body>Please sign in</body></html>"


def test_a_missing_an_empty_and_a_web_page_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "model.mat"
    with pytest.raises(UserError, match=r"model\.mat is missing: expected the shape"):
        require_file(path, "the shape")
    path.write_bytes(b"")
    with pytest.raises(UserError, match=r"model\.mat is empty"):
        require_file(path, "the shape")
    path.write_bytes(PAGE)
    with pytest.raises(UserError, match=r"model\.mat is a web page, not the shape.*sign in"):
        read_mat(path, "the shape")


@pytest.mark.parametrize(
    "content", [b"\0" * 300, b"MATLAB 5.0 MAT-file" + b" " * 97 + b"\x00\x01IM" + b"\x0f" * 40]
)
def test_a_damaged_mat_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.mat"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"broken\.mat"):
        read_mat(path, "the shape")


def test_a_truncated_mat_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cut.mat"
    scipy.io.savemat(path, {"w": np.ones((100, 10))})
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(UserError, match=r"cut\.mat is no MATLAB file that can be read.*the shape"):
        read_mat(path, "the shape")


def test_fields_are_checked_by_name_shape_and_value() -> None:
    path = Path("model.mat")
    fields = {
        "__header__": b"",
        "w": np.ones((6, 2)),
        "bad": np.array([1.0, np.nan]),
        "text": np.array(["a"]),
    }
    assert numbers(fields, "w", (6, None), path).shape == (6, 2)
    assert numbers({"v": np.ones((1, 5))}, "v", (5,), path).shape == (5,)
    assert numbers({"v": np.ones((5, 1))}, "v", (5, None), path).shape == (5, 1)
    with pytest.raises(UserError, match=r"model\.mat: the field tri is missing; the file has bad, text, w"):
        numbers(fields, "tri", (3,), path)
    with pytest.raises(UserError, match="w is 6 x 2, expected 9 x any"):
        numbers(fields, "w", (9, None), path)
    with pytest.raises(UserError, match="bad holds NaN"):
        numbers(fields, "bad", (2,), path)
    with pytest.raises(UserError, match="text does not hold numbers"):
        numbers(fields, "text", (1,), path)


def test_vertex_ids_count_from_one() -> None:
    path = Path("model.mat")
    assert vertex_ids({"tri": np.array([[1, 4]])}, "tri", (2,), 4, path).tolist() == [0, 3]
    with pytest.raises(UserError, match="tri counts to 5, expected vertex numbers from 1 to 4"):
        vertex_ids({"tri": np.array([[1, 5]])}, "tri", (2,), 4, path)
    with pytest.raises(UserError, match="from 1 to 4"):
        vertex_ids({"tri": np.array([[0, 4]])}, "tri", (2,), 4, path)
