"""Batches from shard sets: ordered by `order`, read at random from the tars, decoded ahead in threads.

Reading needs the manifest only, not webdataset (which can read the same tars in sequence). Decoding lets go
of the interpreter's lock, so threads do what elsewhere takes processes, without copies between them. Shards
are opened, remote ones fetched, while the window of samples before theirs is read.
"""

import logging
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from facefill.batches import decode_batch
from facefill.errors import UserError
from facefill.samples import Batch, floats
from pipelines.block_pool import BlockPool
from pipelines.manifest import Manifest, Row
from pipelines.order import epoch_order, evaluation_order, sample_seed, window_of
from pipelines.shard_reader import OPEN_SHARDS, ShardReader

PREFETCH_BATCHES = 4
SHARDS_AT_ONCE = 2  # fetched ahead
EVALUATION_EPOCH = -1  # seeds of an evaluation never change

log = logging.getLogger(__name__)


class _Planned(NamedTuple):
    """One batch to come: each sample's shard, by number, and its place in it."""

    step: int
    epoch: int
    shards: list[int]
    places: list[int]


@dataclass(frozen=True)
class _Shard:
    """The rows start .. start + size of a split's rows in a set."""

    manifest: Manifest
    rows: Sequence[Row]
    start: int
    size: int


class Loader:
    """The samples of one split of one or several shard sets.

    Owns the open tars and the decoding threads. fields: names of the fields to read, None for all; key, seed
    and (as absent) landmarks and parsing are always in the batch. packed: batches as `samples.stack` makes
    them, to be ended by `samples.floats` where they are used. pinned: in memory that a GPU copies from by
    itself. Raises UserError when a split is empty.
    """

    def __init__(
        self,
        manifests: Sequence[Manifest],
        batch_size: int,
        *,
        seed: int,
        split: str,
        rank: int = 0,
        world_size: int = 1,
        fields: Sequence[str] | None = None,
        threads: int = 1,
        packed: bool = False,
        pinned: bool = False,
    ) -> None:
        self.batch_size, self.seed, self.rank, self.world_size = batch_size, seed, rank, world_size
        self.fields, self.threads, self.packed, self.pinned = fields, threads, packed, pinned
        self.split = f"split {split!r} of {', '.join(manifest.folder for manifest in manifests)}"
        self._shards = [shard for manifest in manifests for shard in _shards_of(manifest, split)]
        if not self._shards:
            held = "; ".join(f"{manifest.folder} holds {_counted(manifest)}" for manifest in manifests)
            raise UserError(
                f"no samples in split {split!r}: {held or 'no data set is named'}; change the split rule"
            )
        self.shard_sizes = [shard.size for shard in self._shards]
        self._firsts = np.cumsum([0, *self.shard_sizes])  # the place of each shard's first sample; the total
        self._rows_of = lru_cache(OPEN_SHARDS)(partial(_read_rows, self._shards))
        self._reader, self._blocks = ShardReader(), BlockPool()

    def __len__(self) -> int:
        """Samples over all ranks."""
        return int(self._firsts[-1])

    @property
    def steps_per_epoch(self) -> int:
        """Batches that every rank gets in an epoch. Raises UserError when it would be none."""
        if self.batch_size < 1:
            raise UserError(
                f"{self.split}: a batch_size below the {self.world_size} workers leaves some without a "
                "sample; take a larger batch_size or fewer workers"
            )
        steps = len(self) // self.world_size // self.batch_size
        if steps == 0:
            raise UserError(
                f"{self.split} has {len(self)} samples, too few for a batch of {self.batch_size} on each "
                f"of {self.world_size} workers; take a smaller batch_size or more data"
            )
        return steps

    def batches(self, start_step: int = 0) -> Iterator[tuple[int, Batch]]:
        """(step, batch) for ever, from any step on: what step s gives does not depend on where one began.

        Raises UserError at once when there are too few samples for one batch per rank.
        """
        steps = self.steps_per_epoch
        if self.rank == 0 and len(self.shard_sizes) < self.world_size:
            log.warning(
                "%s has %d shards for %d workers: several will read (and fetch) the same ones; "
                "a smaller samples_per_shard gives each its own",
                self.split,
                len(self.shard_sizes),
                self.world_size,
            )
        return self._decoded(self._training_plan(start_step, steps), window_of(self.shard_sizes))

    def evaluation_batches(self) -> Iterator[Batch]:
        """Every sample of the split once over all ranks, in stored order; the last batches may be smaller.

        Every rank gets equally many batches wherever each can have a sample (`order.evaluation_order`).
        """
        mine = evaluation_order(len(self), self.batch_size, rank=self.rank, world_size=self.world_size)
        located = (self._located(places) for places in mine)
        plan = (
            _Planned(number, EVALUATION_EPOCH, shards.tolist(), places.tolist())
            for number, (shards, places) in enumerate(located)
        )
        shard = len(self) // len(self.shard_sizes) // self.world_size  # a rank's samples of it
        return (batch for _, batch in self._decoded(plan, shard))

    def _training_plan(self, start_step: int, steps: int) -> Iterator[_Planned]:
        step = start_step
        while True:
            epoch = step // steps
            order = epoch_order(
                self.shard_sizes, seed=self.seed, epoch=epoch, rank=self.rank, world_size=self.world_size
            )
            shards, places = self._located(order)
            while step // steps == epoch:
                start = (step - epoch * steps) * self.batch_size
                mine = slice(start, start + self.batch_size)
                yield _Planned(step, epoch, shards[mine].tolist(), places[mine].tolist())
                step += 1

    def _located(self, order: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Places in stored order over all shards -> numbers of the shards, places in them."""
        shards = np.searchsorted(self._firsts, order, "right") - 1
        return shards, order - self._firsts[shards]

    def _decoded(self, plan: Iterator[_Planned], window: int) -> Iterator[tuple[int, Batch]]:
        """The plan's batches in its order, a few ahead being read and decoded, shards a window ahead."""
        decoders = ThreadPoolExecutor(self.threads, thread_name_prefix="loader")
        openers = ThreadPoolExecutor(SHARDS_AT_ONCE, thread_name_prefix="loader-open")
        announced = self._announced(plan, window, openers)
        ahead: deque[tuple[int, Future[Batch]]] = deque()
        try:
            while True:
                while len(ahead) < PREFETCH_BATCHES and (planned := next(announced, None)) is not None:
                    ahead.append((planned.step, decoders.submit(self._batch, planned)))
                if not ahead:
                    return
                number, future = ahead.popleft()
                yield number, future.result()
        finally:
            for executor in (decoders, openers):
                executor.shutdown(wait=False, cancel_futures=True)

    def _announced(
        self, plan: Iterator[_Planned], window: int, openers: ThreadPoolExecutor
    ) -> Iterator[_Planned]:
        """The plan a window of samples later, whose shards are being opened meanwhile."""
        recent: OrderedDict[int, None] = OrderedDict()
        waiting: deque[_Planned] = deque()
        samples = 0
        for planned in plan:
            waiting.append(planned)
            samples += len(planned.places)
            for shard in sorted(set(planned.shards)):
                if shard not in recent:
                    openers.submit(self._prepare, shard)
                recent[shard] = None
                recent.move_to_end(shard)
                if len(recent) > OPEN_SHARDS:
                    recent.popitem(last=False)
            while samples > window:
                samples -= len(waiting[0].places)
                yield waiting.popleft()
        yield from waiting

    def _batch(self, planned: _Planned) -> Batch:
        members, keys, seeds = [], [], []
        for shard, place in zip(planned.shards, planned.places, strict=True):
            row = self._rows_of(shard)[place]
            members.append(self._members(self._shards[shard].manifest, row))
            keys.append(row.key)
            seeds.append(sample_seed(self.seed, planned.epoch, row.key))
        batch = decode_batch(members, keys, seeds, self._blocks.array)
        if not self.packed:
            batch = floats(batch)
        if self.pinned:
            batch = {
                name: value.pin_memory() if isinstance(value, Tensor) else value
                for name, value in batch.items()
            }
        return batch

    def _prepare(self, shard: int) -> None:
        self._reader.prepare(self._shards[shard].manifest, self._rows_of(shard)[0])

    def _members(self, manifest: Manifest, row: Row) -> dict[str, bytes]:
        try:
            return self._reader.members(manifest, row, self.fields)
        except UserError as error:
            raise UserError(f"{row.key}: {error}") from None


def _shards_of(manifest: Manifest, split: str) -> Iterator[_Shard]:
    rows = manifest.of_split(split)
    sizes = {shard.url: shard.nsamples for shard in manifest.shards}
    start = 0
    while start < len(rows):
        size = sizes[rows[start].shard]
        yield _Shard(manifest, rows, start, size)
        start += size


def _read_rows(shards: Sequence[_Shard], number: int) -> Sequence[Row]:
    shard = shards[number]
    return shard.rows[shard.start : shard.start + shard.size]


def _counted(manifest: Manifest) -> str:
    return (
        ", ".join(f"{count} for {split}" for split, count in sorted(manifest.counts().items())) or "nothing"
    )
