"""Files at any URL: a plain path, file://, memory://, s3:// or whatever else fsspec knows.

Everything that the pipeline reads or writes goes through here. A write is atomic: readers see the old file,
or the new one, never a part. Transient failures are tried again with growing pauses; a missing file or a
refused permission is not. Object stores take their settings from the environment (AWS_ENDPOINT_URL,
AWS_ACCESS_KEY_ID, AWS_REGION, ...).
"""

import contextlib
import errno
import hashlib
import logging
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

import fsspec

from facefill.errors import UserError

T = TypeVar("T")
log = logging.getLogger(__name__)

ATTEMPTS = 5
FIRST_PAUSE_S = 0.2
PERMANENT = {
    *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY),
    *(errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.ENAMETOOLONG, errno.ELOOP),
}


def join(url: str | os.PathLike[str], *parts: str) -> str:
    """The URL of something inside a folder."""
    return "/".join([str(url).rstrip("/"), *(part.strip("/") for part in parts)])


def name_of(url: str) -> str:
    """The last part of a URL."""
    return str(url).rstrip("/").rsplit("/", 1)[-1]


def local_path(url: str | os.PathLike[str]) -> Path | None:
    """The path that a URL means on this machine's disks, or None when it lies elsewhere."""
    url = str(url)
    if url.startswith(("file://", "local://")):
        return Path(url.split("://", 1)[1])
    return None if "://" in url or "::" in url else Path(url).expanduser()


@contextlib.contextmanager
def open(url: str, mode: str = "rb") -> Iterator[IO[Any]]:
    """Open a file for reading ("rb", "r") or for writing it whole ("wb", "w").

    A written file appears under its name only when the block ends without an exception. Raises
    FileNotFoundError.
    """
    if "r" in mode:
        with _retry(lambda: _open_for_reading(url, mode), url) as file:
            yield file
        return
    with _published(url) as partial, partial.open(mode) as file:
        yield file
        if local_path(url) is not None:
            file.flush()
            os.fsync(file.fileno())


def read_bytes(url: str) -> bytes:
    """The whole file. Raises FileNotFoundError."""
    path = local_path(url)
    if path is not None:  # the common case, thousands of times
        return _retry(path.read_bytes, url)

    def read() -> bytes:
        filesystem, remote = _filesystem(url)
        return filesystem.cat_file(remote)

    return _retry(read, url)


def write_bytes(url: str, data: bytes) -> None:
    """Write the whole file, atomically."""
    with open(url, "wb") as file:
        file.write(data)


def read_text(url: str) -> str:
    """The whole file as UTF-8; bytes that are not are replaced. Raises FileNotFoundError."""
    return read_bytes(url).decode("utf-8", "replace")


def write_text(url: str, text: str) -> None:
    """Write the whole file as UTF-8, atomically."""
    write_bytes(url, text.encode())


def exists(url: str) -> bool:
    """Whether a file or folder is there. A folder on an object store is there while it has a file."""
    filesystem, path = _filesystem(url)
    return _retry(lambda: filesystem.exists(path), url)


def size(url: str) -> int:
    """The file's size in bytes. Raises FileNotFoundError."""
    filesystem, path = _filesystem(url)
    return int(_retry(lambda: filesystem.size(path), url))


def list_files(url: str, suffix: str | tuple[str, ...] = "", recursive: bool = True) -> list[str]:
    """The URLs of the files inside a folder whose names end so, sorted; empty when there is no folder.

    Unfinished writes (names that begin with a dot) are left out.
    """
    path = local_path(url)
    if path is not None:
        found = [join(url, os.path.relpath(file, path)) for file in _local_files(path, recursive)]
    else:
        filesystem, folder = _filesystem(url)
        remote = _retry(lambda: filesystem.find(folder, maxdepth=None if recursive else 1), url)
        inside = [file[len(folder) :] for file in remote if not file.endswith("/")]
        found = [join(url, file) for file in inside if file]  # some stores list an emptied folder as a file
    return sorted(file for file in found if file.endswith(suffix) and not name_of(file).startswith("."))


def remove(url: str) -> None:
    """Remove a file or a whole folder; nothing happens when there is none."""
    path = local_path(url)
    if path is not None:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        return
    filesystem, remote = _filesystem(url)
    with contextlib.suppress(FileNotFoundError):
        _retry(lambda: filesystem.rm(remote, recursive=True), url)


