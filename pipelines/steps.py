"""The steps of a config: what each depends on, and the call that does it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from facefill.config import STAGES
from facefill.errors import UserError
from facefill.geometry.head_asset import asset_checksum
from pipelines import storage
from pipelines.config import DatasetConfig, RunConfig, TrainingConfig, digest
from pipelines.detections import DETECTION_FORMAT
from pipelines.fit import FIT_FORMAT
from pipelines.fit_encoder import find_encoder
from pipelines.progress import Progress
from pipelines.project_uv import PROJECTION_FORMAT
from pipelines.run_model import RunModel
from pipelines.shards import SHARD_FORMAT
from pipelines.sources.records import Listing
from pipelines.synthesize import VERSION as SYNTHESIS_VERSION
from pipelines.workflow import Outcome, Step

Outcomes = Mapping[str, Outcome]


def plan(config: RunConfig, model: RunModel, progress: Progress) -> list[Step]:
    """All steps in the order in which they run; a stage without data or steps is none of them."""
    steps = [*synthesis_steps(config, progress)]
    for dataset in config.datasets:
        steps += dataset_steps(config, dataset, model, progress)
    steps += [train_step(config, stage, model, progress) for stage in trained_stages(config)]
    if config.sweep.trials and "inpaint" in trained_stages(config):
        steps.append(sweep_step(config, model, progress))
    if config.evaluate.data and "inpaint" in trained_stages(config):
        steps.append(evaluate_step(config, model, progress))
    return steps


def counted(progress: Progress, label: str, unit: str = "images") -> Callable[[int, int, float], None]:
    """A callback (done, total, seconds left) that draws one line; the line reckons the time left itself."""

    def report(done: int, total: int, _: float) -> None:
        progress.update(label, done, total, unit=unit)
        if done == total:
            progress.drop(label)

    return report


def synthesis_steps(config: RunConfig, progress: Progress) -> list[Step]:
    """Rendering the stand-ins, where any are asked for."""
    counts = config.synthesis
    if not (counts.celeba or counts.three_hundred_w or counts.celebamask_hq):
        return []

    def work(_: Outcomes) -> Outcome:
        from pipelines.synthesize import synthesize

        made = synthesize(config, counted(progress, "synthesize", unit=""))
        return made | {"products": [storage.join(config.output, "raw")]}

    settings = [asdict(counts), config.seed, SYNTHESIS_VERSION, asset_checksum()]
    return [Step("synthesize", "synthesize", settings, (), work)]


def dataset_steps(
    config: RunConfig, dataset: DatasetConfig, model: RunModel, progress: Progress
) -> list[Step]:
    """Shard, fit and project one dataset."""
    name = dataset.name
    shards = storage.join(config.output, "shards", name)
    fits = storage.join(config.output, "fits", name)
    # what happens to the shards afterwards does not change their bytes; `detect` is said apart
    later = ("fit", "ground_truth", "encoder", "detect")
    reading = {key: value for key, value in asdict(dataset).items() if key not in later}
    encoder = find_encoder(dataset.encoder, model) if dataset.encoder else None

    def check() -> None:
        from pipelines.listing import check_dataset

        check_dataset(config, dataset)

    def shard(_: Outcomes) -> Outcome:
        from pipelines.listing import list_dataset
        from pipelines.shards import shard_dataset

        listing = list_dataset(config, dataset)
        made_with: dict[str, Any] = {"dataset": reading}
        if dataset.detect:
            listing, detector = detect(config, listing, progress)
            made_with |= {"landmarks": "detected", "detector": detector}
        for note in listing.notes:
            progress.say(f"shard {name}: {note}")
        manifest = shard_dataset(
            listing,
            shards,
            samples_per_shard=config.shard.samples_per_shard,
            config=made_with,
            workers=config.shard.workers,
            on_progress=counted(progress, f"shard {name}"),
        )
        return outcome_of(manifest)

    def fit(_: Outcomes) -> Outcome:
        from pipelines.fit import fit_dataset
        from pipelines.fit_sheet import write_fit_sheet

        made = fit_dataset(
            shards,
            fits,
            dataset.ground_truth,
            model=model,
            encoder=encoder,
            workers=config.shard.workers,
            on_progress=counted(progress, f"fit {name}"),
        )
        sheet = write_fit_sheet(shards, fits, model, workers=config.shard.workers)
        return made | {"products": [fits, *([sheet] if sheet else [])]}

    def project(_: Outcomes) -> Outcome:
        from pipelines.project_uv import project_dataset

        manifest = project_dataset(
            shards,
            fits,
            uv_folder(config, name),
            dataset.ground_truth,
            model=model,
            workers=config.shard.workers,
            on_progress=counted(progress, f"project {name}"),
        )
        return outcome_of(manifest)

    settings = [
        reading,
        config.shard.samples_per_shard,
        SHARD_FORMAT,
        *([DETECTION_FORMAT] if dataset.detect else []),
    ]
    needs = () if dataset.root else ("synthesize",)
    steps = [Step(f"shard {name}", "shard", settings, needs, shard, check=check)]
    if dataset.fit:
        fitting = [dataset.ground_truth, FIT_FORMAT, model.checksum]
        fitting += [encoder.sha256] if encoder else []
        steps.append(Step(f"fit {name}", "fit", fitting, (f"shard {name}",), fit))
        projecting = [PROJECTION_FORMAT, model.checksum]
        steps.append(Step(f"project {name}", "project", projecting, (f"fit {name}",), project))
    return steps


def detect(config: RunConfig, listing: Listing, progress: Progress) -> tuple[Listing, str]:
    """The listing with landmarks for the pictures that have none, and the name of what found them.

    What was found is kept in tables below `landmarks/` of the output.
    """
    from pipelines.detections import with_detected_landmarks
    from pipelines.detector_litert import bundle_digest, detector_from, read_bundle

    bundle = read_bundle()
    detector = f"face_landmarker {bundle_digest(bundle)[:16]} format {DETECTION_FORMAT}"
    found = with_detected_landmarks(
        listing,
        storage.join(config.output, "landmarks", listing.dataset),
        partial(detector_from, bundle),
        detector,
        workers=config.shard.workers,
        on_progress=counted(progress, f"detect {listing.dataset}"),
    )
    return found, detector


def outcome_of(manifest: Any) -> Outcome:
    """What later steps and the report need of a shard set."""
    kept, refused = len(manifest.rows), len(manifest.rejected)
    table = storage.join(manifest.folder, "rejected.parquet")
    note = f", {refused} rejected (see {table}; to try mended ones remove its folder)" if refused else ""
    return {
        "digest": manifest.digest(),
        "samples": kept,
        "rejected": refused,
        "products": [storage.join(manifest.folder, "manifest.parquet")],
        "summary": f"{kept} samples in {len(manifest.shards)} shards{note}",
    }


def uv_folder(config: RunConfig, dataset: str) -> str:
    """The folder of a dataset's UV shards."""
    return storage.join(config.output, "uv", dataset)


