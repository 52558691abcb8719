"""Trained networks on disk: safetensors files with a card that says what they are.

Layout of a weights folder: `{stage}/{network}.safetensors` and `{stage}/card.json` (stage, its config, the
morphable model's name and checksum, sha256 and size of each file).
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from facefill.errors import UserError
from facefill.geometry.morphable_model import MorphableModel, checksum
from facefill.geometry.uv_atlas import UVAtlas, build_atlas
from facefill.networks.blocks import fold_spectral_norm
from facefill.networks.encoder import Encoder
from facefill.networks.segmenter import Segmenter
from facefill.networks.sym_unet import SymUNet
from facefill.stages.training import frozen


@dataclass(frozen=True)
class FaceCompleter:
    """Everything that completing a face takes; the segmenter is absent where that stage was not trained."""

    encoder: nn.Module
    inpainter: nn.Module
    segmenter: nn.Module | None
    model: MorphableModel
    atlas: UVAtlas


def encode_weights(state: dict[str, Tensor]) -> bytes:
    """A network's state as the bytes of a safetensors file."""
    from safetensors.torch import save

    return save({name: tensor.contiguous() for name, tensor in state.items()})


def decode_weights(content: bytes) -> dict[str, Tensor]:
    """The state in the bytes of a safetensors file."""
    from safetensors.torch import load

    return load(content)


def load_completer(folder: Path, model: MorphableModel) -> FaceCompleter:
    """The networks in a weights folder, on the CPU.

    Raises UserError if the folder, a card or a file is missing, damaged, or made for another morphable model.
    """
    encoder_stage = "morphable_finetune" if (folder / "morphable_finetune").is_dir() else "morphable"
    encoder_card = read_card(folder / encoder_stage, model)
    inpaint_card = read_card(folder / "inpaint", model)
    segmenter = None
    if (folder / "segment").is_dir():
        card = read_card(folder / "segment", model)
        segmenter = filled(Segmenter(card["config"]["width"]), folder / "segment", "segmenter", card)
    return FaceCompleter(
        filled(Encoder(encoder_card["config"]["width"]), folder / encoder_stage, "encoder", encoder_card),
        filled(SymUNet(inpaint_card["config"]["width"]), folder / "inpaint", "inpainter", inpaint_card),
        segmenter,
        model,
        build_atlas(model),
    )


def read_card(folder: Path, model: MorphableModel) -> dict[str, Any]:
    """The card of one stage, checked to belong to `model`."""
    path = folder / "card.json"
    if not path.is_file():
        raise UserError(f"weights {folder}: no card.json here; train the stage first (facefill run demo)")
    try:
        card = json.loads(path.read_text())
        trained_on = card["model"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"weights {path}: not a card of trained weights; copy the folder again") from None
    if trained_on["checksum"] != checksum(model):
        raise UserError(
            f"weights {folder}: trained with morphable model {trained_on['name']} "
            f"({trained_on['checksum'][:12]}), not with {model.name} ({checksum(model)[:12]}); "
            "use the matching model"
        )
    return card


def filled(network: nn.Module, folder: Path, name: str, card: dict[str, Any]) -> nn.Module:
    """The network with its published weights, ready to answer."""
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        raise UserError(f"weights {path}: missing; copy the whole folder {folder.name} again")
    content = path.read_bytes()
    expected = card["networks"][name]["sha256"]
    if hashlib.sha256(content).hexdigest() != expected:
        raise UserError(
            f"weights {path}: checksum differs from card.json; the file is damaged, copy it again"
        )
    try:
        network.load_state_dict(decode_weights(content))
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        raise UserError(f"weights {path}: they do not fit the width on the card ({first})") from None
    return fold_spectral_norm(frozen(network))
