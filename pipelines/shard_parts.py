"""What a finished shard leaves in `parts/{shard}.json`, by which a stopped job knows what it has."""

import json
from dataclasses import asdict, dataclass

from pipelines import storage
from pipelines.manifest import Rejected, Row, ShardFile, row_from_dict, rows_as_dicts


@dataclass(frozen=True)
class Part:
    """What one task wrote: the digest of its slice and settings, its tar (None: nothing usable), its rows."""

    digest: str
    file: ShardFile | None
    rows: tuple[Row, ...]
    rejected: tuple[Rejected, ...]


def finished_part(part_url: str, tar_url: str, digest: str) -> str | None:
    """The part's JSON when it was made from the same slice and its tar is whole."""
    try:
        text = storage.read_text(part_url)
        part = part_from_json(text)
        whole = part.file is None or storage.size(tar_url) == part.file.filesize
    except FileNotFoundError:
        return None
    return text if whole and part.digest == digest else None


def part_as_json(part: Part) -> str:
    """JSON for `part_from_json`."""
    content = {
        "digest": part.digest,
        "file": None if part.file is None else asdict(part.file),
        "rows": rows_as_dicts(part.rows),
        "rejected": rows_as_dicts(part.rejected),
    }
    return json.dumps(content, sort_keys=True)


def part_from_json(text: str) -> Part:
    """The part that `part_as_json` wrote."""
    content = json.loads(text)
    return Part(
        digest=content["digest"],
        file=None if content["file"] is None else ShardFile(**content["file"]),
        rows=tuple(row_from_dict(row) for row in content["rows"]),
        rejected=tuple(Rejected(**row) for row in content["rejected"]),
    )
