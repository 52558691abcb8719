"""What stands behind a person: walls, foliage, rooms, lights at night, a printed banner, all out of focus."""

import numpy as np

from facefill.synthetic.arrays import Floats, floats
from facefill.synthetic.noise import window

ROWS = 144  # height of the drawn backdrop; it is enlarged to the picture, being out of focus anyway


def draw_backdrop(seed: int, width: int, height: int) -> Floats:
    """(ROWS, columns, 3) picture in [0, 1] of the aspect of width x height."""
    import cv2

    draw = np.random.default_rng([seed, 4])
    columns = max(2, round(ROWS * width / height))
    kind = int(draw.integers(5))
    picture = (_studio, _foliage, _room, _night, _banner)[kind](draw, ROWS, columns)
    soft = (4.0, 2.2, 3.0, 1.2, 0.9)[kind] * draw.uniform(0.7, 1.4)
    picture = cv2.GaussianBlur(picture, (0, 0), soft, borderType=cv2.BORDER_REFLECT)
    picture = picture * (1 + 0.02 * window(draw, ROWS, columns, 1.5))[..., None]
    return np.clip(picture, 0, 1)


def _colour(draw: np.random.Generator, brightness: tuple[float, float], saturation: float) -> Floats:
    value = draw.uniform(*brightness)
    return np.clip(value * (1 + saturation * draw.normal(0, 1, 3)), 0.01, 0.98).astype(np.float32)


def _gradient(draw: np.random.Generator, rows: int, columns: int, first: Floats, second: Floats) -> Floats:
    angle = draw.uniform(0, 2 * np.pi)
    across, down = np.linspace(-1, 1, columns), np.linspace(-1, 1, rows)
    place = 0.5 + 0.35 * (np.cos(angle) * across[None] + np.sin(angle) * down[:, None])
    return (first + (second - first) * place[..., None]).astype(np.float32)


def _studio(draw: np.random.Generator, rows: int, columns: int) -> Floats:
    colour = _colour(draw, (0.08, 0.9), 0.10)
    picture = _gradient(draw, rows, columns, colour, colour * draw.uniform(0.5, 0.95))
    across = np.linspace(-1, 1, columns)[None] - draw.uniform(-0.5, 0.5)
    down = np.linspace(-1, 1, rows)[:, None] - draw.uniform(-0.5, 0.3)
    glow = np.exp(-(across**2 + down**2) / draw.uniform(0.2, 0.8))
    return (picture * (0.8 + 0.45 * glow[..., None])).astype(np.float32)


def _foliage(draw: np.random.Generator, rows: int, columns: int) -> Floats:
    import cv2

    dark = floats([0.10, 0.16, 0.08]) * np.exp(draw.normal(0, 0.25, 3)).astype(np.float32)
    bright = floats([0.45, 0.55, 0.25]) * np.exp(draw.normal(0, 0.2, 3)).astype(np.float32)
    mix = np.clip(0.45 + 0.35 * window(draw, rows, columns, 0.9), 0, 1.2)[..., None]
    picture = dark + (bright - dark) * mix
    for _ in range(int(draw.integers(0, 5))):  # trunks and posts
        x = draw.uniform(0, columns)
        colour = _colour(draw, (0.08, 0.4), 0.1)
        end = (int(x + draw.uniform(-12, 12)), rows)
        cv2.line(picture, (int(x), 0), end, colour.tolist(), int(draw.integers(2, 9)))
    horizon = draw.uniform(-0.1, 0.5) * rows + 10 * window(draw, rows, columns, 0.9)
    sky = np.clip((horizon - np.arange(rows)[:, None]) / 14, 0, 1)
    return (picture + (floats([0.80, 0.88, 0.95]) - picture) * sky[..., None]).astype(np.float32)


def _room(draw: np.random.Generator, rows: int, columns: int) -> Floats:
    import cv2

    wall = _colour(draw, (0.3, 0.8), 0.08)
    picture = _gradient(draw, rows, columns, wall, wall * 0.7)
    for _ in range(int(draw.integers(4, 12))):
        left, top = draw.uniform(-0.2, 1, 2) * [columns, rows]
        wide, high = draw.uniform(0.08, 0.5, 2) * [columns, rows]
        colour = _colour(draw, (0.06, 0.9), 0.14)
        cv2.rectangle(
            picture, (int(left), int(top)), (int(left + wide), int(top + high)), colour.tolist(), -1
        )
    return picture


def _night(draw: np.random.Generator, rows: int, columns: int) -> Floats:
    import cv2

    picture = _gradient(
        draw, rows, columns, _colour(draw, (0.02, 0.15), 0.2), _colour(draw, (0.02, 0.25), 0.25)
    )
    for _ in range(int(draw.integers(12, 60))):
        centre = (int(draw.uniform(0, columns)), int(draw.uniform(0, rows)))
        colour = _colour(draw, (0.3, 0.9), 0.16)
        disc = picture.copy()
        cv2.circle(disc, centre, int(draw.integers(2, 10)), colour.tolist(), -1, cv2.LINE_AA)
        picture += (disc - picture) * np.float32(draw.uniform(0.25, 0.9))
    return picture


def _banner(draw: np.random.Generator, rows: int, columns: int) -> Floats:
    import cv2

    ground = _colour(draw, (0.15, 0.95), 0.15)
    picture = np.ones((rows, columns, 3), np.float32) * ground
    inks = [_colour(draw, (0.05, 0.95), 0.3) for _ in range(2)]
    pitch = int(draw.integers(26, 60))
    slant = draw.uniform(-0.12, 0.12)
    for line, y in enumerate(range(-pitch, rows + pitch, pitch)):
        for x in range(-pitch + (line % 2) * pitch // 2, columns + pitch, round(1.6 * pitch)):
            ink = inks[(line + x // pitch) % 2].tolist()
            for letter in range(int(draw.integers(3, 7))):
                left, top = x + letter * pitch // 6, int(y + slant * x)
                tall = pitch // int(draw.integers(3, 5))
                cv2.rectangle(
                    picture, (left, top), (left + pitch // 9, top + tall), ink, int(draw.choice([-1, 1, 2]))
                )
    return picture
