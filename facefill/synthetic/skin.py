"""Painting one person's skin: an albedo map and a map of parts, on the unrolled head of `head.map_position`.

Everything is albedo as displayed, before light. From large to small: tone, flush and shadows of regions,
folds of age, lips, make-up, beard and brows hair by hair, freckles, pores.
"""

from dataclasses import dataclass

import numpy as np

from facefill.landmarks import JAW, LEFT_BROW, LEFT_EYE, RIGHT_BROW, RIGHT_EYE
from facefill.synthetic import parts
from facefill.synthetic.arrays import Bytes, Floats, floats
from facefill.synthetic.brush import Fields, blob, curve, dots, fill, lay_over, stroke
from facefill.synthetic.features import lip_line, paint_beard, paint_brow, paint_lids, paint_lips
from facefill.synthetic.hair import scalp_mask
from facefill.synthetic.head import MAP_HEIGHT, MAP_REACH, MAP_WIDTH, TEXELS_PER_UM, Head, map_position
from facefill.synthetic.noise import smooth_step
from facefill.synthetic.people import Person


@dataclass(frozen=True)
class SkinMap:
    """What the renderer looks up."""

    albedo: Floats  # (MAP_HEIGHT, MAP_WIDTH, 3) in [0, 1]
    gloss: Floats  # (MAP_HEIGHT, MAP_WIDTH) strength of the highlight, 0..1
    parts: Bytes  # (MAP_HEIGHT, MAP_WIDTH) codes of `parts`


def paint_skin(person: Person, head: Head) -> SkinMap:
    """The skin of a person: the same person gives the same map."""
    import cv2

    generator = np.random.default_rng([person.seed, 2])
    points = map_position(head.landmarks, head.anatomy)
    field = Fields(generator)
    colour = np.ones((MAP_HEIGHT, MAP_WIDTH, 3), np.float32) * person.tone

    _mottle(colour, person, field)
    _regions(colour, person, points, head)
    _folds(colour, person, points, generator)
    lips = paint_lips(colour, person, points, field)
    paint_lids(colour, person, points)
    paint_beard(colour, person, points, field)
    _spots(colour, person, points, generator)
    roots = _scalp(colour, person, head, field)
    brows = [paint_brow(colour, person, points[list(group)], generator) for group in (LEFT_BROW, RIGHT_BROW)]
    colour *= (1 + 0.012 * field(0.0) + 0.012 * field(0.5))[..., None]
    colour *= (1 - 0.10 * (1 - person.lip_paint) * lips * np.clip(field(0.3, stretch=3), 0, 2))[..., None]

    gloss = (
        0.55 + 0.25 * blob(points[30], 14, 26) + 0.2 * blob((points[21] + points[22]) / 2 - [0, 40], 45, 25)
    )
    gloss = gloss * (0.75 + 0.25 * np.clip(1 + 0.5 * field(0.3), 0, 2)) + 0.5 * lips * (
        0.5 + person.lip_paint
    )
    return SkinMap(
        np.clip(colour, 0.01, 0.99),
        cv2.GaussianBlur(gloss.astype(np.float32), (0, 0), 1.0),
        _part_map(points, brows, lips, roots),
    )


def _mottle(colour: Floats, person: Person, field: Fields) -> None:
    """Uneven tone: brightness at all scales, redness at the scale of a centimetre."""
    rough = 0.7 + 0.6 * person.age
    brightness = 0.016 * field(1.2) + 0.014 * rough * field(0.7) + 0.010 * rough * field(0.2)
    redness = 0.022 * rough * field(0.9)
    colour *= np.exp(brightness)[..., None]
    colour[..., 0] *= 1 + 0.4 * redness
    colour[..., 1:] *= (1 - redness)[..., None]


