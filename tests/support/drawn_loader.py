"""A loader of drawn faces, for stages that are trained without shards: `TrainJob.loader`."""

from collections.abc import Iterator

from facefill.stages import Batch
from pipelines.train_job import TrainJob
from tests.support.faces import make_batch


class DrawnFaces:
    """The same batch over and over."""

    def __init__(self, count: int) -> None:
        self.batch = make_batch(count)

    def batches(self, start_step: int) -> Iterator[Batch]:
        while True:
            yield self.batch


def open_loader(job: TrainJob, split: str, rank: int, world_size: int) -> DrawnFaces:
    return DrawnFaces(job.batch_size // world_size)
