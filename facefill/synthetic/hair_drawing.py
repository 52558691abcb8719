"""Hair in a picture: lit strands, the soft shadow that they cast, hair under a hat."""

import numpy as np
import torch

from facefill.geometry.spherical_harmonics import shade
from facefill.synthetic import parts
from facefill.synthetic.arrays import Bytes, Floats, floats
from facefill.synthetic.canvas import Canvas
from facefill.synthetic.hair import Hair
from facefill.synthetic.head import Head
from facefill.synthetic.noise import smooth_step
from facefill.synthetic.people import Person
from facefill.synthetic.scene import Scene
from facefill.synthetic.strands import draw
from facefill.synthetic.view import VIEW, View

STRAND_WIDTH = 950.0  # micrometres: a hair and its neighbours


def draw_hair(canvas: Canvas, hair: Hair, view: View, scene: Scene, head: Head, person: Person) -> None:
    """Strands lit as cylinders, within the soft light of the layer that they lie in."""
    points = hair.points
    follow = smooth_step(-200e3, -109e3, points[..., 1])
    if scene.hat:
        points = _under_hat(points, head, person)
    positions = view.turn(points, follow)
    outward = hair.outward @ view.rotation.T
    tangent = np.diff(positions, axis=1)
    tangent = np.concatenate((tangent, tangent[:, -1:]), 1)
    tangent /= np.linalg.norm(tangent, axis=2, keepdims=True) + 1e-6
    across = np.sqrt(np.clip(1 - (tangent @ view.light) ** 2, 0, 1))
    half = view.light + VIEW
    half = half / np.linalg.norm(half)
    shine = np.clip(1 - (tangent @ half) ** 2, 0, 1) ** 36
    count, steps, _ = points.shape
    light = shade(
        torch.from_numpy(outward.reshape(1, -1, 3).astype(np.float32)),
        torch.from_numpy(view.illumination)[None]
    )[0].numpy().reshape(count, steps, 3)  # fmt: skip
    towards = np.clip(0.35 + 0.65 * (outward @ view.light), 0, 1)
    colour = hair.tint * light * (0.45 + 0.6 * across)[..., None]
    colour = colour + (0.20 * shine * towards)[..., None] * (0.5 * hair.tint + 0.14) * light
    width = np.full(count, float(np.clip(view.scale * STRAND_WIDTH, 1.0, 2.6)), np.float32)
    draw(
        view.project(positions),
        colour.astype(np.float32),
        width,
        parts.HAIR,
        canvas.picture,
        canvas.depth,
        canvas.labels,
    )


def _under_hat(points: Floats, head: Head, person: Person) -> Floats:
    """Strand points (S, K, 3) pressed to the skull above the brows, where a hat covers them."""
    centre, skull = head.anatomy.skull(head.vertices(person.identity, np.zeros(29, np.float32)))
    relative = points - centre
    distance = np.linalg.norm(relative, axis=2)
    rows, columns = skull.shape
    row = np.arccos(np.clip(relative[..., 1] / distance, -1, 1)) / np.pi * (rows - 1)
    column = (np.arctan2(relative[..., 0], relative[..., 2]) / (2 * np.pi) + 0.5) * columns
    limit = skull[np.round(row).astype(int), np.round(column).astype(int) % columns] + 3e3
    limit = limit + 40e3 * smooth_step(
        head.anatomy.brow[1] + 15e3, head.anatomy.brow[1] - 20e3, points[..., 1]
    )
    return (centre + relative * np.minimum(1, limit / distance)[..., None]).astype(np.float32)


def cast_hair_shadow(canvas: Canvas, bare: Bytes, view: View) -> None:
    """Skin next to hair lies in its soft shadow, away from the light."""
    import cv2

    hair = ((canvas.labels == parts.HAIR) | (canvas.labels == parts.HAT)).astype(np.float32)
    reach = view.scale * 9e3
    small = cv2.resize(hair, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), max(0.6, reach / 5))
    shift = floats([[1, 0, -0.2 * reach * view.light[0]], [0, 1, 0.2 * reach * view.light[1]]])
    small = cv2.warpAffine(small, shift, small.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    shadow = cv2.resize(small, hair.shape[::-1], interpolation=cv2.INTER_LINEAR)
    skin = (canvas.labels == bare) & ~np.isin(bare, (parts.BACKGROUND, parts.HAIR, parts.HAT))
    canvas.picture[skin] *= (1 - 0.42 * np.clip(1.5 * shadow[skin], 0, 1))[:, None]
