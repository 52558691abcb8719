"""What goes into a shard: samples ready to be stored, and the slices of work that give them."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.manifest import Rejected


@dataclass(frozen=True)
class Prepared:
    """One sample ready to be stored; members: extension -> bytes; the rest is for its manifest row."""

    key: str
    identity: int
    source: str
    similarity: tuple[float, ...]
    landmarks: int
    members: Mapping[str, bytes]


@dataclass(frozen=True)
class Slice:
    """What one shard is made of; `items` are handed to the set's `prepare` together.

    They have a length, and how they print decides whether a shard that is there is kept.
    """

    shard: str
    split: str
    items: Any


# The items of a slice -> its samples or rejections, in order; a module-level function or a partial of one.
Prepare = Callable[[Any], Iterable[Prepared | Rejected]]


def members_sha256(members: Mapping[str, bytes]) -> str:
    """One checksum of all members' names and bytes."""
    digest = hashlib.sha256()
    for name in sorted(members):
        digest.update(f"{name} {len(members[name])}\n".encode())
        digest.update(members[name])
    return digest.hexdigest()
