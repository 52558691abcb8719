"""Things that people wear or hold before the face: glasses, jewellery, a microphone."""

import numpy as np

from facefill.landmarks import LEFT_EYE, RIGHT_EYE
from facefill.synthetic import parts
from facefill.synthetic.arrays import Floats, floats
from facefill.synthetic.canvas import Canvas
from facefill.synthetic.clothing import Neckline
from facefill.synthetic.head import Head
from facefill.synthetic.noise import smooth_step
from facefill.synthetic.scene import Scene
from facefill.synthetic.strands import draw
from facefill.synthetic.view import View

METALS = ((0.85, 0.68, 0.35), (0.8, 0.8, 0.82), (0.9, 0.88, 0.84))  # gold, silver, pearl


def draw_glasses(canvas: Canvas, vertices: Floats, head: Head, view: View, scene: Scene) -> None:
    """Two rims, a bridge and the arms to the ears; the lenses belong to the glasses' label."""
    import cv2

    generator = np.random.default_rng([scene.clothes_seed, 7])
    landmarks = vertices[head.landmark_vertices]
    square = generator.uniform(2, 5)
    tone = np.float32(generator.choice([0.04, 0.12, 0.35])) * floats([1, 0.8, 0.6])
    front = float(landmarks[[19, 24, 27, 36, 45], 2].max()) + 9e3
    angle = np.linspace(0, 2 * np.pi, 40)
    lines, lenses = [], []
    rim_width, rim_height = generator.uniform(25e3, 28e3), generator.uniform(18e3, 23e3)
    for group in (LEFT_EYE, RIGHT_EYE):
        centre = landmarks[list(group)].mean(0)
        wide = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** (2 / square)
        high = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** (2 / square)
        x = centre[0] * 1.06 + rim_width * wide
        rim = np.stack((x, centre[1] - 2500 + rim_height * high, front - 0.10 * np.abs(x)), 1)
        lines.append(rim)
        lenses.append(rim)
        side = np.sign(centre[0])
        hinge = np.array([side * (abs(centre[0]) * 1.06 + rim_width), centre[1] + 3000, front - 6e3])
        ear = head.anatomy.ear * floats([side, 1, 1]) + floats([side * 2e3, 22e3, 0])
        lines.append(np.linspace(hinge, ear, 40))
    bridge = np.linspace(lines[0][0], lines[2][20], 40)
    bridge[:, 1] += 3e3 * np.sin(np.linspace(0, np.pi, 40))
    lines.append(bridge)
    glass = np.zeros(canvas.labels.shape, np.uint8)
    ones = np.ones(40, np.float32)
    for lens in lenses:
        outline = view.project(view.turn(lens.astype(np.float32), ones))[:, :2]
        cv2.fillPoly(glass, [np.round(outline).astype(np.int32).reshape(-1, 1, 2)], 1)
    covered = (glass > 0) & (canvas.labels != parts.BACKGROUND) & (canvas.labels != parts.HAIR)
    canvas.picture[covered] = (
        canvas.picture[covered] * np.float32(generator.choice([0.96, 0.9, 0.35])) + 0.015
    )
    canvas.labels[covered] = parts.GLASSES
    points = view.project(
        view.turn(np.stack(lines).astype(np.float32), np.ones((len(lines), 40), np.float32))
    )
    width = np.full(len(lines), max(1.0, view.scale * generator.uniform(1800, 3600)), np.float32)
    colour = np.broadcast_to(tone, points.shape).astype(np.float32)
    draw(
        points,
        colour,
        width,
        parts.GLASSES,
        canvas.picture,
        canvas.depth,
        canvas.labels,
        taper=0.0,
        bias=2500,
    )


