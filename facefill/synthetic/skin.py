"""Painting one person's skin: an albedo map and a map of parts, on the unrolled head of `head.map_position`.

Everything is albedo as displayed, before light. From large to small: tone, flush and shadows of regions, folds of age,
lips, make-up, beard and brows hair by hair, freckles, pores.
"""

from dataclasses import dataclass

import numpy as np

from facefill.landmarks import JAW, LEFT_BROW, LEFT_EYE, RIGHT_BROW, RIGHT_EYE
from facefill.synthetic import parts
from facefill.synthetic.arrays import Bytes, Floats, Integers, floats
from facefill.synthetic.hair import scalp_mask
from facefill.synthetic.head import MAP_HEIGHT, MAP_REACH, MAP_WIDTH, TEXELS_PER_UM, Head, map_position
from facefill.synthetic.noise import smooth_step, window
from facefill.synthetic.people import Person

SHIFT = 4  # fractional bits of OpenCV's drawing coordinates
MILLIMETRE = 1000 * TEXELS_PER_UM  # texels


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
    field = _Fields(generator)
    colour = np.ones((MAP_HEIGHT, MAP_WIDTH, 3), np.float32) * person.tone

    _mottle(colour, person, field)
    _regions(colour, person, points, head)
    _folds(colour, person, points, generator)
    lips = _lips(colour, person, points, field)
    _eyes(colour, person, points)
    _beard(colour, person, points, head, field, generator)
    _spots(colour, person, points, generator)
    roots = _scalp(colour, person, head, field)
    brows = [_brow(colour, person, points[list(group)], generator) for group in (LEFT_BROW, RIGHT_BROW)]
    colour *= (1 + 0.012 * field(0.0) + 0.012 * field(0.5))[..., None]
    colour *= (1 - 0.10 * (1 - person.lip_paint) * lips * np.clip(field(0.3, stretch=3), 0, 2))[..., None]

    gloss = (
        0.55 + 0.25 * _blob(points[30], 14, 26) + 0.2 * _blob((points[21] + points[22]) / 2 - [0, 40], 45, 25)
    )
    gloss = gloss * (0.75 + 0.25 * np.clip(1 + 0.5 * field(0.3), 0, 2)) + 0.5 * lips * (
        0.5 + person.lip_paint
    )
    return SkinMap(
        np.clip(colour, 0.01, 0.99),
        cv2.GaussianBlur(gloss.astype(np.float32), (0, 0), 1.0),
        _part_map(points, brows, lips, roots),
    )


class _Fields:
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


def _mottle(colour: Floats, person: Person, field: _Fields) -> None:
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
    flush = 0.9 * _blob(points[30], 17, 15) + 0.45 * _blob(points[8] - [0, 18], 26, 15)
    sockets, bags = np.zeros_like(flush), np.zeros_like(flush)
    for side in (0, 1):
        outward = -1 if side == 0 else 1
        cheek = 0.45 * eye[side] + 0.55 * mouth[side] + [outward * 24, 2]
        flush += _blob(cheek, 40, 27)
        sockets += 0.8 * _blob(eye[side] + [-outward * 14, -9], 20, 9) + 0.7 * _blob(
            eye[side] + [0, -13], 30, 7
        )
        bags += _blob(eye[side] + [-outward * 2, 17], 22, 7)
        flush += 1.1 * _blob(points[31 if side == 0 else 35] + [outward * 3, -3], 8, 8)
        ear = map_position((head.anatomy.ear * floats([outward, 1, 1]))[None], head.anatomy)[0]
        flush += 0.8 * _blob(ear, 45, 60)
    shade = 0.55 * _blob((points[57] + points[8]) / 2 - [0, 10], 26, 8)
    shade += 0.35 * _blob(points[31] + [4, 3], 7, 5) + 0.35 * _blob(points[35] + [-4, 3], 7, 5)
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
        path = _curve(
            [wing + [outward * 9, -4], (wing + corner) / 2 + [outward * 17, -4], corner + [outward * 11, 6]]
        )
        _stroke(sharp, path, 1.2, 1.0)
        _stroke(soft, path, 8, 0.8)
    for eye, outer, outward in ((LEFT_EYE, 36, -1), (RIGHT_EYE, 45, 1)):
        lower = points[list(eye)].mean(0) + [0, 21]
        _stroke(soft, _curve([lower + [-outward * 24, -6], lower, lower + [outward * 22, -5]]), 3, 0.7)
        crease = points[list(eye)].mean(0) + [0, -15]
        _stroke(sharp, _curve([crease + [-26, 6], crease + [-2, 0], crease + [27, 6]]), 1.3, 0.7)
        for _ in range(3):
            start = points[outer] + [outward * 9, generator.uniform(-8, 12)]
            end = start + [outward * generator.uniform(12, 24), generator.uniform(-9, 12)]
            _stroke(sharp, _curve([start, (start + end) / 2 + [0, 2], end]), 0.9, 0.8 * person.age)
    middle = (points[21] + points[22]) / 2
    for line in range(4):
        y = middle[1] - 34 - 17 * line + generator.uniform(-4, 4)
        reach = generator.uniform(45, 95)
        wobble = generator.uniform(-5, 5, 5)
        path = _curve([[middle[0] + reach * (k - 2) / 2, y + wobble[k] + 2 * (k - 2) ** 2] for k in range(5)])
        _stroke(sharp, path, 1.1, person.age * generator.uniform(0.2, 0.9))
        _stroke(soft, path, 5, 0.5 * person.age)
    for x in (-6, 6):
        _stroke(sharp, _curve([middle + [x, -8], middle + [0.8 * x, 8]]), 1.1, 0.8 * person.age)
    dark = strength * cv2.GaussianBlur(sharp, (0, 0), 1.0) + 0.55 * strength * cv2.GaussianBlur(
        soft, (0, 0), 3.5
    )
    colour *= np.exp(-dark[..., None] * floats([0.75, 1.05, 1.1]))


