"""Colour of what the mesh shows: skin, cloth, mouth."""

import numpy as np

from facefill.synthetic import parts
from facefill.synthetic.arrays import Floats, floats
from facefill.synthetic.canvas import Canvas, Pixels
from facefill.synthetic.clothing import FABRIC, Clothes
from facefill.synthetic.head import (
    MAP_WIDTH,
    SURFACE_CLOTH,
    SURFACE_EYE,
    SURFACE_HAT,
    SURFACE_MOUTH,
    SURFACE_SKIN,
    SURFACE_TEETH,
)
from facefill.synthetic.noise import smooth_step
from facefill.synthetic.skin import SkinMap
from facefill.synthetic.view import VIEW, View


def paint_skin_pixels(canvas: Canvas, pixel: Pixels, skin_map: SkinMap, view: View) -> None:
    """Skin: albedo x occlusion x shading, plus a highlight."""
    skin = (pixel.surface == SURFACE_SKIN) | (pixel.surface == SURFACE_EYE)
    rows, columns = np.flatnonzero(skin.any(1)), np.flatnonzero(skin.any(0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    place = pixel.map_position[box]
    albedo = _look_up(skin_map.albedo, place) * pixel.occlusion[box][..., None]
    labels = _look_up(skin_map.parts, place, nearest=True)
    gloss = _look_up(skin_map.gloss, place)
    half = view.light + VIEW
    half /= np.linalg.norm(half)
    facing = np.clip(pixel.normal[box] @ half, 0, 1)
    edge = 1 - np.clip(pixel.normal[box][..., 2], 0, 1)
    shine = gloss * pixel.occlusion[box] * (0.10 * facing**18 + 0.05 * facing**60 + 0.05 * edge**3 * facing)
    colour = albedo * pixel.light[box] + shine[..., None] * view.light_colour
    canvas.picture[box][skin[box]] = colour[skin[box]]
    is_ear = (pixel.ear[box] > 0.5) & np.isin(labels, (parts.SKIN, parts.NECK))
    labels = np.where(
        is_ear, np.where(place[..., 0] < MAP_WIDTH / 2, parts.RIGHT_EAR, parts.LEFT_EAR), labels
    )
    canvas.labels[box][skin[box]] = labels[skin[box]]


def paint_cloth(canvas: Canvas, pixel: Pixels, clothes: Clothes) -> None:
    """Fabric on the chest and on the neck below the neckline, and on the hat."""
    on_neck = (pixel.surface == SURFACE_SKIN) & ((pixel.below[..., 0] > 0) | (pixel.below[..., 1] > 0))
    cloth = on_neck | (pixel.surface == SURFACE_CLOTH)
    hat = pixel.surface == SURFACE_HAT
    for mask, part in ((cloth, parts.CLOTH), (hat, parts.HAT)):
        if not mask.any():
            continue
        place = pixel.map_position[mask].astype(np.int64) % FABRIC
        colour = clothes.fabric[place[:, 1], place[:, 0]]
        outer, inner = pixel.below[mask].T
        if part == parts.HAT:
            colour = colour.mean(1, keepdims=True) / max(0.05, float(clothes.fabric.mean())) * clothes.hat
        else:
            colour[outer <= 0] = clothes.inner
        # A hem is dark at its very edge and casts a little shadow onto the layer below.
        hem = np.where(outer > 0, smooth_step(0, 2500, outer), smooth_step(0, 2500, inner))
        shaded = np.where(outer > 0, 1.0, 0.75 + 0.25 * smooth_step(0, -9000, outer))
        canvas.picture[mask] = colour * pixel.light[mask] * ((0.6 + 0.4 * hem) * shaded)[:, None]
        canvas.labels[mask] = part


def paint_mouth(canvas: Canvas, pixel: Pixels) -> None:
    """Inner mouth, dark towards the throat, and teeth with the gaps between them."""
    mouth, teeth = pixel.surface == SURFACE_MOUTH, pixel.surface == SURFACE_TEETH
    flesh = floats([0.36, 0.13, 0.12])
    canvas.picture[mouth] = flesh * pixel.light[mouth] * (1.1 * pixel.occlusion[mouth])[:, None]
    from_middle = np.abs(pixel.map_position[teeth][:, 0] - MAP_WIDTH / 2)
    gap = np.abs((from_middle / 25 + 0.5) % 1 - 0.5) * 25  # texels to the nearest gap; an incisor is 25 wide
    shade_of_cheek = 0.88 - 0.55 * smooth_step(20, 95, from_middle)
    white = (
        floats([0.90, 0.86, 0.79]) * (shade_of_cheek * (0.72 + 0.28 * smooth_step(0.2, 2.2, gap)))[:, None]
    )
    canvas.picture[teeth] = white * pixel.light[teeth]
    canvas.labels[mouth | teeth] = parts.MOUTH


def _look_up(image: Floats, position: Floats, nearest: bool = False) -> Floats:
    import cv2

    method = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    return cv2.remap(image, position[..., 0], position[..., 1], method, borderMode=cv2.BORDER_REPLICATE)
