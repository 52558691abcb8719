"""Trained networks on disk: safetensors files with a card that says what they are.

Layout of a weights folder: `{stage}/{network}.safetensors` and `{stage}/card.json` (stage, its config, the
morphable model's kind, name and checksum, sha256 and size of each file).
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
from facefill.networks.encoder import Encoder, is_located
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


# The stages that publish the inpainter's encoder, the later one first.
ENCODER_STAGES = ("morphable_finetune", "morphable")


def encode_weights(state: dict[str, Tensor]) -> bytes:
    """A network's state as the bytes of a safetensors file. Raises UserError without safetensors."""
    return _safetensors().save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})


def decode_weights(content: bytes) -> dict[str, Tensor]:
    """The state in the bytes of a safetensors file. Raises UserError without safetensors."""
    return _safetensors().load(content)


def decode_card(text: str, where: str) -> dict[str, Any]:
    """The card in the text of a card.json; `where` is for the message.

    Raises UserError if it does not list networks with their checksums.
    """
    try:
        card = json.loads(text)
        whole = all(isinstance(facts["sha256"], str) for facts in card["networks"].values())
    except (ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise UserError(f"weights {where}: not a card of trained weights; copy or train that stage again")
    return card


def checked_state(content: bytes, card: dict[str, Any], network: str, where: str) -> dict[str, Tensor]:
    """A network's state, its file's bytes first compared with the card. Raises UserError if they differ."""
    if network not in card["networks"]:
        raise UserError(
            f"weights {where}: card.json lists no network {network}; copy or train that stage again"
        )
    if hashlib.sha256(content).hexdigest() != card["networks"][network]["sha256"]:
        raise UserError(
            f"weights {where} is not the file that card.json describes (its checksum differs): "
            "copy or train that stage again"
        )
    return decode_weights(content)


def load_completer(folder: Path, model: MorphableModel) -> FaceCompleter:
    """The networks in a weights folder, on the CPU.

    The encoder is that of the stage that the inpainter was trained on. Raises UserError if the folder, a card
    or a file is missing, damaged, or made for another morphable model.
    """
    inpaint_card = read_card(folder / "inpaint")
    check_model(inpaint_card, model, folder / "inpaint")
    encoder_folder = folder / encoder_stage(folder, inpaint_card)
    encoder_card = read_card(encoder_folder)
    check_model(encoder_card, model, encoder_folder)
    segmenter = None  # it parses photographs, whatever the model
    if (folder / "segment").is_dir():
        card = read_card(folder / "segment")
        segmenter = filled(Segmenter(card["config"]["width"]), folder / "segment", "segmenter", card)
    return FaceCompleter(
        filled_encoder(encoder_folder, encoder_card),
        filled(SymUNet(inpaint_card["config"]["width"]), folder / "inpaint", "inpainter", inpaint_card),
        segmenter,
        model,
        build_atlas(model),
    )


def encoder_stage(folder: Path, inpaint_card: dict[str, Any]) -> str:
    """The stage whose encoder the inpainter was trained with.

    A fine-tuned encoder of an older run may still lie in the folder, so the card's `parents` decide; only
    where it names none does the fine-tuned encoder go first.
    """
    parents = inpaint_card.get("parents")
    named = [stage for stage in ENCODER_STAGES if isinstance(parents, dict) and stage in parents]
    present = [stage for stage in ENCODER_STAGES if (folder / stage).is_dir()]
    return [*named, *present, "morphable"][0]


def read_card(folder: Path) -> dict[str, Any]:
    """The card of one stage, checked to say its morphable model and the network's width."""
    path = folder / "card.json"
    if not path.is_file():
        raise UserError(f"weights {folder}: no card.json here; train the stage first (facefill run demo)")
    card = decode_card(path.read_bytes().decode("utf-8", "replace"), str(path))
    match card:
        case {
            "model": {"name": str(), "checksum": str()},
            "config": {"width": int() | float() as width},
        } if 0 < width < float("inf"):
            pass
        case _:
            raise UserError(
                f"weights {path}: model.name, model.checksum or a positive config.width is missing or "
                "malformed; copy or train that stage again"
            )
    return card


def check_model(card: dict[str, Any], model: MorphableModel, folder: Path) -> None:
    """Raise UserError unless the card's networks were trained with `model`."""
    name, trained_on = card["model"]["name"], card["model"]["checksum"]
    if trained_on != checksum(model):
        raise UserError(
            f"weights {folder}: trained with morphable model {name} ({trained_on[:12]}), not with "
            f"{model.name} ({checksum(model)[:12]}); use the matching model"
        )


def filled_encoder(folder: Path, card: dict[str, Any]) -> nn.Module:
    """The encoder of a stage's folder, located or not, ready to answer."""
    state = stored_state(folder, "encoder", card)
    return ready(Encoder(card["config"]["width"], is_located(state)), state, folder / "encoder.safetensors")


def filled(network: nn.Module, folder: Path, name: str, card: dict[str, Any]) -> nn.Module:
    """The network with its published weights, ready to answer."""
    return ready(network, stored_state(folder, name, card), folder / f"{name}.safetensors")


def stored_state(folder: Path, name: str, card: dict[str, Any]) -> dict[str, Tensor]:
    """The published weights of a network, held against the card."""
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        raise UserError(f"weights {path}: missing; copy the whole folder {folder.name} again")
    return checked_state(path.read_bytes(), card, name, str(path))


def ready(network: nn.Module, state: dict[str, Tensor], path: Path) -> nn.Module:
    """The network with the state of the file at `path`, folded and frozen."""
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        raise UserError(f"weights {path}: they do not fit the width on the card ({first})") from None
    return fold_spectral_norm(frozen(network))


def _safetensors() -> Any:
    try:
        import safetensors.torch
    except ImportError:
        raise UserError(
            "weights: reading and writing them takes the package safetensors; pip install safetensors"
        ) from None
    return safetensors.torch
