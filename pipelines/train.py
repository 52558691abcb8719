"""Train a stage, or go on with it, in this process or in Ray Train workers (pipelines/train_ray.py).

The driver waits, records (pipelines/recording.py) and says how to go on; the loop (pipelines/train_loop.py)
does the work. Checkpoints are our own, so a run is the same wherever it runs, and a kill at any moment costs
only the steps since the last checkpoint.
"""

import json
import os
import time
from dataclasses import asdict, replace
from typing import Any

import torch

from facefill.errors import UserError
from pipelines import storage
from pipelines.board import Sink
from pipelines.checkpoints import newest_checkpoint
from pipelines.progress import Progress, brief
from pipelines.recording import Recorder
from pipelines.registered_model import model_to_register
from pipelines.stop_notice import Terminated, sigterm_calls
from pipelines.tracking import TrackedRun, Tracking, ended, left_open, open_run
from pipelines.train_job import StageResult, TrainJob, finished
from pipelines.train_loop import run_loop
from pipelines.train_ranks import Place


def train_stage(
    job: TrainJob, progress: Progress, tracking: Tracking | None = None, label: str = ""
) -> StageResult:
    """Train one stage to the end, or go on with it; a job that was completed before is not repeated.

    With `job.workers` a running Ray session is needed. Raises UserError for a checkpoint of another
    configuration, a diverged run and whatever the user can mend; KeyboardInterrupt, with the step that the
    next call goes on from, when stopped (Terminated after SIGTERM, for which a checkpoint is made).
    """
    job = settled(job)
    label = label or f"train {job.stage}"
    memory = storage.join(job.folder, "mlflow_run.json")
    result = finished(job)
    if result is not None:
        if tracking is not None and left_open(memory):  # killed after the work, before it was recorded
            tracked = open_run(tracking, f"3dfacefill/{job.stage}", asdict(job), memory)
            with ended(tracked):
                record_results(tracked, job)
        return result
    newest_checkpoint(
        job.folder, job.digest, job.steps
    )  # refuse another configuration before anything starts
    tracked = open_run(tracking, f"3dfacefill/{job.stage}", asdict(job), memory)
    recorder = Recorder(job.folder, progress, job.batch_size, tracked)
    try:
        with ended(tracked):
            result = train_to_the_end(job, label, recorder)
            record_results(tracked, job)
    except KeyboardInterrupt as stop:
        progress.drop(label)
        raise type(stop)(
            f"{label} stopped; the same command goes on from its checkpoint at step "
            f"{recorder.checkpoint_step}"
        ) from None
    except BaseException:
        progress.drop(label)
        raise
    finally:
        recorder.close()
    progress.finish(label, brief(result.metrics))
    return result


def record_results(tracked: TrackedRun | None, job: TrainJob) -> None:
    """The finished job's card and model for its tracked run."""
    if tracked is not None:
        tracked.log_file(storage.join(job.weights_folder, "card.json"), "card.json")
        if (model := model_to_register(job)) is not None:
            tracked.log_model(model)


def settled(job: TrainJob) -> TrainJob:
    """The job with URLs that workers in any folder understand. Raises UserError for impossible numbers."""
    job.check()
    return replace(
        job,
        output=absolute(job.output),
        data=tuple(absolute(url) for url in job.data),
        parents={stage: absolute(url) for stage, url in job.parents.items()},
    )


def train_to_the_end(job: TrainJob, label: str, tell: Sink) -> StageResult:
    """Run the settled job where it asks to run; `done.json` is written last."""
    storage.write_text(storage.join(job.folder, "job.json"), json.dumps(asdict(job), indent=1))
    started = time.monotonic()
    if job.workers == 0:
        outcome = run_here(job, label, tell)
    else:
        from pipelines.train_ray import run_on_ray  # Ray Train takes seconds to load

        outcome = run_on_ray(job, label, tell)
    if "stopped" in outcome:
        raise Terminated(outcome["stopped"])
    result = StageResult(
        stage=job.stage,
        digest=job.digest,
        steps=job.steps,
        metrics=outcome["metrics"],
        weights=outcome["weights"],
        seconds=time.monotonic() - started,
    )
    storage.write_text(storage.join(job.folder, "done.json"), json.dumps(asdict(result), indent=1))
    return result


def run_here(job: TrainJob, label: str, tell: Sink) -> dict[str, Any]:
    """The loop in this process: for small machines, for tests, and inside the trials of a sweep."""
    if job.gpu and not torch.cuda.is_available():
        raise UserError(f"{label}: gpu is set, but torch sees no GPU on this machine: set gpu to false")
    place = Place(0, 1, torch.device("cuda:0" if job.gpu else "cpu"))
    threads = torch.get_num_threads()
    try:
        with (
            torch.random.fork_rng(devices=[0] if job.gpu else []),
            sigterm_calls(lambda: place.notice.give("told to end (SIGTERM)")),
        ):
            return run_loop(job, label, place, tell)
    finally:
        torch.set_num_threads(threads)


def absolute(url: str) -> str:
    """The URL as workers in any folder understand it."""
    return url if "://" in url else os.path.abspath(os.path.expanduser(url))
