"""Files at any URL: a plain path, file://, memory://, s3:// or whatever else fsspec knows.

Everything that the pipeline reads or writes goes through here. A write is atomic: readers see the old file,
or the new one, never a part. Transient failures are waited for (`storage_faults`); a missing file or a
refused permission is not. Object stores take their settings from the environment or from the run
(`storage_settings`).
"""

import contextlib
import errno
import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

import fsspec

from facefill.errors import UserError
from pipelines import remote_file, storage_faults
from pipelines.local_file import content, local_name
from pipelines.storage_faults import FULL, disk_full, retried
from pipelines.storage_settings import s3_options

T = TypeVar("T")

PART_BYTES = 16 << 20  # larger objects are sent in parts
PARTS_AT_ONCE = 4
PARTIAL = ".partial"  # ends the names of unfinished files


def join(url: str | os.PathLike[str], *parts: str) -> str:
    """The URL of something inside a folder."""
    return "/".join([str(url).rstrip("/"), *(part.strip("/") for part in parts)])


def name_of(url: str) -> str:
    """The last part of a URL."""
    return str(url).rstrip("/").rsplit("/", 1)[-1]


def local_path(url: str | os.PathLike[str]) -> Path | None:
    """The path that a URL means on this machine's disks, or None when it lies elsewhere."""
    name = local_name(str(url))
    return None if name is None else Path(name)


@contextlib.contextmanager
def open(url: str, mode: str = "rb") -> Iterator[IO[Any]]:
    """Open a file for reading ("rb", "r") or for writing it whole ("wb", "w").

    A written file appears under its name only when the block ends without an exception. Raises
    FileNotFoundError.
    """
    if "r" in mode:
        with _opened(url) as stream:
            yield stream if "b" in mode else io.TextIOWrapper(stream, "utf-8")
        return
    with _published(url) as partial, partial.open(mode) as file:
        yield file
        if local_path(url) is not None:
            file.flush()
            os.fsync(file.fileno())


def read_bytes(url: str) -> bytes:
    """The whole file. Raises FileNotFoundError."""
    name = local_name(str(url))
    if name is not None:  # the common case, thousands of times
        return retried(lambda: content(name), url, storage_faults.DISK_PATIENCE_S)

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
    try:
        _retry(lambda: filesystem.info(path), url)  # some stores' own `exists` takes every failure for a no
    except FileNotFoundError:
        return False
    return True


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
        depth = None if recursive else 1
        found = [join(url, file) for file in _retry(lambda: _inside(filesystem, folder, depth), url)]
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

    def remove_all() -> None:
        if filesystem.find(remote) == [remote]:
            filesystem.rm_file(remote)
            return
        filesystem.rm(remote, recursive=True)
        if left := _inside(filesystem, remote):  # s3fs passes over what S3 says that it could not remove
            raise OSError(errno.EIO, f"{len(left)} files could not be removed")

    with contextlib.suppress(FileNotFoundError):
        _retry(remove_all, url)


def remove_unfinished(folder: str) -> None:
    """Remove what writers left in a folder of this machine that were killed; nobody may be writing there."""
    path = local_path(folder)
    if path is not None:
        for partial in path.glob(f".*{PARTIAL}"):
            partial.unlink(missing_ok=True)


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
    info = _retry(lambda: filesystem.info(remote), url)
    key = hashlib.sha256(f"{url}\n{hashlib.sha256(str(info).encode()).hexdigest()}".encode()).hexdigest()[:32]
    copy = (cache or cache_folder() / "downloads") / key / name_of(url)
    if not copy.exists():
        with _published(str(copy)) as partial:
            _retry(lambda: _download(filesystem, remote, partial, info["size"]), url)
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
    _, remote = _filesystem(url)
    return remote, _ray_filesystem(str(url))


def _ray_filesystem(url: str) -> Any:
    """Ray sends it to its workers as the URL alone: each finds keys and address on its own machine."""
    import pyarrow.fs

    class Handler(pyarrow.fs.FSSpecHandler):
        def __reduce__(self) -> tuple[Any, ...]:
            return _ray_handler, (url,)

    return pyarrow.fs.PyFileSystem(Handler(_Patient(_filesystem(url)[0], url)))