def data_of(config: RunConfig, stage: str) -> tuple[str, ...]:
    """The shard sets that a stage reads: UV shards, or the image shards of a dataset that is not fitted."""
    return tuple(shard_set(config, name) for name in training_of(config, stage).data)


def shard_set(config: RunConfig, name: str) -> str:
    """The finest shard set of a dataset."""
    fitted = next(dataset.fit for dataset in config.datasets if dataset.name == name)
    return uv_folder(config, name) if fitted else storage.join(config.output, "shards", name)


def data_step(config: RunConfig, name: str) -> str:
    """The step that makes `shard_set`."""
    fitted = next(dataset.fit for dataset in config.datasets if dataset.name == name)
    return f"project {name}" if fitted else f"shard {name}"


def training_of(config: RunConfig, stage: str) -> TrainingConfig:
    """How a stage is to be run."""
    return getattr(config.stages, stage).training


def trained_stages(config: RunConfig) -> list[str]:
    """The stages that have data and steps."""
    return [s for s in STAGES if training_of(config, s).data and training_of(config, s).steps]


def parents_of(config: RunConfig, stage: str) -> tuple[str, ...]:
    """The stages whose networks a stage starts from."""
    trained = trained_stages(config)
    if stage == "morphable_finetune":
        return ("morphable",)
    if stage == "inpaint":
        return ("morphable_finetune",) if "morphable_finetune" in trained else ("morphable",)
    return ()


