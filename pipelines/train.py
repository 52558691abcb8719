"""Where a training loop runs: in this process, or in Ray Train workers. The only file with ray.train.

The driver waits, records (pipelines/recording.py) and says how to go on; the loop (pipelines/train_loop.py)
does the work. Ray Train gives the workers, their process group, and a restart when one is lost; checkpoints
are our own, so a run is the same wherever it runs, and a kill at any moment costs only the steps since the
last checkpoint.
"""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any, cast

import torch

from facefill.errors import UserError
from pipelines import storage
from pipelines.board import Sink, board
from pipelines.checkpoints import newest_checkpoint
from pipelines.progress import Progress, brief
from pipelines.recording import Recorder
from pipelines.registered_model import model_to_register
from pipelines.tracking import Tracking, ended, open_run
from pipelines.train_job import StageResult, TrainJob, finished
from pipelines.train_loop import run_loop
from pipelines.train_ranks import NotFiniteError, Place

MAX_FAILURES = 2  # workers lost, beside those whose node announced its end


def train_stage(
    job: TrainJob, progress: Progress, tracking: Tracking | None = None, label: str = ""
) -> StageResult:
    """Train one stage to the end, or go on with it; a job that was completed before is not repeated.

    With `job.workers` a running Ray session is needed. Raises UserError for a checkpoint of another
    configuration, a diverged run and whatever the user can mend; KeyboardInterrupt, with the step that the
    next call goes on from, when stopped.
    """
    job = settled(job)
    label = label or f"train {job.stage}"
    result = finished(job)
    if result is not None:
        return result
    newest_checkpoint(
        job.folder, job.digest, job.steps
    )  # refuse another configuration before anything starts
    tracked = open_run(
        tracking, f"3dfacefill/{job.stage}", asdict(job), storage.join(job.folder, "mlflow_run.json")
    )
    recorder = Recorder(job.folder, progress, job.batch_size, tracked)
    try:
        with ended(tracked):
            result = train_to_the_end(job, label, recorder)
            if tracked is not None:
                tracked.log_file(storage.join(job.weights_folder, "card.json"), "card.json")
                if (model := model_to_register(job)) is not None:
                    tracked.log_model(model)
    except KeyboardInterrupt:
        progress.drop(label)
        raise KeyboardInterrupt(
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
    outcome = run_here(job, label, tell) if job.workers == 0 else run_on_ray(job, label, tell)
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
    device = torch.device("cuda" if job.gpu else "cpu")
    threads = torch.get_num_threads()
    try:
        with torch.random.fork_rng(devices=[]):
            return run_loop(job, label, Place(0, 1, device, lambda metrics: None), tell)
    finally:
        torch.set_num_threads(threads)


def run_on_ray(job: TrainJob, label: str, on_event: Sink) -> dict[str, Any]:
    """The loop in `job.workers` workers of the running Ray cluster, restarted when a worker is lost."""
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer

    resources = {"CPU": 1.0, "GPU": 1.0} if job.gpu else {"CPU": 1.0}
    cluster = ray.cluster_resources()
    for kind in resources:
        if cluster.get(kind, 0) < job.workers:
            raise UserError(
                f"{label}: {job.workers} workers need a {kind} each, the cluster has "
                f"{cluster.get(kind, 0):.0f}: ask for fewer workers or give the cluster more"
            )
    path, filesystem = storage.ray_storage(storage.join(job.folder, "ray"))
    with board(on_event) as post:
        trainer = TorchTrainer(
            cast(Any, worker),  # its annotations know no result
            train_loop_config={"job": job, "label": label, "post": post},
            torch_config=TorchConfig(backend="nccl" if job.gpu else "gloo"),
            scaling_config=ray.train.ScalingConfig(
                num_workers=job.workers, use_gpu=job.gpu, resources_per_worker=resources
            ),
            run_config=ray.train.RunConfig(
                name=job.digest[:16],
                storage_path=path,
                storage_filesystem=filesystem,
                failure_config=ray.train.FailureConfig(max_failures=MAX_FAILURES),
            ),
        )
        try:
            with own_interrupt_handler():
                result: Any = trainer.fit()
        except SystemExit:  # Ray's answer to Ctrl-C, after it has ended the workers
            raise KeyboardInterrupt from None
        except ray.train.WorkerGroupError as error:
            for failure in error.worker_failures.values():
                if isinstance(failure, UserError):
                    raise failure from error
            raise
    answer = result.return_value
    if "mistake" in answer:
        raise UserError(answer["mistake"])
    return answer


def worker(config: dict[str, Any]) -> dict[str, Any]:
    """One Ray Train worker.

    A mistake that every rank meets is handed back as a value: raised, Ray would try the job again in vain.
    """
    import ray.train
    import ray.train.torch

    job, label, post = config["job"], config["label"], config["post"]
    if not storage.exists(storage.join(job.folder, "job.json")):
        raise UserError(
            f"a worker cannot see {job.output}: use a folder that all machines share, or s3://..."
        )
    context = ray.train.get_context()
    place = Place(
        context.get_world_rank(), context.get_world_size(), ray.train.torch.get_device(), ray.train.report
    )
    try:
        return run_loop(job, label, place, post)
    except NotFiniteError as error:
        return {"mistake": str(error)}
    finally:
        post.wait()


@contextlib.contextmanager
def own_interrupt_handler() -> Iterator[None]:
    """Put back the answer to Ctrl-C that Ray Train replaces for good."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # not the main thread: nothing was replaced
            signal.signal(signal.SIGINT, handler)


def absolute(url: str) -> str:
    """The URL as workers in any folder understand it."""
    return url if "://" in url else os.path.abspath(os.path.expanduser(url))
