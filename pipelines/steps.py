"""The steps of a config: what each depends on, and the call that does it."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from facefill.config import STAGES
from pipelines import storage
from pipelines.config import DatasetConfig, RunConfig, TrainingConfig, digest
from pipelines.progress import Progress
from pipelines.workflow import Outcome, Step

Outcomes = Mapping[str, Outcome]


def plan(config: RunConfig, progress: Progress) -> list[Step]:
    """All steps in the order in which they run; a stage without data or steps is none of them."""
    steps = [*synthesis_steps(config, progress)]
    for dataset in config.datasets:
        steps += dataset_steps(config, dataset, progress)
    steps += [train_step(config, stage, progress) for stage in trained_stages(config)]
    if config.sweep.trials and "inpaint" in trained_stages(config):
        steps.append(sweep_step(config, progress))
    if config.evaluate.data and "inpaint" in trained_stages(config):
        steps.append(evaluate_step(config, progress))
    return steps


def counted(progress: Progress, label: str) -> Callable[[int, int, float], None]:
    """A callback (done, total, seconds left) that draws one line; the line reckons the time left itself."""

    def report(done: int, total: int, _: float) -> None:
        progress.update(label, done, total)
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

        return synthesize(config, counted(progress, "synthesize"))

    return [Step("synthesize", "synthesize", [asdict(counts), config.seed], (), work)]


def dataset_steps(config: RunConfig, dataset: DatasetConfig, progress: Progress) -> list[Step]:
    """Shard, fit and project one dataset."""
    name = dataset.name
    shards = storage.join(config.output, "shards", name)
    fits = storage.join(config.output, "fits", name)

    def shard(_: Outcomes) -> Outcome:
        from pipelines.listing import list_dataset
        from pipelines.shards import shard_dataset

        listing = list_dataset(config, dataset)
        for note in listing.notes:
            progress.say(f"shard {name}: {note}")
        manifest = shard_dataset(
            listing,
            shards,
            samples_per_shard=config.shard.samples_per_shard,
            config={"dataset": asdict(dataset)},
            workers=config.shard.workers,
            on_progress=counted(progress, f"shard {name}"),
        )
        return outcome_of(manifest)

    def fit(_: Outcomes) -> Outcome:
        from pipelines.fit import fit_dataset

        return fit_dataset(
            shards,
            fits,
            dataset.ground_truth,
            workers=config.shard.workers,
            on_progress=counted(progress, f"fit {name}"),
        )

    def project(_: Outcomes) -> Outcome:
        from pipelines.project_uv import project_dataset

        manifest = project_dataset(
            shards,
            fits,
            uv_folder(config, name),
            dataset.ground_truth,
            workers=config.shard.workers,
            on_progress=counted(progress, f"project {name}"),
        )
        return outcome_of(manifest)

    settings = [asdict(dataset), asdict(config.shard)]
    steps = [Step(f"shard {name}", "shard", settings, () if dataset.root else ("synthesize",), shard)]
    if dataset.fit:
        steps.append(Step(f"fit {name}", "fit", dataset.ground_truth, (f"shard {name}",), fit))
        steps.append(Step(f"project {name}", "project", None, (f"fit {name}",), project))
    return steps


def outcome_of(manifest: Any) -> Outcome:
    """What later steps and the report need of a shard set."""
    kept, refused = len(manifest.rows), len(manifest.rejected)
    note = f", {refused} rejected (see rejected.parquet)" if refused else ""
    return {
        "digest": manifest.digest(),
        "samples": kept,
        "rejected": refused,
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


def train_step(config: RunConfig, stage: str, progress: Progress) -> Step:
    """Training one stage."""
    training = training_of(config, stage)
    model = asdict(getattr(config.stages, stage).model)
    parents = parents_of(config, stage)
    needs = (*(data_step(config, name) for name in training.data), *(f"train {parent}" for parent in parents))

    def work(outcomes: Outcomes) -> Outcome:
        from pipelines.training import train

        return train(config, stage, digest(model, [outcomes[name]["digest"] for name in needs]), progress)

    settings = [model, config.seed, training.steps, training.batch_size]
    return Step(f"train {stage}", "train", settings, needs, work, on_cluster=training.workers > 0)


def sweep_step(config: RunConfig, progress: Progress) -> Step:
    """The search over the inpainter's settings, on the parents of stage `inpaint`."""
    stage = "inpaint"
    training = training_of(config, stage)
    needs = (
        *(data_step(config, name) for name in training.data),
        *(f"train {parent}" for parent in parents_of(config, stage)),
    )

    def work(outcomes: Outcomes) -> Outcome:
        from pipelines.training import sweep

        return sweep(config, digest([outcomes[name]["digest"] for name in needs]), progress)

    settings = [asdict(config.sweep), asdict(config.stages.inpaint), config.seed]
    return Step("sweep", "sweep", settings, needs, work)


def evaluate_step(config: RunConfig, progress: Progress) -> Step:
    """Measuring on held-back pictures, and the report over everything."""
    needs = (
        *(data_step(config, name) for name in config.evaluate.data),
        *(f"train {stage}" for stage in trained_stages(config)),
        *(("sweep",) if config.sweep.trials else ()),
    )

    def work(outcomes: Outcomes) -> Outcome:
        from pipelines.evaluation import evaluate_run

        return evaluate_run(config, dict(outcomes), progress)

    return Step("evaluate", "evaluate", [asdict(config.evaluate), config.seed], needs, work, on_cluster=False)