def _regions(colour: Floats, person: Person, points: Floats, head: Head) -> None:
    """Blood under cheeks, nose, ears and chin; shade in eye sockets, at nostrils and under the lower lip."""
    eye = [points[list(LEFT_EYE)].mean(0), points[list(RIGHT_EYE)].mean(0)]
    mouth = [points[48], points[54]]
    flush = 0.9 * blob(points[30], 17, 15) + 0.45 * blob(points[8] - [0, 18], 26, 15)
    sockets, bags = np.zeros_like(flush), np.zeros_like(flush)
    for side in (0, 1):
        outward = -1 if side == 0 else 1
        cheek = 0.45 * eye[side] + 0.55 * mouth[side] + [outward * 24, 2]
        flush += blob(cheek, 40, 27)
        sockets += 0.8 * blob(eye[side] + [-outward * 14, -9], 20, 9) + 0.7 * blob(
            eye[side] + [0, -13], 30, 7
        )
        bags += blob(eye[side] + [-outward * 2, 17], 22, 7)
        flush += 1.1 * blob(points[31 if side == 0 else 35] + [outward * 3, -3], 8, 8)
        ear = map_position((head.anatomy.ear * floats([outward, 1, 1]))[None], head.anatomy)[0]
        flush += 0.8 * blob(ear, 45, 60)
    shade = 0.55 * blob((points[57] + points[8]) / 2 - [0, 10], 26, 8)
    shade += 0.35 * blob(points[31] + [4, 3], 7, 5) + 0.35 * blob(points[35] + [-4, 3], 7, 5)
    red = 0.10 * person.flush * flush
    colour *= np.stack((1 + 0.35 * red, 1 - 1.1 * red, 1 - 0.9 * red), 2)
    dark = 0.10 * sockets + (0.07 + 0.10 * person.age) * bags + 0.07 * shade
    colour *= np.exp(-np.stack((0.9 * dark, 1.1 * dark, 0.95 * dark), 2))


def _folds(colour: Floats, person: Person, points: Floats, generator: np.random.Generator) -> None:
    """Lines that deepen with age: beside the mouth, on the forehead, at the eyes."""
    import cv2

    strength = 0.05 + 0.28 * person.age**1.3
    sharp, soft = np.zeros((MAP_HEIGHT, MAP_WIDTH), np.float32), np.zeros((MAP_HEIGHT, MAP_WIDTH), np.float32)
    for wing, corner, outward in ((points[31], points[48], -1), (points[35], points[54], 1)):
        path = curve(
            [wing + [outward * 9, -4], (wing + corner) / 2 + [outward * 17, -4], corner + [outward * 11, 6]]
        )
        stroke(sharp, path, 1.2, 1.0)
        stroke(soft, path, 8, 0.8)
    for eye, outer, outward in ((LEFT_EYE, 36, -1), (RIGHT_EYE, 45, 1)):
        lower = points[list(eye)].mean(0) + [0, 21]
        stroke(soft, curve([lower + [-outward * 24, -6], lower, lower + [outward * 22, -5]]), 3, 0.7)
        crease = points[list(eye)].mean(0) + [0, -15]
        stroke(sharp, curve([crease + [-26, 6], crease + [-2, 0], crease + [27, 6]]), 1.3, 0.7)
        for _ in range(3):
            start = points[outer] + [outward * 9, generator.uniform(-8, 12)]
            end = start + [outward * generator.uniform(12, 24), generator.uniform(-9, 12)]
            stroke(sharp, curve([start, (start + end) / 2 + [0, 2], end]), 0.9, 0.8 * person.age)
    middle = (points[21] + points[22]) / 2
    for line in range(4):
        y = middle[1] - 34 - 17 * line + generator.uniform(-4, 4)
        reach = generator.uniform(45, 95)
        wobble = generator.uniform(-5, 5, 5)
        path = curve([[middle[0] + reach * (k - 2) / 2, y + wobble[k] + 2 * (k - 2) ** 2] for k in range(5)])
        stroke(sharp, path, 1.1, person.age * generator.uniform(0.2, 0.9))
        stroke(soft, path, 5, 0.5 * person.age)
    for x in (-6, 6):
        stroke(sharp, curve([middle + [x, -8], middle + [0.8 * x, 8]]), 1.1, 0.8 * person.age)
    dark = strength * cv2.GaussianBlur(sharp, (0, 0), 1.0) + 0.55 * strength * cv2.GaussianBlur(
        soft, (0, 0), 3.5
    )
    colour *= np.exp(-dark[..., None] * floats([0.75, 1.05, 1.1]))


