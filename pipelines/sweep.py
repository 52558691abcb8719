"""A search over a stage's settings with Ray Tune; the only file that imports ray.tune.

Points are drawn by (seed, trial number), so a longer sweep begins with the trials of a shorter one, and a
sweep that was stopped is continued by the same call: finished trials stay, broken ones go on from their
checkpoints. A trial trains in its own process (`workers=0`, quick on a small machine) or drives Ray Train
workers.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from facefill.errors import UserError
from pipelines import storage
from pipelines.board import Post, board
from pipelines.cluster_session import cluster_resources
from pipelines.progress import Event, Progress
from pipelines.search_space import Point, apply_point, sample_points
from pipelines.stop_notice import own_interrupt_handler
from pipelines.sweep_record import SweepRecord, label_of, write_results
from pipelines.tracking import Tracking, ended, open_run
from pipelines.train import settled, train_to_the_end
from pipelines.train_job import TrainJob, digest_of, finished

TRIAL_FAILURES = 1  # a trial whose process is lost goes on from its checkpoint this often


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """What is searched.

    space: dotted setting of the stage (`loss_weights.symmetry`) -> list of choices, or {"low", "high",
    "log"}. metric: the name by which trials are ranked, e.g. metric/psnr_hole. steps: of every trial.
    concurrent: trials at a time, fewer where the cluster has no room.
    """

    space: dict[str, Any]
    trials: int
    steps: int
    metric: str
    mode: Literal["max", "min"] = "max"
    seed: int = 0
    concurrent: int = 1


@dataclass(frozen=True)
class SweepResult:
    """One row per trial in order of number, the best trial's settings, and the folder with the tables."""

    rows: list[dict[str, Any]]
    best: Point
    folder: str


def run_sweep(
    job: TrainJob, plan: SweepPlan, progress: Progress, tracking: Tracking | None = None
) -> SweepResult:
    """Train every trial that is not finished; write table.parquet, table.md and best.yaml to {output}/sweep.

    job: the stage with its own settings; trials differ from it by their point and by `plan.steps`. Needs a
    running Ray session. A trial that fails becomes a row with its reason. Raises UserError for a space that
    cannot be drawn from and when no trial has the metric; KeyboardInterrupt when stopped.
    """
    job = settled(job)
    folder = storage.join(job.output, "sweep")
    points = sample_points(plan.space, plan.trials, plan.seed)
    jobs = [trial_job(job, plan, folder, number, point) for number, point in enumerate(points)]
    tracked = open_run(
        tracking,
        f"3dfacefill/{job.stage}",
        {"space": {name: str(values) for name, values in plan.space.items()}, "steps": plan.steps},
        storage.join(folder, f"mlflow_run-{digest_of([job.digest, vars(plan)])[:8]}.json"),
    )
    with ended(tracked):
        children = replace(tracking, parent=tracked.url) if tracking and tracked else None
        record = SweepRecord(jobs, points, progress, children)
        try:
            train_trials(jobs, plan, storage.join(folder, "ray"), record)
        finally:
            record.close()
        rows = record.rows()
        best = write_results(folder, rows, points, plan.metric, plan.mode, job.stage)
        for name in ("table.md", "best.yaml"):
            if tracked:
                tracked.log_file(storage.join(folder, name), name)
    return SweepResult(rows, best, folder)


def trial_job(job: TrainJob, plan: SweepPlan, folder: str, number: int, point: Point) -> TrainJob:
    """The job of one trial, with a folder of its own."""
    digest = digest_of(
        [job.digest, point]
    )  # in the folder's name too, so that a changed sweep meets nothing old
    return replace(
        job,
        config=apply_point(job.config, point, job.stage),
        output=storage.join(folder, f"trial-{number:03d}-{digest[:8]}"),
        digest=digest,
        steps=plan.steps,
        evaluate_every=0,
    )


def train_trials(jobs: list[TrainJob], plan: SweepPlan, folder: str, record: SweepRecord) -> None:
    """Run the unfinished trials on the cluster. Raises KeyboardInterrupt when they were stopped."""
    from ray import tune

    waiting = [number for number, job in enumerate(jobs) if finished(job) is None]
    if not waiting:
        return
    with board(record) as post, own_interrupt_handler():
        path, filesystem = storage.ray_storage(folder)
        results = tune.Tuner(
            tune.with_resources(tune.with_parameters(trial, jobs=jobs, post=post), resources_of(jobs[0])),
            param_space={"number": tune.grid_search(waiting)},
            tune_config=tune.TuneConfig(
                max_concurrent_trials=places(jobs[0], plan.concurrent), reuse_actors=True
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=path,
                storage_filesystem=filesystem,
                failure_config=tune.FailureConfig(max_failures=TRIAL_FAILURES),
                verbose=0,
            ),
        ).fit()
    for result in (results[place] for place in range(len(results))):
        if result.error is not None:
            record.failed((result.config or {})["number"], str(result.error).strip().splitlines()[-1])
    if any(finished(jobs[number]) is None and number not in record.reasons for number in waiting):
        raise KeyboardInterrupt("sweep stopped; the same command goes on with its unfinished trials")


def resources_of(job: TrainJob) -> dict[str, float]:
    """What Tune reserves for a trial; one with workers of its own only waits for them."""
    if job.workers:
        return {"CPU": 0.1}
    return {"CPU": 1.0, "GPU": 1.0} if job.gpu else {"CPU": 1.0}


def places(job: TrainJob, concurrent: int) -> int:
    """How many trials may run at a time: with more, each would hold workers that another waits for."""
    kind = "GPU" if job.gpu else "CPU"
    workers = job.most_workers
    needed = workers if job.gpu else workers * 1.0 + resources_of(job)["CPU"] * (workers > 0)
    there = cluster_resources().get(kind, 0)
    room = math.floor(there / max(needed, 1.0))
    if room < 1:
        raise UserError(
            f"sweep: a trial with {workers} workers needs {needed:g} {kind}s and the cluster has "
            f"{there:g}: lower sweep.workers or give the cluster more"
        )
    return min(concurrent, room)


def trial(config: dict[str, Any], jobs: list[TrainJob], post: Post) -> None:
    """One trial, in a process of Tune's."""
    from ray import tune

    number = config["number"]
    job = jobs[number]
    label = label_of(number)
    try:
        result = train_to_the_end(job, label, post)
        post(Event(label, "done", job.steps, job.steps, values=result.metrics))
        tune.report(dict(result.metrics))
    except UserError as error:  # a point that diverges is a result, and would diverge again
        post(Event(label, "failed", 0, job.steps, text=str(error)))
        tune.report({"mistake": str(error)})
    finally:
        post.wait()
