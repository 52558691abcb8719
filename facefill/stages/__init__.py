"""The training stages of the paper, each in plain torch: fields, networks, losses, step, metrics.

A stage knows no cluster. What it needs of one arrives as a function: `synchronize` averages the gradients
over the ranks before an optimizer steps, and returns their norm. Batches are dictionaries of tensors as
`facefill.samples.collate` makes them; an update may take its batch in several parts, one after the other in
memory, whose gradients are averaged.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from facefill.config import InpaintConfig, MorphableConfig, SegmentConfig, StageConfig
from facefill.geometry.morphable_model import MorphableModel
from facefill.geometry.uv_atlas import UVAtlas

Batch = dict[str, Any]
State = dict[str, Tensor]
Synchronize = Callable[[Iterable[nn.Parameter]], Tensor]


def alone(parameters: Iterable[nn.Parameter]) -> Tensor:
    """The `synchronize` of a single process: nothing to average, only the norm of all gradients."""
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


@dataclass(frozen=True)
class Assets:
    """What a stage is built on: the morphable model, its atlas, and the networks of earlier stages by
    name.
    """

    model: MorphableModel
    atlas: UVAtlas
    parents: dict[str, State] = field(default_factory=dict)


class Stage(Protocol):
    """What the runner needs of a stage."""

    name: str
    fields: tuple[str, ...]
    step: int

    def train_step(self, parts: Sequence[Batch]) -> dict[str, Tensor]:
        """One update on a batch in equal parts; scalars `loss/…`, and of every network that was updated
        `gradient/…` (norm) and `rate/…` (learning rate).
        """

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        """Scalar means over the batch by name `metric/…`; changes nothing."""

    def pictures(self, batch: Batch) -> Tensor:
        """(3, H, W) contact sheet in [0, 1]."""

    def state_dict(self) -> dict[str, Any]:
        """Everything an exact continuation needs."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""

    def weights(self) -> dict[str, State]:
        """The networks to publish, by name."""


def build_stage(
    name: str,
    config: StageConfig,
    assets: Assets,
    device: torch.device,
    synchronize: Synchronize = alone,
) -> Stage:
    """The stage of that name (one of `facefill.config.STAGES`), on `device`, with seeded initial weights
    by the caller.
    """
    from facefill.stages.inpaint import InpaintStage
    from facefill.stages.morphable import MorphableStage
    from facefill.stages.segment import SegmentStage

    if isinstance(config, MorphableConfig):
        return MorphableStage(name, config, assets, device, synchronize)
    if isinstance(config, SegmentConfig):
        return SegmentStage(config, assets, device, synchronize)
    assert isinstance(config, InpaintConfig)
    return InpaintStage(config, assets, device, synchronize)
