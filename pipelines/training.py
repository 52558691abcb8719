"""From the run's settings to training jobs: what `facefill train` and `facefill sweep` call."""

import json
from dataclasses import replace

import yaml

from pipelines import storage
from pipelines.checkpoints import read_card
from pipelines.config import RunConfig, config_tree
from pipelines.config_file import apply_override
from pipelines.manifest import load_manifest
from pipelines.progress import Progress, brief
from pipelines.registered_model import digest_of_card
from pipelines.run_model import RunModel
from pipelines.stage_builder import check_inputs
from pipelines.steps import data_of, parents_of, training_of
from pipelines.sweep import SweepPlan, SweepResult, run_sweep
from pipelines.tracking import Tracking, tracking_address
from pipelines.train import train_stage
from pipelines.train_job import TrainJob
from pipelines.workflow import Outcome


def job_of(config: RunConfig, stage: str, model: RunModel, digest: str) -> TrainJob:
    """The training job of a stage; `digest` names its settings and inputs."""
    training = training_of(config, stage)
    return TrainJob(
        stage=stage,
        config=config_tree(getattr(config.stages, stage).model),
        output=config.output,
        digest=digest,
        data=data_of(config, stage),
        model=model,
        steps=training.steps,
        batch_size=training.batch_size,
        accumulate=training.accumulate,
        parents={
            parent: storage.join(config.output, "weights", parent) for parent in parents_of(config, stage)
        },
        seed=config.seed,
        workers=training.workers,
        gpu=training.gpu,
        threads_per_worker=training.threads,
        loader_threads=training.loader_threads,
        report_every=training.report_every,
        checkpoint_every=training.checkpoint_every,
        keep_every=training.keep_every,
        evaluate_every=training.checkpoint_every,
        evaluate_batches=training.evaluate_batches,
    )


def train(config: RunConfig, stage: str, model: RunModel, digest: str, progress: Progress) -> Outcome:
    """Train a stage, or go on with it, in one MLflow run of its own."""
    job = job_of(config, stage, model, digest)
    check_inputs(job)
    result = train_stage(job, progress, with_origins(tracking_of(config, stage, digest), job))
    return {
        "digest": digest_of_card(read_card(job.weights_folder)),
        "metrics": result.metrics,
        "products": [storage.join(job.weights_folder, "card.json")],
        "summary": brief(result.metrics, 6),
    }


def sweep(config: RunConfig, model: RunModel, digest: str, progress: Progress) -> Outcome:
    """Search over the inpainter's settings; one table, one parent run with a child per trial."""
    search = config.sweep
    plan = SweepPlan(
        space=search.space,
        trials=search.trials,
        steps=search.steps,
        metric=search.metric,
        mode=search.mode,
        seed=config.seed,
        concurrent=search.concurrent,
    )
    job = replace(job_of(config, "inpaint", model, digest), workers=search.workers)
    check_inputs(job)
    result = run_sweep(job, plan, progress, tracking_of(config, "sweep", digest))
    write_best(config, result)
    best = ", ".join(f"{key}={value}" for key, value in result.best.items())
    return {
        "digest": digest,
        "best": dict(result.best),
        "products": [storage.join(result.folder, "table.parquet")],
        "summary": f"best {best}",
    }


def write_best(config: RunConfig, result: SweepResult) -> None:
    """sweep/best.yaml: the whole config with the best point in it, ready for `facefill run`."""
    tree = config_tree(config)
    for key, value in result.best.items():
        apply_override(tree, f"stages.inpaint.model.{key}={json.dumps(value)}")
    tree["name"], tree["output"] = f"{config.name}_best", f"{config.output}_best"
    tree["sweep"] = {}
    storage.write_text(storage.join(result.folder, "best.yaml"), yaml.safe_dump(tree, sort_keys=False))


def with_origins(tracking: Tracking, job: TrainJob) -> Tracking:
    """The same with what a stage is made from: its data's manifests, its parents' networks and their runs."""
    tags: dict[str, str] = {}
    links: dict[str, tuple[str, str]] = {}
    for parent, folder in job.parents.items():
        tags[f"parent.{parent}.digest"] = digest_of_card(read_card(folder))
        record = storage.join(job.output, "stages", parent, "mlflow_run.json")
        links |= {f"parent.{parent}.{fact}": (record, fact) for fact in ("run_id", "model_version")}
    datasets = {
        storage.name_of(folder): {"digest": load_manifest(folder).digest(), "source": folder}
        for folder in job.data
    }
    tags |= {f"data.{name}.digest": facts["digest"] for name, facts in datasets.items()}
    return replace(tracking, tags=tracking.tags | tags, links=links, datasets=datasets)


def tracking_of(config: RunConfig, purpose: str, digest: str) -> Tracking:
    """Where the runs of this config go and what they are tagged with."""
    tags = {"stage": purpose, "seed": str(config.seed), "config": config.name, "inputs": digest}
    return Tracking(
        tracking_address(config.tracking, config.output), f"{config.name}-{purpose}-{digest[:8]}", tags
    )
