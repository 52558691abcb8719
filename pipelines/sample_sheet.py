"""Stored samples as pictures: photograph with landmarks, face parsing, UV maps; a row a sample."""

from collections.abc import Sequence

import numpy as np

from facefill.face_parsing import BACKGROUND, FACE, OCCLUDER, UNKNOWN
from facefill.samples import Array
from pipelines.contact_sheet import GAP, Tile

CAPTION = 18
SIDE = 256
COLUMNS_FOR_PLAIN_IMAGES = 4  # samples side by side where each has one tile only
LANDMARK_COLOUR = (40, 240, 90)
PARSING_COLOURS = {
    FACE: (70, 200, 120),
    OCCLUDER: (230, 80, 60),
    BACKGROUND: (60, 70, 160),
    UNKNOWN: (0, 0, 0),
}
HIDDEN = np.uint8(255)


def sample_sheet(samples: Sequence[tuple[str, dict[str, Array]]]) -> Tile:
    """(H, W, 3) of (key, decoded fields); keys stand above their rows."""
    from PIL import Image, ImageDraw, ImageFont

    rows = [(key, tiles_of(sample)) for key, sample in samples]
    widest = max(len(tiles) for _, tiles in rows)
    side_by_side = COLUMNS_FOR_PLAIN_IMAGES if widest == 1 else 1
    step, height = SIDE + GAP, SIDE + CAPTION + GAP
    columns, lines = widest * min(side_by_side, len(rows)), -(-len(rows) // side_by_side)
    sheet = Image.new("RGB", (columns * step - GAP, lines * height - GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for place, (key, tiles) in enumerate(rows):
        left, top = (place % side_by_side) * widest * step, place // side_by_side * height
        draw.text((left + 3, top + 1), key, fill="black", font=font)
        for column, picture in enumerate(tiles):
            sheet.paste(Image.fromarray(picture), (left + column * step, top + CAPTION))
    return np.asarray(sheet)


def tiles_of(sample: dict[str, Array]) -> list[Tile]:
    """The pictures of one sample, each 256 x 256."""
    tiles = []
    if "image" in sample:
        tiles.append(with_landmarks(sample["image"], sample.get("landmarks")))
    if "parsing" in sample and "image" in sample:
        tiles.append(with_parsing(sample["image"], sample["parsing"]))
    if "uv_texture" in sample:
        visible = sample.get("uv_visible")
        tiles.append(on_square(sample["uv_texture"], visible))
    if "uv_albedo" in sample:
        tiles.append(on_square(sample["uv_albedo"], None))
    return tiles


def with_landmarks(image: Tile, landmarks: Array | None) -> Tile:
    """The photograph with a small cross at every landmark that is inside."""
    drawn = image.copy()
    known = landmarks[np.isfinite(landmarks).all(1)] if landmarks is not None else np.empty((0, 2))
    for column, row in np.rint(known).astype(int):
        if 1 <= row < len(drawn) - 1 and 1 <= column < drawn.shape[1] - 1:
            drawn[row, column - 1 : column + 2] = LANDMARK_COLOUR
            drawn[row - 1 : row + 2, column] = LANDMARK_COLOUR
    return drawn


def with_parsing(image: Tile, parsing: Array) -> Tile:
    """The photograph under the colours of its face parsing."""
    colours = np.zeros_like(image)
    for label, colour in PARSING_COLOURS.items():
        colours[parsing == label] = colour
    return ((image.astype(np.uint16) + colours) // 2).astype(np.uint8)


def on_square(uv_map: Tile, visible: Array | None) -> Tile:
    """A UV map (192, 256, 3) on a white square; hidden texels white where `visible` is given."""
    square = np.full((SIDE, SIDE, 3), 255, np.uint8)
    shown = uv_map if visible is None else np.where(visible[..., None], uv_map, HIDDEN)
    top = (SIDE - len(uv_map)) // 2
    square[top : top + len(uv_map)] = shown
    return square