def _spots(colour: Floats, person: Person, points: Floats, generator: np.random.Generator) -> None:
    """Freckles over nose and cheeks, a few moles and blemishes anywhere."""
    centre = points[29]
    if person.freckles > 0:
        count = round(420 * person.freckles)
        places = generator.normal(0, 1, (count, 2)) * [72, 26] + centre + [0, 14]
        dots(colour, places, generator.uniform(0.5, 1.5, count), 0.22, floats([0.5, 1.0, 1.2]))
    places = generator.uniform(-1, 1, (person.blemishes, 2)) * [120, 130] + centre + [0, 15]
    dots(colour, places, generator.uniform(1.0, 2.2, person.blemishes), 0.30, floats([0.2, 1.0, 0.8]))
    moles = int(generator.poisson(1.3))
    places = generator.uniform(-1, 1, (moles, 2)) * [125, 140] + centre + [0, 25]
    dots(colour, places, generator.uniform(1.3, 2.6, moles), 1.0, floats([0.8, 1.0, 1.0]))


def _scalp(colour: Floats, person: Person, head: Head, field: Fields) -> Floats:
    """Darken the scalp with roots, so that no skin shines through hair; return its coverage (H, W)."""
    import cv2

    density = 0.16 if person.hair.strands == 0 else 0.93
    rows, columns = np.mgrid[0:MAP_HEIGHT:4, 0:MAP_WIDTH:4].astype(np.float32)
    azimuth = ((columns + 1.5) / MAP_WIDTH - 0.5) * 2 * MAP_REACH
    height = head.anatomy.top - (rows + 1.5) / TEXELS_PER_UM
    ring = head.anatomy.skull_centre + np.stack(
        (np.sin(azimuth) * 80e3, height - head.anatomy.skull_centre[1], np.cos(azimuth) * 80e3), 2
    )
    hairy = scalp_mask(person.hair, ring.reshape(-1, 3), head.anatomy, floats(2500)).reshape(rows.shape)
    cover = cv2.resize(hairy.astype(np.float32), (MAP_WIDTH, MAP_HEIGHT), interpolation=cv2.INTER_LINEAR)
    cover = cv2.GaussianBlur(cover, (0, 0), 7 if person.hair.strands else 24)
    cover = smooth_step(0.25, 0.95, cover + 0.16 * field(0.35) * (cover > 0.02))
    speckle = 0.75 + 0.25 * np.clip(field(0.2), -1, 1)
    root = person.hair_colour * 0.55
    lay_over(colour, root, density * cover * speckle)
    return cv2.GaussianBlur(density * cover, (0, 0), 2)


def _part_map(points: Floats, brows: list[Floats], lips: Floats, roots: Floats) -> Bytes:
    """Codes of skin, neck, nose, brows, lips and hairy scalp; eyes, ears and mouth are told by the mesh."""
    codes = np.full((MAP_HEIGHT, MAP_WIDTH), parts.SKIN, np.uint8)
    jaw = points[list(JAW)]
    neck = [
        jaw[0] - [400, 0],
        jaw[0],
        *jaw[1:16],
        jaw[16],
        jaw[16] + [400, 0],
        [MAP_WIDTH + 400, 3000],
        [-400, 3000],
    ]
    codes[fill([np.array(neck)]) > 0.5] = parts.NECK
    bridge = points[27]
    nose = [
        bridge + [-9, -8], points[39] * 0.35 + bridge * 0.65, points[31] + [-13, -10],
        points[31] + [-12, 2], points[31] + [-2, 5], points[33] + [0, 3], points[35] + [2, 5],
        points[35] + [12, 2], points[35] + [13, -10], points[42] * 0.35 + bridge * 0.65, bridge + [9, -8],
    ]  # fmt: skip
    codes[fill([curve(nose)]) > 0.5] = parts.NOSE
    # Landmarks name sides by the image, parts by the person.
    codes[brows[0] > 0.10] = parts.RIGHT_BROW
    codes[brows[1] > 0.10] = parts.LEFT_BROW
    middle = lip_line(points)
    ends = middle[[0, -1]] + np.array([[-30, 0], [30, 0]])
    outline = np.concatenate((ends[:1], middle, ends[1:], ends[::-1] + np.array([0, 90])))
    lower = fill([outline]) > 0.5
    codes[(lips > 0.5) & ~lower] = parts.UPPER_LIP
    codes[(lips > 0.5) & lower] = parts.LOWER_LIP
    codes[roots > 0.4] = parts.HAIR
    return codes
