"""Small files of this machine, read thousands of times over.

By their names as they are written: to make a Path of one takes as long as to read the file.
"""

import os


def local_name(url: str) -> str | None:
    """The file name that a URL means on this machine's disks, or None when it lies elsewhere."""
    if url.startswith(("file://", "local://")):
        return url.split("://", 1)[1]
    return None if "://" in url or "::" in url else os.path.expanduser(url)


def content(name: str) -> bytes:
    """As `Path.read_bytes` gives it, in a third of the time."""
    descriptor = os.open(name, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size
        first = os.read(descriptor, size + 1)
        if len(first) == size:
            return first
        rest = iter(lambda: os.read(descriptor, size + 1), b"")  # it has grown, or has no size
        return b"".join([first, *rest])
    finally:
        os.close(descriptor)
