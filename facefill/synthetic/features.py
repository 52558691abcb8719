"""Painting the features of a face on the skin map: lips, lids, brows and beard."""

import numpy as np

from facefill.landmarks import JAW, LEFT_EYE, RIGHT_EYE
from facefill.synthetic.arrays import Floats, floats
from facefill.synthetic.brush import Fields, blob, curve, fill, hair_line, lay_over, stroke
from facefill.synthetic.head import MAP_HEIGHT, MAP_WIDTH
from facefill.synthetic.noise import smooth_step
from facefill.synthetic.people import Person


def paint_lips(colour: Floats, person: Person, points: Floats, field: Fields) -> Floats:
    """Paint the lips; return their coverage (H, W)."""
    import cv2

    outer = curve([*points[48:60], points[48]], closed=True)
    mask = fill([outer])
    mask = cv2.GaussianBlur(mask, (0, 0), 1.6 - 0.7 * person.lip_paint)
    tone = person.lips * np.exp(0.05 * field(0.7))[..., None]
    line = np.zeros_like(mask)
    stroke(line, lip_line(points), 2.0, 1.0)
    line = cv2.GaussianBlur(line, (0, 0), 1.2)
    upper = fill([curve([*points[48:55], *points[64:59:-1]])])
    tone = tone * (1 - 0.10 * cv2.GaussianBlur(upper, (0, 0), 2) - 0.45 * line)[..., None]
    lay_over(colour, tone, 0.92 * mask)
    corners = blob(points[48], 5, 4) + blob(points[54], 5, 4)
    colour *= np.exp(-0.30 * corners)[..., None]
    return mask


def lip_line(points: Floats) -> Floats:
    """The curve on which closed lips meet, from corner to corner, of 68 landmarks on the map."""
    meeting = [(points[upper] + points[lower]) / 2 for upper, lower in ((61, 67), (62, 66), (63, 65))]
    return curve([points[48], *meeting, points[54]])


def paint_lids(colour: Floats, person: Person, points: Floats) -> None:
    """Rims, lash lines and eye shadow."""
    import cv2

    for group, inward in ((LEFT_EYE, 1), (RIGHT_EYE, -1)):
        eye = points[list(group)]
        centre = eye.mean(0)
        shadow: Floats = np.zeros((MAP_HEIGHT, MAP_WIDTH), np.float32)
        stroke(shadow, curve([centre + [-34, -5], centre + [0, -16], centre + [34, -5]]), 12, 1.0)
        shadow = cv2.GaussianBlur(shadow, (0, 0), 5)
        paint = person.tone * floats([0.62, 0.50, 0.50])
        lay_over(colour, paint, 0.5 * person.eye_paint * shadow)
        rim: Floats = np.zeros_like(shadow)
        loop = curve([*eye, eye[0]], closed=True)
        stroke(rim, loop, 3.0, 1.0)
        rim = cv2.GaussianBlur(rim, (0, 0), 0.9)
        lay_over(colour, person.tone * floats([0.93, 0.70, 0.68]), 0.45 * rim)
        upper = [eye[0], eye[1], eye[2], eye[3]] if inward > 0 else [eye[3], eye[2], eye[1], eye[0]]
        lash: Floats = np.zeros_like(shadow)
        stroke(lash, curve(upper) - [0, 1.5], 2.6 + 2.0 * person.eye_paint, 1.0)
        lash = cv2.GaussianBlur(lash, (0, 0), 0.8)
        lower = [eye[0], eye[5], eye[4], eye[3]]
        thin = np.zeros_like(shadow)
        stroke(thin, curve(lower) + [0, 1.5], 1.5, 0.4 + 0.3 * person.eye_paint)
        lash = np.maximum(lash, cv2.GaussianBlur(thin, (0, 0), 0.8))
        lay_over(colour, floats([0.07, 0.05, 0.05]), lash * (0.62 + 0.3 * person.eye_paint))


