"""The workflow's last step: complete the held-back pictures of a run, measure, and write the report."""

import importlib.metadata
import platform
import tempfile
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from facefill.completion import complete, mean_albedo_of
from facefill.errors import UserError
from facefill.metrics.perceptual import load_lpips
from facefill.weights import FaceCompleter, load_completer
from pipelines import storage
from pipelines.config import RunConfig, config_tree, digest
from pipelines.evaluate import Evaluation, evaluate, subjects_of
from pipelines.loader import Loader
from pipelines.manifest import load_manifest
from pipelines.progress import Progress
from pipelines.recording import read_metrics
from pipelines.report import ReportPage, markdown_table, write_report
from pipelines.run_model import RunModel, load_run_model
from pipelines.steps import shard_set, trained_stages
from pipelines.tables import read_table
from pipelines.tracking import ended, open_run
from pipelines.training import tracking_of
from pipelines.workflow import Outcome, step_seconds

BATCH = 8
SHOWN_VERSIONS = ("torch", "ray", "webdataset", "mlflow", "numpy", "opencv-python-headless")


def evaluate_run(
    config: RunConfig, model: RunModel, outcomes: dict[str, Outcome], progress: Progress
) -> Outcome:
    """Measure, write {output}/evaluation, log it to MLflow. Raises UserError when the split holds no
    picture.
    """
    completer = local_completer(config, model)
    lpips = load_lpips(config.evaluate.lpips_backbone)
    result = measure(config, completer, lpips, progress)
    if not result.rows:
        reason = f"; the first: {result.skipped[0][0]}: {result.skipped[0][1]}" if result.skipped else ""
        raise UserError(f"evaluate: no picture of split {config.evaluate.split} could be measured{reason}")
    folder = storage.join(config.output, "evaluation")
    url = write_report(folder, page_of(config, model, outcomes, result))
    progress.say(markdown_table(result))
    track(config, result, folder, digest([outcomes[name]["digest"] for name in sorted(outcomes)]))
    pictures = len({row["position"] for row in result.rows})
    return {"digest": storage.sha256(url), "products": [url], "summary": f"{pictures} pictures"}


def local_completer(config: RunConfig, model: RunModel) -> FaceCompleter:
    """The run's networks, fetched first where its output is not on this machine's disks."""
    folder = storage.join(config.output, "weights")
    path = storage.local_path(folder)
    if path is not None:
        return load_completer(path, load_run_model(model))
    with tempfile.TemporaryDirectory() as scratch:
        for url in storage.list_files(folder):
            target = Path(scratch) / url.removeprefix(folder).lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(storage.read_bytes(url))
        return load_completer(Path(scratch), load_run_model(model))


def measure(config: RunConfig, completer: FaceCompleter, lpips: Any, progress: Progress) -> Evaluation:
    """Every picture of the evaluation split, up to `evaluate.images`."""
    manifests = [load_manifest(shard_set(config, name)) for name in config.evaluate.data]
    loader = Loader(
        manifests, BATCH, seed=config.seed, split=config.evaluate.split, fields=("image", "parsing", "fit")
    )
    total = min(len(loader), config.evaluate.images)
    subjects = (
        subject
        for batch in loader.evaluation_batches()
        for subject in subjects_of(batch, completer.model, completer.atlas)
    )

    def tell(done: int) -> None:
        progress.update("evaluate", done, total)

    with_geometry = partial(complete, encoder=completer.encoder, model=completer.model, atlas=completer.atlas)
    ours = partial(with_geometry, inpainter=completer.inpainter)
    mean_albedo = partial(with_geometry, inpainter=mean_albedo_of(completer.model), iterations=1)
    unrefined = partial(ours, by_pixels=False)
    with torch.no_grad():
        result = evaluate(islice(subjects, total), ours, mean_albedo, unrefined, config.seed, lpips, tell)
    progress.finish("evaluate")
    return result


def page_of(
    config: RunConfig, model: RunModel, outcomes: dict[str, Outcome], result: Evaluation
) -> ReportPage:
    """Everything the report tells, gathered from the run's folder."""
    return ReportPage(
        title=f"facefill · {config.name}",
        subtitle=f"held-back pictures ({config.evaluate.split}) of {', '.join(config.evaluate.data)}",
        evaluation=result,
        seed=config.seed,
        data=[data_row(config, dataset.name) for dataset in config.datasets],
        curves={
            stage: read_metrics(storage.join(config.output, "stages", stage, "metrics.jsonl"))
            for stage in trained_stages(config)
        },
        sweep=read_table(storage.join(config.output, "sweep", "table.parquet"))
        if config.sweep.trials
        else [],
        provenance=provenance(config, model, outcomes),
        config=storage.read_text(storage.join(config.output, "config.yaml")),
    )


def data_row(config: RunConfig, name: str) -> dict[str, Any]:
    """A dataset's sizes for the report."""
    dataset = next(dataset for dataset in config.datasets if dataset.name == name)
    manifest = load_manifest(shard_set(config, name))
    splits = {split: len(manifest.of_split(split)) for split in ("train", "validation", "test")}
    kind = dataset.source if dataset.root else f"{dataset.source} (rendered)"
    return {"dataset": name, "kind": kind, **splits, "rejected": len(manifest.rejected)}


def provenance(config: RunConfig, model: RunModel, outcomes: dict[str, Outcome]) -> dict[str, str]:
    """The model, digests, versions and times."""
    facts = {"morphable model": str(model)}
    facts |= {f"digest of {name}": outcome["digest"][:16] for name, outcome in outcomes.items()}
    facts |= {f"seconds of {name}": f"{seconds:.0f}" for name, seconds in step_seconds(config.output)}
    facts |= {name: importlib.metadata.version(name) for name in SHOWN_VERSIONS}
    return facts | {"python": platform.python_version(), "machine": platform.machine()}


def track(config: RunConfig, result: Evaluation, folder: str, inputs: str) -> None:
    """The evaluation as an MLflow run of its own: means of ours as metrics, the report as artifact."""
    from pipelines.statistics import summarize

    run = open_run(
        tracking_of(config, "evaluate", inputs),
        "3dfacefill/evaluate",
        config_tree(config.evaluate),
        storage.join(folder, f"mlflow_run-{inputs[:8]}.json"),
    )
    with ended(run):
        if run is None:
            return
        columns = [name for name in result.rows[0] if name.startswith(("psnr", "ssim", "lpips"))]
        for row in summarize(result.rows, columns):
            if row["bucket"] is None and row["method"] == "ours":
                values = {f"metric/{name}": row[name] for name in columns if row[name] is not None}
                run.log_metrics(0, values, 0.0)
        for name in ("report.html", "summary.json", "metrics.parquet"):
            run.log_file(storage.join(folder, name), name)
