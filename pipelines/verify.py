"""Read every byte of finished shard sets again and hold it against the manifest.

A tar whose checksum is the one it was written with is whole. Any other is taken apart to name the samples
that it costs: each member's header, its data (the sample's sha256), the padding (zeros), the end.
"""

import os
import tarfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO

from facefill.errors import UserError
from pipelines import jobs, storage
from pipelines.manifest import ShardFile, load_manifest, load_rows
from pipelines.prepared import members_sha256
from pipelines.shard_parts import part_url
from pipelines.shard_rows import ShardRows, rows_by_shard
from pipelines.shards import TAR_BLOCK


@dataclass(frozen=True)
class Damage:
    """One thing that is not as the manifest says; key is "" where the whole tar is meant."""

    shard: str
    key: str
    what: str


@dataclass(frozen=True)
class Verified:
    """One set read again: samples, bytes, and all that was wrong."""

    folder: str
    samples: int
    size: int
    damages: tuple[Damage, ...]


@dataclass(frozen=True)
class _Task:
    """One tar of the set in `folder`, and where its rows stand: a tar that is whole needs none of them."""

    folder: str
    shard: ShardFile
    rows: ShardRows


def find_sets(root: str) -> list[str]:
    """The folders at or below `root` that hold a finished shard set. Raises UserError for none."""
    found = [url.rsplit("/", 1)[0] for url in storage.list_files(root, "manifest.parquet")]
    if not found:
        raise UserError(f"{root}: no finished shard set here; give the output folder of a run or one set's")
    return sorted(found)


def verify_set(
    folder: str, *, workers: int | None = None, on_progress: jobs.Progress | None = None
) -> Verified:
    """Read all tars of the set in `folder`, one Ray task each; workers=0: in this process, a thread per
    processor.
    """
    manifest = load_manifest(folder)
    if load_rows(folder).shard_counts() != [(shard.url, shard.nsamples) for shard in manifest.shards]:
        raise UserError(f"{folder}: index.json has other tars than the manifest; shard the data set again")
    tasks = [_Task(folder, shard, rows) for shard, rows in rows_by_shard(manifest)]
    if workers == 0:
        found = _in_threads(tasks, on_progress)
    else:
        found = jobs.run_tasks(verify_shard, tasks, label="verify", workers=workers, on_progress=on_progress)
    damages = tuple(damage for part in found for damage in part)
    size = sum(shard.filesize for shard in manifest.shards)
    return Verified(folder, len(manifest.rows), size, damages)


def _in_threads(tasks: list[_Task], on_progress: jobs.Progress | None) -> list[list[Damage]]:
    found = []
    started = time.monotonic()
    # checksums let go of the interpreter
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for damages in pool.map(verify_shard, tasks):
            found.append(damages)
            if on_progress is not None:
                elapsed = time.monotonic() - started
                on_progress(len(found), len(tasks), elapsed / len(found) * (len(tasks) - len(found)))
    return found


def verify_shard(task: _Task) -> list[Damage]:
    """All damages of one tar, in its order."""
    url, name = storage.join(task.folder, task.shard.url), task.shard.url
    try:
        if task.shard.sha256 and storage.sha256(url) == task.shard.sha256:
            return []
        size = storage.size(url)
        with storage.open(url, "rb") as stream:
            damages = _damages(stream, task)
    except FileNotFoundError:
        return [Damage(name, "", "the tar is absent")]
    if size != task.shard.filesize:
        damages.insert(0, Damage(name, "", f"{size} bytes instead of {task.shard.filesize}"))
    if task.shard.sha256 and not damages:
        damages.append(Damage(name, "", "its checksum is another, though every sample is whole"))
    return damages


def remove_damaged(verified: Verified) -> None:
    """Remove damaged tars and what declares them finished, so that the next run writes just these again."""
    shards = sorted({damage.shard for damage in verified.damages})
    if shards:
        storage.remove(storage.join(verified.folder, "manifest.parquet"))
    for shard in shards:
        storage.remove(part_url(verified.folder, shard))
        storage.remove(storage.join(verified.folder, shard))


def _damages(stream: IO[bytes], task: _Task) -> list[Damage]:
    damages = []
    position = 0
    for row in task.rows:
        members = {}
        wrong = ""
        for extension, offset, size in zip(row.members, row.offsets, row.sizes, strict=True):
            before, header = stream.read(offset - TAR_BLOCK - position), stream.read(TAR_BLOCK)
            members[extension] = stream.read(size)
            position = offset + size
            wrong = wrong or _wrong_header(header, f"{row.key}.{extension}", size)
            wrong = wrong or ("bytes between its members" if before.strip(b"\0") else "")
        if members_sha256(members) != row.sha256:
            wrong = wrong or "its bytes are not those that were written"
        if wrong:
            damages.append(Damage(task.shard.url, row.key, wrong))
    if stream.read().strip(b"\0"):
        damages.append(Damage(task.shard.url, "", "bytes behind its last sample"))
    return damages


def _wrong_header(header: bytes, name: str, size: int) -> str:
    try:
        found = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        return f"its tar header cannot be read: {error}"
    if (found.name, found.size) != (name, size):
        return f"its tar header says {found.name}, {found.size} bytes"
    # a flip in the checksum's own filler would pass: written again, the header must be the same
    return "" if found.tobuf(tarfile.PAX_FORMAT) == header else "its tar header is not as it was written"


def describe(found: Sequence[Verified], limit: int = 10) -> list[str]:
    """Lines for the user: one per set, and the first damages of each."""
    lines = []
    for one in found:
        state = f"{len(one.damages)} damages" if one.damages else "whole"
        lines.append(f"{one.folder}: {one.samples} samples, {one.size / 1e6:.1f} MB: {state}")
        for damage in one.damages[:limit]:
            what = f"sample {damage.key}: {damage.what}" if damage.key else damage.what
            lines.append(f"  {damage.shard}: {what}")
        if len(one.damages) > limit:
            lines.append(f"  and {len(one.damages) - limit} more")
    return lines
