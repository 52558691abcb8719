"""Tar archives of members in memory: plain USTAR headers, written in a fraction of what `tarfile` takes.

The bytes are those that Python's `tarfile` writes for the same members (owner bigdata, mode 0444, time 0), so
every tar reader knows them and the same members give the same file.
"""

from typing import Protocol

BLOCK = 512
RECORD = 20 * BLOCK  # an archive ends with zeros up to a whole one
LONGEST_NAME = 100  # bytes
LARGEST_MEMBER = 8**11 - 1
CHECKSUM = slice(148, 156)


class Sink(Protocol):
    """What an archive is written to."""

    def write(self, data: bytes, /) -> object:
        """Take the next bytes."""


class TarStream:
    """One archive that grows member by member; `offset` is its length so far. `close` ends it."""

    def __init__(self, sink: Sink) -> None:
        self.sink, self.offset = sink, 0

    def add(self, name: str, data: bytes) -> int:
        """Append a member; gives the place of its first byte.

        Raises ValueError for a name that is not ASCII or too long, and for a member of 8 GiB.
        """
        padding = -len(data) % BLOCK
        self.sink.write(member_header(name, len(data)))
        self.sink.write(data)
        self.sink.write(_ZEROS[:padding])
        place = self.offset + BLOCK
        self.offset = place + len(data) + padding
        return place

    def close(self) -> None:
        """Two empty blocks and what is left of the record."""
        end = self.offset + 2 * BLOCK
        self.sink.write(bytes(2 * BLOCK + -end % RECORD))
        self.offset = end + -end % RECORD


def member_header(name: str, size: int) -> bytes:
    """The 512 bytes before a member's data. Raises ValueError."""
    encoded = name.encode("ascii")  # UnicodeEncodeError is a ValueError
    if not 0 < len(encoded) <= LONGEST_NAME or name.endswith("/") or "\0" in name:
        raise ValueError(f"{name!r}: a member's name has 1 to {LONGEST_NAME} characters and ends in a letter")
    if size > LARGEST_MEMBER:
        raise ValueError(f"{name}: {size} bytes are too many for a tar member")
    digits = b"%011o\0" % size
    checksum = b"%06o\0 " % (_TEMPLATE_SUM + sum(encoded) + sum(digits))
    return b"".join((encoded.ljust(LONGEST_NAME, b"\0"), _OWNER, digits, _TIME, checksum, _REST))


def _template() -> bytes:
    """A header without name, size and checksum, which counts as eight spaces."""
    header = bytearray(BLOCK)
    header[100:108] = b"0000444\0"
    header[108:116] = header[116:124] = b"0000000\0"  # user and group
    header[136:148] = b"00000000000\0"  # time
    header[CHECKSUM] = b" " * 8
    header[156:157] = b"0"  # a plain file
    header[257:265] = b"ustar\x0000"
    header[265:272] = header[297:304] = b"bigdata"
    return bytes(header)


_TEMPLATE = _template()
_TEMPLATE_SUM = sum(_TEMPLATE)
_OWNER, _TIME, _REST = _TEMPLATE[LONGEST_NAME:124], _TEMPLATE[136:148], _TEMPLATE[156:]
_ZEROS = bytes(BLOCK)
