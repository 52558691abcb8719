"""Stage `segment`: parse a face into face, occluder and background (supplementary 4.3, Table 7).

Photographs without labels, where they are fitted, are labelled by geometry (`face_labels`).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from facefill.augmentation import centre_crop, crop_and_flip
from facefill.config import SegmentConfig
from facefill.face_labels import with_labels
from facefill.face_parsing import NUM_CLASSES, UNKNOWN
from facefill.geometry.morphable_model import mirror_coefficients
from facefill.losses.focal import focal_loss
from facefill.networks.segmenter import Segmenter
from facefill.stages import Assets, Batch, State, Synchronize
from facefill.stages.training import Descent, autocast, mean_terms, placed, save_networks

COLOURS = ((0.95, 0.75, 0.65), (0.25, 0.45, 0.85), (0.12, 0.12, 0.12))  # face, occluder, background


class SegmentStage:
    """Fields → segmenter → focal loss → step → intersection over union."""

    name = "segment"
    fields: tuple[str, ...] = ("image", "parsing", "fit")

    def __init__(
        self, config: SegmentConfig, assets: Assets, device: torch.device, synchronize: Synchronize
    ) -> None:
        self.config = config
        self.step = 0
        self.model = assets.model.to(device)
        self.atlas = assets.atlas.to(device)
        self.mirror = mirror_coefficients(self.model)
        self.segmenter = placed(Segmenter(config.width), device, config)
        self.descent = Descent(
            "segmenter",
            self.segmenter.parameters(),
            config.optimizer,
            config.optimizer.learning_rate,
            synchronize,
        )

    def train_step(self, parts: Sequence[Batch]) -> dict[str, Tensor]:
        """One update; loss/focal."""
        self.segmenter.train()
        terms = []
        for part in parts:
            example = crop_and_flip(part, self.mirror, self.config.jitter)
            example = with_labels(example, self.model, self.atlas)
            with autocast(self.mirror.device, self.config.precision):
                logits = self.segmenter(example["image"]).float()
            loss = focal_loss(logits, example["parsing"], self.config.focal_gamma)
            self.descent.add(loss, 1 / len(parts))
            terms.append({"loss/focal": loss})
        taken = self.descent.step(self.step)
        self.step += 1
        return mean_terms(terms) | taken

    @torch.no_grad()
    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        """Accuracy and intersection over union of the three classes over the known pixels of the centre crop,
        not a number for a class that is nowhere; labels as in training: given, else of the fit.
        """
        self.segmenter.eval()
        example = with_labels(centre_crop(batch), self.model, self.atlas)
        predicted = self.segmenter(example["image"]).argmax(1)
        target = example["parsing"]
        known = target != UNKNOWN
        metrics = {"metric/accuracy": (predicted == target)[known].float().mean()}
        for label, name in enumerate(("face", "occluder", "background")):
            both = ((predicted == label) & (target == label) & known).sum()
            either = (((predicted == label) | (target == label)) & known).sum()
            metrics[f"metric/iou_{name}"] = both / either
        return metrics

    @torch.no_grad()
    def pictures(self, batch: Batch) -> Tensor:
        """Rows: photograph, predicted classes, the classes that it was taught."""
        self.segmenter.eval()
        example = with_labels(centre_crop(batch), self.model, self.atlas)
        predicted = self.segmenter(example["image"]).argmax(1)
        rows = [example["image"], painted(predicted), painted(example["parsing"])]
        return torch.cat([torch.cat(list(row), -1) for row in rows], -2)

    def state_dict(self) -> dict[str, Any]:
        """Everything an exact continuation needs."""
        return {
            "step": self.step,
            "segmenter": self.segmenter.state_dict(),
            "optimizer": self.descent.adam.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.step = state["step"]
        self.segmenter.load_state_dict(state["segmenter"])
        self.descent.adam.load_state_dict(state["optimizer"])

    def weights(self) -> dict[str, State]:
        """The segmenter."""
        return save_networks({"segmenter": self.segmenter})


def painted(classes: Tensor) -> Tensor:
    """Class map (N, H, W) as colours (N, 3, H, W); unknown pixels white."""
    palette = torch.ones(256, 3)
    palette[:NUM_CLASSES] = torch.tensor(COLOURS)
    return palette.to(classes.device)[classes].permute(0, 3, 1, 2)