def _lips(colour: Floats, person: Person, points: Floats, field: _Fields) -> Floats:
    """Paint the lips; return their coverage (H, W)."""
    import cv2

    outer = _curve([*points[48:60], points[48]], closed=True)
    mask = _fill([outer])
    mask = cv2.GaussianBlur(mask, (0, 0), 1.6 - 0.7 * person.lip_paint)
    tone = person.lips * np.exp(0.05 * field(0.7))[..., None]
    line = np.zeros_like(mask)
    _stroke(line, _curve([points[48], (points[61] + points[67]) / 2, (points[62] + points[66]) / 2,
                          (points[63] + points[65]) / 2, points[54]]), 2.0, 1.0)  # fmt: skip
    line = cv2.GaussianBlur(line, (0, 0), 1.2)
    upper = _fill([_curve([*points[48:55], *points[64:59:-1]])])
    tone = tone * (1 - 0.10 * cv2.GaussianBlur(upper, (0, 0), 2) - 0.45 * line)[..., None]
    colour += (tone - colour) * (0.92 * mask)[..., None]
    corners = _blob(points[48], 5, 4) + _blob(points[54], 5, 4)
    colour *= np.exp(-0.30 * corners)[..., None]
    return mask


def _eyes(colour: Floats, person: Person, points: Floats) -> None:
    """Rims, lash lines and eye shadow."""
    import cv2

    for group, inward in ((LEFT_EYE, 1), (RIGHT_EYE, -1)):
        eye = points[list(group)]
        centre = eye.mean(0)
        shadow = np.zeros((MAP_HEIGHT, MAP_WIDTH), np.float32)
        _stroke(shadow, _curve([centre + [-34, -5], centre + [0, -16], centre + [34, -5]]), 12, 1.0)
        shadow = cv2.GaussianBlur(shadow, (0, 0), 5)
        paint = person.tone * floats([0.62, 0.50, 0.50])
        colour += (paint - colour) * (0.5 * person.eye_paint * shadow)[..., None]
        rim = np.zeros_like(shadow)
        loop = _curve([*eye, eye[0]], closed=True)
        _stroke(rim, loop, 3.0, 1.0)
        rim = cv2.GaussianBlur(rim, (0, 0), 0.9)
        colour += (person.tone * floats([0.93, 0.70, 0.68]) - colour) * (0.45 * rim)[..., None]
        upper = [eye[0], eye[1], eye[2], eye[3]] if inward > 0 else [eye[3], eye[2], eye[1], eye[0]]
        lash = np.zeros_like(shadow)
        _stroke(lash, _curve(upper) - [0, 1.5], 2.6 + 2.0 * person.eye_paint, 1.0)
        lash = cv2.GaussianBlur(lash, (0, 0), 0.8)
        lower = [eye[0], eye[5], eye[4], eye[3]]
        thin = np.zeros_like(shadow)
        _stroke(thin, _curve(lower) + [0, 1.5], 1.5, 0.4 + 0.3 * person.eye_paint)
        lash = np.maximum(lash, cv2.GaussianBlur(thin, (0, 0), 0.8))
        colour += (floats([0.07, 0.05, 0.05]) - colour) * (lash * (0.62 + 0.3 * person.eye_paint))[..., None]


