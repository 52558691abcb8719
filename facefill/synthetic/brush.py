"""Brushes on the skin map: soft blobs, smooth curves, strokes, filled outlines, dots."""

import numpy as np

from facefill.synthetic.arrays import Bytes, Floats, Integers
from facefill.synthetic.head import MAP_HEIGHT, MAP_WIDTH
from facefill.synthetic.noise import window

SHIFT = 4  # fractional bits of OpenCV's drawing coordinates


class Fields:
    """Noise of the map's size; each call gives a new one."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator

    def __call__(self, exponent: float, zoom: float = 1.0, stretch: float = 1.0) -> Floats:
        """`stretch` above 1 makes vertical streaks."""
        import cv2

        field = window(self.generator, round(MAP_HEIGHT / stretch), MAP_WIDTH, exponent, zoom)
        if stretch != 1:
            field = cv2.resize(field, (MAP_WIDTH, MAP_HEIGHT), interpolation=cv2.INTER_LINEAR)
        return field


def blob(centre: Floats, wide: float, high: float) -> Floats:
    """A Gaussian of 1 at the centre, half-widths in texels, as an outer product."""
    across = np.exp(-0.5 * ((np.arange(MAP_WIDTH) - centre[0]) / wide) ** 2).astype(np.float32)
    down = np.exp(-0.5 * ((np.arange(MAP_HEIGHT) - centre[1]) / high) ** 2).astype(np.float32)
    return np.outer(down, across)


def lay_over(colour: Floats, tone: Floats, cover: Floats) -> None:
    """Blend a tone, (3,) or (H, W, 3), over colour (H, W, 3) by cover (H, W), where there is any."""
    rows, columns = np.flatnonzero(cover.max(1) > 0.002), np.flatnonzero(cover.max(0) > 0.002)
    if len(rows):
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        part = tone[box] if tone.ndim == 3 else tone
        colour[box] += (part - colour[box]) * cover[box][..., None]


def curve(knots: list[Floats] | list[list[float]], samples: int = 8, closed: bool = False) -> Floats:
    """(K, 2) points of the Catmull-Rom curve through the knots."""
    points = np.asarray(knots, np.float64)
    ends = (
        (points[-2:-1], points[1:2])
        if closed
        else (2 * points[:1] - points[1:2], 2 * points[-1:] - points[-2:-1])
    )
    padded = np.concatenate((ends[0], points, ends[1]))
    t = np.linspace(0, 1, samples, endpoint=False)[:, None]
    pieces = []
    for a, b, c, d in zip(padded[:-3], padded[1:-2], padded[2:-1], padded[3:], strict=True):
        pieces.append(
            0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        )
    return np.concatenate((*pieces, points[-1:])).astype(np.float32)


def fill(polygons: list[Floats]) -> Floats:
    import cv2

    mask = np.zeros((MAP_HEIGHT, MAP_WIDTH), np.uint8)
    cv2.fillPoly(mask, [_fixed(polygon) for polygon in polygons], 255, cv2.LINE_AA, SHIFT)
    return mask.astype(np.float32) / 255


def stroke(canvas: Floats, path: Floats, width: float, strength: float) -> None:
    """Draw a path; narrower than a texel it is fainter instead."""
    import cv2

    mask = np.zeros(canvas.shape, np.uint8)
    whole = max(1, round(width))
    cv2.polylines(
        mask, [_fixed(path)], False, round(255 * min(1.0, width / whole)), whole, cv2.LINE_AA, SHIFT
    )
    np.maximum(canvas, mask.astype(np.float32) * (strength / 255), out=canvas)


def hair_line(canvas: Bytes, start: Floats, end: Floats, strength: float) -> None:
    """A hair that fades out: its outer third is half as strong."""
    import cv2

    knee = start + 0.65 * (end - start)
    a, b, c = (tuple(int(v) for v in _fixed(point[None])[0, 0]) for point in (start, knee, end))
    cv2.line(canvas, b, c, 130 * strength, 1, cv2.LINE_AA, SHIFT)
    cv2.line(canvas, a, b, 255 * strength, 1, cv2.LINE_AA, SHIFT)


def _fixed(points: Floats) -> Integers:
    return np.round(np.asarray(points) * (1 << SHIFT)).astype(np.int32).reshape(-1, 1, 2)


def dots(colour: Floats, places: Floats, radii: Floats, strength: float, absorb: Floats) -> None:
    """Small round spots: each darkens by exp(-strength·absorb) in its middle."""
    for (x, y), radius in zip(places, radii, strict=True):
        reach = int(3 * radius) + 1
        left, top = int(x) - reach, int(y) - reach
        if left < 0 or top < 0 or left + 2 * reach >= MAP_WIDTH or top + 2 * reach >= MAP_HEIGHT:
            continue
        steps = np.arange(2 * reach + 1)
        spot = np.exp(
            -0.5 * (((steps + left - x) ** 2)[None] + ((steps + top - y) ** 2)[:, None]) / radius**2
        )
        patch = colour[top : top + 2 * reach + 1, left : left + 2 * reach + 1]
        patch *= np.exp(-strength * spot[..., None] * absorb)
