"""Tables of rows."""

import pytest

from facefill.errors import UserError
from pipelines import storage, tables

COLUMNS = {"key": "string", "count": "int64", "numbers": "list<float64>", "good": "bool"}
ROWS = [
    {"key": "a", "count": 2**40, "numbers": [1.5, 2.5], "good": True},
    {"key": "ü", "count": None, "numbers": [], "good": False},
]


def test_round_trip_and_same_bytes(tmp_path):
    first, second = str(tmp_path / "1.parquet"), str(tmp_path / "2.parquet")
    tables.write_table(first, ROWS, COLUMNS)
    tables.write_table(second, ROWS, COLUMNS)
    assert tables.read_table(first) == ROWS
    assert tables.read_table(first, ["key"]) == [{"key": "a"}, {"key": "ü"}]
    assert storage.sha256(first) == storage.sha256(second)


def test_no_rows(tmp_path):
    url = str(tmp_path / "empty.parquet")
    tables.write_table(url, [], COLUMNS)
    assert tables.read_table(url) == []


def test_kinds_are_taken_from_the_rows(tmp_path):
    url = str(tmp_path / "t.parquet")
    tables.write_table(url, [{"method": "ours", "psnr": 31.5}])
    assert tables.read_table(url) == [{"method": "ours", "psnr": 31.5}]


def test_what_is_no_table_is_named(tmp_path):
    (tmp_path / "t.parquet").write_text("<html>")
    with pytest.raises(UserError, match=r"t\.parquet"):
        tables.read_table(str(tmp_path / "t.parquet"))