def _beard(
    colour: Floats, person: Person, points: Floats, head: Head, field: _Fields, generator: np.random.Generator
) -> None:
    """Shadow, stubble or full beard on jaw, chin and upper lip, hair by hair."""
    import cv2

    if person.beard < 0.05:
        return
    jaw = points[list(JAW)]
    cheek_left, cheek_right = points[31] + [-46, 26], points[35] + [46, 26]
    area = _fill([_curve([
        jaw[1] + [6, 0], cheek_left, points[48] + [-14, -2], points[48] + [4, 14], points[57] + [0, 9],
        points[54] + [-4, 14], points[54] + [14, -2], cheek_right, jaw[15] + [-6, 0], jaw[13] + [0, 22], jaw[10] + [0, 40],
        jaw[8] + [0, 46], jaw[6] + [0, 40], jaw[3] + [0, 22],
    ])])  # fmt: skip
    lip = _fill([_curve([
        points[48] + [-12, 8], points[48] + [-6, -10], points[31] + [4, 10], points[33] + [0, 9], points[35] + [-4, 10],
        points[54] + [6, -10], points[54] + [12, 8], points[52] + [0, -3], points[51] + [0, -3], points[50] + [0, -3],
    ])])  # fmt: skip
    sparse = 0.55 + 0.45 * smooth_step(-0.5, 0.8, field(1.0))
    area = smooth_step(0.2, 1.0, cv2.GaussianBlur(area, (0, 0), 12)) * sparse
    lip = cv2.GaussianBlur(lip, (0, 0), 2.5)
    amount = np.maximum(person.beard * area, person.moustache * lip)
    hair = np.minimum(person.hair_colour * 0.8, person.tone * 0.6)
    # Under the skin the roots look blue-grey.
    shadow = person.tone * floats([0.80, 0.83, 0.87])
    colour += (shadow - colour) * (0.55 * np.minimum(1, 1.6 * amount))[..., None]
    if person.beard < 0.3:
        speckle = smooth_step(0.7, 1.7, field(0.1))
        colour += (hair - colour) * (0.8 * speckle * np.minimum(1, 3.0 * amount))[..., None]
        return
    streaks = smooth_step(-0.5, 1.3, field(0.25, stretch=3.5) + 0.25 * field(0.9))
    cover = np.clip(amount * (0.45 + 0.8 * streaks), 0, 0.96)
    strand = hair * np.exp(0.18 * field(0.15, stretch=4.0))[..., None]
    colour += (strand - colour) * cover[..., None]


def _spots(colour: Floats, person: Person, points: Floats, generator: np.random.Generator) -> None:
    """Freckles over nose and cheeks, a few moles and blemishes anywhere."""
    centre = points[29]
    if person.freckles > 0:
        count = round(420 * person.freckles)
        places = generator.normal(0, 1, (count, 2)) * [72, 26] + centre + [0, 14]
        _dots(colour, places, generator.uniform(0.5, 1.5, count), 0.22, floats([0.5, 1.0, 1.2]))
    places = generator.uniform(-1, 1, (person.blemishes, 2)) * [120, 130] + centre + [0, 15]
    _dots(colour, places, generator.uniform(1.0, 2.2, person.blemishes), 0.30, floats([0.2, 1.0, 0.8]))
    moles = int(generator.poisson(1.3))
    places = generator.uniform(-1, 1, (moles, 2)) * [125, 140] + centre + [0, 25]
    _dots(colour, places, generator.uniform(1.3, 2.6, moles), 1.0, floats([0.8, 1.0, 1.0]))


def _scalp(colour: Floats, person: Person, head: Head, field: _Fields) -> Floats:
    """The scalp under hair is dark with roots, so that no skin shines through gaps; returns its coverage (H, W)."""
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
    colour += (root - colour) * (density * cover * speckle)[..., None]
    return cv2.GaussianBlur(density * cover, (0, 0), 2)


