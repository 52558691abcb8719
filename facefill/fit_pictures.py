"""Fits to look at: the photograph, the mesh on it with the points given and found, the model in its light,
the texture.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from facefill.geometry.morphable_model import MorphableModel
from facefill.geometry.reconstruction import Fit, Reconstruction, reconstruct
from facefill.geometry.texture import coverage, render, unwrap
from facefill.geometry.uv_atlas import UVAtlas
from facefill.landmarks import five_from_68

PHOTOGRAPH, MESH, MODEL, TEXTURE = "photograph", "mesh and landmarks", "model in its light", "UV texture"
GIVEN_COLOUR, FOUND_COLOUR = (0.1, 1.0, 0.3), (1.0, 0.15, 0.15)
CLAY = (0.82, 0.84, 0.9)
CLAY_PART = 0.65  # of the mesh in its overlay
LAMP = (0.35, 0.45, 0.82)  # towards it, in the camera's frame
HIDDEN = 1.0  # white: texels that the photograph does not show
GAP, CAPTION_HEIGHT, LABEL_HEIGHT = 4, 22, 18

Tiles = dict[str, NDArray[np.uint8]]


@torch.no_grad()
def fit_tiles(
    image: Tensor,  # (N, 3, S, S) in [0, 1]
    landmarks: Tensor,  # (N, 68 or 5, 2) the points given; NaN where absent
    fit: Fit,
    model: MorphableModel,
    atlas: UVAtlas,
    albedo: Tensor | None = None,  # (N, 3, 192, 256)
) -> list[Tiles]:
    """Caption -> tile (S, S, 3), one dictionary a face; albedo None: the model's mean."""
    mesh = reconstruct(fit, model, atlas, *image.shape[2:])
    covered = coverage(mesh.fragments)
    clay = render(clay_texture(mesh), mesh.fragments, model)
    overlay = image * (1 - CLAY_PART * covered) + CLAY_PART * clay
    skin = model.mean_albedo[None] if albedo is None else albedo
    own = render((skin * mesh.shading).clamp(0, 1), mesh.fragments, model) + 1 - covered
    texture, visible = unwrap(image, mesh.projected, model, atlas, mesh.fragments)
    texture = texture * visible + HIDDEN * (1 - visible)
    found = mesh.projected[:, model.landmarks, :2]
    if landmarks.shape[1] == 5:
        found = torch.from_numpy(five_from_68(found.cpu().numpy()))
    tiles = []
    for face in range(len(image)):
        marked = with_points(overlay[face], found[face], FOUND_COLOUR)
        marked = with_points(marked, landmarks[face], GIVEN_COLOUR)
        unwrapped = on_square(texture[face], image.shape[-1])
        pictures = {PHOTOGRAPH: image[face], MESH: marked, MODEL: own[face], TEXTURE: unwrapped}
        tiles.append({caption: pixels_of(picture) for caption, picture in pictures.items()})
    return tiles


def clay_texture(mesh: Reconstruction) -> Tensor:
    """(N, 3, 192, 256) the shape without skin, under a lamp beside the camera."""
    lamp = functional.normalize(mesh.uv_normals.new_tensor(LAMP), dim=0)
    lit = (mesh.uv_normals * lamp[:, None, None]).sum(1, keepdim=True).clamp_min(0)
    return (0.2 + 0.8 * lit) * lit.new_tensor(CLAY)[:, None, None]


def with_points(picture: Tensor, points: Tensor, colour: tuple[float, float, float]) -> Tensor:
    """(3, H, W) with a cross of five pixels at each of the points (K, 2) that is a number and inside."""
    drawn = picture.clone()
    height, width = picture.shape[1:]
    for column, row in points[points.isfinite().all(1)].round().long().tolist():
        for across, down in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
            if 0 <= column + across < width and 0 <= row + down < height:
                drawn[:, row + down, column + across] = drawn.new_tensor(colour)
    return drawn


def on_square(uv_map: Tensor, size: int) -> Tensor:
    """The whole map (3, 192, 256), scaled to the width `size` and centred on a white square."""
    height = round(size * uv_map.shape[1] / uv_map.shape[2])
    scaled = functional.interpolate(uv_map[None], (height, size), mode="bilinear", antialias=True)[0]
    square = uv_map.new_ones(3, size, size)
    top = (size - height) // 2
    square[:, top : top + height] = scaled
    return square


def pixels_of(picture: Tensor) -> NDArray[np.uint8]:
    """(3, H, W) in [0, 1] as (H, W, 3)."""
    return (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()


def fit_sheet(rows: Sequence[tuple[str, Tiles]]) -> NDArray[np.uint8]:
    """(H, W, 3): one row per (label, tiles), captions above the columns, labels above the rows."""
    from PIL import Image, ImageDraw, ImageFont

    captions = list(rows[0][1])
    size = rows[0][1][captions[0]].shape[0]
    across, down = size + GAP, size + GAP + LABEL_HEIGHT
    shape = (len(captions) * across - GAP, CAPTION_HEIGHT + len(rows) * down - GAP)
    sheet = Image.new("RGB", shape, "white")
    draw = ImageDraw.Draw(sheet)
    for column, caption in enumerate(captions):
        draw.text((column * across + 4, 2), caption, fill="black", font=ImageFont.load_default(14))
    for row, (label, tiles) in enumerate(rows):
        top = CAPTION_HEIGHT + row * down
        draw.text((4, top + 1), label, fill="black", font=ImageFont.load_default(12))
        for column, tile in enumerate(tiles.values()):
            sheet.paste(Image.fromarray(tile), (column * across, top + LABEL_HEIGHT))
    return np.asarray(sheet)
