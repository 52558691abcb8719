"""A weights folder as training publishes it, with untrained networks: enough for everything but beauty."""

from pathlib import Path

import torch
from torch import nn

from facefill.geometry.default_model import default_model
from facefill.geometry.morphable_model import checksum
from facefill.networks.encoder import Encoder
from facefill.networks.segmenter import Segmenter
from facefill.networks.sym_unet import SymUNet
from pipelines.checkpoints import publish_weights

WIDTH = 0.125


def publish_untrained(folder: Path) -> Path:
    """Encoder, inpainter and segmenter of width 1/8 below `folder`."""
    torch.manual_seed(0)
    model = default_model()
    networks: dict[str, tuple[str, nn.Module]] = {
        "morphable": ("encoder", Encoder(WIDTH)),
        "inpaint": ("inpainter", SymUNet(WIDTH)),
        "segment": ("segmenter", Segmenter(WIDTH)),
    }
    for stage, (name, network) in networks.items():
        card = {
            "stage": stage,
            "config": {"width": WIDTH},
            "model": {"name": model.name, "checksum": checksum(model)},
            "parents": {"morphable": str(folder / "morphable")} if stage == "inpaint" else {},
        }
        publish_weights(str(folder / stage), {name: network.state_dict()}, card)
    return folder
