"""The samples of one tar as a job names them: by their places in the manifest, read where they are needed."""

from collections.abc import Iterator
from dataclasses import dataclass

from facefill.errors import UserError
from pipelines.manifest import Manifest, ShardFile, load_rows
from pipelines.rows import Row


@dataclass(frozen=True)
class ShardRows:
    """Rows `start` to `stop` of the manifest in `folder`, which are all of `shard`'s; a few bytes, whatever
    their number.
    """

    folder: str
    shard: str
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[Row]:
        """Read them. Raises UserError where the manifest is another one by now."""
        rows = tuple(load_rows(self.folder).between(self.start, self.stop))
        if len(rows) != len(self) or any(row.shard != self.shard for row in rows):
            raise UserError(
                f"{self.folder}: the shard set was made anew while its samples were worked on; run the same "
                "command again"
            )
        return iter(rows)


def rows_by_shard(manifest: Manifest) -> Iterator[tuple[ShardFile, ShardRows]]:
    """The tars of a set that is stored, in order, each with its rows."""
    stop = 0
    for shard in manifest.shards:
        start, stop = stop, stop + shard.nsamples
        yield shard, ShardRows(manifest.folder, shard.url, start, stop)
