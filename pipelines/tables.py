"""Tables of rows as Parquet files, the only place that knows pyarrow's tables.

The same rows give the same bytes, so a table can be compared by its checksum.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

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


def write_table(
    url: str, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str] | None = None
) -> None:
    """Write rows as one Parquet file, atomically.

    `columns` maps a name to one of COLUMN_KINDS and must be given where there may be no rows; without it the
    kinds are taken from the rows.
    """
    import pyarrow
    import pyarrow.parquet

    schema = (
        None if columns is None else pyarrow.schema([(name, _kind(kind)) for name, kind in columns.items()])
    )
    table = pyarrow.Table.from_pylist([dict(row) for row in rows], schema=schema)
    stream = io.BytesIO()
    pyarrow.parquet.write_table(table, stream, compression="zstd", row_group_size=1 << 16)
    storage.write_bytes(url, stream.getvalue())


def read_table(url: str, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The rows of a Parquet file; with `columns`, only those. Raises UserError for a file that is not one."""
    import pyarrow
    import pyarrow.parquet

    data = storage.read_bytes(url)
    try:
        table = pyarrow.parquet.read_table(
            io.BytesIO(data), columns=None if columns is None else list(columns)
        )
    except pyarrow.ArrowInvalid as error:
        raise UserError(f"{url}: not a table that can be read ({error}); make it again") from None
    return table.to_pylist()


def _kind(kind: str) -> Any:
    import pyarrow

    if kind not in COLUMN_KINDS:
        raise ValueError(f"column kind {kind!r}: expected one of {COLUMN_KINDS}")
    if kind.startswith("list<"):
        return pyarrow.list_(_kind(kind[5:-1]))
    return pyarrow.bool_() if kind == "bool" else getattr(pyarrow, kind)()
