"""Read any sample of a shard set from its tar, by the byte offsets that the manifest holds.

Shards on this machine are read in place; remote ones are fetched whole, once, into the machine's cache.
"""

import os
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from threading import Lock

from facefill.errors import UserError
from facefill.samples import FIELD_BY_EXTENSION
from pipelines import storage
from pipelines.manifest import REMEDY, Manifest, Row
from pipelines.shard_cache import shard_cache

OPEN_SHARDS = 16
LARGEST_GAP = 4096  # bytes between two members that are rather read than skipped


class ShardReader:
    """Tars open for reading at any place, by any thread; the least recently used are closed."""

    def __init__(self) -> None:
        self._files: OrderedDict[tuple[str, str], _OpenFile] = OrderedDict()
        self._opening: dict[tuple[str, str], Lock] = {}
        self._lock = Lock()

    def members(self, manifest: Manifest, row: Row, fields: Sequence[str] | None = None) -> dict[str, bytes]:
        """Extension -> bytes of a sample; with `fields`, of those fields alone.

        Raises UserError when the tar is absent or shorter than its manifest says.
        """
        file = self._open(manifest, row)
        wanted = _wanted(row.members, None if fields is None else tuple(fields))
        members = {}
        for run in _runs(row, wanted):
            first, end = row.offsets[run[0]], row.offsets[run[-1]] + row.sizes[run[-1]]
            data = os.pread(file.descriptor, end - first, first)
            if len(data) != end - first:
                raise UserError(f"{manifest.shard_url(row)}: the tar is truncated; {REMEDY}")
            for place in run:
                start = row.offsets[place] - first
                members[row.members[place]] = data[start : start + row.sizes[place]]
        return members

    def prepare(self, manifest: Manifest, row: Row) -> None:
        """Have the shard of a sample at hand before it is read; raises as `members` does."""
        file = self._open(manifest, row)
        os.posix_fadvise(file.descriptor, 0, 0, os.POSIX_FADV_WILLNEED)

    def _open(self, manifest: Manifest, row: Row) -> "_OpenFile":
        shard = manifest.folder, row.shard
        with self._lock:
            if shard in self._files:
                self._files.move_to_end(shard)
                return self._files[shard]
            opening = self._opening.setdefault(shard, Lock())
        with opening:  # others may go on with other shards while this one is fetched
            with self._lock:
                if shard in self._files:
                    return self._files[shard]
            file = _OpenFile(_descriptor(manifest, row))
            with self._lock:
                self._files[shard] = file
                self._opening.pop(shard, None)
                if len(self._files) > OPEN_SHARDS:
                    self._files.popitem(last=False)
            return file


class _OpenFile:
    """A descriptor that is closed when the last reader lets go of it."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        os.close(self.descriptor)


def _descriptor(manifest: Manifest, row: Row) -> int:
    url = manifest.shard_url(row)
    path = storage.local_path(url)
    try:
        if path is not None:
            return os.open(path, os.O_RDONLY)
        shard = next(shard for shard in manifest.shards if shard.url == row.shard)
        return shard_cache().open(url, shard.filesize, shard.sha256)
    except FileNotFoundError:
        raise UserError(f"{url}: the tar is absent; {REMEDY}") from None


@lru_cache(64)
def _wanted(members: tuple[str, ...], fields: tuple[str, ...] | None) -> tuple[int, ...]:
    """The places of the members to be read."""
    names = [FIELD_BY_EXTENSION[member].name if member in FIELD_BY_EXTENSION else None for member in members]
    return tuple(place for place, name in enumerate(names) if fields is None or name in fields)


def _runs(row: Row, wanted: Sequence[int]) -> list[list[int]]:
    """The places of members, those together that lie so close that one read serves them."""
    runs: list[list[int]] = []
    end = -1
    for place in wanted:
        offset = row.offsets[place]
        if runs and end <= offset <= end + LARGEST_GAP:
            runs[-1].append(place)
        else:
            runs.append([place])
        end = offset + row.sizes[place]
    return runs
