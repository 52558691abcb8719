"""A file of a remote store as a stream that survives failures of single reads."""

import errno
import io
import os
from collections.abc import Callable
from typing import Any

BLOCK = 8 << 20  # bytes that are asked for at a time


class RemoteFile(io.RawIOBase):
    """A remote file whose reads are tried again, and may not end before the file does."""

    def __init__(self, file: Any, retry: Callable[[Callable[[], bytes]], bytes]) -> None:
        self._file, self._retry = file, retry

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(self._file.tell())

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def readinto(self, buffer: Any) -> int:
        place = self.tell()
        there = len(buffer) if self._file.size is None else min(len(buffer), max(0, self._file.size - place))

        def read() -> bytes:
            self._file.seek(place)
            data = self._file.read(len(buffer))
            if len(data) < there:
                raise OSError(errno.EIO, f"{len(data)} bytes came instead of {there}")
            return data

        data = self._retry(read)
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return b"".join(iter(lambda: self.read(BLOCK) or b"", b""))  # inherited, it asks for 8 kB at a time

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
