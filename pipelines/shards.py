"""Write a shard set: one Ray task per tar, the same bytes however many workers there are.

The tars are what webdataset reads and would write. Each task writes its tar to a temporary file, publishes
it, and then publishes `parts/{shard}.parquet` with its rows; a task whose part is there with the same slice
and settings is skipped, so a stopped job goes on where it was. The driver hears of each shard only what it
must know; rows go from the parts to the manifest, which is written last, a few shards at a time.
"""

import hashlib
import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import IO, Any

import numpy as np

from facefill.errors import UserError
from pipelines import jobs, storage
from pipelines.align import prepare_records
from pipelines.manifest import SPLITS, Manifest, Rejected, Row, ShardFile, load_manifest, save_tables
from pipelines.prepared import Prepare, Prepared, Slice, members_sha256
from pipelines.set_checksums import damaged_files, read_checksums
from pipelines.shard_parts import Part, finished_part, part_url, read_rows, write_part
from pipelines.sources.records import Listing
from pipelines.tables import Table, Unreadable, column
from pipelines.ustar import TarStream

WRITTEN_AT_ONCE = 1 << 18  # bytes: as much as stays in a processor's cache between checksum and write
SHARD_FORMAT = 1  # counts up when the stored bytes of the same input change


def shard_dataset(
    listing: Listing,
    folder: str,
    *,
    samples_per_shard: int,
    config: Mapping[str, Any],
    workers: int | None = None,
    on_progress: jobs.Progress | None = None,
) -> Manifest:
    """Align every listed picture and store it below `folder`; what is there already and valid is kept.

    config: the settings that made the listing, for config.json. workers=0: in this process. Raises UserError
    when no picture can be used.
    """
    slices = slices_by_split(listing, samples_per_shard)
    return write_shard_set(
        folder,
        listing.dataset,
        slices,
        prepare_records,
        config={"samples_per_shard": samples_per_shard, **config},
        rejected=listing.rejected,
        workers=workers,
        on_progress=on_progress,
    )


def slices_by_split(listing: Listing, samples_per_shard: int) -> list[Slice]:
    """The sorted records cut into shards of a fixed number of records, split by split."""
    slices = []
    for split in SPLITS:
        records = [record for record in listing.records if record.split == split]
        for number, start in enumerate(range(0, len(records), samples_per_shard)):
            name = f"{listing.dataset}-{split}-{number:06d}.tar"
            slices.append(Slice(name, split, tuple(records[start : start + samples_per_shard])))
    return slices


def write_shard_set(
    folder: str,
    dataset: str,
    slices: Sequence[Slice],
    prepare: Prepare,
    *,
    config: Mapping[str, Any],
    rejected: Sequence[Rejected] = (),
    workers: int | None = None,
    on_progress: jobs.Progress | None = None,
    on_actors: bool = False,
) -> Manifest:
    """Store what `prepare` makes of every slice, one tar each, and the manifest.

    prepare is a module-level function (or a partial of one): the items of a slice -> samples or rejections,
    in order. config must name everything that the bytes depend on besides the items: it decides what can be
    kept. on_actors: prepare is costly to start, so actors do it, with a share of a GPU where there is one.
    """
    settings = {"format": SHARD_FORMAT, **config}
    digests = [_digest(settings, piece) for piece in slices]
    plan = hashlib.sha256(repr((digests, tuple(rejected))).encode()).hexdigest()
    settings["plan"] = plan
    finished = _finished_set(folder, plan)
    if finished is not None:
        return finished
    storage.remove(storage.join(folder, "manifest.parquet"))  # from now on the old set is not valid
    write = partial(_write_shard, folder, prepare)
    how: dict[str, Any] = {
        "label": f"shard {dataset}",
        "weights": [len(piece.items) for piece in slices],
        "workers": workers,
        "on_progress": on_progress,
    }
    work = list(zip(slices, digests, strict=True))
    if on_actors:
        parts = jobs.run_actors(partial(_itself, write), work, gpu=True, **how)
    else:
        parts = jobs.run_tasks(write, work, **how)
    written = [(piece, part.file) for piece, part in zip(slices, parts, strict=True) if part.file]
    manifest = Manifest(
        folder=folder,
        dataset=dataset,
        rows=(),
        shards=tuple(file for _, file in written),
        rejected=tuple(
            sorted([*rejected, *(r for part in parts for r in part.rejected)], key=lambda r: r.key)
        ),
        config=settings,
    )
    _refuse_empty(manifest)
    rows = distinct_keys(partial(read_rows, [part_url(folder, piece.shard) for piece, _ in written]))
    splits = (piece.split for piece, _ in written)
    checksums = {
        f"parts/{piece.shard}.parquet": part.sha256 for piece, part in zip(slices, parts, strict=True)
    }
    total = sum(file.nsamples for _, file in written)
    save_tables(manifest, zip(splits, rows, strict=True), total, checksums)
    _remove_strays(folder, {piece.shard for piece in slices})
    return load_manifest(folder)


