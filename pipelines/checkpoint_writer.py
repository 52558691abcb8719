"""Checkpoints written while training goes on: the state is copied at once, and sent by a thread."""

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

from torch import Tensor

from pipelines.checkpoints import Checkpoint, save_checkpoint
from pipelines.train_job import TrainJob

log = logging.getLogger(__name__)


class CheckpointWriter:
    """Rank 0's checkpoints, one on its way at a time; `announce` is called with the step of each that is
    there.

    Used as a context: at its end the one on its way is waited for, whatever ended the training. The error of
    one that failed is raised by the next call, or at the end.
    """

    def __init__(self, job: TrainJob, world_size: int, announce: Callable[[int], None]) -> None:
        self._job = job
        self._world_size = world_size
        self._announce = announce
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._on_its_way: Future[Checkpoint] | None = None

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Wait for the checkpoint before, copy the state after `step` updates to this machine's memory, and
        begin to write it.
        """
        self.wait()
        job = self._job
        self._on_its_way = self._thread.submit(
            save_checkpoint,
            *(job.folder, job.stage, step, job.digest, self._world_size, in_host_memory(state)),
            kept=job.keeps(step),
        )

    def look(self) -> None:
        """Announce the checkpoint on its way if it has arrived; does not wait."""
        if self._on_its_way is not None and self._on_its_way.done():
            self.wait()

    def wait(self) -> None:
        """Wait for the checkpoint on its way, if there is one, and announce it."""
        if self._on_its_way is not None:
            waited, self._on_its_way = self._on_its_way, None
            self._announce(waited.result().step)

    def __enter__(self) -> "CheckpointWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True)
        try:
            self.wait()
        except Exception as lost:
            if error is None:
                raise
            log.error("the last checkpoint could not be written: %s", lost)


def in_host_memory(value: Any) -> Any:
    """The state with a copy of every tensor that later updates do not change."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: in_host_memory(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(in_host_memory(item) for item in value)
    return value