def inputs_of(config: RunConfig, stage: str) -> tuple[str, ...]:
    """The steps that make a stage's data and its parents."""
    data = (data_step(config, name) for name in training_of(config, stage).data)
    return (*data, *(f"train {parent}" for parent in parents_of(config, stage)))


def train_step(config: RunConfig, stage: str, model: RunModel, progress: Progress) -> Step:
    """Training one stage. Raises UserError for numbers that cannot work together, before anything is done."""
    from pipelines.training import job_of

    job_of(config, stage, model, "").check()
    training = training_of(config, stage)
    identity = identity_of(config, stage, model)
    needs = inputs_of(config, stage)

    def work(outcomes: Outcomes) -> Outcome:
        from pipelines.training import train

        job_digest = digest(identity, [outcomes[name]["digest"] for name in needs])
        return train(config, stage, model, job_digest, progress)

    settings = [identity, training.steps]
    return Step(f"train {stage}", "train", settings, needs, work, on_cluster=training.workers != 0)


def identity_of(config: RunConfig, stage: str, model: RunModel) -> dict[str, Any]:
    """The settings that decide a stage's result, besides data, parents and number of steps."""
    settings = asdict(getattr(config.stages, stage).model)
    asked = training_of(config, stage)
    training = {"seed": config.seed, "batch_size": asked.batch_size, "accumulate": asked.accumulate}
    return training | ({} if stage == "segment" else {"morphable_model": str(model)}) | settings


def refuse_other_stages(config: RunConfig, model: RunModel) -> None:
    """Refuse, before anything is done, an output whose stages were trained with other settings."""
    for stage in trained_stages(config):
        folder = storage.join(config.output, "stages", stage)
        try:
            job = json.loads(storage.read_bytes(storage.join(folder, "job.json")))
        except FileNotFoundError:
            continue
        there = {name: job.get(name) for name in ("seed", "batch_size", "accumulate")} | job["config"]
        there["morphable_model"] = str(RunModel(**job["model"])) if "model" in job else None
        for key, value in json.loads(json.dumps(identity_of(config, stage, model))).items():
            if there.get(key) != value:
                raise UserError(
                    f"{folder} holds a checkpoint of another configuration ({key} was {there.get(key)}, is "
                    f"{value}): give this run another output=FOLDER, or remove that folder to train anew"
                )


def sweep_step(config: RunConfig, model: RunModel, progress: Progress) -> Step:
    """The search over the inpainter's settings, on the parents of stage `inpaint`."""
    identity = identity_of(config, "inpaint", model)
    needs = inputs_of(config, "inpaint")

    def work(outcomes: Outcomes) -> Outcome:
        from pipelines.training import sweep

        job_digest = digest(identity, [outcomes[name]["digest"] for name in needs])
        return sweep(config, model, job_digest, progress)

    return Step("sweep", "sweep", [asdict(config.sweep), identity], needs, work)


def evaluate_step(config: RunConfig, model: RunModel, progress: Progress) -> Step:
    """Measuring on held-back pictures, and the report over everything."""
    needs = (
        *(data_step(config, name) for name in config.evaluate.data),
        *(f"train {stage}" for stage in trained_stages(config)),
        *(("sweep",) if config.sweep.trials else ()),
    )

    def work(outcomes: Outcomes) -> Outcome:
        from pipelines.evaluation import evaluate_run

        return evaluate_run(config, model, dict(outcomes), progress)

    return Step("evaluate", "evaluate", [asdict(config.evaluate), config.seed], needs, work, on_cluster=False)
