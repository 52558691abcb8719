"""The rows of a manifest: one per sample, read from Parquet a row group at a time.

A set of any size costs little more memory than its files' names; what is read often (the samples of a few
neighbouring shards) is kept. Small sets lie in one file, which is held as its compressed bytes.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, groupby
from typing import Any, overload

from pipelines import tables

ROW_COLUMNS = {
    "key": "string",
    "shard": "string",
    "index": "int64",
    "split": "string",
    "source": "string",
    "identity": "int64",
    "sha256": "string",
    "members": "list<string>",
    "offsets": "list<int64>",
    "sizes": "list<int64>",
    "similarity": "list<float64>",
    "landmarks": "int64",
    "has_parsing": "bool",
}
GROUP_ROWS = 2048  # at least, in whole shards: what is read at a time
GROUPS_KEPT = 24  # as many shards as a loader has open, and some


@dataclass(frozen=True, slots=True)
class Row:
    """One sample.

    shard: the tar's file name; index: its place in it; source: where it was read; identity: the person's
    number or -1; sha256 of all members' names and bytes; members: extensions, with the byte offset and size
    of each in the tar; similarity: the six numbers (row by row) that take source pixels to stored pixels;
    landmarks: 68, 5 or 0.
    """

    key: str
    shard: str
    index: int
    split: str
    source: str
    identity: int
    sha256: str
    members: tuple[str, ...]
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    similarity: tuple[float, ...]
    landmarks: int
    has_parsing: bool


@dataclass(frozen=True)
class RowFile:
    """One file of rows; split: of all of them, "" where they are of several."""

    file: tables.TableFile
    split: str
    count: int


class Rows(Sequence[Row]):
    """All rows of some files in order, or those in some ranges of them; equal to any sequence of equal rows.

    ranges: (start, stop) over the rows of all files, ascending.
    """

    def __init__(self, files: Sequence[RowFile], ranges: Sequence[tuple[int, int]] | None = None) -> None:
        self._files = tuple(files)
        self._ends = list(accumulate(file.count for file in files))
        total = self._ends[-1] if files else 0
        self._ranges = tuple(ranges) if ranges is not None else ((0, total),)
        self._range_ends = list(accumulate(stop - start for start, stop in self._ranges))

    def __len__(self) -> int:
        return self._range_ends[-1] if self._ranges else 0

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Row]: ...
    def __getitem__(self, place: int | slice) -> Row | Sequence[Row]:
        if isinstance(place, slice):
            return tuple(self[each] for each in range(*place.indices(len(self))))
        if place < 0:
            place += len(self)
        if not 0 <= place < len(self):
            raise IndexError(f"row {place} of {len(self)}")
        number = bisect_right(self._range_ends, place)
        place += self._ranges[number][1] - self._range_ends[number]
        number = bisect_right(self._ends, place)
        file = self._files[number]
        place += file.count - self._ends[number]
        ends = _group_ends(file.file)
        group = bisect_right(ends, place)
        return _kept_group(file.file, group)[place - ends[group]]  # from the group's end

    def __iter__(self) -> Iterator[Row]:
        for table in self._tables(None):
            yield from rows_of(table)

    def values(self, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """Some columns of all rows, in a fraction of the time that whole rows take; lists as lists."""
        for table in self._tables(names):
            yield from zip(*(tables.column(table, name) for name in names), strict=True)

    def _tables(self, names: Sequence[str] | None) -> Iterator[tables.Table]:
        for start, stop in self._ranges:
            for file, end in zip(self._files, self._ends, strict=True):
                first = end - file.count
                if start < end and first < stop:
                    yield from _between(file.file, max(start, first) - first, min(stop, end) - first, names)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    def __repr__(self) -> str:
        return f"Rows({len(self)} in {len(self._files)} files)"

    def splits(self) -> list[tuple[str, int, int]]:
        """(split, start, stop) of all runs of rows of one split."""
        runs = []
        for file, end in zip(self._files, self._ends, strict=True):
            start = end - file.count
            names = [(file.split, file.count)] if file.split else _split_runs(file.file)
            for split, count in names:
                runs.append((split, start, start + count))
                start += count
        return runs

    def shard_counts(self) -> list[tuple[str, int]]:
        """(tar, its rows) in order. All columns are read, so that a damaged file is noticed (UserError)."""
        names = (name for table in self._tables(None) for name in tables.column(table, "shard"))
        return [(shard, sum(1 for _ in same)) for shard, same in groupby(names)]

    def between(self, start: int, stop: int) -> "Rows":
        """Those from `start` to `stop` of all rows of the files."""
        return Rows(self._files, [(start, stop)])

    def of_split(self, split: str) -> "Rows":
        """Those of one split."""
        return Rows(self._files, [(start, stop) for name, start, stop in self.splits() if name == split])


def values_of(rows: Sequence[Row], names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Some fields of all rows."""
    if isinstance(rows, Rows):
        return rows.values(names)
    return (tuple(getattr(row, name) for name in names) for row in rows)


def table_of(rows: Iterable[Row]) -> tables.Table:
    """Rows as a table."""
    rows = list(rows)
    return tables.table_of_columns(
        {name: [getattr(row, name) for row in rows] for name in ROW_COLUMNS}, ROW_COLUMNS
    )


def rows_of(table: tables.Table) -> list[Row]:
    """A table's rows; equal strings and member lists are one object, for there are few of them."""
    columns = [tables.column(table, name) for name in ROW_COLUMNS]
    known: dict[Any, Any] = {}
    for place, name in enumerate(ROW_COLUMNS):
        if name in ("shard", "split"):
            columns[place] = [known.setdefault(value, value) for value in columns[place]]
        elif name == "members":
            tuples = (tuple(value) for value in columns[place])
            columns[place] = [known.setdefault(value, value) for value in tuples]
        elif ROW_COLUMNS[name].startswith("list"):
            columns[place] = [tuple(value) for value in columns[place]]
    return [Row(*values) for values in zip(*columns, strict=True)]


def _between(
    file: tables.TableFile, start: int, stop: int, names: Sequence[str] | None
) -> Iterator[tables.Table]:
    first = 0
    for group, end in enumerate(_group_ends(file)):
        if first < stop and start < end:
            yield file.group(group, names)[max(start - first, 0) : stop - first]
        first = end


def _split_runs(file: tables.TableFile) -> list[tuple[str, int]]:
    names = (
        name
        for group in range(len(file.group_sizes()))
        for name in tables.column(file.group(group, ["split"]), "split")
    )
    return [(split, sum(1 for _ in same)) for split, same in groupby(names)]


@lru_cache(256)
def _group_ends(file: tables.TableFile) -> list[int]:
    return list(accumulate(file.group_sizes()))


@lru_cache(GROUPS_KEPT)
def _kept_group(file: tables.TableFile, group: int) -> list[Row]:
    return rows_of(file.group(group))
