"""The manifest of a shard set: which samples exist, where in which tar they lie, where they came from.

A set is a folder: `{dataset}-{split}-{000000}.tar` ..., `manifest.parquet` (one row per sample),
`rejected.parquet`, `index.json` (the layout that webdataset's `wids` reads) and `config.json` (the exact
settings). A shard exists when the manifest says so; the manifest is written last.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from facefill.errors import UserError
from pipelines import storage, tables

SPLITS = ("train", "validation", "test")
UNKNOWN_IDENTITY = -1

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
REJECTED_COLUMNS = {"key": "string", "source": "string", "reason": "string"}


@dataclass(frozen=True)
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
class Rejected:
    """One source picture that did not become a sample, and why."""

    key: str
    source: str
    reason: str


@dataclass(frozen=True)
class ShardFile:
    """One tar of the set, as `wids` wants to know it; sha256 is the checksum that is read back fastest, "" in
    sets of before it was kept.
    """

    url: str
    md5sum: str
    nsamples: int
    filesize: int
    sha256: str = ""


@dataclass(frozen=True)
class Manifest:
    """The samples of one shard set in stored order, the tars they lie in, what was rejected, the settings."""

    folder: str
    dataset: str
    rows: tuple[Row, ...]
    shards: tuple[ShardFile, ...]
    rejected: tuple[Rejected, ...]
    config: Mapping[str, Any]

    def digest(self) -> str:
        """A checksum of what training can see: every sample's key, tar, split, person and bytes, in order.

        Neither where the set lies nor where and by which settings it was made takes part: the same bytes
        from another root have the same digest.
        """
        samples = [(row.key, row.shard, row.split, row.identity, row.sha256) for row in self.rows]
        content = [self.dataset, samples]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def of_split(self, split: str) -> tuple[Row, ...]:
        """The rows of a split; there may be none."""
        return tuple(row for row in self.rows if row.split == split)

    def counts(self) -> dict[str, int]:
        """Samples per split."""
        return dict(Counter(row.split for row in self.rows))

    def shard_url(self, row: Row) -> str:
        """Where the tar of a row lies."""
        return storage.join(self.folder, row.shard)


def save_manifest(manifest: Manifest) -> None:
    """Write the manifest's four files; `manifest.parquet` last, for it is what makes the set exist."""
    folder = manifest.folder
    index = {
        "__kind__": "wids-shard-index-v1",
        "wids_version": 1,
        "name": manifest.dataset,
        "shardlist": [asdict(shard) for shard in manifest.shards],
    }
    storage.write_text(storage.join(folder, "index.json"), _json(index))
    storage.write_text(storage.join(folder, "config.json"), _json(manifest.config))
    _write(storage.join(folder, "rejected.parquet"), manifest.rejected, REJECTED_COLUMNS)
    _write(storage.join(folder, "manifest.parquet"), manifest.rows, ROW_COLUMNS)


def load_manifest(folder: str) -> Manifest:
    """Read a set's manifest. Raises UserError when the folder has none."""
    try:
        rows = tables.read_table(storage.join(folder, "manifest.parquet"))
        rejected = tables.read_table(storage.join(folder, "rejected.parquet"))
        index = json.loads(storage.read_text(storage.join(folder, "index.json")))
        config = json.loads(storage.read_text(storage.join(folder, "config.json")))
    except FileNotFoundError as error:
        missing = error.filename or error
        raise UserError(
            f"{folder}: no finished shard set here ({missing} is missing); shard the data first"
        ) from None
    return Manifest(
        folder=folder,
        dataset=index["name"],
        rows=tuple(row_from_dict(row) for row in rows),
        shards=tuple(ShardFile(**shard) for shard in index["shardlist"]),
        rejected=tuple(Rejected(**row) for row in rejected),
        config=config,
    )


def row_from_dict(values: Mapping[str, Any]) -> Row:
    """A row as a table or a JSON file holds it."""
    return Row(**{f.name: _tuple_from_list(values[f.name]) for f in fields(Row)})


def rows_as_dicts(rows: Iterable[Row | Rejected]) -> list[dict[str, Any]]:
    """Rows as a table or a JSON file holds them."""
    return [{name: _list_from_tuple(value) for name, value in vars(row).items()} for row in rows]


def _write(url: str, rows: Sequence[Row | Rejected], columns: Mapping[str, str]) -> None:
    tables.write_table(url, rows_as_dicts(rows), columns)


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


def _tuple_from_list(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _list_from_tuple(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
