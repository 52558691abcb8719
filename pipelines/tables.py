"""Tables of rows as Parquet files, the only place that knows pyarrow's tables.

The same rows give the same bytes, so a table can be compared by its checksum.
"""

import io
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from facefill.errors import UserError
from pipelines import storage

COLUMN_KINDS = (
    "string",
    "int64",
    "float64",
    "float32",
    "bool",
    "list<string>",
    "list<int64>",
    "list<float64>",
)
NUMBER_CODES = {"int64": "q", "float64": "d", "float32": "f"}
COMPRESSION = "zstd"
NOTE = b"facefill"  # the key of a file's own remark among Parquet's
Table = Any  # a pyarrow.Table
T = TypeVar("T")


class Unreadable(UserError):
    """A file that is absent or damaged, and can be made again."""


class TableFile:
    """One Parquet file that is read a row group at a time, told by its URL and what is held of it.

    data: its bytes; None: they are read where they lie, remote ones from a copy on this machine, which
    supposes that nobody writes the file again. Raises Unreadable for a file that is no table.
    """

    def __init__(self, url: str, data: bytes | None = None) -> None:
        self.url, self.data = url, data
        self._footer: Any = None
        self._path: Path | None = None

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_footer": None, "_path": None}  # another machine has its own copy

    def group_sizes(self) -> list[int]:
        """Rows of each row group."""
        footer = self._opened(lambda file: file.metadata)
        return [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]

    def names(self) -> list[str]:
        """Names of the columns."""
        return self._opened(lambda file: list(file.schema_arrow.names))

    def note(self) -> str:
        """What `as_bytes` was given to note. Raises Unreadable where there is nothing."""
        notes = self._opened(lambda file: file.metadata).metadata or {}
        if NOTE not in notes:
            raise Unreadable(f"{self.url}: the table has no remark")
        return notes[NOTE].decode("utf-8", "replace")

    def group(self, number: int, names: Sequence[str] | None = None) -> Table:
        """One row group; with `names`, of those columns alone."""
        return self._opened(lambda file: file.read_row_group(number, names, use_threads=False))

    def all(self) -> Table:
        """The whole table."""
        return self._opened(lambda file: file.read(use_threads=False))

    def _opened(self, read: Callable[[Any], T]) -> T:
        import pyarrow
        import pyarrow.parquet

        if self.data is None and self._path is None:
            self._path = storage.local_copy(self.url)
        source = self._path if self.data is None else io.BytesIO(self.data)
        try:
            with pyarrow.parquet.ParquetFile(
                source, metadata=self._footer, page_checksum_verification=True
            ) as file:
                self._footer = file.metadata
                return read(file)
        except (pyarrow.ArrowException, OSError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise _unreadable(self.url, error) from None


def write_table(
    url: str, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str] | None = None
) -> None:
    """Write rows as one Parquet file, atomically.

    `columns` maps a name to one of COLUMN_KINDS and must be given where there may be no rows; without it the
    kinds are taken from the rows.
    """
    storage.write_bytes(url, rows_as_bytes(rows, columns))


def rows_as_bytes(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str] | None = None) -> bytes:
    """What `write_table` writes."""
    import pyarrow
    import pyarrow.parquet

    with_dictionary: list[str] | bool = True
    if columns is None:
        table = pyarrow.Table.from_pylist([dict(row) for row in rows])
    else:
        # numbers hardly ever come twice: a dictionary of them takes a quarter more on disk, and 11 MB to make
        others = [name for name, kind in columns.items() if "float" not in kind]
        with_dictionary = True if len(others) == len(columns) else others
        table = table_of_columns({name: [row.get(name) for row in rows] for name in columns}, columns)
    stream = io.BytesIO()
    pyarrow.parquet.write_table(
        table,
        stream,
        compression=COMPRESSION,
        row_group_size=1 << 16,
        write_page_checksum=True,
        use_dictionary=with_dictionary,
    )
    return stream.getvalue()


