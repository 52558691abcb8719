"""The training loop, the same for every stage and place: build, step, report, evaluate, checkpoint.

Plain torch: it runs in the driver's own process, or in each of several Ray Train workers. Every rank does the
same number of everything; rank 0 writes and speaks. All randomness of a step comes from (seed, step, rank),
so a run that was killed and continued ends with the same bits as one that was not, and no random state needs
saving.
"""

import hashlib
import itertools
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from facefill.errors import UserError
from facefill.samples import floats, split_batch
from pipelines.board import Sink
from pipelines.checkpoint_writer import CheckpointWriter
from pipelines.checkpoints import Checkpoint, load_state, newest_checkpoint, publish_weights
from pipelines.gradient_average import GradientAverage
from pipelines.progress import Event
from pipelines.step_watch import StepWatch
from pipelines.train_job import TrainJob, imported
from pipelines.train_ranks import Means, Place, agreed, gathered, in_common


def run_loop(job: TrainJob, label: str, place: Place, tell: Sink) -> dict[str, Any]:
    """Train to `job.steps` and publish the weights; returns the last metrics and the weights' URLs.

    Told to stop (`place.notice`, on any rank), all ranks end after the same step with a checkpoint, and
    return the reason as `stopped`. Raises UserError for a checkpoint of another configuration and
    NotFiniteError when training has diverged.
    """
    torch.set_num_threads(job.threads_per_worker)
    if place.device.type == "cuda":
        torch.cuda.set_device(place.device)  # what ranks exchange as objects goes through it
    average = GradientAverage(place)
    seed_torch(place.device, job.seed, "weights")  # the same on every rank
    stage = in_common(lambda: imported(job.builder)(job, place.device, average), place)
    checkpoint = agreed(
        newest_checkpoint(job.folder, job.digest, job.steps) if place.rank == 0 else None, place
    )
    if checkpoint is not None:
        in_common(lambda: restore(stage, checkpoint), place)
    start = checkpoint.step if checkpoint else 0

    def say(kind: str, step: int, **what: Any) -> None:
        if place.rank == 0:
            tell(Event(label, kind, step, job.steps, **what))

    def show(step: int, picture: Any) -> None:
        say("picture", step, picture=picture)

    say("start", start)
    for text in remarks(job, place, checkpoint):
        say("note", start, text=f"{label}: {text}")
    means = Means(place)
    watch = StepWatch(place, average)
    evaluation: dict[str, float] = {}
    metrics: dict[str, float] = {}
    if job.evaluate_batches:  # a split without samples is to be known before the work, not after it
        imported(job.loader)(job, job.evaluate_split, place.rank, place.world_size)
    loader = imported(job.loader)(job, job.train_split, place.rank, place.world_size)
    batches = iter(loader.batches(start))
    with CheckpointWriter(job, place.world_size, partial(say, "checkpoint")) as writer:
        for step in range(start, job.steps):
            waiting = time.perf_counter()
            batch = on_device(next(batches), place.device)
            waited = time.perf_counter() - waiting
            seed_torch(place.device, job.seed, "step", step, place.rank)
            losses = {
                name: value.to(place.device, non_blocking=True)
                for name, value in stage.train_step(split_batch(batch, job.accumulate)).items()
            }
            done = step + 1
            last = done == job.steps
            report = last or done % job.report_every == 0
            watch.note(done, list(losses.values()), batch.get("key", []))
            means.add(losses | {"time/data": torch.full((), waited, device=place.device)})
            # this reads what a GPU would have to be waited for
            stop = (report or place.device.type == "cpu") and watch.examine(label) and not last
            if report:
                metrics = means.take()
                say("metrics", done, values=metrics)
            if last or (job.evaluate_every and done % job.evaluate_every == 0):
                evaluation = evaluate(job, stage, place, partial(show, done))
                if evaluation:
                    say("evaluation", done, values=evaluation)
            if place.rank == 0:
                writer.look()
                if last or stop or job.checkpoints(done):
                    writer.save(done, stage.state_dict())
            if stop:
                return {"stopped": reason_of(place)}
    if start == job.steps:  # killed between the last checkpoint and the end
        evaluation = evaluate(job, stage, place, partial(show, start))
    return {"metrics": metrics | evaluation, "weights": publish(job, stage, place, metrics | evaluation)}


