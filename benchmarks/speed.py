"""What the parts cost: networks at the paper's width, geometry on the default model, decoding, completion.

All cases run in turn within a round, so that what else the machine does falls on all of them alike; the
ratio, each case over the first of its group, is what to keep.
"""

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn

from facefill.completion import complete
from facefill.geometry.compiled import numba_is_importable
from facefill.geometry.default_model import default_model
from facefill.geometry.morphable_model import vertices_from_coefficients
from facefill.geometry.rasterizer import rasterize, triangle_ids
from facefill.geometry.reconstruction import FIT_SIZE, fit_from_vector, reconstruct
from facefill.geometry.texture import render, unwrap
from facefill.geometry.uv_atlas import build_atlas
from facefill.networks.albedo_decoder import AlbedoDecoder
from facefill.networks.blocks import fold_spectral_norm
from facefill.networks.encoder import Encoder
from facefill.networks.pyramid_gan import PyramidDiscriminator
from facefill.networks.segmenter import Segmenter
from facefill.networks.sym_unet import SymUNet
from facefill.weights import load_completer

SIZE = 224
FRONTAL = {228: 1e-3, 232: 112.0, 233: 112.0, 234: 3.5, 243: 3.5, 252: 3.5}  # scale, translation, even light


@dataclass(frozen=True)
class Case:
    """One thing to time; `group` names what it is compared within."""

    group: str
    name: str
    run: Callable[[], object]


def measure_speed(weights: Path | None, threads: int, rounds: int) -> str:
    """Markdown table of all cases: milliseconds per image, minimum and median, and the ratio of minima."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    cases = [*network_cases(), *geometry_cases(), *decoding_cases()]
    if weights is not None:
        cases += completion_cases(weights)
    with torch.no_grad():
        return table(cases, timed(cases, rounds), threads)


def timed(cases: list[Case], rounds: int) -> list[list[float]]:
    """Milliseconds of every case in every round, after one round that is not counted."""
    times: list[list[float]] = [[] for _ in cases]
    for number in range(rounds + 1):
        for case, found in zip(cases, times, strict=True):
            started = time.perf_counter()
            case.run()
            if number:
                found.append(1000 * (time.perf_counter() - started))
    return times


def table(cases: list[Case], times: list[list[float]], threads: int) -> str:
    """Cases with their times, each group's first as the measure of the others."""
    lines = [f"torch {torch.__version__}, {threads} thread(s), one image; milliseconds", ""]
    lines += ["| group | case | minimum | median | ratio |", "| --- | --- | ---: | ---: | ---: |"]
    first: dict[str, float] = {}
    for case, found in zip(cases, times, strict=True):
        reference = first.setdefault(case.group, min(found))
        ratio = min(found) / reference
        lines.append(f"| {case.group} | {case.name} | {min(found):.2f} | {median(found):.2f} | {ratio:.2f} |")
    return "\n".join(lines)


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


def geometry_cases() -> list[Case]:
    """Basis, rasterizer, unwrap, render and all of them together, for one frontal face at 224."""
    model = default_model()
    atlas = build_atlas(model)
    vector = torch.zeros(1, FIT_SIZE)
    for place, value in FRONTAL.items():
        vector[:, place] = value
    fit = fit_from_vector(vector)
    mesh = reconstruct(fit, model, atlas, SIZE, SIZE)
    image = torch.rand(1, 3, SIZE, SIZE)
    texture, _ = unwrap(image, mesh.projected, model, atlas, mesh.fragments)
    fast = "rasterize, numba" if numba_is_importable() else "rasterize, torch"
    size = f"{model.mean.shape[0]:,} vertices"
    return [
        Case("geometry", fast, lambda: rasterize(mesh.projected, model.triangles, SIZE, SIZE)),
        Case(
            "geometry",
            "triangle ids, torch",
            lambda: triangle_ids(mesh.projected, model.triangles, SIZE, SIZE),
        ),
        Case(
            "geometry",
            f"basis, {size}",
            lambda: vertices_from_coefficients(model, fit.identity, fit.expression),
        ),
        Case("geometry", "unwrap", lambda: unwrap(image, mesh.projected, model, atlas, mesh.fragments)),
        Case("geometry", "render", lambda: render(texture, mesh.fragments, model)),
        Case("geometry", "reconstruct", lambda: reconstruct(fit, model, atlas, SIZE, SIZE)),
    ]


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
