"""What one training run is: plain data that travels to every worker, and what comes back."""

import hashlib
import importlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from facefill.errors import UserError
from pipelines import storage
from pipelines.run_model import RunModel


@dataclass(frozen=True, kw_only=True)
class TrainJob:
    """One stage to train.

    `digest` names everything that decides the result but the number of steps (settings, data manifests,
    parents): a checkpoint goes on only under the same digest, and a longer run of the same digest goes on
    from a shorter one. `workers=0` runs in this process, without Ray; (fewest, most) takes as many as the
    cluster has room for. `batch_size` counts all workers together. Every `keep_every` steps (0: never) a
    checkpoint is made that is not removed. `builder` is called as (job, device, synchronize) -> Stage,
    `loader` as (job, split, rank, world_size) -> object with `batches(start_step)`; both are dotted paths
    "package.module:function" that every worker can import.
    """

    stage: str
    config: dict[str, Any]
    output: str  # URL of the run's output folder, seen by every worker
    digest: str
    data: tuple[str, ...]  # URLs of shard manifests
    model: RunModel
    steps: int
    batch_size: int
    accumulate: int = 1  # parts of a worker's batch that pass one after the other
    parents: dict[str, str] = field(default_factory=dict)  # parent stage -> URL of its weights folder
    seed: int = 0
    workers: int | tuple[int, int] = 0
    gpu: bool = False
    threads_per_worker: int = 1
    loader_threads: int = 1
    report_every: int = 10
    checkpoint_every: int = 200
    keep_every: int = 0
    evaluate_every: int = 0  # 0: only at the end
    evaluate_batches: int = 4
    train_split: str = "train"
    evaluate_split: str = "validation"
    builder: str = "pipelines.stage_builder:build"
    loader: str = "pipelines.stage_builder:open_loader"

    @property
    def folder(self) -> str:
        """Checkpoints, metrics.jsonl, pictures and done.json of this stage."""
        return storage.join(self.output, "stages", self.stage)

    @property
    def weights_folder(self) -> str:
        """The published weights of this stage."""
        return storage.join(self.output, "weights", self.stage)

    @property
    def fewest_workers(self) -> int:
        """With how many Ray Train workers the job runs at least; 0 means in this process."""
        return self.workers if isinstance(self.workers, int) else self.workers[0]

    @property
    def most_workers(self) -> int:
        """With how many Ray Train workers the job runs at most."""
        return self.workers if isinstance(self.workers, int) else self.workers[1]

    def keeps(self, step: int) -> bool:
        """Whether the checkpoint of that step is never removed."""
        return self.keep_every > 0 and step % self.keep_every == 0

    def checkpoints(self, step: int) -> bool:
        """Whether that step is followed by a checkpoint (the last one always is)."""
        return step % self.checkpoint_every == 0 or self.keeps(step)

    def check(self) -> None:
        """Raise UserError for numbers that cannot work together."""
        least = dict.fromkeys(("steps", "batch_size", "accumulate", "report_every", "checkpoint_every"), 1)
        least |= dict.fromkeys(("threads_per_worker", "loader_threads"), 1)
        least |= dict.fromkeys(("keep_every", "evaluate_every", "evaluate_batches"), 0)
        for name, low in least.items():
            if getattr(self, name) < low:
                raise UserError(
                    f"{self.stage}.{name} is {getattr(self, name)}: give a number of {low} or more"
                )
        fewest, most = self.fewest_workers, self.most_workers
        if fewest < 0 or most < fewest or (fewest == 0 and most > 0):
            raise UserError(
                f"{self.stage}.workers is {self.workers}: give 0 (in this process), a number, or "
                "[fewest, most] with 1 or more"
            )
        sizes = range(max(fewest, 1), max(most, 1) + 1)
        for workers in sizes:
            if self.batch_size % workers:
                raise UserError(
                    f"{self.stage}.batch_size {self.batch_size} does not divide among {workers} workers: "
                    f"make it a multiple of {math.lcm(*sizes)}"
                )
            if self.batch_size // workers % self.accumulate:
                raise UserError(
                    f"{self.stage}.batch_size {self.batch_size} on {workers} worker(s) does not divide into "
                    f"{self.accumulate} parts: change accumulate or the batch size"
                )


@dataclass(frozen=True)
class StageResult:
    """A trained stage: its last metrics and where its weights are."""

    stage: str
    digest: str
    steps: int
    metrics: dict[str, float]
    weights: dict[str, str]  # network -> URL
    seconds: float  # of the call that finished it


def digest_of(value: Any) -> str:
    """Checksum of plain data (numbers, strings, lists, dicts), the same on every machine."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def finished(job: TrainJob) -> StageResult | None:
    """The result of exactly this job if it was completed before."""
    try:
        done = json.loads(storage.read_bytes(storage.join(job.folder, "done.json")))
    except FileNotFoundError:
        return None
    result = StageResult(**done)
    return result if (result.digest, result.steps) == (job.digest, job.steps) else None


def imported(path: str) -> Callable[..., Any]:
    """The function that "package.module:function" names."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