def restore(stage: Any, checkpoint: Checkpoint) -> None:
    """Put the stage where the checkpoint left it. Raises UserError where it is of another architecture."""
    try:
        stage.load_state_dict(load_state(checkpoint))
    except (RuntimeError, KeyError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{checkpoint.url} does not fit the networks of this stage ({reason}): it is of another "
            "architecture; give the run another output, or remove that folder to begin anew"
        ) from None


def remarks(job: TrainJob, place: Place, checkpoint: Checkpoint | None) -> Iterator[str]:
    """What the user is to know of the number of workers."""
    if place.world_size < job.most_workers:
        yield f"{place.world_size} of at most {job.most_workers} workers, the cluster has no room for more"
    if checkpoint is not None and checkpoint.world_size != place.world_size:
        yield (
            f"goes on with {place.world_size} workers where {checkpoint.world_size} began; the order of the "
            "data changes here: in this epoch some samples come twice and others not, later ones are whole"
        )


def reason_of(place: Place) -> str:
    """Why the ranks stop: the first reason that one of them has."""
    return next(filter(None, gathered(place.notice.reason, place)), "")


def publish(job: TrainJob, stage: Any, place: Place, metrics: dict[str, float]) -> dict[str, str]:
    """Rank 0 writes the weights with their card; network -> URL."""
    if place.rank != 0:
        return {}
    card = {
        "stage": job.stage,
        "config": job.config,
        "digest": job.digest,
        "steps": job.steps,
        "seed": job.seed,
    }
    card |= {"batch_size": job.batch_size, "workers": job.workers, "parents": job.parents, "metrics": metrics}
    card["model"] = job.model.card()
    return publish_weights(job.weights_folder, stage.weights(), card)


def evaluate(job: TrainJob, stage: Any, place: Place, show: Callable[[Any], None]) -> dict[str, float]:
    """Means of `stage.evaluate` over the first batches of the evaluation split and all ranks.

    Rank 0 hands the pictures of its first batch to `show`, (H, W, 3) uint8.
    """
    if job.evaluate_batches == 0:
        return {}
    loader = imported(job.loader)(job, job.evaluate_split, place.rank, place.world_size)
    means = Means(place)
    for number, batch in enumerate(itertools.islice(loader.batches(0), job.evaluate_batches)):
        batch = on_device(batch, place.device)
        seed_torch(place.device, job.seed, "evaluate", number, place.rank)
        means.add(stage.evaluate(batch), weight=samples_in(batch))
        if number == 0 and place.rank == 0:
            with torch.no_grad():
                sheet = stage.pictures(batch)
            show((sheet.permute(1, 2, 0).clamp(0, 1) * 255).round().byte().cpu().numpy())
    return {name: value for name, value in means.take().items() if not name.startswith("time/")}


def samples_in(batch: dict[str, Any]) -> int:
    """How many samples a batch has; the last one of an evaluation may be smaller."""
    return next(len(value) for value in batch.values() if isinstance(value, Tensor))


def on_device(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """The batch's tensors moved, and its pictures made floats there; everything else as it is.

    Seeds stay: random numbers are drawn on the host, and reading a GPU would hold up the step.
    """
    return floats(
        {
            name: value.to(device, non_blocking=True)
            if isinstance(value, Tensor) and name != "seed"
            else value
            for name, value in batch.items()
        }
    )


def seed_torch(device: torch.device, *parts: Any) -> None:
    """`torch.manual_seed` for the devices in use, without its notes about all others (0.6 ms each time)."""
    seed = seed_of(*parts)
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def seed_of(*parts: Any) -> int:
    """63 bits that depend on all parts, the same on every machine."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
