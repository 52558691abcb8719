"""What one training run is: plain data that travels to every worker, and what comes back."""

import hashlib
import importlib
import json
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
    from a shorter one. `workers=0` runs in this process, without Ray. `batch_size` counts all workers
    together. `builder` is called as (job, device, synchronize) -> Stage, `loader` as (job, split, rank,
    world_size) -> object with `batches(start_step)`; both are dotted paths "package.module:function" that
    every worker can import.
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
    workers: int = 0
    gpu: bool = False
    threads_per_worker: int = 1
    loader_threads: int = 1
    report_every: int = 10
    checkpoint_every: int = 200
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

    def check(self) -> None:
        """Raise UserError for numbers that cannot work together."""
        for name in (
            "steps",
            "batch_size",
            "accumulate",
            "report_every",
            "checkpoint_every",
            "threads_per_worker",
        ):
            if getattr(self, name) < 1:
                raise UserError(f"{self.stage}.{name} is {getattr(self, name)}: give a number of 1 or more")
        if self.workers > 1 and self.batch_size % self.workers:
            raise UserError(
                f"{self.stage}.batch_size {self.batch_size} does not divide among {self.workers} workers: "
                "make it a multiple of their number"
            )
        if self.batch_size // max(self.workers, 1) % self.accumulate:
            raise UserError(
                f"{self.stage}.batch_size {self.batch_size} on {max(self.workers, 1)} worker(s) does not "
                f"divide into {self.accumulate} parts: change accumulate or the batch size"
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
