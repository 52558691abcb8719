"""Fits by a trained encoder: one look instead of an optimisation.

The encoder is that of an earlier run's weights folder; its checksum is among the inputs of every table of
fits, so a retrained one makes those stale, and with them their projections.
"""

import contextlib
import functools
import json
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from facefill.augmentation import CENTRE, CROP
from facefill.completion import fit_from_encoder
from facefill.errors import UserError
from facefill.geometry.fitting import residuals
from facefill.geometry.morphable_model import MorphableModel
from facefill.geometry.reconstruction import Fit, shift_fit
from facefill.geometry.uv_atlas import UVAtlas
from facefill.networks.blocks import fold_spectral_norm
from facefill.networks.encoder import Encoder, is_located
from facefill.stages.training import frozen
from facefill.weights import ENCODER_STAGES, checked_state
from pipelines import storage
from pipelines.checkpoints import read_card
from pipelines.run_model import RunModel, check_made_with


@dataclass(frozen=True)
class RunEncoder:
    """A trained encoder as plain data. url: its stage's folder in the weights."""

    url: str
    sha256: str
    width: float


def find_encoder(weights: str, model: RunModel) -> RunEncoder:
    """The encoder of a weights folder: the one that the inpainter there goes with, else the fine-tuned one.

    Raises UserError where there is none, or one for another morphable model.
    """
    folder = storage.join(weights, encoder_stage(weights))
    card = read_card(folder)
    try:
        check_made_with(model, card["model"], f"the encoder in {folder} was trained")
        return RunEncoder(folder, card["networks"]["encoder"]["sha256"], float(card["config"]["width"]))
    except (KeyError, TypeError):
        raise UserError(
            f"{folder}: its card.json is not that of an encoder; train that stage again"
        ) from None


def encoder_stage(weights: str) -> str:
    """The stage whose encoder counts. Raises UserError where none has one."""
    named = []
    with contextlib.suppress(FileNotFoundError):
        content = storage.read_bytes(storage.join(weights, "inpaint", "card.json"))
        with contextlib.suppress(ValueError, KeyError, TypeError):  # no card: the stages speak for themselves
            parents = json.loads(content)["parents"]
            named = [stage for stage in ENCODER_STAGES if stage in parents]
    for stage in [*named, *ENCODER_STAGES]:
        if storage.exists(storage.join(weights, stage, "card.json")):
            return stage
    raise UserError(
        f"{weights}: no trained encoder here; give the weights folder of a run that has trained stage "
        "morphable (OUTPUT/weights)"
    )


@functools.lru_cache(maxsize=1)
def load_encoder(encoder: RunEncoder, device: str = "cpu") -> Encoder:
    """The network, once per process. Raises UserError when its file is not the one that was named."""
    url = storage.join(encoder.url, "encoder.safetensors")
    expected: dict[str, Any] = {"networks": {"encoder": {"sha256": encoder.sha256}}}
    try:
        state = checked_state(storage.read_bytes(url), expected, "encoder", url)
    except FileNotFoundError:
        raise UserError(f"{url}: missing; copy or train that stage again") from None
    network = Encoder(encoder.width, is_located(state))
    network.load_state_dict(state)
    fold_spectral_norm(frozen(network))
    return network.to(device)


def fit_by_encoder(
    image: Tensor,  # (N, 3, 256, 256) in [0, 1]
    landmarks: Tensor,  # (N, 68 or 5, 2) pixels; they only measure
    weights: Tensor,  # (N, 68 or 5)
    encoder: Encoder,
    model: MorphableModel,
    atlas: UVAtlas,
) -> tuple[Fit, dict[str, Tensor]]:
    """The encoder's answer to the middle of aligned pictures, and the residuals of `fit_faces`.

    The photometric one is against the model's mean skin, for the encoder's light goes with no skin of the
    model's own.
    """
    inner = slice(CENTRE, CENTRE + CROP)
    seen = encoder(image[:, :, inner, inner])
    fit = shift_fit(fit_from_encoder(seen), torch.tensor([CENTRE, CENTRE]).to(image))
    skin = image.new_zeros(len(image), len(model.albedo_basis))
    return fit, residuals(image, landmarks, weights, fit, skin, model, atlas)
