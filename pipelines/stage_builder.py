"""From a job's plain data to a stage and its loader: the meeting point of the method and the runner."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from facefill.config import InpaintConfig, MorphableConfig, SegmentConfig, StageConfig
from facefill.errors import UserError
from facefill.geometry.uv_atlas import build_atlas
from facefill.stages import Assets, Batch, Stage, State, Synchronize, build_stage
from facefill.stages.inpaint import InpaintStage
from facefill.stages.morphable import MorphableStage
from facefill.stages.segment import SegmentStage
from pipelines.checkpoints import read_card, read_weights
from pipelines.loader import Loader
from pipelines.manifest import Manifest, load_manifest
from pipelines.run_model import RunModel, check_made_with, load_run_model
from pipelines.train_job import TrainJob

CONFIG_OF: dict[str, type[StageConfig]] = {
    "morphable": MorphableConfig,
    "morphable_finetune": MorphableConfig,
    "segment": SegmentConfig,
    "inpaint": InpaintConfig,
}
FIELDS_OF = {
    "morphable": MorphableStage.fields,
    "morphable_finetune": MorphableStage.fields,
    "segment": SegmentStage.fields,
    "inpaint": InpaintStage.fields,
}
# settings of a stage that must be those of its parent: the parent's name of each, and the stage's
OF_PARENT = {
    "morphable_finetune": {"width": "width", "located": "located"},
    "inpaint": {"width": "encoder_width"},
}


def build(job: TrainJob, device: torch.device, synchronize: Synchronize) -> Stage:
    """The job's stage with initial weights drawn from its seed, on top of its parents' published networks."""
    from pydantic import TypeAdapter

    config = TypeAdapter(CONFIG_OF[job.stage]).validate_python(job.config)
    model = load_run_model(job.model)
    check_parents(job)
    parents: dict[str, State] = {}
    for folder in job.parents.values():
        parents |= read_weights(folder)
    torch.manual_seed(job.seed)
    assets = Assets(model, build_atlas(model), parents)
    try:
        return build_stage(job.stage, config, assets, device, synchronize)
    except (RuntimeError, KeyError) as error:
        if not job.parents or isinstance(error, torch.OutOfMemoryError):
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{', '.join(job.parents.values())}: these weights do not fit stage {job.stage} ({reason}): "
            f"train stage {', '.join(job.parents)} anew"
        ) from None


def check_inputs(job: TrainJob) -> None:
    """Raise UserError, before anything is started, for parents and data that the job cannot use."""
    check_parents(job)
    _ = open_loader(job, job.train_split, 0, max(job.most_workers, 1)).loader.steps_per_epoch
    if job.evaluate_batches:
        open_loader(job, job.evaluate_split, 0, 1)


def check_parents(job: TrainJob) -> None:
    """Raise UserError unless the parents are trained, with the job's model and its kind of encoder."""
    if job.stage in OF_PARENT and not job.parents:
        raise UserError(
            f"stage {job.stage} starts from the encoder of stage morphable, and no parent is named: train "
            "that stage first"
        )
    for folder in job.parents.values():
        card = read_card(folder)
        check_made_with(job.model, card["model"], f"{folder}: trained")
        theirs = {"located": False} | card["config"]  # there were none once
        for name, ours in OF_PARENT[job.stage].items():
            if theirs.get(name) != job.config.get(ours, theirs.get(name)):
                raise UserError(
                    f"{folder}: trained with {name} {theirs.get(name)}, and stage {job.stage} has {ours} "
                    f"{job.config[ours]}: make them equal, or train the parent anew"
                )


@dataclass(frozen=True)
class SplitBatches:
    """One rank's batches of a split, from any step on: for ever in training, once through otherwise."""

    loader: Loader
    training: bool

    def batches(self, start_step: int) -> Iterator[Batch]:
        """The batches that the steps from `start_step` on get; an evaluation always begins at the first
        sample.
        """
        if self.training:
            return (batch for _, batch in self.loader.batches(start_step))
        return self.loader.evaluation_batches()


def open_loader(job: TrainJob, split: str, rank: int, world_size: int) -> SplitBatches:
    """The rank's part of the job's data, with the fields that the stage asks for."""
    loader = Loader(
        [projected_with(job.model, folder) for folder in job.data],
        job.batch_size // world_size,
        seed=job.seed,
        split=split,
        rank=rank,
        world_size=world_size,
        fields=FIELDS_OF[job.stage],
        threads=job.loader_threads,
        packed=True,  # the training loop ends the batches on its device
        pinned=job.gpu,
    )
    return SplitBatches(loader, training=split == job.train_split)


def projected_with(model: RunModel, folder: str) -> Manifest:
    """The manifest of a shard set. Raises UserError if its UV maps were made with another model."""
    manifest = load_manifest(folder)
    if "model" in manifest.config:  # shards of plain pictures know no model
        made_with = {"name": manifest.config["model_name"], "checksum": manifest.config["model"]}
        check_made_with(model, made_with, f"{folder}: projected")
    return manifest
