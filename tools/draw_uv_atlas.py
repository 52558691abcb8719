"""Draw docs/pictures/uv_atlas.png: the default head's atlas and landmarks, and a checkerboard on the head.

    python tools/draw_uv_atlas.py docs/pictures/uv_atlas.png

Left: the mean albedo in the atlas, its triangles, the 68 landmarks and the middle line. Right: the head seen
from the front and from 45 degrees with squares of 8 x 8 texels: where they are squares of one size, nothing
is distorted.
"""

import argparse
import math
import os
import sys
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from facefill.geometry.camera import WeakPerspective, project
from facefill.geometry.default_model import default_model
from facefill.geometry.mesh import vertex_normals
from facefill.geometry.morphable_model import UV_COLUMNS, UV_ROWS, MorphableModel
from facefill.geometry.rasterizer import interpolate, rasterize

ZOOM = 4  # pixels of the picture per texel
SMOOTH = 2  # drawn larger by this, then scaled down
SQUARE = 8  # texels
COLOURS = 160  # of the palette
LIGHT, DARK = (0.93, 0.90, 0.86), (0.36, 0.45, 0.58)
PAPER, GRID, MARK, MIDDLE = (250, 250, 248), (40, 40, 60, 40), (190, 20, 40), (20, 90, 170)


def draw_atlas(model: MorphableModel) -> Image.Image:
    """The albedo inside the map, with triangles, landmarks and their numbers."""
    zoom = ZOOM * SMOOTH
    size = (UV_COLUMNS * zoom, UV_ROWS * zoom)
    albedo = (model.mean_albedo.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    place = (model.uv.double().numpy() + 0.5) * zoom
    inside = Image.new("L", size, 0)
    brush = ImageDraw.Draw(inside)
    for triangle in model.triangles.tolist():
        brush.polygon([tuple(place[v]) for v in triangle], fill=255, outline=255)
    picture = Image.new("RGB", size, PAPER)
    picture.paste(Image.fromarray(albedo).resize(size, Image.Resampling.BICUBIC), mask=inside)
    picture = picture.resize((UV_COLUMNS * ZOOM, UV_ROWS * ZOOM), Image.Resampling.LANCZOS)
    lines = Image.new("RGBA", picture.size)
    brush = ImageDraw.Draw(lines)
    edges = model.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).sort(1).values.unique(dim=0)
    for start, end in edges.tolist():
        brush.line([tuple(place[start] / SMOOTH), tuple(place[end] / SMOOTH)], fill=GRID)
    picture.paste(lines, mask=lines)
    draw_marks(picture, place[model.landmarks] / SMOOTH)
    return picture


def draw_marks(picture: Image.Image, points: np.ndarray) -> None:
    """The middle line and the landmarks (68, 2), each with its number on the side away from its feature."""
    brush = ImageDraw.Draw(picture)
    middle = picture.width / 2
    for row in range(0, picture.height, 16):
        brush.line([(middle, row), (middle, row + 8)], fill=MIDDLE, width=1)
    font = ImageFont.load_default(size=13)
    away = np.zeros((68, 2))
    away[:17], away[17:27] = points[:17] - [middle, 0.4 * picture.height], [0, -1]
    away[27:31], away[31:36] = [1, 0], [[-1, 0], [0, -1], [0, -1], [0, -1], [1, 0]]
    for feature in (range(36, 42), range(42, 48), range(48, 60)):
        away[feature] = points[feature] - points[feature].mean(0)
    away[60:65], away[65:] = [0, -1], [0, 1]
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    for k in range(68):
        draw_mark(brush, points[k], points[k] + [13, 11] * away[k], str(k), font)


def draw_mark(
    brush: ImageDraw.ImageDraw, point: np.ndarray, text_at: np.ndarray, text: str, font: ImageFont.ImageFont
) -> None:
    brush.ellipse([*(point - 3), *(point + 3)], fill=MARK, outline="white")
    brush.text(tuple(text_at), text, fill=MARK, font=font, anchor="mm", stroke_width=2, stroke_fill="white")


def draw_head(model: MorphableModel, yaw: float, size: int) -> Image.Image:
    """The mean head turned by `yaw` with a checkerboard seen through the atlas."""
    pixels = size * SMOOTH
    middle = 0.5 * (model.mean.amax(0) + model.mean.amin(0))
    scale = 0.94 * pixels / float(model.mean[:, 1].max() - model.mean[:, 1].min())
    camera = WeakPerspective(
        torch.tensor([scale]), torch.tensor([[0.0, yaw, 0.0]]), torch.full((1, 2), pixels / 2)
    )
    projected = project((model.mean - middle)[None], camera)
    fragments = rasterize(projected, model.triangles, pixels, pixels)
    column, row = interpolate(model.uv, fragments, model.triangles)[0].numpy()
    even = (np.floor((column - (UV_COLUMNS - 1) / 2) / SQUARE) + np.floor(row / SQUARE)) % 2 == 0
    normals = vertex_normals(model.mean[None], model.triangles) @ camera.rotation.transpose(1, 2)
    x, y, z = interpolate(normals[0], fragments, model.triangles)[0].numpy()
    shade = np.clip(0.45 + 0.55 * (0.85 * z + 0.35 * y + 0.2 * x), 0.25, 1)
    colour = np.where(even[..., None], LIGHT, DARK) * shade[..., None]
    seen = fragments.triangle[0].numpy() >= 0
    colour = np.where(seen[..., None], colour * 255, PAPER).round().astype(np.uint8)
    return Image.fromarray(colour).resize((size, size), Image.Resampling.LANCZOS)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the default head's atlas.")
    parser.add_argument("picture", type=Path)
    target = parser.parse_args().picture
    model = default_model()
    atlas = draw_atlas(model)
    side = atlas.height // 2
    whole = Image.new("RGB", (atlas.width + side, atlas.height), PAPER)
    whole.paste(atlas, (0, 0))
    for k, yaw in enumerate((0.0, math.radians(45))):
        whole.paste(draw_head(model, yaw, side), (atlas.width, k * side))
    target.parent.mkdir(parents=True, exist_ok=True)
    whole.quantize(COLOURS, kmeans=2, dither=Image.Dither.NONE).save(target, optimize=True)
    print(f"{target}: {whole.width} x {whole.height}, {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
