"""A training job on two ranks without Ray: processes that meet in a file, quick to start and to kill."""

import multiprocessing
import os
import signal
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed

from pipelines.checkpoints import list_checkpoints
from pipelines.run_model import default_run_model, load_run_model
from pipelines.train_job import TrainJob
from pipelines.train_loop import run_loop
from pipelines.train_ranks import Place

LIMIT_S = 200
load_run_model(default_run_model())  # once for all processes, see `train_on_two`


def rank_of(job: TrainJob, meeting: str, rank: int) -> None:
    """One rank, from its start to the end."""
    group = "gloo", f"file://{meeting}", timedelta(seconds=LIMIT_S), 2, rank
    torch.distributed.init_process_group(*group)
    run_loop(job, "train", Place(rank, 2, torch.device("cpu")), lambda event: None)
    torch.distributed.destroy_process_group()


def train_on_two(job: TrainJob, kill_after: int | None = None) -> None:
    """Train to the end, or kill both ranks once there is a checkpoint of step `kill_after` or later."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["two_ranks"])  # the long imports once for all
    with tempfile.TemporaryDirectory() as scratch:
        processes = [
            context.Process(target=rank_of, args=(job, str(Path(scratch) / "meeting"), rank))
            for rank in range(2)
        ]
        for process in processes:
            process.start()
        deadline = time.monotonic() + LIMIT_S
        while kill_after is not None and not any(
            checkpoint.step >= kill_after for checkpoint in list_checkpoints(job.folder)
        ):
            assert time.monotonic() < deadline and all(process.exitcode is None for process in processes)
            time.sleep(0.02)
        for process in processes:
            if kill_after is not None:
                os.kill(process.pid, signal.SIGKILL)
            process.join(LIMIT_S)
            assert process.exitcode == (0 if kill_after is None else -signal.SIGKILL)