def draw_microphone(canvas: Canvas, view: View, scene: Scene, head: Head) -> None:
    """A microphone before chin or cheek: nothing that the part labels name."""
    import cv2

    generator = np.random.default_rng([scene.clothes_seed, 8])
    place = floats(
        [generator.uniform(-35e3, 35e3), head.anatomy.chin[1] + generator.uniform(-25e3, 25e3), 125e3]
    )
    middle = view.project(view.turn(place, floats(1)))[:2]
    radius = view.scale * 24e3
    foot = middle + [view.scale * generator.uniform(-60e3, 60e3), view.scale * 190e3]
    mask = np.zeros(canvas.labels.shape, np.uint8)
    cv2.line(mask, _whole(middle), _whole(foot), 1, max(1, round(1.1 * radius)))
    cv2.circle(mask, _whole(middle), max(1, round(radius)), 2, -1)
    rows, columns = np.nonzero(mask)
    x, y = (columns - middle[0]) / radius, (rows - middle[1]) / radius
    ball = mask[rows, columns] == 2
    z = np.sqrt(np.clip(1 - x**2 - np.where(ball, y**2, 0), 0, 1))
    lit = np.clip(view.light[0] * x - np.where(ball, view.light[1] * y, 0) + view.light[2] * z, 0, 1)
    mesh = np.where(ball, 0.75 + 0.25 * np.sin(14 * x) * np.sin(14 * y), 1)
    base = np.where(ball, 0.16, 0.07)
    tone = base * mesh * (0.35 + 0.9 * lit) + 0.25 * lit**20
    canvas.picture[rows, columns] = tone[:, None]
    canvas.labels[rows, columns] = parts.BACKGROUND


def _whole(point: Floats) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))


def draw_necklace(canvas: Canvas, vertices: Floats, head: Head, view: View, scene: Scene) -> None:
    """A thin chain around the base of the neck, with a pendant now and then."""
    generator = np.random.default_rng([scene.clothes_seed, 10])
    line = Neckline(-124e3 - generator.uniform(0, 12e3), 0.36, 0.06)
    near = np.flatnonzero((np.abs(line.depth_below(head.canonical)) < 2600) & (head.canonical[:, 2] > -30e3))
    azimuth = np.arctan2(head.canonical[near, 0], head.canonical[near, 2] + 40e3)
    path = vertices[near[np.argsort(azimuth)]]
    if len(path) < 12:
        return
    # Beads at equal steps along the smoothed path.
    kernel = np.hanning(9) / np.hanning(9).sum()
    smooth = np.stack([np.convolve(np.pad(path[:, k], 4, "edge"), kernel, "valid") for k in range(3)], 1)
    steps = np.linspace(0, len(smooth) - 1, 90)
    chain = np.stack([np.interp(steps, np.arange(len(smooth)), smooth[:, k]) for k in range(3)], 1)
    points = chain[None].astype(np.float32)
    metal = floats(METALS[int(generator.integers(len(METALS)))])
    sparkle = 0.55 + 0.45 * generator.random((1, len(chain), 1))
    follow = smooth_step(-150e3, head.lowest_of_face, points[..., 1])
    width = np.full(1, max(1.0, view.scale * generator.uniform(900, 2200)), np.float32)
    colours = (metal * sparkle).astype(np.float32)
    pixels = view.project(view.turn(points, follow))
    draw(
        pixels,
        colours,
        width,
        parts.NECKLACE,
        canvas.picture,
        canvas.depth,
        canvas.labels,
        taper=0.0,
        bias=5000,
    )


def draw_earrings(canvas: Canvas, vertices: Floats, head: Head, view: View, scene: Scene) -> None:
    """A stud or a drop below each ear lobe that can be seen."""
    generator = np.random.default_rng([scene.clothes_seed, 11])
    length = float(generator.choice([0.0, 9e3, 20e3]))
    metal = floats(METALS[int(generator.integers(len(METALS)))])
    on_ear = head.ear > 0.6
    for side in (-1, 1):
        ear = np.flatnonzero(on_ear & (head.canonical[:, 0] * side > 0))
        lobe = vertices[ear[np.argmin(head.canonical[ear, 1])]] + floats([side * 1500, 3000, 2500])
        points = np.stack((lobe, lobe - floats([0, 1500 + length, 0])))[None].astype(np.float32)
        colours = np.stack((metal, metal * 0.7))[None].astype(np.float32)
        width = np.full(1, max(1.5, view.scale * 3600), np.float32)
        pixels = view.project(view.turn(points, np.ones((1, 2), np.float32)))
        draw(
            pixels,
            colours,
            width,
            parts.EARRING,
            canvas.picture,
            canvas.depth,
            canvas.labels,
            taper=0.0,
            bias=3000,
        )
