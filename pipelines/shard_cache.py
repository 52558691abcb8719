"""Copies of remote shards on this machine's disk: up to a limit, the least recently used go first.

Any number of processes share the folder. `{name}.tar` is a whole, checked copy, and its time of change is
when it was last opened. Who reads it holds a shared file lock (flock), so nobody removes it meanwhile; who
fetches it holds `{name}.lock`, so it is fetched once. `{name}.{size}.partial` is on its way; its name says
how much room it will need.
"""

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from facefill.errors import UserError
from pipelines import storage
from pipelines.manifest import REMEDY

LIMIT = "FACEFILL_CACHE_GB"
DEFAULT_GB = 32.0
LEFT_FREE = 1 << 30  # of the disk
BLOCK = 16 << 20  # asked of the storage at a time
ABANDONED_S = 3600  # nothing was written for so long: whoever fetched it is no more
ATTEMPTS = 2

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShardCache:
    """A folder of copies; limit: bytes of all copies together, which only shards in use exceed."""

    folder: Path
    limit: int

    def open(self, url: str, size: int, sha256: str) -> int:
        """A file descriptor of a copy, fetched if need be; until it is closed the copy stays.

        size, sha256 ("" is not checked) are what the manifest says. Raises FileNotFoundError, and UserError
        for another size or content and for a full disk.
        """
        name = hashlib.sha256(f"{url}\n{size}\n{sha256}".encode()).hexdigest()[:32]
        copy = self.folder / f"{name}.tar"
        self.folder.mkdir(parents=True, exist_ok=True)
        while True:
            descriptor = _in_use(copy)
            if descriptor is not None:
                return descriptor
            with _locked(self.folder / f"{name}.lock"):
                if not copy.exists():
                    self._fetch(url, size, sha256, copy)

    def make_room(self, size: int) -> None:
        """Remove copies that nobody reads, the longest unused first, until `size` more bytes fit."""
        with _locked(self.folder / "room.lock"):
            self._make_room(size)

    def _make_room(self, size: int) -> None:
        held = 0
        for partial in self.folder.glob("*.partial"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - partial.stat().st_mtime > ABANDONED_S:
                    partial.unlink()
                else:
                    held += int(partial.name.split(".")[1])
        copies = []
        for copy in self.folder.glob("*.tar"):
            with contextlib.suppress(FileNotFoundError):
                found = copy.stat()
                copies.append((found.st_mtime_ns, copy, found.st_size))
                held += found.st_size
        over = max(held + size - self.limit, size + LEFT_FREE - shutil.disk_usage(self.folder).free)
        for _, copy, freed in sorted(copies):
            if over <= 0:
                return
            if _removed(copy):
                over -= freed
        if held + size > self.limit and over > 0:
            log.warning(
                "%s: the shards in use need more than its limit of %.1f GB; raise %s",
                self.folder,
                self.limit / 1e9,
                LIMIT,
            )

    def _fetch(self, url: str, size: int, sha256: str, copy: Path) -> None:
        partial = copy.with_name(f"{copy.stem}.{size}.partial")
        with _locked(self.folder / "room.lock"):
            self._make_room(size)
            partial.touch()  # now the others count it
        try:
            for attempt in range(1, ATTEMPTS + 1):
                came, digest = _copied(url, partial)
                if came == size and sha256 in ("", digest):
                    os.replace(partial, copy)
                    return
                log.warning("%s: not what its manifest says (attempt %d of %d)", url, attempt, ATTEMPTS)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise UserError(
                f"{self.folder}: the disk is full; set FACEFILL_CACHE to a folder with more room"
            ) from error
        finally:
            partial.unlink(missing_ok=True)
        if came != size:
            raise UserError(f"{url}: the tar is truncated, {came} of {size} bytes; {REMEDY}")
        raise UserError(f"{url}: its checksum is not the manifest's; {REMEDY}")


def shard_cache() -> ShardCache:
    """This machine's cache, below `storage.cache_folder()`, limited to $FACEFILL_CACHE_GB.

    Raises UserError when that is no number of gigabytes.
    """
    given = os.environ.get(LIMIT, str(DEFAULT_GB))
    try:
        limit = int(float(given) * 1e9)
    except (ValueError, OverflowError):
        limit = -1
    if limit < 0:
        raise UserError(f"{LIMIT}={given}: give the gigabytes that copies of shards may take, such as 32")
    return ShardCache(storage.cache_folder() / "shards", limit)


def _copied(url: str, path: Path) -> tuple[int, str]:
    """Bytes copied, and their checksum."""
    digest = hashlib.sha256()
    with storage.open(url) as source, path.open("wb") as target:
        while block := source.read(BLOCK):
            digest.update(block)
            target.write(block)
        return target.tell(), digest.hexdigest()


def _in_use(copy: Path) -> int | None:
    """A descriptor with a shared lock, None if there is no copy (any more)."""
    try:
        descriptor = os.open(copy, os.O_RDONLY)
    except FileNotFoundError:
        return None
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    if os.fstat(descriptor).st_nlink == 0:  # removed between the two calls
        os.close(descriptor)
        return None
    os.utime(descriptor)
    return descriptor


def _removed(copy: Path) -> bool:
    """Remove a copy unless somebody reads it."""
    try:
        descriptor = os.open(copy, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        copy.unlink(missing_ok=True)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One thread of one process at a time; the file goes with the lock."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink > 0:
            break
        os.close(descriptor)  # it went with the lock of whoever we waited for
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)
