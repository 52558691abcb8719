"""The training loop in the workers of a running Ray cluster. The only file with ray.train.

Ray Train gives the workers and their process group, as many of a range as the cluster has room for, and
starts them again when one is lost. When a worker or its machine is told to leave, all workers stop after the
same step with a checkpoint, and are started again on what is left.
"""

import contextlib
import math
import threading
import time
from typing import Any, cast

import ray.train
import ray.train.torch
from ray.train.torch import TorchConfig, TorchTrainer

from facefill.errors import UserError
from pipelines import storage
from pipelines.board import Post, Sink, board
from pipelines.cluster_session import cluster_resources
from pipelines.overheard import overheard
from pipelines.progress import Event
from pipelines.stop_notice import (
    PROCESS_NOTICE,
    Terminated,
    heed_sigterm,
    own_interrupt_handler,
    sigterm_calls,
)
from pipelines.train_job import TrainJob
from pipelines.train_loop import run_loop
from pipelines.train_ranks import CommonError, Place

MAX_FAILURES = 2  # workers lost without a new checkpoint between, beside those that were told to leave
LOOK_FOR_MORE_S = 300.0  # growing costs the steps since the last checkpoint
# Read where a process starts, and only for training workers. glibc gives large maps back to the kernel at
# every layer and asks for them again: a twentieth of a step on a CPU, paid for with memory. OpenMP's threads
# spin for milliseconds when they have nothing to do, where our own loops want the core: another twentieth.
FOR_SPEED = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
    "GOMP_SPINCOUNT": "10000",
}
ASK_DRIVER_S = 1.0
ASK_CLUSTER_S = 5.0


def run_on_ray(job: TrainJob, label: str, on_event: Sink) -> dict[str, Any]:
    """The loop in `job.workers` workers, until it is done, cannot go on, or this process gets SIGTERM.

    Raises UserError where the cluster is too small.
    """
    check_room(job, label)
    driver = Driver(on_event)
    with board(driver.hear) as post, sigterm_calls(lambda: driver.told_to_stop(post)):
        while True:
            driver.started.clear()
            try:
                answer = fit(job, label, post)
            except ray.train.WorkerGroupError as error:
                for failure in error.worker_failures.values():
                    if isinstance(failure, UserError):
                        raise failure from error
                driver.losses += 1
                if not driver.started.is_set() or driver.losses > MAX_FAILURES or driver.told:
                    raise
                continue
            if "mistake" in answer:
                raise UserError(answer["mistake"])
            if "stopped" not in answer or driver.told:
                return answer
            text = f"{label}: {answer['stopped']}; all stopped with a checkpoint and go on with what is left"
            on_event(Event(label, "note", driver.checkpoint_step, job.steps, text=text))


class Driver:
    """What this process knows of the training: how far it is, and whether it is to end."""

    def __init__(self, on_event: Sink) -> None:
        self._on_event = on_event
        self.started = threading.Event()
        self.checkpoint_step = 0
        self.losses = 0  # of workers, without a new checkpoint between
        self.told = False

    def hear(self, event: Event) -> None:
        """Take note of an event and hand it on."""
        if event.kind == "start":
            self.losses += self.started.is_set()  # Ray has started the workers again
            self.started.set()
        if event.kind == "checkpoint":
            self.checkpoint_step, self.losses = event.step, 0
        self._on_event(event)

    def told_to_stop(self, post: Post) -> None:
        """Answer SIGTERM: have the workers stop with a checkpoint; end at once where there are none yet, or
        when told again.
        """
        if self.told or not self.started.is_set():
            raise Terminated
        self.told = True
        threading.Thread(target=post.ask_to_stop, daemon=True).start()  # no calls to Ray in a signal's answer


def check_room(job: TrainJob, label: str) -> None:
    """Raise UserError where the cluster will never have room for the fewest workers."""
    cluster = cluster_resources()
    for kind in resources_of(job):
        there = math.floor(cluster.get(kind, 0))
        if there < job.fewest_workers:
            remedy = "set gpu to false" if kind == "GPU" and there == 0 else "ask for fewer workers"
            raise UserError(
                f"{label}: {job.fewest_workers} workers need a {kind} each, the cluster has {there}: "
                f"{remedy} or give the cluster more"
            )


