"""What the runner adds to a stage's own steps, and how long these wait for their data.

Stage `inpaint` in bfloat16 on drawn faces takes the same steps in a bare loop, in the runner, and in a Ray
Train worker, each in a process of its own. A stage tells the CPU seconds of its process, all threads
included, from one step to the next. `s/step` is the least of the reports after the first: on a CPU its time
by the number of torch's threads, on a GPU that of the clock; `clock` and `wait` are medians.
"""

import contextlib
import io
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.speed_data import busy_seconds
from benchmarks.speed_job import fits_of, write_faces, write_fits
from facefill.config import InpaintConfig
from facefill.networks.albedo_decoder import AlbedoDecoder
from facefill.networks.encoder import Encoder
from facefill.stages import Stage, Synchronize, alone
from pipelines import storage
from pipelines.checkpoints import publish_weights
from pipelines.cluster_session import session
from pipelines.progress import Progress
from pipelines.project_uv import project_dataset
from pipelines.recording import read_metrics
from pipelines.run_model import default_run_model
from pipelines.stage_builder import build, open_loader
from pipelines.train import train_stage
from pipelines.train_job import TrainJob
from pipelines.train_loop import on_device
from pipelines.train_ray import FOR_SPEED

BATCH = 8
REPORT = 4  # steps
REPORTS = 5
STEPS = REPORT * REPORTS
PER_SHARD = 32
USUAL_CHECKPOINTS = 200  # steps from one to the next, as the settings have it
MOST_RUNNER, MOST_RAY = 0.02, 0.03  # of a bare step
MOST_WAIT, MOST_REMOTE_WAIT = 0.02, 0.05  # of the clock
HEADINGS = ("one stage", "s/step", "clock", "wait", "over the bare loop", "wanted", "met")


@dataclass(frozen=True)
class Pace:
    """Seconds per step of one way to train.

    work: of the CPU by threads, or of a GPU's clock. wait: the share of the clock that passed before a batch
    was there. beside: CPU seconds per step of all other processes.
    """

    work: float
    clock: float
    wait: float
    beside: float = 0.0


class Timed:
    """A stage that reports `time/cpu`: CPU seconds of its process since its step before."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._before = float("nan")  # the first step has none before it; means leave it out

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stage, name)

    def train_step(self, parts: Any) -> dict[str, Tensor]:
        """The stage's update."""
        before, self._before = self._before, time.process_time()
        losses = self._stage.train_step(parts)
        if before == before:
            losses["time/cpu"] = torch.tensor(self._before - before)
        return losses


def build_timed(job: TrainJob, device: torch.device, synchronize: Synchronize) -> Timed:
    """The builder of every job here."""
    return Timed(build(job, device, synchronize))


class Beside(Progress):
    """Draws nothing; notes at every report what all processes that were started here have used."""

    def __init__(self) -> None:
        super().__init__(io.StringIO())
        self.busy: list[float] = []

    def update(self, label: str, done: int, total: int, note: str = "", unit: str = "") -> None:
        """A report."""
        self.busy.append(busy_seconds())


def measure_runner(width: float = 1.0, remote: str | None = None) -> Iterator[str]:
    """Markdown: each way to train, with shards of this machine and with those of a remote folder."""
    gpu = torch.cuda.is_available()
    with tempfile.TemporaryDirectory() as name, environment(FOR_SPEED):
        root = Path(name)
        job = prepared_job(root, width, gpu)
        bare = in_fresh_process(bare_loop, job)
        yield f"{heading()}\n{row('a bare loop over batches in memory', bare, bare)}"
        runner = in_fresh_process(trained_here, changed(job, root / "runner"))
        yield row(f"the runner, a report every {REPORT} steps", runner, bare, MOST_RUNNER, MOST_WAIT)
        saving = in_fresh_process(trained_here, changed(job, root / "saving", checkpoint_every=REPORT))
        yield row(f"the runner, a checkpoint every {REPORT} steps too", saving, bare)
        checkpoint = max(saving.work - runner.work, 0.0) * REPORT
        share = (runner.work - bare.work + checkpoint / USUAL_CHECKPOINTS) / bare.work
        often = f"the runner, a checkpoint every {USUAL_CHECKPOINTS} steps"
        yield f"| {often} |  |  |  | {share:+.1%} | {judged(share, MOST_RUNNER)} |"
        cache = {"FACEFILL_CACHE": str(root / "cache")} if remote else {}  # an empty one
        with environment(cache), session(address="local", num_cpus=2):
            ray = trained_on_ray(changed(job, root / "ray", workers=1))
            yield row("a worker of Ray Train", ray, bare, MOST_RAY, MOST_WAIT)
            if remote is not None:
                folder = storage.join(remote, "speed_train")
                try:
                    away = changed(job, root / "remote", workers=1, data=(copied(job.data[0], folder),))
                    there = trained_on_ray(away)
                finally:
                    storage.remove(folder)
                yield row("a worker, shards on remote storage", there, bare, MOST_RAY, MOST_REMOTE_WAIT)
        yield (
            f"\nA checkpoint takes {checkpoint:.2f} s. Driver and Ray beside the worker: "
            f"{ray.beside:.3f} s of CPU per step, {ray.beside / ray.clock:.1%} of a core."
        )


