"""The manifest of a shard set: which samples exist, where in which tar they lie, where they came from.

A set is a folder: `{dataset}-{split}-{000000}.tar` ..., `manifest.parquet` (one row per sample),
`rejected.parquet`, `index.json` (the layout that webdataset's `wids` reads) and `config.json` (the exact
settings), all of them and the parts named with their sha256 in `checksums.json`. A shard exists when the
manifest says so; `manifest.parquet` is written last.

With more than ROWS_PER_FILE samples, `manifest.parquet` lists the files of rows instead (file, split, rows,
sha256), which lie in `manifest/`, each of one split and whole shards. They are named by their content: a set
that is made anew never changes under a reader.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby, islice
from typing import Any

from pipelines import storage, tables
from pipelines.rows import GROUP_ROWS, ROW_COLUMNS, Row, RowFile, Rows, values_of
from pipelines.set_checksums import write_checksums
from pipelines.tables import Unreadable

SPLITS = ("train", "validation", "test")
UNKNOWN_IDENTITY = -1
# Sharding again would change nothing while the manifest says that the set is finished.
REMEDY = "run `facefill verify --remove-damaged` on its folder, then the command that made it"

REJECTED_COLUMNS = {"key": "string", "source": "string", "reason": "string"}
FILE_COLUMNS = {"file": "string", "split": "string", "rows": "int64", "sha256": "string"}
ROWS_PER_FILE = 1 << 18  # a file of some 20 MB; sets of more rows have several


@dataclass(frozen=True)
class Rejected:
    """One source picture that did not become a sample, and why."""

    key: str
    source: str
    reason: str


@dataclass(frozen=True)
class ShardFile:
    """One tar of the set, as `wids` wants to know it. Sets of before have an md5sum, with sha256 or alone.

    sha256 takes less than half the time of md5, and `wids` reads shards without an md5sum.
    """

    url: str
    nsamples: int
    filesize: int
    sha256: str = ""
    md5sum: str = ""

    @property
    def checksum(self) -> str:
        """What tells one content from another, the same for as long as the set is there."""
        return self.md5sum or self.sha256


@dataclass(frozen=True)
class Manifest:
    """The samples of one shard set in stored order, the tars they lie in, what was rejected, the settings."""

    folder: str
    dataset: str
    rows: Sequence[Row]
    shards: tuple[ShardFile, ...]
    rejected: tuple[Rejected, ...]
    config: Mapping[str, Any]

    def digest(self) -> str:
        """A checksum of what training can see: every sample's key, tar, split, person and bytes, in order.

        Neither where the set lies nor where and by which settings it was made takes part: the same bytes
        from another root have the same digest.
        """
        digest = hashlib.sha256(f"[{json.dumps(self.dataset)}, [".encode())
        samples = values_of(self.rows, ("key", "shard", "split", "identity", "sha256"))
        first = True
        while some := list(islice(samples, 4096)):  # as one JSON list that is never whole in memory
            digest.update(("" if first else ", ").encode() + json.dumps(some)[1:-1].encode())
            first = False
        digest.update(b"]]")
        return digest.hexdigest()

    def of_split(self, split: str) -> Sequence[Row]:
        """The rows of a split; there may be none."""
        if isinstance(self.rows, Rows):
            return self.rows.of_split(split)
        return tuple(row for row in self.rows if row.split == split)

    def counts(self) -> dict[str, int]:
        """Samples per split."""
        if not isinstance(self.rows, Rows):
            return dict(Counter(row.split for row in self.rows))
        counts: dict[str, int] = {}
        for split, start, stop in self.rows.splits():
            counts[split] = counts.get(split, 0) + stop - start
        return counts

    def shard_url(self, row: Row) -> str:
        """Where the tar of a row lies."""
        return storage.join(self.folder, row.shard)


def save_tables(
    manifest: Manifest,
    shards: Iterable[tuple[str, tables.Table]],
    total: int,
    checksums: Mapping[str, str] | None = None,
) -> None:
    """Write the manifest from (split, rows) of every shard in order, of which only a file's are held; `total`
    rows. checksums: of other files in the folder, by name.
    """
    folder = manifest.folder
    index = {
        "__kind__": "wids-shard-index-v1",
        "wids_version": 1,
        "name": manifest.dataset,
        "shardlist": [_known_of(shard) for shard in manifest.shards],
    }
    rejected = [asdict(entry) for entry in manifest.rejected]
    contents = {
        "index.json": _json(index).encode(),
        "config.json": _json(manifest.config).encode(),
        "rejected.parquet": tables.rows_as_bytes(rejected, REJECTED_COLUMNS),
    }
    files: list[dict[str, Any]] = []
    if total <= ROWS_PER_FILE:
        contents["manifest.parquet"] = tables.as_bytes(_row_groups(table for _, table in shards), ROW_COLUMNS)
    else:
        files = [_save_file(folder, place, *held) for place, held in enumerate(_by_file(shards))]
        contents["manifest.parquet"] = tables.rows_as_bytes(files, FILE_COLUMNS)
    own = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    write_checksums(folder, {**(checksums or {}), **own})
    for name, content in contents.items():
        storage.write_bytes(storage.join(folder, name), content)
    known = {file["file"] for file in files}
    for stray in storage.list_files(storage.join(folder, "manifest"), ".parquet"):
        if f"manifest/{storage.name_of(stray)}" not in known:
            storage.remove(stray)


def load_manifest(folder: str) -> Manifest:
    """Read a set's manifest; its rows are read when they are asked for. Raises Unreadable (a UserError) when
    it has none, or one of its files is damaged.
    """
    try:
        rows = load_rows(folder)
        rejected = tables.read_table(storage.join(folder, "rejected.parquet"))
        index = storage.read_text(storage.join(folder, "index.json"))
        config = storage.read_text(storage.join(folder, "config.json"))
    except FileNotFoundError as error:
        missing = error.filename or error
        raise Unreadable(
            f"{folder}: no finished shard set here ({missing} is missing); shard the data first"
        ) from None
    except Unreadable as error:
        raise _damaged(folder, error) from None
    try:
        known = json.loads(index)
        return Manifest(
            folder=folder,
            dataset=known["name"],
            rows=rows,
            shards=tuple(ShardFile(**shard) for shard in known["shardlist"]),
            rejected=tuple(Rejected(**row) for row in rejected),
            config=json.loads(config),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, error) from None


def load_rows(folder: str) -> Rows:
    """The rows of a finished set, without the rest of its manifest."""
    url = storage.join(folder, "manifest.parquet")
    file = tables.TableFile(url, storage.read_bytes(url))
    if set(file.names()) >= set(ROW_COLUMNS):
        return Rows([RowFile(file, "", sum(file.group_sizes()))])
    return Rows(
        [
            RowFile(tables.TableFile(storage.join(folder, entry["file"])), entry["split"], entry["rows"])
            for entry in _listed(file)
        ]
    )


def row_file_checksums(folder: str) -> dict[str, str]:
    """Name -> sha256 of the files of rows beside `manifest.parquet`; none where it holds the rows itself."""
    url = storage.join(folder, "manifest.parquet")
    file = tables.TableFile(url, storage.read_bytes(url))
    if set(file.names()) >= set(ROW_COLUMNS):
        return {}
    return {entry["file"]: entry["sha256"] for entry in _listed(file)}


def _listed(file: tables.TableFile) -> list[dict[str, Any]]:
    if set(file.names()) != set(FILE_COLUMNS):
        raise Unreadable(f"{file.url}: not a manifest, its columns are {file.names()}")
    return file.all().to_pylist()


def _damaged(folder: str, error: Exception) -> Unreadable:
    return Unreadable(f"{folder}: the shard set's manifest cannot be read ({error}); {REMEDY}")


def _save_file(folder: str, place: int, split: str, shards: list[tables.Table]) -> dict[str, Any]:
    content = tables.as_bytes(_row_groups(shards), ROW_COLUMNS)
    sha256 = hashlib.sha256(content).hexdigest()
    name = f"manifest/{place:06d}-{sha256[:16]}.parquet"
    storage.write_bytes(storage.join(folder, name), content)
    return {"file": name, "split": split, "rows": sum(map(len, shards)), "sha256": sha256}


def _by_file(shards: Iterable[tuple[str, tables.Table]]) -> Iterator[tuple[str, list[tables.Table]]]:
    """(split, the tables of its shards) that make a file each."""
    for split, same in groupby(shards, key=lambda pair: pair[0]):
        held: list[tables.Table] = []
        for _, table in same:
            if held and sum(map(len, held)) + len(table) > ROWS_PER_FILE:
                yield split, held
                held = []
            held.append(table)
        yield split, held


def _row_groups(shards: Iterable[tables.Table]) -> Iterator[tables.Table]:
    """Whole shards together until they are worth reading."""
    held: list[tables.Table] = []
    for table in shards:
        held.append(table)
        if sum(map(len, held)) >= GROUP_ROWS:
            yield tables.joined(held)
            held = []
    if held:
        yield tables.joined(held)


def _known_of(shard: ShardFile) -> dict[str, Any]:
    return {name: value for name, value in asdict(shard).items() if value != ""}


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True) + "\n"