def _itself(write: Callable[[Any], Part]) -> Callable[[Any], Part]:
    return write


def _write_shard(folder: str, prepare: Prepare, task: tuple[Slice, str]) -> Part:
    """Write and publish one tar and its part, unless they are there."""
    piece, digest = task
    url = part_url(folder, piece.shard)
    tar_url = storage.join(folder, piece.shard)
    if (kept := finished_part(url, tar_url, digest)) is not None:
        return kept
    storage.remove(url)  # it describes the old tar; with the new one it must never be found
    rows: list[Row] = []
    rejected: list[Rejected] = []
    with storage.open(tar_url, "wb") as file:
        stream = _Measured(file)
        _write_tar(stream, prepare(piece.items), piece, rows, rejected)
        stream.flush()
    written = ShardFile(piece.shard, len(rows), stream.size, stream.sha256.hexdigest())
    if not rows:
        storage.remove(tar_url)
    return write_part(url, Part(digest, written if rows else None, tuple(rejected)), rows)


def _write_tar(
    stream: "_Measured",
    prepared: Iterable[Prepared | Rejected],
    piece: Slice,
    rows: list[Row],
    rejected: list[Rejected],
) -> None:
    tar = TarStream(stream)
    for sample in prepared:
        if isinstance(sample, Rejected):
            rejected.append(sample)
            continue
        names = sorted(sample.members)
        try:
            offsets = [tar.add(f"{sample.key}.{name}", sample.members[name]) for name in names]
        except ValueError as error:
            raise UserError(
                f"{sample.source}: the key {sample.key} does not fit a tar header ({error}); rename it"
            ) from None
        row = Row(
            key=sample.key,
            shard=piece.shard,
            index=len(rows),
            split=piece.split,
            source=sample.source,
            identity=sample.identity,
            sha256=members_sha256(sample.members),
            members=tuple(names),
            offsets=tuple(offsets),
            sizes=tuple(len(sample.members[name]) for name in names),
            similarity=sample.similarity,
            landmarks=sample.landmarks,
            has_parsing="parsing.png" in sample.members,
        )
        rows.append(row)
    tar.close()


class _Measured:
    """A file that only grows, with its checksum and size; `flush` ends it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.size = file, 0
        self.sha256 = hashlib.sha256()
        self._held: list[bytes] = []
        self._held_size = 0

    def write(self, data: bytes) -> None:
        self._held.append(data)
        self._held_size += len(data)
        if self._held_size >= WRITTEN_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        data = b"".join(self._held)
        self.sha256.update(data)
        self.file.write(data)
        self.size += len(data)
        self._held, self._held_size = [], 0


def _digest(settings: Mapping[str, Any], piece: Slice) -> str:
    """What a shard's bytes depend on."""
    content = json.dumps(settings, sort_keys=True) + repr((piece.shard, piece.split, piece.items))
    return hashlib.sha256(content.encode()).hexdigest()


def _finished_set(folder: str, plan: str) -> Manifest | None:
    """The set, if it is the one that was planned and its tables are whole: others are written again from the
    parts.
    """
    try:
        manifest = load_manifest(folder)
        checksums = read_checksums(folder) or {}
    except Unreadable:
        return None
    of_tables = {name: known for name, known in checksums.items() if not name.startswith("parts/")}
    planned = isinstance(manifest.config, dict) and manifest.config.get("plan") == plan
    return manifest if planned and not damaged_files(folder, of_tables) else None


def _refuse_empty(manifest: Manifest) -> None:
    if not manifest.shards:
        reason = manifest.rejected[0] if manifest.rejected else None
        first = f"; the first: {reason.source}: {reason.reason}" if reason else ""
        raise UserError(f"{manifest.dataset}: none of its pictures can be used{first}")


def distinct_keys(read: Callable[[], Iterable[Table]]) -> Iterator[Table]:
    """The tables that `read` gives; at their end raises UserError if two rows of them have one key.

    Eight bytes are held per row; only where two agree are the keys themselves read again.
    """
    hashes = array("q")
    for table in read():
        hashes.extend(map(hash, column(table, "key")))
        yield table
    values, counts = np.unique(np.frombuffer(hashes, np.int64), return_counts=True)
    suspects = set(values[counts > 1].tolist())
    seen: set[str] = set()
    for table in read() if suspects else ():
        for key, source in zip(column(table, "key"), column(table, "source"), strict=True):
            if key in seen:
                raise UserError(f"{source}: a second picture with the key {key}; rename one of the two")
            if hash(key) in suspects:
                seen.add(key)


def _remove_strays(folder: str, shards: set[str]) -> None:
    """Tars and parts of an earlier plan that the manifest does not know, and what killed writers left."""
    storage.remove_unfinished(folder)
    storage.remove_unfinished(storage.join(folder, "parts"))
    for url in storage.list_files(folder, (".tar", ".tar.json", ".tar.parquet")):
        name = storage.name_of(url)
        if name.removesuffix(".parquet") not in shards:
            storage.remove(url)
