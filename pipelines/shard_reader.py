"""Read any sample of a shard set from its tar, by the byte offsets that the manifest holds.

Shards on this machine are read in place; remote ones are fetched whole, once, through `storage.local_copy`.
"""

import os
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

from facefill.errors import UserError
from facefill.samples import FIELD_BY_EXTENSION
from pipelines import storage
from pipelines.manifest import Manifest, Row

OPEN_SHARDS = 64


class ShardReader:
    """Tars open for reading at any place, by any thread; the least recently used are closed."""

    def __init__(self) -> None:
        self._files: OrderedDict[str, _OpenFile] = OrderedDict()
        self._lock = Lock()

    def members(self, manifest: Manifest, row: Row, fields: Sequence[str] | None = None) -> dict[str, bytes]:
        """Extension -> bytes of a sample; with `fields`, of those fields alone.

        Raises UserError when the tar is absent or shorter than its manifest says.
        """
        url = manifest.shard_url(row)
        file = self._open(url)
        members = {}
        for extension, offset, size in zip(row.members, row.offsets, row.sizes, strict=True):
            field = FIELD_BY_EXTENSION.get(extension)
            if fields is not None and (field is None or field.name not in fields):
                continue
            data = os.pread(file.descriptor, size, offset)
            if len(data) != size:
                raise UserError(f"{url}: the tar is truncated; shard the data set again")
            members[extension] = data
        return members

    def _open(self, url: str) -> "_OpenFile":
        with self._lock:
            if url not in self._files:
                try:
                    descriptor = os.open(storage.local_copy(url), os.O_RDONLY)
                except FileNotFoundError:
                    raise UserError(f"{url}: the tar is absent; shard the data set again") from None
                self._files[url] = _OpenFile(descriptor)
                if len(self._files) > OPEN_SHARDS:
                    self._files.popitem(last=False)
            self._files.move_to_end(url)
            return self._files[url]


class _OpenFile:
    """A descriptor that is closed when the last reader lets go of it."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        os.close(self.descriptor)
