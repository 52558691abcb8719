"""Read every byte of finished shard sets again and hold it against the manifest.

The manifest's own files and the parts are held against `checksums.json`. A tar whose checksum is the one it
was written with is whole. Any other is taken apart to name the samples that it costs: each member's header,
its data (the sample's sha256), the padding (zeros), the end.
"""

import contextlib
import os
import tarfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO

from facefill.errors import UserError
from pipelines import jobs, storage
from pipelines.manifest import REMEDY, Manifest, ShardFile, load_manifest, load_rows, row_file_checksums
from pipelines.prepared import members_sha256
from pipelines.set_checksums import damaged_files, read_checksums
from pipelines.shard_parts import part_url
from pipelines.shard_rows import ShardRows, rows_by_shard
from pipelines.tables import Unreadable
from pipelines.ustar import BLOCK


@dataclass(frozen=True)
class Damage:
    """One thing that is not as the manifest says. file: its name in the folder; key is "" where the whole
    file is meant.
    """

    file: str
    key: str
    what: str


@dataclass(frozen=True)
class Verified:
    """One folder read again: what it holds, its bytes, all that was wrong, and what could not be checked."""

    folder: str
    count: int
    size: int
    damages: tuple[Damage, ...]
    kind: str = "samples"  # that are counted
    unchecked: str = ""


@dataclass(frozen=True)
class StoredShard:
    """One tar of the set in `folder`, and where its rows stand: a tar that is whole needs none of them."""

    folder: str
    shard: ShardFile
    rows: ShardRows


@dataclass(frozen=True)
class Found:
    """The folders at or below another that hold finished shard sets, unfinished ones, and fits."""

    finished: list[str]
    unfinished: list[str]
    fits: list[str]


def find(root: str) -> Found:
    """What there is to verify. Raises UserError for nothing."""
    finished, begun, fits = set(), set(), set()
    for url in storage.list_files(root, (".parquet", ".parquet.json")):
        folder, name = url.rsplit("/", 1)
        if name == "manifest.parquet":
            finished.add(folder)
        elif name.endswith(".tar.parquet"):
            begun.add(folder.rsplit("/", 1)[0])
        elif name.endswith(".json"):
            fits.add(folder)
    if not finished | begun | fits:
        raise UserError(f"{root}: no finished shard set here; give the output folder of a run or one set's")
    return Found(sorted(finished), sorted(begun - finished), sorted(fits))


def verify_set(
    folder: str, *, workers: int | None = None, on_progress: jobs.Progress | None = None
) -> Verified:
    """Read all files of the set in `folder`, its tars in one Ray task each; workers=0: in this process, a
    thread per processor. Where the manifest is damaged its tars cannot be checked.
    """
    damages, known = _table_damages(folder)
    unchecked = "" if known else "its tables and parts: it was made without checksums of them"
    try:
        manifest = _consistent_manifest(folder, damages)
    except Unreadable as error:
        damages = damages or [Damage("manifest.parquet", "", str(error).removesuffix(f"; {REMEDY}"))]
        return Verified(folder, 0, 0, tuple(damages), unchecked="its tars: mend its manifest first")
    tasks = [StoredShard(folder, shard, rows) for shard, rows in rows_by_shard(manifest)]
    if workers == 0:
        found = _in_threads(tasks, on_progress)
    else:
        found = jobs.run_tasks(verify_shard, tasks, label="verify", workers=workers, on_progress=on_progress)
    damages += [damage for part in found for damage in part]
    size = sum(shard.filesize for shard in manifest.shards)
    return Verified(folder, len(manifest.rows), size, tuple(damages), unchecked=unchecked)


def _table_damages(folder: str) -> tuple[list[Damage], bool]:
    """What is wrong with the files beside the tars, and whether their checksums are known."""
    damages = []
    checksums: dict[str, str] = {}
    known = True
    try:
        read = read_checksums(folder)
        known, checksums = read is not None, read or {}
    except Unreadable as error:
        damages.append(Damage("checksums.json", "", str(error)))
    wrong = damaged_files(folder, checksums)
    if "manifest.parquet" not in wrong:
        with contextlib.suppress(Unreadable):  # is said when the manifest is read
            wrong |= damaged_files(folder, row_file_checksums(folder))
    return [*damages, *(Damage(name, "", what) for name, what in wrong.items())], known


def _consistent_manifest(folder: str, damages: Sequence[Damage]) -> Manifest:
    """The manifest, all of whose rows were read. Raises Unreadable, also where it is among the damages."""
    if any(damage.file.startswith(("index", "manifest")) for damage in damages):
        raise Unreadable(f"{folder}: its manifest is damaged")
    manifest = load_manifest(folder)
    try:
        counts = load_rows(folder).shard_counts()
    except FileNotFoundError as error:
        raise Unreadable(f"{error.filename or error} is missing") from None
    if counts != [(shard.url, shard.nsamples) for shard in manifest.shards]:
        raise Unreadable("index.json has other tars than the manifest")
    return manifest


def _in_threads(tasks: list[StoredShard], on_progress: jobs.Progress | None) -> list[list[Damage]]:
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


def require_whole(task: StoredShard) -> None:
    """Raise UserError unless a tar on this machine holds the bytes that were written; one that lies elsewhere
    is checked when it is fetched.
    """
    url = storage.join(task.folder, task.shard.url)
    if storage.local_path(url) is None:
        return
    if damages := verify_shard(task):
        raise UserError(f"{url}: {_told(damages[0])}; {REMEDY}")


def verify_shard(task: StoredShard) -> list[Damage]:
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
    """Remove what is damaged and what declares it finished, so that the next run writes just that again."""
    files = sorted({damage.file for damage in verified.damages})
    if files:
        storage.remove(storage.join(verified.folder, "manifest.parquet"))
    for file in files:
        if file.endswith(".tar"):
            storage.remove(part_url(verified.folder, file))
        storage.remove(storage.join(verified.folder, file))


def _damages(stream: IO[bytes], task: StoredShard) -> list[Damage]:
    damages = []
    position = 0
    for row in task.rows:
        members = {}
        wrong = ""
        for extension, offset, size in zip(row.members, row.offsets, row.sizes, strict=True):
            before, header = stream.read(offset - BLOCK - position), stream.read(BLOCK)
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
    """Lines for the user: one per folder, and the first damages of each."""
    lines = []
    for one in found:
        state = f"{len(one.damages)} damages" if one.damages else "whole"
        lines.append(f"{one.folder}: {one.count} {one.kind}, {one.size / 1e6:.1f} MB: {state}")
        lines += [f"  {damage.file}: {_told(damage)}" for damage in one.damages[:limit]]
        if len(one.damages) > limit:
            lines.append(f"  and {len(one.damages) - limit} more")
        if one.unchecked:
            lines.append(f"  not checked: {one.unchecked}")
    return lines


def _told(damage: Damage) -> str:
    return f"sample {damage.key}: {damage.what}" if damage.key else damage.what
