"""Batches from shard sets: ordered by `order`, read at random from the tars, decoded ahead in threads.

Reading needs the manifest only, not webdataset (which can read the same tars in sequence).
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from facefill.errors import UserError
from facefill.samples import Batch, collate, decode_sample
from pipelines.manifest import Manifest
from pipelines.order import epoch_order, sample_seed
from pipelines.shard_reader import ShardReader

PREFETCH_BATCHES = 4
EVALUATION_EPOCH = -1  # seeds of an evaluation never change


class Loader:
    """The samples of one split of one or several shard sets.

    Owns the open tars and the decoding threads. fields: names of the fields to read, None for all; key, seed
    and (as absent) landmarks and parsing are always in the batch. Raises UserError when a split is empty or
    there are too few samples for one batch per rank.
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
    ) -> None:
        self.batch_size, self.seed, self.rank, self.world_size = batch_size, seed, rank, world_size
        self.fields, self.threads = fields, threads
        self.rows = [(manifest, row) for manifest in manifests for row in manifest.of_split(split)]
        if not self.rows:
            held = "; ".join(f"{manifest.folder} holds {_counted(manifest)}" for manifest in manifests)
            raise UserError(
                f"no samples in split {split!r}: {held or 'no data set is named'}; change the split rule"
            )
        self.shard_sizes = [
            len(list(rows)) for _, rows in groupby(self.rows, key=lambda pair: pair[0].shard_url(pair[1]))
        ]
        self.split = split
        self._reader = ShardReader()

    def __len__(self) -> int:
        """Samples over all ranks."""
        return len(self.rows)

    @property
    def steps_per_epoch(self) -> int:
        """Batches that every rank gets in an epoch. Raises UserError when it would be none."""
        steps = len(self.rows) // self.world_size // self.batch_size
        if steps == 0:
            raise UserError(
                f"split {self.split!r} has {len(self.rows)} samples, too few for a batch of "
                f"{self.batch_size} on {self.world_size} workers; take a smaller batch_size or more data"
            )
        return steps

    def batches(self, start_step: int = 0) -> Iterator[tuple[int, Batch]]:
        """(step, batch) for ever, from any step on: what step s gives does not depend on where one began."""
        return self._decoded(self._training_plan(start_step))

    def evaluation_batches(self) -> Iterator[Batch]:
        """Every sample of the split once over all ranks, in stored order; the last batch may be smaller."""
        mine = np.arange(self.rank, len(self.rows), self.world_size)
        plan = (
            (number, mine[start : start + self.batch_size], EVALUATION_EPOCH)
            for number, start in enumerate(range(0, len(mine), self.batch_size))
        )
        return (batch for _, batch in self._decoded(plan))

    def _training_plan(self, start_step: int) -> Iterator[tuple[int, NDArray[np.int64], int]]:
        steps = self.steps_per_epoch
        step = start_step
        while True:
            epoch = step // steps
            order = epoch_order(
                self.shard_sizes, seed=self.seed, epoch=epoch, rank=self.rank, world_size=self.world_size
            )
            while step // steps == epoch:
                start = (step - epoch * steps) * self.batch_size
                yield step, order[start : start + self.batch_size], epoch
                step += 1

    def _decoded(self, plan: Iterator[tuple[int, NDArray[np.int64], int]]) -> Iterator[tuple[int, Batch]]:
        """The plan's batches in its order, a few ahead being read and decoded."""
        executor = ThreadPoolExecutor(self.threads, thread_name_prefix="loader")
        ahead: deque[tuple[int, Future[Batch]]] = deque()
        try:
            while True:
                while len(ahead) < PREFETCH_BATCHES and (entry := next(plan, None)) is not None:
                    number, places, epoch = entry
                    ahead.append((number, executor.submit(self._batch, places, epoch)))
                if not ahead:
                    return
                number, future = ahead.popleft()
                yield number, future.result()
        finally:
            executor.shutdown(wait=False, cancel_futures=True)

    def _batch(self, places: NDArray[np.int64], epoch: int) -> Batch:
        return collate([self._sample(place, epoch) for place in places.tolist()])

    def _sample(self, place: int, epoch: int) -> dict[str, object]:
        manifest, row = self.rows[place]
        try:
            sample = decode_sample(self._reader.members(manifest, row, self.fields))
        except UserError as error:
            raise UserError(f"{row.key}: {error}") from None
        return {**sample, "key": row.key, "seed": sample_seed(self.seed, epoch, row.key)}


def _counted(manifest: Manifest) -> str:
    return (
        ", ".join(f"{count} for {split}" for split, count in sorted(manifest.counts().items())) or "nothing"
    )