def sha256(url: str) -> str:
    """The file's checksum, hexadecimal. Raises FileNotFoundError."""
    digest = hashlib.sha256()
    with open(url, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def cache_folder() -> Path:
    """Where files that can be made again are kept: $FACEFILL_CACHE, else ~/.cache/facefill."""
    return Path(os.environ.get("FACEFILL_CACHE", "~/.cache/facefill")).expanduser()


def local_copy(url: str, cache: Path | None = None) -> Path:
    """A path on this machine with the file's content: itself when it is local, else a download that is kept.

    The download is filed by URL and the store's own version mark (etag, size, time), so a changed file is
    fetched again. Raises FileNotFoundError.
    """
    path = local_path(url)
    if path is not None:
        if not path.exists():
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        return path
    filesystem, remote = _filesystem(url)
    version = _retry(lambda: filesystem.ukey(remote), url)
    key = hashlib.sha256(f"{url}\n{version}".encode()).hexdigest()[:32]
    copy = (cache or cache_folder() / "downloads") / key / name_of(url)
    if not copy.exists():
        with _published(str(copy)) as partial:
            _retry(lambda: filesystem.get_file(remote, str(partial)), url)
    return copy


def ray_storage(url: str) -> tuple[str, Any]:
    """(storage_path, storage_filesystem) for Ray's RunConfig, so that one URL and one environment serve both.

    The filesystem is None for local paths. Raises UserError for memory://, which other processes cannot see.
    """
    path = local_path(url)
    if path is not None:
        return str(path.absolute()), None
    if str(url).startswith("memory://"):
        raise UserError(
            f"{url}: other processes cannot see this memory; give a path or an object store's URL"
        )
    import pyarrow.fs

    filesystem, remote = _filesystem(url)
    return remote, pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(filesystem))


def _filesystem(url: str) -> tuple[Any, str]:
    # Listings are not cached: another worker may have written a file since.
    try:
        return fsspec.core.url_to_fs(str(url), use_listings_cache=False)
    except (ValueError, ImportError) as error:
        raise UserError(
            f"{url}: no storage of this kind ({error}); use a path, s3:// or another fsspec URL"
        ) from None


def _open_for_reading(url: str, mode: str) -> IO[Any]:
    filesystem, path = _filesystem(url)
    return filesystem.open(path, mode)


@contextlib.contextmanager
def _published(url: str) -> Iterator[Path]:
    """An empty file to fill; it becomes the URL's content when the block ends, and vanishes if it fails."""
    path = local_path(url)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.parent if path is not None else None
    handle, name = tempfile.mkstemp(dir=folder, prefix=f".{name_of(url)}.", suffix=".partial")
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        if path is not None:
            partial.chmod(0o644)
            os.replace(partial, path)
        else:
            _retry(lambda: _upload(partial, url), url)
    finally:
        partial.unlink(missing_ok=True)


def _upload(partial: Path, url: str) -> None:
    filesystem, path = _filesystem(url)
    filesystem.put_file(str(partial), path)


def _local_files(folder: Path, recursive: bool) -> Iterator[str]:
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                if recursive:
                    yield from _local_files(Path(entry.path), recursive)
            else:
                yield entry.path


def _retry(action: Callable[[], T], url: str) -> T:
    """Do it, again after a pause if the failure may pass by itself; UserError if the store never answers."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return action()
        except Exception as error:
            if "Credentials" in type(error).__name__:
                raise UserError(
                    f"{url}: no keys for this storage on {socket.gethostname()}: set AWS_ACCESS_KEY_ID and "
                    "AWS_SECRET_ACCESS_KEY there (on a cluster: on its machines, before Ray starts)"
                ) from error
            if not _may_pass(error):
                raise
            if attempt == ATTEMPTS:
                raise UserError(
                    f"{url}: the storage does not answer ({error}); check its address and keys"
                ) from error
            log.warning("%s: %s; trying again (%d of %d)", url, error, attempt, ATTEMPTS)
            time.sleep(FIRST_PAUSE_S * 2 ** (attempt - 1))
    raise AssertionError("unreachable")


def _may_pass(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno not in PERMANENT and not isinstance(error, FileNotFoundError | PermissionError)
    return type(error).__module__.startswith(("botocore", "aiohttp"))