def resources_of(job: TrainJob) -> dict[str, float]:
    """What one worker takes of its machine."""
    return {"CPU": 1.0, "GPU": 1.0} if job.gpu else {"CPU": 1.0}


def fit(job: TrainJob, label: str, post: Post) -> dict[str, Any]:
    """Ray Train's workers from their start to their common end; what rank 0 returned.

    Raises KeyboardInterrupt for Ctrl-C and WorkerGroupError after too many losses.
    """
    path, filesystem = storage.ray_storage(storage.join(job.folder, "ray"))
    trainer = TorchTrainer(
        cast(Any, worker),  # its annotations know no result
        train_loop_config={"job": job, "label": label, "post": post},
        torch_config=HeedingConfig(backend="nccl" if job.gpu else "gloo"),
        scaling_config=cast(Any, ray.train.ScalingConfig)(  # typed as that of its forerunner
            num_workers=job.workers,
            use_gpu=job.gpu,
            resources_per_worker=resources_of(job),
            elastic_resize_monitor_interval_s=LOOK_FOR_MORE_S,
        ),
        run_config=cast(Any, ray.train.RunConfig)(  # as above
            name=job.digest[:16],
            storage_path=path,
            storage_filesystem=filesystem,
            failure_config=ray.train.FailureConfig(max_failures=MAX_FAILURES),
            worker_runtime_env={"env_vars": FOR_SPEED},
        ),
    )
    try:
        with own_interrupt_handler():
            return cast(Any, trainer.fit()).return_value
    except SystemExit:  # Ray's answer to Ctrl-C, after it has ended the workers
        raise KeyboardInterrupt from None


class HeedingConfig(TorchConfig):
    """Torch's process group, and workers that take SIGTERM for a notice."""

    @property
    def backend_cls(self) -> Any:
        return HeedingBackend


class HeedingBackend(TorchConfig().backend_cls):  # type: ignore[misc]
    """Has every worker's main thread, which alone may do so, listen to SIGTERM before training begins."""

    def on_training_start(self, worker_group: Any, backend_config: Any) -> None:
        super().on_training_start(worker_group, backend_config)
        worker_group.execute(heed_sigterm)


def worker(config: dict[str, Any]) -> dict[str, Any]:
    """One Ray Train worker.

    A mistake that every rank meets is handed back as a value: raised, Ray would try the job again in vain.
    """
    job, label, post = config["job"], config["label"], config["post"]
    if not storage.exists(storage.join(job.folder, "job.json")):
        raise UserError(
            f"a worker cannot see {job.output}: use a folder that all machines share, or s3://..."
        )
    context = ray.train.get_context()
    rank = context.get_world_rank()
    for listener in (listen_to_cluster, *((listen_to_driver,) if rank == 0 else ())):
        threading.Thread(target=listener, args=(post,), name="notice", daemon=True).start()
    place = Place(rank, context.get_world_size(), ray.train.torch.get_device(), PROCESS_NOTICE)

    def warn(text: str) -> None:
        post(Event(label, "note", 0, job.steps, text=f"{label}: {text}"))

    try:
        with overheard(warn):
            return run_loop(job, label, place, post)
    except CommonError as error:
        return {"mistake": str(error)}
    finally:
        post.wait()


def listen_to_driver(post: Post) -> None:
    """Leave a note when the driver wants the workers to stop."""
    with contextlib.suppress(Exception):  # the end of the job takes the mailbox away
        while not post.asked_to_stop():
            time.sleep(ASK_DRIVER_S)
        PROCESS_NOTICE.give("the driver was told to end")


def listen_to_cluster(_: Post) -> None:
    """Leave a note when Ray takes a worker's machine away; all ranks ask together, as Ray wants it."""
    with contextlib.suppress(Exception):  # another rank has ended
        while (leaving := ray.train.get_preemption_info()) is None:
            time.sleep(ASK_CLUSTER_S)
        PROCESS_NOTICE.give(f"the cluster takes {len(leaving.preempted_node_ids)} machine(s) away")
