"""Pictures to look at: what went in, what each method made of it, what was hidden, and how sure we were.

A tile is (H, W, 3) uint8. The uncertainty σ = exp(log_sigma) is drawn from dark (0.7 % of the colours' range)
to bright (37 %), on a fixed scale, so that sheets can be compared.
"""

import io
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from facefill.completion import Completion

INPUT, RENDERING, TRUTH = "input", "rendered face", "ground truth"
UNCERTAINTY, ALBEDO = "uncertainty", "UV albedo"
HOLE_COLOUR = (0.93, 0.93, 0.95)
LOWEST_LOG_SIGMA, HIGHEST_LOG_SIGMA = -5.0, -1.0
GAP, CAPTION_HEIGHT = 4, 22

Tile = NDArray[np.uint8]


@dataclass(frozen=True)
class Shown:
    """One face of a sheet: tiles by caption in the order of showing, and each method's PSNR in the hole."""

    key: str
    ratio: float
    psnr: dict[str, float]
    tiles: dict[str, Tile]


def tiles_of(
    image: Tensor, hole: Tensor, fills: dict[str, Tensor], completion: Completion, number: int
) -> dict[str, Tile]:
    """All tiles of a picture (3, H, W) with its hole (1, H, W), number `number` of the completion's batch."""
    hidden = torch.where(hole > 0, image.new_tensor(HOLE_COLOUR)[:, None, None], image)
    covered = completion.coverage[number]
    rendered = torch.where(covered > 0, completion.rendered[number], torch.ones_like(image))
    return {
        INPUT: tile(hidden),
        **{method: tile(fill) for method, fill in fills.items()},
        TRUTH: tile(image),
        RENDERING: tile(rendered),
        UNCERTAINTY: uncertainty_tile(completion.image_log_sigma[number], covered),
        ALBEDO: albedo_tile(completion.albedo[number], image.shape[-1]),
    }


def tile(image: Tensor) -> Tile:
    """(3, H, W) in [0, 1] as a tile."""
    return (image.detach().clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()


def uncertainty_tile(log_sigma: Tensor, covered: Tensor) -> Tile:
    """(1, H, W) of log σ in false colour where the face is drawn, white elsewhere."""
    from matplotlib import colormaps

    level = (log_sigma - LOWEST_LOG_SIGMA) / (HIGHEST_LOG_SIGMA - LOWEST_LOG_SIGMA)
    colours = colormaps["inferno"](level[0].detach().clamp(0, 1).cpu().numpy())[..., :3]
    white = np.ones_like(colours)
    drawn = np.where(covered[0].cpu().numpy()[..., None] > 0, colours, white)
    return (drawn * 255).round().astype(np.uint8)


def albedo_tile(albedo: Tensor, size: int) -> Tile:
    """The whole UV map (3, 192, 256), shrunk to the width `size` and centred on a white square."""
    height = round(size * albedo.shape[1] / albedo.shape[2])
    small = functional.interpolate(albedo[None], (height, size), mode="bilinear", antialias=True)[0]
    square = torch.ones(3, size, size)
    top = (size - height) // 2
    square[:, top : top + height] = small.cpu()
    return tile(square)


def contact_sheet(faces: list[Shown]) -> Tile:
    """One row a face, one column a tile, captions above: (H, W, 3)."""
    from PIL import Image, ImageDraw, ImageFont

    captions = list(faces[0].tiles)
    size = faces[0].tiles[captions[0]].shape[0]
    step = size + GAP
    sheet = Image.new("RGB", (len(captions) * step - GAP, CAPTION_HEIGHT + len(faces) * step - GAP), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(14)
    for column, caption in enumerate(captions):
        draw.text((column * step + 4, 2), caption, fill="black", font=font)
        for row, face in enumerate(faces):
            sheet.paste(Image.fromarray(face.tiles[caption]), (column * step, CAPTION_HEIGHT + row * step))
    return np.asarray(sheet)


def encoded(picture: Tile, kind: str) -> bytes:
    """A picture as a JPEG or PNG file."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, kind, quality=90)
    return stream.getvalue()