def prepared_job(root: Path, width: float, gpu: bool) -> TrainJob:
    """The job that all cases vary, with as many faces as it takes in one epoch, and an untrained parent."""
    pictures = write_faces(root / "faces", STEPS * BATCH, PER_SHARD)
    write_fits(pictures)
    maps = project_dataset(pictures.folder, fits_of(pictures), str(root / "maps"), workers=0)
    torch.manual_seed(0)
    model = default_run_model()
    parent = str(root / "morphable")
    networks = {"encoder": Encoder(width).state_dict(), "albedo_decoder": AlbedoDecoder().state_dict()}
    publish_weights(
        parent, networks, {"stage": "morphable", "config": {"width": width}, "model": model.card()}
    )
    config = InpaintConfig(width=width, discriminator_width=width, encoder_width=width, precision="bfloat16")
    return TrainJob(
        stage="inpaint",
        config=asdict(config),
        output=str(root / "bare"),
        digest="0" * 64,
        data=(maps.folder,),
        model=model,
        steps=STEPS,
        batch_size=BATCH,
        parents={"morphable": parent},
        gpu=gpu,
        threads_per_worker=torch.get_num_threads(),
        report_every=REPORT,
        checkpoint_every=STEPS,
        evaluate_batches=0,
        builder="benchmarks.speed_train_runner:build_timed",
    )


def changed(job: TrainJob, output: Path, **changes: Any) -> TrainJob:
    """The job in another folder."""
    return replace(job, output=str(output), **changes)


def bare_loop(job: TrainJob) -> Pace:
    """The stage's own steps on two batches in turn, and nothing else."""
    device = torch.device("cuda" if job.gpu else "cpu")
    torch.set_num_threads(job.threads_per_worker)
    batches = iter(open_loader(job, job.train_split, 0, 1).batches(0))
    pair = [on_device(next(batches), device) for _ in range(2)]
    stage = build(job, device, alone)
    reports = []
    for _ in range(REPORTS):
        cpu, wall = time.process_time(), time.perf_counter()
        for number in range(REPORT):
            stage.train_step([pair[number % 2]])
        if job.gpu:
            torch.cuda.synchronize()
        spent = time.process_time() - cpu, time.perf_counter() - wall
        reports.append({"time/cpu": spent[0] / REPORT, "time/step": spent[1] / REPORT, "time/data": 0.0})
    return pace_of(reports, job)


def trained_here(job: TrainJob) -> Pace:
    """The runner without Ray."""
    train_stage(job, Progress(io.StringIO()))
    return pace_of(reports_of(job), job)


def trained_on_ray(job: TrainJob) -> Pace:
    """The runner in workers of the running session."""
    progress = Beside()
    train_stage(job, progress)
    reports = reports_of(job)
    everything = progress.busy[-1] - progress.busy[-REPORTS]
    own = REPORT * sum(report["time/cpu"] for report in reports[1:])
    return replace(pace_of(reports, job), beside=(everything - own) / (REPORT * (REPORTS - 1)))


def reports_of(job: TrainJob) -> list[dict[str, float]]:
    """What the run has recorded, oldest first."""
    lines = read_metrics(storage.join(job.folder, "metrics.jsonl"))
    return [line for line in lines if line["kind"] == "metrics"]


def pace_of(reports: list[dict[str, float]], job: TrainJob) -> Pace:
    """The pace of all reports but the first, in which everything is slower."""
    later = reports[1:]
    clocks = [report["time/step"] for report in later]
    cpu = min(report["time/cpu"] for report in later) / job.threads_per_worker
    wait = median(report["time/data"] / report["time/step"] for report in later)
    return Pace(min(clocks) if job.gpu else cpu, median(clocks), wait)


def in_fresh_process(train: Any, job: TrainJob) -> Pace:
    """The job in a process that has the environment which workers have."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(train, job).result()


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Variables for the processes that the block starts."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def copied(folder: str, remote: str) -> str:
    """A shard set copied into the remote folder."""
    for url in storage.list_files(folder, recursive=False):
        storage.write_bytes(storage.join(remote, storage.name_of(url)), storage.read_bytes(url))
    return remote


def heading() -> str:
    """The head of the table."""
    return f"| {' | '.join(HEADINGS)} |\n| --- |" + " ---: |" * (len(HEADINGS) - 1)


def row(name: str, pace: Pace, bare: Pace, most: float | None = None, most_wait: float | None = None) -> str:
    """A row of Markdown, judged where something is wanted."""
    over = pace.work / bare.work - 1
    verdict = " | "
    if most is not None and most_wait is not None:
        met = over <= most and pace.wait <= most_wait
        verdict = f"≤ {most:.0%}, wait ≤ {most_wait:.0%} | {'yes' if met else '**no**'}"
    return f"| {name} | {pace.work:.3f} | {pace.clock:.3f} | {pace.wait:.1%} | {over:+.1%} | {verdict} |"


def judged(share: float, most: float) -> str:
    """What is wanted, and whether it is met."""
    return f"≤ {most:.0%} | {'yes' if share <= most else '**no**'}"
