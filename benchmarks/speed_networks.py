"""The five networks at the paper's width, JPEG decoding, and a whole completion: one picture at a time."""

import io
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.timing import Case, measured
from facefill.completion import complete
from facefill.geometry.default_model import default_model
from facefill.networks.albedo_decoder import AlbedoDecoder
from facefill.networks.blocks import fold_spectral_norm
from facefill.networks.encoder import Encoder
from facefill.networks.pyramid_gan import PyramidDiscriminator
from facefill.networks.segmenter import Segmenter
from facefill.networks.sym_unet import SymUNet
from facefill.weights import load_completer

SIZE = 224


def measure_networks(weights: Path | None, rounds: int) -> str:
    """Markdown table of networks and decoders and, with the `weights` folder of a run, of its completion."""
    torch.manual_seed(0)
    completing = [] if weights is None else completion_cases(weights)  # first: it refuses what is no folder
    with torch.no_grad():
        return measured([*network_cases(), *decoding_cases(), *completing], rounds)


def network_cases() -> list[Case]:
    """Each network at width 1: as trained, in bfloat16, with folded weights."""
    image, albedo, visible = (
        torch.rand(1, 3, SIZE, SIZE),
        torch.rand(1, 3, 192, 256),
        torch.ones(1, 1, 192, 256),
    )
    networks: list[tuple[str, nn.Module, tuple[Tensor, ...]]] = [
        ("encoder", Encoder(), (image,)),
        ("albedo decoder", AlbedoDecoder(), (torch.randn(1, 512),)),
        ("Sym-UNet", SymUNet(), (albedo, visible)),
        ("PyramidGAN", PyramidDiscriminator(), (image,)),
        ("segmenter", Segmenter(), (image,)),
    ]
    cases = []
    for name, network, inputs in networks:
        network.eval().requires_grad_(False)
        cases.append(Case(name, "float32", partial(network, *inputs)))
        cases.append(Case(name, "bfloat16 autocast", partial(halved, network, inputs)))
        folded = fold_spectral_norm(type(network)().eval())
        cases.append(Case(name, "spectral norm folded", partial(folded, *inputs)))
    return cases


def halved(network: nn.Module, inputs: tuple[Tensor, ...]) -> object:
    """The network's answer under autocast."""
    with torch.autocast("cpu", torch.bfloat16):
        return network(*inputs)


def decoding_cases() -> list[Case]:
    """A 256x256 JPEG of quality 95 by the libraries at hand."""
    import cv2
    import simplejpeg
    from PIL import Image

    coarse = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    smooth = nn.functional.interpolate(coarse, (256, 256), mode="bicubic")[0].clamp(0, 1)
    pixels = np.ascontiguousarray((smooth * 255).byte().permute(1, 2, 0).numpy())
    data = simplejpeg.encode_jpeg(pixels, quality=95, colorsubsampling="444")
    buffer = np.frombuffer(data, np.uint8)
    return [
        Case("JPEG decode", "simplejpeg", lambda: simplejpeg.decode_jpeg(data)),
        Case("JPEG decode", "OpenCV", lambda: cv2.imdecode(buffer, cv2.IMREAD_COLOR)),
        Case("JPEG decode", "Pillow", lambda: np.asarray(Image.open(io.BytesIO(data)))),
    ]


def completion_cases(weights: Path) -> list[Case]:
    """One picture, one and two refinement iterations, with the networks of a run."""
    completer = load_completer(weights, default_model())
    image = torch.rand(1, 3, SIZE, SIZE)
    hole = torch.zeros(1, 1, SIZE, SIZE)
    hole[..., 80:160, 60:130] = 1

    def case(iterations: int) -> Case:
        return Case(
            "completion",
            f"{iterations} iteration(s)",
            lambda: complete(
                image,
                hole,
                completer.encoder,
                completer.inpainter,
                completer.model,
                completer.atlas,
                iterations,
            ),
        )

    return [case(1), case(2)]