def _brow(colour: Floats, person: Person, brow: Floats, generator: np.random.Generator) -> Floats:
    """Draw one brow from hairs; return its coverage (H, W)."""
    import cv2

    inner_first = brow if abs(brow[0, 0] - MAP_WIDTH / 2) < abs(brow[-1, 0] - MAP_WIDTH / 2) else brow[::-1]
    outward = np.sign(inner_first[-1, 0] - inner_first[0, 0])
    path = _curve(list(inner_first), samples=12)
    count = round(380 * person.brow_density)
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
        _line(strokes, start, start + direction * length, generator.uniform(0.6, 1.0))
    cover = strokes.astype(np.float32) / 255
    soft = cv2.GaussianBlur(cover, (0, 0), 2.6)
    cover = np.clip(0.75 * cv2.GaussianBlur(cover, (0, 0), 0.5) + 0.5 * soft, 0, 0.95)
    colour += (person.brow - colour) * (cover * person.brow_density)[..., None]
    return soft


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
    codes[_fill([np.array(neck)]) > 0.5] = parts.NECK
    bridge = points[27]
    nose = [
        bridge + [-9, -8], points[39] * 0.35 + bridge * 0.65, points[31] + [-13, -10], points[31] + [-12, 2],
        points[31] + [-2, 5], points[33] + [0, 3], points[35] + [2, 5], points[35] + [12, 2], points[35] + [13, -10],
        points[42] * 0.35 + bridge * 0.65, bridge + [9, -8],
    ]  # fmt: skip
    codes[_fill([_curve(nose)]) > 0.5] = parts.NOSE
    # Landmarks name sides by the image, parts by the person.
    codes[brows[0] > 0.10] = parts.RIGHT_BROW
    codes[brows[1] > 0.10] = parts.LEFT_BROW
    middle = _curve([points[48] - [30, 0], points[48], (points[61] + points[67]) / 2, (points[62] + points[66]) / 2,
                     (points[63] + points[65]) / 2, points[54], points[54] + [30, 0]])  # fmt: skip
    lower = (
        _fill(
            [
                np.concatenate(
                    (middle, [[middle[-1, 0], middle[-1, 1] + 90], [middle[0, 0], middle[0, 1] + 90]])
                )
            ]
        )
        > 0.5
    )
    codes[(lips > 0.5) & ~lower] = parts.UPPER_LIP
    codes[(lips > 0.5) & lower] = parts.LOWER_LIP
    codes[roots > 0.4] = parts.HAIR
    return codes


def _blob(centre: Floats, wide: float, high: float) -> Floats:
    """A Gaussian of 1 at the centre, half-widths in texels, as an outer product."""
    across = np.exp(-0.5 * ((np.arange(MAP_WIDTH) - centre[0]) / wide) ** 2)
    down = np.exp(-0.5 * ((np.arange(MAP_HEIGHT) - centre[1]) / high) ** 2)
    return np.outer(down, across).astype(np.float32)


def _curve(knots: list[Floats] | list[list[float]], samples: int = 8, closed: bool = False) -> Floats:
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


def _fill(polygons: list[Floats]) -> Floats:
    import cv2

    mask = np.zeros((MAP_HEIGHT, MAP_WIDTH), np.uint8)
    cv2.fillPoly(mask, [_fixed(polygon) for polygon in polygons], 255, cv2.LINE_AA, SHIFT)
    return mask.astype(np.float32) / 255


def _stroke(canvas: Floats, path: Floats, width: float, strength: float) -> None:
    """Draw a path; narrower than a texel it is fainter instead."""
    import cv2

    mask = np.zeros(canvas.shape, np.uint8)
    whole = max(1, round(width))
    cv2.polylines(
        mask, [_fixed(path)], False, round(255 * min(1.0, width / whole)), whole, cv2.LINE_AA, SHIFT
    )
    np.maximum(canvas, mask.astype(np.float32) * (strength / 255), out=canvas)


def _line(canvas: Bytes, start: Floats, end: Floats, strength: float) -> None:
    """A hair that fades out: its outer third is half as strong."""
    import cv2

    knee = start + 0.65 * (end - start)
    a, b, c = (tuple(int(v) for v in _fixed(point[None])[0, 0]) for point in (start, knee, end))
    cv2.line(canvas, b, c, 130 * strength, 1, cv2.LINE_AA, SHIFT)
    cv2.line(canvas, a, b, 255 * strength, 1, cv2.LINE_AA, SHIFT)


def _fixed(points: Floats) -> Integers:
    return np.round(np.asarray(points) * (1 << SHIFT)).astype(np.int32).reshape(-1, 1, 2)


def _dots(colour: Floats, places: Floats, radii: Floats, strength: float, absorb: Floats) -> None:
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