def _ray_handler(url: str) -> Any:
    return _ray_filesystem(url).handler


class _Patient:
    """A filesystem whose calls are tried again as ours are."""

    def __init__(self, filesystem: Any, url: str) -> None:
        self._filesystem, self._url = filesystem, url

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._filesystem, name)
        if not callable(member):
            return member
        return lambda *args, **options: _retry(lambda: member(*args, **options), self._url)


def _filesystem(url: str) -> tuple[Any, str]:
    # Listings are not cached: another worker may have written a file since. One connection per file, for with
    # more each read asks for the file's size first.
    options = {"max_concurrency": 1} | s3_options() if _on_s3(url) else {}
    try:
        return fsspec.core.url_to_fs(str(url), use_listings_cache=False, **options)
    except (ValueError, ImportError) as error:
        raise UserError(
            f"{url}: no storage of this kind ({error}); use a path, s3:// or another fsspec URL"
        ) from None


def _inside(filesystem: Any, folder: str, depth: int | None = None) -> list[str]:
    """The files in a remote folder, named from there; some stores list an emptied folder as a file."""
    files = filesystem.find(folder, maxdepth=depth)
    return [inside for file in files if (inside := file[len(folder) :]) and not file.endswith("/")]


def _on_s3(url: str) -> bool:
    return str(url).startswith(("s3://", "s3a://"))


def _opened(url: str) -> IO[bytes]:
    path = local_path(url)
    if path is not None:
        return _retry(lambda: path.open("rb"), url)
    filesystem, remote = _filesystem(url)
    file = _retry(lambda: filesystem.open(remote, "rb", cache_type="none"), url)
    return io.BufferedReader(remote_file.RemoteFile(file, lambda read: _retry(read, url)), remote_file.BLOCK)


@contextlib.contextmanager
def _published(url: str) -> Iterator[Path]:
    """An empty file to fill; it becomes the URL's content when the block ends, and vanishes if it fails.

    What is to be sent elsewhere has no name meanwhile, so a killed writer leaves nothing behind. Raises
    UserError when the disk is full.
    """
    path = local_path(url)
    folder = Path(tempfile.gettempdir()) if path is None else path.parent
    try:
        if path is None:
            with tempfile.TemporaryFile() as file:
                nameless = Path(f"/proc/self/fd/{file.fileno()}")
                yield nameless
                _retry(lambda: _upload(nameless, url), url)
            return
        with _partial(folder, path.name) as partial:
            yield partial
            partial.chmod(0o644)
            os.replace(partial, path)
    except OSError as error:
        if error.errno not in FULL:
            raise
        remedy = "free space there" if path is not None else "free space there or set TMPDIR to another disk"
        raise disk_full(error, folder, name_of(url), remedy) from error


@contextlib.contextmanager
def _partial(folder: Path, name: str) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=folder, prefix=f".{name}.", suffix=PARTIAL)
    os.close(handle)
    try:
        yield Path(partial)
    finally:
        Path(partial).unlink(missing_ok=True)


def _upload(partial: Path, url: str) -> None:
    filesystem, path = _filesystem(url)
    options = {"chunksize": PART_BYTES, "max_concurrency": PARTS_AT_ONCE} if _on_s3(url) else {}
    filesystem.put_file(str(partial), path, **options)
    sent, there = partial.stat().st_size, filesystem.size(path)
    if there != sent:
        raise OSError(errno.EIO, f"{there} bytes arrived of {sent}")


def _download(filesystem: Any, remote: str, partial: Path, size: int | None) -> None:
    filesystem.get_file(remote, str(partial))
    came = partial.stat().st_size
    if size is not None and came != size:
        raise OSError(errno.EIO, f"{came} bytes came of {size}")


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
    here = local_path(url) is not None
    return retried(action, url, storage_faults.DISK_PATIENCE_S if here else storage_faults.REMOTE_PATIENCE_S)
