"""From a job's plain data to a stage and its loader: the meeting point of the method and the runner."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from facefill.config import InpaintConfig, MorphableConfig, SegmentConfig, StageConfig
from facefill.errors import UserError
from facefill.geometry.default_model import default_model
from facefill.geometry.uv_atlas import build_atlas
from facefill.stages import Assets, Stage, State, build_stage
from facefill.weights import decode_weights
from pipelines import storage
from pipelines.loader import Loader
from pipelines.train_job import TrainJob

CONFIG_OF: dict[str, type[StageConfig]] = {
    "morphable": MorphableConfig,
    "morphable_finetune": MorphableConfig,
    "segment": SegmentConfig,
    "inpaint": InpaintConfig,
}
FIELDS_OF = {
    "morphable": ("image", "landmarks", "fit", "uv_texture", "uv_visible"),
    "morphable_finetune": ("image", "landmarks", "fit", "uv_texture", "uv_visible"),
    "segment": ("image", "parsing"),
    "inpaint": ("image", "parsing", "fit"),
}


def build(
    job: TrainJob, device: torch.device, synchronize: Callable[[Iterable[nn.Parameter]], None]
) -> Stage:
    """The job's stage with initial weights drawn from its seed, on top of its parents' published networks."""
    from pydantic import TypeAdapter

    config = TypeAdapter(CONFIG_OF[job.stage]).validate_python(job.config)
    model = default_model()
    parents: dict[str, State] = {}
    for stage, folder in job.parents.items():
        parents |= published_networks(stage, folder)
    torch.manual_seed(job.seed)
    return build_stage(job.stage, config, Assets(model, build_atlas(model), parents), device, synchronize)


def published_networks(stage: str, folder: str) -> dict[str, State]:
    """All networks in the weights folder of a stage, by name."""
    try:
        card = json.loads(storage.read_bytes(storage.join(folder, "card.json")))
    except FileNotFoundError:
        raise UserError(f"weights {folder}: not there; train the stage {stage} first") from None
    return {
        name: decode_weights(storage.read_bytes(storage.join(folder, f"{name}.safetensors")))
        for name in card["networks"]
    }


def open_loader(job: TrainJob, split: str, rank: int, world_size: int) -> Any:
    """The rank's part of the job's data."""
    raise NotImplementedError(Loader, FIELDS_OF)
