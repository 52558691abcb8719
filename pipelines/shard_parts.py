"""What a finished shard leaves in `parts/{shard}.parquet`, by which a stopped job knows what it has.

The file holds the shard's rows, and as its remark what the driver must know without them.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace

from pipelines import storage, tables
from pipelines.manifest import Rejected, ShardFile
from pipelines.rows import ROW_COLUMNS, Row, table_of

READ_AT_ONCE = 8


@dataclass(frozen=True)
class Part:
    """What one task wrote: the digest of its slice and settings, its tar (None: nothing usable), what it
    rejected. sha256: of the part's own file, where that is known.
    """

    digest: str
    file: ShardFile | None
    rejected: tuple[Rejected, ...]
    sha256: str = field(default="", compare=False)


def part_url(folder: str, shard: str) -> str:
    """Where the part of a tar lies."""
    return storage.join(folder, "parts", f"{shard}.parquet")


def write_part(url: str, part: Part, rows: Iterable[Row]) -> Part:
    """Publish a part and the rows of its tar; gives it with the checksum of its file."""
    note = asdict(part)
    del note["sha256"]
    content = tables.as_bytes([table_of(rows)], ROW_COLUMNS, json.dumps(note))
    storage.write_bytes(url, content)
    return replace(part, sha256=hashlib.sha256(content).hexdigest())


def finished_part(url: str, tar_url: str, digest: str) -> Part | None:
    """The part when it was made from the same slice, can be read, and its tar has its length."""
    try:
        content = storage.read_bytes(url)
        file = tables.TableFile(url, content)
        part, rows = part_from_note(file.note()), len(file.all())
        whole = part.file is None or (rows, storage.size(tar_url)) == (part.file.nsamples, part.file.filesize)
    except (FileNotFoundError, tables.Unreadable):  # absent, or damaged
        return None
    if not whole or part.digest != digest:
        return None
    return replace(part, sha256=hashlib.sha256(content).hexdigest())


def read_rows(urls: Sequence[str]) -> Iterator[tables.Table]:
    """The rows of the parts, in order; a few files are fetched at a time, for a store may be far away."""
    with ThreadPoolExecutor(READ_AT_ONCE) as pool:
        for start in range(0, len(urls), READ_AT_ONCE):
            some = urls[start : start + READ_AT_ONCE]
            for url, data in zip(some, pool.map(storage.read_bytes, some), strict=True):
                yield tables.TableFile(url, data).all()


def part_from_note(note: str) -> Part:
    """The part as its file's remark has it. Raises Unreadable for a remark that is damaged."""
    try:
        content = json.loads(note)
        return Part(
            digest=content["digest"],
            file=None if content["file"] is None else ShardFile(**content["file"]),
            rejected=tuple(Rejected(**row) for row in content["rejected"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise tables.Unreadable(f"the remark of a part is damaged: {error}") from None
