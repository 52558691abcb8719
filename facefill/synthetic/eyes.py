"""Eyes: white, iris, pupil and catch-light where the lids are open, and lashes."""

import numpy as np

from facefill.landmarks import LEFT_EYE, RIGHT_EYE
from facefill.synthetic import parts
from facefill.synthetic.arrays import Bytes, Floats, floats
from facefill.synthetic.body import Body
from facefill.synthetic.canvas import Canvas, Pixels
from facefill.synthetic.head import MAP_WIDTH, SURFACE_EYE, Head
from facefill.synthetic.noise import smooth_step
from facefill.synthetic.people import Person
from facefill.synthetic.scene import Scene
from facefill.synthetic.strands import draw
from facefill.synthetic.view import View

IRIS_RADIUS = 6000.0


def paint_eyes(
    canvas: Canvas, pixel: Pixels, body: Body, person: Person, scene: Scene, view: View, head: Head
) -> None:
    """Eyeballs: white, iris and pupil around the gaze, shade under the lid, a catch-light."""
    open_lids = pixel.surface == SURFACE_EYE
    for group, code in ((LEFT_EYE, parts.RIGHT_EYE), (RIGHT_EYE, parts.LEFT_EYE)):
        corners = body.positions[head.landmark_vertices[list(group)]]
        side = np.sign(corners[:, 0].mean())
        rows, columns = np.nonzero(open_lids)
        own = np.sign(pixel.map_position[rows, columns, 0] - MAP_WIDTH / 2) == side
        if own.sum() < 6:
            continue
        rows, columns = rows[own], columns[own]
        box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
        inside = np.zeros((np.ptp(rows) + 1, np.ptp(columns) + 1), bool)
        inside[rows - rows.min(), columns - columns.min()] = True
        seen = body.triangles[pixel.triangle[box][inside]]
        first, second = pixel.weights[box][inside].T
        weights = np.stack((first, second, 1 - first - second), 1)
        point = (body.positions[seen] * weights[..., None]).sum(1)
        albedo = _eyeball(point, corners, person, scene, view)
        light = (0.35 + 0.65 * pixel.light[box][inside]) * _lid_shade(inside)[:, None]
        canvas.picture[box][inside] = albedo * light + _reflections(point, corners, scene, view)
        canvas.labels[box][inside] = code


def _iris_centre(corners: Floats, scene: Scene) -> Floats:
    """(2,) x, y in the model frame of an iris; corners (6, 3) are the eye's landmarks."""
    side = np.sign(corners[:, 0].mean())
    return (corners[0, :2] + corners[3, :2]) / 2 + scene.gaze + floats([-side * 600, 900])


def _eyeball(point: Floats, corners: Floats, person: Person, scene: Scene, view: View) -> Floats:
    """(N, 3) albedo at points (N, 3) of the model frame: white, and iris and pupil where the eye looks."""
    offset = point[:, :2] - _iris_centre(corners, scene)
    away = np.hypot(offset[:, 0], offset[:, 1]) / IRIS_RADIUS
    soft = 1.2 / (view.scale * IRIS_RADIUS)  # a pixel, in iris radii
    angle = np.arctan2(offset[:, 1], offset[:, 0])
    fibres = 0.5 * np.sin(23 * angle + 3 * np.sin(5 * angle)) + 0.5 * np.sin(41 * angle + 7 * away)
    iris = person.iris * (1 + 0.22 * fibres + 0.35 * smooth_step(0.9, 0.4, away))[:, None]
    iris = iris * (1 - 0.6 * smooth_step(0.78, 1.0, away))[:, None]
    pupil = smooth_step(0.40 + soft, 0.40 - soft, away) if soft < 0.4 else smooth_step(0.7, 0.1, away)
    iris = iris * (1 - 0.95 * pupil)[:, None]
    width = float(np.linalg.norm(corners[0] - corners[3]))
    from_middle = np.abs(point[:, 0] - (corners[0, 0] + corners[3, 0]) / 2) / (width / 2)
    white = floats([0.86, 0.83, 0.81]) - floats([0.04, 0.13, 0.13]) * (from_middle**3)[:, None]
    cover = smooth_step(1.02 + soft, 1.02 - soft, away)[:, None]
    return white + (iris - white) * cover


def _lid_shade(inside: Bytes) -> Floats:
    """(N,) factor at the pixels of an opening: the upper lid and the corners keep light away."""
    import cv2

    border = np.pad(inside.astype(np.uint8), 1)
    border[-1, 1:-1] = 1  # the lower lid casts no shadow
    distance = cv2.distanceTransform(border, cv2.DIST_L2, 3)[1:-1, 1:-1][inside] / max(6, inside.shape[1])
    return 0.42 + 0.58 * smooth_step(-0.02, 0.17, distance.astype(np.float32))


def _reflections(point: Floats, corners: Floats, scene: Scene, view: View) -> Floats:
    """(N, 3) the lamp as a catch-light, and a faint one opposite."""
    soft = 1.2 / (view.scale * IRIS_RADIUS)
    place = _iris_centre(corners, scene)
    place = place + IRIS_RADIUS * 0.42 * floats([view.light[0], 0.55 + 0.4 * view.light[1]])
    first = np.hypot(*(point[:, :2] - place).T) / IRIS_RADIUS
    second = np.hypot(*(point[:, :2] - place - floats([2500, -3500])).T) / IRIS_RADIUS
    lamp = 0.9 * smooth_step(0.26 + soft, 0.16, first) * float(view.light[2] > -0.1)
    return (lamp + 0.10 * smooth_step(0.9, 0.1, second))[:, None] * np.minimum(1.0, view.light_colour + 0.3)


def draw_lashes(canvas: Canvas, landmarks: Floats, person: Person, view: View) -> None:
    """Upper lashes: short dark curves along the lid, longer to the outside."""
    kept = canvas.labels.copy()
    for outer, lid in ((36, (36, 37, 38, 39)), (45, (45, 44, 43, 42))):
        edge = landmarks[list(lid)]
        side = np.sign(landmarks[outer, 0])
        t = np.linspace(0.02, 0.92, 26)
        along = np.stack([np.interp(t, np.linspace(0, 1, 4), edge[:, k]) for k in range(3)], 1)
        length = (2600 + 2600 * person.eye_paint) * (1.15 - 0.6 * t)
        fan = side * (0.9 - 1.1 * t)
        tip = along + np.stack((length * fan, 0.55 * length, 0.75 * length), 1)
        middle = (along + tip) / 2 + np.stack((0 * length, -0.28 * length, 0.12 * length), 1)
        points = np.stack((along + [0, 0, 600], middle + [0, 0, 600], tip + [0, 0, 600]), 1).astype(
            np.float32
        )
        colour = np.full(points.shape, 0.05, np.float32)
        colour[:, :, 0] = 0.07
        width = np.full(len(points), max(0.8, view.scale * 420), np.float32)
        pixels = view.project(view.turn(points, np.ones(points.shape[:2], np.float32)))
        draw(pixels, colour, width, parts.SKIN, canvas.picture, canvas.depth, canvas.labels)
    canvas.labels[:] = kept
