"""What a finished shard leaves in `parts/{shard}.parquet`, by which a stopped job knows what it has.

The file holds the shard's rows, and as its remark what the driver must know without them.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from facefill.errors import UserError
from pipelines import storage, tables
from pipelines.manifest import Rejected, ShardFile
from pipelines.rows import ROW_COLUMNS, Row, table_of

READ_AT_ONCE = 8


@dataclass(frozen=True)
class Part:
    """What one task wrote: the digest of its slice and settings, its tar (None: nothing usable), what it
    rejected.
    """

    digest: str
    file: ShardFile | None
    rejected: tuple[Rejected, ...]


def part_url(folder: str, shard: str) -> str:
    """Where the part of a tar lies."""
    return storage.join(folder, "parts", f"{shard}.parquet")


def write_part(url: str, part: Part, rows: Iterable[Row]) -> None:
    """Publish a part and the rows of its tar."""
    storage.write_bytes(url, tables.as_bytes([table_of(rows)], ROW_COLUMNS, json.dumps(asdict(part))))


def finished_part(url: str, tar_url: str, digest: str) -> Part | None:
    """The part when it was made from the same slice, can be read, and its tar has its length."""
    try:
        file = tables.TableFile(url, storage.read_bytes(url))
        part, rows = part_from_note(file.note()), len(file.all())
        whole = part.file is None or (rows, storage.size(tar_url)) == (part.file.nsamples, part.file.filesize)
    except (FileNotFoundError, UserError):  # absent, or damaged
        return None
    return part if whole and part.digest == digest else None


def read_rows(urls: Sequence[str]) -> Iterator[tables.Table]:
    """The rows of the parts, in order; a few files are fetched at a time, for a store may be far away."""
    with ThreadPoolExecutor(READ_AT_ONCE) as pool:
        for start in range(0, len(urls), READ_AT_ONCE):
            some = urls[start : start + READ_AT_ONCE]
            for url, data in zip(some, pool.map(storage.read_bytes, some), strict=True):
                yield tables.TableFile(url, data).all()


def part_from_note(note: str) -> Part:
    """The part as its file's remark has it."""
    content = json.loads(note)
    return Part(
        digest=content["digest"],
        file=None if content["file"] is None else ShardFile(**content["file"]),
        rejected=tuple(Rejected(**row) for row in content["rejected"]),
    )