def read_table(url: str, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The rows of a Parquet file; with `columns`, only those. Raises Unreadable for a file that is not one,
    or whose pages are not what their checksums say.
    """
    import pyarrow
    import pyarrow.parquet

    data = storage.read_bytes(url)
    wanted = None if columns is None else list(columns)
    try:
        # pyarrow.parquet.read_table would load pandas: 45 MB in every worker
        with pyarrow.parquet.ParquetFile(io.BytesIO(data), page_checksum_verification=True) as file:
            return file.read(wanted, use_threads=False).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise _unreadable(url, error) from None


def as_bytes(groups: Iterable[Table], columns: Mapping[str, str], note: str | None = None) -> bytes:
    """A Parquet file with one row group per table, checksums within, and a remark of one's own."""
    import pyarrow.parquet

    stream = io.BytesIO()
    with pyarrow.parquet.ParquetWriter(
        stream, _schema(columns), compression=COMPRESSION, write_page_checksum=True
    ) as writer:
        for table in groups:
            writer.write_table(table, row_group_size=max(1, len(table)))
        if note is not None:
            writer.add_key_value_metadata({NOTE: note.encode()})
    return stream.getvalue()


def table_of_columns(values: Mapping[str, Sequence[Any]], columns: Mapping[str, str]) -> Table:
    """Columns of equal length as a table of the given kinds."""
    import pyarrow

    arrays = [_array(values[name], kind) for name, kind in columns.items()]
    return pyarrow.Table.from_arrays(arrays, schema=_schema(columns))


def column(table: Table, name: str) -> list[Any]:
    """The values of one column."""
    return table[name].to_pylist()


def joined(parts: Sequence[Table]) -> Table:
    """Tables of the same columns, one behind the other."""
    import pyarrow

    return pyarrow.concat_tables(parts).combine_chunks()


def _unreadable(url: str, error: Exception) -> Unreadable:
    return Unreadable(
        f"{url}: not a table that can be read ({error}); remove it and give the command that made it again"
    )


def _array(values: Sequence[Any], kind: str) -> Any:
    """The values, None among them, as an Arrow array of one of COLUMN_KINDS.

    It is put together from its buffers: as soon as pyarrow is given a list it loads pandas, 45 MB in every
    worker. Raises TypeError for values of another kind.
    """
    import pyarrow

    absent = [value is None for value in values]
    buffers = [_bits([not none for none in absent]) if any(absent) else None]
    children = []
    if kind.startswith("list<"):
        buffers.append(_ends(values))
        children.append(_array([item for value in values for item in value or ()], kind[5:-1]))
    elif kind == "string":
        encoded = [b"" if value is None else value.encode() for value in values]
        buffers += [_ends(encoded), pyarrow.py_buffer(b"".join(encoded))]
    elif kind == "bool":
        buffers.append(_bits(values))
    else:
        numbers = array(NUMBER_CODES[kind], [0 if value is None else value for value in values])
        buffers.append(pyarrow.py_buffer(numbers))
    return pyarrow.Array.from_buffers(_kind(kind), len(values), buffers, children=children)


def _ends(values: Sequence[Any]) -> Any:
    """Where each value begins in the values laid end to end, and the end of all."""
    import pyarrow

    return pyarrow.py_buffer(array("i", accumulate((len(value or ()) for value in values), initial=0)))


def _bits(values: Sequence[Any]) -> Any:
    """One bit per value, as Arrow has them."""
    import pyarrow

    return pyarrow.py_buffer(np.packbits(np.array(values, bool), bitorder="little"))


def _schema(columns: Mapping[str, str]) -> Any:
    import pyarrow

    return pyarrow.schema([(name, _kind(kind)) for name, kind in columns.items()])


def _kind(kind: str) -> Any:
    import pyarrow

    if kind not in COLUMN_KINDS:
        raise ValueError(f"column kind {kind!r}: expected one of {COLUMN_KINDS}")
    if kind.startswith("list<"):
        return pyarrow.list_(_kind(kind[5:-1]))
    return pyarrow.bool_() if kind == "bool" else getattr(pyarrow, kind)()
