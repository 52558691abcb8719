"""Clothes: a chest below the neck, fabrics, necklines, hats."""

from dataclasses import dataclass

import numpy as np

from facefill.synthetic.arrays import Bytes, Floats, Integers, floats
from facefill.synthetic.noise import window

FABRIC = 256  # texels of a fabric's tile

# How the chest goes on below the shoulders: drop in micrometres, growth in width and in depth.
CHEST = (
    (14e3, 1.03, 1.04),
    (45e3, 1.10, 1.12),
    (110e3, 1.14, 1.25),
    (260e3, 1.13, 1.32),
    (480e3, 1.08, 1.30),
)
THROAT = 35e3  # z of the front of the neck
CHEST_MIDDLE = -40e3  # z of the chest's axis


@dataclass(frozen=True)
class Neckline:
    """A plane that cuts the neck, folded along the middle for a V: cloth lies below it."""

    front: float  # y at the front of the throat, micrometres
    rise: float  # how much the line rises per unit towards the back
    fold: float  # and per unit to the sides

    def depth_below(self, points: Floats) -> Floats:
        """(N,) micrometres by which points (N, 3) of the mean head lie under the line."""
        line = self.front + self.rise * (THROAT - points[:, 2]) + self.fold * np.abs(points[:, 0])
        return (line - points[:, 1]).astype(np.float32)


@dataclass(frozen=True)
class Clothes:
    """What a person wears in one picture."""

    fabric: Floats  # (FABRIC, FABRIC, 3) albedo tile of the outermost layer
    inner: Floats  # (3,) colour of the shirt under an open jacket
    neckline: Neckline
    inner_neckline: Neckline  # that of the shirt; the same as `neckline` without a jacket
    hat: Floats  # (3,) colour of a hat
    necklace: bool


def sample_clothes(seed: int, male: bool) -> Clothes:
    """Clothes of a seed."""
    draw = np.random.default_rng([seed, 5])
    kind = int(
        draw.choice(4, p=[0.38, 0.12, 0.4, 0.1] if male else [0.32, 0.45, 0.15, 0.08])
    )  # crew, wide, jacket, high
    colour = np.clip(
        draw.choice([0.06, 0.15, 0.35, 0.6, 0.88]) * (1 + 0.3 * draw.normal(0, 1, 3)), 0.02, 0.92
    )
    drop = draw.uniform(-6e3, 6e3)
    shirt = Neckline(-139e3 + drop, 0.36, 0.08)
    outer = (
        shirt,
        Neckline(-166e3 + drop, 0.30, 0.05),
        Neckline(-185e3 + drop, 0.30, 0.95),
        Neckline(-104e3, 0.1, 0.0),
    )[kind]
    return Clothes(
        fabric=_fabric(draw, colour.astype(np.float32)),
        inner=np.clip(
            draw.choice([0.9, 0.85, 0.12, 0.5]) * (1 + 0.06 * draw.normal(0, 1, 3)), 0.02, 0.95
        ).astype(np.float32),
        neckline=outer,
        inner_neckline=shirt if kind == 2 and male else outer,
        necklace=bool(not male and kind in (1, 2) and draw.random() < 0.4),
        hat=np.clip(draw.choice([0.08, 0.3, 0.7]) * (1 + 0.4 * draw.normal(0, 1, 3)), 0.03, 0.9).astype(
            np.float32
        ),
    )


def _fabric(draw: np.random.Generator, colour: Floats) -> Floats:
    tile = np.ones((FABRIC, FABRIC, 3), np.float32) * colour
    second = np.clip(colour * draw.uniform(0.3, 2.2) + draw.uniform(-0.1, 0.25), 0.02, 0.95)
    along, across = np.arange(FABRIC)[:, None], np.arange(FABRIC)[None]
    pattern = int(draw.choice(4, p=[0.55, 0.2, 0.15, 0.1]))
    period = int(draw.choice([16, 32, 64]))
    if pattern == 1:
        tile[(np.broadcast_to(along, (FABRIC, FABRIC)) % period) < period // 3] = second
    elif pattern == 2:
        tile += (second - tile) * (
            0.35 * ((along % period) < period // 3) + 0.35 * ((across % period) < period // 3)
        )[..., None]
    elif pattern == 3:
        tile[window(draw, FABRIC, FABRIC, 1.3) > 0.4] = second
    folds = 0.06 * window(draw, FABRIC, FABRIC, 1.4) + 0.05 * window(draw, FABRIC, FABRIC, 0.2)
    return np.clip(tile * (1 + folds[..., None]), 0.01, 0.97).astype(np.float32)


def border_loop(triangles: Integers, low: Bytes) -> Integers:
    """Vertex ids along the open border of a mesh where `low` (V,) holds, in the triangles' direction."""
    edges = np.concatenate([triangles[:, [k, (k + 1) % 3]] for k in range(3)])
    paired = set(map(tuple, edges[:, ::-1].tolist()))
    following = {a: b for a, b in edges.tolist() if (a, b) not in paired and low[a] and low[b]}
    loop = [next(iter(following))]
    while following[loop[-1]] != loop[0]:
        loop.append(following[loop[-1]])
    return np.array(loop)


def chest_below(border: Floats) -> Floats:
    """(rings, B, 3) further rings of vertices below the border of the shoulders (B, 3)."""
    rings = []
    for drop, wide, deep in CHEST:
        ring = border * floats([wide, 1, 1]) - floats([0, drop, CHEST_MIDDLE])
        ring[:, 2] = ring[:, 2] * deep + CHEST_MIDDLE
        rings.append(ring)
    return np.stack(rings).astype(np.float32)


def ring_triangles(rings: int, around: int) -> Integers:
    """Triangles between rings, the first on top; seen from above a ring runs counter-clockwise."""
    low = np.arange((rings - 1) * around).reshape(rings - 1, around)
    right = np.roll(low, -1, axis=1)
    first = np.stack((low, low + around, right), 2)
    second = np.stack((right, low + around, right + around), 2)
    return np.concatenate((first.reshape(-1, 3), second.reshape(-1, 3))).astype(np.int64)


def hat_mesh(centre: Floats, skull: Floats, brow: Floats, brim: bool) -> tuple[Floats, Integers]:
    """A cap or beanie from the crown to above the brows: vertices (V, 3) and triangles (F, 3)."""
    rows, columns = skull.shape
    azimuth = (np.arange(columns) / columns - 0.5) * 2 * np.pi
    front = np.cos(azimuth)
    lowest = brow[1] + 22e3 - 26e3 * (1 - front) / 2
    rings = []
    steps = 14
    for step in range(steps):
        share = (step / (steps - 1)) ** 0.8
        end = np.arctan2(80e3, lowest - centre[1])  # polar angle of the edge, about
        polar = 0.02 + share * (end - 0.02)
        place = polar / np.pi * (rows - 1)
        low = np.minimum(place.astype(int), rows - 2)
        radius = skull[low, np.arange(columns)] * (1 - (place - low)) + skull[low + 1, np.arange(columns)] * (
            place - low
        )
        radius = radius + 11e3 + 2e3 * np.sin(3 * azimuth + step)
        flare = 40e3 * np.clip(front, 0, 1) ** 1.5 * (step == steps - 1) * brim
        out = radius + flare
        rings.append(
            centre
            + np.stack(
                (
                    out * np.sin(polar) * np.sin(azimuth),
                    out * np.cos(polar) - 0.3 * flare,
                    out * np.sin(polar) * front,
                ),
                1,
            )
        )
    return np.concatenate(rings).astype(np.float32), ring_triangles(steps, columns)