def paint_beard(colour: Floats, person: Person, points: Floats, field: Fields) -> None:
    """Shadow, stubble or full beard on jaw, chin and upper lip, hair by hair."""
    import cv2

    if person.beard < 0.05:
        return
    jaw = points[list(JAW)]
    cheek_left, cheek_right = points[31] + [-46, 26], points[35] + [46, 26]
    area = fill([curve([
        jaw[1] + [6, 0], cheek_left, points[48] + [-14, -2], points[48] + [4, 14], points[57] + [0, 9],
        points[54] + [-4, 14], points[54] + [14, -2], cheek_right, jaw[15] + [-6, 0], jaw[13] + [0, 22],
        jaw[10] + [0, 40], jaw[8] + [0, 46], jaw[6] + [0, 40], jaw[3] + [0, 22],
    ])])  # fmt: skip
    lip = fill([curve([
        points[48] + [-12, 8], points[48] + [-6, -10], points[31] + [4, 10], points[33] + [0, 9],
        points[35] + [-4, 10], points[54] + [6, -10], points[54] + [12, 8], points[52] + [0, -3],
        points[51] + [0, -3], points[50] + [0, -3],
    ])])  # fmt: skip
    sparse = 0.55 + 0.45 * smooth_step(-0.5, 0.8, field(1.0))
    area = smooth_step(0.2, 1.0, cv2.GaussianBlur(area, (0, 0), 12)) * sparse
    lip = cv2.GaussianBlur(lip, (0, 0), 2.5)
    amount = np.maximum(person.beard * area, person.moustache * lip)
    hair = np.minimum(person.hair_colour * 0.8, person.tone * 0.6)
    # Under the skin the roots look blue-grey.
    shadow = person.tone * floats([0.80, 0.83, 0.87])
    lay_over(colour, shadow, 0.55 * np.minimum(1, 1.6 * amount))
    if person.beard < 0.3:
        speckle = smooth_step(0.7, 1.7, field(0.1))
        lay_over(colour, hair, 0.8 * speckle * np.minimum(1, 3.0 * amount))
        return
    streaks = smooth_step(-0.5, 1.3, field(0.25, stretch=3.5) + 0.25 * field(0.9))
    cover = np.clip(amount * (0.45 + 0.8 * streaks), 0, 0.96)
    strand = hair * np.exp(0.18 * field(0.15, stretch=4.0))[..., None]
    lay_over(colour, strand, cover)


def paint_brow(colour: Floats, person: Person, brow: Floats, generator: np.random.Generator) -> Floats:
    """Draw one brow from hairs; return its coverage (H, W)."""
    import cv2

    inner_first = brow if abs(brow[0, 0] - MAP_WIDTH / 2) < abs(brow[-1, 0] - MAP_WIDTH / 2) else brow[::-1]
    outward = np.sign(inner_first[-1, 0] - inner_first[0, 0])
    path = curve(list(inner_first), samples=12)
    count = round(520 * person.brow_density)
    strokes = np.zeros((MAP_HEIGHT, MAP_WIDTH), np.uint8)
    thickness = 17.0 * person.brow_thickness
    for _ in range(count):
        along = generator.beta(1.15, 1.1)
        place = path[min(len(path) - 1, int(along * len(path)))]
        # Thickest a third from the inner end, thin at the tail.
        half = thickness * np.interp(along, [0, 0.12, 0.4, 0.75, 1], [0.55, 0.95, 1.0, 0.65, 0.22]) / 2
        start = place + [0, generator.uniform(-1, 1) * half]
        rise = np.interp(along, [0, 0.25, 0.6, 1], [1.2, 0.6, 0.15, -0.25]) + generator.normal(0, 0.18)
        length = generator.uniform(7, 13) * np.interp(along, [0, 0.2, 1], [0.7, 1.0, 0.8])
        direction = np.array([outward, -rise]) / np.hypot(1, rise)
        hair_line(strokes, start, start + direction * length, generator.uniform(0.6, 1.0))
    cover = strokes.astype(np.float32) / 255
    soft = cv2.GaussianBlur(cover, (0, 0), 2.6)
    cover = np.clip(0.5 * cv2.GaussianBlur(cover, (0, 0), 0.6) + 0.75 * soft, 0, 0.95)
    lay_over(colour, person.brow, cover * person.brow_density)
    return soft
