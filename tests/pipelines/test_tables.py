"""Tables of rows."""

import subprocess
import sys
from pathlib import Path

import pytest

from facefill.errors import UserError
from pipelines import storage, tables

ROOT = Path(__file__).resolve().parents[2]
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


def test_a_flip_in_the_numbers_is_noticed(tmp_path):
    """Pages carry checksums: no other number is ever read than the one that was written."""
    path = tmp_path / "t.parquet"
    rows = [{"key": str(place), "numbers": [place / 7]} for place in range(500)]
    tables.write_table(str(path), rows, {"key": "string", "numbers": "list<float64>"})
    whole = path.read_bytes()
    for place in range(40, len(whole) // 2, len(whole) // 40):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            assert tables.read_table(str(path)) == rows
        except tables.Unreadable as error:
            assert "remove it and give the command" in str(error)
        else:
            raise AssertionError(f"a flip at {place} was not noticed")


def test_every_kind_and_what_is_absent():
    values = {
        "string": ["ä", "", "b"],
        "int64": [-(2**62), 0, 3],
        "float64": [0.1, float("inf"), -2.0],
        "float32": [0.5, 1.0, -2.0],
        "bool": [True, False, True],
        "list<string>": [["x", "yz"], [], ["ü"]],
        "list<int64>": [[1], [], [2, 3]],
        "list<float64>": [[0.1], [], [2.0, 3.0]],
    }
    assert set(values) == set(tables.COLUMN_KINDS)
    for kind, given in values.items():
        for column in (given, [None, *given], [None], []):
            table = tables.table_of_columns({"x": column}, {"x": kind})
            table.validate(full=True)
            assert tables.column(table, "x") == column
    with pytest.raises(TypeError):
        tables.table_of_columns({"x": [1.5]}, {"x": "int64"})


def test_tables_do_not_load_pandas(tmp_path):
    """In a process of its own: this one may have it already."""
    command = (
        "import sys; from pipelines import tables; "
        f"tables.write_table({str(tmp_path / 't.parquet')!r}, {ROWS!r}, {COLUMNS!r}); "
        f"tables.read_table({str(tmp_path / 't.parquet')!r}); sys.exit('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", command], cwd=ROOT).returncode == 0
