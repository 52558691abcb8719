"""`checksums.json` of a shard set: sha256 of its tables, settings and parts, by their names in the folder.

A tar's own checksum is in `index.json`; those of the files of a manifest that has several are in
`manifest.parquet`. The file has one of itself. Sets of before have no such file.
"""

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from pipelines import storage
from pipelines.tables import Unreadable

NAME = "checksums.json"
READ_AT_ONCE = 8
ABSENT, ANOTHER = "it is absent", "its bytes are not those that were written"


def write_checksums(folder: str, checksums: Mapping[str, str]) -> None:
    """Publish the checksums of the named files in the folder."""
    storage.write_text(storage.join(folder, NAME), _text(checksums))


def read_checksums(folder: str) -> dict[str, str] | None:
    """Name -> sha256; None for a set that has none. Raises Unreadable where they are not as written."""
    url = storage.join(folder, NAME)
    try:
        text = storage.read_text(url)
    except FileNotFoundError:
        return None
    try:
        checksums = json.loads(text)
    except ValueError:
        checksums = None
    if not isinstance(checksums, dict):
        raise Unreadable(f"{url}: not as it was written")
    checksums.pop(NAME, None)
    if _text(checksums) != text:
        raise Unreadable(f"{url}: not as it was written")
    return checksums


def damaged_files(folder: str, checksums: Mapping[str, str]) -> dict[str, str]:
    """Which of the named files are not what they were, and in what way."""

    def damage(name: str) -> str:
        try:
            right = storage.sha256(storage.join(folder, name)) == checksums[name]
        except FileNotFoundError:
            return ABSENT
        return "" if right else ANOTHER

    with ThreadPoolExecutor(READ_AT_ONCE) as pool:  # a store may be far away
        found = dict(zip(checksums, pool.map(damage, checksums), strict=True))
    return {name: what for name, what in found.items() if what}


def _text(checksums: Mapping[str, str]) -> str:
    own = hashlib.sha256(_json(checksums)).hexdigest()
    return _json({**checksums, NAME: own}).decode()


def _json(checksums: Mapping[str, str]) -> bytes:
    return json.dumps(checksums, indent=1, sort_keys=True).encode() + b"\n"
